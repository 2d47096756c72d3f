//! What a node tells about itself: a cheap copy, never a lock that somebody could hold.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use crate::backend::{Corruption, SnapshotMeta};
use crate::ids::{Index, LogId, NodeId, Term};
use crate::membership::{Member, Membership};

/// The states of a node (§5.1, Figure 4), and limbo.
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
}

/// Counts since the node started.
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
