//! A snapshot that no node has taken: what a restored one begins with.

use super::stream;
use crate::backend::{SnapshotError, SnapshotId, SnapshotMeta, SnapshotSource, SnapshotStore};
use crate::ids::LogId;
use crate::membership::Membership;
use crate::session::Table;

/// Stores the state of a state machine as a snapshot of everything up to `upto`, without client sessions. For tools
/// that restore a backup: a journal that is empty after `upto` and this snapshot are a node that can be started.
///
/// # Errors
/// [`SnapshotError`] of the store or of the source; nothing is visible then.
///
/// # Cancellation
/// A dropped future leaves it half-received, which is never served.
pub async fn seed_snapshot(
    store: &dyn SnapshotStore,
    id: SnapshotId,
    upto: LogId,
    membership: Membership,
    mut source: Box<dyn SnapshotSource>,
) -> Result<SnapshotMeta, SnapshotError> {
    let mut writer = store.create(id, upto, membership).await?;
    writer.write(stream::header(&Table::new().encode().into())?).await?;
    while let Some(piece) = source.next().await? {
        if !piece.is_empty() {
            writer.write(piece).await?;
        }
    }
    writer.finish(None).await
}
