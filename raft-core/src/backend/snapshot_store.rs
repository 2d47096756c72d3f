//! Where snapshots are kept (§7).

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::backend::Corruption;
use crate::ids::LogId;
use crate::membership::Membership;

/// Names a snapshot. Random, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotId(pub u128);

/// The bytes of a snapshot, in two numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SnapshotContent {
    /// Their count.
    pub total_bytes: u64,
    /// CRC-32C of all of them.
    pub checksum: u32,
}

/// What a complete snapshot covers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct SnapshotMeta {
    /// Its name.
    pub id: SnapshotId,
    /// The last entry that it covers.
    pub upto: LogId,
    /// The membership as of that entry.
    pub membership: Membership,
    /// Its bytes.
    pub content: SnapshotContent,
}

impl SnapshotMeta {
    /// A complete snapshot.
    #[must_use]
    pub const fn new(id: SnapshotId, upto: LogId, membership: Membership, content: SnapshotContent) -> Self {
        Self { id, upto, membership, content }
    }
}

/// Why a snapshot could not be stored or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// There is none of that name, or not any more.
    #[error("no such snapshot")]
    NotFound,
    /// No space is left. What was there before stays.
    #[error("no space is left")]
    NoSpace,
    /// It is damaged (S5), or what was received is not what was announced (S1).
    #[error("damaged: {0}")]
    Corrupt(Corruption),
    /// Another process, or another opener in this one, has the store.
    #[error("the snapshots are in use by another opener")]
    Locked,
    /// The operating system failed.
    #[error("{what}: {cause}")]
    Io {
        /// What was attempted, on what.
        what: String,
        /// What it said.
        cause: Arc<str>,
    },
}

/// Stores snapshots of one node. Create and open are the backend's own constructors.
///
/// * **S1** A snapshot is visible only when complete and synced, with its log id, membership, checksum.
/// * **S2** Half-received ones are removed or resumed on restart, never served.
/// * **S3** Streaming in chunks: memory stays bounded whatever the size.
/// * **S4** Old ones are dropped only after the new one is durable.
/// * **S5** A damaged one is detected on read.
///
/// # Examples
/// Reading the newest one, a piece at a time (`FileSnapshots` and `SqliteSnapshots` are stores that come with the library):
///
/// ```
/// use raft_core::backend::{SnapshotError, SnapshotStore};
///
/// /// How many bytes the newest snapshot has, all of them read and so checked (S5).
/// async fn check(store: &dyn SnapshotStore) -> Result<u64, SnapshotError> {
///     let Some(meta) = store.latest().await? else { return Ok(0) };
///     let mut reader = store.open(meta.id).await?;
///     let mut read = 0;
///     loop {
///         let piece = reader.read(read, 64 << 10).await?;
///         if piece.is_empty() {
///             return Ok(read);
///         }
///         read += piece.len() as u64;
///     }
/// }
/// ```
#[async_trait]
pub trait SnapshotStore: Send + Sync + 'static {
    /// The complete snapshot that covers most. It never goes back: finishing one that covers less
    /// changes nothing here.
    ///
    /// # Errors
    /// [`SnapshotError::Corrupt`] if it is there and what says so is damaged: never `None` then.
    async fn latest(&self) -> Result<Option<SnapshotMeta>, SnapshotError>;

    /// Begins a new one, or goes on with a half-received one of the same id: see
    /// [`SnapshotWriter::received_bytes`]. Half-received ones of other ids that nobody writes any more are
    /// removed. A half-received one of this id with another log id or membership is begun anew.
    ///
    /// # Errors
    /// [`SnapshotError`]
    async fn create(
        &self,
        id: SnapshotId,
        upto: LogId,
        membership: Membership,
    ) -> Result<Box<dyn SnapshotWriter>, SnapshotError>;

    /// Opens a complete one for reading.
    ///
    /// # Errors
    /// [`SnapshotError::NotFound`], also for one that is not complete; [`SnapshotError::Corrupt`].
    async fn open(&self, id: SnapshotId) -> Result<Box<dyn SnapshotReader>, SnapshotError>;
}

/// A snapshot being written.
///
/// Dropped before [`finish`](Self::finish) it is half-received (S2). After an error, or after a future of
/// it was dropped, it takes nothing more: drop it and create it again, which may resume it.
#[async_trait]
pub trait SnapshotWriter: Send + 'static {
    /// How many bytes are there already, from the first on without a hole: where to go on.
    fn received_bytes(&self) -> u64;

    /// Appends a piece of any size. An Ok does not mean that it is durable.
    ///
    /// # Errors
    /// [`SnapshotError`]
    async fn write(&mut self, piece: Bytes) -> Result<(), SnapshotError>;

    /// Checks, syncs and makes it visible (S1); then those that cover less may go (S4). `expected` is what
    /// was announced of a received one; `None` for one of our own.
    ///
    /// # Errors
    /// [`SnapshotError::Corrupt`] if it is not what was expected: nothing of it is kept. After any error
    /// it is not visible, and what was visible before still is.
    async fn finish(
        self: Box<Self>,
        expected: Option<SnapshotContent>,
    ) -> Result<SnapshotMeta, SnapshotError>;
}

/// A snapshot being read. If it is dropped from the store meanwhile, reading goes on or is
/// [`SnapshotError::NotFound`]; it never gives other bytes.
#[async_trait]
pub trait SnapshotReader: Send + 'static {
    /// What it covers.
    fn meta(&self) -> &SnapshotMeta;

    /// At least one byte and at most `max_bytes` from `offset`, checked; empty at the end only.
    ///
    /// # Errors
    /// [`SnapshotError::Corrupt`] (S5)
    async fn read(&mut self, offset: u64, max_bytes: usize) -> Result<Bytes, SnapshotError>;
}
