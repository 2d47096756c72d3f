//! Snapshots and compaction (paper §7), rule by rule: one real node, with everything around it played by the test.

mod install;
mod purge;
mod read;
mod receive;
mod send;
mod take;
mod world;
