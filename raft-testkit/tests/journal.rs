//! The journal suite on the reference journal; and broken journals, which it must catch by name.

use std::sync::{Arc, Mutex};

use raft_core::backend::{
    Corruption, HardState, JournalReader, JournalState, JournalWrite, Verdict, Verified, Vote,
};
use raft_core::entry::Entry;
use raft_core::ids::{Index, LogId};
use raft_testkit::conformance::journal::{CLAUSES, run};
use raft_testkit::conformance::report_mutant;

// `Mine`, the reference journal as the suite's documentation shows it, with what it imports.
include!("../src/conformance/journal/example.rs");

fn io_error() -> JournalError {
    JournalError::Io { what: "sync".into(), cause: "injected".into() }
}

mod reference {
    use super::Mine;

    raft_testkit::journal_conformance! {
        backend: Mine,
        skip: { j01_acknowledged_survives_a_kill => "this disk ends with its process" },
    }
}

/// What is wrong with a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mutant {
    AcksBeforeItIsDurable,
    LosesHardStateWithoutEntries,
    KeepsTheFirstHardState,
    LosesProbation,
    ReportsNoTerms,
    PartsOfAWriteCome,
    TruncatesOneTooFew,
    ForgetsTruncationAfterReopening,
    KeepsTheLongerTail,
    SwallowsGaps,
    OverwritesWithoutTruncation,
    HidesTheLastEntryFromReaders,
    PurgesOneTooMany,
    ForgetsPurgeAfterReopening,
    ResetKeepsTheTail,
    SwallowsSyncErrors,
    RetriesAfterSyncErrors,
    CallsFullAnIoError,
    CutsBeforeItFindsNoSpace,
    EndsSilentlyAtDamage,
    DoesNotCompareChecksums,
    LetsASecondOpenerIn,
    OpensForeignJournals,
    CreatesWhenOpening,
    OverwritesWhenCreating,
    DrawsANewStoreId,
    KeepsItsIncarnation,
    ForgetsPeers,
    TearsDroppedWrites,
    WritesHardStateLast,
    GivesNothingForSmallLimits,
    IgnoresLimits,
    CutsBigEntries,
    StopsAtZeroBytes,
    KeepsTheVoteInTheLog,
    VerifiesWithoutLooking,
    VerifiesFromMemory,
    KeepsWhatIsDamaged,
    NamesDamageAndVotesOn,
    ProbationEndsWithTheNextOpening,
    ThrowsDamagedBytesAway,
    OpensDamagedThoughAlone,
    SuspectsWhatIsWhole,
    PurgesWhatIsNotThere,
    KeepsTheLastEntry,
    ResetsNothing,
}

