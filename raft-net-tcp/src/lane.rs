//! One queue to one peer, bounded in bytes.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use raft_core::backend::{Sent, SentDropped};
use raft_core::entry::Entry;
use raft_core::message::{Envelope, Lane, Message};
use tokio::sync::Notify;

use crate::frame::{self, Outgoing};

/// Messages of one lane that wait for one peer.
#[derive(Debug)]
pub(crate) struct Queue {
    lane: Lane,
    limit_bytes: u64,
    state: Mutex<State>,
    filled: Notify,
    emptied: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// The wire version of the connection, if there is one.
    version: Option<u16>,
    waiting: VecDeque<(Envelope, u64)>,
    bytes: u64,
    /// A writer has taken messages that have not left yet.
    writing: bool,
}

/// What a message takes in a queue, in bytes.
pub(crate) fn cost_bytes(envelope: &Envelope) -> u64 {
    let payload = match &envelope.message {
        Message::Append(append) => append.entries.iter().map(Entry::cost_bytes).sum(),
        Message::Snapshot(chunk) => chunk.data.len() as u64 + chunk.membership.len() as u64,
        _ => 0,
    };
    payload + 64
}

impl Queue {
    pub(crate) fn new(lane: Lane, limit_bytes: u64) -> Self {
        let state = Mutex::default();
        Self { lane, limit_bytes, state, filled: Notify::new(), emptied: Notify::new() }
    }

    /// Held for a push or a pop only, never across an await.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a message, if the peer is connected and there is room. On the control lane the newest counts:
    /// the oldest makes room.
    pub(crate) fn push(&self, envelope: Envelope) -> Sent {
        let cost = cost_bytes(&envelope);
        let mut state = self.lock();
        let Some(version) = state.version else { return Sent::Dropped(SentDropped::NotConnected) };
        let Some(message) = envelope.message.for_version(version) else {
            return Sent::Dropped(SentDropped::NotSpoken);
        };
        let envelope = Envelope { message, ..envelope };
        if state.bytes + cost > self.limit_bytes && !state.waiting.is_empty() {
            if self.lane == Lane::Bulk {
                return Sent::Dropped(SentDropped::QueueFull);
            }
            if let Some((_, freed)) = state.waiting.pop_front() {
                state.bytes -= freed;
            }
        }
        state.bytes += cost;
        state.waiting.push_back((envelope, cost));
        drop(state);
        self.filled.notify_one();
        Sent::Queued
    }

    /// A connection is there: messages are taken from now on, as that wire version has them.
    pub(crate) fn open(&self, version: u16) {
        self.lock().version = Some(version);
    }

    /// The connection is gone, and with it what waited.
    pub(crate) fn close(&self) {
        *self.lock() = State::default();
        self.emptied.notify_waiters();
    }

    /// Encodes what waits, up to about `most` bytes. Whether there is anything.
    pub(crate) fn take(&self, out: &mut Outgoing, most: usize) -> bool {
        let mut state = self.lock();
        while out.len() < most {
            let Some((envelope, cost)) = state.waiting.pop_front() else { break };
            state.bytes -= cost;
            frame::encode(envelope, out);
        }
        state.writing = !out.is_empty();
        let idle = !state.writing;
        drop(state);
        if idle {
            self.emptied.notify_waiters();
        }
        !idle
    }

    /// Waits until something was added.
    pub(crate) async fn filled(&self) {
        self.filled.notified().await;
    }

    /// Waits until everything has left, or the connection is gone.
    pub(crate) async fn emptied(&self) {
        loop {
            let mut emptied = std::pin::pin!(self.emptied.notified());
            emptied.as_mut().enable();
            {
                let state = self.lock();
                if state.version.is_none() || (state.waiting.is_empty() && !state.writing) {
                    return;
                }
            }
            emptied.await;
        }
    }
}
