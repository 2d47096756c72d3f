//! The term of every index, without a disk: one pair per term (dissertation §A.2 keeps terms in memory
//! too, entry by entry; a log has few terms).

use alloc::vec::Vec;

use crate::ids::{Index, LogId, Term};

/// For each run of entries of one term its first index, over the whole log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TermRuns {
    /// The log begins after this.
    purged: LogId,
    /// First index and term, both strictly growing.
    runs: Vec<(Index, Term)>,
    /// The last index.
    last: Index,
}

impl TermRuns {
    pub(crate) const fn new(purged: LogId, runs: Vec<(Index, Term)>, last: Index) -> Self {
        Self { purged, runs, last }
    }

    /// The end of the log.
    pub(crate) fn last_id(&self) -> LogId {
        match self.runs.last() {
            Some((_, term)) => LogId { term: *term, index: self.last },
            None => self.purged,
        }
    }

    /// The index of that.
    pub(crate) const fn last(&self) -> Index {
        self.last
    }

    /// What the log begins after.
    pub(crate) const fn purged(&self) -> LogId {
        self.purged
    }

    /// The term of `index`; known for the purged id too. `None` outside the log.
    pub(crate) fn term_of(&self, index: Index) -> Option<Term> {
        if index == self.purged.index {
            return Some(self.purged.term);
        }
        if index < self.purged.index || index > self.last {
            return None;
        }
        let at = self.runs.partition_point(|(first, _)| *first <= index);
        at.checked_sub(1).and_then(|at| self.runs.get(at)).map(|(_, term)| *term)
    }

    /// Adds the next entry. The caller has checked that it follows.
    pub(crate) fn push(&mut self, id: LogId) {
        if self.runs.last().is_none_or(|(_, term)| *term != id.term) {
            self.runs.push((id.index, id.term));
        }
        self.last = id.index;
    }

    /// Forgets `index` and everything after it.
    pub(crate) fn truncate_from(&mut self, index: Index) {
        self.runs.retain(|(first, _)| *first < index);
        self.last = self.last.min(index.prev()).max(self.purged.index);
    }

    /// Forgets everything up to `upto`, which is in the log: the log begins after it.
    pub(crate) fn purge(&mut self, upto: LogId) {
        self.purged = upto;
        if self.last <= upto.index {
            self.runs.clear();
            self.last = upto.index;
            return;
        }
        let next = upto.index.next();
        let gone = self.runs.partition_point(|(first, _)| *first <= next).saturating_sub(1);
        self.runs.drain(..gone);
        if let Some((first, _)) = self.runs.first_mut() {
            *first = next;
        }
    }

    /// The greatest place in the log whose index is at most `index` and whose term is at most `term`:
    /// where two logs may agree at best (§5.3, skipping terms).
    pub(crate) fn at_most(&self, index: Index, term: Term) -> LogId {
        let mut end = index.min(self.last);
        for (first, of) in self.runs.iter().rev() {
            if *first > end {
                continue;
            }
            if *of <= term {
                return LogId { term: *of, index: end };
            }
            end = first.prev();
        }
        self.purged
    }

    /// Whether terms and indexes grow, as they must.
    pub(crate) fn is_sound(&self) -> bool {
        let mut before = (self.purged.index, None);
        for (first, term) in &self.runs {
            let grows = before.1.is_none_or(|of| *term > of) && *term >= self.purged.term;
            if *first <= before.0 || !grows {
                return false;
            }
            before = (*first, Some(*term));
        }
        match self.runs.first() {
            Some((first, _)) => *first == self.purged.index.next() && before.0 <= self.last,
            None => self.last == self.purged.index,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn runs() -> TermRuns {
        // 1.3 is purged; then 1.4 1.5 3.6 3.7 3.8 4.9
        TermRuns::new(
            LogId::new(1, 3),
            vec![(Index(4), Term(1)), (Index(6), Term(3)), (Index(9), Term(4))],
            Index(9),
        )
    }

    #[test]
    fn answers_the_term_of_any_index() {
        let runs = runs();
        let terms: Vec<_> = (2..=10).map(|i| runs.term_of(Index(i)).map(|t| t.0)).collect();
        assert_eq!(terms, [None, Some(1), Some(1), Some(1), Some(3), Some(3), Some(3), Some(4), None]);
        assert_eq!(runs.last_id(), LogId::new(4, 9));
        assert!(runs.is_sound());
    }

    #[test]
    fn truncation_forgets_whole_runs() {
        let mut runs = runs();
        runs.truncate_from(Index(6));
        assert_eq!(runs.last_id(), LogId::new(1, 5));
        runs.push(LogId::new(5, 6));
        runs.push(LogId::new(5, 7));
        assert_eq!(runs.last_id(), LogId::new(5, 7));
        assert!(runs.is_sound());
        runs.truncate_from(Index(1));
        assert_eq!(runs.last_id(), LogId::new(1, 3));
        assert!(runs.is_sound());
    }

    #[test]
    fn finds_where_logs_may_agree() {
        let runs = runs();
        for (index, term, expected) in [
            (9, 4, (4, 9)),
            (20, 9, (4, 9)),
            (9, 3, (3, 8)),
            (7, 3, (3, 7)),
            (9, 2, (1, 5)),
            (5, 9, (1, 5)),
            (9, 0, (1, 3)),
        ] {
            assert_eq!(runs.at_most(Index(index), Term(term)), LogId::new(expected.0, expected.1));
        }
    }

    #[test]
    fn purging_forgets_runs_from_the_front() {
        for (upto, first) in [((1, 4), 5), ((1, 5), 6), ((3, 6), 7), ((3, 8), 9)] {
            let mut purged = runs();
            purged.purge(LogId::new(upto.0, upto.1));
            assert!(purged.is_sound(), "{purged:?}");
            assert_eq!(purged.term_of(Index(upto.1)), Some(Term(upto.0)));
            assert_eq!(purged.term_of(Index(upto.1 - 1)), None);
            for index in first..=9 {
                assert_eq!(purged.term_of(Index(index)), runs().term_of(Index(index)));
            }
        }
        let mut all = runs();
        all.purge(LogId::new(4, 9));
        assert!(all.is_sound());
        assert_eq!(all.last_id(), LogId::new(4, 9));
        all.push(LogId::new(4, 10));
        assert!(all.is_sound());
    }

    #[test]
    fn unsound_runs_are_told() {
        assert!(!TermRuns::new(LogId::ZERO, vec![(Index(2), Term(1))], Index(2)).is_sound());
        assert!(!TermRuns::new(LogId::ZERO, vec![], Index(2)).is_sound());
        let backwards = vec![(Index(1), Term(2)), (Index(2), Term(1))];
        assert!(!TermRuns::new(LogId::ZERO, backwards, Index(2)).is_sound());
    }
}
