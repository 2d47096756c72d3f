//! How faults come and go, and the atlas: what was acknowledged stays intact on a quorum, for beyond that
//! nothing can be asked of anybody.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use raft_core::ids::{NodeId, Term};
use raft_core::message::PeerEvent;
use raft_core::status::RoleKind;

use super::agenda::{Mend, What};
use super::coverage::Point;
use super::drive::Ambush;
use super::events::Tag;
use super::executor::{MS, Nanos, Owner, lock};
use super::lives::{AtPoll, Damage, set_pace};
use super::plan::{Fault, Who};
use super::world::World;

/// Armed: whoever leads a later term than this is cut off.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lonely {
    term: Term,
    after: Nanos,
    for_: Nanos,
    friends: u64,
    rival: Option<Nanos>,
}

impl World {
    fn find(&self, who: Who) -> Option<usize> {
        match who {
            Who::Node(node) => Some(node),
            Who::Leader => self.oracle.leader(),
        }
    }

    pub(crate) fn running(&self, who: Who) -> Option<usize> {
        self.find(who).filter(|node| self.slots[*node].up)
    }

    /// Whether one more disk may be harmed (the atlas): fewer than half of the voters' may be at a time, of those
    /// in force and of those that may come to be, those that are lost for good among them. None while one that
    /// was exchanged or set back has its last life: who has met it must remember that.
    pub(crate) fn may_harm(&mut self, node: usize) -> bool {
        self.look_at_damage();
        // Who has joined and not caught up has no vote either.
        let harmed =
            |node: usize| self.slots[node].damage != Damage::None || self.oracle.is_on_probation(node);
        if self.slots[node].damage != Damage::None {
            return !self.slots[node].is_lost();
        }
        if self.changing.load(Ordering::Relaxed) > 0 {
            return false;
        }
        let exchanged = self.slots.iter().any(|slot| slot.damage == Damage::Doomed);
        let most = |voters: &BTreeSet<NodeId>| {
            let count = voters.iter().map(|id| id.0 as usize - 1);
            let count = count.filter(|other| *other == node || harmed(*other)).count();
            voters.is_empty() || 2 * count < voters.len()
        };
        !exchanged && self.oracle.memberships().iter().all(|all| most(&all.voters) && most(&all.outgoing))
    }

    /// Who was on probation may have healed.
    pub(crate) fn look_at_damage(&mut self) {
        for node in 0..self.slots.len() {
            if self.slots[node].damage == Damage::Healing && self.oracle.has_healed(node) {
                self.slots[node].damage = Damage::None;
                self.oracle.hit(Point::DamageHeals);
                if std::mem::take(&mut self.slots[node].suspect) {
                    self.oracle.hit(Point::SuspectTailHeals);
                }
                self.oracle.set_damaged(node, false);
            }
        }
    }

    pub(crate) fn harm(&mut self, node: usize) {
        let slot = &mut self.slots[node];
        slot.damage = Damage::Latent;
        slot.troubled = true;
        self.oracle.set_damaged(node, true);
    }

    /// Injects a fault of the plan.
    pub(crate) fn inject(&mut self, number: usize) {
        let fault = self.plan.faults[number].1.clone();
        let done = self.try_inject(&fault);
        let counts = if done { &mut self.faults } else { &mut self.idle };
        *counts.entry(fault.kind()).or_default() += 1;
        self.oracle.note(None, Tag::Fault, [number as u64, u64::from(done), 0, 0], || {
            format!("{number} {fault:?}{}", if done { "" } else { " (nothing to do)" })
        });
    }

    fn try_inject(&mut self, fault: &Fault) -> bool {
        match fault {
            Fault::Kill { .. } | Fault::PowerCut { .. } | Fault::PowerCutAll { .. } | Fault::Stop { .. } => {
                self.stop_nodes(fault)
            }
            Fault::DieAtCall { .. }
            | Fault::DieInRecovery { .. }
            | Fault::DieDuring { .. }
            | Fault::AtPoll { .. }
            | Fault::Pause { .. } => self.trouble_processes(fault),
            Fault::Partition { .. }
            | Fault::OneWay { .. }
            | Fault::Deaf { .. }
            | Fault::Lonely { .. }
            | Fault::Break { .. }
            | Fault::TakenForDead { .. }
            | Fault::Stall { .. } => self.trouble_network(fault),
            Fault::Slow { .. } | Fault::Hang { .. } | Fault::Full { .. } | Fault::Fail { .. } => {
                self.trouble_disk(fault)
            }
            Fault::Rot { .. }
            | Fault::Astray { .. }
            | Fault::Misread { .. }
            | Fault::LoseFile { .. }
            | Fault::Wipe { .. }
            | Fault::SetBack { .. } => self.harm_disk(fault),
            Fault::Transfer { to } => self.transfer(*to),
            Fault::Siege { .. } => self.besiege(fault),
            Fault::Snapshot { who } => self.take_snapshot(*who),
            Fault::Halves(halves) => self.set_apart(halves),
            Fault::Change { .. } | Fault::Return | Fault::Reconfigure { .. } => self.operate(fault),
            Fault::Campaign { who } => {
                let reach = self.running(*who).and_then(|node| self.reach(node));
                reach.map(|reach| reach.handle.campaign()).is_some()
            }
        }
    }

