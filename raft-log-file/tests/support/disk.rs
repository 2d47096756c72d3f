//! A disk in memory that records what is done to it, and can fail at any call.

use std::collections::BTreeMap;
use std::io;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use raft_log_file::vfs::{LockError, Vfs, VfsFile};

use super::{CrashPoint, SECTOR};

/// The bytes of a file, shared until they are changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content(Arc<Vec<u8>>);

impl Content {
    /// Whether both are one and the same, without a look at the bytes.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub fn write(&mut self, offset: usize, bytes: &[u8]) {
        let file: &mut Vec<u8> = self;
        if file.len() < offset + bytes.len() {
            file.resize(offset + bytes.len(), 0);
        }
        file[offset..offset + bytes.len()].copy_from_slice(bytes);
    }
}

impl From<Vec<u8>> for Content {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Arc::new(bytes))
    }
}

impl Deref for Content {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl DerefMut for Content {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        Arc::make_mut(&mut self.0)
    }
}

/// What a folder holds.
pub type Image = BTreeMap<String, Content>;

/// What was done, in order.
#[derive(Clone, Debug)]
pub enum Op {
    Create(String, usize),
    Write(usize, usize, Vec<u8>),
    SetLen(usize, usize),
    Sync(usize),
    /// The system has given up these writes: still readable, never durable. Some of their sectors may
    /// have reached the disk all the same; the number decides which.
    SyncFailed(usize, u64),
    Rename(String, String, usize),
    Unlink(String),
    SyncDir,
}

/// What goes wrong, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// This call fails, counted from 0.
    Once(u64, io::ErrorKind),
    /// This call and every later one that takes space fails.
    Full(u64),
    /// Every write is cut in half.
    ShortWrites,
    /// Every write ends at the next sector.
    SectorWrites,
    /// Every write that begins with a sector ends after so many bytes.
    OddWrites(usize),
    /// The next sync of a file that is in use fails; one that is being made is not.
    NextSync,
    /// Syncs of these do nothing, and say that they did: what a journal is worth that forgets them.
    NoSync(Unsynced),
}

/// What is not synced though it is said to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsynced {
    /// Files whose names begin so.
    Files(&'static str),
    /// The names in the folder.
    Names,
}

#[derive(Default)]
struct Disk {
    files: Vec<Content>,
    names: BTreeMap<String, usize>,
    /// What was there before the first of the operations.
    base: Image,
    ops: Vec<Op>,
    /// Operations done, recorded or not.
    done: usize,
    /// Not to be recorded: then what is durable is kept here at once. Knows no failed sync.
    light: Option<Durable>,
    calls: u64,
    syncs: u64,
    fault: Option<Fault>,
    /// What is kept of a failed sync.
    keep: u64,
}

#[derive(Default)]
struct Durable {
    files: Vec<Content>,
    names: BTreeMap<String, usize>,
}

/// A folder in memory.
#[derive(Clone, Default)]
pub struct MemVfs {
    disk: Arc<Mutex<Disk>>,
    locked: Arc<AtomicBool>,
}

fn named(files: &[Content], names: &BTreeMap<String, usize>) -> Image {
    names.iter().map(|(name, id)| (name.clone(), files[*id].clone())).collect()
}

impl MemVfs {
    pub fn of(image: &Image) -> Self {
        let disk = Disk {
            files: image.values().cloned().collect(),
            names: image.keys().cloned().zip(0..).collect(),
            base: image.clone(),
            ..Disk::default()
        };
        Self { disk: Arc::new(Mutex::new(disk)), ..Self::default() }
    }

    /// The same without a record of what is done: much faster.
    pub fn light(image: &Image) -> Self {
        let vfs = Self::of(image);
        {
            let mut disk = vfs.disk.lock().unwrap();
            disk.light = Some(Durable { files: disk.files.clone(), names: disk.names.clone() });
        }
        vfs
    }

