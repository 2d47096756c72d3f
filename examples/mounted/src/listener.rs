//! One port for axum, tonic and Raft.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Bounds of the port; the transport's own listener has the same.
const CONNECTIONS: usize = 1024;
/// Peers that are dead must be noticed: see [`raft_net_grpc::RaftService`].
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(3), Duration::from_secs(10));
/// What one stream of a peer, and one connection, may send before it is taken, in bytes.
const WINDOW_BYTES: (u32, u32) = (2 << 20, 4 << 20);

/// A port that serves until it is told to stop. Dropped, it ends at once, and with it what it serves.
#[derive(Debug)]
pub struct Listener {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Listener {
    /// Serves a router on a socket that listens.
    ///
    /// # Errors
    /// If the socket cannot say where it listens.
    pub fn serve(socket: TcpListener, router: Router) -> io::Result<Self> {
        let (address, (stop, stopped)) = (socket.local_addr()?, watch::channel(false));
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(socket, router, stopped));
        Ok(Self { address, stop, tasks })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more connections, lets what is under way end, and waits for that as long as `patience` allows.
    ///
    /// The node goes first, [`NodeHandle::shutdown`](raft_core::NodeHandle::shutdown): it hands its leadership over,
    /// for which its peers must still reach it, and it ends their streams, which would never end by themselves.
    pub async fn shutdown(mut self, patience: Duration) {
        let _ = self.stop.send(true);
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        // What remains is aborted as the set is dropped.
        let _ = tokio::time::timeout(patience, ended).await;
    }
}

/// Returns when it is to stop, or when nobody is left to say so.
async fn told(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

async fn accept(socket: TcpListener, router: Router, mut stopped: watch::Receiver<bool>) {
    let (mut connections, stop) = (JoinSet::new(), stopped.clone());
    loop {
        tokio::select! {
            biased;
            () = told(&mut stopped) => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = socket.accept(), if connections.len() < CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, router.clone(), stop.clone()));
                }
                // Out of descriptors, most likely: let some be closed.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            },
        }
    }
    // The port is free; those who are there may end what they are at.
    drop(socket);
    while connections.join_next().await.is_some() {}
}

/// Serves one connection, HTTP/1 or HTTP/2, to its end.
async fn connection(stream: TcpStream, router: Router, mut stopped: watch::Receiver<bool>) {
    // Raft's messages are small and urgent.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new());
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE.0)
        .keep_alive_timeout(KEEP_ALIVE.1)
        .initial_stream_window_size(WINDOW_BYTES.0)
        .initial_connection_window_size(WINDOW_BYTES.1);
    let mut connection =
        std::pin::pin!(builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)));
    // How it ended concerns the other side only.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = told(&mut stopped) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}
