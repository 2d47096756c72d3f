//! A receiver for tests of transports: writes down what arrives and answers as it is told.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use raft_core::backend::{Delivery, Inbox, InboxHandler, Refusal};
use raft_core::ids::{Identity, NodeId};
use raft_core::message::{Envelope, Lane, PeerEvent};
use tokio::sync::Notify;

/// Something that a transport told a node.
///
/// # Examples
/// ```
/// # use raft_core::backend::{Delivery, Refusal};
/// # use raft_core::entry::{Entry, EntryKind};
/// # use raft_core::ids::{ClusterId, GroupId, Identity, Incarnation};
/// # use raft_core::ids::{Index, LogId, NodeId, StoreId, Term};
/// # use raft_core::message::{Append, Envelope, Heartbeat, Message, PeerEvent};
/// # use raft_testkit::memory::{Arrival, TestInbox};
/// # fn envelope(message: Message) -> Envelope {
/// #     Envelope { group: GroupId(0), from: NodeId(2), to: NodeId(1), term: Term(3), message }
/// # }
/// # fn beat(round: u64) -> Envelope {
/// #     envelope(Message::Heartbeat(Heartbeat { commit: Index(9), round }))
/// # }
/// # fn main() {
/// let test = TestInbox::new();
/// // As a transport tells a node: a connection, then a message.
/// test.inbox().peer(NodeId(2), PeerEvent::Up);
/// test.inbox().deliver(beat(1));
/// let expected = [Arrival::Peer(NodeId(2), PeerEvent::Up), Arrival::Message(beat(1))];
/// assert_eq!(test.arrivals(), expected);
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// A message, accepted.
    Message(Envelope),
    /// A connection came or went.
    Peer(NodeId, PeerEvent),
    /// A peer has refused this node.
    Refused(NodeId, Refusal),
}

/// The receiving end of a transport under test. Cheap to clone; every clone is the same inbox.
///
/// # Examples
/// ```
/// # use raft_core::backend::{Delivery, Refusal};
/// # use raft_core::entry::{Entry, EntryKind};
/// # use raft_core::ids::{ClusterId, GroupId, Identity, Incarnation};
/// # use raft_core::ids::{Index, LogId, NodeId, StoreId, Term};
/// # use raft_core::message::{Append, Envelope, Heartbeat, Message, PeerEvent};
/// # use raft_testkit::memory::{Arrival, TestInbox};
/// # fn peer(node: u64) -> Identity {
/// #     let incarnation = Incarnation { number: 1, nonce: 7 };
/// #     let (cluster, group, store) = (ClusterId(1), GroupId(0), StoreId(node.into()));
/// #     Identity { cluster, group, node: NodeId(node), store, incarnation }
/// # }
/// # use raft_core::backend::Transport;
/// # use raft_core::membership::Member;
/// # use raft_testkit::memory::MemoryNetwork;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let network = MemoryNetwork::new();
/// let (here, there) = (TestInbox::new(), TestInbox::new());
/// let (one, two) = (network.transport(NodeId(1)), network.transport(NodeId(2)));
/// one.start(peer(1), here.inbox()).await?;
/// two.start(peer(2), there.inbox()).await?;
/// one.members(&[Member::new(NodeId(2), "anywhere")]);
/// // Nothing is timed: a test awaits what it is about.
/// there.until_peer(NodeId(1), PeerEvent::Up, 1).await;
/// assert_eq!(there.asked(), [peer(1)]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct TestInbox(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    arrivals: Vec<Arrival>,
    asked: Vec<Identity>,
    refusal: Option<Refusal>,
    bulk_is_full: bool,
    fulls: usize,
    closed: bool,
}

