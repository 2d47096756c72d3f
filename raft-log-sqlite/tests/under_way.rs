//! Writes that their caller stops polling: the journal's thread does them all the same.

mod support;

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

use raft_core::backend::{Journal, JournalError};
use raft_core::entry::Entry;
use raft_core::ids::{Index, LogId};
use raft_log_sqlite::SqliteJournal;
use support::{Place, append, entry, fill, payload, read_all};

type Write<'a> = Pin<Box<dyn Future<Output = Result<(), JournalError>> + Send + 'a>>;

fn one(index: u64) -> Entry {
    entry(index, payload(index))
}

/// Twelve entries are there, of which memory has the last few.
async fn twelve(place: &Place) -> SqliteJournal {
    let mut journal = place.create(None).await;
    fill(&mut journal, 1, 12).await;
    journal
}

/// The caller polls it so many times, and lets others run in between.
async fn poll_times(write: &mut Write<'_>, times: usize) -> bool {
    for _ in 0..times {
        if poll_fn(|context| Poll::Ready(write.as_mut().poll(context).is_ready())).await {
            return true;
        }
        tokio::task::yield_now().await;
    }
    false
}

async fn expect(place: &Place, last: u64) {
    let mut journal = place.open().await.unwrap();
    assert_eq!(journal.load().await.unwrap().last, LogId::new(1, last));
    assert!(read_all(&journal, 1, last).await == (1..=last).map(one).collect::<Vec<_>>());
}

/// J13: what was begun keeps its place before everything that is asked later.
#[tokio::test]
async fn a_dropped_write_is_whole_and_nothing_overtakes_it() {
    for polls in 1..40 {
        let place = Place::new();
        let mut journal = twelve(&place).await;
        for index in [13, 15] {
            let mut write = journal.write(append(vec![one(index)]));
            poll_times(&mut write, polls).await;
            drop(write);
            // It has a gap unless the first one has been written.
            journal.write(append(vec![one(index + 1)])).await.unwrap();
        }
        drop(journal);
        expect(&place, 16).await;
    }
}

/// A write that was never polled was not asked for.
#[tokio::test]
async fn a_write_that_was_not_polled_is_not_there() {
    let place = Place::new();
    let mut journal = twelve(&place).await;
    drop(journal.write(append(vec![one(13)])));
    let gap = journal.write(append(vec![one(14)])).await;
    assert_eq!(gap, Err(JournalError::Gap { expected: Index(13), got: Index(14) }));
}

/// Nothing else may ever be asked of the journal.
#[tokio::test]
async fn a_dropped_write_ends_by_itself() {
    let place = Place::new();
    let mut journal = twelve(&place).await;
    let reader = journal.reader();
    let mut write = journal.write(append(vec![one(13)]));
    poll_times(&mut write, 1).await;
    drop(write);
    loop {
        match reader.entries(Index(13)..Index(14), u64::MAX).await {
            Err(JournalError::OutOfRange { .. }) => tokio::task::yield_now().await,
            read => break assert_eq!(read, Ok(vec![one(13)])),
        }
    }
}

/// J5: a caller that awaits something else first must not lock itself out.
#[tokio::test]
async fn a_read_does_not_wait_for_the_caller_of_a_write() {
    let place = Place::new();
    let mut journal = twelve(&place).await;
    let reader = journal.reader();
    for index in 13..33 {
        let mut write = journal.write(append(vec![one(index)]));
        let done = poll_times(&mut write, 1).await;
        // It is in the database alone.
        assert_eq!(reader.entries(Index(2)..Index(3), u64::MAX).await, Ok(vec![one(2)]));
        if !done {
            write.await.unwrap();
        }
    }
    drop(journal);
    expect(&place, 32).await;
}

/// Its end waits for nobody.
#[tokio::test]
async fn a_journal_is_closed_though_a_write_was_forgotten() {
    let place = Place::new();
    let mut journal = twelve(&place).await;
    let mut write = journal.write(append(vec![one(13)]));
    poll_times(&mut write, 1).await;
    std::mem::forget(write);
    drop(journal);
    expect(&place, 13).await;
}

/// Purging and writing by turns.
#[tokio::test]
async fn what_the_thread_is_asked_keeps_its_order() {
    let place = Place::new();
    let mut journal = twelve(&place).await;
    for index in 13..60 {
        let mut write = journal.write(append(vec![one(index)]));
        poll_times(&mut write, (index % 3) as usize).await;
        let begun = index % 3 > 0;
        drop(write);
        let mut purge = journal.purge(LogId::new(1, index - 10));
        poll_times(&mut purge, 1).await;
        drop(purge);
        if !begun {
            journal.write(append(vec![one(index)])).await.unwrap();
        }
    }
    let state = journal.load().await.unwrap();
    assert_eq!((state.purged, state.last), (LogId::new(1, 49), LogId::new(1, 59)));
}
