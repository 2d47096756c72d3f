//! The journal contract, clause by clause: on a disk that can fail, and on the real file system.

mod support;

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
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
    use crate::support::{Fault, MemVfs, Unsynced};

    #[derive(Default)]
    struct Failing {
        /// What it does not sync, if anything.
        unsynced: Option<Unsynced>,
        /// Who asks writes by itself.
        inline: bool,
    }

    impl Failing {
        fn options(&self) -> Options {
            if self.inline { options().inline_bytes(u64::MAX) } else { options() }
        }
    }

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
            let journal = FileJournal::create_on(vfs, ours(owner), initial, self.options()).await?;
            // Creating is done by then: what is not synced is what is written later.
            place.set_fault(self.unsynced.map(Fault::NoSync));
            Ok(Box::new(journal))
        }

        async fn open(&self, place: &MemVfs, owner: Owner) -> Result<Box<dyn Journal>, OpenError> {
            Ok(Box::new(FileJournal::open_on(Arc::new(place.clone()), ours(owner), self.options()).await?))
        }

        async fn crash(&self, place: &MemVfs, journal: Box<dyn Journal>) -> Result<(), Unsupported> {
            // Power is lost before the journal ends: what it would still sync is not kept either.
            let durable = place.durable();
            drop(journal);
            place.restore(&durable);
            place.set_fault(self.unsynced.map(Fault::NoSync));
            Ok(())
        }

        fn stored_bytes(&self, place: &MemVfs) -> Result<u64, Unsupported> {
            Ok(place.image().values().map(|bytes| bytes.len() as u64).sum())
        }

        fn flip_bit(&self, place: &MemVfs, at: u64, bit: u8) -> Result<(), Unsupported> {
            place.damage(at as usize, |byte| byte ^ 1 << bit);
            Ok(())
        }

        fn contents(&self, place: &MemVfs) -> Result<Vec<u8>, Unsupported> {
            Ok(place.image().values().flat_map(|bytes| bytes.iter().copied()).collect())
        }

        fn fail_next_sync(&self, place: &MemVfs) -> Result<(), Unsupported> {
            place.set_fault(Some(Fault::NextSync));
            Ok(())
        }

        fn syncs(&self, place: &MemVfs) -> Result<u64, Unsupported> {
            Ok(place.syncs())
        }

        fn set_full(&self, place: &MemVfs, full: bool) -> Result<(), Unsupported> {
            place.set_fault(full.then_some(Fault::Full(0)));
            Ok(())
        }
    }

    raft_testkit::journal_conformance! {
        backend: Failing::default(),
        skip: { j01_acknowledged_survives_a_kill => "this disk ends with its process; the real files do it" },
    }

    mod written_by_the_caller {
        use super::Failing;

        raft_testkit::journal_conformance! {
            backend: Failing { unsynced: None, inline: true },
            skip: {
                j01_acknowledged_survives_a_kill => "this disk ends with its process; the real files do it",
                j16_flipped_bits_are_detected => "nothing in reading depends on who wrote",
            },
        }
    }

    /// A sync that does nothing where the journal counts on it: a crash shows it.
    #[tokio::test]
    async fn a_sync_that_is_missing_is_noticed() {
        use Unsynced::{Files, Names};
        let table = [
            (Files("seg-"), "j01_acknowledged_survives_a_crash", "the last log id"),
            (Files("hs."), "j01_vote_alone_survives_a_crash", "the hard state"),
            (Files("peers."), "j01_vote_alone_survives_a_crash", "the known peers"),
            // Whatever it says of a segment that is not there.
            (Names, "j01_long_log_survives_a_crash", ""),
        ];
        for (unsynced, clause, words) in table {
            let result = raft_testkit::conformance::journal::run(
                &Failing { unsynced: Some(unsynced), inline: false },
                clause,
            )
            .await;
            let seen = result.expect_err(&format!("{unsynced:?}")).to_string();
            assert!(seen.contains(words) && !seen.contains("nothing happens"), "{unsynced:?}: {seen}");
        }
    }
}

mod on_real_files {
    use super::*;

