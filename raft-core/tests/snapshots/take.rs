//! When a snapshot is taken.

use bytes::Bytes;
use raft_core::backend::{SnapshotContent, SnapshotId, SnapshotMeta};
use raft_core::entry::{EntryKind, pack};
use raft_core::ids::{Index, LogId};

use super::world::*;

#[test]
fn a_snapshot_is_due_after_so_many_entries() {
    let mut node = Node::leader(config());
    node.grow(9);
    assert!(node.raft.poll_snapshot().is_none());
    node.grow(10);
    let take = node.raft.poll_snapshot().unwrap();
    assert_eq!((take.upto, &take.membership), (id(2, 10), &members(&[1, 2, 3])));
    assert_eq!(node.status().taking, Some(id(2, 10)));
    assert!(node.raft.poll_snapshot().is_none(), "one at a time");
    // Meanwhile everything goes on; what was executed since then counts for the next.
    node.grow(19);
    node.raft.handle_snapshot_taken(node.now, snapshot(1, take.upto, 10));
    assert_eq!(node.status().snapshot.unwrap().upto, id(2, 10));
    assert!(node.raft.poll_snapshot().is_none());
    node.grow(20);
    assert_eq!(node.raft.poll_snapshot().unwrap().upto, id(2, 20));
}

#[test]
fn a_snapshot_is_due_after_so_many_bytes() {
    let mut config = config();
    (config.snapshot_every_entries, config.snapshot_every_bytes) = (0, 10_000);
    let mut node = Node::leader(config);
    let large = pack(&[Bytes::from(vec![0; 4000])]);
    for index in 7..=9 {
        assert!(node.raft.poll_snapshot().is_none());
        node.raft.propose(node.now, large.clone()).unwrap();
        node.settle();
        node.acknowledge(A, index);
        node.settle();
    }
    let taken = node.take(1);
    assert_eq!(taken.upto, id(2, 9));
    node.grow(30);
    assert!(node.raft.poll_snapshot().is_none(), "what the last one covers does not count");
}

/// A node that stands still, for whatever reason, begins nothing more.
#[test]
fn who_has_failed_or_halted_takes_and_drops_nothing() {
    for halts in [false, true] {
        let stop = |node: &mut Node| match halts {
            // Somebody else leads the same term.
            true => node.hear(A, 2, append(id(1, 5), &[], 5)),
            false => node.raft.handle_write_failed(node.now),
        };
        let mut node = Node::leader(config());
        node.grow(10);
        node.acknowledge(B, 10);
        let mut taken = node.raft.clone();
        stop(&mut node);
        assert_eq!(node.raft.poll_snapshot(), None);
        std::mem::swap(&mut node.raft, &mut taken);
        node.take(1);
        assert_eq!(node.status().counters.snapshots_taken, 1);
        stop(&mut node);
        assert_eq!(node.raft.poll_purge(), None);
    }
}

/// The snapshot that is due, taken.
fn take_of_4000_bytes(node: &mut Node) {
    let due = node.raft.poll_snapshot().unwrap();
    let content = SnapshotContent { total_bytes: 4000, checksum: 0 };
    let taken = SnapshotMeta::new(SnapshotId(1), due.upto, due.membership, content);
    node.raft.handle_snapshot_taken(node.now, taken);
}

#[test]
fn a_large_snapshot_is_followed_by_another_when_the_log_has_grown_with_it() {
    let mut config = config();
    config.snapshot_growth = 3;
    let mut node = Node::leader(config);
    node.grow(10);
    take_of_4000_bytes(&mut node);
    node.grow(30);
    assert!(node.raft.poll_snapshot().is_none(), "many entries, and small ones");
    let large = pack(&[Bytes::from(vec![0; 4000])]);
    for index in 31..=33 {
        assert!(node.raft.poll_snapshot().is_none());
        node.raft.propose(node.now, large.clone()).unwrap();
        node.settle();
        node.acknowledge(A, index);
        node.settle();
    }
    assert_eq!(node.raft.poll_snapshot().unwrap().upto, id(2, 33));
}

#[test]
fn so_many_small_entries_are_not_waited_out() {
    let mut config = config();
    config.snapshot_growth = 1_000_000;
    let mut node = Node::leader(config);
    node.grow(10);
    take_of_4000_bytes(&mut node);
    node.grow(109);
    assert!(node.raft.poll_snapshot().is_none(), "fewer than ten times as many as make one due");
    node.grow(110);
    assert_eq!(node.raft.poll_snapshot().unwrap().upto, id(2, 110));
}

