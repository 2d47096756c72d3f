//! A switchboard in place of a network: one [`Transport`](raft_core::backend::Transport) per node, and faults
//! between them.
//!
//! `send` hands a message to the receiver's inbox in the same call; there is no delay and no task, so
//! that the order of everything follows from the order of the calls. A task is started for two things
//! only: a handshake (an inbox may take its time to admit), and a receiver whose bulk lane was full.

mod board;
mod connect;
mod deliver;
mod faults;
mod transport;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use raft_core::backend::Runtime;
use raft_core::ids::NodeId;
use raft_core::message::PeerEvent;
use tokio::sync::watch;

use self::board::{Board, Item, Listen};
pub use self::transport::MemoryTransport;

/// The switchboard. Cheap to clone; every clone is the same network.
///
/// Connections are made where a node knows a member, at once, and again as soon as a fault is over.
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
/// # fn member(node: u64) -> Member {
/// #     Member::new(NodeId(node), "anywhere")
/// # }
/// # /// A transport that knows the others, and what it tells.
/// # async fn start(network: &MemoryNetwork, node: u64) -> (Arc<MemoryTransport>, TestInbox) {
/// #     let (transport, inbox) = (network.transport(NodeId(node)), TestInbox::new());
/// #     transport.start(identity(node), inbox.inbox()).await.unwrap();
/// #     let others: Vec<Member> = (1..=3).filter(|other| *other != node).map(member).collect();
/// #     transport.members(&others);
/// #     (transport, inbox)
/// # }
/// # fn send(transport: &MemoryTransport, from: u64, to: u64) -> Sent {
/// #     let message = Message::Heartbeat(Heartbeat { commit: Index(9), round: 1 });
/// #     let (from, group, term) = (NodeId(from), GroupId(0), Term(3));
/// #     let envelope = Envelope { group, from, to: NodeId(to), term, message };
/// #     transport.send(&member(to), Lane::Control, envelope)
/// # }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let network = MemoryNetwork::new();
/// let (one, here) = start(&network, 1).await;
/// let (_two, there) = start(&network, 2).await;
/// here.until_peer(NodeId(2), PeerEvent::Up, 1).await;
/// assert_eq!(send(&one, 1, 2), Sent::Queued);
/// assert_eq!(there.until_messages(1).await[0].from, NodeId(1));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct MemoryNetwork(Arc<Shared>);

impl core::fmt::Debug for MemoryNetwork {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("MemoryNetwork")
    }
}

#[derive(Default)]
struct Shared {
    board: Mutex<Board>,
    runtime: Option<Arc<dyn Runtime>>,
}

