//! What a transport counts.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts since the transport was created.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Connections that this node made, handshake completed.
    pub dialled: u64,
    /// Connections that peers made, handshake completed.
    pub accepted: u64,
    /// Handshakes refused, by this node or by the peer.
    pub refused: u64,
    /// Connections closed because of what came over them.
    pub misbehaved: u64,
    /// Connections turned away because there were too many, or closed before the handshake in time.
    pub turned_away: u64,
    /// Messages dropped instead of queued.
    pub dropped: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) dialled: AtomicU64,
    pub(crate) accepted: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) misbehaved: AtomicU64,
    pub(crate) turned_away: AtomicU64,
    pub(crate) dropped: AtomicU64,
}

/// One more.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Counters {
    pub(crate) fn stats(&self) -> Stats {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            dialled: of(&self.dialled),
            accepted: of(&self.accepted),
            refused: of(&self.refused),
            misbehaved: of(&self.misbehaved),
            turned_away: of(&self.turned_away),
            dropped: of(&self.dropped),
        }
    }
}
