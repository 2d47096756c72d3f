//! `cargo xtask fuzz TARGET`: hunts for bytes that a decoder cannot stand.
//!
//! The targets are functions in the tests named `fuzz_*`, and run by `cargo test` on what is stored. Here
//! they get new inputs, from libFuzzer with coverage as its guide: the test's file becomes the program of
//! a generated package, outside of the workspace, so that nobody else has libFuzzer among his dependencies.
//! It needs a C++ compiler and, the first time, a registry, but neither nightly nor an installed tool.
//! Where it cannot be built, the tests mutate inputs themselves, without a guide.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::Outcome;
use crate::util::progress::Progress;
use crate::util::{Context, Failure, proc, table};

/// The version of the bindings, which bring libFuzzer's source.
const LIBFUZZER: &str = "=0.4.13";

/// What makes rustc count which edges are taken and what is compared with what. All of it is stable.
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 --cfg fuzzing";

/// Inputs of one target in git, beyond what people have put there.
const STORED: usize = 40;

/// Dependencies of tests that no fuzz target uses.
const NOT_NEEDED: [&str; 2] = ["criterion", "proptest"];

/// A target, where it is, and what it takes.
struct Target {
    name: &'static str,
    package: &'static str,
    /// The test's file or folder in the package's `tests`.
    test: &'static str,
    takes: &'static str,
}

const fn target(
    name: &'static str,
    package: &'static str,
    test: &'static str,
    takes: &'static str,
) -> Target {
    Target { name, package, test, takes }
}

const TARGETS: &[Target] = &[
    target("frame", "raft-net-tcp", "fuzz_wire", "a stream of frames, whole and in pieces"),
    target("frame-sealed", "raft-net-tcp", "fuzz_wire", "one frame with a good length and checksum"),
    target("handshake", "raft-net-tcp", "fuzz_wire", "the first bytes of a connection"),
    target("peer", "raft-net-tcp", "fuzz_wire", "a connection to a transport that listens"),
    target("grpc-frame", "raft-net-grpc", "fuzz_grpc", "the bytes of a frame"),
    target("grpc-sealed", "raft-net-grpc", "fuzz_grpc", "the same with good checksums"),
    target("grpc-peer", "raft-net-grpc", "fuzz_grpc", "a connection to a transport that listens"),
    target("grpc-dialled", "raft-net-grpc", "fuzz_grpc", "an answer to a transport that has dialled"),
    target("membership", "raft-core", "fuzz_core", "the data of a membership entry"),
    target("packed", "raft-core", "fuzz_core", "the data of an entry with commands"),
    target("session-op", "raft-core", "fuzz_session", "the data of a session entry"),
    target("marked", "raft-core", "fuzz_session", "the data of an entry with commands of sessions"),
    target("session-table", "raft-core", "fuzz_session", "the table of sessions as a snapshot has it"),
    target("sessions", "raft-core", "fuzz_session", "any entries on the table of sessions"),
    target("snapshot-stream", "raft-core", "fuzz_stream", "the beginning of a snapshot's bytes"),
    target("core", "raft-core", "fuzz_core", "a node, its disk, and peers that lie"),
    target("journal", "raft-log-file", "fuzz_journal", "rot in a valid journal"),
    target("journal-sealed", "raft-log-file", "fuzz_journal", "the same with all checksums made good"),
    target("slots", "raft-log-file", "fuzz_journal", "rot in superblock, hard state and peers"),
    target("reading", "raft-log-file", "fuzz_journal", "rot behind the back of an open journal"),
    target("snapshot-files", "raft-log-file", "fuzz_snapshots", "rot among snapshots"),
    target("sqlite", "raft-log-sqlite", "fuzz_sqlite", "rot in the files of a journal in SQLite"),
    target("sqlite-rows", "raft-log-sqlite", "fuzz_sqlite", "other values in its rows"),
    target("sqlite-sealed", "raft-log-sqlite", "fuzz_sqlite", "the same with all checksums made good"),
    target("sqlite-snapshots", "raft-log-sqlite", "fuzz_snapshots", "rot among snapshots in SQLite"),
    target("requests", "raft-kv", "fuzz_kv", "what a client sends, as requests"),
    target("logged", "raft-kv", "fuzz_kv", "a command or transaction of the log"),
    target("commands", "raft-kv", "fuzz_kv", "any commands on the data"),
    target("snapshot", "raft-kv", "fuzz_kv", "a snapshot of the data"),
    target("backup", "raft-kv", "fuzz_backup", "the file of a backup"),
    target("backup-sealed", "raft-kv", "fuzz_backup", "the same with good checksums"),
    target("backup-rot", "raft-kv", "fuzz_backup", "damage in a good backup"),
    target("connection", "raft-kv", "fuzz_kv", "what a client sends, to a node that runs"),
    target("thin", "raft-kv", "fuzz_kv", "the same in the load generator's protocol"),
    target("wishes", "raft-kv", "fuzz_kv", "what an operator wants of the members, as words"),
    target("numbered", "raft-kv", "fuzz_kv", "the number and session of a request, as words"),
];

