//! What is in the store after crashes, and what an installation that does not come to its end leaves.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use raft_core::backend::{
    Command, Corruption, Responses, SnapshotContent, SnapshotError, SnapshotId, SnapshotMeta, SnapshotReader,
    StateMachine,
};
use raft_core::ids::{Index, LogId, NodeId, Term};
use raft_core::membership::{Member, Membership};
use raft_core::node::typed::{decode, encode};
use raft_redb::{Answer, Ask, Done, Options, Refused, Store};
use tokio::sync::Notify;

fn id(index: u64) -> LogId {
    LogId { term: Term(1), index: Index(index) }
}

async fn ask(store: &mut Store, index: u64, ask: &Ask) -> Answer {
    let command = Command::new(id(index), 0, encode(ask).unwrap().into());
    let mut responses = Responses::kept(1);
    store.apply(&[command], id(index), &mut responses).await.unwrap();
    decode(&responses.into_kept()[0]).unwrap()
}

/// The store that a process leaves that is killed now.
fn killed(store: &Store, copy: &Path) -> Store {
    std::fs::copy(store.path(), copy).unwrap();
    Store::open(copy, Options::default()).unwrap()
}

#[tokio::test]
async fn what_makes_no_sense_is_answered_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(&folder.path().join("a"), Options::default()).unwrap();
    assert_eq!(ask(&mut store, 1, &Ask::Put("a".into(), vec![1, 2, 3])).await, Ok(Done::Was(false)));
    assert_eq!(ask(&mut store, 2, &Ask::Add("a".into(), 1)).await, Err(Refused::NotANumber));
    assert_eq!(ask(&mut store, 3, &Ask::Add("n".into(), u64::MAX)).await, Ok(Done::Sum(u64::MAX)));
    assert_eq!(ask(&mut store, 4, &Ask::Add("n".into(), 1)).await, Err(Refused::TooLarge));
    assert_eq!(ask(&mut store, 5, &Ask::Remove("a".into())).await, Ok(Done::Was(true)));
    let mut responses = Responses::kept(1);
    store.apply(&[Command::new(id(6), 0, Bytes::from_static(&[99]))], id(6), &mut responses).await.unwrap();
    assert_eq!(decode::<Answer>(&responses.into_kept()[0]).unwrap(), Err(Refused::Senseless));
    assert_eq!((store.count().unwrap(), store.number("n").unwrap()), (1, Some(u64::MAX)));
    assert_eq!(store.applied().unwrap(), id(6));
}

/// A crash takes whole entries from the end, never half of one, and the store says which it still has. What was
/// there at a sync, or when a snapshot was taken, stays.
#[tokio::test]
async fn a_crash_takes_what_was_not_synced_and_the_store_says_how_much() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(&folder.path().join("a"), Options::default()).unwrap();
    for index in 1..=10 {
        ask(&mut store, index, &Ask::Add("n".into(), 1)).await.unwrap();
    }
    let lost = killed(&store, &folder.path().join("b"));
    assert_eq!((lost.applied().unwrap(), lost.number("n").unwrap()), (LogId::ZERO, None));
    drop(store.snapshot().await.unwrap());
    for index in 11..=20 {
        ask(&mut store, index, &Ask::Add("n".into(), 1)).await.unwrap();
    }
    let mut back = killed(&store, &folder.path().join("c"));
    assert_eq!((back.applied().unwrap(), back.number("n").unwrap()), (id(10), Some(10)));
    // The node executes what follows.
    for index in 11..=20 {
        ask(&mut back, index, &Ask::Add("n".into(), 1)).await.unwrap();
    }
    assert_eq!(back.number("n").unwrap(), Some(20));
    // A store that is closed loses nothing.
    let path = store.path().to_path_buf();
    drop(store);
    let closed = Store::open(&path, Options::default()).unwrap();
    assert_eq!((closed.applied().unwrap(), closed.number("n").unwrap()), (id(20), Some(20)));
}

