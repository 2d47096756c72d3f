//! The commit rule (§5.3, §5.4.2).
//!
//! An entry is committed once a majority has it durably *and* it, or one after it, is of the leader's own
//! term. Counting alone is not enough for entries of older terms: a later leader may still overwrite them
//! (Figure 8). An own-term entry on a majority cannot be overwritten, since every later leader needs a
//! vote from that majority and so has it; and with it everything before it (Log Matching).

use super::Leader;
use crate::raft::common::Common;

/// Raises the commit index as far as the rule allows. The leader's own copy counts once it is durable.
pub(super) fn advance(leader: &Leader, common: &mut Common) -> bool {
    if common.log.commit() == common.log.last() {
        return false;
    }
    let own = common.log.persisted();
    let on_majority = common.membership().quorum_value(|id| {
        if id == common.config.id {
            return own;
        }
        leader.progress.get(&id).map_or(crate::ids::Index::ZERO, |progress| progress.match_index)
    });
    let Some(index) = on_majority else { return false };
    if index < leader.noop_index || common.log.term_of(index) != Some(common.term()) {
        return false;
    }
    common.log.commit_to(index)
}
