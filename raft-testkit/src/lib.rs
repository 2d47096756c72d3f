//! What tests of a Raft node and of its backends need.
//!
//! * [`memory`]: a journal, a network and state machines in memory, with faults on demand.

pub mod memory;
