//! What a node has promised its leader: to grant nobody else a vote for a while, by its own clock (dissertation
//! §6.4.1; M5). Leases are made of nothing else.
//!
//! A promise outlives the term and the role it was made in. A node that comes up cannot know what it has promised
//! before: it acts as if it had promised everything to nobody, for the longest that it may have promised. That is on
//! disk before the first such promise leaves ([`HardState::promised`]), as its settings may be others by then.

use core::time::Duration;

use super::common::Common;
use crate::backend::HardState;
use crate::ids::{NodeId, Term};
use crate::time::Time;

/// See the [module](self).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Promise {
    /// Whom; nobody knows after a restart.
    to: Option<NodeId>,
    /// The leader's term.
    term: Term,
    /// The heartbeat round in which it was last renewed.
    round: u64,
    /// For so long.
    until: Time,
}

impl Promise {
    pub(crate) const fn none() -> Self {
        Self { to: None, term: Term::ZERO, round: 0, until: Time::ZERO }
    }

    /// Whatever was promised before this moment.
    pub(crate) fn forgotten(now: Time, span: Duration) -> Self {
        Self { until: now + span, ..Self::none() }
    }

    pub(crate) const fn until(&self) -> Time {
        self.until
    }

    /// Answers a heartbeat: the promise that its answer may carry.
    pub(crate) fn renew(common: &mut Common, leader: NodeId, round: u64) -> Duration {
        let span = common.config.promise();
        if !span.is_zero() {
            let (term, until) = (common.term(), common.promise.until.max(common.now + span));
            common.promise = Self { to: Some(leader), term, round, until };
            let promised = span.max(common.hard.promised);
            common.set_hard(HardState { promised, ..common.hard });
        }
        span
    }

    /// Whether it forbids a vote for `candidate` in `term`. A leader that tells a node to campaign gives up its
    /// lease at that moment: what it was promised in rounds that it had begun by then (`told`) binds no longer. What
    /// it was promised later does, should its word have been on its way for long.
    pub(crate) fn forbids(&self, now: Time, candidate: NodeId, term: Term, told: u64) -> bool {
        let released = self.to.is_some() && term == self.term.next() && told > 0 && self.round <= told;
        now < self.until && self.to != Some(candidate) && !released
    }

    /// All but how long it still lasts.
    #[cfg(feature = "trace")]
    pub(crate) fn hash_protocol<H: core::hash::Hasher>(&self, now: Time, state: &mut H) {
        use core::hash::Hash;
        (now < self.until).then_some((self.to, self.term, self.round)).hash(state);
    }
}
