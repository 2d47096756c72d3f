//! The runtime that people use: tokio's clock, timers and tasks. The only file that names them.

#![expect(clippy::disallowed_methods, reason = "the one file that may name tokio's clock and tasks")]

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;
use std::hash::{BuildHasher, RandomState};

use ::tokio::time::{Instant, Sleep};

use crate::backend::{Runtime, Timer};
use crate::time::Time;

/// Runs a node on the tokio runtime that it is created in, of either flavour.
///
/// The clock is tokio's monotonic one, so that tests may pause it. On Linux it stands still while the
/// machine is suspended; nothing here depends on it for safety.
#[derive(Clone, Debug)]
pub struct TokioRuntime {
    handle: ::tokio::runtime::Handle,
    origin: Instant,
}

impl TokioRuntime {
    /// The current runtime.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use]
    pub fn current() -> Self {
        Self { handle: ::tokio::runtime::Handle::current(), origin: Instant::now() }
    }
}

impl Runtime for TokioRuntime {
    fn now(&self) -> Time {
        Time::ZERO + self.origin.elapsed()
    }

    fn timer(&self) -> Pin<Box<dyn Timer>> {
        // Whoever asks may stand in another runtime, or in none.
        let _entered = self.handle.enter();
        let sleep = Box::pin(::tokio::time::sleep_until(self.origin));
        Box::pin(TokioTimer { origin: self.origin, sleep, at: None })
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
    sleep: Pin<Box<Sleep>>,
    at: Option<Time>,
}

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
            let deadline = self.origin + Duration::from_nanos(at.as_nanos());
            self.sleep.as_mut().reset(deadline);
        }
    }

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Some(at) = self.at else { return Poll::Pending };
        let deadline = self.origin + Duration::from_nanos(at.as_nanos());
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
