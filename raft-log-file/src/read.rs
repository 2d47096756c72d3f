//! Reads entries while the journal is being written.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use raft_core::backend::{Corruption, JournalError, Verified};
use raft_core::entry::Entry;
use raft_core::ids::Index;

use crate::error::{cause, damage, damage_of};
use crate::index::{Log, Place, Stretch};
use crate::layout::{BLOCK, segment_name};
use crate::record::{self, Found, HEADER, Header, Mismatch, TABLE_ENTRY, TableEntry};
use crate::vfs;

/// Neighbouring batches are read with one call up to this size, in bytes.
const SPAN: u64 = 256 << 10;

/// A batch up to this size is read as a whole, in bytes.
const WHOLE: u64 = 256 << 10;

/// Reads the log of a [`Store`](crate::Store). Cheap to clone; outlives the store.
#[derive(Clone)]
pub struct LogReader {
    log: Arc<RwLock<Log>>,
    damage: Arc<Damage>,
}

/// Where reading has met damage: the last segment that has some, and one; 0 for none.
#[derive(Debug, Default)]
pub(crate) struct Damage(AtomicU64);

impl Damage {
    fn met(&self, seq: u64) {
        self.0.fetch_max(seq.saturating_add(1), Ordering::AcqRel);
    }

    /// Whether it was met in this segment or a later one.
    pub(crate) fn is_from(&self, seq: u64) -> bool {
        self.0.load(Ordering::Acquire) > seq
    }

    /// The log begins with this segment.
    pub(crate) fn dropped_before(&self, seq: u64) {
        let met = self.0.load(Ordering::Acquire);
        if met <= seq {
            let _ = self.0.compare_exchange(met, 0, Ordering::AcqRel, Ordering::Acquire);
        }
    }
}

/// Batches that lie next to each other in one segment.
struct Run {
    first: Place,
    places: Vec<Place>,
    bytes: u64,
}

impl LogReader {
    pub(crate) const fn new(log: Arc<RwLock<Log>>, damage: Arc<Damage>) -> Self {
        Self { log, damage }
    }

    /// Entries of `range` in order, from its start, as many as fit in `max_bytes` of data, at least one.
    /// Each is checked against its checksum, index and term. Never waits for a sync.
    ///
    /// # Errors
    /// [`JournalError::Compacted`], [`JournalError::OutOfRange`], [`JournalError::Corrupt`] or
    /// [`JournalError::Io`].
    pub fn entries(&self, range: Range<Index>, max_bytes: u64) -> Result<Vec<Entry>, JournalError> {
        let mut entries = Vec::new();
        let mut left = max_bytes;
        let mut next = range.start;
        while next < range.end {
            let Some((run, terms)) = self.plan(&(next..range.end), left)? else { break };
            let before = entries.len();
            let done = read_run(&run, &terms, &mut left, &mut entries);
            let full = done.inspect_err(|error| self.note(error, run.first.seq))?;
            next = Index(next.0 + (entries.len() - before) as u64);
            if full || entries.len() == before {
                break;
            }
        }
        Ok(entries)
    }

    /// Checks what is stored of `range`, from its start, about `max_bytes` of it and at least one batch: every byte of
    /// the batches, also of those between them that hold nothing of the log any more, as an opening does.
    ///
    /// # Errors
    /// Those of [`entries`](Self::entries).
    pub fn verify(&self, range: &Range<Index>, max_bytes: u64) -> Result<Verified, JournalError> {
        let log = self.log.read().unwrap_or_else(PoisonError::into_inner);
        check_range(&log, range)?;
        let Some(stretch) = log.stretch(range, max_bytes) else {
            return Ok(Verified { next: range.end, bytes: 0 });
        };
        drop(log);
        let seq = stretch.places.first().map_or(0, |place| place.seq);
        verify_stretch(&stretch).inspect_err(|error| self.note(error, seq))
    }

    fn note(&self, error: &JournalError, seq: u64) {
        if matches!(error, JournalError::Corrupt(_)) {
            self.damage.met(seq);
        }
    }

