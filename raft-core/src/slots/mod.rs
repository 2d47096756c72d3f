//! Two alternating slots of two copies each: how small state is replaced without ever being in doubt.
//! Pure: bytes in, bytes out.
//!
//! A value is written with a growing generation; even ones go to slot 0, odd ones to slot 1, so that
//! the newest durable value is never overwritten. A slot holds the same record twice. A record that
//! fits one 512-byte sector is old or new after a crash, never broken: then a broken copy means rot,
//! and two broken copies mean that the newest value may be lost.
//!
//! For journals that keep their hard state so (J17); the bytes are in `docs/journal-format.md`.

mod body;

use alloc::vec::Vec;

use crc32c::{crc32c, crc32c_append};

pub use body::{
    Reader, Writer, decode_hard_state, decode_identity, decode_peers, encode_hard_state, encode_identity,
    encode_peers,
};

/// No journal counts so far: its generations, batches, indexes, incarnations. A number beyond it is
/// damage, so that whatever was read can be counted further.
pub const COUNT_LIMIT: u64 = u64::MAX / 2;

/// Bytes before the body of a record.
pub const HEADER: usize = 32;
const MAGIC: [u8; 4] = *b"RSLT";

/// The size of what a disk writes as a whole, in bytes.
pub const SECTOR: usize = 512;

/// What distinguishes one kind of slots from another.
///
/// ```
/// use raft_core::slots::Layout;
///
/// let votes = Layout { kind: *b"VOTE", version: 1, stride: 4096 };
/// let peers = Layout { kind: *b"PEER", version: 1, stride: 4096 };
/// let record = votes.encode(0, 0, 4, b"for node 2").unwrap();
/// assert_eq!(votes.decode(0, &record).record.unwrap().body, b"for node 2");
/// // A file that was put in the place of another is found out.
/// assert_eq!(peers.decode(0, &record).broken[0], Some("a record of another place"));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// What the records are.
    pub kind: [u8; 4],
    /// The version of their bodies.
    pub version: u32,
    /// From the start of one copy to the next, in bytes; also the most a record may take.
    pub stride: usize,
}

/// A valid copy of a record.
///
/// Which of two slots is in force:
///
/// ```
/// use raft_core::slots::{Layout, Record};
///
/// let layout = Layout { kind: *b"VOTE", version: 1, stride: 512 };
/// let read = |generation, body| {
///     let slot = Layout::slot_of(generation);
///     layout.decode(slot, &layout.encode(slot, 0, generation, body).unwrap()).record
/// };
/// let records = [read(4, b"for node 2"), read(5, b"for node 3")];
/// let newest = records.into_iter().flatten().max_by_key(|record| record.generation);
/// assert_eq!(newest, Some(Record { generation: 5, version: 1, body: b"for node 3".into() }));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Counts the writes.
    pub generation: u64,
    /// The version of the body.
    pub version: u32,
    /// What was stored.
    pub body: Vec<u8>,
}

/// What a slot holds.
///
/// ```
/// use raft_core::slots::Layout;
///
/// let layout = Layout { kind: *b"VOTE", version: 1, stride: 512 };
/// let copy = |copy, generation| layout.encode(0, copy, generation, b"for node 2").unwrap();
/// // The machine stopped between the two copies of generation 6.
/// let state = layout.decode(0, &[copy(0, 6), copy(1, 4)].concat());
/// assert!(state.uneven);
/// assert_eq!(state.record.map(|record| record.generation), Some(6));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SlotState {
    /// The newest valid copy.
    pub record: Option<Record>,
    /// Why each copy is not valid, where it is not.
    pub broken: [Option<&'static str>; 2],
    /// Both copies are valid and of different generations: a write was cut between them.
    pub uneven: bool,
}

impl SlotState {
    /// Whether it needs no repair.
    ///
    /// ```
    /// use raft_core::slots::Layout;
    ///
    /// let layout = Layout { kind: *b"VOTE", version: 1, stride: 512 };
    /// let copy = |copy| layout.encode(0, copy, 4, b"for node 2").unwrap();
    /// let mut bytes = [copy(0), copy(1)].concat();
    /// assert!(layout.decode(0, &bytes).is_sound());
    /// // A bit of the second copy rots: the value is there, and both are to be written again.
    /// bytes[512 + 40] ^= 1;
    /// let state = layout.decode(0, &bytes);
    /// assert!(state.record.is_some() && !state.is_sound());
    /// ```
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.broken == [None, None] && !self.uneven
    }
}

