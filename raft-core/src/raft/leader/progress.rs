//! What a leader knows of one follower, and how much it lets be under way to it.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::snapshot::Sending;
use crate::entry::Entry;
use crate::ids::{FetchId, Index};
use crate::status::PeerState;
use crate::time::Time;

/// How appends to one follower go.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Progress {
    pub(crate) state: PeerState,
    /// Known to be durable there and equal to this log.
    pub(crate) match_index: Index,
    /// The first index of the next append.
    pub(crate) next_index: Index,
    /// A probe is under way: wait for its answer, or for that to a heartbeat that was sent later.
    pub(crate) paused: bool,
    /// The heartbeat round that had last been begun when the probe was sent.
    probe_round: u64,
    /// The last index and the cost of the entries that went with the probe, if any.
    probe: Option<(Index, u64)>,
    /// Appends under way: last index and cost of each, oldest first.
    in_flight: VecDeque<(Index, u64)>,
    in_flight_bytes: u64,
    /// The greatest heartbeat round it has answered.
    pub(crate) acked_round: u64,
    /// The round that had last been sent when it last acknowledged something new.
    pub(crate) round_at_ack: u64,
    /// When it last answered anything.
    pub(crate) contact: Time,
    /// Whether it has answered at all in this term.
    pub(crate) heard: bool,
    /// When it last acknowledged something new, or was probed afresh.
    pub(crate) moved: Time,
    /// Entries for it are being read from the journal.
    pub(crate) fetch: Option<FetchId>,
    /// Entries for it that were read, from `next_index` on.
    pub(crate) fetched: Option<Vec<Entry>>,
    /// It said that it is on probation: it cannot take over.
    pub(crate) probation: bool,
    /// It said that its disk is slow (M11).
    pub(crate) slow: bool,
    /// How much it said that it wants to lead.
    pub(crate) priority: i8,
    /// Until when, by this node's clock, it is bound to vote for nobody else.
    pub(crate) promised_until: Time,
    /// The quorum can do without it for now: its entries may wait for each other.
    pub(crate) spare: bool,
    /// When everything there was had last been sent to it, and how many bytes had been appended to the log then.
    pub(super) caught_up: (Time, u64),
    /// Of the commits that are counted at present, those that it had acknowledged when they came about.
    pub(super) made: usize,
    /// It is a member no more, and is told everything only until it has learned of it.
    pub(crate) departing: bool,
    /// It became a member in the middle of this term, when this round had last been begun: until it has answered
    /// a later one, what comes in its name may be from another store that had this name before.
    added_in: Option<u64>,
    /// Its store was set back, from here: it gets nothing and counts for nothing.
    pub(crate) rolled_back: Option<Index>,
    /// The snapshot that it is being sent.
    pub(super) sending: Option<Box<Sending>>,
}

impl Progress {
    /// Nothing is known yet; the logs may agree just before `next`.
    pub(crate) const fn new(next: Index, now: Time) -> Self {
        Self {
            state: PeerState::Probe,
            match_index: Index::ZERO,
            next_index: next,
            paused: false,
            probe_round: 0,
            probe: None,
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
            acked_round: 0,
            round_at_ack: 0,
            contact: now,
            heard: false,
            moved: now,
            fetch: None,
            fetched: None,
            probation: false,
            slow: false,
            priority: 0,
            promised_until: Time::ZERO,
            spare: false,
            caught_up: (Time::ZERO, 0),
            made: 0,
            departing: false,
            added_in: None,
            rolled_back: None,
            sending: None,
        }
    }

    /// The same, for one that becomes a member while this node leads, after this round was begun.
    pub(crate) fn added(next: Index, round: u64, now: Time) -> Self {
        Self { added_in: Some(round), ..Self::new(next, now) }
    }

    /// Whether nothing that comes in its name can be trusted yet.
    pub(crate) const fn is_unproven(&self) -> bool {
        self.added_in.is_some()
    }

