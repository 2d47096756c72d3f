//! What the log forgets, and what it keeps for whom.

use bytes::Bytes;
use raft_core::entry::pack;
use raft_core::error::ConfigError;
use raft_core::ids::{Index, LogId};
use raft_core::message::Message;
use raft_core::raft::Restored;
use raft_core::status::PeerState;
use raft_core::time::Time;
use raft_core::{Config, Raft};

use super::world::*;

/// A leader with a snapshot of everything up to 2.10, and B, which has the same log as A.
fn compacted() -> Node {
    let mut node = Node::leader(config());
    node.grow(10);
    node.acknowledge(B, 10);
    node.take(1);
    node
}

#[test]
fn a_tail_before_the_snapshot_is_kept() {
    let mut node = compacted();
    assert_eq!(node.status().first_index, Index(1), "nothing goes before the journal is asked");
    let upto = node.raft.poll_purge().unwrap();
    assert_eq!(upto, id(2, 8));
    assert!(node.raft.poll_purge().is_none(), "one at a time");
    assert_eq!(node.status().first_index, Index(1), "nor before it has done it");
    node.raft.handle_purged(node.now, upto);
    assert_eq!(node.status().first_index, Index(9));
    assert!(node.purge().is_none());
    node.grow(19);
    assert!(node.purge().is_none(), "without another snapshot there is nothing more");
    node.acknowledge(B, 20);
    node.grow(20);
    node.acknowledge(B, 20);
    node.take(2);
    assert_eq!(node.purge(), Some(id(2, 18)));
}

#[test]
fn the_tail_is_bounded_in_bytes_too() {
    let mut config = config();
    (config.snapshot_keep_entries, config.snapshot_keep_bytes) = (1000, 20_000);
    let mut node = Node::leader(config);
    for index in 7..=16 {
        node.raft.propose(node.now, pack(&[Bytes::from(vec![0; 5000])])).unwrap();
        node.settle();
        node.acknowledge(A, index);
        node.acknowledge(B, index);
        node.settle();
    }
    node.take(1);
    assert_eq!(node.purge(), Some(id(2, 13)), "three entries of 5064 bytes fit");
}

#[test]
fn nothing_goes_that_was_not_executed_here() {
    // A snapshot that came while the log had its last entry: the state machine is not there yet.
    let mut node = Node::with(config(), 1, 20);
    let of = snapshot(9, id(1, 15), 0);
    node.hear(A, 2, append(id(1, 20), &[], 5));
    node.settle();
    node.raft.handle_snapshot_taken(node.now, of);
    assert!(node.purge().is_none());
    node.hear(A, 2, append(id(1, 20), &[], 20));
    node.settle();
    assert_eq!(node.purge(), Some(id(1, 13)));
}

#[test]
fn a_follower_that_answers_and_lags_is_waited_for_within_a_bound() {
    let mut node = Node::leader(config());
    node.grow(10);
    node.acknowledge(B, 7);
    node.take(1);
    // Two entries are kept; for B as many again: it has 7 and could be waited for from 6 on.
    assert_eq!(node.purge(), Some(id(2, 7)), "more than half of what may go");
    node.acknowledge(B, 8);
    assert_eq!(node.purge(), Some(id(2, 8)));
    // One that lies further behind is not: it will get the snapshot.
    let mut node = Node::leader(config());
    node.acknowledge(B, 6);
    node.grow(20);
    node.take(1);
    assert_eq!(node.purge(), Some(id(2, 16)));
    assert_eq!(node.purge(), None, "two entries are kept for it beyond the two");
    node.acknowledge(B, 17);
    assert_eq!(node.purge(), Some(id(2, 17)), "half of what may go");
    node.acknowledge(B, 20);
    assert_eq!(node.purge(), Some(id(2, 18)));
}

#[test]
fn a_follower_that_is_silent_is_not_waited_for() {
    let mut node = Node::leader(config());
    node.acknowledge(B, 8);
    node.grow(10);
    node.take(1);
    node.elapse_without_b(1);
    assert_eq!(node.purge(), Some(id(2, 8)));
}

