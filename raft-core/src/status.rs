//! What a node tells about itself: a cheap copy, never a lock that somebody could hold.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use crate::backend::{Corruption, SnapshotMeta};
use crate::ids::{Index, LogId, NodeId, Term};
use crate::membership::{Member, Membership};

/// The states of a node (§5.1, Figure 4), and limbo.
///
/// ```
/// use raft_core::status::RoleKind;
///
/// // Who asks for votes, or asks whether it would get them, knows of no leader.
/// let campaigns = |role| matches!(role, RoleKind::PreCandidate | RoleKind::Candidate);
/// assert!(campaigns(RoleKind::PreCandidate) && !campaigns(RoleKind::Follower));
/// assert_eq!(RoleKind::PreCandidate.to_string(), "pre-candidate");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum RoleKind {
    /// Knows no members and waits to be contacted.
    Limbo,
    /// Follows, or waits for a leader.
    Follower,
    /// Asks whether it would win (dissertation §9.6).
    PreCandidate,
    /// Asks for votes (§5.2).
    Candidate,
    /// Leads.
    Leader,
}

impl core::fmt::Display for RoleKind {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Limbo => "limbo",
            Self::Follower => "follower",
            Self::PreCandidate => "pre-candidate",
            Self::Candidate => "candidate",
            Self::Leader => "leader",
        })
    }
}

/// Why the role, the term or the known leader changed.
///
/// What a program may log when a role changes:
///
/// ```
/// use raft_core::ids::Term;
/// use raft_core::status::{RoleKind, Why};
///
/// let (role, term, why) = (RoleKind::Follower, Term(4), Why::QuorumLost);
/// let line = format!("{role} in term {term}: {why}");
/// assert_eq!(line, "follower in term 4: it heard of no quorum");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Why {
    /// The node started.
    Started,
    /// Nothing was heard of a leader for an election timeout.
    Timeout,
    /// The leader's process is gone (M5).
    LeaderGone,
    /// A leader handed over to this node.
    Transfer,
    /// It would win, or the only voter is itself.
    WouldWin,
    /// A quorum voted for it.
    Elected,
    /// The election was lost.
    Lost,
    /// A voter vetoed it (M6).
    Vetoed,
    /// A message carried a higher term.
    HigherTerm,
    /// A leader of this term made itself known.
    LeaderKnown,
    /// It heard of no quorum for an election timeout (M8).
    QuorumLost,
    /// Its journal failed.
    JournalFailed,
    /// Its disk is full.
    DiskFull,
    /// It handed leadership over.
    HandedOver,
    /// An operator asked for it.
    Asked,
    /// It left limbo: a leader told it the members.
    Joined,
    /// It is no longer a voter, by a change that is committed.
    Removed,
    /// A snapshot has shown that its log lacks what is committed.
    Behind,
}

impl core::fmt::Display for Why {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Started => "it started",
            Self::Timeout => "nothing was heard of a leader",
            Self::LeaderGone => "the leader's process is gone",
            Self::Transfer => "the leader handed over to it",
            Self::WouldWin => "it would win",
            Self::Elected => "a quorum voted for it",
            Self::Lost => "the election was lost",
            Self::Vetoed => "a voter vetoed it",
            Self::HigherTerm => "another node has a higher term",
            Self::LeaderKnown => "a leader made itself known",
            Self::QuorumLost => "it heard of no quorum",
            Self::JournalFailed => "its journal failed",
            Self::DiskFull => "its disk is full",
            Self::HandedOver => "it handed over",
            Self::Asked => "an operator asked for it",
            Self::Joined => "a leader told it the members",
            Self::Removed => "it is no voter any more",
            Self::Behind => "its log lacks what is committed",
        })
    }
}

