//! Linearizability where it is known at which place in the log each operation took effect.
//!
//! The log is the order, so nothing is searched. What is left is that the order agrees with time: if `a`
//! completed before `b` was invoked, `b` took effect after `a`. That alone does not tell that the answers are
//! right: [`replay`] does.

use core::fmt::{self, Debug, Display};

use super::{History, Model, OpId, Outcome};

/// What an operation did at its place in the log.
///
/// # Examples
/// ```
/// use raft_testkit::linearizability::index_order::{Kind, Placed, check};
///
/// // Two reads may see the same state; two writes are never the same entry.
/// let at_5 = |kind| Placed { invoked: 10, completed: Some(20), place: 5_u64, kind };
/// assert_eq!(check(&[at_5(Kind::Read), at_5(Kind::Read)]), Ok(()));
/// assert!(check(&[at_5(Kind::Write), at_5(Kind::Write)]).is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// It is what stands at this place.
    Write,
    /// It saw the state through this place.
    Read,
}

/// An operation that took effect at a known place.
///
/// A place is whatever is ordered as the log: an index, or an index with the number within the entry where an
/// entry carries several writes (a read through the whole entry then has the greatest number).
///
/// # Examples
/// ```
/// use raft_testkit::linearizability::index_order::{Kind, Placed, check};
///
/// // Two commands of one entry, by their positions in it; the client of the first was never told.
/// let write = |place, completed| Placed { invoked: 10, completed, place, kind: Kind::Write };
/// let operations = [write((7, 0), None), write((7, 1), Some(20))];
/// assert_eq!(check(&operations), Ok(()));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed<P = u64> {
    /// When it was invoked.
    pub invoked: u64,
    /// When it completed; `None` if the client was never told although it took effect.
    pub completed: Option<u64>,
    /// Where it took effect.
    pub place: P,
    /// Whether it wrote.
    pub kind: Kind,
}

/// Two operations whose places contradict time. The numbers are places in what was given.
///
/// # Examples
/// ```
/// use raft_testkit::linearizability::index_order::{Contradiction, Kind, Placed, check};
///
/// let write = |invoked, place| Placed { invoked, completed: Some(invoked + 5), place, kind: Kind::Write };
/// let wrong = check(&[write(10, 8_u64), write(20, 7)]).unwrap_err();
/// assert!(matches!(wrong, Contradiction::Order { earlier: 0, later: 1, .. }));
/// assert!(wrong.to_string().contains("invoked after #0 had completed"), "{wrong}");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Contradiction<P = u64> {
    /// `later` was invoked after `earlier` had completed, and yet has a place before it (or, if one of them
    /// wrote, the same place).
    Order {
        /// The number of the one that had completed.
        earlier: usize,
        /// What it was.
        completed: Placed<P>,
        /// The number of the one that was invoked then.
        later: usize,
        /// What it was.
        invoked: Placed<P>,
    },
    /// Two writes have the same place.
    SamePlace {
        /// The first.
        first: usize,
        /// The second.
        second: usize,
        /// Their place.
        place: P,
    },
    /// An operation completed before it was invoked.
    CompletedFirst {
        /// Which.
        operation: usize,
    },
}

impl<P: Debug> Display for Contradiction<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Order { earlier, completed: a, later, invoked: b } => {
                let done = a.completed.unwrap_or_default();
                writeln!(f, "the log's order contradicts time:")?;
                writeln!(f, "  #{earlier} {:?} at {:?}  |{}..{done}|", a.kind, a.place, a.invoked)?;
                write!(f, "  #{later} {:?} at {:?}  |{}..", b.kind, b.place, b.invoked)?;
                match b.completed {
                    Some(at) => write!(f, "{at}|"),
                    None => write!(f, "?"),
                }?;
                write!(f, "   invoked after #{earlier} had completed")
            }
            Self::SamePlace { first, second, place } => {
                write!(f, "#{first} and #{second} are both writes at {place:?}")
            }
            Self::CompletedFirst { operation } => write!(f, "#{operation} completed before it was invoked"),
        }
    }
}

