//! Runs a workload once, and notes what it does to the disk and what is legal to find at each moment.

use std::ops::Range;

use raft_core::backend::{JournalError, OpenError, Verdict};
use raft_core::ids::{Index, LogId};
use raft_log_file::{Durability, Options, Store};

use crate::steps::{Step, Workload, Write};
use crate::support::{CrashPoint, Fault, Image, MemVfs, Mode, Model, Op, Rng, create, open_seeded, voters};

/// A step that was done: which operations it took, and what is legal.
pub(crate) struct Done {
    pub(crate) ops: Range<usize>,
    /// While it is under way, beside what was legal before.
    pub(crate) during: Vec<Model>,
    /// Once it is done.
    pub(crate) after: Vec<Model>,
}

/// What was done between two crashes.
pub(crate) struct Epoch {
    /// What the disk held at first.
    pub(crate) base: Image,
    pub(crate) ops: Vec<Op>,
    pub(crate) steps: Vec<Done>,
    /// Legal at first.
    pub(crate) first: Vec<Model>,
    /// The disk is damaged until the first step, the opening, is done.
    pub(crate) damaged: bool,
    /// Operations until creation had returned.
    pub(crate) created: usize,
    /// The highest commit index that the journal was ever told.
    pub(crate) commit: Index,
    pub(crate) options: Options,
}

impl Epoch {
    /// What is legal after a crash between operations `cut - 1` and `cut`, and whether damage is.
    pub(crate) fn legal(&self, cut: usize) -> (Vec<Model>, bool) {
        let mut legal = self.first.clone();
        let mut damaged = self.damaged;
        let mut during = Vec::new();
        for step in &self.steps {
            if step.ops.end <= cut {
                legal.clone_from(&step.after);
                damaged = false;
            } else if step.ops.start < cut {
                during.extend(step.during.iter().cloned());
            }
        }
        for model in during {
            if !legal.contains(&model) {
                legal.push(model);
            }
        }
        (legal, damaged)
    }
}

/// A workload that has run.
pub(crate) struct Recorded {
    pub(crate) epochs: Vec<Epoch>,
    /// What is on the disk at the end.
    pub(crate) image: Image,
    /// What the journal held, at one time or another.
    pub(crate) history: Vec<Model>,
}

/// Something that must not be.
pub(crate) type Wrong = String;

struct Recorder {
    vfs: MemVfs,
    store: Option<Store>,
    /// What the journal holds; one of these, as long as nobody has looked.
    models: Vec<Model>,
    /// The logs of which any may be found after a crash, with a weaker durability.
    logs: Vec<Model>,
    term: u64,
    rng: Rng,
    epoch: Epoch,
    epochs: Vec<Epoch>,
    faulty: bool,
    history: Vec<Model>,
    /// The identity may not go on: the rest is left out.
    over: bool,
}

/// Runs it.
pub(crate) fn record(workload: &Workload, seed: u64) -> Result<Recorded, Wrong> {
    let vfs = MemVfs::default();
    let initial = (workload.voters > 0).then(|| voters(workload.voters));
    let options = workload.options.clone();
    let store =
        create(&vfs, initial.as_ref(), options.clone()).map_err(|error| format!("create: {error}"))?;
    let model = Model::new(initial.as_ref());
    let epoch = Epoch {
        base: Image::new(),
        ops: Vec::new(),
        steps: Vec::new(),
        first: vec![model.clone()],
        damaged: false,
        created: vfs.op_count(),
        commit: Index::ZERO,
        options,
    };
    let mut recorder = Recorder {
        vfs,
        store: Some(store),
        models: vec![model.clone()],
        logs: vec![model.clone()],
        term: 1,
        rng: Rng(seed),
        epoch,
        epochs: Vec::new(),
        faulty: false,
        history: vec![model],
        over: false,
    };
    for step in &workload.steps {
        recorder.step(step).map_err(|wrong| format!("{step:?}: {wrong}"))?;
        if recorder.over {
            break;
        }
    }
    recorder.reopen_if_unsure()?;
    if let (Some(store), [model]) = (&recorder.store, &recorder.models[..]) {
        same(&Model::of(store), model)?;
    }
    recorder.store = None;
    let image = recorder.vfs.image();
    recorder.end_epoch(Image::new());
    Ok(Recorded { epochs: recorder.epochs, image, history: recorder.history })
}

fn same(found: &Model, expected: &Model) -> Result<(), Wrong> {
    if found == expected { Ok(()) } else { Err(format!("found {found:?}, expected {expected:?}")) }
}

impl Recorder {
    fn model(&self) -> Model {
        self.models.first().cloned().unwrap_or_default()
    }