/// How a node's journal does (M11).
///
/// ```
/// use std::time::Duration;
///
/// use raft_core::status::Disk;
///
/// // When to wake somebody up.
/// let alarm = |disk| match disk {
///     Disk::Prompt | Disk::Slow => false,
///     Disk::Hangs { since } => since > Duration::from_secs(10),
///     // It does not become less full by itself.
///     Disk::Full { .. } | Disk::Failed => true,
/// };
/// assert!(!alarm(Disk::Hangs { since: Duration::from_secs(1) }));
/// assert!(alarm(Disk::Full { since: Duration::ZERO }));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Disk {
    /// Writes end within an election timeout.
    Prompt,
    /// One takes half as long already, or has taken longer not long ago.
    Slow,
    /// One has been under way for longer. Such a node does not campaign, and hands over if it leads.
    Hangs {
        /// How long.
        since: Duration,
    },
    /// There is no space for entries. Such a node takes none, does not campaign, and hands over if it leads; it goes
    /// on by itself when there is space again (J9).
    Full {
        /// How long.
        since: Duration,
    },
    /// It failed.
    Failed,
}

/// Why a leader handed over of its own accord.
///
/// ```
/// use raft_core::status::HandOver;
///
/// // One of them means that a disk is to be looked at, the other that all is as it was wished.
/// let sick = |why: Option<HandOver>| why == Some(HandOver::DiskHangs);
/// assert!(sick(Some(HandOver::DiskHangs)));
/// assert!(!sick(Some(HandOver::Priority)));
/// assert_eq!(HandOver::Priority.to_string(), "another node is to be preferred");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HandOver {
    /// Its disk hung (M11).
    DiskHangs,
    /// A node with a higher priority had caught up.
    Priority,
}

impl core::fmt::Display for HandOver {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::DiskHangs => "its disk hung",
            Self::Priority => "another node is to be preferred",
        })
    }
}

/// A peer as a leader sees it.
///
/// ```
/// use raft_core::status::PeerState;
///
/// // What a leader sends a peer next.
/// let sends = |state| match state {
///     PeerState::Probe => "one append, then waits for its answer",
///     PeerState::Replicate => "appends without waiting",
///     PeerState::Snapshot => "pieces of a snapshot",
/// };
/// assert_eq!(sends(PeerState::Replicate), "appends without waiting");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PeerState {
    /// Looking for the place where the logs agree: one append at a time.
    Probe,
    /// Appends flow.
    Replicate,
    /// What it needs is no longer in the log: it is sent a snapshot.
    Snapshot,
}

/// How far a snapshot has come on its way.
///
/// How far a node has come that begins with a leader's snapshot:
///
/// ```
/// # use raft_core::backend::JournalState;
/// # use raft_core::ids::{ClusterId, GroupId, Identity, Incarnation, LogId, NodeId, StoreId, Term};
/// # use raft_core::membership::{Member, Membership};
/// # use raft_core::message::{Envelope, Message, SnapshotChunk};
/// # use raft_core::raft::Restored;
/// # use raft_core::time::Time;
/// # use raft_core::{Config, Raft};
/// # let (group, node, now) = (GroupId(0), NodeId(2), Time::ZERO);
/// # let incarnation = Incarnation::default();
/// # let identity = Identity { cluster: ClusterId(1), group, node, store: StoreId(7), incarnation };
/// # let journal = JournalState::empty(identity);
/// # let restored = Restored { journal, snapshot: None, applied: LogId::ZERO };
/// # let mut raft = Raft::new(Config::new(node, ClusterId(1)), restored, now).unwrap();
/// # let members = (1..=2).map(|id| Member::new(NodeId(id), format!("10.0.0.{id}:7101")));
/// # let chunk = SnapshotChunk {
/// #     upto: LogId::new(3, 17),
/// #     snapshot: 0xd5,
/// #     membership: Membership::of_voters(members).unwrap().encode(),
/// #     offset: 0,
/// #     total: 4000,
/// #     checksum: 0,
/// #     data: vec![7; 1000].into(),
/// # };
/// # let message = Message::Snapshot(chunk);
/// # raft.handle_message(now, Envelope { group, from: NodeId(1), to: node, term: Term(3), message });
/// // A first piece has come, and is not in the store yet.
/// let transfer = raft.status(now).receiving.unwrap();
/// assert_eq!(transfer.upto, LogId::new(3, 17));
/// assert_eq!((transfer.received_bytes, transfer.total_bytes), (0, 4000));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SnapshotTransfer {
    /// The last entry that it covers.
    pub upto: LogId,
    /// What the receiver's store has, in bytes.
    pub received_bytes: u64,
    /// Its size, in bytes.
    pub total_bytes: u64,
}

