//! What SQLite alone forgets without a word (its write-ahead log damaged, cut or gone; a payload changed)
//! is noticed, and what is left can be gone on with.

mod support;

use std::fs;
use std::path::Path;
use std::sync::atomic::Ordering;

use raft_core::backend::{Journal, JournalError, JournalState, OpenError, Verdict};
use raft_core::ids::{Index, LogId};
use raft_log_sqlite::{Options, SqliteJournal};
use support::{CLUSTER, GROUP, NODE, Place, append, entry, fill, flip, payload, read_all, used, wal};

/// A journal with 40 acknowledged entries in its write-ahead log.
async fn filled(place: &Place) -> SqliteJournal {
    let options = place.options().wal_bytes(16 << 20);
    let mut journal = SqliteJournal::create(&place.dir(), CLUSTER, GROUP, NODE, None, options).await.unwrap();
    fill(&mut journal, 1, 40).await;
    journal
}

/// A killed node with 40 acknowledged entries in the write-ahead log.
async fn killed() -> Place {
    let place = Place::new();
    let journal = filled(&place).await;
    let image = place.image();
    drop(journal);
    place.restore(&image);
    assert!(used_wal(&place) > 40 * 4096);
    place
}

/// So many bytes of the write-ahead log hold something.
fn used_wal(place: &Place) -> usize {
    used(&fs::read(wal(&place.dir())).unwrap())
}

/// Opens; what is missing must have been named, what is there must be right, and it must go on.
async fn must_be_noticed(place: &Place, what: &str) -> JournalState {
    let before = place.image();
    let report = SqliteJournal::verify(&place.dir()).unwrap();
    assert!(!report.is_clean(), "{what}: the scrub says {report:?}");
    assert!(place.image() == before, "{what}: a scrub changes nothing");

    let mut journal = place.open().await.unwrap();
    let state = journal.load().await.unwrap();
    let named = !matches!(state.verdict, Verdict::Clean | Verdict::TornTail { .. });
    assert!(named, "{what}: {:?} with last {}", state.verdict, state.last);
    assert!(state.hard_state.probation, "{what}: probation");
    for found in read_all(&journal, 1, state.last.index.0).await {
        assert_eq!(found.data, payload(found.id.index.0), "{what}");
    }
    let next = state.last.index.0 + 1;
    journal.write(append(vec![entry(next, "on")])).await.unwrap();
    drop(journal);
    let mut journal = place.open().await.unwrap();
    let again = journal.load().await.unwrap();
    assert_eq!((again.verdict, again.last.index), (Verdict::Clean, Index(next)), "{what}: judged once");
    assert!(again.hard_state.probation, "{what}: probation lasts");
    let evidence = fs::read_dir(place.dir()).unwrap();
    let evidence = evidence.filter(|found| {
        found.as_ref().unwrap().file_name().to_str().is_some_and(|name| name.starts_with("evidence"))
    });
    assert_eq!(evidence.count(), 1, "{what}: the bytes are kept");
    state
}

#[tokio::test]
async fn an_unharmed_log_survives_the_kill() {
    let place = killed().await;
    assert!(SqliteJournal::verify(&place.dir()).unwrap().is_clean());
    let mut journal = place.open().await.unwrap();
    let state = journal.load().await.unwrap();
    assert_eq!((state.verdict, state.last), (Verdict::Clean, LogId::new(1, 40)));
    for found in read_all(&journal, 1, 40).await {
        assert_eq!(found.data, payload(found.id.index.0));
    }
}

#[tokio::test]
async fn a_flipped_bit_in_the_write_ahead_log_is_noticed() {
    let place = killed().await;
    let length = used_wal(&place);
    // The header, the middle, the last frame.
    for at in [3, 17, length / 2, length - 40] {
        let place = killed().await;
        flip(&wal(&place.dir()), at);
        must_be_noticed(&place, &format!("a flip at {at}")).await;
    }
}

