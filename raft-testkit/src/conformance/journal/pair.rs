//! A journal under test beside the reference model, both driven alike.

use bytes::Bytes;
use raft_core::backend::{
    HardState, Journal, JournalError, JournalReader, JournalState, JournalWrite, OpenError, Verdict, Vote,
};
use raft_core::entry::{Entry, EntryKind};
use raft_core::ids::{ClusterId, GroupId, Index, LogId, NodeId, Term};
use raft_core::membership::{Member, Membership};

use super::super::{ClauseFailure, ensure, equal, fail, ok};
use super::{JournalBackend, Owner};
use crate::memory::{MemoryDisk, MemoryJournal};

/// Whose journals the suite makes.
pub(super) const OWNER: Owner = Owner { cluster: ClusterId(0x7e57), group: GroupId(0), node: NodeId(1) };

/// Read without a limit.
pub(super) const ALL: u64 = u64::MAX;

/// A membership of three.
pub(super) fn three() -> Result<Membership, ClauseFailure> {
    let members = (1..=3).map(|id| Member::new(NodeId(id), format!("host:{id}")).with("client", "c"));
    ok("a membership of three", Membership::of_voters(members))
}

pub(super) fn entry(term: u64, index: u64, data: impl Into<Bytes>) -> Entry {
    Entry { id: LogId::new(term, index), kind: EntryKind::Commands, data: data.into() }
}

/// Entries of a term, each with bytes of its own.
pub(super) fn run_of(term: u64, indexes: impl IntoIterator<Item = u64>) -> Vec<Entry> {
    indexes.into_iter().map(|index| entry(term, index, format!("{term}.{index} payload"))).collect()
}

pub(super) fn append(entries: Vec<Entry>) -> JournalWrite {
    let mut write = JournalWrite::default();
    write.entries = entries.into();
    write
}

pub(super) fn replace(from: u64, entries: Vec<Entry>) -> JournalWrite {
    let mut write = append(entries);
    write.truncate_from = Some(Index(from));
    write
}

pub(super) fn with_vote(term: u64, vote: Vote, mut write: JournalWrite) -> JournalWrite {
    write.hard_state = Some(HardState { term: Term(term), vote, probation: false, ..HardState::default() });
    write
}

/// One place with its journal, and the model that says what it should hold.
pub(super) struct Pair<'a, B: JournalBackend> {
    backend: &'a B,
    pub(super) place: B::Place,
    journal: Option<Box<dyn Journal>>,
    disk: MemoryDisk,
    model: MemoryJournal,
    /// The test's as it was loaded at the last opening.
    pub(super) loaded: JournalState,
}

impl<'a, B: JournalBackend> Pair<'a, B> {
    pub(super) async fn create(backend: &'a B, initial: Option<&Membership>) -> Result<Self, ClauseFailure> {
        let (place, disk) = (backend.place(), MemoryDisk::new());
        let mut journal = ok("creating", backend.create(&place, OWNER, initial).await)?;
        let loaded = ok("loading", journal.load().await)?;
        let mut model =
            ok("the model", MemoryJournal::create(&disk, OWNER.cluster, OWNER.group, OWNER.node, initial))?;
        let expected = ok("the model", model.load().await)?;
        let pair = Self { backend, place, journal: Some(journal), disk, model, loaded };
        pair.check_state(&expected)?;
        Ok(pair)
    }

    pub(super) fn journal(&mut self) -> Result<&mut Box<dyn Journal>, ClauseFailure> {
        self.journal.as_mut().ok_or_else(|| fail("an open journal", "none"))
    }

    pub(super) fn take(&mut self) -> Option<Box<dyn Journal>> {
        self.journal.take()
    }

    pub(super) fn reader(&mut self) -> Result<std::sync::Arc<dyn JournalReader>, ClauseFailure> {
        Ok(self.journal()?.reader())
    }

    /// A write that must end at the test as at the model.
    pub(super) async fn write(
        &mut self,
        write: JournalWrite,
    ) -> Result<Result<(), JournalError>, ClauseFailure> {
        let expected = self.model.write(write.clone()).await;
        let seen = self.journal()?.write(write).await;
        equal("the answer to a write", &alike(&seen), &alike(&expected))?;
        Ok(seen)
    }

    /// A write that must go well.
    pub(super) async fn write_ok(&mut self, write: JournalWrite) -> Result<(), ClauseFailure> {
        let seen = self.write(write).await?;
        ok("a write", seen)
    }

    /// A write that only the model does: the test has done it already, or ought to have.
    pub(super) async fn write_model(&mut self, write: JournalWrite) -> Result<(), ClauseFailure> {
        ok("the model", self.model.write(write).await)
    }

    pub(super) async fn purge(&mut self, upto: LogId) -> Result<(), ClauseFailure> {
        let expected = self.model.purge(upto).await;
        let seen = self.journal()?.purge(upto).await;
        equal(format!("the answer to purging up to {upto}"), &alike(&seen), &alike(&expected))
    }

    pub(super) async fn reset(&mut self, to: LogId) -> Result<(), ClauseFailure> {
        let expected = self.model.reset(to).await;
        let seen = self.journal()?.reset(to).await;
        equal(format!("the answer to resetting to {to}"), &alike(&seen), &alike(&expected))
    }

