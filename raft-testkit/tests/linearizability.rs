//! Histories made by hand: each illegal one must be rejected, and its legal twin, which differs in one
//! detail, accepted.

use bytes::Bytes;
use raft_testkit::linearizability::{
    Counterexample, History, HistoryError, HistoryRecorder, Kv, KvInput, KvOutput, Limits, List, ListInput,
    ListOutput, Model, OpId, Operation, Outcome, Verdict, check,
};

const STEPS: Limits = Limits::steps(100_000);

type Row<I, O> = (u64, u64, I, Outcome<O>);

fn history<I, O>(rows: impl IntoIterator<Item = Row<I, O>>) -> History<I, O> {
    let mut history = History::new();
    for (client, invoked, input, outcome) in rows {
        history.push(Operation { client, invoked, input, outcome }).unwrap();
    }
    history
}

/// Told at a time.
fn at<O>(at: u64, output: O) -> Outcome<O> {
    Outcome::Completed { at, output }
}

fn ok(time: u64) -> Outcome<KvOutput> {
    at(time, KvOutput::Done)
}

fn saw(time: u64, value: &'static str) -> Outcome<KvOutput> {
    at(time, KvOutput::value(value))
}

fn nothing(time: u64) -> Outcome<KvOutput> {
    at(time, KvOutput::nothing())
}

fn get() -> KvInput {
    KvInput::get("x")
}

fn put(value: &'static str) -> KvInput {
    KvInput::put("x", value)
}

fn cas(expected: &'static str, new: &'static str) -> KvInput {
    KvInput::cas("x", Some(Bytes::from_static(expected.as_bytes())), new)
}

fn legal<M: Model>(model: &M, history: &History<M::Input, M::Output>) {
    let verdict = check(model, history, STEPS);
    assert!(verdict.is_ok(), "{verdict:?}");
}

fn illegal<M: Model>(model: &M, history: &History<M::Input, M::Output>) -> Counterexample<M::Key> {
    match check(model, history, STEPS) {
        Verdict::Illegal(why) => *why,
        other => panic!("not rejected: {other:?}"),
    }
}

/// The operation `stuck` of the illegal history fits nowhere; the twin has an order.
fn twins(stuck: usize, wrong: Vec<Row<KvInput, KvOutput>>, right: Vec<Row<KvInput, KvOutput>>) {
    let why = illegal(&Kv::new(), &history(wrong));
    assert_eq!(why.stuck, OpId(stuck), "{why}");
    legal(&Kv::new(), &history(right));
}

#[test]
fn a_read_after_a_write_must_see_it() {
    twins(
        1,
        vec![(1, 0, put("a"), ok(10)), (2, 20, get(), nothing(30))],
        // Twin: the read overlaps the write.
        vec![(1, 0, put("a"), ok(10)), (2, 5, get(), nothing(30))],
    );
}

#[test]
fn the_new_value_does_not_go_away_again() {
    let rows = |second_read_at| {
        vec![
            (1, 0, put("a"), ok(5)),
            (1, 10, put("b"), ok(100)),
            (2, 20, get(), saw(30, "b")),
            (3, second_read_at, get(), saw(50, "a")),
        ]
    };
    twins(3, rows(40), rows(25));
}

#[test]
fn a_value_nobody_wrote() {
    twins(
        1,
        vec![(1, 0, put("a"), ok(10)), (2, 5, get(), saw(20, "z"))],
        vec![(1, 0, put("a"), ok(10)), (2, 5, get(), saw(20, "a"))],
    );
}

#[test]
fn a_value_from_the_future() {
    let rows = |write_at| vec![(1, 0, get(), saw(10, "a")), (2, write_at, put("a"), ok(30))];
    twins(0, rows(20), rows(8));
}

#[test]
fn readers_agree_about_the_order_of_concurrent_writes() {
    let rows = |last| {
        vec![
            (1, 0, put("a"), ok(10)),
            (2, 0, put("b"), ok(10)),
            (3, 20, get(), saw(30, "a")),
            (4, 40, get(), saw(50, last)),
        ]
    };
    twins(3, rows("b"), rows("a"));
}

