//! What is durable on one node: hard state, log, and snapshots whole and in part.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use raft_core::backend::{HardState, JournalState, JournalWrite, SnapshotContent, SnapshotId, SnapshotMeta};
use raft_core::entry::{Entry, EntryKind};
use raft_core::ids::{ClusterId, Identity, LogId, NodeId};
use raft_core::membership::Membership;
use raft_core::raft::TakeSnapshot;

/// A snapshot, and what it is of: everything that was executed.
#[derive(Clone)]
pub(crate) struct Snapshot {
    pub(crate) meta: SnapshotMeta,
    pub(crate) state: Vec<Entry>,
    pub(crate) data: Bytes,
}

impl Snapshot {
    pub(crate) fn take(id: u128, take: TakeSnapshot, state: Vec<Entry>) -> Self {
        let mut data = BytesMut::new();
        data.extend_from_slice(&id.to_le_bytes());
        for entry in &state {
            data.extend_from_slice(&entry.id.index.0.to_le_bytes());
            data.extend_from_slice(&entry.id.term.0.to_le_bytes());
            data.extend_from_slice(&id.to_le_bytes());
        }
        let checksum = data.iter().fold(7_u32, |sum, byte| sum.rotate_left(5) ^ u32::from(*byte));
        let content = SnapshotContent { total_bytes: data.len() as u64, checksum };
        let meta = SnapshotMeta::new(SnapshotId(id), take.upto, take.membership, content);
        Self { meta, state, data: data.freeze() }
    }
}

/// A half-received one.
#[derive(Clone)]
pub(crate) struct Part {
    pub(crate) id: SnapshotId,
    pub(crate) upto: LogId,
    pub(crate) membership: Membership,
    pub(crate) data: BytesMut,
}

/// What a journal is asked to do.
pub(crate) enum Job {
    Write(JournalWrite),
    Purge(LogId),
    Reset(LogId),
}

#[derive(Clone, Default)]
pub(crate) struct Disk {
    pub(crate) hard: HardState,
    /// The log begins after this.
    pub(crate) purged: LogId,
    pub(crate) entries: Vec<Entry>,
    pub(crate) snapshot: Option<Arc<Snapshot>>,
    pub(crate) part: Option<Part>,
}

impl Disk {
    /// Of a write so many entries.
    pub(crate) fn apply(&mut self, job: &Job, entries: usize) {
        match job {
            Job::Write(write) => self.write(write, entries),
            Job::Purge(upto) => {
                assert!(*upto <= self.covered(), "{upto} is purged without a snapshot");
                assert_eq!(
                    self.at(upto.index.0).map(|entry| entry.id),
                    Some(*upto),
                    "purged, not in the log"
                );
                self.entries.drain(..(upto.index.0 - self.purged.index.0) as usize);
                self.purged = *upto;
            }
            Job::Reset(to) => {
                assert_eq!(self.covered(), *to, "reset to what no snapshot covers");
                assert!(self.hard.term >= to.term, "reset to {to} in term {}", self.hard.term);
                self.entries.clear();
                self.purged = *to;
            }
        }
    }

    fn write(&mut self, write: &JournalWrite, entries: usize) {
        if let Some(hard) = write.hard_state {
            self.hard = hard;
        }
        if let Some(from) = write.truncate_from {
            assert!(from > self.purged.index, "cut from {from}, purged {}", self.purged);
            self.entries.truncate((from.0 - self.purged.index.0) as usize - 1);
        }
        for entry in &write.entries[..entries] {
            assert_eq!(entry.id.index, self.last().index.next(), "a write leaves a hole");
            self.entries.push(entry.clone());
        }
    }

    pub(crate) fn at(&self, index: u64) -> Option<&Entry> {
        self.entries.get(usize::try_from(index.checked_sub(self.purged.index.0 + 1)?).ok()?)
    }

    pub(crate) fn last(&self) -> LogId {
        self.entries.last().map_or(self.purged, |entry| entry.id)
    }

    pub(crate) fn covered(&self) -> LogId {
        self.snapshot.as_ref().map_or(LogId::ZERO, |snapshot| snapshot.meta.upto)
    }

    /// In the log, or in a snapshot; `id` is committed.
    pub(crate) fn has(&self, id: LogId) -> bool {
        id.index <= self.covered().index || self.at(id.index.0).is_some_and(|entry| entry.id == id)
    }

    /// A snapshot has become durable. The store never goes back.
    pub(crate) fn keep(&mut self, snapshot: Arc<Snapshot>) {
        if snapshot.meta.upto.index >= self.covered().index {
            self.snapshot = Some(snapshot);
        }
    }

    pub(crate) fn state(&self, node: NodeId) -> JournalState {
        let identity = Identity {
            cluster: ClusterId(7),
            group: Default::default(),
            node,
            store: Default::default(),
            incarnation: Default::default(),
        };
        let mut state = JournalState::empty(identity);
        state.hard_state = self.hard;
        state.purged = self.purged;
        state.last = self.last();
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
