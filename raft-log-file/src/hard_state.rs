//! What is kept in slots: the bytes of the superblock, and a pair of slot files. The bytes of the slots
//! themselves, of the hard state and of the known peers are in [`raft_core::slots`].

use std::io;
use std::sync::Arc;

use raft_core::ids::{Identity, Index, LogId, Term};
use raft_core::slots::{
    COUNT_LIMIT, Layout, Reader, Record, SlotState, Writer, decode_identity, encode_identity,
};

use crate::layout::VERSION;
use crate::vfs::{self, Vfs, VfsFile};

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
        let head = Writer::default().u64(u64::from(self.complete));
        encode_identity(head, &self.identity)
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
            identity: decode_identity(&mut r)?,
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
