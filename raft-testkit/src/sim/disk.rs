//! A disk in memory with everything that may go wrong with one: what is not synced may be lost, torn or
//! reordered by a crash; calls fail; space runs out; stored bytes rot, and writes go astray.
//!
//! Of each file there is what a process reads, and for each unsynced write what was there before and after.
//! A power cut leaves the durable image and any subset of the sectors in between.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use raft_log_file::vfs::{LockError, Vfs, VfsFile};

use super::executor::lock;
use super::rng::Rng;

/// What a crash may keep or lose of what is not synced, in bytes.
pub const SECTOR: usize = 512;

/// The names and contents of a folder.
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

/// A change that is not synced.
#[derive(Clone, Debug)]
struct Pending {
    /// Where.
    offset: usize,
    /// What is there now; none for zeros of that length.
    after: Bytes,
    /// What was there before, as far as the file went.
    before: Vec<u8>,
    /// How long the file was before.
    length: usize,
    /// The file is cut or extended to `offset`, rather than written.
    cuts: bool,
}

/// Bytes of a write. Zeros are many and need no memory.
#[derive(Clone, Debug)]
enum Bytes {
    Some(Vec<u8>),
    Zeros(usize),
}

impl Bytes {
    fn of(buf: &[u8]) -> Self {
        if buf.first() == Some(&0) && buf.iter().all(|byte| *byte == 0) {
            Self::Zeros(buf.len())
        } else {
            Self::Some(buf.to_vec())
        }
    }

    const fn len(&self) -> usize {
        match self {
            Self::Some(bytes) => bytes.len(),
            Self::Zeros(length) => *length,
        }
    }

    /// Puts a part of them where it belongs.
    fn put(&self, part: Range<usize>, to: &mut Vec<u8>, at: usize) {
        let end = at + part.len();
        if to.len() < end {
            to.resize(end, 0);
        }
        match self {
            Self::Some(bytes) => to[at..end].copy_from_slice(&bytes[part]),
            Self::Zeros(_) => to[at..end].fill(0),
        }
    }
}

#[derive(Clone, Debug, Default)]
struct File {
    current: Vec<u8>,
    pending: Vec<Pending>,
    /// What is pending beyond these was written in this life.
    inherited: usize,
    /// What is durable, where that is not simply what is read without what is pending: after a failed sync.
    durable: Option<Vec<u8>>,
}

impl File {
    fn of(bytes: &[u8]) -> Self {
        Self { current: bytes.to_vec(), ..Self::default() }
    }

    fn write(&mut self, offset: usize, buf: &[u8]) {
        let length = self.current.len();
        let end = offset + buf.len();
        let after = Bytes::of(buf);
        let before = self.current.get(offset..end.min(length)).unwrap_or_default().to_vec();
        after.put(0..buf.len(), &mut self.current, offset);
        self.pending.push(Pending { offset, after, before, length, cuts: false });
    }

    fn set_len(&mut self, to: usize) {
        let length = self.current.len();
        let before = self.current.get(to..).unwrap_or_default().to_vec();
        self.current.resize(to, 0);
        self.pending.push(Pending { offset: to, after: Bytes::Zeros(0), before, length, cuts: true });
    }

    fn sync(&mut self) {
        self.inherited = 0;
        let pending = std::mem::take(&mut self.pending);
        if let Some(durable) = &mut self.durable {
            for change in &pending {
                change.apply(0..change.after.len(), durable);
            }
            if *durable == self.current {
                self.durable = None;
            }
        }
    }

    /// The system takes the pages for clean: readable, and never written.
    fn fail_sync(&mut self) {
        self.durable = Some(self.durable());
        self.pending.clear();
        self.inherited = 0;
    }

    fn durable(&self) -> Vec<u8> {
        self.durable.clone().unwrap_or_else(|| self.read_before())
    }

    /// What was read before everything that is pending.
    fn read_before(&self) -> Vec<u8> {
        let mut bytes = self.current.clone();
        for change in self.pending.iter().rev() {
            change.undo(&mut bytes);
        }
        bytes
    }

    /// What was pending is gone, but for what `keep` says, sector by sector.
    fn crash(&mut self, mut keep: impl FnMut() -> bool) -> (u64, u64) {
        let (mut kept, mut lost) = (0, 0);
        if self.pending.is_empty() && self.durable.is_none() {
            return (0, 0);
        }
        let mut bytes = self.durable();
        // What was read at the time of each change.
        let mut seen = self.read_before();
        for change in std::mem::take(&mut self.pending) {
            change.apply(0..change.after.len(), &mut seen);
            for piece in change.sectors() {
                if keep() {
                    change.keep(piece, &seen, &mut bytes);
                    kept += 1;
                } else {
                    lost += 1;
                }
            }
        }
        self.inherited = 0;
        self.durable = None;
        self.current = bytes;
        (kept, lost)
    }

