//! Settings that cannot work, and what was restored that contradicts them or itself.

use alloc::string::String;
use core::time::Duration;

use super::Violation;
use crate::ids::LogId;

/// Settings that cannot work.
///
/// ```
/// use raft_core::Config;
/// use raft_core::error::ConfigError;
/// use raft_core::ids::{ClusterId, NodeId};
///
/// let mut config = Config::new(NodeId(1), ClusterId(0x3b1f));
/// config.command_limit_bytes = 0;
/// // A program with names of its own for settings can say which one it is.
/// match config.validate() {
///     Err(ConfigError::Zero { what }) => assert_eq!(what, "command_limit_bytes"),
///     other => panic!("{other:?}"),
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Node id 0 is not a name.
    #[error("a node id must not be 0")]
    ZeroId,
    /// A setting that must not be zero is.
    #[error("{what} must not be 0")]
    Zero {
        /// The setting.
        what: &'static str,
    },
    /// Heartbeats would be lost to noise.
    #[error("election_timeout is {timeout:?}, but must be at least {least:?} (three heartbeat intervals)")]
    ElectionTimeout {
        /// What was set.
        timeout: Duration,
        /// What it takes.
        least: Duration,
    },
    /// No two clocks go alike, and none may be that wrong.
    #[error("the lease's max_drift_ppm is {max_drift_ppm}, but must be from 1 to {most}")]
    Drift {
        /// What was set.
        max_drift_ppm: u32,
        /// The most.
        most: u32,
    },
    /// A setting is too large.
    #[error("{what} is {bytes}, but must be at most {limit_bytes}")]
    TooLarge {
        /// The setting.
        what: &'static str,
        /// What was set, in bytes.
        bytes: u64,
        /// The bound, in bytes.
        limit_bytes: u64,
    },
    /// The journal begins after entries that no snapshot here covers: what they did is nowhere on this node.
    #[error(
        "the journal begins after {purged}, but {}: the snapshots are missing or are another node's; bring them back, or replace this node by a membership change", snapshot.map_or_else(|| String::from("there is no snapshot"), |upto| alloc::format!("the newest snapshot covers only entries up to {upto}"))
    )]
    NoSnapshot {
        /// The last purged entry.
        purged: LogId,
        /// What the newest snapshot covers.
        snapshot: Option<LogId>,
    },
    /// A snapshot and what the journal knows to be committed contradict each other.
    #[error(
        "the snapshot covers entries up to {snapshot}, but the journal has {journal} committed there: they are not of one node"
    )]
    SnapshotContradicts {
        /// The last entry that the snapshot covers.
        snapshot: LogId,
        /// What the journal has there.
        journal: LogId,
    },
    /// What was restored from the journal contradicts itself.
    #[error("the restored state is inconsistent: {0}")]
    Restored(Violation),
    /// The state machine has applied entries that neither the journal nor a snapshot has.
    #[error(
        "the state machine has applied {applied}, but the journal ends at {last}: they are not of one node"
    )]
    AheadOfJournal {
        /// What the state machine says.
        applied: LogId,
        /// The end of the log, with the snapshot.
        last: LogId,
    },
    /// The state machine has applied another entry than the one that is committed there.
    #[error(
        "the state machine has applied {applied}, but {committed} is committed there: they are not of one node"
    )]
    AppliedContradicts {
        /// What the state machine says.
        applied: LogId,
        /// What the journal or the snapshot has.
        committed: LogId,
    },
}

/// Why settings were not taken on. Nothing has changed.
///
/// ```
/// use raft_core::error::{ConfigError, ReconfigureError};
/// use raft_core::ids::{ClusterId, NodeId};
/// use raft_core::{Config, Settings};
///
/// fn reload(config: &Config, settings: &Settings) -> Result<Config, ReconfigureError> {
///     Ok(config.with(settings)?)
/// }
///
/// let config = Config::new(NodeId(1), ClusterId(0x3b1f));
/// let settings = Settings { window_bytes: Some(0), ..Settings::default() };
/// let expected = ReconfigureError::Config(ConfigError::Zero { what: "window_bytes" });
/// assert_eq!(reload(&config, &settings), Err(expected));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReconfigureError {
    /// They cannot work.
    #[error("{0}")]
    Config(#[from] ConfigError),
    /// The node is shutting down or has stopped.
    #[error("the node has stopped")]
    Stopped,
}
