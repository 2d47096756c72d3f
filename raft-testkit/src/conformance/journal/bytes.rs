//! J15: entries come back bit for bit.

use bytes::Bytes;
use raft_core::entry::EntryKind;

use super::super::{ClauseFailure, Random};
use super::JournalBackend;
use super::pair::{Pair, append, entry};

pub(super) async fn j15_every_size_comes_back<B: JournalBackend>(backend: &B) -> Result<(), ClauseFailure> {
    let mut pair = Pair::create(backend, None).await?;
    let mut random = Random::new(15);
    let sizes = [0, 1, 2, 7, 8, 9, 511, 512, 513, 4095, 4096, 4097, 65_535, 65_536, 1 << 20, 16 << 20, 0, 1];
    for (index, size) in (1..).zip(sizes) {
        pair.write_ok(append(vec![entry(1, index, random.bytes(size))])).await?;
    }
    pair.check_entries().await?;
    pair.reopen().await
}

pub(super) async fn j15_any_bytes_come_back<B: JournalBackend>(backend: &B) -> Result<(), ClauseFailure> {
    let mut pair = Pair::create(backend, None).await?;
    let (mut random, mut entries) = (Random::new(16), Vec::new());
    let patterns = [0x00, 0xff, 0x55, b'\n', b'"', 0x80].map(|byte| Bytes::from(vec![byte; 100]));
    let every = Bytes::from((0..=255).collect::<Vec<u8>>());
    // Kinds whose bytes the journal has no business to read.
    let kinds = [EntryKind::Noop, EntryKind::Commands, EntryKind::Session];
    for (index, kind) in (1..200).zip(kinds.into_iter().cycle()) {
        let data = match index % 8 {
            0 => every.clone(),
            7 => random.bytes(index * 3),
            at => patterns.get(at - 1).cloned().unwrap_or_default(),
        };
        let mut entry = entry(1 + index as u64 / 50, index as u64, data);
        entry.kind = kind;
        entries.push(entry);
    }
    for few in entries.chunks(17) {
        pair.write_ok(append(few.to_vec())).await?;
    }
    pair.check_entries().await?;
    pair.reopen().await
}
