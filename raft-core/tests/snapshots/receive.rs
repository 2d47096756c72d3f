//! Receiving a snapshot: pieces in order, one after the other into the store, never of two.

use bytes::Bytes;
use raft_core::backend::SnapshotMeta;
use raft_core::ids::Index;
use raft_core::message::{AppendReply, Message};
use raft_core::raft::Piece;
use raft_core::status::RoleKind;

use super::world::*;

fn data(node: &mut Node) -> Option<Bytes> {
    match node.raft.poll_piece() {
        Some(Piece::Write { data, .. }) => Some(data),
        None => None,
        other => panic!("{other:?}"),
    }
}

/// The snapshot of everything up to 1.20, in ten bytes, of which the store has `there`; A has asked.
fn begun(there: u64) -> (Node, SnapshotMeta) {
    let (mut node, of) = (Node::follower(), snapshot(1, id(1, 20), 10));
    node.hear(A, 2, chunk(&of, 0, b""));
    let begin = Piece::Begin { id: of.id, upto: of.upto, membership: of.membership.clone() };
    assert_eq!(node.raft.poll_piece(), Some(begin));
    assert!(node.sent_to(A).is_empty(), "the store has not said what is there");
    node.raft.handle_piece_written(node.now, of.id, there);
    assert_eq!(node.sent_to(A), [has(&of, there)]);
    (node, of)
}

#[test]
fn pieces_go_to_the_store_in_order_and_are_answered_when_they_are_there() {
    let (mut node, of) = begun(0);
    node.hear(A, 2, chunk(&of, 0, b"0123"));
    node.hear(A, 2, chunk(&of, 4, b"4567"));
    assert_eq!(data(&mut node).unwrap(), "0123");
    assert_eq!(data(&mut node), None, "one at a time");
    assert!(node.sent_to(A).is_empty());
    node.raft.handle_piece_written(node.now, of.id, 4);
    assert_eq!(node.sent_to(A), [has(&of, 4)]);
    assert_eq!(data(&mut node).unwrap(), "4567");
    node.hear(A, 2, chunk(&of, 8, b"89"));
    node.raft.handle_piece_written(node.now, of.id, 8);
    assert_eq!(data(&mut node).unwrap(), "89");
    assert_eq!(node.status().receiving.unwrap().received_bytes, 8);
    node.raft.handle_piece_written(node.now, of.id, 10);
    assert_eq!(node.raft.poll_piece(), Some(Piece::Finish { id: of.id, content: of.content }));
    assert_eq!(node.sent_to(A), [has(&of, 8), has(&of, 10)]);
    assert_eq!(node.raft.poll_piece(), None);
    assert!(node.raft.poll_reset().is_none(), "it is not durable yet");
}

#[test]
fn an_empty_snapshot_is_whole_at_once() {
    let (mut node, of) = (Node::follower(), snapshot(1, id(1, 20), 0));
    node.hear(A, 2, chunk(&of, 0, b""));
    assert!(matches!(node.raft.poll_piece(), Some(Piece::Begin { .. })));
    node.raft.handle_piece_written(node.now, of.id, 0);
    assert!(matches!(node.raft.poll_piece(), Some(Piece::Finish { .. })));
}

/// hashicorp/raft#212, camunda#10180 (features.md P40).
#[test]
fn p40_holes_doubles_and_overlaps() {
    let (mut node, of) = begun(0);
    node.hear(A, 2, chunk(&of, 4, b"4567"));
    assert_eq!(node.sent_to(A), [has(&of, 0)], "a hole: nothing of it is taken");
    assert_eq!(data(&mut node), None);
    node.hear(A, 2, chunk(&of, 0, b"0123"));
    node.hear(A, 2, chunk(&of, 0, b"0123"));
    node.hear(A, 2, chunk(&of, 2, b"234567"));
    assert_eq!(data(&mut node).unwrap(), "0123");
    node.raft.handle_piece_written(node.now, of.id, 4);
    assert_eq!(data(&mut node).unwrap(), "4567", "what is new of an overlap");
    node.raft.handle_piece_written(node.now, of.id, 8);
    node.hear(A, 2, chunk(&of, 0, b"0123"));
    assert_eq!(data(&mut node), None);
    assert_eq!(node.sent_to(A), [has(&of, 4), has(&of, 8), has(&of, 8)]);
}

