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
use raft_core::backend::{
    HardState, JournalState, JournalWrite, SnapshotContent, SnapshotId, SnapshotMeta, Vote,
};
use raft_core::entry::{Entry, EntryKind, pack, unpack};
use raft_core::error::{ConfigError, Violation};
use raft_core::ids::{ClusterId, GroupId, Identity, Index, LogId, NodeId, ReadId, Term};
use raft_core::membership::{Member, Membership};
use raft_core::message::{
    Append, AppendReply, Ballot, Envelope, Heartbeat, HeartbeatReply, Message, Notice, PeerEvent,
    SnapshotChunk, SnapshotReply, TimeoutNow, VoteReply, VoteRequest,
};
use raft_core::raft::{Event, Fetch, Piece, ReadChunk, Restored, Unreadable, plan_start};
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
        let mut leaving = joint.clone();
        leaving.leaving.insert(NodeId(300));
        let mut admitted = leaving.clone();
        admitted.admitted.insert(NodeId(300), LogId::new(3, 300));
        let all = [voters(1), voters(7), joint, leaving, admitted];
        all.map(|membership| membership.encode().to_vec()).into()
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
    /// The log begins after this.
    purged: LogId,
    entries: Vec<Entry>,
    commit_hint: Index,
    snapshot: Option<SnapshotMeta>,
}

/// What the journal is asked to do.
enum Job {
    Write(JournalWrite),
    Purge(LogId),
    Reset(LogId),
}

impl Disk {
    fn apply(&mut self, job: &Job) {
        match job {
            Job::Write(write) => self.write(write),
            Job::Purge(upto) => {
                assert!(upto.index <= self.covered(), "{upto} is purged without a snapshot");
                assert_eq!(self.at(upto.index).map(|entry| entry.id), Some(*upto), "purged, not in the log");
                self.entries.drain(..(upto.index.0 - self.purged.index.0) as usize);
                self.purged = *upto;
            }
            Job::Reset(to) => {
                assert_eq!(self.covered(), to.index, "reset to what no snapshot covers");
                assert!(self.hard.term >= to.term, "reset to {to} in {}", self.hard.term);
                self.entries.clear();
                self.purged = *to;
            }
        }
    }

    fn write(&mut self, write: &JournalWrite) {
        let before = self.hard;
        self.hard = write.hard_state.unwrap_or(before);
        assert!(self.hard.term >= before.term, "the term goes back");
        if let (Vote::For(first), Vote::For(second)) = (before.vote, self.hard.vote) {
            assert!(before.term < self.hard.term || first == second, "two votes in {}", before.term);
        }
        if let Some(from) = write.truncate_from {
            assert!(from > self.purged.index, "cut from {from}, purged {}", self.purged);
            self.entries.truncate((from.0 - self.purged.index.0) as usize - 1);
        }
        for entry in &write.entries {
            assert_eq!(entry.id.index, self.last().index.next(), "a write leaves a hole");
            self.entries.push(entry.clone());
        }
        self.commit_hint = self.commit_hint.max(write.commit_hint);
    }

    fn at(&self, index: Index) -> Option<&Entry> {
        self.entries.get(usize::try_from(index.0.checked_sub(self.purged.index.0 + 1)?).ok()?)
    }

    fn last(&self) -> LogId {
        self.entries.last().map_or(self.purged, |entry| entry.id)
    }

    fn covered(&self) -> Index {
        self.snapshot.as_ref().map_or(Index::ZERO, |snapshot| snapshot.upto.index)
    }

