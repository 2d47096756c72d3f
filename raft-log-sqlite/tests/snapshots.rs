//! The snapshot contract, clause by clause, on databases of the real file system; and what kills, damage and
//! other misfortune leave.
//!
//! A crash is the folder as it was before the store was dropped: what SQLite syncs, and when, is not seen. A failing sync is injected at COMMIT and at
//! the sync of a finished database; a full disk is SQLite's own answer to `max_page_count`.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use bytes::Bytes;
use raft_core::backend::{SnapshotContent, SnapshotError, SnapshotId, SnapshotMeta, SnapshotStore};
use raft_core::ids::{LogId, NodeId};
use raft_core::membership::{Member, Membership};
use raft_log_sqlite::{Faults, SqliteSnapshots};
use raft_testkit::conformance::Unsupported;
use raft_testkit::conformance::snapshot::SnapshotBackend;

#[global_allocator]
static ALLOCATOR: cap::Cap<std::alloc::System> = cap::Cap::new(std::alloc::System, usize::MAX);

/// A folder with failures to order.
struct Place {
    folder: tempfile::TempDir,
    faults: Arc<Faults>,
}

type Image = Vec<(PathBuf, Vec<u8>)>;

impl Place {
    fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        Self { folder: folder.unwrap(), faults: Arc::default() }
    }

    fn dir(&self) -> PathBuf {
        self.folder.path().join("snapshots")
    }

    fn files(&self) -> Vec<PathBuf> {
        let all = fs::read_dir(self.dir()).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<PathBuf> = all.filter(|path| !path.ends_with("LOCK")).collect();
        files.sort();
        files
    }

    fn names(&self) -> Vec<String> {
        let name = |path: PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
        self.files().into_iter().map(name).collect()
    }

    /// Two readings in a row that agree are those of any moment between them.
    fn image(&self) -> Image {
        let mut before = None;
        loop {
            let read = |path: PathBuf| Some((path.clone(), fs::read(path).ok()?));
            let now: Image = self.files().into_iter().filter_map(read).collect();
            if before.as_ref() == Some(&now) {
                return now;
            }
            before = Some(now);
        }
    }

    fn restore(&self, image: &Image) {
        for path in self.files() {
            fs::remove_file(path).unwrap();
        }
        for (path, bytes) in image {
            fs::write(path, bytes).unwrap();
        }
    }

    async fn open(&self) -> Result<SqliteSnapshots, SnapshotError> {
        SqliteSnapshots::open_with(&self.dir(), Arc::clone(&self.faults)).await
    }
}

struct Sqlite;

#[async_trait]
impl SnapshotBackend for Sqlite {
    type Place = Place;

    fn place(&self) -> Place {
        Place::new()
    }

    async fn open(&self, place: &Place) -> Result<Box<dyn SnapshotStore>, SnapshotError> {
        Ok(Box::new(place.open().await?))
    }

    async fn crash(&self, place: &Place, store: Box<dyn SnapshotStore>) -> Result<(), Unsupported> {
        let image = place.image();
        drop(store);
        place.restore(&image);
        Ok(())
    }

    fn stored_bytes(&self, place: &Place) -> Result<u64, Unsupported> {
        Ok(place.files().iter().map(|path| path.metadata().unwrap().len()).sum())
    }

    fn flip_bit(&self, place: &Place, mut at: u64, bit: u8) -> Result<(), Unsupported> {
        for path in place.files() {
            let mut bytes = fs::read(&path).unwrap();
            if let Some(byte) = bytes.get_mut(at as usize) {
                *byte ^= 1 << bit;
                fs::write(&path, bytes).unwrap();
                break;
            }
            at -= bytes.len() as u64;
        }
        Ok(())
    }

    fn fail_next_sync(&self, place: &Place) -> Result<(), Unsupported> {
        place.faults.next_sync.store(true, Ordering::SeqCst);
        Ok(())
    }

