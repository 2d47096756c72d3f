//! A run: a cluster, its clients and its faults, from one seed, step by step.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use raft_core::ids::{NodeId, Term};
use raft_core::membership::Membership;
use raft_core::status::{HandOver, RoleKind};

use super::agenda::{Agenda, Mend, What};
use super::coverage::{Coverage, Point};
use super::disk::SimDisk;
use super::drive::Ambush;
use super::etcd::Recorder;
use super::events::{Event, Tag};
use super::executor::{Executor, MS, Nanos, Step, lock};
use super::faults::Lonely;
use super::halves::Halves;
use super::history;
use super::lives::{Damage, Slot};
use super::network::SimNetwork;
use super::operators::longer;
use super::oracle::{Oracle, Totals, Violation};
use super::plan::Plan;
use super::rng::Rng;
use super::workload::{self, LiveNode, Town};

/// Once faults have stopped: within this time there is a leader, progress, and one state everywhere.
const HEALING: Nanos = 60_000 * MS;

/// Of so many seeds one has its history searched for an order, by a checker that knows nothing of logs.
const HISTORIES: u64 = 8;

/// More polls than this at one moment of virtual time are an endless loop.
const POLLS_AT_ONCE: u64 = 2_000_000;

/// What became of a run.
///
/// # Examples
/// ```
/// use raft_testkit::sim::{Plan, run};
///
/// let outcome = run(&Plan::draw(20, Some(1)), false);
/// assert_eq!(outcome.violation, None);
/// // A run in which nothing happens proves nothing.
/// assert!(outcome.totals.writes > 0 && outcome.nanos > 1_000_000_000, "{:?}", outcome.totals);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// What must not be, if it was.
    pub violation: Option<Violation>,
    /// A digest of all that happened.
    pub hash: u64,
    /// How many things happened.
    pub events: u64,
    /// Virtual time, in nanoseconds.
    pub nanos: Nanos,
    /// Totals.
    pub totals: Totals,
    /// Faults that were injected, by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// Faults of the plan for which there was nothing to do, by kind.
    pub idle_faults: BTreeMap<&'static str, u64>,
    /// What was reached.
    pub coverage: Coverage,
    /// What happened, if it was to be written down.
    pub trace: Vec<Event>,
}

/// See the [module](self).
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) executor: Executor,
    pub(crate) agenda: Agenda,
    pub(crate) oracle: Arc<Oracle>,
    pub(crate) network: SimNetwork,
    pub(crate) slots: Vec<Slot>,
    pub(crate) town: Arc<Town>,
    pub(crate) rng: Rng,
    pub(crate) faults: BTreeMap<&'static str, u64>,
    /// Those for which there was nothing to do, by kind.
    pub(crate) idle: BTreeMap<&'static str, u64>,
    /// A leader that a partition left without a quorum: which, its life and its term.
    pub(crate) minority_leader: Option<(usize, u64, Term)>,
    /// The disks that are full, by bits.
    pub(crate) full_disks: u64,
    /// The term that a paused node led.
    pub(crate) paused_leader: Vec<Option<Term>>,
    calm_since: Option<Nanos>,
    /// The next leader is cut off.
    pub(crate) lonely: Option<Lonely>,
    /// Armed: what becomes of the next joint membership.
    pub(crate) halves: Option<Halves>,
    /// Changes of members that are under way.
    pub(crate) changing: Arc<AtomicU64>,
    /// Addresses that were given out.
    pub(crate) moves: u64,
    /// A machine dies when a moment comes.
    pub(crate) ambush: Arc<Mutex<Option<Ambush>>>,
    /// Writes another trace, if somebody wants one.
    pub(crate) recorder: Option<Arc<Recorder>>,
    done: bool,
}

/// Runs a plan to its end.
///
/// # Examples
/// ```
/// use raft_testkit::sim::{Plan, run};
///
/// // The same plan gives the same run, also when all that happens is written down.
/// let plan = Plan::draw(20, Some(1));
/// let (first, traced) = (run(&plan, false), run(&plan, true));
/// assert_eq!((first.hash, first.events), (traced.hash, traced.events));
/// assert_eq!((first.trace.len() as u64, traced.trace.len() as u64), (0, traced.events));
/// ```
#[must_use]
pub fn run(plan: &Plan, keep_events: bool) -> Outcome {
    World::new(plan.clone(), keep_events).run()
}

