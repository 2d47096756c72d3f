//! Handing leadership over (dissertation §3.10).

use super::{Leader, Progress, lease};
use crate::error::TransferError;
use crate::ids::NodeId;
use crate::message::{Message, TimeoutNow};
use crate::raft::Event;
use crate::raft::common::Common;
use crate::raft::timers::Timer;

/// A hand-over under way: no proposals meanwhile.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Transfer {
    pub(super) to: NodeId,
    /// It has been told to campaign.
    pub(super) sent: bool,
}

/// Begins: the target first gets the whole log, then campaigns.
pub(super) fn begin(
    leader: &mut Leader,
    common: &mut Common,
    to: Option<NodeId>,
) -> Result<NodeId, TransferError> {
    if let Some(transfer) = &leader.transfer {
        return Err(TransferError::InProgress { to: transfer.to });
    }
    let to = match to {
        Some(to) if to == common.id() => {
            return Err(TransferError::BadTarget { to, what: "the leader already" });
        }
        Some(to) if !common.membership().is_voter(to) => {
            return Err(TransferError::BadTarget { to, what: "not a voter" });
        }
        Some(to) if !common.membership().voters.contains(&to) => {
            return Err(TransferError::BadTarget { to, what: "about to be no voter any more" });
        }
        Some(to) => to,
        None => best(leader, common, |_| true).ok_or(TransferError::NobodyReachable)?,
    };
    let progress = leader.progress.get(&to);
    if progress.is_some_and(|progress| progress.probation) {
        return Err(TransferError::BadTarget { to, what: "on probation" });
    }
    if !progress.is_some_and(|progress| is_able(progress, common)) {
        return Err(TransferError::NobodyReachable);
    }
    leader.transfer = Some(Transfer { to, sent: false });
    let deadline = common.now + common.config.election_timeout;
    common.timers.set(Timer::Transfer, deadline);
    advance(leader, common);
    Ok(to)
}

/// Whether a follower answers, or has not had the time to since this node began to lead, and may lead as
/// far as its disk is concerned.
pub(super) fn is_able(progress: &Progress, common: &Common) -> bool {
    progress.rolled_back.is_none()
        && !progress.probation
        && common.now.since(progress.contact) < common.config.election_timeout
}

/// Of the reachable voters that are suitable, the one with the most complete log; rather one that has answered this
/// leader, whose disk is prompt, that lags by no more than a heartbeat, and that is to be preferred.
pub(super) fn best(
    leader: &Leader,
    common: &Common,
    is_suitable: impl Fn(&Progress) -> bool,
) -> Option<NodeId> {
    let membership = common.membership();
    let reachable = leader.progress.iter().filter(|(id, progress)| {
        membership.voters.contains(id) && is_able(progress, common) && is_suitable(progress)
    });
    let preference = |(id, progress): &(&NodeId, &Progress)| {
        let has_all = progress.match_index >= leader.commit_before_last_round;
        let name = core::cmp::Reverse(**id);
        (progress.heard, !progress.slow, has_all, progress.priority, progress.match_index, name)
    };
    reachable.max_by_key(preference).map(|(id, _)| *id)
}

/// Tells the target to campaign once it has the whole log.
pub(super) fn advance(leader: &mut Leader, common: &mut Common) {
    let Some(transfer) = &mut leader.transfer else { return };
    let complete =
        leader.progress.get(&transfer.to).is_some_and(|progress| progress.match_index == common.log.last());
    if complete && !transfer.sent {
        transfer.sent = true;
        common.send(transfer.to, Message::TimeoutNow(TimeoutNow { round: leader.round }));
    }
}

/// The target did not take over in time: lead on.
pub(super) fn give_up(leader: &mut Leader, common: &mut Common) {
    if let Some(Transfer { to, .. }) = leader.transfer.take() {
        lease::give_up(leader);
        let result = Err(TransferError::TimedOut { to });
        common.events.push_back(Event::TransferFinished { to, result });
    }
}
