//! A batch as bytes: one write of the journal, one record. Pure.
//!
//! ```text
//! header 96 | table: count x 24 | payloads | pad to 32 | footer 32 | pad to 4096
//! ```
//! Every checksum is seeded with the store, the segment and the position, so that a batch verifies only
//! where it was written.

use bytes::Bytes;
use crc32c::{crc32c, crc32c_append};
use raft_core::entry::{Entry, EntryKind};
use raft_core::ids::{Index, LogId, StoreId, Term};
use raft_core::slots::{COUNT_LIMIT, SECTOR};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::layout::BLOCK;

/// Size of the header, in bytes.
pub(crate) const HEADER: usize = 96;
/// Size of one entry's record in the table, in bytes.
pub(crate) const TABLE_ENTRY: usize = 24;
const FOOTER: usize = 32;
const MAGIC: u32 = u32::from_le_bytes(*b"RBAT");
const FOOTER_MAGIC: u32 = u32::from_le_bytes(*b"RFOT");

/// The batch appends entries, and cuts what was at and above its first index.
pub(crate) const ENTRIES: u32 = 1;
/// The batch cuts the log at its first index; it may append entries there.
pub(crate) const TRUNCATE: u32 = 1 << 1;
/// The log is empty after (`term`, `first_index`).
pub(crate) const RESET: u32 = 1 << 2;
/// Holds nothing: it is there for its `witness`.
pub(crate) const MARK: u32 = 1 << 3;
/// The last batch of its segment: the next one is segment `first_index`, whose salt is `term`.
pub(crate) const SEAL: u32 = 1 << 4;
/// All flags that this version understands.
pub(crate) const KNOWN: u32 = ENTRIES | TRUNCATE | RESET | MARK | SEAL;
/// A reader that does not know one of these flags must not go on. The others it may ignore.
pub(crate) const MUST_UNDERSTAND: u32 = 0xffff_0000 | KNOWN;

/// What the checksums of a segment are seeded with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seed(u32);

impl Seed {
    /// Of one segment of one store.
    pub(crate) fn new(store: StoreId, seq: u64, salt: u64) -> Self {
        let crc = crc32c(&store.0.to_le_bytes());
        let crc = crc32c_append(crc, &seq.to_le_bytes());
        Self(crc32c_append(crc, &salt.to_le_bytes()))
    }

    /// Of one position in it.
    fn at(self, offset: u64) -> u32 {
        crc32c_append(self.0, &offset.to_le_bytes())
    }
}

/// The header of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Header {
    /// Counts the batches, from 1.
    pub(crate) batch: u64,
    /// The chain value of the batch before.
    pub(crate) prev_chain: u64,
    /// The highest batch that was known durable when this one was written.
    pub(crate) witness: u64,
    /// A commit index known then.
    pub(crate) commit_hint: u64,
    /// The generation of the hard state then.
    pub(crate) hard_state: u64,
    /// The first entry, or what the flags say.
    pub(crate) first_index: u64,
    /// What the flags say.
    pub(crate) term: u64,
    /// What it does.
    pub(crate) flags: u32,
    /// How many entries it has.
    pub(crate) count: u32,
    /// Table, payloads and pad, in bytes.
    pub(crate) body_len: u64,
    /// How many of its sectors are zero but for at most one byte.
    pub(crate) sparse: u32,
}

