//! Who uses the store: a thread; and the task that asks for a write, where the options allow it.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::time::{Duration, Instant};

use raft_core::backend::{JournalError, JournalState, JournalWrite, Verified};
use raft_core::entry::Entry;
use raft_core::ids::{Index, LogId};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use crate::store::Store;

/// The watermark is synced after this time without a transaction.
const SETTLE_AFTER: Duration = Duration::from_millis(100);
/// Where the last write took longer, the next one is left to the thread.
const QUICK: Duration = Duration::from_millis(2);

pub(crate) type Answer<T> = oneshot::Sender<Result<T, JournalError>>;

pub(crate) enum Request {
    Load(Answer<JournalState>),
    Write(JournalWrite, Answer<()>),
    Purge(LogId, Answer<()>),
    Reset(LogId, Answer<()>),
    Read(Range<Index>, u64, Answer<Vec<Entry>>),
    Verify(Range<Index>, u64, Answer<Verified>),
    /// The store was written by somebody else: there is a watermark to sync in a while, or the write-ahead log is big.
    Look,
    Close,
}

/// What the thread is asked through.
#[derive(Clone)]
pub(crate) struct Queue {
    requests: Sender<Request>,
    /// What was asked for and is not done yet: no write of the caller's own may overtake it.
    waiting: Arc<AtomicUsize>,
}

impl Queue {
    /// Its beginning, and its end.
    pub(crate) fn new() -> (Self, Receiver<Request>) {
        let (requests, served) = mpsc::channel();
        (Self { requests, waiting: Arc::new(AtomicUsize::new(0)) }, served)
    }

    /// Asks the thread; `None` if it has ended.
    pub(crate) async fn ask<T>(
        &self,
        request: impl FnOnce(Answer<T>) -> Request,
    ) -> Option<Result<T, JournalError>> {
        let (answer, answered) = oneshot::channel();
        self.waiting.fetch_add(1, Ordering::AcqRel);
        self.requests.send(request(answer)).ok()?;
        answered.await.ok()
    }

    /// What nobody waits for. The thread may have died: the next one that asks it is told so.
    fn tell(&self, request: Request) {
        let _ = self.requests.send(request);
    }
}

/// A store that its thread and its caller use by turns.
struct Held {
    /// `None` once it is closed.
    store: Option<Store>,
    /// The thread will look at the watermark by itself.
    watched: bool,
    written_at: Instant,
}

type Shared = Arc<Mutex<Held>>;

/// How the caller reaches the store.
pub(crate) struct Desk {
    shared: Shared,
    queue: Queue,
    /// Up to this many bytes the caller writes by itself.
    inline_bytes: u64,
    /// What the last write took.
    took: Duration,
}

impl Desk {
    /// Asks the thread.
    pub(crate) async fn ask<T>(&self, request: impl FnOnce(Answer<T>) -> Request) -> Result<T, JournalError> {
        let gone = || JournalError::Poisoned { cause: "the journal's thread has died".into() };
        self.queue.ask(request).await.ok_or_else(gone)?
    }

    /// How others ask it.
    pub(crate) const fn queue(&self) -> &Queue {
        &self.queue
    }

    /// Writes, where that is allowed by this thread itself: to wake another one and to be woken by it takes a good part of
    /// the time of a sync.
    pub(crate) async fn write(&mut self, write: JournalWrite) -> Result<(), JournalError> {
        let mut begun = Instant::now();
        if self.suits(&write) {
            // What was begun before goes on first: messages that wait to be sent most of all.
            tokio::task::yield_now().await;
            begun = Instant::now();
            if let Some(done) = self.write_inline(&write) {
                self.took = begun.elapsed();
                return done;
            }
        }
        let done = self.ask(|answer| Request::Write(write, answer)).await;
        self.took = begun.elapsed();
        done
    }

    fn suits(&self, write: &JournalWrite) -> bool {
        self.inline_bytes > 0
            && self.took <= QUICK
            && self.queue.waiting.load(Ordering::Acquire) == 0
            && write.entries.iter().map(Entry::cost_bytes).sum::<u64>() <= self.inline_bytes
    }

    /// `None` if the thread has to do it.
    fn write_inline(&self, write: &JournalWrite) -> Option<Result<(), JournalError>> {
        let mut held = match self.shared.try_lock() {
            Ok(held) => held,
            Err(TryLockError::WouldBlock | TryLockError::Poisoned(_)) => return None,
        };
        let store = held.store.as_mut()?;
        let done = store.write(write);
        let (settled, untidy) = (store.is_settled(), store.is_untidy());
        held.written_at = Instant::now();
        let watch = !settled && !held.watched;
        held.watched |= watch;
        drop(held);
        if watch || untidy {
            self.queue.tell(Request::Look);
        }
        Some(done)
    }