    /// It has answered this round. Whether that answer counts.
    pub(crate) fn proves(&mut self, round: u64) -> bool {
        if self.added_in.is_some_and(|added_in| round <= added_in) {
            return false;
        }
        self.added_in = None;
        true
    }

    /// All but times and fetches.
    #[cfg(feature = "trace")]
    pub(crate) fn hash_protocol<H: core::hash::Hasher>(&self, state: &mut H) {
        use core::hash::Hash;
        let mode = match self.state {
            PeerState::Probe => 0,
            PeerState::Replicate => 1,
            PeerState::Snapshot => 2,
        };
        (mode, self.match_index, self.next_index, self.paused, self.probe_round, self.probe).hash(state);
        (&self.in_flight, self.acked_round, self.round_at_ack, self.heard).hash(state);
        (self.probation, self.slow, self.priority, self.rolled_back).hash(state);
        (self.departing, self.added_in, self.sending.is_some()).hash(state);
        if let Some(sending) = &self.sending {
            sending.hash_protocol(state);
        }
    }

    /// Whether another append may be sent (§5.3; windows in messages and in bytes).
    pub(crate) fn has_room(&self, window_messages: usize, window_bytes: u64) -> bool {
        match self.state {
            PeerState::Probe => !self.paused,
            PeerState::Replicate => {
                self.in_flight.len() < window_messages && self.in_flight_bytes < window_bytes
            }
            PeerState::Snapshot => false,
        }
    }

