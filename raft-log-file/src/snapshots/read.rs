//! A complete snapshot, read chunk by chunk.

use std::sync::Arc;

use bytes::Bytes;
use raft_core::backend::{SnapshotError, SnapshotMeta};

use super::dir::failed;
use super::format::{self, CHUNK_BYTES, CHUNK_HEADER_BYTES};
use crate::error::damage;
use crate::vfs::{VfsFile, read_full_at};

pub(super) struct Complete {
    file: Arc<dyn VfsFile>,
    name: String,
    meta: SnapshotMeta,
    header_bytes: u64,
    /// The chunk that was read last.
    last: Option<(u64, Bytes)>,
}

impl Complete {
    pub(super) const fn new(
        file: Arc<dyn VfsFile>,
        name: String,
        meta: SnapshotMeta,
        header_bytes: u64,
    ) -> Self {
        Self { file, name, meta, header_bytes, last: None }
    }

    /// Some bytes from `offset` on, checked (S5); none at the end.
    pub(super) fn read(&mut self, offset: u64, max_bytes: usize) -> Result<Bytes, SnapshotError> {
        let total = self.meta.content.total_bytes;
        if offset >= total {
            return Ok(Bytes::new());
        }
        let number = offset / CHUNK_BYTES as u64;
        let chunk = match &self.last {
            Some((last, chunk)) if *last == number => chunk.clone(),
            _ => self.chunk(number)?,
        };
        self.last = Some((number, chunk.clone()));
        let start = usize::try_from(offset % CHUNK_BYTES as u64).unwrap_or(0).min(chunk.len());
        let end = start.saturating_add(max_bytes.max(1)).min(chunk.len());
        Ok(chunk.slice(start..end))
    }

    fn chunk(&self, number: u64) -> Result<Bytes, SnapshotError> {
        let rest = self.meta.content.total_bytes.saturating_sub(number.saturating_mul(CHUNK_BYTES as u64));
        let length = usize::try_from(rest).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
        let offset = format::chunk_offset(self.header_bytes, number).unwrap_or(u64::MAX);
        let mut record = vec![0; CHUNK_HEADER_BYTES + length];
        let filled = read_full_at(&*self.file, &mut record, offset)
            .map_err(|error| failed("read a snapshot", &error))?;
        if filled < record.len() || !format::is_chunk(self.meta.id, number, &record) {
            let why = format!("the checksum of chunk {number} does not match");
            return Err(SnapshotError::Corrupt(damage(&self.name, offset, why)));
        }
        Ok(Bytes::from(record).slice(CHUNK_HEADER_BYTES..))
    }

    pub(super) const fn meta(&self) -> &SnapshotMeta {
        &self.meta
    }
}
