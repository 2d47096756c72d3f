//! A segment as a walk needs it: a part at a time, from batch to batch, so that what is read is still in the processor's
//! cache when it is checked; and as a whole where a batch is not as it should be.

use std::io;

use super::evidence::from;
use crate::vfs::{self, VfsFile};

/// What is read with one call, at least, in bytes.
const STEP: u64 = 256 << 10;

/// A part of a segment.
pub(super) struct Window<'a> {
    file: &'a dyn VfsFile,
    /// The size of the file, in bytes.
    length: u64,
    bytes: &'a mut Vec<u8>,
    /// Where `bytes` begin in the file.
    start: u64,
    whole: bool,
}

impl<'a> Window<'a> {
    /// Nothing has been read yet; what is in `bytes` does not matter.
    pub(super) fn new(file: &'a dyn VfsFile, length: u64, bytes: &'a mut Vec<u8>) -> Self {
        bytes.clear();
        Self { file, length, bytes, start: 0, whole: false }
    }

    /// Makes sure that `size` bytes from `offset` on are here, as far as the file has them.
    pub(super) fn load(&mut self, offset: u64, size: u64) -> io::Result<()> {
        let end = offset.saturating_add(size).min(self.length);
        let is_here = self.start <= offset && end <= self.start + self.bytes.len() as u64;
        if self.whole || is_here {
            return Ok(());
        }
        self.read(offset, size.max(STEP))
    }

    /// Reads all of it.
    pub(super) fn load_whole(&mut self) -> io::Result<()> {
        self.read(0, self.length)?;
        self.whole = true;
        Ok(())
    }

    pub(super) const fn is_whole(&self) -> bool {
        self.whole
    }

    /// What is here.
    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes
    }

    /// What is here from a position in the file on.
    pub(super) fn from(&self, offset: u64) -> &[u8] {
        offset.checked_sub(self.start).map_or(&[], |at| from(self.bytes, at))
    }

    fn read(&mut self, start: u64, size: u64) -> io::Result<()> {
        let size = size.min(self.length.saturating_sub(start));
        self.bytes.resize(usize::try_from(size).map_err(|_| io::ErrorKind::FileTooLarge)?, 0);
        self.start = start;
        let filled = vfs::read_full_at(self.file, self.bytes, start)?;
        self.bytes.truncate(filled);
        Ok(())
    }
}