impl Layout {
    /// The slot that a generation goes to.
    ///
    /// ```
    /// use raft_core::slots::Layout;
    ///
    /// // What is written never overwrites what was written last.
    /// let newest = 41;
    /// assert_ne!(Layout::slot_of(newest + 1), Layout::slot_of(newest));
    /// assert_eq!([40, 41, 42].map(Layout::slot_of), [0, 1, 0]);
    /// ```
    #[must_use]
    pub const fn slot_of(generation: u64) -> u8 {
        (generation % 2) as u8
    }

    /// The size of a slot's file, in bytes.
    ///
    /// ```
    /// use raft_core::slots::Layout;
    ///
    /// let layout = Layout { kind: *b"VOTE", version: 1, stride: 512 };
    /// // A new file: nothing was ever written to either copy.
    /// let state = layout.decode(0, &vec![0; layout.slot_bytes()]);
    /// assert_eq!(state.broken, [Some("never written"); 2]);
    /// ```
    #[must_use]
    pub const fn slot_bytes(&self) -> usize {
        self.stride * 2
    }

    /// The largest body, in bytes.
    ///
    /// ```
    /// use raft_core::slots::{HEADER, Layout};
    ///
    /// let layout = Layout { kind: *b"VOTE", version: 1, stride: 512 };
    /// let limit = layout.body_limit();
    /// // What fits goes to the disk as one sector.
    /// assert_eq!(layout.encode(0, 0, 4, &vec![7; limit]).map(|bytes| bytes.len()), Some(512));
    /// assert_eq!(layout.encode(0, 0, 4, &vec![7; limit + 1]), None);
    /// assert_eq!(limit + HEADER, 512);
    /// ```
    #[must_use]
    pub const fn body_limit(&self) -> usize {
        self.stride - HEADER
    }