/// Runs a plan to its end, and writes its trace in the vocabulary of etcd-io/raft (its `state_trace.go`), one
/// JSON object a line. What that cannot say is listed in `sim/etcd.rs`.
///
/// # Examples
/// ```
/// use raft_testkit::sim::{Plan, run_traced};
///
/// let (outcome, lines) = run_traced(&Plan::etcd(20, Some(1)));
/// assert_eq!(outcome.violation, None);
/// assert!(lines.iter().any(|line| line.contains("BecomeLeader")), "{lines:?}");
/// ```
#[must_use]
pub fn run_traced(plan: &Plan) -> (Outcome, Vec<String>) {
    let recorder = Arc::new(Recorder::new(plan.slots()));
    let mut world = World::new(plan.clone(), false);
    world.recorder = Some(Arc::clone(&recorder));
    let outcome = world.run();
    (outcome, recorder.take())
}

impl World {
    fn new(plan: Plan, keep_events: bool) -> Self {
        let (seed, all) = (plan.seed, plan.slots());
        let executor = Executor::new(Rng::stream(seed, 10), plan.scheduling, plan.late_per_mille);
        let core = Arc::clone(executor.core());
        let agenda = Agenda::new(Arc::clone(&core));
        let clocks: Vec<_> = (0..all).map(|node| plan.clock(node)).collect();
        let timeouts = (plan.election, longer(plan.election));
        let oracle = Arc::new(Oracle::new(Arc::clone(&core), &clocks, timeouts, keep_events));
        let network =
            SimNetwork::new(all, plan.net, Rng::stream(seed, 11), agenda.clone(), Arc::clone(&oracle));
        let slot = |node: usize| {
            let disk = SimDisk::new(Rng::stream(seed, 100 + node as u64));
            let watcher = Arc::clone(&oracle);
            disk.watch(Arc::new(move |numbers, text: &dyn Fn() -> String| {
                watcher.note(Some(node), Tag::Disk, numbers, text);
            }));
            Slot::new(disk, all, node < plan.nodes, plan.disk)
        };
        let slots = (0..all).map(slot).collect();
        let town = Town {
            core,
            oracle: Arc::clone(&oracle),
            nodes: Mutex::new(vec![None; all]),
            load: plan.load,
            reads: plan.features.reads,
            sessions: plan.features.sessions,
            closing: AtomicBool::new(false),
            timeout: plan.election.as_nanos() as u64,
            busy: AtomicU64::new(0),
            due: AtomicU64::new(0),
        };
        Self {
            executor,
            agenda,
            oracle,
            network,
            slots,
            town: Arc::new(town),
            rng: Rng::stream(seed, 12),
            faults: BTreeMap::new(),
            idle: BTreeMap::new(),
            minority_leader: None,
            full_disks: 0,
            paused_leader: vec![None; all],
            calm_since: None,
            lonely: None,
            halves: None,
            changing: Arc::default(),
            moves: 0,
            ambush: Arc::default(),
            recorder: None,
            done: false,
            plan,
        }
    }

    /// Whether faults have stopped.
    pub(crate) const fn is_calm(&self) -> bool {
        self.calm_since.is_some()
    }

    pub(crate) fn live(&self, node: usize) -> Option<LiveNode> {
        lock(&self.town.nodes)[node].clone()
    }

    fn run(mut self) -> Outcome {
        // A panic is a violation as any other: what led to it is in the trace.
        if let Err(panicked) = catch_unwind(AssertUnwindSafe(|| self.go())) {
            let node = self.executor.last_polled().map(|owner| owner.node);
            let text = panicked.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panicked.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            let node = node.filter(|node| *node < self.slots.len());
            self.oracle.violated("panic", node, text.unwrap_or_default());
        }
        self.outcome()
    }

    fn go(&mut self) {
        for node in 0..self.plan.nodes {
            let after = self.rng.below(20 * MS);
            self.agenda.after(after, What::Boot { node, life: 0 });
        }
        for number in 0..self.plan.load.clients {
            workload::start(&self.town, number, Rng::stream(self.plan.seed, 1000 + number));
        }
        for (number, (at, _)) in self.plan.faults.iter().enumerate() {
            self.agenda.at(*at, What::Fault(number));
        }
        self.agenda.at(self.plan.duration, What::Calm);
        let (mut since, mut polls) = (0, 0);
        while !self.done {
            match self.executor.step() {
                Step::Polled(owner) => {
                    self.polled(owner);
                    self.watch_for_a_leader();
                    self.watch_for_halves();
                    polls += 1;
                    if self.agenda.now() != since {
                        (since, polls) = (self.agenda.now(), 0);
                    }
                    if polls > POLLS_AT_ONCE {
                        let what = "tasks run on and on, and time stands still".to_owned();
                        self.oracle.violated("liveness", None, what);
                    }
                }
                Step::Event(number) => {
                    if let Some(what) = self.agenda.take(number) {
                        self.act(what);
                    }
                }
                Step::Idle => {
                    self.oracle.violated("liveness", None, "nothing will ever happen again".into());
                }
            }
            self.done |= self.oracle.lock().violation.is_some();
        }
    }