    fn set_full(&self, place: &Place, full: bool) -> Result<(), Unsupported> {
        place.faults.full.store(full, Ordering::SeqCst);
        Ok(())
    }

    fn peak_bytes(&self) -> Result<u64, Unsupported> {
        Ok(ALLOCATOR.max_allocated() as u64)
    }
}

/// Why a clause about crashes says less here than elsewhere.
const PROCESS_ONLY: &str =
    "process crash only: SQLite's own syncs are not seen, its settings are (docs/journal-sqlite.md, Limits)";

raft_testkit::snapshot_conformance! {
    backend: Sqlite,
    skip: {},
    partly: {
        s01_finished_survives_a_crash => PROCESS_ONLY,
        s02_crash_in_the_middle_serves_nothing => PROCESS_ONLY,
        s04_old_one_outlives_a_crash_of_the_new => PROCESS_ONLY,
    },
}

/// A snapshot by its number; nothing in it is twice.
fn sample(number: u64, bytes: usize) -> (SnapshotMeta, Bytes) {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let data: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    })
    .take(bytes)
    .collect();
    let content = SnapshotContent { total_bytes: bytes as u64, checksum: crc32c::crc32c(&data) };
    let members = (1..=3).map(|id| Member::new(NodeId(id), format!("host-{id}:{number}")));
    let (id, upto) = (SnapshotId(number.into()), LogId::new(number, number * 10));
    (SnapshotMeta::new(id, upto, Membership::of_voters(members).unwrap(), content), data.into())
}

async fn store(store: &dyn SnapshotStore, number: u64, bytes: usize) -> Result<(), SnapshotError> {
    let (meta, data) = sample(number, bytes);
    let mut writer = store.create(meta.id, meta.upto, meta.membership).await?;
    let from = writer.received_bytes() as usize;
    writer.write(data.slice(from..)).await?;
    writer.finish(Some(meta.content)).await?;
    Ok(())
}

/// Which snapshot is there, whole; 0 for none.
async fn found(store: &dyn SnapshotStore, bytes: usize) -> Result<u64, SnapshotError> {
    let Some(meta) = store.latest().await? else { return Ok(0) };
    let number = meta.upto.term.0;
    let (right, data) = sample(number, bytes);
    assert_eq!(meta, right);
    let mut reader = store.open(meta.id).await?;
    let mut read = Vec::new();
    loop {
        let piece = reader.read(read.len() as u64, 1 << 20).await?;
        if piece.is_empty() {
            break;
        }
        read.extend_from_slice(&piece);
    }
    assert!(data == read, "the bytes of snapshot {number}");
    Ok(number)
}

/// Tells the child where to write.
const DIR: &str = "RAFT_LOG_SQLITE_SNAPSHOTS_DIR";

/// Larger than a transaction, so that a kill finds some of it committed.
const LARGE: usize = (6 << 20) + 12_345;

/// Not a test of its own: stores snapshots until it is killed, and says which are durable.
#[tokio::test]
async fn child() {
    let Some(dir) = std::env::var_os(DIR).map(PathBuf::from) else { return };
    let files = SqliteSnapshots::open(&dir).await.unwrap();
    let mut number = found(&files, LARGE).await.unwrap();
    loop {
        number += 1;
        let (meta, data) = sample(number, LARGE);
        let mut writer = files.create(meta.id, meta.upto, meta.membership).await.unwrap();
        println!("from {}", writer.received_bytes());
        let mut at = writer.received_bytes() as usize;
        while at < data.len() {
            let end = data.len().min(at + 50_000);
            writer.write(data.slice(at..end)).await.unwrap();
            at = end;
            println!("wrote {at}");
        }
        writer.finish(Some(meta.content)).await.unwrap();
        println!("durable {number}");
        std::io::stdout().flush().unwrap();
    }
}

