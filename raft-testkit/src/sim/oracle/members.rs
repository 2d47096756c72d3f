//! Who decides: the memberships in the logs, and what of them is in force where.
//!
//! Nothing here asks the protocol: a majority is counted anew, from entries that some disk was given.

use std::collections::{BTreeMap, BTreeSet};

use raft_core::entry::{Entry, EntryKind};
use raft_core::ids::{Index, NodeId, Term};
use raft_core::membership::Membership;
use raft_core::raft::Raft;

use super::super::coverage::Point;
use super::super::events::Tag;
use super::{Item, State, place};

/// All memberships ever written, by index; of one index there may be one for each term.
#[derive(Default)]
pub(crate) struct Memberships(BTreeMap<Index, Vec<(Term, Membership)>>);

impl Memberships {
    fn add(&mut self, entry: &Entry) -> Option<Membership> {
        if entry.kind != EntryKind::Membership {
            return None;
        }
        let all = self.0.entry(entry.id.index).or_default();
        if all.iter().any(|(term, _)| *term == entry.id.term) {
            return None;
        }
        let membership = Membership::decode(&entry.data).ok()?;
        all.push((entry.id.term, membership.clone()));
        Some(membership)
    }

    /// The last one at or before `upto` in the log in which `term_of` says what is where.
    fn last(
        &self,
        upto: Index,
        term_of: impl Fn(Index) -> Option<Term>,
    ) -> Option<(Index, Term, &Membership)> {
        self.0.range(..=upto).rev().find_map(|(index, all)| {
            let term = term_of(*index)?;
            all.iter().find(|(of, _)| *of == term).map(|(_, membership)| (*index, term, membership))
        })
    }

    /// Those after an index.
    fn beyond(&self, index: Index) -> impl Iterator<Item = (Index, Term, &Membership)> {
        let after = self.0.range(index.next()..);
        after.flat_map(|(index, all)| all.iter().map(|(term, membership)| (*index, *term, membership)))
    }

    /// The last one of a durable log.
    pub(crate) fn of_log(&self, log: &[Item]) -> Option<&Membership> {
        self.at(log, Index(log.len() as u64))
    }

    /// The one that was in force as of an index of a durable log.
    pub(crate) fn at(&self, log: &[Item], upto: Index) -> Option<&Membership> {
        self.last(upto, |index| log.get(place(index)).map(|item| item.term)).map(|(_, _, found)| found)
    }

    /// Whether a node votes in one that may be the last committed one, as far as its log tells. Of those beyond its
    /// commit index that may be any, also one that brought it back and that a later one follows which removes it again.
    pub(crate) fn may_count(&self, log: &[Item], commit: Index, node: NodeId) -> bool {
        let votes = |of: Option<&Membership>| of.is_none_or(|of| of.is_voter(node));
        // One that has lost some of what is committed knows less than that.
        if commit.0 > log.len() as u64 {
            return true;
        }
        votes(self.at(log, commit)) || self.beyond(commit).any(|(index, _, _)| votes(self.at(log, index)))
    }
}

/// The place of a member among the nodes.
pub(crate) const fn node_of(id: NodeId) -> usize {
    id.0.saturating_sub(1) as usize
}

/// Whether these nodes can decide: a majority of the voters, and while two memberships are in force of each.
pub(crate) fn is_quorum(membership: &Membership, mut yes: impl FnMut(usize) -> bool) -> bool {
    let mut most =
        |voters: &BTreeSet<NodeId>| 2 * voters.iter().filter(|id| yes(node_of(**id))).count() > voters.len();
    most(&membership.voters) && (membership.outgoing.is_empty() || most(&membership.outgoing))
}

impl State {
    /// The membership that is committed.
    pub(crate) fn committed_membership(&self) -> Option<&Membership> {
        self.memberships.of_log(&self.committed)
    }

    /// The membership in force on a running node: the last one in its log, committed or not.
    pub(crate) fn membership_of(&self, raft: &Raft) -> Option<&Membership> {
        self.membership_upto(raft, raft.view().last.index)
    }

    /// The one that was in force on it when its log ended there.
    pub(crate) fn membership_upto(&self, raft: &Raft, last: Index) -> Option<&Membership> {
        self.in_force(raft, last).map(|(_, _, found)| found)
    }

