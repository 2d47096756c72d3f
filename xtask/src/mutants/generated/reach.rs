//! Which test comes to which function, and how long it takes: every test is run once alone, without any change. A
//! change is shown only to the tests that come to its function.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::merge::{self, Merge};
use super::super::programs::Program;
use super::super::tree::Tree;
use super::ladder::{self, Of, Run};
use crate::util::{Context, Failure, progress::Progress};

/// A test as it is without any change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Test {
    /// Which step of its package it is of.
    pub(super) step: usize,
    /// What it is called, unless the step is one test.
    pub(super) name: Option<String>,
    /// Of processor time.
    pub(super) millis: u64,
    /// The first change of each function that it comes to.
    reached: BTreeSet<u32>,
}

/// The tests of each package, and where the changes are.
pub(super) struct Reach {
    tests: BTreeMap<String, Vec<Test>>,
    /// The first change in the same function.
    places: BTreeMap<u32, u32>,
}

/// Milliseconds that a quick test takes.
const QUICK: u64 = 300;

/// What the tests of these sources have reached.
const KEPT: &str = "reached.json";

impl Reach {
    /// Runs all tests of these packages, unless an earlier run has done so with the same sources and changes.
    pub(super) fn new(
        tree: &Tree,
        merge: &Merge,
        packages: &BTreeSet<&str>,
        run: &Run<'_>,
    ) -> Result<Self, Failure> {
        let (kept, digest) = (tree.scratch(KEPT), merge.digest(tree.digest));
        let mut tests = read(&kept, digest).unwrap_or_default();
        for package in
            packages.iter().filter(|package| !tests.contains_key(**package)).copied().collect::<Vec<_>>()
        {
            tests.insert(String::from(package), record(package, tree, run)?);
            let text = serde_json::to_string(&(digest, &tests)).context(|| String::from(KEPT))?;
            std::fs::write(&kept, text).context(|| String::from(KEPT))?;
        }
        Ok(Self { tests, places: merge.places().collect() })
    }

    /// The tests that come to where a change is, those first that take the least.
    pub(super) fn of(&self, package: &str, change: u32) -> Vec<&Test> {
        let Some(place) = self.places.get(&change) else { return Vec::new() };
        let all = self.tests.get(package).into_iter().flatten();
        let mut found: Vec<&Test> = all.filter(|test| test.reached.contains(place)).collect();
        found.sort_by_key(|test| test.rank());
        found
    }
}

impl Test {
    /// Whether a change that nothing has seen may be shown to it without much thought.
    pub(super) const fn is_quick(&self) -> bool {
        self.millis <= QUICK
    }

    /// Tests of one rank are run together: of one step, and all quick, or all not so quick. A slow one is alone.
    pub(super) fn rank(&self) -> (u64, usize) {
        let class = match self.millis {
            0..=30 => 0,
            31..=QUICK => QUICK,
            millis => millis,
        };
        (class, self.step)
    }
}

fn read(kept: &Path, digest: u64) -> Option<BTreeMap<String, Vec<Test>>> {
    let text = std::fs::read_to_string(kept).ok()?;
    let (of, tests) = serde_json::from_str::<(u64, _)>(&text).ok()?;
    (of == digest).then_some(tests)
}

fn record(package: &str, tree: &Tree, run: &Run<'_>) -> Result<Vec<Test>, Failure> {
    let mut tests = Vec::new();
    for (step, (of, target)) in ladder::steps(package).iter().enumerate() {
        let names: Vec<Option<String>> = match target {
            Program::Sim => vec![None],
            _ => run.tests((of, *target))?.into_iter().map(Some).collect(),
        };
        let progress = Progress::new(names.len() as u64);
        for (done, name) in names.into_iter().enumerate() {
            progress.at(done as u64, name.clone().unwrap_or_default());
            let test = one(step, name, tree, run, (*of, *target))?;
            tests.push(test);
        }
    }
    Ok(tests)
}

fn one(step: usize, name: Option<String>, tree: &Tree, run: &Run<'_>, of: Of<'_>) -> Result<Test, Failure> {
    let noted = tree.scratch("reached.txt");
    std::fs::write(&noted, "").context(|| String::from("cannot note what is reached"))?;
    let names: Vec<&str> = name.iter().map(String::as_str).collect();
    let mut command = run.command(of, &names, 0)?;
    let (seen, cpu) = run.see(command.env(merge::REACHED, &noted), None)?;
    if let Some(seen) = seen {
        let of = ladder::called(of);
        return Err(Failure::new(format!("without any change {of} fails too: {seen}: {}", names.join(""))));
    }
    let text = std::fs::read_to_string(&noted).context(|| noted.display().to_string())?;
    let reached = text.lines().filter_map(|line| line.parse().ok()).collect();
    let millis = u64::try_from(cpu.as_millis()).unwrap_or(u64::MAX);
    Ok(Test { step, name, millis, reached })
}

/// How long these may take: much longer than they do without a change.
pub(super) fn patience(tests: &[&Test]) -> Duration {
    Duration::from_millis(1000 + 10 * tests.iter().map(|test| test.millis).sum::<u64>())
}
