//! What was measured, as the tables of docs/mutants.md.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use super::table::By;
use super::{Caught, Row, first, median, word};
use crate::util::{Context, Failure};

/// Puts it between the marks of a file that has them, by that name; else it is the file.
pub(super) fn write(file: &Path, name: &str, text: &str) -> Result<(), Failure> {
    let before = std::fs::read_to_string(file).unwrap_or_default();
    let [begin, end] = marks(name);
    let after = replaced(&before, name, text).unwrap_or_else(|| format!("{begin}{text}{end}"));
    std::fs::write(file, after).context(|| format!("cannot write {}", file.display()))
}

fn replaced(before: &str, name: &str, text: &str) -> Option<String> {
    let [begin, end] = marks(name);
    let (head, rest) = before.split_once(&begin)?;
    let (_, tail) = rest.split_once(&end)?;
    Some(format!("{head}{begin}{text}{end}{tail}"))
}

fn marks(name: &str) -> [String; 2] {
    let begin = format!("<!-- {name}: begin. Written by `cargo xtask mutants --markdown`. -->\n");
    [begin, format!("<!-- {name}: end -->\n")]
}

/// Figures, then a table of what the simulator has caught, then one of the rest.
pub(super) fn render(rows: &[Row], seeds: u64, commit: &str, checkers: &[String]) -> String {
    let all: Vec<(&Row, Option<&Caught>)> =
        rows.iter().map(|row| (row, row.found.as_ref().ok().and_then(Option::as_ref))).collect();
    let caught: Vec<&Caught> = all.iter().filter_map(|(_, caught)| *caught).collect();
    let (sim, rest): (Vec<_>, Vec<_>) =
        all.iter().partition(|(_, caught)| caught.is_some_and(|caught| caught.by == By::Sim));
    let times = sim.iter().filter_map(|(_, caught)| caught.map(|caught| caught.cpu)).collect();
    let mut out = String::new();
    // A string takes whatever is written to it.
    let _ = writeln!(
        out,
        "Measured at commit `{commit}`: {} planted, {} caught. The simulator has caught {} of them within \
         {seeds} seeds, the median in {} s of processor time, the slowest in {} s.\n",
        rows.len(),
        caught.len(),
        sim.len(),
        seconds(median(times)),
        seconds(
            sim.iter().filter_map(|(_, caught)| caught.map(|caught| caught.cpu)).max().unwrap_or_default()
        ),
    );
    let _ = writeln!(
        out,
        "| bug | checker that saw it first | seeds | processor seconds |\n| --- | --- | ---: | ---: |"
    );
    for (row, caught) in &sim {
        if let Some(Caught { checker, seeds, cpu, .. }) = caught {
            let _ = writeln!(out, "| {} | {checker} | {seeds} | {} |", row.mutant.name, seconds(*cpu));
        }
    }
    if !rest.is_empty() {
        let _ = writeln!(
            out,
            "\n| bug | caught by | processor seconds | why not by the simulator |\n| --- | --- | ---: | --- |"
        );
    }
    for (row, caught) in &rest {
        let note = row.mutant.note.as_deref().unwrap_or_default();
        let (by, took) = match (&row.found, caught) {
            (Err(failure), _) => (format!("**error**: {failure}"), String::new()),
            (_, Some(caught)) => (format!("{}: {}", word(caught.by), caught.checker), seconds(caught.cpu)),
            (_, None) => (String::from("**nothing**"), String::new()),
        };
        let _ = writeln!(out, "| {} | {by} | {took} | {note} |", row.mutant.name);
    }
    let first = first(&caught);
    let named: Vec<String> = checkers
        .iter()
        .map(|name| format!("{name} {}", first.get(&name[..]).copied().unwrap_or_default()))
        .collect();
    if !named.is_empty() {
        let _ = writeln!(out, "\nHow many of them each checker was the first to see: {}.", named.join(", "));
    }
    out
}

fn seconds(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::super::table::Mutant;
    use super::*;

    fn row(name: &str, found: Result<Option<Caught>, Failure>) -> Row {
        let text = |text: &str| String::from(text);
        let mutant = Mutant {
            name: text(name),
            breaks: text("b"),
            rule: text("r"),
            by: vec![By::Sim],
            checker: None,
            test: None,
            alone: false,
            note: Some(text("too fine")),
        };
        Row { mutant, found, tests: None }
    }

    fn caught(by: By, checker: &str, seeds: u64) -> Result<Option<Caught>, Failure> {
        let cpu = Duration::from_millis(1500);
        Ok(Some(Caught { by, checker: String::from(checker), seed: Some(seeds - 1), seeds, cpu }))
    }

    #[test]
    fn the_text_has_every_bug_and_every_checker() {
        let rows = [
            row("one", caught(By::Sim, "liveness", 7)),
            row("two", caught(By::Test, "a_test", 1)),
            row("three", Ok(None)),
        ];
        let checkers = [String::from("liveness"), String::from("alarm")];
        let text = render(&rows, 500, "abc", &checkers);
        for line in [
            "3 planted, 2 caught. The simulator has caught 1 of them within 500 seeds",
            "| one | liveness | 7 | 1.5 |",
            "| two | test: a_test | 1.5 | too fine |",
            "| three | **nothing** |  | too fine |",
            "first to see: liveness 1, alarm 0.",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }

    #[test]
    fn only_what_is_between_the_marks_is_replaced() {
        let ([begin, end], other) = (marks("m"), marks("n").concat());
        let file = format!("a\n{other}{begin}old\n{end}z\n");
        assert_eq!(replaced(&file, "m", "new\n"), Some(format!("a\n{other}{begin}new\n{end}z\n")));
        assert_eq!(replaced("a\n", "m", "new\n"), None);
    }
}