    /// Whether the last membership that a running node has written is joint and committed, and it has appended the
    /// end of it since.
    pub(crate) fn leaves_joint(&self, raft: &Raft) -> bool {
        self.in_force(raft, raft.view().last.index).is_some_and(|(index, term, found)| {
            let committed = self.committed.get(place(index)).is_some_and(|item| item.term == term);
            found.is_joint() && committed && raft.view().membership.index > index
        })
    }

    pub(super) fn in_force(&self, raft: &Raft, last: Index) -> Option<(Index, Term, &Membership)> {
        let term_of = |index: Index| {
            let known = self.committed.get(place(index)).map(|item| item.term);
            // What it has purged it has in a snapshot, and that is committed.
            raft.term_of(index).or_else(|| known.filter(|_| index <= raft.view().purged))
        };
        self.memberships.last(last, term_of)
    }

    /// The committed one, and those that durable logs, or logs that are being written, hold beyond.
    pub(crate) fn possible_memberships(&self) -> Vec<Membership> {
        let mut all: Vec<Membership> = self.committed_membership().cloned().into_iter().collect();
        for model in &self.nodes {
            for (index, term, membership) in self.memberships.beyond(Index(self.committed.len() as u64)) {
                let inflight = model.inflight.iter().flat_map(|inflight| &inflight.items);
                let held =
                    model.log.get(place(index)).into_iter().chain(inflight).any(|item| item.term == term);
                if held && !all.contains(membership) {
                    all.push(membership.clone());
                }
            }
        }
        all
    }

    /// Whether the votes for a candidate are enough for one of two memberships that are in force on it, and only that.
    pub(crate) fn count_halves(&mut self, candidate: usize, term: Term) {
        let members = self.nodes.get(candidate).and_then(|model| self.memberships.of_log(&model.log));
        let Some(joint) = members.filter(|of| of.is_joint()) else { return };
        let voted = |id: &&NodeId| {
            self.votes.get(&(node_of(**id), term)).is_some_and(|vote| node_of(*vote) == candidate)
        };
        let [new, old] =
            [&joint.voters, &joint.outgoing].map(|half| 2 * half.iter().filter(voted).count() > half.len());
        self.cover.hit_if(new != old, Point::VotesOfOneHalf);
    }

    /// Memberships are being written after what is in this log: each must follow from the one before.
    pub(crate) fn members_written(&mut self, at: u64, node: usize, entries: &[Entry]) {
        for entry in entries {
            let Some(membership) = self.memberships.add(entry) else { continue };
            let (index, log) = (entry.id.index, &self.nodes[node].log);
            let before = self.memberships.last(index.prev(), |index| {
                // Of one write the later ones follow the earlier ones.
                let earlier = entries.iter().find(|entry| entry.id.index == index).map(|entry| entry.id.term);
                earlier.or_else(|| log.get(place(index)).map(|item| item.term))
            });
            let Some((place_before, term_before, before)) = before else { continue };
            let committed = self.committed.get(place(place_before)).map(|item| item.term);
            let wrong = wrong_step(before, &membership)
                .or_else(|| (committed != Some(term_before)).then_some("the one before is not committed"));
            if let Some(why) = wrong {
                let what = format!("{why}: {} after {}", short(&membership), short(before));
                self.violated(at, "membership-step", Some(node), what);
            }
            self.cover.hit_if(membership.is_joint(), Point::JointWritten);
            if membership.is_joint() {
                self.joint = Some(membership.clone());
            }
            let text = || format!("members by {}: {}", entry.id, short(&membership));
            let numbers = [4, entry.id.index.0, entry.id.term.0, 0];
            self.events.note(at, super::number(Some(node)), Tag::Note, numbers, text);
        }
    }