#[test]
fn an_acknowledged_write_is_not_lost() {
    let rows = |last| {
        vec![
            (1, 0, KvInput::append("x", "a"), ok(10)),
            (2, 5, KvInput::append("x", "b"), ok(15)),
            (3, 20, get(), saw(30, last)),
        ]
    };
    twins(2, rows("b"), rows("ba"));
}

#[test]
fn a_write_is_executed_once() {
    let rows = |seen| vec![(1, 0, KvInput::incr("x", 1), ok(10)), (2, 20, get(), saw(30, seen))];
    twins(1, rows("2"), rows("1"));
}

#[test]
fn an_open_write_is_executed_once() {
    let open = (1, 0, KvInput::incr("x", 1), Outcome::Unknown);
    let rows = |seen| vec![open.clone(), (2, 20, get(), nothing(30)), (2, 40, get(), saw(50, seen))];
    twins(2, rows("2"), rows("1"));
}

#[test]
fn only_one_of_two_swaps_from_the_same_value_succeeds() {
    let rows = |second| {
        vec![
            (1, 0, put("a"), ok(5)),
            (1, 10, cas("a", "b"), at(30, KvOutput::Swapped(true))),
            (2, 10, cas("a", "c"), at(31, KvOutput::Swapped(second))),
        ]
    };
    twins(2, rows(true), rows(false));
}

#[test]
fn a_swap_that_said_no_had_a_reason() {
    let rows =
        |held| vec![(1, 0, put(held), ok(5)), (2, 10, cas("a", "b"), at(20, KvOutput::Swapped(false)))];
    twins(1, rows("a"), rows("c"));
}

#[test]
fn counters_give_each_number_once() {
    let rows = |second| {
        vec![
            (1, 0, KvInput::incr("x", 1), at(20, KvOutput::Number(1))),
            (2, 0, KvInput::incr("x", 1), at(21, KvOutput::Number(second))),
        ]
    };
    twins(1, rows(1), rows(2));
}

#[test]
fn a_failed_write_is_never_seen() {
    let rows = |outcome| vec![(1, 0, put("a"), outcome), (2, 20, get(), saw(30, "a"))];
    twins(1, rows(Outcome::Failed), rows(Outcome::Unknown));
}

#[test]
fn an_open_write_takes_effect_late_but_not_before_its_invocation() {
    let rows = |invoked| {
        vec![
            (1, 0, put("a"), ok(5)),
            (1, invoked, put("b"), Outcome::Unknown),
            (2, 20, get(), saw(30, "b")),
            (2, 40, get(), saw(50, "b")),
        ]
    };
    twins(2, rows(35), rows(10));
}

#[test]
fn a_deleted_value_does_not_come_back() {
    let rows = |seen| {
        vec![
            (1, 0, put("a"), ok(5)),
            (1, 10, KvInput::del("x"), at(15, KvOutput::Existed(true))),
            (2, 20, get(), seen),
        ]
    };
    twins(2, rows(saw(30, "a")), rows(nothing(30)));
}

#[test]
fn append_tells_the_length() {
    let rows = |length| {
        vec![
            (1, 0, KvInput::append("x", "abc"), at(5, KvOutput::Length(3))),
            (2, 10, KvInput::append("x", "de"), at(20, KvOutput::Length(length))),
        ]
    };
    twins(1, rows(2), rows(5));
}

#[test]
fn numbers_are_text_and_text_is_no_number() {
    let rows = |told| vec![(1, 0, put("many"), ok(5)), (2, 10, KvInput::incr("x", 2), at(20, told))];
    twins(1, rows(KvOutput::Number(2)), rows(KvOutput::NotANumber));
    let rows =
        |held| vec![(1, 0, put(held), ok(5)), (2, 10, KvInput::incr("x", 2), at(20, KvOutput::NotANumber))];
    twins(1, rows("9223372036854775805"), rows("9223372036854775806"));
}

#[test]
fn keys_are_independent_and_each_is_checked() {
    let on = |key: &str, read: Outcome<KvOutput>| {
        history([
            (1, 0, KvInput::put("x", "a"), ok(10)),
            (1, 20, KvInput::put("y", "b"), ok(30)),
            (2, 40, KvInput::get(key), read),
        ])
    };
    legal(&Kv::new(), &on("y", saw(50, "b")));
    legal(&Kv::new(), &on("z", nothing(50)));
    let why = illegal(&Kv::new(), &on("y", saw(50, "a")));
    assert_eq!((why.key.as_str(), &*why.operations), ("y", [OpId(1), OpId(2)].as_slice()));
}

