//! `cargo xtask test`: every test there is.

use std::process::Command;

use crate::util::{Failure, proc};
use crate::{Outcome, museum};

/// Flags of `cargo xtask test`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    part: Option<Part>,
    /// Uses `cargo test` even where cargo-nextest is there.
    #[arg(long)]
    no_nextest: bool,
}

/// Some of the tests.
#[derive(clap::Subcommand)]
enum Part {
    /// Those that are named after bugs that others had.
    Museum(museum::Args),
}

pub(crate) fn run(args: &Args) -> Outcome {
    if let Some(Part::Museum(args)) = &args.part {
        return museum::run(args);
    }
    let report = all(args.no_nextest)?;
    // The runner's own summary comes last, where people and machines look for it.
    println!("{}", report.summary);
    Ok(report.passed)
}

/// How the tests went.
pub(crate) struct Report {
    pub(crate) passed: bool,
    /// The summary line of the test runner.
    pub(crate) summary: String,
}

/// Runs the tests of raft-core without features, the doc tests, those of the packages outside of the workspace,
/// and then all tests of the workspace.
pub(crate) fn all(no_nextest: bool) -> Result<Report, Failure> {
    let nextest = !no_nextest && proc::works(proc::cargo().args(["nextest", "--version"]));
    if !nextest {
        eprintln!("cargo-nextest is not installed or not wanted: using cargo test");
    }
    let mut passed = true;
    let mut summary = None;
    let mut part = |command: &mut Command| -> Result<(), Failure> {
        let (part_passed, lines) = proc::run_keeping(command, is_summary)?;
        // The last count of all, unless something failed before: then that is what must be seen.
        if passed {
            summary = lines.into_iter().rev().find(|line| !part_passed || !line.contains(" 0 passed"));
        }
        passed &= part_passed;
        Ok(())
    };
    part(runner(nextest).args(["--package", "raft-core", "--no-default-features"]))?;
    part(proc::cargo().args(["test", "--workspace", "--doc", "--all-features", "--color", "never"]))?;
    for package in proc::OUTSIDE {
        part(proc::cargo_outside("test", package)?.args(["--color", "never"]))?;
    }
    let mut everything = runner(nextest);
    everything.args(["--workspace", "--all-features"]);
    if !nextest {
        everything.arg("--all-targets");
    }
    part(&mut everything)?;
    Ok(Report {
        passed: passed && summary.is_some(),
        summary: summary.unwrap_or_else(|| String::from("no test ran")),
    })
}

fn runner(nextest: bool) -> Command {
    let mut command = proc::cargo();
    if nextest {
        command.args(["nextest", "run", "--no-fail-fast", "--status-level", "fail"]);
        command.args(["--final-status-level", "fail", "--color", "never"]);
    } else {
        command.args(["test", "--no-fail-fast", "--color", "never"]);
    }
    command
}

/// Whether a line is a test runner's count of what it ran.
fn is_summary(line: &str) -> bool {
    let line = line.trim_start();
    (line.starts_with("Summary [") && line.contains("run:")) || line.starts_with("test result: ")
}

#[cfg(test)]
mod tests {
    #[test]
    fn summaries_are_recognised() {
        assert!(super::is_summary("     Summary [   0.123s] 5 tests run: 5 passed, 0 skipped"));
        assert!(super::is_summary("test result: ok. 3 passed; 0 failed; 0 ignored"));
        assert!(!super::is_summary("test summaries_are_recognised ... ok"));
    }
}
