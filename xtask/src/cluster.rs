//! `cargo xtask cluster`: a cluster to play with.

use std::io::BufRead;

use crate::Outcome;
use crate::servers::{Options, Servers};

/// Flags of `cargo xtask cluster`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    servers: Options,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let mut servers = Servers::start_shown(&args.servers)?;
    let leader = servers.wait_for_leader()?;
    println!("{} nodes run; node {} leads.\n", servers.all.len(), servers.all[leader].id);
    for server in &servers.all {
        println!("  node {}: redis-cli -c -p {}", server.id, server.address.port());
    }
    let port = servers.all[leader].address.port();
    println!("\n  redis-cli -c -p {port} set greeting hello");
    println!("  redis-cli -c -p {port} raft info");
    println!("  redis-benchmark -p {port} -t set -P 16");
    if let Some(page) = servers.page(leader) {
        println!("\nThe cluster, live, in a browser: http://{page}/");
    }
    println!("\nData and logs: {}", servers.dir().display());
    println!("Enter, the end of standard input or ctrl-c ends them.");
    // The guard sees to ctrl-c: this process ends at once and the guard kills the nodes.
    let mut line = String::new();
    let _ = std::io::stdin().lock().read_line(&mut line);
    servers.check_alive()?;
    let well = servers.stop()?;
    println!("cluster: nodes={} stopped={}", servers.all.len(), if well { "well" } else { "badly" });
    Ok(well)
}
