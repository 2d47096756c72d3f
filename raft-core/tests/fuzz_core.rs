//! What reaches the protocol from others: the bytes of memberships and of packed commands, and messages of
//! any content in any order.
#![cfg_attr(fuzzing, no_main)]
#![allow(dead_code, reason = "parts of the driver")]

#[path = "../../xtask/fuzz/mod.rs"]
mod fuzz;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use fuzz::{Allowance, Input, Target};
use raft_core::backend::{HardState, JournalState, JournalWrite, Vote};
use raft_core::entry::{Entry, EntryKind, pack, unpack};
use raft_core::error::Violation;
use raft_core::ids::{ClusterId, GroupId, Identity, Index, LogId, NodeId, ReadId, Term};
use raft_core::membership::{Member, Membership};
use raft_core::message::{
    Append, AppendReply, Ballot, Envelope, Heartbeat, HeartbeatReply, Message, Notice, PeerEvent,
    SnapshotChunk, SnapshotReply, TimeoutNow, VoteReply, VoteRequest,
};
use raft_core::raft::{Event, Fetch, Restored};
use raft_core::status::RoleKind;
use raft_core::time::Time;
use raft_core::{Config, Raft};

fuzz::targets! {
    membership = MEMBERSHIP;
    packed = PACKED;
    core = CORE;
}

