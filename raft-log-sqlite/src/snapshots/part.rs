//! A snapshot that is being written.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crc32c::crc32c_append;
use raft_core::backend::{SnapshotContent, SnapshotError};

use super::db::{Db, failed};
use super::records::{self, CHUNK_BYTES, End, Head, Seal};
use crate::error::damage;
use crate::options::Faults;

/// Chunks of one transaction: what a crash takes from a half-received snapshot at most, 4 MiB.
const COMMIT_CHUNKS: u64 = 64;

/// Whole chunks in a database, and the beginning of the next one in memory.
pub(super) struct Part {
    pub(super) head: Head,
    path: PathBuf,
    db: Db,
    chunks: u64,
    /// Behind the last chunk.
    chain: u64,
    /// Of all that is in chunks.
    checksum: u32,
    open: Vec<u8>,
    /// Chunks of the transaction under way.
    uncommitted: u64,
    faults: Option<Arc<Faults>>,
}

impl Part {
    fn new(head: Head, path: &Path, db: Db, faults: Option<Arc<Faults>>) -> Self {
        let chain = head.first_chain();
        let (path, open) = (path.to_path_buf(), Vec::new());
        Self { head, path, db, chunks: 0, chain, checksum: 0, open, uncommitted: 0, faults }
    }

    /// Makes a new database.
    pub(super) async fn begin(
        head: Head,
        path: &Path,
        faults: Option<Arc<Faults>>,
    ) -> Result<Self, SnapshotError> {
        let bytes = head.encode().ok_or_else(|| SnapshotError::Io {
            what: "create a snapshot".into(),
            cause: "its membership is too large".into(),
        })?;
        let creating = |error| failed("create a snapshot", &error);
        let db = Db::writable(path, true).await.map_err(creating)?;
        let mut part = Self::new(head, path, db, faults);
        let mut done = part.limit().await;
        if done.is_ok() {
            done = part.db.begin_with(&bytes).await;
        }
        match done {
            Ok(()) => Ok(part),
            Err(error) => {
                part.close().await;
                Err(creating(error))
            }
        }
    }

    /// Goes on after the last chunk that is as it was written. `None` if it is not of this snapshot, or
    /// cannot be read: then it is begun anew.
    pub(super) async fn resume(
        head: &Head,
        path: &Path,
        faults: Option<Arc<Faults>>,
    ) -> Result<Option<Self>, SnapshotError> {
        let db = match Db::writable(path, false).await {
            Ok(db) => db,
            Err(error) => return unusable(&error),
        };
        let mut part = Self::new(head.clone(), path, db, faults);
        match part.find_end().await {
            Ok(true) => Ok(Some(part)),
            Ok(false) => {
                part.close().await;
                Ok(None)
            }
            Err(error) => {
                part.close().await;
                unusable(&error)
            }
        }
    }

    /// Reads what is there; whether it is of this snapshot.
    async fn find_end(&mut self) -> Result<bool, sqlx::Error> {
        if self.db.check_marks().await?.is_err() || self.db.head().await? != Ok(self.head.clone()) {
            return Ok(false);
        }
        while let Some(found) = self.db.chunk(self.chunks).await? {
            let seal = Seal::of(self.head.id, self.chunks, self.chain, &found.data);
            if seal != found.seal || found.data.len() != CHUNK_BYTES {
                break;
            }
            self.checksum = crc32c_append(self.checksum, &found.data);
            self.chain = seal.chain;
            self.chunks += 1;
        }
        // An end of an attempt to finish as well.
        self.db.cut(self.chunks).await?;
        Ok(true)
    }

    pub(super) fn received_bytes(&self) -> u64 {
        self.chunks * CHUNK_BYTES as u64 + self.open.len() as u64
    }

