//! A snapshot that is being written.

use std::sync::Arc;

use crc32c::crc32c_append;
use raft_core::backend::{SnapshotContent, SnapshotError};

use super::dir::{failed, read_header};
use super::format::{self, CHUNK_BYTES, CHUNK_HEADER_BYTES, Header};
use crate::error::damage;
use crate::vfs::{VfsFile, read_full_at, write_all_at};

/// What is written is synced after so many bytes, in chunks: a sync of all of a large snapshot at its end would keep the disk
/// from the journal for as long as that takes, and let the system hold that much unwritten.
const SYNC_CHUNKS: u64 = (1 << 20) / CHUNK_BYTES as u64;

/// Whole chunks in a file, and the beginning of the next one in memory.
pub(super) struct Part {
    pub(super) header: Header,
    file: Arc<dyn VfsFile>,
    header_bytes: u64,
    chunks: u64,
    /// Of all that is in chunks.
    checksum: u32,
    open: Vec<u8>,
    record: Vec<u8>,
    failed: bool,
    /// A sync has failed: what the file holds is unknown.
    pub(super) is_lost: bool,
}

impl Part {
    fn new(file: Arc<dyn VfsFile>, header: Header, header_bytes: u64) -> Self {
        let (open, record) = (Vec::new(), Vec::new());
        let (failed, is_lost) = (false, false);
        Self { header, file, header_bytes, chunks: 0, checksum: 0, open, record, failed, is_lost }
    }

    /// Writes the header of a new file.
    pub(super) fn begin(file: Arc<dyn VfsFile>, header: Header) -> Result<Self, SnapshotError> {
        let bytes = header.encode().ok_or_else(|| SnapshotError::Io {
            what: "create a snapshot".into(),
            cause: "its membership is too large".into(),
        })?;
        write_all_at(&*file, &bytes, 0).map_err(|error| failed("write a snapshot", &error))?;
        Ok(Self::new(file, header, bytes.len() as u64))
    }

    /// Goes on after the last whole chunk. `None` if it is not of this snapshot.
    pub(super) fn resume(file: Arc<dyn VfsFile>, header: &Header) -> Result<Option<Self>, SnapshotError> {
        let reading = |error| failed("read a half-received snapshot", &error);
        let header_bytes = match read_header(&*file).map_err(reading)? {
            Ok((found, bytes)) if found == *header => bytes,
            _ => return Ok(None),
        };
        let mut part = Self::new(file, header.clone(), header_bytes);
        let mut record = vec![0; CHUNK_HEADER_BYTES + CHUNK_BYTES];
        while let Some(offset) = format::chunk_offset(header_bytes, part.chunks) {
            let filled = read_full_at(&*part.file, &mut record, offset).map_err(reading)?;
            if filled < record.len() || !format::is_chunk(header.id, part.chunks, &record) {
                // A torn write, or one that was not synced: it comes again.
                part.file.set_len(offset).map_err(|error| failed("cut a half-received snapshot", &error))?;
                break;
            }
            part.checksum =
                crc32c_append(part.checksum, record.get(CHUNK_HEADER_BYTES..).unwrap_or_default());
            part.chunks += 1;
        }
        Ok(Some(part))
    }

    pub(super) fn received_bytes(&self) -> u64 {
        self.chunks * CHUNK_BYTES as u64 + self.open.len() as u64
    }

    /// Appends a piece.
    pub(super) fn write(&mut self, mut piece: &[u8]) -> Result<(), SnapshotError> {
        self.still_good()?;
        while !piece.is_empty() {
            let room = CHUNK_BYTES - self.open.len();
            let (now, later) = piece.split_at(room.min(piece.len()));
            self.open.extend_from_slice(now);
            piece = later;
            if self.open.len() == CHUNK_BYTES {
                self.put_chunk()?;
            }
        }
        Ok(())
    }

    fn still_good(&self) -> Result<(), SnapshotError> {
        if self.failed {
            let what = "write a snapshot".into();
            return Err(SnapshotError::Io { what, cause: "an earlier write has failed".into() });
        }
        Ok(())
    }

    fn offset(&self) -> Result<u64, SnapshotError> {
        format::chunk_offset(self.header_bytes, self.chunks).ok_or(SnapshotError::NoSpace)
    }

    fn put_chunk(&mut self) -> Result<(), SnapshotError> {
        self.record.clear();
        format::encode_chunk(self.header.id, self.chunks, &self.open, &mut self.record);
        let offset = self.offset()?;
        // Set back when all of it is written.
        self.failed = true;
        write_all_at(&*self.file, &self.record, offset)
            .map_err(|error| failed("write a snapshot", &error))?;
        if (self.chunks + 1).is_multiple_of(SYNC_CHUNKS) {
            self.sync()?;
        }
        self.failed = false;
        self.checksum = crc32c_append(self.checksum, &self.open);
        self.chunks += 1;
        self.open.clear();
        Ok(())
    }

    fn sync(&mut self) -> Result<(), SnapshotError> {
        self.file.sync_data().map_err(|error| {
            self.is_lost = true;
            failed("sync a snapshot", &error)
        })
    }

    /// Writes the rest and the end, and syncs.
    pub(super) fn complete(
        &mut self,
        expected: Option<SnapshotContent>,
    ) -> Result<SnapshotContent, SnapshotError> {
        self.still_good()?;
        let total_bytes = self.received_bytes();
        let content = SnapshotContent { total_bytes, checksum: crc32c_append(self.checksum, &self.open) };
        if let Some(expected) = expected.filter(|expected| *expected != content) {
            let name = format::part_name(self.header.id);
            let why = format!("{content:?} was received, {expected:?} announced");
            return Err(SnapshotError::Corrupt(damage(&name, total_bytes, why)));
        }
        let mut end = self.offset()?;
        if !self.open.is_empty() {
            end += (CHUNK_HEADER_BYTES + self.open.len()) as u64;
            self.put_chunk()?;
        }
        self.failed = true;
        let writing = |error| failed("write a snapshot", &error);
        write_all_at(&*self.file, &format::encode_trailer(self.header.id, content), end).map_err(writing)?;
        self.sync()?;
        Ok(content)
    }
}
