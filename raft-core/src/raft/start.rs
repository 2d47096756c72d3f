//! How what is on a node's disks fits together when it comes up: journal, snapshot and state machine were written
//! one after the other, and a crash may have come in between.

use crate::backend::{JournalState, SnapshotMeta};
use crate::error::ConfigError;
use crate::ids::{Index, LogId, Term};

/// What must be done, in this order, before [`Raft::new`](super::Raft::new).
///
/// ```
/// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/raft/example.rs")); }
/// # use example::*;
/// # let now = Time::ZERO;
/// use raft_core::raft::{StartPlan, plan_start};
///
/// // A crash came when a snapshot of the leader's was durable, and nothing else was done.
/// let plan = plan_start(&nothing().journal, Some(&snapshot()), LogId::ZERO).unwrap();
/// assert_eq!(plan, StartPlan { reset: Some(snapshot().upto), install: true });
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct StartPlan {
    /// Reset the journal to this: the crash came after the snapshot was durable and before the journal followed.
    pub reset: Option<LogId>,
    /// Let the state machine install the snapshot: what it lacks is no longer in the log.
    pub install: bool,
}

/// What a start needs to do, by what the journal has, the newest snapshot, and what the state machine says that it
/// has executed (P42).
///
/// # Errors
/// [`ConfigError`]: they contradict each other, or state is missing. Nothing may be changed then.
///
/// # Example
/// ```
/// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/raft/example.rs")); }
/// # use example::*;
/// # let now = Time::ZERO;
/// use raft_core::raft::{StartPlan, plan_start};
///
/// let journal = founded(&[1, 2, 3]).journal;
/// assert_eq!(plan_start(&journal, None, LogId::new(0, 1)), Ok(StartPlan::default()), "they fit");
/// // A state machine that is ahead of the journal: one of them belongs to another node, or was set back.
/// let refused = plan_start(&journal, None, LogId::new(1, 9));
/// assert!(matches!(refused, Err(ConfigError::AheadOfJournal { .. })));
/// ```
pub fn plan_start(
    journal: &JournalState,
    snapshot: Option<&SnapshotMeta>,
    applied: LogId,
) -> Result<StartPlan, ConfigError> {
    let Some(covered) = snapshot.map(|snapshot| snapshot.upto) else {
        let purged = journal.purged;
        if purged.index > Index::ZERO {
            return Err(ConfigError::NoSnapshot { purged, snapshot: None });
        }
        return ends(applied, journal.last).map(|()| StartPlan::default());
    };
    if journal.purged.index > covered.index {
        return Err(ConfigError::NoSnapshot { purged: journal.purged, snapshot: Some(covered) });
    }
    let there = term_of(journal, covered.index);
    let follows = there == Some(covered.term);
    // What the journal has purged is committed, and so is what it was told to be.
    let committed = journal.purged.index.max(journal.commit_hint);
    if let Some(term) = there.filter(|_| !follows && covered.index <= committed) {
        let journal = LogId { term, index: covered.index };
        return Err(ConfigError::SnapshotContradicts { snapshot: covered, journal });
    }
    let (reset, purged, last) =
        if follows { (None, journal.purged, journal.last) } else { (Some(covered), covered, covered) };
    ends(applied, last)?;
    if applied.index == covered.index && applied != covered {
        return Err(ConfigError::AppliedContradicts { applied, committed: covered });
    }
    // One that kept nothing begins with the snapshot; so does one in a log that is not whole any more: it may need
    // entries which are gone, and the node needs them to know its sessions.
    let behind = applied.index < covered.index;
    let install = behind && (purged.index > Index::ZERO || applied == LogId::ZERO);
    Ok(StartPlan { reset, install })
}

fn ends(applied: LogId, last: LogId) -> Result<(), ConfigError> {
    if applied.index > last.index {
        return Err(ConfigError::AheadOfJournal { applied, last });
    }
    Ok(())
}

