//! One node of three, its disk, its store and its peers.

use bytes::Bytes;
use raft_core::backend::{HardState, JournalState, JournalWrite, SnapshotContent, SnapshotId, SnapshotMeta};
use raft_core::entry::{Entry, EntryKind, pack};
use raft_core::ids::{ClusterId, GroupId, Identity, Incarnation, Index, LogId, NodeId, StoreId, Term};
use raft_core::membership::{Member, Membership};
use raft_core::message::{
    Append, AppendReply, Ballot, Envelope, Heartbeat, HeartbeatReply, Message, SnapshotChunk, SnapshotReply,
    VoteReply,
};
use raft_core::raft::{Event, Restored};
use raft_core::status::{RoleKind, Status};
use raft_core::time::Time;
use raft_core::{Config, Raft};

pub(crate) const ME: NodeId = NodeId(1);
pub(crate) const A: NodeId = NodeId(2);
pub(crate) const B: NodeId = NodeId(3);

pub(crate) fn id(term: u64, index: u64) -> LogId {
    LogId::new(term, index)
}

pub(crate) fn entry(of: LogId) -> Entry {
    Entry { id: of, kind: EntryKind::Noop, data: Bytes::new() }
}

pub(crate) fn members(ids: &[u64]) -> Membership {
    Membership::of_voters(ids.iter().map(|id| Member::new(NodeId(*id), format!("node-{id}")))).unwrap()
}

pub(crate) fn snapshot(name: u128, upto: LogId, total_bytes: u64) -> SnapshotMeta {
    let content = SnapshotContent { total_bytes, checksum: 7 };
    SnapshotMeta::new(SnapshotId(name), upto, members(&[1, 2, 3]), content)
}

/// A piece of it.
pub(crate) fn chunk(of: &SnapshotMeta, offset: u64, data: &'static [u8]) -> Message {
    Message::Snapshot(SnapshotChunk {
        upto: of.upto,
        snapshot: of.id.0,
        membership: of.membership.encode(),
        offset,
        total: of.content.total_bytes,
        checksum: of.content.checksum,
        data: Bytes::from_static(data),
    })
}

pub(crate) fn has(of: &SnapshotMeta, received: u64) -> Message {
    Message::SnapshotReply(SnapshotReply { snapshot: of.id.0, received, installed: false })
}

pub(crate) fn installed(of: &SnapshotMeta) -> Message {
    let received = of.content.total_bytes;
    Message::SnapshotReply(SnapshotReply { snapshot: of.id.0, received, installed: true })
}

pub(crate) fn append(prev: LogId, entries: &[LogId], commit: u64) -> Message {
    let entries = entries.iter().map(|of| entry(*of)).collect();
    Message::Append(Append { prev, commit: Index(commit), entries })
}

pub(crate) fn matched(index: u64) -> Message {
    Message::AppendReply(AppendReply::Matched { matched: Index(index) })
}

pub(crate) struct Node {
    pub(crate) raft: Raft,
    pub(crate) now: Time,
    pub(crate) applied: Vec<LogId>,
    pub(crate) events: Vec<Event>,
    pub(crate) writes: Vec<JournalWrite>,
}

/// Small bounds: a snapshot every ten entries, two are kept, pieces of 4 bytes, two of them under way.
pub(crate) fn config() -> Config {
    let mut config = Config::new(ME, ClusterId(7));
    config.snapshot_every_entries = 10;
    config.snapshot_keep_entries = 2;
    config.snapshot_chunk_bytes = 4;
    config.snapshot_window_bytes = 8;
    config
}

pub(crate) fn identity() -> Identity {
    Identity {
        cluster: ClusterId(7),
        group: GroupId(0),
        node: ME,
        store: StoreId(1),
        incarnation: Incarnation::default(),
    }
}

/// A journal whose log begins after `purged` and has `more`.
pub(crate) fn journal(term: u64, purged: LogId, more: &[LogId]) -> JournalState {
    let mut journal = JournalState::empty(identity());
    journal.hard_state = HardState { term: Term(term), ..HardState::default() };
    journal.purged = purged;
    journal.last = more.last().copied().unwrap_or(purged);
    for of in more {
        if journal.terms.last().is_none_or(|(_, term)| *term != of.term) {
            journal.terms.push((of.index, of.term));
        }
    }
    journal
}

impl Node {
    pub(crate) fn restored(config: Config, restored: Restored) -> Self {
        let raft = Raft::new(config, restored, Time::ZERO).unwrap();
        let (applied, events, writes) = (Vec::new(), Vec::new(), Vec::new());
        Self { raft, now: Time::ZERO, applied, events, writes }
    }

    /// Entry 0.1 names the members; entries of this term follow it up to `last`.
    pub(crate) fn with(config: Config, term: u64, last: u64) -> Self {
        let first = Entry { id: id(0, 1), kind: EntryKind::Membership, data: members(&[1, 2, 3]).encode() };
        let more: Vec<LogId> =
            std::iter::once(first.id).chain((2..=last).map(|index| id(term, index))).collect();
        let mut journal = journal(term, LogId::ZERO, &more);
        journal.memberships.push(first);
        Self::restored(config, Restored { journal, snapshot: None, applied: LogId::ZERO })
    }

    pub(crate) fn hear(&mut self, from: NodeId, term: u64, message: Message) {
        let envelope = Envelope { group: GroupId(0), from, to: ME, term: Term(term), message };
        self.raft.handle_message(self.now, envelope);
    }

