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
use std::ops::Range;
use std::sync::{Arc, Mutex};

use file::{Fate, File};
pub(crate) use vfs::SimVfs;

use super::executor::lock;
use super::rng::Rng;

/// What a crash may keep or lose of what is not synced, in bytes.
pub(crate) const SECTOR: usize = 512;

/// What batches of entries are written in.
const BLOCK: usize = 4096;

/// The names and contents of a disk.
pub(crate) type Image = BTreeMap<String, Vec<u8>>;

/// A kind of call that may fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Call {
    /// `pwrite`.
    Write,
    /// `fdatasync`.
    Sync,
    /// `pread`.
    Read,
    /// Creating, renaming and removing, and syncing the folder.
    Names,
    /// Listing the folder, opening a file, asking for its length, and locking.
    Look,
}

/// How a power cut treats what is not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Tear {
    /// All of it is lost.
    Lose,
    /// All of it was written already.
    Keep,
    /// Each sector is there or not.
    Sectors,
    /// The first sectors of each file, in the order of writing.
    Prefix,
    /// Each sector is there or not, or all zero: more than the journal asks of a disk.
    Zeros,
    /// Each sector is there or not, or holds anything at all: the same.
    Garbage,
}

impl Tear {
    /// Whether it does more than a disk may do that keeps its promises.
    #[must_use]
    pub(crate) const fn harms(self) -> bool {
        matches!(self, Self::Zeros | Self::Garbage)
    }
}

/// A write that ends elsewhere than it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Stray {
    /// A batch of entries: somewhere else in its file.
    Batch,
    /// Less than a block, as a slot's record: somewhere in any file of the journal, on a sector's edge.
    Small,
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

/// Told what a disk is told: numbers, and words for people where somebody wants them.
pub(crate) type Watcher = Arc<dyn Fn([u64; 4], &dyn Fn() -> String) + Send + Sync>;

/// What has happened, first of the numbers.
mod event {
    pub(super) const WRITE: u64 = 0;
    pub(super) const SYNC: u64 = 1;
    pub(super) const SYNC_FAILS: u64 = 2;
    pub(super) const CUT: u64 = 3;
    pub(super) const NAMES: u64 = 4;
    pub(super) const ASTRAY: u64 = 5;
    pub(super) const ROT: u64 = 6;
    pub(super) const FAILS: u64 = 7;
    pub(super) const MISREAD: u64 = 8;
}

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
    astray: Option<Stray>,
    /// The read after so many others gets what is stored elsewhere.
    misread: Option<u64>,
    /// Short and interrupted calls, in a million.
    short_ppm: u32,
    rng: Rng,
    /// Counts changing calls of this run.
    calls: u64,
    /// Writes that went astray, and reads.
    strayed: u64,
    /// Batches that did so, in which file and where, and whether they are synced there. Nothing else tells of one before something
    /// that was written later is synced as well: until then it stays where it is.
    strays: Vec<(usize, Range<usize>, bool)>,
    failed: u64,
}

/// One node's disk. It outlives the node's lives.
#[derive(Clone)]
pub(crate) struct SimDisk(Arc<Mutex<Disk>>);

fn failed() -> io::Error {
    io::Error::from_raw_os_error(5)
}

impl SimDisk {
    /// An empty disk.
    #[must_use]
    pub(crate) fn new(rng: Rng) -> Self {
        Self::of(&Image::new(), rng)
    }

