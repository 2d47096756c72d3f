//! What every node makes of its memberships: who is reached beside those in force, who has left, and
//! whether this node was removed itself.
//!
//! A change is in force once appended (§6), but who leaves by it is needed until it is committed: the entry
//! may be cut away again, and the leader may be one of them. After that it is given an election timeout to
//! learn that it is out.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::Event;
use super::common::Common;
use super::output::ChangeDone;
use super::timers::Timer;
use crate::error::ChangeError;
use crate::ids::{ChangeId, Index, LogId, NodeId};
use crate::membership::{Member, Membership};
use crate::time::Time;

/// A member no more, as far as the membership in force goes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Departing {
    member: Member,
    /// Until when it is reached, once its leaving is committed.
    until: Option<Time>,
}

/// Whom this node reaches, and what it has reported of that.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Reach {
    /// The entries of the membership in force and of the last committed one, when this was made.
    seen: (Option<LogId>, Option<LogId>),
    /// What was committed then.
    committed: Membership,
    /// Everybody in the last committed membership and in later ones.
    named: BTreeMap<NodeId, Member>,
    departing: BTreeMap<NodeId, Departing>,
    /// Who has left, to be reported.
    left: Vec<NodeId>,
    /// Neither the membership in force nor the last committed one names this node.
    out: bool,
    /// Until when others are reached although this node is no member.
    own: Option<Time>,
    /// Raised by every change.
    version: u64,
    /// A peer has said that this node was removed.
    told: bool,
}

/// A change whose deciding entry is in a log that this node no longer leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct OpenChange {
    pub(crate) id: ChangeId,
    pub(crate) first: LogId,
}

impl Reach {
    pub(crate) const fn version(&self) -> u64 {
        self.version
    }

    /// Whether it is reached only until it has learned that it is out.
    pub(crate) fn is_departing(&self, id: NodeId) -> bool {
        self.departing.contains_key(&id)
    }

    /// Whether its leaving is committed.
    pub(crate) fn has_left(&self, id: NodeId) -> bool {
        self.departing.get(&id).is_some_and(|departing| departing.until.is_some())
    }

    pub(crate) fn departing(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.departing.keys().copied()
    }

    pub(crate) fn member(&self, id: NodeId) -> Option<&Member> {
        self.departing.get(&id).map(|departing| &departing.member)
    }

    pub(crate) fn take_left(&mut self) -> Vec<NodeId> {
        core::mem::take(&mut self.left)
    }

    /// All but times.
    #[cfg(feature = "trace")]
    pub(crate) fn hash_protocol<H: core::hash::Hasher>(&self, state: &mut H) {
        use core::hash::Hash;
        (self.seen, self.told, self.own.is_some(), self.departing.len()).hash(state);
        for (id, departing) in &self.departing {
            (id, &departing.member, departing.until.is_some()).hash(state);
        }
    }
}

/// Follows the log: after whatever may have appended, cut or committed a membership.
#[inline]
pub(crate) fn follow(common: &mut Common) {
    if common.log.take_moved() {
        on_moved(common);
    }
}

#[cold]
fn on_moved(common: &mut Common) {
    let committed = common.log.committed_membership();
    let seen = (common.log.membership().map(|(id, _)| *id), committed.map(|(id, _)| *id));
    if seen == common.reach.seen && common.reach.version > 0 {
        return;
    }
    let deadline = common.now + common.config.election_timeout;
    let mut reach = core::mem::take(&mut common.reach);
    let named = named(common);
    note_who_left(&mut reach, common, &named);
    let before = core::mem::take(&mut reach.named);
    for (id, member) in before.into_iter().chain(named.iter().map(|(id, member)| (*id, member.clone()))) {
        reach.departing.entry(id).or_insert(Departing { member, until: None });
    }
    let in_force = common.membership();
    reach.departing.retain(|id, _| !in_force.is_member(*id) && *id != common.config.id);
    for (id, departing) in &mut reach.departing {
        departing.until = if named.contains_key(id) { None } else { departing.until.or(Some(deadline)) };
    }
    // A node that has not caught up yet does not know whether it is a member: see `is_out`.
    let lacks = |of: Option<&(LogId, Membership)>| of.is_some_and(|(_, of)| !of.is_member(common.config.id));
    reach.out = lacks(common.log.committed_membership()) && lacks(common.log.membership());
    reach.own = if reach.out && !common.hard.probation { reach.own.or(Some(deadline)) } else { None };
    reach.seen = seen;
    reach.committed = common.log.committed_membership().map(|(_, of)| of.clone()).unwrap_or_default();
    reach.named = named;
    reach.version += 1;
    common.reach = reach;
    arm(common);
}

