//! `cargo xtask mutants --generated`: the changes that cargo-mutants makes of the protocol and of the journal's
//! recovery. cargo-mutants builds for each of them; here it only lists them, and all that compile are in one build,
//! with a switch each.

mod explained;
mod ladder;
mod list;
mod reach;
mod saved;
mod text;
mod viable;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::markdown;
use super::running::Runner;
use super::tree::Tree;
use crate::Outcome;
use crate::util::random::Random;
use crate::util::{Failure, json as json_file, progress::Progress};
use ladder::{Ladder, Run, Seen};
use list::{Change, Name};
use reach::Reach;

/// How long a change may take in one step, in seconds of processor time, unless told otherwise.
const PATIENCE: u64 = 60;

/// How often what was found is written down.
const EVERY: Duration = Duration::from_secs(10);

/// Flags of `cargo xtask mutants --generated`.
#[derive(clap::Args)]
#[group(id = "generated_changes")]
pub(crate) struct Args {
    /// Makes the changes that cargo-mutants knows, instead of planting bugs.
    #[arg(long, conflicts_with_all = ["names", "seeds", "by", "alone", "tests"])]
    generated: bool,
    /// Only of this package; may be given more than once.
    #[arg(long, value_name = "NAME", requires = "generated")]
    package: Vec<String>,
    /// Only in these files, instead of those of the protocol and of recovery; may be given more than once.
    #[arg(long, value_name = "GLOB", requires = "generated")]
    file: Vec<String>,
    /// Only part K (from 0) of N equal parts, each with changes of everywhere.
    #[arg(long, value_name = "K/N", value_parser = shard, requires = "generated")]
    shard: Option<(usize, usize)>,
    /// How many changes at a time.
    #[arg(long, value_name = "N", default_value_t = 2, requires = "generated")]
    jobs: usize,
    /// Only with tests that take less than a third of a second; what they have left is for a run with --again.
    #[arg(long, requires = "generated")]
    quick: bool,
    /// Only with this program of tests (`lib`: unit tests), say one that has a new test; may be given more than once.
    #[arg(long, value_name = "PROGRAM", requires = "generated")]
    only: Vec<String>,
    /// With --resume: tries again what was not caught, and what could not have a switch.
    #[arg(long, requires_all = ["generated", "resume"])]
    again: bool,
}

impl Args {
    /// Whether it is asked for.
    pub(super) const fn wanted(&self) -> bool {
        self.generated
    }
}

/// Flags that it shares with planted bugs.
pub(super) struct Common<'a> {
    pub(super) list: bool,
    pub(super) patience: Option<u64>,
    pub(super) json: Option<&'a Path>,
    pub(super) resume: Option<&'a Path>,
    pub(super) markdown: Option<&'a Path>,
}

/// What became of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    /// It does not compile.
    Broken,
    /// It cannot have a switch, and was not tried.
    Apart,
    Caught(Seen),
    /// Nothing has seen it.
    Left,
}

/// All that is known of the changes, and why some need not be caught.
struct Found<'a> {
    changes: &'a [Change],
    verdicts: BTreeMap<Name, Verdict>,
    reasons: BTreeMap<Name, String>,
    commit: &'a str,
}

/// How many of each.
struct Figures {
    changes: usize,
    broken: usize,
    apart: usize,
    caught: usize,
    left: usize,
    explained: usize,
}

pub(super) fn run(args: &Args, common: &Common<'_>) -> Outcome {
    let tree = Tree::new("mutants/generated")?;
    let (mut changes, sources) = list::ask(&tree.path(""), &args.package, &args.file)?;
    if let Some((part, of)) = args.shard {
        let mut place = 0..;
        changes.retain(|_| place.next().is_some_and(|place: usize| place % of == part));
    }
    if changes.is_empty() {
        return Err(Failure::new("cargo-mutants knows no change there"));
    }
    if common.list {
        changes.iter().for_each(|change| println!("{}", change.shown()));
        println!("generated: changes={}", changes.len());
        return Ok(true);
    }
    let mut verdicts = common.resume.map(saved::read).transpose()?.unwrap_or_default();
    verdicts.retain(|name, verdict| {
        let again = args.again && matches!(verdict, Verdict::Left | Verdict::Apart);
        !again && changes.iter().any(|change| change.name == *name)
    });
    let reasons = explained::read(&tree.path(""))?;
    let mut found = Found { changes: &changes, verdicts, reasons, commit: &tree.commit };
    if changes.iter().any(|change| !found.verdicts.contains_key(&change.name)) {
        judge(args, common, &tree, &sources, &mut found)?;
    }
    json_file::write(common.json, &saved::value(&found))?;
    report(common, &found)
}

