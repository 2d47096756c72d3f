//! What is on its way to the disk, and what is there.
//!
//! Writes are numbered and acknowledged in order. A truncation takes the overwritten indexes out of
//! every write under way, so that a late acknowledgement never counts for entries that have since been
//! replaced (the ABA race: etcd-raft `async_storage_writes_append_aba_race`).

use alloc::collections::VecDeque;

use crate::ids::{Index, WriteTicket};

/// One write under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct UnderWay {
    ticket: WriteTicket,
    /// What is durable once it returns, as far as it still counts.
    upto: Index,
    /// The first index not handed over before it, and the truncation that went with it: if it is taken back.
    next: Index,
    truncate: Option<Index>,
}

/// The order of the marks: persisted <= handed over <= last.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Writes {
    last_ticket: WriteTicket,
    under_way: VecDeque<UnderWay>,
    /// Durable here up to this index.
    persisted: Index,
    /// The first index not yet handed to the journal.
    next: Index,
    /// A truncation not yet handed over.
    truncate: Option<Index>,
}

impl Writes {
    /// Everything up to `last` is durable.
    pub(crate) const fn new(last: Index) -> Self {
        Self {
            last_ticket: WriteTicket(0),
            under_way: VecDeque::new(),
            persisted: last,
            next: last.next(),
            truncate: None,
        }
    }

    /// All but the tickets.
    #[cfg(feature = "trace")]
    pub(crate) fn hash_protocol<H: core::hash::Hasher>(&self, state: &mut H) {
        use core::hash::Hash;
        for write in &self.under_way {
            write.upto.hash(state);
        }
        (self.under_way.len(), self.persisted, self.next, self.truncate).hash(state);
    }

    pub(crate) const fn persisted(&self) -> Index {
        self.persisted
    }

    /// The first index not yet handed over.
    pub(crate) const fn next(&self) -> Index {
        self.next
    }

    /// Whether there is anything to hand over, where the log ends before `end`.
    pub(crate) fn is_due(&self, end: Index) -> bool {
        self.truncate.is_some() || self.next < end
    }

    /// The log forgets `index` and everything after it.
    pub(crate) fn truncate_from(&mut self, index: Index) {
        if index < self.next {
            self.next = index;
            self.truncate = Some(self.truncate.map_or(index, |at| at.min(index)));
        }
        self.persisted = self.persisted.min(index.prev());
        for write in &mut self.under_way {
            write.upto = write.upto.min(index.prev());
        }
    }

    /// Hands over everything before `end`: the ticket, and the truncation that goes first.
    pub(crate) fn hand_over(&mut self, end: Index) -> (WriteTicket, Option<Index>) {
        let (next, truncate) = (self.next, self.truncate.take());
        self.last_ticket = WriteTicket(self.last_ticket.0 + 1);
        self.next = self.next.max(end);
        let upto = self.next.prev();
        self.under_way.push_back(UnderWay { ticket: self.last_ticket, upto, next, truncate });
        (self.last_ticket, truncate)
    }

    /// Hands over nothing of the log: the write carries hard state only, and truncations wait.
    pub(crate) fn hand_over_nothing(&mut self) -> WriteTicket {
        self.last_ticket = WriteTicket(self.last_ticket.0 + 1);
        let (upto, next) = (self.next.prev(), self.next);
        self.under_way.push_back(UnderWay { ticket: self.last_ticket, upto, next, truncate: None });
        self.last_ticket
    }

    /// `ticket` and all after it have changed nothing in the log that is on disk: what they carried is to be handed
    /// over again. Whether that was anything.
    pub(crate) fn take_back(&mut self, ticket: WriteTicket) -> bool {
        let mut any = false;
        while let Some(write) = self.under_way.back().copied().filter(|write| write.ticket >= ticket) {
            self.under_way.pop_back();
            any |= write.truncate.is_some() || write.upto >= write.next;
            self.next = self.next.min(write.next);
            let cuts = [self.truncate, write.truncate];
            self.truncate = cuts.into_iter().flatten().min();
        }
        any
    }

    /// Whether no write is under way.
    pub(crate) fn is_idle(&self) -> bool {
        self.under_way.is_empty()
    }

    /// The log is empty and begins after `last`, and that is durable. What was under way counts for nothing;
    /// numbers go on.
    pub(crate) fn reset(&mut self, last: Index) {
        *self = Self { last_ticket: self.last_ticket, ..Self::new(last) };
    }

