//! Nodes whose transport is this one, and peers made by hand.
#![allow(dead_code, reason = "each test uses its part")]

#[cfg(feature = "tls")]
pub(crate) mod authority;
#[path = "../../../raft-testkit/loopback/node.rs"]
mod node;
pub(crate) mod raw;
pub(crate) mod warnings;

pub(crate) use node::*;
pub(crate) use raft_net_grpc::{GrpcTransport as Loopback, Options};
