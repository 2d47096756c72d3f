//! A history that many threads or tasks write.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{History, HistoryError, OpId};

/// Records a history from many clients at once. Clones share the history.
///
/// Its clock is a counter that grows with each call, so no two events have the same time: the order of the
/// calls is the order of the events.
///
/// # Examples
/// ```
/// use std::thread;
///
/// use raft_testkit::linearizability::{HistoryRecorder, Kv, KvInput, KvOutput, Limits, check};
///
/// let recorder: HistoryRecorder<KvInput, KvOutput> = HistoryRecorder::new();
/// thread::scope(|scope| {
///     for client in 0..4 {
///         let recorder = recorder.clone();
///         scope.spawn(move || {
///             let put = recorder.invoke(client, KvInput::put("x", "a"));
///             recorder.complete(put, KvOutput::Done)
///         });
///     }
/// });
/// let history = recorder.take();
/// assert_eq!(history.operations().len(), 4);
/// assert!(check(&Kv::new(), &history, Limits::steps(1000)).is_ok());
/// ```
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
    ///
    /// # Examples
    /// ```
    /// use raft_testkit::linearizability::{HistoryRecorder, KvInput, KvOutput};
    ///
    /// let recorder: HistoryRecorder<KvInput, KvOutput> = HistoryRecorder::new();
    /// let first = recorder.invoke(1, KvInput::get("x"));
    /// assert_eq!(recorder.take().get(first).unwrap().invoked, 1);
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self { inner: Arc::new(Mutex::new(Inner { history: History::new(), clock: 0 })) }
    }

    /// Call it before the request leaves.
    ///
    /// # Examples
    /// ```
    /// use raft_testkit::linearizability::{HistoryRecorder, KvInput, KvOutput};
    ///
    /// let recorder: HistoryRecorder<KvInput, KvOutput> = HistoryRecorder::new();
    /// let one = recorder.invoke(1, KvInput::get("x"));
    /// let two = recorder.invoke(2, KvInput::get("x"));
    /// // No two have the same time.
    /// let history = recorder.take();
    /// assert!(history.get(one).unwrap().invoked < history.get(two).unwrap().invoked);
    /// ```
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
    ///
    /// # Examples
    /// ```
    /// use raft_testkit::linearizability::{HistoryRecorder, KvInput, KvOutput};
    ///
    /// let recorder: HistoryRecorder<KvInput, KvOutput> = HistoryRecorder::new();
    /// let put = recorder.invoke(1, KvInput::put("x", "a"));
    /// // The request leaves, the answer comes.
    /// recorder.complete(put, KvOutput::Done)?;
    /// let get = recorder.invoke(1, KvInput::get("x"));
    /// let history = recorder.take();
    /// assert!(history.get(put).unwrap().completed() < Some(history.get(get).unwrap().invoked));
    /// # Ok::<(), raft_testkit::linearizability::HistoryError>(())
    /// ```
    pub fn complete(&self, id: OpId, output: O) -> Result<(), HistoryError> {
        let mut inner = self.tick();
        let at = inner.clock;
        inner.history.complete(id, at, output)
    }

    /// The operation certainly had no effect.
    ///
    /// # Errors
    /// If there is no such operation or it is settled already.
    ///
    /// # Examples
    /// ```
    /// use raft_testkit::linearizability::{HistoryRecorder, KvInput, KvOutput, Outcome};
    ///
    /// let recorder: HistoryRecorder<KvInput, KvOutput> = HistoryRecorder::new();
    /// // A node that does not lead has taken nothing.
    /// let refused = recorder.invoke(1, KvInput::put("x", "a"));
    /// recorder.fail(refused)?;
    /// assert_eq!(recorder.take().get(refused).unwrap().outcome, Outcome::Failed);
    /// # Ok::<(), raft_testkit::linearizability::HistoryError>(())
    /// ```
    pub fn fail(&self, id: OpId) -> Result<(), HistoryError> {
        self.tick().history.fail(id)
    }

    /// Takes what was recorded so far and starts again with nothing. What is open stays unknown.
    ///
    /// # Examples
    /// ```
    /// use raft_testkit::linearizability::{HistoryError, HistoryRecorder, KvInput, KvOutput};
    ///
    /// let recorder: HistoryRecorder<KvInput, KvOutput> = HistoryRecorder::new();
    /// let open = recorder.invoke(1, KvInput::get("x"));
    /// assert_eq!(recorder.take().operations().len(), 1);
    /// // What was open then is no part of what is recorded now.
    /// let late = recorder.complete(open, KvOutput::nothing());
    /// assert_eq!(late, Err(HistoryError::NoSuchOperation(open)));
    /// ```
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
