//! Crash states: whatever a crash keeps of what was not synced, recovery comes to a legal state that
//! has everything acknowledged, comes to the same one again, and may itself be crashed at any point.

mod support;

use raft_core::backend::{JournalWrite, OpenError, Verdict};
use raft_core::ids::{Index, LogId};
use raft_log_file::{Durability, Options, Store};
use support::{
    CrashPoint, Image, MemVfs, Model, Rng, append, create, data, entry, open, options, peer, vote, voters,
};

/// One thing that a user of the journal does.
#[derive(Clone, Debug)]
enum Step {
    Write(JournalWrite),
    Purge(LogId),
    Reset(LogId),
    Mark,
    Sync,
    Spare,
    Close,
    Reopen,
}

/// A step that was done: which operations it took, and what is legal while it is under way.
struct Done {
    ops: std::ops::Range<usize>,
    /// Legal during the step, beside the state before it.
    during: Vec<Model>,
    after: Model,
}

struct Recorded {
    ops: Vec<support::Op>,
    steps: Vec<Done>,
    /// Operations until creation had returned.
    created: usize,
    first: Model,
}

fn record(steps: &[Step], options: &Options) -> Recorded {
    let vfs = MemVfs::default();
    let initial = voters(3);
    let mut store = create(&vfs, Some(&initial), options.clone()).unwrap();
    let created = vfs.op_count();
    let mut model = Model::new(Some(&initial));
    let first = model.clone();
    let mut done = Vec::new();
    for step in steps {
        let start = vfs.op_count();
        let mut during = Vec::new();
        match step {
            Step::Write(write) => {
                let mut partial = model.clone();
                partial.hard_state = write.hard_state.unwrap_or(partial.hard_state);
                during.push(partial.clone());
                partial.write_meta(write);
                during.push(partial);
                store.write(write).unwrap();
                model.write(write);
            }
            Step::Purge(upto) => {
                store.purge(*upto).unwrap();
                model.purge(*upto);
            }
            Step::Reset(to) => {
                store.reset(*to).unwrap();
                model.reset(*to);
            }
            Step::Mark => store.mark().unwrap(),
            Step::Sync => store.sync().unwrap(),
            Step::Close => store.close().unwrap(),
            Step::Spare => {
                if let Some(job) = store.spare_job() {
                    store.install_spare(job.run());
                }
            }
            Step::Reopen => {
                drop(store);
                store = open(&vfs, options.clone()).unwrap();
                assert_eq!(store.load().unwrap().verdict, Verdict::Clean);
            }
        }
        during.push(model.clone());
        assert_eq!(Model::of(&store), model, "after {step:?}");
        done.push(Done { ops: start..vfs.op_count(), during, after: model.clone() });
    }
    Recorded { ops: vfs.ops(), steps: done, created, first }
}

/// What is legal after a crash between operations `cut - 1` and `cut`.
fn legal(recorded: &Recorded, cut: usize, durable_only: bool) -> Vec<Model> {
    let mut legal = vec![recorded.first.clone()];
    for step in &recorded.steps {
        if step.ops.end <= cut {
            if durable_only {
                legal.clear();
            }
            legal.push(step.after.clone());
        } else if step.ops.start <= cut {
            legal.extend(step.during.iter().cloned());
        }
    }
    legal
}

struct Sweep {
    options: Options,
    rng: Rng,
    states: usize,
    recovered: usize,
}

impl Sweep {
    /// Opens a crashed journal and demands one of the legal states, twice.
    fn check(&mut self, image: &Image, legal: &[Model], may_be_absent: bool) {
        self.states += 1;
        let vfs = MemVfs::of(image);
        let store = match open(&vfs, self.options.clone()) {
            Ok(store) => store,
            Err(OpenError::NotInitialised) if may_be_absent => {
                // Then creation can be done over.
                create(&vfs, None, self.options.clone()).unwrap();
                return;
            }
            Err(error) => panic!("{error}"),
        };
        let verdict = store.load().unwrap().verdict;
        assert!(matches!(verdict, Verdict::Clean | Verdict::TornTail { .. }), "{verdict:?}");
        let found = Model::of(&store);
        assert!(legal.contains(&found), "illegal: {found:#?}\nlegal: {legal:#?}");
        self.check_recovery(image, &vfs, &store, &found, legal);
    }

