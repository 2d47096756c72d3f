//! How probation ends (M10, reliability §2.2). It begins where a journal is opened that may have lost something (the journals' `open`),
//! or with an empty log (`Raft::new`); what it forbids is in `election` (votes) and in `Common::may_campaign`.
//!
//! A node that has lost what it had acknowledged may vote again once it has all of it. Whatever counts of what it had
//! acknowledged is in the log of the leader that it follows: what it had acknowledged to this leader, since a leader
//! only appends, and what it had to earlier ones by Leader Completeness (§5.4). So it must match that log up to an end
//! that the log had since the node came up.
//!
//! Messages from before it came up may still arrive. An append then names an old commit index; and an old
//! acknowledgement, at the leader, lets something be committed that the node has lost, at any time later. Therefore
//! it asks, by a number that no question had before: the leader answers when all that its log had is committed.

use super::common::Common;
use crate::ids::Index;
use crate::message::{Message, ReadIndex, ReadIndexReply};
use crate::time::Time;

/// What a node on probation knows of how far the log of its leader went.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Ending {
    /// The number of its question, and when that was last sent.
    asked: Option<(u64, Time)>,
    /// The answer.
    through: Option<Index>,
}

impl Ending {
    /// Asks the leader, once there is one.
    pub(crate) fn advance(&mut self, common: &mut Common) {
        if common.hard.probation && self.asked.is_none() && common.leader.is_some() {
            let id = common.next_question() | ReadIndex::END;
            self.ask(common, id);
        }
    }

    /// The leader lives. The question, or its answer, may be lost.
    pub(crate) fn on_heartbeat(&mut self, common: &mut Common) {
        if let Some((id, sent)) = self.asked
            && self.waits(common)
            && common.now.since(sent) >= common.config.heartbeat_interval
        {
            self.ask(common, id);
        }
    }

    /// Whether this answers its question. A leader that has too much to do is asked again at a heartbeat.
    pub(crate) fn on_reply(&mut self, reply: ReadIndexReply) -> bool {
        let mine = self.asked.is_some_and(|(id, _)| id == reply.id);
        if mine {
            self.through = self.through.or(reply.index);
        }
        mine
    }

    /// Whether a log that is durable, and known to match the leader's, this far has all of it.
    pub(crate) fn is_over(&self, matched: Index) -> bool {
        self.through.is_some_and(|through| matched >= through)
    }

    const fn waits(&self, common: &Common) -> bool {
        common.hard.probation && self.through.is_none()
    }

    fn ask(&mut self, common: &mut Common, id: u64) {
        if let Some(leader) = common.leader {
            self.asked = Some((id, common.now));
            common.send(leader, Message::ReadIndex(ReadIndex { id }));
        }
    }

    /// All but times.
    #[cfg(feature = "trace")]
    pub(crate) fn hash_protocol<H: core::hash::Hasher>(&self, state: &mut H) {
        use core::hash::Hash;
        (self.asked.map(|(id, _)| id), self.through).hash(state);
    }
}
