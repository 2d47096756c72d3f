//! Linearizable reads without a log entry (dissertation §6.4).
//!
//! A read waits for the no-op of the term (etcd#7331), notes the commit index, waits until a quorum has
//! answered a heartbeat round that began after it arrived, and then until that index is applied. All reads
//! that come while a round is under way share the next one.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::Leader;
use crate::error::ReadError;
use crate::ids::{Index, ReadId};
use crate::raft::Event;
use crate::raft::common::Common;

/// Reads waiting on one leader; more are refused.
const LIMIT: usize = 1 << 16;

/// Reads of one leader in their stages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Reads {
    /// Not in a round yet.
    waiting: Vec<ReadId>,
    /// In the round under way: its number, the read index, the reads.
    confirming: Option<(u64, Index, Vec<ReadId>)>,
    /// Confirmed; wait until the index is applied.
    confirmed: VecDeque<(Index, Vec<ReadId>)>,
    count: usize,
}

impl Reads {
    pub(super) fn add(&mut self, id: ReadId) -> Result<(), ReadError> {
        if self.count >= LIMIT {
            return Err(ReadError::Overloaded);
        }
        self.waiting.push(id);
        self.count += 1;
        Ok(())
    }

    /// This node no longer leads: every read is told.
    pub(super) fn fail(&mut self, common: &mut Common) {
        let confirming = self.confirming.take().map(|(_, _, ids)| ids).unwrap_or_default();
        let confirmed = self.confirmed.drain(..).flat_map(|(_, ids)| ids);
        for id in confirmed.chain(confirming).chain(self.waiting.drain(..)) {
            let error = ReadError::NotLeader { leader: common.leader_member() };
            common.events.push_back(Event::ReadFailed { id, error });
        }
        self.count = 0;
    }
}

/// Whether a round should begin for reads that wait.
pub(super) fn wants_round(leader: &Leader, common: &Common) -> bool {
    let reads = &leader.reads;
    !reads.waiting.is_empty() && reads.confirming.is_none() && common.log.commit() >= leader.first
}

/// The round that begins now confirms all that wait.
pub(super) fn join_round(leader: &mut Leader, common: &Common) {
    if wants_round(leader, common) {
        let ids = core::mem::take(&mut leader.reads.waiting);
        leader.reads.confirming = Some((leader.round, common.log.commit(), ids));
    }
}

/// Moves reads on: confirmed by a quorum, answered once applied.
pub(super) fn advance(leader: &mut Leader, common: &mut Common) {
    if common.is_alone() && wants_round(leader, common) {
        leader.round += 1;
        join_round(leader, common);
    }
    if let Some((round, _, _)) = &leader.reads.confirming {
        let confirmed = common.membership().quorum_value(|id| {
            if id == common.config.id {
                return u64::MAX;
            }
            leader.progress.get(&id).map_or(0, |progress| progress.acked_round)
        });
        if confirmed.is_some_and(|confirmed| confirmed >= *round)
            && let Some((_, index, ids)) = leader.reads.confirming.take()
        {
            leader.reads.confirmed.push_back((index, ids));
        }
    }
    while leader.reads.confirmed.front().is_some_and(|(index, _)| *index <= common.log.applied()) {
        if let Some((index, ids)) = leader.reads.confirmed.pop_front() {
            leader.reads.count = leader.reads.count.saturating_sub(ids.len());
            common.events.extend(ids.into_iter().map(|id| Event::ReadReady { id, index }));
        }
    }
}
