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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vfs::{OsVfs, Vfs};

    /// Wherever it is looked at, forwards or back, in parts or as a whole, it is the file's own bytes, and as many as were
    /// asked for, as far as the file has them.
    #[test]
    fn a_part_is_what_the_file_has_there() {
        let folder = tempfile::tempdir().unwrap();
        let size = 3 * STEP + 777;
        let all: Vec<u8> = (0..size).map(|at| (at ^ at >> 8 ^ at >> 16) as u8).collect();
        std::fs::write(folder.path().join("segment"), &all).unwrap();
        let file = OsVfs::new(folder.path()).open("segment").unwrap();
        let mut bytes = vec![9; 100];
        let mut window = Window::new(&*file, size, &mut bytes);
        let asked = [
            (0, 4096),
            (4096, 4096),
            (STEP - 4096, 8192),
            (STEP + 5, STEP * 2),
            (100, 10),
            (size - 9, 4096),
            (size, 4096),
            (size + 5000, 10),
            (7, u64::MAX),
        ];
        for (offset, count) in asked {
            window.load(offset, count).unwrap();
            let (from, to) = (offset.min(size), offset.saturating_add(count).min(size));
            let seen = window.from(offset).get(..(to - from) as usize);
            assert!(seen == Some(&all[from as usize..to as usize]), "{count} from {offset}");
            assert!(!window.is_whole());
        }
        window.load_whole().unwrap();
        assert!(window.is_whole() && window.bytes() == all);
        window.load(STEP, 10).unwrap();
        assert!(window.bytes() == all, "what is whole stays so");
    }

    /// It is cut, and says that it is longer.
    #[test]
    fn a_file_that_ends_early_gives_what_it_has() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("segment"), [7; 5000]).unwrap();
        let file = OsVfs::new(folder.path()).open("segment").unwrap();
        let mut bytes = Vec::new();
        let mut window = Window::new(&*file, 3 * STEP, &mut bytes);
        window.load(4096, 4096).unwrap();
        assert_eq!(window.from(4096), [7; 904]);
        window.load_whole().unwrap();
        assert_eq!(window.bytes(), [7; 5000]);
    }
}
