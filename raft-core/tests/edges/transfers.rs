//! Whom leadership is handed to.

use raft_core::error::TransferError;
use raft_core::ids::{Index, Term};
use raft_core::membership::Change;
use raft_core::message::{Ballot, HeartbeatReply, Message, VoteReply};
use raft_core::status::{Disk, HandOver, RoleKind};

use raft_core::time::Time;

use super::world::*;

/// One whose vote is about to be taken from it still counts as a voter, but is no leader to be.
#[test]
fn who_is_about_to_vote_no_more_is_no_target() {
    let mut node = Node::leader(config(), &[ME, A, B]);
    node.raft.change_membership(node.now, &[Change::Demote(B)], Default::default()).unwrap();
    assert!(node.status().membership.is_joint());
    let what = "about to be no voter any more";
    let refused = node.raft.transfer_leadership(node.now, Some(B));
    assert_eq!(refused, Err(TransferError::BadTarget { to: B, what }));
    assert_eq!(node.raft.transfer_leadership(node.now, Some(A)), Ok(A));
}

/// Who lags by more than a heartbeat comes after who does not, however much it is to be preferred.
#[test]
fn who_lags_is_not_handed_to_though_it_is_preferred() {
    let mut node = Node::leader(config(), &[ME, A, B]);
    node.settle();
    for round in 2..=4 {
        node.at(node.now + config().heartbeat_interval);
        node.settle();
        node.answer(A, round, 2);
        node.reply(B, HeartbeatReply { round, priority: 5, ..HeartbeatReply::default() });
    }
    assert_eq!(node.raft.transfer_leadership(node.now, None), Ok(A));
}

/// One that is to be preferred and may not lead is no reason to give way to another, which may be worse.
#[test]
fn a_preferred_one_on_probation_is_no_reason_to_give_way_to_another() {
    let mut node = Node::leader(config(), &[ME, A, B]);
    node.acknowledge(B, 2);
    let said = |round, probation, slow| {
        let (matched, last) = (Index(2), Index(2));
        HeartbeatReply { round, matched, last, probation, slow, priority: 5, ..HeartbeatReply::default() }
    };
    let mut round = 1;
    while node.now < Time::ZERO + timeout() * 15 {
        round += 1;
        node.at(node.now + config().heartbeat_interval);
        node.settle();
        node.reply(B, said(round, false, true));
        node.reply(A, said(round, true, false));
        assert_eq!(node.status().hand_over, None, "round {round}");
    }
    node.reply(B, said(round, false, false));
    assert_eq!(node.status().hand_over, Some(HandOver::Priority), "its disk is prompt again");
}

/// M11: a node whose disk has begun to hang while it was elected hands over as any other.
#[test]
fn who_is_elected_with_a_disk_that_hangs_hands_over() {
    // A write carries one entry.
    let mut config = config();
    config.write_limit_bytes = 1;
    let mut node = Node::follower(config.clone(), &[ME, A, B]);
    node.hear(A, 1, append(id(0, 1), vec![noop(1, 2), noop(1, 3), noop(1, 4)], 0));
    node.raft.campaign(node.now);
    let vote = |asked: Term, pre| Message::VoteReply(VoteReply { pre, asked, ballot: Ballot::Granted });
    node.hear(B, 1, vote(Term(2), true));
    assert_eq!(node.raft.role_kind(), RoleKind::Candidate);
    let own_vote = node.raft.poll_write().unwrap();
    assert_eq!(own_vote.hard_state.map(|hard| hard.term), Some(Term(2)));
    node.raft.handle_written(node.now, own_vote.ticket);
    // The rest of its log does not come to its disk.
    assert!(node.raft.poll_write().is_some());
    let begun = node.now;
    node.at(begun + config.election_timeout);
    assert!(matches!(node.status().disk, Disk::Hangs { .. }), "{:?}", node.status().disk);
    node.hear(B, 2, vote(Term(2), false));
    assert_eq!(node.raft.role_kind(), RoleKind::Leader);
    let _ = node.sent();
    node.answer(B, 1, 4);
    assert_eq!(node.status().hand_over, Some(HandOver::DiskHangs));
}
