//! Disks that are slow, full or broken, and what is stored on them that changes or goes.

use raft_core::ids::NodeId;

use super::super::agenda::{Mend, What};
use super::super::disk::{Call, Image, Stray};
use super::super::executor::{MS, Nanos};
use super::super::lives::{Damage, set_pace};
use super::super::plan::Who;
use super::super::world::World;

impl World {
    pub(super) fn slow_disk(&self, who: Who, takes: Nanos, for_: Nanos) -> bool {
        let Some(node) = self.find(who) else { return false };
        set_pace(&self.slots[node].pace, (takes / 4, takes), 0);
        self.agenda.after(for_, What::Mend(Mend::Fast(node)));
        true
    }

    pub(super) fn hang_disk(&self, who: Who, for_: Nanos) -> bool {
        let Some(node) = self.find(who) else { return false };
        set_pace(&self.slots[node].pace, self.plan.disk, self.agenda.now() + for_);
        self.agenda.after(for_, What::Mend(Mend::Fast(node)));
        true
    }

    pub(super) fn fill_disk(&mut self, who: Who, for_: Nanos) -> bool {
        let Some(node) = self.find(who) else { return false };
        self.slots[node].disk.set_full(true);
        self.slots[node].troubled = true;
        self.full_disks |= 1 << node;
        self.agenda.after(for_, What::Mend(Mend::Space(node)));
        true
    }

    pub(super) fn fail_disk(&mut self, who: Who, call: Call, skip: u64) -> bool {
        let Some(node) = self.running(who) else { return false };
        self.slots[node].troubled = true;
        self.slots[node].disk.fail(call, skip);
        true
    }

    pub(super) fn fail_disk_at_boot(&mut self, who: Who, call: Call, skip: u64) -> bool {
        let Some(node) = self.find(who) else { return false };
        self.slots[node].fails_at_boot = Some((call, skip));
        self.kill(node, 20 * MS);
        true
    }

    pub(super) fn rot(&mut self, who: Who, file: &str, restart: bool) -> bool {
        let Some(node) = self.find(who).filter(|node| self.may_harm(*node)) else { return false };
        if self.slots[node].disk.rot(file).is_none() {
            return false;
        }
        self.harm(node);
        if file == "seg-" {
            self.oracle.log_at_risk(node);
        }
        self.kill_soon(node, restart);
        true
    }

    pub(super) fn lead_astray(&mut self, who: Who, write: Stray, restart: bool) -> bool {
        let Some(node) = self.running(who).filter(|node| self.may_harm(*node)) else { return false };
        if self.slots[node].damage != Damage::None {
            // A second one may cover what the first has left behind.
            return false;
        }
        self.slots[node].disk.lead_astray(write);
        self.harm(node);
        self.oracle.log_at_risk(node);
        self.kill_soon(node, restart);
        true
    }

    pub(super) fn misread(&mut self, who: Who, skip: u64) -> bool {
        let Some(node) = self.running(who).filter(|node| self.may_harm(*node)) else { return false };
        // Nothing that is stored changes: the node stops, and comes up whole.
        self.harm(node);
        self.slots[node].disk.misread(skip);
        true
    }

    pub(super) fn lose_file(&mut self, who: Who, whole: bool) -> bool {
        let Some(node) = self.find(who).filter(|node| self.may_harm(*node)) else { return false };
        self.kill(node, 20 * MS);
        if self.slots[node].disk.lose_file("seg-", whole).is_none() {
            return false;
        }
        self.harm(node);
        self.oracle.log_at_risk(node);
        true
    }

    /// The disk is exchanged for an empty one or for an old copy. What is claimed: whoever has met the
    /// node since refuses it. So everybody must have, and nobody else may be damaged.
    pub(super) fn exchange_disk(&mut self, who: Who, empty: bool) -> bool {
        let Some(node) = self.find(who).filter(|node| self.may_harm(*node)) else { return false };
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
            slot.disk.replace(&Image::new());
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
}
