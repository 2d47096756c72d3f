//! The runtime that people use: tokio's clock, timers and tasks. The only file that names them.

#![expect(clippy::disallowed_methods, reason = "the one file that may name tokio's clock and tasks")]

use core::future::Future;
use core::pin::Pin;
use core::sync::atomic::{AtomicU64, Ordering};
use core::task::{Context, Poll};
use core::time::Duration;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use ::tokio::time::{Instant, Sleep};

use crate::backend::{Runtime, Timer};
use crate::time::Time;

/// Runs a node on the tokio runtime that it is created in, of either flavour.
///
/// The clock is tokio's monotonic one, so that tests may pause it, and on Linux the time that the machine was
/// suspended (which the monotonic clock leaves out): a lease does not outlive a night in a closed laptop. On other
/// systems the clock stands still while the machine sleeps; leases ([`Config::lease`](crate::Config::lease)) are not for
/// machines that do so there. Nothing else depends on it for safety.
#[derive(Clone, Debug)]
pub struct TokioRuntime {
    handle: ::tokio::runtime::Handle,
    origin: Instant,
    slept: Arc<Slept>,
}

/// How long the machine has been suspended since the origin.
#[derive(Debug)]
struct Slept {
    /// By how much the clock that goes on was ahead at the origin, in nanoseconds.
    ahead: u64,
    /// The most that was seen: the two clocks cannot be read at one moment, and time never runs backwards.
    nanos: AtomicU64,
}

/// What the two clocks may differ by in being read one after the other, in nanoseconds.
const READING: u64 = 1_000_000;

impl Slept {
    fn new() -> Self {
        Self { ahead: ahead(), nanos: AtomicU64::new(0) }
    }

    fn span(&self) -> Duration {
        let now = ahead().saturating_sub(self.ahead);
        let now = if now < READING { 0 } else { now };
        Duration::from_nanos(self.nanos.fetch_max(now, Ordering::AcqRel).max(now))
    }
}

/// By how much the clock that goes on during a suspend is ahead of the one that stands still.
#[cfg(target_os = "linux")]
fn ahead() -> u64 {
    use rustix::time::{ClockId, Timespec, clock_gettime};
    let nanos = |time: Timespec| time.tv_sec * 1_000_000_000 + time.tv_nsec;
    let still = nanos(clock_gettime(ClockId::Monotonic));
    u64::try_from(nanos(clock_gettime(ClockId::Boottime)) - still).unwrap_or(0)
}

#[cfg(not(target_os = "linux"))]
fn ahead() -> u64 {
    0
}

impl TokioRuntime {
    /// The current runtime.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use]
    pub fn current() -> Self {
        let handle = ::tokio::runtime::Handle::current();
        Self { handle, origin: Instant::now(), slept: Arc::new(Slept::new()) }
    }
}

impl Runtime for TokioRuntime {
    fn now(&self) -> Time {
        Time::ZERO + self.origin.elapsed() + self.slept.span()
    }

    fn timer(&self) -> Pin<Box<dyn Timer>> {
        // Whoever asks may stand in another runtime, or in none.
        let _entered = self.handle.enter();
        let sleep = Box::pin(::tokio::time::sleep_until(self.origin));
        let slept = Arc::clone(&self.slept);
        Box::pin(TokioTimer { origin: self.origin, slept, sleep, at: None })
    }

    fn spawn(&self, _name: &'static str, task: Pin<Box<dyn Future<Output = ()> + Send>>) {
        self.handle.spawn(task);
    }

    fn seed(&self) -> u64 {
        RandomState::new().hash_one(self.origin)
    }
}

struct TokioTimer {
    origin: Instant,
    slept: Arc<Slept>,
    sleep: Pin<Box<Sleep>>,
    at: Option<Time>,
}

impl TokioTimer {
    /// On tokio's clock. After a suspend a timer is late by what was left of it then, once.
    fn deadline(&self, at: Time) -> Instant {
        let still = Duration::from_nanos(at.as_nanos()).saturating_sub(self.slept.span());
        self.origin.checked_add(still).unwrap_or(self.origin + FAR)
    }
}

/// As good as never.
const FAR: Duration = Duration::from_secs(60 * 60 * 24 * 365);

impl Timer for TokioTimer {
    fn set(mut self: Pin<&mut Self>, at: Option<Time>) {
        if self.at == at {
            return;
        }
        // A later deadline needs no call to the timer wheel: it is set again when the earlier one fires.
        let sooner = match (self.at, at) {
            (Some(before), Some(now)) => now < before,
            (None, Some(_)) => true,
            _ => false,
        };
        self.at = at;
        if let Some(at) = at
            && sooner
        {
            let deadline = self.deadline(at);
            self.sleep.as_mut().reset(deadline);
        }
    }

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Some(at) = self.at else { return Poll::Pending };
        let deadline = self.deadline(at);
        loop {
            if self.sleep.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            if self.sleep.deadline() >= deadline {
                self.at = None;
                return Poll::Ready(());
            }
            self.sleep.as_mut().reset(deadline);
        }
    }
}
