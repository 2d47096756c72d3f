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
///
/// ```
/// use std::io;
///
/// use raft_log_file::vfs::{OsVfs, Vfs};
///
/// /// Whatever the moment of a crash, `state` has the old bytes or the new ones.
/// fn replace(vfs: &dyn Vfs, bytes: &[u8]) -> io::Result<()> {
///     let file = vfs.create("state.new")?;
///     assert_eq!(file.pwrite(bytes, 0)?, bytes.len());
///     file.sync_data()?;
///     vfs.rename("state.new", "state")?;
///     vfs.sync_dir()
/// }
/// # fn main() -> io::Result<()> {
/// # let folder = tempfile::tempdir()?;
/// let vfs = OsVfs::new(folder.path());
/// replace(&vfs, b"old")?;
/// replace(&vfs, b"newer")?;
/// assert_eq!((vfs.list()?, vfs.open("state")?.len()?), (vec!["state".to_owned()], 5));
/// # Ok(())
/// # }
/// ```
pub trait Vfs: Send + Sync + 'static {
    /// The names in the folder, in any order.
    ///
    /// # Errors
    /// Those of the system; [`io::ErrorKind::NotFound`] if the folder does not exist.
    ///
    /// # Example
    /// ```
    /// # use raft_log_file::vfs::{OsVfs, Vfs};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let vfs = OsVfs::new(folder.path());
    /// vfs.create("b")?;
    /// vfs.create("a")?;
    /// let mut names = vfs.list()?;
    /// names.sort();
    /// assert_eq!(names, ["a", "b"]);
    /// # Ok(())
    /// # }
    /// ```
    fn list(&self) -> io::Result<Vec<String>>;

    /// A new, empty file.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] if it exists, or those of the system.
    ///
    /// # Example
    /// ```
    /// # use std::io;
    /// # use raft_log_file::vfs::{OsVfs, Vfs};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let vfs = OsVfs::new(folder.path());
    /// vfs.create("000001.seg")?;
    /// // Nothing is ever written over.
    /// let again = vfs.create("000001.seg").err().map(|error| error.kind());
    /// assert_eq!(again, Some(io::ErrorKind::AlreadyExists));
    /// # Ok(())
    /// # }
    /// ```
    fn create(&self, name: &str) -> io::Result<Arc<dyn VfsFile>>;

    /// An existing file, for reading and writing.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if it does not exist, or those of the system.
    ///
    /// # Example
    /// ```
    /// # use std::io;
    /// # use raft_log_file::vfs::{OsVfs, Vfs};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let vfs = OsVfs::new(folder.path());
    /// assert_eq!(vfs.open("a").err().map(|error| error.kind()), Some(io::ErrorKind::NotFound));
    /// vfs.create("a")?.pwrite(b"seven", 0)?;
    /// assert_eq!(vfs.open("a")?.len()?, 5);
    /// # Ok(())
    /// # }
    /// ```
    fn open(&self, name: &str) -> io::Result<Arc<dyn VfsFile>>;

    /// Gives a file another name, over whatever has that name.
    ///
    /// # Errors
    /// Those of the system.
    ///
    /// # Example
    /// ```
    /// # use raft_log_file::vfs::{OsVfs, Vfs};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let vfs = OsVfs::new(folder.path());
    /// vfs.create("old")?;
    /// vfs.create("new")?.pwrite(b"seven", 0)?;
    /// vfs.rename("new", "old")?;
    /// assert_eq!((vfs.list()?, vfs.open("old")?.len()?), (vec!["old".to_owned()], 5));
    /// # Ok(())
    /// # }
    /// ```
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a name. Open files stay readable.
    ///
    /// # Errors
    /// Those of the system.
    ///
    /// # Example
    /// ```
    /// # use raft_log_file::vfs::{OsVfs, Vfs};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let vfs = OsVfs::new(folder.path());
    /// let file = vfs.create("a")?;
    /// file.pwrite(b"seven", 0)?;
    /// vfs.unlink("a")?;
    /// assert!(vfs.list()?.is_empty());
    /// // A reader that has it goes on.
    /// let mut bytes = [0; 5];
    /// assert_eq!((file.pread(&mut bytes, 0)?, &bytes), (5, b"seven"));
    /// # Ok(())
    /// # }
    /// ```
    fn unlink(&self, name: &str) -> io::Result<()>;

    /// Makes all names durable.
    ///
    /// # Errors
    /// Those of the system.
    ///
    /// # Example
    /// ```
    /// # use raft_log_file::vfs::{OsVfs, Vfs};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let vfs = OsVfs::new(folder.path());
    /// // The bytes of a file are of no use if a crash takes its name.
    /// let file = vfs.create("a")?;
    /// file.pwrite(b"seven", 0)?;
    /// file.sync_data()?;
    /// vfs.sync_dir()?;
    /// assert_eq!(vfs.list()?, ["a"]);
    /// # Ok(())
    /// # }
    /// ```
    fn sync_dir(&self) -> io::Result<()>;

    /// Takes the exclusive lock on a file of that name, creating it if need be. It is released when the
    /// result is dropped.
    ///
    /// # Errors
    /// [`LockError::Held`] if anyone else has it, in this process or another.
    ///
    /// # Example
    /// ```
    /// # use raft_log_file::vfs::{OsVfs, Vfs};
    /// # use raft_log_file::vfs::LockError;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let vfs = OsVfs::new(folder.path());
    /// let lock = vfs.lock("LOCK").map_err(|_| "somebody has it")?;
    /// assert!(matches!(vfs.lock("LOCK"), Err(LockError::Held(_))), "one has it");
    /// drop(lock);
    /// assert!(vfs.lock("LOCK").is_ok());
    /// # Ok(())
    /// # }
    /// ```
    fn lock(&self, name: &str) -> Result<Box<dyn Send + Sync>, LockError>;
}

