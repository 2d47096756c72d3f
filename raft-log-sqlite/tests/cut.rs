//! Creating and opening that were cut.

mod support;

use std::fs;
use std::sync::atomic::Ordering;

use raft_core::backend::{Journal, OpenError, Verdict};
use raft_core::ids::LogId;
use raft_log_sqlite::SqliteJournal;
use support::{Place, fill, payload, read_all, wal};

/// The closing of a cut opening may have taken the write-ahead log away, or not: its copy is what counts.
#[tokio::test]
async fn an_opening_that_was_cut_is_begun_again() {
    for taken_away in [true, false] {
        let place = Place::new();
        let options = place.options().wal_bytes(16 << 20);
        let (cluster, group, node) = (support::CLUSTER, support::GROUP, support::NODE);
        let mut journal =
            SqliteJournal::create(&place.dir(), cluster, group, node, None, options).await.unwrap();
        fill(&mut journal, 1, 20).await;
        let image = place.image();
        drop(journal);
        place.restore(&image);
        let kept = place.dir().join("journal.db-wal.kept");
        fs::copy(wal(&place.dir()), &kept).unwrap();
        if taken_away {
            fs::remove_file(wal(&place.dir())).unwrap();
        } else {
            fs::write(wal(&place.dir()), b"half a copy").unwrap();
        }
        let mut journal = place.open().await.unwrap();
        let state = journal.load().await.unwrap();
        assert_eq!((state.verdict, state.last), (Verdict::Clean, LogId::new(1, 20)));
        let found = read_all(&journal, 1, 20).await;
        assert!(found.iter().all(|found| found.data == payload(found.id.index.0)));
        assert!(!kept.exists(), "from here on it would be of an older log");
    }
}

/// The order in which creation syncs the files beside the database.
const SYNCED: [&str; 10] = [
    "identity.a",
    "identity.b",
    "hardstate.a",
    "hardstate.b",
    "knownpeers.a",
    "knownpeers.b",
    "watermark.a",
    "watermark.b",
    "identity.a",
    "identity.b",
];

/// What a crash leaves of a file that was not synced: all of it, a part, its length, its name.
fn remains(bytes: &[u8]) -> Vec<Vec<u8>> {
    let (sector, half) = (512.min(bytes.len()), bytes.len() / 2);
    // Sectors as wholes: one copy of a slot is there, the other one is not.
    let [mut first, mut second] = [vec![0; bytes.len()], vec![0; bytes.len()]];
    first[..half].copy_from_slice(&bytes[..half]);
    second[half..].copy_from_slice(&bytes[half..]);
    vec![bytes.to_vec(), first, second, vec![0; bytes.len()], bytes[..sector].to_vec(), Vec::new()]
}

async fn is_no_journal_and_can_become_one(place: &Place, what: &str) {
    let before = place.image();
    assert_eq!(place.open().await.err(), Some(OpenError::NotInitialised), "{what}");
    assert!(place.image() == before, "{what}: what is no journal stays as it is");
    drop(place.create(None).await);
    let mut journal = place.open().await.unwrap();
    assert_eq!(journal.load().await.unwrap().verdict, Verdict::Clean, "{what}");
}

/// Until the identity says that it is complete there is no journal, and creating may begin again.
#[tokio::test]
async fn a_creation_that_was_cut_is_begun_again() {
    for (cut, name) in (1..).zip(SYNCED) {
        let place = Place::new();
        place.faults.sync_in.store(cut, Ordering::SeqCst);
        let (cluster, group, node) = (support::CLUSTER, support::GROUP, support::NODE);
        let done =
            SqliteJournal::create(&place.dir(), cluster, group, node, None, place.options()).await.err();
        assert!(matches!(done, Some(OpenError::Io { .. })), "sync {cut}: {done:?}");
        let image = place.image();
        let file = place.dir().join(name);
        for (n, left) in remains(&fs::read(&file).unwrap()).into_iter().enumerate() {
            let what = format!("sync {cut}, of {name}, its remains {n}");
            place.restore(&image);
            let a_copy_is_there = [0, 1, 2, 4].contains(&n);
            if cut >= 9 && a_copy_is_there {
                // It says that all is complete, and it is.
                fs::write(&file, left).unwrap();
                let mut journal = place.open().await.unwrap();
                assert_eq!(journal.load().await.unwrap().verdict, Verdict::Clean, "{what}");
            } else if cut < 10 {
                fs::write(&file, left).unwrap();
                is_no_journal_and_can_become_one(&place, &what).await;
            }
            // Else the first slot was durable, and of the second, old one a copy is there at any moment.
        }
        if !(3..9).contains(&cut) {
            continue;
        }
        // The database as well may be there in part, or as a whole, or not.
        for name in ["journal.db", "journal.db-wal", "journal.db-journal"] {
            for (n, left) in remains(&[0x5a; 8192]).into_iter().enumerate() {
                place.restore(&image);
                fs::write(place.dir().join(name), left).unwrap();
                let what = format!("sync {cut}, remains {n} of {name}");
                is_no_journal_and_can_become_one(&place, &what).await;
            }
        }
    }
}
