//! Judges SQLite's write-ahead log before SQLite sees it: SQLite takes the first bad frame as its end.
//! The format is SQLite's own (<https://www.sqlite.org/fileformat2.html#walformat>).
//!
//! One transaction is under way at a time, and it is synced before the next one begins. So what a crash
//! leaves at the end is a part of one transaction.

use raft_core::slots::SECTOR;

/// The name of the file.
pub(crate) const WAL: &str = "journal.db-wal";

const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;

/// What a write-ahead log is like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// It ends with a complete transaction, or is empty.
    Sound,
    /// The last transaction is incomplete, in a way that a crash explains.
    Torn {
        /// Where it begins, in bytes.
        at: u64,
    },
    /// Damaged in a way that no crash explains.
    Damaged {
        /// Where, in bytes.
        at: u64,
        /// What is wrong.
        reason: &'static str,
        /// A later transaction proves that the damaged one was acknowledged.
        proved: bool,
    },
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk::<4>().map(|four| u32::from_be_bytes(*four))
}

/// SQLite's checksum over pairs of words.
fn checksum(big: bool, mut sum: (u32, u32), bytes: &[u8]) -> (u32, u32) {
    let (pairs, _) = bytes.as_chunks::<8>();
    for [a, b, c, d, e, f, g, h] in pairs {
        let read = |four| if big { u32::from_be_bytes(four) } else { u32::from_le_bytes(four) };
        sum.0 = sum.0.wrapping_add(read([*a, *b, *c, *d])).wrapping_add(sum.1);
        sum.1 = sum.1.wrapping_add(read([*e, *f, *g, *h])).wrapping_add(sum.0);
    }
    sum
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

/// Looks at a whole file.
pub(crate) fn judge(bytes: &[u8]) -> Shape {
    let Some((header, frames)) = bytes.split_at_checked(HEADER) else {
        return if bytes.is_empty() { Shape::Sound } else { Shape::Torn { at: 0 } };
    };
    let damaged = |at: usize, reason, proved| Shape::Damaged { at: at as u64, reason, proved };
    if is_zero(bytes) {
        return Shape::Torn { at: 0 };
    }
    let magic = word(header, 0).unwrap_or(0);
    let big = magic & 1 == 1;
    let mut sum = checksum(big, (0, 0), header.get(..24).unwrap_or_default());
    let stored = (word(header, 24).unwrap_or(0), word(header, 28).unwrap_or(0));
    let page = word(header, 8).unwrap_or(0) as usize;
    if magic & !1 != 0x377f_0682 || sum != stored || !page.is_power_of_two() || !(512..=65536).contains(&page)
    {
        // The header is synced before the first frame is written.
        return damaged(0, "the header of the write-ahead log", !frames.is_empty());
    }
    let salt = header.get(16..24).unwrap_or_default();
    let mut sound_to = HEADER;
    let mut at = HEADER;
    let mut broken = None;
    for frame in frames.chunks(FRAME_HEADER + page) {
        let whole = frame.len() == FRAME_HEADER + page;
        let same_salt = frame.get(8..16) == Some(salt);
        let commits = word(frame, 4).unwrap_or(0) != 0;
        if broken.is_none() {
            let next = checksum(big, sum, frame.get(..8).unwrap_or_default());
            let next = checksum(big, next, frame.get(FRAME_HEADER..).unwrap_or_default());
            let stored = (word(frame, 16).unwrap_or(0), word(frame, 20).unwrap_or(0));
            if whole && same_salt && next == stored {
                sum = next;
                if commits {
                    sound_to = at + frame.len();
                }
            } else {
                let lacks = !whole || frame.chunks(SECTOR).any(is_zero);
                broken = Some((at, lacks, commits && same_salt));
            }
        } else if let Some((first, lacks, ended)) = broken {
            // The frame after one that ended a transaction belongs to a later one.
            if ended && whole && same_salt {
                return damaged(first, "a frame of the write-ahead log", true);
            }
            broken = Some((first, lacks, ended || (commits && same_salt && whole)));
        }
        at += frame.len();
    }
    match broken {
        Some((first, false, _)) => damaged(first, "a frame of the write-ahead log", false),
        Some((_, true, _)) => Shape::Torn { at: sound_to as u64 },
        None if sound_to < at => Shape::Torn { at: sound_to as u64 },
        None => Shape::Sound,
    }
}
