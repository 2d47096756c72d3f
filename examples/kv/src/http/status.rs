//! `/status`: a node's state as JSON. Durations end in `_ms`, sizes in `_bytes`; what is not known is null.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use raft_core::backend::{SnapshotMeta, Vote};
use raft_core::ids::NodeId;
use raft_core::membership::Membership;
use raft_core::status::{Disk, PeerState, PeerStatus, SnapshotTransfer, Status};
use serde_json::{Value, json};

use super::Http;
use super::live::unix_millis;
use crate::health::{answers, disk, health};
use crate::journal::JournalKind;
use crate::server::{Server, WAITING_LIMIT_BYTES};
use crate::settings::{CLIENT, HTTP};
use crate::version::version;

/// Files of a folder that are looked at: a log has a few dozen.
const FILES: usize = 10_000;

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// What the files of a folder come to, in bytes; its folders are not looked into.
fn size(dir: &Path) -> u64 {
    let files = std::fs::read_dir(dir).into_iter().flatten().take(FILES).flatten();
    files
        .filter_map(|file| file.metadata().ok())
        .filter(std::fs::Metadata::is_file)
        .map(|file| file.len())
        .sum()
}

/// What the disk has left, in bytes, where the system says so.
fn free(dir: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(dir).ok()?;
    Some(found.f_bavail.saturating_mul(found.f_frsize))
}

/// What its files take on the disk.
pub(super) struct Space {
    pub(super) journal_bytes: u64,
    pub(super) snapshots_bytes: u64,
    pub(super) free_bytes: Option<u64>,
}

impl Space {
    pub(super) fn of(data: &Path) -> Self {
        let snapshots_bytes = size(&JournalKind::snapshots_dir(data));
        Self { journal_bytes: size(data), snapshots_bytes, free_bytes: free(data) }
    }
}

/// The part of a member in decisions.
fn part(membership: &Membership, id: NodeId) -> &'static str {
    let is_in = membership.voters.contains(&id);
    let was_in = membership.outgoing.contains(&id);
    match (is_in, was_in) {
        (true, false) if membership.is_joint() => "incoming voter",
        (true, _) => "voter",
        (false, true) => "outgoing voter",
        (false, false) => "learner",
    }
}

fn members(membership: &Membership) -> Vec<Value> {
    let member = |member: &raft_core::membership::Member| {
        json!({
            "id": member.id.0,
            "part": part(membership, member.id),
            "peer": member.address,
            "client": member.attributes.get(CLIENT),
            "http": member.attributes.get(HTTP),
        })
    };
    membership.members.values().map(member).collect()
}

fn transfer(transfer: &SnapshotTransfer) -> Value {
    json!({
        "index": transfer.upto.index.0,
        "received_bytes": transfer.received_bytes,
        "total_bytes": transfer.total_bytes,
    })
}

fn peer(server: &Server, status: &Status, peer: &PeerStatus) -> Value {
    json!({
        "id": peer.id.0,
        "state": match peer.state {
            PeerState::Probe => "probe",
            PeerState::Replicate => "replicate",
            PeerState::Snapshot => "snapshot",
        },
        "online": answers(server, peer),
        "match": peer.match_index.0,
        "next": peer.next_index.0,
        "lag": status.last.index.0.saturating_sub(peer.match_index.0),
        "in_flight_bytes": peer.in_flight_bytes,
        "contact_ms": peer.contact_age.map(millis),
        "slow": peer.slow,
        "priority": peer.priority,
        "spare": peer.spare,
        "snapshot": peer.snapshot.as_ref().map(transfer),
    })
}

fn snapshot(meta: &SnapshotMeta) -> Value {
    json!({ "index": meta.upto.index.0, "term": meta.upto.term.0, "bytes": meta.content.total_bytes })
}

