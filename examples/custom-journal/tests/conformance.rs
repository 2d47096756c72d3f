//! The whole contract, clause by clause.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use custom_journal::{CustomJournal, Faults};
use raft_core::backend::{Journal, OpenError};
use raft_core::membership::Membership;
use raft_testkit::conformance::Unsupported;
use raft_testkit::conformance::journal::{JournalBackend, Owner, run};

/// With the name of something that it does not sync, if anything.
struct Custom(Option<&'static str>);

/// What a power cut leaves: by number what each file held when it was synced, and which file each name meant
/// when the folder was.
#[derive(Default)]
struct Disk {
    files: BTreeMap<u64, Vec<u8>>,
    names: BTreeMap<PathBuf, u64>,
}

impl Disk {
    fn synced(&mut self, path: &Path) {
        if path.is_dir() {
            let all = fs::read_dir(path).unwrap().map(|entry| entry.unwrap());
            self.names = all.map(|entry| (entry.path(), entry.metadata().unwrap().ino())).collect();
        } else {
            self.files.insert(path.metadata().unwrap().ino(), fs::read(path).unwrap());
        }
    }
}

/// A folder, and the faults of its disk.
struct Place {
    dir: PathBuf,
    _temporary: Option<tempfile::TempDir>,
    faults: Arc<Faults>,
    disk: Arc<Mutex<Disk>>,
}

impl Place {
    fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let all = fs::read_dir(&self.dir).unwrap().map(|entry| entry.unwrap().path());
        let mut all: Vec<_> = all.filter_map(|path| Some((path.clone(), fs::read(path).ok()?))).collect();
        all.sort();
        all
    }
}

#[async_trait]
impl JournalBackend for Custom {
    type Place = Place;

    fn place(&self) -> Place {
        // In memory where the system has such a folder: the suite makes thousands of journals.
        let memory = Path::new("/dev/shm");
        let temporary =
            if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        let dir = temporary.path().join("journal");
        let (disk, faults) = (Arc::new(Mutex::new(Disk::default())), Faults::default());
        let (seen, folder, unsynced) = (Arc::clone(&disk), dir.clone(), self.0);
        let hear = move |path: &Path| {
            let name = path.file_name().and_then(|name| name.to_str());
            if path.starts_with(&folder) && name != unsynced {
                seen.lock().unwrap().synced(path);
            }
        };
        assert!(faults.synced.set(Box::new(hear)).is_ok());
        Place { dir, _temporary: Some(temporary), faults: Arc::new(faults), disk }
    }

    async fn create(
        &self,
        place: &Place,
        owner: Owner,
        initial: Option<&Membership>,
    ) -> Result<Box<dyn Journal>, OpenError> {
        let owner = (owner.cluster, owner.group, owner.node);
        Ok(Box::new(CustomJournal::create(&place.dir, owner, initial, Arc::clone(&place.faults))?))
    }

    async fn open(&self, place: &Place, owner: Owner) -> Result<Box<dyn Journal>, OpenError> {
        let owner = (owner.cluster, owner.group, owner.node);
        Ok(Box::new(CustomJournal::open(&place.dir, owner, Arc::clone(&place.faults))?))
    }

    async fn crash(&self, place: &Place, journal: Box<dyn Journal>) -> Result<(), Unsupported> {
        drop(journal);
        let mut disk = place.disk.lock().unwrap();
        for (path, _) in place.files() {
            fs::remove_file(path).unwrap();
        }
        for (path, file) in std::mem::take(&mut disk.names) {
            // What was never synced is empty.
            fs::write(&path, disk.files.get(&file).map_or(&[][..], |bytes| bytes)).unwrap();
            disk.synced(&path);
        }
        disk.synced(&place.dir);
        Ok(())
    }

    fn stored_bytes(&self, place: &Place) -> Result<u64, Unsupported> {
        Ok(place.files().iter().map(|(_, bytes)| bytes.len() as u64).sum())
    }

    fn flip_bit(&self, place: &Place, mut at: u64, bit: u8) -> Result<(), Unsupported> {
        for (path, mut bytes) in place.files() {
            if let Some(byte) = bytes.get_mut(at as usize) {
                *byte ^= 1 << bit;
                fs::write(path, bytes).unwrap();
                break;
            }
            at -= bytes.len() as u64;
        }
        Ok(())
    }

    fn contents(&self, place: &Place) -> Result<Vec<u8>, Unsupported> {
        Ok(place.files().into_iter().flat_map(|(_, bytes)| bytes).collect())
    }

    fn fail_next_sync(&self, place: &Place) -> Result<(), Unsupported> {
        place.faults.fail_next_sync.store(true, Ordering::SeqCst);
        Ok(())
    }

    fn syncs(&self, place: &Place) -> Result<u64, Unsupported> {
        Ok(place.faults.syncs.load(Ordering::SeqCst))
    }

    fn path(&self, place: &Place) -> Result<PathBuf, Unsupported> {
        Ok(place.dir.clone())
    }

    fn place_at(&self, path: &Path) -> Result<Place, Unsupported> {
        Ok(Place { dir: path.to_path_buf(), _temporary: None, faults: Arc::default(), disk: Arc::default() })
    }

    fn set_full(&self, place: &Place, full: bool) -> Result<(), Unsupported> {
        place.faults.full.store(full, Ordering::SeqCst);
        Ok(())
    }
}

raft_testkit::journal_conformance! { backend: Custom(None) }

/// A sync that does nothing is noticed: the suite would see it if this journal forgot one.
#[test]
fn a_sync_that_is_missing_is_noticed() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let (entries, votes) = ("j01_acknowledged_survives_a_crash", "j01_vote_alone_survives_a_crash");
    for (unsynced, clause) in [("log", entries), ("meta.new", votes), ("journal", votes)] {
        let result = runtime.block_on(run(&Custom(Some(unsynced)), clause));
        // Not for want of something that the suite needs.
        let failure = result.unwrap_err();
        assert!(!failure.seen.contains("Unsupported"), "{unsynced}: {failure}");
    }
}

/// A path of one name, whose parent is not named; and one with folders that are not there yet, each of which
/// is synced.
#[test]
fn folders_are_made_where_they_are_missing() {
    use raft_core::ids::{ClusterId, GroupId, NodeId};
    let owner = (ClusterId(1), GroupId(0), NodeId(1));
    let temporary = tempfile::tempdir().unwrap();
    let synced = Arc::new(Mutex::new(Vec::new()));
    let (faults, seen) = (Faults::default(), Arc::clone(&synced));
    assert!(faults.synced.set(Box::new(move |path| seen.lock().unwrap().push(path.to_owned()))).is_ok());
    let dir = temporary.path().join("a").join("b");
    CustomJournal::create(&dir, owner, None, Arc::new(faults)).unwrap();
    for parent in [temporary.path().to_owned(), temporary.path().join("a")] {
        assert!(synced.lock().unwrap().contains(&parent), "{}", parent.display());
    }
    // Relative to a folder that no other test uses.
    let name = Path::new("journal-of-one-name");
    let _ = fs::remove_dir_all(name);
    let created = CustomJournal::create(name, owner, None, Arc::default()).map(drop);
    fs::remove_dir_all(name).unwrap();
    assert_eq!(created, Ok(()));
}
