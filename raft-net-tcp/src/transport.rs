//! The transport itself: what it is told, and what its tasks share.

use std::collections::BTreeSet;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use raft_core::backend::{Inbox, Refusal, Sent, SentDropped, Transport, TransportError};
use raft_core::ids::{Identity, NodeId};
use raft_core::membership::Member;
use raft_core::message::{Envelope, Lane};
use raft_core::peering::{Counters, Newest, Roster, Stats, count};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinSet};

use crate::error::WireError;
use crate::handshake::WIRE_VERSIONS;
use crate::lane::cost_bytes;
use crate::listen;
use crate::peer::{Dialled, Peer};
use crate::stream::Security;

/// Limits and times of a transport.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// The largest frame, in bytes, in and out. Default 64 MiB: an append of 1 MiB, or one entry of a
    /// batch of 16 MiB, with room.
    pub frame_limit_bytes: u64,
    /// What waits for one peer on the control lane, in bytes; then the oldest goes. Default 1 MiB.
    pub control_queue_bytes: u64,
    /// What waits for one peer on the bulk lane, in bytes; then messages are refused. Default 32 MiB.
    pub bulk_queue_bytes: u64,
    /// Incoming connections at once, handshakes included. Default 256.
    pub connections: usize,
    /// From connecting to the end of the handshake. Default 3 s.
    pub handshake_timeout: Duration,
    /// How long a peer may take nothing while something waits for it. Default 10 s.
    pub write_timeout: Duration,
    /// The least and the greatest wait between attempts to connect. Default 10 ms and 1 s.
    pub reconnect: (Duration, Duration),
    /// How long `shutdown` waits for what is queued to leave. Default 100 ms.
    pub linger: Duration,
    /// Where other nodes can dial this one, `host:port`: it says so to whomever it dials, so that a node that has not
    /// been told yet who the members are can answer. Default the address that it listens on; where that names no
    /// host (`0.0.0.0`), the one that its connections come from, with the port of this.
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
            connections: 256,
            handshake_timeout: Duration::from_secs(3),
            write_timeout: Duration::from_secs(10),
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
        let socket = socket2::SockRef::from(stream);
        // The kernel counts these in whole seconds and takes no zero.
        let idle = self.handshake_timeout.max(Duration::from_secs(1));
        socket.set_tcp_keepalive(&socket2::TcpKeepalive::new().with_time(idle).with_interval(idle))?;
        #[cfg(target_os = "linux")]
        socket.set_tcp_user_timeout(Some(self.write_timeout))?;
        Ok(())
    }
}

/// Tasks that end with the transport.
#[derive(Debug)]
pub(crate) struct Tasks(Mutex<Option<JoinSet<()>>>);

impl Tasks {
    fn new() -> Self {
        Self(Mutex::new(Some(JoinSet::new())))
    }

    fn lock(&self) -> MutexGuard<'_, Option<JoinSet<()>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a task, unless the transport has ended: then nothing may begin any more.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> Option<AbortHandle> {
        let mut tasks = self.lock();
        let tasks = tasks.as_mut()?;
        // Forget those that have ended.
        while tasks.try_join_next().is_some() {}
        Some(tasks.spawn(task))
    }

    /// All of them, to be ended; and no more.
    fn close(&self) -> JoinSet<()> {
        self.lock().take().unwrap_or_default()
    }
}

