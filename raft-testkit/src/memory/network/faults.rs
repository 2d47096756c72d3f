//! The faults of the switchboard: cuts, connections that break, processes that are gone.

use raft_core::ids::NodeId;

use super::MemoryNetwork;

impl MemoryNetwork {
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
}
