//! A service that was there before, with routes of axum's and a service of tonic's on one port, and what it takes to
//! replicate its data: a Raft group whose nodes talk to each other on that same port.
//!
//! | module | what it does |
//! | --- | --- |
//! | `http` | `GET` and `PUT` of a key, health: what each outcome of Raft is in HTTP |
//! | `grpc` | the tonic service |
//! | `listener`, `idle` | one port for all of it, its bounds and its end |
//! | `tls` | certificates around that port: one kind for clients, another for peers |
//! | `service` | puts a node together and mounts it |
//! | `groups` | many groups behind one port |
//!
//! The data is in [`raft_redb`]. Without [`Setup::tls`] nothing here is encrypted, and whoever reaches the port can vote: keep
//! it to a network that you trust. With it the listener hands over which certificates a peer has shown
//! ([`raft_net_grpc::PeerCertificates`]), and the service demands that ([`raft_net_grpc::RaftService::authenticated_only`]).

pub mod groups;
mod grpc;
mod http;
mod idle;
mod listener;
mod service;
mod tls;

pub use listener::{Limits, Listener};
pub use service::{CLUSTER, Service, Setup, StartError};
pub use tls::Tls;

/// What the `.proto` becomes.
#[allow(
    missing_docs,
    unused_qualifications,
    unreachable_pub,
    clippy::all,
    clippy::use_self,
    clippy::or_fun_call
)]
pub mod proto {
    tonic::include_proto!("keys.v1");
}
