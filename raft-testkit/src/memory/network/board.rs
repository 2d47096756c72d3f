//! The state of the switchboard: who is there, who is connected to whom, what waits.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::Future;
use std::sync::Arc;

use raft_core::backend::{Inbox, Refusal, Runtime};
use raft_core::ids::{Identity, NodeId};
use raft_core::message::{Envelope, Message, PeerEvent};
use tokio::sync::watch;

#[derive(Default)]
pub(super) struct Board {
    pub(super) endpoints: BTreeMap<u64, Endpoint>,
    pub(super) cuts: BTreeSet<(NodeId, NodeId)>,
    pub(super) numbers: u64,
}

/// A started transport.
pub(super) struct Endpoint {
    pub(super) listen: Listen,
    pub(super) identity: Identity,
    pub(super) inbox: Inbox,
    pub(super) tasks: Tasks,
    /// Whom it wants to be connected to, and where they are.
    pub(super) targets: BTreeMap<NodeId, String>,
    pub(super) links: BTreeMap<NodeId, Link>,
    /// What is to be told to the inbox and can always be: events and control messages.
    pub(super) queue: VecDeque<Item>,
    pub(super) draining: bool,
    pub(super) stop: watch::Sender<bool>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Listen {
    /// Whatever address its member record has.
    Any(NodeId),
    Address(String),
}

/// One direction of a connection, at its sending end.
pub(super) struct Link {
    pub(super) to: u64,
    /// The number of the connection, the same at both ends.
    pub(super) connection: u64,
    pub(super) up: bool,
    pub(super) bulk: VecDeque<Envelope>,
    pub(super) bulk_bytes: u64,
    pub(super) pumping: bool,
}

pub(super) enum Item {
    Message(Envelope),
    Peer(NodeId, PeerEvent),
    Refused(NodeId, Refusal),
}

/// Where tasks run.
#[derive(Clone)]
pub(super) enum Tasks {
    Tokio(tokio::runtime::Handle),
    Given(Arc<dyn Runtime>),
}

impl Tasks {
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        match self {
            Self::Tokio(handle) => drop(handle.spawn(task)),
            Self::Given(runtime) => runtime.spawn("memory-network", Box::pin(task)),
        }
    }
}

impl Board {
    pub(super) fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    pub(super) fn find(&self, node: NodeId) -> Option<u64> {
        self.endpoints.iter().find(|(_, endpoint)| endpoint.identity.node == node).map(|(key, _)| *key)
    }

    /// Who listens where this node wants `node` to be.
    pub(super) fn look_up(&self, address: &str, node: NodeId) -> Option<u64> {
        let at = |wanted: &Listen| self.endpoints.iter().find(|(_, one)| one.listen == *wanted);
        at(&Listen::Address(address.to_owned())).or_else(|| at(&Listen::Any(node))).map(|(key, _)| *key)
    }

    pub(super) fn is_cut(&self, a: NodeId, b: NodeId) -> bool {
        self.cuts.contains(&(a, b)) || self.cuts.contains(&(b, a))
    }

    pub(super) fn tell(&mut self, key: u64, item: Item) {
        if let Some(endpoint) = self.endpoints.get_mut(&key) {
            endpoint.queue.push_back(item);
        }
    }

    pub(super) fn link(&mut self, from: u64, to: NodeId, connection: u64) -> Option<&mut Link> {
        let link = self.endpoints.get_mut(&from)?.links.get_mut(&to)?;
        (link.connection == connection).then_some(link)
    }

    /// Ends the connection of two nodes; says who has to be told, and whether it was up.
    pub(super) fn unlink(&mut self, key: u64, node: NodeId) -> Option<(u64, bool)> {
        let endpoint = self.endpoints.get_mut(&key)?;
        let (own, link) = (endpoint.identity.node, endpoint.links.remove(&node)?);
        if let Some(other) = self.endpoints.get_mut(&link.to) {
            other.links.remove(&own);
        }
        Some((link.to, link.up))
    }

    /// The same, reported to both as a loss.
    pub(super) fn lose(&mut self, key: u64, node: NodeId) -> Vec<u64> {
        let Some(own) = self.endpoints.get(&key).map(|endpoint| endpoint.identity.node) else {
            return Vec::new();
        };
        match self.unlink(key, node) {
            Some((other, true)) => {
                self.tell(key, Item::Peer(node, PeerEvent::Down));
                self.tell(other, Item::Peer(own, PeerEvent::Down));
                vec![key, other]
            }
            Some((_, false)) | None => Vec::new(),
        }
    }
}

/// Why two nodes do not talk, whatever their inboxes say (T6).
pub(super) fn mismatch(dialler: Identity, wanted: NodeId, acceptor: Identity) -> Option<Refusal> {
    if dialler.cluster != acceptor.cluster {
        let (ours, theirs) = (acceptor.cluster, dialler.cluster);
        return Some(Refusal::WrongCluster { ours, theirs });
    }
    if dialler.group != acceptor.group {
        return Some(Refusal::WrongGroup { ours: acceptor.group, theirs: dialler.group });
    }
    (wanted != acceptor.node).then_some(Refusal::WrongNode { expected: wanted, claimed: acceptor.node })
}

pub(super) fn bulk_bytes(envelope: &Envelope) -> u64 {
    match &envelope.message {
        Message::Append(append) => append.entries.iter().map(|entry| entry.cost_bytes()).sum(),
        Message::Snapshot(chunk) => chunk.data.len() as u64,
        _ => 0,
    }
}
