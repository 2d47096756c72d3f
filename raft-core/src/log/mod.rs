//! What this node knows of its own log, without a disk.
//!
//! ```text
//!   purged          applied        commit            persisted        handed over         last
//!     |---------------|--------------|-----------------|-----------------|------------------|
//!     first index ..                                        (persisted and commit may swap)
//! ```
//! `terms` covers everything after `purged`, `tail` only the recent end. What left memory is fetched
//! from the journal on request. A durable snapshot covers everything up to `purged`, and may cover more.

mod sizes;
mod tail;
mod terms;
mod writes;

use alloc::vec::Vec;

use crate::backend::{JournalState, SnapshotMeta};
use crate::entries::Entries;
use crate::entry::{Entry, EntryKind};
use crate::error::Violation;
use crate::ids::{Index, LogId, Term};
use crate::membership::Membership;
pub(crate) use sizes::Sizes;
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
    /// Memberships in the log, oldest first; before them the one that the snapshot tells, at its last entry.
    /// The last is in force (§6: from when it is appended).
    memberships: Vec<(LogId, Membership)>,
    /// These, or which of them are committed, have changed since `take_moved` was last asked.
    moved: bool,
    /// The durable snapshot here that covers most.
    snapshot: Option<SnapshotMeta>,
    sizes: Sizes,
    /// How far marks in `sizes` are apart, in bytes.
    grain_bytes: u64,
}

impl Log {
    /// The log as a journal has it, and the newest durable snapshot.
    pub(crate) fn restore(
        state: &JournalState,
        snapshot: Option<SnapshotMeta>,
        applied: Index,
        grain_bytes: u64,
    ) -> Result<Self, Violation> {
        let terms = TermRuns::new(state.purged, state.terms.clone(), state.last.index);
        if !terms.is_sound() || terms.last_id() != state.last {
            return Err(Violation::Local { what: "the journal's terms and indexes do not grow" });
        }
        if state.hard_state.term < state.last.term {
            return Err(Violation::Local { what: "the hard state is behind the log" });
        }
        let covered = snapshot.as_ref().map_or(LogId::ZERO, |snapshot| snapshot.upto);
        if covered.index < state.purged.index {
            return Err(Violation::Local { what: "no snapshot covers what was purged" });
        }
        if terms.term_of(covered.index) != Some(covered.term) {
            return Err(Violation::Local { what: "the journal does not have what its snapshot ends with" });
        }
        let mut memberships = Vec::new();
        if let Some(snapshot) = snapshot.as_ref().filter(|snapshot| !snapshot.membership.is_empty()) {
            memberships.push((snapshot.upto, snapshot.membership.clone()));
        }
        for entry in state.memberships.iter().filter(|entry| entry.id.index > covered.index) {
            let membership = Membership::decode(&entry.data)
                .map_err(|_| Violation::Local { what: "a membership entry cannot be read" })?;
            memberships.push((entry.id, membership));
        }
        let last = state.last.index;
        Ok(Self {
            terms,
            tail: Tail::new(last.next()),
            writes: Writes::new(last),
            commit: applied.max(state.commit_hint.min(last)).max(covered.index),
            applied,
            memberships,
            moved: true,
            snapshot,
            sizes: Sizes::default(),
            grain_bytes,
        })
    }

    pub(crate) fn last_id(&self) -> LogId {
        self.terms.last_id()
    }

