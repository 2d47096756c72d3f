//! The log's time: what sessions expire by. LogCabin calls it cluster time.

use core::fmt;
use core::time::Duration;

use crate::time::Time;

/// Nanoseconds that clusters' leaders have counted since the first one of them, as stamped into the log.
///
/// It never goes back. It stands still while nobody leads, and between the last stamp of a leader and the first
/// of the next: sessions live a little longer then, never shorter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogTime(u64);

impl LogTime {
    /// Before any stamp.
    pub const ZERO: Self = Self(0);

    /// So many nanoseconds after the first stamp.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the first stamp.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// So much later. Saturates, after 584 years.
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl fmt::Display for LogTime {
    /// In seconds, with milliseconds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}", self.0 / 1_000_000_000, self.0 / 1_000_000 % 1000)
    }
}

/// A leader's log time: the last stamp that is known, and what has passed on this node's own clock since.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct LogClock {
    base: LogTime,
    at: Time,
}

impl LogClock {
    /// This node begins to lead: it goes on where the last stamp stands.
    pub fn restart(&mut self, now: Time) {
        self.at = now;
    }

    /// An entry with this stamp was applied, or is known. Another leader's may be ahead of what is counted
    /// here.
    pub fn observe(&mut self, now: Time, stamp: LogTime) {
        if stamp > self.read(now) {
            *self = Self { base: stamp, at: now };
        }
    }

    /// The stamp for an entry that is appended now. Later ones are never before it.
    pub fn stamp(&mut self, now: Time) -> LogTime {
        let base = self.read(now);
        *self = Self { base, at: self.at.max(now) };
        base
    }

    fn read(&self, now: Time) -> LogTime {
        self.base.after(now.since(self.at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(nanos: u64) -> Time {
        Time::from_nanos(nanos)
    }

    #[test]
    fn it_counts_while_this_node_leads_and_stands_still_otherwise() {
        let mut clock = LogClock::default();
        clock.restart(at(1000));
        assert_eq!(clock.stamp(at(1000)), LogTime::ZERO);
        assert_eq!(clock.stamp(at(1500)), LogTime(500));
        // It led no more, and leads again: what passed in between does not count.
        clock.restart(at(9000));
        assert_eq!(clock.stamp(at(9001)), LogTime(501));
    }

    #[test]
    fn it_never_goes_back_whatever_others_have_stamped() {
        let mut clock = LogClock::default();
        clock.observe(at(10), LogTime(7_000));
        clock.restart(at(100));
        assert_eq!(clock.stamp(at(100)), LogTime(7_000));
        clock.observe(at(150), LogTime(3_000));
        assert_eq!(clock.stamp(at(150)), LogTime(7_050), "an earlier stamp sets nothing back");
        clock.observe(at(200), LogTime(8_000));
        assert_eq!(clock.stamp(at(200)), LogTime(8_000));
        assert_eq!(clock.stamp(at(90)), LogTime(8_000), "nor does a clock that does");
        assert_eq!(clock.stamp(at(201)), LogTime(8_001));
    }

    #[test]
    fn it_ends_rather_than_overflow() {
        let mut clock = LogClock::default();
        clock.observe(at(0), LogTime(u64::MAX - 1));
        clock.restart(at(0));
        assert_eq!(clock.stamp(at(5)), LogTime(u64::MAX));
        assert_eq!(LogTime(1).after(Duration::MAX), LogTime(u64::MAX));
        assert_eq!(alloc::format!("{}", LogTime(61_002_000_000)), "61.002");
    }
}
