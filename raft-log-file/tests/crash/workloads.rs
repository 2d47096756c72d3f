//! Workloads made by hand, each for a corner of the journal.

use std::io::ErrorKind;

use crate::steps::{
    Fill, Step, Workload, append, blocks, crash, crash_garbage, cut, fail, fail_sync, meta, options, weak,
};
use crate::support::{Fault, Mode};
use Step::{Close, Mark, Purge, Reopen, Reset, Resize, Rot, Spare, Sync};

fn workload(name: &str, steps: impl Into<Vec<Step>>) -> Workload {
    Workload { name: name.into(), voters: 3, options: options(), creation: false, steps: steps.into() }
}

/// With bigger segments, of so many blocks.
fn roomy(name: &str, count: u64, steps: impl Into<Vec<Step>>) -> Workload {
    Workload { options: blocks(count), ..workload(name, steps) }
}

fn repeat(count: usize, steps: &[Step]) -> Vec<Step> {
    std::iter::repeat_n(steps, count).flatten().cloned().collect()
}

const BROKEN: Fault = Fault::Once(0, ErrorKind::Other);

/// All of them.
pub(crate) fn by_hand() -> Vec<Workload> {
    let mut all = Vec::new();
    all.extend(creation_and_state());
    all.extend(batches());
    all.extend(segments());
    all.extend(cutting());
    all.extend(purging());
    all.extend(openings());
    all.extend(crashes());
    all.extend(faults());
    all.extend(damage());
    all
}

fn creation_and_state() -> Vec<Workload> {
    let a = append(1, 100).step();
    vec![
        Workload { creation: true, ..workload("creation", [append(2, 100).vote().step(), a.clone()]) },
        Workload {
            creation: true,
            voters: 0,
            ..workload("creation in limbo", [meta().vote().step(), a.clone()])
        },
        Workload {
            voters: 1,
            ..workload("single voter", [append(2, 700).vote().step(), Mark, a.clone(), Reopen])
        },
        workload("votes alternate", repeat(8, &[meta().vote().step()])),
        workload("votes with entries", repeat(5, &[append(1, 300).vote().step()])),
        workload("votes between marks", repeat(4, &[append(1, 50).step(), Mark, meta().vote().step()])),
        workload("votes and openings", repeat(4, &[meta().vote().step(), Reopen])),
        workload(
            "probation set and taken back",
            [
                append(2, 400).step(),
                meta().probation(true).step(),
                append(1, 400).step(),
                Reopen,
                append(1, 300).probation(false).step(),
                meta().probation(true).vote().step(),
                Reopen,
                cut(1, 2, 100).probation(false).step(),
            ],
        ),
        workload(
            "few peers",
            [meta().peers(2).step(), append(1, 100).peers(3).step(), meta().peers(1).step()],
        ),
        workload(
            "peers of two sectors",
            [meta().peers(14).step(), meta().peers(20).step(), a.clone(), Reopen],
        ),
        workload(
            "peers of seven sectors",
            [meta().peers(80).step(), meta().peers(81).vote().step(), Reopen, append(1, 9).peers(70).step()],
        ),
        workload(
            "everything at once",
            repeat(4, &[append(2, 600).vote().peers(4).members().commit().step()]),
        ),
    ]
}

fn batches() -> Vec<Workload> {
    // Header, one entry's record and the footer take 152 bytes.
    let sectors = |count: usize| append(1, count * 512 - 152).step();
    let fill = |fill: Fill, size: usize| append(2, size).fill(fill).step();
    vec![
        workload("one sector each", repeat(6, &[append(1, 10).step()])),
        workload("empty entries", [append(1, 0).step(), append(30, 0).step(), append(3, 0).vote().step()]),
        workload("many small entries", [append(60, 3).step(), append(100, 1).step()]),
        workload(
            "empty batches",
            [cut(1, 0, 0).step(), append(2, 20).step(), cut(2, 0, 0).step(), cut(1, 0, 0).step()],
        ),
        workload(
            "a full block, and one byte more",
            [append(1, 3944).step(), append(1, 3945).step(), append(1, 3943).step()],
        ),
        roomy("nine to twelve sectors", 16, [sectors(9), sectors(10), sectors(11), sectors(12)]),
        roomy(
            "the footer alone in a sector",
            16,
            [append(1, 3 * 512 - 120).step(), append(1, 5 * 512 - 121).step()],
        ),
        roomy(
            "entries across sectors",
            16,
            [append(7, 333).step(), append(9, 511).step(), append(5, 513).step()],
        ),
        roomy("forty kilobytes", 32, [append(3, 13_000).step(), Mark, append(40, 1000).step()]),
        roomy("zeros", 16, [fill(Fill::Zero, 2000), fill(Fill::Zero, 5000), Mark, fill(Fill::Zero, 300)]),
        roomy(
            "runs of zeros",
            16,
            [fill(Fill::Mixed, 2000), fill(Fill::Mixed, 2600), fill(Fill::Mixed, 1300)],
        ),
        roomy("hardly anything but zeros", 16, [fill(Fill::Sparse, 2000), fill(Fill::Sparse, 1800)]),
        roomy(
            "memberships",
            16,
            [
                append(1, 0).members().step(),
                cut(1, 2, 90).members().step(),
                append(1, 0).members().step(),
                Reopen,
            ],
        ),
        roomy("commit hints", 8, repeat(4, &[append(1, 200).commit().step(), Mark])),
    ]
}

