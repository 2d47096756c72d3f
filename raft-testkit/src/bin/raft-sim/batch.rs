//! Many runs, on all cores.

use std::collections::{BTreeMap, BTreeSet};
use std::io::IsTerminal;
use std::ops::Range;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use indicatif::{ProgressBar, ProgressStyle};
use raft_testkit::sim::coverage::Coverage;
use raft_testkit::sim::oracle::{CHECKERS, Violation};
use raft_testkit::sim::{self, Outcome};
use serde_json::json;

use super::Args;

/// Which seeds.
pub(crate) enum Which {
    /// These.
    Seeds(Range<u64>),
    /// Fresh ones, for so many minutes.
    Minutes(f64),
}

/// A violation, with what led to it.
struct Found {
    seed: u64,
    violation: Violation,
    seconds: f64,
}

/// What runs have come to.
#[derive(Default)]
pub(crate) struct Sum {
    seeds: u64,
    nanos: u64,
    events: u64,
    elections: u64,
    writes: u64,
    reads: u64,
    faults: BTreeMap<&'static str, u64>,
    /// Faults for which there was nothing to do.
    idle: BTreeMap<&'static str, u64>,
    coverage: Coverage,
    found: Vec<Found>,
    hashes: BTreeMap<u64, u64>,
}

impl Sum {
    /// Of a single run.
    pub(crate) fn of(outcome: &Outcome) -> Self {
        let mut sum = Self::default();
        sum.add(0, outcome, 0.0);
        sum
    }

    fn add(&mut self, seed: u64, outcome: &Outcome, seconds: f64) {
        self.seeds += 1;
        self.nanos += outcome.nanos;
        self.events += outcome.events;
        self.elections += outcome.totals.elections;
        self.writes += outcome.totals.writes;
        self.reads += outcome.totals.reads;
        self.hashes.insert(seed, outcome.hash);
        for (kind, count) in &outcome.faults {
            *self.faults.entry(kind).or_default() += count;
        }
        for (kind, count) in &outcome.idle_faults {
            *self.idle.entry(kind).or_default() += count;
        }
        self.coverage.add(&outcome.coverage);
        if let Some(violation) = &outcome.violation {
            self.found.push(Found { seed, violation: violation.clone(), seconds });
        }
    }

    fn all_faults(&self) -> u64 {
        self.faults.values().sum()
    }
}

/// The line for machines.
pub(crate) fn last_line(sum: &Sum) {
    println!(
        "sim: seeds={} sim_seconds={} faults={} elections={} writes={} violations={}",
        sum.seeds,
        sum.nanos / 1_000_000_000,
        sum.all_faults(),
        sum.elections,
        sum.writes,
        sum.found.len()
    );
}

/// Fresh seeds: the time of day in nanoseconds, which is printed with whatever is found.
fn fresh() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or_default() & 0xffff_ffff_ffff_0000
}

/// How far a batch has come: in seeds, or in seconds where those are what is given. Shown on a terminal only.
fn bar(seeds: Option<u64>, until: Option<Instant>) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let (total, template) = match (seeds, until) {
        (_, Some(until)) => {
            (until.saturating_duration_since(Instant::now()).as_secs(), "{bar:30} {pos}/{len} s, {msg}")
        }
        (seeds, None) => (seeds.unwrap_or_default(), "{bar:30} {pos}/{len} seeds, {eta} left, {msg}"),
    };
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::new(total).with_style(style);
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

