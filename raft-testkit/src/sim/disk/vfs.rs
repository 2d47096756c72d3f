//! The disk as the journal sees it.

use std::io;
use std::sync::{Arc, Mutex};

use raft_log_file::vfs::{LockError, Vfs, VfsFile};

use super::file::File;
use super::{Call, Disk, NameOp};
use crate::sim::executor::lock;

/// The folder as one life of the node sees it.
#[derive(Clone)]
pub struct SimVfs {
    pub(super) disk: Arc<Mutex<Disk>>,
    pub(super) boot: u64,
}

struct SimFile {
    disk: Arc<Mutex<Disk>>,
    boot: u64,
    id: usize,
}

impl SimVfs {
    fn names_change<T>(&self, change: impl FnOnce(&mut Disk) -> io::Result<T>, space: bool) -> io::Result<T> {
        let mut disk = lock(&self.disk);
        disk.change(self.boot, Call::Names)?;
        if space && disk.full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        change(&mut disk)
    }

    fn file(&self, id: usize) -> Arc<dyn VfsFile> {
        Arc::new(SimFile { disk: Arc::clone(&self.disk), boot: self.boot, id })
    }
}

impl Vfs for SimVfs {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(lock(&self.disk).names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn VfsFile>> {
        let create = |disk: &mut Disk| {
            if disk.names.contains_key(name) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            let id = disk.next_file;
            disk.next_file += 1;
            disk.files.insert(id, File::default());
            disk.names.insert(name.to_owned(), id);
            disk.name_ops.push(NameOp::Add(name.to_owned(), id));
            Ok(id)
        };
        self.names_change(create, true).map(|id| self.file(id))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn VfsFile>> {
        let id = lock(&self.disk).names.get(name).copied();
        id.map(|id| self.file(id)).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let rename = |disk: &mut Disk| {
            let id = disk.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
            disk.names.insert(to.to_owned(), id);
            disk.name_ops.push(NameOp::Rename(from.to_owned(), to.to_owned()));
            Ok(())
        };
        self.names_change(rename, false)
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        let unlink = |disk: &mut Disk| {
            disk.names.remove(name).ok_or(io::ErrorKind::NotFound)?;
            disk.name_ops.push(NameOp::Remove(name.to_owned()));
            Ok(())
        };
        self.names_change(unlink, false)
    }

    fn sync_dir(&self) -> io::Result<()> {
        let sync = |disk: &mut Disk| {
            for op in std::mem::take(&mut disk.name_ops) {
                op.apply(&mut disk.durable_names);
            }
            Ok(())
        };
        self.names_change(sync, false)
    }

    fn lock(&self, _name: &str) -> Result<Box<dyn Send + Sync>, LockError> {
        let mut disk = lock(&self.disk);
        if disk.locked {
            return Err(LockError::Held(None));
        }
        disk.locked = true;
        Ok(Box::new(Guard { disk: Arc::clone(&self.disk), boot: self.boot }))
    }
}

struct Guard {
    disk: Arc<Mutex<Disk>>,
    boot: u64,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut disk = lock(&self.disk);
        if disk.boot == self.boot {
            disk.locked = false;
        }
    }
}

impl VfsFile for SimFile {
    fn pread(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut disk = lock(&self.disk);
        disk.may_fail(Call::Read)?;
        let short = disk.short_ppm;
        if short > 0 && disk.rng.rare(short) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let rest = disk.file(self.id)?.current.get(offset as usize..).unwrap_or_default();
        let count = rest.len().min(buf.len());
        buf[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn pwrite(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        let mut disk = lock(&self.disk);
        let disk = &mut *disk;
        disk.change(self.boot, Call::Write)?;
        let grows = offset as usize + buf.len() > disk.file(self.id)?.current.len();
        if grows && disk.full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let mut buf = buf;
        if disk.short_ppm > 0 && disk.rng.rare(disk.short_ppm) {
            if disk.rng.chance(500) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let less = disk.rng.between(1, buf.len().max(1) as u64) as usize;
            buf = buf.get(..less).unwrap_or(buf);
        }
        let mut at = offset;
        // Whole batches only, which start on a block's edge and are not all zero.
        if disk.astray && buf.len() >= 4096 && buf.iter().any(|byte| *byte != 0) {
            disk.astray = false;
            if let Some(to) = disk.elsewhere(self.id, offset, buf.len()) {
                disk.strayed += 1;
                disk.say(self.id, || format!("ASTRAY from {at} to {to}"));
                at = to;
            }
        }
        disk.say(self.id, || format!("pwrite {at} +{}", buf.len()));
        disk.file(self.id)?.write(at as usize, buf);
        Ok(buf.len())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut disk = lock(&self.disk);
        let changed = disk.change(self.boot, Call::Sync);
        let frozen = disk.frozen;
        if self.boot != disk.boot || frozen {
            return changed;
        }
        let file = disk.file(self.id)?;
        if changed.is_err() {
            file.fail_sync();
            disk.say(self.id, || "fdatasync FAILS".into());
            return changed;
        }
        file.sync();
        disk.say(self.id, || "fdatasync".into());
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(lock(&self.disk).file(self.id)?.current.len() as u64)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut disk = lock(&self.disk);
        disk.change(self.boot, Call::Write)?;
        disk.file(self.id)?.set_len(length as usize);
        Ok(())
    }
}
