//! Who is reached beside the members, and until when; and who is reported to have left.

use raft_core::entry::Entry;
use raft_core::ids::{LogId, NodeId};
use raft_core::membership::Change;
use raft_core::message::Message;
use raft_core::raft::Event;

use super::world::*;

/// Whom it said last that it reaches.
fn reach(node: &mut Node) -> Option<Vec<NodeId>> {
    node.settle();
    let last = node.events.drain(..).rev().find_map(|event| match event {
        Event::MembershipChanged { reach, .. } => Some(reach),
        _ => None,
    });
    last.map(|reach| reach.into_iter().map(|member| member.id).collect())
}

/// All that it said of who has left.
fn left(node: &mut Node) -> Vec<NodeId> {
    node.settle();
    let left = node.events.drain(..).filter_map(|event| match event {
        Event::MembershipChanged { left, .. } => Some(left),
        _ => None,
    });
    left.flatten().collect()
}

/// The next entry is one of these voters, and is committed.
fn change(node: &mut Node, ids: &[NodeId]) {
    let prev = node.status().last;
    let next = id(1, prev.index.0 + 1);
    node.hear(A, 1, append(prev, vec![entry(next, &voters(ids))], next.index.0));
}

/// Each has an election timeout to learn that it is out, from when that is committed.
#[test]
fn who_leaves_is_reached_for_an_election_timeout() {
    let mut node = Node::follower(config(), &[ME, A, B, C]);
    assert_eq!(reach(&mut node), Some(vec![A, B, C]));
    let start = node.now;
    change(&mut node, &[ME, A, C]);
    assert_eq!(reach(&mut node), Some(vec![A, C, B]));
    node.at(start + MILLI * 100);
    change(&mut node, &[ME, A]);
    assert_eq!(reach(&mut node), Some(vec![A, B, C]));
    for (after, reached) in [
        (timeout() - NANO, None),
        (timeout(), Some(vec![A, C])),
        (timeout() + MILLI * 100 - NANO, None),
        (timeout() + MILLI * 100, Some(vec![A])),
    ] {
        node.beat(A, 1);
        node.at(start + after);
        assert_eq!(reach(&mut node), reached, "{after:?}");
    }
}

/// The same holds for this node itself: then it reaches nobody any more.
#[test]
fn who_is_removed_reaches_the_others_for_an_election_timeout() {
    let mut node = Node::follower(config(), &[ME, A, B]);
    let end = node.now + timeout();
    change(&mut node, &[A, B]);
    assert_eq!(reach(&mut node), Some(vec![A, B]));
    node.at(end - NANO);
    assert_eq!(reach(&mut node), None);
    node.at(end);
    assert_eq!(reach(&mut node), Some(vec![]));
}

/// So it does when it comes up, by what its log says.
#[test]
fn who_comes_up_removed_reaches_the_others_for_an_election_timeout() {
    let log = [first(&[ME, A, B]), entry(id(0, 2), &voters(&[A, B]))];
    let mut node = Node::with(config(), &log, id(0, 2));
    assert_eq!(reach(&mut node), Some(vec![A, B]));
    node.at(node.now + timeout());
    assert_eq!(reach(&mut node), Some(vec![]));
}

/// What a node is sent while it leaves goes where it was when it was a member.
#[test]
fn who_leaves_is_sent_to_its_address() {
    let mut node = Node::leader(config(), &[ME, A, B]);
    node.raft.change_membership(node.now, &[Change::Remove(B)], Default::default()).unwrap();
    for index in [3, 4] {
        node.settle();
        node.acknowledge(A, index);
    }
    assert!(!node.status().membership.is_member(B));
    node.addresses.clear();
    node.at(node.now + config().heartbeat_interval);
    let sent = node.settle();
    let told = |(to, message): &(NodeId, Message)| *to == B && matches!(message, Message::Notice(_));
    assert!(sent.iter().any(told), "{sent:?}");
    assert_eq!(node.addresses.get(&B).map(String::as_str), Some("node-3"));
}

/// Of many entries that are committed at once, each counts: also where a later one takes it back, and also where this
/// node knew nothing at all before.
#[test]
fn who_was_removed_and_is_back_has_left() {
    let mut node = Node::follower(config(), &[ME, A, B]);
    let entries = vec![entry(id(1, 2), &voters(&[ME, A])), entry(id(1, 3), &voters(&[ME, A, B]))];
    node.hear(A, 1, append(id(0, 1), entries, 3));
    assert_eq!(left(&mut node), [B]);

    let mut node = Node::with(config(), &[], LogId::ZERO);
    node.settle();
    let entries: Vec<Entry> = vec![first(&[ME, A, B]), entry(id(1, 2), &voters(&[ME, A]))];
    node.hear(A, 1, append(LogId::ZERO, entries, 2));
    assert_eq!(left(&mut node), [B]);
}