    fn stop_nodes(&mut self, fault: &Fault) -> bool {
        match *fault {
            Fault::Kill { who, down } => {
                let Some(node) = self.running(who) else { return false };
                self.kill(node, down);
            }
            Fault::PowerCut { who, down, tear } => {
                let Some(node) = self.running(who) else { return false };
                self.slots[node].dying = (tear, down);
                self.power_off(node);
            }
            Fault::PowerCutAll { down, tear } => {
                let voters = self.oracle.membership().voters;
                let all = voters.len() > 1
                    && voters.iter().all(|id| self.slots.get(id.0 as usize - 1).is_some_and(|slot| slot.up));
                for node in 0..self.slots.len() {
                    self.slots[node].dying = (tear, down);
                    self.power_off(node);
                }
                self.oracle.lock().cover.hit_if(all, Point::WholeClusterPowerCut);
            }
            Fault::Stop { who, down } => {
                let Some(reach) = self.running(who).and_then(|node| self.reach(node)) else { return false };
                let Some(node) = self.running(who) else { return false };
                if self.oracle.leader() == Some(node) {
                    self.oracle.hit(Point::LeaderStopsInOrder);
                }
                self.slots[node].back_after = down;
                // Whoever asks does not die with the node.
                let owner = Owner { node: usize::MAX, life: 0 };
                self.agenda.core().spawn(owner, async move {
                    let _ = reach.handle.shutdown().await;
                });
            }
            _ => return false,
        }
        true
    }

    fn trouble_processes(&mut self, fault: &Fault) -> bool {
        match fault {
            Fault::DieAtCall { who, calls, down, tear } => {
                let Some(node) = self.running(*who) else { return false };
                self.slots[node].dying = (*tear, *down);
                self.slots[node].disk.crash_in(*calls);
            }
            Fault::DieInRecovery { who, calls, tear } => {
                let Some(node) = self.running(*who) else { return false };
                self.slots[node].recovery_deaths.clone_from(calls);
                self.slots[node].dying = (*tear, 10 * MS);
                self.power_off(node);
            }
            Fault::DieDuring { who, moment, calls, down, tear } => {
                let who = match who {
                    Some(who) => match self.running(*who) {
                        Some(node) => Some(node),
                        None => return false,
                    },
                    None => None,
                };
                for node in 0..self.slots.len() {
                    if who.is_none_or(|who| who == node) {
                        self.slots[node].dying = (*tear, *down);
                    }
                }
                *lock(&self.ambush) = Some(Ambush { who, moment: *moment, calls: *calls });
            }
            Fault::Pause { who, for_ } => {
                let Some(node) = self.running(*who) else { return false };
                self.pause(node, *for_);
            }
            Fault::AtPoll { who, end, polls, for_ } => {
                let Some(node) = self.running(*who) else { return false };
                let next = |polls: &u64| AtPoll { polls: *polls, end: *end, for_: *for_ };
                self.slots[node].at_poll = polls.iter().rev().map(next).collect();
            }
            _ => return false,
        }
        true
    }

