//! The bytes between two transports, for clauses about what happens to them on the way.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

/// One end of a connection that carries bytes.
///
/// # Examples
/// ```
/// # use raft_testkit::conformance::transport::{ByteStream, TcpWire, Wire, WireListener};
/// # use tokio::io::{AsyncReadExt, AsyncWriteExt};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // Whatever carries bytes is one, as half a pipe in memory.
/// let (near, mut far) = tokio::io::duplex(64);
/// let mut near: Box<dyn ByteStream> = Box::new(near);
/// near.write_all(b"hello").await?;
/// drop(near);
/// let mut seen = Vec::new();
/// far.read_to_end(&mut seen).await?;
/// assert_eq!(seen, b"hello");
/// # Ok(())
/// # }
/// ```
pub trait ByteStream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> ByteStream for T {}

/// Connections at the level below a transport. The suite dials a transport with them to misbehave, and
/// stands between two transports as a relay that flips, cuts and stalls.
///
/// # Examples
/// ```
/// # use std::io;
/// # use std::sync::Mutex;
/// # use raft_testkit::conformance::transport::{ByteStream, Wire, WireListener};
/// # use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
/// # use tokio::sync::mpsc;
/// /// Pipes in memory, with one address.
/// #[derive(Default)]
/// struct Pipes(Mutex<Option<mpsc::UnboundedSender<DuplexStream>>>);
///
/// #[async_trait::async_trait]
/// impl Wire for Pipes {
///     async fn dial(&self, _: &str) -> io::Result<Box<dyn ByteStream>> {
///         let (near, far) = tokio::io::duplex(1024);
///         let listens = self.0.lock().unwrap().as_ref().is_some_and(|to| to.send(far).is_ok());
///         if listens { Ok(Box::new(near)) } else { Err(io::ErrorKind::ConnectionRefused.into()) }
///     }
///
///     async fn listen(&self, _: &str) -> io::Result<Box<dyn WireListener>> {
///         let (to, arrivals) = mpsc::unbounded_channel();
///         *self.0.lock().unwrap() = Some(to);
///         Ok(Box::new(Arrivals(arrivals)))
///     }
/// }
///
/// # struct Arrivals(mpsc::UnboundedReceiver<DuplexStream>);
/// # #[async_trait::async_trait]
/// # impl WireListener for Arrivals {
/// #     async fn accept(&mut self) -> io::Result<Box<dyn ByteStream>> {
/// #         let next = self.0.recv().await.ok_or(io::ErrorKind::BrokenPipe)?;
/// #         Ok(Box::new(next))
/// #     }
/// # }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let wire = Pipes::default();
/// assert_eq!(wire.dial("a").await.err().unwrap().kind(), io::ErrorKind::ConnectionRefused);
/// let mut listener = wire.listen("a").await?;
/// wire.dial("a").await?.write_all(b"hello").await?;
/// let mut seen = String::new();
/// listener.accept().await?.read_to_string(&mut seen).await?;
/// assert_eq!(seen, "hello");
/// # Ok(())
/// # }
/// ```
#[async_trait]
pub trait Wire: Send + Sync {
    /// Connects to whoever listens at this address.
    ///
    /// # Errors
    /// Those of the system; [`io::ErrorKind::ConnectionRefused`] if nobody does.
    ///
    /// # Examples
    /// ```
    /// # use raft_testkit::conformance::transport::{ByteStream, TcpWire, Wire, WireListener};
    /// # use tokio::io::{AsyncReadExt, AsyncWriteExt};
    /// # use tokio::net::TcpSocket;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let socket = TcpSocket::new_v4()?;
    /// socket.bind("127.0.0.1:0".parse()?)?;
    /// // It has the address, and does not listen.
    /// let address = socket.local_addr()?.to_string();
    /// let refused = TcpWire.dial(&address).await.err().unwrap();
    /// assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    /// # Ok(())
    /// # }
    /// ```
    async fn dial(&self, address: &str) -> io::Result<Box<dyn ByteStream>>;

