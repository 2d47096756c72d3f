//! What is done to a cluster, and when, from one number. Whom it meets is said by rank, because nobody knows
//! beforehand who will lead: rank 0 is the leader at that moment, the others follow in an order that the
//! step decides.

use crate::util::random::Random;

/// A node by its rank.
pub(super) type Rank = usize;

/// One thing that is done, and undone when its step ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// SIGKILL; started again.
    Kill(Vec<Rank>),
    /// SIGSTOP; SIGCONT.
    Freeze(Vec<Rank>),
    /// The system ends a file a little behind what is written now: the write that gets there is cut, and the
    /// process dies of it (SIGXFSZ); started again.
    Tear(Vec<Rank>),
    /// SIGTERM, which hands leadership over first; started again.
    Restart(Rank),
    /// Nothing goes from the first to the second of each pair.
    Cut(Vec<(Rank, Rank)>),
    /// What goes from the first to the second takes longer, in milliseconds.
    Slow(Vec<(Rank, Rank)>, u64),
    /// The leader hands over to this one. Nothing to undo.
    Transfer(Rank),
    /// A voter becomes a learner; and a voter again.
    Demote(Rank),
    /// A member leaves; it comes back empty, under the same name.
    Remove(Rank),
    /// SIGKILL, and all its data is gone; it is removed and comes back empty.
    Wipe(Rank),
    /// A snapshot is taken there now. Nothing to undo.
    Snapshot(Rank),
    /// A backup is taken from whoever leads, and checked. Nothing to undo.
    Backup,
}

/// Faults at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// What it is for people.
    pub(super) name: &'static str,
    /// The cluster is left alone for so long before it.
    pub(super) wait_ms: u64,
    /// And harmed for so long.
    pub(super) hold_ms: u64,
    pub(super) faults: Vec<Fault>,
    /// Connections that were cut break when they are healed; otherwise what was held back arrives late.
    pub(super) breaks: bool,
    /// Decides the order of the nodes that do not lead.
    pub(super) salt: u64,
}

/// What the network and the system can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Able {
    pub(super) cut: bool,
    pub(super) slow: bool,
    pub(super) tear: bool,
}

/// Steps without an end. All kinds come in turn, in an order that is drawn anew each time.
pub(super) struct Plan {
    random: Random,
    nodes: usize,
    able: Able,
    /// Kinds that have not come in this turn.
    deck: Vec<Kind>,
    /// Steps that belong to one kind and have not come.
    ready: Vec<Step>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    KillLeader,
    KillFollower,
    KillMinority,
    KillMajority,
    KillAll,
    KillTwice,
    FreezeLeader,
    FreezeMinority,
    FreezeMajority,
    TearLeader,
    TearMinority,
    RestartLeader,
    RestartFollower,
    Transfer,
    TransferAndKill,
    IsolateLeader,
    IsolateFollower,
    DeafLeader,
    MuteLeader,
    DeafFollower,
    MuteFollower,
    Halves,
    Bridge,
    AllApart,
    Flapping,
    CutAndKill,
    CutAndFreeze,
    SlowLeader,
    SlowAll,
    DemoteFollower,
    DemoteLeader,
    DemoteAndKill,
    RemoveFollower,
    RemoveLeader,
    WipeFollower,
    WipeLeader,
    SnapshotAndKill,
    Backup,
}

const KINDS: [Kind; 38] = [
    Kind::KillLeader,
    Kind::KillFollower,
    Kind::KillMinority,
    Kind::KillMajority,
    Kind::KillAll,
    Kind::KillTwice,
    Kind::FreezeLeader,
    Kind::FreezeMinority,
    Kind::FreezeMajority,
    Kind::TearLeader,
    Kind::TearMinority,
    Kind::RestartLeader,
    Kind::RestartFollower,
    Kind::Transfer,
    Kind::TransferAndKill,
    Kind::IsolateLeader,
    Kind::IsolateFollower,
    Kind::DeafLeader,
    Kind::MuteLeader,
    Kind::DeafFollower,
    Kind::MuteFollower,
    Kind::Halves,
    Kind::Bridge,
    Kind::AllApart,
    Kind::Flapping,
    Kind::CutAndKill,
    Kind::CutAndFreeze,
    Kind::SlowLeader,
    Kind::SlowAll,
    Kind::DemoteFollower,
    Kind::DemoteLeader,
    Kind::DemoteAndKill,
    Kind::RemoveFollower,
    Kind::RemoveLeader,
    Kind::WipeFollower,
    Kind::WipeLeader,
    Kind::SnapshotAndKill,
    Kind::Backup,
];

