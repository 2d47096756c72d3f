//! `/metrics`: what the library knows of the node, and what raft-kv adds, for Prometheus.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use metrics::Unit;
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusRecorder};
use metrics_util::MetricKindMask;
use raft_core::Config;
use raft_core::node::DurationCounts;
use raft_core::node::metrics::{Metric, MetricKind, NodeMetrics, Sink};

use super::Http;
use super::status::Space;
use crate::health::{Level, health};
use crate::server::WAITING_LIMIT_BYTES;
use crate::version::version;

/// The format that [`PrometheusRecorder`] writes.
const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The least and the most that the buckets of durations tell apart: doublings of a microsecond. Each is the end of a bucket
/// of `Durations` too, so that counts are exact.
const DOUBLINGS: std::ops::RangeInclusive<u32> = 6..=24;

/// A recorder, which is nobody else's, and what was handed to it.
pub(super) struct Metrics {
    recorder: PrometheusRecorder,
    state: Mutex<Given>,
}

struct Given {
    node: NodeMetrics,
    proposals: DurationCounts,
}

impl Metrics {
    pub(super) fn new(node: raft_core::NodeHandle) -> Result<Self, BuildError> {
        let ends: Vec<f64> = DOUBLINGS.map(|doubling| f64::from(1_u32 << doubling) / 1e6).collect();
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &ends)?
            // What was not set for this very scrape is gone: a peer that was removed, or leadership.
            .idle_timeout(MetricKindMask::GAUGE, Some(Duration::from_millis(1)))
            .build_recorder();
        NodeMetrics::describe(&recorder);
        METRICS.iter().for_each(|metric| metric.describe(&recorder));
        let given = Given { node: NodeMetrics::new(node), proposals: DurationCounts::default() };
        Ok(Self { recorder, state: Mutex::new(given) })
    }

    /// Hands over how it is now. Called now and then even if nobody collects: durations are handed over one by one, and
    /// must not become many.
    pub(super) fn publish(&self, state: &Http, config: &Config) {
        let mut given = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        given.node.publish(&self.recorder, config);
        let sink = Sink(&self.recorder);
        own(sink, state);
        if let Some(traffic) = &state.server.traffic {
            let counts = traffic.proposals.counts();
            sink.durations("raft_kv_proposal_seconds", &counts.since(&given.proposals));
            given.proposals = counts;
        }
        drop(given);
        self.recorder.handle().run_upkeep();
    }
}

/// What is raft-kv's own.
fn own(sink: Sink<'_>, state: &Http) {
    let (server, facts) = (&state.server, &state.facts);
    let status = server.node.status();
    let level = health(server, &status).level;
    for each in [Level::Green, Level::Yellow, Level::Red] {
        let labels = [("state", each.name())];
        sink.gauge("raft_kv_health", &labels, f64::from(u8::from(each == level)));
    }
    let (node, cluster) = (status.id.to_string(), server.cluster.to_string());
    let labels = [
        ("version", version()),
        ("node", node.as_str()),
        ("cluster", cluster.as_str()),
        ("journal", facts.journal),
        ("transport", facts.transport),
        ("fsync", facts.durability.as_str()),
    ];
    sink.gauge("raft_kv_info", &labels, 1.0);
    let space = Space::of(&facts.data);
    for (name, value) in [
        ("raft_kv_clients", server.clients() as f64),
        ("raft_kv_clients_limit", server.max_clients as f64),
        ("raft_kv_input_bytes", server.waiting_bytes() as f64),
        ("raft_kv_input_limit_bytes", WAITING_LIMIT_BYTES as f64),
        ("raft_kv_journal_bytes", space.journal_bytes as f64),
        ("raft_kv_snapshots_bytes", space.snapshots_bytes as f64),
        ("raft_kv_disk_free_bytes", space.free_bytes.map_or(f64::NAN, |bytes| bytes as f64)),
        ("raft_kv_uptime_seconds", server.started.elapsed().as_secs_f64()),
        ("raft_transport_frame_limit_bytes", facts.bounds.frame_bytes as f64),
        ("raft_transport_control_queue_limit_bytes", facts.bounds.control_queue_bytes as f64),
        ("raft_transport_bulk_queue_limit_bytes", facts.bounds.bulk_queue_bytes as f64),
        ("raft_transport_connections_limit", facts.bounds.connections as f64),
    ] {
        sink.gauge(name, &[], value);
    }
    let stats = server.connections();
    for (name, value) in [
        ("raft_kv_strangers_total", server.refused()),
        ("raft_transport_dialled_total", stats.dialled),
        ("raft_transport_accepted_total", stats.accepted),
        ("raft_transport_refused_total", stats.refused),
        ("raft_transport_misbehaved_total", stats.misbehaved),
        ("raft_transport_turned_away_total", stats.turned_away),
        ("raft_transport_dropped_total", stats.dropped),
    ] {
        sink.counter(name, &[], value);
    }
    if let Some(counted) = server.traffic.as_ref().map(crate::traffic::Traffic::counted) {
        sink.counter("raft_kv_commands_total", &[("kind", "write")], counted.writes);
        sink.counter("raft_kv_commands_total", &[("kind", "read")], counted.reads);
        sink.counter("raft_kv_commands_failed_total", &[("outcome", "refused")], counted.refused);
        sink.counter("raft_kv_commands_failed_total", &[("outcome", "unknown")], counted.unknown);
    }
}

