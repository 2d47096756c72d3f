//! Consecutive entries that are handed to several at once: a journal, each follower, the state machine.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::hash::{Hash, Hasher};
use core::ops::Deref;

use crate::entry::Entry;

/// A list of entries that never changes. A clone shares it; one entry alone takes no memory of its own.
///
/// It is read as a slice, and made of a vector or an iterator.
///
/// ```
/// use raft_core::entries::Entries;
/// use raft_core::entry::{Entry, EntryKind};
/// use raft_core::ids::{Index, LogId};
///
/// let noop = |index| Entry { id: LogId::new(3, index), kind: EntryKind::Noop, data: "".into() };
/// let for_the_journal: Entries = (17..20).map(noop).collect();
/// let for_a_follower = for_the_journal.clone();
/// assert_eq!(for_a_follower.as_ptr(), for_the_journal.as_ptr());
/// assert_eq!(for_a_follower.last().map(|last| last.id.index), Some(Index(19)));
/// ```
#[derive(Clone, Default)]
pub struct Entries(List);

#[derive(Clone, Default)]
enum List {
    #[default]
    None,
    One(Entry),
    Many(Arc<Many>),
}

/// Two or more, with what they cost.
struct Many {
    entries: Vec<Entry>,
    cost_bytes: u64,
}

impl Entries {
    /// What these entries count for in every bound, in bytes. It is not counted anew each time.
    pub(crate) fn cost_bytes(&self) -> u64 {
        match &self.0 {
            List::None => 0,
            List::One(entry) => entry.cost_bytes(),
            List::Many(many) => many.cost_bytes,
        }
    }
}

impl Deref for Entries {
    type Target = [Entry];

    fn deref(&self) -> &[Entry] {
        match &self.0 {
            List::None => &[],
            List::One(entry) => core::slice::from_ref(entry),
            List::Many(many) => &many.entries,
        }
    }
}

impl FromIterator<Entry> for Entries {
    fn from_iter<T: IntoIterator<Item = Entry>>(entries: T) -> Self {
        let mut entries = entries.into_iter();
        let Some(first) = entries.next() else { return Self(List::None) };
        let Some(second) = entries.next() else { return Self(List::One(first)) };
        let mut all = Vec::with_capacity(entries.size_hint().0.saturating_add(2));
        all.extend([first, second]);
        all.extend(entries);
        all.into()
    }
}

impl From<Vec<Entry>> for Entries {
    fn from(entries: Vec<Entry>) -> Self {
        if entries.len() > 1 {
            let cost_bytes = entries.iter().map(Entry::cost_bytes).sum();
            return Self(List::Many(Arc::new(Many { entries, cost_bytes })));
        }
        entries.into_iter().next().map_or_else(Self::default, Self::from)
    }
}

impl From<Entry> for Entries {
    fn from(entry: Entry) -> Self {
        Self(List::One(entry))
    }
}

impl<const N: usize> From<[Entry; N]> for Entries {
    fn from(entries: [Entry; N]) -> Self {
        entries.into_iter().collect()
    }
}

impl IntoIterator for Entries {
    type Item = Entry;
    type IntoIter = IntoIter;

    fn into_iter(self) -> IntoIter {
        IntoIter { list: self, next: 0 }
    }
}

/// The entries of a list, which others may have too.
///
/// ```
/// use raft_core::entries::Entries;
/// use raft_core::entry::{Entry, EntryKind};
/// use raft_core::ids::LogId;
///
/// let noop = |index| Entry { id: LogId::new(3, index), kind: EntryKind::Noop, data: "".into() };
/// let entries = Entries::from([noop(17), noop(18)]);
/// let kept = entries.clone();
/// let mut taken = entries.into_iter();
/// assert_eq!(taken.next(), Some(noop(17)));
/// // What is taken here is still in the lists of others.
/// assert_eq!((taken.len(), kept.len()), (1, 2));
/// ```
#[derive(Clone, Debug)]
pub struct IntoIter {
    list: Entries,
    next: usize,
}

impl Iterator for IntoIter {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        let entry = self.list.get(self.next)?.clone();
        self.next += 1;
        Some(entry)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.list.len() - self.next;
        (left, Some(left))
    }
}

impl ExactSizeIterator for IntoIter {}

impl<'a> IntoIterator for &'a Entries {
    type Item = &'a Entry;
    type IntoIter = core::slice::Iter<'a, Entry>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Debug for Entries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl PartialEq for Entries {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Entries {}

impl PartialEq<Vec<Entry>> for Entries {
    fn eq(&self, other: &Vec<Entry>) -> bool {
        **self == **other
    }
}

impl Hash for Entries {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::EntryKind;
    use crate::ids::LogId;

    #[test]
    fn it_is_the_list_that_it_was_made_of() {
        let entry = |index| Entry {
            id: LogId::new(1, index),
            kind: EntryKind::Noop,
            data: alloc::vec![7; index as usize].into(),
        };
        for count in 0..4 {
            let all: Vec<Entry> = (1..=count).map(entry).collect();
            let (made, collected) = (Entries::from(all.clone()), (1..=count).map(entry).collect::<Entries>());
            assert_eq!((&made, &made), (&collected, &made.clone()));
            assert_eq!(made, all);
            assert_eq!(made.cost_bytes(), all.iter().map(Entry::cost_bytes).sum());
            assert_eq!(made.iter().chain(&collected).count(), 2 * count as usize);
            assert_eq!(made.clone().into_iter().len(), count as usize);
            assert_eq!(made.into_iter().collect::<Vec<_>>(), all);
        }
    }
}
