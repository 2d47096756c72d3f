//! What is on the disk: entries with their checksums, and what stands beside them.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use raft_core::backend::{Corruption, HardState};
use raft_core::entry::Entry;
use raft_core::ids::{Index, KnownPeer, LogId};

/// An entry with the checksum that was stored beside it.
#[derive(Clone, Debug)]
pub(in crate::memory) struct Record {
    pub(in crate::memory) entry: Entry,
    checksum: u64,
}

impl Record {
    pub(in crate::memory) fn new(entry: Entry) -> Self {
        Self { checksum: checksum(&entry), entry }
    }

    pub(in crate::memory) fn is_sound(&self) -> bool {
        self.checksum == checksum(&self.entry)
    }

    pub(in crate::memory) fn damage(&self) -> Corruption {
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
pub(in crate::memory) struct Stored {
    pub(in crate::memory) hard_state: HardState,
    pub(in crate::memory) known_peers: Vec<KnownPeer>,
    pub(in crate::memory) purged: LogId,
    pub(in crate::memory) records: BTreeMap<Index, Record>,
    pub(in crate::memory) commit_hint: Index,
}

impl Stored {
    pub(in crate::memory) fn last(&self) -> LogId {
        self.records.last_key_value().map_or(self.purged, |(_, record)| record.entry.id)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.records.values().map(|record| record.entry.data.len() as u64).sum()
    }
}