/// Checks that places agree with time: `a` completed before `b` was invoked implies that `a`'s place is before
/// `b`'s, or not after it if `b` only read, and that no two writes share a place. O(n log n), and O(n) over
/// what is sorted already.
///
/// # Errors
/// The first contradiction, in the order of invocations.
///
/// # Examples
/// ```
/// use raft_testkit::linearizability::index_order::{Kind, Placed, check};
///
/// let write = Placed { invoked: 10, completed: Some(20), place: 5_u64, kind: Kind::Write };
/// let read = Placed { invoked: 30, completed: Some(40), place: 4, kind: Kind::Read };
/// assert!(check(&[write, read]).is_err(), "it reads less than was written before it was asked");
/// assert!(check(&[write, Placed { place: 5, ..read }]).is_ok());
/// ```
pub fn check<P: Copy + Ord>(operations: &[Placed<P>]) -> Result<(), Contradiction<P>> {
    let mut by_invocation: Vec<(u64, usize)> = Vec::with_capacity(operations.len());
    let mut by_completion: Vec<(u64, usize)> = Vec::with_capacity(operations.len());
    let mut writes: Vec<(P, usize)> = Vec::with_capacity(operations.len());
    for (number, operation) in operations.iter().enumerate() {
        by_invocation.push((operation.invoked, number));
        if let Some(completed) = operation.completed {
            if completed < operation.invoked {
                return Err(Contradiction::CompletedFirst { operation: number });
            }
            by_completion.push((completed, number));
        }
        if operation.kind == Kind::Write {
            writes.push((operation.place, number));
        }
    }
    writes.sort();
    for pair in writes.windows(2) {
        if let &[(place, first), (other, second)] = pair
            && place == other
        {
            return Err(Contradiction::SamePlace { first, second, place });
        }
    }
    by_invocation.sort();
    by_completion.sort();

    let mut done = by_completion.into_iter().peekable();
    // The greatest place that somebody knew of; of equal places a write's does not differ from a read's.
    let mut floor: Option<(usize, Placed<P>)> = None;
    for (invoked, later) in by_invocation {
        while let Some((_, number)) = done.next_if(|&(completed, _)| completed < invoked) {
            if let Some(&operation) = operations.get(number)
                && floor.is_none_or(|(_, known)| known.place < operation.place)
            {
                floor = Some((number, operation));
            }
        }
        if let (Some(&operation), Some((earlier, known))) = (operations.get(later), floor) {
            let fits = match operation.kind {
                Kind::Write => known.place < operation.place,
                Kind::Read => known.place <= operation.place,
            };
            if !fits {
                return Err(Contradiction::Order { earlier, completed: known, later, invoked: operation });
            }
        }
    }
    Ok(())
}

/// An answer that the log's order does not give.
///
/// # Examples
/// ```
/// use raft_testkit::linearizability::index_order::{Kind, replay};
/// use raft_testkit::linearizability::{History, Kv, KvInput, KvOutput, OpId};
///
/// let mut history = History::new();
/// let get = history.invoke(1, 10, KvInput::get("x"));
/// history.complete(get, 20, KvOutput::value("a")).unwrap();
/// let wrong = replay(&Kv::new(), &history, |_: OpId| Some((1, Kind::Read))).unwrap_err();
/// assert_eq!(wrong.id, get);
/// assert!(wrong.what.contains("where the state is nothing"), "{wrong}");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrongAnswer {
    /// Which operation.
    pub id: OpId,
    /// The operation and the state in which it took effect, in words.
    pub what: String,
}

impl Display for WrongAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.id, self.what)
    }
}

/// Checks that the answers of a history are those of a model that executes the operations in the order of
/// their places. Those without a place are left out: they took no effect, or nobody knows where. Of operations
/// at the same place writes come first.
///
/// # Errors
/// The first wrong answer, key by key.
///
/// # Examples
/// ```
/// use raft_testkit::linearizability::index_order::{Kind, replay};
/// use raft_testkit::linearizability::{History, Kv, KvInput, KvOutput, OpId};
///
/// let mut history = History::new();
/// for (value, told) in [(1, 3), (2, 2)] {
///     let incr = history.invoke(value, 10, KvInput::incr("x", value as i64));
///     history.complete(incr, 20, KvOutput::Number(told)).unwrap();
/// }
/// // The second was executed first, says the log, and so do the answers.
/// let logged = |OpId(number): OpId| Some((2 - number, Kind::Write));
/// assert_eq!(replay(&Kv::new(), &history, logged), Ok(()));
/// let by_time = |OpId(number): OpId| Some((number, Kind::Write));
/// assert!(replay(&Kv::new(), &history, by_time).is_err());
/// ```
pub fn replay<M: Model, P: Copy + Ord>(
    model: &M,
    history: &History<M::Input, M::Output>,
    place_of: impl Fn(OpId) -> Option<(P, Kind)>,
) -> Result<(), WrongAnswer> {
    let mut order: Vec<(M::Key, P, Kind, OpId)> = Vec::with_capacity(history.operations().len());
    for (number, operation) in history.operations().iter().enumerate() {
        let id = OpId(number);
        if let Some((place, kind)) = place_of(id)
            && !matches!(operation.outcome, Outcome::Failed)
        {
            order.push((model.key(&operation.input), place, kind, id));
        }
    }
    order.sort();
    let mut current: Option<(M::Key, M::State)> = None;
    for (key, _, _, id) in order {
        let Some(operation) = history.get(id) else { continue };
        let state = match current.take() {
            Some((known, state)) if known == key => state,
            _ => model.initial(&key),
        };
        let Some(next) = model.step(&state, &operation.input, operation.output()) else {
            let did = model.describe(&operation.input, operation.output());
            let what =
                format!("{did} under key {key:?}, where the state is {}", model.describe_state(&state));
            return Err(WrongAnswer { id, what });
        };
        current = Some((key, next));
    }
    Ok(())
}
