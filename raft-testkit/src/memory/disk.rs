//! What outlives a [`MemoryJournal`](super::MemoryJournal): the stored bytes, and the faults of a disk.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, DefaultHasher, Hash, Hasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use raft_core::backend::{Corruption, HardState, JournalError, JournalWrite, OpenError, Verdict};
use raft_core::entry::{Entry, EntryKind};
use raft_core::ids::{ClusterId, GroupId, Identity, Incarnation, Index, KnownPeer, LogId, NodeId, StoreId};
use raft_core::membership::Membership;
use tokio::sync::Notify;

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

/// An entry with the checksum that was stored beside it.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) entry: Entry,
    checksum: u64,
}

impl Record {
    pub(super) fn new(entry: Entry) -> Self {
        Self { checksum: checksum(&entry), entry }
    }

    pub(super) fn is_sound(&self) -> bool {
        self.checksum == checksum(&self.entry)
    }

    pub(super) fn damage(&self) -> Corruption {
        let at = self.entry.id.index;
        Corruption {
            range: Some(at..at.next()),
            place: "memory".into(),
            offset: at.0,
            reason: "the checksum does not match".into(),
        }
    }
}

fn checksum(entry: &Entry) -> u64 {
    let mut hasher = DefaultHasher::new();
    entry.hash(&mut hasher);
    hasher.finish()
}

/// The stored bytes.
#[derive(Clone, Debug, Default)]
pub(super) struct Stored {
    pub(super) hard_state: HardState,
    pub(super) known_peers: Vec<KnownPeer>,
    pub(super) purged: LogId,
    pub(super) records: BTreeMap<Index, Record>,
    pub(super) commit_hint: Index,
}

impl Stored {
    pub(super) fn last(&self) -> LogId {
        self.records.last_key_value().map_or(self.purged, |(_, record)| record.entry.id)
    }

    fn bytes(&self) -> u64 {
        self.records.values().map(|record| record.entry.data.len() as u64).sum()
    }
}

#[derive(Debug, Default)]
pub(super) struct Disk {
    pub(super) owner: Option<Identity>,
    pub(super) stored: Stored,
    pub(super) verdict: Option<Verdict>,
    /// What was cut as damaged.
    evidence: Vec<Entry>,
    /// Which opening holds the lock.
    pub(super) open: Option<u64>,
    openings: u64,
    random: Option<u64>,
    hold: bool,
    held: Option<JournalWrite>,
    fail_next: Option<JournalError>,
    attempts: u64,
    limit_bytes: Option<u64>,
}

