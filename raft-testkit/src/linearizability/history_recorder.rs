//! A history that many threads or tasks write.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{History, HistoryError, OpId};

/// Records a history from many clients at once. Clones share the history.
///
/// Its clock is a counter that grows with each call, so no two events have the same time: the order of the
/// calls is the order of the events.
#[derive(Debug)]
pub struct HistoryRecorder<I, O> {
    inner: Arc<Mutex<Inner<I, O>>>,
}

#[derive(Debug)]
struct Inner<I, O> {
    history: History<I, O>,
    clock: u64,
}

impl<I, O> Clone for HistoryRecorder<I, O> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<I, O> Default for HistoryRecorder<I, O> {
    fn default() -> Self {
        Self::new()
    }
}

impl<I, O> HistoryRecorder<I, O> {
    /// Starts with nothing, at time 1.
    #[must_use]
    pub fn new() -> Self {
        Self { inner: Arc::new(Mutex::new(Inner { history: History::new(), clock: 0 })) }
    }

    /// Call it before the request leaves.
    #[must_use]
    pub fn invoke(&self, client: u64, input: I) -> OpId {
        let mut inner = self.tick();
        let at = inner.clock;
        inner.history.invoke(client, at, input)
    }

    /// Call it after the answer came.
    ///
    /// # Errors
    /// If there is no such operation or it is settled already.
    pub fn complete(&self, id: OpId, output: O) -> Result<(), HistoryError> {
        let mut inner = self.tick();
        let at = inner.clock;
        inner.history.complete(id, at, output)
    }

    /// The operation certainly had no effect.
    ///
    /// # Errors
    /// If there is no such operation or it is settled already.
    pub fn fail(&self, id: OpId) -> Result<(), HistoryError> {
        self.tick().history.fail(id)
    }

    /// Takes what was recorded so far and starts again with nothing. What is open stays unknown.
    #[must_use]
    pub fn take(&self) -> History<I, O> {
        core::mem::take(&mut self.tick().history)
    }

    fn tick(&self) -> MutexGuard<'_, Inner<I, O>> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.clock += 1;
        inner
    }
}
