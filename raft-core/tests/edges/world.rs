//! One node of a few, its disk, and its peers.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use raft_core::backend::{HardState, JournalState};
use raft_core::entry::{Entry, EntryKind, pack};
use raft_core::ids::{ClusterId, GroupId, Identity, Incarnation, Index, LogId, NodeId, StoreId};
use raft_core::membership::{Member, Membership};
use raft_core::message::{
    Append, AppendReply, Ballot, Envelope, Heartbeat, HeartbeatReply, Message, VoteReply,
};
use raft_core::raft::{Event, Restored};
use raft_core::status::{RoleKind, Status};
use raft_core::time::Time;
use raft_core::{Config, Raft};

pub(crate) const ME: NodeId = NodeId(1);
pub(crate) const A: NodeId = NodeId(2);
pub(crate) const B: NodeId = NodeId(3);
pub(crate) const C: NodeId = NodeId(4);

/// What a clock shows between two instants.
pub(crate) const NANO: Duration = Duration::from_nanos(1);
pub(crate) const MILLI: Duration = Duration::from_millis(1);

pub(crate) fn config() -> Config {
    Config::new(ME, ClusterId(7))
}

/// Of the settings above.
pub(crate) fn timeout() -> Duration {
    config().election_timeout
}

pub(crate) fn id(term: u64, index: u64) -> LogId {
    LogId::new(term, index)
}

pub(crate) fn noop(term: u64, index: u64) -> Entry {
    Entry { id: id(term, index), kind: EntryKind::Noop, data: Bytes::new() }
}

pub(crate) fn member(of: NodeId) -> Member {
    Member::new(of, format!("node-{of}"))
}

pub(crate) fn voters(ids: &[NodeId]) -> Membership {
    Membership::of_voters(ids.iter().copied().map(member)).unwrap()
}

/// The entry that brings a membership.
pub(crate) fn entry(of: LogId, membership: &Membership) -> Entry {
    Entry { id: of, kind: EntryKind::Membership, data: membership.encode() }
}

/// The entry with which these begin.
pub(crate) fn first(ids: &[NodeId]) -> Entry {
    entry(id(0, 1), &voters(ids))
}

pub(crate) fn append(prev: LogId, entries: Vec<Entry>, commit: u64) -> Message {
    Message::Append(Append { prev, commit: Index(commit), entries: entries.into() })
}

pub(crate) struct Node {
    pub(crate) raft: Raft,
    pub(crate) now: Time,
    pub(crate) events: Vec<Event>,
    /// Where messages to it went last.
    pub(crate) addresses: BTreeMap<NodeId, String>,
}

impl Node {
    /// It comes up with this log, of which it has executed this much.
    pub(crate) fn with(config: Config, log: &[Entry], applied: LogId) -> Self {
        let mut journal = JournalState::empty(Identity {
            cluster: ClusterId(7),
            group: GroupId(0),
            node: ME,
            store: StoreId(1),
            incarnation: Incarnation::default(),
        });
        for entry in log {
            journal.last = entry.id;
            if journal.terms.last().is_none_or(|(_, term)| *term != entry.id.term) {
                journal.terms.push((entry.id.index, entry.id.term));
            }
            if entry.kind == EntryKind::Membership {
                journal.memberships.push(entry.clone());
            }
        }
        journal.hard_state = HardState { term: journal.last.term, ..HardState::default() };
        let restored = Restored { journal, snapshot: None, applied };
        let raft = Raft::new(config, restored, Time::ZERO).unwrap();
        Self { raft, now: Time::ZERO, events: Vec::new(), addresses: BTreeMap::new() }
    }

    /// Its log names these voters, and it has executed that.
    pub(crate) fn of(config: Config, ids: &[NodeId]) -> Self {
        Self::with(config, &[first(ids)], id(0, 1))
    }

    /// The same, and A leads term 1.
    pub(crate) fn follower(config: Config, ids: &[NodeId]) -> Self {
        let mut node = Self::of(config, ids);
        node.beat(A, 1);
        node.settle();
        node
    }

