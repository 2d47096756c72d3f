//! The bytes between two transports, for clauses about what happens to them on the way.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

/// One end of a connection that carries bytes.
pub trait ByteStream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> ByteStream for T {}

/// Connections at the level below a transport. The suite dials a transport with them to misbehave, and
/// stands between two transports as a relay that flips, cuts and stalls.
#[async_trait]
pub trait Wire: Send + Sync {
    /// Connects to whoever listens at this address.
    ///
    /// # Errors
    /// Those of the system; [`io::ErrorKind::ConnectionRefused`] if nobody does.
    async fn dial(&self, address: &str) -> io::Result<Box<dyn ByteStream>>;

    /// Listens at this address.
    ///
    /// # Errors
    /// Those of the system.
    async fn listen(&self, address: &str) -> io::Result<Box<dyn WireListener>>;
}

/// Where connections arrive. Dropped, it refuses them.
#[async_trait]
pub trait WireListener: Send {
    /// The next connection.
    ///
    /// # Errors
    /// Those of the system.
    async fn accept(&mut self) -> io::Result<Box<dyn ByteStream>>;
}

/// [`Wire`] for transports over TCP whose addresses are `host:port`.
#[derive(Clone, Copy, Debug, Default)]
pub struct TcpWire;

impl TcpWire {
    /// What [`TransportBackend::wire`](super::TransportBackend::wire) answers.
    #[must_use]
    pub fn shared() -> Arc<dyn Wire> {
        Arc::new(Self)
    }
}

#[async_trait]
impl Wire for TcpWire {
    async fn dial(&self, address: &str) -> io::Result<Box<dyn ByteStream>> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Box::new(stream))
    }

    async fn listen(&self, address: &str) -> io::Result<Box<dyn WireListener>> {
        let address: SocketAddr = address.parse().map_err(io::Error::other)?;
        Ok(Box::new(TcpListener::bind(address).await?))
    }
}

#[async_trait]
impl WireListener for TcpListener {
    async fn accept(&mut self) -> io::Result<Box<dyn ByteStream>> {
        let (stream, _) = Self::accept(self).await?;
        stream.set_nodelay(true)?;
        Ok(Box::new(stream))
    }
}
