//! What a purge does where a row is not what was written: damage is put into the table itself, one column at a time.

use std::path::Path;

use raft_core::backend::{JournalError, JournalWrite, Verdict};
use raft_core::entry::{Entry, EntryKind};
use raft_core::ids::{ClusterId, GroupId, Index, LogId, NodeId};

use crate::open::{self, Origins};
use crate::options::{Options, Owner};
use crate::store::Store;

const OWNER: Owner = Owner { cluster: ClusterId(7), group: GroupId(1), node: NodeId(1) };

fn entries(from: u64, to: u64) -> Vec<Entry> {
    let entry = |index: u64| Entry {
        id: LogId::new(2, index),
        kind: EntryKind::Commands,
        data: format!("entry {index}").into_bytes().into(),
    };
    (from..=to).map(entry).collect()
}

fn large(from: u64, to: u64) -> Vec<Entry> {
    entries(from, to).into_iter().map(|entry| Entry { data: vec![7; 9000].into(), ..entry }).collect()
}

fn write(store: &mut Store, entries: Vec<Entry>) -> Result<(), JournalError> {
    let mut write = JournalWrite::default();
    write.entries = entries.into();
    store.write(&write)
}

/// A transaction that is left open takes a later write without a commit: what says that there is no space is not enough then.
#[tokio::test]
async fn a_full_disk_is_waited_out_only_where_the_transaction_is_over() {
    for is_open in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let faults = std::sync::Arc::new(crate::options::Faults::default());
        let options = Options { faults: Some(faults.clone()), ..Options::default() };
        let dir = folder.path().join("journal");
        let mut store = open::create(&dir, Origins::New(OWNER, None), options).await.unwrap();
        faults.stays_open.store(is_open, std::sync::atomic::Ordering::SeqCst);
        faults.full.store(true, std::sync::atomic::Ordering::SeqCst);
        let full = write(&mut store, large(1, 900));
        assert!(matches!(full, Err(JournalError::NoSpace { .. })), "{full:?}");
        faults.full.store(false, std::sync::atomic::Ordering::SeqCst);
        let next = write(&mut store, entries(1, 1));
        assert_eq!(matches!(next, Err(JournalError::Poisoned { .. })), is_open, "{next:?}");
    }
}

/// A journal whose write-ahead log has just been emptied where it is; and what that was before.
async fn emptied(dir: &Path) -> (Store, Vec<u8>) {
    let options = Options { wal_bytes: 64 << 10, ..Options::default() };
    let mut store = open::create(dir, Origins::New(OWNER, None), options).await.unwrap();
    let mut last = 0;
    while !store.is_untidy() {
        last += 1;
        write(&mut store, entries(last, last)).unwrap();
    }
    let before = std::fs::read(dir.join(crate::wal::WAL)).unwrap();
    store.tidy().unwrap();
    assert!(store.emptied.is_some() && !store.is_untidy());
    (store, before)
}

/// Frames of before that a crash has left behind the new header are nobody's: all entries are in the database.
#[tokio::test]
async fn a_crash_while_the_log_is_emptied_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("journal");
    let (store, before) = emptied(&dir).await;
    let last = store.load().unwrap().last.index.0;
    let now = std::fs::read(dir.join(crate::wal::WAL)).unwrap();
    store.close().await;
    for zeroed in [0, 1, 700, 4096, 40_000, now.len()] {
        for backwards in [false, true] {
            let mut log = [&now[..32], &before[32..]].concat();
            let part = if backwards {
                log.len().saturating_sub(zeroed).max(32)..log.len()
            } else {
                32..zeroed.max(32)
            };
            log[part].fill(0);
            std::fs::write(dir.join(crate::wal::WAL), &log).unwrap();
            let store = open::open(&dir, OWNER, Options::default()).await.unwrap();
            let state = store.load().unwrap();
            let sound = [Verdict::Clean, Verdict::TornTail { discarded_from: Index(last + 1) }];
            assert!(sound.contains(&state.verdict), "{zeroed} {backwards}: {:?}", state.verdict);
            assert_eq!(state.last.index, Index(last));
            assert_eq!(read(&store, 1, last).unwrap(), entries(1, last));
            store.close().await;
        }
    }
}

/// SQLite begins at the head of a log that was moved. If it did not, what it writes would be lost.
#[tokio::test]
async fn a_transaction_behind_a_log_that_was_emptied_is_not_acknowledged() {
    for goes_on in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("journal");
        let (mut store, _) = emptied(&dir).await;
        let next = store.load().unwrap().last.index.0 + 1;
        if goes_on {
            write(&mut store, entries(next, next)).unwrap();
            assert!(store.emptied.is_none());
            let log = std::fs::read(dir.join(crate::wal::WAL)).unwrap();
            store.emptied = log.first_chunk().copied();
        }
        let done = write(&mut store, entries(next + u64::from(goes_on), next + u64::from(goes_on)));
        assert_eq!(done.is_err(), goes_on, "{done:?}");
        let later = write(&mut store, entries(next + 2, next + 2));
        assert_eq!(matches!(later, Err(JournalError::Poisoned { .. })), goes_on, "{later:?}");
    }
}

