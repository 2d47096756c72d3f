//! A disk in memory with everything that may go wrong with one: what is not synced may be lost, torn or
//! reordered by a crash; calls fail; space runs out; stored bytes rot, and writes go astray.
//!
//! Of each file there is what a process reads, and for each unsynced write what was there before and after.
//! A power cut leaves the durable image and any subset of the sectors in between. A folder is the part of the
//! names up to the last slash: what is synced of one says nothing of another.

mod file;
#[cfg(test)]
mod tests;
mod vfs;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex};

use file::File;
pub use vfs::SimVfs;

use super::executor::lock;
use super::rng::Rng;

/// What a crash may keep or lose of what is not synced, in bytes.
pub const SECTOR: usize = 512;

/// The names and contents of a disk.
pub type Image = BTreeMap<String, Vec<u8>>;

/// A kind of call that may fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Call {
    /// `pwrite`.
    Write,
    /// `fdatasync`.
    Sync,
    /// `pread`.
    Read,
    /// Creating, renaming and removing, and syncing the folder.
    Names,
}

/// How a power cut treats what is not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tear {
    /// All of it is lost.
    Lose,
    /// All of it was written already.
    Keep,
    /// Each sector is there or not.
    Sectors,
    /// The first sectors of each file, in the order of writing.
    Prefix,
}

#[derive(Clone, Debug)]
enum NameOp {
    Add(String, usize),
    Rename(String, String),
    Remove(String),
}

/// The folder that a name is in, with its slash; empty for the disk's own.
fn folder_of(name: &str) -> &str {
    name.rfind('/').and_then(|at| name.get(..=at)).unwrap_or_default()
}

impl NameOp {
    fn folder(&self) -> &str {
        match self {
            Self::Add(name, _) | Self::Remove(name) | Self::Rename(_, name) => folder_of(name),
        }
    }

    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Add(name, id) => drop(names.insert(name.clone(), *id)),
            Self::Rename(from, to) => {
                if let Some(id) = names.remove(from) {
                    names.insert(to.clone(), id);
                }
            }
            Self::Remove(name) => drop(names.remove(name)),
        }
    }
}

/// Told what a disk is told.
pub type Watcher = Arc<dyn Fn(String) + Send + Sync>;

struct Disk {
    watcher: Option<Watcher>,
    files: BTreeMap<usize, File>,
    next_file: usize,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    name_ops: Vec<NameOp>,
    /// Which life of the node may use it; handles of earlier ones fail.
    boot: u64,
    /// The folders that somebody has open.
    locked: BTreeSet<&'static str>,
    /// The machine dies in that many changing calls from now.
    crash_in: Option<u64>,
    /// It has died: nothing reaches the disk any more.
    frozen: bool,
    full: bool,
    fails: Option<(Call, u64)>,
    astray: bool,
    /// Short and interrupted calls, in a million.
    short_ppm: u32,
    rng: Rng,
    /// Counts changing calls of this run.
    calls: u64,
    /// Writes that went astray.
    strayed: u64,
    failed: u64,
}

/// One node's disk. It outlives the node's lives.
#[derive(Clone)]
pub struct SimDisk(Arc<Mutex<Disk>>);

fn failed() -> io::Error {
    io::Error::from_raw_os_error(5)
}

impl SimDisk {
    /// An empty disk.
    #[must_use]
    pub fn new(rng: Rng) -> Self {
        Self::of(&Image::new(), rng)
    }

    /// A disk with this on it, all durable.
    #[must_use]
    pub fn of(image: &Image, rng: Rng) -> Self {
        let mut disk = Disk {
            watcher: None,
            files: BTreeMap::new(),
            next_file: 0,
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            name_ops: Vec::new(),
            boot: 0,
            locked: BTreeSet::new(),
            crash_in: None,
            frozen: false,
            full: false,
            fails: None,
            astray: false,
            short_ppm: 0,
            rng,
            calls: 0,
            strayed: 0,
            failed: 0,
        };
        disk.load(image);
        Self(Arc::new(Mutex::new(disk)))
    }

    /// Somebody wants to know what it is told.
    pub fn watch(&self, watcher: Watcher) {
        lock(&self.0).watcher = Some(watcher);
    }

    /// The disk for a new life of the node; earlier ones can do nothing more.
    #[must_use]
    pub fn boot(&self) -> SimVfs {
        let mut disk = lock(&self.0);
        disk.boot += 1;
        disk.locked.clear();
        disk.frozen = false;
        disk.crash_in = None;
        for file in disk.files.values_mut() {
            file.inherited = file.pending.len();
        }
        SimVfs { disk: Arc::clone(&self.0), boot: disk.boot, folder: "" }
    }

