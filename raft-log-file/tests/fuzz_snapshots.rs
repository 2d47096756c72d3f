//! What a disk may give back of snapshots: a valid folder after some edits, as the target `journal` has it for the
//! log.
//!
//! What is found was finished once, under that name and with those members; what is read of it was written; after one
//! small edit a snapshot is there or damaged, never gone without a word. A half-received one is gone on with where it
//! is whole, and ends as it should.
#![cfg_attr(fuzzing, no_main)]
#![allow(dead_code, reason = "parts of the driver and of the disk")]

#[path = "../../xtask/fuzz/mod.rs"]
mod fuzz;
mod support;

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use fuzz::edits::{Places, edit};
use fuzz::{Allowance, Input, Target};
use raft_core::backend::{SnapshotContent, SnapshotError, SnapshotId, SnapshotMeta};
use raft_core::ids::LogId;
use raft_core::membership::Membership;
use raft_log_file::SnapshotFiles;
use support::{Image, MemVfs, data, voters};

/// A whole chunk of data, in bytes.
const CHUNK: usize = 64 << 10;

fuzz::targets! {
    snapshot_files = SNAPSHOT_FILES;
}

/// Rot anywhere among snapshots.
const SNAPSHOT_FILES: Target = Target {
    name: "snapshot-files",
    run: rot,
    seeds,
    words: &[b"RSNP", b"RSNE"],
    // The largest folder here a few times, with what the disk of these tests remembers.
    allowance: Allowance::new(8 << 20, 64),
    longest: 256,
    plain: 1000,
};

/// Where there may be something: headers, chunks and ends of the folders below.
const PLACES: Places = Places {
    offsets: &[0, 48, 64, 128, 512, 1024, 32_768, 65_536, 65_700, 66_048, 131_072, 131_200],
    is_file: |_| true,
    others: &[
        "snap-0000000000000014-0000000000000003",
        "snap-000000000000000a-0000000000000002",
        "snap-ffffffffffffffff-ffffffffffffffff",
        "snap-0000000000000000-0000000000000000",
        "snap-00000000000000000000000000000003.part",
        "snap-ffffffffffffffffffffffffffffffff.part",
        "snap-000000000000000A-0000000000000002",
        "snap-.part",
    ],
};

/// A snapshot that was written, or begun.
#[derive(Clone)]
struct Written {
    meta: SnapshotMeta,
    content: Bytes,
}

impl Written {
    fn new(id: u128, upto: LogId, membership: Membership, bytes: usize) -> Self {
        let content = data(id as u64, bytes);
        let sum = SnapshotContent { total_bytes: bytes as u64, checksum: crc32c::crc32c(&content) };
        Self { meta: SnapshotMeta::new(SnapshotId(id), upto, membership, sum), content }
    }

    /// Writes the first so many bytes, or all that are not there yet, and its end.
    fn write(&self, files: &SnapshotFiles, upto: Option<usize>) -> Result<SnapshotMeta, SnapshotError> {
        let SnapshotMeta { id, upto: covers, ref membership, content, .. } = self.meta;
        let mut part = files.create(id, covers, membership.clone())?;
        let there = usize::try_from(part.received_bytes()).unwrap();
        assert!(there <= self.content.len(), "more than was ever written");
        part.write(&self.content[there..upto.unwrap_or(self.content.len())])?;
        if upto.is_some() { Ok(self.meta.clone()) } else { part.finish(Some(content)) }
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
        let small = || Written::new(1, LogId::new(2, 10), voters(3), 100);
        let large = || Written::new(2, LogId::new(3, 20), voters(1), CHUNK + 500);
        let nothing = || Written::new(1, LogId::new(2, 10), Membership::default(), 0);
        let next = || Written::new(3, LogId::new(3, 30), voters(5), 2 * CHUNK + 10);
        let whole = || Written::new(3, LogId::new(3, 30), voters(5), CHUNK);
        vec![
            base(&[], None, None),
            base(&[small()], None, None),
            base(&[large()], None, None),
            base(&[nothing()], None, None),
            base(&[small(), large()], None, None),
            base(&[large()], Some(next()), Some(CHUNK + 7)),
            base(&[], Some(next()), Some(2 * CHUNK + 5)),
            base(&[small()], Some(whole()), Some(CHUNK)),
        ]
    })
}

