//! Snapshots in memory: what is stored, what a crash takes away, and the faults of a disk.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use raft_core::backend::{
    Corruption, SnapshotContent, SnapshotError, SnapshotId, SnapshotMeta, SnapshotReader, SnapshotStore,
    SnapshotWriter,
};
use raft_core::ids::LogId;
use raft_core::membership::Membership;

/// Where a [`MemorySnapshots`] keeps its snapshots. Cheap to clone; every clone is the same disk.
///
/// # Examples
/// ```
/// # use raft_core::backend::{SnapshotError, SnapshotId, SnapshotStore, SnapshotWriter};
/// # use raft_core::ids::LogId;
/// # use raft_core::membership::Membership;
/// # use raft_testkit::memory::{MemorySnapshotDisk, MemorySnapshots};
/// # async fn begin(disk: &MemorySnapshotDisk, index: u64) -> Box<dyn SnapshotWriter> {
/// #     let (store, id) = (MemorySnapshots::open(disk), SnapshotId(index.into()));
/// #     let mut writer =
/// #         store.create(id, LogId::new(1, index), Membership::default()).await.unwrap();
/// #     writer.write("state".into()).await.unwrap();
/// #     writer
/// # }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let disk = MemorySnapshotDisk::new();
/// begin(&disk, 9).await.finish(None).await?;
/// // The disk outlives its stores.
/// let latest = MemorySnapshots::open(&disk).latest().await?;
/// assert_eq!(latest.unwrap().upto, LogId::new(1, 9));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct MemorySnapshotDisk(Arc<Mutex<Disk>>);

#[derive(Debug, Default)]
struct Disk {
    latest: Option<Stored>,
    parts: BTreeMap<SnapshotId, Part>,
    /// Which writer of a part may go on; counts all of them.
    writers: u64,
    full: bool,
    fail_next_sync: bool,
}

/// A complete snapshot.
#[derive(Clone, Debug)]
struct Stored {
    meta: SnapshotMeta,
    data: Bytes,
}

/// A half-received one.
#[derive(Clone, Debug)]
struct Part {
    upto: LogId,
    membership: Membership,
    data: BytesMut,
    /// Who writes it, if anybody does.
    writer: Option<u64>,
}

impl MemorySnapshotDisk {
    /// An empty disk.
    ///
    /// # Examples
    /// ```
    /// # use raft_core::backend::{SnapshotError, SnapshotId, SnapshotStore, SnapshotWriter};
    /// # use raft_core::ids::LogId;
    /// # use raft_core::membership::Membership;
    /// # use raft_testkit::memory::{MemorySnapshotDisk, MemorySnapshots};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let disk = MemorySnapshotDisk::new();
    /// assert_eq!(MemorySnapshots::open(&disk).latest().await?, None);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The machine loses power: what is half-received was never synced and is gone.
    ///
    /// # Examples
    /// ```
    /// # use raft_core::backend::{SnapshotError, SnapshotId, SnapshotStore, SnapshotWriter};
    /// # use raft_core::ids::LogId;
    /// # use raft_core::membership::Membership;
    /// # use raft_testkit::memory::{MemorySnapshotDisk, MemorySnapshots};
    /// # async fn begin(disk: &MemorySnapshotDisk, index: u64) -> Box<dyn SnapshotWriter> {
    /// #     let (store, id) = (MemorySnapshots::open(disk), SnapshotId(index.into()));
    /// #     let mut writer =
    /// #         store.create(id, LogId::new(1, index), Membership::default()).await.unwrap();
    /// #     writer.write("state".into()).await.unwrap();
    /// #     writer
    /// # }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let disk = MemorySnapshotDisk::new();
    /// begin(&disk, 5).await.finish(None).await?;
    /// drop(begin(&disk, 9).await);
    /// disk.crash();
    /// // What was complete stays; a sender has to begin the other one anew.
    /// assert_eq!(MemorySnapshots::open(&disk).latest().await?.unwrap().upto, LogId::new(1, 5));
    /// let id = SnapshotId(9);
    /// let again = MemorySnapshots::open(&disk).create(id, LogId::new(1, 9), Membership::default()).await?;
    /// assert_eq!(again.received_bytes(), 0);
    /// # Ok(())
    /// # }
    /// ```
    pub fn crash(&self) {
        self.lock().parts.clear();
    }

