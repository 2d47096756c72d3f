//! Tasks, timers and events of a whole cluster on one thread, in virtual time, in an order that a seed
//! decides. Nothing happens but what is polled here.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use raft_core::backend::{Runtime, Timer};
use raft_core::time::Time;

use super::rng::Rng;

/// Nanoseconds of virtual time since the start of the run.
pub(crate) type Nanos = u64;

/// One millisecond.
pub(crate) const MS: Nanos = 1_000_000;

/// A task of a run.
pub(crate) type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Whose a task is: what dies together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Owner {
    /// The node, from 0; clients and the network have numbers beyond.
    pub(crate) node: usize,
    /// Which of its lives.
    pub(crate) life: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    slot: usize,
    generation: u64,
}

/// What happens at a moment.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Timer {
        id: usize,
        generation: u64,
    },
    Task(Key),
    /// Something for the world, by its number.
    Event(u64),
}

struct TaskWaker {
    key: Key,
    queued: AtomicBool,
    ready: Arc<Mutex<Vec<Key>>>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::Relaxed) {
            lock(&self.ready).push(self.key);
        }
    }
}

struct Slot {
    generation: u64,
    owner: Owner,
    /// For the priority-based order: the highest runs first.
    priority: u64,
    task: Option<Task>,
    waker: Option<(Arc<TaskWaker>, Waker)>,
}

/// A lock that nobody holds for longer than a moment: there is one thread.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Default)]
struct TimerCell {
    generation: u64,
    /// When it fires, in virtual time; never before what is queued for it.
    at: Option<Nanos>,
    queued: Option<Nanos>,
    fired: bool,
    waker: Option<Waker>,
}

#[derive(Default)]
struct Queue {
    heap: BinaryHeap<Reverse<(Nanos, u64, Due)>>,
    sequence: u64,
    timers: Vec<TimerCell>,
    free: Vec<usize>,
}

impl Queue {
    fn push(&mut self, at: Nanos, due: Due) {
        self.sequence += 1;
        self.heap.push(Reverse((at, self.sequence, due)));
    }
}

/// What tasks see of the executor: its clock, its timers, and how to start others.
pub(crate) struct Core {
    now: AtomicU64,
    queue: Mutex<Queue>,
    ready: Arc<Mutex<Vec<Key>>>,
    spawned: Mutex<Vec<(Owner, Task)>>,
}

impl Core {
    /// The virtual time.
    pub(crate) fn now(&self) -> Nanos {
        self.now.load(Ordering::Relaxed)
    }

    /// Starts a task. It is polled after the current one.
    pub(crate) fn spawn(&self, owner: Owner, task: impl Future<Output = ()> + Send + 'static) {
        lock(&self.spawned).push((owner, Box::pin(task)));
    }

    /// Something for the world to do at a moment.
    pub(crate) fn event_at(&self, at: Nanos, number: u64) {
        let at = at.max(self.now());
        lock(&self.queue).push(at, Due::Event(number));
    }

    fn timer_id(&self) -> usize {
        let mut queue = lock(&self.queue);
        match queue.free.pop() {
            Some(id) => id,
            None => {
                queue.timers.push(TimerCell::default());
                queue.timers.len() - 1
            }
        }
    }

    fn set_timer(&self, id: usize, at: Option<Nanos>) {
        let mut queue = lock(&self.queue);
        let queue = &mut *queue;
        let cell = &mut queue.timers[id];
        if cell.at == at {
            return;
        }
        cell.at = at;
        cell.fired = false;
        // A later deadline needs no new place in the queue: the earlier one looks again.
        if let Some(at) = at
            && cell.queued.is_none_or(|queued| at < queued)
        {
            cell.generation += 1;
            cell.queued = Some(at);
            let due = Due::Timer { id, generation: cell.generation };
            queue.push(at, due);
        }
    }

    fn poll_timer(&self, id: usize, context: &Context<'_>) -> Poll<()> {
        let cell = &mut lock(&self.queue).timers[id];
        if cell.fired {
            cell.fired = false;
            cell.at = None;
            return Poll::Ready(());
        }
        match &cell.waker {
            Some(waker) if waker.will_wake(context.waker()) => {}
            _ => cell.waker = Some(context.waker().clone()),
        }
        Poll::Pending
    }

