//! A received snapshot takes the place of the log and of the state.

use raft_core::backend::SnapshotMeta;
use raft_core::error::Violation;
use raft_core::ids::{Index, Term};
use raft_core::message::{AppendReply, Ballot, Message, VoteReply};
use raft_core::raft::Piece;
use raft_core::status::RoleKind;

use super::world::*;

/// The whole of a snapshot is durable in the store.
fn received(node: &mut Node, from: raft_core::ids::NodeId, term: u64, of: &SnapshotMeta) {
    node.hear(from, term, chunk(of, 0, b""));
    node.persist();
    assert!(matches!(node.raft.poll_piece(), Some(Piece::Begin { .. })));
    node.raft.handle_piece_written(node.now, of.id, of.content.total_bytes);
    assert!(matches!(node.raft.poll_piece(), Some(Piece::Finish { .. })));
    node.raft.handle_snapshot_received(node.now, of.clone());
}

fn other_membership(of: SnapshotMeta) -> SnapshotMeta {
    let mut of = of;
    of.membership = members(&[1, 2, 3, 4]);
    of
}

#[test]
fn the_journal_begins_anew_then_the_state_machine_follows() {
    let mut node = Node::follower();
    let of = other_membership(snapshot(1, id(1, 20), 10));
    received(&mut node, A, 2, &of);
    assert_eq!(node.status().last, id(1, 5), "not before the journal has done it");
    assert_eq!(node.raft.poll_reset(), Some(of.upto));
    assert_eq!(node.raft.poll_reset(), None);
    assert!(!node.sent_to(A).contains(&installed(&of)));
    assert_eq!(node.raft.poll_install(), None);
    node.raft.handle_reset(node.now, of.upto);
    let status = node.status();
    assert_eq!((status.last, status.commit_index, status.first_index), (of.upto, Index(20), Index(21)));
    assert_eq!((status.applied_index, status.installing), (Index(5), Some(of.upto)));
    assert_eq!(status.membership, members(&[1, 2, 3, 4]));
    assert!(node.sent_to(A).contains(&installed(&of)), "snapshot and log are durable");
    // Appends go on; nothing is executed before the state machine is there.
    node.hear(A, 2, append(id(1, 20), &[id(2, 21)], 21));
    node.persist();
    assert!(node.raft.poll_apply().is_none());
    assert_eq!(node.raft.poll_install(), Some(of.clone()));
    assert!(node.raft.poll_apply().is_none() && node.raft.poll_install().is_none());
    node.raft.handle_installed(node.now, of.upto);
    assert_eq!(node.status().applied_index, Index(20));
    node.settle();
    assert_eq!(node.applied.last(), Some(&id(2, 21)));
    assert_eq!(node.status().counters.snapshots_installed, 1);
    assert_eq!(node.status().alarm, None);
}

#[test]
fn a_log_that_has_the_last_entry_is_kept() {
    // It came to have it while the store made the snapshot durable.
    let mut node = Node::follower();
    let of = snapshot(1, id(2, 7), 10);
    node.hear(A, 2, chunk(&of, 0, b""));
    assert!(node.raft.poll_piece().is_some());
    node.raft.handle_piece_written(node.now, of.id, 10);
    assert!(matches!(node.raft.poll_piece(), Some(Piece::Finish { .. })));
    node.hear(A, 2, append(id(1, 5), &[id(2, 6), id(2, 7), id(2, 8)], 5));
    node.persist();
    node.raft.handle_snapshot_received(node.now, of.clone());
    assert_eq!(node.raft.poll_reset(), None);
    assert!(node.sent_to(A).contains(&installed(&of)));
    node.settle();
    assert_eq!(node.applied.last(), Some(&id(2, 7)));
    assert_eq!((node.status().last, node.raft.poll_install()), (id(2, 8), None));
    assert_eq!(node.status().snapshot, Some(of));
}

#[test]
fn a_log_that_contradicts_is_replaced() {
    // Entries 6 to 30 of term 1 were never committed.
    let mut node = Node::with(config(), 1, 30);
    node.hear(A, 3, append(id(1, 5), &[], 5));
    node.settle();
    let of = snapshot(1, id(2, 20), 10);
    received(&mut node, A, 3, &of);
    assert_eq!(node.raft.poll_reset(), Some(of.upto));
    node.raft.handle_reset(node.now, of.upto);
    assert_eq!((node.status().last, node.status().persisted_index), (of.upto, Index(20)));
    node.raft.poll_install().unwrap();
    node.raft.handle_installed(node.now, of.upto);
    node.hear(A, 3, append(id(2, 20), &[id(3, 21)], 21));
    node.settle();
    let write = node.writes.last().unwrap();
    assert_eq!((write.truncate_from, write.entries[0].id), (None, id(3, 21)));
}

