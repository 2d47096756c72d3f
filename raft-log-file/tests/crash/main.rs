//! Crash states: whatever a crash keeps of what was not synced, recovery comes to a legal state that
//! has everything acknowledged, comes to the same one again, and may itself be crashed at any point.
//!
//! The tests look at a sample. `cargo xtask crash` looks at a million states and more: it runs
//! [`all`] in release.

mod check;
mod damage;
mod random;
mod record;
mod report;
mod steps;
#[path = "../support/mod.rs"]
mod support;
mod workloads;

use check::Effort;
use random::random;
use report::{Report, run};
use support::Plan;
use workloads::by_hand;

/// A second or two, and yet every workload and every operation.
const SAMPLE: Effort = Effort { plan: Plan { exhaustive: 4, sampled: 2, steps: 3 }, deep: 8, one_in: 4 };

/// The workload whose every pair of sectors is misdirected.
const SMALL: &str = "everything at once";

/// Workloads whose tears nobody can tell from damage: sectors with one byte that is not zero are missing,
/// or a write ended one byte before its end.
const DOUBTFUL: [&str; 2] = ["hardly anything but zeros", "writes end at any byte"];

fn demand(report: &Report) {
    assert_eq!(report.wrong(), 0, "{:#?}", report.first_wrong());
    let atomic = report.totals()[0];
    let (alarms, first) = report.alarms_but_of(&DOUBTFUL);
    assert!(alarms * 1000 <= atomic.states, "{alarms} false alarms: {first:#?}");
    assert!(atomic.states > 1000 && atomic.recoveries > 1000 && atomic.torn > 100, "{atomic:?}");
}

/// P45: etcd#6368, #22340, #6378, #14143 (lazyfs). Names that were not synced and sectors that were not may each be
/// there or not, in any combination, also of a segment just made, renamed or cut.
#[test]
fn p45_etcd_6368_unsynced_names_and_sectors_are_lost_in_any_order() {
    let workloads = by_hand();
    assert!(workloads.len() >= 50);
    demand(&run(&workloads, SAMPLE, 1));
}

#[test]
fn random_workloads() {
    demand(&run(&(0..20).map(random).collect::<Vec<_>>(), SAMPLE, 2));
}

#[test]
fn changed_bytes() {
    let seen = damage::flips(&by_hand(), 40, 1);
    assert!(seen.silent.is_empty(), "{:#?}", seen.silent);
    assert!(seen.probation > 50 && seen.repaired > 50 && seen.harmless > 500, "{seen:?}");
}

/// What a killed process has acknowledged last is rotten, and no later record says that it was there.
#[test]
fn changed_bytes_at_the_end() {
    let seen = damage::flips_at_the_end(&by_hand(), 20, 1);
    assert!(seen.silent.is_empty(), "{:#?}", seen.silent);
    assert!(seen.probation > 500, "{seen:?}");
}

#[test]
fn misdirected_sectors() {
    let workloads = by_hand();
    let small = workloads.iter().find(|workload| workload.name == SMALL).unwrap();
    let seen = damage::misdirections(small, 31);
    assert!(seen.silent.is_empty(), "{:#?}", seen.silent);
    assert!(seen.probation > 50 && seen.repaired > 50 && seen.harmless > 50, "{seen:?}");
}

/// What `cargo xtask crash` runs. `RAFT_CRASH_STATES` says how many states at least, `RAFT_CRASH_SEED`
/// which random workloads, `RAFT_CRASH_REPORT` where the report goes, one JSON object a line.
#[test]
#[ignore = "minutes, and many more in a debug build: `cargo xtask crash`"]
fn all() {
    let number = |name: &str, otherwise: u64| {
        std::env::var(name)
            .map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name}: {text:?}")))
    };
    let (wanted, seed) = (number("RAFT_CRASH_STATES", 1_000_000), number("RAFT_CRASH_SEED", 1));
    let effort = Effort { plan: Plan { exhaustive: 12, sampled: 64, steps: 40 }, deep: 12, one_in: 1 };
    let mut report = run(&by_hand(), effort, seed);
    let mut next = seed << 20;
    while report.totals()[0].states < wanted {
        let more: Vec<_> = (next..next + 8).map(random).collect();
        next += 8;
        report.extend(run(&more, effort, seed));
        eprintln!("{} of {wanted} states", report.totals()[0].states);
    }
    let mut lines = report.lines();
    let flips = damage::flips(&by_hand(), 2000, seed);
    let ends = damage::flips_at_the_end(&by_hand(), 500, seed);
    let workloads = by_hand();
    let small = workloads.iter().find(|workload| workload.name == SMALL).unwrap();
    let moves = damage::misdirections(small, 1);
    lines.push_str(&flips.line("changed bytes"));
    lines.push_str(&ends.line("changed bytes at the end"));
    lines.push_str(&moves.line("misdirected sectors"));
    match std::env::var_os("RAFT_CRASH_REPORT") {
        Some(path) => std::fs::write(path, lines).unwrap(),
        None => println!("{lines}"),
    }
    assert_eq!(report.wrong(), 0, "{:#?}", report.first_wrong());
    for seen in [flips, ends, moves] {
        assert!(seen.silent.is_empty(), "{:#?}", seen.silent);
    }
}
