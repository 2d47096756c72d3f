//! Followers that a quorum can do without: leaders that have found out who they are.

mod choice;
mod waiting;

use std::time::Duration;

use bytes::Bytes;
use raft_core::entry::pack;
use raft_core::ids::{Index, NodeId};
use raft_core::membership::Change;
use raft_core::message::{HeartbeatReply, Message, PeerEvent, ReadIndex};
use raft_core::raft::ChangeOptions;
use raft_core::{Config, Lease, Settings};

use super::world::*;

const D: NodeId = NodeId(5);
const E: NodeId = NodeId(6);
const MICRO: Duration = Duration::from_micros(1);
/// How long a commit usually takes here, and how long entries may wait.
const USUAL: Duration = Duration::from_micros(500);
const DELAY: Duration = Duration::from_millis(5);
/// What is late: three times as long as usual.
const LATE: Duration = Duration::from_micros(1500);
/// Commits that are counted, and how long a choice stands.
const COUNTED: usize = 32;
const STANDS: Duration = Duration::from_secs(1);

fn fed(sent: &[(NodeId, Message)], peer: NodeId) -> Vec<u64> {
    let appends = sent.iter().filter_map(|(to, message)| match message {
        Message::Append(append) if *to == peer => Some(&append.entries),
        _ => None,
    });
    appends.flat_map(|entries| entries.iter().map(|entry| entry.id.index.0).collect::<Vec<_>>()).collect()
}

/// Who is sent entries now.
fn whom(node: &mut Node) -> Vec<NodeId> {
    let sent = node.settle();
    let mut whom: Vec<NodeId> =
        [A, B, C, D, E].into_iter().filter(|id| !fed(&sent, *id).is_empty()).collect();
    whom.dedup();
    whom
}

fn spares(node: &Node) -> Vec<u64> {
    node.status().peers.iter().filter(|peer| peer.spare).map(|peer| peer.id.0).collect()
}

/// A command is proposed, and these acknowledge it in this order when it has taken as long as usual. To whom it went at once.
fn commit(node: &mut Node, by: &[NodeId]) -> Vec<NodeId> {
    commit_in(node, USUAL, by)
}

fn commit_in(node: &mut Node, took: Duration, by: &[NodeId]) -> Vec<NodeId> {
    let index = node.propose();
    let whom = whom(node);
    node.at(node.now + took);
    for peer in by {
        node.acknowledge(*peer, index);
        node.settle();
    }
    assert_eq!(node.status().commit_index, Index(index));
    whom
}

/// A leader of these, with what it has found out after as many commits as it counts, which these made.
fn chosen(config: Config, ids: &[NodeId], by: &[NodeId]) -> Node {
    let mut node = Node::of(config, ids).elected();
    node.settle();
    for id in &ids[1..] {
        node.acknowledge(*id, 2);
    }
    node.settle();
    // The no-op was the first.
    for _ in 1..COUNTED {
        assert_eq!(commit(&mut node, by), ids[1..], "while it is not known who is enough");
    }
    node
}

/// The same, where the choice has shown that it pays. Everybody has everything, and a heartbeat has just been sent.
fn leader(config: Config, ids: &[NodeId], by: &[NodeId]) -> Node {
    let mut node = chosen(config, ids, by);
    for _ in 0..COUNTED + COUNTED / 2 {
        commit(&mut node, &by[..ids.len() / 2]);
    }
    node.at(node.now + node.raft.config().heartbeat_interval);
    node.settle();
    let last = node.status().last.index.0;
    ids[1..].iter().for_each(|id| node.acknowledge(*id, last));
    node.settle();
    node
}

/// The round of the heartbeats among these.
fn round(sent: &[(NodeId, Message)]) -> u64 {
    let round = sent.iter().find_map(|(_, message)| match message {
        Message::Heartbeat(beat) => Some(beat.round),
        _ => None,
    });
    round.unwrap()
}

fn leader_of_three() -> Node {
    leader(config(), &[ME, A, B], &[A, B])
}