    /// A membership is committed here for the first time.
    pub(crate) fn member_committed(&mut self, index: Index) {
        let Some(now) = self.memberships.at(&self.committed, index) else { return };
        let before = self.memberships.at(&self.committed, index.prev());
        let Some(before) = before.filter(|before| *before != now) else { return };
        let (joint, left) = (now.is_joint(), before.is_joint() && !now.is_joint());
        let (grown, fewer) =
            (now.voters.len() > before.outgoing.len(), now.voters.len() < before.outgoing.len());
        let addresses = now.voters == before.voters && now.members.keys().eq(before.members.keys());
        let more = !joint && !left && now.members.len() > before.members.len();
        self.cover.hit_if(joint, Point::JointCommitted);
        self.cover.hit_if(left && grown, Point::VotersAdded);
        self.cover.hit_if(left && fewer, Point::VotersRemoved);
        self.cover.hit_if(left && !grown && !fewer && now.voters != before.outgoing, Point::VoterReplaced);
        self.cover.hit_if(more, Point::LearnerAdded);
        self.cover.hit_if(!joint && !left && addresses, Point::AddressChanged);
        self.cover.hit_if(left && now.voters.len() == 1, Point::ShrunkToOne);
    }
}

/// What is wrong with a membership that follows another, if something is (§6).
fn wrong_step(before: &Membership, now: &Membership) -> Option<&'static str> {
    if before.is_joint() {
        let left = !now.is_joint() && now.voters == before.voters;
        return (!left).then_some("what follows a joint membership is not its new half");
    }
    if now.is_joint() {
        return (now.outgoing != before.voters)
            .then_some("a joint membership leaves other voters than there were");
    }
    (now.voters != before.voters).then_some("voters change without a joint membership")
}

/// For people.
pub(crate) fn short(membership: &Membership) -> String {
    let list = |ids: &BTreeSet<NodeId>| ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let learners: BTreeSet<NodeId> = membership.learners().collect();
    format!("{{{}|{}|{}}}", list(&membership.voters), list(&membership.outgoing), list(&learners))
}

#[cfg(test)]
mod tests {
    use raft_core::membership::Member;

    use super::*;

    fn of(voters: &[u64], outgoing: &[u64]) -> Membership {
        let all: BTreeSet<u64> = voters.iter().chain(outgoing).copied().collect();
        let mut membership =
            Membership::of_voters(all.into_iter().map(|id| Member::new(NodeId(id), ""))).unwrap();
        membership.voters = voters.iter().map(|id| NodeId(*id)).collect();
        membership.outgoing = outgoing.iter().map(|id| NodeId(*id)).collect();
        membership
    }

    #[test]
    fn both_halves_decide_while_joint() {
        let joint = of(&[3, 4, 5], &[1, 2, 3]);
        assert!(is_quorum(&joint, |node| [0, 2, 3].contains(&node)));
        assert!(!is_quorum(&joint, |node| [2, 3, 4].contains(&node)));
        assert!(!is_quorum(&joint, |node| [0, 1, 2].contains(&node)));
        assert!(!is_quorum(&of(&[1, 2], &[]), |node| node == 0));
    }

    /// A simulated node was removed, came back and was removed again while it knew of no commit: as far as it knows
    /// the one in the middle may be the last that is committed, and then it may be needed.
    #[test]
    fn who_was_brought_back_in_between_may_still_count() {
        let mut all = Memberships::default();
        let mut log = Vec::new();
        for (index, voters) in [(1, &[1, 2][..]), (2, &[1, 2, 3]), (3, &[1, 2])] {
            let data = of(voters, &[]).encode();
            let id = raft_core::ids::LogId::new(1, index);
            assert!(all.add(&Entry { id, kind: EntryKind::Membership, data }).is_some());
            log.push(Item { term: id.term, digest: index });
        }
        let counts = |commit: u64| all.may_count(&log, Index(commit), NodeId(3));
        assert_eq!([1, 2, 3].map(counts), [true, true, false]);
        assert!(!all.may_count(&log[..1], Index(1), NodeId(3)), "what it does not have is none of its");
    }

    #[test]
    fn memberships_change_in_two_steps_and_no_other_way() {
        let (old, joint, new) = (of(&[1, 2, 3], &[]), of(&[1, 2, 4], &[1, 2, 3]), of(&[1, 2, 4], &[]));
        assert_eq!(wrong_step(&old, &joint), None);
        assert_eq!(wrong_step(&joint, &new), None);
        assert_eq!(wrong_step(&old, &old), None);
        assert!(wrong_step(&old, &new).is_some());
        assert!(wrong_step(&joint, &old).is_some());
        assert!(wrong_step(&new, &joint).is_some());
        assert!(wrong_step(&joint, &joint).is_some());
    }
}