/// Flags of `cargo xtask fuzz`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The target, or `all`, one after the other.
    #[arg(required_unless_present = "list")]
    target: Option<String>,
    /// Says which targets there are.
    #[arg(long)]
    list: bool,
    /// For how long, each.
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u64,
    /// Decides the mutations.
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// Processes at once, with seeds from S on.
    #[arg(long, value_name = "N", default_value_t = 1)]
    jobs: u64,
    /// Mutates without a guide even where libFuzzer can be built.
    #[arg(long)]
    no_libfuzzer: bool,
    /// Afterwards stores the inputs that reach something new in `tests/corpus` of the target's package.
    #[arg(long, conflicts_with = "no_libfuzzer")]
    keep: bool,
}

/// How a hunt ended.
#[derive(Default)]
struct Hunt {
    engine: &'static str,
    executions: u64,
    findings: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Outcome {
    if args.list {
        let row = |target: &Target| vec![target.name.to_owned(), file(target), target.takes.to_owned()];
        let rows: Vec<_> = TARGETS.iter().map(row).collect();
        println!("{}", table::render(&["target", "test", "takes"], &rows));
        println!("fuzz: targets={}", TARGETS.len());
        return Ok(true);
    }
    let wanted = args.target.as_deref().unwrap_or_default();
    let chosen: Vec<_> = TARGETS.iter().filter(|target| wanted == "all" || target.name == wanted).collect();
    if chosen.is_empty() {
        return Err(Failure::new(format!("there is no target {wanted:?}; see --list")));
    }
    let mut sound = true;
    for target in chosen {
        let begin = Instant::now();
        let hunt = hunt(target, args)?;
        for finding in &hunt.findings {
            println!("{finding}");
        }
        sound &= hunt.findings.is_empty();
        println!(
            "fuzz: target={} engine={} seed={} jobs={} executions={} seconds={} findings={}",
            target.name,
            hunt.engine,
            args.seed,
            args.jobs,
            hunt.executions,
            begin.elapsed().as_secs(),
            hunt.findings.len()
        );
    }
    Ok(sound)
}

/// Where a package is.
fn folder(package: &str) -> &str {
    if package == "raft-kv" { "examples/kv" } else { package }
}

/// Where a target's test begins, from the root: in a file of its own, or in that of a folder.
fn file(target: &Target) -> String {
    let test = format!("{}/tests/{}", folder(target.package), target.test);
    let main = format!("{test}/main.rs");
    if proc::root().join(&main).exists() { main } else { format!("{test}.rs") }
}

fn hunt(target: &Target, args: &Args) -> Result<Hunt, Failure> {
    let home = proc::target_dir()?.join("fuzz");
    let place = home.join(target.name);
    fs::create_dir_all(place.join("inputs")).context(|| place.display().to_string())?;
    let program = if args.no_libfuzzer { Err(String::from("not wanted")) } else { build(target, &home) };
    match program {
        Ok(program) => {
            export(target, &place)?;
            let hunt = with_libfuzzer(&program, target, args, &place)?;
            if args.keep && hunt.findings.is_empty() {
                keep(&program, target, &place)?;
            }
            Ok(hunt)
        }
        Err(why) => {
            eprintln!("no libFuzzer: {why}; mutating without a guide");
            without(target, args, &place)
        }
    }
}

/// The test's file as a program of libFuzzer; or why there is none.
fn build(target: &Target, home: &Path) -> Result<PathBuf, String> {
    let said = |failure: Failure| failure.to_string();
    let package = home.join("build").join(target.test);
    let manifest = manifest(target).map_err(said)?;
    let write = || -> std::io::Result<()> {
        fs::create_dir_all(&package)?;
        fs::write(package.join("Cargo.toml"), &manifest)?;
        // The same versions as in the workspace; libFuzzer's are added.
        fs::copy(proc::root().join("Cargo.lock"), package.join("Cargo.lock")).map(drop)
    };
    write().map_err(|error| error.to_string())?;
    let host = proc::stdout(Command::new("rustc").arg("-vV")).map_err(said)?;
    let host = host.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or_default().to_owned();
    let mut command = proc::cargo();
    command.args(["build", "--release", "--target", &host, "--manifest-path"]);
    command.arg(package.join("Cargo.toml")).env("RUSTFLAGS", COVERAGE);
    command.env("CARGO_TARGET_DIR", home.join("target"));
    if !proc::run(&mut command).map_err(said)? {
        return Err(String::from("it cannot be built"));
    }
    Ok(home.join("target").join(host).join("release").join(target.test))
}

/// A package with what the tests of the target's package may use, and libFuzzer.
fn manifest(target: &Target) -> Result<String, Failure> {
    let metadata = proc::metadata()?;
    let package = metadata["packages"].as_array().into_iter().flatten();
    let package = package.clone().find(|package| package["name"] == target.package);
    let package = package.ok_or_else(|| Failure::new(format!("there is no package {}", target.package)))?;
    let file = proc::root().join(file(target));
    let mut out = format!(
        "# Generated by `cargo xtask fuzz`.\n[workspace]\n\n[package]\nname = {0:?}\nversion = \"0.0.0\"\n\
         edition = \"2024\"\n\n[[bin]]\nname = {0:?}\npath = {1:?}\n\n[profile.release]\n\
         debug = \"line-tables-only\"\ndebug-assertions = true\noverflow-checks = true\n\n\
         [lints.rust]\nunexpected_cfgs = \"allow\"\n\n[dependencies.libfuzzer-sys]\nversion = {LIBFUZZER:?}\n",
        target.test,
        file.display().to_string(),
    );
    let has_library = package["targets"].as_array().into_iter().flatten().any(|of| of["kind"][0] == "lib");
    if has_library {
        let path = proc::root().join(folder(target.package)).display().to_string();
        out += &format!("\n[dependencies.{}]\npath = {path:?}\n", target.package);
    }
    // A dependency of both the package and its tests stands there twice.
    let mut dependencies: Vec<(&str, Value)> = Vec::new();
    for dependency in package["dependencies"].as_array().into_iter().flatten() {
        let name = dependency["name"].as_str().unwrap_or_default();
        if dependency["kind"] == "build" || dependency["optional"] == true || NOT_NEEDED.contains(&name) {
            continue;
        }
        match dependencies.iter_mut().find(|(other, _)| *other == name) {
            Some((_, known)) => {
                let more = dependency["features"].as_array().cloned().unwrap_or_default();
                if let Some(features) = known["features"].as_array_mut() {
                    features.extend(more);
                }
            }
            None => dependencies.push((name, dependency.clone())),
        }
    }
    for (name, dependency) in dependencies {
        out += &format!("\n[dependencies.{name}]\n");
        match dependency["path"].as_str() {
            Some(path) => out += &format!("path = {path:?}\n"),
            None => out += &format!("version = {}\n", dependency["req"]),
        }
        let default = dependency["uses_default_features"] != false;
        out += &format!("default-features = {default}\nfeatures = {}\n", dependency["features"]);
    }
    Ok(out)
}

/// Has the test write what it knows: its inputs, its words, and how long an input may be.
fn export(target: &Target, place: &Path) -> Result<(), Failure> {
    let mut command = test(target, &[]);
    command.env("RAFT_FUZZ_EXPORT", place);
    if proc::run(&mut command)? { Ok(()) } else { Err(Failure::new("the test's inputs cannot be had")) }
}

/// The plain test of a target; its name is the target's.
fn test(target: &Target, flags: &[&str]) -> Command {
    let mut command = proc::cargo();
    command.args(["test", "--quiet", "--package", target.package, "--test", target.test]).args(flags);
    command.args(["--", "--show-output", "--exact", &target.name.replace('-', "_")]);
    command
}

/// A program whose `main` is libFuzzer's. Where a Rust program begins, the signal of a broken pipe is ignored; here a
/// shell does it, or a peer that closes would end the hunt.
fn libfuzzer(program: &Path) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' PIPE; exec \"$0\" \"$@\""]).arg(program);
    command
}

