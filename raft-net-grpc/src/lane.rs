//! One queue to one peer, bounded in messages and bytes, and the stream that empties it.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use raft_core::backend::{Sent, SentDropped};
use raft_core::entry::Entry;
use raft_core::message::{Envelope, Lane, Message};
use tokio::sync::{Notify, mpsc};
use tonic::codegen::tokio_stream::Stream;

use crate::codec::ENTRIES;
use crate::convert;
use crate::peer::Peer;
use crate::proto::Frame;

/// Messages of one lane that wait for one peer.
#[derive(Debug)]
pub(crate) struct Queue {
    lane: Lane,
    limit_bytes: u64,
    limit_messages: usize,
    state: Mutex<State>,
    closed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// The connection that may take messages, if there is one.
    connection: Option<u64>,
    /// The wire version that it speaks.
    version: u16,
    /// Counts the connections.
    connections: u64,
    waiting: VecDeque<(Envelope, u64)>,
    bytes: u64,
    /// Nothing is taken in any more; what waits may leave.
    ending: bool,
    taker: Option<Waker>,
}

/// What a message takes in a queue, in bytes. Never less than it has on the wire, but for a fixed rest.
pub(crate) fn cost_bytes(envelope: &Envelope) -> u64 {
    let payload = match &envelope.message {
        Message::Append(append) => append.entries.iter().map(Entry::cost_bytes).sum(),
        Message::Snapshot(chunk) => chunk.data.len() as u64 + chunk.membership.len() as u64,
        _ => 0,
    };
    payload + 64
}

/// Whether a message may be sent at all.
pub(crate) fn is_sendable(envelope: &Envelope, limit_bytes: u64) -> bool {
    let few = match &envelope.message {
        Message::Append(append) => append.entries.len() as u64 <= ENTRIES,
        _ => true,
    };
    few && cost_bytes(envelope) <= limit_bytes
}

impl Queue {
    pub(crate) fn new(lane: Lane, limit_bytes: u64, limit_messages: usize) -> Self {
        Self { lane, limit_bytes, limit_messages, state: Mutex::default(), closed: Notify::new() }
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
        if state.connection.is_none() || state.ending {
            return Sent::Dropped(SentDropped::NotConnected);
        }
        let Some(message) = envelope.message.for_version(state.version) else {
            return Sent::Dropped(SentDropped::NotSpoken);
        };
        let envelope = Envelope { message, ..envelope };
        let too_many = state.waiting.len() >= self.limit_messages;
        if (too_many || state.bytes + cost > self.limit_bytes) && !state.waiting.is_empty() {
            if self.lane == Lane::Bulk {
                return Sent::Dropped(SentDropped::QueueFull);
            }
            if let Some((_, freed)) = state.waiting.pop_front() {
                state.bytes -= freed;
            }
        }
        state.bytes += cost;
        state.waiting.push_back((envelope, cost));
        let taker = state.taker.take();
        drop(state);
        if let Some(taker) = taker {
            taker.wake();
        }
        Sent::Queued
    }

    /// A connection is there: messages are taken from now on, for it alone, as that wire version has them.
    fn open(&self, version: u16) -> u64 {
        let mut state = self.lock();
        state.version = version;
        state.connections += 1;
        state.connection = Some(state.connections);
        state.connections
    }

    /// The connection is gone, and with it what waited.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        let State { connections, ending, .. } = *state;
        let old = std::mem::replace(&mut *state, State { connections, ending, ..State::default() });
        drop(state);
        self.closed.notify_waiters();
        if let Some(taker) = old.taker {
            taker.wake();
        }
    }

    /// What waits may leave, then the connection ends.
    pub(crate) fn end(&self) {
        let mut state = self.lock();
        state.ending = true;
        let taker = state.taker.take();
        drop(state);
        if let Some(taker) = taker {
            taker.wake();
        }
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.lock().ending
    }

    /// Waits until there is no connection.
    pub(crate) async fn closed(&self) {
        loop {
            let mut closed = std::pin::pin!(self.closed.notified());
            closed.as_mut().enable();
            if self.lock().connection.is_none() {
                return;
            }
            closed.await;
        }
    }

    /// The next frame for this connection; `None` when it is to end.
    fn poll_take(&self, connection: u64, context: &Context<'_>) -> Poll<Option<Frame>> {
        let mut state = self.lock();
        if state.connection != Some(connection) {
            return Poll::Ready(None);
        }
        while let Some((envelope, cost)) = state.waiting.pop_front() {
            state.bytes -= cost;
            // A kind that this version does not have is as good as lost.
            if let Some(frame) = convert::to_frame(envelope) {
                return Poll::Ready(Some(frame));
            }
        }
        if state.ending {
            return Poll::Ready(None);
        }
        state.taker = Some(context.waker().clone());
        Poll::Pending
    }
}

/// What the dialler says on one stream: what it is told to during the handshake, then its queue.
#[derive(Debug)]
pub(crate) struct Outbound {
    peer: Arc<Peer>,
    lane: Lane,
    greetings: mpsc::Receiver<Greeting>,
    connection: Option<u64>,
}

/// A step of the handshake.
#[derive(Debug)]
enum Greeting {
    Frame(Frame),
    /// The last: the queue's messages follow, for this connection.
    Ready(Frame, u64),
}

/// Steers an [`Outbound`]. Dropped before it is ready, it ends the stream.
#[derive(Debug)]
pub(crate) struct Greeter {
    peer: Arc<Peer>,
    lane: Lane,
    sender: mpsc::Sender<Greeting>,
}

/// A stream to a peer.
pub(crate) fn outbound(peer: Arc<Peer>, lane: Lane) -> (Greeter, Outbound) {
    let (sender, greetings) = mpsc::channel(2);
    let outbound = Outbound { peer: Arc::clone(&peer), lane, greetings, connection: None };
    (Greeter { peer, lane, sender }, outbound)
}

impl Greeter {
    /// Says one thing more.
    pub(crate) fn say(&self, frame: Frame) {
        // A stream that has ended hears nothing, and there is room for all that is ever said.
        let _ = self.sender.try_send(Greeting::Frame(frame));
    }

    /// Opens the queue.
    pub(crate) fn ready(self, frame: Frame, version: u16) {
        let connection = self.peer.queue(self.lane).open(version);
        let _ = self.sender.try_send(Greeting::Ready(frame, connection));
    }
}

impl Stream for Outbound {
    type Item = Frame;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Frame>> {
        let this = self.get_mut();
        if let Some(connection) = this.connection {
            return this.peer.queue(this.lane).poll_take(connection, context);
        }
        this.greetings.poll_recv(context).map(|greeting| match greeting? {
            Greeting::Frame(frame) => Some(frame),
            Greeting::Ready(frame, connection) => {
                this.connection = Some(connection);
                Some(frame)
            }
        })
    }
}