impl TestInbox {
    /// An inbox that admits everyone and accepts everything.
    ///
    /// # Examples
    /// ```
    /// # use raft_core::backend::{Delivery, Refusal};
    /// # use raft_core::entry::{Entry, EntryKind};
    /// # use raft_core::ids::{ClusterId, GroupId, Identity, Incarnation};
    /// # use raft_core::ids::{Index, LogId, NodeId, StoreId, Term};
    /// # use raft_core::message::{Append, Envelope, Heartbeat, Message, PeerEvent};
    /// # use raft_testkit::memory::{Arrival, TestInbox};
    /// # fn envelope(message: Message) -> Envelope {
    /// #     Envelope { group: GroupId(0), from: NodeId(2), to: NodeId(1), term: Term(3), message }
    /// # }
    /// # fn bulk() -> Envelope {
    /// #     let entry = Entry { id: LogId::new(1, 1), kind: EntryKind::Commands, data: "x".into() };
    /// #     let entries = [entry].into();
    /// #     envelope(Message::Append(Append { prev: LogId::new(0, 0), commit: Index(0), entries }))
    /// # }
    /// # fn peer(node: u64) -> Identity {
    /// #     let incarnation = Incarnation { number: 1, nonce: 7 };
    /// #     let (cluster, group, store) = (ClusterId(1), GroupId(0), StoreId(node.into()));
    /// #     Identity { cluster, group, node: NodeId(node), store, incarnation }
    /// # }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let test = TestInbox::new();
    /// assert_eq!(test.inbox().admit(peer(2)).await, Ok(()));
    /// assert_eq!(test.inbox().deliver(bulk()), Delivery::Accepted);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What a transport is started with.
    ///
    /// # Examples
    /// ```
    /// # use raft_core::backend::{Delivery, Refusal};
    /// # use raft_core::entry::{Entry, EntryKind};
    /// # use raft_core::ids::{ClusterId, GroupId, Identity, Incarnation};
    /// # use raft_core::ids::{Index, LogId, NodeId, StoreId, Term};
    /// # use raft_core::message::{Append, Envelope, Heartbeat, Message, PeerEvent};
    /// # use raft_testkit::memory::{Arrival, TestInbox};
    /// # fn envelope(message: Message) -> Envelope {
    /// #     Envelope { group: GroupId(0), from: NodeId(2), to: NodeId(1), term: Term(3), message }
    /// # }
    /// # fn beat(round: u64) -> Envelope {
    /// #     envelope(Message::Heartbeat(Heartbeat { commit: Index(9), round }))
    /// # }
    /// # fn main() {
    /// let test = TestInbox::new();
    /// // A transport hands over what comes; the test looks at the other side.
    /// let inbox = test.inbox();
    /// assert_eq!(inbox.deliver(beat(4)), Delivery::Accepted);
    /// assert_eq!(test.messages(), [beat(4)]);
    /// # }
    /// ```
    #[must_use]
    pub fn inbox(&self) -> Inbox {
        Inbox::new(Arc::new(self.clone()))
    }

    /// From now on every peer is refused, or admitted again.
    ///
    /// # Examples
    /// ```
    /// # use raft_core::backend::{Delivery, Refusal};
    /// # use raft_core::entry::{Entry, EntryKind};
    /// # use raft_core::ids::{ClusterId, GroupId, Identity, Incarnation};
    /// # use raft_core::ids::{Index, LogId, NodeId, StoreId, Term};
    /// # use raft_core::message::{Append, Envelope, Heartbeat, Message, PeerEvent};
    /// # use raft_testkit::memory::{Arrival, TestInbox};
    /// # fn peer(node: u64) -> Identity {
    /// #     let incarnation = Incarnation { number: 1, nonce: 7 };
    /// #     let (cluster, group, store) = (ClusterId(1), GroupId(0), StoreId(node.into()));
    /// #     Identity { cluster, group, node: NodeId(node), store, incarnation }
    /// # }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let test = TestInbox::new();
    /// test.refuse(Some(Refusal::NotReady));
    /// assert_eq!(test.inbox().admit(peer(2)).await, Err(Refusal::NotReady));
    /// test.refuse(None);
    /// assert_eq!(test.inbox().admit(peer(2)).await, Ok(()));
    /// # Ok(())
    /// # }
    /// ```
    pub fn refuse(&self, why: Option<Refusal>) {
        self.lock().refusal = why;
    }

