//! Who belongs to the cluster. Arithmetic only: no log, no clock, no messages.

mod quorum;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::ids::NodeId;
pub use quorum::VoteResult;

/// A member's record: where it is reached and what its users attached to it.
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
    #[must_use]
    pub fn new(id: NodeId, address: impl Into<String>) -> Self {
        Self { id, address: address.into(), attributes: BTreeMap::new() }
    }

    /// The same with one more attribute.
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Membership {
    /// Every member of either kind by name.
    pub members: BTreeMap<NodeId, Member>,
    /// Who votes; the incoming set while joint.
    pub voters: BTreeSet<NodeId>,
    /// The set that is being left, while joint; else empty.
    pub outgoing: BTreeSet<NodeId>,
}

/// A membership that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MembershipError {
    /// Two members share a name.
    #[error("node {0} is listed twice")]
    Duplicate(NodeId),
    /// A voter is not among the members.
    #[error("voter {0} is not a member")]
    Unknown(NodeId),
    /// No voters at all.
    #[error("a membership needs at least one voter")]
    NoVoters,
    /// The bytes of a membership entry cannot be read.
    #[error("the bytes are not a membership")]
    Malformed,
}

/// The version byte of an encoded membership.
const ENCODING: u8 = 1;

impl Membership {
    /// A membership in which every member votes.
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
    /// # Errors
    /// [`MembershipError::NoVoters`] or [`MembershipError::Unknown`].
    pub fn check(&self) -> Result<(), MembershipError> {
        if self.voters.is_empty() {
            return Err(MembershipError::NoVoters);
        }
        let stranger = self.voters.union(&self.outgoing).find(|id| !self.members.contains_key(*id));
        stranger.map_or(Ok(()), |id| Err(MembershipError::Unknown(*id)))
    }

    /// Whether two voter sets are in force (§6).
    #[must_use]
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Whether no members are known: limbo.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.voters.is_empty()
    }

    /// Whether `id` votes, in either set.
    #[must_use]
    pub fn is_voter(&self, id: NodeId) -> bool {
        self.voters.contains(&id) || self.outgoing.contains(&id)
    }

    /// Whether `id` is a member of any kind.
    #[must_use]
    pub fn is_member(&self, id: NodeId) -> bool {
        self.members.contains_key(&id)
    }

    /// The member of that name.
    #[must_use]
    pub fn member(&self, id: NodeId) -> Option<&Member> {
        self.members.get(&id)
    }

    /// Members that do not vote, in order of their names.
    pub fn learners(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.members.keys().copied().filter(|id| !self.is_voter(*id))
    }

    /// All voters of both sets, each once, in order of their names.
    pub fn all_voters(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.voters.union(&self.outgoing).copied()
    }

    /// As the data of an entry of kind `Membership`.
    #[must_use]
    pub fn encode(&self) -> bytes::Bytes {
        let mut out = Vec::from([ENCODING]);
        if let Ok(body) = postcard::to_allocvec(self) {
            out.extend_from_slice(&body);
        }
        out.into()
    }

    /// Undoes [`encode`](Self::encode) and checks the result.
    ///
    /// # Errors
    /// [`MembershipError::Malformed`] for other bytes, or what [`check`](Self::check) says.
    pub fn decode(data: &[u8]) -> Result<Self, MembershipError> {
        let (&version, body) = data.split_first().ok_or(MembershipError::Malformed)?;
        if version != ENCODING {
            return Err(MembershipError::Malformed);
        }
        let membership: Self = postcard::from_bytes(body).map_err(|_| MembershipError::Malformed)?;
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
        assert_eq!(Membership::decode(&[2, 0]), Err(MembershipError::Malformed));
    }

    #[test]
    fn impossible_ones_are_refused() {
        assert_eq!(Membership::of_voters([]), Err(MembershipError::NoVoters));
        assert_eq!(Membership::of_voters([member(1), member(1)]), Err(MembershipError::Duplicate(NodeId(1))));
        let mut broken = Membership::of_voters([member(1)]).unwrap();
        broken.outgoing.insert(NodeId(7));
        assert_eq!(broken.check(), Err(MembershipError::Unknown(NodeId(7))));
    }
}
