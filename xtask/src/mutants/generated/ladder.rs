//! The tests that a change is shown to, the quick ones first.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::super::merge;
use super::super::programs::{Program, Programs, Wanted};
use super::super::running::Runner;
use super::super::tree::Tree;
use super::reach::{self, Reach};
use crate::util::{Failure, proc};

/// Of the simulator, when no test has seen anything.
const SEEDS: &str = "0..10";

/// What is seen of one that does not come to its end.
const HANGS: &str = "hangs";

/// Of a property that would be tried a thousand times.
const CASES: &str = "50";

/// For each package what is run; of what is equally quick, in this order.
const STEPS: &[(&str, &[(&str, Program<'_>)])] = &[
    (
        "raft-core",
        &[
            ("raft-core", Program::Test("paper")),
            ("raft-core", Program::Lib),
            ("raft-core", Program::Test("boundary")),
            ("raft-core", Program::Test("edges")),
            ("raft-core", Program::Test("full_disk")),
            ("raft-core", Program::Test("observed")),
            ("raft-core", Program::Test("alarm")),
            ("raft-testkit", Program::Test("scenarios")),
            ("raft-core", Program::Test("snapshots")),
            ("raft-core", Program::Test("sessions")),
            ("raft-core", Program::Test("leases")),
            ("raft-core", Program::Test("properties")),
            ("raft-testkit", Program::Test("sessions")),
            ("raft-testkit", Program::Test("snapshots")),
            ("raft-testkit", Program::Test("node")),
            ("raft-testkit", Program::Test("node_health")),
            ("raft-testkit", Program::Test("node_failures")),
            ("raft-testkit", Program::Test("node_members")),
            ("raft-testkit", Program::Test("node_scrub")),
            ("raft-testkit", Program::Test("model")),
            ("raft-testkit", Program::Sim),
        ],
    ),
    (
        "raft-log-file",
        &[
            ("raft-log-file", Program::Lib),
            ("raft-log-file", Program::Test("recovery")),
            ("raft-log-file", Program::Test("recovery_evidence")),
            ("raft-log-file", Program::Test("recovery_segments")),
            ("raft-log-file", Program::Test("journal")),
            ("raft-log-file", Program::Test("faults")),
            ("raft-log-file", Program::Test("flips")),
            ("raft-log-file", Program::Test("view")),
            ("raft-log-file", Program::Test("model")),
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

/// The tests of all packages that have changes, compiled, and how they are run.
pub(super) struct Run<'a> {
    /// Where the sources are.
    folder: PathBuf,
    runner: &'a Runner,
    programs: Programs,
}

impl<'a> Run<'a> {
    /// With programs that have the changes.
    pub(super) fn new(tree: &Tree, runner: &'a Runner, programs: Programs) -> Self {
        Self { folder: tree.path(""), runner, programs }
    }

    /// Some tests of a program, with a change; 0 is the sources as they are.
    pub(super) fn command(&self, of: Of<'_>, tests: &[&str], number: u32) -> Result<Command, Failure> {
        let (package, target) = of;
        let mut command = Command::new(self.programs.get(package, target)?);
        command.current_dir(self.folder.join(package)).env(merge::SWITCH, number.to_string());
        match target {
            Program::Sim => drop(command.args(["--seeds", SEEDS, "--threads", "1", "--stop"])),
            _ => drop(command.args(["--test-threads", "1", "--exact"]).args(tests)),
        }
        // The same random inputs for all, and the first that fails is good enough.
        command.env("PROPTEST_RNG_SEED", "1").env("PROPTEST_MAX_SHRINK_ITERS", "0");
        command.env("RAFT_PROPERTY_CASES", CASES).env("RUST_BACKTRACE", "0");
        Ok(command)
    }

    /// Runs it, and says what has failed, and what it took.
    pub(super) fn see(
        &self,
        command: &mut Command,
        patience: Option<Duration>,
    ) -> Result<(Option<String>, Duration), Failure> {
        let patience = patience.unwrap_or(self.runner.patience).min(self.runner.patience);
        let (output, cpu) = self.runner.run_for(patience, command, |line| failed(line).is_some())?;
        let seen = match output {
            None => Some(String::from(HANGS)),
            Some(output) if output.status => None,
            Some(output) => Some(output.text.lines().find_map(failed).unwrap_or("it ended").to_string()),
        };
        Ok((seen, cpu))
    }

    /// The tests of a program.
    pub(super) fn tests(&self, (package, target): Of<'_>) -> Result<Vec<String>, Failure> {
        let mut command = Command::new(self.programs.get(package, target)?);
        let text = proc::stdout(command.args(["--list", "--format", "terse"]))?;
        Ok(text.lines().filter_map(|line| line.strip_suffix(": test")).map(String::from).collect())
    }
}

/// All that a change may be shown to.
pub(super) struct Ladder<'a> {
    run: Run<'a>,
    reach: Reach,
    /// Only to quick tests.
    quick: bool,
    /// Only to these programs, if any is named.
    only: &'a [String],
}

impl<'a> Ladder<'a> {
    /// With tests of which is known where they come to.
    pub(super) const fn new(run: Run<'a>, reach: Reach, quick: bool, only: &'a [String]) -> Self {
        Self { run, reach, quick, only }
    }

    /// Shows a change to all tests that come to its function, until one sees it.
    pub(super) fn climb(&self, package: &str, number: u32) -> Result<Option<Seen>, Failure> {
        let mut tests = self.reach.of(package, number);
        let is_meant = |step: usize| {
            let name = steps(package)[step].1.name().unwrap_or("lib");
            self.only.is_empty() || self.only.iter().any(|only| only == name)
        };
        tests.retain(|test| (!self.quick || test.is_quick()) && is_meant(test.step));
        for tests in tests.chunk_by(|one, next| one.rank() == next.rank()) {
            let (of, target) = steps(package)[tests[0].step];
            let names: Vec<&str> = tests.iter().filter_map(|test| test.name.as_deref()).collect();
            let mut command = self.run.command((of, target), &names, number)?;
            let patience = reach::patience(tests);
            let (mut seen, _) = self.run.see(&mut command, Some(patience))?;
            if seen.as_deref() == Some(HANGS) {
                // What takes long once may be the machine: it is believed the second time, with more patience.
                (seen, _) = self.run.see(&mut command, Some(patience * 4))?;
            }
            if let Some(test) = seen {
                return Ok(Some(Seen { by: called((of, target)), test }));
            }
        }
        Ok(None)
    }

    /// Whether some test comes to the function of a change.
    pub(super) fn reaches(&self, package: &str, number: u32) -> bool {
        !self.reach.of(package, number).is_empty()
    }
}

/// A package, and what of it is run.
pub(super) type Of<'a> = (&'a str, Program<'a>);

/// What people call a step.
pub(super) fn called((package, target): Of<'_>) -> String {
    match target {
        Program::Lib => format!("unit tests of {package}"),
        Program::Test(name) => String::from(name),
        Program::Sim => String::from("simulator"),
    }
}

/// What is run for the changes of these packages.
pub(super) fn wanted<'a>(packages: impl Iterator<Item = &'a str>) -> Wanted<'static> {
    packages.flat_map(steps).copied().collect()
}

/// The steps of a package.
pub(super) fn steps(package: &str) -> &'static [(&'static str, Program<'static>)] {
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
