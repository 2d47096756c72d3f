//! `cargo xtask ci`: every check that a change must pass, the cheap ones first, the tests last.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::util::{Context, Failure, json as json_file, proc, table};
use crate::{Outcome, museum, no_std, page, release, sim, test, tidy};

/// Flags of `cargo xtask ci`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Runs only this step; may be given more than once.
    #[arg(long, value_name = "STEP")]
    only: Vec<String>,
    /// Also what takes hours.
    #[arg(long)]
    nightly: bool,
    /// Says which steps there are.
    #[arg(long)]
    list: bool,
    /// Writes the table there.
    #[arg(long, value_name = "FILE")]
    json: Option<std::path::PathBuf>,
}

/// How a step ended.
pub(crate) enum Ended {
    Passed,
    Failed,
    /// Not run, for this reason.
    Skipped(String),
    /// Passed, but for this that a person has to do before a release.
    Due(String),
}

pub(crate) type StepResult = Result<Ended, Failure>;

/// A step by name.
type Step = (&'static str, fn(&mut Ci) -> StepResult);

const STEPS: &[Step] = &[
    ("fmt", |_| cargo(&["fmt", "--all", "--check"])),
    ("tidy", |_| tidy()),
    ("museum: a test for each bug", |_| Ok(ended(museum::list()?))),
    ("fmt: custom-journal, template", |_| outside("fmt", &["--check"])),
    ("lock", |_| cargo(&["metadata", "--locked", "--format-version=1", "--quiet"])),
    ("clippy", |_| {
        cargo(&["clippy", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"])
    }),
    ("clippy: custom-journal, template", |_| outside("clippy", &["--all-targets", "--", "-D", "warnings"])),
    ("core: no feature", |_| core(&["--no-default-features"])),
    ("core: std", |_| core(&["--no-default-features", "--features", "std"])),
    ("core: node", |_| core(&["--no-default-features", "--features", "node"])),
    ("core: typed", |_| core(&["--no-default-features", "--features", "typed"])),
    ("core: peering", |_| core(&["--no-default-features", "--features", "peering"])),
    ("core: metrics", |_| core(&["--no-default-features", "--features", "metrics"])),
    ("core: tracing", |_| core(&["--no-default-features", "--features", "tracing"])),
    ("core: trace", |_| core(&["--no-default-features", "--features", "trace"])),
    ("core: slots", |_| core(&["--no-default-features", "--features", "slots"])),
    ("core: tls", |_| core(&["--no-default-features", "--features", "tls"])),
    ("core: no runtime", |_| no_runtime()),
    ("core: no_std", |_| Ok(ended(no_std::check()?))),
    ("core: wasm32", |_| wasm()),
    ("doc", |_| doc(&[])),
    ("doc: private", |_| doc(&["--document-private-items"])),
    ("book", |_| book()),
    ("guide", |_| guide()),
    ("deny", |_| deny()),
    ("tools: git", |_| git()),
    ("tools: redis-cli", |_| redis_cli()),
    ("tools: redis-py", |_| redis_py()),
    ("tools: browser", |_| browser()),
    ("demo: kill", |_| demo(&[])),
    ("demo: freeze", |_| demo(&["--freeze"])),
    ("demo: file/grpc", |_| demo(&["--transport", "grpc"])),
    ("demo: sqlite/tcp", |_| demo(&["--journal", "sqlite"])),
    ("demo: sqlite/grpc", |_| demo(&["--journal", "sqlite", "--transport", "grpc"])),
    ("count: exactly once", |_| count()),
    ("chaos: all stacks", |_| chaos(&["--all-stacks", "--seconds", "10"], "linearizable=yes")),
    ("chaos: stale reads", |_| chaos(&["--seconds", "5", "--stale-reads"], "linearizable=no")),
    ("sim: fixed seeds", |_| tool("raft-sim", &["--seeds", "0..400"])),
    ("sim: fresh seeds", |_| fresh_seeds()),
    ("sim: same everywhere", |_| this(&["digests", "--seeds", "0..30"])),
    ("model", |_| tool("raft-model", &["--states", "500000"])),
    ("crash", |_| this(&["crash", "--states", "120000"])),
    ("test", Ci::test),
];

/// What a night is for. By name each of them can be run without the others.
const NIGHTLY: &[Step] = &[
    ("nightly: chaos, 3 nodes", |_| long_chaos("3", "relay")),
    ("nightly: chaos, 5 nodes", |_| long_chaos("5", "auto")),
    ("nightly: sim", |_| tool("raft-sim", &["--minutes", "60", "--nightly"])),
    ("nightly: model", |_| tool("raft-model", &["--states", "12000000"])),
    ("nightly: crash", |_| this(&["crash", "--states", "1000000"])),
    ("nightly: planted bugs", |_| this(&["mutants"])),
    ("nightly: benches", |_| benches()),
    ("nightly: conformance", |_| this(&["conformance"])),
    ("nightly: features", |_| release::step("features")),
    ("nightly: rust versions", |_| release::step("msrv")),
    ("nightly: external types", |_| release::step("external types")),
    ("nightly: public API", |_| release::step("semver")),
    ("nightly: manifests", |_| release::step("manifests")),
    ("nightly: advisories", |_| release::step("advisories")),
    ("nightly: docs.rs", |_| release::step("docs.rs")),
    ("nightly: packages", |_| release::step("package")),
];

/// What the steps leave behind.
#[derive(Default)]
struct Ci {
    /// The test runner's summary line.
    summary: Option<String>,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let steps = || STEPS.iter().chain(NIGHTLY);
    if args.list {
        steps().for_each(|(name, _)| println!("{name}"));
        return Ok(true);
    }
    if let Some(unknown) = args.only.iter().find(|only| steps().all(|(name, _)| name != only)) {
        return Err(Failure::new(format!("there is no step {unknown:?}; see --list")));
    }
    let mut ci = Ci::default();
    let mut rows = Vec::new();
    let mut timed = Vec::new();
    let mut passed = true;
    let start = Instant::now();
    let night = if args.nightly || !args.only.is_empty() { NIGHTLY } else { &[] };
    for (name, step) in STEPS
        .iter()
        .chain(night)
        .filter(|(name, _)| args.only.is_empty() || args.only.iter().any(|only| only == name))
    {
        eprintln!("\n== {name}");
        let begin = Instant::now();
        // A step that cannot be run has not passed; the others still tell something.
        let ended = step(&mut ci).unwrap_or_else(|failure| {
            eprintln!("{name}: {failure}");
            Ended::Failed
        });
        let (word, why) = match ended {
            Ended::Passed => ("ok", String::new()),
            Ended::Failed => ("FAILED", String::new()),
            Ended::Skipped(why) => ("skipped", why),
            Ended::Due(why) => ("ok", why),
        };
        passed &= word != "FAILED";
        eprintln!("== {name}: {word} {why}");
        timed.push(
            json!({ "step": name, "result": word, "why": why, "seconds": begin.elapsed().as_secs_f64() }),
        );
        rows.push(vec![name.to_string(), seconds(begin.elapsed()), word.to_string(), why]);
    }
    rows.push(vec![
        String::from("all"),
        seconds(start.elapsed()),
        String::from(if passed { "ok" } else { "FAILED" }),
    ]);
    println!("\n{}", table::render(&["step", "seconds", "result", "why"], &rows));
    json_file::write(args.json.as_deref(), &json!({ "passed": passed, "steps": timed }))?;
    // The runner's own summary comes last, where people and machines look for it.
    if let Some(summary) = ci.summary {
        println!("{summary}");
    }
    Ok(passed)
}

fn seconds(duration: Duration) -> String {
    format!("{:.1}", duration.as_secs_f64())
}

pub(crate) const fn ended(passed: bool) -> Ended {
    if passed { Ended::Passed } else { Ended::Failed }
}

fn cargo(args: &[&str]) -> StepResult {
    let mut command = proc::cargo();
    command.args(args);
    if args.first() == Some(&"metadata") {
        return Ok(ended(proc::works(&mut command)));
    }
    Ok(ended(proc::run(&mut command)?))
}

/// The packages that are no members of the workspace.
fn outside(subcommand: &str, args: &[&str]) -> StepResult {
    let mut passed = true;
    for package in proc::OUTSIDE {
        passed &= proc::run(proc::cargo_outside(subcommand, package)?.args(args))?;
    }
    Ok(ended(passed))
}

/// raft-core with one set of features, linted: an unused import in one of them is an error.
fn core(features: &[&str]) -> StepResult {
    let mut command = proc::cargo();
    command.args(["clippy", "--package", "raft-core"]).args(features).args(["--", "-D", "warnings"]);
    Ok(ended(proc::run(&mut command)?))
}

fn tidy() -> StepResult {
    let findings = tidy::check(&proc::root())?;
    findings.iter().for_each(|finding| eprintln!("{finding}"));
    Ok(ended(findings.is_empty()))
}

/// The protocol alone pulls in no async runtime.
fn no_runtime() -> StepResult {
    let mut command = proc::cargo();
    command.args(["tree", "--package", "raft-core", "--no-default-features", "--edges", "normal,build"]);
    let tree = proc::stdout(command.args(["--prefix", "none"]))?;
    eprint!("{tree}");
    let runtimes = ["tokio", "async-std", "smol", "futures-executor", "mio", "libc"];
    let name = |line: &str| line.split(' ').next().unwrap_or_default().to_string();
    let found: Vec<String> =
        tree.lines().map(name).filter(|name| runtimes.contains(&name.as_str())).collect();
    for name in &found {
        eprintln!("raft-core without default features depends on {name}");
    }
    Ok(ended(found.is_empty() && tree.starts_with("raft-core ")))
}

fn wasm() -> StepResult {
    const TARGET: &str = "wasm32-unknown-unknown";
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let sysroot = proc::stdout(Command::new(rustc).args(["--print", "sysroot"]))?;
    let library = std::path::Path::new(sysroot.trim()).join("lib/rustlib").join(TARGET);
    if !library.exists() {
        return Ok(Ended::Skipped(format!("{TARGET} is not installed")));
    }
    cargo(&["build", "--package", "raft-core", "--no-default-features", "--target", TARGET])
}

fn doc(more: &[&str]) -> StepResult {
    let mut command = proc::cargo();
    command.args(["doc", "--workspace", "--no-deps", "--all-features"]).args(more);
    command.env("RUSTDOCFLAGS", "-D warnings");
    Ok(ended(proc::run(&mut command)?))
}

/// The chapters as a book. That each is listed, and that no link is dead, `tidy` has seen without mdBook.
fn book() -> StepResult {
    let mut command = Command::new("mdbook");
    if !proc::works(command.arg("--version")) {
        return Ok(Ended::Skipped(String::from("mdbook is not installed")));
    }
    Ok(ended(proc::run(Command::new("mdbook").arg("build").arg(proc::root().join("docs")))?))
}

/// The shell commands of the guide, with an unoptimised server.
fn guide() -> StepResult {
    let Some(mut command) = ourselves("guide")? else { return Ok(Ended::Failed) };
    Ok(ended(proc::run(&mut command)?))
}

/// How to get what [`deny`] needs.
pub(crate) const NO_DENY: &str = "cargo-deny is not installed: cargo install cargo-deny --locked";

pub(crate) fn deny() -> StepResult {
    if !proc::works(proc::cargo().args(["deny", "--version"])) {
        return Ok(Ended::Skipped(String::from(NO_DENY)));
    }
    // The advisories change without a change of ours: `cargo xtask release --dry-run --only advisories`.
    cargo(&["deny", "--workspace", "check", "bans", "licenses", "sources"])
}

/// Compiles each benchmark and runs it once: a benchmark that has rotted is worse than none.
fn benches() -> StepResult {
    let metadata = proc::metadata()?;
    let mut passed = true;
    let mut count = 0;
    for package in metadata["packages"].as_array().into_iter().flatten() {
        for target in package["targets"].as_array().into_iter().flatten() {
            let is_bench =
                target["kind"].as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind == "bench"));
            let (Some(package), Some(name)) = (package["name"].as_str(), target["name"].as_str()) else {
                continue;
            };
            if is_bench {
                count += 1;
                passed &= proc::run(proc::cargo().args(["test", "--package", package, "--bench", name]))?;
            }
        }
    }
    if count == 0 {
        return Ok(Ended::Skipped(String::from("there is no benchmark yet")));
    }
    Ok(ended(passed))
}

/// Of which commit a build says it is.
fn git() -> StepResult {
    if !proc::works(Command::new("git").arg("--version")) {
        return Ok(Ended::Skipped(String::from("git is not installed")));
    }
    let mut command = proc::cargo();
    command.args(["test", "--package", "raft-kv", "--test", "version", "--", "--include-ignored"]);
    let (passed, lines) = proc::run_keeping(&mut command, |line| line.contains(" 0 ignored"))?;
    Ok(ended(passed && lines.len() == 1))
}

fn redis_cli() -> StepResult {
    for tool in ["redis-cli", "redis-benchmark"] {
        if !proc::works(Command::new(tool).arg("--version")) {
            return Ok(Ended::Skipped(format!("{tool} is not installed")));
        }
    }
    tool_test("redis_cli_follows_and_redis_benchmark_runs_through")
}

fn redis_py() -> StepResult {
    if !proc::works(Command::new("python3").args(["-c", "import redis.cluster"])) {
        return Ok(Ended::Skipped(String::from("python3 with redis-py is not installed")));
    }
    match tool_test("redis_py_reads_and_writes_through_a_leader_kill")? {
        Ended::Passed => tool_test("the_client_in_the_readme_counts_each_once_through_a_leader_kill"),
        other => Ok(other),
    }
}

/// The page in Chromium, which is installed here if need be.
fn browser() -> StepResult {
    match page::missing()? {
        Some(why) => Ok(Ended::Skipped(why)),
        None => Ok(ended(page::test(None)?)),
    }
}

/// A test that is ignored because it needs a tool that not everybody has. One that is gone is a failure.
fn tool_test(name: &str) -> StepResult {
    let mut command = proc::cargo();
    command.args(["test", "--package", "raft-kv", "--test", "tools", "--", "--ignored", "--exact", name]);
    let (passed, lines) = proc::run_keeping(&mut command, |line| line.contains("1 passed"))?;
    Ok(ended(passed && lines.len() == 1))
}

/// A short demo with an unoptimised server: whether it holds, not how fast it is.
fn demo(more: &[&str]) -> StepResult {
    let Some(mut command) = ourselves("demo")? else { return Ok(Ended::Failed) };
    command.args(["--seconds", "5", "--kills", "2", "--clients", "4"]).args(more);
    Ok(ended(proc::run(&mut command)?))
}

/// A short count with an unoptimised server: every increment counts once, through two leader kills.
fn count() -> StepResult {
    let Some(mut command) = ourselves("count")? else { return Ok(Ended::Failed) };
    Ok(ended(proc::run(command.args(["--ops", "20000", "--kills", "2"]))?))
}

/// Short chaos with an unoptimised server, over a network that needs no rights, and the verdict that it must
/// come to.
fn chaos(more: &[&str], verdict: &str) -> StepResult {
    let Some(mut command) = ourselves("chaos")? else { return Ok(Ended::Failed) };
    // Reads that are refused leave their evidence; only what is not expected is worth keeping.
    let dir = tempfile::Builder::new().prefix("raft-chaos-").tempdir();
    let dir = dir.context(|| String::from("no temporary folder"))?;
    command.arg("--dir").arg(dir.path());
    command.args(["--network", if cfg!(target_os = "linux") { "relay" } else { "none" }]).args(more);
    let (held, lines) = proc::run_keeping(&mut command, |line| line.starts_with("chaos: "))?;
    let said =
        |word: &str| lines.last().is_some_and(|line| line.ends_with(word) && line.contains(" lost=0 "));
    let expected = said(verdict) && held == (verdict == "linearizable=yes");
    if !expected {
        eprintln!("history and logs are in {}", dir.keep().display());
    }
    Ok(ended(expected))
}

/// All stacks, a quarter of an hour each, with a seed that nobody has tried: the output says which.
fn long_chaos(nodes: &str, network: &str) -> StepResult {
    let seed = std::time::UNIX_EPOCH.elapsed().map_or(1, |since| since.as_secs()).to_string();
    let mut command = Command::new(std::env::current_exe().context(|| String::from("no path of our own"))?);
    command.args(["chaos", "--all-stacks", "--minutes", "15", "--seed", &seed]);
    command.args(["--nodes", nodes, "--network", network]);
    Ok(ended(proc::run(&mut command)?))
}

/// Another command of this program.
fn this(args: &[&str]) -> StepResult {
    let mut command = Command::new(std::env::current_exe().context(|| String::from("no path of our own"))?);
    Ok(ended(proc::run(command.args(args))?))
}

/// A command of this program on an unoptimised server; `None` if that does not compile.
fn ourselves(name: &str) -> Result<Option<Command>, Failure> {
    if !proc::run(proc::cargo().args(["build", "--package", "raft-kv"]))? {
        return Ok(None);
    }
    let server = proc::target_dir()?.join("debug").join(format!("raft-kv{}", std::env::consts::EXE_SUFFIX));
    let mut command = Command::new(std::env::current_exe().context(|| String::from("no path of our own"))?);
    command.args([name, "--binary"]).arg(server);
    Ok(Some(command))
}

/// One of the testkit's tools.
fn tool(name: &str, flags: &[&str]) -> StepResult {
    let flags: Vec<String> = flags.iter().map(ToString::to_string).collect();
    Ok(ended(sim::tool(name, &flags)?))
}

/// What a fresh seed finds was there before the change that is being checked: it is shown with its seed, to
/// be looked into, and does not stop that change.
fn fresh_seeds() -> StepResult {
    Ok(match tool("raft-sim", &["--minutes", "0.5"])? {
        Ended::Failed => Ended::Skipped(String::from("found something: look into the seeds above")),
        other => other,
    })
}

impl Ci {
    fn test(&mut self) -> StepResult {
        let report = test::all(false)?;
        self.summary = Some(report.summary);
        Ok(ended(report.passed))
    }
}
