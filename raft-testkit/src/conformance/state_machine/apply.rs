//! A1 to A5: commands in, answers out.

use raft_core::backend::StateMachine;
use raft_core::ids::LogId;

use super::super::{ClauseFailure, ensure, equal, ok};
use super::StateMachineBackend;
use super::log::{Batches, Log, snapshot};
use super::same::same;

const ENTRIES: u64 = 60;

pub(super) async fn a01_each_command_has_an_answer<B: StateMachineBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    let log = Log::new(backend, 1, ENTRIES);
    for batches in [Batches::Single, Batches::All, Batches::Random(1)] {
        for keep in [true, false] {
            // Counted batch by batch.
            log.apply(&mut backend.machine(), 1..ENTRIES + 1, batches, keep).await?;
        }
    }
    Ok(())
}

pub(super) async fn a02_commands_are_taken_in_order<B: StateMachineBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    for seed in 0..20 {
        let log = Log::new(backend, seed, ENTRIES);
        let single = log.apply(&mut backend.machine(), 1..ENTRIES + 1, Batches::Single, true).await?;
        for batches in [Batches::All, Batches::Random(seed)] {
            let answers = log.apply(&mut backend.machine(), 1..ENTRIES + 1, batches, true).await?;
            for (at, (seen, expected)) in answers.iter().zip(&single).enumerate() {
                equal(format!("answer {at}, as one by one"), seen, expected)?;
            }
        }
    }
    Ok(())
}

/// Machines are compared by how they answer what comes next.
async fn answers_are_equal<B: StateMachineBackend>(
    backend: &B,
    machines: [&mut B::Machine; 2],
    from: LogId,
) -> Result<(), ClauseFailure> {
    let next = from.index.0 + 1;
    let log = Log::new(backend, 77, next + 30);
    let [one, two] = machines;
    let expected = log.apply(one, next..next + 30, Batches::Random(2), true).await?;
    let seen = log.apply(two, next..next + 30, Batches::Random(3), true).await?;
    for (at, (seen, expected)) in seen.iter().zip(&expected).enumerate() {
        equal(format!("answer {at} of a machine with the same history"), seen, expected)?;
    }
    Ok(())
}

pub(super) async fn a03_unwanted_answers_change_nothing<B: StateMachineBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    for seed in 0..10 {
        let log = Log::new(backend, seed, ENTRIES);
        let (mut asked, mut silent) = (backend.machine(), backend.machine());
        log.apply(&mut asked, 1..ENTRIES + 1, Batches::Random(seed), true).await?;
        log.apply(&mut silent, 1..ENTRIES + 1, Batches::Random(seed), false).await?;
        answers_are_equal(backend, [&mut asked, &mut silent], log.last()).await?;
    }
    Ok(())
}

pub(super) async fn a04_two_machines_are_equal<B: StateMachineBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    for seed in 0..10 {
        let log = Log::new(backend, seed, ENTRIES);
        let (mut one, mut two) = (backend.machine(), backend.machine());
        log.apply(&mut one, 1..ENTRIES + 1, Batches::Random(seed), true).await?;
        log.apply(&mut two, 1..ENTRIES + 1, Batches::All, false).await?;
        // Without snapshots their answers must do.
        if one.snapshot().await.is_ok() {
            let (one, two) = (snapshot(&mut one).await?, snapshot(&mut two).await?);
            same("snapshots with the same bytes", &two, &one)?;
        }
        answers_are_equal(backend, [&mut one, &mut two], log.last()).await?;
    }
    Ok(())
}

async fn last_applied<M: StateMachine>(machine: &mut M) -> Result<LogId, ClauseFailure> {
    ok("asking for last_applied", machine.last_applied().await)
}

pub(super) async fn a05_last_applied_is_what_was_applied<B: StateMachineBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    let (log, mut machine) = (Log::new(backend, 1, ENTRIES), backend.machine());
    equal("last_applied of a new machine", &last_applied(&mut machine).await?, &LogId::ZERO)?;
    for index in 1..=ENTRIES {
        log.apply(&mut machine, index..index + 1, Batches::All, true).await?;
        equal("last_applied", &last_applied(&mut machine).await?, &log.id(index))?;
    }
    Ok(())
}

pub(super) async fn a05_restart_goes_on_from_last_applied<B: StateMachineBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    let log = Log::new(backend, 1, ENTRIES);
    for stop in [1, 20, ENTRIES] {
        let (mut machine, mut other) = (backend.machine(), backend.machine());
        log.apply(&mut machine, 1..stop + 1, Batches::Random(4), true).await?;
        log.apply(&mut other, 1..ENTRIES + 1, Batches::Random(5), true).await?;
        let mut machine = backend.restart(machine).await;
        let last = last_applied(&mut machine).await?;
        let right = last == log.id(last.index.0) && last.index.0 <= stop;
        ensure(right, format!("last_applied of an entry up to {stop}"), last)?;
        log.apply(&mut machine, last.index.0 + 1..ENTRIES + 1, Batches::Random(6), true).await?;
        answers_are_equal(backend, [&mut other, &mut machine], log.last()).await?;
    }
    Ok(())
}