    fn drop_timer(&self, id: usize) {
        let mut queue = lock(&self.queue);
        let generation = queue.timers[id].generation + 1;
        queue.timers[id] = TimerCell { generation, ..TimerCell::default() };
        queue.free.push(id);
    }

    /// Returns after some virtual time.
    pub(crate) fn sleep(self: &Arc<Self>, nanos: Nanos) -> Sleep {
        let id = self.timer_id();
        self.set_timer(id, Some(self.now() + nanos));
        Sleep { core: Arc::clone(self), id }
    }
}

/// See [`Core::sleep`].
pub(crate) struct Sleep {
    core: Arc<Core>,
    id: usize,
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.core.poll_timer(self.id, context)
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.core.drop_timer(self.id);
    }
}

/// Since when a clock has a speed, in millionths of virtual time.
pub(crate) type Speed = (Nanos, u64);

/// How often a clock's speed may change in a run.
pub(crate) const SPEEDS: usize = 4;

/// A node's monotonic clock: it runs a little faster or slower than virtual time, and not always alike.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    /// What it showed at the start of the run.
    pub(crate) origin: Nanos,
    /// Its speeds, in the order of their times; the first is from the start.
    pub(crate) speeds: [Speed; SPEEDS],
}

impl Clock {
    /// A node's clock that goes at this speed, and later at these.
    pub(crate) const fn of_node(ppm: u64, later: [Speed; SPEEDS - 1]) -> Self {
        let [a, b, c] = later;
        Self { origin: 1_000_000_000, speeds: [(0, ppm), a, b, c] }
    }

    /// For each speed: since when, until when, and how fast.
    fn pieces(&self) -> impl Iterator<Item = (Nanos, Nanos, u64)> {
        let speeds = self.speeds;
        (0..SPEEDS).map(move |at| {
            let until = speeds.get(at + 1).map_or(Nanos::MAX, |(since, _)| *since);
            (speeds[at].0, until, speeds[at].1)
        })
    }

    fn local(&self, now: Nanos) -> Time {
        let shown = |(since, until, ppm): (Nanos, Nanos, u64)| {
            u128::from(now.min(until).saturating_sub(since)) * u128::from(ppm)
        };
        let millionths: u128 = self.pieces().map(shown).sum();
        Time::from_nanos(self.origin + (millionths / 1_000_000) as u64)
    }

    /// The first moment at which it shows `local`.
    pub(crate) fn global(&self, local: Time) -> Nanos {
        let mut left = u128::from(local.as_nanos().saturating_sub(self.origin)) * 1_000_000;
        for (since, until, ppm) in self.pieces() {
            let takes = left.div_ceil(u128::from(ppm));
            if takes <= u128::from(until - since) {
                return Nanos::try_from(u128::from(since) + takes).unwrap_or(Nanos::MAX);
            }
            left -= u128::from(until - since) * u128::from(ppm);
        }
        Nanos::MAX
    }
}

/// What a node of the run takes for its runtime.
pub(crate) struct SimRuntime {
    /// The executor.
    pub(crate) core: Arc<Core>,
    /// Whose tasks these are.
    pub(crate) owner: Owner,
    /// The node's clock.
    pub(crate) clock: Clock,
    /// Its random numbers.
    pub(crate) rng: Mutex<Rng>,
}

impl Runtime for SimRuntime {
    fn now(&self) -> Time {
        self.clock.local(self.core.now())
    }

    fn timer(&self) -> Pin<Box<dyn Timer>> {
        Box::pin(SimTimer { core: Arc::clone(&self.core), id: self.core.timer_id(), clock: self.clock })
    }

    fn spawn(&self, _name: &'static str, task: Task) {
        self.core.spawn(self.owner, task);
    }

    fn seed(&self) -> u64 {
        lock(&self.rng).next()
    }
}

struct SimTimer {
    core: Arc<Core>,
    id: usize,
    clock: Clock,
}

impl Timer for SimTimer {
    fn set(self: Pin<&mut Self>, at: Option<Time>) {
        self.core.set_timer(self.id, at.map(|at| self.clock.global(at)));
    }

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.core.poll_timer(self.id, context)
    }
}

impl Drop for SimTimer {
    fn drop(&mut self) {
        self.core.drop_timer(self.id);
    }
}

