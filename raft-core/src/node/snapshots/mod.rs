//! Snapshots in the driver: who writes them, who reads them, and what tells the protocol about it.
//!
//! ```text
//!   protocol --TakeSnapshot--> applier: StateMachine::snapshot() --source--> writing task --> store
//!   protocol --Piece---------> receiving task --> store           protocol --Install--> applier <-- store
//!   protocol --ReadChunk-----> a reader for each receiving peer <-- store
//! ```
//! Everything that takes time comes back as [`News`]. Nothing of it is waited for on the way of a write.

mod drive;
mod readers;
mod receiving;
mod restore;
mod seed;
mod stream;
mod taking;
mod waiting;

use core::convert::Infallible;
use std::sync::Arc;

use ::tokio::sync::mpsc;
use bytes::Bytes;

use super::guard;
use super::protocol::Request;
use crate::backend::{
    Runtime, SnapshotError, SnapshotId, SnapshotMeta, SnapshotReader, SnapshotStore, StateMachine,
};
use crate::error::FatalReason;
use crate::raft::{Piece, TakeSnapshot};
use crate::session::Table;
pub(crate) use readers::{Read, Readers};
pub(crate) use restore::restore;
pub use seed::seed_snapshot;
pub(crate) use waiting::{Reply, Waiting};

/// What has become of what the protocol asked for.
pub(crate) enum News {
    /// A snapshot of its own is durable, or is not.
    Taken(Result<SnapshotMeta, SnapshotError>),
    /// The store has this much of one that comes in.
    Written { id: SnapshotId, received: u64 },
    /// The store could not take it.
    Refused { id: SnapshotId },
    /// All of it is durable.
    Received(SnapshotMeta),
    /// The state machine's state is that of this one.
    Installed(SnapshotMeta),
}

/// What the node's tasks need to work on snapshots. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Snapshots {
    store: Arc<dyn SnapshotStore>,
    news: mpsc::UnboundedSender<News>,
    requests: mpsc::UnboundedSender<Request>,
    runtime: Arc<dyn Runtime>,
    /// Held by every task: the store is free when all are gone.
    alive: mpsc::Sender<Infallible>,
}

impl Snapshots {
    pub(crate) fn new(
        store: Arc<dyn SnapshotStore>,
        news: mpsc::UnboundedSender<News>,
        requests: mpsc::UnboundedSender<Request>,
        runtime: Arc<dyn Runtime>,
        alive: mpsc::Sender<Infallible>,
    ) -> Self {
        Self { store, news, requests, runtime, alive }
    }

    pub(crate) fn store(&self) -> Arc<dyn SnapshotStore> {
        Arc::clone(&self.store)
    }

    /// Takes the state machine's state as it is now, and writes it to the store in the background. `node_state` is
    /// what the node itself keeps beside the state machine.
    ///
    /// # Errors
    /// Those of the state machine; one of the store is news.
    pub(crate) async fn take(
        &self,
        machine: &mut dyn StateMachine,
        node_state: Bytes,
        take: TakeSnapshot,
    ) -> Result<(), Arc<FatalReason>> {
        let source = machine.snapshot().await;
        let source = source.map_err(|fatal| Arc::new(FatalReason::StateMachine(fatal.0)))?;
        let (store, news) = (self.store(), self.news.clone());
        let id = u128::from(self.runtime.seed()) << 64 | u128::from(self.runtime.seed());
        self.spawn("raft-snapshot", async move {
            let stored = taking::write(&*store, SnapshotId(id), take, node_state, source, &news).await;
            // A node that has stopped needs not know.
            let _ = news.send(News::Taken(stored));
        });
        Ok(())
    }

    /// Replaces the state machine's state; returns the table of sessions that goes with it.
    ///
    /// # Errors
    /// [`FatalReason::Snapshot`] if it cannot be read, or what the state machine says.
    pub(crate) async fn install(
        &self,
        machine: &mut dyn StateMachine,
        snapshot: &SnapshotMeta,
    ) -> Result<Table, Arc<FatalReason>> {
        install(&*self.store, machine, snapshot).await.map_err(Arc::new)
    }

    /// The task that writes what comes in. It ends when the sending end is gone.
    pub(crate) fn receive(&self) -> mpsc::UnboundedSender<Piece> {
        let (pieces, queue) = mpsc::unbounded_channel();
        self.spawn("raft-snapshot-receiver", receiving::run(self.store(), queue, self.news.clone()));
        pieces
    }

    /// The state machine has installed it.
    pub(crate) fn installed(&self, snapshot: SnapshotMeta) {
        let _ = self.news.send(News::Installed(snapshot));
    }

    fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let (requests, alive) = (self.requests.clone(), self.alive.clone());
        let guarded = async move {
            let done = async {
                task.await;
                Ok(())
            };
            if let Err(reason) = guard::catch(done).await {
                let _ = requests.send(Request::Failed { reason });
            }
            drop(alive);
        };
        self.runtime.spawn(name, Box::pin(guarded));
    }
}

/// See [`Snapshots::install`]; also at the start, before there are tasks.
pub(crate) async fn install(
    store: &dyn SnapshotStore,
    machine: &mut dyn StateMachine,
    snapshot: &SnapshotMeta,
) -> Result<Table, FatalReason> {
    let (table, reader) = opened(store, snapshot).await?;
    machine.install(reader).await.map_err(|fatal| FatalReason::StateMachine(fatal.0))?;
    let applied = machine.last_applied().await.map_err(|fatal| FatalReason::StateMachine(fatal.0))?;
    if applied != snapshot.upto {
        let upto = snapshot.upto;
        let what = format!("it has installed a snapshot of everything up to {upto}, but says {applied}");
        return Err(FatalReason::StateMachine(what));
    }
    Ok(table)
}

/// Opens a snapshot: the table of sessions, and a reader of the state machine's bytes.
async fn opened(
    store: &dyn SnapshotStore,
    snapshot: &SnapshotMeta,
) -> Result<(Table, Box<dyn SnapshotReader>), FatalReason> {
    let unusable = |error| FatalReason::Snapshot { upto: Some(snapshot.upto), error };
    let (node_state, reader) = stream::open(store, snapshot.id).await.map_err(unusable)?;
    let table = Table::decode(&node_state)
        .map_err(|error| unusable(stream::damaged(stream::FIXED_BYTES as u64, &error.to_string())))?;
    Ok((table, reader))
}
