//! A connection, with TLS (feature `tls`) or without.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use raft_core::backend::Refusal;
use raft_core::ids::{ClusterId, Identity, NodeId};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// How connections are secured: not at all by default.
#[derive(Clone, Debug, Default)]
pub(crate) struct Security {
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<raft_core::tls::TlsIdentity>,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) enum Stream {
    Plain(TcpStream),
    #[cfg(feature = "tls")]
    Tls(Box<tokio_rustls::TlsStream<TcpStream>>),
}

impl Stream {
    /// The listening side.
    ///
    /// # Errors
    /// Of kind `InvalidData` where the other side is to blame.
    pub(crate) async fn accept(stream: TcpStream, security: &Security) -> io::Result<Self> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &security.tls {
            let stream = tokio_rustls::TlsAcceptor::from(tls.server()).accept(stream).await;
            let stream = stream.map_err(raft_core::tls::timeless)?;
            return Ok(Self::Tls(Box::new(stream.into())));
        }
        let _ = security;
        Ok(Self::Plain(stream))
    }

    /// The dialling side: whoever is there must have a certificate for that node.
    pub(crate) async fn connect(
        stream: TcpStream,
        cluster: ClusterId,
        node: NodeId,
        security: &Security,
    ) -> io::Result<Self> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &security.tls {
            let name = raft_core::tls::TlsIdentity::server_name(cluster, node)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
            let stream = tokio_rustls::TlsConnector::from(tls.client()).connect(name, stream).await;
            let stream = stream.map_err(raft_core::tls::timeless)?;
            return Ok(Self::Tls(Box::new(stream.into())));
        }
        let _ = (cluster, node, security);
        Ok(Self::Plain(stream))
    }

    /// Whether the other side may speak for a node: without TLS anybody may.
    ///
    /// # Errors
    /// [`Refusal::NotCertified`]
    pub(crate) fn check_peer(&self, claimed: Identity) -> Result<(), Refusal> {
        match self {
            Self::Plain(_) => {
                let _ = claimed;
                Ok(())
            }
            #[cfg(feature = "tls")]
            Self::Tls(stream) => {
                let shown = stream.get_ref().1.peer_certificates();
                raft_core::tls::TlsIdentity::check_peer(shown, claimed.cluster, claimed.node)
            }
        }
    }

    /// Where the other side is.
    pub(crate) fn peer_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Plain(stream) => stream.peer_addr().ok(),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.get_ref().0.peer_addr().ok(),
        }
    }
}

/// What TLS has found wrong, here or at the other side.
#[cfg(feature = "tls")]
pub(crate) fn tls_failure(error: &io::Error) -> Option<&tokio_rustls::rustls::Error> {
    error.get_ref()?.downcast_ref()
}

macro_rules! either {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Self::Plain(stream) => {
                let $stream = Pin::new(stream);
                $call
            }
            #[cfg(feature = "tls")]
            Self::Tls(stream) => {
                let $stream = Pin::new(stream);
                $call
            }
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        either!(self, stream => stream.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self, stream => stream.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_shutdown(cx))
    }
}