    /// `ticket` and all before it are durable. Unknown and repeated tickets change nothing.
    pub(crate) fn written(&mut self, ticket: WriteTicket) {
        while self.under_way.front().is_some_and(|write| write.ticket <= ticket) {
            if let Some(write) = self.under_way.pop_front() {
                self.persisted = self.persisted.max(write.upto);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durable_means_acknowledged_in_order() {
        let mut writes = Writes::new(Index(4));
        assert!(!writes.is_due(Index(5)));
        assert!(writes.is_due(Index(7)));
        let (first, none) = writes.hand_over(Index(7));
        assert_eq!(none, None);
        let (second, _) = writes.hand_over(Index(9));
        assert_eq!(writes.persisted(), Index(4));
        writes.written(first);
        assert_eq!(writes.persisted(), Index(6));
        writes.written(first);
        writes.written(WriteTicket(0));
        assert_eq!(writes.persisted(), Index(6));
        writes.written(second);
        assert_eq!(writes.persisted(), Index(8));
    }

    /// etcd-raft `async_storage_writes_append_aba_race`, openraft#1960 (features.md P25).
    #[test]
    fn p25_a_late_acknowledgement_never_counts_for_what_was_overwritten() {
        let mut writes = Writes::new(Index(4));
        let (old, _) = writes.hand_over(Index(9)); // 5..8 of term 2
        writes.truncate_from(Index(5));
        let (new, truncate) = writes.hand_over(Index(7)); // 5..6 of term 3
        assert_eq!(truncate, Some(Index(5)));
        writes.written(old);
        assert_eq!(writes.persisted(), Index(4), "nothing of term 2 counts any more");
        writes.written(new);
        assert_eq!(writes.persisted(), Index(6));
    }

    #[test]
    fn after_a_reset_no_earlier_write_counts() {
        let mut writes = Writes::new(Index(4));
        let (old, _) = writes.hand_over(Index(9));
        assert!(!writes.is_idle());
        writes.truncate_from(Index(3));
        writes.reset(Index(20));
        assert!(writes.is_idle() && !writes.is_due(Index(21)));
        writes.written(old);
        assert_eq!((writes.persisted(), writes.next()), (Index(20), Index(21)));
        let (new, truncate) = writes.hand_over(Index(23));
        assert_eq!(truncate, None);
        assert!(new > old);
        writes.written(new);
        assert_eq!(writes.persisted(), Index(22));
    }

    #[test]
    fn a_write_of_hard_state_alone_leaves_the_log_as_it_is() {
        let mut writes = Writes::new(Index(4));
        writes.truncate_from(Index(3));
        let ticket = writes.hand_over_nothing();
        writes.written(ticket);
        assert_eq!(writes.persisted(), Index(2));
        assert_eq!(writes.hand_over(Index(3)).1, Some(Index(3)), "the truncation still waits");
    }

    #[test]
    fn what_is_taken_back_is_handed_over_again() {
        let mut writes = Writes::new(Index(4));
        writes.truncate_from(Index(3));
        let (first, cut) = writes.hand_over(Index(6));
        assert_eq!(cut, Some(Index(3)));
        assert!(writes.take_back(first));
        assert!(writes.is_idle() && writes.is_due(Index(6)));
        assert_eq!((writes.persisted(), writes.next()), (Index(2), Index(3)));
        writes.written(first);
        assert_eq!(writes.persisted(), Index(2), "it counts for nothing");
        let (second, cut) = writes.hand_over(Index(6));
        assert_eq!(cut, Some(Index(3)), "and so is the truncation");
        // Cut while it was under way, then taken back: the lower of the two.
        writes.truncate_from(Index(5));
        assert!(writes.take_back(second));
        assert_eq!((writes.next(), writes.hand_over(Index(5)).1), (Index(3), Some(Index(3))));
        let alone = writes.hand_over_nothing();
        assert!(!writes.take_back(alone));
    }

    #[test]
    fn cutting_what_was_never_handed_over_needs_no_truncation() {
        let mut writes = Writes::new(Index(4));
        writes.truncate_from(Index(5));
        assert!(!writes.is_due(Index(5)));
        writes.truncate_from(Index(6));
        assert_eq!(writes.hand_over(Index(8)).1, None);
        writes.truncate_from(Index(7));
        writes.truncate_from(Index(3));
        assert_eq!(writes.persisted(), Index(2));
        assert_eq!(writes.hand_over(Index(3)).1, Some(Index(3)));
    }
}
