//! Whole journals as each version of the format has written them: read, gone on with, and, of the present version,
//! written again to the same bytes.
//!
//! Never edit what is pinned. A new version of the format adds a folder to `VERSIONS`; all before it stay.
//! `BLESS=1` writes a pinned folder that is not there yet.

mod support;

use std::path::PathBuf;

use bytes::Bytes;
use raft_core::backend::Verdict;
use raft_core::entry::{Entry, EntryKind, pack};
use raft_core::ids::{Index, LogId, SessionId, Term};
use raft_core::membership::{Member, Membership};
use raft_core::session::{Limits, LogTime, Mark, Op, Stamped, pack_marked};
use raft_log_file::Store;
use raft_testkit::pinned;
use support::{Image, MemVfs, append, create, open_seeded, options, peer, vote, voters};

/// Every version of the format that was ever shipped; the last is the one that is written now.
const VERSIONS: [&str; 1] = ["v1"];

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("{name}.txt"))
}

fn pinned(name: &str) -> Image {
    let text = std::fs::read_to_string(path(name)).unwrap();
    pinned::from_text(&text).unwrap().into_iter().map(|(name, bytes)| (name, bytes.into())).collect()
}

/// What the code writes now is what is pinned.
#[track_caller]
fn is_pinned(name: &str, vfs: &MemVfs) {
    let files = vfs.image().into_iter().map(|(name, bytes)| (name, bytes.to_vec())).collect();
    let written = pinned::to_text(&files);
    let file = path(name);
    if std::env::var_os("BLESS").is_some() && !file.exists() {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, &written).unwrap();
    }
    let golden = std::fs::read_to_string(file).unwrap();
    let differs = golden.lines().zip(written.lines()).find(|(old, new)| old != new);
    assert!(golden == written, "{name}: a changed byte needs a new version of the format; {differs:#?}");
}

fn of_kind(id: LogId, kind: EntryKind, data: Bytes) -> Entry {
    Entry { id, kind, data }
}

/// One entry of each kind, each in the formats that there are of it.
fn entries() -> Vec<Entry> {
    let time = LogTime::from_nanos(77);
    let mark = Mark { session: SessionId(3), sequence: 5, acknowledged_below: 4 };
    let grown =
        Membership::of_voters((1..=4).map(|id| Member::new(raft_core::ids::NodeId(id), "host"))).unwrap();
    let open = Op::Open { timeout: std::time::Duration::from_secs(7), limits: Limits::DEFAULT };
    vec![
        of_kind(LogId::new(2, 2), EntryKind::Noop, Bytes::new()),
        of_kind(LogId::new(2, 3), EntryKind::Session, Stamped { time, op: open }.encode()),
        of_kind(LogId::new(2, 4), EntryKind::Commands, pack(&[Bytes::from_static(b"one"), Bytes::new()])),
        of_kind(
            LogId::new(2, 5),
            EntryKind::Commands,
            pack_marked(
                time,
                &[(Some(mark), Bytes::from_static(b"two")), (None, Bytes::from_static(b"three"))],
            ),
        ),
        of_kind(LogId::new(3, 6), EntryKind::Membership, grown.encode()),
    ]
}

/// A journal that holds a record of every kind: slots with both generations, sealed and resumed segments, entries, a cut,
/// a mark, and a log that begins after a purge.
fn written() -> (MemVfs, Store) {
    let vfs = MemVfs::default();
    let mut store = create(&vfs, Some(&voters(3)), options()).unwrap();
    let mut write = append(entries());
    write.hard_state = Some(vote(3, 2));
    write.known_peers = Some(vec![peer(2), peer(3)]);
    write.commit_hint = Index(4);
    store.write(&write).unwrap();
    let mut cut = append(vec![of_kind(LogId::new(4, 6), EntryKind::Noop, Bytes::new())]);
    cut.truncate_from = Some(Index(6));
    cut.hard_state = Some(vote(4, 1));
    store.write(&cut).unwrap();
    store.mark().unwrap();
    for index in 7..=10 {
        store.write(&append(vec![support::entry(4, index, support::data(index, 3000))])).unwrap();
    }
    drop(store);
    let mut store = open_seeded(&vfs, options(), 7).unwrap();
    store.purge(LogId::new(2, 3)).unwrap();
    store.write(&append(vec![support::entry(4, 11, "last")])).unwrap();
    store.close().unwrap();
    (vfs, store)
}

/// One that begins after a snapshot that was received.
fn reset() -> (MemVfs, Store) {
    let vfs = MemVfs::default();
    let mut store = create(&vfs, None, options()).unwrap();
    store.reset(LogId::new(5, 100)).unwrap();
    store.write(&append(vec![support::entry(5, 101, "after")])).unwrap();
    store.close().unwrap();
    (vfs, store)
}

#[test]
fn the_present_version_writes_these_bytes() {
    let version = VERSIONS.last().unwrap();
    is_pinned(&format!("{version}_journal"), &written().0);
    is_pinned(&format!("{version}_reset"), &reset().0);
}

#[test]
fn what_every_version_wrote_is_read_and_gone_on_with() {
    for version in VERSIONS {
        let vfs = MemVfs::of(&pinned(&format!("{version}_journal")));
        for last in 11..14 {
            let mut store = open_seeded(&vfs, options(), last).unwrap();
            let state = store.load().unwrap();
            assert_eq!((state.verdict, store.findings().len()), (Verdict::Clean, 0), "{version}");
            assert_eq!(state.hard_state, vote(4, 1));
            assert_eq!(state.known_peers, [peer(2), peer(3)]);
            assert_eq!((state.purged, state.last), (LogId::new(2, 3), LogId::new(4, last)));
            assert_eq!(state.commit_hint, Index(4));
            assert_eq!(state.terms, [(Index(4), Term(2)), (Index(6), Term(4))]);
            let read = store.reader().entries(Index(4)..Index(12), u64::MAX).unwrap();
            let [_, _, plain, marked, _] = &entries()[..] else { panic!() };
            assert_eq!((&read[0], &read[1]), (plain, marked));
            assert_eq!(read[2], of_kind(LogId::new(4, 6), EntryKind::Noop, Bytes::new()));
            assert_eq!(read[6], support::entry(4, 10, support::data(10, 3000)));
            assert_eq!(read[7], support::entry(4, 11, "last"));
            // It is gone on with, and opened again.
            store.write(&append(vec![support::entry(4, last + 1, "later")])).unwrap();
            store.close().unwrap();
        }
        let vfs = MemVfs::of(&pinned(&format!("{version}_reset")));
        let store = open_seeded(&vfs, options(), 1).unwrap();
        let state = store.load().unwrap();
        assert_eq!(
            (state.verdict, state.purged, state.last),
            (Verdict::Clean, LogId::new(5, 100), LogId::new(5, 101))
        );
    }
}
