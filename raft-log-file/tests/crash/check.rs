//! Recovers crashed journals and judges what comes of it.

use std::collections::{BTreeMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use raft_core::backend::{OpenError, Verdict};
use raft_core::ids::Index;
use raft_log_file::{Options, Store, verify};

use crate::record::{Epoch, Wrong, is_legal};
use crate::support::{
    CrashPoint, Image, MODES, MemVfs, Mode, Model, Plan, Rng, append, create, data, entry, open_seeded, vote,
};

/// What was counted, for one [`Mode`].
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) states: u64,
    /// States of crashed recoveries, crashed recoveries of those, and so on.
    pub(crate) recoveries: u64,
    pub(crate) clean: u64,
    pub(crate) torn: u64,
    pub(crate) suspect: u64,
    pub(crate) corrupt: u64,
    /// Not opened at all.
    pub(crate) refused: u64,
    /// Not created yet.
    pub(crate) absent: u64,
    /// `Suspect`, `Corrupt` or refused although nothing but a crash has happened.
    pub(crate) false_alarms: u64,
}

impl Counts {
    pub(crate) fn add(&mut self, other: &Self) {
        self.states += other.states;
        self.recoveries += other.recoveries;
        self.clean += other.clean;
        self.torn += other.torn;
        self.suspect += other.suspect;
        self.corrupt += other.corrupt;
        self.refused += other.refused;
        self.absent += other.absent;
        self.false_alarms += other.false_alarms;
    }
}

/// What may be found.
#[derive(Clone, Debug)]
pub(crate) struct Legal {
    id: u64,
    models: Vec<Model>,
    /// Nothing at all may be: creation is under way.
    absent: bool,
    /// The disk was damaged by more than a crash.
    damaged: bool,
}

/// How much is looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// How many of the possible states.
    pub(crate) plan: Plan,
    /// The recovery of one state in so many is crashed at every point.
    pub(crate) deep: u64,
    /// One state in so many is looked at.
    pub(crate) one_in: u64,
}

/// Checks the states of one workload.
pub(crate) struct Checker {
    options: Options,
    commit: Index,
    effort: Effort,
    rng: Rng,
    seen: HashSet<(u64, u128)>,
    pub(crate) counts: [Counts; 3],
    /// What must not be: each is a state with something lost, invented or not repeatable.
    pub(crate) wrong: Vec<Wrong>,
    /// False alarms by where they were seen; the first few.
    pub(crate) alarms: Vec<String>,
    pub(crate) findings: BTreeMap<&'static str, u64>,
    place: String,
}

impl Checker {
    pub(crate) fn new(effort: Effort, seed: u64) -> Self {
        Self {
            options: Options::default(),
            commit: Index::ZERO,
            effort,
            rng: Rng(seed),
            seen: HashSet::new(),
            counts: [Counts::default(); 3],
            wrong: Vec::new(),
            alarms: Vec::new(),
            findings: BTreeMap::new(),
            place: String::new(),
        }
    }

    /// Crashes between any two operations of an epoch.
    pub(crate) fn sweep(&mut self, number: usize, epoch: &Epoch, creation: bool) {
        self.options = epoch.options.clone();
        self.commit = epoch.commit;
        let mut point = CrashPoint::of(&epoch.base);
        let mut rng = Rng(self.rng.next());
        let mut legal = Legal { id: 0, models: Vec::new(), absent: false, damaged: false };
        for cut in 0..=epoch.ops.len() {
            let absent = cut < epoch.created;
            if !absent || creation {
                let (models, damaged) = epoch.legal(cut);
                if legal.id == 0 || (&legal.models, legal.absent, legal.damaged) != (&models, absent, damaged)
                {
                    let id = (number as u64) << 32 | (cut as u64 + 1);
                    legal = Legal { id, models, absent, damaged };
                }
                self.place = format!("epoch {number} after {cut} operations");
                for mode in MODES {
                    let mut plan = self.effort.plan;
                    if absent {
                        plan.exhaustive = plan.exhaustive.min(4);
                    }
                    point.crashes(mode, plan, &mut rng, &mut |image, key| {
                        self.state(image, key, &legal, mode)
                    });
                }
            }
            if let Some(op) = epoch.ops.get(cut) {
                point.advance(op);
            }
        }
    }

