//! `cargo xtask catch-up`: what a large state costs. A cluster is filled; then, under a steady write load, its leader takes a
//! snapshot, and a node without data becomes a learner, is sent that snapshot, catches up and is promoted.
//! Measured are the latency of the load meanwhile against before, and memory. A learner that lags must not be
//! promoted, and at the end it must have every value.

mod load;
mod memory;
mod state;

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Outcome;
use crate::servers::{self, Options, PATIENCE, Servers};
use crate::util::progress::Progress;
use crate::util::resp::{Client, Reply};
use crate::util::{Context, Failure, json as json_file, proc, table};
use load::{Habits, Latency, Load, Samples};
use memory::Memory;
use state::State;

/// Flags of `cargo xtask catch-up`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    servers: Options,
    /// How much data there is before the measuring begins, in MiB.
    #[arg(long, default_value_t = 1024, value_name = "N")]
    state_mib: u64,
    /// In values of this size, in KiB.
    #[arg(long, default_value_t = 16, value_name = "N")]
    state_value_kib: u64,
    /// How many clients write meanwhile.
    #[arg(long, default_value_t = 16)]
    clients: usize,
    /// How much they write together, in writes a second.
    #[arg(long, default_value_t = 2000, value_name = "N")]
    rate: u64,
    /// The size of what they write, in bytes.
    #[arg(long, default_value_t = 256)]
    value_bytes: usize,
    /// How long the time before is measured, in seconds.
    #[arg(long, default_value_t = 20, value_name = "N")]
    before_seconds: u64,
    /// Does not hold if the 99th percentile rises by more than this factor.
    #[arg(long, value_name = "FACTOR")]
    max_ratio: Option<f64>,
    /// Does not hold if the leader needs more memory for it than this, in MiB.
    #[arg(long, value_name = "N")]
    max_overhead_mib: Option<u64>,
    /// Writes the result there.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// A part of the run.
struct Phase {
    name: &'static str,
    time: (Instant, Instant),
    /// The leader's memory at its begin, and at most, in bytes.
    memory: (Option<u64>, Option<u64>),
}

/// What was seen.
struct Run {
    filled_in: Duration,
    phases: Vec<Phase>,
    /// What `RAFT PROMOTE` said of the learner at first.
    refusal: String,
    promoted: bool,
    /// Whether the same node led all the time.
    same_leader: bool,
    snapshot_bytes: u64,
    /// The learner's memory at most, and at the end.
    learner: (Option<u64>, Option<u64>),
    /// Values that it does not have as they were written.
    wrong: u64,
}

/// How long the snapshot may take, and the learner.
const LONG: Duration = Duration::from_secs(1800);

pub(crate) fn run(args: &Args) -> Outcome {
    let state = State::new(args.state_mib << 20, (args.state_value_kib << 10) as usize);
    if state.keys == 0 || args.clients == 0 || args.rate == 0 || args.servers.nodes == 0 {
        return Err(Failure::new("--state-mib, --clients, --rate and --nodes must be at least 1"));
    }
    let mut options = args.servers.clone();
    // Snapshots are taken when the run says so, and nothing before them is kept that a learner could use instead.
    let quiet = ["--snapshot-every", "0", "--snapshot-every-bytes", "0", "--snapshot-keep", "0"];
    options.more.splice(0..0, quiet.iter().map(ToString::to_string));
    let founders = options.nodes;
    let mut servers = Servers::prepare(&options, servers::loopback(founders + 1)?)?;
    for at in 0..founders {
        servers.launch(at)?;
    }
    let outcome = measured(args, state, &mut servers);
    if !matches!(outcome, Ok(true)) {
        servers.keep();
    }
    outcome
}

fn measured(args: &Args, state: State, servers: &mut Servers) -> Outcome {
    let leader = servers.wait_for_leader()?;
    let progress = Progress::new(state.keys);
    progress.line(&format!("filling: {} values of {} KiB", state.keys, args.state_value_kib));
    let begun = Instant::now();
    state.fill(servers.all[leader].address, |keys| progress.at(keys, String::from("values")))?;
    let filled_in = begun.elapsed();
    let reached = servers.wait_settled(leader)?;
    for at in 0..args.servers.nodes {
        servers.wait_applied(at, reached)?;
    }
    let habits = Habits { clients: args.clients, rate: args.rate, value_bytes: args.value_bytes };
    let nodes: Vec<_> = servers.all.iter().take(args.servers.nodes).map(|server| server.address).collect();
    let load = Load::start(&nodes, leader, &habits);
    let outcome = phases(args, state, servers, leader, filled_in, &progress);
    // The clients end in any case: they would go on for ever otherwise.
    let samples = load.stop().ok_or_else(|| Failure::new("a client has panicked"));
    let mut run = outcome?;
    let samples = samples?;
    progress.line("reading every value back from the new node");
    let leader = servers.wait_for_leader()?;
    let reached = servers.wait_settled(leader)?;
    let learner = args.servers.nodes;
    servers.wait_applied(learner, reached)?;
    run.wrong = state.wrong(servers, learner)?;
    drop(progress);
    report(args, state, &run, &samples)
}

