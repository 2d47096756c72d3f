//! J10, J16, J17 and J18: stored bytes that changed.

use core::ops::Range;

use raft_core::backend::{HardState, Journal, JournalError, OpenError, Verdict, Vote};
use raft_core::entry::Entry;
use raft_core::ids::{Index, NodeId};
use raft_core::membership::{Member, Membership};

use super::super::{ClauseFailure, Random, ensure, equal, fail, ok};
use super::JournalBackend;
use super::pair::{ALL, OWNER, append, entry, run_of, same_entries, three, with_vote};

/// At most so many flips; in a store with more bytes they are drawn.
const FLIPS: u64 = 600;

/// At most so many times over the whole store, until something was hit.
const PASSES: u64 = 6;

/// What reading everything after a flip has shown.
enum Seen {
    /// Opening was refused.
    Refused,
    /// The verdict names damage.
    Verdict,
    /// A read names damage.
    Read,
    /// Everything is there as it was written.
    Nothing,
}

struct Written {
    hard_state: HardState,
    entries: Vec<Entry>,
}

async fn fill<B: JournalBackend>(backend: &B, place: &B::Place) -> Result<Written, ClauseFailure> {
    fill_for(backend, place, &three()?).await
}

async fn fill_for<B: JournalBackend>(
    backend: &B,
    place: &B::Place,
    members: &Membership,
) -> Result<Written, ClauseFailure> {
    let mut journal = ok("creating", backend.create(place, OWNER, Some(members)).await)?;
    ok("loading", journal.load().await)?;
    let first = run_of(1, 2..8);
    ok("a write", journal.write(with_vote(1, Vote::For(NodeId(1)), append(first.clone()))).await)?;
    let second = vec![entry(2, 8, vec![0; 40]), entry(2, 9, ""), entry(2, 10, vec![0xff; 200])];
    let write = with_vote(2, Vote::For(NodeId(3)), append(second.clone()));
    let hard_state = write.hard_state.unwrap_or_default();
    ok("a write", journal.write(write).await)?;
    Ok(Written { hard_state, entries: [first, second].concat() })
}

/// Whether acknowledged entries may be missing.
const fn names_damage(verdict: &Verdict) -> bool {
    !matches!(verdict, Verdict::Clean | Verdict::TornTail { .. })
}

/// Opens and reads everything; damage must be named, or nothing be missing.
async fn look<B: JournalBackend>(
    backend: &B,
    place: &B::Place,
    written: &Written,
) -> Result<Seen, ClauseFailure> {
    let mut journal = match backend.open(place, OWNER).await {
        Ok(journal) => journal,
        // A damaged header may look like anything but a journal that can be used.
        Err(OpenError::Locked { .. }) => return Err(fail("a verdict", "Locked")),
        Err(_) => return Ok(Seen::Refused),
    };
    let state = match journal.load().await {
        Ok(state) => state,
        Err(JournalError::Corrupt(_)) => return Ok(Seen::Refused),
        Err(error) => return Err(fail("Corrupt", error)),
    };
    let named = names_damage(&state.verdict);
    // A vote is never taken back without a word, and never turned into another one.
    if state.hard_state != written.hard_state {
        let hard_state = HardState { probation: written.hard_state.probation, ..state.hard_state };
        ensure(named && hard_state == written.hard_state, "the vote that was written", state.hard_state)?;
    }
    // Before anything is read: an index that was flipped may be too great to be counted up to.
    let end = written.entries.last().map(|entry| entry.id).unwrap_or_default();
    ensure(state.last.index <= end.index, format!("no entry behind {end}"), state.last)?;
    let first = state.purged.index.next().max(Index(2));
    let mut read = Vec::new();
    let reader = journal.reader();
    let mut broken = false;
    for index in first.0..=state.last.index.0 {
        match reader.entries(Index(index)..Index(index + 1), ALL).await {
            Ok(entries) => read.extend(entries),
            Err(JournalError::Corrupt(_)) => broken = true,
            Err(error) => return Err(fail("the entry, or Corrupt", error)),
        }
    }
    for seen in &read {
        let at = usize::try_from(seen.id.index.0.saturating_sub(2)).unwrap_or(usize::MAX);
        let wanted = written.entries.get(at).map(core::slice::from_ref).unwrap_or_default();
        same_entries(core::slice::from_ref(seen), wanted)?;
    }
    if named {
        return Ok(Seen::Verdict);
    }
    if broken {
        return Ok(Seen::Read);
    }
    let verdict = &state.verdict;
    let expected = format!("all entries, as the verdict is {verdict:?}");
    ensure(read.len() == written.entries.len(), expected, read.iter().map(|one| one.id).collect::<Vec<_>>())?;
    Ok(Seen::Nothing)
}

