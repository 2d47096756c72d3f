//! The receiving side of replication (§5.3) and of heartbeats.

use super::common::Common;
use super::probation::Ending;
use super::promise::Promise;
use super::read_index::Questions;
use crate::backend::{SnapshotId, SnapshotMeta};
use crate::entry::{Entry, EntryKind};
use crate::error::{ReadError, Violation};
use crate::ids::{Index, LogId, NodeId, ReadId};
use crate::membership::Membership;
use crate::message::{
    Append, AppendReply, Heartbeat, HeartbeatReply, Message, ReadIndexReply, SnapshotReply,
};

/// What a follower knows of its leader in this term.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Follower {
    /// Up to here this log is known to be the leader's: what appends of this term have checked.
    matched: Index,
    /// The last acknowledgement that was sent.
    acked: Index,
    /// Acknowledge again, even if nothing is new: the leader asks by sending what is here already.
    repeat: bool,
    /// Reads that this node answers itself.
    reads: Questions,
    /// On probation: how far it must match.
    ending: Ending,
    /// The leader sends this snapshot, of this size, and the log has its last entry: tell it once that is durable.
    installed: Option<(SnapshotId, u64, Index)>,
}

impl Follower {
    /// Takes an append of the leader of this term. The acknowledgement leaves when it is durable.
    pub(crate) fn on_append(&mut self, common: &mut Common, from: NodeId, append: Append) {
        if common.receive.resetting().is_some() {
            // The log that it would go into is about to be replaced.
            return;
        }
        if !is_well_formed(common, &append) {
            common.counters.ignored_messages += 1;
            return;
        }
        let entries = &append.entries[..];
        let end = append.prev.index.0.saturating_add(entries.len() as u64);
        let commit = common.log.commit();
        // Everything up to the commit index is in the leader's log (Leader Completeness, §5.4): an append
        // that begins below it needs no check there, also where the term is no longer known.
        let known = append.prev.index < commit || common.log.matches(append.prev);
        if !known {
            self.reject(common, from, append.prev);
            return;
        }
        if let Some(violation) = overwrites_committed(common, from, &append) {
            common.alarm(violation);
            return;
        }
        let is_here = |entry: &&Entry| entry.id.index <= commit || common.log.matches(entry.id);
        let here = entries.iter().take_while(is_here).count();
        if let Some(first) = entries.get(here) {
            // Only an entry that contradicts cuts: a delayed append truncates nothing that matches (§5.3).
            if first.id.index <= common.log.last() {
                common.log.truncate_from(first.id.index);
            }
            if here == 0 {
                common.log.append_all(append.entries);
            } else {
                append.entries.into_iter().skip(here).for_each(|entry| common.log.append(entry));
            }
        }
        self.matched = self.matched.max(Index(end)).max(commit);
        common.log.commit_to(append.commit.min(self.matched));
        self.repeat |= Index(end).max(commit) <= common.log.persisted();
    }

    /// The leader lives, and tells how far this node may commit.
    pub(crate) fn on_heartbeat(&mut self, common: &mut Common, from: NodeId, heartbeat: Heartbeat) {
        common.log.commit_to(heartbeat.commit.min(self.matched));
        let (round, matched) = (heartbeat.round, self.durable(common));
        let promise = Promise::renew(common, from, round);
        let reply = HeartbeatReply { round, matched, promise, ..answer(common) };
        common.send(from, Message::HeartbeatReply(reply));
        self.reads.on_heartbeat(common);
        self.ending.on_heartbeat(common);
    }

    /// A read that this node answers itself, once its leader has told it how far it must have applied.
    pub(crate) fn read(&mut self, id: ReadId) -> Result<(), ReadError> {
        self.reads.add(id)
    }

    /// The leader has told it.
    pub(crate) fn on_read_index(&mut self, common: &mut Common, reply: ReadIndexReply) {
        if self.ending.on_reply(reply) {
            return;
        }
        if let Some(index) = self.reads.on_reply(common, reply) {
            // It is committed, says the leader; here too, as far as the logs are known to match.
            common.log.commit_to(index.min(self.matched));
        }
    }

    /// What follows from whatever was just handled.
    pub(crate) fn advance(&mut self, common: &mut Common) {
        self.reads.advance(common);
        self.ending.advance(common);
    }

