//! Why a membership change was not made, and what speaks against one.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use super::{FatalReason, Outcome};
use crate::ids::{LogId, NodeId, Term};
use crate::membership::Member;

/// What speaks against a membership change at this moment, although it makes sense: it would put the
/// cluster's availability at risk, never its safety.
///
/// What an operator is told who would add a fourth voter while one of three is down:
///
/// ```
/// use raft_core::error::Objection;
/// use raft_core::ids::NodeId;
///
/// let objection =
///     Objection::NoLiveQuorum { voters: 4, alive: 2, needed: 3, silent: vec![NodeId(3), NodeId(4)] };
/// assert_eq!(
///     objection.to_string(),
///     "of 4 voters 3 would have to be alive, but only 2 are; silent: 3 4"
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Objection {
    /// A new voter misses more than a little of the log: the others would have to wait for it.
    #[error("node {node} is {lag_entries} entries behind, at most {limit_entries} are allowed")]
    Lagging {
        /// The node.
        node: NodeId,
        /// How far its durable log is behind the leader's, in entries.
        lag_entries: u64,
        /// `promote_lag_entries`.
        limit_entries: u64,
    },
    /// A new voter does not answer.
    #[error("node {node} {}", silence.map_or_else(|| String::from("has never answered this leader"), |span| alloc::format!("has not answered for {span:?}")))]
    Silent {
        /// The node.
        node: NodeId,
        /// For how long; `None` if it never did.
        silence: Option<Duration>,
    },
    /// A new voter is no member yet. It learns first, and that takes time.
    #[error("node {node} is not a member yet: it has to catch up as a learner first")]
    NotLearned {
        /// The node.
        node: NodeId,
    },
    /// A new voter does not vote yet: its log is new or was damaged, and it has not caught up.
    #[error(
        "node {node} is on probation, {lag_entries} entries behind: it may not vote before it has caught up"
    )]
    Probation {
        /// The node.
        node: NodeId,
        /// How far its durable log is behind the leader's, in entries.
        lag_entries: u64,
    },
    /// Not enough of those who would vote are alive.
    #[error("of {voters} voters {needed} would have to be alive, but only {alive} are; silent: {}", silent.iter().map(|id| alloc::format!("{id}")).collect::<Vec<_>>().join(" "))]
    NoLiveQuorum {
        /// How many would vote.
        voters: usize,
        /// How many of them answer.
        alive: usize,
        /// How many it would take.
        needed: usize,
        /// Who does not answer.
        silent: Vec<NodeId>,
    },
}

impl Objection {
    /// Whether `force` overrides it. It does not where a new voter may not vote yet: should the leader die before it
    /// has caught up, nobody could ever be elected again.
    ///
    /// ```
    /// use raft_core::error::Objection;
    /// use raft_core::ids::NodeId;
    ///
    /// let node = NodeId(4);
    /// let slow = Objection::Lagging { node, lag_entries: 5000, limit_entries: 1000 };
    /// assert!(slow.yields_to_force(), "the others wait for it, but all goes on");
    /// let empty = Objection::Probation { node, lag_entries: 5000 };
    /// assert!(!empty.yields_to_force());
    /// ```
    #[must_use]
    pub const fn yields_to_force(&self) -> bool {
        matches!(
            self,
            Self::Lagging { .. } | Self::Silent { silence: Some(_), .. } | Self::NoLiveQuorum { .. }
        )
    }

    /// Whether it may pass by waiting: a new voter that has to catch up.
    ///
    /// ```
    /// use raft_core::error::Objection;
    /// use raft_core::ids::NodeId;
    ///
    /// let new = Objection::NotLearned { node: NodeId(4) };
    /// assert!(new.is_catching_up());
    /// // This one passes only if somebody starts node 3 again.
    /// let alone = Objection::NoLiveQuorum { voters: 2, alive: 1, needed: 2, silent: vec![NodeId(3)] };
    /// assert!(!alone.is_catching_up());
    /// ```
    #[must_use]
    pub const fn is_catching_up(&self) -> bool {
        !matches!(self, Self::NoLiveQuorum { .. })
    }
}

/// Why a membership change was not made, or may not have been.
///
/// ```
/// use raft_core::error::ChangeError;
/// use raft_core::ids::NodeId;
/// use raft_core::membership::PlanError;
///
/// // To remove what is not there is a success for whoever wants it gone.
/// let gone = |result: Result<(), ChangeError>| {
///     matches!(result, Ok(()) | Err(ChangeError::Plan(PlanError::NotAMember(_))))
/// };
/// assert!(gone(Err(PlanError::NotAMember(NodeId(9)).into())));
/// assert!(!gone(Err(PlanError::NoVoters.into())));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// Another node leads, or none does. Nothing was changed; ask `leader`.
    #[error("this node does not lead{}", leader.as_ref().map_or_else(|| String::from("; no leader is known"), |m| alloc::format!("; node {} does, at {}", m.id, m.address)))]
    NotLeader {
        /// Who does, as far as this node knows.
        leader: Option<Member>,
    },
    /// It makes no sense for the membership in force. Nothing was changed.
    #[error(transparent)]
    Plan(#[from] crate::membership::PlanError),
    /// It would put availability at risk. Nothing was changed, but that a learner may have been added; it may be
    /// asked for again, or with `force`, or with `wait`.
    #[error(transparent)]
    Objection(#[from] Objection),
    /// An earlier change is not finished. Nothing was changed.
    #[error("another membership change is under way, by entry {at}")]
    InProgress {
        /// The last entry that it has appended; that of the membership in force if it waits for a learner.
        at: LogId,
    },
    /// This leader has not yet committed an entry of its own term, or is about to step down (§6; Ongaro,
    /// raft-dev 2015). Nothing was changed; ask again in a moment.
    #[error("the leader of term {term} is not ready for changes yet")]
    NotReady {
        /// Its term.
        term: Term,
    },
    /// Leadership is being handed over. Nothing was changed; ask `to` in a moment.
    #[error("leadership is being handed to node {to}")]
    Transferring {
        /// The coming leader.
        to: NodeId,
    },
    /// Another entry was committed in its place. Certainly not changed; may be asked for again.
    #[error("superseded: {by} was committed in its place")]
    Superseded {
        /// What stands there.
        by: LogId,
    },
    /// This node stopped leading, or stopped, before it learned. May or may not have been changed.
    #[error("unknown whether it will be changed: this node no longer leads term {term}")]
    Unknown {
        /// The term in which it was begun.
        term: Term,
    },
    /// The node is shutting down. Nothing was changed.
    #[error("the node is shutting down")]
    ShuttingDown,
    /// The node has stopped for the reason given. Nothing was changed.
    #[error("the node has stopped: {0}")]
    Fatal(Arc<FatalReason>),
}

impl ChangeError {
    /// Whether the membership may have been changed.
    ///
    /// ```
    /// use raft_core::error::{ChangeError, Outcome};
    /// use raft_core::ids::{LogId, Term};
    ///
    /// let busy = ChangeError::InProgress { at: LogId::new(3, 17) };
    /// assert_eq!(busy.outcome(), Outcome::NotApplied);
    /// // Look at the membership in force before asking again.
    /// let lost = ChangeError::Unknown { term: Term(3) };
    /// assert_eq!(lost.outcome(), Outcome::Unknown);
    /// ```
    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        match self {
            Self::Unknown { .. } => Outcome::Unknown,
            _ => Outcome::NotApplied,
        }
    }
}
