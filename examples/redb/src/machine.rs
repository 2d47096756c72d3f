//! The store as the node sees it.

use std::sync::Arc;

use async_trait::async_trait;
use raft_core::backend::{Command, Fatal, Responses, SnapshotReader, SnapshotSource, StateMachine};
use raft_core::ids::LogId;

use crate::snapshot::{Moment, read_into};
use crate::store::{Shared, Store, StoreError};

/// Runs what blocks where it may. Whoever is dropped while it waits leaves the work to its end, as a whole.
pub(crate) async fn blocking<T: Send + 'static>(
    shared: &Arc<Shared>,
    work: impl FnOnce(&Shared) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, Fatal> {
    let shared = Arc::clone(shared);
    let done = tokio::task::spawn_blocking(move || work(&shared)).await;
    done.map_err(|error| Fatal(error.to_string()))?.map_err(|error| Fatal(error.to_string()))
}

#[async_trait]
impl StateMachine for Store {
    /// After a crash, the last entry of the last transaction that was synced.
    async fn last_applied(&mut self) -> Result<LogId, Fatal> {
        self.applied().map_err(|error| Fatal(error.to_string()))
    }

    async fn apply(
        &mut self,
        batch: &[Command],
        through: LogId,
        responses: &mut Responses,
    ) -> Result<(), Fatal> {
        let (batch, wanted) = (batch.to_vec(), responses.wanted());
        let answers = blocking(&self.0, move |shared| shared.execute(&batch, through, wanted)).await?;
        answers.into_iter().for_each(|answer| responses.push(answer));
        Ok(())
    }

    async fn snapshot(&mut self) -> Result<Box<dyn SnapshotSource>, Fatal> {
        let moment = blocking(&self.0, Shared::moment).await?;
        Ok(Box::new(Moment::new(&self.0, moment)))
    }

    async fn install(&mut self, snapshot: Box<dyn SnapshotReader>) -> Result<(), Fatal> {
        read_into(&self.0, snapshot).await
    }
}