    /// Crashes the recovery of `image`, which made `found` of it.
    fn check_recovery(&mut self, image: &Image, vfs: &MemVfs, store: &Store, found: &Model, legal: &[Model]) {
        let ops = vfs.ops();
        let mut point = CrashPoint::of(image);
        let deep = self.rng.below(100) == 0;
        for op in &ops {
            if deep {
                let mut images = Vec::new();
                point.crashes(3, 3, &mut self.rng, |image| images.push(image));
                for image in images {
                    self.recovered += 1;
                    let again = open(&MemVfs::of(&image), self.options.clone()).unwrap();
                    let found = Model::of(&again);
                    let verdict = again.load().unwrap().verdict;
                    assert!(legal.contains(&found), "{verdict:?}, illegal: {found:#?}\nlegal: {legal:#?}");
                }
            }
            point.advance(op);
        }
        // Opening has returned: what it found is durable now, whatever else a crash takes.
        let again = open(&MemVfs::of(&point.durable()), self.options.clone()).unwrap();
        assert_eq!(&Model::of(&again), found);
        assert_eq!(again.load().unwrap().verdict, Verdict::Clean);
        assert!(again.identity().incarnation.number > store.identity().incarnation.number);
    }
}

fn sweep(steps: &[Step], options: &Options, sampled: usize) -> Sweep {
    let recorded = record(steps, options);
    let always = options.durability == Durability::Always;
    let mut sweep = Sweep { options: options.clone(), rng: Rng(7), states: 0, recovered: 0 };
    let mut point = CrashPoint::default();
    for cut in 0..=recorded.ops.len() {
        let legal = legal(&recorded, cut, always);
        let exhaustive = if cut < recorded.created { 4 } else { 12 };
        let mut images = Vec::new();
        point.crashes(exhaustive, sampled, &mut sweep.rng, |image| images.push(image));
        images.sort();
        images.dedup();
        for image in images {
            sweep.check(&image, &legal, cut < recorded.created);
        }
        if let Some(op) = recorded.ops.get(cut) {
            point.advance(op);
        }
    }
    println!("{} crash states, {} of crashed recoveries", sweep.states, sweep.recovered);
    sweep
}

fn write(term: u64, range: std::ops::Range<u64>, size: usize) -> Step {
    Step::Write(append(range.map(|index| entry(term, index, data(index + term, size))).collect()))
}

fn cut(from: u64, term: u64, range: std::ops::Range<u64>, size: usize) -> Step {
    let Step::Write(mut write) = write(term, range, size) else { unreachable!() };
    write.truncate_from = Some(Index(from));
    Step::Write(write)
}

fn voted(term: u64, step: Step) -> Step {
    let Step::Write(mut write) = step else { unreachable!() };
    write.hard_state = Some(vote(term, 2));
    Step::Write(write)
}

#[test]
fn creation_and_first_writes() {
    let mut met = write(1, 4..5, 40);
    if let Step::Write(write) = &mut met {
        write.known_peers = Some(vec![peer(2), peer(3)]);
    }
    let steps =
        [voted(1, write(1, 2..4, 100)), met, voted(2, write(2, 5..5, 0)), voted(3, write(3, 5..6, 1500))];
    assert!(sweep(&steps, &options(), 8).states > 500);
}

#[test]
fn truncation_rotation_and_marks() {
    let steps = [
        write(1, 2..4, 900),
        Step::Mark,
        cut(3, 2, 3..6, 300),
        Step::Spare,
        write(2, 6..8, 1200),
        cut(7, 3, 7..7, 0),
        Step::Mark,
        Step::Sync,
        write(3, 7..9, 700),
        Step::Spare,
        write(3, 9..10, 6000),
        cut(2, 4, 2..3, 10),
    ];
    sweep(&steps, &options(), 8);
}

