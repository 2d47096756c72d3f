//! Changing who belongs to the cluster: what is asked for, and what it comes to. Pure.
//!
//! A list of changes is one change: it happens as a whole. If it leaves the voters as they are, one entry
//! brings it. If not, the cluster goes through joint consensus (§6): an entry with both voter sets, then one
//! with the new set, and no majority of the one can ever decide without a majority of the other. A new
//! voter is a learner first, and that is committed before its vote counts.

use alloc::vec::Vec;
use core::fmt;

use super::quorum::majority;
use super::{Member, Membership};
use crate::ids::NodeId;

/// One wish. Several together are one change.
///
/// A node moves to another machine, and a fourth comes, in one change:
///
/// ```
/// use raft_core::ids::NodeId;
/// use raft_core::membership::change::plan;
/// use raft_core::membership::{Change, Member, Membership};
///
/// let members = (1..=3).map(|id| Member::new(NodeId(id), format!("10.0.0.{id}:7101")));
/// let founders = Membership::of_voters(members).unwrap();
/// let changes = [
///     Change::Update(Member::new(NodeId(3), "10.0.9.3:7101")),
///     Change::AddLearner(Member::new(NodeId(4), "10.0.0.4:7101")),
/// ];
/// let after = plan(&founders, &changes).unwrap().after;
/// assert_eq!(after.member(NodeId(3)).unwrap().address, "10.0.9.3:7101");
/// assert!(after.learners().eq([NodeId(4)]));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Change {
    /// A new member that gets everything and votes for nothing. To ask again for what is there already
    /// changes nothing.
    AddLearner(Member),
    /// A learner becomes a voter.
    Promote(NodeId),
    /// A voter becomes a learner.
    Demote(NodeId),
    /// A member, of either kind, leaves.
    Remove(NodeId),
    /// `old` leaves, `new` takes its place: as a voter if `old` was one. `new` may be a learner already.
    Replace {
        /// Who leaves.
        old: NodeId,
        /// Who comes.
        new: Member,
    },
    /// A member has another address or other attributes.
    Update(Member),
}

/// Why a list of changes makes no sense for a membership. It never will, as long as that is in force.
///
/// ```
/// use raft_core::ids::NodeId;
/// use raft_core::membership::change::plan;
/// use raft_core::membership::{Change, Member, Membership, PlanError};
///
/// let members = (1..=2).map(|id| Member::new(NodeId(id), format!("10.0.0.{id}:7101")));
/// let founders = Membership::of_voters(members).unwrap();
/// let nobody = [Change::Remove(NodeId(1)), Change::Demote(NodeId(2))];
/// assert_eq!(plan(&founders, &nobody), Err(PlanError::NoVoters));
/// let error = plan(&founders, &[Change::Promote(NodeId(7))]).unwrap_err();
/// assert_eq!(error.to_string(), "node 7 is not a member");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// Node id 0 is not a name.
    #[error("a node id must not be 0")]
    ZeroId,
    /// It is none.
    #[error("node {0} is not a member")]
    NotAMember(NodeId),
    /// It is one, with another address or other attributes, or it votes.
    #[error("node {0} is a member already")]
    AlreadyAMember(NodeId),
    /// It votes.
    #[error("node {0} is a voter already")]
    AlreadyAVoter(NodeId),
    /// It does not vote.
    #[error("node {0} is a learner already")]
    AlreadyALearner(NodeId),
    /// Nobody would be left to decide.
    #[error("no voter would be left")]
    NoVoters,
    /// All is as it is asked for.
    #[error("there is nothing to change")]
    Nothing,
    /// Another change is not finished.
    #[error("an earlier change is still under way")]
    Joint,
}

