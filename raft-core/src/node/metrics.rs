//! What a node knows of itself, as metrics: for whichever recorder of the `metrics` facade an application has.
//!
//! There is no global here, and nothing is measured on the way of a write: [`NodeMetrics::publish`] reads the status, the
//! load, the settings and the timings, and hands them over. Call it when the metrics are about to be collected.
//! `docs/metrics.md` says what each of them means.

use core::time::Duration;

use metrics::{Key, KeyName, Label, Metadata, Recorder, SharedString, Unit};

use super::durations::{DurationCounts, Timings};
use super::handle::NodeHandle;
use crate::config::Config;
use crate::ids::NodeId;
use crate::status::{Disk, PeerState, PeerStatus, RoleKind, Status};

static METADATA: Metadata<'_> = Metadata::new("raft", metrics::Level::INFO, Some("raft_core"));

/// What kind of number it is.
///
/// ```
/// use raft_core::node::metrics::{METRICS, MetricKind};
///
/// // Dashboards can tell by the name what may be taken the rate of.
/// for metric in METRICS {
///     let is_counter = metric.kind == MetricKind::Counter;
///     assert_eq!(metric.name.ends_with("_total"), is_counter, "{}", metric.name);
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MetricKind {
    /// Only grows while the node runs.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Durations, counted in buckets.
    Histogram,
}

/// One metric: its name never changes its meaning.
///
/// ```
/// use metrics::Unit;
/// use raft_core::node::metrics::METRICS;
///
/// let write = METRICS.iter().find(|metric| metric.name == "raft_journal_write_seconds").unwrap();
/// assert_eq!(write.unit, Unit::Seconds);
/// assert_eq!(write.meaning, "A write to the journal, until it is durable");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// Its kind.
    pub kind: MetricKind,
    /// What it counts or measures.
    pub unit: Unit,
    /// In one sentence.
    pub meaning: &'static str,
}

impl Metric {
    /// One of an application's own.
    ///
    /// ```
    /// use metrics::Unit;
    /// use raft_core::node::metrics::{METRICS, Metric, MetricKind};
    ///
    /// const KEYS: Metric = Metric::new("kv_keys", MetricKind::Gauge, Unit::Count, "Keys that are there");
    /// // A page that documents all that a service reports.
    /// let page = METRICS.iter().chain([&KEYS]).map(|metric| format!("{}: {}", metric.name, metric.meaning));
    /// assert_eq!(page.last().unwrap(), "kv_keys: Keys that are there");
    /// ```
    #[must_use]
    pub const fn new(name: &'static str, kind: MetricKind, unit: Unit, meaning: &'static str) -> Self {
        Self { name, kind, unit, meaning }
    }

    /// Tells a recorder what it means.
    ///
    /// ```
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/node/example.rs")); }
    /// # use example::Kept;
    /// use metrics::Unit;
    /// use raft_core::node::metrics::{Metric, MetricKind};
    ///
    /// let keys = Metric::new("kv_keys", MetricKind::Gauge, Unit::Count, "Keys that are there");
    /// let recorder = Kept::default();
    /// keys.describe(&recorder);
    /// assert_eq!(recorder.meaning("kv_keys").unwrap(), "Keys that are there");
    /// ```
    pub fn describe(&self, recorder: &dyn Recorder) {
        let (name, meaning) = (KeyName::from_const_str(self.name), SharedString::const_str(self.meaning));
        match self.kind {
            MetricKind::Counter => recorder.describe_counter(name, Some(self.unit), meaning),
            MetricKind::Gauge => recorder.describe_gauge(name, Some(self.unit), meaning),
            MetricKind::Histogram => recorder.describe_histogram(name, Some(self.unit), meaning),
        }
    }
}

