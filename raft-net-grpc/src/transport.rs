//! The transport itself: what it is told, and what its tasks share.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use raft_core::backend::{Inbox, Refusal, Sent, SentDropped, Transport, TransportError};
use raft_core::ids::{Identity, NodeId};
use raft_core::membership::Member;
use raft_core::message::{Envelope, Lane};
use raft_core::peering::{Counters, Newest, Roster, Stats, count};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tonic_health::server::HealthReporter;

use crate::error::WireError;
use crate::group::Tasks;
use crate::handshake::WIRE_VERSIONS;
use crate::lane::is_sendable;
use crate::listen::{self, Router};
use crate::peer::{Dialled, Peer};
use crate::security::{Plain, Security};
use crate::serve;
use crate::service::{Host, RaftService};

/// What a message may have on the wire beyond what it counts for, in bytes.
pub(crate) const SLACK_BYTES: usize = 1024;

/// Limits and times of a transport.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// The largest message, in bytes, in and out. Default 64 MiB: an append of 1 MiB, or one entry of a
    /// batch of 16 MiB, with room.
    pub frame_limit_bytes: u64,
    /// What waits for one peer on the control lane, in bytes; then the oldest goes. Default 1 MiB.
    pub control_queue_bytes: u64,
    /// What waits for one peer on the bulk lane, in bytes; then messages are refused. Default 32 MiB.
    pub bulk_queue_bytes: u64,
    /// Messages that wait for one peer on one lane; then as with bytes. Default 8192.
    pub queue_messages: usize,
    /// What a peer may send on one stream before it is taken, in bytes: HTTP/2's window. Default 2 MiB.
    pub window_bytes: u32,
    /// Incoming connections at once, handshakes included. Default 256.
    pub connections: usize,
    /// From connecting to the end of the handshake. Default 3 s.
    pub handshake_timeout: Duration,
    /// An incoming connection on which nothing is called any more is closed after this. Default 60 s.
    pub idle_timeout: Duration,
    /// Each side asks the other this often whether it is there (HTTP/2 PING). Default 3 s.
    pub keep_alive: Duration,
    /// A connection without an answer for this long is closed. Default 10 s.
    pub keep_alive_timeout: Duration,
    /// The least and the greatest wait between attempts to connect. Default 10 ms and 1 s.
    pub reconnect: (Duration, Duration),
    /// How long `shutdown` waits for what is queued on the control lanes to arrive. Default 100 ms.
    pub linger: Duration,
    /// Where other nodes can dial this one, `host:port`: it says so to whomever it dials, so that a node that has not
    /// been told yet who the members are can answer. Default the address that it listens on; where that names no
    /// host (`0.0.0.0`), the one that its connections come from, with the port of this. Without a listener of its own
    /// none.
    pub advertise: Option<String>,
    /// The wire versions that it offers, lowest and highest. Default all that this crate knows; fewer of them keep a
    /// cluster to an older version while its nodes are being replaced.
    pub wire_versions: (u16, u16),
}

impl Default for Options {
    fn default() -> Self {
        Self {
            frame_limit_bytes: 64 << 20,
            control_queue_bytes: 1 << 20,
            bulk_queue_bytes: 32 << 20,
            queue_messages: 8192,
            window_bytes: 2 << 20,
            connections: 256,
            handshake_timeout: Duration::from_secs(3),
            idle_timeout: Duration::from_secs(60),
            keep_alive: Duration::from_secs(3),
            keep_alive_timeout: Duration::from_secs(10),
            reconnect: (Duration::from_millis(10), Duration::from_secs(1)),
            linger: Duration::from_millis(100),
            advertise: None,
            wire_versions: WIRE_VERSIONS,
        }
    }
}

impl Options {
    /// Small frames leave at once, and a peer whose machine is gone is noticed.
    pub(crate) fn prepare(&self, stream: &TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        #[cfg(target_os = "linux")]
        socket2::SockRef::from(stream).set_tcp_user_timeout(Some(self.keep_alive_timeout))?;
        Ok(())
    }
}

/// What the tasks of a running transport share.
pub(crate) struct Shared {
    pub(crate) local: Identity,
    /// Where others can dial this node; empty if nowhere.
    pub(crate) advertised: String,
    pub(crate) inbox: Inbox,
    pub(crate) options: Options,
    pub(crate) security: Arc<dyn Security>,
    pub(crate) counters: Arc<Counters>,
    /// Of the listener.
    pub(crate) connections: Arc<Semaphore>,
    /// Of the service, which may be on another listener.
    pub(crate) streams: Arc<Semaphore>,
    pub(crate) newest: Newest,
    pub(crate) tasks: Arc<Tasks>,
    health: HealthReporter,
    peers: RwLock<Roster<Dialled>>,
    /// Refusals that were logged: once each.
    logged: Mutex<BTreeSet<(NodeId, bool, String)>>,
    strangers: Mutex<BTreeSet<String>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("local", &self.local).finish_non_exhaustive()
    }
}

/// Refusals remembered as logged; more peers than this are not told apart.
const LOGGED: usize = 1024;

