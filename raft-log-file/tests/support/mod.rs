//! A disk in memory that records what is done to it, can fail at any call, and can be crashed.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test uses its part")]

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use raft_core::backend::{HardState, JournalState, JournalWrite, OpenError, Vote};
use raft_core::entry::{Entry, EntryKind};
use raft_core::ids::{ClusterId, GroupId, Incarnation, Index, KnownPeer, LogId, NodeId, StoreId, Term};
use raft_core::membership::{Member, Membership};
use raft_log_file::vfs::{LockError, Vfs, VfsFile};
use raft_log_file::{Options, Owner, Store};

pub const OWNER: Owner = Owner { cluster: ClusterId(7), group: GroupId(0), node: NodeId(1) };
pub const SECTOR: usize = 512;

/// What a folder holds.
pub type Image = BTreeMap<String, Vec<u8>>;

/// What was done, in order.
#[derive(Clone, Debug)]
pub enum Op {
    Create(String, usize),
    Write(usize, usize, Vec<u8>),
    SetLen(usize, usize),
    Sync(usize),
    /// The system has given up these writes: still readable, never durable.
    SyncFailed(usize),
    Rename(String, String),
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
    /// The next sync of a file that is in use fails; one that is being made is not.
    NextSync,
}

#[derive(Default)]
struct Disk {
    files: Vec<Vec<u8>>,
    names: BTreeMap<String, usize>,
    ops: Vec<Op>,
    calls: u64,
    fault: Option<Fault>,
}

/// A folder in memory.
#[derive(Clone, Default)]
pub struct MemVfs {
    disk: Arc<Mutex<Disk>>,
    locked: Arc<AtomicBool>,
}

impl MemVfs {
    pub fn of(image: &Image) -> Self {
        let vfs = Self::default();
        {
            let mut disk = vfs.disk.lock().unwrap();
            for (name, bytes) in image {
                let id = disk.files.len();
                disk.files.push(bytes.clone());
                disk.names.insert(name.clone(), id);
            }
        }
        vfs
    }

    /// What a process would read now.
    pub fn image(&self) -> Image {
        let disk = self.disk.lock().unwrap();
        disk.names.iter().map(|(name, id)| (name.clone(), disk.files[*id].clone())).collect()
    }

    /// Sets everything back, as if later operations had never been.
    pub fn restore(&self, image: &Image) {
        let other = Self::of(image);
        *self.disk.lock().unwrap() = std::mem::take(&mut *other.disk.lock().unwrap());
    }

    /// Changes a stored byte behind everyone's back.
    pub fn damage(&self, mut at: usize, change: impl Fn(u8) -> u8) {
        let mut image = self.image();
        for bytes in image.values_mut() {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = change(*byte);
                break;
            }
            at -= bytes.len();
        }
        self.restore(&image);
    }

    pub fn ops(&self) -> Vec<Op> {
        self.disk.lock().unwrap().ops.clone()
    }

    pub fn op_count(&self) -> usize {
        self.disk.lock().unwrap().ops.len()
    }

    pub fn set_fault(&self, fault: Option<Fault>) {
        let mut disk = self.disk.lock().unwrap();
        disk.fault = fault;
        disk.calls = 0;
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
        disk.files.push(Vec::new());
        disk.names.insert(name.into(), id);
        disk.ops.push(Op::Create(name.into(), id));
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
        disk.ops.push(Op::Rename(from.into(), to.into()));
        Ok(())
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        let mut disk = self.disk.lock().unwrap();
        disk.call(false)?;
        disk.names.remove(name).ok_or(io::ErrorKind::NotFound)?;
        disk.ops.push(Op::Unlink(name.into()));
        Ok(())
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut disk = self.disk.lock().unwrap();
        disk.call(false)?;
        disk.ops.push(Op::SyncDir);
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
        let short = disk.fault == Some(Fault::ShortWrites);
        let end = offset as usize + buf.len();
        let grows = end > disk.files[self.id].len();
        disk.call(grows)?;
        let buf = if short { &buf[..buf.len().div_ceil(2)] } else { buf };
        write_into(&mut disk.files[self.id], offset as usize, buf);
        disk.ops.push(Op::Write(self.id, offset as usize, buf.to_vec()));
        Ok(buf.len())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut disk = self.disk.lock().unwrap();
        let in_use = disk.names.iter().any(|(name, id)| *id == self.id && !name.ends_with(".tmp"));
        let fails = disk.fault == Some(Fault::NextSync) && in_use;
        if fails {
            disk.fault = None;
        }
        let called = disk.call(false);
        match if fails { Err(io::ErrorKind::Other.into()) } else { called } {
            Ok(()) => disk.ops.push(Op::Sync(self.id)),
            Err(error) => {
                disk.ops.push(Op::SyncFailed(self.id));
                return Err(error);
            }
        }
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.lock().unwrap().files[self.id].len() as u64)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut disk = self.disk.lock().unwrap();
        disk.call(false)?;
        disk.files[self.id].resize(length as usize, 0);
        disk.ops.push(Op::SetLen(self.id, length as usize));
        Ok(())
    }
}

