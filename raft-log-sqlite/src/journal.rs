//! The journal for a node: what it takes, and reading beside it.

use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::{self, JoinHandle};

use async_trait::async_trait;
use raft_core::backend::{
    Journal, JournalError, JournalReader, JournalState, JournalWrite, OpenError, Verified,
};
use raft_core::entry::Entry;
use raft_core::ids::{ClusterId, GroupId, Identity, Index, LogId, NodeId};
use raft_core::membership::Membership;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use crate::beside::Finding;
use crate::error::Context;
use crate::open::{self, Origins};
use crate::options::{Options, Owner};
use crate::scan::Log;
use crate::store::{Store, check_range};
use crate::verify::{self, Report};
use crate::worker::{Answer, Queue, Request, Worker};

/// The durable log and hard state of one node: the log in SQLite, the rest in files beside it.
///
/// It keeps J1 to J18 of [`Journal`], with one limit of J5: a database in exclusive mode has one
/// connection, so a read of entries that are not among the newest
/// [`tail_bytes`](Options::tail_bytes) waits for the transaction under way.
///
/// Dropping it finishes what was handed over and releases the lock; this waits for the disk.
///
/// ```
/// use raft_core::backend::{Journal, OpenError};
/// use raft_core::ids::{ClusterId, GroupId, NodeId};
/// use raft_core::membership::{Member, Membership};
/// use raft_log_sqlite::{SqliteJournal, Options};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let dir = folder.path().join("n1");
/// let (cluster, group, node) = (ClusterId(0x3b1f), GroupId(0), NodeId(1));
/// let nothing = SqliteJournal::open(&dir, cluster, group, node, Options::default()).await;
/// assert_eq!(nothing.err(), Some(OpenError::NotInitialised));
///
/// let founders = Membership::of_voters([Member::new(node, "127.0.0.1:7101")])?;
/// let journal =
///     SqliteJournal::create(&dir, cluster, group, node, Some(&founders), Options::default()).await?;
/// let first = journal.identity();
/// drop(journal);
///
/// let mut journal = SqliteJournal::open(&dir, cluster, group, node, Options::default()).await?;
/// assert_eq!(journal.identity().store, first.store);
/// assert!(journal.identity().incarnation > first.incarnation);
/// assert_eq!(journal.load().await?.last.index.0, 1);
/// # Ok(())
/// # }
/// ```
pub struct SqliteJournal {
    queue: Queue,
    thread: Option<JoinHandle<()>>,
    reader: Arc<Reader>,
    identity: Identity,
    findings: Vec<Finding>,
}

impl SqliteJournal {
    /// A new journal in the folder `dir`, which is empty or does not exist yet. `initial` is the
    /// membership of a new cluster, the same on every node, written as entry 0.1; `None` for a node
    /// that waits to be contacted (limbo).
    ///
    /// # Errors
    /// [`OpenError::AlreadyExists`] if there is a journal or a damaged part of one; creation never
    /// overwrites. [`OpenError::Locked`]; [`OpenError::Io`], after which it may be tried again.
    ///
    /// # Cancellation
    /// A dropped future leaves the journal created as a whole or not at all.
    pub async fn create(
        dir: &Path,
        cluster: ClusterId,
        group: GroupId,
        node: NodeId,
        initial: Option<&Membership>,
        options: Options,
    ) -> Result<Self, OpenError> {
        let dir = dir.to_path_buf();
        let origins = Origins::New(Owner { cluster, group, node }, initial.cloned());
        Self::start(move |runtime| runtime.block_on(open::create(&dir, origins, options))).await
    }

    /// A new, empty journal in the folder `dir`, which is empty or does not exist yet, that takes over the
    /// identity of another one: the first step of moving a node. It is closed from the beginning, with
    /// `why`: it can be written now, and opened again only after
    /// [`SqliteView::release`](crate::SqliteView::release). Close the other one for good before that.
    ///
    /// # Errors
    /// Those of [`create`](Self::create).
    ///
    /// # Cancellation
    /// As for [`create`](Self::create).
    pub async fn adopt(dir: &Path, from: Identity, why: &str, options: Options) -> Result<Self, OpenError> {
        let (dir, origins) = (dir.to_path_buf(), Origins::Adopted(from, why.to_owned()));
        Self::start(move |runtime| runtime.block_on(open::create(&dir, origins, options))).await
    }

    /// Opens the journal in the folder `dir`. What it found is in the verdict of
    /// [`load`](Journal::load)'s answer and in [`findings`](Self::findings).
    ///
    /// # Errors
    /// [`OpenError`]. Opening never creates. A damaged log is refused only if this node is the single
    /// voter and `accept_loss` is not set.
    ///
    /// # Cancellation
    /// A dropped future may have raised the incarnation.
    pub async fn open(
        dir: &Path,
        cluster: ClusterId,
        group: GroupId,
        node: NodeId,
        options: Options,
    ) -> Result<Self, OpenError> {
        let (dir, owner) = (dir.to_path_buf(), Owner { cluster, group, node });
        Self::start(move |runtime| runtime.block_on(open::open(&dir, owner, options))).await
    }

    /// Reads and checks everything, and changes nothing. Blocks; for a journal that is not open.
    ///
    /// # Errors
    /// [`OpenError`] for what opening would refuse as well.
    pub fn verify(dir: &Path) -> Result<Report, OpenError> {
        let dir = dir.to_path_buf();
        // A thread of its own: the caller may be in a runtime, which must not be blocked from within.
        let run = move || runtime()?.block_on(verify::verify(&dir));
        let thread = thread::Builder::new().name("raft-verify".into()).spawn(run);
        let died = |_| OpenError::Io { what: "verify".into(), cause: "its thread has died".into() };
        thread.during("start a thread")?.join().map_err(died)?
    }

