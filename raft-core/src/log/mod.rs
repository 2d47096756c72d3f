//! What this node knows of its own log, without a disk.
//!
//! ```text
//!   purged          applied        commit            persisted        handed over         last
//!     |---------------|--------------|-----------------|-----------------|------------------|
//!     first index ..                                        (persisted and commit may swap)
//! ```
//! `terms` covers everything after `purged`, `tail` only the recent end. What left memory is fetched
//! from the journal on request.

mod tail;
mod terms;
mod writes;

use alloc::vec::Vec;

use crate::backend::JournalState;
use crate::entry::{Entry, EntryKind};
use crate::error::Violation;
use crate::ids::{Index, LogId, Term};
use crate::membership::Membership;
pub(crate) use tail::Tail;
pub(crate) use terms::TermRuns;
pub(crate) use writes::Writes;

/// The log of one node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Log {
    pub(crate) terms: TermRuns,
    pub(crate) tail: Tail,
    pub(crate) writes: Writes,
    /// Known committed.
    commit: Index,
    /// Executed here.
    applied: Index,
    /// Memberships in the log, oldest first. The last is in force (§6: from when it is appended).
    memberships: Vec<(LogId, Membership)>,
}

impl Log {
    /// The log as a journal has it.
    pub(crate) fn restore(state: &JournalState, applied: Index) -> Result<Self, Violation> {
        let terms = TermRuns::new(state.purged, state.terms.clone(), state.last.index);
        if !terms.is_sound() || terms.last_id() != state.last {
            return Err(Violation::Local { what: "the journal's terms and indexes do not grow" });
        }
        if state.hard_state.term < state.last.term {
            return Err(Violation::Local { what: "the hard state is behind the log" });
        }
        let mut memberships = Vec::new();
        for entry in &state.memberships {
            let membership = Membership::decode(&entry.data)
                .map_err(|_| Violation::Local { what: "a membership entry cannot be read" })?;
            memberships.push((entry.id, membership));
        }
        let last = state.last.index;
        Ok(Self {
            terms,
            tail: Tail::new(last.next()),
            writes: Writes::new(last),
            commit: applied.max(state.commit_hint.min(last)).max(state.purged.index),
            applied,
            memberships,
        })
    }

    pub(crate) fn last_id(&self) -> LogId {
        self.terms.last_id()
    }

    pub(crate) fn last(&self) -> Index {
        self.last_id().index
    }

    pub(crate) const fn commit(&self) -> Index {
        self.commit
    }

    pub(crate) const fn applied(&self) -> Index {
        self.applied
    }

    pub(crate) const fn persisted(&self) -> Index {
        self.writes.persisted()
    }

    /// Entries up to here may be executed: committed, and durable here too, so that a state machine with
    /// a disk of its own never gets ahead of the journal.
    pub(crate) fn applicable(&self) -> Index {
        self.commit.min(self.persisted())
    }

    pub(crate) fn term_of(&self, index: Index) -> Option<Term> {
        self.terms.term_of(index)
    }

    /// Whether this very entry is here (Log Matching, §5.3).
    pub(crate) fn matches(&self, id: LogId) -> bool {
        self.term_of(id.index) == Some(id.term)
    }

    /// Adds the next entry. The caller has checked that it follows.
    pub(crate) fn append(&mut self, entry: Entry) {
        self.terms.push(entry.id);
        if entry.kind == EntryKind::Membership
            && let Ok(membership) = Membership::decode(&entry.data)
        {
            self.memberships.push((entry.id, membership));
        }
        self.tail.push(entry);
    }

    /// Forgets `index` and everything after it. Never reaches into what is committed.
    pub(crate) fn truncate_from(&mut self, index: Index) {
        debug_assert!(index > self.commit);
        self.terms.truncate_from(index);
        self.tail.truncate_from(index);
        self.writes.truncate_from(index);
        self.memberships.retain(|(id, _)| id.index < index);
    }

    /// Raises the commit index. Never lowers it, and never beyond the log.
    pub(crate) fn commit_to(&mut self, index: Index) -> bool {
        let index = index.min(self.last());
        let grows = index > self.commit;
        if grows {
            self.commit = index;
        }
        grows
    }

    /// Notes what was executed.
    pub(crate) fn applied_to(&mut self, index: Index) {
        self.applied = self.applied.max(index.min(self.commit));
    }

    /// The memberships in the log, oldest first.
    pub(crate) fn memberships(&self) -> &[(LogId, Membership)] {
        &self.memberships
    }

    /// The last membership that is known to be committed, with the entry that brought it.
    pub(crate) fn committed_membership(&self) -> Option<&(LogId, Membership)> {
        self.memberships.iter().rev().find(|(id, _)| id.index <= self.commit)
    }

    /// The membership in force, with the entry that brought it.
    pub(crate) fn membership(&self) -> Option<&(LogId, Membership)> {
        self.memberships.last()
    }
}