#[test]
fn lists_keep_the_order_of_appends() {
    let rows = |read: &[u64]| {
        history([
            (1, 0, ListInput::append("x", 1), at(10, ListOutput::Done)),
            (2, 20, ListInput::append("x", 2), at(30, ListOutput::Length(2))),
            (3, 25, ListInput::append("x", 3), Outcome::Unknown),
            (4, 40, ListInput::read("x"), at(50, ListOutput::Elements(read.to_vec()))),
        ])
    };
    let model = List::new();
    for right in [&[1, 2][..], &[1, 2, 3]] {
        legal(&model, &rows(right));
    }
    for wrong in [&[2, 1][..], &[1, 3, 2], &[1], &[2], &[1, 2, 3, 3], &[1, 2, 2], &[]] {
        assert!(check(&model, &rows(wrong), STEPS).is_illegal(), "{wrong:?}");
    }
}

#[test]
fn equal_times_are_concurrent() {
    let rows = |read_at| vec![(1, 0, put("a"), ok(10)), (2, read_at, get(), nothing(30))];
    twins(1, rows(11), rows(10));
    // Operations without duration.
    twins(
        2,
        vec![(1, 5, put("a"), ok(5)), (2, 6, get(), saw(6, "a")), (3, 7, get(), nothing(7))],
        vec![(1, 5, put("a"), ok(5)), (2, 5, get(), saw(5, "a")), (3, 5, get(), nothing(5))],
    );
}

#[test]
fn an_open_read_tells_nothing_and_an_open_swap_may_have_failed() {
    legal(
        &Kv::new(),
        &history([
            (1, 0, get(), Outcome::Unknown),
            (1, 0, cas("a", "b"), Outcome::Unknown),
            (2, 10, put("a"), ok(20)),
            (2, 30, get(), saw(40, "a")),
            (2, 50, get(), saw(60, "b")),
        ]),
    );
}

#[test]
fn an_empty_history_is_legal() {
    legal(&Kv::new(), &History::new());
    legal(&Kv::new(), &history([(1, 0, put("a"), Outcome::Failed), (1, 0, put("a"), Outcome::Unknown)]));
}

#[test]
fn a_counterexample_prints_as_a_timeline() {
    let why = illegal(
        &Kv::new(),
        &history([
            (1, 0, put("a"), ok(5)),
            (1, 10, put("b"), ok(100)),
            (2, 20, get(), saw(30, "b")),
            (3, 40, get(), saw(50, "a")),
            (12, 45, put("c"), Outcome::Unknown),
            (4, 60, get(), nothing(70)),
        ]),
    );
    let expected = "\
not linearizable: key \"x\", 5 operations until time 50
  c1  |-|                  put \"a\" -> ok
  c1      |-----------|    put \"b\" -> ok
  c2        |-|            get -> \"b\"
  c3            |---|      get -> \"a\"   <- fits nowhere
  c12             |----->  put \"c\" -> ?
an order of what completed before:
     1. c1 put \"a\" -> ok   gives \"a\"
     2. c1 put \"b\" -> ok   gives \"b\"
     3. c2 get -> \"b\"   gives \"b\"
does not fit there or in any other order: c3 get -> \"a\", invoked at 40, completed at 50, while the state is \"b\"
";
    assert_eq!(why.to_string(), expected, "\n{why}");
    assert_eq!(why.operations, [0, 1, 2, 3, 4].map(OpId));
    assert_eq!(why.order, [0, 1, 2].map(OpId));
}

#[test]
fn a_counterexample_of_a_long_history_stays_short() {
    let mut rows: Vec<_> =
        (0..500).map(|n| (n % 5, 10 * n, KvInput::incr("x", 1), ok(10 * n + 15))).collect();
    rows.push((9, 6000, get(), saw(6010, "499")));
    rows.push((9, 6020, get(), saw(6030, "499")));
    let why = illegal(&Kv::new(), &history(rows));
    let printed = why.to_string();
    assert_eq!(why.stuck, OpId(500));
    assert!(printed.lines().count() < 40 && printed.is_ascii(), "{printed}");
    assert!(printed.contains("487 earlier operations are not shown"), "{printed}");
    assert!(printed.contains("after 492 others that give \"492\""), "{printed}");
}

