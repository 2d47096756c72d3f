//! Which entries stay in memory, and which of them a follower can be fed from without the journal.

use raft_core::ids::{Index, NodeId};
use raft_core::membership::Change;
use raft_core::message::{Append, HeartbeatReply, Message, PeerEvent};
use raft_core::raft::ChangeOptions;
use raft_core::status::RoleKind;
use raft_core::{Config, Settings};

use super::world::*;

/// What one of the entries of `Node::propose` counts for, and one that `noop` makes.
const ENTRY: u64 = 64 + 10;
const NOOP: u64 = 64;

fn keeping(keep_bytes: u64) -> Config {
    let mut config = config();
    config.tail_keep_bytes = keep_bytes;
    config
}

/// A leader of these whose log ends with its no-op, 1.2, which everybody has.
fn leader(config: Config, ids: &[NodeId]) -> Node {
    let mut node = Node::of(config, ids).elected();
    node.settle();
    ids[1..].iter().for_each(|follower| node.acknowledge(*follower, 2));
    node.settle();
    assert_eq!(node.status().applied_index, Index(2));
    node
}

/// So many entries more, which A has. The last of them.
fn grow(node: &mut Node, entries: u64) -> u64 {
    let last = (0..entries).map(|_| node.propose()).last().unwrap();
    node.settle();
    node.acknowledge(A, last);
    node.settle();
    assert_eq!(node.status().applied_index, Index(last));
    last
}

fn tail(node: &Node) -> u64 {
    node.status().tail_bytes
}

/// The indexes of all entries that B is sent now. Nothing is read from the journal for it.
fn fed(node: &mut Node, peer: NodeId) -> Vec<u64> {
    let sent = node.sent().into_iter().filter(|(to, _)| *to == peer);
    let entries = sent.filter_map(|(_, message)| match message {
        Message::Append(Append { entries, .. }) => Some(entries),
        _ => None,
    });
    let fed = entries.flat_map(|list| list.iter().map(|entry| entry.id.index.0).collect::<Vec<_>>());
    let fed = fed.collect();
    assert_eq!(node.raft.poll_fetch(), None);
    fed
}

#[test]
fn a_leader_forgets_what_everybody_has() {
    let mut node = leader(keeping(0), &[ME, A, B]);
    assert_eq!(tail(&node), 0);
    assert_eq!(grow(&mut node, 10), 12);
    assert_eq!(tail(&node), 10 * ENTRY, "B lacks all of it");
    node.acknowledge(B, 7);
    assert_eq!(tail(&node), 5 * ENTRY);
    node.acknowledge(B, 12);
    assert_eq!(tail(&node), 0);
}

#[test]
fn what_is_not_durable_or_not_executed_here_stays() {
    let mut node = leader(keeping(0), &[ME, A, B]);
    node.propose();
    let write = node.raft.poll_write().unwrap();
    node.acknowledge(A, 3);
    node.acknowledge(B, 3);
    assert_eq!((node.status().commit_index, tail(&node)), (Index(3), ENTRY), "it is not durable here");
    node.raft.handle_written(node.now, write.ticket);
    assert_eq!(tail(&node), ENTRY, "it was not executed");
    let apply = node.raft.poll_apply().unwrap();
    assert_eq!(tail(&node), ENTRY);
    node.raft.handle_applied(node.now, apply.through.index);
    assert_eq!(tail(&node), 0);
}

/// Some stay although everybody has them; once they are more, a quarter more of them leaves than has to.
#[test]
fn a_leader_keeps_a_little_of_what_everybody_has() {
    let mut node = leader(keeping(8 * ENTRY), &[ME, A, B]);
    let last = grow(&mut node, 7);
    node.acknowledge(B, last);
    assert_eq!(tail(&node), 7 * ENTRY + NOOP, "that much it may keep");
    let last = grow(&mut node, 1);
    assert_eq!(tail(&node), 6 * ENTRY, "of what B has, enough has left");
    node.acknowledge(B, last);
    for _ in 0..20 {
        let last = grow(&mut node, 1);
        node.acknowledge(B, last);
        assert!((6 * ENTRY..=8 * ENTRY).contains(&tail(&node)), "{}", tail(&node));
    }
}