    /// Changes a stored byte, whoever reads it.
    fn damage(&mut self, at: usize, bit: u8) {
        if let Some(byte) = self.current.get_mut(at) {
            *byte ^= bit;
        }
        if let Some(byte) = self.durable.as_mut().and_then(|durable| durable.get_mut(at)) {
            *byte ^= bit;
        }
    }
}

impl Pending {
    /// The parts of the write that reach the disk as a whole or not at all.
    fn sectors(&self) -> Vec<Range<usize>> {
        let length = self.after.len();
        if self.cuts {
            return std::iter::once(0..0).collect();
        }
        let mut pieces = Vec::new();
        let mut at = 0;
        while at < length {
            let end = length.min(at + SECTOR - (self.offset + at) % SECTOR);
            pieces.push(at..end);
            at = end;
        }
        pieces
    }

    fn apply(&self, part: Range<usize>, to: &mut Vec<u8>) {
        if self.cuts {
            to.resize(self.offset, 0);
        } else {
            let at = self.offset + part.start;
            self.after.put(part, to, at);
        }
    }

    /// Puts a part of it on the disk. A part of a sector brings all of the sector, as it is in memory.
    fn keep(&self, part: Range<usize>, seen: &[u8], to: &mut Vec<u8>) {
        let (start, end) = (self.offset + part.start, self.offset + part.end);
        let whole = start - start % SECTOR..end.next_multiple_of(SECTOR).min(seen.len());
        if self.cuts || whole == (start..end) {
            return self.apply(part, to);
        }
        if to.len() < whole.end {
            to.resize(whole.end, 0);
        }
        to[whole.clone()].copy_from_slice(&seen[whole]);
    }

    fn undo(&self, bytes: &mut Vec<u8>) {
        bytes.resize(self.length, 0);
        bytes[self.offset..self.offset + self.before.len()].copy_from_slice(&self.before);
    }
}

#[derive(Clone, Debug)]
enum NameOp {
    Add(String, usize),
    Rename(String, String),
    Remove(String),
}

impl NameOp {
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
    locked: bool,
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
            locked: false,
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

    /// The folder for a new life of the node; earlier ones can do nothing more.
    #[must_use]
    pub fn boot(&self) -> SimVfs {
        let mut disk = lock(&self.0);
        disk.boot += 1;
        disk.locked = false;
        disk.frozen = false;
        disk.crash_in = None;
        for file in disk.files.values_mut() {
            file.inherited = file.pending.len();
        }
        SimVfs { disk: Arc::clone(&self.0), boot: disk.boot }
    }

    /// The process is gone; what it wrote stays readable.
    pub fn end_life(&self) {
        let mut disk = lock(&self.0);
        disk.boot += 1;
        disk.locked = false;
        disk.fails = None;
        disk.astray = false;
    }

    /// The power fails. Returns how many unsynced sectors were kept, and how many lost.
    pub fn power_cut(&self, tear: Tear) -> (u64, u64) {
        let mut disk = lock(&self.0);
        let disk = &mut *disk;
        disk.boot += 1;
        disk.locked = false;
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
        let ops = disk.name_ops.len() as u64;
        let names = match tear {
            Tear::Lose => 0,
            Tear::Keep => ops,
            _ => disk.rng.below(ops + 1),
        };
        for op in disk.name_ops.drain(..).take(names as usize) {
            op.apply(&mut disk.durable_names);
        }
        disk.names.clone_from(&disk.durable_names);
        disk.forget_unnamed();
        (kept, lost)
    }

    /// What a power cut that loses all it can would leave.
    #[must_use]
    pub fn durable_image(&self) -> Image {
        let disk = lock(&self.0);
        let content = |id: &usize| disk.files.get(id).map(File::durable).unwrap_or_default();
        disk.durable_names.iter().map(|(name, id)| (name.clone(), content(id))).collect()
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
        disk.locked = false;
        disk.load(image);
    }

