//! Everything that goes over the wire, heard by relays between the nodes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What was said on one connection, in each direction.
#[derive(Default)]
pub(crate) struct Heard {
    pub(crate) dialler: Vec<u8>,
    pub(crate) listener: Vec<u8>,
}

/// All connections there were.
#[derive(Clone, Default)]
pub(crate) struct Wire(Arc<Mutex<Vec<Arc<Mutex<Heard>>>>>);

impl Wire {
    /// A place that leads to another, and hears what is said.
    pub(crate) async fn relay(&self, to: SocketAddr) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let place = listener.local_addr().unwrap();
        let wire = self.clone();
        tokio::spawn(async move {
            while let Ok((from, _)) = listener.accept().await {
                let heard = Arc::<Mutex<Heard>>::default();
                wire.0.lock().unwrap().push(Arc::clone(&heard));
                tokio::spawn(async move {
                    let Ok(onward) = TcpStream::connect(to).await else { return };
                    let ((from_read, from_write), (to_read, to_write)) =
                        (from.into_split(), onward.into_split());
                    let other = Arc::clone(&heard);
                    tokio::select! {
                        () = pass(from_read, to_write, |bytes| heard.lock().unwrap().dialler.extend(bytes)) => {}
                        () = pass(to_read, from_write, |bytes| other.lock().unwrap().listener.extend(bytes)) => {}
                    }
                });
            }
        });
        place
    }

    /// How many messages were seen on connections of each wire version. `read` gives version and messages of one
    /// connection, if there was a handshake, and sees to it that only what its version has was said.
    pub(crate) fn messages(&self, read: impl Fn(&Heard) -> Option<(u64, usize)>) -> BTreeMap<u64, usize> {
        let mut messages = BTreeMap::new();
        for heard in self.0.lock().unwrap().iter() {
            if let Some((version, count)) = read(&heard.lock().unwrap())
                && count > 0
            {
                *messages.entry(version).or_default() += count;
            }
        }
        messages
    }
}

async fn pass(mut from: impl AsyncReadExt + Unpin, mut to: impl AsyncWriteExt + Unpin, hear: impl Fn(&[u8])) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        hear(&buffer[..count]);
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
