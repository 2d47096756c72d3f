//! The journal itself: synchronous, without threads, clocks or randomness of its own. A simulator can
//! run it over its own [`Vfs`].

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use raft_core::backend::{HardState, JournalError, JournalState, JournalWrite, OpenError, Verdict};
use raft_core::entry::Entry;
use raft_core::ids::{Identity, Index, KnownPeer, LogId, StoreId};
use raft_core::slots::{encode_hard_state, encode_peers};

use crate::error::{cause, damage};
use crate::hard_state::{Pair, Start, Super};
use crate::index::{Change, Log};
use crate::layout::{BLOCK_BYTES, segment_name};
use crate::options::{Durability, Options};
use crate::read::{Damage, LogReader};
use crate::record::{self, ENTRIES, Header, MARK, RESET, SEAL, Seed, TRUNCATE};
use crate::recover::Finding;
use crate::segment::{self, Origin, Ready, SegmentHeader};
use crate::spare::{Pace, Turn};
use crate::vfs::{self, Aligned, Vfs, VfsFile};

/// Random numbers from a seed, so that a run can be repeated (splitmix64).
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u128) -> Self {
        Self((seed as u64) ^ ((seed >> 64) as u64).rotate_left(32))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// The segment that batches are appended to.
pub(crate) struct Active {
    pub(crate) header: SegmentHeader,
    pub(crate) file: Arc<dyn VfsFile>,
    /// Where the next batch goes, in bytes.
    pub(crate) offset: u64,
}

impl Active {
    /// As the index knows it.
    pub(crate) fn place(&self) -> (u64, Seed, &Arc<dyn VfsFile>) {
        (self.header.seq, self.header.seed(), &self.file)
    }
}

/// The work of removing files that nobody needs any more. It may be done anywhere, while the store goes on, and not at
/// all: an error costs space only, and the next opening tries again.
pub(crate) struct RemovalJob {
    vfs: Arc<dyn Vfs>,
    names: Vec<String>,
    removed: Arc<AtomicU64>,
}

impl RemovalJob {
    pub(crate) const fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    pub(crate) fn run(self) {
        for name in &self.names {
            if self.vfs.unlink(name).is_ok() {
                self.removed.fetch_add(1, Ordering::AcqRel);
            }
        }
    }
}

/// The journal of one node over a [`Vfs`].
pub struct Store {
    pub(crate) vfs: Arc<dyn Vfs>,
    /// Held as long as the store lives.
    pub(crate) _lock: Box<dyn Send + Sync>,
    pub(crate) options: Options,
    pub(crate) random: Random,
    pub(crate) superblock: Super,
    pub(crate) super_pair: Pair,
    pub(crate) hard_state: HardState,
    pub(crate) hard_state_pair: Pair,
    pub(crate) peers: Vec<KnownPeer>,
    pub(crate) peers_pair: Pair,
    pub(crate) log: Arc<RwLock<Log>>,
    pub(crate) live: Vec<Start>,
    pub(crate) active: Active,
    pub(crate) max_seq: u64,
    pub(crate) spare: Option<Ready>,
    /// Somebody makes the next segment ready.
    pub(crate) making: Option<Arc<Pace>>,
    /// When somebody should.
    pub(crate) turn: Turn,
    /// The number of the next batch.
    pub(crate) batch: u64,
    pub(crate) chain: u64,
    /// All batches up to this one are durable.
    pub(crate) synced: u64,
    /// The highest batch that some written record says is durable.
    pub(crate) witnessed: u64,
    /// The last batch that is not a mark.
    pub(crate) content: u64,
    /// The last batch, if it is a mark that is not known durable: the next one brings it again.
    pub(crate) loose: Option<Vec<u8>>,
    pub(crate) commit_hint: Index,
    pub(crate) buffer: Aligned,
    /// What reading has met since the opening.
    pub(crate) damage: Arc<Damage>,
    pub(crate) failed: Option<Arc<str>>,
    pub(crate) verdict: Verdict,
    pub(crate) findings: Vec<Finding>,
}

/// A buffer that has grown beyond this is given back after the write, in bytes.
const BUFFER_LIMIT: usize = 8 << 20;

/// So much of the log is written anew at most where damage has to be left behind, in bytes.
const ANEW_LIMIT: u64 = 64 << 20;

/// What a write does to the log.
struct Plan {
    first: u64,
    flags: u32,
}

/// A batch that was written to the active segment.
struct Appended {
    header: Header,
    /// Where it is there, in bytes.
    offset: u64,
    /// Its size.
    bytes: u64,
}

impl Store {
    /// Whose journal this is, with this opening's incarnation.
    #[must_use]
    pub const fn identity(&self) -> Identity {
        self.superblock.identity
    }

    pub(crate) const fn options(&self) -> &Options {
        &self.options
    }

    /// How many batches were ever written.
    pub(crate) const fn batches(&self) -> u64 {
        self.batch
    }

    /// What opening has found beside its verdict: damage that was repaired, or that touches nothing.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// What a node needs to start.
    ///
    /// # Errors
    /// [`JournalError::Poisoned`] after a failed write.
    pub fn load(&self) -> Result<JournalState, JournalError> {
        self.check()?;
        let log = self.log.read().unwrap_or_else(PoisonError::into_inner);
        let mut state = JournalState::empty(self.identity());
        state.verdict = self.verdict.clone();
        state.hard_state = self.hard_state;
        state.known_peers = self.peers.clone();
        state.purged = log.purged;
        state.last = log.last;
        state.terms = log.terms().to_vec();
        state.memberships = log.memberships().to_vec();
        state.commit_hint = self.commit_hint;
        Ok(state)
    }

    /// A reader of the log as it is at each call.
    #[must_use]
    pub fn reader(&self) -> LogReader {
        LogReader::new(Arc::clone(&self.log), Arc::clone(&self.damage))
    }

    /// Writes, and with [`Durability::Always`] makes durable: hard state, known peers, then truncation
    /// and entries as one batch.
    ///
    /// # Errors
    /// [`JournalError`]. After anything but `Gap`, `Refused` and `NoSpace` for lack of a segment, every
    /// later write fails.
    pub fn write(&mut self, write: &JournalWrite) -> Result<(), JournalError> {
        self.check()?;
        let plan = self.plan(write)?;
        let store = self.superblock.identity.store;
        let peers = write.known_peers.as_ref().filter(|peers| **peers != self.peers);
        let encoded = peers.map(|peers| encode_peers(store, peers));
        if encoded.as_ref().is_some_and(|encoded| !self.peers_pair.fits(encoded)) {
            return Err(refused("too many known peers"));
        }
        if let Some(state) = write.hard_state.filter(|state| *state != self.hard_state) {
            let done = self.hard_state_pair.write(&encode_hard_state(store, &state));
            self.poison_on_error("write the hard state", done)?;
            self.hard_state = state;
        }
        if let Some((peers, encoded)) = peers.zip(encoded) {
            let done = self.peers_pair.write(&encoded);
            self.poison_on_error("write the known peers", done)?;
            self.peers.clone_from(peers);
        }
        let Some(plan) = plan else { return Ok(()) };
        self.make_room(record::batch_bytes(&write.entries))?;
        // Only from here on: a seal before the batch would say it of entries that the batch replaces.
        self.commit_hint = self.commit_hint.max(write.commit_hint);
        let appended = self.append(plan.flags, plan.first, 0, &write.entries)?;
        if self.options.durability == Durability::Always {
            self.sync()?;
        }
        self.index(&appended, &write.entries);
        Ok(())
    }

    /// Checks that the write fits the log (J4).
    fn plan(&self, write: &JournalWrite) -> Result<Option<Plan>, JournalError> {
        let log = self.log.read().unwrap_or_else(PoisonError::into_inner);
        let mut expected = log.last.index.next();
        let mut flags = 0;
        if let Some(from) = write.truncate_from.filter(|from| *from < expected) {
            if from <= log.purged.index {
                return Err(refused(&format!(
                    "truncate from {from}: entries up to {} were purged",
                    log.purged
                )));
            }
            expected = from;
            flags |= TRUNCATE;
        }
        let first = expected.0;
        for entry in &write.entries {
            if entry.id.index != expected {
                return Err(JournalError::Gap { expected, got: entry.id.index });
            }
            if u32::try_from(entry.data.len()).is_err() {
                return Err(refused(&format!("entry {} has more than 4 GiB", entry.id)));
            }
            expected = expected.next();
            flags |= ENTRIES;
        }
        if u32::try_from(write.entries.len()).is_err() {
            return Err(refused("too many entries"));
        }
        Ok((flags != 0).then_some(Plan { first, flags }))
    }

    /// Drops entries up to and including `upto` (J6).
    ///
    /// # Errors
    /// [`JournalError`]; after anything but `Refused` every later write fails.
    pub fn purge(&mut self, upto: LogId) -> Result<(), JournalError> {
        self.begin_purge(upto).map(RemovalJob::run)
    }

    /// The same, but for the files: to remove many large ones takes a while, and nobody needs to wait for that.
    pub(crate) fn begin_purge(&mut self, upto: LogId) -> Result<RemovalJob, JournalError> {
        self.check()?;
        let log = self.log.read().unwrap_or_else(PoisonError::into_inner);
        if log.term_of(upto.index) != Some(upto.term) {
            return Err(refused(&format!("purge up to {upto}: it is not in the log")));
        }
        if upto == log.purged {
            drop(log);
            return Ok(self.removal_job());
        }
        drop(log);
        let first = self.first_kept(upto);
        // The floor holds from a batch on; those before it must not be in doubt.
        self.sync()?;
        let anew = if self.damage.is_from(first) { self.write_anew(upto)? } else { None };
        let first = anew.unwrap_or(first);
        let done = self.move_start(upto, first);
        self.poison_on_error("write the superblock", done)?;
        self.log.write().unwrap_or_else(PoisonError::into_inner).purge(upto);
        Ok(self.removal_job())
    }

    /// The number of the first segment that has something above `upto`.
    fn first_kept(&self, upto: LogId) -> u64 {
        let log = self.log.read().unwrap_or_else(PoisonError::into_inner);
        log.first_segment_above(upto.index).unwrap_or(self.active.header.seq)
    }

    /// Whether this purge may need a new segment: then a spare job under way must be waited for.
    pub(crate) fn purge_needs_segment(&self, upto: LogId) -> bool {
        self.damage.is_from(self.first_kept(upto))
    }

    /// Damage was met in a segment that the next opening would go through: what stays of the log is written once more,
    /// as one batch at the start of a new segment, and the log can begin there (J18). Until the superblock says so
    /// nothing has changed: the batch cuts the log where it begins and brings the same entries. Gives the new
    /// segment; `None` if what stays is damaged itself, or much, or finds no space: a later purge tries again.
    fn write_anew(&mut self, upto: LogId) -> Result<Option<u64>, JournalError> {
        let log = self.log.read().unwrap_or_else(PoisonError::into_inner);
        let range = upto.index.next()..log.last.index.next();
        let stored_bytes = log.stored_bytes(&range);
        drop(log);
        if stored_bytes > ANEW_LIMIT {
            return Ok(None);
        }
        let entries = if range.is_empty() {
            Vec::new()
        } else {
            // All of them: what is left out would be cut.
            let found = self.reader().entries(range.clone(), u64::MAX).ok();
            let whole = |entries: &Vec<Entry>| entries.len() as u64 == range.end.0 - range.start.0;
            let Some(entries) = found.filter(whole) else { return Ok(None) };
            entries
        };
        match self.next_segment(record::batch_bytes(&entries)) {
            Err(JournalError::NoSpace { .. }) if self.failed.is_none() => return Ok(None),
            other => other?,
        }
        if !entries.is_empty() {
            let first = range.start.0;
            let appended = self.append(ENTRIES | TRUNCATE, first, 0, &entries)?;
            self.sync()?;
            self.index(&appended, &entries);
        }
        Ok(Some(self.active.header.seq))
    }

    /// Brings the index up to date, once a batch in the active segment is as durable as was asked for.
    fn index(&self, appended: &Appended, entries: &[Entry]) {
        let Appended { header, offset, bytes } = appended;
        let change = Change { header, segment: self.active.place(), offset: *offset, bytes: *bytes };
        self.log.write().unwrap_or_else(PoisonError::into_inner).apply_entries(&change, entries);
    }

    /// Empties the log: it begins after `to` (J7).
    ///
    /// # Errors
    /// [`JournalError`]; after anything but `Refused` and `NoSpace` every later write fails.
    pub fn reset(&mut self, to: LogId) -> Result<(), JournalError> {
        self.check()?;
        let purged = self.log.read().unwrap_or_else(PoisonError::into_inner).purged;
        if to.index < purged.index {
            return Err(refused(&format!("reset to {to}: entries up to {purged} were purged")));
        }
        if self.damage.is_from(self.active.header.seq) {
            // The log is to begin behind it.
            self.next_segment(BLOCK_BYTES)?;
        } else {
            self.make_room(BLOCK_BYTES)?;
        }
        let appended = self.append(RESET, to.index.0, to.term.0, &[])?;
        self.sync()?;
        self.index(&appended, &[]);
        let done = self.move_start(to, self.active.header.seq);
        self.poison_on_error("write the superblock", done)?;
        self.removal_job().run();
        Ok(())
    }

    /// Makes a new floor and first segment durable.
    fn move_start(&mut self, floor: LogId, first: u64) -> io::Result<()> {
        let start = self.live.iter().find(|start| start.seq == first).copied();
        let mut changed = self.superblock;
        changed.floor = floor;
        changed.floor_batch = self.batch;
        changed.start = start.unwrap_or(changed.start);
        changed.witness = changed.witness.max(self.synced);
        self.super_pair.write(&changed.encode())?;
        self.superblock = changed;
        self.damage.dropped_before(changed.start.seq);
        Ok(())
    }

    /// The work of removing the segments before the first.
    fn removal_job(&mut self) -> RemovalJob {
        let first = self.superblock.start.seq;
        let old = self.live.iter().take_while(|start| start.seq != first).count();
        let old = if old == self.live.len() { 0 } else { old };
        let names = self.live.drain(..old).map(|start| segment_name(start.seq)).collect();
        RemovalJob { vfs: Arc::clone(&self.vfs), names, removed: self.turn.removed() }
    }

    /// Whether something was written that is not durable yet.
    #[must_use]
    pub const fn is_dirty(&self) -> bool {
        self.failed.is_none() && self.synced + 1 < self.batch
    }

    /// Makes everything durable.
    ///
    /// # Errors
    /// [`JournalError`]; every later write fails.
    pub fn sync(&mut self) -> Result<(), JournalError> {
        self.check()?;
        if self.is_dirty() {
            let done = self.active.file.sync_data();
            self.poison_on_error("sync a segment", done)?;
            self.synced = self.batch - 1;
            self.loose = None;
        }
        Ok(())
    }

    /// Whether a mark would prove more batches durable.
    #[must_use]
    pub const fn needs_mark(&self) -> bool {
        self.failed.is_none() && self.witnessed < self.content && self.content <= self.synced
    }

    /// Writes a mark, without syncing it: a record that says what is durable. In a full segment the seal
    /// says it too, and the mark goes to the next one. Does nothing if it is on record already, or if a
    /// full disk has no room for another segment.
    ///
    /// # Errors
    /// [`JournalError`]; every later write fails.
    pub fn mark(&mut self) -> Result<(), JournalError> {
        self.check()?;
        if !self.needs_mark() {
            return Ok(());
        }
        match self.make_room(BLOCK_BYTES) {
            // Nothing was begun. The next write says that the disk is full, and is the witness if it is not.
            Err(JournalError::NoSpace { .. }) if self.failed.is_none() => {
                self.witnessed = self.content;
                Ok(())
            }
            Err(error) => Err(error),
            Ok(()) => self.append(MARK, 0, 0, &[]).map(drop),
        }
    }

    /// Whether a mark needs a new segment: then a spare job under way must be waited for.
    pub(crate) const fn mark_needs_segment(&self) -> bool {
        self.needs_mark() && !self.fits(BLOCK_BYTES)
    }

    /// Marks and syncs: after this a crash leaves no doubt. For the end.
    ///
    /// # Errors
    /// [`JournalError`]; every later write fails.
    pub fn close(&mut self) -> Result<(), JournalError> {
        self.sync()?;
        self.mark()?;
        self.sync()
    }

    /// Whether this write needs a new segment: then a spare job under way must be waited for.
    #[must_use]
    pub fn needs_segment(&self, write: &JournalWrite) -> bool {
        !self.fits(record::batch_bytes(&write.entries))
    }

    const fn fits(&self, bytes: u64) -> bool {
        // There is always room for the seal.
        self.active.offset + bytes + BLOCK_BYTES <= self.active.header.size
    }

    pub(crate) fn next_header(&mut self, size: u64) -> SegmentHeader {
        self.max_seq += 1;
        SegmentHeader {
            store: self.superblock.identity.store,
            seq: self.max_seq,
            salt: self.random.next(),
            size,
            origin: Origin::Sealed,
            start: Start { seq: self.max_seq, ..Start::default() },
        }
    }

    /// Sees to it that a batch fits, in the next segment if need be.
    fn make_room(&mut self, bytes: u64) -> Result<(), JournalError> {
        if self.fits(bytes) { Ok(()) } else { self.next_segment(bytes) }
    }

    /// Goes on in the next segment, in which a batch of this size fits.
    fn next_segment(&mut self, bytes: u64) -> Result<(), JournalError> {
        let (suits, zeros) = self.suits();
        let size = self.options.segment_size().max(bytes + 2 * BLOCK_BYTES);
        let ready = match self.spare.take() {
            Some(spare) if spare.header.size >= size => spare,
            small => {
                if let Some(small) = small {
                    let _ = self.vfs.unlink(&segment_name(small.header.seq));
                }
                let header = self.next_header(size.max(suits));
                let mut made = segment::make(&*self.vfs, header, &[], zeros, None, None);
                if suits > size && made.as_ref().is_err_and(vfs::is_no_space) {
                    // There may be room for what is needed.
                    let header = self.next_header(size);
                    made = segment::make(&*self.vfs, header, &[], zeros, None, None);
                }
                match made {
                    Ok(ready) => ready,
                    // Nothing was begun: not a failure of the journal (J9).
                    Err(error) if vfs::is_no_space(&error) => {
                        return Err(JournalError::NoSpace { needed: size });
                    }
                    Err(error) => return Err(self.poison("make a segment", &error)),
                }
            }
        };
        self.append(SEAL, ready.header.seq, ready.header.salt, &[])?;
        self.sync()?;
        self.active.file.written();
        self.live.push(Start { seq: ready.header.seq, batch: self.batch, chain: self.chain });
        self.active = Active { header: ready.header, file: ready.file, offset: BLOCK_BYTES };
        self.turn.begin();
        // Who is at it makes one that would come before this one.
        if let Some(pace) = &self.making {
            pace.give_up();
        }
        Ok(())
    }

    /// Writes one batch with one call.
    ///
    /// A mark is not synced. If what follows were written behind it and the mark did not come to be where it
    /// belongs, that would be found as zeros before a whole batch, as a crash during this very write may leave
    /// them: an acknowledged batch would pass for torn. So this writes the mark again.
    fn append(
        &mut self,
        flags: u32,
        first: u64,
        term: u64,
        entries: &[Entry],
    ) -> Result<Appended, JournalError> {
        let header = Header {
            batch: self.batch,
            prev_chain: self.chain,
            witness: self.synced,
            commit_hint: self.commit_hint.0,
            hard_state: self.hard_state_pair.generation,
            first_index: first,
            term,
            flags,
            ..Header::default()
        };
        let offset = self.active.offset;
        let loose = self.loose.take().unwrap_or_default();
        let before = loose.len();
        let all = before + usize::try_from(record::batch_bytes(entries)).unwrap_or(0);
        let buffer = self.buffer.begin(all);
        buffer.extend(loose);
        let chain = record::encode(buffer, self.active.header.seed(), offset, header, entries);
        let bytes = (self.buffer.bytes().len() - before) as u64;
        let (file, at) = (&*self.active.file, offset - before as u64);
        let done = match self.options.durability {
            Durability::Always if flags & MARK == 0 => vfs::write_all_through(file, self.buffer.bytes(), at),
            _ => vfs::write_all_at(file, self.buffer.bytes(), at),
        };
        self.poison_on_error("write a batch", done)?;
        if flags & MARK != 0 {
            self.loose = Some(self.buffer.bytes().to_vec());
        }
        if self.buffer.capacity() > BUFFER_LIMIT {
            self.buffer = Aligned::default();
        }
        self.active.offset += bytes;
        if let Some(pace) = &self.making {
            pace.reached(self.active.offset);
        }
        self.chain = chain;
        self.witnessed = self.synced;
        if flags & MARK == 0 {
            self.content = self.batch;
        }
        self.batch += 1;
        Ok(Appended { header, offset, bytes })
    }

    fn check(&self) -> Result<(), JournalError> {
        self.failed.as_ref().map_or(Ok(()), |cause| Err(JournalError::Poisoned { cause: Arc::clone(cause) }))
    }

    /// The first error ends everything (J8): what is on disk is not known any more.
    fn poison(&mut self, what: &str, error: &io::Error) -> JournalError {
        let cause: Arc<str> = format!("{what}: {error}").into();
        self.failed = Some(Arc::clone(&cause));
        if vfs::is_no_space(error) {
            return JournalError::NoSpace { needed: self.buffer.bytes().len() as u64 };
        }
        JournalError::Poisoned { cause }
    }

    fn poison_on_error<T>(&mut self, what: &str, result: io::Result<T>) -> Result<T, JournalError> {
        result.map_err(|error| self.poison(what, &error))
    }
}

fn refused(what: &str) -> JournalError {
    JournalError::Refused { what: what.to_owned() }
}

/// What opening and creating share.
pub(crate) fn segment_error(error: &io::Error) -> OpenError {
    OpenError::Io { what: "make a segment".into(), cause: cause(error) }
}

/// A random store id.
pub(crate) fn store_id(random: &mut Random) -> StoreId {
    StoreId(u128::from(random.next()) << 64 | u128::from(random.next()))
}

/// Damage that cannot be lived with.
pub(crate) fn unusable(place: &str, reason: &str) -> OpenError {
    OpenError::Corrupt(damage(place, 0, reason))
}
