//! The snapshot contract, clause by clause: on a disk that can fail and be crashed, and on the real file
//! system; and what a crash between any two operations leaves.

mod support;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use raft_core::backend::{SnapshotError, SnapshotStore};
use raft_log_file::FileSnapshots;
use raft_testkit::conformance::Unsupported;
use raft_testkit::conformance::snapshot::SnapshotBackend;

#[global_allocator]
static ALLOCATOR: cap::Cap<std::alloc::System> = cap::Cap::new(std::alloc::System, usize::MAX);

mod on_a_failing_disk {
    use super::*;
    use crate::support::{Fault, MemVfs};

    struct Failing;

    #[async_trait]
    impl SnapshotBackend for Failing {
        type Place = MemVfs;

        fn place(&self) -> MemVfs {
            MemVfs::default()
        }

        async fn open(&self, place: &MemVfs) -> Result<Box<dyn SnapshotStore>, SnapshotError> {
            Ok(Box::new(FileSnapshots::open_on(Arc::new(place.clone())).await?))
        }

        async fn crash(&self, place: &MemVfs, store: Box<dyn SnapshotStore>) -> Result<(), Unsupported> {
            drop(store);
            place.restore(&place.durable());
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

    raft_testkit::snapshot_conformance! {
        backend: Failing,
        skip: { s03_memory_stays_bounded => "this disk is the memory; the real files do it" },
    }
}

mod on_real_files {
    use super::*;

    struct Real;

    fn dir(place: &tempfile::TempDir) -> PathBuf {
        place.path().join("snapshots")
    }

    fn files(place: &tempfile::TempDir) -> Vec<PathBuf> {
        let all = std::fs::read_dir(dir(place)).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<PathBuf> = all.filter(|path| !path.ends_with("LOCK")).collect();
        files.sort();
        files
    }

    #[async_trait]
    impl SnapshotBackend for Real {
        type Place = tempfile::TempDir;

        fn place(&self) -> tempfile::TempDir {
            tempfile::tempdir().unwrap()
        }

        async fn open(&self, place: &tempfile::TempDir) -> Result<Box<dyn SnapshotStore>, SnapshotError> {
            Ok(Box::new(FileSnapshots::open(&dir(place)).await?))
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

        fn peak_bytes(&self) -> Result<u64, Unsupported> {
            Ok(ALLOCATOR.max_allocated() as u64)
        }
    }

    raft_testkit::snapshot_conformance! {
        backend: Real,
        skip: {
            s01_finished_survives_a_crash => "the machine cannot be crashed here; the failing disk is",
            s01_failed_sync_is_not_finished => "the real disk does not fail to order; the failing disk does",
            s02_crash_in_the_middle_serves_nothing => "the machine cannot be crashed here; the failing disk is",
            s04_old_one_outlives_a_crash_of_the_new => "the machine cannot be crashed here; the failing disk is",
            s04_no_space_keeps_the_old => "the real disk is not full to order; the failing disk is",
        },
    }
}

mod between_any_two_operations {
    use std::collections::BTreeSet;
    use std::io;

    use bytes::Bytes;
    use raft_core::backend::{SnapshotContent, SnapshotId, SnapshotMeta};
    use raft_core::ids::LogId;

    use super::*;
    use crate::support::{CrashPoint, Fault, Image, MODES, MemVfs, Mode, Op, Plan, Rng, data, voters};

    fn block_on<T>(run: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(run)
    }

    /// A snapshot of more than two chunks, by its number.
    fn sample(number: u64) -> (SnapshotMeta, Bytes) {
        let data = data(number, 150_000);
        let content = SnapshotContent { total_bytes: 150_000, checksum: crc32c::crc32c(&data) };
        let upto = LogId::new(number, number * 10);
        (SnapshotMeta::new(SnapshotId(number.into()), upto, voters(number + 2), content), data)
    }

    async fn store(store: &dyn SnapshotStore, number: u64) -> Result<(), SnapshotError> {
        let (meta, data) = sample(number);
        let mut writer = store.create(meta.id, meta.upto, meta.membership).await?;
        let from = writer.received_bytes() as usize;
        writer.write(data.slice(from..)).await?;
        writer.finish(Some(meta.content)).await?;
        Ok(())
    }

    /// Which snapshot is there, whole; 0 for none.
    async fn found(store: &dyn SnapshotStore) -> Result<u64, SnapshotError> {
        let Some(meta) = store.latest().await? else { return Ok(0) };
        let number = meta.upto.term.0;
        let (right, data) = sample(number);
        assert_eq!(meta, right);
        let mut reader = store.open(meta.id).await?;
        let mut read = Vec::new();
        loop {
            let piece = reader.read(read.len() as u64, 1 << 20).await?;
            if piece.is_empty() {
                break;
            }
            read.extend_from_slice(&piece);
        }
        assert!(data == read, "the bytes of snapshot {number}");
        Ok(number)
    }

