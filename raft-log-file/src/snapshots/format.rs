//! The bytes of a snapshot's file. Pure: bytes in, bytes out. `docs/snapshot-format.md` has the tables.

use crc32c::{crc32c, crc32c_append};
use raft_core::backend::{SnapshotContent, SnapshotId};
use raft_core::ids::LogId;
use raft_core::membership::Membership;

/// The version that this program writes, and the newest that it reads.
const VERSION: u32 = 1;
const HEADER_MAGIC: [u8; 4] = *b"RSNP";
const TRAILER_MAGIC: [u8; 4] = *b"RSNE";
/// The header before the membership, in bytes.
pub(crate) const HEADER_BYTES: usize = 48;
/// What an encoded membership may take, in bytes.
const MEMBERSHIP_LIMIT_BYTES: usize = 1 << 20;
/// What comes before the data of a chunk, in bytes.
pub(crate) const CHUNK_HEADER_BYTES: usize = 8;
/// The data of every chunk but the last, in bytes.
pub(crate) const CHUNK_BYTES: usize = 64 << 10;
/// The end of a complete file, in bytes.
pub(crate) const TRAILER_BYTES: usize = 40;

/// What a file says at its beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) id: SnapshotId,
    pub(crate) upto: LogId,
    pub(crate) membership: Membership,
}

/// The name of a complete snapshot.
pub(crate) fn complete_name(upto: LogId) -> String {
    format!("snap-{:016x}-{:016x}", upto.index.0, upto.term.0)
}

/// What the complete snapshot of that name covers.
pub(crate) fn complete_upto(name: &str) -> Option<LogId> {
    let (index, term) = name.strip_prefix("snap-")?.split_once('-')?;
    let (index, term) = (u64::from_str_radix(index, 16).ok()?, u64::from_str_radix(term, 16).ok()?);
    let upto = LogId::new(term, index);
    (complete_name(upto) == name).then_some(upto)
}

/// The name of a half-received snapshot.
pub(crate) fn part_name(id: SnapshotId) -> String {
    format!("snap-{:032x}.part", id.0)
}

/// Which half-received snapshot has that name.
pub(crate) fn part_id(name: &str) -> Option<SnapshotId> {
    let digits = name.strip_prefix("snap-")?.strip_suffix(".part")?;
    let id = SnapshotId(u128::from_str_radix(digits, 16).ok()?);
    (part_name(id) == name).then_some(id)
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes)
}

fn double(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes)
}

fn quadruple(bytes: &[u8], at: usize) -> Option<u128> {
    bytes.get(at..at + 16)?.try_into().ok().map(u128::from_le_bytes)
}

/// Puts the checksum of all that follows it in its place.
fn seal(mut bytes: Vec<u8>) -> Vec<u8> {
    let crc = crc32c(bytes.get(8..).unwrap_or_default());
    if let Some(place) = bytes.get_mut(4..8) {
        place.copy_from_slice(&crc.to_le_bytes());
    }
    bytes
}

impl Header {
    /// As bytes; `None` if the membership is too large.
    pub(crate) fn encode(&self) -> Option<Vec<u8>> {
        let empty = self.membership == Membership::default();
        let membership = if empty { Vec::new() } else { self.membership.encode().to_vec() };
        if membership.len() > MEMBERSHIP_LIMIT_BYTES {
            return None;
        }
        let mut out = Vec::with_capacity(HEADER_BYTES + membership.len());
        out.extend_from_slice(&HEADER_MAGIC);
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&u32::try_from(membership.len()).ok()?.to_le_bytes());
        out.extend_from_slice(&self.id.0.to_le_bytes());
        out.extend_from_slice(&self.upto.term.0.to_le_bytes());
        out.extend_from_slice(&self.upto.index.0.to_le_bytes());
        out.extend_from_slice(&membership);
        Some(seal(out))
    }

    /// How long the header is that begins so, in bytes.
    pub(crate) fn length(fixed: &[u8]) -> Result<usize, &'static str> {
        if fixed.get(..4) != Some(&HEADER_MAGIC) {
            return Err("not a snapshot");
        }
        let membership = word(fixed, 12).ok_or("too short")? as usize;
        if membership > MEMBERSHIP_LIMIT_BYTES {
            return Err("a membership beyond all limits");
        }
        Ok(HEADER_BYTES + membership)
    }

    /// Reads a whole header.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        let (fixed, membership) = bytes.split_at_checked(HEADER_BYTES).ok_or("too short")?;
        if Self::length(fixed)? != bytes.len() {
            return Err("too short");
        }
        if crc32c(bytes.get(8..).unwrap_or_default()) != word(fixed, 4).ok_or("too short")? {
            return Err("the header's checksum does not match");
        }
        if word(fixed, 8) != Some(VERSION) {
            return Err("of a later version of the format");
        }
        let (Some(id), Some(term), Some(index)) =
            (quadruple(fixed, 16), double(fixed, 32), double(fixed, 40))
        else {
            return Err("too short");
        };
        let membership = if membership.is_empty() {
            Membership::default()
        } else {
            Membership::decode(membership).map_err(|_| "the membership cannot be read")?
        };
        Ok(Self { id: SnapshotId(id), upto: LogId::new(term, index), membership })
    }
}

/// The checksum of a chunk: of its data in its place in its snapshot.
fn chunk_crc(id: SnapshotId, number: u64, data: &[u8]) -> u32 {
    let crc = crc32c_append(crc32c(&id.0.to_le_bytes()), &number.to_le_bytes());
    crc32c_append(crc32c_append(crc, &(data.len() as u64).to_le_bytes()), data)
}

