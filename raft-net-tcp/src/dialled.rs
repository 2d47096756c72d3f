//! Whom this node dials: the members that it was told of, and guests: who has dialled it and is none, so that
//! it can be answered. A node in limbo knows no members, and who was removed is to be told so.
//!
//! A guest is dialled for as long as it is here. It is not told where this node can be dialled: else two nodes
//! that have forgotten each other would be each other's guests for ever.

use std::collections::BTreeMap;
use std::sync::Arc;

use raft_core::ids::NodeId;
use raft_core::membership::Member;
use raft_core::message::Lane;
use tokio::task::AbortHandle;

use crate::peer::Peer;
use crate::transport::Shared;

/// Guests at once; more are heard, but not answered.
const GUESTS: usize = 16;

/// A peer and the tasks that keep its lanes connected.
#[derive(Debug)]
struct Dialled {
    peer: Arc<Peer>,
    tasks: [Option<AbortHandle>; 2],
}

impl Dialled {
    fn new(member: &Member, is_guest: bool, shared: &Arc<Shared>) -> Self {
        let peer = Arc::new(Peer::new(member, is_guest, &shared.options));
        let keep = |lane| {
            let task = Arc::clone(&peer).keep_connected(lane, Arc::clone(shared));
            shared.tasks.spawn(task)
        };
        let tasks = [keep(Lane::Control), keep(Lane::Bulk)];
        Self { peer, tasks }
    }
}

impl Drop for Dialled {
    fn drop(&mut self) {
        self.tasks.iter().flatten().for_each(AbortHandle::abort);
    }
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Peers {
    dialled: BTreeMap<NodeId, Dialled>,
    /// Who has dialled this node and said where it can be dialled itself: how often, and where.
    visits: BTreeMap<NodeId, (usize, String)>,
}

impl Peers {
    pub(crate) fn get(&self, node: NodeId) -> Option<&Arc<Peer>> {
        self.dialled.get(&node).map(|dialled| &dialled.peer)
    }

    pub(crate) fn all(&self) -> Vec<Arc<Peer>> {
        self.dialled.values().map(|dialled| Arc::clone(&dialled.peer)).collect()
    }

    /// An admitted node has dialled this one and says where it can be dialled itself. Ended by
    /// [`leave`](Self::leave).
    pub(crate) fn visit(&mut self, node: NodeId, listen: &str, shared: &Arc<Shared>) {
        let (count, place) = self.visits.entry(node).or_default();
        *count += 1;
        listen.clone_into(place);
        match self.dialled.get(&node) {
            Some(Dialled { peer, .. }) if peer.is_guest() => peer.set_address(listen),
            Some(_) => {}
            None => self.welcome(node, shared),
        }
    }

    /// What a node had dialled has ended.
    pub(crate) fn leave(&mut self, node: NodeId) {
        let Some((count, _)) = self.visits.get_mut(&node) else { return };
        *count = count.saturating_sub(1);
        if *count == 0 {
            self.visits.remove(&node);
            if self.get(node).is_some_and(|peer| peer.is_guest()) {
                self.dialled.remove(&node);
            }
        }
    }

    /// These are the members now.
    pub(crate) fn members(&mut self, members: &[Member], shared: &Arc<Shared>) {
        let left = |(id, dialled): (&NodeId, &Dialled)| {
            let stays = dialled.peer.is_guest() || members.iter().any(|member| member.id == *id);
            (!stays).then_some(*id)
        };
        for node in self.dialled.iter().filter_map(left).collect::<Vec<_>>() {
            self.dialled.remove(&node);
            self.welcome(node, shared);
        }
        for member in members.iter().filter(|member| member.id != shared.local.node) {
            match self.dialled.get(&member.id) {
                Some(Dialled { peer, .. }) if !peer.is_guest() => peer.set_address(&member.address),
                // Dialled anew, so that both say who they are to each other as members.
                _ => drop(self.dialled.insert(member.id, Dialled::new(member, false, shared))),
            }
        }
    }

    /// Makes a visitor a guest, if it is here and there is room.
    fn welcome(&mut self, node: NodeId, shared: &Arc<Shared>) {
        let guests = self.dialled.values().filter(|dialled| dialled.peer.is_guest()).count();
        if let Some((_, place)) = self.visits.get(&node).filter(|_| guests < GUESTS) {
            self.dialled.insert(node, Dialled::new(&Member::new(node, place), true, shared));
        }
    }
}