/// One peer, on a leader.
///
/// Who lags, as a leader sees it that was just elected:
///
/// ```
/// # use raft_core::backend::JournalState;
/// # use raft_core::entry::{Entry, EntryKind};
/// # use raft_core::ids::{ClusterId, GroupId, Identity, Incarnation, Index, LogId, NodeId, StoreId, Term};
/// # use raft_core::membership::{Member, Membership};
/// # use raft_core::raft::Restored;
/// # use raft_core::time::Time;
/// # use raft_core::{Config, Raft};
/// use raft_core::status::{PeerState, PeerStatus};
/// # let (cluster, node, now) = (ClusterId(1), NodeId(1), Time::ZERO);
/// # let (group, incarnation) = (GroupId(0), Incarnation::default());
/// # let mut membership = Membership::of_voters([Member::new(node, "10.0.0.1:7101")]).unwrap();
/// # membership.members.insert(NodeId(2), Member::new(NodeId(2), "10.0.0.2:7101"));
/// # let data = membership.encode();
/// # let first = Entry { id: LogId::new(0, 1), kind: EntryKind::Membership, data };
/// # let mut journal =
/// #     JournalState::empty(Identity { cluster, group, node, store: StoreId(7), incarnation });
/// # journal.last = first.id;
/// # journal.terms = vec![(Index(1), Term(0))];
/// # journal.memberships = vec![first];
/// # let restored = Restored { journal, snapshot: None, applied: LogId::ZERO };
/// # let mut raft = Raft::new(Config::new(node, cluster), restored, now).unwrap();
/// # raft.handle_timeout(now);
/// # while let Some(write) = raft.poll_write() {
/// #     raft.handle_written(now, write.ticket);
/// # }
///
/// let status = raft.status(now);
/// let behind = |peer: &&PeerStatus| peer.match_index < status.commit_index;
/// let peer = status.peers.iter().find(behind).unwrap();
/// // The learner has not answered yet: where the logs agree is being looked for.
/// assert_eq!((peer.id, peer.state, peer.contact_age), (NodeId(2), PeerState::Probe, None));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerStatus {
    /// The peer.
    pub id: NodeId,
    /// How appends to it go.
    pub state: PeerState,
    /// The last index it is known to have durably.
    pub match_index: Index,
    /// The next index to send.
    pub next_index: Index,
    /// Entries, or pieces of a snapshot, under way without an answer, in bytes.
    pub in_flight_bytes: u64,
    /// The snapshot that it is being sent.
    pub snapshot: Option<SnapshotTransfer>,
    /// How long ago it last answered.
    pub contact_age: Option<Duration>,
    /// It said that its disk is slow (M11).
    pub slow: bool,
    /// How much it said that it wants to lead.
    pub priority: i8,
    /// A quorum can do without it at present, and it is sent entries as they come: these wait for each other, up to
    /// [`Config::spare_delay`](crate::Config::spare_delay).
    pub spare: bool,
    /// So many of those that it lacks do so now.
    pub waiting_entries: u64,
}

