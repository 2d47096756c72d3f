//! Writing: hard state and known peers beside the database, everything else as one transaction.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::sync::{Arc, PoisonError, RwLock};

use raft_core::backend::{HardState, JournalError, JournalState, JournalWrite, Verdict, Verified};
use raft_core::entry::Entry;
use raft_core::ids::{Identity, Index, KnownPeer, LogId};
use raft_core::slots::{encode_hard_state, encode_peers};

use crate::beside::{Finding, Lock, Pair};
use crate::error::{SqlError, damage, damage_of, file_error, io_error, journal_error, refused};
use crate::options::{Faults, Options, Witness};
use crate::rows::{Seal, State, first_chain, next_chain};
use crate::scan::{Log, Newest};
use crate::table::{Change, Fail, Stored, Table};
use crate::wal::{Header, clear_behind, empty_in_place, has_begun_anew, make_room};

/// The watermark is synced at the latest after so many transactions.
const UNSETTLED_LIMIT: u32 = 64;
/// So many bytes at most are written once more behind a damaged entry that is purged.
const ANEW_LIMIT: u64 = 64 << 20;
/// An open journal. One owner, one connection.
pub(crate) struct Store {
    /// Its write-ahead log, to ask for its length and to empty it.
    pub(crate) wal: File,
    /// The header that it got when it was emptied, until the next transaction has written another one.
    pub(crate) emptied: Option<Header>,
    pub(crate) identity: Identity,
    pub(crate) hard_state: HardState,
    pub(crate) hard_pair: Pair,
    pub(crate) peers: Vec<KnownPeer>,
    pub(crate) peers_pair: Pair,
    pub(crate) mark: Pair,
    /// Transactions since the watermark was synced.
    pub(crate) unsettled: u32,
    /// The write-ahead log is empty: the first transaction in it syncs the watermark, so that a log that
    /// is missing as a whole is always noticed.
    pub(crate) fresh_wal: bool,
    /// The write-ahead log has something that a next opening should not judge: what was dropped, or a part of a
    /// transaction that found no space. It is moved into the database as soon as there is space.
    pub(crate) stale_wal: bool,
    pub(crate) table: Table,
    pub(crate) log: Arc<RwLock<Log>>,
    pub(crate) options: Options,
    /// A test has limited the size of the database.
    pub(crate) limited: bool,
    pub(crate) failed: Option<Arc<str>>,
    pub(crate) verdict: Verdict,
    pub(crate) findings: Vec<Finding>,
    /// Held as long as the store lives; the last to go.
    pub(crate) _lock: Arc<Lock>,
}

impl Store {
    /// What a node needs to start.
    pub(crate) fn load(&self) -> Result<JournalState, JournalError> {
        self.check()?;
        let log = self.log.read().unwrap_or_else(PoisonError::into_inner);
        let mut state = JournalState::empty(self.identity);
        state.verdict = self.verdict.clone();
        state.hard_state = self.hard_state;
        state.known_peers = self.peers.clone();
        state.purged = log.state.purged;
        state.last = log.state.last;
        state.terms = log.terms.clone();
        state.memberships = log.memberships.clone();
        state.commit_hint = log.state.commit_hint;
        Ok(state)
    }

    fn check(&self) -> Result<(), JournalError> {
        match &self.failed {
            Some(cause) => Err(JournalError::Poisoned { cause: Arc::clone(cause) }),
            None => Ok(()),
        }
    }

    /// From here on nothing is written any more (J8).
    fn poison(&mut self, error: JournalError) -> JournalError {
        self.failed = Some(error.to_string().into());
        error
    }

    fn state(&self) -> State {
        self.log.read().unwrap_or_else(PoisonError::into_inner).state
    }

    /// Whether the watermark is to be synced with the next transaction.
    fn settles_next(&self) -> bool {
        self.fresh_wal || self.unsettled + 1 >= UNSETTLED_LIMIT || self.options.witness == Witness::EachWrite
    }

