//! Processes that die, stop or stand still.

use raft_core::status::RoleKind;

use super::super::agenda::{Mend, What};
use super::super::coverage::Point;
use super::super::disk::Tear;
use super::super::drive::Ambush;
use super::super::executor::{MS, Nanos, Owner, lock};
use super::super::features::Moment;
use super::super::lives::AtPoll;
use super::super::plan::{PollEnd, Who};
use super::super::world::World;

impl World {
    pub(super) fn kill_process(&mut self, who: Who, down: Nanos) -> bool {
        let Some(node) = self.running(who) else { return false };
        self.kill(node, down);
        true
    }

    pub(super) fn cut_power(&mut self, who: Who, down: Nanos, tear: Tear) -> bool {
        let Some(node) = self.running(who) else { return false };
        self.slots[node].dying = (tear, down);
        self.power_off(node);
        true
    }

    pub(super) fn cut_all_power(&mut self, down: Nanos, tear: Tear) -> bool {
        let voters = self.oracle.membership().voters;
        let all = voters.len() > 1
            && voters.iter().all(|id| self.slots.get(id.0 as usize - 1).is_some_and(|slot| slot.up));
        for node in 0..self.slots.len() {
            self.slots[node].dying = (tear, down);
            self.power_off(node);
        }
        self.oracle.lock().cover.hit_if(all, Point::WholeClusterPowerCut);
        true
    }

    pub(super) fn stop_process(&mut self, who: Who, down: Nanos) -> bool {
        let Some(live) = self.running(who).and_then(|node| self.live(node)) else { return false };
        let Some(node) = self.running(who) else { return false };
        if self.oracle.leader() == Some(node) {
            self.oracle.hit(Point::LeaderStopsInOrder);
        }
        self.slots[node].back_after = down;
        // Whoever asks does not die with the node.
        let owner = Owner { node: usize::MAX, life: 0 };
        self.agenda.core().spawn(owner, async move {
            let _ = live.handle.shutdown().await;
        });
        true
    }

    pub(super) fn die_at_call(&mut self, who: Who, calls: u64, down: Nanos, tear: Tear) -> bool {
        let Some(node) = self.running(who) else { return false };
        self.slots[node].dying = (tear, down);
        self.slots[node].disk.crash_in(calls);
        true
    }

    pub(super) fn die_in_recovery(&mut self, who: Who, calls: &[u64], tear: Tear) -> bool {
        let Some(node) = self.running(who) else { return false };
        self.slots[node].recovery_deaths = calls.to_vec();
        self.slots[node].dying = (tear, 10 * MS);
        self.power_off(node);
        true
    }

    pub(super) fn die_during(
        &mut self,
        who: Option<Who>,
        (moment, calls): (Moment, u64),
        down: Nanos,
        tear: Tear,
    ) -> bool {
        let who = match who {
            Some(who) => match self.running(who) {
                Some(node) => Some(node),
                None => return false,
            },
            None => None,
        };
        for node in 0..self.slots.len() {
            if who.is_none_or(|who| who == node) {
                self.slots[node].dying = (tear, down);
            }
        }
        *lock(&self.ambush) = Some(Ambush { who, moment, calls });
        true
    }

    pub(super) fn pause_process(&mut self, who: Who, for_: Nanos) -> bool {
        let Some(node) = self.running(who) else { return false };
        self.pause(node, for_);
        true
    }

    pub(super) fn end_at_poll(&mut self, who: Who, end: PollEnd, polls: &[u64], for_: Nanos) -> bool {
        let Some(node) = self.running(who) else { return false };
        let next = |polls: &u64| AtPoll { polls: *polls, end, for_ };
        self.slots[node].at_poll = polls.iter().rev().map(next).collect();
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
}