/// What SQLite has written of a transaction that found no space stays in the file, under the salts of those that count.
#[tokio::test]
async fn what_found_no_space_is_not_taken_for_damage_later() {
    let folder = tempfile::tempdir().unwrap();
    let faults = std::sync::Arc::new(crate::options::Faults::default());
    let options = Options { faults: Some(faults.clone()), ..Options::default() };
    let dir = folder.path().join("journal");
    let mut store = open::create(&dir, Origins::New(OWNER, None), options).await.unwrap();
    write(&mut store, entries(1, 4)).unwrap();
    let (log, frame) = (dir.join(crate::wal::WAL), 24 + 4096);
    let (at, mut bytes) =
        (usize::try_from(store.table.frames().unwrap()).unwrap(), std::fs::read(&log).unwrap());
    let left = 32 + at * frame..32 + (at + 3) * frame;
    bytes[left.clone()].fill(7);
    for number in 0..3 {
        let salts = bytes[16..24].to_vec();
        bytes[left.start + number * frame + 8..][..8].copy_from_slice(&salts);
    }
    std::fs::write(&log, &bytes).unwrap();
    assert!(matches!(crate::wal::judge(&bytes), crate::wal::Shape::Damaged { .. }));
    faults.full.store(true, std::sync::atomic::Ordering::SeqCst);
    let full = write(&mut store, large(5, 900));
    assert!(matches!(full, Err(JournalError::NoSpace { .. })), "{full:?}");
    assert_eq!(crate::wal::judge(&std::fs::read(&log).unwrap()), crate::wal::Shape::Sound);
    faults.full.store(false, std::sync::atomic::Ordering::SeqCst);
    write(&mut store, entries(5, 6)).unwrap();
    assert_eq!(crate::wal::judge(&std::fs::read(&log).unwrap()), crate::wal::Shape::Sound);
}

/// One that cannot be cleared at all is written no further: its next opening could take it for damaged.
#[tokio::test]
async fn a_log_that_cannot_be_cleared_poisons() {
    let folder = tempfile::tempdir().unwrap();
    let faults = std::sync::Arc::new(crate::options::Faults::default());
    let options = Options { faults: Some(faults.clone()), ..Options::default() };
    let dir = folder.path().join("journal");
    let mut store = open::create(&dir, Origins::New(OWNER, None), options).await.unwrap();
    write(&mut store, entries(1, 4)).unwrap();
    store.wal = std::fs::File::open(dir.join(crate::wal::WAL)).unwrap();
    faults.full.store(true, std::sync::atomic::Ordering::SeqCst);
    let full = write(&mut store, large(5, 900));
    assert!(matches!(full, Err(JournalError::Io { .. })), "{full:?}");
    faults.full.store(false, std::sync::atomic::Ordering::SeqCst);
    let later = write(&mut store, entries(5, 5));
    assert!(matches!(later, Err(JournalError::Poisoned { .. })), "{later:?}");
}

/// SQLite would write some of a large one early, and some of that twice: a kill in between would look like damage.
#[tokio::test]
async fn nothing_of_a_transaction_is_in_the_log_before_its_commit() {
    let folder = tempfile::tempdir().unwrap();
    let faults = std::sync::Arc::new(crate::options::Faults::default());
    let options = Options { faults: Some(faults.clone()), ..Options::default() };
    let dir = folder.path().join("journal");
    let mut store = open::create(&dir, Origins::New(OWNER, None), options).await.unwrap();
    write(&mut store, entries(1, 4)).unwrap();
    let before = std::fs::read(dir.join(crate::wal::WAL)).unwrap();
    faults.next_sync.store(true, std::sync::atomic::Ordering::SeqCst);
    // Four times what SQLite keeps in memory otherwise.
    let failed = write(&mut store, large(5, 900));
    assert!(matches!(failed, Err(JournalError::Io { .. })), "{failed:?}");
    assert!(before == std::fs::read(dir.join(crate::wal::WAL)).unwrap());
}

