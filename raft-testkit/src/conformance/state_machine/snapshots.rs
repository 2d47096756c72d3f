//! A6 and A7: snapshots taken and installed.

use raft_core::backend::StateMachine;

use super::super::{ClauseFailure, ensure, equal, ok};
use super::StateMachineBackend;
use super::log::{Batches, Log, Stored, bytes_of, snapshot};
use super::same::{same, same_answers};

const ENTRIES: u64 = 60;

/// A machine with the first entries of a log.
async fn machine_at<B: StateMachineBackend>(
    backend: &B,
    log: &Log,
    entries: u64,
) -> Result<B::Machine, ClauseFailure> {
    let mut machine = backend.machine();
    log.apply(&mut machine, 1..entries + 1, Batches::Random(entries), false).await?;
    Ok(machine)
}

pub(super) async fn a06_snapshot_is_a_point_in_time<B: StateMachineBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    for seed in 0..5 {
        let log = Log::new(backend, seed, ENTRIES);
        let expected = snapshot(&mut machine_at(backend, &log, 30).await?).await?;
        let mut machine = machine_at(backend, &log, 30).await?;
        let mut early = ok("taking a snapshot", machine.snapshot().await)?;
        let late = ok("taking a second one", machine.snapshot().await)?;
        let mut read = Vec::new();
        let first = ok("reading the first piece", early.next().await)?;
        read.extend_from_slice(&first.unwrap_or_default());
        log.apply(&mut machine, 31..ENTRIES + 1, Batches::Single, false).await?;
        read.extend_from_slice(&bytes_of(early).await?);
        same("a snapshot that was begun before more was applied", &read.into(), &expected)?;
        drop(machine);
        same("one that was read after all, and after its machine", &bytes_of(late).await?, &expected)?;
    }
    Ok(())
}

pub(super) async fn a06_taking_a_snapshot_changes_nothing<B: StateMachineBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    let log = Log::new(backend, 3, ENTRIES);
    let (mut with, mut without) = (backend.machine(), backend.machine());
    for index in 1..=ENTRIES {
        let expected = log.apply(&mut without, index..index + 1, Batches::All, true).await?;
        let seen = log.apply(&mut with, index..index + 1, Batches::All, true).await?;
        equal(format!("the answers of entry {index}"), &seen, &expected)?;
        let taken = ok("taking a snapshot", with.snapshot().await)?;
        if index % 2 == 0 {
            bytes_of(taken).await?;
        }
    }
    same("its last snapshot", &snapshot(&mut with).await?, &snapshot(&mut without).await?)
}

pub(super) async fn a07_install_replaces_everything<B: StateMachineBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    let (log, other) = (Log::new(backend, 1, ENTRIES), Log::new(backend, 2, ENTRIES));
    for (entries, before) in [(30, 0), (30, 20), (30, ENTRIES), (1, 40), (ENTRIES, 1)] {
        let data = snapshot(&mut machine_at(backend, &log, entries).await?).await?;
        let mut machine = machine_at(backend, &other, before).await?;
        let stored = Stored::new(log.id(entries), &data, None)?;
        ok(format!("installing {} bytes", data.len()), machine.install(stored).await)?;
        let last = ok("asking for last_applied", machine.last_applied().await)?;
        equal("last_applied after installing", &last, &log.id(entries))?;
        same("a snapshot of what was installed", &snapshot(&mut machine).await?, &data)?;
    }
    Ok(())
}

pub(super) async fn a07_snapshot_and_log_are_the_whole_log<B: StateMachineBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    for seed in 0..5 {
        let log = Log::new(backend, seed, ENTRIES);
        let mut whole = backend.machine();
        let expected = log.apply(&mut whole, 1..ENTRIES + 1, Batches::Single, true).await?;
        for cut in [1, 17, ENTRIES - 1] {
            let data = snapshot(&mut machine_at(backend, &log, cut).await?).await?;
            let mut machine = backend.machine();
            let stored = Stored::new(log.id(cut), &data, None)?;
            ok("installing", machine.install(stored).await)?;
            let answers = log.apply(&mut machine, cut + 1..ENTRIES + 1, Batches::Random(seed), true).await?;
            let tail = expected.get(expected.len().saturating_sub(answers.len())..).unwrap_or_default();
            same_answers(cut, &answers, tail)?;
            same("a snapshot at the end", &snapshot(&mut machine).await?, &snapshot(&mut whole).await?)?;
        }
    }
    Ok(())
}

pub(super) async fn a07_damaged_snapshot_is_fatal<B: StateMachineBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    let log = Log::new(backend, 1, ENTRIES);
    let data = snapshot(&mut machine_at(backend, &log, 30).await?).await?;
    for from in [0, data.len() as u64 / 2, data.len().saturating_sub(1) as u64] {
        let stored = Stored::new(log.id(30), &data, Some(from))?;
        let installed = backend.machine().install(stored).await;
        let expected = format!("an error for a snapshot that cannot be read from byte {from} on");
        ensure(installed.is_err(), expected, installed)?;
    }
    Ok(())
}
