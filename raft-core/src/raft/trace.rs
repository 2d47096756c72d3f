//! What an observer may know of a node's protocol at any moment: cheap, read-only, and no part of its
//! rules. Feature `trace`.

use super::{Raft, Role, RoleKind};
use crate::backend::HardState;
use crate::error::Violation;
use crate::ids::{Index, LogId, NodeId, Term};
use crate::time::Time;

/// The state of a [`Raft`] that the paper speaks of (Figure 2), and what this implementation adds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct View {
    /// The role.
    pub role: RoleKind,
    /// Term, vote and probation as they are in memory; see `durable`.
    pub hard: HardState,
    /// Whether `hard` is on disk as it is.
    pub durable: bool,
    /// The leader of this term, if known.
    pub leader: Option<NodeId>,
    /// The log begins after this.
    pub purged: Index,
    /// The end of the log.
    pub last: LogId,
    /// The entry of the membership in force, committed or not.
    pub membership: LogId,
    /// The commit index.
    pub commit: Index,
    /// What the state machine has executed.
    pub applied: Index,
    /// The end of the durable log.
    pub persisted: Index,
    /// What the newest durable snapshot covers; zero if there is none.
    pub snapshot: LogId,
    /// The last entry of a snapshot that the state machine has yet to install.
    pub installing: Option<LogId>,
    /// Whether it stands still after a veto (M6).
    pub embargo: bool,
    /// The last alarm.
    pub alarm: Option<Violation>,
    /// The last heartbeat round that a leader has begun; 0 if it does not lead.
    pub round: u64,
    /// Until when, by its own clock, a leader counts a quorum as bound to it (dissertation §6.4.1).
    pub lease_until: Option<Time>,
    /// On a leader: to whom it is handing over.
    pub handing_over_to: Option<NodeId>,
    /// Whether a write to its journal has been under way for longer than its patience (M11).
    pub disk_hangs: bool,
}

impl Raft {
    /// What an observer may know.
    #[must_use]
    pub fn view(&self) -> View {
        let common = &self.common;
        View {
            role: self.role_kind(),
            hard: common.hard,
            durable: common.hard_is_durable(),
            leader: common.leader,
            purged: common.log.purged().index,
            last: common.log.last_id(),
            membership: common.log.membership().map_or(LogId::ZERO, |(id, _)| *id),
            commit: common.log.commit(),
            applied: common.log.applied(),
            persisted: common.log.persisted(),
            snapshot: common.log.snapshot().map_or(LogId::ZERO, |snapshot| snapshot.upto),
            installing: common.receive.installing(),
            embargo: common.embargo,
            alarm: common.alarm,
            round: match &self.role {
                Role::Leader(leader) => leader.round(),
                _ => 0,
            },
            lease_until: match &self.role {
                Role::Leader(leader) => leader.lease_until(common),
                _ => None,
            },
            handing_over_to: match &self.role {
                Role::Leader(leader) => leader.handing_over_to(),
                _ => None,
            },
            disk_hangs: common.disk.hangs,
        }
    }

    /// Through where a leader believes that a member's durable log is its own; `None` if it does not lead or
    /// does not know the member.
    #[must_use]
    pub fn matched(&self, member: NodeId) -> Option<Index> {
        match &self.role {
            Role::Leader(leader) => leader.matched(member),
            _ => None,
        }
    }

    /// The term of an entry of its log; `None` before the start and beyond the end.
    #[must_use]
    pub fn term_of(&self, index: Index) -> Option<Term> {
        self.common.log.term_of(index)
    }
}
