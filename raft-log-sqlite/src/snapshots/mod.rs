//! Snapshots as databases of a folder of their own.
//!
//! Read in this order: `docs/snapshot-sqlite.md` (the bytes and the rules), `records` (what protects them),
//! `db` (one connection), `part` (writing), `read`, `dir` (which databases there are), and this file (the
//! thread).

mod db;
mod dir;
mod part;
mod read;
mod records;

use std::path::Path;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use raft_core::backend::{
    OpenError, SnapshotContent, SnapshotError, SnapshotId, SnapshotMeta, SnapshotReader, SnapshotStore,
    SnapshotWriter,
};
use raft_core::ids::LogId;
use raft_core::membership::Membership;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use crate::journal::runtime;
use crate::options::Faults;
use dir::{Dir, Slot};
use read::Complete;

type Job = Box<dyn FnOnce(&Runtime) + Send>;

/// The thread that owns all connections and waits for the disk in place of its callers. It ends with the
/// last handle.
struct Worker {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    fn start() -> Result<Self, SnapshotError> {
        let failed = |what: &str, cause: String| SnapshotError::Io { what: what.into(), cause: cause.into() };
        let runtime = runtime().map_err(|error: OpenError| failed("start a runtime", error.to_string()))?;
        let (jobs, queue) = mpsc::channel::<Job>();
        let run = move || queue.into_iter().for_each(|job| job(&runtime));
        let thread = thread::Builder::new().name("raft-snapshots".into()).spawn(run);
        let thread = thread.map_err(|error| failed("start a thread", error.to_string()))?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Lets the thread do something; nobody waits for it.
    fn send(&self, job: impl FnOnce(&Runtime) + Send + 'static) -> Result<(), SnapshotError> {
        let gone =
            || SnapshotError::Io { what: "use the snapshots".into(), cause: "their thread has died".into() };
        self.jobs.as_ref().ok_or_else(gone)?.send(Box::new(job)).map_err(|_| gone())
    }

    async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> LocalBoxFuture<'static, Result<T, SnapshotError>> + Send + 'static,
    ) -> Result<T, SnapshotError> {
        let (answer, answered) = oneshot::channel();
        // Nobody may be waiting for the answer any more.
        self.send(move |runtime| drop(answer.send(runtime.block_on(job()))))?;
        answered.await.map_err(|_| SnapshotError::Io {
            what: "use the snapshots".into(),
            cause: "their thread has died".into(),
        })?
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.jobs = None;
        // The lock must be free when the last handle is gone. The thread itself may be the one that drops it,
        // if what it has made is wanted by nobody any more.
        if let Some(thread) = self.thread.take().filter(|found| found.thread().id() != thread::current().id())
        {
            let _ = thread.join();
        }
    }
}

/// A handle to the store. The worker comes first: it is dropped, and has ended, before the folder is.
#[derive(Clone)]
struct Handle {
    worker: Arc<Worker>,
    dir: Arc<Dir>,
}

/// The snapshots of one node, each a database in a folder of their own.
///
/// It keeps S1 to S5 of [`SnapshotStore`]. Half-received snapshots are resumed at the last transaction, that is
/// within 4 MiB. All connections belong to one thread, which waits for the disk; dropping the last of the store,
/// its readers and its writers waits for that thread, and then the folder is free for another opener.
pub struct SqliteSnapshots(Handle);

impl SqliteSnapshots {
    /// Opens the store in the folder `dir`, which is created if it does not exist.
    ///
    /// # Errors
    /// [`SnapshotError::Locked`], [`SnapshotError::NoSpace`], [`SnapshotError::Io`]. A damaged snapshot is no error here:
    /// [`latest`](SnapshotStore::latest) tells.
    pub async fn open(dir: &Path) -> Result<Self, SnapshotError> {
        Self::start(dir, None).await
    }

    /// The same with failures to order, for tests.
    ///
    /// # Errors
    /// Those of [`open`](Self::open).
    #[doc(hidden)]
    pub async fn open_with(dir: &Path, faults: Arc<Faults>) -> Result<Self, SnapshotError> {
        Self::start(dir, Some(faults)).await
    }

    async fn start(dir: &Path, faults: Option<Arc<Faults>>) -> Result<Self, SnapshotError> {
        let (worker, path) = (Arc::new(Worker::start()?), dir.to_path_buf());
        let open =
            move || -> LocalBoxFuture<'static, _> { Box::pin(async move { Dir::open(&path, faults).await }) };
        let dir = worker.run(open).await?;
        Ok(Self(Handle { worker, dir: Arc::new(dir) }))
    }
}

impl core::fmt::Debug for SqliteSnapshots {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("SqliteSnapshots")
    }
}

