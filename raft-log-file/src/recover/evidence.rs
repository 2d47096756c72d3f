//! What else is in the segments tells about a place where a batch was expected and is not.

use crate::layout::{BLOCK, BLOCK_BYTES};
use crate::record::{ENTRIES, Header, Seed};

/// The bytes from a position on.
pub(super) fn from(bytes: &[u8], offset: u64) -> &[u8] {
    usize::try_from(offset).ok().and_then(|at| bytes.get(at..)).unwrap_or_default()
}

/// Whether the batch that belongs at `offset` stands elsewhere in the segment: it was written, and may have
/// been acknowledged, but went astray.
pub(super) fn strayed(bytes: &[u8], seed: Seed, offset: u64, batch: u64) -> bool {
    let places = (BLOCK_BYTES..bytes.len() as u64).step_by(BLOCK).filter(|at| *at != offset);
    places.filter_map(|at| Header::decode(from(bytes, at), seed, offset)).any(|header| header.batch == batch)
}

/// What the record that belongs right behind a broken batch proves durable, if it went astray and covers a part
/// of that batch: it is mostly zeros, and what is left of the batch would look torn.
pub(super) fn covered(bytes: &[u8], seed: Seed, offset: u64, broken: &Header) -> u64 {
    let Some(extent) = broken.extent() else { return 0 };
    let end = offset.saturating_add(extent.next_multiple_of(BLOCK) as u64);
    let places = (offset..end.min(bytes.len() as u64)).step_by(BLOCK).skip(1);
    let headers = places.filter_map(|at| Header::decode(from(bytes, at), seed, end));
    headers.map(|header| header.witness).max().unwrap_or(0)
}

/// What valid records behind a damaged place tell.
#[derive(Default)]
pub(super) struct Later {
    pub(super) witness: u64,
    pub(super) end_index: u64,
}

impl Later {
    pub(super) fn scan(&mut self, bytes: &[u8], seed: Seed, start: u64) {
        for offset in (start..bytes.len() as u64).step_by(BLOCK) {
            if let Some(header) = Header::decode(from(bytes, offset), seed, offset) {
                self.witness = self.witness.max(header.witness);
                if header.has(ENTRIES) {
                    self.end_index = self.end_index.max(header.end_index());
                }
            }
        }
    }
}
