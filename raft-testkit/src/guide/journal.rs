#![doc = include_str!("journal.md")]
//! # A whole one
//!
//! In three files of a folder: `log`, `meta` and `LOCK`. It passes every clause, and it has these limits, each of which another
//! journal may lift: all entries since the last purge are in memory as well; a purge writes the rest of the log anew; so does
//! opening; to verify any part it reads all of its file; nobody reads while it writes; a write blocks the thread that polls it, so give the node a runtime with several; a cluster of one node whose log is
//! damaged is refused, and there is no switch to accept the loss.
//!
//! ```
#![doc = include_str!("custom-journal.rs")]
//! # fn main() {}
//! ```
//!
//! # Its tests
//!
//! The whole of `tests/conformance.rs`. `cargo test` says `j01_acknowledged_survives_reopening ... ok` and so on.
//!
//! ```ignore
#![doc = include_str!("custom-journal-tests.rs")]
//! ```
//!
//! The package is `examples/custom-journal`, outside of the workspace as yours is.
