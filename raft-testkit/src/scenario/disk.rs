//! A simulated disk: what a journal would have made durable.

use raft_core::backend::{HardState, JournalState, JournalWrite};
use raft_core::entry::{Entry, EntryKind};
use raft_core::ids::{ClusterId, GroupId, Identity, Incarnation, Index, LogId, NodeId, StoreId};

/// What is durable on one node.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    pub(super) hard: HardState,
    pub(super) entries: Vec<Entry>,
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
            self.cut(from);
        }
        for entry in write.entries.iter().take(keep) {
            if entry.id.index.0 != self.entries.len() as u64 + 1 {
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
        let keep = usize::try_from(from.prev().0).unwrap_or(usize::MAX);
        self.entries.truncate(keep);
        self.commit_hint = self.commit_hint.min(from.prev());
    }

    pub(super) fn last(&self) -> LogId {
        self.entries.last().map_or(LogId::ZERO, |entry| entry.id)
    }

    /// Reads from `from` to before `end`, in `max_bytes`, at least one (J14).
    pub(super) fn read(&self, from: Index, end: Index, max_bytes: u64) -> Vec<Entry> {
        let skip = usize::try_from(from.prev().0).unwrap_or(usize::MAX);
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