    fn keep(&mut self, snapshot: SnapshotMeta) {
        if snapshot.upto.index >= self.covered() {
            self.snapshot = Some(snapshot);
        }
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
        state.purged = self.purged;
        state.last = self.last();
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

/// What the snapshot store and an installing state machine are at.
#[derive(Default)]
struct Store {
    taking: Option<SnapshotMeta>,
    pieces: VecDeque<Piece>,
    /// The one that comes in, and how many bytes of it are there.
    part: Option<(SnapshotMeta, u64)>,
    reads: VecDeque<ReadChunk>,
    installing: Option<SnapshotMeta>,
    last: u128,
}

struct World {
    raft: Raft,
    config: Config,
    disk: Disk,
    jobs: VecDeque<Job>,
    store: Store,
    fetches: VecDeque<Fetch>,
    applied: Index,
    applying: Option<Index>,
    /// What it has called committed, by index.
    commit: BTreeMap<Index, LogId>,
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
        config.snapshot_every_entries = [0, 1, 3, 5][usize::from(flavour >> 4 & 3)];
        config.snapshot_keep_entries = u64::from(flavour >> 6);
        (config.snapshot_chunk_bytes, config.snapshot_window_bytes) = (4, 8);
        let restored = Restored { journal: disk.state(), snapshot: None, applied: LogId::ZERO };
        let raft = Raft::new(config.clone(), restored, Time::ZERO).unwrap();
        let mut world = Self {
            raft,
            config,
            disk,
            jobs: VecDeque::new(),
            store: Store::default(),
            fetches: VecDeque::new(),
            applied: Index::ZERO,
            applying: None,
            commit: BTreeMap::new(),
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
        match input.byte() % 27 {
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
            23 => self.store(input.byte()),
            24 => (0..8).for_each(|at| self.store(at)),
            25 => self.raft.take_snapshot(self.now),
            _ => {
                if input.byte() == 0 {
                    self.jobs.clear();
                    self.failed = true;
                    self.raft.handle_write_failed(self.now);
                }
            }
        }
        self.drain();
    }

    fn written(&mut self) {
        if let Some(job) = self.jobs.pop_front() {
            self.disk.apply(&job);
            match job {
                Job::Write(write) => self.raft.handle_written(self.now, write.ticket),
                Job::Purge(upto) => self.raft.handle_purged(self.now, upto),
                Job::Reset(to) => self.raft.handle_reset(self.now, to),
            }
            self.drain();
        }
    }

    /// The snapshot store, or the state machine that installs, does what it is at; or fails.
    fn store(&mut self, how: u8) {
        let (now, fails) = (self.now, how >= 0xe0);
        match how % 4 {
            0 => match self.store.pieces.pop_front() {
                Some(Piece::Begin { id, .. } | Piece::Write { id, .. } | Piece::Finish { id, .. })
                    if fails =>
                {
                    self.raft.handle_piece_failed(now, id);
                }
                Some(piece) => self.piece(piece),
                None => {}
            },
            1 => {
                if let Some(ReadChunk { id, max_bytes, .. }) = self.store.reads.pop_front() {
                    match how >> 2 & 7 {
                        0 => self.raft.handle_chunk_failed(now, id, Unreadable::Gone),
                        1 => self.raft.handle_chunk_failed(now, id, Unreadable::Damaged),
                        2 => self.raft.handle_chunk_failed(now, id, Unreadable::Failed),
                        _ => self.raft.handle_chunk(now, id, Bytes::from(vec![how; max_bytes as usize])),
                    }
                }
            }
            2 => {
                if let Some(taken) = self.store.taking.take() {
                    if fails {
                        self.raft.handle_snapshot_failed(now);
                    } else {
                        self.disk.keep(taken.clone());
                        self.raft.handle_snapshot_taken(now, taken);
                    }
                }
            }
            _ => {
                if let Some(snapshot) = self.store.installing.take() {
                    assert_eq!(self.disk.covered(), snapshot.upto.index, "another one took its place");
                    assert!(snapshot.upto.index > self.applied, "the state goes back");
                    self.applied = snapshot.upto.index;
                    self.raft.handle_installed(now, snapshot.upto);
                }
            }
        }
        self.drain();
    }

    fn piece(&mut self, piece: Piece) {
        match piece {
            Piece::Abandon { .. } => {}
            Piece::Begin { id, upto, membership } => {
                let content = SnapshotContent::default();
                self.store.part = Some((SnapshotMeta::new(id, upto, membership, content), 0));
                self.raft.handle_piece_written(self.now, id, 0);
            }
            Piece::Write { id, data } => {
                let (meta, received) = self.store.part.as_mut().expect("begun before");
                assert_eq!(meta.id, id, "a piece of another one");
                *received += data.len() as u64;
                self.raft.handle_piece_written(self.now, id, *received);
            }
            Piece::Finish { id, content } => {
                let (mut meta, received) = self.store.part.take().expect("begun before");
                assert_eq!((meta.id, received), (id, content.total_bytes), "not the whole of it");
                meta.content = content;
                self.disk.keep(meta.clone());
                self.raft.handle_snapshot_received(self.now, meta);
            }
        }
    }

    /// The journal answers a request, with all it asks for or less.
    fn fetch(&mut self, most: u8) {
        let Some(fetch) = self.fetches.pop_front() else { return };
        let range = fetch.range.start.0..fetch.range.end.0.min(fetch.range.start.0 + 1 + u64::from(most % 4));
        let entries: Option<Vec<Entry>> = range.map(|index| self.disk.at(Index(index)).cloned()).collect();
        // What nobody wants any more may be gone.
        let wanted = self.raft.wants_fetch(fetch.id);
        assert!(entries.is_some() || !wanted, "what is asked for is durable, and was not purged");
        self.raft.handle_fetched(self.now, fetch.id, entries.unwrap_or_default());
    }

    /// The process ends and comes up again: what was not durable is gone.
    fn restart(&mut self) {
        self.jobs.clear();
        self.fetches.clear();
        self.store = Store { last: self.store.last, ..Store::default() };
        self.applied = Index::ZERO;
        self.applying = None;
        self.commit_index = Index::ZERO;
        self.failed = false;
        let (snapshot, mut applied) = (self.disk.snapshot.clone(), LogId::ZERO);
        let plan = match plan_start(&self.disk.state(), snapshot.as_ref(), applied) {
            Ok(plan) => plan,
            // Somebody has lied about what is committed.
            Err(ConfigError::SnapshotContradicts { .. }) => {
                self.halted = true;
                return;
            }
            Err(error) => panic!("what it wrote is sound: {error}"),
        };
        if let Some(to) = plan.reset {
            self.disk.apply(&Job::Reset(to));
        }
        if plan.install {
            applied = snapshot.as_ref().expect("there is one").upto;
            self.applied = applied.index;
        }
        let restored = Restored { journal: self.disk.state(), snapshot, applied };
        self.raft = Raft::new(self.config.clone(), restored, self.now).expect("what it wrote is sound");
        // What it has called committed stays, over restarts as far as that was durable.
        let commit = self.raft.status(self.now).commit_index;
        self.commit.retain(|index, _| *index <= commit);
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
        while let Some(to) = self.raft.poll_reset() {
            moved = true;
            let idle = self.jobs.iter().all(|job| !matches!(job, Job::Write(_)));
            assert!(idle, "reset while writes are under way");
            self.jobs.push_back(Job::Reset(to));
        }
        while let Some(upto) = self.raft.poll_purge() {
            moved = true;
            self.jobs.push_back(Job::Purge(upto));
        }
        while let Some(write) = self.raft.poll_write() {
            moved = true;
            self.jobs.push_back(Job::Write(write));
        }
        moved |= self.drain_snapshots();
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
                assert_eq!(entry.id.index, self.applied.next(), "applied in order");
                let durable = self.disk.at(entry.id.index);
                assert_eq!(Some(entry), durable, "applied before it is durable here");
                self.applied = entry.id.index;
            }
            self.applying = Some(apply.through.index);
        }
        moved
    }

