//! Writing a snapshot of this node's own state, piece by piece.

use ::tokio::sync::mpsc;
use bytes::Bytes;

use super::{News, stream};
use crate::backend::{SnapshotError, SnapshotId, SnapshotMeta, SnapshotSource, SnapshotStore};
use crate::raft::TakeSnapshot;

/// Reads the source to its end. Gives up when nobody waits for the result any more: the node has stopped.
pub(super) async fn write(
    store: &dyn SnapshotStore,
    id: SnapshotId,
    take: TakeSnapshot,
    node_state: Bytes,
    mut source: Box<dyn SnapshotSource>,
    wanted: &mpsc::UnboundedSender<News>,
) -> Result<SnapshotMeta, SnapshotError> {
    let mut writer = store.create(id, take.upto, take.membership).await?;
    writer.write(stream::header(&node_state)?).await?;
    while let Some(piece) = source.next().await? {
        if wanted.is_closed() {
            return Err(SnapshotError::NotFound);
        }
        if !piece.is_empty() {
            writer.write(piece).await?;
        }
    }
    writer.finish(None).await
}
