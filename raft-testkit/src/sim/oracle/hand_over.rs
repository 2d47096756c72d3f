//! When a leader gives way of its own accord: because its disk hangs (M11), or to a node that is to be preferred.
//!
//! Whoever is to take over has said that its disk is prompt, since the leader's hangs; one that is to be preferred lacks
//! nothing that was committed before the last round but one. A node does so at most once in ten election timeouts. And
//! a leader whose disk hangs does so as soon as it may, and knows of somebody. All this is about time and not about
//! data: by the end of a run nothing of it is left to see.

use core::time::Duration;
use std::collections::BTreeMap;

use raft_core::ids::{Index, LogId, NodeId, Term};
use raft_core::message::{Envelope, HeartbeatReply, Message};
use raft_core::node::Input;
use raft_core::raft::{Raft, View};
use raft_core::status::{HandOver, RoleKind};
use raft_core::time::Time;

use super::super::executor::Nanos;
use super::State;
use super::members::node_of;

/// A node that has given way leads on for so many election timeouts before it does so again.
const PAUSE_TIMEOUTS: u32 = 10;

/// What a node has said to the leader that it last answered.
#[derive(Clone, Copy, Debug)]
struct Said {
    /// When, by the leader's clock.
    at: Time,
    /// The last round that it has answered.
    round: u64,
    /// It may not take over: its disk is slow, or it is on probation.
    unfit: bool,
    priority: i8,
}

/// What is known of a node that may lead.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watch {
    /// When the last input came, by its own clock.
    now: Time,
    /// The term in which the rest was learned, since this node leads it, and when it began to.
    term: Term,
    leads_since: Time,
    said: BTreeMap<NodeId, Said>,
    /// The last round, and what was committed when it began and when the one before it did, or less.
    round: u64,
    committed: [Index; 2],
    /// The membership in force, and the round in which it came to be.
    members: (LogId, u64),
    /// The last round that was begun before its disk began to hang.
    hangs_since: Option<u64>,
    /// An operator wants what happens now.
    wanted: bool,
    /// When it last gave way of its own accord in this life, by its own clock; and when it last did so or may have.
    last: Option<Time>,
    last_perhaps: Option<Time>,
}

impl Watch {
    /// An input is about to be dealt with.
    pub(super) fn input(&mut self, now: Time, raft: &Raft, input: &Input<'_>) {
        self.now = now;
        self.wanted = matches!(input, Input::Transfer(_));
        let Input::Message(Envelope { from, term, message: Message::HeartbeatReply(reply), .. }) = input
        else {
            return;
        };
        let HeartbeatReply { round, slow, probation, priority, .. } = *reply;
        if *term == self.term && *term == raft.view().hard.term && (1..=self.round).contains(&round) {
            let before = self.said.get(from).map_or(0, |said| said.round);
            let said = Said { at: now, round: round.max(before), unfit: slow || probation, priority };
            self.said.insert(*from, said);
        }
    }

    fn leads(&mut self, before: View, view: View) {
        if self.term != view.hard.term {
            let Self { now, last, last_perhaps, wanted, .. } = *self;
            *self = Self {
                now,
                leads_since: now,
                term: view.hard.term,
                last,
                last_perhaps,
                wanted,
                ..Self::default()
            };
        }
        let since = self.hangs_since.unwrap_or(self.round);
        self.hangs_since = view.disk_hangs.then_some(since);
        if view.round > self.round {
            self.round = view.round;
            self.committed = [self.committed[1], before.commit];
        }
        if view.membership != self.members.0 {
            self.members = (view.membership, view.round);
        }
    }
}

fn rested(last: Option<Time>, now: Time, timeout: Duration) -> bool {
    last.is_none_or(|last| now.since(last) >= timeout * PAUSE_TIMEOUTS)
}