/// Counts since the node started.
///
/// ```
/// use raft_core::status::Counters;
///
/// // Counts only grow, so that what happened between two looks is their difference.
/// let mut before = Counters::default();
/// before.elections = 2;
/// let mut after = before;
/// after.elections = 5;
/// let between = after.elections - before.elections;
/// assert!(between > 1, "the cluster has no rest");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Counters {
    /// Elections that this node started, pre-votes not counted.
    pub elections: u64,
    /// Pre-votes that this node started.
    pub pre_votes: u64,
    /// Vetoes that it received.
    pub vetoes: u64,
    /// Messages that were ignored: of another group, not for this node, of an old term, or senseless.
    pub ignored_messages: u64,
    /// Messages of its own that were dropped because a queue was full.
    pub dropped_messages: u64,
    /// Proposals refused as overloaded.
    pub overloaded: u64,
    /// Snapshots of its own that became durable.
    pub snapshots_taken: u64,
    /// Snapshots of its own that could not be stored; it tries again.
    pub snapshots_failed: u64,
    /// Snapshots that followers have installed from here.
    pub snapshots_sent: u64,
    /// Snapshots of a leader that replaced the log here.
    pub snapshots_installed: u64,
    /// Snapshots of a leader that could not be stored here; they are asked for again.
    pub snapshots_refused: u64,
    /// How often the journal was rid of damaged entries.
    pub healed: u64,
}

/// What is known of the stored log as it is on the disk, from reading it again in the background.
///
/// ```
/// use std::time::Duration;
///
/// use raft_core::status::Scrub;
///
/// // Whether all that is stored was read without damage within a day.
/// let sound = |scrub: &Scrub| {
///     scrub.damages == 0
///         && scrub.failure.is_none()
///         && scrub.pass_age.is_some_and(|age| age < Duration::from_secs(86_400))
/// };
/// let mut scrub = Scrub::default();
/// assert!(!sound(&scrub), "nothing is known yet");
/// scrub.pass_age = Some(Duration::from_secs(3600));
/// assert!(sound(&scrub));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Scrub {
    /// The next entry that is read, while a pass is under way.
    pub position: Option<Index>,
    /// Passes that came to their end, since the start.
    pub passes: u64,
    /// What they read, in bytes, since the start.
    pub bytes: u64,
    /// How long ago the last one came to its end.
    pub pass_age: Option<Duration>,
    /// Damages that were found, since the start, also by reading for other reasons. One that is there at a later pass
    /// counts again.
    pub damages: u64,
    /// The last one.
    pub damage: Option<Corruption>,
    /// How long ago it was found.
    pub damage_age: Option<Duration>,
    /// A pass ended early because reading failed, as this says.
    pub failure: Option<Arc<str>>,
}

/// What waits for a node's protocol at this moment, and the bound of each: see `docs/limits.md`.
///
/// ```
/// use raft_core::status::Load;
///
/// // How full the fuller of the two queues is, in per cent: slow clients down before they are refused.
/// let fill = |load: &Load| {
///     let queued = load.queued_bytes * 100 / load.queued_limit_bytes;
///     queued.max(load.received_bytes * 100 / load.received_limit_bytes)
/// };
/// let mut load = Load::default();
/// (load.queued_bytes, load.queued_limit_bytes) = (48 << 20, 64 << 20);
/// (load.received_bytes, load.received_limit_bytes) = (1 << 20, 16 << 20);
/// assert_eq!(fill(&load), 75);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Load {
    /// Commands that handles have queued, in bytes.
    pub queued_bytes: u64,
    /// Appends and pieces of snapshots that transports have delivered, in bytes.
    pub received_bytes: u64,
    /// Other messages that transports have delivered, and news of connections.
    pub received_control: u64,
    /// What handles may queue, in bytes.
    pub queued_limit_bytes: u64,
    /// Beyond this transports stop reading appends and snapshots, in bytes.
    pub received_limit_bytes: u64,
    /// Beyond this other messages are dropped.
    pub received_control_limit: u64,
}