    pub(crate) const fn in_flight_bytes(&self) -> u64 {
        self.in_flight_bytes
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// An append up to `last` is on its way.
    pub(crate) fn sent(&mut self, last: Index, cost_bytes: u64, round: u64, now: Time) {
        if self.state == PeerState::Probe {
            self.paused = true;
            self.probe_round = round;
            self.probe = (last >= self.next_index).then_some((last, cost_bytes));
            return;
        }
        if self.is_idle() {
            // Nothing was due until now.
            self.moved = now;
        }
        if last >= self.next_index {
            self.next_index = last.next();
            self.in_flight.push_back((last, cost_bytes));
            self.in_flight_bytes += cost_bytes;
        }
    }

    /// It has answered this heartbeat round. A probe that was sent before that round began is lost, or
    /// its answer is.
    pub(crate) const fn answered(&mut self, round: u64) {
        if round > self.probe_round {
            self.paused = false;
            self.probe = None;
        }
    }

    /// It has everything up to `matched`. Returns whether that is news.
    pub(crate) fn acked(&mut self, matched: Index, round: u64, now: Time) -> bool {
        let news = matched > self.match_index;
        if news {
            self.match_index = matched;
            self.moved = now;
            self.round_at_ack = round;
        }
        while let Some((last, cost_bytes)) = self.in_flight.front().copied() {
            if last > self.match_index {
                break;
            }
            self.in_flight.pop_front();
            self.in_flight_bytes -= cost_bytes;
        }
        match self.state {
            PeerState::Probe if matched >= self.next_index.prev() || news => {
                let probe = self.probe.take().filter(|(last, _)| *last > self.match_index);
                self.replicate_from(self.match_index.next());
                if let Some((last, cost_bytes)) = probe {
                    // What went with the probe is on its way still.
                    self.sent(last, cost_bytes, round, now);
                }
            }
            _ => {
                if self.next_index <= self.match_index {
                    self.restart_at(self.match_index.next());
                }
            }
        }
        news
    }

    /// Where the logs agree is known: let appends flow.
    fn replicate_from(&mut self, next: Index) {
        self.state = PeerState::Replicate;
        self.paused = false;
        self.in_flight.clear();
        self.in_flight_bytes = 0;
        self.restart_at(next);
    }

    /// What it needs is gone: it gets a snapshot.
    pub(super) fn send_snapshot(&mut self, sending: Box<Sending>) {
        self.state = PeerState::Snapshot;
        self.paused = false;
        self.probe = None;
        self.in_flight.clear();
        self.in_flight_bytes = 0;
        self.forget_read();
        self.sending = Some(sending);
    }

    /// No entry up to here will be sent to it again: it has them, or its snapshot does.
    pub(super) fn has_through(&self) -> Index {
        self.sending.as_ref().map_or(self.match_index, |sending| sending.upto.index.max(self.match_index))
    }

    /// Entries that were read for it, or are being read, are of no use.
    pub(super) fn forget_read(&mut self) {
        self.fetched = None;
        self.fetch = None;
    }

    fn restart_at(&mut self, next: Index) {
        if self.next_index != next {
            self.next_index = next;
            self.forget_read();
        }
    }

    /// What was under way may be lost: look again where the logs agree, one append at a time.
    pub(crate) fn probe_from(&mut self, next: Index, now: Time) {
        self.state = PeerState::Probe;
        self.sending = None;
        self.paused = false;
        self.probe = None;
        self.in_flight.clear();
        self.in_flight_bytes = 0;
        self.moved = now;
        self.restart_at(next.max(self.match_index.next()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_goes_alone_and_success_opens_the_window() {
        let mut progress = Progress::new(Index(8), Time::ZERO);
        assert!(progress.has_room(2, 100));
        progress.sent(Index(9), 10, 1, Time::ZERO);
        assert!(!progress.has_room(2, 100), "one probe at a time");
        assert!(progress.acked(Index(9), 1, Time::ZERO));
        assert_eq!((progress.state, progress.next_index), (PeerState::Replicate, Index(10)));
        progress.sent(Index(10), 10, 1, Time::ZERO);
        assert!(progress.has_room(2, 100));
        progress.sent(Index(11), 10, 1, Time::ZERO);
        assert!(!progress.has_room(2, 100), "the window counts messages");
        assert!(progress.acked(Index(10), 1, Time::ZERO));
        progress.sent(Index(12), 200, 1, Time::ZERO);
        assert!(!progress.has_room(9, 100), "and bytes");
    }

    /// etcd-raft#54, a370b6f, 85e68cf (features.md P31).
    #[test]
    fn p31_flow_control_counters_return_to_zero() {
        let mut progress = Progress::new(Index(1), Time::ZERO);
        progress.sent(Index(0), 0, 1, Time::ZERO);
        progress.acked(Index(0), 1, Time::ZERO);
        for round in 0..1000_u64 {
            progress.sent(Index(round + 1), 64, 1, Time::ZERO);
            match round % 3 {
                0 => progress.probe_from(Index(1), Time::ZERO),
                1 => {
                    progress.acked(Index(round + 1), 1, Time::ZERO);
                }
                _ => {}
            }
        }
        progress.acked(Index(1000), 1, Time::ZERO);
        assert!(progress.is_idle());
        assert_eq!(progress.in_flight_bytes(), 0);
        assert_eq!(progress.next_index, Index(1001));
        assert!(progress.has_room(1, 1));
    }

    #[test]
    fn an_old_acknowledgement_changes_nothing() {
        let mut progress = Progress::new(Index(5), Time::ZERO);
        assert!(progress.acked(Index(9), 1, Time::ZERO));
        assert!(!progress.acked(Index(9), 1, Time::ZERO));
        progress.sent(Index(12), 30, 1, Time::ZERO);
        assert!(!progress.acked(Index(7), 2, Time::ZERO));
        assert_eq!((progress.match_index, progress.next_index), (Index(9), Index(13)));
        assert_eq!(progress.in_flight_bytes(), 30);
    }

    #[test]
    fn an_old_acknowledgement_ends_no_probe() {
        let mut progress = Progress::new(Index(8), Time::ZERO);
        progress.sent(Index(9), 10, 1, Time::ZERO);
        assert!(!progress.acked(Index(0), 1, Time::ZERO));
        assert_eq!((progress.state, progress.next_index), (PeerState::Probe, Index(8)));
        assert!(!progress.has_room(2, 100), "its answer is still to come");
    }
}
