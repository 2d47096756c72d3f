//! What goes in at the start, and what comes out: the types of the protocol's boundary.

use alloc::vec::Vec;
use core::ops::Range;

use bytes::Bytes;

use crate::backend::{JournalState, SnapshotContent, SnapshotId, SnapshotMeta};
use crate::entries::Entries;
use crate::error::{ChangeError, ReadError, TransferError, Violation};
use crate::ids::{ChangeId, FetchId, Index, LogId, NodeId, ReadId, Term};
use crate::membership::{Member, Membership};
use crate::message::Notice;
use crate::status::{RoleKind, Why};

/// What a node starts from. The parts fit together: see [`plan_start`](super::plan_start).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// What its journal has.
    pub journal: JournalState,
    /// The newest snapshot in its store.
    pub snapshot: Option<SnapshotMeta>,
    /// What its state machine has executed.
    pub applied: LogId,
}

/// Entries to execute next, in order. Of all kinds; the state machine is shown the commands only.
///
/// ```
/// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/raft/example.rs")); }
/// # use example::*;
/// # let now = Time::ZERO;
/// let mut raft = only_voter();
/// raft.propose(now, pack(&["add 4".into(), "add 5".into()])).unwrap();
/// persist(&mut raft);
/// let apply = raft.poll_apply().unwrap();
/// assert_eq!(apply.entries.last().map(|entry| entry.id), Some(apply.through));
/// let commands = apply.entries.iter().filter(|entry| entry.kind == EntryKind::Commands);
/// let commands: Vec<Bytes> = commands.flat_map(|entry| unpack(&entry.data).unwrap()).collect();
/// assert_eq!(commands, ["add 4", "add 5"]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Apply {
    /// Consecutive, committed, and durable on this node.
    pub entries: Entries,
    /// The last of them; reported back with `handle_applied`.
    pub through: LogId,
}

/// A membership change that was made.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct ChangeDone {
    /// The entry that finished it; committed.
    pub at: LogId,
    /// What is in force since.
    pub membership: Membership,
}

/// How a membership change is to be made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct ChangeOptions {
    /// Make it although it puts availability at risk ([`Objection`](crate::error::Objection)), as far as that
    /// [yields](crate::error::Objection::yields_to_force). Never overrides safety. A change that no majority of the new voters is there to commit leaves a cluster
    /// that cannot decide anything, this change's own undoing included, until they are.
    pub force: bool,
    /// Wait at most this long for new voters to catch up before they vote. Without it a change whose voters have
    /// not is refused.
    pub wait: Option<core::time::Duration>,
}

impl ChangeOptions {
    /// The same, forced or not.
    ///
    /// ```
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/raft/example.rs")); }
    /// # use example::*;
    /// # let now = Time::ZERO;
    /// let mut raft = leader_of_three();
    /// // Two voters would be left, of which node 3 has not answered for a second.
    /// let later = now + Duration::from_secs(1);
    /// let remove = [Change::Remove(NodeId(2))];
    /// let refused = raft.change_membership(later, &remove, ChangeOptions::default());
    /// assert!(refused.is_err());
    /// assert!(raft.change_membership(later, &remove, ChangeOptions::default().force(true)).is_ok());
    /// ```
    #[must_use]
    pub const fn force(self, force: bool) -> Self {
        Self { force, ..self }
    }

    /// The same, waiting for new voters at most this long.
    ///
    /// ```
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/raft/example.rs")); }
    /// # use example::*;
    /// # let now = Time::ZERO;
    /// let mut raft = leader_of_three();
    /// let join = [Change::Replace { old: NodeId(3), new: Member::new(NodeId(4), "10.0.0.4:7101") }];
    /// let refused = raft.change_membership(now, &join, ChangeOptions::default());
    /// assert!(refused.is_err(), "it has none of the log");
    ///
    /// // It comes as a learner first.
    /// let patient = ChangeOptions::default().wait(Duration::from_secs(60));
    /// raft.change_membership(now, &join, patient).unwrap();
    /// assert!(raft.status(now).membership.learners().eq([NodeId(4)]));
    /// ```
    #[must_use]
    pub const fn wait(self, wait: core::time::Duration) -> Self {
        Self { wait: Some(wait), ..self }
    }
}

/// Entries that have left memory and are wanted from the journal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Fetch {
    /// Its number; goes back with `handle_fetched`.
    pub id: FetchId,
    /// Which, half-open. All of it is durable.
    pub range: Range<Index>,
    /// How much at once, in bytes; at least one entry.
    pub max_bytes: u64,
}

/// Take a snapshot now (§7): of the state as it is once everything that was handed out before has been executed,
/// and before anything else is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TakeSnapshot {
    /// The last entry that it covers.
    pub upto: LogId,
    /// The committed membership as of that entry; goes into the store with it.
    pub membership: Membership,
}

