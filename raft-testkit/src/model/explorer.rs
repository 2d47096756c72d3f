//! Breadth first through all states, with every property checked on each.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use raft_core::ids::{NodeId, Term};
use raft_core::membership::Membership;
use raft_core::message::{Ballot, Message};

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
#[derive(Clone, Debug)]
pub struct Found {
    /// What.
    pub what: String,
    /// The steps from the start, each of a node, from 1.
    pub steps: Vec<String>,
}

/// What an exploration has come to.
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
    /// The first violation.
    pub found: Option<Found>,
}

/// A node's state with what was computed of it.
struct Known {
    state: NodeState,
    fingerprint: u128,
    summary: Summary,
}

/// What a step of one node comes to.
struct Outcome {
    node: u32,
    sent: Vec<u32>,
    ready: Vec<u64>,
    wrong: Option<String>,
}

pub(crate) struct Explorer {
    bounds: Bounds,
    nodes: Vec<Known>,
    numbers: HashMap<u128, u32, Build>,
    messages: Messages,
    /// Steps that were computed; none where nothing can happen or nothing changes.
    steps: HashMap<(u32, u64), Option<Arc<Outcome>>, Build>,
    /// Committed logs by number: terms and contents.
    logs: Vec<Vec<(Term, u64)>>,
    seen: HashSet<u128, Build>,
    /// For each state where it came from, and by which step of which node.
    parents: Vec<(u32, u8, Action)>,
    pub(crate) queue: VecDeque<(u32, u32, World)>,
    generated: u64,
    found: Option<Found>,
}

/// Explores until nothing is new, something is wrong, or so many states were seen.
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

/// Whether these nodes can decide: a majority of the voters, and while two memberships are in force of each.
fn is_quorum(members: &Membership, yes: impl Fn(usize) -> bool) -> bool {
    let most = |voters: &BTreeSet<NodeId>| {
        2 * voters.iter().filter(|id| yes(id.0 as usize - 1)).count() > voters.len()
    };
    most(&members.voters) && (members.outgoing.is_empty() || most(&members.outgoing))
}

