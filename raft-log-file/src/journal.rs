//! The async shell: what a node takes, and reading beside it.

use std::ops::Range;
use std::path::Path;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use async_trait::async_trait;
use raft_core::backend::{
    Journal, JournalError, JournalReader, JournalState, JournalWrite, OpenError, Verified,
};
use raft_core::entry::Entry;
use raft_core::ids::{ClusterId, GroupId, Identity, Index, LogId, NodeId};
use raft_core::membership::Membership;
use tokio::sync::oneshot;

use crate::error::Context;
use crate::open::{self, Owner};
use crate::options::Options;
use crate::read::LogReader;
use crate::recover::Finding;
use crate::store::Store;
use crate::verify::{self, Report};
use crate::vfs::{OsVfs, Vfs};
use crate::worker::{Answer, Desk, Request, Worker};

/// The durable log and hard state of one node, in flat files of one folder.
///
/// It keeps J1 to J18 of [`Journal`] with [`Durability::Always`](crate::Durability::Always). With another durability
/// an `Ok` means written, not durable: it survives a crash of the process, not one of the machine. The hard state and
/// the known peers are durable in any case.
///
/// A write that meets a full disk fails with [`JournalError::NoSpace`]; hard state still can be written.
///
/// Dropping it finishes what was handed over, marks the end as clean and releases the lock; this waits
/// for the disk.
///
/// ```
/// use raft_core::backend::{Journal, OpenError};
/// use raft_core::ids::{ClusterId, GroupId, NodeId};
/// use raft_core::membership::{Member, Membership};
/// use raft_log_file::{FileJournal, Options};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let dir = folder.path().join("n1");
/// let (cluster, group, node) = (ClusterId(0x3b1f), GroupId(0), NodeId(1));
/// let nothing = FileJournal::open(&dir, cluster, group, node, Options::default()).await;
/// assert_eq!(nothing.err(), Some(OpenError::NotInitialised));
///
/// let founders = Membership::of_voters([Member::new(node, "127.0.0.1:7101")])?;
/// let journal =
///     FileJournal::create(&dir, cluster, group, node, Some(&founders), Options::default()).await?;
/// let first = journal.identity();
/// drop(journal);
///
/// let mut journal = FileJournal::open(&dir, cluster, group, node, Options::default()).await?;
/// assert_eq!(journal.identity().store, first.store);
/// assert!(journal.identity().incarnation > first.incarnation);
/// assert_eq!(journal.load().await?.last.index.0, 1);
/// # Ok(())
/// # }
/// ```
pub struct FileJournal {
    desk: Desk,
    thread: Option<JoinHandle<()>>,
    reader: Arc<FileReader>,
    identity: Identity,
    findings: Vec<Finding>,
}

impl FileJournal {
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
        let vfs = OsVfs::new(dir);
        let initial = initial.cloned();
        let owner = Owner { cluster, group, node };
        Self::start(move || {
            vfs.create_dir().during(|| "create the folder".into())?;
            Store::create(Arc::new(vfs), owner, initial.as_ref(), options, seed())
        })
        .await
    }

    /// The same on another disk than the system's, for tests and simulators that do want the threads.
    ///
    /// # Errors
    /// Those of [`create`](Self::create).
    ///
    /// # Cancellation
    /// As for [`create`](Self::create).
    pub async fn create_on(
        vfs: Arc<dyn Vfs>,
        owner: Owner,
        initial: Option<&Membership>,
        options: Options,
    ) -> Result<Self, OpenError> {
        let initial = initial.cloned();
        Self::start(move || Store::create(vfs, owner, initial.as_ref(), options, seed())).await
    }

    /// A new, empty journal in the folder `dir`, which is empty or does not exist yet, that takes over the
    /// identity of another one: the first step of moving a node. It is closed from the beginning, with
    /// `why`: it can be written now, and opened again only after
    /// [`FileView::release`](crate::FileView::release). Close the other one for good before that.
    ///
    /// # Errors
    /// Those of [`create`](Self::create).
    ///
    /// # Cancellation
    /// As for [`create`](Self::create).
    pub async fn adopt(dir: &Path, from: Identity, why: &str, options: Options) -> Result<Self, OpenError> {
        let (vfs, why) = (OsVfs::new(dir), why.to_owned());
        Self::start(move || {
            vfs.create_dir().during(|| "create the folder".into())?;
            Store::adopt(Arc::new(vfs), &from, &why, options, seed())
        })
        .await
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
        Self::open_on(Arc::new(OsVfs::new(dir)), Owner { cluster, group, node }, options).await
    }

    /// The same on another disk than the system's.
    ///
    /// # Errors
    /// Those of [`open`](Self::open).
    ///
    /// # Cancellation
    /// As for [`open`](Self::open).
    pub async fn open_on(vfs: Arc<dyn Vfs>, owner: Owner, options: Options) -> Result<Self, OpenError> {
        Self::start(move || Store::open(vfs, owner, options, seed())).await
    }

    /// Reads and checks everything, and changes nothing. Blocks; for a journal that is not open.
    ///
    /// # Errors
    /// [`OpenError`] for what opening would refuse as well.
    pub fn verify(dir: &Path) -> Result<Report, OpenError> {
        let vfs = OsVfs::new(dir);
        let locked = match vfs.list() {
            Ok(names) => names.iter().any(|name| name == crate::layout::LOCK),
            Err(_) => return Err(OpenError::NotInitialised),
        };
        let _lock = if locked { Some(open::lock(&vfs)?) } else { None };
        verify::verify(&vfs)
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
        make: impl FnOnce() -> Result<Store, OpenError> + Send + 'static,
    ) -> Result<Self, OpenError> {
        let (answer, answered) = oneshot::channel();
        let thread = thread::Builder::new().name("raft-journal".into()).spawn(move || match make() {
            Ok(store) => {
                let about = (store.reader(), store.identity(), store.findings().to_vec());
                let (worker, desk) = Worker::new(store);
                // If nobody listens any more the journal is closed as it is opened.
                let _ = answer.send(Ok((about, Opened(Some(desk)))));
                worker.run();
            }
            Err(error) => {
                let _ = answer.send(Err(error));
            }
        });
        let thread = thread.during(|| "start a thread".into())?;
        let gone = || OpenError::Io { what: "open the journal".into(), cause: "its thread has died".into() };
        let ((reader, identity, findings), mut opened) = answered.await.map_err(|_| gone())??;
        let desk = opened.0.take().ok_or_else(gone)?;
        let reader = Arc::new(FileReader { log: reader, queue: OnceLock::new() });
        Ok(Self { desk, thread: Some(thread), reader, identity, findings })
    }
}

