//! Who belongs to the cluster. Arithmetic only: no log, no clock, no messages.

pub mod change;
mod quorum;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::ids::{LogId, NodeId};
pub use change::{Change, Plan, PlanError};
pub use quorum::VoteResult;
pub(crate) use quorum::majority;

/// A member's record: where it is reached and what its users attached to it.
///
/// ```
/// use raft_core::ids::NodeId;
/// use raft_core::membership::Member;
///
/// // The cluster's own traffic goes to the address; where clients are welcome is an attribute.
/// let member = Member::new(NodeId(2), "10.0.0.2:7101").with("clients", "10.0.0.2:8080");
/// assert_eq!(member.address, "10.0.0.2:7101");
/// assert_eq!(member.attributes["clients"], "10.0.0.2:8080");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Member {
    /// Its name.
    pub id: NodeId,
    /// Where its transport listens; the transport gives it meaning (`host:port` for TCP and gRPC).
    pub address: String,
    /// Free attributes, such as the address for clients. The core never reads them.
    pub attributes: BTreeMap<String, String>,
}

impl Member {
    /// A member without attributes.
    ///
    /// ```
    /// use raft_core::ids::NodeId;
    /// use raft_core::membership::Member;
    ///
    /// let member = Member::new(NodeId(2), "raft-2.example:7101");
    /// assert_eq!(member.id, NodeId(2));
    /// assert!(member.attributes.is_empty());
    /// ```
    #[must_use]
    pub fn new(id: NodeId, address: impl Into<String>) -> Self {
        Self { id, address: address.into(), attributes: BTreeMap::new() }
    }

    /// The same with one more attribute.
    ///
    /// ```
    /// use raft_core::ids::NodeId;
    /// use raft_core::membership::Member;
    ///
    /// let member = Member::new(NodeId(2), "10.0.0.2:7101").with("zone", "a").with("clients", "none");
    /// // Of two values for one name the later one counts.
    /// let member = member.with("zone", "b");
    /// assert_eq!((member.attributes["zone"].as_str(), member.attributes.len()), ("b", 2));
    /// ```
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.attributes.insert(name.into(), value.into());
        self
    }
}

/// One voter set, or two while joint (§6), and learners.
///
/// While joint every decision needs a majority of the incoming `voters` *and* of the `outgoing` ones.
/// Empty (the default) is what a node in limbo has: it knows no members and waits to be contacted.
///
/// ```
/// use raft_core::ids::NodeId;
/// use raft_core::membership::{Member, Membership};
///
/// let members = (1..=3).map(|id| Member::new(NodeId(id), format!("10.0.0.{id}:7101")));
/// let founders = Membership::of_voters(members).unwrap();
/// assert_eq!((founders.quorum(), founders.tolerance()), (2, 1));
/// assert_eq!(Membership::decode(&founders.encode()), Ok(founders));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Membership {
    /// Every member of either kind by name.
    pub members: BTreeMap<NodeId, Member>,
    /// Who votes; the incoming set while joint.
    pub voters: BTreeSet<NodeId>,
    /// The set that is being left, while joint; else empty.
    pub outgoing: BTreeSet<NodeId>,
    /// While joint: members that are members no more once joint is left. Each may still be in `outgoing`.
    pub leaving: BTreeSet<NodeId>,
    /// The entry by which each member has become one; founders have none. Who was removed and added again has
    /// another one than before, also for a node that gets both in one snapshot (J12).
    pub admitted: BTreeMap<NodeId, LogId>,
}

/// A membership that cannot be.
///
/// ```
/// use raft_core::ids::NodeId;
/// use raft_core::membership::{Member, Membership, MembershipError};
///
/// // The same line twice in a list of founders.
/// let members = [1, 2, 2].map(|id| Member::new(NodeId(id), "10.0.0.1:7101"));
/// let error = Membership::of_voters(members).unwrap_err();
/// assert_eq!(error, MembershipError::Duplicate(NodeId(2)));
/// assert_eq!(error.to_string(), "node 2 is listed twice");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MembershipError {
    /// Two members share a name.
    #[error("node {0} is listed twice")]
    Duplicate(NodeId),
    /// A voter, or whoever else it names, is not among the members.
    #[error("voter {0} is not a member")]
    Unknown(NodeId),
    /// No voters at all.
    #[error("a membership needs at least one voter")]
    NoVoters,
    /// Only a joint membership has members that leave, and who stays a voter cannot be one of them.
    #[error("node {0} cannot be leaving")]
    Leaving(NodeId),
    /// The bytes of a membership entry cannot be read.
    #[error("the bytes are not a membership")]
    Malformed,
}