/// The ABA race of a reset: what was under way before it never counts.
#[test]
fn writes_under_way_come_first_and_none_leaves_meanwhile() {
    let mut node = Node::with(config(), 1, 30);
    node.hear(A, 3, append(id(1, 5), &[id(3, 6)], 5));
    node.persist();
    node.hear(A, 3, append(id(3, 6), &[id(3, 7)], 5));
    let write = node.raft.poll_write().unwrap();
    let of = snapshot(1, id(3, 20), 10);
    node.hear(A, 3, chunk(&of, 0, b""));
    assert!(node.raft.poll_piece().is_some());
    node.raft.handle_piece_written(node.now, of.id, 10);
    assert!(node.raft.poll_piece().is_some());
    node.hear(A, 3, append(id(3, 7), &[id(3, 8)], 5));
    node.raft.handle_snapshot_received(node.now, of.clone());
    assert_eq!(node.raft.poll_reset(), None, "a write is under way");
    assert_eq!(node.raft.poll_write(), None, "and no other leaves");
    node.raft.handle_written(node.now, write.ticket);
    assert_eq!(node.raft.poll_reset(), Some(of.upto));
    node.hear(A, 3, append(id(3, 8), &[id(3, 9)], 5));
    node.hear(A, 3, append(id(1, 5), &[], 5));
    assert_eq!(node.raft.poll_write(), None);
    node.raft.handle_reset(node.now, of.upto);
    node.raft.handle_written(node.now, write.ticket);
    assert_eq!(node.status().persisted_index, Index(20));
    assert_eq!(node.raft.poll_write(), None, "nothing is left to be written");
}

#[test]
fn the_term_is_durable_before_the_journal_begins_anew() {
    let mut node = Node::follower();
    let of = snapshot(1, id(1, 20), 10);
    received(&mut node, A, 2, &of);
    node.beat(B, 4);
    assert_eq!(node.raft.poll_reset(), None);
    let write = node.raft.poll_write().unwrap();
    assert!(write.hard_state.is_some() && write.entries.is_empty() && write.truncate_from.is_none());
    assert_eq!(node.raft.poll_reset(), None);
    node.raft.handle_written(node.now, write.ticket);
    assert_eq!(node.raft.poll_reset(), Some(of.upto));
    // Once the journal is at it, nothing leaves at all.
    node.beat(A, 5);
    assert_eq!(node.raft.poll_write(), None);
    assert!(node.sent().is_empty());
    node.raft.handle_reset(node.now, of.upto);
    let write = node.raft.poll_write().unwrap();
    assert_eq!(write.hard_state.unwrap().term.0, 5);
    node.raft.handle_written(node.now, write.ticket);
    assert!(!node.sent().is_empty());
}

#[test]
fn who_lacks_what_is_committed_does_not_campaign() {
    let mut node = Node::follower();
    let of = snapshot(1, id(1, 20), 10);
    received(&mut node, A, 2, &of);
    node.elapse(3);
    node.raft.handle_timeout(node.now);
    assert_eq!(node.raft.role_kind(), RoleKind::Follower);
    node.raft.campaign(node.now);
    assert_eq!(node.raft.role_kind(), RoleKind::Follower);
    assert_eq!(node.raft.poll_reset(), Some(of.upto));
    node.raft.handle_reset(node.now, of.upto);
    node.raft.campaign(node.now);
    assert_eq!(node.raft.role_kind(), RoleKind::PreCandidate, "now it has it");
    // One that does already gives up.
    let mut node = Node::follower();
    node.hear(A, 2, chunk(&of, 0, b""));
    assert!(node.raft.poll_piece().is_some());
    node.raft.handle_piece_written(node.now, of.id, 10);
    assert!(node.raft.poll_piece().is_some());
    node.elapse(3);
    node.raft.handle_timeout(node.now);
    assert_eq!(node.raft.role_kind(), RoleKind::PreCandidate);
    node.raft.handle_snapshot_received(node.now, of.clone());
    assert_eq!(node.raft.role_kind(), RoleKind::Follower);
}

#[test]
fn a_snapshot_of_an_old_leader_counts_under_a_new_one() {
    let mut node = Node::follower();
    let of = snapshot(1, id(1, 20), 10);
    received(&mut node, A, 2, &of);
    node.beat(B, 3);
    node.persist();
    assert_eq!(node.raft.poll_reset(), Some(of.upto));
    node.raft.handle_reset(node.now, of.upto);
    // Committed is committed: the new leader has it too.
    let sent = node.sent_to(B);
    assert!(sent.contains(&Message::AppendReply(AppendReply::Matched { matched: Index(20) })), "{sent:?}");
}

