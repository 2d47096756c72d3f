//! J8 and J9: a disk that fails, and one that is full.

use raft_core::backend::{Journal, JournalError, JournalWrite, Vote};
use raft_core::ids::{Index, LogId, NodeId};

use super::super::{ClauseFailure, ensure, equal, ok};
use super::JournalBackend;
use super::pair::{ALL, OWNER, append, run_of, same_entries, with_vote};

/// A journal that holds what `write` says and has nothing to do. One that was just written to may be busy with
/// things of its own, such as the next segment or a mark that it syncs when nobody asks for anything: the fault
/// would meet those, or they would be counted. So it is closed, and opened again.
async fn at_rest<B: JournalBackend>(
    backend: &B,
    place: &B::Place,
    write: JournalWrite,
) -> Result<Box<dyn Journal>, ClauseFailure> {
    let mut journal = ok("creating", backend.create(place, OWNER, None).await)?;
    ok("loading", journal.load().await)?;
    ok("a write", journal.write(write).await)?;
    drop(journal);
    let mut journal = ok("reopening", backend.open(place, OWNER).await)?;
    ok("loading", journal.load().await)?;
    Ok(journal)
}

pub(super) async fn j08_failed_sync_poisons<B: JournalBackend>(backend: &B) -> Result<(), ClauseFailure> {
    let place = backend.place();
    let vote = Vote::For(NodeId(2));
    let mut journal = at_rest(backend, &place, with_vote(1, vote, append(run_of(1, 1..10)))).await?;
    backend.fail_next_sync(&place)?;
    let first = journal.write(append(run_of(1, 10..12))).await;
    ensure(first.is_err(), "an error for the write whose sync failed", &first)?;
    for attempt in [append(run_of(1, 10..12)), append(Vec::new()), with_vote(2, vote, append(Vec::new()))] {
        // An empty write has nothing to sync, and may be told so or refused.
        let is_empty = attempt.entries.is_empty() && attempt.hard_state.is_none();
        let later = journal.write(attempt).await;
        let poisoned = matches!(later, Err(JournalError::Poisoned { .. }));
        ensure(poisoned || (is_empty && later.is_ok()), "Poisoned for every later write", &later)?;
    }
    drop(journal);
    let mut journal = ok("reopening", backend.open(&place, OWNER).await)?;
    let state = ok("loading", journal.load().await)?;
    ensure(state.last.index >= Index(9), "what was acknowledged", state.last)?;
    equal("the vote", &state.hard_state.vote, &vote)?;
    let seen = ok("reading", journal.reader().entries(Index(1)..Index(10), ALL).await)?;
    same_entries(&seen, &run_of(1, 1..10))?;
    let next = state.last.index.0 + 1;
    ok("a write after reopening", journal.write(append(run_of(2, [next]))).await)
}

pub(super) async fn j08_failed_sync_is_not_retried<B: JournalBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    let place = backend.place();
    let mut journal = at_rest(backend, &place, append(run_of(1, 1..10))).await?;
    backend.fail_next_sync(&place)?;
    let before = backend.syncs(&place)?;
    let failed = journal.write(append(run_of(1, 10..12))).await;
    let count = backend.syncs(&place)?.saturating_sub(before);
    equal("syncs in the write whose sync failed", &count, &1)?;
    ensure(failed.is_err(), "an error for that write", &failed)?;
    let later = with_vote(2, Vote::For(NodeId(2)), append(run_of(1, 10..12)));
    let answers = [
        journal.write(later).await,
        journal.purge(LogId::new(1, 5)).await,
        journal.reset(LogId::new(1, 20)).await,
    ];
    ensure(answers.iter().all(Result::is_err), "an error for all that is asked later", &answers)?;
    drop(journal);
    let count = backend.syncs(&place)?.saturating_sub(before);
    equal("syncs until the journal is dropped", &count, &1)
}

