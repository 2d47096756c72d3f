//! The task that owns the state machine: executes what is committed, in order, and answers who waits.

use std::sync::Arc;

use ::tokio::sync::mpsc;

use super::waiters::EntryWaiters;
use crate::backend::{Command, Responses, StateMachine};
use crate::entry::{Entry, EntryKind, unpack};
use crate::error::FatalReason;
use crate::ids::{Index, LogId};

/// Committed entries, each with who waits for it.
pub(crate) struct Job {
    pub(crate) entries: Vec<(Entry, Option<EntryWaiters>)>,
    pub(crate) through: LogId,
}

/// Executes jobs until there are no more. Every job is reported, by its last index.
pub(crate) async fn run(
    mut machine: Box<dyn StateMachine>,
    mut jobs: mpsc::UnboundedReceiver<Job>,
    done: mpsc::UnboundedSender<Index>,
) -> Result<(), Arc<FatalReason>> {
    let mut commands = Vec::new();
    while let Some(job) = jobs.recv().await {
        commands.clear();
        let mut waiting = Vec::new();
        for (entry, waiters) in job.entries {
            let before = commands.len();
            if entry.kind == EntryKind::Commands {
                let unpacked = unpack(&entry.data)
                    .map_err(|error| failed(format!("entry {} is unreadable: {error}", entry.id)))?;
                let placed = (0..).zip(unpacked);
                commands.extend(placed.map(|(position, data)| Command::new(entry.id, position, data)));
            }
            if let Some(waiters) = waiters {
                waiting.push((entry.id, before..commands.len(), waiters));
            }
        }
        let mut responses =
            if waiting.is_empty() { Responses::discarded() } else { Responses::kept(commands.len()) };
        machine
            .apply(&commands, job.through, &mut responses)
            .await
            .map_err(|fatal| failed(fatal.to_string()))?;
        if responses.count() != commands.len() {
            let (given, wanted) = (responses.count(), commands.len());
            return Err(failed(format!("it gave {given} responses to {wanted} commands")));
        }
        let mut responses = responses.into_kept().into_iter();
        let mut at = 0;
        for (id, range, waiters) in waiting {
            let mut mine = responses.by_ref().skip(range.start - at);
            waiters.succeed(id, mine.by_ref().take(range.len()));
            at = range.end;
        }
        if done.send(job.through.index).is_err() {
            break;
        }
    }
    Ok(())
}

fn failed(what: String) -> Arc<FatalReason> {
    Arc::new(FatalReason::StateMachine(what))
}