    /// Decides what to read next with one call: places, and the terms of their entries.
    #[expect(clippy::type_complexity, reason = "one use, and both halves are plain")]
    fn plan(
        &self,
        range: &Range<Index>,
        left: u64,
    ) -> Result<Option<(Run, Vec<(Index, raft_core::ids::Term)>)>, JournalError> {
        let log = self.log.read().unwrap_or_else(PoisonError::into_inner);
        check_range(&log, range)?;
        let mut places = log.places(range);
        let Some(first) = places.next() else { return Ok(None) };
        let mut run = Run { bytes: first.bytes, places: vec![first.clone()], first };
        for place in places {
            let together = place.seq == run.first.seq && place.offset == run.first.offset + run.bytes;
            if !together || run.bytes + place.bytes > SPAN || run.bytes > left {
                break;
            }
            run.bytes += place.bytes;
            run.places.push(place);
        }
        let end = run.places.last().map_or(range.end.0, |place| place.wanted.end);
        let from = log.terms().partition_point(|(first, _)| *first <= range.start).saturating_sub(1);
        let to = log.terms().partition_point(|(first, _)| first.0 < end);
        Ok(Some((run, log.terms().get(from..to).unwrap_or_default().to_vec())))
    }
}

fn check_range(log: &Log, range: &Range<Index>) -> Result<(), JournalError> {
    if range.start <= log.purged.index {
        return Err(JournalError::Compacted { purged: log.purged });
    }
    if range.end > log.last.index.next() {
        return Err(JournalError::OutOfRange { last: log.last.index });
    }
    Ok(())
}

/// Goes from batch to batch. Each has the number and the chain value that follow the one before; the first is taken at
/// its word. What is wrong where no entry of the range is counts as damage of the entry before it, or of the first.
fn verify_stretch(stretch: &Stretch) -> Result<Verified, JournalError> {
    let Some(first) = stretch.places.first() else { return Ok(Verified { next: Index(u64::MAX), bytes: 0 }) };
    let mut places = stretch.places.iter().peekable();
    let (mut at, mut before, mut expected) = (stretch.from, None::<&Place>, None);
    while at < stretch.to {
        let here = places.next_if(|place| place.offset == at);
        let nearby = || match (here, before) {
            (Some(place), _) => broken(place, "a batch"),
            (None, Some(before)) => beside(before, before.wanted.end.saturating_sub(1), at),
            (None, None) => beside(first, first.wanted.start, at),
        };
        let head = read_some(first, at, HEADER as u64)?;
        let header = Header::decode(&head, first.seed, at).ok_or_else(nearby)?;
        let bytes = header.extent().map(|extent| extent.next_multiple_of(BLOCK) as u64).ok_or_else(nearby)?;
        // A length that is as it was written ends before the next batch that is known.
        let limit = places.peek().map_or(stretch.to, |next| next.offset);
        if bytes > limit.saturating_sub(at) {
            return Err(nearby());
        }
        let whole = read_some(first, at, bytes)?;
        let (batch, chain) = expected.unwrap_or((header.batch, header.prev_chain));
        let Found::Batch(found) = record::decode(&whole, first.seed, at, batch, chain) else {
            return Err(nearby());
        };
        if here.is_some_and(|place| header.first_index != place.first || found.total != place.bytes) {
            return Err(nearby());
        }
        expected = Some((batch + 1, found.chain));
        at += found.total;
        before = here.or(before);
    }
    let next = stretch.places.last().map_or(first.wanted.end, |last| last.wanted.end);
    Ok(Verified { next: Index(next), bytes: at - stretch.from })
}

/// Damage in what lies beside entry `index`, at `offset` of the segment.
fn beside(place: &Place, index: u64, offset: u64) -> JournalError {
    let found = damage(&segment_name(place.seq), offset, "a batch without entries is not as written");
    JournalError::Corrupt(damage_of(found, index, index + 1))
}

