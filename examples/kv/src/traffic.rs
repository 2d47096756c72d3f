//! What clients do here, counted: only where somebody can look at it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use raft_core::error::{Outcome, ProposeError};
use raft_core::node::Durations;

/// Counts since the start.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    /// Commands that went through the log and were executed.
    pub(crate) writes: AtomicU64,
    /// Reads that were answered from the data here.
    pub(crate) reads: AtomicU64,
    /// Commands that were certainly not executed: another node leads, or there was too much.
    pub(crate) refused: AtomicU64,
    /// Commands that may or may not have been executed.
    pub(crate) unknown: AtomicU64,
    /// A proposal, from its command to the answer.
    pub(crate) proposals: Durations,
}

/// The counts at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) writes: u64,
    pub(crate) reads: u64,
    pub(crate) refused: u64,
    pub(crate) unknown: u64,
}

impl Traffic {
    pub(crate) fn counted(&self) -> Counted {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counted {
            writes: of(&self.writes),
            reads: of(&self.reads),
            refused: of(&self.refused),
            unknown: of(&self.unknown),
        }
    }

    /// A proposal of so many commands, begun then, has come to this.
    pub(crate) fn proposed<T>(&self, commands: u64, begun: Instant, result: &Result<T, ProposeError>) {
        match result {
            Ok(_) => {
                self.writes.fetch_add(commands, Ordering::Relaxed);
                self.proposals.record(begun.elapsed());
            }
            Err(error) if error.outcome() == Outcome::Unknown => {
                self.unknown.fetch_add(commands, Ordering::Relaxed);
            }
            Err(_) => {
                self.refused.fetch_add(commands, Ordering::Relaxed);
            }
        }
    }

    /// A read was answered.
    pub(crate) fn read(&self) {
        self.reads.fetch_add(1, Ordering::Relaxed);
    }
}
