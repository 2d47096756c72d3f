//! Leading: a no-op first, then proposals, acknowledgements, heartbeats and reads.

mod commit;
mod hand_over;
mod heartbeat;
mod lease;
mod membership;
mod peers;
mod progress;
mod reads;
mod replicate;
mod snapshot;
mod thrift;
mod transfer;

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;

use super::common::Common;
use super::output::{ChangeOptions, ReadChunk, Unreadable};
use super::timers::Timer;
use super::{Event, Next};
use crate::entry::{Entry, EntryKind};
use crate::error::{ChangeError, Objection, ProposeError, ReadError, TransferError};
use crate::ids::{ChangeId, FetchId, Index, LogId, NodeId, ReadId};
use crate::membership::{Change, Plan};
use crate::message::{AppendReply, Envelope, HeartbeatReply, Message, SnapshotReply, TimeoutNow};
use crate::status::{PeerState, PeerStatus};
use crate::time::Time;
use peers::Peers;
pub(crate) use progress::Progress;

/// What only a leader has.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Leader {
    /// The index of this term's no-op: nothing is read or counted as committed before it.
    noop_index: Index,
    progress: Peers,
    /// The peer that was last looked at for an append.
    turn: NodeId,
    /// The heartbeat round that was last begun.
    round: u64,
    lease: lease::Lease,
    reads: reads::Reads,
    /// Since when it leads.
    since: Time,
    /// The commit index when the round before the last began, and when the last did.
    commit_before_last_round: Index,
    commit_at_last_round: Index,
    /// The round that had last begun when its disk began to hang.
    hangs_since: Option<u64>,
    transfer: Option<transfer::Transfer>,
    /// Whom a quorum can do without.
    thrift: thrift::Thrift,
    /// Proposals not yet applied, with their cost.
    proposed: VecDeque<(Index, u64)>,
    uncommitted_bytes: u64,
    /// The membership change under way.
    changing: Option<membership::Changing>,
    /// It votes no longer, and has begun to hand over.
    retiring: bool,
    /// Whom it feeds: the version of that when it was last looked at.
    reach: u64,
}

impl Leader {
    /// What it counts of a member's log.
    #[cfg(feature = "trace")]
    pub(super) fn matched(&self, member: NodeId) -> Option<Index> {
        self.progress.get(&member).map(|progress| progress.match_index)
    }

    /// Takes the lead: appends the no-op of the term and tells everybody (§5.2, §8).
    pub(crate) fn start(common: &mut Common) -> Self {
        let (now, id) = (common.now, common.id());
        let next = common.log.last().next();
        let members = common.membership().members.keys().copied();
        let peers: Vec<NodeId> = members.chain(common.reach.departing()).filter(|p| *p != id).collect();
        let progress = peers.into_iter().map(|peer| {
            let mut progress = Progress::new(next, now);
            progress.departing = common.reach.is_departing(peer);
            (peer, progress)
        });
        let progress = progress.collect();
        let mut leader = Self {
            noop_index: next,
            progress,
            turn: NodeId(0),
            round: 0,
            lease: lease::Lease::default(),
            reads: reads::Reads::default(),
            since: now,
            commit_before_last_round: Index::ZERO,
            commit_at_last_round: Index::ZERO,
            hangs_since: common.disk.hangs.then_some(0),
            transfer: None,
            thrift: thrift::Thrift::default(),
            proposed: VecDeque::new(),
            uncommitted_bytes: 0,
            changing: None,
            retiring: false,
            reach: common.reach.version(),
        };
        leader.append(common, EntryKind::Noop, Bytes::new());
        let deadline = now + common.config.election_timeout;
        common.timers.set(Timer::Quorum, deadline);
        heartbeat::begin_round(&mut leader, common);
        leader
    }

    fn append(&mut self, common: &mut Common, kind: EntryKind, data: Bytes) -> LogId {
        let id = LogId { term: common.term(), index: common.log.last().next() };
        let entry = Entry { id, kind, data };
        self.uncommitted_bytes += entry.cost_bytes();
        self.proposed.push_back((id.index, entry.cost_bytes()));
        common.log.append(entry);
        thrift::on_append(self, common, id.index);
        id
    }

    pub(crate) fn propose(
        &mut self,
        common: &mut Common,
        kind: EntryKind,
        data: Bytes,
    ) -> Result<LogId, ProposeError> {
        if let Some(transfer) = &self.transfer {
            return Err(ProposeError::Transferring { to: transfer.to });
        }
        let limit_bytes = common.config.uncommitted_limit_bytes;
        let waiting_bytes = self.uncommitted_bytes;
        // A single proposal larger than the bound passes when nothing waits.
        if waiting_bytes > 0 && waiting_bytes + data.len() as u64 > limit_bytes {
            common.counters.overloaded += 1;
            return Err(ProposeError::Overloaded { waiting_bytes, limit_bytes });
        }
        Ok(self.append(common, kind, data))
    }

