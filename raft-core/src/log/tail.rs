//! Recent entries in memory, bounded in bytes.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::hash::{Hash, Hasher};

use crate::entries::Entries;
use crate::entry::Entry;
use crate::ids::Index;

/// The end of the log: consecutive entries up to the last one.
#[derive(Clone, Debug)]
pub(crate) struct Tail {
    /// The index of the first entry here, or that of the next entry if there is none.
    first: Index,
    /// The index after the last.
    end: Index,
    /// The entries in the lists in which they came: alone if proposed here, as many as an append had.
    lists: VecDeque<Entries>,
    /// So many of the first list are forgotten; it is let go of as a whole.
    forgotten: usize,
    bytes: u64,
    lent: Lent,
}

impl PartialEq for Tail {
    fn eq(&self, other: &Self) -> bool {
        (self.first, self.end) == (other.first, other.end) && self.iter().eq(other.iter())
    }
}

impl Eq for Tail {}

impl Hash for Tail {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.first, self.end).hash(state);
        self.iter().for_each(|entry| entry.hash(state));
    }
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
        Self { first: next, end: next, lists: VecDeque::new(), forgotten: 0, bytes: 0, lent: Lent::default() }
    }

    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The first index that is in memory (or the next one).
    pub(crate) const fn first(&self) -> Index {
        self.first
    }

    /// The index after the last.
    pub(crate) const fn end(&self) -> Index {
        self.end
    }

    pub(crate) fn push(&mut self, entry: Entry) {
        self.bytes += entry.cost_bytes();
        self.end = self.end.next();
        self.lists.push_back(entry.into());
    }

    /// Takes a whole list, which stays shared with whoever has it.
    pub(crate) fn push_all(&mut self, entries: Entries) {
        match entries.len() {
            0 => return,
            1 => {}
            _ => self.lent.add(entries.clone()),
        }
        self.bytes += entries.cost_bytes();
        self.end = Index(self.end.0 + entries.len() as u64);
        self.lists.push_back(entries);
    }

    /// Which list has this entry. Mostly it is one of the last, or each entry is in a list of its own.
    fn find(&self, index: Index) -> Option<usize> {
        let has_begun = |list: &Entries| list.first().is_some_and(|entry| entry.id.index <= index);
        // Every list has at least one of the entries between.
        let before = usize::try_from(index.0.checked_sub(self.first.0)?).ok()?;
        let at_most = before.min(self.lists.len().checked_sub(1)?);
        if self.lists.get(at_most).is_some_and(has_begun) {
            return Some(at_most);
        }
        self.lists.partition_point(has_begun).checked_sub(1)
    }

    /// The entries from `index` on.
    fn starting_at(&self, index: Index) -> impl Iterator<Item = &Entry> {
        let at = self.find(index).unwrap_or(self.lists.len());
        let all = self.lists.range(at..).flat_map(|list| list.iter());
        all.skip_while(move |entry| entry.id.index < index)
    }

    fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.starting_at(self.first)
    }

    /// Forgets `index` and everything after it.
    pub(crate) fn truncate_from(&mut self, index: Index) {
        if index < self.first {
            *self = Self::new(index);
            return;
        }
        if self.end > index {
            self.lent = Lent::default();
        }
        while self.end > index {
            let Some(list) = self.lists.pop_back() else { return };
            let begins = Index(self.end.0 - list.len() as u64);
            self.end = begins.max(self.first);
            if self.lists.is_empty() {
                self.forgotten = 0;
            }
            let here = list.iter().filter(|entry| entry.id.index >= self.end);
            self.bytes -= here.map(Entry::cost_bytes).sum::<u64>();
            // What of it comes before the cut stays.
            let stays = self.end..index;
            list.into_iter()
                .filter(|entry| stays.contains(&entry.id.index))
                .for_each(|entry| self.push(entry));
        }
    }

    /// Forgets the first list as a whole, if all of it is here, may go, and is not more than has to go. Whether it was.
    fn forget_list(&mut self, upto: Index, limit_bytes: u64) -> bool {
        let Some(list) = self.lists.front().filter(|_| self.forgotten == 0) else { return false };
        let (next, cost_bytes) = (Index(self.first.0 + list.len() as u64), list.cost_bytes());
        if next.prev() > upto || self.bytes < limit_bytes.saturating_add(cost_bytes) {
            return false;
        }
        self.bytes -= cost_bytes;
        self.first = next;
        self.lists.pop_front();
        true
    }

    /// Forgets the first entry. Whether there was one.
    fn forget_first(&mut self) -> bool {
        let Some(list) = self.lists.front() else { return false };
        self.bytes -= list.get(self.forgotten).map_or(0, Entry::cost_bytes);
        self.first = self.first.next();
        self.forgotten += 1;
        if self.forgotten >= list.len() {
            self.forgotten = 0;
            self.lists.pop_front();
        }
        true
    }

    /// Forgets everything up to `index`.
    pub(crate) fn forget_through(&mut self, index: Index) {
        self.lent = Lent::default();
        while self.first <= index {
            if !self.forget_first() {
                (self.first, self.end) = (index.next(), index.next());
            }
        }
    }

    /// Entries from `from` to before `end`, as many as fit in `max_bytes`, at least one if there is one.
    /// `None` if `from` has left memory.
    pub(crate) fn slice(&mut self, from: Index, end: Index, max_bytes: u64) -> Option<Entries> {
        if from < self.first {
            return None;
        }
        let count = usize::try_from(end.min(self.end).0.saturating_sub(from.0)).ok()?;
        if count == 1 {
            // Needs no list of its own, and always fits.
            let list = self.lists.get(self.find(from)?)?;
            return match &**list {
                [_] => Some(list.clone()),
                several => several.iter().find(|entry| entry.id.index == from).cloned().map(Entries::from),
            };
        }
        if let Some(lent) = self.lent.find(from, count).filter(|lent| lent.cost_bytes() <= max_bytes) {
            return Some(lent.clone());
        }
        let mut bytes = 0;
        let mut fits = 0;
        for entry in self.starting_at(from).take(count) {
            bytes += entry.cost_bytes();
            if fits > 0 && bytes > max_bytes {
                break;
            }
            fits += 1;
        }
        if let Some(lent) = self.lent.find(from, fits) {
            return Some(lent.clone());
        }
        let mut made = Vec::with_capacity(fits);
        made.extend(self.starting_at(from).take(fits).cloned());
        let made = Entries::from(made);
        if fits > 1 {
            self.lent.add(made.clone());
        }
        Some(made)
    }

    /// Drops the oldest entries up to `upto` while more than `limit_bytes` are here.
    pub(crate) fn evict(&mut self, upto: Index, limit_bytes: u64) {
        while self.bytes > limit_bytes
            && self.first <= upto
            && (self.forget_list(upto, limit_bytes) || self.forget_first())
        {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::entry::EntryKind;
    use crate::ids::LogId;
    use bytes::Bytes;
    use proptest::prelude::*;

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
        assert_eq!(*tail.slice(Index(9), Index(10), 1000).unwrap(), [other(9)]);
    }

    /// The same without lists: entries one by one.
    struct Plain {
        first: u64,
        entries: Vec<Entry>,
    }

    impl Plain {
        fn bytes(&self) -> u64 {
            self.entries.iter().map(Entry::cost_bytes).sum()
        }

        fn slice(&self, from: u64, end: u64, max_bytes: u64) -> Option<Vec<Entry>> {
            let skip = from.checked_sub(self.first)?;
            let asked = self.entries.iter().skip(skip as usize).take(end.saturating_sub(from) as usize);
            let mut bytes = 0;
            let fits = asked.enumerate().take_while(|(at, entry)| {
                bytes += entry.cost_bytes();
                *at == 0 || bytes <= max_bytes
            });
            Some(fits.map(|(_, entry)| entry.clone()).collect())
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Push(usize),
        Truncate(u64),
        Forget(u64),
        Evict(u64, u64),
        Slice(u64, u64, u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        // Places are counted back from the end; what is before the beginning may be asked for too.
        prop_oneof![
            4 => (0_usize..6).prop_map(Step::Push),
            1 => (0_u64..12).prop_map(Step::Truncate),
            1 => (0_u64..12).prop_map(Step::Forget),
            1 => (0_u64..12, 0_u64..900).prop_map(|(upto, limit)| Step::Evict(upto, limit)),
            4 => (0_u64..20, 0_u64..20, 0_u64..900).prop_map(|(from, end, max)| Step::Slice(from, end, max)),
        ]
    }

    proptest! {
        #[test]
        fn prop_it_is_as_if_every_entry_was_alone(steps in prop::collection::vec(step(), 1..60)) {
            let (mut tail, mut plain) = (Tail::new(Index(30)), Plain { first: 30, entries: Vec::new() });
            for (term, step) in (1..).zip(steps) {
                let end = plain.first + plain.entries.len() as u64;
                match step {
                    Step::Push(count) => {
                        let entry = |index| Entry {
                            id: LogId::new(term, index),
                            kind: EntryKind::Commands,
                            data: alloc::vec![7; (index % 5 * 20) as usize].into(),
                        };
                        let list: Vec<Entry> = (end..end + count as u64).map(entry).collect();
                        plain.entries.extend(list.iter().cloned());
                        match <[Entry; 1]>::try_from(list) {
                            Ok([alone]) => tail.push(alone),
                            Err(list) => tail.push_all(list.into()),
                        }
                    }
                    Step::Truncate(back) => {
                        let at = end.saturating_sub(back);
                        tail.truncate_from(Index(at));
                        plain.entries.truncate(at.saturating_sub(plain.first) as usize);
                        plain.first = plain.first.min(at);
                    }
                    Step::Forget(back) => {
                        let upto = (end + 2).saturating_sub(back);
                        tail.forget_through(Index(upto));
                        plain.entries.drain(..((upto + 1).saturating_sub(plain.first).min(plain.entries.len() as u64)) as usize);
                        plain.first = plain.first.max(upto + 1);
                    }
                    Step::Evict(back, limit) => {
                        let upto = end.saturating_sub(back);
                        tail.evict(Index(upto), limit);
                        while plain.bytes() > limit && plain.first <= upto {
                            plain.entries.remove(0);
                            plain.first += 1;
                        }
                    }
                    Step::Slice(from, to, max) => {
                        let (from, to) = (end.saturating_sub(from), (end + 2).saturating_sub(to));
                        let slice = tail.slice(Index(from), Index(to), max);
                        prop_assert_eq!(slice.map(|list| list.to_vec()), plain.slice(from, to, max));
                    }
                }
                let end = plain.first + plain.entries.len() as u64;
                prop_assert_eq!((tail.first(), tail.end(), tail.bytes()), (Index(plain.first), Index(end), plain.bytes()));
                prop_assert!(tail.iter().eq(&plain.entries));
                let mut alone = Tail::new(Index(plain.first));
                plain.entries.iter().for_each(|entry| alone.push(entry.clone()));
                prop_assert_eq!(&tail, &alone);
            }
        }
    }

    #[test]
    fn what_came_as_a_list_stays_shared_with_whoever_sent_it() {
        let mut tail = tail(5, 6);
        let sent: Entries = (7..10)
            .map(|index| Entry { id: LogId::new(1, index), kind: EntryKind::Noop, data: Bytes::new() })
            .collect();
        tail.push_all(sent.clone());
        assert!(core::ptr::eq(&*sent, &*tail.slice(Index(7), Index(10), 1000).unwrap()));
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
