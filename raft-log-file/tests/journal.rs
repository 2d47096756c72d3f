//! The journal on a real file system, through its async face.

mod support;

use std::io;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use raft_core::backend::{HardState, Journal, JournalError, JournalWrite, OpenError, Verdict, Vote};
use raft_core::entry::{Entry, EntryKind};
use raft_core::ids::{ClusterId, GroupId, Incarnation, Index, KnownPeer, LogId, NodeId, StoreId, Term};
use raft_core::membership::{Member, Membership};
use raft_log_file::vfs::{LockError, Vfs, VfsFile};
use raft_log_file::{FileJournal, Options};
use support::{CrashPoint, MemVfs, OWNER, Op};

const CLUSTER: ClusterId = ClusterId(7);
const GROUP: GroupId = GroupId(0);
const NODE: NodeId = NodeId(1);

fn options() -> Options {
    Options::default().segment_bytes(64 << 10)
}

fn entry(term: u64, index: u64, data: impl Into<Bytes>) -> Entry {
    Entry { id: LogId::new(term, index), kind: EntryKind::Commands, data: data.into() }
}

fn append(entries: Vec<Entry>) -> JournalWrite {
    let mut write = JournalWrite::default();
    write.entries = entries.into();
    write
}

fn three() -> Membership {
    Membership::of_voters((1..=3).map(|id| Member::new(NodeId(id), format!("host:{id}")))).unwrap()
}

async fn create(dir: &std::path::Path) -> FileJournal {
    FileJournal::create(dir, CLUSTER, GROUP, NODE, Some(&three()), options()).await.unwrap()
}

async fn open(dir: &std::path::Path) -> FileJournal {
    FileJournal::open(dir, CLUSTER, GROUP, NODE, options()).await.unwrap()
}

#[tokio::test]
async fn everything_survives_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a/b");
    let mut journal = create(&path).await;
    let state = journal.load().await.unwrap();
    assert_eq!(state.identity.incarnation.number, 1);
    assert_eq!(state.last, LogId::new(0, 1));
    assert_eq!(state.memberships.len(), 1);
    let hard_state =
        HardState { term: Term(3), vote: Vote::For(NodeId(2)), probation: false, ..HardState::default() };
    let peer = KnownPeer {
        node: NodeId(2),
        store: StoreId(9),
        incarnation: Incarnation { number: 4, nonce: 5 },
        admitted: LogId::ZERO,
    };
    let mut write = append(vec![entry(3, 2, "two"), entry(3, 3, "")]);
    write.hard_state = Some(hard_state);
    write.known_peers = Some(vec![peer]);
    write.commit_hint = Index(1);
    journal.write(write).await.unwrap();
    for index in 4..200 {
        journal.write(append(vec![entry(3 + index / 50, index, vec![index as u8; 700])])).await.unwrap();
    }
    drop(journal);
    for round in 2..5 {
        let mut journal = open(&path).await;
        let state = journal.load().await.unwrap();
        assert_eq!(state.verdict, Verdict::Clean);
        assert_eq!(state.identity.incarnation.number, round);
        assert_eq!(state.hard_state, hard_state);
        assert_eq!(state.known_peers, [peer]);
        assert_eq!(state.last, LogId::new(6, 199));
        assert_eq!(state.commit_hint, Index(1));
        assert_eq!(state.terms.first(), Some(&(Index(1), Term(0))));
        let all = journal.reader().entries(Index(1)..Index(200), u64::MAX).await.unwrap();
        assert_eq!(all.len(), 199);
        assert_eq!(all[1], entry(3, 2, "two"));
        for found in &all[3..] {
            assert_eq!(
                found,
                &entry(3 + found.id.index.0 / 50, found.id.index.0, vec![found.id.index.0 as u8; 700])
            );
        }
        assert!(journal.findings().is_empty(), "{:?}", journal.findings());
        drop(journal);
        let report = FileJournal::verify(&path).unwrap();
        assert!(report.is_clean(), "{report:?}");
        assert_eq!(report.entries(), 199);
    }
}

#[tokio::test]
async fn big_and_empty_entries_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = create(dir.path()).await;
    let big: Vec<u8> = (0..16 << 20_u32).map(|n: u32| (n ^ (n >> 8)) as u8).collect();
    let entries = vec![entry(1, 2, ""), entry(1, 3, big), entry(1, 4, "x")];
    journal.write(append(entries.clone())).await.unwrap();
    journal.write(append(vec![entry(1, 5, vec![0; 300_000])])).await.unwrap();
    drop(journal);
    let journal = open(dir.path()).await;
    let reader = journal.reader();
    assert_eq!(reader.entries(Index(2)..Index(5), u64::MAX).await.unwrap(), entries);
    assert_eq!(reader.entries(Index(3)..Index(5), 10).await.unwrap(), entries[1..2]);
    assert_eq!(reader.entries(Index(4)..Index(6), 100).await.unwrap(), entries[2..]);
    assert_eq!(reader.entries(Index(5)..Index(6), 1).await.unwrap(), [entry(1, 5, vec![0; 300_000])]);
    assert_eq!(reader.entries(Index(5)..Index(5), 1).await.unwrap(), []);
}

