use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, ErrorKind, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use async_trait::async_trait;
use raft_core::backend::{
    Corruption, HardState, Journal, JournalError, JournalReader, JournalState, JournalWrite, Mismatch,
    OpenError, Verdict, Verified,
};
use raft_core::entry::{Entry, EntryKind};
use raft_core::ids::{ClusterId, GroupId, Identity, Incarnation, Index, KnownPeer, LogId, NodeId, StoreId};
use raft_core::membership::Membership;
use serde::{Deserialize, Serialize};

/// Hears which file or folder was synced.
pub type Hears = Box<dyn Fn(&Path) + Send + Sync>;

/// Faults to order, how often the disk was asked to sync, and who hears of each sync: for tests.
#[derive(Default)]
pub struct Faults {
    pub fail_next_sync: AtomicBool,
    pub full: AtomicBool,
    pub syncs: AtomicU64,
    pub synced: OnceLock<Hears>,
}

/// A record: the length of its body, the checksum of the length, the checksum of the body, the body.
/// As the length can be believed, a record that was cut can be told from one that is damaged.
fn record(value: &impl Serialize) -> io::Result<Vec<u8>> {
    let body = postcard::to_allocvec(value).map_err(io::Error::other)?;
    let length = (body.len() as u64).to_le_bytes();
    let (length_sum, body_sum) = (crc32c::crc32c(&length), crc32c::crc32c(&body));
    Ok([&length[..], &length_sum.to_le_bytes(), &body_sum.to_le_bytes(), &body].concat())
}

enum Parsed<T> {
    Value(T),
    Cut,
    Damaged,
}

/// Takes the next record off `bytes`.
fn parse<'a, T: Deserialize<'a>>(bytes: &mut &'a [u8]) -> Parsed<T> {
    let Some((head, rest)) = bytes.split_first_chunk::<16>() else { return Parsed::Cut };
    let (length, sums) = head.split_at(8);
    if crc32c::crc32c(length).to_le_bytes() != sums[..4] {
        return Parsed::Damaged;
    }
    let length = length.iter().rev().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
    let Some((body, rest)) = rest.split_at_checked(length) else { return Parsed::Cut };
    match postcard::from_bytes(body) {
        Ok(value) if crc32c::crc32c(body).to_le_bytes() == sums[4..] => {
            *bytes = rest;
            Parsed::Value(value)
        }
        _ => Parsed::Damaged,
    }
}

/// What is small and kept apart from the log, in a file that is replaced as a whole (J12, J17).
#[derive(Clone, Serialize, Deserialize)]
struct Meta {
    identity: Identity,
    hard_state: HardState,
    peers: Vec<KnownPeer>,
}

/// Where the log begins, and of which store it is: the first record of its file.
type Head = (StoreId, LogId);

/// A write, as one record: after a crash it is there as a whole or not at all (J2).
type Batch<'a> = (Option<Index>, Vec<(LogId, EntryKind, &'a [u8])>);

fn batch<'a>(truncate_from: Option<Index>, entries: impl IntoIterator<Item = &'a Entry>) -> Batch<'a> {
    (truncate_from, entries.into_iter().map(|entry| (entry.id, entry.kind, &entry.data[..])).collect())
}

/// The log in memory: what readers see. Locked while its file is written or verified, so that the two are the same.
#[derive(Default)]
struct Log {
    purged: LogId,
    entries: BTreeMap<Index, Entry>,
}

impl Log {
    fn last(&self) -> LogId {
        self.entries.last_key_value().map_or(self.purged, |(_, entry)| entry.id)
    }

    fn is_single_voter(&self, node: NodeId) -> bool {
        let mut all = self.entries.values().rev();
        let newest = all.find(|entry| entry.kind == EntryKind::Membership);
        let newest = newest.and_then(|entry| Membership::decode(&entry.data).ok());
        newest.is_some_and(|members| members.all_voters().eq([node]))
    }

