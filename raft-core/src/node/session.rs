//! Exactly-once sessions as applications hold them (dissertation §6.3).

use core::fmt;
use core::time::Duration;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ::tokio::sync::oneshot;
use bytes::Bytes;

use super::handle::NodeHandle;
use super::protocol::Request;
use super::waiters::{Applied, BatchReply};
use crate::error::{Outcome, ProposeError};
use crate::ids::SessionId;
use crate::session::{Mark, Op, SessionRefusal, marked_len};

/// Why a command of a session has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// This attempt has no answer. The same call may be sent again, here or through another node, whatever
    /// the outcome: it is executed once.
    #[error(transparent)]
    Propose(#[from] ProposeError),
    /// All nodes refuse it.
    #[error(transparent)]
    Refused(#[from] SessionRefusal),
    /// As many calls are under way as the session's window has room for. Not sent; end one first.
    #[error("{open} calls of session {session} are under way, as many as may be")]
    WindowFull {
        /// The session.
        session: SessionId,
        /// How many.
        open: usize,
    },
}

impl SessionError {
    /// What this attempt has left behind.
    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        match self {
            Self::Propose(error) => error.outcome(),
            Self::Refused(refusal) => refusal.outcome(),
            Self::WindowFull { .. } => Outcome::NotApplied,
        }
    }

    /// Whether sending the same call again, perhaps through another node, can still bring an answer.
    #[must_use]
    pub const fn may_be_sent_again(&self) -> bool {
        match self {
            Self::Propose(error) => !matches!(error, ProposeError::TooLarge { .. }),
            Self::Refused(refusal) => {
                matches!(refusal, SessionRefusal::Full { .. } | SessionRefusal::OutsideWindow { .. })
            }
            Self::WindowFull { .. } => true,
        }
    }
}

impl NodeHandle {
    /// Opens a session: its commands are executed once, however often they are sent. It lives until it was not
    /// used for `timeout` of the log's time (at least one second, at most `Config::sessions.timeout`, which is
    /// also the default), or until it is closed.
    ///
    /// # Errors
    /// [`SessionError`]. An opening whose outcome is unknown may have left a session that nobody knows; it
    /// expires.
    ///
    /// # Example
    /// ```
    /// # async fn example(node: raft_core::NodeHandle) -> Result<(), Box<dyn std::error::Error>> {
    /// let session = node.open_session(None).await?;
    /// let mut call = session.call("add 4")?;
    /// let applied = loop {
    ///     // Executed once, however often this is.
    ///     match call.send(&node).await {
    ///         Ok(applied) => break applied,
    ///         Err(error) if error.may_be_sent_again() => {}
    ///         Err(error) => return Err(error.into()),
    ///     }
    /// };
    /// println!("{:?}", applied.response);
    /// session.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn open_session(&self, timeout: Option<Duration>) -> Result<Session, SessionError> {
        let limits = self.shared.session_limits;
        let op = Op::Open { timeout: limits.grant(timeout), limits };
        let id = self.session_op(op).await?;
        Ok(Session::resume(self.clone(), id, 1))
    }

    /// Says that a session is still used, and that its client needs no answers to commands below
    /// `acknowledged_below`. For clients that keep their own numbers; see [`Session::keep_alive`].
    ///
    /// # Errors
    /// [`SessionError`]; it may be called again.
    pub async fn keep_session_alive(
        &self,
        session: SessionId,
        acknowledged_below: u64,
    ) -> Result<(), SessionError> {
        self.session_op(Op::KeepAlive { session, acknowledged_below }).await.map(drop)
    }

    /// Closes a session. For clients that keep their own numbers; see [`Session::close`].
    ///
    /// # Errors
    /// [`SessionError`]; it may be called again, and is then refused as not open if it was closed.
    pub async fn close_session(&self, session: SessionId) -> Result<(), SessionError> {
        self.session_op(Op::Close { session }).await.map(drop)
    }

    /// Proposes commands in order, in one log entry, of which some belong to sessions. For servers whose clients
    /// keep their own numbers; see [`Session`] for the rest. Each has its own answer: what was executed
    /// before, or is refused, is left out, and the others are executed all the same.
    ///
    /// # Errors
    /// [`ProposeError`], for all of them alike. [`ProposeError::TooLarge`] if together they exceed
    /// `command_limit_bytes`, each beyond the first with 28 bytes more.
    ///
    /// # Example
    /// A client says that this is its command 7 in session 1042, and that it has the answers to all before:
    ///
    /// ```
    /// # async fn example(node: raft_core::NodeHandle) -> Result<(), Box<dyn std::error::Error>> {
    /// use raft_core::ids::SessionId;
    /// use raft_core::session::Mark;
    ///
    /// let mark = Mark { session: SessionId(1042), sequence: 7, acknowledged_below: 7 };
    /// let answers = node.propose_marked(vec![(Some(mark), "add 4".into())]).await?;
    /// for answer in answers {
    ///     println!("{:?}", answer?.response);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Cancellation
    /// A dropped future leaves commands that were sent on their way.
    pub async fn propose_marked(
        &self,
        commands: Vec<(Option<Mark>, Bytes)>,
    ) -> Result<Vec<Result<Applied, SessionRefusal>>, ProposeError> {
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        let (marks, commands): (Vec<_>, Vec<_>) = commands.into_iter().unzip();
        let total = commands.iter().map(Bytes::len).sum();
        let bytes = marked_len(commands.len(), 0, total) - marked_len(1, 0, 0);
        let (reply, answer) = oneshot::channel();
        self.submit(commands, marks, bytes as u64, BatchReply::Marked(reply))?;
        answer.await.unwrap_or_else(|_| Err(ProposeError::Unknown { term: self.status().term }))
    }

    /// How many sessions are open as far as this node has applied, and what they hold, in bytes.
    #[must_use]
    pub fn sessions(&self) -> (u64, u64) {
        (self.shared.sessions.open(), self.shared.sessions.bytes())
    }

    async fn session_op(&self, op: Op) -> Result<SessionId, SessionError> {
        let (reply, answer) = oneshot::channel();
        let reply = BatchReply::Session(reply);
        if self.requests.send(Request::Session { op, reply }).is_err() {
            return Err(self.gone().into());
        }
        let lost = || ProposeError::Unknown { term: self.status().term };
        Ok(answer.await.map_err(|_| lost())???)
    }
}

