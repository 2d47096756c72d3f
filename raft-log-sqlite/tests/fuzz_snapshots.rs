//! What a disk may give back of snapshots in SQLite: a valid folder after some edits, those of killed processes with a
//! rollback journal among them. As the target `snapshot-files` of raft-log-file.
//!
//! What is found was finished once, under that name and with those members; what is read of it was written; after one
//! small edit a snapshot is there or damaged, never gone without a word. A half-received one is gone on with where it
//! is whole, and ends as it should.
#![cfg_attr(fuzzing, no_main)]
#![allow(dead_code, reason = "parts of the driver")]

#[path = "support/content.rs"]
mod content;
#[path = "../../xtask/fuzz/mod.rs"]
mod fuzz;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use bytes::Bytes;
use content::Content;
use fuzz::edits::{Places, edit};
use fuzz::{Allowance, Input, Target};
use raft_core::backend::{
    SnapshotContent, SnapshotError, SnapshotId, SnapshotMeta, SnapshotStore, SnapshotWriter,
};
use raft_core::ids::{LogId, NodeId};
use raft_core::membership::{Member, Membership};
use raft_log_sqlite::SqliteSnapshots;

/// A whole chunk of data, in bytes.
const CHUNK: usize = 64 << 10;

fuzz::targets! {
    sqlite_snapshots = SQLITE_SNAPSHOTS;
}

/// Rot anywhere among snapshots.
const SQLITE_SNAPSHOTS: Target = Target {
    name: "sqlite-snapshots",
    run: |input| with_runtime(rot(input)),
    seeds,
    words: &[b"SQLite format 3\0", b"RSQS", b"\0\0\0\x01", b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7"],
    // The largest folder here a few times: SQLite's own memory does not count.
    allowance: Allowance::new(24 << 20, 64),
    longest: 256,
    plain: 150,
};

/// Where there may be something: the database's head, the heads of its pages, and what they hold.
const PLACES: Places = Places {
    offsets: &[0, 16, 24, 60, 100, 512, 4000, 4096, 8192, 12_288, 16_384, 20_480, 65_536, 81_920, 90_000],
    is_file: |_| true,
    others: &[
        "snap-0000000000000014-0000000000000003.db",
        "snap-000000000000000a-0000000000000002.db",
        "snap-ffffffffffffffff-ffffffffffffffff.db",
        "snap-0000000000000000-0000000000000000.db",
        "snap-00000000000000000000000000000003.part",
        "snap-00000000000000000000000000000003.part-journal",
        "snap-ffffffffffffffffffffffffffffffff.part",
        "snap-ffffffffffffffffffffffffffffffff.part-journal",
        "snap-0000000000000014-0000000000000003.db-journal",
        "snap-0000000000000014-0000000000000003.db-wal",
        "snap-000000000000000A-0000000000000002.db",
        "snap-.part",
    ],
};

type Image = BTreeMap<String, Content>;

/// The folder of a run, in memory where the system has such a place.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        Self(folder.unwrap())
    }

    fn dir(&self) -> PathBuf {
        self.0.path().join("snapshots")
    }

    fn image(&self) -> Image {
        let all = fs::read_dir(self.dir()).unwrap().map(|entry| entry.unwrap());
        let named = all.map(|entry| (entry.file_name().into_string().unwrap(), entry.path()));
        let kept = named.filter(|(name, _)| name != "LOCK");
        kept.map(|(name, path)| (name, Content(fs::read(path).unwrap()))).collect()
    }

    fn restore(&self, image: &Image) {
        fs::create_dir_all(self.dir()).unwrap();
        for (name, bytes) in image {
            fs::write(self.dir().join(name), &bytes.0).unwrap();
        }
    }

    async fn open(&self) -> SqliteSnapshots {
        // Damage is no error here.
        SqliteSnapshots::open(&self.dir()).await.unwrap()
    }
}

fn with_runtime<T>(what: impl Future<Output = T>) -> T {
    thread_local!(static RUNTIME: RefCell<Option<tokio::runtime::Runtime>> = const { RefCell::new(None) });
    RUNTIME.with(|place| {
        let mut place = place.borrow_mut();
        let new = || tokio::runtime::Builder::new_current_thread().build().unwrap();
        place.get_or_insert_with(new).block_on(what)
    })
}

