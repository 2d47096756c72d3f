//! S3: pieces.

use bytes::Bytes;
use raft_core::backend::{SnapshotContent, SnapshotId, SnapshotStore};
use raft_core::ids::LogId;

use super::super::{ClauseFailure, Random, ensure, equal, fail, ok};
use super::SnapshotBackend;
use super::pieces::{Sample, open};

pub(super) async fn s03_pieces_of_any_size_come_back<B: SnapshotBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    let (place, sample) = (backend.place(), Sample::new(1, 90, 3_000_000)?);
    let store = open(backend, &place).await?;
    let created = store.create(sample.meta.id, sample.meta.upto, sample.meta.membership.clone()).await;
    let mut writer = ok("creating", created)?;
    let mut at = 0;
    for length in [0, 1, 4095, 65_536, 0, 65_535, 2, 1_500_000].into_iter().cycle() {
        let end = sample.data.len().min(at + length);
        ok("writing", writer.write(sample.data.slice(at..end)).await)?;
        at = end;
        equal("the bytes that are there", &writer.received_bytes(), &(at as u64))?;
        if at == sample.data.len() {
            break;
        }
    }
    ok("finishing", writer.finish(Some(sample.meta.content)).await)?;
    let mut reader = ok("opening for reading", store.open(sample.meta.id).await)?;
    equal("what the reader covers", reader.meta(), &sample.meta)?;
    let mut random = Random::new(3);
    for most in [1, 2, 4096, 65_536, 65_537, 10_000_000].into_iter().cycle().take(60) {
        let offset = random.below(sample.data.len() as u64);
        let piece = ok("reading", reader.read(offset, most).await)?;
        let expected = format!("1 to {most} bytes from offset {offset}");
        ensure((1..=most).contains(&piece.len()), &expected, piece.len())?;
        let from = offset as usize;
        let right = sample.data.get(from..from + piece.len()).is_some_and(|right| right == piece);
        ensure(right, "the bytes that were written there", format!("others, {expected}"))?;
    }
    for offset in [sample.data.len() as u64, sample.data.len() as u64 + 1, u64::MAX] {
        let end = ok("reading at the end", reader.read(offset, 100).await)?;
        equal("what is read at the end", &end, &Bytes::new())?;
    }
    Ok(())
}

pub(super) async fn s03_memory_stays_bounded<B: SnapshotBackend>(backend: &B) -> Result<(), ClauseFailure> {
    const PIECES: u64 = 192;
    const PIECE: usize = 1 << 20;
    /// What this clause, and tests beside it, may take.
    const LIMIT_BYTES: u64 = 96 << 20;
    let place = backend.place();
    let piece = Random::new(9).bytes(PIECE);
    let store = open(backend, &place).await?;
    let before = backend.peak_bytes()?;
    let membership = Sample::new(1, 1, 0)?.meta.membership;
    let id = SnapshotId(77);
    let mut writer = ok("creating", store.create(id, LogId::new(3, 50), membership).await)?;
    let mut checksum = 0;
    for _ in 0..PIECES {
        ok("writing", writer.write(piece.clone()).await)?;
        checksum = crc32c::crc32c_append(checksum, &piece);
    }
    let content = SnapshotContent { total_bytes: PIECES * PIECE as u64, checksum };
    ok("finishing", writer.finish(Some(content)).await)?;
    let read = read_and_drop(&*store, id).await?;
    equal("what was read", &read, &content)?;
    let taken = backend.peak_bytes()?.saturating_sub(before);
    let expected = format!("less than {LIMIT_BYTES} bytes of memory for {} MiB", PIECES);
    ensure(taken < LIMIT_BYTES, expected, format!("{taken} bytes"))
}

async fn read_and_drop(store: &dyn SnapshotStore, id: SnapshotId) -> Result<SnapshotContent, ClauseFailure> {
    let mut reader = ok("opening for reading", store.open(id).await)?;
    let mut content = SnapshotContent::default();
    loop {
        let piece = ok("reading", reader.read(content.total_bytes, 1 << 20).await)?;
        if piece.is_empty() {
            return Ok(content);
        }
        if piece.len() > 1 << 20 {
            return Err(fail("at most 1 MiB", piece.len()));
        }
        content.total_bytes += piece.len() as u64;
        content.checksum = crc32c::crc32c_append(content.checksum, &piece);
    }
}
