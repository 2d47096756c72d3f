//! Connections in memory, as TCP would have them.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use raft_testkit::conformance::transport::{ByteStream, Wire, WireListener};
use tokio::io::DuplexStream;
use tokio::sync::mpsc;

/// Bytes that are under way in one direction of a connection, at most.
const BUFFER_BYTES: usize = 64 << 10;

/// Who listens where.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lines(Arc<Mutex<BTreeMap<String, mpsc::UnboundedSender<DuplexStream>>>>);

impl Lines {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, mpsc::UnboundedSender<DuplexStream>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn connect(&self, address: &str) -> io::Result<DuplexStream> {
        let (mine, theirs) = tokio::io::duplex(BUFFER_BYTES);
        let listeners = self.lock();
        let listener = listeners.get(address).ok_or(io::ErrorKind::ConnectionRefused)?;
        listener.send(theirs).map_err(|_| io::ErrorKind::ConnectionRefused)?;
        Ok(mine)
    }

    pub(crate) fn bind(&self, address: &str) -> io::Result<Listener> {
        let mut listeners = self.lock();
        if listeners.contains_key(address) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let (sender, arriving) = mpsc::unbounded_channel();
        listeners.insert(address.to_owned(), sender);
        Ok(Listener { lines: self.clone(), address: address.to_owned(), arriving })
    }
}

/// Where connections arrive.
pub(crate) struct Listener {
    lines: Lines,
    address: String,
    arriving: mpsc::UnboundedReceiver<DuplexStream>,
}

impl Listener {
    pub(crate) async fn next(&mut self) -> Option<DuplexStream> {
        self.arriving.recv().await
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.lines.lock().remove(&self.address);
    }
}

#[async_trait]
impl Wire for Lines {
    async fn dial(&self, address: &str) -> io::Result<Box<dyn ByteStream>> {
        Ok(Box::new(self.connect(address)?))
    }

    async fn listen(&self, address: &str) -> io::Result<Box<dyn WireListener>> {
        Ok(Box::new(self.bind(address)?))
    }
}

#[async_trait]
impl WireListener for Listener {
    async fn accept(&mut self) -> io::Result<Box<dyn ByteStream>> {
        let stream = self.next().await.ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(Box::new(stream))
    }
}