    pub(crate) const fn last(&self) -> Index {
        self.terms.last()
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

    /// Whether the journal lacks something of it.
    pub(crate) fn is_write_due(&self) -> bool {
        self.writes.is_due(self.last().next())
    }

    pub(crate) fn term_of(&self, index: Index) -> Option<Term> {
        self.terms.term_of(index)
    }

    /// How many bytes of entries were appended since the node came up, less what was cut away.
    pub(crate) const fn appended_bytes(&self) -> u64 {
        self.sizes.total_bytes()
    }

    /// Whether this very entry is here (Log Matching, §5.3).
    pub(crate) fn matches(&self, id: LogId) -> bool {
        self.term_of(id.index) == Some(id.term)
    }

    /// Adds the next entry. The caller has checked that it follows.
    pub(crate) fn append(&mut self, entry: Entry) {
        self.note(&entry);
        self.tail.push(entry);
    }

    /// Adds the next entries, which stay shared with whoever has this list.
    pub(crate) fn append_all(&mut self, entries: Entries) {
        entries.iter().for_each(|entry| self.note(entry));
        self.tail.push_all(entries);
    }

    /// What is known of every entry, also where it is no longer in memory.
    fn note(&mut self, entry: &Entry) {
        self.terms.push(entry.id);
        self.sizes.push(entry.id.index, entry.cost_bytes(), self.grain_bytes);
        if entry.kind == EntryKind::Membership
            && let Ok(membership) = Membership::decode(&entry.data)
        {
            self.memberships.push((entry.id, membership));
            self.moved = true;
        }
    }

    /// Forgets `index` and everything after it. Never reaches into what is committed.
    pub(crate) fn truncate_from(&mut self, index: Index) {
        debug_assert!(index > self.commit);
        self.terms.truncate_from(index);
        self.tail.truncate_from(index);
        self.writes.truncate_from(index);
        self.sizes.truncate_from(index);
        self.memberships.retain(|(id, _)| id.index < index);
        self.moved = true;
    }

    /// Raises the commit index. Never lowers it, and never beyond the log.
    pub(crate) fn commit_to(&mut self, index: Index) -> bool {
        let index = index.min(self.last());
        let grows = index > self.commit;
        if grows {
            self.moved |= self.memberships.last().is_some_and(|(id, _)| id.index > self.commit);
            self.commit = index;
        }
        grows
    }

    /// Notes what was executed.
    pub(crate) fn applied_to(&mut self, index: Index) {
        self.applied = self.applied.max(index.min(self.commit));
    }

    /// Whether the memberships, or which of them are committed, may have changed since this was last asked.
    pub(crate) const fn take_moved(&mut self) -> bool {
        core::mem::replace(&mut self.moved, false)
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

    /// The membership as of a committed entry.
    pub(crate) fn membership_at(&self, index: Index) -> Membership {
        let known = self.memberships.iter().rev().find(|(id, _)| id.index <= index);
        known.map(|(_, membership)| membership.clone()).unwrap_or_default()
    }

    /// The last purged entry; a snapshot covers it.
    pub(crate) const fn purged(&self) -> LogId {
        self.terms.purged()
    }

    /// The durable snapshot here that covers most.
    pub(crate) const fn snapshot(&self) -> Option<&SnapshotMeta> {
        self.snapshot.as_ref()
    }

    /// What that snapshot covers; zero if there is none.
    pub(crate) fn covered(&self) -> Index {
        self.snapshot.as_ref().map_or(Index::ZERO, |snapshot| snapshot.upto.index)
    }

    /// A snapshot has become durable. It never goes back; another one of the same entry takes the place.
    pub(crate) fn adopt_snapshot(&mut self, snapshot: SnapshotMeta) {
        if snapshot.upto.index >= self.covered() {
            self.snapshot = Some(snapshot);
        }
    }

    /// Forgets everything up to `upto`, which a snapshot covers and the state machine has executed.
    pub(crate) fn purge(&mut self, upto: LogId) {
        self.terms.purge(upto);
        self.tail.forget_through(upto.index);
        self.sizes.forget_through(upto.index);
        // The last membership up to there is the one of what follows.
        let older = self.memberships.partition_point(|(id, _)| id.index <= upto.index).saturating_sub(1);
        self.memberships.drain(..older);
        self.moved = true;
    }

    /// Begins anew after a snapshot, which is committed and durable; so is that the log is empty.
    pub(crate) fn reset(&mut self, upto: LogId, membership: Membership) {
        self.terms = TermRuns::new(upto, Vec::new(), upto.index);
        self.tail = Tail::new(upto.index.next());
        self.writes.reset(upto.index);
        self.sizes = Sizes::default();
        self.commit = self.commit.max(upto.index);
        self.memberships = Vec::from([(upto, membership)]);
        self.moved = true;
    }

    /// The first entry of the tail that is kept for slow followers, counted back from `upto`: `entries`, or
    /// what `bytes` hold if that is less, as far as sizes are known. Both 0: nothing is kept.
    pub(crate) fn kept_before(&self, upto: Index, entries: u64, bytes: u64) -> Index {
        let by_count = Index(upto.0.saturating_sub(entries));
        self.sizes.within(upto, bytes).map_or(by_count, |by_bytes| by_bytes.max(by_count))
    }
}