/// Killed anywhere: the last that was finished is there, whole, or the one after it; what was half-received
/// is gone on with.
#[tokio::test]
async fn a_killed_process_leaves_the_old_or_the_new() {
    let place = Place::new();
    let (mut finished, mut resumed) = (0, 0);
    for round in 0..14_usize {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--nocapture"])
            .env(DIR, place.dir())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut read = |line: String| {
            if let Some((_, number)) = line.rsplit_once("durable ") {
                finished = number.parse().unwrap();
            }
            resumed += usize::from(line.rsplit_once("from ").is_some_and(|(_, from)| from != "0"));
        };
        // A snapshot is about 130 lines.
        for _ in 0..(30 + round * 23) {
            read(lines.next().unwrap().unwrap());
        }
        child.kill().unwrap();
        lines.map_while(Result::ok).for_each(&mut read);
        child.wait().unwrap();
        let files = place.open().await.unwrap();
        let there = found(&files, LARGE).await.unwrap();
        assert!(there == finished || there == finished + 1, "{there} after {finished} in round {round}");
        assert!(place.names().iter().filter(|name| name.ends_with(".db")).count() <= 2);
        finished = there;
    }
    assert!(finished >= 8, "{finished} were finished");
    assert!(resumed >= 1, "none was gone on with");
}

#[tokio::test]
async fn the_second_opener_is_locked_out() {
    let place = Place::new();
    let files = place.open().await.unwrap();
    assert!(matches!(place.open().await, Err(SnapshotError::Locked)));
    drop(files);
    place.open().await.unwrap();
}

/// A lock that outlives the store in a reader or a writer goes with the last of them.
#[tokio::test]
async fn readers_and_writers_keep_the_folder() {
    let place = Place::new();
    let files = place.open().await.unwrap();
    store(&files, 1, 100_000).await.unwrap();
    let mut reader = files.open(SnapshotId(1)).await.unwrap();
    let (meta, data) = sample(2, 100_000);
    let mut writer = files.create(meta.id, meta.upto, meta.membership).await.unwrap();
    drop(files);
    assert!(matches!(place.open().await, Err(SnapshotError::Locked)));
    assert!(!reader.read(0, 10).await.unwrap().is_empty());
    drop(reader);
    writer.write(data).await.unwrap();
    writer.finish(None).await.unwrap();
    assert_eq!(found(&place.open().await.unwrap(), 100_000).await, Ok(2));
}

/// A dropped future leaves its writer of no use; created again, the snapshot comes out right. What nobody
/// waits for any more is dropped by the store's own thread, which must not wait for itself.
#[tokio::test]
async fn a_call_that_is_given_up_ends_its_writer() {
    for round in 0..40 {
        let place = Place::new();
        let files = place.open().await.unwrap();
        let (meta, data) = sample(1, 300_000);
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        if round % 2 == 0 {
            let mut create = files.create(meta.id, meta.upto, meta.membership.clone());
            let _ = create.as_mut().poll(&mut context);
            drop(create);
            drop(files);
        } else {
            let mut writer = files.create(meta.id, meta.upto, meta.membership.clone()).await.unwrap();
            {
                let mut write = std::pin::pin!(writer.write(data.clone()));
                if write.as_mut().poll(&mut context).is_ready() {
                    continue;
                }
            }
            assert!(matches!(writer.write(data).await, Err(SnapshotError::Io { .. })));
            drop((writer, files));
        }
        // The thread may still be at it.
        let files = loop {
            match place.open().await {
                Err(SnapshotError::Locked) => tokio::task::yield_now().await,
                opened => break opened.unwrap(),
            }
        };
        store(&files, 1, 300_000).await.unwrap();
        assert_eq!(found(&files, 300_000).await, Ok(1));
    }
}

