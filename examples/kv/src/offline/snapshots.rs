//! What a folder has of snapshots, when its node is moved.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use raft_core::backend::{SnapshotError, SnapshotMeta, SnapshotStore};

use super::AGAIN;
use super::progress::Progress;
use crate::advice;
use crate::exit::Exit;
use crate::journal::JournalKind;

/// Read at a time, in bytes.
const READ_BYTES: usize = 256 << 10;

pub(super) fn failed(dir: &Path, error: &SnapshotError) -> Exit {
    let text = format!("the snapshots in {}: {error}", dir.display());
    match error {
        SnapshotError::Corrupt(_) => Exit::data(text, advice::snapshot(error)),
        _ => Exit::other(text, advice::snapshot(error)),
    }
}

/// The snapshots of a folder that no node has open.
pub(super) struct Snapshots {
    dir: PathBuf,
    pub(super) store: Arc<dyn SnapshotStore>,
    /// The newest one.
    pub(super) latest: Option<SnapshotMeta>,
}

impl Snapshots {
    /// `None` if there is no store, in which case none is made. What is damaged is refused: in a copy nothing
    /// would tell.
    pub(super) async fn of(kind: JournalKind, data: &Path) -> Result<Option<Self>, Exit> {
        let dir = JournalKind::snapshots_dir(data);
        if !dir.is_dir() {
            return Ok(None);
        }
        let store = kind.snapshots(data).await.map_err(|error| failed(&dir, &error))?;
        let latest = store.latest().await.map_err(|error| failed(&dir, &error))?;
        Ok(Some(Self { dir, store, latest }))
    }

    /// Copies the newest one to another folder, and compares what is then there.
    pub(super) async fn copy(&self, kind: JournalKind, data: &Path) -> Result<(), Exit> {
        let Some(meta) = &self.latest else { return Ok(()) };
        let to = JournalKind::snapshots_dir(data);
        let writing = |error: SnapshotError| failed(&to, &error);
        let reading = |error: SnapshotError| failed(&self.dir, &error);
        let store = kind.snapshots(data).await.map_err(writing)?;
        let created = store.create(meta.id, meta.upto, meta.membership.clone()).await;
        let mut writer = created.map_err(writing)?;
        let mut reader = self.store.open(meta.id).await.map_err(reading)?;
        let progress = Progress::bytes("copied of the snapshot", meta.content.total_bytes);
        let mut offset = writer.received_bytes();
        loop {
            let piece = reader.read(offset, READ_BYTES).await.map_err(reading)?;
            if piece.is_empty() {
                break;
            }
            offset += piece.len() as u64;
            progress.add(piece.len() as u64);
            writer.write(piece).await.map_err(writing)?;
        }
        // It is refused if it is not what the old store announces.
        let done = writer.finish(Some(meta.content)).await.map_err(writing)?;
        if done == *meta && store.latest().await.map_err(writing)?.as_ref() == Some(meta) {
            return Ok(());
        }
        Err(Exit::other(
            format!("the snapshot in {} is not that of {}", to.display(), self.dir.display()),
            AGAIN,
        ))
    }
}