/// How the next task is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheduling {
    /// Any that is ready.
    Random,
    /// Each task has a random priority; the highest that is ready runs, and from time to time one falls
    /// to the bottom (probabilistic concurrency testing).
    Priority {
        /// How often one falls, in a thousand polls.
        changes_per_mille: u32,
    },
}

/// The executor.
pub(crate) struct Executor {
    core: Arc<Core>,
    slots: Vec<Slot>,
    free: Vec<usize>,
    paused: Vec<bool>,
    /// Woken while their node was paused.
    parked: Vec<Key>,
    rng: Rng,
    scheduling: Scheduling,
    /// How many wake-ups in a thousand come late.
    late_per_mille: u32,
    lowest: u64,
    /// Whose task was polled last.
    last: Option<Owner>,
}

/// What has just happened.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A task ran.
    Polled(Owner),
    /// It is time for this event of the world's.
    Event(u64),
    /// Nothing will ever happen again.
    Idle,
}

impl Executor {
    /// An executor in which nothing runs yet.
    #[must_use]
    pub(crate) fn new(rng: Rng, scheduling: Scheduling, late_per_mille: u32) -> Self {
        let core = Core {
            now: AtomicU64::new(0),
            queue: Mutex::default(),
            ready: Arc::default(),
            spawned: Mutex::default(),
        };
        Self {
            core: Arc::new(core),
            slots: Vec::new(),
            free: Vec::new(),
            paused: Vec::new(),
            parked: Vec::new(),
            rng,
            scheduling,
            late_per_mille,
            lowest: u64::MAX / 2,
            last: None,
        }
    }

    /// What tasks see.
    #[must_use]
    pub(crate) const fn core(&self) -> &Arc<Core> {
        &self.core
    }

    /// Whose task was polled last: if a poll panicked, it is that one.
    #[must_use]
    pub(crate) const fn last_polled(&self) -> Option<Owner> {
        self.last
    }

    /// Stops a node's tasks where they are (SIGSTOP), or lets them go on.
    pub(crate) fn pause(&mut self, node: usize, paused: bool) {
        if self.paused.len() <= node {
            self.paused.resize(node + 1, false);
        }
        self.paused[node] = paused;
        if !paused {
            lock(&self.core.ready).append(&mut self.parked);
        }
    }

    /// Whether tasks of an owner are ready to run at this moment: in the middle of a hand-off.
    #[must_use]
    pub(crate) fn has_ready(&self, owner: Owner) -> bool {
        let of = |key: &Key| {
            let slot = &self.slots[key.slot];
            slot.generation == key.generation && slot.owner == owner
        };
        lock(&self.core.ready).iter().any(of) || lock(&self.core.spawned).iter().any(|(of, _)| *of == owner)
    }

    /// Whether a node is paused.
    #[must_use]
    pub(crate) fn is_paused(&self, node: usize) -> bool {
        self.paused.get(node).is_some_and(|paused| *paused)
    }

    /// Ends all tasks of an owner at once: what they held is dropped, nothing is finished.
    pub(crate) fn kill(&mut self, owner: Owner) {
        self.admit_spawned();
        let mut dropped = Vec::new();
        for (index, slot) in self.slots.iter_mut().enumerate() {
            if slot.owner == owner && slot.task.is_some() {
                dropped.push(slot.task.take());
                slot.waker = None;
                slot.generation += 1;
                self.free.push(index);
            }
        }
        drop(dropped);
        // What their ends have started is theirs too.
        lock(&self.core.spawned).retain(|(of, _)| *of != owner);
    }

    /// Tasks that were spawned get their place.
    fn admit_spawned(&mut self) {
        loop {
            let spawned = std::mem::take(&mut *lock(&self.core.spawned));
            if spawned.is_empty() {
                return;
            }
            for (owner, task) in spawned {
                let index = self.free.pop().unwrap_or(self.slots.len());
                if index == self.slots.len() {
                    let none = Slot { generation: 0, owner, priority: 0, task: None, waker: None };
                    self.slots.push(none);
                }
                let slot = &mut self.slots[index];
                slot.generation += 1;
                slot.owner = owner;
                slot.priority = self.rng.below(u64::MAX / 2) + u64::MAX / 2;
                slot.task = Some(task);
                let key = Key { slot: index, generation: slot.generation };
                let ready = Arc::clone(&self.core.ready);
                let waker = Arc::new(TaskWaker { key, queued: AtomicBool::new(true), ready });
                slot.waker = Some((Arc::clone(&waker), Waker::from(waker)));
                lock(&self.core.ready).push(key);
            }
        }
    }

