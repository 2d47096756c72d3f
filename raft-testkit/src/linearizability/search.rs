//! The search for an order of the operations under one key.
//!
//! The completed operations are a list of calls and returns in the order of their times. An operation may
//! come next in the order if no return stands before its call. Placing it lifts both out of the list; the
//! search has won when the list is empty, and must go back when the first return's operation cannot be
//! placed. Three things keep it small besides the memory of what was tried:
//!
//! * an operation that changes no state is placed as soon as it fits, for good;
//! * operations without a known outcome come last, since they may stay out altogether, and one that would
//!   change nothing stays out;
//! * of two such operations with the same input the later one comes only after the earlier one.
//!
//! Where many outcomes are unknown, nearly all orders of these operations are in vain. So the search first
//! looks for an order in which few of them follow each other and each such row lets something happen that
//! could not happen before it. Most histories that have an order have one of this kind; only if there is none
//! are all orders tried.

use std::collections::HashMap;
use std::time::Instant;

use super::tried::{Bits, Memory};
use super::{Model, OpId, Operation};

/// The operations under one key, sorted for the search.
pub(super) struct Part<'a, M: Model> {
    model: &'a M,
    initial: M::State,
    completed: Vec<Entry<'a, M>>,
    open: Vec<Open<'a, M>>,
    /// Calls and returns of the completed operations.
    events: Vec<Event>,
}

struct Entry<'a, M: Model> {
    id: OpId,
    operation: &'a Operation<M::Input, M::Output>,
    is_read: bool,
    call: usize,
    ret: usize,
}

struct Open<'a, M: Model> {
    id: OpId,
    input: &'a M::Input,
    /// How many events are before its call.
    events_before: usize,
    /// The one before it with the same input.
    twin: Option<usize>,
}

#[derive(Clone, Copy)]
enum Event {
    Call(usize),
    Return(usize),
}

/// The rows of operations without a known outcome that are tried before all orders are.
const ROWS: [usize; 2] = [1, 3];

/// How many steps each of these searches has at first; eight times as many in each further attempt, up to half
/// of all.
const FIRST_STEPS: u64 = 10_000;

/// How far the search may go.
#[derive(Clone, Copy)]
struct Bounds {
    steps: u64,
    deadline: Option<Instant>,
    /// How many operations without a known outcome may follow each other, and must then have a use;
    /// `None` to try all orders.
    row: Option<usize>,
    /// Where to stop: when no completed operation can be placed before this event, which is a return.
    stop_at: Option<usize>,
}

/// What the search found.
pub(super) enum Found {
    /// An order of all completed operations.
    Order,
    /// There is none. No order gets past this event, which is a return.
    Nothing { furthest: usize },
    /// The bound was reached, after so many steps.
    Bound { steps: u64 },
    /// The search was at the event to stop at.
    Stopped,
}

/// A placed operation, and how to go on when it is taken back.
struct Frame<S> {
    placed: Placed,
    /// The state before it; `None` if it changed nothing.
    before: Option<S>,
}

#[derive(Clone, Copy)]
enum Placed {
    Completed(usize),
    Open(usize),
}

/// What to try next.
#[derive(Clone, Copy)]
enum Cursor {
    /// Completed operations that change nothing, from this event on.
    Reads(usize),
    /// Completed operations that may change something.
    Writes(usize),
    /// Operations without a known outcome, from this one on, that were invoked before the event.
    Open(usize, usize),
}