    /// One copy, padded to whole sectors; `None` if the body is too large.
    ///
    /// ```
    /// use raft_core::slots::Layout;
    ///
    /// let layout = Layout { kind: *b"VOTE", version: 1, stride: 4096 };
    /// let generation = 5;
    /// let slot = Layout::slot_of(generation);
    /// let copies = [0, 1].map(|copy| layout.encode(slot, copy, generation, b"for node 2").unwrap());
    /// // Each goes to its own place in the slot's file. They are not the same bytes.
    /// assert_eq!(copies[0].len(), 512);
    /// assert_ne!(copies[0], copies[1]);
    /// ```
    #[must_use]
    pub fn encode(&self, slot: u8, copy: u8, generation: u64, body: &[u8]) -> Option<Vec<u8>> {
        if body.len() > self.body_limit() {
            return None;
        }
        let mut out = Vec::with_capacity((HEADER + body.len()).next_multiple_of(SECTOR));
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.kind);
        out.extend_from_slice(&self.version.to_le_bytes());
        out.extend_from_slice(&generation.to_le_bytes());
        out.extend_from_slice(&u32::try_from(body.len()).ok()?.to_le_bytes());
        out.extend_from_slice(&[slot, copy, 0, 0]);
        out.extend_from_slice(body);
        let crc = crc32c(out.get(8..)?);
        out.get_mut(4..8)?.copy_from_slice(&crc.to_le_bytes());
        out.resize(out.len().next_multiple_of(SECTOR), 0);
        Some(out)
    }

    /// Reads a slot. Never fails: what cannot be read is broken.
    ///
    /// ```
    /// use raft_core::slots::Layout;
    ///
    /// let layout = Layout { kind: *b"VOTE", version: 1, stride: 512 };
    /// let mut bytes = layout.encode(0, 0, 4, b"for node 2").unwrap();
    /// bytes.extend(layout.encode(0, 1, 4, b"for node 2").unwrap());
    /// // The first copy is overwritten with rubbish.
    /// bytes[..512].fill(0xee);
    /// let state = layout.decode(0, &bytes);
    /// assert_eq!(state.broken, [Some("no record"), None]);
    /// assert_eq!(state.record.unwrap().body, b"for node 2");
    /// ```
    #[must_use]
    pub fn decode(&self, slot: u8, bytes: &[u8]) -> SlotState {
        let mut state = SlotState::default();
        let mut records = [None, None];
        for (copy, (record, broken)) in records.iter_mut().zip(&mut state.broken).enumerate() {
            let start = copy * self.stride;
            let copy_bytes = bytes.get(start..bytes.len().min(start + self.stride)).unwrap_or_default();
            match self.decode_copy(slot, copy as u8, copy_bytes) {
                Ok(found) => *record = Some(found),
                Err(why) => *broken = Some(why),
            }
        }
        let [first, second] = records;
        state.record = match (first, second) {
            (Some(first), Some(second)) => {
                state.uneven = first != second;
                Some(if second.generation > first.generation { second } else { first })
            }
            (first, second) => first.or(second),
        };
        state
    }

    fn decode_copy(&self, slot: u8, copy: u8, bytes: &[u8]) -> Result<Record, &'static str> {
        let (header, rest) = bytes.split_first_chunk::<HEADER>().ok_or("too short")?;
        let word = |at: usize| {
            let mut four = [0; 4];
            four.copy_from_slice(&header[at..at + 4]);
            four
        };
        if word(0) != MAGIC {
            return Err(if header.iter().all(|byte| *byte == 0) { "never written" } else { "no record" });
        }
        let length = u32::from_le_bytes(word(24)) as usize;
        let body = rest.get(..length).ok_or("its length exceeds the slot")?;
        if crc32c_append(crc32c(&header[8..]), body) != u32::from_le_bytes(word(4)) {
            return Err("checksum mismatch");
        }
        if word(8) != self.kind || word(28) != [slot, copy, 0, 0] {
            return Err("a record of another place");
        }
        let mut generation = [0; 8];
        generation.copy_from_slice(&header[16..24]);
        let generation = u64::from_le_bytes(generation);
        if generation > COUNT_LIMIT {
            return Err("a generation beyond all counting");
        }
        Ok(Record { generation, version: u32::from_le_bytes(word(12)), body: body.to_vec() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYOUT: Layout = Layout { kind: *b"TEST", version: 3, stride: 4096 };

    fn slot(slot: u8, generations: [u64; 2]) -> Vec<u8> {
        let mut bytes = vec![0; LAYOUT.slot_bytes()];
        for (copy, generation) in generations.into_iter().enumerate() {
            let record = LAYOUT.encode(slot, copy as u8, generation, b"body").unwrap();
            assert_eq!(record.len(), SECTOR);
            bytes[copy * LAYOUT.stride..][..record.len()].copy_from_slice(&record);
        }
        bytes
    }

    #[test]
    fn comes_back() {
        let state = LAYOUT.decode(1, &slot(1, [7, 7]));
        assert!(state.is_sound());
        assert_eq!(state.record, Some(Record { generation: 7, version: 3, body: b"body".to_vec() }));
    }

    #[test]
    fn a_write_cut_between_the_copies_gives_the_newer() {
        for generations in [[9, 7], [7, 9]] {
            let state = LAYOUT.decode(1, &slot(1, generations));
            assert_eq!(state.record.map(|record| record.generation), Some(9));
            assert!(state.uneven);
        }
    }

    #[test]
    fn every_flipped_byte_breaks_its_copy_only() {
        let good = slot(0, [4, 4]);
        for copy in 0..2 {
            for at in 0..HEADER + 4 {
                let mut bytes = good.clone();
                bytes[copy * LAYOUT.stride + at] ^= 0x10;
                let state = LAYOUT.decode(0, &bytes);
                assert!(state.broken[copy].is_some(), "byte {at} of copy {copy}");
                assert_eq!(state.record.map(|record| record.generation), Some(4));
            }
        }
    }

    #[test]
    fn a_copy_of_another_place_is_not_taken() {
        assert_eq!(LAYOUT.decode(1, &slot(0, [4, 4])).record, None);
        let other = Layout { kind: *b"ELSE", ..LAYOUT };
        assert_eq!(other.decode(0, &slot(0, [4, 4])).record, None);
        assert_eq!(LAYOUT.decode(0, &[]).record, None);
        assert_eq!(LAYOUT.encode(0, 0, 0, &[0; 4096]), None);
    }
}
