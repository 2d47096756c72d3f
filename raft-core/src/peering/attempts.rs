//! What the attempts to connect one lane of a peer have come to.

use core::time::Duration;
use std::io;

use super::Backoff;
use crate::backend::Refusal;

/// A peer that has refused this node is asked again after this, at the earliest.
const REFUSED_BACKOFF: Duration = Duration::from_secs(5);
/// Connections in a row that may end soon before the next attempt waits.
const SHORT_CONNECTIONS: u32 = 3;

/// The attempts to connect one lane: when the next one comes (T4), and which of them say that the process of the peer
/// is gone (T5).
///
/// Whoever dials says how each attempt has ended, and [waits](Self::wait) before the next.
#[derive(Clone, Debug)]
pub struct Attempts {
    backoff: Backoff,
    /// A connection that ends before this has ended soon.
    soon: Duration,
    /// Connections in a row that ended soon.
    short: u32,
    after_loss: bool,
}

impl Attempts {
    /// None so far. Waits are between these two, with jitter from `random`: see [`Backoff::new`].
    #[must_use]
    pub const fn new((least, most): (Duration, Duration), random: u64) -> Self {
        Self { backoff: Backoff::new(least, most, random), soon: most, short: 0, after_loss: false }
    }

    /// A connection has ended, so long after its handshake. Whether the next attempt comes at once.
    ///
    /// The first attempt after a loss does: refused, it says that the process is gone. A peer that takes connections
    /// only to close them has to wait for the next.
    #[must_use]
    pub fn ended(&mut self, lasted: Duration) -> bool {
        self.after_loss = true;
        if lasted >= self.soon {
            self.reset();
        } else {
            self.short = self.short.saturating_add(1);
        }
        self.short <= SHORT_CONNECTIONS
    }

    /// There was no connection. Whether that says that the process of the peer is gone: nobody listens.
    #[must_use]
    pub fn unconnected(&mut self, error: &io::Error) -> bool {
        self.after_loss = false;
        error.kind() == io::ErrorKind::ConnectionRefused
    }

    /// There was a connection, but no handshake. Whether that says that the process of the peer is gone: after a loss,
    /// a reset comes from a listener that died with it.
    #[must_use]
    pub fn ungreeted(&mut self, error: &io::Error) -> bool {
        let after_loss = core::mem::take(&mut self.after_loss);
        after_loss && error.kind() == io::ErrorKind::ConnectionReset
    }

    /// This node has refused the peer, or the peer this node.
    pub fn refused(&mut self, why: &Refusal) {
        self.after_loss = false;
        if *why != Refusal::NotReady {
            self.backoff.at_least(REFUSED_BACKOFF);
        }
    }

    /// Whoever is there has not proven to be the peer, or wants a proof that this node has not. It will not be better
    /// at once.
    pub fn unproven(&mut self) {
        self.after_loss = false;
        self.backoff.at_least(REFUSED_BACKOFF);
    }

    /// All begins anew: the peer has shown that it is there, or its address has changed.
    pub fn reset(&mut self) {
        self.short = 0;
        self.backoff.reset();
    }

    /// The wait before the next attempt.
    pub fn wait(&mut self) -> Duration {
        self.backoff.wait()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: Duration = Duration::from_millis(10);
    const MOST: Duration = Duration::from_secs(1);

    fn attempts() -> Attempts {
        Attempts::new((LEAST, MOST), 1)
    }

    #[test]
    fn the_first_attempt_after_a_loss_comes_at_once_but_not_for_ever() {
        let mut attempts = attempts();
        let short = MOST - Duration::from_nanos(1);
        for at in 0..10 {
            assert_eq!(attempts.ended(short), at < SHORT_CONNECTIONS, "loss {at}");
        }
        assert!(attempts.ended(MOST), "a good one");
        for at in 0..10 {
            assert_eq!(attempts.ended(Duration::ZERO), at < SHORT_CONNECTIONS, "loss {at}");
        }
        attempts.reset();
        assert!(attempts.ended(Duration::ZERO));
    }

    #[test]
    fn only_a_refused_connection_and_a_reset_after_a_loss_say_that_it_is_gone() {
        let error = |kind: io::ErrorKind| io::Error::from(kind);
        let (refused, reset) = (io::ErrorKind::ConnectionRefused, io::ErrorKind::ConnectionReset);
        let mut attempts = attempts();
        assert!(attempts.unconnected(&error(refused)));
        assert!(!attempts.unconnected(&error(reset)));
        assert!(!attempts.unconnected(&error(io::ErrorKind::TimedOut)));
        assert!(!attempts.ungreeted(&error(reset)), "nothing was lost before");
        let lost = |attempts: &mut Attempts| assert!(attempts.ended(MOST));
        lost(&mut attempts);
        assert!(!attempts.ungreeted(&error(refused)));
        assert!(!attempts.ungreeted(&error(reset)), "the one before was the first after the loss");
        lost(&mut attempts);
        assert!(attempts.ungreeted(&error(reset)));
        assert!(!attempts.ungreeted(&error(reset)));
        let between: [fn(&mut Attempts); 3] = [
            |attempts| assert!(attempts.unconnected(&io::ErrorKind::ConnectionRefused.into())),
            |attempts| attempts.refused(&Refusal::NotReady),
            Attempts::unproven,
        ];
        for other in between {
            lost(&mut attempts);
            other(&mut attempts);
            assert!(!attempts.ungreeted(&error(reset)), "something else came between");
        }
        lost(&mut attempts);
        attempts.reset();
        assert!(attempts.ungreeted(&error(reset)), "that it may dial at once has changed nothing");
    }

    #[test]
    fn who_is_refused_waits_longer_unless_the_other_is_only_not_ready() {
        let mut attempts = attempts();
        attempts.refused(&Refusal::NotReady);
        assert!(attempts.wait() < LEAST);
        attempts.reset();
        attempts.refused(&Refusal::WireVersion { ours: (1, 2), theirs: (3, 3) });
        assert!(attempts.wait() >= REFUSED_BACKOFF / 2);
        attempts.reset();
        assert!(attempts.wait() < LEAST);
        attempts.unproven();
        assert!(attempts.wait() >= REFUSED_BACKOFF / 2);
        assert!(attempts.ended(MOST));
        assert!(attempts.wait() < LEAST, "a good connection makes up for it");
    }
}
