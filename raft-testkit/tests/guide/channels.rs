use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use raft_core::backend::{Delivery, Inbox, Refusal, Sent, SentDropped, Transport, TransportError};
use raft_core::ids::{Identity, NodeId};
use raft_core::membership::Member;
use raft_core::message::{Envelope, Lane, PeerEvent};
use tokio::sync::mpsc::{self, Receiver, Sender, error::TrySendError};
use tokio::task::{AbortHandle, JoinSet};

/// Who listens where: what a network would be.
#[derive(Clone, Default)]
pub struct Exchange(Arc<Mutex<BTreeMap<String, Arc<Office>>>>);

/// A node that runs. Its tasks end with it, whoever has started them.
struct Office {
    local: Identity,
    inbox: Inbox,
    peers: Mutex<BTreeMap<NodeId, Peer>>,
    /// Who delivers what comes from a peer: at most one of each lane (T1).
    incoming: Mutex<BTreeMap<NodeId, [AbortHandle; 2]>>,
    tasks: Mutex<Option<JoinSet<()>>>,
}

/// A peer that this node sends to, and its lanes while it is connected.
struct Peer {
    address: String,
    lanes: Arc<Mutex<Option<[Sender<Envelope>; 2]>>>,
    task: Option<AbortHandle>,
}

/// One node's transport over channels.
pub struct Channels {
    pub exchange: Exchange,
    pub address: String,
    pub office: Mutex<Option<Arc<Office>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Exchange {
    /// A transport that listens at this address once it is started.
    pub fn transport(&self, address: &str) -> Arc<Channels> {
        let (exchange, address) = (self.clone(), address.to_owned());
        Arc::new(Channels { exchange, address, office: Mutex::default() })
    }
}

impl Office {
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> Option<AbortHandle> {
        lock(&self.tasks).as_mut().map(|tasks| tasks.spawn(task))
    }

    /// Ends all tasks; returns when they have ended.
    async fn close(&self) {
        let tasks = lock(&self.tasks).take();
        lock(&self.peers).clear();
        if let Some(mut tasks) = tasks {
            tasks.shutdown().await;
        }
    }

    /// Whether this node may talk to that one (T6): what a transport sees for itself, then what the node
    /// remembers.
    async fn admits(&self, other: Identity, dialled: NodeId, named: NodeId) -> Result<(), Refusal> {
        let (ours, theirs) = (self.local.cluster, other.cluster);
        if ours != theirs {
            return Err(Refusal::WrongCluster { ours, theirs });
        }
        if self.local.group != other.group {
            return Err(Refusal::WrongGroup { ours: self.local.group, theirs: other.group });
        }
        if dialled != named {
            return Err(Refusal::WrongNode { expected: dialled, claimed: named });
        }
        self.inbox.admit(other).await
    }

    /// The handshake: both ask, and who refuses tells the other. The acceptor then has a task for each
    /// lane, in place of those of an older connection (T1).
    async fn connect(&self, peer: NodeId, there: &Arc<Self>) -> Option<[Sender<Envelope>; 2]> {
        if let Err(why) = there.admits(self.local, peer, there.local.node).await {
            self.inbox.refused(peer, why);
            return None;
        }
        if let Err(why) = self.admits(there.local, peer, there.local.node).await {
            there.inbox.refused(self.local.node, why);
            return None;
        }
        let ((control, from_control), (bulk, from_bulk)) = (mpsc::channel(1024), mpsc::channel(64));
        let mut incoming = lock(&there.incoming);
        if let Some(old) = incoming.remove(&self.local.node) {
            old.iter().for_each(AbortHandle::abort);
        }
        let from = self.local.node;
        let control_task = there.spawn(deliver(from_control, Arc::clone(there), from))?;
        let bulk_task = there.spawn(deliver(from_bulk, Arc::clone(there), from))?;
        incoming.insert(from, [control_task, bulk_task]);
        Some([control, bulk])
    }

