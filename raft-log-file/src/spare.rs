//! The next segment: when it is made ready, what it is like, and how fast its zeros are written.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::layout::{BLOCK_BYTES, segment_name};
use crate::segment::{self, Ready, SegmentHeader, Zeros};
use crate::store::Store;
use crate::vfs::Vfs;

/// A segment that is reserved has room for so many batches, because to go from one to the next takes syncs and the disk's
/// time; but it is at most so many times larger than others.
const BATCHES: u64 = 512;
const LARGER: u64 = 8;

/// The work of making the next segment ready. It may be done anywhere, while the store goes on.
pub struct SpareJob {
    vfs: Arc<dyn Vfs>,
    header: SegmentHeader,
    zeros: Zeros,
    pace: Arc<Pace>,
}

/// The outcome of a [`SpareJob`].
pub struct Spare(io::Result<Ready>);

impl SpareJob {
    /// Makes the segment. Takes as long as writing and syncing it does.
    #[must_use]
    pub fn run(self) -> Spare {
        Spare(segment::make(&*self.vfs, self.header, &[], self.zeros, None, None))
    }

    /// The same on a thread of its own, while the store is written to by others: not faster than its [`Pace`].
    pub(crate) fn run_beside(self) -> Spare {
        Spare(segment::make(&*self.vfs, self.header, &[], self.zeros, None, Some(&self.pace)))
    }

    pub(crate) fn pace(&self) -> Arc<Pace> {
        Arc::clone(&self.pace)
    }
}

/// How fast the zeros of the next segment are written: twice as fast as the segment before it fills. All at once they would
/// keep the disk to themselves, and every sync of the journal would wait for as long as that takes; there is no hurry.
pub(crate) struct Pace {
    /// Where the segment was filled up to when the work began, in bytes, and where it may be over.
    from: u64,
    until: u64,
    state: Mutex<PaceState>,
    moved: Condvar,
}

struct PaceState {
    /// Where the segment is filled up to, in bytes.
    at: u64,
    /// From where on the next piece may be written, if somebody waits for that.
    awaited: u64,
    urge: Urge,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Urge {
    None,
    /// Somebody waits for the segment.
    Hurry,
    /// Nobody will want it.
    GiveUp,
}

impl Pace {
    fn new(from: u64, size: u64) -> Self {
        let until = from + size.saturating_sub(from) / 2;
        let state = Mutex::new(PaceState { at: from, awaited: u64::MAX, urge: Urge::None });
        Self { from, until, state, moved: Condvar::new() }
    }

    /// Held for a look and a change only.
    fn lock(&self) -> MutexGuard<'_, PaceState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The segment is filled up to here.
    pub(crate) fn reached(&self, offset: u64) {
        let mut state = self.lock();
        state.at = offset;
        if state.awaited <= offset {
            state.awaited = u64::MAX;
            drop(state);
            self.moved.notify_all();
        }
    }

    /// What nobody will want is not hurried any more.
    fn urge(&self, urge: Urge) {
        let mut state = self.lock();
        if state.urge != Urge::GiveUp {
            state.urge = urge;
        }
        drop(state);
        self.moved.notify_all();
    }

    /// Somebody waits: what is left is reserved, or written as fast as it can be.
    pub(crate) fn hurry(&self) {
        self.urge(Urge::Hurry);
    }

    /// What is left is not written any more, and the segment is not made.
    pub(crate) fn give_up(&self) {
        self.urge(Urge::GiveUp);
    }

    /// Where the segment must be filled up to before more than `done` of `size` bytes are written.
    fn due(&self, done: u64, size: u64) -> u64 {
        let share = u128::from(self.until - self.from) * u128::from(done) / u128::from(size.max(1));
        self.from + u64::try_from(share).unwrap_or(u64::MAX)
    }

    /// Waits until more than `done` of `size` bytes may be written; `false` if somebody waits for the segment.
    ///
    /// # Errors
    /// `Interrupted`: nobody wants it any more.
    pub(crate) fn wait(&self, done: u64, size: u64) -> io::Result<bool> {
        let due = self.due(done, size);
        let mut state = self.lock();
        loop {
            match state.urge {
                Urge::GiveUp => return Err(io::ErrorKind::Interrupted.into()),
                Urge::Hurry => return Ok(false),
                Urge::None if state.at >= due => return Ok(true),
                Urge::None => {
                    state.awaited = due;
                    state = self.moved.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }
}

/// When the next segment is made ready, and when again after that has failed: not before so much of this one is filled
/// once more, or a file was removed. Each attempt on a full disk takes what space there is and gives it back, which is in
/// the way of everybody.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    /// The last attempt has failed: where this segment was filled up to then, in bytes, and how many files were removed.
    failed: Option<(u64, u64)>,
    /// How many files were removed when the last attempt began: one that went during it may be the space that it lacked.
    begun: u64,
    removed: Arc<AtomicU64>,
}

impl Turn {
    /// Whether it is time, in a segment of `size` bytes that is filled up to `offset`.
    fn has_come(&self, offset: u64, size: u64) -> bool {
        match self.failed {
            None => offset >= size / 8,
            Some((at, removed)) => offset >= at + size / 8 || self.removed.load(Ordering::Acquire) != removed,
        }
    }

    /// An attempt begins.
    fn attempt(&mut self) {
        self.begun = self.removed.load(Ordering::Acquire);
    }

    /// It has failed.
    const fn fail(&mut self, offset: u64) {
        self.failed = Some((offset, self.begun));
    }

    /// Another segment has begun: what was before says nothing of it.
    pub(crate) const fn begin(&mut self) {
        self.failed = None;
    }

    /// Counts the files that are removed.
    pub(crate) fn removed(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.removed)
    }
}

impl Store {
    /// Whether it is time to make the next segment ready, and nobody is at it.
    pub(crate) fn spare_is_due(&self) -> bool {
        let is_time = self.turn.has_come(self.active.offset, self.active.header.size);
        is_time && self.spare.is_none() && self.making.is_none() && self.failed.is_none()
    }

