//! Who knows everything: all nodes' states and disks, and what clients were told. Checks after every step
//! that what the paper promises holds (Figure 3), from what is on the disks and not from what nodes say.
//!
//! | checker | what it demands | where from |
//! |---|---|---|
//! | election-safety | at most one leader a term | Figure 3 |
//! | election-without-quorum | a leader has votes of a quorum of its members, of both halves while two memberships are in force | §5.2, §6 |
//! | log-matching | entries of one index and term are the same, and so is what is before them | Figure 3 |
//! | leader-completeness | a leader has every committed entry, and nobody without one can be elected | Figure 3 |
//! | state-machine-safety | all execute the same at the same index, once | Figure 3 |
//! | divergence | the same has the same outcome everywhere, and in the end all states are equal | §5.3 |
//! | commit-retracted | nobody cuts away what is committed | §5.4 |
//! | commit-not-durable | what is committed is synced on a quorum | §5.4, J1 |
//! | lease | while a leader has a lease nobody else is elected | dissertation §6.4.1 |
//! | hand-over | a leader whose disk hangs gives way; whoever does, does so to one that can lead, and not again and again | M11 |
//! | stale-answer | an answer of one term counts in no other | §5.1, dissertation §6.4 |
//! | match-not-durable | what a leader counts as acknowledged is synced there | Figure 2 (matchIndex) |
//! | ack-not-durable | what is acknowledged is synced | Figure 2 |
//! | state-not-durable | term and vote are synced before anything leaves | Figure 2 |
//! | double-vote | one vote a term, also across restarts | §5.2 |
//! | term-went-back, commit-went-back | both only grow | §5.1 |
//! | probation-vote, probation-end | M10 | reliability §2.2 |
//! | snapshot-differs, snapshot-went-back | a snapshot is the committed log up to its index, also once it is installed | §7 |
//! | snapshot-not-durable, dropped-uncovered | it is on the disk before anything counts on it | S1, §7 |
//! | removed-noise | who knows that it was removed asks for no votes | §6 |
//! | membership-step | voters change through a joint membership, one change at a time | §6 |
//! | admitted-unremembered | whoever is let in is remembered on disk first | J12 |
//! | recovery | nothing acknowledged is missing, nothing else appears | J1, J2, J10 |
//! | stale-read | a read sees no less than what was answered before it was asked for, and what was there at that time | dissertation §6.4 |
//! | not-applied-was-applied, wrong-answer | what a client was told is true: its command was executed at that place, and answered so | design §6 |
//! | not-linearizable | what clients saw has an order, whatever the log says (one run in eight) | §8 |
//! | liveness | once faults stop, all go on | §5.5 |
//! | alarm, panic, node-stopped | no node stops for a reason that no fault gave | |

mod clients;
mod disks;
mod hand_over;
mod members;
mod protocol;
mod snapshots;

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use raft_core::backend::{HardState, SnapshotContent, SnapshotMeta, Vote};
use raft_core::ids::{Index, KnownPeer, LogId, NodeId, StoreId, Term};
use raft_core::membership::Membership;
use raft_core::raft::{ChangeDone, View};

pub(crate) use self::clients::{Answer, Floor as Known, Operation};
pub(crate) use self::protocol::Ear;
use super::coverage::{Coverage, Point};
use super::events::{EventLog, Tag};
use super::executor::{Clock, Core, Nanos, lock};

/// All checkers. `cargo xtask mutants` says which of them was never the first to see a planted bug.
///
/// # Examples
/// ```
/// use raft_testkit::sim::oracle::CHECKERS;
///
/// assert!(CHECKERS.contains(&"election-safety") && CHECKERS.contains(&"stale-read"));
/// ```
pub const CHECKERS: &[&str] = &[
    "election-safety",
    "election-without-quorum",
    "log-matching",
    "leader-completeness",
    "state-machine-safety",
    "divergence",
    "commit-retracted",
    "commit-not-durable",
    "lease",
    "hand-over",
    "stale-answer",
    "match-not-durable",
    "ack-not-durable",
    "state-not-durable",
    "double-vote",
    "term-went-back",
    "commit-went-back",
    "probation-vote",
    "probation-end",
    "snapshot-differs",
    "snapshot-went-back",
    "snapshot-not-durable",
    "dropped-uncovered",
    "removed-noise",
    "membership-step",
    "admitted-unremembered",
    "recovery",
    "stale-read",
    "not-applied-was-applied",
    "wrong-answer",
    "not-linearizable",
    "liveness",
    "alarm",
    "panic",
    "node-stopped",
];

