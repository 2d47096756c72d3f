//! What many groups cost: three processes' worth of them in this one, idle. `raft-groups --groups 8 --seconds 10`.

use std::collections::BTreeMap;
use std::error::Error;
use std::time::{Duration, Instant};

use clap::Parser;
use raft_core::ids::{GroupId, NodeId};
use raft_core::membership::{Member, Membership};
use raft_mounted::groups::Groups;
use tokio::net::TcpListener;

/// Three nodes of each of some groups in one process, and what they take while nothing is asked of them (Linux).
#[derive(Parser)]
struct Args {
    /// How many groups.
    #[arg(long, default_value_t = 8)]
    groups: u64,
    /// How long to look.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
}

/// The time that this process has computed, and its memory in KiB.
fn taken() -> Result<(Duration, u64), Box<dyn Error + Send + Sync>> {
    let spent: u64 = std::fs::read_dir("/proc/self/task")?
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok())
        .filter_map(|text| text.split(' ').next()?.parse::<u64>().ok())
        .sum();
    let status = std::fs::read_to_string("/proc/self/status")?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let resident = resident.and_then(|text| text.split_whitespace().next()?.parse().ok()).unwrap_or(0);
    Ok((Duration::from_nanos(spent), resident))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let args = Args::parse();
    let folder = std::env::temp_dir().join(format!("raft-groups-{}", std::process::id()));
    let mut sockets = Vec::new();
    for _ in 0..3 {
        sockets.push(TcpListener::bind("127.0.0.1:0").await?);
    }
    let mut members = Vec::new();
    for (id, socket) in (1..).zip(&sockets) {
        members.push(Member::new(NodeId(id), socket.local_addr()?.to_string()));
    }
    let founders = Membership::of_voters(members)?;
    let mut processes = Vec::new();
    for (id, socket) in (1..).zip(sockets) {
        let data = folder.join(id.to_string());
        processes.push(Groups::start(NodeId(id), args.groups, &data, &founders, socket).await?);
    }

    let mut leaders = BTreeMap::<NodeId, u64>::new();
    for group in 0..args.groups {
        let (node, _) = processes[0].of(GroupId(group)).ok_or("no such group")?;
        let led = node.watch().until(|status| status.leader.is_some()).await.ok_or("it has stopped")?;
        *leaders.entry(led.leader.as_ref().ok_or("nobody leads")?.id).or_default() += 1;
    }
    let begin = (Instant::now(), taken()?);
    tokio::time::sleep(Duration::from_secs(args.seconds)).await;
    let (spent, resident) = taken()?;
    let share = (spent - begin.1.0).as_secs_f64() / begin.0.elapsed().as_secs_f64();
    println!(
        "groups={} nodes={} cpu={:.1}% memory={} MiB led={leaders:?}",
        args.groups,
        3 * args.groups,
        share * 100.0,
        resident >> 10,
    );
    for groups in processes {
        groups.shutdown(Duration::from_secs(1)).await?;
    }
    std::fs::remove_dir_all(folder)?;
    Ok(())
}
