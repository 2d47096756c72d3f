//! Which clauses a backend has to skip that leaves out a function: whoever wrote one learnt it from failures, one by one.

mod journals;
mod offer;
mod snapshots;