/// Something that must never be.
///
/// # Examples
/// ```
/// use raft_testkit::sim::Outcome;
/// use raft_testkit::sim::oracle::{CHECKERS, Violation};
///
/// /// One line for a report, if something was found.
/// fn line(outcome: &Outcome) -> Option<String> {
///     let Violation { checker, at, node, what } = outcome.violation.as_ref()?;
///     Some(format!("{checker} at {} ms on node {node}: {what}", at / 1_000_000))
/// }
///
/// let what = "nodes 1 and 2 lead term 4".to_owned();
/// let found = Violation { checker: CHECKERS[0], at: 2_000_000, node: 2, what };
/// let outcome = Outcome { violation: Some(found), ..Outcome::default() };
/// assert_eq!(line(&outcome).unwrap(), "election-safety at 2 ms on node 2: nodes 1 and 2 lead term 4");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which checker found it.
    pub checker: &'static str,
    /// When.
    pub at: Nanos,
    /// On which node, from 1; 0 for none.
    pub node: u64,
    /// What.
    pub what: String,
}

/// What is known of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) term: Term,
    pub(crate) digest: u64,
}

/// A write that the disk has not confirmed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inflight {
    pub(crate) hard: Option<HardState>,
    pub(crate) truncate_from: Option<Index>,
    pub(crate) items: Vec<Item>,
    pub(crate) known: Option<Vec<KnownPeer>>,
}

/// What a snapshot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Covered {
    pub(crate) upto: LogId,
    pub(crate) content: SnapshotContent,
}

impl Covered {
    const fn of(meta: &SnapshotMeta) -> Self {
        Self { upto: meta.upto, content: meta.content }
    }
}

/// A change of where the log begins that the disk has not confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Floor {
    /// After this.
    Purge(LogId),
    /// After this, and empty.
    Reset(LogId),
}

/// One node, as its disk has it and as it shows itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    /// Durable: term, vote and probation.
    pub(crate) hard: HardState,
    /// Durable: the log, and before it what a snapshot covers; the entry of index `i` is at `i - 1`.
    pub(crate) log: Vec<Item>,
    /// Durable: up to here the journal has nothing, but the snapshot has.
    pub(crate) purged: Index,
    /// Durable: the newest snapshot.
    pub(crate) snapshot: Option<Covered>,
    /// Snapshots that may be durable.
    pub(crate) finishing: Vec<LogId>,
    /// Where the log may begin by now.
    pub(crate) floor: Option<Floor>,
    pub(crate) inflight: Option<Inflight>,
    /// Durable: the peers that it has met.
    pub(crate) known: Vec<KnownPeer>,
    /// The name of its store; none before anybody has seen it.
    pub(crate) store: Option<StoreId>,
    /// The members, as it was last told them.
    pub(crate) members: BTreeSet<NodeId>,
    /// As it was after its last input; none while it is down.
    pub(crate) view: Option<View>,
    /// The highest term in which it has said something.
    pub(crate) shown: Term,
    /// It came up without something that it had acknowledged.
    pub(crate) lossy: bool,
    /// Its disk was harmed in a way that may cost what it acknowledged.
    pub(crate) damaged: bool,
    /// The harm may cost entries, and not only what is beside them.
    pub(crate) log_at_risk: bool,
    /// What it had acknowledged when it came up from harm.
    pub(crate) had: Vec<Item>,
    /// Writes that it has finished.
    pub(crate) writes: u64,
    /// Its journal has said that there is no space.
    pub(crate) full: bool,
    /// The speed of its clock at first, in millionths.
    pub(crate) ppm: u64,
    /// How far behind it was, at most, since it last had everything.
    pub(crate) lag: u64,
    /// While a leader deals with an answer of another term: that term, and its state before.
    pub(crate) answer_of: Option<(Term, u64)>,
    /// When it last dealt with anything, and when it last led.
    pub(crate) seen_at: (Nanos, Nanos),
    /// As a leader, who may give way.
    pub(crate) hand_over: hand_over::Watch,
}

