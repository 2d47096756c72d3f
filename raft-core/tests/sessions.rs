//! The table of sessions against one that is so simple that it can be believed: every short history over a
//! small alphabet, and long random ones.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;
use raft_core::ids::{Index, LogId, SessionId};
use raft_core::session::{Decision, Limits, LogTime, Mark, Op, Place, SessionRefusal, Table};

/// Bounds that a few commands reach.
fn limits() -> Limits {
    let mut limits = Limits::DEFAULT;
    (limits.sessions, limits.window, limits.records, limits.answer_bytes) = (2, 2, 3, 64);
    limits
}

/// One entry: how much log time has passed, and what it does.
#[derive(Clone, Copy, Debug)]
enum Step {
    Nothing,
    Open { timeout: u64 },
    KeepAlive { session: u64, below: u64 },
    Close { session: u64 },
    Command { session: u64, sequence: u64, below: u64, answer: u8 },
}

#[derive(Clone, Debug)]
struct Open {
    id: u64,
    timeout: u64,
    deadline: u64,
    below: u64,
    /// Sequence, index of the entry, answer.
    done: Vec<(u64, u64, Option<Vec<u8>>)>,
}

/// Everything in lists, everything looked for from the beginning.
#[derive(Clone, Debug, Default)]
struct Model {
    time: u64,
    sessions: Vec<Open>,
}

impl Model {
    fn advance(&mut self, time: u64) {
        self.time = self.time.max(time);
        self.sessions.retain(|session| session.deadline > self.time);
    }

    fn find(&mut self, id: u64) -> Option<&mut Open> {
        let time = self.time;
        let session = self.sessions.iter_mut().find(|session| session.id == id)?;
        session.deadline = time + session.timeout;
        Some(session)
    }

    fn acknowledge(session: &mut Open, below: u64) {
        session.below = session.below.max(below);
        session.done.retain(|(sequence, ..)| *sequence >= session.below);
    }

    fn records(&self) -> u64 {
        self.sessions.iter().map(|session| session.done.len() as u64).sum()
    }

    /// Whether it is executed; else what the client hears.
    fn decide(&mut self, mark: Mark, index: u64) -> Decision {
        let records = self.records();
        let id = mark.session;
        let Some(session) = self.find(id.0) else {
            return Decision::Refused(SessionRefusal::NotOpen { session: id });
        };
        let before = session.done.len() as u64;
        Self::acknowledge(session, mark.acknowledged_below);
        let records = records - before + session.done.len() as u64;
        let (sequence, below) = (mark.sequence, session.below);
        if sequence < below {
            return Decision::Refused(SessionRefusal::Acknowledged { session: id, sequence, below });
        }
        if let Some((_, at, answer)) = session.done.iter().find(|(done, ..)| *done == sequence) {
            return match answer {
                Some(answer) => Decision::Answer(place(*at), answer.clone().into()),
                None => Decision::Repeated(place(*at)),
            };
        }
        if sequence >= below + u64::from(limits().window) {
            let window = limits().window;
            return Decision::Refused(SessionRefusal::OutsideWindow { session: id, sequence, below, window });
        }
        if records >= u64::from(limits().records) {
            return Decision::Refused(SessionRefusal::Full { records, limit: limits().records });
        }
        session.done.push((sequence, index, None));
        Decision::Execute
    }

    fn answered(&mut self, mark: Mark, answer: &[u8]) {
        if answer.len() as u64 > limits().answer_bytes / 16 {
            return;
        }
        for session in &mut self.sessions {
            for (sequence, _, kept) in &mut session.done {
                if session.id == mark.session.0 && *sequence == mark.sequence && kept.is_none() {
                    *kept = Some(answer.to_vec());
                }
            }
        }
        loop {
            let answers = self.sessions.iter_mut().flat_map(|session| &mut session.done);
            let mut kept: Vec<_> = answers.filter(|(_, _, answer)| answer.is_some()).collect();
            let bytes: usize = kept.iter().filter_map(|(_, _, answer)| answer.as_ref()).map(Vec::len).sum();
            if bytes as u64 <= limits().answer_bytes {
                return;
            }
            kept.sort_by_key(|(_, at, _)| *at);
            kept[0].2 = None;
        }
    }
}

fn place(index: u64) -> Place {
    Place { id: LogId::new(1, index), position: 0 }
}

/// Both tables, and what was ever executed.
#[derive(Clone, Default)]
struct Pair {
    table: Table,
    model: Model,
    index: u64,
    executed: BTreeSet<(u64, u64)>,
}