impl<'a, M: Model> Part<'a, M> {
    pub(super) fn new(
        model: &'a M,
        key: &M::Key,
        operations: impl IntoIterator<Item = (OpId, &'a Operation<M::Input, M::Output>)>,
    ) -> Self {
        let mut completed = Vec::new();
        let mut open = Vec::new();
        for (id, operation) in operations {
            let is_read = model.is_read(&operation.input, operation.output());
            match operation.completed() {
                Some(_) => completed.push(Entry { id, operation, is_read, call: 0, ret: 0 }),
                None if is_read => {}
                None => open.push((operation.invoked, id, &operation.input)),
            }
        }
        // At equal times calls come before returns: such operations are concurrent.
        let mut times: Vec<(u64, bool, usize)> = Vec::with_capacity(2 * completed.len());
        for (place, entry) in completed.iter().enumerate() {
            times.push((entry.operation.invoked, false, place));
            times.push((entry.operation.completed().unwrap_or(u64::MAX), true, place));
        }
        times.sort_unstable();
        let mut events = Vec::with_capacity(times.len());
        for (at, &(_, is_return, place)) in times.iter().enumerate() {
            if let Some(entry) = completed.get_mut(place) {
                *(if is_return { &mut entry.ret } else { &mut entry.call }) = at;
            }
            events.push(if is_return { Event::Return(place) } else { Event::Call(place) });
        }

        open.sort_by_key(|&(invoked, id, _)| (invoked, id));
        let mut twins = HashMap::new();
        let open = open
            .into_iter()
            .enumerate()
            .map(|(place, (invoked, id, input))| Open {
                id,
                input,
                events_before: times.partition_point(|&(time, _, _)| time < invoked),
                twin: twins.insert(input, place),
            })
            .collect();
        Self { model, initial: model.initial(key), completed, open, events }
    }

    pub(super) const fn model(&self) -> &'a M {
        self.model
    }

    /// The operation that returns at an event, and all that were invoked before that.
    pub(super) fn until(&self, event: usize) -> (Option<OpId>, Vec<OpId>) {
        let stuck = match self.events.get(event) {
            Some(&(Event::Return(place) | Event::Call(place))) => {
                self.completed.get(place).map(|entry| entry.id)
            }
            None => None,
        };
        let completed = self.completed.iter().filter(|entry| entry.call < event).map(|entry| entry.id);
        let open = self.open.iter().filter(|open| open.events_before <= event).map(|open| open.id);
        (stuck, completed.chain(open).collect())
    }

    /// Searches with so many steps at most.
    pub(super) fn search(&self, steps: u64, deadline: Option<Instant>) -> Found {
        let mut taken = 0;
        let mut rows = if self.open.is_empty() { Vec::new() } else { ROWS.to_vec() };
        let mut some = FIRST_STEPS;
        while !rows.is_empty() && taken < steps / 2 {
            let mut in_vain = Vec::new();
            for &row in &rows {
                let steps = some.min((steps / 2).saturating_sub(taken));
                let mut search = Search::new(self);
                match search.run(Bounds { steps, deadline, row: Some(row), stop_at: None }) {
                    Found::Order => return Found::Order,
                    Found::Bound { .. } if is_past(deadline) => {
                        return Found::Bound { steps: taken + search.steps };
                    }
                    Found::Bound { .. } | Found::Stopped => {}
                    Found::Nothing { .. } => in_vain.push(row),
                }
                taken += search.steps;
            }
            rows.retain(|row| !in_vain.contains(row));
            some = some.saturating_mul(8);
        }
        let bounds = Bounds { steps: steps.saturating_sub(taken), deadline, row: None, stop_at: None };
        match Search::new(self).run(bounds) {
            Found::Bound { steps } => Found::Bound { steps: taken + steps },
            found => found,
        }
    }

    /// Takes the steps of a search for all orders that found nothing again, up to where it first was stuck at
    /// the event: what was placed then, with the states after each, and the last state.
    pub(super) fn stuck_at(&self, event: usize) -> (Vec<(OpId, M::State)>, M::State) {
        let mut search = Search::new(self);
        search.run(Bounds { steps: u64::MAX, deadline: None, row: None, stop_at: Some(event) });
        search.placed()
    }
}

struct Search<'p, 'a, M: Model> {
    part: &'p Part<'a, M>,
    list: Links,
    state: M::State,
    placed: Bits,
    open: Bits,
    frames: Vec<Frame<M::State>>,
    memory: Memory<M::State>,
    steps: u64,
}

impl<'p, 'a, M: Model> Search<'p, 'a, M> {
    fn new(part: &'p Part<'a, M>) -> Self {
        Self {
            part,
            list: Links::new(part.events.len()),
            state: part.initial.clone(),
            placed: Bits::new(part.completed.len()),
            open: Bits::new(part.open.len()),
            frames: Vec::new(),
            memory: Memory::new(),
            steps: 0,
        }
    }

