//! Time as the core sees it: a number that the driver passes in.

use core::ops::{Add, Sub};
use core::time::Duration;

/// Nanoseconds since an origin that the driver chose. Only differences mean anything.
///
/// Must never run backwards between two calls. It should go on counting while the machine sleeps.
///
/// ```
/// use std::time::Duration;
///
/// use raft_core::time::Time;
///
/// let now = Time::from_nanos(5_000_000);
/// let deadline = now + Duration::from_millis(300);
/// assert!(now < deadline);
/// assert_eq!(deadline - Duration::from_millis(300), now);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    /// The origin.
    pub const ZERO: Self = Self(0);

    /// The moment `nanos` nanoseconds after the origin.
    ///
    /// A driver's clock, with an origin of its own:
    ///
    /// ```
    /// use std::time::Instant;
    ///
    /// use raft_core::time::Time;
    ///
    /// let origin = Instant::now();
    /// let clock = || Time::from_nanos(origin.elapsed().as_nanos() as u64);
    /// let before = clock();
    /// assert!(clock() >= before);
    /// ```
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the origin.
    ///
    /// To keep the latest of several moments where threads share it:
    ///
    /// ```
    /// use std::sync::atomic::{AtomicU64, Ordering};
    ///
    /// use raft_core::time::Time;
    ///
    /// let latest = AtomicU64::new(Time::ZERO.as_nanos());
    /// for moment in [Time::from_nanos(9), Time::from_nanos(7)] {
    ///     latest.fetch_max(moment.as_nanos(), Ordering::Relaxed);
    /// }
    /// assert_eq!(Time::from_nanos(latest.into_inner()), Time::from_nanos(9));
    /// ```
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// How long after `earlier` this is; zero if it is not.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use raft_core::time::Time;
    ///
    /// let heard = Time::from_nanos(40_000_000);
    /// let now = heard + Duration::from_millis(120);
    /// assert_eq!(now.since(heard), Duration::from_millis(120));
    /// assert_eq!(heard.since(now), Duration::ZERO);
    /// ```
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Self;

    /// Saturates at the end of time, about 584 years after the origin.
    fn add(self, after: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(after.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Duration> for Time {
    type Output = Self;

    /// Saturates at the origin.
    fn sub(self, before: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(before.as_nanos()).unwrap_or(u64::MAX)))
    }
}
