//! Who uses the store: whoever asks for a write that waits for nothing but SQLite, and a thread for everything else.
//!
//! To wake a thread and to be woken by it takes a good part of what a sync takes, and sqlx has a thread of its own already.

use std::future::{Future, poll_fn};
use std::ops::Range;
use std::pin::Pin;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::Shared;
use raft_core::backend::{JournalError, JournalState, JournalWrite, Verified};
use raft_core::entry::Entry;
use raft_core::ids::{Index, LogId};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use crate::store::Store;

/// The watermark is synced after this time without a transaction.
const SETTLE_AFTER: Duration = Duration::from_millis(100);

pub(crate) type Answer<T> = oneshot::Sender<Result<T, JournalError>>;

pub(crate) enum Request {
    Load(Answer<JournalState>),
    Write(JournalWrite, Answer<()>),
    Purge(LogId, Answer<()>),
    Reset(LogId, Answer<()>),
    Read(Range<Index>, u64, Answer<Vec<Entry>>),
    Verify(Range<Index>, u64, Answer<Verified>),
    /// There is a watermark to sync, in a while.
    Watch,
    /// A write has lost its caller, or the write-ahead log is big.
    Tend,
    Close,
}

/// A write of the caller's. Whoever polls it carries it on; it is whole whoever stops doing so.
type UnderWay = Shared<Pin<Box<dyn Future<Output = Result<(), JournalError>> + Send>>>;

/// Where the store is while nobody uses it.
struct Seat {
    store: Option<Box<Store>>,
    /// The caller's write that uses it.
    under_way: Option<UnderWay>,
    /// Requests of the caller that the thread has not done yet: nothing may overtake them.
    waiting: usize,
    /// The thread has waited for it.
    wanted: bool,
    /// Wakes the thread, which waits for the write that is under way.
    waiter: Option<Waker>,
    /// The thread will look at the watermark by itself.
    watched: bool,
    written_at: Instant,
}

type SharedSeat = Arc<Mutex<Seat>>;

fn lock(seat: &SharedSeat) -> MutexGuard<'_, Seat> {
    // Nothing in there can panic half way.
    seat.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How the caller reaches the store.
pub(crate) struct Desk {
    seat: SharedSeat,
    queue: Sender<Request>,
}

impl Desk {
    /// Asks the thread.
    pub(crate) async fn ask<T>(&self, request: impl FnOnce(Answer<T>) -> Request) -> Result<T, JournalError> {
        let (answer, answered) = oneshot::channel();
        let gone = || JournalError::Poisoned { cause: "the journal's thread has died".into() };
        lock(&self.seat).waiting += 1;
        self.queue.send(request(answer)).map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }

    /// Writes: here, where the store is free and nothing but SQLite has to be waited for.
    pub(crate) async fn write(&self, mut write: JournalWrite) -> Result<(), JournalError> {
        match self.begin(&mut write) {
            Some(under_way) => Asked { under_way, desk: Some(self) }.await,
            None => self.ask(|answer| Request::Write(write, answer)).await,
        }
    }

    /// Takes the write; or leaves it, if the thread has to do it.
    fn begin(&self, write: &mut JournalWrite) -> Option<UnderWay> {
        let mut seat = lock(&self.seat);
        if seat.waiting > 0 || seat.wanted {
            return None;
        }
        let mut store = seat.store.take_if(|store| store.waits_for_sqlite_only(write))?;
        let write = std::mem::take(write);
        let (place, queue) = (Arc::clone(&self.seat), self.queue.clone());
        let run = async move {
            let done = store.write(&write).await;
            let (settled, big) = (store.is_settled(), store.is_untidy());
            let mut seat = lock(&place);
            let watch = !settled && !seat.watched;
            seat.watched |= watch;
            seat.written_at = Instant::now();
            (seat.store, seat.under_way) = (Some(store), None);
            drop(seat);
            // It may have died: the next one that it is asked for says so.
            if watch {
                let _ = queue.send(Request::Watch);
            }
            if big {
                let _ = queue.send(Request::Tend);
            }
            done
        };
        let under_way = run.boxed().shared();
        seat.under_way = Some(under_way.clone());
        Some(under_way)
    }

    /// The last thing that is asked.
    pub(crate) fn close(&self) {
        let _ = self.queue.send(Request::Close);
    }
}

