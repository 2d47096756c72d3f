//! The cluster as clients of Redis Cluster see it: all slots on the leader, the others are its replicas.

use bytes::Bytes;
use raft_core::ids::NodeId;
use raft_core::membership::Member;
use raft_core::status::Status;

use super::local::{unknown_subcommand, upper};
use crate::resp::Reply;
use crate::server::{Server, client_address};

/// How many slots Redis Cluster has.
const SLOTS: i64 = 16_384;

/// The slot of a key: CRC16 of the key, or of its hash tag.
pub(crate) fn slot(key: &[u8]) -> u16 {
    redis_protocol::redis_keyslot(key)
}

/// Answers `CLUSTER ...`.
pub(crate) fn command(server: &Server, args: &[Bytes], reply: &mut Reply) {
    let status = server.node.status();
    match (upper(args.get(1)).as_slice(), args.get(2..).unwrap_or_default()) {
        (b"MYID", []) => reply.bulk(server.name_of(status.id).as_bytes()),
        (b"KEYSLOT", [key]) => reply.integer(i64::from(slot(key))),
        (b"INFO", []) => info(&status, reply),
        (b"SLOTS", []) => slots(server, &status, reply),
        (b"SHARDS", []) => shards(server, &status, reply),
        (b"NODES", []) => nodes(server, &status, reply),
        _ => unknown_subcommand("CLUSTER", args.get(1), reply),
    }
}

/// The member that has all slots. Without a leader this node stands in, so that clients keep asking: it
/// answers `CLUSTERDOWN` until there is one.
fn owner(status: &Status) -> NodeId {
    status.leader.as_ref().map_or(status.id, |leader| leader.id)
}

/// All members, the owner of the slots first.
fn members(status: &Status) -> Vec<&Member> {
    let owner = owner(status);
    let mut members: Vec<_> = status.membership.members.values().collect();
    members.sort_by_key(|member| (member.id != owner, member.id));
    members
}

fn info(status: &Status, reply: &mut Reply) {
    let state = if status.leader.is_some() { "ok" } else { "fail" };
    let known = status.membership.members.len();
    let term = status.term;
    let text = [
        format!("cluster_state:{state}"),
        format!("cluster_slots_assigned:{SLOTS}"),
        format!("cluster_slots_ok:{}", if status.leader.is_some() { SLOTS } else { 0 }),
        "cluster_slots_pfail:0".to_owned(),
        format!("cluster_slots_fail:{}", if status.leader.is_some() { 0 } else { SLOTS }),
        format!("cluster_known_nodes:{known}"),
        "cluster_size:1".to_owned(),
        format!("cluster_current_epoch:{term}"),
        format!("cluster_my_epoch:{term}"),
    ];
    reply.bulk((text.join("\r\n") + "\r\n").as_bytes());
}

fn slots(server: &Server, status: &Status, reply: &mut Reply) {
    let members = members(status);
    if members.is_empty() {
        reply.array(0);
        return;
    }
    reply.array(1);
    reply.array(2 + members.len());
    reply.integer(0);
    reply.integer(SLOTS - 1);
    for member in members {
        let (host, port) = client_address(member);
        reply.array(4);
        reply.bulk(host.as_bytes());
        reply.integer(i64::from(port));
        reply.bulk(server.name_of(member.id).as_bytes());
        reply.array(0);
    }
}

fn shards(server: &Server, status: &Status, reply: &mut Reply) {
    let members = members(status);
    if members.is_empty() {
        reply.array(0);
        return;
    }
    reply.array(1);
    reply.map(2);
    reply.bulk(b"slots");
    reply.array(2);
    reply.integer(0);
    reply.integer(SLOTS - 1);
    reply.bulk(b"nodes");
    reply.array(members.len());
    for member in members {
        let (host, port) = client_address(member);
        let role = if member.id == owner(status) { "master" } else { "replica" };
        reply.map(7);
        for (name, value) in [("id", server.name_of(member.id).as_str()), ("ip", host), ("endpoint", host)] {
            reply.bulk(name.as_bytes());
            reply.bulk(value.as_bytes());
        }
        reply.bulk(b"port");
        reply.integer(i64::from(port));
        reply.bulk(b"role");
        reply.bulk(role.as_bytes());
        reply.bulk(b"replication-offset");
        let applied = status.peers.iter().find(|peer| peer.id == member.id).map(|peer| peer.match_index);
        let applied = applied.unwrap_or(status.applied_index);
        reply.integer(i64::try_from(applied.0).unwrap_or(i64::MAX));
        reply.bulk(b"health");
        reply.bulk(b"online");
    }
}

fn nodes(server: &Server, status: &Status, reply: &mut Reply) {
    let owner = owner(status);
    let mut text = String::new();
    for member in members(status) {
        let (host, port) = client_address(member);
        let peer_port = member.address.rsplit_once(':').map_or("0", |(_, port)| port);
        let myself = if member.id == status.id { "myself," } else { "" };
        let (role, master, range) = if member.id == owner {
            ("master", String::from("-"), format!(" 0-{}", SLOTS - 1))
        } else {
            ("slave", server.name_of(owner), String::new())
        };
        let id = server.name_of(member.id);
        let term = status.term;
        text +=
            &format!("{id} {host}:{port}@{peer_port} {myself}{role} {master} 0 0 {term} connected{range}\n");
    }
    reply.bulk(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::slot;

    #[test]
    fn slots_are_those_of_redis() {
        assert_eq!(slot(b"123456789"), 12739);
        assert_eq!(slot(b""), 0);
        assert_eq!(slot(b"{user1000}.following"), slot(b"{user1000}.followers"));
        assert_eq!(slot(b"foo{bar}{zap}"), slot(b"bar"));
        assert_eq!(slot(b"foo{{bar}}zap"), slot(b"{bar"));
        assert_ne!(slot(b"foo{}{bar}"), slot(b"bar"));
    }
}
