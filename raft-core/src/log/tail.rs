//! Recent entries in memory, bounded in bytes.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::hash::{Hash, Hasher};

use crate::entries::Entries;
use crate::entry::Entry;
use crate::ids::Index;

/// The end of the log: consecutive entries up to the last one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Tail {
    /// The index of the first entry here, or that of the next entry if there is none.
    first: Index,
    entries: VecDeque<Entry>,
    bytes: u64,
    lent: Lent,
}

/// What was handed out last, and before that: the journal, each follower and the state machine mostly ask for the same, the
/// last one a little later. It is equal to any other, since nothing depends on it.
#[derive(Clone, Debug, Default)]
struct Lent([Entries; 2]);

impl Lent {
    fn find(&self, from: Index, count: usize) -> Option<&Entries> {
        let is_same =
            |lent: &&Entries| lent.len() == count && lent.first().is_some_and(|entry| entry.id.index == from);
        self.0.iter().find(is_same)
    }

    fn add(&mut self, entries: Entries) {
        self.0.swap(0, 1);
        self.0[0] = entries;
    }
}

impl PartialEq for Lent {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Lent {}

impl Hash for Lent {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

impl Tail {
    /// Nothing in memory; the next entry will be at `next`.
    pub(crate) fn new(next: Index) -> Self {
        Self { first: next, entries: VecDeque::new(), bytes: 0, lent: Lent::default() }
    }

    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The first index that is in memory (or the next one).
    pub(crate) const fn first(&self) -> Index {
        self.first
    }

    /// The index after the last.
    pub(crate) fn end(&self) -> Index {
        Index(self.first.0 + self.entries.len() as u64)
    }

    pub(crate) fn push(&mut self, entry: Entry) {
        self.bytes += entry.cost_bytes();
        self.entries.push_back(entry);
    }

    /// Forgets `index` and everything after it.
    pub(crate) fn truncate_from(&mut self, index: Index) {
        if index < self.first {
            *self = Self::new(index);
            return;
        }
        if self.end() > index {
            self.lent = Lent::default();
        }
        while self.end() > index {
            if let Some(entry) = self.entries.pop_back() {
                self.bytes -= entry.cost_bytes();
            }
        }
    }

    /// These are the last ones here.
    pub(crate) fn remember(&mut self, last: Entries) {
        self.lent.add(last);
    }

    /// Forgets everything up to `index`.
    pub(crate) fn forget_through(&mut self, index: Index) {
        self.lent = Lent::default();
        while self.first <= index {
            let Some(entry) = self.entries.pop_front() else {
                self.first = index.next();
                return;
            };
            self.bytes -= entry.cost_bytes();
            self.first = self.first.next();
        }
    }

    /// Entries from `from` to before `end`, as many as fit in `max_bytes`, at least one if there is one.
    /// `None` if `from` has left memory.
    pub(crate) fn slice(&mut self, from: Index, end: Index, max_bytes: u64) -> Option<Entries> {
        let skip = usize::try_from(from.0.checked_sub(self.first.0)?).ok()?;
        let count = usize::try_from(end.min(self.end()).0.saturating_sub(from.0)).ok()?;
        if count == 1 {
            // Needs no list of its own, and always fits.
            return self.entries.get(skip).cloned().map(Entries::from);
        }
        if let Some(lent) = self.lent.find(from, count).filter(|lent| lent.cost_bytes() <= max_bytes) {
            return Some(lent.clone());
        }
        let mut bytes = 0;
        let mut fits = 0;
        for entry in self.entries.iter().skip(skip).take(count) {
            bytes += entry.cost_bytes();
            if fits > 0 && bytes > max_bytes {
                break;
            }
            fits += 1;
        }
        if let Some(lent) = self.lent.find(from, fits) {
            return Some(lent.clone());
        }
        let made: Vec<Entry> = self.entries.iter().skip(skip).take(fits).cloned().collect();
        let made = Entries::from(made);
        if fits > 1 {
            self.lent.add(made.clone());
        }
        Some(made)
    }