#[test]
fn purge_reset_and_bigger_than_a_segment() {
    let steps = [
        write(1, 2..5, 1300),
        write(1, 5..8, 1300),
        write(1, 8..11, 1300),
        Step::Purge(LogId::new(1, 6)),
        write(2, 11..12, 20_000),
        Step::Purge(LogId::new(2, 11)),
        write(2, 12..13, 100),
        Step::Reset(LogId::new(5, 40)),
        write(5, 41..42, 100),
        Step::Mark,
        Step::Purge(LogId::new(5, 41)),
    ];
    sweep(&steps, &options(), 4);
}

#[test]
fn reopening_in_between() {
    let steps = [
        write(1, 2..4, 600),
        Step::Reopen,
        write(1, 4..5, 600),
        Step::Reopen,
        Step::Reopen,
        cut(4, 2, 4..6, 600),
        Step::Spare,
        Step::Close,
        Step::Reopen,
        write(2, 6..8, 2000),
        Step::Reopen,
    ];
    sweep(&steps, &options(), 4);
}

/// Without a sync at each write a crash may lose the newest writes, but leaves no hole and no half.
#[test]
fn weaker_durability_loses_the_newest_only() {
    let steps = [
        write(1, 2..4, 900),
        write(1, 4..5, 100),
        voted(2, cut(4, 2, 4..6, 300)),
        Step::Sync,
        write(2, 6..8, 200),
        write(2, 8..10, 900),
        write(2, 10..11, 2000),
        cut(8, 3, 8..9, 200),
    ];
    let recorded = record(&steps, &options().durability(Durability::Never));
    let mut rng = Rng(3);
    let mut point = CrashPoint::default();
    for cut in 0..=recorded.ops.len() {
        let logs: Vec<_> = legal(&recorded, cut, false).into_iter().map(|model| model.entries).collect();
        if cut > recorded.created {
            point.crashes(6, 30, &mut rng, |image| {
                let store = open(&MemVfs::of(&image), options()).unwrap();
                assert!(logs.contains(&Model::of(&store).entries), "after {cut} operations");
                let verdict = store.load().unwrap().verdict;
                assert!(matches!(verdict, Verdict::Clean | Verdict::TornTail { .. }), "{verdict:?}");
            });
        }
        if let Some(op) = recorded.ops.get(cut) {
            point.advance(op);
        }
    }
}

/// Random workloads, each crashed at every point in a few ways.
#[test]
fn random_workloads() {
    for seed in 0..6 {
        let mut rng = Rng(seed);
        let mut steps = Vec::new();
        let (mut first, mut last, mut term) = (1, 1, 1);
        for _ in 0..10 {
            match rng.below(12) {
                0..5 => {
                    let count = rng.below(3) + 1;
                    steps.push(write(term, last + 1..last + 1 + count, rng.below(1500) as usize));
                    last += count;
                }
                5..7 if last > first => {
                    let from = first + 1 + rng.below(last - first);
                    term += 1;
                    steps.push(voted(term, cut(from, term, from..from + 2, rng.below(900) as usize)));
                    last = from + 1;
                }
                7 => steps.push(Step::Spare),
                8 => steps.push(Step::Mark),
                9 => steps.push(Step::Reopen),
                10 if last > first + 1 => {
                    // The term of an old entry: take it from the model.
                    let recorded = record(&steps, &options());
                    let model = recorded.steps.last().map_or(recorded.first, |done| done.after.clone());
                    first += 1;
                    if let Some(entry) = model.entries.iter().find(|entry| entry.id.index.0 == first) {
                        steps.push(Step::Purge(entry.id));
                    }
                }
                _ => steps.push(Step::Sync),
            }
        }
        sweep(&steps, &options(), 2);
    }
}
