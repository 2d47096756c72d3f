//! What clients asked and were told, with times.

/// An operation's number in its history, from 0 in the order in which they were added.
///
/// # Examples
/// ```
/// use raft_testkit::linearizability::{History, KvInput, KvOutput, OpId};
///
/// let mut history: History<KvInput, KvOutput> = History::new();
/// history.invoke(1, 10, KvInput::get("x"));
/// // Numbers are given in the order in which operations are added.
/// assert_eq!(history.invoke(2, 5, KvInput::get("y")), OpId(1));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpId(pub usize);

/// How an operation ended.
///
/// # Examples
/// ```
/// use raft_testkit::linearizability::{History, KvInput, KvOutput, Outcome};
///
/// let mut history: History<KvInput, KvOutput> = History::new();
/// let lost = history.invoke(1, 10, KvInput::put("x", "a"));
/// let refused = history.invoke(2, 20, KvInput::put("x", "b"));
/// history.fail(refused)?;
/// // A timeout tells nothing: what is not settled may have taken effect.
/// assert_eq!(history.get(lost).unwrap().outcome, Outcome::Unknown);
/// assert_eq!(history.get(refused).unwrap().outcome, Outcome::Failed);
/// # Ok::<(), raft_testkit::linearizability::HistoryError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<O> {
    /// The client was told.
    Completed {
        /// When, by the same clock as the invocation.
        at: u64,
        /// What.
        output: O,
    },
    /// Nobody knows: it took effect once, at any time since its invocation, or never.
    Unknown,
    /// It certainly had no effect and never will have one.
    Failed,
}

/// One operation of one client.
///
/// # Examples
/// ```
/// use raft_testkit::linearizability::{History, KvInput, KvOutput, Operation, Outcome};
///
/// // As a log of a client's has it.
/// let outcome = Outcome::Completed { at: 30, output: KvOutput::Done };
/// let put = Operation { client: 1, invoked: 20, input: KvInput::put("x", "a"), outcome };
/// let mut history: History<KvInput, KvOutput> = History::new();
/// let id = history.push(put.clone())?;
/// assert_eq!(history.get(id), Some(&put));
/// # Ok::<(), raft_testkit::linearizability::HistoryError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation<I, O> {
    /// Whose; for the counterexample only.
    pub client: u64,
    /// When the client asked. The unit does not matter: only the order counts.
    pub invoked: u64,
    /// What it asked.
    pub input: I,
    /// What came of it.
    pub outcome: Outcome<O>,
}

impl<I, O> Operation<I, O> {
    /// When it completed, if it did.
    ///
    /// # Examples
    /// ```
    /// use raft_testkit::linearizability::{History, KvInput, KvOutput};
    ///
    /// let mut history: History<KvInput, KvOutput> = History::new();
    /// let put = history.invoke(1, 10, KvInput::put("x", "a"));
    /// history.complete(put, 25, KvOutput::Done)?;
    /// history.invoke(2, 30, KvInput::get("x"));
    /// let times: Vec<Option<u64>> = history.operations().iter().map(|one| one.completed()).collect();
    /// assert_eq!(times, [Some(25), None]);
    /// # Ok::<(), raft_testkit::linearizability::HistoryError>(())
    /// ```
    #[must_use]
    pub const fn completed(&self) -> Option<u64> {
        match self.outcome {
            Outcome::Completed { at, .. } => Some(at),
            Outcome::Unknown | Outcome::Failed => None,
        }
    }

    /// What the client was told, if it was.
    ///
    /// # Examples
    /// ```
    /// use raft_testkit::linearizability::{History, KvInput, KvOutput};
    ///
    /// let mut history: History<KvInput, KvOutput> = History::new();
    /// let get = history.invoke(1, 10, KvInput::get("x"));
    /// assert_eq!(history.get(get).unwrap().output(), None);
    /// history.complete(get, 25, KvOutput::value("a"))?;
    /// assert_eq!(history.get(get).unwrap().output(), Some(&KvOutput::value("a")));
    /// # Ok::<(), raft_testkit::linearizability::HistoryError>(())
    /// ```
    #[must_use]
    pub const fn output(&self) -> Option<&O> {
        match &self.outcome {
            Outcome::Completed { output, .. } => Some(output),
            Outcome::Unknown | Outcome::Failed => None,
        }
    }
}

