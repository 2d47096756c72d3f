//! What may be on a disk after a crash: all that a `Vfs` does not promise is taken away, or not.

use std::collections::BTreeMap;

use xxhash_rust::xxh3::xxh3_128;

use super::disk::{Content, Image, Op};
use super::{Rng, SECTOR};

/// What becomes of sectors that were being written when the machine went down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// Old or new: what the contract of `Vfs` says.
    Atomic,
    /// Some are zero. Beyond the contract.
    Zero,
    /// Some hold anything. Beyond the contract.
    Garbage,
}

pub const MODES: [Mode; 3] = [Mode::Atomic, Mode::Zero, Mode::Garbage];

/// How many of the possible states are made.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// All combinations of up to this many un-synced sectors.
    pub exhaustive: u32,
    /// Beyond that, so many random ones beside the prefixes and the single sectors.
    pub sampled: usize,
    /// At most so many prefixes, and single sectors kept or lost.
    pub steps: usize,
}

/// A sector, or a length, that is not durable yet.
#[derive(Clone)]
struct Pending {
    file: usize,
    change: Change,
}

#[derive(Clone)]
enum Change {
    /// At this offset, what was written there, the oldest first. The first of them may be what is
    /// there already.
    Sector {
        at: usize,
        versions: Vec<Vec<u8>>,
        same: bool,
    },
    Length(usize),
}

impl Change {
    fn choices(&self) -> usize {
        match self {
            Self::Sector { same: true, .. } => 0,
            Self::Sector { versions, .. } => versions.len(),
            Self::Length(_) => 1,
        }
    }
}

/// What is durable, and what may be, after some operations.
#[derive(Clone, Default)]
pub struct CrashPoint {
    /// What is durable.
    files: Vec<Content>,
    /// What a process reads.
    current: Vec<Content>,
    names: BTreeMap<String, usize>,
    pending: Vec<Pending>,
    name_ops: Vec<Op>,
    hashes: Vec<Option<u128>>,
}

/// Which names there are, by choice of the operations on names.
type Names = BTreeMap<String, usize>;

impl CrashPoint {
    pub fn of(image: &Image) -> Self {
        let files: Vec<Content> = image.values().cloned().collect();
        let names = image.keys().cloned().zip(0..).collect();
        Self { hashes: vec![None; files.len()], current: files.clone(), files, names, ..Self::default() }
    }

    /// One more operation has been done.
    pub fn advance(&mut self, op: &Op) {
        match op {
            Op::Create(_, id) => {
                if self.files.len() <= *id {
                    self.files.resize(*id + 1, Content::default());
                    self.current.resize(*id + 1, Content::default());
                    self.hashes.resize(*id + 1, None);
                }
                self.name_ops.push(op.clone());
            }
            Op::Rename(..) | Op::Unlink(_) => self.name_ops.push(op.clone()),
            Op::Write(id, offset, bytes) => self.write(*id, *offset, bytes),
            Op::SetLen(id, length) => {
                self.current[*id].resize(*length, 0);
                self.pending.push(Pending { file: *id, change: Change::Length(*length) });
            }
            Op::Sync(id) => {
                for pending in self.take_pending(*id) {
                    pending.apply(usize::MAX, &mut self.files);
                }
                self.hashes[*id] = None;
            }
            Op::SyncFailed(id, keep) => {
                let mut rng = Rng(*keep);
                for pending in self.take_pending(*id) {
                    if *keep != 0 && rng.below(2) == 0 {
                        pending.apply(usize::MAX, &mut self.files);
                    }
                }
                self.hashes[*id] = None;
            }
            Op::SyncDir => {
                for op in std::mem::take(&mut self.name_ops) {
                    apply_name(&mut self.names, &op);
                }
            }
        }
    }

    fn take_pending(&mut self, id: usize) -> Vec<Pending> {
        let (now, later) = std::mem::take(&mut self.pending).into_iter().partition(|p| p.file == id);
        self.pending = later;
        now
    }

    fn write(&mut self, id: usize, offset: usize, bytes: &[u8]) {
        self.current[id].write(offset, bytes);
        for at in (offset - offset % SECTOR..offset + bytes.len()).step_by(SECTOR) {
            // The whole sector: what an earlier write left in it goes to the disk together with this.
            let end = self.current[id].len().min(at + SECTOR);
            let sector = self.current[id][at..end].to_vec();
            let known = self.pending.iter_mut().find_map(|pending| match &mut pending.change {
                Change::Sector { at: other, versions, same } if pending.file == id && *other == at => {
                    Some((versions, same))
                }
                _ => None,
            });
            match known {
                Some((versions, same)) => {
                    if versions.last() != Some(&sector) {
                        *same = false;
                        versions.push(sector);
                    }
                }
                None => {
                    let same = self.files[id].get(at..end) == Some(&sector);
                    let change = Change::Sector { at, versions: vec![sector], same };
                    self.pending.push(Pending { file: id, change });
                }
            }
        }
    }

