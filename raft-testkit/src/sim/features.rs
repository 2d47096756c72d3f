//! What a seed uses of what a cluster can do beyond replicating a log: snapshots, changes of members, reads by other
//! ways, sessions. Drawn from streams of their own, so that a seed's other faults stay what they are.

use super::disk::Tear;
use super::executor::{MS, Nanos};
use super::plan::{Fault, Plan, Who};
use super::rng::Rng;

/// One second.
const S: Nanos = 1000 * MS;

/// How snapshots are taken and sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SnapshotPlan {
    /// One in so many entries; 0 for never by their number.
    pub(crate) every_entries: u64,
    /// One in so many bytes; 0 for never by their size.
    pub(crate) every_bytes: u64,
    /// Entries kept for slow followers.
    pub(crate) keep_entries: u64,
    /// The same in bytes.
    pub(crate) keep_bytes: u64,
    /// Bytes in one message.
    pub(crate) chunk_bytes: u64,
    /// Bytes under way to one follower.
    pub(crate) window_bytes: u64,
    /// Bytes that state machines add.
    pub(crate) ballast: usize,
}

impl SnapshotPlan {
    fn draw(rng: &mut Rng) -> Self {
        let by_bytes = rng.chance(300);
        let chunk_bytes = *rng.pick(&[700, 4_000, 16_000, 256 << 10]);
        Self {
            every_entries: if by_bytes { 0 } else { rng.skewed(3, 120) },
            every_bytes: if by_bytes { rng.skewed(500, 40_000) } else { 0 },
            keep_entries: *rng.pick(&[0, 0, 1, 5, 40]),
            keep_bytes: *rng.pick(&[0, 500, 8_000, 64 << 20]),
            chunk_bytes,
            window_bytes: chunk_bytes * rng.between(1, 6),
            // Some take more than one chunk of the file, and some many messages.
            ballast: match rng.below(10) {
                0..=1 => rng.skewed(1_000, 60_000) as usize,
                2..=3 => rng.between(66_000, 200_000) as usize,
                _ => 0,
            },
        }
    }
}

/// A moment in the life of a snapshot, at which a machine may die.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Moment {
    /// A piece is written to the store.
    Piece,
    /// The last of it is written, synced and given its name.
    Finish,
    /// A piece is read, to be sent or to be installed.
    Read,
    /// The journal drops what a snapshot covers.
    Purge,
    /// The journal begins anew after a snapshot.
    Reset,
}

const MOMENTS: [Moment; 5] = [Moment::Piece, Moment::Finish, Moment::Read, Moment::Purge, Moment::Reset];

/// How members change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MemberPlan {
    /// Nodes that are no members at first.
    pub(crate) spares: usize,
    /// A new voter may be that many entries behind.
    pub(crate) promote_lag_entries: u64,
}

/// How clients read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ReadPlan {
    /// Reads that any node may answer, in a thousand.
    pub(crate) anywhere_per_mille: u32,
    /// Leases: how much slower one clock may be than another, in millionths. Never less than it is.
    pub(crate) lease_drift_ppm: Option<u32>,
}

/// How the stored log is read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ScrubPlan {
    /// From the end of a pass to the next.
    pub(crate) period: Nanos,
    /// How fast.
    pub(crate) bytes_per_second: u64,
}

/// How sessions are used, and the bounds of their table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SessionPlan {
    /// Clients that use one, in a thousand.
    pub(crate) clients_per_mille: u32,
    /// How long a session lives without being used.
    pub(crate) timeout: Nanos,
    /// Open sessions.
    pub(crate) sessions: u32,
    /// Commands of one that are not acknowledged.
    pub(crate) window: u32,
    /// Bytes of answers that are kept.
    pub(crate) answer_bytes: u64,
}

/// See the [module](self).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Features {
    /// Snapshots are taken.
    pub(crate) snapshots: Option<SnapshotPlan>,
    /// Members change.
    pub(crate) members: Option<MemberPlan>,
    /// How clients read.
    pub(crate) reads: ReadPlan,
    /// Clients have sessions.
    pub(crate) sessions: Option<SessionPlan>,
    /// How much each node wants to lead; those beyond want as much as any.
    pub(crate) priorities: Vec<i8>,
    /// Settings change while nodes run.
    pub(crate) reconfigures: bool,
    /// The stored log is read again in the background.
    pub(crate) scrub: Option<ScrubPlan>,
}