/// Entries that are being read for a follower, which then are purged: nobody waits for them any more, and the
/// follower gets a snapshot.
#[test]
fn what_was_being_read_for_a_follower_that_is_left_behind_is_forgotten() {
    let mut config = config();
    config.tail_limit_bytes = 1;
    let mut node = Node::leader(config);
    node.grow(20);
    node.acknowledge(B, 2);
    let _ = node.sent();
    let fetch = node.raft.poll_fetch().unwrap();
    assert_eq!(fetch.range.start, Index(3));
    assert!(node.raft.wants_fetch(fetch.id));
    node.take(1);
    let upto = node.raft.poll_purge().unwrap();
    assert_eq!(upto, id(2, 16));
    assert!(!node.raft.wants_fetch(fetch.id), "the journal may say that it is gone");
    let entries = (3..=20).map(|index| entry(id(2, index))).collect();
    node.raft.handle_fetched(node.now, fetch.id, entries);
    let sent = node.sent_to(B);
    assert!(sent.iter().all(|message| matches!(message, Message::Snapshot(_))), "{sent:?}");
    assert_eq!(node.peer(B).state, PeerState::Snapshot);
}

/// RedisLabs/raft#49 (features.md P29): known entries are skipped, nothing is appended twice, and nothing is
/// refused again and again.
#[test]
fn p29_appends_that_begin_in_what_was_purged_are_taken() {
    let restored = |last: u64| {
        let more: Vec<LogId> = (101..=last).map(|index| id(1, index)).collect();
        let journal = journal(1, id(1, 100), &more);
        let snapshot = Some(snapshot(1, id(1, 100), 0));
        Node::restored(config(), Restored { journal, snapshot, applied: id(1, 100) })
    };
    let everything: Vec<LogId> = (61..=105).map(|index| id(1, index)).collect();
    for last in [100, 103] {
        let mut node = restored(last);
        node.hear(A, 2, append(LogId::ZERO, &[id(1, 1)], 1));
        node.settle();
        node.hear(A, 2, append(id(1, 60), &everything, 105));
        node.settle();
        let status = node.status();
        assert_eq!((status.last, status.applied_index), (id(1, 105), Index(105)));
        assert_eq!(node.applied, (101..=105).map(|index| id(1, index)).collect::<Vec<_>>());
        assert_eq!(node.status().alarm, None);
        node.hear(A, 2, append(id(1, 105), &[], 105));
        node.persist();
        assert!(matches!(node.sent_to(A)[..], [Message::AppendReply(_)]));
    }
}

#[test]
fn a_node_comes_up_with_its_snapshot_and_what_follows() {
    let change = raft_core::entry::Entry {
        id: id(1, 12),
        kind: raft_core::entry::EntryKind::Membership,
        data: members(&[1, 2]).encode(),
    };
    let mut journal = journal(1, id(1, 8), &[9, 10, 11, 12].map(|index| id(1, index)));
    journal.memberships.push(change);
    let of = snapshot(1, id(1, 10), 0);
    let restored = Restored { journal: journal.clone(), snapshot: Some(of.clone()), applied: id(1, 10) };
    let mut node = Node::restored(config(), restored);
    let status = node.status();
    assert_eq!(status.membership, members(&[1, 2]), "what the log has after the snapshot is in force");
    assert_eq!((status.commit_index, status.snapshot), (Index(10), Some(of.clone())));
    // And is no longer when it is cut away.
    node.hear(A, 2, append(id(1, 11), &[id(2, 12)], 10));
    assert_eq!(node.status().membership, members(&[1, 2, 3]));

    // What was not made to fit before is refused.
    let start = |restored| Raft::new(Config::new(ME, config().cluster), restored, Time::ZERO).err();
    let restored = |snapshot, applied| Restored { journal: journal.clone(), snapshot, applied };
    let none = start(restored(None, id(1, 10)));
    assert_eq!(none, Some(ConfigError::NoSnapshot { purged: id(1, 8), snapshot: None }));
    let ahead = start(restored(Some(snapshot(1, id(1, 20), 0)), id(1, 10)));
    assert!(matches!(ahead, Some(ConfigError::Restored(_))), "{ahead:?}");
    let behind = start(restored(Some(of), id(1, 7)));
    assert!(matches!(behind, Some(ConfigError::Restored(_))), "{behind:?}");
}