#[test]
fn what_waits_for_the_store_is_bounded() {
    let (mut node, of) = begun(0);
    let long = snapshot(2, id(1, 20), 1000);
    node.hear(A, 2, chunk(&long, 0, b""));
    assert_eq!(node.raft.poll_piece(), Some(Piece::Abandon { id: of.id }));
    assert!(matches!(node.raft.poll_piece(), Some(Piece::Begin { .. })));
    node.raft.handle_piece_written(node.now, long.id, 0);
    for at in 0..10 {
        node.hear(A, 2, chunk(&long, at * 4, b"0123"));
    }
    let mut taken = 0;
    while let Some(data) = data(&mut node) {
        taken += data.len() as u64;
        node.raft.handle_piece_written(node.now, long.id, taken);
    }
    assert_eq!(taken, 8, "the window");
}

#[test]
fn half_of_it_is_gone_on_with() {
    let (mut node, of) = begun(4);
    node.hear(A, 2, chunk(&of, 4, b"4567"));
    assert_eq!(data(&mut node).unwrap(), "4567");
}

/// canonical/raft 2a38d3d (features.md P40).
#[test]
fn p40_another_leader_sends_the_same_on_or_begins_another() {
    // The same, from another leader.
    let (mut node, of) = begun(0);
    node.hear(A, 2, chunk(&of, 0, b"0123"));
    assert_eq!(data(&mut node).unwrap(), "0123");
    node.hear(B, 3, chunk(&of, 0, b""));
    node.settle();
    assert!(node.sent_to(B).is_empty(), "the store is at it: that answers");
    node.raft.handle_piece_written(node.now, of.id, 4);
    assert_eq!(node.sent_to(B), [has(&of, 4)]);
    node.hear(B, 3, chunk(&of, 4, b"4567"));
    assert_eq!(data(&mut node).unwrap(), "4567");
    // Another one, which covers less, while a piece of the first is being written.
    let other = snapshot(2, id(1, 15), 10);
    node.hear(A, 4, chunk(&other, 0, b""));
    node.settle();
    assert_eq!(node.raft.poll_piece(), None, "the store is still at the first");
    node.raft.handle_piece_written(node.now, of.id, 8);
    assert_eq!(node.raft.poll_piece(), Some(Piece::Abandon { id: of.id }));
    assert!(matches!(node.raft.poll_piece(), Some(Piece::Begin { id, .. }) if id == other.id));
    node.raft.handle_piece_written(node.now, other.id, 0);
    // A piece of the first that was long under way.
    node.hear(B, 3, chunk(&of, 8, b"89"));
    node.hear(A, 4, chunk(&other, 0, b"abcd"));
    assert_eq!(data(&mut node).unwrap(), "abcd");
}

#[test]
fn of_one_leader_the_later_snapshot_counts() {
    let (mut node, of) = begun(0);
    let older = snapshot(2, id(1, 19), 10);
    node.hear(A, 2, chunk(&older, 0, b"abcd"));
    assert_eq!(node.raft.poll_piece(), None, "a piece that was delayed");
    let newer = snapshot(3, id(2, 30), 10);
    node.hear(A, 2, chunk(&newer, 0, b""));
    assert_eq!(node.raft.poll_piece(), Some(Piece::Abandon { id: of.id }));
    assert!(matches!(node.raft.poll_piece(), Some(Piece::Begin { id, .. }) if id == newer.id));
}

/// One of which a piece has come, that was given up for a newer one, and is begun again by another leader.
fn begun_again() -> (Node, SnapshotMeta) {
    let (mut node, of) = begun(0);
    let newer = snapshot(3, id(2, 30), 10);
    node.hear(A, 2, chunk(&of, 0, b"0123"));
    assert_eq!(data(&mut node).unwrap(), "0123");
    node.hear(A, 2, chunk(&newer, 0, b""));
    node.hear(B, 3, chunk(&of, 0, b""));
    node.settle();
    (node, of)
}