const fn code(action: Action) -> u64 {
    match action {
        Action::Deliver(number) => number as u64 + 256,
        Action::Timeout => 0,
        Action::Silence => 1,
        Action::Written => 2,
        Action::Crash(kept) => 8 + kept as u64,
        Action::Damage(kept) => 16 + kept as u64,
        Action::Propose => 3,
        Action::Read => 4,
        Action::Change => 5,
        Action::Transfer(to) => 64 + to as u64,
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
            found: None,
        };
        let all = u64::from(bounds.nodes);
        let founds = |id: &u64| bounds.founders == 0 || bounds.founders >> (id - 1) & 1 == 1;
        let founders: Vec<u64> = (1..=all).filter(founds).collect();
        let nodes = (1..=all).map(|id| explorer.node(NodeState::new(NodeId(id), &founders))).collect();
        let mut world = World::new(&bounds, nodes);
        if bounds.led {
            explorer.elect(&mut world);
        }
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
            Action::Deliver(number) => Some(self.messages.get(number)),
            _ => None,
        };
        let stepped = self.nodes[node as usize].state.step(action, message, payload, &self.bounds);
        let outcome = stepped.and_then(|(state, left)| {
            let Left { sent, ready, wrong } = left;
            let next = self.node(state);
            let sent: Vec<u32> = sent.into_iter().map(|envelope| self.messages.number(envelope)).collect();
            let idle = next == node && sent.is_empty() && ready.is_empty() && wrong.is_none();
            (!idle).then(|| Arc::new(Outcome { node: next, sent, ready, wrong }))
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
        actions.extend(mine.map(|number| Action::Deliver(*number)));
        let may_campaign = summary.term.0 < u64::from(self.bounds.terms);
        let may_beat = summary.round < u64::from(self.bounds.rounds);
        if if summary.leads { may_beat } else { may_campaign } {
            actions.push(Action::Timeout);
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

    /// Node 1 campaigns, and everything arrives once, until all know what is committed.
    fn elect(&mut self, world: &mut World) {
        let mut delivered = 0;
        for campaign in 0..3 {
            if campaign == 0 || self.nodes[world.nodes[0] as usize].summary.leads {
                self.act(world, 0, Action::Timeout);
            }
            loop {
                let written =
                    (0..world.nodes.len()).find(|at| self.nodes[world.nodes[*at] as usize].summary.writes);
                let message = world.messages.iter().find(|number| **number >= delivered).copied();
                match (written, message) {
                    (Some(at), _) => drop(self.act(world, at, Action::Written)),
                    (None, Some(number)) => {
                        delivered = number + 1;
                        let to = self.messages.get(number).to.0 as usize - 1;
                        self.act(world, to, Action::Deliver(number));
                    }
                    (None, None) => break,
                }
            }
        }
        // What was said until now does not come again.
        world.messages.clear();
    }

    /// Does something to a node of a world. `None` if nothing comes of it; else what is wrong, if something is.
    pub(crate) fn act(&mut self, world: &mut World, at: usize, action: Action) -> Option<Option<String>> {
        let outcome = self.step(world.nodes[at], action, payload(world, action))?;
        // Members are few; most steps change none.
        let before = self.nodes[world.nodes[at] as usize].summary.members.clone();
        self.generated += 1;
        world.nodes[at] = outcome.node;
        let budget = &mut world.budget;
        match action {
            Action::Silence => budget.silences -= 1,
            Action::Crash(_) => budget.crashes -= 1,
            Action::Damage(_) => budget.damages -= 1,
            Action::Propose => budget.proposals -= 1,
            Action::Transfer(_) => budget.transfers -= 1,
            Action::Change => budget.changes -= 1,
            Action::Read => {
                budget.reads -= 1;
                world.floor = self.logs[world.committed as usize].len() as u8;
            }
            _ => {}
        }
        for sent in &outcome.sent {
            if let Err(place) = world.messages.binary_search(sent)
                && world.messages.len() < usize::from(self.bounds.messages)
            {
                world.messages.insert(place, *sent);
            }
        }
        Some(outcome.wrong.clone().or_else(|| self.check(world, at, &outcome, &before)))
    }

    fn expand(&mut self, number: u32, steps: u32, world: &World) {
        for at in 0..world.nodes.len() {
            for action in self.actions(world, at) {
                if self.step(world.nodes[at], action, payload(world, action)).is_none() {
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
            Action::Deliver(message) => {
                let envelope = self.messages.get(message);
                let (from, term, message) = (envelope.from, envelope.term, &envelope.message);
                format!("node {}: from {from} in {term}: {message:?}", at + 1)
            }
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

    /// What must hold after a step of the node `at`.
    fn check(
        &mut self,
        world: &mut World,
        at: usize,
        outcome: &Outcome,
        before: &Membership,
    ) -> Option<String> {
        let summary = &self.nodes[world.nodes[at] as usize].summary;
        let id = at + 1;
        for sent in &outcome.sent {
            if let Some(what) = self.double_vote(world, *sent) {
                return Some(what);
            }
        }
        if summary.leads {
            let term = summary.term.0 as usize;
            let before = world.leaders.get(term).copied().unwrap_or_default();
            if before != 0 && usize::from(before) != id {
                return Some(format!("election safety: nodes {before} and {id} lead term {term}"));
            }
            if before == 0 {
                if let Some(place) = world.leaders.get_mut(term) {
                    *place = id as u8;
                }
                let committed = &self.logs[world.committed as usize];
                // What was committed in earlier terms; a leader of an earlier term may come late.
                let lacks = committed.iter().zip(0..).find(|((entry, _), place)| {
                    *entry < summary.term && summary.terms.get(*place) != Some(entry)
                });
                let later = world.leaders.iter().skip(term + 1).any(|leader| *leader != 0);
                if let Some(((entry, _), place)) = lacks.filter(|_| !later) {
                    return Some(format!(
                        "leader completeness: node {id} leads {term} without {} of term {entry}",
                        place + 1
                    ));
                }
            }
        }
        let committed = self.logs[world.committed as usize].clone();
        for (index, term) in summary.terms.iter().enumerate().take(summary.commit as usize) {
            match committed.get(index) {
                Some((known, _)) if known != term => {
                    return Some(format!(
                        "state machine safety: node {id} commits {} of term {term}, {known} was committed",
                        index + 1
                    ));
                }
                _ => {}
            }
        }
        if summary.commit as usize > committed.len()
            && let Err(what) = self.commit(world, at, &committed, before)
        {
            return Some(what);
        }
        let floor = u64::from(world.floor);
        if let Some(index) = outcome.ready.iter().find(|index| **index < floor) {
            return Some(format!(
                "a read of {index} is answered; {floor} was committed before it was asked for"
            ));
        }
        self.matching(world)
    }

    /// The node has committed more than anybody before.
    fn commit(
        &mut self,
        world: &mut World,
        at: usize,
        committed: &[(Term, u64)],
        before: &Membership,
    ) -> Result<(), String> {
        let summary = &self.nodes[world.nodes[at] as usize].summary;
        let mut log = committed.to_vec();
        for index in committed.len()..summary.commit as usize {
            let Some(term) = summary.terms.get(index) else { return Err("it commits what it lacks".into()) };
            let held = |node: usize| {
                let number = world.nodes.get(node)?;
                let durable = &self.nodes[*number as usize].summary.durable;
                durable.get(index).filter(|(of, _)| of == term)
            };
            let holders: Vec<&(Term, u64)> = (0..world.nodes.len()).filter_map(held).collect();
            // One step may commit and then change who decides: what was in force before it, or as of this entry.
            let as_of = summary.memberships.iter().rfind(|(at, _)| *at <= index + 1).map(|(_, of)| of);
            let decide = |members: &Membership| is_quorum(members, |node| held(node).is_some());
            if !(decide(before) || as_of.is_some_and(decide)) && self.bounds.damages == 0 {
                return Err(format!(
                    "node {} commits {} of term {term}; it is durable on {} nodes",
                    at + 1,
                    index + 1,
                    holders.len()
                ));
            }
            let Some(entry) = holders.first() else {
                return Err(format!("node {} commits {}, which nobody has", at + 1, index + 1));
            };
            log.push(**entry);
        }
        world.committed = match self.logs.iter().position(|known| *known == log) {
            Some(known) => known as u32,
            None => {
                self.logs.push(log);
                self.logs.len() as u32 - 1
            }
        };
        Ok(())
    }

    /// Two votes of one node in one term for two candidates.
    fn double_vote(&self, world: &World, sent: u32) -> Option<String> {
        let vote = |number: u32| {
            let envelope = self.messages.get(number);
            match &envelope.message {
                Message::VoteReply(reply) if !reply.pre && reply.ballot == Ballot::Granted => {
                    Some((envelope.from, reply.asked, envelope.to))
                }
                Message::Vote(request) if !request.pre => Some((envelope.from, envelope.term, envelope.from)),
                _ => None,
            }
        };
        let (from, term, to) = vote(sent)?;
        let other = world.messages.iter().filter_map(|number| vote(*number));
        let other = other.filter(|(f, t, _)| (*f, *t) == (from, term)).find(|(_, _, other)| *other != to)?;
        Some(format!(
            "node {from} votes in term {term} for {to} and for {}: {:?}",
            other.2,
            self.messages.get(sent)
        ))
    }

    /// Log Matching over the durable logs.
    fn matching(&self, world: &World) -> Option<String> {
        for (a, first) in world.nodes.iter().enumerate() {
            for (b, second) in world.nodes.iter().enumerate().skip(a + 1) {
                let (one, two) = (
                    &self.nodes[*first as usize].summary.durable,
                    &self.nodes[*second as usize].summary.durable,
                );
                let same = one.iter().zip(two).rposition(|(x, y)| x.0 == y.0);
                if let Some(last) = same
                    && one[..=last] != two[..=last]
                {
                    return Some(format!(
                        "log matching: nodes {} and {} differ before {}",
                        a + 1,
                        b + 1,
                        last + 1
                    ));
                }
            }
        }
        None
    }
}

impl Bounds {
    /// The same with a mistake made on purpose.
    #[must_use]
    pub const fn with(self, flaw: Flaw) -> Self {
        Self { flaw, ..self }
    }
}