    /// Appends a piece. After an error it is of no more use.
    pub(super) async fn write(&mut self, mut piece: &[u8]) -> Result<(), SnapshotError> {
        while !piece.is_empty() {
            let room = CHUNK_BYTES - self.open.len();
            let (now, later) = piece.split_at(room.min(piece.len()));
            self.open.extend_from_slice(now);
            piece = later;
            if self.open.len() == CHUNK_BYTES {
                self.put_chunk().await.map_err(|error| failed("write a snapshot", &error))?;
            }
        }
        Ok(())
    }

    async fn put_chunk(&mut self) -> Result<(), sqlx::Error> {
        if self.uncommitted == 0 {
            self.limit().await?;
            self.db.begin().await?;
        }
        let seal = Seal::of(self.head.id, self.chunks, self.chain, &self.open);
        self.db.put_chunk(self.chunks, &self.open, seal).await?;
        self.checksum = crc32c_append(self.checksum, &self.open);
        self.chain = seal.chain;
        self.chunks += 1;
        self.open.clear();
        self.uncommitted += 1;
        if self.uncommitted >= COMMIT_CHUNKS {
            self.commit().await?;
        }
        Ok(())
    }

    async fn commit(&mut self) -> Result<(), sqlx::Error> {
        if Faults::take_sync(self.faults.as_ref()) {
            return Err(sqlx::Error::Io(std::io::Error::other("a sync that was told to fail")));
        }
        self.db.commit().await?;
        self.uncommitted = 0;
        Ok(())
    }

    async fn limit(&mut self) -> Result<(), sqlx::Error> {
        if Faults::is_full(self.faults.as_ref()) { self.db.limit_size().await } else { Ok(()) }
    }

    /// Writes the rest and the end, and closes the database: all of it is durable then, under its old
    /// name.
    pub(super) async fn complete(
        mut self,
        expected: Option<SnapshotContent>,
    ) -> Result<(Head, SnapshotContent), SnapshotError> {
        let total_bytes = self.received_bytes();
        let content = SnapshotContent { total_bytes, checksum: crc32c_append(self.checksum, &self.open) };
        if let Some(expected) = expected.filter(|expected| *expected != content) {
            let name = records::part_name(self.head.id);
            let why = format!("{content:?} was received, {expected:?} announced");
            self.close().await;
            return Err(SnapshotError::Corrupt(damage(&name, total_bytes, why)));
        }
        if let Err(error) = self.put_rest(content).await {
            self.close().await;
            return Err(failed("finish a snapshot", &error));
        }
        let Self { head, path, db, faults, .. } = self;
        db.close().await.map_err(|error| failed("close a snapshot", &error))?;
        // COMMIT has synced it; a database that was closed without a word is not trusted for that.
        let synced = if Faults::take_sync(faults.as_ref()) {
            Err(std::io::Error::other("a sync that was told to fail"))
        } else {
            std::fs::File::open(&path).and_then(|file| file.sync_all())
        };
        synced.map_err(|error| super::dir::io_failed("sync a snapshot", &error))?;
        Ok((head, content))
    }

    async fn put_rest(&mut self, content: SnapshotContent) -> Result<(), sqlx::Error> {
        if !self.open.is_empty() {
            self.put_chunk().await?;
        }
        if self.uncommitted == 0 {
            self.limit().await?;
            self.db.begin().await?;
        }
        self.db.put_end(&End { content, chain: self.chain }.encode(self.head.id)).await?;
        self.commit().await
    }

    /// Leaves it half-received, with all whole chunks.
    pub(super) async fn leave(mut self) {
        if self.uncommitted > 0 {
            // What is not there comes again.
            let _ = self.commit().await;
        }
        self.close().await;
    }

    async fn close(self) {
        let _ = self.db.close().await;
    }
}

/// An error of looking at a half-received snapshot: if the system failed, so does the call; otherwise it
/// is begun anew.
fn unusable<T>(error: &sqlx::Error) -> Result<Option<T>, SnapshotError> {
    match super::db::unreadable("", error) {
        SnapshotError::Corrupt(_) => Ok(None),
        other => Err(other),
    }
}
