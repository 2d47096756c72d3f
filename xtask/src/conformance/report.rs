//! What the suites' lines come to.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::util::{Context, Failure, table};

/// What became of a clause on a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cell {
    Ok,
    /// It holds as far as the backend can show it.
    Partly(String),
    Failed(String),
    Skipped(String),
}

/// One suite: its backends, and each clause on each of them.
#[derive(Debug, Default)]
pub(super) struct Suite {
    pub(super) backends: BTreeSet<String>,
    pub(super) clauses: BTreeMap<String, BTreeMap<String, Cell>>,
}

/// A broken backend.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mutant {
    pub(super) suite: String,
    pub(super) name: String,
    pub(super) clause: String,
    pub(super) seen: String,
    pub(super) caught: bool,
}

#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) suites: BTreeMap<String, Suite>,
    pub(super) mutants: BTreeSet<Mutant>,
}

/// Backends without which a table would be worth nothing: the suite, and how their names begin.
const NEEDED: [(&str, &str); 11] = [
    ("journal", "custom-journal"),
    ("journal", "raft-log-file"),
    ("journal", "raft-log-sqlite"),
    ("journal", "raft-testkit"),
    ("snapshot", "raft-log-file"),
    ("snapshot", "raft-log-sqlite"),
    ("snapshot", "raft-testkit"),
    ("transport", "raft-net-grpc"),
    ("transport", "raft-net-tcp"),
    ("transport", "raft-testkit"),
    ("state machine", "raft-testkit"),
];

/// How many broken backends each suite must at least have been shown: those that the verification plan lists,
/// and more.
const LIES: [(&str, usize); 6] = [
    ("journal", 25),
    ("transport", 15),
    ("journal (more)", 47),
    ("transport (more)", 20),
    ("snapshot", 14),
    ("state machine", 12),
];

/// Whether a backend is tested by that package.
fn is_of(backend: &str, package: &str) -> bool {
    backend.split([' ', ':']).next() == Some(package)
}

impl Report {
    /// # Errors
    /// A line that is none of a suite's.
    pub(super) fn read(text: &str) -> Result<Self, Failure> {
        let mut report = Self::default();
        for line in text.lines() {
            let value: Value = serde_json::from_str(line).context(|| format!("a line of a suite: {line}"))?;
            let word = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
            match value["kind"].as_str() {
                Some("clause") => {
                    let cell = match value["result"].as_str() {
                        Some("ok") => Cell::Ok,
                        Some("partly") => Cell::Partly(word("reason")),
                        Some("skipped") => Cell::Skipped(word("reason")),
                        _ => Cell::Failed(word("reason")),
                    };
                    let suite = report.suites.entry(word("suite")).or_default();
                    suite.backends.insert(word("backend"));
                    suite.clauses.entry(word("clause")).or_default().insert(word("backend"), cell);
                }
                Some("mutant") => {
                    report.mutants.insert(Mutant {
                        suite: word("suite"),
                        name: word("mutant"),
                        clause: word("clause"),
                        seen: word("seen"),
                        caught: value["caught"] == json!(true),
                    });
                }
                _ => return Err(Failure::new(format!("a line of a suite: {line}"))),
            }
        }
        Ok(report)
    }

    fn cells(&self) -> impl Iterator<Item = (&str, &str, &str, &Cell)> {
        self.suites.iter().flat_map(|(suite, of)| {
            of.clauses.iter().flat_map(move |(clause, cells)| {
                cells.iter().map(move |(backend, cell)| (&**suite, &**clause, &**backend, cell))
            })
        })
    }

    /// Backends that were not seen, or not with all clauses, and lies that were not told.
    pub(super) fn holes(&self) -> Vec<String> {
        let mut holes = Vec::new();
        for (suite, package) in NEEDED {
            let there = self
                .suites
                .get(suite)
                .is_some_and(|of| of.backends.iter().any(|backend| is_of(backend, package)));
            if !there {
                holes.push(format!("{suite}: nothing of {package}"));
            }
        }
        for (name, suite) in &self.suites {
            for (clause, cells) in &suite.clauses {
                for backend in suite.backends.iter().filter(|backend| !cells.contains_key(*backend)) {
                    holes.push(format!("{name}: {clause} was not run on {backend}"));
                }
            }
        }
        for (suite, least) in LIES {
            let told = self.mutants.iter().filter(|mutant| mutant.suite == suite).count();
            if told < least {
                holes.push(format!("{suite}: {told} broken backends, there should be {least}"));
            }
        }
        holes
    }

    fn count(&self, of: fn(&Cell) -> bool) -> usize {
        self.cells().filter(|(_, _, _, cell)| of(cell)).count()
    }

    fn unexplained(&self) -> usize {
        self.count(
            |cell| matches!(cell, Cell::Skipped(reason) | Cell::Partly(reason) if reason.trim().is_empty()),
        )
    }

    pub(super) fn holds(&self) -> bool {
        self.holes().is_empty()
            && self.unexplained() == 0
            && self.count(|cell| matches!(cell, Cell::Failed(_))) == 0
            && self.mutants.iter().all(|mutant| mutant.caught)
    }

    /// `25 of 25`, for each suite.
    pub(super) fn caught(&self) -> Vec<(String, usize, usize)> {
        let mut by: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
        for mutant in &self.mutants {
            let (caught, all) = by.entry(&mutant.suite).or_default();
            *caught += usize::from(mutant.caught);
            *all += 1;
        }
        by.into_iter().map(|(suite, (caught, all))| (suite.to_owned(), caught, all)).collect()
    }

