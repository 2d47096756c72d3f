//! The thread that owns the store.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
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
    Close,
    #[cfg(test)]
    Panic,
}

/// How the thread is asked: in order, and what was asked is done, whoever waits for it (J13).
#[derive(Clone)]
pub(crate) struct Queue(Sender<Request>);

impl Queue {
    /// Its beginning, and its end.
    pub(crate) fn new() -> (Self, Receiver<Request>) {
        let (requests, served) = mpsc::channel();
        (Self(requests), served)
    }

    /// Asks; `None` if the thread has ended.
    pub(crate) async fn ask<T>(
        &self,
        request: impl FnOnce(Answer<T>) -> Request,
    ) -> Option<Result<T, JournalError>> {
        let (answer, answered) = oneshot::channel();
        self.0.send(request(answer)).ok()?;
        answered.await.ok()
    }

    /// The last thing that is asked.
    pub(crate) fn close(&self) {
        // It may have ended.
        let _ = self.0.send(Request::Close);
    }
}

/// Owns the store.
pub(crate) struct Worker {
    store: Store,
    requests: Receiver<Request>,
    /// When the watermark is to be synced.
    settle_at: Option<Instant>,
}

impl Worker {
    /// For this store and the end of its queue.
    pub(crate) const fn new(store: Store, requests: Receiver<Request>) -> Self {
        Self { store, requests, settle_at: None }
    }

    /// Serves requests until the journal is dropped. `runtime` waits for sqlx, which closes the database.
    pub(crate) fn run(mut self, runtime: &Runtime) {
        let served = catch_unwind(AssertUnwindSafe(|| while self.step().is_some() {}));
        // Also after a panic, where nobody is answered any more: it is closed before the lock is free.
        runtime.block_on(if served.is_ok() {
            self.store.close().boxed()
        } else {
            self.store.abandon().boxed()
        });
    }

    /// Does one request, or what is due; `None` after the last.
    fn step(&mut self) -> Option<()> {
        let Some(at) = self.settle_at else {
            return self.requests.recv().ok().and_then(|next| self.serve(next));
        };
        // What is due is done first: there may always be a request.
        let wait = at.checked_duration_since(Instant::now()).filter(|wait| !wait.is_zero());
        let next = wait.map_or(Err(RecvTimeoutError::Timeout), |wait| self.requests.recv_timeout(wait));
        match next {
            Ok(request) => self.serve(request),
            Err(RecvTimeoutError::Timeout) => {
                // An error poisons the store; the next write says so.
                let _ = self.store.settle();
                self.settle_at = None;
                Some(())
            }
            Err(RecvTimeoutError::Disconnected) => None,
        }
    }

    fn serve(&mut self, request: Request) -> Option<()> {
        let store = &mut self.store;
        match request {
            Request::Load(answer) => drop(answer.send(store.load())),
            Request::Write(write, answer) => {
                drop(answer.send(store.write(&write)));
                // Entries are released after the answer: nobody waits for that.
                drop(write);
                self.tidy();
            }
            Request::Purge(upto, answer) => {
                drop(answer.send(store.purge(upto)));
                self.tidy();
            }
            Request::Reset(to, answer) => {
                drop(answer.send(store.reset(to)));
                self.tidy();
            }
            Request::Read(range, max_bytes, answer) => {
                if !answer.is_closed() {
                    drop(answer.send(store.read(range.start, range.end, max_bytes)));
                }
            }
            Request::Verify(range, max_bytes, answer) => {
                if !answer.is_closed() {
                    drop(answer.send(store.verify(range.start, range.end, max_bytes)));
                }
            }
            Request::Close => return None,
            #[cfg(test)]
            Request::Panic => panic!("as a test has asked"),
        }
        Some(())
    }

    /// What nobody waits for: the write-ahead log is moved if it is big, and the watermark synced after a while.
    fn tidy(&mut self) {
        // An error poisons the store, or leaves it as it was: the next write says so.
        let _ = self.store.tidy();
        self.settle_at = (!self.store.is_settled()).then(|| Instant::now() + SETTLE_AFTER);
    }
}

#[cfg(test)]
mod tests {
    use raft_core::ids::{ClusterId, GroupId, NodeId};

    use super::*;
    use crate::open::{self, Origins};
    use crate::options::{Options, Owner};

    async fn store(dir: &std::path::Path) -> Store {
        let owner = Owner { cluster: ClusterId(1), group: GroupId(0), node: NodeId(1) };
        open::create(dir, Origins::New(owner, None), Options::default()).await.unwrap()
    }

    /// Else sqlx would close the database by itself later, under whoever has the lock then.
    #[test]
    fn after_a_panic_the_database_is_closed_before_the_lock_is_free() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("journal");
        let runtime = crate::journal::runtime().unwrap();
        let store = runtime.block_on(store(&dir));
        let (queue, requests) = Queue::new();
        queue.0.send(Request::Panic).unwrap();
        Worker::new(store, requests).run(&runtime);
        // Closing takes it away.
        assert!(!dir.join(crate::wal::WAL).exists());
        assert!(crate::beside::lock(&dir).is_ok());
    }

    /// A queue that is never empty does not keep the watermark from its sync.
    #[tokio::test]
    async fn what_is_due_is_done_before_what_is_asked() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = store(&folder.path().join("journal")).await;
        for index in 1..3 {
            let mut write = JournalWrite::default();
            let kind = raft_core::entry::EntryKind::Noop;
            write.entries = [Entry { id: LogId::new(1, index), kind, data: Default::default() }].into();
            store.write(&write).unwrap();
        }
        assert!(!store.is_settled());
        let (queue, requests) = Queue::new();
        let (answer, mut answered) = oneshot::channel();
        queue.0.send(Request::Load(answer)).unwrap();
        let mut worker = Worker { store, requests, settle_at: Some(Instant::now()) };
        worker.step().unwrap();
        assert!(worker.store.is_settled() && answered.try_recv().is_err());
        worker.step().unwrap();
        assert!(answered.try_recv().is_ok());
        worker.store.close().await;
    }
}
