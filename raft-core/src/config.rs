//! Settings of one node. Each bound is in bytes and each has a reason.

use core::time::Duration;

use crate::error::ConfigError;
use crate::ids::{ClusterId, GroupId, NodeId};
use crate::session::{Limits, Table};

/// A leader hands over of its own accord at most once in this many election timeouts (M11).
pub(crate) const HAND_OVER_TIMEOUTS: u32 = 10;

/// Reads without asking anybody, while followers are known to have promised to elect nobody else
/// (dissertation §6.4.1).
///
/// They rest on clocks, where everything else here does not. What is declared must be true of the clocks of
/// any two nodes; it is about how fast they go, not about what time they show. A virtual machine that is paused or moved
/// while its clocks stand still breaks it: do not use leases there. Costs: after the loss of a leader nobody is elected
/// before the promises are over, so the hint that its process is gone (M5) helps little; for an election timeout after
/// its own start a node votes for nobody.
///
/// ```
/// use raft_core::error::ConfigError;
/// use raft_core::ids::{ClusterId, NodeId};
/// use raft_core::{Config, Lease};
///
/// let mut config = Config::new(NodeId(1), ClusterId(0x3b1f));
/// // Crystals and NTP come to 700 for one clock: to 1400 between two that are wrong in opposite ways.
/// config.lease = Some(Lease { max_drift_ppm: 1400 });
/// assert_eq!(config.validate(), Ok(()));
/// // To say that the clocks are perfect is never true.
/// config.lease = Some(Lease { max_drift_ppm: 0 });
/// assert!(matches!(config.validate(), Err(ConfigError::Drift { .. })));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lease {
    /// By how much the clock of one node may go slower than that of another, in millionths. Crystals are
    /// wrong by up to 200, and NTP corrects by up to 500 on top. At most 500 000.
    pub max_drift_ppm: u32,
}

impl Lease {
    /// The most that may be declared: half as fast.
    const MOST_PPM: u32 = 500_000;

    /// What is left of a promise of this length by the leader's clock, if that is the slowest that it may be.
    pub(crate) fn shorten(self, promise: Duration) -> Duration {
        let nanos = u64::try_from(promise.as_nanos()).unwrap_or(u64::MAX);
        let left = u128::from(nanos) * u128::from(1_000_000 - self.max_drift_ppm.min(1_000_000)) / 1_000_000;
        Duration::from_nanos(u64::try_from(left).unwrap_or(u64::MAX))
    }
}

/// What may be set anew while a node runs; `None` leaves it as it is. See the fields of [`Config`].
///
/// ```
/// use raft_core::ids::{ClusterId, NodeId};
/// use raft_core::{Config, Settings};
///
/// let config = Config::new(NodeId(1), ClusterId(0x3b1f));
/// let settings = Settings { window_bytes: Some(32 << 20), ..Settings::default() };
/// assert_eq!(config.with(&settings).unwrap().window_bytes, 32 << 20);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// See [`Config::heartbeat_interval`].
    pub heartbeat_interval: Option<Duration>,
    /// See [`Config::election_timeout`].
    pub election_timeout: Option<Duration>,
    /// See [`Config::priority`].
    pub priority: Option<i8>,
    /// See [`Config::lease`]. Promises that were made stay until they are over.
    pub lease: Option<Option<Lease>>,
    /// See [`Config::disk_timeout`].
    pub disk_timeout: Option<Option<Duration>>,
    /// See [`Config::append_limit_bytes`].
    pub append_limit_bytes: Option<u64>,
    /// See [`Config::window_messages`].
    pub window_messages: Option<usize>,
    /// See [`Config::window_bytes`].
    pub window_bytes: Option<u64>,
    /// See [`Config::uncommitted_limit_bytes`].
    pub uncommitted_limit_bytes: Option<u64>,
    /// See [`Config::tail_limit_bytes`].
    pub tail_limit_bytes: Option<u64>,
    /// See [`Config::tail_keep_bytes`].
    pub tail_keep_bytes: Option<u64>,
    /// See [`Config::gather_limit`].
    pub gather_limit: Option<Duration>,
    /// See [`Config::spare_delay`].
    pub spare_delay: Option<Duration>,
    /// See [`Config::write_limit_bytes`].
    pub write_limit_bytes: Option<u64>,
    /// See [`Config::apply_limit_bytes`].
    pub apply_limit_bytes: Option<u64>,
    /// See [`Config::promote_lag_entries`].
    pub promote_lag_entries: Option<u64>,
    /// See [`Config::snapshot_every_entries`].
    pub snapshot_every_entries: Option<u64>,
    /// See [`Config::snapshot_every_bytes`].
    pub snapshot_every_bytes: Option<u64>,
    /// See [`Config::snapshot_growth`].
    pub snapshot_growth: Option<u64>,
    /// See [`Config::snapshot_keep_entries`].
    pub snapshot_keep_entries: Option<u64>,
    /// See [`Config::snapshot_keep_bytes`].
    pub snapshot_keep_bytes: Option<u64>,
    /// See [`Config::scrub_period`].
    pub scrub_period: Option<Duration>,
    /// See [`Config::scrub_bytes_per_second`].
    pub scrub_bytes_per_second: Option<u64>,
}