    /// Whose journal it is, with this opening's incarnation.
    #[must_use]
    pub const fn identity(&self) -> Identity {
        self.identity
    }

    /// What opening has found beside its verdict: damage that was repaired, or that touches nothing.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    async fn start(
        make: impl FnOnce(&Runtime) -> Result<Store, OpenError> + Send + 'static,
    ) -> Result<Self, OpenError> {
        let (queue, requests) = Queue::new();
        let (answer, answered) = oneshot::channel();
        let run = move || match runtime().and_then(|runtime| Ok((make(&runtime)?, runtime))) {
            Ok((store, runtime)) => {
                let about = (Arc::clone(&store.log), store.identity, store.findings.clone());
                // If nobody listens any more the journal is closed as it is opened.
                drop(answer.send(Ok((about, Opened(Some(queue))))));
                Worker::new(store, requests).run(&runtime);
            }
            Err(error) => drop(answer.send(Err(error))),
        };
        let thread = thread::Builder::new().name("raft-journal".into()).spawn(run);
        let thread = thread.during("start a thread")?;
        let gone = || OpenError::Io { what: "open the journal".into(), cause: "its thread has died".into() };
        let ((log, identity, findings), mut opened) = answered.await.map_err(|_| gone())??;
        let queue = opened.0.take().ok_or_else(gone)?;
        let reader = Arc::new(Reader { log, queue: queue.clone() });
        Ok(Self { queue, thread: Some(thread), reader, identity, findings })
    }

    async fn ask<T>(&self, request: impl FnOnce(Answer<T>) -> Request) -> Result<T, JournalError> {
        let gone = || JournalError::Poisoned { cause: "the journal's thread has died".into() };
        self.queue.ask(request).await.ok_or_else(gone)?
    }
}

/// A journal that nobody has taken yet: its thread ends with it.
struct Opened(Option<Queue>);

impl Drop for Opened {
    fn drop(&mut self) {
        if let Some(queue) = self.0.take() {
            queue.close();
        }
    }
}

pub(crate) fn runtime() -> Result<Runtime, OpenError> {
    Builder::new_current_thread().enable_time().build().during("start a runtime")
}

impl Drop for SqliteJournal {
    fn drop(&mut self) {
        self.queue.close();
        if let Some(thread) = self.thread.take() {
            // The lock must be free when this returns.
            let _ = thread.join();
        }
    }
}

#[async_trait]
impl Journal for SqliteJournal {
    async fn load(&mut self) -> Result<JournalState, JournalError> {
        self.ask(Request::Load).await
    }

    async fn write(&mut self, write: JournalWrite) -> Result<(), JournalError> {
        self.ask(|answer| Request::Write(write, answer)).await
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), JournalError> {
        self.ask(|answer| Request::Purge(upto, answer)).await
    }

    async fn reset(&mut self, to: LogId) -> Result<(), JournalError> {
        self.ask(|answer| Request::Reset(to, answer)).await
    }

    fn reader(&self) -> Arc<dyn JournalReader> {
        Arc::clone(&self.reader) as Arc<dyn JournalReader>
    }
}

/// Answers from memory what is there, and asks the thread for the rest.
struct Reader {
    log: Arc<RwLock<Log>>,
    queue: Queue,
}

impl Reader {
    /// What memory can answer; `None` where the database has to be asked.
    fn in_memory(&self, range: &Range<Index>, max_bytes: u64) -> Result<Option<Vec<Entry>>, JournalError> {
        let log = self.log.read().unwrap_or_else(PoisonError::into_inner);
        if range.is_empty() {
            return Ok(Some(Vec::new()));
        }
        check_range(&log.state, range.start, range.end)?;
        let Some(first) = log.tail.front().filter(|first| first.id.index <= range.start) else {
            return Ok(None);
        };
        let at = |index: Index| usize::try_from(index.0 - first.id.index.0).unwrap_or(usize::MAX);
        let (mut entries, mut left) = (Vec::new(), max_bytes);
        for entry in log.tail.iter().take(at(range.end)).skip(at(range.start)) {
            let size = entry.data.len() as u64;
            if size > left && !entries.is_empty() {
                break;
            }
            entries.push(entry.clone());
            if size > left {
                break;
            }
            left -= size;
        }
        Ok(Some(entries))
    }
}

#[async_trait]
impl JournalReader for Reader {
    async fn entries(&self, range: Range<Index>, max_bytes: u64) -> Result<Vec<Entry>, JournalError> {
        if let Some(entries) = self.in_memory(&range, max_bytes)? {
            return Ok(entries);
        }
        self.queue.ask(|answer| Request::Read(range, max_bytes, answer)).await.ok_or_else(gone)?
    }

    async fn verify(&self, range: Range<Index>, max_bytes: u64) -> Result<Verified, JournalError> {
        if range.is_empty() {
            return Ok(Verified { next: range.end, bytes: 0 });
        }
        self.queue.ask(|answer| Request::Verify(range, max_bytes, answer)).await.ok_or_else(gone)?
    }
}

fn gone() -> JournalError {
    JournalError::Io { what: "read entries".into(), cause: "the journal is closed".into() }
}
