//! Runs one clause as a test.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::report::{Outcome, Subject, report_clause};
use super::{Clause, ClauseFailure, fail};

/// A clause in which no step comes to its end for so long hangs. Nothing is measured against it: a clause of many
/// steps may take as long as it likes.
const DEADLINE: Duration = Duration::from_secs(120);

tokio::task_local! {
    /// How many steps the clause that this task runs has made.
    static STEPS: AtomicU64;
}

/// A step of a clause has come to its end: a wait, a call, a comparison.
pub(crate) fn step() {
    // Outside of a clause nobody counts.
    let _ = STEPS.try_with(|steps| steps.fetch_add(1, Ordering::Relaxed));
}

/// Runs a clause; a hung one fails.
pub(crate) async fn within_deadline(
    clause: &Clause,
    run: impl Future<Output = Result<(), ClauseFailure>>,
) -> Result<(), ClauseFailure> {
    let watched = async {
        let mut run = std::pin::pin!(run);
        loop {
            let before = STEPS.with(|steps| steps.load(Ordering::Relaxed));
            match tokio::time::timeout(DEADLINE, &mut run).await {
                Ok(result) => return result,
                Err(_) if STEPS.with(|steps| steps.load(Ordering::Relaxed)) > before => {}
                Err(_) => return Err(fail("it goes on", format!("nothing happens for {DEADLINE:?}"))),
            }
        }
    };
    let result = STEPS.scope(AtomicU64::new(0), watched).await;
    result.map_err(|failure| ClauseFailure { clause: clause.name, sentence: clause.sentence, ..failure })
}

/// The body of a generated test.
///
/// # Panics
/// If the clause does not hold: that is how a test fails. If the report cannot be written.
#[doc(hidden)]
pub fn run_test<F>(subject: Subject, name: &str, skips: &[(&str, &str)], run: impl FnOnce() -> F)
where
    F: Future<Output = Result<(), ClauseFailure>>,
{
    if let Some((_, reason)) = skips.iter().find(|(skipped, _)| *skipped == name) {
        eprintln!("{name}: skipped: {reason}");
        report_clause(subject, name, &Outcome::Skipped(reason));
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(async { run().await }),
        Err(error) => Err(fail("a runtime", error)),
    };
    report_clause(subject, name, &Outcome::Ended(&result));
    if let Err(failure) = result {
        panic!("{failure}{}", how_to_skip(name, &failure));
    }
}

/// For a clause that lacks a function of the test backend: the line to paste, unless the function can be offered.
fn how_to_skip(name: &str, failure: &ClauseFailure) -> String {
    if !failure.seen.contains(super::failure::NOT_OFFERED) {
        return String::new();
    }
    format!(
        "\n     to skip: {name} => \"why this cannot be provoked here\",\n              \
         (what to skip for which function: raft_testkit::guide::skips)"
    )
}

/// The body of the generated test about the suite itself.
///
/// # Panics
/// If no clause is run, or one is skipped without a reason.
#[doc(hidden)]
pub fn check_suite(clauses: &[Clause], skips: &[(&str, &str)]) {
    for (name, reason) in skips {
        assert!(!reason.trim().is_empty(), "{name} is skipped without a reason");
    }
    let run = clauses.iter().filter(|clause| skips.iter().all(|(name, _)| *name != clause.name));
    assert!(run.count() > 0, "a suite without clauses proves nothing");
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUBJECT: Subject = Subject { suite: "none", backend: "none", partly: &[] };

    async fn broken() -> Result<(), ClauseFailure> {
        Err(fail("more", "less"))
    }

    /// Longer than the deadline as a whole, no step of it longer; and one that hangs after a step.
    #[tokio::test(start_paused = true)]
    async fn the_deadline_is_for_a_step() {
        let clause = Clause { name: "j01_a", sentence: "J1" };
        let slow = async {
            for _ in 0..10 {
                tokio::time::sleep(DEADLINE / 2).await;
                step();
            }
            Ok(())
        };
        assert_eq!(within_deadline(&clause, slow).await, Ok(()));
        let hung = async {
            step();
            std::future::pending().await
        };
        let failure = within_deadline(&clause, hung).await.unwrap_err();
        assert!(failure.seen.contains("nothing happens"), "{failure}");
    }

    #[test]
    fn only_what_is_skipped_is_not_run() {
        run_test(SUBJECT, "j01_a", &[("j01_a", "as it is broken")], broken);
        let other = std::panic::catch_unwind(|| run_test(SUBJECT, "j01_b", &[("j01_a", "why")], broken));
        assert!(other.is_err());
    }

    /// Which clauses need what was found out one failure at a time, and each name was typed from it.
    #[test]
    fn a_clause_that_lacks_a_fault_says_how_to_skip_it() {
        let said = |failure: ClauseFailure| {
            let run =
                std::panic::AssertUnwindSafe(|| run_test(SUBJECT, "j01_a", &[], || async { Err(failure) }));
            std::panic::catch_unwind(run).unwrap_err().downcast_ref::<String>().unwrap().clone()
        };
        let lacks = said(super::super::Unsupported("JournalBackend::crash").into());
        assert!(lacks.contains("\n     to skip: j01_a => \""), "{lacks}");
        assert!(!said(fail("more", "less")).contains("to skip"));
    }

    #[test]
    fn a_skip_needs_a_reason_and_something_must_be_left() {
        let clauses = &[Clause { name: "j01_a", sentence: "J1" }, Clause { name: "j01_b", sentence: "J1" }];
        check_suite(clauses, &[("j01_a", "why")]);
        let panics = |skips| std::panic::catch_unwind(|| check_suite(clauses, skips)).is_err();
        assert!(panics(&[("j01_a", " ")]));
        assert!(panics(&[("j01_a", "why"), ("j01_b", "why")]));
    }
}
