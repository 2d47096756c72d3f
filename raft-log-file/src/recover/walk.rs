//! Walks over the batches in order, as far as they are sound, and judges where that ends.

use std::sync::Arc;

use raft_core::backend::OpenError;
use raft_core::entry::{Entry, EntryKind};
use raft_core::ids::{Index, LogId, Term};

use super::evidence::{Later, covered, from, strayed};
use super::window::Window;
use super::{Cut, Finding, Pending, SegmentFile, Segments};
use crate::cases::{Case, Observation, Policy, judge};
use crate::error::{Context, damage, damage_of};
use crate::hard_state::{Start, Super};
use crate::index::Log;
use crate::layout::{BLOCK, BLOCK_BYTES, VERSION, segment_name};
use crate::record::{self, Batch, ENTRIES, Found, Header, RESET, SEAL, TRUNCATE};
use crate::segment::{Origin, SegmentHeader};
use crate::vfs;

/// The walk over all batches in order.
pub(super) struct Walk<'a> {
    superblock: &'a Super,
    segments: &'a Segments,
    pub(super) log: Log,
    /// No batch has said yet where the log begins.
    fresh: bool,
    /// The floor is in force.
    floored: bool,
    pub(super) cut: Cut,
    /// Where the next batch is expected.
    at: Cut,
    /// The last index of the log with everything that is pending.
    last: u64,
    pub(super) pending: Vec<Pending>,
    pub(super) live: Vec<Start>,
    starts: Vec<Start>,
    pub(super) walked: Vec<u64>,
    pub(super) findings: Vec<Finding>,
    pub(super) doubt: Index,
    pub(super) hard_state: u64,
    pub(super) commit_hint: Index,
}

/// What a segment's walk led to.
enum Next {
    Segment(u64),
    End(Finding),
}

impl<'a> Walk<'a> {
    pub(super) fn new(superblock: &'a Super, segments: &'a Segments, findings: Vec<Finding>) -> Self {
        let Start { seq, batch, chain } = superblock.start;
        let at = Cut { seq, offset: BLOCK_BYTES, batch, chain };
        let mut walk = Self {
            superblock,
            segments,
            log: Log::default(),
            fresh: true,
            floored: false,
            cut: at,
            at,
            last: superblock.floor.index.0,
            pending: Vec::new(),
            live: Vec::new(),
            starts: Vec::new(),
            walked: Vec::new(),
            findings,
            doubt: Index::ZERO,
            hard_state: 0,
            commit_hint: Index::ZERO,
        };
        if batch >= superblock.floor_batch {
            walk.set_floor();
        }
        walk
    }

    fn set_floor(&mut self) {
        self.floored = true;
        let floor = self.superblock.floor;
        if self.log.purged.index > floor.index {
            // It begins with entries that were cut before the floor was set, and damage has taken what replaced them:
            // they continue nothing that is still there.
            self.log.reset(floor);
        } else {
            self.log.purge(floor);
        }
    }

    pub(super) fn run(&mut self) -> Result<Finding, OpenError> {
        let mut bytes = Vec::new();
        let mut finding = loop {
            match self.segment(&mut bytes)? {
                Next::Segment(seq) => {
                    self.at.seq = seq;
                    self.at.offset = BLOCK_BYTES;
                }
                Next::End(finding) => break finding,
            }
        };
        let sound = matches!(finding.case.row().policy, Policy::Go | Policy::Discard);
        let resume = self.superblock.resume;
        // A crash during a later opening may have left a segment that resumes before this one.
        if sound && resume >= self.superblock.start.seq && self.walked.iter().all(|seq| *seq < resume) {
            finding = self.missing(resume, "it is missing, or what leads to it is");
        }
        // The superblock counts batches of the log as it was. Where a part of that is gone, a record of the same
        // number may be one that an earlier opening has left out, and that never reached the disk: what no
        // record behind it proves is written again. What lies before the floor cannot be, and is proved by it.
        let below = |pending: &Pending| {
            pending.header.has(ENTRIES | TRUNCATE | RESET)
                && pending.header.batch < self.superblock.floor_batch
        };
        if finding.case.row().policy != Policy::Quarantine || self.pending.iter().any(below) {
            let witness = self.superblock.witness;
            self.witness(witness);
        }
        if !self.floored {
            // The log was cut before the floor took effect.
            self.set_floor();
        }
        Ok(finding)
    }

