//! What transports deliver into: two queues, bulk bounded in bytes, and the node's answers to handshakes.

use core::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

use ::tokio::sync::{Notify, mpsc, oneshot};
use async_trait::async_trait;

use super::protocol::Request;
use crate::backend::{Delivery, InboxHandler, Refusal};
use crate::entry::Entry;
use crate::ids::{Identity, NodeId};
use crate::message::{Envelope, Lane, Message, PeerEvent};

/// Received appends that wait for the protocol, in bytes; beyond it transports stop reading bulk.
pub(crate) const BULK_LIMIT_BYTES: u64 = 16 << 20;
/// Received control messages that wait for the protocol; more are dropped, which Raft repairs.
pub(crate) const CONTROL_LIMIT: u64 = 1 << 16;

/// The sending side of the inbox.
pub(crate) struct NodeInbox {
    control: mpsc::UnboundedSender<Inbound>,
    bulk: mpsc::UnboundedSender<Envelope>,
    requests: mpsc::UnboundedSender<Request>,
    room: Arc<Room>,
}

/// What arrives besides bulk.
pub(crate) enum Inbound {
    Message(Envelope),
    Peer(NodeId, PeerEvent),
}

/// How much waits.
#[derive(Default)]
pub(crate) struct Room {
    bytes: AtomicU64,
    freed: Notify,
    control: AtomicU64,
}

impl Room {
    /// What was taken out of the queue no longer waits.
    pub(crate) fn free(&self, bytes: u64) {
        let before = self.bytes.fetch_sub(bytes, Ordering::AcqRel);
        if before >= BULK_LIMIT_BYTES {
            self.freed.notify_waiters();
        }
    }

    /// That many control messages no longer wait.
    pub(crate) fn free_control(&self, count: usize) {
        self.control.fetch_sub(count as u64, Ordering::AcqRel);
    }

    /// What waits: bulk in bytes, control in messages.
    pub(crate) fn waiting(&self) -> (u64, u64) {
        (self.bytes.load(Ordering::Acquire), self.control.load(Ordering::Acquire))
    }

    /// Nobody takes anything out any more: who waits for room may look again, and find it closed.
    pub(crate) fn close(&self) {
        self.freed.notify_waiters();
    }
}

/// What a message costs in the bulk queue, in bytes.
pub(crate) fn cost_bytes(envelope: &Envelope) -> u64 {
    match &envelope.message {
        Message::Append(append) => append.entries.iter().map(Entry::cost_bytes).sum::<u64>() + 128,
        Message::Snapshot(chunk) => chunk.data.len() as u64 + 128,
        _ => 128,
    }
}

impl NodeInbox {
    pub(crate) const fn new(
        control: mpsc::UnboundedSender<Inbound>,
        bulk: mpsc::UnboundedSender<Envelope>,
        requests: mpsc::UnboundedSender<Request>,
        room: Arc<Room>,
    ) -> Self {
        Self { control, bulk, requests, room }
    }

    fn outcome<T>(sent: Result<(), mpsc::error::SendError<T>>) -> Delivery {
        if sent.is_ok() { Delivery::Accepted } else { Delivery::Closed }
    }
}

#[async_trait]
impl InboxHandler for NodeInbox {
    fn deliver(&self, envelope: Envelope) -> Delivery {
        if envelope.lane() == Lane::Control {
            if self.room.control.load(Ordering::Acquire) >= CONTROL_LIMIT {
                return if self.control.is_closed() { Delivery::Closed } else { Delivery::Accepted };
            }
            self.room.control.fetch_add(1, Ordering::AcqRel);
            return Self::outcome(self.control.send(Inbound::Message(envelope)));
        }
        if self.room.bytes.load(Ordering::Acquire) >= BULK_LIMIT_BYTES {
            return if self.bulk.is_closed() { Delivery::Closed } else { Delivery::Full };
        }
        self.room.bytes.fetch_add(cost_bytes(&envelope), Ordering::AcqRel);
        Self::outcome(self.bulk.send(envelope))
    }

    async fn ready(&self) {
        let freed = self.room.freed.notified();
        let mut freed = core::pin::pin!(freed);
        // Registers before looking, so that no wake-up is lost in between.
        freed.as_mut().enable();
        if self.room.bytes.load(Ordering::Acquire) >= BULK_LIMIT_BYTES && !self.bulk.is_closed() {
            freed.await;
        }
    }

    async fn admit(&self, peer: Identity) -> Result<(), Refusal> {
        let (reply, answer) = oneshot::channel();
        if self.requests.send(Request::Admit { peer, reply }).is_err() {
            return Err(Refusal::NotReady);
        }
        answer.await.unwrap_or(Err(Refusal::NotReady))
    }

    fn peer(&self, node: NodeId, event: PeerEvent) {
        // Connection events are few, and none may be lost.
        self.room.control.fetch_add(1, Ordering::AcqRel);
        let _ = self.control.send(Inbound::Peer(node, event));
    }

    fn refused(&self, by: NodeId, why: Refusal) {
        let _ = self.requests.send(Request::Refused { by, why });
    }
}