    /// The tables for a terminal.
    pub(super) fn text(&self) -> String {
        let mut out = String::new();
        for (name, suite) in &self.suites {
            let mut headings = vec![name.as_str()];
            headings.extend(suite.backends.iter().map(String::as_str));
            let row = |(clause, cells): (&String, &BTreeMap<String, Cell>)| {
                let word = |backend: &String| match cells.get(backend) {
                    Some(Cell::Ok) => "ok",
                    Some(Cell::Partly(_)) => "partly",
                    Some(Cell::Failed(_)) => "FAILED",
                    Some(Cell::Skipped(_)) => "skipped",
                    None => "-",
                };
                std::iter::once(clause.clone())
                    .chain(suite.backends.iter().map(|backend| word(backend).to_owned()))
                    .collect()
            };
            let rows: Vec<Vec<String>> = suite.clauses.iter().map(row).collect();
            let _ = writeln!(out, "{}", table::render(&headings, &rows));
        }
        for (_, clause, backend, cell) in self.cells() {
            let _ = match cell {
                Cell::Ok => Ok(()),
                Cell::Partly(why) => writeln!(out, "partly {backend} {clause}: {why}"),
                Cell::Failed(why) => writeln!(out, "FAILED {backend} {clause}: {why}"),
                Cell::Skipped(why) => writeln!(out, "skipped {backend} {clause}: {why}"),
            };
        }
        let row = |mutant: &Mutant| {
            let result = if mutant.caught { "caught" } else { "NOT CAUGHT" };
            vec![mutant.suite.clone(), mutant.name.clone(), result.to_owned(), mutant.clause.clone()]
        };
        let rows: Vec<Vec<String>> = self.mutants.iter().map(row).collect();
        let _ = writeln!(out, "\n{}", table::render(&["suite", "broken backend", "", "by"], &rows));
        for (suite, caught, all) in self.caught() {
            let _ = writeln!(out, "{suite}: {caught} of {all} broken backends caught by their clause");
        }
        for hole in self.holes() {
            let _ = writeln!(out, "MISSING {hole}");
        }
        out
    }

    pub(super) fn json(&self) -> Value {
        let clauses: Vec<Value> = self
            .cells()
            .map(|(suite, clause, backend, cell)| {
                let (result, reason) = match cell {
                    Cell::Ok => ("ok", ""),
                    Cell::Partly(why) => ("partly", why.as_str()),
                    Cell::Failed(why) => ("failed", why.as_str()),
                    Cell::Skipped(why) => ("skipped", why.as_str()),
                };
                json!({ "suite": suite, "clause": clause, "backend": backend, "result": result, "reason": reason })
            })
            .collect();
        let mutant = |mutant: &Mutant| {
            json!({ "suite": mutant.suite, "mutant": mutant.name, "clause": mutant.clause,
                    "caught": mutant.caught, "seen": mutant.seen })
        };
        let mutants: Vec<Value> = self.mutants.iter().map(mutant).collect();
        json!({ "clauses": clauses, "mutants": mutants, "holes": self.holes() })
    }

    pub(super) fn last_line(&self) -> String {
        let backends: usize = self.suites.values().map(|suite| suite.backends.len()).sum();
        let clauses: usize = self.suites.values().map(|suite| suite.clauses.len()).sum();
        let caught = self.mutants.iter().filter(|mutant| mutant.caught).count();
        let listed = self.mutants.iter().filter(|mutant| ["journal", "transport"].contains(&&*mutant.suite));
        let listed_caught = listed.clone().filter(|mutant| mutant.caught).count();
        format!(
            "conformance: backends={backends} clauses={clauses} passed={} partly={} skipped={} failed={} missing={} \
             mutants={} caught={caught} listed={} listed_caught={listed_caught}",
            self.count(|cell| *cell == Cell::Ok),
            self.count(|cell| matches!(cell, Cell::Partly(_))),
            self.count(|cell| matches!(cell, Cell::Skipped(_))),
            self.count(|cell| matches!(cell, Cell::Failed(_))),
            self.holes().len(),
            self.mutants.len(),
            listed.count(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = r#"{"kind":"clause","suite":"journal","backend":"raft-log-file","clause":"j01","result":"ok","reason":""}
{"kind":"clause","suite":"journal","backend":"raft-log-sqlite","clause":"j01","result":"partly","reason":"less"}
{"kind":"clause","suite":"journal","backend":"raft-testkit","clause":"j01","result":"skipped","reason":"why"}
{"kind":"clause","suite":"journal","backend":"raft-testkit","clause":"j02","result":"failed","reason":"seen"}
{"kind":"mutant","suite":"journal","mutant":"Liar","clause":"j01","caught":false,"seen":"<nothing>"}
"#;

    #[test]
    fn what_is_missing_failed_or_not_caught_shows() {
        let report = Report::read(LINES).unwrap();
        assert!(!report.holds());
        let text = report.text();
        for part in [
            "partly raft-log-sqlite j01: less",
            "skipped raft-testkit j01: why",
            "FAILED raft-testkit j02: seen",
            "NOT CAUGHT",
        ] {
            assert!(text.contains(part), "{text}");
        }
        assert!(text.contains("MISSING journal: j02 was not run on raft-log-file"), "{text}");
        assert!(text.contains("MISSING transport: nothing of raft-net-tcp"), "{text}");
        assert!(text.contains("MISSING snapshot: nothing of raft-log-sqlite"), "{text}");
        assert!(
            report.last_line().contains("passed=1 partly=1 skipped=1 failed=1"),
            "{}",
            report.last_line()
        );
        assert!(super::super::html::page(&report).contains("&lt;nothing&gt;"));
        assert!(Report::read("{}").is_err());
    }
}