/// Which clause must catch it, and in which words: it may fail for another reason, or hang.
const TABLE: &[(Mutant, &str, &str)] = &[
    (Mutant::AcksBeforeItIsDurable, "j01_acknowledged_survives_a_crash", "the last log id"),
    (Mutant::AcksBeforeItIsDurable, "j01_acknowledged_survives_reopening", "the last log id"),
    (Mutant::TruncatesOneTooFew, "j01_random_histories_match_the_model", "reading beyond the end"),
    (Mutant::LosesHardStateWithoutEntries, "j01_newest_hard_state_is_the_one", "the hard state"),
    (Mutant::KeepsTheFirstHardState, "j01_newest_hard_state_is_the_one", "the hard state"),
    (Mutant::LosesProbation, "j01_newest_hard_state_is_the_one", "the hard state"),
    (Mutant::ReportsNoTerms, "j01_state_describes_the_log", "the runs of terms"),
    (Mutant::PartsOfAWriteCome, "j02_one_write_does_all_its_parts", "the hard state"),
    (
        Mutant::WritesHardStateLast,
        "j02_unfinished_write_is_a_prefix",
        "and with it nothing, the new vote alone, or the new vote with a prefix of the new entries",
    ),
    (Mutant::TruncatesOneTooFew, "j03_truncated_is_never_seen_again", "reading beyond the end"),
    (Mutant::ForgetsTruncationAfterReopening, "j03_truncated_is_never_seen_again", "the last log id"),
    (Mutant::KeepsTheLongerTail, "j03_shorter_tail_replaces_a_longer_one", "reading beyond the end"),
    (Mutant::SwallowsGaps, "j04_gap_is_refused", "the answer to a write: Err(Gap"),
    (Mutant::SwallowsGaps, "j04_gap_inside_a_write_is_refused", "the answer to a write: Err(Gap"),
    (Mutant::OverwritesWithoutTruncation, "j04_overwrite_is_refused", "the answer to a write: Err(Gap"),
    (Mutant::HidesTheLastEntryFromReaders, "j05_readers_see_what_is_written", "the entries"),
    (
        Mutant::PurgesOneTooMany,
        "j06_purge_keeps_what_is_above",
        "Compacted { purged: LogId { term: Term(1), index: Index(2)",
    ),
    (Mutant::ForgetsPurgeAfterReopening, "j06_purged_is_compacted", "purged"),
    (Mutant::PurgesWhatIsNotThere, "j06_unknown_purge_is_refused", "the answer to purging up to 3.12"),
    (Mutant::KeepsTheLastEntry, "j06_log_can_be_purged_to_its_end", "reading at the purged index"),
    (Mutant::ResetsNothing, "j07_reset_empties", "reading beyond the end"),
    (Mutant::ResetKeepsTheTail, "j07_reset_inside_the_log_empties", "reading beyond the end"),
    (Mutant::SwallowsSyncErrors, "j08_failed_sync_poisons", "an error for the write whose sync failed"),
    (
        Mutant::RetriesAfterSyncErrors,
        "j08_failed_sync_is_not_retried",
        "syncs in the write whose sync failed",
    ),
    (Mutant::CallsFullAnIoError, "j09_no_space_is_typed", "expected: NoSpace; seen: Err(Io"),
    (Mutant::CutsBeforeItFindsNoSpace, "j09_what_found_no_space_can_be_written_later", "reading while full"),
    (
        Mutant::EndsSilentlyAtDamage,
        "j10_damage_is_never_cut_silently",
        "all entries, as the verdict is Clean",
    ),
    (
        Mutant::NamesDamageAndVotesOn,
        "j10_damage_puts_on_probation",
        "probation, as the verdict is SuspectTail",
    ),
    (
        Mutant::ProbationEndsWithTheNextOpening,
        "j10_damage_puts_on_probation",
        "probation after a second opening",
    ),
    (
        Mutant::ThrowsDamagedBytesAway,
        "j10_damaged_bytes_are_kept",
        "the damaged bytes, kept for people to look at",
    ),
    (Mutant::OpensDamagedThoughAlone, "j10_single_voter_is_refused", "a refusal to open"),
    (Mutant::SuspectsWhatIsWhole, "j10_undamaged_is_clean", "a verdict of an undamaged journal"),
    (
        Mutant::LetsASecondOpenerIn,
        "j11_second_opener_is_locked_out",
        "expected: a refusal to open; seen: it was opened",
    ),
    (
        Mutant::OpensForeignJournals,
        "j12_foreign_journal_is_refused_by_name",
        "expected: a refusal to open; seen: it was opened",
    ),
    (
        Mutant::CreatesWhenOpening,
        "j12_open_never_creates",
        "expected: a refusal to open; seen: it was opened",
    ),
    (Mutant::OverwritesWhenCreating, "j12_create_never_overwrites", "it was created again"),
    (Mutant::DrawsANewStoreId, "j12_store_id_is_stable_and_its_own", "the store id after reopening"),
    (Mutant::KeepsItsIncarnation, "j12_incarnation_grows", "the number of this opening"),
    (Mutant::ForgetsPeers, "j12_known_peers_come_back", "the known peers"),
    (
        Mutant::TearsDroppedWrites,
        "j13_dropped_write_is_whole_or_nothing",
        "all of the write or nothing, after",
    ),
    (Mutant::GivesNothingForSmallLimits, "j14_max_bytes_is_honoured", "reading from 2 with max_bytes 0"),
    (Mutant::IgnoresLimits, "j14_max_bytes_is_honoured", "reading from 1 with max_bytes 0"),
    (Mutant::CutsBigEntries, "j15_every_size_comes_back", "the length of entry 1.16"),
    (Mutant::StopsAtZeroBytes, "j15_any_bytes_come_back", "the length of entry 1.1"),
    (Mutant::DoesNotCompareChecksums, "j16_flipped_bits_are_detected", "with byte 0 ="),
    (
        Mutant::KeepsTheVoteInTheLog,
        "j17_damaged_store_keeps_or_refuses_the_vote",
        "the vote that was written",
    ),
    (Mutant::VerifiesWithoutLooking, "j18_what_was_verified_reads_back", "reading what was verified"),
    (
        Mutant::VerifiesFromMemory,
        "j18_what_was_verified_reads_back",
        "reading what was verified, after reopening",
    ),
    (
        Mutant::KeepsWhatIsDamaged,
        "j18_purged_damage_is_of_no_consequence",
        "most purges of damage to succeed",
    ),
];

