//! What clients ask and are told.
//!
//! The log's order is the order of execution, so linearizability can be checked as it goes: whatever was
//! answered before an operation was asked for has an earlier place in the log.

use std::collections::{BTreeMap, BTreeSet};

use raft_core::ids::{Index, LogId};

use super::super::coverage::Point;
use super::super::events::Tag;
use super::super::machine::{Registers, Request, Witness};
use super::{Oracle, State, place};

/// How far into the log any client knew of it when an operation was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Floor(Index);

/// How an operation ended for its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It was executed at this place, with this answer.
    Done {
        /// The entry.
        id: LogId,
        /// The place within.
        position: u32,
        /// The answer.
        value: u64,
    },
    /// A read saw this value, in the state through this index.
    Read {
        /// The state's last index.
        through: Index,
        /// The value.
        value: u64,
    },
    /// It was certainly not executed and never will be.
    NotApplied,
    /// Nobody knows.
    Unknown,
}

/// One operation, for a checker that knows nothing of logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Operation {
    /// Who.
    pub(crate) client: u64,
    /// What.
    pub(crate) request: Request,
    /// When it was asked for, by a counter that grows with each question and answer.
    pub(crate) asked: u64,
    /// When it was answered.
    pub(crate) answered: Option<u64>,
    /// What was answered.
    pub(crate) answer: Answer,
}

#[derive(Clone, Copy, Debug)]
struct Executed {
    id: LogId,
    position: u32,
    value: u64,
}

/// What is known of clients' operations.
#[derive(Default)]
pub(crate) struct Clients {
    pub(crate) operations: Vec<Operation>,
    /// What everybody may know by now.
    floor: Floor,
    tick: u64,
    /// Executed operations, by their numbers.
    executed: BTreeMap<u64, Executed>,
    not_applied: BTreeSet<u64>,
    given_up: BTreeSet<u64>,
    /// For each executed entry, digests of what was executed, and of what was answered.
    entries: BTreeMap<Index, (u64, u64)>,
    reference: Registers,
    /// For each register, its values: from which index on.
    values: BTreeMap<u32, Vec<(Index, u64)>>,
    pub(crate) writes: u64,
    pub(crate) reads: u64,
}

impl Oracle {
    /// A client asks. Gives the operation's number and what its answer must not be older than.
    pub(crate) fn asked(&self, client: u64, request: Request) -> (u64, Floor) {
        let at = self.now();
        let mut state = self.lock();
        let clients = &mut state.clients;
        clients.tick += 1;
        let operation = clients.operations.len() as u64;
        let asked = clients.tick;
        clients.operations.push(Operation {
            client,
            request,
            asked,
            answered: None,
            answer: Answer::Unknown,
        });
        let floor = clients.floor;
        state.events.note(at, 0, Tag::Asked, [client, operation, 0, 0], || {
            format!("client {client} #{operation} {request:?}")
        });
        (operation, floor)
    }

    /// A client is answered, or gives up.
    pub(crate) fn answered(&self, client: u64, operation: u64, floor: Floor, answer: Answer) {
        let at = self.now();
        let mut state = self.lock();
        let (outcome, index) = match answer {
            Answer::Done { id, .. } => (1, id.index.0),
            Answer::Read { through, .. } => (2, through.0),
            Answer::NotApplied => (3, 0),
            Answer::Unknown => (4, 0),
        };
        state.events.note(at, 0, Tag::Answered, [client, operation, outcome, index], || {
            format!("client {client} #{operation} {answer:?}")
        });
        let wrong = state.judge(operation, floor, answer);
        let clients = &mut state.clients;
        clients.tick += 1;
        let tick = clients.tick;
        if let Some(record) = clients.operations.get_mut(operation as usize) {
            record.answer = answer;
            record.answered = (answer != Answer::Unknown).then_some(tick);
        }
        match wrong {
            Some((checker, what)) => {
                state.violated(at, checker, None, format!("client {client}, operation {operation}: {what}"));
            }
            None => state.learn(operation, answer),
        }
    }

    /// All operations, for a checker that knows nothing of logs.
    #[must_use]
    pub(crate) fn operations(&self) -> Vec<Operation> {
        self.lock().clients.operations.clone()
    }

    /// What the registers hold after everything that was executed anywhere.
    #[must_use]
    pub(crate) fn reference(&self) -> Registers {
        self.lock().clients.reference.clone()
    }
}

impl State {
    /// What is wrong with an answer, if something is.
    fn judge(&self, operation: u64, floor: Floor, answer: Answer) -> Option<(&'static str, String)> {
        let clients = &self.clients;
        let executed = clients.executed.get(&operation);
        match answer {
            Answer::Done { id, position, value } => {
                // That it is later than all that was answered before it was asked for follows: nothing is executed
                // before it is asked for, nor below what was executed.
                if self.committed.get(place(id.index)).is_none_or(|item| item.term != id.term) {
                    return Some(("wrong-answer", format!("{id} is not committed")));
                }
                let Some(done) = executed else {
                    return Some(("wrong-answer", format!("nobody has executed it, not at {id}")));
                };
                if (done.id, done.position) != (id, position) {
                    let what =
                        format!("it was executed at {} {}, not at {id} {position}", done.id, done.position);
                    return Some(("wrong-answer", what));
                }
                (done.value != value).then(|| ("wrong-answer", format!("{value} instead of {}", done.value)))
            }
            Answer::Read { through, value } => {
                if through < floor.0 {
                    return Some((
                        "stale-read",
                        format!("it saw {through}; {} was answered before", floor.0),
                    ));
                }
                let key = clients.operations.get(operation as usize)?.request.key();
                let was = clients.value_at(key, through);
                (was != value).then(|| ("stale-read", format!("{value} at {through}, there it was {was}")))
            }
            Answer::NotApplied => {
                executed.map(|done| ("not-applied-was-applied", format!("it was executed at {}", done.id)))
            }
            Answer::Unknown => None,
        }
    }

