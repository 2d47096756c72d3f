//! The snapshot suite on the store in memory; and broken stores, which it must catch by name.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use raft_core::backend::{SnapshotContent, SnapshotId, SnapshotMeta, SnapshotReader, SnapshotWriter};
use raft_core::ids::LogId;
use raft_core::membership::Membership;
use raft_testkit::conformance::report_mutant;
use raft_testkit::conformance::snapshot::{CLAUSES, run};

// `Mine`, the store in memory as the suite's documentation shows it, with what it imports.
include!("../src/conformance/snapshot/example.rs");

mod reference {
    use super::Mine;

    raft_testkit::snapshot_conformance! {
        backend: Mine,
        skip: { s03_memory_stays_bounded => "this store is the memory" },
    }
}

/// What is wrong with a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mutant {
    /// What is being written is the latest already.
    ShowsWhatIsBeingWritten,
    /// What was announced is not compared.
    TakesAnything,
    /// Finish returns before anything is synced.
    FinishesBeforeTheSync,
    /// An error of the sync is no error.
    SwallowsSyncErrors,
    /// What was half-received before a restart is served after it.
    ServesHalfReceived,
    /// What is half-received is said to be one byte longer than it is.
    ResumesTooFar,
    /// A name is enough to go on with what is half-received.
    ResumesAnything,
    /// Reading gives more than what was asked for.
    ReadsMoreThanAsked,
    /// The old one makes room before the new one is there.
    DropsTheOldFirst,
    /// The last that was finished is the latest.
    GoesBack,
    /// No space is an I/O error.
    CallsFullAnIoError,
    /// Checksums are written and not compared.
    DoesNotCompareChecksums,
    /// A damaged one is as if there were none.
    DamagedIsAbsent,
}

/// Which clause must catch it, and in which words: it may fail for another reason, or hang.
const TABLE: &[(Mutant, &str, &str)] = &[
    (Mutant::ShowsWhatIsBeingWritten, "s01_unfinished_is_invisible", "the latest snapshot"),
    (Mutant::TakesAnything, "s01_unexpected_content_is_refused", "expected: Corrupt; seen: Ok("),
    (Mutant::FinishesBeforeTheSync, "s01_finished_survives_a_crash", "the latest snapshot"),
    (Mutant::SwallowsSyncErrors, "s01_failed_sync_is_not_finished", "expected: an error; seen: finished"),
    (Mutant::ServesHalfReceived, "s02_crash_in_the_middle_serves_nothing", "the latest snapshot"),
    (Mutant::ResumesTooFar, "s02_half_received_is_removed_or_resumed", "the bytes that the writer has taken"),
    (Mutant::ResumesAnything, "s02_same_name_of_another_place_begins_anew", "bytes of another snapshot"),
    (Mutant::ReadsMoreThanAsked, "s03_pieces_of_any_size_come_back", "bytes from offset"),
    (Mutant::DropsTheOldFirst, "s04_old_one_is_there_until_the_new_is", "the latest snapshot: Some("),
    (Mutant::DropsTheOldFirst, "s04_old_one_outlives_a_crash_of_the_new", "the latest snapshot: Some("),
    (Mutant::GoesBack, "s04_newer_one_replaces", "the latest snapshot"),
    (Mutant::CallsFullAnIoError, "s04_no_space_keeps_the_old", "expected: NoSpace; seen: Err(Io"),
    (Mutant::DoesNotCompareChecksums, "s05_flipped_bits_are_detected", "the latest: Ok(Some("),
    (Mutant::DamagedIsAbsent, "s05_flipped_bits_are_detected", "the latest: Ok(None)"),
];

struct Broken(Option<Mutant>);

/// A disk, and what a crash may make of it.
#[derive(Default)]
struct Place {
    disk: MemorySnapshotDisk,
    aside: Arc<Mutex<Aside>>,
}

/// What a broken store keeps beside its disk.
#[derive(Default)]
struct Aside {
    /// The disk as it was before the last snapshot was finished.
    before: Option<MemorySnapshotDisk>,
    /// A half-received one that is served.
    served: Option<(SnapshotMeta, Bytes)>,
    fail_next_sync: bool,
}

