//! What a snapshot's database says of itself, and what a chunk is protected by. Pure: bytes in, bytes out.
//! `docs/snapshot-sqlite.md` has the tables.

use crc32c::{crc32c, crc32c_append};
use raft_core::backend::{SnapshotContent, SnapshotId};
use raft_core::ids::{Index, LogId, Term};
use raft_core::membership::Membership;
use raft_core::slots::{Reader, Writer};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The version that this program writes, and the newest that it reads.
pub(super) const VERSION: u64 = 1;
/// What an encoded membership may take, in bytes.
const MEMBERSHIP_LIMIT_BYTES: usize = 1 << 20;
/// The data of every chunk but the last, in bytes.
pub(super) const CHUNK_BYTES: usize = 64 << 10;
/// The chain before the first chunk begins with this.
const CHAIN_SEED: u64 = 0x0073_716c_736e_6170;

/// What a database says at its beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) id: SnapshotId,
    pub(super) upto: LogId,
    pub(super) membership: Membership,
}

/// What it says at its end, once it is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) content: SnapshotContent,
    /// The chain behind the last chunk.
    pub(super) chain: u64,
}

/// What a chunk is protected by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seal {
    pub(super) crc: u32,
    pub(super) chain: u64,
}

/// The name of a complete snapshot.
pub(super) fn complete_name(upto: LogId) -> String {
    format!("snap-{:016x}-{:016x}.db", upto.index.0, upto.term.0)
}

/// What the complete snapshot of that name covers.
pub(super) fn complete_upto(name: &str) -> Option<LogId> {
    let (index, term) = name.strip_prefix("snap-")?.strip_suffix(".db")?.split_once('-')?;
    let (index, term) = (u64::from_str_radix(index, 16).ok()?, u64::from_str_radix(term, 16).ok()?);
    let upto = LogId::new(term, index);
    (complete_name(upto) == name).then_some(upto)
}

/// The name of a half-received snapshot.
pub(super) fn part_name(id: SnapshotId) -> String {
    format!("snap-{:032x}.part", id.0)
}

/// Which half-received snapshot has that name.
pub(super) fn part_id(name: &str) -> Option<SnapshotId> {
    let digits = name.strip_prefix("snap-")?.strip_suffix(".part")?;
    let id = SnapshotId(u128::from_str_radix(digits, 16).ok()?);
    (part_name(id) == name).then_some(id)
}

/// A checksum, then what it covers.
fn sealed(body: &[u8]) -> Vec<u8> {
    let mut out = crc32c(body).to_le_bytes().to_vec();
    out.extend_from_slice(body);
    out
}

fn unsealed(bytes: &[u8]) -> Option<&[u8]> {
    let (crc, body) = bytes.split_first_chunk::<4>()?;
    (u32::from_le_bytes(*crc) == crc32c(body)).then_some(body)
}

impl Head {
    /// As a row; `None` if the membership is too large.
    pub(super) fn encode(&self) -> Option<Vec<u8>> {
        let empty = self.membership == Membership::default();
        let membership = if empty { Vec::new() } else { self.membership.encode().to_vec() };
        if membership.len() > MEMBERSHIP_LIMIT_BYTES {
            return None;
        }
        let mut body = Writer::default()
            .u64(VERSION)
            .u128(self.id.0)
            .u64(self.upto.term.0)
            .u64(self.upto.index.0)
            .u64(membership.len() as u64)
            .0;
        body.extend_from_slice(&membership);
        Some(sealed(&body))
    }

    /// Undoes [`encode`](Self::encode).
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        let body = unsealed(bytes).ok_or("the checksum of its head does not match")?;
        let mut r = Reader(body);
        if r.u64() != Some(VERSION) {
            return Err("of a later version of the format");
        }
        let (Some(id), Some(term), Some(index), Some(length)) = (r.u128(), r.u64(), r.u64(), r.u64()) else {
            return Err("its head is too short");
        };
        if r.0.len() as u64 != length {
            return Err("its head is of another length");
        }
        let membership = if r.0.is_empty() {
            Membership::default()
        } else {
            Membership::decode(r.0).map_err(|_| "the membership cannot be read")?
        };
        let upto = LogId { term: Term(term), index: Index(index) };
        Ok(Self { id: SnapshotId(id), upto, membership })
    }

    /// The chain before the first chunk.
    pub(super) fn first_chain(&self) -> u64 {
        xxh3_64_with_seed(&Writer::default().u128(self.id.0).0, CHAIN_SEED)
    }
}

impl End {
    /// As a row.
    pub(super) fn encode(&self, id: SnapshotId) -> Vec<u8> {
        let SnapshotContent { total_bytes, checksum } = self.content;
        sealed(&Writer::default().u128(id.0).u64(total_bytes).u64(u64::from(checksum)).u64(self.chain).0)
    }