    /// Snapshots 1 and 2 in turn: after a crash between any two operations there is the last that was
    /// finished, or the one being finished, whole; and the next one can be made.
    #[test]
    fn a_crash_leaves_the_old_or_the_new() {
        let (vfs, mut marks) = (MemVfs::default(), vec![0]);
        block_on(async {
            let files = FileSnapshots::open_on(Arc::new(vfs.clone())).await.unwrap();
            for number in 1..=2 {
                store(&files, number).await.unwrap();
                marks.push(vfs.op_count());
            }
        });
        let (mut point, mut rng) = (CrashPoint::of(&Image::new()), Rng(4));
        let plan = Plan { exhaustive: 4, sampled: 6, steps: 8 };
        let (mut seen, mut outcomes) = (BTreeSet::new(), BTreeSet::new());
        let ops = vfs.ops();
        for done in 0..=ops.len() {
            let least = marks.iter().rposition(|mark| done >= *mark).unwrap() as u64;
            for mode in MODES {
                point.crashes(mode, plan, &mut rng, &mut |image, key| {
                    if !seen.insert((key, least)) {
                        return;
                    }
                    let disk = MemVfs::of(image);
                    block_on(async {
                        let files = FileSnapshots::open_on(Arc::new(disk)).await.unwrap();
                        let number = found(&files).await.unwrap();
                        let right = number == least || number == least + 1 && done < ops.len();
                        assert!(right, "{number} after {done} operations, {least} was finished, {mode:?}");
                        outcomes.insert((least, number));
                        if mode == Mode::Atomic {
                            store(&files, 3).await.unwrap();
                            assert_eq!(found(&files).await, Ok(3));
                        }
                    });
                });
            }
            if let Some(op) = ops.get(done) {
                point.advance(op);
            }
        }
        assert!(seen.len() > 200, "{} states", seen.len());
        assert!(
            outcomes.is_superset(&BTreeSet::from([(0, 0), (0, 1), (1, 1), (1, 2), (2, 2)])),
            "{outcomes:?}"
        );
    }

    /// Every call fails once, for want of space or for another reason: what was there stays, and after a
    /// restart all is well.
    #[test]
    fn a_failing_call_leaves_the_old() {
        for kind in [io::ErrorKind::StorageFull, io::ErrorKind::Other] {
            for at in 0.. {
                let vfs = MemVfs::default();
                let failed = block_on(async {
                    let files = FileSnapshots::open_on(Arc::new(vfs.clone())).await.unwrap();
                    store(&files, 1).await.unwrap();
                    vfs.set_fault(Some(Fault::Once(at, kind)));
                    let stored = store(&files, 2).await;
                    let there = found(&files).await.unwrap();
                    match &stored {
                        Ok(()) => assert_eq!(there, 2),
                        Err(error) => {
                            assert_eq!(there, 1, "call {at}: {error}");
                            let full = kind == io::ErrorKind::StorageFull;
                            assert_eq!(matches!(error, SnapshotError::NoSpace), full, "{error:?}");
                        }
                    }
                    stored.is_err()
                });
                let calls = vfs.calls();
                vfs.set_fault(None);
                block_on(async {
                    let files = FileSnapshots::open_on(Arc::new(vfs.clone())).await.unwrap();
                    let there = found(&files).await.unwrap();
                    assert!(there == 2 || failed && there == 1, "{there} after call {at} had failed");
                    // What was found is counted on: it stays, whatever the failure has left unsynced (seed 107).
                    let mut point = CrashPoint::of(&Image::new());
                    vfs.ops().iter().for_each(|op| point.advance(op));
                    let crashed = MemVfs::of(&point.durable());
                    let again = FileSnapshots::open_on(Arc::new(crashed)).await.unwrap();
                    assert_eq!(found(&again).await, Ok(there), "after call {at} had failed, and a crash");
                    store(&files, 3).await.unwrap();
                    assert_eq!(found(&files).await, Ok(3));
                });
                if at >= calls {
                    break;
                }
            }
        }
    }

    const MIB: usize = 1 << 20;

