//! A model of a key-value store: each key is a register of bytes.

use core::fmt::Debug;
use core::hash::Hash;
use core::marker::PhantomData;

use bytes::Bytes;

use super::Model;

/// Registers of bytes with the commands of [`KvCommand`]; numbers are decimal text, as in Redis.
///
/// # Examples
/// ```
/// use raft_testkit::linearizability::{Kv, KvInput, KvOutput, Model};
///
/// // Keys may be anything that has an order.
/// let model: Kv<u32> = Kv::default();
/// let before = model.initial(&7);
/// let after = model.step(&before, &KvInput::incr(7_u32, 5), Some(&KvOutput::Number(5)));
/// assert_eq!(after, Some(Some("5".into())));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Kv<K = String> {
    key: PhantomData<fn() -> K>,
}

impl Kv {
    /// Registers whose keys are text. [`Kv::default`] is for any keys.
    ///
    /// # Examples
    /// ```
    /// use raft_testkit::linearizability::{Kv, KvInput, KvOutput, Model};
    ///
    /// let model = Kv::new();
    /// let empty = model.initial(&"x".to_owned());
    /// assert_eq!(model.step(&empty, &KvInput::get("x"), Some(&KvOutput::value("a"))), None);
    /// ```
    #[must_use]
    pub const fn new() -> Self {
        Self { key: PhantomData }
    }
}

impl<K> Default for Kv<K> {
    fn default() -> Self {
        Self { key: PhantomData }
    }
}

/// A command with its key.
///
/// # Examples
/// ```
/// use raft_testkit::linearizability::{KvCommand, KvInput};
///
/// let input: KvInput<u32> = KvInput { key: 7, command: KvCommand::Get };
/// assert_eq!(input, KvInput::get(7_u32));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KvInput<K = String> {
    /// Which register.
    pub key: K,
    /// What to do with it.
    pub command: KvCommand,
}

/// What a register can do.
///
/// # Examples
/// ```
/// use raft_testkit::linearizability::{KvCommand, KvOutput};
///
/// // Numbers are decimal text: what was put can be added to.
/// let (register, _) = KvCommand::Put("41".into()).execute(None);
/// let (register, told) = KvCommand::Incr(1).execute(register.as_ref());
/// assert_eq!((register, told), (Some("42".into()), KvOutput::Number(42)));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum KvCommand {
    /// Reads. Answer: [`KvOutput::Value`].
    Get,
    /// Writes. Answer: [`KvOutput::Done`].
    Put(Bytes),
    /// Writes if the register holds what is expected (`None`: nothing). Answer: [`KvOutput::Swapped`].
    Cas {
        /// What it must hold.
        expected: Option<Bytes>,
        /// What it holds then.
        new: Bytes,
    },
    /// Adds bytes at the end. Answer: [`KvOutput::Length`] or [`KvOutput::Done`].
    Append(Bytes),
    /// Adds a number; nothing counts as 0. Answer: [`KvOutput::Number`] or [`KvOutput::Done`];
    /// [`KvOutput::NotANumber`] if the register holds no number or the sum is out of range.
    Incr(i64),
    /// Empties the register. Answer: [`KvOutput::Existed`] or [`KvOutput::Done`].
    Del,
}

/// What a client is told.
///
/// # Examples
/// ```
/// use raft_testkit::linearizability::{Kv, KvInput, KvOutput, Model};
///
/// // A server that says no more than that it was done is checked by what it says.
/// let (model, append) = (Kv::new(), KvInput::append("x", "abc"));
/// assert!(model.step(&None, &append, Some(&KvOutput::Done)).is_some());
/// assert!(model.step(&None, &append, Some(&KvOutput::Length(3))).is_some());
/// assert!(model.step(&None, &append, Some(&KvOutput::Length(2))).is_none());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum KvOutput {
    /// A write took effect; nothing more was told.
    Done,
    /// What the register holds.
    Value(Option<Bytes>),
    /// Whether a compare-and-swap wrote.
    Swapped(bool),
    /// How many bytes the register holds after an append.
    Length(u64),
    /// The number after an increment.
    Number(i64),
    /// Whether a delete found something.
    Existed(bool),
    /// An increment found no number, or would leave the range of `i64`, and did nothing.
    NotANumber,
}

impl<K> KvInput<K> {
    /// A command for a key.
    ///
    /// # Examples
    /// ```
    /// use raft_testkit::linearizability::{KvCommand, KvInput};
    ///
    /// // What a parser of a client's log calls.
    /// let input: KvInput = KvInput::new("x", KvCommand::Incr(-1));
    /// assert_eq!((input.key.as_str(), input.command), ("x", KvCommand::Incr(-1)));
    /// ```
    pub fn new(key: impl Into<K>, command: KvCommand) -> Self {
        Self { key: key.into(), command }
    }