impl MemoryNetwork {
    /// A network without faults. Its tasks run on the tokio runtime that a transport is started in.
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
    /// # fn member(node: u64) -> Member {
    /// #     Member::new(NodeId(node), "anywhere")
    /// # }
    /// # /// A transport that knows the others, and what it tells.
    /// # async fn start(network: &MemoryNetwork, node: u64) -> (Arc<MemoryTransport>, TestInbox) {
    /// #     let (transport, inbox) = (network.transport(NodeId(node)), TestInbox::new());
    /// #     transport.start(identity(node), inbox.inbox()).await.unwrap();
    /// #     let others: Vec<Member> = (1..=3).filter(|other| *other != node).map(member).collect();
    /// #     transport.members(&others);
    /// #     (transport, inbox)
    /// # }
    /// # fn send(transport: &MemoryTransport, from: u64, to: u64) -> Sent {
    /// #     let message = Message::Heartbeat(Heartbeat { commit: Index(9), round: 1 });
    /// #     let (from, group, term) = (NodeId(from), GroupId(0), Term(3));
    /// #     let envelope = Envelope { group, from, to: NodeId(to), term, message };
    /// #     transport.send(&member(to), Lane::Control, envelope)
    /// # }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// // Two networks know nothing of each other.
    /// let (one, here) = start(&MemoryNetwork::new(), 1).await;
    /// let (_two, _) = start(&MemoryNetwork::new(), 2).await;
    /// assert_eq!(send(&one, 1, 2), Sent::Dropped(SentDropped::NotConnected));
    /// assert!(here.arrivals().is_empty());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same, with tasks run by `runtime`, so that a run repeats.
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
    /// # fn member(node: u64) -> Member {
    /// #     Member::new(NodeId(node), "anywhere")
    /// # }
    /// # /// A transport that knows the others, and what it tells.
    /// # async fn start(network: &MemoryNetwork, node: u64) -> (Arc<MemoryTransport>, TestInbox) {
    /// #     let (transport, inbox) = (network.transport(NodeId(node)), TestInbox::new());
    /// #     transport.start(identity(node), inbox.inbox()).await.unwrap();
    /// #     let others: Vec<Member> = (1..=3).filter(|other| *other != node).map(member).collect();
    /// #     transport.members(&others);
    /// #     (transport, inbox)
    /// # }
    /// # use std::pin::Pin;
    /// # use std::sync::atomic::{AtomicU64, Ordering};
    /// # use raft_core::backend::{Runtime, Timer};
    /// # use raft_core::node::TokioRuntime;
    /// # use raft_core::time::Time;
    /// /// Counts the tasks that are spawned.
    /// struct Counting(TokioRuntime, AtomicU64);
    ///
    /// impl Runtime for Counting {
    /// #     fn now(&self) -> Time {
    /// #         self.0.now()
    /// #     }
    /// #     fn timer(&self) -> Pin<Box<dyn Timer>> {
    /// #         self.0.timer()
    /// #     }
    /// #     fn seed(&self) -> u64 {
    /// #         self.0.seed()
    /// #     }
    ///     fn spawn(&self, name: &'static str, task: Pin<Box<dyn Future<Output = ()> + Send>>) {
    ///         self.1.fetch_add(1, Ordering::Relaxed);
    ///         self.0.spawn(name, task);
    ///     }
    ///     // ...
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let runtime = Arc::new(Counting(TokioRuntime::current(), AtomicU64::new(0)));
    /// let network = MemoryNetwork::with_runtime(runtime.clone());
    /// let (_one, here) = start(&network, 1).await;
    /// let (_two, _) = start(&network, 2).await;
    /// here.until_peer(NodeId(2), PeerEvent::Up, 1).await;
    /// // Handshakes are tasks of the runtime that was given.
    /// assert!(runtime.1.load(Ordering::Relaxed) > 0);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_runtime(runtime: Arc<dyn Runtime>) -> Self {
        Self(Arc::new(Shared { board: Mutex::default(), runtime: Some(runtime) }))
    }

    /// A transport for this node, not started. It is found under any address.
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
    /// let (one, two) = (network.transport(NodeId(1)), network.transport(NodeId(2)));
    /// let (here, there) = (TestInbox::new(), TestInbox::new());
    /// one.start(identity(1), here.inbox()).await?;
    /// two.start(identity(2), there.inbox()).await?;
    /// // Found wherever its member record says that it is.
    /// one.members(&[Member::new(NodeId(2), "10.0.0.7:9000")]);
    /// here.until_peer(NodeId(2), PeerEvent::Up, 1).await;
    /// assert_eq!(there.asked(), [identity(1)]);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn transport(&self, node: NodeId) -> Arc<MemoryTransport> {
        self.make(Listen::Any(node))
    }

    /// A transport that is found under this address only.
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
    /// let (one, two) = (network.transport_at("a"), network.transport_at("b"));
    /// let (here, there) = (TestInbox::new(), TestInbox::new());
    /// one.start(identity(1), here.inbox()).await?;
    /// two.start(identity(2), there.inbox()).await?;
    /// one.members(&[Member::new(NodeId(2), "c")]);
    /// assert!(there.asked().is_empty(), "nobody listens at c");
    /// one.members(&[Member::new(NodeId(2), "b")]);
    /// here.until_peer(NodeId(2), PeerEvent::Up, 1).await;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn transport_at(&self, address: impl Into<String>) -> Arc<MemoryTransport> {
        self.make(Listen::Address(address.into()))
    }

    fn make(&self, listen: Listen) -> Arc<MemoryTransport> {
        Arc::new(MemoryTransport::new(self.clone(), listen))
    }

    fn lock(&self) -> MutexGuard<'_, Board> {
        self.0.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stop(&self, key: u64) -> Option<watch::Sender<bool>> {
        let mut told = Vec::new();
        let stop = {
            let mut board = self.lock();
            let endpoint = board.endpoints.get(&key)?;
            let own = endpoint.identity.node;
            for node in endpoint.links.keys().copied().collect::<Vec<_>>() {
                if let Some((other, true)) = board.unlink(key, node) {
                    board.tell(other, Item::Peer(own, PeerEvent::Gone));
                    told.push(other);
                }
            }
            board.endpoints.remove(&key)?.stop
        };
        stop.send_replace(true);
        self.drain_all(told);
        Some(stop)
    }
}