struct BrokenStore {
    mutant: Option<Mutant>,
    disk: MemorySnapshotDisk,
    aside: Arc<Mutex<Aside>>,
}

struct BrokenWriter {
    mutant: Option<Mutant>,
    inner: Box<dyn SnapshotWriter>,
    disk: MemorySnapshotDisk,
    aside: Arc<Mutex<Aside>>,
}

struct BrokenReader {
    mutant: Option<Mutant>,
    inner: Box<dyn SnapshotReader>,
}

struct Served(SnapshotMeta, Bytes);

#[async_trait]
impl SnapshotBackend for Broken {
    type Place = Place;

    fn place(&self) -> Place {
        Place::default()
    }

    async fn open(&self, place: &Place) -> Result<Box<dyn SnapshotStore>, SnapshotError> {
        let (disk, aside) = (place.disk.clone(), Arc::clone(&place.aside));
        Ok(Box::new(BrokenStore { mutant: self.0, disk, aside }))
    }

    async fn crash(&self, place: &Place, _: Box<dyn SnapshotStore>) -> Result<(), Unsupported> {
        let mut aside = place.aside.lock().unwrap();
        if self.0 == Some(Mutant::ServesHalfReceived) {
            aside.served = place.disk.half_received(None);
        }
        place.disk.crash();
        if let Some(before) = aside.before.take() {
            place.disk.become_like(&before);
        }
        Ok(())
    }

    fn stored_bytes(&self, place: &Place) -> Result<u64, Unsupported> {
        Ok(place.disk.stored_bytes())
    }

    fn flip_bit(&self, place: &Place, at: u64, bit: u8) -> Result<(), Unsupported> {
        place.disk.flip_bit(at, bit);
        if self.0 == Some(Mutant::DoesNotCompareChecksums) {
            place.disk.forge_checksum();
        }
        Ok(())
    }

    fn fail_next_sync(&self, place: &Place) -> Result<(), Unsupported> {
        if self.0 == Some(Mutant::SwallowsSyncErrors) {
            place.aside.lock().unwrap().fail_next_sync = true;
        } else {
            place.disk.fail_next_sync();
        }
        Ok(())
    }

    fn set_full(&self, place: &Place, full: bool) -> Result<(), Unsupported> {
        place.disk.set_full(full);
        Ok(())
    }
}

impl BrokenStore {
    fn lies(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    fn inner(&self) -> MemorySnapshots {
        MemorySnapshots::open(&self.disk)
    }

    fn shown(&self) -> Option<(SnapshotMeta, Bytes)> {
        let shown = self.lies(Mutant::ShowsWhatIsBeingWritten).then(|| self.disk.half_received(None));
        shown.flatten().or_else(|| self.aside.lock().unwrap().served.clone())
    }
}

#[async_trait]
impl SnapshotStore for BrokenStore {
    async fn latest(&self) -> Result<Option<SnapshotMeta>, SnapshotError> {
        if let Some((meta, _)) = self.shown() {
            return Ok(Some(meta));
        }
        let latest = self.inner().latest().await?;
        if let Some(meta) = &latest
            && self.lies(Mutant::DamagedIsAbsent)
            && self.inner().open(meta.id).await.is_err()
        {
            return Ok(None);
        }
        Ok(latest)
    }

    async fn create(
        &self,
        id: SnapshotId,
        mut upto: LogId,
        mut membership: Membership,
    ) -> Result<Box<dyn SnapshotWriter>, SnapshotError> {
        if self.lies(Mutant::DropsTheOldFirst) {
            self.disk.drop_latest();
        }
        if let Some((meta, _)) = self.disk.half_received(Some(id))
            && self.lies(Mutant::ResumesAnything)
        {
            (upto, membership) = (meta.upto, meta.membership);
        }
        let inner = self.inner().create(id, upto, membership).await?;
        let (disk, aside) = (self.disk.clone(), Arc::clone(&self.aside));
        Ok(Box::new(BrokenWriter { mutant: self.mutant, inner, disk, aside }))
    }