    /// Drops the oldest entries up to `upto` while more than `limit_bytes` are here.
    pub(crate) fn evict(&mut self, upto: Index, limit_bytes: u64) {
        while self.bytes > limit_bytes && self.first <= upto {
            let Some(entry) = self.entries.pop_front() else { return };
            self.bytes -= entry.cost_bytes();
            self.first = self.first.next();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::entry::EntryKind;
    use crate::ids::LogId;
    use bytes::Bytes;

    fn tail(first: u64, last: u64) -> Tail {
        let mut tail = Tail::new(Index(first));
        for index in first..=last {
            let data = Bytes::from_static(&[0; 36]);
            tail.push(Entry { id: LogId::new(1, index), kind: EntryKind::Commands, data });
        }
        tail
    }

    fn indexes(slice: Option<Entries>) -> Option<Vec<u64>> {
        slice.map(|entries| entries.iter().map(|e| e.id.index.0).collect())
    }

    #[test]
    fn slices_by_index_and_by_bytes() {
        let mut tail = tail(5, 9);
        assert_eq!(indexes(tail.slice(Index(4), Index(9), 1000)), None);
        assert_eq!(indexes(tail.slice(Index(5), Index(8), 1000)), Some(alloc::vec![5, 6, 7]));
        assert_eq!(indexes(tail.slice(Index(6), Index(99), 200)), Some(alloc::vec![6, 7]));
        assert_eq!(indexes(tail.slice(Index(6), Index(99), 1)), Some(alloc::vec![6]), "at least one");
        assert_eq!(indexes(tail.slice(Index(10), Index(99), 1)), Some(alloc::vec![]));
    }

    #[test]
    fn what_was_handed_out_is_handed_out_again_while_it_is_still_so() {
        let mut tail = tail(5, 9);
        let mut slice = |from, end| tail.slice(Index(from), Index(end), 1000).unwrap();
        let first = slice(6, 9);
        assert!(core::ptr::eq(&*first, &*slice(6, 9)));
        assert_eq!(indexes(Some(slice(6, 10))), Some(alloc::vec![6, 7, 8, 9]));
        assert_eq!(indexes(Some(slice(7, 10))), Some(alloc::vec![7, 8, 9]));
        let last = slice(7, 10);
        assert_eq!((slice(8, 9).len(), slice(9, 10).len()), (1, 1));
        assert!(core::ptr::eq(&*last, &*slice(7, 10)), "one alone is not worth it");
        tail.truncate_from(Index(10));
        assert!(core::ptr::eq(&*last, &*tail.slice(Index(7), Index(10), 1000).unwrap()), "nothing was cut");
        tail.truncate_from(Index(8));
        let data = Bytes::from_static(&[1; 36]);
        let other = |index| Entry { id: LogId::new(2, index), kind: EntryKind::Noop, data: data.clone() };
        tail.push(other(8));
        tail.push(other(9));
        assert_eq!(tail.slice(Index(7), Index(10), 1000).unwrap()[1], other(8));
        tail.truncate_from(Index(9));
        tail.push(other(9));
        tail.remember([other(9)].into());
        assert_eq!(*tail.slice(Index(9), Index(10), 1000).unwrap(), [other(9)]);
    }

    #[test]
    fn truncates_and_counts() {
        let mut tail = tail(5, 9);
        assert_eq!(tail.bytes(), 500);
        tail.truncate_from(Index(8));
        assert_eq!((tail.end(), tail.bytes()), (Index(8), 300));
        tail.truncate_from(Index(3));
        assert_eq!((tail.first(), tail.end(), tail.bytes()), (Index(3), Index(3), 0));
    }

    #[test]
    fn forgets_from_the_front() {
        let mut tail = tail(5, 9);
        tail.forget_through(Index(4));
        assert_eq!((tail.first(), tail.bytes()), (Index(5), 500));
        tail.forget_through(Index(7));
        assert_eq!((tail.first(), tail.end(), tail.bytes()), (Index(8), Index(10), 200));
        tail.forget_through(Index(9));
        assert_eq!((tail.first(), tail.end(), tail.bytes()), (Index(10), Index(10), 0));
    }

    #[test]
    fn evicts_only_what_it_may() {
        let mut tail = tail(1, 9);
        tail.evict(Index(3), 0);
        assert_eq!((tail.first(), tail.bytes()), (Index(4), 600));
        tail.evict(Index(9), 250);
        assert_eq!((tail.first(), tail.bytes()), (Index(8), 200));
        tail.evict(Index(9), 200);
        assert_eq!(tail.first(), Index(8), "what fits stays");
    }
}