/// Everybody in the last committed membership and in later ones; the record of the latest counts.
fn named(common: &Common) -> BTreeMap<NodeId, Member> {
    counting(common).flat_map(|(_, of)| of.members.iter().map(|(id, member)| (*id, member.clone()))).collect()
}

/// Who was removed by what has been committed since, also where it has come back meanwhile; and who was
/// named by an entry that was cut away.
fn note_who_left(reach: &mut Reach, common: &Common, named: &BTreeMap<NodeId, Member>) {
    if reach.version == 0 {
        return;
    }
    let mut left: Vec<NodeId> = reach.named.keys().copied().filter(|id| !named.contains_key(id)).collect();
    let commit = common.log.commit();
    let seen = reach.seen.1.map_or(Index::ZERO, |id| id.index);
    let mut before = &reach.committed;
    let newly = common.log.memberships().iter().filter(|(id, _)| id.index > seen && id.index <= commit);
    for (_, after) in newly {
        left.extend(before.members.keys().copied().filter(|id| !after.is_member(*id)));
        before = after;
    }
    left.retain(|id| *id != common.config.id);
    reach.left.append(&mut left);
    reach.left.sort_unstable();
    reach.left.dedup();
}

/// Whether the log says so, by an entry that is committed and by what is in force. A node that has not caught
/// up yet does not know whether it is a member.
const fn is_out(common: &Common) -> bool {
    common.reach.out && !common.hard.probation
}

/// Whether this node was a member and is none any more.
pub(crate) const fn is_removed(common: &Common) -> bool {
    common.reach.told || is_out(common)
}

/// Whether this node may still be needed as a leader: it votes in the membership in force, or did in one that may
/// still be the last committed one, and what takes its vote may be in its log only (dissertation §4.2.2).
pub(crate) fn may_lead(common: &Common) -> bool {
    !common.reach.told && counting(common).any(|(_, membership)| membership.is_voter(common.config.id))
}

/// The last committed membership and all later ones.
fn counting(common: &Common) -> impl Iterator<Item = &(LogId, Membership)> {
    // After a restart this node may know of none that it is committed; then it may be any.
    let from = common.log.committed_membership().map_or(Index::ZERO, |(id, _)| id.index);
    common.log.memberships().iter().filter(move |(id, _)| id.index >= from)
}

/// A peer says that this node is no member since the entry at `since`. Whether that is news.
pub(crate) fn on_removed(common: &mut Common, since: Index) -> bool {
    let newer = common
        .log
        .membership()
        .is_some_and(|(id, membership)| id.index > since && membership.is_member(common.config.id));
    if newer || common.reach.told {
        return false;
    }
    common.reach.told = true;
    true
}

/// A leader speaks to this node: what was said of its removal is obsolete, or will be said again.
pub(crate) fn on_leader(common: &mut Common) {
    common.reach.told = false;
}

/// Whom to stay connected to.
pub(crate) fn reached(common: &Common) -> Vec<Member> {
    let reach = &common.reach;
    if reach.own.is_some_and(|until| until <= common.now) {
        return Vec::new();
    }
    let members = common.membership().members.values().filter(|member| member.id != common.config.id);
    members.chain(reach.departing.values().map(|departing| &departing.member)).cloned().collect()
}

/// Those who left have had their time.
pub(crate) fn on_departure(common: &mut Common) {
    let now = common.now;
    common.reach.departing.retain(|_, departing| departing.until.is_none_or(|until| until > now));
    common.reach.version += 1;
    arm(common);
}

fn arm(common: &mut Common) {
    let reach = &common.reach;
    let own = reach.own.filter(|until| *until > common.now);
    let next = reach.departing.values().filter_map(|departing| departing.until).chain(own).min();
    match next {
        Some(at) => common.timers.set(Timer::Departure, at),
        None => common.timers.stop(Timer::Departure),
    }
}

/// What has become of a change that this node began when it led: its entry is committed, or another is.
pub(crate) fn resolve(common: &mut Common) {
    let Some(OpenChange { id, first }) = common.open_change else { return };
    if common.log.commit() < first.index {
        return;
    }
    let result = match common.log.term_of(first.index) {
        Some(term) if term == first.term => {
            // It is there, so the last that is committed is this one, or one after it.
            let Some((at, membership)) = common.log.committed_membership() else { return };
            if membership.is_joint() {
                return;
            }
            Ok(ChangeDone { at: *at, membership: membership.clone() })
        }
        Some(term) => Err(ChangeError::Superseded { by: LogId { term, index: first.index } }),
        None => Err(ChangeError::Unknown { term: first.term }),
    };
    common.open_change = None;
    common.events.push_back(Event::ChangeFinished { id, result });
}
