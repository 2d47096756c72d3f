//! What a disk may give back of a journal in SQLite: its files after some edits, its rows and its state with other
//! values, and the same with good checksums. The folders of a process that was killed are among those to begin with,
//! so that the write-ahead log is edited too.
//!
//! What is found was written once, the vote is the last one, and nothing acknowledged is missing without a word after
//! one small edit.
#![cfg_attr(fuzzing, no_main)]
#![allow(dead_code, unreachable_pub, reason = "parts of the driver and of the helpers")]

#[path = "support/content.rs"]
mod content;
#[path = "../../xtask/fuzz/mod.rs"]
mod fuzz;
#[path = "support/rot.rs"]
mod rot;
#[path = "../src/rows.rs"]
mod rows;
mod support;

use fuzz::edits::{Places, edit};
use fuzz::{Allowance, Input, Target};
use raft_core::backend::OpenError;
use raft_log_sqlite::SqliteJournal;
use rot::{Base, Model, bases, load, with_runtime};
use support::Place;

/// What an opening takes, a few times: SQLite's own memory does not count.
const ALLOWANCE: Allowance = Allowance::new(24 << 20, 64);

fuzz::targets! {
    sqlite = SQLITE;
    sqlite_rows = ROWS;
    sqlite_sealed = SEALED;
}

/// Rot in any file.
const SQLITE: Target = Target {
    name: "sqlite",
    run: |input| {
        let mut input = Input(input);
        let bases = bases();
        let base = &bases[usize::from(input.byte()) % bases.len()];
        let edited = edit(&base.image, &mut input, &PLACES);
        let place = Place::new();
        rot::restore(&place, &edited.image);
        with_runtime(check(&place, base, edited.edits, edited.small));
    },
    seeds: || {
        let whole = (0..5).map(|base| vec![base]);
        let edits = (0..12).flat_map(|what| {
            (0..10).map(move |file| vec![file % 4, what, file, 5, what, 3, 1, 0xe0, 7, 9, 200, 1])
        });
        let files = (0..10).flat_map(|file| (0..14).map(move |place| (file, place)));
        let small = files.map(|(file, place)| vec![(file + place) % 4, place % 2 * 2, file, place, 20, 3]);
        whole.chain(edits).chain(small).collect()
    },
    words: &[b"SQLite format 3\0", b"SQST", b"HARD", b"PEER", b"SQID", b"RSLT"],
    allowance: ALLOWANCE,
    longest: 256,
    plain: 150,
};

/// Where there may be something: slots, pages of the database, frames of its write-ahead log.
const PLACES: Places = Places {
    offsets: &[0, 32, 64, 100, 512, 4096, 4120, 4152, 8192, 8216, 12_288, 16_384, 20_480, 28_000],
    is_file: |_| true,
    others: &[
        "journal.db-wal",
        "journal.db-wal.kept",
        "journal.db-wal.tmp",
        "journal.db-journal",
        "journal.db-shm",
        "journal.db.new",
        "CLOSED",
        "watermark.a",
    ],
};

/// Rows, the state and the marks of the database have other values.
const ROWS: Target = Target {
    name: "sqlite-rows",
    run: |input| {
        let mut input = Input(input);
        let bases = bases();
        let base = &bases[usize::from(input.byte()) % bases.len()];
        let place = Place::new();
        rot::restore(&place, &base.image);
        with_runtime(async {
            let edits = rot::change_rows(&place, &mut input).await;
            check(&place, base, edits, true).await;
        });
    },
    seeds: row_edits,
    words: &[],
    allowance: ALLOWANCE,
    longest: 256,
    plain: 150,
};

