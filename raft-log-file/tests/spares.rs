//! The next segment: who makes it, how fast, when again, and what becomes of it.

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use raft_core::backend::{Journal, JournalError, Verdict};
use raft_core::ids::{Index, LogId};
use raft_log_file::vfs::Vfs;
use raft_log_file::{FileJournal, Store};
use support::noted::{Disk, JOURNAL, PATIENCE, commands, create, options};
use support::{Fault, MemVfs, OWNER, Op, append, data, entry};

/// To make a segment takes long: whoever writes, it is the journal's threads that do it.
#[tokio::test]
async fn segments_are_the_threads() {
    let disk = Arc::new(Disk::default());
    let mut journal = create(&disk, options().segment_bytes(64 << 10)).await;
    disk.notes.makers.lock().unwrap().clear();
    for index in 1..200 {
        journal.write(commands(index, 1)).await.unwrap();
    }
    drop(journal);
    let makers = disk.notes.makers.lock().unwrap().clone();
    assert!(makers.len() >= 199 * 4096 / (64 << 10), "{makers:?}");
    assert!(makers.iter().all(|thread| thread.starts_with(JOURNAL)), "{makers:?}");
    let mut journal = FileJournal::open_on(disk, OWNER, options()).await.unwrap();
    let state = journal.load().await.unwrap();
    assert_eq!((state.last.index.0, state.verdict), (199, Verdict::Clean));
}

/// Writes until the journal's first segment of 1 MiB is filled up to here, in bytes, one batch a block.
async fn fill(journal: &mut FileJournal, next: &mut u64, upto: u64) {
    while 4096 * (*next + 1) < upto {
        journal.write(commands(*next, 1)).await.unwrap();
        *next += 1;
    }
}

/// The size of the segments here, in bytes.
const SIZE: u64 = 1 << 20;

/// Waits until so many files are there with such names.
async fn until(disk: &Disk, count: usize, is: impl Fn(&str) -> bool) {
    let begun = Instant::now();
    while disk.list().unwrap().iter().filter(|name| is(name)).count() < count {
        assert!(begun.elapsed() < PATIENCE, "there are not {count}: {:?}", disk.list());
        tokio::task::yield_now().await;
    }
}

/// Waits until a file is there whose name ends so, and so many of them.
async fn until_there(disk: &Disk, end: &str, count: usize) {
    until(disk, count, |name| name.ends_with(end)).await;
}

/// All at once they would keep the disk to themselves, and every batch would wait.
#[tokio::test]
async fn zeros_for_the_next_segment_are_written_no_faster_than_this_one_fills() {
    // It begins when an eighth is full, and is over when half of the rest is.
    let due = |at: u64| SIZE / 8 + (SIZE - SIZE / 8) / 2 * at / SIZE;
    for reserves in [false, true] {
        let disk = Arc::new(Disk::default());
        disk.notes.reserves.store(reserves, Ordering::SeqCst);
        let mut journal = create(&disk, options()).await;
        let begun = Instant::now();
        let mut next = 1;
        // Block by block, and each time what may be written beside it is awaited.
        for filled in (SIZE / 8..SIZE / 8 * 6).step_by(4096) {
            fill(&mut journal, &mut next, filled).await;
            let filled = disk.notes.filled.load(Ordering::SeqCst);
            let may = (0..8).filter(|piece| filled >= due(piece * SIZE / 8) + 8192).count();
            while disk.notes.zeros.lock().unwrap().len() < may {
                assert!(begun.elapsed() < PATIENCE, "{may} pieces are not written at {filled}");
                tokio::task::yield_now().await;
            }
        }
        until_there(&disk, ".log", 2).await;
        let mut end = 4096;
        for (at, bytes, filled) in disk.notes.zeros.lock().unwrap().clone() {
            assert!(filled >= due(at), "zeros at {at} when {filled} was filled, not {}", due(at));
            assert_eq!(at, end, "no part is left out");
            end += bytes;
        }
        assert_eq!(end, SIZE, "zeros to its end, reserved or not: {reserves}");
    }
}

