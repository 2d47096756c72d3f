//! openraft 0.10 with raft-log 0.4, the log that its makers wrote for it: one of three OS processes, plain TCP, appends
//! pipelined, group commit.
//!   openraft-harness <id> <data-dir> <client-port,client-port,..> <peer-port,peer-port,..>
//! Clients speak "SP", see `clients.rs`. Ports are of this machine; the first are node 1's.
//!
//! As its makers run it: the pipelined network of 0.10 (`stream_append`), batches of writes (`client_write_many`), a log
//! that tells later what is durable, the batch size of their benchmark and the timeouts of their durable example
//! (`raft-kv-rocksdb`); the rest is its default. No snapshots, as in the raft-rs harness: the log is never cut.

mod clients;
mod log;
mod map;
mod peers;
mod serve;
mod types;
mod wire;

use std::collections::BTreeSet;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use openraft::SnapshotPolicy;
use tokio::net::TcpListener;

use types::Raft;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [id, dir, clients, peers] = arguments.as_slice() else {
        return Err("openraft-harness <id> <data-dir> <client ports> <peer ports>".into());
    };
    let ports = |all: &str| all.split(',').map(str::parse).collect::<Result<Vec<u16>, _>>();
    let (id, clients, peers) = (id.parse()?, ports(clients)?, ports(peers)?);
    // Two, and not one thread for all: more writes a second on two cores, for a little more processor time each.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(node(id, dir, &clients, peers.into()))
}

async fn node(id: u64, dir: &str, clients: &[u16], peers: Arc<[u16]>) -> Result<(), Box<dyn Error>> {
    let at = usize::try_from(id)?.checked_sub(1).filter(|at| *at < clients.len().min(peers.len()));
    let at = at.ok_or("ids are those of ports, from 1")?;
    let config = openraft::Config {
        heartbeat_interval: 50,
        election_timeout_min: 299,
        election_timeout_max: 300,
        max_payload_entries: 1024,
        snapshot_policy: SnapshotPolicy::Never,
        ..Default::default()
    };
    let log = log::Log::open(dir)?;
    let network = peers::Peers(Arc::clone(&peers));
    let raft = Raft::new(id, Arc::new(config.validate()?), network, log, map::Map::default()).await?;
    let nodes = TcpListener::bind(("127.0.0.1", peers[at])).await?;
    let clients = TcpListener::bind(("127.0.0.1", clients[at])).await?;
    tokio::spawn(serve::all(nodes, raft.clone()));
    tokio::spawn(clients::all(clients, raft.clone()));
    if id == 1 && !raft.is_initialized().await? {
        // As its guide has it, by one node alone; the others are there, or the first election goes astray.
        for port in peers.iter() {
            while wire::connect(*port).await.is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        raft.initialize((1..=peers.len() as u64).collect::<BTreeSet<_>>()).await?;
    }
    // Only a failure of its own ends it, and then it answers nobody any more.
    let ended = raft.wait(None).metrics(|metrics| metrics.running_state.is_err(), "goes on").await?;
    Err(format!("{:?}", ended.running_state).into())
}
