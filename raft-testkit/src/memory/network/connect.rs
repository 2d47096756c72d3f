//! Who is connected to whom: where members are, and the handshake.

use std::collections::VecDeque;

use raft_core::backend::Refusal;
use raft_core::ids::NodeId;
use raft_core::membership::Member;
use raft_core::message::PeerEvent;

use super::MemoryNetwork;
use super::board::{Endpoint, Item, Link, mismatch};

impl MemoryNetwork {
    pub(super) fn connect_all(&self) {
        let wanted: Vec<(u64, NodeId)> = {
            let board = self.lock();
            let each = |(key, one): (&u64, &Endpoint)| {
                let key = *key;
                one.targets.keys().map(|node| (key, *node)).collect::<Vec<_>>()
            };
            board.endpoints.iter().flat_map(each).collect()
        };
        for (key, node) in wanted {
            self.connect(key, node);
        }
    }

    /// Begins a handshake, unless there is a connection, or none is possible.
    pub(super) fn connect(&self, key: u64, node: NodeId) {
        let mut board = self.lock();
        let Some(endpoint) = board.endpoints.get(&key) else { return };
        let (dialler, own) = (endpoint.identity, endpoint.identity.node);
        let Some(address) = endpoint.targets.get(&node) else { return };
        if endpoint.links.contains_key(&node) || board.is_cut(own, node) {
            return;
        }
        let Some(to) = board.look_up(address, node).filter(|to| *to != key) else { return };
        let Some(other) = board.endpoints.get(&to) else { return };
        let acceptor = other.identity;
        if other.links.contains_key(&own) {
            return;
        }
        if let Some(why) = mismatch(dialler, node, acceptor) {
            board.tell(key, Item::Refused(acceptor.node, why));
            drop(board);
            return self.drain(key);
        }
        let mut stops = [endpoint.stop.subscribe(), other.stop.subscribe()];
        let inboxes = (endpoint.inbox.clone(), other.inbox.clone());
        let tasks = endpoint.tasks.clone();
        let connection = board.number();
        let link =
            |to| Link { to, connection, up: false, bulk: VecDeque::new(), bulk_bytes: 0, pumping: false };
        for (at, peer, to) in [(key, node, to), (to, own, key)] {
            if let Some(endpoint) = board.endpoints.get_mut(&at) {
                endpoint.links.insert(peer, link(to));
            }
        }
        drop(board);
        let network = self.clone();
        tasks.spawn(async move {
            let [mine, theirs] = &mut stops;
            let handshake = async {
                inboxes.1.admit(dialler).await.map_err(|why| (key, node, why))?;
                inboxes.0.admit(acceptor).await.map_err(|why| (to, own, why))
            };
            tokio::select! {
                biased;
                _ = mine.wait_for(|stopped| *stopped) => {}
                _ = theirs.wait_for(|stopped| *stopped) => {}
                done = handshake => network.connected((key, own), (to, node), connection, done),
            }
        });
    }

    /// The handshake is over: the connection is up, or one of the two is refused.
    fn connected(
        &self,
        one: (u64, NodeId),
        two: (u64, NodeId),
        connection: u64,
        result: Result<(), (u64, NodeId, Refusal)>,
    ) {
        let mut board = self.lock();
        if board.link(one.0, two.1, connection).is_none() {
            return;
        }
        match result {
            Ok(()) => {
                for ((at, _), (_, peer)) in [(one, two), (two, one)] {
                    if let Some(link) = board.link(at, peer, connection) {
                        link.up = true;
                    }
                    board.tell(at, Item::Peer(peer, PeerEvent::Up));
                }
            }
            Err((refused, by, why)) => {
                board.unlink(one.0, two.1);
                board.tell(refused, Item::Refused(by, why));
            }
        }
        drop(board);
        self.drain(one.0);
        self.drain(two.0);
    }

    /// Follows a member to where it is now (T10).
    pub(super) fn retarget(&self, key: u64, member: &Member) {
        let mut board = self.lock();
        let there = board.look_up(&member.address, member.id);
        let Some(endpoint) = board.endpoints.get_mut(&key) else { return };
        let before = endpoint.targets.insert(member.id, member.address.clone());
        // Who was connected as no member shakes hands anew, so that it is remembered as one.
        let was_guest = before.is_none();
        let moved = before.is_some_and(|before| before != member.address);
        let link = endpoint.links.get(&member.id);
        let elsewhere = moved && link.is_some_and(|link| Some(link.to) != there);
        let again = was_guest && link.is_some_and(|link| link.up);
        let told = if elsewhere || again { board.lose(key, member.id) } else { Vec::new() };
        drop(board);
        self.drain_all(told);
        self.connect(key, member.id);
    }

    pub(super) fn members(&self, key: u64, members: &[Member]) {
        let mut board = self.lock();
        let Some(endpoint) = board.endpoints.get_mut(&key) else { return };
        let own = endpoint.identity.node;
        let gone: Vec<NodeId> =
            endpoint.targets.keys().copied().filter(|id| members.iter().all(|one| one.id != *id)).collect();
        let mut told = Vec::new();
        for node in gone {
            let Some(endpoint) = board.endpoints.get_mut(&key) else { return };
            endpoint.targets.remove(&node);
            let other = endpoint.links.get(&node).map(|link| link.to);
            let wanted = other.and_then(|other| board.endpoints.get(&other));
            if !wanted.is_some_and(|other| other.targets.contains_key(&own)) {
                told.extend(board.lose(key, node));
            }
        }
        drop(board);
        self.drain_all(told);
        for member in members.iter().filter(|member| member.id != own) {
            self.retarget(key, member);
        }
    }
}