    pub(crate) fn read(&mut self, id: ReadId) -> Result<(), ReadError> {
        self.reads.add(id)
    }

    /// A follower wants to answer reads itself.
    pub(crate) fn on_read_index(&mut self, common: &mut Common, from: NodeId, id: u64) {
        if let Some(progress) = self.progress.get_mut(&from) {
            // It will answer when it has executed as much: let that be on its way.
            thrift::hurry(progress);
            self.reads.add_from(common, from, id);
        } else {
            common.counters.ignored_messages += 1;
        }
    }

    /// Whether it may answer reads without asking anybody, and for how long still.
    pub(crate) fn lease_left(&self, common: &Common, now: Time) -> Option<Duration> {
        let until = lease::until(self, common).filter(|_| common.log.commit() >= self.noop_index)?;
        Some(until.since(now)).filter(|left| !left.is_zero())
    }

    /// Until when a quorum is bound to it, by its own clock.
    #[cfg(feature = "trace")]
    pub(super) fn lease_until(&self, common: &Common) -> Option<Time> {
        lease::until(self, common)
    }

    /// The last heartbeat round that was begun.
    #[cfg(feature = "trace")]
    pub(super) const fn round(&self) -> u64 {
        self.round
    }

    /// To whom leadership is being handed over.
    #[cfg(feature = "trace")]
    pub(super) fn handing_over_to(&self) -> Option<NodeId> {
        self.transfer.as_ref().map(|transfer| transfer.to)
    }

    /// Other timeouts hold from now on.
    pub(crate) fn on_reconfigured(&self, common: &mut Common) {
        common.timers.set(Timer::Heartbeat, common.now);
        common.timers.set(Timer::Quorum, common.now + common.config.election_timeout);
    }

    /// Its disk has begun to hang.
    pub(crate) fn on_disk_hangs(&mut self) {
        hand_over::on_disk_hangs(self);
    }

    pub(crate) fn transfer(
        &mut self,
        common: &mut Common,
        to: Option<NodeId>,
    ) -> Result<NodeId, TransferError> {
        transfer::begin(self, common, to)
    }

    pub(crate) fn change_membership(
        &mut self,
        common: &mut Common,
        changes: &[Change],
        options: ChangeOptions,
    ) -> Result<ChangeId, ChangeError> {
        membership::begin(self, common, changes, options)
    }

    pub(crate) fn plan_membership(
        &self,
        common: &Common,
        changes: &[Change],
    ) -> Result<(Plan, Vec<Objection>), ChangeError> {
        membership::plan(self, common, changes)
    }

    pub(crate) fn on_append_reply(&mut self, common: &mut Common, from: NodeId, reply: AppendReply) {
        replicate::on_reply(self, common, from, reply);
    }

    pub(crate) fn on_heartbeat_reply(&mut self, common: &mut Common, from: NodeId, reply: HeartbeatReply) {
        heartbeat::on_reply(self, common, from, reply);
        hand_over::on_heartbeat_reply(self, common, from);
    }

    pub(crate) fn on_fetched(&mut self, peer: NodeId, id: FetchId, entries: Vec<Entry>) {
        replicate::on_fetched(self, peer, id, entries);
    }

    /// Whether these entries are still what this peer needs next.
    pub(crate) fn wants_fetch(&self, peer: NodeId, id: FetchId) -> bool {
        self.progress.get(&peer).is_some_and(|progress| progress.fetch == Some(id))
    }

    /// A connection came up or broke: what was under way may be lost.
    pub(crate) fn on_connection(&mut self, common: &mut Common, peer: NodeId, up: bool) {
        let now = common.now;
        let Some(progress) = self.progress.get_mut(&peer) else { return };
        if progress.state == PeerState::Snapshot {
            snapshot::on_connection(progress, now, up);
        } else {
            progress.probe_from(progress.match_index.next().max(Index(1)), now);
            if progress.match_index == Index::ZERO {
                progress.next_index = common.log.last().next();
            }
            // Without a connection nothing arrives: the next answer to a heartbeat opens the way again.
            progress.paused = !up;
        }
        if up {
            heartbeat::send(self, common, peer);
        } else {
            common.outbox.forget(peer);
        }
    }

