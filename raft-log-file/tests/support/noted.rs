//! A disk in memory that notes who writes what, takes its time when told to, and may have room for a few segments only.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use raft_core::backend::JournalWrite;
use raft_core::entry::pack;
use raft_log_file::vfs::{LockError, Vfs, VfsFile};
use raft_log_file::{FileJournal, Options};

use super::{MemVfs, OWNER, append, entry};

/// The thread of the journal has this name; that of a test another.
pub const JOURNAL: &str = "raft-journal";
/// And the one that makes the next segment.
pub const SPARE: &str = "raft-journal-spare";

/// Nothing here takes so long on any machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A disk that notes who writes batches, and takes its time when told to.
#[derive(Default)]
pub struct Disk {
    pub memory: MemVfs,
    pub notes: Arc<Notes>,
}

#[derive(Default)]
pub struct Notes {
    pub writers: Mutex<Vec<String>>,
    /// Who has made files.
    pub makers: Mutex<Vec<String>>,
    pub slow: AtomicBool,
    /// Where the last batch ends in its segment, in bytes.
    pub filled: AtomicU64,
    /// Room can be reserved.
    pub reserves: AtomicBool,
    /// Zeros for the next segment: where they go there, how many, and where the last batch ended then.
    pub zeros: Mutex<Vec<(u64, u64, u64)>>,
    /// There is room for so many segments; 0: for any number.
    pub room: AtomicUsize,
}

fn this_thread() -> String {
    std::thread::current().name().unwrap_or_default().to_owned()
}

struct File {
    file: Arc<dyn VfsFile>,
    notes: Arc<Notes>,
}

impl Disk {
    fn file(&self, file: Arc<dyn VfsFile>) -> Arc<dyn VfsFile> {
        Arc::new(File { file, notes: Arc::clone(&self.notes) })
    }

    /// Who has written batches since the last time it was asked.
    pub fn writers(&self) -> Vec<String> {
        std::mem::take(&mut self.notes.writers.lock().unwrap())
    }
}

impl Vfs for Disk {
    fn list(&self) -> io::Result<Vec<String>> {
        self.memory.list()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn VfsFile>> {
        let room = self.notes.room.load(Ordering::SeqCst);
        let is_segment = |name: &str| name.starts_with("seg-");
        if room > 0 && is_segment(name) && self.list()?.iter().filter(|name| is_segment(name)).count() >= room
        {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.notes.makers.lock().unwrap().push(this_thread());
        self.memory.create(name).map(|file| self.file(file))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn VfsFile>> {
        self.memory.open(name).map(|file| self.file(file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.memory.rename(from, to)
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        self.memory.unlink(name)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.memory.sync_dir()
    }

    fn lock(&self, name: &str) -> Result<Box<dyn Send + Sync>, LockError> {
        self.memory.lock(name)
    }
}

impl VfsFile for File {
    fn pread(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.pread(buf, offset)
    }

    fn pwrite(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        self.file.pwrite(buf, offset)
    }

    /// Batches are written so.
    fn pwrite_through(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        let thread = this_thread();
        // Zeros for the next segment are nobody's batch.
        if thread == SPARE {
            let filled = self.notes.filled.load(Ordering::SeqCst);
            self.notes.zeros.lock().unwrap().push((offset, buf.len() as u64, filled));
        } else {
            self.notes.writers.lock().unwrap().push(thread);
            self.notes.filled.store(offset + buf.len() as u64, Ordering::SeqCst);
        }
        self.file.pwrite_through(buf, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        let begun = Instant::now();
        while self.notes.slow.load(Ordering::Relaxed) && begun.elapsed() < Duration::from_millis(3) {
            std::hint::spin_loop();
        }
        self.file.sync_data()
    }

    fn reserve(&self, length: u64) -> io::Result<()> {
        if self.notes.reserves.load(Ordering::SeqCst) {
            self.file.set_len(length)
        } else {
            Err(io::ErrorKind::Unsupported.into())
        }
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }
}

/// Small segments, and writes of the caller's.
pub fn options() -> Options {
    Options::default().segment_bytes(1 << 20).inline_bytes(1000)
}

pub async fn create(disk: &Arc<Disk>, options: Options) -> FileJournal {
    let vfs = Arc::clone(disk) as Arc<dyn Vfs>;
    let journal = FileJournal::create_on(vfs, OWNER, None, options).await.unwrap();
    disk.writers();
    journal
}

/// An entry of so many commands.
pub fn commands(index: u64, count: usize) -> JournalWrite {
    append(vec![entry(1, index, pack(&vec![Bytes::from_static(b"x"); count]))])
}