/// Why a record was refused.
///
/// # Examples
/// ```
/// use raft_testkit::linearizability::{History, HistoryError, KvInput, KvOutput};
///
/// let mut history: History<KvInput, KvOutput> = History::new();
/// let get = history.invoke(1, 10, KvInput::get("x"));
/// let early = history.complete(get, 9, KvOutput::nothing());
/// assert_eq!(early, Err(HistoryError::CompletedFirst { id: get, invoked: 10, completed: 9 }));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HistoryError {
    /// No operation has this number.
    #[error("there is no operation {0:?}")]
    NoSuchOperation(OpId),
    /// The operation has completed or failed before.
    #[error("{0:?} is settled already")]
    Settled(OpId),
    /// An operation cannot complete before it was invoked.
    #[error("{id:?} was invoked at {invoked}, after its completion at {completed}")]
    CompletedFirst {
        /// Which.
        id: OpId,
        /// When it was invoked.
        invoked: u64,
        /// When it is said to have completed.
        completed: u64,
    },
}

/// What clients asked and were told, with times.
///
/// One operation precedes another if it completed at a *smaller* time than the other was invoked at; with
/// equal times they count as concurrent, so a coarse clock makes the check weaker, never wrong.
///
/// # Examples
/// ```
/// use raft_testkit::linearizability::{History, Kv, KvInput, KvOutput, Limits, check};
///
/// let mut history: History<KvInput, KvOutput> = History::new();
/// let put = history.invoke(1, 10, KvInput::put("x", "a"));
/// let get = history.invoke(2, 20, KvInput::get("x"));
/// history.complete(put, 20, KvOutput::Done)?;
/// history.complete(get, 30, KvOutput::nothing())?;
/// // The write completed at the time at which the read was invoked: they count as concurrent.
/// assert!(check(&Kv::new(), &history, Limits::steps(100)).is_ok());
/// # Ok::<(), raft_testkit::linearizability::HistoryError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History<I, O> {
    operations: Vec<Operation<I, O>>,
}

impl<I, O> Default for History<I, O> {
    fn default() -> Self {
        Self::new()
    }
}

impl<I, O> History<I, O> {
    /// A history of nothing.
    ///
    /// # Examples
    /// ```
    /// use raft_testkit::linearizability::{History, Kv, KvInput, KvOutput, Limits, check};
    ///
    /// let history: History<KvInput, KvOutput> = History::new();
    /// assert!(history.operations().is_empty());
    /// // Whatever does nothing does nothing wrong: a test should see that there was something to check.
    /// assert!(check(&Kv::new(), &history, Limits::steps(0)).is_ok());
    /// ```
    #[must_use]
    pub const fn new() -> Self {
        Self { operations: Vec::new() }
    }

    /// A client asks. Until it is settled, the operation's outcome is unknown.
    ///
    /// # Examples
    /// ```
    /// use raft_testkit::linearizability::{History, KvInput, KvOutput, Outcome};
    ///
    /// let mut history: History<KvInput, KvOutput> = History::new();
    /// let put = history.invoke(7, 10, KvInput::put("x", "a"));
    /// let operation = history.get(put).unwrap();
    /// assert_eq!((operation.client, operation.invoked), (7, 10));
    /// assert_eq!(operation.outcome, Outcome::Unknown);
    /// ```
    pub fn invoke(&mut self, client: u64, at: u64, input: I) -> OpId {
        let id = OpId(self.operations.len());
        self.operations.push(Operation { client, invoked: at, input, outcome: Outcome::Unknown });
        id
    }

    /// The client is told.
    ///
    /// # Errors
    /// If there is no such operation, it is settled already, or it was invoked later.
    ///
    /// # Examples
    /// ```
    /// use raft_testkit::linearizability::{History, HistoryError, KvInput, KvOutput};
    ///
    /// let mut history: History<KvInput, KvOutput> = History::new();
    /// let put = history.invoke(1, 10, KvInput::put("x", "a"));
    /// history.complete(put, 20, KvOutput::Done)?;
    /// // A client is told once.
    /// assert_eq!(history.complete(put, 30, KvOutput::Done), Err(HistoryError::Settled(put)));
    /// # Ok::<(), raft_testkit::linearizability::HistoryError>(())
    /// ```
    pub fn complete(&mut self, id: OpId, at: u64, output: O) -> Result<(), HistoryError> {
        let operation = self.open(id)?;
        if at < operation.invoked {
            return Err(HistoryError::CompletedFirst { id, invoked: operation.invoked, completed: at });
        }
        operation.outcome = Outcome::Completed { at, output };
        Ok(())
    }

