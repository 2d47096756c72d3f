//! The thread that owns a journal's store, and the way past it for writes that are over soon.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use raft_core::backend::{JournalError, JournalState, JournalWrite};
use raft_core::entry::{self, Entry};
use raft_core::ids::LogId;
use tokio::sync::oneshot;

use crate::options::Durability;
use crate::spare::{Pace, Spare};
use crate::store::{RemovalJob, Store};

/// After a sync, this long without work until a mark is written.
const MARK_AFTER: Duration = Duration::from_millis(2);
/// After a mark, this long without work until it is synced.
const SYNC_MARK_AFTER: Duration = Duration::from_millis(100);
/// Where the last write took longer, the next one is left to the thread.
const QUICK: Duration = Duration::from_millis(2);
/// The caller writes by itself while a write has fewer commands than this, in the mean of the last 64 or so.
const FEW: u64 = 3;
/// A mean is kept in these parts of a command, and moves by so much less than the news.
const PARTS: u64 = 64;

pub(crate) type Answer<T> = oneshot::Sender<Result<T, JournalError>>;

pub(crate) enum Request {
    Load(Answer<JournalState>),
    Write(JournalWrite, Answer<()>),
    Purge(LogId, Answer<()>),
    Reset(LogId, Answer<()>),
    Spare(Spare),
    /// The store was written by somebody else: there may be something to do beside it.
    Look,
    Close,
}

/// A store that its thread and its caller use by turns.
struct Shared {
    held: Mutex<Held>,
    /// Requests of the caller that the thread has not done yet: nothing may overtake them.
    waiting: AtomicUsize,
    /// Up to this many bytes the caller writes by itself.
    inline_bytes: u64,
}

struct Held {
    store: Store,
    /// The thread will look at the store soon, by itself.
    watched: bool,
}

impl Shared {
    /// `None` after a panic: nobody knows what the store is then.
    fn lock(&self) -> Option<MutexGuard<'_, Held>> {
        self.held.lock().ok()
    }
}

/// How the caller reaches the store.
pub(crate) struct Desk {
    shared: Arc<Shared>,
    queue: Sender<Request>,
    /// How many commands a write has, in the mean, in [`PARTS`].
    commands: u64,
    /// What the last write took.
    took: Duration,
}

impl Desk {
    /// Asks the thread.
    pub(crate) async fn ask<T>(&self, request: impl FnOnce(Answer<T>) -> Request) -> Result<T, JournalError> {
        let (answer, answered) = oneshot::channel();
        let gone = || JournalError::Poisoned { cause: "the journal's thread has died".into() };
        self.shared.waiting.fetch_add(1, Ordering::AcqRel);
        self.queue.send(request(answer)).map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }

    /// Writes, where that is better by this thread itself: to wake another one and to be woken by it takes a good part
    /// of the time of a sync. But while the thread writes, the commands of other clients gather; so it does, unless the node says that
    /// nobody comes meanwhile, or there are few. By the mean: to do now this and now that is worse than either.
    pub(crate) async fn write(&mut self, write: JournalWrite) -> Result<(), JournalError> {
        self.count(&write.entries);
        let mut begun = Instant::now();
        if self.suits(&write) {
            // What was begun before goes on first: messages that wait to be sent most of all.
            tokio::task::yield_now().await;
            begun = Instant::now();
            if let Some(done) = self.write_inline(&write) {
                self.took = begun.elapsed();
                return done;
            }
        }
        let done = self.ask(|answer| Request::Write(write, answer)).await;
        self.took = begun.elapsed();
        done
    }

    fn count(&mut self, entries: &[Entry]) {
        let count = |entry: &Entry| u64::from(entry::command_count(entry).unwrap_or(1));
        if !entries.is_empty() {
            self.commands = self.commands - self.commands / PARTS + entries.iter().map(count).sum::<u64>();
        }
    }

    fn suits(&self, write: &JournalWrite) -> bool {
        let bytes = || write.entries.iter().map(|entry| entry.data.len() as u64).sum::<u64>();
        self.shared.inline_bytes > 0
            && (write.alone || self.commands < FEW * PARTS)
            && self.took <= QUICK
            && self.shared.waiting.load(Ordering::Acquire) == 0
            && bytes() <= self.shared.inline_bytes
    }

    /// `None` if the thread has to do it.
    fn write_inline(&self, write: &JournalWrite) -> Option<Result<(), JournalError>> {
        let mut held = match self.shared.held.try_lock() {
            Ok(held) => held,
            Err(TryLockError::WouldBlock | TryLockError::Poisoned(_)) => return None,
        };
        if held.store.needs_segment(write) {
            return None;
        }
        let done = held.store.write(write);
        let wakes = held.store.spare_is_due() || (held.store.needs_mark() && !held.watched);
        held.watched |= wakes;
        drop(held);
        if wakes {
            // It may have died: the next one that it is asked for says so.
            let _ = self.queue.send(Request::Look);
        }
        Some(done)
    }

