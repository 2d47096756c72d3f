//! Backends that keep everything in memory: the reference for the conformance suites, and quick parts
//! for anyone's tests.
//!
//! None of them starts a thread, opens a file or reads a clock.

mod disk;
mod inbox;
mod journal;
mod network;
mod snapshots;
mod state_machine;

pub use disk::MemoryDisk;
pub use inbox::{Arrival, TestInbox};
pub use journal::MemoryJournal;
pub use network::{MemoryNetwork, MemoryTransport};
pub use snapshots::{MemorySnapshotDisk, MemorySnapshots};
pub use state_machine::{Recorded, Recorder, RecordingMachine, Register, RegisterCommand};
