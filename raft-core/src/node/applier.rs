//! The task that owns the state machine: executes what is committed, in order, and answers who waits. It
//! owns the table of sessions too, and shows the state machine no command that was executed before.

use core::ops::Range;
use std::sync::Arc;

use ::tokio::sync::mpsc;
use bytes::Bytes;

use super::shared::SessionGauge;
use super::snapshots::Snapshots;
use super::waiters::{Applied, EntryWaiters, MarkedAnswer};
use crate::backend::{Command, JournalReader, Responses, SnapshotMeta, StateMachine};
use crate::entry::{Entry, EntryKind, MalformedPack, unpack};
use crate::error::FatalReason;
use crate::ids::{Index, LogId};
use crate::raft::TakeSnapshot;
use crate::session::{Decision, Mark, Packed, Place, SessionRefusal, Stamped, Table, is_marked, unpack_any};

/// What is done with the state machine, in this order.
pub(crate) enum Job {
    /// Committed entries, each with who waits for it.
    Apply { entries: Vec<(Entry, Option<EntryWaiters>)>, through: LogId },
    /// Take a snapshot of the state as it is.
    Snapshot(TakeSnapshot),
    /// Replace the state by a snapshot.
    Install(SnapshotMeta),
}

/// The state machine, the table of sessions, and what was collected for the next call of `apply`.
pub(crate) struct Applier {
    machine: Box<dyn StateMachine>,
    table: Table,
    snapshots: Option<Snapshots>,
    gauge: Arc<SessionGauge>,
    commands: Vec<Command>,
    waiting: Vec<Waiting>,
    /// An entry with commands of sessions is among what was collected: its answers must be in the table before
    /// the next one is looked at.
    has_marked: bool,
}

/// Who waits for what was collected.
enum Waiting {
    /// For these commands.
    Plain(LogId, Range<usize>, EntryWaiters),
    /// For these, of which some belong to sessions; their answers are recorded, whoever waits.
    Marked(LogId, Vec<Slot>, Option<EntryWaiters>),
}

/// One command of an entry in which some belong to sessions.
enum Slot {
    /// It is executed, as this one of those that were collected.
    Run(usize, Option<Mark>),
    /// It is not.
    Known(MarkedAnswer),
    /// It is the same as the one at this place of the same entry.
    Same(u32, Mark),
}

impl Applier {
    pub(crate) fn new(
        machine: Box<dyn StateMachine>,
        table: Table,
        snapshots: Option<Snapshots>,
        gauge: Arc<SessionGauge>,
    ) -> Self {
        let (commands, waiting) = (Vec::new(), Vec::new());
        Self { machine, table, snapshots, gauge, commands, waiting, has_marked: false }
    }

    /// Does jobs until there are no more. Every batch is reported, by its last index; what becomes of snapshots is
    /// news.
    pub(crate) async fn run(
        mut self,
        mut jobs: mpsc::UnboundedReceiver<Job>,
        done: mpsc::UnboundedSender<Index>,
    ) -> Result<(), Arc<FatalReason>> {
        while let Some(job) = jobs.recv().await {
            match (job, &self.snapshots) {
                (Job::Apply { entries, through }, _) => {
                    self.execute(entries, through).await?;
                    if done.send(through.index).is_err() {
                        break;
                    }
                }
                (Job::Snapshot(take), Some(snapshots)) => {
                    snapshots.take(&mut *self.machine, self.table.encode().into(), take).await?;
                }
                (Job::Install(snapshot), Some(snapshots)) => {
                    self.table = snapshots.install(&mut *self.machine, &snapshot).await?;
                    self.gauge.publish(&self.table);
                    snapshots.installed(snapshot);
                }
                // Nobody asks for them without a store.
                (Job::Snapshot(_) | Job::Install(_), None) => {}
            }
        }
        Ok(())
    }

    pub(super) async fn execute(
        &mut self,
        entries: Vec<(Entry, Option<EntryWaiters>)>,
        through: LogId,
    ) -> Result<(), Arc<FatalReason>> {
        let mut before = None;
        let mut sessions = false;
        for (entry, waiters) in entries {
            let id = entry.id;
            let marked = entry.kind == EntryKind::Commands && is_marked(&entry.data);
            if marked || entry.kind == EntryKind::Session {
                sessions = true;
                if let (true, Some(before)) = (self.has_marked, before) {
                    self.flush(before).await?;
                }
            }
            match entry.kind {
                EntryKind::Commands if marked => self.marked(&entry, waiters)?,
                EntryKind::Commands => {
                    let first = self.commands.len();
                    let unpacked = unpack(&entry.data).map_err(|error| unreadable(id, &error))?;
                    let placed = (0..).zip(unpacked);
                    self.commands.extend(placed.map(|(position, data)| Command::new(id, position, data)));
                    if let Some(waiters) = waiters {
                        self.waiting.push(Waiting::Plain(id, first..self.commands.len(), waiters));
                    }
                }
                EntryKind::Session => {
                    let result = session(&mut self.table, &entry)?;
                    if let Some(waiters) = waiters {
                        waiters.session(&result);
                    }
                }
                EntryKind::Noop | EntryKind::Membership => {
                    if let Some(waiters) = waiters {
                        self.waiting.push(Waiting::Plain(id, 0..0, waiters));
                    }
                }
            }
            before = Some(id);
        }
        self.flush(through).await?;
        if sessions {
            self.gauge.publish(&self.table);
        }
        Ok(())
    }