/// A client's session: numbers commands so that each is executed once, however often it is sent.
///
/// It is bound to its name, not to a node: a call can be sent through any node's handle. Clones share the
/// numbers and may be used at the same time.
#[derive(Clone)]
pub struct Session {
    id: SessionId,
    node: NodeHandle,
    numbers: Arc<Numbers>,
}

struct Numbers {
    state: Mutex<NumbersState>,
    window: usize,
}

struct NumbersState {
    next: u64,
    /// Calls that have not ended.
    open: BTreeSet<u64>,
}

impl Numbers {
    /// Held for a few steps only, and never across an await.
    fn lock(&self) -> MutexGuard<'_, NumbersState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn below(&self) -> u64 {
        let state = self.lock();
        state.open.first().copied().unwrap_or(state.next)
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Session {
    /// A session that was opened before, by this program or by one that is gone. Commands are numbered from
    /// `next_sequence` on: all below are acknowledged, and a command that was sent under a number from there on is
    /// not executed again under it.
    #[must_use]
    pub fn resume(node: NodeHandle, id: SessionId, next_sequence: u64) -> Self {
        let window = node.shared.session_limits.window as usize;
        let state = Mutex::new(NumbersState { next: next_sequence, open: BTreeSet::new() });
        Self { id, node, numbers: Arc::new(Numbers { state, window }) }
    }

    /// Its name in the cluster.
    #[must_use]
    pub const fn id(&self) -> SessionId {
        self.id
    }

    /// The number that the next call gets: what [`resume`](Self::resume) takes.
    #[must_use]
    pub fn next_sequence(&self) -> u64 {
        self.numbers.lock().next
    }

    /// Takes the next number for a command. Nothing is sent yet. Ending the call, with an answer or by dropping
    /// it, acknowledges it.
    ///
    /// # Errors
    /// [`SessionError::WindowFull`]
    pub fn call(&self, command: impl Into<Bytes>) -> Result<Call, SessionError> {
        let mut state = self.numbers.lock();
        let first = state.open.first().copied().unwrap_or(state.next);
        if state.next - first >= self.numbers.window as u64 {
            return Err(SessionError::WindowFull { session: self.id, open: state.open.len() });
        }
        let sequence = state.next;
        state.next += 1;
        state.open.insert(sequence);
        drop(state);
        Ok(Call { session: self.clone(), sequence, command: command.into(), may_be_applied: false })
    }

    /// Sends a command once, through the node that the session was opened or resumed with.
    ///
    /// # Errors
    /// [`CallFailed`], which has the call: send that again, so that it is executed once.
    ///
    /// # Cancellation
    /// As dropping a [`Call`].
    pub async fn propose(&self, command: impl Into<Bytes>) -> Result<Applied, Box<CallFailed>> {
        let command = command.into();
        let mut call = match self.call(command.clone()) {
            Ok(call) => call,
            Err(error) => return Err(Box::new(CallFailed { error, call: None, command })),
        };
        match call.send(&self.node).await {
            Ok(applied) => Ok(applied),
            Err(error) => Err(Box::new(CallFailed { error, call: Some(call), command })),
        }
    }

    /// Says that the session is still used. Commands say so too.
    ///
    /// # Errors
    /// [`SessionError`]; it may be called again.
    pub async fn keep_alive(&self) -> Result<(), SessionError> {
        self.node.keep_session_alive(self.id, self.numbers.below()).await
    }

    /// Closes it. Calls that have not ended are refused from then on.
    ///
    /// # Errors
    /// [`SessionError`]; a session that is not closed expires.
    pub async fn close(&self) -> Result<(), SessionError> {
        self.node.close_session(self.id).await
    }
}

/// A command under its number: it may be sent as often as it takes, and is executed once.
///
/// Dropped before it was answered, it is given up: it may have been executed, may yet be, and cannot be
/// asked for any more.
#[derive(Debug)]
pub struct Call {
    session: Session,
    sequence: u64,
    command: Bytes,
    may_be_applied: bool,
}

impl Call {
    /// Its number.
    #[must_use]
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Whether it may have been executed by an attempt that was not answered.
    #[must_use]
    pub const fn may_be_applied(&self) -> bool {
        self.may_be_applied
    }