/// A disk, and what a broken journal keeps wrongly beside it.
#[derive(Clone, Default)]
struct Place {
    disk: MemoryDisk,
    /// Entries that come back, hard state that stays, and a log id that is forgotten.
    aside: Arc<Mutex<Aside>>,
}

#[derive(Default)]
struct Aside {
    cut: Vec<Entry>,
    first_hard_state: Option<HardState>,
    unpurged: Vec<Entry>,
    /// What was opened all the same.
    damage: Option<Corruption>,
}

struct Broken(Mutant);

struct BrokenJournal {
    mutant: Mutant,
    inner: MemoryJournal,
    place: Place,
    /// Acknowledged, not stored.
    late: Option<JournalWrite>,
    owner: Owner,
    membership: bool,
    read: Arc<Mutex<Vec<Entry>>>,
}

struct BrokenReader {
    mutant: Mutant,
    inner: Arc<dyn JournalReader>,
    at: u64,
    /// What was read since the opening.
    read: Arc<Mutex<Vec<Entry>>>,
}

impl Broken {
    fn wrap(&self, place: &Place, owner: Owner, inner: MemoryJournal, membership: bool) -> Box<dyn Journal> {
        let place = place.clone();
        Box::new(BrokenJournal {
            mutant: self.0,
            inner,
            place,
            late: None,
            owner,
            membership,
            read: Arc::default(),
        })
    }
}

fn memory(place: &MemoryDisk, owner: Owner) -> Result<MemoryJournal, OpenError> {
    MemoryJournal::open(place, owner.cluster, owner.group, owner.node)
}

async fn all_entries(journal: &mut MemoryJournal) -> Vec<Entry> {
    let Ok(state) = journal.load().await else { return Vec::new() };
    let range = state.purged.index.next()..state.last.index.next();
    journal.reader().entries(range, u64::MAX).await.unwrap()
}

#[async_trait]
impl JournalBackend for Broken {
    type Place = Place;

    fn place(&self) -> Place {
        Place::default()
    }

    async fn create(
        &self,
        place: &Place,
        owner: Owner,
        initial: Option<&Membership>,
    ) -> Result<Box<dyn Journal>, OpenError> {
        let make = |disk| MemoryJournal::create(disk, owner.cluster, owner.group, owner.node, initial);
        let made = match make(&place.disk) {
            Err(OpenError::AlreadyExists) if self.0 == Mutant::OverwritesWhenCreating => {
                make(&MemoryDisk::new())
            }
            other => other,
        };
        Ok(self.wrap(place, owner, made?, initial.is_some()))
    }

    async fn open(&self, place: &Place, owner: Owner) -> Result<Box<dyn Journal>, OpenError> {
        let copy = match self.0 {
            Mutant::LetsASecondOpenerIn => Some(place.disk.copy()),
            _ => None,
        };
        let mut opened = match (memory(&place.disk, owner), copy) {
            (Err(OpenError::Locked { .. }), Some(copy)) => memory(&copy, owner),
            (Err(OpenError::NotInitialised), _) if self.0 == Mutant::CreatesWhenOpening => {
                MemoryJournal::create(&place.disk, owner.cluster, owner.group, owner.node, None)
            }
            (Err(OpenError::Corrupt(damage)), _) if self.0 == Mutant::OpensDamagedThoughAlone => {
                place.aside.lock().unwrap().damage = Some(damage);
                place.disk.forge_checksums();
                memory(&place.disk, owner)
            }
            (Err(OpenError::Foreign(_)), _) if self.0 == Mutant::OpensForeignJournals => {
                MemoryJournal::create(&MemoryDisk::new(), owner.cluster, owner.group, owner.node, None)
            }
            (other, _) => other,
        }?;
        if self.0 == Mutant::ThrowsDamagedBytesAway {
            place.disk.forget_evidence();
        }
        let back = {
            let mut aside = place.aside.lock().unwrap();
            std::mem::take(&mut aside.cut)
        };
        if !back.is_empty() {
            let mut write = JournalWrite::default();
            write.entries = back.into();
            // Where something else stands there by now, nothing comes back.
            let _ = opened.write(write).await;
        }
        Ok(self.wrap(place, owner, opened, true))
    }

