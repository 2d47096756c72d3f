//! What a node remembers of the peers it has met (J12): a wiped or rolled-back peer is recognised even by
//! a node that was down meanwhile.
//!
//! It is members who are remembered. Once a removal is committed the memory of the member goes: what comes
//! back under its name, by another change, may come with a new store. A node that learns of both at once, from a
//! snapshot, sees it by the entry that the member came by: what is remembered has one too. A stranger is let in and
//! leaves no trace: it may be an old process of a member to come.

use std::collections::{BTreeMap, BTreeSet};

use ::tokio::sync::oneshot;

use crate::backend::Refusal;
use crate::ids::{Identity, KnownPeer, LogId, NodeId};
use crate::membership::{Membership, VoteResult};

/// Where the answer to a handshake goes.
pub(crate) type AdmitReply = oneshot::Sender<Result<(), Refusal>>;

/// What a node that is refused knows of its own place.
#[derive(Clone, Copy)]
pub(crate) struct Standing<'a> {
    pub(crate) membership: &'a Membership,
    pub(crate) probation: bool,
    /// It is no founder, or was removed and added again: see `Raft::was_added`.
    pub(crate) added: bool,
}

/// The memory, and handshakes that wait until it is durable.
pub(crate) struct PeerMemory {
    local: Identity,
    known: BTreeMap<NodeId, KnownPeer>,
    /// Who is remembered, and the entry that each came by; before the node knows, those whom it knew.
    members: BTreeMap<NodeId, LogId>,
    /// Members that refuse this node for good.
    refused_by: BTreeSet<NodeId>,
    dirty: bool,
    /// What is on the disk.
    durable: BTreeMap<NodeId, KnownPeer>,
    /// What the write under way brings there, if it carries it.
    in_write: Option<BTreeMap<NodeId, KnownPeer>>,
    /// Answered when the next write is durable.
    waiting: Vec<(Identity, AdmitReply)>,
    /// Answered when the write under way is durable.
    writing: Vec<(Identity, AdmitReply)>,
}

impl PeerMemory {
    pub(crate) fn new(local: Identity, known: Vec<KnownPeer>) -> Self {
        let known: BTreeMap<NodeId, KnownPeer> = known.into_iter().map(|peer| (peer.node, peer)).collect();
        let members = known.iter().map(|(id, peer)| (*id, peer.admitted)).collect();
        let (waiting, writing) = (Vec::new(), Vec::new());
        Self {
            local,
            durable: known.clone(),
            known,
            members,
            refused_by: BTreeSet::new(),
            dirty: false,
            in_write: None,
            waiting,
            writing,
        }
    }

    /// Judges a peer and answers once what it showed is remembered durably.
    pub(crate) fn admit(&mut self, peer: Identity, reply: AdmitReply) {
        if let Err(refusal) = self.judge(peer) {
            let _ = reply.send(Err(refusal));
            return;
        }
        let Some(admitted) = self.members.get(&peer.node).copied() else {
            let _ = reply.send(Ok(()));
            return;
        };
        let Identity { node, store, incarnation, .. } = peer;
        let shown = KnownPeer { node, store, incarnation, admitted };
        self.dirty |= self.known.insert(node, shown) != Some(shown);
        if self.durable.get(&node) == Some(&shown) {
            let _ = reply.send(Ok(()));
        } else if self.dirty {
            self.waiting.push((peer, reply));
        } else {
            self.writing.push((peer, reply));
        }
    }

    /// Another membership is in force, and these have left for good, although some may be back. If it is committed,
    /// whoever is no member has left: this node may have been stopped before that was on its disk. And who is a
    /// member by a later entry than when it was met has left and come back: no leader appends the coming back
    /// before the leaving is committed.
    pub(crate) fn members(&mut self, membership: &Membership, committed: bool, left: &[NodeId]) {
        let has_left = |peer: &KnownPeer| {
            if membership.is_member(peer.node) {
                peer.admitted < membership.admitted(peer.node)
            } else {
                committed && !membership.is_empty()
            }
        };
        let gone: Vec<NodeId> =
            self.known.values().filter(|peer| has_left(peer)).map(|peer| peer.node).collect();
        for node in left.iter().chain(&gone) {
            self.dirty |= self.known.remove(node).is_some();
            self.refused_by.remove(node);
        }
        self.members = membership.members.keys().map(|id| (*id, membership.admitted(*id))).collect();
    }

