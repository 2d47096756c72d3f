//! The numbers of the format. `docs/kv-snapshot-format.md` has the tables.

/// How a snapshot begins.
pub(super) const MAGIC: [u8; 4] = *b"RKVS";
/// The version that this program writes, and the newest that it reads.
pub(super) const VERSION: u32 = 1;

/// What an item is.
pub(super) const TEXT: u8 = 1;
pub(super) const LIST: u8 = 2;
pub(super) const HASH: u8 = 3;
pub(super) const SET: u8 = 4;
/// The end of the snapshot.
pub(super) const END: u8 = 255;