impl Header {
    fn encode(&self, seed: u32) -> [u8; HEADER] {
        let mut out = [0; HEADER];
        let words = [
            self.batch,
            self.prev_chain,
            self.witness,
            self.commit_hint,
            self.hard_state,
            self.first_index,
            self.term,
            u64::from(self.flags) | u64::from(self.count) << 32,
            self.body_len,
            u64::from(self.sparse),
        ];
        for (to, word) in out[8..].chunks_exact_mut(8).zip(words) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        out[..4].copy_from_slice(&MAGIC.to_le_bytes());
        let crc = crc32c_append(seed, &out[8..]);
        out[4..8].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads the header that `bytes` begin with, which are at `offset` of a segment; `None` if no valid
    /// one is there.
    pub(crate) fn decode(bytes: &[u8], seed: Seed, offset: u64) -> Option<Self> {
        let bytes = bytes.first_chunk::<HEADER>()?;
        if bytes[..4] != MAGIC.to_le_bytes() {
            return None;
        }
        if crc32c_append(seed.at(offset), &bytes[8..]).to_le_bytes() != bytes[4..8] {
            return None;
        }
        let word = |n: usize| u64_at(bytes, 8 + 8 * n);
        if word(0) > COUNT_LIMIT || word(5) > COUNT_LIMIT {
            return None;
        }
        let (flags, count) = (word(7) as u32, (word(7) >> 32) as u32);
        Some(Self {
            batch: word(0),
            prev_chain: word(1),
            witness: word(2),
            commit_hint: word(3),
            hard_state: word(4),
            first_index: word(5),
            term: word(6),
            flags,
            count,
            body_len: word(8),
            sparse: word(9) as u32,
        })
    }

    /// From the header's start to the footer's end, in bytes; `None` if that is no sane size.
    pub(crate) fn extent(&self) -> Option<usize> {
        let body = usize::try_from(self.body_len).ok()?;
        let table = (self.count as usize).checked_mul(TABLE_ENTRY)?;
        if body < table || !(HEADER.checked_add(body)?).is_multiple_of(FOOTER) {
            return None;
        }
        let extent = HEADER.checked_add(body)?.checked_add(FOOTER)?;
        // With its pad it has a size too.
        extent.checked_next_multiple_of(BLOCK).map(|_| extent)
    }

    /// The index after its last entry.
    pub(crate) const fn end_index(&self) -> u64 {
        self.first_index.saturating_add(self.count as u64)
    }

    /// Whether it has the flag.
    pub(crate) const fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }
}

/// Zero for what lies outside.
fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()).map_or(0, |word| u64::from_le_bytes(*word))
}

/// Zero for what lies outside.
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|rest| rest.first_chunk::<4>()).map_or(0, |word| u32::from_le_bytes(*word))
}

/// What a batch takes in its segment, in bytes.
pub(crate) fn batch_bytes(entries: &[Entry]) -> u64 {
    let data: usize = entries.iter().map(|entry| entry.data.len()).sum();
    let body = (HEADER + entries.len() * TABLE_ENTRY + data).next_multiple_of(FOOTER);
    (body + FOOTER).next_multiple_of(BLOCK) as u64
}

/// Appends a batch to `out`, which continues a segment so that the batch begins at `offset` there.
/// Fills in the header's counts and returns the new chain value.
pub(crate) fn encode(
    out: &mut Vec<u8>,
    seed: Seed,
    offset: u64,
    mut header: Header,
    entries: &[Entry],
) -> u64 {
    let start = out.len();
    let seed = seed.at(offset);
    out.reserve(usize::try_from(batch_bytes(entries)).unwrap_or(0));
    out.resize(start + HEADER, 0);
    for (entry, index) in entries.iter().zip(header.first_index..) {
        let crc = entry_crc(seed, index, entry.id.term.0, entry.kind.as_u8(), &entry.data);
        out.extend_from_slice(&entry.id.term.0.to_le_bytes());
        out.extend_from_slice(&(entry.data.len() as u32).to_le_bytes());
        out.extend_from_slice(&crc.to_le_bytes());
        out.extend_from_slice(&u64::from(entry.kind.as_u8()).to_le_bytes());
    }
    for entry in entries {
        out.extend_from_slice(&entry.data);
    }
    out.resize(start + (out.len() - start).next_multiple_of(FOOTER), 0);
    header.count = entries.len() as u32;
    header.body_len = (out.len() - start - HEADER) as u64;
    header.sparse = count_sparse(out.get(start..).unwrap_or_default());
    let encoded = header.encode(seed);
    if let Some(place) = out.get_mut(start..start + HEADER) {
        place.copy_from_slice(&encoded);
    }
    let chain = xxh3_64_with_seed(out.get(start..).unwrap_or_default(), header.prev_chain);
    out.extend_from_slice(&footer(seed, &header, chain));
    out.resize(start + (out.len() - start).next_multiple_of(BLOCK), 0);
    chain
}

fn footer(seed: u32, header: &Header, chain: u64) -> [u8; FOOTER] {
    let mut out = [0; FOOTER];
    out[..4].copy_from_slice(&FOOTER_MAGIC.to_le_bytes());
    out[8..16].copy_from_slice(&header.batch.to_le_bytes());
    out[16..24].copy_from_slice(&header.body_len.to_le_bytes());
    out[24..].copy_from_slice(&chain.to_le_bytes());
    let crc = crc32c_append(seed, &out[8..]);
    out[4..8].copy_from_slice(&crc.to_le_bytes());
    out
}