/// Everything, at this moment.
pub(super) fn document(state: &Http, status: &Status) -> Value {
    let (server, facts) = (&state.server, &state.facts);
    let judged = health(server, status);
    let load = server.node.load();
    let (sessions, session_bytes) = server.node.sessions();
    let space = Space::of(&facts.data);
    let (scrub, counters, connections) = (&status.scrub, &status.counters, server.connections());
    json!({
        "id": status.id.0,
        "cluster": server.cluster.to_string(),
        "version": version(),
        "at_ms": unix_millis(),
        "uptime_ms": millis(server.started.elapsed()),
        "role": status.role.to_string(),
        "term": status.term.0,
        "vote": match status.vote {
            Vote::For(id) => Value::from(id.0),
            Vote::None => Value::Null,
            Vote::Blocked => Value::from("blocked"),
        },
        "leader": status.leader.as_ref().map(|leader| leader.id.0),
        "why": status.why.to_string(),
        "health": judged.level.name(),
        "reasons": judged.reasons,
        "probation": status.probation,
        "embargo": status.embargo,
        "removed": status.removed,
        "priority": status.priority,
        "quorum_contact_ms": status.quorum_contact_age.map(millis),
        "lease_left_ms": status.lease_left.map(millis),
        "election_timeout_ms": millis(server.election_timeout()),
        "log": {
            "first": status.first_index.0,
            "last": status.last.index.0,
            "last_term": status.last.term.0,
            "persisted": status.persisted_index.0,
            "commit": status.commit_index.0,
            "applied": status.applied_index.0,
        },
        "membership": {
            "joint": status.membership.is_joint(),
            "index": status.membership_at.index.0,
            "committed": status.membership_committed,
            "members": members(&status.membership),
        },
        "peers": status.peers.iter().map(|each| peer(server, status, each)).collect::<Vec<_>>(),
        "journal": {
            "kind": facts.journal,
            "fsync": facts.durability,
            "found": facts.verdict,
            "disk": disk(status.disk),
            "prompt": status.disk == Disk::Prompt,
            "bytes": space.journal_bytes,
            "free_bytes": space.free_bytes,
            "healing_upto": status.healing.map(|upto| upto.0),
        },
        "snapshot": {
            "latest": status.snapshot.as_ref().map(snapshot),
            "bytes": space.snapshots_bytes,
            "taking": status.taking.map(|upto| upto.index.0),
            "receiving": status.receiving.as_ref().map(transfer),
            "installing": status.installing.map(|upto| upto.index.0),
            "taken": counters.snapshots_taken,
            "failed": counters.snapshots_failed,
            "sent": counters.snapshots_sent,
            "installed": counters.snapshots_installed,
        },
        "scrub": {
            "passes": scrub.passes,
            "bytes": scrub.bytes,
            "damages": scrub.damages,
            "last_pass_ms": scrub.pass_age.map(millis),
            "last_damage": scrub.damage.as_ref().map(ToString::to_string),
            "failure": scrub.failure.as_deref(),
        },
        "queues": {
            "tail_bytes": status.tail_bytes,
            "uncommitted_bytes": status.uncommitted_bytes,
            "queued_bytes": load.queued_bytes,
            "received_bytes": load.received_bytes,
            "received_control": load.received_control,
            "input_bytes": server.waiting_bytes(),
            "clients": server.clients(),
            "sessions": sessions,
            "session_bytes": session_bytes,
        },
        "limits": state.live.config().map(|config| json!({
            "tail_bytes": config.tail_limit_bytes,
            "tail_keep_bytes": config.tail_keep_bytes,
            "uncommitted_bytes": config.uncommitted_limit_bytes,
            "window_bytes": config.window_bytes,
            "queued_bytes": load.queued_limit_bytes,
            "received_bytes": load.received_limit_bytes,
            "received_control": load.received_control_limit,
            "input_bytes": WAITING_LIMIT_BYTES,
            "clients": server.max_clients,
            "sessions": config.sessions.sessions,
        })),
        "counters": {
            "elections": counters.elections,
            "pre_votes": counters.pre_votes,
            "vetoes": counters.vetoes,
            "overloaded": counters.overloaded,
            "dropped_messages": counters.dropped_messages,
            "ignored_messages": counters.ignored_messages,
        },
        "connections": {
            "transport": facts.transport,
            "dialled": connections.dialled,
            "accepted": connections.accepted,
            "refused": connections.refused,
            "misbehaved": connections.misbehaved,
            "turned_away": connections.turned_away,
            "dropped": connections.dropped,
        },
        "sample": state.live.sample(),
    })
}

pub(super) async fn status(State(state): State<Arc<Http>>) -> Response {
    let now = state.server.node.status();
    super::json(StatusCode::OK, &document(&state, &now))
}