    async fn open(&self, id: SnapshotId) -> Result<Box<dyn SnapshotReader>, SnapshotError> {
        if let Some((meta, data)) = self.shown().filter(|(meta, _)| meta.id == id) {
            return Ok(Box::new(Served(meta, data)));
        }
        let inner = self.inner().open(id).await?;
        Ok(Box::new(BrokenReader { mutant: self.mutant, inner }))
    }
}

impl BrokenWriter {
    fn lies(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }
}

#[async_trait]
impl SnapshotWriter for BrokenWriter {
    fn received_bytes(&self) -> u64 {
        let received = self.inner.received_bytes();
        let resumed = self.lies(Mutant::ResumesTooFar) && received > 0;
        received + u64::from(resumed)
    }

    async fn write(&mut self, piece: Bytes) -> Result<(), SnapshotError> {
        match self.inner.write(piece).await {
            Err(SnapshotError::NoSpace) if self.lies(Mutant::CallsFullAnIoError) => {
                Err(SnapshotError::Io { what: "write".into(), cause: "no space".into() })
            }
            other => other,
        }
    }

    async fn finish(
        self: Box<Self>,
        expected: Option<SnapshotContent>,
    ) -> Result<SnapshotMeta, SnapshotError> {
        let expected = expected.filter(|_| !self.lies(Mutant::TakesAnything));
        let before = self.disk.copy();
        {
            let mut aside = self.aside.lock().unwrap();
            let failed = std::mem::take(&mut aside.fail_next_sync);
            if failed || self.lies(Mutant::FinishesBeforeTheSync) {
                aside.before = Some(before);
            }
        }
        if self.lies(Mutant::GoesBack) {
            self.disk.drop_latest();
        }
        self.inner.finish(expected).await
    }
}

#[async_trait]
impl SnapshotReader for BrokenReader {
    fn meta(&self) -> &SnapshotMeta {
        self.inner.meta()
    }

    async fn read(&mut self, offset: u64, max_bytes: usize) -> Result<Bytes, SnapshotError> {
        let more = usize::from(self.mutant == Some(Mutant::ReadsMoreThanAsked));
        self.inner.read(offset, max_bytes + more).await
    }
}

#[async_trait]
impl SnapshotReader for Served {
    fn meta(&self) -> &SnapshotMeta {
        &self.0
    }

    async fn read(&mut self, offset: u64, max_bytes: usize) -> Result<Bytes, SnapshotError> {
        let start = usize::try_from(offset).unwrap().min(self.1.len());
        Ok(self.1.slice(start..self.1.len().min(start + max_bytes)))
    }
}

#[tokio::test]
async fn every_mutant_is_caught_by_its_clause() {
    let mut escaped = Vec::new();
    for (mutant, clause, words) in TABLE {
        let result = run(&Broken(Some(*mutant)), clause).await;
        if !report_mutant("snapshot", mutant, clause, words, &result) {
            escaped.push((mutant, clause, words, result.err()));
        }
    }
    assert!(escaped.is_empty(), "not caught: {escaped:#?}");
}

/// So that what the clauses catch are the mutants, not the wrapper around them.
#[tokio::test]
async fn the_wrapper_alone_breaks_nothing() {
    for clause in CLAUSES.iter().filter(|clause| clause.name != "s03_memory_stays_bounded") {
        let result = run(&Broken(None), clause.name).await;
        assert!(result.is_ok(), "{}", result.unwrap_err());
    }
}

#[test]
fn every_contract_number_has_a_clause_and_a_mutant() {
    let numbers: Vec<String> = CLAUSES.iter().map(raft_testkit::conformance::Clause::number).collect();
    for number in 1..=5 {
        assert!(numbers.contains(&format!("S{number}")), "no clause for S{number}");
        let prefix = format!("s{number:02}_");
        assert!(TABLE.iter().any(|(_, clause, _)| clause.starts_with(&prefix)), "no mutant for S{number}");
    }
    for clause in CLAUSES {
        assert!(clause.sentence.starts_with(&format!("{}:", clause.number())), "{}", clause.name);
    }
}
