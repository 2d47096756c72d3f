//! Looking at a journal that is not open, closing it for good, and taking its identity over.

mod support;

use std::fs;
use std::sync::atomic::Ordering;

use raft_core::backend::{HardState, Journal, JournalError, JournalWrite, OpenError, Verdict, Vote};
use raft_core::ids::{Index, LogId, NodeId, Term};
use raft_log_sqlite::{SqliteJournal, SqliteView};
use support::{CLUSTER, GROUP, NODE, Place, entry, fill, payload};

fn closed(why: &str) -> Option<OpenError> {
    Some(OpenError::Closed { why: why.into() })
}

/// What a killed process has left, its write-ahead log not moved: looking leaves it so.
#[tokio::test]
async fn a_view_reads_everything_and_changes_nothing() {
    let place = Place::new();
    let mut journal = place.create(None).await;
    let hard_state =
        HardState { term: Term(1), vote: Vote::For(NodeId(3)), probation: true, ..HardState::default() };
    let mut write = JournalWrite::default();
    write.hard_state = Some(hard_state);
    journal.write(write).await.unwrap();
    fill(&mut journal, 1, 30).await;
    journal.purge(LogId::new(1, 4)).await.unwrap();
    let wanted = journal.load().await.unwrap();
    assert!(matches!(SqliteView::new(&place.dir()), Err(OpenError::Locked { .. })));
    let image = place.image();
    drop(journal);
    place.restore(&image);

    let view = SqliteView::new(&place.dir()).unwrap();
    assert_eq!(view.state(), &wanted);
    assert!(view.report().is_clean());
    assert!(matches!(place.open().await.err(), Some(OpenError::Locked { .. })));
    let found = view.entries(Index(5)..Index(31), u64::MAX).unwrap();
    assert_eq!(found, (5..=30).map(|index| entry(index, payload(index))).collect::<Vec<_>>());
    assert_eq!(view.entries(Index(5)..Index(31), 1).unwrap().len(), 1);
    assert_eq!(view.entries(Index(9)..Index(9), 1), Ok(Vec::new()));
    assert!(matches!(view.entries(Index(4)..Index(6), 1), Err(JournalError::Compacted { .. })));
    assert!(matches!(view.entries(Index(30)..Index(32), 1), Err(JournalError::OutOfRange { .. })));
    drop(view);
    assert!(place.image() == image, "something has changed");
    assert_eq!(SqliteView::new(&place.dir()).unwrap().state(), &wanted);

    let mut journal = place.open().await.unwrap();
    let state = journal.load().await.unwrap();
    assert_eq!((state.verdict, state.identity.incarnation.number), (Verdict::Clean, 2));
}

#[tokio::test]
async fn what_was_closed_is_neither_opened_nor_made_anew() {
    let place = Place::new();
    let mut journal = place.create(None).await;
    fill(&mut journal, 1, 3).await;
    drop(journal);
    assert_eq!(SqliteView::closed(&place.dir()), Ok(None));
    let view = SqliteView::new(&place.dir()).unwrap();
    view.close("moved to the moon").unwrap();
    drop(view);
    let image = place.image();
    assert_eq!(SqliteView::closed(&place.dir()), Ok(Some("moved to the moon".into())));
    assert_eq!(place.open().await.err(), closed("moved to the moon"));
    let made = SqliteJournal::create(&place.dir(), CLUSTER, GROUP, NODE, None, place.options()).await;
    assert_eq!(made.err(), closed("moved to the moon"));
    assert!(place.image() == image, "something has changed");
    let view = SqliteView::new(&place.dir()).unwrap();
    assert_eq!(view.state().last, LogId::new(1, 3));
    view.release().unwrap();
    drop(view);
    let mut journal = place.open().await.unwrap();
    assert_eq!(journal.load().await.unwrap().identity.incarnation.number, 2);
}

#[tokio::test]
async fn an_adopted_identity_is_closed_until_it_is_released_wherever_it_is_cut() {
    let old = Place::new();
    let from = old.create(None).await.identity();
    for cut in 1..=11 {
        let place = Place::new();
        place.faults.sync_in.store(cut, Ordering::SeqCst);
        let adopted = SqliteJournal::adopt(&place.dir(), from, "a copy", place.options()).await;
        assert_eq!(adopted.is_ok(), cut == 11, "cut {cut}");
        place.faults.sync_in.store(0, Ordering::SeqCst);
        if let Ok(mut journal) = adopted {
            fill(&mut journal, 1, 3).await;
        }
        assert_eq!(place.open().await.err(), closed("a copy"), "cut {cut}");
        let made = SqliteJournal::create(&place.dir(), CLUSTER, GROUP, NODE, None, place.options()).await;
        assert_eq!(made.err(), closed("a copy"), "cut {cut}");
        if cut < 11 {
            continue;
        }
        SqliteView::new(&place.dir()).unwrap().release().unwrap();
        let mut journal = place.open().await.unwrap();
        let state = journal.load().await.unwrap();
        assert_eq!(state.last, LogId::new(1, 3));
        assert_eq!(state.identity.store, from.store);
        assert_eq!(state.identity.incarnation.number, (1 << 32) + 1);
    }
}

#[test]
fn what_begins_a_journal_is_found() {
    let place = Place::new();
    assert!(!SqliteView::exists(&place.dir()));
    fs::create_dir(place.dir()).unwrap();
    assert!(!SqliteView::exists(&place.dir()));
    fs::write(place.dir().join("identity.b"), []).unwrap();
    assert!(SqliteView::exists(&place.dir()));
    assert_eq!(SqliteView::new(&place.dir()).err(), Some(OpenError::NotInitialised));
}