/// Flips bits one at a time, each in a store of its own kind; counts what was noticed.
async fn flips<B: JournalBackend>(backend: &B, limit: u64, seed: u64) -> Result<(u64, u64), ClauseFailure> {
    let (mut noticed, mut unnoticed, mut random) = (0, 0, Random::new(seed));
    let mut at = 0;
    loop {
        let place = backend.place();
        let written = fill(backend, &place).await?;
        let size = backend.stored_bytes(&place)?;
        ensure(size > 0, "stored bytes that can be damaged", size)?;
        let step = size.div_ceil(limit).max(1);
        if at >= size {
            return Ok((noticed, unnoticed));
        }
        let (byte, bit) = (at + random.below(step.min(size - at)), random.below(8) as u8);
        backend.flip_bit(&place, byte, bit)?;
        let seen = look(backend, &place, &written).await.map_err(|failure| {
            fail(failure.expected, format!("{} (bit {bit} of byte {byte} was flipped)", failure.seen))
        })?;
        match seen {
            Seen::Nothing => unnoticed += 1,
            Seen::Refused | Seen::Verdict | Seen::Read => noticed += 1,
        }
        at += step;
    }
}

/// At least one of them must be noticed. Of a store with much room few hit anything, and how much room there is may depend on
/// the moment.
async fn notices_flips<B: JournalBackend>(backend: &B, limit: u64, seed: u64) -> Result<(), ClauseFailure> {
    for pass in 0..PASSES {
        if flips(backend, limit, seed + pass).await?.0 > 0 {
            return Ok(());
        }
    }
    Err(fail("at least one flip that is noticed", 0))
}

pub(super) async fn j10_damage_is_never_cut_silently<B: JournalBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    notices_flips(backend, FLIPS / 4, 10).await
}

/// A bit somewhere in what is stored.
fn somewhere<B: JournalBackend>(
    backend: &B,
    place: &B::Place,
    random: &mut Random,
) -> Result<(u64, u8), ClauseFailure> {
    let size = backend.stored_bytes(place)?;
    ensure(size > 0, "stored bytes that can be damaged", size)?;
    Ok((random.below(size), random.below(8) as u8))
}

/// Rounds of the clauses that look at what opening does about damage: of a store with much room few flips hit.
const ROUNDS: u64 = 640;
/// So many hits are enough.
const HITS: u64 = 12;

pub(super) async fn j10_damage_puts_on_probation<B: JournalBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    let (mut named, mut random) = (0, Random::new(101));
    for _ in 0..ROUNDS {
        if named >= HITS {
            break;
        }
        let place = backend.place();
        fill(backend, &place).await?;
        let (at, bit) = somewhere(backend, &place, &mut random)?;
        backend.flip_bit(&place, at, bit)?;
        let Ok(mut journal) = backend.open(&place, OWNER).await else { continue };
        let Ok(state) = journal.load().await else { continue };
        if !names_damage(&state.verdict) {
            continue;
        }
        named += 1;
        let expected = format!("probation, as the verdict is {:?}", state.verdict);
        ensure(state.hard_state.probation, expected, state.hard_state)?;
        // The verdict may be given once; what follows from it stays, though the node has written nothing.
        drop(journal);
        let mut journal = ok("a second opening", backend.open(&place, OWNER).await)?;
        let state = ok("loading", journal.load().await)?;
        let expected = "probation after a second opening";
        ensure(state.hard_state.probation, expected, (state.hard_state, state.verdict))?;
    }
    ensure(named > 0, "at least one flip that opening names", named)
}