/// What a change comes to: what is in force before and after, and each entry on the way.
///
/// It says in words what an operator should know before agreeing to it:
///
/// ```
/// use raft_core::ids::NodeId;
/// use raft_core::membership::change::plan;
/// use raft_core::membership::{Change, Member, Membership};
///
/// let members = (1..=3).map(|id| Member::new(NodeId(id), format!("10.0.0.{id}:7101")));
/// let founders = Membership::of_voters(members).unwrap();
/// let plan = plan(&founders, &[Change::Remove(NodeId(3))]).unwrap();
/// assert_eq!(
///     plan.to_string(),
///     "now: voters 1 2 3; 2 of 3 must be alive, 1 may fail\n\
///      step 1: joint, a majority of 1 2 3 and one of 1 2 decide together\n\
///      then: voters 1 2; 2 of 2 must be alive, 0 may fail\n"
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Plan {
    /// What is in force now.
    pub before: Membership,
    /// What will be in force for good.
    pub after: Membership,
    /// The entries, in order; the last is `after`. Each is committed before the next is appended.
    pub steps: Vec<Membership>,
}

impl Plan {
    /// Who votes then and not now.
    ///
    /// ```
    /// use raft_core::ids::NodeId;
    /// use raft_core::membership::change::plan;
    /// use raft_core::membership::{Change, Member, Membership};
    ///
    /// let members = (1..=3).map(|id| Member::new(NodeId(id), format!("10.0.0.{id}:7101")));
    /// let mut membership = Membership::of_voters(members).unwrap();
    /// membership.voters.remove(&NodeId(3));
    /// // Node 3 is there already: it need not be reached for the first time, but its vote is new.
    /// let plan = plan(&membership, &[Change::Promote(NodeId(3))]).unwrap();
    /// assert!(plan.new_voters().eq([NodeId(3)]));
    /// assert_eq!(plan.joining().count(), 0);
    /// ```
    pub fn new_voters(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.after.voters.difference(&self.before.voters).copied()
    }

    /// Who is a member then and not now.
    ///
    /// ```
    /// use raft_core::ids::NodeId;
    /// use raft_core::membership::change::plan;
    /// use raft_core::membership::{Change, Member, Membership};
    ///
    /// let alone = Membership::of_voters([Member::new(NodeId(1), "10.0.0.1:7101")]).unwrap();
    /// let new = |id| Change::AddLearner(Member::new(NodeId(id), format!("10.0.0.{id}:7101")));
    /// let plan = plan(&alone, &[new(2), new(3), Change::Promote(NodeId(2))]).unwrap();
    /// // Both have to be started, whether they vote or not.
    /// assert!(plan.joining().eq([NodeId(2), NodeId(3)]));
    /// ```
    pub fn joining(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.after.members.keys().copied().filter(|id| !self.before.is_member(*id))
    }

    /// Who is a member now and not then.
    ///
    /// ```
    /// use raft_core::ids::NodeId;
    /// use raft_core::membership::change::plan;
    /// use raft_core::membership::{Change, Member, Membership};
    ///
    /// let members = (1..=3).map(|id| Member::new(NodeId(id), format!("10.0.0.{id}:7101")));
    /// let founders = Membership::of_voters(members).unwrap();
    /// let plan = plan(&founders, &[Change::Demote(NodeId(2)), Change::Remove(NodeId(3))]).unwrap();
    /// // Which machines may be switched off then. Node 2 goes on as a learner.
    /// assert!(plan.leaving().eq([NodeId(3)]));
    /// ```
    pub fn leaving(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.before.members.keys().copied().filter(|id| !self.after.is_member(*id))
    }