fn with_libfuzzer(program: &Path, target: &Target, args: &Args, place: &Path) -> Result<Hunt, Failure> {
    let longest = fs::read_to_string(place.join("longest")).context(|| String::from("longest"))?;
    let words = fs::metadata(place.join("dictionary")).map_or(0, |file| file.len());
    let mut jobs = Vec::new();
    for seed in args.seed..args.seed + args.jobs {
        let log = place.join(format!("log-{seed}"));
        let file = fs::File::create(&log).context(|| log.display().to_string())?;
        let mut command = libfuzzer(program);
        command.arg(place.join("inputs")).arg(format!("-artifact_prefix={}/", place.display()));
        if words > 0 {
            command.arg(format!("-dict={}", place.join("dictionary").display()));
        }
        command.args([format!("-max_total_time={}", args.seconds), format!("-seed={seed}")]);
        command.args([format!("-max_len={longest}"), String::from("-timeout=30")]);
        command.args(["-print_final_stats=1", "-rss_limit_mb=4096", "-len_control=0"]);
        command.env("RAFT_FUZZ_TARGET", target.name).stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.stderr(file).spawn().context(|| proc::shown(&command))?;
        jobs.push((log, child));
    }
    let mut hunt = Hunt { engine: "libfuzzer", ..Hunt::default() };
    let progress = Progress::new(args.seconds);
    let begin = Instant::now();
    while jobs.iter_mut().any(|(_, child): &mut (_, Child)| matches!(child.try_wait(), Ok(None))) {
        progress.at(begin.elapsed().as_secs(), target.name.to_owned());
        std::thread::sleep(Duration::from_millis(200));
    }
    for (log, mut child) in jobs {
        let status = child.wait().context(|| program.display().to_string())?;
        let text = fs::read(&log).context(|| log.display().to_string())?;
        let text = String::from_utf8_lossy(&text);
        hunt.executions += executions(&text);
        if !status.success() {
            let tail: Vec<&str> = text.lines().filter(|line| is_telling(line)).collect();
            hunt.findings.push(format!("{}\n(all of it: {})", tail.join("\n"), log.display()));
        }
    }
    Ok(hunt)
}