/// What is known of the whole run.
pub(crate) struct State {
    pub(crate) nodes: Vec<Model>,
    /// Each node's clock.
    pub(crate) clocks: Vec<Clock>,
    /// The shortest and the longest election timeout that a node may have.
    pub(crate) timeouts: (Duration, Duration),
    pub(crate) leaders: BTreeMap<Term, usize>,
    /// The highest round that a leader of each term has asked for.
    pub(crate) rounds: BTreeMap<Term, u64>,
    /// In which term each node last counted how much of which other's log.
    pub(crate) beliefs: Vec<Vec<(Term, Index)>>,
    /// Who stood for election in a term.
    pub(crate) candidates: BTreeMap<Term, BTreeSet<usize>>,
    pub(crate) votes: BTreeMap<(usize, Term), NodeId>,
    /// The committed log; the entry of index `i` is at `i - 1`.
    pub(crate) committed: Vec<Item>,
    /// In which term each was committed.
    pub(crate) committed_in: Vec<Term>,
    /// All entries ever written, by index: what each is, and the term before it.
    pub(crate) written: Vec<Vec<(Item, Term)>>,
    pub(crate) memberships: members::Memberships,
    /// A joint membership that has begun to be written since somebody asked for the last one.
    pub(crate) joint: Option<Membership>,
    pub(crate) clients: clients::Clients,
    pub(crate) events: EventLog,
    pub(crate) cover: Coverage,
    pub(crate) violation: Option<Violation>,
    pub(crate) elections: u64,
}

/// See the [module](self).
pub(crate) struct Oracle {
    core: Arc<Core>,
    state: Mutex<State>,
}

/// Totals of a run.
///
/// # Examples
/// ```
/// use raft_testkit::sim::{Plan, run};
///
/// let totals = run(&Plan::draw(20, Some(1)), false).totals;
/// assert!(totals.elections >= 1, "somebody must lead before anything is written");
/// assert!(totals.committed > 0, "{totals:?}");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Leaders elected.
    pub elections: u64,
    /// Writes that a client was told are done.
    pub writes: u64,
    /// Reads that were answered.
    pub reads: u64,
    /// Committed entries.
    pub committed: u64,
}