    /// A peer says that this node must not go on under its identity. Whether that settles it: it does at once,
    /// but for two cases.
    ///
    /// In limbo and on probation nothing is at stake: such a node does not vote. Nor is there where it is no member and
    /// comes with another store: the change that let it come may have been lost with its leader, and no quorum needs it. And
    /// a node that was `added` to the cluster, as its own log says, may have come back with another store by a change that
    /// this peer does not know yet; so a replaced store is settled only where no quorum is left without those who refuse.
    /// None needs a learner that was added: the peer may remember the store of its process before, whose handshake arrived
    /// after the change, and then refuses this one until it is removed and added again. A node whose log
    /// knows no time without it has no such excuse: two of three founders that were wiped let each other in, and
    /// only the third one knows that acknowledged entries are gone.
    pub(crate) fn refused_by(&mut self, peer: NodeId, why: &Refusal, me: Standing<'_>) -> bool {
        if me.probation || me.membership.is_empty() {
            return false;
        }
        if !matches!(why, Refusal::StoreReplaced { .. }) {
            return true;
        }
        if !me.membership.is_member(self.local.node) {
            return false;
        }
        // A founder votes from its first moment on, whatever its log says of it.
        if !me.added {
            return true;
        }
        if !me.membership.is_voter(self.local.node) {
            return false;
        }
        // Who has no vote changes nothing, and is no reason to count what voters said some time ago.
        if !me.membership.is_voter(peer) {
            return false;
        }
        // Not before: while it caught up, a voter that lacked the change that let it come refused it as well.
        self.refused_by.insert(peer);
        let refuses = |voter| self.refused_by.contains(&voter).then_some(false);
        me.membership.vote_result(refuses) == VoteResult::Lost
    }

    /// A connection to it is up: both sides have let each other in.
    pub(crate) fn accepted_by(&mut self, peer: NodeId) {
        self.refused_by.remove(&peer);
    }

    fn judge(&self, peer: Identity) -> Result<(), Refusal> {
        let local = &self.local;
        if peer.cluster != local.cluster {
            return Err(Refusal::WrongCluster { ours: local.cluster, theirs: peer.cluster });
        }
        if peer.group != local.group {
            return Err(Refusal::WrongGroup { ours: local.group, theirs: peer.group });
        }
        let node = peer.node;
        if node == local.node || node == NodeId(0) {
            return Err(Refusal::WrongNode { expected: local.node, claimed: node });
        }
        let Some(known) = self.known.get(&node) else { return Ok(()) };
        if known.store != peer.store {
            return Err(Refusal::StoreReplaced { node, known: known.store, offered: peer.store });
        }
        let (seen, shown) = (known.incarnation, peer.incarnation);
        if shown.number < seen.number || (shown.number == seen.number && shown.nonce != seen.nonce) {
            return Err(Refusal::RolledBack { node, known: seen.number, offered: shown.number });
        }
        Ok(())
    }

    /// The whole memory, if it must be written. The write that takes it answers with [`Self::written`].
    pub(crate) fn take_dirty(&mut self) -> Option<Vec<KnownPeer>> {
        if !core::mem::take(&mut self.dirty) {
            return None;
        }
        self.in_write = Some(self.known.clone());
        self.writing.append(&mut self.waiting);
        Some(self.known.values().copied().collect())
    }

    pub(crate) const fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// The write under way has failed, and may be done again: if it carried the memory, the next one does.
    pub(crate) fn not_written(&mut self) {
        self.dirty |= self.in_write.take().is_some();
        self.waiting.append(&mut self.writing);
    }