    /// The process is gone; what it wrote stays readable.
    pub fn end_life(&self) {
        let mut disk = lock(&self.0);
        disk.boot += 1;
        disk.locked.clear();
        disk.fails = None;
        disk.astray = false;
    }

    /// The power fails. Returns how many unsynced sectors were kept, and how many lost.
    pub fn power_cut(&self, tear: Tear) -> (u64, u64) {
        let mut disk = lock(&self.0);
        let disk = &mut *disk;
        disk.boot += 1;
        disk.locked.clear();
        disk.fails = None;
        disk.astray = false;
        let (mut kept, mut lost) = (0, 0);
        let rng = &mut disk.rng;
        for file in disk.files.values_mut() {
            let pieces: usize = file.pending.iter().map(|change| change.sectors().len()).sum();
            let mut first = if tear == Tear::Prefix { rng.below(pieces as u64 + 1) } else { 0 };
            let (k, l) = file.crash(|| match tear {
                Tear::Lose => false,
                Tear::Keep => true,
                Tear::Sectors => rng.chance(500),
                Tear::Prefix => {
                    first = first.saturating_sub(1);
                    first > 0
                }
            });
            kept += k;
            lost += l;
        }
        let mut ops = std::mem::take(&mut disk.name_ops);
        while let Some(folder) = ops.first().map(|op| op.folder().to_owned()) {
            let (mine, others): (Vec<NameOp>, Vec<NameOp>) =
                ops.into_iter().partition(|op| op.folder() == folder);
            ops = others;
            let names = match tear {
                Tear::Lose => 0,
                Tear::Keep => mine.len() as u64,
                _ => disk.rng.below(mine.len() as u64 + 1),
            };
            for op in mine.into_iter().take(names as usize) {
                op.apply(&mut disk.durable_names);
            }
        }
        disk.names.clone_from(&disk.durable_names);
        disk.forget_unnamed();
        (kept, lost)
    }

    /// What a power cut that loses all it can would leave.
    #[must_use]
    pub fn durable_image(&self) -> Image {
        self.durable(|_| true)
    }

    /// The same of one folder.
    #[must_use]
    pub fn durable_folder(&self, folder: &str) -> Image {
        self.durable(|name| folder_of(name) == folder)
    }

    fn durable(&self, wanted: impl Fn(&str) -> bool) -> Image {
        let disk = lock(&self.0);
        let content = |id: &usize| disk.files.get(id).map(File::durable).unwrap_or_default();
        let wanted = disk.durable_names.iter().filter(|(name, _)| wanted(name));
        wanted.map(|(name, id)| (name.clone(), content(id))).collect()
    }

    /// What a process would read.
    #[must_use]
    pub fn image(&self) -> Image {
        let disk = lock(&self.0);
        let content = |id: &usize| disk.files.get(id).map(|file| file.current.clone()).unwrap_or_default();
        disk.names.iter().map(|(name, id)| (name.clone(), content(id))).collect()
    }

    /// Replaces everything: a restored copy, or with an empty image a new disk.
    pub fn replace(&self, image: &Image) {
        let mut disk = lock(&self.0);
        disk.boot += 1;
        disk.locked.clear();
        disk.load(image);
    }

    /// The files of a folder in which this life has left something unsynced.
    #[must_use]
    pub fn unsynced(&self, folder: &str) -> Vec<String> {
        let disk = lock(&self.0);
        let dirty = |id: &usize| {
            let file = disk.files.get(id)?;
            let mine = file.pending.get(file.inherited..)?;
            // A cut only gives space back.
            mine.iter().find(|change| !change.cuts)
        };
        let mine = disk.names.iter().filter(|(name, _)| folder_of(name) == folder);
        mine.filter(|(_, id)| dirty(id).is_some()).map(|(name, _)| name.clone()).collect()
    }

    /// The machine dies after that many more changing calls: in the middle of what it does.
    pub fn crash_in(&self, calls: u64) {
        lock(&self.0).crash_in = Some(calls);
    }