/// Writes to a recorder.
///
/// ```
/// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/node/example.rs")); }
/// # use example::Kept;
/// use raft_core::node::metrics::Sink;
///
/// let recorder = Kept::default();
/// // A copy costs nothing: each part of a service may have its own.
/// let sink = Sink(&recorder);
/// let report = |sink: Sink<'_>| sink.counter("kv_requests_total", &[], 3);
/// report(sink);
/// sink.gauge("kv_keys", &[], 7.0);
/// assert_eq!((recorder.count("kv_requests_total"), recorder.gauge("kv_keys")), (3, 7.0));
/// ```
#[derive(Clone, Copy)]
pub struct Sink<'a>(pub &'a dyn Recorder);

impl core::fmt::Debug for Sink<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Sink").finish_non_exhaustive()
    }
}

fn key(name: &'static str, labels: &[(&'static str, &str)]) -> Key {
    if labels.is_empty() {
        return Key::from_static_name(name);
    }
    let labels = labels.iter().map(|(name, value)| Label::new(*name, (*value).to_owned()));
    Key::from_parts(name, labels.collect::<Vec<_>>())
}

impl Sink<'_> {
    /// Sets a gauge.
    ///
    /// ```
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/node/example.rs")); }
    /// # use example::Kept;
    /// use raft_core::node::metrics::Sink;
    ///
    /// let recorder = Kept::default();
    /// let sink = Sink(&recorder);
    /// sink.gauge("kv_keys", &[("shard", "a")], 7.0);
    /// sink.gauge("kv_keys", &[("shard", "b")], 9.0);
    /// sink.gauge("kv_keys", &[("shard", "a")], 6.0);
    /// assert_eq!((recorder.gauge("kv_keys shard=a"), recorder.gauge("kv_keys shard=b")), (6.0, 9.0));
    /// ```
    pub fn gauge(self, name: &'static str, labels: &[(&'static str, &str)], value: f64) {
        self.0.register_gauge(&key(name, labels), &METADATA).set(value);
    }

    /// Sets a counter that is counted elsewhere.
    ///
    /// ```
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/node/example.rs")); }
    /// # use example::Kept;
    /// use raft_core::node::metrics::Sink;
    ///
    /// let recorder = Kept::default();
    /// // It is set to what was counted, not increased by it.
    /// for counted in [3, 5, 5] {
    ///     Sink(&recorder).counter("kv_requests_total", &[], counted);
    /// }
    /// assert_eq!(recorder.count("kv_requests_total"), 5);
    /// ```
    pub fn counter(self, name: &'static str, labels: &[(&'static str, &str)], value: u64) {
        self.0.register_counter(&key(name, labels), &METADATA).absolute(value);
    }

    /// Adds durations that were counted.
    ///
    /// ```
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/node/example.rs")); }
    /// # use example::Kept;
    /// use core::time::Duration;
    /// use raft_core::node::Durations;
    /// use raft_core::node::metrics::Sink;
    ///
    /// let recorder = Kept::default();
    /// let requests = Durations::default();
    /// requests.record(Duration::from_millis(3));
    /// let before = requests.counts();
    /// Sink(&recorder).durations("kv_request_seconds", &before);
    ///
    /// // From then on what has come since.
    /// requests.record(Duration::from_millis(4));
    /// Sink(&recorder).durations("kv_request_seconds", &requests.counts().since(&before));
    /// assert_eq!(recorder.count("kv_request_seconds"), 2);
    /// ```
    pub fn durations(self, name: &'static str, counts: &DurationCounts) {
        let histogram = self.0.register_histogram(&key(name, &[]), &METADATA);
        for (duration, count) in counts.buckets() {
            histogram.record_many(duration.as_secs_f64(), usize::try_from(count).unwrap_or(usize::MAX));
        }
    }

    /// One of several states: 1 for that which holds, 0 for the others.
    fn state(self, name: &'static str, labels: &[(&'static str, &str)], all: &[&str], now: &str) {
        for state in all {
            let mut labels = labels.to_vec();
            labels.push(("state", state));
            self.gauge(name, &labels, f64::from(u8::from(*state == now)));
        }
    }
}

