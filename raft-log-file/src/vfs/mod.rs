//! The few file operations that a journal needs, as a trait, so that a simulator can stand in for the
//! disk.
//!
//! What an implementation must keep, and no more:
//! * what was written is durable once [`VfsFile::sync_data`] of that file returned;
//! * before that a crash may keep any subset of the written 512-byte sectors;
//! * names (create, rename, unlink) are durable once [`Vfs::sync_dir`] returned, and a rename is atomic;
//! * a read sees all earlier writes.

mod aligned;
#[cfg(target_os = "linux")]
mod direct;
mod os;

use std::io;
use std::sync::Arc;

use raft_core::slots::SECTOR;

pub(crate) use aligned::Aligned;
pub use os::OsVfs;

/// One folder. Names are plain file names.
pub trait Vfs: Send + Sync + 'static {
    /// The names in the folder, in any order.
    ///
    /// # Errors
    /// Those of the system; [`io::ErrorKind::NotFound`] if the folder does not exist.
    fn list(&self) -> io::Result<Vec<String>>;

    /// A new, empty file.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] if it exists, or those of the system.
    fn create(&self, name: &str) -> io::Result<Arc<dyn VfsFile>>;

    /// An existing file, for reading and writing.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if it does not exist, or those of the system.
    fn open(&self, name: &str) -> io::Result<Arc<dyn VfsFile>>;

    /// Gives a file another name, over whatever has that name.
    ///
    /// # Errors
    /// Those of the system.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a name. Open files stay readable.
    ///
    /// # Errors
    /// Those of the system.
    fn unlink(&self, name: &str) -> io::Result<()>;

    /// Makes all names durable.
    ///
    /// # Errors
    /// Those of the system.
    fn sync_dir(&self) -> io::Result<()>;

    /// Takes the exclusive lock on a file of that name, creating it if need be. It is released when the
    /// result is dropped.
    ///
    /// # Errors
    /// [`LockError::Held`] if anyone else has it, in this process or another.
    fn lock(&self, name: &str) -> Result<Box<dyn Send + Sync>, LockError>;
}

/// An open file.
pub trait VfsFile: Send + Sync + 'static {
    /// Reads some bytes at a position; 0 at the end of the file.
    ///
    /// # Errors
    /// Those of the system.
    fn pread(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes some bytes at a position.
    ///
    /// # Errors
    /// Those of the system.
    fn pwrite(&self, buf: &[u8], offset: u64) -> io::Result<usize>;

    /// The same for bytes that are synced at once: an implementation may spare itself to keep them in memory until then.
    ///
    /// # Errors
    /// Those of [`pwrite`](Self::pwrite).
    fn pwrite_through(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        self.pwrite(buf, offset)
    }

    /// Nothing will be written for a while, or ever: what an implementation keeps for that may go.
    fn written(&self) {}

    /// Makes the contents and what is needed to read them durable.
    ///
    /// # Errors
    /// Those of the system. The state of everything un-synced is then unknown.
    fn sync_data(&self) -> io::Result<()>;

    /// The length in bytes.
    ///
    /// # Errors
    /// Those of the system.
    fn len(&self) -> io::Result<u64>;

    /// Whether the length is zero.
    ///
    /// # Errors
    /// Those of [`len`](Self::len).
    fn is_empty(&self) -> io::Result<bool> {
        self.len().map(|length| length == 0)
    }

    /// Cuts or extends the file.
    ///
    /// # Errors
    /// Those of the system.
    fn set_len(&self, length: u64) -> io::Result<()>;

    /// Extends the file to `length` with zeros, for which room is kept: the same as writing them, and cheaper. The next
    /// [`sync_data`](Self::sync_data) makes that durable.
    ///
    /// # Errors
    /// [`io::ErrorKind::Unsupported`] where there is no such thing, and nothing has changed; or those of the system, as
    /// of [`pwrite`](Self::pwrite).
    fn reserve(&self, _length: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Why a lock was not given.
#[derive(Debug)]
pub enum LockError {
    /// Someone has it: this process, if known.
    Held(Option<u32>),
    /// The system failed.
    Io(io::Error),
}

/// Writes all of `buf`, in as many calls as it takes.
pub(crate) fn write_all_at(file: &dyn VfsFile, buf: &[u8], offset: u64) -> io::Result<()> {
    write_all(file, buf, offset, |buf, offset| file.pwrite(buf, offset))
}

/// The same for what is synced at once.
pub(crate) fn write_all_through(file: &dyn VfsFile, buf: &[u8], offset: u64) -> io::Result<()> {
    write_all(file, buf, offset, |buf, offset| file.pwrite_through(buf, offset))
}

/// Writes with as many calls as it takes.
///
/// A call may end within a sector. Then that sector is completed and made durable before anything behind it is
/// written: else a crash could leave it half written in front of others that are whole, and recovery would have to
/// tell that from rot.
fn write_all(
    file: &dyn VfsFile,
    mut buf: &[u8],
    mut offset: u64,
    write: impl Fn(&[u8], u64) -> io::Result<usize>,
) -> io::Result<()> {
    let mut cut = false;
    while !buf.is_empty() {
        let within = (offset % SECTOR as u64) as usize;
        if cut && within == 0 {
            file.sync_data()?;
            cut = false;
        }
        let piece = if cut { buf.get(..SECTOR - within).unwrap_or(buf) } else { buf };
        match write(piece, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                buf = buf.get(written..).unwrap_or_default();
                offset += written as u64;
                cut |= !offset.is_multiple_of(SECTOR as u64);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Fills `buf` as far as the file goes; returns how many bytes that were.
pub(crate) fn read_full_at(file: &dyn VfsFile, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buf.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.pread(rest, offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// The whole file.
pub(crate) fn read_all(file: &dyn VfsFile) -> io::Result<Vec<u8>> {
    let length = usize::try_from(file.len()?).map_err(|_| io::ErrorKind::FileTooLarge)?;
    let mut bytes = vec![0; length];
    let filled = read_full_at(file, &mut bytes, 0)?;
    bytes.truncate(filled);
    Ok(bytes)
}

/// Whether an error says that the disk is full.
pub(crate) fn is_no_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