#[tokio::test]
async fn gaps_and_overwrites_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = create(dir.path()).await;
    let gap = |expected, got| Err(JournalError::Gap { expected: Index(expected), got: Index(got) });
    assert_eq!(journal.write(append(vec![entry(1, 3, "")])).await, gap(2, 3));
    assert_eq!(journal.write(append(vec![entry(1, 1, "")])).await, gap(2, 1));
    assert_eq!(journal.write(append(vec![entry(1, 2, ""), entry(1, 4, "")])).await, gap(3, 4));
    journal.write(append(vec![entry(1, 2, "a"), entry(1, 3, "b")])).await.unwrap();
    let mut cut = append(vec![entry(2, 3, "c")]);
    cut.truncate_from = Some(Index(3));
    journal.write(cut).await.unwrap();
    let found = journal.reader().entries(Index(2)..Index(4), u64::MAX).await.unwrap();
    assert_eq!(found, [entry(1, 2, "a"), entry(2, 3, "c")]);
    let beyond = journal.reader().entries(Index(2)..Index(5), 1).await;
    assert_eq!(beyond, Err(JournalError::OutOfRange { last: Index(3) }));
}

#[tokio::test]
async fn opening_is_careful() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing");
    let open = |path: &std::path::Path, cluster, node| {
        let path = path.to_owned();
        async move { FileJournal::open(&path, cluster, GROUP, node, options()).await.map(drop) }
    };
    assert_eq!(open(&missing, CLUSTER, NODE).await, Err(OpenError::NotInitialised));
    assert!(!missing.exists());
    assert_eq!(open(dir.path(), CLUSTER, NODE).await, Err(OpenError::NotInitialised));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    let journal = create(dir.path()).await;
    let by = Some(std::process::id());
    assert_eq!(open(dir.path(), CLUSTER, NODE).await, Err(OpenError::Locked { by }));
    drop(journal);
    assert!(matches!(open(dir.path(), ClusterId(8), NODE).await, Err(OpenError::Foreign(_))));
    assert!(matches!(open(dir.path(), CLUSTER, NodeId(2)).await, Err(OpenError::Foreign(_))));
    let again = FileJournal::create(dir.path(), CLUSTER, GROUP, NODE, None, options()).await.map(drop);
    assert_eq!(again, Err(OpenError::AlreadyExists));
    assert_eq!(open(dir.path(), CLUSTER, NODE).await, Ok(()));
}

/// A disk that writes down which thread removes files.
#[derive(Default)]
struct Watched {
    disk: MemVfs,
    removed: Mutex<Vec<(String, String)>>,
}

impl Vfs for Watched {
    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn VfsFile>> {
        self.disk.create(name)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn VfsFile>> {
        self.disk.open(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        let thread = std::thread::current().name().unwrap_or_default().to_owned();
        self.removed.lock().unwrap().push((thread, name.to_owned()));
        self.disk.unlink(name)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.disk.sync_dir()
    }

    fn lock(&self, name: &str) -> Result<Box<dyn Send + Sync>, LockError> {
        self.disk.lock(name)
    }
}

/// To remove the files of a long log takes a file system hundreds of milliseconds: the thread that writes does not wait
/// for that, and none of them is left when the journal is closed.
#[tokio::test]
async fn what_was_purged_is_removed_beside_the_writes() {
    let disk = Arc::new(Watched::default());
    let vfs = || Arc::clone(&disk) as Arc<dyn Vfs>;
    let mut journal = FileJournal::create_on(vfs(), OWNER, Some(&three()), options()).await.unwrap();
    for index in 2..200 {
        journal.write(append(vec![entry(1, index, vec![1; 2000])])).await.unwrap();
    }
    disk.removed.lock().unwrap().clear();
    for (upto, next) in [(100, 200), (190, 201)] {
        journal.purge(LogId::new(1, upto)).await.unwrap();
        journal.write(append(vec![entry(1, next, "x")])).await.unwrap();
    }
    drop(journal);
    let mut removed = disk.removed.lock().unwrap().clone();
    removed.retain(|(_, name)| !name.ends_with(".tmp"));
    assert!(removed.len() >= 4, "{removed:?}");
    assert!(removed.iter().all(|(thread, _)| thread == "raft-journal-remove"), "{removed:?}");
    let left = disk.list().unwrap();
    assert!(removed.iter().all(|(_, name)| !left.contains(name)));
    let mut journal = FileJournal::open_on(vfs(), OWNER, options()).await.unwrap();
    assert_eq!(journal.load().await.unwrap().purged, LogId::new(1, 190));
}

#[tokio::test]
async fn purge_and_reset_survive() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = create(dir.path()).await;
    for index in 2..100 {
        journal.write(append(vec![entry(1, index, vec![1; 2000])])).await.unwrap();
    }
    assert!(matches!(journal.purge(LogId::new(2, 50)).await, Err(JournalError::Refused { .. })));
    let before = std::fs::read_dir(dir.path()).unwrap().count();
    journal.purge(LogId::new(1, 60)).await.unwrap();
    let compacted = Err(JournalError::Compacted { purged: LogId::new(1, 60) });
    assert_eq!(journal.reader().entries(Index(60)..Index(61), 1).await, compacted);
    drop(journal);
    assert!(std::fs::read_dir(dir.path()).unwrap().count() < before);
    let mut journal = open(dir.path()).await;
    let state = journal.load().await.unwrap();
    assert_eq!((state.purged, state.last), (LogId::new(1, 60), LogId::new(1, 99)));
    assert_eq!(state.terms, [(Index(61), Term(1))]);
    assert_eq!(journal.reader().entries(Index(61)..Index(100), u64::MAX).await.unwrap().len(), 39);
    journal.reset(LogId::new(5, 1000)).await.unwrap();
    journal.write(append(vec![entry(5, 1001, "x")])).await.unwrap();
    drop(journal);
    let mut journal = open(dir.path()).await;
    let state = journal.load().await.unwrap();
    assert_eq!((state.purged, state.last), (LogId::new(5, 1000), LogId::new(5, 1001)));
    assert_eq!(state.terms, [(Index(1001), Term(5))]);
    assert_eq!(journal.reader().entries(Index(1001)..Index(1002), 1).await.unwrap(), [entry(5, 1001, "x")]);
}

#[tokio::test]
async fn a_dropped_write_happens_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = create(dir.path()).await;
    for index in 2..50 {
        let mut future = journal.write(append(vec![entry(1, index, "x")]));
        let polled = std::future::poll_fn(|cx| std::task::Poll::Ready(future.as_mut().poll(cx))).await;
        assert!(polled.is_pending() || polled == std::task::Poll::Ready(Ok(())));
        drop(future);
    }
    let state = journal.load().await.unwrap();
    assert_eq!(state.last, LogId::new(1, 49));
    drop(journal);
    assert_eq!(open(dir.path()).await.load().await.unwrap().last, LogId::new(1, 49));
}