/// Hands a node's numbers to a recorder.
///
/// ```
/// # async fn example(
/// #     node: raft_core::NodeHandle,
/// #     recorder: &dyn metrics::Recorder,
/// # ) -> Result<(), Box<dyn std::error::Error>> {
/// use raft_core::Settings;
/// use raft_core::node::metrics::NodeMetrics;
///
/// NodeMetrics::describe(recorder);
/// let mut metrics = NodeMetrics::new(node.clone());
/// // Before each time that the metrics are collected:
/// let config = node.reconfigure(Settings::default()).await?;
/// metrics.publish(recorder, &config);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct NodeMetrics {
    node: NodeHandle,
    /// What was handed over already.
    before: Timings,
}

fn seconds(span: Option<Duration>) -> f64 {
    span.map_or(f64::NAN, |span| span.as_secs_f64())
}

const fn disk(disk: Disk) -> &'static str {
    match disk {
        Disk::Prompt => "prompt",
        Disk::Slow => "slow",
        Disk::Hangs { .. } => "hangs",
        Disk::Full { .. } => "full",
        Disk::Failed => "failed",
    }
}

const fn progress(state: PeerState) -> &'static str {
    match state {
        PeerState::Probe => "probe",
        PeerState::Replicate => "replicate",
        PeerState::Snapshot => "snapshot",
    }
}

impl NodeMetrics {
    /// Of a node. Recorders that remove gauges which are no longer set (`idle_timeout` of
    /// `metrics-exporter-prometheus`) forget peers that are gone, and what only a leader knows.
    ///
    /// ```
    /// # fn example(first: raft_core::NodeHandle, second: raft_core::NodeHandle) {
    /// use raft_core::node::metrics::NodeMetrics;
    ///
    /// // One for each node: it remembers what of that node's timings was handed over.
    /// let all = [first, second].map(NodeMetrics::new);
    /// assert_eq!(all.len(), 2);
    /// # }
    /// ```
    #[must_use]
    pub fn new(node: NodeHandle) -> Self {
        Self { node, before: Timings::default() }
    }

    /// Tells a recorder what the metrics mean; once.
    ///
    /// ```
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/node/example.rs")); }
    /// # use example::Kept;
    /// use raft_core::node::metrics::NodeMetrics;
    ///
    /// let recorder = Kept::default();
    /// NodeMetrics::describe(&recorder);
    /// assert_eq!(recorder.meaning("raft_term").unwrap(), "Its term");
    /// ```
    pub fn describe(recorder: &dyn Recorder) {
        METRICS.iter().for_each(|metric| metric.describe(recorder));
    }

    /// Hands over what is so at this moment. The settings are those of
    /// [`NodeHandle::reconfigure`] with `Settings::default()`: bounds are there beside what they bound.
    ///
    /// ```
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/node/example.rs")); }
    /// # use example::Kept;
    /// # fn example(node: raft_core::NodeHandle, config: &raft_core::Config) {
    /// use raft_core::node::metrics::NodeMetrics;
    ///
    /// let recorder = Kept::default();
    /// NodeMetrics::new(node.clone()).publish(&recorder, config);
    /// assert_eq!(recorder.gauge("raft_log_applied_index"), node.status().applied_index.0 as f64);
    /// assert_eq!(recorder.gauge("raft_append_limit_bytes"), config.append_limit_bytes as f64);
    /// # }
    /// ```
    pub fn publish(&mut self, recorder: &dyn Recorder, config: &Config) {
        let sink = Sink(recorder);
        let status = self.node.status();
        standing(sink, &status);
        log(sink, &status);
        snapshots(sink, &status);
        queues(sink, &status, &self.node, config);
        for peer in &status.peers {
            of_peer(sink, &status, peer);
        }
        let timings = self.node.timings();
        sink.durations(
            "raft_journal_write_seconds",
            &timings.journal_write.since(&self.before.journal_write),
        );
        sink.durations("raft_commit_seconds", &timings.commit.since(&self.before.commit));
        sink.durations("raft_hold_seconds", &timings.hold.since(&self.before.hold));
        self.before = timings;
    }
}

