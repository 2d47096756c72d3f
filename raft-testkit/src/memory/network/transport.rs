//! One node's end of the switchboard.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use raft_core::backend::{Inbox, Sent, SentDropped, Transport, TransportError};
use raft_core::ids::Identity;
use raft_core::membership::Member;
use raft_core::message::{Envelope, Lane};
use tokio::sync::watch;

use super::MemoryNetwork;
use super::board::{Endpoint, Listen, Tasks};

/// One node's end of a [`MemoryNetwork`].
///
/// # Examples
/// ```
/// # use std::sync::Arc;
/// # use raft_core::backend::{Sent, SentDropped, Transport, TransportError};
/// # use raft_core::ids::{ClusterId, GroupId, Identity, Incarnation, Index, NodeId, StoreId, Term};
/// # use raft_core::membership::Member;
/// # use raft_core::message::{Envelope, Heartbeat, Lane, Message, PeerEvent};
/// # use raft_testkit::memory::{MemoryNetwork, MemoryTransport, TestInbox};
/// # fn identity(node: u64) -> Identity {
/// #     let incarnation = Incarnation { number: 1, nonce: 7 };
/// #     let (cluster, group, store) = (ClusterId(1), GroupId(0), StoreId(node.into()));
/// #     Identity { cluster, group, node: NodeId(node), store, incarnation }
/// # }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let network = MemoryNetwork::new();
/// let (transport, inbox) = (network.transport(NodeId(1)), TestInbox::new());
/// transport.start(identity(1), inbox.inbox()).await?;
/// let again = transport.start(identity(1), inbox.inbox()).await;
/// assert_eq!(again, Err(TransportError::AlreadyStarted));
/// transport.shutdown().await;
/// assert_eq!(inbox.holders(), 1, "it keeps nothing of its node");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct MemoryTransport {
    network: MemoryNetwork,
    listen: Listen,
    running: Mutex<Option<u64>>,
}

impl MemoryTransport {
    pub(super) fn new(network: MemoryNetwork, listen: Listen) -> Self {
        Self { network, listen, running: Mutex::default() }
    }

    fn key(&self) -> Option<u64> {
        *self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Transport for MemoryTransport {
    async fn start(&self, local: Identity, inbox: Inbox) -> Result<(), TransportError> {
        let tasks = match &self.network.0.runtime {
            Some(runtime) => Tasks::Given(Arc::clone(runtime)),
            None => Tasks::Tokio(tokio::runtime::Handle::current()),
        };
        {
            let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
            let mut board = self.network.lock();
            if running.is_some_and(|key| board.endpoints.contains_key(&key)) {
                return Err(TransportError::AlreadyStarted);
            }
            if board.endpoints.values().any(|one| one.listen == self.listen) {
                let address = match &self.listen {
                    Listen::Any(node) => format!("of node {node}"),
                    Listen::Address(address) => address.clone(),
                };
                return Err(TransportError::AddressInUse { address });
            }
            let key = board.number();
            let endpoint = Endpoint {
                listen: self.listen.clone(),
                identity: local,
                inbox,
                tasks,
                targets: BTreeMap::new(),
                links: BTreeMap::new(),
                queue: VecDeque::new(),
                draining: false,
                stop: watch::Sender::new(false),
            };
            board.endpoints.insert(key, endpoint);
            *running = Some(key);
        }
        self.network.connect_all();
        Ok(())
    }

    fn send(&self, to: &Member, lane: Lane, envelope: Envelope) -> Sent {
        match self.key() {
            Some(key) => self.network.send(key, to, lane, envelope),
            None => Sent::Dropped(SentDropped::Stopped),
        }
    }

    fn members(&self, members: &[Member]) {
        if let Some(key) = self.key() {
            self.network.members(key, members);
        }
    }

    async fn shutdown(&self) {
        let stop = self.key().and_then(|key| self.network.stop(key));
        if let Some(stop) = stop {
            // Until no task of this node is left.
            stop.closed().await;
        }
    }
}
