//! The bytes of one file: what a process reads, and what a power cut may leave of them.

use std::ops::Range;

use super::SECTOR;
use crate::sim::rng::Rng;

/// A change that is not synced.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    /// Where.
    offset: usize,
    /// What is there now; none for zeros of that length.
    after: Bytes,
    /// What was there before, as far as the file went.
    before: Vec<u8>,
    /// How long the file was before.
    length: usize,
    /// The file is cut or extended to `offset`, rather than written.
    pub(super) cuts: bool,
}

/// What a power cut makes of a sector that was being written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is as it was.
    Lost,
    /// It is as it was to be.
    Kept,
    /// All of it is zero.
    Zero,
    /// It holds anything at all: what follows from this number.
    Garbage(u64),
}

/// Bytes of a write. Zeros are many and need no memory.
#[derive(Clone, Debug)]
enum Bytes {
    Some(Vec<u8>),
    Zeros(usize),
}

impl Bytes {
    pub(super) fn of(buf: &[u8]) -> Self {
        const ZEROS: [u8; super::BLOCK] = [0; super::BLOCK];
        let is_zero = |part: &[u8]| ZEROS.starts_with(part);
        if buf.first() == Some(&0) && buf.chunks(super::BLOCK).all(is_zero) {
            Self::Zeros(buf.len())
        } else {
            Self::Some(buf.to_vec())
        }
    }

    const fn len(&self) -> usize {
        match self {
            Self::Some(bytes) => bytes.len(),
            Self::Zeros(length) => *length,
        }
    }

    /// Puts a part of them where it belongs.
    fn put(&self, part: Range<usize>, to: &mut Vec<u8>, at: usize) {
        let end = at + part.len();
        if to.len() < end {
            to.resize(end, 0);
        }
        match self {
            Self::Some(bytes) => to[at..end].copy_from_slice(&bytes[part]),
            Self::Zeros(_) => to[at..end].fill(0),
        }
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct File {
    pub(super) current: Vec<u8>,
    pub(super) pending: Vec<Pending>,
    /// What is pending beyond these was written in this life.
    pub(super) inherited: usize,
    /// What is durable, where that is not simply what is read without what is pending: after a failed sync.
    durable: Option<Vec<u8>>,
}

impl File {
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self { current: bytes.to_vec(), ..Self::default() }
    }

    pub(super) fn write(&mut self, offset: usize, buf: &[u8]) {
        let length = self.current.len();
        let end = offset + buf.len();
        let after = Bytes::of(buf);
        let before = self.current.get(offset..end.min(length)).unwrap_or_default().to_vec();
        after.put(0..buf.len(), &mut self.current, offset);
        self.pending.push(Pending { offset, after, before, length, cuts: false });
    }

    /// Bytes of another file's write that land here: on the disk, behind the system's back.
    pub(super) fn overwrite(&mut self, offset: usize, buf: &[u8]) {
        for bytes in [Some(&mut self.current), self.durable.as_mut()].into_iter().flatten() {
            if let Some(place) = bytes.get_mut(offset..offset + buf.len()) {
                place.copy_from_slice(buf);
            }
        }
    }

    pub(super) fn set_len(&mut self, to: usize) {
        let length = self.current.len();
        let before = self.current.get(to..).unwrap_or_default().to_vec();
        self.current.resize(to, 0);
        self.pending.push(Pending { offset: to, after: Bytes::Zeros(0), before, length, cuts: true });
    }

    pub(super) fn sync(&mut self) {
        self.inherited = 0;
        let pending = std::mem::take(&mut self.pending);
        if let Some(durable) = &mut self.durable {
            for change in &pending {
                change.apply(0..change.after.len(), durable);
            }
            if *durable == self.current {
                self.durable = None;
            }
        }
    }

    /// The system takes the pages for clean: readable, and never written.
    pub(super) fn fail_sync(&mut self) {
        self.durable = Some(self.durable());
        self.pending.clear();
        self.inherited = 0;
    }

    pub(super) fn durable(&self) -> Vec<u8> {
        self.durable.clone().unwrap_or_else(|| self.read_before())
    }

    /// What was read before everything that is pending.
    fn read_before(&self) -> Vec<u8> {
        let mut bytes = self.current.clone();
        for change in self.pending.iter().rev() {
            change.undo(&mut bytes);
        }
        bytes
    }

    /// What was pending is gone, but for what `fate` says, sector by sector. Returns how many were kept and lost.
    pub(super) fn crash(&mut self, mut fate: impl FnMut() -> Fate) -> (u64, u64) {
        let (mut kept, mut lost) = (0, 0);
        if self.pending.is_empty() && self.durable.is_none() {
            return (0, 0);
        }
        let mut bytes = self.durable();
        // What was read at the time of each change.
        let mut seen = self.read_before();
        for change in std::mem::take(&mut self.pending) {
            change.apply(0..change.after.len(), &mut seen);
            for piece in change.sectors() {
                match fate() {
                    Fate::Lost => lost += 1,
                    Fate::Kept => {
                        change.keep(piece, &seen, &mut bytes);
                        kept += 1;
                    }
                    Fate::Zero => {
                        change.spoil(piece, &mut bytes, |sector| sector.fill(0));
                        lost += 1;
                    }
                    Fate::Garbage(seed) => {
                        let mut rng = Rng::new(seed);
                        change.spoil(piece, &mut bytes, |sector| {
                            sector.iter_mut().for_each(|byte| *byte = rng.next() as u8);
                        });
                        lost += 1;
                    }
                }
            }
        }
        self.inherited = 0;
        self.durable = None;
        self.current = bytes;
        (kept, lost)
    }

    /// Changes a stored byte, whoever reads it.
    pub(super) fn damage(&mut self, at: usize, bit: u8) {
        if let Some(byte) = self.current.get_mut(at) {
            *byte ^= bit;
        }
        if let Some(byte) = self.durable.as_mut().and_then(|durable| durable.get_mut(at)) {
            *byte ^= bit;
        }
    }
}

impl Pending {
    /// The parts of the write that reach the disk as a whole or not at all.
    pub(super) fn sectors(&self) -> Vec<Range<usize>> {
        let length = self.after.len();
        if self.cuts {
            return std::iter::once(0..0).collect();
        }
        let mut pieces = Vec::new();
        let mut at = 0;
        while at < length {
            let end = length.min(at + SECTOR - (self.offset + at) % SECTOR);
            pieces.push(at..end);
            at = end;
        }
        pieces
    }

