//! Which databases there are, and what becomes of them. All of it runs on the store's one thread.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use raft_core::backend::{Corruption, OpenError, SnapshotContent, SnapshotError, SnapshotId, SnapshotMeta};
use raft_core::ids::LogId;
use raft_core::membership::Membership;

use super::db::{Db, failed};
use super::part::Part;
use super::read::Complete;
use super::records::{self, Head};
use crate::beside::{self, Lock};
use crate::db::OLDEST;
use crate::error::damage;
use crate::options::Faults;

/// Says what was attempted when the system failed.
pub(super) fn io_failed(what: &str, error: &io::Error) -> SnapshotError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            SnapshotError::NoSpace
        }
        _ => SnapshotError::Io { what: what.to_owned(), cause: error.to_string().into() },
    }
}

/// Where a writer keeps what it writes; `None` when it takes nothing more.
pub(super) type Slot = Arc<Mutex<Option<Part>>>;

/// What is in a slot, which is empty then.
pub(super) fn take(slot: &Slot) -> Option<Part> {
    slot.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// Puts back what was taken.
pub(super) fn put(slot: &Slot, part: Part) {
    *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(part);
}

/// The folder of one node's snapshots.
pub(super) struct Dir {
    path: PathBuf,
    state: Mutex<State>,
    faults: Option<Arc<Faults>>,
    _lock: Arc<Lock>,
}

#[derive(Default)]
struct State {
    latest: Option<Latest>,
    /// Which writer of a half-received snapshot is the one that counts.
    writers: BTreeMap<SnapshotId, (u64, Slot)>,
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
    pub(super) async fn open(path: &Path, faults: Option<Arc<Faults>>) -> Result<Self, SnapshotError> {
        beside::create_dir(path).map_err(|error| io_failed("create the snapshots' folder", &error))?;
        let lock = beside::lock(path).map_err(|error| match error {
            OpenError::Locked { .. } => SnapshotError::Locked,
            OpenError::Io { what, cause } => SnapshotError::Io { what, cause },
            other => SnapshotError::Io { what: "lock the snapshots".into(), cause: other.to_string().into() },
        })?;
        check_sqlite().await?;
        let names = list(path)?;
        // A name whose sync had failed would be gone after a power cut, and the log that it covers with it.
        beside::sync_dir(path).map_err(|error| io_failed("sync the snapshots' folder", &error))?;
        let latest = match names.iter().filter_map(|name| records::complete_upto(name)).max() {
            Some(upto) => Some(look_at(path, upto).await?),
            None => None,
        };
        let state = Mutex::new(State { latest, ..State::default() });
        let dir = Self { path: path.to_path_buf(), state, faults, _lock: lock };
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
        for name in names.iter().filter(|name| records::complete_upto(name).is_some_and(|old| old < upto)) {
            // What cannot be removed now is tried again at the next opening.
            let _ = fs::remove_file(self.path.join(name));
        }
    }

    pub(super) fn latest(&self) -> Result<Option<SnapshotMeta>, SnapshotError> {
        let latest = self.lock().latest.clone();
        latest.map(|latest| latest.found.map_err(SnapshotError::Corrupt)).transpose()
    }

    pub(super) async fn read(&self, id: SnapshotId) -> Result<Complete, SnapshotError> {
        let Some(Latest { name, found, .. }) = self.lock().latest.clone() else {
            return Err(SnapshotError::NotFound);
        };
        let meta = found.map_err(SnapshotError::Corrupt)?;
        let path = self.path.join(&name);
        if meta.id != id || !path.exists() {
            return Err(SnapshotError::NotFound);
        }
        let complete = Complete::open(&path, &name).await?;
        if complete.meta() == meta {
            return Ok(complete);
        }
        complete.close().await;
        Err(SnapshotError::Corrupt(damage(&name, 0, "another snapshot than the one that was found")))
    }

    /// Begins a snapshot, or goes on with it. Another writer of the same one takes nothing more.
    pub(super) async fn create(
        &self,
        id: SnapshotId,
        upto: LogId,
        membership: Membership,
    ) -> Result<(Slot, u64, u64), SnapshotError> {
        let earlier = self.lock().writers.remove(&id);
        if let Some(part) = earlier.and_then(|(_, slot)| take(&slot)) {
            part.leave().await;
        }
        self.drop_abandoned(id)?;
        let part = self.create_part(Head { id, upto, membership }).await?;
        let received = part.received_bytes();
        let slot: Slot = Arc::new(Mutex::new(Some(part)));
        let mut state = self.lock();
        state.count += 1;
        let writer = state.count;
        state.writers.insert(id, (writer, Arc::clone(&slot)));
        Ok((slot, writer, received))
    }

    async fn create_part(&self, head: Head) -> Result<Part, SnapshotError> {
        let path = self.path.join(records::part_name(head.id));
        if path.exists() {
            if let Some(part) = Part::resume(&head, &path, self.faults.clone()).await? {
                return Ok(part);
            }
            self.remove_part(head.id).map_err(removing)?;
        }
        let id = head.id;
        let begun = Part::begin(head, &path, self.faults.clone()).await;
        if begun.is_err() {
            let _ = self.remove_part(id);
        }
        begun
    }

    /// Removes half-received ones that nobody writes, but that of `keep`.
    fn drop_abandoned(&self, keep: SnapshotId) -> Result<(), SnapshotError> {
        for name in list(&self.path)? {
            let part = name.strip_suffix("-journal").unwrap_or(&name);
            let Some(id) = records::part_id(part) else { continue };
            if id != keep && !self.lock().writers.contains_key(&id) {
                remove(&self.path.join(&name)).map_err(removing)?;
            }
        }
        Ok(())
    }

    fn remove_part(&self, id: SnapshotId) -> io::Result<()> {
        let name = records::part_name(id);
        remove(&self.path.join(format!("{name}-journal")))?;
        remove(&self.path.join(name))
    }

    /// Whether this writer may go on: nobody has created the snapshot anew.
    pub(super) fn is_current(&self, id: SnapshotId, writer: u64) -> Result<(), SnapshotError> {
        let state = self.lock();
        let current = state.writers.get(&id).is_some_and(|(current, _)| *current == writer);
        if current { Ok(()) } else { Err(SnapshotError::NotFound) }
    }

    /// A writer has ended.
    pub(super) async fn release(&self, id: SnapshotId, writer: u64, slot: &Slot) {
        if self.is_current(id, writer).is_ok() {
            self.lock().writers.remove(&id);
        }
        if let Some(part) = take(slot) {
            part.leave().await;
        }
    }

    /// Makes a snapshot visible that has been written (S1), then drops older ones (S4).
    pub(super) async fn finish(
        &self,
        part: Part,
        expected: Option<SnapshotContent>,
    ) -> Result<SnapshotMeta, SnapshotError> {
        let id = part.head.id;
        let (Head { upto, membership, .. }, content) = match part.complete(expected).await {
            Ok(done) => done,
            Err(error) => {
                if !matches!(error, SnapshotError::NoSpace) {
                    // Wrong content, or of unknown durability: nothing of it may be gone on with.
                    let _ = self.remove_part(id);
                }
                return Err(error);
            }
        };
        let meta = SnapshotMeta::new(id, upto, membership, content);
        if self.lock().latest.as_ref().is_some_and(|latest| latest.upto > upto) {
            let _ = self.remove_part(id);
            return Ok(meta);
        }
        let (part_name, name) = (records::part_name(id), records::complete_name(upto));
        let naming = |error: io::Error| io_failed("name a snapshot", &error);
        remove(&self.path.join(format!("{part_name}-journal"))).map_err(naming)?;
        fs::rename(self.path.join(&part_name), self.path.join(&name)).map_err(naming)?;
        beside::sync_dir(&self.path).map_err(|error| io_failed("sync the snapshots' folder", &error))?;
        self.lock().latest = Some(Latest { upto, name, found: Ok(meta.clone()) });
        self.drop_older(&list(&self.path).unwrap_or_default());
        Ok(meta)
    }
}

#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn removing(error: io::Error) -> SnapshotError {
    io_failed("remove a half-received snapshot", &error)
}