fn segments() -> Vec<Workload> {
    let a = append(1, 900).step();
    let big = append(1, 20_000).step();
    vec![
        workload("seals without a spare", repeat(7, std::slice::from_ref(&a))),
        workload("seals with a spare", repeat(6, &[a.clone(), Spare])),
        workload("bigger than a segment", [big.clone(), a.clone(), big.clone(), Mark, a.clone()]),
        workload("a spare that is too small", [a.clone(), Spare, big.clone(), Spare, big.clone(), a.clone()]),
        workload(
            "a spare and an opening",
            [a.clone(), Spare, Reopen, a.clone(), Spare, Reopen, Reopen, a.clone()],
        ),
        workload(
            "spares of other sizes",
            [a.clone(), Spare, Resize(8 * 4096), a.clone(), Spare, Resize(4 * 4096), a.clone()],
        ),
        roomy(
            "a segment filled to the last block",
            6,
            [append(1, 2 * 4096 + 3000).step(), a.clone(), a.clone(), Mark],
        ),
        workload("a mark in the last block", [a.clone(), Mark, a.clone(), Mark, a.clone(), Mark, Sync]),
        workload(
            "marks and nothing else",
            [a.clone(), Mark, Sync, Mark, Sync, a.clone(), Close, Close, Sync],
        ),
        roomy("marks under load", 16, repeat(5, &[a.clone(), Mark])),
        roomy("idle between writes", 16, repeat(4, &[a.clone(), Mark, Sync])),
    ]
}

fn cutting() -> Vec<Workload> {
    let a = append(2, 900).step();
    vec![
        workload("cut across an edge", [a.clone(), a.clone(), a.clone(), cut(5, 2, 400).step(), a.clone()]),
        workload(
            "cut across edges, nothing new",
            [a.clone(), a.clone(), a.clone(), a.clone(), cut(7, 0, 0).step(), Reopen],
        ),
        workload("cut everything", [a.clone(), cut(99, 0, 0).step(), a.clone(), cut(99, 1, 50).step()]),
        workload(
            "cut again and again",
            [
                a.clone(),
                cut(1, 2, 90).step(),
                cut(2, 2, 800).step(),
                cut(1, 1, 10).step(),
                cut(3, 1, 9).step(),
            ],
        ),
        workload(
            "a shorter tail",
            [append(6, 300).step(), Mark, cut(5, 1, 300).step(), Mark, append(1, 10).step()],
        ),
        workload(
            "a cut in the last block",
            [a.clone(), cut(1, 1, 3900).step(), cut(1, 0, 0).step(), cut(1, 1, 8).step()],
        ),
        workload(
            "cut, vote and open",
            repeat(3, &[append(2, 500).step(), cut(1, 1, 500).vote().step(), Reopen]),
        ),
        workload(
            "cut memberships",
            [append(2, 50).members().step(), append(1, 50).members().step(), cut(2, 1, 50).step(), Reopen],
        ),
    ]
}

