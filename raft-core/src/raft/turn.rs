//! The only place where the role changes: roles return what should become of them as a `Next`. And what follows from
//! every input.

use alloc::boxed::Box;

use super::election::Candidate;
use super::follower::Follower;
use super::leader::Leader;
use super::timers::Timer;
use super::{Announced, Event, Next, Raft, Role, election, install, invariants, leader, members};
use crate::backend::{HardState, Vote};
use crate::ids::{NodeId, Term};
use crate::status::Why;

impl Raft {
    /// Changes the role until it rests. Mostly it is to stay.
    #[inline]
    pub(super) fn turn(&mut self, next: Next) {
        if !matches!(next, Next::Stay) {
            self.turn_away(next);
        }
    }

    #[cold]
    fn turn_away(&mut self, mut next: Next) {
        loop {
            next = match next {
                Next::Stay => return,
                Next::Follow { why } => {
                    self.follow(self.common.term(), None, why);
                    return;
                }
                Next::PreCampaign { transfer, why } => self.candidate(true, transfer, 0, why),
                Next::Campaign { transfer, told, why } => {
                    election::vote_for_self(&mut self.common);
                    self.candidate(false, transfer, told, why)
                }
                Next::Lead => {
                    self.lead();
                    return;
                }
            };
        }
    }

    /// Leaves the role there was.
    fn leave(&mut self) {
        let role = core::mem::replace(&mut self.role, Role::Follower(Follower::default()));
        match role {
            Role::Leader(leader) => {
                self.common.leader = None;
                leader.end(&mut self.common);
            }
            Role::Follower(follower) => follower.end(&mut self.common),
            Role::Candidate(_) => self.common.outbox.ask_no_more(),
        }
    }

    pub(super) fn follow(&mut self, term: Term, leader: Option<NodeId>, why: Why) {
        self.common.adopt_term(term);
        // A follower that only learns of a term goes on waiting: else a node that cannot win could keep
        // others from trying by raising the term.
        let waits_on = leader.is_none() && matches!(self.role, Role::Follower(_));
        self.leave();
        let common = &mut self.common;
        common.leader = leader;
        common.why = why;
        if leader.is_some() {
            if common.hard.vote == Vote::None {
                // Who knows the leader of a term will not help to elect another one in it.
                common.set_hard(HardState { vote: Vote::Blocked, ..common.hard });
            }
            leader::transfer_ended(common);
        }
        if !waits_on {
            common.arm_election();
        }
    }

    pub(super) fn candidate(&mut self, pre: bool, transfer: bool, told: u64, why: Why) -> Next {
        self.leave();
        let common = &mut self.common;
        common.leader = None;
        common.why = why;
        common.arm_candidate(pre);
        let candidate = Candidate::start(common, pre, transfer, told);
        let next = candidate.tally(common);
        self.role = Role::Candidate(candidate);
        next
    }

    fn lead(&mut self) {
        self.leave();
        let common = &mut self.common;
        common.timers.stop(Timer::Election);
        common.leader = Some(common.id());
        common.nobody_is_gone();
        common.why = Why::Elected;
        leader::transfer_ended(common);
        self.role = Role::Leader(Box::new(Leader::start(common)));
    }

    /// After every input: what follows from it, what has changed, and whether all is well.
    pub(super) fn advance(&mut self) {
        let common = &mut self.common;
        let next = match &mut self.role {
            Role::Leader(leader) => leader.advance(common),
            Role::Follower(follower) => {
                if follower.probation_ends(common) {
                    common.set_hard(HardState { probation: false, ..common.hard });
                }
                follower.advance(common);
                Next::Stay
            }
            Role::Candidate(_) => Next::Stay,
        };
        self.turn(next);
        let common = &mut self.common;
        members::follow(common);
        members::resolve(common);
        install::drop_needless(common);
        self.evict();
        self.announce();
        self.check();
    }

    /// Lets go of entries in memory that nobody is known to need, and of durable ones that are too many. It happens
    /// after every input, so most often it only compares two sizes.
    #[inline]
    fn evict(&mut self) {
        let common = &mut self.common;
        if common.log.tail.bytes() > common.config.tail_keep_bytes.min(common.config.tail_limit_bytes) {
            self.evict_needless();
        }
    }

    #[inline(never)]
    fn evict_needless(&mut self) {
        let Self { common, role, .. } = self;
        let (limit, keep) = (common.config.tail_limit_bytes, common.config.tail_keep_bytes);
        let log = &mut common.log;
        let (durable, done) = (log.persisted(), log.persisted().min(log.applied()));
        let needless = match role {
            Role::Leader(leader) => done.min(leader.acknowledged_by_all()),
            Role::Follower(_) | Role::Candidate(_) => done,
        };
        log.tail.evict(durable, limit);
        // A quarter more than has to go, so that not every input comes here.
        log.tail.evict(needless, keep - keep / 4);
    }

    /// Whether all is well.
    pub(super) fn check(&mut self) {
        if !self.common.halted
            && let Some(violation) = invariants::broken(self)
        {
            self.common.alarm(violation);
        }
    }

    fn announce(&mut self) {
        let role = self.role_kind();
        let common = &self.common;
        let removed = members::is_removed(common);
        let now = (role, common.term(), common.leader, common.reach.version(), removed);
        if now != self.announced {
            self.announce_changes(now);
        }
    }

    #[cold]
    fn announce_changes(&mut self, now: Announced) {
        let common = &mut self.common;
        let (role, removed) = (now.0, now.4);
        if now.3 != self.announced.3 {
            let (at, membership) = common.log.membership().cloned().unwrap_or_default();
            let (reach, left) = (members::reached(common), common.reach.take_left());
            common.events.push_back(Event::MembershipChanged { membership, at, reach, left });
        }
        if removed && !self.announced.4 {
            common.events.push_back(Event::Removed);
        }
        if (now.0, now.1, now.2) != (self.announced.0, self.announced.1, self.announced.2) {
            let (leader, why) = (common.leader_member(), common.why);
            common.events.push_back(Event::RoleChanged { role, term: now.1, leader, why });
        }
        self.announced = now;
    }
}