/// What libFuzzer counted.
fn executions(log: &str) -> u64 {
    let count = |line: &str| line.strip_prefix("stat::number_of_executed_units:")?.trim().parse().ok();
    let shown = |line: &str| line.strip_prefix('#')?.split_whitespace().next()?.parse().ok();
    log.lines().filter_map(count).next_back().or_else(|| log.lines().filter_map(shown).max()).unwrap_or(0)
}

/// Whether a line of libFuzzer's says what was found.
fn is_telling(line: &str) -> bool {
    ["panicked at", "SUMMARY", "ERROR", "Test unit written", "bytes allocated", "Base64", "assertion"]
        .iter()
        .any(|word| line.contains(word))
        || line.trim_start().starts_with("left:")
        || line.trim_start().starts_with("right:")
}

/// Adds inputs that reach something new to those in git: few, the ones that reach the most.
fn keep(program: &Path, target: &Target, place: &Path) -> Result<(), Failure> {
    let stored = proc::root().join(folder(target.package)).join("tests/corpus").join(target.name);
    let before = inputs(&stored)?;
    let mut command = libfuzzer(program);
    command.args(["-set_cover_merge=1", "-use_counters=0"]).arg(&stored).arg(place.join("inputs"));
    command.env("RAFT_FUZZ_TARGET", target.name);
    if !proc::works(&mut command) {
        return Err(Failure::new("libFuzzer could not merge what it has found"));
    }
    let mut new: Vec<_> = inputs(&stored)?.into_iter().filter(|input| !before.contains(input)).collect();
    // Of those that cover everything together, the long ones cover the most.
    new.sort();
    for (_, path) in new.iter().rev().skip(STORED.saturating_sub(before.len())) {
        fs::remove_file(path).context(|| path.display().to_string())?;
    }
    println!("{}: {} inputs were stored, now {}", stored.display(), before.len(), inputs(&stored)?.len());
    Ok(())
}

