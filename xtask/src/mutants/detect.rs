//! What looks for a planted bug: the simulator, the model checker, the crash states, or a test.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::merge::{self, Merge};
use super::table::{By, Mutant};
use super::tree::Tree;
use crate::guard::{self, Guard};
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
    /// What runs longer hangs.
    pub(super) patience: Duration,
    /// The simulator without a planted bug, or with none that is switched on.
    clean: Option<PathBuf>,
    /// Bugs that it has, each with the number of its switch.
    switches: BTreeMap<String, u32>,
    /// Ends what runs when this program is interrupted.
    guard: Guard,
}

impl<'a> Detectors<'a> {
    pub(super) fn new(tree: &'a Tree, seeds: u64, patience: Duration) -> Result<Self, Failure> {
        Ok(Self { tree, seeds, patience, clean: None, switches: BTreeMap::new(), guard: Guard::start()? })
    }

    /// Builds a simulator with all bugs of `all` that can be switched on and off, none of them on; of few, one
    /// without any.
    pub(super) fn prepare(&mut self, all: &[Mutant], alone: bool) -> Result<(), Failure> {
        let mut merge = Merge::default();
        let for_sim: Vec<&Mutant> = all.iter().filter(|mutant| mutant.by.contains(&By::Sim)).collect();
        if !alone && for_sim.len() >= TOGETHER {
            for (mutant, number) in for_sim.iter().zip(1..) {
                // One that does not apply says so when its turn comes.
                let changed = self.tree.changed(mutant).unwrap_or_default();
                if !mutant.alone && !changed.is_empty() && merge.add(number, &changed) {
                    self.switches.insert(mutant.name.clone(), number);
                }
            }
        }
        if !for_sim.is_empty() {
            eprintln!(
                "{} bugs in one simulator, {} with one each",
                self.switches.len(),
                for_sim.len() - self.switches.len()
            );
        }
        if !merge.is_empty() {
            self.tree.plant_together(&merge)?;
        }
        let built = self.tree.build("raft-sim");
        let kept = self.tree.scratch("clean-raft-sim");
        if let Ok(built) = &built {
            std::fs::copy(built, &kept).context(|| format!("cannot keep {}", built.display()))?;
        }
        self.tree.heal()?;
        self.clean = built.map(|_| Some(kept))?;
        Ok(())
    }