/// A snapshot that was written, or begun.
#[derive(Clone)]
struct Written {
    meta: SnapshotMeta,
    content: Bytes,
}

impl Written {
    fn new(id: u64, upto: LogId, voters: u64, bytes: usize) -> Self {
        let mut state = id.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let content: Bytes = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        })
        .take(bytes)
        .collect();
        let sum = SnapshotContent { total_bytes: bytes as u64, checksum: crc32c::crc32c(&content) };
        let members = (1..=voters).map(|id| Member::new(NodeId(id), format!("host-{id}:7100")));
        let members = Membership::of_voters(members).unwrap_or_default();
        Self { meta: SnapshotMeta::new(SnapshotId(id.into()), upto, members, sum), content }
    }

    /// Begins it, or goes on with it, and writes what is not there yet of the first so many bytes.
    async fn begin(&self, files: &SqliteSnapshots, upto: usize) -> Box<dyn SnapshotWriter> {
        let SnapshotMeta { id, upto: covers, ref membership, .. } = self.meta;
        let mut part = files.create(id, covers, membership.clone()).await.unwrap();
        let there = usize::try_from(part.received_bytes()).unwrap();
        assert!(there <= self.content.len(), "more than was ever written");
        part.write(self.content.slice(there..upto.max(there))).await.unwrap();
        part
    }

    async fn write(&self, files: &SqliteSnapshots) -> Result<SnapshotMeta, SnapshotError> {
        self.begin(files, self.content.len()).await.finish(Some(self.meta.content)).await
    }
}

/// A folder to begin with.
struct Base {
    image: Image,
    /// What was finished, the newest last.
    finished: Vec<Written>,
    /// What was begun.
    begun: Option<Written>,
}

fn bases() -> &'static [Base] {
    static BASES: OnceLock<Vec<Base>> = OnceLock::new();
    BASES.get_or_init(|| {
        let small = || Written::new(1, LogId::new(2, 10), 3, 100);
        let large = || Written::new(2, LogId::new(3, 20), 1, CHUNK + 500);
        let nothing = || Written::new(1, LogId::new(2, 10), 0, 0);
        let next = || Written::new(3, LogId::new(3, 30), 5, 2 * CHUNK + 10);
        let all = [
            (vec![], None),
            (vec![small()], None),
            (vec![large()], None),
            (vec![nothing()], None),
            (vec![small(), large()], None),
            (vec![large()], Some((next(), CHUNK + 7, false))),
            (vec![], Some((next(), 2 * CHUNK + 5, false))),
            // Killed in the middle of a transaction.
            (vec![small()], Some((next(), CHUNK + 7, true))),
        ];
        // It may be wanted from within a runtime.
        std::thread::spawn(|| {
            with_runtime(async {
                let mut bases = Vec::new();
                for (finished, begun) in all {
                    bases.push(base(finished, begun).await);
                }
                bases
            })
        })
        .join()
        .unwrap()
    })
}

/// A folder with these, older ones left behind by a crash, and the beginning of another.
async fn base(finished: Vec<Written>, begun: Option<(Written, usize, bool)>) -> Base {
    let mut image = Image::new();
    for written in &finished {
        let place = Place::new();
        assert_eq!(written.write(&place.open().await).await, Ok(written.meta.clone()));
        image.extend(place.image());
    }
    if let Some((begun, bytes, killed)) = &begun {
        let place = Place::new();
        let files = place.open().await;
        let part = begun.begin(&files, *bytes).await;
        let at_work = place.image();
        // What is left waits for the store's thread, which closes the database.
        drop((part, files));
        image.extend(if *killed { at_work } else { place.image() });
    }
    Base { image, finished, begun: begun.map(|(begun, ..)| begun) }
}

