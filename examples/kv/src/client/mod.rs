//! One connection of a client: what was read in one go is one turn, and one turn is one proposal.

mod admin;
mod cluster;
mod local;
mod session;
mod turn;

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;

use crate::resp::{Limits, Requests};
use crate::server::Server;
use session::Session;
pub(crate) use turn::put_set;

/// Room for one read.
const READ_BYTES: usize = 32 << 10;

/// Replies that are held back until a turn is done; more are written at once, and while a client does not
/// take them, nothing of it is read or done.
const WRITE_BYTES: usize = 256 << 10;

/// Replies on their way.
pub(crate) struct Output {
    socket: OwnedWriteHalf,
    pub(crate) buffer: Vec<u8>,
}

impl Output {
    /// Writes what there is.
    async fn flush(&mut self) -> io::Result<()> {
        if !self.buffer.is_empty() {
            self.socket.write_all(&self.buffer).await?;
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

/// Serves a client until it goes.
pub(crate) async fn serve(server: Arc<Server>, socket: TcpStream) {
    let address = socket.peer_addr().map_or_else(|_| String::from("?"), |address| address.to_string());
    // Without it small replies may wait; nothing else is lost.
    let _ = socket.set_nodelay(true);
    let (mut input, socket) = socket.into_split();
    let mut output = Output { socket, buffer: Vec::new() };
    let Some((id, mut guest)) = server.admit() else {
        let _ = output.socket.write_all(b"-ERR max number of clients reached\r\n").await;
        return;
    };
    let mut session = Session::new(Arc::clone(&server), id, address);
    let mut requests = Requests::default();
    loop {
        requests.buffer.reserve(READ_BYTES);
        match input.read_buf(&mut requests.buffer).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
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
                linger(&mut input, output).await;
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
async fn linger(input: &mut tokio::net::tcp::OwnedReadHalf, mut output: Output) {
    let _ = output.socket.shutdown().await;
    let mut rest = [0; 4096];
    let drained = async { while input.read(&mut rest).await.is_ok_and(|count| count > 0) {} };
    let _ = tokio::time::timeout(std::time::Duration::from_millis(500), drained).await;
}

impl Session {
    /// What it may send.
    pub(crate) fn limits(&self) -> Limits {
        if self.authenticated { Limits::default() } else { Limits::STRANGER }
    }
}