    /// What a process would read now.
    pub fn image(&self) -> Image {
        let disk = self.disk.lock().unwrap();
        named(&disk.files, &disk.names)
    }

    /// What is found if the machine goes down now and nothing un-synced is kept.
    pub fn durable(&self) -> Image {
        let disk = self.disk.lock().unwrap();
        if let Some(durable) = &disk.light {
            return named(&durable.files, &durable.names);
        }
        let mut point = CrashPoint::of(&disk.base);
        disk.ops.iter().for_each(|op| point.advance(op));
        point.durable()
    }

    /// Sets everything back, as if later operations had never been.
    pub fn restore(&self, image: &Image) {
        let other = Self::of(image);
        *self.disk.lock().unwrap() = std::mem::take(&mut *other.disk.lock().unwrap());
    }

    /// Gives a file other contents behind everyone's back.
    pub fn replace(&self, name: &str, bytes: &[u8]) {
        let mut disk = self.disk.lock().unwrap();
        let id = disk.names[name];
        disk.files[id] = Content::from(bytes.to_vec());
    }

    /// Changes a stored byte behind everyone's back, also of those who have the file open.
    pub fn damage(&self, mut at: usize, change: impl Fn(u8) -> u8) {
        let mut disk = self.disk.lock().unwrap();
        let ids: Vec<usize> = disk.names.values().copied().collect();
        for id in ids {
            let bytes = &mut disk.files[id];
            if at < bytes.len() {
                bytes[at] = change(bytes[at]);
                break;
            }
            at -= bytes.len();
        }
    }

    pub fn ops(&self) -> Vec<Op> {
        self.disk.lock().unwrap().ops.clone()
    }

    pub fn op_count(&self) -> usize {
        self.disk.lock().unwrap().done
    }

    pub fn set_fault(&self, fault: Option<Fault>) {
        let mut disk = self.disk.lock().unwrap();
        disk.fault = fault;
        disk.calls = 0;
    }

    /// Which sectors of a failed sync reach the disk: 0 for none.
    pub fn keep_of_failed_sync(&self, keep: u64) {
        self.disk.lock().unwrap().keep = keep;
    }

    /// How many syncs of files in use were asked for, those that failed among them.
    pub fn syncs(&self) -> u64 {
        self.disk.lock().unwrap().syncs
    }

    pub fn calls(&self) -> u64 {
        self.disk.lock().unwrap().calls
    }
}

impl Disk {
    /// Counts a call that changes something; fails if it is its turn.
    fn call(&mut self, takes_space: bool) -> io::Result<()> {
        let n = self.calls;
        self.calls += 1;
        match self.fault {
            Some(Fault::Once(at, kind)) if at == n => Err(kind.into()),
            Some(Fault::Full(at)) if n >= at && takes_space => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(()),
        }
    }

    fn record(&mut self, op: impl FnOnce() -> Op) {
        self.done += 1;
        if self.light.is_none() {
            self.ops.push(op());
        }
    }
}

struct MemFile {
    disk: Arc<Mutex<Disk>>,
    id: usize,
}