/// What waits does not wait for zeros that it can do without.
#[tokio::test]
async fn a_segment_that_is_needed_at_once_stays_reserved() {
    for reserves in [false, true] {
        let disk = Arc::new(Disk::default());
        disk.notes.reserves.store(reserves, Ordering::SeqCst);
        let mut journal = create(&disk, options()).await;
        let mut next = 1;
        fill(&mut journal, &mut next, SIZE / 4).await;
        until_there(&disk, ".tmp", 1).await;
        journal.write(append(vec![entry(1, next, vec![9; 800 << 10])])).await.unwrap();
        let zeros: u64 = disk.notes.zeros.lock().unwrap().iter().map(|(_, bytes, _)| bytes).sum();
        assert_eq!(zeros < SIZE / 2, reserves, "{zeros} bytes of zeros");
        drop(journal);
        let mut journal = FileJournal::open_on(disk, OWNER, options()).await.unwrap();
        let state = journal.load().await.unwrap();
        assert_eq!((state.last.index.0, state.verdict), (next, Verdict::Clean));
    }
}

#[tokio::test]
async fn a_journal_is_closed_although_its_next_segment_is_not_made() {
    let disk = Arc::new(Disk::default());
    let mut journal = create(&disk, options()).await;
    let mut next = 1;
    fill(&mut journal, &mut next, SIZE / 4).await;
    until_there(&disk, ".tmp", 1).await;
    drop(journal);
    let left = disk.list().unwrap();
    assert!(left.iter().all(|name| !name.ends_with(".tmp")), "{left:?}");
    let mut journal = FileJournal::open_on(disk, OWNER, options()).await.unwrap();
    let state = journal.load().await.unwrap();
    assert_eq!((state.last.index.0, state.verdict), (next - 1, Verdict::Clean));
}

/// The bytes that were written since there were so many operations.
fn bytes_since(disk: &Disk, before: usize) -> usize {
    let ops = disk.memory.ops();
    ops[before..].iter().map(|op| if let Op::Write(_, _, bytes) = op { bytes.len() } else { 0 }).sum()
}

/// A segment that is ready when the process ends is there for the next one, which would else wait for zeros. One that was made
/// for large batches was not taken, as it has another size.
#[tokio::test]
async fn opening_goes_on_in_the_segment_that_was_ready() {
    // Batches of one block, and of five.
    for (batch, blocks, large) in [(1, 1, false), (16 << 10, 5, true)] {
        let disk = Arc::new(Disk::default());
        disk.notes.reserves.store(true, Ordering::SeqCst);
        let options = || options().reserve_from_bytes(8 << 10);
        let mut journal = create(&disk, options()).await;
        let mut next = 1;
        for filled in [SIZE / 4, SIZE / 4 * 3] {
            while 4096 * (1 + blocks * (next - 1)) < filled {
                journal.write(append(vec![entry(1, next, vec![9; batch])])).await.unwrap();
                next += 1;
            }
            // It is begun before so much is filled that it could not be done in time.
            until(&disk, 2, |name| name.starts_with("seg-")).await;
        }
        until_there(&disk, ".log", 2).await;
        drop(journal);
        let ready = disk.memory.image()["seg-0000000000000002.log"].len() as u64;
        assert_eq!(ready > SIZE, large, "{ready}");
        let before = disk.memory.op_count();
        let mut journal =
            FileJournal::open_on(Arc::clone(&disk) as Arc<dyn Vfs>, OWNER, options()).await.unwrap();
        let written = bytes_since(&disk, before) as u64;
        assert!(written < SIZE / 4, "opening wrote {written} bytes");
        let state = journal.load().await.unwrap();
        assert_eq!((state.last.index.0, state.verdict), (next - 1, Verdict::Clean));
        assert!(journal.findings().is_empty(), "{:?}", journal.findings());
        // It is that one: as large, and written to.
        journal.write(append(vec![entry(1, next, data(next, 3000))])).await.unwrap();
        drop(journal);
        let image = disk.memory.image();
        let names: Vec<_> = image.keys().filter(|name| name.starts_with("seg-")).collect();
        assert_eq!(names, ["seg-0000000000000001.log", "seg-0000000000000002.log"]);
        assert_eq!(image["seg-0000000000000002.log"].len() as u64, ready);
        let mut journal = FileJournal::open_on(disk, OWNER, options()).await.unwrap();
        assert_eq!(journal.load().await.unwrap().last.index.0, next);
    }
}