impl Disk {
    /// The next number of a small generator (SplitMix64).
    fn random(&mut self) -> u64 {
        let state = self.random.get_or_insert_with(|| RandomState::new().hash_one(0u8));
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn new_store(&mut self, cluster: ClusterId, group: GroupId, node: NodeId) -> Identity {
        let store = StoreId(u128::from(self.random()) << 64 | u128::from(self.random()));
        let incarnation = Incarnation { number: 0, nonce: 0 };
        Identity { cluster, group, node, store, incarnation }
    }

    /// Takes the lock and begins a new incarnation.
    pub(super) fn begin(&mut self, mut owner: Identity) -> (u64, Identity) {
        owner.incarnation =
            Incarnation { number: owner.incarnation.number.saturating_add(1), nonce: self.random() };
        self.owner = Some(owner);
        self.openings += 1;
        self.open = Some(self.openings);
        (self.openings, owner)
    }

    /// Whether a write is stopped by a fault, and which.
    pub(super) fn fault(&mut self, write: &JournalWrite) -> Result<(), JournalError> {
        self.attempts += 1;
        if let Some(error) = self.fail_next.take() {
            return Err(error);
        }
        let needed: u64 = write.entries.iter().map(|entry| entry.data.len() as u64).sum();
        match self.limit_bytes {
            Some(limit) if needed > 0 && self.stored.bytes() + needed > limit => {
                Err(JournalError::NoSpace { needed })
            }
            _ => Ok(()),
        }
    }

    /// Cuts the log before the first damaged record, says so and puts `node` on probation; what is cut is put aside.
    /// A single voter is refused instead (J10).
    pub(super) fn cut_damage(&mut self, node: NodeId) -> Result<Option<Verdict>, OpenError> {
        let records = &mut self.stored.records;
        let Some(record) = records.values().find(|record| !record.is_sound()) else { return Ok(None) };
        let (at, damage) = (record.entry.id.index, record.damage());
        let sound = records.range(..at).rev().map(|(_, record)| &record.entry);
        let newest = sound.into_iter().find(|entry| entry.kind == EntryKind::Membership);
        let newest = newest.and_then(|entry| Membership::decode(&entry.data).ok());
        if newest.is_some_and(|membership| membership.all_voters().eq([node])) {
            return Err(OpenError::Corrupt(damage));
        }
        let is_last = records.last_key_value().is_some_and(|(last, _)| *last == at);
        let cut = records.split_off(&at);
        self.evidence.extend(cut.into_values().map(|record| record.entry));
        self.stored.hard_state.probation = true;
        Ok(Some(if is_last { Verdict::SuspectTail { from: at } } else { Verdict::Corrupt(damage) }))
    }
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

    /// The process is gone: who had the journal open can write no more, and an unfinished write is lost.
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
    /// disk.crash();
    /// // The dead process may still be dropped, and can do nothing more.
    /// assert!(matches!(journal.write(append(1..=1)).await, Err(JournalError::Poisoned { .. })));
    /// assert_eq!(open(&disk).load().await?.last, LogId::ZERO);
    /// # Ok(())
    /// # }
    /// ```
    pub fn crash(&self) {
        self.crash_keeping(None);
    }

    /// The same in the middle of a [held](Self::hold_writes) write: its hard state, its truncation and
    /// its first `entries` entries made it, the rest did not (J2). Without a held write, a plain crash.
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
    /// disk.hold_writes();
    /// let write = tokio::spawn(async move { journal.write(append(1..=5)).await });
    /// disk.write_is_held().await;
    /// disk.crash_torn(3);
    /// assert!(write.await?.is_err());
    /// let state = open(&disk).load().await?;
    /// assert_eq!(state.last, LogId::new(1, 3));
    /// assert_eq!(state.verdict, Verdict::TornTail { discarded_from: Index(4) });
    /// # Ok(())
    /// # }
    /// ```
    pub fn crash_torn(&self, entries: usize) {
        self.crash_keeping(Some(entries));
    }

    fn crash_keeping(&self, entries: Option<usize>) {
        let mut disk = self.lock();
        if let (Some(mut write), Some(kept)) = (disk.held.take(), entries) {
            let all = write.entries.len();
            write.entries = write.entries.into_iter().take(kept).collect();
            disk.stored.apply(write);
            if kept < all {
                let discarded_from = disk.stored.last().index.next();
                disk.verdict = Some(Verdict::TornTail { discarded_from });
            }
        }
        disk.open = None;
        drop(disk);
        self.0.changed.notify_waiters();
    }

    /// From now on writes, purges and resets wait until [`release_writes`](Self::release_writes).
    /// Reading does not wait.
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
    /// let reader = journal.reader();
    /// disk.hold_writes();
    /// let write = tokio::spawn(async move { journal.write(append(1..=1)).await });
    /// disk.write_is_held().await;
    /// // It is not durable, so nobody reads it (J5).
    /// assert!(reader.entries(Index(1)..Index(2), 100).await.is_err());
    /// # disk.release_writes();
    /// # write.await??;
    /// # Ok(())
    /// # }
    /// ```
    pub fn hold_writes(&self) {
        self.lock().hold = true;
    }

    /// Lets held writes, and all later ones, go on.
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
    /// disk.hold_writes();
    /// let write = tokio::spawn(async move { journal.write(append(1..=1)).await });
    /// disk.write_is_held().await;
    /// assert!(!write.is_finished());
    /// disk.release_writes();
    /// assert_eq!(write.await?, Ok(()));
    /// # Ok(())
    /// # }
    /// ```
    pub fn release_writes(&self) {
        self.lock().hold = false;
        self.0.changed.notify_waiters();
    }

    /// Returns once a write is being held; at once if one is.
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
    /// disk.hold_writes();
    /// let write = tokio::spawn(async move { journal.write(append(1..=1)).await });
    /// assert_eq!(disk.attempts(), 0, "the task has not begun");
    /// disk.write_is_held().await;
    /// // Now it is in the middle of its write, and a test may let it die there.
    /// write.abort();
    /// assert!(write.await.unwrap_err().is_cancelled());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn write_is_held(&self) {
        loop {
            let changed = self.0.changed.notified();
            if self.lock().held.is_some() {
                return;
            }
            changed.await;
        }
    }

