//! What a sequential copy of the data would do.

use core::fmt::Debug;
use core::hash::Hash;

/// What one copy of the data does with one operation after the other.
///
/// A model is deterministic: an input in a state has one output and one next state. Where the data has a
/// choice, make the state the set of all states that are possible.
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
    fn key(&self, input: &Self::Input) -> Self::Key;

    /// The data under a key before all operations.
    fn initial(&self, key: &Self::Key) -> Self::State;

    /// The state after an operation, or `None` if the output cannot come from this input in this state.
    /// Without an output the operation's outcome is unknown: what would it do if it took effect now?
    fn step(
        &self,
        state: &Self::State,
        input: &Self::Input,
        output: Option<&Self::Output>,
    ) -> Option<Self::State>;

    /// True if the operation leaves *every* state as it is. The checker then places it as soon as it fits
    /// and looks no further, which saves most of the search. `false` is always right.
    fn is_read(&self, input: &Self::Input, output: Option<&Self::Output>) -> bool {
        let _ = (input, output);
        false
    }

    /// An operation in a counterexample.
    fn describe(&self, input: &Self::Input, output: Option<&Self::Output>) -> String {
        match output {
            Some(output) => format!("{input:?} -> {output:?}"),
            None => format!("{input:?} -> ?"),
        }
    }

    /// A state in a counterexample.
    fn describe_state(&self, state: &Self::State) -> String {
        format!("{state:?}")
    }
}
