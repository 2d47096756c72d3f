//! The disk as the journal sees it.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use raft_log_file::vfs::{LockError, Vfs, VfsFile};
use xxhash_rust::xxh3::xxh3_64;

use super::file::File;
use super::{BLOCK, Call, Disk, NameOp, event, folder_of};
use crate::sim::executor::lock;

/// A folder as one life of the node sees it.
#[derive(Clone)]
pub(crate) struct SimVfs {
    pub(super) disk: Arc<Mutex<Disk>>,
    pub(super) boot: u64,
    /// What the names of its files begin with on the disk.
    pub(super) folder: &'static str,
}

struct SimFile {
    disk: Arc<Mutex<Disk>>,
    boot: u64,
    id: usize,
}

impl SimVfs {
    /// Another folder of the same disk, for the same life.
    #[must_use]
    pub(crate) fn folder(&self, folder: &'static str) -> Self {
        Self { folder, ..self.clone() }
    }

    fn on_disk(&self, name: &str) -> String {
        format!("{}{name}", self.folder)
    }

    fn names_change<T>(&self, change: impl FnOnce(&mut Disk) -> io::Result<T>, space: bool) -> io::Result<T> {
        let mut disk = lock(&self.disk);
        disk.change(self.boot, Call::Names)?;
        if space && disk.full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let count = disk.name_ops.len();
        let changed = change(&mut disk);
        if let Some(watcher) = &disk.watcher {
            let last = disk.name_ops.get(count);
            let numbers = [event::NAMES, count as u64, disk.name_ops.len() as u64, disk.next_file as u64];
            watcher(numbers, &|| last.map_or_else(|| "fsync of the folder".into(), |op| format!("{op:?}")));
        }
        changed
    }

    fn look(&self) -> io::Result<MutexGuard<'_, Disk>> {
        let mut disk = lock(&self.disk);
        disk.may_fail(Call::Look)?;
        Ok(disk)
    }

    fn file(&self, id: usize) -> Arc<dyn VfsFile> {
        Arc::new(SimFile { disk: Arc::clone(&self.disk), boot: self.boot, id })
    }
}

impl Vfs for SimVfs {
    fn list(&self) -> io::Result<Vec<String>> {
        let disk = self.look()?;
        let mine = disk.names.keys().filter(|name| folder_of(name) == self.folder);
        Ok(mine.filter_map(|name| name.get(self.folder.len()..)).map(str::to_owned).collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn VfsFile>> {
        let name = self.on_disk(name);
        let create = |disk: &mut Disk| {
            if disk.names.contains_key(&name) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            let id = disk.next_file;
            disk.next_file += 1;
            disk.files.insert(id, File::default());
            disk.names.insert(name.clone(), id);
            disk.name_ops.push(NameOp::Add(name, id));
            Ok(id)
        };
        self.names_change(create, true).map(|id| self.file(id))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn VfsFile>> {
        let id = self.look()?.names.get(&self.on_disk(name)).copied();
        id.map(|id| self.file(id)).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let (from, to) = (self.on_disk(from), self.on_disk(to));
        let rename = |disk: &mut Disk| {
            let id = disk.names.remove(&from).ok_or(io::ErrorKind::NotFound)?;
            disk.names.insert(to.clone(), id);
            disk.name_ops.push(NameOp::Rename(from, to));
            Ok(())
        };
        self.names_change(rename, false)
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        let name = self.on_disk(name);
        let unlink = |disk: &mut Disk| {
            disk.names.remove(&name).ok_or(io::ErrorKind::NotFound)?;
            disk.name_ops.push(NameOp::Remove(name));
            Ok(())
        };
        self.names_change(unlink, false)
    }

    fn sync_dir(&self) -> io::Result<()> {
        let sync = |disk: &mut Disk| {
            let (mine, others): (Vec<NameOp>, Vec<NameOp>) =
                std::mem::take(&mut disk.name_ops).into_iter().partition(|op| op.folder() == self.folder);
            disk.name_ops = others;
            for op in mine {
                op.apply(&mut disk.durable_names);
            }
            Ok(())
        };
        self.names_change(sync, false)
    }

    fn lock(&self, _name: &str) -> Result<Box<dyn Send + Sync>, LockError> {
        let mut disk = self.look().map_err(LockError::Io)?;
        if !disk.locked.insert(self.folder) {
            return Err(LockError::Held(None));
        }
        Ok(Box::new(Guard(self.clone())))
    }
}

struct Guard(SimVfs);

impl Drop for Guard {
    fn drop(&mut self) {
        let mut disk = lock(&self.0.disk);
        if disk.boot == self.0.boot {
            disk.locked.remove(self.0.folder);
        }
    }
}

impl VfsFile for SimFile {
    fn pread(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut disk = lock(&self.disk);
        disk.may_fail(Call::Read)?;
        let (mut buf, short) = (buf, disk.short_ppm);
        if short > 0 && disk.rng.rare(short) {
            if disk.rng.chance(500) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let less = disk.rng.between(1, buf.len().max(1) as u64) as usize;
            let all = buf.len();
            buf = buf.get_mut(..less.min(all)).unwrap_or_default();
        }
        let mut offset = offset;
        if let Some(from) = disk.misreads(self.id, offset) {
            disk.strayed += 1;
            disk.say(self.id, [event::MISREAD, offset, from, 0], || {
                format!("MISREAD at {offset} from {from}")
            });
            offset = from;
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
        let (mut id, mut at) = (self.id, offset);
        if let Some((to, there)) = disk.strays(id, offset, buf) {
            disk.strayed += 1;
            let numbers = [event::ASTRAY, at, there, to as u64];
            disk.say(to, numbers, || format!("ASTRAY +{} to {there}, of file {id} at {offset}", buf.len()));
            (id, at) = (to, there);
            if buf.len() >= BLOCK {
                disk.strays.push((to, there as usize..there as usize + buf.len(), false));
            }
        }
        let numbers = [event::WRITE, at, buf.len() as u64, xxh3_64(buf)];
        disk.say(id, numbers, || format!("pwrite {at} +{}", buf.len()));
        if id == self.id {
            disk.file(id)?.write(at as usize, buf);
        } else {
            disk.file(id)?.overwrite(at as usize, buf);
        }
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
            disk.say(self.id, [event::SYNC_FAILS, self.id as u64, 0, 0], || "fdatasync FAILS".into());
            return changed;
        }
        file.sync();
        disk.tells_of_strays(self.id);
        disk.say(self.id, [event::SYNC, self.id as u64, 0, 0], || "fdatasync".into());
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        let mut disk = lock(&self.disk);
        disk.may_fail(Call::Look)?;
        Ok(disk.file(self.id)?.current.len() as u64)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut disk = lock(&self.disk);
        disk.change(self.boot, Call::Write)?;
        disk.file(self.id)?.set_len(length as usize);
        disk.say(self.id, [event::CUT, length, 0, 0], || format!("ftruncate {length}"));
        Ok(())
    }

    fn reserve(&self, length: u64) -> io::Result<()> {
        let mut disk = lock(&self.disk);
        disk.change(self.boot, Call::Write)?;
        let from = disk.file(self.id)?.current.len();
        let zeros = vec![0; (length as usize).saturating_sub(from)];
        if !zeros.is_empty() && disk.full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let numbers = [event::WRITE, from as u64, zeros.len() as u64, xxh3_64(&zeros)];
        disk.say(self.id, numbers, || format!("fallocate {length}"));
        disk.file(self.id)?.write(from, &zeros);
        Ok(())
    }
}
