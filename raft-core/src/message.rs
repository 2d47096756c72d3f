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
///
/// A transport with one connection sends the urgent ones first:
///
/// ```
/// use raft_core::message::Lane;
///
/// let mut waiting = [(Lane::Bulk, "entries"), (Lane::Control, "a heartbeat"), (Lane::Bulk, "more")];
/// waiting.sort_by_key(|(lane, _)| *lane);
/// assert_eq!(waiting.map(|(_, what)| what), ["a heartbeat", "entries", "more"]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Lane {
    /// Small and urgent: votes, heartbeats, transfers, and every answer. Never waits behind bulk.
    Control,
    /// Entries and snapshots.
    Bulk,
}

/// A message with its addresses.
///
/// ```
/// use raft_core::ids::{GroupId, Index, NodeId, Term};
/// use raft_core::message::{Envelope, Heartbeat, HeartbeatReply, Message};
///
/// let heartbeat = Envelope {
///     group: GroupId(0),
///     from: NodeId(1),
///     to: NodeId(2),
///     term: Term(4),
///     message: Message::Heartbeat(Heartbeat { commit: Index(17), round: 9 }),
/// };
/// let reply = Message::HeartbeatReply(HeartbeatReply { round: 9, ..HeartbeatReply::default() });
/// // The way back.
/// let answer = Envelope { from: heartbeat.to, to: heartbeat.from, message: reply, ..heartbeat };
/// assert_eq!((answer.to, answer.term), (NodeId(1), Term(4)));
/// ```
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
    ///
    /// ```
    /// use raft_core::entries::Entries;
    /// use raft_core::ids::{GroupId, Index, LogId, NodeId, Term};
    /// use raft_core::message::{Append, AppendReply, Envelope, Lane, Message};
    ///
    /// let append = Append { prev: LogId::ZERO, commit: Index::ZERO, entries: Entries::default() };
    /// let request = Envelope {
    ///     group: GroupId(0),
    ///     from: NodeId(1),
    ///     to: NodeId(2),
    ///     term: Term(4),
    ///     message: Message::Append(append),
    /// };
    /// assert_eq!(request.lane(), Lane::Bulk);
    /// // Its answer does not wait behind entries that go the other way.
    /// let message = Message::AppendReply(AppendReply::Matched { matched: Index::ZERO });
    /// assert_eq!(Envelope { message, ..request }.lane(), Lane::Control);
    /// ```
    #[must_use]
    pub const fn lane(&self) -> Lane {
        match self.message {
            Message::Append(_) | Message::Snapshot(_) => Lane::Bulk,
            _ => Lane::Control,
        }
    }
}

