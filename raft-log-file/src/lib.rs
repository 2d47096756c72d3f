//! A journal in flat files for `raft-core`: segments, checksums, a durability witness, typed verdicts.
//!
//! [`FileJournal`] is what a node takes. Beneath it [`Store`] is the journal itself, synchronous and over
//! a [`vfs::Vfs`], so that tests and simulators can run it on a disk of their own.
//!
//! [`FileSnapshots`] keeps snapshots in a folder beside it; beneath it [`SnapshotFiles`], synchronous.
//!
//! Read in this order: `docs/journal-format.md` (the bytes and the rules), `layout` and
//! `hard_state` (the files), `record` and `segment` (a batch, a file of batches), `store` (writing), `cases` and `recover`
//! (judging what is found), `open` (acting on it), `index` and `read`, `view` (looking at one that is not open), `journal`,
//! `worker` (threads).

mod cases;
mod error;
mod hard_state;
mod index;
mod journal;
mod layout;
mod open;
mod options;
mod read;
mod record;
mod recover;
mod segment;
mod snapshots;
mod spare;
mod store;
mod verify;
pub mod vfs;
mod view;
mod worker;

pub use cases::{Case, Policy, ROWS, Row};
pub use journal::FileJournal;
pub use open::Owner;
pub use options::{Durability, Options};
pub use read::LogReader;
pub use recover::Finding;
pub use snapshots::{CompleteFile, FileSnapshots, PartFile, SnapshotFiles};
pub use spare::{Spare, SpareJob};
pub use store::Store;
pub use verify::{Report, verify};
pub use view::FileView;