impl Plan {
    /// For a cluster of so many nodes, over such a network.
    pub(super) const fn new(seed: u64, nodes: usize, able: Able) -> Self {
        Self { random: Random::new(seed), nodes, able, deck: Vec::new(), ready: Vec::new() }
    }

    /// How many can be missing while the others serve.
    const fn minority(&self) -> usize {
        self.nodes.saturating_sub(1) / 2
    }

    fn possible(&self, kind: Kind) -> bool {
        let cuts = matches!(
            kind,
            Kind::IsolateLeader
                | Kind::IsolateFollower
                | Kind::DeafLeader
                | Kind::MuteLeader
                | Kind::DeafFollower
                | Kind::MuteFollower
                | Kind::Halves
                | Kind::Bridge
                | Kind::AllApart
                | Kind::Flapping
                | Kind::CutAndKill
                | Kind::CutAndFreeze
        );
        let slow = matches!(kind, Kind::SlowLeader | Kind::SlowAll);
        let tears = matches!(kind, Kind::TearLeader | Kind::TearMinority);
        (self.able.cut || !cuts) && (self.able.slow || !slow) && (self.able.tear || !tears)
    }

    fn draw(&mut self) -> Kind {
        if self.deck.is_empty() {
            let mut deck: Vec<Kind> = KINDS.into_iter().filter(|kind| self.possible(*kind)).collect();
            self.random.shuffle(&mut deck);
            self.deck = deck;
        }
        self.deck.pop().unwrap_or(Kind::KillLeader)
    }

    fn follower(&mut self) -> Rank {
        usize::try_from(self.random.between(1, self.nodes.saturating_sub(1) as u64)).unwrap_or(1)
    }

    /// So many different nodes; the leader is as likely to be among them as any other.
    fn some(&mut self, count: usize) -> Vec<Rank> {
        let mut all: Vec<Rank> = (0..self.nodes).collect();
        self.random.shuffle(&mut all);
        all.truncate(count);
        all
    }

    fn step(&mut self, name: &'static str, faults: Vec<Fault>) -> Step {
        // The default election timeout is 300 ms: some faults end before it, most last longer.
        Step {
            name,
            wait_ms: self.random.between(200, 1200),
            hold_ms: self.random.between(200, 2200),
            faults,
            breaks: self.random.below(2) == 0,
            salt: self.random.next(),
        }
    }

