//! Entries that have left memory are read from the journal; and what is done about those that are damaged there.

use bytes::Bytes;
use raft_core::ids::{Index, LogId};
use raft_core::raft::Fetch;

use super::world::*;

/// A follower whose log of 20 entries is in its journal only, and committed.
fn restarted() -> Node {
    let mut node = Node::with(config(), 1, 20);
    node.hear(A, 2, append(id(1, 20), &[], 20));
    node.persist();
    node
}

fn asked(node: &mut Node) -> Fetch {
    assert!(node.raft.poll_apply().is_none());
    node.raft.poll_fetch().unwrap()
}

#[test]
fn what_is_to_be_executed_is_read_once() {
    let mut node = restarted();
    let fetch = asked(&mut node);
    assert_eq!(fetch.range, Index(1)..Index(21));
    assert!(node.raft.wants_fetch(fetch.id));
    assert!(node.raft.poll_apply().is_none() && node.raft.poll_fetch().is_none(), "it is under way");
    // What comes is not what was asked for.
    node.raft.handle_fetched(node.now, fetch.id, vec![entry(id(1, 7))]);
    assert!(!node.raft.wants_fetch(fetch.id));
    let again = asked(&mut node);
    let entries = (1..=20).map(|index| entry(LogId::new(u64::from(index > 1), index))).collect();
    node.raft.handle_fetched(node.now, again.id, entries);
    assert_eq!(node.raft.poll_apply().unwrap().through, id(1, 20));
}

/// What was to be read for followers goes with the leadership, and what is to be executed does not.
#[test]
fn who_leads_no_more_reads_for_nobody_else() {
    let mut config = config();
    config.tail_limit_bytes = 1;
    let mut node = Node::leader(config);
    node.grow(20);
    node.acknowledge(B, 2);
    let _ = node.sent();
    let before = node.raft.clone();
    assert_eq!(node.raft.poll_fetch().unwrap().range.start, Index(3));
    node.raft = before;
    node.beat(A, 3);
    assert!(node.raft.poll_fetch().is_none());

    let mut node = restarted();
    let fetch = asked(&mut node);
    node.beat(B, 3);
    node.elapse(1);
    node.raft.campaign(node.now);
    assert!(node.raft.wants_fetch(fetch.id));
}

/// Damage in what is committed and executed heals: a snapshot covers it, and the journal drops it.
#[test]
fn damage_up_to_the_commit_index_heals() {
    let mut node = Node::leader(config());
    node.grow(8);
    assert!(!node.raft.handle_damage(node.now, &(Index(3)..Index(10))), "9 is not committed");
    assert_eq!(node.status().healing, None);
    assert!(node.raft.handle_damage(node.now, &(Index(3)..Index(9))));
    assert_eq!(node.status().healing, Some(Index(8)));
    node.take(1);
    assert_eq!(node.raft.poll_snapshot(), None, "it covers all of it");
    assert_eq!(node.purge(), Some(id(2, 8)), "whatever the policy keeps");
    assert_eq!((node.status().healing, node.status().counters.healed), (None, 1));
    // What is gone already need not heal.
    assert!(node.raft.handle_damage(node.now, &(Index(7)..Index(9))));
    assert_eq!(node.status().healing, None);
}

/// What has yet to be executed here is lost with the journal's copy; what a follower needs it gets otherwise.
#[test]
fn damage_in_what_was_read_heals_unless_it_must_be_executed() {
    let mut node = restarted();
    let fetch = asked(&mut node);
    assert!(!node.raft.handle_fetch_damaged(node.now, fetch.id, &(Index(4)..Index(5))));

    let mut config = config();
    config.tail_limit_bytes = 1;
    let mut node = Node::leader(config);
    node.grow(8);
    node.acknowledge(B, 2);
    let _ = node.sent();
    let fetch = node.raft.poll_fetch().unwrap();
    assert!(node.raft.handle_fetch_damaged(node.now, fetch.id, &(Index(4)..Index(5))));
    assert_eq!(node.status().healing, Some(Index(4)));
    let taken = node.take(1);
    assert_eq!(node.sent_to(B), [chunk(&taken, 0, b"")], "what it needs is as good as gone");
}

/// The snapshot that heals is of a state that has what was damaged; where the newest one is, none is needed.
#[test]
fn damage_is_covered_by_a_state_that_has_it() {
    let mut config = config();
    config.snapshot_every_entries = 0;
    let mut node = Node::leader(config);
    node.grow(8);
    node.raft.propose(node.now, Bytes::new()).unwrap();
    node.persist();
    let _ = node.sent();
    node.acknowledge(A, 9);
    assert!(node.raft.handle_damage(node.now, &(Index(3)..Index(10))));
    assert_eq!(node.raft.poll_snapshot(), None, "9 was not executed yet");
    node.settle();
    let taken = node.take(1);
    assert_eq!(taken.upto, id(2, 9));
    node.grow(10);
    assert_eq!(node.raft.poll_snapshot(), None, "what was damaged only has to be dropped");
}

/// A follower is sent what was asked for, or nothing.
#[test]
fn what_is_read_for_a_follower_is_what_it_needs() {
    let mut config = config();
    config.tail_limit_bytes = 1;
    let mut node = Node::leader(config);
    node.grow(8);
    node.acknowledge(B, 2);
    assert_eq!(node.sent_to(B), []);
    let fetch = node.raft.poll_fetch().unwrap();
    assert_eq!(fetch.range.start, Index(3));
    node.raft.handle_fetched(node.now, fetch.id, vec![entry(id(1, 4))]);
    assert_eq!(node.sent_to(B), [], "that is something else");
    let again = node.raft.poll_fetch().unwrap();
    assert_eq!(again.range, fetch.range);
    node.raft.handle_fetched(node.now, again.id, vec![entry(id(1, 3))]);
    assert_eq!(node.sent_to(B), [append(id(1, 2), &[id(1, 3)], 8)]);
}
