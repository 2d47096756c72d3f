//! Nodes whose transport is this one.
#![allow(dead_code, reason = "each test uses its part")]

#[path = "../../../raft-testkit/loopback/node.rs"]
mod node;

pub(crate) use node::*;
pub(crate) use raft_net_tcp::{Options, TcpTransport as Loopback};
