//! The store without a thread of its own: every call waits for the disk.

use std::sync::Arc;

use bytes::Bytes;
use raft_core::backend::{SnapshotContent, SnapshotError, SnapshotId, SnapshotMeta};
use raft_core::ids::LogId;
use raft_core::membership::Membership;

use super::dir::Dir;
use super::part::Part;
use super::read::Complete;
use crate::vfs::Vfs;

/// The snapshots of one node, synchronous and over a [`Vfs`]: what [`FileSnapshots`](super::FileSnapshots) runs on its
/// thread, and simulators on a disk of their own. Clones are handles to the same store; the folder is free for another
/// opener when the last of them, of the writers and of the readers is gone.
///
/// It keeps S1 to S5 of [`SnapshotStore`](raft_core::backend::SnapshotStore), whose methods say more about each.
#[derive(Clone)]
pub struct SnapshotFiles(Arc<Dir>);

impl core::fmt::Debug for SnapshotFiles {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("SnapshotFiles")
    }
}

impl SnapshotFiles {
    /// Opens the store in a folder that exists.
    ///
    /// # Errors
    /// [`SnapshotError::Locked`], [`SnapshotError::Io`]. A damaged snapshot is no error here:
    /// [`latest`](Self::latest) tells.
    pub fn open(vfs: Arc<dyn Vfs>) -> Result<Self, SnapshotError> {
        Dir::open(vfs).map(|dir| Self(Arc::new(dir)))
    }

    /// The complete snapshot that covers most. Does not wait for the disk.
    ///
    /// # Errors
    /// [`SnapshotError::Corrupt`] if it is there and damaged.
    pub fn latest(&self) -> Result<Option<SnapshotMeta>, SnapshotError> {
        self.0.latest()
    }

    /// Begins a snapshot, or goes on with a half-received one of this name.
    ///
    /// # Errors
    /// [`SnapshotError`]
    pub fn create(
        &self,
        id: SnapshotId,
        upto: LogId,
        membership: Membership,
    ) -> Result<PartFile, SnapshotError> {
        let (part, writer) = self.0.create(id, upto, membership)?;
        Ok(PartFile { dir: Arc::clone(&self.0), part, writer })
    }

    /// Opens a complete one for reading.
    ///
    /// # Errors
    /// [`SnapshotError::NotFound`], [`SnapshotError::Corrupt`].
    pub fn read(&self, id: SnapshotId) -> Result<CompleteFile, SnapshotError> {
        let complete = self.0.read(id)?;
        Ok(CompleteFile { _dir: Arc::clone(&self.0), complete })
    }
}

/// A snapshot being written: [`SnapshotWriter`](raft_core::backend::SnapshotWriter), synchronous. Dropped before
/// [`finish`](Self::finish) it stays half-received (S2).
pub struct PartFile {
    dir: Arc<Dir>,
    part: Part,
    writer: u64,
}

impl core::fmt::Debug for PartFile {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("PartFile").field("id", &self.part.header.id).finish_non_exhaustive()
    }
}

impl PartFile {
    /// How many bytes are there, from the first on.
    #[must_use]
    pub fn received_bytes(&self) -> u64 {
        self.part.received_bytes()
    }

    /// Appends a piece. It need not be durable afterwards.
    ///
    /// # Errors
    /// [`SnapshotError`]; [`SnapshotError::NotFound`] if somebody has created the snapshot anew.
    pub fn write(&mut self, piece: &[u8]) -> Result<(), SnapshotError> {
        self.dir.is_current(self.part.header.id, self.writer)?;
        self.dir.write(&mut self.part, piece)
    }

    /// Checks, syncs and makes it visible (S1), then removes those that cover less (S4).
    ///
    /// # Errors
    /// [`SnapshotError`]; it is not visible then, and what was visible before still is.
    pub fn finish(&mut self, expected: Option<SnapshotContent>) -> Result<SnapshotMeta, SnapshotError> {
        self.dir.is_current(self.part.header.id, self.writer)?;
        self.dir.finish(&mut self.part, expected)
    }
}

impl Drop for PartFile {
    fn drop(&mut self) {
        self.dir.release(self.part.header.id, self.writer);
    }
}

/// A complete snapshot being read: [`SnapshotReader`](raft_core::backend::SnapshotReader), synchronous.
pub struct CompleteFile {
    complete: Complete,
    /// The folder stays locked while somebody reads.
    _dir: Arc<Dir>,
}

impl core::fmt::Debug for CompleteFile {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("CompleteFile").field("meta", self.meta()).finish_non_exhaustive()
    }
}

impl CompleteFile {
    /// What it covers.
    #[must_use]
    pub const fn meta(&self) -> &SnapshotMeta {
        self.complete.meta()
    }

    /// At least one byte and at most `max_bytes` from `offset`, checked (S5); empty at the end only.
    ///
    /// # Errors
    /// [`SnapshotError::Corrupt`], [`SnapshotError::Io`].
    pub fn read(&mut self, offset: u64, max_bytes: usize) -> Result<Bytes, SnapshotError> {
        self.complete.read(offset, max_bytes)
    }
}
