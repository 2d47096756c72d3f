//! Who writes, and when: the journal's thread, or the task that asks.

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use raft_core::backend::Journal;
use raft_core::entry::{Entry, EntryKind, pack};
use raft_core::ids::LogId;
use raft_log_file::{Durability, FileJournal};
use support::noted::{Disk, JOURNAL, PATIENCE, commands, create, options};
use support::{CrashPoint, MemVfs, OWNER, Op, append, entry, vote};

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

/// The node knows more than the mean says: whom it waits for, and that nobody comes meanwhile.
#[tokio::test]
async fn many_commands_that_nobody_follows_are_written_by_who_asks() {
    let disk = Arc::new(Disk::default());
    let mut journal = create(&disk, options()).await;
    let mut next = 1..;
    for alone in [false, true, false] {
        for _ in 0..100 {
            let mut write = commands(next.next().unwrap(), 8);
            write.alone = alone;
            journal.write(write).await.unwrap();
        }
        disk.writers();
        // The very next one but for what the machine's load delays, which any number of them would show.
        let by_caller = async |journal: &mut FileJournal, index| {
            let mut write = commands(index, 8);
            write.alone = alone;
            journal.write(write).await.unwrap();
            all_by(&disk.writers(), false)
        };
        let mut caller = false;
        for index in next.by_ref().take(100) {
            caller |= by_caller(&mut journal, index).await;
        }
        assert_eq!(caller, alone);
    }
    // But not of what is large, where the last one was quick.
    let mut quick = false;
    while !quick {
        let mut write = commands(next.next().unwrap(), 8);
        write.alone = true;
        journal.write(write).await.unwrap();
        quick = all_by(&disk.writers(), false);
    }
    let mut large = append(vec![entry(1, next.next().unwrap(), vec![9; 1001])]);
    large.alone = true;
    journal.write(large).await.unwrap();
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