/// Reads a run; says whether the limit was reached.
fn read_run(
    run: &Run,
    terms: &[(Index, raft_core::ids::Term)],
    left: &mut u64,
    entries: &mut Vec<Entry>,
) -> Result<bool, JournalError> {
    let whole = run.places.len() > 1 || run.bytes <= WHOLE;
    // The pad after the last batch may be missing without harm.
    let bytes = if whole { read_some(&run.first, run.first.offset, run.bytes)? } else { Bytes::new() };
    let mut at = 0_usize;
    for place in &run.places {
        let size = usize::try_from(place.bytes).unwrap_or(usize::MAX);
        let end = at.saturating_add(size).min(bytes.len());
        let batch = slice(&bytes, at, end.saturating_sub(at)).ok_or_else(|| short(place))?;
        at = end;
        if read_batch(place, whole.then_some(batch), terms, left, entries)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Reads the wanted entries of one batch; says whether the limit was reached.
fn read_batch(
    place: &Place,
    whole: Option<Bytes>,
    terms: &[(Index, raft_core::ids::Term)],
    left: &mut u64,
    entries: &mut Vec<Entry>,
) -> Result<bool, JournalError> {
    let to_usize = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
    let count = to_usize(place.wanted.end - place.first);
    // Of the table no more than the wanted entries' records is needed, but all of it tells where the
    // payloads begin: the header has the count.
    let head = match &whole {
        Some(bytes) => bytes.clone(),
        None => read(place, place.offset, HEADER as u64)?,
    };
    let header =
        Header::decode(&head, place.seed, place.offset).ok_or_else(|| broken(place, "its header"))?;
    if header.first_index != place.first || (header.count as usize) < count {
        return Err(broken(place, "its header"));
    }
    let table_bytes = header.count as usize * TABLE_ENTRY;
    let table = match &whole {
        Some(bytes) => slice(bytes, HEADER, table_bytes).ok_or_else(|| short(place))?,
        None => read(place, place.offset + HEADER as u64, table_bytes as u64)?,
    };
    // Which entries: from the first wanted one as far as the limit goes.
    let mut start = HEADER + table_bytes;
    let mut wanted = Vec::new();
    let mut bytes = 0_usize;
    let mut full = false;
    for (n, index) in (0..count).zip(place.first..) {
        let entry = TableEntry::read(&table, n);
        if index < place.wanted.start {
            start = start.saturating_add(entry.length);
            continue;
        }
        if entry.length as u64 > *left && !(entries.is_empty() && wanted.is_empty()) {
            full = true;
            break;
        }
        *left = left.saturating_sub(entry.length as u64);
        bytes = bytes.saturating_add(entry.length);
        wanted.push((index, entry));
        if *left == 0 {
            full = true;
            break;
        }
    }
    if start.saturating_add(bytes) > to_usize(place.bytes) {
        return Err(broken(place, "its table"));
    }
    let data = match &whole {
        Some(batch) => slice(batch, start, bytes).ok_or_else(|| short(place))?,
        None => read(place, place.offset + start as u64, bytes as u64)?,
    };
    let mut at = 0;
    for (index, entry) in wanted {
        let payload = slice(&data, at, entry.length).ok_or_else(|| short(place))?;
        at += entry.length;
        let found = entry.verify(place.seed, place.offset, index, payload).map_err(|mismatch| {
            let what = match mismatch {
                Mismatch::Damaged => "the checksum of entry",
                Mismatch::UnknownKind => "the kind of entry",
            };
            JournalError::Corrupt(damage_of(damage_at(place, &format!("{what} {index}")), index, index + 1))
        })?;
        let run = terms.partition_point(|(first, _)| first.0 <= index).saturating_sub(1);
        if terms.get(run).is_none_or(|(_, term)| *term != found.id.term) {
            return Err(JournalError::Corrupt(damage_of(damage_at(place, "the term"), index, index + 1)));
        }
        entries.push(found);
    }
    Ok(full)
}

/// Bytes `at..at + length`. An empty slice does not keep the rest alive.
fn slice(bytes: &Bytes, at: usize, length: usize) -> Option<Bytes> {
    let end = at.checked_add(length).filter(|end| *end <= bytes.len())?;
    Some(if length == 0 { Bytes::new() } else { bytes.slice(at..end) })
}

fn read(place: &Place, offset: u64, bytes: u64) -> Result<Bytes, JournalError> {
    let found = read_some(place, offset, bytes)?;
    if (found.len() as u64) < bytes { Err(short(place)) } else { Ok(found) }
}

/// Reads as far as the file goes.
fn read_some(place: &Place, offset: u64, bytes: u64) -> Result<Bytes, JournalError> {
    let mut buffer = vec![0; usize::try_from(bytes).map_err(|_| broken(place, "its size"))?];
    let filled = vfs::read_full_at(&*place.file, &mut buffer, offset).map_err(|error| JournalError::Io {
        what: format!("read {} at {offset}", segment_name(place.seq)),
        cause: cause(&error),
    })?;
    buffer.truncate(filled);
    Ok(buffer.into())
}

fn damage_at(place: &Place, what: &str) -> Corruption {
    damage(&segment_name(place.seq), place.offset, format!("{what} is not as written"))
}

fn broken(place: &Place, what: &str) -> JournalError {
    JournalError::Corrupt(damage_of(damage_at(place, what), place.wanted.start, place.wanted.end))
}

fn short(place: &Place) -> JournalError {
    broken(place, "the length of the file")
}
