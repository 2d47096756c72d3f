//! What the journal is told, one thing at a time, and what it answers.

use std::sync::Arc;

use super::{Protocol, Task, Writing};
use crate::backend::{Journal, JournalError, JournalWrite};
use crate::entry::{Entry, command_count};
use crate::error::FatalReason;
use crate::status::RoleKind;
use crate::time::Time;

/// Fewer commands than this in a write are few.
const FEW: u64 = 24;
/// From this on there is so much to do for them that it had better be done while the disk writes, whoever waits for what.
const MANY: u64 = 128;

/// How many commands a write has, in the mean of the last 64 or so, in parts.
#[derive(Default)]
pub(super) struct UsualCommands(u64);

impl UsualCommands {
    /// A mean is kept in these parts of a command, and moves by so much less than the news.
    const PARTS: u64 = 64;

    /// The mean with those of a write, rounded down. One without entries says nothing.
    fn with(&mut self, entries: &[Entry]) -> u64 {
        let count = |entry: &Entry| u64::from(command_count(entry).unwrap_or(1));
        if !entries.is_empty() {
            self.0 = self.0 - self.0 / Self::PARTS + entries.iter().map(count).sum::<u64>();
        }
        self.0 / Self::PARTS
    }
}

impl Protocol {
    /// Hands the journal what is due, if it is free: to begin anew, to forget, or everything that waits.
    pub(super) fn work_on_journal(&mut self) -> bool {
        if self.journal.is_none() {
            return false;
        }
        if let Some(to) = self.raft.poll_reset() {
            self.begin_task(Task::Reset(to), |mut journal| {
                Box::pin(async move {
                    let result = journal.reset(to).await;
                    (journal, result)
                })
            });
            return true;
        }
        if let Some(upto) = self.raft.poll_purge() {
            self.begin_task(Task::Purge(upto), |mut journal| {
                Box::pin(async move {
                    let result = journal.purge(upto).await;
                    (journal, result)
                })
            });
            return true;
        }
        let write = self.raft.poll_write();
        if write.is_none() && (!self.peers.is_dirty() || self.raft.spares_journal()) {
            return false;
        }
        let mut write: JournalWrite = write.unwrap_or_default();
        write.known_peers = self.peers.take_dirty();
        write.alone = self.is_alone(&write.entries);
        self.begin_task(Task::Write(write.ticket), |mut journal| {
            Box::pin(async move {
                let result = journal.write(write).await;
                (journal, result)
            })
        });
        true
    }

    /// Whether nobody is known to come while a write is under way, or so few that it costs more to be woken for them: nobody reads, and
    /// commands are few; or they are not many, and who proposes waits for just this, or, where this node follows, the leader has
    /// sent one entry, whose successors wait for the disk all the same.
    fn is_alone(&mut self, entries: &[Entry]) -> bool {
        let asked = core::mem::take(&mut self.asked);
        let leads = self.raft.role_kind() == RoleKind::Leader;
        let waited_for = if leads { self.gather.all_wait() } else { entries.len() <= 1 };
        let usual = self.usual_commands.with(entries);
        !asked && (usual < FEW || usual < MANY && waited_for)
    }

    fn begin_task(&mut self, task: Task, begin: impl FnOnce(Box<dyn Journal>) -> Writing) {
        if let Some(journal) = self.journal.take() {
            self.writes_since = self.runtime.now();
            self.writing = Some((task, begin(journal)));
        }
    }

    pub(super) fn written(
        &mut self,
        now: Time,
        result: Result<(), JournalError>,
    ) -> Result<(), Arc<FatalReason>> {
        let Some((task, _)) = self.writing.take() else { return Ok(()) };
        match result {
            Ok(()) => {
                self.no_space = None;
                match task {
                    Task::Write(ticket) => {
                        self.shared.timers.journal_write.record(now.since(self.writes_since));
                        self.peers.written();
                        self.raft.handle_written(now, ticket);
                    }
                    Task::Purge(upto) => self.raft.handle_purged(now, upto),
                    Task::Reset(to) => self.raft.handle_reset(now, to),
                }
                Ok(())
            }
            Err(error) => {
                if let (Task::Write(ticket), JournalError::NoSpace { .. }) = (task, &error) {
                    // Nothing of it is there, and the journal may be asked again, unless it then says that it must
                    // be reopened (J9).
                    self.no_space = Some(error);
                    self.peers.not_written();
                    self.raft.handle_no_space(now, ticket);
                    return Ok(());
                }
                self.raft.handle_write_failed(now);
                let error = match (error, self.no_space.take()) {
                    (JournalError::Poisoned { .. }, Some(full)) => full,
                    (error, _) => error,
                };
                Err(Arc::new(FatalReason::Journal(error)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{EntryKind, pack};
    use crate::ids::LogId;

    /// What a mean comes to, from below and from above.
    #[test]
    fn few_are_fewer_than_two_dozen_by_the_mean() {
        let of = |commands: usize| {
            let data = pack(&vec![bytes::Bytes::from_static(b"x"); commands]);
            Entry { id: LogId::new(1, 1), kind: EntryKind::Commands, data }
        };
        for before in [vec![], vec![of(100)]] {
            for (write, few) in [(vec![of(24)], false), (vec![of(23)], true), (vec![of(12), of(12)], false)] {
                let mut usual = UsualCommands::default();
                let mut mean = 0;
                for _ in 0..1000 {
                    usual.with(&before);
                }
                for _ in 0..1000 {
                    mean = usual.with(&write);
                }
                assert_eq!(mean < FEW, few, "{mean}");
                assert_eq!(usual.with(&[]), mean, "nothing says nothing");
            }
        }
    }
}
