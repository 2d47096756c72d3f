//! Checked after every input, also in release: a node that finds its own state illegal stops rather than
//! go on.

use super::common::Common;
use super::{Raft, Role};
use crate::error::Violation;

/// The first invariant that does not hold.
pub(super) fn broken(raft: &Raft) -> Option<Violation> {
    let Raft { common, role, .. } = raft;
    let log = &common.log;
    let what = if log.commit() > log.last() {
        "the commit index is beyond the log"
    } else if log.applied() > log.commit() {
        "more is applied than is committed"
    } else if log.persisted() > log.last() {
        "more is durable than the log has"
    } else if log.purged().index > log.covered() {
        "more was purged than a snapshot covers"
    } else if log.applied() < log.purged().index && !common.receive.is_replacing() {
        "entries are gone that were never executed here"
    } else if log.tail.end() != log.last().next() {
        "the tail in memory does not end where the log ends"
    } else if log.last_id().term > common.term() {
        "the log is of a later term than the node"
    } else if !role_is_sound(role, common) {
        "the role does not fit the node's state"
    } else {
        return None;
    };
    Some(Violation::Local { what })
}

fn role_is_sound(role: &Role, common: &Common) -> bool {
    match role {
        Role::Follower(_) => common.leader != Some(common.id()),
        Role::Candidate(_) => common.leader.is_none(),
        Role::Leader(leader) => common.leader == Some(common.id()) && leader.is_sound(common),
    }
}
