//! Heartbeat rounds, and a leader's right to lead (check-quorum, dissertation §6.2).

use alloc::vec::Vec;

use super::{Leader, reads, snapshot};
use crate::ids::{Index, NodeId};
use crate::message::{Heartbeat, HeartbeatReply, Message, Notice};
use crate::raft::common::Common;
use crate::raft::timers::Timer;
use crate::raft::{Event, Next};
use crate::status::{PeerState, Why};

/// Begins a round: every peer hears from the leader, and reads that wait join it.
pub(super) fn begin_round(leader: &mut Leader, common: &mut Common) {
    leader.round += 1;
    leader.lease.begin(leader.round, common.now);
    // What was committed when the last round began: who lacks some of it lags by more than a heartbeat.
    (leader.commit_before_last_round, leader.commit_at_last_round) =
        (leader.commit_at_last_round, common.log.commit());
    reads::join_round(leader, common);
    let peers: Vec<NodeId> = leader.progress.keys().copied().collect();
    for peer in peers {
        send(leader, common, peer);
        if common.reach.has_left(peer) {
            let since = common.log.committed_membership().map_or(Index::ZERO, |(at, _)| at.index);
            common.send(peer, Message::Notice(Notice::Removed { since }));
        }
    }
    let at = common.now + common.config.heartbeat_interval;
    common.timers.set(Timer::Heartbeat, at);
}

/// Tells one peer that this node leads, and how far it may commit.
pub(super) fn send(leader: &Leader, common: &mut Common, peer: NodeId) {
    let Some(progress) = leader.progress.get(&peer) else { return };
    let commit = common.log.commit().min(progress.match_index);
    common.send(peer, Message::Heartbeat(Heartbeat { commit, round: leader.round }));
}

/// A peer answered.
pub(super) fn on_reply(leader: &mut Leader, common: &mut Common, from: NodeId, reply: HeartbeatReply) {
    let (now, round, patience) = (common.now, leader.round, common.config.election_timeout);
    let Some(progress) = leader.progress.get_mut(&from) else { return };
    if reply.round > round || reply.round == 0 || !progress.proves(reply.round) {
        common.counters.ignored_messages += 1;
        return;
    }
    if let Some(acknowledged) = progress.rolled_back {
        // The notice may have been lost.
        common.send(from, Message::Notice(Notice::RolledBack { acknowledged }));
        return;
    }
    // The answer was given after the last acknowledgement: what was durable there must still be.
    let current = reply.round > progress.round_at_ack;
    let lost = current && reply.last < progress.match_index;
    let acknowledged = progress.match_index;
    // Damage may also have brought back what was cut long ago: of a log on probation only what was compared
    // since it came up is known to match.
    let doubtful = current && reply.probation && reply.matched < progress.match_index;
    if doubtful {
        progress.match_index = reply.matched;
    } else if lost {
        progress.match_index = reply.last;
    }
    if lost && !reply.probation {
        progress.rolled_back = Some(acknowledged);
        common.send(from, Message::Notice(Notice::RolledBack { acknowledged }));
        common.events.push_back(Event::PeerRolledBack { peer: from, acknowledged });
        return;
    }
    progress.contact = now;
    progress.heard = true;
    progress.probation = reply.probation;
    (progress.slow, progress.priority) = (reply.slow, reply.priority);
    if let Some(until) = leader.lease.until(common, reply.round, reply.promise) {
        progress.promised_until = progress.promised_until.max(until);
    }
    progress.acked_round = progress.acked_round.max(reply.round);
    progress.answered(reply.round);
    if lost || doubtful {
        let end = reply.last.min(common.log.last());
        progress.probe_from(end.next(), now);
        return;
    }
    if reply.matched > progress.match_index && reply.matched <= common.log.last() {
        progress.acked(reply.matched, round, now);
    }
    if progress.state == PeerState::Snapshot {
        snapshot::on_sign_of_life(progress, common);
        return;
    }
    // It answers, but what is under way does not arrive; or it has forgotten that the logs were compared
    // (it restarted, or stood for election in vain) and will commit nothing before they are again.
    let stuck = !progress.is_idle() && now.since(progress.moved) >= patience;
    let forgot = current && reply.matched < progress.match_index;
    let forgot = progress.is_idle() && forgot;
    if stuck || (forgot && progress.state == PeerState::Replicate) {
        let next = progress.match_index.next();
        progress.probe_from(next, now);
    }
}

/// Steps down if no quorum has answered for an election timeout (M8); else looks again when the oldest
/// answer that is needed for a quorum will be that old.
pub(super) fn check_quorum(leader: &Leader, common: &mut Common) -> Next {
    let quorum_contact = leader.quorum_contact(common);
    let deadline = quorum_contact + common.config.election_timeout;
    if deadline <= common.now {
        return Next::Follow { why: Why::QuorumLost };
    }
    common.timers.set(Timer::Quorum, deadline);
    Next::Stay
}
