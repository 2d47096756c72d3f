//! The check by log index: hand-made contradictions and their twins, and all pairs compared one by one.

use std::time::Instant;

use raft_testkit::conformance::Random;
use raft_testkit::linearizability::index_order::{Contradiction, Kind, Placed, WrongAnswer, check, replay};
use raft_testkit::linearizability::{History, Kv, KvInput, KvOutput, OpId};

const fn write(invoked: u64, completed: u64, place: u64) -> Placed {
    Placed { invoked, completed: Some(completed), place, kind: Kind::Write }
}

const fn read(invoked: u64, completed: u64, place: u64) -> Placed {
    Placed { kind: Kind::Read, ..write(invoked, completed, place) }
}

/// The pair that contradicts time.
fn pair(operations: &[Placed]) -> Option<(usize, usize)> {
    match check(operations) {
        Ok(()) => None,
        Err(Contradiction::Order { earlier, later, .. }) => Some((earlier, later)),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn writes_keep_the_order_of_time() {
    assert_eq!(pair(&[write(0, 10, 2), write(11, 20, 1)]), Some((0, 1)));
    assert_eq!(pair(&[write(0, 10, 2), write(10, 20, 1)]), None, "concurrent");
    assert_eq!(pair(&[write(11, 20, 1), write(0, 10, 2)]), Some((1, 0)), "given in any order");
}

#[test]
fn reads_see_what_was_told() {
    assert_eq!(pair(&[write(0, 10, 5), read(20, 30, 4)]), Some((0, 1)));
    assert_eq!(pair(&[write(0, 10, 5), read(20, 30, 5)]), None);
    assert_eq!(pair(&[write(0, 10, 5), read(9, 30, 4)]), None, "concurrent");
}

#[test]
fn a_read_does_not_go_back_behind_a_read() {
    assert_eq!(pair(&[read(0, 10, 5), read(20, 30, 4)]), Some((0, 1)));
    assert_eq!(pair(&[read(0, 10, 5), read(20, 30, 5)]), None);
}

#[test]
fn what_a_read_saw_was_written_before() {
    assert_eq!(pair(&[read(0, 10, 5), write(20, 30, 5)]), Some((0, 1)));
    assert_eq!(pair(&[read(0, 10, 5), write(20, 30, 6)]), None);
}

#[test]
fn an_unanswered_write_has_a_place_too() {
    let open = Placed { completed: None, ..write(20, 0, 3) };
    assert_eq!(pair(&[write(0, 10, 4), open]), Some((0, 1)));
    assert_eq!(pair(&[open, write(30, 40, 2)]), None, "nobody was told of it");
}

#[test]
fn of_all_that_completed_the_greatest_place_counts() {
    let operations = [write(0, 10, 1), write(0, 11, 7), write(0, 12, 3), write(20, 30, 6)];
    assert_eq!(pair(&operations), Some((1, 3)));
}

#[test]
fn two_writes_have_two_places() {
    let twice = check(&[write(0, 10, 1), write(0, 10, 1)]);
    assert_eq!(twice, Err(Contradiction::SamePlace { first: 0, second: 1, place: 1 }));
    let within =
        |number| Placed { invoked: 0, completed: Some(1), place: (1_u64, number), kind: Kind::Write };
    assert_eq!(check(&[within(0), within(1)]), Ok(()), "two in one entry");
    assert_eq!(check(&[write(5, 4, 1)]), Err(Contradiction::CompletedFirst { operation: 0 }));
}

#[test]
fn a_contradiction_prints_both_operations() {
    let why = check(&[write(0, 10, 5), read(20, 30, 4)]).unwrap_err().to_string();
    let expected = "\
the log's order contradicts time:
  #0 Write at 5  |0..10|
  #1 Read at 4  |20..30|   invoked after #0 had completed";
    assert_eq!(why, expected);
}

/// Valid by construction: each operation takes effect within its time, and places follow effects.
fn valid(random: &mut Random, count: u64) -> Vec<Placed> {
    let mut effects: Vec<(u64, u64)> = (0..count).map(|number| (random.below(4 * count), number)).collect();
    effects.sort_unstable();
    let mut place = 0;
    effects
        .into_iter()
        .map(|(effect, _)| {
            let kind = if random.one_in(2) { Kind::Read } else { Kind::Write };
            place += u64::from(kind == Kind::Write);
            let invoked = effect.saturating_sub(random.below(20));
            let completed = if random.one_in(10) { None } else { Some(effect + random.below(20)) };
            Placed { invoked, completed, place, kind }
        })
        .collect()
}

/// The definition, for all pairs.
fn is_right(operations: &[Placed]) -> bool {
    operations.iter().all(|a| {
        operations.iter().all(|b| {
            let precedes = a.completed.is_some_and(|at| at < b.invoked);
            !precedes || a.place < b.place || (b.kind == Kind::Read && a.place == b.place)
        })
    })
}

#[test]
fn the_same_as_all_pairs_compared() {
    let mut wrong = 0;
    for seed in 0..2000 {
        let mut random = Random::new(seed);
        let count = 2 + random.below(40);
        let mut operations = valid(&mut random, count);
        assert_eq!(check(&operations), Ok(()), "seed {seed}");
        // One more operation, anywhere; a read, so that places stay unique.
        let invoked = random.below(4 * count);
        let completed = Some(invoked + random.below(20));
        operations.push(Placed { invoked, completed, place: random.below(count / 2 + 1), kind: Kind::Read });
        let verdict = check(&operations);
        assert_eq!(verdict.is_ok(), is_right(&operations), "seed {seed}: {verdict:?}");
        if let Err(Contradiction::Order { completed: a, invoked: b, .. }) = verdict {
            wrong += 1;
            assert!(!is_right(&[a, b]), "seed {seed}: the pair alone");
        }
    }
    assert!((500..1900).contains(&wrong), "{wrong}");
}

#[test]
fn replay_finds_the_answer_that_the_log_does_not_give() {
    let run = |seen: KvOutput| {
        let mut history = History::new();
        let mut add = |at, input: KvInput, output| {
            let id = history.invoke(1, at, input);
            history.complete(id, at + 1, output).unwrap();
        };
        add(0, KvInput::put("x", "a"), KvOutput::Done);
        add(10, KvInput::get("x"), seen);
        add(20, KvInput::incr("y", 2), KvOutput::Number(5));
        let lost = history.invoke(2, 0, KvInput::incr("y", 3));
        let nowhere = history.invoke(2, 5, KvInput::put("x", "z"));
        let places = [(0, 1, Kind::Write), (1, 3, Kind::Read), (2, 3, Kind::Write), (lost.0, 2, Kind::Write)];
        let place_of = move |id: OpId| {
            assert!(id <= nowhere);
            places.iter().find(|(number, _, _)| *number == id.0).map(|&(_, place, kind)| (place, kind))
        };
        replay(&Kv::new(), &history, place_of)
    };
    assert_eq!(run(KvOutput::value("a")), Ok(()));
    let what = "get -> nothing under key \"x\", where the state is \"a\"".to_owned();
    assert_eq!(run(KvOutput::nothing()), Err(WrongAnswer { id: OpId(1), what }));
}

#[test]
#[ignore = "a measurement: cargo test --release -p raft-testkit --test linearizability_index -- --ignored measure --nocapture"]
fn measure() {
    let operations = valid(&mut Random::new(1), 1_000_000);
    let mut best = f64::MAX;
    for _ in 0..5 {
        let start = Instant::now();
        assert_eq!(check(&operations), Ok(()));
        best = best.min(start.elapsed().as_secs_f64());
    }
    println!("1000000 operations by log index: {best:.3} s");
}