impl Features {
    /// What this seed uses in a cluster of so many voters, whose clocks run at these speeds.
    pub(super) fn draw(seed: u64, nodes: usize, clocks: &[u64]) -> Self {
        let mut rng = Rng::stream(seed, 20);
        let snapshots = rng.chance(550).then(|| SnapshotPlan::draw(&mut rng));
        let spares = 8_usize.saturating_sub(nodes).min(rng.between(1, 3) as usize);
        let members = rng
            .chance(500)
            .then(|| MemberPlan { spares, promote_lag_entries: *rng.pick(&[0, 5, 1000, 1000]) });
        let anywhere_per_mille = if rng.chance(400) { rng.between(100, 900) as u32 } else { 0 };
        let lease_drift_ppm = rng.chance(350).then(|| slower_ppm(clocks));
        let sessions = rng.chance(450).then(|| SessionPlan {
            clients_per_mille: rng.between(200, 1000) as u32,
            timeout: rng.skewed(S, 30 * S),
            sessions: *rng.pick(&[2, 100, 10_000]),
            window: *rng.pick(&[1, 3, 1024]),
            answer_bytes: *rng.pick(&[40, 500, 1 << 20]),
        });
        let priorities = match rng.chance(300) {
            true => (0..nodes).map(|_| *rng.pick(&[-1, 0, 0, 1, 2])).collect(),
            false => Vec::new(),
        };
        let reconfigures = rng.chance(200);
        let reads = ReadPlan { anywhere_per_mille, lease_drift_ppm };
        let mut rng = Rng::stream(seed, 24);
        let scrub = rng.chance(450).then(|| ScrubPlan {
            period: rng.skewed(50 * MS, 5 * S),
            bytes_per_second: *rng.pick(&[20_000, 500_000, 4 << 20]),
        });
        Self { snapshots, members, reads, sessions, priorities, reconfigures, scrub }
    }
}

/// By how much the slowest of these clocks is behind the fastest, in millionths of what that shows, rounded up.
pub(super) fn slower_ppm(clocks: &[u64]) -> u32 {
    let (Some(least), Some(most)) = (clocks.iter().min(), clocks.iter().max()) else { return 1 };
    let slower = ((most - least) * 1_000_000).div_ceil(*most) + 1;
    u32::try_from(slower).unwrap_or(u32::MAX)
}

/// Something that an operator wants of the membership. Nodes are counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Wish {
    /// A new member learns.
    Add(usize),
    /// It votes.
    Promote(usize),
    /// It votes no more.
    Demote(usize),
    /// It goes.
    Remove(usize),
    /// One goes and another comes.
    Replace(usize, usize),
    /// It has another address.
    Move(usize),
}

impl Plan {
    /// The faults and the operators that go with what is used.
    pub(super) fn draw_operations(&mut self, seed: u64) {
        let mut rng = Rng::stream(seed, 21);
        if self.features.snapshots.is_some() {
            self.draw_snapshot_faults(&mut rng);
        }
        if let Some(members) = self.features.members {
            let drift = self.clocks.iter().map(|ppm| ppm.abs_diff(1_000_000)).max().unwrap_or(0);
            if self.features.reads.lease_drift_ppm.is_none() {
                self.clocks.extend((0..members.spares).map(|_| 1_000_000 - drift + rng.below(2 * drift + 1)));
            } else {
                self.clocks.extend((0..members.spares).map(|_| self.clocks[0]).collect::<Vec<_>>());
            }
            self.draw_changes(&mut rng);
            self.draw_haste(seed);
            self.draw_halves(seed);
        }
        if self.features.reconfigures {
            self.draw_settings(&mut rng);
        }
        if self.features.scrub.is_some() {
            self.draw_rot(&mut Rng::stream(seed, 25));
        }
        self.faults.sort_by_key(|(at, _)| *at);
    }

    /// Bits that flip at rest, under a node that goes on.
    fn draw_rot(&mut self, rng: &mut Rng) {
        if !rng.chance(600) {
            return;
        }
        let mut at = rng.between(S, 10 * S);
        while at < self.duration {
            self.faults.push((at, Fault::Rot { who: self.who(rng), file: "seg-", restart: false }));
            at += rng.between(2 * S, 20 * S);
        }
    }

    fn draw_snapshot_faults(&mut self, rng: &mut Rng) {
        if !rng.chance(600) {
            return;
        }
        let interval = rng.skewed(S, 15 * S);
        let mut at = rng.between(S / 2, interval + S);
        while at < self.duration {
            let fault = if rng.chance(300) {
                Fault::Snapshot { who: self.who(rng) }
            } else if rng.chance(150) {
                Fault::Rot { who: self.who(rng), file: "snap/snap-", restart: rng.chance(600) }
            } else {
                let who = rng.chance(600).then(|| self.who(rng));
                let tear = *rng.pick(&[Tear::Lose, Tear::Keep, Tear::Sectors, Tear::Prefix]);
                let down = rng.skewed(MS, 8 * S);
                Fault::DieDuring { who, moment: *rng.pick(&MOMENTS), calls: rng.below(6), down, tear }
            };
            self.faults.push((at, fault));
            at += rng.between(interval / 2, interval * 2);
        }
    }

