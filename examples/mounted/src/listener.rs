//! One port for axum, tonic and Raft, with TLS around it or without.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use raft_net_grpc::PeerCertificates;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::codegen::Service;

use crate::idle::{Held, UnderWay};
use crate::tls::Tls;

/// Bounds of a port. Clients and peers share it, so what is unbounded for clients shuts peers out. (The transport's own
/// listener is for peers only and has narrower ones, [`raft_net_grpc::Options`].)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Connections at once; one more is closed as soon as it is there. Default 1024.
    pub connections: usize,
    /// From connecting to the end of the first request's headers; with TLS once for its handshake and once behind it. Default
    /// 10 s.
    pub first_request: Duration,
    /// A connection on which no request is under way is closed after this. Default 60 s.
    pub idle: Duration,
    /// How long it may still end what is under way then. Default 500 ms.
    pub last_words: Duration,
    /// How long the body of a client's request may take. Default 10 s.
    pub body: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            first_request: Duration::from_secs(10),
            idle: Duration::from_secs(60),
            last_words: Duration::from_millis(500),
            body: Duration::from_secs(10),
        }
    }
}

/// Requests at once on one HTTP/2 connection: a peer has one.
const STREAMS: u32 = 64;
const HEADER_BYTES: u32 = 16 << 10;
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
    pub fn serve(socket: TcpListener, router: Router, limits: Limits) -> io::Result<Self> {
        Self::begin(socket, Port { router, limits, tls: None })
    }

    /// The same with TLS on every connection. A request of a peer has in its extensions what that has shown.
    ///
    /// # Errors
    /// Those of [`serve`](Self::serve).
    pub fn serve_tls(socket: TcpListener, router: Router, limits: Limits, tls: Tls) -> io::Result<Self> {
        Self::begin(socket, Port { router, limits, tls: Some(tls) })
    }

    fn begin(socket: TcpListener, port: Port) -> io::Result<Self> {
        let (address, (stop, stopped)) = (socket.local_addr()?, watch::channel(false));
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(socket, port, stopped));
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

/// What is served on each connection.
#[derive(Clone)]
struct Port {
    router: Router,
    limits: Limits,
    tls: Option<Tls>,
}

/// Returns when it is to stop, or when nobody is left to say so.
async fn told(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

async fn accept(socket: TcpListener, port: Port, mut stopped: watch::Receiver<bool>) {
    let (mut connections, stop) = (JoinSet::new(), stopped.clone());
    loop {
        tokio::select! {
            biased;
            () = told(&mut stopped) => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = socket.accept() => match accepted {
                // It is told at once, instead of waiting in the system's queue for who may never leave.
                Ok(_) if connections.len() >= port.limits.connections => {}
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, port.clone(), stop.clone()));
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

/// Serves one connection to its end, behind TLS or not.
async fn connection(stream: TcpStream, port: Port, mut stopped: watch::Receiver<bool>) {
    // Raft's messages are small and urgent.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let Some(tls) = &port.tls else { return serve(stream, None, &port, stopped).await };
    let accepted = tokio::select! {
        accepted = tokio::time::timeout(port.limits.first_request, tls.accept(stream)) => accepted,
        () = told(&mut stopped) => return,
    };
    // Whoever is not who it must be, or is too slow to say so, is gone.
    if let Ok(Ok((stream, shown))) = accepted {
        serve(stream, shown, &port, stopped).await;
    }
}

/// Serves HTTP/1 or HTTP/2.
async fn serve(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    shown: Option<PeerCertificates>,
    port: &Port,
    mut stopped: watch::Receiver<bool>,
) {
    let limits = port.limits;
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(limits.idle);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE.0)
        .keep_alive_timeout(KEEP_ALIVE.1)
        .initial_stream_window_size(WINDOW_BYTES.0)
        .initial_connection_window_size(WINDOW_BYTES.1)
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEADER_BYTES);
    let under_way = UnderWay::default();
    let (requests, router) = (under_way.clone(), port.router.clone());
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        let held = requests.begin();
        if let Some(shown) = &shown {
            request.extensions_mut().insert(shown.clone());
        }
        let answer = router.clone().call(request);
        async move { answer.await.map(|answer| answer.map(|body| Held::new(body, held))) }
    });
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    // How it ended concerns the other side only. The builder waits without a bound to learn which version is spoken, so
    // the bound is around all of it.
    let is_idle = tokio::select! {
        _ = connection.as_mut() => return,
        () = told(&mut stopped) => false,
        () = under_way.idle(limits.first_request, limits.idle) => true,
    };
    connection.as_mut().graceful_shutdown();
    if is_idle {
        let _ = tokio::time::timeout(limits.last_words, connection).await;
    } else {
        let _ = connection.await;
    }
}
