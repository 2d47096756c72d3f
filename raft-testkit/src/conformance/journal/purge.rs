//! J6 and J7: the beginning of the log.

use raft_core::ids::{Index, LogId};

use super::super::{ClauseFailure, equal, fail, ok};
use super::JournalBackend;
use super::cancel::poll_times;
use super::durable::large;
use super::pair::{ALL, OWNER, Pair, append, run_of, same_entries, three};

async fn filled<B: JournalBackend>(backend: &B) -> Result<Pair<'_, B>, ClauseFailure> {
    let mut pair = Pair::create(backend, Some(&three()?)).await?;
    for index in 2..=20 {
        pair.write_ok(append(run_of(1 + index / 7, [index]))).await?;
    }
    Ok(pair)
}

pub(super) async fn j06_purge_keeps_what_is_above<B: JournalBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    let mut pair = filled(backend).await?;
    for index in [1, 2, 6, 7, 13, 19] {
        let term = if index == 1 { 0 } else { 1 + index / 7 };
        pair.purge(LogId::new(term, index)).await?;
        pair.check_entries().await?;
        pair.reopen().await?;
    }
    Ok(())
}

pub(super) async fn j06_purged_is_compacted<B: JournalBackend>(backend: &B) -> Result<(), ClauseFailure> {
    let mut pair = filled(backend).await?;
    pair.purge(LogId::new(2, 10)).await?;
    for round in 0..2 {
        let reader = pair.reader()?;
        for index in 1..=10 {
            let seen = reader.entries(Index(index)..Index(12), 1).await;
            let compacted = raft_core::backend::JournalError::Compacted { purged: LogId::new(2, 10) };
            equal(format!("reading from {index}"), &seen, &Err(compacted))?;
        }
        if round == 0 {
            pair.reopen().await?;
        }
    }
    Ok(())
}

pub(super) async fn j06_log_can_be_purged_to_its_end<B: JournalBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    let mut pair = filled(backend).await?;
    pair.purge(LogId::new(3, 20)).await?;
    pair.check_entries().await?;
    pair.reopen().await?;
    pair.write_ok(append(run_of(9, 21..25))).await?;
    pair.reopen().await?;
    pair.purge(LogId::new(9, 24)).await?;
    pair.write_ok(append(run_of(9, 25..27))).await?;
    pair.reopen().await
}

pub(super) async fn j06_unknown_purge_is_refused<B: JournalBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    let mut pair = filled(backend).await?;
    pair.purge(LogId::new(2, 10)).await?;
    for unknown in [LogId::new(3, 12), LogId::new(3, 21), LogId::new(1, 5), LogId::new(1, 10)] {
        pair.purge(unknown).await?;
        pair.check_entries().await?;
        pair.reopen().await?;
    }
    // Twice the same is no more than once.
    pair.purge(LogId::new(2, 10)).await?;
    pair.reopen().await
}

pub(super) async fn j07_reset_empties<B: JournalBackend>(backend: &B) -> Result<(), ClauseFailure> {
    let mut pair = filled(backend).await?;
    pair.reset(LogId::new(8, 100)).await?;
    pair.check_entries().await?;
    pair.reopen().await?;
    pair.write_ok(append(run_of(9, 101..105))).await?;
    pair.check_entries().await?;
    pair.reopen().await?;
    // Back before what is there is refused.
    pair.reset(LogId::new(8, 99)).await?;
    pair.reopen().await
}

pub(super) async fn j07_reset_inside_the_log_empties<B: JournalBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    let mut pair = filled(backend).await?;
    pair.reset(LogId::new(8, 10)).await?;
    pair.check_entries().await?;
    pair.reopen().await?;
    // What comes at the old indexes is new.
    pair.write_ok(append(run_of(9, 11..15))).await?;
    pair.reopen().await
}

pub(super) async fn j06_purge_of_a_long_log_keeps_what_is_above<B: JournalBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    let mut pair = Pair::create(backend, None).await?;
    for index in 1..=60 {
        pair.write_ok(append(vec![large(index)])).await?;
    }
    for index in [2, 3, 5, 8, 13, 21, 34, 55] {
        pair.purge(large(index).id).await?;
        pair.check_entries().await?;
        pair.reopen().await?;
    }
    pair.write_ok(append(vec![large(61)])).await?;
    pair.reopen().await
}

/// For every number of polls after which the machine goes down, until the purge is done before that.
pub(super) async fn j06_crash_in_a_purge_keeps_what_is_above<B: JournalBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    for polls in 0..20 {
        let place = backend.place();
        let mut journal = ok("creating", backend.create(&place, OWNER, None).await)?;
        ok("loading", journal.load().await)?;
        for index in 1..=40 {
            ok("a write", journal.write(append(vec![large(index)])).await)?;
        }
        let upto = large(33).id;
        let ready = {
            let mut purge = journal.purge(upto);
            poll_times(&mut purge, polls).await.is_ready()
        };
        backend.crash(&place, journal).await?;
        let mut journal = ok("opening after the crash", backend.open(&place, OWNER).await)?;
        let state = ok("loading", journal.load().await)?;
        if state.purged != upto && (ready || state.purged != LogId::ZERO) {
            return Err(fail(format!("purged up to {upto}, or not yet"), state.purged));
        }
        equal("the last log id", &state.last, &large(40).id)?;
        let kept = Index(34)..Index(41);
        let seen = ok("reading", journal.reader().entries(kept, ALL).await)?;
        same_entries(&seen, &(34..=40).map(large).collect::<Vec<_>>())?;
        ok("purging again", journal.purge(upto).await)?;
        ok("a write", journal.write(append(vec![large(41)])).await)?;
        if ready {
            break;
        }
    }
    Ok(())
}
