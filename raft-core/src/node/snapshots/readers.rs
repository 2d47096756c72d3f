//! Readers of snapshots that are being sent: one for each receiving peer, kept from piece to piece.

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::backend::{SnapshotError, SnapshotId, SnapshotReader, SnapshotStore};
use crate::ids::{FetchId, NodeId};
use crate::raft::{ReadChunk, Unreadable};

type Reader = Box<dyn SnapshotReader>;
type Reading = Pin<Box<dyn Future<Output = (NodeId, Option<(SnapshotId, Reader)>, Read)> + Send>>;

/// What has become of one [`ReadChunk`].
pub(crate) struct Read {
    pub(crate) id: FetchId,
    pub(crate) result: Result<Bytes, Unreadable>,
}

/// All readers, and what they are reading.
#[derive(Default)]
pub(crate) struct Readers {
    idle: BTreeMap<NodeId, (SnapshotId, Reader)>,
    reading: Vec<Reading>,
}

impl Readers {
    /// Begins to read a piece.
    pub(crate) fn read(&mut self, store: Arc<dyn SnapshotStore>, chunk: ReadChunk) {
        let ReadChunk { id, peer, snapshot, offset, max_bytes } = chunk;
        let idle = self.idle.remove(&peer).filter(|(of, _)| *of == snapshot);
        let max_bytes = usize::try_from(max_bytes).unwrap_or(usize::MAX);
        self.reading.push(Box::pin(async move {
            let opened = match idle {
                Some((_, reader)) => Ok(reader),
                None => store.open(snapshot).await,
            };
            let mut reader = match opened {
                Ok(reader) => reader,
                Err(error) => return (peer, None, Read { id, result: Err(unreadable(&error)) }),
            };
            let result = piece(&mut *reader, offset, max_bytes).await;
            (peer, Some((snapshot, reader)), Read { id, result: result.map_err(|error| unreadable(&error)) })
        }));
    }

    /// Takes what was read. Whether there was anything. `sends` tells who is still being sent a snapshot; the
    /// readers of the others are closed.
    pub(crate) fn poll(
        &mut self,
        context: &mut Context<'_>,
        into: &mut Vec<Read>,
        sends: impl Fn(NodeId) -> bool,
    ) -> bool {
        let before = into.len();
        self.reading.retain_mut(|reading| match reading.as_mut().poll(context) {
            Poll::Ready((peer, reader, read)) => {
                if let Some(reader) = reader.filter(|_| read.result.is_ok()) {
                    self.idle.insert(peer, reader);
                }
                into.push(read);
                false
            }
            Poll::Pending => true,
        });
        self.idle.retain(|peer, _| sends(*peer));
        into.len() > before
    }
}

/// As much as was asked for, however short the pieces are in which the store gives it.
async fn piece(
    reader: &mut dyn SnapshotReader,
    offset: u64,
    max_bytes: usize,
) -> Result<Bytes, SnapshotError> {
    let first = reader.read(offset, max_bytes).await?;
    if first.len() >= max_bytes || first.is_empty() {
        return Ok(first);
    }
    let mut out = bytes::BytesMut::with_capacity(max_bytes);
    out.extend_from_slice(&first);
    while out.len() < max_bytes {
        let more = reader.read(offset + out.len() as u64, max_bytes - out.len()).await?;
        if more.is_empty() {
            break;
        }
        out.extend_from_slice(&more);
    }
    Ok(out.freeze())
}

const fn unreadable(error: &SnapshotError) -> Unreadable {
    match error {
        SnapshotError::NotFound => Unreadable::Gone,
        SnapshotError::Corrupt(_) => Unreadable::Damaged,
        _ => Unreadable::Failed,
    }
}