    /// Listens at this address.
    ///
    /// # Errors
    /// Those of the system.
    ///
    /// # Examples
    /// ```
    /// # use raft_testkit::conformance::transport::{ByteStream, TcpWire, Wire, WireListener};
    /// # use tokio::io::{AsyncReadExt, AsyncWriteExt};
    /// # use tokio::net::TcpListener;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let free = TcpListener::bind("127.0.0.1:0").await?.local_addr()?.to_string();
    /// let mut listener = TcpWire.listen(&free).await?;
    /// let (dialled, accepted) = tokio::join!(TcpWire.dial(&free), listener.accept());
    /// assert!(dialled.is_ok() && accepted.is_ok());
    /// # Ok(())
    /// # }
    /// ```
    async fn listen(&self, address: &str) -> io::Result<Box<dyn WireListener>>;
}

/// Where connections arrive. Dropped, it refuses them.
///
/// # Examples
/// ```
/// # use std::io;
/// # use std::sync::Mutex;
/// # use raft_testkit::conformance::transport::{ByteStream, Wire, WireListener};
/// # use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
/// # use tokio::sync::mpsc;
/// struct Arrivals(mpsc::UnboundedReceiver<DuplexStream>);
///
/// #[async_trait::async_trait]
/// impl WireListener for Arrivals {
///     async fn accept(&mut self) -> io::Result<Box<dyn ByteStream>> {
///         let next = self.0.recv().await.ok_or(io::ErrorKind::BrokenPipe)?;
///         Ok(Box::new(next))
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (to, arrivals) = mpsc::unbounded_channel();
/// let mut listener: Box<dyn WireListener> = Box::new(Arrivals(arrivals));
/// let (near, far) = tokio::io::duplex(64);
/// to.send(far)?;
/// assert!(listener.accept().await.is_ok());
/// drop((near, to));
/// assert!(listener.accept().await.is_err());
/// # Ok(())
/// # }
/// ```
#[async_trait]
pub trait WireListener: Send {
    /// The next connection.
    ///
    /// # Errors
    /// Those of the system.
    ///
    /// # Examples
    /// ```
    /// # use raft_testkit::conformance::transport::{ByteStream, TcpWire, Wire, WireListener};
    /// # use tokio::io::{AsyncReadExt, AsyncWriteExt};
    /// # use tokio::net::TcpListener;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut listener = TcpListener::bind("127.0.0.1:0").await?;
    /// let address = listener.local_addr()?.to_string();
    /// let accepts = WireListener::accept(&mut listener);
    /// let (accepted, dialled) = tokio::join!(accepts, TcpWire.dial(&address));
    /// dialled?.write_all(b"hello").await?;
    /// let mut seen = [0; 5];
    /// accepted?.read_exact(&mut seen).await?;
    /// assert_eq!(&seen, b"hello");
    /// # Ok(())
    /// # }
    /// ```
    async fn accept(&mut self) -> io::Result<Box<dyn ByteStream>>;
}

/// [`Wire`] for transports over TCP whose addresses are `host:port`.
///
/// # Examples
/// ```
/// # use raft_testkit::conformance::transport::{ByteStream, TcpWire, Wire, WireListener};
/// # use tokio::io::{AsyncReadExt, AsyncWriteExt};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
/// let taken = listener.local_addr()?.to_string();
/// assert!(TcpWire.dial(&taken).await.is_ok());
/// assert!(TcpWire.listen(&taken).await.is_err(), "somebody else listens there");
/// assert!(TcpWire.listen("localhost").await.is_err(), "a port is needed");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct TcpWire;

impl TcpWire {
    /// What [`TransportBackend::wire`](super::TransportBackend::wire) answers.
    ///
    /// # Examples
    /// ```
    /// # use raft_testkit::conformance::transport::TcpWire;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// // Each holder dials and listens for itself, as the two sides of a relay do.
    /// let (one, two) = (TcpWire::shared(), TcpWire::shared());
    /// let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    /// let address = listener.local_addr()?.to_string();
    /// let (left, right) = tokio::join!(one.dial(&address), two.dial(&address));
    /// assert!(left.is_ok() && right.is_ok());
    /// # Ok(())
    /// # }
    /// ```
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