    /// Keeps a peer connected, for ever (T4), and reports what comes and goes (T5).
    async fn keep_connected(
        self: Arc<Self>,
        exchange: Exchange,
        peer: NodeId,
        address: String,
        lanes: Arc<Mutex<Option<[Sender<Envelope>; 2]>>>,
    ) {
        let mut wait = Duration::from_millis(10);
        loop {
            let there = lock(&exchange.0).get(&address).cloned();
            let connected = match &there {
                Some(there) => self.connect(peer, there).await,
                None => None,
            };
            drop(there);
            if let Some([control, bulk]) = connected {
                *lock(&lanes) = Some([control.clone(), bulk.clone()]);
                self.inbox.peer(peer, PeerEvent::Up);
                tokio::select! {
                    () = control.closed() => {}
                    () = bulk.closed() => {}
                }
                *lock(&lanes) = None;
                let is_there = lock(&exchange.0).contains_key(&address);
                self.inbox.peer(peer, if is_there { PeerEvent::Down } else { PeerEvent::Gone });
                wait = Duration::from_millis(10);
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(Duration::from_secs(1));
        }
    }
}

/// Delivers what comes over one lane. A node that has no room for bulk is asked again (T3).
async fn deliver(mut lane: Receiver<Envelope>, to: Arc<Office>, from: NodeId) {
    while let Some(envelope) = lane.recv().await {
        if envelope.from != from || envelope.to != to.local.node {
            return;
        }
        loop {
            match to.inbox.deliver(envelope.clone()) {
                Delivery::Accepted => break,
                Delivery::Full => to.inbox.ready().await,
                Delivery::Closed => return,
            }
        }
    }
}

#[async_trait]
impl Transport for Channels {
    async fn start(&self, local: Identity, inbox: Inbox) -> Result<(), TransportError> {
        let mut running = lock(&self.office);
        if running.is_some() {
            return Err(TransportError::AlreadyStarted);
        }
        let mut exchange = lock(&self.exchange.0);
        if exchange.contains_key(&self.address) {
            return Err(TransportError::AddressInUse { address: self.address.clone() });
        }
        let tasks = Mutex::new(Some(JoinSet::new()));
        let (peers, incoming) = (Mutex::default(), Mutex::default());
        let office = Arc::new(Office { local, inbox, peers, incoming, tasks });
        exchange.insert(self.address.clone(), Arc::clone(&office));
        *running = Some(office);
        Ok(())
    }

    fn send(&self, to: &Member, lane: Lane, envelope: Envelope) -> Sent {
        let running = lock(&self.office);
        let Some(office) = &*running else { return Sent::Dropped(SentDropped::Stopped) };
        let peers = lock(&office.peers);
        let lanes = peers.get(&to.id).map(|peer| lock(&peer.lanes));
        let Some([control, bulk]) = lanes.as_ref().and_then(|lanes| lanes.as_ref()) else {
            return Sent::Dropped(SentDropped::NotConnected);
        };
        // Never waits (T4): what does not fit is dropped, and Raft sends it again.
        match (if lane == Lane::Bulk { bulk } else { control }).try_send(envelope) {
            Ok(()) => Sent::Queued,
            Err(TrySendError::Full(_)) => Sent::Dropped(SentDropped::QueueFull),
            Err(TrySendError::Closed(_)) => Sent::Dropped(SentDropped::NotConnected),
        }
    }

    fn members(&self, members: &[Member]) {
        let Some(office) = lock(&self.office).clone() else { return };
        let mut peers = lock(&office.peers);
        // Who is a member no more, or somewhere else (T10), is left.
        peers.retain(|id, peer| {
            let stays = members.iter().any(|member| member.id == *id && member.address == peer.address);
            if !stays {
                peer.task.iter().for_each(AbortHandle::abort);
            }
            stays
        });
        for member in members.iter().filter(|member| member.id != office.local.node) {
            peers.entry(member.id).or_insert_with(|| {
                let (address, lanes) = (member.address.clone(), Arc::default());
                let (exchange, shared) = (self.exchange.clone(), Arc::clone(&lanes));
                let keep = Arc::clone(&office).keep_connected(exchange, member.id, address.clone(), shared);
                Peer { address, lanes, task: office.spawn(keep) }
            });
        }
    }

    async fn shutdown(&self) {
        let office = lock(&self.office).take();
        lock(&self.exchange.0)
            .retain(|_, there| office.as_ref().is_none_or(|mine| !Arc::ptr_eq(mine, there)));
        if let Some(office) = office {
            office.close().await;
        }
    }
}