/// What a node knows of itself at one moment.
///
/// Whether a node serves clients, and why if not:
///
/// ```
/// # use raft_core::backend::JournalState;
/// # use raft_core::entry::{Entry, EntryKind};
/// # use raft_core::ids::{ClusterId, GroupId, Identity, Incarnation, Index, LogId, NodeId, StoreId, Term};
/// # use raft_core::membership::{Member, Membership};
/// # use raft_core::raft::Restored;
/// # use raft_core::time::Time;
/// # use raft_core::{Config, Raft};
/// use raft_core::status::{RoleKind, Status};
/// # let (cluster, node, now) = (ClusterId(1), NodeId(1), Time::ZERO);
/// # let (group, incarnation) = (GroupId(0), Incarnation::default());
/// # let data = Membership::of_voters([Member::new(node, "10.0.0.1:7101")]).unwrap().encode();
/// # let first = Entry { id: LogId::new(0, 1), kind: EntryKind::Membership, data };
/// # let mut journal =
/// #     JournalState::empty(Identity { cluster, group, node, store: StoreId(7), incarnation });
/// # journal.last = first.id;
/// # journal.terms = vec![(Index(1), Term(0))];
/// # journal.memberships = vec![first];
/// # let restored = Restored { journal, snapshot: None, applied: LogId::ZERO };
/// # let mut raft = Raft::new(Config::new(node, cluster), restored, now).unwrap();
///
/// let serves = |status: &Status| match (status.role, &status.leader) {
///     (RoleKind::Leader, _) => Ok(()),
///     (_, Some(leader)) => Err(format!("ask {}", leader.address)),
///     (role, None) => Err(format!("{role}: {}", status.why)),
/// };
/// assert_eq!(serves(&raft.status(now)), Err("follower: it started".into()));
/// raft.handle_timeout(now);
/// # while let Some(write) = raft.poll_write() {
/// #     raft.handle_written(now, write.ticket);
/// # }
/// assert_eq!(serves(&raft.status(now)), Ok(()));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// The node.
    pub id: NodeId,
    /// Its role.
    pub role: RoleKind,
    /// Its term.
    pub term: Term,
    /// Whom it voted for in that term.
    pub vote: crate::backend::Vote,
    /// The leader it knows.
    pub leader: Option<Member>,
    /// Why the role or the leader last changed.
    pub why: Why,
    /// The end of its log.
    pub last: LogId,
    /// The first index that the journal still has.
    pub first_index: Index,
    /// Known to be committed.
    pub commit_index: Index,
    /// Executed here.
    pub applied_index: Index,
    /// Durable here.
    pub persisted_index: Index,
    /// The membership in force.
    pub membership: Membership,
    /// The entry that brought it; zero in limbo.
    pub membership_at: LogId,
    /// Whether that entry is known to be committed: only then may another change begin.
    pub membership_committed: bool,
    /// This node was a member and is none any more: it stands still. It comes back only by a membership
    /// change.
    pub removed: bool,
    /// Whether it stands still after a veto.
    pub embargo: bool,
    /// Whether it does not vote because its log was damaged (M10).
    pub probation: bool,
    /// How its journal does.
    pub disk: Disk,
    /// Why it last handed over of its own accord, or tried to; `None` if it never did.
    pub hand_over: Option<HandOver>,
    /// How much it wants to lead.
    pub priority: i8,
    /// On a leader: for how long still it may answer reads without asking anybody. `None` without a lease.
    pub lease_left: Option<Duration>,
    /// The last safety alarm of this run, if there was one: reported also where the node goes on.
    pub alarm: Option<crate::error::Violation>,
    /// On a leader: how long ago a quorum was last heard.
    pub quorum_contact_age: Option<Duration>,
    /// On a leader: its peers, in order of their names.
    pub peers: Vec<PeerStatus>,
    /// Entries in memory, in bytes.
    pub tail_bytes: u64,
    /// On a leader: proposals not yet applied, in bytes.
    pub uncommitted_bytes: u64,
    /// The durable snapshot here that covers most.
    pub snapshot: Option<SnapshotMeta>,
    /// The last entry of the snapshot that is being taken.
    pub taking: Option<LogId>,
    /// Entries up to here are damaged in the journal, or come before one that is: a snapshot will cover them.
    pub healing: Option<Index>,
    /// What reading the log again has found; filled in by the driver.
    pub scrub: Scrub,
    /// The snapshot that a leader is sending.
    pub receiving: Option<SnapshotTransfer>,
    /// The last entry of the snapshot that the state machine has yet to install: until then nothing is executed.
    pub installing: Option<LogId>,
    /// Counts since the start.
    pub counters: Counters,
}
