//! Histories of a store that really executed what its clients asked, and ways to damage them.

use bytes::Bytes;
use raft_testkit::conformance::Random;
use raft_testkit::linearizability::{History, KvCommand, KvInput, KvOutput, Operation, Outcome};

pub(crate) type Op = Operation<KvInput<u64>, KvOutput>;

/// What clients do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) clients: u64,
    pub(crate) keys: u64,
    pub(crate) operations: usize,
    /// Of a thousand operations so many end without an answer; half of these take effect nevertheless.
    pub(crate) unknown: u64,
    /// Of a thousand operations so many fail for sure.
    pub(crate) failed: u64,
    /// Only appends of values that are never used twice, and reads; at the end a read of each key. Then
    /// answers tell nearly everything about what was executed.
    pub(crate) telling: bool,
}

impl Shape {
    /// Small enough for every checker to settle.
    pub(crate) fn small(random: &mut Random) -> Self {
        Self {
            clients: 2 + random.below(4),
            keys: 1 + random.below(2),
            operations: 4 + random.below(24) as usize,
            unknown: random.below(3) * 80,
            failed: random.below(2) * 50,
            telling: false,
        }
    }
}

/// An operation with the moment at which it takes effect.
#[derive(Clone, Debug)]
pub(crate) struct Timed {
    pub(crate) operation: Op,
    pub(crate) effect: Option<u64>,
    /// How often it is executed: once, unless the store is broken.
    pub(crate) times: usize,
}

/// What clients ask and when; answers come from [`execute`].
pub(crate) fn generate(random: &mut Random, shape: Shape) -> Vec<Timed> {
    let mut free = vec![0; shape.clients as usize];
    let mut all = Vec::with_capacity(shape.operations);
    for number in 0..shape.operations {
        let client = random.below(shape.clients);
        let from = &mut free[client as usize];
        let invoked = *from + 1 + random.below(20);
        let effect = invoked + random.below(30);
        let completed = effect + random.below(30);
        *from = completed;
        let (outcome, effect) = match random.below(1000) {
            dice if dice < shape.unknown / 2 => (Outcome::Unknown, Some(effect + random.below(200))),
            dice if dice < shape.unknown => (Outcome::Unknown, None),
            dice if dice < shape.unknown + shape.failed => (Outcome::Failed, None),
            _ => (Outcome::Completed { at: completed, output: KvOutput::Done }, Some(effect)),
        };
        let input = KvInput::new(
            random.below(shape.keys),
            if shape.telling { telling(random, number) } else { command(random, number) },
        );
        all.push(Timed { operation: Operation { client, invoked, input, outcome }, effect, times: 1 });
    }
    if shape.telling {
        let end = all.iter().filter_map(|timed| timed.effect).max().unwrap_or(0) + 100;
        for key in 0..shape.keys {
            let outcome = Outcome::Completed { at: end + 2, output: KvOutput::Done };
            let input = KvInput::new(key, KvCommand::Get);
            let operation = Operation { client: shape.clients, invoked: end, input, outcome };
            all.push(Timed { operation, effect: Some(end + 1), times: 1 });
        }
    }
    all
}

fn telling(random: &mut Random, number: usize) -> KvCommand {
    if random.one_in(2) { KvCommand::Get } else { KvCommand::Append(format!("{number},").into()) }
}

fn command(random: &mut Random, number: usize) -> KvCommand {
    // Few values, so that reads and swaps often cannot tell writes apart; sometimes a value of its own.
    let value = |random: &mut Random| match random.below(3) {
        0 => number.to_string().into(),
        _ => Bytes::from(random.below(3).to_string()),
    };
    match random.below(12) {
        0..5 => KvCommand::Get,
        5..8 => KvCommand::Put(value(random)),
        8 => {
            let expected = if random.one_in(4) { None } else { Some(value(random)) };
            KvCommand::Cas { expected, new: value(random) }
        }
        9 => KvCommand::Append(value(random)),
        10 => KvCommand::Incr(1 + random.below(2) as i64),
        _ => KvCommand::Del,
    }
}

