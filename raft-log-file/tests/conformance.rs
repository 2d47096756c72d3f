//! The journal contract, clause by clause: on a disk that can fail, and on the real file system.

mod support;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use raft_core::backend::{Journal, OpenError};
use raft_core::membership::Membership;
use raft_log_file::{FileJournal, Options};
use raft_testkit::conformance::Unsupported;
use raft_testkit::conformance::journal::{JournalBackend, Owner};

fn options() -> Options {
    Options::default().segment_bytes(64 << 10)
}

const fn ours(owner: Owner) -> raft_log_file::Owner {
    raft_log_file::Owner { cluster: owner.cluster, group: owner.group, node: owner.node }
}

mod on_a_failing_disk {
    use super::*;
    use crate::support::{Fault, MemVfs};

    struct Failing;

    #[async_trait]
    impl JournalBackend for Failing {
        type Place = MemVfs;

        fn place(&self) -> MemVfs {
            MemVfs::default()
        }

        async fn create(
            &self,
            place: &MemVfs,
            owner: Owner,
            initial: Option<&Membership>,
        ) -> Result<Box<dyn Journal>, OpenError> {
            let vfs = Arc::new(place.clone());
            Ok(Box::new(FileJournal::create_on(vfs, ours(owner), initial, options()).await?))
        }

        async fn open(&self, place: &MemVfs, owner: Owner) -> Result<Box<dyn Journal>, OpenError> {
            Ok(Box::new(FileJournal::open_on(Arc::new(place.clone()), ours(owner), options()).await?))
        }

        async fn crash(&self, place: &MemVfs, journal: Box<dyn Journal>) -> Result<(), Unsupported> {
            let image = place.image();
            drop(journal);
            place.restore(&image);
            Ok(())
        }

        fn stored_bytes(&self, place: &MemVfs) -> Result<u64, Unsupported> {
            Ok(place.image().values().map(|bytes| bytes.len() as u64).sum())
        }

        fn flip_bit(&self, place: &MemVfs, at: u64, bit: u8) -> Result<(), Unsupported> {
            place.damage(at as usize, |byte| byte ^ 1 << bit);
            Ok(())
        }

        fn fail_next_sync(&self, place: &MemVfs) -> Result<(), Unsupported> {
            place.set_fault(Some(Fault::NextSync));
            Ok(())
        }

        fn set_full(&self, place: &MemVfs, full: bool) -> Result<(), Unsupported> {
            place.set_fault(full.then_some(Fault::Full(0)));
            Ok(())
        }
    }

    raft_testkit::journal_conformance! { backend: Failing }
}

mod on_real_files {
    use super::*;

    struct Real;

    /// The journal is in a folder that does not exist at first.
    fn dir(place: &tempfile::TempDir) -> PathBuf {
        place.path().join("journal")
    }

    fn files(place: &tempfile::TempDir) -> Vec<PathBuf> {
        let all = std::fs::read_dir(dir(place)).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<PathBuf> = all.filter(|path| !path.ends_with("LOCK")).collect();
        files.sort();
        files
    }

    #[async_trait]
    impl JournalBackend for Real {
        type Place = tempfile::TempDir;

        fn place(&self) -> tempfile::TempDir {
            tempfile::tempdir().unwrap()
        }

        async fn create(
            &self,
            place: &tempfile::TempDir,
            owner: Owner,
            initial: Option<&Membership>,
        ) -> Result<Box<dyn Journal>, OpenError> {
            let Owner { cluster, group, node } = owner;
            Ok(Box::new(FileJournal::create(&dir(place), cluster, group, node, initial, options()).await?))
        }

        async fn open(&self, place: &tempfile::TempDir, owner: Owner) -> Result<Box<dyn Journal>, OpenError> {
            let Owner { cluster, group, node } = owner;
            Ok(Box::new(FileJournal::open(&dir(place), cluster, group, node, options()).await?))
        }

        fn stored_bytes(&self, place: &tempfile::TempDir) -> Result<u64, Unsupported> {
            Ok(files(place).iter().map(|path| path.metadata().unwrap().len()).sum())
        }

        fn flip_bit(&self, place: &tempfile::TempDir, mut at: u64, bit: u8) -> Result<(), Unsupported> {
            for path in files(place) {
                let mut bytes = std::fs::read(&path).unwrap();
                if let Some(byte) = bytes.get_mut(at as usize) {
                    *byte ^= 1 << bit;
                    std::fs::write(&path, bytes).unwrap();
                    break;
                }
                at -= bytes.len() as u64;
            }
            Ok(())
        }
    }

    raft_testkit::journal_conformance! {
        backend: Real,
        skip: {
            j01_acknowledged_survives_a_crash => "a process cannot be killed here; the failing disk does it",
            j01_vote_alone_survives_a_crash => "a process cannot be killed here; the failing disk does it",
            j01_long_log_survives_a_crash => "a process cannot be killed here; the failing disk does it",
            j05_unsynced_is_not_read => "the real disk does not fail to order; the failing disk does",
            j06_crash_in_a_purge_keeps_what_is_above => "a process cannot be killed here; the failing disk does it",
            j13_write_after_a_dropped_one_is_durable => "a process cannot be killed here; the failing disk does it",
            j02_unfinished_write_is_a_prefix => "a process cannot be killed here; the failing disk does it",
            j08_failed_sync_poisons => "the real disk does not fail to order; the failing disk does",
            j09_no_space_is_typed => "the real disk is not full to order; the failing disk is",
        },
    }
}