    fn run(&mut self, bounds: Bounds) -> Found {
        let mut furthest = 0;
        let mut cursor = Cursor::Reads(self.list.first());
        loop {
            if self.list.is_empty() {
                return Found::Order;
            }
            self.steps += 1;
            if self.steps > bounds.steps || (self.steps.is_multiple_of(1024) && is_past(bounds.deadline)) {
                return Found::Bound { steps: self.steps };
            }
            cursor = match cursor {
                Cursor::Reads(at) => match self.part.events.get(at) {
                    Some(&Event::Call(place)) => self.try_read(place, at),
                    _ => Cursor::Writes(self.list.first()),
                },
                Cursor::Writes(at) => match self.part.events.get(at) {
                    Some(&Event::Call(place)) => self.try_write(place, at),
                    _ if bounds.stop_at == Some(at) => return Found::Stopped,
                    _ => Cursor::Open(0, at),
                },
                Cursor::Open(place, event) => match self.part.open.get(place) {
                    Some(open) if open.events_before <= event => self.try_open(place, event, bounds.row),
                    _ => {
                        furthest = furthest.max(event);
                        match self.go_back() {
                            Some(next) => next,
                            None => return Found::Nothing { furthest },
                        }
                    }
                },
            };
        }
    }

    fn try_read(&mut self, place: usize, at: usize) -> Cursor {
        let next = Cursor::Reads(self.list.next(at));
        let Some(entry) = self.part.completed.get(place).filter(|entry| entry.is_read) else { return next };
        let (input, output) = (&entry.operation.input, entry.operation.output());
        if self.part.model.step(&self.state, input, output).is_none() {
            return next;
        }
        self.place(Placed::Completed(place), None)
    }

    fn try_write(&mut self, place: usize, at: usize) -> Cursor {
        let next = Cursor::Writes(self.list.next(at));
        let Some(entry) = self.part.completed.get(place).filter(|entry| !entry.is_read) else { return next };
        let (input, output) = (&entry.operation.input, entry.operation.output());
        let Some(state) = self.part.model.step(&self.state, input, output) else { return next };
        self.placed.insert(place);
        let is_new = self.memory.remember(&self.placed, &self.open, &state, &mut self.steps);
        self.placed.remove(place);
        if is_new { self.place(Placed::Completed(place), Some(state)) } else { next }
    }

    fn try_open(&mut self, place: usize, event: usize, row: Option<usize>) -> Cursor {
        let next = Cursor::Open(place + 1, event);
        let Some(open) = self.part.open.get(place) else { return next };
        let waits = open.twin.is_some_and(|twin| !self.open.contains(twin));
        if waits || self.open.contains(place) {
            return next;
        }
        let Some(state) = self.part.model.step(&self.state, open.input, None) else { return next };
        if state == self.state || row.is_some_and(|row| !self.is_of_use(&state, row)) {
            return next;
        }
        self.open.insert(place);
        let is_new = self.memory.remember(&self.placed, &self.open, &state, &mut self.steps);
        self.open.remove(place);
        if is_new { self.place(Placed::Open(place), Some(state)) } else { next }
    }

    /// True if the row of operations without a known outcome, of which the last gives this state, may still
    /// grow, or lets a completed operation happen that did not fit before the row.
    fn is_of_use(&self, state: &M::State, row: usize) -> bool {
        let placed =
            self.frames.iter().rev().take_while(|frame| matches!(frame.placed, Placed::Open(_))).count();
        if placed + 1 < row {
            return true;
        }
        let first = self.frames.get(self.frames.len() - placed);
        let before = first.and_then(|frame| frame.before.as_ref()).unwrap_or(&self.state);
        let mut at = self.list.first();
        while let Some(&Event::Call(place)) = self.part.events.get(at) {
            if let Some(entry) = self.part.completed.get(place) {
                let (input, output) = (&entry.operation.input, entry.operation.output());
                let fits = |state| self.part.model.step(state, input, output).is_some();
                if fits(state) && !fits(before) {
                    return true;
                }
            }
            at = self.list.next(at);
        }
        false
    }