    /// Another role, or another leader: reads are told.
    pub(crate) fn end(mut self, common: &mut Common) {
        self.reads.fail(common);
    }

    /// All but times.
    #[cfg(feature = "trace")]
    pub(crate) fn hash_protocol<H: core::hash::Hasher>(&self, state: &mut H) {
        use core::hash::Hash;
        (self.matched, self.acked, self.repeat).hash(state);
        self.reads.hash_protocol(state);
        self.ending.hash_protocol(state);
    }

    /// What an acknowledgement may say: checked against this leader, and durable.
    fn durable(&self, common: &Common) -> Index {
        self.matched.min(common.log.persisted())
    }

    /// Whether there may be something to tell the leader.
    pub(crate) fn may_answer(&self, common: &Common) -> bool {
        self.repeat || self.installed.is_some() || self.durable(common) > self.acked
    }

    /// Builds the newest acknowledgement, if there is one to send.
    pub(crate) fn poll_ack(&mut self, common: &Common) -> Option<AppendReply> {
        let matched = self.durable(common);
        if matched <= self.acked && !self.repeat {
            return None;
        }
        self.acked = matched;
        self.repeat = false;
        Some(AppendReply::Matched { matched })
    }

    /// The log has what this snapshot of the leader ends with, or has just been made to begin after it; `commit` is
    /// known to be in the leader's log.
    pub(super) fn has_snapshot(&mut self, snapshot: &SnapshotMeta, commit: Index) {
        self.matched = self.matched.max(commit);
        self.installed = Some((snapshot.id, snapshot.content.total_bytes, snapshot.upto.index));
    }

    /// Tells the leader that its snapshot is needed no longer, once what it covers is durable here.
    pub(crate) fn poll_installed(&mut self, common: &Common) -> Option<SnapshotReply> {
        let durable = common.log.persisted();
        let (id, received, _) = self.installed.take_if(|(_, _, upto)| *upto <= durable)?;
        Some(SnapshotReply { snapshot: id.0, received, installed: true })
    }

    /// A node on probation may vote again once it matches its leader through an end that the leader's log had
    /// since the node came up, and that the leader has committed (M10, reliability §2.2).
    pub(crate) fn probation_ends(&self, common: &Common) -> bool {
        common.hard.probation && self.ending.is_over(self.durable(common))
    }

    fn reject(&self, common: &mut Common, from: NodeId, prev: LogId) {
        let hint = common.log.terms.at_most(prev.index.prev(), prev.term);
        let last = common.log.last();
        common.send(from, Message::AppendReply(AppendReply::Rejected { prev: prev.index, hint, last }));
    }
}

/// A heartbeat's answer that claims nothing but the end of the log.
pub(crate) fn answer(common: &Common) -> HeartbeatReply {
    HeartbeatReply {
        round: 0,
        matched: Index::ZERO,
        last: common.log.persisted(),
        probation: common.hard.probation,
        slow: common.is_slow(),
        priority: common.config.priority,
        ..HeartbeatReply::default()
    }
}

/// Whether indexes follow each other, terms do not shrink, and memberships can be read.
fn is_well_formed(common: &Common, append: &Append) -> bool {
    let mut before = append.prev;
    append.entries.iter().all(|entry: &Entry| {
        let follows = entry.id.index == before.index.next()
            && entry.id.index > before.index
            && entry.id.term >= before.term
            && entry.id.term <= common.term();
        before = entry.id;
        follows && (entry.kind != EntryKind::Membership || Membership::decode(&entry.data).is_ok())
    })
}

/// An entry that contradicts a committed one must never be accepted: the log of a real leader has them
/// all (Leader Completeness, Figure 3).
fn overwrites_committed(common: &Common, from: NodeId, append: &Append) -> Option<Violation> {
    let commit = common.log.commit();
    if append.prev.index >= commit {
        return None;
    }
    let committed = append.entries.iter().filter(|entry| entry.id.index <= commit);
    committed
        .filter_map(|entry| Some((common.log.term_of(entry.id.index)?, entry.id)))
        .find(|(mine, theirs)| *mine != theirs.term)
        .map(|(mine, theirs)| Violation::OverwritesCommitted {
            from,
            committed: LogId { term: mine, index: theirs.index },
            term: theirs.term,
        })
}
