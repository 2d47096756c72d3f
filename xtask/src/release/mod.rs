//! `cargo xtask release --dry-run`: everything that is looked at before a release, by a program.
//!
//! What it does not do is to release: a tag and a publication cannot be taken back, so a person does them. CONTRIBUTING.md
//! has the same list in words.

mod external;
mod features;
mod manifests;
mod msrv;
mod names;

use std::process::Command;
use std::time::Instant;

use serde_json::Value;

use crate::ci::{Ended, NO_DENY, StepResult, deny, ended};

use crate::util::{Context, Failure, proc, table};
use crate::{Outcome, tidy};
use manifests::Changelog;

/// Flags of `cargo xtask release`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Checks everything and changes nothing. There is no other way: without it this says what a person must do.
    #[arg(long)]
    dry_run: bool,
    /// Runs only this step; may be given more than once.
    #[arg(long, value_name = "STEP")]
    only: Vec<String>,
    /// Says which steps there are.
    #[arg(long)]
    list: bool,
    /// The revision whose public API this one is compared with. Default: the last tag.
    #[arg(long, value_name = "REV")]
    baseline_rev: Option<String>,
}

/// What the steps look at.
struct Release {
    metadata: Value,
    version: String,
    baseline: Option<String>,
}

/// A step by name.
type Step = (&'static str, fn(&Release) -> StepResult);

const STEPS: &[Step] = &[
    ("tree: clean", |_| clean()),
    ("versions", versions),
    ("names", |release| names::check(&release.metadata)),
    ("changelog", changelog),
    ("manifests", |release| found(manifests::fields(&release.metadata))),
    ("docs.rs", |release| found(manifests::docs_rs(&release.metadata))),
    ("licences", |_| found(manifests::licences(&proc::root()))),
    ("lock", |_| lock()),
    ("tidy", |_| found(tidy::check(&proc::root())?.iter().map(ToString::to_string).collect())),
    ("deny", |_| deny()),
    ("advisories", |_| advisories()),
    ("msrv", |release| msrv::check(&release.metadata)),
    ("features", |release| features::check(&release.metadata)),
    ("external types", |release| external::check(&release.metadata)),
    ("semver", semver),
    ("package", |release| package(&release.metadata)),
];

/// The steps that may leave something to a person.
const DUE: [&str; 2] = ["names", "changelog"];

/// One of the steps, with how it ended: what was skipped has not passed.
pub(crate) fn step(name: &str) -> StepResult {
    let (_, step) = STEPS
        .iter()
        .find(|(known, _)| *known == name)
        .ok_or_else(|| Failure::new(format!("there is no step {name:?}")))?;
    let metadata = proc::metadata()?;
    step(&Release { version: manifests::version(&metadata), baseline: last_tag(), metadata })
}

pub(crate) fn run(args: &Args) -> Outcome {
    if args.list {
        STEPS.iter().for_each(|(name, _)| println!("{name}"));
        return Ok(true);
    }
    if let Some(unknown) = args.only.iter().find(|only| STEPS.iter().all(|(name, _)| name != only)) {
        return Err(Failure::new(format!("there is no step {unknown:?}; see --list")));
    }
    let metadata = proc::metadata()?;
    let version = manifests::version(&metadata);
    if !args.dry_run {
        let release = Release { version, baseline: None, metadata };
        println!("{}", by_hand(&release)?);
        return Err(Failure::new("only --dry-run is done by a program")
            .next("do by hand what stands above, in its order"));
    }
    let release = Release { version, baseline: args.baseline_rev.clone().or_else(last_tag), metadata };
    let (mut rows, mut failed, mut skipped, mut due) = (Vec::new(), 0, 0, 0);
    for (name, step) in
        STEPS.iter().filter(|(name, _)| args.only.is_empty() || args.only.iter().any(|o| o == name))
    {
        eprintln!("\n== {name}");
        let begin = Instant::now();
        let ended = step(&release).unwrap_or_else(|failure| {
            eprintln!("{name}: {failure}");
            Ended::Failed
        });
        let (word, why) = match ended {
            Ended::Passed => ("ok", String::new()),
            Ended::Failed => ("FAILED", String::from("see above")),
            Ended::Skipped(why) => ("skipped", why),
            Ended::Due(why) => ("due", why),
        };
        due += usize::from(word == "due");
        failed += usize::from(word == "FAILED");
        skipped += usize::from(word == "skipped");
        let seconds = format!("{:.1}", begin.elapsed().as_secs_f64());
        rows.push(vec![(*name).to_owned(), seconds, word.to_owned(), why]);
    }
    println!("\n{}", table::render(&["step", "seconds", "result", "why"], &rows));
    if due > 0 {
        println!("due: nothing is wrong with the tree, but a person has this to do before the release");
    }
    println!(
        "release: version={} steps={} failed={failed} skipped={skipped} due={due}",
        release.version,
        rows.len()
    );
    Ok(failed == 0)
}

/// Says what was found; nothing is well.
fn found(wrong: Vec<String>) -> StepResult {
    wrong.iter().for_each(|line| eprintln!("{line}"));
    Ok(ended(wrong.is_empty()))
}

/// What a person does, in its order, beginning with what is due.
fn by_hand(release: &Release) -> Result<String, Failure> {
    let mut due = String::new();
    for (name, step) in STEPS.iter().filter(|(name, _)| DUE.contains(name)) {
        match step(release)? {
            Ended::Due(what) => due.push_str(&format!("  {name}: {what}; a commit\n")),
            Ended::Skipped(why) => due.push_str(&format!("  {name}: not looked at: {why}\n")),
            Ended::Failed => due.push_str(&format!("  {name}: FAILED, see above\n")),
            Ended::Passed => {}
        }
    }
    let order = manifests::order(&release.metadata);
    let publish: String = order.iter().map(|name| format!("  cargo publish -p {name}\n")).collect();
    let version = &release.version;
    Ok(format!(
        "A release cannot be taken back, so a person does it, after `cargo xtask release --dry-run` has passed:\n{due}  \
         git tag -s v{version} -m {version}\n{publish}  git push origin v{version}"
    ))
}

fn git(args: &[&str]) -> Result<String, Failure> {
    proc::stdout(Command::new("git").current_dir(proc::root()).args(args))
}

fn clean() -> StepResult {
    let status = git(&["status", "--porcelain"])?;
    if !status.is_empty() {
        eprint!("{status}");
        eprintln!("not committed: what is looked at here would not be what is tagged");
    }
    Ok(ended(status.is_empty()))
}

/// The last release before this commit, which may be tagged itself.
fn last_tag() -> Option<String> {
    git(&["describe", "--tags", "--abbrev=0", "--match", "v[0-9]*", "HEAD^"])
        .ok()
        .map(|tag| tag.trim().to_owned())
}

/// One version everywhere, which nobody has been told is something else.
fn versions(release: &Release) -> StepResult {
    let mut wrong = manifests::versions(&release.metadata);
    let tag = format!("v{}", release.version);
    let commit = |rev: &str| git(&["rev-parse", "--verify", "--quiet", &format!("{rev}^{{commit}}")]).ok();
    if commit(&tag).is_some_and(|tagged| Some(tagged) != commit("HEAD")) {
        wrong.push(format!("{tag} is the tag of another commit: raise the version in Cargo.toml"));
    }
    found(wrong)
}

fn changelog(release: &Release) -> StepResult {
    let version = &release.version;
    let text = std::fs::read_to_string(proc::root().join("CHANGELOG.md"))
        .context(|| String::from("cannot read CHANGELOG.md"))?;
    match manifests::changelog(&text, version) {
        Changelog::Dated => Ok(Ended::Passed),
        Changelog::Unreleased => {
            Ok(Ended::Due(format!("`## Unreleased` becomes `## {version} - YYYY-MM-DD`")))
        }
        Changelog::Wrong(what) => found(vec![what]),
    }
}

fn lock() -> StepResult {
    let checked = proc::stdout(proc::cargo().args(["metadata", "--locked", "--format-version=1"]));
    found(
        checked
            .err()
            .map(|failure| format!("{failure}\nrun `cargo metadata` and commit Cargo.lock"))
            .into_iter()
            .collect(),
    )
}

/// What is known by now to be wrong with a dependency: another answer tomorrow for the same tree, so no step of the CI.
fn advisories() -> StepResult {
    if !proc::works(proc::cargo().args(["deny", "--version"])) {
        return Ok(Ended::Skipped(String::from(NO_DENY)));
    }
    if let Err(failure) = proc::stdout(proc::cargo().args(["deny", "--color", "never", "fetch", "db"])) {
        if !failure.to_string().contains("failed to fetch advisory database") {
            return Err(failure);
        }
        eprintln!("{failure}");
        return Ok(Ended::Skipped(String::from(
            "the database cannot be fetched: run this step where github.com can be reached",
        )));
    }
    Ok(ended(proc::run(proc::cargo().args(["deny", "--workspace", "check", "advisories"]))?))
}

/// Where a step builds that needs another toolchain or other flags; removed when it is done, not to double the target
/// folder of whoever asks.
fn own_target(name: &str) -> Result<tempfile::TempDir, Failure> {
    let dir = proc::target_dir()?;
    tempfile::Builder::new()
        .prefix(name)
        .tempdir_in(&dir)
        .context(|| format!("no folder in {}", dir.display()))
}

/// The public API since the last release.
fn semver(release: &Release) -> StepResult {
    if !proc::works(proc::cargo().args(["semver-checks", "--version"])) {
        return Ok(Ended::Skipped(String::from(
            "cargo-semver-checks is not installed: cargo install cargo-semver-checks --locked",
        )));
    }
    let Some(baseline) = &release.baseline else {
        let shallow = git(&["rev-parse", "--is-shallow-repository"])?.trim() == "true";
        return Ok(Ended::Skipped(String::from(if shallow {
            "this clone has not all commits and perhaps not all tags: git fetch --unshallow --tags"
        } else {
            "nothing was released before: no tag v*, and no --baseline-rev REV to compare with"
        })));
    };
    let mut command = proc::cargo();
    command.args(["semver-checks", "--all-features", "--baseline-rev", baseline]);
    let libraries = manifests::libraries(&release.metadata);
    command.args(
        libraries.iter().flat_map(|package| ["--package", package["name"].as_str().unwrap_or_default()]),
    );
    let passed = proc::run(&mut command)?;
    if !passed {
        eprintln!(
            "the public API since {baseline} asks for another version than {}: take the change back, or raise the version \
             in Cargo.toml and say in CHANGELOG.md what users have to change",
            release.version
        );
    }
    Ok(ended(passed))
}

/// What would be uploaded: no file that a crate includes lies outside of its folder, each has what a registry and a reader ask
/// for, and compiles from nothing but its package and those of the others.
fn package(metadata: &Value) -> StepResult {
    let mut passed = true;
    let order = manifests::order(metadata);
    for name in &order {
        let list =
            proc::stdout(proc::cargo().args(["package", "--list", "--allow-dirty", "--package", name]))?;
        let files: Vec<&str> = list.lines().collect();
        for missing in manifests::missing(&files) {
            eprintln!("{name}: {missing} would not be in the package");
            passed = false;
        }
        eprintln!("{name}: {} files", files.len());
        for outside in manifests::outside_includes(metadata, name) {
            eprintln!("{outside}");
            passed = false;
        }
    }
    if passed {
        let mut command = proc::cargo();
        command.args(["package", "--locked", "--allow-dirty", "--all-features"]);
        command.args(order.iter().flat_map(|name| ["--package", name]));
        passed = proc::run(&mut command)?;
        if !passed {
            eprintln!(
                "a package must compile by itself: does it need a file of another folder, or what only the workspace says?"
            );
        }
    }
    Ok(ended(passed))
}
