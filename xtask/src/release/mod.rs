//! `cargo xtask release --dry-run`: everything that is looked at before a release, by a program.
//!
//! What it does not do is to release: a tag and a publication cannot be taken back, so a person does them. CONTRIBUTING.md
//! has the same list in words.

mod external;
mod features;
mod manifests;

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use serde_json::Value;

use crate::ci::{Ended, StepResult, deny, ended};
use crate::util::{Context, Failure, proc, table};
use crate::{Outcome, tidy};

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
    ("versions", |release| found(manifests::versions(&release.metadata))),
    ("changelog", |release| found(manifests::changelog(&changelog()?, &release.version))),
    ("manifests", |release| found(manifests::fields(&release.metadata))),
    ("docs.rs", |release| found(manifests::docs_rs(&release.metadata))),
    ("licences", |_| found(manifests::licences(&proc::root()))),
    ("lock", |_| Ok(ended(proc::works(proc::cargo().args(["metadata", "--locked", "--format-version=1"]))))),
    ("tidy", |_| found(tidy::check(&proc::root())?.iter().map(ToString::to_string).collect())),
    ("deny", |_| deny()),
    ("msrv", |release| msrv(&release.metadata)),
    ("features", |release| features::check(&release.metadata)),
    ("external types", |release| external::check(&release.metadata)),
    ("semver", semver),
    ("package", |release| package(&release.metadata)),
];

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
        println!("{}", by_hand(&metadata, &version));
        return Err(Failure::new("only --dry-run is done by a program"));
    }
    let release = Release { version, baseline: args.baseline_rev.clone().or_else(last_tag), metadata };
    let (mut rows, mut failed, mut skipped) = (Vec::new(), 0, 0);
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
        };
        failed += usize::from(word == "FAILED");
        skipped += usize::from(word == "skipped");
        let seconds = format!("{:.1}", begin.elapsed().as_secs_f64());
        rows.push(vec![(*name).to_owned(), seconds, word.to_owned(), why]);
    }
    println!("\n{}", table::render(&["step", "seconds", "result", "why"], &rows));
    println!("release: version={} steps={} failed={failed} skipped={skipped}", release.version, rows.len());
    Ok(failed == 0)
}

/// Says what was found; nothing is well.
fn found(wrong: Vec<String>) -> StepResult {
    wrong.iter().for_each(|line| eprintln!("{line}"));
    Ok(ended(wrong.is_empty()))
}

fn by_hand(metadata: &Value, version: &str) -> String {
    let order = manifests::order(metadata);
    let publish: Vec<String> = order.iter().map(|name| format!("  cargo publish -p {name}\n")).collect();
    format!(
        "A release cannot be taken back, so a person does it, after `cargo xtask release --dry-run` has passed:\n  \
         publish = true in [workspace.package]; a commit\n  git tag -s v{version} -m {version}\n{}  git push origin v{version}",
        publish.concat()
    )
}

fn git(args: &[&str]) -> Result<String, Failure> {
    proc::stdout(Command::new("git").current_dir(proc::root()).args(args))
}

fn clean() -> StepResult {
    found(git(&["status", "--porcelain"])?.lines().map(|line| format!("not committed: {line}")).collect())
}

fn last_tag() -> Option<String> {
    git(&["describe", "--tags", "--abbrev=0"]).ok().map(|tag| tag.trim().to_owned())
}

fn changelog() -> Result<String, Failure> {
    std::fs::read_to_string(proc::root().join("CHANGELOG.md"))
        .context(|| String::from("cannot read CHANGELOG.md"))
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

/// Each package with the toolchain that it says is enough.
fn msrv(metadata: &Value) -> StepResult {
    let mut missing = Vec::new();
    let mut passed = true;
    for (version, packages) in manifests::rust_versions(metadata) {
        let toolchain = format!("+{version}");
        // Not `proc::cargo`: that is the cargo of one toolchain, this is the one that chooses.
        if !proc::works(Command::new("cargo").args([&toolchain, "--version"])) {
            missing.push(format!("rustup toolchain install {version} --profile minimal"));
            continue;
        }
        let target = own_target("msrv-")?;
        let mut command = Command::new("cargo");
        command.current_dir(proc::root()).args([
            &toolchain,
            "check",
            "--locked",
            "--all-features",
            "--target-dir",
        ]);
        command.arg(target.path()).args(packages.iter().flat_map(|name| ["--package", name]));
        // What cargo tells whom it runs is of its own toolchain.
        for name in ["CARGO", "RUSTC", "RUSTDOC", "RUSTUP_TOOLCHAIN"] {
            command.env_remove(name);
        }
        passed &= proc::run(&mut command)?;
    }
    Ok(match passed {
        false => Ended::Failed,
        true if missing.is_empty() => Ended::Passed,
        true => Ended::Skipped(format!("in part: {}", missing.join("; "))),
    })
}

/// The public API since the last release.
fn semver(release: &Release) -> StepResult {
    if !proc::works(proc::cargo().args(["semver-checks", "--version"])) {
        return Ok(Ended::Skipped(String::from("cargo install cargo-semver-checks --locked")));
    }
    let Some(baseline) = &release.baseline else {
        return Ok(Ended::Skipped(String::from("there is no tag yet, and no --baseline-rev")));
    };
    let mut command = proc::cargo();
    command.args(["semver-checks", "--all-features", "--baseline-rev", baseline]);
    let libraries = manifests::libraries(&release.metadata);
    command.args(
        libraries.iter().flat_map(|package| ["--package", package["name"].as_str().unwrap_or_default()]),
    );
    Ok(ended(proc::run(&mut command)?))
}

/// What would be uploaded, in the order of dependency: no file that a crate includes lies outside of its folder, and each has
/// what a registry asks for. That it compiles from there the registry's own dry run says once the crates before it are there.
fn package(metadata: &Value) -> StepResult {
    let mut passed = true;
    for name in manifests::order(metadata) {
        let list =
            proc::stdout(proc::cargo().args(["package", "--list", "--allow-dirty", "--package", &name]))?;
        let files: Vec<&Path> = list.lines().map(Path::new).collect();
        for wanted in ["Cargo.toml", "src/lib.rs"] {
            if !files.contains(&Path::new(wanted)) {
                eprintln!("{name}: {wanted} would not be in the package");
                passed = false;
            }
        }
        eprintln!("{name}: {} files", files.len());
        for outside in manifests::outside_includes(metadata, &name) {
            eprintln!("{outside}");
            passed = false;
        }
    }
    Ok(ended(passed))
}