    fn next_ready(&mut self) -> Option<Key> {
        let mut ready = lock(&self.core.ready);
        if ready.is_empty() {
            return None;
        }
        let at = match self.scheduling {
            Scheduling::Random => self.rng.below(ready.len() as u64) as usize,
            Scheduling::Priority { changes_per_mille } => {
                let priority = |key: &Key| self.slots[key.slot].priority;
                let best = (0..ready.len()).max_by_key(|at| (priority(&ready[*at]), Reverse(ready[*at])));
                let best = best.unwrap_or(0);
                if self.rng.chance(changes_per_mille) {
                    self.lowest -= 1;
                    let slot = ready[best].slot;
                    self.slots[slot].priority = self.lowest;
                }
                best
            }
        };
        Some(ready.swap_remove(at))
    }

    /// Runs one task, or moves on to the next moment at which something happens.
    pub(crate) fn step(&mut self) -> Step {
        loop {
            self.admit_spawned();
            while let Some(key) = self.next_ready() {
                let slot = &mut self.slots[key.slot];
                if slot.generation != key.generation {
                    continue;
                }
                let owner = slot.owner;
                if self.paused.get(owner.node).is_some_and(|paused| *paused) {
                    self.parked.push(key);
                    continue;
                }
                if self.late_per_mille > 0 && self.rng.chance(self.late_per_mille) {
                    // The system gives the processor to somebody else first.
                    let at = self.core.now() + self.rng.skewed(1000, 4 * MS);
                    lock(&self.core.queue).push(at, Due::Task(key));
                    continue;
                }
                let (Some(task), Some((flag, waker))) = (&mut slot.task, &slot.waker) else { continue };
                flag.queued.store(false, Ordering::Relaxed);
                let waker = waker.clone();
                self.last = Some(owner);
                let ended = task.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
                if ended {
                    let slot = &mut self.slots[key.slot];
                    slot.generation += 1;
                    slot.waker = None;
                    let task = slot.task.take();
                    self.free.push(key.slot);
                    drop(task);
                }
                return Step::Polled(owner);
            }
            let popped = lock(&self.core.queue).heap.pop();
            let Some(Reverse((at, _, due))) = popped else { return Step::Idle };
            self.core.now.store(at, Ordering::Relaxed);
            match due {
                Due::Event(number) => return Step::Event(number),
                Due::Task(key) => {
                    if self.slots[key.slot].generation == key.generation {
                        // Not late twice in a row: a task that is always late would never run.
                        lock(&self.core.ready).push(key);
                        let late = std::mem::take(&mut self.late_per_mille);
                        let step = self.step();
                        self.late_per_mille = late;
                        return step;
                    }
                }
                Due::Timer { id, generation } => self.fire(id, generation, at),
            }
        }
    }

