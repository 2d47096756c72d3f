//! `RAFT ...`: what operators ask and order.

use bytes::Bytes;
use raft_core::backend::Vote;
use raft_core::entry::EntryKind;
use raft_core::ids::{Index, NodeId};
use raft_core::session::unpack_any;
use raft_core::status::{RoleKind, Status};

use super::backup;
use super::local::{unknown_subcommand, upper};
use crate::health::{Health, answers, disk, health};
use crate::refusal;
use crate::resp::Reply;
use crate::server::Server;
use crate::show;
use crate::version::version;

/// Entries that one `RAFT SCAN` shows at most.
const SCAN_ENTRIES: u64 = 1000;

/// And how much of the log it reads, in bytes.
const SCAN_BYTES: u64 = 4 << 20;

/// The subcommands, with what each takes: `RAFT HELP`.
const HELP: [(&str, &str); 20] = [
    ("INFO", ""),
    ("HELP", ""),
    ("CONFIG", "GET [name ...] | SET name value"),
    ("READS", "LEADER | FOLLOWER"),
    ("SESSION", "OPEN [TIMEOUT ms] | USE id | KEEPALIVE id [ACK m] | CLOSE id"),
    ("SEQ", "n [SESSION id] [ACK m] command ..."),
    ("ADD-LEARNER", "id peer@client"),
    ("PROMOTE", "id [WAIT [ms]] [FORCE]"),
    ("DEMOTE", "id [FORCE]"),
    ("REMOVE", "id [FORCE]"),
    ("REPLACE", "old new peer@client [WAIT [ms]] [FORCE]"),
    ("UPDATE", "id peer@client"),
    ("CHANGE", "PROMOTE 4 REMOVE 2 ... [WAIT [ms]] [FORCE]"),
    ("PLAN", "PROMOTE 4 REMOVE 2 ..."),
    ("TRANSFER", "id"),
    ("CAMPAIGN", ""),
    ("SNAPSHOT", ""),
    ("BACKUP", "path"),
    ("SCRUB", ""),
    ("SCAN", "from count"),
];

/// One line of it.
fn usage((name, takes): &(&str, &str)) -> String {
    if takes.is_empty() { format!("RAFT {name}") } else { format!("RAFT {name} {takes}") }
}

/// Answers `RAFT ...`.
pub(crate) async fn command(server: &Server, args: &[Bytes], reply: &mut Reply) {
    let number = |arg: &Bytes| std::str::from_utf8(arg).ok().and_then(|text| text.parse::<u64>().ok());
    match (upper(args.get(1)).as_slice(), args.get(2..).unwrap_or_default()) {
        (b"INFO", []) => info(server, reply),
        (b"HELP", []) => {
            reply.array(HELP.len());
            HELP.iter().for_each(|line| reply.bulk(usage(line).as_bytes()));
        }
        (b"CAMPAIGN", []) => {
            server.node.campaign();
            reply.ok();
        }
        (b"TRANSFER", [to]) => {
            let Some(to) = number(to) else { return reply.error("ERR the node id is not a number") };
            match server.node.transfer_leadership(Some(NodeId(to))).await {
                Ok(_) => reply.ok(),
                Err(error) => reply.error(&refusal::of_transfer(&error, server.me())),
            }
        }
        (b"SNAPSHOT", []) => backup::snapshot(server, reply).await,
        (b"SCRUB", []) => scrubbed(server, reply).await,
        (b"SCAN", [from, count]) => match (number(from), number(count)) {
            (Some(from), Some(count)) => scan(server, from, count, reply).await,
            _ => reply.error("ERR value is not an integer or out of range"),
        },
        (b"CONFIG", args) => super::config::command(server, args, reply).await,
        _ if super::members::command(server, args.get(1..).unwrap_or_default(), reply).await => {}
        (name, _) => match HELP.iter().find(|(known, _)| known.as_bytes() == name) {
            Some(known) => reply.error(&format!("ERR wrong arguments: {}", usage(known))),
            None => unknown_subcommand("RAFT", args.get(1), reply),
        },
    }
}