    /// Only what is durable.
    pub fn durable(&self) -> Image {
        self.build(&self.names, &vec![0; self.pending.len()])
    }

    /// What may be found, of each pending change as much as `picks` says: 0 for nothing.
    fn build(&self, names: &Names, picks: &[usize]) -> Image {
        let mut files = self.files.clone();
        for (pending, pick) in self.pending.iter().zip(picks) {
            pending.apply(*pick, &mut files);
        }
        names.iter().map(|(name, id)| (name.clone(), files[*id].clone())).collect()
    }

    /// A number that two different images do not share.
    fn key(&mut self, names: &Names, image: &Image) -> u128 {
        let mut bytes = Vec::with_capacity(names.len() * 40);
        for ((name, id), content) in names.iter().zip(image.values()) {
            let hash = if content.is_same(&self.files[*id]) {
                *self.hashes[*id].get_or_insert_with(|| xxh3_128(content))
            } else {
                xxh3_128(content)
            };
            bytes.extend_from_slice(name.as_bytes());
            bytes.extend_from_slice(&hash.to_le_bytes());
        }
        xxh3_128(&bytes)
    }

    /// The sets of names that a crash may leave: any subset of the changes that are not durable, to 16
    /// of them; beyond 4 the prefixes and the single ones left out.
    fn name_choices(&self) -> Vec<Names> {
        let count = self.name_ops.len();
        let mut masks: Vec<u32> = Vec::new();
        if count <= 4 {
            masks.extend(0..1_u32 << count);
        } else {
            let all = (1_u32 << count.min(31)) - 1;
            masks.extend((0..=count.min(31)).map(|n| (1_u32 << n) - 1));
            masks.extend((0..count.min(31)).map(|n| all & !(1 << n)));
        }
        let mut choices: Vec<Names> = Vec::new();
        for mask in masks {
            let mut names = self.names.clone();
            for (n, op) in self.name_ops.iter().enumerate() {
                if n < 31 && mask >> n & 1 == 1 {
                    apply_name(&mut names, op);
                }
            }
            if !choices.contains(&names) {
                choices.push(names);
            }
        }
        choices
    }

    /// Calls `check` with images after crashes here, and a number for each.
    pub fn crashes(&mut self, mode: Mode, plan: Plan, rng: &mut Rng, check: &mut dyn FnMut(&Image, u128)) {
        for names in self.name_choices() {
            let named = |id: usize| names.iter().find(|(_, of)| **of == id).map(|(name, _)| name);
            let mut free = Vec::new();
            let mut loose = Vec::new();
            for (n, pending) in self.pending.iter().enumerate() {
                match named(pending.file) {
                    // What an unfinished file holds is looked at by nobody.
                    Some(name) if name.ends_with(".tmp") => loose.push(n),
                    Some(_) if mode != Mode::Atomic || pending.change.choices() > 0 => free.push(n),
                    _ => {}
                }
            }
            let mut picks = vec![0; self.pending.len()];
            for n in loose {
                picks[n] = if rng.below(2) == 0 { self.pending[n].change.choices() } else { 0 };
            }
            if mode == Mode::Atomic {
                self.old_or_new(&names, &free, &picks, plan, rng, check);
            } else {
                self.broken(mode, &names, &free, &picks, plan, rng, check);
            }
        }
    }

    fn old_or_new(
        &mut self,
        names: &Names,
        free: &[usize],
        picks: &[usize],
        plan: Plan,
        rng: &mut Rng,
        check: &mut dyn FnMut(&Image, u128),
    ) {
        let choices: Vec<usize> = free.iter().map(|n| self.pending[*n].change.choices()).collect();
        let all = choices.iter().try_fold(1_usize, |all, n| all.checked_mul(n + 1));
        let mut state = |choose: &mut dyn FnMut(usize, usize) -> usize| {
            let mut picks = picks.to_vec();
            for (n, (place, most)) in free.iter().zip(&choices).enumerate() {
                picks[*place] = choose(n, *most);
            }
            let image = self.build(names, &picks);
            let key = self.key(names, &image);
            check(&image, key);
        };
        if let Some(all) = all.filter(|all| *all <= 1 << plan.exhaustive) {
            for number in 0..all {
                let mut left = number;
                state(&mut |_, most| {
                    let pick = left % (most + 1);
                    left /= most + 1;
                    pick
                });
            }
            return;
        }
        let count = free.len();
        for n in (0..count).step_by(count.div_ceil(plan.steps)) {
            state(&mut |m, most| if m < n { most } else { 0 });
            state(&mut |m, most| if m == n { most } else { 0 });
            state(&mut |m, most| if m == n { 0 } else { most });
        }
        state(&mut |_, most| most);
        for _ in 0..plan.sampled {
            // Not only halves: few missing and few kept as well.
            let share = 1 + rng.below(7);
            state(&mut |_, most| if rng.below(8) < share { 1 + rng.below(most as u64) as usize } else { 0 });
        }
    }

