//! Two other answers to the same question: the crate porcupine-rs, with a model written on its own, and the
//! definition, tried out literally.

use std::collections::BTreeMap;

use porcupine_rs::{Model, Operation};
use raft_testkit::linearizability::{History, KvCommand, KvInput, KvOutput, OpId, Outcome};

type Kv = History<KvInput<u64>, KvOutput>;

#[derive(Clone, Debug)]
pub(crate) struct Store;

#[derive(Clone, Debug)]
pub(crate) struct Asked {
    input: KvInput<u64>,
    output: Option<KvOutput>,
}

impl Model for Store {
    type State = String;
    type Op = Asked;
    type Metadata = ();

    fn partition_operations(history: &[Operation<Self>]) -> Vec<Vec<Operation<Self>>> {
        let mut keys: BTreeMap<u64, Vec<Operation<Self>>> = BTreeMap::new();
        for operation in history {
            keys.entry(operation.op.input.key).or_default().push(operation.clone());
        }
        keys.into_values().collect()
    }

    fn init() -> String {
        "none".to_owned()
    }

    fn step(state: &String, asked: &Asked) -> (bool, String) {
        step(state, &asked.input.command, asked.output.as_ref())
    }
}

/// The state is "none" or "=" and the value.
fn step(state: &String, command: &KvCommand, output: Option<&KvOutput>) -> (bool, String) {
    let text = |bytes: &[u8]| format!("={}", String::from_utf8_lossy(bytes));
    let held = state.strip_prefix('=');
    let (next, told) = match command {
        KvCommand::Get => {
            let seen = match output {
                Some(KvOutput::Value(Some(value))) => text(value),
                Some(KvOutput::Value(None)) => "none".to_owned(),
                _ => return (output.is_none(), state.clone()),
            };
            return (seen == *state, state.clone());
        }
        KvCommand::Put(value) => (text(value), "done".to_owned()),
        KvCommand::Cas { expected, new } => {
            let matches = expected.as_ref().map_or_else(|| "none".to_owned(), |value| text(value)) == *state;
            (if matches { text(new) } else { state.clone() }, format!("swapped {matches}"))
        }
        KvCommand::Append(more) => {
            let all = held.unwrap_or("").to_owned() + &String::from_utf8_lossy(more);
            (format!("={all}"), format!("length {}", all.len()))
        }
        KvCommand::Incr(by) => match held.unwrap_or("0").parse::<i64>().map(|number| number.checked_add(*by))
        {
            Ok(Some(sum)) => (format!("={sum}"), format!("number {sum}")),
            Ok(None) | Err(_) => (state.clone(), "not a number".to_owned()),
        },
        KvCommand::Del => ("none".to_owned(), format!("existed {}", held.is_some())),
    };
    let fits = match output {
        None => true,
        Some(KvOutput::Done) => !told.starts_with("swapped") && told != "not a number",
        Some(KvOutput::Value(_)) => false,
        Some(KvOutput::Swapped(yes)) => told == format!("swapped {yes}"),
        Some(KvOutput::Length(length)) => told == format!("length {length}"),
        Some(KvOutput::Number(number)) => told == format!("number {number}"),
        Some(KvOutput::Existed(yes)) => told == format!("existed {yes}"),
        Some(KvOutput::NotANumber) => told == "not a number",
    };
    (fits, next)
}

/// What porcupine-rs says.
pub(crate) fn porcupine(history: &Kv) -> bool {
    let operations: Vec<Operation<Store>> = history
        .operations()
        .iter()
        .filter(|operation| operation.outcome != Outcome::Failed)
        .map(|operation| Operation {
            client_id: None,
            call_time: operation.invoked as i64,
            return_time: operation.completed().map_or(i64::MAX, |at| at as i64),
            op: Asked { input: operation.input.clone(), output: operation.output().cloned() },
            metadata: None,
        })
        .collect();
    porcupine_rs::check_operations(&operations)
}

/// Tries every order of every choice of open operations. For a dozen operations at most.
pub(crate) fn by_definition(history: &Kv) -> bool {
    let left: Vec<OpId> = (0..history.operations().len()).map(OpId).collect();
    any_order(history, &left, &BTreeMap::new())
}

fn any_order(history: &Kv, left: &[OpId], store: &BTreeMap<u64, String>) -> bool {
    let of = |id: &OpId| &history.operations()[id.0];
    if left.iter().all(|id| of(id).completed().is_none()) {
        return true;
    }
    left.iter().any(|id| {
        let operation = of(id);
        let waits = left.iter().any(|other| of(other).completed().is_some_and(|at| at < operation.invoked));
        if waits || operation.outcome == Outcome::Failed {
            return false;
        }
        let none = "none".to_owned();
        let state = store.get(&operation.input.key).unwrap_or(&none);
        let (fits, next) = step(state, &operation.input.command, operation.output());
        if !fits {
            return false;
        }
        let mut store = store.clone();
        store.insert(operation.input.key, next);
        let left: Vec<OpId> = left.iter().copied().filter(|other| other != id).collect();
        any_order(history, &left, &store)
    })
}

/// True if the operations can be executed in this order: answers and times agree.
pub(crate) fn is_order(history: &Kv, order: &[OpId]) -> bool {
    let mut state = "none".to_owned();
    let mut latest_invocation = 0;
    order.iter().all(|id| {
        let operation = &history.operations()[id.0];
        let (fits, next) = step(&state, &operation.input.command, operation.output());
        state = next;
        // Nothing that was placed before was invoked after this one had completed.
        let in_time = operation.completed().is_none_or(|at| at >= latest_invocation);
        latest_invocation = latest_invocation.max(operation.invoked);
        fits && in_time
    })
}
