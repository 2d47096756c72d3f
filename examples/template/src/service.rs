//! A node, from its parts.

use std::error::Error;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use raft_core::backend::OpenError;
use raft_core::ids::{ClusterId, GroupId, NodeId};
use raft_core::membership::Membership;
use raft_core::{Config, Node, NodeHandle};
use raft_log_file::{FileJournal, FileSnapshots};
use raft_net_tcp::TcpTransport;

use crate::machine::Machine;

/// Draw one of your own, once and for good (`uuidgen`): nodes of different clusters refuse each other by it.
const CLUSTER: ClusterId = ClusterId(0x5a1e_0c55_7f7c_4b0e_9d1b_3f0c_2b6a_e4d8);
const GROUP: GroupId = GroupId(0);

/// Where to listen for what others reach at `address`, `HOST:PORT`: there, or at that port of `ip`.
///
/// # Errors
/// No such host, or no port.
pub async fn listen_at(address: &str, ip: Option<IpAddr>) -> io::Result<SocketAddr> {
    let invalid = || io::Error::new(io::ErrorKind::InvalidInput, format!("{address} is no HOST:PORT"));
    if let Some(ip) = ip {
        let port = address.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        return Ok(SocketAddr::new(ip, port.ok_or_else(invalid)?));
    }
    let found = tokio::net::lookup_host(address).await;
    let mut found = found.map_err(|error| io::Error::new(error.kind(), format!("{address}: {error}")))?;
    found.next().ok_or_else(invalid)
}

/// Starts a node on files in a folder, and TCP. A new one begins with the founders; with none it waits until it is
/// added by `NodeHandle::change_membership`.
///
/// In production, rather create by a command of its own: a disk that was not mounted looks like a new node.
///
/// # Errors
/// Whatever does not open, or does not start.
pub async fn start(
    id: NodeId,
    data: &Path,
    listen: SocketAddr,
    founders: Option<&Membership>,
) -> Result<(NodeHandle, Machine), Box<dyn Error + Send + Sync>> {
    let options = raft_log_file::Options::default;
    let journal = match FileJournal::open(data, CLUSTER, GROUP, id, options()).await {
        Err(OpenError::NotInitialised) => {
            FileJournal::create(data, CLUSTER, GROUP, id, founders, options()).await?
        }
        opened => opened?,
    };
    let snapshots = FileSnapshots::open(&data.join("snapshots")).await?;
    // Without TLS whoever reaches this port can vote: `docs/security.md`.
    let transport = TcpTransport::new(listen, raft_net_tcp::Options::default());
    let machine = Machine::default();
    let node = Node::builder(Config::new(id, CLUSTER))
        .journal(journal)
        .snapshots(Arc::new(snapshots))
        .transport(Arc::new(transport))
        .state_machine(machine.clone())
        .start()
        .await?;
    Ok((node, machine))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_node_listens_where_its_name_leads_or_where_it_is_told() {
        let ip = IpAddr::from([127, 0, 0, 1]);
        assert_eq!(listen_at("127.0.0.1:7401", None).await.unwrap(), SocketAddr::new(ip, 7401));
        let found = listen_at("localhost:7401", None).await.unwrap();
        assert!(found.ip().is_loopback() && found.port() == 7401, "{found}");
        // Only others need to know the name.
        let any = IpAddr::from([0, 0, 0, 0]);
        assert_eq!(listen_at("node-1.invalid:7401", Some(any)).await.unwrap(), SocketAddr::new(any, 7401));
        for wrong in ["localhost", "localhost:http", "localhost:99999", ""] {
            let error = listen_at(wrong, None).await.unwrap_err().to_string();
            assert!(error.starts_with(wrong), "{error}");
            assert!(listen_at(wrong, Some(any)).await.is_err(), "{wrong}");
        }
    }
}
