//! The wait between two attempts.

use core::time::Duration;

/// How long to wait between attempts: doubling, with jitter, without an end (T4).
#[derive(Clone, Debug)]
pub struct Backoff {
    least: Duration,
    most: Duration,
    next: Duration,
    random: u64,
}

impl Backoff {
    /// Waits from `least` to `most`. The jitter comes from `random`: another number for each peer and lane, so that
    /// those who have lost the same node do not come back all at once.
    #[must_use]
    pub const fn new(least: Duration, most: Duration, random: u64) -> Self {
        Self { least, most, next: least, random: random | 1 }
    }

    /// Begins anew: the next attempt is likely to succeed.
    pub const fn reset(&mut self) {
        self.next = self.least;
    }

    /// The next wait is about this long or longer: it will not be better at once.
    pub fn at_least(&mut self, least: Duration) {
        self.next = self.next.max(least);
    }

    /// The next wait: between half of what it has come to and all of it.
    pub fn wait(&mut self) -> Duration {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let wait = self.next;
        self.next = (self.next * 2).min(self.most.max(self.next));
        let part = u32::try_from(self.random % 1000).unwrap_or(0);
        wait / 2 + wait * part / 2000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_with_jitter_to_a_bound() {
        let (least, most) = (Duration::from_millis(10), Duration::from_millis(1000));
        let mut backoff = Backoff::new(least, most, 1);
        let waits: Vec<Duration> = (0..12).map(|_| backoff.wait()).collect();
        assert!(waits[0] >= least / 2 && waits[0] < least);
        assert!(waits[11] >= most / 2 && waits[11] < most);
        backoff.at_least(most * 5);
        assert!(backoff.wait() >= most * 5 / 2);
        backoff.reset();
        assert!(backoff.wait() < least);
        let mut other = Backoff::new(least, most, 2);
        assert_ne!(waits, (0..12).map(|_| other.wait()).collect::<Vec<_>>(), "jitter");
    }
}
