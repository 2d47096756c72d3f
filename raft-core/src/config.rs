//! Settings of one node. Each bound is in bytes and each has a reason.

use core::time::Duration;

use crate::error::ConfigError;
use crate::ids::{ClusterId, GroupId, NodeId};

/// Settings of one node's protocol.
///
/// Nodes of one cluster may differ in all but `cluster` and `group`; similar timeouts are advisable.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Config {
    /// This node.
    pub id: NodeId,
    /// Its cluster.
    pub cluster: ClusterId,
    /// Its group within the cluster.
    pub group: GroupId,
    /// How often a leader without other traffic says that it leads. Default 50 ms.
    pub heartbeat_interval: Duration,
    /// How long a follower hears nothing before it campaigns: each time a random span from this to twice
    /// this (§5.2). Also how long a leader may miss its quorum. Default 300 ms.
    pub election_timeout: Duration,
    /// Seeds the random timeouts. The driver fills it in from its runtime.
    pub seed: u64,
    /// Entries and overhead in one append message. Default 1 MiB. A single larger entry goes alone.
    pub append_limit_bytes: u64,
    /// Appends under way to one follower without an answer. Default 256.
    pub window_messages: usize,
    /// Entries under way to one follower without an answer. Default 8 MiB.
    pub window_bytes: u64,
    /// Entries that a leader has appended and not yet applied; beyond it proposals are refused as
    /// `Overloaded`. Default 64 MiB.
    pub uncommitted_limit_bytes: u64,
    /// Recent entries kept in memory. Durable ones beyond it are read back from the journal when a slow
    /// follower or a slow state machine needs them. Default 32 MiB.
    pub tail_limit_bytes: u64,
    /// Entries handed to the journal in one write. Default 4 MiB. A single larger entry goes alone.
    pub write_limit_bytes: u64,
    /// Entries handed to the state machine at once. Default 4 MiB.
    pub apply_limit_bytes: u64,
    /// The largest command. Default 16 MiB (T8).
    pub command_limit_bytes: u64,
}

impl Config {
    /// The defaults for a node of a cluster.
    #[must_use]
    pub const fn new(id: NodeId, cluster: ClusterId) -> Self {
        Self {
            id,
            cluster,
            group: GroupId(0),
            heartbeat_interval: Duration::from_millis(50),
            election_timeout: Duration::from_millis(300),
            seed: 0,
            append_limit_bytes: 1 << 20,
            window_messages: 256,
            window_bytes: 8 << 20,
            uncommitted_limit_bytes: 64 << 20,
            tail_limit_bytes: 32 << 20,
            write_limit_bytes: 4 << 20,
            apply_limit_bytes: 4 << 20,
            command_limit_bytes: 16 << 20,
        }
    }

    /// Whether these settings can work.
    ///
    /// # Errors
    /// [`ConfigError`], which names the setting and what it must be.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.id == NodeId(0) {
            return Err(ConfigError::ZeroId);
        }
        if self.heartbeat_interval.is_zero() {
            return Err(ConfigError::Zero { what: "heartbeat_interval" });
        }
        let least = self.heartbeat_interval.saturating_mul(3);
        if self.election_timeout < least {
            return Err(ConfigError::ElectionTimeout { timeout: self.election_timeout, least });
        }
        for (what, bytes) in [
            ("append_limit_bytes", self.append_limit_bytes),
            ("window_messages", self.window_messages as u64),
            ("window_bytes", self.window_bytes),
            ("uncommitted_limit_bytes", self.uncommitted_limit_bytes),
            ("write_limit_bytes", self.write_limit_bytes),
            ("apply_limit_bytes", self.apply_limit_bytes),
            ("command_limit_bytes", self.command_limit_bytes),
        ] {
            if bytes == 0 {
                return Err(ConfigError::Zero { what });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn defaults_are_valid_and_mistakes_are_named() {
        let good = Config::new(NodeId(1), ClusterId(1));
        assert_eq!(good.validate(), Ok(()));
        let hasty = Config { election_timeout: Duration::from_millis(100), ..good.clone() };
        assert_eq!(
            hasty.validate().unwrap_err().to_string(),
            "election_timeout is 100ms, but must be at least 150ms (three heartbeat intervals)"
        );
        let idle = Config { window_bytes: 0, ..good };
        assert_eq!(idle.validate(), Err(ConfigError::Zero { what: "window_bytes" }));
    }
}
