//! What tests of a Raft node and of its backends need.
//!
//! * [`memory`]: a journal, a network and state machines in memory, with faults on demand.
//! * [`scenario`]: stories about the protocol as text files, with the trace that each must give.

pub mod conformance;
pub mod memory;
pub mod scenario;
