//! What a node has on its disk; and that nothing is written there which may not be.

use raft_core::backend::{HardState, JournalState, JournalWrite, SnapshotMeta, Vote};
use raft_core::entry::{Entry, EntryKind};
use raft_core::ids::{ClusterId, GroupId, Identity, Index, LogId};

use crate::ME;

/// What is durable.
#[derive(Clone, Default)]
pub(crate) struct Disk {
    pub(crate) hard: HardState,
    /// The log begins after this.
    pub(crate) purged: LogId,
    pub(crate) entries: Vec<Entry>,
    pub(crate) commit_hint: Index,
    pub(crate) snapshot: Option<SnapshotMeta>,
}

/// What the journal is asked to do.
pub(crate) enum Job {
    Write(JournalWrite),
    Purge(LogId),
    Reset(LogId),
}

impl Disk {
    pub(crate) fn apply(&mut self, job: &Job) {
        match job {
            Job::Write(write) => self.write(write),
            Job::Purge(upto) => {
                assert!(upto.index <= self.covered(), "{upto} is purged without a snapshot");
                assert_eq!(self.at(upto.index).map(|entry| entry.id), Some(*upto), "purged, not in the log");
                self.entries.drain(..(upto.index.0 - self.purged.index.0) as usize);
                self.purged = *upto;
            }
            Job::Reset(to) => {
                assert_eq!(self.covered(), to.index, "reset to what no snapshot covers");
                assert!(self.hard.term >= to.term, "reset to {to} in {}", self.hard.term);
                self.entries.clear();
                self.purged = *to;
            }
        }
    }

    fn write(&mut self, write: &JournalWrite) {
        let before = self.hard;
        self.hard = write.hard_state.unwrap_or(before);
        assert!(self.hard.term >= before.term, "the term goes back");
        if let (Vote::For(first), Vote::For(second)) = (before.vote, self.hard.vote) {
            assert!(before.term < self.hard.term || first == second, "two votes in {}", before.term);
        }
        if let Some(from) = write.truncate_from {
            assert!(from > self.purged.index, "cut from {from}, purged {}", self.purged);
            self.entries.truncate((from.0 - self.purged.index.0) as usize - 1);
        }
        for entry in &write.entries {
            assert_eq!(entry.id.index, self.last().index.next(), "a write leaves a hole");
            self.entries.push(entry.clone());
        }
        self.commit_hint = self.commit_hint.max(write.commit_hint);
    }

    pub(crate) fn at(&self, index: Index) -> Option<&Entry> {
        self.entries.get(usize::try_from(index.0.checked_sub(self.purged.index.0 + 1)?).ok()?)
    }

    pub(crate) fn last(&self) -> LogId {
        self.entries.last().map_or(self.purged, |entry| entry.id)
    }

    pub(crate) fn covered(&self) -> Index {
        self.snapshot.as_ref().map_or(Index::ZERO, |snapshot| snapshot.upto.index)
    }

    pub(crate) fn keep(&mut self, snapshot: SnapshotMeta) {
        if snapshot.upto.index >= self.covered() {
            self.snapshot = Some(snapshot);
        }
    }

    pub(crate) fn state(&self) -> JournalState {
        let identity = Identity {
            cluster: ClusterId(7),
            group: GroupId(0),
            node: ME,
            store: Default::default(),
            incarnation: Default::default(),
        };
        let mut state = JournalState::empty(identity);
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