    /// Whether the voters change, so that it goes through joint consensus (§6).
    ///
    /// ```
    /// use raft_core::ids::NodeId;
    /// use raft_core::membership::change::plan;
    /// use raft_core::membership::{Change, Member, Membership};
    ///
    /// let alone = Membership::of_voters([Member::new(NodeId(1), "10.0.0.1:7101")]).unwrap();
    /// let add = Change::AddLearner(Member::new(NodeId(2), "10.0.0.2:7101"));
    /// let learner = plan(&alone, &[add.clone()]).unwrap();
    /// assert!(!learner.is_joint(), "one entry brings it");
    /// let voter = plan(&alone, &[add, Change::Promote(NodeId(2))]).unwrap();
    /// assert!(voter.is_joint());
    /// assert_eq!((learner.steps.len(), voter.steps.len()), (1, 3));
    /// ```
    #[must_use]
    pub fn is_joint(&self) -> bool {
        self.before.voters != self.after.voters
    }
}

impl fmt::Display for Plan {
    /// Several lines, for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        side(f, "now", &self.before)?;
        for (number, step) in (1..).zip(&self.steps) {
            if step.is_joint() {
                write!(f, "step {number}: joint, a majority of {}", List::of(step.outgoing.iter().copied()))?;
                writeln!(f, " and one of {} decide together", List::of(step.voters.iter().copied()))?;
            } else if number < self.steps.len() {
                let new = step.members.keys().copied().filter(|id| !self.before.is_member(*id));
                writeln!(f, "step {number}: {} learn, and have to catch up", List::of(new))?;
            }
        }
        side(f, "then", &self.after)
    }
}

fn side(f: &mut fmt::Formatter<'_>, when: &str, membership: &Membership) -> fmt::Result {
    write!(f, "{when}: voters {}", List::of(membership.voters.iter().copied()))?;
    if membership.learners().next().is_some() {
        write!(f, ", learners {}", List::of(membership.learners()))?;
    }
    let (quorum, tolerance) = (membership.quorum(), membership.tolerance());
    writeln!(f, "; {quorum} of {} must be alive, {tolerance} may fail", membership.voters.len())
}

/// Names with spaces between them.
struct List(Vec<NodeId>);

impl List {
    fn of(ids: impl IntoIterator<Item = NodeId>) -> Self {
        Self(ids.into_iter().collect())
    }
}

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, id) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str(" ")?;
            }
            write!(f, "{id}")?;
        }
        Ok(())
    }
}

impl Membership {
    /// How many of the (incoming) voters it takes to decide.
    ///
    /// ```
    /// use raft_core::ids::NodeId;
    /// use raft_core::membership::{Member, Membership};
    ///
    /// let voters = |count| Membership::of_voters((1..=count).map(|id| Member::new(NodeId(id), "")));
    /// let quorums = [3, 4, 5].map(|count| voters(count).unwrap().quorum());
    /// assert_eq!(quorums, [2, 3, 3]);
    /// assert_eq!(Membership::default().quorum(), 0, "nobody decides");
    /// ```
    #[must_use]
    pub fn quorum(&self) -> usize {
        if self.voters.is_empty() { 0 } else { majority(self.voters.len()) }
    }

    /// How many of the (incoming) voters may fail while the others go on.
    ///
    /// ```
    /// use raft_core::ids::NodeId;
    /// use raft_core::membership::{Member, Membership};
    ///
    /// // A fourth voter makes no cluster safer, a fifth does.
    /// let voters = |count| Membership::of_voters((1..=count).map(|id| Member::new(NodeId(id), "")));
    /// let tolerances = [3, 4, 5].map(|count| voters(count).unwrap().tolerance());
    /// assert_eq!(tolerances, [1, 1, 2]);
    /// ```
    #[must_use]
    pub fn tolerance(&self) -> usize {
        self.voters.len() - self.quorum()
    }
}