    /// From now on bulk is answered `Full`, or accepted again.
    ///
    /// # Examples
    /// ```
    /// # use raft_core::backend::{Delivery, Refusal};
    /// # use raft_core::entry::{Entry, EntryKind};
    /// # use raft_core::ids::{ClusterId, GroupId, Identity, Incarnation};
    /// # use raft_core::ids::{Index, LogId, NodeId, StoreId, Term};
    /// # use raft_core::message::{Append, Envelope, Heartbeat, Message, PeerEvent};
    /// # use raft_testkit::memory::{Arrival, TestInbox};
    /// # fn envelope(message: Message) -> Envelope {
    /// #     Envelope { group: GroupId(0), from: NodeId(2), to: NodeId(1), term: Term(3), message }
    /// # }
    /// # fn beat(round: u64) -> Envelope {
    /// #     envelope(Message::Heartbeat(Heartbeat { commit: Index(9), round }))
    /// # }
    /// # fn bulk() -> Envelope {
    /// #     let entry = Entry { id: LogId::new(1, 1), kind: EntryKind::Commands, data: "x".into() };
    /// #     let entries = [entry].into();
    /// #     envelope(Message::Append(Append { prev: LogId::new(0, 0), commit: Index(0), entries }))
    /// # }
    /// # fn main() {
    /// let test = TestInbox::new();
    /// test.set_bulk_full(true);
    /// assert_eq!(test.inbox().deliver(bulk()), Delivery::Full);
    /// // Heartbeats do not wait behind entries (T3).
    /// assert_eq!(test.inbox().deliver(beat(1)), Delivery::Accepted);
    /// # }
    /// ```
    pub fn set_bulk_full(&self, full: bool) {
        self.lock().bulk_is_full = full;
        self.0.changed.notify_waiters();
    }

    /// From now on everything is answered `Closed`.
    ///
    /// # Examples
    /// ```
    /// # use raft_core::backend::{Delivery, Refusal};
    /// # use raft_core::entry::{Entry, EntryKind};
    /// # use raft_core::ids::{ClusterId, GroupId, Identity, Incarnation};
    /// # use raft_core::ids::{Index, LogId, NodeId, StoreId, Term};
    /// # use raft_core::message::{Append, Envelope, Heartbeat, Message, PeerEvent};
    /// # use raft_testkit::memory::{Arrival, TestInbox};
    /// # fn envelope(message: Message) -> Envelope {
    /// #     Envelope { group: GroupId(0), from: NodeId(2), to: NodeId(1), term: Term(3), message }
    /// # }
    /// # fn beat(round: u64) -> Envelope {
    /// #     envelope(Message::Heartbeat(Heartbeat { commit: Index(9), round }))
    /// # }
    /// # fn main() {
    /// let test = TestInbox::new();
    /// test.close();
    /// assert_eq!(test.inbox().deliver(beat(1)), Delivery::Closed);
    /// assert!(test.arrivals().is_empty());
    /// # }
    /// ```
    pub fn close(&self) {
        self.lock().closed = true;
        self.0.changed.notify_waiters();
    }

    /// All that has arrived, in order.
    ///
    /// # Examples
    /// ```
    /// # use raft_core::backend::{Delivery, Refusal};
    /// # use raft_core::entry::{Entry, EntryKind};
    /// # use raft_core::ids::{ClusterId, GroupId, Identity, Incarnation};
    /// # use raft_core::ids::{Index, LogId, NodeId, StoreId, Term};
    /// # use raft_core::message::{Append, Envelope, Heartbeat, Message, PeerEvent};
    /// # use raft_testkit::memory::{Arrival, TestInbox};
    /// # fn main() {
    /// let test = TestInbox::new();
    /// for event in [PeerEvent::Up, PeerEvent::Down, PeerEvent::Up] {
    ///     test.inbox().peer(NodeId(2), event);
    /// }
    /// let lost = Arrival::Peer(NodeId(2), PeerEvent::Down);
    /// assert_eq!(test.arrivals().iter().filter(|arrival| **arrival == lost).count(), 1);
    /// # }
    /// ```
    #[must_use]
    pub fn arrivals(&self) -> Vec<Arrival> {
        self.lock().arrivals.clone()
    }

