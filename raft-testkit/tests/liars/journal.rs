//! A small journal: segments of records, and three small files that are replaced as a whole.
//!
//! Everything is in memory as well. A write that was begun and dropped is finished by what comes next.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use raft_core::backend::{
    HardState, Journal, JournalError, JournalReader, JournalState, JournalWrite, Verdict,
};
use raft_core::entry::{Entry, EntryKind};
use raft_core::ids::{Identity, Index, KnownPeer, LogId, Term};

use super::disk::{Disk, Failure, Sync};
use super::lies::Lie;
use super::open::{put, write_all};
use super::record;

/// A segment that has so many bytes is followed by another one.
const SEGMENT: usize = 16 << 10;

pub(crate) fn segment_name(number: u64) -> String {
    format!("seg-{number:08}")
}

/// What readers see.
#[derive(Default)]
pub(crate) struct View {
    pub(crate) purged: LogId,
    pub(crate) entries: BTreeMap<Index, Entry>,
    pub(crate) commit_hint: Index,
    /// Truncated, and found all the same.
    stale: BTreeMap<Index, Entry>,
}

impl View {
    fn last(&self) -> LogId {
        self.entries.last_key_value().map_or(self.purged, |(_, entry)| entry.id)
    }

    pub(crate) fn apply(&mut self, write: &JournalWrite, lie: Option<Lie>) {
        let stays = lie == Some(Lie::StaleTailStays) && !write.entries.is_empty();
        if let Some(from) = write.truncate_from.filter(|_| !stays) {
            let cut = self.entries.split_off(&from);
            if lie == Some(Lie::TruncatedStaysInTheIndex) {
                self.stale.extend(cut);
            }
        }
        self.entries.extend(write.entries.iter().map(|entry| (entry.id.index, entry.clone())));
        self.commit_hint = self.commit_hint.max(write.commit_hint);
    }

    /// Nothing that was truncated before an opening is remembered.
    pub(crate) fn forget_stale(&mut self) {
        self.stale.clear();
    }

    fn check(&self, write: &JournalWrite) -> Result<(), JournalError> {
        let mut expected = self.last().index.next();
        if let Some(from) = write.truncate_from.filter(|from| *from < expected) {
            if from <= self.purged.index {
                return Err(JournalError::Refused { what: format!("truncate from {from}") });
            }
            expected = from;
        }
        for entry in &write.entries {
            if entry.id.index != expected {
                return Err(JournalError::Gap { expected, got: entry.id.index });
            }
            expected = expected.next();
        }
        Ok(())
    }
}

/// A write whose bytes are there and whose sync has begun.
pub(crate) struct Pending {
    sync: Sync,
    write: JournalWrite,
}

pub(crate) struct LyingJournal {
    pub(crate) disk: Disk,
    pub(crate) opening: u64,
    pub(crate) lie: Option<Lie>,
    pub(crate) identity: Identity,
    pub(crate) verdict: Verdict,
    pub(crate) hard_state: HardState,
    pub(crate) known_peers: Vec<KnownPeer>,
    pub(crate) view: Arc<Mutex<View>>,
    /// Each with the greatest index that was ever in it.
    pub(crate) segments: Vec<(u64, Index)>,
    pub(crate) pending: Option<Pending>,
    /// A hard state that was not written yet.
    pub(crate) late: Option<(HardState, Vec<KnownPeer>)>,
    pub(crate) poisoned: Option<Arc<str>>,
}

impl LyingJournal {
    fn tells(&self, lie: Lie) -> bool {
        self.lie == Some(lie)
    }

    fn usable(&self) -> Result<(), JournalError> {
        let gone = self.disk.check(self.opening).is_err() && !self.tells(Lie::SecondOpenerIsLetIn);
        let gone = gone.then(|| "the machine went down".into());
        self.poisoned.clone().or(gone).map_or(Ok(()), |cause| Err(JournalError::Poisoned { cause }))
    }

    fn done<T>(&mut self, result: Result<T, Failure>) -> Result<T, JournalError> {
        result.map_err(|failure| {
            self.poisoned = Some(format!("{failure:?}").into());
            match failure {
                Failure::Full => JournalError::NoSpace { needed: 1 },
                other => JournalError::Io { what: "sync".into(), cause: format!("{other:?}").into() },
            }
        })
    }

    fn show(&self, write: &JournalWrite) {
        self.view.lock().unwrap().apply(write, self.lie);
    }

