//! One end of a connection: a started transport and what it told its node.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use raft_core::backend::{Sent, SentDropped, Transport};
use raft_core::entry::{Entry, EntryKind};
use raft_core::ids::{ClusterId, GroupId, Identity, Incarnation, Index, LogId, NodeId, StoreId, Term};
use raft_core::membership::Member;
use raft_core::message::{Append, Envelope, Heartbeat, Message, PeerEvent};

use super::super::{ClauseFailure, Random, fail, ok, step};
use super::TransportBackend;
use crate::memory::{Arrival, TestInbox};

/// A connected peer that takes no message after so many attempts takes none.
const ATTEMPTS: usize = 1_000_000;

pub(super) struct End {
    pub(super) identity: Identity,
    pub(super) address: String,
    pub(super) transport: Arc<dyn Transport>,
    pub(super) inbox: TestInbox,
}

pub(super) fn identity(node: u64, incarnation: u64) -> Identity {
    Identity {
        cluster: ClusterId(0x7e57),
        group: GroupId(0),
        node: NodeId(node),
        store: StoreId(0x5704e << 64 | u128::from(node)),
        incarnation: Incarnation { number: incarnation, nonce: incarnation * 7 + node },
    }
}

impl End {
    /// A node at a fresh address, started.
    pub(super) async fn start<B: TransportBackend>(backend: &B, node: u64) -> Result<Self, ClauseFailure> {
        Self::start_as(backend, identity(node, 1), backend.address()).await
    }

    pub(super) async fn start_as<B: TransportBackend>(
        backend: &B,
        identity: Identity,
        address: String,
    ) -> Result<Self, ClauseFailure> {
        let transport = backend.transport(identity.node, &address);
        Self::start_this(transport, identity, address, TestInbox::new()).await
    }

    pub(super) async fn start_this(
        transport: Arc<dyn Transport>,
        identity: Identity,
        address: String,
        inbox: TestInbox,
    ) -> Result<Self, ClauseFailure> {
        let end = Self { identity, address, transport, inbox };
        let started = end.transport.start(identity, end.inbox.inbox()).await;
        ok(format!("starting node {} at {}", identity.node, end.address), started)?;
        Ok(end)
    }

    /// Two ends that know each other and are connected.
    pub(super) async fn pair<B: TransportBackend>(backend: &B) -> Result<(Self, Self), ClauseFailure> {
        let (one, two) = (Self::start(backend, 1).await?, Self::start(backend, 2).await?);
        one.meet(&two).await;
        Ok((one, two))
    }

    pub(super) const fn id(&self) -> NodeId {
        self.identity.node
    }

    pub(super) fn member(&self) -> Member {
        Member::new(self.id(), self.address.clone())
    }

    /// Makes both know each other, and nobody else, and waits until they are connected.
    pub(super) async fn meet(&self, other: &Self) {
        self.transport.members(&[other.member()]);
        other.transport.members(&[self.member()]);
        self.is_up(other).await;
        other.is_up(self).await;
    }

    /// Makes this one know the other, and nobody else, and waits until it is connected.
    pub(super) async fn meet_one_way(&self, other: &Self) {
        self.transport.members(&[other.member()]);
        self.is_up(other).await;
    }

    /// Waits until the last that is known of the other is that it is up.
    pub(super) async fn is_up(&self, other: &Self) {
        self.inbox.until(|all| (last_event(all, other.id()) == Some(PeerEvent::Up)).then_some(())).await;
        step();
    }

    pub(super) fn envelope(&self, to: NodeId, message: Message) -> Envelope {
        Envelope { group: self.identity.group, from: self.id(), to, term: Term(3), message }
    }

    pub(super) fn send(&self, to: &Self, message: Message) -> Sent {
        let envelope = self.envelope(to.id(), message);
        self.transport.send(&to.member(), envelope.lane(), envelope)
    }

