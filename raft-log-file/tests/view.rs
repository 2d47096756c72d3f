//! Looking at a journal that is not open, closing it for good, and taking its identity over.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use raft_core::backend::{HardState, Journal, JournalError, JournalWrite, OpenError, Verdict, Vote};
use raft_core::entry::{Entry, EntryKind};
use raft_core::ids::{ClusterId, GroupId, Index, LogId, NodeId, Term};
use raft_log_file::{FileJournal, FileView, Options};

const CLUSTER: ClusterId = ClusterId(7);
const GROUP: GroupId = GroupId(1);
const NODE: NodeId = NodeId(1);

fn options() -> Options {
    Options::default().segment_bytes(64 << 10)
}

async fn create(dir: &Path) -> Result<FileJournal, OpenError> {
    FileJournal::create(dir, CLUSTER, GROUP, NODE, None, options()).await
}

async fn open(dir: &Path) -> Result<FileJournal, OpenError> {
    FileJournal::open(dir, CLUSTER, GROUP, NODE, options()).await
}

fn entry(index: u64) -> Entry {
    let data = Bytes::from(vec![index as u8; 5000]);
    Entry { id: LogId::new(1, index), kind: EntryKind::Commands, data }
}

async fn fill(journal: &mut FileJournal, last: u64) {
    for index in 1..=last {
        let mut write = JournalWrite::default();
        write.entries = [entry(index)].into();
        journal.write(write).await.unwrap();
    }
}

/// All files but the lock, which has a process id.
fn image(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let paths = fs::read_dir(dir).unwrap().map(|found| found.unwrap().path());
    let mut files: Vec<_> = paths
        .filter(|path| !path.ends_with("LOCK"))
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    files.sort();
    files
}

fn closed(why: &str) -> Option<OpenError> {
    Some(OpenError::Closed { why: why.into() })
}

#[tokio::test]
async fn a_view_reads_everything_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("journal");
    let mut journal = create(&dir).await.unwrap();
    let mut write = JournalWrite::default();
    write.hard_state = Some(HardState {
        term: Term(1),
        vote: Vote::For(NodeId(3)),
        probation: true,
        ..HardState::default()
    });
    journal.write(write).await.unwrap();
    fill(&mut journal, 30).await;
    journal.purge(LogId::new(1, 4)).await.unwrap();
    let wanted = journal.load().await.unwrap();
    assert!(matches!(FileView::new(&dir), Err(OpenError::Locked { .. })));
    drop(journal);

    let before = image(&dir);
    let view = FileView::new(&dir).unwrap();
    assert_eq!(view.state(), &wanted);
    assert!(view.report().is_clean());
    assert!(matches!(open(&dir).await.err(), Some(OpenError::Locked { .. })));
    assert_eq!(view.entries(Index(5)..Index(31), u64::MAX).unwrap(), (5..=30).map(entry).collect::<Vec<_>>());
    assert_eq!(view.entries(Index(5)..Index(31), 1).unwrap().len(), 1);
    assert!(matches!(view.entries(Index(4)..Index(6), 1), Err(JournalError::Compacted { .. })));
    assert!(matches!(view.entries(Index(30)..Index(32), 1), Err(JournalError::OutOfRange { .. })));
    drop(view);
    assert!(image(&dir) == before, "something has changed");
    let state = open(&dir).await.unwrap().load().await.unwrap();
    assert_eq!((state.verdict, state.identity.incarnation.number), (Verdict::Clean, 2));
}

#[tokio::test]
async fn what_was_closed_is_neither_opened_nor_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("journal");
    fill(&mut create(&dir).await.unwrap(), 3).await;
    assert_eq!(FileView::closed(&dir), Ok(None));
    let mut view = FileView::new(&dir).unwrap();
    // What an attempt to close has left that was cut.
    fs::write(dir.join("CLOSED.tmp"), "half").unwrap();
    view.close("moved to the moon").unwrap();
    drop(view);
    let before = image(&dir);
    assert_eq!(FileView::closed(&dir), Ok(Some("moved to the moon".into())));
    assert_eq!(open(&dir).await.err(), closed("moved to the moon"));
    assert_eq!(create(&dir).await.err(), closed("moved to the moon"));
    assert!(image(&dir) == before, "something has changed");
    let mut view = FileView::new(&dir).unwrap();
    assert_eq!(view.state().last, LogId::new(1, 3));
    view.release().unwrap();
    drop(view);
    assert_eq!(open(&dir).await.unwrap().identity().incarnation.number, 2);
}

#[tokio::test]
async fn an_adopted_identity_is_closed_until_it_is_released() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (folder.path().join("old"), folder.path().join("new"));
    let from = create(&old).await.unwrap().identity();
    let mut journal = FileJournal::adopt(&new, from, "a copy", options()).await.unwrap();
    fill(&mut journal, 3).await;
    drop(journal);
    assert_eq!(open(&new).await.err(), closed("a copy"));
    let again = FileJournal::adopt(&new, from, "another copy", options()).await;
    assert_eq!(again.err(), closed("a copy"));
    FileView::new(&new).unwrap().release().unwrap();
    let state = open(&new).await.unwrap().load().await.unwrap();
    assert_eq!(state.last, LogId::new(1, 3));
    assert_eq!(state.identity.store, from.store);
    assert_eq!(state.identity.incarnation.number, (1 << 32) + 1);
    // Nor is anything overwritten by it.
    assert_eq!(FileJournal::adopt(&new, from, "x", options()).await.err(), Some(OpenError::AlreadyExists));
}

#[test]
fn what_begins_a_journal_is_found() {
    let folder = tempfile::tempdir().unwrap();
    assert!(!FileView::exists(&folder.path().join("nothing")));
    assert!(!FileView::exists(folder.path()));
    fs::write(folder.path().join("super.b"), []).unwrap();
    assert!(FileView::exists(folder.path()));
    assert_eq!(FileView::new(folder.path()).err(), Some(OpenError::NotInitialised));
}
