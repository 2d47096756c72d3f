//! Runs that are made for one thing alone: what needs a few faults that follow each other closely, and nothing else in
//! between, is met by chance once in thousands. Each has a stream of its own.

use raft_core::message::Lane;

use super::super::executor::{MS, Nanos};
use super::super::features::slower_ppm;
use super::super::rng::Rng;
use super::{Fault, Plan, S, Who};

impl Plan {
    /// A few runs are made for one thing alone: leader after leader that is cut off with what it has written,
    /// which is how logs come to differ most, with one entry in an append; and for answers that arrive two
    /// leaders later.
    pub(super) fn narrow(&mut self, seed: u64) -> bool {
        let mut rng = Rng::stream(seed, 4);
        if self.nodes < 3 || !rng.chance(100) {
            return false;
        }
        let timeout = self.election.as_nanos() as u64;
        (self.append_bytes, self.window) = (1, *rng.pick(&[1, 1, 8]));
        let late = rng.chance(500);
        // Two nodes hand leadership to each other: what was said in one of its terms meets a leader in another.
        let swings = late && rng.chance(500);
        if late {
            self.net.overtake_ppm = rng.between(10_000, 200_000) as u32;
            self.net.overtake_most = rng.between(timeout, timeout * 20);
        }
        // Much is asked, also of those who led before.
        self.load.clients = rng.between(4, 8);
        self.load.think = 2 * self.duration * self.load.clients / rng.between(1000, 2000);
        self.load.reads_per_mille = rng.between(300, 700) as u32;
        self.faults.clear();
        let mut at = S;
        while at < self.duration {
            let fault = match rng.below(10) {
                _ if swings => Fault::Transfer { to: Some(self.faults.len() % 2) },
                0 => Fault::Kill { who: Who::Leader, down: rng.skewed(MS, timeout * 4) },
                1 if late => Fault::Transfer { to: None },
                2..=4 => Fault::Campaign { who: self.who(&mut rng) },
                _ => self.lonely(&mut rng),
            };
            self.faults.push((at, fault));
            at += if swings {
                rng.between(timeout / 4, timeout)
            } else {
                rng.between(timeout / 4, timeout * 3)
            };
        }
        true
    }

    /// A few runs with leases are made for them alone: clocks that go as differently as is declared, answers that
    /// come late, reads through whomever, and leaders that are cut off again and again while others are made to
    /// campaign about when the promises end.
    pub(super) fn besiege(&mut self, seed: u64) -> bool {
        let mut rng = Rng::stream(seed, 22);
        if self.features.reads.lease_drift_ppm.is_none() || self.nodes < 2 || !rng.chance(300) {
            return false;
        }
        let timeout = self.election.as_nanos() as u64;
        let drift = *rng.pick(&[0, 20_000, 100_000]);
        self.clocks = (0..self.nodes).map(|_| 1_000_000 - drift + rng.below(2 * drift + 1)).collect();
        self.features.reads.lease_drift_ppm = Some(slower_ppm(&self.clocks));
        if rng.chance(600) {
            self.net.spike_ppm = rng.between(20_000, 300_000) as u32;
            self.net.spike_most = rng.between(timeout / 4, timeout * 2);
        }
        self.load.clients = rng.between(2, 6);
        self.load.think = 2 * self.duration * self.load.clients / rng.between(600, 1200);
        (self.load.reads_per_mille, self.load.anywhere_per_mille) = (600, 600);
        self.faults.clear();
        let mut at = S;
        while at < self.duration {
            let many = rng.between(2, 12);
            let mut tries: Vec<Nanos> =
                (0..many).map(|_| rng.between(timeout / 2, timeout * 3 / 2)).collect();
            tries.sort_unstable();
            let fault = Fault::Siege {
                hand_over: rng.chance(250).then(|| rng.skewed(MS / 10, timeout)),
                for_: timeout * 2,
                restart: rng.chance(300).then(|| rng.skewed(MS / 10, timeout / 2)),
                tries: if rng.chance(800) { tries } else { Vec::new() },
                dead: None,
            };
            self.faults.push((at, fault));
            at += rng.between(timeout * 3, timeout * 8);
        }
        true
    }

    /// Half of the runs that are made for leases try something else as well, or instead: settings that are shorter after
    /// a restart than those under which something was promised; others who take the leader for dead while it is not; or
    /// a target that is told to take over when its leader has just given up waiting.
    pub(super) fn perturb(&mut self, seed: u64) {
        let mut rng = Rng::stream(seed, 28);
        if !rng.chance(500) {
            return;
        }
        match rng.below(3) {
            0 => self.shorten(&mut rng),
            1 => self.believe_dead(&mut rng),
            _ => self.order_late(&mut rng),
        }
    }

    /// All have longer timeouts before each siege. Those who are killed in it come up with their old ones.
    fn shorten(&mut self, rng: &mut Rng) {
        let timeout = self.election.as_nanos() as u64;
        for (at, fault) in std::mem::take(&mut self.faults) {
            let Fault::Siege { hand_over, for_, .. } = fault else { continue };
            let before = self.heartbeat.as_nanos() as u64 * rng.between(2, 5);
            for who in (0..self.nodes).map(Who::Node) {
                self.faults.push((at.saturating_sub(before), Fault::slower(who)));
            }
            // Once what the short settings promise is over, and before what was promised is.
            let mut tries: Vec<Nanos> =
                (0..rng.between(2, 8)).map(|_| rng.between(timeout, timeout * 3 / 2)).collect();
            tries.sort_unstable();
            let restart = Some(rng.skewed(MS / 10, timeout / 3));
            self.faults.push((at, Fault::Siege { hand_over, for_, restart, tries, dead: None }));
        }
        self.faults.sort_by_key(|(at, _)| *at);
    }

