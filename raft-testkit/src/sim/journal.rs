//! The file journal's store on a simulated disk: what its thread does in life is done here by tasks of the
//! node, in virtual time.

use std::future::{Future, poll_fn};
use std::ops::Range;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;

use async_trait::async_trait;
use raft_core::backend::{Journal, JournalError, JournalReader, JournalState, JournalWrite, Verified};
use raft_core::entry::Entry;
use raft_core::ids::{Index, LogId};
use raft_log_file::{LogReader, Options, Store};
use tokio::sync::Notify;

use super::coverage::Point;
use super::drive::Drive;
use super::executor::{MS, Nanos, lock};
use super::features::Moment;
use super::oracle::Oracle;

/// After a sync, this long without work until a mark is written; as the real journal.
const MARK_AFTER: Nanos = 2 * MS;
/// After a mark, this long without work until it is synced.
const SYNC_MARK_AFTER: Nanos = 100 * MS;

/// What the parts of one journal share.
struct Shared {
    drive: Arc<Drive>,
    store: Mutex<Store>,
    oracle: Arc<Oracle>,
    /// Counts what the journal was asked for.
    work: AtomicU64,
    worked: Notify,
    /// The next segment is being made.
    spare: AtomicU64,
    spare_done: Notify,
    /// The first entry that was written to the segment in use; 0 for none.
    segment_first: AtomicU64,
    /// One durable image in so many writes is read back.
    read_back_every: u64,
    /// How it is opened then.
    options: Options,
}

impl Shared {
    /// Whether there is nothing to do for so long.
    async fn rests(&self, nanos: Nanos, seen: u64) -> bool {
        let mut worked = pin!(self.worked.notified());
        let mut sleep = pin!(self.drive.core.sleep(nanos));
        poll_fn(|context| {
            if worked.as_mut().poll(context).is_ready() {
                return Poll::Ready(());
            }
            sleep.as_mut().poll(context)
        })
        .await;
        self.work.load(Ordering::Relaxed) == seen
    }
}

/// See the [module](self).
pub(crate) struct SimJournal(Arc<Shared>);

/// What a [`SimJournal`] is made of.
pub(crate) struct Parts {
    /// Its disk.
    pub(crate) drive: Arc<Drive>,
    /// The open store.
    pub(crate) store: Store,
    /// Who watches.
    pub(crate) oracle: Arc<Oracle>,
    /// One durable image in so many writes is read back.
    pub(crate) read_back_every: u64,
    /// How it is opened then: as the node opens it.
    pub(crate) options: Options,
}

impl SimJournal {
    /// A journal over an open store. Its background task starts now.
    #[must_use]
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { drive, store, oracle, read_back_every, options } = parts;
        let (core, owner) = (Arc::clone(&drive.core), drive.owner);
        let shared = Arc::new(Shared {
            drive,
            store: Mutex::new(store),
            oracle,
            work: AtomicU64::new(0),
            worked: Notify::new(),
            spare: AtomicU64::new(0),
            spare_done: Notify::new(),
            segment_first: AtomicU64::new(0),
            read_back_every,
            options,
        });
        core.spawn(owner, idle(Arc::clone(&shared)));
        Self(shared)
    }

    fn start_spare(&self) {
        let shared = &self.0;
        let Some(job) = lock(&shared.store).spare_job() else { return };
        shared.oracle.hit(Point::SegmentFull);
        shared.spare.store(1, Ordering::Relaxed);
        let mine = Arc::clone(shared);
        shared.drive.core.spawn(shared.drive.owner, async move {
            mine.drive.delay().await;
            let spare = job.run();
            mine.drive.alive().await;
            lock(&mine.store).install_spare(spare);
            mine.spare.store(0, Ordering::Relaxed);
            mine.spare_done.notify_waiters();
        });
    }
}

/// Writes marks and syncs them when there is nothing else to do.
async fn idle(shared: Arc<Shared>) {
    let mut seen = 0;
    loop {
        let worked = shared.worked.notified();
        if shared.work.load(Ordering::Relaxed) == seen {
            worked.await;
        }
        seen = shared.work.load(Ordering::Relaxed);
        if !shared.rests(MARK_AFTER, seen).await {
            continue;
        }
        let marks = lock(&shared.store).needs_mark();
        if marks {
            // An error poisons the store; the next write says so.
            let _ = lock(&shared.store).mark();
            shared.drive.alive().await;
            shared.oracle.hit(Point::Marked);
        }
        if shared.rests(SYNC_MARK_AFTER, seen).await {
            let _ = lock(&shared.store).sync();
            shared.drive.alive().await;
        }
    }
}

#[async_trait]
impl Journal for SimJournal {
    async fn load(&mut self) -> Result<JournalState, JournalError> {
        self.0.drive.delay().await;
        lock(&self.0.store).load()
    }

