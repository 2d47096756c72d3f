//! What looks for a planted bug: the simulator, the model checker, the crash states, or a test.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::merge::{self, Merge};
use super::programs::{Program, Programs, Wanted};
use super::running::{Output, Runner};
use super::table::{By, Mutant};
use super::tree::Tree;
use crate::util::{Context, Failure, proc};

/// Of each configuration of the model; what it finds it finds early.
const MODEL_STATES: &str = "1000000";

/// Fewer bugs than this are not worth a binary that has all of them.
const TOGETHER: usize = 4;

/// How a planted bug was caught.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Caught {
    pub(super) by: By,
    /// The checker that saw it first, or the test.
    pub(super) checker: String,
    /// The seed on which it was seen, and how many were run until then.
    pub(super) seed: Option<u64>,
    pub(super) seeds: u64,
    pub(super) cpu: Duration,
}

/// Runs detectors, and the same without any bug where that tells something.
pub(super) struct Detectors<'a> {
    pub(super) tree: &'a Tree,
    pub(super) seeds: u64,
    /// Runs what looks for it.
    runner: Runner,
    /// The simulator without a planted bug, or with none that is switched on.
    clean: Option<PathBuf>,
    /// What has all bugs that can be switched.
    programs: Option<Programs>,
    /// Those bugs, each with the number of its switch.
    switches: BTreeMap<String, u32>,
}

impl<'a> Detectors<'a> {
    pub(super) fn new(tree: &'a Tree, seeds: u64, patience: Duration) -> Result<Self, Failure> {
        Ok(Self {
            tree,
            seeds,
            runner: Runner::new(patience)?,
            clean: None,
            programs: None,
            switches: BTreeMap::new(),
        })
    }

    /// Builds the simulator and the tests with all bugs of `all` that can be switched on and off, none of them on; of
    /// few bugs, only a simulator without any.
    pub(super) fn prepare(&mut self, all: &[Mutant], alone: bool) -> Result<(), Failure> {
        let mut merge = Merge::default();
        if !alone && all.len() >= TOGETHER {
            for (mutant, number) in all.iter().zip(1..) {
                // One that does not apply says so when its turn comes.
                let changed = self.tree.changed(mutant).unwrap_or_default();
                if !mutant.alone && !changed.is_empty() && merge.add(number, &changed) {
                    self.switches.insert(mutant.name.clone(), number);
                }
            }
        }
        eprintln!("{} bugs in one build, {} alone", self.switches.len(), all.len() - self.switches.len());
        if !merge.is_empty() {
            self.tree.plant_together(&merge)?;
        }
        let tests = all.iter().filter(|mutant| self.switches.contains_key(&mutant.name));
        let mut wanted: Wanted<'_> =
            tests.flat_map(|mutant| mutant.by.iter().filter_map(|by| Some(tested(mutant, *by)?.0))).collect();
        wanted.insert(("raft-testkit", Program::Sim));
        let built = Programs::build(self.tree, &merge, &wanted);
        self.tree.heal()?;
        let built = built?;
        self.clean = Some(built.get("raft-testkit", Program::Sim)?.to_path_buf());
        self.programs = Some(built);
        Ok(())
    }

    /// Looks for a bug with what has all of them. `None` if that has not this one.
    pub(super) fn switch(&self, mutant: &Mutant, by: By) -> Result<Option<Option<Caught>>, Failure> {
        let (Some(number), Some(programs)) = (self.switches.get(&mutant.name), &self.programs) else {
            return Ok(None);
        };
        if by == By::Sim {
            return self.sim(programs.get("raft-testkit", Program::Sim)?, Some(*number)).map(Some);
        }
        let Some(((package, program), name)) = tested(mutant, by) else { return Ok(None) };
        let path = programs.get(package, program)?;
        let run = |number: u32| {
            let mut command = Command::new(path);
            command.current_dir(self.tree.path(package)).args(name).env(merge::SWITCH, number.to_string());
            self.runner.run(&mut command, |_| false)
        };
        let (output, cpu) = run(*number)?;
        let caught = caught(by, output, cpu);
        if caught.is_some() && !run(0)?.0.is_some_and(|output| output.status) {
            return Err(Failure::new(format!("{} fails without a planted bug too", path.display())));
        }
        Ok(Some(caught))
    }