/// Executes in the order of effects and gives each completed operation its answer.
pub(crate) fn execute(mut all: Vec<Timed>, random: &mut Random) -> History<KvInput<u64>, KvOutput> {
    let mut order: Vec<(u64, usize)> =
        all.iter().enumerate().filter_map(|(number, timed)| Some((timed.effect?, number))).collect();
    order.sort_unstable();
    let mut store = std::collections::BTreeMap::new();
    for (_, number) in order {
        let Timed { operation, times, .. } = &mut all[number];
        let mut told = None;
        for _ in 0..*times {
            let register: &mut Option<Bytes> = store.entry(operation.input.key).or_default();
            let (next, answer) = operation.input.command.execute(register.as_ref());
            *register = next;
            told.get_or_insert(answer);
        }
        if let Outcome::Completed { output, .. } = &mut operation.outcome {
            // A client that is not told everything knows less.
            let told = told.unwrap_or(KvOutput::Done);
            let quiet = matches!(told, KvOutput::Length(_) | KvOutput::Number(_) | KvOutput::Existed(_));
            *output = if quiet && random.one_in(3) { KvOutput::Done } else { told };
        }
    }
    let mut history = History::new();
    for timed in all {
        history.push(timed.operation).unwrap();
    }
    history
}

/// Ways in which a store or a record of it can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Damage {
    /// An acknowledged write had no effect.
    LostWrite,
    /// A write was executed twice.
    Twice,
    /// An operation took effect after it was answered.
    Late,
    /// An operation took effect before it was invoked.
    Early,
    /// A read answered with what another read saw.
    OtherRead,
    /// A write that took effect was reported as failed.
    FalselyFailed,
}

pub(crate) const DAMAGES: [Damage; 6] =
    [Damage::LostWrite, Damage::Twice, Damage::Late, Damage::Early, Damage::OtherRead, Damage::FalselyFailed];

/// A history of a store with one fault; `None` if there was nothing to damage in this way.
pub(crate) fn damaged(
    mut all: Vec<Timed>,
    random: &mut Random,
    damage: Damage,
) -> Option<History<KvInput<u64>, KvOutput>> {
    let is_write =
        |timed: &&mut Timed| timed.operation.input.command != KvCommand::Get && timed.effect.is_some();
    let mut pick = |some: Vec<&mut Timed>| {
        let at = random.below(some.len() as u64) as usize;
        some.into_iter().nth(at).map(|timed| {
            let completed = timed.operation.completed();
            match damage {
                Damage::LostWrite => timed.effect = None,
                Damage::Twice => timed.times = 2,
                Damage::Late => timed.effect = completed.map(|at| at + 40),
                Damage::Early => timed.effect = Some(timed.operation.invoked.saturating_sub(40)),
                Damage::FalselyFailed => timed.operation.outcome = Outcome::Failed,
                Damage::OtherRead => {}
            }
        })
    };
    let completed = |timed: &&mut Timed| timed.operation.completed().is_some();
    match damage {
        Damage::LostWrite => pick(all.iter_mut().filter(is_write).filter(completed).collect())?,
        Damage::Twice | Damage::FalselyFailed => pick(all.iter_mut().filter(is_write).collect())?,
        Damage::Late | Damage::Early => pick(all.iter_mut().filter(completed).collect())?,
        Damage::OtherRead => {
            let mut history = execute(all, random).operations().to_vec();
            let reads: Vec<usize> = (0..history.len())
                .filter(|&at| matches!(history[at].output(), Some(KvOutput::Value(_))))
                .collect();
            if reads.len() < 2 {
                return None;
            }
            let mut read = || reads[random.below(reads.len() as u64) as usize];
            let (to, from) = (read(), read());
            let saw = history[from].output()?.clone();
            if let Outcome::Completed { output, .. } = &mut history[to].outcome {
                if *output == saw {
                    return None;
                }
                *output = saw;
            }
            let mut out = History::new();
            history.into_iter().for_each(|operation| {
                out.push(operation).unwrap();
            });
            return Some(out);
        }
    }
    Some(execute(all, random))
}
