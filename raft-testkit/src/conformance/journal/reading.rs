//! J5 and J14: readers.

use std::task::Poll;

use raft_core::ids::Index;

use super::super::{ClauseFailure, ensure, ok};
use super::JournalBackend;
use super::cancel::poll_times;
use super::pair::{ALL, Pair, append, entry, replace, run_of, same_entries};

pub(super) async fn j05_readers_see_what_is_written<B: JournalBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    let mut pair = Pair::create(backend, None).await?;
    // One reader from before everything, as a node keeps it.
    let reader = pair.reader()?;
    for index in 1..50 {
        pair.write_ok(append(run_of(1, [index]))).await?;
        let seen = ok("reading at once", reader.entries(Index(index)..Index(index + 1), ALL).await)?;
        same_entries(&seen, &run_of(1, [index]))?;
    }
    pair.write_ok(replace(20, run_of(2, 20..22))).await?;
    let seen = ok("reading at once", reader.entries(Index(19)..Index(22), ALL).await)?;
    let mut expected = run_of(1, [19]);
    expected.extend(run_of(2, 20..22));
    same_entries(&seen, &expected)?;
    let beyond = reader.entries(Index(21)..Index(23), ALL).await;
    ensure(beyond.is_err(), "nothing beyond the new end", beyond)
}

pub(super) async fn j05_readers_do_not_wait_for_a_write<B: JournalBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    let mut pair = Pair::create(backend, None).await?;
    pair.write_ok(append(run_of(1, 1..10))).await?;
    let (reader, write) = (pair.reader()?, append(run_of(1, 10..200)));
    {
        let mut under_way = pair.journal()?.write(write.clone());
        let first = poll_times(&mut under_way, 1).await;
        // The write is not polled while this waits: a reader that needed it would hang here.
        let seen = ok("reading during a write", reader.entries(Index(1)..Index(10), ALL).await)?;
        same_entries(&seen, &run_of(1, 1..10))?;
        match first {
            Poll::Ready(done) => ok("the write", done)?,
            Poll::Pending => ok("the write", under_way.await)?,
        }
    }
    pair.write_model(write).await?;
    pair.check_entries().await
}

pub(super) async fn j14_max_bytes_is_honoured<B: JournalBackend>(backend: &B) -> Result<(), ClauseFailure> {
    let sizes = [0usize, 10, 100, 0, 1000, 10, 10, 5000, 1, 0, 0, 300];
    let mut pair = Pair::create(backend, None).await?;
    let all: Vec<_> = (1..).zip(sizes).map(|(index, size)| entry(1, index, vec![7; size])).collect();
    for few in all.chunks(5) {
        pair.write_ok(append(few.to_vec())).await?;
    }
    let (reader, end) = (pair.reader()?, Index(sizes.len() as u64 + 1));
    for (first, start) in (1..).zip(0..sizes.len()) {
        for limit in [0, 1, 9, 10, 11, 120, 1110, 6000, ALL] {
            let what = format!("reading from {first} with max_bytes {limit}");
            let seen = ok(&what, reader.entries(Index(first)..end, limit).await)?;
            ensure(!seen.is_empty(), format!("{what}: at least one entry"), &seen)?;
            let wanted = all.get(start..start + seen.len()).unwrap_or_default();
            same_entries(&seen, wanted)?;
            let bytes: u64 = seen.iter().map(|entry| entry.data.len() as u64).sum();
            ensure(seen.len() == 1 || bytes <= limit, format!("{what}: no more than that"), bytes)?;
        }
    }
    let nothing = ok("reading an empty range", reader.entries(Index(3)..Index(3), ALL).await)?;
    ensure(nothing.is_empty(), "an empty range gives nothing", nothing)
}