/// What one node says to another.
///
/// What a network lets through on which nobody is elected, for a test:
///
/// ```
/// use raft_core::ids::LogId;
/// use raft_core::message::{Message, TimeoutNow, VoteRequest};
///
/// let passes = |message: &Message| !matches!(message, Message::Vote(_) | Message::VoteReply(_));
/// let request = VoteRequest { pre: true, transfer: false, last: LogId::new(3, 17), told: 0 };
/// assert!(!passes(&Message::Vote(request)));
/// assert!(passes(&Message::TimeoutNow(TimeoutNow { round: 9 })));
/// ```
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
    ///
    /// ```
    /// use raft_core::message::{Message, ReadIndex, TimeoutNow};
    ///
    /// let order = Message::TimeoutNow(TimeoutNow { round: 9 });
    /// assert_eq!(order.clone().for_version(2), Some(order.clone()));
    /// // Version 1 has the order, but no field for the round.
    /// assert_eq!(order.for_version(1), Some(Message::TimeoutNow(TimeoutNow { round: 0 })));
    /// // It has no such question.
    /// assert_eq!(Message::ReadIndex(ReadIndex { id: 7 }).for_version(1), None);
    /// ```
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
///
/// ```
/// use raft_core::ids::LogId;
/// use raft_core::message::VoteRequest;
///
/// let pre = VoteRequest { pre: true, transfer: false, last: LogId::new(3, 17), told: 0 };
/// // It would win: now it asks for the votes themselves.
/// let request = VoteRequest { pre: false, ..pre };
/// // A voter whose log goes further denies its own to both (§5.4.1).
/// let mine = LogId::new(3, 20);
/// assert!(request.last < mine && pre.last < mine);
/// ```
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
///
/// How an election among three stands after two answers:
///
/// ```
/// use std::collections::BTreeMap;
///
/// use raft_core::ids::NodeId;
/// use raft_core::membership::{Member, Membership, VoteResult};
/// use raft_core::message::Ballot;
///
/// let voters = Membership::of_voters((1..=3).map(|id| Member::new(NodeId(id), ""))).unwrap();
/// let ballots = BTreeMap::from([(NodeId(1), Ballot::Granted), (NodeId(2), Ballot::Denied)]);
/// let yes = |id| ballots.get(&id).map(|ballot| *ballot == Ballot::Granted);
/// assert_eq!(voters.vote_result(yes), VoteResult::Pending);
/// ```
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
///
/// ```
/// use raft_core::ids::Term;
/// use raft_core::message::{Ballot, VoteReply};
///
/// // This candidate has asked for votes in term 5.
/// let counts = |reply: &VoteReply| !reply.pre && reply.asked == Term(5);
/// let vote = VoteReply { pre: false, asked: Term(5), ballot: Ballot::Granted };
/// assert!(counts(&vote));
/// assert!(!counts(&VoteReply { pre: true, ..vote }), "said only that it would vote");
/// assert!(!counts(&VoteReply { asked: Term(4), ..vote }), "was asked in another term");
/// ```
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
///
/// ```
/// use raft_core::ids::Index;
/// use raft_core::message::Heartbeat;
///
/// // What stands beyond 17 in the follower's log may be other entries than those that are committed.
/// let (commit, matched) = (Index(20), Index(17));
/// let heartbeat = Heartbeat { commit: commit.min(matched), round: 9 };
/// assert_eq!(heartbeat.commit, Index(17));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Heartbeat {
    /// The leader's commit index, but never beyond what this follower is known to match.
    pub commit: Index,
    /// Numbers the rounds of this leader in this term; the answer echoes it.
    pub round: u64,
}

/// The answer to a [`Heartbeat`].
///
/// ```
/// use raft_core::ids::Index;
/// use raft_core::message::HeartbeatReply;
///
/// let mut known = Index(12);
/// let reply =
///     HeartbeatReply { round: 9, matched: Index(17), last: Index(20), ..HeartbeatReply::default() };
/// // The answer to an append was lost: its leader need not send entries 13 to 17 again.
/// known = known.max(reply.matched);
/// assert_eq!(known, Index(17));
/// // A store that was set back: it has acknowledged more than its log has now.
/// let set_back = HeartbeatReply { last: Index(9), ..reply };
/// assert!(set_back.last < known);
/// ```
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
///
/// ```
/// use raft_core::ids::LogId;
/// use raft_core::message::{TimeoutNow, VoteRequest};
///
/// let order = TimeoutNow { round: 9 };
/// // Who is told asks for votes at once and says by which order, so that voters need not wait until their
/// // promises to the old leader are over.
/// let request =
///     VoteRequest { pre: false, transfer: true, last: LogId::new(3, 17), told: order.round };
/// assert_eq!(request.told, 9);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TimeoutNow {
    /// The heartbeat round that the leader had last begun: from here on its lease is void until a quorum has
    /// answered a later one. 0 from a leader of wire version 1, which has no lease.
    pub round: u64,
}

/// A follower asks its leader for a read index. Wire version 2.
///
/// ```
/// use raft_core::message::ReadIndex;
///
/// let question = ReadIndex { id: 7 };
/// assert_eq!(question.id & ReadIndex::END, 0);
/// // A node that has lost entries asks for the end of the leader's log.
/// let on_probation = ReadIndex { id: 8 | ReadIndex::END };
/// assert_ne!(on_probation.id & ReadIndex::END, 0);
/// ```
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
///
/// ```
/// use raft_core::ids::Index;
/// use raft_core::message::{ReadIndex, ReadIndexReply};
///
/// let question = ReadIndex { id: 7 };
/// let reply = ReadIndexReply { id: 7, index: Some(Index(17)) };
/// // The follower answers its client as soon as it has executed entry 17.
/// let may_answer = |applied: Index| {
///     reply.id == question.id && reply.index.is_some_and(|index| applied >= index)
/// };
/// assert_eq!([Index(16), Index(17)].map(may_answer), [false, true]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ReadIndexReply {
    /// What it answers.
    pub id: u64,
    /// An index that was committed, by a leader that was the leader, after the question was asked. `None` if
    /// there are too many reads.
    pub index: Option<Index>,
}

