//! Reading what is no longer in memory.

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use raft_core::backend::Journal;
use raft_core::entry::{Entry, EntryKind};
use raft_core::ids::{Index, Term};
use raft_log_sqlite::SqliteJournal;
use support::{CLUSTER, GROUP, NODE, Place, append, entry, fill};

const LAST: u64 = 300;

/// Some are empty, some large, and there are more of the small ones than are asked for at a time.
fn size(index: u64) -> usize {
    match index % 50 {
        0 => 9000,
        at if at < 40 => (at % 3) as usize,
        at => at as usize * 7,
    }
}

/// Rows go to SQLite 64 at a time, and the rest one by one: each number of them is there afterwards, and no more, also when the
/// file alone says so.
#[tokio::test]
async fn every_number_of_rows_in_one_write_comes_back() {
    let place = Place::new();
    let mut journal = place.create(None).await;
    let counts = (1..=17).chain([31, 63, 64, 65, 127, 128, 129, 255, 256, 257, 700]);
    let (mut last, mut all) = (0, Vec::new());
    for count in counts {
        let new: Vec<Entry> =
            (last + 1..=last + count).map(|index| entry(index, index.to_le_bytes())).collect();
        last += count;
        all.extend(new.clone());
        journal.write(append(new)).await.unwrap();
    }
    // Of more than one kind and term.
    let mut unlike: Vec<Entry> = (last + 1..=last + 9).map(|index| entry(index, "unlike")).collect();
    unlike[4].kind = EntryKind::Noop;
    unlike[7..].iter_mut().for_each(|entry| entry.id.term = Term(2));
    last += 9;
    all.extend(unlike.clone());
    journal.write(append(unlike)).await.unwrap();
    // A cut and rows in one write.
    let mut cut = append((last - 299..=last + 1).map(|index| entry(index, "another")).collect());
    cut.truncate_from = Some(Index(last - 299));
    all.truncate(all.len() - 300);
    all.extend(cut.entries.iter().cloned());
    journal.write(cut).await.unwrap();
    drop(journal);
    let mut journal = place.open().await.unwrap();
    assert_eq!(journal.load().await.unwrap().last.index, Index(last + 1));
    let found = support::read_all(&journal, 1, last + 1).await;
    assert!(found == all, "what was written is not what is there");
}

/// J14: as many as fit, at least one, wherever the reading begins.
#[tokio::test]
async fn what_fits_is_read_and_no_more() {
    let place = Place::new();
    let mut journal = place.create(None).await;
    let all: Vec<Entry> = (1..=LAST).map(|index| entry(index, vec![index as u8; size(index)])).collect();
    journal.write(append(all.clone())).await.unwrap();
    let reader = journal.reader();
    for from in [1, 2, 49, 50, 51, 99, 120, 200] {
        for bytes in [0, 1, 3, 100, 8999, 9000, 9001, 20_000, u64::MAX] {
            for to in [from + 1, from + 60, from + 100] {
                let wanted = &all[from - 1..to - 1];
                let mut sum = 0;
                let fit = wanted.iter().take_while(|entry| {
                    sum += entry.data.len() as u64;
                    sum <= bytes
                });
                let wanted = &wanted[..fit.count().max(1)];
                let read = reader.entries(Index(from as u64)..Index(to as u64), bytes).await.unwrap();
                assert_eq!(read, wanted, "{from}..{to}, {bytes} bytes");
            }
        }
    }
}

/// The watermark was synced once nothing was asked for during 100 ms; a peer far behind, who is fed from the
/// database, kept it from that for as long as it read.
#[tokio::test]
async fn reads_do_not_put_off_the_watermark() {
    let place = Place::new();
    // Emptying the write-ahead log syncs the watermark as well.
    let options = place.options().wal_bytes(16 << 20);
    let mut journal = SqliteJournal::create(&place.dir(), CLUSTER, GROUP, NODE, None, options).await.unwrap();
    fill(&mut journal, 1, 30).await;
    let reader = journal.reader();
    // The next sync is the watermark's: it fails, which shows that it was asked for.
    place.faults.next_sync.store(true, Ordering::SeqCst);
    let begun = Instant::now();
    // While one of them waits for its answer the others have asked.
    let readers: Vec<_> = (0..4)
        .map(|_| {
            let (reader, faults) = (Arc::clone(&reader), Arc::clone(&place.faults));
            tokio::spawn(async move {
                while faults.next_sync.load(Ordering::SeqCst) && begun.elapsed() < Duration::from_secs(20) {
                    reader.entries(Index(1)..Index(2), 1).await.unwrap();
                }
            })
        })
        .collect();
    for reader in readers {
        reader.await.unwrap();
    }
    assert!(
        !place.faults.next_sync.load(Ordering::SeqCst),
        "the watermark is not synced while there are reads"
    );
    assert!(journal.write(append(vec![entry(31, "more")])).await.is_err());
}