    /// J4: what does not fit is refused before anything is changed.
    fn check(&self, truncate_from: Option<Index>, entries: &[Entry]) -> Result<(), JournalError> {
        let mut expected = self.last().index.next();
        if let Some(from) = truncate_from.filter(|from| *from < expected) {
            if from <= self.purged.index {
                return Err(JournalError::Refused { what: format!("truncate from {from}: it was purged") });
            }
            expected = from;
        }
        for entry in entries {
            if entry.id.index != expected {
                return Err(JournalError::Gap { expected, got: entry.id.index });
            }
            expected = expected.next();
        }
        Ok(())
    }

    fn apply(&mut self, truncate_from: Option<Index>, entries: Vec<Entry>) {
        if let Some(from) = truncate_from {
            self.entries.split_off(&from);
        }
        self.entries.extend(entries.into_iter().map(|entry| (entry.id.index, entry)));
    }

    /// Applies a record of the file, if it fits.
    fn replay(&mut self, (truncate_from, entries): &Batch<'_>) -> bool {
        let copy = |(id, kind, data): &(LogId, EntryKind, &[u8])| {
            let data = data.to_vec().into();
            Entry { id: *id, kind: *kind, data }
        };
        let entries: Vec<Entry> = entries.iter().map(copy).collect();
        let fits = self.check(*truncate_from, &entries).is_ok();
        if fits {
            self.apply(*truncate_from, entries);
        }
        fits
    }
}

fn lock(log: &Mutex<Log>) -> MutexGuard<'_, Log> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Syncs a file, or the names in a folder.
fn sync(file: &File, path: &Path, faults: &Faults) -> io::Result<()> {
    faults.syncs.fetch_add(1, Ordering::SeqCst);
    if faults.fail_next_sync.swap(false, Ordering::SeqCst) {
        return Err(io::Error::other("a sync that was told to fail"));
    }
    file.sync_all()?;
    faults.synced.get().into_iter().for_each(|hear| hear(path));
    Ok(())
}

fn sync_dir(dir: &Path, faults: &Faults) -> io::Result<()> {
    // Of a path of one name the parent is "", which the system does not know.
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    sync(&File::open(dir)?, dir, faults)
}

/// Makes a folder with its parents. Each that is new is durable when the one that it is in is synced.
fn create_dir(dir: &Path, faults: &Faults) -> io::Result<()> {
    let missing: Vec<&Path> = dir.ancestors().take_while(|dir| !dir.exists()).collect();
    fs::create_dir_all(dir)?;
    missing.into_iter().filter_map(Path::parent).try_for_each(|parent| sync_dir(parent, faults))
}

/// Puts a file in place of another one, as a whole: its bytes are synced before its name, and then that.
fn replace(dir: &Path, name: &str, bytes: &[u8], faults: &Faults) -> io::Result<File> {
    let new = dir.join(format!("{name}.new"));
    let mut file = File::create(&new)?;
    file.write_all(bytes)?;
    sync(&file, &new, faults)?;
    fs::rename(new, dir.join(name))?;
    sync_dir(dir, faults)?;
    Ok(file)
}

fn failed(error: io::Error) -> OpenError {
    OpenError::Io { what: "open the journal".into(), cause: error.to_string().into() }
}

fn damaged(place: &str) -> OpenError {
    let reason = "no valid record".into();
    OpenError::Corrupt(Corruption { range: None, place: place.into(), offset: 0, reason })
}

/// Whose folder it is (J11). Ends the lock by itself when it is dropped: a process that is being started has
/// the file open as well, until it runs its own program.
struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}

fn take_lock(dir: &Path) -> Result<Lock, OpenError> {
    let file = File::options().create(true).truncate(false).write(true).open(dir.join("LOCK"));
    let file = file.map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(Lock(file)),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked { by: None }),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// The log and hard state of one node, in a folder: the files `meta`, `log` and `LOCK`.
