//! A cluster with its disks, stores and network, of which a seed decides everything, and what must hold in it.

mod stores;

use crate::disk::{Disk, Job, Snapshot};
use bytes::Bytes;
use raft_core::backend::SnapshotId;
use raft_core::entry::{Entry, EntryKind, pack};
use raft_core::ids::{ClusterId, Index, LogId, NodeId, ReadId, Term};
use raft_core::membership::{Change, Member, Membership, VoteResult};
use raft_core::message::{Envelope, PeerEvent};
use raft_core::raft::{ChangeOptions, Event, Piece, Restored, plan_start};
use raft_core::status::RoleKind;
use raft_core::time::Time;
use raft_core::{Config, Lease, Raft};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use stores::Store;

/// How fast the clocks go, in thousandths. The slowest loses ten percent against the fastest.
const RATES: [u64; 5] = [950, 1050, 1000, 1020, 955];
const LEASE: Lease = Lease { max_drift_ppm: 100_000 };

struct Node {
    raft: Option<Raft>,
    disk: Disk,
    jobs: VecDeque<Job>,
    store: Store,
    applied: Vec<Entry>,
}

pub(crate) struct World {
    nodes: Vec<Node>,
    network: Vec<Envelope>,
    /// Real time: no node sees it.
    now: Time,
    /// Reads may be answered under leases: each node's clock then goes its own way, within what is declared.
    leases: bool,
    random: u64,
    tail_limit: u64,
    tail_keep: u64,
    /// Entries from one snapshot to the next, and how many are kept before it; (0, 0) for none.
    compaction: (u64, u64),
    /// Whether state machines keep their state over a restart.
    keeps_state: bool,
    leaders: BTreeMap<Term, NodeId>,
    votes: BTreeMap<(NodeId, Term), NodeId>,
    committed: BTreeMap<Index, LogId>,
    contents: BTreeMap<LogId, (LogId, Entry)>,
    applied: BTreeMap<Index, Entry>,
    reads: BTreeMap<(NodeId, ReadId), Index>,
    next_read: u64,
    /// What was committed of memberships.
    memberships: BTreeMap<Index, Membership>,
    /// Whether the membership changes.
    changing: bool,
    /// Every snapshot that was ever taken.
    snapshots: BTreeMap<SnapshotId, Arc<Snapshot>>,
    last_snapshot: u128,
    /// Who is out of reach of the others.
    cut_off: Option<usize>,
    /// Nothing fails any more.
    healed: bool,
    pub(crate) seen: BTreeSet<&'static str>,
}

pub(crate) fn member(id: u64) -> Member {
    Member::new(NodeId(id), format!("node-{id}"))
}

impl World {
    /// Of `size` nodes the first `founders` make a cluster; the others know of nothing.
    pub(crate) fn new(founders: u64, size: u64, seed: u64) -> Self {
        let members = (1..=founders).map(member);
        let membership = Membership::of_voters(members).unwrap();
        let first = Entry { id: LogId::new(0, 1), kind: EntryKind::Membership, data: membership.encode() };
        let founder = Disk { entries: vec![first], ..Disk::default() };
        let node = |id| Node {
            raft: None,
            disk: if id <= founders { founder.clone() } else { Disk::default() },
            jobs: VecDeque::new(),
            store: Store::default(),
            applied: Vec::new(),
        };
        let nodes = (1..=size).map(node).collect();
        let mut world = Self {
            nodes,
            network: Vec::new(),
            now: Time::ZERO,
            leases: seed % 4 >= 2,
            random: seed,
            tail_limit: if seed.is_multiple_of(3) { 200 } else { 1 << 20 },
            tail_keep: [0, 150, 1 << 20][(seed >> 24) as usize % 3],
            compaction: [(0, 0), (3, 0), (5, 2), (12, 6)][(seed >> 8) as usize % 4],
            keeps_state: (seed >> 16).is_multiple_of(2),
            leaders: BTreeMap::new(),
            votes: BTreeMap::new(),
            committed: BTreeMap::new(),
            contents: BTreeMap::new(),
            applied: BTreeMap::new(),
            reads: BTreeMap::new(),
            next_read: 0,
            memberships: BTreeMap::new(),
            changing: size > founders,
            snapshots: BTreeMap::new(),
            last_snapshot: 0,
            cut_off: None,
            healed: false,
            seen: BTreeSet::new(),
        };
        for at in 0..world.nodes.len() {
            world.start(at);
        }
        world
    }

