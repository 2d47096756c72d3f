//! The explorer finds nothing in the protocol within small bounds, and finds every mistake that is made
//! around it.

use raft_testkit::model::{Bounds, CONFIGURATIONS, Flaw, Report, explore, walk};

fn configuration(name: &str) -> Bounds {
    *CONFIGURATIONS.iter().find(|bounds| bounds.name == name).unwrap()
}

fn run(bounds: &Bounds, states: u64) -> Report {
    explore(bounds, states, |_, _| {})
}

#[test]
fn nothing_is_wrong_within_small_bounds() {
    for bounds in CONFIGURATIONS {
        let report = run(bounds, 10_000);
        assert!(report.found.is_none(), "{}: {:#?}", bounds.name, report.found);
        assert!(report.exhausted || report.distinct >= 10_000, "{}: {report:?}", bounds.name);
    }
}

#[test]
fn a_forgotten_vote_is_found() {
    let bounds = Bounds { proposals: 0, terms: 2, ..configuration("basic") }.with(Flaw::ForgetsVotes);
    let found = run(&bounds, 3_000_000).found.unwrap();
    assert!(found.what.contains("votes in term") || found.what.contains("election safety"), "{found:#?}");
}

#[test]
fn an_acknowledgement_before_the_disk_is_found() {
    let bounds = Bounds { proposals: 0, ..configuration("basic") }.with(Flaw::AcksBeforeDurable);
    let found = run(&bounds, 3_000_000).found.unwrap();
    assert!(found.what.contains("durable") || found.what.contains("votes in"), "{found:#?}");
}

/// Reliability §2.2: what probation is for, and what is not enough.
#[test]
fn a_vote_after_a_loss_is_found() {
    let small = Bounds { proposals: 1, terms: 2, silences: 0, rounds: 1, ..configuration("probation") };
    let found = run(&small.with(Flaw::VotesAfterLoss), 3_000_000).found.unwrap();
    println!("{}, {} steps", found.what, found.steps.len());
    let report = run(&small, 300_000);
    assert!(report.found.is_none(), "{:#?}", report.found);
    let report = walk(&configuration("probation"), 1, 1_000, 60);
    assert!(report.found.is_none(), "{:#?}", report.found);
    assert!(report.points.probations_ended > 0, "{report:?}");
}

/// Each of these comes to what it is about, so that it says something that nothing is found.
#[test]
fn the_small_bounds_come_to_what_they_are_about() {
    let points = |name: &str| run(&configuration(name), 20_000).points;
    assert!(points("snapshot").installed > 0);
    assert!(points("read-index").reads > 0);
    assert!(points("lease").leased_reads > 0);
    assert!(run(&configuration("joint-elections"), 600_000).points.joint_elections > 0);
}

/// Reliability §2.2: an append from before the damage says how far the leader had committed then, and the node has
/// acknowledged more since; that acknowledgement is still on its way. Probation that ends by the one or before the other
/// is found in 174 and 224,698 states (`probation-believes-an-old-append`, `probation-forgets-what-is-not-committed-yet`).
#[test]
fn what_is_delayed_does_not_end_probation() {
    let report = run(&configuration("probation-delayed"), 500_000);
    assert!(report.found.is_none(), "{:#?}", report.found);
    assert!(report.points.probations_ended > 0, "{report:?}");
}