    pub(crate) fn on_timeout(&mut self, common: &mut Common) -> Next {
        let now = common.now;
        if common.timers.fired(Timer::Transfer, now) {
            transfer::give_up(self, common);
        }
        if common.timers.fired(Timer::Change, now) {
            membership::give_up(self, common);
        }
        if common.timers.fired(Timer::Quorum, now) {
            let next = heartbeat::check_quorum(self, common);
            if !matches!(next, Next::Stay) {
                return next;
            }
        }
        // What waits is looked at after every input.
        common.timers.fired(Timer::Spare, now);
        if common.timers.fired(Timer::Heartbeat, now) {
            heartbeat::begin_round(self, common);
        }
        Next::Stay
    }

    /// What follows from whatever was just handled: commits, changes of the membership, reads, the hand-over.
    pub(crate) fn advance(&mut self, common: &mut Common) -> Next {
        if commit::advance(self, common) {
            thrift::on_commit(self, common);
        }
        let next = membership::advance(self, common);
        let applied = common.log.applied();
        while self.proposed.front().is_some_and(|(index, _)| *index <= applied) {
            if let Some((_, cost_bytes)) = self.proposed.pop_front() {
                self.uncommitted_bytes -= cost_bytes;
            }
        }
        reads::advance(self, common);
        hand_over::advance(self, common);
        transfer::advance(self, common);
        thrift::advance(self, common);
        next
    }

    /// Begins a round for waiting reads, if one is needed; then the next append. Reads that came until
    /// now share the round.
    pub(crate) fn poll_round(&mut self, common: &mut Common) {
        if reads::wants_round(self, common) {
            heartbeat::begin_round(self, common);
        }
    }

    /// Whether anybody may lack anything, or is still to be found out about.
    pub(crate) fn may_append(&self, common: &Common) -> bool {
        let last = common.log.last();
        let may = |peer: &Progress| {
            peer.state != PeerState::Replicate || (peer.next_index <= last && !thrift::waits(peer, common))
        };
        self.progress.values().any(may)
    }

    pub(crate) fn poll_append(&mut self, common: &mut Common) -> Option<Envelope> {
        snapshot::refresh_all(self, common);
        replicate::poll(self, common).or_else(|| snapshot::poll(self, common))
    }

    pub(crate) fn poll_read(&mut self, common: &mut Common) -> Option<ReadChunk> {
        snapshot::poll_read(self, common)
    }

    pub(crate) fn on_chunk(&mut self, common: &mut Common, id: FetchId, data: Bytes) {
        snapshot::on_read(self, common, id, data);
    }

    pub(crate) fn on_chunk_failed(&mut self, common: &mut Common, id: FetchId, why: Unreadable) {
        snapshot::on_unreadable(self, common, id, why);
    }

    pub(crate) fn on_snapshot_reply(&mut self, common: &mut Common, from: NodeId, reply: SnapshotReply) {
        snapshot::on_reply(self, common, from, reply);
    }

    /// Whether this peer is being sent a snapshot.
    pub(crate) fn sends_snapshot(&self, peer: NodeId) -> bool {
        self.progress.get(&peer).is_some_and(|progress| progress.sending.is_some())
    }

    /// What followers still need the entries after, where that is to be waited for; `floor` is as far as one that
    /// only lags is waited for.
    pub(crate) fn held(&self, common: &Common, floor: Index) -> Index {
        let held = self.progress.values().filter_map(|progress| snapshot::holds(progress, common, floor));
        held.min().unwrap_or_else(|| common.log.last())
    }

    /// No entry up to here will be sent to anybody again. Whose store was set back gets none at all.
    pub(crate) fn acknowledged_by_all(&self) -> Index {
        let fed = self.progress.values().filter(|progress| progress.rolled_back.is_none());
        fed.map(Progress::has_through).min().unwrap_or(Index(u64::MAX))
    }

    /// The journal is about to drop everything before `first`: nothing of it will be read for anybody.
    pub(crate) fn forget_purged(&mut self, first: Index) {
        for progress in self.progress.values_mut().filter(|progress| progress.next_index < first) {
            progress.forget_read();
        }
    }

    /// The journal failed: the best follower is told to take over at once.
    pub(crate) fn abdicate(&self, common: &mut Common) {
        // Rather one that has what was just committed.
        let upto = self.commit_before_last_round;
        let has_all = |progress: &Progress| !progress.spare && progress.match_index >= upto;
        let best = transfer::best(self, common, has_all);
        if let Some(best) = best.or_else(|| transfer::best(self, common, |_| true)) {
            common.send(best, Message::TimeoutNow(TimeoutNow { round: self.round }));
        }
    }

