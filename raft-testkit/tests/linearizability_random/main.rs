//! Random histories, valid by construction or damaged: this crate's checker must say what others say.

mod generate;
mod peers;

use std::collections::BTreeMap;
use std::time::Instant;

use generate::{DAMAGES, Damage, Shape, damaged, execute, generate};
use peers::{by_definition, is_order, porcupine};
use raft_testkit::conformance::Random;
use raft_testkit::linearizability::{History, Kv, KvInput, KvOutput, Limits, Verdict, check};

const STEPS: Limits = Limits::steps(10_000_000);

type KvHistory = History<KvInput<u64>, KvOutput>;

fn model() -> Kv<u64> {
    Kv::default()
}

/// Small histories, each valid and with one fault of each kind.
fn each(seeds: core::ops::Range<u64>, small: bool, mut look: impl FnMut(u64, Option<Damage>, &KvHistory)) {
    for seed in seeds {
        let mut random = Random::new(seed);
        let mut shape = Shape::small(&mut random);
        if small {
            shape.operations = 2 + random.below(6) as usize;
        }
        let all = generate(&mut random, shape);
        look(seed, None, &execute(all.clone(), &mut random));
        for damage in DAMAGES {
            if let Some(history) = damaged(all.clone(), &mut random, damage) {
                look(seed, Some(damage), &history);
            }
        }
    }
}

/// Compares with porcupine-rs; gives for each damage how many were made and how many were found.
fn against_porcupine(seeds: core::ops::Range<u64>) -> BTreeMap<Damage, (u32, u32)> {
    let mut found: BTreeMap<Damage, (u32, u32)> = BTreeMap::new();
    each(seeds, false, |seed, damage, history| {
        let verdict = check(&model(), history, STEPS);
        assert_eq!(verdict.is_ok(), porcupine(history), "seed {seed}, {damage:?}: {verdict:?}");
        assert!(!verdict.is_unknown(), "seed {seed}, {damage:?}");
        match damage {
            None => assert!(verdict.is_ok(), "seed {seed}: {verdict:?}"),
            Some(damage) => {
                let (made, caught) = found.entry(damage).or_default();
                *made += 1;
                *caught += u32::from(verdict.is_illegal());
            }
        }
    });
    found
}

#[test]
fn porcupine_says_the_same() {
    let found = against_porcupine(0..1000);
    println!("damage: (made, found): {found:?}");
    // With values that cannot be told apart most damage has no consequence that anybody sees.
    assert!(DAMAGES.iter().all(|damage| found[damage].1 > 100), "{found:?}");
}

#[test]
fn damage_that_shows_is_found() {
    let mut found: BTreeMap<Damage, (u32, u32)> = BTreeMap::new();
    for seed in 0..400 {
        let mut random = Random::new(seed);
        let shape = Shape { clients: 4, keys: 2, operations: 60, unknown: 60, failed: 50, telling: true };
        let all = generate(&mut random, shape);
        for damage in DAMAGES {
            let Some(history) = damaged(all.clone(), &mut random, damage) else { continue };
            let (made, caught) = found.entry(damage).or_default();
            *made += 1;
            *caught += u32::from(check(&model(), &history, STEPS).is_illegal());
        }
    }
    println!("damage: (made, found): {found:?}");
    for (damage, (made, caught)) in found {
        let percent = 100 * caught / made;
        let least = match damage {
            // What is lost, doubled or denied is missing or there in the last read.
            Damage::LostWrite | Damage::Twice | Damage::FalselyFailed => 100,
            Damage::OtherRead => 90,
            // What was moved may have been moved past nothing that it could be told from.
            Damage::Late | Damage::Early => 50,
        };
        assert!(percent >= least, "{damage:?}: only {caught} of {made} were found");
    }
}

#[test]
#[ignore = "minutes; for a change of the search"]
fn porcupine_says_the_same_about_very_many() {
    println!("damage: (made, found): {:?}", against_porcupine(1_000_000..1_100_000));
}

