//! This workspace's crates as a replicated map, as small as the harnesses of the peers beside it and with the same map:
//! raft-core's node, raft-log-file, raft-net-tcp, three processes. raft-kv is an application of them with far more to do
//! for a write.
//!   ours-harness ID DATA CLIENT-PORT,CLIENT-PORT,.. PEER-PORT,PEER-PORT,..
//! No snapshots, as there: the log is never purged.

mod clients;
mod map;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use raft_core::backend::OpenError;
use raft_core::ids::{ClusterId, GroupId, NodeId};
use raft_core::membership::{Member, Membership};
use raft_core::{Config, Node, NodeHandle};
use raft_log_file::{FileJournal, Options};
use raft_net_tcp::TcpTransport;
use tokio::net::TcpListener;

use map::Map;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Any: all three are started by the same command.
const CLUSTER: ClusterId = ClusterId(0xbe9c);

/// As raft-kv does by default: the one runtime here serves one node.
const INLINE_BYTES: u64 = 64 << 10;

type Failure = Box<dyn std::error::Error>;

struct Place {
    id: NodeId,
    dir: PathBuf,
    clients: String,
    peers: Vec<String>,
}

/// `None` if the arguments are others.
fn place() -> Option<Place> {
    let mut all = std::env::args().skip(1);
    let id: u64 = all.next()?.parse().ok()?;
    let dir = all.next()?.into();
    let ports = |all: String| all.split(',').map(|port| format!("127.0.0.1:{port}")).collect::<Vec<_>>();
    let (clients, peers) = (ports(all.next()?), ports(all.next()?));
    let own = usize::try_from(id.checked_sub(1)?).ok()?;
    peers.get(own)?;
    Some(Place { id: NodeId(id), dir, clients: clients.get(own)?.clone(), peers })
}

async fn start(place: &Place) -> Result<NodeHandle, Failure> {
    let Place { id, dir, peers, .. } = place;
    let members = (1..).zip(peers).map(|(id, address)| Member::new(NodeId(id), address.as_str()));
    let founders = Membership::of_voters(members)?;
    let options = Options::default().inline_bytes(INLINE_BYTES);
    let group = GroupId(0);
    let journal = match FileJournal::open(dir, CLUSTER, group, *id, options.clone()).await {
        Err(OpenError::NotInitialised) => {
            FileJournal::create(dir, CLUSTER, group, *id, Some(&founders), options).await?
        }
        opened => opened?,
    };
    let own = peers[id.0 as usize - 1].parse()?;
    let node = Node::builder(Config::new(*id, CLUSTER))
        .journal(journal)
        .transport(Arc::new(TcpTransport::new(own, raft_net_tcp::Options::default())))
        .state_machine(Map::default())
        .start()
        .await?;
    Ok(node)
}

async fn run(place: &Place) -> Result<(), Failure> {
    let listener = TcpListener::bind(&place.clients).await?;
    let node = start(place).await?;
    tokio::spawn(clients::all(listener, node.clone()));
    node.stopped().await?;
    Ok(())
}

fn main() -> ExitCode {
    let Some(place) = place() else {
        eprintln!("ours-harness ID DATA CLIENT-PORT,.. PEER-PORT,..");
        return ExitCode::from(2);
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = runtime.map_err(Failure::from).and_then(|runtime| runtime.block_on(run(&place)));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ours-harness: {error}");
            ExitCode::FAILURE
        }
    }
}
