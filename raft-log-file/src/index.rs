//! What is known of the log without reading it: where each entry is, the terms, the memberships.

use std::ops::Range;
use std::sync::Arc;

use raft_core::entry::{Entry, EntryKind};
use raft_core::ids::{Index, LogId, Term};

use crate::layout::BLOCK_BYTES;
use crate::record::{ENTRIES, Header, RESET, Seed, TRUNCATE};
use crate::vfs::VfsFile;

/// Where the entries of one batch are: 16 bytes a batch.
#[derive(Clone, Copy, Debug)]
struct Ref {
    /// Its first index, from the segment's base.
    first: u32,
    /// Its position, in blocks.
    block: u32,
    /// Its size, in blocks.
    blocks: u32,
    /// How many of its entries are still part of the log, from its first.
    live: u32,
}

/// A segment that has entries of the log.
#[derive(Clone)]
struct Segment {
    seq: u64,
    seed: Seed,
    file: Arc<dyn VfsFile>,
    base: u64,
    refs: Vec<Ref>,
}

impl Segment {
    /// The index after the last live entry of a batch.
    fn end_of(&self, found: &Ref) -> u64 {
        self.base + u64::from(found.first) + u64::from(found.live)
    }

    /// The index after its last live entry; 0 if it has none.
    fn end(&self) -> u64 {
        self.refs.last().map_or(0, |found| self.end_of(found))
    }
}

/// Where to read a batch.
#[derive(Clone)]
pub(crate) struct Place {
    /// The segment's number.
    pub(crate) seq: u64,
    /// Its seed.
    pub(crate) seed: Seed,
    /// Its file.
    pub(crate) file: Arc<dyn VfsFile>,
    /// Where the batch begins, in bytes.
    pub(crate) offset: u64,
    /// Its size, in bytes.
    pub(crate) bytes: u64,
    /// Its first index.
    pub(crate) first: u64,
    /// The indices wanted of it.
    pub(crate) wanted: Range<u64>,
}

/// A part of a segment that holds entries of a range, from batch to batch, with all that lies between them.
pub(crate) struct Stretch {
    /// Where its batches with entries of the range are, in order.
    pub(crate) places: Vec<Place>,
    /// Where it begins, in bytes.
    pub(crate) from: u64,
    /// Where it ends: with the next batch, or with the last one of the segment.
    pub(crate) to: u64,
}

/// A batch, as the index must know it: what it does to the log, and where it is.
pub(crate) struct Change<'a> {
    /// What it does.
    pub(crate) header: &'a Header,
    /// The segment it is in: number, seed, file.
    pub(crate) segment: (u64, Seed, &'a Arc<dyn VfsFile>),
    /// Its position, in bytes.
    pub(crate) offset: u64,
    /// Its size, in bytes.
    pub(crate) bytes: u64,
}

/// A membership entry with data of its own: the log keeps it, and it may be a slice of something big.
pub(crate) fn kept(entry: &Entry) -> Entry {
    Entry { data: bytes::Bytes::copy_from_slice(&entry.data), ..*entry }
}

/// The index of a log.
#[derive(Clone, Default)]
pub(crate) struct Log {
    pub(crate) purged: LogId,
    pub(crate) last: LogId,
    terms: Vec<(Index, Term)>,
    memberships: Vec<Entry>,
    segments: Vec<Segment>,
}

impl Log {
    /// An empty log that begins after `purged`.
    pub(crate) fn after(purged: LogId) -> Self {
        Self { purged, last: purged, ..Self::default() }
    }

    /// The runs of terms.
    pub(crate) fn terms(&self) -> &[(Index, Term)] {
        &self.terms
    }

    /// The membership entries.
    pub(crate) fn memberships(&self) -> &[Entry] {
        &self.memberships
    }

    /// The term of an entry, or of the last purged one.
    pub(crate) fn term_of(&self, index: Index) -> Option<Term> {
        if index == self.purged.index {
            return Some(self.purged.term);
        }
        if index < self.purged.index || index > self.last.index {
            return None;
        }
        let run = self.terms.partition_point(|(first, _)| *first <= index).checked_sub(1)?;
        self.terms.get(run).map(|(_, term)| *term)
    }

    /// Forgets everything at and above `from`.
    pub(crate) fn truncate(&mut self, from: Index) {
        if from > self.last.index {
            return;
        }
        let keep = from.prev().max(self.purged.index);
        self.last = LogId { index: keep, term: self.term_of(keep).unwrap_or(self.purged.term) };
        let from = keep.next();
        self.terms.truncate(self.terms.partition_point(|(first, _)| *first < from));
        self.memberships.truncate(self.memberships.partition_point(|entry| entry.id.index < from));
        while let Some(segment) = self.segments.last_mut() {
            let limit = from.0.saturating_sub(segment.base);
            while segment.refs.pop_if(|found| u64::from(found.first) >= limit).is_some() {}
            if let Some(found) = segment.refs.last_mut() {
                let live = limit.saturating_sub(u64::from(found.first));
                found.live = found.live.min(u32::try_from(live).unwrap_or(u32::MAX));
                return;
            }
            self.segments.pop();
        }
    }

    /// Empties the log: it begins after `to`.
    pub(crate) fn reset(&mut self, to: LogId) {
        *self = Self::after(to);
    }

