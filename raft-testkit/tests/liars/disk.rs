//! A folder of files of which only what was synced outlives a crash.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

/// One call writes at most so many bytes.
const LONGEST_WRITE: usize = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    Full,
    Sync,
    /// The machine went down while this opening was at work.
    Gone,
}

#[derive(Default)]
struct File {
    now: Vec<u8>,
    safe: Vec<u8>,
    /// A sync has failed: what was not safe by then never will be, whatever later syncs say.
    given_up: bool,
}

#[derive(Default)]
struct Inner {
    files: Vec<File>,
    names: BTreeMap<String, usize>,
    safe_names: BTreeMap<String, usize>,
    openings: u64,
    open: Option<u64>,
    fail_next_sync: bool,
    syncs: u64,
    full: bool,
}

/// Cheap to clone; every clone is the same disk.
#[derive(Clone, Default)]
pub(crate) struct Disk(Arc<Mutex<Inner>>);

/// A sync that has begun: it covers what was there then.
#[derive(Clone, Copy)]
pub(crate) struct Sync {
    file: usize,
    length: usize,
}

impl Disk {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }

    /// Takes the lock, if nobody has it or nobody cares.
    pub(crate) fn begin(&self, by_force: bool) -> Option<u64> {
        let mut inner = self.lock();
        if inner.open.is_some() && !by_force {
            return None;
        }
        inner.openings += 1;
        inner.open = Some(inner.openings);
        inner.open
    }

    pub(crate) fn end(&self, opening: u64) {
        let mut inner = self.lock();
        if inner.open == Some(opening) {
            inner.open = None;
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.lock().open.is_some()
    }

    pub(crate) fn check(&self, opening: u64) -> Result<(), Failure> {
        if self.lock().open == Some(opening) { Ok(()) } else { Err(Failure::Gone) }
    }

    pub(crate) fn crash(&self) {
        let mut inner = self.lock();
        inner.names = inner.safe_names.clone();
        inner.open = None;
        for file in &mut inner.files {
            file.now.clone_from(&file.safe);
            file.given_up = false;
        }
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.lock().names.keys().cloned().collect()
    }

    pub(crate) fn read(&self, name: &str) -> Option<Vec<u8>> {
        let inner = self.lock();
        inner.names.get(name).map(|id| inner.files[*id].now.clone())
    }

    /// A new file, in place of another one of that name.
    pub(crate) fn create(&self, name: &str) {
        let mut inner = self.lock();
        let id = inner.files.len();
        inner.files.push(File::default());
        inner.names.insert(name.into(), id);
    }

    /// Writes at the end, as much as one call does; says how much that was.
    pub(crate) fn append(&self, name: &str, bytes: &[u8]) -> Result<usize, Failure> {
        let mut inner = self.lock();
        if inner.full {
            return Err(Failure::Full);
        }
        let count = bytes.len().min(LONGEST_WRITE);
        let id = inner.names[name];
        inner.files[id].now.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    pub(crate) fn begin_sync(&self, name: &str) -> Sync {
        let inner = self.lock();
        let file = inner.names[name];
        Sync { file, length: inner.files[file].now.len() }
    }

    pub(crate) fn end_sync(&self, sync: Sync) -> Result<(), Failure> {
        let mut inner = self.lock();
        inner.syncs += 1;
        let fails = std::mem::take(&mut inner.fail_next_sync);
        let file = &mut inner.files[sync.file];
        file.given_up |= fails;
        if !file.given_up && file.safe.len() < sync.length {
            let from = file.safe.len();
            file.safe.extend_from_slice(&file.now[from..sync.length]);
        }
        if fails { Err(Failure::Sync) } else { Ok(()) }
    }

    pub(crate) fn sync_dir(&self) {
        let mut inner = self.lock();
        inner.safe_names = inner.names.clone();
    }

    pub(crate) fn rename(&self, from: &str, to: &str) {
        let mut inner = self.lock();
        let id = inner.names.remove(from).unwrap();
        inner.names.insert(to.into(), id);
    }

    pub(crate) fn unlink(&self, name: &str) {
        self.lock().names.remove(name);
    }

    pub(crate) fn stored_bytes(&self) -> u64 {
        let inner = self.lock();
        inner.names.values().map(|id| inner.files[*id].now.len() as u64).sum()
    }

    pub(crate) fn contents(&self) -> Vec<u8> {
        let inner = self.lock();
        inner.names.values().flat_map(|id| inner.files[*id].now.iter().copied()).collect()
    }

    pub(crate) fn flip_bit(&self, mut at: usize, bit: u8) {
        let mut inner = self.lock();
        let ids: Vec<usize> = inner.names.values().copied().collect();
        for id in ids {
            let File { now, safe, .. } = &mut inner.files[id];
            if at < now.len() {
                now[at] ^= 1 << bit;
                safe.get_mut(at).into_iter().for_each(|byte| *byte ^= 1 << bit);
                return;
            }
            at -= now.len();
        }
    }

    pub(crate) fn fail_next_sync(&self) {
        self.lock().fail_next_sync = true;
    }

    pub(crate) fn syncs(&self) -> u64 {
        self.lock().syncs
    }

    pub(crate) fn set_full(&self, full: bool) {
        self.lock().full = full;
    }
}
