//! What an observer may know of a node's protocol at any moment: cheap, read-only, and no part of its
//! rules. Feature `trace`.

use super::{Raft, Role, RoleKind};
use crate::backend::HardState;
use crate::error::Violation;
use crate::ids::{Index, LogId, NodeId, Term};
use crate::time::Time;

/// The state of a [`Raft`] that the paper speaks of (Figure 2), and what this implementation adds.
///
/// ```
/// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/raft/example.rs")); }
/// # use example::*;
/// # let now = Time::ZERO;
/// // What a simulator may check after every step of every node.
/// for raft in [voter_of_three(), follower_of_two(), leader_of_three(), leader_that_sends()] {
///     let view = raft.view();
///     assert!(view.snapshot.index >= view.purged, "what is gone is covered");
///     assert!(view.commit <= view.last.index && view.applied <= view.commit.min(view.persisted));
///     assert!(view.alarm.is_none());
/// }
/// ```
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
    ///
    /// ```
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/raft/example.rs")); }
    /// # use example::*;
    /// # let now = Time::ZERO;
    /// let mut raft = voter_of_three();
    /// let ask = VoteRequest { pre: false, transfer: false, last: LogId::new(0, 1), told: 0 };
    /// raft.handle_message(now, says(2, 1, Message::Vote(ask)));
    /// let view = raft.view();
    /// assert_eq!((view.hard.term, view.hard.vote), (Term(1), Vote::For(NodeId(2))));
    /// assert!(!view.durable);
    /// persist(&mut raft);
    /// assert!(raft.view().durable);
    /// ```
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
    ///
    /// ```
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/raft/example.rs")); }
    /// # use example::*;
    /// # let now = Time::ZERO;
    /// let raft = leader_of_three();
    /// assert_eq!(raft.matched(NodeId(2)), Some(Index(2)));
    /// assert_eq!(raft.matched(NodeId(3)), Some(Index(0)), "it has said nothing");
    /// assert_eq!(follower_of_two().matched(NodeId(3)), None);
    /// ```
    #[must_use]
    pub fn matched(&self, member: NodeId) -> Option<Index> {
        match &self.role {
            Role::Leader(leader) => leader.matched(member),
            _ => None,
        }
    }

    /// The term of an entry of its log; `None` before the start and beyond the end.
    ///
    /// ```
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/raft/example.rs")); }
    /// # use example::*;
    /// # let now = Time::ZERO;
    /// let raft = leader_of_three();
    /// assert_eq!(raft.term_of(Index(1)), Some(Term(0)), "the founding membership");
    /// assert_eq!(raft.term_of(Index(2)), Some(Term(1)));
    /// assert_eq!(raft.term_of(Index(3)), None);
    /// ```
    #[must_use]
    pub fn term_of(&self, index: Index) -> Option<Term> {
        self.common.log.term_of(index)
    }
}
