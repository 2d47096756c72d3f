//! S1: complete and synced, or not there.

use raft_core::backend::{SnapshotContent, SnapshotError};

use super::super::{ClauseFailure, ensure, fail, ok};
use super::SnapshotBackend;
use super::pieces::{Sample, is_absent, is_not_served, open};

pub(super) async fn s01_complete_one_comes_back<B: SnapshotBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    for bytes in [0, 1, 65_536, 1_000_000] {
        let place = backend.place();
        let sample = Sample::new(1 + bytes as u64, 90, bytes)?;
        let store = open(backend, &place).await?;
        is_absent(&*store, sample.meta.id).await?;
        sample.store(&*store).await?;
        sample.is_latest(&*store).await?;
        drop(store);
        sample.is_latest(&*open(backend, &place).await?).await?;
    }
    // One's own, of which nothing was announced.
    let (place, sample) = (backend.place(), Sample::new(7, 5, 3000)?);
    let store = open(backend, &place).await?;
    let created = store.create(sample.meta.id, sample.meta.upto, sample.meta.membership.clone()).await;
    let mut writer = ok("creating", created)?;
    ok("writing", writer.write(sample.data.clone()).await)?;
    ok("finishing", writer.finish(None).await)?;
    sample.is_latest(&*store).await
}

pub(super) async fn s01_unfinished_is_invisible<B: SnapshotBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    let (place, sample) = (backend.place(), Sample::new(1, 90, 300_000)?);
    let store = open(backend, &place).await?;
    let created = store.create(sample.meta.id, sample.meta.upto, sample.meta.membership.clone()).await;
    let mut writer = ok("creating", created)?;
    is_absent(&*store, sample.meta.id).await?;
    ok("writing all of it", writer.write(sample.data.clone()).await)?;
    is_absent(&*store, sample.meta.id).await?;
    drop(writer);
    is_absent(&*store, sample.meta.id).await?;
    drop(store);
    is_absent(&*open(backend, &place).await?, sample.meta.id).await
}

pub(super) async fn s01_finished_survives_a_crash<B: SnapshotBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    let place = backend.place();
    for (number, index) in [(1, 10), (2, 20), (3, 30)] {
        let store = open(backend, &place).await?;
        let sample = Sample::new(number, index, 200_000)?;
        sample.store(&*store).await?;
        backend.crash(&place, store).await?;
        sample.is_latest(&*open(backend, &place).await?).await?;
    }
    Ok(())
}

pub(super) async fn s01_unexpected_content_is_refused<B: SnapshotBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    let place = backend.place();
    let sample = Sample::new(1, 90, 150_000)?;
    let SnapshotContent { total_bytes, checksum } = sample.meta.content;
    let wrong = [
        SnapshotContent { total_bytes, checksum: checksum ^ 1 },
        SnapshotContent { total_bytes: total_bytes + 1, checksum },
        SnapshotContent { total_bytes: total_bytes - 1, checksum },
    ];
    for expected in wrong {
        let store = open(backend, &place).await?;
        let created = store.create(sample.meta.id, sample.meta.upto, sample.meta.membership.clone()).await;
        let mut writer = ok("creating", created)?;
        ensure(writer.received_bytes() == 0, "nothing kept of what was refused", writer.received_bytes())?;
        ok("writing", writer.write(sample.data.clone()).await)?;
        let finished = writer.finish(Some(expected)).await;
        ensure(matches!(finished, Err(SnapshotError::Corrupt(_))), "Corrupt", finished)?;
        is_absent(&*store, sample.meta.id).await?;
        drop(store);
        is_absent(&*open(backend, &place).await?, sample.meta.id).await?;
    }
    let store = open(backend, &place).await?;
    sample.store(&*store).await?;
    sample.is_latest(&*store).await
}

pub(super) async fn s01_failed_sync_is_not_finished<B: SnapshotBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    let place = backend.place();
    let (old, new) = (Sample::new(1, 10, 100_000)?, Sample::new(2, 20, 150_000)?);
    let store = open(backend, &place).await?;
    old.store(&*store).await?;
    let created = store.create(new.meta.id, new.meta.upto, new.meta.membership.clone()).await;
    let mut writer = ok("creating", created)?;
    ok("writing", writer.write(new.data.slice(..100_000)).await)?;
    backend.fail_next_sync(&place)?;
    // It may come to the surface now or later.
    let finished = match writer.write(new.data.slice(100_000..)).await {
        Ok(()) => writer.finish(None).await,
        Err(error) => Err(error),
    };
    if let Ok(finished) = finished {
        return Err(fail("an error", format!("finished: {finished:?}")));
    }
    old.is_latest(&*store).await?;
    is_not_served(&*store, new.meta.id).await?;
    // A backend that cannot crash has closed it.
    let _ = backend.crash(&place, store).await;
    let store = open(backend, &place).await?;
    old.is_latest(&*store).await?;
    new.store(&*store).await?;
    new.is_latest(&*store).await
}
