//! What tests about the suites leave behind for `cargo xtask conformance`: one line of JSON each.

use std::fmt::Debug;
use std::io::Write;

use super::ClauseFailure;

/// Names the file that lines are appended to.
pub const REPORT_FILE: &str = "RAFT_CONFORMANCE_JSON";

/// Says of a broken backend whether its clause has caught it, if anybody asks for it.
///
/// # Panics
/// If the file cannot be written: a report with holes is none.
pub fn report_mutant(suite: &str, mutant: &dyn Debug, clause: &str, result: &Result<(), ClauseFailure>) {
    let Some(path) = std::env::var_os(REPORT_FILE) else { return };
    let line = mutant_line(suite, mutant, clause, result);
    let file = std::fs::OpenOptions::new().create(true).append(true).open(&path);
    // In one call: other tests append to it as well.
    let written = file.and_then(|mut file| file.write_all(line.as_bytes()));
    assert!(written.is_ok(), "cannot write to {}: {written:?}", path.display());
}

fn mutant_line(suite: &str, mutant: &dyn Debug, clause: &str, result: &Result<(), ClauseFailure>) -> String {
    let caught = result.as_ref().is_err_and(|failure| failure.clause == clause);
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
        let line = mutant_line("transport", &"Lie", "t01_a", &Err(failure.clone()));
        let expected = r#"{"kind":"mutant","suite":"transport","mutant":"\"Lie\"","clause":"t01_a","caught":true,"seen":"a \"b\"\u000a\\ \u0001"}"#;
        assert_eq!(line, format!("{expected}\n"));
        assert!(mutant_line("transport", &1, "t02_b", &Err(failure)).contains("\"caught\":false"));
        assert!(mutant_line("transport", &1, "t02_b", &Ok(())).contains("\"caught\":false"));
    }
}