    /// The last thing that is asked.
    pub(crate) fn close(&self) {
        let _ = self.queue.send(Request::Close);
    }
}

/// Owns the store.
pub(crate) struct Worker {
    shared: Arc<Shared>,
    durability: Durability,
    requests: Receiver<Request>,
    /// What came while a segment was waited for; before everything in `requests`.
    postponed: VecDeque<Request>,
    spares: Sender<Request>,
    /// Makes the next segment ready.
    spare_thread: Option<(JoinHandle<()>, Arc<Pace>)>,
    /// Removes what was purged.
    removal_thread: Option<JoinHandle<()>>,
    /// With [`Durability::Interval`]: when the oldest write was made that is not durable.
    dirty_since: Option<Instant>,
}

/// Also when it ends by a panic: nobody would tell that thread any more how far the segment is filled.
impl Drop for Worker {
    fn drop(&mut self) {
        if let Some((_, pace)) = &self.spare_thread {
            pace.give_up();
        }
    }
}

impl Worker {
    /// For this store; and the way to it.
    pub(crate) fn new(store: Store) -> (Self, Desk) {
        let (queue, requests) = mpsc::channel();
        let options = store.options();
        let durability = options.durability;
        // Syncs that are due later are the thread's.
        let inline_bytes =
            if matches!(durability, Durability::Interval(_)) { 0 } else { options.inline_bytes };
        let shared = Arc::new(Shared {
            held: Mutex::new(Held { store, watched: false }),
            waiting: AtomicUsize::new(0),
            inline_bytes,
        });
        let desk =
            Desk { shared: Arc::clone(&shared), queue: queue.clone(), commands: 0, took: Duration::ZERO };
        let (postponed, spare_thread, removal_thread, dirty_since) = (VecDeque::new(), None, None, None);
        let worker = Self {
            shared,
            durability,
            requests,
            postponed,
            spares: queue,
            spare_thread,
            removal_thread,
            dirty_since,
        };
        (worker, desk)
    }

    pub(crate) fn run(mut self) {
        while self.step().is_some() {}
        self.end();
        if let Some((thread, pace)) = self.spare_thread.take() {
            pace.give_up();
            let _ = thread.join();
        }
        self.wait_for_removal();
    }

    /// An error has poisoned the store and was, or will be, met by the next opening.
    fn end(&mut self) -> Option<()> {
        let mut held = self.shared.lock()?;
        let _ = held.store.sync();
        let needs = held.store.mark_needs_segment();
        drop(held);
        if needs {
            self.wait_for_spare();
        }
        let _ = self.shared.lock()?.store.close();
        Some(())
    }

    /// Does one request, or what is due while there is none; `None` after the last.
    fn step(&mut self) -> Option<()> {
        if let Some(request) = self.postponed.pop_front() {
            return self.serve(request);
        }
        let mut held = self.shared.lock()?;
        let wait = self.idle_step(&held.store);
        // Before the mark of what somebody else writes now is due.
        held.watched = wait.is_some_and(|wait| wait <= MARK_AFTER);
        let batches = held.store.batches();
        drop(held);
        let request = match wait {
            Some(wait) => match self.requests.recv_timeout(wait) {
                Ok(request) => request,
                Err(RecvTimeoutError::Timeout) => {
                    // Somebody else may have written meanwhile.
                    let idle = self.shared.lock()?.store.batches() == batches;
                    return if idle { self.on_idle() } else { Some(()) };
                }
                Err(RecvTimeoutError::Disconnected) => return None,
            },
            None => self.requests.recv().ok()?,
        };
        self.serve(request)
    }

    /// How long to wait for work before there is something else to do.
    fn idle_step(&self, store: &Store) -> Option<Duration> {
        match self.durability {
            Durability::Interval(limit) if store.is_dirty() => {
                let age = self.dirty_since.map_or(Duration::ZERO, |since| since.elapsed());
                Some(limit.saturating_sub(age))
            }
            Durability::Never => None,
            _ if store.needs_mark() => Some(MARK_AFTER),
            _ if store.is_dirty() => Some(SYNC_MARK_AFTER),
            _ => None,
        }
    }

