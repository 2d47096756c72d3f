//! Random workloads.

use std::io::ErrorKind;

use crate::steps::{
    Fill, Step, Workload, append, blocks, crash, crash_garbage, cut, fail, fail_sync, meta, options, weak,
};
use crate::support::{Fault, Rng};

/// A workload that nobody thought of.
pub(crate) fn random(seed: u64) -> Workload {
    let mut rng = Rng(seed);
    let options = match rng.below(6) {
        0 => weak(),
        1 => blocks(6),
        2 => blocks(12),
        _ => options(),
    };
    let voters = [0, 1, 3, 3, 5][rng.below(5) as usize];
    let count = 6 + rng.below(9);
    let steps = (0..count).map(|_| random_step(&mut rng, voters > 1)).collect();
    Workload { name: format!("random {seed}"), voters, options, creation: false, steps }
}

fn random_step(rng: &mut Rng, several: bool) -> Step {
    let step = plain(rng);
    match rng.below(24) {
        0..3 => crash(step),
        3 if several => crash_garbage(step),
        4 => fail(Fault::Once(rng.below(12), ErrorKind::Other), step),
        5 => fail_sync(rng.below(9), step),
        6 => fail(Fault::Full(rng.below(3)), step),
        7 if several && rng.one_in(2) => Step::Rot(rng.one_in(2)),
        8 => {
            let odd = Fault::OddWrites(1 + rng.below(700) as usize);
            fail([Fault::SectorWrites, Fault::ShortWrites, odd][rng.below(3) as usize], step)
        }
        _ => step,
    }
}

fn plain(rng: &mut Rng) -> Step {
    let size = match rng.below(8) {
        0 => 0,
        1..4 => rng.below(300) as usize,
        4..7 => rng.below(2500) as usize,
        _ => rng.below(12_000) as usize,
    };
    match rng.below(20) {
        0..8 => {
            let mut write = append(rng.below(4), size);
            write.vote = rng.one_in(4);
            write.members = rng.one_in(6);
            write.commit = rng.one_in(3);
            write.fill = [Fill::Dense, Fill::Dense, Fill::Dense, Fill::Mixed][rng.below(4) as usize];
            if rng.one_in(6) {
                write.peers = 1 + rng.below(40) as usize;
            }
            if rng.one_in(12) {
                write.probation = Some(rng.one_in(3));
            }
            write.step()
        }
        8..11 => cut(1 + rng.below(5), rng.below(3), size).step(),
        11 => meta().vote().step(),
        12 => Step::Purge(rng.below(5)),
        13 if rng.one_in(2) => Step::Reset(rng.below(12) as i64 - 4),
        14 | 15 => Step::Spare,
        16 => Step::Mark,
        17 => Step::Sync,
        18 => Step::Close,
        _ => Step::Reopen,
    }
}