/// The same, and afterwards all checksums and the chain are made good: then nothing must break.
const SEALED: Target = Target {
    name: "sqlite-sealed",
    run: |input| {
        let mut input = Input(input);
        let bases = bases();
        let base = &bases[usize::from(input.byte()) % bases.len()];
        let place = Place::new();
        rot::restore(&place, &base.image);
        with_runtime(async {
            rot::change_rows(&place, &mut input).await;
            rot::seal(&place, &mut input).await;
            let scrubbed = SqliteJournal::verify(&place.dir());
            let Ok(mut journal) = place.open().await else { return };
            assert!(scrubbed.is_ok(), "{scrubbed:?}");
            // Whatever it says, it says something, and its indexes are in order.
            rot::use_it(&mut journal).await;
            drop(journal);
            let _ = place.open().await;
        });
    },
    seeds: row_edits,
    words: &[],
    allowance: ALLOWANCE,
    longest: 256,
    plain: 150,
};

fn row_edits() -> Vec<Vec<u8>> {
    let whole = (0..5).map(|base| vec![base]);
    let edits = (0..rot::KINDS).flat_map(|what| {
        (0..8)
            .flat_map(move |row| (0..4).map(move |base| vec![base, what, row, 0, 0xe0, 7, 3, 9, 1, 2, 3, 4]))
    });
    whole.chain(edits).collect()
}

/// Opens what was damaged, and judges what is found.
async fn check(place: &Place, base: &Base, edits: usize, is_small: bool) {
    let before = place.image();
    let scrubbed = SqliteJournal::verify(&place.dir());
    // What an opening that was cut has kept aside of the write-ahead log is put back.
    let aside = ["journal.db-wal.kept", "journal.db-wal.tmp"];
    let was_cut = before.iter().any(|(path, _)| aside.iter().any(|name| path.ends_with(name)));
    let after = place.image();
    let names = |image: &[(std::path::PathBuf, Vec<u8>)]| -> Vec<(std::path::PathBuf, usize)> {
        image.iter().map(|(path, bytes)| (path.clone(), bytes.len())).collect()
    };
    let changed = || format!("{:?} became {:?}", names(&before), names(&after));
    assert!(was_cut || after == before, "the scrub changes something: {}", changed());
    let mut journal = match place.open().await {
        Ok(journal) => journal,
        Err(error) => {
            assert!(edits > 0, "{error}");
            assert!(!matches!(error, OpenError::Io { .. }), "damage is no failure of the system: {error}");
            return;
        }
    };
    let (verdict, found) = load(&mut journal).await;
    let noticed = rot::is_noticed(&verdict);
    if scrubbed.as_ref().is_ok_and(raft_log_sqlite::Report::is_clean) {
        assert!(!noticed && journal.findings().is_empty(), "the scrub saw nothing: {verdict:?}");
    }
    let last = base.history.last().unwrap();
    assert!(base.history.iter().any(|model| found.is_prefix(model)), "what is found never was: {found:?}");
    let vote = (found.hard_state.term, found.hard_state.vote);
    assert_eq!(vote, (last.hard_state.term, last.hard_state.vote));
    assert!(base.history.iter().any(|model| model.peers == found.peers), "{:?}", found.peers);
    assert_eq!(noticed, found.hard_state.probation, "{verdict:?}");
    if edits == 0 || edits == 1 && is_small {
        assert!(noticed || found.entries == last.entries, "lost without a word: {found:?}, {verdict:?}");
        assert!(noticed || found.purged == last.purged);
    }
    go_on(place, journal, found).await;
}

/// A journal that was opened takes a write, and is sound when it is opened again.
async fn go_on(place: &Place, mut journal: SqliteJournal, mut expected: Model) {
    rot::write_next(&mut journal, &mut expected).await;
    drop(journal);
    let mut journal = place.open().await.unwrap();
    let (verdict, found) = load(&mut journal).await;
    assert_eq!(found, expected);
    assert!(!rot::is_noticed(&verdict), "judged twice: {verdict:?}");
}

/// Sealing changes nothing that is good.
#[cfg(not(fuzzing))]
#[test]
fn sealing_keeps_what_is_good() {
    for base in bases() {
        let place = Place::new();
        rot::restore(&place, &base.image);
        with_runtime(async {
            rot::seal(&place, &mut Input(&[])).await;
            check(&place, base, 0, true).await;
        });
    }
}
