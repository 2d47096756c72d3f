//! Reads a journal and judges what it finds. Changes nothing.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use raft_core::backend::{Corruption, HardState, OpenError, Verdict};
use raft_core::entry::{Entry, EntryKind};
use raft_core::ids::{Index, KnownPeer, LogId, Term};
use raft_core::slots::{Layout, decode_hard_state, decode_peers};

use crate::cases::{Case, Observation, Policy, judge};
use crate::error::{Context, damage, damage_of};
use crate::hard_state::{PairState, Start, Super};
use crate::index::{Change, Log};
use crate::layout::{
    BLOCK, BLOCK_BYTES, HARD_STATE, HARD_STATE_LAYOUT, PEERS, PEERS_LAYOUT, SUPER, SUPER_LAYOUT, VERSION,
    is_data, is_temporary, segment_name, segment_seq,
};
use crate::record::{self, Batch, ENTRIES, Found, Header, RESET, SEAL, Seed, TRUNCATE};
use crate::segment::{FoundHeader, Origin, SegmentHeader, decode_header};
use crate::vfs::{self, Vfs, VfsFile};

/// Something that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// Which row of the recovery table it is.
    pub case: Case,
    /// Where and what.
    pub damage: Corruption,
}

/// A batch that nothing proves durable yet.
pub(crate) struct Pending {
    pub(crate) header: Header,
    pub(crate) seq: u64,
    pub(crate) seed: Seed,
    pub(crate) file: Arc<dyn VfsFile>,
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
    chain: u64,
    terms: Vec<Term>,
    memberships: Vec<Entry>,
}

/// A position between two batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cut {
    /// The segment.
    pub(crate) seq: u64,
    /// The offset in it.
    pub(crate) offset: u64,
    /// The number of the next batch.
    pub(crate) batch: u64,
    /// The chain value before it.
    pub(crate) chain: u64,
}

/// All that reading has found.
pub(crate) struct Scan {
    pub(crate) superblock: Super,
    pub(crate) super_pair: PairState,
    pub(crate) hard_state: HardState,
    pub(crate) hard_state_pair: PairState,
    pub(crate) peers: Vec<KnownPeer>,
    pub(crate) peers_pair: PairState,
    /// The log up to `cut`.
    pub(crate) log: Log,
    /// After everything that is proved durable.
    pub(crate) cut: Cut,
    /// The sound batches after `cut`.
    pub(crate) pending: Vec<Pending>,
    /// The segments up to `cut`, with what each starts with.
    pub(crate) live: Vec<Start>,
    /// All segments that were walked.
    pub(crate) walked: Vec<u64>,
    /// How the walk ended.
    pub(crate) end: Finding,
    /// For the verdict: the first index that was left out or is in doubt.
    pub(crate) doubt: Index,
    /// Lesser damage.
    pub(crate) findings: Vec<Finding>,
    /// An empty segment that nothing names: its number and size.
    pub(crate) spare: Option<(u64, u64)>,
    /// Names that hold nothing: unfinished files, segments before the start or never used.
    pub(crate) rubbish: Vec<String>,
    /// The highest number that any segment has.
    pub(crate) max_seq: u64,
    /// The highest commit hint.
    pub(crate) commit_hint: Index,
}

/// Segments by their numbers.
type Segments = BTreeMap<u64, SegmentFile>;

struct SegmentFile {
    file: Arc<dyn VfsFile>,
    found: FoundHeader,
    length: u64,
}

