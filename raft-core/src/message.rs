//! What nodes say to each other: one struct per kind of message, with its section of the paper.
//!
//! Snapshots, learners, joint membership, sessions and groups have their place in wire version 1 already, so
//! that filling them in changes no format. What wire version 2 has added is said where it stands;
//! [`Message::for_version`] is what an older peer is told instead.

use alloc::sync::Arc;
use core::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::entries::Entries;
use crate::ids::{GroupId, Index, LogId, NodeId, Term};
use crate::membership::Member;

/// Which of a peer's two queues a message takes (T3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Lane {
    /// Small and urgent: votes, heartbeats, transfers, and every answer. Never waits behind bulk.
    Control,
    /// Entries and snapshots.
    Bulk,
}

/// A message with its addresses.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Envelope {
    /// The group both belong to.
    pub group: GroupId,
    /// Who sends. A transport vouches for it (T1).
    pub from: NodeId,
    /// Who is meant.
    pub to: NodeId,
    /// The sender's term; in a request for a pre-vote, the term the candidate would have.
    pub term: Term,
    /// The message.
    pub message: Message,
}

impl Envelope {
    /// The lane that it must take.
    #[must_use]
    pub const fn lane(&self) -> Lane {
        match self.message {
            Message::Append(_) | Message::Snapshot(_) => Lane::Bulk,
            _ => Lane::Control,
        }
    }
}

/// What one node says to another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Message {
    /// Would you vote for me? or: vote for me. (§5.2; dissertation §9.6)
    Vote(VoteRequest),
    /// The answer to either.
    VoteReply(VoteReply),
    /// I still lead (§5.2).
    Heartbeat(Heartbeat),
    /// I hear you.
    HeartbeatReply(HeartbeatReply),
    /// Append these (§5.3).
    Append(Append),
    /// How far my log matches yours, durably.
    AppendReply(AppendReply),
    /// A piece of a snapshot (§7).
    Snapshot(SnapshotChunk),
    /// What I have of it.
    SnapshotReply(SnapshotReply),
    /// Campaign now, without waiting: I hand leadership to you (dissertation §3.10).
    TimeoutNow(TimeoutNow),
    /// Something the receiver should know about itself.
    Notice(Notice),
    /// How far must I have applied to answer what I was asked now? (dissertation §6.4; wire version 2)
    ReadIndex(ReadIndex),
    /// That far, or ask again elsewhere. (Wire version 2.)
    ReadIndexReply(ReadIndexReply),
}

impl Message {
    /// What a peer of this wire version is told: what it has no field for is left out. `None` if it has no
    /// such message; then it is not sent. Both transports of this project count their wire versions alike.
    #[must_use]
    pub fn for_version(self, version: u16) -> Option<Self> {
        if version >= 2 {
            return Some(self);
        }
        Some(match self {
            Self::Vote(request) => Self::Vote(VoteRequest { told: 0, ..request }),
            Self::HeartbeatReply(reply) => {
                let HeartbeatReply { round, matched, last, probation, .. } = reply;
                Self::HeartbeatReply(HeartbeatReply {
                    round,
                    matched,
                    last,
                    probation,
                    ..HeartbeatReply::default()
                })
            }
            Self::TimeoutNow(_) => Self::TimeoutNow(TimeoutNow { round: 0 }),
            Self::ReadIndex(_) | Self::ReadIndexReply(_) => return None,
            message => message,
        })
    }
}

/// Asks for a vote (§5.2, RequestVote) or for a pre-vote (dissertation §9.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct VoteRequest {
    /// Only asks whether it would win: nobody's term or vote changes.
    pub pre: bool,
    /// The old leader told it to campaign: voters do not wait for that leader's silence.
    pub transfer: bool,
    /// The end of the candidate's log.
    pub last: LogId,
    /// The heartbeat round in which the leader of the term before told it to campaign; 0 if it did not. What a
    /// voter has promised that leader until this round no longer binds it (M5). Wire version 2.
    pub told: u64,
}

/// A voter's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Ballot {
    /// Yes.
    Granted,
    /// No.
    Denied,
    /// No, and your election would overwrite entries that I know are committed: stand still.
    Vetoed,
}

/// The answer to a [`VoteRequest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct VoteReply {
    /// Whether it answers a pre-vote: a pre-vote's answer is never a vote.
    pub pre: bool,
    /// The term that was asked for, so that an answer to an older round counts for nothing. The
    /// envelope carries the voter's own term, which a denied candidate adopts.
    pub asked: Term,
    /// Yes, no, or never.
    pub ballot: Ballot,
}

/// Keeps followers from campaigning, tells how far they may commit, and collects their confirmation
/// for waiting reads (dissertation §6.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Heartbeat {
    /// The leader's commit index, but never beyond what this follower is known to match.
    pub commit: Index,
    /// Numbers the rounds of this leader in this term; the answer echoes it.
    pub round: u64,
}