/// A follower that does not answer, or is slow, costs the leader this much memory and no more.
#[test]
fn a_follower_that_acknowledges_nothing_holds_no_more_than_the_limit() {
    let mut config = keeping(0);
    config.tail_limit_bytes = 5 * ENTRY;
    let mut node = leader(config, &[ME, A, B]);
    for entries in 1..=20 {
        grow(&mut node, 1);
        assert_eq!(tail(&node), entries.min(5) * ENTRY);
    }
    node.acknowledge(B, 22);
    assert_eq!(tail(&node), 0);
}

/// The smaller of the two counts.
#[test]
fn what_is_kept_counts_towards_the_limit() {
    let mut config = keeping(9 * ENTRY);
    config.tail_limit_bytes = 2 * ENTRY;
    let mut node = leader(config, &[ME, A, B]);
    let last = grow(&mut node, 9);
    node.acknowledge(B, last);
    assert_eq!(tail(&node), 2 * ENTRY);
}

/// A learner is fed as a voter is, from the moment at which its entry is appended.
#[test]
fn a_learner_holds_what_it_lacks() {
    let mut node = leader(keeping(0), &[ME, A, B]);
    let add = [Change::AddLearner(member(C))];
    node.raft.change_membership(node.now, &add, ChangeOptions::default()).unwrap();
    let added = node.status().last.index.0;
    let last = grow(&mut node, 4);
    node.acknowledge(B, last);
    assert!(tail(&node) > 4 * ENTRY, "the learner has nothing yet");
    // It answers a round that was begun since it was added, and what it says counts from then on.
    let round = node_round(&mut node);
    node.answer(C, round, 1);
    node.acknowledge(C, added);
    assert_eq!(tail(&node), 4 * ENTRY);
    node.acknowledge(C, last);
    assert_eq!(tail(&node), 0);
}

/// The next heartbeat round, which has begun.
fn node_round(node: &mut Node) -> u64 {
    node.at(node.now + config().heartbeat_interval);
    let sent = node.sent().into_iter();
    let rounds = sent.filter_map(|(_, message)| match message {
        Message::Heartbeat(heartbeat) => Some(heartbeat.round),
        _ => None,
    });
    rounds.max().unwrap()
}

/// While a change is under way both halves are fed, and who leaves until it had time to learn that.
#[test]
fn a_removed_follower_holds_nothing_any_more() {
    let mut node = leader(keeping(0), &[ME, A, B, C]);
    for _ in 0..4 {
        let last = node.propose();
        node.settle();
        node.acknowledge(A, last);
        node.acknowledge(C, last);
    }
    node.settle();
    assert_eq!(tail(&node), 4 * ENTRY, "B lacks them");
    node.raft.change_membership(node.now, &[Change::Remove(B)], ChangeOptions::default()).unwrap();
    for _ in 0..3 {
        node.settle();
        let last = node.status().last.index.0;
        node.acknowledge(A, last);
        node.acknowledge(C, last);
    }
    node.settle();
    let last = node.status().last.index;
    assert_eq!(node.status().applied_index, last);
    assert!(tail(&node) > 4 * ENTRY, "B may still be told");
    for _ in 0..8 {
        let round = node_round(&mut node);
        node.answer(A, round, last.0);
        node.answer(C, round, last.0);
        node.settle();
    }
    assert_eq!((node.status().role, node.status().last.index), (RoleKind::Leader, last));
    assert_eq!((node.status().peers.len(), tail(&node)), (2, 0));
}

/// It gets nothing until it was removed and added anew; the leader said so.
#[test]
fn a_follower_that_was_set_back_holds_nothing() {
    let mut node = leader(keeping(0), &[ME, A, B]);
    grow(&mut node, 4);
    assert_eq!(tail(&node), 4 * ENTRY);
    let round = node_round(&mut node);
    node.reply(B, HeartbeatReply { round, last: Index(1), ..HeartbeatReply::default() });
    assert_eq!(tail(&node), 0);
}

