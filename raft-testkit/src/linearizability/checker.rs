//! The verdict over a history.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::search::{Found, Part};
use super::{Counterexample, History, Model, OpId, Operation, Outcome};

/// How much a check may cost.
///
/// # Examples
/// ```
/// use raft_testkit::linearizability::{History, Kv, KvInput, KvOutput, Limits, Verdict, check};
///
/// let mut history: History<_, KvOutput> = History::new();
/// let get = history.invoke(1, 10, KvInput::get("x"));
/// history.complete(get, 20, KvOutput::nothing()).unwrap();
/// // Without any steps nothing can be said.
/// let verdict = check(&Kv::new(), &history, Limits { steps: 0, time: None });
/// assert!(matches!(&verdict, Verdict::Unknown { key, .. } if key == "x"), "{verdict:?}");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Steps of the search for each key: operations tried and configurations compared. Memory grows with
    /// them, by some 100 bytes and a state for each at worst. The same history needs the same number of steps
    /// on every machine.
    pub steps: u64,
    /// Time for the whole check. With it the verdict may depend on the machine: not for runs that must
    /// replay.
    pub time: Option<Duration>,
}

impl Limits {
    /// So many steps for each key, and no limit of time.
    ///
    /// # Examples
    /// ```
    /// use raft_testkit::linearizability::Limits;
    ///
    /// // The same verdict on every machine, however slow.
    /// assert_eq!(Limits::steps(10_000).time, None);
    /// ```
    #[must_use]
    pub const fn steps(steps: u64) -> Self {
        Self { steps, time: None }
    }

    /// A limit of time as well.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    ///
    /// use raft_testkit::linearizability::Limits;
    ///
    /// // For a history of a real cluster, which nobody runs again: whatever comes first.
    /// let limits = Limits::steps(100_000_000).within(Duration::from_secs(60));
    /// assert_eq!((limits.steps, limits.time), (100_000_000, Some(Duration::from_secs(60))));
    /// ```
    #[must_use]
    pub const fn within(self, time: Duration) -> Self {
        Self { time: Some(time), ..self }
    }
}

/// What a check found.
///
/// # Examples
/// ```
/// use raft_testkit::linearizability::{History, Kv, KvInput, KvOutput, Limits, Verdict, check};
///
/// let mut history = History::new();
/// let get = history.invoke(1, 10, KvInput::get("x"));
/// history.complete(get, 20, KvOutput::value("never written")).unwrap();
/// match check(&Kv::new(), &history, Limits::steps(1000)) {
///     Verdict::Ok => unreachable!("nobody has written it"),
///     Verdict::Illegal(why) => assert_eq!((why.key.as_str(), why.stuck), ("x", get)),
///     Verdict::Unknown { steps, .. } => unreachable!("one operation in {steps} steps"),
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict<K> {
    /// There is an order that explains everything.
    Ok,
    /// There is none under one key at least.
    Illegal(Box<Counterexample<K>>),
    /// A limit was reached before an order was found or all were tried. No key was found illegal.
    Unknown {
        /// The first key for which that happened.
        key: K,
        /// How many steps were taken there.
        steps: u64,
    },
}

impl<K> Verdict<K> {
    /// True if there is an order that explains everything.
    ///
    /// # Examples
    /// ```
    /// use raft_testkit::linearizability::Verdict;
    ///
    /// // Only an order that was found is good news.
    /// assert!(Verdict::<String>::Ok.is_ok());
    /// assert!(!Verdict::Unknown { key: "x", steps: 1000 }.is_ok());
    /// ```
    #[must_use]
    pub const fn is_ok(&self) -> bool {
        matches!(self, Self::Ok)
    }

