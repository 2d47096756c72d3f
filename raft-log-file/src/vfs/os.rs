//! The real file system.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
#[cfg(unix)]
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{LockError, Vfs, VfsFile};

/// One folder of the real file system.
#[derive(Clone, Debug)]
pub struct OsVfs {
    dir: PathBuf,
}

impl OsVfs {
    /// The folder `dir`, which may not exist yet.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_path_buf() }
    }

    /// Creates the folder with its parents where missing, durably.
    ///
    /// # Errors
    /// Those of the system.
    pub fn create_dir(&self) -> io::Result<()> {
        let missing: Vec<&Path> = self.dir.ancestors().take_while(|dir| !dir.exists()).collect();
        fs::create_dir_all(&self.dir)?;
        for dir in missing {
            let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
            sync_folder(parent.unwrap_or_else(|| Path::new(".")))?;
        }
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

fn sync_folder(dir: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(dir)?.sync_all() } else { Ok(()) }
}

/// Ends the lock by itself. Closing the file is not enough: a process that is being started has it open as
/// well until it runs its own program.
struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}

impl Vfs for OsVfs {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn VfsFile>> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(self.path(name))?;
        Ok(Arc::new(OsFile::new(file)))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn VfsFile>> {
        let file = OpenOptions::new().read(true).write(true).open(self.path(name))?;
        Ok(Arc::new(OsFile::new(file)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(from), self.path(to))
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path(name))
    }

    fn sync_dir(&self) -> io::Result<()> {
        sync_folder(&self.dir)
    }

    fn lock(&self, name: &str) -> Result<Box<dyn Send + Sync>, LockError> {
        let open =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(self.path(name));
        let mut file = open.map_err(LockError::Io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let _ = file.read_to_string(&mut text);
                return Err(LockError::Held(text.split_whitespace().next().and_then(|pid| pid.parse().ok())));
            }
            Err(TryLockError::Error(error)) => return Err(LockError::Io(error)),
        }
        // For people and for `Locked { by }` only: an error here takes nothing from the lock.
        let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(Box::new(Lock(file)))
    }
}

struct OsFile {
    file: File,
    #[cfg(target_os = "linux")]
    direct: super::direct::Direct,
}

impl OsFile {
    fn new(file: File) -> Self {
        Self {
            file,
            #[cfg(target_os = "linux")]
            direct: super::direct::Direct::default(),
        }
    }
}

#[cfg(unix)]
impl VfsFile for OsFile {
    fn pread(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buf, offset)
    }

    fn pwrite(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        self.file.write_at(buf, offset)
    }

    #[cfg(target_os = "linux")]
    fn written(&self) {
        self.direct.close();
    }

    #[cfg(target_os = "linux")]
    fn pwrite_through(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        match self.direct.write_at(&self.file, buf, offset) {
            Some(done) => done,
            None => self.file.write_at(buf, offset),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }

    #[cfg(target_os = "linux")]
    fn reserve(&self, length: u64) -> io::Result<()> {
        use rustix::fs::{FallocateFlags, fallocate};
        let done = rustix::io::retry_on_intr(|| fallocate(&self.file, FallocateFlags::empty(), 0, length));
        match done {
            // Where the file system cannot, there is none by that name.
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
                Err(io::ErrorKind::Unsupported.into())
            }
            other => Ok(other?),
        }
    }
}

#[cfg(windows)]
impl VfsFile for OsFile {
    fn pread(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        std::os::windows::fs::FileExt::seek_read(&self.file, buf, offset)
    }

    fn pwrite(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        std::os::windows::fs::FileExt::seek_write(&self.file, buf, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a process has it that another thread is starting.
    #[test]
    fn a_lock_ends_though_its_file_is_open_elsewhere() {
        let path = std::env::temp_dir().join(format!("raft-log-file-lock-{}", std::process::id()));
        let lock = Lock(File::create(&path).unwrap());
        lock.0.try_lock().unwrap();
        let inherited = lock.0.try_clone().unwrap();
        let other = File::open(&path).unwrap();
        assert!(other.try_lock().is_err());
        drop(lock);
        other.try_lock().unwrap();
        drop(inherited);
        fs::remove_file(path).unwrap();
    }
}
