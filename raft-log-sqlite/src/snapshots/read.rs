//! A complete snapshot, read chunk by chunk.

use bytes::Bytes;
use raft_core::backend::{SnapshotError, SnapshotMeta};
use std::path::Path;

use super::db::{Db, unreadable};
use super::records::{CHUNK_BYTES, End, Head, Seal};
use crate::error::damage;

pub(super) struct Complete {
    db: Db,
    name: String,
    head: Head,
    end: End,
    /// The chunk that was read last, and the chain behind it.
    last: Option<(u64, Bytes, u64)>,
}

impl Complete {
    /// Opens a complete snapshot and reads its beginning and its end.
    pub(super) async fn open(path: &Path, name: &str) -> Result<Self, SnapshotError> {
        let mut db = Db::immutable(path).await.map_err(|error| unreadable(name, &error))?;
        match ends(&mut db, name).await {
            Ok((head, end)) => Ok(Self { db, name: name.to_owned(), head, end, last: None }),
            Err(error) => {
                let _ = db.close().await;
                Err(error)
            }
        }
    }

    pub(super) fn meta(&self) -> SnapshotMeta {
        let Head { id, upto, membership } = self.head.clone();
        SnapshotMeta::new(id, upto, membership, self.end.content)
    }

    /// Some bytes from `offset` on, checked (S5); none at the end.
    pub(super) async fn read(&mut self, offset: u64, max_bytes: usize) -> Result<Bytes, SnapshotError> {
        if offset >= self.end.content.total_bytes {
            return Ok(Bytes::new());
        }
        let number = offset / CHUNK_BYTES as u64;
        let chunk = match &self.last {
            Some((last, chunk, _)) if *last == number => chunk.clone(),
            _ => self.chunk(number).await?,
        };
        let start = usize::try_from(offset % CHUNK_BYTES as u64).unwrap_or(0).min(chunk.len());
        let end = start.saturating_add(max_bytes.max(1)).min(chunk.len());
        Ok(chunk.slice(start..end))
    }

    async fn chunk(&mut self, number: u64) -> Result<Bytes, SnapshotError> {
        let corrupt = |why: &str| {
            let why = format!("chunk {number}: {why}");
            SnapshotError::Corrupt(damage(&self.name, number.saturating_mul(CHUNK_BYTES as u64), why))
        };
        let found = self.db.chunk(number).await.map_err(|error| unreadable(&self.name, &error))?;
        let found = found.ok_or_else(|| corrupt("it is missing"))?;
        let before = match &self.last {
            _ if number == 0 => Some(self.head.first_chain()),
            Some((last, _, chain)) if last.checked_add(1) == Some(number) => Some(*chain),
            // The one before was not read: then the checksum alone says that this is it.
            _ => None,
        };
        let seal = Seal::of(self.head.id, number, before.unwrap_or_default(), &found.data);
        if seal.crc != found.seal.crc || found.data.len() as u64 != self.end.chunk_bytes(number) {
            return Err(corrupt("its checksum does not match"));
        }
        let is_last = number.checked_add(1) == Some(self.end.chunks());
        let breaks = before.is_some() && seal.chain != found.seal.chain
            || is_last && found.seal.chain != self.end.chain;
        if breaks {
            return Err(corrupt("it does not follow what is before it"));
        }
        let data = Bytes::from(found.data);
        self.last = Some((number, data.clone(), found.seal.chain));
        Ok(data)
    }

    pub(super) async fn close(self) {
        let _ = self.db.close().await;
    }
}

async fn ends(db: &mut Db, name: &str) -> Result<(Head, End), SnapshotError> {
    let reading = |error| unreadable(name, &error);
    let corrupt = |why: &str| SnapshotError::Corrupt(damage(name, 0, why));
    db.check_marks().await.map_err(reading)?.map_err(corrupt)?;
    let head = db.head().await.map_err(reading)?.map_err(corrupt)?;
    let end = db.end(head.id).await.map_err(reading)?.map_err(corrupt)?;
    Ok((head, end))
}