fn flag(is: bool) -> f64 {
    f64::from(u8::from(is))
}

fn standing(sink: Sink<'_>, status: &Status) {
    let roles = ["limbo", "follower", "pre-candidate", "candidate", "leader"];
    let leader = status.leader.as_ref().map_or(NodeId(0), |leader| leader.id);
    sink.state("raft_role", &[], &roles, &status.role.to_string());
    sink.state("raft_disk", &[], &["prompt", "slow", "hangs", "full", "failed"], disk(status.disk));
    for (name, value) in [
        ("raft_term", status.term.0 as f64),
        ("raft_leader_id", leader.0 as f64),
        ("raft_voters", status.membership.all_voters().count() as f64),
        ("raft_learners", status.membership.learners().count() as f64),
        ("raft_membership_joint", flag(status.membership.is_joint())),
        ("raft_probation", flag(status.probation)),
        ("raft_embargo", flag(status.embargo)),
        ("raft_removed", flag(status.removed)),
        ("raft_alarm", flag(status.alarm.is_some())),
        ("raft_priority", f64::from(status.priority)),
    ] {
        sink.gauge(name, &[], value);
    }
    if status.role == RoleKind::Leader {
        sink.gauge("raft_quorum_contact_age_seconds", &[], seconds(status.quorum_contact_age));
        sink.gauge("raft_lease_left_seconds", &[], seconds(status.lease_left.or(Some(Duration::ZERO))));
    }
    let counts = &status.counters;
    for (name, value) in [
        ("raft_elections_total", counts.elections),
        ("raft_pre_votes_total", counts.pre_votes),
        ("raft_vetoes_total", counts.vetoes),
        ("raft_ignored_messages_total", counts.ignored_messages),
        ("raft_dropped_messages_total", counts.dropped_messages),
        ("raft_overloaded_total", counts.overloaded),
    ] {
        sink.counter(name, &[], value);
    }
}

fn log(sink: Sink<'_>, status: &Status) {
    for (name, index) in [
        ("raft_log_first_index", status.first_index),
        ("raft_log_last_index", status.last.index),
        ("raft_log_persisted_index", status.persisted_index),
        ("raft_log_commit_index", status.commit_index),
        ("raft_log_applied_index", status.applied_index),
    ] {
        sink.gauge(name, &[], index.0 as f64);
    }
    sink.gauge("raft_scrub_healing", &[], flag(status.healing.is_some()));
    sink.counter("raft_scrub_passes_total", &[], status.scrub.passes);
    sink.counter("raft_scrub_bytes_total", &[], status.scrub.bytes);
    sink.counter("raft_scrub_damages_total", &[], status.scrub.damages);
    sink.counter("raft_scrub_healed_total", &[], status.counters.healed);
}

fn snapshots(sink: Sink<'_>, status: &Status) {
    let snapshot = status.snapshot.as_ref();
    let receiving = status.receiving.as_ref();
    for (name, value) in [
        ("raft_snapshot_index", snapshot.map_or(0, |meta| meta.upto.index.0) as f64),
        ("raft_snapshot_bytes", snapshot.map_or(0, |meta| meta.content.total_bytes) as f64),
        ("raft_snapshot_taking", flag(status.taking.is_some())),
        ("raft_snapshot_installing", flag(status.installing.is_some())),
        ("raft_snapshot_received_bytes", receiving.map_or(0, |transfer| transfer.received_bytes) as f64),
        ("raft_snapshot_expected_bytes", receiving.map_or(0, |transfer| transfer.total_bytes) as f64),
    ] {
        sink.gauge(name, &[], value);
    }
    let counts = &status.counters;
    for (name, value) in [
        ("raft_snapshots_taken_total", counts.snapshots_taken),
        ("raft_snapshots_failed_total", counts.snapshots_failed),
        ("raft_snapshots_sent_total", counts.snapshots_sent),
        ("raft_snapshots_installed_total", counts.snapshots_installed),
        ("raft_snapshots_refused_total", counts.snapshots_refused),
    ] {
        sink.counter(name, &[], value);
    }
}