    /// Sends it through this node. An answer is that of the only execution, whichever attempt that was.
    ///
    /// # Errors
    /// [`SessionError`]; [`may_be_sent_again`](SessionError::may_be_sent_again) tells whether that makes
    /// sense, and [`may_be_applied`](Self::may_be_applied) what is known if it does not.
    ///
    /// # Cancellation
    /// A dropped future leaves an attempt on its way; the call may be sent again.
    pub async fn send(&mut self, node: &NodeHandle) -> Result<Applied, SessionError> {
        let acknowledged_below = self.session.numbers.below();
        let mark = Mark { session: self.session.id, sequence: self.sequence, acknowledged_below };
        let before = self.may_be_applied;
        // Until it is known: the future may be dropped.
        self.may_be_applied = true;
        let answer = node.propose_marked(vec![(Some(mark), self.command.clone())]).await;
        let result = match answer.map(|mut answers| answers.pop()) {
            Ok(Some(answer)) => answer.map_err(SessionError::Refused),
            Ok(None) => Err(ProposeError::Unknown { term: node.status().term }.into()),
            Err(error) => Err(SessionError::Propose(error)),
        };
        match &result {
            Ok(_) => self.end(),
            Err(error) if error.outcome() == Outcome::NotApplied => self.may_be_applied = before,
            Err(_) => {}
        }
        result
    }

    fn end(&self) {
        self.session.numbers.lock().open.remove(&self.sequence);
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.end();
    }
}

/// A command of a session that was sent once and not answered.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct CallFailed {
    /// Why.
    pub error: SessionError,
    /// To be sent again. `None` if there was no number for it: it was not sent.
    pub call: Option<Call>,
    /// The command.
    pub command: Bytes,
}
