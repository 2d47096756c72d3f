//! Leases under attack: everything that could elect a second leader while the first still answers reads. Cut off leaders,
//! hints that they are gone, operators who want an election, orders to campaign that come late, restarts, also with other
//! settings than before, and clocks that go differently. No read may miss what was committed before it was asked.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use raft_core::backend::{HardState, JournalState, Vote};
use raft_core::entry::{Entry, EntryKind, pack};
use raft_core::ids::{ClusterId, GroupId, Identity, Incarnation, Index, LogId, NodeId, ReadId, StoreId};
use raft_core::membership::{Member, Membership};
use raft_core::message::{Envelope, Message, PeerEvent, ReadIndex, VoteRequest};
use raft_core::raft::{Event, Restored};
use raft_core::status::RoleKind;
use raft_core::time::Time;
use raft_core::{Config, Lease, Raft, Settings};

/// How fast the clocks go, in thousandths; the slowest loses ten percent against the fastest.
const RATES: [u64; 5] = [950, 1050, 1000, 1020, 955];
/// What nodes are configured with.
const ELECTION: Duration = Duration::from_millis(300);
const LEASE: Lease = Lease { max_drift_ppm: 100_000 };

/// A node whose disk is always at once done.
struct Node {
    raft: Raft,
    hard: HardState,
    log: Vec<Entry>,
    cut: bool,
}

struct World {
    nodes: Vec<Node>,
    now: u64,
    random: u64,
    /// Orders to campaign that are held back.
    late: Vec<Envelope>,
    network: Vec<Envelope>,
    committed: Index,
    reads: BTreeMap<(usize, ReadId), Index>,
    next_read: u64,
    leased: u64,
    deposed: u64,
}

fn journal(id: NodeId, hard: HardState, log: &[Entry]) -> JournalState {
    let identity = Identity {
        cluster: ClusterId(7),
        group: GroupId(0),
        node: id,
        store: StoreId(id.0.into()),
        incarnation: Incarnation { number: 1, nonce: 1 },
    };
    let mut state = JournalState::empty(identity);
    state.hard_state = hard;
    for entry in log {
        state.last = entry.id;
        if state.terms.last().is_none_or(|(_, term)| *term != entry.id.term) {
            state.terms.push((entry.id.index, entry.id.term));
        }
        if entry.kind == EntryKind::Membership {
            state.memberships.push(entry.clone());
        }
    }
    state
}

impl World {
    fn new(size: usize, seed: u64) -> Self {
        let ids = 1..=size as u64;
        let membership =
            Membership::of_voters(ids.map(|id| Member::new(NodeId(id), format!("node-{id}")))).unwrap();
        let first = Entry { id: LogId::new(0, 1), kind: EntryKind::Membership, data: membership.encode() };
        let mut world = Self {
            nodes: Vec::new(),
            now: 0,
            random: seed | 1,
            late: Vec::new(),
            network: Vec::new(),
            committed: Index(1),
            reads: BTreeMap::new(),
            next_read: 0,
            leased: 0,
            deposed: 0,
        };
        for at in 0..size {
            let raft = world.raft(at, HardState::default(), std::slice::from_ref(&first));
            world.nodes.push(Node { raft, hard: HardState::default(), log: vec![first.clone()], cut: false });
        }
        world
    }

    fn raft(&mut self, at: usize, hard: HardState, log: &[Entry]) -> Raft {
        let id = NodeId(at as u64 + 1);
        let mut config = Config::new(id, ClusterId(7));
        config.seed = self.draw(usize::MAX) as u64;
        config.election_timeout = ELECTION;
        // What comes up may have been told otherwise than what went down.
        config.lease = (log.len() == 1 || self.draw(4) > 0).then_some(LEASE);
        let restored = Restored { journal: journal(id, hard, log), snapshot: None, applied: LogId::ZERO };
        Raft::new(config, restored, self.clock(at)).unwrap()
    }