    /// In each siege the others are told that the leader's process is gone.
    fn believe_dead(&mut self, rng: &mut Rng) {
        let timeout = self.election.as_nanos() as u64;
        for (_, fault) in &mut self.faults {
            if let Fault::Siege { dead, .. } = fault {
                *dead = Some(rng.skewed(MS / 10, timeout / 2));
            }
        }
    }

    /// A target lacks something until just before the leader gives up, and gets its order just after that; meanwhile the
    /// others are not asked for anything that they could promise anew.
    fn order_late(&mut self, rng: &mut Rng) {
        let timeout = self.election.as_nanos() as u64;
        self.load.reads_per_mille = 200;
        self.faults.clear();
        let mut at = S;
        while at < self.duration {
            let target = rng.below(self.nodes as u64) as usize;
            let before = rng.between(timeout / 10, timeout / 2);
            let quiet = rng.between(timeout / 5, timeout * 4 / 5);
            let lag = rng.between(quiet, timeout * 19 / 20);
            let late = timeout + rng.skewed(MS / 10, quiet);
            let stall = |to, lane, for_| Fault::Stall { from: Who::Leader, to: Who::Node(to), lane, for_ };
            self.faults.push((at, stall(target, Lane::Bulk, before + lag)));
            let begins = at + before;
            self.faults.push((begins, Fault::Transfer { to: Some(target) }));
            self.faults.push((begins, stall(target, Lane::Control, late)));
            for other in (0..self.nodes).filter(|other| *other != target) {
                self.faults.push((begins + quiet, stall(other, Lane::Control, timeout)));
            }
            at += rng.between(timeout * 4, timeout * 8);
        }
    }

    /// A few runs are made for a follower that is sent a snapshot while the entries that it lacks are still on their way:
    /// what it gets then ends beyond the snapshot, and it does not know yet that any of it is committed.
    pub(super) fn leave_behind(&mut self, seed: u64) -> bool {
        let mut rng = Rng::stream(seed, 30);
        let Some(snapshots) = self.features.snapshots.as_mut() else { return false };
        if self.nodes < 3 || !rng.chance(120) {
            return false;
        }
        (snapshots.every_entries, snapshots.every_bytes) = (rng.between(3, 5), 0);
        (snapshots.keep_entries, snapshots.keep_bytes, snapshots.ballast) = (0, 0, 0);
        let timeout = self.election.as_nanos() as u64;
        self.window = rng.between(5, 7) as usize;
        self.uncommitted_bytes = 64 << 20;
        (self.load.clients, self.load.think) = (8, rng.between(timeout, timeout * 2));
        (self.load.reads_per_mille, self.load.anywhere_per_mille) = (100, 0);
        self.faults.clear();
        let mut at = S;
        while at < self.duration {
            let behind = rng.below(self.nodes as u64) as usize;
            // So long nothing is committed, and then the one that is left behind is sent a snapshot.
            let (nothing, all) =
                (rng.between(timeout / 2, timeout * 19 / 20), rng.between(timeout * 3 / 2, timeout * 4));
            for to in 0..self.nodes {
                let for_ = if to == behind { all } else { nothing };
                let stall = Fault::Stall { from: Who::Leader, to: Who::Node(to), lane: Lane::Bulk, for_ };
                self.faults.push((at, stall));
            }
            at += all + rng.between(timeout * 2, timeout * 8);
        }
        true
    }

    /// A few runs are made for a node that is to be preferred, and lags when its leader first may give way to it.
    pub(super) fn prefer_who_lags(&mut self, seed: u64) -> bool {
        let mut rng = Rng::stream(seed, 32);
        if self.nodes < 3 || !rng.chance(60) {
            return false;
        }
        let (all, timeout) = (self.nodes as u64, self.election.as_nanos() as u64);
        let preferred = rng.below(all);
        self.features.priorities = (0..all).map(|node| if node == preferred { 2 } else { 0 }).collect();
        self.uncommitted_bytes = 64 << 20;
        (self.load.clients, self.load.think) = (4, rng.between(timeout / 2, timeout));
        (self.load.reads_per_mille, self.load.anywhere_per_mille) = (200, 0);
        self.faults.clear();
        let mut at = S;
        while at < self.duration {
            let other = (preferred + 1 + rng.below(all - 1)) % all;
            self.faults.push((at, Fault::Transfer { to: Some(other as usize) }));
            let to = Who::Node(preferred as usize);
            let for_ = rng.between(timeout * 2, timeout * 5);
            let stall = Fault::Stall { from: Who::Leader, to, lane: Lane::Bulk, for_ };
            self.faults.push((at + rng.between(timeout * 7, timeout * 19 / 2), stall));
            at += rng.between(timeout * 14, timeout * 20);
        }
        self.faults.retain(|(at, _)| *at < self.duration);
        true
    }

    /// In some runs a connection breaks now and then, and the next attempt is refused although the process is there: what
    /// is in between on the way may do that. It is a hint, and no more (T5).
    pub(super) fn draw_rumours(&mut self, seed: u64) {
        let mut rng = Rng::stream(seed, 29);
        if !rng.chance(100) {
            return;
        }
        let interval = rng.skewed(300 * MS, 8 * S);
        let mut at = S + rng.below(interval);
        while at < self.duration {
            let fault = Fault::TakenForDead { who: self.who(&mut rng), by: self.who(&mut rng) };
            self.faults.push((at, fault));
            at += rng.between(interval / 4, interval * 2);
        }
        self.faults.sort_by_key(|(at, _)| *at);
    }
}
