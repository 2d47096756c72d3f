//! How a journal behaves.

use std::time::Duration;

use crate::layout::BLOCK_BYTES;

/// When entries are made durable. The hard state and the known peers always are at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// Before a write returns. The only choice under which Raft keeps its promises.
    #[default]
    Always,
    /// At the latest after this time. A crash of the machine may lose what was acknowledged since; a
    /// crash of the process loses nothing. A node that lost so much that a leader notices is refused as
    /// set back, and needs a new identity.
    Interval(Duration),
    /// When the system likes, and when the journal is closed. A crash of the machine may lose anything
    /// since; a crash of the process loses nothing. As for `Interval`, the loss may be noticed.
    Never,
}

/// How a journal behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// When entries are made durable.
    pub durability: Durability,
    /// The size of a segment, in bytes; at least 16 KiB. Bigger writes get a bigger segment.
    pub segment_bytes: u64,
    /// From batches of this mean size on, in bytes, the next segment is reserved, and not written with zeros
    /// beforehand, and up to eight times larger than others. Zeros make syncs of little faster; where much is written the
    /// disk has half as much to write without them. Default 128 KiB. Where the file system knows no reservation, zeros
    /// are written always.
    pub reserve_from_bytes: u64,
    /// Entries of up to this many bytes together are written by the task that asks for it, which blocks its thread for a
    /// sync, as long as the node says that nobody comes meanwhile
    /// ([`JournalWrite::alone`](raft_core::backend::JournalWrite::alone)) or a write has fewer than three commands in the mean, and
    /// the last one took 2 ms at most; everything else, and everything by default (0), by the journal's own thread. It saves two
    /// hand-overs between threads, which take as long as a good part of a sync. The thread of the task does nothing else meanwhile, so this is for a runtime that
    /// serves this node alone. If the disk hangs, so does that runtime, once: the node is as if frozen, and a leader is
    /// replaced by the others instead of handing over (M11). Not with [`Durability::Interval`], whose syncs are the
    /// thread's.
    pub inline_bytes: u64,
    /// Open although acknowledged entries of a single voter are lost. Has no effect otherwise.
    pub accept_loss: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            durability: Durability::Always,
            segment_bytes: 16 << 20,
            reserve_from_bytes: 128 << 10,
            inline_bytes: 0,
            accept_loss: false,
        }
    }
}

impl Options {
    /// With another durability.
    #[must_use]
    pub const fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// With another size of segments, in bytes.
    #[must_use]
    pub const fn segment_bytes(mut self, bytes: u64) -> Self {
        self.segment_bytes = bytes;
        self
    }

    /// With segments that are reserved from batches of another mean size on, in bytes.
    #[must_use]
    pub const fn reserve_from_bytes(mut self, bytes: u64) -> Self {
        self.reserve_from_bytes = bytes;
        self
    }

    /// With entries of up to so many bytes written by the task that asks, where nobody else comes meanwhile or few do.
    #[must_use]
    pub const fn inline_bytes(mut self, bytes: u64) -> Self {
        self.inline_bytes = bytes;
        self
    }

    /// With or without accepting the loss of a single voter's entries.
    #[must_use]
    pub const fn accept_loss(mut self, accept: bool) -> Self {
        self.accept_loss = accept;
        self
    }

    /// The size of segments in whole blocks, in bytes.
    pub(crate) fn segment_size(&self) -> u64 {
        self.segment_bytes.clamp(4 * BLOCK_BYTES, 1 << 40).next_multiple_of(BLOCK_BYTES)
    }
}