    fn learn(&mut self, operation: u64, answer: Answer) {
        let (clients, cover) = (&mut self.clients, &mut self.cover);
        match answer {
            Answer::Done { id, .. } => {
                clients.floor = clients.floor.max(Floor(id.index));
                clients.writes += 1;
            }
            Answer::Read { through, .. } => {
                clients.floor = clients.floor.max(Floor(through));
                clients.reads += 1;
                cover.hit(Point::ReadServed);
            }
            Answer::NotApplied => drop(clients.not_applied.insert(operation)),
            Answer::Unknown => {
                cover.hit(Point::Unknown);
                clients.given_up.insert(operation);
                cover.hit_if(clients.executed.contains_key(&operation), Point::UnknownApplied);
            }
        }
    }
}

impl Clients {
    /// How registers differ from what they were at that index, if they do.
    pub(super) fn differs(&self, registers: &Registers) -> Option<String> {
        let through = registers.through.index;
        let keys: BTreeSet<u32> = self.values.keys().chain(registers.values.keys()).copied().collect();
        keys.into_iter().find_map(|key| {
            let (was, is) = (self.value_at(key, through), registers.get(key));
            (was != is).then(|| format!("register {key} is {is}, it was {was}"))
        })
    }

    fn value_at(&self, key: u32, through: Index) -> u64 {
        let Some(values) = self.values.get(&key) else { return 0 };
        let after = values.partition_point(|(index, _)| *index <= through);
        after.checked_sub(1).map_or(0, |at| values[at].1)
    }
}

/// Of numbers in their order.
fn digest(begin: u64, numbers: impl Iterator<Item = u64>) -> u64 {
    numbers
        .fold(begin, |digest, number| (digest ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(17))
}

impl Witness for Oracle {
    fn executed(&self, node: usize, id: LogId, operations: &[(u32, u64, Request)], answers: &[u64]) {
        let at = self.now();
        let mut state = self.lock();
        if state.committed.get(place(id.index)).is_none_or(|item| item.term != id.term) {
            let what = format!("it executes {id}, which is not committed");
            state.violated(at, "state-machine-safety", Some(node), what);
            return;
        }
        let what = digest(id.term.0, operations.iter().map(|(_, operation, _)| *operation));
        let outcome = digest(0, answers.iter().copied());
        if let Some((known, known_outcome)) = state.clients.entries.get(&id.index).copied() {
            if known != what {
                let what = format!("it executes {id} with other commands than a node before it");
                state.violated(at, "state-machine-safety", Some(node), what);
            } else if known_outcome != outcome {
                let what = format!("it executes {id} with another outcome than a node before it");
                state.violated(at, "divergence", Some(node), what);
            }
            return;
        }
        state.clients.entries.insert(id.index, (what, outcome));
        state.cover.hit_if(operations.len() > 1, Point::GroupCommit);
        for ((position, operation, request), answer) in operations.iter().zip(answers) {
            let asked = state.clients.operations.get(*operation as usize).map(|asked| asked.request);
            if asked != Some(*request) {
                let what = format!("operation {operation} is executed as {request:?}, and was {asked:?}");
                state.violated(at, "state-machine-safety", Some(node), what);
            }
            let clients = &mut state.clients;
            let expected = clients.reference.execute(request);
            let key = request.key();
            let value = clients.reference.get(key);
            clients.values.entry(key).or_default().push((id.index, value));
            let place = Executed { id, position: *position, value: *answer };
            let before = clients.executed.insert(*operation, place);
            let refused = clients.not_applied.contains(operation);
            let unknown = clients.given_up.contains(operation);
            if let Some(before) = before {
                let what = format!("operation {operation} is executed at {} and at {id}", before.id);
                state.violated(at, "state-machine-safety", Some(node), what);
            }
            if refused {
                let what = format!("operation {operation} is executed at {id}; its client was told never");
                state.violated(at, "not-applied-was-applied", Some(node), what);
            }
            if expected != *answer {
                let what = format!("operation {operation} answers {answer} instead of {expected}");
                state.violated(at, "divergence", Some(node), what);
            }
            state.cover.hit_if(unknown, Point::UnknownApplied);
        }
    }

    fn installed(&self, node: usize, before: Index, now: &Registers) {
        Self::installed(self, node, before, now);
    }

    fn through(&self, node: usize, through: LogId) {
        let mut state = self.lock();
        let at = self.now();
        if state.committed.get(place(through.index)).is_none_or(|item| item.term != through.term) {
            let what = format!("it has executed through {through}, which is not committed");
            state.violated(at, "state-machine-safety", Some(node), what);
        }
    }
}
