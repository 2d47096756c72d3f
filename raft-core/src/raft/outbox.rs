//! Messages that were decided on and wait to be pulled. Only this file, together with `Raft::poll_message`,
//! decides when a message may leave.

use alloc::collections::VecDeque;

use crate::ids::NodeId;
use crate::message::{Envelope, Message};

/// Messages waiting; more than this many means that nobody pulls, and the oldest go.
const LIMIT: usize = 4096;

/// Answers, votes and heartbeats in order. Appends are not here: they are built when pulled.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Outbox {
    queue: VecDeque<Envelope>,
}

impl Outbox {
    /// Adds a message. A newer heartbeat or heartbeat answer replaces an unsent older one to the same
    /// peer. Returns how many were dropped for room.
    pub(crate) fn push(&mut self, envelope: Envelope) -> u64 {
        let same = |a: &Message, b: &Message| {
            matches!(
                (a, b),
                (Message::Heartbeat(_), Message::Heartbeat(_))
                    | (Message::HeartbeatReply(_), Message::HeartbeatReply(_))
            )
        };
        let older = self.queue.iter_mut().find(|waiting| {
            waiting.to == envelope.to
                && waiting.term == envelope.term
                && same(&waiting.message, &envelope.message)
        });
        if let Some(older) = older {
            *older = envelope;
            return 0;
        }
        self.queue.push_back(envelope);
        if self.queue.len() > LIMIT {
            self.queue.pop_front();
            return 1;
        }
        0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(crate) fn pop(&mut self) -> Option<Envelope> {
        self.queue.pop_front()
    }

    /// Whoever asked for votes is no candidate any more, or one of another term: what of it has not left, while its term
    /// was on its way to the disk, would only disturb.
    pub(crate) fn ask_no_more(&mut self) {
        self.queue.retain(|waiting| !matches!(waiting.message, Message::Vote(_)));
    }

    /// Forgets what is meant for one peer, which is out of reach.
    pub(crate) fn forget(&mut self, peer: NodeId) {
        self.queue.retain(|waiting| waiting.to != peer);
    }
}
