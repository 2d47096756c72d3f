//! What a transport counts.

use core::sync::atomic::{AtomicU64, Ordering};

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

/// Where a transport counts; see [`Stats`] for what each is.
#[derive(Debug, Default)]
pub struct Counters {
    /// [`Stats::dialled`].
    pub dialled: AtomicU64,
    /// [`Stats::accepted`].
    pub accepted: AtomicU64,
    /// [`Stats::refused`].
    pub refused: AtomicU64,
    /// [`Stats::misbehaved`].
    pub misbehaved: AtomicU64,
    /// [`Stats::turned_away`].
    pub turned_away: AtomicU64,
    /// [`Stats::dropped`].
    pub dropped: AtomicU64,
}

/// One more.
pub fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Counters {
    /// The counts now.
    #[must_use]
    pub fn stats(&self) -> Stats {
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