impl Oracle {
    /// An oracle for nodes who have these clocks, these election timeouts, the shortest and the longest, and the initial
    /// entry.
    #[must_use]
    pub(crate) fn new(
        core: Arc<Core>,
        clocks: &[Clock],
        timeouts: (Duration, Duration),
        keep_events: bool,
    ) -> Self {
        let nodes = clocks.iter().map(|clock| Model { ppm: clock.speeds[0].1, ..Model::default() }).collect();
        let state = State {
            nodes,
            leaders: BTreeMap::new(),
            rounds: BTreeMap::new(),
            beliefs: vec![vec![(Term::ZERO, Index::ZERO); clocks.len()]; clocks.len()],
            clocks: clocks.to_vec(),
            timeouts,
            candidates: BTreeMap::new(),
            votes: BTreeMap::new(),
            committed: Vec::new(),
            committed_in: Vec::new(),
            written: Vec::new(),
            memberships: members::Memberships::default(),
            joint: None,
            clients: clients::Clients::default(),
            events: EventLog::new(keep_events),
            cover: Coverage::default(),
            violation: None,
            elections: 0,
        };
        Self { core, state: Mutex::new(state) }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    pub(crate) fn now(&self) -> Nanos {
        self.core.now()
    }

    /// Something must not be.
    pub(crate) fn violated(&self, checker: &'static str, node: Option<usize>, what: String) {
        let at = self.now();
        self.lock().violated(at, checker, node, what);
    }

    /// Writes down what happened.
    pub(crate) fn note(
        &self,
        node: Option<usize>,
        tag: Tag,
        numbers: [u64; 4],
        text: impl FnOnce() -> String,
    ) {
        let at = self.now();
        self.lock().events.note(at, number(node), tag, numbers, text);
    }

    /// A point was reached.
    pub(crate) fn hit(&self, point: Point) {
        self.lock().cover.hit(point);
    }

    /// A node is gone: nothing that it shows counts any more.
    pub(crate) fn down(&self, node: usize, why: &str) {
        let at = self.now();
        let mut state = self.lock();
        state.nodes[node].view = None;
        state.events.note(at, number(Some(node)), Tag::Down, [0; 4], || why.to_owned());
        let none_up = state.nodes.iter().all(|model| model.view.is_none()) && state.nodes.len() > 1;
        state.cover.hit_if(none_up, Point::WholeClusterDown);
    }

    /// Whether what the node acknowledged may be missing from its disk.
    #[must_use]
    pub(crate) fn is_damaged(&self, node: usize) -> bool {
        let state = self.lock();
        state.nodes[node].damaged || state.nodes[node].lossy
    }

    /// The disk was harmed, or is whole again.
    pub(crate) fn set_damaged(&self, node: usize, damaged: bool) {
        let mut state = self.lock();
        state.nodes[node].damaged = damaged;
        state.nodes[node].log_at_risk &= damaged;
    }

    /// The harm may have cost entries.
    pub(crate) fn log_at_risk(&self, node: usize) {
        self.lock().nodes[node].log_at_risk = true;
    }

    /// Whether it has healed: it is on probation no more, also on its disk.
    #[must_use]
    pub(crate) fn has_healed(&self, node: usize) -> bool {
        let state = self.lock();
        !state.nodes[node].lossy && !state.nodes[node].hard.probation
    }

    /// Whether it is on probation, on its disk.
    #[must_use]
    pub(crate) fn is_on_probation(&self, node: usize) -> bool {
        self.lock().nodes[node].hard.probation
    }

    /// Whether a write is under way.
    #[must_use]
    pub(crate) fn is_writing(&self, node: usize) -> bool {
        self.lock().nodes[node].inflight.is_some()
    }

    /// A node has stopped because of its disk.
    pub(crate) fn count_disk_failure(&self, text: &str) {
        let mut state = self.lock();
        state.cover.hit_if(text.contains("sync"), Point::SyncFailed);
        state.cover.hit_if(text.contains("write"), Point::WriteFailed);
    }

    /// The node that leads the latest term, as far as it shows.
    #[must_use]
    pub(crate) fn leader(&self) -> Option<usize> {
        let state = self.lock();
        let (_, node) = state.leaders.last_key_value()?;
        let leads =
            |model: &Model| model.view.is_some_and(|view| view.role == raft_core::status::RoleKind::Leader);
        leads(&state.nodes[*node]).then_some(*node)
    }

    /// The latest term that somebody has led.
    #[must_use]
    pub(crate) fn latest_term(&self) -> Term {
        self.lock().leaders.last_key_value().map_or(Term::ZERO, |(term, _)| *term)
    }

    /// For how long a node has dealt with nothing, and for how long it has not led.
    #[must_use]
    pub(crate) fn since(&self, node: usize) -> (Nanos, Nanos) {
        let now = self.now();
        let (dealt, led) = self.lock().nodes[node].seen_at;
        (now - dealt, now - led)
    }

    /// The memberships that are in force somewhere, or may come to be: the committed one, and what logs hold beyond.
    #[must_use]
    pub(crate) fn memberships(&self) -> Vec<Membership> {
        self.lock().possible_memberships()
    }

    /// The last joint membership that has begun to be written since this was asked for.
    #[must_use]
    pub(crate) fn joint_begun(&self) -> Option<Membership> {
        self.lock().joint.take()
    }

    /// Whether a node's disk knows another one, with a store that this no longer has.
    #[must_use]
    pub(crate) fn knows_an_old_store(&self, node: usize, other: usize, is_new: bool) -> bool {
        let state = self.lock();
        let mut known = state.nodes[node].known.iter().filter(|known| members::node_of(known.node) == other);
        known.any(|known| is_new || state.nodes[other].store != Some(known.store))
    }

    /// Whether a node is a member by any of them.
    #[must_use]
    pub(crate) fn may_be_member(&self, node: usize) -> bool {
        self.memberships().iter().any(|all| all.is_member(NodeId(node as u64 + 1)))
    }

    /// An operator was told that the members have changed.
    pub(crate) fn changed(&self, done: &ChangeDone) {
        let at = self.now();
        let mut state = self.lock();
        state.cover.hit(Point::MembersChanged);
        let committed = state.committed.get(place(done.at.index)).map(|item| item.term);
        let there = state.memberships.at(&state.committed, done.at.index);
        if committed != Some(done.at.term) || there != Some(&done.membership) {
            let what = format!("members are said to have changed by {}, which is not committed so", done.at);
            state.violated(at, "wrong-answer", None, what);
        }
    }

    /// The membership that is committed.
    #[must_use]
    pub(crate) fn membership(&self) -> Membership {
        self.lock().committed_membership().cloned().unwrap_or_default()
    }

    /// What the node shows.
    #[must_use]
    pub(crate) fn view(&self, node: usize) -> Option<View> {
        self.lock().nodes[node].view
    }

    /// How far the log is committed.
    #[must_use]
    pub(crate) fn committed(&self) -> u64 {
        self.lock().committed.len() as u64
    }

    /// The totals.
    #[must_use]
    pub(crate) fn totals(&self) -> Totals {
        let state = self.lock();
        Totals {
            elections: state.elections,
            writes: state.clients.writes,
            reads: state.clients.reads,
            committed: state.committed.len() as u64,
        }
    }
}

/// A node as people count them; 0 for none.
pub(crate) fn number(node: Option<usize>) -> u64 {
    node.map_or(0, |node| node as u64 + 1)
}

/// Where the entry of this index is kept.
pub(crate) const fn place(index: Index) -> usize {
    index.0.saturating_sub(1) as usize
}

impl State {
    pub(crate) fn violated(&mut self, at: Nanos, checker: &'static str, node: Option<usize>, what: String) {
        debug_assert!(CHECKERS.contains(&checker), "{checker} is not among the checkers");
        self.events
            .note(at, number(node), Tag::Note, [1, 0, 0, 0], || format!("VIOLATION {checker}: {what}"));
        // What follows from the first tells nothing new.
        if self.violation.is_none() {
            self.violation = Some(Violation { checker, at, node: number(node), what });
        }
    }

    /// Records a vote that is about to leave.
    pub(crate) fn voted(&mut self, at: Nanos, node: usize, term: Term, candidate: NodeId) {
        let model = &self.nodes[node];
        if protocol::model_on_probation(model) {
            self.violated(at, "probation-vote", Some(node), format!("it votes for {candidate} in {term}"));
        }
        match self.votes.insert((node, term), candidate) {
            Some(before) if before != candidate => {
                let what = format!("in term {term} it votes for {candidate} after {before}");
                self.violated(at, "double-vote", Some(node), what);
            }
            _ => {}
        }
        self.count_halves(members::node_of(candidate), term);
    }
}

/// Whether a vote was given to somebody and is now with somebody else, in one term.
pub(crate) const fn changed_its_mind(before: Vote, after: Vote) -> bool {
    match (before, after) {
        (Vote::For(a), Vote::For(b)) => a.0 != b.0,
        (Vote::For(_), _) => true,
        _ => false,
    }
}