/// Settings of one node's protocol.
///
/// Nodes of one cluster may differ in all but `cluster` and `group`; similar timeouts are advisable.
///
/// ```
/// use std::time::Duration;
///
/// use raft_core::Config;
/// use raft_core::ids::{ClusterId, NodeId};
///
/// let mut config = Config::new(NodeId(1), ClusterId(0x3b1f));
/// config.election_timeout = Duration::from_secs(1);
/// config.validate().unwrap();
///
/// config.election_timeout = Duration::from_millis(100);
/// let why = config.validate().unwrap_err().to_string();
/// assert_eq!(why, "election_timeout is 100ms, but must be at least 150ms (three heartbeat intervals)");
/// ```
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
    /// How much this node is to lead rather than another: the leader gives way to a follower with more, once that has
    /// caught up. A node with less than 0 waits up to an election timeout longer before it campaigns. Nobody with
    /// less is kept from leading where nobody else can. Default 0.
    pub priority: i8,
    /// Whether reads may be answered under a lease, and what is declared of the clocks. To be set alike on all
    /// nodes: a follower promises what a lease is made of only if it is set there too. Turn it off at run time an
    /// election timeout before a node is started without it. Default none.
    pub lease: Option<Lease>,
    /// How long a write may be under way before the disk counts as hanging: then this node does not campaign,
    /// and hands over if it leads (M11). Default none, which is an election timeout.
    pub disk_timeout: Option<Duration>,
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
    /// Recent entries kept in memory for a slow follower or a slow state machine. Durable ones beyond it are read back
    /// from the journal when they are needed. Default 32 MiB.
    pub tail_limit_bytes: u64,
    /// Of those, the ones that nobody is known to need: durable and applied here, and on a leader also acknowledged by
    /// every follower that it sends entries to, voters and learners. Beyond this they leave memory; if this is more than
    /// [`tail_limit_bytes`](Self::tail_limit_bytes), that one counts. Default 1 MiB, one append.
    ///
    /// Who follows cannot know what the others have, and may have to feed them if it is elected. What is not committed
    /// stays in any case. What is committed is on a majority, so only the others lack any of it, and of that the last
    /// entries: those that were on their way to them, which is under 1 MiB for some thousands of clients that wait for
    /// each write. A new leader reads the rest from its journal, one append at a time while the one before is on its
    /// way, and keeps in memory what comes meanwhile.
    pub tail_keep_bytes: u64,
    /// A leader may hold commands for callers who were just answered, or soon will be, so that they go together: callers
    /// that propose one command after the other then need half as many writes. For twice this at most, or twice
    /// the time that a commit usually takes if that is less, and what the runtime's timer is late by (tokio's, up to a
    /// millisecond). Whether it is done is found out by trying: where commands are answered later with it than without, counted from
    /// their arrival, it is tried ever more seldom; a sixteenth later is taken for fewer entries. More than
    /// half a heartbeat interval counts as that. Zero: never. Default 1 ms.
    pub gather_limit: Duration,
    /// Followers that a quorum can do without may be sent entries this late, and get those that came meanwhile together:
    /// fewer messages and fewer syncs (known as thrifty, Moraru, Andersen and Kaminsky 2013). An acknowledged write is on a quorum as
    /// ever; on everybody it is so much later.
    ///
    /// A leader does it where the others have shown that they are enough, and that commits take no longer with them alone (by a
    /// sixteenth at most). It sends to everybody at once while it does not know yet,
    /// as soon as a commit takes much longer than usual, and while leadership is handed over or the membership changes; and to
    /// such a follower when 64 entries or 256 KiB (or [`append_limit_bytes`](Self::append_limit_bytes)) wait or the follower is to answer a read. A delay of more
    /// than half a heartbeat interval counts as that. Zero: everybody is sent everything at once. Default 5 ms.
    pub spare_delay: Duration,
    /// Entries handed to the journal in one write. Default 4 MiB. A single larger entry goes alone.
    pub write_limit_bytes: u64,
    /// Entries handed to the state machine at once. Default 4 MiB.
    pub apply_limit_bytes: u64,
    /// The largest command. Default 16 MiB (T8).
    pub command_limit_bytes: u64,
    /// Bounds of client sessions. Those of the leader that opened the latest session hold on all nodes.
    pub sessions: Limits,
    /// A learner that is more entries than this behind the leader is not made a voter, unless by force: the
    /// others would have to wait for it. Default 1000.
    pub promote_lag_entries: u64,
    /// Take a snapshot when this many entries were executed since the last one (§7). 0: never because of their
    /// number. Default 100,000. Without a snapshot store none is ever taken.
    pub snapshot_every_entries: u64,
    /// Take a snapshot when entries of this size, and up to a quarter more so that not all nodes do it at once, were
    /// executed since the last one, or since the start. 0: never because of their size. Default 1 GiB.
    pub snapshot_every_bytes: u64,
    /// But not before the entries that were executed since the last one have so many times its size, unless they are ten
    /// times [`snapshot_every_entries`](Self::snapshot_every_entries): for a state that grows no more, what is written for snapshots is then at
    /// most one part in so many of what is written for the log (dissertation §5.1.3). 0: only the two above count. Default 4.
    pub snapshot_growth: u64,
    /// Entries before the last snapshot's end that are kept for slow followers, instead of being purged.
    /// Default 10,000.
    pub snapshot_keep_entries: u64,
    /// The same in bytes; whichever is less is kept. Sizes are known of what was appended since the start.
    /// For a follower that answers and lies further behind, as much again is kept. Default 64 MiB.
    pub snapshot_keep_bytes: u64,
    /// A piece of a snapshot in one message. Default 256 KiB, at most 16 MiB: what every transport passes (T8).
    pub snapshot_chunk_bytes: u64,
    /// Pieces of a snapshot under way to one follower without an answer, and held by a follower until its store
    /// has taken them. Default 1 MiB.
    pub snapshot_window_bytes: u64,
    /// How long after one pass over the stored log has ended the next begins: it is read and checked in the background,
    /// and damaged entries are healed. Zero: only when asked for. Default zero.
    pub scrub_period: Duration,
    /// How fast a pass reads, in bytes a second. Default 4 MiB.
    pub scrub_bytes_per_second: u64,
}