    fn state(&mut self, image: &Image, key: u128, legal: &Legal, mode: Mode) {
        if self.effort.one_in > 1 && !self.rng.one_in(self.effort.one_in)
            || !self.seen.insert((legal.id, key))
        {
            return;
        }
        self.counts[mode as usize].states += 1;
        self.judge(image, legal, mode, 0);
    }

    fn judge(&mut self, image: &Image, legal: &Legal, mode: Mode, depth: u32) {
        let seed = self.rng.next();
        let result = catch_unwind(AssertUnwindSafe(|| self.examine(image, legal, mode, depth, seed)));
        let wrong = match result {
            Ok(Ok(())) => return,
            Ok(Err(wrong)) => wrong,
            Err(_) => String::from("a panic"),
        };
        self.wrong.push(format!("{}, {mode:?}, depth {depth}: {wrong}", self.place));
    }

    /// Opens a crashed journal and demands one of the legal states, again and again.
    fn examine(
        &mut self,
        image: &Image,
        legal: &Legal,
        mode: Mode,
        depth: u32,
        seed: u64,
    ) -> Result<(), Wrong> {
        // Less of what is deep down already, and of what is beyond the contract.
        let less = u32::from(depth > 0) + u32::from(mode != Mode::Atomic);
        let deep = depth < 3 && self.rng.one_in(self.effort.deep << (2 * less));
        let vfs = if deep { MemVfs::of(image) } else { MemVfs::light(image) };
        let store = match open_seeded(&vfs, self.options.clone(), seed) {
            Ok(store) => store,
            Err(OpenError::NotInitialised) if legal.absent => {
                self.counts[mode as usize].absent += 1;
                // Then creation can be done over.
                let store = create(&vfs, None, self.options.clone()).map_err(|error| error.to_string())?;
                return equal(&Model::of(&store), &Model::new(None), "created anew");
            }
            Err(OpenError::Corrupt(damage)) => {
                self.counts[mode as usize].refused += 1;
                self.alarm(legal, mode, depth, &format!("refused: {damage}"));
                return Ok(());
            }
            Err(error) => return Err(format!("not opened: {error}")),
        };
        let state = store.load().map_err(|error| error.to_string())?;
        if state.commit_hint > self.commit {
            return Err(format!("a commit hint of {}, {} was given", state.commit_hint, self.commit));
        }
        let (verdict, found) = (state.verdict, Model::of(&store));
        let counts = &mut self.counts[mode as usize];
        let alarm = match &verdict {
            Verdict::Clean => {
                counts.clean += 1;
                None
            }
            Verdict::TornTail { .. } => {
                counts.torn += 1;
                None
            }
            Verdict::SuspectTail { from } => {
                counts.suspect += 1;
                Some(format!("suspect from {from}"))
            }
            Verdict::Corrupt(damage) => {
                counts.corrupt += 1;
                Some(damage.to_string())
            }
            other => return Err(format!("{other:?}")),
        };
        if mode == Mode::Atomic && !legal.damaged {
            for finding in store.findings() {
                *self.findings.entry(finding.case.row().number).or_default() += 1;
            }
        }
        if !is_legal(&found, &legal.models, alarm.is_some()) {
            return Err(format!("{verdict:?}, found {found:?}, legal {:?}", legal.models));
        }
        if let Some(alarm) = &alarm {
            if !found.hard_state.probation {
                return Err(format!("{verdict:?} without probation"));
            }
            self.alarm(legal, mode, depth, alarm);
        }
        if deep {
            let legal = Legal {
                models: if alarm.is_some() { vec![found.clone()] } else { legal.models.clone() },
                damaged: legal.damaged || alarm.is_some(),
                ..legal.clone()
            };
            let durable = self.crash_recovery(image, &vfs, &legal, mode, depth);
            return self.again(&durable, &store, &found);
        }
        self.again(&vfs.durable(), &store, &found)?;
        if self.rng.one_in(8) {
            self.in_other_ways(image, &vfs, &verdict, &found)?;
        }
        if self.rng.one_in(8) {
            self.go_on(&vfs, store, found)?;
        }
        Ok(())
    }