    fn draw(&mut self, below: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random % below.max(1) as u64) as usize
    }

    fn clock(&self, at: usize) -> Time {
        Time::from_nanos(self.now / 1000 * RATES[at % RATES.len()])
    }

    /// Pulls all that a node has to say, writes and applies at once.
    fn drain(&mut self, at: usize) {
        let now = self.clock(at);
        loop {
            let mut moved = false;
            let node = &mut self.nodes[at];
            while let Some(write) = node.raft.poll_write() {
                moved = true;
                node.hard = write.hard_state.unwrap_or(node.hard);
                if let Some(from) = write.truncate_from {
                    node.log.truncate(from.0 as usize - 1);
                }
                node.log.extend(write.entries);
                node.raft.handle_written(now, write.ticket);
            }
            while let Some(out) = node.raft.poll_message() {
                moved = true;
                let told = matches!(out.envelope.message, Message::TimeoutNow(_));
                if told { &mut self.late } else { &mut self.network }.push(out.envelope);
            }
            while let Some(fetch) = node.raft.poll_fetch() {
                moved = true;
                let range = fetch.range.start.0 as usize - 1..fetch.range.end.0 as usize - 1;
                let entries = node.log[range].to_vec();
                node.raft.handle_fetched(now, fetch.id, entries);
            }
            while let Some(apply) = node.raft.poll_apply() {
                moved = true;
                node.raft.handle_applied(now, apply.through.index);
            }
            while let Some(event) = node.raft.poll_event() {
                moved = true;
                match event {
                    Event::ReadReady { id, index } => {
                        let least = self.reads.remove(&(at, id)).expect("answered once");
                        assert!(index >= least, "node {} reads at {index} what is past: {least}", at + 1);
                        self.leased += u64::from(node.raft.status(now).lease_left.is_some());
                    }
                    Event::ReadFailed { id, .. } => drop(self.reads.remove(&(at, id))),
                    Event::Alarm(violation) => panic!("{violation}"),
                    _ => {}
                }
            }
            self.committed = self.committed.max(node.raft.status(now).commit_index);
            if !moved {
                return;
            }
        }
    }

    /// Messages arrive, unless an end of them is cut off.
    fn deliver(&mut self) {
        for _ in 0..12 {
            for envelope in core::mem::take(&mut self.network) {
                let (from, to) = (envelope.from.0 as usize - 1, envelope.to.0 as usize - 1);
                if !self.nodes[from].cut && !self.nodes[to].cut {
                    let now = self.clock(to);
                    self.nodes[to].raft.handle_message(now, envelope);
                    self.drain(to);
                }
            }
        }
        self.network.clear();
    }

    /// Time passes in small steps, timers fire, messages arrive.
    fn pass(&mut self, millis: usize) {
        for _ in 0..millis.div_ceil(10) {
            self.now += Duration::from_millis(10).as_nanos() as u64;
            for at in 0..self.nodes.len() {
                let now = self.clock(at);
                if self.nodes[at].raft.next_timeout().is_some_and(|due| due <= now) {
                    self.nodes[at].raft.handle_timeout(now);
                }
                self.drain(at);
            }
            self.deliver();
        }
    }

    fn read_everywhere(&mut self) {
        for at in 0..self.nodes.len() {
            self.next_read += 1;
            let (id, now) = (ReadId(self.next_read), self.clock(at));
            let status = self.nodes[at].raft.status(now);
            if self.nodes[at].raft.read(now, id).is_ok() {
                self.reads.insert((at, id), self.committed);
                self.deposed += u64::from(self.committed > status.commit_index);
                self.drain(at);
            }
        }
    }

    fn step(&mut self) {
        let at = self.draw(self.nodes.len());
        let now = self.clock(at);
        let leads = self.nodes.iter().position(|node| node.raft.role_kind() == RoleKind::Leader);
        match self.draw(14) {
            0 | 1 => {
                if let Some(leader) = leads {
                    self.nodes[leader].cut = true;
                    if self.draw(2) == 0 {
                        let gone = NodeId(leader as u64 + 1);
                        for other in (0..self.nodes.len()).filter(|other| *other != leader) {
                            let now = self.clock(other);
                            self.nodes[other].raft.handle_peer(now, gone, PeerEvent::Gone);
                            self.drain(other);
                        }
                    }
                }
            }
            2 => self.nodes.iter_mut().for_each(|node| node.cut = false),
            3 => {
                self.nodes[at].raft.campaign(now);
                self.drain(at);
            }
            4 | 5 => {
                if let Some(leader) = leads {
                    let (to, now) = (NodeId(at as u64 + 1), self.clock(leader));
                    let _ = self.nodes[leader].raft.transfer_leadership(now, Some(to));
                    self.drain(leader);
                }
            }
            6 | 7 => {
                // Orders arrive, however late.
                for envelope in core::mem::take(&mut self.late) {
                    let to = envelope.to.0 as usize - 1;
                    if self.nodes[to].cut {
                        continue;
                    }
                    let now = self.clock(to);
                    self.nodes[to].raft.handle_message(now, envelope);
                    self.drain(to);
                }
            }
            8 => {
                let (hard, log) = (self.nodes[at].hard, self.nodes[at].log.clone());
                self.nodes[at].raft = self.raft(at, hard, &log);
                self.reads.retain(|(node, _), _| *node != at);
                self.drain(at);
            }
            9 | 10 => {
                // For as long as it runs: a node that comes up has what it was configured with.
                let election_timeout = Some(ELECTION * [1, 3][self.draw(2)]);
                let settings = Settings { election_timeout, ..Settings::default() };
                self.nodes[at].raft.reconfigure(now, &settings).unwrap();
                self.drain(at);
            }
            _ => {
                let millis = [10, 30, 60, 150, 290, 310][self.draw(6)];
                self.pass(millis);
            }
        }
        self.deliver();
        for node in 0..self.nodes.len() {
            let now = self.clock(node);
            let _ = self.nodes[node].raft.propose(now, pack(&[Bytes::from_static(b"x")]));
            self.drain(node);
        }
        self.deliver();
        self.read_everywhere();
    }
}