impl Pair {
    fn step(&mut self, passed: u64, step: Step) {
        self.index += 1;
        let now = self.model.time + passed;
        self.table.advance(LogTime::from_nanos(now));
        self.model.advance(now);
        match step {
            Step::Nothing => {}
            Step::Open { timeout } => {
                let op = Op::Open { timeout: Duration::from_nanos(timeout), limits: limits() };
                let opened = self.table.execute(Index(self.index), op);
                if self.model.sessions.len() < limits().sessions as usize {
                    let deadline = self.model.time + timeout;
                    let (id, below) = (self.index, 0);
                    self.model.sessions.push(Open { id, timeout, deadline, below, done: Vec::new() });
                    assert_eq!(opened, Ok(SessionId(self.index)));
                } else {
                    let (sessions, limit) = (self.model.sessions.len() as u64, limits().sessions);
                    assert_eq!(opened, Err(SessionRefusal::TooMany { sessions, limit }));
                }
            }
            Step::KeepAlive { session, below } => {
                let op = Op::KeepAlive { session: SessionId(session), acknowledged_below: below };
                let kept = self.table.execute(Index(self.index), op);
                let expected = self.model.find(session).map(|open| Model::acknowledge(open, below));
                assert_eq!(kept.is_ok(), expected.is_some());
            }
            Step::Close { session } => {
                let closed = self.table.execute(Index(self.index), Op::Close { session: SessionId(session) });
                assert_eq!(closed.is_ok(), self.model.sessions.iter().any(|open| open.id == session));
                self.model.sessions.retain(|open| open.id != session);
            }
            Step::Command { session, sequence, below, answer } => {
                let mark = Mark { session: SessionId(session), sequence, acknowledged_below: below };
                let decision = self.table.decide(mark, place(self.index));
                assert_eq!(decision, self.model.decide(mark, self.index));
                if decision == Decision::Execute {
                    assert!(self.executed.insert((session, sequence)), "{mark:?} is executed twice");
                    let answer = vec![self.index as u8; usize::from(answer)];
                    self.table.answered(mark, &answer);
                    self.model.answered(mark, &answer);
                }
            }
        }
        self.compare();
    }

    fn compare(&self) {
        assert_eq!(self.table.len(), self.model.sessions.len());
        assert_eq!(self.table.records(), self.model.records());
        assert!(self.table.records() <= u64::from(limits().records));
        let ids: Vec<u64> = self.table.ids().map(|id| id.0).collect();
        let expected: Vec<u64> = self.model.sessions.iter().map(|session| session.id).collect();
        assert_eq!(ids, expected);
    }

    /// It is what comes back from its bytes, and what is done next is the same.
    fn travels(&self) {
        let bytes = self.table.encode();
        let other = Table::decode(&bytes).unwrap();
        assert_eq!(other, self.table);
        assert_eq!(other.encode(), bytes);
    }
}

#[test]
fn every_short_history_is_as_the_simple_table_says() {
    let command = |session, sequence, below, answer| Step::Command { session, sequence, below, answer };
    let alphabet = [
        (0, Step::Open { timeout: 4 }),
        (2, Step::Nothing),
        (3, Step::KeepAlive { session: 1, below: 1 }),
        (0, Step::Close { session: 1 }),
        (0, command(1, 0, 0, 4)),
        (1, command(1, 1, 0, 5)),
        (0, command(1, 2, 1, 4)),
        (0, command(2, 0, 0, 0)),
        (0, command(2, 1, 0, 4)),
        (0, command(2, 9, 9, 4)),
    ];
    fn explore(pair: &Pair, alphabet: &[(u64, Step)], depth: u32, count: &mut u32) {
        for (passed, step) in alphabet {
            let mut next = pair.clone();
            next.step(*passed, *step);
            *count += 1;
            if depth > 1 {
                explore(&next, alphabet, depth - 1, count);
            } else {
                next.travels();
            }
        }
    }
    let mut count = 0;
    let mut begun = Pair::default();
    begun.step(0, Step::Open { timeout: 4 });
    explore(&begun, &alphabet, 5, &mut count);
    assert_eq!(count, 111_110);
}

fn any_step() -> impl Strategy<Value = (u64, Step)> {
    let session = 1_u64..30;
    let step = prop_oneof![
        1 => Just(Step::Nothing),
        3 => (1_u64..30).prop_map(|timeout| Step::Open { timeout }),
        1 => (session.clone(), 0_u64..6).prop_map(|(session, below)| Step::KeepAlive { session, below }),
        1 => session.clone().prop_map(|session| Step::Close { session }),
        20 => (session, 0_u64..6, 0_u64..6, 0_u8..6).prop_map(|(session, sequence, below, answer)| {
            Step::Command { session, sequence, below, answer }
        }),
    ];
    (0_u64..3, step)
}