/// The same snapshot created twice: the second goes on, the first takes nothing more.
#[tokio::test]
async fn the_newest_writer_of_a_snapshot_counts() {
    let place = Place::new();
    let files = place.open().await.unwrap();
    let (meta, data) = sample(1, 300_000);
    let mut first = files.create(meta.id, meta.upto, meta.membership.clone()).await.unwrap();
    first.write(data.slice(..200_000)).await.unwrap();
    let mut second = files.create(meta.id, meta.upto, meta.membership.clone()).await.unwrap();
    assert_eq!(second.received_bytes(), 3 * 65_536);
    assert_eq!(first.write(data.slice(200_000..)).await, Err(SnapshotError::NotFound));
    drop(first);
    second.write(data.slice(3 * 65_536..)).await.unwrap();
    second.finish(Some(meta.content)).await.unwrap();
    assert_eq!(found(&files, 300_000).await, Ok(1));
    assert_eq!(place.names(), ["snap-000000000000000a-0000000000000001.db"]);
}

/// Whatever a complete database is cut to, or has in place of some of its bytes: it is damaged by name, or
/// what it was; and a new one can be made.
#[tokio::test]
async fn a_database_that_was_cut_or_overwritten_is_named() {
    let place = Place::new();
    store(&place.open().await.unwrap(), 1, 150_000).await.unwrap();
    let image = place.image();
    let [(path, whole)] = &image[..] else { panic!("{:?}", place.names()) };
    let (mut named, mut state) = (0, 8_u64);
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    for turn in 0..300 {
        let mut bytes = whole.clone();
        let at = random(whole.len());
        match turn % 5 {
            0 => bytes.truncate(at),
            // The header of the database, and of its first pages.
            1 => bytes[random(100)] = random(256) as u8,
            2 => {
                let page = random(whole.len() / 4096) * 4096;
                let at = page + random(8);
                bytes[at] = random(256) as u8;
            }
            // A page of another place of the same file.
            3 => {
                let (from, to) = (random(whole.len() / 4096) * 4096, random(whole.len() / 4096) * 4096);
                bytes.copy_within(from..from + 4096, to);
            }
            _ => {
                let end = bytes.len().min(at + 1 + random(2000));
                bytes[at..end].iter_mut().for_each(|byte| *byte = random(256) as u8);
            }
        }
        place.restore(&vec![(path.clone(), bytes)]);
        let files = place.open().await.unwrap();
        match found(&files, 150_000).await {
            // Not every byte of a database says something.
            Ok(number) => assert_eq!(number, 1, "turn {turn}"),
            Err(SnapshotError::Corrupt(_)) => named += 1,
            Err(other) => panic!("{other:?} in turn {turn}"),
        }
        store(&files, 2, 20_000).await.unwrap();
        assert_eq!(found(&files, 20_000).await, Ok(2));
        drop(files);
        place.restore(&image);
    }
    assert!(named > 180, "{named}");
}

/// Half-received bytes that are not what was written are not gone on with.
#[tokio::test]
async fn a_damaged_half_received_one_goes_on_before_the_damage_or_anew() {
    let place = Place::new();
    let (meta, data) = sample(1, 600_000);
    let create = async |files: &SqliteSnapshots| {
        files.create(meta.id, meta.upto, meta.membership.clone()).await.unwrap()
    };
    let files = place.open().await.unwrap();
    let mut writer = create(&files).await;
    writer.write(data.slice(..500_000)).await.unwrap();
    drop((writer, files));
    let image = place.image();
    let (path, whole) = image.iter().find(|(path, _)| path.extension().unwrap() == "part").unwrap();
    let (mut cut, mut state) = (0, 3_u64);
    for _ in 0..150 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mut bytes = whole.clone();
        let at = (state >> 20) as usize % bytes.len();
        bytes[at] ^= 1 << (state >> 61);
        place.restore(&vec![(path.clone(), bytes)]);
        let files = place.open().await.unwrap();
        let writer = create(&files).await;
        let from = writer.received_bytes();
        assert!(from <= 7 * 65_536, "{from}");
        cut += usize::from(from < 7 * 65_536);
        drop(writer);
        store(&files, 1, 600_000).await.unwrap();
        assert_eq!(found(&files, 600_000).await, Ok(1));
        drop(files);
    }
    assert!(cut > 100, "{cut}");
}
