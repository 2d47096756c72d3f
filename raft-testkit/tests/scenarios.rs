//! Every file in `tests/scenarios` holds. `BLESS=1` writes the traces: read the difference.

use std::path::Path;

use raft_testkit::scenario::{Failure, check_folder, check_text};

#[test]
fn every_scenario_holds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let bless = std::env::var_os("BLESS").is_some_and(|value| value == "1");
    if let Err(failures) = check_folder(&folder, bless) {
        let all: Vec<String> = failures.iter().map(Failure::to_string).collect();
        panic!("{} scenarios do not hold; BLESS=1 writes new traces\n\n{}", all.len(), all.join("\n\n"));
    }
}

#[test]
fn a_folder_without_scenarios_fails() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/scenario");
    let failures = check_folder(&folder, false).unwrap_err();
    assert!(matches!(failures[..], [Failure::Empty { .. }]), "{failures:?}");
}

#[test]
fn commands_without_a_trace_fail() {
    let failure = check_text("new", "cluster 1\n").unwrap_err();
    assert_eq!(failure.to_string(), "new:1: commands without an expected trace; BLESS=1 writes it");
    assert!(matches!(check_text("none", "# only words\n"), Err(Failure::Empty { .. })));
}

#[test]
fn another_trace_fails_and_shows_both() {
    let failure = check_text("wrong", "cluster 1 2 3\nlead 1\n----\n1 leads term 9, log ends at 1.2\n");
    let text = failure.unwrap_err().to_string();
    assert!(text.starts_with("wrong:3: another trace"), "{text}");
    assert!(text.contains("- 1 leads term 9"), "{text}");
    assert!(text.contains("+ 1 leads term 1"), "{text}");
}

#[test]
fn mistakes_name_their_line() {
    for (text, expected) in [
        ("cluster 1\n\nfly 1\n----\n", "bad:3: no such command: fly"),
        ("cluster 1 2\ncrash 7\n----\n", "bad:2: there is no node 7"),
        ("cluster 1\nelapse 5 moons\n----\n", "bad:2: not a duration: 5"),
        ("cluster 1\nstatus 1 2\n----\n", "bad:2: unexpected: 2"),
        ("cluster 1\npropose 1 \"a\n----\n", "bad:2: a quote is not closed"),
    ] {
        let failure = check_text("bad", text).unwrap_err().to_string();
        assert!(failure.starts_with(expected), "{failure}");
    }
}
