//! A TCP transport for `raft-core`: two lanes a peer, checksummed frames, payloads never copied.
//!
//! | module | what it does |
//! | --- | --- |
//! | `frame` | messages as bytes and back, pure |
//! | `handshake` | who is there, pure |
//! | `lane` | one queue to one peer, bounded in bytes |
//! | `peer` | dials, reconnects, writes, notices loss |
//! | `listen` | accepts, shakes hands, reads, delivers |
//! | `stream` | a connection, with TLS or without |
//! | `transport` | what the node sees |
//!
//! The bytes are described in `docs/wire-format.md`.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod error;
mod frame;
mod handshake;
mod lane;
mod listen;
mod peer;
mod stream;
mod transport;

pub use error::WireError;
pub use handshake::WIRE_VERSIONS;
pub use raft_core::peering::Stats;
pub use transport::{Options, TcpTransport};