    /// The messages that have arrived, in order.
    ///
    /// # Examples
    /// ```
    /// # use raft_core::backend::{Delivery, Refusal};
    /// # use raft_core::entry::{Entry, EntryKind};
    /// # use raft_core::ids::{ClusterId, GroupId, Identity, Incarnation};
    /// # use raft_core::ids::{Index, LogId, NodeId, StoreId, Term};
    /// # use raft_core::message::{Append, Envelope, Heartbeat, Message, PeerEvent};
    /// # use raft_testkit::memory::{Arrival, TestInbox};
    /// # fn envelope(message: Message) -> Envelope {
    /// #     Envelope { group: GroupId(0), from: NodeId(2), to: NodeId(1), term: Term(3), message }
    /// # }
    /// # fn beat(round: u64) -> Envelope {
    /// #     envelope(Message::Heartbeat(Heartbeat { commit: Index(9), round }))
    /// # }
    /// # fn main() {
    /// let test = TestInbox::new();
    /// test.inbox().peer(NodeId(2), PeerEvent::Up);
    /// (1..=2).for_each(|round| drop(test.inbox().deliver(beat(round))));
    /// // Without what is no message.
    /// assert_eq!(test.messages(), [beat(1), beat(2)]);
    /// # }
    /// ```
    #[must_use]
    pub fn messages(&self) -> Vec<Envelope> {
        messages(&self.lock().arrivals).cloned().collect()
    }