fn entry_crc(seed: u32, index: u64, term: u64, kind: u8, data: &[u8]) -> u32 {
    let mut head = [0; 24];
    head[..8].copy_from_slice(&index.to_le_bytes());
    head[8..16].copy_from_slice(&term.to_le_bytes());
    head[16..].copy_from_slice(&(u64::from(kind) | (data.len() as u64) << 8).to_le_bytes());
    crc32c_append(crc32c_append(seed, &head), data)
}

/// Of the sectors after the first: those that one flipped byte could make all zero. The first has the
/// header; a last one without a footer cannot be.
fn count_sparse(body: &[u8]) -> u32 {
    let whole = body.chunks_exact(SECTOR).skip(1);
    whole.filter(|sector| sector.iter().filter(|byte| **byte != 0).take(2).count() < 2).count() as u32
}

/// One entry's record in the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TableEntry {
    /// Its term.
    pub(crate) term: u64,
    /// Its data, in bytes.
    pub(crate) length: usize,
    crc: u32,
    kind: u64,
}

impl TableEntry {
    /// The record of entry `n` of a table.
    pub(crate) fn read(table: &[u8], n: usize) -> Self {
        let at = n * TABLE_ENTRY;
        Self {
            term: u64_at(table, at),
            length: u32_at(table, at + 8) as usize,
            crc: u32_at(table, at + 12),
            kind: u64_at(table, at + 16),
        }
    }

    /// What its data are, if this version knows.
    pub(crate) fn kind(&self) -> Option<EntryKind> {
        u8::try_from(self.kind).ok().and_then(EntryKind::from_u8)
    }

    /// The entry with these data, if they are what was written as entry `index` of the batch at `offset`.
    pub(crate) fn verify(&self, seed: Seed, offset: u64, index: u64, data: Bytes) -> Result<Entry, Mismatch> {
        self.check(seed.at(offset), index, &data)?;
        let kind = self.kind().ok_or(Mismatch::UnknownKind)?;
        Ok(Entry { id: LogId { term: Term(self.term), index: Index(index) }, kind, data })
    }

    fn check(&self, seed: u32, index: u64, data: &[u8]) -> Result<(), Mismatch> {
        let kind = u8::try_from(self.kind).map_err(|_| Mismatch::Damaged)?;
        if entry_crc(seed, index, self.term, kind, data) != self.crc {
            return Err(Mismatch::Damaged);
        }
        Ok(())
    }
}

/// Why stored bytes are not an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mismatch {
    /// The checksum does not match.
    Damaged,
    /// It is intact and of a kind that this version does not know.
    UnknownKind,
}

/// A valid batch in the bytes of its segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Batch<'a> {
    /// Its header.
    pub(crate) header: Header,
    /// Its chain value.
    pub(crate) chain: u64,
    /// What it takes, in bytes.
    pub(crate) total: u64,
    /// The pad after it is not all zero: damage that touches nothing.
    pub(crate) dirty_pad: bool,
    body: &'a [u8],
}

impl<'a> Batch<'a> {
    /// Its entries' records and data, in order.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (TableEntry, &'a [u8])> + use<'a> {
        let (body, count) = (self.body, self.header.count as usize);
        let mut at = count * TABLE_ENTRY;
        (0..count).map(move |n| {
            let entry = TableEntry::read(body, n);
            let data = body.get(at..at.saturating_add(entry.length)).unwrap_or_default();
            at = at.saturating_add(entry.length);
            (entry, data)
        })
    }
}

/// What is at a position where a batch is expected.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Found<'a> {
    /// The expected batch.
    Batch(Batch<'a>),
    /// A valid batch with a flag that this version must understand and does not.
    Unknown,
    /// A valid header that does not belong here.
    Misplaced,
    /// Something else, or nothing.
    Broken {
        /// The header, if that is valid.
        header: Option<Header>,
    },
}