    /// A read.
    ///
    /// # Examples
    /// ```
    /// use raft_testkit::linearizability::{Kv, KvInput, KvOutput, Model};
    ///
    /// let held = Some("a".into());
    /// assert_eq!(Kv::new().step(&held, &KvInput::get("x"), Some(&KvOutput::value("a"))), Some(held));
    /// ```
    pub fn get(key: impl Into<K>) -> Self {
        Self::new(key, KvCommand::Get)
    }

    /// A write.
    ///
    /// # Examples
    /// ```
    /// use raft_testkit::linearizability::{Kv, KvInput, KvOutput, Model};
    ///
    /// let after = Kv::new().step(&Some("a".into()), &KvInput::put("x", "b"), Some(&KvOutput::Done));
    /// assert_eq!(after, Some(Some("b".into())));
    /// ```
    pub fn put(key: impl Into<K>, value: impl Into<Bytes>) -> Self {
        Self::new(key, KvCommand::Put(value.into()))
    }

    /// A write if the register holds what is expected.
    ///
    /// # Examples
    /// ```
    /// use raft_testkit::linearizability::{Kv, KvInput, KvOutput, Model};
    ///
    /// // Takes a lock that nobody holds: of two who do so, one is told `false`.
    /// let (model, take) = (Kv::new(), KvInput::cas("lock", None, "me"));
    /// let held = model.step(&None, &take, Some(&KvOutput::Swapped(true))).unwrap();
    /// assert_eq!(model.step(&held, &take, Some(&KvOutput::Swapped(true))), None);
    /// assert_eq!(model.step(&held, &take, Some(&KvOutput::Swapped(false))), Some(held));
    /// ```
    pub fn cas(key: impl Into<K>, expected: Option<Bytes>, new: impl Into<Bytes>) -> Self {
        Self::new(key, KvCommand::Cas { expected, new: new.into() })
    }

    /// A write at the end.
    ///
    /// # Examples
    /// ```
    /// use raft_testkit::linearizability::{Kv, KvInput, Model};
    ///
    /// let after = Kv::new().step(&Some("ab".into()), &KvInput::append("x", "c"), None);
    /// assert_eq!(after, Some(Some("abc".into())));
    /// ```
    pub fn append(key: impl Into<K>, value: impl Into<Bytes>) -> Self {
        Self::new(key, KvCommand::Append(value.into()))
    }

    /// An addition.
    ///
    /// # Examples
    /// ```
    /// use raft_testkit::linearizability::{Kv, KvInput, KvOutput, Model};
    ///
    /// // Of text there is no sum, and the client must be told so.
    /// let (model, text) = (Kv::new(), Some("abc".into()));
    /// assert!(model.step(&text, &KvInput::incr("x", 1), Some(&KvOutput::NotANumber)).is_some());
    /// assert!(model.step(&text, &KvInput::incr("x", 1), Some(&KvOutput::Number(1))).is_none());
    /// ```
    pub fn incr(key: impl Into<K>, by: i64) -> Self {
        Self::new(key, KvCommand::Incr(by))
    }

    /// A delete.
    ///
    /// # Examples
    /// ```
    /// use raft_testkit::linearizability::{Kv, KvInput, KvOutput, Model};
    ///
    /// let gone = Kv::new().step(&Some("a".into()), &KvInput::del("x"), Some(&KvOutput::Existed(true)));
    /// assert_eq!(gone, Some(None));
    /// ```
    pub fn del(key: impl Into<K>) -> Self {
        Self::new(key, KvCommand::Del)
    }
}

impl KvOutput {
    /// A register that holds something.
    ///
    /// # Examples
    /// ```
    /// use raft_testkit::linearizability::KvOutput;
    ///
    /// // Empty is not nothing.
    /// assert_ne!(KvOutput::value(""), KvOutput::nothing());
    /// ```
    pub fn value(value: impl Into<Bytes>) -> Self {
        Self::Value(Some(value.into()))
    }

    /// A register that holds nothing.
    ///
    /// # Examples
    /// ```
    /// use raft_testkit::linearizability::{Kv, KvInput, KvOutput, Model};
    ///
    /// assert!(Kv::new().step(&None, &KvInput::get("x"), Some(&KvOutput::nothing())).is_some());
    /// ```
    #[must_use]
    pub const fn nothing() -> Self {
        Self::Value(None)
    }
}

