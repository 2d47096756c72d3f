//! TLS: both sides of a connection prove with their certificates which node they are.

use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use raft_core::backend::Refusal;
use raft_core::ids::{ClusterId, NodeId};
use raft_core::tls::{TlsIdentity, timeless};
use tokio::net::TcpStream;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::security::{Proof, Secured, Security};

/// What HTTP/2 is called in a TLS handshake (ALPN): gRPC's clients ask for it.
const HTTP2: &[u8] = b"h2";

/// Mutual TLS for every connection. What was reloaded in the identity counts for the next one.
#[derive(Debug)]
pub(crate) struct Tls(pub(crate) TlsIdentity);

/// What the peer has shown.
#[derive(Debug)]
struct Certificates(Vec<CertificateDer<'static>>);

impl Proof for Certificates {
    fn check(&self, cluster: ClusterId, claimed: NodeId) -> Result<(), Refusal> {
        TlsIdentity::check_peer(Some(&self.0), cluster, claimed)
    }
}

fn proof(shown: Option<&[CertificateDer<'static>]>) -> Option<Arc<dyn Proof>> {
    Some(Arc::new(Certificates(shown.unwrap_or_default().to_vec())))
}

#[async_trait]
impl Security for Tls {
    fn check_own(&self, cluster: ClusterId, node: NodeId) -> io::Result<()> {
        let wrong = |why| io::Error::new(io::ErrorKind::InvalidInput, why);
        self.0.check_own(cluster, node).map_err(wrong)
    }

    async fn accept(&self, stream: TcpStream) -> io::Result<Secured> {
        let mut config = (*self.0.server()).clone();
        config.alpn_protocols = vec![HTTP2.to_vec()];
        let stream = TlsAcceptor::from(Arc::new(config)).accept(stream).await.map_err(timeless)?;
        let proof = proof(stream.get_ref().1.peer_certificates());
        Ok(Secured { stream: Box::new(stream), proof })
    }

    async fn connect(&self, stream: TcpStream, cluster: ClusterId, node: NodeId) -> io::Result<Secured> {
        let mut config = (*self.0.client()).clone();
        config.alpn_protocols = vec![HTTP2.to_vec()];
        let name = TlsIdentity::server_name(cluster, node)
            .map_err(|why| io::Error::new(io::ErrorKind::PermissionDenied, why))?;
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(timeless)?;
        let proof = proof(stream.get_ref().1.peer_certificates());
        Ok(Secured { stream: Box::new(stream), proof })
    }
}
