//! Dialling one peer: two connections, one a lane, kept up for ever.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use raft_core::backend::Sent;
use raft_core::membership::Member;
use raft_core::message::{Envelope, Lane};
use raft_core::peering::{Attempts, Reach, count};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::dial::{self, Failure, Link};
use crate::handshake::Said;
use crate::lane::Queue;
use crate::transport::{Options, Shared};

/// One peer, as this node reaches it.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) reach: Reach,
    control: Queue,
    bulk: Queue,
}

impl Peer {
    fn new(member: &Member, is_guest: bool, options: &Options) -> Self {
        let queue = |lane, bytes| Queue::new(lane, bytes, options.queue_messages);
        Self {
            reach: Reach::new(member, is_guest),
            control: queue(Lane::Control, options.control_queue_bytes),
            bulk: queue(Lane::Bulk, options.bulk_queue_bytes),
        }
    }

    pub(crate) fn queue(&self, lane: Lane) -> &Queue {
        match lane {
            Lane::Control => &self.control,
            Lane::Bulk => &self.bulk,
        }
    }

    pub(crate) fn send(&self, lane: Lane, envelope: Envelope) -> Sent {
        self.queue(lane).push(envelope)
    }

    /// Keeps one lane connected. Ends with its task, or when its queue is told to end.
    pub(crate) async fn keep_connected(self: Arc<Self>, lane: Lane, shared: Arc<Shared>) {
        // Each process waits otherwise.
        let random = RandomState::new().hash_one((self.reach.id(), lane));
        let mut attempts = Attempts::new(shared.options.reconnect, random);
        while !self.queue(lane).is_ending() {
            let address = self.reach.address();
            match dial::dial(&self, &address, lane, &shared).await {
                Ok(link) => {
                    count(&shared.counters.dialled);
                    self.reach.lane_up(&shared.inbox);
                    let begun = Instant::now();
                    self.carry(link, lane, &address, &shared).await;
                    self.queue(lane).close();
                    self.reach.lane_down(&shared.inbox);
                    if attempts.ended(begun.elapsed()) {
                        continue;
                    }
                }
                Err(Failure::Connect(error)) => {
                    if attempts.unconnected(&error) {
                        self.reach.gone(&shared.inbox);
                    }
                    tracing::trace!(peer = %self.reach.id(), ?lane, %error, "cannot connect");
                }
                Err(Failure::Io(error)) => {
                    if attempts.ungreeted(&error) {
                        self.reach.gone(&shared.inbox);
                    }
                    tracing::trace!(peer = %self.reach.id(), ?lane, %error, "no handshake");
                }
                Err(Failure::Insecure(error)) => {
                    attempts.unproven();
                    count(&shared.counters.refused);
                    shared.log_stranger(&address, &error);
                }
                Err(Failure::Refused { ours, why }) => {
                    attempts.refused(&why);
                    count(&shared.counters.refused);
                    shared.log_refusal(self.reach.id(), ours, &why);
                    if !ours {
                        shared.inbox.refused(self.reach.id(), why);
                    }
                }
            }
            tokio::select! {
                biased;
                () = self.reach.hurried(lane).notified() => attempts.reset(),
                () = tokio::time::sleep(attempts.wait()) => {}
            }
        }
    }

    /// Returns when the connection has ended, the peer has spoken, or its address has changed. The queue
    /// empties itself meanwhile.
    async fn carry(&self, mut link: Link, lane: Lane, address: &str, shared: &Shared) {
        loop {
            tokio::select! {
                biased;
                // The listener never speaks after the handshake, except to say why it ends.
                reply = link.reply() => {
                    if let Ok(Some(Said::Refused(why))) = reply {
                        shared.inbox.refused(self.reach.id(), why);
                    } else {
                        tracing::debug!(peer = %self.reach.id(), ?lane, ?reply, "connection ended");
                    }
                    return;
                }
                () = self.reach.hurried(lane).notified() => {
                    if self.reach.address() != address {
                        return;
                    }
                }
            }
        }
    }
}

/// A peer and the tasks that keep its lanes connected, until it is dropped.
#[derive(Debug)]
pub(crate) struct Dialled {
    pub(crate) peer: Arc<Peer>,
    tasks: [Option<AbortHandle>; 2],
}

impl Dialled {
    pub(crate) fn new(member: &Member, is_guest: bool, shared: &Arc<Shared>) -> Self {
        let peer = Arc::new(Peer::new(member, is_guest, &shared.options));
        let keep = |lane| {
            let task = Arc::clone(&peer).keep_connected(lane, Arc::clone(shared));
            shared.tasks.spawn(task)
        };
        let tasks = [keep(Lane::Control), keep(Lane::Bulk)];
        Self { peer, tasks }
    }
}

impl AsRef<Reach> for Dialled {
    fn as_ref(&self) -> &Reach {
        &self.peer.reach
    }
}

impl Drop for Dialled {
    fn drop(&mut self) {
        self.tasks.iter().flatten().for_each(AbortHandle::abort);
    }
}