pub struct CustomJournal {
    dir: PathBuf,
    _lock: Lock,
    file: File,
    meta: Meta,
    log: Arc<Mutex<Log>>,
    verdict: Verdict,
    poisoned: Option<Arc<str>>,
    faults: Arc<Faults>,
}

impl CustomJournal {
    /// A new journal. `initial` becomes entry 0.1.
    pub fn create(
        dir: &Path,
        (cluster, group, node): (ClusterId, GroupId, NodeId),
        initial: Option<&Membership>,
        faults: Arc<Faults>,
    ) -> Result<Self, OpenError> {
        create_dir(dir, &faults).map_err(failed)?;
        let lock = take_lock(dir)?;
        if dir.join("meta").exists() {
            return Err(OpenError::AlreadyExists);
        }
        let random = || RandomState::new().hash_one(0);
        let store = StoreId(u128::from(random()) << 64 | u128::from(random()));
        let incarnation = Incarnation { number: 1, nonce: random() };
        let identity = Identity { cluster, group, node, store, incarnation };
        let meta = Meta { identity, hard_state: HardState::default(), peers: Vec::new() };
        let kind = EntryKind::Membership;
        let first = initial.map(|members| Entry { id: LogId::new(0, 1), kind, data: members.encode() });
        let mut log = Log::default();
        log.apply(None, first.into_iter().collect());
        let make = || {
            let head: Head = (store, LogId::ZERO);
            let bytes = [record(&head)?, record(&batch(None, log.entries.values()))?].concat();
            let file = replace(dir, "log", &bytes, &faults)?;
            // From this file on there is a journal: it comes last.
            replace(dir, "meta", &record(&meta)?, &faults).map(|_| file)
        };
        let file = make().map_err(failed)?;
        let (dir, log, verdict) = (dir.to_path_buf(), Arc::new(Mutex::new(log)), Verdict::Clean);
        Ok(Self { dir, _lock: lock, file, meta, log, verdict, poisoned: None, faults })
    }

