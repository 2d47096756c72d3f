//! When a leader hands over of its own accord: its disk hangs (M11), or a node that is to be preferred has caught up.
//!
//! At most once in ten election timeouts, so that neither a disk that is slow everywhere nor a node that comes and
//! goes sends leadership round in circles. A node that has just been elected leads for as long before it gives way to a
//! preferred one.

use super::{Leader, Progress, transfer};
use crate::config::HAND_OVER_TIMEOUTS;
use crate::ids::NodeId;
use crate::raft::common::Common;
use crate::status::HandOver;

/// The disk hangs: who is to take over must have said since that its own does not.
pub(super) fn on_disk_hangs(leader: &mut Leader) {
    leader.hangs_since = Some(leader.round);
}

/// Hands over, if there is a reason and somebody to hand over to.
pub(super) fn advance(leader: &mut Leader, common: &mut Common) {
    if leader.transfer.is_some() || common.now < common.may_hand_over_at {
        return;
    }
    if common.disk.hangs {
        let since = leader.hangs_since.unwrap_or(leader.round);
        let prompt = |progress: &Progress| !progress.slow && progress.acked_round > since;
        let to = transfer::best(leader, common, prompt);
        begin(leader, common, to, HandOver::DiskHangs);
    }
}

/// A follower has answered: it may be one to give way to.
pub(super) fn on_heartbeat_reply(leader: &mut Leader, common: &mut Common, from: NodeId) {
    let Some(progress) = leader.progress.get(&from) else { return };
    let upto = leader.commit_before_last_round;
    // What it said in this term, and that it lags by no more than a heartbeat.
    let fit = |other: &Progress| other.acked_round > 0 && !other.slow && other.match_index >= upto;
    let preferred = progress.priority > common.config.priority
        && fit(progress)
        && transfer::is_able(progress, common)
        && common.membership().voters.contains(&from);
    let settled_in = common.now >= leader.since + patience(common) && common.now >= common.may_hand_over_at;
    if preferred && settled_in && leader.transfer.is_none() && common.log.commit() >= leader.noop_index {
        // Of several the one with the most of it.
        let priority = progress.priority;
        let to = transfer::best(leader, common, |other| other.priority >= priority && fit(other));
        begin(leader, common, to, HandOver::Priority);
    }
}

fn patience(common: &Common) -> core::time::Duration {
    common.config.election_timeout * HAND_OVER_TIMEOUTS
}

fn begin(leader: &mut Leader, common: &mut Common, to: Option<NodeId>, why: HandOver) {
    if to.is_some() && transfer::begin(leader, common, to).is_ok() {
        common.may_hand_over_at = common.now + patience(common);
        common.hand_over = Some(why);
    }
}