    /// True if there is none.
    ///
    /// # Examples
    /// ```
    /// use raft_testkit::linearizability::{History, Kv, KvInput, KvOutput, Limits, check};
    ///
    /// let mut history = History::new();
    /// let del = history.invoke(1, 10, KvInput::del("x"));
    /// history.complete(del, 20, KvOutput::Existed(true)).unwrap();
    /// assert!(check(&Kv::new(), &history, Limits::steps(100)).is_illegal(), "there was nothing to delete");
    /// ```
    #[must_use]
    pub const fn is_illegal(&self) -> bool {
        matches!(self, Self::Illegal(_))
    }

    /// True if a limit was reached.
    ///
    /// # Examples
    /// ```
    /// use raft_testkit::linearizability::{History, Kv, KvInput, KvOutput, Limits, check};
    ///
    /// let mut history = History::new();
    /// for client in 0..6 {
    ///     let incr = history.invoke(client, 10, KvInput::incr("x", 1));
    ///     history.complete(incr, 20, KvOutput::Number(6 - client as i64)).unwrap();
    /// }
    /// // All at once, so that there are many orders to try; more steps find the one that fits.
    /// assert!(check(&Kv::new(), &history, Limits::steps(3)).is_unknown());
    /// assert!(check(&Kv::new(), &history, Limits::steps(10_000)).is_ok());
    /// ```
    #[must_use]
    pub const fn is_unknown(&self) -> bool {
        matches!(self, Self::Unknown { .. })
    }
}

/// Is there, for each key, an order of the operations that the model explains and that keeps every operation
/// between its invocation and its completion?
///
/// Keys are looked at in their order, and the first illegal one ends the check.
///
/// The steps that are needed grow with the number of operations that are open at the same time, and an operation
/// without a known outcome stays open to the end: with a few of them for each hundred, histories of a thousand
/// operations a key are settled in some ten thousand steps; with more, or with many clients at one key, expect
/// [`Verdict::Unknown`] now and then.
///
/// # Examples
/// ```
/// use raft_testkit::linearizability::{History, Kv, KvInput, KvOutput, Limits, check};
///
/// let mut history = History::new();
/// let lost = history.invoke(1, 10, KvInput::incr("x", 5));
/// let get = history.invoke(2, 50, KvInput::get("x"));
/// history.complete(get, 60, KvOutput::value("5"))?;
/// // Nobody was told of the increment; that it took effect explains the read.
/// assert!(check(&Kv::new(), &history, Limits::steps(100)).is_ok());
/// history.fail(lost)?;
/// assert!(check(&Kv::new(), &history, Limits::steps(100)).is_illegal());
/// # Ok::<(), raft_testkit::linearizability::HistoryError>(())
/// ```
pub fn check<M: Model>(model: &M, history: &History<M::Input, M::Output>, limits: Limits) -> Verdict<M::Key> {
    let deadline = limits.time.and_then(|time| Instant::now().checked_add(time));
    let mut bounded = None;
    for (key, operations) in by_key(model, history) {
        let part = Part::new(model, &key, operations);
        match part.search(limits.steps, deadline) {
            Found::Order | Found::Stopped => {}
            Found::Nothing { furthest } => {
                return Verdict::Illegal(Box::new(Counterexample::explain(key, history, &part, furthest)));
            }
            Found::Bound { steps } => bounded = bounded.or(Some((key, steps))),
        }
    }
    match bounded {
        None => Verdict::Ok,
        Some((key, steps)) => Verdict::Unknown { key, steps },
    }
}

type Operations<'a, M> = Vec<(OpId, &'a Operation<<M as Model>::Input, <M as Model>::Output>)>;

fn by_key<'a, M: Model>(
    model: &M,
    history: &'a History<M::Input, M::Output>,
) -> BTreeMap<M::Key, Operations<'a, M>> {
    let mut keys: BTreeMap<M::Key, Operations<'a, M>> = BTreeMap::new();
    for (place, operation) in history.operations().iter().enumerate() {
        if !matches!(operation.outcome, Outcome::Failed) {
            keys.entry(model.key(&operation.input)).or_default().push((OpId(place), operation));
        }
    }
    keys
}
