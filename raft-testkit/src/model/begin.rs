//! Where a configuration begins: what has happened before its bounds count.

use raft_core::message::Message;

use super::Start;
use super::explorer::{Explorer, Points};
use super::node::Action;
use super::world::World;

impl Explorer {
    /// Takes a world of new nodes there. What was said on the way is over: it does not come again.
    pub(super) fn begin(&mut self, world: &mut World) {
        let start = self.bounds.start;
        if start == Start::Nothing {
            return;
        }
        self.arrange(world, start);
        let summary = self.summary(world, 0);
        self.before = (summary.term, summary.round);
        self.points = Points::default();
    }

    fn arrange(&mut self, world: &mut World, start: Start) {
        self.elect(world);
        world.messages.clear();
        match start {
            Start::Nothing | Start::Led => {}
            Start::Delayed => {
                let last = world.nodes.len() as u64;
                self.act(world, 0, Action::Propose);
                let mut delayed = world.messages.clone();
                self.quiesce(world, |_, _, to| to != last);
                self.act(world, 0, Action::Propose);
                self.quiesce(world, |_, _, to| to != last && to != 1);
                let acknowledges = |number: &u32| {
                    let envelope = self.messages.get(*number);
                    envelope.to.0 == 1 && matches!(envelope.message, Message::AppendReply(_))
                };
                delayed.extend(world.messages.iter().filter(|number| acknowledges(number)));
                delayed.sort_unstable();
                delayed.dedup();
                world.messages = delayed;
            }
            Start::Joint => {
                // All but the entry that two memberships are made of.
                self.act(world, 0, Action::Change);
                self.quiesce(world, |explorer, world, _| {
                    explorer.summary(world, 0).members.outgoing.is_empty()
                });
                world.messages.clear();
            }
            Start::JointSilent => {
                // Acknowledgements of it do not reach the leader, and it does not reach who goes.
                self.act(world, 0, Action::Change);
                self.quiesce(world, |explorer, world, to| {
                    explorer.summary(world, 0).members.outgoing.is_empty() || (to != 1 && to != 3)
                });
                world.messages.clear();
                for at in 1..world.nodes.len() {
                    world.budget.silences += 1;
                    self.act(world, at, Action::Silence);
                }
            }
            Start::Behind => {
                // Without the last node.
                let last = world.nodes.len() as u64;
                self.act(world, 0, Action::Propose);
                world.budget.proposals += 1;
                self.quiesce(world, |_, _, to| to != last);
                self.act(world, 0, Action::Snapshot);
                world.budget.snapshots += 1;
                self.quiesce(world, |_, _, to| to != last);
                world.messages.clear();
                self.act(world, 0, Action::Connect(last as u8));
            }
        }
    }

    /// Node 1 is elected, and all know what is committed.
    fn elect(&mut self, world: &mut World) {
        let ticks = (self.bounds.ticks > 0).then_some(world.budget.ticks);
        if ticks.is_some() {
            // Whatever was promised before they came up is over.
            (0..2).for_each(|_| drop(self.act(world, 0, Action::Tick(0))));
            self.act(world, 0, Action::Campaign);
        } else {
            self.act(world, 0, Action::Timeout);
        }
        self.quiesce(world, |_, _, _| true);
        for _ in 0..2 {
            if ticks.is_some() {
                self.act(world, 0, Action::Tick(0));
            }
            if self.summary(world, 0).leads {
                self.act(world, 0, Action::Timeout);
            }
            self.quiesce(world, |_, _, _| true);
        }
        world.budget.ticks = ticks.unwrap_or_default();
    }

    /// Everything that may is written and arrives once, in order, until nothing is left.
    fn quiesce(&mut self, world: &mut World, may: impl Fn(&Self, &World, u64) -> bool) {
        let mut delivered = 0;
        loop {
            let writes = (0..world.nodes.len()).find(|at| self.summary(world, *at).writes);
            let message = world.messages.iter().find(|number| **number >= delivered).copied();
            match (writes, message) {
                (Some(at), _) => drop(self.act(world, at, Action::Written)),
                (None, Some(number)) => {
                    delivered = number + 1;
                    let to = self.messages.get(number).to.0;
                    if may(self, world, to) {
                        self.act(world, to as usize - 1, Action::Deliver(number));
                    }
                }
                (None, None) => break,
            }
        }
    }
}
