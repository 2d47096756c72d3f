//! What a node of a model has on its disk: journal, hard state, and a store of snapshots that keeps the newest one.

use std::hash::Hash;

use bytes::Bytes;
use raft_core::backend::{HardState, JournalState, JournalWrite, SnapshotContent, SnapshotId, SnapshotMeta};
use raft_core::entry::{Entry, EntryKind};
use raft_core::ids::{ClusterId, GroupId, Identity, Incarnation, Index, LogId, NodeId, StoreId, Term};
use raft_core::membership::Membership;
use xxhash_rust::xxh3::Xxh3;

pub(super) const CLUSTER: ClusterId = ClusterId(1);

/// What was executed, or is to be found at an index: an entry's term, and what it holds as a number.
pub(crate) type Held = (Term, u64);

/// What an entry holds, as a number.
pub(super) fn held(entry: &Entry) -> Held {
    let mut hasher = Xxh3::with_seed(entry.kind as u64);
    entry.data.hash(&mut hasher);
    (entry.id.term, hasher.digest())
}

/// What the journal is at: one thing at a time.
#[derive(Clone, Debug)]
pub(super) enum Doing {
    Write(JournalWrite),
    Purge(LogId),
    Reset(LogId),
}

impl Doing {
    pub(super) fn hash(&self, hasher: &mut Xxh3) {
        match self {
            Self::Write(write) => {
                (0, write.hard_state, write.truncate_from, &write.entries, write.commit_hint).hash(hasher);
            }
            Self::Purge(upto) => (1, upto).hash(hasher),
            Self::Reset(to) => (2, to).hash(hasher),
        }
    }
}

/// A snapshot. Of the state machine, whose state is the list of what it has executed.
#[derive(Clone, Debug, Hash)]
pub(super) struct Stored {
    pub(super) meta: SnapshotMeta,
    pub(super) content: Vec<Held>,
}

/// See the [module](self).
#[derive(Clone, Debug, Hash)]
pub(super) struct Disk {
    pub(super) hard: HardState,
    pub(super) purged: LogId,
    /// After what was purged.
    pub(super) log: Vec<Entry>,
    pub(super) hint: Index,
    pub(super) snapshot: Option<Stored>,
}

impl Disk {
    /// As opening the journal finds it.
    pub(super) fn journal_state(&self, id: NodeId) -> JournalState {
        let incarnation = Incarnation { number: 1, nonce: 1 };
        let store = StoreId(id.0.into());
        let mut state = JournalState::empty(Identity {
            cluster: CLUSTER,
            group: GroupId(0),
            node: id,
            store,
            incarnation,
        });
        state.hard_state = self.hard;
        state.purged = self.purged;
        state.last = self.log.last().map_or(self.purged, |entry| entry.id);
        for entry in &self.log {
            if state.terms.last().is_none_or(|(_, term)| *term != entry.id.term) {
                state.terms.push((entry.id.index, entry.id.term));
            }
        }
        let memberships = self.log.iter().filter(|entry| entry.kind == EntryKind::Membership);
        state.memberships = memberships.cloned().collect();
        state.commit_hint = self.hint;
        state
    }

    /// Does it; of a write only the hard state, if `entries` is not set.
    pub(super) fn finish(&mut self, doing: &Doing, entries: bool) {
        match doing {
            Doing::Write(write) => {
                self.hard = write.hard_state.unwrap_or(self.hard);
                if !entries {
                    return;
                }
                if let Some(from) = write.truncate_from {
                    self.log.truncate(from.0.saturating_sub(self.purged.index.next().0) as usize);
                }
                self.log.extend(write.entries.iter().cloned());
                self.hint = self.hint.max(write.commit_hint);
            }
            Doing::Purge(upto) => {
                self.log.retain(|entry| entry.id.index > upto.index);
                self.purged = *upto;
            }
            Doing::Reset(to) => self.reset(*to),
        }
    }

    pub(super) fn reset(&mut self, to: LogId) {
        self.log.clear();
        self.purged = to;
    }

    /// Entries of a range that is not purged.
    pub(super) fn entries(&self, range: std::ops::Range<Index>) -> Vec<Entry> {
        let kept = self.log.iter().filter(|entry| range.contains(&entry.id.index));
        kept.cloned().collect()
    }

    /// What it has of each index from 1: what was purged is in the snapshot.
    pub(super) fn held(&self) -> Vec<Held> {
        let covered = self.snapshot.iter().flat_map(|snapshot| &snapshot.content);
        covered.take(self.purged.index.0 as usize).copied().chain(self.log.iter().map(held)).collect()
    }

    /// The memberships that it has, each with its index.
    pub(super) fn memberships(&self) -> Vec<(usize, Membership)> {
        let covered = self.snapshot.iter().filter(|snapshot| snapshot.meta.upto.index <= self.purged.index);
        let covered = covered.map(|of| (of.meta.upto.index.0 as usize, of.meta.membership.clone()));
        covered.chain(self.log.iter().filter_map(membership)).collect()
    }
}

fn membership(entry: &Entry) -> Option<(usize, Membership)> {
    let data = Some(&entry.data).filter(|_| entry.kind == EntryKind::Membership)?;
    Some((entry.id.index.0 as usize, Membership::decode(data).ok()?))
}

/// A snapshot's bytes.
pub(super) fn encoded(content: &[Held]) -> Bytes {
    content.iter().flat_map(|(term, holds)| [term.0, *holds]).flat_map(u64::to_le_bytes).collect()
}

/// What they say.
pub(super) fn decoded(bytes: &[u8]) -> Vec<Held> {
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte));
    bytes.chunks_exact(16).map(|pair| (Term(number(&pair[..8])), number(&pair[8..]))).collect()
}

/// Their count and checksum.
pub(super) fn content(bytes: &[u8]) -> SnapshotContent {
    SnapshotContent { total_bytes: bytes.len() as u64, checksum: crc32c::crc32c(bytes) }
}

/// A name that only this node gives, and only to this content.
pub(super) fn name(id: NodeId, upto: LogId) -> SnapshotId {
    SnapshotId(u128::from(id.0) << 96 | u128::from(upto.term.0) << 64 | u128::from(upto.index.0))
}
