//! A disk that rots, and what a backend that hides it would make of it.

use bytes::Bytes;
use raft_core::entry::Entry;
use raft_core::ids::LogId;

use super::{MemoryDisk, Record};

impl MemoryDisk {
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

    /// Throws away what was cut as damaged, as a journal would have it that keeps no evidence.
    #[doc(hidden)]
    pub fn forget_evidence(&self) {
        self.lock().evidence.clear();
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
}
