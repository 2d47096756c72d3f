//! The five safety properties of the Raft paper (Figure 3) on random schedules.
//!
//! Nodes are the shipped state machines; disks and network are simulated. A schedule delivers, loses,
//! doubles and reorders messages, completes journal writes late, crashes nodes between any two steps
//! (what was not durable is gone, or a prefix of it is there), restarts them, and fires any timer. Snapshots are
//! taken, the log is purged, and who lacks what is gone is sent them, with stores that fail and forget. After
//! every step the properties are checked against what the disks and the state machines really hold.

mod disk;
mod world;

use std::collections::BTreeSet;

use disk::Disk;
use proptest::prelude::*;
use raft_core::entry::{Entry, EntryKind};
use raft_core::ids::{ClusterId, LogId, NodeId};
use raft_core::membership::{Member, Membership};
use raft_core::raft::Restored;
use raft_core::time::Time;
use raft_core::{Config, Raft};
use world::World;

fn run(founders: u64, size: u64, seed: u64, steps: usize) -> BTreeSet<&'static str> {
    let mut world = World::new(founders, size, seed | 1);
    for _ in 0..steps {
        world.step();
    }
    world.heal();
    world.seen
}

#[expect(clippy::disallowed_methods, reason = "a test may read its environment; the crate may not")]
fn cases() -> u32 {
    std::env::var("RAFT_PROPERTY_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(1000)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn figure_3_holds_on_random_schedules(size in prop_oneof![Just(1_u64), Just(2), Just(3), Just(3), Just(5)],
                                          seed in any::<u64>(), steps in 1_usize..1500) {
        run(size, size, seed, steps);
    }

    /// The same while members come and go, with leaders dying at every step of it.
    #[test]
    fn figure_3_holds_while_the_membership_changes(founders in 1_u64..=3, seed in any::<u64>(),
                                                   steps in 1_usize..2500) {
        run(founders, 5, seed, steps);
    }
}

/// The schedules above would prove little if nothing happened in them. Some of it is rare: schedules are run until all of
/// it has been.
#[test]
fn the_schedules_reach_what_they_are_meant_to_test() {
    let of_three = |seed: u64| run(3, 3, seed * 0x9e37_79b9 + 1, 5000);
    reach(
        of_three,
        &[
            "leader",
            "later leader",
            "proposal",
            "read",
            "read on a follower",
            "read under a lease",
            "crash",
            "fetch",
            "taken",
            "purged",
            "received",
            "resumed",
            "reset",
            "installed",
            "reset at the start",
            "installed at the start",
            "store failed",
        ],
    );
    let of_some = |seed: u64| run(1 + seed % 3, 5, seed * 0x9e37_79b9 + 1, 3000);
    let changes =
        ["change", "objection", "learners", "joint left", "nobody stays", "a snapshot for a newcomer"];
    reach(of_some, &changes);
}

fn reach(run: impl Fn(u64) -> BTreeSet<&'static str>, wanted: &[&'static str]) {
    let mut missing: BTreeSet<&str> = wanted.iter().copied().collect();
    for seed in 0..2000 {
        if missing.is_empty() {
            return;
        }
        let seen = run(seed);
        missing.retain(|what| !seen.contains(what));
    }
    panic!("no schedule had: {missing:?}");
}

/// Shifting every time by a constant changes nothing that leaves the node (style §5).
#[test]
fn only_differences_of_time_matter() {
    let trace = |origin: u64| {
        let mut config = Config::new(NodeId(1), ClusterId(7));
        config.seed = 42;
        let members = (1..=3).map(|id| Member::new(NodeId(id), format!("node-{id}")));
        let data = Membership::of_voters(members).unwrap().encode();
        let entries = vec![Entry { id: LogId::new(0, 1), kind: EntryKind::Membership, data }];
        let disk = Disk { entries, ..Disk::default() };
        let start = Time::from_nanos(origin);
        let restored = Restored { journal: disk.state(NodeId(1)), snapshot: None, applied: LogId::ZERO };
        let mut raft = Raft::new(config, restored, start).unwrap();
        let mut out = Vec::new();
        for _ in 0..20 {
            let at = raft.next_timeout().unwrap();
            raft.handle_timeout(at);
            while let Some(write) = raft.poll_write() {
                raft.handle_written(at, write.ticket);
            }
            while let Some(message) = raft.poll_message() {
                out.push((at.since(start), message));
            }
        }
        out
    };
    assert_eq!(trace(0), trace(1 << 40));
}

/// The world once waited for ever for a proposal that a new leader had superseded with a shorter log.
#[test]
fn a_superseded_proposal_is_made_again() {
    run(3, 3, 10_971_851_141_001_050_664, 939);
}
