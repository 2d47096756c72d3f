//! The simulator from the command line: runs of whole clusters, each from one seed. `cargo xtask sim`
//! starts it.

mod batch;
mod html;

use std::ops::Range;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use raft_testkit::sim::shrink::{Rest, shrink};
use raft_testkit::sim::{self, Plan};

/// Runs that are tried to make a plan smaller.
const TRIES: usize = 400;

/// Runs make and drop much.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Runs simulated clusters with faults, and checks what must hold after every step.
#[derive(Parser, Debug)]
#[command(name = "cargo xtask sim")]
struct Args {
    /// Runs these seeds: `A..B`, without B.
    #[arg(long, value_name = "A..B", value_parser = seeds)]
    seeds: Option<Range<u64>>,
    /// Runs this seed.
    #[arg(long, value_name = "S", conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Runs fresh seeds until the time is over.
    #[arg(long, value_name = "M", conflicts_with_all = ["seeds", "seed"])]
    minutes: Option<f64>,
    /// Prints what happens, one line each: the same bytes whenever the seed is the same.
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Draws the run there, as a file of HTML.
    #[arg(long, value_name = "FILE", requires = "seed")]
    html: Option<PathBuf>,
    /// What is drawn begins here, in seconds; else 2 s before the violation, or with the run.
    #[arg(long, value_name = "SECONDS", requires = "html")]
    from: Option<f64>,
    /// What is drawn ends here, in seconds.
    #[arg(long, value_name = "SECONDS", requires = "html")]
    to: Option<f64>,
    /// Writes the run there in the vocabulary of etcd-io/raft's traces, with the faults it can tell of.
    #[arg(long, value_name = "FILE", requires = "seed", conflicts_with_all = ["trace", "html"])]
    etcd_trace: Option<PathBuf>,
    /// Takes faults away while the run still fails, and says what is left.
    #[arg(long, requires = "seed", conflicts_with_all = ["trace", "html"])]
    shrink: bool,
    /// Only these faults of the plan, by their numbers.
    #[arg(long, value_name = "N,N..", requires = "seed", value_delimiter = ',')]
    faults: Option<Vec<usize>>,
    /// Every plan without faults of these kinds, by the names that a batch prints.
    #[arg(long, value_name = "KIND,KIND..", value_delimiter = ',')]
    without: Vec<String>,
    /// The network loses, doubles and delays nothing.
    #[arg(long, requires = "seed")]
    quiet: bool,
    /// Prints the digest of each run: equal for equal runs.
    #[arg(long)]
    hash: bool,
    /// The number of voters, instead of what the seed says.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=7))]
    nodes: Option<u8>,
    /// How many seeds at a time.
    #[arg(long, value_name = "T")]
    threads: Option<usize>,
    /// Stops at the first violation.
    #[arg(long)]
    stop: bool,
    /// Writes the figures there.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Fails if a point worth reaching was never reached.
    #[arg(long)]
    nightly: bool,
}

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let (from, to) = text.split_once("..").ok_or("two numbers with .. between, as 0..100")?;
    let number = |text: &str| text.trim().parse::<u64>().map_err(|error| format!("{text:?}: {error}"));
    let range = number(from)?..number(to)?;
    if range.is_empty() { Err(format!("{text} holds no seed")) } else { Ok(range) }
}

impl Args {
    /// What a seed decides, and what the command line leaves of it.
    fn plan(&self, seed: u64) -> Plan {
        Plan::draw(seed, self.nodes.map(usize::from)).without(&self.without)
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    if let (Some(seed), Some(file)) = (args.seed, &args.etcd_trace) {
        let (outcome, lines) = sim::run_traced(&Plan::etcd(seed, args.nodes.map(usize::from)));
        return match std::fs::write(file, lines.join("\n") + "\n") {
            Ok(()) => finish(&outcome),
            Err(error) => {
                eprintln!("cannot write {}: {error}", file.display());
                ExitCode::FAILURE
            }
        };
    }
    if let Some(seed) = args.seed
        && args.shrink
    {
        return smaller(&args, seed);
    }
    if let Some(seed) = args.seed
        && (args.trace || args.html.is_some() || args.faults.is_some() || args.quiet)
    {
        return one(&args, seed);
    }
    let which = match (&args.seeds, args.seed, args.minutes) {
        (Some(seeds), _, _) => batch::Which::Seeds(seeds.clone()),
        (_, Some(seed), _) => batch::Which::Seeds(seed..seed.saturating_add(1)),
        (_, _, Some(minutes)) => batch::Which::Minutes(minutes),
        _ => batch::Which::Seeds(0..100),
    };
    batch::run(&args, which)
}

/// One run, with all that happens.
fn one(args: &Args, seed: u64) -> ExitCode {
    let mut plan = args.plan(seed);
    let rest =
        Rest { faults: args.faults.clone().unwrap_or_else(|| Rest::of(&plan).faults), quiet: args.quiet };
    plan = rest.apply(&plan);
    let outcome = sim::run(&plan, true);
    if args.trace {
        let mut text = plan.to_string();
        for event in &outcome.trace {
            use std::fmt::Write;
            let _ = writeln!(text, "{event}");
        }
        print!("{text}");
        println!("hash {:016x} events {}", outcome.hash, outcome.events);
    }
    if let Some(file) = &args.html {
        let window = html::Window::new(args.from, args.to, &outcome);
        if let Err(error) = std::fs::write(file, html::render(&plan, &outcome, window)) {
            eprintln!("cannot write {}: {error}", file.display());
            return ExitCode::FAILURE;
        }
    }
    finish(&outcome)
}

/// What it takes to fail.
fn smaller(args: &Args, seed: u64) -> ExitCode {
    let plan = args.plan(seed);
    let Some(found) = sim::run(&plan, false).violation else {
        println!("seed {seed} does not fail: there is nothing to make smaller");
        return ExitCode::SUCCESS;
    };
    let rest = shrink(&plan, found.at, TRIES, |plan| {
        sim::run(plan, false).violation.is_some_and(|violation| violation.checker == found.checker)
    });
    let numbers: Vec<String> = rest.faults.iter().map(ToString::to_string).collect();
    println!("{} of {} faults are left:", rest.faults.len(), plan.faults().len());
    for number in &rest.faults {
        println!("  {number}: {:?}", plan.faults()[*number]);
    }
    let nodes = args.nodes.map_or_else(String::new, |nodes| format!(" --nodes {nodes}"));
    let quiet = if rest.quiet { " --quiet" } else { "" };
    let without = match &args.without[..] {
        [] => String::new(),
        kinds => format!(" --without {}", kinds.join(",")),
    };
    println!("cargo xtask sim --seed {seed}{nodes}{without} --faults {}{quiet} --trace", numbers.join(","));
    finish(&sim::run(&rest.apply(&plan), false))
}

fn finish(outcome: &sim::Outcome) -> ExitCode {
    batch::last_line(&batch::Sum::of(outcome));
    if outcome.violation.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
