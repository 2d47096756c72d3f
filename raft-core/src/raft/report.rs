//! What a node says of itself.

use super::{Raft, Role, disk, members};
use crate::config::Config;
use crate::ids::LogId;
use crate::status::{RoleKind, Scrub, Status};
use crate::time::Time;

impl Raft {
    /// The settings in force.
    ///
    /// ```
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/raft/example.rs")); }
    /// # use example::*;
    /// # let now = Time::ZERO;
    /// let mut raft = voter_of_three();
    /// let before = raft.config().clone();
    /// // Shorter than its heartbeats are apart: refused as a whole.
    /// let election_timeout = Some(Duration::from_millis(1));
    /// let hasty = Settings { priority: Some(-1), election_timeout, ..Settings::default() };
    /// assert!(raft.reconfigure(now, &hasty).is_err());
    /// assert_eq!(raft.config(), &before);
    /// ```
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.common.config
    }

    /// What this node knows of itself.
    ///
    /// ```
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/raft/example.rs")); }
    /// # use example::*;
    /// # let now = Time::ZERO;
    /// let status = leader_of_three().status(now);
    /// assert_eq!((status.role, status.commit_index), (RoleKind::Leader, Index(2)));
    /// // A leader knows how far the others are.
    /// let behind = status.peers.iter().filter(|peer| peer.match_index < status.commit_index);
    /// assert!(behind.map(|peer| peer.id).eq([NodeId(3)]));
    /// ```
    #[must_use]
    pub fn status(&self, now: Time) -> Status {
        let common = &self.common;
        let leader = match &self.role {
            Role::Leader(leader) => Some(leader),
            _ => None,
        };
        Status {
            id: common.id(),
            role: self.role_kind(),
            term: common.term(),
            vote: common.hard.vote,
            leader: common.leader_member(),
            why: common.why,
            last: common.log.last_id(),
            first_index: common.log.purged().index.next(),
            commit_index: common.log.commit(),
            applied_index: common.log.applied(),
            persisted_index: common.log.persisted(),
            membership: common.membership().clone(),
            membership_at: common.log.membership().map(|(at, _)| *at).unwrap_or_default(),
            membership_committed: common
                .log
                .membership()
                .is_none_or(|(at, _)| at.index <= common.log.commit()),
            removed: members::is_removed(common),
            embargo: common.embargo,
            probation: common.hard.probation,
            disk: disk::status(common),
            hand_over: common.hand_over,
            priority: common.config.priority,
            lease_left: leader.and_then(|leader| leader.lease_left(common, now)),
            alarm: common.alarm,
            quorum_contact_age: leader.map(|leader| now.since(leader.quorum_contact(common))),
            peers: leader.map(|leader| leader.peers(common, now)).unwrap_or_default(),
            tail_bytes: common.log.tail.bytes(),
            uncommitted_bytes: leader.map_or(0, |leader| leader.uncommitted_bytes()),
            snapshot: common.log.snapshot().cloned(),
            taking: common.compaction.taking,
            healing: common.compaction.healing,
            scrub: Scrub::default(),
            receiving: common.receive.transfer(),
            installing: common.receive.installing(),
            counters: common.counters,
        }
    }

    /// Whether it did not found the cluster, or was removed and added again: the last membership with this node says so,
    /// or its log has one without it before that. A log that knows no membership with it knows of no founding either.
    ///
    /// ```
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/raft/example.rs")); }
    /// # use example::*;
    /// # let now = Time::ZERO;
    /// assert!(!voter_of_three().was_added(), "entry 0.1 names it");
    /// let joining = Raft::new(config(), nothing(), now).unwrap();
    /// assert!(joining.was_added());
    /// ```
    #[must_use]
    pub fn was_added(&self) -> bool {
        let me = self.common.id();
        let memberships = self.common.log.memberships().iter().rev().map(|(_, membership)| membership);
        let mut from_mine = memberships.skip_while(|membership| !membership.is_member(me));
        from_mine.next().is_none_or(|last| {
            last.admitted(me) != LogId::ZERO || from_mine.any(|earlier| !earlier.is_member(me))
        })
    }

    /// The role now.
    ///
    /// ```
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/raft/example.rs")); }
    /// # use example::*;
    /// # let now = Time::ZERO;
    /// assert_eq!(follower_of_two().role_kind(), RoleKind::Follower);
    /// // No membership says yet that it belongs to anybody.
    /// let joining = Raft::new(config(), nothing(), now).unwrap();
    /// assert_eq!(joining.role_kind(), RoleKind::Limbo);
    /// ```
    #[must_use]
    pub fn role_kind(&self) -> RoleKind {
        match &self.role {
            Role::Leader(_) => RoleKind::Leader,
            Role::Candidate(candidate) if candidate.pre => RoleKind::PreCandidate,
            Role::Candidate(_) => RoleKind::Candidate,
            Role::Follower(_) if self.common.membership().is_empty() => RoleKind::Limbo,
            Role::Follower(_) => RoleKind::Follower,
        }
    }
}
