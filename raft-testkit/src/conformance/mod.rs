//! The contracts of the backends, clause by clause, as tests that a backend crate runs with one macro.
//!
//! Each clause is a function that returns what it found, so that a suite can be tested itself: broken
//! backends in this crate's own tests must fail by the clause that they break.

pub mod journal;
pub mod snapshot;
pub mod state_machine;
pub mod transport;

mod failure;
mod random;
mod report;
mod run;
mod table;

pub use failure::{ClauseFailure, Unsupported};
pub use random::Random;
#[doc(hidden)]
pub use report::{REPORT_FILE, Subject, report_mutant};
#[doc(hidden)]
pub use run::{check_suite, run_test};

pub(crate) use failure::{ensure, equal, fail, ok};
pub(crate) use run::{step, within_deadline};

/// One row of a suite's table.
///
/// # Examples
/// ```
/// use raft_testkit::conformance::journal::CLAUSES;
///
/// // What the suite demands, as a list to read.
/// let gap = CLAUSES.iter().find(|clause| clause.name == "j04_gap_is_refused").unwrap();
/// assert!(gap.sentence.starts_with("J4: "), "{}: {}", gap.name, gap.sentence);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clause {
    /// The test's name; it starts with the clause's number, as in `j04_gap_is_refused`.
    pub name: &'static str,
    /// What the contract says.
    pub sentence: &'static str,
}

impl Clause {
    /// The number of the contract's clause, as in `J4`.
    ///
    /// # Examples
    /// ```
    /// use raft_testkit::conformance::Clause;
    ///
    /// let clause = Clause { name: "j04_gap_is_refused", sentence: "J4: a gap is refused." };
    /// assert_eq!(clause.number(), "J4");
    /// ```
    #[must_use]
    pub fn number(&self) -> String {
        let (letter, rest) = self.name.split_at(1);
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        format!("{}{}", letter.to_uppercase(), digits.trim_start_matches('0'))
    }
}