impl Vfs for MemVfs {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.disk.lock().unwrap().names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn VfsFile>> {
        let mut disk = self.disk.lock().unwrap();
        disk.call(true)?;
        if disk.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let id = disk.files.len();
        disk.files.push(Content::default());
        disk.names.insert(name.into(), id);
        if let Some(durable) = &mut disk.light {
            durable.files.push(Content::default());
        }
        disk.record(|| Op::Create(name.into(), id));
        Ok(Arc::new(MemFile { disk: Arc::clone(&self.disk), id }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn VfsFile>> {
        let disk = self.disk.lock().unwrap();
        let id = *disk.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(MemFile { disk: Arc::clone(&self.disk), id }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut disk = self.disk.lock().unwrap();
        disk.call(false)?;
        let id = disk.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        disk.names.insert(to.into(), id);
        disk.record(|| Op::Rename(from.into(), to.into(), id));
        Ok(())
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        let mut disk = self.disk.lock().unwrap();
        disk.call(false)?;
        disk.names.remove(name).ok_or(io::ErrorKind::NotFound)?;
        disk.record(|| Op::Unlink(name.into()));
        Ok(())
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut disk = self.disk.lock().unwrap();
        disk.call(false)?;
        if disk.fault == Some(Fault::NoSync(Unsynced::Names)) {
            return Ok(());
        }
        let Disk { light, names, .. } = &mut *disk;
        if let Some(durable) = light {
            durable.names.clone_from(names);
        }
        disk.record(|| Op::SyncDir);
        Ok(())
    }

    fn lock(&self, _name: &str) -> Result<Box<dyn Send + Sync>, LockError> {
        struct Guard(Arc<AtomicBool>);
        impl Drop for Guard {
            fn drop(&mut self) {
                self.0.store(false, Ordering::SeqCst);
            }
        }
        if self.locked.swap(true, Ordering::SeqCst) {
            return Err(LockError::Held(None));
        }
        Ok(Box::new(Guard(Arc::clone(&self.locked))))
    }
}

impl VfsFile for MemFile {
    fn pread(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let disk = self.disk.lock().unwrap();
        let rest = disk.files[self.id].get(offset as usize..).unwrap_or_default();
        let count = rest.len().min(buf.len());
        buf[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn pwrite(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        let mut disk = self.disk.lock().unwrap();
        let whole = buf.len();
        let length = match disk.fault {
            Some(Fault::ShortWrites) => whole.div_ceil(2),
            Some(Fault::SectorWrites) => whole.min(SECTOR - offset as usize % SECTOR),
            Some(Fault::OddWrites(length)) if (offset as usize).is_multiple_of(SECTOR) => whole.min(length),
            _ => whole,
        };
        let end = offset as usize + whole;
        let grows = end > disk.files[self.id].len();
        disk.call(grows)?;
        let buf = &buf[..length];
        disk.files[self.id].write(offset as usize, buf);
        disk.record(|| Op::Write(self.id, offset as usize, buf.to_vec()));
        Ok(buf.len())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut disk = self.disk.lock().unwrap();
        let in_use = disk.names.iter().any(|(name, id)| *id == self.id && !name.ends_with(".tmp"));
        disk.syncs += u64::from(in_use);
        let fails = disk.fault == Some(Fault::NextSync) && in_use;
        if fails {
            disk.fault = None;
        }
        let called = disk.call(false);
        if let Err(error) = if fails { Err(io::ErrorKind::Other.into()) } else { called } {
            assert!(disk.light.is_none(), "a light disk knows no failed sync");
            let keep = disk.keep;
            disk.record(|| Op::SyncFailed(self.id, keep));
            return Err(error);
        }
        if let Some(Fault::NoSync(Unsynced::Files(start))) = disk.fault
            && disk.names.iter().any(|(name, id)| *id == self.id && name.starts_with(start))
        {
            return Ok(());
        }
        let Disk { light, files, .. } = &mut *disk;
        if let Some(durable) = light {
            durable.files[self.id] = files[self.id].clone();
        }
        disk.record(|| Op::Sync(self.id));
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.lock().unwrap().files[self.id].len() as u64)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut disk = self.disk.lock().unwrap();
        disk.call(false)?;
        disk.files[self.id].resize(length as usize, 0);
        disk.record(|| Op::SetLen(self.id, length as usize));
        Ok(())
    }

    fn reserve(&self, length: u64) -> io::Result<()> {
        let mut disk = self.disk.lock().unwrap();
        let length = (length as usize).max(disk.files[self.id].len());
        let grows = length > disk.files[self.id].len();
        disk.call(grows)?;
        disk.files[self.id].resize(length, 0);
        disk.record(|| Op::SetLen(self.id, length));
        Ok(())
    }
}