/// Compiles all that is not judged yet, and shows it to the tests.
fn judge(
    args: &Args,
    common: &Common<'_>,
    tree: &Tree,
    sources: &list::Sources,
    found: &mut Found<'_>,
) -> Result<(), Failure> {
    let changes = found.changes;
    let number_of = |place: usize| u32::try_from(place + 1).unwrap_or(u32::MAX);
    let without: BTreeSet<u32> = (0..changes.len())
        .filter(|place| {
            let verdict = found.verdict(&changes[*place]);
            matches!(verdict, Some(Verdict::Broken | Verdict::Apart))
        })
        .map(number_of)
        .collect();
    let save = |found: &Found<'_>| json_file::write(common.json, &saved::value(found));
    let viable = viable::build(tree, changes, sources, &without, |broken, apart| {
        for (place, change) in changes.iter().enumerate() {
            let number = number_of(place);
            if apart.contains(&number) {
                found.verdicts.insert(change.name.clone(), Verdict::Apart);
            } else if broken.contains(&number) {
                found.verdicts.entry(change.name.clone()).or_insert(Verdict::Broken);
            }
        }
        save(found)
    })?;
    let mut left: Vec<(u32, &Change)> = viable
        .numbers
        .iter()
        .filter_map(|number| Some((*number, changes.get(usize::try_from(*number).ok()? - 1)?)))
        .filter(|(_, change)| !found.verdicts.contains_key(&change.name))
        .collect();
    // In no order, so that what a run that is stopped has found is a fair sample.
    Random::new(1).shuffle(&mut left);
    let runner = Runner::new(Duration::from_secs(common.patience.unwrap_or(PATIENCE)))?;
    let packages: BTreeSet<&str> = left.iter().map(|(_, change)| &change.package[..]).collect();
    let run = Run::new(tree, &runner, viable.programs);
    let reach = Reach::new(tree, &viable.merge, &packages, &run)?;
    let ladder = Ladder::new(run, reach, args.quick, &args.only);
    let total = left.len();
    eprintln!("{total} changes to show to the tests");
    let progress = Progress::new(total as u64);
    let (queue, stop) = (Mutex::new(left.into_iter()), AtomicBool::new(false));
    let (tell, told) = std::sync::mpsc::channel();
    let work = || {
        let tell = tell.clone();
        let (queue, stop, ladder) = (&queue, &stop, &ladder);
        move || {
            while !stop.load(Ordering::Relaxed) {
                let next = queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner).next();
                let Some((number, change)) = next else { break };
                let seen = ladder.climb(&change.package, number);
                if tell.send((number, change, seen)).is_err() {
                    break;
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..args.jobs.max(1) {
            scope.spawn(work());
        }
        let (mut count, mut written) = (0, Instant::now());
        let mut hear = || {
            for _ in 0..total {
                let (number, change, seen) = told.recv().map_err(|_| Failure::new("a worker is gone"))?;
                let seen = seen?;
                count += 1;
                progress.at(count, change.shown());
                if seen.is_none() {
                    let there = ladder.reaches(&change.package, number);
                    let word = if there { "not caught" } else { "not reached" };
                    progress.line(&format!("{word}: {}", change.shown()));
                }
                found.verdicts.insert(change.name.clone(), seen.map_or(Verdict::Left, Verdict::Caught));
                if written.elapsed() >= EVERY {
                    save(found)?;
                    written = Instant::now();
                }
            }
            Ok(())
        };
        let heard = hear();
        stop.store(true, Ordering::Relaxed);
        heard
    })
}

impl Found<'_> {
    fn verdict(&self, change: &Change) -> Option<&Verdict> {
        self.verdicts.get(&change.name)
    }

    fn left(&self) -> impl Iterator<Item = &Change> {
        self.changes.iter().filter(|change| self.verdict(change) == Some(&Verdict::Left))
    }

    fn figures(&self) -> Figures {
        let count = |wanted: fn(&Verdict) -> bool| {
            self.changes.iter().filter(|change| self.verdict(change).is_some_and(wanted)).count()
        };
        Figures {
            changes: self.changes.len(),
            broken: count(|verdict| *verdict == Verdict::Broken),
            apart: count(|verdict| *verdict == Verdict::Apart),
            caught: count(|verdict| matches!(verdict, Verdict::Caught(_))),
            left: self.left().count(),
            explained: self.left().filter(|change| self.reasons.contains_key(&change.name)).count(),
        }
    }

    /// Reasons that explain nothing any more: the change is caught, or is none of this file.
    fn stale(&self) -> impl Iterator<Item = &Name> {
        let files: BTreeSet<&str> = self.changes.iter().map(|change| &change.name.file[..]).collect();
        let names: BTreeSet<&Name> = self.changes.iter().map(|change| &change.name).collect();
        self.reasons.keys().filter(move |name| {
            let caught = matches!(self.verdicts.get(name), Some(Verdict::Caught(_) | Verdict::Broken));
            files.contains(&name.file[..]) && (caught || !names.contains(name))
        })
    }
}

fn report(common: &Common<'_>, found: &Found<'_>) -> Outcome {
    print!("\n{}", text::plain(found));
    for name in found.stale() {
        eprintln!("{} explains what is none, or is caught: {}: {}", explained::FILE, name.file, name.change);
    }
    if let Some(file) = common.markdown {
        markdown::write(file, "generated", &text::markdown(found))?;
    }
    let Figures { changes, broken, apart, caught, left, explained } = found.figures();
    println!(
        "generated: changes={changes} broken={broken} apart={apart} caught={caught} left={left} explained={explained}"
    );
    Ok(left == explained)
}

fn shard(text: &str) -> Result<(usize, usize), String> {
    let parts = text.split_once('/').and_then(|(part, of)| Some((part.parse().ok()?, of.parse().ok()?)));
    parts.filter(|(part, of)| part < of).ok_or_else(|| String::from("expected K/N with K below N"))
}
