//! The same state machine on the stacks that come with the library.

use std::error::Error;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use raft_core::backend::OpenError;
use raft_core::error::ConfigError;
use raft_core::ids::{ClusterId, GroupId, NodeId};
use raft_core::membership::Membership;
use raft_core::{Config, Node, NodeHandle};
use raft_log_file::{FileJournal, FileSnapshots};
use raft_log_sqlite::{SqliteJournal, SqliteSnapshots};
use raft_net_grpc::GrpcTransport;
use raft_net_tcp::TcpTransport;

use crate::tally::Tally;

const CLUSTER: ClusterId = ClusterId(0x3b1f_92c0_5d54_4c1e_9a4b_8c6e_0f2d_7a11);
const GROUP: GroupId = GroupId(0);

/// A node on files and TCP. `founders` is the membership that a new cluster begins with, the same on all of its
/// nodes; a node that is to be added to a cluster has none.
///
/// # Errors
/// Whatever does not open, or does not start.
pub async fn file_and_tcp(
    id: NodeId,
    data: &Path,
    listen: SocketAddr,
    founders: Option<&Membership>,
) -> Result<(NodeHandle, Tally), Box<dyn Error + Send + Sync>> {
    let options = raft_log_file::Options::default;
    let journal = match FileJournal::open(data, CLUSTER, GROUP, id, options()).await {
        Err(OpenError::NotInitialised) => {
            FileJournal::create(data, CLUSTER, GROUP, id, founders, options()).await?
        }
        opened => opened?,
    };
    let snapshots = FileSnapshots::open(&data.join("snapshots")).await?;
    let transport = TcpTransport::new(listen, raft_net_tcp::Options::default());

    let tally = Tally::default();
    let node = Node::builder(Config::new(id, CLUSTER))
        .journal(journal)
        .snapshots(Arc::new(snapshots))
        .transport(Arc::new(transport))
        .state_machine(tally.clone())
        .start()
        .await?;
    Ok((node, tally))
}

/// The same on SQLite and gRPC.
///
/// # Errors
/// Whatever does not open, or does not start.
pub async fn sqlite_and_grpc(
    id: NodeId,
    data: &Path,
    listen: SocketAddr,
    founders: Option<&Membership>,
) -> Result<(NodeHandle, Tally), Box<dyn Error + Send + Sync>> {
    let options = raft_log_sqlite::Options::default;
    let journal = match SqliteJournal::open(data, CLUSTER, GROUP, id, options()).await {
        Err(OpenError::NotInitialised) => {
            SqliteJournal::create(data, CLUSTER, GROUP, id, founders, options()).await?
        }
        opened => opened?,
    };
    let snapshots = SqliteSnapshots::open(&data.join("snapshots")).await?;
    let transport = GrpcTransport::new(listen, raft_net_grpc::Options::default());

    let tally = Tally::default();
    let node = Node::builder(Config::new(id, CLUSTER))
        .journal(journal)
        .snapshots(Arc::new(snapshots))
        .transport(Arc::new(transport))
        .state_machine(tally.clone())
        .start()
        .await?;
    Ok((node, tally))
}

/// Settings for nodes that are far apart.
///
/// # Errors
/// Settings that cannot work, by name.
pub fn far_apart(id: NodeId) -> Result<Config, ConfigError> {
    let mut config = Config::new(id, CLUSTER);
    config.election_timeout = Duration::from_secs(1);
    config.heartbeat_interval = Duration::from_millis(150);
    config.window_bytes = 32 << 20;
    config.validate()?;
    Ok(config)
}

#[cfg(test)]
mod tests {
    use raft_core::TypedNode;
    use raft_core::membership::Member;
    use raft_core::node::StatusWatch;

    use super::*;
    use crate::tally::{Answer, Ask};

    /// Addresses on which nobody listens.
    fn addresses() -> Vec<SocketAddr> {
        let listen = || std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let listeners = [listen(), listen(), listen()];
        listeners.iter().map(|listener| listener.local_addr().unwrap()).collect()
    }

    async fn leader(watch: &mut StatusWatch) -> NodeId {
        let led = watch.until(|status| status.leader.is_some()).await.unwrap();
        led.leader.as_ref().unwrap().id
    }

    /// Three nodes count votes, stop, start again, and have counted them.
    async fn restarts<F>(start: impl Fn(NodeId, std::path::PathBuf, SocketAddr, Membership) -> F)
    where
        F: Future<Output = Result<(NodeHandle, Tally), Box<dyn Error + Send + Sync>>>,
    {
        let folder = tempfile::tempdir().unwrap();
        let at = addresses();
        let members = (1..=3).map(|id| Member::new(NodeId(id), at[id as usize - 1].to_string()));
        let founders = Membership::of_voters(members).unwrap();
        for round in 1..=2 {
            let mut nodes = Vec::new();
            for id in 1..=3 {
                let data = folder.path().join(id.to_string());
                let started = start(NodeId(id), data, at[id as usize - 1], founders.clone()).await;
                nodes.push(started.unwrap());
            }
            let id = leader(&mut nodes[0].0.watch()).await;
            let (node, tally) = nodes.iter().find(|(node, _)| node.id() == id).unwrap();
            // The node that leads need not know yet that it does.
            node.watch().until(|status| status.leader.as_ref().is_some_and(|l| l.id == id)).await.unwrap();
            let typed = TypedNode::<Ask, Answer>::new(node.clone());
            assert_eq!(typed.propose(&Ask::Vote("ada".into(), 2)).await, Ok(Ok(2 * round)));
            node.read_barrier().await.unwrap();
            assert_eq!(tally.votes("ada"), 2 * round);
            for (node, _) in &nodes {
                node.shutdown().await.unwrap();
            }
        }
    }

    #[test]
    fn nodes_that_are_far_apart_are_patient() {
        assert_eq!(far_apart(NodeId(1)).unwrap().election_timeout, Duration::from_secs(1));
        assert_eq!(far_apart(NodeId(0)), Err(ConfigError::ZeroId));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn files_and_tcp_keep_what_was_counted() {
        restarts(async |id, data, listen, founders| file_and_tcp(id, &data, listen, Some(&founders)).await)
            .await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn sqlite_and_grpc_keep_what_was_counted() {
        restarts(async |id, data, listen, founders| {
            sqlite_and_grpc(id, &data, listen, Some(&founders)).await
        })
        .await;
    }
}