/// The data of a membership entry.
const MEMBERSHIP: Target = Target {
    name: "membership",
    run: |input| {
        if let Ok(membership) = Membership::decode(input) {
            assert_eq!(membership.check(), Ok(()));
            assert_eq!(Membership::decode(&membership.encode()), Ok(membership.clone()));
            assert!(membership.learners().all(|id| membership.is_member(id) && !membership.is_voter(id)));
            assert!(membership.all_voters().all(|id| membership.is_voter(id)));
            let record = |(id, member): (&NodeId, &Member)| (*id, member.clone());
            let members: BTreeMap<NodeId, Member> = membership.members.iter().map(record).collect();
            assert_eq!(members, membership.members);
        }
    },
    seeds: || {
        let mut joint = voters(3);
        joint.members.insert(NodeId(300), Member::new(NodeId(300), "[::1]:7").with("client", "x:1"));
        joint.outgoing = [NodeId(1), NodeId(300)].into();
        vec![voters(1).encode().to_vec(), voters(7).encode().to_vec(), joint.encode().to_vec()]
    },
    words: &[b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\xff\xff\xff\xff\x0f", b"node-1"],
    allowance: Allowance::new(32 << 10, 400),
    longest: 1024,
    plain: 20_000,
};

/// The data of an entry with commands.
const PACKED: Target = Target {
    name: "packed",
    run: |input| {
        let data = Bytes::copy_from_slice(input);
        if let Ok(commands) = unpack(&data) {
            // There is one way to pack.
            assert_eq!(pack(&commands), data);
        }
    },
    seeds: || {
        let pack = |commands: &[&'static [u8]]| {
            let commands: Vec<Bytes> = commands.iter().map(|data| Bytes::from_static(data)).collect();
            pack(&commands).to_vec()
        };
        vec![pack(&[]), pack(&[b""]), pack(&[b"set a 1", b"", b"del b"])]
    },
    words: &[b"\xff\xff\xff\xff", b"\0\0\0\0", b"\0\0\0\x80"],
    allowance: Allowance::new(8 << 10, 64),
    longest: 1024,
    plain: 20_000,
};

/// A node among peers that say anything. Liars can make it halt with an alarm about the others, never with
/// one about itself; and whatever they say, it keeps what it owes: nothing leaves before it is durable, one
/// vote a term, nothing committed is taken back.
const CORE: Target = Target {
    name: "core",
    run: |input| {
        let mut input = Input(input);
        let size = [3, 1, 5, 0, 2][input.below(5)];
        let mut world = World::new(size, input.byte());
        while !input.is_empty() && !world.halted {
            world.step(&mut input);
        }
    },
    seeds,
    words: &[],
    allowance: Allowance::new(512 << 10, 8 << 10),
    longest: 1024,
    plain: 3_000,
};

const ME: NodeId = NodeId(1);

fn voters(count: u64) -> Membership {
    let members = (1..=count).map(|id| Member::new(NodeId(id), format!("node-{id}")));
    Membership::of_voters(members).unwrap()
}

/// What is durable.
#[derive(Clone, Default)]
struct Disk {
    hard: HardState,
    entries: Vec<Entry>,
    commit_hint: Index,
}

impl Disk {
    fn apply(&mut self, write: &JournalWrite) {
        let before = self.hard;
        self.hard = write.hard_state.unwrap_or(before);
        assert!(self.hard.term >= before.term, "the term goes back");
        if let (Vote::For(first), Vote::For(second)) = (before.vote, self.hard.vote) {
            assert!(before.term < self.hard.term || first == second, "two votes in {}", before.term);
        }
        if let Some(from) = write.truncate_from {
            self.entries.truncate(from.0 as usize - 1);
        }
        for entry in &write.entries {
            assert_eq!(entry.id.index.0, self.entries.len() as u64 + 1, "a write leaves a hole");
            self.entries.push(entry.clone());
        }
        self.commit_hint = self.commit_hint.max(write.commit_hint);
    }

    fn state(&self) -> JournalState {
        let identity = Identity {
            cluster: ClusterId(7),
            group: GroupId(0),
            node: ME,
            store: Default::default(),
            incarnation: Default::default(),
        };
        let mut state = JournalState::empty(identity);
        state.hard_state = self.hard;
        state.last = self.entries.last().map_or(LogId::ZERO, |entry| entry.id);
        state.commit_hint = self.commit_hint;
        for entry in &self.entries {
            if state.terms.last().is_none_or(|(_, term)| *term != entry.id.term) {
                state.terms.push((entry.id.index, entry.id.term));
            }
            if entry.kind == EntryKind::Membership {
                state.memberships.push(entry.clone());
            }
        }
        state
    }
}

struct World {
    raft: Raft,
    config: Config,
    disk: Disk,
    writes: VecDeque<JournalWrite>,
    fetches: VecDeque<Fetch>,
    applied: Vec<LogId>,
    applying: Option<Index>,
    commit: Vec<LogId>,
    /// Since it came up.
    commit_index: Index,
    term: Term,
    last: u64,
    now: Time,
    reads: u64,
    /// The journal has failed: the log in memory is not the one of disk and writes any more.
    failed: bool,
    halted: bool,
}

impl World {
    fn new(size: u64, flavour: u8) -> Self {
        let mut disk = Disk::default();
        if size > 0 {
            let (id, data) = (LogId::new(0, 1), voters(size).encode());
            disk.entries.push(Entry { id, kind: EntryKind::Membership, data });
        }
        disk.hard.probation = flavour & 1 == 1;
        let mut config = Config::new(ME, ClusterId(7));
        config.seed = u64::from(flavour);
        config.tail_limit_bytes = if flavour & 2 == 2 { 200 } else { 1 << 20 };
        config.append_limit_bytes = 300;
        config.window_messages = 3;
        config.write_limit_bytes = if flavour & 4 == 4 { 100 } else { 1 << 20 };
        let restored = Restored { journal: disk.state(), snapshot: None, applied: LogId::ZERO };
        let raft = Raft::new(config.clone(), restored, Time::ZERO).unwrap();
        let mut world = Self {
            raft,
            config,
            disk,
            writes: VecDeque::new(),
            fetches: VecDeque::new(),
            applied: Vec::new(),
            applying: None,
            commit: Vec::new(),
            commit_index: Index::ZERO,
            term: Term::ZERO,
            last: 0,
            now: Time::ZERO,
            reads: 0,
            failed: false,
            halted: false,
        };
        world.drain();
        world
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.byte() % 24 {
            0..=8 => {
                let envelope = self.envelope(input);
                self.raft.handle_message(self.now, envelope);
            }
            9 => {
                self.now = self.now + Duration::from_millis(u64::from(input.byte()) * 8);
                self.raft.handle_timeout(self.now);
            }
            10 => {
                if let Some(at) = self.raft.next_timeout() {
                    self.now = self.now.max(at);
                    self.raft.handle_timeout(self.now);
                }
            }
            11..=13 => {
                let count = 1 + input.below(4);
                (0..count).for_each(|_| self.written());
            }
            14 => {
                let commands = pack(&[Bytes::copy_from_slice(input.bytes(2))]);
                let _ = self.raft.propose(self.now, commands);
            }
            15 => {
                self.reads += 1;
                let _ = self.raft.read(self.now, ReadId(self.reads));
            }
            16 => {
                let to = input.byte() % 8;
                let _ = self.raft.transfer_leadership(self.now, (to > 0).then_some(NodeId(to.into())));
            }
            17 => self.raft.campaign(self.now),
            18 => {
                let event = [PeerEvent::Up, PeerEvent::Down, PeerEvent::Gone][input.below(3)];
                self.raft.handle_peer(self.now, peer(input), event);
            }
            19 => self.fetch(input.byte()),
            20 | 21 => {
                if let Some(through) = self.applying.take() {
                    self.raft.handle_applied(self.now, through);
                }
            }
            22 => self.restart(),
            _ => {
                if input.byte() == 0 {
                    self.writes.clear();
                    self.failed = true;
                    self.raft.handle_write_failed(self.now);
                }
            }
        }
        self.drain();
    }

    fn written(&mut self) {
        if let Some(write) = self.writes.pop_front() {
            self.disk.apply(&write);
            self.raft.handle_written(self.now, write.ticket);
            self.drain();
        }
    }

    /// The journal answers a request, with all it asks for or less.
    fn fetch(&mut self, most: u8) {
        let Some(fetch) = self.fetches.pop_front() else { return };
        let range = fetch.range.start.0 as usize - 1..fetch.range.end.0 as usize - 1;
        let mut entries = self.disk.entries.get(range).expect("what is asked for is durable").to_vec();
        entries.truncate(1 + usize::from(most % 4));
        self.raft.handle_fetched(self.now, fetch.id, entries);
    }

    /// The process ends and comes up again: what was not durable is gone.
    fn restart(&mut self) {
        self.writes.clear();
        self.fetches.clear();
        self.applied.clear();
        self.applying = None;
        self.commit_index = Index::ZERO;
        self.failed = false;
        let restored = Restored { journal: self.disk.state(), snapshot: None, applied: LogId::ZERO };
        self.raft = Raft::new(self.config.clone(), restored, self.now).expect("what it wrote is sound");
    }

    /// Takes everything that comes out, and checks it.
    fn drain(&mut self) {
        for _ in 0..1000 {
            if !self.drain_once() {
                return self.check();
            }
        }
        panic!("it never rests");
    }

    fn drain_once(&mut self) -> bool {
        let mut moved = false;
        while let Some(out) = self.raft.poll_message() {
            moved = true;
            self.check_message(&out.envelope);
        }
        while let Some(write) = self.raft.poll_write() {
            moved = true;
            self.writes.push_back(write);
        }
        while let Some(fetch) = self.raft.poll_fetch() {
            moved = true;
            self.fetches.push_back(fetch);
        }
        while let Some(event) = self.raft.poll_event() {
            moved = true;
            if let Event::Alarm(violation) = event {
                let lied_to = !matches!(violation, Violation::Local { .. });
                assert!(lied_to, "{violation}");
                self.halted |= violation.is_fatal();
            }
        }
        while let Some(apply) = self.raft.poll_apply() {
            moved = true;
            for entry in &apply.entries {
                assert_eq!(entry.id.index.0, self.applied.len() as u64 + 1, "applied in order");
                let durable = self.disk.entries.get(self.applied.len());
                assert_eq!(Some(entry), durable, "applied before it is durable here");
                self.applied.push(entry.id);
            }
            self.applying = Some(apply.through.index);
        }
        moved
    }

    /// Nothing may leave that a crash would take back.
    fn check_message(&self, envelope: &Envelope) {
        assert_eq!(envelope.from, ME);
        let Envelope { to, term, message, .. } = envelope;
        let pre = matches!(message, Message::Vote(VoteRequest { pre: true, .. }));
        let known = if pre { self.disk.hard.term.next() } else { self.disk.hard.term };
        assert!(*term <= known, "{envelope:?} with {:?} on disk", self.disk.hard);
        match message {
            Message::Vote(VoteRequest { pre: false, .. }) => {
                self.check_vote(*term, ME);
            }
            Message::VoteReply(VoteReply { pre: false, asked, ballot: Ballot::Granted }) => {
                self.check_vote(*asked, *to);
                assert!(!self.disk.hard.probation, "a vote on probation");
            }
            Message::AppendReply(AppendReply::Matched { matched }) => {
                assert!(matched.0 <= self.disk.entries.len() as u64, "acknowledged too early");
            }
            Message::HeartbeatReply(reply) => {
                let durable = self.disk.entries.len() as u64;
                assert!(reply.matched.0 <= durable && reply.last.0 <= durable, "claimed too early");
            }
            Message::Append(append) => {
                let follows = |(entry, at): (&Entry, u64)| entry.id.index.0 == append.prev.index.0 + at;
                assert!(append.entries.iter().zip(1..).all(follows));
            }
            _ => {}
        }
    }

    /// The vote is on disk, or it is a later term there: then no other vote can be given in this one.
    fn check_vote(&self, term: Term, candidate: NodeId) {
        let hard = self.disk.hard;
        assert!(hard.term > term || hard.vote == Vote::For(candidate), "{term}, {candidate}: {hard:?}");
    }

    fn check(&mut self) {
        let status = self.raft.status(self.now);
        let ids = |entries: &[Entry]| entries.iter().map(|entry| entry.id).collect::<Vec<_>>();
        let mut log = ids(&self.disk.entries);
        for write in &self.writes {
            if let Some(from) = write.truncate_from {
                log.truncate(from.0 as usize - 1);
            }
            log.extend(ids(&write.entries));
        }
        if !self.halted && self.raft.role_kind() != RoleKind::Limbo {
            assert!(status.commit_index <= status.last.index);
        }
        assert!(status.commit_index >= self.commit_index, "the commit index goes back");
        (self.commit_index, self.term, self.last) = (status.commit_index, status.term, status.last.index.0);
        if self.failed {
            return;
        }
        // What it has called committed stays, also over restarts as far as it was durable.
        let commit = usize::try_from(status.commit_index.0).unwrap().min(log.len());
        log.truncate(commit);
        let kept = log.iter().zip(&self.commit).all(|(now, before)| now == before);
        assert!(kept, "committed and replaced: {:?}, {log:?}", self.commit);
        self.commit = log;
    }

    /// A message that is near to what it may get, most of the time.
    fn envelope(&self, input: &mut Input<'_>) -> Envelope {
        let shape = input.byte();
        let from = if shape & 7 == 0 { NodeId(input.number()) } else { peer(input) };
        let to = if shape & 0x38 == 0x38 { NodeId(input.number()) } else { ME };
        let group = GroupId(u64::from(shape == 0xff));
        let term = Term(near(input, self.term.0));
        let message = self.message(input, term);
        Envelope { group, from, to, term, message }
    }

    fn message(&self, input: &mut Input<'_>, term: Term) -> Message {
        let last = self.last;
        let index = |input: &mut Input<'_>| Index(near(input, last));
        let log_id = |input: &mut Input<'_>| {
            let index = near(input, last);
            // Often one that is there.
            let known = self.disk.entries.get((index as usize).wrapping_sub(1)).map(|entry| entry.id);
            match (input.byte() & 3, known) {
                (0..=2, Some(known)) => known,
                (3, _) => LogId { term: Term(near(input, term.0)), index: Index(index) },
                _ => LogId { term, index: Index(index) },
            }
        };
        let flags = input.byte();
        let flag = |bit: u8| flags >> bit & 1 == 1;
        match input.byte() % 20 {
            0 | 1 => {
                let told = if flag(2) { input.number() } else { 0 };
                Message::Vote(VoteRequest { pre: flag(0), transfer: flag(1), last: log_id(input), told })
            }
            2..=4 => {
                let ballot =
                    [Ballot::Granted, Ballot::Granted, Ballot::Denied, Ballot::Vetoed][input.below(4)];
                let asked = if flag(3) { Term(near(input, term.0)) } else { term };
                Message::VoteReply(VoteReply { pre: flag(0), asked, ballot })
            }
            5 | 6 => Message::Heartbeat(Heartbeat { commit: index(input), round: input.number() }),
            7 | 8 => {
                let (matched, last) = (index(input), index(input));
                let round = input.number();
                let (probation, slow) = (flag(0), flag(1));
                let promise = Duration::from_micros(if flag(2) { input.number() } else { 0 });
                let priority = if flag(3) { input.byte().cast_signed() } else { 0 };
                Message::HeartbeatReply(HeartbeatReply {
                    round,
                    matched,
                    last,
                    probation,
                    slow,
                    promise,
                    priority,
                })
            }
            9..=12 => {
                let prev = log_id(input);
                let mut at = prev;
                let entries = (0..input.below(4)).map(|_| {
                    at.index = if flag(7) { index(input) } else { at.index.next() };
                    at.term = if flag(6) { Term(near(input, term.0)) } else { term };
                    entry(input, at)
                });
                let entries = entries.collect();
                Message::Append(Append { prev, commit: index(input), entries })
            }
            13 | 14 => Message::AppendReply(AppendReply::Matched { matched: index(input) }),
            15 => {
                let (prev, hint, last) = (index(input), log_id(input), index(input));
                Message::AppendReply(AppendReply::Rejected { prev, hint, last })
            }
            16 => Message::TimeoutNow(TimeoutNow { round: if flag(0) { input.number() } else { 0 } }),
            17 if flag(0) => Message::Notice(Notice::Removed { since: Index(3) }),
            17 => Message::Notice(Notice::RolledBack { acknowledged: index(input) }),
            18 => Message::Snapshot(SnapshotChunk {
                upto: log_id(input),
                snapshot: input.long().into(),
                membership: Bytes::copy_from_slice(input.bytes(8)),
                offset: input.number(),
                total: input.number(),
                checksum: 0,
                data: Bytes::copy_from_slice(input.bytes(8)),
            }),
            _ => {
                let (received, installed) = (input.number(), flag(0));
                Message::SnapshotReply(SnapshotReply { snapshot: 1, received, installed })
            }
        }
    }
}