fn write_into(file: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    if file.len() < offset + bytes.len() {
        file.resize(offset + bytes.len(), 0);
    }
    file[offset..offset + bytes.len()].copy_from_slice(bytes);
}

/// A change of a file that a crash may keep or lose: at most a sector.
#[derive(Clone, Debug)]
enum Piece {
    Write(usize, usize, Vec<u8>),
    SetLen(usize, usize),
}

/// What is durable, and what may be, after some operations.
#[derive(Clone, Default)]
pub struct CrashPoint {
    files: Vec<Vec<u8>>,
    names: BTreeMap<String, usize>,
    pieces: Vec<Piece>,
    name_ops: Vec<Op>,
}

impl CrashPoint {
    pub fn of(image: &Image) -> Self {
        let names = image.keys().cloned().zip(0..).collect();
        Self { files: image.values().cloned().collect(), names, ..Self::default() }
    }

    /// One more operation has been done.
    pub fn advance(&mut self, op: &Op) {
        match op {
            Op::Create(_, id) => {
                if self.files.len() <= *id {
                    self.files.resize(*id + 1, Vec::new());
                }
                self.name_ops.push(op.clone());
            }
            Op::Rename(..) | Op::Unlink(_) => self.name_ops.push(op.clone()),
            Op::Write(id, offset, bytes) => {
                let mut at = 0;
                while at < bytes.len() {
                    let end = bytes.len().min(at + SECTOR - (offset + at) % SECTOR);
                    let piece = (offset + at)..(offset + end);
                    // What is there already makes no difference.
                    if self.pieces.iter().any(|other| other.touches(*id))
                        || self.files[*id].get(piece) != Some(&bytes[at..end])
                    {
                        self.pieces.push(Piece::Write(*id, offset + at, bytes[at..end].to_vec()));
                    }
                    at = end;
                }
            }
            Op::SetLen(id, length) => self.pieces.push(Piece::SetLen(*id, *length)),
            Op::Sync(id) => {
                let (now, later) =
                    std::mem::take(&mut self.pieces).into_iter().partition(|piece| piece.touches(*id));
                self.pieces = later;
                for piece in Vec::<Piece>::from_iter::<Vec<_>>(now) {
                    piece.apply(&mut self.files);
                }
            }
            Op::SyncFailed(id) => self.pieces.retain(|piece| !piece.touches(*id)),
            Op::SyncDir => {
                for op in std::mem::take(&mut self.name_ops) {
                    apply_name(&mut self.names, &op);
                }
            }
        }
    }

    /// What is found after a crash that keeps these pieces and the first `names` changes of names.
    pub fn image(&self, keep: impl Fn(usize) -> bool, names: usize) -> Image {
        let mut files = self.files.clone();
        for (n, piece) in self.pieces.iter().enumerate() {
            if keep(n) {
                piece.apply(&mut files);
            }
        }
        let mut found = self.names.clone();
        for op in self.name_ops.iter().take(names) {
            apply_name(&mut found, op);
        }
        found.into_iter().map(|(name, id)| (name, files[id].clone())).collect()
    }

    /// Only what is durable.
    pub fn durable(&self) -> Image {
        self.image(|_| false, 0)
    }

    /// Calls `check` with images after crashes here: every subset of up to `exhaustive` pieces, beyond
    /// that all prefixes, all single ones kept or lost, and `sampled` random subsets.
    pub fn crashes(&self, exhaustive: usize, sampled: usize, rng: &mut Rng, mut check: impl FnMut(Image)) {
        let count = self.pieces.len();
        let name_choices: Vec<usize> = (0..=self.name_ops.len()).collect();
        for names in name_choices {
            if count <= exhaustive {
                for mask in 0..1_u64 << count {
                    check(self.image(|n| mask >> n & 1 == 1, names));
                }
                continue;
            }
            let step = count.div_ceil(40);
            for n in (0..=count).step_by(step) {
                check(self.image(|m| m < n, names));
                check(self.image(|m| m == n, names));
                check(self.image(|m| m != n, names));
            }
            check(self.image(|_| true, names));
            for _ in 0..sampled {
                let bits: Vec<bool> = (0..count).map(|_| rng.next().is_multiple_of(2)).collect();
                check(self.image(|n| bits[n], names));
            }
        }
    }
}

impl Piece {
    const fn touches(&self, id: usize) -> bool {
        match self {
            Self::Write(of, ..) | Self::SetLen(of, _) => *of == id,
        }
    }

    fn apply(&self, files: &mut [Vec<u8>]) {
        match self {
            Self::Write(id, offset, bytes) => write_into(&mut files[*id], *offset, bytes),
            Self::SetLen(id, length) => files[*id].resize(*length, 0),
        }
    }
}

fn apply_name(names: &mut BTreeMap<String, usize>, op: &Op) {
    match op {
        Op::Create(name, id) => drop(names.insert(name.clone(), *id)),
        Op::Rename(from, to) => {
            if let Some(id) = names.remove(from) {
                names.insert(to.clone(), id);
            }
        }
        Op::Unlink(name) => drop(names.remove(name)),
        _ => {}
    }
}

