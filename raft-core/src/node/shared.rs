//! What handles and the node's tasks share: the published status, the load, and how the node ended.

use core::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ::tokio::sync::Notify;

use super::durations::Timers;
use super::inbox::{BULK_LIMIT_BYTES, CONTROL_LIMIT, Room};
use crate::config::Config;
use crate::error::FatalReason;
use crate::session::{Limits, LogTime, Table};
use crate::status::{Load, Status};

/// How a node ended.
pub(crate) type End = Result<(), Arc<FatalReason>>;

pub(crate) struct Shared {
    published: Mutex<Published>,
    changed: Notify,
    /// Commands that handles have queued and the protocol has not yet taken, in bytes.
    queued_bytes: AtomicU64,
    queue_limit_bytes: AtomicU64,
    /// What transports have delivered and the protocol has not yet taken.
    pub(crate) room: Arc<Room>,
    pub(crate) command_limit_bytes: u64,
    pub(crate) session_limits: Limits,
    /// What the applier says of the table of sessions.
    pub(crate) sessions: Arc<SessionGauge>,
    /// How long the protocol's work takes.
    pub(crate) timers: Timers,
}

/// A few numbers about the table of sessions, which the applier owns.
#[derive(Default)]
pub(crate) struct SessionGauge {
    time: AtomicU64,
    open: AtomicU64,
    bytes: AtomicU64,
}

impl SessionGauge {
    pub(crate) fn publish(&self, table: &Table) {
        self.time.store(table.time().as_nanos(), Ordering::Release);
        self.open.store(table.len() as u64, Ordering::Release);
        self.bytes.store(table.bytes(), Ordering::Release);
    }

    /// The greatest stamp that was applied.
    pub(crate) fn time(&self) -> LogTime {
        LogTime::from_nanos(self.time.load(Ordering::Acquire))
    }

    /// How many are open.
    pub(crate) fn open(&self) -> u64 {
        self.open.load(Ordering::Acquire)
    }

    /// What the table holds, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Acquire)
    }
}

struct Published {
    status: Arc<Status>,
    version: u64,
    /// How it will end, once nothing more is taken.
    ending: Option<End>,
    /// How it has ended.
    end: Option<End>,
}

impl Shared {
    pub(crate) fn new(status: Status, config: &Config) -> Self {
        let published = Published { status: Arc::new(status), version: 1, ending: None, end: None };
        Self {
            published: Mutex::new(published),
            changed: Notify::new(),
            queued_bytes: AtomicU64::new(0),
            queue_limit_bytes: AtomicU64::new(config.uncommitted_limit_bytes),
            room: Arc::default(),
            command_limit_bytes: config.command_limit_bytes,
            session_limits: config.sessions,
            sessions: Arc::default(),
            timers: Timers::default(),
        }
    }

    /// Held for the length of a copy only, and never across an await.
    fn lock(&self) -> MutexGuard<'_, Published> {
        self.published.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn status(&self) -> Arc<Status> {
        Arc::clone(&self.lock().status)
    }

    pub(crate) fn publish(&self, status: Status) {
        let mut published = self.lock();
        published.status = Arc::new(status);
        published.version += 1;
        drop(published);
        self.changed.notify_waiters();
    }

    /// How it ended, or will.
    pub(crate) fn end(&self) -> Option<End> {
        let published = self.lock();
        published.end.clone().or_else(|| published.ending.clone())
    }

    /// Nothing more is taken; what is open is being closed.
    pub(crate) fn ends(&self, end: &End) {
        self.lock().ending = Some(end.clone());
    }

    /// The first end counts.
    pub(crate) fn finish(&self, end: End) {
        let mut published = self.lock();
        published.end.get_or_insert(end);
        published.version += 1;
        drop(published);
        self.changed.notify_waiters();
    }

    /// Returns once something newer than `seen` was published, or at the node's end.
    pub(crate) async fn newer(&self, seen: u64) -> (Arc<Status>, u64, Option<End>) {
        loop {
            let mut changed = core::pin::pin!(self.changed.notified());
            // Registers before looking, so that no wake-up is lost in between.
            changed.as_mut().enable();
            {
                let published = self.lock();
                if published.version > seen || published.end.is_some() {
                    return (Arc::clone(&published.status), published.version, published.end.clone());
                }
            }
            changed.await;
        }
    }

    /// What waits for the protocol at this moment.
    pub(crate) fn load(&self) -> Load {
        let queued_bytes = self.queued_bytes.load(Ordering::Acquire);
        let (received_bytes, received_control) = self.room.waiting();
        Load {
            queued_bytes,
            received_bytes,
            received_control,
            queued_limit_bytes: self.queue_limit_bytes(),
            received_limit_bytes: BULK_LIMIT_BYTES,
            received_control_limit: CONTROL_LIMIT,
        }
    }

    /// What handles may queue, in bytes.
    pub(crate) fn queue_limit_bytes(&self) -> u64 {
        self.queue_limit_bytes.load(Ordering::Acquire)
    }

    pub(crate) fn set_queue_limit_bytes(&self, bytes: u64) {
        self.queue_limit_bytes.store(bytes, Ordering::Release);
    }

    /// Counts a batch in, if there is room for it, or if nothing else waits.
    pub(crate) fn reserve(&self, cost_bytes: u64) -> Result<(), u64> {
        let before = self.queued_bytes.fetch_add(cost_bytes, Ordering::AcqRel);
        if before > 0 && before + cost_bytes > self.queue_limit_bytes() {
            self.queued_bytes.fetch_sub(cost_bytes, Ordering::AcqRel);
            return Err(before);
        }
        Ok(())
    }

    pub(crate) fn release(&self, cost_bytes: u64) {
        self.queued_bytes.fetch_sub(cost_bytes, Ordering::AcqRel);
    }
}
