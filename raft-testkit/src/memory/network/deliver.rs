//! The way of a message: into a queue of its lane, and from there to the receiver's inbox.

use raft_core::backend::{Delivery, Sent, SentDropped};
use raft_core::ids::NodeId;
use raft_core::membership::Member;
use raft_core::message::{Envelope, Lane};

use super::MemoryNetwork;
use super::board::{Item, bulk_bytes};

/// Messages that may wait for one receiver, in each lane of each connection.
const QUEUE_LIMIT: usize = 1024;
/// Bytes of bulk that may wait for one receiver; one message may exceed it.
const QUEUE_LIMIT_BYTES: u64 = 64 << 20;

impl MemoryNetwork {
    pub(super) fn send(&self, key: u64, to: &Member, lane: Lane, envelope: Envelope) -> Sent {
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

    pub(super) fn drain_all(&self, keys: Vec<u64>) {
        for key in keys {
            self.drain(key);
        }
    }

    /// Hands what waits to the inbox, in order. If another call does so already, that one goes on.
    pub(super) fn drain(&self, key: u64) {
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
}
