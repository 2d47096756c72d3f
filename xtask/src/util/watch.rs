//! When the first acknowledgement after some moment came.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A clock that all clients share, and the watch on their acknowledgements. Times are nanoseconds since it
/// was made.
#[derive(Debug)]
pub(crate) struct Watch {
    origin: Instant,
    /// Acknowledgements of what was sent after this are watched for.
    from: AtomicU64,
    /// The first such acknowledgement.
    first: AtomicU64,
}

impl Watch {
    /// Watches for nothing yet.
    pub(crate) fn new() -> Self {
        Self { origin: Instant::now(), from: AtomicU64::new(u64::MAX), first: AtomicU64::new(u64::MAX) }
    }

    /// The time.
    pub(crate) fn now(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Waits for the next acknowledgement of what is sent after now, and returns now.
    pub(crate) fn begin(&self) -> Instant {
        self.first.store(u64::MAX, Ordering::SeqCst);
        let now = self.now();
        self.from.store(now, Ordering::SeqCst);
        self.origin + Duration::from_nanos(now)
    }

    /// A client was answered.
    pub(crate) fn acked(&self, sent: u64, came: u64) {
        if sent > self.from.load(Ordering::SeqCst) {
            self.first.fetch_min(came, Ordering::SeqCst);
        }
    }

    /// When that acknowledgement came.
    pub(crate) fn first(&self) -> Option<Instant> {
        let at = self.first.load(Ordering::SeqCst);
        (at != u64::MAX).then(|| self.origin + Duration::from_nanos(at))
    }

    /// Watches no longer.
    pub(crate) fn end(&self) {
        self.from.store(u64::MAX, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_sent_later_counts() {
        let watch = Watch::new();
        watch.acked(1, 2);
        watch.begin();
        watch.acked(0, watch.now());
        assert_eq!(watch.first(), None);
        let sent = watch.now() + 1;
        watch.acked(sent, sent + 5);
        watch.acked(sent + 1, sent + 9);
        let first = watch.first();
        assert_eq!(first, Some(watch.origin + Duration::from_nanos(sent + 5)));
        watch.end();
        watch.acked(u64::MAX - 1, 1);
        assert_eq!(watch.first(), first);
    }
}