impl KvCommand {
    /// Executes the command: the register after it, and the most that a client can be told.
    ///
    /// # Examples
    /// ```
    /// use raft_testkit::linearizability::{KvCommand, KvOutput};
    ///
    /// let swap = KvCommand::Cas { expected: Some("a".into()), new: "b".into() };
    /// assert_eq!(swap.execute(Some(&"a".into())), (Some("b".into()), KvOutput::Swapped(true)));
    /// assert_eq!(swap.execute(None), (None, KvOutput::Swapped(false)));
    /// ```
    #[must_use]
    pub fn execute(&self, register: Option<&Bytes>) -> (Option<Bytes>, KvOutput) {
        let held = || register.cloned();
        match self {
            Self::Get => (held(), KvOutput::Value(held())),
            Self::Put(value) => (Some(value.clone()), KvOutput::Done),
            Self::Cas { expected, new } => {
                if expected.as_ref() == register {
                    (Some(new.clone()), KvOutput::Swapped(true))
                } else {
                    (held(), KvOutput::Swapped(false))
                }
            }
            Self::Append(more) => {
                let mut all = register.map(|bytes| bytes.to_vec()).unwrap_or_default();
                all.extend_from_slice(more);
                let length = all.len() as u64;
                (Some(all.into()), KvOutput::Length(length))
            }
            Self::Incr(by) => match number(register).and_then(|number| number.checked_add(*by)) {
                Some(sum) => (Some(sum.to_string().into()), KvOutput::Number(sum)),
                None => (held(), KvOutput::NotANumber),
            },
            Self::Del => (None, KvOutput::Existed(register.is_some())),
        }
    }
}

/// A register as a number; nothing counts as 0.
fn number(register: Option<&Bytes>) -> Option<i64> {
    register.map_or(Some(0), |bytes| core::str::from_utf8(bytes).ok()?.parse().ok())
}

impl<K: Clone + Ord + Hash + Debug> Model for Kv<K> {
    type Key = K;
    type Input = KvInput<K>;
    type Output = KvOutput;
    type State = Option<Bytes>;

    fn key(&self, input: &Self::Input) -> K {
        input.key.clone()
    }

    fn initial(&self, _: &K) -> Self::State {
        None
    }

    fn step(
        &self,
        state: &Self::State,
        input: &Self::Input,
        output: Option<&KvOutput>,
    ) -> Option<Self::State> {
        let (next, told) = input.command.execute(state.as_ref());
        let fits = match output {
            None => true,
            Some(KvOutput::Done) => {
                matches!(
                    told,
                    KvOutput::Done | KvOutput::Length(_) | KvOutput::Number(_) | KvOutput::Existed(_)
                )
            }
            Some(output) => *output == told,
        };
        fits.then_some(next)
    }

    fn is_read(&self, input: &Self::Input, output: Option<&KvOutput>) -> bool {
        matches!(
            (&input.command, output),
            (KvCommand::Get, _)
                | (KvCommand::Cas { .. }, Some(KvOutput::Swapped(false)))
                | (KvCommand::Del, Some(KvOutput::Existed(false)))
                | (KvCommand::Incr(_), Some(KvOutput::NotANumber))
        )
    }

    fn describe(&self, input: &Self::Input, output: Option<&KvOutput>) -> String {
        let command = match &input.command {
            KvCommand::Get => "get".to_owned(),
            KvCommand::Put(value) => format!("put {}", text(value)),
            KvCommand::Cas { expected, new } => format!("cas {} {}", register(expected.as_ref()), text(new)),
            KvCommand::Append(value) => format!("append {}", text(value)),
            KvCommand::Incr(by) => format!("incr {by}"),
            KvCommand::Del => "del".to_owned(),
        };
        let told = match output {
            None => "?".to_owned(),
            Some(KvOutput::Done) => "ok".to_owned(),
            Some(KvOutput::Value(value)) => register(value.as_ref()),
            Some(KvOutput::Swapped(yes) | KvOutput::Existed(yes)) => {
                if *yes { "yes" } else { "no" }.to_owned()
            }
            Some(KvOutput::Length(length)) => length.to_string(),
            Some(KvOutput::Number(number)) => number.to_string(),
            Some(KvOutput::NotANumber) => "not a number".to_owned(),
        };
        format!("{command} -> {told}")
    }

    fn describe_state(&self, state: &Self::State) -> String {
        register(state.as_ref())
    }
}

fn register(value: Option<&Bytes>) -> String {
    value.map_or_else(|| "nothing".to_owned(), text)
}

/// Bytes as text; a long value shortened to its end, where values differ that were appended to.
fn text(value: &Bytes) -> String {
    const SHOWN: usize = 24;
    let from = value.len().saturating_sub(SHOWN);
    let (dots, shown) = if from == 0 { ("", value.as_ref()) } else { ("...", &value[from..]) };
    format!("\"{dots}{}\"", shown.escape_ascii())
}