    /// Looks for a bug with the simulator that has all of them. `None` if it has not this one.
    pub(super) fn switch(&self, mutant: &Mutant) -> Result<Option<Option<Caught>>, Failure> {
        let (Some(number), Some(binary)) = (self.switches.get(&mutant.name), &self.clean) else {
            return Ok(None);
        };
        self.sim(binary, Some(*number)).map(Some)
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

    /// Runs tests; one that fails, or hangs, has caught it.
    fn test(&self, by: By, args: &[&str]) -> Result<Option<Caught>, Failure> {
        let mut build = self.tree.cargo();
        let split = args.iter().position(|arg| *arg == "--").unwrap_or(args.len());
        proc::stdout(build.args(["test", "--quiet", "--no-run"]).args(&args[..split]))?;
        let mut command = self.tree.cargo();
        command.args(["test", "--quiet"]).args(args);
        let (output, cpu) = self.run(&mut command)?;
        let checker = match output {
            None => String::from("hang"),
            Some(output) if output.status => return Ok(None),
            Some(output) => failed_test(&output.text).unwrap_or_else(|| String::from("test")),
        };
        Ok(Some(Caught { by, checker, seed: None, seeds: 0, cpu }))
    }

    fn hangs(&self, by: By) -> Caught {
        Caught { by, checker: String::from("hang"), seed: None, seeds: 0, cpu: self.patience }
    }

    /// Runs a tool of ours, reads what it reports, and says what it took. `None` if it hangs.
    fn report(&self, command: &mut Command, file: &Path) -> Result<Option<(Value, Duration)>, Failure> {
        // What an earlier one has left must not be taken for its report.
        if file.exists() {
            std::fs::remove_file(file).context(|| format!("cannot remove {}", file.display()))?;
        }
        let (Some(output), cpu) = self.run(command)? else { return Ok(None) };
        let text = std::fs::read_to_string(file)
            .context(|| format!("{} gave no report: {}", proc::shown(command), output.text.trim()))?;
        let report = serde_json::from_str(&text).context(|| proc::shown(command))?;
        Ok(Some((report, cpu)))
    }

    /// Whether a child is at it for too long: by its own processor time, where the system tells that, since others
    /// may be at work on this machine. One that waits for others uses none, and so ends by the clock.
    fn has_hung(&self, child: &Child, begin: Instant) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).ok();
        let used = stat.and_then(|stat| used_by(&stat));
        used.is_none_or(|used| used >= self.patience) || begin.elapsed() >= self.patience * 4
    }

    /// Runs it quietly, as long as we have patience, and says what it took.
    fn run(&self, command: &mut Command) -> Result<(Option<Output>, Duration), Failure> {
        let shown = proc::shown(command);
        let (begin, before) = (Instant::now(), children_cpu());
        guard::own_group(command);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context(|| shown.clone())?;
        self.guard.add_process(child.id());
        let (done, ended) = std::sync::mpsc::channel();
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let reader = std::thread::spawn(move || {
            let errors = std::thread::spawn(move || read_all(err));
            let text = read_all(out) + &errors.join().unwrap_or_default();
            // Who waits may have lost patience.
            let _ = done.send(());
            text
        });
        let in_time = loop {
            match ended.recv_timeout(Duration::from_secs(1).min(self.patience)) {
                Err(RecvTimeoutError::Timeout) if self.has_hung(&child, begin) => break false,
                Err(RecvTimeoutError::Timeout) => {}
                _ => break true,
            }
        };
        if !in_time {
            kill_group(&mut child)?;
        }
        let text = reader.join().unwrap_or_default();
        let status = child.wait().context(|| shown)?;
        self.guard.remove_process(child.id());
        let cpu = before.zip(children_cpu()).map(|(before, after)| after.saturating_sub(before));
        let output = in_time.then_some(Output { status: status.success(), text });
        Ok((output, cpu.unwrap_or_else(|| begin.elapsed())))
    }
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

/// Processor time of all children that have ended, where the system says so.
fn children_cpu() -> Option<Duration> {
    cpu_of(&std::fs::read_to_string("/proc/self/stat").ok()?)
}

/// User and system time of waited-for children: fields 16 and 17 of proc(5).
fn cpu_of(stat: &str) -> Option<Duration> {
    two_times(stat, 13)
}

/// The same of a process itself: fields 14 and 15.
fn used_by(stat: &str) -> Option<Duration> {
    two_times(stat, 11)
}

/// Two times that follow each other, in hundredths of a second on every Linux.
fn two_times(stat: &str, skip: usize) -> Option<Duration> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(skip);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(Duration::from_millis((user + system) * 10))
}

/// What a child left.
struct Output {
    status: bool,
    text: String,
}

/// Kills a child that leads a process group of its own, with all that it has started.
fn kill_group(child: &mut Child) -> Result<(), Failure> {
    #[cfg(unix)]
    {
        use rustix::process::{Pid, Signal, kill_process_group};
        let id = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let id = id.ok_or_else(|| Failure::new("0 is no process"))?;
        kill_process_group(id, Signal::KILL).context(|| String::from("cannot stop what hangs"))?;
    }
    // One that has ended meanwhile needs no killing.
    let _ = child.kill();
    Ok(())
}

fn read_all(from: Option<impl std::io::Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut from) = from {
        // What cannot be read is not missed: the exit code counts.
        let _ = from.read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
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
    fn the_time_of_children_is_read() {
        let stat = "71 (x) y) S 1 71 71 0 -1 4194560 5 6 0 0 1 2 250 50 20 0 1 0";
        assert_eq!(super::cpu_of(stat), Some(std::time::Duration::from_secs(3)));
        assert_eq!(super::used_by(stat), Some(std::time::Duration::from_millis(30)));
    }

    #[test]
    fn violations_are_read_from_a_report() {
        let report = serde_json::json!({ "violations": [{ "seed": 7, "checker": "liveness" }] });
        assert_eq!(super::violations(&report).unwrap(), [(7, String::from("liveness"))]);
        assert!(super::violations(&serde_json::json!({})).is_err());
    }
}
