//! An inbox that shows what came, and nodes on the loopback interface.
//!
//! The tests of each transport that listens on a port have this, as a file, in their `support`, which says which
//! transport it is.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use raft_core::backend::{Delivery, Inbox, InboxHandler, Refusal, Transport};
use raft_core::ids::{ClusterId, GroupId, Identity, Incarnation, Index, NodeId, StoreId, Term};
use raft_core::membership::Member;
use raft_core::message::{Envelope, Heartbeat, Lane, Message, PeerEvent};
use tokio::sync::{Notify, mpsc};

use super::{Loopback, Options};

#[derive(Debug, PartialEq)]
pub(crate) enum Seen {
    Message(Envelope),
    Peer(NodeId, PeerEvent),
    Refused(NodeId, Refusal),
}

pub(crate) struct TestInbox {
    seen: mpsc::UnboundedSender<Seen>,
    pub(crate) full: AtomicBool,
    pub(crate) freed: Notify,
    pub(crate) refuse: Mutex<Option<Refusal>>,
}

#[async_trait]
impl InboxHandler for TestInbox {
    fn deliver(&self, envelope: Envelope) -> Delivery {
        if envelope.lane() == Lane::Bulk && self.full.load(Ordering::SeqCst) {
            return Delivery::Full;
        }
        let _ = self.seen.send(Seen::Message(envelope));
        Delivery::Accepted
    }
    async fn ready(&self) {
        self.freed.notified().await;
    }
    async fn admit(&self, _: Identity) -> Result<(), Refusal> {
        self.refuse.lock().unwrap().clone().map_or(Ok(()), Err)
    }
    fn peer(&self, node: NodeId, event: PeerEvent) {
        let _ = self.seen.send(Seen::Peer(node, event));
    }
    fn refused(&self, by: NodeId, why: Refusal) {
        let _ = self.seen.send(Seen::Refused(by, why));
    }
}

pub(crate) fn identity(node: u64) -> Identity {
    Identity {
        cluster: ClusterId(42),
        group: GroupId(0),
        node: NodeId(node),
        store: StoreId(u128::from(node) * 100),
        incarnation: Incarnation { number: 1, nonce: node },
    }
}

pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) transport: Loopback,
    pub(crate) inbox: Arc<TestInbox>,
    pub(crate) seen: mpsc::UnboundedReceiver<Seen>,
}

pub(crate) fn any_port() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

pub(crate) fn inbox(seen: mpsc::UnboundedSender<Seen>) -> (Inbox, Arc<TestInbox>) {
    let inbox = Arc::new(TestInbox {
        seen,
        full: AtomicBool::new(false),
        freed: Notify::new(),
        refuse: Mutex::default(),
    });
    (Inbox::new(Arc::clone(&inbox) as Arc<dyn InboxHandler>), inbox)
}

impl Node {
    pub(crate) async fn start(identity: Identity, options: Options) -> Self {
        Self::start_at(identity, any_port(), options).await
    }

    pub(crate) async fn start_at(identity: Identity, listen: SocketAddr, options: Options) -> Self {
        Self::start_this(Loopback::new(listen, options), identity).await
    }

    pub(crate) async fn start_this(transport: Loopback, identity: Identity) -> Self {
        let (sender, seen) = mpsc::unbounded_channel();
        let (front, inbox) = inbox(sender);
        transport.start(identity, front).await.unwrap();
        Self { id: identity.node, transport, inbox, seen }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.transport.local_addr().unwrap()
    }

    pub(crate) fn member(&self) -> Member {
        Member::new(self.id, self.address().to_string())
    }

    /// The next thing seen. The deadline only ends a test that hangs.
    pub(crate) async fn next(&mut self) -> Seen {
        let next = tokio::time::timeout(Duration::from_secs(20), self.seen.recv()).await;
        next.expect("nothing was seen").unwrap()
    }

    pub(crate) async fn until(&mut self, mut is: impl FnMut(&Seen) -> bool) -> Seen {
        loop {
            let seen = self.next().await;
            if is(&seen) {
                return seen;
            }
        }
    }

    pub(crate) async fn up(&mut self, peer: u64) {
        self.until(|seen| *seen == Seen::Peer(NodeId(peer), PeerEvent::Up)).await;
    }

    /// The messages that have come and were not looked at.
    pub(crate) fn delivered(&mut self) -> Vec<Envelope> {
        let all = std::iter::from_fn(|| self.seen.try_recv().ok());
        all.filter_map(|seen| if let Seen::Message(envelope) = seen { Some(envelope) } else { None })
            .collect()
    }

    pub(crate) async fn message(&mut self) -> Envelope {
        match self.until(|seen| matches!(seen, Seen::Message(_))).await {
            Seen::Message(envelope) => envelope,
            _ => unreachable!(),
        }
    }
}

pub(crate) fn heartbeat(from: u64, to: u64, round: u64) -> Envelope {
    let message = Message::Heartbeat(Heartbeat { commit: Index(0), round });
    Envelope { group: GroupId(0), from: NodeId(from), to: NodeId(to), term: Term(1), message }
}

/// Two nodes that know each other and are up.
pub(crate) async fn pair() -> (Node, Node) {
    let mut a = Node::start(identity(1), Options::default()).await;
    let mut b = Node::start(identity(2), Options::default()).await;
    a.transport.members(&[b.member()]);
    b.transport.members(&[a.member()]);
    a.up(2).await;
    b.up(1).await;
    (a, b)
}
