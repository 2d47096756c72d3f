//! What a majority is, over one voter set or two (§5.2, §6).

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use super::Membership;
use crate::ids::NodeId;

/// How an election, or any other question to the voters, stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VoteResult {
    /// A quorum said yes.
    Won,
    /// No quorum can say yes any more.
    Lost,
    /// Open.
    Pending,
}

/// As many voters as fit on the stack.
const FEW: usize = 9;

/// The size of a majority of `voters` nodes.
pub(crate) const fn majority(voters: usize) -> usize {
    voters / 2 + 1
}

impl Membership {
    /// The greatest value that a quorum has reached, where `of` gives each voter's own.
    ///
    /// Used for match indexes (§5.3: committed when on a majority) and for contact times. While joint
    /// the lesser of the two sets counts. `None` without voters.
    ///
    /// ```
    /// use raft_core::ids::{Index, NodeId};
    /// use raft_core::membership::{Member, Membership};
    ///
    /// let voters = Membership::of_voters((1..=3).map(|id| Member::new(NodeId(id), ""))).unwrap();
    /// // How far each one's log matches the leader's, durably. Two of three have entry 17.
    /// let matched = [Index(20), Index(17), Index(9)];
    /// let committed = voters.quorum_value(|id| matched[id.0 as usize - 1]);
    /// assert_eq!(committed, Some(Index(17)));
    /// ```
    #[must_use]
    pub fn quorum_value<T: Copy + Ord>(&self, mut of: impl FnMut(NodeId) -> T) -> Option<T> {
        let mut one = |set: &BTreeSet<NodeId>| {
            // It is asked for with every answer: no allocation for as many voters as there usually are.
            let (mut few, mut many) = ([None; FEW], Vec::new());
            let values = if let Some(few) = few.get_mut(..set.len()) {
                few.iter_mut().zip(set).for_each(|(value, id)| *value = Some(of(*id)));
                few
            } else {
                many.extend(set.iter().map(|id| Some(of(*id))));
                &mut many
            };
            values.sort_unstable();
            // The majority-th greatest: at least that many have reached it.
            values.len().checked_sub(majority(values.len())).and_then(|at| *values.get(at)?)
        };
        let incoming = one(&self.voters)?;
        if self.outgoing.is_empty() {
            return Some(incoming);
        }
        Some(incoming.min(one(&self.outgoing)?))
    }