pub(super) async fn j09_no_space_is_typed<B: JournalBackend>(backend: &B) -> Result<(), ClauseFailure> {
    let place = backend.place();
    let mut journal = ok("creating", backend.create(&place, OWNER, None).await)?;
    ok("loading", journal.load().await)?;
    ok("a write", journal.write(append(run_of(1, 1..10))).await)?;
    let reader = journal.reader();
    backend.set_full(&place, true)?;
    // A backend may have some space in hand: it is used up first.
    let mut acknowledged = 9;
    let refused = loop {
        let next = append(vec![super::pair::entry(1, acknowledged + 1, vec![9; 1 << 20])]);
        match journal.write(next).await {
            Ok(()) if acknowledged < 200 => acknowledged += 1,
            other => break other,
        }
    };
    ensure(matches!(refused, Err(JournalError::NoSpace { .. })), "NoSpace", &refused)?;
    let seen = ok("reading while full", reader.entries(Index(1)..Index(10), ALL).await)?;
    same_entries(&seen, &run_of(1, 1..10))?;
    drop(journal);
    backend.set_full(&place, false)?;
    let mut journal: Box<dyn Journal> = ok("reopening", backend.open(&place, OWNER).await)?;
    let state = ok("loading", journal.load().await)?;
    ensure(state.last.index >= Index(acknowledged), "what was acknowledged", state.last)?;
    let next = state.last.index.0 + 1;
    ok("a write after space returned", journal.write(append(run_of(2, [next]))).await)
}

pub(super) async fn j09_what_found_no_space_can_be_written_later<B: JournalBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    let big = |term, index| super::pair::entry(term, index, vec![9; 1 << 20]);
    let place = backend.place();
    let mut journal = ok("creating", backend.create(&place, OWNER, None).await)?;
    ok("loading", journal.load().await)?;
    ok("a write", journal.write(append(run_of(1, 1..10))).await)?;
    let reader = journal.reader();
    backend.set_full(&place, true)?;
    let mut last = 9;
    while last < 200 && journal.write(append(vec![big(1, last + 1)])).await.is_ok() {
        last += 1;
    }
    let before = ok("reading", reader.entries(Index(last)..Index(last + 1), ALL).await)?;
    // It replaces the last entry, so that it can be seen if a part of it was done.
    let vote = Vote::For(NodeId(3));
    let new = vec![big(2, last), big(2, last + 1)];
    let write = with_vote(2, vote, super::pair::replace(last, new.clone()));
    for round in 0..2 {
        let refused = journal.write(write.clone()).await;
        let typed = matches!(refused, Err(JournalError::NoSpace { .. } | JournalError::Poisoned { .. }));
        ensure(typed, "NoSpace, or Poisoned", &refused)?;
        let seen = ok("reading while full", reader.entries(Index(last)..Index(last + 1), ALL).await)?;
        same_entries(&seen, &before)?;
        if matches!(refused, Err(JournalError::Poisoned { .. })) {
            drop(journal);
            backend.set_full(&place, false)?;
            journal = ok("reopening", backend.open(&place, OWNER).await)?;
            ok("loading", journal.load().await)?;
            break;
        }
        if round == 1 {
            backend.set_full(&place, false)?;
        }
    }
    ok("the same write with space again", journal.write(write).await)?;
    let range = Index(last)..Index(last + 2);
    let seen = ok("reading", journal.reader().entries(range.clone(), ALL).await)?;
    same_entries(&seen, &new)?;
    drop(journal);
    let mut journal = ok("reopening", backend.open(&place, OWNER).await)?;
    let state = ok("loading", journal.load().await)?;
    equal("the last entry", &state.last, &LogId::new(2, last + 1))?;
    equal("the vote", &state.hard_state.vote, &vote)?;
    let seen = ok("reading after reopening", journal.reader().entries(range, ALL).await)?;
    same_entries(&seen, &new)
}

pub(super) async fn j05_unsynced_is_not_read<B: JournalBackend>(backend: &B) -> Result<(), ClauseFailure> {
    let place = backend.place();
    let mut journal = at_rest(backend, &place, append(run_of(1, 1..10))).await?;
    let reader = journal.reader();
    backend.fail_next_sync(&place)?;
    let failed = journal.write(append(run_of(1, 10..12))).await;
    ensure(failed.is_err(), "an error for the write whose sync failed", &failed)?;
    let seen = reader.entries(Index(10)..Index(12), ALL).await;
    equal("reading what was not synced", &seen, &Err(JournalError::OutOfRange { last: Index(9) }))?;
    let seen = ok("reading what was", reader.entries(Index(1)..Index(10), ALL).await)?;
    same_entries(&seen, &run_of(1, 1..10))
}