fn purging() -> Vec<Workload> {
    let a = append(2, 1300).step();
    let three = repeat(3, std::slice::from_ref(&a));
    let then = |steps: &[Step]| [three.clone(), steps.to_vec()].concat();
    vec![
        workload("purge the half", then(&[Purge(3), a.clone(), Purge(2)])),
        workload("purge all", then(&[Purge(0), a.clone(), Purge(0), Reopen, a.clone()])),
        workload("purge one by one", then(&[Purge(5), Purge(4), Purge(3), Purge(2), Purge(1), Purge(0)])),
        workload("purge and cut to the floor", then(&[Purge(2), cut(2, 1, 90).step(), Purge(0), Reopen])),
        workload(
            "purge after openings",
            then(&[Reopen, Purge(3), Reopen, a.clone(), Reopen, Purge(1), Reopen]),
        ),
        workload("reset ahead", then(&[Reset(30), a.clone(), Reset(1), a.clone(), Reopen])),
        workload("reset into the log", then(&[Reset(-2), a.clone(), Reset(0), Reopen, a.clone()])),
        workload(
            "reset in the last block",
            [append(1, 900).step(), append(1, 900).step(), Reset(9), Reset(1), Reset(1), Reset(1)],
        ),
        workload("purge, reset, purge", then(&[Purge(2), Reset(5), a.clone(), Purge(1), Reopen, Purge(0)])),
        Workload {
            voters: 0,
            ..workload("limbo, reset, entries", [Reset(40), append(2, 900).vote().step(), Reopen, Purge(1)])
        },
    ]
}

fn openings() -> Vec<Workload> {
    let a = append(2, 600).step();
    vec![
        workload("open after each write", repeat(4, &[a.clone(), Reopen])),
        workload("open again and again", [a.clone(), Reopen, Reopen, Reopen, Reopen, a.clone()]),
        workload("close and open", repeat(3, &[a.clone(), Close, Reopen])),
        workload("open without anything", [Reopen, Reopen, Close, Reopen]),
        workload(
            "big batches not proved",
            [append(1, 20_000).step(), Reopen, cut(1, 1, 15_000).step(), Reopen, Reopen],
        ),
        roomy(
            "many batches, one mark lost",
            16,
            [a.clone(), a.clone(), a.clone(), Mark, Reopen, a.clone(), Mark, Sync, Reopen],
        ),
        Workload {
            options: weak(),
            ..workload(
                "never synced",
                [
                    a.clone(),
                    a.clone(),
                    cut(1, 2, 300).vote().step(),
                    a.clone(),
                    Sync,
                    append(1, 2000).step(),
                    a.clone(),
                    cut(3, 1, 200).step(),
                ],
            )
        },
        Workload {
            options: weak().segment_bytes(16 * 1024),
            ..workload(
                "never synced, small segments",
                [
                    a.clone(),
                    Spare,
                    a.clone(),
                    a.clone(),
                    meta().vote().step(),
                    a.clone(),
                    Mark,
                    a.clone(),
                    Reopen,
                ],
            )
        },
        Workload {
            options: weak(),
            ..workload(
                "never synced, purged",
                [a.clone(), a.clone(), Purge(2), a.clone(), Reset(3), a.clone(), a.clone()],
            )
        },
    ]
}

fn crashes() -> Vec<Workload> {
    let a = append(2, 900).step();
    vec![
        workload("down in writes", repeat(4, &[crash(a.clone())])),
        workload("down in big writes", repeat(3, &[crash(append(1, 9000).step()), a.clone()])),
        workload(
            "down in openings",
            [a.clone(), crash(Reopen), crash(Reopen), crash(Reopen), a.clone(), crash(Reopen)],
        ),
        workload(
            "down in a rotation",
            [a.clone(), a.clone(), crash(a.clone()), a.clone(), crash(a.clone()), a.clone()],
        ),
        workload(
            "down in a cut",
            [
                a.clone(),
                a.clone(),
                a.clone(),
                crash(cut(4, 1, 900).step()),
                crash(cut(1, 1, 90).step()),
                a.clone(),
            ],
        ),
        workload(
            "down in a purge",
            [a.clone(), a.clone(), a.clone(), crash(Purge(2)), a.clone(), crash(Purge(1)), a.clone()],
        ),
        workload("down in a reset", [a.clone(), crash(Reset(5)), a.clone(), crash(Reset(-1)), a.clone()]),
        workload(
            "down while a spare is made",
            [a.clone(), crash(Spare), a.clone(), Spare, crash(a.clone()), a.clone()],
        ),
        workload("down in votes", repeat(4, &[crash(meta().vote().step()), append(1, 50).vote().step()])),
        workload(
            "down between marks",
            [a.clone(), crash(Mark), a.clone(), Mark, crash(Sync), a.clone(), crash(Close)],
        ),
        workload(
            "down after torn tails",
            repeat(3, &[crash(append(1, 3000).step()), crash(Reopen), append(1, 1000).step()]),
        ),
    ]
}

