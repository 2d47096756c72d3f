//! `cargo xtask mutants`: plants known bugs, one at a time, in a copy of the workspace, and says what
//! catches each, how soon, and which were not caught. A simulator that finds nothing proves only then
//! something when it finds what is there.

mod detect;
mod generated;
mod markdown;
mod merge;
mod programs;
mod running;
mod saved;
mod table;
mod tree;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::Outcome;
use crate::util::{Failure, json as json_file, proc, progress::Progress, table as text_table};
use detect::{Caught, Detectors};
use saved::Saved;
use table::{By, Mutant};
use tree::Tree;

/// Flags of `cargo xtask mutants`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only these; a part of a name will do.
    names: Vec<String>,
    /// Says what is planted, and runs nothing.
    #[arg(long)]
    list: bool,
    /// How many seeds the simulator tries on each.
    #[arg(long, default_value_t = 500)]
    seeds: u64,
    /// Only what this may catch, and only with this; may be given more than once.
    #[arg(long, value_name = "WHAT")]
    by: Vec<By>,
    /// Builds a simulator for each bug, also for those that one binary can have with a switch each.
    #[arg(long)]
    alone: bool,
    /// Also says whether the tests of raft-core and raft-testkit find it. Takes longer.
    #[arg(long)]
    tests: bool,
    /// What takes more than so many seconds of processor time hangs, and has caught it; 900, or 60 for a step of
    /// --generated.
    #[arg(long, value_name = "SECONDS")]
    patience: Option<u64>,
    /// Writes the results there, after each bug what there is so far.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Goes on where a run ended that wrote such a file: what was caught there is not planted again.
    #[arg(long, value_name = "FILE")]
    resume: Option<PathBuf>,
    /// Writes them as text for people there, between the two marks that say so.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    #[command(flatten)]
    generated: generated::Args,
}

/// How long a detector may take, in seconds of processor time, unless told otherwise.
const PATIENCE: u64 = 900;

/// What became of one planted bug.
struct Row {
    mutant: Mutant,
    /// What caught it, nothing, or why that cannot be told.
    found: Result<Option<Caught>, Failure>,
    /// Whether the tests find it, if they were asked.
    tests: Option<bool>,
}

pub(crate) fn run(args: &Args) -> Outcome {
    if args.generated.wanted() {
        let Args { list, patience, .. } = *args;
        let (json, resume, markdown) =
            (args.json.as_deref(), args.resume.as_deref(), args.markdown.as_deref());
        return generated::run(
            &args.generated,
            &generated::Common { list, patience, json, resume, markdown },
        );
    }
    let mutants = chosen(args, table::read(&proc::root())?)?;
    if args.list {
        let rows: Vec<Vec<String>> = mutants.into_iter().map(listed).collect();
        print!("{}", text_table::render(&["bug", "what breaks", "rule"], &rows));
        println!("mutants: planted={}", rows.len());
        return Ok(true);
    }
    let tree = Tree::new("mutants")?;
    let mut detectors =
        Detectors::new(&tree, args.seeds, Duration::from_secs(args.patience.unwrap_or(PATIENCE)))?;
    let Saved { caught: before, commit, mut checkers } =
        args.resume.as_deref().map(saved::read).transpose()?.unwrap_or_default();
    let left: Vec<Mutant> =
        mutants.iter().filter(|mutant| !before.contains_key(&mutant.name)).cloned().collect();
    let commits = match commit.filter(|commit| *commit != tree.commit) {
        None => tree.commit.clone(),
        Some(commit) if left.is_empty() => commit,
        Some(commit) => format!("{commit} and {}", tree.commit),
    };
    if !left.is_empty() || checkers.is_empty() {
        detectors.prepare(&left, args.alone)?;
        checkers = detectors.checkers()?;
    }
    let progress = Progress::new(mutants.len() as u64);
    let mut rows: Vec<Row> = Vec::new();
    for mutant in mutants {
        progress.at(rows.len() as u64, mutant.name.clone());
        if let Some(caught) = before.get(&mutant.name) {
            rows.push(Row { mutant, found: Ok(Some(caught.clone())), tests: None });
            continue;
        }
        let row = look(args, &tree, &detectors, mutant)?;
        progress.line(&cells(&row).join("  "));
        rows.push(row);
        json_file::write(args.json.as_deref(), &saved::value(&rows, &commits, &checkers))?;
    }
    drop(progress);
    report(args, &rows, &commits, &checkers)
}

/// What was asked for, with only the detectors that were asked for.
fn chosen(args: &Args, all: Vec<Mutant>) -> Result<Vec<Mutant>, Failure> {
    let named = |mutant: &Mutant| args.names.iter().any(|name| mutant.name.contains(&name[..]));
    if let Some(unknown) = args.names.iter().find(|name| all.iter().all(|m| !m.name.contains(&name[..]))) {
        return Err(Failure::new(format!("no planted bug is called {unknown:?}; see --list")));
    }
    let mut chosen: Vec<Mutant> = all.into_iter().filter(|m| args.names.is_empty() || named(m)).collect();
    if !args.by.is_empty() {
        for mutant in &mut chosen {
            mutant.by.retain(|by| args.by.contains(by));
        }
        chosen.retain(|mutant| !mutant.by.is_empty());
    }
    if chosen.is_empty() {
        return Err(Failure::new("nothing is left to plant"));
    }
    Ok(chosen)
}