/// The version bytes of an encoded membership: without and with members that are leaving, and with the entries
/// that members came by. The first that can say all is written, so that older nodes can read it.
const PLAIN: u8 = 1;
const WITH_LEAVING: u8 = 2;
const WITH_ADMITTED: u8 = 3;

/// Version 1, as postcard.
#[derive(Serialize, Deserialize)]
struct Encoded {
    members: BTreeMap<NodeId, Member>,
    voters: BTreeSet<NodeId>,
    outgoing: BTreeSet<NodeId>,
}

impl Membership {
    /// A membership in which every member votes.
    ///
    /// ```
    /// use raft_core::ids::NodeId;
    /// use raft_core::membership::{Member, Membership, MembershipError};
    ///
    /// let hosts = ["a.example:7101", "b.example:7101", "c.example:7101"];
    /// let members = (1..).zip(hosts).map(|(id, host)| Member::new(NodeId(id), host));
    /// let founders = Membership::of_voters(members)?;
    /// assert!(founders.voters.contains(&NodeId(3)) && !founders.is_joint());
    /// assert_eq!(Membership::of_voters([]), Err(MembershipError::NoVoters));
    /// # Ok::<(), MembershipError>(())
    /// ```
    ///
    /// # Errors
    /// [`MembershipError::Duplicate`] or [`MembershipError::NoVoters`].
    pub fn of_voters(members: impl IntoIterator<Item = Member>) -> Result<Self, MembershipError> {
        let mut membership = Self::default();
        for member in members {
            let id = member.id;
            if membership.members.insert(id, member).is_some() {
                return Err(MembershipError::Duplicate(id));
            }
            membership.voters.insert(id);
        }
        membership.check()?;
        Ok(membership)
    }

    /// Whether it is one that can be in force.
    ///
    /// ```
    /// use raft_core::ids::NodeId;
    /// use raft_core::membership::{Member, Membership, MembershipError};
    ///
    /// let members = (1..=3).map(|id| Member::new(NodeId(id), format!("10.0.0.{id}:7101")));
    /// let mut membership = Membership::of_voters(members)?;
    /// // Changed by hand: it votes, and nobody knows where it is.
    /// membership.members.remove(&NodeId(3));
    /// assert_eq!(membership.check(), Err(MembershipError::Unknown(NodeId(3))));
    /// # Ok::<(), MembershipError>(())
    /// ```
    ///
    /// # Errors
    /// [`MembershipError::NoVoters`], [`MembershipError::Unknown`] or [`MembershipError::Leaving`].
    pub fn check(&self) -> Result<(), MembershipError> {
        if self.voters.is_empty() {
            return Err(MembershipError::NoVoters);
        }
        let mut named =
            self.voters.iter().chain(&self.outgoing).chain(&self.leaving).chain(self.admitted.keys());
        if let Some(id) = named.find(|id| !self.members.contains_key(*id)) {
            return Err(MembershipError::Unknown(*id));
        }
        let stays = |id: &&NodeId| !self.is_joint() || self.voters.contains(*id);
        self.leaving.iter().find(stays).map_or(Ok(()), |id| Err(MembershipError::Leaving(*id)))
    }