    fn act(&mut self, what: What) {
        match what {
            What::Deliver(parcel) => self.network.deliver(*parcel),
            What::KeepAlive { from, to, epoch } => self.network.keep_alive(from, to, epoch),
            What::Silent { node, peer, epoch } => self.network.silent(node, peer, epoch),
            What::Report { node, peer, event, life } => {
                if event == raft_core::message::PeerEvent::Up && self.slots[peer].up {
                    // Whoever is up was let in: its name and its life are remembered on this disk.
                    self.slots[peer].met[node] = self.slots[peer].life;
                }
                self.network.report(node, peer, event, life);
            }
            What::Dial { a, b } => self.network.dial(a, b),
            What::Shaken { node, peer, epoch, answer } => self.network.shaken(node, peer, epoch, answer),
            What::ShakeTimeout { a, b, epoch } => self.network.shake_timeout(a, b, epoch),
            What::Fault(number) => {
                if self.calm_since.is_none() {
                    self.inject(number);
                    self.copy_a_disk();
                }
            }
            What::CutOff { node, for_, friends } => self.cut_off(node, for_, friends),
            What::Apart { sides, ways, for_ } => self.cut_apart(sides, ways, for_),
            What::Rival(node) => self.rival(node),
            What::TakenForDead(node) => self.take_for_dead(node),
            What::Rejoin(node) => self.rejoin(node),
            What::Mend(mend) => self.mend(mend),
            What::Boot { node, life } => {
                if self.slots[node].life == life {
                    self.boot(node);
                }
            }
            What::Ended { node, life, end } => {
                if self.slots[node].life == life && self.slots[node].up {
                    self.ended(node, &end);
                }
            }
            What::KillNow { node, life } => {
                if self.slots[node].life == life {
                    self.kill(node, 20 * MS);
                }
            }
            What::Calm => self.calm(),
            What::Look => self.look(),
        }
    }

    /// Copies of disks are made from time to time, for those that are set back later.
    fn copy_a_disk(&mut self) {
        let node = self.rng.below(self.slots.len() as u64) as usize;
        let slot = &mut self.slots[node];
        let probation = self.oracle.is_on_probation(node);
        if !slot.fresh && slot.damage == Damage::None && slot.copy.is_none() && !probation {
            slot.copy = Some((slot.disk.durable_image(), slot.life));
        }
    }

    /// Faults stop: from here on the cluster must heal.
    fn calm(&mut self) {
        self.calm_since = Some(self.agenda.now());
        self.lonely = None;
        self.halves = None;
        lock(&self.ambush).take();
        self.network.calm();
        for node in 0..self.slots.len() {
            self.mend(Mend::Unpause(node));
            self.mend(Mend::Fast(node));
            self.mend(Mend::Space(node));
            let slot = &mut self.slots[node];
            slot.recovery_deaths.clear();
            slot.at_poll.clear();
            slot.fails_at_boot = None;
            slot.disk.set_short(0);
            slot.disk.no_more_faults();
            if !slot.up && (slot.founder || !slot.fresh) {
                let life = slot.life;
                self.agenda.after(50 * MS, What::Boot { node, life });
            }
        }
        self.town.closing.store(true, Ordering::Relaxed);
        workload::probe(&self.town, Rng::stream(self.plan.seed, 13));
        self.agenda.after(100 * MS, What::Look);
    }

    /// Whether all is well again.
    fn look(&mut self) {
        let Some(missing) = self.missing() else {
            self.done = true;
            self.look_at_damage();
            self.compare();
            return;
        };
        let since = self.calm_since.unwrap_or_default();
        if self.agenda.now() - since > HEALING {
            self.oracle.violated("liveness", None, missing);
        } else {
            self.agenda.after(100 * MS, What::Look);
        }
    }

