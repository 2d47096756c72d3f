//! What tests about the suites leave behind for `cargo xtask conformance`: one line of JSON each.

use std::fmt::Debug;
use std::io::Write;

use super::ClauseFailure;

/// Names the file that lines are appended to.
pub const REPORT_FILE: &str = "RAFT_CONFORMANCE_JSON";

/// Whether its clause has caught a broken backend: it failed, and said `words`. Tells the report too, if anybody
/// asks for it.
///
/// # Panics
/// If the file cannot be written: a report with holes is none.
#[must_use]
pub fn report_mutant(
    suite: &str,
    mutant: &dyn Debug,
    clause: &str,
    words: &str,
    result: &Result<(), ClauseFailure>,
) -> bool {
    let caught = result.as_ref().is_err_and(|failure| failure.says(words));
    append(|| mutant_line(suite, mutant, clause, caught, result));
    caught
}

/// A backend under a suite, as the report names them.
#[derive(Clone, Copy, Debug)]
pub struct Subject {
    /// As in `journal`.
    pub suite: &'static str,
    /// The package and the module whose tests these are.
    pub backend: &'static str,
    /// Clauses that show less than they say here, and why.
    pub partly: &'static [(&'static str, &'static str)],
}

/// What became of a clause.
pub(super) enum Outcome<'a> {
    Skipped(&'a str),
    Ended(&'a Result<(), ClauseFailure>),
}

/// Says how a clause has ended, if anybody asks for it.
///
/// # Panics
/// If the file cannot be written.
pub(super) fn report_clause(subject: Subject, clause: &str, outcome: &Outcome<'_>) {
    append(|| clause_line(subject, clause, outcome));
}

fn append(line: impl FnOnce() -> String) {
    let Some(path) = std::env::var_os(REPORT_FILE) else { return };
    let file = std::fs::OpenOptions::new().create(true).append(true).open(&path);
    // In one call: other tests append to it as well.
    let written = file.and_then(|mut file| file.write_all(line().as_bytes()));
    assert!(written.is_ok(), "cannot write to {}: {written:?}", path.display());
}

fn clause_line(subject: Subject, clause: &str, outcome: &Outcome<'_>) -> String {
    let (result, reason) = match outcome {
        Outcome::Skipped(reason) => ("skipped", (*reason).to_owned()),
        Outcome::Ended(Ok(())) => match subject.partly.iter().find(|(name, _)| *name == clause) {
            Some((_, reason)) => ("partly", (*reason).to_owned()),
            None => ("ok", String::new()),
        },
        Outcome::Ended(Err(failure)) => {
            ("failed", format!("expected: {}; seen: {}", failure.expected, failure.seen))
        }
    };
    let reason: String = reason.chars().take(600).collect();
    let [suite, backend, clause, reason] = [subject.suite, subject.backend, clause, &reason].map(quoted);
    format!(
        "{{\"kind\":\"clause\",\"suite\":{suite},\"backend\":{backend},\"clause\":{clause},\
         \"result\":\"{result}\",\"reason\":{reason}}}\n"
    )
}

fn mutant_line(
    suite: &str,
    mutant: &dyn Debug,
    clause: &str,
    caught: bool,
    result: &Result<(), ClauseFailure>,
) -> String {
    let seen = result.as_ref().err().map_or("", |failure| failure.seen.as_str());
    let seen: String = seen.chars().take(300).collect();
    let text = [suite, &format!("{mutant:?}"), clause, &seen].map(quoted);
    let [suite, mutant, clause, seen] = &text;
    format!(
        "{{\"kind\":\"mutant\",\"suite\":{suite},\"mutant\":{mutant},\"clause\":{clause},\
         \"caught\":{caught},\"seen\":{seen}}}\n"
    )
}

/// A string as JSON has it.
fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            control if control < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(control))),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_json() {
        let failure = ClauseFailure {
            clause: "t01_a",
            sentence: "T1",
            expected: "more".into(),
            seen: "a \"b\"\n\\ \u{1}".into(),
        };
        let line = mutant_line("transport", &"Lie", "t01_a", true, &Err(failure.clone()));
        let expected = r#"{"kind":"mutant","suite":"transport","mutant":"\"Lie\"","clause":"t01_a","caught":true,"seen":"a \"b\"\u000a\\ \u0001"}"#;
        assert_eq!(line, format!("{expected}\n"));
        assert!(mutant_line("transport", &1, "t02_b", false, &Ok(())).contains("\"caught\":false"));
    }

    #[test]
    fn only_the_right_words_count() {
        let failure = super::super::fail("more", "less");
        assert!(failure.says("expected: more") && failure.says("less"));
        assert!(!failure.says("") && !failure.says("nothing happens"));
        assert!(!report_mutant("transport", &1, "t02_b", "hangs", &Err(failure)));
        assert!(!report_mutant("transport", &1, "t02_b", "less", &Ok(())));
    }

    #[test]
    fn a_clause_has_a_line_too() {
        let partly = &[("j01_b", "less")];
        let subject = Subject { suite: "journal", backend: "some-crate / tests", partly };
        let line = |outcome| clause_line(subject, "j01_a", &outcome);
        let start = r#"{"kind":"clause","suite":"journal","backend":"some-crate / tests","clause":"j01_a","#;
        let ended = |rest: &str| format!("{start}{rest}}}\n");
        assert_eq!(line(Outcome::Ended(&Ok(()))), ended(r#""result":"ok","reason":"""#));
        assert_eq!(line(Outcome::Skipped("\"")), ended(r#""result":"skipped","reason":"\"""#));
        assert!(
            clause_line(subject, "j01_b", &Outcome::Ended(&Ok(())))
                .contains(r#""result":"partly","reason":"less""#)
        );
        let failed = Err(super::super::fail("more", "less"));
        let rest = r#""result":"failed","reason":"expected: more; seen: less""#;
        assert_eq!(line(Outcome::Ended(&failed)), ended(rest));
    }
}
