//! What is kept in slots: superblock, hard state, known peers. Their bytes, and a pair of slot files.

use std::io;
use std::sync::Arc;

use raft_core::backend::{HardState, Vote};
use raft_core::ids::{
    ClusterId, GroupId, Identity, Incarnation, Index, KnownPeer, LogId, NodeId, StoreId, Term,
};

use crate::layout::{COUNT_LIMIT, VERSION};
use crate::slots::{Layout, Record, SlotState};
use crate::vfs::{self, Vfs, VfsFile};

/// Builds bytes of little-endian numbers.
#[derive(Default)]
pub(crate) struct Writer(pub(crate) Vec<u8>);

impl Writer {
    pub(crate) fn u64(mut self, value: u64) -> Self {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    pub(crate) fn u128(mut self, value: u128) -> Self {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }
}

/// Takes them apart again; `None` past the end.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl Reader<'_> {
    pub(crate) fn u64(&mut self) -> Option<u64> {
        let (word, rest) = self.0.split_first_chunk::<8>()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*word))
    }

    pub(crate) fn u128(&mut self) -> Option<u128> {
        let (word, rest) = self.0.split_first_chunk::<16>()?;
        self.0 = rest;
        Some(u128::from_le_bytes(*word))
    }
}

/// Where the walk over the segments begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Start {
    /// The first segment.
    pub(crate) seq: u64,
    /// The number of its first batch.
    pub(crate) batch: u64,
    /// The chain value before that.
    pub(crate) chain: u64,
}

/// Whose journal this is and where it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Super {
    /// Creation has come to its end.
    pub(crate) complete: bool,
    /// Whose it is.
    pub(crate) identity: Identity,
    /// The last purged entry.
    pub(crate) floor: LogId,
    /// The floor holds from this batch on; a reset after it sets another.
    pub(crate) floor_batch: u64,
    /// Where the walk begins.
    pub(crate) start: Start,
    /// A segment that the walk must come through: the one made by the latest opening.
    pub(crate) resume: u64,
    /// All batches up to this one are durable.
    pub(crate) witness: u64,
}

impl Super {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let id = &self.identity;
        Writer::default()
            .u64(u64::from(self.complete))
            .u128(id.cluster.0)
            .u64(id.group.0)
            .u64(id.node.0)
            .u128(id.store.0)
            .u64(id.incarnation.number)
            .u64(id.incarnation.nonce)
            .u64(self.floor.index.0)
            .u64(self.floor.term.0)
            .u64(self.floor_batch)
            .u64(self.start.seq)
            .u64(self.start.batch)
            .u64(self.start.chain)
            .u64(self.resume)
            .u64(self.witness)
            .0
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut r = Reader(bytes);
        let found = Self {
            complete: r.u64()? != 0,
            identity: Identity {
                cluster: ClusterId(r.u128()?),
                group: GroupId(r.u64()?),
                node: NodeId(r.u64()?),
                store: StoreId(r.u128()?),
                incarnation: Incarnation { number: r.u64()?, nonce: r.u64()? },
            },
            floor: LogId { index: Index(r.u64()?), term: Term(r.u64()?) },
            floor_batch: r.u64()?,
            start: Start { seq: r.u64()?, batch: r.u64()?, chain: r.u64()? },
            resume: r.u64()?,
            witness: r.u64()?,
        };
        let Start { seq, batch, .. } = found.start;
        let counts = [found.identity.incarnation.number, found.floor.index.0, seq, batch];
        (counts.iter().all(|count| *count <= COUNT_LIMIT) && batch > 0).then_some(found)
    }
}

/// The hard state of a store as bytes.
pub(crate) fn encode_hard_state(store: StoreId, state: &HardState) -> Vec<u8> {
    let (tag, node) = match state.vote {
        Vote::None => (0, 0),
        Vote::For(node) => (1, node.0),
        Vote::Blocked => (2, 0),
    };
    Writer::default().u128(store.0).u64(state.term.0).u64(tag).u64(node).u64(u64::from(state.probation)).0
}

/// Undoes [`encode_hard_state`]; `None` for other bytes or another store.
pub(crate) fn decode_hard_state(store: StoreId, bytes: &[u8]) -> Option<HardState> {
    let mut r = Reader(bytes);
    if r.u128()? != store.0 {
        return None;
    }
    let term = Term(r.u64()?);
    let vote = match (r.u64()?, r.u64()?) {
        (0, _) => Vote::None,
        (1, node) => Vote::For(NodeId(node)),
        (2, _) => Vote::Blocked,
        _ => return None,
    };
    Some(HardState { term, vote, probation: r.u64()? != 0 })
}

/// The known peers of a store as bytes.
pub(crate) fn encode_peers(store: StoreId, peers: &[KnownPeer]) -> Vec<u8> {
    let head = Writer::default().u128(store.0).u64(peers.len() as u64);
    let all = peers.iter().fold(head, |w, peer| {
        let incarnation = peer.incarnation;
        w.u64(peer.node.0).u128(peer.store.0).u64(incarnation.number).u64(incarnation.nonce)
    });
    all.0
}

/// Undoes [`encode_peers`]; `None` for other bytes or another store.
pub(crate) fn decode_peers(store: StoreId, bytes: &[u8]) -> Option<Vec<KnownPeer>> {
    let mut r = Reader(bytes);
    if r.u128()? != store.0 {
        return None;
    }
    let count = r.u64()?;
    let mut peers = Vec::new();
    for _ in 0..count {
        peers.push(KnownPeer {
            node: NodeId(r.u64()?),
            store: StoreId(r.u128()?),
            incarnation: Incarnation { number: r.u64()?, nonce: r.u64()? },
        });
    }
    Some(peers)
}