/// What every transport passes in one message.
const PASSES_BYTES: u64 = 16 << 20;

impl Config {
    /// The defaults for a node of a cluster.
    ///
    /// ```
    /// use raft_core::Config;
    /// use raft_core::ids::{ClusterId, NodeId};
    ///
    /// let mut config = Config::new(NodeId(1), ClusterId(0x3b1f));
    /// assert_eq!(config.validate(), Ok(()), "the defaults work");
    /// assert_eq!(config.heartbeat_interval * 6, config.election_timeout);
    /// // For a cluster over far places, say what differs.
    /// config.heartbeat_interval *= 4;
    /// config.election_timeout *= 4;
    /// assert_eq!(config.validate(), Ok(()));
    /// ```
    #[must_use]
    pub const fn new(id: NodeId, cluster: ClusterId) -> Self {
        Self {
            id,
            cluster,
            group: GroupId(0),
            heartbeat_interval: Duration::from_millis(50),
            election_timeout: Duration::from_millis(300),
            priority: 0,
            lease: None,
            disk_timeout: None,
            seed: 0,
            append_limit_bytes: 1 << 20,
            window_messages: 256,
            window_bytes: 8 << 20,
            uncommitted_limit_bytes: 64 << 20,
            tail_limit_bytes: 32 << 20,
            tail_keep_bytes: 1 << 20,
            gather_limit: Duration::from_millis(1),
            spare_delay: Duration::from_millis(5),
            write_limit_bytes: 4 << 20,
            apply_limit_bytes: 4 << 20,
            command_limit_bytes: 16 << 20,
            sessions: Limits::DEFAULT,
            promote_lag_entries: 1000,
            snapshot_every_entries: 100_000,
            snapshot_every_bytes: 1 << 30,
            snapshot_growth: 4,
            snapshot_keep_entries: 10_000,
            snapshot_keep_bytes: 64 << 20,
            snapshot_chunk_bytes: 256 << 10,
            snapshot_window_bytes: 1 << 20,
            scrub_period: Duration::ZERO,
            scrub_bytes_per_second: 4 << 20,
        }
    }