/// etcd#18055, openraft 674e78aa (features.md P41).
#[test]
fn p41_a_second_snapshot_waits_until_the_first_is_installed() {
    let mut node = Node::follower();
    let (first, second) = (snapshot(1, id(1, 20), 10), snapshot(2, id(2, 40), 10));
    node.hear(A, 2, append(id(1, 5), &[id(2, 6)], 6));
    node.persist();
    let apply = node.raft.poll_apply().unwrap();
    received(&mut node, A, 2, &first);
    node.hear(A, 2, chunk(&second, 0, b""));
    assert_eq!(node.raft.poll_piece(), None);
    node.raft.poll_reset().unwrap();
    node.hear(A, 2, chunk(&second, 0, b""));
    node.raft.handle_reset(node.now, first.upto);
    assert_eq!(node.raft.poll_install(), None, "the state machine is still at what came before");
    node.raft.handle_applied(node.now, apply.through.index);
    node.raft.poll_install().unwrap();
    node.hear(A, 2, chunk(&second, 0, b""));
    assert_eq!(node.raft.poll_piece(), None, "it would take the first one's place in the store");
    assert!(node.raft.poll_snapshot().is_none() && node.raft.poll_purge().is_none());
    node.raft.handle_installed(node.now, first.upto);
    assert_eq!(node.status().applied_index, Index(20));
    assert!(matches!(node.raft.poll_piece(), Some(Piece::Begin { id, .. }) if id == second.id));
    node.raft.handle_piece_written(node.now, second.id, 10);
    node.raft.poll_piece().unwrap();
    node.raft.handle_snapshot_received(node.now, second.clone());
    assert_eq!(node.raft.poll_reset(), Some(second.upto));
    node.raft.handle_reset(node.now, second.upto);
    node.raft.poll_install().unwrap();
    node.raft.handle_installed(node.now, second.upto);
    assert_eq!((node.status().applied_index, node.status().alarm), (Index(40), None));
}

#[test]
fn what_was_asked_of_the_journal_before_is_of_no_use() {
    let mut config = config();
    config.tail_limit_bytes = 1;
    let mut node = Node::with(config, 1, 5);
    node.hear(A, 2, append(id(1, 5), &[], 5));
    node.persist();
    assert!(node.raft.poll_apply().is_none());
    let fetch = node.raft.poll_fetch().unwrap();
    let of = snapshot(1, id(1, 20), 10);
    received(&mut node, A, 2, &of);
    assert!(node.raft.poll_reset().is_some());
    assert!(!node.raft.wants_fetch(fetch.id), "the journal may say that it is gone");
    node.raft.handle_fetched(node.now, fetch.id, vec![entry(id(0, 1))]);
    node.raft.handle_reset(node.now, of.upto);
    node.raft.poll_install().unwrap();
    node.raft.handle_installed(node.now, of.upto);
    node.hear(A, 2, append(id(1, 20), &[id(2, 21)], 21));
    node.settle();
    assert_eq!(node.applied, [id(2, 21)]);
}

#[test]
fn after_a_failed_write_nothing_begins_anew() {
    let mut node = Node::follower();
    let of = snapshot(1, id(1, 20), 10);
    received(&mut node, A, 2, &of);
    node.raft.poll_reset().unwrap();
    node.raft.handle_write_failed(node.now);
    node.raft.handle_reset(node.now, of.upto);
    assert_eq!(node.status().last, id(1, 5));
    assert!(!node.sent_to(A).contains(&installed(&of)));
}

/// What a snapshot covers is committed: where another entry is committed, one of the two was never true.
#[test]
fn a_snapshot_that_contradicts_what_is_committed_stops_the_node() {
    let mut node = Node::follower();
    node.hear(A, 2, chunk(&snapshot(1, id(2, 5), 10), 0, b""));
    let alarm = node.status().alarm.unwrap();
    assert_eq!(alarm, Violation::OverwritesCommitted { from: A, committed: id(1, 5), term: Term(2) });
    // It came to be committed while the store made the snapshot durable.
    let mut node = Node::follower();
    let of = snapshot(1, id(2, 8), 10);
    node.hear(A, 2, chunk(&of, 0, b""));
    node.raft.poll_piece().unwrap();
    node.raft.handle_piece_written(node.now, of.id, 10);
    node.raft.poll_piece().unwrap();
    node.hear(B, 3, append(id(1, 5), &[id(3, 6), id(3, 7), id(3, 8)], 8));
    node.raft.handle_snapshot_received(node.now, of);
    let alarm = node.status().alarm.unwrap();
    assert_eq!(alarm, Violation::OverwritesCommitted { from: A, committed: id(3, 8), term: Term(2) });
    assert_eq!(node.raft.poll_reset(), None);
}

#[test]
fn a_leader_that_lacks_what_is_committed_stops() {
    let mut node = Node::follower();
    let of = snapshot(1, id(1, 20), 10);
    node.hear(A, 2, chunk(&of, 0, b""));
    node.raft.poll_piece().unwrap();
    node.raft.handle_piece_written(node.now, of.id, 10);
    node.raft.poll_piece().unwrap();
    node.elapse(3);
    node.raft.handle_timeout(node.now);
    for pre in [true, false] {
        node.settle();
        let reply = VoteReply { pre, asked: Term(3), ballot: Ballot::Granted };
        node.hear(B, if pre { 2 } else { 3 }, Message::VoteReply(reply));
    }
    assert_eq!(node.raft.role_kind(), RoleKind::Leader);
    node.raft.handle_snapshot_received(node.now, of);
    let alarm = node.status().alarm;
    assert_eq!(alarm, Some(Violation::ElectedWithout { term: Term(3), committed: id(1, 20) }));
}
