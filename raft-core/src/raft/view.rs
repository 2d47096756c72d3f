//! The protocol's state without its clocks: what a model checker compares.
//!
//! Two nodes that hash alike here behave alike, if time is treated as the model does: heartbeat rounds take
//! no time, and an election timeout is far longer than everything that happens before the next one.

use core::hash::{Hash, Hasher};

use super::timers::Timer;
use super::{Raft, Role};
use crate::ids::Index;
use crate::time::Time;

impl Raft {
    /// Hashes what the protocol's rules depend on: neither times nor the seed, nor counters and tickets,
    /// which only grow. Deadlines count by being set; the last contact by its being older than an election
    /// timeout or not. Events and fetches must have been pulled before,
    /// and all messages that can be.
    ///
    /// ```
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/raft/example.rs")); }
    /// # use example::*;
    /// # let now = Time::ZERO;
    /// use std::hash::{DefaultHasher, Hasher};
    ///
    /// let hash = |raft: &Raft| {
    ///     let mut state = DefaultHasher::new();
    ///     raft.hash_protocol(&mut state);
    ///     state.finish()
    /// };
    /// let mut raft = voter_of_three();
    /// let before = raft.clone();
    /// // A moment later nothing has changed but the time.
    /// raft.handle_timeout(now + Duration::from_millis(1));
    /// assert_ne!(raft, before);
    /// assert_eq!(hash(&raft), hash(&before));
    /// ```
    pub fn hash_protocol<H: Hasher>(&self, state: &mut H) {
        let common = &self.common;
        common.hard.hash(state);
        common.hard_is_durable().hash(state);
        common.hard_dirty.hash(state);
        let log = &common.log;
        (log.last_id(), log.terms.purged()).hash(state);
        log.commit().hash(state);
        log.applied().hash(state);
        log.writes.hash_protocol(state);
        for index in 1..=log.last().0 {
            log.term_of(Index(index)).hash(state);
        }
        log.tail.hash(state);
        log.snapshot().hash(state);
        common.compaction.hash_protocol(state);
        common.receive.hash_protocol(state);
        let timers = [Timer::Election, Timer::Heartbeat, Timer::Quorum, Timer::Transfer];
        for timer in timers.into_iter().chain([Timer::Change, Timer::Departure]) {
            common.timers.at(timer).is_some().hash(state);
        }
        common.leader.hash(state);
        (common.leader.is_some() && common.now.since(common.contact) < common.config.election_timeout)
            .hash(state);
        (common.leader_gone, &common.gone, common.embargo, common.failed, common.halted).hash(state);
        common.is_slow().hash(state);
        common.promise.hash_protocol(common.now, state);
        (common.now < common.may_hand_over_at).hash(state);
        (common.handed_to, common.applying, &common.outbox).hash(state);
        common.reach.hash_protocol(state);
        common.open_change.hash(state);
        log.memberships().hash(state);
        match &self.role {
            Role::Follower(follower) => {
                0.hash(state);
                follower.hash_protocol(state);
            }
            Role::Candidate(candidate) => (1, candidate).hash(state),
            Role::Leader(leader) => {
                2.hash(state);
                leader.hash_protocol(state);
                leader.hash_thrift(state);
            }
        }
    }

    /// Hashes the clocks that [`hash_protocol`](Self::hash_protocol) leaves out, as they are at this moment of the
    /// node's own: contacts, promises, and a leader's deadlines. For a model in which time is an input. The deadline
    /// of the next election is left out: such a model asks nodes to campaign when it likes.
    ///
    /// ```
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/raft/example.rs")); }
    /// # use example::*;
    /// # let now = Time::ZERO;
    /// use std::hash::{DefaultHasher, Hasher};
    ///
    /// let later = now + Duration::from_millis(1);
    /// let hash = |raft: &Raft| {
    ///     let mut state = DefaultHasher::new();
    ///     raft.hash_clocks(later, &mut state);
    ///     state.finish()
    /// };
    /// let mut raft = follower_of_two();
    /// let before = raft.clone();
    /// // It has heard its leader more lately.
    /// let beat = Message::Heartbeat(Heartbeat { commit: Index(1), round: 0 });
    /// raft.handle_message(later, says(2, 1, beat));
    /// assert_ne!(hash(&raft), hash(&before));
    /// ```
    pub fn hash_clocks<H: Hasher>(&self, now: Time, state: &mut H) {
        let common = &self.common;
        let recent = |at: Time| Some(at).filter(|at| now.since(*at) < common.config.election_timeout);
        recent(common.contact).hash(state);
        Some(common.promise.until()).filter(|until| now < *until).hash(state);
        if let Role::Leader(leader) = &self.role {
            for timer in [Timer::Heartbeat, Timer::Quorum, Timer::Transfer] {
                common.timers.at(timer).hash(state);
            }
            leader.hash_clocks(common, now, state);
        }
    }

    /// Hashes what a leader knows of its followers, without times; nothing if it does not lead.
    ///
    /// ```
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/raft/example.rs")); }
    /// # use example::*;
    /// # let now = Time::ZERO;
    /// use std::hash::{DefaultHasher, Hasher};
    ///
    /// let hash = |raft: &Raft| {
    ///     let mut state = DefaultHasher::new();
    ///     raft.hash_leadership(&mut state);
    ///     state.finish()
    /// };
    /// let mut raft = leader_of_three();
    /// let before = hash(&raft);
    /// acknowledge(&mut raft, 3, 2);
    /// assert_ne!(hash(&raft), before, "node 3 has the log now");
    /// assert_eq!(hash(&follower_of_two()), DefaultHasher::new().finish(), "it leads nobody");
    /// ```
    pub fn hash_leadership<H: Hasher>(&self, state: &mut H) {
        if let Role::Leader(leader) = &self.role {
            leader.hash_protocol(state);
        }
    }
}