impl Scan {
    /// Reads everything.
    ///
    /// # Errors
    /// [`OpenError`] for what must be refused whatever the log is like.
    pub(crate) fn read(vfs: &dyn Vfs) -> Result<Self, OpenError> {
        let names = match vfs.list() {
            Ok(names) => names,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(OpenError::NotInitialised),
            Err(error) => return Err(error).during(|| "list the folder".into()),
        };
        let mut findings = Vec::new();
        let (superblock, super_pair) = read_super(vfs, &names, &mut findings)?;
        let store = superblock.identity.store;

        let hard_state_pair = read_pair(vfs, HARD_STATE_LAYOUT, HARD_STATE, false, &mut findings)?;
        let hard_state = hard_state_pair.newest().and_then(|record| decode_hard_state(store, &record.body));
        let lost = |name, what| OpenError::Corrupt(damage(name, 0, what));
        let hard_state = hard_state.ok_or_else(|| lost(HARD_STATE[0], "the hard state of another store"))?;
        let peers_pair = read_pair(vfs, PEERS_LAYOUT, PEERS, true, &mut findings)?;
        let peers = peers_pair.newest().and_then(|record| decode_peers(store, &record.body));
        let peers = peers.ok_or_else(|| lost(PEERS[0], "the peers of another store"))?;

        let segments = read_headers(vfs, &names, &superblock)?;
        let mut walk = Walk::new(&superblock, &segments, findings);
        let end = walk.run()?;
        let hard_generation = hard_state_pair.newest().map_or(0, |record| record.generation);
        if walk.hard_state > hard_generation {
            return Err(lost(HARD_STATE[0], "it is older than the log: a vote may be lost"));
        }
        let mut rubbish: Vec<String> = names.iter().filter(|name| is_temporary(name)).cloned().collect();
        let spare = walk.sort_out(&mut rubbish)?;
        let doubt = walk.doubt;
        let Walk { log, cut, pending, live, walked, findings, commit_hint, .. } = walk;
        Ok(Self {
            superblock,
            super_pair,
            hard_state,
            hard_state_pair,
            peers,
            peers_pair,
            log,
            cut,
            pending,
            live,
            walked,
            end,
            doubt,
            findings,
            spare,
            rubbish,
            max_seq: segments.keys().next_back().copied().unwrap_or(0).max(superblock.start.seq),
            commit_hint,
        })
    }

    /// What opening says of it.
    pub(crate) fn verdict(&self) -> Verdict {
        match (self.end.case, self.end.case.row().policy) {
            (Case::Suspect, _) => Verdict::SuspectTail { from: self.doubt },
            (_, Policy::Discard) => Verdict::TornTail { discarded_from: self.doubt },
            (_, Policy::Quarantine) => Verdict::Corrupt(self.end.damage.clone()),
            _ => Verdict::Clean,
        }
    }

    /// Applies the pending batches where they are, for a reader that changes nothing.
    pub(crate) fn settle(&mut self) {
        for pending in self.pending.drain(..) {
            apply(&mut self.log, &pending);
        }
    }
}

/// Reads the superblock and decides whether there is a journal at all.
pub(crate) fn read_super(
    vfs: &dyn Vfs,
    names: &[String],
    findings: &mut Vec<Finding>,
) -> Result<(Super, PairState), OpenError> {
    let pair = PairState::read(vfs, SUPER_LAYOUT, SUPER).during(|| "read the superblock".into())?;
    let newest = pair.newest().and_then(|record| Super::decode(&record.body));
    let others = names.iter().any(|name| is_data(name));
    // Creation writes the second slot first, as incomplete, and gives the first one its name last.
    let unfinished = newest.map_or(!others, |found| !found.complete) && !pair.exists(0);
    if unfinished {
        return Err(OpenError::NotInitialised);
    }
    check_version(pair.version())?;
    judge_pair(&pair, false, findings)?;
    let found = newest.ok_or_else(|| OpenError::Corrupt(damage(SUPER[0], 0, "not a superblock")))?;
    Ok((found, pair))
}

fn check_version(found: u32) -> Result<(), OpenError> {
    if found > VERSION { Err(OpenError::Version { found, known: VERSION }) } else { Ok(()) }
}