    async fn write(&mut self, write: JournalWrite) -> Result<(), JournalError> {
        let shared = &self.0;
        shared.work.fetch_add(1, Ordering::Relaxed);
        shared.oracle.write_begins(shared.drive.node(), &write);
        shared.drive.delay().await;
        // Right before the write, as the real one does: a mark may have filled the segment meanwhile.
        if shared.spare.load(Ordering::Relaxed) == 1 {
            let needs = lock(&shared.store).needs_segment(&write);
            let done = shared.spare_done.notified();
            if needs && shared.spare.load(Ordering::Relaxed) == 1 {
                done.await;
            }
        }
        let entries = !write.entries.is_empty() || write.truncate_from.is_some();
        let fills = lock(&shared.store).needs_segment(&write);
        let result = lock(&shared.store).write(&write);
        shared.drive.alive().await;
        if result.is_ok() {
            let first = shared.segment_first.load(Ordering::Relaxed);
            if write.truncate_from.is_some_and(|from| from.0 < first) {
                shared.oracle.hit(Point::TruncationAcrossSegments);
            }
            if fills {
                let first = write.entries.first().map_or(first, |entry| entry.id.index.0);
                shared.segment_first.store(first, Ordering::Relaxed);
            }
            let mut unsynced = shared.drive.disk.unsynced("");
            // A mark may wait; what a write without entries writes is elsewhere.
            unsynced.retain(|name| entries || !name.starts_with("seg-"));
            let count = shared.oracle.write_done(shared.drive.node(), &unsynced);
            if shared.read_back_every > 0 && count.is_multiple_of(shared.read_back_every) {
                let drive = &shared.drive;
                // Now and then as after a change of the options: what is there says of itself how large it is.
                let other = count.is_multiple_of(shared.read_back_every * 16);
                let larger = |options: &Options| options.clone().segment_bytes(options.segment_bytes * 2);
                let options = if other { larger(&shared.options) } else { shared.options.clone() };
                super::lives::read_back(drive.node(), &drive.disk, &shared.oracle, options);
            }
        }
        if matches!(result, Err(JournalError::NoSpace { .. })) && lock(&shared.store).load().is_ok() {
            shared.oracle.write_found_no_space(shared.drive.node());
        }
        self.start_spare();
        // The answer takes its way back.
        let back = lock(&shared.drive.rng).below(50_000);
        shared.drive.core.sleep(back).await;
        // Only what follows the last write is rest.
        shared.work.fetch_add(1, Ordering::Relaxed);
        shared.worked.notify_one();
        result
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), JournalError> {
        let shared = &self.0;
        shared.work.fetch_add(1, Ordering::Relaxed);
        shared.oracle.purge_begins(shared.drive.node(), upto);
        shared.drive.delay().await;
        shared.drive.reached(Moment::Purge);
        let result = lock(&shared.store).purge(upto);
        shared.drive.alive().await;
        if result.is_ok() {
            shared.oracle.purge_done(shared.drive.node(), upto);
        }
        shared.drive.delay().await;
        result
    }

    async fn reset(&mut self, to: LogId) -> Result<(), JournalError> {
        let shared = &self.0;
        shared.work.fetch_add(1, Ordering::Relaxed);
        shared.oracle.reset_begins(shared.drive.node(), to);
        shared.drive.delay().await;
        shared.drive.reached(Moment::Reset);
        let result = lock(&shared.store).reset(to);
        shared.drive.alive().await;
        if result.is_ok() {
            shared.segment_first.store(0, Ordering::Relaxed);
            shared.oracle.reset_done(shared.drive.node(), to);
        }
        shared.drive.delay().await;
        result
    }

    fn reader(&self) -> Arc<dyn JournalReader> {
        let log = lock(&self.0.store).reader();
        Arc::new(SimReader { log, shared: Arc::clone(&self.0) })
    }
}

impl Drop for SimJournal {
    fn drop(&mut self) {
        // In a life that has ended the disk takes nothing any more, as it must be after a crash.
        if !self.0.drive.disk.is_frozen() {
            let _ = lock(&self.0.store).close();
        }
    }
}

struct SimReader {
    log: LogReader,
    shared: Arc<Shared>,
}

#[async_trait]
impl JournalReader for SimReader {
    async fn entries(&self, range: Range<Index>, max_bytes: u64) -> Result<Vec<Entry>, JournalError> {
        self.shared.drive.delay().await;
        let entries = self.log.entries(range, max_bytes);
        if matches!(entries, Err(JournalError::Corrupt(_))) {
            self.shared.oracle.hit(Point::DamageMetByReader);
        }
        entries
    }

    async fn verify(&self, range: Range<Index>, max_bytes: u64) -> Result<Verified, JournalError> {
        self.shared.drive.delay().await;
        self.log.verify(&range, max_bytes)
    }
}