/// A journal of which the first entry has rotted, and was read: the next purge begins the log anew, in another segment.
async fn rotten(disk: &Arc<Disk>, upto: u64) -> FileJournal {
    let mut journal = create(disk, options()).await;
    journal.write(append(vec![entry(1, 1, "this will rot")])).await.unwrap();
    let mut next = 2;
    fill(&mut journal, &mut next, upto).await;
    let name = "seg-0000000000000001.log";
    let mut bytes = disk.memory.image()[name].to_vec();
    let at = bytes.windows(13).position(|found| found == b"this will rot").unwrap();
    bytes[at] ^= 1;
    disk.memory.replace(name, &bytes);
    let read = journal.reader().entries(Index(1)..Index(2), u64::MAX).await;
    assert!(matches!(read, Err(JournalError::Corrupt(_))), "{read:?}");
    journal
}

/// Where there is room for one segment more, the one that is being made has it: a purge that needs one took it for a full
/// disk, and left the damage where every opening meets it.
#[tokio::test]
async fn a_purge_that_needs_a_segment_waits_for_the_one_that_is_being_made() {
    let disk = Arc::new(Disk::default());
    disk.notes.room.store(2, Ordering::SeqCst);
    let mut journal = rotten(&disk, SIZE / 4).await;
    until_there(&disk, ".tmp", 1).await;
    journal.purge(LogId::new(1, 1)).await.unwrap();
    let last = journal.load().await.unwrap().last;
    drop(journal);
    let left = disk.list().unwrap();
    assert!(!left.contains(&"seg-0000000000000001.log".to_owned()), "{left:?}");
    let mut journal = FileJournal::open_on(disk, OWNER, options()).await.unwrap();
    assert!(journal.findings().is_empty(), "{:?}", journal.findings());
    let state = journal.load().await.unwrap();
    assert_eq!((state.purged, state.last, state.verdict), (LogId::new(1, 1), last, Verdict::Clean));
}

/// On a full disk each write began another segment, took all the space there was, and gave it back.
#[test]
fn a_segment_that_could_not_be_made_is_not_begun_again_until_there_may_be_space() {
    // Of 64 blocks: an eighth is 8, and 62 batches of one block fit between its header and its seal.
    let vfs = MemVfs::default();
    let options = options().segment_bytes(64 * 4096);
    let mut store = support::create(&vfs, None, options).unwrap();
    let mut index = 0;
    // Writes so many, and says at which of them a segment was begun.
    let mut write = |store: &mut Store, count: u64| {
        let mut begun = Vec::new();
        for number in 1..=count {
            index += 1;
            store.write(&append(vec![entry(1, index, "x")])).unwrap();
            if let Some(job) = store.spare_job() {
                store.install_spare(job.run());
                begun.push(number);
            }
        }
        begun
    };
    assert_eq!(write(&mut store, 62), [7], "made when an eighth was filled");
    vfs.set_fault(Some(Fault::Full(0)));
    assert_eq!(write(&mut store, 16), [7, 15], "and again after an eighth more");
    store.purge(LogId::new(1, 62)).unwrap();
    assert_eq!(write(&mut store, 5), [1], "a file was removed, which was not enough");
    vfs.set_fault(None);
    assert_eq!(write(&mut store, 41), [4], "there is room, at last");
    assert_eq!(write(&mut store, 62), [7], "what was in the segment before counts no more");
}

/// A file was removed while the attempt met a full disk: what it had met was no longer so when its outcome came.
#[test]
fn a_file_that_goes_during_the_attempt_is_a_reason_for_another() {
    let vfs = MemVfs::default();
    let mut store = support::create(&vfs, None, options().segment_bytes(64 * 4096)).unwrap();
    let put = |store: &mut Store, index| store.write(&append(vec![entry(1, index, "x")])).unwrap();
    (1..=62).for_each(|index| {
        put(&mut store, index);
        if let Some(job) = store.spare_job() {
            store.install_spare(job.run());
        }
    });
    (63..=70).for_each(|index| put(&mut store, index));
    vfs.set_fault(Some(Fault::Full(0)));
    let failed = store.spare_job().unwrap().run();
    store.purge(LogId::new(1, 62)).unwrap();
    store.install_spare(failed);
    assert!(store.spare_job().is_some());
}
