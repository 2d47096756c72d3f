//! The log: raft-log, which openraft's makers wrote for it and run it with in databend. Its flush thread writes, makes
//! durable with one fdatasync and then calls back.
//!
//! Left alone that thread waits a millisecond for more before each sync, and without this wait it syncs for each append
//! by itself. So one flush is under way at a time here, and what is appended meanwhile waits for the next, all of it for
//! the same one: no wait, and group commit as the raft-rs harness has it.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use openraft::alias::{EntryOf, LogIdOf, VoteOf};
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use openraft::type_config::TypeConfigExt;
use openraft::{Entry, OptionalSend};
use raft_log::RaftLog;
use raft_log::api::raft_log_writer::RaftLogWriter;

use crate::types::{Config, Id, Payload, Stored, Vote};

/// Shared by openraft's core, which writes, and its replications and state machine, which read.
#[derive(Clone)]
pub struct Log(Arc<Mutex<Inner>>);

struct Inner {
    log: RaftLog<Stored>,
    /// Who is told when what was appended is durable.
    waiting: Vec<IOFlushed<Config>>,
    /// Whether a flush is under way.
    flushing: bool,
}

/// Whose writes one flush makes durable.
pub struct Flushed {
    all: Vec<IOFlushed<Config>>,
    log: Log,
}

impl raft_log::Callback for Flushed {
    fn send(self, result: io::Result<()>) {
        for one in self.all {
            one.io_completed(
                result.as_ref().copied().map_err(|error| io::Error::new(error.kind(), error.to_string())),
            );
        }
        let mut inner = self.log.lock();
        inner.flushing = false;
        if let Err(error) = self.log.flush(&mut inner) {
            eprintln!("the log is gone: {error}");
            std::process::abort();
        }
    }
}

impl Log {
    pub fn open(dir: &str) -> io::Result<Self> {
        let mut config = raft_log::Config::new(dir);
        config.wal.flush_batch_wait = Some(Duration::ZERO);
        // The next flush is handed over from the callback of the one before, which still counts as queued: it may not wait.
        config.wal.flush_queue_max_bytes = Some(1 << 40);
        let log = RaftLog::open(Arc::new(config))?;
        Ok(Self(Arc::new(Mutex::new(Inner { log, waiting: Vec::new(), flushing: false }))))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn flush(&self, inner: &mut Inner) -> io::Result<()> {
        if inner.flushing || inner.waiting.is_empty() {
            return Ok(());
        }
        inner.flushing = true;
        let all = std::mem::take(&mut inner.waiting);
        inner.log.flush(true, Some(Flushed { all, log: self.clone() }))
    }
}

impl RaftLogReader<Config> for Log {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<EntryOf<Config>>> {
        let from = match range.start_bound() {
            Bound::Included(at) => *at,
            Bound::Excluded(at) => at + 1,
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(at) => at + 1,
            Bound::Excluded(at) => *at,
            Bound::Unbounded => u64::MAX,
        };
        if from >= to {
            return Ok(Vec::new());
        }
        let inner = self.lock();
        let entry = |(Id(log_id), Payload(payload))| Entry { log_id, payload };
        inner.log.read(from, to).map(|read| read.map(entry)).collect()
    }

    async fn read_vote(&mut self) -> io::Result<Option<VoteOf<Config>>> {
        Ok(self.lock().log.log_state().vote().map(|vote| vote.0))
    }
}

impl RaftLogStorage<Config> for Log {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<Config>> {
        let inner = self.lock();
        let state = inner.log.log_state();
        let of = |id: Option<&Id>| id.map(|id| id.0);
        Ok(LogState { last_purged_log_id: of(state.purged()), last_log_id: of(state.last()) })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &VoteOf<Config>) -> io::Result<()> {
        let (durable, wait) = Config::oneshot();
        {
            let mut inner = self.lock();
            inner.log.save_vote(Vote(*vote))?;
            inner.waiting.push(IOFlushed::signal(durable));
            self.flush(&mut inner)?;
        }
        wait.await.map_err(io::Error::other)?
    }

    /// Not worth a write: it goes with the next entries.
    async fn save_committed(&mut self, committed: Option<LogIdOf<Config>>) -> io::Result<()> {
        if let Some(id) = committed {
            self.lock().log.commit(Id(id))?;
        }
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogIdOf<Config>>> {
        Ok(self.lock().log.log_state().committed().map(|id| id.0))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Config>) -> io::Result<()>
    where
        I: IntoIterator<Item = EntryOf<Config>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut inner = self.lock();
        inner.log.append(entries.into_iter().map(|entry| (Id(entry.log_id), Payload(entry.payload))))?;
        inner.waiting.push(callback);
        self.flush(&mut inner)
    }

    async fn truncate_after(&mut self, last: Option<LogIdOf<Config>>) -> io::Result<()> {
        self.lock().log.truncate(last.map_or(0, |id| id.index + 1)).map(drop)
    }

    async fn purge(&mut self, upto: LogIdOf<Config>) -> io::Result<()> {
        self.lock().log.purge(Id(upto)).map(drop)
    }
}