    /// There is no more space, or enough again.
    ///
    /// # Examples
    /// ```
    /// # use raft_core::backend::{SnapshotError, SnapshotId, SnapshotStore, SnapshotWriter};
    /// # use raft_core::ids::LogId;
    /// # use raft_core::membership::Membership;
    /// # use raft_testkit::memory::{MemorySnapshotDisk, MemorySnapshots};
    /// # async fn begin(disk: &MemorySnapshotDisk, index: u64) -> Box<dyn SnapshotWriter> {
    /// #     let (store, id) = (MemorySnapshots::open(disk), SnapshotId(index.into()));
    /// #     let mut writer =
    /// #         store.create(id, LogId::new(1, index), Membership::default()).await.unwrap();
    /// #     writer.write("state".into()).await.unwrap();
    /// #     writer
    /// # }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let disk = MemorySnapshotDisk::new();
    /// let mut writer = begin(&disk, 9).await;
    /// disk.set_full(true);
    /// assert_eq!(writer.write("more".into()).await, Err(SnapshotError::NoSpace));
    /// disk.set_full(false);
    /// assert_eq!(writer.write("more".into()).await, Ok(()));
    /// # Ok(())
    /// # }
    /// ```
    pub fn set_full(&self, full: bool) {
        self.lock().full = full;
    }

    /// The next [`finish`](SnapshotWriter::finish) fails to sync.
    ///
    /// # Examples
    /// ```
    /// # use raft_core::backend::{SnapshotError, SnapshotId, SnapshotStore, SnapshotWriter};
    /// # use raft_core::ids::LogId;
    /// # use raft_core::membership::Membership;
    /// # use raft_testkit::memory::{MemorySnapshotDisk, MemorySnapshots};
    /// # async fn begin(disk: &MemorySnapshotDisk, index: u64) -> Box<dyn SnapshotWriter> {
    /// #     let (store, id) = (MemorySnapshots::open(disk), SnapshotId(index.into()));
    /// #     let mut writer =
    /// #         store.create(id, LogId::new(1, index), Membership::default()).await.unwrap();
    /// #     writer.write("state".into()).await.unwrap();
    /// #     writer
    /// # }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let disk = MemorySnapshotDisk::new();
    /// disk.fail_next_sync();
    /// let failed = begin(&disk, 9).await.finish(None).await;
    /// assert!(matches!(failed, Err(SnapshotError::Io { .. })));
    /// assert_eq!(MemorySnapshots::open(&disk).latest().await?, None);
    /// # Ok(())
    /// # }
    /// ```
    pub fn fail_next_sync(&self) {
        self.lock().fail_next_sync = true;
    }