    /// The last thing that is asked.
    pub(crate) fn close(&self) {
        self.queue.tell(Request::Close);
    }
}

/// The thread's side.
pub(crate) struct Worker {
    shared: Shared,
    requests: Receiver<Request>,
    waiting: Arc<AtomicUsize>,
    /// When to look whether the watermark is to be synced.
    settle_at: Option<Instant>,
}

impl Worker {
    /// For this store; and the way to it, by a queue with its end.
    pub(crate) fn new(store: Store, queue: Queue, requests: Receiver<Request>) -> (Self, Desk) {
        let inline_bytes = store.options.inline_bytes;
        let held = Held { store: Some(store), watched: false, written_at: Instant::now() };
        let (shared, waiting) = (Arc::new(Mutex::new(held)), Arc::clone(&queue.waiting));
        let desk = Desk { shared: Arc::clone(&shared), queue, inline_bytes, took: Duration::ZERO };
        (Self { shared, requests, waiting, settle_at: None }, desk)
    }

    /// Serves requests until the journal is dropped. `runtime` waits for sqlx, which closes the database.
    pub(crate) fn run(mut self, runtime: &Runtime) {
        while self.step().is_some() {}
        // After a panic nobody knows what the store is: it is dropped.
        let store = self.lock().and_then(|mut held| held.store.take());
        if let Some(store) = store {
            runtime.block_on(store.close());
        }
    }

    fn lock(&self) -> Option<MutexGuard<'_, Held>> {
        self.shared.lock().ok()
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
        let shared = Arc::clone(&self.shared);
        let mut held = shared.lock().ok()?;
        let store = held.store.as_mut()?;
        match request {
            Request::Load(answer) => self.answer(answer, store.load()),
            Request::Write(write, answer) => {
                let done = store.write(&write);
                self.answer(answer, done);
                // Entries are released after the answer: nobody waits for that.
                drop(write);
                held.written_at = Instant::now();
                self.tidy(&mut held);
            }
            Request::Purge(upto, answer) => {
                let done = store.purge(upto);
                self.answer(answer, done);
                self.tidy(&mut held);
            }
            Request::Reset(to, answer) => {
                let done = store.reset(to);
                self.answer(answer, done);
                self.tidy(&mut held);
            }
            Request::Read(range, max_bytes, answer) => {
                let wanted = !answer.is_closed();
                let read = wanted.then(|| store.read(range.start, range.end, max_bytes));
                self.answer_if(answer, read);
            }
            Request::Verify(range, max_bytes, answer) => {
                let wanted = !answer.is_closed();
                let found = wanted.then(|| store.verify(range.start, range.end, max_bytes));
                self.answer_if(answer, found);
            }
            Request::Look => self.tidy(&mut held),
            Request::Close => return None,
        }
        Some(())
    }

    /// From here on the caller may write by itself: it is not to wait for this.
    fn answer<T>(&self, answer: Answer<T>, done: Result<T, JournalError>) {
        self.answer_if(answer, Some(done));
    }

    fn answer_if<T>(&self, answer: Answer<T>, done: Option<Result<T, JournalError>>) {
        self.waiting.fetch_sub(1, Ordering::AcqRel);
        if let Some(done) = done {
            drop(answer.send(done));
        }
    }

    /// What nobody waits for: the write-ahead log is moved if it is big, and the watermark is looked at after a while.
    fn tidy(&mut self, held: &mut Held) {
        let Some(store) = &mut held.store else { return };
        // An error poisons the store, or leaves it as it was: the next write says so.
        let _ = store.tidy();
        held.watched = !store.is_settled();
        if held.watched {
            let again = Instant::now() + SETTLE_AFTER;
            self.settle_at.get_or_insert(again);
        }
    }

    /// Syncs the watermark, unless there were transactions meanwhile.
    fn settle(&mut self) -> Option<()> {
        let mut held = self.shared.lock().ok()?;
        let at = held.written_at + SETTLE_AFTER;
        if at > Instant::now() {
            self.settle_at = Some(at);
            return Some(());
        }
        // An error poisons the store; the next write says so.
        let _ = held.store.as_mut()?.settle();
        held.watched = false;
        self.settle_at = None;
        Some(())
    }
}
