//! Folders that can be copied and damaged.
#![allow(dead_code, reason = "each test uses its part")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use raft_core::backend::{Journal, JournalReader, JournalWrite};
use raft_core::entry::{Entry, EntryKind};
use raft_core::ids::{ClusterId, GroupId, Index, LogId, NodeId};
use raft_core::membership::Membership;
use raft_log_sqlite::{Faults, Options, SqliteJournal};

pub(crate) const CLUSTER: ClusterId = ClusterId(7);
pub(crate) const GROUP: GroupId = GroupId(1);
pub(crate) const NODE: NodeId = NodeId(1);

/// A temporary folder, with failures to order.
pub(crate) struct Place {
    dir: PathBuf,
    _temporary: Option<tempfile::TempDir>,
    pub(crate) faults: Arc<Faults>,
}

impl Place {
    pub(crate) fn new() -> Self {
        // In memory where the system has such a folder: the suite makes thousands of journals, and a crash
        // is a copy of the files.
        let memory = Path::new("/dev/shm");
        let temporary =
            if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        // The journal is in a folder that does not exist at first.
        let dir = temporary.path().join("journal");
        Self { dir, _temporary: Some(temporary), faults: Arc::default() }
    }

    /// The place of another process.
    pub(crate) fn at(path: &Path) -> Self {
        Self { dir: path.to_path_buf(), _temporary: None, faults: Arc::default() }
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.dir.clone()
    }

    pub(crate) fn options(&self) -> Options {
        // Small, so that reads reach the database and its log is moved often.
        Options::default().tail_bytes(2 << 10).wal_bytes(64 << 10).faults(Arc::clone(&self.faults))
    }

    /// All files with bytes that matter, by name.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let all = fs::read_dir(self.dir()).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<PathBuf> = all.filter(|path| path.is_file() && !path.ends_with("LOCK")).collect();
        files.sort();
        files
    }

    /// What a killed process leaves: the files as they are at one moment.
    ///
    /// The journal may still be at work, and files are read one after another. Two readings in a row that
    /// agree are those of any moment between them.
    pub(crate) fn image(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut before = None;
        loop {
            // A file may go away between its name and its bytes.
            let read = |path: PathBuf| Some((path.clone(), fs::read(path).ok()?));
            let now: Vec<_> = self.files().into_iter().filter_map(read).collect();
            if before.as_ref() == Some(&now) {
                return now;
            }
            before = Some(now);
        }
    }

    /// What a power cut leaves: of the files beside the database what they held when they were synced last. Of
    /// the database all that can be read: that SQLite syncs at COMMIT is believed.
    pub(crate) fn after_power_cut(&self) -> Vec<(PathBuf, Vec<u8>)> {
        // The journal may still be at work: a sync between the two would leave its file older than the database, which was
        // written after it.
        let synced = || self.faults.synced.lock().unwrap().clone();
        let (synced, mut image) = loop {
            let (before, image) = (synced(), self.image());
            if before == synced() {
                break (before, image);
            }
        };
        for (path, bytes) in &mut image {
            if let Some(durable) = synced.get(path) {
                bytes.clone_from(durable);
            }
        }
        image
    }

    pub(crate) fn restore(&self, image: &[(PathBuf, Vec<u8>)]) {
        for path in self.files() {
            fs::remove_file(path).unwrap();
        }
        for (path, bytes) in image {
            fs::write(path, bytes).unwrap();
        }
    }

    pub(crate) async fn create(&self, initial: Option<&Membership>) -> SqliteJournal {
        SqliteJournal::create(&self.dir(), CLUSTER, GROUP, NODE, initial, self.options()).await.unwrap()
    }

    pub(crate) async fn open(&self) -> Result<SqliteJournal, raft_core::backend::OpenError> {
        SqliteJournal::open(&self.dir(), CLUSTER, GROUP, NODE, self.options()).await
    }
}

pub(crate) fn entry(index: u64, data: impl Into<Vec<u8>>) -> Entry {
    Entry { id: LogId::new(1, index), kind: EntryKind::Commands, data: data.into().into() }
}

pub(crate) fn append(entries: Vec<Entry>) -> JournalWrite {
    let mut write = JournalWrite::default();
    write.entries = entries.into();
    write
}

/// Writes entries up to `last`, each in a transaction of its own.
pub(crate) async fn fill(journal: &mut SqliteJournal, from: u64, last: u64) {
    for index in from..=last {
        journal.write(append(vec![entry(index, payload(index))])).await.unwrap();
    }
}

/// Bytes of which none is zero.
pub(crate) fn payload(index: u64) -> Vec<u8> {
    (0..300).map(|at| ((index * 31 + at) % 255 + 1) as u8).collect()
}

pub(crate) async fn read_all(journal: &SqliteJournal, from: u64, last: u64) -> Vec<Entry> {
    let reader: Arc<dyn JournalReader> = journal.reader();
    let mut entries = Vec::new();
    for index in from..=last {
        entries.extend(reader.entries(Index(index)..Index(index + 1), u64::MAX).await.unwrap());
    }
    entries
}

pub(crate) fn wal(dir: &Path) -> PathBuf {
    dir.join("journal.db-wal")
}

/// How many bytes of a write-ahead log hold something: what is behind them is room, as zeros.
pub(crate) fn used(bytes: &[u8]) -> usize {
    let (header, frame) = (32, 24 + 4096);
    let last = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
    let frames = last.saturating_sub(header).next_multiple_of(frame);
    if last <= header { last } else { bytes.len().min(header + frames) }
}

pub(crate) fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 4;
    fs::write(path, bytes).unwrap();
}