#[tokio::test]
async fn with_a_bound_of_so_many_bytes_no_more_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = Options::default();
    options.sync_every_bytes = 100;
    let mut store = Store::open(&folder.path().join("a"), options).unwrap();
    let add = Ask::Add("n".into(), 1);
    let most = 100_u64.div_ceil(encode(&add).unwrap().len() as u64);
    for index in 1..=60 {
        ask(&mut store, index, &add).await.unwrap();
        if index % 10 == 0 {
            let back = killed(&store, &folder.path().join(format!("copy-{index}")));
            let had = back.applied().unwrap().index.0;
            assert!(had <= index && index - had <= most, "{had} of {index}");
            assert_eq!(back.number("n").unwrap().unwrap_or(0), had);
        }
    }
}

#[tokio::test]
async fn the_file_does_not_grow_with_writes_that_are_never_synced() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(&folder.path().join("a"), Options::default()).unwrap();
    let mut sizes = Vec::new();
    // 8 MB in all, of which 40 kB are there at a time.
    for index in 1..=2_000 {
        ask(&mut store, index, &Ask::Put(format!("key-{}", index % 10), vec![1; 4_000])).await.unwrap();
        if index % 1_000 == 0 {
            sizes.push(std::fs::metadata(store.path()).unwrap().len());
        }
    }
    assert_eq!(sizes[0], sizes[1]);
}

/// A snapshot that can be read up to a point.
struct Half {
    meta: SnapshotMeta,
    data: Bytes,
    /// Hears when all was read: then nobody ever answers, instead of an error.
    hangs: Option<Arc<Notify>>,
}

#[async_trait]
impl SnapshotReader for Half {
    fn meta(&self) -> &SnapshotMeta {
        &self.meta
    }

    async fn read(&mut self, offset: u64, max_bytes: usize) -> Result<Bytes, SnapshotError> {
        let from = usize::try_from(offset).unwrap();
        if from < self.data.len() {
            return Ok(self.data.slice(from..self.data.len().min(from + max_bytes)));
        }
        if let Some(read) = &self.hangs {
            read.notify_one();
            std::future::pending::<()>().await;
        }
        let reason = "as the test wants it".into();
        Err(SnapshotError::Corrupt(Corruption { range: None, place: "a test".into(), offset, reason }))
    }
}

/// Everything that a snapshot of this store says.
async fn bytes_of(store: &mut Store) -> Vec<u8> {
    let mut source = store.snapshot().await.unwrap();
    let mut bytes = Vec::new();
    while let Some(piece) = source.next().await.unwrap() {
        bytes.extend_from_slice(&piece);
    }
    bytes
}

/// An error, a caller that gives up, a kill: each leaves the old data, and that it is the old.
#[tokio::test]
async fn an_installation_that_does_not_end_leaves_what_was_there() {
    let folder = tempfile::tempdir().unwrap();
    let open = |name: &str| Store::open(&folder.path().join(name), Options::default()).unwrap();
    let (mut other, mut store) = (open("other"), open("store"));
    for index in 1..=100 {
        ask(&mut other, index, &Ask::Put(format!("other-{index}"), vec![1; 10_000])).await.unwrap();
    }
    for index in 1..=3 {
        ask(&mut store, index, &Ask::Add("mine".into(), 1)).await.unwrap();
    }
    let before = bytes_of(&mut store).await;
    let data = Bytes::from(bytes_of(&mut other).await);
    let members = Membership::of_voters([Member::new(NodeId(1), "anywhere")]).unwrap();
    let content = SnapshotContent { total_bytes: data.len() as u64, checksum: 0 };
    let meta = SnapshotMeta::new(SnapshotId(1), id(100), members, content);
    let half = |hangs| Box::new(Half { meta: meta.clone(), data: data.clone(), hangs });

    store.install(half(None)).await.unwrap_err();
    {
        let read = Arc::new(Notify::new());
        let path = store.path().to_path_buf();
        tokio::select! {
            _ = store.install(half(Some(Arc::clone(&read)))) => unreachable!("its snapshot never ends"),
            // All of it is in the transaction.
            () = read.notified() => {}
        }
        let copy = folder.path().join("copy");
        std::fs::copy(path, &copy).unwrap();
        let copied = Store::open(&copy, Options::default()).unwrap();
        assert_eq!((copied.applied().unwrap(), copied.number("mine").unwrap()), (id(3), Some(3)));
    }
    assert_eq!(store.applied().unwrap(), id(3));
    assert_eq!(bytes_of(&mut store).await, before);
    assert_eq!(ask(&mut store, 4, &Ask::Add("mine".into(), 1)).await, Ok(Done::Sum(4)));
}
