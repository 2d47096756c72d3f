//! S2: half-received snapshots.

use raft_core::ids::LogId;

use super::super::{ClauseFailure, ensure, equal, ok};
use super::SnapshotBackend;
use super::pieces::{Sample, is_absent, open};

pub(super) async fn s02_half_received_is_removed_or_resumed<B: SnapshotBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    for part in [1, 65_536, 333_333] {
        let (place, sample) = (backend.place(), Sample::new(part as u64, 90, 600_000)?);
        let store = open(backend, &place).await?;
        let had = sample.half(&*store, part).await?;
        equal("the bytes that the writer has taken", &had, &(part as u64))?;
        // In the same opening, then in the next one.
        let again = sample.half(&*store, 0).await?;
        ensure(again <= had, format!("at most {had} bytes to go on from"), again)?;
        drop(store);
        let store = open(backend, &place).await?;
        is_absent(&*store, sample.meta.id).await?;
        let again = sample.half(&*store, 0).await?;
        ensure(again <= had, format!("at most {had} bytes to go on from"), again)?;
        is_absent(&*store, sample.meta.id).await?;
        sample.store(&*store).await?;
        sample.is_latest(&*store).await?;
    }
    Ok(())
}

pub(super) async fn s02_crash_in_the_middle_serves_nothing<B: SnapshotBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    let (place, sample) = (backend.place(), Sample::new(1, 90, 800_000)?);
    for part in [1, 100_000, 400_000, 800_000] {
        let store = open(backend, &place).await?;
        let had = sample.half(&*store, part).await?;
        backend.crash(&place, store).await?;
        let store = open(backend, &place).await?;
        is_absent(&*store, sample.meta.id).await?;
        let again = sample.half(&*store, 0).await?;
        ensure(again <= had, format!("at most {had} bytes to go on from"), again)?;
    }
    let store = open(backend, &place).await?;
    sample.store(&*store).await?;
    sample.is_latest(&*store).await
}

pub(super) async fn s02_half_received_does_not_pile_up<B: SnapshotBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    const PART: usize = 500_000;
    let place = backend.place();
    for number in 1..=20 {
        let store = open(backend, &place).await?;
        Sample::new(number, 90, 600_000)?.half(&*store, PART).await?;
    }
    let store = open(backend, &place).await?;
    let last = Sample::new(30, 95, 1000)?;
    last.store(&*store).await?;
    drop(store);
    drop(open(backend, &place).await?);
    let stored = backend.stored_bytes(&place)?;
    let limit = 5 * PART as u64;
    ensure(stored < limit, format!("less than {limit} bytes, of 20 times {PART} half-received ones"), stored)
}

pub(super) async fn s02_same_name_of_another_place_begins_anew<B: SnapshotBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    let (place, sample) = (backend.place(), Sample::new(1, 90, 300_000)?);
    let mut moved = sample.clone();
    moved.meta.upto = LogId::new(9, 91);
    let mut elsewhere = sample.clone();
    elsewhere.meta.membership = Sample::new(5, 90, 0)?.meta.membership;
    for other in [moved, elsewhere] {
        let store = open(backend, &place).await?;
        sample.half(&*store, 200_000).await?;
        drop(store);
        let store = open(backend, &place).await?;
        let created = store.create(other.meta.id, other.meta.upto, other.meta.membership.clone()).await;
        let writer = ok("creating", created)?;
        equal("bytes of another snapshot", &writer.received_bytes(), &0)?;
    }
    Ok(())
}

pub(super) async fn s02_two_are_written_side_by_side<B: SnapshotBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    let (place, own, received) =
        (backend.place(), Sample::new(1, 90, 300_000)?, Sample::new(2, 95, 400_000)?);
    let store = open(backend, &place).await?;
    let mut writers = Vec::new();
    for sample in [&own, &received] {
        let created = store.create(sample.meta.id, sample.meta.upto, sample.meta.membership.clone()).await;
        writers.push((sample, ok("creating a snapshot beside another", created)?));
    }
    for (from, to) in [(0, 70_000), (70_000, 290_000)] {
        for (sample, writer) in &mut writers {
            ok("writing by turns", writer.write(sample.data.slice(from..to)).await)?;
        }
    }
    for (sample, mut writer) in writers {
        ok("writing the rest", writer.write(sample.data.slice(290_000..)).await)?;
        ok("finishing", writer.finish(Some(sample.meta.content)).await)?;
        sample.is_latest(&*store).await?;
    }
    Ok(())
}
