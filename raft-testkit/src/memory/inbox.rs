//! A receiver for tests of transports: writes down what arrives and answers as it is told.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use raft_core::backend::{Delivery, Inbox, InboxHandler, Refusal};
use raft_core::ids::{Identity, NodeId};
use raft_core::message::{Envelope, Lane, PeerEvent};
use tokio::sync::Notify;

/// Something that a transport told a node.
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
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What a transport is started with.
    #[must_use]
    pub fn inbox(&self) -> Inbox {
        Inbox::new(Arc::new(self.clone()))
    }

    /// From now on every peer is refused, or admitted again.
    pub fn refuse(&self, why: Option<Refusal>) {
        self.lock().refusal = why;
    }

    /// From now on bulk is answered `Full`, or accepted again.
    pub fn set_bulk_full(&self, full: bool) {
        self.lock().bulk_is_full = full;
        self.0.changed.notify_waiters();
    }

    /// From now on everything is answered `Closed`.
    pub fn close(&self) {
        self.lock().closed = true;
        self.0.changed.notify_waiters();
    }

    /// All that has arrived, in order.
    #[must_use]
    pub fn arrivals(&self) -> Vec<Arrival> {
        self.lock().arrivals.clone()
    }

    /// The messages that have arrived, in order.
    #[must_use]
    pub fn messages(&self) -> Vec<Envelope> {
        messages(&self.lock().arrivals).cloned().collect()
    }

    /// Everyone who asked to be admitted, in order.
    #[must_use]
    pub fn asked(&self) -> Vec<Identity> {
        self.lock().asked.clone()
    }

    /// How often bulk was answered `Full`.
    #[must_use]
    pub fn fulls(&self) -> usize {
        self.lock().fulls
    }

    /// Returns what `look` finds in all that has arrived, as soon as it finds something.
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
    pub async fn until_peer(&self, node: NodeId, event: PeerEvent, times: usize) {
        let wanted = Arrival::Peer(node, event);
        let enough = |all: &[Arrival]| all.iter().filter(|one| **one == wanted).count() >= times;
        self.until(|all| enough(all).then_some(())).await;
    }

    /// Returns the messages once there are `count`.
    pub async fn until_messages(&self, count: usize) -> Vec<Envelope> {
        self.until(|all| (messages(all).count() >= count).then(|| messages(all).cloned().collect())).await
    }

    /// Returns once bulk was answered `Full` `times` times.
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
