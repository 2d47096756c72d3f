//! `cargo xtask chaos`: real processes under faults, and every answer that a client got checked.
//!
//! Clients read and write few keys all the time. Meanwhile nodes are killed, frozen and restarted, and the
//! network between them is cut. At the end nothing acknowledged may be missing, all nodes must hold the
//! same, and there must be an order of all operations that explains every answer. The seed decides what is
//! done to whom and when; what real processes make of it is theirs.

mod check;
mod limits;
mod load;
mod members;
mod nemesis;
pub(crate) mod netns;
mod network;
mod plan;
mod record;
mod relay;

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Outcome;
use crate::servers::{self, Options, Servers};
use crate::util::progress::Progress;
use crate::util::random::Random;
use crate::util::{Context, Failure, json as json_file, table};
use check::{Found, Linearizable};
use load::{Habits, Load};
use nemesis::{Harm, Nemesis};
use network::{Network, Wanted};
use plan::Plan;
use record::{Counts, Record};

/// Flags of `cargo xtask chaos`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    servers: Options,
    /// All four stacks, one after the other, each for the time that is given: file and sqlite, over tcp
    /// and grpc.
    #[arg(long, conflicts_with_all = ["journal", "transport"])]
    all_stacks: bool,
    /// How long to do harm, in seconds; the last fault is undone after that.
    #[arg(long, default_value_t = 30, value_name = "N")]
    seconds: u64,
    /// The same in minutes.
    #[arg(long, conflicts_with = "seconds", value_name = "N")]
    minutes: Option<u64>,
    /// Decides what is done to whom, and when.
    #[arg(long, default_value_t = 1, value_name = "S")]
    seed: u64,
    /// Entries after which a node takes a snapshot and forgets the log before it: few, so that it happens often.
    #[arg(long, default_value_t = 500, value_name = "N")]
    snapshot_every: u64,
    /// How many clients, each one command at a time.
    #[arg(long, default_value_t = 10)]
    clients: usize,
    /// Commands of all clients together in a second, at most.
    #[arg(long, default_value_t = 400, value_name = "N")]
    rate: u32,
    /// What lies between the nodes.
    #[arg(long, value_enum, default_value = "auto")]
    network: Wanted,
    /// How long the search for an order may take, in seconds.
    #[arg(long, default_value_t = 600, value_name = "N")]
    check_seconds: u64,
    /// Takes a search that has met its limit for good. Otherwise what is not proven does not hold.
    #[arg(long)]
    allow_unknown: bool,
    /// Lets clients read from any node what it has (READONLY). That is not linearizable, so the check must
    /// fail: a way to see that it can.
    #[arg(long)]
    stale_reads: bool,
    /// Writes the result there.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// How one stack has done.
struct Report {
    stack: String,
    network: &'static str,
    seconds: f64,
    counts: Counts,
    harm: Harm,
    found: Found,
    linearizable: Linearizable,
    holds: bool,
}

pub(crate) fn run(args: &Args) -> Outcome {
    if args.servers.nodes < 3 {
        return Err(Failure::new("fewer than three nodes do not survive one: use --nodes 3 or more"));
    }
    let mut options = args.servers.clone();
    if options.binary.is_none() {
        options.binary = Some(servers::build()?);
    }
    let checker = check::build()?;
    let stacks: Vec<(&str, &str)> = if args.all_stacks {
        vec![("file", "tcp"), ("file", "grpc"), ("sqlite", "tcp"), ("sqlite", "grpc")]
    } else {
        vec![(&options.journal, &options.transport)]
    };
    let mut reports = Vec::new();
    for (journal, transport) in stacks {
        let mut one = options.clone();
        (one.journal, one.transport) = (journal.to_owned(), transport.to_owned());
        if args.all_stacks {
            one.dir = options.dir.as_ref().map(|dir| dir.join(format!("{journal}-{transport}")));
        }
        reports.push(stack(args, &one, &checker)?);
    }
    println!("\n{}", summary(&reports));
    json_file::write(args.json.as_deref(), &json!(reports.iter().map(as_json).collect::<Vec<_>>()))?;
    let holds = reports.iter().all(|report| report.holds);
    reports.iter().for_each(|report| println!("{}", last_line(report)));
    Ok(holds)
}

/// One stack, from its start to the verdict.
fn stack(args: &Args, options: &Options, checker: &std::path::Path) -> Result<Report, Failure> {
    let name = format!("{}+{}", options.journal, options.transport);
    let (mut network, what) = Network::start(args.network, options.nodes)?;
    println!("\n{name}: {} nodes, {} clients, seed {}", options.nodes, args.clients, args.seed);
    println!("network: {what}");
    let mut options = options.clone();
    options.more.extend(["--snapshot-every".to_owned(), args.snapshot_every.to_string()]);
    options.more.extend(network.flags().iter().map(ToString::to_string));
    let mut servers = Servers::prepare(&options, network.places())?;
    network.register(servers.guard());
    let outcome = measured(args, &mut servers, &mut network, checker, name);
    match &outcome {
        Ok(report) if report.holds => {}
        _ => {
            servers.keep();
            eprintln!("history.ndjson, faults.log and the nodes' logs stay in {}", servers.dir().display());
        }
    }
    // The processes go before their network does.
    drop(servers);
    outcome
}