    /// The files in which this life has left something unsynced.
    #[must_use]
    pub fn unsynced(&self) -> Vec<String> {
        let disk = lock(&self.0);
        let dirty = |id: &usize| {
            let file = disk.files.get(id)?;
            let mine = file.pending.get(file.inherited..)?;
            // A cut only gives space back.
            mine.iter().find(|change| !change.cuts)
        };
        disk.names.iter().filter(|(_, id)| dirty(id).is_some()).map(|(name, _)| name.clone()).collect()
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

/// The folder as one life of the node sees it.
#[derive(Clone)]
pub struct SimVfs {
    disk: Arc<Mutex<Disk>>,
    boot: u64,
}

struct SimFile {
    disk: Arc<Mutex<Disk>>,
    boot: u64,
    id: usize,
}

impl SimVfs {
    fn names_change<T>(&self, change: impl FnOnce(&mut Disk) -> io::Result<T>, space: bool) -> io::Result<T> {
        let mut disk = lock(&self.disk);
        disk.change(self.boot, Call::Names)?;
        if space && disk.full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        change(&mut disk)
    }

    fn file(&self, id: usize) -> Arc<dyn VfsFile> {
        Arc::new(SimFile { disk: Arc::clone(&self.disk), boot: self.boot, id })
    }
}

impl Vfs for SimVfs {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(lock(&self.disk).names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn VfsFile>> {
        let create = |disk: &mut Disk| {
            if disk.names.contains_key(name) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            let id = disk.next_file;
            disk.next_file += 1;
            disk.files.insert(id, File::default());
            disk.names.insert(name.to_owned(), id);
            disk.name_ops.push(NameOp::Add(name.to_owned(), id));
            Ok(id)
        };
        self.names_change(create, true).map(|id| self.file(id))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn VfsFile>> {
        let id = lock(&self.disk).names.get(name).copied();
        id.map(|id| self.file(id)).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let rename = |disk: &mut Disk| {
            let id = disk.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
            disk.names.insert(to.to_owned(), id);
            disk.name_ops.push(NameOp::Rename(from.to_owned(), to.to_owned()));
            Ok(())
        };
        self.names_change(rename, false)
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        let unlink = |disk: &mut Disk| {
            disk.names.remove(name).ok_or(io::ErrorKind::NotFound)?;
            disk.name_ops.push(NameOp::Remove(name.to_owned()));
            Ok(())
        };
        self.names_change(unlink, false)
    }

    fn sync_dir(&self) -> io::Result<()> {
        let sync = |disk: &mut Disk| {
            for op in std::mem::take(&mut disk.name_ops) {
                op.apply(&mut disk.durable_names);
            }
            Ok(())
        };
        self.names_change(sync, false)
    }

    fn lock(&self, _name: &str) -> Result<Box<dyn Send + Sync>, LockError> {
        let mut disk = lock(&self.disk);
        if disk.locked {
            return Err(LockError::Held(None));
        }
        disk.locked = true;
        Ok(Box::new(Guard { disk: Arc::clone(&self.disk), boot: self.boot }))
    }
}

struct Guard {
    disk: Arc<Mutex<Disk>>,
    boot: u64,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut disk = lock(&self.disk);
        if disk.boot == self.boot {
            disk.locked = false;
        }
    }
}

impl VfsFile for SimFile {
    fn pread(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut disk = lock(&self.disk);
        disk.may_fail(Call::Read)?;
        let short = disk.short_ppm;
        if short > 0 && disk.rng.rare(short) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let rest = disk.file(self.id)?.current.get(offset as usize..).unwrap_or_default();
        let count = rest.len().min(buf.len());
        buf[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn pwrite(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        let mut disk = lock(&self.disk);
        let disk = &mut *disk;
        disk.change(self.boot, Call::Write)?;
        let grows = offset as usize + buf.len() > disk.file(self.id)?.current.len();
        if grows && disk.full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let mut buf = buf;
        if disk.short_ppm > 0 && disk.rng.rare(disk.short_ppm) {
            if disk.rng.chance(500) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let less = disk.rng.between(1, buf.len().max(1) as u64) as usize;
            buf = buf.get(..less).unwrap_or(buf);
        }
        let mut at = offset;
        // Whole batches only, which start on a block's edge and are not all zero.
        if disk.astray && buf.len() >= 4096 && buf.iter().any(|byte| *byte != 0) {
            disk.astray = false;
            if let Some(to) = disk.elsewhere(self.id, offset, buf.len()) {
                disk.strayed += 1;
                disk.say(self.id, || format!("ASTRAY from {at} to {to}"));
                at = to;
            }
        }
        disk.say(self.id, || format!("pwrite {at} +{}", buf.len()));
        disk.file(self.id)?.write(at as usize, buf);
        Ok(buf.len())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut disk = lock(&self.disk);
        let changed = disk.change(self.boot, Call::Sync);
        let frozen = disk.frozen;
        if self.boot != disk.boot || frozen {
            return changed;
        }
        let file = disk.file(self.id)?;
        if changed.is_err() {
            file.fail_sync();
            disk.say(self.id, || "fdatasync FAILS".into());
            return changed;
        }
        file.sync();
        disk.say(self.id, || "fdatasync".into());
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(lock(&self.disk).file(self.id)?.current.len() as u64)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut disk = lock(&self.disk);
        disk.change(self.boot, Call::Write)?;
        disk.file(self.id)?.set_len(length as usize);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk() -> (SimDisk, SimVfs) {
        let disk = SimDisk::new(Rng::new(1));
        let vfs = disk.boot();
        (disk, vfs)
    }

    #[test]
    fn a_power_cut_takes_what_is_not_synced_and_only_that() {
        let (disk, vfs) = disk();
        let file = vfs.create("a").unwrap();
        file.pwrite(&[1; 2048], 0).unwrap();
        file.sync_data().unwrap();
        vfs.sync_dir().unwrap();
        file.pwrite(&[2; 2048], 1024).unwrap();
        vfs.create("b").unwrap();
        assert_eq!(disk.unsynced(), ["a"]);
        assert_eq!(disk.image()["a"][1024], 2);
        assert_eq!(disk.power_cut(Tear::Lose), (0, 4));
        assert_eq!(disk.image(), Image::from([("a".into(), vec![1; 2048])]));
        assert!(file.pwrite(&[3], 0).is_err(), "of an earlier life");

        let vfs = disk.boot();
        let file = vfs.open("a").unwrap();
        file.pwrite(&[2; 2048], 0).unwrap();
        let (kept, lost) = disk.power_cut(Tear::Sectors);
        assert_eq!(kept + lost, 4);
        let bytes = &disk.image()["a"];
        assert!(bytes.chunks(SECTOR).all(|sector| sector == [1; SECTOR] || sector == [2; SECTOR]));
    }

    /// Two writes into one sector: no disk takes the second without the first (seed 308232).
    #[test]
    fn a_sector_is_torn_between_versions_only() {
        let (disk, _) = disk();
        let mut seen = [0; 3];
        for _ in 0..64 {
            let vfs = disk.boot();
            let file = vfs.create("a").unwrap();
            file.pwrite(&[0; SECTOR], 0).unwrap();
            file.sync_data().unwrap();
            vfs.sync_dir().unwrap();
            file.pwrite(&[1; 100], 0).unwrap();
            file.pwrite(&[2; SECTOR - 100], 100).unwrap();
            disk.power_cut(Tear::Sectors);
            let bytes = disk.image()["a"].clone();
            let both = [vec![1; 100], vec![2; SECTOR - 100]].concat();
            let first = [vec![1; 100], vec![0; SECTOR - 100]].concat();
            let found = [vec![0; SECTOR], first, both].iter().position(|version| *version == bytes);
            seen[found.unwrap()] += 1;
            let vfs = disk.boot();
            vfs.unlink("a").unwrap();
            vfs.sync_dir().unwrap();
        }
        assert!(seen.iter().all(|times| *times > 0), "{seen:?}");
    }

    #[test]
    fn a_failed_sync_leaves_what_can_be_read_and_is_never_written() {
        let (disk, vfs) = disk();
        let file = vfs.create("a").unwrap();
        vfs.sync_dir().unwrap();
        disk.fail(Call::Sync, 0);
        file.pwrite(b"x", 0).unwrap();
        assert!(file.sync_data().is_err());
        file.sync_data().unwrap();
        assert_eq!(disk.image()["a"], b"x");
        assert_eq!(disk.durable_image()["a"], b"");
    }

    #[test]
    fn a_machine_may_die_at_any_call() {
        let (disk, vfs) = disk();
        let file = vfs.create("a").unwrap();
        vfs.sync_dir().unwrap();
        disk.crash_in(1);
        file.pwrite(b"x", 0).unwrap();
        assert!(file.sync_data().is_err());
        assert!(disk.is_frozen());
        assert!(file.sync_data().is_err());
        disk.power_cut(Tear::Lose);
        assert_eq!(disk.image()["a"], b"");
    }

    #[test]
    fn rot_and_stray_writes_change_what_is_stored() {
        let (disk, vfs) = disk();
        let file = vfs.create("a").unwrap();
        file.pwrite(&[7; 8192], 0).unwrap();
        file.sync_data().unwrap();
        vfs.sync_dir().unwrap();
        let (name, at) = disk.rot("a").unwrap();
        assert_eq!(name, "a");
        assert_ne!(disk.durable_image()["a"][at], 7);
        disk.lead_astray();
        while disk.counts().2 == 0 {
            file.pwrite(&[9; 4096], 0).unwrap();
            disk.lead_astray();
        }
        assert_eq!(disk.image()["a"][4096], 9);
    }
}
