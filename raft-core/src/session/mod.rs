//! Exactly-once client sessions (dissertation §6.3): a command that is sent twice is executed once.
//!
//! A client opens a session, numbers its commands, and says with each below which number it needs no answer any
//! more. What was executed is remembered in a [`Table`], the same on all nodes because it follows from the
//! log alone: a command that comes again is not executed again, its answer is given from the table.
//!
//! * **Whether a command is executed depends on the log only**: on what was opened, executed, acknowledged and
//!   on the log's time. It never depends on what a state machine answered, so that a node whose state machine
//!   kept its state over a restart, and no answers, decides as all others do.
//! * **Log time** ([`LogTime`]): leaders stamp entries of sessions with it; it never goes back and does not run
//!   while there is no leader. A session that was not used for its timeout of log time has expired, on all
//!   nodes at the same entry.
//! * **Bounds** ([`Limits`]) travel in the log with each opening, so that nodes with other settings agree.
//!
//! Pure: no I/O, no clock, `no_std`. The formats are in `docs/entry-format.md`.

mod clock;
mod codec;
mod op;
mod packed;
mod table;

pub use clock::{LogClock, LogTime};
pub use codec::MalformedTable;
pub use op::{MalformedOp, Op, Stamped};
pub(crate) use packed::COUNT_AT;
pub use packed::{Packed, is_marked, marked_len, pack_marked, unpack_any};
pub use table::{Decision, Place, Table};

use core::time::Duration;

use crate::error::Outcome;
use crate::ids::{LogId, SessionId};

/// What makes a command one of a session.
///
/// ```
/// use std::time::Duration;
///
/// use raft_core::ids::{Index, LogId};
/// use raft_core::session::{Decision, Limits, Mark, Op, Place, Table};
///
/// let mut table = Table::new();
/// let open = Op::Open { timeout: Duration::from_secs(60), limits: Limits::DEFAULT };
/// let session = table.execute(Index(12), open).unwrap();
/// let mark = Mark { session, sequence: 1, acknowledged_below: 1 };
/// let place = |index| Place { id: LogId::new(3, index), position: 0 };
/// assert_eq!(table.decide(mark, place(13)), Decision::Execute);
/// table.answered(mark, b"done");
/// // The client got no answer and sends it again: it gets the answer, and nothing is done twice.
/// assert_eq!(table.decide(mark, place(14)), Decision::Answer(place(13), (*b"done").into()));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mark {
    /// The session.
    pub session: SessionId,
    /// The command's number in it. The same number is the same command.
    pub sequence: u64,
    /// The client needs no answers to commands below this one, and will not send them again.
    pub acknowledged_below: u64,
}

/// Bounds of the table. Part of the log, with each opening.
///
/// ```
/// use std::time::Duration;
///
/// use raft_core::Config;
/// use raft_core::ids::{ClusterId, NodeId};
///
/// let mut config = Config::new(NodeId(1), ClusterId(0x3b1f));
/// // Few clients, that are away for an hour at times.
/// config.sessions.sessions = 100;
/// config.sessions.timeout = Duration::from_secs(3600);
/// assert_eq!(config.validate(), Ok(()));
/// // More than there is room for in the head of a snapshot.
/// config.sessions.answer_bytes = 1 << 30;
/// assert!(config.validate().is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Limits {
    /// Sessions that are open at once; one more is refused. Default 10,000.
    pub sessions: u32,
    /// Commands of one session that are not acknowledged; one beyond is refused. Default 1024.
    pub window: u32,
    /// Commands of all sessions that are not acknowledged; one more is refused. Default 131,072.
    pub records: u32,
    /// Answers that are kept, of all sessions, in bytes. Beyond it the oldest are forgotten: that a command
    /// was executed is still known then, what it answered is not. An answer of more than a sixteenth of this
    /// is not kept at all. Default 16 MiB.
    pub answer_bytes: u64,
    /// How long a session lives without being used, if its client does not want less. Default 5 minutes.
    pub timeout: Duration,
}

impl Limits {
    /// The defaults.
    pub const DEFAULT: Self = Self {
        sessions: 10_000,
        window: 1024,
        records: 1 << 17,
        answer_bytes: 16 << 20,
        timeout: Duration::from_secs(300),
    };

    /// No session lives shorter.
    pub const SHORTEST: Duration = Duration::from_secs(1);

