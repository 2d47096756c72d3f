//! One node a process; see README.md.

use std::error::Error;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use raft_core::ids::NodeId;
use raft_core::membership::{Member, Membership};
use template::clients::{self, CLIENTS};
use template::service;
use tokio::net::TcpListener;

/// One node of a replicated service.
#[derive(Parser)]
struct Args {
    /// Which of the members this is.
    #[arg(long)]
    id: u64,
    /// Its folder. A new node is made there if it is empty.
    #[arg(long)]
    data: PathBuf,
    /// All members that found the cluster, the same on all of them: where peers reach each, and where clients do.
    #[arg(long, value_name = "ID=PEERS@CLIENTS,...", value_delimiter = ',', value_parser = member)]
    members: Vec<Member>,
    /// Listens at this address of the machine, with the ports of the member: 0.0.0.0 in a container whose own name
    /// leads elsewhere. Else where the member's hosts lead.
    #[arg(long, value_name = "IP")]
    listen: Option<IpAddr>,
}

fn member(text: &str) -> Result<Member, String> {
    let parts = text.split_once('=').and_then(|(id, at)| Some((id, at.split_once('@')?)));
    let (id, (peers, clients)) = parts.ok_or("ID=HOST:PORT@HOST:PORT")?;
    let id = id.parse().map_err(|error| format!("{id}: {error}"))?;
    Ok(Member::new(NodeId(id), peers).with(CLIENTS, clients))
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error}", env!("CARGO_PKG_NAME"));
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> Result<(), Box<dyn Error + Send + Sync>> {
    let (id, founders) = (NodeId(args.id), Membership::of_voters(args.members)?);
    let me = founders.member(id).ok_or("this node is none of the members")?;
    let clients_at = me.attributes.get(CLIENTS).ok_or("no port for clients")?;
    let clients_at = service::listen_at(clients_at, args.listen).await?;
    let listener = TcpListener::bind(clients_at).await;
    let listener = listener.map_err(|error| format!("cannot listen on {clients_at}: {error}"))?;
    let peers_at = service::listen_at(&me.address, args.listen).await?;
    let (node, machine) = service::start(id, &args.data, peers_at, Some(&founders)).await?;
    eprintln!("{}: node {id} serves clients at {clients_at} and peers at {peers_at}", env!("CARGO_PKG_NAME"));

    tokio::select! {
        () = clients::serve(listener, node.clone(), machine) => {}
        asked = tokio::signal::ctrl_c() => asked?,
        stopped = node.stopped() => stopped?,
    }
    // A leader hands over.
    node.shutdown().await?;
    Ok(())
}
