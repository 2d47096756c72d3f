//! What a clause found, and the few words in which clauses say it.

use core::fmt::{self, Debug, Display};

use super::step;

/// A backend broke a clause.
///
/// # Examples
/// ```
/// use raft_testkit::conformance::ClauseFailure;
///
/// let failure = ClauseFailure {
///     clause: "j04_gap_is_refused",
///     sentence: "J4: a gap is refused.",
///     expected: "an error".into(),
///     seen: "Ok(())".into(),
/// };
/// let text = "j04_gap_is_refused: J4: a gap is refused.\n  expected: an error\n      seen: Ok(())";
/// assert_eq!(failure.to_string(), text);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClauseFailure {
    /// The clause's test name; filled in by the suite.
    pub clause: &'static str,
    /// What the contract says; filled in by the suite.
    pub sentence: &'static str,
    /// What should have been.
    pub expected: String,
    /// What was.
    pub seen: String,
}

impl Display for ClauseFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { clause, sentence, expected, seen } = self;
        write!(f, "{clause}: {sentence}\n  expected: {expected}\n      seen: {seen}")
    }
}

impl std::error::Error for ClauseFailure {}

impl ClauseFailure {
    /// Whether the clause has said these words of what it expected or saw. That a broken backend fails says
    /// nothing yet: it may hang, or miss what the clause needs.
    ///
    /// # Examples
    /// ```
    /// use raft_testkit::conformance::{ClauseFailure, Unsupported};
    ///
    /// // The broken backend fails, and not by what it should: it has no such fault to offer.
    /// let failure = ClauseFailure::from(Unsupported("JournalBackend::crash"));
    /// assert!(failure.says("answers Unsupported to JournalBackend::crash"));
    /// assert!(!failure.says("seen: Ok(())"));
    /// ```
    #[must_use]
    pub fn says(&self, words: &str) -> bool {
        !words.is_empty() && format!("expected: {}; seen: {}", self.expected, self.seen).contains(words)
    }
}

/// The backend under test has no such fault to offer: skip the clause, with a reason. Named is the function that would.
///
/// # Examples
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/conformance/journal/example.rs"));
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use raft_testkit::conformance::journal::run;
/// // A clause that needs what the backend cannot offer fails until it is skipped, and says so.
/// let failure = run(&Mine, "j01_acknowledged_survives_a_kill").await.unwrap_err();
/// assert!(failure.seen.contains("Unsupported to JournalBackend::path"), "{failure}");
/// assert!(failure.seen.contains("skip the clause with a reason"), "{failure}");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsupported(pub &'static str);

/// How a failure for want of a function begins.
pub(super) const NOT_OFFERED: &str = "its test backend answers Unsupported to";

impl From<Unsupported> for ClauseFailure {
    fn from(Unsupported(what): Unsupported) -> Self {
        let seen = format!("{NOT_OFFERED} {what}: offer the fault, or skip the clause with a reason");
        fail("a backend that can provoke this", seen)
    }
}

pub(crate) fn fail(expected: impl Display, seen: impl Display) -> ClauseFailure {
    /// Payloads may have megabytes.
    fn short(text: String) -> String {
        if text.len() <= 2000 {
            return text;
        }
        let head: String = text.chars().take(2000).collect();
        format!("{head}… ({} bytes)", text.len())
    }
    let (expected, seen) = (short(expected.to_string()), short(seen.to_string()));
    ClauseFailure { clause: "", sentence: "", expected, seen }
}

/// `what` must have gone well.
pub(crate) fn ok<T, E: Debug>(what: impl Display, result: Result<T, E>) -> Result<T, ClauseFailure> {
    step();
    result.map_err(|error| fail(format!("{what} succeeds"), format!("{error:?}")))
}

/// `what` must be `expected`.
pub(crate) fn equal<T: PartialEq + Debug>(
    what: impl Display,
    seen: &T,
    expected: &T,
) -> Result<(), ClauseFailure> {
    step();
    if seen == expected {
        return Ok(());
    }
    Err(fail(format!("{what}: {expected:?}"), format!("{seen:?}")))
}

/// `expected` must hold of `seen`.
pub(crate) fn ensure(holds: bool, expected: impl Display, seen: impl Debug) -> Result<(), ClauseFailure> {
    step();
    if holds { Ok(()) } else { Err(fail(expected, format!("{seen:?}"))) }
}