    fn alarm(&mut self, legal: &Legal, mode: Mode, depth: u32, what: &str) {
        if !legal.damaged {
            self.counts[mode as usize].false_alarms += 1;
            if mode == Mode::Atomic && self.alarms.len() < 5 {
                self.alarms.push(format!("{}, depth {depth}: {what}", self.place));
            }
        }
    }

    /// Opening has returned: what it found is durable now, whatever else a crash takes.
    fn again(&mut self, durable: &Image, store: &Store, found: &Model) -> Result<(), Wrong> {
        let again = self.open(durable, "the second opening")?;
        equal(&Model::of(&again), found, "the second opening")?;
        if again.identity().incarnation.number <= store.identity().incarnation.number {
            return Err("the incarnation did not grow".into());
        }
        Ok(())
    }

    fn open(&mut self, image: &Image, what: &str) -> Result<Store, Wrong> {
        let opened = open_seeded(&MemVfs::light(image), self.options.clone(), self.rng.next());
        let store = opened.map_err(|error| format!("{what}: {error}"))?;
        let verdict = store.load().map_err(|error| format!("{what}: {error}"))?.verdict;
        if verdict != Verdict::Clean {
            return Err(format!("{what}: {verdict:?}"));
        }
        Ok(store)
    }

    /// A scrub agrees, another opening finds the same, and so does a process that begins anew.
    fn in_other_ways(
        &mut self,
        image: &Image,
        vfs: &MemVfs,
        verdict: &Verdict,
        found: &Model,
    ) -> Result<(), Wrong> {
        let report = verify(&MemVfs::light(image)).map_err(|error| format!("scrub: {error}"))?;
        if report.verdict != *verdict || report.last != found.last() || report.purged != found.purged {
            return Err(format!("opening says {verdict:?}, the scrub {report:?}"));
        }
        let other = open_seeded(&MemVfs::light(image), self.options.clone(), self.rng.next());
        let other = other.map_err(|error| format!("another opening: {error}"))?;
        equal(&Model::of(&other), found, "another opening")?;
        let again = self.open(&vfs.image(), "a new process")?;
        equal(&Model::of(&again), found, "a new process")
    }

    /// What is written after a recovery is as durable as anything.
    fn go_on(&mut self, vfs: &MemVfs, mut store: Store, mut model: Model) -> Result<(), Wrong> {
        for n in 0..3 {
            let term = model.last().term.0.max(model.hard_state.term.0) + 1;
            let cut = !model.entries.is_empty() && self.rng.one_in(2);
            let first = model.last().index.0 + u64::from(!cut);
            let mut write = append(vec![entry(term, first, data(term, 700 + 900 * n))]);
            write.truncate_from = cut.then_some(Index(first));
            write.hard_state = (n == 1).then(|| vote(term, 3));
            store.write(&write).map_err(|error| format!("a write after recovery: {error}"))?;
            model.write(&write);
        }
        store.sync().map_err(|error| format!("a sync after recovery: {error}"))?;
        equal(&Model::of(&store), &model, "after more writes")?;
        let again = self.open(&vfs.durable(), "opening after more writes")?;
        equal(&Model::of(&again), &model, "opening after more writes")
    }

    /// Crashes the recovery of `image` at every point. Gives what is durable after it.
    fn crash_recovery(
        &mut self,
        image: &Image,
        vfs: &MemVfs,
        legal: &Legal,
        mode: Mode,
        depth: u32,
    ) -> Image {
        let mut point = CrashPoint::of(image);
        let plan = Plan { exhaustive: 3, sampled: 2, steps: 2 };
        let mut rng = Rng(self.rng.next());
        let id = legal.id | 1 << 63;
        for op in &vfs.ops() {
            point.advance(op);
            point.crashes(Mode::Atomic, plan, &mut rng, &mut |image, key| {
                if self.seen.insert((id, key)) {
                    self.counts[mode as usize].recoveries += 1;
                    self.judge(image, legal, mode, depth + 1);
                }
            });
        }
        point.durable()
    }
}

fn equal(found: &Model, expected: &Model, what: &str) -> Result<(), Wrong> {
    if found == expected { Ok(()) } else { Err(format!("{what} found {found:?}, expected {expected:?}")) }
}
