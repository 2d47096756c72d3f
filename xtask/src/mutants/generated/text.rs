//! What was found, for people.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::list::{Change, Name};
use super::{Figures, Found, Seen, Verdict};
use crate::util::table;

impl Change {
    /// Where it is and what it does.
    pub(super) fn shown(&self) -> String {
        format!("{}:{}: {}: {}", self.name.file, self.at, self.name.change, self.name.line)
    }
}

/// Figures for each folder, and what was not caught, on a terminal.
pub(super) fn plain(found: &Found<'_>) -> String {
    let mut out = table::render(&HEADINGS, &figures(found));
    let seen: Vec<String> = first(found).into_iter().map(|(by, count)| format!("{by} {count}")).collect();
    let _ = writeln!(out, "\nfirst to see them: {}", seen.join(", "));
    for change in found.left() {
        let why = found.reasons.get(&change.name).map_or("NOT EXPLAINED", String::as_str);
        let _ = writeln!(out, "\n{}\n  {why}", change.shown());
    }
    out
}

const HEADINGS: [&str; 8] =
    ["where", "changes", "not viable", "apart", "viable", "caught", "left", "explained"];

/// The same as the text of docs/mutants.md.
pub(super) fn markdown(found: &Found<'_>) -> String {
    let mut out = format!("Measured at commit `{}`.\n\n", found.commit);
    let mut row = |cells: &[&str]| {
        let _ = writeln!(out, "| {} |", cells.join(" | "));
    };
    row(&HEADINGS);
    row(&["---", "---:", "---:", "---:", "---:", "---:", "---:", "---:"]);
    for cells in figures(found) {
        row(&cells.iter().map(String::as_str).collect::<Vec<_>>());
    }
    let seen: Vec<String> = first(found).into_iter().map(|(by, count)| format!("{by} {count}")).collect();
    let _ = writeln!(out, "\nFirst to see them: {}.", seen.join(", "));
    let (explained, rest): (Vec<_>, Vec<_>) =
        found.left().partition(|change| found.reasons.contains_key(&change.name));
    for (title, changes) in
        [("Not caught, and explained:", explained), ("Not caught, and not explained:", rest)]
    {
        if changes.is_empty() {
            continue;
        }
        let _ = writeln!(out, "\n{title}\n\n| change | the line then | why |\n| --- | --- | --- |");
        for change in changes {
            let Name { file, change: what, line } = &change.name;
            let why = found.reasons.get(&change.name).map_or("", String::as_str);
            let _ = writeln!(out, "| `{file}`: {} | {} | {} |", code(what), code(line), why.trim());
        }
    }
    out
}

/// As code in a cell of a table.
fn code(text: &str) -> String {
    format!("`{}`", text.replace('|', "\\|"))
}

/// One line of figures for each folder, and one for all.
fn figures(found: &Found<'_>) -> Vec<Vec<String>> {
    let mut folders: BTreeMap<&str, Vec<&Change>> = BTreeMap::new();
    for change in found.changes {
        let file = &change.name.file[..];
        folders.entry(file.rsplit_once('/').map_or("", |(folder, _)| folder)).or_default().push(change);
    }
    let mut rows = Vec::new();
    for (folder, changes) in folders {
        let changes: Vec<Change> = changes.into_iter().cloned().collect();
        let part = Found {
            changes: &changes,
            verdicts: found.verdicts.clone(),
            reasons: found.reasons.clone(),
            commit: found.commit,
        };
        rows.push(cells(folder, &part.figures()));
    }
    rows.push(cells("all", &found.figures()));
    rows
}

fn cells(name: &str, figures: &Figures) -> Vec<String> {
    let Figures { changes, broken, apart, caught, left, explained } = figures;
    let viable = caught + left;
    let share = if viable == 0 { 0.0 } else { 100.0 * *caught as f64 / viable as f64 };
    let numbers = [*changes, *broken, *apart, viable].map(|number| number.to_string());
    let mut cells = vec![String::from(name)];
    cells.extend(numbers);
    cells.extend([format!("{caught} ({share:.1} %)"), left.to_string(), explained.to_string()]);
    cells
}

/// How many each step was the first to see.
fn first(found: &Found<'_>) -> BTreeMap<String, usize> {
    let mut first = BTreeMap::new();
    for change in found.changes {
        if let Some(Verdict::Caught(Seen { by, test })) = found.verdict(change) {
            let by = if test == "hangs" { format!("{by}, which hangs") } else { by.clone() };
            *first.entry(by).or_default() += 1;
        }
    }
    first
}