    /// One or two of the sectors that were being written are neither old nor new; the others are.
    #[expect(clippy::too_many_arguments, reason = "the same as above, and one place calls it")]
    fn broken(
        &mut self,
        mode: Mode,
        names: &Names,
        free: &[usize],
        picks: &[usize],
        plan: Plan,
        rng: &mut Rng,
        check: &mut dyn FnMut(&Image, u128),
    ) {
        let sectors: Vec<usize> = free
            .iter()
            .copied()
            .filter(|n| matches!(self.pending[*n].change, Change::Sector { .. }))
            .collect();
        let count = sectors.len();
        let mut victims: Vec<[usize; 2]> = Vec::new();
        for n in (0..count).step_by(count.div_ceil(plan.steps).max(1)) {
            victims.push([sectors[n]; 2]);
        }
        for _ in 0..if count > 1 { plan.sampled.div_ceil(4) } else { 0 } {
            victims.push([0; 2].map(|_| sectors[rng.below(count as u64) as usize]));
        }
        for victims in victims {
            let share = [0, 4, 8][rng.below(3) as usize];
            let mut picks = picks.to_vec();
            for n in free {
                let choices = self.pending[*n].change.choices();
                picks[*n] = if rng.below(8) < share { choices } else { 0 };
            }
            let mut image = self.build(names, &picks);
            for n in victims {
                let Change::Sector { at, versions, .. } = &self.pending[n].change else { continue };
                let new = versions.last().map_or(&[][..], Vec::as_slice);
                let sector = if mode == Mode::Zero { vec![0; new.len()] } else { garbage(new, rng) };
                let file = self.pending[n].file;
                for (name, id) in names {
                    if *id == file
                        && let Some(content) = image.get_mut(name)
                    {
                        content.write(*at, &sector);
                    }
                }
            }
            let key = self.key(names, &image);
            check(&image, key);
        }
    }

    /// One image out of those that a crash here may leave.
    pub fn one(&mut self, mode: Mode, rng: &mut Rng) -> Image {
        let mut found = Vec::new();
        let plan = Plan { exhaustive: 3, sampled: 6, steps: 4 };
        let mut seen = 0;
        let mut pick = Rng(rng.next());
        self.crashes(mode, plan, rng, &mut |image, _| {
            seen += 1;
            if pick.below(seen) == 0 {
                found = vec![image.clone()];
            }
        });
        found.pop().unwrap_or_else(|| self.durable())
    }
}

/// Something else than was written: anything, half of it, or one byte changed.
fn garbage(new: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut out = new.to_vec();
    let half = rng.below(out.len() as u64 + 1) as usize;
    match rng.below(4) {
        0 => out.fill_with(|| rng.next() as u8),
        1 => out[half..].fill_with(|| rng.next() as u8),
        2 => out[half..].fill(0),
        _ => {
            if let Some(byte) = out.get_mut(half) {
                *byte ^= 1 << rng.below(8);
            }
        }
    }
    out
}

impl Pending {
    fn apply(&self, pick: usize, files: &mut [Content]) {
        match (&self.change, pick) {
            (_, 0) => {}
            (Change::Sector { at, versions, .. }, pick) => {
                if let Some(version) = versions.get(pick.min(versions.len()) - 1) {
                    files[self.file].write(*at, version);
                }
            }
            (Change::Length(length), _) => files[self.file].resize(*length, 0),
        }
    }
}

fn apply_name(names: &mut Names, op: &Op) {
    match op {
        Op::Create(name, id) => drop(names.insert(name.clone(), *id)),
        Op::Rename(from, to, id) => {
            names.remove(from);
            names.insert(to.clone(), *id);
        }
        Op::Unlink(name) => drop(names.remove(name)),
        _ => {}
    }
}