    /// Drops what is at and below `upto`. If the log ends before that, it is empty afterwards.
    pub(crate) fn purge(&mut self, upto: LogId) {
        if upto.index < self.purged.index {
            return;
        }
        if upto.index >= self.last.index {
            self.reset(upto);
            return;
        }
        // Also where nothing is dropped: a log that is being recovered may not know that entry's term.
        self.purged = upto;
        let first = upto.index.next();
        let run = self.terms.partition_point(|(start, _)| *start <= first).saturating_sub(1);
        self.terms.drain(..run);
        if let Some(run) = self.terms.first_mut() {
            run.0 = first;
        }
        self.memberships.drain(..self.memberships.partition_point(|entry| entry.id.index < first));
        self.segments.drain(..self.segments.partition_point(|segment| segment.end() <= first.0));
        if let Some(segment) = self.segments.first_mut() {
            let keep = segment.refs.partition_point(|found| segment.end_of(found) <= first.0);
            segment.refs.drain(..keep);
        }
    }

    /// The number of the first segment that has entries above `upto`.
    pub(crate) fn first_segment_above(&self, upto: Index) -> Option<u64> {
        let skip = self.segments.partition_point(|segment| segment.end() <= upto.0.saturating_add(1));
        self.segments.get(skip).map(|segment| segment.seq)
    }

    /// Does what a batch says, wherever that comes from: a write, an opening that writes it again, or a recovery that reads
    /// it. Whoever calls has checked that it fits. A mark and a seal do nothing.
    pub(crate) fn apply(
        &mut self,
        change: &Change<'_>,
        terms: impl Iterator<Item = Term>,
        memberships: impl Iterator<Item = Entry>,
    ) {
        let header = change.header;
        if header.has(RESET) {
            self.reset(LogId { term: Term(header.term), index: Index(header.first_index) });
        } else if header.has(ENTRIES | TRUNCATE) {
            self.append(change, terms);
            memberships.for_each(|entry| self.push_membership(entry));
        }
    }

    /// The same where the entries themselves are at hand.
    pub(crate) fn apply_entries(&mut self, change: &Change<'_>, entries: &[Entry]) {
        let memberships = entries.iter().filter(|entry| entry.kind == EntryKind::Membership).map(kept);
        self.apply(change, entries.iter().map(|entry| entry.id.term), memberships);
    }

    /// Appends the entries of a batch, by their terms, after cutting the log at the first.
    fn append(&mut self, change: &Change<'_>, terms: impl Iterator<Item = Term>) {
        let first = change.header.first_index;
        self.truncate(Index(first));
        let mut index = Index(first);
        for term in terms {
            if self.terms.last().is_none_or(|(_, last)| *last != term) {
                self.terms.push((index, term));
            }
            self.last = LogId { term, index };
            index = index.next();
        }
        let live = index.0 - first;
        if live == 0 {
            return;
        }
        let (seq, seed, file) = change.segment;
        if self.segments.last().is_none_or(|segment| segment.seq != seq) {
            let (file, base) = (Arc::clone(file), first);
            self.segments.push(Segment { seq, seed, file, base, refs: Vec::new() });
        }
        if let Some(segment) = self.segments.last_mut() {
            let small = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
            segment.refs.push(Ref {
                first: small(first - segment.base),
                block: small(change.offset / BLOCK_BYTES),
                blocks: small(change.bytes / BLOCK_BYTES),
                live: small(live),
            });
        }
    }

    /// Remembers a membership entry that was appended.
    fn push_membership(&mut self, entry: Entry) {
        self.memberships.push(entry);
    }

    /// The stretch that a range begins with, of about `max_bytes` but at least one batch. The range must lie in the log.
    pub(crate) fn stretch(&self, range: &Range<Index>, max_bytes: u64) -> Option<Stretch> {
        let mut all = self.places(range).peekable();
        let first = all.next()?;
        let segment = self.segments.iter().find(|segment| segment.seq == first.seq)?;
        let (seq, begins) = (first.seq, first.offset);
        let is_first =
            segment.refs.first().is_some_and(|found| u64::from(found.block) * BLOCK_BYTES == begins);
        // What lies before the first batch of a segment is read with that batch's first entry.
        let from = if is_first && first.first == first.wanted.start { BLOCK_BYTES } else { begins };
        let mut places = vec![first];
        while let Some(next) =
            all.next_if(|next| next.seq == seq && next.offset + next.bytes - begins <= max_bytes)
        {
            places.push(next);
        }
        let end = places.last().map_or(begins, |last| last.offset + last.bytes);
        let next =
            segment.refs.iter().map(|found| u64::from(found.block) * BLOCK_BYTES).find(|at| *at >= end);
        Some(Stretch { places, from, to: next.unwrap_or(end) })
    }

    /// How much the batches with entries of a range take, in bytes.
    pub(crate) fn stored_bytes(&self, range: &Range<Index>) -> u64 {
        self.places(range).map(|place| place.bytes).sum()
    }

    /// Where the entries of a range are, batch by batch. The range must lie in the log.
    pub(crate) fn places(&self, range: &Range<Index>) -> impl Iterator<Item = Place> + '_ {
        let (from, to) = (range.start.0, range.end.0);
        let skip = self.segments.partition_point(|segment| segment.end() <= from);
        let segments = self.segments.get(skip..).unwrap_or_default();
        let all = segments.iter().flat_map(move |segment| {
            let skip = segment.refs.partition_point(|found| segment.end_of(found) <= from);
            segment.refs.get(skip..).unwrap_or_default().iter().map(move |found| (segment, found))
        });
        all.map(move |(segment, found)| {
            let first = segment.base + u64::from(found.first);
            Place {
                seq: segment.seq,
                seed: segment.seed,
                file: Arc::clone(&segment.file),
                offset: u64::from(found.block) * BLOCK_BYTES,
                bytes: u64::from(found.blocks) * BLOCK_BYTES,
                first,
                wanted: first.max(from)..segment.end_of(found).min(to),
            }
        })
        .take_while(move |place| place.first < to)
    }
}
