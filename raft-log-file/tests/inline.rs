//! Who writes, and when: the journal's thread, or the task that asks; the thread that makes the next segment.

mod support;

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use raft_core::backend::{Journal, JournalWrite, Verdict};
use raft_core::entry::{Entry, EntryKind, pack};
use raft_core::ids::LogId;
use raft_log_file::vfs::{LockError, Vfs, VfsFile};
use raft_log_file::{Durability, FileJournal, Options};
use support::{CrashPoint, MemVfs, OWNER, Op, append, entry, vote};

/// The thread of the journal has this name; that of a test another.
const JOURNAL: &str = "raft-journal";
/// And the one that makes the next segment.
const SPARE: &str = "raft-journal-spare";

/// Nothing here takes so long on any machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A disk that notes who writes batches, and takes its time when told to.
#[derive(Default)]
struct Disk {
    memory: MemVfs,
    notes: Arc<Notes>,
}

#[derive(Default)]
struct Notes {
    writers: Mutex<Vec<String>>,
    /// Who has made files.
    makers: Mutex<Vec<String>>,
    slow: AtomicBool,
    /// Where the last batch ends in its segment, in bytes.
    filled: AtomicU64,
    /// Room can be reserved.
    reserves: AtomicBool,
    /// Zeros for the next segment: where they go there, how many, and where the last batch ended then.
    zeros: Mutex<Vec<(u64, u64, u64)>>,
}

fn this_thread() -> String {
    std::thread::current().name().unwrap_or_default().to_owned()
}

struct File {
    file: Arc<dyn VfsFile>,
    notes: Arc<Notes>,
}

impl Disk {
    fn file(&self, file: Arc<dyn VfsFile>) -> Arc<dyn VfsFile> {
        Arc::new(File { file, notes: Arc::clone(&self.notes) })
    }

    /// Who has written batches since the last time it was asked.
    fn writers(&self) -> Vec<String> {
        std::mem::take(&mut self.notes.writers.lock().unwrap())
    }
}