#[tokio::test]
async fn a_write_ahead_log_cut_in_half_is_noticed() {
    let place = killed().await;
    let length = used_wal(&place) as u64;
    for cut in [0, 1, length / 2, 32 + (4096 + 24) * 10] {
        let place = killed().await;
        fs::OpenOptions::new().write(true).open(wal(&place.dir())).unwrap().set_len(cut).unwrap();
        must_be_noticed(&place, &format!("cut to {cut} bytes")).await;
    }
}

#[tokio::test]
async fn a_missing_write_ahead_log_is_noticed() {
    let place = killed().await;
    fs::remove_file(wal(&place.dir())).unwrap();
    let state = must_be_noticed(&place, "a missing log").await;
    assert_eq!(state.last, LogId::ZERO);
}

#[tokio::test]
async fn a_zeroed_sector_of_the_write_ahead_log_is_noticed() {
    let place = killed().await;
    let path = wal(&place.dir());
    let mut bytes = fs::read(&path).unwrap();
    let third = used(&bytes) / 3;
    bytes[third..third + 512].fill(0);
    fs::write(&path, bytes).unwrap();
    must_be_noticed(&place, "a zeroed sector").await;
}

#[tokio::test]
async fn a_flipped_bit_of_a_payload_is_noticed() {
    let place = Place::new();
    let mut journal = place.create(None).await;
    fill(&mut journal, 1, 40).await;
    drop(journal);
    let database = place.dir().join("journal.db");
    let bytes = fs::read(&database).unwrap();
    let wanted = payload(23);
    let at = bytes.windows(wanted.len()).position(|window| window == wanted).unwrap();
    flip(&database, at + 150);
    let state = must_be_noticed(&place, "a payload").await;
    assert_eq!(state.last, LogId::new(1, 22));
}

#[tokio::test]
async fn a_missing_or_foreign_database_is_noticed() {
    let place = killed().await;
    fs::remove_file(place.dir().join("journal.db")).unwrap();
    must_be_noticed(&place, "no database").await;
    let place = Place::new();
    let mut journal = place.create(None).await;
    fill(&mut journal, 1, 40).await;
    drop(journal);
    fs::write(place.dir().join("journal.db"), vec![0x55; 8192]).unwrap();
    must_be_noticed(&place, "no database, but something else").await;
}

#[tokio::test]
async fn a_single_voter_refuses_and_changes_nothing_unless_the_loss_is_accepted() {
    use raft_core::membership::{Member, Membership};
    let place = Place::new();
    let member = Member::new(NODE, "127.0.0.1:1");
    let alone = Membership::of_voters([member]).unwrap();
    // What has been moved out of the write-ahead log is not damaged there.
    let options = place.options().wal_bytes(16 << 20);
    let mut journal =
        SqliteJournal::create(&place.dir(), CLUSTER, GROUP, NODE, Some(&alone), options).await.unwrap();
    fill(&mut journal, 2, 40).await;
    let image = place.image();
    drop(journal);
    place.restore(&image);
    let path = wal(&place.dir());
    let middle = used_wal(&place) / 2;
    flip(&path, middle);
    let bytes = fs::read(&path).unwrap();
    for _ in 0..2 {
        let refused = place.open().await.err();
        assert!(matches!(refused, Some(OpenError::Corrupt(_))), "{refused:?}");
        assert!(fs::read(&path).unwrap() == bytes, "the evidence is as it was");
    }
    let options = Options::default().accept_loss(true);
    let mut journal = SqliteJournal::open(&place.dir(), CLUSTER, GROUP, NODE, options).await.unwrap();
    let state = journal.load().await.unwrap();
    assert!(matches!(state.verdict, Verdict::Corrupt(_)), "{:?}", state.verdict);
    assert!(!state.hard_state.probation);
    assert!(state.last.index < Index(40));
}

