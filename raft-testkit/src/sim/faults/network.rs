//! Connections that are cut, broken or stalled, and leaders that are cut off.

use raft_core::ids::Term;
use raft_core::message::{Lane, PeerEvent};

use super::super::agenda::{Mend, What};
use super::super::events::Tag;
use super::super::executor::Nanos;
use super::super::plan::{Fault, Who};
use super::super::world::World;

/// Armed: whoever leads a later term than this is cut off.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lonely {
    pub(super) term: Term,
    pub(super) after: Nanos,
    pub(super) for_: Nanos,
    pub(super) friends: u64,
    pub(super) rival: Option<Nanos>,
}

impl World {
    pub(super) fn part(&mut self, sides: u64, for_: Nanos) -> bool {
        let all = self.slots.len();
        let side = |node: usize| sides >> node & 1;
        let pairs: Vec<(usize, usize)> = (0..all)
            .flat_map(|a| (0..all).map(move |b| (a, b)))
            .filter(|(a, b)| side(*a) != side(*b))
            .collect();
        if let Some(leader) = self.oracle.leader() {
            let with = (0..all).filter(|node| side(*node) == side(leader)).count();
            if with <= all / 2 {
                self.minority_leader =
                    self.oracle.view(leader).map(|view| (leader, self.slots[leader].life, view.hard.term));
            }
        }
        self.cut_for(&pairs, for_)
    }

    pub(super) fn cut_one_way(&self, from: Who, to: Who, for_: Nanos) -> bool {
        let (Some(from), Some(to)) = (self.find(from), self.find(to)) else { return false };
        self.cut_for(&[(from, to)], for_)
    }

    pub(super) fn deafen(&self, who: Who, mute: bool, for_: Nanos) -> bool {
        let Some(node) = self.find(who) else { return false };
        let pair = |other| if mute { (node, other) } else { (other, node) };
        let pairs: Vec<(usize, usize)> = (0..self.slots.len()).map(pair).collect();
        self.cut_for(&pairs, for_)
    }

    pub(super) fn break_connection(&self, a: Who, b: Who) -> bool {
        let (Some(a), Some(b)) = (self.find(a), self.find(b)) else { return false };
        if a == b {
            return false;
        }
        self.network.break_connection(a, b, PeerEvent::Down);
        true
    }

    pub(super) fn take_for_dead_by(&self, who: Who, by: Who) -> bool {
        let (Some(who), Some(by)) = (self.running(who), self.running(by)) else { return false };
        if who == by {
            return false;
        }
        self.network.break_connection(who, by, PeerEvent::Gone);
        true
    }

    pub(super) fn stall(&self, from: Who, to: Who, lane: Lane, for_: Nanos) -> bool {
        let (Some(from), Some(to)) = (self.find(from), self.find(to)) else { return false };
        if from == to {
            return false;
        }
        self.network.stall(from, to, lane, for_);
        true
    }

    pub(crate) fn cut_for(&self, pairs: &[(usize, usize)], nanos: Nanos) -> bool {
        let mut bits = 0;
        for (from, to) in pairs.iter().filter(|(from, to)| from != to) {
            self.network.cut(*from, *to, true);
            bits |= 1 << (from * 8 + to);
        }
        self.agenda.after(nanos, What::Mend(Mend::Uncut(bits)));
        bits != 0
    }

    /// Whoever leads now, and did not when the fault was armed, will be cut off.
    pub(crate) fn watch_for_a_leader(&mut self) {
        let Some(lonely) = self.lonely else { return };
        if self.oracle.latest_term() <= lonely.term {
            return;
        }
        self.lonely = None;
        if let Some(node) = self.oracle.leader() {
            let Lonely { after, for_, friends, rival, .. } = lonely;
            self.agenda.after(after, What::CutOff { node, for_, friends });
            let others: Vec<usize> =
                (0..self.slots.len()).filter(|other| *other != node && friends >> other & 1 == 0).collect();
            if let Some(rival) = rival.filter(|_| !others.is_empty()) {
                let node = *self.rng.pick(&others);
                self.agenda.after(after + rival, What::Rival(node));
            }
        }
    }

    /// The leader is cut off, and others are made to campaign.
    pub(super) fn besiege(&mut self, siege: &Fault) -> bool {
        let Fault::Siege { hand_over, for_, restart, tries, dead } = siege else { return false };
        let (hand_over, for_, restart) = (*hand_over, *for_, *restart);
        let Some(leader) = self.running(Who::Leader) else { return false };
        if hand_over.is_some() {
            self.transfer(None);
        }
        let begins = hand_over.unwrap_or_default();
        self.agenda.after(begins, What::CutOff { node: leader, for_, friends: 0 });
        if let Some(after) = dead {
            self.agenda.after(begins + after, What::TakenForDead(leader));
        }
        let others: Vec<usize> = (0..self.slots.len()).filter(|other| *other != leader).collect();
        if let Some(after) = restart {
            for node in others.iter().copied().filter(|node| self.slots[*node].up) {
                let life = self.slots[node].life;
                self.agenda.after(begins + after, What::KillNow { node, life });
            }
        }
        for after in tries {
            if let Some(node) = (!others.is_empty()).then(|| *self.rng.pick(&others)) {
                self.agenda.after(begins + after, What::Rival(node));
            }
        }
        true
    }

    /// A node is made to campaign.
    pub(crate) fn rival(&self, node: usize) {
        if self.is_calm() || !self.slots[node].up {
            return;
        }
        if let Some(live) = self.live(node) {
            self.oracle.note(Some(node), Tag::Fault, [node as u64, 1, 0, 0], || "is made to campaign".into());
            live.handle.campaign();
        }
    }

    /// All others believe that a node's process is gone.
    pub(crate) fn take_for_dead(&self, node: usize) {
        if self.is_calm() {
            return;
        }
        self.oracle.note(Some(node), Tag::Fault, [node as u64, 3, 0, 0], || "is taken for dead".into());
        for other in (0..self.slots.len()).filter(|other| *other != node) {
            self.network.break_connection(node, other, PeerEvent::Gone);
        }
    }

    /// Cuts a node off from all but its friends.
    pub(crate) fn cut_off(&self, node: usize, for_: Nanos, friends: u64) {
        if self.is_calm() {
            return;
        }
        let others = (0..self.slots.len()).filter(|other| friends >> other & 1 == 0);
        let pairs: Vec<(usize, usize)> = others.flat_map(|other| [(node, other), (other, node)]).collect();
        self.oracle.note(Some(node), Tag::Fault, [node as u64, friends, 0, 0], || "is cut off".into());
        self.cut_for(&pairs, for_);
    }
}