    /// How long a write may take.
    pub(crate) fn disk_patience(&self) -> Duration {
        self.disk_timeout.unwrap_or(self.election_timeout)
    }

    /// For how long a follower promises to vote for nobody else; zero without leases.
    pub(crate) const fn promise(&self) -> Duration {
        if self.lease.is_some() { self.election_timeout } else { Duration::ZERO }
    }

    /// These settings with others in their place.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use raft_core::ids::{ClusterId, NodeId};
    /// use raft_core::{Config, Settings};
    ///
    /// let config = Config::new(NodeId(1), ClusterId(0x3b1f));
    /// // Fewer heartbeats alone would not fit the election timeout: both, or neither.
    /// let heartbeat_interval = Some(Duration::from_millis(200));
    /// let half = Settings { heartbeat_interval, ..Settings::default() };
    /// assert!(config.with(&half).is_err());
    /// let both = Settings { election_timeout: Some(Duration::from_secs(1)), ..half };
    /// assert_eq!(config.with(&both)?.election_timeout, Duration::from_secs(1));
    /// # Ok::<(), raft_core::error::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// [`ConfigError`], which names the setting and what it must be.
    pub fn with(&self, settings: &Settings) -> Result<Self, ConfigError> {
        let other = settings.clone();
        let config = Self {
            heartbeat_interval: other.heartbeat_interval.unwrap_or(self.heartbeat_interval),
            election_timeout: other.election_timeout.unwrap_or(self.election_timeout),
            priority: other.priority.unwrap_or(self.priority),
            lease: other.lease.unwrap_or(self.lease),
            disk_timeout: other.disk_timeout.unwrap_or(self.disk_timeout),
            append_limit_bytes: other.append_limit_bytes.unwrap_or(self.append_limit_bytes),
            window_messages: other.window_messages.unwrap_or(self.window_messages),
            window_bytes: other.window_bytes.unwrap_or(self.window_bytes),
            uncommitted_limit_bytes: other.uncommitted_limit_bytes.unwrap_or(self.uncommitted_limit_bytes),
            tail_limit_bytes: other.tail_limit_bytes.unwrap_or(self.tail_limit_bytes),
            tail_keep_bytes: other.tail_keep_bytes.unwrap_or(self.tail_keep_bytes),
            gather_limit: other.gather_limit.unwrap_or(self.gather_limit),
            spare_delay: other.spare_delay.unwrap_or(self.spare_delay),
            write_limit_bytes: other.write_limit_bytes.unwrap_or(self.write_limit_bytes),
            apply_limit_bytes: other.apply_limit_bytes.unwrap_or(self.apply_limit_bytes),
            promote_lag_entries: other.promote_lag_entries.unwrap_or(self.promote_lag_entries),
            snapshot_every_entries: other.snapshot_every_entries.unwrap_or(self.snapshot_every_entries),
            snapshot_every_bytes: other.snapshot_every_bytes.unwrap_or(self.snapshot_every_bytes),
            snapshot_growth: other.snapshot_growth.unwrap_or(self.snapshot_growth),
            snapshot_keep_entries: other.snapshot_keep_entries.unwrap_or(self.snapshot_keep_entries),
            snapshot_keep_bytes: other.snapshot_keep_bytes.unwrap_or(self.snapshot_keep_bytes),
            scrub_period: other.scrub_period.unwrap_or(self.scrub_period),
            scrub_bytes_per_second: other.scrub_bytes_per_second.unwrap_or(self.scrub_bytes_per_second),
            ..self.clone()
        };
        config.validate().map(|()| config)
    }

