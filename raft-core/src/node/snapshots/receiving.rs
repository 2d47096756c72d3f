//! The task that writes a leader's snapshot to the store: one piece after the other, each answered.

use std::sync::Arc;

use ::tokio::sync::mpsc;

use super::News;
use crate::backend::{
    SnapshotContent, SnapshotError, SnapshotId, SnapshotMeta, SnapshotStore, SnapshotWriter,
};
use crate::raft::Piece;

/// The snapshot at hand.
type Current = Option<(SnapshotId, Box<dyn SnapshotWriter>)>;

pub(super) async fn run(
    store: Arc<dyn SnapshotStore>,
    mut pieces: mpsc::UnboundedReceiver<Piece>,
    news: mpsc::UnboundedSender<News>,
) {
    let mut current: Current = None;
    while let Some(piece) = pieces.recv().await {
        let answer = match piece {
            Piece::Begin { id, upto, membership } => {
                // What was at hand is half-received; only then may it be resumed.
                current = None;
                let begun = store.create(id, upto, membership).await;
                let begun = begun.map(|writer| {
                    let received = writer.received_bytes();
                    current = Some((id, writer));
                    News::Written { id, received }
                });
                begun.unwrap_or(News::Refused { id })
            }
            Piece::Write { id, data } => {
                let written = write(&mut current, id, data).await;
                written.map_or(News::Refused { id }, |received| News::Written { id, received })
            }
            Piece::Finish { id, content } => {
                finish(&mut current, id, content).await.map_or(News::Refused { id }, News::Received)
            }
            Piece::Abandon { id } => {
                current.take_if(|(of, _)| *of == id);
                continue;
            }
        };
        if news.send(answer).is_err() {
            return;
        }
    }
}

async fn write(current: &mut Current, id: SnapshotId, data: bytes::Bytes) -> Result<u64, SnapshotError> {
    let (_, writer) = current.as_mut().filter(|(of, _)| *of == id).ok_or(SnapshotError::NotFound)?;
    writer.write(data).await?;
    Ok(writer.received_bytes())
}

async fn finish(
    current: &mut Current,
    id: SnapshotId,
    content: SnapshotContent,
) -> Result<SnapshotMeta, SnapshotError> {
    let (_, writer) = current.take_if(|(of, _)| *of == id).ok_or(SnapshotError::NotFound)?;
    writer.finish(Some(content)).await
}
