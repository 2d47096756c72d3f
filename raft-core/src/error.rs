//! One error per operation. Each answers the caller's only question: did it happen, may I retry?

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use crate::ids::{LogId, NodeId, Term};
use crate::membership::Member;

/// What a failed request has left behind.
///
/// ```
/// use raft_core::error::Outcome;
///
/// let may_send_again = |outcome, idempotent: bool| match outcome {
///     Outcome::NotApplied => true,
///     Outcome::Unknown => idempotent,
///     Outcome::Applied => false,
/// };
/// // To add one twice is not the same as once; to set a value twice is.
/// assert!(!may_send_again(Outcome::Unknown, false));
/// assert!(may_send_again(Outcome::Unknown, true));
/// assert!(may_send_again(Outcome::NotApplied, false));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It did not happen and never will: it may be sent again.
    NotApplied,
    /// It may have happened or may yet happen: only an idempotent request, or a command of a session
    /// under the same number, may be sent again.
    Unknown,
    /// It happened, once, although the answer is not known any more: a command of a session, or one whose answer cannot be
    /// read.
    Applied,
}

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

/// Why settings were not taken on. Nothing has changed.
///
/// ```
/// use raft_core::error::{ConfigError, ReconfigureError};
/// use raft_core::ids::{ClusterId, NodeId};
/// use raft_core::{Config, Settings};
///
/// fn reload(config: &Config, settings: &Settings) -> Result<Config, ReconfigureError> {
///     Ok(config.with(settings)?)
/// }
///
/// let config = Config::new(NodeId(1), ClusterId(0x3b1f));
/// let settings = Settings { window_bytes: Some(0), ..Settings::default() };
/// let expected = ReconfigureError::Config(ConfigError::Zero { what: "window_bytes" });
/// assert_eq!(reload(&config, &settings), Err(expected));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReconfigureError {
    /// They cannot work.
    #[error("{0}")]
    Config(#[from] ConfigError),
    /// The node is shutting down or has stopped.
    #[error("the node has stopped")]
    Stopped,
}

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

/// Settings that cannot work.
///
/// ```
/// use raft_core::Config;
/// use raft_core::error::ConfigError;
/// use raft_core::ids::{ClusterId, NodeId};
///
/// let mut config = Config::new(NodeId(1), ClusterId(0x3b1f));
/// config.command_limit_bytes = 0;
/// // A program with names of its own for settings can say which one it is.
/// match config.validate() {
///     Err(ConfigError::Zero { what }) => assert_eq!(what, "command_limit_bytes"),
///     other => panic!("{other:?}"),
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Node id 0 is not a name.
    #[error("a node id must not be 0")]
    ZeroId,
    /// A setting that must not be zero is.
    #[error("{what} must not be 0")]
    Zero {
        /// The setting.
        what: &'static str,
    },
    /// Heartbeats would be lost to noise.
    #[error("election_timeout is {timeout:?}, but must be at least {least:?} (three heartbeat intervals)")]
    ElectionTimeout {
        /// What was set.
        timeout: Duration,
        /// What it takes.
        least: Duration,
    },
    /// No two clocks go alike, and none may be that wrong.
    #[error("the lease's max_drift_ppm is {max_drift_ppm}, but must be from 1 to {most}")]
    Drift {
        /// What was set.
        max_drift_ppm: u32,
        /// The most.
        most: u32,
    },
    /// A setting is too large.
    #[error("{what} is {bytes}, but must be at most {limit_bytes}")]
    TooLarge {
        /// The setting.
        what: &'static str,
        /// What was set, in bytes.
        bytes: u64,
        /// The bound, in bytes.
        limit_bytes: u64,
    },
    /// The journal begins after entries that no snapshot here covers: what they did is nowhere on this node.
    #[error(
        "the journal begins after {purged}, but {}: the snapshots are missing or are another node's; bring them back, or replace this node by a membership change", snapshot.map_or_else(|| String::from("there is no snapshot"), |upto| alloc::format!("the newest snapshot covers only entries up to {upto}"))
    )]
    NoSnapshot {
        /// The last purged entry.
        purged: LogId,
        /// What the newest snapshot covers.
        snapshot: Option<LogId>,
    },
    /// A snapshot and what the journal knows to be committed contradict each other.
    #[error(
        "the snapshot covers entries up to {snapshot}, but the journal has {journal} committed there: they are not of one node"
    )]
    SnapshotContradicts {
        /// The last entry that the snapshot covers.
        snapshot: LogId,
        /// What the journal has there.
        journal: LogId,
    },
    /// What was restored from the journal contradicts itself.
    #[error("the restored state is inconsistent: {0}")]
    Restored(Violation),
    /// The state machine has applied entries that neither the journal nor a snapshot has.
    #[error(
        "the state machine has applied {applied}, but the journal ends at {last}: they are not of one node"
    )]
    AheadOfJournal {
        /// What the state machine says.
        applied: LogId,
        /// The end of the log, with the snapshot.
        last: LogId,
    },
    /// The state machine has applied another entry than the one that is committed there.
    #[error(
        "the state machine has applied {applied}, but {committed} is committed there: they are not of one node"
    )]
    AppliedContradicts {
        /// What the state machine says.
        applied: LogId,
        /// What the journal or the snapshot has.
        committed: LogId,
    },
}

/// Why a snapshot was not taken when asked for. Nothing was lost: it may be asked for again.
///
/// A job that asks for one every night has no reason to complain of an idle node:
///
/// ```
/// use raft_core::error::SnapshotFailed;
///
/// let failed = |result: Result<(), SnapshotFailed>| match result {
///     Err(SnapshotFailed::Nothing) | Ok(()) => None,
///     Err(error) => Some(error.to_string()),
/// };
/// assert_eq!(failed(Err(SnapshotFailed::Nothing)), None);
/// let told = failed(Err(SnapshotFailed::NoStore));
/// assert_eq!(told.as_deref(), Some("this node has no snapshot store"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotFailed {
    /// The node was built without a snapshot store.
    #[error("this node has no snapshot store")]
    NoStore,
    /// Nothing was executed yet: there is nothing that a snapshot could cover.
    #[error("nothing was executed yet")]
    Nothing,
    /// The store or the state machine's source failed. What was there before still is.
    #[error("the snapshot could not be stored: {0}")]
    Store(crate::backend::SnapshotError),
    /// The node is shutting down.
    #[error("the node is shutting down")]
    ShuttingDown,
    /// The node has stopped for the reason given.
    #[error("the node has stopped: {0}")]
    Fatal(Arc<FatalReason>),
}

/// Why a pass over the stored log came to no end. Nothing was changed.
///
/// ```
/// use raft_core::backend::JournalError;
/// use raft_core::error::ScrubFailed;
///
/// // The disk is to be looked at, or the node is only going down.
/// let is_alarm = |error: &ScrubFailed| matches!(error, ScrubFailed::Journal(_));
/// let io = JournalError::Io { what: "read 00000017.log".into(), cause: "input/output error".into() };
/// let error = ScrubFailed::Journal(io);
/// assert!(is_alarm(&error) && !is_alarm(&ScrubFailed::ShuttingDown));
/// assert_eq!(error.to_string(), "read 00000017.log: input/output error");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScrubFailed {
    /// The journal could not be read.
    #[error("{0}")]
    Journal(crate::backend::JournalError),
    /// The node is shutting down.
    #[error("the node is shutting down")]
    ShuttingDown,
    /// The node has stopped for the reason given.
    #[error("the node has stopped: {0}")]
    Fatal(Arc<FatalReason>),
}

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