    /// Opens the journal that is there.
    pub fn open(
        dir: &Path,
        (cluster, group, node): (ClusterId, GroupId, NodeId),
        faults: Arc<Faults>,
    ) -> Result<Self, OpenError> {
        // Before the lock, which is a file: opening creates nothing (J12).
        if !dir.join("meta").exists() {
            return Err(OpenError::NotInitialised);
        }
        let lock = take_lock(dir)?;
        let bytes = fs::read(dir.join("meta")).map_err(failed)?;
        let Parsed::Value::<Meta>(mut meta) = parse(&mut &bytes[..]) else { return Err(damaged("meta")) };
        let found = meta.identity;
        if found.cluster != cluster {
            return Err(Mismatch::Cluster { found: found.cluster, expected: cluster }.into());
        } else if found.node != node {
            return Err(Mismatch::Node { found: found.node, expected: node }.into());
        } else if found.group != group {
            return Err(Mismatch::Group { found: found.group, expected: group }.into());
        }

        let bytes = fs::read(dir.join("log")).map_err(failed)?;
        let mut rest = &bytes[..];
        let purged = match parse::<Head>(&mut rest) {
            Parsed::Value((store, purged)) if store == found.store => purged,
            _ => return Err(damaged("log")),
        };
        let (mut log, mut verdict) = (Log { purged, entries: BTreeMap::new() }, Verdict::Clean);
        let mut end = bytes.len() - rest.len();
        while !rest.is_empty() && verdict == Verdict::Clean {
            let from = log.last().index.next();
            match parse::<Batch<'_>>(&mut rest) {
                Parsed::Value(batch) if log.replay(&batch) => end = bytes.len() - rest.len(),
                // The last write has not come to its end, and nobody was told that it had.
                Parsed::Cut => verdict = Verdict::TornTail { discarded_from: from },
                // What was acknowledged may be lost: the node must know it (J10), and must not vote. Who is
                // alone has nobody to fetch it from.
                Parsed::Value(_) | Parsed::Damaged if log.is_single_voter(node) => {
                    return Err(damaged("log"));
                }
                Parsed::Value(_) | Parsed::Damaged => {
                    verdict = Verdict::SuspectTail { from };
                    meta.hard_state.probation = true;
                }
            }
        }
        let number = found.incarnation.number.saturating_add(1);
        meta.identity.incarnation = Incarnation { number, nonce: RandomState::new().hash_one(number) };
        let settle = || {
            // The loss is noted before the log is cut: else a crash between the two would hide it.
            replace(dir, "meta", &record(&meta)?, &faults)?;
            // The damaged bytes are for people to look at, and to remove (J10).
            if matches!(verdict, Verdict::SuspectTail { .. }) {
                replace(dir, &format!("evidence-{number}"), &bytes, &faults)?;
            }
            // All that is kept is written anew. What a failed sync has left can be read from the system's
            // memory, but a later sync does not write it (J8).
            replace(dir, "log", &bytes[..end], &faults)
        };
        let file = settle().map_err(failed)?;
        let (dir, log) = (dir.to_path_buf(), Arc::new(Mutex::new(log)));
        Ok(Self { dir, _lock: lock, file, meta, log, verdict, poisoned: None, faults })
    }

    /// Works on the files. After an error nothing is tried on them again (J8).
    fn attempt(
        &mut self,
        needed: u64,
        work: impl FnOnce(&mut Self) -> io::Result<()>,
    ) -> Result<(), JournalError> {
        if let Some(cause) = &self.poisoned {
            return Err(JournalError::Poisoned { cause: Arc::clone(cause) });
        }
        work(self).map_err(|error| {
            let cause: Arc<str> = error.to_string().into();
            self.poisoned = Some(Arc::clone(&cause));
            match error.kind() {
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => JournalError::NoSpace { needed },
                _ => JournalError::Io { what: "write to the journal".into(), cause },
            }
        })
    }

    /// A new file in place of the log's, which begins after `purged` (J6, J7).
    fn rewrite(&mut self, purged: LogId, entries: BTreeMap<Index, Entry>) -> Result<(), JournalError> {
        self.attempt(0, |journal| {
            let head: Head = (journal.meta.identity.store, purged);
            let bytes = [record(&head)?, record(&batch(None, entries.values()))?].concat();
            let mut log = lock(&journal.log);
            journal.file = replace(&journal.dir, "log", &bytes, &journal.faults)?;
            *log = Log { purged, entries };
            Ok(())
        })
    }
}

// These block the thread that they are polled on. So a write whose future is dropped was done to its end,
// or not begun (J13).
#[async_trait]
impl Journal for CustomJournal {
    async fn load(&mut self) -> Result<JournalState, JournalError> {
        let mut state = JournalState::empty(self.meta.identity);
        let log = lock(&self.log);
        state.verdict = self.verdict.clone();
        state.hard_state = self.meta.hard_state;
        state.known_peers.clone_from(&self.meta.peers);
        (state.purged, state.last) = (log.purged, log.last());
        for entry in log.entries.values() {
            if state.terms.last().is_none_or(|(_, term)| *term != entry.id.term) {
                state.terms.push((entry.id.index, entry.id.term));
            }
            if entry.kind == EntryKind::Membership {
                state.memberships.push(entry.clone());
            }
        }
        Ok(state)
    }

