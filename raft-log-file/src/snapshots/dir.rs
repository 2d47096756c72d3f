//! The store itself, synchronous: which files there are, and what becomes of them.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use raft_core::backend::{Corruption, SnapshotContent, SnapshotError, SnapshotId, SnapshotMeta};
use raft_core::ids::LogId;
use raft_core::membership::Membership;

use super::format::{self, Header, TRAILER_BYTES};
use super::part::Part;
use super::read::Complete;
use crate::error::{cause, damage};
use crate::layout::LOCK;
use crate::vfs::{LockError, Vfs, VfsFile, is_no_space, read_full_at};

/// Says what was attempted when the system failed.
pub(super) fn failed(what: &str, error: &io::Error) -> SnapshotError {
    if is_no_space(error) {
        return SnapshotError::NoSpace;
    }
    SnapshotError::Io { what: what.to_owned(), cause: cause(error) }
}

/// The folder of one node's snapshots.
pub(super) struct Dir {
    vfs: Arc<dyn Vfs>,
    state: Mutex<State>,
    _lock: Box<dyn Send + Sync>,
}

#[derive(Default)]
struct State {
    latest: Option<Latest>,
    /// Which writer of a half-received snapshot is the one that counts.
    writers: BTreeMap<SnapshotId, u64>,
    count: u64,
}

/// The complete snapshot that covers most.
#[derive(Clone)]
struct Latest {
    upto: LogId,
    name: String,
    found: Result<SnapshotMeta, Corruption>,
}