/// What fills, and how far it may.
fn queues(sink: Sink<'_>, status: &Status, node: &NodeHandle, config: &Config) {
    let load = node.load();
    let (sessions, session_bytes) = node.sessions();
    for (name, value) in [
        ("raft_tail_bytes", status.tail_bytes),
        ("raft_tail_limit_bytes", config.tail_limit_bytes),
        ("raft_tail_keep_bytes", config.tail_keep_bytes),
        ("raft_uncommitted_bytes", status.uncommitted_bytes),
        ("raft_uncommitted_limit_bytes", config.uncommitted_limit_bytes),
        ("raft_queued_bytes", load.queued_bytes),
        ("raft_queued_limit_bytes", load.queued_limit_bytes),
        ("raft_received_bytes", load.received_bytes),
        ("raft_received_limit_bytes", load.received_limit_bytes),
        ("raft_received_control_messages", load.received_control),
        ("raft_received_control_limit_messages", load.received_control_limit),
        ("raft_sessions", sessions),
        ("raft_sessions_limit", u64::from(config.sessions.sessions)),
        ("raft_session_bytes", session_bytes),
        ("raft_session_limit_bytes", config.sessions.encoded_bytes()),
        ("raft_command_limit_bytes", config.command_limit_bytes),
        ("raft_append_limit_bytes", config.append_limit_bytes),
        ("raft_write_limit_bytes", config.write_limit_bytes),
        ("raft_apply_limit_bytes", config.apply_limit_bytes),
        ("raft_window_limit_bytes", config.window_bytes),
        ("raft_window_limit_messages", config.window_messages as u64),
        ("raft_snapshot_chunk_limit_bytes", config.snapshot_chunk_bytes),
        ("raft_snapshot_window_limit_bytes", config.snapshot_window_bytes),
    ] {
        sink.gauge(name, &[], value as f64);
    }
}

fn of_peer(sink: Sink<'_>, status: &Status, peer: &PeerStatus) {
    let id = peer.id.to_string();
    let labels = [("peer", id.as_str())];
    let transfer = peer.snapshot.as_ref();
    for (name, value) in [
        ("raft_peer_match_index", peer.match_index.0 as f64),
        ("raft_peer_lag_entries", status.last.index.0.saturating_sub(peer.match_index.0) as f64),
        ("raft_peer_in_flight_bytes", peer.in_flight_bytes as f64),
        ("raft_peer_contact_age_seconds", seconds(peer.contact_age)),
        ("raft_peer_slow", flag(peer.slow)),
        ("raft_peer_spare", flag(peer.spare)),
        ("raft_peer_snapshot_received_bytes", transfer.map_or(0, |transfer| transfer.received_bytes) as f64),
        ("raft_peer_snapshot_expected_bytes", transfer.map_or(0, |transfer| transfer.total_bytes) as f64),
    ] {
        sink.gauge(name, &labels, value);
    }
    sink.state("raft_peer_progress", &labels, &["probe", "replicate", "snapshot"], progress(peer.state));
}

const fn counter(name: &'static str, unit: Unit, meaning: &'static str) -> Metric {
    Metric::new(name, MetricKind::Counter, unit, meaning)
}

const fn gauge(name: &'static str, unit: Unit, meaning: &'static str) -> Metric {
    Metric::new(name, MetricKind::Gauge, unit, meaning)
}

const fn histogram(name: &'static str, meaning: &'static str) -> Metric {
    Metric::new(name, MetricKind::Histogram, Unit::Seconds, meaning)
}