/// An open file.
///
/// The least that one needs, in memory:
///
/// ```
/// use std::io;
/// use std::sync::{Mutex, MutexGuard, PoisonError};
///
/// use raft_log_file::vfs::VfsFile;
///
/// struct InMemory(Mutex<Vec<u8>>);
///
/// impl InMemory {
///     fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
///         self.0.lock().unwrap_or_else(PoisonError::into_inner)
///     }
/// }
///
/// impl VfsFile for InMemory {
///     fn pread(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
///         let bytes = self.bytes();
///         let there = bytes.get(offset as usize..).unwrap_or_default();
///         let length = there.len().min(buf.len());
///         buf[..length].copy_from_slice(&there[..length]);
///         Ok(length)
///     }
///
///     fn pwrite(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
///         let (mut bytes, end) = (self.bytes(), offset as usize + buf.len());
///         let length = bytes.len().max(end);
///         bytes.resize(length, 0);
///         bytes[offset as usize..end].copy_from_slice(buf);
///         Ok(buf.len())
///     }
///
///     fn sync_data(&self) -> io::Result<()> {
///         Ok(()) // Nothing outlives the process; a simulator would note what a crash can no longer take.
///     }
///
///     fn len(&self) -> io::Result<u64> {
///         Ok(self.bytes().len() as u64)
///     }
///
///     fn set_len(&self, length: u64) -> io::Result<()> {
///         self.bytes().resize(length as usize, 0);
///         Ok(())
///     }
/// }
///
/// let file = InMemory(Mutex::default());
/// assert_eq!(file.pwrite(b"seven", 2).unwrap(), 5);
/// let mut bytes = [0xff; 8];
/// assert_eq!((file.pread(&mut bytes, 0).unwrap(), &bytes[..3]), (7, &b"\0\0s"[..]));
/// ```
pub trait VfsFile: Send + Sync + 'static {
    /// Reads some bytes at a position; 0 at the end of the file.
    ///
    /// # Errors
    /// Those of the system.
    ///
    /// # Example
    /// ```
    /// # use raft_log_file::vfs::{OsVfs, Vfs};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let vfs = OsVfs::new(folder.path());
    /// let file = vfs.create("a")?;
    /// file.pwrite(b"seven", 0)?;
    /// let mut bytes = [0; 8];
    /// assert_eq!((file.pread(&mut bytes, 1)?, &bytes[..4]), (4, &b"even"[..]));
    /// assert_eq!(file.pread(&mut bytes, 5)?, 0, "this is the end");
    /// # Ok(())
    /// # }
    /// ```
    fn pread(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes some bytes at a position.
    ///
    /// # Errors
    /// Those of the system.
    ///
    /// # Example
    /// ```
    /// # use raft_log_file::vfs::{OsVfs, Vfs};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let vfs = OsVfs::new(folder.path());
    /// let file = vfs.create("a")?;
    /// let mut rest: &[u8] = b"seven";
    /// while !rest.is_empty() {
    ///     // A call may write a part only.
    ///     let written = file.pwrite(rest, file.len()?)?;
    ///     rest = &rest[written..];
    /// }
    /// assert_eq!(file.len()?, 5);
    /// # Ok(())
    /// # }
    /// ```
    fn pwrite(&self, buf: &[u8], offset: u64) -> io::Result<usize>;

    /// The same for bytes that are synced at once: an implementation may spare itself to keep them in memory until then.
    ///
    /// # Errors
    /// Those of [`pwrite`](Self::pwrite).
    ///
    /// # Example
    /// ```
    /// # use raft_log_file::vfs::{OsVfs, Vfs};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let vfs = OsVfs::new(folder.path());
    /// let file = vfs.create("a")?;
    /// let written = file.pwrite_through(&[7; 4096], 0)?;
    /// file.sync_data()?;
    /// // It says what it has written just as `pwrite` does.
    /// assert_eq!(file.len()?, written as u64);
    /// # Ok(())
    /// # }
    /// ```
    fn pwrite_through(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        self.pwrite(buf, offset)
    }

    /// Nothing will be written for a while, or ever: what an implementation keeps for that may go.
    ///
    /// ```
    /// # use raft_log_file::vfs::{OsVfs, Vfs};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let vfs = OsVfs::new(folder.path());
    /// let file = vfs.create("a")?;
    /// file.pwrite_through(&[7; 4096], 0)?;
    /// file.sync_data()?;
    /// file.written();
    /// // Only readers are expected from now on; whoever writes all the same can.
    /// assert_eq!(file.pwrite(b"seven", 0)?, 5);
    /// # Ok(())
    /// # }
    /// ```
    fn written(&self) {}

    /// Makes the contents and what is needed to read them durable.
    ///
    /// # Errors
    /// Those of the system. The state of everything un-synced is then unknown.
    ///
    /// # Example
    /// ```
    /// # use raft_log_file::vfs::{OsVfs, Vfs};
    /// # use raft_log_file::vfs::VfsFile;
    /// # use std::io;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let vfs = OsVfs::new(folder.path());
    /// /// `Ok` only once no crash can take the bytes: until then nobody may be told that they are there.
    /// fn store(file: &dyn VfsFile, bytes: &[u8]) -> io::Result<()> {
    ///     assert_eq!(file.pwrite(bytes, 0)?, bytes.len());
    ///     file.sync_data()
    /// }
    /// assert!(store(&*vfs.create("a")?, b"seven").is_ok());
    /// # Ok(())
    /// # }
    /// ```
    fn sync_data(&self) -> io::Result<()>;

    /// The length in bytes.
    ///
    /// # Errors
    /// Those of the system.
    ///
    /// # Example
    /// ```
    /// # use raft_log_file::vfs::{OsVfs, Vfs};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let vfs = OsVfs::new(folder.path());
    /// let file = vfs.create("a")?;
    /// file.pwrite(b"seven", 100)?;
    /// assert_eq!(file.len()?, 105, "what lies before counts");
    /// # Ok(())
    /// # }
    /// ```
    fn len(&self) -> io::Result<u64>;

    /// Whether the length is zero.
    ///
    /// # Errors
    /// Those of [`len`](Self::len).
    ///
    /// # Example
    /// ```
    /// # use raft_log_file::vfs::{OsVfs, Vfs};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let vfs = OsVfs::new(folder.path());
    /// let file = vfs.create("a")?;
    /// assert!(file.is_empty()?);
    /// file.set_len(1)?;
    /// assert!(!file.is_empty()?);
    /// # Ok(())
    /// # }
    /// ```
    fn is_empty(&self) -> io::Result<bool> {
        self.len().map(|length| length == 0)
    }

    /// Cuts or extends the file.
    ///
    /// # Errors
    /// Those of the system.
    ///
    /// # Example
    /// ```
    /// # use raft_log_file::vfs::{OsVfs, Vfs};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let vfs = OsVfs::new(folder.path());
    /// let file = vfs.create("a")?;
    /// file.pwrite(b"seven", 0)?;
    /// file.set_len(2)?;
    /// file.set_len(3)?;
    /// // What was cut off does not come back.
    /// let mut bytes = [0xff; 3];
    /// assert_eq!((file.pread(&mut bytes, 0)?, &bytes), (3, b"se\0"));
    /// # Ok(())
    /// # }
    /// ```
    fn set_len(&self, length: u64) -> io::Result<()>;

    /// Extends the file to `length` with zeros, for which room is kept: the same as writing them, and cheaper. The next
    /// [`sync_data`](Self::sync_data) makes that durable.
    ///
    /// # Errors
    /// [`io::ErrorKind::Unsupported`] where there is no such thing, and nothing has changed; or those of the system, as
    /// of [`pwrite`](Self::pwrite).
    ///
    /// # Example
    /// ```
    /// # use std::io;
    /// # use raft_log_file::vfs::{OsVfs, Vfs};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let vfs = OsVfs::new(folder.path());
    /// let file = vfs.create("a")?;
    /// match file.reserve(1 << 20) {
    ///     Ok(()) => assert_eq!(file.len()?, 1 << 20),
    ///     // Then zeros have to be written.
    ///     Err(error) => assert_eq!((error.kind(), file.len()?), (io::ErrorKind::Unsupported, 0)),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    fn reserve(&self, _length: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Why a lock was not given.
///
/// ```
/// use raft_log_file::vfs::LockError;
///
/// let advice = |error: LockError| match error {
///     LockError::Held(Some(by)) => format!("stop process {by} first"),
///     LockError::Held(None) => "stop the other process first".to_owned(),
///     LockError::Io(error) => format!("look at the disk: {error}"),
/// };
/// assert_eq!(advice(LockError::Held(Some(4711))), "stop process 4711 first");
/// ```
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
