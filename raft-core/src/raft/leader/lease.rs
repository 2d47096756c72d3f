//! Leases: reads without a round (dissertation §6.4.1).
//!
//! A follower's answer to a heartbeat carries what it promises: to grant no vote for that long, by its own clock. The
//! leader counts from when it began the round, which was earlier, and trusts its own clock to lose no more against any
//! other than is declared. So while it counts a quorum's promises, nobody else can have been elected.

use alloc::collections::VecDeque;
use core::time::Duration;

use super::Leader;
use crate::raft::common::Common;
use crate::time::Time;

/// Rounds whose beginning is remembered. An answer to an older one makes no lease.
const ROUNDS: usize = 64;

/// What the leader knows of its rounds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Lease {
    begun: VecDeque<(u64, Time)>,
    /// Answers to rounds up to this one make no lease: leadership was about to be handed over.
    void: u64,
}

impl Lease {
    /// A round begins.
    pub(super) fn begin(&mut self, round: u64, now: Time) {
        if self.begun.len() == ROUNDS {
            self.begun.pop_front();
        }
        self.begun.push_back((round, now));
    }

    /// Until when, by the leader's clock, an answer to that round binds who gave it.
    pub(super) fn until(&self, common: &Common, round: u64, promise: Duration) -> Option<Time> {
        let lease = common.config.lease.filter(|_| round > self.void)?;
        let (_, begun) = self.begun.iter().find(|(number, _)| *number == round)?;
        Some(*begun + lease.shorten(promise))
    }

    /// Rounds whose answers may still bind somebody.
    #[cfg(feature = "trace")]
    pub(super) fn hash_clocks<H: core::hash::Hasher>(&self, common: &Common, now: Time, state: &mut H) {
        use core::hash::Hash;
        for (round, begun) in &self.begun {
            if now < *begun + common.config.promise() {
                (round, begun).hash(state);
            }
        }
    }

    #[cfg(feature = "trace")]
    pub(super) const fn void(&self) -> u64 {
        self.void
    }
}

/// The leader has told somebody to campaign, or was about to: nothing that was promised so far counts again.
pub(super) fn give_up(leader: &mut Leader) {
    leader.lease.void = leader.round;
    for progress in leader.progress.values_mut() {
        progress.promised_until = Time::ZERO;
    }
}

/// Until when a quorum is bound. `None` if there is no lease: it is not wanted, or leadership is being handed over.
pub(super) fn until(leader: &Leader, common: &Common) -> Option<Time> {
    if common.config.lease.is_none() || leader.transfer.is_some() {
        return None;
    }
    common.membership().quorum_value(|id| {
        if id == common.config.id {
            return Time::from_nanos(u64::MAX);
        }
        leader.progress.get(&id).map_or(Time::ZERO, |progress| progress.promised_until)
    })
}

/// Whether a read may be answered now without asking anybody.
pub(super) fn holds(leader: &Leader, common: &Common) -> bool {
    until(leader, common).is_some_and(|until| common.now < until)
}