    /// Everyone who asked to be admitted, in order.
    ///
    /// # Examples
    /// ```
    /// # use raft_core::backend::{Delivery, Refusal};
    /// # use raft_core::entry::{Entry, EntryKind};
    /// # use raft_core::ids::{ClusterId, GroupId, Identity, Incarnation};
    /// # use raft_core::ids::{Index, LogId, NodeId, StoreId, Term};
    /// # use raft_core::message::{Append, Envelope, Heartbeat, Message, PeerEvent};
    /// # use raft_testkit::memory::{Arrival, TestInbox};
    /// # fn peer(node: u64) -> Identity {
    /// #     let incarnation = Incarnation { number: 1, nonce: 7 };
    /// #     let (cluster, group, store) = (ClusterId(1), GroupId(0), StoreId(node.into()));
    /// #     Identity { cluster, group, node: NodeId(node), store, incarnation }
    /// # }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let test = TestInbox::new();
    /// test.refuse(Some(Refusal::NotReady));
    /// assert!(test.inbox().admit(peer(2)).await.is_err());
    /// // Who was refused has asked as well.
    /// assert_eq!(test.asked(), [peer(2)]);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn asked(&self) -> Vec<Identity> {
        self.lock().asked.clone()
    }

    /// How often bulk was answered `Full`.
    ///
    /// # Examples
    /// ```
    /// # use raft_core::backend::{Delivery, Refusal};
    /// # use raft_core::entry::{Entry, EntryKind};
    /// # use raft_core::ids::{ClusterId, GroupId, Identity, Incarnation};
    /// # use raft_core::ids::{Index, LogId, NodeId, StoreId, Term};
    /// # use raft_core::message::{Append, Envelope, Heartbeat, Message, PeerEvent};
    /// # use raft_testkit::memory::{Arrival, TestInbox};
    /// # fn envelope(message: Message) -> Envelope {
    /// #     Envelope { group: GroupId(0), from: NodeId(2), to: NodeId(1), term: Term(3), message }
    /// # }
    /// # fn bulk() -> Envelope {
    /// #     let entry = Entry { id: LogId::new(1, 1), kind: EntryKind::Commands, data: "x".into() };
    /// #     let entries = [entry].into();
    /// #     envelope(Message::Append(Append { prev: LogId::new(0, 0), commit: Index(0), entries }))
    /// # }
    /// # fn main() {
    /// let test = TestInbox::new();
    /// test.set_bulk_full(true);
    /// assert_eq!(test.inbox().deliver(bulk()), Delivery::Full);
    /// assert_eq!(test.fulls(), 1);
    /// // The transport keeps it and tries again once there is room.
    /// test.set_bulk_full(false);
    /// assert_eq!(test.inbox().deliver(bulk()), Delivery::Accepted);
    /// assert_eq!((test.fulls(), test.messages().len()), (1, 1));
    /// # }
    /// ```
    #[must_use]
    pub fn fulls(&self) -> usize {
        self.lock().fulls
    }

    /// Returns what `look` finds in all that has arrived, as soon as it finds something.
    ///
    /// # Examples
    /// ```
    /// # use raft_core::backend::{Delivery, Refusal};
    /// # use raft_core::entry::{Entry, EntryKind};
    /// # use raft_core::ids::{ClusterId, GroupId, Identity, Incarnation};
    /// # use raft_core::ids::{Index, LogId, NodeId, StoreId, Term};
    /// # use raft_core::message::{Append, Envelope, Heartbeat, Message, PeerEvent};
    /// # use raft_testkit::memory::{Arrival, TestInbox};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let test = TestInbox::new();
    /// let inbox = test.inbox();
    /// tokio::spawn(async move { inbox.refused(NodeId(2), Refusal::NotReady) });
    /// let why = test.until(|all| match all.last() {
    ///     Some(Arrival::Refused(NodeId(2), why)) => Some(why.clone()),
    ///     _ => None,
    /// });
    /// assert_eq!(why.await, Refusal::NotReady);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn until<T>(&self, mut look: impl FnMut(&[Arrival]) -> Option<T>) -> T {
        loop {
            let changed = self.0.changed.notified();
            if let Some(found) = look(&self.lock().arrivals) {
                return found;
            }
            changed.await;
        }
    }

    /// Returns once this event has been reported `times` times.
    ///
    /// # Examples
    /// ```
    /// # use raft_core::backend::{Delivery, Refusal};
    /// # use raft_core::entry::{Entry, EntryKind};
    /// # use raft_core::ids::{ClusterId, GroupId, Identity, Incarnation};
    /// # use raft_core::ids::{Index, LogId, NodeId, StoreId, Term};
    /// # use raft_core::message::{Append, Envelope, Heartbeat, Message, PeerEvent};
    /// # use raft_testkit::memory::{Arrival, TestInbox};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let test = TestInbox::new();
    /// let inbox = test.inbox();
    /// tokio::spawn(async move {
    ///     inbox.peer(NodeId(2), PeerEvent::Up);
    ///     inbox.peer(NodeId(2), PeerEvent::Gone);
    /// });
    /// test.until_peer(NodeId(2), PeerEvent::Gone, 1).await;
    /// assert_eq!(test.arrivals().len(), 2);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn until_peer(&self, node: NodeId, event: PeerEvent, times: usize) {
        let wanted = Arrival::Peer(node, event);
        let enough = |all: &[Arrival]| all.iter().filter(|one| **one == wanted).count() >= times;
        self.until(|all| enough(all).then_some(())).await;
    }

    /// Returns the messages once there are `count`.
    ///
    /// # Examples
    /// ```
    /// # use raft_core::backend::{Delivery, Refusal};
    /// # use raft_core::entry::{Entry, EntryKind};
    /// # use raft_core::ids::{ClusterId, GroupId, Identity, Incarnation};
    /// # use raft_core::ids::{Index, LogId, NodeId, StoreId, Term};
    /// # use raft_core::message::{Append, Envelope, Heartbeat, Message, PeerEvent};
    /// # use raft_testkit::memory::{Arrival, TestInbox};
    /// # fn envelope(message: Message) -> Envelope {
    /// #     Envelope { group: GroupId(0), from: NodeId(2), to: NodeId(1), term: Term(3), message }
    /// # }
    /// # fn beat(round: u64) -> Envelope {
    /// #     envelope(Message::Heartbeat(Heartbeat { commit: Index(9), round }))
    /// # }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let test = TestInbox::new();
    /// let inbox = test.inbox();
    /// tokio::spawn(async move { (1..=3).for_each(|round| drop(inbox.deliver(beat(round)))) });
    /// assert_eq!(test.until_messages(3).await, [beat(1), beat(2), beat(3)]);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn until_messages(&self, count: usize) -> Vec<Envelope> {
        self.until(|all| (messages(all).count() >= count).then(|| messages(all).cloned().collect())).await
    }

    /// Returns once bulk was answered `Full` `times` times.
    ///
    /// # Examples
    /// ```
    /// # use raft_core::backend::{Delivery, Refusal};
    /// # use raft_core::entry::{Entry, EntryKind};
    /// # use raft_core::ids::{ClusterId, GroupId, Identity, Incarnation};
    /// # use raft_core::ids::{Index, LogId, NodeId, StoreId, Term};
    /// # use raft_core::message::{Append, Envelope, Heartbeat, Message, PeerEvent};
    /// # use raft_testkit::memory::{Arrival, TestInbox};
    /// # fn envelope(message: Message) -> Envelope {
    /// #     Envelope { group: GroupId(0), from: NodeId(2), to: NodeId(1), term: Term(3), message }
    /// # }
    /// # fn bulk() -> Envelope {
    /// #     let entry = Entry { id: LogId::new(1, 1), kind: EntryKind::Commands, data: "x".into() };
    /// #     let entries = [entry].into();
    /// #     envelope(Message::Append(Append { prev: LogId::new(0, 0), commit: Index(0), entries }))
    /// # }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let test = TestInbox::new();
    /// test.set_bulk_full(true);
    /// let inbox = test.inbox();
    /// tokio::spawn(async move { inbox.deliver(bulk()) });
    /// // Now something waits at the other end, and a test may break the connection under it.
    /// test.until_full(1).await;
    /// assert!(test.messages().is_empty());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn until_full(&self, times: usize) {
        loop {
            let changed = self.0.changed.notified();
            if self.fulls() >= times {
                return;
            }
            changed.await;
        }
    }

    /// How many handles to this inbox there are: clones, and what transports hold.
    ///
    /// # Examples
    /// ```
    /// use raft_testkit::memory::TestInbox;
    ///
    /// let test = TestInbox::new();
    /// let held = test.inbox();
    /// assert_eq!(test.holders(), 2);
    /// // After a shutdown a transport holds nothing of it (T9).
    /// drop(held);
    /// assert_eq!(test.holders(), 1);
    /// ```
    #[must_use]
    pub fn holders(&self) -> usize {
        Arc::strong_count(&self.0)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, arrival: Arrival) {
        self.lock().arrivals.push(arrival);
        self.0.changed.notify_waiters();
    }
}

