//! S5: stored bytes that changed.

use raft_core::backend::SnapshotError;

use super::super::{ClauseFailure, Random, ensure, fail};
use super::SnapshotBackend;
use super::pieces::{Sample, open, read_all};

/// At most so many flips; in a store with more bytes they are drawn.
const FLIPS: u64 = 400;

/// Whether damage is named; otherwise everything must be there.
async fn look<B: SnapshotBackend>(
    backend: &B,
    place: &B::Place,
    sample: &Sample,
) -> Result<bool, ClauseFailure> {
    let store = match backend.open(place).await {
        Ok(store) => store,
        Err(SnapshotError::Corrupt(_)) => return Ok(true),
        Err(other) => return Err(fail("Corrupt", format!("opening the store: {other:?}"))),
    };
    match store.latest().await {
        Err(SnapshotError::Corrupt(_)) => return Ok(true),
        Ok(Some(meta)) if meta == sample.meta => {}
        other => return Err(fail("Corrupt, or what was written", format!("the latest: {other:?}"))),
    }
    match read_all(&*store, sample.meta.id).await {
        Err(SnapshotError::Corrupt(_)) => Ok(true),
        Ok(data) => sample.is_data(&data).map(|()| false),
        Err(other) => Err(fail("Corrupt, or what was written", format!("reading: {other:?}"))),
    }
}

pub(super) async fn s05_flipped_bits_are_detected<B: SnapshotBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    let (place, sample) = (backend.place(), Sample::new(1, 90, 150_000)?);
    let store = open(backend, &place).await?;
    sample.store(&*store).await?;
    drop(store);
    let bytes = backend.stored_bytes(&place)?;
    ensure(bytes >= sample.data.len() as u64, "stored bytes that can be flipped", bytes)?;
    let mut random = Random::new(5);
    let mut noticed = 0_u64;
    let ends = (0..120).chain(bytes.saturating_sub(120)..bytes);
    let flips: Vec<u64> = ends.chain((0..FLIPS).map(|_| random.below(bytes))).collect();
    for at in &flips {
        let bit = random.below(8) as u8;
        backend.flip_bit(&place, *at, bit)?;
        noticed += u64::from(look(backend, &place, &sample).await.map_err(|failure| ClauseFailure {
            seen: format!("bit {bit} of byte {at} of {bytes} flipped: {}", failure.seen),
            ..failure
        })?);
        backend.flip_bit(&place, *at, bit)?;
    }
    // Nearly all that is stored is the snapshot itself.
    let some = flips.len() as u64 / 2;
    ensure(noticed >= some, format!("damage in at least {some} of {} places", flips.len()), noticed)?;
    let store = open(backend, &place).await?;
    sample.is_latest(&*store).await
}
