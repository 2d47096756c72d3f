//! What all connections share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use raft_core::NodeHandle;
use raft_core::backend::JournalReader;
use raft_core::ids::{ClusterId, Index, NodeId};
use raft_core::membership::Member;
use raft_core::node::EntrySpans;
use raft_core::status::RoleKind;
use raft_log_file::Durability;
use raft_net_tcp::Stats;

use crate::machine::Shared;
use crate::password::Password;
use crate::refusal::{Me, Outside};
use crate::settings::CLIENT;
use crate::traffic::Traffic;

/// Input that waits on all connections together, in bytes; what a connection may always have is not
/// counted.
pub(crate) const WAITING_LIMIT_BYTES: usize = 512 << 20;

/// What all connections share.
pub(crate) struct Server {
    pub(crate) node: NodeHandle,
    pub(crate) data: Shared,
    pub(crate) reader: Arc<dyn JournalReader>,
    pub(crate) cluster: ClusterId,
    pub(crate) password: Option<Password>,
    pub(crate) max_clients: usize,
    pub(crate) durability: Durability,
    election_timeout_millis: AtomicU64,
    pub(crate) started: Instant,
    pub(crate) tcp_port: u16,
    /// The end of the log at the start.
    last_at_start: Index,
    clients: AtomicUsize,
    busy: AtomicUsize,
    last_client: AtomicU64,
    waiting_bytes: AtomicUsize,
    strangers: AtomicU64,
    connections: Counts,
    /// Counted where somebody can look at it.
    pub(crate) traffic: Option<Traffic>,
    /// Follows entries, if somebody wants to look closely.
    pub(crate) spans: Option<Arc<EntrySpans>>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("node", &self.node).finish_non_exhaustive()
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// Says what the transport has counted so far.
pub(crate) type Counts = Box<dyn Fn() -> Stats + Send + Sync>;

/// What a server is made of.
pub(crate) struct Parts {
    pub(crate) node: NodeHandle,
    pub(crate) data: Shared,
    pub(crate) reader: Arc<dyn JournalReader>,
    /// The end of the log at the start.
    pub(crate) last: Index,
    /// What there was with other nodes.
    pub(crate) connections: Counts,
    /// What follows entries, if anything does.
    pub(crate) spans: Option<Arc<EntrySpans>>,
}

impl Server {
    /// Nobody is connected yet.
    pub(crate) fn new(parts: Parts, settings: &crate::settings::Settings) -> Self {
        Self {
            node: parts.node,
            data: parts.data,
            reader: parts.reader,
            cluster: settings.cluster,
            password: settings.password.clone(),
            max_clients: settings.max_clients,
            durability: settings.durability,
            election_timeout_millis: AtomicU64::new(millis(settings.election_timeout)),
            started: Instant::now(),
            tcp_port: settings.listen.port(),
            last_at_start: parts.last,
            connections: parts.connections,
            clients: AtomicUsize::new(0),
            busy: AtomicUsize::new(0),
            last_client: AtomicU64::new(0),
            waiting_bytes: AtomicUsize::new(0),
            strangers: AtomicU64::new(0),
            spans: parts.spans,
            traffic: settings.http.map(|_| Traffic::default()),
        }
    }

    /// This node, as it answers.
    pub(crate) fn me(&self) -> Me {
        let status = self.node.status();
        let outside = match status.role {
            RoleKind::Limbo => Some(Outside::Limbo),
            _ if status.removed => Some(Outside::Removed),
            _ => None,
        };
        Me { id: status.id, outside }
    }

    /// The election timeout, as it is set now.
    pub(crate) fn election_timeout(&self) -> Duration {
        Duration::from_millis(self.election_timeout_millis.load(Ordering::Relaxed))
    }

    pub(crate) fn set_election_timeout(&self, timeout: Duration) {
        self.election_timeout_millis.store(millis(timeout), Ordering::Relaxed);
    }

