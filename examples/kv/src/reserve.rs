//! A snapshot never takes the last of the disk: the log needs that more. A snapshot that finds no space is taken
//! later; a log that finds none ends its node.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use raft_core::backend::{
    SnapshotContent, SnapshotError, SnapshotId, SnapshotMeta, SnapshotReader, SnapshotStore, SnapshotWriter,
};
use raft_core::ids::LogId;
use raft_core::membership::Membership;

/// So much of a disk is left to the log, in bytes; on a small one a sixteenth of it.
const RESERVE_BYTES: u64 = 64 << 20;

/// The disk is asked again after so many bytes.
const ASK_AFTER_BYTES: u64 = 1 << 20;

/// Snapshots on a disk that is not filled to its end.
pub(crate) struct Reserved {
    store: Arc<dyn SnapshotStore>,
    dir: PathBuf,
}

impl Reserved {
    /// Over a store in the folder `dir`.
    pub(crate) fn new(store: Arc<dyn SnapshotStore>, dir: &Path) -> Self {
        Self { store, dir: dir.to_path_buf() }
    }
}

/// Whether a snapshot may go on taking space. Where the system does not say, it may.
fn has_room(dir: &Path, more: u64) -> bool {
    let Ok(found) = rustix::fs::statvfs(dir) else { return true };
    let (total, free) =
        (found.f_blocks.saturating_mul(found.f_frsize), found.f_bavail.saturating_mul(found.f_frsize));
    free >= RESERVE_BYTES.min(total / 16).saturating_add(more)
}

#[async_trait]
impl SnapshotStore for Reserved {
    async fn latest(&self) -> Result<Option<SnapshotMeta>, SnapshotError> {
        self.store.latest().await
    }

    async fn create(
        &self,
        id: SnapshotId,
        upto: LogId,
        membership: Membership,
    ) -> Result<Box<dyn SnapshotWriter>, SnapshotError> {
        // What is half-received makes room first, if it is another one's.
        let inner = self.store.create(id, upto, membership).await?;
        let mut writer = Writer { inner: Some(inner), dir: self.dir.clone(), received: 0, until: 0 };
        writer.received = writer.inner.as_ref().map_or(0, |inner| inner.received_bytes());
        writer.ask(0).await?;
        Ok(Box::new(writer))
    }

    async fn open(&self, id: SnapshotId) -> Result<Box<dyn SnapshotReader>, SnapshotError> {
        self.store.open(id).await
    }
}

struct Writer {
    /// `None` once there was no room.
    inner: Option<Box<dyn SnapshotWriter>>,
    dir: PathBuf,
    received: u64,
    /// There was room for what comes before this byte.
    until: u64,
}

impl Writer {
    /// Asks for room for so many bytes, now and then. Where there is none, what is there is given back.
    async fn ask(&mut self, more: u64) -> Result<(), SnapshotError> {
        let wanted = self.received.saturating_add(more);
        if wanted < self.until {
            return Ok(());
        }
        if has_room(&self.dir, more.saturating_add(ASK_AFTER_BYTES)) {
            self.until = wanted.saturating_add(ASK_AFTER_BYTES);
            return Ok(());
        }
        self.discard().await;
        Err(SnapshotError::NoSpace)
    }

    /// A store keeps nothing of a snapshot that is not what was announced.
    async fn discard(&mut self) {
        if let Some(inner) = self.inner.take() {
            let never = SnapshotContent { total_bytes: u64::MAX, checksum: 0 };
            let _ = inner.finish(Some(never)).await;
        }
    }

    fn inner(&mut self) -> Result<&mut Box<dyn SnapshotWriter>, SnapshotError> {
        self.inner.as_mut().ok_or(SnapshotError::NoSpace)
    }
}

#[async_trait]
impl SnapshotWriter for Writer {
    fn received_bytes(&self) -> u64 {
        self.received
    }

    async fn write(&mut self, piece: Bytes) -> Result<(), SnapshotError> {
        self.ask(piece.len() as u64).await?;
        let inner = self.inner()?;
        let done = inner.write(piece).await;
        let received = inner.received_bytes();
        if done == Err(SnapshotError::NoSpace) {
            self.discard().await;
        }
        self.received = received;
        done
    }

    async fn finish(
        mut self: Box<Self>,
        expected: Option<SnapshotContent>,
    ) -> Result<SnapshotMeta, SnapshotError> {
        self.inner.take().ok_or(SnapshotError::NoSpace)?.finish(expected).await
    }
}

#[cfg(test)]
mod tests {
    use raft_log_file::FileSnapshots;

    use super::*;

    fn files(dir: &Path) -> usize {
        std::fs::read_dir(dir).unwrap().count()
    }

    /// Without room nothing is kept; what is there already stays and is read.
    #[tokio::test]
    async fn what_finds_no_room_is_given_back() {
        let folder = tempfile::tempdir().unwrap();
        let store: Arc<dyn SnapshotStore> = Arc::new(FileSnapshots::open(folder.path()).await.unwrap());
        let roomy = Reserved::new(Arc::clone(&store), folder.path());
        let mut writer = roomy.create(SnapshotId(1), LogId::new(1, 5), Membership::default()).await.unwrap();
        writer.write(Bytes::from(vec![1; 100_000])).await.unwrap();
        assert_eq!(writer.received_bytes(), 100_000);
        let meta = writer.finish(None).await.unwrap();
        let before = files(folder.path());
        let mut writer = Writer {
            inner: Some(store.create(SnapshotId(2), LogId::new(1, 9), Membership::default()).await.unwrap()),
            dir: folder.path().to_path_buf(),
            received: 0,
            until: 0,
        };
        writer.write(Bytes::from(vec![1; 100_000])).await.unwrap();
        assert_eq!(files(folder.path()), before + 1);
        // More than any disk has.
        writer.until = 0;
        assert_eq!(writer.ask(u64::MAX / 4).await, Err(SnapshotError::NoSpace));
        assert_eq!(files(folder.path()), before);
        assert_eq!(writer.write(Bytes::from_static(b"more")).await, Err(SnapshotError::NoSpace));
        assert_eq!(Box::new(writer).finish(None).await, Err(SnapshotError::NoSpace));
        assert_eq!(roomy.latest().await, Ok(Some(meta)));
    }
}