    /// What a client gets that wants a session to live so long without being used.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use raft_core::session::Limits;
    ///
    /// let limits = Limits::DEFAULT;
    /// let minutes = |count: u64| Duration::from_secs(60 * count);
    /// assert_eq!(limits.grant(Some(minutes(2))), minutes(2));
    /// // Nobody gets more than the bound, and nobody nothing.
    /// assert_eq!(limits.grant(Some(minutes(60))), minutes(5));
    /// assert_eq!(limits.grant(Some(Duration::ZERO)), Limits::SHORTEST);
    /// assert_eq!(limits.grant(None), minutes(5));
    /// ```
    #[must_use]
    pub fn grant(&self, wanted: Option<Duration>) -> Duration {
        let longest = self.timeout.max(Self::SHORTEST);
        wanted.map_or(longest, |wanted| wanted.clamp(Self::SHORTEST, longest))
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Why a command of a session, or something about a session, was not done. It stands in the log and all
/// nodes refuse it alike.
///
/// ```
/// use raft_core::ids::{Index, SessionId};
/// use raft_core::session::{Op, SessionRefusal, Table};
///
/// // A client comes back after its session has expired.
/// let session = SessionId(12);
/// let keep_alive = Op::KeepAlive { session, acknowledged_below: 1 };
/// let refusal = Table::new().execute(Index(90), keep_alive).unwrap_err();
/// assert_eq!(refusal, SessionRefusal::NotOpen { session });
/// assert_eq!(
///     refusal.to_string(),
///     "session 12 is not open: it has expired, was closed, or never was"
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum SessionRefusal {
    /// There is no such session. Not applied; if an earlier attempt was not answered, nobody can say what
    /// became of that one.
    #[error("session {session} is not open: it has expired, was closed, or never was")]
    NotOpen {
        /// The session.
        session: SessionId,
    },
    /// The client has said that it needs no answer to this one any more. Not applied, or not again.
    #[error("command {sequence} of session {session} was acknowledged: all below {below} were")]
    Acknowledged {
        /// The session.
        session: SessionId,
        /// The command's number.
        sequence: u64,
        /// All below this one are.
        below: u64,
    },
    /// Too many commands before it are not acknowledged. Not applied.
    #[error(
        "command {sequence} of session {session} is {window} or more beyond {below}, the first that is not acknowledged"
    )]
    OutsideWindow {
        /// The session.
        session: SessionId,
        /// The command's number.
        sequence: u64,
        /// The first that is not acknowledged.
        below: u64,
        /// How many may be.
        window: u32,
    },
    /// Too many commands of all sessions together are not acknowledged. Not applied; in a moment it may be.
    #[error("{records} commands of sessions are not acknowledged, the limit is {limit}")]
    Full {
        /// How many there are.
        records: u64,
        /// The bound.
        limit: u32,
    },
    /// Too many sessions are open. None was opened.
    #[error("{sessions} sessions are open, the limit is {limit}")]
    TooMany {
        /// How many there are.
        sessions: u64,
        /// The bound.
        limit: u32,
    },
    /// It *was* executed before, once, and its answer is not known here any more: it was too large to keep,
    /// it was forgotten for others, or this node's state machine executed it before a restart.
    #[error("command {sequence} of session {session} was executed in entry {at}, its answer was not kept")]
    AnswerNotKept {
        /// The session.
        session: SessionId,
        /// The command's number.
        sequence: u64,
        /// The entry that it was executed in.
        at: LogId,
    },
}

impl SessionRefusal {
    /// What this attempt has left behind. An earlier one that was not answered is another matter.
    ///
    /// ```
    /// use raft_core::error::Outcome;
    /// use raft_core::ids::{LogId, SessionId};
    /// use raft_core::session::SessionRefusal;
    ///
    /// let full = SessionRefusal::Full { records: 131_072, limit: 131_072 };
    /// assert_eq!(full.outcome(), Outcome::NotApplied);
    /// // This is as good as an answer for whoever only has to know that it is done.
    /// let session = SessionId(12);
    /// let done = SessionRefusal::AnswerNotKept { session, sequence: 1, at: LogId::new(3, 13) };
    /// assert_eq!(done.outcome(), Outcome::Applied);
    /// ```
    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        match self {
            Self::AnswerNotKept { .. } => Outcome::Applied,
            _ => Outcome::NotApplied,
        }
    }
}