impl Dir {
    pub(super) fn open(vfs: Arc<dyn Vfs>) -> Result<Self, SnapshotError> {
        let lock = vfs.lock(LOCK).map_err(|error| match error {
            LockError::Held(_) => SnapshotError::Locked,
            LockError::Io(error) => failed("lock the snapshots", &error),
        })?;
        // A name may be there that was never synced: what is found is counted on from here on.
        vfs.sync_dir().map_err(|error| failed("sync the snapshots' folder", &error))?;
        let names = vfs.list().map_err(|error| failed("list the snapshots", &error))?;
        let newest = names.iter().filter_map(|name| format::complete_upto(name)).max();
        let latest = match newest {
            Some(upto) => Some(look_at(&*vfs, upto)?),
            None => None,
        };
        let dir = Self { vfs, state: Mutex::new(State { latest, ..State::default() }), _lock: lock };
        dir.drop_older(&names);
        Ok(dir)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes what covers less than the latest, where that one is sound (S4).
    fn drop_older(&self, names: &[String]) {
        let latest = self.lock().latest.clone();
        let Some(Latest { upto, found: Ok(_), .. }) = latest else { return };
        for name in names.iter().filter(|name| format::complete_upto(name).is_some_and(|old| old < upto)) {
            // What cannot be removed now is tried again at the next opening.
            let _ = self.vfs.unlink(name);
        }
    }

    pub(super) fn latest(&self) -> Result<Option<SnapshotMeta>, SnapshotError> {
        let latest = self.lock().latest.clone();
        latest.map(|latest| latest.found.map_err(SnapshotError::Corrupt)).transpose()
    }

    pub(super) fn read(&self, id: SnapshotId) -> Result<Complete, SnapshotError> {
        let Some(Latest { name, found, .. }) = self.lock().latest.clone() else {
            return Err(SnapshotError::NotFound);
        };
        let meta = found.map_err(SnapshotError::Corrupt)?;
        if meta.id != id {
            return Err(SnapshotError::NotFound);
        }
        let (file, found, header_bytes) = check(&*self.vfs, &name, meta.upto)?;
        if found != meta {
            return Err(SnapshotError::Corrupt(damage(
                &name,
                0,
                "another snapshot than the one that was found",
            )));
        }
        Ok(Complete::new(file, name, meta, header_bytes))
    }

    /// Begins a snapshot, or goes on with it.
    pub(super) fn create(
        &self,
        id: SnapshotId,
        upto: LogId,
        membership: Membership,
    ) -> Result<(Part, u64), SnapshotError> {
        let writer = {
            let mut state = self.lock();
            state.count += 1;
            let writer = state.count;
            state.writers.insert(id, writer);
            writer
        };
        let part = self.create_part(Header { id, upto, membership });
        if part.is_err() {
            self.release(id, writer);
        }
        part.map(|part| (part, writer))
    }

    fn create_part(&self, header: Header) -> Result<Part, SnapshotError> {
        let name = format::part_name(header.id);
        for other in self.vfs.list().map_err(|error| failed("list the snapshots", &error))? {
            let abandoned = format::part_id(&other).is_some_and(|id| !self.lock().writers.contains_key(&id));
            if abandoned {
                self.vfs.unlink(&other).map_err(|error| failed("remove a half-received snapshot", &error))?;
            }
        }
        match self.vfs.open(&name) {
            Ok(file) => {
                if let Some(part) = Part::resume(file, &header)? {
                    return Ok(part);
                }
                self.vfs.unlink(&name).map_err(|error| failed("remove a half-received snapshot", &error))?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed("open a half-received snapshot", &error)),
        }
        let file = self.vfs.create(&name).map_err(|error| failed("create a snapshot", &error))?;
        Part::begin(file, header)
    }

    /// Whether this writer may go on: nobody has created the snapshot anew.
    pub(super) fn is_current(&self, id: SnapshotId, writer: u64) -> Result<(), SnapshotError> {
        if self.lock().writers.get(&id) == Some(&writer) { Ok(()) } else { Err(SnapshotError::NotFound) }
    }

    /// A writer has ended.
    pub(super) fn release(&self, id: SnapshotId, writer: u64) {
        let mut state = self.lock();
        if state.writers.get(&id) == Some(&writer) {
            state.writers.remove(&id);
        }
    }

    /// Appends a piece. Nothing may be gone on with after a sync that failed.
    pub(super) fn write(&self, part: &mut Part, piece: &[u8]) -> Result<(), SnapshotError> {
        part.write(piece).inspect_err(|_| {
            if part.is_lost {
                let _ = self.vfs.unlink(&format::part_name(part.header.id));
            }
        })
    }

    /// Makes a snapshot visible that has been written (S1), then drops older ones (S4).
    pub(super) fn finish(
        &self,
        part: &mut Part,
        expected: Option<SnapshotContent>,
    ) -> Result<SnapshotMeta, SnapshotError> {
        let (part_name, name) = (format::part_name(part.header.id), format::complete_name(part.header.upto));
        let content = match part.complete(expected) {
            Ok(content) => content,
            Err(error) => {
                if !matches!(error, SnapshotError::NoSpace) {
                    // Wrong content, or of unknown durability: nothing of it may be gone on with.
                    let _ = self.vfs.unlink(&part_name);
                }
                return Err(error);
            }
        };
        let Header { id, upto, membership } = part.header.clone();
        let meta = SnapshotMeta::new(id, upto, membership, content);
        if self.lock().latest.as_ref().is_some_and(|latest| latest.upto > upto) {
            let _ = self.vfs.unlink(&part_name);
            return Ok(meta);
        }
        self.vfs.rename(&part_name, &name).map_err(|error| failed("name a snapshot", &error))?;
        self.vfs.sync_dir().map_err(|error| failed("sync the snapshots' folder", &error))?;
        self.lock().latest = Some(Latest { upto, name, found: Ok(meta.clone()) });
        self.drop_older(&self.vfs.list().unwrap_or_default());
        Ok(meta)
    }
}

/// What there is to say of a complete snapshot. Damage is an answer.
fn look_at(vfs: &dyn Vfs, upto: LogId) -> Result<Latest, SnapshotError> {
    let name = format::complete_name(upto);
    let found = match check(vfs, &name, upto) {
        Ok((_, meta, _)) => Ok(meta),
        Err(SnapshotError::Corrupt(damage)) => Err(damage),
        Err(other) => return Err(other),
    };
    Ok(Latest { upto, name, found })
}

type Checked = (Arc<dyn VfsFile>, SnapshotMeta, u64);

/// Reads the beginning and the end of a complete snapshot.
fn check(vfs: &dyn Vfs, name: &str, upto: LogId) -> Result<Checked, SnapshotError> {
    let corrupt = |offset, why: &str| SnapshotError::Corrupt(damage(name, offset, why));
    let reading = |error: io::Error| failed("read a snapshot", &error);
    let file = vfs.open(name).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => SnapshotError::NotFound,
        _ => failed("open a snapshot", &error),
    })?;
    let header = read_header(&*file).map_err(reading)?.map_err(|why| corrupt(0, why))?;
    let (header, header_bytes) = header;
    if header.upto != upto {
        return Err(corrupt(0, "it covers something else than its name says"));
    }
    let length = file.len().map_err(reading)?;
    let end = length.saturating_sub(TRAILER_BYTES as u64);
    let mut trailer = vec![0; TRAILER_BYTES];
    let filled = read_full_at(&*file, &mut trailer, end).map_err(reading)?;
    trailer.truncate(filled);
    let content = format::decode_trailer(header.id, &trailer).map_err(|why| corrupt(end, why))?;
    if format::file_bytes(header_bytes, content.total_bytes) != Some(length) {
        return Err(corrupt(end, "its length is not what its end says"));
    }
    Ok((file, SnapshotMeta::new(header.id, header.upto, header.membership, content), header_bytes))
}

/// A header and its length in bytes, or why there is none.
pub(super) fn read_header(file: &dyn VfsFile) -> io::Result<Result<(Header, u64), &'static str>> {
    let mut fixed = vec![0; format::HEADER_BYTES];
    if read_full_at(file, &mut fixed, 0)? < fixed.len() {
        return Ok(Err("too short"));
    }
    let length = match Header::length(&fixed) {
        Ok(length) => length,
        Err(why) => return Ok(Err(why)),
    };
    let mut bytes = vec![0; length];
    let filled = read_full_at(file, &mut bytes, 0)?;
    bytes.truncate(filled);
    Ok(Header::decode(&bytes).map(|header| (header, length as u64)))
}