    async fn crash(&self, place: &Place, journal: Box<dyn Journal>) -> Result<(), Unsupported> {
        place.disk.crash();
        drop(journal);
        Ok(())
    }

    fn stored_bytes(&self, place: &Place) -> Result<u64, Unsupported> {
        Ok(place.disk.stored_bytes())
    }

    fn flip_bit(&self, place: &Place, at: u64, bit: u8) -> Result<(), Unsupported> {
        if self.0 == Mutant::DoesNotCompareChecksums {
            place.disk.flip_bit(at, bit);
            place.disk.forge_checksums();
            return Ok(());
        }
        Mine.flip_bit(&place.disk, at, bit)
    }

    fn contents(&self, place: &Place) -> Result<Vec<u8>, Unsupported> {
        Ok(place.disk.contents())
    }

    fn fail_next_sync(&self, place: &Place) -> Result<(), Unsupported> {
        Mine.fail_next_sync(&place.disk)
    }

    fn syncs(&self, place: &Place) -> Result<u64, Unsupported> {
        Ok(place.disk.attempts())
    }

    fn set_full(&self, place: &Place, full: bool) -> Result<(), Unsupported> {
        Mine.set_full(&place.disk, full)
    }
}

impl BrokenJournal {
    fn reopen(&mut self) {
        self.place.disk.crash();
        self.inner = memory(&self.place.disk, self.owner).unwrap();
    }

    /// Breaks a write, on its way in.
    async fn bend(&mut self, write: &mut JournalWrite) {
        let last = self.inner.load().await.map(|state| state.last.index).unwrap_or_default();
        match self.mutant {
            Mutant::LosesHardStateWithoutEntries if write.entries.is_empty() => write.hard_state = None,
            Mutant::KeepsTheFirstHardState => {
                let mut aside = self.place.aside.lock().unwrap();
                if let Some(state) = write.hard_state {
                    let first = *aside.first_hard_state.get_or_insert(state);
                    write.hard_state = Some(HardState { term: state.term, ..first });
                }
            }
            Mutant::LosesProbation => {
                write.hard_state = write.hard_state.map(|state| HardState { probation: false, ..state });
            }
            Mutant::PartsOfAWriteCome if write.truncate_from.is_some() => write.hard_state = None,
            Mutant::TruncatesOneTooFew if write.entries.is_empty() => {
                write.truncate_from = write.truncate_from.map(Index::next);
            }
            Mutant::ForgetsTruncationAfterReopening if write.entries.is_empty() => {
                if let Some(from) = write.truncate_from {
                    let all = all_entries(&mut self.inner).await;
                    let cut = all.into_iter().filter(|entry| entry.id.index >= from).collect();
                    self.place.aside.lock().unwrap().cut = cut;
                }
            }
            Mutant::KeepsTheLongerTail => {
                if let (Some(_), Some(end)) = (write.truncate_from, write.entries.last()) {
                    let end = end.id.index;
                    let all = all_entries(&mut self.inner).await;
                    let longer = all.into_iter().filter(|entry| entry.id.index > end);
                    write.entries = write.entries.iter().cloned().chain(longer).collect();
                }
            }
            Mutant::OverwritesWithoutTruncation => {
                let first = write.entries.first().map(|entry| entry.id.index);
                if let Some(first) = first.filter(|first| *first <= last && *first > Index(0)) {
                    write.truncate_from = Some(first);
                }
            }
            Mutant::ForgetsPeers => write.known_peers = None,
            Mutant::CutsBigEntries => {
                let cut = |mut entry: Entry| {
                    entry.data.truncate((1 << 24) - 1);
                    entry
                };
                write.entries = write.entries.iter().cloned().map(cut).collect();
            }
            Mutant::StopsAtZeroBytes => {
                let cut = |mut entry: Entry| {
                    if let Some(zero) = entry.data.iter().position(|byte| *byte == 0) {
                        entry.data.truncate(zero);
                    }
                    entry
                };
                write.entries = write.entries.iter().cloned().map(cut).collect();
            }
            _ => {}
        }
    }
}