    /// Whether two voter sets are in force (§6).
    ///
    /// ```
    /// use raft_core::ids::NodeId;
    /// use raft_core::membership::change::plan;
    /// use raft_core::membership::{Change, Member, Membership};
    ///
    /// let members = (1..=3).map(|id| Member::new(NodeId(id), format!("10.0.0.{id}:7101")));
    /// let founders = Membership::of_voters(members).unwrap();
    /// let plan = plan(&founders, &[Change::Remove(NodeId(3))]).unwrap();
    /// // On the way from three voters to two both sets have to agree, once.
    /// let joint: Vec<bool> = plan.steps.iter().map(Membership::is_joint).collect();
    /// assert_eq!(joint, [true, false]);
    /// ```
    #[must_use]
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Whether no members are known: limbo.
    ///
    /// ```
    /// use raft_core::ids::NodeId;
    /// use raft_core::membership::{Member, Membership};
    ///
    /// // What a new node has until a leader sends it the log.
    /// assert!(Membership::default().is_empty());
    /// let alone = Membership::of_voters([Member::new(NodeId(1), "10.0.0.1:7101")]).unwrap();
    /// assert!(!alone.is_empty());
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.voters.is_empty()
    }

    /// Whether `id` votes, in either set.
    ///
    /// ```
    /// use raft_core::ids::NodeId;
    /// use raft_core::membership::change::plan;
    /// use raft_core::membership::{Change, Member, Membership};
    ///
    /// let members = (1..=3).map(|id| Member::new(NodeId(id), format!("10.0.0.{id}:7101")));
    /// let founders = Membership::of_voters(members).unwrap();
    /// let plan = plan(&founders, &[Change::Demote(NodeId(3))]).unwrap();
    /// // Its vote counts as long as the old set counts.
    /// let votes: Vec<bool> = plan.steps.iter().map(|step| step.is_voter(NodeId(3))).collect();
    /// assert_eq!(votes, [true, false]);
    /// ```
    #[must_use]
    pub fn is_voter(&self, id: NodeId) -> bool {
        self.voters.contains(&id) || self.outgoing.contains(&id)
    }

    /// Whether `id` is a member of any kind.
    ///
    /// ```
    /// use raft_core::ids::NodeId;
    /// use raft_core::membership::{Member, Membership};
    ///
    /// let mut membership = Membership::of_voters([Member::new(NodeId(1), "10.0.0.1:7101")]).unwrap();
    /// membership.members.insert(NodeId(2), Member::new(NodeId(2), "10.0.0.2:7101"));
    /// // A learner belongs to the cluster without a vote.
    /// assert!(membership.is_member(NodeId(2)) && !membership.is_voter(NodeId(2)));
    /// assert!(!membership.is_member(NodeId(3)));
    /// ```
    #[must_use]
    pub fn is_member(&self, id: NodeId) -> bool {
        self.members.contains_key(&id)
    }

    /// The member of that name.
    ///
    /// Where to send a client that asked the wrong node:
    ///
    /// ```
    /// use raft_core::ids::NodeId;
    /// use raft_core::membership::{Member, Membership};
    ///
    /// let members = (1..=3).map(|id| {
    ///     Member::new(NodeId(id), format!("10.0.0.{id}:7101")).with("clients", format!("10.0.0.{id}:80"))
    /// });
    /// let membership = Membership::of_voters(members).unwrap();
    /// let clients = |id| membership.member(id)?.attributes.get("clients").map(String::as_str);
    /// assert_eq!(clients(NodeId(2)), Some("10.0.0.2:80"));
    /// assert_eq!(clients(NodeId(9)), None);
    /// ```
    #[must_use]
    pub fn member(&self, id: NodeId) -> Option<&Member> {
        self.members.get(&id)
    }

    /// The entry by which `id` became a member; zero for a founder, for who is none, and where the entry was
    /// written by a version that did not say.
    ///
    /// ```
    /// use raft_core::ids::{LogId, NodeId};
    /// use raft_core::membership::{Member, Membership};
    ///
    /// let members = (1..=2).map(|id| Member::new(NodeId(id), format!("10.0.0.{id}:7101")));
    /// let mut membership = Membership::of_voters(members).unwrap();
    /// membership.admitted.insert(NodeId(2), LogId::new(3, 40));
    /// // What a node says of node 2 that knows it from before entry 3.40 is of another time.
    /// assert!(membership.admitted(NodeId(2)) > LogId::new(3, 17));
    /// assert_eq!(membership.admitted(NodeId(1)), LogId::ZERO, "a founder");
    /// ```
    #[must_use]
    pub fn admitted(&self, id: NodeId) -> LogId {
        self.admitted.get(&id).copied().unwrap_or(LogId::ZERO)
    }

    /// The same as the entry `at` where `before` is in force: who is no member before becomes one by it.
    #[must_use]
    pub(crate) fn entered_after(mut self, before: &Self, at: LogId) -> Self {
        let admitted = |id: &NodeId| if before.is_member(*id) { before.admitted(*id) } else { at };
        self.admitted = self.members.keys().map(|id| (*id, admitted(id))).collect();
        self.admitted.retain(|_, at| *at != LogId::ZERO);
        self
    }

    /// Members that do not vote, in order of their names.
    ///
    /// ```
    /// use raft_core::ids::NodeId;
    /// use raft_core::membership::{Member, Membership};
    ///
    /// let mut membership = Membership::of_voters([Member::new(NodeId(2), "10.0.0.2:7101")]).unwrap();
    /// for id in [NodeId(3), NodeId(1)] {
    ///     membership.members.insert(id, Member::new(id, format!("10.0.0.{id}:7101")));
    /// }
    /// assert!(membership.learners().eq([NodeId(1), NodeId(3)]));
    /// ```
    pub fn learners(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.members.keys().copied().filter(|id| !self.is_voter(*id))
    }

    /// All voters of both sets, each once, in order of their names.
    ///
    /// ```
    /// use raft_core::ids::NodeId;
    /// use raft_core::membership::change::plan;
    /// use raft_core::membership::{Change, Member, Membership};
    ///
    /// let members = (1..=3).map(|id| Member::new(NodeId(id), format!("10.0.0.{id}:7101")));
    /// let founders = Membership::of_voters(members).unwrap();
    /// let new = Member::new(NodeId(4), "10.0.0.4:7101");
    /// let plan = plan(&founders, &[Change::Replace { old: NodeId(1), new }]).unwrap();
    /// // Whom a leader has to reach while two sets decide.
    /// let joint = plan.steps.iter().find(|step| step.is_joint()).unwrap();
    /// assert!(joint.all_voters().eq([1, 2, 3, 4].map(NodeId)));
    /// ```
    pub fn all_voters(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.voters.union(&self.outgoing).copied()
    }

    /// What is in force once joint is left: the incoming voters, without those that are leaving (§6,
    /// `C_new`). The same if it is not joint.
    ///
    /// ```
    /// use raft_core::ids::NodeId;
    /// use raft_core::membership::change::plan;
    /// use raft_core::membership::{Change, Member, Membership};
    ///
    /// let members = (1..=3).map(|id| Member::new(NodeId(id), format!("10.0.0.{id}:7101")));
    /// let founders = Membership::of_voters(members).unwrap();
    /// let plan = plan(&founders, &[Change::Remove(NodeId(3))]).unwrap();
    /// let joint = &plan.steps[0];
    /// // A leader that is elected while joint knows from that alone how it ends.
    /// assert!(joint.is_member(NodeId(3)));
    /// assert_eq!(joint.left_joint(), plan.after);
    /// ```
    #[must_use]
    pub fn left_joint(&self) -> Self {
        let mut after = self.clone();
        after.members.retain(|id, _| !self.leaving.contains(id));
        after.admitted.retain(|id, _| !self.leaving.contains(id));
        after.outgoing.clear();
        after.leaving.clear();
        after
    }

    /// As the data of an entry of kind `Membership`.
    ///
    /// The first entry of a new cluster's log:
    ///
    /// ```
    /// use raft_core::entry::{Entry, EntryKind};
    /// use raft_core::ids::{LogId, NodeId};
    /// use raft_core::membership::{Member, Membership};
    ///
    /// let founders = Membership::of_voters([Member::new(NodeId(1), "10.0.0.1:7101")]).unwrap();
    /// let first =
    ///     Entry { id: LogId::new(0, 1), kind: EntryKind::Membership, data: founders.encode() };
    /// assert_eq!(Membership::decode(&first.data), Ok(founders));
    /// ```
    #[must_use]
    pub fn encode(&self) -> bytes::Bytes {
        let Self { members, voters, outgoing, leaving, mut admitted } = self.clone();
        admitted.retain(|id, _| members.contains_key(id));
        let version = match (leaving.is_empty(), admitted.is_empty()) {
            (true, true) => PLAIN,
            (false, true) => WITH_LEAVING,
            (_, false) => WITH_ADMITTED,
        };
        let mut out = Vec::from([version]);
        // Neither can fail: there is memory, and the types have nothing that postcard does not know.
        if let Ok(body) = postcard::to_allocvec(&Encoded { members, voters, outgoing }) {
            out.extend_from_slice(&body);
        }
        if version >= WITH_LEAVING
            && let Ok(body) = postcard::to_allocvec(&leaving)
        {
            out.extend_from_slice(&body);
        }
        if version >= WITH_ADMITTED
            && let Ok(body) = postcard::to_allocvec(&admitted)
        {
            out.extend_from_slice(&body);
        }
        out.into()
    }

    /// Undoes [`encode`](Self::encode) and checks the result.
    ///
    /// ```
    /// use raft_core::ids::NodeId;
    /// use raft_core::membership::{Member, Membership, MembershipError};
    ///
    /// let bytes = Membership::of_voters([Member::new(NodeId(1), "10.0.0.1:7101")])?.encode();
    /// assert!(Membership::decode(&bytes)?.is_voter(NodeId(1)));
    /// assert_eq!(Membership::decode(&bytes[1..]), Err(MembershipError::Malformed));
    /// // A membership as bytes can say what none may be: this one has no voters.
    /// let limbo = Membership::default().encode();
    /// assert_eq!(Membership::decode(&limbo), Err(MembershipError::NoVoters));
    /// # Ok::<(), MembershipError>(())
    /// ```
    ///
    /// # Errors
    /// [`MembershipError::Malformed`] for other bytes, or what [`check`](Self::check) says.
    pub fn decode(data: &[u8]) -> Result<Self, MembershipError> {
        let malformed = |_| MembershipError::Malformed;
        let (&version, body) = data.split_first().ok_or(MembershipError::Malformed)?;
        if !(PLAIN..=WITH_ADMITTED).contains(&version) {
            return Err(MembershipError::Malformed);
        }
        let (encoded, mut rest) = postcard::take_from_bytes::<Encoded>(body).map_err(malformed)?;
        let Encoded { members, voters, outgoing } = encoded;
        let (mut leaving, mut admitted) = (BTreeSet::new(), BTreeMap::new());
        if version >= WITH_LEAVING {
            (leaving, rest) = postcard::take_from_bytes(rest).map_err(malformed)?;
        }
        if version >= WITH_ADMITTED {
            (admitted, rest) = postcard::take_from_bytes(rest).map_err(malformed)?;
        }
        let named_by_key = members.iter().all(|(id, member)| *id == member.id);
        if !rest.is_empty() || !named_by_key {
            return Err(MembershipError::Malformed);
        }
        let membership = Self { members, voters, outgoing, leaving, admitted };
        membership.check()?;
        Ok(membership)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: u64) -> Member {
        Member::new(NodeId(id), alloc::format!("127.0.0.1:{id}")).with("client", "x")
    }

    #[test]
    fn comes_back_from_its_encoding() {
        let mut membership = Membership::of_voters([member(1), member(2)]).unwrap();
        membership.members.insert(NodeId(9), member(9));
        membership.outgoing.insert(NodeId(2));
        assert_eq!(Membership::decode(&membership.encode()), Ok(membership.clone()));
        assert_eq!(membership.learners().collect::<Vec<_>>(), [NodeId(9)]);
        assert!(membership.is_joint());
    }

    #[test]
    fn damage_is_refused() {
        let good = Membership::of_voters([member(1)]).unwrap().encode();
        for cut in 0..good.len() {
            assert!(Membership::decode(&good[..cut]).is_err(), "cut at {cut}");
        }
        assert_eq!(Membership::decode(&[4, 0]), Err(MembershipError::Malformed));
        assert_eq!(Membership::decode(&[3, 0]), Err(MembershipError::Malformed));
        assert_eq!(Membership::decode(&[2, 0]), Err(MembershipError::Malformed));
        let mut long = good.to_vec();
        long.push(0);
        assert_eq!(Membership::decode(&long), Err(MembershipError::Malformed));
    }

    /// Who stays keeps the entry that it came by; who was away meanwhile comes by another.
    #[test]
    fn who_comes_back_comes_by_another_entry() {
        let two = Membership::of_voters([member(1), member(2)]).unwrap();
        let one = Membership::of_voters([member(1)]).unwrap();
        let (first, second) = (LogId::new(2, 7), LogId::new(2, 9));
        let grown = two.clone().entered_after(&one, first);
        assert_eq!((grown.admitted(NodeId(1)), grown.admitted(NodeId(2))), (LogId::ZERO, first));
        let same = two.clone().entered_after(&grown, second);
        assert_eq!(same, grown);
        let shrunk = one.entered_after(&grown, second);
        assert!(shrunk.admitted.is_empty());
        assert_eq!(two.entered_after(&shrunk, LogId::new(3, 12)).admitted(NodeId(2)), LogId::new(3, 12));
        let mut joint = grown;
        joint.outgoing = BTreeSet::from([NodeId(2)]);
        joint.voters.remove(&NodeId(2));
        joint.leaving.insert(NodeId(2));
        assert_eq!(joint.left_joint().admitted(NodeId(2)), LogId::ZERO);
        assert_eq!(joint.left_joint().check(), Ok(()));
    }

    /// The bytes of all versions: never edit, only add versions.
    #[test]
    fn golden_bytes() {
        let plain = Membership::of_voters([Member::new(NodeId(1), "a")]).unwrap();
        assert_eq!(plain.encode()[..], [1, 1, 1, 1, 1, b'a', 0, 1, 1, 0]);
        let mut joint = plain;
        joint.members.insert(NodeId(2), Member::new(NodeId(2), "b"));
        joint.outgoing.insert(NodeId(2));
        assert_eq!(joint.encode()[..], [1, 2, 1, 1, 1, b'a', 0, 2, 2, 1, b'b', 0, 1, 1, 1, 2]);
        joint.leaving.insert(NodeId(2));
        assert_eq!(joint.encode()[..], [2, 2, 1, 1, 1, b'a', 0, 2, 2, 1, b'b', 0, 1, 1, 1, 2, 1, 2]);
        assert_eq!(Membership::decode(&joint.encode()), Ok(joint.clone()));
        assert_eq!(joint.left_joint(), Membership::of_voters([Member::new(NodeId(1), "a")]).unwrap());
        joint.admitted.insert(NodeId(2), LogId::new(3, 300));
        let bytes = joint.encode();
        assert_eq!(bytes[..18], [3, 2, 1, 1, 1, b'a', 0, 2, 2, 1, b'b', 0, 1, 1, 1, 2, 1, 2]);
        assert_eq!(bytes[18..], [1, 2, 3, 172, 2]);
        assert_eq!(Membership::decode(&bytes), Ok(joint.clone()));
        joint.leaving.clear();
        assert_eq!(joint.encode()[16..], [0, 1, 2, 3, 172, 2]);
        assert_eq!(Membership::decode(&joint.encode()), Ok(joint));
    }

    #[test]
    fn impossible_ones_are_refused() {
        assert_eq!(Membership::of_voters([]), Err(MembershipError::NoVoters));
        assert_eq!(Membership::of_voters([member(1), member(1)]), Err(MembershipError::Duplicate(NodeId(1))));
        let mut broken = Membership::of_voters([member(1)]).unwrap();
        broken.outgoing.insert(NodeId(7));
        assert_eq!(broken.check(), Err(MembershipError::Unknown(NodeId(7))));
        let mut foreign = Membership::of_voters([member(1)]).unwrap();
        foreign.admitted.insert(NodeId(7), LogId::new(1, 2));
        assert_eq!(foreign.check(), Err(MembershipError::Unknown(NodeId(7))));
        let mut leaving = Membership::of_voters([member(1), member(2)]).unwrap();
        leaving.members.insert(NodeId(3), member(3));
        leaving.leaving.insert(NodeId(3));
        assert_eq!(leaving.check(), Err(MembershipError::Leaving(NodeId(3))), "not joint");
        leaving.outgoing.insert(NodeId(3));
        assert_eq!(leaving.check(), Ok(()));
        leaving.leaving.insert(NodeId(1));
        assert_eq!(leaving.check(), Err(MembershipError::Leaving(NodeId(1))), "stays a voter");
        assert_eq!(Membership::decode(&leaving.encode()), Err(MembershipError::Leaving(NodeId(1))));
    }
}