    struct Real;

    /// The journal is in a folder that does not exist at first.
    struct Folder {
        path: PathBuf,
        _temporary: Option<tempfile::TempDir>,
    }

    /// The files and their lengths. What was purged may go at any moment, beside the writes.
    fn files(place: &Folder) -> Vec<(PathBuf, u64)> {
        let all = std::fs::read_dir(&place.path).unwrap().map(|entry| entry.unwrap().path());
        let there = all.filter(|path| !path.ends_with("LOCK"));
        let mut files: Vec<(PathBuf, u64)> =
            there.filter_map(|path| path.metadata().ok().map(|data| (path, data.len()))).collect();
        files.sort();
        files
    }

    #[async_trait]
    impl JournalBackend for Real {
        type Place = Folder;

        fn place(&self) -> Folder {
            let temporary = tempfile::tempdir().unwrap();
            Folder { path: temporary.path().join("journal"), _temporary: Some(temporary) }
        }

        async fn create(
            &self,
            place: &Folder,
            owner: Owner,
            initial: Option<&Membership>,
        ) -> Result<Box<dyn Journal>, OpenError> {
            let Owner { cluster, group, node } = owner;
            Ok(Box::new(FileJournal::create(&place.path, cluster, group, node, initial, options()).await?))
        }

        async fn open(&self, place: &Folder, owner: Owner) -> Result<Box<dyn Journal>, OpenError> {
            let Owner { cluster, group, node } = owner;
            Ok(Box::new(FileJournal::open(&place.path, cluster, group, node, options()).await?))
        }

        fn path(&self, place: &Folder) -> Result<PathBuf, Unsupported> {
            Ok(place.path.clone())
        }

        fn place_at(&self, path: &Path) -> Result<Folder, Unsupported> {
            Ok(Folder { path: path.to_path_buf(), _temporary: None })
        }

        fn stored_bytes(&self, place: &Folder) -> Result<u64, Unsupported> {
            Ok(files(place).iter().map(|(_, length)| length).sum())
        }

        fn contents(&self, place: &Folder) -> Result<Vec<u8>, Unsupported> {
            Ok(files(place).iter().flat_map(|(path, _)| std::fs::read(path).unwrap_or_default()).collect())
        }

        fn flip_bit(&self, place: &Folder, mut at: u64, bit: u8) -> Result<(), Unsupported> {
            for (path, length) in files(place) {
                if at < length {
                    // In place: the journal may be open.
                    let file = match std::fs::File::options().read(true).write(true).open(&path) {
                        Err(error) if error.kind() == std::io::ErrorKind::NotFound => break,
                        file => file.unwrap(),
                    };
                    let mut byte = [0];
                    file.read_exact_at(&mut byte, at).unwrap();
                    file.write_all_at(&[byte[0] ^ 1 << bit], at).unwrap();
                    break;
                }
                at -= length;
            }
            Ok(())
        }
    }

    raft_testkit::journal_conformance! {
        backend: Real,
        skip: {
            j01_acknowledged_survives_a_crash => "the machine cannot be crashed here; the failing disk is",
            j01_vote_alone_survives_a_crash => "the machine cannot be crashed here; the failing disk is",
            j01_long_log_survives_a_crash => "the machine cannot be crashed here; the failing disk is",
            j05_unsynced_is_not_read => "the real disk does not fail to order; the failing disk does",
            j06_crash_in_a_purge_keeps_what_is_above => "the machine cannot be crashed here; the failing disk is",
            j13_write_after_a_dropped_one_is_durable => "the machine cannot be crashed here; the failing disk is",
            j02_unfinished_write_is_a_prefix => "the machine cannot be crashed here; the failing disk is",
            j08_failed_sync_poisons => "the real disk does not fail to order; the failing disk does",
            j08_failed_sync_is_not_retried => "the real disk does not fail to order; the failing disk does",
            j09_no_space_is_typed => "the real disk is not full to order; the failing disk is",
            j09_what_found_no_space_can_be_written_later => "the real disk is not full to order; the failing disk is",
        },
    }
}
