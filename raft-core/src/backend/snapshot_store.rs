//! Where snapshots are kept (§7). The contract is fixed; no node uses it yet.

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

/// What a snapshot covers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SnapshotMeta {
    /// Its name.
    pub id: SnapshotId,
    /// The last entry that it covers.
    pub upto: LogId,
    /// The membership as of that entry.
    pub membership: Membership,
    /// Its size in bytes; 0 while it is being written.
    pub total_bytes: u64,
    /// CRC-32C of all of it.
    pub checksum: u32,
}

/// Why a snapshot could not be stored or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// There is none of that name.
    #[error("no such snapshot")]
    NotFound,
    /// No space is left.
    #[error("no space is left")]
    NoSpace,
    /// It is damaged (S5).
    #[error("damaged: {0}")]
    Corrupt(Corruption),
    /// The operating system failed.
    #[error("{what}: {cause}")]
    Io {
        /// What was attempted, on what.
        what: String,
        /// What it said.
        cause: Arc<str>,
    },
}

/// Stores snapshots of one node.
///
/// * **S1** A snapshot is visible only when complete and synced, with its log id, membership, checksum.
/// * **S2** Half-received ones are removed or resumed on restart, never served.
/// * **S3** Streaming in chunks: memory stays bounded whatever the size.
/// * **S4** Old ones are dropped only after the new one is durable.
/// * **S5** A damaged one is detected on read.
#[async_trait]
pub trait SnapshotStore: Send + Sync + 'static {
    /// The newest complete snapshot.
    async fn latest(&self) -> Result<Option<SnapshotMeta>, SnapshotError>;
    /// Begins a new one, or goes on with a half-received one of the same id.
    async fn create(&self, meta: SnapshotMeta) -> Result<Box<dyn SnapshotWriter>, SnapshotError>;
    /// Opens one for reading.
    async fn open(&self, id: SnapshotId) -> Result<Box<dyn SnapshotReader>, SnapshotError>;
}

/// A snapshot being written.
#[async_trait]
pub trait SnapshotWriter: Send + 'static {
    /// How many bytes are there already.
    fn received_bytes(&self) -> u64;
    /// Appends a piece.
    async fn write(&mut self, piece: Bytes) -> Result<(), SnapshotError>;
    /// Checks, syncs and makes it visible (S1); then older ones may go (S4).
    async fn finish(self: Box<Self>) -> Result<SnapshotMeta, SnapshotError>;
}

/// A snapshot being read.
#[async_trait]
pub trait SnapshotReader: Send + 'static {
    /// What it covers.
    fn meta(&self) -> &SnapshotMeta;
    /// At most `max_bytes` from `offset`; empty at the end.
    async fn read(&mut self, offset: u64, max_bytes: usize) -> Result<Bytes, SnapshotError>;
}