    fn fire(&self, id: usize, generation: u64, now: Nanos) {
        let mut queue = lock(&self.core.queue);
        let queue = &mut *queue;
        let cell = &mut queue.timers[id];
        if cell.generation != generation {
            return;
        }
        cell.queued = None;
        let Some(at) = cell.at else { return };
        if at > now {
            cell.generation += 1;
            cell.queued = Some(at);
            let due = Due::Timer { id, generation: cell.generation };
            queue.push(at, due);
            return;
        }
        cell.fired = true;
        if let Some(waker) = cell.waker.take() {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: Owner = Owner { node: 0, life: 1 };

    fn run(executor: &mut Executor) {
        while executor.step() != Step::Idle {}
    }

    #[test]
    fn time_jumps_from_deadline_to_deadline() {
        let mut executor = Executor::new(Rng::new(1), Scheduling::Random, 0);
        let core = Arc::clone(executor.core());
        let seen: Arc<Mutex<Vec<Nanos>>> = Arc::default();
        for nanos in [5 * MS, MS, 3600 * 1000 * MS] {
            let (core, seen) = (Arc::clone(&core), Arc::clone(&seen));
            executor.core().spawn(NODE, async move {
                core.sleep(nanos).await;
                lock(&seen).push(core.now());
            });
        }
        run(&mut executor);
        assert_eq!(*lock(&seen), [MS, 5 * MS, 3600 * 1000 * MS]);
    }

    #[test]
    fn a_seed_decides_the_order_and_kill_ends_tasks_in_the_middle() {
        let order = |seed, scheduling, kill: Option<usize>| {
            let mut executor = Executor::new(Rng::new(seed), scheduling, 100);
            let core = Arc::clone(executor.core());
            let seen: Arc<Mutex<Vec<usize>>> = Arc::default();
            for node in 0..8 {
                let (core, seen) = (Arc::clone(&core), Arc::clone(&seen));
                executor.core().spawn(Owner { node, life: 1 }, async move {
                    for _ in 0..3 {
                        lock(&seen).push(node);
                        core.sleep(MS).await;
                    }
                });
            }
            while lock(&seen).len() < 10 {
                executor.step();
            }
            if let Some(node) = kill {
                executor.kill(Owner { node, life: 1 });
            }
            run(&mut executor);
            std::mem::take(&mut *lock(&seen))
        };
        let random = Scheduling::Random;
        assert_eq!(order(1, random, None), order(1, random, None));
        assert_ne!(order(1, random, None), order(2, random, None));
        let priority = Scheduling::Priority { changes_per_mille: 50 };
        assert_eq!(order(1, priority, None), order(1, priority, None));
        assert_eq!(order(1, random, None).len(), 24);
        assert!(order(1, random, Some(3)).iter().filter(|node| **node == 3).count() < 3);
    }

    #[test]
    fn a_paused_node_does_nothing_and_goes_on_later() {
        let mut executor = Executor::new(Rng::new(1), Scheduling::Random, 0);
        let core = Arc::clone(executor.core());
        let done = Arc::new(Mutex::new(None));
        let seen = Arc::clone(&done);
        let clock = Arc::clone(&core);
        executor.core().spawn(NODE, async move {
            clock.sleep(MS).await;
            *lock(&seen) = Some(clock.now());
        });
        executor.step();
        executor.pause(0, true);
        core.event_at(10 * MS, 7);
        assert_eq!(executor.step(), Step::Event(7));
        assert_eq!(*lock(&done), None);
        executor.pause(0, false);
        run(&mut executor);
        assert_eq!(*lock(&done), Some(10 * MS));
    }

    /// Three tasks that are ready at one moment: a fault between two polls stops the others where they are.
    #[test]
    fn between_two_polls_of_one_moment_a_node_may_be_paused_or_die() {
        let mut executor = Executor::new(Rng::new(1), Scheduling::Random, 0);
        let core = Arc::clone(executor.core());
        let ran = Arc::new(AtomicU64::new(0));
        for life in [1, 1, 1, 2] {
            let ran = Arc::clone(&ran);
            core.spawn(Owner { node: 0, life }, async move {
                ran.fetch_add(1, Ordering::Relaxed);
            });
        }
        core.event_at(5, 1);
        executor.step();
        assert!(executor.has_ready(NODE));
        executor.pause(0, true);
        assert_eq!(executor.step(), Step::Event(1));
        assert_eq!(ran.load(Ordering::Relaxed), 1);
        executor.pause(0, false);
        executor.kill(NODE);
        assert!(!executor.has_ready(NODE));
        run(&mut executor);
        assert!(ran.load(Ordering::Relaxed) <= 2, "only the next life has run on");
    }

    #[test]
    fn clocks_drift_and_their_deadlines_are_never_early() {
        let later = [(500, 1_000_001), (1000, 900_007), (100_000_000, 1_100_000)];
        for ppm in [900_000, 999_999, 1_000_000, 1_100_003] {
            for later in [later, [(500, ppm); 3], [(Nanos::MAX, ppm); 3]] {
                let clock = Clock::of_node(ppm, later);
                for after in [0, 1, 499, 500, 501, 950, 1000, 123_456_789, 99_999_999_999] {
                    let local = Time::from_nanos(1_000_000_000 + after);
                    let at = clock.global(local);
                    assert!(clock.local(at) >= local, "{ppm} {after}");
                    assert!(at == 0 || clock.local(at - 1) < local, "{ppm} {after}: it is the first moment");
                }
            }
        }
    }
}