    /// Looks for the bug that is planted in the tree.
    pub(super) fn look(&self, mutant: &Mutant, by: By) -> Result<Option<Caught>, Failure> {
        match by {
            By::Sim => self.sim(&self.tree.build("raft-sim")?, None),
            By::Model => self.model(),
            By::Crash => self.test(by, &["--release", "--package", "raft-log-file", "--test", "crash"]),
            By::Test => {
                let (mut args, name) = mutant.test().ok_or_else(|| Failure::new("no test is named"))?;
                args.extend(["--", name]);
                self.test(by, &args)
            }
        }
    }

    fn sim(&self, binary: &Path, switch: Option<u32>) -> Result<Option<Caught>, Failure> {
        let file = self.tree.scratch("found.json");
        let (mut from, mut cpu) = (0, Duration::ZERO);
        while from < self.seeds {
            let mut command = Command::new(binary);
            if let Some(number) = switch {
                command.env(merge::SWITCH, number.to_string());
            }
            let seeds = format!("{from}..{}", self.seeds);
            // One thread, so that what it took says how much was looked at.
            command.args(["--seeds", &seeds, "--threads", "1", "--stop", "--json"]).arg(&file);
            let Some((report, took)) = self.report(&mut command, &file)? else {
                return Ok(Some(self.hangs(By::Sim)));
            };
            cpu += took;
            let mut seen = violations(&report)?;
            seen.sort_unstable();
            let Some((last, _)) = seen.last().cloned() else { return Ok(None) };
            for (seed, checker) in seen {
                if self.holds_without(seed)? {
                    let seeds = seed + 1;
                    return Ok(Some(Caught { by: By::Sim, checker, seed: Some(seed), seeds, cpu }));
                }
            }
            from = last + 1;
        }
        Ok(None)
    }

    /// The checkers that the simulator has; none if it was not asked for.
    pub(super) fn checkers(&self) -> Result<Vec<String>, Failure> {
        let Some(clean) = &self.clean else { return Ok(Vec::new()) };
        let file = self.tree.scratch("found.json");
        let mut command = Command::new(clean);
        command.args(["--seeds", "0..1", "--threads", "1", "--json"]).arg(&file);
        let Some((report, _)) = self.report(&mut command, &file)? else { return Ok(Vec::new()) };
        let all = report["checkers"].as_array().into_iter().flatten();
        Ok(all.filter_map(|name| name.as_str().map(String::from)).collect())
    }

    /// Whether a seed finds nothing where no bug is planted. Else what it finds tells nothing.
    fn holds_without(&self, seed: u64) -> Result<bool, Failure> {
        let clean = self.clean.as_ref().ok_or_else(|| Failure::new("no simulator without a bug"))?;
        let holds = proc::works(Command::new(clean).args(["--seed", &seed.to_string()]));
        if !holds {
            eprintln!("seed {seed} fails without a planted bug too");
        }
        Ok(holds)
    }

    fn model(&self) -> Result<Option<Caught>, Failure> {
        if !self.tree.has("raft-model") {
            return Ok(None);
        }
        let binary = self.tree.build("raft-model")?;
        let file = self.tree.scratch("found.json");
        let mut command = Command::new(binary);
        command.args(["--states", MODEL_STATES, "--stop", "--json"]).arg(&file);
        let Some((report, cpu)) = self.report(&mut command, &file)? else {
            return Ok(Some(self.hangs(By::Model)));
        };
        let Some(first) = report["violations"].get(0) else { return Ok(None) };
        let checker = first["checker"].as_str().unwrap_or("?").to_string();
        Ok(Some(Caught { by: By::Model, checker, seed: None, seeds: 0, cpu }))
    }