    /// A disk with this on it, all durable.
    #[must_use]
    pub(crate) fn of(image: &Image, rng: Rng) -> Self {
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
            astray: None,
            misread: None,
            short_ppm: 0,
            rng,
            calls: 0,
            strayed: 0,
            strays: Vec::new(),
            failed: 0,
        };
        disk.load(image);
        Self(Arc::new(Mutex::new(disk)))
    }

    /// Somebody wants to know what it is told.
    pub(crate) fn watch(&self, watcher: Watcher) {
        lock(&self.0).watcher = Some(watcher);
    }

    /// The disk for a new life of the node; earlier ones can do nothing more.
    #[must_use]
    pub(crate) fn boot(&self) -> SimVfs {
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
    pub(crate) fn end_life(&self) {
        lock(&self.0).end_life();
    }

    /// The power fails. Returns how many unsynced sectors were kept, and how many lost.
    pub(crate) fn power_cut(&self, tear: Tear) -> (u64, u64) {
        let mut disk = lock(&self.0);
        let disk = &mut *disk;
        disk.end_life();
        let (mut kept, mut lost) = (0, 0);
        let rng = &mut disk.rng;
        for (id, file) in &mut disk.files {
            let only_tale = disk.strays.iter().any(|(of, ..)| of == id);
            let spoils = matches!(tear, Tear::Zeros | Tear::Garbage);
            let tear = if spoils && only_tale { Tear::Sectors } else { tear };
            let pieces: usize = file.pending.iter().map(|change| change.sectors().len()).sum();
            let mut first = if tear == Tear::Prefix { rng.below(pieces as u64 + 1) } else { 0 };
            let (k, l) = file.crash(|| match tear {
                Tear::Lose => Fate::Lost,
                Tear::Keep => Fate::Kept,
                Tear::Sectors => *rng.pick(&[Fate::Kept, Fate::Lost]),
                Tear::Zeros => *rng.pick(&[Fate::Kept, Fate::Lost, Fate::Zero]),
                Tear::Garbage => {
                    let seed = rng.next();
                    *rng.pick(&[Fate::Kept, Fate::Lost, Fate::Garbage(seed)])
                }
                Tear::Prefix => {
                    first = first.saturating_sub(1);
                    if first > 0 { Fate::Kept } else { Fate::Lost }
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
    pub(crate) fn durable_image(&self) -> Image {
        self.durable(|_| true)
    }

    /// The same of one folder.
    #[must_use]
    pub(crate) fn durable_folder(&self, folder: &str) -> Image {
        self.durable(|name| folder_of(name) == folder)
    }

    fn durable(&self, wanted: impl Fn(&str) -> bool) -> Image {
        let disk = lock(&self.0);
        let content = |id: &usize| disk.files.get(id).map(File::durable).unwrap_or_default();
        let wanted = disk.durable_names.iter().filter(|(name, _)| wanted(name));
        wanted.map(|(name, id)| (name.clone(), content(id))).collect()
    }

    /// What a process would read.
    #[cfg(test)]
    #[must_use]
    pub(crate) fn image(&self) -> Image {
        let disk = lock(&self.0);
        let content = |id: &usize| disk.files.get(id).map(|file| file.current.clone()).unwrap_or_default();
        disk.names.iter().map(|(name, id)| (name.clone(), content(id))).collect()
    }

    /// Replaces everything: a restored copy, or with an empty image a new disk.
    pub(crate) fn replace(&self, image: &Image) {
        let mut disk = lock(&self.0);
        disk.boot += 1;
        disk.locked.clear();
        disk.load(image);
    }

    /// The files of a folder in which this life has left something unsynced.
    #[must_use]
    pub(crate) fn unsynced(&self, folder: &str) -> Vec<String> {
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
    pub(crate) fn crash_in(&self, calls: u64) {
        lock(&self.0).crash_in = Some(calls);
    }

    /// Whether it has died that way.
    #[must_use]
    pub(crate) fn is_frozen(&self) -> bool {
        lock(&self.0).frozen
    }

    /// Does something to which no fault happens, and after which all is armed as before.
    pub(crate) fn in_peace<T>(&self, what: impl FnOnce() -> T) -> T {
        let set = |(fails, misread)| {
            let mut disk = lock(&self.0);
            (std::mem::replace(&mut disk.fails, fails), std::mem::replace(&mut disk.misread, misread))
        };
        let armed = set((None, None));
        let done = what();
        set(armed);
        done
    }

    /// The one after the next `skip` calls of that kind fails.
    pub(crate) fn fail(&self, call: Call, skip: u64) {
        lock(&self.0).fails = Some((call, skip));
    }

    /// Whether space is left.
    pub(crate) fn set_full(&self, full: bool) {
        lock(&self.0).full = full;
    }

    /// Whatever was going to go wrong does not.
    pub(crate) fn no_more_faults(&self) {
        let mut disk = lock(&self.0);
        disk.fails = None;
        disk.astray = None;
        disk.misread = None;
        disk.crash_in = None;
        disk.full = false;
    }

    /// The next write of that kind goes somewhere else.
    pub(crate) fn lead_astray(&self, stray: Stray) {
        lock(&self.0).astray = Some(stray);
    }

    /// The read after the next `skip` ones gets what is stored at another place.
    pub(crate) fn misread(&self, skip: u64) {
        lock(&self.0).misread = Some(skip);
    }

    /// How often calls are interrupted or do less than they were asked, in a million.
    pub(crate) fn set_short(&self, ppm: u32) {
        lock(&self.0).short_ppm = ppm;
    }

    /// Changing calls, failed calls, and strayed writes and reads so far.
    #[must_use]
    pub(crate) fn counts(&self) -> (u64, u64, u64) {
        let disk = lock(&self.0);
        (disk.calls, disk.failed, disk.strayed)
    }

    /// Flips a bit of what is stored, durable and read alike: of a file whose name begins with `prefix`,
    /// where something is stored. Says where; `None` if there is nothing.
    pub(crate) fn rot(&self, prefix: &str) -> Option<(String, usize)> {
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
        if disk.strays.iter().any(|(of, range, _)| of == id && range.contains(&at)) {
            return None;
        }
        let bit: u8 = 1 << disk.rng.below(8);
        file.damage(at, bit);
        if let Some(watcher) = watcher {
            watcher([event::ROT, at as u64, u64::from(bit), 0], &|| format!("{name} ROT at {at}"));
        }
        Some((name.clone(), at))
    }

    /// Cuts or removes a file whose name begins with `prefix`. Says which.
    pub(crate) fn lose_file(&self, prefix: &str, whole: bool) -> Option<String> {
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
                if let Some(watcher) = &self.watcher {
                    watcher([event::FAILS, call as u64, 0, 0], &|| format!("{call:?} FAILS"));
                }
                return Err(failed());
            }
            Some((of, skip)) if *of == call => *skip -= 1,
            _ => {}
        }
        Ok(())
    }

    fn say(&self, id: usize, numbers: [u64; 4], what: impl Fn() -> String) {
        if let Some(watcher) = &self.watcher {
            watcher(numbers, &|| {
                let name = self.names.iter().find(|(_, of)| **of == id).map_or("?", |(name, _)| name);
                format!("{name} {}", what())
            });
        }
    }

    fn file(&mut self, id: usize) -> io::Result<&mut File> {
        self.files.get_mut(&id).ok_or_else(failed)
    }

    fn end_life(&mut self) {
        self.boot += 1;
        self.locked.clear();
        self.fails = None;
        self.astray = None;
        self.misread = None;
    }

    /// Where a write that goes astray ends, if this is one: in which file, and where there.
    fn strays(&mut self, id: usize, offset: u64, buf: &[u8]) -> Option<(usize, u64)> {
        let stray = self.astray?;
        let batch = buf.len() >= BLOCK;
        // Of the last batch a piece alone may be missing without a trace: see the limits of the journal's format.
        let of = self.names.iter().find(|(_, of)| **of == id).map_or("", |(name, _)| name);
        if !batch && (of.starts_with("seg-") || !folder_of(of).is_empty()) {
            return None;
        }
        if batch != (stray == Stray::Batch) || buf.iter().all(|byte| *byte == 0) {
            return None;
        }
        self.astray = None;
        let (to, edge) = match stray {
            // Whole batches only, which start on a block's edge.
            Stray::Batch => (id, BLOCK),
            Stray::Small => (self.any_of_the_journal()?, SECTOR),
        };
        let places = (self.files.get(&to)?.current.len().checked_sub(buf.len())? / edge) as u64;
        let at = self.rng.below(places + 1) * edge as u64;
        ((to, at) != (id, offset)).then_some((to, at))
    }

    /// A file was synced: what went astray in it has been there since, or other things tell of it now.
    fn tells_of_strays(&mut self, id: usize) {
        self.strays.retain_mut(|(of, _, synced)| *of != id || !core::mem::replace(synced, true));
    }

    fn any_of_the_journal(&mut self) -> Option<usize> {
        let all: Vec<usize> = self
            .names
            .iter()
            .filter(|(name, _)| folder_of(name).is_empty())
            .map(|(_, id)| *id)
            .filter(|id| self.files.get(id).is_some_and(|file| !file.current.is_empty()))
            .collect();
        (!all.is_empty()).then(|| *self.rng.pick(&all))
    }

    /// From where a read gets its bytes, if not from where it should.
    fn misreads(&mut self, id: usize, offset: u64) -> Option<u64> {
        let left = self.misread.as_mut()?;
        if *left > 0 {
            *left -= 1;
            return None;
        }
        self.misread = None;
        let sectors = (self.files.get(&id)?.current.len() / SECTOR) as u64;
        let at = self.rng.below(sectors) * SECTOR as u64;
        (at != offset).then_some(at)
    }
}
