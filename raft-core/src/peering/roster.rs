//! Whom a node dials: the members that it was told of, and guests: who has dialled it and is none, so that
//! it can be answered. A node in limbo knows no members, and who was removed is to be told so.

use std::collections::BTreeMap;
use std::string::String;
use std::vec::Vec;

use super::Reach;
use crate::ids::NodeId;
use crate::membership::Member;

/// Guests at once; more are heard, but not answered.
const GUESTS: usize = 16;

/// Whom this node dials. `P` is a peer and what keeps its lanes connected; dropping it ends that.
///
/// A guest is dialled for as long as it is here. When it becomes a member it is dialled anew, so that both say who
/// they are to each other as members (T6).
#[derive(Debug)]
pub struct Roster<P> {
    own: NodeId,
    dialled: BTreeMap<NodeId, P>,
    /// Who has dialled this node and said where it can be dialled itself: how often, and where.
    visits: BTreeMap<NodeId, (usize, String)>,
}

impl<P: AsRef<Reach>> Roster<P> {
    /// Nobody yet; `own` is this node.
    #[must_use]
    pub const fn new(own: NodeId) -> Self {
        Self { own, dialled: BTreeMap::new(), visits: BTreeMap::new() }
    }

    /// A peer, if it is dialled.
    #[must_use]
    pub fn get(&self, node: NodeId) -> Option<&P> {
        self.dialled.get(&node)
    }

    /// All that are dialled.
    pub fn all(&self) -> impl Iterator<Item = &P> {
        self.dialled.values()
    }

    /// An admitted node has dialled this one and says where it can be dialled itself. Ended by
    /// [`leave`](Self::leave). `dial` begins to keep the lanes of a peer connected that is a guest, or not.
    pub fn visit(&mut self, node: NodeId, listen: &str, dial: impl FnOnce(&Member, bool) -> P) {
        let (count, place) = self.visits.entry(node).or_default();
        *count += 1;
        listen.clone_into(place);
        match self.dialled.get(&node).map(AsRef::as_ref) {
            Some(peer) if peer.is_guest() => peer.set_address(listen),
            Some(_) => {}
            None => self.welcome(node, dial),
        }
    }

    /// A connection that a node had dialled has ended.
    pub fn leave(&mut self, node: NodeId) {
        let Some((count, _)) = self.visits.get_mut(&node) else { return };
        *count = count.saturating_sub(1);
        if *count == 0 {
            self.visits.remove(&node);
            if self.get(node).is_some_and(|peer| peer.as_ref().is_guest()) {
                self.dialled.remove(&node);
            }
        }
    }

    /// These are the members now.
    pub fn members(&mut self, members: &[Member], mut dial: impl FnMut(&Member, bool) -> P) {
        let left = |(id, peer): (&NodeId, &P)| {
            let stays = peer.as_ref().is_guest() || members.iter().any(|member| member.id == *id);
            (!stays).then_some(*id)
        };
        for node in self.dialled.iter().filter_map(left).collect::<Vec<_>>() {
            self.dialled.remove(&node);
            self.welcome(node, &mut dial);
        }
        for member in members.iter().filter(|member| member.id != self.own) {
            match self.dialled.get(&member.id).map(AsRef::as_ref) {
                Some(peer) if !peer.is_guest() => peer.set_address(&member.address),
                _ => drop(self.dialled.insert(member.id, dial(member, false))),
            }
        }
    }

    /// Makes a visitor a guest, if it is here and there is room.
    fn welcome(&mut self, node: NodeId, dial: impl FnOnce(&Member, bool) -> P) {
        let guests = self.dialled.values().filter(|peer| peer.as_ref().is_guest()).count();
        if let Some((_, place)) = self.visits.get(&node).filter(|_| guests < GUESTS) {
            self.dialled.insert(node, dial(&Member::new(node, place), true));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A peer, and the number of the attempt that has made it.
    struct Peer(Reach, u32);

    impl AsRef<Reach> for Peer {
        fn as_ref(&self) -> &Reach {
            &self.0
        }
    }

    fn dialler(count: &mut u32) -> impl FnMut(&Member, bool) -> Peer {
        |member, is_guest| {
            *count += 1;
            Peer(Reach::new(member, is_guest), *count)
        }
    }

    fn seen(roster: &Roster<Peer>) -> Vec<(u64, bool, String, u32)> {
        let all = roster.all();
        all.map(|Peer(peer, number)| (peer.id().0, peer.is_guest(), peer.address(), *number)).collect()
    }

    #[test]
    fn members_are_followed_and_guests_come_and_go() {
        let mut count = 0;
        let mut roster = Roster::new(NodeId(1));
        let members = |list: &[(u64, &str)]| -> Vec<Member> {
            list.iter().map(|(id, address)| Member::new(NodeId(*id), *address)).collect()
        };
        roster.members(&members(&[(1, "me"), (2, "b"), (3, "c")]), dialler(&mut count));
        roster.members(&members(&[(1, "me"), (2, "b"), (3, "c2")]), dialler(&mut count));
        assert_eq!(seen(&roster), [(2, false, "b".into(), 1), (3, false, "c2".into(), 2)], "it has moved");
        roster.visit(NodeId(4), "d", dialler(&mut count));
        roster.visit(NodeId(4), "d2", dialler(&mut count));
        assert_eq!(seen(&roster)[2], (4, true, "d2".into(), 3));
        roster.members(&members(&[(1, "me"), (2, "b"), (4, "d3")]), dialler(&mut count));
        assert_eq!(
            seen(&roster),
            [(2, false, "b".into(), 1), (4, false, "d3".into(), 4)],
            "3 has left, and 4 is dialled anew as a member"
        );
        roster.members(&members(&[(1, "me"), (2, "b")]), dialler(&mut count));
        assert_eq!(seen(&roster)[1], (4, true, "d2".into(), 5), "who was removed is here and can be told");
        roster.leave(NodeId(4));
        assert!(roster.get(NodeId(4)).is_some(), "its other connection is there");
        roster.leave(NodeId(4));
        assert!(roster.get(NodeId(4)).is_none());
        roster.leave(NodeId(4));
    }

    #[test]
    fn there_is_room_for_so_many_guests() {
        let mut count = 0;
        let mut roster = Roster::new(NodeId(1));
        for id in 10..100 {
            roster.visit(NodeId(id), "x", dialler(&mut count));
        }
        assert_eq!(roster.all().count(), GUESTS);
        roster.members(&[Member::new(NodeId(99), "x")], dialler(&mut count));
        assert_eq!(roster.all().count(), GUESTS + 1, "a member always has room");
    }
}