    /// Whether these settings can work.
    ///
    /// ```
    /// use raft_core::Config;
    /// use raft_core::error::ConfigError;
    /// use raft_core::ids::{ClusterId, NodeId};
    ///
    /// let mut config = Config::new(NodeId(1), ClusterId(0x3b1f));
    /// assert_eq!(config.validate(), Ok(()));
    /// config.snapshot_chunk_bytes = 17 << 20;
    /// // More than transports pass in one message.
    /// let Err(ConfigError::TooLarge { what, limit_bytes, .. }) = config.validate() else { panic!() };
    /// assert_eq!((what, limit_bytes), ("snapshot_chunk_bytes", 16 << 20));
    /// ```
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
        if self.disk_timeout.is_some_and(|timeout| timeout.is_zero()) {
            return Err(ConfigError::Zero { what: "disk_timeout" });
        }
        if let Some(Lease { max_drift_ppm }) = self.lease
            && !(1..=Lease::MOST_PPM).contains(&max_drift_ppm)
        {
            return Err(ConfigError::Drift { max_drift_ppm, most: Lease::MOST_PPM });
        }
        for (what, bytes) in [
            ("append_limit_bytes", self.append_limit_bytes),
            ("window_messages", self.window_messages as u64),
            ("window_bytes", self.window_bytes),
            ("uncommitted_limit_bytes", self.uncommitted_limit_bytes),
            ("write_limit_bytes", self.write_limit_bytes),
            ("apply_limit_bytes", self.apply_limit_bytes),
            ("command_limit_bytes", self.command_limit_bytes),
            ("sessions.window", u64::from(self.sessions.window)),
            ("sessions.records", u64::from(self.sessions.records)),
            ("snapshot_chunk_bytes", self.snapshot_chunk_bytes),
            ("snapshot_window_bytes", self.snapshot_window_bytes),
            ("scrub_bytes_per_second", self.scrub_bytes_per_second),
        ] {
            if bytes == 0 {
                return Err(ConfigError::Zero { what });
            }
        }
        for (what, bytes, limit_bytes) in [
            ("snapshot_chunk_bytes", self.snapshot_chunk_bytes, PASSES_BYTES),
            // The table of sessions travels in the head of a snapshot.
            ("sessions", self.sessions.encoded_bytes(), Table::ENCODED_LIMIT_BYTES),
        ] {
            if bytes > limit_bytes {
                return Err(ConfigError::TooLarge { what, bytes, limit_bytes });
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
        let idle = Config { window_bytes: 0, ..good.clone() };
        assert_eq!(idle.validate(), Err(ConfigError::Zero { what: "window_bytes" }));
        let clumsy = Config { snapshot_chunk_bytes: 17 << 20, ..good };
        assert_eq!(
            clumsy.validate().unwrap_err().to_string(),
            "snapshot_chunk_bytes is 17825792, but must be at most 16777216"
        );
    }
}
