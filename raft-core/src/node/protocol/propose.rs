//! Proposals: what waits becomes as few entries as may be.

use core::time::Duration;

use super::super::waiters::{Batch, BatchReply};
use super::Protocol;
use crate::entry::pack;
use crate::error::ProposeError;
use crate::ids::LogId;
use crate::session::{self, Stamped, pack_marked};
use crate::status::RoleKind;
use crate::time::Time;

/// Batches that become one entry.
#[derive(Default)]
struct Group {
    batches: Vec<Batch>,
    bytes: u64,
}

impl Group {
    /// Adds one; those before it, if they are an entry by themselves.
    fn add(&mut self, batch: Batch, limit_bytes: u64) -> Option<Vec<Batch>> {
        let is_full = self.bytes > 0 && self.bytes + batch.cost_bytes > limit_bytes;
        let full = is_full.then(|| core::mem::take(self).batches);
        self.bytes += batch.cost_bytes;
        self.batches.push(batch);
        full
    }
}

/// What waits, as far as it was looked at.
#[derive(Default)]
pub(super) struct Held {
    batches: usize,
    commands: usize,
    bytes: u64,
    /// When they were held first.
    since: Option<Time>,
}

impl Protocol {
    /// Until when what has come is held for others, if at all.
    pub(super) fn hold(&mut self, now: Time, batches: &[Batch]) -> Option<Time> {
        if batches.is_empty() || self.stop_at.is_some() || self.raft.role_kind() != RoleKind::Leader {
            return None;
        }
        let held = &mut self.held;
        for batch in batches.get(held.batches..).unwrap_or_default() {
            held.batches += 1;
            held.commands += batch.commands.len();
            held.bytes += batch.cost_bytes;
        }
        // More is an entry of its own anyway, or keeps others from coming.
        let most = self.config.append_limit_bytes.min(self.shared.queue_limit_bytes() / 2);
        // It must not keep followers, or people, waiting if it is set to much.
        let limit = self.config.gather_limit.min(self.config.heartbeat_interval / 2);
        let until =
            self.gather.hold(now, held.commands, if held.bytes < most { limit } else { Duration::ZERO });
        if until.is_some() {
            held.since.get_or_insert(now);
        }
        until
    }

    /// Packs all that wait into as few entries as their size allows. Those of sessions come in entries of
    /// their own, of another format.
    pub(super) fn propose(&mut self, now: Time, batches: &mut Vec<Batch>) {
        if let Some(since) = core::mem::take(&mut self.held).since {
            self.shared.timers.hold.record(now.since(since));
        }
        let mut plain = Group::default();
        let mut marked = Group::default();
        for batch in batches.drain(..) {
            self.shared.release(batch.cost_bytes);
            let is_plain = batch.marks.is_empty();
            let group = if is_plain { &mut plain } else { &mut marked };
            if let Some(full) = group.add(batch, self.config.append_limit_bytes) {
                if is_plain { self.propose_entry(now, full) } else { self.propose_marked(now, full) }
            }
        }
        if !plain.batches.is_empty() {
            self.propose_entry(now, plain.batches);
        }
        if !marked.batches.is_empty() {
            self.propose_marked(now, marked.batches);
        }
    }

    /// Why nothing is proposed here, before anything is copied.
    fn refusal(&mut self, now: Time) -> Option<ProposeError> {
        if self.stop_at.is_some() {
            Some(ProposeError::ShuttingDown)
        } else if self.raft.role_kind() == RoleKind::Leader {
            None
        } else {
            self.raft.propose(now, bytes::Bytes::new()).err()
        }
    }

    /// Commands of which some belong to sessions.
    fn propose_marked(&mut self, now: Time, group: Vec<Batch>) {
        let refused = self.refusal(now);
        let mut commands = Vec::new();
        let mut waiting = Vec::with_capacity(group.len());
        for batch in group {
            waiting.push((batch.commands.len(), batch.reply));
            commands.extend(batch.marks.into_iter().zip(batch.commands));
        }
        let result = match refused {
            Some(error) => Err(error),
            None => {
                let stamp = self.clock.stamp(now);
                self.raft.propose(now, pack_marked(stamp, &commands))
            }
        };
        self.gathered(now, &result, commands.len());
        self.proposed(now, result, waiting);
    }

    pub(super) fn propose_session(&mut self, now: Time, op: session::Op, reply: BatchReply) {
        let result = match self.refusal(now) {
            Some(error) => Err(error),
            None => {
                let stamped = Stamped { time: self.clock.stamp(now), op };
                self.raft.propose_session(now, stamped.encode())
            }
        };
        self.proposed(now, result, vec![(1, reply)]);
    }

    fn gathered(&mut self, now: Time, result: &Result<LogId, ProposeError>, commands: usize) {
        if let Ok(id) = result {
            self.gather.proposed(now, id.index, commands);
        }
    }

    fn proposed(
        &mut self,
        now: Time,
        result: Result<LogId, ProposeError>,
        waiting: Vec<(usize, BatchReply)>,
    ) {
        match result {
            Ok(id) => self.proposals.add(id, now, waiting),
            Err(error) => {
                for (_, reply) in waiting {
                    reply.fail(error.clone());
                }
            }
        }
    }

    fn propose_entry(&mut self, now: Time, group: Vec<Batch>) {
        let refused = self.refusal(now);
        let mut commands = Vec::new();
        let mut waiting = Vec::with_capacity(group.len());
        for mut batch in group {
            waiting.push((batch.commands.len(), batch.reply));
            if commands.is_empty() {
                commands = batch.commands;
            } else {
                commands.append(&mut batch.commands);
            }
        }
        let result = match refused {
            Some(error) => Err(error),
            None => self.raft.propose(now, pack(&commands)),
        };
        self.gathered(now, &result, commands.len());
        self.proposed(now, result, waiting);
    }
}