/// The answer to a [`Heartbeat`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HeartbeatReply {
    /// The round it answers, from 1; 0 for a heartbeat of an earlier term: such an answer tells its sender the
    /// term, and a leader of that term nothing.
    pub round: u64,
    /// The end of the follower's durable log that is known to match this leader's; 0 if unknown. A
    /// leader that remembers a lower one has lost an answer, and learns it from here.
    pub matched: Index,
    /// The end of the follower's durable log, matching or not. If it lies below what the follower has
    /// acknowledged to this leader before the round began, its store was set back (J12).
    pub last: Index,
    /// The follower knows that its log was damaged and does not vote (M10).
    pub probation: bool,
    /// A write to its journal takes, or has lately taken, longer than an election timeout: it is no node to
    /// hand leadership to (M11). Wire version 2.
    pub slow: bool,
    /// For how long from now it grants no vote to anybody else, as its own clock goes: what a lease is made of
    /// (dissertation §6.4.1). Zero if it promises nothing. In whole microseconds. Wire version 2.
    pub promise: Duration,
    /// How much it wants to lead; 0 is normal, more is more. Wire version 2.
    pub priority: i8,
}

/// Tells a follower to campaign (dissertation §3.10).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TimeoutNow {
    /// The heartbeat round that the leader had last begun: from here on its lease is void until a quorum has
    /// answered a later one. 0 from a leader of wire version 1, which has no lease.
    pub round: u64,
}

/// A follower asks its leader for a read index. Wire version 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ReadIndex {
    /// Chosen by the follower, never twice, not even after a restart: an answer to an older question must not pass
    /// for one to a newer.
    pub id: u64,
}

impl ReadIndex {
    /// The bit of [`id`](Self::id) by which a node on probation asks (M10): the answer waits until all is committed
    /// that the leader's log had when the question came. Other questions do not have it. A leader that knows of no such
    /// bit answers as it answers them.
    pub const END: u64 = 1 << 63;
}

/// The answer to a [`ReadIndex`]. Wire version 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ReadIndexReply {
    /// What it answers.
    pub id: u64,
    /// An index that was committed, by a leader that was the leader, after the question was asked. `None` if
    /// there are too many reads.
    pub index: Option<Index>,
}

/// AppendEntries (§5.3).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Append {
    /// What the leader's log has directly before `entries`.
    pub prev: LogId,
    /// The leader's commit index; may lie beyond the last entry.
    pub commit: Index,
    /// Consecutive, the first at `prev.index + 1`; may be empty.
    pub entries: Entries,
}

/// The answer to an [`Append`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum AppendReply {
    /// My log matches yours through `matched`, and that much is durable here. Says only what an append
    /// of this term has checked, never more.
    Matched {
        /// The last matching, durable index.
        matched: Index,
    },
    /// I do not have `prev`.
    Rejected {
        /// The `prev.index` that was refused: tells an answer to an older probe. 0 for an append of an earlier
        /// term.
        prev: Index,
        /// The greatest log id of mine whose term is not above the refused one's and whose index is
        /// below it: the leader goes on from where its own log agrees (§5.3, fast back-off).
        hint: LogId,
        /// The end of my log.
        last: Index,
    },
}

/// A piece of a snapshot (§7, InstallSnapshot). One without bytes asks how much of it is there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SnapshotChunk {
    /// The last log id that the snapshot covers.
    pub upto: LogId,
    /// Names the snapshot: pieces of two are never mixed.
    pub snapshot: u128,
    /// The encoded membership as of `upto`.
    pub membership: Bytes,
    /// Where in the snapshot `data` stands, in bytes.
    pub offset: u64,
    /// The size of the whole, in bytes.
    pub total: u64,
    /// CRC-32C of the whole.
    pub checksum: u32,
    /// The bytes.
    pub data: Bytes,
}

/// The answer to a [`SnapshotChunk`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SnapshotReply {
    /// The snapshot it speaks of.
    pub snapshot: u128,
    /// How many bytes of it are in the store without a hole; the next piece starts here.
    pub received: u64,
    /// The snapshot, and a log that has or follows its last entry, are durable: it counts as an acknowledgement
    /// through that entry.
    pub installed: bool,
}

/// Something that a node learns about itself from a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Notice {
    /// You are no longer a member.
    Removed {
        /// The index of the committed membership without you. One that you know to have you at a greater index is
        /// newer.
        since: Index,
    },
    /// You had acknowledged entries through `acknowledged` and now do not have them, although your
    /// store is not on probation: it was set back to an older copy. You may have voted in terms that
    /// you do not remember; this identity must not go on.
    RolledBack {
        /// The greatest index that the node had acknowledged to this leader.
        acknowledged: Index,
    },
}

/// A message on its way out, with the member it goes to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Outgoing {
    /// The receiver with its address.
    pub to: Arc<Member>,
    /// The lane it must take.
    pub lane: Lane,
    /// The message. May be sent at once (design: the boundary's first rule).
    pub envelope: Envelope,
}

/// What a transport says about a connection to a peer (T5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PeerEvent {
    /// A connection with a completed handshake is there.
    Up,
    /// The last connection broke. It may come back: no hint of anything.
    Down,
    /// It broke, and an immediate attempt to connect again was refused or reset: the process is gone, as far as one can
    /// tell. What is in between may refuse as well: a hint that ends waiting, and that no promise ends with.
    Gone,
}