/// A journal that nobody has taken yet: its thread ends with it.
struct Opened(Option<Desk>);

impl Drop for Opened {
    fn drop(&mut self) {
        if let Some(desk) = self.0.take() {
            desk.close();
        }
    }
}

impl Drop for FileJournal {
    fn drop(&mut self) {
        self.desk.close();
        if let Some(thread) = self.thread.take() {
            // The lock must be free when this returns.
            let _ = thread.join();
        }
    }
}

#[async_trait]
impl Journal for FileJournal {
    async fn load(&mut self) -> Result<JournalState, JournalError> {
        self.desk.ask(Request::Load).await
    }

    async fn write(&mut self, write: JournalWrite) -> Result<(), JournalError> {
        self.desk.write(write).await
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), JournalError> {
        self.desk.ask(|answer| Request::Purge(upto, answer)).await
    }

    async fn reset(&mut self, to: LogId) -> Result<(), JournalError> {
        self.desk.ask(|answer| Request::Reset(to, answer)).await
    }

    fn reader(&self) -> Arc<dyn JournalReader> {
        Arc::clone(&self.reader) as Arc<dyn JournalReader>
    }
}

/// Random bits from the system, without a dependency: the standard library seeds its hashers so.
fn seed() -> u128 {
    use std::hash::{BuildHasher, RandomState};
    let one = || RandomState::new().hash_one((std::process::id(), Instant::now()));
    u128::from(one()) << 64 | u128::from(one())
}

enum ReadRequest {
    Entries(Range<Index>, u64, Answer<Vec<Entry>>),
    Verify(Range<Index>, u64, Answer<Verified>),
}

/// Reads on a thread of its own, so that neither a sync nor a cold disk blocks anyone else.
struct FileReader {
    log: LogReader,
    queue: OnceLock<Option<Sender<ReadRequest>>>,
}

impl FileReader {
    fn queue(&self) -> Option<&Sender<ReadRequest>> {
        let start = || {
            let (queue, requests) = mpsc::channel::<ReadRequest>();
            let log = self.log.clone();
            let run = move || {
                for request in requests {
                    match request {
                        ReadRequest::Entries(range, max_bytes, answer) if !answer.is_closed() => {
                            let _ = answer.send(log.entries(range, max_bytes));
                        }
                        ReadRequest::Verify(range, max_bytes, answer) if !answer.is_closed() => {
                            let _ = answer.send(log.verify(&range, max_bytes));
                        }
                        // Nobody waits for it any more.
                        _ => {}
                    }
                }
            };
            thread::Builder::new().name("raft-journal-read".into()).spawn(run).ok().map(|_| queue)
        };
        self.queue.get_or_init(start).as_ref()
    }
}

#[async_trait]
impl JournalReader for FileReader {
    async fn entries(&self, range: Range<Index>, max_bytes: u64) -> Result<Vec<Entry>, JournalError> {
        let Some(queue) = self.queue() else { return self.log.entries(range, max_bytes) };
        let (answer, answered) = oneshot::channel();
        queue.send(ReadRequest::Entries(range, max_bytes, answer)).map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }

    async fn verify(&self, range: Range<Index>, max_bytes: u64) -> Result<Verified, JournalError> {
        let Some(queue) = self.queue() else { return self.log.verify(&range, max_bytes) };
        let (answer, answered) = oneshot::channel();
        queue.send(ReadRequest::Verify(range, max_bytes, answer)).map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

fn gone() -> JournalError {
    JournalError::Io { what: "read entries".into(), cause: "the reading thread has died".into() }
}