/// Segments so big that the next one is not made meanwhile.
fn roomy() -> Options {
    Options::default().segment_bytes(1 << 20)
}

/// The weaker kinds of durability answer before the disk does, keep the vote all the same, and leave
/// nothing un-synced behind when they are closed.
#[tokio::test]
async fn weaker_durability() {
    use raft_log_file::Durability;
    use std::time::Duration;
    for durability in [Durability::Interval(Duration::from_secs(3600)), Durability::Never] {
        let vfs = MemVfs::default();
        let options = roomy().durability(durability);
        let mut journal =
            FileJournal::create_on(Arc::new(vfs.clone()), OWNER, None, options.clone()).await.unwrap();
        let before = vfs.op_count();
        journal.write(append(vec![entry(1, 1, "a")])).await.unwrap();
        assert!(!synced(&vfs, before), "{durability:?}");
        let mut write = append(vec![entry(1, 2, "b")]);
        write.hard_state = Some(HardState {
            term: Term(1),
            vote: Vote::For(NodeId(2)),
            probation: false,
            ..HardState::default()
        });
        journal.write(write).await.unwrap();
        assert!(synced(&vfs, before), "the vote");
        drop(journal);
        let mut point = CrashPoint::default();
        vfs.ops().iter().for_each(|op| point.advance(op));
        let crashed = Arc::new(MemVfs::of(&point.durable()));
        let state = FileJournal::open_on(crashed, OWNER, options).await.unwrap().load().await.unwrap();
        assert_eq!((state.last, state.verdict), (LogId::new(1, 2), Verdict::Clean));
    }
}

/// With an interval of no time at all every write is synced before the next.
#[tokio::test]
async fn an_interval_that_is_over() {
    let vfs = MemVfs::default();
    let options = roomy().durability(raft_log_file::Durability::Interval(std::time::Duration::ZERO));
    let mut journal = FileJournal::create_on(Arc::new(vfs.clone()), OWNER, None, options).await.unwrap();
    for index in 1..5 {
        let before = vfs.op_count();
        journal.write(append(vec![entry(1, index, "a")])).await.unwrap();
        // The next request is served after that.
        journal.load().await.unwrap();
        assert!(synced(&vfs, before), "write {index}");
    }
}

/// An idle journal writes a mark, and then syncs it, without being asked.
#[tokio::test]
async fn idling_marks() {
    let vfs = MemVfs::default();
    let mut journal = FileJournal::create_on(Arc::new(vfs.clone()), OWNER, None, roomy()).await.unwrap();
    let before = vfs.op_count();
    journal.write(append(vec![entry(1, 1, "a")])).await.unwrap();
    while vfs.op_count() < before + 4 {
        tokio::task::yield_now().await;
    }
    let [Op::Write(_, at, _), Op::Sync(_), Op::Write(_, mark, _), Op::Sync(_)] = &vfs.ops()[before..] else {
        panic!("{:?}", vfs.ops())
    };
    assert!(mark > at);
}

fn synced(vfs: &MemVfs, since: usize) -> bool {
    vfs.ops()[since..].iter().any(|op| matches!(op, Op::Sync(_)))
}
