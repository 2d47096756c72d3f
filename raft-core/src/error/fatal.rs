//! Why a node stops for good.

use alloc::string::String;

use super::ConfigError;
use crate::ids::{LogId, NodeId, Term};

/// A safety invariant does not hold. The node must stop rather than go on.
///
/// ```
/// use raft_core::error::{FatalReason, Violation};
/// use raft_core::ids::{NodeId, Term};
///
/// let violation = Violation::TwoLeaders { term: Term(4), first: NodeId(1), second: NodeId(3) };
/// // What stands in the log of a node that has stopped for it.
/// assert_eq!(
///     FatalReason::from(violation).to_string(),
///     "a safety invariant does not hold: nodes 1 and 3 both lead term 4"
/// );
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// Two nodes lead one term (Election Safety, Figure 3).
    #[error("nodes {first} and {second} both lead term {term}")]
    TwoLeaders {
        /// The term.
        term: Term,
        /// Who was known to lead it.
        first: NodeId,
        /// Who also claims to.
        second: NodeId,
    },
    /// A leader's append contradicts an entry that is known to be committed (Leader Completeness).
    #[error("node {from} would overwrite {committed}, which is committed, with term {term}")]
    OverwritesCommitted {
        /// The sender.
        from: NodeId,
        /// What stands there.
        committed: LogId,
        /// The term of what would replace it.
        term: Term,
    },
    /// A quorum granted an election that a voter vetoed (M6).
    #[error("a quorum elected this node in term {term} although node {by} knows that entries would be lost")]
    VetoedElection {
        /// The term.
        term: Term,
        /// Who vetoed.
        by: NodeId,
    },
    /// This node was elected, and then a snapshot has shown that its log lacks what is committed (Leader
    /// Completeness).
    #[error("this node leads term {term} without {committed}, which a snapshot shows to be committed")]
    ElectedWithout {
        /// The term that it leads.
        term: Term,
        /// The last entry that the snapshot covers.
        committed: LogId,
    },
    /// The indexes of one node contradict each other.
    #[error("a local invariant does not hold: {what}")]
    Local {
        /// Which.
        what: &'static str,
    },
}

impl Violation {
    /// Whether the node that found it must stop. A vetoed election is only reported: the node does not
    /// lead, and stands still until a leader contacts it.
    ///
    /// ```
    /// use raft_core::error::Violation;
    /// use raft_core::ids::{NodeId, Term};
    ///
    /// let vetoed = Violation::VetoedElection { term: Term(4), by: NodeId(3) };
    /// assert!(!vetoed.is_fatal());
    /// assert!(Violation::Local { what: "applied is beyond committed" }.is_fatal());
    /// ```
    #[must_use]
    pub const fn is_fatal(&self) -> bool {
        !matches!(self, Self::VetoedElection { .. })
    }
}

/// Why a node stopped for good.
///
/// ```
/// use raft_core::error::FatalReason;
/// use raft_core::ids::{Index, NodeId};
///
/// // Nodes that must not be started again on what they have: a membership change replaces them.
/// let replace =
///     |reason: &FatalReason| matches!(reason, FatalReason::RolledBack { .. } | FatalReason::Refused { .. });
/// let set_back = FatalReason::RolledBack { by: NodeId(1), acknowledged: Index(17) };
/// assert!(replace(&set_back));
/// assert!(!replace(&FatalReason::StateMachine("division by zero".into())));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FatalReason {
    /// The journal failed.
    #[error("the journal failed: {0}")]
    Journal(#[from] crate::backend::JournalError),
    /// The state machine failed.
    #[error("the state machine failed: {0}")]
    StateMachine(String),
    /// A snapshot that this node needs for its state cannot be read.
    #[error(
        "the snapshot{} cannot be used: {error}; without it this node has no state: bring it back, or replace this node by a membership change", upto.map_or_else(String::new, |upto| alloc::format!(" of everything up to {upto}"))
    )]
    Snapshot {
        /// What it covers, if that is known.
        upto: Option<LogId>,
        /// What is wrong with it.
        error: crate::backend::SnapshotError,
    },
    /// The transport could not start.
    #[error("the transport failed: {0}")]
    Transport(#[from] crate::backend::TransportError),
    /// An invariant does not hold.
    #[error("a safety invariant does not hold: {0}")]
    Violation(#[from] Violation),
    /// The settings cannot work.
    #[error("bad settings: {0}")]
    Config(#[from] ConfigError),
    /// A peer knows this node with another store or a later incarnation.
    #[error("node {by} refuses this node: {why}")]
    Refused {
        /// Who refuses.
        by: NodeId,
        /// Why.
        why: crate::backend::Refusal,
    },
    /// A leader finds that this node lost what it had acknowledged: its store was set back.
    #[error(
        "node {by} finds that this node lost entries up to {acknowledged}, which it had acknowledged: its store was set back"
    )]
    RolledBack {
        /// Who found it.
        by: NodeId,
        /// The greatest index that this node had acknowledged.
        acknowledged: crate::ids::Index,
    },
    /// A task of the node panicked.
    #[error("a task panicked: {0}")]
    Panicked(String),
    /// The runtime ended under the node.
    #[error("the runtime that it ran on has ended")]
    RuntimeEnded,
}

impl FatalReason {
    /// Whether it stopped because its disk is full: what was acknowledged is there, and when there is space again the
    /// node may be built and started anew, in the same process, on a journal that was opened anew (J9).
    ///
    /// ```
    /// use raft_core::backend::JournalError;
    /// use raft_core::error::FatalReason;
    ///
    /// let full = FatalReason::from(JournalError::NoSpace { needed: 4096 });
    /// assert!(full.is_out_of_space(), "make space, then start it again");
    /// let failed = FatalReason::from(JournalError::Poisoned { cause: "fsync failed".into() });
    /// assert!(!failed.is_out_of_space());
    /// ```
    #[must_use]
    pub const fn is_out_of_space(&self) -> bool {
        matches!(self, Self::Journal(crate::backend::JournalError::NoSpace { .. }))
    }
}

impl PartialEq for FatalReason {
    fn eq(&self, other: &Self) -> bool {
        use alloc::string::ToString;
        self.to_string() == other.to_string()
    }
}

impl Eq for FatalReason {}

impl core::hash::Hash for FatalReason {
    fn hash<H: core::hash::Hasher>(&self, state: &mut H) {
        use alloc::string::ToString;
        self.to_string().hash(state);
    }
}
