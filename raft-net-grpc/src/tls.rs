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

/// The certificates that the other end of a connection has shown to a server of your own. In the extensions of each
/// request of that connection it is what [`RaftService::authenticated_only`](crate::RaftService::authenticated_only)
/// demands: the first of the certificates must then be for the node that the handshake names, in its cluster, as on
/// the transport's own listener.
///
/// ```
/// use std::sync::Arc;
///
/// use raft_core::tls::TlsIdentity;
/// use raft_net_grpc::PeerCertificates;
/// use tokio::net::TcpStream;
/// use tokio_rustls::TlsAcceptor;
///
/// /// What a server does with a connection, before HTTP/2.
/// async fn accept(stream: TcpStream, tls: &TlsIdentity) -> std::io::Result<()> {
///     let mut config = (*tls.server()).clone();
///     config.alpn_protocols = vec![b"h2".to_vec()];
///     let stream = TlsAcceptor::from(Arc::new(config)).accept(stream).await?;
///     let shown = PeerCertificates::shown(stream.get_ref().1.peer_certificates());
///     assert!(shown.is_some(), "that configuration demands them");
///     // Serve it, with `request.extensions_mut().insert(shown)` in front of the service.
///     Ok(())
/// }
/// ```
#[derive(Clone, Debug)]
pub struct PeerCertificates(Arc<[CertificateDer<'static>]>);

impl PeerCertificates {
    /// As rustls has them when the handshake of TLS is over; `None` where none was shown. Which CA they are of must
    /// have been verified then, as a server with [`TlsIdentity::server`] does it.
    #[must_use]
    pub fn shown(certificates: Option<&[CertificateDer<'_>]>) -> Option<Self> {
        let certificates = certificates.filter(|shown| !shown.is_empty())?;
        Some(Self(certificates.iter().map(|certificate| certificate.clone().into_owned()).collect()))
    }
}

impl Proof for PeerCertificates {
    fn check(&self, cluster: ClusterId, claimed: NodeId) -> Result<(), Refusal> {
        TlsIdentity::check_peer(Some(&self.0), cluster, claimed)
    }
}

fn proof(shown: Option<&[CertificateDer<'static>]>) -> Option<Arc<dyn Proof>> {
    Some(Arc::new(PeerCertificates(shown.unwrap_or_default().into())))
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
