//! Every change, and every pair of changes, of every small membership, against sets and nothing else.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;

use super::*;
use crate::membership::VoteResult;

fn member(id: u64) -> Member {
    Member::new(NodeId(id), alloc::format!("host-{id}"))
}

fn membership(voters: &[u64], learners: &[u64]) -> Membership {
    Membership {
        members: voters.iter().chain(learners).map(|id| (NodeId(*id), member(*id))).collect(),
        voters: voters.iter().map(|id| NodeId(*id)).collect(),
        ..Membership::default()
    }
}

/// Whether each member votes: the whole model.
type Model = BTreeMap<u64, bool>;

fn model(membership: &Membership) -> Model {
    membership.members.keys().map(|id| (id.0, membership.voters.contains(id))).collect()
}

/// What a change does to the model; `None` if it must be refused.
fn apply(model: &mut Model, change: &Change) -> Option<()> {
    match change {
        Change::AddLearner(new) => match model.get(&new.id.0) {
            Some(true) => None,
            _ => {
                model.insert(new.id.0, false);
                Some(())
            }
        },
        Change::Promote(id) => (!model.insert(id.0, true)?).then_some(()),
        Change::Demote(id) => model.insert(id.0, false)?.then_some(()),
        Change::Remove(id) => model.remove(&id.0).map(drop),
        Change::Replace { old, new } => {
            let votes = model.remove(&old.0)?;
            if old == &new.id || model.get(&new.id.0) == Some(&true) {
                return None;
            }
            model.insert(new.id.0, votes);
            Some(())
        }
        Change::Update(of) => model.contains_key(&of.id.0).then_some(()),
    }
}

fn all_changes() -> Vec<Change> {
    let mut all = Vec::new();
    for id in 1..=4 {
        all.push(Change::AddLearner(member(id)));
        all.push(Change::Promote(NodeId(id)));
        all.push(Change::Demote(NodeId(id)));
        all.push(Change::Remove(NodeId(id)));
        all.push(Change::Update(member(id)));
        for new in 1..=4 {
            all.push(Change::Replace { old: NodeId(id), new: member(new) });
        }
    }
    all
}

/// Each of 1 to 4 is a voter, a learner, or none; at least one votes.
fn all_memberships() -> Vec<Membership> {
    let mut all = Vec::new();
    for code in 0..81_u32 {
        let kind = |id: u64| code / 3_u32.pow(u32::try_from(id).unwrap() - 1) % 3;
        let of = |wanted| (1..=4).filter(|id| kind(*id) == wanted).collect::<Vec<u64>>();
        if !of(1).is_empty() {
            all.push(membership(&of(1), &of(2)));
        }
    }
    all
}

fn subsets(of: &BTreeSet<NodeId>) -> Vec<BTreeSet<NodeId>> {
    let ids: Vec<NodeId> = of.iter().copied().collect();
    let chosen = |bits: u32| (0..).zip(&ids).filter(move |(at, _)| bits >> at & 1 == 1).map(|(_, id)| *id);
    (0..1 << ids.len()).map(|bits| chosen(bits).collect()).collect()
}

/// Whether two memberships could decide by majorities that have nobody in common.
fn may_split(a: &Membership, b: &Membership) -> bool {
    let everybody: BTreeSet<NodeId> = a.members.keys().chain(b.members.keys()).copied().collect();
    let decides = |membership: &Membership, yes: &BTreeSet<NodeId>| {
        membership.vote_result(|id| Some(yes.contains(&id))) == VoteResult::Won
    };
    subsets(&everybody).iter().any(|yes| {
        let others = everybody.difference(yes).copied().collect();
        decides(a, yes) && decides(b, &others)
    })
}

fn check(before: &Membership, changes: &[Change]) {
    let mut expected = model(before);
    let fits = changes.iter().all(|change| apply(&mut expected, change).is_some());
    let plan = plan(before, changes);
    let Ok(plan) = plan else {
        let nothing = expected == model(before) || !expected.values().any(|votes| *votes);
        assert!(!fits || nothing, "{before:?} {changes:?}: {plan:?}");
        return;
    };
    assert!(fits, "{before:?} {changes:?}");
    assert_eq!(model(&plan.after), expected, "{before:?} {changes:?}");
    assert_eq!(plan.steps.last(), Some(&plan.after));
    let mut now = before;
    for step in &plan.steps {
        assert_eq!(step.check(), Ok(()), "{plan:?}");
        assert!(!may_split(now, step), "two majorities: {now:?} and {step:?}");
        let new_voters = step.voters.iter().filter(|id| !now.is_voter(**id));
        for id in new_voters {
            assert!(now.is_member(*id), "node {id} votes without having learned: {plan:?}");
        }
        if now.is_joint() {
            assert_eq!(*step, now.left_joint());
        }
        now = step;
    }
}

#[test]
fn every_change_of_every_small_membership() {
    for before in all_memberships() {
        for change in all_changes() {
            check(&before, &[change]);
        }
    }
}

