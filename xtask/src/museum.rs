//! `cargo xtask test museum`: the bugs that others had, and the tests here that are named after them.
//!
//! Which bugs there are stands in `docs/museum.md`. Which tests there are is found in the sources, by their names:
//! functions `pNN_...` under an attribute that makes them tests, and scenario files `pNN_....txt`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use crate::Outcome;
use crate::util::rust_text::{self, Blank};
use crate::util::{Context, Failure, proc, table};

/// Flags of `cargo xtask test museum`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only says which tests there are.
    #[arg(long)]
    list: bool,
}

const DOCUMENT: &str = "docs/museum.md";
const SCENARIOS: &str = "raft-testkit/tests/scenarios";
/// The test that holds all scenarios, and its package.
const SCENARIO_TEST: (&str, &str) = ("raft-testkit", "every_scenario_holds");

/// A test that is named after a bug.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Exhibit {
    number: u32,
    name: String,
    file: String,
    package: String,
    /// The test function that has to pass.
    test: String,
}

/// Says which tests there are; whether none is missing.
pub(crate) fn list() -> Outcome {
    run(&Args { list: true })
}

pub(crate) fn run(args: &Args) -> Outcome {
    let root = proc::root();
    let text = std::fs::read_to_string(root.join(DOCUMENT)).context(|| DOCUMENT.to_owned())?;
    let bugs = rows(&text)?;
    let exhibits = exhibits(&root)?;
    let passed = if args.list { None } else { Some(passed(&exhibits)?) };
    let mut rows = Vec::new();
    let (mut missing, mut failed) = (Vec::new(), 0);
    for (number, what) in &bugs {
        let mine: Vec<_> = exhibits.iter().filter(|exhibit| exhibit.number == *number).collect();
        if mine.is_empty() {
            missing.push(format!("P{number:02}"));
            rows.push(vec![format!("P{number:02}"), "MISSING".into(), what.clone(), String::new()]);
        }
        for exhibit in mine {
            let state = match &passed {
                None => "",
                Some(passed) if passed.contains(&exhibit.test) => "ok",
                Some(_) => {
                    failed += 1;
                    "FAILED"
                }
            };
            let place = format!("{} in {}", exhibit.name, exhibit.file);
            rows.push(vec![format!("P{number:02}"), state.into(), what.clone(), place]);
        }
    }
    let strangers: Vec<_> = exhibits.iter().filter(|exhibit| !bugs.contains_key(&exhibit.number)).collect();
    println!("{}", table::render(&["bug", "", "what must hold", "test"], &rows));
    for stranger in &strangers {
        println!("{} in {} is named after no bug of {DOCUMENT}", stranger.name, stranger.file);
    }
    if !missing.is_empty() {
        println!("without a test: {}", missing.join(" "));
    }
    println!(
        "museum: bugs={} tests={} missing={} failed={failed}",
        bugs.len(),
        exhibits.len(),
        missing.len()
    );
    Ok(missing.is_empty() && strangers.is_empty() && failed == 0)
}

/// The rows of the document: number, and what must hold.
fn rows(text: &str) -> Result<BTreeMap<u32, String>, Failure> {
    let mut bugs = BTreeMap::new();
    for line in text.lines() {
        let Some(row) = line.strip_prefix("| P") else { continue };
        let mut cells = row.split('|').map(str::trim);
        let number = cells.next().and_then(|cell| cell.parse::<u32>().ok());
        let (Some(number), Some(what)) = (number, cells.next()) else {
            return Err(Failure::new(format!("{DOCUMENT}: not a row: {line}")));
        };
        if bugs.insert(number, what.to_owned()).is_some() || bugs.len() != number as usize {
            return Err(Failure::new(format!("{DOCUMENT}: P{number:02} is out of order")));
        }
    }
    if bugs.is_empty() { Err(Failure::new(format!("{DOCUMENT} names no bugs"))) } else { Ok(bugs) }
}

