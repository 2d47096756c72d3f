//! `cargo xtask demo`: the promise of the whole project on real processes. Clients write, the leader is
//! killed (or frozen) again and again, and at the end every acknowledged write must be there, on every
//! node.

mod check;
mod load;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::Outcome;
use crate::failover::{self, Failover};
use crate::servers::{Options, Servers};
use crate::util::progress::Progress;
use crate::util::{Failure, json as json_file, table};
use load::{Load, Totals};

/// Flags of `cargo xtask demo`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    servers: Options,
    /// How long to write, in seconds; longer if the kills take longer.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// How many clients write, each one command at a time.
    #[arg(long, default_value_t = 16)]
    clients: usize,
    /// How often the leader is killed.
    #[arg(long, default_value_t = 3)]
    kills: u32,
    /// Freezes the leader (SIGSTOP) rather than kill it, and thaws it later.
    #[arg(long)]
    freeze: bool,
    /// The size of a value, in bytes.
    #[arg(long, default_value_t = 256)]
    value_bytes: usize,
    /// Writes the result there.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> Outcome {
    if args.kills > 0 && args.servers.nodes < 3 {
        return Err(Failure::new("fewer than three nodes do not survive one: use --nodes 3 or --kills 0"));
    }
    let mut servers = Servers::start(&args.servers)?;
    let progress = Progress::new(args.seconds);
    let nodes = servers.all.iter().map(|server| server.address).collect();
    let load = Load::start(nodes, args.clients.max(1), args.value_bytes);
    let outcome = rounds(args, &mut servers, &load, &progress);
    // The clients end in any case: they would go on for ever otherwise.
    let totals = load.stop();
    let (failovers, wrote_for) = match outcome {
        Ok(outcome) => outcome,
        Err(failure) => {
            servers.keep();
            return Err(failure);
        }
    };
    progress.line("reading every acknowledged write back and comparing the nodes");
    let found = check::run(&mut servers, &totals)?;
    for complaint in &found.complaints {
        progress.line(complaint);
    }
    drop(progress);
    let holds = found.lost == 0
        && found.nodes_agree
        && failovers.len() == args.kills as usize
        && !totals.acked.is_empty();
    if !holds {
        servers.keep();
    }
    report(args, &totals, &found, &failovers, wrote_for)?;
    Ok(holds)
}

/// Writes for the time asked for, and kills the leader in between.
fn rounds(
    args: &Args,
    servers: &mut Servers,
    load: &Load,
    progress: &Progress,
) -> Result<(Vec<Failover>, Duration), Failure> {
    let start = Instant::now();
    let gap = Duration::from_secs(args.seconds) / (args.kills + 1);
    let mut failovers = Vec::new();
    for round in 1..=args.kills {
        wait_until(start, gap * round, servers, load, progress)?;
        let failover = failover::run(servers, load, args.freeze, start)?;
        progress.line(&failover.line(args.freeze));
        failovers.push(failover);
    }
    wait_until(start, Duration::from_secs(args.seconds), servers, load, progress)?;
    Ok((failovers, start.elapsed()))
}

fn wait_until(
    start: Instant,
    end: Duration,
    servers: &mut Servers,
    load: &Load,
    progress: &Progress,
) -> Result<(), Failure> {
    while start.elapsed() < end {
        servers.check_alive()?;
        progress.at(start.elapsed().as_secs(), format!("{} writes acknowledged", load.acked()));
        std::thread::sleep((end - start.elapsed().min(end)).min(Duration::from_millis(100)));
    }
    Ok(())
}

fn report(
    args: &Args,
    totals: &Totals,
    found: &check::Found,
    failovers: &[Failover],
    wrote_for: Duration,
) -> Result<(), Failure> {
    let per_second = totals.acked.len() as f64 / wrote_for.as_secs_f64();
    let (p50, p99) = (totals.latency_us(50), totals.latency_us(99));
    let failover_ms: Vec<u64> = failovers.iter().map(|f| f.took.as_millis() as u64).collect();
    let mut sorted = failover_ms.clone();
    sorted.sort_unstable();
    let median = sorted.get(sorted.len() / 2).map_or_else(|| String::from("-"), u64::to_string);
    let row = |what: &str, value: String| vec![what.to_string(), value];
    let rows = [
        row("writes acknowledged", totals.acked.len().to_string()),
        row("of these lost", found.lost.to_string()),
        row("outcome unknown to the client", totals.unknown.len().to_string()),
        row("leaders killed and replaced", failovers.len().to_string()),
        row("median failover, ms", median),
        row("writes a second", format!("{per_second:.0}")),
        row("latency p50, us", p50.to_string()),
        row("latency p99, us", p99.to_string()),
        row("keys on each node", found.keys.to_string()),
        row("nodes agree", found.nodes_agree.to_string()),
    ];
    println!(
        "\n{}",
        table::render(&["", &format!("{} nodes, {} clients", args.servers.nodes, args.clients)], &rows)
    );
    let result = json!({
        "acked": totals.acked.len(),
        "lost": found.lost,
        "unknown": totals.unknown.len(),
        "kills": failovers.len(),
        "failover_ms": failover_ms,
        "writes_per_s": per_second.round(),
        "p50_us": p50,
        "p99_us": p99,
        "nodes_agree": found.nodes_agree,
    });
    json_file::write(args.json.as_deref(), &result)?;
    println!("{result}");
    Ok(())
}
