//! What a service of one's own needs besides: TLS between its nodes, other members, metrics.

use std::error::Error;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};
use raft_core::error::{ChangeError, ReconfigureError};
use raft_core::ids::NodeId;
use raft_core::membership::{Change, Member, Membership};
use raft_core::node::metrics::NodeMetrics;
use raft_core::raft::ChangeOptions;
use raft_core::tls::{Pem, TlsIdentity};
use raft_core::{NodeHandle, Settings};
use raft_net_tcp::TcpTransport;
use rustls::time_provider::DefaultTimeProvider;

/// A transport whose connections are mutual TLS 1.3, with the PEM files of a folder.
///
/// # Errors
/// A file that cannot be read, by name, or one that cannot be used.
pub fn tcp_with_tls(
    listen: SocketAddr,
    folder: &Path,
) -> Result<(TcpTransport, TlsIdentity), Box<dyn Error + Send + Sync>> {
    let read = |name: &str| {
        let path = folder.join(name);
        std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))
    };
    let pem = Pem { ca: read("ca.pem")?, chain: read("node.pem")?, key: read("node.key")? };
    let identity = TlsIdentity::new(&pem, Arc::new(DefaultTimeProvider))?;
    let transport = TcpTransport::new(listen, raft_net_tcp::Options::default());
    Ok((transport.with_tls(identity.clone()), identity))
}

/// A new node takes the place of another one, once it has caught up. It runs already, on an empty folder and without
/// founders.
///
/// # Errors
/// [`ChangeError`]: `NotLeader` has who leads, and `outcome` says whether it may have been done.
pub async fn replace(leader: &NodeHandle, old: NodeId, new: Member) -> Result<Membership, ChangeError> {
    let options = ChangeOptions::default().wait(Duration::from_secs(60));
    let done = leader.change_membership(vec![Change::Replace { old, new }], options).await?;
    Ok(done.membership)
}

/// What Prometheus collects of a node.
pub struct Metrics {
    node: NodeHandle,
    metrics: NodeMetrics,
    recorder: PrometheusRecorder,
}

impl Metrics {
    /// Of a node; one for each.
    #[must_use]
    pub fn new(node: NodeHandle) -> Self {
        let recorder = PrometheusBuilder::new().build_recorder();
        NodeMetrics::describe(&recorder);
        Self { metrics: NodeMetrics::new(node.clone()), node, recorder }
    }

    /// What `GET /metrics` answers.
    ///
    /// # Errors
    /// If the node has stopped.
    pub async fn text(&mut self) -> Result<String, ReconfigureError> {
        // Changes nothing, and says what the settings are.
        let config = self.node.reconfigure(Settings::default()).await?;
        self.metrics.publish(&self.recorder, &config);
        Ok(self.recorder.handle().render())
    }
}

#[cfg(test)]
mod tests {
    use raft_core::ids::ClusterId;
    use raft_core::tls::node_name;
    use raft_testkit::memory::MemoryNetwork;

    use super::*;
    use crate::tally::cluster::{leader, start, three};

    #[test]
    fn certificates_come_from_their_files() {
        let folder = tempfile::tempdir().unwrap();
        let listen = "127.0.0.1:0".parse().unwrap();
        let missing = tcp_with_tls(listen, folder.path()).unwrap_err().to_string();
        assert!(missing.contains("ca.pem: "), "{missing}");

        let (cluster, node) = (ClusterId(7), NodeId(1));
        let made = rcgen::generate_simple_self_signed([node_name(cluster, node)]).unwrap();
        for (name, text) in [
            ("ca.pem", made.cert.pem()),
            ("node.pem", made.cert.pem()),
            ("node.key", made.signing_key.serialize_pem()),
        ] {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let (_, identity) = tcp_with_tls(listen, folder.path()).unwrap();
        identity.check_own(cluster, node).unwrap();
        assert!(identity.check_own(cluster, NodeId(2)).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_node_takes_the_place_of_another() {
        let network = MemoryNetwork::new();
        let nodes = three(&network).await;
        let (leads, _) = leader(&nodes).await;
        let gone = nodes.iter().map(|(node, _)| node.id()).find(|id| *id != leads.id()).unwrap();
        let _fourth = start(&network, NodeId(4), None).await;
        let members = replace(leads, gone, Member::new(NodeId(4), "node-4")).await.unwrap();
        assert!(members.is_voter(NodeId(4)));
        assert!(members.member(gone).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_says_what_it_is() {
        let nodes = three(&MemoryNetwork::new()).await;
        let (leads, _) = leader(&nodes).await;
        let text = Metrics::new(leads.clone()).text().await.unwrap();
        assert!(text.lines().any(|line| line == "raft_role{state=\"leader\"} 1"), "{text}");
    }
}