proptest! {
    #[test]
    fn prop_long_histories_are_as_the_simple_table_says(steps in prop::collection::vec(any_step(), 1..300)) {
        let mut pair = Pair::default();
        for (at, (passed, step)) in steps.into_iter().enumerate() {
            pair.step(passed, step);
            if at % 16 == 0 {
                pair.travels();
            }
        }
        pair.travels();
    }

    /// What is executed follows from the log alone: a node that has lost all answers, or gave others, executes
    /// the same commands.
    #[test]
    fn prop_answers_decide_nothing(steps in prop::collection::vec(any_step(), 1..200), seed: u64) {
        let (mut one, mut two) = (Table::new(), Table::new());
        let mut now = 0;
        for (index, (passed, step)) in (1..).zip(steps) {
            now += passed;
            one.advance(LogTime::from_nanos(now));
            two.advance(LogTime::from_nanos(now));
            let op = match step {
                Step::Nothing => continue,
                Step::Open { timeout } => {
                    Op::Open { timeout: Duration::from_nanos(timeout), limits: limits() }
                }
                Step::KeepAlive { session, below } => {
                    Op::KeepAlive { session: SessionId(session), acknowledged_below: below }
                }
                Step::Close { session } => Op::Close { session: SessionId(session) },
                Step::Command { session, sequence, below, answer } => {
                    let mark = Mark { session: SessionId(session), sequence, acknowledged_below: below };
                    let executes = |decision: &Decision| *decision == Decision::Execute;
                    let (first, second) = (one.decide(mark, place(index)), two.decide(mark, place(index)));
                    prop_assert_eq!(executes(&first), executes(&second));
                    if executes(&first) {
                        one.answered(mark, &vec![1; usize::from(answer)]);
                        if (seed >> (index % 64)) & 1 == 0 {
                            two.answered(mark, &[2; 4]);
                        }
                    }
                    continue;
                }
            };
            prop_assert_eq!(one.execute(Index(index), op), two.execute(Index(index), op));
        }
    }

    /// Damage is an error or another sound table, never a panic.
    #[test]
    fn prop_damaged_tables_are_refused_or_sound(
        steps in prop::collection::vec(any_step(), 1..60),
        at: prop::sample::Index,
        byte: u8,
    ) {
        let mut pair = Pair::default();
        for (passed, step) in steps {
            pair.step(passed, step);
        }
        let mut bytes = pair.table.encode();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(table) = Table::decode(&bytes) {
            prop_assert_eq!(table.encode(), bytes.clone());
        }
        prop_assert!(Table::decode(&bytes[..at]).is_err());
    }
}

/// What the bounds are for: a client that acknowledges is never refused; one that does not, is, and harms
/// nobody else but by the bound for all.
#[test]
fn a_session_expires_by_log_time_only() {
    let mut table = Table::new();
    let open = Op::Open { timeout: Duration::from_secs(10), limits: Limits::DEFAULT };
    let second = |seconds: u64| LogTime::from_nanos(seconds * 1_000_000_000);
    let id = table.execute(Index(7), open).unwrap();
    assert_eq!(id, SessionId(7));
    assert!(!table.is_empty());
    table.advance(second(9));
    let mark = |sequence, acknowledged_below| Mark { session: id, sequence, acknowledged_below };
    assert_eq!(table.decide(mark(1, 0), place(8)), Decision::Execute);
    table.answered(mark(1, 0), b"one");
    assert_eq!(table.bytes(), Table::SESSION_BYTES + Table::RECORD_BYTES + 3);
    // Used at 9, it lives until 19; a stamp that goes back changes nothing.
    table.advance(second(18));
    table.advance(second(3));
    assert_eq!(table.time(), second(18));
    assert_eq!(table.decide(mark(1, 0), place(9)), Decision::Answer(place(8), (*b"one").into()));
    table.advance(second(28));
    let refused = SessionRefusal::NotOpen { session: id };
    assert_eq!(table.decide(mark(1, 0), place(10)), Decision::Refused(refused));
    assert_eq!((table.len(), table.records(), table.bytes()), (0, 0, 0));
    assert!(table.is_empty());
}

