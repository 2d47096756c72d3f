//! What clients saw, searched for an order by the checker of [`linearizability`], which
//! knows nothing of logs, indexes and terms. The oracle's own check goes by the log, and believes what it says.

use super::machine::Request;
use super::oracle::{Answer, Operation};
use crate::linearizability::{self, History, Limits, Model, Outcome, Verdict, check};

/// Steps of the search for each register. What needs more is not decided: operations without an answer stay open
/// to the end, and some plans leave many.
const STEPS: u64 = 200_000;

/// The registers, one at a time, as clients were promised them: a request answers with the value before it. Written
/// anew, since the oracle expects of a machine what the machine's own code says.
#[derive(Clone, Copy, Debug)]
struct Register;

impl Model for Register {
    type Key = u32;
    type Input = Request;
    type Output = u64;
    type State = u64;

    fn key(&self, input: &Request) -> u32 {
        input.key()
    }

    fn initial(&self, _key: &u32) -> u64 {
        0
    }

    fn step(&self, state: &u64, input: &Request, output: Option<&u64>) -> Option<u64> {
        if output.is_some_and(|output| output != state) {
            return None;
        }
        Some(match input {
            Request::Put { value, .. } => *value,
            Request::Cas { expected, value, .. } if state == expected => *value,
            Request::Add { value, .. } => state.wrapping_add(*value),
            Request::Cas { .. } | Request::Get { .. } => *state,
        })
    }

    fn is_read(&self, input: &Request, _output: Option<&u64>) -> bool {
        matches!(input, Request::Get { .. })
    }
}

/// Why there is no order that explains what clients saw, if there is none. Where the search meets its bound it
/// says nothing.
pub(super) fn illegal(operations: &[Operation]) -> Option<String> {
    let mut history = History::new();
    for operation in operations {
        let Operation { client, request, asked, answered, answer } = *operation;
        let outcome = match (answer, answered) {
            (Answer::Done { value, .. } | Answer::Read { value, .. }, Some(at)) => {
                Outcome::Completed { at, output: value }
            }
            (Answer::NotApplied, _) => Outcome::Failed,
            _ => Outcome::Unknown,
        };
        let operation = linearizability::Operation { client, invoked: asked, input: request, outcome };
        if let Err(error) = history.push(operation) {
            return Some(error.to_string());
        }
    }
    match check(&Register, &history, Limits::steps(STEPS)) {
        Verdict::Illegal(why) => Some(why.to_string()),
        Verdict::Ok | Verdict::Unknown { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use raft_core::ids::{Index, LogId};

    use super::*;

    /// The model and the machine are two descriptions of the same registers.
    #[test]
    fn the_machine_does_what_clients_were_promised() {
        for state in [0, 1, 7, u64::MAX] {
            for request in [
                Request::Put { key: 3, value: 5 },
                Request::Cas { key: 3, expected: 7, value: 5 },
                Request::Cas { key: 3, expected: 0, value: 5 },
                Request::Add { key: 3, value: 2 },
                Request::Get { key: 3 },
            ] {
                let mut registers = super::super::machine::Registers::default();
                registers.values.insert(3, state);
                let answer = registers.execute(&request);
                assert_eq!(Register.step(&state, &request, Some(&answer)), Some(registers.get(3)));
                assert_eq!(Register.step(&state, &request, None), Some(registers.get(3)));
                assert_eq!(Register.step(&state, &request, Some(&answer.wrapping_add(1))), None);
            }
        }
    }

    #[test]
    fn an_old_value_after_a_new_one_has_no_order() {
        let done = |value| Answer::Done { id: LogId::new(1, 2), position: 0, value };
        let read = |value| Answer::Read { through: Index(9), value };
        let operation = |request, asked, answered, answer| Operation {
            client: 1,
            request,
            asked,
            answered: Some(answered),
            answer,
        };
        let (put, get) = (Request::Put { key: 1, value: 5 }, Request::Get { key: 1 });
        let add = Request::Add { key: 1, value: 2 };
        let mut history = vec![
            operation(put, 1, 2, done(0)),
            operation(add, 3, 4, done(5)),
            operation(get, 5, 6, read(7)),
            Operation { answered: None, ..operation(put, 7, 8, Answer::Unknown) },
            operation(get, 9, 10, read(5)),
        ];
        assert_eq!(illegal(&history), None);
        history[3].answer = Answer::NotApplied;
        assert!(illegal(&history).is_some_and(|why| !why.is_empty()));
        history.truncate(2);
        history[1].answer = done(0);
        assert!(illegal(&history).is_some());
    }
}