#[test]
fn nothing_is_taken_while_something_is_executed() {
    let mut node = Node::leader(config());
    node.grow(9);
    node.raft.propose(node.now, pack(&[])).unwrap();
    node.persist();
    node.acknowledge(A, 10);
    let apply = node.raft.poll_apply().unwrap();
    assert!(node.raft.poll_snapshot().is_none());
    node.raft.take_snapshot(node.now);
    assert!(node.raft.poll_snapshot().is_none());
    node.raft.handle_applied(node.now, apply.through.index);
    assert_eq!(node.raft.poll_snapshot().unwrap().upto, id(2, 10));
}

#[test]
fn who_asks_gets_one_unless_there_is_one_already() {
    let mut node = Node::leader(config());
    node.acknowledge(A, 6);
    node.settle();
    assert!(node.raft.poll_snapshot().is_none());
    node.raft.take_snapshot(node.now);
    assert_eq!(node.take(1).upto, id(2, 6));
    node.raft.take_snapshot(node.now);
    assert!(node.raft.poll_snapshot().is_none(), "there is one");
    node.grow(7);
    assert!(node.raft.poll_snapshot().is_none(), "the question was answered");
}

#[test]
fn one_that_failed_is_taken_again_but_not_at_once() {
    let mut node = Node::leader(config());
    node.grow(10);
    node.raft.poll_snapshot().unwrap();
    node.raft.handle_snapshot_failed(node.now);
    assert_eq!(node.status().counters.snapshots_failed, 1);
    node.grow(11);
    assert!(node.raft.poll_snapshot().is_none());
    node.raft.take_snapshot(node.now);
    assert!(node.raft.poll_snapshot().is_some(), "who asks does not wait");
    node.raft.handle_snapshot_failed(node.now);
    node.elapse(10);
    node.grow(12);
    assert_eq!(node.raft.poll_snapshot().unwrap().upto, id(2, 12));
}

/// canonical/raft#250, #323 (features.md P18): a change that is not committed is in no snapshot, and comes to
/// nothing when it is cut away, also when a snapshot was taken and the log was purged in between.
#[test]
fn p18_a_snapshot_holds_the_committed_membership() {
    let mut config = config();
    config.snapshot_keep_entries = 0;
    let mut node = Node::with(config, 1, 12);
    node.hear(A, 2, append(id(1, 12), &[], 12));
    let change = raft_core::entry::Entry {
        id: id(2, 13),
        kind: EntryKind::Membership,
        data: members(&[1, 2, 3, 4]).encode(),
    };
    let uncommitted =
        raft_core::message::Append { prev: id(1, 12), commit: Index(12), entries: [change].into() };
    node.hear(A, 2, raft_core::message::Message::Append(uncommitted));
    node.settle();
    assert_eq!(node.status().membership, members(&[1, 2, 3, 4]), "in force when it is appended");
    let take = node.raft.poll_snapshot().unwrap();
    assert_eq!((take.upto, &take.membership), (id(1, 12), &members(&[1, 2, 3])));
    let content = SnapshotContent::default();
    let taken = SnapshotMeta::new(SnapshotId(1), take.upto, take.membership, content);
    node.raft.handle_snapshot_taken(node.now, taken);
    assert_eq!(node.purge(), Some(id(1, 12)));
    node.hear(B, 3, append(id(1, 12), &[id(3, 13)], 12));
    assert_eq!(node.status().last, LogId::new(3, 13));
    assert_eq!(node.status().membership, members(&[1, 2, 3]));
}

/// What is set to 0 makes no snapshot due, however much it comes to; who asks gets one.
#[test]
fn a_policy_of_nothing_takes_none() {
    let mut config = config();
    (config.snapshot_every_entries, config.snapshot_every_bytes) = (0, 0);
    let mut node = Node::leader(config);
    node.grow(200);
    assert!(node.raft.poll_snapshot().is_none());
    node.raft.take_snapshot(node.now);
    assert_eq!(node.take(1).upto, id(2, 200));
}

/// Where the number of entries makes none due, it does not put an end to waiting for growth either.
#[test]
fn without_a_number_of_entries_growth_alone_is_waited_for() {
    let mut config = config();
    (config.snapshot_every_entries, config.snapshot_every_bytes, config.snapshot_growth) = (0, 1, 3);
    let mut node = Node::leader(config);
    node.grow(10);
    let first = node.raft.poll_snapshot().unwrap();
    node.raft.handle_snapshot_taken(node.now, snapshot(1, first.upto, 4000));
    node.grow(12);
    assert!(node.raft.poll_snapshot().is_none());
    node.raft.propose(node.now, pack(&[Bytes::from(vec![0; 12_000])])).unwrap();
    node.settle();
    node.acknowledge(A, 13);
    node.settle();
    assert_eq!(node.raft.poll_snapshot().unwrap().upto, id(2, 13));
}
