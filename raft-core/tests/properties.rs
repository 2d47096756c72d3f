//! The five safety properties of the Raft paper (Figure 3) on random schedules.
//!
//! Nodes are the shipped state machines; disks and network are simulated. A schedule delivers, loses,
//! doubles and reorders messages, completes journal writes late, crashes nodes between any two steps
//! (what was not durable is gone, or a prefix of it is there), restarts them, and fires any timer. After
//! every step the properties are checked against what the disks and the state machines really hold.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use raft_core::backend::{HardState, JournalState, JournalWrite};
use raft_core::entry::{Entry, EntryKind, pack};
use raft_core::ids::{ClusterId, Identity, Index, LogId, NodeId, ReadId, Term};
use raft_core::membership::{Change, Member, Membership, VoteResult};
use raft_core::message::{Envelope, PeerEvent};
use raft_core::raft::{ChangeOptions, Event, Restored};
use raft_core::status::RoleKind;
use raft_core::time::Time;
use raft_core::{Config, Lease, Raft};

/// What is durable on one node.
#[derive(Clone, Default)]
struct Disk {
    hard: HardState,
    entries: Vec<Entry>,
}

impl Disk {
    fn apply(&mut self, write: &JournalWrite, entries: usize) {
        if let Some(hard) = write.hard_state {
            self.hard = hard;
        }
        if let Some(from) = write.truncate_from {
            self.entries.truncate(from.0 as usize - 1);
        }
        for entry in &write.entries[..entries] {
            assert_eq!(entry.id.index.0, self.entries.len() as u64 + 1, "a write leaves a hole");
            self.entries.push(entry.clone());
        }
    }

    fn has(&self, id: LogId) -> bool {
        self.entries.get(id.index.0 as usize - 1).is_some_and(|entry| entry.id == id)
    }