pub(crate) fn run(args: &Args, which: Which) -> ExitCode {
    let threads = args.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let (first, last, until) = match which {
        Which::Seeds(seeds) => (seeds.start, seeds.end, None),
        Which::Minutes(minutes) => {
            let until = Instant::now() + Duration::from_secs_f64(minutes.max(0.0) * 60.0);
            (fresh(), u64::MAX, Some(until))
        }
    };
    let next = AtomicU64::new(first);
    let stop = AtomicBool::new(false);
    let sum = Mutex::new(Sum::default());
    let begin = Instant::now();
    let bar = bar(until.is_none().then(|| last.saturating_sub(first)), until);
    let work = || {
        while !stop.load(Ordering::Relaxed) && until.is_none_or(|until| Instant::now() < until) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= last {
                break;
            }
            let start = Instant::now();
            let outcome = sim::run(&args.plan(seed), false);
            let seconds = start.elapsed().as_secs_f64();
            if let Some(violation) = &outcome.violation {
                let Violation { checker, at, node, what } = violation;
                bar.suspend(|| {
                    eprintln!(
                        "seed {seed}: {checker} at {:.3} s on node {node}: {what}\n  \
                         cargo xtask sim --seed {seed} --trace",
                        *at as f64 / 1e9
                    );
                });
                stop.fetch_or(args.stop, Ordering::Relaxed);
            }
            let mut sum = sum.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            sum.add(seed, &outcome, seconds);
            bar.set_position(if until.is_some() { begin.elapsed().as_secs() } else { sum.seeds });
            bar.set_message(format!("violations={}", sum.found.len()));
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(work);
        }
    });
    bar.finish_and_clear();
    let sum = sum.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    report(args, &sum, begin.elapsed(), threads)
}

/// Processor time of this process, where the system says it: fields 14 and 15 of proc(5), in hundredths of a
/// second on Linux.
fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let mut hundredths = || fields.next()?.parse::<f64>().ok();
    Some((hundredths()? + hundredths()?) / 100.0)
}

fn report(args: &Args, sum: &Sum, took: Duration, threads: usize) -> ExitCode {
    if args.hash {
        for (seed, hash) in &sum.hashes {
            println!("hash {seed} {hash:016x}");
        }
    }
    let cpu = cpu_seconds().unwrap_or(took.as_secs_f64() * threads as f64);
    let cpu_minutes = cpu / 60.0;
    let hours = sum.nanos as f64 / 3.6e12;
    let kinds: BTreeSet<&str> = sum.faults.keys().chain(sum.idle.keys()).copied().collect();
    for kind in kinds {
        let of = |counts: &BTreeMap<&'static str, u64>| counts.get(kind).copied().unwrap_or_default();
        let (done, idle) = (of(&sum.faults), of(&sum.idle));
        let beside = if idle > 0 { format!(" ({idle} more had nothing to do)") } else { String::new() };
        println!("fault {done:>10}  {kind}{beside}");
    }
    let never: Vec<&str> = sum.coverage.iter().filter(|point| point.1 == 0).map(|point| point.0).collect();
    for (text, count) in sum.coverage.iter() {
        println!("reached {count:>10}  {text}");
    }
    for text in &never {
        println!("never reached: {text}");
    }
    println!(
        "{:.1} s on {threads} threads, {cpu:.1} s of processor time: {:.1} simulated cluster-hours, {} faults, {} events a CPU-minute",
        took.as_secs_f64(),
        hours / cpu_minutes,
        (sum.all_faults() as f64 / cpu_minutes) as u64,
        (sum.events as f64 / cpu_minutes) as u64
    );
    let coverage: BTreeMap<&str, u64> = sum.coverage.iter().collect();
    let found: Vec<_> = sum
        .found
        .iter()
        .map(|found| {
            json!({
                "seed": found.seed, "checker": found.violation.checker, "at_ns": found.violation.at,
                "node": found.violation.node, "what": found.violation.what, "cpu_ms": found.seconds * 1e3,
            })
        })
        .collect();
    if let Some(file) = &args.json {
        let value = json!({
            "seeds": sum.seeds, "sim_seconds": sum.nanos / 1_000_000_000, "faults": sum.faults, "idle_faults": sum.idle,
            "elections": sum.elections, "writes": sum.writes, "reads": sum.reads, "coverage": coverage,
            "violations": found, "cpu_ms": cpu * 1e3, "checkers": CHECKERS,
        });
        if let Err(error) = std::fs::write(file, format!("{value:#}\n")) {
            eprintln!("cannot write {}: {error}", file.display());
            return ExitCode::FAILURE;
        }
    }
    last_line(sum);
    let tame = args.nightly && !never.is_empty();
    if sum.found.is_empty() && !tame { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