    /// What is not well yet.
    fn missing(&self) -> Option<String> {
        let busy = self.town.busy.load(Ordering::Relaxed);
        let Some(leader) = self.oracle.leader() else { return Some("there is no leader".into()) };
        if busy > 0 {
            return Some(format!("{busy} clients have no answer; node {} leads", leader + 1));
        }
        let due = self.town.due.load(Ordering::Relaxed);
        if due > 0 {
            return Some(format!("{due} proposals and reads have no answer; node {} leads", leader + 1));
        }
        let committed = self.oracle.committed();
        let members = self.oracle.membership();
        if members.is_joint() {
            return Some(format!("the members are still changing; node {} leads", leader + 1));
        }
        for (node, slot) in self.slots.iter().enumerate() {
            if slot.damage == Damage::Lost {
                continue;
            }
            let number = node + 1;
            if !members.is_member(NodeId(number as u64)) {
                if self.does_not_know_that_it_left(node) {
                    return Some(format!("node {number} does not know that it was removed"));
                }
                continue;
            }
            if slot.damage == Damage::Doomed {
                if self.stands_outside(node) {
                    continue;
                }
                return Some(format!("node {number} should be refused"));
            }
            if self.refuses_everybody(node, &members) {
                continue;
            }
            let Some(view) = self.oracle.view(node) else { return Some(format!("node {number} is down")) };
            if view.applied.0 < committed || view.commit.0 < committed {
                return Some(format!("node {number} has executed {} of {committed}", view.applied));
            }
            if view.hard.probation {
                return Some(format!("node {number} is on probation"));
            }
            if view.role != RoleKind::Leader && node == leader {
                return Some(format!("node {number} does not lead any more"));
            }
        }
        None
    }

    /// Whether a node that came back without its disk knows the founders only, and is none of them; or with one that was set
    /// back and then lost its log, so that it knows nobody and is on probation. It votes for nobody, so to
    /// be refused by all does not end it, as it does a founder (`PeerMemory::refused_by`).
    fn stands_outside(&self, node: usize) -> bool {
        let live = self.live(node).filter(|_| self.slots[node].up);
        live.is_some_and(|live| {
            let status = live.handle.status();
            let known = &status.membership;
            if known.is_empty() { status.probation } else { !known.is_member(NodeId(node as u64 + 1)) }
        })
    }

    /// Whether a member was away while all voters but itself were removed one by one and came back with new stores, and has not
    /// learned of it: it refuses them, as it would if they had lost what it saw them acknowledge. It is for people to
    /// remove it, and to add it empty.
    fn refuses_everybody(&self, node: usize, members: &Membership) -> bool {
        let Some(live) = self.live(node).filter(|_| self.slots[node].up) else { return false };
        let status = live.handle.status();
        let behind = status.applied_index.0 < self.oracle.committed();
        let others = || members.all_voters().filter(|id| id.0 as usize != node + 1);
        let missed = |id: NodeId| status.membership.admitted(id) < members.admitted(id);
        let refuses = |id: NodeId| missed(id) && self.has_old_store_of(node, id.0 as usize - 1);
        let all = behind && others().next().is_some() && others().all(refuses);
        if all {
            self.oracle.hit(Point::RefusesAll);
        }
        all
    }

    /// Whether a node that is no member any more, and is up, goes on as if it were.
    fn does_not_know_that_it_left(&self, node: usize) -> bool {
        let live = self.live(node).filter(|_| self.slots[node].up);
        live.is_some_and(|live| {
            let status = live.handle.status();
            let votes = status.membership.is_voter(NodeId(node as u64 + 1));
            // Whoever was away while all were removed whom it would ask, and came back with new stores, refuses them.
            let asks =
                |id: NodeId| id.0 as usize != node + 1 && !self.has_old_store_of(node, id.0 as usize - 1);
            // A learner asks for no votes, and is never told. Whoever stands still disturbs nobody.
            let is_still = status.removed || status.probation || status.embargo;
            votes && !is_still && status.membership.all_voters().any(asks)
        })
    }

    /// All nodes must hold the same state, and it must be the one that clients were told of.
    fn compare(&self) {
        let reference = self.oracle.reference();
        let members = self.oracle.membership();
        for (node, slot) in self.slots.iter().enumerate().filter(|(_, slot)| slot.up) {
            if slot.is_lost() || !members.is_member(NodeId(node as u64 + 1)) {
                continue;
            }
            if self.refuses_everybody(node, &members) {
                continue;
            }
            self.count_status(node);
            let registers = lock(&slot.registers);
            if registers.values != reference.values {
                let what = format!("it holds {:?} instead of {:?}", registers.values, reference.values);
                drop(registers);
                self.oracle.violated("divergence", Some(node), what);
            }
        }
        if self.plan.seed.is_multiple_of(HISTORIES)
            && let Some(what) = history::illegal(&self.oracle.operations())
        {
            self.oracle.violated("not-linearizable", None, what);
        }
    }