async fn rot(input: &[u8]) {
    let mut input = Input(input);
    let bases = bases();
    let base = &bases[usize::from(input.byte()) % bases.len()];
    // Each step is a message to the thread of the store.
    let step = 500 + input.below(2 * CHUNK);
    let edited = edit(&base.image, &mut input, &PLACES);
    let place = Place::new();
    place.restore(&edited.image);
    let files = place.open().await;
    let found = files.latest().await;
    match &found {
        Ok(Some(meta)) => {
            let written = base.finished.iter().find(|written| written.meta == *meta);
            let written = written.unwrap_or_else(|| panic!("{meta:?} was never finished"));
            read(&files, written, step, edited.edits == 0).await;
        }
        Ok(None) => {}
        Err(SnapshotError::Corrupt(_)) => assert!(edited.edits > 0, "{found:?}"),
        Err(other) => panic!("{other:?}"),
    }
    let name = |written: &Written| {
        let upto = written.meta.upto;
        format!("snap-{:016x}-{:016x}.db", upto.index.0, upto.term.0)
    };
    // A file that is gone with its name is the node's to miss: its log begins later.
    if edited.edits == 0 || edited.edits == 1 && edited.small {
        let named = base.finished.last().filter(|written| edited.image.contains_key(&name(written)));
        if let (Ok(found), Some(newest)) = (&found, named) {
            assert_eq!(found.as_ref(), Some(&newest.meta), "another one without a word");
        }
    }
    go_on(files, &place, base, found).await;
}

/// Reads all of it: nothing else than what was written, unless it says so.
async fn read(files: &SqliteSnapshots, written: &Written, step: usize, is_whole: bool) {
    let mut file = match files.open(written.meta.id).await {
        Ok(file) => file,
        Err(SnapshotError::Corrupt(_)) if !is_whole => return,
        Err(error) => panic!("{error:?}"),
    };
    assert_eq!(*file.meta(), written.meta);
    let mut at = 0;
    loop {
        match file.read(at as u64, step).await {
            Ok(piece) if piece.is_empty() => break,
            Ok(piece) => {
                assert!(piece.len() <= step);
                assert_eq!(written.content.get(at..at + piece.len()), Some(&piece[..]), "at {at}");
                at += piece.len();
            }
            Err(SnapshotError::Corrupt(_)) if !is_whole => return,
            Err(error) => panic!("{error:?}"),
        }
    }
    assert_eq!(at, written.content.len(), "it ends too early");
}

/// A store that was opened takes a snapshot, or the rest of one, and has it when it is opened again.
async fn go_on(
    files: SqliteSnapshots,
    place: &Place,
    base: &Base,
    before: Result<Option<SnapshotMeta>, SnapshotError>,
) {
    let next = Written::new(3, LogId::new(3, 30), 5, 2 * CHUNK + 10);
    let next = base.begun.as_ref().unwrap_or(&next);
    assert_eq!(next.write(&files).await, Ok(next.meta.clone()));
    drop(files);
    let files = place.open().await;
    let is_part = |name: &String| {
        let part = name.strip_suffix("-journal").unwrap_or(name);
        part.len() == 42 && part.ends_with(".part")
    };
    let parts: Vec<String> = place.image().into_keys().filter(is_part).collect();
    assert!(parts.is_empty(), "half-received ones pile up: {parts:?}");
    if before.is_ok() {
        assert_eq!(files.latest().await, Ok(Some(next.meta.clone())));
        read(&files, next, 10_000, true).await;
    } else if files.latest().await != before {
        // It has replaced what was damaged.
        assert_eq!(files.latest().await, Ok(Some(next.meta.clone())));
    }
}

/// Each folder as it is, and each kind of edit.
fn seeds() -> Vec<Vec<u8>> {
    let whole = (0..8).map(|base| vec![base, 0, 1]);
    let edits = (0..12).flat_map(|what| {
        (0..3).map(move |file| vec![1 + (what + 3 * file) % 7, 7, 40, what, file, 5, what, 3, 1, 0xe0, 7, 9])
    });
    // A bit or a sector of each part of each file.
    let small = (0..2).flat_map(|file| {
        (0..15).flat_map(move |place| {
            [0, 2, 3].map(move |what| vec![1 + (place + file) % 7, 9, 30, what, file, place, 20, 3])
        })
    });
    whole.chain(edits).chain(small).collect()
}
