//! How faults come and go, and the atlas: what was acknowledged stays intact on a quorum, for beyond that
//! nothing can be asked of anybody.

mod disks;
mod network;
mod processes;

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use raft_core::ids::NodeId;
use raft_core::status::RoleKind;

pub(crate) use self::network::Lonely;
use super::agenda::Mend;
use super::coverage::Point;
use super::events::Tag;
use super::executor::Owner;
use super::lives::{Damage, set_pace};
use super::plan::{Fault, Who};
use super::world::World;

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

    /// Makes it happen; whether there was anything to do.
    fn try_inject(&mut self, fault: &Fault) -> bool {
        match *fault {
            Fault::Kill { who, down } => self.kill_process(who, down),
            Fault::PowerCut { who, down, tear } => self.cut_power(who, down, tear),
            Fault::PowerCutAll { down, tear } => self.cut_all_power(down, tear),
            Fault::Stop { who, down } => self.stop_process(who, down),
            Fault::DieAtCall { who, calls, down, tear } => self.die_at_call(who, calls, down, tear),
            Fault::DieInRecovery { who, ref calls, tear } => self.die_in_recovery(who, calls, tear),
            Fault::DieDuring { who, moment, calls, down, tear } => {
                self.die_during(who, (moment, calls), down, tear)
            }
            Fault::AtPoll { who, end, ref polls, for_ } => self.end_at_poll(who, end, polls, for_),
            Fault::Pause { who, for_ } => self.pause_process(who, for_),
            Fault::Partition { sides, for_ } => self.part(sides, for_),
            Fault::OneWay { from, to, for_ } => self.cut_one_way(from, to, for_),
            Fault::Deaf { who, mute, for_ } => self.deafen(who, mute, for_),
            Fault::Lonely { after, for_, friends, rival } => {
                let term = self.oracle.latest_term();
                self.lonely = Some(Lonely { term, after, for_, friends, rival });
                true
            }
            Fault::Break { a, b } => self.break_connection(a, b),
            Fault::TakenForDead { who, by } => self.take_for_dead_by(who, by),
            Fault::Stall { from, to, lane, for_ } => self.stall(from, to, lane, for_),
            Fault::Siege { .. } => self.besiege(fault),
            Fault::Slow { who, takes, for_ } => self.slow_disk(who, takes, for_),
            Fault::Hang { who, for_ } => self.hang_disk(who, for_),
            Fault::Full { who, for_ } => self.fill_disk(who, for_),
            Fault::Fail { who, call, skip, boot: false } => self.fail_disk(who, call, skip),
            Fault::Fail { who, call, skip, boot: true } => self.fail_disk_at_boot(who, call, skip),
            Fault::Rot { who, file, restart } => self.rot(who, file, restart),
            Fault::Astray { who, write, restart } => self.lead_astray(who, write, restart),
            Fault::Misread { who, skip } => self.misread(who, skip),
            Fault::LoseFile { who, whole } => self.lose_file(who, whole),
            Fault::Wipe { who } => self.exchange_disk(who, true),
            Fault::SetBack { who } => self.exchange_disk(who, false),
            Fault::Transfer { to } => self.transfer(to),
            Fault::Snapshot { who } => self.take_snapshot(who),
            Fault::Halves(ref halves) => self.set_apart(halves),
            Fault::Change { ref wishes, through, force, wait, kill, fresh } => {
                self.change(wishes, through, (force, wait), kill, fresh)
            }
            Fault::Return => self.bring_back(),
            Fault::Reconfigure { .. } => self.reconfigure(fault),
            Fault::Campaign { who } => {
                let live = self.running(who).and_then(|node| self.live(node));
                live.map(|live| live.handle.campaign()).is_some()
            }
        }
    }

    fn transfer(&self, to: Option<usize>) -> bool {
        let Some(live) = self.oracle.leader().and_then(|node| self.live(node)) else { return false };
        let to = to.map(|node| NodeId(node as u64 + 1));
        self.agenda.core().spawn(Owner { node: usize::MAX, life: 0 }, async move {
            let _ = live.handle.transfer_leadership(to).await;
        });
        true
    }

    fn take_snapshot(&self, who: Who) -> bool {
        let Some(live) = self.running(who).and_then(|node| self.live(node)) else { return false };
        let oracle = std::sync::Arc::clone(&self.oracle);
        self.agenda.core().spawn(Owner { node: usize::MAX, life: 0 }, async move {
            if live.handle.snapshot().await.is_ok() {
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