    /// What can only be seen from a node's status.
    pub(crate) fn count_status(&self, node: usize) {
        let Some(live) = self.live(node) else { return };
        match live.handle.status().hand_over {
            Some(HandOver::DiskHangs) => self.oracle.hit(Point::HandOverOfSick),
            Some(HandOver::Priority) => self.oracle.hit(Point::HandOverToPreferred),
            _ => {}
        }
    }

    fn outcome(mut self) -> Outcome {
        let [lost, doubled, late, overtaken] = self.network.faults();
        let messages = [
            ("message-lost", lost),
            ("message-doubled", doubled),
            ("message-late", late),
            ("message-overtaken", overtaken),
        ];
        for (kind, count) in messages.into_iter().filter(|(_, count)| *count > 0) {
            *self.faults.entry(kind).or_default() += count;
        }
        // Whatever still runs is dropped with the world; nothing of that counts any more.
        let totals = self.oracle.totals();
        let mut state = self.oracle.lock();
        let outcome = Outcome {
            violation: state.violation.clone(),
            hash: state.events.hash(),
            events: state.events.count(),
            nanos: self.agenda.now(),
            totals,
            faults: std::mem::take(&mut self.faults),
            idle_faults: std::mem::take(&mut self.idle),
            coverage: state.cover.clone(),
            trace: state.events.take(),
        };
        drop(state);
        for node in 0..self.slots.len() {
            self.slots[node].disk.end_life();
        }
        if outcome.violation.as_ref().is_some_and(|violation| violation.checker == "panic") {
            // What it has left half done may panic again.
            let _ = catch_unwind(AssertUnwindSafe(|| drop(self)));
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::super::executor::Owner;
    use super::super::lives::AtPoll;
    use super::super::plan::PollEnd;
    use super::*;

    /// A node dies in the middle of a moment's work: a task that was ready as well runs no more (and sends nothing).
    #[test]
    fn a_dead_machine_runs_nothing_more() {
        for frozen in [true, false] {
            let mut world = World::new(Plan::draw(1, Some(1)), false);
            world.boot(0);
            let owner = Owner { node: 0, life: world.slots[0].life };
            if frozen {
                world.slots[0].disk.crash_in(0);
            } else {
                world.slots[0].at_poll = vec![AtPoll { polls: 3, end: PollEnd::Kill, for_: MS }];
            }
            // Others are ready all the time, and count how often they run once it is dead.
            let disk = world.slots[0].disk.clone();
            let ran = Arc::new(AtomicU64::new(0));
            for _ in 0..4 {
                let (disk, ran, core) = (disk.clone(), Arc::clone(&ran), Arc::clone(world.agenda.core()));
                world.agenda.core().spawn(owner, async move {
                    loop {
                        ran.fetch_add(u64::from(disk.is_frozen()), Ordering::Relaxed);
                        core.sleep(1000).await;
                    }
                });
            }
            while world.slots[0].up {
                match world.executor.step() {
                    Step::Polled(of) => world.polled(of),
                    Step::Event(number) => {
                        if let Some(what) = world.agenda.take(number) {
                            world.act(what);
                        }
                    }
                    Step::Idle => panic!("{frozen}: it goes on for ever"),
                }
            }
            assert_eq!(ran.load(Ordering::Relaxed), 0, "{frozen}");
            assert!(!world.executor.has_ready(owner), "{frozen}");
        }
    }

    /// A panic ends a run as any other violation does: with what had happened until then.
    #[test]
    fn a_panic_is_a_violation_that_can_be_traced() {
        let world = World::new(Plan::draw(1, Some(3)), true);
        let core = Arc::clone(world.agenda.core());
        let clock = Arc::clone(&core);
        core.spawn(Owner { node: 1, life: 0 }, async move {
            clock.sleep(500 * MS).await;
            panic!("planted");
        });
        let outcome = world.run();
        let violation = outcome.violation.unwrap();
        assert_eq!((violation.checker, violation.node, &violation.what[..]), ("panic", 2, "planted"));
        assert!(violation.at >= 500 * MS && outcome.trace.len() > 100);
    }
}