fn exhibits(root: &Path) -> Result<Vec<Exhibit>, Failure> {
    let mut found = Vec::new();
    let mut git = Command::new("git");
    git.current_dir(root).args(["ls-files", "-co", "--exclude-standard", "*.rs", SCENARIOS]);
    let listed = proc::stdout(&mut git)?;
    for file in listed.lines() {
        if let Some(scenario) = file.strip_prefix(SCENARIOS) {
            let name = scenario.trim_start_matches('/').trim_end_matches(".txt");
            if let Some(number) = number(name) {
                let (package, test) = SCENARIO_TEST;
                let (package, test) = (package.to_owned(), test.to_owned());
                found.push(Exhibit { number, name: name.to_owned(), file: SCENARIOS.into(), package, test });
            }
            continue;
        }
        // A file may be gone and not yet committed as such.
        let Ok(text) = std::fs::read_to_string(root.join(file)) else { continue };
        for name in tests(&text) {
            if let Some(number) = number(&name) {
                let (package, file) = (package(root, file)?, file.to_owned());
                found.push(Exhibit { number, test: name.clone(), name, file, package });
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The bug that a name begins with.
fn number(name: &str) -> Option<u32> {
    let rest = name.strip_prefix('p')?;
    let (digits, rest) = rest.split_at_checked(2)?;
    if rest.starts_with('_') { digits.parse().ok() } else { None }
}

/// The functions that are tests.
fn tests(text: &str) -> Vec<String> {
    let code = rust_text::blank(text, Blank::CommentsAndStrings);
    let mut found = Vec::new();
    let mut is_test = false;
    for line in code.lines().map(str::trim) {
        let function = line.strip_prefix("async ").unwrap_or(line);
        let function = function.strip_prefix("pub ").unwrap_or(function);
        if line.starts_with("#[") {
            let inside = line.trim_start_matches("#[");
            let path = inside.split(['(', ']']).next().unwrap_or_default();
            is_test |= path == "test" || path.ends_with("::test");
        } else if let Some(rest) = function.strip_prefix("fn ") {
            let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if is_test {
                found.push(name);
            }
            is_test = false;
        }
    }
    found
}

/// The package that a file is of.
fn package(root: &Path, file: &str) -> Result<String, Failure> {
    for folder in Path::new(file).ancestors().skip(1) {
        let manifest = root.join(folder).join("Cargo.toml");
        let Ok(text) = std::fs::read_to_string(&manifest) else { continue };
        let name = text.lines().find_map(|line| line.strip_prefix("name = "));
        if let Some(name) = name {
            return Ok(name.trim_matches('"').to_owned());
        }
    }
    Err(Failure::new(format!("{file} is of no package")))
}

/// Runs them; the names of those that passed.
fn passed(exhibits: &[Exhibit]) -> Result<BTreeSet<String>, Failure> {
    let packages: BTreeSet<&str> = exhibits.iter().map(|exhibit| exhibit.package.as_str()).collect();
    let mut command = proc::cargo();
    let nextest = proc::works(proc::cargo().args(["nextest", "--version"]));
    if nextest {
        command.args(["nextest", "run", "--no-fail-fast", "--status-level", "pass", "--color", "never"]);
        command.args(["--final-status-level", "fail"]);
    } else {
        command.args(["test", "--no-fail-fast", "--color", "never", "--tests"]);
    }
    command.arg("--all-features");
    for package in packages {
        command.args(["--package", package]);
    }
    if nextest {
        command.arg("-E").arg(format!("test(/(^|::)p\\d\\d_/) | test(={})", SCENARIO_TEST.1));
    } else {
        command.args(["--", SCENARIO_TEST.1]).args((0..10).map(|tens| format!("p{tens}")));
    }
    outcome(&mut command)
}

fn outcome(command: &mut Command) -> Result<BTreeSet<String>, Failure> {
    // Whether all passed shows in the names.
    let (_, lines) = proc::run_keeping(command, |line| passed_test(line).is_some())?;
    Ok(lines.iter().filter_map(|line| passed_test(line)).map(str::to_owned).collect())
}

/// The test that a line says has passed, without its modules.
fn passed_test(line: &str) -> Option<&str> {
    let line = line.trim();
    let path = match line.strip_prefix("test ") {
        Some(rest) => rest.strip_suffix("... ok")?.trim(),
        None if line.starts_with("PASS [") => line.split_whitespace().next_back()?,
        None => return None,
    };
    path.rsplit("::").next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_found_by_name() {
        let text = "
            /// P07 in words, and `fn p08_in_a_comment`.
            #[test]
            fn p07_somebody_1_it_holds() { let text = \"#[test]\\nfn p09_in_a_string() {}\"; }
            #[tokio::test(start_paused = true)]
            #[ignore]
            async fn p10_other() {}
            fn p11_no_test() {}
            #[test]
            fn p1_too_short() {}
        ";
        let names = tests(text);
        assert_eq!(names, ["p07_somebody_1_it_holds", "p10_other", "p1_too_short"]);
        let numbers: Vec<_> = names.iter().map(|name| number(name)).collect();
        assert_eq!(numbers, [Some(7), Some(10), None]);
    }

    #[test]
    fn results_are_read_from_both_runners() {
        let nextest = "        PASS [   0.036s] (10/14) raft-testkit::sessions inner::p47_a_retry";
        assert_eq!(passed_test(nextest), Some("p47_a_retry"));
        assert_eq!(passed_test("test inner::p47_a_retry ... ok"), Some("p47_a_retry"));
        assert_eq!(passed_test("test inner::p47_a_retry ... FAILED"), None);
        assert_eq!(passed_test("        FAIL [   0.036s] (10/14) raft-testkit::sessions p47_a_retry"), None);
    }

    #[test]
    fn the_document_is_a_row_of_numbers() {
        let bugs =
            rows("# x\n| number | a |\n| --- | --- |\n| P01 | one | x |\n| P02 | two | y |\n").unwrap();
        assert_eq!(bugs.values().collect::<Vec<_>>(), ["one", "two"]);
        assert!(rows("| P02 | two | y |\n").is_err());
        assert!(rows("none").is_err());
    }
}
