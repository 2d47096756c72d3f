//! Whom leadership is handed to.

use raft_core::error::TransferError;
use raft_core::membership::Change;
use raft_core::message::HeartbeatReply;

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