fn messages(all: &[Arrival]) -> impl Iterator<Item = &Envelope> {
    all.iter().filter_map(|one| match one {
        Arrival::Message(envelope) => Some(envelope),
        _ => None,
    })
}

#[async_trait]
impl InboxHandler for TestInbox {
    fn deliver(&self, envelope: Envelope) -> Delivery {
        let mut state = self.lock();
        let delivery = if state.closed {
            Delivery::Closed
        } else if state.bulk_is_full && envelope.lane() == Lane::Bulk {
            state.fulls += 1;
            Delivery::Full
        } else {
            state.arrivals.push(Arrival::Message(envelope));
            Delivery::Accepted
        };
        drop(state);
        self.0.changed.notify_waiters();
        delivery
    }

    async fn ready(&self) {
        loop {
            let changed = self.0.changed.notified();
            {
                let state = self.lock();
                if state.closed || !state.bulk_is_full {
                    return;
                }
            }
            changed.await;
        }
    }

    async fn admit(&self, peer: Identity) -> Result<(), Refusal> {
        let mut state = self.lock();
        state.asked.push(peer);
        let answer = state.refusal.clone().map_or(Ok(()), Err);
        drop(state);
        self.0.changed.notify_waiters();
        answer
    }

    fn peer(&self, node: NodeId, event: PeerEvent) {
        self.record(Arrival::Peer(node, event));
    }

    fn refused(&self, by: NodeId, why: Refusal) {
        self.record(Arrival::Refused(by, why));
    }
}
