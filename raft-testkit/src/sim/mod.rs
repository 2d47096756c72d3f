//! Whole nodes in simulation: the real protocol, the real driver and the real file journal, on a simulated
//! disk, network and clock, on one thread. One seed decides everything, so that whatever a run finds can
//! be looked at again.
//!
//! ```text
//!   plan (what the seed decides) --> world --> executor (tasks, timers, virtual time)
//!                                      |         |-- nodes: raft-core's driver, raft-log-file's store
//!                                      |         |-- clients (workload)
//!                                      |-- faults (with the atlas: what may be harmed at a time)
//!                                      |-- network, disk (what is harmed)
//!                                      '-- oracle (what must hold, after every step), coverage, events
//! ```
//!
//! What differs from production: [`Runtime`](raft_core::backend::Runtime),
//! [`Transport`](raft_core::backend::Transport), the `Vfs` of the journal and the snapshots and the threads
//! around their stores, and the state machine. All the rest is what ships.

mod agenda;
pub mod coverage;
mod disk;
mod drive;
mod etcd;
pub mod events;
mod executor;
mod faults;
mod features;
mod halves;
mod history;
mod journal;
mod lives;
mod machine;
mod network;
mod operators;
pub mod oracle;
mod plan;
pub(crate) mod rng;
pub mod shrink;
mod snapshots;
mod workload;
mod world;

pub use plan::Plan;
pub use world::{Outcome, run, run_traced};