    /// Sends until the message is queued. A connected peer must take it sooner or later.
    pub(super) async fn queue(&self, to: &Self, message: Message) -> Result<(), ClauseFailure> {
        for _ in 0..ATTEMPTS {
            match self.send(to, message.clone()) {
                Sent::Queued => return Ok(()),
                Sent::Dropped(why @ (SentDropped::TooLarge | SentDropped::Stopped)) => {
                    return Err(fail("a message that is queued", format!("{why:?}")));
                }
                Sent::Dropped(_) => {
                    if last_event(&self.inbox.arrivals(), to.id()) == Some(PeerEvent::Up) {
                        tokio::task::yield_now().await;
                    } else {
                        self.is_up(to).await;
                    }
                }
            }
        }
        Err(fail("a connected peer that takes a message", "it was dropped again and again"))
    }

    /// Sends a message that only this call sends, until it has arrived.
    pub(super) async fn reach(&self, to: &Self, mark: u64) -> Result<(), ClauseFailure> {
        self.deliver(to, beat(mark)).await
    }

    /// The same on the bulk lane.
    pub(super) async fn reach_bulk(&self, to: &Self) -> Result<(), ClauseFailure> {
        self.deliver(to, numbered(fresh())).await
    }

    /// Sends bulk until some of it arrives: whatever a receiver takes for the rest of a spoiled message
    /// is there sooner or later.
    pub(super) async fn press_bulk(&self, to: &Self) -> Result<(), ClauseFailure> {
        let first = fresh();
        loop {
            self.queue(to, numbered(fresh())).await?;
            for _ in 0..50 {
                tokio::task::yield_now().await;
            }
            if to.inbox.messages().iter().any(|one| bulk_number(one).is_some_and(|number| number > first)) {
                return Ok(());
            }
        }
    }

    async fn deliver(&self, to: &Self, sent: Message) -> Result<(), ClauseFailure> {
        loop {
            self.queue(to, sent.clone()).await?;
            let ups = ups(&self.inbox.arrivals(), to.id());
            let arrived = to.inbox.until(|all| {
                let here = all.iter().any(|one| matches!(one, Arrival::Message(one) if one.message == sent));
                here.then_some(())
            });
            // What was queued on a connection that broke is lost: it is sent again on the next one.
            let again = self.inbox.until(|all| (self::ups(all, to.id()) > ups).then_some(()));
            tokio::select! {
                biased;
                () = arrived => {
                    step();
                    return Ok(());
                }
                () = again => {}
            }
        }
    }
}

pub(super) fn last_event(all: &[Arrival], node: NodeId) -> Option<PeerEvent> {
    all.iter().rev().find_map(|one| match one {
        Arrival::Peer(peer, event) if *peer == node => Some(*event),
        _ => None,
    })
}

fn ups(all: &[Arrival], node: NodeId) -> usize {
    all.iter().filter(|one| **one == Arrival::Peer(node, PeerEvent::Up)).count()
}

/// A control message with a number.
pub(super) const fn beat(round: u64) -> Message {
    Message::Heartbeat(Heartbeat { commit: Index(9), round })
}

/// A bulk message with a number and one entry.
pub(super) fn bulk(number: u64, data: &Bytes) -> Message {
    let entry = Entry { id: LogId::new(1, number + 1), kind: EntryKind::Commands, data: data.clone() };
    Message::Append(Append { prev: LogId::new(1, number), commit: Index(0), entries: [entry].into() })
}

/// A number that nothing else in this process has.
pub(super) fn fresh() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1 << 40);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// The size of a [`numbered`] message's payload, in bytes.
pub(super) const NUMBERED_BYTES: usize = 64 << 10;

/// A bulk message whose bytes follow from its number.
pub(super) fn numbered(number: u64) -> Message {
    bulk(number, &Random::new(number).bytes(NUMBERED_BYTES))
}

/// The number of a bulk message.
pub(super) fn bulk_number(message: &Envelope) -> Option<u64> {
    match &message.message {
        Message::Append(append) => Some(append.prev.index.0),
        _ => None,
    }
}

/// The numbers of the bulk messages among these.
pub(super) fn bulk_numbers(messages: &[Envelope]) -> Vec<u64> {
    messages.iter().filter_map(bulk_number).collect()
}

/// The numbers of the control messages among these.
pub(super) fn beat_numbers(messages: &[Envelope]) -> Vec<u64> {
    let number = |one: &Envelope| match &one.message {
        Message::Heartbeat(beat) => Some(beat.round),
        _ => None,
    };
    messages.iter().filter_map(number).collect()
}