    /// The write under way is durable. Who was forgotten since it was let in, by another membership, is judged anew.
    pub(crate) fn written(&mut self) {
        if let Some(now) = self.in_write.take() {
            self.durable = now;
        }
        for (peer, reply) in core::mem::take(&mut self.writing) {
            self.admit(peer, reply);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{ClusterId, GroupId, Incarnation, StoreId};

    fn identity(node: u64, store: u128, number: u64, nonce: u64) -> Identity {
        Identity {
            cluster: ClusterId(1),
            group: GroupId(0),
            node: NodeId(node),
            store: StoreId(store),
            incarnation: Incarnation { number, nonce },
        }
    }

    fn of(ids: &[u64]) -> Membership {
        Membership::of_voters(ids.iter().map(|id| crate::membership::Member::new(NodeId(*id), ""))).unwrap()
    }

    fn seen(peer: Identity) -> KnownPeer {
        let Identity { node, store, incarnation, .. } = peer;
        KnownPeer { node, store, incarnation, admitted: LogId::ZERO }
    }

    fn admit(memory: &mut PeerMemory, peer: Identity) -> oneshot::Receiver<Result<(), Refusal>> {
        let (reply, answer) = oneshot::channel();
        memory.admit(peer, reply);
        answer
    }

    #[test]
    fn a_handshake_waits_until_it_is_remembered_durably() {
        let mut memory = PeerMemory::new(identity(1, 1, 1, 1), Vec::new());
        memory.members(&of(&[1, 2]), false, &[]);
        let mut first = admit(&mut memory, identity(2, 20, 1, 5));
        assert!(first.try_recv().is_err(), "not durable yet");
        assert_eq!(memory.take_dirty().map(|all| all.len()), Some(1));
        let mut again = admit(&mut memory, identity(2, 20, 1, 5));
        assert!(again.try_recv().is_err(), "the same write is still under way");
        memory.written();
        assert_eq!(first.try_recv(), Ok(Ok(())));
        assert_eq!(again.try_recv(), Ok(Ok(())));
        assert_eq!(memory.take_dirty(), None);
        assert_eq!(admit(&mut memory, identity(2, 20, 1, 5)).try_recv(), Ok(Ok(())), "a mere reconnect");
    }

    /// Who catches up sees a member leave and come back while its handshake waits for the disk: it was let in, and was
    /// remembered by nobody (simulator seed 868).
    #[test]
    fn who_is_forgotten_while_a_handshake_waits_is_remembered_anew() {
        let back = of(&[1, 2]).entered_after(&of(&[1]), LogId::new(4, 90));
        for forgotten_in_the_write in [false, true] {
            let mut memory = PeerMemory::new(identity(1, 1, 1, 1), Vec::new());
            memory.members(&of(&[1, 2]), false, &[]);
            let mut answer = admit(&mut memory, identity(2, 20, 1, 5));
            if forgotten_in_the_write {
                assert!(memory.take_dirty().is_some());
            }
            memory.members(&back, true, &[NodeId(2)]);
            if !forgotten_in_the_write {
                assert_eq!(memory.take_dirty(), Some(Vec::new()));
            }
            memory.written();
            assert!(answer.try_recv().is_err(), "no disk knows it");
            let written = memory.take_dirty().unwrap();
            assert_eq!(written, [KnownPeer { admitted: LogId::new(4, 90), ..seen(identity(2, 20, 1, 5)) }]);
            memory.written();
            assert_eq!(answer.try_recv(), Ok(Ok(())));
        }
    }

    /// The removal was on record, that the store is forgotten was not: the node was stopped in between (simulator
    /// seed 21).
    #[test]
    fn who_is_no_member_is_forgotten_after_a_restart_too() {
        let known = vec![seen(identity(2, 20, 4, 5)), seen(identity(3, 30, 1, 1))];
        let mut memory = PeerMemory::new(identity(1, 1, 1, 1), known);
        let rest = of(&[1, 3]);
        memory.members(&rest, false, &[]);
        assert!(memory.judge(identity(2, 21, 1, 1)).is_err(), "the removal may be cut away again");
        memory.members(&rest, true, &[]);
        assert!(memory.judge(identity(2, 21, 1, 1)).is_ok());
        assert!(memory.judge(identity(3, 31, 1, 1)).is_err());
        assert_eq!(memory.take_dirty().map(|all| all.len()), Some(1));
    }

    /// A snapshot brings both, the removal of a member and that it is one again; or the node is stopped between having
    /// the snapshot and forgetting the store.
    #[test]
    fn who_has_come_back_by_another_entry_may_have_another_store() {
        let known = vec![seen(identity(2, 20, 4, 5)), seen(identity(3, 30, 1, 1))];
        let mut memory = PeerMemory::new(identity(1, 1, 1, 1), known);
        let founders = of(&[1, 2, 3]);
        memory.members(&founders, true, &[]);
        assert!(memory.judge(identity(2, 21, 1, 1)).is_err());
        let back = of(&[1, 2, 3]).entered_after(&of(&[1, 3]), LogId::new(4, 90));
        memory.members(&back, false, &[]);
        assert!(memory.judge(identity(3, 31, 1, 1)).is_err(), "it was there all the time");
        let mut answer = admit(&mut memory, identity(2, 21, 1, 1));
        let written = memory.take_dirty().unwrap();
        assert_eq!(written[0], KnownPeer { admitted: LogId::new(4, 90), ..seen(identity(2, 21, 1, 1)) });
        memory.written();
        assert_eq!(answer.try_recv(), Ok(Ok(())));
        memory.members(&back, true, &[]);
        assert!(memory.judge(identity(2, 20, 4, 5)).is_err(), "now it is the new one that is known");
        let mut memory = PeerMemory::new(identity(1, 1, 1, 1), written);
        memory.members(&back, true, &[]);
        assert!(memory.judge(identity(2, 20, 4, 5)).is_err(), "after a restart too");
        let again = of(&[1, 2, 3]).entered_after(&of(&[1, 3]), LogId::new(5, 90));
        memory.members(&again, false, &[]);
        assert!(memory.judge(identity(2, 22, 1, 1)).is_ok());
    }

    /// Who catches up goes through memberships of long ago: a few refusals were a quorum then (simulator seed 68).
    #[test]
    fn refusals_settle_nothing_for_who_catches_up() {
        let mut memory = PeerMemory::new(identity(2, 1, 1, 1), Vec::new());
        let replaced = Refusal::StoreReplaced { node: NodeId(2), known: StoreId(1), offered: StoreId(2) };
        let set_back = Refusal::RolledBack { node: NodeId(2), known: 2, offered: 1 };
        let (one, two, three) = (of(&[2]), of(&[2, 3]), of(&[1, 2, 3]));
        let limbo = Membership::default();
        let added = |membership| Standing { membership, probation: false, added: true };
        let founder = |membership| Standing { added: false, ..added(membership) };
        let catching_up = |membership| Standing { probation: true, ..added(membership) };
        assert!(!memory.refused_by(NodeId(3), &replaced, catching_up(&two)), "it does not vote");
        assert!(!memory.refused_by(NodeId(3), &replaced, founder(&limbo)), "in limbo");
        assert!(!memory.refused_by(NodeId(3), &replaced, added(&three)), "one of three may not know yet");
        assert!(memory.refused_by(NodeId(3), &replaced, added(&two)));
        assert!(!memory.refused_by(NodeId(3), &replaced, added(&one)), "it needs nobody");
        assert!(
            memory.refused_by(NodeId(3), &set_back, added(&three)),
            "openings only grow: nobody is wrong"
        );
        memory.accepted_by(NodeId(3));
        assert!(!memory.refused_by(NodeId(1), &replaced, added(&three)));
        // Two of three founders were wiped: they let each other in, and only the third one knows.
        assert!(memory.refused_by(NodeId(1), &replaced, founder(&three)), "a founder was never added");
        // A founder that was removed came back empty by a change that was never committed (simulator seed 882, once its
        // operators no longer waited until all had forgotten).
        let others = of(&[1, 3]);
        assert!(!memory.refused_by(NodeId(1), &replaced, founder(&others)), "it is no member");
        assert!(memory.refused_by(NodeId(1), &set_back, founder(&others)));
    }

    /// A voter refuses who comes back before it knows of the change, and has no reason to afterwards; nobody has told since,
    /// for want of a new connection, when a node that is no member any more refuses too (simulator seed 1795904616151125236).
    #[test]
    fn a_refusal_from_before_it_was_taken_in_does_not_count_afterwards() {
        let mut memory = PeerMemory::new(identity(2, 1, 1, 1), Vec::new());
        let replaced = Refusal::StoreReplaced { node: NodeId(2), known: StoreId(1), offered: StoreId(2) };
        let (without, with) = (of(&[1, 3]), of(&[1, 2, 3]));
        let me = |membership, probation| Standing { membership, probation, added: true };
        assert!(!memory.refused_by(NodeId(1), &replaced, me(&with, true)));
        assert!(!memory.refused_by(NodeId(3), &replaced, me(&without, false)));
        assert!(!memory.refused_by(NodeId(7), &replaced, me(&with, false)), "it has no vote");
        assert!(!memory.refused_by(NodeId(3), &replaced, me(&with, false)), "one of three voters, today");
        assert!(memory.refused_by(NodeId(1), &replaced, me(&with, false)), "two of them");
    }

    /// The handshake of its process before was on its way when that was killed, and arrived at a voter after it was
    /// removed and added again as a learner, with an empty disk: the voter remembers the old store as the one that was
    /// added, and the learner ended (simulator seed 1795939165060661383).
    #[test]
    fn a_learner_outlives_that_a_voter_takes_its_store_for_another() {
        let mut memory = PeerMemory::new(identity(2, 1, 1, 1), Vec::new());
        let replaced = Refusal::StoreReplaced { node: NodeId(2), known: StoreId(1), offered: StoreId(2) };
        let set_back = Refusal::RolledBack { node: NodeId(2), known: 2, offered: 1 };
        let mut learner = of(&[1, 3]);
        learner.members.insert(NodeId(2), crate::membership::Member::new(NodeId(2), ""));
        let me = |membership, added| Standing { membership, probation: false, added };
        for voter in [1, 3] {
            assert!(!memory.refused_by(NodeId(voter), &replaced, me(&learner, true)), "no quorum needs it");
        }
        // It began with an entry of its own, and votes, whoever has promoted it since.
        assert!(memory.refused_by(NodeId(1), &replaced, me(&learner, false)), "a founder that was wiped");
        let voter = of(&[1, 2, 3]);
        assert!(
            !memory.refused_by(NodeId(1), &replaced, me(&voter, true)),
            "what they said before does not count"
        );
        assert!(memory.refused_by(NodeId(3), &replaced, me(&voter, true)));
        assert!(memory.refused_by(NodeId(1), &set_back, me(&learner, true)), "its own store went back");
    }

    /// One of three voters did not know of the change yet, which was no reason to end. Then another one leaves.
    #[test]
    fn who_has_no_vote_does_not_make_an_old_refusal_count() {
        let mut memory = PeerMemory::new(identity(2, 1, 1, 1), Vec::new());
        let replaced = Refusal::StoreReplaced { node: NodeId(2), known: StoreId(1), offered: StoreId(2) };
        let (three, two) = (of(&[2, 3, 5]), of(&[2, 3]));
        let me = |membership| Standing { membership, probation: false, added: true };
        assert!(!memory.refused_by(NodeId(3), &replaced, me(&three)));
        memory.members(&two, true, &[NodeId(5)]);
        assert!(!memory.refused_by(NodeId(7), &replaced, me(&two)));
        assert!(memory.refused_by(NodeId(3), &replaced, me(&two)), "it says so once more");
    }

    #[test]
    fn replaced_and_rolled_back_stores_are_refused_by_name() {
        let known = identity(2, 20, 4, 5);
        let mut memory = PeerMemory::new(identity(1, 1, 1, 1), vec![seen(known)]);
        let mut judge = |peer| admit(&mut memory, peer).try_recv().unwrap();
        assert!(matches!(judge(identity(2, 21, 1, 1)), Err(Refusal::StoreReplaced { .. })));
        assert!(matches!(
            judge(identity(2, 20, 3, 9)),
            Err(Refusal::RolledBack { known: 4, offered: 3, .. })
        ));
        assert!(
            matches!(judge(identity(2, 20, 4, 9)), Err(Refusal::RolledBack { .. })),
            "same number, other run"
        );
        assert!(matches!(judge(identity(1, 9, 1, 1)), Err(Refusal::WrongNode { .. })));
        let foreign = Identity { cluster: ClusterId(2), ..known };
        assert!(matches!(judge(foreign), Err(Refusal::WrongCluster { .. })));
        assert_eq!(judge(known), Ok(()));
    }
}