    /// Makes a write durable (J1, J2).
    pub(crate) fn write(&mut self, write: &JournalWrite) -> Result<(), JournalError> {
        self.check()?;
        let cut_from = self.plan(write)?;
        let store = self.identity.store;
        let peers = write.known_peers.as_ref().filter(|peers| **peers != self.peers);
        let encoded = peers.map(|peers| encode_peers(store, peers));
        if encoded.as_ref().is_some_and(|encoded| !self.peers_pair.fits(encoded)) {
            return Err(refused("too many known peers"));
        }
        if let Some(state) = write.hard_state.filter(|state| *state != self.hard_state) {
            let encoded = encode_hard_state(store, &state);
            let (done, needed) = (self.hard_pair.write(&encoded), encoded.len() as u64);
            done.map_err(|error| self.poison(file_error("write the hard state", &error, needed)))?;
            self.hard_state = state;
        }
        if let Some((peers, encoded)) = peers.zip(encoded) {
            let (done, needed) = (self.peers_pair.write(&encoded), encoded.len() as u64);
            done.map_err(|error| self.poison(file_error("write the known peers", &error, needed)))?;
            self.peers.clone_from(peers);
        }
        if cut_from.is_none() && write.entries.is_empty() {
            return Ok(());
        }
        let mut state = self.state();
        state.commit_hint = state.commit_hint.max(write.commit_hint);
        if let Some(from) = cut_from {
            (state.last, state.last_chain) = self.before(from)?;
        }
        let mut rows: Vec<(&Entry, Seal)> = Vec::with_capacity(write.entries.len());
        for entry in &write.entries {
            let seal = Seal::of(store, state.last_chain, entry);
            (state.last, state.last_chain) = (entry.id, seal.chain);
            rows.push((entry, seal));
        }
        let needed = write.entries.iter().map(|entry| entry.data.len() as u64).sum();
        let state = self.transact(Change { cut_from, rows, ..Change::of(state) }, needed)?;
        let newest = Newest::of(&write.entries, self.options.tail_bytes);
        let mut log = self.log.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(from) = cut_from {
            log.cut(from);
        }
        log.push(&write.entries, newest);
        log.state = state;
        Ok(())
    }

    /// Checks that the write fits the log (J4); answers where it is to be cut.
    fn plan(&self, write: &JournalWrite) -> Result<Option<Index>, JournalError> {
        let State { purged, last, .. } = self.state();
        let mut expected = last.index.next();
        let cut_from = write.truncate_from.filter(|from| *from < expected);
        if let Some(from) = cut_from {
            if from <= purged.index {
                return Err(refused(format!("truncate from {from}: entries up to {purged} were purged")));
            }
            expected = from;
        }
        for entry in &write.entries {
            if entry.id.index != expected {
                return Err(JournalError::Gap { expected, got: entry.id.index });
            }
            // SQLite takes no row of 1 GB.
            if entry.data.len() > 900_000_000 {
                return Err(refused(format!("entry {} is larger than SQLite can store", entry.id)));
            }
            expected = expected.next();
        }
        Ok(cut_from)
    }

    /// The entry before an index, with the chain behind it.
    fn before(&self, index: Index) -> Result<(LogId, u64), JournalError> {
        let State { purged, purged_chain, .. } = self.state();
        let wanted = Index(index.0.saturating_sub(1));
        if wanted <= purged.index {
            return Ok((purged, purged_chain));
        }
        let rows = self.table.rows(Index(wanted.0 - 1), 1, u64::MAX);
        let rows = rows.map_err(|error| journal_error(&error, "read an entry", 0))?;
        let row = rows.into_iter().next().filter(|row| row.id.index == wanted);
        let found = row.and_then(|row| row.entry(self.identity.store));
        found.map(|(entry, seal)| (entry.id, seal.chain)).ok_or_else(|| broken(wanted))
    }

    /// The chain behind an entry that is purged, also if its row is damaged: as its row says, or as follows from the row
    /// before, whichever the next one confirms.
    fn chain_behind(&self, id: LogId) -> Result<u64, JournalError> {
        let state = self.state();
        if id == state.last {
            return Ok(state.last_chain);
        }
        let before = self.before(id.index).ok().map(|(_, chain)| chain);
        let rows = self.table.rows(id.index.prev(), 2, u64::MAX);
        let rows = rows.map_err(|error| journal_error(&error, "read an entry", 0))?;
        let mut rows =
            rows.into_iter().filter(|row| id.index <= row.id.index && row.id.index <= id.index.next());
        // Its index may be all that is right.
        let row = rows.next().filter(|row| row.id.index == id.index);
        let said = row.as_ref().map(|row| row.chain);
        let next = rows.next().and_then(|row| row.entry(state.store));
        let link = |before: u64, (entry, seal): &(Entry, Seal)| {
            next_chain(before, entry.id, entry.kind.as_u8(), seal.crc)
        };
        let follows =
            before.zip(row.and_then(|row| row.entry(state.store))).map(|(before, row)| link(before, &row));
        let fits = |chain: &u64| match &next {
            Some(next) => link(*chain, next) == next.1.chain,
            None => said == follows,
        };
        [said, follows].into_iter().flatten().find(fits).ok_or_else(|| broken(id.index))
    }