#[test]
fn a_begun_one_that_is_given_up_and_begun_again_is_not_confused() {
    let (mut node, of) = begun_again();
    // Of the first attempt.
    node.raft.handle_piece_written(node.now, of.id, 4);
    assert_eq!(node.raft.poll_piece(), Some(Piece::Abandon { id: of.id }));
    assert!(matches!(node.raft.poll_piece(), Some(Piece::Begin { id, .. }) if id == of.id));
    node.raft.handle_piece_written(node.now, of.id, 2);
    assert_eq!(node.sent_to(B), [has(&of, 2)]);
}

#[test]
fn nothing_reaches_the_store_before_its_term_is_durable() {
    let (mut node, of) = (Node::follower(), snapshot(1, id(3, 20), 10));
    node.hear(B, 3, chunk(&of, 0, b""));
    assert_eq!(node.raft.poll_piece(), None);
    node.persist();
    assert!(matches!(node.raft.poll_piece(), Some(Piece::Begin { .. })));
}

#[test]
fn a_store_that_fails_is_not_bothered_for_a_while() {
    let (mut node, of) = begun(0);
    node.hear(A, 2, chunk(&of, 0, b"0123"));
    assert!(data(&mut node).is_some());
    node.raft.handle_piece_failed(node.now, of.id);
    assert_eq!(node.raft.poll_piece(), Some(Piece::Abandon { id: of.id }));
    assert_eq!(node.status().counters.snapshots_refused, 1);
    node.hear(A, 2, chunk(&of, 0, b""));
    assert_eq!(node.raft.poll_piece(), None);
    assert!(node.sent_to(A).is_empty());
    node.elapse(10);
    node.hear(A, 2, chunk(&of, 0, b""));
    assert!(matches!(node.raft.poll_piece(), Some(Piece::Begin { .. })));
}

#[test]
fn senseless_pieces_are_ignored() {
    let mut node = Node::follower();
    let good = snapshot(1, id(1, 20), 10);
    let mut limbo = good.clone();
    limbo.membership = Default::default();
    let bad = [
        chunk(&snapshot(1, id(3, 20), 10), 0, b""),
        chunk(&snapshot(1, id(1, 0), 10), 0, b""),
        chunk(&snapshot(1, id(1, u64::MAX), 10), 0, b""),
        chunk(&good, 8, b"too long"),
        chunk(&good, u64::MAX, b"x"),
        chunk(&limbo, 0, b""),
    ];
    for message in bad {
        let before = node.status().counters.ignored_messages;
        node.hear(A, 2, message);
        assert_eq!(node.status().counters.ignored_messages, before + 1);
        assert_eq!(node.raft.poll_piece(), None);
    }
    // One name for two.
    node.hear(A, 2, chunk(&good, 0, b""));
    let before = node.status().counters.ignored_messages;
    node.hear(A, 2, chunk(&snapshot(1, id(1, 20), 11), 0, b""));
    node.hear(A, 2, chunk(&snapshot(1, id(1, 21), 10), 0, b""));
    assert_eq!(node.status().counters.ignored_messages, before + 2);
}

#[test]
fn what_the_log_has_needs_no_bytes() {
    // Committed here.
    let mut node = Node::follower();
    for upto in [id(1, 5), id(1, 3)] {
        let of = snapshot(upto.index.0.into(), upto, 10);
        node.hear(A, 2, chunk(&of, 0, b""));
        assert_eq!(node.raft.poll_piece(), None);
        assert_eq!(node.sent_to(A), [installed(&of)]);
    }
    // In the log and not known to be committed, until now.
    let mut node = Node::with(config(), 1, 8);
    node.beat(A, 2);
    node.settle();
    let of = snapshot(9, id(1, 7), 10);
    node.hear(A, 2, chunk(&of, 0, b"0123"));
    assert_eq!(node.status().commit_index, Index(7));
    let sent = node.sent_to(A);
    assert_eq!(sent[0], installed(&of));
    node.settle();
    assert_eq!(node.applied.last(), Some(&id(1, 7)));
    // In the log, but not durable.
    let mut node = Node::follower();
    let (prev, more) = (id(1, 5), [id(2, 6), id(2, 7)]);
    node.hear(A, 2, append(prev, &more, 5));
    let of = snapshot(9, id(2, 7), 10);
    node.hear(A, 2, chunk(&of, 0, b"0123"));
    assert!(node.sent_to(A).is_empty());
    node.persist();
    assert_eq!(node.sent_to(A)[0], installed(&of));
}

