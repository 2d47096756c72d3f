//! `raft-history`: whoever trusts `cargo xtask chaos` trusts that this program refuses what is illegal.

use std::process::Command;

/// Exit code and standard output for these lines.
#[track_caller]
fn run(lines: &[&str], flags: &[&str]) -> (i32, String) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    for line in lines {
        std::io::Write::write_all(&mut file, format!("{line}\n").as_bytes()).unwrap();
    }
    let output =
        Command::new(env!("CARGO_BIN_EXE_raft-history")).arg(file.path()).args(flags).output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

const PUT: &str =
    r#"{"client":1,"key":"k","command":"put","value":"new","invoked":10,"completed":20,"output":true}"#;
const LOST: &str = r#"{"client":2,"key":"k","command":"get","invoked":30,"completed":40,"output":null}"#;

#[test]
fn an_acknowledged_write_that_is_gone_is_shown() {
    let (code, said) = run(&[PUT, LOST], &[]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("not linearizable: key \"k\""), "{said}");
    assert!(said.contains("get -> nothing") && said.contains("<- fits nowhere"), "{said}");
    assert!(said.lines().last().unwrap().contains("linearizable=no"), "{said}");
}

#[test]
fn the_same_history_is_legal_if_the_write_was_not_acknowledged() {
    let open = PUT.replace(r#","completed":20,"output":true"#, "");
    assert_ne!(open, PUT);
    let (code, said) = run(&[&open, LOST], &[]);
    assert_eq!(code, 0, "{said}");
    let last = said.lines().last().unwrap();
    assert!(last.starts_with("history: operations=2 keys=1 unknown=1 linearizable=yes"), "{said}");
}

#[test]
fn two_increments_with_one_answer_are_refused() {
    let incr = |client: u8, invoked: u8| {
        let completed = invoked + 20;
        format!(
            r#"{{"client":{client},"key":"n","command":"incr","by":1,"invoked":{invoked},"completed":{completed},"output":1}}"#
        )
    };
    let (code, said) = run(&[&incr(1, 10), &incr(2, 15)], &[]);
    assert_eq!(code, 1, "{said}");
}

#[test]
fn a_search_that_is_cut_short_proves_nothing() {
    let (code, said) = run(&[PUT, LOST], &["--steps", "1"]);
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("linearizable=unknown"), "{said}");
}

#[test]
fn a_file_that_is_no_history_is_a_mistake_of_its_own() {
    assert_eq!(run(&["nonsense"], &[]).0, 2);
    let backwards = PUT.replace(r#""completed":20"#, r#""completed":5"#);
    assert_eq!(run(&[&backwards], &[]).0, 2);
}
