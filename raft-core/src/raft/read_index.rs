//! Linearizable reads on a follower (dissertation §6.4): it asks its leader how far it must have applied, and
//! answers when it has.
//!
//! All reads that come while a question is under way share the next one. A question that was lost is asked again;
//! one that is not answered for an election timeout ends its reads: so ends a read whose leader speaks only wire
//! version 1 and is not even told.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::Event;
use super::common::Common;
use crate::error::ReadError;
use crate::ids::{Index, ReadId};
use crate::message::{Message, ReadIndex, ReadIndexReply};
use crate::time::Time;

/// Reads waiting on one node; more are refused.
pub(crate) const LIMIT: usize = 1 << 16;

/// What the leader was asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Asked {
    id: u64,
    since: Time,
    /// When it was last sent.
    sent: Time,
    reads: Vec<ReadId>,
}

/// Reads of one follower in their stages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Questions {
    /// Not asked for yet.
    waiting: Vec<ReadId>,
    asked: Option<Asked>,
    /// The leader has told how far; wait until that is applied.
    answered: VecDeque<(Index, Vec<ReadId>)>,
    count: usize,
}

impl Questions {
    pub(crate) fn add(&mut self, id: ReadId) -> Result<(), ReadError> {
        if self.count >= LIMIT {
            return Err(ReadError::Overloaded);
        }
        self.waiting.push(id);
        self.count += 1;
        Ok(())
    }

    /// The leader's answer. Returns the index that it says is committed.
    pub(crate) fn on_reply(&mut self, common: &mut Common, reply: ReadIndexReply) -> Option<Index> {
        // Every question has a number of its own: an answer to an older one says nothing about this one.
        let Some(asked) = self.asked.take_if(|asked| asked.id == reply.id) else {
            common.counters.ignored_messages += 1;
            return None;
        };
        match reply.index {
            Some(index) => self.answered.push_back((index, asked.reads)),
            None => self.end(common, asked.reads, &ReadError::Overloaded),
        }
        reply.index
    }

    /// The leader lives. What it has not answered may be lost.
    pub(crate) fn on_heartbeat(&mut self, common: &mut Common) {
        let (now, patience) = (common.now, common.config.election_timeout);
        let Some(asked) = &mut self.asked else { return };
        if now.since(asked.since) >= patience {
            let reads = core::mem::take(&mut asked.reads);
            self.asked = None;
            let error = ReadError::NotLeader { leader: common.leader_member() };
            self.end(common, reads, &error);
        } else if now.since(asked.sent) >= common.config.heartbeat_interval {
            asked.sent = now;
            let id = asked.id;
            ask(common, id);
        }
    }

    /// Moves reads on: asked for, and answered once applied. Without a leader there is nobody to ask.
    pub(crate) fn advance(&mut self, common: &mut Common) {
        if common.leader.is_none() {
            self.fail(common);
            return;
        }
        if self.asked.is_none() && !self.waiting.is_empty() {
            let (id, now) = (common.next_question(), common.now);
            let reads = core::mem::take(&mut self.waiting);
            self.asked = Some(Asked { id, since: now, sent: now, reads });
            ask(common, id);
        }
        while self.answered.front().is_some_and(|(index, _)| *index <= common.log.applied()) {
            if let Some((index, ids)) = self.answered.pop_front() {
                self.count = self.count.saturating_sub(ids.len());
                common.events.extend(ids.into_iter().map(|id| Event::ReadReady { id, index }));
            }
        }
    }

    /// The leader is another now, or none: every read is told.
    pub(crate) fn fail(&mut self, common: &mut Common) {
        if self.count == 0 {
            return;
        }
        let Self { waiting, asked, answered, .. } = core::mem::take(self);
        let answered = answered.into_iter().flat_map(|(_, ids)| ids);
        let asked = asked.map(|asked| asked.reads).unwrap_or_default();
        let ids = answered.chain(asked).chain(waiting).collect();
        let error = ReadError::NotLeader { leader: common.leader_member() };
        self.end(common, ids, &error);
    }

    fn end(&mut self, common: &mut Common, ids: Vec<ReadId>, error: &ReadError) {
        self.count = self.count.saturating_sub(ids.len());
        common.events.extend(ids.into_iter().map(|id| Event::ReadFailed { id, error: error.clone() }));
    }

    /// All but times.
    #[cfg(feature = "trace")]
    pub(crate) fn hash_protocol<H: core::hash::Hasher>(&self, state: &mut H) {
        use core::hash::Hash;
        let asked = self.asked.as_ref().map(|asked| (asked.id, &asked.reads));
        (&self.waiting, asked, &self.answered).hash(state);
    }
}

fn ask(common: &mut Common, id: u64) {
    if let Some(leader) = common.leader {
        common.send(leader, Message::ReadIndex(ReadIndex { id }));
    }
}
