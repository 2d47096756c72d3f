//! Linearizable reads without a log entry (dissertation §6.4), for this node and for followers that ask.
//!
//! A read waits for the no-op of the term (etcd#7331), notes the commit index, waits until a quorum has
//! answered a heartbeat round that began after it arrived, and then until that index is applied. All reads
//! that come while a round is under way share the next one. Under a lease no round is needed; it is looked at once
//! more when the answer is given.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use super::peers::Peers;
use super::{Leader, lease, thrift};
use crate::error::ReadError;
use crate::ids::{Index, NodeId, ReadId};
use crate::message::{Message, ReadIndex, ReadIndexReply};
use crate::raft::Event;
use crate::raft::common::Common;
use crate::raft::read_index::LIMIT;

/// Who reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Reader {
    Here(ReadId),
    /// A follower, with the number of its question.
    At(NodeId, u64),
}

/// Reads that wait until their index is applied here.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Confirmed {
    index: Index,
    /// No quorum has confirmed it, only a lease.
    leased: bool,
    ids: Vec<ReadId>,
}

/// Reads of one leader in their stages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Reads {
    /// Nodes on probation, each with the number of its question and the end of the log when that came: they wait
    /// until this much is committed.
    ends: BTreeMap<NodeId, (u64, Index)>,
    /// Not in a round yet.
    waiting: Vec<Reader>,
    /// In the round under way: its number, the read index, the reads.
    confirming: Option<(u64, Index, Vec<Reader>)>,
    /// Confirmed; wait until the index is applied.
    confirmed: VecDeque<Confirmed>,
    count: usize,
}

impl Reads {
    pub(super) fn add(&mut self, id: ReadId) -> Result<(), ReadError> {
        if self.count >= LIMIT {
            return Err(ReadError::Overloaded);
        }
        self.waiting.push(Reader::Here(id));
        self.count += 1;
        Ok(())
    }

    /// A follower asks. It asks one question at a time.
    pub(super) fn add_from(&mut self, common: &mut Common, from: NodeId, id: u64) {
        if self.count >= LIMIT {
            common.send(from, Message::ReadIndexReply(ReadIndexReply { id, index: None }));
            return;
        }
        if id & ReadIndex::END != 0 {
            // Asked again, it is the same question.
            let known = self.ends.get(&from).is_some_and(|(asked, _)| *asked == id);
            if !known {
                self.ends.insert(from, (id, common.log.last()));
            }
            return;
        }
        self.waiting.push(Reader::At(from, id));
        self.count += 1;
    }

    /// Whether nobody waits for anything but the end of a log.
    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.confirming.is_none() && self.confirmed.is_empty()
    }

    /// Ends of the log that are committed by now.
    fn take_committed_ends(&mut self, commit: Index) {
        if self.ends.is_empty() {
            return;
        }
        let Self { ends, waiting, count, .. } = self;
        ends.retain(|node, (id, end)| {
            let is_committed = *end <= commit;
            if is_committed {
                waiting.push(Reader::At(*node, *id));
                *count += 1;
            }
            !is_committed
        });
    }

    /// Followers are told at once: what they wait for is that they have applied it themselves.
    fn confirm(
        &mut self,
        common: &mut Common,
        peers: &mut Peers,
        readers: Vec<Reader>,
        index: Index,
        leased: bool,
    ) {
        let mut ids = Vec::new();
        for reader in readers {
            match reader {
                Reader::Here(id) => ids.push(id),
                Reader::At(follower, id) => {
                    self.count = self.count.saturating_sub(1);
                    let reply = ReadIndexReply { id, index: Some(index) };
                    common.send(follower, Message::ReadIndexReply(reply));
                    if let Some(progress) = peers.get_mut(&follower) {
                        thrift::hurry(progress);
                    }
                }
            }
        }
        if !ids.is_empty() {
            self.confirmed.push_back(Confirmed { index, leased, ids });
        }
    }

    /// This node no longer leads: every read is told. A follower that has asked learns of the next term.
    pub(super) fn fail(&mut self, common: &mut Common) {
        let Self { waiting, confirming, confirmed, .. } = core::mem::take(self);
        let confirming = confirming.map(|(_, _, readers)| readers).unwrap_or_default();
        let confirmed = confirmed.into_iter().flat_map(|confirmed| confirmed.ids).map(Reader::Here);
        for reader in confirmed.chain(confirming).chain(waiting) {
            if let Reader::Here(id) = reader {
                let error = ReadError::NotLeader { leader: common.leader_member() };
                common.events.push_back(Event::ReadFailed { id, error });
            }
        }
    }
}

/// Whether a round should begin for reads that wait.
pub(super) fn wants_round(leader: &Leader, common: &Common) -> bool {
    let reads = &leader.reads;
    !reads.waiting.is_empty() && reads.confirming.is_none() && common.log.commit() >= leader.noop_index
}

/// The round that begins now confirms all that wait.
pub(super) fn join_round(leader: &mut Leader, common: &Common) {
    if wants_round(leader, common) {
        let readers = core::mem::take(&mut leader.reads.waiting);
        leader.reads.confirming = Some((leader.round, common.log.commit(), readers));
    }
}

/// Moves reads on: confirmed by a quorum or by the lease, answered once applied.
pub(super) fn advance(leader: &mut Leader, common: &mut Common) {
    leader.reads.take_committed_ends(common.log.commit());
    if leader.reads.is_idle() {
        return;
    }
    if common.is_alone() && wants_round(leader, common) {
        leader.round += 1;
        join_round(leader, common);
    }
    let leased = lease::holds(leader, common);
    if leased && !leader.reads.waiting.is_empty() && common.log.commit() >= leader.noop_index {
        let readers = core::mem::take(&mut leader.reads.waiting);
        let commit = common.log.commit();
        leader.reads.confirm(common, &mut leader.progress, readers, commit, true);
    }
    if let Some((round, _, _)) = &leader.reads.confirming {
        let confirmed = common.membership().quorum_value(|id| {
            if id == common.config.id {
                return u64::MAX;
            }
            leader.progress.get(&id).map_or(0, |progress| progress.acked_round)
        });
        if confirmed.is_some_and(|confirmed| confirmed >= *round)
            && let Some((_, index, readers)) = leader.reads.confirming.take()
        {
            leader.reads.confirm(common, &mut leader.progress, readers, index, false);
        }
    }
    let reads = &mut leader.reads;
    while reads.confirmed.front().is_some_and(|confirmed| confirmed.index <= common.log.applied()) {
        let Some(Confirmed { index, leased: by_lease, ids }) = reads.confirmed.pop_front() else { break };
        if by_lease && !leased {
            // The lease has run out while the state machine was busy: let a quorum say so.
            reads.waiting.extend(ids.into_iter().map(Reader::Here));
            continue;
        }
        reads.count = reads.count.saturating_sub(ids.len());
        common.events.extend(ids.into_iter().map(|id| Event::ReadReady { id, index }));
    }
}
