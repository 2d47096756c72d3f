//! What waits for one lane of one peer.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use raft_core::backend::{Sent, SentDropped};
use raft_core::message::{Envelope, Lane};
use tokio::sync::Notify;

use super::codec::payload_bytes;
use super::lies::Lie;

const LIMIT_BYTES: usize = 32 << 20;

#[derive(Debug, Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    pub(crate) filled: Notify,
}

#[derive(Debug, Default)]
struct State {
    connected: bool,
    waiting: VecDeque<Envelope>,
    bytes: usize,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn push(&self, envelope: Envelope, lie: Option<Lie>) -> Sent {
        let cost = payload_bytes(&envelope.message) + 200;
        let mut state = self.lock();
        if lie != Some(Lie::QueuesWithoutBoundForADeadPeer) {
            if !state.connected {
                return Sent::Dropped(SentDropped::NotConnected);
            }
            if !state.waiting.is_empty() && state.bytes + cost > LIMIT_BYTES {
                return Sent::Dropped(SentDropped::QueueFull);
            }
        }
        state.bytes += cost;
        state.waiting.push_back(envelope);
        if lie == Some(Lie::ReordersInsideAStream) && state.waiting.len() == 2 {
            state.waiting.swap(0, 1);
        }
        drop(state);
        self.filled.notify_one();
        Sent::Queued
    }

    pub(crate) fn pop(&self) -> Option<Envelope> {
        let mut state = self.lock();
        let envelope = state.waiting.pop_front()?;
        state.bytes -= payload_bytes(&envelope.message) + 200;
        Some(envelope)
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.lock().connected
    }

    pub(crate) fn open(&self) {
        self.lock().connected = true;
    }

    /// What waited for a connection is lost with it.
    pub(crate) fn close(&self) {
        *self.lock() = State::default();
    }
}

pub(crate) const fn lane_number(lane: Lane) -> u8 {
    match lane {
        Lane::Control => 0,
        Lane::Bulk => 1,
    }
}