    /// Collects the commands of an entry that are to be executed.
    fn marked(&mut self, entry: &Entry, waiters: Option<EntryWaiters>) -> Result<(), Arc<FatalReason>> {
        let Packed { time, commands } =
            unpack_any(&entry.data).map_err(|error| unreadable(entry.id, &error))?;
        if let Some(time) = time {
            self.table.advance(time);
        }
        let mut slots = Vec::with_capacity(commands.len());
        for (position, (mark, data)) in (0..).zip(commands) {
            let place = Place { id: entry.id, position };
            let decision = mark.map_or(Decision::Execute, |mark| self.table.decide(mark, place));
            slots.push(match (decision, mark) {
                (Decision::Repeated(Place { id, position }), Some(mark)) if id == entry.id => {
                    Slot::Same(position, mark)
                }
                (Decision::Repeated(at), Some(mark)) => Slot::Known(Err(not_kept(mark, at))),
                (Decision::Answer(Place { id, position }, answer), _) => {
                    Slot::Known(Ok(Applied { id, position, response: answer.into_vec().into() }))
                }
                (Decision::Refused(refusal), _) => Slot::Known(Err(refusal)),
                (Decision::Execute | Decision::Repeated(_), _) => {
                    self.commands.push(Command::new(entry.id, position, data));
                    Slot::Run(self.commands.len() - 1, mark)
                }
            });
        }
        self.waiting.push(Waiting::Marked(entry.id, slots, waiters));
        self.has_marked = true;
        Ok(())
    }

    /// Executes what was collected, up to this entry, and answers.
    async fn flush(&mut self, through: LogId) -> Result<(), Arc<FatalReason>> {
        self.has_marked = false;
        let (wanted, waiting) = (self.commands.len(), core::mem::take(&mut self.waiting));
        let mut responses = if waiting.is_empty() { Responses::discarded() } else { Responses::kept(wanted) };
        let applied = self.machine.apply(&self.commands, through, &mut responses).await;
        applied.map_err(|fatal| failed(fatal.to_string()))?;
        let given = responses.count();
        if given != wanted {
            return Err(failed(format!("it gave {given} responses to {wanted} commands")));
        }
        self.commands.clear();
        let mut responses = responses.into_kept();
        for waiting in waiting {
            match waiting {
                Waiting::Plain(id, range, waiters) => {
                    let mine = responses.get_mut(range).unwrap_or_default();
                    waiters.succeed(id, mine.iter_mut().map(core::mem::take));
                }
                Waiting::Marked(id, slots, waiters) => self.resolve(id, slots, waiters, &mut responses),
            }
        }
        Ok(())
    }

    /// Records the answers of an entry, and gives them to who waits.
    fn resolve(
        &mut self,
        id: LogId,
        slots: Vec<Slot>,
        waiters: Option<EntryWaiters>,
        responses: &mut [Bytes],
    ) {
        let mut answers: Vec<MarkedAnswer> = Vec::with_capacity(slots.len());
        for (position, slot) in (0..).zip(slots) {
            answers.push(match slot {
                Slot::Run(at, mark) => {
                    let response = responses.get_mut(at).map(core::mem::take).unwrap_or_default();
                    if let Some(mark) = mark {
                        self.table.answered(mark, &response);
                    }
                    Ok(Applied { id, position, response })
                }
                Slot::Known(answer) => answer,
                Slot::Same(position, mark) => {
                    let same = answers.get(position as usize).cloned();
                    same.unwrap_or_else(|| Err(not_kept(mark, Place { id, position })))
                }
            });
        }
        if let Some(waiters) = waiters {
            waiters.resolve(answers.into_iter());
        }
    }
}

/// What an entry of kind `Session` does to the table.
fn session(
    table: &mut Table,
    entry: &Entry,
) -> Result<Result<crate::ids::SessionId, SessionRefusal>, Arc<FatalReason>> {
    let Stamped { time, op } = Stamped::decode(&entry.data)
        .map_err(|error| failed(format!("entry {} is unreadable: {error}", entry.id)))?;
    table.advance(time);
    Ok(table.execute(entry.id.index, op))
}

const fn not_kept(mark: Mark, at: Place) -> SessionRefusal {
    let Mark { session, sequence, .. } = mark;
    SessionRefusal::AnswerNotKept { session, sequence, at: at.id }
}

/// How much of the log is read at once, in bytes.
const REMEMBER_BYTES: u64 = 4 << 20;

/// Brings a table from before `next` to what it was after `applied`, for a state machine that is there already.
/// What was executed is known then; what it answered is not.
pub(crate) async fn remember(
    reader: &dyn JournalReader,
    mut next: Index,
    applied: Index,
    table: &mut Table,
) -> Result<(), FatalReason> {
    while next <= applied {
        let entries = reader.entries(next..applied.next(), REMEMBER_BYTES).await?;
        let Some(last) = entries.last() else { break };
        next = last.id.index.next();
        for entry in entries {
            match entry.kind {
                EntryKind::Session => {
                    let result = session(table, &entry);
                    // What was refused then is refused now, and nobody waits for it any more.
                    drop(result.map_err(|reason| FatalReason::StateMachine(reason.to_string()))?);
                }
                EntryKind::Commands if is_marked(&entry.data) => {
                    let Packed { time, commands } = unpack_any(&entry.data).map_err(|error| {
                        FatalReason::StateMachine(unreadable(entry.id, &error).to_string())
                    })?;
                    if let Some(time) = time {
                        table.advance(time);
                    }
                    for (position, (mark, _)) in (0..).zip(commands) {
                        if let Some(mark) = mark {
                            table.decide(mark, Place { id: entry.id, position });
                        }
                    }
                }
                _ => {}
            }
        }
    }
    Ok(())
}

fn unreadable(id: LogId, error: &MalformedPack) -> Arc<FatalReason> {
    failed(format!("entry {id} is unreadable: {error}"))
}

fn failed(what: String) -> Arc<FatalReason> {
    Arc::new(FatalReason::StateMachine(what))
}

#[cfg(test)]
mod tests;