    /// Where the walk must leave a segment because one that was made later says so.
    fn resumed(&self, seq: u64) -> Option<(u64, &'a SegmentHeader, u64)> {
        self.segments.iter().rev().find_map(|(next, segment)| {
            let header = segment.found.header.as_ref()?;
            match header.origin {
                Origin::Resumed { prev, valid } if prev == seq => Some((*next, header, valid)),
                _ => None,
            }
        })
    }

    fn missing(&mut self, seq: u64, why: &str) -> Finding {
        self.doubt = Index(self.last).next();
        Finding { case: Case::SegmentMissing, damage: damage(&segment_name(seq), 0, why) }
    }

    /// Walks one segment.
    fn segment(&mut self, bytes: &mut Vec<u8>) -> Result<Next, OpenError> {
        let seq = self.at.seq;
        if self.walked.contains(&seq) {
            return Ok(Next::End(self.missing(seq, "the segments go round in a circle")));
        }
        self.starts.push(Start { seq, batch: self.at.batch, chain: self.at.chain });
        let resumed = self.resumed(seq);
        if let Some((next, header, BLOCK_BYTES)) = resumed {
            // Nothing of it counts: it need not even be there.
            self.walked.push(seq);
            return Ok(self.resume(next, header));
        }
        let Some(segment) = self.segments.get(&seq) else {
            return Ok(Next::End(self.missing(seq, "it is missing")));
        };
        let Some(header) = segment.found.header else {
            let why = segment.found.broken[0].unwrap_or("its header is damaged");
            return Ok(Next::End(self.missing(seq, why)));
        };
        self.walked.push(seq);
        if let Some(why) = segment.found.broken.iter().flatten().next() {
            let damage = damage(&segment_name(seq), 0, *why);
            self.findings.push(Finding { case: Case::CopyDamaged, damage });
        }
        let reading = || format!("read {}", segment_name(seq));
        let mut window = Window::new(&*segment.file, segment.length, bytes);
        window.load(0, BLOCK_BYTES).during(reading)?;
        if window
            .bytes()
            .get(..BLOCK)
            .is_some_and(|block| segment.found.broken == [None; 2] && block != header.encode())
        {
            let damage = damage(&segment_name(seq), 0, "bytes that hold nothing have changed");
            self.findings.push(Finding { case: Case::CopyDamaged, damage });
        }
        let mut sealed = None;
        loop {
            if let Some((next, header, valid)) = resumed
                && self.at.offset == valid
            {
                return Ok(self.resume(next, header));
            }
            if resumed.is_none()
                && let Some(Header { first_index: next, term: salt, .. }) = sealed
            {
                return Ok(self.follow_seal(next, salt));
            }
            let (offset, seed) = (self.at.offset, header.seed());
            window.load(offset, BLOCK_BYTES).during(reading)?;
            let extent = Header::decode(window.from(offset), seed, offset).and_then(|found| found.extent());
            if let Some(extent) = extent {
                window.load(offset, extent.next_multiple_of(BLOCK) as u64).during(reading)?;
            }
            match record::decode(window.from(offset), seed, offset, self.at.batch, self.at.chain) {
                Found::Batch(batch) => {
                    if batch.header.has(SEAL) {
                        sealed = Some(batch.header);
                    }
                    if let Some(end) = self.take(segment, &header, &batch)? {
                        return Ok(Next::End(end));
                    }
                }
                Found::Unknown => {
                    return Err(OpenError::Version { found: VERSION + 1, known: VERSION });
                }
                _ if !window.is_whole() => window.load_whole().during(reading)?,
                found => {
                    let bytes = window.bytes();
                    return self.judge_end(found, segment, &header, bytes, resumed.is_some()).map(Next::End);
                }
            }
        }
    }