    /// How many bytes of snapshots are stored, half-received ones included.
    ///
    /// # Examples
    /// ```
    /// # use raft_core::backend::{SnapshotError, SnapshotId, SnapshotStore, SnapshotWriter};
    /// # use raft_core::ids::LogId;
    /// # use raft_core::membership::Membership;
    /// # use raft_testkit::memory::{MemorySnapshotDisk, MemorySnapshots};
    /// # async fn begin(disk: &MemorySnapshotDisk, index: u64) -> Box<dyn SnapshotWriter> {
    /// #     let (store, id) = (MemorySnapshots::open(disk), SnapshotId(index.into()));
    /// #     let mut writer =
    /// #         store.create(id, LogId::new(1, index), Membership::default()).await.unwrap();
    /// #     writer.write("state".into()).await.unwrap();
    /// #     writer
    /// # }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let disk = MemorySnapshotDisk::new();
    /// begin(&disk, 5).await.finish(None).await?;
    /// let half = begin(&disk, 9).await;
    /// assert_eq!(disk.stored_bytes(), 10);
    /// // The newer one takes the place of the old one.
    /// half.finish(None).await?;
    /// assert_eq!(disk.stored_bytes(), 5);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        let disk = self.lock();
        let parts: usize = disk.parts.values().map(|part| part.data.len()).sum();
        (parts + disk.latest.as_ref().map_or(0, |stored| stored.data.len())) as u64
    }

    /// Flips bit `bit` of byte `at` of the complete snapshot. `false` if there is no such byte.
    ///
    /// # Examples
    /// ```
    /// # use raft_core::backend::{SnapshotError, SnapshotId, SnapshotStore, SnapshotWriter};
    /// # use raft_core::ids::LogId;
    /// # use raft_core::membership::Membership;
    /// # use raft_testkit::memory::{MemorySnapshotDisk, MemorySnapshots};
    /// # async fn begin(disk: &MemorySnapshotDisk, index: u64) -> Box<dyn SnapshotWriter> {
    /// #     let (store, id) = (MemorySnapshots::open(disk), SnapshotId(index.into()));
    /// #     let mut writer =
    /// #         store.create(id, LogId::new(1, index), Membership::default()).await.unwrap();
    /// #     writer.write("state".into()).await.unwrap();
    /// #     writer
    /// # }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let disk = MemorySnapshotDisk::new();
    /// assert!(!disk.flip_bit(0, 0), "there is no snapshot");
    /// begin(&disk, 9).await.finish(None).await?;
    /// assert!(disk.flip_bit(0, 0));
    /// let damaged = MemorySnapshots::open(&disk).open(SnapshotId(9)).await;
    /// assert!(matches!(damaged, Err(SnapshotError::Corrupt(_))));
    /// # Ok(())
    /// # }
    /// ```
    pub fn flip_bit(&self, at: u64, bit: u8) -> bool {
        let mut disk = self.lock();
        let Some(stored) = &mut disk.latest else { return false };
        let mut data = stored.data.to_vec();
        let Some(byte) = usize::try_from(at).ok().and_then(|at| data.get_mut(at)) else { return false };
        *byte ^= 1 << (bit % 8);
        stored.data = data.into();
        true
    }

    /// Makes the stored checksum fit the bytes as they are, as a store would have it that never compares
    /// them.
    #[doc(hidden)]
    pub fn forge_checksum(&self) {
        if let Some(stored) = &mut self.lock().latest {
            stored.meta.content.checksum = crc32c::crc32c(&stored.data);
        }
    }

    /// A second disk with the same complete snapshot.
    ///
    /// # Examples
    /// ```
    /// # use raft_core::backend::{SnapshotError, SnapshotId, SnapshotStore, SnapshotWriter};
    /// # use raft_core::ids::LogId;
    /// # use raft_core::membership::Membership;
    /// # use raft_testkit::memory::{MemorySnapshotDisk, MemorySnapshots};
    /// # async fn begin(disk: &MemorySnapshotDisk, index: u64) -> Box<dyn SnapshotWriter> {
    /// #     let (store, id) = (MemorySnapshots::open(disk), SnapshotId(index.into()));
    /// #     let mut writer =
    /// #         store.create(id, LogId::new(1, index), Membership::default()).await.unwrap();
    /// #     writer.write("state".into()).await.unwrap();
    /// #     writer
    /// # }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let disk = MemorySnapshotDisk::new();
    /// begin(&disk, 5).await.finish(None).await?;
    /// let backup = disk.copy();
    /// begin(&disk, 9).await.finish(None).await?;
    /// assert_eq!(MemorySnapshots::open(&backup).latest().await?.unwrap().upto, LogId::new(1, 5));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn copy(&self) -> Self {
        let copy = Self::new();
        copy.become_like(self);
        copy
    }

    /// Sets the complete snapshot back to what another disk has, as if it had never been durable.
    #[doc(hidden)]
    pub fn become_like(&self, other: &Self) {
        let latest = other.lock().latest.clone();
        self.lock().latest = latest;
    }

    /// Forgets the complete snapshot, as a store would have it that drops the old one too early.
    #[doc(hidden)]
    pub fn drop_latest(&self) {
        self.lock().latest = None;
    }

    /// The half-received one of this name as if it were complete, as a store would serve it that does not
    /// tell them apart.
    #[doc(hidden)]
    #[must_use]
    pub fn half_received(&self, id: Option<SnapshotId>) -> Option<(SnapshotMeta, Bytes)> {
        let disk = self.lock();
        let (id, part) = disk.parts.iter().find(|(name, _)| id.is_none_or(|id| id == **name))?;
        let data = part.data.clone().freeze();
        Some((SnapshotMeta::new(*id, part.upto, part.membership.clone(), content(&data)), data))
    }

    fn lock(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn content(data: &[u8]) -> SnapshotContent {
    SnapshotContent { total_bytes: data.len() as u64, checksum: crc32c::crc32c(data) }
}

fn damaged(reason: &str) -> SnapshotError {
    let (place, reason) = ("memory".into(), reason.into());
    SnapshotError::Corrupt(Corruption { range: None, place, offset: 0, reason })
}

/// A store of snapshots in memory: the newest one, and half-received ones that survive a restart but not
/// a crash.
///
/// # Examples
/// ```
/// # use raft_core::backend::{SnapshotError, SnapshotId, SnapshotStore, SnapshotWriter};
/// # use raft_core::ids::LogId;
/// # use raft_core::membership::Membership;
/// # use raft_testkit::memory::{MemorySnapshotDisk, MemorySnapshots};
/// # async fn begin(disk: &MemorySnapshotDisk, index: u64) -> Box<dyn SnapshotWriter> {
/// #     let (store, id) = (MemorySnapshots::open(disk), SnapshotId(index.into()));
/// #     let mut writer =
/// #         store.create(id, LogId::new(1, index), Membership::default()).await.unwrap();
/// #     writer.write("state".into()).await.unwrap();
/// #     writer
/// # }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let disk = MemorySnapshotDisk::new();
/// let store = MemorySnapshots::open(&disk);
/// begin(&disk, 9).await.finish(None).await?;
/// let mut reader = store.open(SnapshotId(9)).await?;
/// assert_eq!(reader.read(2, 100).await?, "ate");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct MemorySnapshots(MemorySnapshotDisk);

impl MemorySnapshots {
    /// The store on this disk.
    ///
    /// # Examples
    /// ```
    /// # use raft_core::backend::{SnapshotError, SnapshotId, SnapshotStore, SnapshotWriter};
    /// # use raft_core::ids::LogId;
    /// # use raft_core::membership::Membership;
    /// # use raft_testkit::memory::{MemorySnapshotDisk, MemorySnapshots};
    /// # async fn begin(disk: &MemorySnapshotDisk, index: u64) -> Box<dyn SnapshotWriter> {
    /// #     let (store, id) = (MemorySnapshots::open(disk), SnapshotId(index.into()));
    /// #     let mut writer =
    /// #         store.create(id, LogId::new(1, index), Membership::default()).await.unwrap();
    /// #     writer.write("state".into()).await.unwrap();
    /// #     writer
    /// # }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let disk = MemorySnapshotDisk::new();
    /// drop(begin(&disk, 9).await);
    /// // A restart of the process, and the sender goes on where it was.
    /// let store = MemorySnapshots::open(&disk);
    /// let writer = store.create(SnapshotId(9), LogId::new(1, 9), Membership::default()).await?;
    /// assert_eq!(writer.received_bytes(), 5);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn open(disk: &MemorySnapshotDisk) -> Self {
        Self(disk.clone())
    }
}

