//! Writes that are held: they reach the disk when they are released, or never.

use raft_core::backend::JournalWrite;

use super::MemoryDisk;

impl MemoryDisk {
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

    /// Waits while writes are held, unless this opening has crashed meanwhile.
    pub(in crate::memory) async fn pass(&self, opening: u64, write: &JournalWrite) {
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
