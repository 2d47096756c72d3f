//! A process that is gone while it writes, writes that fail, a disk that is full.

use raft_core::backend::{JournalError, Verdict};

use super::MemoryDisk;

impl MemoryDisk {
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
}
