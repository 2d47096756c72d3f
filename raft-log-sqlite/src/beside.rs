//! The files beside the database: two alternating slots each, the lock, the folder.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use raft_core::backend::{Corruption, OpenError};
use raft_core::slots::{Layout, Record, SlotState};

use crate::error::{Context, damage};
use crate::options::Faults;
use crate::rows::STATE_LAYOUT;

/// The version of the format that this program writes, and the newest that it reads.
pub(crate) const VERSION: u32 = 1;

/// The names of the pairs; `.a` has even generations, `.b` odd ones.
pub(crate) const IDENTITY: &str = "identity";
pub(crate) const HARD_STATE: &str = "hardstate";
pub(crate) const PEERS: &str = "knownpeers";
pub(crate) const WATERMARK: &str = "watermark";
/// The database.
pub(crate) const DATABASE: &str = "journal.db";
/// A text that says why the journal must not be opened. Where it exists, it is not.
pub(crate) const CLOSED: &str = "CLOSED";
/// The file that is locked.
const LOCK: &str = "LOCK";

/// How a pair is stored.
pub(crate) fn layout(name: &str) -> Layout {
    let one = |kind| Layout { kind, version: VERSION, stride: 4096 };
    match name {
        IDENTITY => one(*b"SQID"),
        HARD_STATE => one(*b"HARD"),
        PEERS => Layout { stride: 8192, ..one(*b"PEER") },
        _ => STATE_LAYOUT,
    }
}

/// Something that is not as it was written, and was repaired or touches nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// Where and what.
    pub damage: Corruption,
}

/// Creates the folder with its parents where missing, durably.
pub(crate) fn create_dir(dir: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = dir.ancestors().take_while(|dir| !dir.exists()).collect();
    fs::create_dir_all(dir)?;
    for dir in missing {
        let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
        sync_dir(parent.unwrap_or_else(|| Path::new(".")))?;
    }
    Ok(())
}

/// Makes the names in a folder durable.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(dir)?.sync_all() } else { Ok(()) }
}

/// Whose folder it is (J11). Ends the lock by itself when it is dropped: closing the file is not enough, as a
/// process that is being started has it open as well until it runs its own program.
pub(crate) struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}

/// Takes the lock; it is free when the last clone is dropped.
pub(crate) fn lock(dir: &Path) -> Result<Arc<Lock>, OpenError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let mut file = options.open(dir.join(LOCK)).during("open the lock")?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            let _ = file.read_to_string(&mut text);
            return Err(OpenError::Locked { by: text.trim().parse().ok() });
        }
        Err(TryLockError::Error(error)) => return Err(error).during("lock the folder"),
    }
    // For people and for `Locked { by }` only: an error here takes nothing from the lock.
    let _ = file.set_len(0).and_then(|()| file.rewind());
    let _ = writeln!(file, "{}", std::process::id());
    Ok(Arc::new(Lock(file)))
}

/// The path of a slot.
pub(crate) fn slot_path(dir: &Path, name: &str, slot: u8) -> PathBuf {
    dir.join(format!("{name}.{}", if slot == 0 { 'a' } else { 'b' }))
}

/// Opens both files of a pair. A new one gets its space at once: a vote can be kept on a full disk.
fn open_both(dir: &Path, name: &str) -> io::Result<[File; 2]> {
    let open = |slot| {
        let mut options = OpenOptions::new();
        let mut file =
            options.read(true).write(true).create(true).truncate(false).open(slot_path(dir, name, slot))?;
        let (length, whole) = (file.metadata()?.len(), layout(name).slot_bytes());
        if length < whole as u64 {
            file.seek(io::SeekFrom::Start(length))?;
            file.write_all(&vec![0; whole.saturating_sub(length as usize)])?;
        }
        Ok::<_, io::Error>(file)
    };
    Ok([open(0)?, open(1)?])
}

/// The two files of a pair, as found.
pub(crate) struct PairState {
    pub(crate) slots: [SlotState; 2],
    pub(crate) exists: [bool; 2],
    name: &'static str,
}

impl PairState {
    /// Reads a pair.
    pub(crate) fn read(dir: &Path, name: &'static str) -> Result<Self, OpenError> {
        let mut slots = [SlotState::default(), SlotState::default()];
        let mut exists = [true; 2];
        for ((state, exists), slot) in slots.iter_mut().zip(&mut exists).zip(0..) {
            match fs::read(slot_path(dir, name, slot)) {
                Ok(bytes) => *state = layout(name).decode(slot, &bytes),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    *exists = false;
                    state.broken = [Some("the file is missing"); 2];
                }
                Err(error) => return Err(error).during(&format!("read {name}")),
            }
        }
        Ok(Self { slots, exists, name })
    }

    /// The newest valid record.
    pub(crate) fn newest(&self) -> Option<&Record> {
        self.slots.iter().filter_map(|slot| slot.record.as_ref()).max_by_key(|record| record.generation)
    }

    /// The first slot without any valid copy.
    pub(crate) fn lost(&self) -> Option<Corruption> {
        let lost = self.slots.iter().find(|slot| slot.record.is_none())?;
        Some(damage(self.name, 0, lost.broken.iter().flatten().next().copied().unwrap_or("unreadable")))
    }

    /// Copies that are damaged and have a valid twin.
    pub(crate) fn findings(&self) -> impl Iterator<Item = Finding> + '_ {
        let broken = self.slots.iter().filter(|slot| slot.record.is_some()).flat_map(|slot| slot.broken);
        broken.flatten().map(|why| Finding { damage: damage(self.name, 0, why) })
    }

    /// Refuses a version that is not known.
    pub(crate) fn check_version(&self) -> Result<(), OpenError> {
        let newest =
            self.slots.iter().filter_map(|slot| slot.record.as_ref()).map(|found| found.version).max();
        match newest.filter(|found| *found > VERSION) {
            Some(found) => Err(OpenError::Version { found, known: VERSION }),
            None => Ok(()),
        }
    }

    /// Writes everything again that was read: it may never have reached the disk. One copy is left alone
    /// until the other is durable. A slot without a record gets one of the newest, with a new generation.
    pub(crate) fn into_pair(self, dir: &Path, faults: Option<Arc<Faults>>) -> Result<Pair, OpenError> {
        let what = format!("write {} again", self.name);
        let newest = self.newest().cloned().ok_or_else(|| {
            OpenError::Corrupt(self.lost().unwrap_or_else(|| damage(self.name, 0, "no record")))
        })?;
        let mut pair = Pair {
            files: open_both(dir, self.name).during(&what)?,
            paths: [slot_path(dir, self.name, 0), slot_path(dir, self.name, 1)],
            layout: layout(self.name),
            generation: newest.generation,
            settled: true,
            faults,
        };
        for state in &self.slots {
            let Some(record) = &state.record else { continue };
            if record.generation == newest.generation || !state.is_sound() {
                let first = u8::from(state.broken[1].is_some());
                for copy in [first, 1 - first] {
                    pair.write_copy(record.generation, &record.body, copy).during(&what)?;
                    pair.sync(record.generation).during(&what)?;
                }
            }
        }
        if self.slots.iter().any(|slot| slot.record.is_none()) {
            pair.write(&newest.body).during(&what)?;
            sync_dir(dir).during(&what)?;
        }
        Ok(pair)
    }
}