impl Shared {
    /// A peer has shown that it is there.
    pub(crate) fn hurry(&self, node: NodeId) {
        let peers = self.peers.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(peer) = peers.get(node) {
            peer.as_ref().hurry();
        }
    }

    /// An admitted node has dialled this one: see [`Roster::visit`].
    pub(crate) fn visit(self: &Arc<Self>, node: NodeId, listen: &str) {
        if !listen.is_empty() {
            let mut peers = self.peers.write().unwrap_or_else(PoisonError::into_inner);
            peers.visit(node, listen, |member, is_guest| Dialled::new(member, is_guest, self));
        }
    }

    /// What a node had dialled has ended: see [`Roster::leave`].
    pub(crate) fn leave(&self, node: NodeId) {
        self.peers.write().unwrap_or_else(PoisonError::into_inner).leave(node);
    }

    /// Says once that a node was refused, or refuses this one.
    pub(crate) fn log_refusal(&self, peer: NodeId, ours: bool, why: &Refusal) {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.len() < LOGGED && logged.insert((peer, ours, why.to_string())) {
            if ours {
                tracing::warn!(node = %self.local.node, %peer, %why, "refused a node");
            } else {
                tracing::warn!(node = %self.local.node, %peer, %why, "a node refuses this one");
            }
        }
    }
}

impl Shared {
    /// A stream that is not served: one too many, or too slow to say who it is.
    pub(crate) fn turn_away(&self, from: Option<SocketAddr>, why: &str) {
        count(&self.counters.turned_away);
        self.log_stranger(&serve::host(from), &why);
    }

    /// Says once that a peer was admitted and then said what no peer says: without TLS anybody may be it.
    pub(crate) fn log_misbehaviour(&self, peer: NodeId, lane: Lane, why: &WireError) {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.len() < LOGGED && logged.insert((peer, true, format!("{lane:?}: {why}"))) {
            tracing::warn!(node = %self.local.node, %peer, ?lane, %why, "stream closed");
        }
    }

    /// Says once that somebody there is no peer, and why, before it could say who it is.
    pub(crate) fn log_stranger(&self, host: &str, why: &dyn std::fmt::Display) {
        let mut strangers = self.strangers.lock().unwrap_or_else(PoisonError::into_inner);
        if strangers.len() < LOGGED && strangers.insert(format!("{host}: {why}")) {
            tracing::warn!(node = %self.local.node, host, %why, "refused a connection");
        }
    }
}

/// Carries messages over gRPC: to each peer one HTTP/2 connection for control and one for bulk.
///
/// Each node dials its peers for what it sends, and is dialled for what it receives. Needs a tokio
/// runtime of either flavour. Its listener also serves `grpc.health.v1.Health` and server reflection.
///
/// ```
/// use std::sync::Arc;
///
/// use raft_core::backend::Transport;
/// use raft_net_grpc::{GrpcTransport, Options};
///
/// let listen = "127.0.0.1:7101".parse().unwrap();
/// // For `Builder::transport`, which starts it.
/// let transport: Arc<dyn Transport> = Arc::new(GrpcTransport::new(listen, Options::default()));
/// ```
#[derive(Debug)]
pub struct GrpcTransport {
    listen: Option<SocketAddr>,
    options: Options,
    security: Arc<dyn Security>,
    counters: Arc<Counters>,
    address: RwLock<Option<SocketAddr>>,
    running: Host,
}

impl GrpcTransport {
    /// A transport that will listen on `listen`; port 0 takes a free one.
    #[must_use]
    pub fn new(listen: SocketAddr, options: Options) -> Self {
        Self::with(Some(listen), options)
    }

    /// A transport that does not listen: peers reach it through a server of your own, to which its
    /// [`service`](Self::service) was added.
    #[must_use]
    pub fn without_listener(options: Options) -> Self {
        Self::with(None, options)
    }

    fn with(listen: Option<SocketAddr>, options: Options) -> Self {
        let (address, running) = (RwLock::default(), Host::default());
        let security = Arc::new(Plain);
        Self { listen, options, security, counters: Arc::default(), address, running }
    }

    /// The same with connections that are secured, on both sides.
    #[must_use]
    pub fn with_security(mut self, security: Arc<dyn Security>) -> Self {
        self.security = security;
        self
    }

