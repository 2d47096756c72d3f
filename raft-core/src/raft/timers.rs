//! Deadlines: an enum and a table. The next timeout is their minimum.

use core::time::Duration;

use crate::time::Time;

/// What a deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Timer {
    /// Not a leader: when to campaign (§5.2).
    Election,
    /// A leader: when to say so again.
    Heartbeat,
    /// A leader: when to look whether a quorum still answers (M8).
    Quorum,
    /// A leader: when to give up handing over.
    Transfer,
    /// Everybody: when the oldest write under way counts as hanging.
    Disk,
    /// A leader: until when a change of the membership waits for new voters.
    Change,
    /// When those who left have had the time to learn of it.
    Departure,
    /// When a journal whose disk is full is asked again.
    Space,
    /// A leader, while entries for some followers wait: when they have waited long enough, or a commit is late.
    Spare,
}

const COUNT: usize = 9;

/// One optional deadline for each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Timers([Option<Time>; COUNT]);

impl Timers {
    pub(crate) fn set(&mut self, timer: Timer, at: Time) {
        self.0[timer as usize] = Some(at);
    }

    pub(crate) fn stop(&mut self, timer: Timer) {
        self.0[timer as usize] = None;
    }

    #[cfg(feature = "trace")]
    pub(crate) const fn at(&self, timer: Timer) -> Option<Time> {
        self.0[timer as usize]
    }

    pub(crate) fn next(&self) -> Option<Time> {
        self.0.iter().flatten().min().copied()
    }

    /// Whether this one is over; if so it is stopped.
    pub(crate) fn fired(&mut self, timer: Timer, now: Time) -> bool {
        let over = self.0[timer as usize].is_some_and(|at| at <= now);
        if over {
            self.stop(timer);
        }
        over
    }
}

/// A small generator (SplitMix64, Steele et al. 2014) for jitter: not for secrets. One seed, one sequence, on every
/// platform.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Jitter(u64);

impl Jitter {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Somewhere from `least` to before `below`.
    pub(crate) fn between(&mut self, least: Duration, below: Duration) -> Duration {
        let span = u64::try_from(below.saturating_sub(least).as_nanos()).unwrap_or(u64::MAX);
        if span == 0 {
            return least;
        }
        // The bias of the remainder is below 2^-24 for spans up to 18 minutes.
        least + Duration::from_nanos(self.next() % span)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_timeout_is_the_earliest() {
        let mut timers = Timers::default();
        assert_eq!(timers.next(), None);
        timers.set(Timer::Election, Time::from_nanos(9));
        timers.set(Timer::Quorum, Time::from_nanos(5));
        assert_eq!(timers.next(), Some(Time::from_nanos(5)));
        assert!(!timers.fired(Timer::Quorum, Time::from_nanos(4)));
        assert!(timers.fired(Timer::Quorum, Time::from_nanos(5)));
        assert!(!timers.fired(Timer::Quorum, Time::from_nanos(6)), "fires once");
        assert_eq!(timers.next(), Some(Time::from_nanos(9)));
    }

    #[test]
    fn jitter_stays_in_its_span_and_repeats() {
        let (least, below) = (Duration::from_millis(300), Duration::from_millis(600));
        let draw = |seed| {
            let mut jitter = Jitter::new(seed);
            core::array::from_fn::<_, 50, _>(|_| jitter.between(least, below))
        };
        assert!(draw(7).iter().all(|d| *d >= least && *d < below));
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        assert_eq!(Jitter::new(1).between(least, least), least);
    }
}