#[async_trait]
impl SnapshotStore for SqliteSnapshots {
    async fn latest(&self) -> Result<Option<SnapshotMeta>, SnapshotError> {
        self.0.dir.latest()
    }

    async fn create(
        &self,
        id: SnapshotId,
        upto: LogId,
        membership: Membership,
    ) -> Result<Box<dyn SnapshotWriter>, SnapshotError> {
        let handle = self.0.clone();
        let create = move || -> LocalBoxFuture<'static, _> {
            Box::pin(async move {
                let (slot, writer, received) = handle.dir.create(id, upto, membership).await?;
                // If nobody waits for it any more, dropping it leaves it half-received.
                Ok(SqliteWriter { handle, id, writer, slot, received, pending: false })
            })
        };
        Ok(Box::new(self.0.worker.run(create).await?))
    }

    async fn open(&self, id: SnapshotId) -> Result<Box<dyn SnapshotReader>, SnapshotError> {
        let handle = self.0.clone();
        let open = move || -> LocalBoxFuture<'static, _> {
            Box::pin(async move {
                let complete = handle.dir.read(id).await?;
                let (meta, complete) = (complete.meta(), Arc::new(Mutex::new(Some(complete))));
                Ok(SqliteReader { handle, meta, complete })
            })
        };
        Ok(Box::new(self.0.worker.run(open).await?))
    }
}

struct SqliteWriter {
    handle: Handle,
    id: SnapshotId,
    writer: u64,
    slot: Slot,
    received: u64,
    /// A call has begun and not returned: its future was dropped, or it has failed.
    pending: bool,
}

impl SqliteWriter {
    fn begin(&mut self) -> Result<(), SnapshotError> {
        if std::mem::replace(&mut self.pending, true) {
            let what = "write a snapshot".into();
            return Err(SnapshotError::Io { what, cause: "an earlier call failed or was given up".into() });
        }
        Ok(())
    }
}

impl Drop for SqliteWriter {
    fn drop(&mut self) {
        let (dir, id, writer, slot) =
            (Arc::clone(&self.handle.dir), self.id, self.writer, Arc::clone(&self.slot));
        // The connection is the thread's, which closes it.
        let _ = self.handle.worker.send(move |runtime| runtime.block_on(dir.release(id, writer, &slot)));
    }
}

#[async_trait]
impl SnapshotWriter for SqliteWriter {
    fn received_bytes(&self) -> u64 {
        self.received
    }

    async fn write(&mut self, piece: Bytes) -> Result<(), SnapshotError> {
        self.begin()?;
        let (dir, slot, id, writer) =
            (Arc::clone(&self.handle.dir), Arc::clone(&self.slot), self.id, self.writer);
        let write = move || -> LocalBoxFuture<'static, _> {
            Box::pin(async move {
                dir.is_current(id, writer)?;
                let mut part = dir::take(&slot).ok_or(SnapshotError::NotFound)?;
                let (done, received) = (part.write(&piece).await, part.received_bytes());
                // After an error it is only there to be closed.
                dir::put(&slot, part);
                done.map(|()| received)
            })
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
        let (dir, slot, id, writer) =
            (Arc::clone(&self.handle.dir), Arc::clone(&self.slot), self.id, self.writer);
        let finish = move || -> LocalBoxFuture<'static, _> {
            Box::pin(async move {
                dir.is_current(id, writer)?;
                let part = dir::take(&slot).ok_or(SnapshotError::NotFound)?;
                dir.finish(part, expected).await
            })
        };
        self.handle.worker.run(finish).await
    }
}

struct SqliteReader {
    handle: Handle,
    meta: SnapshotMeta,
    complete: Arc<Mutex<Option<Complete>>>,
}

impl SqliteReader {
    fn take(complete: &Mutex<Option<Complete>>) -> Option<Complete> {
        complete.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Drop for SqliteReader {
    fn drop(&mut self) {
        let complete = Arc::clone(&self.complete);
        let _ = self.handle.worker.send(move |runtime| {
            if let Some(complete) = Self::take(&complete) {
                runtime.block_on(complete.close());
            }
        });
    }
}

#[async_trait]
impl SnapshotReader for SqliteReader {
    fn meta(&self) -> &SnapshotMeta {
        &self.meta
    }

    async fn read(&mut self, offset: u64, max_bytes: usize) -> Result<Bytes, SnapshotError> {
        let complete = Arc::clone(&self.complete);
        let read = move || -> LocalBoxFuture<'static, _> {
            Box::pin(async move {
                let mut open = Self::take(&complete).ok_or(SnapshotError::NotFound)?;
                let read = open.read(offset, max_bytes).await;
                *complete.lock().unwrap_or_else(PoisonError::into_inner) = Some(open);
                read
            })
        };
        self.handle.worker.run(read).await
    }
}
