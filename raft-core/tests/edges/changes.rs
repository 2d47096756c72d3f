//! Changes of the membership that are not settled yet.

use std::time::Duration;

use raft_core::error::{ChangeError, Objection};
use raft_core::ids::{Index, LogId};
use raft_core::membership::{Change, Member, Membership, change};
use raft_core::raft::{ChangeDone, ChangeOptions, Event};

use super::world::*;

/// Neither forced nor waiting.
fn plain() -> ChangeOptions {
    ChangeOptions::default()
}

/// How a change ended, if it did.
fn finished(node: &mut Node) -> Option<Result<ChangeDone, ChangeError>> {
    node.settle();
    node.events.drain(..).find_map(|event| match event {
        Event::ChangeFinished { result, .. } => Some(result),
        _ => None,
    })
}

/// Both halves, on the way from these three to the first two of them.
fn joint() -> Membership {
    change::plan(&voters(&[ME, A, B]), &[Change::Remove(B)]).unwrap().steps.remove(0)
}

/// Joint is left by whoever leads, once it has committed in its own term, and not sooner; the next change waits until
/// that is committed too.
#[test]
fn an_inherited_change_is_finished_before_the_next() {
    let log = [first(&[ME, A, B]), entry(id(1, 2), &joint())];
    let mut node = Node::with(config(), &log, id(1, 2)).elected();
    node.settle();
    assert_eq!(node.status().last, id(2, 3), "its no-op, and no more");
    node.acknowledge(A, 3);
    assert_eq!(node.status().last, id(2, 4), "joint is left");
    let again = [Change::AddLearner(member(C))];
    let at = id(2, 4);
    assert_eq!(node.raft.change_membership(node.now, &again, plain()), Err(ChangeError::InProgress { at }));
    node.settle();
    node.acknowledge(A, 4);
    assert!(node.raft.change_membership(node.now, &again, plain()).is_ok());
}

/// Who is about to hand over appends nothing: the next leader leaves joint, or this one when it leads on.
#[test]
fn joint_is_not_left_during_a_hand_over() {
    let mut node = Node::leader(config(), &[ME, A, B]);
    node.raft.change_membership(node.now, &[Change::Remove(B)], plain()).unwrap();
    node.settle();
    node.raft.transfer_leadership(node.now, Some(A)).unwrap();
    let end = node.now + timeout();
    node.acknowledge(A, 3);
    assert_eq!((node.status().commit_index, node.status().last), (Index(3), id(1, 3)));
    node.at(end - MILLI);
    node.answer(A, 1, 3);
    assert_eq!(node.status().last, id(1, 3));
    node.at(end);
    assert_eq!(node.status().last, id(1, 4));
}

/// A change that a new leader's entry has taken the place of: that is known when that one is committed, also where much
/// more is committed at once, and not before.
#[test]
fn a_change_is_superseded_by_what_is_committed() {
    for more in [0, 2] {
        let mut node = Node::leader(config(), &[ME, A, B]);
        node.raft.change_membership(node.now, &[Change::Remove(B)], plain()).unwrap();
        node.settle();
        let entries = (3..=3 + more).map(|index| noop(2, index)).collect();
        node.hear(B, 2, append(id(1, 2), entries, 2));
        assert_eq!(finished(&mut node), None);
        node.hear(B, 2, append(id(2, 3 + more), vec![], 3 + more));
        assert_eq!(finished(&mut node), Some(Err(ChangeError::Superseded { by: id(2, 3) })));
    }
}

/// Who has not answered for an election timeout does not count as alive, to the nanosecond.
#[test]
fn who_is_silent_for_an_election_timeout_is_not_alive() {
    let mut node = Node::leader(config(), &[ME, A, B]);
    let end = node.now + timeout();
    node.at(node.now + MILLI);
    node.answer(A, 1, 2);
    let remove = [Change::Remove(A)];
    node.at(end - NANO);
    assert_eq!(node.raft.plan_membership(&remove).unwrap().1, []);
    node.at(end);
    let objection = Objection::NoLiveQuorum { voters: 2, alive: 1, needed: 2, silent: vec![B] };
    assert_eq!(node.raft.plan_membership(&remove).unwrap().1, [objection]);
}

/// What a change has done by its first step it does not try again: here the new member has moved since.
#[test]
fn a_change_goes_on_from_what_it_has_done() {
    let mut node = Node::leader(config(), &[ME, A, B]);
    let moved = Member::new(C, "elsewhere");
    let changes = [Change::AddLearner(member(C)), Change::Update(moved.clone()), Change::Promote(C)];
    let options = plain().wait(Duration::from_secs(1));
    node.raft.change_membership(node.now, &changes, options).unwrap();
    for index in 3..=5 {
        node.settle();
        node.acknowledge(A, index);
        node.answer(C, 2, index);
    }
    let done = finished(&mut node).expect("it has ended").unwrap();
    assert_eq!(done.at, LogId::new(1, 5));
    assert!(done.membership.voters.contains(&C));
    assert_eq!(done.membership.member(C), Some(&moved));
}