    /// What a node's clock shows: up to five percent fast or slow where there are leases.
    fn clock(&self, at: usize) -> Time {
        let rate = if self.leases { RATES[at % RATES.len()] } else { 1000 };
        Time::from_nanos(self.now.as_nanos() / 1000 * rate)
    }

    /// Waits until a node's clock shows at least this.
    fn wait_until(&mut self, at: usize, time: Time) {
        let rate = if self.leases { RATES[at % RATES.len()] } else { 1000 };
        let nanos = (time.as_nanos() / rate + 1) * 1000;
        self.now = self.now.max(Time::from_nanos(nanos));
    }

    fn draw(&mut self, below: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random % below.max(1) as u64) as usize
    }

    /// Whether something fails that does so once in so many times.
    fn fails(&mut self, once_in: usize) -> bool {
        self.draw(once_in) == 0 && !self.healed
    }

    fn start(&mut self, at: usize) {
        let id = NodeId(at as u64 + 1);
        let mut config = Config::new(id, ClusterId(7));
        config.promote_lag_entries = 3;
        config.seed = self.random;
        config.tail_limit_bytes = self.tail_limit;
        config.tail_keep_bytes = self.tail_keep;
        config.append_limit_bytes = 300;
        config.window_messages = 3;
        config.lease = self.leases.then_some(LEASE);
        let now = self.clock(at);
        (config.snapshot_every_entries, config.snapshot_keep_entries) = self.compaction;
        (config.snapshot_chunk_bytes, config.snapshot_window_bytes) = (80, 200);
        let node = &mut self.nodes[at];
        node.jobs.clear();
        node.store = Store::default();
        if !self.keeps_state {
            node.applied.clear();
        }
        let applied = |node: &Node| node.applied.last().map_or(LogId::ZERO, |entry| entry.id);
        let snapshot = node.disk.snapshot.clone();
        let meta = snapshot.as_ref().map(|snapshot| snapshot.meta.clone());
        let plan = plan_start(&node.disk.state(id), meta.as_ref(), applied(node)).unwrap();
        if let Some(to) = plan.reset {
            node.disk.apply(&Job::Reset(to), 0);
            self.seen.insert("reset at the start");
        }
        if plan.install {
            self.replace_state(at, &snapshot.unwrap());
            self.seen.insert("installed at the start");
        }
        let node = &mut self.nodes[at];
        let restored = Restored { journal: node.disk.state(id), snapshot: meta, applied: applied(node) };
        node.raft = Some(Raft::new(config, restored, now).unwrap());
        self.drain(at);
    }

    /// It starts, and others may hear of its new connection.
    fn come_back(&mut self, at: usize) {
        self.start(at);
        for other in 0..self.nodes.len() {
            if other != at && self.draw(2) == 0 {
                let (now, peer) = (self.clock(other), NodeId(at as u64 + 1));
                if let Some(raft) = &mut self.nodes[other].raft {
                    raft.handle_peer(now, peer, PeerEvent::Up);
                }
                self.drain(other);
            }
        }
    }

    /// Pulls everything and checks it.
    fn drain(&mut self, at: usize) {
        let (id, now) = (NodeId(at as u64 + 1), self.clock(at));
        loop {
            let mut moved = self.pull_snapshots(at);
            let node = &mut self.nodes[at];
            let Some(raft) = &mut node.raft else { return };
            let mut sent = Vec::new();
            while let Some(out) = raft.poll_message() {
                moved = true;
                assert_eq!(out.envelope.from, id);
                assert!(
                    out.envelope.term <= node.disk.hard.term.next(),
                    "a message before its term is durable"
                );
                sent.push(out.envelope);
            }
            while let Some(to) = raft.poll_reset() {
                moved = true;
                node.jobs.push_back(Job::Reset(to));
            }
            while let Some(upto) = raft.poll_purge() {
                moved = true;
                node.jobs.push_back(Job::Purge(upto));
            }
            while let Some(write) = raft.poll_write() {
                moved = true;
                node.jobs.push_back(Job::Write(write));
            }
            while let Some(fetch) = raft.poll_fetch() {
                moved = true;
                let fits = 1 + fetch.max_bytes / 120;
                let range = fetch.range.start.0..fetch.range.end.0.min(fetch.range.start.0 + fits);
                let entries: Option<Vec<Entry>> = range.map(|index| node.disk.at(index).cloned()).collect();
                let entries = entries.expect("what is asked for is durable, and was not purged");
                raft.handle_fetched(now, fetch.id, entries);
                self.seen.insert("fetch");
            }
            while let Some(event) = raft.poll_event() {
                moved = true;
                match event {
                    Event::Alarm(violation) => panic!("node {id}: {violation}"),
                    Event::PeerRolledBack { peer, .. } => panic!("{id} accuses {peer}"),
                    Event::RoleChanged { role: RoleKind::Leader, term, .. } => {
                        self.seen.insert("leader");
                        if term.0 > 2 {
                            self.seen.insert("later leader");
                        }
                        let first = *self.leaders.entry(term).or_insert(id);
                        assert_eq!(first, id, "Election Safety: two leaders of term {term}");
                    }
                    Event::ReadReady { id: read, index } => {
                        let least = self.reads.remove(&(id, read)).expect("a read is answered once");
                        assert!(index >= least, "a read at {index} misses what was committed: {least}");
                        assert!(raft.status(now).applied_index >= index);
                        self.seen.insert("read");
                        if raft.role_kind() != RoleKind::Leader {
                            self.seen.insert("read on a follower");
                        } else if raft.status(now).lease_left.is_some() {
                            self.seen.insert("read under a lease");
                        }
                    }
                    Event::ReadFailed { id: read, .. } => {
                        self.reads.remove(&(id, read)).expect("a read is answered once");
                    }
                    _ => {}
                }
            }
            while let Some(apply) = raft.poll_apply() {
                moved = true;
                for entry in apply.entries {
                    assert_eq!(entry.id.index.0, node.applied.len() as u64 + 1, "applied in order");
                    assert!(node.disk.has(entry.id), "applied before it is durable here");
                    let index = entry.id.index;
                    let first = self.applied.entry(index).or_insert_with(|| entry.clone());
                    assert_eq!(*first, entry, "State Machine Safety at {index}");
                    node.applied.push(entry);
                }
                raft.handle_applied(now, apply.through.index);
            }
            for envelope in sent {
                self.check_claim(at, &envelope.message);
                let to = envelope.to.0 as usize - 1;
                if self.cut_off.is_none_or(|cut_off| cut_off != at && cut_off != to) {
                    self.network.push(envelope);
                }
            }
            if !moved {
                break;
            }
        }
        self.check(at);
    }

    /// The log that the node's memory has: what is durable and what is on its way.
    fn log(&self, at: usize) -> Disk {
        let mut disk = self.nodes[at].disk.clone();
        for job in &self.nodes[at].jobs {
            disk.apply(job, if let Job::Write(write) = job { write.entries.len() } else { 0 });
        }
        disk
    }

    fn check(&mut self, at: usize) {
        let id = NodeId(at as u64 + 1);
        let log = self.log(at);
        let Some(raft) = &self.nodes[at].raft else { return };
        let status = raft.status(self.clock(at));
        let resets = self.nodes[at].jobs.iter().any(|job| matches!(job, Job::Reset(_)));
        assert!(resets || status.last == log.last(), "everything was handed over");

        // Log Matching: the same log id means the same entry and the same past.
        let mut prev = log.purged;
        for entry in &log.entries {
            let known = self.contents.entry(entry.id).or_insert_with(|| (prev, entry.clone()));
            assert_eq!((known.0, &known.1), (prev, entry), "Log Matching");
            prev = entry.id;
        }
        // Commit is never retracted, and the same everywhere.
        for entry in log.entries.iter().filter(|entry| entry.id.index <= status.commit_index) {
            let first = *self.committed.entry(entry.id.index).or_insert(entry.id);
            assert_eq!(first, entry.id, "committed twice, differently");
            if entry.kind == EntryKind::Membership && !self.memberships.contains_key(&entry.id.index) {
                self.follows(entry);
            }
        }
        if let Some(snapshot) = &self.nodes[at].store.taking {
            let committed = self.committed_membership(snapshot.meta.upto.index);
            assert_eq!(Some(&snapshot.meta.membership), committed, "snapshots hold what is committed (P18)");
        }
        // Committed means durable on a quorum, by what the disks hold.
        if let Some((_, last)) = self.committed.last_key_value() {
            assert!(self.is_on_a_quorum(*last), "{last} is committed without a quorum of durable copies");
        }
        // Leader Completeness: who leads has everything that was committed in earlier terms.
        if status.role == RoleKind::Leader {
            for (index, committed) in &self.committed {
                if committed.term < status.term {
                    let has =
                        *index <= log.purged.index || log.at(index.0).is_some_and(|e| e.id == *committed);
                    assert!(has, "Leader Completeness: node {id}, term {}, {committed}", status.term);
                }
            }
        }
        // One vote a term, also over restarts.
        if let raft_core::backend::Vote::For(candidate) = self.nodes[at].disk.hard.vote {
            let term = self.nodes[at].disk.hard.term;
            let first = *self.votes.entry((id, term)).or_insert(candidate);
            assert_eq!(first, candidate, "node {id} voted twice in term {term}");
        }
    }

    /// Notes a membership that was committed. Where voters change, only joint consensus leads there (§6).
    fn follows(&mut self, entry: &Entry) {
        let after = Membership::decode(&entry.data).unwrap();
        if let Some((_, before)) = self.memberships.last_key_value() {
            let as_it_must = if before.is_joint() {
                self.seen.insert("joint left");
                after == before.left_joint()
            } else if after.is_joint() {
                after.outgoing == before.voters && after.voters.iter().all(|id| before.is_member(*id))
            } else {
                self.seen.insert("learners");
                after.voters == before.voters
            };
            assert!(as_it_must, "{after:?} follows {before:?}");
            if after.voters.is_disjoint(&before.voters) {
                self.seen.insert("nobody stays");
            }
        }
        self.memberships.insert(entry.id.index, after);
    }

    /// The membership that was committed as of an entry.
    fn committed_membership(&self, at: Index) -> Option<&Membership> {
        self.memberships.range(..=at).next_back().map(|(_, membership)| membership)
    }

    /// By a membership that some leader may have counted with: the one that was committed at that place, or one
    /// that came later in somebody's log.
    fn is_on_a_quorum(&self, id: LogId) -> bool {
        let has = |node: NodeId| {
            let disk = self.nodes.get(node.0 as usize - 1).map(|node| &node.disk);
            Some(disk.is_some_and(|disk| disk.has(id)))
        };
        let committed = self.committed_membership(id.index).cloned();
        // What a leader counts with is in force at once; it may have died before any disk had it.
        let later = self.contents.values().map(|(_, entry)| entry);
        let later = later
            .filter(|entry| entry.kind == EntryKind::Membership && entry.id.index >= id.index)
            .map(|entry| Membership::decode(&entry.data).unwrap());
        committed.into_iter().chain(later).any(|membership| membership.vote_result(has) == VoteResult::Won)
    }

    /// Asks a node for a change of one or two wishes, whatever becomes of it.
    fn change(&mut self, at: usize) {
        let wishes = 1 + self.draw(2);
        let changes: Vec<Change> = (0..wishes).map(|_| self.wish()).collect();
        let mut options = ChangeOptions::default().force(self.draw(3) == 0);
        if self.draw(2) == 0 {
            options = options.wait(Duration::from_millis(self.draw(900) as u64));
        }
        let now = self.now;
        let Some(raft) = &mut self.nodes[at].raft else { return };
        match raft.change_membership(now, &changes, options) {
            Ok(_) => drop(self.seen.insert("change")),
            Err(error) => {
                let leads = raft.role_kind() == RoleKind::Leader;
                if leads && matches!(error, raft_core::error::ChangeError::Objection(_)) {
                    self.seen.insert("objection");
                }
            }
        }
        self.drain(at);
    }

    fn wish(&mut self) -> Change {
        let size = self.nodes.len();
        let (node, other) = (self.draw(size) as u64 + 1, self.draw(size) as u64 + 1);
        match self.draw(10) {
            0..3 => Change::AddLearner(member(node)),
            3..6 => Change::Promote(NodeId(node)),
            6 => Change::Demote(NodeId(node)),
            7 | 8 => Change::Remove(NodeId(node)),
            _ => Change::Replace { old: NodeId(node), new: member(other) },
        }
    }

    fn written(&mut self, at: usize) {
        let (leader_before, now) = (self.leader_log(at), self.clock(at));
        if let Some(job) = self.nodes[at].jobs.pop_front() {
            let node = &mut self.nodes[at];
            node.disk.apply(&job, if let Job::Write(write) = &job { write.entries.len() } else { 0 });
            if let Some(raft) = &mut node.raft {
                match job {
                    Job::Write(write) => raft.handle_written(now, write.ticket),
                    Job::Purge(upto) => {
                        self.seen.insert("purged");
                        raft.handle_purged(now, upto);
                    }
                    Job::Reset(to) => {
                        self.seen.insert("reset");
                        raft.handle_reset(now, to);
                    }
                }
            }
            self.drain(at);
            // Leader Append-Only: a leader never overwrites or deletes its own entries, but those that a
            // snapshot covers.
            if let (Some((term, before)), Some((now, after))) = (leader_before, self.leader_log(at)) {
                let kept: Vec<&Entry> =
                    before.entries.iter().filter(|entry| entry.id.index > after.purged.index).collect();
                let starts = after.entries.iter().take(kept.len()).eq(kept.iter().copied());
                assert!(term != now || starts, "Leader Append-Only");
            }
        }
    }

    fn leader_log(&self, at: usize) -> Option<(Term, Disk)> {
        let status = self.nodes[at].raft.as_ref()?.status(self.clock(at));
        (status.role == RoleKind::Leader).then(|| (status.term, self.log(at)))
    }

    /// Whether a snapshot is about to become durable, or the journal to follow it.
    fn is_replacing(&self, at: usize) -> bool {
        let Node { jobs, store, .. } = &self.nodes[at];
        matches!(jobs.front(), Some(Job::Reset(_)))
            || matches!(store.pieces.front(), Some(Piece::Finish { .. }))
    }

    fn crash(&mut self, at: usize) {
        // Of the oldest job nothing, a prefix, or all may be there; of later ones nothing.
        match self.nodes[at].jobs.pop_front() {
            Some(Job::Write(write)) => {
                let whole = write.hard_state.is_some() || write.truncate_from.is_some();
                let some = self.draw(write.entries.len() + 2);
                if some > 0 || !whole {
                    let entries = some.saturating_sub(1).min(write.entries.len());
                    self.nodes[at].disk.apply(&Job::Write(write), entries);
                }
            }
            Some(job) if self.draw(2) == 0 => self.nodes[at].disk.apply(&job, 0),
            _ => {}
        }
        // The last piece of a snapshot may have made it durable without anybody's hearing of it.
        let finishing = matches!(self.nodes[at].store.pieces.front(), Some(Piece::Finish { .. }));
        if finishing && self.draw(2) == 0 {
            self.piece(at);
        }
        // A half-received one is there as far as it was synced.
        let kept = self.draw(300);
        if let Some(part) = &mut self.nodes[at].disk.part {
            part.data.truncate(kept.max(16));
        }
        // So may one of its own.
        if self.draw(3) == 0
            && let Some(snapshot) = self.nodes[at].store.taking.take()
        {
            self.nodes[at].disk.keep(snapshot);
        }
        self.nodes[at].raft = None;
        self.nodes[at].jobs.clear();
        self.nodes[at].store = Store::default();
        self.reads.retain(|(node, _), _| node.0 != at as u64 + 1);
        self.seen.insert("crash");
    }

    pub(crate) fn step(&mut self) {
        let at = self.draw(self.nodes.len());
        if self.draw(150) == 0 {
            self.cut_off = if self.cut_off.is_none() { Some(at) } else { None };
        }
        if self.changing && self.draw(25) == 0 {
            // It is the leader's to do, most of the time.
            let leads =
                |node: &Node| node.raft.as_ref().is_some_and(|raft| raft.role_kind() == RoleKind::Leader);
            let leader = self.nodes.iter().position(leads).unwrap_or(at);
            return self.change(leader);
        }
        match self.draw(100) {
            0..45 => {
                if self.network.is_empty() {
                    return;
                }
                let which = if self.draw(3) == 0 { self.draw(self.network.len()) } else { 0 };
                let envelope = match self.draw(20) {
                    0 => self.network[which].clone(),
                    1 => {
                        self.network.remove(which);
                        return;
                    }
                    _ => self.network.remove(which),
                };
                let to = envelope.to.0 as usize - 1;
                let now = self.clock(to);
                if let Some(raft) = &mut self.nodes[to].raft {
                    raft.handle_message(now, envelope);
                }
                self.drain(to);
            }
            // Between a snapshot and the journal that follows it a crash is worth trying.
            45..70 if self.is_replacing(at) && self.draw(3) == 0 => self.crash(at),
            45..62 => self.written(at),
            62..70 => {
                for _ in 0..4 {
                    let which = self.draw(4);
                    self.store_step(at, which);
                }
            }
            70..82 => {
                if self.nodes[at].raft.as_ref().is_some_and(|raft| raft.role_kind() == RoleKind::Leader) {
                    self.seen.insert("proposal");
                }
                let command = Bytes::from(format!("{}", self.random));
                let now = self.clock(at);
                if let Some(raft) = &mut self.nodes[at].raft {
                    let _ = raft.propose(now, pack(&[command]));
                }
                self.drain(at);
            }
            82..86 => {
                self.next_read += 1;
                let (read, now) = (ReadId(self.next_read), self.clock(at));
                let here = self.draw(2) == 0;
                let least = self.committed.last_key_value().map_or(Index::ZERO, |(index, _)| *index);
                if let Some(raft) = &mut self.nodes[at].raft
                    && if here { raft.read_anywhere(now, read) } else { raft.read(now, read) }.is_ok()
                {
                    self.reads.insert((NodeId(at as u64 + 1), read), least);
                }
                self.drain(at);
            }
            86..93 => {
                // Jump to this node's next deadline: any timer may fire at any moment.
                if let Some(at_time) = self.nodes[at].raft.as_ref().and_then(Raft::next_timeout) {
                    self.wait_until(at, at_time);
                }
                let now = self.clock(at);
                if let Some(raft) = &mut self.nodes[at].raft {
                    raft.handle_timeout(now);
                }
                self.drain(at);
            }
            93..95 => self.now = self.now + Duration::from_millis(self.draw(40) as u64),
            95 => {
                let events = [PeerEvent::Up, PeerEvent::Down, PeerEvent::Gone];
                let (event, peer) = (events[self.draw(3)], NodeId(self.draw(self.nodes.len()) as u64 + 1));
                let now = self.clock(at);
                if let Some(raft) = &mut self.nodes[at].raft {
                    raft.handle_peer(now, peer, event);
                }
                self.drain(at);
            }
            96 => {
                let (now, to) = (self.clock(at), NodeId(self.draw(self.nodes.len()) as u64 + 1));
                if let Some(raft) = &mut self.nodes[at].raft {
                    let _ = raft.transfer_leadership(now, Some(to));
                }
                self.drain(at);
            }
            97 => {
                let now = self.clock(at);
                if let Some(raft) = &mut self.nodes[at].raft {
                    raft.campaign(now);
                }
                self.drain(at);
            }
            _ => match self.nodes[at].raft {
                Some(_) => self.crash(at),
                None => self.come_back(at),
            },
        }
        if self.nodes[at].raft.is_none() && self.draw(8) == 0 {
            self.come_back(at);
        }
    }

    /// The faults stop: within a bound of virtual time there is a leader, progress, and equal state.
    pub(crate) fn heal(&mut self) {
        self.healed = true;
        self.cut_off = None;
        for at in 0..self.nodes.len() {
            if self.nodes[at].raft.is_none() {
                self.start(at);
            }
        }
        let command = pack(&[Bytes::from_static(b"after all")]);
        let mut proposed = None;
        for _ in 0..400 {
            for _ in 0..6 {
                for at in 0..self.nodes.len() {
                    while !self.nodes[at].jobs.is_empty() || (0..4).any(|which| self.store_step(at, which)) {
                        self.written(at);
                    }
                }
                for envelope in core::mem::take(&mut self.network) {
                    let to = envelope.to.0 as usize - 1;
                    let now = self.clock(to);
                    self.nodes[to].raft.as_mut().unwrap().handle_message(now, envelope);
                    self.drain(to);
                }
            }
            self.now = self.now + Duration::from_millis(25);
            for at in 0..self.nodes.len() {
                let now = self.clock(at);
                let raft = self.nodes[at].raft.as_mut().unwrap();
                raft.handle_timeout(now);
                if proposed.is_none() && raft.role_kind() == RoleKind::Leader {
                    proposed = raft.propose(now, command.clone()).ok();
                }
                self.drain(at);
            }
            let Some(id) = proposed else { continue };
            let place = id.index.0 as usize - 1;
            let has = |node: &Node| node.applied.get(place).is_some_and(|entry| entry.id == id);
            let Some((_, members)) = self.memberships.last_key_value() else { continue };
            let members = members.clone();
            let belongs = |at: usize| members.is_member(NodeId(at as u64 + 1));
            if (0..self.nodes.len()).all(|at| !belongs(at) || has(&self.nodes[at])) && !members.is_joint() {
                return;
            }
            // A change of leaders may have superseded it, also by a log that ends before its place: then
            // it will never be there, and another is proposed.
            let later = |node: &Node| node.applied.last().is_some_and(|entry| entry.id.term > id.term);
            if self.nodes.iter().any(|node| later(node) && !has(node)) {
                proposed = None;
            }
        }
        let states: Vec<_> = self.nodes.iter().map(|n| n.raft.as_ref().unwrap().status(self.now)).collect();
        panic!("no progress after the faults stopped: {states:#?}");
    }
}
