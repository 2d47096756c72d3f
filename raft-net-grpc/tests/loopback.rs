//! What `raft-testkit/loopback/cases.rs` asks of every transport.

#[path = "../../raft-testkit/loopback/cases.rs"]
mod cases;
mod support;
