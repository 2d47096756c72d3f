//! A simulated disk: what a journal and a store of snapshots would have made durable.

use raft_core::backend::{HardState, JournalState, JournalWrite};
use raft_core::entry::{Entry, EntryKind};
use raft_core::ids::{ClusterId, GroupId, Identity, Incarnation, Index, LogId, NodeId, StoreId};

use super::snapshots::{Part, Stored};

/// What is durable on one node.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    pub(super) hard: HardState,
    /// The log begins after this.
    pub(super) purged: LogId,
    pub(super) entries: Vec<Entry>,
    pub(super) snapshot: Option<Stored>,
    pub(super) part: Option<Part>,
    commit_hint: Index,
}

impl Disk {
    /// A new disk, with the entry that names the members, if any.
    pub(super) fn new(first: Option<Entry>) -> Self {
        Self { entries: first.into_iter().collect(), ..Self::default() }
    }

    /// Makes a write durable, with at most `keep` of its entries (J2). An error is a bug of the core.
    pub(super) fn write(&mut self, write: &JournalWrite, keep: usize) -> Result<(), String> {
        if let Some(hard) = write.hard_state {
            self.hard = hard;
        }
        if let Some(from) = write.truncate_from {
            if from <= self.purged.index {
                return Err(format!("what is cut from {from} on was purged"));
            }
            self.cut(from);
        }
        for entry in write.entries.iter().take(keep) {
            if entry.id.index != self.last().index.next() {
                return Err(format!("the write of {} leaves a hole or overwrites (J4)", entry.id));
            }
            self.entries.push(entry.clone());
        }
        if keep >= write.entries.len() {
            self.commit_hint = self.commit_hint.max(write.commit_hint);
        }
        Ok(())
    }

    /// Forgets `from` and later.
    pub(super) fn cut(&mut self, from: Index) {
        let keep = from.prev().0.saturating_sub(self.purged.index.0);
        self.entries.truncate(usize::try_from(keep).unwrap_or(usize::MAX));
        self.commit_hint = self.commit_hint.min(from.prev());
    }

    pub(super) fn last(&self) -> LogId {
        self.entries.last().map_or(self.purged, |entry| entry.id)
    }

    /// The entry of that index, if the log still has it.
    pub(super) fn at(&self, index: Index) -> Option<&Entry> {
        let at = index.0.checked_sub(self.purged.index.0 + 1)?;
        self.entries.get(usize::try_from(at).ok()?)
    }

    /// The last entry that the complete snapshot covers.
    pub(super) fn covered(&self) -> LogId {
        self.snapshot.as_ref().map_or(LogId::ZERO, |snapshot| snapshot.meta.upto)
    }

    /// Drops what a snapshot covers. An error is a bug of the core, here and below.
    pub(super) fn purge(&mut self, upto: LogId) -> Result<(), String> {
        if upto.index > self.covered().index || self.at(upto.index).is_none_or(|entry| entry.id != upto) {
            return Err(format!("{upto} is purged, but not covered or not there"));
        }
        self.entries.retain(|entry| entry.id.index > upto.index);
        self.purged = upto;
        Ok(())
    }

    /// Begins anew after a snapshot.
    pub(super) fn reset(&mut self, to: LogId) -> Result<(), String> {
        if self.covered() != to || self.hard.term < to.term {
            return Err(format!("the log is to begin after {to}, with a snapshot of {}", self.covered()));
        }
        self.entries.clear();
        (self.purged, self.commit_hint) = (to, self.commit_hint.max(to.index));
        Ok(())
    }

    /// A snapshot is complete (S4: it never goes back).
    pub(super) fn keep(&mut self, snapshot: Stored) {
        if snapshot.meta.upto.index >= self.covered().index {
            self.snapshot = Some(snapshot);
        }
    }

    /// Reads from `from` to before `end`, in `max_bytes`, at least one (J14).
    pub(super) fn read(&self, from: Index, end: Index, max_bytes: u64) -> Vec<Entry> {
        let skip = from.prev().0.saturating_sub(self.purged.index.0);
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        let mut bytes = 0;
        let mut out: Vec<Entry> = Vec::new();
        for entry in self.entries.iter().skip(skip).take_while(|entry| entry.id.index < end) {
            bytes += entry.cost_bytes();
            if bytes > max_bytes && !out.is_empty() {
                break;
            }
            out.push(entry.clone());
        }
        out
    }

    /// As a journal would report it when it is opened.
    pub(super) fn state(&self, cluster: ClusterId, node: NodeId) -> JournalState {
        let (group, store, incarnation) = (GroupId(0), StoreId(0), Incarnation::default());
        let mut state = JournalState::empty(Identity { cluster, group, node, store, incarnation });
        state.hard_state = self.hard;
        state.purged = self.purged;
        state.last = self.last();
        state.commit_hint = self.commit_hint;
        for entry in &self.entries {
            if state.terms.last().is_none_or(|(_, term)| *term != entry.id.term) {
                state.terms.push((entry.id.index, entry.id.term));
            }
            if entry.kind == EntryKind::Membership {
                state.memberships.push(entry.clone());
            }
        }
        state
    }
}
