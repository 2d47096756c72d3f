//! TLS around the port. Clients and peers share it, each with certificates of a kind of their own.

use std::io;
use std::sync::Arc;

use raft_core::ids::NodeId;
use raft_core::tls::{TlsIdentity, node_name};
use raft_net_grpc::PeerCertificates;
use tokio::net::TcpStream;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::server::Acceptor;
use tokio_rustls::server::TlsStream;

use crate::service::CLUSTER;

/// Certificates of a port.
///
/// Whoever dials says in its first word whom it wants (SNI). A peer wants this node, by the name that its certificate
/// has: it is shown that one, and must show its own, of the cluster's CA. Anybody else is a client, is shown the service's
/// certificate, and shows none.
#[derive(Clone, Debug)]
pub struct Tls {
    node: String,
    peers: TlsIdentity,
    clients: Arc<ServerConfig>,
}

impl Tls {
    /// For a node with this identity; `clients` says what its clients see.
    #[must_use]
    pub fn new(id: NodeId, peers: TlsIdentity, mut clients: ServerConfig) -> Self {
        clients.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Self { node: node_name(CLUSTER, id), peers, clients: Arc::new(clients) }
    }

    /// What the node dials its peers with. Reloaded, it counts for the port too.
    #[must_use]
    pub const fn peers(&self) -> &TlsIdentity {
        &self.peers
    }

    /// Shakes hands; and what a peer has shown.
    pub(crate) async fn accept(
        &self,
        stream: TcpStream,
    ) -> io::Result<(TlsStream<TcpStream>, Option<PeerCertificates>)> {
        let start = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
        let is_peer = start.client_hello().server_name() == Some(self.node.as_str());
        let config = if is_peer {
            let mut config = (*self.peers.server()).clone();
            config.alpn_protocols = vec![b"h2".to_vec()];
            Arc::new(config)
        } else {
            Arc::clone(&self.clients)
        };
        let stream = start.into_stream(config).await?;
        // What a client shows, should it have anything, was not held against the cluster's CA.
        let shown = stream.get_ref().1.peer_certificates().filter(|_| is_peer);
        let shown = PeerCertificates::shown(shown);
        Ok((stream, shown))
    }
}