    /// Whether it has died that way.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        lock(&self.0).frozen
    }

    /// The one after the next `skip` calls of that kind fails.
    pub fn fail(&self, call: Call, skip: u64) {
        lock(&self.0).fails = Some((call, skip));
    }

    /// Whether space is left.
    pub fn set_full(&self, full: bool) {
        lock(&self.0).full = full;
    }

    /// Whatever was going to go wrong does not.
    pub fn no_more_faults(&self) {
        let mut disk = lock(&self.0);
        disk.fails = None;
        disk.astray = false;
        disk.crash_in = None;
        disk.full = false;
    }

    /// The next write of a batch goes somewhere else.
    pub fn lead_astray(&self) {
        lock(&self.0).astray = true;
    }

    /// How often calls are interrupted or do less than they were asked, in a million.
    pub fn set_short(&self, ppm: u32) {
        lock(&self.0).short_ppm = ppm;
    }

    /// Changing calls, failed calls and strayed writes so far.
    #[must_use]
    pub fn counts(&self) -> (u64, u64, u64) {
        let disk = lock(&self.0);
        (disk.calls, disk.failed, disk.strayed)
    }

    /// Flips a bit of what is stored, durable and read alike: of a file whose name begins with `prefix`,
    /// where something is stored. Says where; `None` if there is nothing.
    pub fn rot(&self, prefix: &str) -> Option<(String, usize)> {
        let mut disk = lock(&self.0);
        let disk = &mut *disk;
        let names: Vec<(&String, &usize)> =
            disk.durable_names.iter().filter(|(name, _)| name.starts_with(prefix)).collect();
        if names.is_empty() {
            return None;
        }
        let (name, id) = *disk.rng.pick(&names);
        let watcher = disk.watcher.clone();
        let file = disk.files.get_mut(id)?;
        let stored = file.durable();
        let used = stored.len() - stored.iter().rev().take_while(|byte| **byte == 0).count();
        if used == 0 {
            return None;
        }
        // A byte that says something; in the end any byte will do.
        let near = disk.rng.below(used as u64) as usize;
        let at = (near..used).find(|at| stored[*at] != 0).unwrap_or(near);
        let bit = 1 << disk.rng.below(8);
        file.damage(at, bit);
        if let Some(watcher) = watcher {
            watcher(format!("{name} ROT at {at}"));
        }
        Some((name.clone(), at))
    }

    /// Cuts or removes a file whose name begins with `prefix`. Says which.
    pub fn lose_file(&self, prefix: &str, whole: bool) -> Option<String> {
        let mut disk = lock(&self.0);
        let disk = &mut *disk;
        let names: Vec<(&String, &usize)> =
            disk.durable_names.iter().filter(|(name, _)| name.starts_with(prefix)).collect();
        if names.is_empty() {
            return None;
        }
        let (name, id) = disk.rng.pick(&names);
        let (name, id) = ((*name).clone(), **id);
        if whole {
            disk.names.remove(&name);
            disk.durable_names.remove(&name);
        } else {
            let file = disk.files.get_mut(&id)?;
            let stored = file.durable();
            let length = disk.rng.below(stored.len() as u64) as usize;
            *file = File::of(&stored[..length]);
        }
        Some(name)
    }
}

impl Disk {
    fn load(&mut self, image: &Image) {
        self.files.clear();
        self.names.clear();
        self.name_ops.clear();
        for (name, bytes) in image {
            self.files.insert(self.next_file, File::of(bytes));
            self.names.insert(name.clone(), self.next_file);
            self.next_file += 1;
        }
        self.durable_names.clone_from(&self.names);
    }

    fn forget_unnamed(&mut self) {
        let (now, durable) = (&self.names, &self.durable_names);
        self.files.retain(|id, _| now.values().any(|of| of == id) || durable.values().any(|of| of == id));
    }

    /// Counts a changing call; fails if it is its turn, or if the machine has died.
    fn change(&mut self, boot: u64, call: Call) -> io::Result<()> {
        if boot != self.boot || self.frozen {
            return Err(failed());
        }
        self.calls += 1;
        if let Some(left) = &mut self.crash_in {
            if *left == 0 {
                self.crash_in = None;
                self.frozen = true;
                return Err(failed());
            }
            *left -= 1;
        }
        self.may_fail(call)
    }

    fn may_fail(&mut self, call: Call) -> io::Result<()> {
        match &mut self.fails {
            Some((of, 0)) if *of == call => {
                self.fails = None;
                self.failed += 1;
                return Err(failed());
            }
            Some((of, skip)) if *of == call => *skip -= 1,
            _ => {}
        }
        Ok(())
    }

    fn say(&self, id: usize, what: impl FnOnce() -> String) {
        if let Some(watcher) = &self.watcher {
            let name = self.names.iter().find(|(_, of)| **of == id).map_or("?", |(name, _)| name);
            watcher(format!("{name} {}", what()));
        }
    }

    fn file(&mut self, id: usize) -> io::Result<&mut File> {
        self.files.get_mut(&id).ok_or_else(failed)
    }

    /// Where a write that goes astray ends: elsewhere in its file, on a block's edge.
    fn elsewhere(&mut self, id: usize, offset: u64, length: usize) -> Option<u64> {
        let file = self.files.get(&id)?;
        let blocks = (file.current.len().checked_sub(length)? / 4096) as u64;
        let to = self.rng.below(blocks + 1) * 4096;
        (to != offset).then_some(to)
    }
}