    /// The operation certainly had no effect and never will have one. A timeout does not tell that.
    ///
    /// # Errors
    /// If there is no such operation or it is settled already.
    ///
    /// # Examples
    /// ```
    /// use raft_testkit::linearizability::{History, Kv, KvInput, KvOutput, Limits, check};
    ///
    /// let mut history: History<KvInput, KvOutput> = History::new();
    /// let put = history.invoke(1, 10, KvInput::put("x", "a"));
    /// history.fail(put)?;
    /// let get = history.invoke(1, 20, KvInput::get("x"));
    /// history.complete(get, 30, KvOutput::value("a"))?;
    /// // Somebody was told that it was not done, and it was.
    /// assert!(check(&Kv::new(), &history, Limits::steps(100)).is_illegal());
    /// # Ok::<(), raft_testkit::linearizability::HistoryError>(())
    /// ```
    pub fn fail(&mut self, id: OpId) -> Result<(), HistoryError> {
        self.open(id)?.outcome = Outcome::Failed;
        Ok(())
    }

    /// Adds a whole operation.
    ///
    /// # Errors
    /// If it completed before it was invoked.
    ///
    /// # Examples
    /// ```
    /// use raft_testkit::linearizability::{History, KvInput, KvOutput, Operation, Outcome};
    ///
    /// let get = |invoked, at| {
    ///     let outcome = Outcome::Completed { at, output: KvOutput::nothing() };
    ///     Operation { client: 1, invoked, input: KvInput::get("x"), outcome }
    /// };
    /// let mut history: History<KvInput, KvOutput> = History::new();
    /// assert!(history.push(get(10, 20)).is_ok());
    /// assert!(history.push(get(10, 9)).is_err(), "clocks that do not agree are found at once");
    /// ```
    pub fn push(&mut self, operation: Operation<I, O>) -> Result<OpId, HistoryError> {
        let id = OpId(self.operations.len());
        if let Some(completed) = operation.completed()
            && completed < operation.invoked
        {
            return Err(HistoryError::CompletedFirst { id, invoked: operation.invoked, completed });
        }
        self.operations.push(operation);
        Ok(id)
    }

    /// All operations; an operation's [`OpId`] is its place.
    ///
    /// # Examples
    /// ```
    /// use raft_testkit::linearizability::{History, KvInput, KvOutput, Outcome};
    ///
    /// let mut history: History<KvInput, KvOutput> = History::new();
    /// let put = history.invoke(1, 10, KvInput::put("x", "a"));
    /// history.complete(put, 20, KvOutput::Done)?;
    /// history.invoke(2, 30, KvInput::get("x"));
    /// // How many are open: each makes the search longer.
    /// let all = history.operations();
    /// assert_eq!(all.iter().filter(|one| one.outcome == Outcome::Unknown).count(), 1);
    /// # Ok::<(), raft_testkit::linearizability::HistoryError>(())
    /// ```
    #[must_use]
    pub fn operations(&self) -> &[Operation<I, O>] {
        &self.operations
    }

    /// One operation.
    ///
    /// # Examples
    /// ```
    /// use raft_testkit::linearizability::{History, KvInput, KvOutput, OpId};
    ///
    /// let mut history: History<KvInput, KvOutput> = History::new();
    /// let get = history.invoke(1, 10, KvInput::get("x"));
    /// assert_eq!(history.get(get).unwrap().input, KvInput::get("x"));
    /// assert!(history.get(OpId(1)).is_none());
    /// ```
    #[must_use]
    pub fn get(&self, id: OpId) -> Option<&Operation<I, O>> {
        self.operations.get(id.0)
    }

    fn open(&mut self, id: OpId) -> Result<&mut Operation<I, O>, HistoryError> {
        let operation = self.operations.get_mut(id.0).ok_or(HistoryError::NoSuchOperation(id))?;
        match operation.outcome {
            Outcome::Unknown => Ok(operation),
            Outcome::Completed { .. } | Outcome::Failed => Err(HistoryError::Settled(id)),
        }
    }
}