    /// Entries that are to be written once more; `None` if one of them is damaged, or if they are many.
    fn living(&self, from: Index, to: Index) -> Option<Vec<Entry>> {
        let count = to.0.checked_sub(from.0)?;
        let rows = self.table.rows(from.prev(), count, ANEW_LIMIT).ok()?;
        let log = self.log.read().unwrap_or_else(PoisonError::into_inner);
        let entries = if count == 0 { Vec::new() } else { checked(rows, &log, from, to).ok()? };
        (entries.len() as u64 == count).then_some(entries)
    }

    /// Runs a transaction and moves the watermark. An error leaves its outcome unknown and poisons, but for a full disk
    /// that SQLite has met before the commit: then it has rolled back.
    fn transact(&mut self, mut change: Change<'_>, needed: u64) -> Result<State, JournalError> {
        change.state.op += 1;
        change.state.hard = self.hard_pair.generation();
        let full = Faults::is_full(self.options.faults.as_ref());
        if full != self.limited {
            let done = self.table.limit_size(full);
            done.map_err(|error| self.poison(journal_error(&error, "limit the database", needed)))?;
            self.limited = full;
        }
        change.fail = Fail {
            commit: Faults::take_sync(self.options.faults.as_ref()),
            rollback: Faults::stays_open(self.options.faults.as_ref()),
        };
        if let Err(error) = self.table.transact(&change) {
            let before = self.state();
            let error = journal_error(&error, "write to the database", needed);
            let full = matches!(error, JournalError::NoSpace { .. });
            // What the database says now is what it has: nothing of this (J9).
            if full && !self.table.is_open() && self.table.state(before.store).ok().flatten() == Some(before)
            {
                self.stale_wal = true;
                return Err(self.clear_leftovers(needed).err().unwrap_or(error));
            }
            return Err(self.poison(error));
        }
        if let Err(error) = self.check_beginning() {
            return Err(self.poison(error));
        }
        let settle = self.settles_next();
        self.unsettled += 1;
        let body = change.state.encode();
        let done = if settle { self.mark.write(&body) } else { self.mark.note(&body) };
        done.map_err(|error| self.poison(file_error("write the watermark", &error, body.len() as u64)))?;
        if settle {
            (self.unsettled, self.fresh_wal) = (0, false);
        }
        Ok(change.state)
    }

    /// Zeros what a transaction that found no space has left in the write-ahead log: it would be taken for damage behind what
    /// comes next. Where even that finds no space (not every file system writes over what is there) it stays until the log
    /// is moved.
    fn clear_leftovers(&mut self, needed: u64) -> Result<(), JournalError> {
        let what = "clear the write-ahead log";
        let frames = self.table.frames().map_err(|error| self.poison(journal_error(&error, what, needed)))?;
        clear_behind(&self.wal, frames).map_err(|error| match file_error(what, &error, needed) {
            full @ JournalError::NoSpace { .. } => full,
            other => self.poison(other),
        })
    }

    /// After the first transaction since the write-ahead log was emptied in place: frames that SQLite had put behind those which
    /// are gone would never be found again.
    fn check_beginning(&mut self) -> Result<(), JournalError> {
        let Some(emptied) = self.emptied.take() else { return Ok(()) };
        let what = "begin the write-ahead log anew";
        match has_begun_anew(&self.wal, &emptied) {
            Ok(true) => Ok(()),
            Ok(false) => Err(io_error(what, "SQLite went on behind what was moved into the database")),
            Err(error) => Err(io_error(what, error.to_string())),
        }
    }

