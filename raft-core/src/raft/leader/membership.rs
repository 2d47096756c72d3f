//! Changing the membership (§6): joint consensus, learners first, left automatically.
//!
//! One change at a time, and none before this leader has committed an entry of its own term: what is in
//! force may be cut away by nobody any more then (Ongaro, raft-dev 2015). What a change appends is in force
//! at once, on this node as on every other.

use alloc::vec::Vec;

use super::{Leader, Progress, heartbeat, transfer};
use crate::entry::EntryKind;
use crate::error::{ChangeError, Objection};
use crate::ids::{ChangeId, LogId, NodeId};
use crate::membership::{Change, Membership, Plan, change};
use crate::raft::common::Common;
use crate::raft::members::{self, OpenChange};
use crate::raft::output::{ChangeDone, ChangeOptions};
use crate::raft::timers::Timer;
use crate::raft::{Event, Next};
use crate::status::Why;

/// The change under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Changing {
    id: ChangeId,
    changes: Vec<Change>,
    force: bool,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Stage {
    /// New voters have to catch up; nothing was appended yet, or their coming as learners.
    Waiting { learners: bool },
    /// This entry, once committed, has decided it.
    Appended { first: LogId },
}

/// What would come of these changes, and what speaks against them now.
pub(super) fn plan(
    leader: &Leader,
    common: &Common,
    changes: &[Change],
) -> Result<(Plan, Vec<Objection>), ChangeError> {
    let plan = change::plan(common.membership(), changes)?;
    let objections = objections(leader, common, &plan);
    Ok((plan, objections))
}

/// Begins a change.
pub(super) fn begin(
    leader: &mut Leader,
    common: &mut Common,
    changes: &[Change],
    options: ChangeOptions,
) -> Result<ChangeId, ChangeError> {
    if let Some(transfer) = &leader.transfer {
        return Err(ChangeError::Transferring { to: transfer.to });
    }
    if common.log.commit() < leader.noop_index || leader.retiring {
        return Err(ChangeError::NotReady { term: common.term() });
    }
    let at = common.log.membership().map(|(at, _)| *at).unwrap_or_default();
    if leader.changing.is_some() || !is_stable(common) {
        return Err(ChangeError::InProgress { at });
    }
    let (plan, objections) = plan(leader, common, changes)?;
    if let Some(objection) = standing(objections, options.force) {
        let wait = options.wait.filter(|_| objection.is_catching_up());
        let Some(wait) = wait else { return Err(objection.into()) };
        common.timers.set(Timer::Change, common.now + wait);
    }
    common.last_change = ChangeId(common.last_change.0 + 1);
    let id = common.last_change;
    let stage = Stage::Waiting { learners: false };
    leader.changing = Some(Changing { id, changes: changes.to_vec(), force: options.force, stage });
    let learners = plan.steps.first().filter(|step| plan.steps.len() > 1 && !step.is_joint());
    if let Some(step) = learners.cloned() {
        append(leader, common, &step);
        if let Some(changing) = &mut leader.changing {
            changing.stage = Stage::Waiting { learners: true };
        }
    } else {
        go_on(leader, common);
    }
    Ok(id)
}

/// Nothing stands between what is in force and the next change: it is committed, and not joint.
fn is_stable(common: &Common) -> bool {
    common
        .log
        .membership()
        .is_some_and(|(at, membership)| at.index <= common.log.commit() && !membership.is_joint())
}

/// What speaks against making the new voters of a plan voters at this moment.
fn objections(leader: &Leader, common: &Common, plan: &Plan) -> Vec<Objection> {
    let new_voters = plan.new_voters().filter_map(|node| objection(leader, common, node));
    let mut objections: Vec<Objection> = new_voters.collect();
    let voters = &plan.after.voters;
    let silent: Vec<NodeId> = voters.iter().copied().filter(|id| !is_alive(leader, common, *id)).collect();
    let (alive, needed) = (voters.len() - silent.len(), plan.after.quorum());
    if alive < needed {
        objections.push(Objection::NoLiveQuorum { voters: voters.len(), alive, needed, silent });
    }
    objections
}

