//! Frames between nodes: u32 LE length of what follows, u8 kind, a message in postcard.

use std::io;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;

/// A request with an answer, one at a time: heartbeats.
pub const APPEND: u8 = 0;
pub const VOTE: u8 = 1;
/// A stream of requests, answered in order; the connection is its own and ends with it.
pub const STREAM: u8 = 2;

/// Of one frame, at most.
const LIMIT: usize = 256 << 20;

/// How much is gathered before it is written, at most, if there is more at once.
pub const TOGETHER: usize = 4 << 20;

/// Puts a frame behind others.
pub fn put<T: Serialize>(out: &mut Vec<u8>, kind: u8, message: &T) -> io::Result<()> {
    let at = out.len();
    out.extend_from_slice(&[0, 0, 0, 0, kind]);
    postcard::to_io(message, &mut *out).map_err(io::Error::other)?;
    let length = out.len() - at - 4;
    out[at..at + 4].copy_from_slice(&(length as u32).to_le_bytes());
    Ok(())
}

/// The reading side of a connection.
pub struct Frames {
    from: BufReader<OwnedReadHalf>,
    body: Vec<u8>,
}

impl Frames {
    pub fn new(from: OwnedReadHalf) -> Self {
        Self { from: BufReader::with_capacity(512 << 10, from), body: Vec::new() }
    }

    /// The kind of the next one, if there is one.
    pub async fn next(&mut self) -> io::Result<Option<u8>> {
        let length = match self.from.read_u32_le().await {
            Ok(length) => length as usize,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        };
        if length == 0 || length > LIMIT {
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.body.resize(length - 1, 0);
        let kind = self.from.read_u8().await?;
        self.from.read_exact(&mut self.body).await?;
        Ok(Some(kind))
    }

    /// The message of the one that came last.
    pub fn message<T: DeserializeOwned>(&self) -> io::Result<T> {
        postcard::from_bytes(&self.body).map_err(io::Error::other)
    }
}

pub async fn connect(port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
