//! Where in the log how many bytes lie behind: a mark now and then, not one per entry.
//!
//! A journal tells no sizes when it is opened, so only what was appended since the node came up counts.

use alloc::collections::VecDeque;

use crate::ids::Index;

/// Marks: an entry, and how many bytes were appended up to and with it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Sizes {
    marks: VecDeque<(Index, u64)>,
    total_bytes: u64,
}

impl Sizes {
    /// An entry was appended. Marks are at least `grain_bytes` apart.
    pub(crate) fn push(&mut self, index: Index, cost_bytes: u64, grain_bytes: u64) {
        self.total_bytes += cost_bytes;
        let before = self.marks.back().map_or(0, |(_, bytes)| *bytes);
        if self.total_bytes - before >= grain_bytes {
            self.marks.push_back((index, self.total_bytes));
        }
    }

    pub(crate) const fn total_bytes(&self) -> u64 {
        self.total_bytes
    }

    /// `index` and everything after it is gone. What lay between the last mark and the cut counts no more.
    pub(crate) fn truncate_from(&mut self, index: Index) {
        while self.marks.back().is_some_and(|(at, _)| *at >= index) {
            self.marks.pop_back();
        }
        self.total_bytes = self.marks.back().map_or(0, |(_, bytes)| *bytes);
    }

    /// Everything up to `index` is gone.
    pub(crate) fn forget_through(&mut self, index: Index) {
        while self.marks.front().is_some_and(|(at, _)| *at <= index) {
            self.marks.pop_front();
        }
    }

    /// The earliest mark from which on to `upto` lie at most `bytes`, to within two marks: what is before it
    /// is more than that. `None` if as far as is known all of it is within the bound.
    pub(crate) fn within(&self, upto: Index, bytes: u64) -> Option<Index> {
        let end = self.marks.partition_point(|(at, _)| *at <= upto);
        let (_, at_end) = self.marks.get(end.checked_sub(1)?)?;
        let start = self.marks.partition_point(|(_, at)| at_end - at.min(at_end) > bytes);
        (start > 0).then(|| self.marks.get(start).map(|(at, _)| *at)).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Entries of 100 bytes from 11 on, with a mark at every fifth: 15, 20, 25, 30, ...
    fn sizes(count: u64) -> Sizes {
        let mut sizes = Sizes::default();
        (11..11 + count).for_each(|index| sizes.push(Index(index), 100, 500));
        sizes
    }

    #[test]
    fn tells_what_lies_within_a_bound() {
        let sizes = sizes(20);
        assert_eq!(sizes.within(Index(30), 1000), Some(Index(20)));
        assert_eq!(sizes.within(Index(29), 700), Some(Index(20)), "to within two marks");
        assert_eq!(sizes.within(Index(30), 0), Some(Index(30)));
        assert_eq!(sizes.within(Index(30), 10_000), None, "as far as is known, all of it");
        assert_eq!(sizes.within(Index(12), 0), None, "before the first mark");
    }

    #[test]
    fn follows_the_log() {
        let mut sizes = sizes(20);
        sizes.truncate_from(Index(22));
        assert_eq!(sizes.within(Index(30), 0), Some(Index(20)));
        (22..32).for_each(|index| sizes.push(Index(index), 100, 500));
        assert_eq!(sizes.within(Index(31), 500), Some(Index(26)));
        sizes.forget_through(Index(25));
        assert_eq!(sizes.within(Index(31), 0), Some(Index(31)));
        assert_eq!(sizes.marks.front().map(|(at, _)| *at), Some(Index(26)));
        sizes.truncate_from(Index(1));
        assert_eq!(sizes, Sizes::default());
    }
}
