//! Two memberships in force that cannot reach each other (§6): an operator replaces voters, and once the joint
//! membership is being written its old and its new half are cut apart, the leader may die, and members of both halves
//! are made to campaign. Neither half may decide anything alone.

use raft_core::ids::NodeId;
use raft_core::membership::Membership;

use super::agenda::What;
use super::coverage::Point;
use super::events::Tag;
use super::executor::{MS, Nanos};
use super::features::Wish;
use super::plan::{Fault, Plan, Who};
use super::rng::Rng;
use super::world::World;

/// One second.
const S: Nanos = 1000 * MS;

/// What becomes of the next joint membership.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Halves {
    /// So many voters at most are replaced first. With 0 it is for whatever change comes next.
    pub(crate) replaced: usize,
    /// On which side of the cut those are who vote in both, or in none: bit `n` for node `n`.
    pub(crate) sides: u64,
    /// Whether nothing gets from the old half to the new one, and whether nothing gets back.
    pub(crate) ways: [bool; 2],
    /// The cut comes so long after the joint membership began to be written.
    pub(crate) after: Nanos,
    /// For how long.
    pub(crate) for_: Nanos,
    /// The leader is killed, so long after the cut.
    pub(crate) kill: Option<Nanos>,
    /// When a voter is told to campaign, after the cut; of each half in turn.
    pub(crate) tries: Vec<Nanos>,
}

impl Plan {
    /// Some runs in which members change have this, from a stream of its own.
    pub(super) fn draw_halves(&mut self, seed: u64) {
        let mut rng = Rng::stream(seed, 26);
        if !rng.chance(400) {
            return;
        }
        let timeout = self.election.as_nanos() as u64;
        let interval = rng.skewed(3 * S, 12 * S);
        let mut at = rng.between(S, interval + S);
        while at < self.duration {
            let for_ = rng.skewed(timeout, timeout * 8);
            let many = rng.below(6);
            let mut tries: Vec<Nanos> = (0..many).map(|_| rng.between(MS, for_)).collect();
            tries.sort_unstable();
            let halves = Halves {
                replaced: rng.below(4) as usize,
                sides: rng.next(),
                ways: *rng.pick(&[[true, true], [true, true], [true, false], [false, true]]),
                after: rng.skewed(10_000, 30 * MS),
                for_,
                kill: rng.chance(500).then(|| rng.skewed(10_000, timeout)),
                tries,
            };
            self.faults.push((at, Fault::Halves(halves)));
            at += rng.between(interval / 2, interval * 2);
        }
    }
}

impl World {
    /// An operator replaces voters, and what comes of it is watched for.
    pub(crate) fn set_apart(&mut self, halves: &Halves) -> bool {
        let _before = self.oracle.joint_begun();
        self.halves = Some(halves.clone());
        if halves.replaced == 0 {
            return true;
        }
        let now = self.oracle.membership();
        let all = self.slots.len();
        let is_voter = |node: &usize| now.is_voter(NodeId(*node as u64 + 1));
        let old = (0..all).filter(is_voter);
        let new: Vec<usize> = (0..all).filter(|node| !is_voter(node)).collect();
        let wishes: Vec<Wish> =
            old.zip(new).take(halves.replaced).map(|(old, new)| Wish::Replace(old, new)).collect();
        let wait = self.plan.election.as_nanos() as u64 * 60;
        !wishes.is_empty() && self.change(&wishes, Who::Leader, (false, Some(wait)), None, true)
    }

    /// A joint membership has begun to be written.
    pub(crate) fn watch_for_halves(&mut self) {
        if self.halves.is_none() {
            return;
        }
        let Some(joint) = self.oracle.joint_begun() else { return };
        let Some(halves) = self.halves.take() else { return };
        let side = |node: usize| {
            let id = NodeId(node as u64 + 1);
            match (joint.outgoing.contains(&id), joint.voters.contains(&id)) {
                (true, false) => 0,
                (false, true) => 1,
                _ => halves.sides >> node & 1,
            }
        };
        let sides = (0..self.slots.len()).fold(0, |sides, node| sides | side(node) << node);
        self.agenda.after(halves.after, What::Apart { sides, ways: halves.ways, for_: halves.for_ });
        if let Some((after, node)) = halves.kill.zip(self.oracle.leader()) {
            let life = self.slots[node].life;
            self.agenda.after(halves.after + after, What::KillNow { node, life });
        }
        for (number, after) in halves.tries.iter().enumerate() {
            let half = if number % 2 == 0 { &joint.voters } else { &joint.outgoing };
            let half: Vec<NodeId> = half.iter().copied().collect();
            let node = self.rng.pick(&half).0 as usize - 1;
            self.agenda.after(halves.after + after, What::Rival(node));
        }
    }

    /// Cuts two sides apart, in one direction or in both.
    pub(crate) fn cut_apart(&self, sides: u64, ways: [bool; 2], for_: Nanos) {
        if self.is_calm() {
            return;
        }
        let all = self.slots.len();
        let side = |node: usize| sides >> node & 1;
        let is_cut = |a: usize, b: usize| side(a) != side(b) && ways[side(a) as usize];
        let pairs: Vec<(usize, usize)> =
            (0..all).flat_map(|a| (0..all).map(move |b| (a, b))).filter(|(a, b)| is_cut(*a, *b)).collect();
        if self.oracle.memberships().iter().any(Membership::is_joint) {
            self.oracle.hit(Point::HalvesApart);
        }
        let numbers = [sides, u64::from(ways[0]), u64::from(ways[1]), 0];
        self.oracle.note(None, Tag::Fault, numbers, || format!("halves are apart: {sides:b}"));
        self.cut_for(&pairs, for_);
    }
}
