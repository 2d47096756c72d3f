//! The tests that a change is shown to, the quick ones first.

use std::path::PathBuf;
use std::process::Command;

use super::super::merge;
use super::super::programs::{Program, Programs, Wanted};
use super::super::running::Runner;
use super::super::tree::Tree;
use crate::util::Failure;

/// Of the simulator, when no test has seen anything.
const SEEDS: &str = "0..100";

/// For each package what is run, in this order.
const STEPS: &[(&str, &[(&str, Program<'_>)])] = &[
    (
        "raft-core",
        &[
            ("raft-core", Program::Test("paper")),
            ("raft-core", Program::Lib),
            ("raft-core", Program::Test("boundary")),
            ("raft-core", Program::Test("alarm")),
            ("raft-testkit", Program::Test("scenarios")),
            ("raft-core", Program::Test("snapshots")),
            ("raft-core", Program::Test("sessions")),
            ("raft-core", Program::Test("leases")),
            ("raft-core", Program::Test("properties")),
            ("raft-testkit", Program::Test("node_members")),
            ("raft-testkit", Program::Sim),
        ],
    ),
    (
        "raft-log-file",
        &[
            ("raft-log-file", Program::Lib),
            ("raft-log-file", Program::Test("recovery")),
            ("raft-log-file", Program::Test("journal")),
            ("raft-log-file", Program::Test("faults")),
            ("raft-log-file", Program::Test("flips")),
            ("raft-log-file", Program::Test("view")),
            ("raft-log-file", Program::Test("crash")),
        ],
    ),
];

/// What has seen a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// The step.
    pub(super) by: String,
    /// The test of it, or what became of it.
    pub(super) test: String,
}

/// The tests of all packages that have changes, compiled.
pub(super) struct Ladder<'a> {
    /// Where the sources are.
    folder: PathBuf,
    runner: &'a Runner,
    programs: Programs,
}

impl<'a> Ladder<'a> {
    /// With programs that have the changes.
    pub(super) fn new(tree: &Tree, runner: &'a Runner, programs: Programs) -> Self {
        Self { folder: tree.path(""), runner, programs }
    }

    /// Shows a change to one step after the other; 0 is the sources as they are.
    pub(super) fn climb(&self, package: &str, number: u32) -> Result<Option<Seen>, Failure> {
        for (of, target) in steps(package) {
            if let Some(test) = self.step(of, *target, number)? {
                let by = match target {
                    Program::Lib => format!("unit tests of {of}"),
                    Program::Test(name) => String::from(*name),
                    Program::Sim => String::from("simulator"),
                };
                return Ok(Some(Seen { by, test }));
            }
        }
        Ok(None)
    }

    fn step(&self, package: &str, target: Program<'_>, number: u32) -> Result<Option<String>, Failure> {
        let mut command = Command::new(self.programs.get(package, target)?);
        command.current_dir(self.folder.join(package)).env(merge::SWITCH, number.to_string());
        match target {
            Program::Sim => drop(command.args(["--seeds", SEEDS, "--threads", "1", "--stop"])),
            _ => drop(command.args(["--test-threads", "1"])),
        }
        // The same random inputs for all, and the first that fails is good enough.
        command.env("PROPTEST_RNG_SEED", "1").env("PROPTEST_MAX_SHRINK_ITERS", "0");
        command.env("RUST_BACKTRACE", "0");
        let (output, _) = self.runner.run(&mut command, |line| failed(line).is_some())?;
        Ok(match output {
            None => Some(String::from("hangs")),
            Some(output) if output.status => None,
            Some(output) => Some(output.text.lines().find_map(failed).unwrap_or("it ended").to_string()),
        })
    }
}

/// What is run for the changes of these packages.
pub(super) fn wanted<'a>(packages: impl Iterator<Item = &'a str>) -> Wanted<'static> {
    packages.flat_map(steps).copied().collect()
}

fn steps(package: &str) -> &'static [(&'static str, Program<'static>)] {
    STEPS.iter().find(|(name, _)| *name == package).map_or(&[], |(_, steps)| steps)
}

/// The test that a line of output says has failed.
fn failed(line: &str) -> Option<&str> {
    line.strip_prefix("test ")?.strip_suffix(" ... FAILED").map(str::trim)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_test_that_failed_is_named() {
        assert_eq!(super::failed("test a::b ... FAILED"), Some("a::b"));
        assert_eq!(super::failed("test a::b ... ok"), None);
    }
}