    /// The same with mutual TLS on every connection, in and out (feature `tls`): a peer's certificate must be for the
    /// node that it says it is, in this cluster. Whoever comes without one, with another's, or in plain text is
    /// refused, logged once and counted. Of a server of your own it concerns only what is dialled: give that TLS of its
    /// own, and [`PeerCertificates`](crate::PeerCertificates), which [`RaftService::authenticated_only`] demands.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn with_tls(self, identity: raft_core::tls::TlsIdentity) -> Self {
        self.with_security(Arc::new(crate::tls::Tls(identity)))
    }

    /// The service that its listener serves, for a server of your own. Before `start` and after `shutdown` it
    /// answers that the node is not ready.
    #[must_use]
    pub fn service(&self) -> RaftService {
        RaftService::new(Arc::clone(&self.running), &self.options)
    }

    /// What its service needs of it.
    pub(crate) fn host(&self) -> (Host, &Options) {
        (Arc::clone(&self.running), &self.options)
    }

    /// Where it listens, while it runs.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        *self.address.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it has counted so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.counters.stats()
    }

    fn shared(&self) -> Option<Arc<Shared>> {
        self.running.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn take(&self) -> Option<Arc<Shared>> {
        let taken = self.running.write().unwrap_or_else(PoisonError::into_inner).take();
        *self.address.write().unwrap_or_else(PoisonError::into_inner) = None;
        taken
    }

    fn try_send(&self, to: &Member, lane: Lane, envelope: Envelope) -> Sent {
        if !is_sendable(&envelope, self.options.frame_limit_bytes) {
            return Sent::Dropped(SentDropped::TooLarge);
        }
        let running = self.running.read().unwrap_or_else(PoisonError::into_inner);
        let Some(shared) = &*running else { return Sent::Dropped(SentDropped::Stopped) };
        let peers = shared.peers.read().unwrap_or_else(PoisonError::into_inner);
        match peers.get(to.id) {
            Some(dialled) => dialled.peer.send(lane, envelope),
            None => Sent::Dropped(SentDropped::NotConnected),
        }
    }
}

#[async_trait]
impl Transport for GrpcTransport {
    async fn start(&self, local: Identity, inbox: Inbox) -> Result<(), TransportError> {
        let health = HealthReporter::new();
        listen::set_serving(&health, true).await;
        let mut running = self.running.write().unwrap_or_else(PoisonError::into_inner);
        if running.is_some() {
            return Err(TransportError::AlreadyStarted);
        }
        let failed = |error: io::Error| {
            let address =
                self.listen.map_or_else(|| "a server of its own".into(), |listen| listen.to_string());
            match error.kind() {
                io::ErrorKind::AddrInUse => TransportError::AddressInUse { address },
                _ => TransportError::Listen { address, cause: error.to_string().into() },
            }
        };
        self.security.check_own(local.cluster, local.node).map_err(failed)?;
        let listener = self.listen.map(|address| {
            let listener = listen::bind(address).map_err(failed)?;
            let address = listener.local_addr().map_err(failed)?;
            Ok((listener, address))
        });
        let listener = listener.transpose()?;
        let listens = || listener.as_ref().map(|(_, address)| address.to_string());
        let advertised = self.options.advertise.clone().or_else(listens).unwrap_or_default();
        let shared = Arc::new(Shared {
            local,
            advertised,
            inbox,
            options: self.options.clone(),
            security: Arc::clone(&self.security),
            counters: Arc::clone(&self.counters),
            connections: Arc::new(Semaphore::new(self.options.connections)),
            streams: Arc::new(Semaphore::new(self.options.connections)),
            newest: Newest::default(),
            tasks: Arc::new(Tasks::new()),
            health: health.clone(),
            peers: RwLock::new(Roster::new(local.node)),
            logged: Mutex::default(),
            strangers: Mutex::default(),
        });
        if let Some((listener, address)) = listener {
            let router = Router::new(self.service(), health);
            shared.tasks.spawn(listen::accept(listener, router, Arc::clone(&shared)));
            *self.address.write().unwrap_or_else(PoisonError::into_inner) = Some(address);
        }
        *running = Some(shared);
        Ok(())
    }

    fn send(&self, to: &Member, lane: Lane, envelope: Envelope) -> Sent {
        let sent = self.try_send(to, lane, envelope);
        if sent != Sent::Queued {
            count(&self.counters.dropped);
        }
        sent
    }

    fn members(&self, members: &[Member]) {
        let Some(shared) = self.shared() else { return };
        let mut peers = shared.peers.write().unwrap_or_else(PoisonError::into_inner);
        peers.members(members, |member, is_guest| Dialled::new(member, is_guest, &shared));
    }

    async fn shutdown(&self) {
        let Some(shared) = self.take() else { return };
        let peers: Vec<Arc<Peer>> = {
            let peers = shared.peers.read().unwrap_or_else(PoisonError::into_inner);
            peers.all().map(|dialled| Arc::clone(&dialled.peer)).collect()
        };
        let last_words = async {
            listen::set_serving(&shared.health, false).await;
            // A last word, such as handing over, may arrive: the listener ends a stream when it has read it
            // to its end.
            peers.iter().for_each(|peer| peer.queue(Lane::Control).end());
            for peer in &peers {
                peer.queue(Lane::Control).closed().await;
            }
        };
        // Who does not take it in time does not get it.
        let _ = tokio::time::timeout(shared.options.linger, last_words).await;
        shared.tasks.close().shutdown().await;
    }
}

impl Drop for GrpcTransport {
    /// Ends what `shutdown` was not called for: the tasks hold each other, and the port.
    fn drop(&mut self) {
        if let Some(shared) = self.take() {
            // A set that is dropped aborts its tasks.
            drop(shared.tasks.close());
        }
    }
}