/// What the tasks of a running transport share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) local: Identity,
    /// Where others can dial this node.
    pub(crate) advertised: String,
    pub(crate) inbox: Inbox,
    pub(crate) options: Options,
    pub(crate) security: Security,
    pub(crate) counters: Arc<Counters>,
    pub(crate) connections: Arc<Semaphore>,
    pub(crate) newest: Newest,
    pub(crate) tasks: Arc<Tasks>,
    peers: RwLock<Roster<Dialled>>,
    /// Refusals that were logged: once each.
    logged: Mutex<BTreeSet<(NodeId, bool, String)>>,
    /// Connections that ended before anybody said who they are, by where they came from and why: logged
    /// once each.
    strangers: Mutex<BTreeSet<(IpAddr, String)>>,
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

    /// Says once that somebody from there is no peer, and why.
    pub(crate) fn log_stranger(&self, from: Option<SocketAddr>, why: &dyn std::fmt::Display) {
        let from = from.map_or_else(|| IpAddr::from([0; 4]), |from| from.ip());
        let why = why.to_string();
        let mut strangers = self.strangers.lock().unwrap_or_else(PoisonError::into_inner);
        if strangers.len() < LOGGED && strangers.insert((from, why.clone())) {
            tracing::warn!(node = %self.local.node, %from, %why, "refused a connection");
        }
    }

    /// Says once that a peer cannot be reached as it should be.
    #[cfg(feature = "tls")]
    pub(crate) fn log_peer(&self, peer: NodeId, why: &dyn std::fmt::Display) {
        let why = why.to_string();
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.len() < LOGGED && logged.insert((peer, false, why.clone())) {
            tracing::warn!(node = %self.local.node, %peer, %why, "no TLS with a node");
        }
    }

    /// Says once that a peer was admitted and then said what no peer says: without TLS anybody may be it.
    pub(crate) fn log_misbehaviour(&self, peer: NodeId, lane: Lane, why: &WireError) {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.len() < LOGGED && logged.insert((peer, true, format!("{lane:?}: {why}"))) {
            tracing::warn!(node = %self.local.node, %peer, ?lane, %why, "connection closed");
        }
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

/// Carries messages over TCP: to each peer one connection for control and one for bulk.
///
/// Each node dials its peers for what it sends, and is dialled for what it receives. Needs a tokio
/// runtime of either flavour. Without `with_tls` (feature `tls`) there is no encryption and no authentication: listen on
/// loopback or on a network that only the cluster can reach.
///
/// ```
/// use std::sync::Arc;
///
/// use raft_core::backend::Transport;
/// use raft_net_tcp::{TcpTransport, Options};
///
/// let listen = "127.0.0.1:7101".parse().unwrap();
/// // For `Builder::transport`, which starts it.
/// let transport: Arc<dyn Transport> = Arc::new(TcpTransport::new(listen, Options::default()));
/// ```
#[derive(Debug)]
pub struct TcpTransport {
    listen: SocketAddr,
    options: Options,
    security: Security,
    counters: Arc<Counters>,
    running: RwLock<Option<Running>>,
}

#[derive(Debug)]
struct Running {
    shared: Arc<Shared>,
    address: SocketAddr,
}

impl TcpTransport {
    /// A transport that will listen on `listen`; port 0 takes a free one.
    #[must_use]
    pub fn new(listen: SocketAddr, options: Options) -> Self {
        let (security, running) = (Security::default(), RwLock::new(None));
        Self { listen, options, security, counters: Arc::default(), running }
    }

    /// The same with mutual TLS on every connection, in and out (feature `tls`): a peer's certificate must be for the
    /// node that it says it is, in this cluster. Whoever comes without one, with another's, or in plain text is
    /// refused, logged once and counted.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn with_tls(mut self, identity: raft_core::tls::TlsIdentity) -> Self {
        self.security.tls = Some(identity);
        self
    }

    /// Where it listens, while it runs.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.running.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(|running| running.address)
    }

    /// What it has counted so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.counters.stats()
    }

    fn shared(&self) -> Option<Arc<Shared>> {
        let running = self.running.read().unwrap_or_else(PoisonError::into_inner);
        running.as_ref().map(|running| Arc::clone(&running.shared))
    }

    fn try_send(&self, to: &Member, lane: Lane, envelope: Envelope) -> Sent {
        if cost_bytes(&envelope) > self.options.frame_limit_bytes {
            return Sent::Dropped(SentDropped::TooLarge);
        }
        let running = self.running.read().unwrap_or_else(PoisonError::into_inner);
        let Some(Running { shared, .. }) = &*running else { return Sent::Dropped(SentDropped::Stopped) };
        let peers = shared.peers.read().unwrap_or_else(PoisonError::into_inner);
        match peers.get(to.id) {
            Some(dialled) => dialled.peer.send(lane, envelope),
            None => Sent::Dropped(SentDropped::NotConnected),
        }
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, Some(socket2::Protocol::TCP))?;
    // A port whose last connections linger may be used again at once; one that is listened on may not.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(1024)?;
    TcpListener::from_std(socket.into())
}

#[async_trait]
impl Transport for TcpTransport {
    async fn start(&self, local: Identity, inbox: Inbox) -> Result<(), TransportError> {
        let mut running = self.running.write().unwrap_or_else(PoisonError::into_inner);
        if running.is_some() {
            return Err(TransportError::AlreadyStarted);
        }
        let failed = |error: io::Error| {
            let address = self.listen.to_string();
            match error.kind() {
                io::ErrorKind::AddrInUse => TransportError::AddressInUse { address },
                _ => TransportError::Listen { address, cause: error.to_string().into() },
            }
        };
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.security.tls {
            tls.check_own(local.cluster, local.node)
                .map_err(|error| failed(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
        }
        let listener = bind(self.listen).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let advertised = self.options.advertise.clone().unwrap_or_else(|| address.to_string());
        let shared = Arc::new(Shared {
            local,
            advertised,
            inbox,
            options: self.options.clone(),
            security: self.security.clone(),
            counters: Arc::clone(&self.counters),
            connections: Arc::new(Semaphore::new(self.options.connections)),
            newest: Newest::default(),
            tasks: Arc::new(Tasks::new()),
            peers: RwLock::new(Roster::new(local.node)),
            logged: Mutex::default(),
            strangers: Mutex::default(),
        });
        shared.tasks.spawn(listen::accept(listener, Arc::clone(&shared)));
        *running = Some(Running { shared, address });
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
        let running = self.running.write().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Running { shared, .. }) = running else { return };
        let peers: Vec<Arc<Peer>> = {
            let peers = shared.peers.read().unwrap_or_else(PoisonError::into_inner);
            peers.all().map(|dialled| Arc::clone(&dialled.peer)).collect()
        };
        // A last word, such as handing over, may leave.
        let last_words = async {
            for peer in &peers {
                peer.queue(Lane::Control).emptied().await;
            }
        };
        // Who does not take it in time does not get it.
        let _ = tokio::time::timeout(shared.options.linger, last_words).await;
        shared.tasks.close().shutdown().await;
    }
}

impl Drop for TcpTransport {
    /// Ends what `shutdown` was not called for: the tasks hold each other, and the port.
    fn drop(&mut self) {
        if let Some(shared) = self.shared() {
            // A set that is dropped aborts its tasks.
            drop(shared.tasks.close());
        }
    }
}
