//! What the journal is told, one thing at a time, and what it answers.

use std::sync::Arc;

use super::{Protocol, Task, Writing};
use crate::backend::{Journal, JournalError, JournalWrite};
use crate::error::FatalReason;
use crate::status::RoleKind;
use crate::time::Time;

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
        write.alone = self.is_alone();
        self.begin_task(Task::Write(write.ticket), |mut journal| {
            Box::pin(async move {
                let result = journal.write(write).await;
                (journal, result)
            })
        });
        true
    }

    /// Whether nobody is known to come while a write is under way, or few: who proposes waits for just this, and nobody reads. Who
    /// follows has only its leader, whose next entries wait for the disk all the same.
    fn is_alone(&mut self) -> bool {
        let asked = core::mem::take(&mut self.asked);
        !asked && (self.raft.role_kind() != RoleKind::Leader || self.gather.nobody_comes())
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