#[async_trait]
impl SnapshotStore for MemorySnapshots {
    async fn latest(&self) -> Result<Option<SnapshotMeta>, SnapshotError> {
        Ok(self.0.lock().latest.as_ref().map(|stored| stored.meta.clone()))
    }

    async fn create(
        &self,
        id: SnapshotId,
        upto: LogId,
        membership: Membership,
    ) -> Result<Box<dyn SnapshotWriter>, SnapshotError> {
        let mut disk = self.0.lock();
        disk.writers += 1;
        let writer = disk.writers;
        let goes_on = |part: &Part| part.upto == upto && part.membership == membership;
        let kept = disk.parts.remove(&id).filter(goes_on).map(|part| part.data).unwrap_or_default();
        disk.parts.retain(|_, part| part.writer.is_some());
        let received = kept.len() as u64;
        disk.parts.insert(id, Part { upto, membership, data: kept, writer: Some(writer) });
        drop(disk);
        Ok(Box::new(Writer { disk: self.0.clone(), id, writer, received }))
    }

    async fn open(&self, id: SnapshotId) -> Result<Box<dyn SnapshotReader>, SnapshotError> {
        let stored = self.0.lock().latest.clone().filter(|stored| stored.meta.id == id);
        let stored = stored.ok_or(SnapshotError::NotFound)?;
        // What it reads cannot change any more.
        if content(&stored.data) != stored.meta.content {
            return Err(damaged("the checksum does not match"));
        }
        Ok(Box::new(stored))
    }
}