#[test]
fn every_pair_of_changes_of_every_small_membership() {
    let changes = all_changes();
    for before in all_memberships().iter().step_by(3) {
        for first in &changes {
            for second in &changes {
                check(before, &[first.clone(), second.clone()]);
            }
        }
    }
}

#[test]
fn several_at_once_are_one_change() {
    let changes: Vec<Change> = [4, 5].into_iter().map(|id| Change::Promote(NodeId(id))).collect();
    let plan = plan(&membership(&[1, 2, 3], &[4, 5]), &changes).unwrap();
    assert_eq!(plan.steps.len(), 2);
    assert!(plan.steps[0].is_joint() && plan.is_joint());
    assert_eq!(plan.new_voters().collect::<Vec<_>>(), [NodeId(4), NodeId(5)]);
    assert_eq!((plan.before.tolerance(), plan.after.tolerance()), (1, 2));
}

#[test]
fn who_replaces_a_voter_learns_first() {
    let replace = Change::Replace { old: NodeId(3), new: member(4) };
    let fresh = plan(&membership(&[1, 2, 3], &[]), core::slice::from_ref(&replace)).unwrap();
    assert_eq!(fresh.steps.len(), 3);
    assert_eq!(fresh.steps[0], membership(&[1, 2, 3], &[4]));
    assert_eq!(fresh.steps[1].leaving, BTreeSet::from([NodeId(3)]));
    assert_eq!(fresh.joining().collect::<Vec<_>>(), [NodeId(4)]);
    assert_eq!(fresh.leaving().collect::<Vec<_>>(), [NodeId(3)]);
    let learned = plan(&membership(&[1, 2, 3], &[4]), &[replace]).unwrap();
    assert_eq!(learned.steps.len(), 2);
    assert_eq!(learned.after, membership(&[1, 2, 4], &[]));
}

#[test]
fn learners_and_addresses_need_no_joint_consensus() {
    let before = membership(&[1, 2, 3], &[4]);
    let moved = Member::new(NodeId(2), "elsewhere");
    let plan = plan(&before, &[Change::Remove(NodeId(4)), Change::Update(moved.clone())]).unwrap();
    assert_eq!(plan.steps, core::slice::from_ref(&plan.after));
    assert_eq!(plan.after.member(NodeId(2)), Some(&moved));
    assert!(!plan.after.is_member(NodeId(4)));
}

#[test]
fn what_makes_no_sense_is_refused_by_name() {
    let before = membership(&[1, 2, 3], &[4]);
    let moved = Member::new(NodeId(4), "elsewhere");
    let node = NodeId;
    for (changes, expected) in [
        (vec![], PlanError::Nothing),
        (vec![Change::AddLearner(member(4))], PlanError::Nothing),
        (vec![Change::AddLearner(member(0))], PlanError::ZeroId),
        (vec![Change::AddLearner(member(1))], PlanError::AlreadyAMember(node(1))),
        (vec![Change::AddLearner(moved)], PlanError::AlreadyAMember(node(4))),
        (vec![Change::Promote(node(2))], PlanError::AlreadyAVoter(node(2))),
        (vec![Change::Promote(node(9))], PlanError::NotAMember(node(9))),
        (vec![Change::Demote(node(4))], PlanError::AlreadyALearner(node(4))),
        (vec![Change::Remove(node(9))], PlanError::NotAMember(node(9))),
        (vec![Change::Update(member(9))], PlanError::NotAMember(node(9))),
        ([1, 2, 3].map(|id| Change::Remove(node(id))).to_vec(), PlanError::NoVoters),
    ] {
        assert_eq!(plan(&before, &changes), Err(expected), "{changes:?}");
    }
    let joint = Membership { outgoing: BTreeSet::from([node(4)]), ..before };
    assert_eq!(plan(&joint, &[Change::Remove(node(4))]), Err(PlanError::Joint));
}

#[test]
fn only_a_change_of_voters_is_joint() {
    let before = membership(&[1, 2, 3], &[4]);
    for (change, joint) in [(Change::AddLearner(member(5)), false), (Change::Promote(NodeId(4)), true)] {
        assert_eq!(plan(&before, &[change]).unwrap().is_joint(), joint);
    }
}

#[test]
fn a_plan_reads_like_one() {
    let replace = Change::Replace { old: NodeId(3), new: member(4) };
    let plan = plan(&membership(&[1, 2, 3], &[5]), &[replace]).unwrap();
    assert_eq!(
        plan.to_string(),
        "now: voters 1 2 3, learners 5; 2 of 3 must be alive, 1 may fail\n\
         step 1: 4 learn, and have to catch up\n\
         step 2: joint, a majority of 1 2 3 and one of 1 2 4 decide together\n\
         then: voters 1 2 4, learners 5; 2 of 3 must be alive, 1 may fail\n"
    );
}
