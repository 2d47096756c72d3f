//! A panic in a task stops its node with a reason; nothing goes on half alive.

use core::future::{Future, poll_fn};
use core::panic::AssertUnwindSafe;
use std::sync::Arc;

use crate::error::FatalReason;

/// Runs a future; a panic becomes [`FatalReason::Panicked`], and the future is not polled again.
pub(crate) async fn catch<T>(
    task: impl Future<Output = Result<T, Arc<FatalReason>>>,
) -> Result<T, Arc<FatalReason>> {
    let mut task = Box::pin(task);
    poll_fn(|context| {
        let polled = std::panic::catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(context)));
        match polled {
            Ok(poll) => poll,
            Err(panic) => {
                let what = panic
                    .downcast_ref::<&str>()
                    .map(|text| String::from(*text))
                    .or_else(|| panic.downcast_ref::<String>().cloned())
                    .unwrap_or_else(|| String::from("without a message"));
                core::task::Poll::Ready(Err(Arc::new(FatalReason::Panicked(what))))
            }
        }
    })
    .await
}