#[async_trait]
impl Journal for BrokenJournal {
    async fn load(&mut self) -> Result<JournalState, JournalError> {
        let mut state = self.inner.load().await?;
        match self.mutant {
            Mutant::ReportsNoTerms if state.purged > LogId::ZERO => state.terms.clear(),
            Mutant::EndsSilentlyAtDamage => {
                (state.verdict, state.hard_state.probation) = (Verdict::Clean, false);
            }
            // What is damaged takes the vote with it.
            Mutant::KeepsTheVoteInTheLog if state.verdict != Verdict::Clean => {
                state.hard_state.vote = Vote::None;
            }
            Mutant::NamesDamageAndVotesOn => state.hard_state.probation = false,
            Mutant::ProbationEndsWithTheNextOpening if self.place.aside.lock().unwrap().damage.is_some() => {
                (state.verdict, state.hard_state.probation) = (Verdict::Clean, false);
            }
            Mutant::ProbationEndsWithTheNextOpening => {
                if let Verdict::Corrupt(damage) = &state.verdict {
                    self.place.aside.lock().unwrap().damage = Some(damage.clone());
                }
            }
            Mutant::OpensDamagedThoughAlone => {
                let damage = self.place.aside.lock().unwrap().damage.clone();
                state.verdict = damage.map_or(state.verdict, Verdict::Corrupt);
            }
            Mutant::SuspectsWhatIsWhole => {
                state.verdict = Verdict::SuspectTail { from: state.last.index.next() };
            }
            Mutant::DrawsANewStoreId => {
                state.identity.store.0 ^= u128::from(state.identity.incarnation.nonce)
            }
            Mutant::KeepsItsIncarnation => state.identity.incarnation.number = 1,
            _ => {}
        }
        Ok(state)
    }

    async fn write(&mut self, mut write: JournalWrite) -> Result<(), JournalError> {
        self.bend(&mut write).await;
        match self.mutant {
            Mutant::AcksBeforeItIsDurable => {
                if let Some(late) = self.late.take() {
                    self.inner.write(late).await?;
                }
                self.late = Some(write);
                Ok(())
            }
            Mutant::TearsDroppedWrites => {
                let mut rest = JournalWrite::default();
                rest.entries = std::mem::take(&mut write.entries);
                self.inner.write(write).await?;
                tokio::task::yield_now().await;
                self.inner.write(rest).await
            }
            Mutant::WritesHardStateLast => {
                let mut rest = JournalWrite::default();
                rest.hard_state = write.hard_state.take();
                self.inner.write(write).await?;
                tokio::task::yield_now().await;
                self.inner.write(rest).await
            }
            _ => match self.inner.write(write.clone()).await {
                Err(JournalError::Gap { .. }) if self.mutant == Mutant::SwallowsGaps => Ok(()),
                Err(JournalError::Io { .. }) if self.mutant == Mutant::SwallowsSyncErrors => Ok(()),
                Err(JournalError::Io { .. }) if self.mutant == Mutant::RetriesAfterSyncErrors => {
                    self.reopen();
                    self.inner.write(write).await
                }
                Err(JournalError::NoSpace { .. }) if self.mutant == Mutant::CallsFullAnIoError => {
                    Err(io_error())
                }
                Err(full @ JournalError::NoSpace { .. })
                    if self.mutant == Mutant::CutsBeforeItFindsNoSpace =>
                {
                    let mut cut = JournalWrite::default();
                    cut.truncate_from = write.truncate_from;
                    self.inner.write(cut).await?;
                    Err(full)
                }
                other => other,
            },
        }
    }

    async fn purge(&mut self, mut upto: LogId) -> Result<(), JournalError> {
        if self.mutant == Mutant::KeepsWhatIsDamaged {
            // It goes on no further than what it can read.
            let reader = self.inner.reader();
            let first = self.inner.load().await?.purged.index.next();
            for index in first.0..=upto.index.0 {
                reader.entries(Index(index)..Index(index + 1), 1).await?;
            }
            return self.inner.purge(upto).await;
        }
        match self.mutant {
            Mutant::PurgesOneTooMany => {
                let all = all_entries(&mut self.inner).await;
                let next = all.iter().find(|entry| entry.id.index == upto.index.next());
                upto = next.map_or(upto, |entry| entry.id);
            }
            Mutant::ForgetsPurgeAfterReopening => {
                let all = all_entries(&mut self.inner).await;
                let purged = all.into_iter().filter(|entry| entry.id.index <= upto.index);
                self.place.aside.lock().unwrap().unpurged.extend(purged);
            }
            Mutant::KeepsTheLastEntry if self.inner.load().await?.last == upto => return Ok(()),
            _ => {}
        }
        match self.inner.purge(upto).await {
            Err(JournalError::Refused { .. }) if self.mutant == Mutant::PurgesWhatIsNotThere => Ok(()),
            other => other,
        }
    }

