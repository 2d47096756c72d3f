//! `cargo xtask bench`: how fast it is, inside and outside, beside its peers and the limits of the machine, all in one run.
//!
//! What it measures with, and the peers' harnesses, are a workspace of their own in `xtask/peers`, built when needed. Each
//! system is started anew for each round, in the same order; a figure is the median of the rounds. `report.html`
//! shows all of it, `report.json` is for machines, and the last line says how many of the goals stand.

mod baseline;
mod goals;
mod html;
mod inside;
mod machine;
mod outside;
mod peers;
mod plot;
mod results;

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::Outcome;
use crate::util::{Context, Failure, json as json_file, proc, table};
use goals::Ratio;
use peers::Tools;
use results::Results;

/// Flags of `cargo xtask bench`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// A few points, one short round: whether it works, not how fast it is.
    #[arg(long)]
    quick: bool,
    /// With whom: etcd, redis, raft-rs, openraft. Who is not installed is left out, and said so.
    #[arg(long, value_delimiter = ',', default_value = "etcd,redis,raft-rs,openraft")]
    against: Vec<String>,
    /// The journal of our nodes.
    #[arg(long, default_value = "file")]
    journal: String,
    /// The transport of our nodes.
    #[arg(long, default_value = "tcp")]
    transport: String,
    /// Rounds of everything outside; 5, or 1 with `--quick`.
    #[arg(long)]
    rounds: Option<usize>,
    /// Seconds of each load; 3, or 1 with `--quick`.
    #[arg(long)]
    seconds: Option<f64>,
    /// Only these parts: machine, core, journal, load, reads, stacks, failover, transfer, growth.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Where the reports go.
    #[arg(long, value_name = "DIR", default_value = "target/bench")]
    out: PathBuf,
    /// Writes `report.json` there as well.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// An earlier `report.json` to compare with.
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
}

/// The parts of a run, in order.
const PARTS: [&str; 9] =
    ["machine", "core", "journal", "load", "reads", "stacks", "failover", "transfer", "growth"];

/// What we can be measured against.
const PEERS: [&str; 4] = ["etcd", "redis", "raft-rs", "openraft"];

impl Args {
    fn wants(&self, part: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|one| one == part)
    }

    fn rounds(&self) -> usize {
        self.rounds.unwrap_or(if self.quick { 1 } else { 5 }).max(1)
    }

    fn seconds(&self) -> f64 {
        self.seconds.unwrap_or(if self.quick { 1.0 } else { 3.0 })
    }
}

pub(crate) fn run(args: &Args) -> Outcome {
    if let Some(strange) = args.only.iter().find(|one| !PARTS.contains(&one.as_str())) {
        return Err(Failure::new(format!("--only {strange}: one of {}", PARTS.join(", "))));
    }
    if let Some(strange) = args.against.iter().find(|one| !PEERS.contains(&one.as_str())) {
        return Err(Failure::new(format!("--against {strange}: one of {}", PEERS.join(", "))));
    }
    let baseline = args.baseline.as_deref().map(baseline::read).transpose()?;
    let tools = Tools::build(&args.against)?;
    for why in &tools.missing {
        println!("left out: {why}");
    }
    let mut results = Results::default();
    measure(args, &tools, &mut results)?;
    let ratios = goals::judge(&results);
    let machine = machine::describe(&results);
    let report = json!({
        "machine": machine,
        "quick": args.quick,
        "rounds": args.rounds(),
        "left_out": tools.missing,
        "ratios": ratios,
        "summary": results.summary(),
        "runs": results.runs(),
    });
    let out = if args.out.is_absolute() { args.out.clone() } else { proc::root().join(&args.out) };
    std::fs::create_dir_all(&out).context(|| format!("cannot create {}", out.display()))?;
    json_file::write(Some(&out.join("report.json")), &report)?;
    json_file::write(args.json.as_deref(), &report)?;
    let page = html::page(&report, &results, &ratios)?;
    let file = out.join("report.html");
    std::fs::write(&file, page).context(|| format!("cannot write {}", file.display()))?;
    if args.wants("machine") {
        print_machine(&machine);
    }
    print(&ratios);
    if let Some(before) = &baseline {
        println!("\nagainst the baseline:\n{}", baseline::compare(before, &results));
    }
    let met = ratios.iter().filter(|ratio| ratio.met).count();
    println!("report: {}", file.display());
    println!("bench: ratios={} met={met} left_out={}", ratios.len(), tools.missing.len());
    // A figure is a fact, not a check: what must hold is that everything could be measured.
    Ok(true)
}

fn measure(args: &Args, tools: &Tools, results: &mut Results) -> Result<(), Failure> {
    if args.wants("machine") {
        machine::measure(args, tools, results)?;
    }
    if args.wants("core") {
        inside::core(args, tools, results)?;
    }
    if args.wants("journal") {
        inside::journals(args, tools, results)?;
    }
    outside::measure(args, tools, results)
}

/// What no program here can be faster than, and where that is.
fn print_machine(machine: &Value) {
    println!();
    for (name, value) in machine.as_object().into_iter().flatten() {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        println!("  {name}: {text}");
    }
}

fn print(ratios: &[Ratio]) {
    if ratios.is_empty() {
        println!("\nno goal is about these parts alone; the report has their figures");
        return;
    }
    let number = |value: f64| if value >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") };
    let rows: Vec<Vec<String>> = ratios
        .iter()
        .map(|one| {
            let sign = if one.at_least { ">=" } else { "<=" };
            vec![
                one.name.clone(),
                number(one.ours),
                number(one.theirs),
                number(one.ratio),
                format!("{sign} {}", one.goal),
                String::from(if one.met { "yes" } else { "NO" }),
            ]
        })
        .collect();
    println!("\n{}", table::render(&["what", "ours", "theirs", "ratio", "goal", "met"], &rows));
}