    /// Drops entries up to and including `upto` (J6).
    pub(crate) fn purge(&mut self, upto: LogId) -> Result<(), JournalError> {
        self.check()?;
        let mut state = self.state();
        let term = self.log.read().unwrap_or_else(PoisonError::into_inner).term_of(upto.index);
        if term != Some(upto.term) {
            return Err(refused(format!("purge up to {upto}: it is not in the log")));
        }
        if upto == state.purged {
            return Ok(());
        }
        state.purged = upto;
        let (anew, cut_from);
        match self.chain_behind(upto) {
            Ok(chain) => {
                state.purged_chain = chain;
                (anew, cut_from) = (Vec::new(), None);
            }
            Err(error @ JournalError::Corrupt(_)) => {
                // Nothing says any more what the chain was there: what stays is written once more, on a new one (J18).
                anew = self.living(upto.index.next(), state.last.index.next()).ok_or(error)?;
                cut_from = Some(upto.index.next());
                state.purged_chain = first_chain(state.store, upto);
                state.last_chain = state.purged_chain;
            }
            Err(error) => return Err(error),
        }
        let mut rows: Vec<(&Entry, Seal)> = Vec::with_capacity(anew.len());
        for entry in &anew {
            let seal = Seal::of(state.store, state.last_chain, entry);
            state.last_chain = seal.chain;
            rows.push((entry, seal));
        }
        let needed = anew.iter().map(|entry| entry.data.len() as u64).sum();
        let change = Change { purge_upto: Some(upto.index), cut_from, rows, ..Change::of(state) };
        let state = self.transact(change, needed)?;
        {
            let mut log = self.log.write().unwrap_or_else(PoisonError::into_inner);
            log.purge(upto);
            log.state = state;
        }
        self.move_what_was_dropped()
    }

    /// Empties the log: it begins after `to` (J7).
    pub(crate) fn reset(&mut self, to: LogId) -> Result<(), JournalError> {
        self.check()?;
        let before = self.state();
        if to.index < before.purged.index {
            return Err(refused(format!("reset to {to}: entries up to {} were purged", before.purged)));
        }
        let fresh = State::after(self.identity.store, to);
        let state = State { op: before.op, commit_hint: before.commit_hint, ..fresh };
        let change = Change { cut_from: Some(Index(0)), ..Change::of(state) };
        let state = self.transact(change, 0)?;
        *self.log.write().unwrap_or_else(PoisonError::into_inner) = Log::new(state, self.options.tail_bytes);
        self.move_what_was_dropped()
    }

    /// Whether the watermark still is to be synced.
    pub(crate) const fn is_settled(&self) -> bool {
        self.mark.is_settled() || self.failed.is_some()
    }

    /// Syncs the watermark.
    pub(crate) fn settle(&mut self) -> Result<(), JournalError> {
        self.check()?;
        let done = self.mark.settle();
        done.map_err(|error| self.poison(file_error("sync the watermark", &error, 0)))?;
        self.unsettled = 0;
        Ok(())
    }

    /// Whether the write-ahead log is to be moved into the database: it is big, or has what was dropped.
    pub(crate) fn is_untidy(&self) -> bool {
        self.failed.is_none() && (self.stale_wal || self.wal_length() > self.options.wal_bytes)
    }

    /// Asked of every write, and not by `metadata`: who is told of a file's times has them kept exactly from then on, which
    /// is one more block for the next sync to write.
    fn wal_length(&self) -> u64 {
        (&self.wal).seek(SeekFrom::End(0)).unwrap_or(0)
    }

    /// Moves the write-ahead log into the database if it is to be.
    pub(crate) fn tidy(&mut self) -> Result<(), JournalError> {
        self.check()?;
        if self.is_untidy() { self.move_wal(self.wal_length()) } else { Ok(()) }
    }

    /// The same, however small it is, where what was dropped may have been damaged: a frame of it that stays would be judged
    /// by the next opening as a part of the log (J18). Without space it stays until there is some.
    fn move_what_was_dropped(&mut self) -> Result<(), JournalError> {
        self.stale_wal = true;
        match self.move_wal(0) {
            Err(JournalError::NoSpace { .. }) if self.failed.is_none() => Ok(()),
            other => other,
        }
    }

    fn move_wal(&mut self, length: u64) -> Result<(), JournalError> {
        // What leaves the write-ahead log must not be behind the watermark.
        self.settle()?;
        let moved = self.table.checkpoint_and_keep();
        let moved = moved.and_then(|()| match self.empty_in_place() {
            Ok(true) => Ok(()),
            Ok(false) => {
                self.table.checkpoint()?;
                self.make_room();
                Ok(())
            }
            Err(error) => Err(SqlError::Other(error.to_string().into())),
        });
        match moved {
            Ok(()) => {
                (self.fresh_wal, self.stale_wal) = (true, false);
                Ok(())
            }
            Err(error) => match journal_error(&error, "empty the write-ahead log", length) {
                // The write-ahead log has all of it still: it is moved when there is space.
                full @ JournalError::NoSpace { .. } => Err(full),
                other => Err(self.poison(other)),
            },
        }
    }

