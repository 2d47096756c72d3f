//! Breadth first through all states, with every property checked on each.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use raft_core::ids::{NodeId, Term};
use raft_core::message::{Envelope, Message};

use super::disk::Held;
use super::node::{Action, Left, Messages, NodeState, Summary};
use super::world::World;
use super::{Bounds, Flaw};

/// Keys that are digests already, or small numbers.
#[derive(Default)]
pub(crate) struct Quick(u64);

impl Hasher for Quick {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 ^= self.0 >> 32;
    }

    fn write_u128(&mut self, number: u128) {
        self.write_u64(number as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

type Build = BuildHasherDefault<Quick>;

/// Something that must not be, and how to come there.
///
/// # Examples
/// ```
/// use raft_testkit::model::{Bounds, CONFIGURATIONS, Flaw, explore};
///
/// let basic = CONFIGURATIONS.iter().find(|bounds| bounds.name == "basic").unwrap();
/// let small = Bounds { nodes: 2, terms: 1, proposals: 0, silences: 0, ..*basic };
/// let found = explore(&small.with(Flaw::ForgetsVotes), 100_000, |_, _| {}).found.unwrap();
/// // Breadth first: there is no shorter way to come there.
/// assert!(found.steps.iter().any(|step| step.contains("Crash")), "{found:#?}");
/// ```
#[derive(Clone, Debug)]
pub struct Found {
    /// What.
    pub what: String,
    /// The steps from the start, each of a node, from 1.
    pub steps: Vec<String>,
}

/// What an exploration has come to.
///
/// # Examples
/// ```
/// use raft_testkit::model::{CONFIGURATIONS, explore};
///
/// let basic = CONFIGURATIONS.iter().find(|bounds| bounds.name == "basic").unwrap();
/// let report = explore(basic, 1_000, |_, _| {});
/// // It has met its limit of states: what is beyond was not looked at.
/// assert!(!report.exhausted && report.distinct >= 1_000);
/// assert!(report.generated >= report.distinct);
/// ```
#[derive(Clone, Debug)]
pub struct Report {
    /// Different states.
    pub distinct: u64,
    /// States that were computed, also again and again.
    pub generated: u64,
    /// Different states of single nodes.
    pub nodes: u64,
    /// Different messages.
    pub messages: u64,
    /// Steps from the start to the last state looked at.
    pub depth: u32,
    /// Whether there are no more within the bounds.
    pub exhausted: bool,
    /// Messages that were lost because there were too many already, over all computed states.
    pub overflown: u64,
    /// What the computed steps came to.
    pub points: Points,
    /// The first violation.
    pub found: Option<Found>,
}

/// How often the computed steps came to something that a configuration is about: one that never does says nothing.
///
/// # Examples
/// ```
/// use raft_testkit::model::{CONFIGURATIONS, explore};
///
/// // That nothing is found says something only where the configuration comes to what it is about.
/// let lease = CONFIGURATIONS.iter().find(|bounds| bounds.name == "lease").unwrap();
/// let report = explore(lease, 5_000, |_, _| {});
/// assert!(report.found.is_none() && report.points.leased_reads > 0, "{report:?}");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Points {
    /// Somebody was elected.
    pub elections: u64,
    /// Somebody was elected while two memberships were in force on it.
    pub joint_elections: u64,
    /// A membership was left for the next one by its entry.
    pub joint_left: u64,
    /// A node's probation ended.
    pub probations_ended: u64,
    /// A snapshot of a leader took a log's place.
    pub installed: u64,
    /// A read was answered.
    pub reads: u64,
    /// A read was answered at once, under a lease.
    pub leased_reads: u64,
}

/// A node's state with what was computed of it.
pub(super) struct Known {
    pub(super) state: NodeState,
    pub(super) fingerprint: u128,
    pub(super) summary: Summary,
}

/// What a step of one node comes to.
pub(super) struct Outcome {
    pub(super) node: u32,
    pub(super) sent: Vec<u32>,
    pub(super) ready: Vec<u64>,
    pub(super) installed: bool,
    pub(super) wrong: Option<String>,
}

pub(crate) struct Explorer {
    pub(super) bounds: Bounds,
    pub(super) nodes: Vec<Known>,
    numbers: HashMap<u128, u32, Build>,
    pub(super) messages: Messages,
    /// Steps that were computed; none where nothing can happen or nothing changes.
    steps: HashMap<(u32, u64), Option<Arc<Outcome>>, Build>,
    /// Committed logs by number: terms and contents.
    pub(super) logs: Vec<Vec<Held>>,
    seen: HashSet<u128, Build>,
    /// For each state where it came from, and by which step of which node.
    parents: Vec<(u32, u8, Action)>,
    pub(crate) queue: VecDeque<(u32, u32, World)>,
    generated: u64,
    overflown: u64,
    pub(super) points: Points,
    /// The term in which it begins, and how many rounds there were in it.
    pub(super) before: (Term, u64),
    found: Option<Found>,
}

/// Explores until nothing is new, something is wrong, or so many states were seen.
///
/// # Examples
/// ```
/// use raft_testkit::model::{CONFIGURATIONS, explore};
///
/// let basic = CONFIGURATIONS.iter().find(|bounds| bounds.name == "basic").unwrap();
/// let mut levels = Vec::new();
/// let report = explore(basic, 2_000, |states, depth| levels.push((depth, states)));
/// assert!(report.found.is_none(), "{report:?}");
/// assert!(levels.is_sorted() && levels.last().unwrap().0 == report.depth, "{levels:?}");
/// ```
#[must_use]
pub fn explore(bounds: &Bounds, limit: u64, mut progress: impl FnMut(u64, u32)) -> Report {
    let mut explorer = Explorer::new(*bounds);
    let mut depth = 0;
    let mut exhausted = true;
    while let Some((number, steps, world)) = explorer.queue.pop_front() {
        if steps > depth {
            depth = steps;
            progress(explorer.seen.len() as u64, depth);
        }
        if explorer.seen.len() as u64 >= limit {
            exhausted = false;
            break;
        }
        explorer.expand(number, steps, &world);
        if explorer.found.is_some() {
            exhausted = false;
            break;
        }
    }
    let found = explorer.found.take();
    explorer.report(depth, exhausted, found)
}

/// What an action depends on beside the node: how many of its kind are left.
fn payload(world: &World, action: Action) -> u8 {
    if action == Action::Change { world.budget.changes } else { world.budget.proposals }
}

const fn code(action: Action) -> u64 {
    match action {
        Action::Deliver(number) | Action::Again(number) => number as u64 + 256,
        Action::Timeout => 0,
        Action::Silence => 1,
        Action::Written => 2,
        Action::Crash(kept) => 8 + kept as u64,
        Action::Damage(kept) => 16 + kept as u64,
        Action::Propose => 3,
        Action::Read => 4,
        Action::Change => 5,
        Action::Campaign => 6,
        Action::Snapshot => 7,
        Action::Tick(slow) => 32 + slow as u64,
        Action::Connect(to) => 128 + to as u64,
        Action::Transfer(to) => 64 + to as u64,
    }
}

/// Whether nothing can come of a message to `me`, on whose disk is `term`; `over` if it has led that term and does
/// not any more.
fn is_dead(envelope: &Envelope, me: u64, term: Term, over: bool) -> bool {
    if envelope.to.0 != me || envelope.term > term {
        return false;
    }
    match &envelope.message {
        Message::VoteReply(reply) => reply.asked < term || (reply.pre && reply.asked == term),
        Message::AppendReply(_)
        | Message::HeartbeatReply(_)
        | Message::SnapshotReply(_)
        | Message::ReadIndex(_) => envelope.term < term || over,
        Message::TimeoutNow(_) | Message::ReadIndexReply(_) => envelope.term < term,
        _ => false,
    }
}

impl Explorer {
    pub(crate) fn new(bounds: Bounds) -> Self {
        let mut explorer = Self {
            bounds,
            nodes: Vec::new(),
            numbers: HashMap::default(),
            messages: Messages::default(),
            steps: HashMap::default(),
            logs: vec![Vec::new()],
            seen: HashSet::default(),
            parents: Vec::new(),
            queue: VecDeque::new(),
            generated: 0,
            overflown: 0,
            points: Points::default(),
            before: (Term::ZERO, 0),
            found: None,
        };
        let all = u64::from(bounds.nodes);
        let founds = |id: &u64| bounds.founders == 0 || bounds.founders >> (id - 1) & 1 == 1;
        let founders: Vec<u64> = (1..=all).filter(founds).collect();
        let nodes =
            (1..=all).map(|id| explorer.node(NodeState::new(NodeId(id), &founders, &bounds))).collect();
        let mut world = World::new(&bounds, nodes);
        explorer.begin(&mut world);
        explorer.add(world, 0, 0, 0, Action::Timeout);
        explorer
    }

    pub(crate) fn report(&self, depth: u32, exhausted: bool, found: Option<Found>) -> Report {
        Report {
            distinct: self.seen.len() as u64,
            generated: self.generated,
            nodes: self.nodes.len() as u64,
            messages: self.messages.count(),
            depth,
            exhausted,
            overflown: self.overflown,
            points: self.points,
            found,
        }
    }

    /// The number of a node's state.
    fn node(&mut self, state: NodeState) -> u32 {
        let fingerprint = state.fingerprint();
        if let Some(number) = self.numbers.get(&fingerprint) {
            return *number;
        }
        let number = self.nodes.len() as u32;
        let summary = state.summary();
        self.nodes.push(Known { state, fingerprint, summary });
        self.numbers.insert(fingerprint, number);
        number
    }

    /// What this comes to, computed once. A proposal's contents depend on how many there were before.
    fn step(&mut self, node: u32, action: Action, payload: u8) -> Option<Arc<Outcome>> {
        let payload = if matches!(action, Action::Propose | Action::Change) { payload } else { 0 };
        let key = (node, code(action) << 8 | u64::from(payload));
        if let Some(known) = self.steps.get(&key) {
            return known.clone();
        }
        let message = match action {
            Action::Deliver(number) | Action::Again(number) => Some(self.messages.get(number)),
            _ => None,
        };
        let stepped = self.nodes[node as usize].state.step(action, message, payload, &self.bounds);
        let outcome = stepped.and_then(|(state, left)| {
            let Left { sent, ready, installed, wrong } = left;
            let next = self.node(state);
            let sent: Vec<u32> = sent.into_iter().map(|envelope| self.messages.number(envelope)).collect();
            let idle = next == node && sent.is_empty() && ready.is_empty() && wrong.is_none();
            (!idle).then(|| Arc::new(Outcome { node: next, sent, ready, installed, wrong }))
        });
        self.steps.insert(key, outcome.clone());
        outcome
    }

    pub(crate) fn actions(&self, world: &World, at: usize) -> Vec<Action> {
        let summary = &self.nodes[world.nodes[at] as usize].summary;
        let budget = &world.budget;
        let mut actions = Vec::with_capacity(world.messages.len() + 8);
        if summary.writes {
            actions.push(Action::Written);
        }
        let me = at as u64 + 1;
        let mine = world.messages.iter().filter(|number| self.messages.get(**number).to.0 == me);
        for number in mine {
            actions.push(Action::Deliver(*number));
            if budget.copies > 0 {
                actions.push(Action::Again(*number));
            }
        }
        let may_campaign = summary.term.0 < u64::from(self.bounds.terms);
        let before = if self.before.0 == summary.term { self.before.1 } else { 0 };
        let may_beat = summary.round < before + u64::from(self.bounds.rounds);
        if if summary.leads { may_beat } else { may_campaign && self.bounds.ticks == 0 } {
            actions.push(Action::Timeout);
        }
        if !summary.leads && may_campaign && self.bounds.ticks > 0 {
            actions.push(Action::Campaign);
        }
        if at == 0 && budget.ticks > 0 {
            actions.extend((0..=self.bounds.nodes).map(Action::Tick));
        }
        if budget.snapshots > 0 {
            actions.push(Action::Snapshot);
        }
        if budget.silences > 0 {
            actions.push(Action::Silence);
        }
        if budget.crashes > 0 {
            actions.extend([Action::Crash(0), Action::Crash(1), Action::Crash(2)]);
        }
        if budget.damages > 0 {
            actions.extend((1..summary.durable.len()).map(|kept| Action::Damage(kept as u8)));
        }
        if budget.reads > 0 && (summary.leads || (self.bounds.anywhere && summary.follows)) {
            actions.push(Action::Read);
        }
        if summary.leads {
            if budget.proposals > 0 {
                actions.push(Action::Propose);
            }
            if budget.changes > 0 {
                actions.push(Action::Change);
            }
            if budget.transfers > 0 {
                let others = (1..=self.bounds.nodes).filter(|to| u64::from(*to) != me);
                actions.extend(others.map(Action::Transfer));
            }
        }
        actions
    }

    /// What is known of a node of a world.
    pub(super) fn summary(&self, world: &World, at: usize) -> &Summary {
        &self.nodes[world.nodes[at] as usize].summary
    }

    /// Does something to a node of a world. `None` if nothing comes of it; else what is wrong, if something is.
    pub(crate) fn act(&mut self, world: &mut World, at: usize, action: Action) -> Option<Option<String>> {
        if let Action::Tick(_) = action {
            world.budget.ticks = world.budget.ticks.saturating_sub(1);
            self.generated += 1;
            for number in &mut world.nodes {
                if let Some(outcome) = self.step(*number, action, 0) {
                    *number = outcome.node;
                }
            }
            return Some(None);
        }
        let before = world.nodes[at];
        let outcome = self.step(before, action, payload(world, action))?;
        self.generated += 1;
        world.nodes[at] = outcome.node;
        let budget = &mut world.budget;
        match action {
            Action::Deliver(number) if self.bounds.copies.is_some() => {
                world.messages.retain(|other| *other != number);
            }
            Action::Again(_) => budget.copies -= 1,
            Action::Silence => budget.silences -= 1,
            Action::Crash(_) => budget.crashes -= 1,
            Action::Damage(_) => {
                budget.damages -= 1;
                let had = self.nodes[before as usize].summary.durable.clone();
                world.lost[at] = self.log(had);
            }
            Action::Propose => budget.proposals -= 1,
            Action::Transfer(_) => budget.transfers -= 1,
            Action::Change => budget.changes -= 1,
            Action::Snapshot => budget.snapshots -= 1,
            Action::Read => {
                budget.reads -= 1;
                world.floor = self.logs[world.committed as usize].len() as u8;
            }
            _ => {}
        }
        for sent in &outcome.sent {
            if let Err(place) = world.messages.binary_search(sent) {
                if world.messages.len() < usize::from(self.bounds.messages) {
                    world.messages.insert(place, *sent);
                } else {
                    self.overflown += 1;
                }
            }
        }
        self.count(before, action, &outcome);
        let wrong = outcome.wrong.clone().or_else(|| self.check(world, at, &outcome, before));
        self.bury(world, at);
        Some(wrong)
    }

    fn count(&mut self, before: u32, action: Action, outcome: &Outcome) {
        let (before, after) =
            (&self.nodes[before as usize].summary, &self.nodes[outcome.node as usize].summary);
        let (was_joint, is_joint) = (!before.members.outgoing.is_empty(), !after.members.outgoing.is_empty());
        let elected = u64::from(after.leads && !before.leads);
        let points = &mut self.points;
        points.elections += elected;
        points.joint_elections += if was_joint { elected } else { 0 };
        points.joint_left += u64::from(was_joint && !is_joint && after.leads);
        let damaged = matches!(action, Action::Damage(_));
        points.probations_ended += u64::from(before.probation && !after.probation && !damaged);
        points.installed += u64::from(outcome.installed);
        points.reads += outcome.ready.len() as u64;
        points.leased_reads += if action == Action::Read { outcome.ready.len() as u64 } else { 0 };
    }

    /// Takes away messages that nothing can come of any more: answers to what their receiver has left behind for
    /// good, since the term on its disk never goes back.
    fn bury(&mut self, world: &mut World, at: usize) {
        if matches!(self.bounds.flaw, Flaw::LosesHardState | Flaw::AcksBeforeDurable) {
            // Here it does, or it says nothing.
            return;
        }
        let (me, summary) = (at as u64 + 1, &self.nodes[world.nodes[at] as usize].summary);
        let term = summary.durable_term;
        let led = world.leaders.get(term.0 as usize).is_some_and(|leader| u64::from(*leader) == me);
        let over = led && !summary.leads;
        let dead = |messages: &Messages, number: u32| is_dead(messages.get(number), me, term, over);
        #[cfg(debug_assertions)]
        for number in world.messages.clone() {
            if !dead(&self.messages, number) {
                continue;
            }
            let outcome = self.step(world.nodes[at], Action::Deliver(number), 0);
            assert!(outcome.is_none(), "something comes of {}", self.describe(at, Action::Deliver(number)));
        }
        let messages = &self.messages;
        world.messages.retain(|number| !dead(messages, *number));
    }

    /// The number of a log.
    pub(super) fn log(&mut self, log: Vec<Held>) -> u32 {
        if let Some(known) = self.logs.iter().position(|known| *known == log) {
            return known as u32;
        }
        self.logs.push(log);
        self.logs.len() as u32 - 1
    }

    fn expand(&mut self, number: u32, steps: u32, world: &World) {
        for at in 0..world.nodes.len() {
            for action in self.actions(world, at) {
                let ticks = matches!(action, Action::Tick(_));
                if !ticks && self.step(world.nodes[at], action, payload(world, action)).is_none() {
                    continue;
                }
                let mut next = world.clone();
                let Some(wrong) = self.act(&mut next, at, action) else { continue };
                let before = self.parents.len();
                self.add(next, number, steps + 1, at as u8, action);
                if let Some(what) = wrong {
                    let mut path = self.path(number);
                    if self.parents.len() > before {
                        path = self.path(before as u32);
                    }
                    self.found = Some(Found { what, steps: path });
                    return;
                }
            }
        }
    }

    /// A step, for people.
    pub(crate) fn describe(&self, at: usize, action: Action) -> String {
        match action {
            Action::Deliver(message) | Action::Again(message) => {
                let envelope = self.messages.get(message);
                let (from, term, message) = (envelope.from, envelope.term, &envelope.message);
                let again = if matches!(action, Action::Again(_)) { " (and again)" } else { "" };
                format!("node {}: from {from} in {term}{again}: {message:?}", at + 1)
            }
            Action::Tick(slow) => format!("time passes, more slowly on node {slow}"),
            other => format!("node {}: {other:?}", at + 1),
        }
    }

    fn add(&mut self, world: World, parent: u32, steps: u32, at: u8, action: Action) {
        let fingerprint = world.fingerprint(
            |number| self.nodes[number as usize].fingerprint,
            |number| self.messages.digest(number),
        );
        if self.seen.insert(fingerprint) {
            let number = self.parents.len() as u32;
            self.parents.push((parent, at, action));
            self.queue.push_back((number, steps, world));
        }
    }

    fn path(&self, mut number: u32) -> Vec<String> {
        let mut steps = Vec::new();
        while number > 0 {
            let (parent, at, action) = self.parents[number as usize];
            let text = self.describe(usize::from(at), action);
            steps.push(text);
            number = parent;
        }
        steps.reverse();
        steps
    }
}

impl Bounds {
    /// The same with a mistake made on purpose.
    ///
    /// # Examples
    /// ```
    /// use raft_testkit::model::{CONFIGURATIONS, Flaw};
    ///
    /// let basic = CONFIGURATIONS.iter().find(|bounds| bounds.name == "basic").unwrap();
    /// let flawed = basic.with(Flaw::VotesAfterLoss);
    /// assert_eq!((flawed.flaw, flawed.with(Flaw::None)), (Flaw::VotesAfterLoss, *basic));
    /// ```
    #[must_use]
    pub const fn with(self, flaw: Flaw) -> Self {
        Self { flaw, ..self }
    }
}
