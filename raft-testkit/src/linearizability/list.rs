//! A model of lists that only grow, as in Jepsen's append workload.

use core::fmt::Debug;
use core::hash::Hash;
use core::marker::PhantomData;

use super::Model;

/// Under each key a list. With elements that are never used twice a read tells the whole order of appends,
/// so little is left to search and little goes unnoticed.
///
/// # Examples
/// ```
/// use raft_testkit::linearizability::{History, List, ListInput, ListOutput, Limits, check};
///
/// let mut history = History::new();
/// for (client, element) in [(1, 7), (2, 8)] {
///     let append = history.invoke(client, 10, ListInput::append("x", element));
///     history.complete(append, 20, ListOutput::Done)?;
/// }
/// // Two reads that do not agree on the order of what was appended.
/// for (client, seen) in [(3, vec![7, 8]), (4, vec![8, 7])] {
///     let read = history.invoke(client, 30, ListInput::read("x"));
///     history.complete(read, 40, ListOutput::Elements(seen))?;
/// }
/// assert!(check(&List::new(), &history, Limits::steps(1000)).is_illegal());
/// # Ok::<(), raft_testkit::linearizability::HistoryError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct List<K = String, T = u64> {
    of: PhantomData<fn() -> (K, T)>,
}

impl List {
    /// Lists of numbers whose keys are text. [`List::default`] is for any keys and elements.
    ///
    /// # Examples
    /// ```
    /// use raft_testkit::linearizability::{List, ListInput, Model};
    ///
    /// let model = List::new();
    /// let seven = model.step(&model.initial(&"x".to_owned()), &ListInput::append("x", 7), None);
    /// assert_eq!(seven, Some(vec![7]));
    /// ```
    #[must_use]
    pub const fn new() -> Self {
        Self { of: PhantomData }
    }
}

impl<K, T> Default for List<K, T> {
    fn default() -> Self {
        Self { of: PhantomData }
    }
}

/// A command with its key.
///
/// # Examples
/// ```
/// use raft_testkit::linearizability::{List, ListCommand, ListInput, Model};
///
/// let input = ListInput { key: "x".to_owned(), command: ListCommand::Append(7) };
/// // Each list is checked by itself.
/// assert_eq!(List::new().key(&input), "x");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ListInput<K = String, T = u64> {
    /// Which list.
    pub key: K,
    /// What to do with it.
    pub command: ListCommand<T>,
}

/// What a list can do.
///
/// # Examples
/// ```
/// use raft_testkit::linearizability::{List, ListCommand, ListInput, Model};
///
/// let of = |command| ListInput { key: "x".to_owned(), command };
/// assert!(List::new().is_read(&of(ListCommand::Read), None));
/// assert!(!List::new().is_read(&of(ListCommand::Append(7)), None));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ListCommand<T> {
    /// Adds an element at the end. Answer: [`ListOutput::Done`] or [`ListOutput::Length`].
    Append(T),
    /// Reads all. Answer: [`ListOutput::Elements`].
    Read,
}

/// What a client is told.
///
/// # Examples
/// ```
/// use raft_testkit::linearizability::{List, ListInput, ListOutput, Model};
///
/// // A server that tells the length is held to it.
/// let (model, append) = (List::new(), ListInput::append("x", 9));
/// assert_eq!(model.step(&vec![7, 8], &append, Some(&ListOutput::Length(3))), Some(vec![7, 8, 9]));
/// assert_eq!(model.step(&vec![7, 8], &append, Some(&ListOutput::Length(2))), None);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ListOutput<T = u64> {
    /// An append took effect; nothing more was told.
    Done,
    /// How many elements the list has after an append.
    Length(u64),
    /// What the list holds.
    Elements(Vec<T>),
}

impl<K, T> ListInput<K, T> {
    /// An append.
    ///
    /// # Examples
    /// ```
    /// use raft_testkit::linearizability::{List, ListInput, Model};
    ///
    /// // Elements may be anything, if no two are the same.
    /// let input: ListInput<u32, (u64, u64)> = ListInput::append(7_u32, (1, 1));
    /// assert_eq!(List::default().describe(&input, None), "append (1, 1) -> ?");
    /// ```
    pub fn append(key: impl Into<K>, element: T) -> Self {
        Self { key: key.into(), command: ListCommand::Append(element) }
    }

    /// A read.
    ///
    /// # Examples
    /// ```
    /// use raft_testkit::linearizability::{List, ListInput, ListOutput, Model};
    ///
    /// let stale = ListOutput::Elements(vec![7]);
    /// assert_eq!(List::new().step(&vec![7, 8], &ListInput::read("x"), Some(&stale)), None);
    /// ```
    pub fn read(key: impl Into<K>) -> Self {
        Self { key: key.into(), command: ListCommand::Read }
    }
}

impl<K, T> Model for List<K, T>
where
    K: Clone + Ord + Hash + Debug,
    T: Clone + Eq + Hash + Debug,
{
    type Key = K;
    type Input = ListInput<K, T>;
    type Output = ListOutput<T>;
    type State = Vec<T>;

    fn key(&self, input: &Self::Input) -> K {
        input.key.clone()
    }

    fn initial(&self, _: &K) -> Vec<T> {
        Vec::new()
    }

    fn step(&self, state: &Vec<T>, input: &Self::Input, output: Option<&ListOutput<T>>) -> Option<Vec<T>> {
        match &input.command {
            ListCommand::Append(element) => {
                let fits = match output {
                    None | Some(ListOutput::Done) => true,
                    Some(ListOutput::Length(length)) => *length == state.len() as u64 + 1,
                    Some(ListOutput::Elements(_)) => false,
                };
                fits.then(|| {
                    let mut next = Vec::with_capacity(state.len() + 1);
                    next.extend_from_slice(state);
                    next.push(element.clone());
                    next
                })
            }
            ListCommand::Read => match output {
                None => Some(state.clone()),
                Some(ListOutput::Elements(elements)) => (elements == state).then(|| state.clone()),
                Some(ListOutput::Done | ListOutput::Length(_)) => None,
            },
        }
    }

    fn is_read(&self, input: &Self::Input, _: Option<&ListOutput<T>>) -> bool {
        input.command == ListCommand::Read
    }

    fn describe(&self, input: &Self::Input, output: Option<&ListOutput<T>>) -> String {
        let command = match &input.command {
            ListCommand::Append(element) => format!("append {element:?}"),
            ListCommand::Read => "read".to_owned(),
        };
        let told = match output {
            None => "?".to_owned(),
            Some(ListOutput::Done) => "ok".to_owned(),
            Some(ListOutput::Length(length)) => length.to_string(),
            Some(ListOutput::Elements(elements)) => ends(elements),
        };
        format!("{command} -> {told}")
    }

    fn describe_state(&self, state: &Vec<T>) -> String {
        ends(state)
    }
}

/// A list; of a long one its length and its end.
fn ends<T: Debug>(elements: &[T]) -> String {
    const SHOWN: usize = 6;
    match elements.len().checked_sub(SHOWN) {
        None | Some(0) => format!("{elements:?}"),
        Some(from) => {
            let shown: Vec<String> = elements[from..].iter().map(|element| format!("{element:?}")).collect();
            format!("[{from} more, {}]", shown.join(", "))
        }
    }
}
