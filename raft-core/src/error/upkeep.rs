//! Why a node's upkeep of its own store has come to nothing: snapshots, scrubs.

use alloc::sync::Arc;

use super::FatalReason;

/// Why a snapshot was not taken when asked for. Nothing was lost: it may be asked for again.
///
/// A job that asks for one every night has no reason to complain of an idle node:
///
/// ```
/// use raft_core::error::SnapshotFailed;
///
/// let failed = |result: Result<(), SnapshotFailed>| match result {
///     Err(SnapshotFailed::Nothing) | Ok(()) => None,
///     Err(error) => Some(error.to_string()),
/// };
/// assert_eq!(failed(Err(SnapshotFailed::Nothing)), None);
/// let told = failed(Err(SnapshotFailed::NoStore));
/// assert_eq!(told.as_deref(), Some("this node has no snapshot store"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotFailed {
    /// The node was built without a snapshot store.
    #[error("this node has no snapshot store")]
    NoStore,
    /// Nothing was executed yet: there is nothing that a snapshot could cover.
    #[error("nothing was executed yet")]
    Nothing,
    /// The store or the state machine's source failed. What was there before still is.
    #[error("the snapshot could not be stored: {0}")]
    Store(crate::backend::SnapshotError),
    /// The node is shutting down.
    #[error("the node is shutting down")]
    ShuttingDown,
    /// The node has stopped for the reason given.
    #[error("the node has stopped: {0}")]
    Fatal(Arc<FatalReason>),
}

/// Why a pass over the stored log came to no end. Nothing was changed.
///
/// ```
/// use raft_core::backend::JournalError;
/// use raft_core::error::ScrubFailed;
///
/// // The disk is to be looked at, or the node is only going down.
/// let is_alarm = |error: &ScrubFailed| matches!(error, ScrubFailed::Journal(_));
/// let io = JournalError::Io { what: "read 00000017.log".into(), cause: "input/output error".into() };
/// let error = ScrubFailed::Journal(io);
/// assert!(is_alarm(&error) && !is_alarm(&ScrubFailed::ShuttingDown));
/// assert_eq!(error.to_string(), "read 00000017.log: input/output error");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScrubFailed {
    /// The journal could not be read.
    #[error("{0}")]
    Journal(crate::backend::JournalError),
    /// The node is shutting down.
    #[error("the node is shutting down")]
    ShuttingDown,
    /// The node has stopped for the reason given.
    #[error("the node has stopped: {0}")]
    Fatal(Arc<FatalReason>),
}