    /// Runs tests.
    fn test(&self, by: By, args: &[&str]) -> Result<Option<Caught>, Failure> {
        let mut build = self.tree.cargo();
        let split = args.iter().position(|arg| *arg == "--").unwrap_or(args.len());
        proc::stdout(build.args(["test", "--quiet", "--no-run"]).args(&args[..split]))?;
        let mut command = self.tree.cargo();
        command.args(["test", "--quiet"]).args(args);
        let (output, cpu) = self.runner.run(&mut command, |_| false)?;
        Ok(caught(by, output, cpu))
    }

    fn hangs(&self, by: By) -> Caught {
        Caught { by, checker: String::from("hang"), seed: None, seeds: 0, cpu: self.runner.patience }
    }

    /// Runs a tool of ours, reads what it reports, and says what it took. `None` if it hangs.
    fn report(&self, command: &mut Command, file: &Path) -> Result<Option<(Value, Duration)>, Failure> {
        // What an earlier one has left must not be taken for its report.
        if file.exists() {
            std::fs::remove_file(file).context(|| format!("cannot remove {}", file.display()))?;
        }
        let (Some(output), cpu) = self.runner.run(command, |_| false)? else { return Ok(None) };
        let text = std::fs::read_to_string(file)
            .context(|| format!("{} gave no report: {}", proc::shown(command), output.text.trim()))?;
        let report = serde_json::from_str(&text).context(|| proc::shown(command))?;
        Ok(Some((report, cpu)))
    }
}

/// The program with the test of a bug, and the name of it if one is meant.
fn tested(mutant: &Mutant, by: By) -> Option<((&str, Program<'_>), Option<&str>)> {
    match by {
        By::Crash => Some((("raft-log-file", Program::Test("crash")), None)),
        By::Test => match mutant.test.as_deref()? {
            [package, target, name] if target == "lib" => Some(((package, Program::Lib), Some(name))),
            [package, target, name] => Some(((package, Program::Test(target)), Some(name))),
            _ => None,
        },
        By::Sim | By::Model => None,
    }
}

/// A test that fails, or hangs, has caught it.
fn caught(by: By, output: Option<Output>, cpu: Duration) -> Option<Caught> {
    let checker = match output {
        None => String::from("hang"),
        Some(output) if output.status => return None,
        Some(output) => failed_test(&output.text).unwrap_or_else(|| String::from("test")),
    };
    Some(Caught { by, checker, seed: None, seeds: 0, cpu })
}

/// Seeds and checkers of the violations in a report.
fn violations(report: &Value) -> Result<Vec<(u64, String)>, Failure> {
    let all = report["violations"].as_array().ok_or_else(|| Failure::new("a report without violations"))?;
    let one = |found: &Value| {
        let seed = found["seed"].as_u64().ok_or_else(|| Failure::new("a violation without a seed"))?;
        Ok((seed, found["checker"].as_str().unwrap_or("?").to_string()))
    };
    all.iter().map(one).collect()
}

/// The first test that failed, from what `cargo test` prints.
fn failed_test(text: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with("---- ") && line.ends_with(" stdout ----"))?;
    Some(line.trim_start_matches("---- ").trim_end_matches(" stdout ----").to_string())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_test_that_failed_is_named() {
        let text = "running 2 tests\n---- a::b stdout ----\n\nthread 'a::b' panicked\n---- c stdout ----\n";
        assert_eq!(super::failed_test(text), Some(String::from("a::b")));
        assert_eq!(super::failed_test("test result: ok."), None);
    }

    #[test]
    fn violations_are_read_from_a_report() {
        let report = serde_json::json!({ "violations": [{ "seed": 7, "checker": "liveness" }] });
        assert_eq!(super::violations(&report).unwrap(), [(7, String::from("liveness"))]);
        assert!(super::violations(&serde_json::json!({})).is_err());
    }
}