/// Room is no part of the log: whatever is in it, everything acknowledged is there, and the node goes on with its vote.
#[tokio::test]
async fn what_changes_in_the_room_of_the_write_ahead_log_takes_nothing_away() {
    for (behind, bytes) in [(0, 1), (3, 1), (24, 1), (300, 4096), (4120, 2), (9000, 40_000)] {
        let place = killed().await;
        let path = wal(&place.dir());
        let mut log = fs::read(&path).unwrap();
        let from = used(&log) + behind;
        log[from..from + bytes].fill(0x55);
        fs::write(&path, &log).unwrap();
        let mut journal = place.open().await.unwrap();
        let state = journal.load().await.unwrap();
        assert_eq!(state.last, LogId::new(1, 40), "{bytes} bytes {behind} behind the log");
        assert!(!matches!(state.verdict, Verdict::Corrupt(_)), "{:?}", state.verdict);
        for found in read_all(&journal, 1, 40).await {
            assert_eq!(found.data, payload(found.id.index.0));
        }
    }
}

/// A frame of the write-ahead log was damaged, a scrub has said so, and what it held is dropped: the frame stayed where it
/// was, and the next opening took the whole log for damaged.
#[tokio::test]
async fn what_was_dropped_is_of_no_consequence_in_the_write_ahead_log_either() {
    for resets in [false, true] {
        let place = Place::new();
        let mut journal = filled(&place).await;
        let bytes = fs::read(wal(&place.dir())).unwrap();
        let wanted = payload(23);
        for (at, _) in bytes.windows(wanted.len()).enumerate().filter(|(_, window)| *window == wanted) {
            flip(&wal(&place.dir()), at + 150);
        }
        let found = journal.reader().verify(Index(1)..Index(41), u64::MAX).await;
        assert!(matches!(found, Err(JournalError::Corrupt(_))), "{found:?}");
        if resets {
            journal.reset(LogId::new(1, 50)).await.unwrap();
        } else {
            journal.purge(LogId::new(1, 30)).await.unwrap();
        }
        let image = place.image();
        drop(journal);
        place.restore(&image);
        assert!(SqliteJournal::verify(&place.dir()).unwrap().is_clean());
        let state = place.open().await.unwrap().load().await.unwrap();
        assert_eq!(state.verdict, Verdict::Clean, "reset: {resets}");
        assert_eq!(state.last, LogId::new(1, if resets { 50 } else { 40 }));
        assert!(!state.hard_state.probation);
    }
}

/// The transaction is done, and what follows it fails: readers are told what the database says, not what was before, and
/// the failure is told (J8).
#[tokio::test]
async fn a_purge_or_reset_whose_end_fails_is_seen_as_it_is() {
    for resets in [false, true] {
        let place = Place::new();
        let mut journal = filled(&place).await;
        // The second sync from here on: that of the watermark.
        place.faults.sync_in.store(2, Ordering::SeqCst);
        let upto = LogId::new(1, 30);
        let done = if resets { journal.reset(upto).await } else { journal.purge(upto).await };
        assert!(matches!(done, Err(JournalError::Io { .. })), "{done:?}");
        let found = journal.reader().entries(Index(7)..Index(8), u64::MAX).await;
        assert_eq!(found, Err(JournalError::Compacted { purged: upto }), "reset: {resets}");
        let next = journal.write(append(vec![entry(41, "on")])).await;
        assert!(matches!(next, Err(JournalError::Poisoned { .. })), "{next:?}");
    }
}