    /// How a vote stands, where `of` gives each voter's answer, or `None` while it is silent.
    ///
    /// ```
    /// use raft_core::ids::NodeId;
    /// use raft_core::membership::{Member, Membership, VoteResult};
    ///
    /// let voters = Membership::of_voters((1..=5).map(|id| Member::new(NodeId(id), ""))).unwrap();
    /// let mut answers = [Some(true), Some(true), Some(false), None, None];
    /// let result = |answers: &[Option<bool>]| voters.vote_result(|id| answers[id.0 as usize - 1]);
    /// assert_eq!(result(&answers), VoteResult::Pending);
    /// answers[3] = Some(true);
    /// // Nobody has to wait for the last.
    /// assert_eq!(result(&answers), VoteResult::Won);
    /// ```
    #[must_use]
    pub fn vote_result(&self, mut of: impl FnMut(NodeId) -> Option<bool>) -> VoteResult {
        let mut one = |set: &BTreeSet<NodeId>| {
            let (mut yes, mut no) = (0, 0);
            for id in set {
                match of(*id) {
                    Some(true) => yes += 1,
                    Some(false) => no += 1,
                    None => {}
                }
            }
            let need = majority(set.len());
            if set.is_empty() || set.len() - no < need {
                VoteResult::Lost
            } else if yes >= need {
                VoteResult::Won
            } else {
                VoteResult::Pending
            }
        };
        let incoming = one(&self.voters);
        if self.outgoing.is_empty() {
            return incoming;
        }
        match (incoming, one(&self.outgoing)) {
            (VoteResult::Won, VoteResult::Won) => VoteResult::Won,
            (VoteResult::Lost, _) | (_, VoteResult::Lost) => VoteResult::Lost,
            _ => VoteResult::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::membership::Member;
    use proptest::prelude::*;

    fn membership(incoming: &[u64], outgoing: &[u64]) -> Membership {
        let ids: BTreeSet<u64> = incoming.iter().chain(outgoing).copied().collect();
        let members = ids.into_iter().map(|id| Member::new(NodeId(id), ""));
        let mut membership =
            Membership { members: members.map(|m| (m.id, m)).collect(), ..Membership::default() };
        membership.voters = incoming.iter().map(|id| NodeId(*id)).collect();
        membership.outgoing = outgoing.iter().map(|id| NodeId(*id)).collect();
        membership
    }

    /// hashicorp 163a55f, async-raft d60f1e85 (features.md P13).
    #[test]
    fn p13_majorities_of_one_to_nine() {
        let sizes: Vec<usize> = (1..=9).map(majority).collect();
        assert_eq!(sizes, [1, 2, 2, 3, 3, 4, 4, 5, 5]);
    }

    #[test]
    fn nobody_decides_nothing() {
        let nobody = membership(&[], &[]);
        assert_eq!(nobody.quorum_value(|_| 7), None);
        assert_eq!(nobody.vote_result(|_| Some(true)), VoteResult::Lost);
    }

    #[test]
    fn joint_needs_both() {
        let joint = membership(&[1, 2, 3], &[3, 4, 5]);
        let only_incoming = |id: NodeId| if id.0 <= 2 { 9 } else { 1 };
        assert_eq!(joint.quorum_value(only_incoming), Some(1));
        assert_eq!(joint.vote_result(|id| (id.0 <= 2).then_some(true)), VoteResult::Pending);
        assert_eq!(joint.vote_result(|id| Some(id.0 <= 2)), VoteResult::Lost);
        assert_eq!(joint.vote_result(|id| (id.0 != 1 && id.0 != 5).then_some(true)), VoteResult::Won);
    }

    fn set() -> impl Strategy<Value = Vec<u64>> {
        prop::collection::btree_set(1_u64..=13, 1..=13).prop_map(|set| set.into_iter().collect())
    }

    proptest! {
        /// openraft#1802 (features.md P15): the same as counting, for every order of match indexes.
        #[test]
        fn p15_quorum_value_is_what_counting_gives(
            incoming in set(), outgoing in prop_oneof![Just(Vec::new()), set()],
            values in prop::collection::vec(0_u64..6, 14),
        ) {
            let membership = membership(&incoming, &outgoing);
            let reached = |set: &[u64], at: u64| {
                set.iter().filter(|id| values[**id as usize] >= at).count() > set.len() / 2
            };
            let naive = (0..6).rev().find(|at| {
                reached(&incoming, *at) && (outgoing.is_empty() || reached(&outgoing, *at))
            });
            prop_assert_eq!(membership.quorum_value(|id| values[id.0 as usize]), naive);
        }

        #[test]
        fn vote_result_is_what_trying_every_answer_gives(
            incoming in set(), outgoing in prop_oneof![Just(Vec::new()), set()],
            answers in prop::collection::vec(prop::option::of(any::<bool>()), 14),
        ) {
            let membership = membership(&incoming, &outgoing);
            let wins = |silent: bool| {
                let yes = |set: &[u64]| {
                    set.iter().filter(|id| answers[**id as usize].unwrap_or(silent)).count() > set.len() / 2
                };
                yes(&incoming) && (outgoing.is_empty() || yes(&outgoing))
            };
            let expected = match (wins(false), wins(true)) {
                (true, _) => VoteResult::Won,
                (false, true) => VoteResult::Pending,
                (false, false) => VoteResult::Lost,
            };
            prop_assert_eq!(membership.vote_result(|id| answers[id.0 as usize]), expected);
        }
    }
}
