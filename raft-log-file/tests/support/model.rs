//! What a journal should hold.

use raft_core::backend::{HardState, JournalState, JournalWrite};
use raft_core::entry::{Entry, EntryKind};
use raft_core::ids::{Index, KnownPeer, LogId, Term};
use raft_core::membership::Membership;
use raft_log_file::Store;

/// What a journal holds, as the plainest model of it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Model {
    pub hard_state: HardState,
    pub peers: Vec<KnownPeer>,
    pub purged: LogId,
    pub entries: Vec<Entry>,
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let hard = self.hard_state;
        write!(f, "{}:{:?} {} peers, after {}:", hard.term, hard.vote, self.peers.len(), self.purged)?;
        self.entries.iter().try_for_each(|entry| write!(f, " {}({})", entry.id, entry.data.len()))
    }
}

impl Model {
    /// Of a new journal.
    pub fn new(initial: Option<&Membership>) -> Self {
        let id = LogId::new(0, 1);
        let entry = |m: &Membership| Entry { id, kind: EntryKind::Membership, data: m.encode() };
        Self { entries: initial.map(entry).into_iter().collect(), ..Self::default() }
    }

    pub fn last(&self) -> LogId {
        self.entries.last().map_or(self.purged, |entry| entry.id)
    }

    pub fn write(&mut self, write: &JournalWrite) {
        self.write_meta(write);
        if let Some(from) = write.truncate_from {
            self.entries.retain(|entry| entry.id.index < from);
        }
        self.entries.extend(write.entries.iter().cloned());
    }

    pub fn write_meta(&mut self, write: &JournalWrite) {
        self.hard_state = write.hard_state.unwrap_or(self.hard_state);
        if let Some(peers) = &write.known_peers {
            self.peers.clone_from(peers);
        }
    }

    pub fn purge(&mut self, upto: LogId) {
        self.purged = upto;
        self.entries.retain(|entry| entry.id.index > upto.index);
    }

    pub fn reset(&mut self, to: LogId) {
        self.purged = to;
        self.entries.clear();
    }

    /// What a store holds, by what it says and what its reader gives; the two must agree.
    pub fn of(store: &Store) -> Self {
        let state = store.load().unwrap();
        let (from, to) = (state.purged.index.next(), state.last.index.next());
        let entries = store.reader().entries(from..to, u64::MAX).unwrap();
        let model = Self {
            hard_state: state.hard_state,
            peers: state.known_peers.clone(),
            purged: state.purged,
            entries,
        };
        model.check(&state);
        model
    }

    fn check(&self, state: &JournalState) {
        assert_eq!(self.last(), state.last);
        let mut terms: Vec<(Index, Term)> = Vec::new();
        for (entry, index) in self.entries.iter().zip(self.purged.index.0 + 1..) {
            assert_eq!(entry.id.index.0, index);
            if terms.last().is_none_or(|(_, term)| *term != entry.id.term) {
                terms.push((entry.id.index, entry.id.term));
            }
        }
        assert_eq!(state.terms, terms);
        let memberships = self.entries.iter().filter(|entry| entry.kind == EntryKind::Membership);
        assert_eq!(state.memberships, memberships.cloned().collect::<Vec<_>>());
    }
}
