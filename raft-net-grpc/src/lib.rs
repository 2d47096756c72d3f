//! A gRPC transport for `raft-core`: a stream for each lane, typed messages, health and reflection.
//!
//! | module | what it does |
//! | --- | --- |
//! | `convert` | messages as those of the `.proto` and back, pure |
//! | `handshake` | who is there, pure |
//! | `checksum` | what protects a frame, pure |
//! | `codec` | frames as bytes, with a bound on what is made of them |
//! | `lane` | one queue to one peer, bounded, as the stream that gRPC sends |
//! | `peer` | dials again and again, reports connection and loss |
//! | `dial` | one HTTP/2 connection to a peer, up to the end of its handshake |
//! | `serve` | one stream of a peer: shakes hands, reads, delivers |
//! | `listen` | accepts connections and shows them the services |
//! | `security` | what may lie between TCP and HTTP/2 |
//! | `tls` | mutual TLS (feature `tls`) |
//! | `service` | what can be added to a server of your own |
//! | `transport` | what the node sees |
//!
//! The protocol is `proto/raft/v1/raft.proto`; `docs/grpc-wire-format.md` says what it cannot.
//!
//! HTTP/2 is driven by hyper directly, under the code that tonic generates: a transport must see at once when
//! a connection breaks, own every task, and decide itself when to dial.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod checksum;
mod codec;
mod convert;
mod dial;
mod error;
mod group;
mod handshake;
mod lane;
mod listen;
mod peer;
mod security;
mod serve;
mod service;
#[cfg(feature = "tls")]
mod tls;
mod transport;
#[cfg(test)]
mod wire_tests;

/// What the `.proto` becomes: messages, a client and a server.
#[allow(
    missing_docs,
    unused_qualifications,
    unreachable_pub,
    clippy::all,
    clippy::use_self,
    clippy::or_fun_call
)]
pub mod proto {
    tonic::include_proto!("raft.v1");

    /// The descriptor of the protocol, for reflection: a `FileDescriptorSet`, encoded.
    pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("raft.v1");
}

pub use error::WireError;
pub use handshake::WIRE_VERSIONS;
pub use raft_core::peering::Stats;
pub use security::{Duplex, Proof, Secured, Security};
pub use service::{Authenticated, RaftService};
#[cfg(feature = "tls")]
pub use tls::PeerCertificates;
pub use transport::{GrpcTransport, Options};
