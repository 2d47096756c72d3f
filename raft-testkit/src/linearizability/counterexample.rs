//! Why there is no order, for people.

use core::fmt::{self, Debug, Display};

use super::search::Part;
use super::{History, Model, OpId};

/// How many operations a timeline shows at most.
const ROWS: usize = 14;

/// How many of the placed operations are listed.
const LISTED: usize = 8;

/// Why a history has no order: the operations under one key that were invoked until one of them got an
/// answer that no order explains.
///
/// It prints as a short timeline. What is printed is for people and may change.
///
/// # Examples
/// ```
/// use raft_testkit::linearizability::{History, Kv, KvInput, KvOutput, Limits, Verdict, check};
///
/// let mut history = History::new();
/// let put = history.invoke(1, 10, KvInput::put("x", "a"));
/// history.complete(put, 20, KvOutput::Done)?;
/// let get = history.invoke(2, 30, KvInput::get("x"));
/// history.complete(get, 40, KvOutput::nothing())?;
/// let Verdict::Illegal(why) = check(&Kv::new(), &history, Limits::steps(100)) else { panic!() };
/// assert_eq!((&why.order[..], why.stuck), (&[put][..], get));
/// assert!(why.to_string().contains("get -> nothing   <- fits nowhere"), "{why}");
/// # Ok::<(), raft_testkit::linearizability::HistoryError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counterexample<K> {
    /// The key.
    pub key: K,
    /// The operations that contradict each other: all under this key that were invoked before `stuck`
    /// completed. Alone they have no order either.
    pub operations: Vec<OpId>,
    /// An order of some of them that fits everything that completed before `stuck` did.
    pub order: Vec<OpId>,
    /// The operation that fits nowhere.
    pub stuck: OpId,
    lines: Vec<String>,
}

impl<K: Clone + Debug> Counterexample<K> {
    pub(super) fn explain<M: Model<Key = K>>(
        key: K,
        history: &History<M::Input, M::Output>,
        part: &Part<'_, M>,
        furthest: usize,
    ) -> Self {
        let (stuck, mut operations) = part.until(furthest);
        operations.sort_unstable();
        let stuck = stuck.unwrap_or(OpId(0));
        let (order, state) = part.stuck_at(furthest);
        let mut drawing = Drawing { model: part.model(), history, lines: Vec::new() };
        drawing.head(&key, &operations, stuck);
        drawing.timeline(&operations, &order, stuck);
        drawing.order(&order);
        drawing.end(stuck, &state);
        let lines = drawing.lines;
        Self { key, operations, order: order.into_iter().map(|(id, _)| id).collect(), stuck, lines }
    }
}

impl<K> Display for Counterexample<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.lines {
            writeln!(f, "{line}")?;
        }
        Ok(())
    }
}

struct Drawing<'a, M: Model> {
    model: &'a M,
    history: &'a History<M::Input, M::Output>,
    lines: Vec<String>,
}

impl<M: Model> Drawing<'_, M> {
    fn head(&mut self, key: &M::Key, operations: &[OpId], stuck: OpId) {
        let at = self.history.get(stuck).and_then(super::Operation::completed).unwrap_or_default();
        let count = operations.len();
        self.lines.push(format!("not linearizable: key {key:?}, {count} operations until time {at}"));
    }

    /// The operations around the one that fits nowhere: those that overlap it, then the last ones placed.
    fn timeline(&mut self, operations: &[OpId], order: &[(OpId, M::State)], stuck: OpId) {
        let invoked = self.history.get(stuck).map_or(0, |operation| operation.invoked);
        let mut shown = vec![stuck];
        let mut show = |id: OpId| {
            if shown.len() < ROWS && !shown.contains(&id) {
                shown.push(id);
            }
        };
        for &(id, _) in order.iter().rev().take(LISTED) {
            show(id);
        }
        for &id in operations.iter().rev() {
            let completed = self.history.get(id).and_then(super::Operation::completed);
            if completed.is_none_or(|completed| completed >= invoked) {
                show(id);
            }
        }
        for &id in operations.iter().rev() {
            show(id);
        }
        shown.sort_by_key(|&id| (self.history.get(id).map(|operation| operation.invoked), id));

        // Only the order of times matters, so each time that occurs is one column wide.
        let mut times: Vec<u64> = Vec::new();
        for operation in shown.iter().filter_map(|&id| self.history.get(id)) {
            times.push(operation.invoked);
            times.extend(operation.completed());
        }
        times.sort_unstable();
        times.dedup();
        let column = |time: u64| 2 * times.partition_point(|&other| other < time);
        let width = 2 * times.len() + 1;
        let clients =
            shown.iter().filter_map(|&id| self.history.get(id)).map(|op| op.client.to_string().len());
        let pad = clients.max().unwrap_or(1);

        for &id in &shown {
            let Some(operation) = self.history.get(id) else { continue };
            let from = column(operation.invoked);
            let bar = match operation.completed() {
                Some(completed) => format!("|{}|", "-".repeat((column(completed) - from).saturating_sub(1))),
                None => format!("|{}>", "-".repeat((width - from).saturating_sub(2))),
            };
            let mark = if id == stuck { "   <- fits nowhere" } else { "" };
            let what = self.describe(id);
            let client = operation.client;
            let line =
                format!("  c{client:<pad$} {:<width$}  {what}{mark}", format!("{}{bar}", " ".repeat(from)));
            self.lines.push(line);
        }
        if let Some(hidden) = operations.len().checked_sub(shown.len()).filter(|&hidden| hidden > 0) {
            self.lines.push(format!("  ({hidden} earlier operations are not shown)"));
        }
    }

    fn order(&mut self, order: &[(OpId, M::State)]) {
        let from = order.len().saturating_sub(LISTED);
        let after = match from.checked_sub(1).and_then(|last| order.get(last)) {
            Some((_, state)) => {
                format!(", after {from} others that give {}", self.model.describe_state(state))
            }
            None => String::new(),
        };
        self.lines.push(format!("an order of what completed before{after}:"));
        for (place, (id, state)) in order.iter().enumerate().skip(from) {
            let client = self.history.get(*id).map_or(0, |operation| operation.client);
            let (what, state) = (self.describe(*id), self.model.describe_state(state));
            self.lines.push(format!("  {:>4}. c{client} {what}   gives {state}", place + 1));
        }
        if order.is_empty() {
            self.lines.push("  (nothing)".to_owned());
        }
    }

    fn end(&mut self, stuck: OpId, state: &M::State) {
        let Some(operation) = self.history.get(stuck) else { return };
        let completed = operation.completed().unwrap_or_default();
        let state = self.model.describe_state(state);
        self.lines.push(format!(
            "does not fit there or in any other order: c{} {}, invoked at {}, completed at {completed}, while the \
             state is {state}",
            operation.client,
            self.describe(stuck),
            operation.invoked,
        ));
    }

    fn describe(&self, id: OpId) -> String {
        self.history.get(id).map_or_else(String::new, |op| self.model.describe(&op.input, op.output()))
    }
}
