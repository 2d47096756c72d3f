//! `cargo xtask count`: exactly once, on real processes. Clients increment one counter in sessions, each command
//! sent again under its number until it is answered, while leaders are killed. At the end the counter must be
//! exactly what was asked for, and every number up to it must have been answered to one command.

mod load;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::failover::{self, Failover};
use crate::servers::{Options, PATIENCE, Servers};
use crate::util::progress::Progress;
use crate::util::{Failure, json as json_file, table};
use crate::{Outcome, content};
use load::{KEY, Load, Totals};

/// Flags of `cargo xtask count`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    servers: Options,
    /// How many times the counter is incremented.
    #[arg(long, default_value_t = 1_000_000, value_name = "N")]
    ops: u64,
    /// How many clients, each in a session of its own and one command at a time.
    #[arg(long, default_value_t = 32)]
    clients: usize,
    /// How often the leader is killed, spread over the run.
    #[arg(long, default_value_t = 10)]
    kills: u32,
    /// Writes the result there.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// What the nodes have at the end.
struct Found {
    counter: u64,
    /// What speaks against "exactly once", in words.
    complaints: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Outcome {
    if args.kills > 0 && args.servers.nodes < 3 {
        return Err(Failure::new("fewer than three nodes do not survive one: use --nodes 3 or --kills 0"));
    }
    let needed = u64::from(args.kills + 1) * 2 * args.clients as u64;
    if args.clients == 0 || args.ops < needed {
        return Err(Failure::new(format!(
            "that leaves nothing between two kills: use --clients 1 or more, and --ops {needed} or more"
        )));
    }
    let mut servers = Servers::start(&args.servers)?;
    let outcome = measured(args, &mut servers);
    if !matches!(outcome, Ok(true)) {
        servers.keep();
    }
    outcome
}

fn measured(args: &Args, servers: &mut Servers) -> Outcome {
    let progress = Progress::new(args.ops);
    let nodes = servers.all.iter().map(|server| server.address).collect();
    let load = Load::start(nodes, args.clients);
    let start = Instant::now();
    let outcome = rounds(args, servers, &load, &progress, start);
    // The clients end in any case: they would go on for ever otherwise.
    let failure = load.failure();
    let totals = load.stop();
    let (failovers, took) = outcome?;
    if let Some(why) = failure {
        return Err(Failure::new(why));
    }
    let totals = totals.ok_or_else(|| Failure::new("a client has panicked"))?;
    let found = check(servers, &totals, args.ops)?;
    for complaint in &found.complaints {
        progress.line(complaint);
    }
    drop(progress);
    report(args, &totals, &found, &failovers, took)
}

/// Lets the clients count, and kills the leader in between. A part that nobody may begin before the killed node is
/// back keeps fast clients from being through before the last kill.
fn rounds(
    args: &Args,
    servers: &mut Servers,
    load: &Load,
    progress: &Progress,
    start: Instant,
) -> Result<(Vec<Failover>, Duration), Failure> {
    let part = |number: u32| args.ops * u64::from(number) / u64::from(args.kills + 1);
    load.allow(part(1));
    let mut failovers = Vec::new();
    for kill in 1..=args.kills {
        wait_acked(part(kill), servers, load, progress)?;
        load.allow(part(kill + 1));
        // Under load again: each client has had an answer, on average.
        wait_acked(part(kill) + args.clients as u64, servers, load, progress)?;
        let failover = failover::run(servers, load, false, start)?;
        progress.line(&failover.line(false));
        failovers.push(failover);
    }
    wait_acked(args.ops, servers, load, progress)?;
    Ok((failovers, start.elapsed()))
}

fn wait_acked(wanted: u64, servers: &mut Servers, load: &Load, progress: &Progress) -> Result<(), Failure> {
    let mut last = (load.acked(), Instant::now());
    while load.acked() < wanted {
        servers.check_alive()?;
        if let Some(why) = load.failure() {
            return Err(Failure::new(why));
        }
        let acked = load.acked();
        if acked > last.0 {
            last = (acked, Instant::now());
        } else if last.1.elapsed() > PATIENCE {
            return Err(Failure::new(format!("nothing was answered for {PATIENCE:?}")));
        }
        progress.at(acked, String::from("answered"));
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// Compares what was answered, and what is there.
fn check(servers: &mut Servers, totals: &Totals, ops: u64) -> Result<Found, Failure> {
    let mut complaints = each_once(&totals.answers, ops);
    if totals.backwards > 0 {
        complaints.push(format!("{} answers were not greater than the one before", totals.backwards));
    }
    let leader = servers.wait_for_leader()?;
    let compared = content::compare(servers, leader)?;
    complaints.extend(compared.differences);
    let counter = compared.content.get(KEY).map(|value| content::text(value));
    let counter = counter.and_then(|text| text.parse().ok()).unwrap_or(0);
    if counter != ops {
        complaints.push(format!("the counter is {counter}, and {ops} increments were acknowledged"));
    }
    Ok(Found { counter, complaints })
}

/// Each number up to `ops` must be the answer to one command.
fn each_once(answers: &[u64], ops: u64) -> Vec<String> {
    let mut sorted = answers.to_vec();
    sorted.sort_unstable();
    let twice = sorted.windows(2).filter(|pair| pair[0] == pair[1]).count();
    let beyond = sorted.iter().filter(|answer| **answer == 0 || **answer > ops).count();
    let mut complaints = Vec::new();
    if answers.len() as u64 != ops {
        complaints.push(format!("{} commands were answered, not {ops}", answers.len()));
    }
    if twice > 0 {
        complaints.push(format!("{twice} answers were given to more than one command"));
    }
    if beyond > 0 {
        complaints.push(format!("{beyond} answers are not between 1 and {ops}"));
    }
    complaints
}

fn report(args: &Args, totals: &Totals, found: &Found, failovers: &[Failover], took: Duration) -> Outcome {
    let exact = found.counter == args.ops && found.complaints.is_empty();
    let per_second = args.ops as f64 / took.as_secs_f64();
    let failover_ms: Vec<u64> = failovers.iter().map(|failover| failover.took.as_millis() as u64).collect();
    let worst_ms = totals.latency_us(1000) / 1000;
    let row = |what: &str, value: String| vec![what.to_string(), value];
    let rows = [
        row("increments acknowledged", totals.answers.len().to_string()),
        row("the counter", found.counter.to_string()),
        row("leaders killed and replaced", failovers.len().to_string()),
        row("attempts with unknown outcome", totals.unknown.to_string()),
        row("attempts that were not done", totals.not_done.to_string()),
        row("increments a second", format!("{per_second:.0}")),
        row("latency p50, us", totals.latency_us(500).to_string()),
        row("latency p99, us", totals.latency_us(990).to_string()),
        row("longest, with its retries, ms", worst_ms.to_string()),
    ];
    let heading = format!("{} nodes, {} clients", args.servers.nodes, args.clients);
    println!("\n{}", table::render(&["", &heading], &rows));
    let result = json!({
        "journal": args.servers.journal,
        "transport": args.servers.transport,
        "ops": args.ops,
        "clients": args.clients,
        "kills": failovers.len(),
        "counter": found.counter,
        "exact": exact,
        "unknown": totals.unknown,
        "not_done": totals.not_done,
        "failover_ms": failover_ms,
        "seconds": (took.as_secs_f64() * 10.0).round() / 10.0,
        "ops_per_s": per_second.round(),
        "p50_us": totals.latency_us(500),
        "p99_us": totals.latency_us(990),
        "worst_ms": worst_ms,
    });
    json_file::write(args.json.as_deref(), &result)?;
    println!("{result}");
    Ok(exact)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_twice_or_not_at_all_is_found() {
        assert!(each_once(&[3, 1, 2], 3).is_empty());
        assert_eq!(each_once(&[1, 2, 2], 3), ["1 answers were given to more than one command"]);
        assert_eq!(each_once(&[1, 2], 3), ["2 commands were answered, not 3"]);
        assert_eq!(each_once(&[1, 2, 4], 3), ["1 answers are not between 1 and 3"]);
    }
}