    /// Closes and opens, and compares everything.
    pub(super) async fn reopen(&mut self) -> Result<(), ClauseFailure> {
        drop(self.journal.take());
        self.open().await
    }

    /// Crashes and opens, and compares everything.
    pub(super) async fn crash(&mut self) -> Result<(), ClauseFailure> {
        if let Some(journal) = self.journal.take() {
            self.backend.crash(&self.place, journal).await?;
        }
        self.open().await
    }

    /// Opens the test without looking.
    pub(super) async fn open_test(&mut self) -> Result<(), OpenError> {
        self.journal = Some(self.backend.open(&self.place, OWNER).await?);
        Ok(())
    }

    async fn open(&mut self) -> Result<(), ClauseFailure> {
        ok("opening", self.open_test().await)?;
        self.loaded = ok("loading", self.journal()?.load().await)?;
        let expected = self.reopen_model().await?;
        self.check_state(&expected)?;
        self.check_entries().await
    }

    async fn reopen_model(&mut self) -> Result<JournalState, ClauseFailure> {
        self.disk.crash();
        let model = MemoryJournal::open(&self.disk, OWNER.cluster, OWNER.group, OWNER.node);
        self.model = ok("the model", model)?;
        ok("the model", self.model.load().await)
    }

    /// The model's state, now.
    pub(super) async fn expected(&mut self) -> Result<JournalState, ClauseFailure> {
        ok("the model", self.model.load().await)
    }

    fn check_state(&self, expected: &JournalState) -> Result<(), ClauseFailure> {
        let seen = &self.loaded;
        equal("purged", &seen.purged, &expected.purged)?;
        let is_gone = seen.last < expected.last;
        let why = if is_gone { " (what was acknowledged is gone: is a sync missing?)" } else { "" };
        equal(format!("the last log id{why}"), &seen.last, &expected.last)?;
        equal("the hard state", &seen.hard_state, &expected.hard_state)?;
        equal("the runs of terms", &seen.terms, &expected.terms)?;
        equal("the membership entries", &seen.memberships, &expected.memberships)?;
        equal("the known peers", &seen.known_peers, &expected.known_peers)?;
        let hint = format!("a commit hint of at most {}", expected.commit_hint);
        ensure(seen.commit_hint <= expected.commit_hint, hint, seen.commit_hint)?;
        let whole = matches!(seen.verdict, Verdict::Clean | Verdict::TornTail { .. });
        ensure(whole, "a verdict of an undamaged journal", &seen.verdict)
    }

    /// Compares all entries, through a reader, in pieces and at once.
    pub(super) async fn check_entries(&mut self) -> Result<(), ClauseFailure> {
        let model = self.model.reader();
        let state = self.expected().await?;
        let range = state.purged.index.next()..state.last.index.next();
        let expected = ok("the model", model.entries(range.clone(), ALL).await)?;
        let reader = self.reader()?;
        let seen = ok(format!("reading {range:?}"), reader.entries(range.clone(), ALL).await)?;
        same_entries(&seen, &expected)?;
        let mut at = range.start;
        for (count, wanted) in expected.chunks(3).enumerate() {
            // Reading all of a long log in small pieces shows nothing more than the first ones do.
            if count > 20 {
                break;
            }
            let end = Index(at.0 + wanted.len() as u64);
            let piece = ok("reading a piece", reader.entries(at..end, ALL).await)?;
            same_entries(&piece, wanted)?;
            at = end;
        }
        let beyond = reader.entries(range.end..range.end.next(), ALL).await;
        let out = Err(JournalError::OutOfRange { last: state.last.index });
        equal("reading beyond the end", &beyond, &out)?;
        let below = reader.entries(state.purged.index..range.start, ALL).await;
        equal("reading at the purged index", &below, &Err(JournalError::Compacted { purged: state.purged }))
    }
}

/// Whether two answers mean the same: words and operating systems differ.
fn alike(result: &Result<(), JournalError>) -> Result<(), JournalError> {
    match result {
        Err(JournalError::Refused { .. }) => Err(JournalError::Refused { what: String::new() }),
        other => other.clone(),
    }
}

/// Compares without printing megabytes.
pub(super) fn same_entries(seen: &[Entry], expected: &[Entry]) -> Result<(), ClauseFailure> {
    let ids = |entries: &[Entry]| entries.iter().map(|entry| entry.id).collect::<Vec<_>>();
    equal("the entries", &ids(seen), &ids(expected))?;
    for (seen, expected) in seen.iter().zip(expected) {
        let what = format!("entry {}", expected.id);
        equal(format!("the kind of {what}"), &seen.kind, &expected.kind)?;
        equal(format!("the length of {what}"), &seen.data.len(), &expected.data.len())?;
        if seen.data != expected.data {
            let at = seen.data.iter().zip(&expected.data).position(|(seen, wanted)| seen != wanted);
            let at = at.unwrap_or_default();
            let byte = |data: &Bytes| data.get(at).copied().unwrap_or_default();
            let (wanted, is) = (byte(&expected.data), byte(&seen.data));
            return Err(fail(format!("{what} with byte {at} = {wanted:#04x}"), format!("{is:#04x}")));
        }
    }
    Ok(())
}