    fn step(&mut self, step: &Step) -> Result<(), Wrong> {
        match step {
            Step::Fail(fault, keep, step) => {
                self.reopen_if_unsure()?;
                self.vfs.keep_of_failed_sync(*keep);
                self.vfs.set_fault(Some(*fault));
                self.faulty =
                    !matches!(fault, Fault::ShortWrites | Fault::SectorWrites | Fault::OddWrites(_));
                let done = self.step(step);
                self.vfs.set_fault(None);
                self.faulty = false;
                done
            }
            Step::Crash(mode, step) => self.crash(*mode, step),
            Step::Rot(mark) => self.rot(*mark),
            Step::Reopen => self.reopen(),
            Step::Resize(bytes) => {
                self.epoch.options.segment_bytes = *bytes;
                self.reopen()
            }
            step => {
                self.reopen_if_unsure()?;
                if self.over { Ok(()) } else { self.plain(step) }
            }
        }
    }

    fn reopen_if_unsure(&mut self) -> Result<(), Wrong> {
        if !self.over && (self.store.is_none() || self.models.len() != 1) { self.reopen() } else { Ok(()) }
    }

    /// Notes a step that took all operations from `start` on.
    fn note(&mut self, start: usize, during: &[Model], after: &[Model]) {
        let (during, after) = (self.with_logs(during), self.with_logs(after));
        self.epoch.steps.push(Done { ops: start..self.vfs.op_count(), during, after });
    }

    /// With a weaker durability any log since the last sync may be found with it.
    fn with_logs(&self, models: &[Model]) -> Vec<Model> {
        let mut all = models.to_vec();
        if self.epoch.options.durability != Durability::Always {
            for model in models {
                for log in &self.logs {
                    let (purged, entries) = (log.purged, log.entries.clone());
                    all.push(Model { purged, entries, ..model.clone() });
                }
            }
        }
        all.dedup();
        all
    }

    fn plain(&mut self, step: &Step) -> Result<(), Wrong> {
        let start = self.vfs.op_count();
        let before = self.model();
        let Some(store) = &mut self.store else { return Err("nothing is open".into()) };
        let mut during = Vec::new();
        let mut barrier = true;
        // What it leads to, and what if there is no space.
        let mut full = before.clone();
        let mut after = before.clone();
        let done = match step {
            Step::Write(write) => {
                barrier = false;
                let write = Write::resolve(write, &before, &mut self.term);
                self.epoch.commit = self.epoch.commit.max(write.commit_hint);
                let mut voted = before.clone();
                voted.hard_state = write.hard_state.unwrap_or(voted.hard_state);
                full = voted.clone();
                full.write_meta(&write);
                after.write(&write);
                during = vec![voted, full.clone()];
                store.write(&write)
            }
            Step::Purge(keep) => {
                let at = before.entries.len().checked_sub(*keep as usize + 1);
                let Some(upto) = at.and_then(|at| before.entries.get(at)).map(|entry| entry.id) else {
                    return Ok(());
                };
                after.purge(upto);
                store.purge(upto)
            }
            Step::Reset(ahead) => {
                let index =
                    before.last().index.0.saturating_add_signed(*ahead).max(before.purged.index.0 + 1);
                self.term += 1;
                let to = LogId::new(self.term, Index(index).0);
                after.reset(to);
                store.reset(to)
            }
            Step::Mark => {
                barrier = false;
                store.mark()
            }
            Step::Sync => store.sync(),
            Step::Close => store.close(),
            _ => {
                barrier = false;
                if let Some(job) = store.spare_job() {
                    store.install_spare(job.run());
                }
                Ok(())
            }
        };
        let alive = store.load().is_ok();
        during.push(after.clone());
        self.models = match done {
            Ok(()) => {
                same(&Model::of(store), &after)?;
                vec![after]
            }
            Err(JournalError::NoSpace { .. }) if self.faulty && alive => vec![full],
            Err(_) if self.faulty && !alive => {
                let mut all = vec![before];
                all.extend(during.iter().cloned());
                all
            }
            Err(error) => return Err(error.to_string()),
        };
        let after = self.models.clone();
        if barrier && alive {
            self.logs.clear();
        }
        self.logs.extend(after.iter().cloned());
        self.history.extend(after.iter().cloned());
        self.note(start, &during, &after);
        Ok(())
    }

