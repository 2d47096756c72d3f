//! `cargo xtask crash`: states of the file journal after crashes, by the million.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Instant;

use serde_json::{Value, json};

use crate::Outcome;
use crate::util::{Context, Failure, json as json_file, proc, progress::Progress, table};

/// Flags of `cargo xtask crash`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Goes on with random workloads until so many different states were looked at, those of the
    /// workloads made by hand included.
    #[arg(long, default_value_t = 1_000_000, value_name = "N")]
    states: u64,
    /// Decides the random workloads and all that is sampled.
    #[arg(long, default_value_t = 1, value_name = "S")]
    seed: u64,
    /// Writes what was counted for each workload there.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Where sectors are old or new after a crash; where some are zero; where some hold anything.
const MODES: [&str; 3] = ["atomic", "zero", "garbage"];

/// False alarms that are too many: more than one in so many states.
const RATE: u64 = 1000;

pub(crate) fn run(args: &Args) -> Outcome {
    let start = Instant::now();
    let dir = tempfile::tempdir().context(|| String::from("no temporary folder"))?;
    let file = dir.path().join("report");
    let mut command = proc::cargo();
    command
        .args(["test", "--release", "--package", "raft-log-file", "--test", "crash", "--"])
        .args(["--ignored", "--exact", "all", "--nocapture"])
        .env("RAFT_CRASH_STATES", args.states.to_string())
        .env("RAFT_CRASH_SEED", args.seed.to_string())
        .env("RAFT_CRASH_REPORT", &file)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    // Cargo shows by itself how far it is.
    let mut build = proc::cargo();
    build.args(["test", "--release", "--package", "raft-log-file", "--test", "crash", "--no-run"]);
    if !proc::run(&mut build)? {
        return Err(Failure::new("the test does not compile: see above"));
    }
    eprintln!("$ {}", proc::shown(&command));
    let progress = Progress::spinner("looks at states after crashes");
    let ended = command.status().context(|| proc::shown(&command))?;
    drop(progress);
    let text = std::fs::read_to_string(&file).context(|| String::from("there is no report"))?;
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).context(|| format!("a line of the report: {line}")))
        .collect::<Result<_, Failure>>()?;
    let (workloads, damage): (Vec<Value>, Vec<Value>) =
        lines.into_iter().partition(|line| line["workload"].is_string());

    print!("{}", by_workload(&workloads));
    println!();
    print!("{}", by_mode(&workloads));
    println!();
    print!("{}", by_damage(&damage));
    for workload in &workloads {
        for (what, key) in [("LOST", "first"), ("false alarm", "alarms")] {
            for text in workload[key].as_array().into_iter().flatten().filter_map(Value::as_str).take(2) {
                println!("{what}: {}: {text}", name(workload));
            }
        }
    }
    let sum = |of: &dyn Fn(&Value) -> u64| workloads.iter().map(of).sum::<u64>();
    let states = sum(&|workload| count(&workload["atomic"]["states"]));
    let recoveries = sum(&|workload| count(&workload["atomic"]["recoveries"]));
    let alarms = sum(&|workload| count(&workload["atomic"]["false_alarms"]));
    let lost = sum(&|workload| count(&workload["lost"]));
    let silent: u64 = damage.iter().map(|line| count(&line["silent"])).sum();
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "\nfalse alarms: {:.5} % of the states of whole sectors; {seconds:.0} s; seed {}",
        alarms as f64 * 100.0 / states.max(1) as f64,
        args.seed
    );
    let summary = json!({
        "workloads": workloads.len(), "states": states, "recoveries": recoveries, "false_alarms": alarms,
        "lost": lost, "silent": silent, "seed": args.seed, "seconds": seconds, "damage": damage,
        "rows": workloads,
    });
    json_file::write(args.json.as_deref(), &summary)?;
    println!(
        "crash: workloads={} states={states} recoveries={recoveries} false_alarms={alarms} lost={lost}",
        workloads.len()
    );
    Ok(ended.success() && lost == 0 && silent == 0 && alarms * RATE <= states && states >= args.states)
}

fn count(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

fn name(workload: &Value) -> &str {
    workload["workload"].as_str().unwrap_or_default()
}

/// A row for each workload made by hand, one for all random ones.
fn by_workload(workloads: &[Value]) -> String {
    let headings =
        ["workload", "states", "recoveries", "torn", "alarms", "zero, garbage", "alarms there", "lost", "s"];
    let mut rows: Vec<(String, [u64; 7], f64)> = Vec::new();
    let mut random = (0, [0; 7], 0.0);
    for workload in workloads {
        let atomic = &workload["atomic"];
        let beyond = |key| count(&workload["zero"][key]) + count(&workload["garbage"][key]);
        let numbers = [
            count(&atomic["states"]),
            count(&atomic["recoveries"]),
            count(&atomic["torn"]),
            count(&atomic["false_alarms"]),
            beyond("states"),
            beyond("false_alarms"),
            count(&workload["lost"]),
        ];
        let seconds = workload["seconds"].as_f64().unwrap_or(0.0);
        if name(workload).starts_with("random ") {
            random.0 += 1;
            random.1.iter_mut().zip(numbers).for_each(|(sum, number)| *sum += number);
            random.2 += seconds;
        } else {
            rows.push((name(workload).to_owned(), numbers, seconds));
        }
    }
    rows.push((format!("({} random ones)", random.0), random.1, random.2));
    let cells = |(name, numbers, seconds): &(String, [u64; 7], f64)| {
        let numbers = numbers.iter().map(ToString::to_string);
        std::iter::once(name.clone()).chain(numbers).chain([format!("{seconds:.1}")]).collect()
    };
    table::render(&headings, &rows.iter().map(cells).collect::<Vec<_>>())
}

/// What opening said, by what became of the sectors that were being written.
fn by_mode(workloads: &[Value]) -> String {
    let keys =
        ["states", "recoveries", "clean", "torn", "suspect", "corrupt", "refused", "absent", "false_alarms"];
    let row = |mode: &&str| {
        let sums = keys.iter().map(|key| {
            let sum: u64 = workloads.iter().map(|workload| count(&workload[*mode][*key])).sum();
            sum.to_string()
        });
        std::iter::once((*mode).to_owned()).chain(sums).collect()
    };
    let headings: Vec<&str> = std::iter::once("sectors").chain(keys).collect();
    table::render(&headings, &MODES.iter().map(row).collect::<Vec<_>>())
}

/// What became of journals that something else than a crash has damaged.
fn by_damage(damage: &[Value]) -> String {
    let keys = ["images", "refused", "probation", "repaired", "harmless", "silent"];
    let row = |line: &Value| {
        let what = line["damage"].as_str().unwrap_or_default().to_owned();
        std::iter::once(what).chain(keys.iter().map(|key| count(&line[*key]).to_string())).collect()
    };
    let headings: Vec<&str> = std::iter::once("damage").chain(keys).collect();
    table::render(&headings, &damage.iter().map(row).collect::<Vec<_>>())
}