/// Reads the batch that `bytes` begin with, which are at `offset` of a segment. It must have the number
/// `batch` and follow the chain value `chain`.
pub(crate) fn decode(bytes: &[u8], seed: Seed, offset: u64, batch: u64, chain: u64) -> Found<'_> {
    let Some(header) = Header::decode(bytes, seed, offset) else { return Found::Broken { header: None } };
    if header.batch != batch || header.prev_chain != chain {
        return Found::Misplaced;
    }
    let broken = Found::Broken { header: Some(header) };
    let Some(extent) = header.extent() else { return broken };
    let Some(whole) = bytes.get(..extent) else { return broken };
    let (covered, found_footer) = whole.split_at(extent - FOOTER);
    let new_chain = xxh3_64_with_seed(covered, chain);
    if found_footer != footer(seed.at(offset), &header, new_chain) {
        return broken;
    }
    if header.flags & MUST_UNDERSTAND & !KNOWN != 0 {
        return Found::Unknown;
    }
    let body = covered.get(HEADER..).unwrap_or_default();
    let padded = extent.next_multiple_of(BLOCK);
    let pad = bytes.get(extent..bytes.len().min(padded)).unwrap_or_default();
    let dirty_pad = !is_zero(pad);
    let found = Batch { header, chain: new_chain, total: padded as u64, dirty_pad, body };
    // The chain covers every byte. The entries' own checksums are for reading one without the others.
    let mut length = header.count as usize * TABLE_ENTRY;
    for (entry, data) in found.entries() {
        length = length.saturating_add(entry.length);
        if data.len() != entry.length {
            return broken;
        }
    }
    if body.len() != (HEADER + length).next_multiple_of(FOOTER) - HEADER {
        return broken;
    }
    Found::Batch(found)
}

/// Whether the broken batch that `bytes` begin with looks like one whose write was cut: sectors are missing (all
/// zero), or all from some byte on, and whatever is not touched by that is as it was written.
pub(crate) fn is_torn(bytes: &[u8], seed: Seed, offset: u64, header: Option<&Header>) -> bool {
    let Some(header) = header else {
        // Without a header nothing can be checked: its own sector must be the missing one, or the write
        // ended within it.
        return bytes.get(..SECTOR).is_some_and(is_zero) || bytes.get(HEADER..).is_some_and(is_zero);
    };
    let Some(whole) = header.extent().and_then(|extent| bytes.get(..extent)) else { return false };
    let mut missing: Vec<bool> = whole.chunks(SECTOR).map(is_zero).collect();
    let footer_at = whole.len() - FOOTER;
    // A process that is killed, or a disk that is full, may end a write at any byte: the last sector then has
    // a part only. The chain value at the end hardly ends with two zero bytes; one may be a damaged one.
    let end = whole.len() - whole.iter().rev().take_while(|byte| **byte == 0).count();
    if end + 2 <= whole.len()
        && let Some(cut) = missing.get_mut(end / SECTOR)
    {
        *cut = true;
    }
    let missing_in = |from: usize, to: usize| {
        let to = to.max(from + 1).div_ceil(SECTOR);
        missing.get(from / SECTOR..to.min(missing.len())).is_none_or(|range| range.contains(&true))
    };
    if missing.iter().filter(|missing| **missing).count() <= header.sparse as usize {
        return false;
    }
    let found_footer = whole.get(footer_at..).unwrap_or_default();
    let expected = footer(seed.at(offset), header, u64_at(found_footer, 24));
    if !missing_in(footer_at, whole.len()) && found_footer != expected {
        return false;
    }
    let table = whole.get(HEADER..).unwrap_or_default();
    let mut at = HEADER + header.count as usize * TABLE_ENTRY;
    for (n, index) in (0..header.count as usize).zip(header.first_index..) {
        let record = HEADER + n * TABLE_ENTRY;
        if missing_in(record, record + TABLE_ENTRY) {
            // Where the following payloads are cannot be told any more.
            return true;
        }
        let entry = TableEntry::read(table, n);
        let Some(data) = at.checked_add(entry.length).and_then(|end| whole.get(at..end)) else {
            return false;
        };
        if !missing_in(at, at + data.len()) && entry.check(seed.at(offset), index, data).is_err() {
            return false;
        }
        at += data.len();
    }
    true
}