    /// The process stands still.
    pub(crate) fn pause(&mut self, node: usize, for_: Nanos) {
        if !self.executor.is_paused(node) {
            self.slots[node].paused_since = self.agenda.now();
            self.paused_leader[node] = self
                .oracle
                .view(node)
                .filter(|view| view.role == RoleKind::Leader)
                .map(|view| view.hard.term);
        }
        self.executor.pause(node, true);
        self.agenda.after(for_, What::Mend(Mend::Unpause(node)));
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

    fn trouble_network(&mut self, fault: &Fault) -> bool {
        let all = self.slots.len();
        match *fault {
            Fault::Partition { sides, for_ } => {
                let side = |node: usize| sides >> node & 1;
                let pairs: Vec<(usize, usize)> = (0..all)
                    .flat_map(|a| (0..all).map(move |b| (a, b)))
                    .filter(|(a, b)| side(*a) != side(*b))
                    .collect();
                if let Some(leader) = self.oracle.leader() {
                    let with = (0..all).filter(|node| side(*node) == side(leader)).count();
                    if with <= all / 2 {
                        self.minority_leader = self
                            .oracle
                            .view(leader)
                            .map(|view| (leader, self.slots[leader].life, view.hard.term));
                    }
                }
                self.cut_for(&pairs, for_)
            }
            Fault::OneWay { from, to, for_ } => {
                let (Some(from), Some(to)) = (self.find(from), self.find(to)) else { return false };
                self.cut_for(&[(from, to)], for_)
            }
            Fault::Deaf { who, mute, for_ } => {
                let Some(node) = self.find(who) else { return false };
                let pair = |other| if mute { (node, other) } else { (other, node) };
                let pairs: Vec<(usize, usize)> = (0..all).map(pair).collect();
                self.cut_for(&pairs, for_)
            }
            Fault::Lonely { after, for_, friends, rival } => {
                let term = self.oracle.latest_term();
                self.lonely = Some(Lonely { term, after, for_, friends, rival });
                true
            }
            Fault::Break { a, b } => {
                let (Some(a), Some(b)) = (self.find(a), self.find(b)) else { return false };
                if a == b {
                    return false;
                }
                self.network.break_connection(a, b, PeerEvent::Down);
                true
            }
            Fault::TakenForDead { who, by } => {
                let (Some(who), Some(by)) = (self.running(who), self.running(by)) else { return false };
                if who == by {
                    return false;
                }
                self.network.break_connection(who, by, PeerEvent::Gone);
                true
            }
            Fault::Stall { from, to, lane, for_ } => {
                let (Some(from), Some(to)) = (self.find(from), self.find(to)) else { return false };
                if from == to {
                    return false;
                }
                self.network.stall(from, to, lane, for_);
                true
            }
            _ => false,
        }
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
    fn besiege(&mut self, siege: &Fault) -> bool {
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
        if let Some(reach) = self.reach(node) {
            self.oracle.note(Some(node), Tag::Fault, [node as u64, 1, 0, 0], || "is made to campaign".into());
            reach.handle.campaign();
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

    fn trouble_disk(&mut self, fault: &Fault) -> bool {
        match *fault {
            Fault::Slow { who, takes, for_ } => {
                let Some(node) = self.find(who) else { return false };
                set_pace(&self.slots[node].pace, (takes / 4, takes), 0);
                self.agenda.after(for_, What::Mend(Mend::Fast(node)));
            }
            Fault::Hang { who, for_ } => {
                let Some(node) = self.find(who) else { return false };
                set_pace(&self.slots[node].pace, self.plan.disk, self.agenda.now() + for_);
                self.agenda.after(for_, What::Mend(Mend::Fast(node)));
            }
            Fault::Full { who, for_ } => {
                let Some(node) = self.find(who) else { return false };
                self.slots[node].disk.set_full(true);
                self.slots[node].troubled = true;
                self.full_disks |= 1 << node;
                self.agenda.after(for_, What::Mend(Mend::Space(node)));
            }
            Fault::Fail { who, call, skip, boot: false } => {
                let Some(node) = self.running(who) else { return false };
                self.slots[node].troubled = true;
                self.slots[node].disk.fail(call, skip);
            }
            Fault::Fail { who, call, skip, boot: true } => {
                let Some(node) = self.find(who) else { return false };
                self.slots[node].fails_at_boot = Some((call, skip));
                self.kill(node, 20 * MS);
            }
            _ => return false,
        }
        true
    }

    fn harm_disk(&mut self, fault: &Fault) -> bool {
        match *fault {
            Fault::Rot { who, file, restart } => {
                let Some(node) = self.find(who).filter(|node| self.may_harm(*node)) else { return false };
                if self.slots[node].disk.rot(file).is_none() {
                    return false;
                }
                self.harm(node);
                if file == "seg-" {
                    self.oracle.log_at_risk(node);
                }
                self.kill_soon(node, restart);
            }
            Fault::Astray { who, write, restart } => {
                let Some(node) = self.running(who).filter(|node| self.may_harm(*node)) else { return false };
                if self.slots[node].damage != Damage::None {
                    // A second one may cover what the first has left behind.
                    return false;
                }
                self.slots[node].disk.lead_astray(write);
                self.harm(node);
                self.oracle.log_at_risk(node);
                self.kill_soon(node, restart);
            }
            Fault::Misread { who, skip } => {
                let Some(node) = self.running(who).filter(|node| self.may_harm(*node)) else { return false };
                // Nothing that is stored changes: the node stops, and comes up whole.
                self.harm(node);
                self.slots[node].disk.misread(skip);
            }
            Fault::LoseFile { who, whole } => {
                let Some(node) = self.find(who).filter(|node| self.may_harm(*node)) else { return false };
                self.kill(node, 20 * MS);
                if self.slots[node].disk.lose_file("seg-", whole).is_none() {
                    return false;
                }
                self.harm(node);
                self.oracle.log_at_risk(node);
            }
            Fault::Wipe { who } | Fault::SetBack { who } => {
                let Some(node) = self.find(who) else { return false };
                let empty = matches!(fault, Fault::Wipe { .. });
                return self.exchange(node, empty);
            }
            _ => return false,
        }
        true
    }

    /// The disk is exchanged for an empty one or for an old copy. What is claimed: whoever has met the
    /// node since refuses it. So everybody must have, and nobody else may be damaged.
    fn exchange(&mut self, node: usize, empty: bool) -> bool {
        if !self.may_harm(node) {
            return false;
        }
        let all = self.oracle.memberships();
        let is_member = |other: usize| all.iter().all(|of| of.is_voter(NodeId(other as u64 + 1)));
        let any = |other: &usize| all.iter().any(|of| of.is_member(NodeId(*other as u64 + 1)));
        let others: Vec<usize> = (0..self.slots.len()).filter(|other| *other != node).filter(any).collect();
        // Who is there and no member may be one soon.
        let waits = (0..self.slots.len()).any(|other| !any(&other) && self.slots[other].up);
        let whole = self.slots.iter().all(|slot| slot.damage == Damage::None);
        let slot = &self.slots[node];
        let since = match (&slot.copy, empty) {
            (_, true) => 0,
            (Some((_, life)), false) => *life,
            (None, false) => return false,
        };
        let known = others.iter().all(|other| slot.met[*other] > since);
        if others.len() < 2 || !whole || !known || slot.fresh || waits || !is_member(node) {
            return false;
        }
        self.kill(node, 30 * MS);
        let slot = &mut self.slots[node];
        if empty {
            slot.disk.replace(&super::disk::Image::new());
            slot.fresh = true;
            // Its operator does as on the first day.
            slot.founder = true;
        } else if let Some((image, _)) = slot.copy.take() {
            slot.disk.replace(&image);
        }
        slot.damage = Damage::Doomed;
        self.oracle.set_damaged(node, true);
        self.oracle.log_at_risk(node);
        true
    }

    fn kill_soon(&self, node: usize, restart: bool) {
        if restart {
            let life = self.slots[node].life;
            let timeout = self.plan.election.as_nanos() as u64;
            self.agenda.after(timeout / 2, What::KillNow { node, life });
        }
    }

    fn transfer(&self, to: Option<usize>) -> bool {
        let Some(reach) = self.oracle.leader().and_then(|node| self.reach(node)) else { return false };
        let to = to.map(|node| NodeId(node as u64 + 1));
        self.agenda.core().spawn(Owner { node: usize::MAX, life: 0 }, async move {
            let _ = reach.handle.transfer_leadership(to).await;
        });
        true
    }

    fn take_snapshot(&self, who: Who) -> bool {
        let Some(reach) = self.running(who).and_then(|node| self.reach(node)) else { return false };
        let oracle = std::sync::Arc::clone(&self.oracle);
        self.agenda.core().spawn(Owner { node: usize::MAX, life: 0 }, async move {
            if reach.handle.snapshot().await.is_ok() {
                oracle.hit(Point::SnapshotAsked);
            }
        });
        true
    }

    /// The end of a fault.
    pub(crate) fn mend(&mut self, mend: Mend) {
        match mend {
            Mend::Unpause(node) => {
                if self.executor.is_paused(node)
                    && self.agenda.now() - self.slots[node].paused_since
                        > self.plan.election.as_nanos() as u64
                {
                    self.oracle.hit(Point::Paused);
                }
                self.executor.pause(node, false);
                if let Some(term) = self.paused_leader[node].take() {
                    let later = self.oracle.latest_term();
                    if later > term {
                        self.oracle.hit(Point::PausedLeader);
                    }
                }
            }
            Mend::Uncut(bits) => {
                for from in 0..8 {
                    for to in (0..8).filter(|to| bits >> (from * 8 + to) & 1 == 1) {
                        self.network.cut(from, to, false);
                    }
                }
                self.oracle.hit(Point::PartitionHeals);
                if let Some((node, life, term)) = self.minority_leader.take()
                    && self.slots[node].life == life
                    && let Some(view) = self.oracle.view(node)
                    && (view.role != RoleKind::Leader || view.hard.term > term)
                {
                    self.oracle.hit(Point::MinorityLeader);
                }
            }
            Mend::Fast(node) => set_pace(&self.slots[node].pace, self.plan.disk, 0),
            Mend::Space(node) => {
                self.slots[node].disk.set_full(false);
                self.full_disks &= !(1 << node);
            }
        }
    }
}
