//! What a sequential copy of the data would do.

use core::fmt::Debug;
use core::hash::Hash;

/// What one copy of the data does with one operation after the other.
///
/// A model is deterministic: an input in a state has one output and one next state. Where the data has a
/// choice, make the state the set of all states that are possible.
///
/// # Examples
/// ```
/// use raft_testkit::linearizability::{History, Limits, Model, check};
///
/// /// Gives out numbers, each once.
/// struct Tickets;
///
/// impl Model for Tickets {
///     type Key = ();
///     type Input = ();
///     type Output = u64;
///     type State = u64;
///
///     fn key(&self, _: &()) {}
///
///     fn initial(&self, _: &()) -> u64 {
///         0
///     }
///
///     fn step(&self, state: &u64, _: &(), output: Option<&u64>) -> Option<u64> {
///         output.is_none_or(|output| output == state).then_some(state + 1)
///     }
/// }
///
/// let mut history = History::new();
/// for client in [1, 2] {
///     let taken = history.invoke(client, 10, ());
///     history.complete(taken, 20, 0)?;
/// }
/// assert!(check(&Tickets, &history, Limits::steps(100)).is_illegal(), "two have number 0");
/// # Ok::<(), raft_testkit::linearizability::HistoryError>(())
/// ```
pub trait Model {
    /// What splits a history: operations with different keys do not touch the same data. `()` if there is
    /// no such split. The smaller the parts, the cheaper the check.
    type Key: Clone + Ord + Debug;
    /// What a client asks.
    type Input: Eq + Hash + Debug;
    /// What a client is told.
    type Output: Debug;
    /// The data under one key.
    type State: Clone + Eq + Hash + Debug;

    /// The key of an operation.
    ///
    /// # Examples
    /// ```
    /// use raft_testkit::linearizability::{Kv, KvInput, Model};
    ///
    /// // Writes of different keys are searched apart.
    /// assert_ne!(Kv::new().key(&KvInput::put("x", "a")), Kv::new().key(&KvInput::put("y", "a")));
    /// ```
    fn key(&self, input: &Self::Input) -> Self::Key;

    /// The data under a key before all operations.
    ///
    /// # Examples
    /// ```
    /// # use raft_testkit::linearizability::{History, Limits, Model, check};
    /// # #[derive(Debug, PartialEq, Eq, Hash)]
    /// # enum Ask {
    /// #     Next,
    /// #     Peek,
    /// # }
    /// # struct Tickets;
    /// # impl Model for Tickets {
    /// #     type Key = ();
    /// #     type Input = Ask;
    /// #     type Output = u64;
    /// #     type State = u64;
    /// #     fn key(&self, _: &Ask) {}
    /// #     fn initial(&self, _: &()) -> u64 {
    /// #         0
    /// #     }
    /// #     fn step(&self, state: &u64, ask: &Ask, output: Option<&u64>) -> Option<u64> {
    /// #         let fits = output.is_none_or(|output| output == state);
    /// #         fits.then_some(if *ask == Ask::Next { state + 1 } else { *state })
    /// #     }
    /// #     fn is_read(&self, ask: &Ask, _: Option<&u64>) -> bool {
    /// #         *ask == Ask::Peek
    /// #     }
    /// # }
    /// # fn main() {
    /// // The first ticket has the number that nobody has taken before.
    /// assert_eq!(Tickets.step(&Tickets.initial(&()), &Ask::Next, Some(&0)), Some(1));
    /// # }
    /// ```
    fn initial(&self, key: &Self::Key) -> Self::State;

    /// The state after an operation, or `None` if the output cannot come from this input in this state.
    /// Without an output the operation's outcome is unknown: what would it do if it took effect now?
    ///
    /// # Examples
    /// ```
    /// # use raft_testkit::linearizability::{History, Limits, Model, check};
    /// # #[derive(Debug, PartialEq, Eq, Hash)]
    /// # enum Ask {
    /// #     Next,
    /// #     Peek,
    /// # }
    /// # struct Tickets;
    /// # impl Model for Tickets {
    /// #     type Key = ();
    /// #     type Input = Ask;
    /// #     type Output = u64;
    /// #     type State = u64;
    /// #     fn key(&self, _: &Ask) {}
    /// #     fn initial(&self, _: &()) -> u64 {
    /// #         0
    /// #     }
    /// #     fn step(&self, state: &u64, ask: &Ask, output: Option<&u64>) -> Option<u64> {
    /// #         let fits = output.is_none_or(|output| output == state);
    /// #         fits.then_some(if *ask == Ask::Next { state + 1 } else { *state })
    /// #     }
    /// #     fn is_read(&self, ask: &Ask, _: Option<&u64>) -> bool {
    /// #         *ask == Ask::Peek
    /// #     }
    /// # }
    /// # fn main() {
    /// assert_eq!(Tickets.step(&5, &Ask::Next, Some(&5)), Some(6));
    /// assert_eq!(Tickets.step(&5, &Ask::Next, Some(&4)), None);
    /// // Nobody knows what the client would have been told; that it took a ticket is sure.
    /// assert_eq!(Tickets.step(&5, &Ask::Next, None), Some(6));
    /// # }
    /// ```
    fn step(
        &self,
        state: &Self::State,
        input: &Self::Input,
        output: Option<&Self::Output>,
    ) -> Option<Self::State>;