pub(super) async fn j10_damaged_bytes_are_kept<B: JournalBackend>(backend: &B) -> Result<(), ClauseFailure> {
    /// The flipped byte with those before it, or behind it, is nowhere else. Not both: it may be the first or the last
    /// of a file.
    const NEAR: usize = 12;
    let (mut named, mut random) = (0, Random::new(102));
    for _ in 0..ROUNDS {
        if named >= HITS {
            break;
        }
        let place = backend.place();
        fill(backend, &place).await?;
        let before = backend.contents(&place)?;
        let (at, bit) = somewhere(backend, &place, &mut random)?;
        backend.flip_bit(&place, at, bit)?;
        let damaged = backend.contents(&place)?;
        let changed = before.iter().zip(&damaged).position(|(before, now)| before != now);
        let changed = changed.ok_or_else(|| fail("contents that show a flipped bit", "they do not"))?;
        let before = damaged.get((changed + 1).saturating_sub(NEAR)..=changed).unwrap_or_default();
        let behind = damaged.get(changed..damaged.len().min(changed + NEAR)).unwrap_or_default();
        let Ok(mut journal) = backend.open(&place, OWNER).await else { continue };
        let Ok(state) = journal.load().await else { continue };
        if !names_damage(&state.verdict) {
            continue;
        }
        named += 1;
        drop(journal);
        drop(ok("a second opening", backend.open(&place, OWNER).await)?);
        let kept = backend.contents(&place)?;
        let holds = |near: &[u8]| kept.windows(near.len().max(1)).any(|bytes| bytes == near);
        let seen = format!("gone after {:?} (bit {bit} of byte {at} was flipped)", state.verdict);
        ensure(holds(before) || holds(behind), "the damaged bytes, kept for people to look at", seen)?;
    }
    ensure(named > 0, "at least one flip that opening names", named)
}

pub(super) async fn j10_single_voter_is_refused<B: JournalBackend>(backend: &B) -> Result<(), ClauseFailure> {
    let alone = ok("a membership of one", Membership::of_voters([Member::new(OWNER.node, "host:1")]))?;
    let (mut refused, mut random) = (0, Random::new(103));
    for _ in 0..ROUNDS {
        if refused >= HITS {
            break;
        }
        let place = backend.place();
        let written = fill_for(backend, &place, &alone).await?;
        let (at, bit) = somewhere(backend, &place, &mut random)?;
        backend.flip_bit(&place, at, bit)?;
        match backend.open(&place, OWNER).await {
            Ok(mut journal) => {
                let Ok(state) = journal.load().await else { continue };
                // Where the membership is lost nobody knows that it was alone.
                let knows = names_damage(&state.verdict) && !state.memberships.is_empty();
                let expected = "a refusal to open: a single voter has nobody to fetch from";
                ensure(!knows, expected, &state.verdict)?;
            }
            Err(OpenError::Corrupt(_)) => {
                refused += 1;
                // The same bit again: as nothing was changed, all is there.
                backend.flip_bit(&place, at, bit)?;
                let mut journal = ok("opening once it is mended", backend.open(&place, OWNER).await)?;
                let state = ok("loading", journal.load().await)?;
                let seen = (state.verdict, state.last, state.hard_state);
                let last = written.entries.last().map(|entry| entry.id).unwrap_or_default();
                let expected = (Verdict::Clean, last, written.hard_state);
                ensure(seen == expected, format!("all as it was before the refusal: {expected:?}"), &seen)?;
            }
            Err(_) => {}
        }
    }
    ensure(refused > 0, "at least one flip for which a single voter is refused", refused)
}

/// Where nothing is noticed everything is as it was written: the byte held nothing, or was repaired.
pub(super) async fn j16_flipped_bits_are_detected<B: JournalBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    notices_flips(backend, FLIPS, 16).await
}

pub(super) async fn j17_damaged_store_keeps_or_refuses_the_vote<B: JournalBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    let mut random = Random::new(17);
    for _ in 0..40 {
        let place = backend.place();
        let written = fill(backend, &place).await?;
        let size = backend.stored_bytes(&place)?;
        // A burst: neighbouring bytes, as a bad sector has them.
        let start = random.below(size);
        for at in start..size.min(start + 1 + random.below(64)) {
            backend.flip_bit(&place, at, random.below(8) as u8)?;
        }
        let Ok(mut journal) = backend.open(&place, OWNER).await else { continue };
        let state = ok("loading", journal.load().await)?;
        let vote = (state.hard_state.term, state.hard_state.vote);
        let wanted = (written.hard_state.term, written.hard_state.vote);
        ensure(vote == wanted, format!("the vote that was written, {wanted:?}"), vote)?;
    }
    Ok(())
}