/// The files of a folder, with their sizes.
fn inputs(folder: &Path) -> Result<Vec<(u64, PathBuf)>, Failure> {
    let shown = || folder.display().to_string();
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).context(shown)? {
        let entry = entry.context(shown)?;
        found.push((entry.metadata().context(shown)?.len(), entry.path()));
    }
    Ok(found)
}

/// The tests' own mutations.
fn without(target: &Target, args: &Args, place: &Path) -> Result<Hunt, Failure> {
    let mut hunt = Hunt { engine: "mutations", ..Hunt::default() };
    for seed in args.seed..args.seed + args.jobs {
        let mut command = test(target, &["--release"]);
        command.env("RAFT_FUZZ_SECONDS", args.seconds.to_string()).env("RAFT_FUZZ_SEED", seed.to_string());
        command.env("RAFT_FUZZ_ARTIFACTS", place);
        let told = |line: &str| line.starts_with("fuzz: ") || line.contains(" it is kept as ");
        let (passed, lines) = proc::run_keeping(&mut command, told)?;
        let count = |line: &String| line.split("executions=").nth(1)?.split(' ').next()?.parse::<u64>().ok();
        hunt.executions += lines.iter().filter_map(count).sum::<u64>();
        if !passed {
            let under_way = place.join(format!("{}-under-way", target.name));
            let last = format!("the last input: {}", under_way.display());
            hunt.findings.push(lines.into_iter().find(|line| line.contains("kept as")).unwrap_or(last));
        }
    }
    Ok(hunt)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// A target that is not in the table would never be hunted with.
    #[test]
    fn every_target_is_in_the_table() {
        let root = proc::root();
        let mut found = BTreeSet::new();
        for package in
            ["raft-core", "raft-log-file", "raft-log-sqlite", "raft-net-tcp", "raft-net-grpc", "raft-kv"]
        {
            for entry in fs::read_dir(root.join(folder(package)).join("tests")).unwrap() {
                let path = entry.unwrap().path();
                let test = path.file_stem().unwrap().to_string_lossy().into_owned();
                if !test.starts_with("fuzz_") {
                    continue;
                }
                for path in sources(&path) {
                    let text = fs::read_to_string(&path).unwrap();
                    let names =
                        text.split("\n    name: \"").skip(1).filter_map(|rest| rest.split('"').next());
                    found.extend(names.map(|name| (package.to_owned(), test.clone(), name.to_owned())));
                }
            }
        }
        let own = |of: &Target| (of.package.to_owned(), of.test.to_owned(), of.name.to_owned());
        assert_eq!(found, TARGETS.iter().map(own).collect());
        for target in TARGETS {
            let stored = root.join(folder(target.package)).join("tests/corpus").join(target.name);
            assert!(fs::read_dir(&stored).is_ok_and(|mut all| all.next().is_some()), "{}", stored.display());
        }
    }

    /// Of a test: its file, or those of its folder.
    fn sources(test: &Path) -> Vec<PathBuf> {
        if test.is_dir() {
            fs::read_dir(test).unwrap().map(|entry| entry.unwrap().path()).collect()
        } else {
            vec![test.to_owned()]
        }
    }

    #[test]
    fn executions_are_read_from_either_end() {
        assert_eq!(executions("#9 DONE\nstat::number_of_executed_units: 12345\nstat::x: 1\n"), 12345);
        assert_eq!(executions("#1\tINITED cov: 3\n#4096\tpulse cov: 9\n#4000 x"), 4096);
        assert_eq!(executions(""), 0);
    }
}