impl Vfs for Disk {
    fn list(&self) -> io::Result<Vec<String>> {
        self.memory.list()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn VfsFile>> {
        self.notes.makers.lock().unwrap().push(this_thread());
        self.memory.create(name).map(|file| self.file(file))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn VfsFile>> {
        self.memory.open(name).map(|file| self.file(file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.memory.rename(from, to)
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        self.memory.unlink(name)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.memory.sync_dir()
    }

    fn lock(&self, name: &str) -> Result<Box<dyn Send + Sync>, LockError> {
        self.memory.lock(name)
    }
}

impl VfsFile for File {
    fn pread(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.pread(buf, offset)
    }

    fn pwrite(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        self.file.pwrite(buf, offset)
    }

    /// Batches are written so.
    fn pwrite_through(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        let thread = this_thread();
        // Zeros for the next segment are nobody's batch.
        if thread == SPARE {
            let filled = self.notes.filled.load(Ordering::SeqCst);
            self.notes.zeros.lock().unwrap().push((offset, buf.len() as u64, filled));
        } else {
            self.notes.writers.lock().unwrap().push(thread);
            self.notes.filled.store(offset + buf.len() as u64, Ordering::SeqCst);
        }
        self.file.pwrite_through(buf, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        let begun = Instant::now();
        while self.notes.slow.load(Ordering::Relaxed) && begun.elapsed() < Duration::from_millis(3) {
            std::hint::spin_loop();
        }
        self.file.sync_data()
    }

    fn reserve(&self, length: u64) -> io::Result<()> {
        if self.notes.reserves.load(Ordering::SeqCst) {
            self.file.set_len(length)
        } else {
            Err(io::ErrorKind::Unsupported.into())
        }
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }
}

fn options() -> Options {
    Options::default().segment_bytes(1 << 20).inline_bytes(1000)
}

async fn create(disk: &Arc<Disk>, options: Options) -> FileJournal {
    let vfs = Arc::clone(disk) as Arc<dyn Vfs>;
    let journal = FileJournal::create_on(vfs, OWNER, None, options).await.unwrap();
    disk.writers();
    journal
}

/// An entry of so many commands.
fn commands(index: u64, count: usize) -> JournalWrite {
    append(vec![entry(1, index, pack(&vec![Bytes::from_static(b"x"); count]))])
}

/// Writes one command at a time until the caller has written one: not at once where a machine under load took long over
/// the last.
async fn until_inline(journal: &mut FileJournal, disk: &Disk, next: &mut impl Iterator<Item = u64>) {
    disk.writers();
    for index in next {
        journal.write(commands(index, 1)).await.unwrap();
        if all_by(&disk.writers(), false) {
            break;
        }
    }
}

fn all_by(writers: &[String], thread: bool) -> bool {
    !writers.is_empty() && writers.iter().all(|name| (name == JOURNAL) == thread)
}

#[tokio::test]
async fn one_command_at_a_time_is_written_by_who_asks() {
    let disk = Arc::new(Disk::default());
    let mut journal = create(&disk, options()).await;
    let mut next = 1..;
    for _ in 0..100 {
        until_inline(&mut journal, &disk, &mut next).await;
    }
    let last = next.next().unwrap() - 1;
    // And is durable then.
    let mut point = CrashPoint::default();
    disk.memory.ops().iter().for_each(|op| point.advance(op));
    let crashed = Arc::new(MemVfs::of(&point.durable()));
    let state = FileJournal::open_on(crashed, OWNER, options()).await.unwrap().load().await.unwrap();
    assert_eq!(state.last.index.0, last);
}

/// What a leader sends must be on its way before its thread waits for the disk.
#[tokio::test]
async fn what_others_have_begun_goes_first() {
    let disk = Arc::new(Disk::default());
    let mut journal = create(&disk, options()).await;
    let notes = Arc::clone(&disk.notes);
    tokio::spawn(async move { notes.writers.lock().unwrap().push("another task".into()) });
    journal.write(commands(1, 1)).await.unwrap();
    let order = disk.writers();
    assert_eq!((order.len(), &order[0][..]), (2, "another task"));
    assert_ne!(order[1], JOURNAL, "the caller wrote");
}

#[tokio::test]
async fn nobody_blocks_who_did_not_say_so() {
    let disk = Arc::new(Disk::default());
    let mut journal = create(&disk, options().inline_bytes(0)).await;
    for index in 1..100 {
        journal.write(commands(index, 1)).await.unwrap();
    }
    assert!(all_by(&disk.writers(), true));
}

/// Where many commands come, they gather while the thread writes; where they become few it is as before.
#[tokio::test]
async fn many_commands_at_a_time_are_the_threads() {
    let disk = Arc::new(Disk::default());
    let mut journal = create(&disk, options()).await;
    let mut next = 1..;
    for _ in 0..100 {
        journal.write(commands(next.next().unwrap(), 8)).await.unwrap();
    }
    disk.writers();
    journal.write(commands(next.next().unwrap(), 1)).await.unwrap();
    assert!(all_by(&disk.writers(), true), "by the mean");
    for _ in 0..200 {
        journal.write(commands(next.next().unwrap(), 1)).await.unwrap();
    }
    until_inline(&mut journal, &disk, &mut next).await;
    // Many entries of one command each are many too.
    for _ in 0..100 {
        let entries = next.by_ref().take(8).map(|index| entry(1, index, pack(&[Bytes::from_static(b"x")])));
        journal.write(append(entries.collect())).await.unwrap();
    }
    disk.writers();
    journal.write(commands(next.next().unwrap(), 1)).await.unwrap();
    assert!(all_by(&disk.writers(), true));
}

/// The first bytes of a membership or of a session's opening mean something else than a count.
#[tokio::test]
async fn an_entry_of_another_kind_is_one() {
    let disk = Arc::new(Disk::default());
    let mut journal = create(&disk, options()).await;
    for (index, kind) in [(1, EntryKind::Noop), (2, EntryKind::Membership), (3, EntryKind::Session)] {
        let data = Bytes::from(vec![u8::from(kind != EntryKind::Noop); 40]);
        let other = Entry { id: LogId::new(1, index), kind, data };
        journal.write(append(vec![other])).await.unwrap();
    }
    disk.writers();
    // The very next ones but for what the machine's load delays, which any number of them would show.
    let mut next = 4..104;
    until_inline(&mut journal, &disk, &mut next).await;
    assert!(next.next().is_some(), "no write was the caller's");
}

#[tokio::test]
async fn what_is_large_is_the_threads() {
    let disk = Arc::new(Disk::default());
    let mut journal = create(&disk, options()).await;
    for (index, bytes, thread) in [(1, 1000, false), (2, 1001, true)] {
        journal.write(append(vec![entry(1, index, vec![9; bytes])])).await.unwrap();
        assert!(all_by(&disk.writers(), thread), "{bytes}");
    }
    until_inline(&mut journal, &disk, &mut (3..)).await;
}

#[tokio::test]
async fn a_slow_disk_blocks_once() {
    let disk = Arc::new(Disk::default());
    let mut journal = create(&disk, options()).await;
    disk.notes.slow.store(true, Ordering::Relaxed);
    journal.write(commands(1, 1)).await.unwrap();
    assert!(all_by(&disk.writers(), false));
    for index in 2..5 {
        journal.write(commands(index, 1)).await.unwrap();
    }
    assert!(all_by(&disk.writers(), true));
    disk.notes.slow.store(false, Ordering::Relaxed);
    until_inline(&mut journal, &disk, &mut (5..)).await;
}

/// The thread sees to the end of what others have written, however often it has come to rest: a mark, and its sync.
#[tokio::test]
async fn the_thread_marks_what_others_write() {
    let disk = Arc::new(Disk::default());
    let mut journal = create(&disk, options()).await;
    for index in 1..=5 {
        let before = disk.memory.op_count();
        journal.write(commands(index, 1)).await.unwrap();
        let begun = Instant::now();
        while disk.memory.op_count() < before + 4 {
            assert!(begun.elapsed() < PATIENCE, "nobody marks write {index}");
            tokio::task::yield_now().await;
        }
        let ops = disk.memory.ops();
        let [Op::Write(..), Op::Sync(_), Op::Write(..), Op::Sync(_)] = &ops[before..] else {
            panic!("other operations")
        };
    }
}

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

/// Waits until a file is there whose name ends so, and so many of them.
async fn until_there(disk: &Disk, end: &str, count: usize) {
    let begun = Instant::now();
    while disk.list().unwrap().iter().filter(|name| name.ends_with(end)).count() < count {
        assert!(begun.elapsed() < PATIENCE, "there are not {count} {end}: {:?}", disk.list());
        tokio::task::yield_now().await;
    }
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

/// What was asked for and given up is done before what is asked for next.
#[tokio::test]
async fn nothing_overtakes_a_dropped_write() {
    let disk = Arc::new(Disk::default());
    let mut journal = create(&disk, options()).await;
    for index in (1..100).step_by(2) {
        let mut large = journal.write(append(vec![entry(1, index, vec![9; 2000])]));
        let _ = std::future::poll_fn(|cx| std::task::Poll::Ready(large.as_mut().poll(cx))).await;
        drop(large);
        journal.write(commands(index + 1, 1)).await.unwrap();
    }
    assert_eq!(journal.load().await.unwrap().last.index.0, 99 + 1);
}

/// Also where one of them needs a segment that takes its time: what comes meanwhile keeps its order.
#[tokio::test]
async fn nothing_overtakes_while_a_segment_is_waited_for() {
    let disk = Arc::new(Disk::default());
    disk.notes.slow.store(true, Ordering::Relaxed);
    let mut journal = create(&disk, options().segment_bytes(16 << 10)).await;
    let mut next = 1;
    for _ in 0..120 {
        for _ in 0..3 {
            let mut dropped = journal.write(append(vec![entry(1, next, vec![9; 2000])]));
            let _ = std::future::poll_fn(|cx| std::task::Poll::Ready(dropped.as_mut().poll(cx))).await;
            drop(dropped);
            next += 1;
            // Each comes at another time of what the threads do.
            tokio::task::yield_now().await;
        }
        journal.write(append(vec![entry(1, next, vec![9; 2000])])).await.unwrap();
        next += 1;
    }
    assert_eq!(journal.load().await.unwrap().last.index.0, next - 1);
}

/// Whoever writes: a hard state is durable at once, entries when that was asked for.
#[tokio::test]
async fn weaker_durability() {
    for durability in [Durability::Never, Durability::Interval(Duration::from_secs(3600))] {
        let disk = Arc::new(Disk::default());
        let mut journal = create(&disk, options().durability(durability)).await;
        let syncs = disk.memory.syncs();
        journal.write(commands(1, 1)).await.unwrap();
        assert_eq!(disk.memory.syncs(), syncs, "{durability:?}");
        let mut write = commands(2, 1);
        write.hard_state = Some(vote(1, 2));
        journal.write(write).await.unwrap();
        assert!(disk.memory.syncs() > syncs, "{durability:?}");
    }
}
