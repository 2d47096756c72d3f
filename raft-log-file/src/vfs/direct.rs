//! Writing to the disk past the system's memory (`O_DIRECT`).
//!
//! What a journal writes is read again seldom, and a copy of it in the system's memory costs time for each byte: the copy,
//! the memory, and finding it again at the sync. So what is aligned goes to the disk at once; a sync is needed as before.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{Mode, OFlags, open};

use super::aligned::is_aligned;

/// A second way to an open file, where the file system has one.
#[derive(Debug, Default)]
pub(super) struct Direct(Mutex<Way>);

#[derive(Debug, Default)]
enum Way {
    /// None was needed yet, or any more.
    #[default]
    Closed,
    Open(File),
    /// There is none.
    Refused,
}

impl Direct {
    /// Writes some bytes, if that can be done directly.
    pub(super) fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> Option<io::Result<usize>> {
        if !is_aligned(bytes, offset) {
            return None;
        }
        let mut way = self.way();
        if matches!(*way, Way::Closed) {
            *way = another_way(file).map_or(Way::Refused, Way::Open);
        }
        let Way::Open(direct) = &*way else { return None };
        match direct.write_at(bytes, offset) {
            // Some file systems give the way and do not let anything pass.
            Err(error)
                if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) =>
            {
                *way = Way::Refused;
                None
            }
            done => Some(done),
        }
    }

    /// Gives the second descriptor back until it is needed again.
    pub(super) fn close(&self) {
        let mut way = self.way();
        if matches!(*way, Way::Open(_)) {
            *way = Way::Closed;
        }
    }

    fn way(&self) -> MutexGuard<'_, Way> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The same file, whatever its name is by now.
fn another_way(file: &File) -> io::Result<File> {
    let own = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
    let flags = OFlags::WRONLY | OFlags::DIRECT | OFlags::CLOEXEC;
    Ok(open(own, flags, Mode::empty()).map(File::from)?)
}

#[cfg(test)]
mod tests {
    use super::super::{Aligned, OsVfs, Vfs, read_all};
    use super::*;

    #[test]
    fn what_is_written_directly_is_read_like_anything_else() {
        let dir = tempfile::tempdir().unwrap();
        let vfs = OsVfs::new(dir.path());
        let file = vfs.create("some").unwrap();
        file.pwrite(&[1; 5000], 0).unwrap();
        let mut page = Aligned::default();
        page.begin(4096).extend([2; 4096]);
        file.pwrite_through(page.bytes(), 4096).unwrap();
        file.written();
        vfs.rename("some", "other").unwrap();
        file.pwrite_through(page.bytes(), 12_288).unwrap();
        file.pwrite_through(&[3; 10], 8192).unwrap();
        file.sync_data().unwrap();
        let mut expected = vec![1; 4096];
        expected.resize(8192, 2);
        expected.resize(8202, 3);
        expected.resize(12_288, 0);
        expected.resize(16_384, 2);
        assert!(read_all(&*file).unwrap() == expected);
        assert!(read_all(&*vfs.open("other").unwrap()).unwrap() == expected);
    }

    #[test]
    fn what_is_not_aligned_is_left_to_others() {
        let file = tempfile::tempfile().unwrap();
        let direct = Direct::default();
        let zeros = Aligned::zeros(8192);
        let written = |bytes: &[u8], offset| direct.write_at(&file, bytes, offset).is_some();
        assert!(!written(zeros.bytes(), 512) && !written(&zeros.bytes()[..100], 0) && !written(&[], 0));
        assert!(!written(&zeros.bytes()[512..4608], 0));
        assert_eq!(file.metadata().unwrap().len(), 0);
    }
}
