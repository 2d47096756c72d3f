//! The user's state machine.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use async_trait::async_trait;
use bytes::Bytes;

use crate::ids::LogId;

use super::snapshot_store::{SnapshotError, SnapshotReader};

/// One command in its place: commands that were packed into one entry share the log id and differ in
/// their position.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Command {
    /// The entry it came in.
    pub id: LogId,
    /// Its place in that entry, from 0.
    pub position: u32,
    /// The proposer's bytes.
    pub data: Bytes,
}

impl Command {
    /// A command at a place in the log.
    #[must_use]
    pub const fn new(id: LogId, position: u32, data: Bytes) -> Self {
        Self { id, position, data }
    }
}

/// Takes the answers of [`StateMachine::apply`], one per command, in order.
///
/// On nodes where nobody waits they are discarded: ask [`wanted`](Self::wanted) before formatting one.
#[derive(Debug, Default)]
pub struct Responses {
    kept: Option<Vec<Bytes>>,
    count: usize,
}

impl Responses {
    /// Keeps them.
    #[must_use]
    pub fn kept(expected: usize) -> Self {
        Self { kept: Some(Vec::with_capacity(expected)), count: 0 }
    }

    /// Counts them, no more.
    #[must_use]
    pub const fn discarded() -> Self {
        Self { kept: None, count: 0 }
    }

    /// Whether anybody waits for the answers of this batch.
    #[must_use]
    pub const fn wanted(&self) -> bool {
        self.kept.is_some()
    }

    /// The next command's answer.
    pub fn push(&mut self, response: Bytes) {
        self.count += 1;
        if let Some(kept) = &mut self.kept {
            kept.push(response);
        }
    }

    /// How many were given.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.count
    }

    /// Those that were kept.
    #[must_use]
    pub fn into_kept(self) -> Vec<Bytes> {
        self.kept.unwrap_or_default()
    }
}

/// The state machine failed and cannot go on: the node stops with this reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Fatal(pub String);

/// The replicated state: the same commands in the same order on every node.
///
/// Called from one task, one call at a time. It must be deterministic: what it does may depend on
/// nothing but its state and the commands. An error or a panic stops the node; no entry is ever skipped.
///
/// Commands of sessions (see [`crate::session`]) that were executed before are not shown again; the machine
/// needs to do nothing for that. Their answers are kept, of this machine and of the others: like the state, an answer
/// must depend on the state and the command only.
///
/// * **A1** `apply` pushes one answer for each command.
/// * **A2** Commands are executed and answered in their order, whatever the batches.
/// * **A3** Whether answers are wanted changes nothing but the answers.
/// * **A4** Two machines that are given the same log are equal: same answers, same bytes of snapshots.
/// * **A5** `last_applied` is the last entry whose effects are in the state; what follows it is applied again
///   after a restart.
/// * **A6** A snapshot is a point in time, whatever is applied while it is read.
/// * **A7** An installed snapshot replaces everything; one that cannot be read to its end is an error.
///
/// A sum, without snapshots. One with them, step by step, is in the
/// [guide](https://github.com/raft-crates/raft/blob/main/docs/guide/state-machine.md):
///
/// ```
/// use async_trait::async_trait;
/// use raft_core::backend::{Command, Fatal, Responses, SnapshotReader, SnapshotSource, StateMachine};
/// use raft_core::ids::LogId;
///
/// struct Sum(u64);
///
/// #[async_trait]
/// impl StateMachine for Sum {
///     async fn last_applied(&mut self) -> Result<LogId, Fatal> {
///         // In memory only: after a restart everything is applied again.
///         Ok(LogId::ZERO)
///     }
///
///     async fn apply(
///         &mut self,
///         batch: &[Command],
///         _: LogId,
///         responses: &mut Responses,
///     ) -> Result<(), Fatal> {
///         for command in batch {
///             let text = String::from_utf8_lossy(&command.data);
///             // What makes no sense is answered, the same on every node.
///             if let Ok(more) = text.parse::<u64>() {
///                 self.0 = self.0.wrapping_add(more);
///                 responses.push(self.0.to_string().into());
///             } else {
///                 responses.push("not a number".into());
///             }
///         }
///         Ok(())
///     }
///
///     async fn snapshot(&mut self) -> Result<Box<dyn SnapshotSource>, Fatal> {
///         Err(Fatal("there is no store for snapshots".into()))
///     }
///
///     async fn install(&mut self, _: Box<dyn SnapshotReader>) -> Result<(), Fatal> {
///         Err(Fatal("there is no store for snapshots".into()))
///     }
/// }
/// ```
#[async_trait]
pub trait StateMachine: Send + 'static {
    /// The last entry whose effects are in the state as it is now; zero for an empty one. Asked at the start, and
    /// after an installation: everything after it is applied again.
    async fn last_applied(&mut self) -> Result<LogId, Fatal>;

    /// Executes commands in order and pushes one response for each. `through` is the last entry that
    /// this batch completes; it may lie beyond the last command, as other kinds of entries are not shown.
    async fn apply(
        &mut self,
        batch: &[Command],
        through: LogId,
        responses: &mut Responses,
    ) -> Result<(), Fatal>;

    /// A cheap view of this moment, to be serialised in the background while commands go on being applied.
    async fn snapshot(&mut self) -> Result<Box<dyn SnapshotSource>, Fatal>;

    /// Replaces all state by a snapshot: the bytes that [`snapshot`](Self::snapshot) has given, from 0 on, and
    /// [`upto`](super::SnapshotMeta::upto) as the last entry applied. If it is interrupted, the next start does it
    /// again if [`last_applied`](Self::last_applied) is zero or lies before what the log still has; a machine that
    /// keeps its state on a disk of its own must not say more than what it has in full.
    async fn install(&mut self, snapshot: Box<dyn SnapshotReader>) -> Result<(), Fatal>;
}

/// A point in time of a state machine, serialised piece by piece.
#[async_trait]
pub trait SnapshotSource: Send + 'static {
    /// The next piece; `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, SnapshotError>;
}
