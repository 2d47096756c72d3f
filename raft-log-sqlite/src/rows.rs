//! What a row is protected by, and the state of the log as bytes. Pure.

use crc32c::{crc32c, crc32c_append};
use raft_core::entry::Entry;
use raft_core::ids::{Index, LogId, StoreId, Term};
use raft_core::slots::{COUNT_LIMIT, Layout, Reader, Writer};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// How the state is stored, in the table `meta` and in the watermark.
pub(crate) const STATE_LAYOUT: Layout = Layout { kind: *b"SQST", version: 1, stride: 4096 };

/// Numbers as bytes. For every row: nothing is allocated.
fn words<const N: usize>(numbers: [u64; N]) -> [[u8; 8]; N] {
    numbers.map(u64::to_le_bytes)
}

/// The checksum of an entry in a store: covers index, term, kind, length and data.
pub(crate) fn row_crc(store: StoreId, id: LogId, kind: u8, data: &[u8]) -> u32 {
    let (low, high) = (store.0 as u64, (store.0 >> 64) as u64);
    let head = words([low, high, id.index.0, id.term.0, u64::from(kind), data.len() as u64]);
    crc32c_append(crc32c(head.as_flattened()), data)
}

/// The chain behind an entry: order cannot change, nothing can be left out.
pub(crate) fn next_chain(before: u64, id: LogId, kind: u8, crc: u32) -> u64 {
    let bytes = words([id.index.0, id.term.0, u64::from(kind) << 32 | u64::from(crc)]);
    xxh3_64_with_seed(bytes.as_flattened(), before)
}

/// The chain that a log begins with after a reset.
pub(crate) fn first_chain(store: StoreId, after: LogId) -> u64 {
    let bytes = Writer::default().u128(store.0).u64(after.index.0).u64(after.term.0);
    xxh3_64_with_seed(&bytes.0, 0x0073_716c_6974_6531)
}

/// A row as it is stored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seal {
    pub(crate) crc: u32,
    pub(crate) chain: u64,
}

impl Seal {
    pub(crate) fn of(store: StoreId, before: u64, entry: &Entry) -> Self {
        let kind = entry.kind.as_u8();
        let crc = row_crc(store, entry.id, kind, &entry.data);
        Self { crc, chain: next_chain(before, entry.id, kind, crc) }
    }
}

/// Where the log begins and ends: in every transaction, and beside the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) store: StoreId,
    /// Counts transactions.
    pub(crate) op: u64,
    pub(crate) purged: LogId,
    pub(crate) purged_chain: u64,
    pub(crate) last: LogId,
    pub(crate) last_chain: u64,
    pub(crate) commit_hint: Index,
    /// The generation of the hard state: an older one than this has lost a vote.
    pub(crate) hard: u64,
}

impl State {
    /// An empty log.
    pub(crate) fn new(store: StoreId) -> Self {
        Self { store, op: 0, ..Self::after(store, LogId::ZERO) }
    }

    /// An empty log after an entry.
    pub(crate) fn after(store: StoreId, to: LogId) -> Self {
        let chain = first_chain(store, to);
        Self {
            store,
            op: 0,
            purged: to,
            purged_chain: chain,
            last: to,
            last_chain: chain,
            commit_hint: Index::ZERO,
            hard: 0,
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        Writer::default()
            .u128(self.store.0)
            .u64(self.op)
            .u64(self.purged.index.0)
            .u64(self.purged.term.0)
            .u64(self.purged_chain)
            .u64(self.last.index.0)
            .u64(self.last.term.0)
            .u64(self.last_chain)
            .u64(self.commit_hint.0)
            .u64(self.hard)
            .0
    }

    /// `None` for other bytes or another store.
    pub(crate) fn decode(store: StoreId, bytes: &[u8]) -> Option<Self> {
        let mut r = Reader(bytes);
        if r.u128()? != store.0 {
            return None;
        }
        let op = r.u64()?;
        let purged = LogId { index: Index(r.u64()?), term: Term(r.u64()?) };
        let purged_chain = r.u64()?;
        let last = LogId { index: Index(r.u64()?), term: Term(r.u64()?) };
        let (last_chain, commit_hint, hard) = (r.u64()?, Index(r.u64()?), r.u64()?);
        let counts = [op, purged.index.0, last.index.0];
        let sound = counts.iter().all(|count| *count <= COUNT_LIMIT) && purged.index <= last.index;
        sound.then_some(Self { store, op, purged, purged_chain, last, last_chain, commit_hint, hard })
    }

    /// As it is kept in the table `meta`.
    pub(crate) fn to_row(self) -> Option<Vec<u8>> {
        STATE_LAYOUT.encode(0, 0, self.op, &self.encode())
    }

    /// Undoes [`to_row`](Self::to_row).
    pub(crate) fn from_row(store: StoreId, bytes: &[u8]) -> Option<Self> {
        let record = STATE_LAYOUT.decode(0, bytes).record?;
        Self::decode(store, &record.body).filter(|state| state.op == record.generation)
    }
}

#[cfg(test)]
mod tests {
    use raft_core::entry::EntryKind;

    use super::*;

    /// What version 1 protects rows with, and the state: never edit, only add versions.
    #[test]
    fn golden_v1() {
        let store = StoreId(7);
        let entry = Entry { id: LogId::new(3, 2), kind: EntryKind::Commands, data: b"abc".to_vec().into() };
        let first = first_chain(store, LogId::new(2, 1));
        let seal = Seal::of(store, first, &entry);
        let state = State {
            op: 9,
            last: entry.id,
            last_chain: seal.chain,
            commit_hint: Index(1),
            hard: 5,
            ..State::after(store, LogId::new(2, 1))
        };
        let row = state.to_row().unwrap();
        assert_eq!(State::from_row(store, &row), Some(state));
        let hex: String = row[..128].iter().map(|byte| format!("{byte:02x}")).collect();
        let found = format!("{:08x} {first:016x} {:016x}\n{hex}\n", seal.crc, seal.chain);
        assert_eq!(found, include_str!("golden_rows_v1.txt"));
        assert!(row.len() == 512 && row[128..].iter().all(|byte| *byte == 0));
    }
}