fn term_of(journal: &JournalState, index: Index) -> Option<Term> {
    if index == journal.purged.index {
        return Some(journal.purged.term);
    }
    if index < journal.purged.index || index > journal.last.index {
        return None;
    }
    journal.terms.iter().rev().find(|(first, _)| *first <= index).map(|(_, term)| *term)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{SnapshotContent, SnapshotId};
    use crate::ids::{ClusterId, GroupId, Identity, Incarnation, NodeId, StoreId};
    use crate::membership::Membership;

    fn id(term: u64, index: u64) -> LogId {
        LogId::new(term, index)
    }

    /// Entries after `purged`: of term 1 up to 10, then of term 2, up to `last`.
    fn journal(purged: LogId, last: u64) -> JournalState {
        let mut journal = JournalState::empty(Identity {
            cluster: ClusterId(1),
            group: GroupId(0),
            node: NodeId(1),
            store: StoreId(1),
            incarnation: Incarnation::default(),
        });
        journal.purged = purged;
        journal.last = purged;
        for index in purged.index.0 + 1..=last {
            let term = if index > 10 { 2 } else { 1 };
            if journal.terms.last().is_none_or(|(_, of)| *of != Term(term)) {
                journal.terms.push((Index(index), Term(term)));
            }
            journal.last = id(term, index);
        }
        journal
    }

    fn snapshot(upto: LogId) -> SnapshotMeta {
        SnapshotMeta::new(SnapshotId(1), upto, Membership::default(), SnapshotContent::default())
    }

    fn plan(journal: &JournalState, upto: LogId, applied: LogId) -> Result<StartPlan, ConfigError> {
        plan_start(journal, Some(&snapshot(upto)), applied)
    }

    #[test]
    fn what_fits_needs_nothing_or_an_install() {
        let (whole, cut) = (journal(LogId::ZERO, 20), journal(id(1, 8), 20));
        let nothing = StartPlan::default();
        let install = StartPlan { reset: None, install: true };
        assert_eq!(plan_start(&whole, None, LogId::ZERO), Ok(nothing));
        assert_eq!(plan_start(&whole, None, id(2, 20)), Ok(nothing));
        assert_eq!(plan(&cut, id(2, 12), LogId::ZERO), Ok(install), "in memory");
        assert_eq!(plan(&whole, id(2, 12), LogId::ZERO), Ok(install), "shorter than to execute everything");
        for applied in [id(1, 7), id(1, 8), id(1, 9)] {
            assert_eq!(plan(&cut, id(2, 12), applied), Ok(install), "the log is not whole any more");
            assert_eq!(plan(&whole, id(2, 12), applied), Ok(nothing), "it is");
        }
        for applied in [id(2, 12), id(2, 20)] {
            assert_eq!(plan(&cut, id(2, 12), applied), Ok(nothing), "goes on from the log");
        }
        assert_eq!(plan(&cut, id(2, 20), id(2, 20)), Ok(nothing), "the log ends with it");
    }

    #[test]
    fn a_journal_that_has_not_followed_is_reset() {
        let behind = journal(LogId::ZERO, 20);
        for upto in [id(2, 30), id(3, 20), id(3, 15)] {
            let reset = StartPlan { reset: Some(upto), install: true };
            assert_eq!(plan(&behind, upto, LogId::ZERO), Ok(reset));
            assert_eq!(plan(&behind, upto, id(2, 12)), Ok(reset), "what follows 12 is gone now");
        }
        let reset = StartPlan { reset: Some(id(2, 30)), install: false };
        assert_eq!(plan(&behind, id(2, 30), id(2, 30)), Ok(reset), "it was installed already");
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        let cut = journal(id(1, 8), 20);
        let missing = |snapshot| Err(ConfigError::NoSnapshot { purged: id(1, 8), snapshot });
        assert_eq!(plan_start(&cut, None, LogId::ZERO), missing(None));
        assert_eq!(plan_start(&cut, None, id(2, 20)), missing(None), "also where the state is there");
        assert_eq!(plan(&cut, id(1, 7), LogId::ZERO), missing(Some(id(1, 7))));
        let ahead = |applied, last| Err(ConfigError::AheadOfJournal { applied, last });
        assert_eq!(plan_start(&journal(LogId::ZERO, 20), None, id(2, 21)), ahead(id(2, 21), id(2, 20)));
        assert_eq!(plan(&cut, id(2, 12), id(2, 21)), ahead(id(2, 21), id(2, 20)));
        assert_eq!(plan(&cut, id(3, 15), id(2, 16)), ahead(id(2, 16), id(3, 15)), "before anything is reset");
        let mut told = cut.clone();
        told.commit_hint = Index(16);
        let contradicts = ConfigError::SnapshotContradicts { snapshot: id(3, 15), journal: id(2, 15) };
        assert_eq!(plan(&told, id(3, 15), LogId::ZERO), Err(contradicts));
        let contradicts = ConfigError::SnapshotContradicts { snapshot: id(2, 8), journal: id(1, 8) };
        assert_eq!(plan(&cut, id(2, 8), LogId::ZERO), Err(contradicts));
        let contradicts = ConfigError::AppliedContradicts { applied: id(3, 12), committed: id(2, 12) };
        assert_eq!(plan(&cut, id(2, 12), id(3, 12)), Err(contradicts));
    }
}