    /// It is elected, by A and B.
    pub(crate) fn elected(mut self) -> Self {
        self.raft.campaign(self.now);
        for pre in [true, false] {
            self.settle();
            for from in [A, B] {
                self.ballot(from, pre, Ballot::Granted);
            }
        }
        assert_eq!(self.raft.role_kind(), RoleKind::Leader);
        self
    }

    /// An answer to what it asks for now.
    pub(crate) fn ballot(&mut self, from: NodeId, pre: bool, ballot: Ballot) {
        let term = self.status().term;
        let asked = if pre { term.next() } else { term };
        self.hear(from, term.0, Message::VoteReply(VoteReply { pre, asked, ballot }));
    }

    /// It leads these in term 1 with all that it has committed by A: its no-op is 1.2.
    pub(crate) fn leader(config: Config, ids: &[NodeId]) -> Self {
        let mut node = Self::of(config, ids).elected();
        node.settle();
        node.acknowledge(A, 2);
        node.settle();
        assert_eq!(node.status().commit_index, Index(2));
        node
    }

    pub(crate) fn status(&self) -> Status {
        self.raft.status(self.now)
    }

    pub(crate) fn ignored(&self) -> u64 {
        self.status().counters.ignored_messages
    }

    pub(crate) fn hear(&mut self, from: NodeId, term: u64, message: Message) {
        let term = raft_core::ids::Term(term);
        self.raft.handle_message(self.now, Envelope { group: GroupId(0), from, to: ME, term, message });
    }

    /// The leader of that term speaks.
    pub(crate) fn beat(&mut self, from: NodeId, term: u64) {
        self.hear(from, term, Message::Heartbeat(Heartbeat { commit: Index(0), round: 1 }));
    }

    pub(crate) fn acknowledge(&mut self, from: NodeId, index: u64) {
        let term = self.status().term.0;
        self.hear(from, term, Message::AppendReply(AppendReply::Matched { matched: Index(index) }));
    }

    /// It answers that round, and has this much of the log.
    pub(crate) fn answer(&mut self, from: NodeId, round: u64, matched: u64) {
        let (matched, last) = (Index(matched), Index(matched));
        self.reply(from, HeartbeatReply { round, matched, last, ..HeartbeatReply::default() });
    }

    pub(crate) fn reply(&mut self, from: NodeId, reply: HeartbeatReply) {
        let term = self.status().term.0;
        self.hear(from, term, Message::HeartbeatReply(reply));
    }

    pub(crate) fn propose(&mut self) -> u64 {
        self.raft.propose(self.now, pack(&[Bytes::from_static(b"x")])).unwrap().index.0
    }

    /// The clock shows this now.
    pub(crate) fn at(&mut self, now: Time) {
        self.now = now;
        self.raft.handle_timeout(now);
    }

    /// All messages that may leave now.
    pub(crate) fn sent(&mut self) -> Vec<(NodeId, Message)> {
        let mut sent = Vec::new();
        while let Some(out) = self.raft.poll_message() {
            self.addresses.insert(out.envelope.to, out.to.address.clone());
            sent.push((out.envelope.to, out.envelope.message));
        }
        sent
    }

    /// A prompt disk and state machine. What was sent.
    pub(crate) fn settle(&mut self) -> Vec<(NodeId, Message)> {
        let mut sent = Vec::new();
        loop {
            let mut rests = true;
            while let Some(write) = self.raft.poll_write() {
                self.raft.handle_written(self.now, write.ticket);
                rests = false;
            }
            while let Some(apply) = self.raft.poll_apply() {
                self.raft.handle_applied(self.now, apply.through.index);
                rests = false;
            }
            while let Some(fetch) = self.raft.poll_fetch() {
                // Bodies do not matter here.
                let term = |index| if index == 1 { 0 } else { 1 };
                let entries = (fetch.range.start.0..fetch.range.end.0).map(|at| noop(term(at), at)).collect();
                self.raft.handle_fetched(self.now, fetch.id, entries);
                rests = false;
            }
            let before = sent.len();
            sent.extend(self.sent());
            self.events.extend(std::iter::from_fn(|| self.raft.poll_event()));
            if rests && before == sent.len() {
                return sent;
            }
        }
    }
}