    /// Stops leading: reads are told, a hand-over is remembered until the new leader is known.
    pub(crate) fn end(mut self, common: &mut Common) {
        self.reads.fail(common);
        membership::end(self.changing.take(), common);
        if let Some(transfer) = self.transfer {
            common.handed_to = Some(transfer.to);
        }
        for timer in [Timer::Heartbeat, Timer::Quorum, Timer::Transfer, Timer::Spare] {
            common.timers.stop(timer);
        }
        common.forget_peer_fetches();
    }

    /// When a quorum, this node included, was last heard.
    pub(crate) fn quorum_contact(&self, common: &Common) -> Time {
        let contact = common.membership().quorum_value(|id| {
            if id == common.config.id {
                return common.now;
            }
            self.progress.get(&id).map_or(Time::ZERO, |progress| progress.contact)
        });
        contact.unwrap_or(common.now)
    }

    /// All but times and whose turn it is.
    #[cfg(feature = "trace")]
    pub(crate) fn hash_protocol<H: core::hash::Hasher>(&self, state: &mut H) {
        use core::hash::Hash;
        (self.noop_index, self.round, &self.reads, &self.transfer, &self.proposed).hash(state);
        // What was committed a round ago only ranks those who may take over.
        (self.lease.void(), self.hangs_since).hash(state);
        (&self.changing, self.retiring).hash(state);
        for (peer, progress) in self.progress.iter() {
            peer.hash(state);
            progress.hash_protocol(state);
        }
    }

    /// Whose entries wait, and what that rests on: nothing that answers of another term may change, but time may.
    #[cfg(feature = "trace")]
    pub(crate) fn hash_thrift<H: core::hash::Hasher>(&self, state: &mut H) {
        use core::hash::Hash;
        self.thrift.hash_protocol(state);
        self.progress.values().for_each(|progress| (progress.spare, progress.made).hash(state));
    }

    /// What its times come to at this moment.
    #[cfg(feature = "trace")]
    pub(crate) fn hash_clocks<H: core::hash::Hasher>(&self, common: &Common, now: Time, state: &mut H) {
        use core::hash::Hash;
        for progress in self.progress.values() {
            let recent = now.since(progress.contact) < common.config.election_timeout;
            recent.then_some(progress.contact).hash(state);
            now.max(progress.promised_until).hash(state);
        }
        self.lease.hash_clocks(common, now, state);
    }

    pub(crate) const fn uncommitted_bytes(&self) -> u64 {
        self.uncommitted_bytes
    }

    pub(crate) fn peers(&self, common: &Common, now: Time) -> Vec<PeerStatus> {
        self.progress
            .iter()
            .map(|(id, progress)| {
                let sending = progress.sending.as_ref().map(|sending| sending.transfer());
                PeerStatus {
                    id: *id,
                    state: progress.state,
                    match_index: progress.match_index,
                    next_index: progress.next_index,
                    in_flight_bytes: sending.map_or_else(|| progress.in_flight_bytes(), |(_, bytes)| bytes),
                    snapshot: sending.map(|(transfer, _)| transfer),
                    contact_age: progress.heard.then(|| now.since(progress.contact)),
                    slow: progress.slow,
                    priority: progress.priority,
                    spare: progress.spare && progress.state == PeerState::Replicate,
                    waiting_entries: thrift::waiting(progress, common),
                }
            })
            .collect()
    }

    /// Every follower matches at most what this log has.
    pub(crate) fn is_sound(&self, common: &Common) -> bool {
        let last = common.log.last();
        self.progress
            .values()
            .all(|progress| progress.match_index <= last && progress.match_index < progress.next_index)
    }
}

/// Reports how a hand-over ended, once it is known who leads.
pub(crate) fn transfer_ended(common: &mut Common) {
    let Some(to) = common.handed_to.take() else { return };
    let result = if common.leader == Some(to) {
        Ok(())
    } else {
        Err(TransferError::NotLeader { leader: common.leader_member() })
    };
    common.events.push_back(Event::TransferFinished { to, result });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::Role;
    use crate::raft::invariants::tests::{halts, leader};

    /// Of a follower that has as much, where the next append begins here: its own log ends with 2.
    #[test]
    fn a_leader_that_believes_what_cannot_be_halts() {
        for (matched, next, sound) in
            [(0, 1, true), (2, 3, true), (2, 2, false), (3, 4, false), (1, 1, false)]
        {
            let mut raft = leader();
            let Role::Leader(leader) = &mut raft.role else { panic!("it leads") };
            if let Some(progress) = leader.progress.get_mut(&NodeId(2)) {
                (progress.match_index, progress.next_index) = (Index(matched), Index(next));
            }
            assert_eq!(halts(raft), !sound, "{matched}, {next}");
        }
    }
}