/// A write that its caller waits for. When the caller does so no more, the thread ends it (J13).
struct Asked<'a> {
    under_way: UnderWay,
    /// `None` once it is done.
    desk: Option<&'a Desk>,
}

impl Future for Asked<'_> {
    type Output = Result<(), JournalError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let done = self.under_way.poll_unpin(context);
        if done.is_ready() {
            self.desk = None;
        } else if let Some(desk) = self.desk
            && let Some(waiter) = lock(&desk.seat).waiter.take()
        {
            // If the thread came during this poll it left the write to us, and has not heard of what SQLite may have
            // answered meanwhile. We may never poll again.
            waiter.wake();
        }
        done
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        if let Some(desk) = self.desk {
            let _ = desk.queue.send(Request::Tend);
        }
    }
}

/// The thread's side.
pub(crate) struct Worker {
    seat: SharedSeat,
    runtime: Runtime,
    requests: Receiver<Request>,
    /// When to look whether the watermark is to be synced.
    settle_at: Option<Instant>,
}

impl Worker {
    /// For this store; and the way to it, whose other end is `requests`.
    pub(crate) fn new(
        store: Store,
        runtime: Runtime,
        queue: Sender<Request>,
        requests: Receiver<Request>,
    ) -> (Self, Desk) {
        let seat = Seat {
            store: Some(Box::new(store)),
            under_way: None,
            waiting: 0,
            wanted: false,
            waiter: None,
            watched: false,
            written_at: Instant::now(),
        };
        let seat = Arc::new(Mutex::new(seat));
        let desk = Desk { seat: Arc::clone(&seat), queue };
        (Self { seat, runtime, requests, settle_at: None }, desk)
    }

    /// Serves requests until the journal is dropped.
    pub(crate) fn run(mut self) {
        while self.step().is_some() {}
        if let Some(store) = self.take() {
            self.runtime.block_on(store.close());
        }
    }

    /// Does one request, or what is due while there is none; `None` after the last.
    fn step(&mut self) -> Option<()> {
        let wait = self.settle_at.map(|at| at.saturating_duration_since(Instant::now()));
        let request = match wait {
            None => self.requests.recv().ok()?,
            Some(Duration::ZERO) => return self.settle(),
            Some(wait) => match self.requests.recv_timeout(wait) {
                Ok(request) => request,
                Err(RecvTimeoutError::Timeout) => return self.settle(),
                Err(RecvTimeoutError::Disconnected) => return None,
            },
        };
        self.serve(request)
    }

    fn serve(&mut self, request: Request) -> Option<()> {
        match request {
            Request::Load(answer) => {
                let store = self.take()?;
                let state = store.load();
                self.put(store, true);
                drop(answer.send(state));
            }
            Request::Write(write, answer) => {
                let mut store = self.take()?;
                let done = self.runtime.block_on(store.write(&write));
                self.answer(store, answer, done);
                // Entries are released after the answer: nobody waits for that.
                drop(write);
                self.watch();
            }
            Request::Purge(upto, answer) => {
                let mut store = self.take()?;
                let done = self.runtime.block_on(store.purge(upto));
                self.answer(store, answer, done);
            }
            Request::Reset(to, answer) => {
                let mut store = self.take()?;
                let done = self.runtime.block_on(store.reset(to));
                self.put(store, true);
                drop(answer.send(done));
            }
            Request::Verify(range, max_bytes, answer) => {
                if !answer.is_closed() {
                    let mut store = self.take()?;
                    let done = self.runtime.block_on(store.verify(range.start, range.end, max_bytes));
                    self.put(store, false);
                    drop(answer.send(done));
                }
            }
            Request::Read(range, max_bytes, answer) => {
                if !answer.is_closed() {
                    let mut store = self.take()?;
                    let done = self.runtime.block_on(store.read(range.start, range.end, max_bytes));
                    self.put(store, false);
                    drop(answer.send(done));
                }
            }
            Request::Watch => self.watch(),
            Request::Tend => {
                let store = self.take()?;
                self.tidy(store);
                self.watch();
            }
            Request::Close => return None,
        }
        Some(())
    }