    /// The process begins anew. It reads what the system has in memory.
    fn reopen(&mut self) -> Result<(), Wrong> {
        let start = self.vfs.op_count();
        self.store = None;
        let before = self.models.clone();
        let damaged = self.epoch.damaged && self.epoch.steps.is_empty();
        match open_seeded(&self.vfs, self.epoch.options.clone(), self.rng.next()) {
            Ok(store) => {
                let found = Model::of(&store);
                let verdict = store.load().map_err(|error| error.to_string())?.verdict;
                if !damaged && !matches!(verdict, Verdict::Clean | Verdict::TornTail { .. }) {
                    return Err(format!("opened with {verdict:?}"));
                }
                if !is_legal(&found, &before, damaged) {
                    return Err(format!("opening found {found:?}, legal {before:?}"));
                }
                self.models = vec![found.clone()];
                self.logs = self.models.clone();
                self.history.push(found);
                self.store = Some(store);
            }
            Err(OpenError::Corrupt(_)) if damaged => self.over = true,
            Err(_) if self.faulty => {}
            Err(error) => return Err(format!("opening: {error}")),
        }
        // What a failed opening has done is legal before and after.
        let after = self.models.clone();
        let both: Vec<Model> = before.into_iter().chain(after.iter().cloned()).collect();
        self.note(start, &both, &after);
        Ok(())
    }

    fn crash(&mut self, mode: Mode, step: &Step) -> Result<(), Wrong> {
        let start = self.vfs.op_count();
        self.step(step)?;
        let ops = self.vfs.ops();
        let cut = start + self.rng.below((ops.len() - start) as u64 + 1) as usize;
        let mut point = CrashPoint::of(&self.epoch.base);
        ops[..cut].iter().for_each(|op| point.advance(op));
        let image = point.one(mode, &mut self.rng);
        self.store = None;
        let (legal, _) = {
            self.epoch.ops = ops;
            self.epoch.legal(cut)
        };
        self.end_epoch(image);
        self.models = legal;
        self.epoch.first.clone_from(&self.models);
        self.epoch.damaged = mode != Mode::Atomic;
        self.reopen()
    }

    /// Changes a byte, and takes what opening makes of it, if that is right.
    fn rot(&mut self, mark: bool) -> Result<(), Wrong> {
        self.reopen_if_unsure()?;
        if mark {
            self.plain(&Step::Close)?;
        }
        self.store = None;
        let good = self.vfs.image();
        let mut image = good.clone();
        let names: Vec<String> = image.keys().filter(|name| name.starts_with("seg")).cloned().collect();
        let changed = (0..1000).any(|_| {
            let name = &names[self.rng.below(names.len() as u64) as usize];
            let at = self.rng.below(good[name].len() as u64) as usize;
            let stored = good[name][at] != 0 && at >= 4096;
            if let Some(bytes) = image.get_mut(name).filter(|_| stored) {
                bytes[at] ^= 1 << self.rng.below(8);
            }
            stored
        });
        if !changed {
            // There is nothing that could be damaged.
            return self.reopen();
        }
        let store = open_seeded(&MemVfs::light(&image), self.epoch.options.clone(), 5);
        let before = self.model();
        self.end_epoch(image);
        match store {
            Ok(store) => {
                let verdict = store.load().map_err(|error| error.to_string())?.verdict;
                let found = Model::of(&store);
                let lost = matches!(verdict, Verdict::SuspectTail { .. } | Verdict::Corrupt(_));
                let known =
                    found.entries.iter().all(|entry| self.history.iter().any(|m| m.entries.contains(entry)));
                if !known || lost != found.hard_state.probation && !before.hard_state.probation {
                    return Err(format!("a changed byte led to {verdict:?}, {found:?}"));
                }
                if !lost {
                    same(&found, &before)?;
                }
                self.models = vec![found];
            }
            Err(OpenError::Corrupt(_)) => {
                self.over = true;
                return Ok(());
            }
            Err(error) => return Err(error.to_string()),
        }
        self.epoch.first.clone_from(&self.models);
        self.epoch.damaged = true;
        self.reopen()
    }

    /// The machine is off; when it is on again the disk holds `image`.
    fn end_epoch(&mut self, image: Image) {
        self.epoch.ops = self.vfs.ops();
        let next = Epoch {
            base: image.clone(),
            ops: Vec::new(),
            steps: Vec::new(),
            first: Vec::new(),
            damaged: false,
            created: 0,
            commit: self.epoch.commit,
            options: self.epoch.options.clone(),
        };
        self.epochs.push(std::mem::replace(&mut self.epoch, next));
        self.vfs = MemVfs::of(&image);
        self.logs.clear();
    }
}

/// Whether it is one of these; after damage, but for the probation.
pub(crate) fn is_legal(found: &Model, legal: &[Model], damaged: bool) -> bool {
    legal.contains(found)
        || damaged
            && found.hard_state.probation
            && legal.iter().any(|model| {
                let mut doubtful = model.clone();
                doubtful.hard_state.probation = true;
                doubtful == *found
            })
}