/// An open journal of which one stored bit has flipped since, what was written, and what verifying it says.
async fn flipped<B: JournalBackend>(
    backend: &B,
    place: &B::Place,
    random: &mut Random,
) -> Result<(Box<dyn Journal>, Vec<Entry>, Option<Range<Index>>), ClauseFailure> {
    drop(fill(backend, place).await?);
    let mut journal = ok("opening", backend.open(place, OWNER).await)?;
    ok("loading", journal.load().await)?;
    // Of several writes, each longer than a bit of a read.
    for from in [11, 14, 17] {
        let entries = (from..from + 3).map(|index| entry(2, index, vec![7; 300])).collect();
        ok("a write", journal.write(append(entries)).await)?;
    }
    let all = ok("reading", journal.reader().entries(Index(2)..Index(20), ALL).await)?;
    backend.flip_bit(place, random.below(backend.stored_bytes(place)?), random.below(8) as u8)?;
    let (reader, mut next) = (journal.reader(), Index(2));
    while next < Index(20) {
        match reader.verify(next..Index(20), 500).await {
            Ok(verified) => {
                ensure(verified.next > next && verified.next <= Index(20), "a later entry", verified)?;
                next = verified.next;
            }
            Err(JournalError::Corrupt(damage)) => {
                let range = damage.range.clone().unwrap_or(next..Index(20));
                ensure(range.start < range.end && range.end <= Index(20), "entries of the range", damage)?;
                return Ok((journal, all, Some(range)));
            }
            Err(error) => return Err(fail("Corrupt", error)),
        }
    }
    Ok((journal, all, None))
}

pub(super) async fn j18_what_was_verified_reads_back<B: JournalBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    let mut random = Random::new(18);
    for _ in 0..FLIPS / 6 {
        let place = backend.place();
        let (journal, all, damaged) = flipped(backend, &place, &mut random).await?;
        let end = damaged.map_or(Index(20), |range| range.start);
        if end > Index(2) {
            let seen = journal.reader().entries(Index(2)..end, ALL).await;
            let seen = ok("reading what was verified", seen)?;
            same_entries(&seen, all.get(..seen.len()).unwrap_or_default())?;
            let kept = seen.len();
            drop(journal);
            // Damage elsewhere may be such that nothing can be told of the entries any more. Otherwise what was verified has not got
            // lost.
            if let Ok(mut journal) = backend.open(&place, OWNER).await {
                let state = ok("loading after reopening", journal.load().await)?;
                if matches!(state.verdict, Verdict::Corrupt(_)) {
                    continue;
                }
                let seen = journal.reader().entries(Index(2)..end, ALL).await;
                let seen = ok("reading what was verified, after reopening", seen)?;
                same_entries(&seen, all.get(..kept).unwrap_or_default())?;
            }
        }
    }
    Ok(())
}

pub(super) async fn j18_purged_damage_is_of_no_consequence<B: JournalBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    let mut random = Random::new(180);
    let (mut purged, mut refused) = (0, 0);
    for flip in 0..FLIPS {
        // Few flips damage an entry. One refusal among a handful of purges says nothing yet: then there are more.
        if flip >= FLIPS / 6 && purged >= 10 * refused {
            break;
        }
        let place = backend.place();
        let (mut journal, mut all, damaged) = flipped(backend, &place, &mut random).await?;
        let Some(range) = damaged else { continue };
        let told = |failure: ClauseFailure| {
            fail(failure.expected, format!("{} (verify found damage in entries {range:?})", failure.seen))
        };
        let Some(upto) = all.iter().map(|entry| entry.id).find(|id| id.index.next() == range.end) else {
            return Err(fail("entries that were written", format!("{range:?}")));
        };
        match journal.purge(upto).await {
            // Where the bytes around the entries are hit, the store may be beyond a purge: it says so.
            Err(JournalError::Corrupt(_)) => {
                refused += 1;
                continue;
            }
            result => ok("purging what is damaged", result).map_err(told)?,
        }
        purged += 1;
        let next = vec![entry(2, 20, vec![9; 100])];
        ok("a write", journal.write(append(next.clone())).await).map_err(told)?;
        all.extend(next);
        all.retain(|entry| entry.id.index > upto.index);
        let left = upto.index.next()..Index(21);
        let seen = journal.reader().entries(left.clone(), ALL).await;
        let seen = ok("reading what is left", seen).map_err(told)?;
        same_entries(&seen, &all)?;
        drop(journal);
        let mut journal = ok("reopening", backend.open(&place, OWNER).await)?;
        let state = ok("loading", journal.load().await)?;
        equal("the verdict", &state.verdict, &Verdict::Clean).map_err(told)?;
        equal("the purged entry", &state.purged, &upto)?;
        let seen = ok("reading after reopening", journal.reader().entries(left, ALL).await)?;
        same_entries(&seen, &all)?;
    }
    // One in ten at most: what is beyond a purge is what holds the entries, and not an entry.
    ensure(
        purged >= 10 * refused,
        "most purges of damage to succeed",
        format!("{purged} did, {refused} did not"),
    )
}