/// What is left of the objections, if anything: rather one that passes by waiting, since a new voter that has yet
/// to come counts as silent until then.
fn standing(objections: Vec<Objection>, force: bool) -> Option<Objection> {
    let mut standing: Vec<Objection> =
        objections.into_iter().filter(|objection| !(force && objection.yields_to_force())).collect();
    standing.sort_by_key(|objection| !objection.is_catching_up());
    standing.into_iter().next()
}

fn is_alive(leader: &Leader, common: &Common, id: NodeId) -> bool {
    let answers = |progress: &Progress| {
        progress.rolled_back.is_none() && common.now.since(progress.contact) < common.config.election_timeout
    };
    id == common.id() || leader.progress.get(&id).is_some_and(answers)
}

/// What speaks against this node's becoming a voter.
fn objection(leader: &Leader, common: &Common, node: NodeId) -> Option<Objection> {
    if node == common.id() {
        return None;
    }
    let progress = leader.progress.get(&node).filter(|_| common.membership().is_member(node));
    let Some(progress) = progress else { return Some(Objection::NotLearned { node }) };
    // Whether it is on probation only an answer to a heartbeat tells.
    let answered = progress.acked_round > 0;
    let lag_entries = common.log.last().0.saturating_sub(progress.match_index.0);
    if progress.probation {
        return Some(Objection::Probation { node, lag_entries });
    }
    if !answered || !is_alive(leader, common, node) {
        let silence = answered.then(|| common.now.since(progress.contact));
        return Some(Objection::Silent { node, silence });
    }
    let limit_entries = common.config.promote_lag_entries;
    (lag_entries > limit_entries).then_some(Objection::Lagging { node, lag_entries, limit_entries })
}

/// Appends a membership: it is in force from here on (§6).
fn append(leader: &mut Leader, common: &mut Common, membership: &Membership) -> LogId {
    let at = LogId { term: common.term(), index: common.log.last().next() };
    let membership = membership.clone().entered_after(common.membership(), at);
    let at = leader.append(common, EntryKind::Membership, membership.encode());
    follow(leader, common);
    at
}

/// Whoever is a member now, or leaves and has to learn of it, is told everything; nobody else.
pub(super) fn follow(leader: &mut Leader, common: &mut Common) {
    members::follow(common);
    if leader.reach == common.reach.version() {
        return;
    }
    leader.reach = common.reach.version();
    let own = common.id();
    let members = common.membership().members.keys().copied();
    let fed: Vec<NodeId> = members.chain(common.reach.departing()).filter(|peer| *peer != own).collect();
    let gone: Vec<NodeId> = leader.progress.keys().copied().filter(|peer| !fed.contains(peer)).collect();
    for peer in gone {
        leader.progress.remove(&peer);
        common.outbox.forget(peer);
    }
    let mut is_new = false;
    for peer in fed {
        let departing = common.reach.is_departing(peer);
        // Who comes back may come with another store: what it had said counts no longer.
        let known = leader.progress.get(&peer).is_some_and(|known| departing || !known.departing);
        if !known {
            let next = common.log.last().next();
            leader.progress.insert(peer, Progress::added(next, leader.round, common.now));
            is_new = true;
        }
        if let Some(progress) = leader.progress.get_mut(&peer) {
            progress.departing = departing;
        }
    }
    if is_new {
        // Only answers to a round that begins after this moment are surely from the one that was meant.
        heartbeat::begin_round(leader, common);
    }
}