    /// The next write, purge or reset fails with `error` and stores nothing.
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
    /// let error = JournalError::Io { what: "sync".into(), cause: "the disk is dying".into() };
    /// disk.fail_next_write(error.clone());
    /// assert_eq!(journal.write(append(1..=1)).await, Err(error));
    /// assert_eq!(disk.stored_bytes(), 0);
    /// # Ok(())
    /// # }
    /// ```
    pub fn fail_next_write(&self, error: JournalError) {
        self.lock().fail_next = Some(error);
    }

    /// How many writes, purges and resets the disk was asked for, those that it refused among them.
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
    /// journal.purge(LogId::new(1, 2)).await?;
    /// // Three entries in one write are one attempt.
    /// assert_eq!(disk.attempts(), 2);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn attempts(&self) -> u64 {
        self.lock().attempts
    }

    /// The disk is full at so many bytes of entry data; `None` for no limit.
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
    /// disk.limit_bytes(Some(6));
    /// assert_eq!(journal.write(append(1..=1)).await, Ok(()));
    /// let full = journal.write(append(2..=2)).await;
    /// assert_eq!(full, Err(JournalError::NoSpace { needed: 4 }));
    /// disk.limit_bytes(None);
    /// assert_eq!(journal.write(append(2..=2)).await, Ok(()));
    /// # Ok(())
    /// # }
    /// ```
    pub fn limit_bytes(&self, limit: Option<u64>) {
        self.lock().limit_bytes = limit;
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

    /// Throws away what was cut as damaged, as a journal would have it that keeps no evidence.
    #[doc(hidden)]
    pub fn forget_evidence(&self) {
        self.lock().evidence.clear();
    }

    /// Flips one bit of the stored entry data: bit `bit` of byte `at`, counted from the first entry.
    /// `false` if there is no such byte.
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
    /// drop(journal);
    /// assert!(disk.flip_bit(4, 0), "a byte of the second entry");
    /// assert!(!disk.flip_bit(12, 0), "there is none");
    /// let state = open(&disk).load().await?;
    /// assert!(matches!(state.verdict, Verdict::Corrupt(_)) && state.hard_state.probation);
    /// # Ok(())
    /// # }
    /// ```
    pub fn flip_bit(&self, at: u64, bit: u8) -> bool {
        let mut disk = self.lock();
        let mut before = 0;
        for record in disk.stored.records.values_mut() {
            let length = record.entry.data.len() as u64;
            if at < before + length {
                let mut data = record.entry.data.to_vec();
                let place = usize::try_from(at - before).ok().and_then(|place| data.get_mut(place));
                let Some(byte) = place else { return false };
                *byte ^= 1 << (bit % 8);
                record.entry.data = Bytes::from(data);
                return true;
            }
            before += length;
        }
        false
    }

    /// Makes every stored checksum fit the bytes as they are, as a journal would have it that never
    /// compares them.
    #[doc(hidden)]
    pub fn forge_checksums(&self) {
        for record in self.lock().stored.records.values_mut() {
            *record = Record::new(record.entry.clone());
        }
    }

    /// Puts purged entries back, as a journal would have it that loses the beginning of its log.
    #[doc(hidden)]
    pub fn forget_purge(&self, entries: Vec<Entry>) {
        let mut disk = self.lock();
        disk.stored.purged = LogId::ZERO;
        disk.stored.records.extend(entries.into_iter().map(|entry| (entry.id.index, Record::new(entry))));
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Disk> {
        self.0.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits while writes are held, unless this opening has crashed meanwhile.
    pub(super) async fn pass(&self, opening: u64, write: &JournalWrite) {
        let mut mine = None;
        loop {
            let changed = self.0.changed.notified();
            {
                let mut disk = self.lock();
                if !disk.hold || disk.open != Some(opening) {
                    return;
                }
                disk.held = Some(write.clone());
            }
            if mine.is_none() {
                mine = Some(Held(self));
                // Who waits for a write to be held; this one looks again, once, and goes on waiting.
                self.0.changed.notify_waiters();
                continue;
            }
            changed.await;
        }
    }
}

/// Forgets the held write when it goes on or is dropped.
struct Held<'a>(&'a MemoryDisk);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.lock().held = None;
    }
}
