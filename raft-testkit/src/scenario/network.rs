//! A simulated network: a queue for each directed pair and lane. Nothing arrives by itself.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use raft_core::ids::NodeId;
use raft_core::message::{Envelope, Lane};

type Line = (NodeId, NodeId, Lane);

/// What is under way.
#[derive(Clone, Debug, Default)]
pub(super) struct Network {
    queues: BTreeMap<Line, VecDeque<Envelope>>,
    stashes: BTreeMap<String, Vec<Envelope>>,
    isolated: BTreeSet<NodeId>,
    cut: BTreeSet<(NodeId, NodeId)>,
}

/// Some of the lines.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lines {
    pub(super) pair: Option<(NodeId, NodeId)>,
    pub(super) lane: Option<Lane>,
}

impl Lines {
    fn covers(&self, line: &Line) -> bool {
        self.pair.is_none_or(|pair| pair == (line.0, line.1)) && self.lane.is_none_or(|lane| lane == line.2)
    }
}

impl Network {
    /// Queues a message, unless the way is cut.
    pub(super) fn send(&mut self, envelope: Envelope) {
        let (from, to) = (envelope.from, envelope.to);
        let lost = self.isolated.contains(&from)
            || self.isolated.contains(&to)
            || self.cut.contains(&(from.min(to), from.max(to)));
        if !lost {
            self.queues.entry((from, to, envelope.lane())).or_default().push_back(envelope);
        }
    }

    /// Takes what is queued there, or only the first message of each line.
    pub(super) fn take(&mut self, lines: Lines, one: bool) -> Vec<Envelope> {
        let mut out = Vec::new();
        for (line, queue) in &mut self.queues {
            if lines.covers(line) {
                let count = if one { queue.len().min(1) } else { queue.len() };
                out.extend(queue.drain(..count));
            }
        }
        out
    }

    pub(super) fn queued(&self, lines: Lines) -> impl Iterator<Item = &Envelope> {
        self.queues.iter().filter(move |(line, _)| lines.covers(line)).flat_map(|(_, queue)| queue)
    }

    pub(super) fn duplicate(&mut self, lines: Lines) {
        for (_, queue) in self.queues.iter_mut().filter(|(line, _)| lines.covers(line)) {
            queue.extend(queue.clone());
        }
    }

    /// The last comes first.
    pub(super) fn reorder(&mut self, lines: Lines) {
        for (_, queue) in self.queues.iter_mut().filter(|(line, _)| lines.covers(line)) {
            queue.make_contiguous().reverse();
        }
    }

    /// Loses everything for a node that crashed.
    pub(super) fn lose_for(&mut self, to: NodeId) {
        self.queues.retain(|line, _| line.1 != to);
    }

    pub(super) fn stash(&mut self, name: String, envelopes: Vec<Envelope>) {
        self.stashes.entry(name).or_default().extend(envelopes);
    }

    pub(super) fn unstash(&mut self, name: &str) -> Option<Vec<Envelope>> {
        self.stashes.remove(name)
    }

    /// What a node sends or is sent is lost, from now on and what is under way.
    pub(super) fn isolate(&mut self, node: NodeId) {
        self.isolated.insert(node);
        self.queues.retain(|line, _| line.0 != node && line.1 != node);
    }

    pub(super) fn cut(&mut self, a: NodeId, b: NodeId) {
        self.cut.insert((a.min(b), a.max(b)));
        self.queues.retain(|line, _| (line.0, line.1) != (a, b) && (line.0, line.1) != (b, a));
    }

    /// Ends what `isolate` and `cut` began, for one node or for all.
    pub(super) fn heal(&mut self, node: Option<NodeId>) {
        self.isolated.retain(|of| node.is_some_and(|node| node != *of));
        self.cut.retain(|(a, b)| node.is_some_and(|node| node != *a && node != *b));
    }
}