/// The two files of a pair, for writing.
pub(crate) struct Pair {
    files: [File; 2],
    paths: [PathBuf; 2],
    layout: Layout,
    generation: u64,
    /// The newest record is durable.
    settled: bool,
    faults: Option<Arc<Faults>>,
}

impl Pair {
    /// Makes both files with the same value: generations 0 and 1.
    pub(crate) fn create(
        dir: &Path,
        name: &str,
        body: &[u8],
        faults: Option<Arc<Faults>>,
    ) -> io::Result<Self> {
        let paths = [slot_path(dir, name, 0), slot_path(dir, name, 1)];
        let (files, layout) = (open_both(dir, name)?, layout(name));
        let mut pair = Self { files, paths, layout, generation: 0, settled: true, faults };
        for generation in 0..2 {
            pair.generation = generation;
            pair.put(generation, body)?;
            pair.sync(generation)?;
        }
        Ok(pair)
    }

    /// Whether a value fits.
    pub(crate) fn fits(&self, body: &[u8]) -> bool {
        body.len() <= self.layout.body_limit()
    }

    /// Replaces the value, durably. The older slot is overwritten.
    pub(crate) fn write(&mut self, body: &[u8]) -> io::Result<()> {
        self.note(body)?;
        self.settle()
    }

    /// Replaces the value without a sync. Until the next [`settle`](Self::settle) only one of the slots
    /// is written, so that the other one stays what is durable.
    pub(crate) fn note(&mut self, body: &[u8]) -> io::Result<()> {
        let generation = self.generation + if self.settled { 1 } else { 2 };
        self.put(generation, body)?;
        self.generation = generation;
        self.settled = false;
        Ok(())
    }

    /// Makes the newest value durable.
    pub(crate) fn settle(&mut self) -> io::Result<()> {
        if !self.settled {
            self.sync(self.generation)?;
            self.settled = true;
        }
        Ok(())
    }

    /// How often the value was written.
    pub(crate) const fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether there is something to settle.
    pub(crate) const fn is_settled(&self) -> bool {
        self.settled
    }

    fn put(&self, generation: u64, body: &[u8]) -> io::Result<()> {
        self.write_copy(generation, body, 0)?;
        self.write_copy(generation, body, 1)
    }

    const fn file(&self, generation: u64) -> &File {
        let [a, b] = &self.files;
        if Layout::slot_of(generation) == 0 { a } else { b }
    }

    fn write_copy(&self, generation: u64, body: &[u8], copy: u8) -> io::Result<()> {
        let record = self.layout.encode(Layout::slot_of(generation), copy, generation, body);
        let record = record.ok_or(io::ErrorKind::InvalidInput)?;
        let mut file = self.file(generation);
        file.seek(io::SeekFrom::Start(u64::from(copy) * self.layout.stride as u64))?;
        file.write_all(&record)
    }

    fn sync(&self, generation: u64) -> io::Result<()> {
        if Faults::take_sync(self.faults.as_ref()) {
            return Err(io::Error::other("a sync that was told to fail"));
        }
        let [a, b] = &self.paths;
        let path = if Layout::slot_of(generation) == 0 { a } else { b };
        Faults::sync(self.faults.as_ref(), self.file(generation), path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a process has it that another thread is starting.
    #[test]
    fn a_lock_ends_though_its_file_is_open_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        let first = lock(folder.path()).unwrap();
        let inherited = first.0.try_clone().unwrap();
        assert!(matches!(lock(folder.path()), Err(OpenError::Locked { .. })));
        drop(first);
        assert!(lock(folder.path()).is_ok());
        drop(inherited);
    }

    /// A device without room says so as itself, not as some failure.
    #[test]
    #[cfg(target_os = "linux")]
    fn a_full_device_is_told_by_its_kind() {
        let full = || OpenOptions::new().read(true).write(true).open("/dev/full").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut pair = Pair::create(folder.path(), HARD_STATE, b"1", None).unwrap();
        pair.files = [full(), full()];
        let error = pair.write(b"2").unwrap_err();
        let error = crate::error::file_error("write the hard state", &error, 1);
        assert_eq!(error, raft_core::backend::JournalError::NoSpace { needed: 1 });
    }
}
