//! What a backend author implements: signatures and numbered contracts, no logic.
//!
//! The traits are object-safe, have no default methods but [`JournalReader::verify`] and no optional companions.
//! What may grow later is data. The clause numbers (J1, T1, …) are those of the conformance suites in `raft-testkit`, where
//! each has one test of its name.

mod journal;
mod runtime;
mod snapshot_store;
mod state_machine;
mod transport;

pub use journal::{
    Corruption, HardState, Journal, JournalError, JournalReader, JournalState, JournalWrite, Mismatch,
    OpenError, Verdict, Verified, Vote,
};
pub use runtime::{Runtime, Timer};
pub use snapshot_store::{
    SnapshotContent, SnapshotError, SnapshotId, SnapshotMeta, SnapshotReader, SnapshotStore, SnapshotWriter,
};
pub use state_machine::{Command, Fatal, Responses, SnapshotSource, StateMachine};
pub use transport::{Delivery, Inbox, InboxHandler, Refusal, Sent, SentDropped, Transport, TransportError};