/// All that is done under load.
fn phases(
    args: &Args,
    state: State,
    servers: &mut Servers,
    leader: usize,
    filled_in: Duration,
    progress: &Progress,
) -> Result<Run, Failure> {
    let memory = Memory::of(servers.process(leader));
    let mut phases = Vec::new();
    let mut phase = |name: &'static str, of: &mut dyn FnMut() -> Result<(), Failure>| {
        progress.line(name);
        let before = memory.now();
        memory.reset();
        let begun = Instant::now();
        of()?;
        phases.push(Phase { name, time: (begun, Instant::now()), memory: (before, memory.peak()) });
        Ok::<(), Failure>(())
    };
    // The disk is still busy with the filling, and would be for a while.
    proc::works(&mut Command::new("sync"));
    wait(servers, Duration::from_secs(3))?;
    phase("before", &mut || wait(servers, Duration::from_secs(args.before_seconds)))?;
    let mut snapshot_bytes = 0;
    phase("taking the snapshot", &mut || {
        let reply = ask(servers, leader, &["RAFT", "SNAPSHOT"], LONG)?;
        if let Reply::Array(words) = &reply
            && let Some([_, Reply::Integer(bytes)]) = words.chunks(2).find(|pair| pair[0].text() == "bytes")
        {
            snapshot_bytes = u64::try_from(*bytes).unwrap_or(0);
        }
        match reply {
            Reply::Error(why) => Err(Failure::new(format!("the snapshot was not taken: {why}"))),
            _ if snapshot_bytes < state.bytes() => Err(Failure::new("the snapshot has less than the data")),
            _ => Ok(()),
        }
    })?;
    wait(servers, Duration::from_secs(3))?;
    let learner = args.servers.nodes;
    let id = servers.all[learner].id.to_string();
    let mut refusal = String::new();
    phase("sending it to an empty node", &mut || {
        let cluster = servers.info(leader).and_then(|info| Some(info.value("cluster-id")?.to_owned()));
        servers.launch_joining(learner, &cluster.ok_or_else(|| Failure::new("no cluster id"))?)?;
        let addresses = servers.addresses(learner);
        let added = ask(servers, leader, &["RAFT", "ADD-LEARNER", &id, &addresses], PATIENCE)?;
        if let Reply::Error(why) = added {
            return Err(Failure::new(format!("the learner was not added: {why}")));
        }
        refusal = promote_too_early(servers, leader, &id)?;
        let wanted = servers.info(leader).and_then(|info| info.number("commit-index")).unwrap_or(u64::MAX);
        let deadline = Instant::now() + LONG;
        while servers.info(learner).is_none_or(|info| info.number("last-applied") < Some(wanted)) {
            wait(servers, Duration::from_millis(50))?;
            if Instant::now() > deadline {
                return Err(Failure::new(format!("the learner has not caught up within {LONG:?}")));
            }
        }
        Ok(())
    })?;
    let leads = servers.wait_for_leader()?;
    let promoted = ask(servers, leads, &["RAFT", "PROMOTE", &id, "WAIT"], 2 * PATIENCE)?;
    if let Reply::Error(why) = &promoted {
        progress.line(&format!("the learner was not promoted: {why}"));
    }
    let at_most = Memory::of(servers.process(learner)).peak();
    phase("after", &mut || wait(servers, Duration::from_secs(5)))?;
    let same_leader = servers.wait_for_leader()? == leader;
    if !same_leader {
        progress.line("another node leads: a disk, or a node, did not answer for an election timeout");
    }
    Ok(Run {
        filled_in,
        phases,
        refusal,
        promoted: !matches!(promoted, Reply::Error(_)),
        same_leader,
        snapshot_bytes,
        learner: (at_most, Memory::of(servers.process(learner)).now()),
        wrong: 0,
    })
}

/// Asks that the learner become a voter as soon as it has said how far it is, and returns what was answered; nothing if
/// it was done.
fn promote_too_early(servers: &mut Servers, leader: usize, id: &str) -> Result<String, Failure> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match ask(servers, leader, &["RAFT", "PROMOTE", id], PATIENCE)? {
            Reply::Error(why) if !why.contains("never answered") => return Ok(why),
            Reply::Error(_) if Instant::now() < deadline => wait(servers, Duration::from_millis(10))?,
            Reply::Error(why) => return Err(Failure::new(why)),
            _ => return Ok(String::new()),
        }
    }
}