    async fn reset(&mut self, to: LogId) -> Result<(), JournalError> {
        if self.mutant == Mutant::ResetsNothing {
            return Ok(());
        }
        let all = all_entries(&mut self.inner).await;
        self.inner.reset(to).await?;
        if self.mutant == Mutant::ResetKeepsTheTail {
            let mut write = JournalWrite::default();
            write.entries = all.into_iter().filter(|entry| entry.id.index > to.index).collect();
            self.inner.write(write).await?;
        }
        Ok(())
    }

    fn reader(&self) -> Arc<dyn JournalReader> {
        let at = u64::from(self.membership);
        Arc::new(BrokenReader {
            mutant: self.mutant,
            inner: self.inner.reader(),
            at,
            read: Arc::clone(&self.read),
        })
    }
}

impl Drop for BrokenJournal {
    fn drop(&mut self) {
        let unpurged = std::mem::take(&mut self.place.aside.lock().unwrap().unpurged);
        if unpurged.is_empty() {
            return;
        }
        // The start of the log is found anew, from what is still on the disk.
        self.place.disk.forget_purge(unpurged);
    }
}

#[async_trait]
impl JournalReader for BrokenReader {
    async fn entries(
        &self,
        range: std::ops::Range<Index>,
        max_bytes: u64,
    ) -> Result<Vec<Entry>, JournalError> {
        if self.mutant == Mutant::VerifiesFromMemory {
            let mut read = self.read.lock().unwrap().clone();
            read.retain(|entry| range.contains(&entry.id.index));
            if !read.is_empty() {
                return Ok(read);
            }
        }
        let limit = if self.mutant == Mutant::IgnoresLimits { u64::MAX } else { max_bytes };
        let mut entries = self.inner.entries(range.clone(), limit).await?;
        match self.mutant {
            Mutant::GivesNothingForSmallLimits
                if entries.first().is_some_and(|entry| entry.data.len() as u64 > max_bytes) =>
            {
                entries.clear();
            }
            Mutant::HidesTheLastEntryFromReaders if range.start.0 > self.at => {
                entries.pop();
            }
            Mutant::VerifiesFromMemory => self.read.lock().unwrap().clone_from(&entries),
            _ => {}
        }
        Ok(entries)
    }

    async fn verify(&self, range: std::ops::Range<Index>, max_bytes: u64) -> Result<Verified, JournalError> {
        if matches!(self.mutant, Mutant::VerifiesWithoutLooking | Mutant::VerifiesFromMemory) {
            return Ok(Verified { next: range.end, bytes: 0 });
        }
        self.inner.verify(range, max_bytes).await
    }
}

#[tokio::test]
async fn every_mutant_is_caught_by_its_clause() {
    let mut escaped = Vec::new();
    for (mutant, clause, words) in TABLE {
        let result = run(&Broken(*mutant), clause).await;
        if !report_mutant("journal (more)", mutant, clause, words, &result) {
            escaped.push((mutant, clause, words, result.err()));
        }
    }
    assert!(escaped.is_empty(), "not caught: {escaped:#?}");
}

/// So that what the clauses catch are the mutants, not the wrapper around them.
#[tokio::test]
async fn the_wrapper_alone_breaks_nothing() {
    let left_out = [
        "j01_acknowledged_survives_a_kill",
        "j09_no_space_is_typed",
        "j09_what_found_no_space_can_be_written_later",
    ];
    for clause in CLAUSES.iter().filter(|clause| !left_out.contains(&clause.name)) {
        let result = run(&Broken(Mutant::CallsFullAnIoError), clause.name).await;
        assert!(result.is_ok(), "{}", result.unwrap_err());
    }
}

#[test]
fn every_contract_number_has_a_clause_and_a_mutant() {
    let numbers: Vec<String> = CLAUSES.iter().map(raft_testkit::conformance::Clause::number).collect();
    for number in 1..=18 {
        assert!(numbers.contains(&format!("J{number}")), "no clause for J{number}");
    }
    for clause in CLAUSES {
        assert!(clause.sentence.starts_with('J'), "{}", clause.name);
    }
    let caught = |number: usize| {
        let prefix = format!("j{number:02}_");
        TABLE.iter().any(|(_, clause, _)| clause.starts_with(&prefix))
    };
    let uncaught: Vec<usize> = (1..=18).filter(|number| !caught(*number)).collect();
    assert!(uncaught.is_empty(), "{uncaught:?}");
}
