//! S4: the old one and the new one.

use raft_core::backend::SnapshotError;

use super::super::{ClauseFailure, ensure, ok};
use super::SnapshotBackend;
use super::pieces::{Sample, is_not_served, open, read_all};

pub(super) async fn s04_newer_one_replaces<B: SnapshotBackend>(backend: &B) -> Result<(), ClauseFailure> {
    let place = backend.place();
    let samples = [Sample::new(1, 10, 50_000)?, Sample::new(2, 20, 0)?, Sample::new(3, 30, 90_000)?];
    let store = open(backend, &place).await?;
    for sample in &samples {
        sample.store(&*store).await?;
        sample.is_latest(&*store).await?;
    }
    let [.., last] = &samples;
    let late = Sample::new(0, 15, 20_000)?;
    // Whether it is kept or not is the store's own affair.
    let _ = late.try_store(&*store).await;
    last.is_latest(&*store).await?;
    drop(store);
    let store = open(backend, &place).await?;
    last.is_latest(&*store).await?;
    // The same place in the log once more, under another name.
    let mut again = Sample::new(3, 30, 120_000)?;
    again.meta.id.0 += 1;
    again.store(&*store).await?;
    let latest = ok("the latest", store.latest().await)?;
    let right = latest.as_ref().is_some_and(|meta| *meta == again.meta || *meta == last.meta);
    ensure(right, "one of the two that cover most", latest)
}

pub(super) async fn s04_old_one_is_there_until_the_new_is<B: SnapshotBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    let place = backend.place();
    let (old, new) = (Sample::new(1, 10, 250_000)?, Sample::new(2, 20, 400_000)?);
    let store = open(backend, &place).await?;
    old.store(&*store).await?;
    let created = store.create(new.meta.id, new.meta.upto, new.meta.membership.clone()).await;
    let mut writer = ok("creating", created)?;
    old.is_latest(&*store).await?;
    ok("writing", writer.write(new.data.clone()).await)?;
    old.is_latest(&*store).await?;
    is_not_served(&*store, new.meta.id).await?;
    // Somebody is reading it when it is replaced.
    let mut reader = ok("opening for reading", store.open(old.meta.id).await)?;
    ok("finishing", writer.finish(Some(new.meta.content)).await)?;
    new.is_latest(&*store).await?;
    let mut read = Vec::new();
    loop {
        match reader.read(read.len() as u64, 30_000).await {
            Ok(piece) if piece.is_empty() => break old.is_data(&read)?,
            Ok(piece) => read.extend_from_slice(&piece),
            Err(SnapshotError::NotFound) => break,
            Err(other) => ensure(false, "the old bytes, or NotFound", other)?,
        }
    }
    match read_all(&*store, old.meta.id).await {
        Ok(data) => old.is_data(&data),
        Err(SnapshotError::NotFound) => Ok(()),
        Err(other) => ensure(false, "the old bytes, or NotFound", other),
    }
}

pub(super) async fn s04_old_one_outlives_a_crash_of_the_new<B: SnapshotBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    let place = backend.place();
    let (old, new) = (Sample::new(1, 10, 250_000)?, Sample::new(2, 20, 400_000)?);
    let store = open(backend, &place).await?;
    old.store(&*store).await?;
    let mut store = store;
    for part in [0, 1, 200_000, 400_000] {
        new.half(&*store, part).await?;
        backend.crash(&place, store).await?;
        store = open(backend, &place).await?;
        old.is_latest(&*store).await?;
    }
    new.store(&*store).await?;
    new.is_latest(&*store).await
}

pub(super) async fn s04_no_space_keeps_the_old<B: SnapshotBackend>(backend: &B) -> Result<(), ClauseFailure> {
    let place = backend.place();
    let (old, new) = (Sample::new(1, 10, 250_000)?, Sample::new(2, 20, 400_000)?);
    let store = open(backend, &place).await?;
    old.store(&*store).await?;
    backend.set_full(&place, true)?;
    let stored = new.try_store(&*store).await;
    ensure(matches!(stored, Err(SnapshotError::NoSpace)), "NoSpace", stored)?;
    old.is_latest(&*store).await?;
    is_not_served(&*store, new.meta.id).await?;
    drop(store);
    // A full disk does not keep a store from being read.
    let store = open(backend, &place).await?;
    old.is_latest(&*store).await?;
    drop(store);
    backend.set_full(&place, false)?;
    let store = open(backend, &place).await?;
    new.store(&*store).await?;
    new.is_latest(&*store).await
}