/// A chunk as bytes.
pub(crate) fn encode_chunk(id: SnapshotId, number: u64, data: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&chunk_crc(id, number, data).to_le_bytes());
    out.extend_from_slice(&u32::try_from(data.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(data);
}

/// Whether these bytes are that chunk, whole.
pub(crate) fn is_chunk(id: SnapshotId, number: u64, bytes: &[u8]) -> bool {
    let Some((fixed, data)) = bytes.split_at_checked(CHUNK_HEADER_BYTES) else { return false };
    word(fixed, 4) == u32::try_from(data.len()).ok() && word(fixed, 0) == Some(chunk_crc(id, number, data))
}

/// The end of a complete file.
pub(crate) fn encode_trailer(id: SnapshotId, content: SnapshotContent) -> Vec<u8> {
    let mut out = Vec::with_capacity(TRAILER_BYTES);
    out.extend_from_slice(&TRAILER_MAGIC);
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&id.0.to_le_bytes());
    out.extend_from_slice(&content.total_bytes.to_le_bytes());
    out.extend_from_slice(&content.checksum.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    seal(out)
}

/// Reads the end of a complete file.
pub(crate) fn decode_trailer(id: SnapshotId, bytes: &[u8]) -> Result<SnapshotContent, &'static str> {
    if bytes.len() != TRAILER_BYTES || bytes.get(..4) != Some(&TRAILER_MAGIC) {
        return Err("it has no end");
    }
    if word(bytes, 4) != Some(crc32c(bytes.get(8..).unwrap_or_default())) {
        return Err("the checksum of its end does not match");
    }
    if quadruple(bytes, 8) != Some(id.0) {
        return Err("the end of another snapshot");
    }
    match (double(bytes, 24), word(bytes, 32)) {
        (Some(total_bytes), Some(checksum)) => Ok(SnapshotContent { total_bytes, checksum }),
        _ => Err("it has no end"),
    }
}

/// The length of a complete file whose header has so many bytes; `None` beyond all counting.
pub(crate) fn file_bytes(header_bytes: u64, total_bytes: u64) -> Option<u64> {
    let chunks = total_bytes.div_ceil(CHUNK_BYTES as u64);
    let framing = chunks.checked_mul(CHUNK_HEADER_BYTES as u64)?;
    header_bytes.checked_add(total_bytes)?.checked_add(framing)?.checked_add(TRAILER_BYTES as u64)
}

/// Where a chunk begins; `None` beyond all counting.
pub(crate) fn chunk_offset(header_bytes: u64, number: u64) -> Option<u64> {
    number.checked_mul((CHUNK_HEADER_BYTES + CHUNK_BYTES) as u64)?.checked_add(header_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use raft_core::ids::NodeId;
    use raft_core::membership::Member;

    fn header() -> Header {
        let membership = Membership::of_voters([Member::new(NodeId(1), "here:1")]).unwrap();
        Header { id: SnapshotId(0x0123_4567 << 90), upto: LogId::new(3, 99), membership }
    }

    fn every_flip_is_noticed(bytes: &[u8], is_good: impl Fn(&[u8]) -> bool) {
        assert!(is_good(bytes));
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut bad = bytes.to_vec();
                bad[at] ^= 1 << bit;
                assert!(!is_good(&bad), "bit {bit} of byte {at}");
            }
        }
        for length in 0..bytes.len() {
            assert!(!is_good(&bytes[..length]), "cut at {length}");
        }
    }

    #[test]
    fn what_was_written_comes_back_and_flips_are_noticed() {
        let (header, id) = (header(), header().id);
        let bytes = header.encode().unwrap();
        assert_eq!(Header::decode(&bytes), Ok(header));
        every_flip_is_noticed(&bytes, |bytes| Header::decode(bytes).is_ok());
        let content = SnapshotContent { total_bytes: 1 << 40, checksum: 0xdead_beef };
        let trailer = encode_trailer(id, content);
        assert_eq!(decode_trailer(id, &trailer), Ok(content));
        every_flip_is_noticed(&trailer, |bytes| decode_trailer(id, bytes).is_ok());
        let mut chunk = Vec::new();
        encode_chunk(id, 7, b"some data", &mut chunk);
        every_flip_is_noticed(&chunk, |bytes| is_chunk(id, 7, bytes));
        assert!(!is_chunk(id, 8, &chunk), "another place");
        assert!(!is_chunk(SnapshotId(1), 7, &chunk), "another snapshot");
    }

    #[test]
    fn names_are_told_apart() {
        let upto = LogId::new(2, 0x1f);
        assert_eq!(complete_name(upto), "snap-000000000000001f-0000000000000002");
        assert_eq!(complete_upto(&complete_name(upto)), Some(upto));
        let part = part_name(SnapshotId(5));
        assert_eq!((part_id(&part), complete_upto(&part)), (Some(SnapshotId(5)), None));
        for other in ["snap-", "snap-1-2", "snap-000000000000001F-0000000000000002", "LOCK", "snap-zz.part"] {
            assert_eq!((part_id(other), complete_upto(other)), (None, None), "{other}");
        }
    }

    /// Version 1, byte by byte: never edit, only add versions.
    #[test]
    fn golden_bytes() {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let header = Header { membership: Membership::default(), ..header() };
        let mut chunk = Vec::new();
        encode_chunk(SnapshotId(1), 2, b"abc", &mut chunk);
        let content = SnapshotContent { total_bytes: 3, checksum: 4 };
        let written = [header.encode().unwrap(), chunk, encode_trailer(SnapshotId(1), content)];
        let golden = include_str!("golden_v1.txt");
        assert_eq!(written.map(|bytes| hex(&bytes)).join("\n"), golden.trim_end());
    }
}