fn read_pair(
    vfs: &dyn Vfs,
    layout: Layout,
    names: [&'static str; 2],
    may_tear: bool,
    findings: &mut Vec<Finding>,
) -> Result<PairState, OpenError> {
    let pair = PairState::read(vfs, layout, names).during(|| format!("read {}", names[0]))?;
    check_version(pair.version())?;
    judge_pair(&pair, may_tear, findings)?;
    Ok(pair)
}

/// R2, R3, R3b, R3c.
fn judge_pair(pair: &PairState, may_tear: bool, findings: &mut Vec<Finding>) -> Result<(), OpenError> {
    let all_lost = pair.newest().is_none();
    for (n, slot) in pair.slots.iter().enumerate() {
        let why = slot.broken.iter().flatten().next().copied();
        let Some(why) = why else { continue };
        let case = match (&slot.record, all_lost) {
            (Some(_), _) => Case::CopyDamaged,
            (None, true) => Case::PairLost,
            (None, false) if may_tear && pair.exists(n) => Case::SlotTorn,
            (None, false) => Case::SlotLost,
        };
        let damage = damage(pair.name(n), 0, why);
        if case.row().policy == Policy::Refuse {
            return Err(OpenError::Corrupt(damage));
        }
        findings.push(Finding { case, damage });
    }
    Ok(())
}

fn read_headers(vfs: &dyn Vfs, names: &[String], superblock: &Super) -> Result<Segments, OpenError> {
    let mut segments = Segments::new();
    for seq in names.iter().filter_map(|name| segment_seq(name)) {
        let read = || -> io::Result<SegmentFile> {
            let file = vfs.open(&segment_name(seq))?;
            let length = file.len()?;
            let mut block = [0; BLOCK];
            let filled = vfs::read_full_at(&*file, &mut block, 0)?;
            let found =
                decode_header(superblock.identity.store, seq, block.get(..filled).unwrap_or_default());
            Ok(SegmentFile { file, found, length })
        };
        let segment = read().during(|| format!("read {}", segment_name(seq)))?;
        check_version(segment.found.version)?;
        segments.insert(seq, segment);
    }
    Ok(segments)
}

/// What a batch does to the log. The walk has checked that it fits.
fn apply(log: &mut Log, pending: &Pending) {
    let header = &pending.header;
    if header.has(RESET) {
        log.reset(LogId { term: Term(header.term), index: Index(header.first_index) });
    } else if header.has(ENTRIES | TRUNCATE) {
        let change = Change {
            segment: (pending.seq, pending.seed, &pending.file),
            offset: pending.offset,
            bytes: pending.bytes,
            first: header.first_index,
        };
        log.append(&change, pending.terms.iter().copied());
        for entry in &pending.memberships {
            log.push_membership(entry.clone());
        }
    }
}

/// The walk over all batches in order.
struct Walk<'a> {
    superblock: &'a Super,
    segments: &'a Segments,
    log: Log,
    /// No batch was applied yet and the floor is not in force: the log begins with the first batch.
    virgin: bool,
    /// The same with what is pending.
    fresh: bool,
    floored: bool,
    cut: Cut,
    /// Where the next batch is expected.
    at: Cut,
    /// The last index of the log with everything that is pending.
    last: u64,
    pending: Vec<Pending>,
    live: Vec<Start>,
    starts: Vec<Start>,
    walked: Vec<u64>,
    findings: Vec<Finding>,
    doubt: Index,
    hard_state: u64,
    commit_hint: Index,
}

/// What a segment's walk led to.
enum Next {
    Segment(u64),
    End(Finding),
}