/// A piece of a snapshot that is wanted from the store, to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReadChunk {
    /// Its number; goes back with `handle_chunk` or `handle_chunk_failed`.
    pub id: FetchId,
    /// Who it is for: one reader for each goes through the snapshot from its start to its end.
    pub peer: NodeId,
    /// Which snapshot.
    pub snapshot: SnapshotId,
    /// Where the piece begins, in bytes.
    pub offset: u64,
    /// How much at most, in bytes.
    pub max_bytes: u64,
}

/// Why a piece of a snapshot could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unreadable {
    /// There is no such snapshot any more: a newer one has taken its place.
    Gone,
    /// It is damaged (S5).
    Damaged,
    /// The store failed; another attempt may succeed.
    Failed,
}

/// What a receiving node's snapshot store is to do next: one after the other, in this order.
///
/// ```
/// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/raft/example.rs")); }
/// # use example::*;
/// # let now = Time::ZERO;
/// // A store, as far as the protocol sees it.
/// let mut raft = follower_that_receives();
/// let mut stored = Vec::new();
/// while let Some(piece) = raft.poll_piece() {
///     match piece {
///         Piece::Begin { id, .. } => raft.handle_piece_written(now, id, 0),
///         Piece::Write { id, data } => {
///             stored.extend_from_slice(&data);
///             raft.handle_piece_written(now, id, stored.len() as u64);
///         }
///         Piece::Finish { .. } => raft.handle_snapshot_received(now, snapshot()),
///         Piece::Abandon { .. } => stored.clear(),
///     }
/// }
/// let receiving = raft.status(now).receiving.unwrap();
/// assert_eq!((receiving.received_bytes, receiving.total_bytes), (0, 10), "the leader has to send it now");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Piece {
    /// Begin a snapshot, or go on with a half-received one. Answered with `handle_piece_written`, which tells what
    /// is there.
    Begin {
        /// Its name.
        id: SnapshotId,
        /// The last entry that it covers.
        upto: LogId,
        /// The membership as of that entry.
        membership: Membership,
    },
    /// Write what follows. Answered with `handle_piece_written`.
    Write {
        /// The snapshot.
        id: SnapshotId,
        /// The bytes, directly after what is there.
        data: Bytes,
    },
    /// Make it durable, if it is what was announced. Answered with `handle_snapshot_received`.
    Finish {
        /// The snapshot.
        id: SnapshotId,
        /// What was announced.
        content: SnapshotContent,
    },
    /// Nobody needs it any more: let go of it. No answer.
    Abandon {
        /// The snapshot.
        id: SnapshotId,
    },
}

/// News and answers. Exhaustive on purpose: a driver that ignores one is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A read may be answered now: everything up to `index` is applied here.
    ReadReady {
        /// The read.
        id: ReadId,
        /// Its read index.
        index: Index,
    },
    /// A read cannot be answered here.
    ReadFailed {
        /// The read.
        id: ReadId,
        /// Why.
        error: ReadError,
    },
    /// The role, the term or the known leader changed.
    RoleChanged {
        /// The role now.
        role: RoleKind,
        /// The term now.
        term: Term,
        /// The leader, if known.
        leader: Option<Member>,
        /// Why.
        why: Why,
    },
    /// Another membership is in force, or others are to be reached: tell the transport.
    MembershipChanged {
        /// It.
        membership: Membership,
        /// The entry that brought it.
        at: LogId,
        /// Whom to stay connected to: the other members, and those that leave until they have had time to learn
        /// of it. Nobody, once this node itself was removed.
        reach: Vec<Member>,
        /// Who was a member and is none any more, by an entry that is committed (or was cut away), since the
        /// last such event, also if it is one again: what was known of its store counts no longer (J12).
        left: Vec<NodeId>,
    },
    /// A membership change ended.
    ChangeFinished {
        /// The change.
        id: ChangeId,
        /// How it ended.
        result: Result<ChangeDone, ChangeError>,
    },
    /// This node has learned that it is no longer a member. It stands still, and stays up.
    Removed,
    /// A hand-over ended.
    TransferFinished {
        /// Its target.
        to: NodeId,
        /// How it ended.
        result: Result<(), TransferError>,
    },
    /// An invariant does not hold. If it [is fatal](Violation::is_fatal) this `Raft` does nothing any
    /// more and its node must stop.
    Alarm(Violation),
    /// A follower has lost what it had acknowledged; it has been told. For reports.
    PeerRolledBack {
        /// The follower.
        peer: NodeId,
        /// The greatest index that it had acknowledged.
        acknowledged: Index,
    },
    /// The journal had damaged entries up to this one at most; a snapshot covers them, and they are gone.
    Healed {
        /// The journal begins after it.
        upto: Index,
    },
    /// A peer tells this node something about itself.
    Noticed {
        /// The peer.
        by: NodeId,
        /// What it says.
        notice: Notice,
    },
}