    /// Goes on in the segment that the seal names.
    fn follow_seal(&mut self, next: u64, salt: u64) -> Next {
        let found = self.segments.get(&next).and_then(|segment| segment.found.header);
        if found.is_some_and(|header| header.salt != salt) {
            return Next::End(self.missing(next, "another segment has its name"));
        }
        Next::Segment(next)
    }

    /// Goes on in the segment that resumes this one.
    fn resume(&mut self, next: u64, header: &SegmentHeader) -> Next {
        if header.start.batch != self.at.batch || header.start.chain != self.at.chain {
            return Next::End(self.missing(next, "it does not continue what is before it"));
        }
        Next::Segment(next)
    }

    /// Takes a valid batch.
    fn take(
        &mut self,
        segment: &SegmentFile,
        header: &SegmentHeader,
        batch: &Batch<'_>,
    ) -> Result<Option<Finding>, OpenError> {
        let found = batch.header;
        let place = segment_name(header.seq);
        if batch.dirty_pad {
            let damage = damage(&place, self.at.offset, "bytes that hold nothing have changed");
            self.findings.push(Finding { case: Case::CopyDamaged, damage });
        }
        self.witness(found.witness);
        let mut terms = Vec::new();
        let mut memberships = Vec::new();
        for ((entry, data), index) in batch.entries().zip(found.first_index..) {
            terms.push(Term(entry.term));
            if entry.kind() == Some(EntryKind::Membership) {
                let data = bytes::Bytes::copy_from_slice(data);
                let id = LogId { term: Term(entry.term), index: Index(index) };
                memberships.push(Entry { id, kind: EntryKind::Membership, data });
            } else if entry.kind().is_none() {
                return Err(OpenError::Version { found: VERSION + 1, known: VERSION });
            }
        }
        if found.has(RESET) {
            self.last = found.first_index;
        } else if found.has(ENTRIES | TRUNCATE) {
            if found.batch >= self.superblock.floor_batch {
                self.last = self.last.max(self.superblock.floor.index.0);
            } else if self.fresh {
                // Where the log ended before the first segment is not known, and does not matter: all
                // that was there is below the floor or was cut.
                self.last = self.last.max(found.first_index);
            }
            if found.first_index == 0 || found.first_index > self.last.saturating_add(1) {
                let why = format!("it begins at {} after {}", found.first_index, self.last);
                self.doubt = Index(self.last).next();
                let damage = damage(&place, self.at.offset, why);
                return Ok(Some(Finding { case: Case::Misplaced, damage }));
            }
            self.last = found.end_index() - 1;
        }
        self.fresh &= !found.has(ENTRIES | TRUNCATE | RESET);
        self.hard_state = self.hard_state.max(found.hard_state);
        self.commit_hint = self.commit_hint.max(Index(found.commit_hint));
        self.pending.push(Pending {
            header: found,
            seq: header.seq,
            seed: header.seed(),
            file: Arc::clone(&segment.file),
            offset: self.at.offset,
            bytes: batch.total,
            chain: batch.chain,
            terms,
            memberships,
        });
        self.at.offset += batch.total;
        self.at.batch += 1;
        self.at.chain = batch.chain;
        Ok(None)
    }

    /// Applies everything that is proved durable.
    fn witness(&mut self, upto: u64) {
        let proved = self.pending.partition_point(|pending| pending.header.batch <= upto);
        for pending in self.pending.drain(..proved).collect::<Vec<_>>() {
            let header = &pending.header;
            if !self.floored && header.batch >= self.superblock.floor_batch {
                self.set_floor();
            }
            let first = Index(header.first_index);
            let continues = (self.log.purged.index.next()..=self.log.last.index.next()).contains(&first);
            if header.has(ENTRIES | TRUNCATE) && !self.floored && !continues {
                // Where the log began before the first segment is not known.
                self.log = Log::after(LogId { term: Term::ZERO, index: first.prev() });
            }
            pending.apply(&mut self.log);
            let (seq, offset) = (pending.seq, pending.offset + pending.bytes);
            self.cut = Cut { seq, offset, batch: header.batch + 1, chain: pending.chain };
        }
        let upto = self.starts.iter().position(|start| start.seq == self.cut.seq).map_or(0, |at| at + 1);
        self.live = self.starts.get(..upto).unwrap_or_default().to_vec();
    }

