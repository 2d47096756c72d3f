//! Who waits for a snapshot that covers what was executed when they asked.

use ::tokio::sync::oneshot;

use crate::backend::SnapshotMeta;
use crate::error::SnapshotFailed;
use crate::ids::Index;

/// Where the answer goes.
pub(crate) type Reply = oneshot::Sender<Result<SnapshotMeta, SnapshotFailed>>;

/// Those who wait, each with what it must cover.
#[derive(Default)]
pub(crate) struct Waiting(Vec<(Index, Reply)>);

impl Waiting {
    pub(crate) fn add(&mut self, index: Index, reply: Reply) {
        self.0.push((index, reply));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Answers those whom this one is enough for.
    pub(crate) fn covered(&mut self, snapshot: &SnapshotMeta) {
        for (_, reply) in self.0.extract_if(.., |(index, _)| *index <= snapshot.upto.index) {
            // A caller that has gone away needs no answer.
            let _ = reply.send(Ok(snapshot.clone()));
        }
    }

    pub(crate) fn fail(&mut self, error: &SnapshotFailed) {
        for (_, reply) in self.0.drain(..) {
            let _ = reply.send(Err(error.clone()));
        }
    }
}