#[test]
fn the_definition_says_the_same() {
    let (mut legal, mut illegal) = (0, 0);
    each(0..1500, true, |seed, damage, history| {
        let verdict = check(&model(), history, STEPS);
        assert_eq!(verdict.is_ok(), by_definition(history), "seed {seed}, {damage:?}: {verdict:?}");
        *(if verdict.is_ok() { &mut legal } else { &mut illegal }) += 1;
    });
    assert!(legal > 1000 && illegal > 1000, "{legal} {illegal}");
}

#[test]
fn a_counterexample_is_one() {
    let mut seen = 0;
    each(0..600, false, |seed, damage, history| {
        let Verdict::Illegal(why) = check(&model(), history, STEPS) else { return };
        seen += 1;
        let context = || format!("seed {seed}, {damage:?}\n{why}");
        // Its operations alone have no order.
        let mut alone = History::new();
        for id in &why.operations {
            alone.push(history.operations()[id.0].clone()).unwrap();
        }
        assert!(!porcupine(&alone), "{}", context());
        // The order is one, and holds all that completed before the operation that fits nowhere.
        assert!(is_order(history, &why.order), "{}", context());
        let end = history.operations()[why.stuck.0].completed().unwrap();
        for id in &why.operations {
            let before = history.operations()[id.0].completed().is_some_and(|at| at < end);
            assert!(!before || why.order.contains(id), "{id:?} {}", context());
        }
        assert!(why.operations.contains(&why.stuck) && !why.order.contains(&why.stuck), "{}", context());
        assert!(why.to_string().is_ascii() && why.to_string().lines().count() < 40, "{}", context());
    });
    assert!(seen > 500, "{seen}");
}

#[test]
fn with_few_steps_the_verdict_is_the_right_one_or_unknown() {
    let (mut settled, mut unknown) = (0, 0);
    each(0..300, false, |seed, damage, history| {
        let right = check(&model(), history, STEPS);
        for steps in [0, 1, 5, 20, 60, 200] {
            let verdict = check(&model(), history, Limits::steps(steps));
            assert_eq!(verdict, check(&model(), history, Limits::steps(steps)), "seed {seed}, {damage:?}");
            if verdict.is_unknown() {
                unknown += 1;
            } else {
                settled += 1;
                assert_eq!(verdict.is_ok(), right.is_ok(), "seed {seed}, {damage:?}, {steps} steps");
            }
        }
    });
    assert!(settled > 500 && unknown > 500, "{settled} {unknown}");
}

/// Many operations with a typical load: valid, and no search to speak of.
fn typical(operations: usize, unknown: u64) -> KvHistory {
    let mut random = Random::new(7);
    let shape = Shape { clients: 10, keys: 100, operations, unknown, failed: 5, telling: false };
    let all = generate(&mut random, shape);
    execute(all, &mut random)
}

#[test]
fn a_long_valid_history_needs_few_steps() {
    let history = typical(20_000, 0);
    assert!(check(&model(), &history, Limits::steps(20_000)).is_ok());
}

#[test]
fn unknown_outcomes_do_not_keep_a_valid_history_from_being_settled() {
    let verdict = check(&model(), &typical(20_000, 100), Limits::steps(100_000));
    assert!(verdict.is_ok(), "{verdict:?}");
}

#[test]
#[ignore = "a measurement: cargo test --release -p raft-testkit --test linearizability_random -- --ignored measure --nocapture"]
fn measure() {
    for (operations, unknown) in [(100_000, 0), (100_000, 10), (100_000, 100), (1_000_000, 0)] {
        let history = typical(operations, unknown);
        let mut best = f64::MAX;
        for _ in 0..3 {
            let start = Instant::now();
            let verdict = check(&model(), &history, Limits::steps(50_000_000));
            best = best.min(start.elapsed().as_secs_f64());
            assert!(verdict.is_ok(), "{verdict:?}");
        }
        let rate = operations as f64 / best;
        println!(
            "10 clients, 100 keys, {operations} operations, {unknown} of 1000 unknown: {best:.3} s, {rate:.0} operations/s"
        );
    }
}
