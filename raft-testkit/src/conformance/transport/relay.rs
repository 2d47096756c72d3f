//! Stands between two transports and spoils what passes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};

use super::super::{ClauseFailure, ok};
use super::TransportBackend;
use super::end::{End, fresh};
use super::wire::{ByteStream, Wire, WireListener};

/// What happens to the bytes that the dialling side sends from now on.
#[derive(Clone, Debug, Default)]
pub(super) enum Fault {
    /// Nothing.
    #[default]
    None,
    /// One bit of the byte with this number is flipped.
    Flip(u64),
    /// After so many bytes the connection is closed at both ends.
    Cut(u64),
    /// These bytes go on instead of the next ones, and nothing after them.
    Replace(Vec<u8>),
    /// Nothing goes on in either direction, and nothing is closed.
    Stall,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    fault: Fault,
    /// Bytes since the fault was set.
    passed: u64,
    /// Connections whose bytes were replaced, and that the listening side has closed since.
    thrown_out: usize,
}

/// A relay in front of one transport.
pub(super) struct Relay {
    shared: Arc<Shared>,
    task: AbortHandle,
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What is to be done with a piece.
enum Step {
    Pass(Vec<u8>),
    PassAndClose(Vec<u8>),
    PassAndSwallow(Vec<u8>),
    Wait(Vec<u8>),
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn step(&self, piece: Vec<u8>) -> Step {
        let step = Self::decide(&mut self.lock(), piece);
        self.changed.notify_waiters();
        step
    }

    fn decide(state: &mut State, mut piece: Vec<u8>) -> Step {
        let from = state.passed;
        state.passed += piece.len() as u64;
        let place = |at: u64| at.checked_sub(from).and_then(|at| usize::try_from(at).ok());
        match state.fault {
            Fault::None => Step::Pass(piece),
            Fault::Flip(at) => {
                if let Some(byte) = place(at).and_then(|at| piece.get_mut(at)) {
                    *byte ^= 0x04;
                    state.fault = Fault::None;
                }
                Step::Pass(piece)
            }
            Fault::Cut(at) => match place(at) {
                Some(at) if at < piece.len() => {
                    piece.truncate(at);
                    state.fault = Fault::None;
                    Step::PassAndClose(piece)
                }
                _ => Step::Pass(piece),
            },
            Fault::Replace(ref bytes) => {
                let bytes = bytes.clone();
                state.fault = Fault::None;
                Step::PassAndSwallow(bytes)
            }
            Fault::Stall => {
                state.passed = from;
                Step::Wait(piece)
            }
        }
    }

    async fn until(&self, is: impl Fn(&State) -> bool) {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if is(&self.lock()) {
                return;
            }
            changed.await;
        }
    }

    async fn stall_is_over(&self) {
        self.until(|state| !matches!(state.fault, Fault::Stall)).await;
    }

    async fn carry(&self, from: Box<dyn ByteStream>, onward: Box<dyn ByteStream>) {
        let (mut from_read, mut from_write) = tokio::io::split(from);
        let (mut to_read, mut to_write) = tokio::io::split(onward);
        let replaced = Mutex::new(false);
        let forth = async {
            let mut buffer = vec![0; 64 << 10];
            loop {
                let Ok(count @ 1..) = from_read.read(&mut buffer).await else { return };
                let mut step = self.step(buffer.get(..count).unwrap_or_default().to_vec());
                while let Step::Wait(piece) = step {
                    self.stall_is_over().await;
                    step = self.step(piece);
                }
                let (piece, end, swallow) = match step {
                    Step::Pass(piece) | Step::Wait(piece) => (piece, false, false),
                    Step::PassAndClose(piece) => (piece, true, false),
                    Step::PassAndSwallow(piece) => (piece, false, true),
                };
                let written = to_write.write_all(&piece).await;
                if written.is_err() || to_write.flush().await.is_err() || end {
                    return;
                }
                if swallow {
                    *replaced.lock().unwrap_or_else(PoisonError::into_inner) = true;
                    while let Ok(1..) = from_read.read(&mut buffer).await {}
                    // The dialler has left; the other end is still to be heard.
                    std::future::pending::<()>().await;
                }
            }
        };
        let back = async {
            let mut buffer = vec![0; 64 << 10];
            loop {
                let Ok(count @ 1..) = to_read.read(&mut buffer).await else { return };
                self.stall_is_over().await;
                let piece = buffer.get(..count).unwrap_or_default();
                if from_write.write_all(piece).await.is_err() || from_write.flush().await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            biased;
            () = back => {}
            () = forth => {}
        }
        if *replaced.lock().unwrap_or_else(PoisonError::into_inner) {
            self.lock().thrown_out += 1;
            self.changed.notify_waiters();
        }
    }

    async fn accept(self: Arc<Self>, mut listener: Box<dyn WireListener>, wire: Arc<dyn Wire>, to: String) {
        let mut connections = JoinSet::new();
        while let Ok(from) = listener.accept().await {
            while connections.try_join_next().is_some() {}
            let (shared, wire, to) = (Arc::clone(&self), Arc::clone(&wire), to.clone());
            connections.spawn(async move {
                shared.stall_is_over().await;
                if let Ok(onward) = wire.dial(&to).await {
                    shared.carry(from, onward).await;
                }
            });
        }
    }
}

impl Relay {
    /// Two ends, connected; all that the first sends to the second passes the relay.
    pub(super) async fn between<B: TransportBackend>(backend: &B) -> Result<(End, End, Self), ClauseFailure> {
        let wire = backend.wire()?;
        let (one, mut two) = (End::start(backend, 1).await?, End::start(backend, 2).await?);
        let address = backend.address();
        let listener = ok("listening in between", wire.listen(&address).await)?;
        let shared = Arc::new(Shared::default());
        let accept = Arc::clone(&shared).accept(listener, wire, two.address.clone());
        let relay = Self { shared, task: tokio::spawn(accept).abort_handle() };
        // The second knows nobody: there is no other way between them.
        two.address = address;
        one.transport.members(&[two.member()]);
        one.is_up(&two).await;
        relay.quiesce(&one, &two).await?;
        Ok((one, two, relay))
    }

    /// Until something has passed on both lanes: nothing of a handshake is under way any more.
    pub(super) async fn quiesce(&self, one: &End, two: &End) -> Result<(), ClauseFailure> {
        one.reach(two, fresh()).await?;
        one.reach_bulk(two).await
    }

    pub(super) fn set(&self, fault: Fault) {
        {
            let mut state = self.shared.lock();
            state.fault = fault;
            state.passed = 0;
        }
        self.shared.changed.notify_waiters();
    }

    /// Returns once the fault has come to pass.
    pub(super) async fn done(&self) {
        self.shared.until(|state| matches!(state.fault, Fault::None)).await;
    }

    /// Returns once the listening side has closed a connection whose bytes were replaced.
    pub(super) async fn thrown_out(&self) {
        self.shared.until(|state| state.thrown_out > 0).await;
    }
}
