//! The names and sizes of a journal's files.

use raft_core::slots::{COUNT_LIMIT, Layout};

/// The version of the format that this program writes, and the newest that it reads.
pub(crate) const VERSION: u32 = 1;

/// Batches begin at multiples of this, in bytes: an acknowledged byte's block is never written again.
pub(crate) const BLOCK: usize = 4096;
/// The same as a file position.
pub(crate) const BLOCK_BYTES: u64 = BLOCK as u64;

/// The file that is locked.
pub(crate) const LOCK: &str = "LOCK";
/// A text that says why the journal must not be opened. Where it exists, it is not.
pub(crate) const CLOSED: &str = "CLOSED";
/// The slots of the superblock: even generations, odd generations.
pub(crate) const SUPER: [&str; 2] = ["super.a", "super.b"];
/// The slots of the hard state.
pub(crate) const HARD_STATE: [&str; 2] = ["hs.a", "hs.b"];
/// The slots of the table of known peers.
pub(crate) const PEERS: [&str; 2] = ["peers.a", "peers.b"];
/// The end of the name of a file that is being made. Such a file holds nothing.
pub(crate) const TEMPORARY: &str = ".tmp";

/// How the superblock is stored.
pub(crate) const SUPER_LAYOUT: Layout = Layout { kind: *b"SUPR", version: VERSION, stride: 4096 };
/// How the hard state is stored.
pub(crate) const HARD_STATE_LAYOUT: Layout = Layout { kind: *b"HARD", version: VERSION, stride: 4096 };
/// How the known peers are stored: more than a sector, so a torn newer slot falls back to the older.
pub(crate) const PEERS_LAYOUT: Layout = Layout { kind: *b"PEER", version: VERSION, stride: 8192 };
/// How the header of a segment is stored: one slot at its start, two copies.
pub(crate) const SEGMENT_LAYOUT: Layout = Layout { kind: *b"SEGM", version: VERSION, stride: 2048 };

/// The name of a segment.
pub(crate) fn segment_name(seq: u64) -> String {
    format!("seg-{seq:016x}.log")
}

/// The number of the segment of that name.
pub(crate) fn segment_seq(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("seg-")?.strip_suffix(".log")?;
    let seq = u64::from_str_radix(digits, 16).ok()?;
    (segment_name(seq) == name && seq <= COUNT_LIMIT).then_some(seq)
}

/// Whether a name is one of a journal's data files.
pub(crate) fn is_data(name: &str) -> bool {
    HARD_STATE.contains(&name) || PEERS.contains(&name) || segment_seq(name).is_some()
}

/// Whether a name is that of an unfinished file.
pub(crate) fn is_temporary(name: &str) -> bool {
    name.strip_suffix(TEMPORARY).is_some_and(|name| is_data(name) || SUPER.contains(&name))
}
