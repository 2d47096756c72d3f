//! What `raft-testkit/loopback/leaks.rs` asks of every transport, alone in its process.

#[path = "../../raft-testkit/loopback/leaks.rs"]
mod leaks;
mod support;
