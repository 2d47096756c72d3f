//! What clients asked and were told, with times.

/// An operation's number in its history, from 0 in the order in which they were added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpId(pub usize);

/// How an operation ended.
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
    #[must_use]
    pub const fn completed(&self) -> Option<u64> {
        match self.outcome {
            Outcome::Completed { at, .. } => Some(at),
            Outcome::Unknown | Outcome::Failed => None,
        }
    }

    /// What the client was told, if it was.
    #[must_use]
    pub const fn output(&self) -> Option<&O> {
        match &self.outcome {
            Outcome::Completed { output, .. } => Some(output),
            Outcome::Unknown | Outcome::Failed => None,
        }
    }
}

/// Why a record was refused.
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
    #[must_use]
    pub const fn new() -> Self {
        Self { operations: Vec::new() }
    }

    /// A client asks. Until it is settled, the operation's outcome is unknown.
    pub fn invoke(&mut self, client: u64, at: u64, input: I) -> OpId {
        let id = OpId(self.operations.len());
        self.operations.push(Operation { client, invoked: at, input, outcome: Outcome::Unknown });
        id
    }

    /// The client is told.
    ///
    /// # Errors
    /// If there is no such operation, it is settled already, or it was invoked later.
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
    pub fn fail(&mut self, id: OpId) -> Result<(), HistoryError> {
        self.open(id)?.outcome = Outcome::Failed;
        Ok(())
    }

    /// Adds a whole operation.
    ///
    /// # Errors
    /// If it completed before it was invoked.
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
    #[must_use]
    pub fn operations(&self) -> &[Operation<I, O>] {
        &self.operations
    }

    /// One operation.
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