struct Writer {
    disk: MemorySnapshotDisk,
    id: SnapshotId,
    writer: u64,
    received: u64,
}

impl Writer {
    fn part<'a>(&self, disk: &'a mut Disk) -> Result<&'a mut Part, SnapshotError> {
        let part = disk.parts.get_mut(&self.id).filter(|part| part.writer == Some(self.writer));
        part.ok_or(SnapshotError::NotFound)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if let Ok(part) = self.part(&mut self.disk.lock()) {
            part.writer = None;
        }
    }
}

#[async_trait]
impl SnapshotWriter for Writer {
    fn received_bytes(&self) -> u64 {
        self.received
    }

    async fn write(&mut self, piece: Bytes) -> Result<(), SnapshotError> {
        let mut disk = self.disk.lock();
        if disk.full && !piece.is_empty() {
            return Err(SnapshotError::NoSpace);
        }
        let part = self.part(&mut disk)?;
        part.data.extend_from_slice(&piece);
        self.received += piece.len() as u64;
        Ok(())
    }

    async fn finish(
        self: Box<Self>,
        expected: Option<SnapshotContent>,
    ) -> Result<SnapshotMeta, SnapshotError> {
        let mut disk = self.disk.lock();
        self.part(&mut disk)?;
        let part = disk.parts.remove(&self.id).ok_or(SnapshotError::NotFound)?;
        if std::mem::take(&mut disk.fail_next_sync) {
            return Err(SnapshotError::Io { what: "sync".into(), cause: "as told".into() });
        }
        let data = part.data.freeze();
        let content = content(&data);
        if expected.is_some_and(|expected| expected != content) {
            return Err(damaged("it is not what was announced"));
        }
        let meta = SnapshotMeta::new(self.id, part.upto, part.membership, content);
        if disk.latest.as_ref().is_none_or(|old| old.meta.upto <= meta.upto) {
            disk.latest = Some(Stored { meta: meta.clone(), data });
        }
        Ok(meta)
    }
}

#[async_trait]
impl SnapshotReader for Stored {
    fn meta(&self) -> &SnapshotMeta {
        &self.meta
    }

    async fn read(&mut self, offset: u64, max_bytes: usize) -> Result<Bytes, SnapshotError> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(self.data.len());
        let end = start.saturating_add(max_bytes.max(1)).min(self.data.len());
        Ok(self.data.slice(start..end))
    }
}