    /// Takes the store. A write that uses it is carried on to its end here: its caller may not poll it now, or ever.
    fn take(&self) -> Option<Box<Store>> {
        loop {
            let mut under_way = {
                let mut seat = lock(&self.seat);
                if let Some(store) = seat.store.take() {
                    (seat.wanted, seat.waiter) = (false, None);
                    return Some(store);
                }
                seat.wanted = true;
                seat.under_way.clone()?
            };
            // Its caller gets the same answer.
            drop(self.runtime.block_on(poll_fn(|context| {
                // Before each poll, so that whoever is at it finds it afterwards.
                lock(&self.seat).waiter = Some(context.waker().clone());
                under_way.poll_unpin(context)
            })));
        }
    }

    /// From here on the caller may use it by itself, if it waits for nothing else.
    fn put(&self, store: Box<Store>, answers: bool) {
        let mut seat = lock(&self.seat);
        seat.store = Some(store);
        seat.waiting -= usize::from(answers);
    }

    /// Answers, and keeps the store until it is tidy.
    fn answer(&self, store: Box<Store>, answer: Answer<()>, done: Result<(), JournalError>) {
        if store.is_untidy() {
            lock(&self.seat).waiting -= 1;
            drop(answer.send(done));
            self.tidy(store);
        } else {
            self.put(store, true);
            drop(answer.send(done));
        }
    }

    fn tidy(&self, mut store: Box<Store>) {
        // An error poisons the store, or leaves it as it was: the next write says so.
        let _ = self.runtime.block_on(store.tidy());
        self.put(store, false);
    }

    /// Looks again after a while without a transaction.
    fn watch(&mut self) {
        let mut seat = lock(&self.seat);
        seat.watched = seat.store.as_ref().is_none_or(|store| !store.is_settled());
        self.settle_at = seat.watched.then(|| Instant::now() + SETTLE_AFTER);
    }

    /// Syncs the watermark, unless there were transactions meanwhile.
    fn settle(&mut self) -> Option<()> {
        let at = {
            let seat = lock(&self.seat);
            let last = if seat.store.is_some() { seat.written_at } else { Instant::now() };
            last + SETTLE_AFTER
        };
        if at > Instant::now() {
            self.settle_at = Some(at);
            return Some(());
        }
        let mut store = self.take()?;
        // An error poisons the store; the next write says so.
        let _ = store.settle();
        self.settle_at = None;
        lock(&self.seat).watched = false;
        self.put(store, false);
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use tokio::runtime::Builder;

    use super::*;

    /// Longer than anything here takes: only a test that fails waits for so long.
    const NEVER: Duration = Duration::from_secs(60);

    /// SQLite has answered and the thread has come for the store, both while the caller was polling: only the caller was woken.
    #[test]
    fn what_came_during_the_last_poll_of_a_caller_is_not_lost_with_it() {
        let (parks, parked) = mpsc::channel();
        let parks = move || parks.send(()).unwrap_or_default();
        let runtime = Builder::new_current_thread().on_thread_park(parks).build().unwrap();
        let seat = Arc::new(Mutex::new(Seat {
            store: None,
            under_way: None,
            waiting: 0,
            wanted: false,
            waiter: None,
            watched: false,
            written_at: Instant::now(),
        }));
        let (queue, requests) = mpsc::channel();
        let worker = Worker { seat: Arc::clone(&seat), runtime, requests, settle_at: None };
        let desk = Desk { seat: Arc::clone(&seat), queue };
        let (ends, ended) = mpsc::channel();
        let mut comes = Some(move || {
            // There is no store in this test: it is over once the write is.
            thread::spawn(move || ends.send(worker.take().is_none()));
            parked.recv_timeout(NEVER).unwrap();
        });
        let place = Arc::clone(&seat);
        let run = poll_fn(move |context| match comes.take() {
            Some(comes) => {
                context.waker().wake_by_ref();
                comes();
                Poll::Pending
            }
            None => {
                lock(&place).under_way = None;
                Poll::Ready(Ok(()))
            }
        });
        let under_way = run.boxed().shared();
        lock(&seat).under_way = Some(under_way.clone());
        let mut asked = Asked { under_way, desk: Some(&desk) };
        assert!(asked.poll_unpin(&mut Context::from_waker(Waker::noop())).is_pending());
        drop(asked);
        assert_eq!(ended.recv_timeout(NEVER), Ok(true), "the thread waits for ever");
    }
}