/// By which entry the members are what they are, and how far that is.
fn membership(status: &Status) -> String {
    let joint = if status.membership.is_joint() { "joint " } else { "" };
    let committed = if status.membership_committed { "committed" } else { "not committed" };
    format!("{joint}entry {} {committed}", status.membership_at)
}

fn info(server: &Server, reply: &mut Reply) {
    let status = server.node.status();
    let list =
        |ids: &mut dyn Iterator<Item = NodeId>| ids.map(|id| id.to_string()).collect::<Vec<_>>().join(",");
    let vote = match status.vote {
        Vote::None => "none".into(),
        Vote::For(id) => id.to_string(),
        Vote::Blocked => "blocked".into(),
    };
    let Health { level, reasons } = health(server, &status);
    let leader = status.leader.as_ref().map_or_else(|| "none".into(), |leader| leader.id.to_string());
    let snapshot = status.snapshot.as_ref();
    let mut rows = vec![
        ("id".to_owned(), status.id.to_string()),
        ("role".into(), status.role.to_string()),
        ("term".into(), status.term.to_string()),
        ("vote".into(), vote),
        ("leader".into(), leader),
        ("cluster-id".into(), server.cluster.to_string()),
        ("commit-index".into(), status.commit_index.to_string()),
        ("last-applied".into(), status.applied_index.to_string()),
        ("log-start".into(), status.first_index.to_string()),
        ("log-size".into(), status.last.index.next().0.saturating_sub(status.first_index.0).to_string()),
        ("voters".into(), list(&mut status.membership.all_voters())),
        ("learners".into(), list(&mut status.membership.learners())),
        ("snapshot-index".into(), snapshot.map_or(0, |meta| meta.upto.index.0).to_string()),
        ("snapshot-bytes".into(), snapshot.map_or(0, |meta| meta.content.total_bytes).to_string()),
        ("snapshots".into(), snapshots(&status)),
        ("scrub".into(), scrub(&status)),
        ("membership".into(), membership(&status)),
        ("removed".into(), if status.removed { "yes" } else { "no" }.into()),
        ("sessions".into(), server.node.sessions().0.to_string()),
        ("session-bytes".into(), server.node.sessions().1.to_string()),
        ("memory".into(), memory(server, &status)),
        ("peer-connections".into(), peer_connections(server)),
        ("version".into(), version().into()),
        ("priority".into(), status.priority.to_string()),
        ("disk".into(), disk(status.disk)),
        ("handed-over".into(), status.hand_over.map_or_else(|| "never".into(), |why| why.to_string())),
    ];
    if status.role == RoleKind::Leader {
        let left = status.lease_left.map_or_else(|| "none".into(), |left| left.as_millis().to_string());
        rows.push(("lease-left-ms".into(), left));
    }
    for peer in &status.peers {
        let online = answers(server, peer);
        // What waits for more before it is sent is not what it is behind with.
        let sent = status.last.index.0.saturating_sub(peer.waiting_entries);
        let lag = sent.saturating_sub(peer.match_index.0);
        let online = if online { "yes" } else { "no" };
        let next = peer.next_index;
        let under_way = peer.in_flight_bytes;
        let mut row = format!("online={online},lag={lag},next-index={next},in-flight-bytes={under_way}");
        if let Some(transfer) = &peer.snapshot {
            row += &format!(",snapshot={}/{}", transfer.received_bytes, transfer.total_bytes);
        }
        if peer.spare {
            row += ",spare=yes";
        }
        rows.push((format!("replica-{}", peer.id), row));
    }
    rows.push(("health".into(), level.name().into()));
    rows.push(("health-reasons".into(), reasons.join("; ")));
    reply.map(rows.len());
    for (name, value) in rows {
        reply.bulk(name.as_bytes());
        reply.bulk(value.as_bytes());
    }
}

/// What is in its queues and buffers, in bytes: `docs/limits.md` has the bound of each.
fn memory(server: &Server, status: &Status) -> String {
    let load = server.node.load();
    format!(
        "tail={},uncommitted={},queued={},received={},input={},clients={}",
        status.tail_bytes,
        status.uncommitted_bytes,
        load.queued_bytes,
        load.received_bytes,
        server.waiting_bytes(),
        server.clients()
    )
}