/// What follows from what was committed or heard: joint is left, a change goes on or ends, a leader that
/// was removed hands over.
pub(super) fn advance(leader: &mut Leader, common: &mut Common) -> Next {
    follow(leader, common);
    let Some((at, membership)) = common.log.membership() else { return Next::Stay };
    if at.index > common.log.commit() || common.log.commit() < leader.noop_index || leader.transfer.is_some()
    {
        return Next::Stay;
    }
    // Mostly nothing is to change.
    if leader.changing.is_none() && !membership.is_joint() && membership.is_voter(common.config.id) {
        return Next::Stay;
    }
    if membership.is_joint() {
        let after = membership.left_joint();
        append(leader, common, &after);
        return Next::Stay;
    }
    if let Some(Changing { id, stage: Stage::Appended { first }, .. }) = &leader.changing
        && *first <= *at
    {
        let (id, done) = (*id, ChangeDone { at: *at, membership: membership.clone() });
        finish(leader, common, id, Ok(done));
    } else {
        go_on(leader, common);
    }
    retire(leader, common)
}

/// A change that waits begins, if nothing speaks against it any more.
fn go_on(leader: &mut Leader, common: &mut Common) {
    let Some(Changing { id, changes, force, stage: Stage::Waiting { .. } }) = &leader.changing else {
        return;
    };
    if !is_stable(common) {
        return;
    }
    let id = *id;
    let there = |change: &&Change| match change {
        Change::AddLearner(member) => !common.membership().is_member(member.id),
        _ => true,
    };
    let remaining: Vec<Change> = changes.iter().filter(there).cloned().collect();
    match plan(leader, common, &remaining) {
        Ok((plan, objections)) => match standing(objections, *force) {
            Some(objection) if objection.is_catching_up() => {}
            Some(objection) => finish(leader, common, id, Err(objection.into())),
            None => {
                let Some(step) = plan.steps.first() else { return };
                let first = append(leader, common, step);
                common.timers.stop(Timer::Change);
                if let Some(changing) = &mut leader.changing {
                    changing.stage = Stage::Appended { first };
                }
            }
        },
        Err(error) => finish(leader, common, id, Err(error)),
    }
}

/// A change has waited long enough.
pub(super) fn give_up(leader: &mut Leader, common: &mut Common) {
    let Some(Changing { id, changes, stage: Stage::Waiting { .. }, .. }) = &leader.changing else { return };
    let id = *id;
    let waits_for = change::plan(common.membership(), changes)
        .ok()
        .and_then(|plan| plan.new_voters().find_map(|node| objection(leader, common, node)));
    let at = common.log.membership().map(|(at, _)| *at).unwrap_or_default();
    let error = waits_for.map_or(ChangeError::InProgress { at }, ChangeError::Objection);
    finish(leader, common, id, Err(error));
}

fn finish(leader: &mut Leader, common: &mut Common, id: ChangeId, result: Result<ChangeDone, ChangeError>) {
    leader.changing = None;
    common.timers.stop(Timer::Change);
    common.events.push_back(Event::ChangeFinished { id, result });
}

/// This node no longer leads: what is in the log may yet come to pass.
pub(super) fn end(changing: Option<Changing>, common: &mut Common) {
    common.timers.stop(Timer::Change);
    let Some(Changing { id, stage, .. }) = changing else { return };
    let error = match stage {
        Stage::Appended { first } => {
            common.open_change = Some(OpenChange { id, first });
            return;
        }
        // Its term, which may be over already: the last entry is still one that it has appended.
        Stage::Waiting { learners: true } => ChangeError::Unknown { term: common.log.last_id().term },
        Stage::Waiting { learners: false } => ChangeError::NotLeader { leader: common.leader_member() },
    };
    common.events.push_back(Event::ChangeFinished { id, result: Err(error) });
}

/// A leader that votes no longer, by a change that is committed, hands over and steps down (§6).
fn retire(leader: &mut Leader, common: &mut Common) -> Next {
    if !is_stable(common) || common.membership().is_voter(common.id()) || leader.transfer.is_some() {
        return Next::Stay;
    }
    let tried = core::mem::replace(&mut leader.retiring, true);
    if !tried && transfer::begin(leader, common, None).is_ok() {
        return Next::Stay;
    }
    leader.abdicate(common);
    Next::Follow { why: Why::Removed }
}