/// Answers are kept up to the bound, to the byte; the oldest goes first.
#[test]
fn answers_that_just_fit_are_all_kept() {
    let mut limits = Limits::DEFAULT;
    limits.answer_bytes = 64;
    let mut table = Table::new();
    let session = table.execute(Index(7), Op::Open { timeout: Duration::from_secs(10), limits }).unwrap();
    assert_eq!(table.limits(), &limits);
    let mark = |sequence| Mark { session, sequence, acknowledged_below: 0 };
    for sequence in 0..17 {
        assert_eq!(table.decide(mark(sequence), place(10 + sequence)), Decision::Execute);
        table.answered(mark(sequence), b"four");
        let first = table.decide(mark(0), place(99));
        assert_eq!(matches!(first, Decision::Answer(..)), sequence < 16, "{sequence}: {first:?}");
    }
}

/// No two commands stand at one place: such a table was damaged, or made by something else.
#[test]
fn two_answers_of_one_place_are_refused() {
    let open = Op::Open { timeout: Duration::from_secs(10), limits: Limits::DEFAULT };
    for (second, fits) in [(9, true), (8, false)] {
        let mut table = Table::new();
        let session = table.execute(Index(7), open).unwrap();
        for (sequence, at) in [(1, 8), (2, second)] {
            let mark = Mark { session, sequence, acknowledged_below: 0 };
            assert_eq!(table.decide(mark, place(at)), Decision::Execute);
            table.answered(mark, b"x");
        }
        assert_eq!(Table::decode(&table.encode()).is_ok(), fits);
    }
}

/// What may be set fits into the head of a snapshot, and a full table is not larger than that.
#[test]
fn a_full_table_fits_where_it_must() {
    let mut limits = limits();
    (limits.sessions, limits.window, limits.records, limits.answer_bytes) = (3, 50, 100, 1000);
    let mut table = Table::new();
    for index in 1..=3 {
        table.execute(Index(index), Op::Open { timeout: Duration::from_secs(1), limits }).unwrap();
        for sequence in 0..60 {
            let mark = Mark { session: SessionId(index), sequence, acknowledged_below: 0 };
            if table.decide(mark, place(100 * index + sequence)) == Decision::Execute {
                table.answered(mark, &[7; 60]);
            }
        }
    }
    assert_eq!((table.len(), table.records()), (3, 100));
    let bytes = table.encode().len() as u64;
    assert!(bytes <= limits.encoded_bytes() && bytes > limits.encoded_bytes() * 9 / 10, "{bytes}");

    let mut config = raft_core::Config::new(raft_core::ids::NodeId(1), raft_core::ids::ClusterId(1));
    assert!(config.sessions.encoded_bytes() < Table::ENCODED_LIMIT_BYTES);
    assert_eq!(config.validate(), Ok(()));
    config.sessions.records = 4_000_000;
    let error = config.validate().unwrap_err().to_string();
    assert_eq!(error, "sessions is 145137280, but must be at most 67108864");
}

#[test]
fn what_clients_ask_for_is_granted_within_bounds() {
    let limits = Limits::DEFAULT;
    assert_eq!(limits.grant(None), Duration::from_secs(300));
    assert_eq!(limits.grant(Some(Duration::ZERO)), Limits::SHORTEST);
    assert_eq!(limits.grant(Some(Duration::from_secs(5))), Duration::from_secs(5));
    assert_eq!(limits.grant(Some(Duration::MAX)), Duration::from_secs(300));
}

/// What a session has executed is written in order, and nothing of it below what is acknowledged.
#[test]
fn commands_out_of_order_are_refused() {
    let mut table = Table::new();
    let open = Op::Open { timeout: Duration::from_secs(10), limits: Limits::DEFAULT };
    let session = table.execute(Index(7), open).unwrap();
    for sequence in [3, 5] {
        let mark = Mark { session, sequence, acknowledged_below: 3 };
        assert_eq!(table.decide(mark, place(sequence)), Decision::Execute);
    }
    let bytes = table.encode();
    // Each command ends it with 32 bytes, its number first; before the two stand their count and what is acknowledged.
    let (second, first) = (bytes.len() - 32, bytes.len() - 64);
    let below = first - 4 - 8;
    for (at, number) in [(below, 3), (first, 3), (second, 5_u64)] {
        assert_eq!(bytes[at..at + 8], number.to_le_bytes());
    }
    for (at, number, fits) in [
        (second, 4, true),
        (second, 3, false),
        (second, 2, false),
        (first, 2, false),
        (below, 4, false),
        (below, 2, true),
    ] {
        let mut other = bytes.clone();
        other[at..at + 8].copy_from_slice(&u64::to_le_bytes(number));
        assert_eq!(Table::decode(&other).is_ok(), fits, "{at}: {number}");
    }
}