/// Repeatable random numbers.
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 29) ^ (self.0 >> 45)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// What a journal holds, as the plainest model of it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Model {
    pub hard_state: HardState,
    pub peers: Vec<KnownPeer>,
    pub purged: LogId,
    pub entries: Vec<Entry>,
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let hard = self.hard_state;
        write!(f, "{}:{:?} {} peers, after {}:", hard.term, hard.vote, self.peers.len(), self.purged)?;
        self.entries.iter().try_for_each(|entry| write!(f, " {}({})", entry.id, entry.data.len()))
    }
}

impl Model {
    /// Of a new journal.
    pub fn new(initial: Option<&Membership>) -> Self {
        let id = LogId::new(0, 1);
        let entry = |m: &Membership| Entry { id, kind: EntryKind::Membership, data: m.encode() };
        Self { entries: initial.map(entry).into_iter().collect(), ..Self::default() }
    }

    pub fn last(&self) -> LogId {
        self.entries.last().map_or(self.purged, |entry| entry.id)
    }

    pub fn write(&mut self, write: &JournalWrite) {
        self.write_meta(write);
        if let Some(from) = write.truncate_from {
            self.entries.retain(|entry| entry.id.index < from);
        }
        self.entries.extend(write.entries.iter().cloned());
    }

    pub fn write_meta(&mut self, write: &JournalWrite) {
        self.hard_state = write.hard_state.unwrap_or(self.hard_state);
        if let Some(peers) = &write.known_peers {
            self.peers.clone_from(peers);
        }
    }

    pub fn purge(&mut self, upto: LogId) {
        self.purged = upto;
        self.entries.retain(|entry| entry.id.index > upto.index);
    }

    pub fn reset(&mut self, to: LogId) {
        self.purged = to;
        self.entries.clear();
    }

    /// What a store holds, by what it says and what its reader gives; the two must agree.
    pub fn of(store: &Store) -> Self {
        let state = store.load().unwrap();
        let (from, to) = (state.purged.index.next(), state.last.index.next());
        let entries = store.reader().entries(from..to, u64::MAX).unwrap();
        let model = Self {
            hard_state: state.hard_state,
            peers: state.known_peers.clone(),
            purged: state.purged,
            entries,
        };
        model.check(&state);
        model
    }

    fn check(&self, state: &JournalState) {
        assert_eq!(self.last(), state.last);
        let mut terms: Vec<(Index, Term)> = Vec::new();
        for (entry, index) in self.entries.iter().zip(self.purged.index.0 + 1..) {
            assert_eq!(entry.id.index.0, index);
            if terms.last().is_none_or(|(_, term)| *term != entry.id.term) {
                terms.push((entry.id.index, entry.id.term));
            }
        }
        assert_eq!(state.terms, terms);
        let memberships = self.entries.iter().filter(|entry| entry.kind == EntryKind::Membership);
        assert_eq!(state.memberships, memberships.cloned().collect::<Vec<_>>());
    }
}

/// The smallest segments, so that a few writes fill one.
pub fn options() -> Options {
    Options::default().segment_bytes(4 * 4096)
}

pub fn voters(count: u64) -> Membership {
    Membership::of_voters((1..=count).map(|id| Member::new(NodeId(id), format!("host:{id}")))).unwrap()
}

pub fn create(vfs: &MemVfs, initial: Option<&Membership>, options: Options) -> Result<Store, OpenError> {
    Store::create(Arc::new(vfs.clone()), OWNER, initial, options, 0x1234_5678)
}

pub fn open(vfs: &MemVfs, options: Options) -> Result<Store, OpenError> {
    // The seed differs from opening to opening, as it does in life.
    let seed = u128::from(vfs.op_count() as u64 + 1) * 0x9e37_79b9_7f4a_7c15;
    Store::open(Arc::new(vfs.clone()), OWNER, options, seed)
}

pub fn entry(term: u64, index: u64, data: impl Into<Bytes>) -> Entry {
    Entry { id: LogId::new(term, index), kind: EntryKind::Commands, data: data.into() }
}

/// Data without a zero byte, so that no sector of it looks missing.
pub fn data(seed: u64, length: usize) -> Bytes {
    (0..length as u64).map(|n| ((seed * 31 + n * 7) % 251) as u8 + 1).collect::<Vec<_>>().into()
}

pub fn append(entries: Vec<Entry>) -> JournalWrite {
    let mut write = JournalWrite::default();
    write.entries = entries;
    write
}

pub fn vote(term: u64, node: u64) -> HardState {
    HardState { term: Term(term), vote: Vote::For(NodeId(node)), probation: false }
}

pub fn peer(node: u64) -> KnownPeer {
    let incarnation = Incarnation { number: node, nonce: node * 3 };
    KnownPeer { node: NodeId(node), store: StoreId(node.into()), incarnation }
}