    fn on_idle(&mut self) -> Option<()> {
        let mut held = self.shared.lock()?;
        // An error poisons the store; the next write says so.
        match self.durability {
            Durability::Interval(_) if held.store.is_dirty() => {
                self.dirty_since = None;
                let _ = held.store.sync();
            }
            _ if held.store.needs_mark() => {
                if held.store.mark_needs_segment() {
                    drop(held);
                    self.wait_for_spare();
                    held = self.shared.lock()?;
                }
                let marked = held.store.mark();
                if marked.is_ok() && matches!(self.durability, Durability::Interval(_)) {
                    self.dirty_since = Some(Instant::now());
                }
            }
            _ => drop(held.store.sync()),
        }
        Some(())
    }

    fn serve(&mut self, request: Request) -> Option<()> {
        match request {
            Request::Load(answer) => {
                let state = self.shared.lock()?.store.load();
                self.answer(answer, state);
            }
            Request::Write(write, answer) => {
                let done = self.write(&write)?;
                self.answer(answer, done);
                // Entries are released after the answer: nobody waits for that.
                drop(write);
                self.after_write()?;
            }
            Request::Purge(upto, answer) => {
                let needs = self.shared.lock()?.store.purge_needs_segment(upto);
                if needs {
                    self.wait_for_segment()?;
                }
                let job = self.shared.lock()?.store.begin_purge(upto);
                // Large files take long to remove; writes go on meanwhile.
                let done = job.map(|job| self.remove(job));
                self.answer(answer, done);
            }
            Request::Reset(to, answer) => {
                // It may need a segment, and the room that this one has.
                self.wait_for_segment()?;
                let done = self.shared.lock()?.store.reset(to);
                self.answer(answer, done);
            }
            Request::Spare(spare) => self.shared.lock()?.store.install_spare(spare),
            Request::Look => self.after_write()?,
            Request::Close => return None,
        }
        Some(())
    }

    /// From here on the caller may use the store by itself.
    fn answer<T>(&self, answer: Answer<T>, done: Result<T, JournalError>) {
        self.shared.waiting.fetch_sub(1, Ordering::AcqRel);
        drop(answer.send(done));
    }

    fn write(&mut self, write: &JournalWrite) -> Option<Result<(), JournalError>> {
        let mut held = self.shared.lock()?;
        if held.store.needs_segment(write) {
            drop(held);
            self.wait_for_segment()?;
            held = self.shared.lock()?;
        }
        Some(held.store.write(write))
    }

    /// A segment is needed now: the one that is being made, or the space for one.
    fn wait_for_segment(&mut self) -> Option<()> {
        self.wait_for_spare();
        if !self.shared.lock()?.store.has_spare() {
            // It may be for want of the space that is being freed.
            self.wait_for_removal();
        }
        Some(())
    }

    fn after_write(&mut self) -> Option<()> {
        let mut held = self.shared.lock()?;
        if let Durability::Interval(limit) = self.durability
            && held.store.is_dirty()
        {
            let since = *self.dirty_since.get_or_insert_with(Instant::now);
            if since.elapsed() >= limit {
                self.dirty_since = None;
                let _ = held.store.sync();
            }
        }
        let job = held.store.spare_job();
        drop(held);
        if let Some(job) = job {
            let queue = self.spares.clone();
            let pace = job.pace();
            let run = move || drop(queue.send(Request::Spare(job.run_beside())));
            if let Some((earlier, _)) = self.spare_thread.take() {
                let _ = earlier.join();
            }
            match thread::Builder::new().name("raft-journal-spare".into()).spawn(run) {
                Ok(thread) => self.spare_thread = Some((thread, pace)),
                // The next write that needs a segment makes it.
                Err(_) => self.shared.lock()?.store.give_up_spare(),
            }
        }
        Some(())
    }

    /// Removes files on a thread of their own, one job after the other.
    fn remove(&mut self, job: RemovalJob) {
        if job.is_empty() {
            return;
        }
        self.wait_for_removal();
        // Where there is no thread for it, the next opening removes them.
        let run = move || job.run();
        self.removal_thread = thread::Builder::new().name("raft-journal-remove".into()).spawn(run).ok();
    }

    fn wait_for_removal(&mut self) {
        if let Some(thread) = self.removal_thread.take() {
            let _ = thread.join();
        }
    }

    /// The segment that is being made is needed now.
    fn wait_for_spare(&mut self) {
        let Some((thread, pace)) = self.spare_thread.take() else { return };
        pace.hurry();
        let _ = thread.join();
        // One writer, one request at a time: anything else here comes from dropped futures, and keeps its order.
        while let Ok(request) = self.requests.try_recv() {
            match request {
                Request::Spare(spare) => {
                    if let Some(mut held) = self.shared.lock() {
                        held.store.install_spare(spare);
                    }
                    return;
                }
                other => self.postponed.push_back(other),
            }
        }
        // It has ended without a word: another one may be begun.
        if let Some(mut held) = self.shared.lock() {
            held.store.give_up_spare();
        }
    }
}