    fn end_sync(&mut self, sync: Sync) -> Result<(), JournalError> {
        let ended = match self.disk.end_sync(sync) {
            Err(_) if self.tells(Lie::SyncErrorIsSwallowed) => Ok(()),
            Err(_) if self.tells(Lie::SyncIsRetried) => self.disk.end_sync(sync),
            other => other,
        };
        self.done(ended)
    }

    /// Ends the sync that has begun.
    fn finish(&mut self) -> Result<(), JournalError> {
        let Some(Pending { sync, write }) = self.pending.take() else { return Ok(()) };
        self.end_sync(sync)?;
        self.show(&write);
        Ok(())
    }

    /// The segment for the next record; whether it is a new one.
    fn segment(&mut self) -> (String, bool) {
        let number = self.segments.last().map_or(0, |(number, _)| *number);
        let name = segment_name(number);
        if self.disk.read(&name).is_some_and(|bytes| bytes.len() < SEGMENT) {
            return (name, false);
        }
        (self.new_segment(number + 1), true)
    }

    fn new_segment(&mut self, number: u64) -> String {
        let name = segment_name(number);
        self.disk.create(&name);
        if !self.tells(Lie::NoDirectorySync) {
            self.disk.sync_dir();
        }
        self.segments.push((number, Index(0)));
        name
    }

    async fn write_hard_state(&mut self, write: &JournalWrite) -> Result<(), JournalError> {
        if self.tells(Lie::VoteIsSyncedLate) {
            let sync = self.disk.begin_sync("hs");
            self.end_sync(sync)?;
            self.disk.sync_dir();
        }
        if write.hard_state.is_none() && write.known_peers.is_none() {
            return Ok(());
        }
        self.hard_state = write.hard_state.unwrap_or(self.hard_state);
        if let Some(peers) = &write.known_peers {
            self.known_peers.clone_from(peers);
        }
        let value = (self.hard_state, self.known_peers.clone());
        if self.tells(Lie::OlderHardStateWins) {
            let earlier = self.late.replace(value.clone());
            tokio::task::yield_now().await;
            let put_both = put(&self.disk, "hs", &value, true);
            self.late = None;
            let put_both =
                put_both.and_then(|()| earlier.map_or(Ok(()), |old| put(&self.disk, "hs", &old, true)));
            return self.done(put_both);
        }
        let alone = write.entries.is_empty() && write.truncate_from.is_none();
        let later =
            self.tells(Lie::VoteIsSyncedLate) || (alone && self.tells(Lie::HardStateAloneIsNotSynced));
        let result = put(&self.disk, "hs", &value, !later);
        self.done(result)
    }

    /// Hands a write's bytes over.
    fn append(&mut self, write: &JournalWrite) -> Result<String, JournalError> {
        let (name, is_new) = self.segment();
        let mut stored = write.clone();
        if self.tells(Lie::TruncationIsForgotten) && write.entries.is_empty() {
            stored.truncate_from = None;
        }
        let bytes = record::encode(&stored, self.lie);
        if !(is_new && self.tells(Lie::RotationLosesTheBorder)) {
            let written = if self.tells(Lie::ShortWriteIsTakenAsFull) {
                self.disk.append(&name, &bytes).map(drop)
            } else {
                write_all(&self.disk, &name, &bytes)
            };
            self.done(written)?;
        }
        if let (Some((_, greatest)), Some(entry)) = (self.segments.last_mut(), write.entries.last()) {
            *greatest = (*greatest).max(entry.id.index);
        }
        Ok(name)
    }

    /// The log begins after `purged`, in segment `first`.
    async fn cut(&mut self, purged: LogId, first: u64) -> Result<(), JournalError> {
        let mut stored = purged;
        if self.tells(Lie::PurgedTermIsForgotten) {
            stored.term = Term(0);
        }
        let result = put(&self.disk, "floor", &(stored, first), true);
        self.done(result)?;
        {
            let mut view = self.view.lock().unwrap();
            view.purged = purged;
            view.entries = view.entries.split_off(&purged.index.next());
        }
        // Here a crash leaves segments that nobody needs.
        tokio::task::yield_now().await;
        self.usable()?;
        for (number, _) in self.segments.iter().filter(|(number, _)| *number < first) {
            self.disk.unlink(&segment_name(*number));
        }
        self.segments.retain(|(number, _)| *number >= first);
        self.disk.sync_dir();
        Ok(())
    }
}