#[test]
fn what_the_log_has_come_to_have_is_let_go_of() {
    let (mut node, of) = begun(4);
    let more: Vec<_> = (6..=20).map(|index| id(1, index)).collect();
    node.hear(A, 2, append(id(1, 5), &more, 20));
    assert_eq!(node.raft.poll_piece(), Some(Piece::Abandon { id: of.id }));
    assert_eq!(node.status().receiving, None);
}

#[test]
fn a_deposed_leader_learns_the_term() {
    let mut node = Node::follower();
    node.beat(B, 3);
    node.settle();
    node.hear(A, 2, chunk(&snapshot(1, id(1, 20), 10), 0, b"0123"));
    let answers = node.sent_to(A);
    assert!(matches!(answers[..], [Message::AppendReply(AppendReply::Rejected { prev: Index(0), .. })]));
    assert_eq!(node.raft.poll_piece(), None);
}

#[test]
fn a_piece_is_a_sign_of_life_of_the_leader() {
    let (mut node, of) = begun(0);
    for _ in 0..5 {
        node.now = node.now + config().election_timeout / 2;
        node.hear(A, 2, chunk(&of, 8, b"89"));
        node.raft.handle_timeout(node.now);
        assert_eq!(node.raft.role_kind(), RoleKind::Follower);
        assert_eq!(node.status().leader.unwrap().id, A);
    }
}

/// A node whose journal has failed, or that has halted, leaves its store alone.
#[test]
fn who_has_failed_or_halted_gives_the_store_nothing() {
    for halts in [false, true] {
        let (mut node, of) = begun(0);
        node.hear(A, 2, chunk(&of, 0, b"0123"));
        match halts {
            // Somebody else leads the same term.
            true => node.hear(B, 2, append(id(1, 5), &[], 5)),
            false => node.raft.handle_write_failed(node.now),
        }
        assert_eq!(node.raft.poll_piece(), None, "halts: {halts}");
    }
}

/// What the store has by now was asked for in a term that is over: its leader may have forgotten that, and asks again.
#[test]
fn what_was_asked_for_in_an_earlier_term_is_not_answered() {
    for after in [3, 2] {
        let (mut node, of) = begun(0);
        node.hear(A, 2, chunk(&of, 0, b"0123"));
        assert!(data(&mut node).is_some());
        if after == 3 {
            node.beat(A, 3);
        } else {
            // The same term, but A is silent: this node asks whether it would win.
            node.now = node.raft.next_timeout().unwrap();
            node.raft.handle_timeout(node.now);
            assert_eq!(node.status().leader, None);
        }
        node.persist();
        let _ = node.sent();
        node.raft.handle_piece_written(node.now, of.id, 4);
        assert_eq!(node.sent_to(A), [], "{after}");
    }
}

/// That the store has failed with the first attempt says nothing of the second.
#[test]
fn a_failure_of_what_was_given_up_is_none_of_what_was_begun_again() {
    let (mut node, of) = begun_again();
    node.raft.handle_piece_failed(node.now, of.id);
    assert_eq!(node.status().counters.snapshots_refused, 0);
    assert_eq!(node.raft.poll_piece(), Some(Piece::Abandon { id: of.id }));
    assert!(matches!(node.raft.poll_piece(), Some(Piece::Begin { id, .. }) if id == of.id));
}

/// What the store was not asked to finish is not here, whatever it says.
#[test]
fn only_what_was_finished_is_received() {
    let (mut node, of) = begun(4);
    node.raft.handle_snapshot_received(node.now, of.clone());
    assert_eq!((node.status().snapshot, node.raft.poll_reset()), (None, None));
    node.hear(A, 2, chunk(&of, 4, b"456789"));
    assert_eq!(data(&mut node).unwrap(), "456789");
    node.raft.handle_piece_written(node.now, of.id, 10);
    assert!(matches!(node.raft.poll_piece(), Some(Piece::Finish { .. })));
    node.raft.handle_snapshot_received(node.now, snapshot(2, id(1, 30), 10));
    assert_eq!((node.status().snapshot, node.raft.poll_reset()), (None, None));
    node.raft.handle_snapshot_received(node.now, of.clone());
    assert_eq!((node.status().snapshot, node.raft.poll_reset()), (Some(of.clone()), Some(of.upto)));
}
