//! Whole journals as each version of the format has written them: read, and gone on with. And the schema, which is what
//! a new database is made with.
//!
//! SQLite itself decides where in a database its rows lie, so a journal that is made today has not the same bytes. What
//! this crate decides is pinned byte by byte beside its sources: `golden_rows_v1.txt`, and `golden_bytes_of_a_slot` in raft-core.
//! Never edit what is pinned; a new version of the format adds to `VERSIONS`. `BLESS=1` writes what is not there yet.

mod support;

use std::path::PathBuf;

use raft_core::backend::{HardState, Journal, JournalWrite, Verdict, Vote};
use raft_core::ids::{Incarnation, Index, KnownPeer, LogId, NodeId, StoreId, Term};
use raft_core::membership::{Member, Membership};
use raft_log_sqlite::SqliteJournal;
use raft_testkit::pinned;
use support::{CLUSTER, GROUP, NODE, Place, entry};

/// Every version of the format that was ever shipped; the last is the one that is written now.
const VERSIONS: [&str; 1] = ["v1"];

fn path(version: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("{version}_journal.txt"))
}

fn members() -> Membership {
    Membership::of_voters((1..=3).map(|id| Member::new(NodeId(id), format!("host:{id}")))).unwrap()
}

fn hard_state() -> HardState {
    HardState { term: Term(1), vote: Vote::For(NodeId(2)), probation: false, ..HardState::default() }
}

fn peer() -> KnownPeer {
    let incarnation = Incarnation { number: 4, nonce: 5 };
    KnownPeer { node: NodeId(2), store: StoreId(9), incarnation, admitted: LogId::new(1, 2) }
}

async fn append(journal: &mut SqliteJournal, from: u64, upto: u64) {
    let mut write = JournalWrite::default();
    write.entries =
        (from..=upto).map(|index| entry(index, format!("entry {index}"))).collect::<Vec<_>>().into();
    write.commit_hint = Index(from - 1);
    journal.write(write).await.unwrap();
}

/// How the pinned folders were made: purged at the front, cut at the end, all slots with two generations. The journal is
/// open when its files are read, so that its write-ahead log is among them.
async fn written(place: &Place) -> SqliteJournal {
    let mut journal = place.create(Some(&members())).await;
    append(&mut journal, 2, 6).await;
    let mut write = JournalWrite::default();
    write.truncate_from = Some(Index(6));
    write.hard_state = Some(hard_state());
    write.known_peers = Some(vec![peer()]);
    journal.write(write).await.unwrap();
    journal.purge(LogId::new(1, 2)).await.unwrap();
    append(&mut journal, 6, 7).await;
    journal
}

#[tokio::test]
async fn what_every_version_wrote_is_read_and_gone_on_with() {
    for version in VERSIONS {
        let file = path(version);
        if std::env::var_os("BLESS").is_some() && !file.exists() {
            let place = Place::new();
            let journal = written(&place).await;
            let name = |path: PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
            let files = place.image().into_iter().map(|(path, bytes)| (name(path), bytes)).collect();
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(&file, pinned::to_text(&files)).unwrap();
            drop(journal);
        }
        let place = Place::new();
        let files = pinned::from_text(&std::fs::read_to_string(&file).unwrap()).unwrap();
        pinned::write(&place.dir(), &files).unwrap();
        for last in 7..10 {
            let mut journal =
                SqliteJournal::open(&place.dir(), CLUSTER, GROUP, NODE, place.options()).await.unwrap();
            let state = journal.load().await.unwrap();
            assert_eq!((state.verdict, journal.findings()), (Verdict::Clean, &[][..]), "{version}");
            assert_eq!((state.hard_state, &state.known_peers[..]), (hard_state(), &[peer()][..]));
            assert_eq!((state.purged, state.last), (LogId::new(1, 2), LogId::new(1, last)));
            let read = journal.reader().entries(Index(3)..Index(8), u64::MAX).await.unwrap();
            assert_eq!(read, (3..=7).map(|index| entry(index, format!("entry {index}"))).collect::<Vec<_>>());
            append(&mut journal, last + 1, last + 1).await;
            drop(journal);
            assert!(SqliteJournal::verify(&place.dir()).unwrap().is_clean());
        }
    }
}

/// A database of this version has these tables, whoever made it: never edit a migration, only add one.
#[test]
fn the_schema_is_that_of_version_1() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("migrations");
    let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    let found: Vec<(String, u32)> = files
        .iter()
        .map(|file| {
            let name = file.file_name().unwrap().to_string_lossy().into_owned();
            (name, crc32c::crc32c(&std::fs::read(file).unwrap()))
        })
        .collect();
    assert_eq!(found, [(String::from("0001_journal.sql"), SCHEMA_CRC)]);
}

/// Of the file. sqlx refuses a database whose migration was another one.
const SCHEMA_CRC: u32 = 0xe2b0_7def;