impl<'a> Walk<'a> {
    fn new(superblock: &'a Super, segments: &'a Segments, findings: Vec<Finding>) -> Self {
        let Start { seq, batch, chain } = superblock.start;
        let at = Cut { seq, offset: BLOCK_BYTES, batch, chain };
        let mut walk = Self {
            superblock,
            segments,
            log: Log::default(),
            virgin: true,
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
        self.virgin = false;
        self.log.purge(self.superblock.floor);
    }

    fn run(&mut self) -> Result<Finding, OpenError> {
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
        let length = usize::try_from(segment.length).unwrap_or(usize::MAX);
        if bytes.len() < length {
            *bytes = vec![0; length];
        }
        bytes.truncate(length);
        let filled = vfs::read_full_at(&*segment.file, bytes, 0);
        bytes.truncate(filled.during(|| format!("read {}", segment_name(seq)))?);
        if bytes
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
            let rest = from(bytes, self.at.offset);
            match record::decode(rest, header.seed(), self.at.offset, self.at.batch, self.at.chain) {
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
                found => {
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
        for pending in self.pending.drain(..proved) {
            let header = &pending.header;
            if !self.floored && header.batch >= self.superblock.floor_batch {
                self.floored = true;
                self.virgin = false;
                self.log.purge(self.superblock.floor);
            }
            let lower = header.first_index <= self.log.purged.index.0;
            if header.has(ENTRIES | TRUNCATE) && !self.floored && (self.virgin || lower) {
                self.log = Log::after(LogId { term: Term::ZERO, index: Index(header.first_index).prev() });
            }
            self.virgin &= !header.has(ENTRIES | TRUNCATE | RESET);
            apply(&mut self.log, &pending);
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
        let (offset, segment_seed) = (self.at.offset, header.seed());
        let rest = from(bytes, offset);
        let broken = match found {
            Found::Broken { header } => header,
            _ => None,
        };
        let mut later = Later::default();
        later.scan(bytes, header.seed(), offset + BLOCK_BYTES);
        if let Some(header) = broken {
            later.end_index = later.end_index.max(header.end_index());
            later.witness = later.witness.max(covered(bytes, segment_seed, offset, &header));
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
            misplaced: matches!(found, Found::Misplaced) || strayed(bytes, header.seed(), offset, batch),
            short: segment.length < header.size,
            blank: record::is_zero(rest),
            torn: record::is_torn(rest, header.seed(), offset, broken.as_ref()),
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
    fn sort_out(&mut self, rubbish: &mut Vec<String>) -> Result<Option<(u64, u64)>, OpenError> {
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

/// The bytes from a position on.
fn from(bytes: &[u8], offset: u64) -> &[u8] {
    usize::try_from(offset).ok().and_then(|at| bytes.get(at..)).unwrap_or_default()
}

/// Whether the batch that belongs at `offset` stands elsewhere in the segment: it was written, and may have
/// been acknowledged, but went astray.
fn strayed(bytes: &[u8], seed: Seed, offset: u64, batch: u64) -> bool {
    let places = (BLOCK_BYTES..bytes.len() as u64).step_by(BLOCK).filter(|at| *at != offset);
    places.filter_map(|at| Header::decode(from(bytes, at), seed, offset)).any(|header| header.batch == batch)
}

/// What the record that belongs right behind a broken batch proves durable, if it went astray and covers a part
/// of that batch: it is mostly zeros, and what is left of the batch would look torn.
fn covered(bytes: &[u8], seed: Seed, offset: u64, broken: &Header) -> u64 {
    let Some(extent) = broken.extent() else { return 0 };
    let end = offset.saturating_add(extent.next_multiple_of(BLOCK) as u64);
    let places = (offset..end).step_by(BLOCK).skip(1).take_while(|at| *at < bytes.len() as u64);
    let headers = places.filter_map(|at| Header::decode(from(bytes, at), seed, end));
    headers.map(|header| header.witness).max().unwrap_or(0)
}

/// What valid records behind a damaged place tell.
#[derive(Default)]
struct Later {
    witness: u64,
    end_index: u64,
}

impl Later {
    fn scan(&mut self, bytes: &[u8], seed: Seed, start: u64) {
        let mut offset = start;
        while offset < bytes.len() as u64 {
            if let Some(header) = Header::decode(from(bytes, offset), seed, offset) {
                self.witness = self.witness.max(header.witness);
                if header.has(ENTRIES) {
                    self.end_index = self.end_index.max(header.end_index());
                }
            }
            offset += BLOCK_BYTES;
        }
    }
}

impl Pending {
    /// Its membership entries.
    pub(crate) fn memberships(&self) -> &[Entry] {
        &self.memberships
    }
}