    /// The work of making the next segment ready, once it is time and nobody is at it.
    pub fn spare_job(&mut self) -> Option<SpareJob> {
        if !self.spare_is_due() {
            return None;
        }
        let (size, zeros) = self.suits();
        let pace = Arc::new(Pace::new(self.active.offset, self.active.header.size));
        self.making = Some(Arc::clone(&pace));
        self.turn.attempt();
        let header = self.next_header(size);
        Some(SpareJob { vfs: Arc::clone(&self.vfs), header, zeros, pace })
    }

    /// What suits the batches of this segment suits those of the next: its size, and its zeros.
    pub(crate) fn suits(&self) -> (u64, Zeros) {
        let first = self.live.last().map_or(0, |start| start.batch);
        let used = self.active.offset.saturating_sub(BLOCK_BYTES);
        let mean = used / self.batch.saturating_sub(first).max(1);
        let size = self.options.segment_size();
        if mean >= self.options.reserve_from_bytes {
            let many = mean.saturating_mul(BATCHES).next_multiple_of(BLOCK_BYTES);
            (many.clamp(size, size.saturating_mul(LARGER)), Zeros::Reserved)
        } else {
            (size, Zeros::Written)
        }
    }

    /// Takes the outcome of a spare job. If it failed, there is another one once there may be space again; a write that
    /// needs a segment before that makes it, and reports what it meets.
    pub fn install_spare(&mut self, spare: Spare) {
        self.making = None;
        match spare.0 {
            Ok(ready) => self.spare = Some(ready),
            // It was given up, for a segment that has come before it.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => self.turn.fail(self.active.offset),
        }
        // Numbers grow from segment to segment. One that was overtaken, by a segment that was needed at once,
        // is of no use any more.
        if let Some(late) = self.spare.take_if(|spare| spare.header.seq < self.active.header.seq) {
            let _ = self.vfs.unlink(&segment_name(late.header.seq));
        }
    }

    /// Nobody could be found for the spare job.
    pub(crate) fn give_up_spare(&mut self) {
        self.making = None;
    }

    /// Whether the next segment is ready.
    pub(crate) const fn has_spare(&self) -> bool {
        self.spare.is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn zeros_are_written_twice_as_fast_as_the_segment_fills() {
        let pace = Pace::new(2 * MIB, 16 * MIB);
        let due = |done| pace.due(done * MIB, 16 * MIB) / MIB;
        assert_eq!([0, 8, 16].map(due), [2, 5, 9], "it is over when half of what was left is filled");
        // Another size: its parts are what counts.
        assert_eq!([0, 64, 128].map(|done| pace.due(done * MIB, 128 * MIB) / MIB), [2, 5, 9]);
        let late = Pace::new(16 * MIB, 16 * MIB);
        assert_eq!(late.due(16 * MIB, 16 * MIB), 16 * MIB, "nothing is left: at once");
    }

    #[test]
    fn the_first_piece_is_due_at_once_and_each_other_when_the_segment_has_come_so_far() {
        let pace = Arc::new(Pace::new(2 * MIB, 16 * MIB));
        assert!(pace.wait(0, 16 * MIB).unwrap());
        let (said, heard) = mpsc::channel();
        let waiting = Arc::clone(&pace);
        let thread = thread::spawn(move || {
            for done in [4, 8] {
                assert!(waiting.wait(done * MIB, 16 * MIB).unwrap());
                let _ = said.send((done, waiting.lock().at));
            }
        });
        // Too little for either; then enough for the first; then for both.
        for at in [3, 4, 9] {
            pace.reached(at * MIB);
        }
        thread.join().unwrap();
        for (done, at) in heard {
            assert!(at >= pace.due(done * MIB, 16 * MIB), "{done} MiB were allowed at {at}");
        }
    }

    #[test]
    fn who_waits_is_hurried_on_or_sent_away() {
        for give_up in [false, true] {
            let pace = Arc::new(Pace::new(2 * MIB, 16 * MIB));
            let waiting = Arc::clone(&pace);
            let thread = thread::spawn(move || waiting.wait(8 * MIB, 16 * MIB).map_err(|error| error.kind()));
            if give_up {
                pace.give_up()
            } else {
                pace.hurry()
            }
            let expected = if give_up { Err(io::ErrorKind::Interrupted) } else { Ok(false) };
            assert_eq!(thread.join().unwrap(), expected);
            pace.hurry();
            assert_eq!(pace.wait(8 * MIB, 16 * MIB).is_err(), give_up, "once given up, it stays so");
        }
    }
}
