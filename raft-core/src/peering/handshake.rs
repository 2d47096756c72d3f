//! What two nodes check of each other when they shake hands, whatever the bytes of it.

use crate::backend::Refusal;
use crate::ids::{Identity, NodeId};

/// One side of a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Side {
    /// Who it says that it is.
    pub identity: Identity,
    /// The wire versions that it speaks, lowest and highest.
    pub versions: (u16, u16),
}

impl Side {
    /// What this side, which listens, makes of one that has dialled it and means the node `to`, before it asks its own
    /// node (T6).
    ///
    /// # Errors
    /// Why it is refused.
    pub fn check_dialler(&self, dialler: &Self, to: NodeId) -> Result<(), Refusal> {
        self.check(dialler)?;
        is_meant(to, self.identity.node)
    }

    /// What this side, which has dialled and means the node `to`, makes of the one that answers, before it asks its own
    /// node (T6).
    ///
    /// # Errors
    /// Why it is refused.
    pub fn check_listener(&self, listener: &Self, to: NodeId) -> Result<(), Refusal> {
        self.check(listener)?;
        is_meant(to, listener.identity.node)
    }

    /// The wire version that both speak if [they share one](Self::check_dialler): the highest (T11).
    #[must_use]
    pub fn common_version(&self, other: &Self) -> u16 {
        self.versions.1.min(other.versions.1)
    }

    /// What both sides check alike.
    fn check(&self, other: &Self) -> Result<(), Refusal> {
        let (ours, theirs) = (self.versions, other.versions);
        if theirs.0 > ours.1 || theirs.1 < ours.0 || theirs.0 > theirs.1 {
            return Err(Refusal::WireVersion { ours, theirs });
        }
        let (local, peer) = (self.identity, other.identity);
        if peer.cluster != local.cluster {
            return Err(Refusal::WrongCluster { ours: local.cluster, theirs: peer.cluster });
        }
        if peer.group != local.group {
            return Err(Refusal::WrongGroup { ours: local.group, theirs: peer.group });
        }
        if peer.node == local.node {
            return Err(Refusal::WrongNode { expected: local.node, claimed: peer.node });
        }
        Ok(())
    }
}

/// The node that is dialled is the one that was meant.
fn is_meant(expected: NodeId, claimed: NodeId) -> Result<(), Refusal> {
    if expected == claimed { Ok(()) } else { Err(Refusal::WrongNode { expected, claimed }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{ClusterId, GroupId, Incarnation, StoreId};

    fn side(node: u64, versions: (u16, u16)) -> Side {
        let identity = Identity {
            cluster: ClusterId(1 << 100),
            group: GroupId(0),
            node: NodeId(node),
            store: StoreId(9),
            incarnation: Incarnation { number: 3, nonce: 4 },
        };
        Side { identity, versions }
    }

    #[test]
    fn whoever_does_not_belong_is_refused_by_name() {
        let (one, two) = (side(1, (1, 2)), side(2, (1, 2)));
        let (first, second) = (NodeId(1), NodeId(2));
        assert_eq!(two.check_dialler(&one, second), Ok(()));
        assert_eq!(one.check_listener(&two, second), Ok(()));
        let mut foreign = two;
        foreign.identity.cluster = ClusterId(5);
        let (ours, theirs) = (ClusterId(5), one.identity.cluster);
        assert_eq!(foreign.check_dialler(&one, second), Err(Refusal::WrongCluster { ours, theirs }));
        let (ours, theirs) = (theirs, ours);
        assert_eq!(one.check_listener(&foreign, second), Err(Refusal::WrongCluster { ours, theirs }));
        let mut other_group = two;
        other_group.identity.group = GroupId(1);
        let (ours, theirs) = (GroupId(1), GroupId(0));
        assert_eq!(other_group.check_dialler(&one, second), Err(Refusal::WrongGroup { ours, theirs }));
        let (ours, theirs) = (theirs, ours);
        assert_eq!(one.check_listener(&other_group, second), Err(Refusal::WrongGroup { ours, theirs }));
        let not_meant = Refusal::WrongNode { expected: NodeId(3), claimed: second };
        assert_eq!(two.check_dialler(&one, NodeId(3)), Err(not_meant.clone()));
        assert_eq!(one.check_listener(&two, NodeId(3)), Err(not_meant));
        let own_name = Refusal::WrongNode { expected: first, claimed: first };
        assert_eq!(one.check_dialler(&one, first), Err(own_name.clone()));
        assert_eq!(one.check_listener(&one, first), Err(own_name));
    }

    /// T11, and that a range makes sense.
    #[test]
    fn two_that_share_a_version_speak_the_highest() {
        let ours = side(2, (1, 2));
        for (versions, spoken) in [((1, 1), 1), ((1, 2), 2), ((1, 3), 2), ((2, 9), 2)] {
            let dialler = side(1, versions);
            assert_eq!(ours.check_dialler(&dialler, NodeId(2)), Ok(()), "{versions:?}");
            assert_eq!(ours.common_version(&dialler), spoken, "{versions:?}");
            assert_eq!(dialler.check_listener(&side(2, (spoken, spoken)), NodeId(2)), Ok(()));
        }
        for versions in [(0, 0), (3, 4), (2, 1)] {
            let refused = Err(Refusal::WireVersion { ours: (1, 2), theirs: versions });
            assert_eq!(ours.check_dialler(&side(1, versions), NodeId(2)), refused);
            assert_eq!(ours.check_listener(&side(1, versions), NodeId(1)), refused);
        }
    }
}
