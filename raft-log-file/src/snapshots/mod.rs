//! Snapshots as files of a folder of their own.
//!
//! Read in this order: `docs/snapshot-format.md` (the bytes and the rules), `format` (one file), `part`
//! (writing), `read`, `dir` (which files there are), `files` (all of it as one store), and this file (the thread).

mod dir;
mod files;
mod format;
mod part;
mod read;

use std::path::Path;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use async_trait::async_trait;
use bytes::Bytes;
use raft_core::backend::{
    SnapshotContent, SnapshotError, SnapshotId, SnapshotMeta, SnapshotReader, SnapshotStore, SnapshotWriter,
};
use raft_core::ids::LogId;
use raft_core::membership::Membership;
use tokio::sync::oneshot;

use crate::vfs::{OsVfs, Vfs};
pub use files::{CompleteFile, PartFile, SnapshotFiles};

type Job = Box<dyn FnOnce() + Send>;

/// The thread that waits for the disk in place of its callers. It ends with the last handle.
struct Worker {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    fn start() -> Result<Self, SnapshotError> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let run = move || queue.into_iter().for_each(|job| job());
        let thread = thread::Builder::new().name("raft-snapshots".into()).spawn(run).map_err(|error| {
            SnapshotError::Io { what: "start a thread".into(), cause: crate::error::cause(&error) }
        })?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> Result<T, SnapshotError> + Send + 'static,
    ) -> Result<T, SnapshotError> {
        let gone =
            || SnapshotError::Io { what: "use the snapshots".into(), cause: "their thread has died".into() };
        let (answer, answered) = oneshot::channel();
        // Nobody may be waiting for the answer any more.
        let job: Job = Box::new(move || drop(answer.send(job())));
        self.jobs.as_ref().ok_or_else(gone)?.send(job).map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // The lock must be free when the last handle is gone.
            let _ = thread.join();
        }
    }
}

/// A handle to the store. The worker comes first: it is dropped, and has ended, before the folder is.
#[derive(Clone)]
struct Handle {
    worker: Arc<Worker>,
    files: SnapshotFiles,
}

/// The snapshots of one node, in a folder of their own.
///
/// It keeps S1 to S5 of [`SnapshotStore`]. Half-received snapshots are resumed at the last whole 64 KiB. All of
/// it waits for the disk on one thread; dropping the last of the store, its readers and its writers
/// waits for that thread, and then the folder is free for another opener.
///
/// ```
/// use std::sync::Arc;
///
/// use raft_core::backend::SnapshotStore;
/// use raft_log_file::FileSnapshots;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// // For `Builder::snapshots`.
/// let store: Arc<dyn SnapshotStore> =
///     Arc::new(FileSnapshots::open(&folder.path().join("snapshots")).await?);
/// assert_eq!(store.latest().await?, None);
/// # Ok(())
/// # }
/// ```
pub struct FileSnapshots(Handle);

impl FileSnapshots {
    /// Opens the store in the folder `dir`, which is created if it does not exist.
    ///
    /// # Errors
    /// [`SnapshotError::Locked`], [`SnapshotError::NoSpace`], [`SnapshotError::Io`]. A damaged snapshot is no error here:
    /// [`latest`](SnapshotStore::latest) tells.
    pub async fn open(dir: &Path) -> Result<Self, SnapshotError> {
        let vfs = OsVfs::new(dir);
        Self::start(move || {
            vfs.create_dir().map_err(|error| dir::failed("create the snapshots' folder", &error))?;
            SnapshotFiles::open(Arc::new(vfs))
        })
        .await
    }

    /// The same on another disk than the system's, for tests.
    ///
    /// # Errors
    /// Those of [`open`](Self::open).
    pub async fn open_on(vfs: Arc<dyn Vfs>) -> Result<Self, SnapshotError> {
        Self::start(move || SnapshotFiles::open(vfs)).await
    }

    async fn start(
        open: impl FnOnce() -> Result<SnapshotFiles, SnapshotError> + Send + 'static,
    ) -> Result<Self, SnapshotError> {
        let worker = Arc::new(Worker::start()?);
        let files = worker.run(open).await?;
        Ok(Self(Handle { worker, files }))
    }
}

impl core::fmt::Debug for FileSnapshots {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("FileSnapshots")
    }
}

#[async_trait]
impl SnapshotStore for FileSnapshots {
    async fn latest(&self) -> Result<Option<SnapshotMeta>, SnapshotError> {
        self.0.files.latest()
    }

    async fn create(
        &self,
        id: SnapshotId,
        upto: LogId,
        membership: Membership,
    ) -> Result<Box<dyn SnapshotWriter>, SnapshotError> {
        let files = self.0.files.clone();
        let part = self.0.worker.run(move || files.create(id, upto, membership)).await?;
        let received = part.received_bytes();
        let part = Arc::new(Mutex::new(part));
        Ok(Box::new(FileWriter { handle: self.0.clone(), part, received, pending: false }))
    }

    async fn open(&self, id: SnapshotId) -> Result<Box<dyn SnapshotReader>, SnapshotError> {
        let files = self.0.files.clone();
        let complete = self.0.worker.run(move || files.read(id)).await?;
        let meta = complete.meta().clone();
        Ok(Box::new(FileReader { handle: self.0.clone(), meta, complete: Arc::new(Mutex::new(complete)) }))
    }
}

struct FileWriter {
    handle: Handle,
    part: Arc<Mutex<PartFile>>,
    received: u64,
    /// A call has begun and not returned: its future was dropped.
    pending: bool,
}

impl FileWriter {
    fn begin(&mut self) -> Result<(), SnapshotError> {
        if std::mem::replace(&mut self.pending, true) {
            let what = "write a snapshot".into();
            return Err(SnapshotError::Io { what, cause: "an earlier call was given up".into() });
        }
        Ok(())
    }
}

#[async_trait]
impl SnapshotWriter for FileWriter {
    fn received_bytes(&self) -> u64 {
        self.received
    }

    async fn write(&mut self, piece: Bytes) -> Result<(), SnapshotError> {
        self.begin()?;
        let part = Arc::clone(&self.part);
        let write = move || {
            let mut part = part.lock().unwrap_or_else(PoisonError::into_inner);
            part.write(&piece)?;
            Ok(part.received_bytes())
        };
        self.received = self.handle.worker.run(write).await?;
        self.pending = false;
        Ok(())
    }

    async fn finish(
        mut self: Box<Self>,
        expected: Option<SnapshotContent>,
    ) -> Result<SnapshotMeta, SnapshotError> {
        self.begin()?;
        let part = Arc::clone(&self.part);
        let finish = move || part.lock().unwrap_or_else(PoisonError::into_inner).finish(expected);
        self.handle.worker.run(finish).await
    }
}

struct FileReader {
    /// The worker ends before the folder is let go of.
    handle: Handle,
    meta: SnapshotMeta,
    complete: Arc<Mutex<CompleteFile>>,
}

#[async_trait]
impl SnapshotReader for FileReader {
    fn meta(&self) -> &SnapshotMeta {
        &self.meta
    }

    async fn read(&mut self, offset: u64, max_bytes: usize) -> Result<Bytes, SnapshotError> {
        let complete = Arc::clone(&self.complete);
        let read = move || {
            let mut complete = complete.lock().unwrap_or_else(PoisonError::into_inner);
            complete.read(offset, max_bytes)
        };
        self.handle.worker.run(read).await
    }
}
