//! Segments: files of zeros of a fixed size that batches are appended to. A number is never used
//! for data twice.

use std::io;
use std::sync::Arc;

use raft_core::ids::StoreId;
use raft_core::slots::{COUNT_LIMIT, Reader, Writer};

use crate::hard_state::Start;
use crate::layout::{BLOCK, BLOCK_BYTES, SEGMENT_LAYOUT, TEMPORARY, segment_name};
use crate::record::Seed;
use crate::spare::Pace;
use crate::vfs::{self, Aligned, Vfs, VfsFile};

/// Zeros are synced so often, in bytes: a sync of the journal would else wait behind all of them.
const SYNC_ZEROS: u64 = 1 << 20;
/// Zeros that are written beside the journal's own writes come in pieces of this size, in bytes: so much a sync may have to
/// wait for.
const PIECE: u64 = 128 << 10;

/// How a segment comes after others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The seal of another segment names it, or will.
    Sealed,
    /// It was made when the journal was created or opened.
    Resumed {
        /// The segment it continues; 0 for none.
        prev: u64,
        /// That one counts only up to here, in bytes.
        valid: u64,
    },
}

/// The header of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    /// Whose it is.
    pub(crate) store: StoreId,
    /// Its number.
    pub(crate) seq: u64,
    /// Random: with the number and the store, what its checksums are seeded with.
    pub(crate) salt: u64,
    /// Its length, in bytes.
    pub(crate) size: u64,
    /// How it comes after others.
    pub(crate) origin: Origin,
    /// What it starts with, for a resumed one; zeros for a sealed one, which continues its predecessor.
    pub(crate) start: Start,
}

impl SegmentHeader {
    pub(crate) fn seed(&self) -> Seed {
        Seed::new(self.store, self.seq, self.salt)
    }

    /// The first block of the file.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let (kind, prev, valid) = match self.origin {
            Origin::Sealed => (0, 0, 0),
            Origin::Resumed { prev, valid } => (1, prev, valid),
        };
        let body = Writer::default()
            .u128(self.store.0)
            .u64(self.seq)
            .u64(self.salt)
            .u64(self.size)
            .u64(kind)
            .u64(prev)
            .u64(valid)
            .u64(self.start.batch)
            .u64(self.start.chain)
            .0;
        let mut block = vec![0; BLOCK];
        for copy in 0..2_u8 {
            let at = usize::from(copy) * SEGMENT_LAYOUT.stride;
            if let Some(record) = SEGMENT_LAYOUT.encode(0, copy, self.seq, &body)
                && let Some(place) = block.get_mut(at..at + record.len())
            {
                place.copy_from_slice(&record);
            }
        }
        block
    }

    fn decode_body(bytes: &[u8]) -> Option<Self> {
        let mut r = Reader(bytes);
        let (store, seq, salt, size) = (StoreId(r.u128()?), r.u64()?, r.u64()?, r.u64()?);
        let origin = match (r.u64()?, r.u64()?, r.u64()?) {
            (0, _, _) => Origin::Sealed,
            (1, prev, valid) => Origin::Resumed { prev, valid },
            _ => return None,
        };
        let start = Start { seq, batch: r.u64()?, chain: r.u64()? };
        (start.batch <= COUNT_LIMIT).then_some(Self { store, seq, salt, size, origin, start })
    }
}

/// What the first block of a segment says.
#[derive(Clone, Debug, Default)]
pub(crate) struct FoundHeader {
    /// The header, if a copy is valid and belongs to this store and number.
    pub(crate) header: Option<SegmentHeader>,
    /// Why each copy is not valid, where it is not.
    pub(crate) broken: [Option<&'static str>; 2],
    /// The version of the valid copy.
    pub(crate) version: u32,
}

/// Reads the header in the first block of segment `seq`.
pub(crate) fn decode_header(store: StoreId, seq: u64, block: &[u8]) -> FoundHeader {
    let state = SEGMENT_LAYOUT.decode(0, block.get(..BLOCK.min(block.len())).unwrap_or_default());
    let version = state.record.as_ref().map_or(0, |record| record.version);
    let header = state.record.as_ref().and_then(|record| SegmentHeader::decode_body(&record.body));
    let ours = header.filter(|header| header.store == store && header.seq == seq);
    let broken = match (header, ours) {
        (Some(_), None) => [Some("a segment of another store or number"); 2],
        _ => state.broken,
    };
    FoundHeader { header: ours, broken, version }
}

/// A segment that is ready for batches.
#[derive(Clone)]
pub(crate) struct Ready {
    /// Its header.
    pub(crate) header: SegmentHeader,
    /// The open file.
    pub(crate) file: Arc<dyn VfsFile>,
}

/// Where a new segment's zeros come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Zeros {
    /// They are written: a later sync of little has nothing to do but to write that.
    Written,
    /// Room is reserved for them, where that can be done: the disk has half to write, and each sync has to note as well
    /// that what it wrote is no longer a reservation.
    Reserved,
}