/// What has become of connections with other nodes since the start: `refused` and `misbehaved` are of those that are no
/// members of this cluster, or not who they say they are; the log has each once.
fn peer_connections(server: &Server) -> String {
    let counts = server.connections();
    format!(
        "dialled={},accepted={},refused={},misbehaved={},turned-away={},dropped={}",
        counts.dialled,
        counts.accepted,
        counts.refused,
        counts.misbehaved,
        counts.turned_away,
        counts.dropped
    )
}

/// What has become of snapshots since the start, and of one that comes in.
fn snapshots(status: &Status) -> String {
    let counts = &status.counters;
    let mut text = format!(
        "taken={},failed={},sent={},installed={}",
        counts.snapshots_taken, counts.snapshots_failed, counts.snapshots_sent, counts.snapshots_installed
    );
    if let Some(transfer) = &status.receiving {
        text += &format!(",receiving={}/{}", transfer.received_bytes, transfer.total_bytes);
    }
    if let Some(upto) = status.installing {
        text += &format!(",installing={}", upto.index);
    }
    text
}

/// `RAFT SCRUB`: reads the stored log again now, and says what it has found.
async fn scrubbed(server: &Server, reply: &mut Reply) {
    match server.node.scrub().await {
        Ok(found) => {
            reply.map(4);
            let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
            for (name, value) in
                [("from", found.from.0), ("upto", found.end.prev().0), ("bytes", found.bytes)]
            {
                reply.bulk(name.as_bytes());
                reply.integer(number(value));
            }
            reply.bulk(b"damages");
            reply.array(found.damages.len());
            for damage in &found.damages {
                reply.bulk(damage.to_string().as_bytes());
            }
        }
        Err(error) => reply.error(&format!("ERR {error}")),
    }
}

/// What reading the stored log again has found since the start.
fn scrub(status: &Status) -> String {
    let scrub = &status.scrub;
    let mut text = format!(
        "passes={},bytes={},damages={},healed={}",
        scrub.passes, scrub.bytes, scrub.damages, status.counters.healed
    );
    if let Some(position) = scrub.position {
        text += &format!(",position={position}");
    }
    if let Some(age) = scrub.pass_age {
        text += &format!(",last-pass-s={}", age.as_secs());
    }
    if let Some(healing) = status.healing {
        text += &format!(",healing-upto={healing}");
    }
    if let Some(damage) = &scrub.damage {
        text += &format!(",last-damage={}", damage.to_string().replace(',', ";"));
    }
    if let Some(failure) = &scrub.failure {
        text += &format!(",failed={failure}");
    }
    text
}

/// `RAFT SCAN from count`: committed entries as this node has them.
async fn scan(server: &Server, from: u64, count: u64, reply: &mut Reply) {
    let status = server.node.status();
    let from = from.max(status.first_index.0);
    let end = from.saturating_add(count.min(SCAN_ENTRIES)).min(status.commit_index.next().0);
    if from >= end {
        return reply.array(0);
    }
    let entries = match server.reader.entries(Index(from)..Index(end), SCAN_BYTES).await {
        Ok(entries) => entries,
        Err(error) => return reply.error(&format!("ERR {error}")),
    };
    reply.array(entries.len());
    for entry in entries {
        reply.map(4);
        for (name, number) in [("index", entry.id.index.0), ("term", entry.id.term.0)] {
            reply.bulk(name.as_bytes());
            reply.integer(i64::try_from(number).unwrap_or(i64::MAX));
        }
        reply.bulk(b"kind");
        reply.bulk(format!("{:?}", entry.kind).to_lowercase().as_bytes());
        reply.bulk(b"commands");
        let commands = match entry.kind {
            EntryKind::Commands => unpack_any(&entry.data).map(|packed| packed.commands).unwrap_or_default(),
            _ => Vec::new(),
        };
        reply.array(commands.len());
        for (mark, command) in commands {
            reply.bulk(show::numbered(mark, &command).as_bytes());
        }
    }
}