/// A follower that stood still comes back, and its connection is a new one: as long as what it lacks is within the limit the
/// journal is not asked for any of it.
#[test]
fn a_follower_that_stalled_is_fed_from_memory() {
    for breaks in [false, true] {
        let mut config = keeping(0);
        config.tail_limit_bytes = 200 * ENTRY;
        config.append_limit_bytes = 10 * ENTRY;
        config.window_bytes = 20 * ENTRY;
        let mut node = leader(config, &[ME, A, B]);
        let last = grow(&mut node, 200);
        assert_eq!((last, tail(&node)), (202, 200 * ENTRY));
        // What was under way when it stopped comes again if the connection broke.
        let mut has = if breaks { 2 } else { 22 };
        if breaks {
            node.raft.handle_peer(node.now, B, PeerEvent::Down);
            node.raft.handle_peer(node.now, B, PeerEvent::Up);
        }
        while has < last {
            node.acknowledge(B, has);
            let sent = fed(&mut node, B);
            assert_eq!(sent.first(), Some(&(has + 1)));
            has = *sent.last().unwrap();
        }
        node.acknowledge(B, last);
        assert_eq!(tail(&node), 0);
    }
}

/// Who follows does not know what others have. What is not committed stays; of the rest so much.
#[test]
fn a_follower_keeps_what_it_may_have_to_feed_others() {
    let mut node = Node::follower(keeping(8 * NOOP), &[ME, A, B]);
    let entries = |range: core::ops::RangeInclusive<u64>| range.map(|index| noop(1, index)).collect();
    node.hear(A, 1, append(id(0, 1), entries(2..=21), 1));
    node.settle();
    assert_eq!(tail(&node), 20 * NOOP, "none is committed");
    node.hear(A, 1, append(id(1, 21), vec![], 5));
    assert_eq!(tail(&node), 20 * NOOP, "none was executed");
    node.settle();
    assert_eq!(tail(&node), 16 * NOOP, "what was executed has left");
    node.hear(A, 1, append(id(1, 21), vec![], 21));
    node.settle();
    assert_eq!(tail(&node), 6 * NOOP);

    // It is elected, and B lacks the last ones: no journal is asked. It would be for what came before.
    let mut node = node.elected();
    node.settle();
    assert_eq!(node.status().last, id(2, 22));
    node.hear(
        B,
        2,
        Message::AppendReply(raft_core::message::AppendReply::Rejected {
            prev: Index(21),
            hint: id(1, 15),
            last: Index(15),
        }),
    );
    assert_eq!(fed(&mut node, B), (16..=22).collect::<Vec<_>>());
    node.raft.handle_peer(node.now, B, PeerEvent::Down);
    node.raft.handle_peer(node.now, B, PeerEvent::Up);
    let _ = node.sent();
    node.acknowledge(B, 14);
    let _ = node.sent();
    assert_eq!(node.raft.poll_fetch().map(|fetch| fetch.range), Some(Index(15)..Index(16)));
}

/// Nobody else needs anything of it.
#[test]
fn the_only_voter_forgets_what_it_has_executed() {
    let mut node = Node::of(keeping(4 * ENTRY), &[ME]);
    node.raft.campaign(node.now);
    node.settle();
    for _ in 0..20 {
        node.propose();
        node.settle();
        assert!(tail(&node) <= 4 * ENTRY);
    }
    assert!(tail(&node) >= 3 * ENTRY);
}

/// Settings that come while it leads hold from the next input on.
#[test]
fn other_settings_hold_at_once() {
    let mut node = leader(keeping(100 * ENTRY), &[ME, A, B]);
    let last = grow(&mut node, 50);
    node.acknowledge(B, last);
    assert!(tail(&node) >= 50 * ENTRY);
    let settings = Settings { tail_keep_bytes: Some(0), ..Settings::default() };
    node.raft.reconfigure(node.now, &settings).unwrap();
    assert_eq!(tail(&node), 0);
}
