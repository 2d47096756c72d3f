//! All that the driver may not take from the environment.

use alloc::boxed::Box;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

use crate::time::Time;

/// A timer that can be set again.
pub trait Timer: Send {
    /// Fires at `at`, or never. Replaces what was set before.
    fn set(self: Pin<&mut Self>, at: Option<Time>);

    /// Ready once the time has come, then pending until it is set again. May be early: the driver asks
    /// the clock.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()>;
}

/// Clock, timers, tasks and randomness. `TokioRuntime` is the one people use; a simulator brings its own.
///
/// # Examples
/// One with another clock, for tests of what a node does as time passes:
///
/// ```
/// # use std::future::Future;
/// # use std::pin::Pin;
/// # use std::sync::atomic::{AtomicU64, Ordering};
/// # use std::task::{Context, Poll};
/// # use std::time::Duration;
/// use raft_core::backend::{Runtime, Timer};
/// use raft_core::time::Time;
///
/// /// Seconds that pass when somebody says so.
/// #[derive(Default)]
/// struct ByHand {
///     seconds: AtomicU64,
/// }
///
/// /// Fires at once: that is allowed, the driver asks the clock.
/// struct Early(Option<Time>);
///
/// impl Timer for Early {
///     fn set(mut self: Pin<&mut Self>, at: Option<Time>) {
///         self.0 = at;
///     }
///
///     fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
///         if self.0.take().is_some() { Poll::Ready(()) } else { Poll::Pending }
///     }
/// }
///
/// impl Runtime for ByHand {
///     fn now(&self) -> Time {
///         Time::ZERO + Duration::from_secs(self.seconds.load(Ordering::Relaxed))
///     }
///
///     fn timer(&self) -> Pin<Box<dyn Timer>> {
///         Box::pin(Early(None))
///     }
///
///     fn spawn(&self, _name: &'static str, task: Pin<Box<dyn Future<Output = ()> + Send>>) {
///         tokio::spawn(task);
///     }
///
///     fn seed(&self) -> u64 {
///         7 // Each run is the same.
///     }
/// }
///
/// let runtime = ByHand::default();
/// let before = runtime.now();
/// runtime.seconds.store(5, Ordering::Relaxed);
/// assert_eq!(runtime.now(), before + Duration::from_secs(5));
/// ```
pub trait Runtime: Send + Sync + 'static {
    /// The time. Never runs backwards.
    fn now(&self) -> Time;

    /// A new timer, not set.
    fn timer(&self) -> Pin<Box<dyn Timer>>;

    /// Runs a task to its end. `name` is for people.
    fn spawn(&self, name: &'static str, task: Pin<Box<dyn Future<Output = ()> + Send>>);

    /// A fresh random number.
    fn seed(&self) -> u64;
}