    fn place(&mut self, placed: Placed, state: Option<M::State>) -> Cursor {
        match placed {
            Placed::Completed(place) => {
                self.placed.insert(place);
                if let Some(entry) = self.part.completed.get(place) {
                    self.list.lift(entry.call);
                    self.list.lift(entry.ret);
                }
            }
            Placed::Open(place) => self.open.insert(place),
        }
        let before = state.map(|state| core::mem::replace(&mut self.state, state));
        self.frames.push(Frame { placed, before });
        Cursor::Reads(self.list.first())
    }

    /// Takes back the last operation for which there is something else to try.
    fn go_back(&mut self) -> Option<Cursor> {
        while let Some(Frame { placed, before }) = self.frames.pop() {
            if let Some(before) = before {
                self.state = before;
            }
            match placed {
                Placed::Completed(place) => {
                    self.placed.remove(place);
                    if let Some(entry) = self.part.completed.get(place) {
                        self.list.unlift(entry.ret);
                        self.list.unlift(entry.call);
                        if !entry.is_read {
                            return Some(Cursor::Writes(self.list.next(entry.call)));
                        }
                    }
                }
                Placed::Open(place) => {
                    self.open.remove(place);
                    return Some(Cursor::Open(place + 1, self.first_return()));
                }
            }
        }
        None
    }

    fn first_return(&self) -> usize {
        let mut at = self.list.first();
        while let Some(Event::Call(_)) = self.part.events.get(at) {
            at = self.list.next(at);
        }
        at
    }

    /// What is placed, with the states after each, and the last state.
    fn placed(self) -> (Vec<(OpId, M::State)>, M::State) {
        let mut order = Vec::with_capacity(self.frames.len());
        let mut after = self.state.clone();
        for Frame { placed, before } in self.frames.into_iter().rev() {
            let id = match placed {
                Placed::Completed(place) => self.part.completed.get(place).map(|entry| entry.id),
                Placed::Open(place) => self.part.open.get(place).map(|open| open.id),
            };
            order.extend(id.map(|id| (id, after.clone())));
            if let Some(before) = before {
                after = before;
            }
        }
        order.reverse();
        (order, self.state)
    }
}

fn is_past(deadline: Option<Instant>) -> bool {
    deadline.is_some_and(|deadline| Instant::now() >= deadline)
}

/// The events that are not lifted, as a doubly linked list. Place 0 is the head; event `n` has place `n + 1`.
struct Links {
    next: Vec<usize>,
    previous: Vec<usize>,
}

impl Links {
    fn new(events: usize) -> Self {
        Self {
            next: (1..=events + 1).collect(),
            previous: (0..=events).map(|place| place.saturating_sub(1)).collect(),
        }
    }

    /// The first event; the number of events if there is none.
    fn first(&self) -> usize {
        self.at(0)
    }

    fn next(&self, event: usize) -> usize {
        self.at(event + 1)
    }

    fn is_empty(&self) -> bool {
        self.first() + 1 >= self.next.len()
    }

    fn lift(&mut self, event: usize) {
        let (previous, next) = self.around(event);
        self.link(previous, next, next, previous);
    }

    /// Undoes the last `lift` that is not undone.
    fn unlift(&mut self, event: usize) {
        let (previous, next) = self.around(event);
        self.link(previous, event + 1, next, event + 1);
    }

    fn at(&self, place: usize) -> usize {
        self.next.get(place).map_or(usize::MAX, |next| next - 1)
    }

    fn around(&self, event: usize) -> (usize, usize) {
        let place = event + 1;
        (self.previous.get(place).copied().unwrap_or(0), self.next.get(place).copied().unwrap_or(0))
    }

    fn link(&mut self, previous: usize, next_of_previous: usize, next: usize, previous_of_next: usize) {
        if let Some(link) = self.next.get_mut(previous) {
            *link = next_of_previous;
        }
        // The last event has no event after it.
        if let Some(link) = self.previous.get_mut(next) {
            *link = previous_of_next;
        }
    }
}