/// Makes a segment: complete and durable under a temporary name, then under its own.
///
/// `first` is what follows the header. With `recycle` the file of an empty segment of that number and
/// size is used instead of a new one. With `pace` zeros are written not faster than it says.
pub(crate) fn make(
    vfs: &dyn Vfs,
    header: SegmentHeader,
    first: &[u8],
    zeros: Zeros,
    recycle: Option<u64>,
    pace: Option<&Pace>,
) -> io::Result<Ready> {
    let name = segment_name(header.seq);
    let temporary = format!("{name}{TEMPORARY}");
    match vfs.unlink(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let made = fill(vfs, &header, &temporary, first, zeros, recycle, pace).and_then(|file| {
        file.sync_data()?;
        file.written();
        vfs.rename(&temporary, &name)?;
        vfs.sync_dir()?;
        Ok(file)
    });
    match made {
        Ok(file) => Ok(Ready { header, file }),
        Err(error) => {
            // Gives the space back. What is left otherwise is removed at the next opening.
            let _ = vfs.unlink(&temporary);
            Err(error)
        }
    }
}

fn fill(
    vfs: &dyn Vfs,
    header: &SegmentHeader,
    temporary: &str,
    first: &[u8],
    zeros: Zeros,
    recycle: Option<u64>,
    pace: Option<&Pace>,
) -> io::Result<Arc<dyn VfsFile>> {
    let block = header.encode();
    if let Some(seq) = recycle {
        // Under its own name it must never hold half of what it will.
        vfs.rename(&segment_name(seq), temporary)?;
        vfs.sync_dir()?;
        let file = vfs.open(temporary)?;
        vfs::write_all_at(&*file, &block, 0)?;
        vfs::write_all_at(&*file, first, BLOCK_BYTES)?;
        return Ok(file);
    }
    let file = vfs.create(temporary)?;
    let reserved = match zeros {
        Zeros::Reserved => reserve(&*file, header.size)?,
        // Room that is there already takes less to write to, beside others. It is no more than that: where it cannot be had,
        // the zeros are written all the same.
        Zeros::Written if pace.is_some() => match reserve(&*file, header.size) {
            Err(error) if vfs::is_no_space(&error) => return Err(error),
            reserved => reserved.unwrap_or(false),
        },
        Zeros::Written => false,
    };
    vfs::write_all_at(&*file, &block, 0)?;
    vfs::write_all_at(&*file, first, BLOCK_BYTES)?;
    if !(reserved && zeros == Zeros::Reserved) {
        write_zeros(&*file, BLOCK_BYTES + first.len() as u64, header.size, pace, reserved)?;
    }
    Ok(file)
}

/// Whether there is room now; not where the file system knows no reservation.
fn reserve(file: &dyn VfsFile, size: u64) -> io::Result<bool> {
    match file.reserve(size) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(false),
        Err(error) => Err(error),
    }
}

fn write_zeros(
    file: &dyn VfsFile,
    from: u64,
    size: u64,
    pace: Option<&Pace>,
    reserved: bool,
) -> io::Result<()> {
    let all = Aligned::zeros(usize::try_from(SYNC_ZEROS.min(size.saturating_sub(from))).unwrap_or(0));
    let (mut at, mut unsynced) = (from, 0);
    while at < size {
        let has_time = pace.map_or(Ok(false), |pace| pace.wait(at, size))?;
        if reserved && !has_time {
            // Somebody waits for the segment: what is left stays a reservation.
            return Ok(());
        }
        let limit = if has_time { PIECE } else { SYNC_ZEROS - unsynced };
        let piece = usize::try_from(limit.min(size - at)).unwrap_or(0);
        vfs::write_all_through(file, all.bytes().get(..piece).unwrap_or_default(), at)?;
        at += piece as u64;
        unsynced += piece as u64;
        if unsynced >= SYNC_ZEROS || at == size {
            file.sync_data()?;
            unsynced = 0;
        }
    }
    Ok(())
}