/// Removes a file that may not be there.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn list(path: &Path) -> Result<Vec<String>, SnapshotError> {
    let listing = |error: io::Error| io_failed("list the snapshots", &error);
    let mut names = Vec::new();
    for found in fs::read_dir(path).map_err(listing)? {
        names.extend(found.map_err(listing)?.file_name().into_string());
    }
    Ok(names)
}

/// What there is to say of a complete snapshot. Damage is an answer.
async fn look_at(path: &Path, upto: LogId) -> Result<Latest, SnapshotError> {
    let name = records::complete_name(upto);
    let found = match Complete::open(&path.join(&name), &name).await {
        Ok(complete) => {
            let meta = complete.meta();
            complete.close().await;
            if meta.upto == upto {
                Ok(meta)
            } else {
                Err(damage(&name, 0, "it covers something else than its name says"))
            }
        }
        Err(SnapshotError::Corrupt(damage)) => Err(damage),
        Err(other) => return Err(other),
    };
    Ok(Latest { upto, name, found })
}

/// Refuses a SQLite with a known defect.
async fn check_sqlite() -> Result<(), SnapshotError> {
    let asking = |error| failed("ask SQLite for its version", &error);
    let mut db = Db::writable(Path::new(":memory:"), true).await.map_err(asking)?;
    let version = db.version().await;
    let _ = db.close().await;
    let version = version.map_err(asking)?;
    let numbers: Vec<u32> = version.split('.').filter_map(|part| part.parse().ok()).collect();
    if numbers.as_slice() < OLDEST.as_slice() {
        let cause = format!("SQLite {version} is older than 3.51.3 and may damage it").into();
        return Err(SnapshotError::Io { what: "open the snapshots".into(), cause });
    }
    Ok(())
}
