//! Every clause is named in a table of broken backends, or here with a reason: one that nothing can fail proves nothing.

use raft_testkit::conformance::{Clause, journal, snapshot, state_machine, transport};

/// The tests with the tables.
const TABLES: [&str; 7] = [
    include_str!("carriers/lies.rs"),
    include_str!("journal.rs"),
    include_str!("killed.rs"),
    include_str!("liars/lies.rs"),
    include_str!("snapshots.rs"),
    include_str!("state_machines.rs"),
    include_str!("transport.rs"),
];

/// Clauses that no broken backend is held to yet, and why.
const LEFT_OUT: &[(&str, &str)] = &[
    ("j05_readers_do_not_wait_for_a_write", "the broken journals have no write that takes time"),
    ("s01_complete_one_comes_back", "what it asks for first is asked for by every other clause of its suite"),
    (
        "s02_half_received_does_not_pile_up",
        "the broken stores are in memory, and keep one half-received at most",
    ),
    (
        "s02_two_are_written_side_by_side",
        "the broken stores are one store with one fault, not one with one place",
    ),
    ("s03_memory_stays_bounded", "the broken stores are in memory themselves"),
    ("t05_broken_connection_is_reported", "asks for a connection that breaks: only what has bytes has one"),
    ("t06_both_ends_are_asked_to_admit", "a carrier that does not ask is caught by the refusals"),
    (
        "t06_refused_peer_may_be_admitted_later",
        "says what must be possible, where the others say what must not be",
    ),
    ("t06_foreign_group_is_refused", "checked where the cluster is, for which there is a broken carrier"),
    (
        "t07_nonsense_closes_that_connection_only",
        "a carrier that dies of nonsense fails every clause behind it",
    ),
    ("t08_too_large_is_said", "the broken transports have no limit of their own"),
    ("t11_previous_version_interoperates", "the broken carriers speak one version"),
    ("t11_no_common_version_is_refused", "the broken carriers speak one version"),
];

/// A row begins with the broken backend and goes on with the clause.
fn is_in_a_table(name: &str) -> bool {
    let row = format!(",\"{name}\",\"");
    TABLES.iter().any(|table| table.split_whitespace().collect::<String>().contains(&row))
}

#[test]
fn every_clause_has_a_broken_backend_or_a_reason() {
    let suites = [journal::CLAUSES, snapshot::CLAUSES, state_machine::CLAUSES, transport::CLAUSES];
    let all: Vec<&Clause> = suites.into_iter().flatten().collect();
    let excused = |name: &str| LEFT_OUT.iter().any(|(clause, _)| *clause == name);
    let bare: Vec<&str> =
        all.iter().map(|clause| clause.name).filter(|name| !is_in_a_table(name) && !excused(name)).collect();
    assert!(bare.is_empty(), "neither a broken backend nor a reason: {bare:?}");
    for (name, reason) in LEFT_OUT {
        assert!(all.iter().any(|clause| clause.name == *name), "{name} is no clause");
        assert!(!is_in_a_table(name), "{name} is in a table, and left out as well");
        assert!(!reason.is_empty(), "{name}");
    }
}