    /// Makes the write-ahead log, which was moved, room for what comes; `false` if SQLite has to empty it.
    fn empty_in_place(&mut self) -> io::Result<bool> {
        let faults = self.options.faults.as_ref();
        let sync = |file: &File| {
            if Faults::take_wal_sync(faults) {
                Err(io::Error::other("a sync that was told to fail"))
            } else {
                file.sync_data()
            }
        };
        self.emptied = empty_in_place(&self.wal, self.options.wal_bytes, sync)?;
        Ok(self.emptied.is_some())
    }

    /// Gives the empty write-ahead log its room.
    pub(crate) fn make_room(&self) {
        // Without it everything goes on, only slower: an error that lasts is met by what is written there.
        let _ = make_room(&self.wal, self.options.wal_bytes);
    }

    /// Reads entries that are not in memory. The range is in the log, as of a moment ago.
    pub(crate) fn read(&self, from: Index, to: Index, max: u64) -> Result<Vec<Entry>, JournalError> {
        check_range(&self.state(), from, to)?;
        let rows = self.table.rows(Index(from.0 - 1), to.0.saturating_sub(from.0), max);
        let rows = rows.map_err(|error| journal_error(&error, "read entries", 0))?;
        let log = self.log.read().unwrap_or_else(PoisonError::into_inner);
        checked(rows, &log, from, to)
    }

    /// Checks rows of the range, from its start, and the chain through them. From the disk: what SQLite has in memory is
    /// let go first.
    pub(crate) fn verify(&self, from: Index, to: Index, max: u64) -> Result<Verified, JournalError> {
        let state = self.state();
        check_range(&state, from, to)?;
        let failed = |error| journal_error(&error, "read entries", 0);
        self.table.forget_pages().map_err(failed)?;
        // Where the one before is damaged, the chain begins anew.
        let mut chain = self.before(from).ok().map(|(_, chain)| chain);
        let rows = self.table.rows(Index(from.0 - 1), to.0.saturating_sub(from.0), max).map_err(failed)?;
        let (mut bytes, mut next) = (0, from);
        for row in rows {
            let log = self.log.read().unwrap_or_else(PoisonError::into_inner);
            let size = row.data.len() as u64;
            let found = row.entry(state.store).filter(|(entry, _)| {
                entry.id.index == next && log.term_of(entry.id.index) == Some(entry.id.term)
            });
            let Some((entry, seal)) = found else { return Err(broken(next)) };
            let fits = chain
                .is_none_or(|chain| next_chain(chain, entry.id, entry.kind.as_u8(), seal.crc) == seal.chain);
            if !fits {
                return Err(broken(next));
            }
            (chain, next) = (Some(seal.chain), next.next());
            bytes += size + Entry::OVERHEAD_BYTES;
        }
        if next == from && from < to { Err(broken(from)) } else { Ok(Verified { next, bytes }) }
    }

    /// Ends: the watermark is synced, the database closed, the lock released.
    pub(crate) async fn close(mut self) {
        // An error was, or will be, met by the next opening.
        let _ = self.settle();
        self.abandon().await;
    }

    /// The same where nothing more is to be written: the database closed, the lock released.
    pub(crate) async fn abandon(self) {
        let _ = self.table.close().await;
        drop(self._lock);
    }
}

/// Rows as the entries of a range, each as it was written.
pub(crate) fn checked(
    rows: Vec<Stored>,
    log: &Log,
    from: Index,
    to: Index,
) -> Result<Vec<Entry>, JournalError> {
    let mut entries = Vec::with_capacity(rows.len());
    for (row, index) in rows.into_iter().zip(from.0..) {
        let found = row.entry(log.state.store).map(|(entry, _)| entry);
        let found = found.filter(|entry| entry.id.index == Index(index));
        let found = found.filter(|entry| log.term_of(entry.id.index) == Some(entry.id.term));
        entries.push(found.ok_or_else(|| broken(Index(index)))?);
    }
    if entries.is_empty() && from < to { Err(broken(from)) } else { Ok(entries) }
}

fn broken(index: Index) -> JournalError {
    let row = damage("journal.db, table log", index.0, "not what was written");
    JournalError::Corrupt(damage_of(row, index.0, index.next().0))
}

/// Whether a range can be read.
pub(crate) fn check_range(state: &State, from: Index, to: Index) -> Result<(), JournalError> {
    if from <= state.purged.index {
        return Err(JournalError::Compacted { purged: state.purged });
    }
    if to > state.last.index.next() {
        return Err(JournalError::OutOfRange { last: state.last.index });
    }
    Ok(())
}
