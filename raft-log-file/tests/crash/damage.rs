//! Damage of what workloads have left behind: changed bytes, and sectors that were written to another
//! place. It is noticed, or it touches nothing; and nothing is ever handed out that was not written.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use raft_core::backend::{HardState, OpenError, Verdict};
use raft_core::entry::Entry;
use raft_log_file::{Case, Finding, Options};

use crate::record::record;
use crate::steps::Workload;
use crate::support::{Content, Image, MemVfs, Model, Rng, SECTOR, open_seeded};

/// Where segments begin to hold batches.
const BLOCK: usize = 4096;

/// What became of damaged journals.
#[derive(Clone, Debug, Default)]
pub(crate) struct Damaged {
    /// How many were looked at.
    pub(crate) images: u64,
    /// The identity does not go on.
    pub(crate) refused: u64,
    /// Something is lost, and that is said.
    pub(crate) probation: u64,
    /// Nothing is lost, and the damage was reported.
    pub(crate) repaired: u64,
    /// Nothing is lost: no record was touched.
    pub(crate) harmless: u64,
    /// Something is lost, or was never written, and nobody says so.
    pub(crate) silent: Vec<String>,
}

impl Damaged {
    pub(crate) fn add(&mut self, other: Self) {
        self.images += other.images;
        self.refused += other.refused;
        self.probation += other.probation;
        self.repaired += other.repaired;
        self.harmless += other.harmless;
        self.silent.extend(other.silent);
    }

    /// As a line of the report.
    pub(crate) fn line(&self, what: &str) -> String {
        format!(
            "{{\"damage\":\"{what}\",\"images\":{},\"refused\":{},\"probation\":{},\"repaired\":{},\
             \"harmless\":{},\"silent\":{}}}\n",
            self.images,
            self.refused,
            self.probation,
            self.repaired,
            self.harmless,
            self.silent.len(),
        )
    }

    /// Opens a damaged journal that held `model`, everything proved durable.
    fn look(&mut self, image: &Image, left: &Left, what: impl FnOnce() -> String) {
        self.images += 1;
        let Left { options, model, history, .. } = left;
        let store = match open_seeded(&MemVfs::light(image), options.clone(), self.images) {
            Ok(store) => store,
            Err(OpenError::Corrupt(_) | OpenError::NotInitialised | OpenError::Version { .. }) => {
                return self.refused += 1;
            }
            Err(error) => return self.silent.push(format!("{}: {error}", what())),
        };
        let Ok(state) = store.load() else { return self.silent.push(what()) };
        let found = Model::of(&store);
        let lost = matches!(state.verdict, Verdict::SuspectTail { .. } | Verdict::Corrupt(_));
        // Entries that were cut later may be there again.
        let known = |entry: &&Entry| history.iter().any(|then| then.entries.contains(entry));
        let foreign = found.entries.iter().filter(|entry| !known(entry)).count();
        if lost {
            let hard_state = HardState { probation: true, ..model.hard_state };
            if foreign == 0 && found.hard_state == hard_state && found.purged == model.purged {
                self.probation += 1;
                return;
            }
        } else if found == *model || fell_back(&found, model, store.findings()) {
            if store.findings().is_empty() && state.verdict == Verdict::Clean {
                self.harmless += 1;
            } else {
                self.repaired += 1;
            }
            return;
        }
        self.silent.push(format!("{}: {:?}, {foreign} foreign, {found:?}", what(), state.verdict));
    }
}

/// Of the known peers an older state is in force, and that was reported (R3c).
fn fell_back(found: &Model, model: &Model, findings: &[Finding]) -> bool {
    let peers = model.peers.clone();
    findings.iter().any(|finding| finding.case == Case::SlotTorn)
        && Model { peers, ..found.clone() } == *model
}

/// What a workload has left behind.
struct Left {
    name: String,
    image: Image,
    options: Options,
    model: Model,
    history: Vec<Model>,
}

/// With the end marked: as good as on a disk that was never in doubt. Or as a killed process leaves it: of the last
/// batches nothing says that they were durable.
fn left_behind(workloads: &[Workload], marked: bool) -> Vec<Left> {
    let mut all = Vec::new();
    for workload in workloads {
        let Ok(recorded) = record(workload, 1) else { continue };
        let (name, options, mut history) =
            (workload.name.clone(), workload.options.clone(), recorded.history);
        let vfs = MemVfs::light(&recorded.image);
        let Ok(mut store) = open_seeded(&vfs, options.clone(), 3) else { continue };
        if !marked || store.close().is_ok() {
            let model = Model::of(&store);
            history.push(model.clone());
            drop(store);
            let image = if marked { vfs.image() } else { recorded.image };
            all.push(Left { name, image, options, model, history });
        }
    }
    all
}

