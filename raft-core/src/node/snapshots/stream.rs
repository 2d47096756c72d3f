//! The bytes of a snapshot: a header, then the state machine's own.
//!
//! ```text
//! 0  1  version, 1
//! 1  4  length of the node's state, little-endian
//! 5  n  the node's state, which it keeps beside the state machine: the table of sessions (`session/codec.rs`)
//!    .. the state machine's bytes
//! ```
//! See `docs/snapshot-format.md`.

use async_trait::async_trait;
use bytes::{BufMut, Bytes, BytesMut};

use crate::backend::{Corruption, SnapshotError, SnapshotId, SnapshotMeta, SnapshotReader, SnapshotStore};
use crate::session::Table;

const VERSION: u8 = 1;
pub(super) const FIXED_BYTES: usize = 5;
/// More than this no node keeps beside its state machine.
const NODE_STATE_LIMIT_BYTES: usize = Table::ENCODED_LIMIT_BYTES as usize;

/// The header of a snapshot with this node state.
///
/// # Errors
/// [`SnapshotError::Io`] if it is larger than any node's.
pub(super) fn header(node_state: &Bytes) -> Result<Bytes, SnapshotError> {
    let length = u32::try_from(node_state.len()).ok();
    let Some(length) = length.filter(|_| node_state.len() <= NODE_STATE_LIMIT_BYTES) else {
        let cause = format!("{} bytes, at most {NODE_STATE_LIMIT_BYTES} are possible", node_state.len());
        return Err(SnapshotError::Io { what: "write the node's state".into(), cause: cause.into() });
    };
    let mut out = BytesMut::with_capacity(FIXED_BYTES + node_state.len());
    out.put_u8(VERSION);
    out.put_u32_le(length);
    out.put_slice(node_state);
    Ok(out.freeze())
}

/// Opens a snapshot: the node's state, and a reader that begins with the state machine's bytes.
pub(super) async fn open(
    store: &dyn SnapshotStore,
    id: SnapshotId,
) -> Result<(Bytes, Box<dyn SnapshotReader>), SnapshotError> {
    let mut reader = store.open(id).await?;
    let fixed = exactly(&mut *reader, 0, FIXED_BYTES).await?;
    let (version, length) = match fixed[..] {
        [version, a, b, c, d] => (version, u32::from_le_bytes([a, b, c, d]) as usize),
        _ => return Err(damaged(0, "the header ends too early")),
    };
    if version != VERSION {
        let reason = format!("its stream has version {version}, this node knows {VERSION}");
        return Err(damaged(0, &reason));
    }
    if length > NODE_STATE_LIMIT_BYTES {
        return Err(damaged(1, &format!("it announces {length} bytes of the node's state")));
    }
    let node_state = exactly(&mut *reader, FIXED_BYTES as u64, length).await?;
    let start = (FIXED_BYTES + length) as u64;
    let mut meta = reader.meta().clone();
    meta.content.total_bytes = meta.content.total_bytes.saturating_sub(start);
    Ok((node_state, Box::new(Body { reader, meta, start })))
}

async fn exactly(
    reader: &mut dyn SnapshotReader,
    offset: u64,
    length: usize,
) -> Result<Bytes, SnapshotError> {
    let mut out = BytesMut::new();
    while out.len() < length {
        let piece = reader.read(offset + out.len() as u64, length - out.len()).await?;
        if piece.is_empty() {
            return Err(damaged(offset, "the header ends too early"));
        }
        out.extend_from_slice(&piece);
    }
    Ok(out.freeze())
}

pub(super) fn damaged(offset: u64, reason: &str) -> SnapshotError {
    let place = String::from("the snapshot's stream");
    SnapshotError::Corrupt(Corruption { range: None, place, offset, reason: reason.into() })
}

/// What comes after the header.
struct Body {
    reader: Box<dyn SnapshotReader>,
    meta: SnapshotMeta,
    start: u64,
}

#[async_trait]
impl SnapshotReader for Body {
    /// The size is that of the state machine's bytes; the checksum is of the whole.
    fn meta(&self) -> &SnapshotMeta {
        &self.meta
    }

    async fn read(&mut self, offset: u64, max_bytes: usize) -> Result<Bytes, SnapshotError> {
        self.reader.read(self.start.saturating_add(offset), max_bytes).await
    }
}

#[cfg(test)]
mod tests {
    /// Never edit, only add versions: every snapshot begins so. Reading it is part of each snapshot's test.
    #[test]
    fn golden_bytes() {
        let header = super::header(&bytes::Bytes::from_static(b"table")).unwrap();
        assert_eq!(header[..], [1, 5, 0, 0, 0, b't', b'a', b'b', b'l', b'e']);
    }
}