/// AppendEntries (§5.3).
///
/// ```
/// use raft_core::entries::Entries;
/// use raft_core::entry::{Entry, EntryKind};
/// use raft_core::ids::{Index, LogId};
/// use raft_core::message::Append;
///
/// let noop = |index| Entry { id: LogId::new(4, index), kind: EntryKind::Noop, data: "".into() };
/// let entries = Entries::from([noop(18), noop(19)]);
/// let append = Append { prev: LogId::new(3, 17), commit: Index(17), entries };
/// // A follower takes them only if its log has 3.17, and then follows on without a hole.
/// let mut next = append.prev.index;
/// for entry in &append.entries {
///     next = next.next();
///     assert_eq!(entry.id.index, next);
/// }
/// ```
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
///
/// Where the logs agree at most, by what a leader is told:
///
/// ```
/// use raft_core::ids::{Index, LogId};
/// use raft_core::message::AppendReply;
///
/// let at_most = |reply: AppendReply| match reply {
///     AppendReply::Matched { matched } => matched,
///     AppendReply::Rejected { hint, .. } => hint.index,
/// };
/// let hint = LogId::new(2, 25);
/// let reply = AppendReply::Rejected { prev: Index(40), hint, last: Index(61) };
/// // It need not try 39, 38 and so on one by one.
/// assert_eq!(at_most(reply), Index(25));
/// ```
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
///
/// A snapshot of 10 bytes in pieces of 4:
///
/// ```
/// use bytes::Bytes;
/// use raft_core::ids::{LogId, NodeId};
/// use raft_core::membership::{Member, Membership};
/// use raft_core::message::SnapshotChunk;
///
/// let whole = Bytes::from_static(b"a=1 b=2 c!");
/// # let membership = Membership::of_voters([Member::new(NodeId(1), "10.0.0.1:7101")]).unwrap().encode();
/// let piece = |offset: usize| SnapshotChunk {
///     upto: LogId::new(3, 17),
///     snapshot: 0xd5,
///     membership: membership.clone(),
///     offset: offset as u64,
///     total: 10,
///     checksum: 0x1f0e_77c2,
///     data: whole.slice(offset..(offset + 4).min(10)),
/// };
/// let last = piece(8);
/// assert_eq!(last.offset + last.data.len() as u64, last.total);
/// ```
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
///
/// ```
/// use raft_core::message::SnapshotReply;
///
/// // The connection was lost: the leader goes on where the receiver's store ends, not from the start.
/// let total = 1 << 20;
/// let reply = SnapshotReply { snapshot: 0xd5, received: 768 << 10, installed: false };
/// assert_eq!(total - reply.received, 256 << 10);
/// ```
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
///
/// ```
/// use raft_core::ids::Index;
/// use raft_core::message::Notice;
///
/// // A node that was removed by entry 40 and added again by entry 52 hears of the first only now.
/// let member_by = Index(52);
/// let out = |notice: Notice| matches!(notice, Notice::Removed { since } if since > member_by);
/// assert!(!out(Notice::Removed { since: Index(40) }));
/// assert!(out(Notice::Removed { since: Index(60) }));
/// ```
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
///
/// ```
/// use std::sync::Arc;
///
/// use raft_core::ids::{GroupId, Index, NodeId, Term};
/// use raft_core::membership::Member;
/// use raft_core::message::{Envelope, Heartbeat, Lane, Message, Outgoing};
///
/// let envelope = Envelope {
///     group: GroupId(0),
///     from: NodeId(1),
///     to: NodeId(2),
///     term: Term(4),
///     message: Message::Heartbeat(Heartbeat { commit: Index(17), round: 9 }),
/// };
/// let to = Arc::new(Member::new(NodeId(2), "10.0.0.2:7101"));
/// let outgoing = Outgoing { to, lane: envelope.lane(), envelope };
/// // All that a transport has to know to send it.
/// assert_eq!((outgoing.to.address.as_str(), outgoing.lane), ("10.0.0.2:7101", Lane::Control));
/// ```
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
///
/// ```
/// use raft_core::message::PeerEvent;
///
/// // Only of a process that is gone it is certain that it leads no more: nobody waits for an election
/// // timeout then (M5).
/// let at_once = |event| event == PeerEvent::Gone;
/// let events = [PeerEvent::Up, PeerEvent::Down, PeerEvent::Gone];
/// assert_eq!(events.map(at_once), [false, false, true]);
/// ```
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
