//! Real processes on loopback, and clients in a closed loop.

use serde_json::Value;

use super::Args;
use super::peers::{ALONE, Peer, Running, Tools};
use super::results::{Point, Results};
use crate::servers::{self, Options, Servers};
use crate::util::progress::Progress;
use crate::util::{Failure, ports};

/// Who is measured.
#[derive(Clone)]
pub(super) enum System {
    /// `raft-kv`, on the stack that was asked for or another one.
    Ours { name: String, journal: String, transport: String, proto: &'static str, nodes: usize },
    /// Somebody else.
    Peer(Peer),
}

impl System {
    fn name(&self) -> &str {
        match self {
            Self::Ours { name, .. } => name,
            Self::Peer(peer) => peer.name(),
        }
    }

    fn proto(&self) -> &'static str {
        match self {
            Self::Ours { proto, .. } => proto,
            Self::Peer(peer) => peer.proto(),
        }
    }
}

fn ours(args: &Args, name: &str, proto: &'static str) -> System {
    let (journal, transport) = (args.journal.clone(), args.transport.clone());
    System::Ours { name: name.to_owned(), journal, transport, proto, nodes: 3 }
}

/// What runs of it.
enum Cluster {
    Ours(Box<Servers>, &'static str, Vec<std::net::SocketAddr>),
    Peer(Running),
}

impl Cluster {
    fn start(tools: &Tools, system: &System) -> Result<Self, Failure> {
        match system {
            System::Peer(peer) => Ok(Self::Peer(Running::start(tools, *peer)?)),
            System::Ours { journal, transport, proto, nodes, .. } => {
                let options = Options {
                    nodes: *nodes,
                    journal: journal.clone(),
                    transport: transport.clone(),
                    dir: None,
                    keep: false,
                    binary: Some(tools.server.clone()),
                    more: Vec::new(),
                };
                let mut places = servers::loopback(*nodes)?;
                let thin = ports::free(*nodes)?;
                for (place, thin) in places.iter_mut().zip(&thin) {
                    place.thin = Some(*thin);
                }
                let mut all = Servers::prepare(&options, places)?;
                for at in 0..*nodes {
                    all.launch(at)?;
                }
                all.wait_for_leader()?;
                Ok(Self::Ours(Box::new(all), proto, thin))
            }
        }
    }

    /// Where clients go and which processes they are, as the load generator takes them.
    fn reached(&self) -> Vec<String> {
        let list = |all: Vec<String>| all.join(",");
        let (clients, pids): (Vec<String>, Vec<u32>) = match self {
            Self::Peer(running) => {
                (running.clients.iter().map(ToString::to_string).collect(), running.pids())
            }
            Self::Ours(servers, proto, thin) => {
                let resp = servers.all.iter().map(|server| server.address);
                let clients: Vec<_> = if *proto == "sp" { thin.clone() } else { resp.collect() };
                let pids = (0..servers.all.len()).filter_map(|at| servers.process(at));
                (clients.iter().map(ToString::to_string).collect(), pids.collect())
            }
        };
        let pids = pids.iter().map(ToString::to_string).collect();
        vec![String::from("--addrs"), list(clients), String::from("--pids"), list(pids)]
    }

    /// Starts the node again that was killed.
    fn restart(&mut self, at: usize) -> Result<(), Failure> {
        match self {
            Self::Peer(running) => running.restart(at),
            Self::Ours(servers, ..) => {
                servers.kill(at)?;
                servers.launch(at)
            }
        }
    }
}

/// One run of the load generator.
struct Load<'a> {
    mode: &'a str,
    clients: usize,
    bytes: usize,
    warm: f64,
    seconds: f64,
}

impl Load<'_> {
    fn run(&self, tools: &Tools, system: &System, cluster: &Cluster) -> Result<Value, Failure> {
        let mut all = cluster.reached();
        let flags = [
            ("--proto", system.proto().to_owned()),
            ("--mode", self.mode.to_owned()),
            ("--clients", self.clients.to_string()),
            ("--size", self.bytes.to_string()),
            ("--warm", self.warm.to_string()),
            ("--secs", self.seconds.to_string()),
        ];
        all.extend(flags.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]));
        let value = tools.ask("loadgen", &all)?;
        // What failed was not slow, and makes the rest look fast.
        if let Some(failed) = value["failed"].as_u64().filter(|failed| *failed > 0) {
            println!("{}, {} clients: {failed} requests failed", system.name(), self.clients);
        }
        Ok(value)
    }
}

const CLIENTS: [usize; 5] = [1, 16, 64, 256, 1024];
const SIZES: [usize; 2] = [16, 4096];