    /// Counts a client in, if there is room; its number.
    pub(crate) fn admit(self: &Arc<Self>) -> Option<(u64, Guest)> {
        if self.clients.fetch_add(1, Ordering::Relaxed) >= self.max_clients {
            self.clients.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        let id = self.last_client.fetch_add(1, Ordering::Relaxed) + 1;
        Some((id, Guest { server: Arc::clone(self), waiting_bytes: 0 }))
    }

    /// How many clients are connected.
    pub(crate) fn clients(&self) -> usize {
        self.clients.load(Ordering::Relaxed)
    }

    /// Input that waits on all connections together, in bytes.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.waiting_bytes.load(Ordering::Relaxed)
    }

    /// Counts a client with which there is no TLS. The first one is logged: their number is up to strangers.
    pub(crate) fn refuse(&self, address: &str, why: &dyn std::fmt::Display) {
        if self.strangers.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!(address, %why, "no TLS with a client; INFO counts those to come");
        }
    }

    /// What has become of connections with other nodes since the start.
    pub(crate) fn connections(&self) -> Stats {
        (self.connections)()
    }

    /// How many clients there were with which there was no TLS.
    pub(crate) fn refused(&self) -> u64 {
        self.strangers.load(Ordering::Relaxed)
    }

    /// Whether some client waits for a reply that is being made.
    pub(crate) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Relaxed) > 0
    }

    /// Begins a turn; it ends when the guard goes.
    pub(crate) fn turn(self: &Arc<Self>) -> Turn {
        self.busy.fetch_add(1, Ordering::Relaxed);
        Turn(Arc::clone(self))
    }

    /// Whether this node leads, as far as it knows.
    pub(crate) fn leads(&self) -> bool {
        self.node.status().role == RoleKind::Leader
    }

    /// Whether the data is at least what it was before the start. Until then even a stale read would miss
    /// what was acknowledged long ago.
    pub(crate) fn has_replayed(&self) -> bool {
        let status = self.node.status();
        // The end of the log that was here may have been replaced by a shorter one.
        status.applied_index >= self.last_at_start.min(status.last.index)
    }

    /// Whether a password opens this server.
    pub(crate) fn opens(&self, password: &[u8]) -> bool {
        self.password.as_ref().is_none_or(|expected| expected.is(password))
    }

    /// A node's name as Redis Cluster writes it: 40 hexadecimal digits.
    pub(crate) fn name_of(&self, node: NodeId) -> String {
        format!("{:024x}{:016x}", self.cluster.0 >> 32, node.0)
    }
}

/// Where a member's clients connect, as host and port.
pub(crate) fn client_address(member: &Member) -> (&str, u16) {
    let address = member.attributes.get(CLIENT).map_or("", String::as_str);
    let (host, port) = address.rsplit_once(':').unwrap_or((address, ""));
    (host.trim_matches(['[', ']']), port.parse().unwrap_or(0))
}

/// A turn of a connection that is under way.
pub(crate) struct Turn(Arc<Server>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A client that is counted, and its input that waits.
pub(crate) struct Guest {
    server: Arc<Server>,
    waiting_bytes: usize,
}

impl Guest {
    /// Says how much input waits now. `false` if that is too much for the whole server.
    pub(crate) fn waits(&mut self, bytes: usize) -> bool {
        // What is small anyway is not counted.
        let bytes = if bytes > 64 << 10 { bytes } else { 0 };
        let all = &self.server.waiting_bytes;
        let before = all.fetch_sub(self.waiting_bytes, Ordering::Relaxed) - self.waiting_bytes;
        all.fetch_add(bytes, Ordering::Relaxed);
        let grows = bytes > self.waiting_bytes;
        self.waiting_bytes = bytes;
        !(grows && before + bytes > WAITING_LIMIT_BYTES)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.server.waiting_bytes.fetch_sub(self.waiting_bytes, Ordering::Relaxed);
        self.server.clients.fetch_sub(1, Ordering::Relaxed);
    }
}