/// The two files of a pair, as found.
pub(crate) struct PairState {
    /// What each holds.
    pub(crate) slots: [SlotState; 2],
    /// The files, where they exist.
    files: [Option<Arc<dyn VfsFile>>; 2],
    layout: Layout,
    names: [&'static str; 2],
}

impl PairState {
    /// Reads a pair.
    pub(crate) fn read(vfs: &dyn Vfs, layout: Layout, names: [&'static str; 2]) -> io::Result<Self> {
        let mut slots = [SlotState::default(), SlotState::default()];
        let mut files = [None, None];
        for (slot, ((state, file), name)) in slots.iter_mut().zip(&mut files).zip(names).enumerate() {
            match vfs.open(name) {
                Ok(found) => {
                    *state = layout.decode(slot as u8, &vfs::read_all(&*found)?);
                    *file = Some(found);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    state.broken = [Some("the file is missing"); 2];
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Self { slots, files, layout, names })
    }

    /// Whether the file of a slot exists.
    pub(crate) fn exists(&self, slot: usize) -> bool {
        self.files.get(slot).is_some_and(Option::is_some)
    }

    /// The name of a slot's file.
    pub(crate) fn name(&self, slot: usize) -> &'static str {
        self.names.get(slot).copied().unwrap_or_default()
    }

    /// The newest valid record.
    pub(crate) fn newest(&self) -> Option<&Record> {
        self.slots.iter().filter_map(|slot| slot.record.as_ref()).max_by_key(|record| record.generation)
    }

    /// The newest version of any valid record.
    pub(crate) fn version(&self) -> u32 {
        self.slots.iter().filter_map(|slot| slot.record.as_ref()).map(|r| r.version).max().unwrap_or(VERSION)
    }

    /// The pair for writing, if both files and a record are there.
    pub(crate) fn into_pair(self) -> Option<Pair> {
        let generation = self.newest()?.generation;
        let [Some(a), Some(b)] = self.files else { return None };
        Some(Pair { files: [a, b], layout: self.layout, generation })
    }
}

/// The two files of a pair, for writing.
pub(crate) struct Pair {
    files: [Arc<dyn VfsFile>; 2],
    layout: Layout,
    /// The newest record's.
    pub(crate) generation: u64,
}

impl Pair {
    /// Whether a value fits.
    pub(crate) fn fits(&self, body: &[u8]) -> bool {
        body.len() <= self.layout.body_limit()
    }

    /// Makes both files, each with the same value: generations 0 and 1.
    pub(crate) fn create(vfs: &dyn Vfs, layout: Layout, names: [&str; 2], body: &[u8]) -> io::Result<Self> {
        let [a, b] = names;
        let pair = Self { files: [create(vfs, layout, a)?, create(vfs, layout, b)?], layout, generation: 1 };
        pair.write_slot(0, body)?;
        pair.write_slot(1, body)?;
        Ok(pair)
    }

    /// Takes over files that were written by [`create`] and [`write_file`].
    pub(crate) const fn adopt(layout: Layout, files: [Arc<dyn VfsFile>; 2], generation: u64) -> Self {
        Self { files, layout, generation }
    }

    /// Replaces the value, durably. The older slot is overwritten.
    pub(crate) fn write(&mut self, body: &[u8]) -> io::Result<()> {
        let generation = self.generation + 1;
        self.write_slot(generation, body)?;
        self.generation = generation;
        Ok(())
    }

    /// Writes the record that a slot holds again: what was read may never have reached the disk. It may
    /// as well be the only one that counts, so one copy is left alone until the other is durable;
    /// `first` is written first.
    pub(crate) fn write_again(&self, record: &Record, first: u8) -> io::Result<()> {
        let Record { generation, body, .. } = record;
        for copy in [first, 1 - first] {
            write_copy(self.file(*generation), self.layout, *generation, body, copy)?;
            self.file(*generation).sync_data()?;
        }
        Ok(())
    }

    fn write_slot(&self, generation: u64, body: &[u8]) -> io::Result<()> {
        write_file(self.file(generation), self.layout, generation, body)
    }

    fn file(&self, generation: u64) -> &dyn VfsFile {
        let [a, b] = &self.files;
        &**if Layout::slot_of(generation) == 0 { a } else { b }
    }
}

/// A new slot file, all zero.
pub(crate) fn create(vfs: &dyn Vfs, layout: Layout, name: &str) -> io::Result<Arc<dyn VfsFile>> {
    let file = vfs.create(name)?;
    vfs::write_all_at(&*file, &vec![0; layout.slot_bytes()], 0)?;
    Ok(file)
}

/// Writes both copies of a record into its slot file and syncs it.
pub(crate) fn write_file(file: &dyn VfsFile, layout: Layout, generation: u64, body: &[u8]) -> io::Result<()> {
    for copy in 0..2 {
        write_copy(file, layout, generation, body, copy)?;
    }
    file.sync_data()
}

fn write_copy(file: &dyn VfsFile, layout: Layout, generation: u64, body: &[u8], copy: u8) -> io::Result<()> {
    let record = layout.encode(Layout::slot_of(generation), copy, generation, body);
    let record = record.ok_or(io::ErrorKind::InvalidInput)?;
    vfs::write_all_at(file, &record, u64::from(copy) * layout.stride as u64)
}