    /// How many nodes there may ever be.
    #[must_use]
    pub(crate) fn slots(&self) -> usize {
        self.nodes + self.features.members.map_or(0, |members| members.spares)
    }

    fn draw_changes(&mut self, rng: &mut Rng) {
        let interval = rng.skewed(S, 12 * S);
        let timeout = self.election.as_nanos() as u64;
        let mut at = rng.between(S, interval + S);
        while at < self.duration {
            let fault = if rng.chance(100) {
                Fault::Return
            } else {
                let many = if rng.chance(250) { rng.between(2, 4) } else { 1 };
                let wishes = (0..many).map(|_| self.draw_wish(rng)).collect();
                let wait = if rng.chance(600) { Some(rng.skewed(timeout, timeout * 60)) } else { None };
                // What an operator asks for in the middle of another change, and through whomever.
                let kill = rng.chance(350).then(|| rng.skewed(20_000, timeout));
                let through = if rng.chance(850) { Who::Leader } else { self.any(rng) };
                Fault::Change { wishes, through, force: rng.chance(150), wait, kill, fresh: rng.chance(700) }
            };
            self.faults.push((at, fault));
            at += rng.between(interval / 4, interval * 2);
        }
    }

    /// Some operators want the next thing before they can know what became of the last: within the time that a commit
    /// takes. From a stream of its own.
    fn draw_haste(&mut self, seed: u64) {
        let mut rng = Rng::stream(seed, 27);
        if !rng.chance(200) {
            return;
        }
        let changes = self.faults.iter().filter(|(_, fault)| matches!(fault, Fault::Change { .. }));
        let (begun, timeout) =
            (changes.map(|(at, _)| *at).collect::<Vec<_>>(), self.election.as_nanos() as u64);
        for mut at in begun {
            for _ in 0..rng.between(1, 4) {
                at += rng.skewed(10_000, timeout / 4);
                // What needs nobody to catch up is appended at once, if nothing else is under way.
                let wish = match rng.chance(600) {
                    true => Wish::Move(rng.below(self.slots() as u64) as usize),
                    false => self.draw_wish(&mut rng),
                };
                let fault = Fault::Change {
                    wishes: vec![wish],
                    through: Who::Leader,
                    force: false,
                    wait: None,
                    kill: None,
                    fresh: rng.chance(500),
                };
                self.faults.push((at, fault));
            }
        }
    }

    fn draw_wish(&self, rng: &mut Rng) -> Wish {
        let mut any = || rng.below(self.slots() as u64) as usize;
        let (one, other) = (any(), any());
        match rng.below(12) {
            0..=2 => Wish::Add(one),
            3..=5 => Wish::Promote(one),
            6 => Wish::Demote(one),
            7 | 8 => Wish::Remove(one),
            9 | 10 => Wish::Replace(one, other),
            _ => Wish::Move(one),
        }
    }

    fn draw_settings(&mut self, rng: &mut Rng) {
        let mut at = rng.between(S, 10 * S);
        let mut of_tails = Rng::stream(self.seed, 34);
        while at < self.duration {
            let fault = Fault::Reconfigure {
                who: self.any(rng),
                priority: rng.chance(400).then(|| *rng.pick(&[-1, 0, 1, 3])),
                window: rng.chance(400).then(|| rng.between(1, 16) as usize),
                tail_bytes: rng.chance(400).then(|| rng.skewed(1, 100_000)),
                tail_keep_bytes: of_tails.chance(400).then(|| of_tails.skewed(1, 100_000)),
                append_bytes: rng.chance(400).then(|| rng.skewed(1, 100_000)),
                uncommitted_bytes: rng.chance(300).then(|| rng.skewed(1_000, 1 << 20)),
                slower: rng.chance(200),
            };
            self.faults.push((at, fault));
            at += rng.between(2 * S, 15 * S);
        }
    }

    /// Whom it meets.
    pub(super) fn who(&self, rng: &mut Rng) -> Who {
        if rng.chance(400) { Who::Leader } else { Who::Node(rng.below(self.nodes as u64) as usize) }
    }

    /// The same, also of those who join later.
    fn any(&self, rng: &mut Rng) -> Who {
        if rng.chance(400) { Who::Leader } else { Who::Node(rng.below(self.slots() as u64) as usize) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_declares_at_least_what_clocks_do() {
        for clocks in
            [vec![1_000_000, 1_000_000], vec![900_000, 1_100_000, 1_000_000], vec![999_999, 1_000_001]]
        {
            let (least, most) = (*clocks.iter().min().unwrap(), *clocks.iter().max().unwrap());
            let declared = u64::from(slower_ppm(&clocks));
            // While the fastest counts a second, the slowest counts no less than what is declared.
            assert!(least * 1_000_000 >= most * (1_000_000 - declared), "{clocks:?} {declared}");
            assert!(declared >= 1);
        }
    }
}
