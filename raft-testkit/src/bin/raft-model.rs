//! The model checker from the command line. `cargo xtask model` starts it.

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use raft_testkit::model::{self, Bounds, CONFIGURATIONS, Report};
use serde_json::json;

/// Many small things are made and kept.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Steps of a walk.
const STEPS: u32 = 80;

/// Explores every state that a small cluster can come to.
#[derive(Parser)]
#[command(name = "cargo xtask model")]
struct Args {
    /// Only this one; may be given more than once.
    #[arg(long, value_name = "NAME")]
    config: Vec<String>,
    /// Ends after so many different states of each.
    #[arg(long, value_name = "N", default_value_t = 10_000_000)]
    states: u64,
    /// Walks at random instead, that often, 80 steps each.
    #[arg(long, value_name = "N")]
    walks: Option<u64>,
    /// Decides the walks.
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// How many configurations at a time.
    #[arg(long, value_name = "T", default_value_t = 1)]
    threads: usize,
    /// Says which there are.
    #[arg(long)]
    list: bool,
    /// Ends with the first configuration in which something is found.
    #[arg(long)]
    stop: bool,
    /// Writes the figures there.
    #[arg(long, value_name = "FILE")]
    json: Option<std::path::PathBuf>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if args.list {
        CONFIGURATIONS.iter().for_each(|bounds| println!("{:<17} {}", bounds.name, bounds.about));
        return ExitCode::SUCCESS;
    }
    let is_known = |name: &String| CONFIGURATIONS.iter().any(|of| of.name == *name);
    if let Some(unknown) = args.config.iter().find(|name| !is_known(name)) {
        eprintln!("there is no configuration {unknown:?}; see --list");
        return ExitCode::from(2);
    }
    let named = |bounds: &&Bounds| args.config.iter().any(|name| *name == bounds.name);
    let wanted = |bounds: &&Bounds| args.config.is_empty() || named(bounds);
    let all: Vec<&Bounds> = CONFIGURATIONS.iter().filter(wanted).collect();
    let mut reports: Vec<(Bounds, Report, f64)> = Vec::new();
    let mut ended = 0;
    for some in all.chunks(args.threads.max(1)) {
        if args.stop && reports.iter().any(|(_, report, _)| report.found.is_some()) {
            break;
        }
        ended += some.len();
        std::thread::scope(|scope| {
            let running: Vec<_> = some
                .iter()
                .map(|bounds| {
                    let run = || {
                        let start = Instant::now();
                        let report = match args.walks {
                            Some(walks) => model::walk(bounds, args.seed, walks, STEPS),
                            None => model::explore(bounds, args.states, |states, depth| {
                                eprintln!("{}: depth {depth}, {states} states", bounds.name);
                            }),
                        };
                        (**bounds, report, start.elapsed().as_secs_f64())
                    };
                    scope.spawn(run)
                })
                .collect();
            reports.extend(running.into_iter().filter_map(|thread| thread.join().ok()));
        });
    }
    let broken = reports.len() < ended;
    let (mut rows, mut violations) = (Vec::new(), Vec::new());
    for (bounds, report, seconds) in &reports {
        print(bounds, report, *seconds);
        rows.push(json!({
            "config": bounds.name, "bounds": format!("{bounds:?}"), "states": report.distinct,
            "generated": report.generated, "nodes": report.nodes, "messages": report.messages,
            "depth": report.depth, "exhausted": report.exhausted, "overflown": report.overflown,
            "points": format!("{:?}", report.points), "seconds": seconds,
        }));
        if let Some(found) = &report.found {
            let checker = found.what.split(':').next().unwrap_or_default();
            violations.push(json!({ "config": bounds.name, "checker": checker, "what": found.what }));
        }
    }
    if let Some(file) = &args.json
        && let Err(error) = std::fs::write(
            file,
            format!("{:#}\n", json!({ "configurations": rows, "violations": violations })),
        )
    {
        eprintln!("cannot write {}: {error}", file.display());
        return ExitCode::FAILURE;
    }
    let states: u64 = reports.iter().map(|(_, report, _)| report.distinct).sum();
    let count = violations.len();
    println!("model: configurations={} states={states} violations={count}", reports.len());
    if count == 0 && !broken { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn print(bounds: &Bounds, report: &Report, seconds: f64) {
    println!("{}: {}", bounds.name, bounds.about);
    println!("  {bounds:?}");
    println!(
        "  {} different states ({} computed), of nodes {}, messages {}, depth {}, {}, {seconds:.1} s, {:.0} states/s",
        report.distinct,
        report.generated,
        report.nodes,
        report.messages,
        report.depth,
        if report.exhausted { "all there are" } else { "not all there are" },
        report.distinct as f64 / seconds
    );
    let (points, overflown) = (report.points, report.overflown);
    println!("  {points:?}, messages lost for want of room {overflown}");
    if let Some(found) = &report.found {
        println!("  VIOLATION: {}", found.what);
        for (number, step) in found.steps.iter().enumerate() {
            println!("  {:>3}. {step}", number + 1);
        }
    }
}