/// What `changes`, as one, come to where `before` is in force.
///
/// ```
/// use raft_core::ids::NodeId;
/// use raft_core::membership::change::plan;
/// use raft_core::membership::{Change, Member, Membership, PlanError};
///
/// let members = (1..=3).map(|id| Member::new(NodeId(id), format!("10.0.0.{id}:7101")));
/// let founders = Membership::of_voters(members).unwrap();
/// let new = Member::new(NodeId(4), "10.0.0.4:7101");
/// let plan_of_it = plan(&founders, &[Change::Replace { old: NodeId(3), new }])?;
/// // Node 4 learns, then both sets decide, then the new one.
/// let [learns, joint, new] = &plan_of_it.steps[..] else { panic!("three entries") };
/// assert!(learns.learners().eq([NodeId(4)]) && joint.is_joint() && !new.is_member(NodeId(3)));
/// // And nothing else begins meanwhile.
/// assert_eq!(plan(joint, &[Change::Remove(NodeId(1))]), Err(PlanError::Joint));
/// # Ok::<(), PlanError>(())
/// ```
///
/// # Errors
/// [`PlanError`]; the first that does not fit.
pub fn plan(before: &Membership, changes: &[Change]) -> Result<Plan, PlanError> {
    if before.is_joint() {
        return Err(PlanError::Joint);
    }
    let mut after = before.clone();
    for change in changes {
        change.apply(&mut after)?;
    }
    if after.voters.is_empty() {
        return Err(PlanError::NoVoters);
    }
    if after == *before {
        return Err(PlanError::Nothing);
    }
    let steps = steps(before, &after);
    Ok(Plan { before: before.clone(), after, steps })
}

fn steps(before: &Membership, after: &Membership) -> Vec<Membership> {
    let mut steps = Vec::new();
    let mut now = before.clone();
    if after.voters.iter().any(|id| !before.is_member(*id)) {
        // Who will vote learns first; with them all that is new or has moved.
        now.members.extend(after.members.iter().map(|(id, member)| (*id, member.clone())));
        steps.push(now.clone());
    }
    if after.voters != before.voters {
        let leaving = now.members.keys().copied().filter(|id| !after.is_member(*id)).collect();
        now.members.extend(after.members.iter().map(|(id, member)| (*id, member.clone())));
        let (voters, outgoing) = (after.voters.clone(), before.voters.clone());
        steps.push(Membership { voters, outgoing, leaving, ..now });
    }
    steps.push(after.clone());
    steps
}

impl Change {
    /// Does to a membership, at once, what the change says.
    fn apply(&self, to: &mut Membership) -> Result<(), PlanError> {
        match self {
            Self::AddLearner(member) => add(to, member),
            Self::Promote(id) => {
                is_member(to, *id)?;
                if to.voters.insert(*id) { Ok(()) } else { Err(PlanError::AlreadyAVoter(*id)) }
            }
            Self::Demote(id) => {
                is_member(to, *id)?;
                if to.voters.remove(id) { Ok(()) } else { Err(PlanError::AlreadyALearner(*id)) }
            }
            Self::Remove(id) => {
                is_member(to, *id)?;
                to.members.remove(id);
                to.voters.remove(id);
                Ok(())
            }
            Self::Replace { old, new } => {
                is_member(to, *old)?;
                add(to, new)?;
                if *old == new.id {
                    return Err(PlanError::AlreadyAMember(*old));
                }
                to.members.remove(old);
                if to.voters.remove(old) {
                    to.voters.insert(new.id);
                }
                Ok(())
            }
            Self::Update(member) => {
                is_member(to, member.id)?;
                to.members.insert(member.id, member.clone());
                Ok(())
            }
        }
    }
}

fn is_member(membership: &Membership, id: NodeId) -> Result<(), PlanError> {
    if membership.is_member(id) { Ok(()) } else { Err(PlanError::NotAMember(id)) }
}

/// As a learner, unless it is this very learner already.
fn add(to: &mut Membership, member: &Member) -> Result<(), PlanError> {
    if member.id == NodeId(0) {
        return Err(PlanError::ZeroId);
    }
    match to.members.get(&member.id) {
        Some(known) if known != member || to.voters.contains(&member.id) => {
            Err(PlanError::AlreadyAMember(member.id))
        }
        Some(_) => Ok(()),
        None => {
            to.members.insert(member.id, member.clone());
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests;
