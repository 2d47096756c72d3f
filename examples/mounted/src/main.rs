//! One process of the service: `raft-mounted --id 1 --data DIR --members 1=HOST:PORT,2=HOST:PORT,3=HOST:PORT`.

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use raft_core::ids::NodeId;
use raft_core::membership::{Member, Membership};
use raft_mounted::{Limits, Service, Setup};
use tokio::net::TcpListener;

/// Keys with values over HTTP and gRPC, replicated; all on one port.
#[derive(Parser)]
struct Args {
    /// Which of the members this is.
    #[arg(long)]
    id: u64,
    /// Its folder. A new one is made there if it is empty.
    #[arg(long)]
    data: PathBuf,
    /// All members that found the cluster.
    #[arg(long, value_name = "ID=HOST:PORT,...", value_delimiter = ',', value_parser = member)]
    members: Vec<Member>,
    /// How long a client waits.
    #[arg(long, default_value_t = 3000)]
    patience_ms: u64,
}

fn member(text: &str) -> Result<Member, String> {
    let (id, address) = text.split_once('=').ok_or("ID=HOST:PORT")?;
    Ok(Member::new(NodeId(id.parse().map_err(|error| format!("{id}: {error}"))?), address))
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("raft-mounted: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> Result<(), Box<dyn Error + Send + Sync>> {
    let (id, founders) = (NodeId(args.id), Membership::of_voters(args.members)?);
    let address = founders.member(id).ok_or("this node is none of the members")?.address.to_string();
    let socket = TcpListener::bind(&address).await;
    let socket = socket.map_err(|error| format!("cannot listen on {address}: {error}"))?;
    let patience = Duration::from_millis(args.patience_ms);
    let limits = Limits::default();
    let (data, founders) = (args.data, Some(founders));
    let setup = Setup { id, data, address: address.clone(), founders, patience, limits, tls: None };
    let service = Service::start(setup, socket).await?;
    eprintln!("raft-mounted: node {id} listens on {address}, for clients and peers");

    tokio::select! {
        asked = tokio::signal::ctrl_c() => asked?,
        stopped = service.node().stopped() => stopped?,
    }
    service.shutdown(Duration::from_secs(5)).await?;
    Ok(())
}
