//! The whole contract, clause by clause.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use custom_journal::{CustomJournal, Faults};
use raft_core::backend::{Journal, OpenError};
use raft_core::membership::Membership;
use raft_testkit::conformance::Unsupported;
use raft_testkit::conformance::journal::{JournalBackend, Owner};

struct Custom;

/// A folder, and the faults of its disk.
struct Place {
    dir: PathBuf,
    _temporary: Option<tempfile::TempDir>,
    faults: Arc<Faults>,
}

impl Place {
    fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let all = fs::read_dir(&self.dir).unwrap().map(|entry| entry.unwrap().path());
        let mut all: Vec<_> = all.filter_map(|path| Some((path.clone(), fs::read(path).ok()?))).collect();
        all.sort();
        all
    }

    /// The files as they are at one moment: two readings in a row that agree.
    fn image(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut before = self.files();
        loop {
            let now = self.files();
            if now == before {
                return now;
            }
            before = now;
        }
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
        Place { dir: temporary.path().join("journal"), _temporary: Some(temporary), faults: Arc::default() }
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
        let image = place.image();
        drop(journal);
        for (path, _) in place.files() {
            fs::remove_file(path).unwrap();
        }
        for (path, bytes) in image {
            fs::write(path, bytes).unwrap();
        }
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
        Ok(Place { dir: path.to_path_buf(), _temporary: None, faults: Arc::default() })
    }

    fn set_full(&self, place: &Place, full: bool) -> Result<(), Unsupported> {
        place.faults.full.store(full, Ordering::SeqCst);
        Ok(())
    }
}

raft_testkit::journal_conformance! { backend: Custom }
