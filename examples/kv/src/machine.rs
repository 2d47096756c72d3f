//! The data as the node's state machine.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use raft_core::backend::{Command, Fatal, Responses, SnapshotReader, SnapshotSource, StateMachine};
use raft_core::ids::LogId;

use crate::command::Kind;
use crate::log_codec::{Logged, decode};
use crate::resp::Reply;
use crate::store::Store;

/// Replies to one call of `apply` that are kept, in bytes. Beyond it reads that came through the log are
/// refused: a pipeline of reads of large values must not fill the memory.
const REPLIES_LIMIT_BYTES: usize = 64 << 20;

/// The data, shared by the applier, which alone changes it, and the connections, which read.
///
/// All of them run on one thread: the lock is never waited for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shared(Arc<Mutex<Store>>);

impl Shared {
    /// The data. Never held across an await.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Store> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Applies what is committed.
#[derive(Debug)]
pub(crate) struct Machine {
    data: Shared,
}

impl Machine {
    /// Over empty data.
    pub(crate) const fn new(data: Shared) -> Self {
        Self { data }
    }
}

#[async_trait]
impl StateMachine for Machine {
    async fn last_applied(&mut self) -> Result<LogId, Fatal> {
        // The data is in memory only: a start replays the log.
        Ok(LogId::ZERO)
    }

    async fn apply(
        &mut self,
        batch: &[Command],
        _through: LogId,
        responses: &mut Responses,
    ) -> Result<(), Fatal> {
        let mut store = self.data.lock();
        let wanted = responses.wanted();
        let mut args = Vec::new();
        let mut kept_bytes = 0;
        for command in batch {
            let mut reply = Reply::default();
            let logged = decode(&command.data, &mut args).map_err(|error| {
                Fatal(format!("command {} of entry {}: {error}", command.position, command.id))
            })?;
            match logged {
                Logged::Command(op) if op.kind() == Kind::Read => {
                    if wanted && kept_bytes > REPLIES_LIMIT_BYTES {
                        reply.error("BUSY the replies to this pipeline are too large, ask again");
                    } else if wanted {
                        store.read(op, &args, &mut reply);
                    }
                }
                Logged::Command(op) => store.execute(op, &args, &mut reply),
                Logged::Transaction { watched, commands } => {
                    store.transact(&watched, commands.into_iter(), &mut reply);
                }
            }
            kept_bytes += reply.len();
            responses.push(if !wanted {
                Bytes::new()
            } else if reply.is_ok() {
                Bytes::from_static(b"+OK\r\n")
            } else {
                Bytes::from(reply.into_bytes())
            });
        }
        Ok(())
    }

    async fn snapshot(&mut self) -> Result<Box<dyn SnapshotSource>, Fatal> {
        Err(Fatal("this version takes no snapshots".into()))
    }

    async fn install(&mut self, _snapshot: Box<dyn SnapshotReader>) -> Result<(), Fatal> {
        Err(Fatal("this version takes no snapshots".into()))
    }
}