    fn steps(&mut self, kind: Kind) -> Vec<Step> {
        let (nodes, minority) = (self.nodes, self.minority());
        let all: Vec<Rank> = (0..nodes).collect();
        let (name, faults) = match kind {
            Kind::KillLeader => ("kill the leader", vec![Fault::Kill(vec![0])]),
            Kind::KillFollower => ("kill a follower", vec![Fault::Kill(vec![self.follower()])]),
            Kind::KillMinority => ("kill a minority", vec![Fault::Kill(self.some(minority))]),
            Kind::KillMajority => ("kill a majority", vec![Fault::Kill(self.some(minority + 1))]),
            Kind::KillAll => ("kill all", vec![Fault::Kill(all)]),
            Kind::KillTwice => {
                let first = self.step("kill two leaders in a row", vec![Fault::Kill(vec![0])]);
                let second = self.step("kill two leaders in a row", vec![Fault::Kill(vec![0])]);
                return vec![first, Step { wait_ms: 50, ..second }];
            }
            Kind::FreezeLeader => ("freeze the leader", vec![Fault::Freeze(vec![0])]),
            Kind::FreezeMinority => ("freeze a minority", vec![Fault::Freeze(self.some(minority))]),
            Kind::FreezeMajority => ("freeze a majority", vec![Fault::Freeze(self.some(minority + 1))]),
            Kind::TearLeader => ("cut a write of the leader", vec![Fault::Tear(vec![0])]),
            Kind::TearMinority => ("cut writes of a minority", vec![Fault::Tear(self.some(minority))]),
            Kind::RestartLeader => ("restart the leader", vec![Fault::Restart(0)]),
            Kind::RestartFollower => ("restart a follower", vec![Fault::Restart(self.follower())]),
            Kind::Transfer => ("hand over", vec![Fault::Transfer(self.follower())]),
            Kind::TransferAndKill => {
                let to = self.follower();
                let victim = if self.random.below(2) == 0 { 0 } else { to };
                ("hand over and kill", vec![Fault::Transfer(to), Fault::Kill(vec![victim])])
            }
            Kind::IsolateLeader => ("isolate the leader", vec![Fault::Cut(between(&[0], &others(nodes, 0)))]),
            Kind::IsolateFollower => {
                let one = self.follower();
                ("isolate a follower", vec![Fault::Cut(between(&[one], &others(nodes, one)))])
            }
            Kind::DeafLeader => ("the leader hears nobody", vec![Fault::Cut(into(0, nodes))]),
            Kind::MuteLeader => ("nobody hears the leader", vec![Fault::Cut(out_of(0, nodes))]),
            Kind::DeafFollower => ("a follower hears nobody", vec![Fault::Cut(into(self.follower(), nodes))]),
            Kind::MuteFollower => {
                ("nobody hears a follower", vec![Fault::Cut(out_of(self.follower(), nodes))])
            }
            Kind::Halves => {
                let few = self.some(minority);
                let many: Vec<Rank> = all.into_iter().filter(|one| !few.contains(one)).collect();
                ("two parts", vec![Fault::Cut(between(&few, &many))])
            }
            Kind::Bridge => ("two parts and one that sees both", vec![Fault::Cut(self.bridge())]),
            Kind::AllApart => ("all apart", vec![Fault::Cut(between(&all, &all))]),
            Kind::Flapping => {
                let step = self.step("flapping", vec![Fault::Cut(between(&[0], &others(nodes, 0)))]);
                let times = self.random.between(3, 6);
                let flap = |_| Step {
                    wait_ms: self.random.between(20, 300),
                    hold_ms: self.random.between(50, 500),
                    salt: self.random.next(),
                    ..step.clone()
                };
                return (0..times).map(flap).collect();
            }
            Kind::CutAndKill => {
                let victim = self.follower();
                let cut = Fault::Cut(between(&[0], &others(nodes, 0)));
                ("isolate the leader and kill another", vec![cut, Fault::Kill(vec![victim])])
            }
            Kind::CutAndFreeze => {
                let (one, other) = (self.follower(), self.follower());
                let cut = Fault::Cut(vec![(0, one), (other, 0)]);
                ("cut two links and freeze the leader", vec![cut, Fault::Freeze(vec![0])])
            }
            Kind::SlowLeader => {
                let pairs = between(&[0], &others(nodes, 0));
                ("slow links of the leader", vec![Fault::Slow(pairs, self.random.between(20, 400))])
            }
            Kind::SlowAll => {
                ("slow links", vec![Fault::Slow(between(&all, &all), self.random.between(5, 150))])
            }
            Kind::DemoteFollower => ("a follower becomes a learner", vec![Fault::Demote(self.follower())]),
            Kind::DemoteLeader => ("the leader becomes a learner", vec![Fault::Demote(0)]),
            Kind::DemoteAndKill => {
                let (one, victim) = (self.follower(), self.some(1));
                (
                    "a follower becomes a learner and one is killed",
                    vec![Fault::Demote(one), Fault::Kill(victim)],
                )
            }
            Kind::RemoveFollower => ("a follower leaves", vec![Fault::Remove(self.follower())]),
            Kind::RemoveLeader => ("the leader leaves", vec![Fault::Remove(0)]),
            Kind::WipeFollower => ("a follower loses its disk", vec![Fault::Wipe(self.follower())]),
            Kind::WipeLeader => ("the leader loses its disk", vec![Fault::Wipe(0)]),
            Kind::SnapshotAndKill => {
                let mut faults: Vec<Fault> = all.iter().map(|one| Fault::Snapshot(*one)).collect();
                faults.push(Fault::Kill(self.some(minority)));
                ("snapshots, and a minority killed", faults)
            }
            Kind::Backup => ("a backup", vec![Fault::Backup]),
        };
        vec![self.step(name, faults)]
    }

