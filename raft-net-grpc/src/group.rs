//! The tasks of a transport, and those of one connection, which end with it.

use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};

/// Tasks that end with the transport.
#[derive(Debug)]
pub(crate) struct Tasks(Mutex<Option<JoinSet<()>>>);

impl Tasks {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Some(JoinSet::new())))
    }

    fn lock(&self) -> MutexGuard<'_, Option<JoinSet<()>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a task, unless the transport has ended: then nothing may begin any more.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> Option<AbortHandle> {
        let mut tasks = self.lock();
        let tasks = tasks.as_mut()?;
        // Forget those that have ended.
        while tasks.try_join_next().is_some() {}
        Some(tasks.spawn(task))
    }

    /// All of them, to be ended; and no more.
    pub(crate) fn close(&self) -> JoinSet<()> {
        self.lock().take().unwrap_or_default()
    }
}

/// The tasks of one connection.
#[derive(Debug)]
pub(crate) struct Group {
    tasks: Arc<Tasks>,
    /// `None` once the connection has ended.
    handles: Mutex<Option<Vec<AbortHandle>>>,
    /// Streams that are open.
    active: AtomicUsize,
    /// Whether there was ever one.
    begun: AtomicBool,
    changed: Notify,
    hangup: Notify,
}

/// Ends the tasks of a connection when it is dropped.
#[derive(Debug)]
pub(crate) struct Guard(pub(crate) Arc<Group>);

/// Runs what hyper wants to run for a connection.
#[derive(Clone, Debug)]
pub(crate) struct Executor(pub(crate) Arc<Group>);

/// One stream more, as long as it lives.
struct Active(Arc<Group>);

/// Ended tasks are forgotten when there are more than this.
const REMEMBERED: usize = 32;

impl Group {
    /// Those of a connection that begins.
    pub(crate) fn begin(tasks: Arc<Tasks>) -> Guard {
        Guard(Arc::new(Self {
            tasks,
            handles: Mutex::new(Some(Vec::new())),
            active: AtomicUsize::new(0),
            begun: AtomicBool::new(false),
            changed: Notify::new(),
            hangup: Notify::new(),
        }))
    }

    /// Runs a task that ends with the connection. Whether it may still begin.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> bool {
        let mut handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(handles) = handles.as_mut() else { return false };
        if handles.len() > REMEMBERED {
            handles.retain(|handle| !handle.is_finished());
        }
        let spawned = self.tasks.spawn(task);
        let runs = spawned.is_some();
        handles.extend(spawned);
        runs
    }

    /// The connection is to end, after what is under way.
    pub(crate) fn hang_up(&self) {
        self.hangup.notify_one();
    }

    /// Returns when it is to end.
    pub(crate) async fn hung_up(&self) {
        self.hangup.notified().await;
    }

    /// Returns when no stream has been open for `first`, if there was never one, or for `later`. Whether
    /// there was one.
    pub(crate) async fn idle(&self, first: Duration, later: Duration) -> bool {
        loop {
            let changed = self.changed.notified();
            if self.active.load(Ordering::Acquire) > 0 {
                changed.await;
                continue;
            }
            let begun = self.begun.load(Ordering::Acquire);
            if tokio::time::timeout(if begun { later } else { first }, changed).await.is_err() {
                return begun;
            }
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let handles = self.0.handles.lock().unwrap_or_else(PoisonError::into_inner).take();
        handles.iter().flatten().for_each(AbortHandle::abort);
    }
}

impl Active {
    fn begin(group: &Arc<Group>) -> Self {
        group.active.fetch_add(1, Ordering::AcqRel);
        group.begun.store(true, Ordering::Release);
        group.changed.notify_one();
        Self(Arc::clone(group))
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::AcqRel);
        self.0.changed.notify_one();
    }
}

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Executor {
    fn execute(&self, task: F) {
        let active = Active::begin(&self.0);
        self.0.spawn(async move {
            task.await;
            drop(active);
        });
    }
}