    fn state(&self, node: NodeId) -> JournalState {
        let identity = Identity {
            cluster: ClusterId(7),
            group: Default::default(),
            node,
            store: Default::default(),
            incarnation: Default::default(),
        };
        let mut state = JournalState::empty(identity);
        state.hard_state = self.hard;
        state.last = self.entries.last().map_or(LogId::ZERO, |entry| entry.id);
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

/// How fast the clocks go, in thousandths. The slowest loses ten percent against the fastest.
const RATES: [u64; 5] = [950, 1050, 1000, 1020, 955];
const LEASE: Lease = Lease { max_drift_ppm: 100_000 };

struct Node {
    raft: Option<Raft>,
    disk: Disk,
    writes: VecDeque<JournalWrite>,
    applied: Vec<Entry>,
}

struct World {
    nodes: Vec<Node>,
    network: Vec<Envelope>,
    /// Real time: no node sees it.
    now: Time,
    /// Reads may be answered under leases: each node's clock then goes its own way, within what is declared.
    leases: bool,
    random: u64,
    tail_limit: u64,
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
    seen: BTreeSet<&'static str>,
}

fn member(id: u64) -> Member {
    Member::new(NodeId(id), format!("node-{id}"))
}

impl World {
    /// Of `size` nodes the first `founders` make a cluster; the others know of nothing.
    fn new(founders: u64, size: u64, seed: u64) -> Self {
        let members = (1..=founders).map(member);
        let membership = Membership::of_voters(members).unwrap();
        let first = Entry { id: LogId::new(0, 1), kind: EntryKind::Membership, data: membership.encode() };
        let founder = Disk { hard: HardState::default(), entries: vec![first] };
        let nodes = (1..=size)
            .map(|id| {
                let disk = if id <= founders { founder.clone() } else { Disk::default() };
                Node { raft: None, disk, writes: VecDeque::new(), applied: Vec::new() }
            })
            .collect();
        let mut world = Self {
            nodes,
            network: Vec::new(),
            now: Time::ZERO,
            leases: seed % 4 >= 2,
            random: seed,
            tail_limit: if seed.is_multiple_of(3) { 200 } else { 1 << 20 },
            leaders: BTreeMap::new(),
            votes: BTreeMap::new(),
            committed: BTreeMap::new(),
            contents: BTreeMap::new(),
            applied: BTreeMap::new(),
            reads: BTreeMap::new(),
            next_read: 0,
            memberships: BTreeMap::new(),
            changing: size > founders,
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

    fn start(&mut self, at: usize) {
        let id = NodeId(at as u64 + 1);
        let mut config = Config::new(id, ClusterId(7));
        config.promote_lag_entries = 3;
        config.seed = self.random;
        config.tail_limit_bytes = self.tail_limit;
        config.append_limit_bytes = 300;
        config.window_messages = 3;
        config.lease = self.leases.then_some(LEASE);
        let now = self.clock(at);
        let node = &mut self.nodes[at];
        node.applied.clear();
        node.writes.clear();
        let restored = Restored { journal: node.disk.state(id), snapshot: None, applied: LogId::ZERO };
        node.raft = Some(Raft::new(config, restored, now).unwrap());
        self.drain(at);
    }

    /// Pulls everything and checks it.
    fn drain(&mut self, at: usize) {
        let (id, now) = (NodeId(at as u64 + 1), self.clock(at));
        loop {
            let node = &mut self.nodes[at];
            let Some(raft) = &mut node.raft else { return };
            let mut moved = false;
            while let Some(out) = raft.poll_message() {
                moved = true;
                assert_eq!(out.envelope.from, id);
                assert!(
                    out.envelope.term <= node.disk.hard.term.next(),
                    "a message before its term is durable"
                );
                self.network.push(out.envelope);
            }
            while let Some(write) = raft.poll_write() {
                moved = true;
                node.writes.push_back(write);
            }
            while let Some(fetch) = raft.poll_fetch() {
                moved = true;
                let range = fetch.range.start.0 as usize - 1..fetch.range.end.0 as usize - 1;
                let mut entries = node.disk.entries[range].to_vec();
                let fits = 1 + (fetch.max_bytes / 120) as usize;
                entries.truncate(fits);
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
            if !moved {
                break;
            }
        }
        self.check(at);
    }

    /// The entries that the node's memory has: durable ones and those on their way.
    fn log(&self, at: usize) -> Vec<Entry> {
        let mut disk = self.nodes[at].disk.clone();
        for write in &self.nodes[at].writes {
            disk.apply(write, write.entries.len());
        }
        disk.entries
    }

    fn check(&mut self, at: usize) {
        let id = NodeId(at as u64 + 1);
        let log = self.log(at);
        let Some(raft) = &self.nodes[at].raft else { return };
        let status = raft.status(self.clock(at));
        assert_eq!(status.last.index.0, log.len() as u64, "everything was handed over");

        // Log Matching: the same log id means the same entry and the same past.
        let mut prev = LogId::ZERO;
        for entry in &log {
            let known = self.contents.entry(entry.id).or_insert_with(|| (prev, entry.clone()));
            assert_eq!((known.0, &known.1), (prev, entry), "Log Matching");
            prev = entry.id;
        }
        // Commit is never retracted, and the same everywhere.
        for entry in &log[..status.commit_index.0 as usize] {
            let first = *self.committed.entry(entry.id.index).or_insert(entry.id);
            assert_eq!(first, entry.id, "committed twice, differently");
            if entry.kind == EntryKind::Membership && !self.memberships.contains_key(&entry.id.index) {
                self.follows(entry);
            }
        }
        // Committed means durable on a quorum, by what the disks hold.
        if let Some((_, last)) = self.committed.last_key_value() {
            assert!(self.is_on_a_quorum(*last), "{last} is committed without a quorum of durable copies");
        }
        // Leader Completeness: who leads has everything that was committed in earlier terms.
        if status.role == RoleKind::Leader {
            for (index, committed) in &self.committed {
                if committed.term < status.term {
                    let has = log.get(index.0 as usize - 1).map(|entry| entry.id);
                    assert_eq!(has, Some(*committed), "Leader Completeness: node {id}, term {}", status.term);
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

    /// By a membership that some leader may have counted with: the one that was committed at that place, or one
    /// that came later in somebody's log.
    fn is_on_a_quorum(&self, id: LogId) -> bool {
        let has = |node: NodeId| {
            let disk = self.nodes.get(node.0 as usize - 1).map(|node| &node.disk);
            Some(disk.is_some_and(|disk| disk.has(id)))
        };
        let committed =
            self.memberships.range(..=id.index).next_back().map(|(_, membership)| membership.clone());
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
        if let Some(write) = self.nodes[at].writes.pop_front() {
            self.nodes[at].disk.apply(&write, write.entries.len());
            if let Some(raft) = &mut self.nodes[at].raft {
                raft.handle_written(now, write.ticket);
            }
            self.drain(at);
            // Leader Append-Only: a leader never overwrites or deletes its own entries.
            if let (Some((term, before)), Some((now, after))) = (leader_before, self.leader_log(at)) {
                assert!(term != now || after.starts_with(&before), "Leader Append-Only");
            }
        }
    }

    fn leader_log(&self, at: usize) -> Option<(Term, Vec<Entry>)> {
        let status = self.nodes[at].raft.as_ref()?.status(self.clock(at));
        (status.role == RoleKind::Leader).then(|| (status.term, self.log(at)))
    }

    fn crash(&mut self, at: usize) {
        // Of the oldest write nothing, a prefix, or all may be there; of later ones nothing.
        if let Some(write) = self.nodes[at].writes.pop_front() {
            let whole = write.hard_state.is_some() || write.truncate_from.is_some();
            let some = self.draw(write.entries.len() + 2);
            if some > 0 || !whole {
                self.nodes[at].disk.apply(&write, some.saturating_sub(1).min(write.entries.len()));
            }
        }
        self.nodes[at].raft = None;
        self.nodes[at].writes.clear();
        self.reads.retain(|(node, _), _| node.0 != at as u64 + 1);
        self.seen.insert("crash");
    }

    fn step(&mut self) {
        let at = self.draw(self.nodes.len());
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
            45..70 => self.written(at),
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
                None => self.start(at),
            },
        }
        if self.nodes[at].raft.is_none() && self.draw(8) == 0 {
            self.start(at);
        }
    }

    /// The faults stop: within a bound of virtual time there is a leader, progress, and equal state.
    fn heal(&mut self) {
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
                    while !self.nodes[at].writes.is_empty() {
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

fn run(founders: u64, size: u64, seed: u64, steps: usize) -> BTreeSet<&'static str> {
    let mut world = World::new(founders, size, seed | 1);
    for _ in 0..steps {
        world.step();
    }
    world.heal();
    world.seen
}

#[expect(clippy::disallowed_methods, reason = "a test may read its environment; the crate may not")]
fn cases() -> u32 {
    std::env::var("RAFT_PROPERTY_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(1000)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn figure_3_holds_on_random_schedules(size in prop_oneof![Just(1_u64), Just(2), Just(3), Just(3), Just(5)],
                                          seed in any::<u64>(), steps in 1_usize..1500) {
        run(size, size, seed, steps);
    }

    /// The same while members come and go, with leaders dying at every step of it.
    #[test]
    fn figure_3_holds_while_the_membership_changes(founders in 1_u64..=3, seed in any::<u64>(),
                                                   steps in 1_usize..2500) {
        run(founders, 5, seed, steps);
    }
}

/// The schedules above would prove little if nothing happened in them.
#[test]
fn the_schedules_reach_what_they_are_meant_to_test() {
    let mut seen = BTreeSet::new();
    for seed in 0..60 {
        seen.extend(run(3, 3, seed * 0x9e37_79b9 + 1, 1500));
    }
    for what in [
        "leader",
        "later leader",
        "proposal",
        "read",
        "read on a follower",
        "read under a lease",
        "crash",
        "fetch",
    ] {
        assert!(seen.contains(what), "no schedule had a {what}");
    }
    for seed in 0..240 {
        seen.extend(run(1 + seed % 3, 5, seed * 0x9e37_79b9 + 1, 3000));
    }
    for what in ["change", "objection", "learners", "joint left", "nobody stays"] {
        assert!(seen.contains(what), "no schedule had a {what}");
    }
}

/// Shifting every time by a constant changes nothing that leaves the node (style §5).
#[test]
fn only_differences_of_time_matter() {
    let trace = |origin: u64| {
        let mut config = Config::new(NodeId(1), ClusterId(7));
        config.seed = 42;
        let members = (1..=3).map(|id| Member::new(NodeId(id), format!("node-{id}")));
        let data = Membership::of_voters(members).unwrap().encode();
        let entries = vec![Entry { id: LogId::new(0, 1), kind: EntryKind::Membership, data }];
        let disk = Disk { hard: HardState::default(), entries };
        let start = Time::from_nanos(origin);
        let restored = Restored { journal: disk.state(NodeId(1)), snapshot: None, applied: LogId::ZERO };
        let mut raft = Raft::new(config, restored, start).unwrap();
        let mut out = Vec::new();
        for _ in 0..20 {
            let at = raft.next_timeout().unwrap();
            raft.handle_timeout(at);
            while let Some(write) = raft.poll_write() {
                raft.handle_written(at, write.ticket);
            }
            while let Some(message) = raft.poll_message() {
                out.push((at.since(start), message));
            }
        }
        out
    };
    assert_eq!(trace(0), trace(1 << 40));
}

/// The world once waited for ever for a proposal that a new leader had superseded with a shorter log.
#[test]
fn a_superseded_proposal_is_made_again() {
    run(3, 3, 10_971_851_141_001_050_664, 939);
}