    async fn write(&mut self, write: JournalWrite) -> Result<(), JournalError> {
        let JournalWrite { hard_state, known_peers, truncate_from, entries, .. } = write;
        lock(&self.log).check(truncate_from, &entries)?;
        self.attempt(entries.iter().map(|entry| entry.data.len() as u64).sum(), |journal| {
            // The hard state first (J2).
            if hard_state.is_some() || known_peers.is_some() {
                let mut meta = journal.meta.clone();
                meta.hard_state = hard_state.unwrap_or(meta.hard_state);
                meta.peers = known_peers.unwrap_or(meta.peers);
                replace(&journal.dir, "meta", &record(&meta)?, &journal.faults)?;
                journal.meta = meta;
            }
            if truncate_from.is_some() || !entries.is_empty() {
                if journal.faults.full.load(Ordering::SeqCst) {
                    return Err(ErrorKind::StorageFull.into());
                }
                // Only what is durable is seen (J5).
                let mut log = lock(&journal.log);
                journal.file.write_all(&record(&batch(truncate_from, &entries))?)?;
                sync(&journal.file, &journal.dir.join("log"), &journal.faults)?;
                log.apply(truncate_from, entries.to_vec());
            }
            Ok(())
        })
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), JournalError> {
        let mut entries = {
            let log = lock(&self.log);
            if log.purged != upto && log.entries.get(&upto.index).is_none_or(|entry| entry.id != upto) {
                return Err(JournalError::Refused { what: format!("purge {upto}: it is not in the log") });
            }
            log.entries.clone()
        };
        self.rewrite(upto, entries.split_off(&upto.index.next()))
    }

    async fn reset(&mut self, to: LogId) -> Result<(), JournalError> {
        let purged = lock(&self.log).purged;
        if to.index < purged.index {
            return Err(JournalError::Refused { what: format!("reset to {to}: {purged} was purged") });
        }
        self.rewrite(to, BTreeMap::new())
    }

    fn reader(&self) -> Arc<dyn JournalReader> {
        Arc::new(View { log: Arc::clone(&self.log), path: self.dir.join("log") })
    }
}

struct View {
    log: Arc<Mutex<Log>>,
    path: PathBuf,
}

impl Log {
    fn read(&self, range: Range<Index>, max_bytes: u64) -> Result<Vec<Entry>, JournalError> {
        let (purged, last) = (self.purged, self.last().index);
        if range.is_empty() {
            return Ok(Vec::new());
        } else if range.start <= purged.index {
            return Err(JournalError::Compacted { purged });
        } else if range.end > last.next() {
            return Err(JournalError::OutOfRange { last });
        }
        let (mut entries, mut bytes) = (Vec::new(), 0u64);
        for entry in self.entries.range(range).map(|(_, entry)| entry) {
            bytes = bytes.saturating_add(entry.data.len() as u64);
            // At least one (J14).
            if bytes > max_bytes && !entries.is_empty() {
                break;
            }
            entries.push(entry.clone());
        }
        Ok(entries)
    }
}

#[async_trait]
impl JournalReader for View {
    async fn entries(&self, range: Range<Index>, max_bytes: u64) -> Result<Vec<Entry>, JournalError> {
        lock(&self.log).read(range, max_bytes)
    }

    /// What an opening would make of the file: memory proves nothing (J18). It reads all of it for any part, and nobody writes
    /// meanwhile.
    async fn verify(&self, range: Range<Index>, max_bytes: u64) -> Result<Verified, JournalError> {
        let log = lock(&self.log);
        let wanted = log.read(range.clone(), max_bytes)?;
        let bytes = fs::read(&self.path).map_err(|error| JournalError::Io {
            what: "read the journal".into(),
            cause: error.to_string().into(),
        })?;
        let (mut rest, mut stored) = (&bytes[..], Log::default());
        if let Parsed::Value::<Head>((_, purged)) = parse(&mut rest) {
            stored.purged = purged;
            while let Parsed::Value(batch) = parse::<Batch<'_>>(&mut rest)
                && stored.replay(&batch)
            {}
        }
        match wanted.iter().find(|entry| stored.entries.get(&entry.id.index) != Some(entry)) {
            Some(lost) => Err(JournalError::Corrupt(Corruption {
                range: Some(lost.id.index..range.end),
                place: "log".into(),
                offset: (bytes.len() - rest.len()) as u64,
                reason: "no valid record".into(),
            })),
            None => Ok(Verified {
                next: wanted.last().map_or(range.end, |last| last.id.index.next()),
                bytes: bytes.len() as u64,
            }),
        }
    }
}