/// J8: nothing says what of it is durable, so it is not tried in another way.
#[tokio::test]
async fn a_failed_sync_of_the_log_that_is_emptied_poisons() {
    let folder = tempfile::tempdir().unwrap();
    let faults = std::sync::Arc::new(crate::options::Faults::default());
    let options = Options { faults: Some(faults.clone()), ..Options::default() };
    let mut store =
        open::create(&folder.path().join("journal"), Origins::New(OWNER, None), options).await.unwrap();
    write(&mut store, entries(1, 8)).unwrap();
    faults.next_wal_sync.store(true, std::sync::atomic::Ordering::SeqCst);
    let purged = store.purge(LogId::new(2, 3));
    assert!(matches!(purged, Err(JournalError::Io { .. })), "{purged:?}");
    let later = write(&mut store, entries(9, 9));
    assert!(matches!(later, Err(JournalError::Poisoned { .. })), "{later:?}");
}

/// Where a file cannot be written over, SQLite cuts it.
#[tokio::test]
async fn a_log_that_cannot_be_emptied_is_cut() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("journal");
    let (mut store, _) = emptied(&dir).await;
    let last = store.load().unwrap().last.index.0;
    let log = dir.join(crate::wal::WAL);
    let whole = std::mem::replace(&mut store.wal, std::fs::File::open(&log).unwrap());
    write(&mut store, entries(last + 1, last + 8)).unwrap();
    store.purge(LogId::new(2, last)).unwrap();
    assert!(
        store.emptied.is_none() && whole.metadata().unwrap().len() == 0,
        "it has neither header nor room"
    );
    write(&mut store, entries(last + 9, last + 9)).unwrap();
    store.wal = whole;
    // And twice without a transaction in between.
    for upto in [last + 1, last + 2] {
        store.purge(LogId::new(2, upto)).unwrap();
        store.stale_wal = true;
        store.tidy().unwrap();
    }
    write(&mut store, entries(last + 10, last + 10)).unwrap();
    store.close().await;
    let store = open::open(&dir, OWNER, Options::default()).await.unwrap();
    assert_eq!(store.load().unwrap().verdict, Verdict::Clean);
    assert_eq!(read(&store, last + 3, last + 10).unwrap(), entries(last + 3, last + 10));
    store.close().await;
}

async fn eight(dir: &Path) -> Store {
    let mut store = open::create(dir, Origins::New(OWNER, None), Options::default()).await.unwrap();
    write(&mut store, entries(1, 8)).unwrap();
    store
}

fn read(store: &Store, from: u64, to: u64) -> Result<Vec<Entry>, JournalError> {
    store.read(Index(from), Index(to + 1), u64::MAX)
}

#[tokio::test]
async fn a_damaged_row_is_purged_whatever_of_it_is_damaged() {
    for damage in [
        "UPDATE log SET term = 9 WHERE idx = 5",
        "UPDATE log SET kind = 3 WHERE idx = 5",
        "UPDATE log SET data = x'00' WHERE idx = 5",
        "UPDATE log SET crc = crc + 1 WHERE idx = 5",
        "UPDATE log SET chain = 1 WHERE idx = 5",
        "UPDATE log SET chain = 1, data = x'00' WHERE idx = 5",
        "UPDATE log SET idx = 500 WHERE idx = 5",
        "DELETE FROM log WHERE idx = 5",
        "DELETE FROM log WHERE idx <= 5",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("journal");
        let mut store = eight(&dir).await;
        store.table.run(damage).unwrap();
        assert!(
            matches!(read(&store, 5, 5), Err(JournalError::Corrupt(_))) || damage.contains("chain = 1 W")
        );
        store.purge(LogId::new(2, 5)).unwrap_or_else(|error| panic!("{damage}: {error}"));
        write(&mut store, entries(9, 9)).unwrap();
        assert_eq!(read(&store, 6, 9).unwrap(), entries(6, 9), "{damage}");
        store.close().await;
        let store = open::open(&dir, OWNER, Options::default()).await.unwrap();
        let state = store.load().unwrap();
        assert_eq!((&state.verdict, state.purged), (&Verdict::Clean, LogId::new(2, 5)), "{damage}");
        assert_eq!(read(&store, 6, 9).unwrap(), entries(6, 9), "{damage}");
        store.close().await;
    }
}

/// Nothing says what the chain was, and one of those that stay cannot be written again: nothing changes.
#[tokio::test]
async fn what_cannot_be_written_again_is_not_purged() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("journal");
    let mut store = eight(&dir).await;
    store.table.run("DELETE FROM log WHERE idx = 5").unwrap();
    store.table.run("UPDATE log SET data = x'00' WHERE idx = 7").unwrap();
    let refused = store.purge(LogId::new(2, 5));
    assert!(matches!(refused, Err(JournalError::Corrupt(_))), "{refused:?}");
    assert_eq!(read(&store, 1, 4).unwrap(), entries(1, 4), "they are still there");
    write(&mut store, entries(9, 9)).unwrap();
    assert_eq!(read(&store, 8, 9).unwrap(), entries(8, 9), "it is not poisoned");
}