/// Appends at the same time, then one value that none of their orders gives: all subsets are tried.
fn explosive(appends: u64, right: bool) -> History<KvInput, KvOutput> {
    let letter = |n: u64| Bytes::from(vec![b'a' + n as u8]);
    let mut all: Vec<u8> = (0..appends).rev().flat_map(|n| letter(n).to_vec()).collect();
    if !right {
        all[0] = b'?';
    }
    let mut rows: Vec<_> = (0..appends).map(|n| (n, 0, KvInput::append("x", letter(n)), ok(10))).collect();
    rows.push((99, 20, get(), at(30, KvOutput::value(all))));
    history(rows)
}

#[test]
fn at_its_cap_the_search_does_not_know() {
    let model = Kv::new();
    for right in [true, false] {
        let hard = explosive(20, right);
        let Verdict::Unknown { key, steps } = check(&model, &hard, Limits::steps(50_000)) else {
            panic!("{right}: nobody can know that yet");
        };
        assert!(key == "x" && (50_000..60_000).contains(&steps), "{steps}");
        assert_eq!(
            check(&model, &hard, Limits::steps(50_000)),
            Verdict::Unknown { key, steps },
            "deterministic"
        );
        assert!(
            check(&model, &hard, Limits::steps(u64::MAX).within(core::time::Duration::ZERO)).is_unknown()
        );
    }
    // Small enough to be settled.
    assert!(check(&model, &explosive(6, true), Limits::steps(1_000_000)).is_ok());
    assert!(check(&model, &explosive(6, false), Limits::steps(1_000_000)).is_illegal());
    assert!(check(&model, &explosive(6, true), Limits::steps(0)).is_unknown());
}

#[test]
fn an_illegal_key_counts_more_than_one_that_is_too_hard() {
    let mut hard = explosive(20, true);
    hard.push(Operation { client: 1, invoked: 0, input: KvInput::get("y"), outcome: saw(10, "a") }).unwrap();
    let Verdict::Illegal(why) = check(&Kv::new(), &hard, Limits::steps(1000)) else { panic!() };
    assert_eq!(why.key, "y");
}

#[test]
fn records_that_make_no_sense_are_refused() {
    let mut history: History<KvInput, KvOutput> = History::new();
    let id = history.invoke(1, 10, get());
    let first = HistoryError::CompletedFirst { id, invoked: 10, completed: 9 };
    assert_eq!(history.complete(id, 9, KvOutput::nothing()), Err(first));
    assert_eq!(history.complete(id, 10, KvOutput::nothing()), Ok(()));
    assert_eq!(history.complete(id, 11, KvOutput::nothing()), Err(HistoryError::Settled(id)));
    assert_eq!(history.fail(id), Err(HistoryError::Settled(id)));
    assert_eq!(history.fail(OpId(7)), Err(HistoryError::NoSuchOperation(OpId(7))));
    let early = Operation { client: 1, invoked: 10, input: get(), outcome: nothing(9) };
    assert!(matches!(history.push(early), Err(HistoryError::CompletedFirst { id: OpId(1), .. })));
    assert_eq!(history.operations().len(), 1);
}

#[test]
fn a_recorder_gives_every_event_its_own_time() {
    let recorder = HistoryRecorder::new();
    let threads: Vec<_> = (0..4)
        .map(|client| {
            let recorder = recorder.clone();
            std::thread::spawn(move || {
                for _ in 0..100 {
                    let id = recorder.invoke(client, get());
                    recorder.complete(id, KvOutput::nothing()).unwrap();
                }
                let open = recorder.invoke(client, put("a"));
                recorder.fail(open).unwrap();
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let history = recorder.take();
    let mut times: Vec<u64> =
        history.operations().iter().flat_map(|op| [Some(op.invoked), op.completed()]).flatten().collect();
    times.sort_unstable();
    times.dedup();
    assert_eq!(times.len(), 4 * 201);
    legal(&Kv::new(), &history);
    assert!(recorder.take().operations().is_empty());
}