fn measured(
    args: &Args,
    servers: &mut Servers,
    network: &mut Network,
    checker: &std::path::Path,
    stack: String,
) -> Result<Report, Failure> {
    let time = Duration::from_secs(args.minutes.map_or(args.seconds, |minutes| 60 * minutes));
    for at in 0..servers.all.len() {
        servers.launch(at)?;
        network.runs(at, servers.process(at));
    }
    servers.wait_for_leader()?;
    let record = Arc::new(Record::create(&servers.dir().join("history.ndjson"))?);
    let log = servers.dir().join("faults.log");
    let log = File::create(&log).context(|| format!("cannot write {}", log.display()))?;
    let habits = Habits {
        clients: args.clients.max(1),
        rate: args.rate,
        stale_reads: args.stale_reads,
        seed: args.seed,
    };
    let addresses = servers.all.iter().map(|server| server.address).collect();
    let mut load = Load::start(addresses, habits, Arc::clone(&record));
    let start = Instant::now();
    let progress = Progress::new(time.as_secs());
    let mut harmed = {
        let harm = Harm::default();
        let plan = Plan::new(args.seed, servers.all.len(), network.able());
        let random = Random::new(args.seed);
        let mut nemesis =
            Nemesis { servers, network, load: &load, progress: &progress, log, start, random, harm };
        let outcome = harm_for(&mut nemesis, plan, time, &record);
        (outcome, nemesis.harm, nemesis.log)
    };
    // The clients end in any case: they would go on for ever otherwise.
    if !load.stop() {
        harmed.0 = Err(Failure::new("a client has panicked"));
    }
    let (outcome, harm, log) = harmed;
    if let Err(failure) = outcome {
        // What the clients were told until then is worth knowing all the same.
        check::history(checker, record.file()?, args.check_seconds)?;
        return Err(failure);
    }
    let seconds = start.elapsed().as_secs_f64();
    progress.line("reading everything back, killing all nodes, and reading it again");
    let random = Random::new(args.seed);
    let mut nemesis =
        Nemesis { servers, network, load: &load, progress: &progress, log, start, random, harm };
    let mut found = check::nodes(&mut nemesis, &record)?;
    let harm = nemesis.harm;
    found.complaints.extend(record.complaints());
    drop(progress);
    for complaint in &found.complaints {
        println!("{complaint}");
    }
    let linearizable = check::history(checker, record.file()?, args.check_seconds)?;
    let proven = match linearizable {
        Linearizable::Yes => true,
        Linearizable::No => false,
        Linearizable::Unknown => args.allow_unknown,
    };
    let counts = record.counts();
    let holds = proven
        && found.lost == 0
        && found.nodes_agree
        && found.journals_sound
        && found.complaints.is_empty()
        && counts.acked > 0;
    let network = network.name();
    Ok(Report { stack, network, seconds, counts, harm, found, linearizable, holds })
}

fn harm_for(nemesis: &mut Nemesis<'_>, plan: Plan, time: Duration, record: &Record) -> Result<(), Failure> {
    for step in plan {
        if nemesis.start.elapsed() >= time {
            break;
        }
        let done = nemesis.start.elapsed().as_secs();
        nemesis.progress.at(done, format!("{} operations", record.counts().operations));
        nemesis.step(&step)?;
    }
    Ok(())
}

fn summary(reports: &[Report]) -> String {
    let headings: Vec<&str> =
        ["step"].into_iter().chain(reports.iter().map(|of| of.stack.as_str())).collect();
    let mut names: Vec<&str> = reports.iter().flat_map(|of| of.harm.steps.keys().copied()).collect();
    names.sort_unstable();
    names.dedup();
    let cell = |report: &Report, name: &str| match report.harm.steps.get(name) {
        Some((times, worst)) => format!("{times} x, {} ms", worst.as_millis()),
        None => String::from("-"),
    };
    let row = |name: &&str| {
        let cells = reports.iter().map(|report| cell(report, name));
        std::iter::once((*name).to_owned()).chain(cells).collect()
    };
    let rows: Vec<Vec<String>> = names.iter().map(row).collect();
    let text = table::render(&headings, &rows);
    format!("{text}\n  How often, and the longest time from the end of it to the next acknowledged write.\n")
}

fn last_line(report: &Report) -> String {
    let Report { stack, network, seconds, counts, harm, found, linearizable, .. } = report;
    format!(
        "chaos: stack={stack} seconds={seconds:.0} network={network} ops={} acked={} unknown={} kills={} freezes={} \
         cuts={} restarts={} torn={} changes={} wiped={} backups={} lost={} nodes_agree={} journals_sound={} linearizable={}",
        counts.operations,
        counts.acked,
        counts.unknown,
        harm.kills,
        harm.freezes,
        harm.cuts,
        harm.restarts,
        harm.torn,
        harm.changes,
        harm.wiped,
        harm.backups,
        found.lost,
        found.nodes_agree,
        found.journals_sound,
        linearizable.word()
    )
}

fn as_json(report: &Report) -> Value {
    let Report { stack, network, seconds, counts, harm, found, linearizable, holds } = report;
    let steps = harm.steps.iter().map(|(name, (times, worst))| {
        json!({ "step": name, "times": times, "worst_ms": u64::try_from(worst.as_millis()).unwrap_or(u64::MAX) })
    });
    json!({
        "stack": stack, "network": network, "seconds": seconds, "ops": counts.operations,
        "acked": counts.acked, "unknown": counts.unknown, "kills": harm.kills, "freezes": harm.freezes,
        "cuts": harm.cuts, "slowed": harm.slowed, "restarts": harm.restarts, "transfers": harm.transfers, "torn": harm.torn,
        "changes": harm.changes, "wiped": harm.wiped, "backups": harm.backups,
        "lost": found.lost, "nodes_agree": found.nodes_agree, "journals_sound": found.journals_sound,
        "linearizable": linearizable.word(), "complaints": found.complaints, "holds": holds,
        "steps": steps.collect::<Vec<_>>(),
    })
}