    pub(crate) fn sent(&mut self) -> Vec<(NodeId, Message)> {
        std::iter::from_fn(|| self.raft.poll_message())
            .map(|out| (out.envelope.to, out.envelope.message))
            .collect()
    }

    /// What was sent to `to` and is no heartbeat.
    pub(crate) fn sent_to(&mut self, to: NodeId) -> Vec<Message> {
        let beat = |message: &Message| matches!(message, Message::Heartbeat(_) | Message::HeartbeatReply(_));
        let sent = self.sent().into_iter();
        sent.filter(|(of, message)| *of == to && !beat(message)).map(|(_, message)| message).collect()
    }

    pub(crate) fn persist(&mut self) {
        while let Some(write) = self.raft.poll_write() {
            self.raft.handle_written(self.now, write.ticket);
            self.writes.push(write);
        }
    }

    /// A prompt disk and state machine; messages are lost.
    pub(crate) fn settle(&mut self) {
        for _ in 0..100 {
            let before = (self.writes.len(), self.applied.len());
            self.persist();
            let _ = self.sent();
            self.events.extend(std::iter::from_fn(|| self.raft.poll_event()));
            self.apply();
            while let Some(fetch) = self.raft.poll_fetch() {
                // Bodies do not matter here.
                let entries = (fetch.range.start.0..fetch.range.end.0)
                    .map(|index| entry(LogId { term: self.term_of(index), index: Index(index) }))
                    .collect();
                self.raft.handle_fetched(self.now, fetch.id, entries);
                self.apply();
            }
            if before == (self.writes.len(), self.applied.len()) {
                return;
            }
        }
        panic!("it never rests");
    }

    fn term_of(&self, index: u64) -> Term {
        if index == 1 { Term(0) } else { self.status().term.min(self.status().last.term) }
    }

    fn apply(&mut self) {
        while let Some(apply) = self.raft.poll_apply() {
            self.applied.extend(apply.entries.iter().map(|entry| entry.id));
            self.raft.handle_applied(self.now, apply.through.index);
        }
    }

    pub(crate) fn status(&self) -> Status {
        self.raft.status(self.now)
    }

    pub(crate) fn peer(&self, peer: NodeId) -> raft_core::status::PeerStatus {
        self.status().peers.into_iter().find(|status| status.id == peer).unwrap()
    }

    pub(crate) fn elapse(&mut self, election_timeouts: u32) {
        self.now = self.now + config().election_timeout * election_timeouts;
    }

    /// So much time passes, and only A is heard then.
    pub(crate) fn elapse_without_b(&mut self, election_timeouts: u32) {
        self.elapse(election_timeouts);
        self.acknowledge(A, self.status().commit_index.0);
    }

    /// The leader of `term` says that it leads.
    pub(crate) fn beat(&mut self, from: NodeId, term: u64) {
        self.hear(from, term, Message::Heartbeat(Heartbeat { commit: Index(0), round: 1 }));
    }

    /// Follower of A in term 2: a log up to 1.5, which is committed and executed.
    pub(crate) fn follower() -> Self {
        let mut node = Self::with(config(), 1, 5);
        node.hear(A, 2, append(id(1, 5), &[], 5));
        node.settle();
        assert_eq!(node.status().applied_index, Index(5));
        node
    }

    /// Leader of term 2, elected by A; its log ends with its no-op at 2.6.
    pub(crate) fn leader(config: Config) -> Self {
        let mut node = Self::with(config, 1, 5);
        node.raft.campaign(node.now);
        for pre in [true, false] {
            node.settle();
            let reply = VoteReply { pre, asked: Term(2), ballot: Ballot::Granted };
            node.hear(A, if pre { 1 } else { 2 }, Message::VoteReply(reply));
        }
        assert_eq!(node.raft.role_kind(), RoleKind::Leader);
        node.settle();
        node
    }

    /// Entries up to this one, which A acknowledges.
    pub(crate) fn grow(&mut self, to: u64) {
        for _ in self.status().last.index.0..to {
            self.raft.propose(self.now, pack(&[Bytes::from_static(b"x")])).unwrap();
        }
        self.settle();
        self.acknowledge(A, to);
        self.settle();
        assert_eq!(self.status().applied_index, Index(to));
    }

    pub(crate) fn acknowledge(&mut self, peer: NodeId, index: u64) {
        self.hear(peer, 2, matched(index));
    }

    /// A new round, which this peer answers with what it had.
    pub(crate) fn answer(&mut self, peer: NodeId, round: u64, matched: u64) {
        let (matched, last) = (Index(matched), Index(matched));
        let reply = HeartbeatReply { round, matched, last, ..answer() };
        self.hear(peer, 2, Message::HeartbeatReply(reply));
    }

    /// Takes the snapshot that is due.
    pub(crate) fn take(&mut self, name: u128) -> SnapshotMeta {
        let take = self.raft.poll_snapshot().expect("one is due");
        let taken = SnapshotMeta::new(
            SnapshotId(name),
            take.upto,
            take.membership,
            SnapshotContent { total_bytes: 10, checksum: 7 },
        );
        self.raft.handle_snapshot_taken(self.now, taken.clone());
        taken
    }

    pub(crate) fn purge(&mut self) -> Option<LogId> {
        let upto = self.raft.poll_purge()?;
        self.raft.handle_purged(self.now, upto);
        Some(upto)
    }
}

fn answer() -> HeartbeatReply {
    let (round, matched, last, probation) = (0, Index(0), Index(0), false);
    HeartbeatReply { round, matched, last, probation, ..HeartbeatReply::default() }
}