    fn drain_snapshots(&mut self) -> bool {
        let mut moved = false;
        while let Some(take) = self.raft.poll_snapshot() {
            moved = true;
            assert_eq!(take.upto.index, self.applied, "of the state as it is");
            self.store.last += 1;
            let content = SnapshotContent { total_bytes: self.store.last as u64 % 13, checksum: 0 };
            let id = SnapshotId(100 + self.store.last);
            let taken = SnapshotMeta::new(id, take.upto, take.membership, content);
            assert!(self.store.taking.replace(taken).is_none(), "one at a time");
        }
        while let Some(piece) = self.raft.poll_piece() {
            moved = true;
            self.store.pieces.push_back(piece);
            assert!(self.store.pieces.len() < 4, "one at a time");
        }
        while let Some(chunk) = self.raft.poll_chunk() {
            moved = true;
            self.store.reads.push_back(chunk);
        }
        while let Some(snapshot) = self.raft.poll_install() {
            moved = true;
            assert!(self.store.installing.replace(snapshot).is_none(), "one at a time");
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
                assert!(*matched <= self.disk.last().index, "acknowledged too early");
            }
            Message::HeartbeatReply(reply) => {
                let durable = self.disk.last().index;
                assert!(reply.matched <= durable && reply.last <= durable, "claimed too early");
            }
            Message::Snapshot(chunk) => {
                let snapshot = self.disk.snapshot.as_ref().expect("there is one");
                assert!(chunk.upto.index <= snapshot.upto.index);
                assert!(chunk.offset + chunk.data.len() as u64 <= chunk.total);
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
        for job in &self.jobs {
            match job {
                Job::Write(write) => {
                    let from = write.truncate_from.unwrap_or(Index(u64::MAX));
                    log.retain(|id| id.index < from);
                    log.extend(ids(&write.entries));
                }
                Job::Purge(upto) => log.retain(|id| id.index > upto.index),
                Job::Reset(_) => log.clear(),
            }
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
        for id in log.into_iter().filter(|id| id.index <= status.commit_index) {
            let before = *self.commit.entry(id.index).or_insert(id);
            assert_eq!(before, id, "committed and replaced");
        }
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
            let known = self.disk.at(Index(index)).map(|entry| entry.id);
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
            18 => {
                let total = if flag(4) { input.number() } else { u64::from(input.byte() % 13) };
                let offset = if flag(5) { input.number() } else { u64::from(input.byte()) % (total | 1) };
                let length = if flag(6) { 8 } else { total.saturating_sub(offset).min(8) as usize };
                let membership = match input.byte() {
                    0..=7 => Bytes::copy_from_slice(input.bytes(8)),
                    shape => voters(1 + u64::from(shape % 5)).encode(),
                };
                Message::Snapshot(SnapshotChunk {
                    upto: log_id(input),
                    snapshot: u128::from(input.byte() % 4),
                    membership,
                    offset,
                    total,
                    checksum: 0,
                    data: Bytes::copy_from_slice(input.bytes(length)),
                })
            }
            _ => {
                let (received, installed) = (u64::from(input.byte() % 16), flag(0));
                let received = if flag(1) { input.number() } else { received };
                let mine = self.disk.snapshot.as_ref().map_or(1, |snapshot| snapshot.id.0);
                let snapshot = if flag(2) { input.number().into() } else { mine };
                Message::SnapshotReply(SnapshotReply { snapshot, received, installed })
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

/// What the seeds are made of: each step in its bytes.
mod bytes_of {
    /// A leader's or voter's message, in a term that lies this far above the one before, less 3.
    fn message(from: u8, term: u8, flags: u8, kind: u8, rest: &[u8]) -> Vec<u8> {
        [&[0, 1, from, term, flags, kind], rest].concat()
    }

    pub(super) fn world(size: u8, flavour: u8) -> Vec<u8> {
        vec![size, 0, flavour]
    }

    pub(super) fn written() -> Vec<u8> {
        vec![12, 3, 0]
    }

    /// The first entry is read back from the disk.
    pub(super) fn applied() -> Vec<u8> {
        vec![19, 3, 20, 20]
    }

    pub(super) fn elected() -> Vec<u8> {
        let (pre, real) = (message(0, 3, 9, 2, &[0, 0, 4]), message(0, 3, 0, 2, &[0, 0]));
        [vec![10], pre, written(), real, written()].concat()
    }

    pub(super) fn matched(at: u8) -> Vec<u8> {
        message(0, 3, 0, 13, &[at])
    }

    /// Two entries after the log's end.
    pub(super) fn append(term: u8, commit: u8) -> Vec<u8> {
        message(0, term, 0, 9, &[3, 0, 2, 0, 4, 7, 7, 4, 8, 8, commit])
    }

    /// A whole snapshot of eight bytes, of four entries more than the log has.
    pub(super) fn chunk(term: u8) -> Vec<u8> {
        message(0, term, 0, 18, &[8, 0, 12, 7, 0, 1, 5, 5, 5, 5, 5, 5, 5, 5])
    }
}

/// A node that leads, with a snapshot of its own; one that follows; one whose log begins anew; and others.
fn seeds() -> Vec<Vec<u8>> {
    use bytes_of::*;
    let propose = vec![14, 1, 2, 12, 3, 0];
    let lead = [world(0, 0x10), elected(), propose, matched(3), applied(), vec![15, 24]].concat();
    let follow =
        [world(0, 2), append(4, 3), written(), append(3, 4), written(), applied(), applied(), applied()]
            .concat();
    let install = [world(0, 0x10), chunk(4), written(), vec![24], chunk(3), vec![24, 24]].concat();
    let install = [install, written(), vec![24], append(3, 5), written(), vec![20]].concat();
    let others: [&[u8]; 3] =
        [&[1, 0, 0, 10, 12, 3, 0, 14, 1, 2, 12, 3, 0, 20], &[3, 0, 0], &[4, 0, 7, 17, 12, 3]];
    [vec![lead, follow, install], others.map(<[u8]>::to_vec).to_vec()].concat()
}

/// Bytes change their meaning when a choice is added: then the seeds must follow.
#[test]
fn seeds_do_what_they_are_meant_to() {
    let run = |seed: &[u8]| {
        let mut input = Input(seed);
        let mut world = World::new([3, 1, 5, 0, 2][input.below(5)], input.byte());
        while !input.is_empty() {
            world.step(&mut input);
        }
        world.raft.status(world.now)
    };
    let all: Vec<_> = seeds().iter().map(|seed| run(seed)).collect();
    assert_eq!((all[0].role, all[0].applied_index), (RoleKind::Leader, Index(3)));
    assert!(all[0].counters.snapshots_taken > 0);
    assert_eq!((all[1].role, all[1].applied_index), (RoleKind::Follower, Index(4)));
    assert_eq!((all[2].counters.snapshots_installed, all[2].applied_index), (1, Index(7)));
    assert_eq!(all[3].role, RoleKind::Leader);
}