/// Whether all bytes are zero.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    const ZEROS: [u8; 4096] = [0; 4096];
    bytes.chunks(ZEROS.len()).all(|chunk| ZEROS.starts_with(chunk))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: Seed = Seed(77);

    fn batch(flags: u32, sizes: &[usize]) -> Vec<u8> {
        let entries: Vec<Entry> = sizes
            .iter()
            .zip(5..)
            .map(|(size, index)| {
                let data = (0..*size).map(|n| (n % 250) as u8 + 1).collect::<Vec<_>>().into();
                Entry { id: LogId::new(2, index), kind: EntryKind::Commands, data }
            })
            .collect();
        let header = Header { batch: 9, prev_chain: 3, first_index: 5, flags, ..Header::default() };
        let mut out = Vec::new();
        encode(&mut out, SEED, 8192, header, &entries);
        assert_eq!(out.len() as u64, batch_bytes(&entries));
        out
    }

    #[test]
    fn a_batch_comes_back() {
        for sizes in [vec![], vec![0], vec![1], vec![7, 0, 5000], vec![3944], vec![3945], vec![20_000, 1]] {
            let bytes = batch(ENTRIES, &sizes);
            let Found::Batch(found) = decode(&bytes, SEED, 8192, 9, 3) else { panic!("{sizes:?}") };
            assert_eq!(found.total, bytes.len() as u64);
            let lengths: Vec<usize> = found.entries().map(|(_, data)| data.len()).collect();
            assert_eq!(lengths, sizes);
        }
    }

    /// A checksum says that it was written, not that it makes sense.
    #[test]
    fn a_size_beyond_all_counting_is_none() {
        for body_len in [u64::MAX, u64::MAX - 31, u64::MAX - 159, u64::MAX - 4095 - 96 - 32, 1 << 63, 31] {
            let header = Header { body_len, ..Header::default() };
            // Whoever asks for its size asks for that of its pad too.
            let _ = header.extent().map(|extent| extent.next_multiple_of(BLOCK));
            let bytes = header.encode(SEED.at(8192));
            assert!(
                matches!(decode(&bytes, SEED, 8192, 0, 0), Found::Broken { header: Some(_) }),
                "{body_len}"
            );
        }
    }

    #[test]
    fn every_byte_counts_and_so_does_the_place() {
        let good = batch(ENTRIES, &[700, 30]);
        let used = good.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        for at in 0..good.len() {
            let mut bytes = good.clone();
            bytes[at] ^= 4;
            match decode(&bytes, SEED, 8192, 9, 3) {
                Found::Batch(found) => assert!(at >= used && found.dirty_pad, "byte {at}"),
                found => assert!(at < used && matches!(found, Found::Broken { .. }), "byte {at}: {found:?}"),
            }
        }
        assert!(matches!(decode(&good, SEED, 4096, 9, 3), Found::Broken { header: None }));
        assert!(matches!(decode(&good, Seed(78), 8192, 9, 3), Found::Broken { header: None }));
        assert!(matches!(decode(&good, SEED, 8192, 8, 3), Found::Misplaced));
        assert!(matches!(decode(&good, SEED, 8192, 9, 4), Found::Misplaced));
        for cut in 0..used {
            assert!(matches!(decode(&good[..cut], SEED, 8192, 9, 3), Found::Broken { .. }), "cut at {cut}");
        }
    }

    #[test]
    fn unknown_flags_are_refused_if_they_must_be_understood() {
        assert!(matches!(decode(&batch(1 << 16, &[]), SEED, 8192, 9, 3), Found::Unknown));
        assert!(matches!(decode(&batch(1 << 31 | ENTRIES, &[9]), SEED, 8192, 9, 3), Found::Unknown));
        assert!(matches!(decode(&batch(1 << 15 | MARK, &[]), SEED, 8192, 9, 3), Found::Batch(_)));
    }

    /// Every set of missing sectors of a batch is a torn write; with a flip elsewhere it is not.
    #[test]
    fn every_torn_shape_is_known() {
        let good = batch(ENTRIES, &[900, 10, 800, 700]);
        let sectors = (good.iter().rposition(|byte| *byte != 0).unwrap() + 1).div_ceil(SECTOR);
        for mask in 1..1_u32 << sectors {
            let mut bytes = good.clone();
            for sector in (0..sectors).filter(|sector| mask >> sector & 1 == 1) {
                bytes[sector * SECTOR..(sector + 1) * SECTOR].fill(0);
            }
            let Found::Broken { header } = decode(&bytes, SEED, 8192, 9, 3) else { panic!("{mask:b}") };
            assert!(is_torn(&bytes, SEED, 8192, header.as_ref()), "without {mask:b}");
        }
        // A write may end at any byte (simulator seed 534).
        let used = good.iter().rposition(|byte| *byte != 0).unwrap();
        for end in 0..used - 1 {
            let mut bytes = good.clone();
            bytes[end..].fill(0);
            let header = match decode(&bytes, SEED, 8192, 9, 3) {
                Found::Broken { header } => header,
                Found::Batch(_) => panic!("{end}"),
                _ => None,
            };
            assert!(is_torn(&bytes, SEED, 8192, header.as_ref()), "ends at {end}");
        }
        for at in 0..good.len() {
            let mut bytes = good.clone();
            bytes[at] = if bytes[at] == 0 { 1 } else { 0 };
            if let Found::Broken { header } = decode(&bytes, SEED, 8192, 9, 3) {
                assert!(!is_torn(&bytes, SEED, 8192, header.as_ref()), "byte {at}");
            }
        }
    }
}