    /// Undoes [`encode`](Self::encode).
    pub(super) fn decode(id: SnapshotId, bytes: &[u8]) -> Result<Self, &'static str> {
        let mut r = Reader(unsealed(bytes).ok_or("the checksum of its end does not match")?);
        let (Some(found), Some(total_bytes), Some(checksum), Some(chain), true) =
            (r.u128(), r.u64(), r.u64(), r.u64(), r.0.is_empty())
        else {
            return Err("its end is of another length");
        };
        let checksum = u32::try_from(checksum).map_err(|_| "its end has no checksum")?;
        if found != id.0 {
            return Err("its end is another snapshot's");
        }
        Ok(Self { content: SnapshotContent { total_bytes, checksum }, chain })
    }

    /// How many chunks there are.
    pub(super) const fn chunks(&self) -> u64 {
        self.content.total_bytes.div_ceil(CHUNK_BYTES as u64)
    }

    /// How many bytes a chunk has.
    pub(super) fn chunk_bytes(&self, number: u64) -> u64 {
        let before = number.saturating_mul(CHUNK_BYTES as u64);
        self.content.total_bytes.saturating_sub(before).min(CHUNK_BYTES as u64)
    }
}

impl Seal {
    /// Of a chunk in its place in its snapshot.
    pub(super) fn of(id: SnapshotId, number: u64, before: u64, data: &[u8]) -> Self {
        let place = Writer::default().u128(id.0).u64(number).u64(data.len() as u64);
        let crc = crc32c_append(crc32c(&place.0), data);
        let link = Writer::default().u64(number).u64(u64::from(crc));
        Self { crc, chain: xxh3_64_with_seed(&link.0, before) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use raft_core::ids::NodeId;
    use raft_core::membership::Member;

    fn head() -> Head {
        let members = (1..=3).map(|id| Member::new(NodeId(id), format!("host-{id}:1")));
        let membership = Membership::of_voters(members).unwrap();
        Head { id: SnapshotId(0x5a5a), upto: LogId::new(3, 70), membership }
    }

    #[test]
    fn what_was_encoded_comes_back_and_no_flip_passes() {
        let head = head();
        let content = SnapshotContent { total_bytes: 65_537, checksum: 9 };
        let end = End { content, chain: 77 };
        assert_eq!((end.chunks(), end.chunk_bytes(0), end.chunk_bytes(1)), (2, 65_536, 1));
        let (head_bytes, end_bytes) = (head.encode().unwrap(), end.encode(head.id));
        assert_eq!(Head::decode(&head_bytes), Ok(head.clone()));
        assert_eq!(End::decode(head.id, &end_bytes), Ok(end));
        assert!(End::decode(SnapshotId(1), &end_bytes).is_err());
        for at in 0..head_bytes.len() * 8 {
            let mut flipped = head_bytes.clone();
            flipped[at / 8] ^= 1 << (at % 8);
            assert!(Head::decode(&flipped).is_err());
            assert!(Head::decode(&head_bytes[..at / 8]).is_err());
        }
        for at in 0..end_bytes.len() * 8 {
            let mut flipped = end_bytes.clone();
            flipped[at / 8] ^= 1 << (at % 8);
            assert!(End::decode(head.id, &flipped).is_err());
        }
    }

    #[test]
    fn a_limbo_membership_and_names_come_back() {
        let head = Head { membership: Membership::default(), ..head() };
        assert_eq!(Head::decode(&head.encode().unwrap()), Ok(head.clone()));
        assert_eq!(complete_upto(&complete_name(head.upto)), Some(head.upto));
        assert_eq!(part_id(&part_name(head.id)), Some(head.id));
        for other in ["snap-1-2.db", "journal.db", "snap-5a.part", "snap-.part-journal"] {
            assert_eq!((complete_upto(other), part_id(other)), (None, None), "{other}");
        }
    }

    #[test]
    fn a_chunk_is_of_its_place_only() {
        let seal = Seal::of(SnapshotId(1), 2, 3, b"data");
        assert_ne!(seal.crc, Seal::of(SnapshotId(2), 2, 3, b"data").crc);
        assert_ne!(seal.crc, Seal::of(SnapshotId(1), 3, 3, b"data").crc);
        assert_ne!(seal.chain, Seal::of(SnapshotId(1), 2, 4, b"data").chain);
    }

    /// The bytes of version 1.
    #[test]
    fn golden_v1() {
        let head = Head { membership: Membership::default(), ..head() };
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let end = End { content: SnapshotContent { total_bytes: 5, checksum: 6 }, chain: 7 };
        let seal = Seal::of(head.id, 0, head.first_chain(), b"hello");
        let golden = include_str!("golden_v1.txt");
        let found = format!(
            "{}\n{}\n{:08x} {:016x} {:016x}\n",
            hex(&head.encode().unwrap()),
            hex(&end.encode(head.id)),
            seal.crc,
            head.first_chain(),
            seal.chain
        );
        assert_eq!(found, golden);
    }
}