/// A folder with these, older ones left behind by a crash, and the beginning of another.
fn base(finished: &[Written], begun: Option<Written>, bytes: Option<usize>) -> Base {
    let mut image = Image::new();
    for written in finished {
        let vfs = MemVfs::default();
        written.write(&open(&vfs), None).unwrap();
        image.extend(vfs.image());
    }
    let vfs = MemVfs::default();
    if let Some(begun) = &begun {
        begun.write(&open(&vfs), bytes).unwrap();
    }
    image.extend(vfs.image());
    Base { image, finished: finished.to_vec(), begun }
}

fn open(vfs: &MemVfs) -> SnapshotFiles {
    // Damage is no error here.
    SnapshotFiles::open(Arc::new(vfs.clone())).unwrap()
}

fn rot(input: &[u8]) {
    let mut input = Input(input);
    let bases = bases();
    let base = &bases[usize::from(input.byte()) % bases.len()];
    let step = 1 + input.below(2 * CHUNK);
    let edited = edit(&base.image, &mut input, &PLACES);
    let vfs = MemVfs::of(&edited.image);
    let files = open(&vfs);
    let newest = base.finished.last();
    let found = files.latest();
    match &found {
        Ok(Some(meta)) => {
            let written = base.finished.iter().find(|written| written.meta == *meta);
            let written = written.unwrap_or_else(|| panic!("{meta:?} was never finished"));
            read(&files, written, step, edited.edits == 0);
        }
        Ok(None) => {}
        Err(SnapshotError::Corrupt(_)) => assert!(edited.edits > 0, "{found:?}"),
        Err(other) => panic!("{other:?}"),
    }
    let name = |written: &Written| {
        let upto = written.meta.upto;
        format!("snap-{:016x}-{:016x}", upto.index.0, upto.term.0)
    };
    // A file that is gone with its name is the node's to miss: its log begins later.
    if edited.edits == 0 || edited.edits == 1 && edited.small {
        let named = newest.filter(|written| edited.image.contains_key(&name(written)));
        if let (Ok(found), Some(newest)) = (&found, named) {
            assert_eq!(found.as_ref(), Some(&newest.meta), "another one without a word");
        }
    }
    go_on(files, &vfs, base, found);
}

/// Reads all of it: nothing else than what was written, unless it says so.
fn read(files: &SnapshotFiles, written: &Written, step: usize, is_whole: bool) {
    let mut file = files.read(written.meta.id).unwrap();
    assert_eq!(*file.meta(), written.meta);
    let mut at = 0;
    loop {
        match file.read(at as u64, step) {
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
fn go_on(
    files: SnapshotFiles,
    vfs: &MemVfs,
    base: &Base,
    before: Result<Option<SnapshotMeta>, SnapshotError>,
) {
    let next = Written::new(3, LogId::new(3, 30), voters(5), 2 * CHUNK + 10);
    let next = base.begun.as_ref().unwrap_or(&next);
    assert_eq!(next.write(&files, None), Ok(next.meta.clone()));
    drop(files);
    let files = open(vfs);
    let parts = vfs.image().into_keys().filter(|name| name.len() == 42 && name.ends_with(".part")).count();
    assert_eq!(parts, 0, "half-received ones pile up");
    if before.is_ok() {
        assert_eq!(files.latest(), Ok(Some(next.meta.clone())));
        read(&files, next, 10_000, true);
    } else if files.latest() != before {
        // It has replaced what was damaged.
        assert_eq!(files.latest(), Ok(Some(next.meta.clone())));
    }
}

/// Each folder as it is, and each kind of edit.
fn seeds() -> Vec<Vec<u8>> {
    let whole = (0..8).map(|base| vec![base, 0, 1]);
    let edits = (0..12).flat_map(|what| {
        [0, 1, 2, 3].into_iter().flat_map(move |file| {
            (1..8).map(move |base| vec![base, 7, 40, what, file, 5, what, 3, 1, 0xe0, 7, 9, 200, 1])
        })
    });
    // A bit or a sector of each part of each file.
    let small = (1..8).flat_map(|base| {
        let files = (0..2).flat_map(move |file| (0..12).map(move |place| (file, place)));
        files.flat_map(move |(file, place)| {
            [0, 2, 3].map(move |what| vec![base, 9, 30, what, file, place, 20, 3])
        })
    });
    whole.chain(edits).chain(small).collect()
}
