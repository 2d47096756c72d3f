//! How long things take: counts in a fixed table, so that whoever measures neither locks nor allocates.

use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;

/// Four buckets for each doubling, from a microsecond to about a minute.
const BUCKETS: usize = 104;

/// Which bucket counts a duration of so many microseconds.
fn bucket(micros: u64) -> usize {
    let Some(doublings) = micros.checked_ilog2().filter(|doublings| *doublings >= 2) else {
        return usize::try_from(micros).unwrap_or_default();
    };
    let quarter = (micros >> (doublings - 2)) & 3;
    let at = u64::from(doublings - 1) * 4 + quarter;
    usize::try_from(at).unwrap_or(usize::MAX).min(BUCKETS - 1)
}

/// The least duration that this bucket counts, in microseconds.
const fn least(at: usize) -> u64 {
    if at < 4 { at as u64 } else { (4 + at as u64 % 4) << (at / 4 - 1) }
}

/// Counts durations. Any thread may add one: that is two additions.
pub struct Durations {
    counts: [AtomicU64; BUCKETS],
    nanos: AtomicU64,
}

impl Default for Durations {
    fn default() -> Self {
        Self { counts: [const { AtomicU64::new(0) }; BUCKETS], nanos: AtomicU64::new(0) }
    }
}

impl core::fmt::Debug for Durations {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.counts().fmt(f)
    }
}

impl Durations {
    /// Counts one.
    pub fn record(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        if let Some(count) = self.counts.get(bucket(micros)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// What was counted so far. What comes in meanwhile may be there in part.
    #[must_use]
    pub fn counts(&self) -> DurationCounts {
        let counts =
            core::array::from_fn(|at| self.counts.get(at).map_or(0, |count| count.load(Ordering::Relaxed)));
        DurationCounts { counts, sum: Duration::from_nanos(self.nanos.load(Ordering::Relaxed)) }
    }
}

/// Durations that were counted, each to about a fifth.
///
/// ```
/// use core::time::Duration;
/// use raft_core::node::Durations;
///
/// let writes = Durations::default();
/// for millis in 1..=100 {
///     writes.record(Duration::from_millis(millis));
/// }
/// let earlier = writes.counts();
/// writes.record(Duration::from_secs(1));
/// let all = writes.counts();
/// assert_eq!(all.count(), 101);
/// let median = all.quantile(0.5).unwrap();
/// assert!((40..=60).contains(&median.as_millis()), "{median:?}");
/// assert_eq!(all.since(&earlier).count(), 1);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DurationCounts {
    counts: [u64; BUCKETS],
    sum: Duration,
}

impl Default for DurationCounts {
    fn default() -> Self {
        Self { counts: [0; BUCKETS], sum: Duration::ZERO }
    }
}

impl DurationCounts {
    /// How many there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// All of them together.
    #[must_use]
    pub const fn sum(&self) -> Duration {
        self.sum
    }

    /// Those that were counted after `earlier`, which was taken of the same.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut counts = self.counts;
        for (count, before) in counts.iter_mut().zip(&earlier.counts) {
            *count = count.saturating_sub(*before);
        }
        Self { counts, sum: self.sum.saturating_sub(earlier.sum) }
    }

    /// How long one took than which this part of all took no longer; `None` if there were none.
    #[must_use]
    pub fn quantile(&self, part: f64) -> Option<Duration> {
        let wanted = part.clamp(0.0, 1.0) * self.count() as f64;
        let mut seen = 0;
        let found = self.buckets().find(|(_, count)| {
            seen += *count;
            seen as f64 >= wanted
        });
        found.map(|(duration, _)| duration)
    }

    /// The middle of each bucket that is not empty, and its count, the shortest durations first.
    pub fn buckets(&self) -> impl Iterator<Item = (Duration, u64)> + '_ {
        self.counts.iter().enumerate().filter(|(_, count)| **count > 0).map(|(at, count)| {
            let middle = (least(at) + least(at + 1)) * 500;
            (Duration::from_nanos(middle), *count)
        })
    }
}

/// What a node measures of itself, since it started.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    pub(crate) journal_write: Durations,
    pub(crate) commit: Durations,
    pub(crate) hold: Durations,
}

/// How long a node's work takes, since it started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timings {
    /// A write to the journal, until it is durable.
    pub journal_write: DurationCounts,
    /// On a leader: an entry that somebody waits for, from its proposal until it is known to be committed.
    pub commit: DurationCounts,
    /// On a leader: commands that were held for callers who were just answered ([`crate::Config::gather_limit`]), from
    /// the first of them until they were proposed, or refused since it leads no more. Commands that were not held are not
    /// counted.
    pub hold: DurationCounts,
}

impl Timers {
    pub(crate) fn timings(&self) -> Timings {
        let Self { journal_write, commit, hold } = self;
        Timings { journal_write: journal_write.counts(), commit: commit.counts(), hold: hold.counts() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duration_is_in_the_bucket_whose_ends_it_lies_between() {
        let mut all: Vec<u64> = (0..4096).collect();
        all.extend(
            (12..26).flat_map(|doublings| [(1 << doublings) - 1, 1 << doublings, (1 << doublings) + 1]),
        );
        for micros in all {
            let at = bucket(micros);
            assert!((least(at)..least(at + 1)).contains(&micros), "{micros} us in bucket {at}");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_of_nothing_and_of_one() {
        let durations = Durations::default();
        assert_eq!(durations.counts().quantile(0.5), None);
        durations.record(Duration::from_micros(100));
        for part in [0.0, 0.5, 1.0] {
            let found = durations.counts().quantile(part).unwrap();
            assert!((90..=120).contains(&found.as_micros()), "{found:?}");
        }
        assert_eq!(durations.counts().sum(), Duration::from_micros(100));
    }
}