/// All that [`NodeMetrics`] hands over.
pub const METRICS: &[Metric] = &[
    gauge("raft_role", Unit::Count, "1 for the role that the node has, by the label state"),
    gauge("raft_term", Unit::Count, "Its term"),
    gauge("raft_leader_id", Unit::Count, "The leader that it knows; 0 if none"),
    gauge("raft_voters", Unit::Count, "Voters of the membership in force, of both sets while it is joint"),
    gauge("raft_learners", Unit::Count, "Learners of the membership in force"),
    gauge("raft_membership_joint", Unit::Count, "1 while two majorities decide together"),
    gauge("raft_probation", Unit::Count, "1 while it does not vote because its log is new or was damaged"),
    gauge("raft_embargo", Unit::Count, "1 while it does not campaign because of a veto"),
    gauge("raft_removed", Unit::Count, "1 once it is no member any more"),
    gauge("raft_alarm", Unit::Count, "1 once something happened that must never happen: see the log"),
    gauge("raft_priority", Unit::Count, "How much it wants to lead"),
    gauge("raft_disk", Unit::Count, "1 for how its journal does, by the label state"),
    gauge(
        "raft_quorum_contact_age_seconds",
        Unit::Seconds,
        "How long ago a leader last heard a quorum; on leaders only",
    ),
    gauge(
        "raft_lease_left_seconds",
        Unit::Seconds,
        "For how long a leader may answer reads alone; 0 without leases; on leaders only",
    ),
    counter("raft_elections_total", Unit::Count, "Elections that it started"),
    counter("raft_pre_votes_total", Unit::Count, "Pre-votes that it started"),
    counter("raft_vetoes_total", Unit::Count, "Vetoes that it received"),
    counter(
        "raft_ignored_messages_total",
        Unit::Count,
        "Messages that it ignored: old, not for it, or senseless",
    ),
    counter("raft_dropped_messages_total", Unit::Count, "Messages of its own that found a queue full"),
    counter("raft_overloaded_total", Unit::Count, "Proposals refused as overloaded"),
    gauge("raft_log_first_index", Unit::Count, "The first index that the journal still has"),
    gauge("raft_log_last_index", Unit::Count, "The end of the log"),
    gauge("raft_log_persisted_index", Unit::Count, "The end of what is durable here"),
    gauge("raft_log_commit_index", Unit::Count, "The end of what is known to be committed"),
    gauge("raft_log_applied_index", Unit::Count, "The end of what was executed here"),
    gauge("raft_scrub_healing", Unit::Count, "1 while a snapshot is awaited that covers damaged entries"),
    counter("raft_scrub_passes_total", Unit::Count, "Passes over the stored log that came to their end"),
    counter("raft_scrub_bytes_total", Unit::Bytes, "What was read again and checked"),
    counter(
        "raft_scrub_damages_total",
        Unit::Count,
        "Damages that were found; one that is still there counts again",
    ),
    counter("raft_scrub_healed_total", Unit::Count, "Times that the journal was rid of damaged entries"),
    gauge("raft_snapshot_index", Unit::Count, "What the newest durable snapshot covers; 0 if there is none"),
    gauge("raft_snapshot_bytes", Unit::Bytes, "Its size"),
    gauge("raft_snapshot_taking", Unit::Count, "1 while one is being taken"),
    gauge("raft_snapshot_installing", Unit::Count, "1 while the state machine has one to install"),
    gauge(
        "raft_snapshot_received_bytes",
        Unit::Bytes,
        "What has come of a snapshot that a leader is sending; 0 if none is",
    ),
    gauge("raft_snapshot_expected_bytes", Unit::Bytes, "The size of that snapshot; 0 if none is sent"),
    counter("raft_snapshots_taken_total", Unit::Count, "Snapshots of its own that became durable"),
    counter("raft_snapshots_failed_total", Unit::Count, "Snapshots of its own that could not be stored"),
    counter("raft_snapshots_sent_total", Unit::Count, "Snapshots that followers installed from here"),
    counter(
        "raft_snapshots_installed_total",
        Unit::Count,
        "Snapshots of a leader that replaced the log here",
    ),
    counter(
        "raft_snapshots_refused_total",
        Unit::Count,
        "Snapshots of a leader that could not be stored here",
    ),
    gauge("raft_tail_bytes", Unit::Bytes, "Entries in memory"),
    gauge("raft_tail_limit_bytes", Unit::Bytes, "Durable entries beyond this leave memory"),
    gauge(
        "raft_tail_keep_bytes",
        Unit::Bytes,
        "Entries beyond this that nobody is known to need leave memory",
    ),
    gauge("raft_uncommitted_bytes", Unit::Bytes, "Proposals that a leader has not yet applied"),
    gauge("raft_uncommitted_limit_bytes", Unit::Bytes, "Beyond this proposals are refused as overloaded"),
    gauge("raft_queued_bytes", Unit::Bytes, "Commands that wait for the protocol"),
    gauge("raft_queued_limit_bytes", Unit::Bytes, "Beyond this commands are refused as overloaded"),
    gauge("raft_received_bytes", Unit::Bytes, "Appends and pieces of snapshots that wait for the protocol"),
    gauge("raft_received_limit_bytes", Unit::Bytes, "Beyond this transports stop reading them"),
    gauge("raft_received_control_messages", Unit::Count, "Other messages that wait for the protocol"),
    gauge("raft_received_control_limit_messages", Unit::Count, "Beyond this they are dropped"),
    gauge("raft_sessions", Unit::Count, "Client sessions that are open"),
    gauge("raft_sessions_limit", Unit::Count, "Beyond this none is opened"),
    gauge("raft_session_bytes", Unit::Bytes, "What the table of sessions holds"),
    gauge("raft_session_limit_bytes", Unit::Bytes, "The most that the table of sessions can come to"),
    gauge("raft_command_limit_bytes", Unit::Bytes, "A larger command is refused"),
    gauge("raft_append_limit_bytes", Unit::Bytes, "One append, or one packed entry, holds no more"),
    gauge("raft_write_limit_bytes", Unit::Bytes, "One write to the journal holds no more"),
    gauge("raft_apply_limit_bytes", Unit::Bytes, "The state machine is given no more at once"),
    gauge("raft_window_limit_bytes", Unit::Bytes, "The bound of raft_peer_in_flight_bytes, for entries"),
    gauge("raft_window_limit_messages", Unit::Count, "Appends under way to one follower"),
    gauge("raft_snapshot_chunk_limit_bytes", Unit::Bytes, "One piece of a snapshot holds no more"),
    gauge(
        "raft_snapshot_window_limit_bytes",
        Unit::Bytes,
        "The bound of raft_peer_in_flight_bytes, for pieces of a snapshot",
    ),
    gauge(
        "raft_peer_match_index",
        Unit::Count,
        "What a follower is known to have durably; on leaders only, as all of raft_peer",
    ),
    gauge("raft_peer_lag_entries", Unit::Count, "How far that is behind the end of the leader's log"),
    gauge(
        "raft_peer_in_flight_bytes",
        Unit::Bytes,
        "Entries or pieces of a snapshot under way to it without an answer, those in the transport's queue included",
    ),
    gauge(
        "raft_peer_contact_age_seconds",
        Unit::Seconds,
        "How long ago it last answered; NaN if it never did",
    ),
    gauge("raft_peer_slow", Unit::Count, "1 while it says that its disk is full or hangs"),
    gauge(
        "raft_peer_spare",
        Unit::Count,
        "1 while a quorum does without it: its entries wait for each other",
    ),
    gauge("raft_peer_progress", Unit::Count, "1 for how appends to it go, by the label state"),
    gauge(
        "raft_peer_snapshot_received_bytes",
        Unit::Bytes,
        "What it has of a snapshot that it is sent; 0 if it is sent none",
    ),
    gauge("raft_peer_snapshot_expected_bytes", Unit::Bytes, "The size of that snapshot"),
    histogram("raft_journal_write_seconds", "A write to the journal, until it is durable"),
    histogram(
        "raft_commit_seconds",
        "An entry on the leader, from its proposal until it is known to be committed",
    ),
    histogram(
        "raft_hold_seconds",
        "Commands that the leader held for callers who were just answered, until they were proposed or refused",
    ),
];