fn wait(servers: &mut Servers, time: Duration) -> Result<(), Failure> {
    let end = Instant::now() + time;
    while Instant::now() < end {
        servers.check_alive()?;
        std::thread::sleep((end - Instant::now().min(end)).min(Duration::from_millis(100)));
    }
    Ok(())
}

fn ask(servers: &Servers, at: usize, words: &[&str], patience: Duration) -> Result<Reply, Failure> {
    let said = || words.join(" ");
    let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
    let mut client = Client::connect(servers.all[at].address, patience).context(said)?;
    client.call(&words).context(said)
}

fn report(args: &Args, state: State, run: &Run, samples: &Samples) -> Outcome {
    let mib = |bytes: u64| bytes >> 20;
    let shown = |bytes: Option<u64>| bytes.map_or_else(|| String::from("-"), |bytes| mib(bytes).to_string());
    let over = |(before, peak): (Option<u64>, Option<u64>)| Some(peak?.saturating_sub(before?));
    let latencies: Vec<Latency> = run.phases.iter().map(|phase| samples.between(phase.time)).collect();
    let before = latencies.first().copied().unwrap_or_default();
    let ratio = |of: &Latency| of.p99_us as f64 / before.p99_us.max(1) as f64;
    let row = |(phase, latency): (&Phase, &Latency)| {
        let seconds = phase.time.1.duration_since(phase.time.0).as_secs_f64();
        vec![
            phase.name.to_owned(),
            format!("{seconds:.1}"),
            latency.writes.to_string(),
            latency.p50_us.to_string(),
            latency.p99_us.to_string(),
            format!("{:.2}", ratio(latency)),
            (latency.max_us / 1000).to_string(),
            format!("{:.1}", latency.max_at.as_secs_f64()),
            shown(phase.memory.0),
            shown(over(phase.memory)),
        ]
    };
    let rows: Vec<Vec<String>> = run.phases.iter().zip(&latencies).map(row).collect();
    let headings =
        ["", "s", "writes", "p50 us", "p99 us", "ratio", "max ms", "at s", "leader MiB", "more at most"];
    println!("\n{}", table::render(&headings, &rows));
    // What it needed more than it needs with all data there.
    let learner_over = over((run.learner.1, run.learner.0));
    println!("  state {} MiB, filled in {:.1} s", mib(state.bytes()), run.filled_in.as_secs_f64());
    println!("  the new node: at most {} MiB, {} at the end", shown(run.learner.0), shown(run.learner.1));
    println!("  promoted while it lagged: {}\n", if run.refusal.is_empty() { "YES" } else { &run.refusal });
    let worst = latencies.iter().skip(1).map(ratio).fold(0.0, f64::max);
    let overhead = run.phases.iter().skip(1).filter_map(|phase| over(phase.memory)).max();
    // With its lag in numbers.
    let refused = run.refusal.starts_with("REFUSED") && run.refusal.contains(" entries behind");
    let holds = refused
        && run.promoted
        && run.same_leader
        && run.wrong == 0
        && args.max_ratio.is_none_or(|limit| worst <= limit)
        && args.max_overhead_mib.is_none_or(|limit| overhead.is_some_and(|bytes| mib(bytes) <= limit));
    let phase = |(phase, latency): (&Phase, &Latency)| -> Value {
        json!({
            "phase": phase.name,
            "seconds": (phase.time.1.duration_since(phase.time.0).as_secs_f64() * 10.0).round() / 10.0,
            "writes": latency.writes, "p50_us": latency.p50_us, "p99_us": latency.p99_us, "max_us": latency.max_us,
            "max_at_s": latency.max_at.as_secs_f64(),
            "p99_ratio": (ratio(latency) * 100.0).round() / 100.0,
            "leader_mib": phase.memory.0.map(mib), "leader_more_mib": over(phase.memory).map(mib),
        })
    };
    let result = json!({
        "journal": args.servers.journal, "transport": args.servers.transport,
        "state_mib": mib(state.bytes()), "snapshot_mib": mib(run.snapshot_bytes),
        "clients": args.clients, "rate": args.rate,
        "phases": run.phases.iter().zip(&latencies).map(phase).collect::<Vec<_>>(),
        "worst_p99_ratio": (worst * 100.0).round() / 100.0,
        "leader_overhead_mib": overhead.map(mib),
        "learner_peak_mib": run.learner.0.map(mib), "learner_end_mib": run.learner.1.map(mib),
        "learner_more_mib": learner_over.map(mib),
        "lagging_refused": refused, "promoted": run.promoted, "same_leader": run.same_leader, "wrong": run.wrong, "holds": holds,
    });
    json_file::write(args.json.as_deref(), &result)?;
    println!("{result}");
    Ok(holds)
}