impl State {
    /// A node has dealt with an input.
    pub(super) fn check_hand_over(&mut self, at: Nanos, node: usize, before: View, raft: &Raft) {
        let view = raft.view();
        if view.role != RoleKind::Leader {
            return;
        }
        let watch = &mut self.nodes[node].hand_over;
        watch.leads(before, view);
        let begins = view.handing_over_to.filter(|_| before.handing_over_to != view.handing_over_to);
        if begins.is_some() {
            watch.last_perhaps = Some(watch.now);
        }
        if let Some(to) = begins.filter(|_| !watch.wanted) {
            self.gives_way(at, node, to, raft);
        } else if view.disk_hangs && view.handing_over_to.is_none() {
            self.stays(at, node, raft);
        }
    }

    fn gives_way(&mut self, at: Nanos, node: usize, to: NodeId, raft: &Raft) {
        let me = NodeId(node as u64 + 1);
        let status = raft.status(Time::ZERO);
        // One that was removed goes in any case (§6).
        let Some(why) = status.hand_over.filter(|_| self.votes(raft, me)) else { return };
        let (shortest, _) = self.timeouts;
        let target = &self.nodes[node_of(to)];
        let has = target.log.len() as u64;
        let harmed = target.damaged || target.lossy;
        let watch = &mut self.nodes[node].hand_over;
        let now = watch.now;
        let said = watch.said.get(&to).copied();
        let [committed, _] = watch.committed;
        let since = watch.hangs_since.filter(|_| why == HandOver::DiskHangs).unwrap_or_default();
        let wrong = if !rested(watch.last, now, shortest) {
            Some("it did so a moment ago".to_owned())
        } else if said.is_none_or(|said| said.unfit || said.round <= since) {
            Some(format!("which has last said {said:?}; since round {since} it would have to be prompt"))
        } else if why == HandOver::Priority && has < committed.0 && !harmed {
            Some(format!("which has {has} entries; {committed} was committed two rounds ago"))
        } else if why == HandOver::Priority && said.is_none_or(|said| said.priority <= status.priority) {
            Some(format!("which has last said {said:?}; its own priority is {}", status.priority))
        } else if why == HandOver::Priority && now.since(watch.leads_since) < shortest * PAUSE_TIMEOUTS {
            Some("it has only begun to lead".to_owned())
        } else {
            None
        };
        watch.last = Some(now);
        if let Some(wrong) = wrong {
            self.violated(at, "hand-over", Some(node), format!("it gives way to {to} ({why}): {wrong}"));
        }
    }

    /// Its disk hangs, and it does not give way.
    fn stays(&mut self, at: Nanos, node: usize, raft: &Raft) {
        let me = NodeId(node as u64 + 1);
        let (shortest, longest) = self.timeouts;
        let watch = &self.nodes[node].hand_over;
        let now = watch.now;
        // An input that changes nothing does not make a node look; nor is every beginning seen.
        let may = rested(watch.last_perhaps, now, longest + longest / (PAUSE_TIMEOUTS / 2));
        let Some(since) = watch.hangs_since.filter(|_| may) else { return };
        // A round may have been begun at that moment. Of one that has become a member since, nothing counts at first.
        let since = (since + 1).max(watch.members.1);
        let able = watch.said.iter().find(|(id, said)| {
            let model = &self.nodes[node_of(**id)];
            let whole = !model.damaged && !model.lossy && !model.hard.probation;
            let answers = said.round > since && now.since(said.at) < shortest;
            !said.unfit && answers && whole && self.votes(raft, **id)
        });
        if let Some((to, said)) = able.filter(|_| self.votes(raft, me)) {
            let what = format!("its disk hangs since round {since}, and it leads on; {to} has said {said:?}");
            self.violated(at, "hand-over", Some(node), what);
        }
    }

    /// Whether a node votes in the membership in force, and will; not while that has not begun to be written, for until
    /// then nobody but the node knows it.
    fn votes(&self, raft: &Raft, id: NodeId) -> bool {
        let view = raft.view();
        self.in_force(raft, view.last.index).is_some_and(|(index, term, members)| {
            LogId { term, index } == view.membership && members.voters.contains(&id)
        })
    }
}
