//! A journal in SQLite for `raft-core`, which notices what SQLite alone forgets.
//!
//! SQLite takes the first bad frame of its write-ahead log as the end of that log: one flipped bit and
//! every later transaction is gone, and `PRAGMA integrity_check` says `ok`. Nor does it look at the bytes
//! of a payload. So here every row has a checksum and a chain, a watermark outside the database says how
//! far the database must reach, the write-ahead log is judged before SQLite sees it, and the hard state
//! is not in the database at all.
//!
//! Read in this order: `docs/journal-sqlite.md` (the bytes and the rules), `rows` (checksums), `beside`
//! (the files beside the database), `wal` (judging the write-ahead log), `db` (the one connection, as sqlx has it), `direct` (the same without
//! sqlx's thread), `table` (rows and transactions),
//! `open` (the verdict), `store` (writing, and what an error does), `worker` (who writes), `journal` (what a node takes), `view` (looking at one that is not open).
//! `snapshots` is a store of its own, apart from the journal.

mod beside;
mod db;
mod direct;
mod error;
mod journal;
mod open;
mod options;
mod rows;
mod scan;
mod snapshots;
mod store;
#[cfg(test)]
mod store_tests;
mod table;
mod verify;
mod view;
mod wal;
mod worker;

pub use beside::Finding;
pub use journal::SqliteJournal;
pub use options::{Faults, Options, Owner, Witness};
pub use snapshots::SqliteSnapshots;
pub use verify::Report;
pub use view::SqliteView;