pub(super) fn measure(args: &Args, tools: &Tools, results: &mut Results) -> Result<(), Failure> {
    let peers: Vec<System> = tools.there.iter().map(|peer| System::Peer(*peer)).collect();
    let mut all = vec![ours(args, "raft-kv", "resp"), ours(args, "raft-kv, thin", "sp")];
    all.extend(peers.iter().cloned());
    let progress = Progress::new(args.rounds() as u64);
    for round in 0..args.rounds() {
        progress.at(round as u64, String::from("rounds"));
        if args.wants("load") {
            for system in &all {
                progress.line(&format!("round {}: writes, {}", round + 1, system.name()));
                writes(args, tools, results, system, true)?;
            }
        }
        if args.wants("reads") {
            let reading = all.iter().filter(|one| matches!(one.name(), "raft-kv" | "etcd" | ALONE));
            for system in reading {
                progress.line(&format!("round {}: reads, {}", round + 1, system.name()));
                reads(args, tools, results, system)?;
            }
        }
        if args.wants("stacks") {
            for (journal, transport) in [("file", "grpc"), ("sqlite", "tcp")] {
                let (name, proto) = (format!("raft-kv, thin, {journal}/{transport}"), "sp");
                let (journal, transport) = (journal.to_owned(), transport.to_owned());
                progress.line(&format!("round {}: writes, {name}", round + 1));
                let system = System::Ours { name, journal, transport, proto, nodes: 3 };
                writes(args, tools, results, &system, false)?;
            }
        }
        if args.wants("growth") {
            for nodes in [5, 7] {
                let (journal, transport) = (args.journal.clone(), args.transport.clone());
                let name = format!("raft-kv, thin, {nodes} nodes");
                progress.line(&format!("round {}: writes, {name}", round + 1));
                let system = System::Ours { name, journal, transport, proto: "sp", nodes };
                writes(args, tools, results, &system, false)?;
            }
        }
    }
    let changing: Vec<&System> = all.iter().filter(|one| !matches!(one.name(), "redis" | ALONE)).collect();
    if args.wants("failover") {
        for system in changing.iter().filter(|one| !matches!(one.name(), "raft-kv, thin" | "library")) {
            progress.line(&format!("kill -9 of the leader, {}", system.name()));
            changes(args, tools, results, system, "failover")?;
        }
    }
    if args.wants("transfer") {
        for system in changing.iter().filter(|one| matches!(one.name(), "raft-kv" | "etcd")) {
            progress.line(&format!("leadership handed over, {}", system.name()));
            changes(args, tools, results, system, "transfer")?;
        }
    }
    Ok(())
}

/// On one fresh cluster, all points in the same order.
fn writes(
    args: &Args,
    tools: &Tools,
    results: &mut Results,
    system: &System,
    whole: bool,
) -> Result<(), Failure> {
    let cluster = Cluster::start(tools, system)?;
    let mut points: Vec<(usize, usize)> = CLIENTS.iter().map(|clients| (*clients, 256)).collect();
    if whole {
        points.extend(SIZES.map(|bytes| (256, bytes)));
    } else {
        points.retain(|(clients, _)| *clients >= 64);
    }
    if args.quick {
        points.retain(|point| [(1, 256), (64, 256), (256, 256)].contains(point));
    }
    for (at, (clients, bytes)) in points.into_iter().enumerate() {
        let warm = if at == 0 { 1.5 } else { 0.7 };
        let load = Load { mode: "write", clients, bytes, warm, seconds: args.seconds() };
        let value = load.run(tools, system, &cluster)?;
        results.add(Point::new(system.name(), "write", clients, bytes), value);
    }
    Ok(())
}

fn reads(args: &Args, tools: &Tools, results: &mut Results, system: &System) -> Result<(), Failure> {
    let cluster = Cluster::start(tools, system)?;
    // What is read is there.
    let fill = Load { mode: "write", clients: 256, bytes: 256, warm: 0.0, seconds: args.seconds().max(2.0) };
    fill.run(tools, system, &cluster)?;
    for clients in if args.quick { vec![256] } else { vec![16, 256] } {
        let load = Load { mode: "read", clients, bytes: 256, warm: 0.7, seconds: args.seconds() };
        let value = load.run(tools, system, &cluster)?;
        results.add(Point::new(system.name(), "read", clients, 256), value);
    }
    Ok(())
}

/// Leaders go, one after the other, under 16 clients.
fn changes(
    args: &Args,
    tools: &Tools,
    results: &mut Results,
    system: &System,
    mode: &str,
) -> Result<(), Failure> {
    let mut cluster = Cluster::start(tools, system)?;
    for _ in 0..if args.quick { 3 } else { 20 } {
        let load = Load { mode, clients: 16, bytes: 256, warm: 1.5, seconds: 0.5 };
        let value = load.run(tools, system, &cluster)?;
        let leader = value["leader"].as_u64().and_then(|at| usize::try_from(at).ok());
        if let (Some(leader), "failover") = (leader, mode) {
            cluster.restart(leader)?;
        }
        results.add(Point::new(system.name(), mode, 16, 256), value);
    }
    Ok(())
}
