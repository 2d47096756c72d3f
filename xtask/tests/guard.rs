//! The guard cleans up after a parent that could not.

use std::io::Write;
use std::process::{Command, Stdio};

/// A demo that was killed with `kill -9` left its servers running: no destructor runs then. What the
/// guard sees of such an end is the end of its standard input.
#[test]
fn what_is_left_is_killed_and_removed() {
    let folder = tempfile::tempdir().unwrap().keep();
    std::fs::write(folder.join("file"), "x").unwrap();
    let mut victim = Command::new("sleep").arg("1000").spawn().unwrap();
    let mut spared = Command::new("sleep").arg("1000").spawn().unwrap();

    let mut guard =
        Command::new(env!("CARGO_BIN_EXE_xtask")).arg("guard").stdin(Stdio::piped()).spawn().unwrap();
    let mut input = guard.stdin.take().unwrap();
    writeln!(input, "+{}\n+{}\n{}\n-{}", victim.id(), spared.id(), folder.display(), spared.id()).unwrap();
    drop(input);

    assert!(guard.wait().unwrap().success());
    assert!(!victim.wait().unwrap().success(), "killed");
    assert!(!folder.exists());
    assert!(spared.try_wait().unwrap().is_none(), "another process may have its number by now");
    spared.kill().unwrap();
    spared.wait().unwrap();
}