fn peer(input: &mut Input<'_>) -> NodeId {
    NodeId(2 + u64::from(input.byte() % 5))
}

/// A number around another.
fn near(input: &mut Input<'_>, middle: u64) -> u64 {
    let byte = input.byte();
    match byte {
        0..=0xbf => middle.saturating_add(u64::from(byte % 8)).saturating_sub(3),
        _ => input.number(),
    }
}

fn entry(input: &mut Input<'_>, id: LogId) -> Entry {
    let what = input.byte();
    let (kind, data) = match what % 8 {
        0 => (EntryKind::Noop, Bytes::new()),
        1 => (EntryKind::Session, Bytes::copy_from_slice(input.bytes(3))),
        2 => {
            let mut membership = voters(1 + u64::from(what >> 5));
            if what & 8 != 0 {
                membership.voters.remove(&ME);
                membership.outgoing = [NodeId(2)].into();
            }
            (EntryKind::Membership, membership.encode())
        }
        3 => (EntryKind::Membership, Bytes::copy_from_slice(input.bytes(3))),
        _ => (EntryKind::Commands, pack(&[Bytes::copy_from_slice(input.bytes(2))])),
    };
    Entry { id, kind, data }
}

/// A node that is elected, replicates, and steps down; a follower that takes entries.
fn seeds() -> Vec<Vec<u8>> {
    let granted = |from: u8, pre: u8| vec![0, 1, from, 3, pre, 2, 0];
    let elected = [vec![0, 0, 10], granted(0, 1), vec![12, 3], granted(0, 0), vec![12, 3]].concat();
    let matched = |at: u8| vec![0, 1, 0, 3, 0, 13, at];
    let lead = [elected, vec![14, 1, 2, 12, 3], matched(3), vec![20, 15, 16, 2], matched(4)].concat();
    let append = |commit: u8| vec![1, 1, 0, 4, 0, 9, 3, 0, 2, 4, 7, 7, 4, 8, 8, commit];
    let follow = [vec![0, 2], append(3), vec![12, 3], append(4), vec![12, 3, 20, 22], append(5)].concat();
    vec![lead, follow, vec![1, 0, 10, 12, 3, 14, 1, 2, 12, 3, 20], vec![3, 0], vec![4, 7, 17, 12, 3]]
}