#[async_trait]
impl Journal for LyingJournal {
    async fn load(&mut self) -> Result<JournalState, JournalError> {
        let view = self.view.lock().unwrap();
        let mut state = JournalState::empty(self.identity);
        state.verdict = self.verdict.clone();
        state.hard_state = self.hard_state;
        state.known_peers.clone_from(&self.known_peers);
        (state.purged, state.last, state.commit_hint) = (view.purged, view.last(), view.commit_hint);
        for entry in view.entries.values() {
            if state.terms.last().is_none_or(|(_, term)| *term != entry.id.term) {
                state.terms.push((entry.id.index, entry.id.term));
            }
            if entry.kind == EntryKind::Membership {
                state.memberships.push(entry.clone());
            }
        }
        Ok(state)
    }

    async fn write(&mut self, mut write: JournalWrite) -> Result<(), JournalError> {
        self.usable()?;
        let mut joined = None;
        if self.tells(Lie::JoinsAStartedSync) {
            joined = self.pending.take();
            joined.iter().for_each(|pending| self.show(&pending.write));
        }
        self.finish()?;
        if self.tells(Lie::TruncatesOneTooFew) && write.entries.is_empty() {
            write.truncate_from = write.truncate_from.map(Index::next);
        }
        self.view.lock().unwrap().check(&write)?;
        self.write_hard_state(&write).await?;
        if write.truncate_from.is_none() && write.entries.is_empty() {
            return Ok(());
        }
        if self.tells(Lie::SyncsBeforeTheWrite) {
            let (name, _) = self.segment();
            self.end_sync(self.disk.begin_sync(&name))?;
            self.append(&write)?;
            self.show(&write);
            return Ok(());
        }
        let name = self.append(&write)?;
        if self.tells(Lie::UnsyncedIsRead) {
            self.show(&write);
        }
        if let Some(started) = joined {
            self.end_sync(started.sync)?;
            self.show(&write);
            return Ok(());
        }
        let sync = self.disk.begin_sync(&name);
        if self.tells(Lie::AcksBeforeTheSync) {
            self.show(&write);
            self.pending = Some(Pending { sync, write: JournalWrite::default() });
            return Ok(());
        }
        self.pending = Some(Pending { sync, write });
        tokio::task::yield_now().await;
        self.usable()?;
        self.finish()
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), JournalError> {
        self.usable()?;
        self.finish()?;
        {
            let view = self.view.lock().unwrap();
            if upto != view.purged && view.entries.get(&upto.index).map(|entry| entry.id) != Some(upto) {
                return Err(JournalError::Refused { what: format!("purge up to {upto}") });
            }
        }
        let kept = self.segments.iter().position(|(_, greatest)| *greatest > upto.index);
        let kept =
            kept.map_or(self.segments.len(), |at| at + usize::from(self.tells(Lie::PurgeRemovesTooMuch)));
        // The last one is written to.
        let kept = kept.min(self.segments.len() - 1);
        self.cut(upto, self.segments[kept].0).await
    }

    async fn reset(&mut self, to: LogId) -> Result<(), JournalError> {
        self.usable()?;
        self.finish()?;
        if to.index < self.view.lock().unwrap().purged.index {
            return Err(JournalError::Refused { what: format!("reset to {to}") });
        }
        let first = self.segments.last().map_or(0, |(number, _)| number + 1);
        self.new_segment(first);
        self.view.lock().unwrap().entries.clear();
        self.cut(to, first).await
    }

    fn reader(&self) -> Arc<dyn JournalReader> {
        Arc::new(Reader(Arc::clone(&self.view)))
    }
}

impl Drop for LyingJournal {
    fn drop(&mut self) {
        if self.usable().is_ok() {
            // Who is dropped has nobody to tell.
            let _ = self.finish();
        }
        self.disk.end(self.opening);
    }
}

struct Reader(Arc<Mutex<View>>);

#[async_trait]
impl JournalReader for Reader {
    async fn entries(&self, range: Range<Index>, max_bytes: u64) -> Result<Vec<Entry>, JournalError> {
        let view = self.0.lock().unwrap();
        if range.start >= range.end {
            return Ok(Vec::new());
        }
        if range.start <= view.purged.index {
            return Err(JournalError::Compacted { purged: view.purged });
        }
        if let Some(stale) = view.stale.get(&range.start) {
            return Ok(vec![stale.clone()]);
        }
        let last = view.last().index;
        if range.end > last.next() {
            return Err(JournalError::OutOfRange { last });
        }
        let (mut entries, mut bytes) = (Vec::new(), 0_u64);
        for entry in view.entries.range(range).map(|(_, entry)| entry) {
            bytes = bytes.saturating_add(entry.data.len() as u64);
            if bytes > max_bytes && !entries.is_empty() {
                break;
            }
            entries.push(entry.clone());
        }
        Ok(entries)
    }
}