/// Changes `each` random bytes of what every workload has left behind, one at a time.
pub(crate) fn flips(workloads: &[Workload], each: usize, seed: u64) -> Damaged {
    let all = left_behind(workloads, true);
    in_parallel(all.len(), |n| {
        let mut rng = Rng(seed ^ (n as u64) << 32);
        let names: Vec<&String> = all[n].image.keys().collect();
        all[n].flipped(each, &mut rng, |rng| {
            let file = names[rng.below(names.len() as u64) as usize];
            let length = all[n].image[file].len() as u64;
            (length > 0).then(|| (file, rng.below(length) as usize))
        })
    })
}

/// The same near the end of what segments hold, where no later record says that it was durable: a changed byte is
/// no tear, however much it is the first bad checksum.
pub(crate) fn flips_at_the_end(workloads: &[Workload], each: usize, seed: u64) -> Damaged {
    let all = left_behind(workloads, false);
    in_parallel(all.len(), |n| {
        let mut rng = Rng(seed ^ (n as u64) << 32);
        // The name, and where what is stored ends; but for the header.
        let end = |bytes: &[u8]| bytes.iter().rposition(|byte| *byte != 0).filter(|last| *last >= BLOCK);
        let segments = all[n].image.iter().filter(|(name, _)| name.starts_with("seg-"));
        let ends: Vec<(&String, usize)> =
            segments.filter_map(|(name, bytes)| Some((name, end(bytes)?))).collect();
        all[n].flipped(each, &mut rng, |rng| {
            let (file, last) = *ends.get(rng.below(ends.len().max(1) as u64) as usize)?;
            Some((file, last - rng.below((last - BLOCK + 1).min(BLOCK) as u64) as usize))
        })
    })
}

impl Left {
    /// Changes so many bytes, one at a time.
    fn flipped<'a>(
        &self,
        each: usize,
        rng: &mut Rng,
        place: impl Fn(&mut Rng) -> Option<(&'a String, usize)>,
    ) -> Damaged {
        let mut seen = Damaged::default();
        for _ in 0..each {
            let Some((file, at)) = place(rng) else { continue };
            let bit = 1_u8 << rng.below(8);
            let mut image = self.image.clone();
            if let Some(bytes) = image.get_mut(file) {
                bytes[at] ^= bit;
            }
            seen.look(&image, self, || format!("{}: bit {bit} of byte {at} of {file}", self.name));
        }
        seen
    }
}

/// Every sector of a journal in the place of every other one; the place it was meant for keeps it, or is
/// left as it was before anything was written.
pub(crate) fn misdirections(workload: &Workload, one_in: u64) -> Damaged {
    let all = left_behind(std::slice::from_ref(workload), true);
    let Some(left @ Left { image: good, .. }) = all.first() else { return Damaged::default() };
    let sectors: Vec<(&String, usize)> = good
        .iter()
        .flat_map(|(name, bytes)| (0..bytes.len() / SECTOR).map(move |sector| (name, sector * SECTOR)))
        .collect();
    let bytes_of = |(name, at): (&String, usize)| &good[name][at..at + SECTOR];
    in_parallel(sectors.len(), |from| {
        let mut seen = Damaged::default();
        let mut rng = Rng(from as u64);
        let (source, moved) = (sectors[from], bytes_of(sectors[from]));
        for target in sectors.iter().filter(|target| bytes_of(**target) != moved) {
            if one_in > 1 && !rng.one_in(one_in) {
                continue;
            }
            let mut image = good.clone();
            put(&mut image, *target, moved);
            seen.look(&image, left, || format!("{source:?} copied to {target:?}"));
            put(&mut image, source, &[0; SECTOR]);
            seen.look(&image, left, || format!("{source:?} moved to {target:?}"));
        }
        seen
    })
}

fn put(image: &mut Image, (name, at): (&String, usize), bytes: &[u8]) {
    if let Some(content) = image.get_mut(name) {
        Content::write(content, at, bytes);
    }
}

fn in_parallel(count: usize, work: impl Fn(usize) -> Damaged + Sync) -> Damaged {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(BTreeMap::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= count {
                        return;
                    }
                    let seen = work(n);
                    done.lock().unwrap().insert(n, seen);
                }
            });
        }
    });
    let mut all = Damaged::default();
    done.into_inner().unwrap().into_values().for_each(|seen| all.add(seen));
    all
}
