//! What outlives a [`MemoryJournal`](super::MemoryJournal): the stored bytes, and the faults of a disk.

mod faults;
mod hold;
mod rot;
mod state;
mod stored;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

pub(super) use self::state::Disk;
pub(super) use self::stored::{Record, Stored};

/// A disk for one journal. Cheap to clone; every clone is the same disk.
///
/// It keeps what was written when the journal is dropped or [crashes](Self::crash), and it can be told
/// to fail: to hold writes, to refuse them, to be full, to tear one, to rot.
///
/// # Examples
/// ```
/// # use raft_core::backend::{HardState, Journal, JournalError, JournalWrite, OpenError, Verdict};
/// # use raft_core::entry::{Entry, EntryKind};
/// # use raft_core::ids::{ClusterId, GroupId, Index, LogId, NodeId, Term};
/// # use raft_testkit::memory::{MemoryDisk, MemoryJournal};
/// # fn create(disk: &MemoryDisk) -> MemoryJournal {
/// #     MemoryJournal::create(disk, ClusterId(1), GroupId(0), NodeId(1), None).unwrap()
/// # }
/// # fn open(disk: &MemoryDisk) -> MemoryJournal {
/// #     MemoryJournal::open(disk, ClusterId(1), GroupId(0), NodeId(1)).unwrap()
/// # }
/// # fn append(indexes: impl IntoIterator<Item = u64>) -> JournalWrite {
/// #     let (kind, data) = (EntryKind::Commands, bytes::Bytes::from("data"));
/// #     let entry = |index| Entry { id: LogId::new(1, index), kind, data: data.clone() };
/// #     let mut write = JournalWrite::default();
/// #     write.entries = indexes.into_iter().map(entry).collect();
/// #     write
/// # }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let disk = MemoryDisk::new();
/// let mut journal = create(&disk);
/// journal.write(append(1..=3)).await?;
/// disk.crash();
/// assert_eq!(open(&disk).load().await?.last, LogId::new(1, 3));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    disk: Mutex<Disk>,
    changed: Notify,
}

