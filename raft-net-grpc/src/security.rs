//! What lies between a TCP connection and HTTP/2, such as TLS.

use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use raft_core::backend::Refusal;
use raft_core::ids::{ClusterId, NodeId};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// Bytes in both directions.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// What a connection has proven of who is at its other end.
pub trait Proof: std::fmt::Debug + Send + Sync + 'static {
    /// Whether it may speak for a node of a cluster (T6).
    ///
    /// # Errors
    /// [`Refusal`]; the peer is told, logged once and counted.
    fn check(&self, cluster: ClusterId, claimed: NodeId) -> Result<(), Refusal>;
}

/// A connection that may carry HTTP/2.
pub struct Secured {
    /// It.
    pub stream: Box<dyn Duplex>,
    /// What it has proven of its other end, if anything: the handshake must then claim nothing else.
    pub proof: Option<Arc<dyn Proof>>,
}

impl std::fmt::Debug for Secured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secured").field("proof", &self.proof).finish_non_exhaustive()
    }
}

/// Secures each connection before HTTP/2 begins, on both sides; see
/// [`GrpcTransport::with_security`](crate::GrpcTransport::with_security).
///
/// Both functions have as long as the handshake may take, and are cancelled with the connection.
#[async_trait]
pub trait Security: std::fmt::Debug + Send + Sync + 'static {
    /// Whether this node can secure anything as the node that it is. Called once, before anything is listened on:
    /// better known then than from every peer's refusal.
    ///
    /// # Errors
    /// What is wrong: the transport does not start.
    fn check_own(&self, cluster: ClusterId, node: NodeId) -> io::Result<()> {
        let _ = (cluster, node);
        Ok(())
    }

    /// Secures a connection that a peer, or anyone else, has made.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] or [`io::ErrorKind::PermissionDenied`] if the other side is not what it
    /// must be: it is refused, logged once and counted. Others if the connection broke.
    async fn accept(&self, stream: TcpStream) -> io::Result<Secured>;

    /// Secures a connection that was made to a node.
    ///
    /// # Errors
    /// As those of [`accept`](Self::accept).
    async fn connect(&self, stream: TcpStream, cluster: ClusterId, node: NodeId) -> io::Result<Secured>;
}

/// Whether a connection was refused for what the other side is.
pub(crate) fn is_refusal(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::PermissionDenied)
}

/// None at all.
#[derive(Debug)]
pub(crate) struct Plain;

#[async_trait]
impl Security for Plain {
    async fn accept(&self, stream: TcpStream) -> io::Result<Secured> {
        Ok(Secured { stream: Box::new(stream), proof: None })
    }

    async fn connect(&self, stream: TcpStream, _: ClusterId, _: NodeId) -> io::Result<Secured> {
        Ok(Secured { stream: Box::new(stream), proof: None })
    }
}