    /// Judges a place where a batch was expected and is not (R6 to R11).
    fn judge_end(
        &mut self,
        found: Found<'_>,
        segment: &SegmentFile,
        header: &SegmentHeader,
        bytes: &[u8],
        resumed: bool,
    ) -> Result<Finding, OpenError> {
        let (offset, seed) = (self.at.offset, header.seed());
        let rest = from(bytes, offset);
        let broken = match found {
            Found::Broken { header } => header,
            _ => None,
        };
        let mut later = Later::default();
        later.scan(bytes, seed, offset + BLOCK_BYTES);
        if let Some(header) = broken {
            later.end_index = later.end_index.max(header.end_index());
            later.witness = later.witness.max(covered(bytes, seed, offset, &header));
        }
        let here = std::mem::take(&mut later.witness);
        for (_, other) in self.segments.range(header.seq + 1..) {
            let Some(found) = other.found.header else { continue };
            let bytes = vfs::read_all(&*other.file).during(|| format!("read {}", segment_name(found.seq)))?;
            later.scan(&bytes, found.seed(), BLOCK_BYTES);
        }
        let (batch, elsewhere) = (self.at.batch, later.witness);
        later.witness = later.witness.max(here);
        let seen = Observation {
            continued: resumed || elsewhere >= batch,
            proven: later.witness.max(self.superblock.witness) >= batch,
            misplaced: matches!(found, Found::Misplaced) || strayed(bytes, seed, offset, batch),
            short: segment.length < header.size,
            blank: record::is_zero(rest),
            torn: record::is_torn(rest, seed, offset, broken.as_ref()),
        };
        let case = judge(&seen);
        let changes = broken.filter(|header| header.has(ENTRIES | TRUNCATE));
        self.doubt = Index(changes.map_or(self.last + 1, |header| header.first_index.min(self.last + 1)));
        let mut damage = damage(&segment_name(header.seq), offset, case.row().seen);
        if later.end_index > self.doubt.0 {
            damage = damage_of(damage, self.doubt.0, later.end_index);
        }
        self.witness(later.witness);
        Ok(Finding { case, damage })
    }

    /// Finds the segments that hold nothing: the one that is ready for use, and rubbish.
    pub(super) fn sort_out(&mut self, rubbish: &mut Vec<String>) -> Result<Option<(u64, u64)>, OpenError> {
        let mut spare = None;
        for (seq, segment) in self.segments {
            if self.walked.contains(seq) {
                continue;
            }
            let name = segment_name(*seq);
            if *seq < self.superblock.start.seq {
                rubbish.push(name);
                continue;
            }
            let bytes = vfs::read_all(&*segment.file).during(|| format!("read {name}"))?;
            if bytes.len() < BLOCK || !record::is_zero(bytes.get(BLOCK..).unwrap_or_default()) {
                let damage = damage(&name, 0, Case::Quarantined.row().seen);
                self.findings.push(Finding { case: Case::Quarantined, damage });
                continue;
            }
            let header = segment.found.header.filter(|_| segment.found.broken == [None; 2]);
            match header {
                Some(header)
                    if header.origin == Origin::Sealed
                        && segment.length == header.size
                        && bytes.starts_with(&header.encode()) =>
                {
                    if let Some((older, _)) = spare.replace((*seq, header.size)) {
                        rubbish.push(segment_name(older));
                    }
                }
                _ => {
                    let damage = damage(&name, 0, Case::SegmentUnfinished.row().seen);
                    self.findings.push(Finding { case: Case::SegmentUnfinished, damage });
                    rubbish.push(name);
                }
            }
        }
        Ok(spare)
    }
}