impl MemoryDisk {
    /// An empty disk. Store ids and nonces are random.
    ///
    /// # Examples
    /// ```
    /// use raft_core::backend::OpenError;
    /// use raft_core::ids::{ClusterId, GroupId, NodeId};
    /// use raft_testkit::memory::{MemoryDisk, MemoryJournal};
    ///
    /// let disk = MemoryDisk::new();
    /// let same = disk.clone();
    /// let journal = MemoryJournal::create(&disk, ClusterId(1), GroupId(0), NodeId(1), None)?;
    /// // A clone is no copy: who has the journal open has it open there too.
    /// let again = MemoryJournal::open(&same, ClusterId(1), GroupId(0), NodeId(1));
    /// assert!(matches!(again, Err(OpenError::Locked { .. })));
    /// # drop(journal);
    /// # Ok::<(), OpenError>(())
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty disk whose store ids and nonces follow from `seed`, for runs that must repeat.
    ///
    /// # Examples
    /// ```
    /// # use raft_core::backend::{HardState, Journal, JournalError, JournalWrite, OpenError, Verdict};
    /// # use raft_core::entry::{Entry, EntryKind};
    /// # use raft_core::ids::{ClusterId, GroupId, Index, LogId, NodeId, Term};
    /// # use raft_testkit::memory::{MemoryDisk, MemoryJournal};
    /// # fn create(disk: &MemoryDisk) -> MemoryJournal {
    /// #     MemoryJournal::create(disk, ClusterId(1), GroupId(0), NodeId(1), None).unwrap()
    /// # }
    /// # fn main() {
    /// let store = |seed| create(&MemoryDisk::seeded(seed)).identity().store;
    /// assert_eq!(store(7), store(7));
    /// assert_ne!(store(7), store(8));
    /// # }
    /// ```
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        let disk = Self::new();
        disk.lock().random = Some(seed);
        disk
    }

    /// A second disk with the same bytes, as a backup would have. Nobody has it open.
    ///
    /// # Examples
    /// ```
    /// # use raft_core::backend::{HardState, Journal, JournalError, JournalWrite, OpenError, Verdict};
    /// # use raft_core::entry::{Entry, EntryKind};
    /// # use raft_core::ids::{ClusterId, GroupId, Index, LogId, NodeId, Term};
    /// # use raft_testkit::memory::{MemoryDisk, MemoryJournal};
    /// # fn create(disk: &MemoryDisk) -> MemoryJournal {
    /// #     MemoryJournal::create(disk, ClusterId(1), GroupId(0), NodeId(1), None).unwrap()
    /// # }
    /// # fn open(disk: &MemoryDisk) -> MemoryJournal {
    /// #     MemoryJournal::open(disk, ClusterId(1), GroupId(0), NodeId(1)).unwrap()
    /// # }
    /// # fn append(indexes: impl IntoIterator<Item = u64>) -> JournalWrite {
    /// #     let (kind, data) = (EntryKind::Commands, bytes::Bytes::from("data"));
    /// #     let entry = |index| Entry { id: LogId::new(1, index), kind, data: data.clone() };
    /// #     let mut write = JournalWrite::default();
    /// #     write.entries = indexes.into_iter().map(entry).collect();
    /// #     write
    /// # }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let disk = MemoryDisk::new();
    /// let mut journal = create(&disk);
    /// journal.write(append(1..=1)).await?;
    /// let backup = disk.copy();
    /// journal.write(append(2..=2)).await?;
    /// assert_eq!(open(&backup).load().await?.last, LogId::new(1, 1));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn copy(&self) -> Self {
        let copy = Self::new();
        {
            let (mut to, from) = (copy.lock(), self.lock());
            to.owner = from.owner;
            to.stored = from.stored.clone();
            to.verdict.clone_from(&from.verdict);
        }
        copy
    }

    /// How many bytes of entry data are stored.
    ///
    /// # Examples
    /// ```
    /// # use raft_core::backend::{HardState, Journal, JournalError, JournalWrite, OpenError, Verdict};
    /// # use raft_core::entry::{Entry, EntryKind};
    /// # use raft_core::ids::{ClusterId, GroupId, Index, LogId, NodeId, Term};
    /// # use raft_testkit::memory::{MemoryDisk, MemoryJournal};
    /// # fn create(disk: &MemoryDisk) -> MemoryJournal {
    /// #     MemoryJournal::create(disk, ClusterId(1), GroupId(0), NodeId(1), None).unwrap()
    /// # }
    /// # fn append(indexes: impl IntoIterator<Item = u64>) -> JournalWrite {
    /// #     let (kind, data) = (EntryKind::Commands, bytes::Bytes::from("data"));
    /// #     let entry = |index| Entry { id: LogId::new(1, index), kind, data: data.clone() };
    /// #     let mut write = JournalWrite::default();
    /// #     write.entries = indexes.into_iter().map(entry).collect();
    /// #     write
    /// # }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let disk = MemoryDisk::new();
    /// let mut journal = create(&disk);
    /// journal.write(append(1..=3)).await?;
    /// assert_eq!(disk.stored_bytes(), 3 * "data".len() as u64);
    /// journal.purge(LogId::new(1, 2)).await?;
    /// assert_eq!(disk.stored_bytes(), "data".len() as u64);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        self.lock().stored.bytes()
    }

    /// All entry data that is stored, in order, with what was cut as damaged behind it.
    ///
    /// # Examples
    /// ```
    /// # use raft_core::backend::{HardState, Journal, JournalError, JournalWrite, OpenError, Verdict};
    /// # use raft_core::entry::{Entry, EntryKind};
    /// # use raft_core::ids::{ClusterId, GroupId, Index, LogId, NodeId, Term};
    /// # use raft_testkit::memory::{MemoryDisk, MemoryJournal};
    /// # fn create(disk: &MemoryDisk) -> MemoryJournal {
    /// #     MemoryJournal::create(disk, ClusterId(1), GroupId(0), NodeId(1), None).unwrap()
    /// # }
    /// # fn open(disk: &MemoryDisk) -> MemoryJournal {
    /// #     MemoryJournal::open(disk, ClusterId(1), GroupId(0), NodeId(1)).unwrap()
    /// # }
    /// # fn append(indexes: impl IntoIterator<Item = u64>) -> JournalWrite {
    /// #     let (kind, data) = (EntryKind::Commands, bytes::Bytes::from("data"));
    /// #     let entry = |index| Entry { id: LogId::new(1, index), kind, data: data.clone() };
    /// #     let mut write = JournalWrite::default();
    /// #     write.entries = indexes.into_iter().map(entry).collect();
    /// #     write
    /// # }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let disk = MemoryDisk::new();
    /// let mut journal = create(&disk);
    /// journal.write(append(1..=2)).await?;
    /// drop(journal);
    /// disk.flip_bit(4, 0);
    /// assert_eq!(disk.contents(), b"dataeata");
    /// // The second is cut from the log, and is there for whoever repairs it.
    /// assert_eq!(open(&disk).load().await?.last, LogId::new(1, 1));
    /// assert_eq!(disk.contents(), b"dataeata");
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn contents(&self) -> Vec<u8> {
        let disk = self.lock();
        let stored = disk.stored.records.values().map(|record| &record.entry);
        stored.chain(&disk.evidence).flat_map(|entry| entry.data.iter().copied()).collect()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Disk> {
        self.0.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