    fn apply(&self, part: Range<usize>, to: &mut Vec<u8>) {
        if self.cuts {
            to.resize(self.offset, 0);
        } else {
            let at = self.offset + part.start;
            self.after.put(part, to, at);
        }
    }

    /// Puts a part of it on the disk. A part of a sector brings all of the sector, as it is in memory.
    fn keep(&self, part: Range<usize>, seen: &[u8], to: &mut Vec<u8>) {
        let (start, end) = (self.offset + part.start, self.offset + part.end);
        let whole = start - start % SECTOR..end.next_multiple_of(SECTOR).min(seen.len());
        if self.cuts || whole == (start..end) {
            return self.apply(part, to);
        }
        if to.len() < whole.end {
            to.resize(whole.end, 0);
        }
        to[whole.clone()].copy_from_slice(&seen[whole]);
    }

    /// Puts something else where a part of it should be, in all of the sector.
    fn spoil(&self, part: Range<usize>, to: &mut Vec<u8>, with: impl FnOnce(&mut [u8])) {
        if self.cuts {
            return;
        }
        let (start, end) = (self.offset + part.start, self.offset + part.end);
        if to.len() < end {
            to.resize(end, 0);
        }
        let whole = start - start % SECTOR..end.next_multiple_of(SECTOR).min(to.len());
        with(&mut to[whole]);
    }

    fn undo(&self, bytes: &mut Vec<u8>) {
        bytes.resize(self.length, 0);
        bytes[self.offset..self.offset + self.before.len()].copy_from_slice(&self.before);
    }
}