    /// What a snapshot has written is never more than 4 MiB ahead of its syncs, and of one whose sync has failed nothing is
    /// gone on with: the system may have dropped what it still shows.
    #[test]
    fn a_large_one_is_synced_as_it_is_written() {
        let big = data(5, 5 * MIB);
        let write = async |vfs: &MemVfs| {
            let files = FileSnapshots::open_on(Arc::new(vfs.clone())).await?;
            let mut writer = files.create(SnapshotId(5), LogId::new(5, 50), voters(3)).await?;
            for from in (0..big.len()).step_by(MIB / 4) {
                writer.write(big.slice(from..from + MIB / 4)).await?;
            }
            writer.finish(None).await.map(drop)
        };
        let vfs = MemVfs::default();
        block_on(write(&vfs)).unwrap();
        let (mut unsynced, mut most) = (0, 0);
        for op in vfs.ops() {
            match op {
                Op::Write(_, _, bytes) => unsynced += bytes.len(),
                Op::Sync(_) => unsynced = 0,
                _ => {}
            }
            most = most.max(unsynced);
        }
        assert!((MIB..MIB + MIB / 4).contains(&most), "{most}");
        for at in 0..vfs.calls() {
            let vfs = MemVfs::default();
            vfs.set_fault(Some(Fault::Once(at, io::ErrorKind::Other)));
            let failed = block_on(write(&vfs)).is_err();
            vfs.set_fault(None);
            let lost = vfs.ops().iter().any(|op| matches!(op, Op::SyncFailed(..)));
            assert!(failed || !lost, "call {at}");
            block_on(async {
                let files = FileSnapshots::open_on(Arc::new(vfs.clone())).await.unwrap();
                if failed && lost {
                    let again = files.create(SnapshotId(5), LogId::new(5, 50), voters(3)).await.unwrap();
                    assert_eq!(again.received_bytes(), 0, "call {at}");
                }
            });
        }
    }

    /// A dropped future leaves its writer of no use; created again, the snapshot comes out right.
    #[test]
    fn a_write_that_is_given_up_ends_its_writer() {
        let vfs = MemVfs::default();
        block_on(async {
            let files = FileSnapshots::open_on(Arc::new(vfs.clone())).await.unwrap();
            let (meta, data) = sample(1);
            let mut writer = files.create(meta.id, meta.upto, meta.membership).await.unwrap();
            {
                let mut write = std::pin::pin!(writer.write(data.clone()));
                let mut context = std::task::Context::from_waker(std::task::Waker::noop());
                // It may be done already.
                if write.as_mut().poll(&mut context).is_ready() {
                    return;
                }
            }
            assert!(matches!(writer.write(data).await, Err(SnapshotError::Io { .. })));
            drop(writer);
            store(&files, 1).await.unwrap();
            assert_eq!(found(&files).await, Ok(1));
        });
    }

    #[test]
    fn the_second_opener_is_locked_out() {
        let vfs = MemVfs::default();
        block_on(async {
            let files = FileSnapshots::open_on(Arc::new(vfs.clone())).await.unwrap();
            let second = FileSnapshots::open_on(Arc::new(vfs.clone())).await;
            assert!(matches!(second, Err(SnapshotError::Locked)));
            drop(files);
            FileSnapshots::open_on(Arc::new(vfs.clone())).await.unwrap();
        });
    }

    /// Whatever a complete file is cut to, or has in place of some of its bytes: it is damaged by name, or
    /// what it was; and a new one can be made.
    #[test]
    fn a_file_that_was_cut_or_overwritten_is_named() {
        let vfs = MemVfs::default();
        block_on(async {
            store(&FileSnapshots::open_on(Arc::new(vfs.clone())).await.unwrap(), 1).await.unwrap();
        });
        let (image, mut rng) = (vfs.image(), Rng(8));
        let (name, whole) = image.iter().next().unwrap();
        let mut named = 0;
        for turn in 0..400 {
            let mut bytes = whole.to_vec();
            let at = rng.below(whole.len() as u64) as usize;
            match turn % 4 {
                0 => bytes.truncate(at),
                1 => bytes.extend((0..=at % 700).map(|_| 0)),
                // Headers and lengths, where a number decides what is read next.
                2 => bytes[at % 64..][..4].copy_from_slice(&(rng.next() as u32).to_le_bytes()),
                _ => {
                    let end = bytes.len().min(at + 1 + rng.below(2000) as usize);
                    bytes[at..end].iter_mut().for_each(|byte| *byte = rng.next() as u8);
                }
            }
            let changed = bytes != **whole;
            let disk = MemVfs::of(&Image::from([(name.clone(), bytes.into())]));
            block_on(async {
                let files = FileSnapshots::open_on(Arc::new(disk)).await.unwrap();
                match found(&files).await {
                    Ok(number) => assert!(number == 1 && !changed, "{number} in turn {turn}"),
                    Err(SnapshotError::Corrupt(_)) => named += 1,
                    Err(other) => panic!("{other:?} in turn {turn}"),
                }
                store(&files, 2).await.unwrap();
                assert_eq!(found(&files).await, Ok(2));
            });
        }
        assert!(named > 390, "{named}");
    }
}