/// Flips everywhere in what a killed node leaves. Whatever opening says, nothing acknowledged is missing
/// without a word, and nothing else than what was written comes back.
#[tokio::test]
async fn no_flip_takes_anything_away_without_a_word() {
    let place = killed().await;
    let image = place.image();
    // Not in the room of the write-ahead log, where there is nothing to take away.
    let log = wal(&place.dir());
    let length = |path: &Path, bytes: &[u8]| if path == log { used(bytes) } else { bytes.len() };
    let total: usize = image.iter().map(|(path, bytes)| length(path, bytes)).sum();
    let (mut noticed, mut state) = (0, 1_u64);
    for _ in 0..300 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mut at = (state >> 20) as usize % total;
        let mut damaged = image.clone();
        let (path, bytes) = damaged
            .iter_mut()
            .find(|(path, bytes)| {
                let length = length(path, bytes);
                let inside = at < length;
                at -= if inside { 0 } else { length };
                inside
            })
            .unwrap();
        bytes[at] ^= 1 << (state >> 60 & 7);
        let what = format!("byte {at} of {}", path.display());
        place.restore(&damaged);
        for evidence in fs::read_dir(place.dir()).unwrap().map(|found| found.unwrap().path()) {
            if evidence.is_dir() {
                fs::remove_dir_all(evidence).unwrap();
            }
        }
        let scrub = SqliteJournal::verify(&place.dir());
        let Ok(mut journal) = place.open().await else {
            noticed += 1;
            continue;
        };
        let state = journal.load().await.unwrap();
        for found in read_all(&journal, 1, state.last.index.0).await {
            assert_eq!(found.data, payload(found.id.index.0), "{what}");
        }
        match state.verdict {
            Verdict::Clean | Verdict::TornTail { .. } => assert_eq!(state.last, LogId::new(1, 40), "{what}"),
            _ => {
                noticed += 1;
                assert!(!scrub.unwrap().is_clean(), "{what}: the scrub sees what opening sees");
            }
        }
    }
    assert!(noticed > 200, "{noticed} of 300 were noticed");
}

/// What a later version has written is refused by that name, and nothing of it is judged, or put aside.
#[tokio::test]
async fn a_later_version_of_the_database_is_refused_and_kept() {
    let place = Place::new();
    let mut journal = place.create(None).await;
    fill(&mut journal, 1, 40).await;
    drop(journal);
    let database = place.dir().join("journal.db");
    let mut bytes = fs::read(&database).unwrap();
    // `user_version`, four bytes of the header of every database.
    bytes[60..64].copy_from_slice(&7_u32.to_be_bytes());
    fs::write(&database, &bytes).unwrap();
    let before = place.image();
    for _ in 0..2 {
        let later = OpenError::Version { found: 7, known: 1 };
        assert_eq!(place.open().await.err(), Some(later.clone()));
        assert_eq!(SqliteJournal::verify(&place.dir()).err(), Some(later));
        assert!(place.image() == before, "something has changed");
    }
    bytes[60..64].copy_from_slice(&1_u32.to_be_bytes());
    fs::write(&database, &bytes).unwrap();
    let state = place.open().await.unwrap().load().await.unwrap();
    assert_eq!((state.verdict, state.last), (Verdict::Clean, LogId::new(1, 40)));
}

/// Opening found it, and the scrub said that all was well (fuzz target `sqlite`).
#[tokio::test]
async fn a_damaged_list_of_migrations_is_noticed() {
    let place = Place::new();
    let mut journal = place.create(None).await;
    fill(&mut journal, 1, 40).await;
    drop(journal);
    let database = place.dir().join("journal.db");
    let mut bytes = fs::read(&database).unwrap();
    // The page behind the first, where the list begins.
    bytes[4096..4608].fill(0);
    fs::write(&database, bytes).unwrap();
    must_be_noticed(&place, "the list of migrations").await;
}

/// Looking at one that cannot even be opened left an empty write-ahead log behind (fuzz target `sqlite`).
#[tokio::test]
async fn a_scrub_of_a_database_that_is_cut_leaves_nothing() {
    let place = Place::new();
    let mut journal = place.create(None).await;
    fill(&mut journal, 1, 40).await;
    drop(journal);
    let database = fs::OpenOptions::new().write(true).open(place.dir().join("journal.db")).unwrap();
    database.set_len(3 * 4096 + 218).unwrap();
    must_be_noticed(&place, "a database that is cut").await;
}

/// A database of something else is not taken for a journal, whatever its tables hold.
#[tokio::test]
async fn a_database_without_our_marks_is_noticed() {
    let place = Place::new();
    let mut journal = place.create(None).await;
    fill(&mut journal, 1, 40).await;
    drop(journal);
    let database = place.dir().join("journal.db");
    // `application_id`
    flip(&database, 70);
    must_be_noticed(&place, "another application").await;
}