/// Plants one bug, looks for it, and takes it out again.
fn look(args: &Args, tree: &Tree, detectors: &Detectors<'_>, mutant: Mutant) -> Result<Row, Failure> {
    let mut left = Vec::new();
    for by in &mutant.by {
        match detectors.switch(&mutant, *by)? {
            None => left.push(*by),
            Some(Some(found)) if !args.tests => {
                return Ok(Row { mutant, found: Ok(Some(found)), tests: None });
            }
            Some(_) => {}
        }
    }
    if left.is_empty() && !args.tests {
        return Ok(Row { mutant, found: Ok(None), tests: None });
    }
    let found = tree.plant(&mutant).and_then(|()| {
        for by in if args.tests { &mutant.by } else { &left } {
            if let Some(caught) = detectors.look(&mutant, *by)? {
                return Ok(Some(caught));
            }
        }
        Ok(None)
    });
    let tests = if args.tests && found.is_ok() { Some(!tests_pass(tree)?) } else { None };
    tree.heal()?;
    Ok(Row { mutant, found, tests })
}

/// Whether the tests of the protocol, of the driver and of the scenarios pass.
fn tests_pass(tree: &Tree) -> Result<bool, Failure> {
    let mut command = tree.cargo();
    let nextest = proc::works(command.args(["nextest", "--version"]));
    let mut command = tree.cargo();
    command.args(if nextest { &["nextest", "run"][..] } else { &["test"] });
    command.args(["--package", "raft-core", "--package", "raft-testkit"]);
    Ok(proc::works(&mut command))
}

fn listed(mutant: Mutant) -> Vec<String> {
    vec![mutant.name, mutant.breaks, mutant.rule]
}

fn cells(row: &Row) -> Vec<String> {
    let name = row.mutant.name.clone();
    let tests = match row.tests {
        None => String::new(),
        Some(found) => String::from(if found { "yes" } else { "no" }),
    };
    match &row.found {
        Err(failure) => vec![name, format!("ERROR: {failure}"), String::new(), String::new(), tests],
        Ok(None) => vec![name, String::from("NOT CAUGHT"), String::new(), String::new(), tests],
        Ok(Some(caught)) => {
            let seeds = if caught.seed.is_some() { caught.seeds.to_string() } else { String::from("-") };
            let what = format!("{}: {}", word(caught.by), caught.checker);
            vec![name, what, seeds, format!("{:.1}", caught.cpu.as_secs_f64()), tests]
        }
    }
}

const fn word(by: By) -> &'static str {
    match by {
        By::Sim => "sim",
        By::Model => "model",
        By::Crash => "crash",
        By::Test => "test",
    }
}

fn report(args: &Args, rows: &[Row], commit: &str, checkers: &[String]) -> Outcome {
    let lines: Vec<Vec<String>> = rows.iter().map(cells).collect();
    println!("\n{}", text_table::render(&["bug", "caught by", "seeds", "cpu s", "tests"], &lines));
    let caught: Vec<&Caught> = rows.iter().filter_map(|row| row.found.as_ref().ok()?.as_ref()).collect();
    let first = first(&caught);
    let by_checker: Vec<String> = first.iter().map(|(checker, count)| format!("{checker} {count}")).collect();
    if !by_checker.is_empty() {
        println!("first to see it in the simulator: {}", by_checker.join(", "));
    }
    let median = median(caught.iter().map(|caught| caught.cpu).collect()).as_secs_f64();
    json_file::write(args.json.as_deref(), &saved::value(rows, commit, checkers))?;
    if let Some(file) = &args.markdown {
        markdown::write(file, "measured", &markdown::render(rows, args.seeds, commit, checkers))?;
    }
    println!("mutants: planted={} caught={} median_cpu_seconds={median:.1}", rows.len(), caught.len());
    Ok(caught.len() == rows.len())
}

/// How many planted bugs each checker of the simulator was the first to see.
fn first<'a>(caught: &[&'a Caught]) -> BTreeMap<&'a str, u64> {
    let mut first = BTreeMap::new();
    for caught in caught.iter().filter(|caught| caught.by == By::Sim) {
        *first.entry(&caught.checker[..]).or_default() += 1;
    }
    first
}

/// The middle one; of an even number the later of the two.
fn median(mut all: Vec<Duration>) -> Duration {
    all.sort_unstable();
    all.get(all.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_patch_applies_to_the_workspace() {
        let root = proc::root();
        let mutants = table::read(&root).unwrap();
        assert!(mutants.len() >= 30, "{} bugs are planted", mutants.len());
        let broken: Vec<String> = mutants
            .iter()
            .filter_map(|mutant| {
                let mut command = tree::apply(&root);
                let failure = proc::stdout(command.arg("--check").arg(mutant.patch(&root))).err()?;
                Some(format!("{}: {failure}", mutant.name))
            })
            .collect();
        let help = "write these again: apply the change by hand, `git diff -U2 > xtask/mutants/NAME.patch`";
        assert!(broken.is_empty(), "{help}\n{}\n", broken.join("\n"));
    }

    #[test]
    fn the_median_is_in_the_middle() {
        let seconds = |all: &[u64]| median(all.iter().copied().map(Duration::from_secs).collect()).as_secs();
        assert_eq!(seconds(&[]), 0);
        assert_eq!(seconds(&[9, 1, 5]), 5);
        assert_eq!(seconds(&[9, 1]), 9);
    }
}