fn faults() -> Vec<Workload> {
    let a = append(2, 900).step();
    let nth = |n, step: &Step| fail(Fault::Once(n, ErrorKind::Other), step.clone());
    vec![
        workload("a sync fails, nothing is kept", [a.clone(), fail_sync(0, a.clone()), Reopen, a.clone()]),
        workload(
            "a sync fails, a part is kept",
            [a.clone(), fail_sync(5, a.clone()), fail_sync(6, append(1, 3000).step()), Reopen],
        ),
        workload(
            "down after a failed sync",
            repeat(3, &[a.clone(), crash(fail_sync(9, append(1, 2500).step()))]),
        ),
        workload(
            "the sync of a vote fails",
            [
                a.clone(),
                fail_sync(3, append(1, 10).vote().step()),
                fail_sync(0, meta().vote().step()),
                a.clone(),
            ],
        ),
        workload(
            "the sync of a seal fails",
            [a.clone(), a.clone(), fail_sync(2, a.clone()), a.clone(), a.clone(), nth(6, &a), a.clone()],
        ),
        workload(
            "a write fails",
            [a.clone(), fail(BROKEN, a.clone()), a.clone(), fail(BROKEN, meta().vote().step()), a.clone()],
        ),
        workload(
            "a purge fails",
            [
                a.clone(),
                a.clone(),
                nth(0, &Purge(2)),
                nth(1, &Purge(1)),
                nth(2, &Purge(1)),
                nth(3, &Purge(0)),
            ],
        ),
        workload(
            "a reset fails",
            [
                a.clone(),
                nth(0, &Reset(3)),
                a.clone(),
                nth(1, &Reset(3)),
                nth(2, &Reset(3)),
                nth(4, &Reset(3)),
            ],
        ),
        workload(
            "openings fail",
            [
                a.clone(),
                nth(0, &Reopen),
                nth(5, &Reopen),
                nth(9, &Reopen),
                nth(14, &Reopen),
                a.clone(),
                Reopen,
            ],
        ),
        workload(
            "no space for a segment",
            [
                a.clone(),
                a.clone(),
                fail(Fault::Full(0), append(2, 900).vote().step()),
                fail(Fault::Full(0), meta().vote().step()),
                a.clone(),
                a.clone(),
            ],
        ),
        workload(
            "no space for a spare",
            [
                a.clone(),
                fail(Fault::Full(1), Spare),
                a.clone(),
                fail(Fault::Full(2), a.clone()),
                Reset(2),
                a.clone(),
            ],
        ),
        workload(
            "writes end at any byte",
            [
                fail(Fault::ShortWrites, append(1, 3944).step()),
                crash(fail(Fault::ShortWrites, append(2, 1900).vote().step())),
                fail(Fault::ShortWrites, append(1, 9000).step()),
                fail(Fault::ShortWrites, Reopen),
                fail(Fault::OddWrites(123), append(2, 1500).vote().step()),
                fail(Fault::OddWrites(700), append(3, 300).step()),
            ],
        ),
        workload(
            "short writes",
            [
                fail(Fault::SectorWrites, append(2, 1500).vote().step()),
                fail(Fault::SectorWrites, Reopen),
                crash(fail(Fault::SectorWrites, a.clone())),
                a.clone(),
            ],
        ),
    ]
}

fn damage() -> Vec<Workload> {
    let a = append(2, 900).step();
    let back = cut(1, 2, 300).probation(false).step();
    vec![
        roomy(
            "rot in what is proved",
            16,
            [a.clone(), a.clone(), a.clone(), Rot(true), a.clone(), back.clone(), Reopen],
        ),
        roomy(
            "rot in the tail",
            16,
            [a.clone(), a.clone(), Rot(false), a.clone(), back.clone(), Rot(false), Reopen, a.clone()],
        ),
        workload(
            "rot across segments",
            [
                a.clone(),
                a.clone(),
                a.clone(),
                a.clone(),
                Rot(true),
                Reopen,
                a.clone(),
                Rot(true),
                back.clone(),
            ],
        ),
        roomy(
            "down after rot",
            16,
            [a.clone(), a.clone(), Rot(true), crash(Reopen), crash(a.clone()), back.clone()],
        ),
        workload(
            "garbage after a crash",
            repeat(3, &[a.clone(), crash_garbage(append(1, 2000).step()), back.clone()]),
        ),
        workload(
            "garbage in a vote",
            repeat(
                3,
                &[crash_garbage(append(1, 60).vote().step()), a.clone(), meta().probation(false).step()],
            ),
        ),
        workload(
            "zeros after a crash",
            repeat(3, &[Step::Crash(Mode::Zero, Box::new(append(1, 60).vote().peers(20).step())), a.clone()]),
        ),
    ]
}
