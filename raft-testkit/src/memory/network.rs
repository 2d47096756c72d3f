//! A switchboard in place of a network: one [`Transport`] per node, and faults between them.
//!
//! `send` hands a message to the receiver's inbox in the same call; there is no delay and no task, so
//! that the order of everything follows from the order of the calls. A task is started for two things
//! only: a handshake (an inbox may take its time to admit), and a receiver whose bulk lane was full.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use raft_core::backend::{Delivery, Inbox, Refusal, Runtime, Sent, SentDropped, Transport, TransportError};
use raft_core::ids::{Identity, NodeId};
use raft_core::membership::Member;
use raft_core::message::{Envelope, Lane, PeerEvent};
use tokio::sync::watch;

use super::board::{Board, Endpoint, Item, Link, Listen, Tasks, bulk_bytes, mismatch};

/// Messages that may wait for one receiver, in each lane of each connection.
const QUEUE_LIMIT: usize = 1024;
/// Bytes of bulk that may wait for one receiver; one message may exceed it.
const QUEUE_LIMIT_BYTES: u64 = 64 << 20;

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
        Arc::new(MemoryTransport { network: self.clone(), listen, running: Mutex::default() })
    }

    /// What `from` sends to `to` is lost from now on, silently: the connection stays up. No new one is
    /// made between the two.
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
    /// let (two, there) = start(&network, 2).await;
    /// here.until_peer(NodeId(2), PeerEvent::Up, 1).await;
    /// network.cut_one_way(NodeId(1), NodeId(2));
    /// // The sender cannot tell; the other direction is as it was.
    /// assert_eq!(send(&one, 1, 2), Sent::Queued);
    /// assert_eq!(send(&two, 2, 1), Sent::Queued);
    /// assert_eq!((here.until_messages(1).await.len(), there.messages().len()), (1, 0));
    /// # Ok(())
    /// # }
    /// ```
    pub fn cut_one_way(&self, from: NodeId, to: NodeId) {
        self.lock().cuts.insert((from, to));
    }

    /// The same in both directions.
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
    /// network.cut(NodeId(1), NodeId(2));
    /// assert_eq!(send(&one, 1, 2), Sent::Queued);
    /// assert!(there.messages().is_empty());
    /// assert_eq!(here.arrivals().len(), 1, "nobody is told of a cut");
    /// # Ok(())
    /// # }
    /// ```
    pub fn cut(&self, a: NodeId, b: NodeId) {
        self.cut_one_way(a, b);
        self.cut_one_way(b, a);
    }

    /// Cuts a node off from all that are running.
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
    /// let (two, there) = start(&network, 2).await;
    /// let (_three, third) = start(&network, 3).await;
    /// there.until_peer(NodeId(3), PeerEvent::Up, 1).await;
    /// here.until_peer(NodeId(3), PeerEvent::Up, 1).await;
    /// network.isolate(NodeId(1));
    /// assert_eq!((send(&one, 1, 3), send(&two, 2, 3)), (Sent::Queued, Sent::Queued));
    /// assert_eq!(third.until_messages(1).await[0].from, NodeId(2));
    /// # Ok(())
    /// # }
    /// ```
    pub fn isolate(&self, node: NodeId) {
        let others: Vec<NodeId> = self.lock().endpoints.values().map(|one| one.identity.node).collect();
        for other in others.into_iter().filter(|other| *other != node) {
            self.cut(node, other);
        }
    }

    /// Ends both cuts between two nodes.
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
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let network = MemoryNetwork::new();
    /// network.cut(NodeId(1), NodeId(2));
    /// let (_one, here) = start(&network, 1).await;
    /// let (_two, _) = start(&network, 2).await;
    /// tokio::task::yield_now().await;
    /// assert!(here.arrivals().is_empty(), "over a cut nobody connects");
    /// network.heal(NodeId(1), NodeId(2));
    /// here.until_peer(NodeId(2), PeerEvent::Up, 1).await;
    /// # Ok(())
    /// # }
    /// ```
    pub fn heal(&self, a: NodeId, b: NodeId) {
        let mut board = self.lock();
        board.cuts.remove(&(a, b));
        board.cuts.remove(&(b, a));
        drop(board);
        self.connect_all();
    }

    /// Ends all cuts.
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
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let network = MemoryNetwork::new();
    /// [2, 3].iter().for_each(|other| network.cut(NodeId(1), NodeId(*other)));
    /// let (_one, here) = start(&network, 1).await;
    /// let (_two, _) = start(&network, 2).await;
    /// let (_three, _) = start(&network, 3).await;
    /// network.heal_all();
    /// here.until_peer(NodeId(2), PeerEvent::Up, 1).await;
    /// here.until_peer(NodeId(3), PeerEvent::Up, 1).await;
    /// assert_eq!(here.asked().len(), 2);
    /// # Ok(())
    /// # }
    /// ```
    pub fn heal_all(&self) {
        self.lock().cuts.clear();
        self.connect_all();
    }

    /// Breaks the connection of two nodes, which is reported as `Down` to both; they connect again
    /// unless they are cut.
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
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let network = MemoryNetwork::new();
    /// let (_one, here) = start(&network, 1).await;
    /// let (_two, _) = start(&network, 2).await;
    /// here.until_peer(NodeId(2), PeerEvent::Up, 1).await;
    /// network.disconnect(NodeId(1), NodeId(2));
    /// // `Down` says that the connection is gone, and not that the process is.
    /// here.until_peer(NodeId(2), PeerEvent::Down, 1).await;
    /// here.until_peer(NodeId(2), PeerEvent::Up, 2).await;
    /// assert_eq!(here.arrivals().len(), 3);
    /// # Ok(())
    /// # }
    /// ```
    pub fn disconnect(&self, a: NodeId, b: NodeId) {
        let told = {
            let mut board = self.lock();
            board.find(a).map_or_else(Vec::new, |key| board.lose(key, b))
        };
        self.drain_all(told);
        self.connect_all();
    }

    /// The process of a node is gone: its peers are told so. Its transport sends and delivers nothing
    /// any more; a new one may be started.
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
    /// let (_one, here) = start(&network, 1).await;
    /// let (two, _) = start(&network, 2).await;
    /// here.until_peer(NodeId(2), PeerEvent::Up, 1).await;
    /// network.kill(NodeId(2));
    /// here.until_peer(NodeId(2), PeerEvent::Gone, 1).await;
    /// assert_eq!(send(&two, 2, 1), Sent::Dropped(SentDropped::Stopped));
    /// # Ok(())
    /// # }
    /// ```
    pub fn kill(&self, node: NodeId) {
        let key = self.lock().find(node);
        if let Some(key) = key {
            drop(self.stop(key));
        }
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

    fn drain_all(&self, keys: Vec<u64>) {
        for key in keys {
            self.drain(key);
        }
    }

    /// Hands what waits to the inbox, in order. If another call does so already, that one goes on.
    fn drain(&self, key: u64) {
        let mut mine = false;
        loop {
            let (item, inbox) = {
                let mut board = self.lock();
                let Some(endpoint) = board.endpoints.get_mut(&key) else { return };
                if endpoint.draining && !mine {
                    return;
                }
                mine = true;
                let item = endpoint.queue.pop_front();
                endpoint.draining = item.is_some();
                let Some(item) = item else { return };
                (item, endpoint.inbox.clone())
            };
            match item {
                Item::Peer(node, event) => inbox.peer(node, event),
                Item::Refused(by, why) => inbox.refused(by, why),
                Item::Message(envelope) => {
                    if inbox.deliver(envelope) == Delivery::Closed {
                        drop(self.stop(key));
                    }
                }
            }
        }
    }

    /// Hands bulk of one connection to its receiver until there is none or the receiver is full.
    fn pump(&self, from: u64, to: NodeId, connection: u64) {
        loop {
            let (envelope, receiver, inbox) = {
                let mut board = self.lock();
                let Some(link) = board.link(from, to, connection) else { return };
                let Some(envelope) = link.bulk.pop_front() else {
                    link.pumping = false;
                    return;
                };
                let receiver = link.to;
                let Some(endpoint) = board.endpoints.get(&receiver) else { return };
                (envelope, receiver, endpoint.inbox.clone())
            };
            let bytes = bulk_bytes(&envelope);
            match inbox.deliver(envelope.clone()) {
                Delivery::Accepted => {
                    if let Some(link) = self.lock().link(from, to, connection) {
                        link.bulk_bytes = link.bulk_bytes.saturating_sub(bytes);
                    }
                }
                Delivery::Full => return self.pump_later(envelope, (from, to, connection), receiver),
                Delivery::Closed => return drop(self.stop(receiver)),
            }
        }
    }

    fn pump_later(&self, envelope: Envelope, (from, to, connection): (u64, NodeId, u64), receiver: u64) {
        let mut board = self.lock();
        let Some(link) = board.link(from, to, connection) else { return };
        link.bulk.push_front(envelope);
        let (Some(sender), Some(endpoint)) = (board.endpoints.get(&from), board.endpoints.get(&receiver))
        else {
            return;
        };
        let (mut sender_stops, tasks) = (sender.stop.subscribe(), sender.tasks.clone());
        let (mut receiver_stops, inbox) = (endpoint.stop.subscribe(), endpoint.inbox.clone());
        drop(board);
        let network = self.clone();
        tasks.spawn(async move {
            tokio::select! {
                biased;
                _ = sender_stops.wait_for(|stopped| *stopped) => {}
                _ = receiver_stops.wait_for(|stopped| *stopped) => {}
                () = inbox.ready() => network.pump(from, to, connection),
            }
        });
    }

    fn connect_all(&self) {
        let wanted: Vec<(u64, NodeId)> = {
            let board = self.lock();
            let each = |(key, one): (&u64, &Endpoint)| {
                let key = *key;
                one.targets.keys().map(|node| (key, *node)).collect::<Vec<_>>()
            };
            board.endpoints.iter().flat_map(each).collect()
        };
        for (key, node) in wanted {
            self.connect(key, node);
        }
    }

    /// Begins a handshake, unless there is a connection, or none is possible.
    fn connect(&self, key: u64, node: NodeId) {
        let mut board = self.lock();
        let Some(endpoint) = board.endpoints.get(&key) else { return };
        let (dialler, own) = (endpoint.identity, endpoint.identity.node);
        let Some(address) = endpoint.targets.get(&node) else { return };
        if endpoint.links.contains_key(&node) || board.is_cut(own, node) {
            return;
        }
        let Some(to) = board.look_up(address, node).filter(|to| *to != key) else { return };
        let Some(other) = board.endpoints.get(&to) else { return };
        let acceptor = other.identity;
        if other.links.contains_key(&own) {
            return;
        }
        if let Some(why) = mismatch(dialler, node, acceptor) {
            board.tell(key, Item::Refused(acceptor.node, why));
            drop(board);
            return self.drain(key);
        }
        let mut stops = [endpoint.stop.subscribe(), other.stop.subscribe()];
        let inboxes = (endpoint.inbox.clone(), other.inbox.clone());
        let tasks = endpoint.tasks.clone();
        let connection = board.number();
        let link =
            |to| Link { to, connection, up: false, bulk: VecDeque::new(), bulk_bytes: 0, pumping: false };
        for (at, peer, to) in [(key, node, to), (to, own, key)] {
            if let Some(endpoint) = board.endpoints.get_mut(&at) {
                endpoint.links.insert(peer, link(to));
            }
        }
        drop(board);
        let network = self.clone();
        tasks.spawn(async move {
            let [mine, theirs] = &mut stops;
            let handshake = async {
                inboxes.1.admit(dialler).await.map_err(|why| (key, node, why))?;
                inboxes.0.admit(acceptor).await.map_err(|why| (to, own, why))
            };
            tokio::select! {
                biased;
                _ = mine.wait_for(|stopped| *stopped) => {}
                _ = theirs.wait_for(|stopped| *stopped) => {}
                done = handshake => network.connected((key, own), (to, node), connection, done),
            }
        });
    }

    /// The handshake is over: the connection is up, or one of the two is refused.
    fn connected(
        &self,
        one: (u64, NodeId),
        two: (u64, NodeId),
        connection: u64,
        result: Result<(), (u64, NodeId, Refusal)>,
    ) {
        let mut board = self.lock();
        if board.link(one.0, two.1, connection).is_none() {
            return;
        }
        match result {
            Ok(()) => {
                for ((at, _), (_, peer)) in [(one, two), (two, one)] {
                    if let Some(link) = board.link(at, peer, connection) {
                        link.up = true;
                    }
                    board.tell(at, Item::Peer(peer, PeerEvent::Up));
                }
            }
            Err((refused, by, why)) => {
                board.unlink(one.0, two.1);
                board.tell(refused, Item::Refused(by, why));
            }
        }
        drop(board);
        self.drain(one.0);
        self.drain(two.0);
    }

    fn send(&self, key: u64, to: &Member, lane: Lane, envelope: Envelope) -> Sent {
        let mut board = self.lock();
        let cuts = board.cuts.contains(&(envelope.from, to.id));
        let Some(endpoint) = board.endpoints.get_mut(&key) else {
            return Sent::Dropped(SentDropped::Stopped);
        };
        // Without an address it is an answer to somebody who is no member: by the way that it has come.
        if !to.address.is_empty() && endpoint.targets.get(&to.id) != Some(&to.address) {
            drop(board);
            self.retarget(key, to);
            return Sent::Dropped(SentDropped::NotConnected);
        }
        let own = endpoint.identity.node;
        let Some(link) = endpoint.links.get_mut(&to.id) else {
            drop(board);
            self.connect(key, to.id);
            return Sent::Dropped(SentDropped::NotConnected);
        };
        if !link.up {
            return Sent::Dropped(SentDropped::NotConnected);
        }
        if cuts || envelope.from != own || envelope.to != to.id {
            // Lost on the way, or turned away by the receiver: the sender cannot tell.
            return Sent::Queued;
        }
        let (receiver, connection) = (link.to, link.connection);
        if lane == Lane::Bulk {
            let bytes = bulk_bytes(&envelope);
            let room = link.bulk_bytes == 0 || link.bulk_bytes + bytes <= QUEUE_LIMIT_BYTES;
            if link.bulk.len() >= QUEUE_LIMIT || !room {
                return Sent::Dropped(SentDropped::QueueFull);
            }
            link.bulk.push_back(envelope);
            link.bulk_bytes += bytes;
            let idle = !std::mem::replace(&mut link.pumping, true);
            drop(board);
            if idle {
                self.pump(key, to.id, connection);
            }
            return Sent::Queued;
        }
        let Some(other) = board.endpoints.get_mut(&receiver) else {
            return Sent::Dropped(SentDropped::NotConnected);
        };
        if other.queue.len() >= QUEUE_LIMIT {
            return Sent::Dropped(SentDropped::QueueFull);
        }
        other.queue.push_back(Item::Message(envelope));
        drop(board);
        self.drain(receiver);
        Sent::Queued
    }

    /// Follows a member to where it is now (T10).
    fn retarget(&self, key: u64, member: &Member) {
        let mut board = self.lock();
        let there = board.look_up(&member.address, member.id);
        let Some(endpoint) = board.endpoints.get_mut(&key) else { return };
        let before = endpoint.targets.insert(member.id, member.address.clone());
        // Who was connected as no member shakes hands anew, so that it is remembered as one.
        let was_guest = before.is_none();
        let moved = before.is_some_and(|before| before != member.address);
        let link = endpoint.links.get(&member.id);
        let elsewhere = moved && link.is_some_and(|link| Some(link.to) != there);
        let again = was_guest && link.is_some_and(|link| link.up);
        let told = if elsewhere || again { board.lose(key, member.id) } else { Vec::new() };
        drop(board);
        self.drain_all(told);
        self.connect(key, member.id);
    }

    fn members(&self, key: u64, members: &[Member]) {
        let mut board = self.lock();
        let Some(endpoint) = board.endpoints.get_mut(&key) else { return };
        let own = endpoint.identity.node;
        let gone: Vec<NodeId> =
            endpoint.targets.keys().copied().filter(|id| members.iter().all(|one| one.id != *id)).collect();
        let mut told = Vec::new();
        for node in gone {
            let Some(endpoint) = board.endpoints.get_mut(&key) else { return };
            endpoint.targets.remove(&node);
            let other = endpoint.links.get(&node).map(|link| link.to);
            let wanted = other.and_then(|other| board.endpoints.get(&other));
            if !wanted.is_some_and(|other| other.targets.contains_key(&own)) {
                told.extend(board.lose(key, node));
            }
        }
        drop(board);
        self.drain_all(told);
        for member in members.iter().filter(|member| member.id != own) {
            self.retarget(key, member);
        }
    }
}

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