    /// True if the operation leaves *every* state as it is. The checker then places it as soon as it fits
    /// and looks no further, which saves most of the search. `false` is always right.
    ///
    /// # Examples
    /// ```
    /// # use raft_testkit::linearizability::{History, Limits, Model, check};
    /// # #[derive(Debug, PartialEq, Eq, Hash)]
    /// # enum Ask {
    /// #     Next,
    /// #     Peek,
    /// # }
    /// # struct Tickets;
    /// # impl Model for Tickets {
    /// #     type Key = ();
    /// #     type Input = Ask;
    /// #     type Output = u64;
    /// #     type State = u64;
    /// #     fn key(&self, _: &Ask) {}
    /// #     fn initial(&self, _: &()) -> u64 {
    /// #         0
    /// #     }
    /// #     fn step(&self, state: &u64, ask: &Ask, output: Option<&u64>) -> Option<u64> {
    /// #         let fits = output.is_none_or(|output| output == state);
    /// #         fits.then_some(if *ask == Ask::Next { state + 1 } else { *state })
    /// #     }
    /// #     fn is_read(&self, ask: &Ask, _: Option<&u64>) -> bool {
    /// #         *ask == Ask::Peek
    /// #     }
    /// # }
    /// # fn main() {
    /// assert!(Tickets.is_read(&Ask::Peek, None));
    /// let changes = Tickets.step(&5, &Ask::Next, None) != Some(5);
    /// assert!(changes && !Tickets.is_read(&Ask::Next, None));
    /// # }
    /// ```
    fn is_read(&self, input: &Self::Input, output: Option<&Self::Output>) -> bool {
        let _ = (input, output);
        false
    }

    /// An operation in a counterexample.
    ///
    /// # Examples
    /// ```
    /// # use raft_testkit::linearizability::{History, Limits, Model, check};
    /// # #[derive(Debug, PartialEq, Eq, Hash)]
    /// # enum Ask {
    /// #     Next,
    /// #     Peek,
    /// # }
    /// # struct Tickets;
    /// # impl Model for Tickets {
    /// #     type Key = ();
    /// #     type Input = Ask;
    /// #     type Output = u64;
    /// #     type State = u64;
    /// #     fn key(&self, _: &Ask) {}
    /// #     fn initial(&self, _: &()) -> u64 {
    /// #         0
    /// #     }
    /// #     fn step(&self, state: &u64, ask: &Ask, output: Option<&u64>) -> Option<u64> {
    /// #         let fits = output.is_none_or(|output| output == state);
    /// #         fits.then_some(if *ask == Ask::Next { state + 1 } else { *state })
    /// #     }
    /// #     fn is_read(&self, ask: &Ask, _: Option<&u64>) -> bool {
    /// #         *ask == Ask::Peek
    /// #     }
    /// # }
    /// # fn main() {
    /// // By default as `Debug` has it; an unknown output is a question mark.
    /// assert_eq!(Tickets.describe(&Ask::Next, Some(&4)), "Next -> 4");
    /// assert_eq!(Tickets.describe(&Ask::Peek, None), "Peek -> ?");
    /// # }
    /// ```
    fn describe(&self, input: &Self::Input, output: Option<&Self::Output>) -> String {
        match output {
            Some(output) => format!("{input:?} -> {output:?}"),
            None => format!("{input:?} -> ?"),
        }
    }

    /// A state in a counterexample.
    ///
    /// # Examples
    /// ```
    /// use raft_testkit::linearizability::{List, Model};
    ///
    /// // Of much data a counterexample shows the end, where it matters.
    /// let text = List::new().describe_state(&(0..100).collect());
    /// assert_eq!(text, "[94 more, 94, 95, 96, 97, 98, 99]");
    /// ```
    fn describe_state(&self, state: &Self::State) -> String {
        format!("{state:?}")
    }
}
