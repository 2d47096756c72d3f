//! Why a proposal, a read or a hand-over has come to nothing.

use alloc::string::String;
use alloc::sync::Arc;

use super::{FatalReason, Outcome};
use crate::ids::{LogId, NodeId, Term};
use crate::membership::Member;

/// Why a proposal has no response.
///
/// ```
/// use raft_core::error::{Outcome, ProposeError};
/// use raft_core::ids::Term;
///
/// let lost = ProposeError::Unknown { term: Term(3) };
/// assert_eq!(lost.outcome(), Outcome::Unknown);
/// let large = ProposeError::TooLarge { bytes: 17 << 20, limit_bytes: 16 << 20 };
/// assert_eq!(large.outcome(), Outcome::NotApplied);
/// assert_eq!(large.to_string(), "the command has 17825792 bytes, the limit is 16777216");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProposeError {
    /// Another node leads, or none does. Not applied; ask `leader`.
    #[error("this node does not lead{}", leader.as_ref().map_or_else(|| String::from("; no leader is known"), |m| alloc::format!("; node {} does, at {}", m.id, m.address)))]
    NotLeader {
        /// Who does, as far as this node knows.
        leader: Option<Member>,
    },
    /// Too much is waiting already. Not applied; slow down and send again.
    #[error("{waiting_bytes} bytes are waiting, the limit is {limit_bytes}")]
    Overloaded {
        /// What is waiting, in bytes.
        waiting_bytes: u64,
        /// The bound, in bytes.
        limit_bytes: u64,
    },
    /// The command is larger than the limit. Not applied; will never be.
    #[error("the command has {bytes} bytes, the limit is {limit_bytes}")]
    TooLarge {
        /// Its size, in bytes.
        bytes: u64,
        /// The limit, in bytes.
        limit_bytes: u64,
    },
    /// Leadership is being handed over. Not applied; ask `to` in a moment.
    #[error("leadership is being handed to node {to}")]
    Transferring {
        /// The coming leader.
        to: NodeId,
    },
    /// Another entry was committed in its place. Certainly not applied; may be sent again.
    #[error("superseded: {by} was committed in its place")]
    Superseded {
        /// What stands there.
        by: LogId,
    },
    /// This node stopped leading, or stopped, before it learned. May or may not be applied.
    #[error("unknown whether it will be applied: this node no longer leads term {term}")]
    Unknown {
        /// The term in which it was proposed.
        term: Term,
    },
    /// The node is shutting down. Not applied.
    #[error("the node is shutting down")]
    ShuttingDown,
    /// The node has stopped for the reason given. Not applied.
    #[error("the node has stopped: {0}")]
    Fatal(Arc<FatalReason>),
}

impl ProposeError {
    /// Whether the command may have been applied.
    ///
    /// ```
    /// use raft_core::error::{Outcome, ProposeError};
    /// use raft_core::ids::{LogId, NodeId, Term};
    ///
    /// let failed = [
    ///     ProposeError::Transferring { to: NodeId(2) },
    ///     ProposeError::Superseded { by: LogId::new(4, 18) },
    ///     ProposeError::Unknown { term: Term(3) },
    /// ];
    /// let again = failed.iter().filter(|error| error.outcome() == Outcome::NotApplied);
    /// assert_eq!(again.count(), 2);
    /// ```
    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        match self {
            Self::Unknown { .. } => Outcome::Unknown,
            _ => Outcome::NotApplied,
        }
    }
}

/// Why a linearizable read cannot be answered. A read changes nothing: it may always be sent again.
///
/// ```
/// use raft_core::error::ReadError;
/// use raft_core::ids::NodeId;
/// use raft_core::membership::Member;
///
/// // Where to ask next, if not here.
/// let elsewhere = |error: ReadError| match error {
///     ReadError::NotLeader { leader } => leader.map(|member| member.address),
///     _ => None,
/// };
/// let leader = Some(Member::new(NodeId(2), "10.0.0.2:7101"));
/// assert_eq!(elsewhere(ReadError::NotLeader { leader }).as_deref(), Some("10.0.0.2:7101"));
/// assert_eq!(elsewhere(ReadError::Overloaded), None);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// Another node leads, or none does.
    #[error("this node does not lead")]
    NotLeader {
        /// Who does, as far as this node knows.
        leader: Option<Member>,
    },
    /// Too many reads are waiting.
    #[error("too many reads are waiting")]
    Overloaded,
    /// The node is shutting down.
    #[error("the node is shutting down")]
    ShuttingDown,
    /// The node has stopped for the reason given.
    #[error("the node has stopped: {0}")]
    Fatal(Arc<FatalReason>),
}

/// Why leadership was not handed over. The old leader leads on, unless it says otherwise.
///
/// ```
/// use raft_core::error::TransferError;
/// use raft_core::ids::NodeId;
///
/// // Whether the same may be asked for again with another target.
/// let try_another = |error: &TransferError| {
///     matches!(error, TransferError::BadTarget { .. } | TransferError::TimedOut { .. })
/// };
/// let error = TransferError::TimedOut { to: NodeId(3) };
/// assert!(try_another(&error));
/// assert_eq!(error.to_string(), "node 3 did not take over in time");
/// assert!(!try_another(&TransferError::NobodyReachable));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum TransferError {
    /// Another node leads, or none does.
    #[error("this node does not lead")]
    NotLeader {
        /// Who does, as far as this node knows.
        leader: Option<Member>,
    },
    /// The target does not vote, or is this node.
    #[error("node {to} cannot take over: it is {what}")]
    BadTarget {
        /// The target.
        to: NodeId,
        /// Why it cannot.
        what: &'static str,
    },
    /// No voter has answered within the last election timeout.
    #[error("no voter is reachable to take over")]
    NobodyReachable,
    /// One is under way.
    #[error("leadership is already being handed to node {to}")]
    InProgress {
        /// Its target.
        to: NodeId,
    },
    /// The target did not take over within an election timeout; this node leads on.
    #[error("node {to} did not take over in time")]
    TimedOut {
        /// The target.
        to: NodeId,
    },
    /// The node is shutting down or has stopped.
    #[error("the node has stopped")]
    Stopped,
}
