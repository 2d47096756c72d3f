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