pub(super) async fn metrics(State(state): State<Arc<Http>>) -> Response {
    let Ok(config) = state.server.node.reconfigure(raft_core::Settings::default()).await else {
        return (StatusCode::SERVICE_UNAVAILABLE, "the node has stopped\n").into_response();
    };
    state.metrics.publish(&state, &config);
    let headers: [(HeaderName, &str); 1] = [(header::CONTENT_TYPE, CONTENT_TYPE)];
    (headers, state.metrics.recorder.handle().render()).into_response()
}

const fn counter(name: &'static str, meaning: &'static str) -> Metric {
    Metric::new(name, MetricKind::Counter, Unit::Count, meaning)
}

const fn gauge(name: &'static str, unit: Unit, meaning: &'static str) -> Metric {
    Metric::new(name, MetricKind::Gauge, unit, meaning)
}

/// What raft-kv adds.
const METRICS: &[Metric] = &[
    gauge("raft_kv_info", Unit::Count, "1; its labels say what runs"),
    gauge(
        "raft_kv_health",
        Unit::Count,
        "1 for the node's health, by the label state; a leader's is the cluster's",
    ),
    gauge("raft_kv_uptime_seconds", Unit::Seconds, "How long ago the process started"),
    counter("raft_kv_commands_total", "Commands that were executed or answered, by the label kind"),
    counter(
        "raft_kv_commands_failed_total",
        "Commands that were certainly not executed, or may have been, by the label outcome",
    ),
    Metric::new(
        "raft_kv_proposal_seconds",
        MetricKind::Histogram,
        Unit::Seconds,
        "A proposal, from its commands to their answers",
    ),
    gauge("raft_kv_clients", Unit::Count, "Clients that are connected"),
    gauge("raft_kv_clients_limit", Unit::Count, "Beyond this they are told so and closed"),
    gauge("raft_kv_input_bytes", Unit::Bytes, "Input that waits on all connections together"),
    gauge("raft_kv_input_limit_bytes", Unit::Bytes, "Beyond this connections are closed"),
    counter("raft_kv_strangers_total", "Clients with which there was no TLS"),
    gauge("raft_kv_journal_bytes", Unit::Bytes, "The files of the journal"),
    gauge("raft_kv_snapshots_bytes", Unit::Bytes, "The files of the snapshots"),
    gauge(
        "raft_kv_disk_free_bytes",
        Unit::Bytes,
        "What the disk of the data has left; NaN where the system does not say",
    ),
    counter("raft_transport_dialled_total", "Connections to other nodes that were made, handshake completed"),
    counter("raft_transport_accepted_total", "Connections that other nodes made, handshake completed"),
    counter("raft_transport_refused_total", "Handshakes refused, by this node or by the other"),
    counter("raft_transport_misbehaved_total", "Connections closed because of what came over them"),
    counter("raft_transport_turned_away_total", "Connections turned away: too many, or too slow"),
    counter("raft_transport_dropped_total", "Messages to other nodes that found the queue full"),
    gauge(
        "raft_transport_frame_limit_bytes",
        Unit::Bytes,
        "A larger message is not sent, and ends the connection that it comes over",
    ),
    gauge(
        "raft_transport_control_queue_limit_bytes",
        Unit::Bytes,
        "What waits for one node on the control lane; then the oldest goes",
    ),
    gauge(
        "raft_transport_bulk_queue_limit_bytes",
        Unit::Bytes,
        "What waits for one node on the bulk lane; then messages are dropped",
    ),
    gauge("raft_transport_connections_limit", Unit::Count, "Connections from other nodes at once"),
];
