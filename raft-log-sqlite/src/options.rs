//! Whose journal it is and how it behaves.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use raft_core::backend::Mismatch;
use raft_core::ids::{ClusterId, GroupId, Identity, NodeId};

/// Whose journal is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The cluster.
    pub cluster: ClusterId,
    /// The group within it.
    pub group: GroupId,
    /// The node.
    pub node: NodeId,
}

impl Owner {
    pub(crate) fn check(&self, found: &Identity) -> Result<(), Mismatch> {
        if found.cluster != self.cluster {
            return Err(Mismatch::Cluster { found: found.cluster, expected: self.cluster });
        }
        if found.group != self.group {
            return Err(Mismatch::Group { found: found.group, expected: self.group });
        }
        if found.node != self.node {
            return Err(Mismatch::Node { found: found.node, expected: self.node });
        }
        Ok(())
    }
}

/// When the watermark is synced. It is written after each transaction in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Witness {
    /// With the first transaction of each write-ahead log, every 64 transactions, and 100 ms after the
    /// last one. Until then a power cut *and* damage that looks like a torn write may together take
    /// acknowledged entries unnoticed; neither alone does.
    #[default]
    Lazy,
    /// Before each write returns: one more fdatasync.
    EachWrite,
}

/// How a journal behaves. Every write is durable before it returns.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// When the watermark is synced.
    pub witness: Witness,
    /// The write-ahead log is moved into the database when it has grown so far, in bytes.
    pub wal_bytes: u64,
    /// The newest entries are kept in memory up to this, in bytes; reading them waits for nothing.
    pub tail_bytes: usize,
    /// Open although acknowledged entries of a single voter are lost. Has no effect otherwise.
    pub accept_loss: bool,
    #[doc(hidden)]
    pub faults: Option<Arc<Faults>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            witness: Witness::Lazy,
            wal_bytes: 4 << 20,
            tail_bytes: 1 << 20,
            accept_loss: false,
            faults: None,
        }
    }
}

impl Options {
    /// With another rule for the watermark.
    #[must_use]
    pub const fn witness(mut self, witness: Witness) -> Self {
        self.witness = witness;
        self
    }

    /// With another limit of the write-ahead log, in bytes.
    #[must_use]
    pub const fn wal_bytes(mut self, bytes: u64) -> Self {
        self.wal_bytes = bytes;
        self
    }

    /// With another limit of what is kept in memory, in bytes.
    #[must_use]
    pub const fn tail_bytes(mut self, bytes: usize) -> Self {
        self.tail_bytes = bytes;
        self
    }

    /// With or without accepting the loss of a single voter's entries.
    #[must_use]
    pub const fn accept_loss(mut self, accept: bool) -> Self {
        self.accept_loss = accept;
        self
    }

    #[doc(hidden)]
    #[must_use]
    pub fn faults(mut self, faults: Arc<Faults>) -> Self {
        self.faults = Some(faults);
        self
    }
}

/// Failures to order, for tests.
#[doc(hidden)]
#[derive(Debug, Default)]
pub struct Faults {
    /// The next COMMIT fails as if its sync had, and so does the next sync of a file beside the database.
    pub next_sync: AtomicBool,
    /// After so many of them one fails; 0: none does.
    pub sync_in: AtomicU64,
    /// The database may not grow: SQLite itself says so.
    pub full: AtomicBool,
    /// The next sync of the write-ahead log while it is emptied fails.
    pub next_wal_sync: AtomicBool,
    /// A transaction stays open after one that has failed.
    pub stays_open: AtomicBool,
    /// Syncs of the files beside the database do nothing, and say that they did.
    pub no_sync: AtomicBool,
    /// What the files beside the database held when they were synced last.
    pub synced: Mutex<BTreeMap<PathBuf, Vec<u8>>>,
}

impl Faults {
    pub(crate) fn take_sync(faults: Option<&Arc<Self>>) -> bool {
        faults.is_some_and(|faults| {
            let left = faults.sync_in.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
            faults.next_sync.swap(false, Ordering::SeqCst) || left == Ok(1)
        })
    }

    /// Syncs a file that is beside the database.
    pub(crate) fn sync(faults: Option<&Arc<Self>>, mut file: &File, path: &Path) -> io::Result<()> {
        let Some(faults) = faults else { return file.sync_data() };
        if faults.no_sync.load(Ordering::SeqCst) {
            return Ok(());
        }
        file.sync_data()?;
        let mut bytes = Vec::new();
        file.rewind()?;
        file.read_to_end(&mut bytes)?;
        faults.synced.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_path_buf(), bytes);
        Ok(())
    }

    pub(crate) fn take_wal_sync(faults: Option<&Arc<Self>>) -> bool {
        faults.is_some_and(|faults| faults.next_wal_sync.swap(false, Ordering::SeqCst))
    }

    pub(crate) fn stays_open(faults: Option<&Arc<Self>>) -> bool {
        faults.is_some_and(|faults| faults.stays_open.load(Ordering::SeqCst))
    }

    pub(crate) fn is_full(faults: Option<&Arc<Self>>) -> bool {
        faults.is_some_and(|faults| faults.full.load(Ordering::SeqCst))
    }
}