fn run(size: usize, seed: u64, steps: usize) -> (u64, u64) {
    let mut world = World::new(size, seed);
    world.pass(1500);
    for _ in 0..steps {
        world.step();
    }
    (world.leased, world.deposed)
}

#[expect(clippy::disallowed_methods, reason = "a test may read its environment; the crate may not")]
fn cases() -> u32 {
    std::env::var("RAFT_PROPERTY_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(400)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_read_under_a_lease_misses_what_was_committed(size in prop_oneof![Just(2_usize), Just(3), Just(3), Just(5)],
                                                       seed in any::<u64>(), steps in 1_usize..80) {
        run(size, seed, steps);
    }
}

/// The attacks would prove little if no lease was there, or nobody was attacked.
#[test]
fn there_are_leases_and_leaders_that_were_deposed_without_knowing_it() {
    let (mut leased, mut deposed) = (0, 0);
    for seed in 0..60 {
        let (more, others) = run(3, seed * 0x9e37_79b9 + 1, 60);
        leased += more;
        deposed += others;
    }
    assert!(leased > 100, "{leased} reads under a lease");
    assert!(deposed > 10, "{deposed} reads on a leader that was deposed");
}

/// What was promised under other settings binds over a later term, which is written anyway.
#[test]
fn a_later_term_does_not_cut_a_promise() {
    let mut world = World::new(3, 1);
    world.pass(1500);
    let leader = world.nodes.iter().position(|node| node.raft.role_kind() == RoleKind::Leader).unwrap();
    let voter = (leader + 1) % 3;
    let told = |world: &mut World, election_timeout| {
        let settings = Settings { election_timeout: Some(election_timeout), ..Settings::default() };
        let now = world.clock(voter);
        world.nodes[voter].raft.reconfigure(now, &settings).unwrap();
        world.drain(voter);
    };
    told(&mut world, ELECTION * 3);
    world.pass(200);
    assert_eq!(world.nodes[voter].hard.promised, ELECTION * 3, "on disk before it is said");
    told(&mut world, ELECTION);
    // Any message of a later term will do.
    let term = world.nodes[voter].hard.term.next();
    let (from, to) = (NodeId(leader as u64 + 1), NodeId(voter as u64 + 1));
    let message = Message::ReadIndex(ReadIndex { id: 1 });
    let now = world.clock(voter);
    world.nodes[voter].raft.handle_message(now, Envelope { group: GroupId(0), from, to, term, message });
    world.drain(voter);
    assert_eq!(world.nodes[voter].hard.term, term);
    assert_eq!(world.nodes[voter].hard.promised, ELECTION * 3, "it still holds");
}

/// A voter that comes up with a shorter election timeout than it had promised in is bound for as long as it had promised.
#[test]
fn a_promise_outlasts_a_restart_with_shorter_settings() {
    for (short, free) in [(1, false), (0, true)] {
        let mut world = World::new(3, 1);
        let (log, hard) = (world.nodes[0].log.clone(), world.nodes[0].hard);
        let promised = ELECTION * 3;
        let mut raft = world.raft(0, HardState { promised, ..hard }, &log);
        let now = world.clock(0) + promised;
        let now = Time::from_nanos(now.as_nanos() - short);
        let last = log.last().unwrap().id;
        let message = Message::Vote(VoteRequest { pre: false, transfer: false, last, told: 0 });
        let (from, to, term) = (NodeId(2), NodeId(1), hard.term.next());
        raft.handle_message(now, Envelope { group: GroupId(0), from, to, term, message });
        let voted = raft.poll_write().and_then(|write| write.hard_state).map(|hard| hard.vote);
        assert_eq!(voted, free.then_some(Vote::For(from)), "{short} ns before its end");
    }
}
