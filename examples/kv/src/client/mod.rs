//! One connection of a client: what was read in one go is one turn, and one turn is one proposal.

mod admin;
mod backup;
mod cluster;
mod config;
pub(crate) mod exactly_once;
mod local;
pub(crate) mod members;
mod session;
mod turn;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use crate::resp::{Limits, Requests};
use crate::server::Server;
use session::Session;
pub(crate) use turn::put_set;

/// Room for one read. Most clients send one small command and wait for its reply, and there may be thousands of them: so
/// each begins with the first, and has up to the second if what it sends at once does not fit.
const READ_BYTES: (usize, usize) = (512, 32 << 10);

/// Replies that are held back until a turn is done; more are written at once, and while a client does not
/// take them, nothing of it is read or done.
const WRITE_BYTES: usize = 256 << 10;

/// A TLS handshake takes no longer.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// What a client sends, through TLS or plain.
type Input = Box<dyn AsyncRead + Send + Unpin>;

/// Replies on their way.
pub(crate) struct Output {
    socket: Box<dyn AsyncWrite + Send + Unpin>,
    pub(crate) buffer: Vec<u8>,
}

impl Output {
    /// Writes what there is.
    async fn flush(&mut self) -> io::Result<()> {
        if !self.buffer.is_empty() {
            self.socket.write_all(&self.buffer).await?;
            // TLS may hold some of it.
            self.socket.flush().await?;
            self.buffer.clear();
            self.buffer.shrink_to(WRITE_BYTES);
        }
        Ok(())
    }

    /// Writes if there is much.
    pub(crate) async fn relieve(&mut self) -> io::Result<()> {
        if self.buffer.len() >= WRITE_BYTES { self.flush().await } else { Ok(()) }
    }
}

/// Both directions of a connection. `None` if there is no TLS where there must be.
async fn open(
    server: &Server,
    socket: TcpStream,
    address: &str,
    tls: Option<TlsAcceptor>,
) -> Option<(Input, Output)> {
    let Some(tls) = tls else {
        let (input, socket) = socket.into_split();
        return Some((Box::new(input), Output { socket: Box::new(socket), buffer: Vec::new() }));
    };
    let stream = match tokio::time::timeout(HANDSHAKE, tls.accept(socket)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            server.refuse(address, &error);
            return None;
        }
        Err(_) => {
            server.refuse(address, &"it took too long");
            return None;
        }
    };
    let (input, socket) = tokio::io::split(stream);
    Some((Box::new(input), Output { socket: Box::new(socket), buffer: Vec::new() }))
}

/// Serves a client until it goes.
pub(crate) async fn serve(server: Arc<Server>, mut socket: TcpStream, tls: Option<TlsAcceptor>) {
    let address = socket.peer_addr().map_or_else(|_| String::from("?"), |address| address.to_string());
    // Without it small replies may wait; nothing else is lost.
    let _ = socket.set_nodelay(true);
    let Some((id, mut guest)) = server.admit() else {
        // One that expects TLS could not read it, and a handshake for this would cost too much.
        if tls.is_none() {
            let _ = socket.write_all(b"-ERR max number of clients reached\r\n").await;
        }
        return;
    };
    // In memory of its own, which is given back: a connection keeps room for the largest of what it awaits.
    let opened = Box::pin(open(&server, socket, &address, tls)).await;
    let Some((mut input, mut output)) = opened else { return };
    let mut session = Session::new(Arc::clone(&server), id, address);
    let mut requests = Requests::default();
    let (mut room, most) = READ_BYTES;
    loop {
        requests.buffer.reserve(room);
        match input.read_buf(&mut requests.buffer).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        if requests.buffer.len() == requests.buffer.capacity() {
            // There may be more where this came from.
            room = most.min(room * 4);
        }
        let turn = server.turn();
        let goes_on = session.serve(&mut requests, &mut output).await;
        let flushed = output.flush().await;
        drop(turn);
        if flushed.is_err() {
            return;
        }
        match goes_on {
            Ok(true) => {}
            Ok(false) => {
                Box::pin(linger(&mut input, output)).await;
                return;
            }
            Err(_) => return,
        }
        if !guest.waits(requests.buffer.len()) {
            output.buffer.extend_from_slice(b"-ERR too much input waits on this server\r\n");
            let _ = output.flush().await;
            return;
        }
    }
}

/// Lets the client read the last reply: a socket that is closed with input unread would be reset.
async fn linger(input: &mut Input, mut output: Output) {
    let _ = output.socket.shutdown().await;
    let mut rest = [0; 4096];
    let drained = async { while input.read(&mut rest).await.is_ok_and(|count| count > 0) {} };
    let _ = tokio::time::timeout(Duration::from_millis(500), drained).await;
}

impl Session {
    /// What it may send.
    pub(crate) fn limits(&self) -> Limits {
        if self.authenticated { Limits::default() } else { Limits::STRANGER }
    }
}