    /// Two parts that do not see each other, and one node that both see.
    fn bridge(&mut self) -> Vec<(Rank, Rank)> {
        let order = self.some(self.nodes);
        let rest = order.get(1..).unwrap_or_default();
        let (left, right) = rest.split_at(rest.len() / 2);
        between(left, right)
    }
}

impl Iterator for Plan {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        if self.ready.is_empty() {
            let kind = self.draw();
            self.ready = self.steps(kind);
            self.ready.reverse();
        }
        self.ready.pop()
    }
}

fn others(nodes: usize, one: Rank) -> Vec<Rank> {
    (0..nodes).filter(|other| *other != one).collect()
}

/// All links between members of the one and members of the other, both ways.
fn between(some: &[Rank], others: &[Rank]) -> Vec<(Rank, Rank)> {
    let mut pairs: Vec<_> = some
        .iter()
        .flat_map(|a| others.iter().flat_map(move |b| [(*a, *b), (*b, *a)]))
        .filter(|(a, b)| a != b)
        .collect();
    pairs.sort_unstable();
    pairs.dedup();
    pairs
}

fn into(one: Rank, nodes: usize) -> Vec<(Rank, Rank)> {
    others(nodes, one).into_iter().map(|other| (other, one)).collect()
}

fn out_of(one: Rank, nodes: usize) -> Vec<(Rank, Rank)> {
    others(nodes, one).into_iter().map(|other| (one, other)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const ALL: Able = Able { cut: true, slow: true, tear: true };

    #[test]
    fn a_seed_decides_the_plan() {
        let steps = |seed| Plan::new(seed, 5, ALL).take(200).collect::<Vec<_>>();
        assert_eq!(steps(1), steps(1));
        assert_ne!(steps(1), steps(2));
    }

    #[test]
    fn every_kind_comes_and_names_nodes_that_exist() {
        for nodes in [3, 5] {
            let mut names = BTreeSet::new();
            for step in Plan::new(3, nodes, ALL).take(2 * KINDS.len()) {
                names.insert(step.name);
                for fault in step.faults {
                    let met = match fault {
                        Fault::Kill(some) | Fault::Freeze(some) | Fault::Tear(some) => some,
                        Fault::Restart(one)
                        | Fault::Transfer(one)
                        | Fault::Demote(one)
                        | Fault::Remove(one)
                        | Fault::Wipe(one)
                        | Fault::Snapshot(one) => vec![one],
                        Fault::Backup => vec![0],
                        Fault::Cut(pairs) | Fault::Slow(pairs, _) => {
                            assert!(pairs.iter().all(|(from, to)| from != to));
                            pairs.into_iter().flat_map(|(from, to)| [from, to]).collect()
                        }
                    };
                    assert!(!met.is_empty() && met.iter().all(|rank| *rank < nodes), "{}", step.name);
                }
            }
            assert_eq!(names.len(), KINDS.len(), "{names:?}");
        }
    }

    #[test]
    fn a_network_is_not_asked_for_what_it_cannot_do() {
        let cuts = |step: &Step| step.faults.iter().any(|fault| matches!(fault, Fault::Cut(_)));
        let slows = |step: &Step| step.faults.iter().any(|fault| matches!(fault, Fault::Slow(..)));
        let plan = |able| Plan::new(1, 3, able).take(100).collect::<Vec<_>>();
        assert!(plan(ALL).iter().any(cuts) && plan(ALL).iter().any(slows));
        assert!(!plan(Able { cut: true, slow: false, tear: true }).iter().any(slows));
        let none = plan(Able { cut: false, slow: false, tear: false });
        let tears = |step: &Step| step.faults.iter().any(|fault| matches!(fault, Fault::Tear(_)));
        assert!(plan(ALL).iter().any(tears));
        assert!(!none.iter().any(|step| cuts(step) || slows(step) || tears(step)));
    }
}
