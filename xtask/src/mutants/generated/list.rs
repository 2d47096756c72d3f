//! The changes that cargo-mutants would make: it is asked for its list, and makes none of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use crate::util::{Context, Failure, proc};

/// What is changed unless told otherwise: the protocol, and the recovery of the file journal.
const DEFAULT: &[(&str, &[&str])] = &[
    (
        "raft-core",
        &[
            "raft-core/src/raft/**",
            "raft-core/src/log/**",
            "raft-core/src/membership/**",
            "raft-core/src/session/**",
        ],
    ),
    (
        "raft-log-file",
        &["raft-log-file/src/recover/**", "raft-log-file/src/open.rs", "raft-log-file/src/cases.rs"],
    ),
];

/// One change. What it is called stays when other lines come and go.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    pub(super) file: String,
    /// In the words of cargo-mutants.
    pub(super) change: String,
    /// The first line of what was changed, as it is afterwards.
    pub(super) line: String,
}

/// One change of the sources.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) name: Name,
    pub(super) package: String,
    /// The line where it is now.
    pub(super) at: usize,
    span: Span,
    replacement: String,
}

#[derive(Clone, Copy, Debug, Deserialize)]
struct Place {
    line: usize,
    column: usize,
}

#[derive(Clone, Copy, Debug, Deserialize)]
struct Span {
    start: Place,
    end: Place,
}

/// An element of what `cargo mutants --list --json` says.
#[derive(Deserialize)]
struct Listed {
    file: String,
    name: String,
    package: String,
    replacement: String,
    span: Span,
}

impl Change {
    fn path(&self) -> PathBuf {
        PathBuf::from(&self.name.file)
    }

    /// What its file is before and after.
    pub(super) fn changed(&self, sources: &Sources) -> Result<Vec<(PathBuf, String, String)>, Failure> {
        let before = sources.text(&self.name.file)?;
        let after = replaced(before, self.span, &self.replacement)
            .ok_or_else(|| Failure::new(format!("{}:{} is not there", self.name.file, self.at)))?;
        Ok(vec![(self.path(), String::from(before), after)])
    }
}

/// The sources that are changed, read once.
pub(super) struct Sources(BTreeMap<String, String>);

impl Sources {
    fn text(&self, file: &str) -> Result<&str, Failure> {
        self.0.get(file).map(String::as_str).ok_or_else(|| Failure::new(format!("{file} was not read")))
    }
}

/// Asks for all changes of these packages (all that are known, if none is named), or of these files only.
pub(super) fn ask(
    tree: &Path,
    packages: &[String],
    files: &[String],
) -> Result<(Vec<Change>, Sources), Failure> {
    if !proc::works(cargo(tree).args(["mutants", "--version"])) {
        let help = "cargo-mutants is not there; `cargo install --locked cargo-mutants` installs it";
        return Err(Failure::new(help));
    }
    if let Some(other) = packages.iter().find(|name| DEFAULT.iter().all(|(known, _)| name != known)) {
        let known: Vec<&str> = DEFAULT.iter().map(|(name, _)| *name).collect();
        return Err(Failure::new(format!("no tests are known for {other}, only for {}", known.join(", "))));
    }
    let mut listed: Vec<Listed> = Vec::new();
    for (package, globs) in DEFAULT {
        if !packages.is_empty() && packages.iter().all(|name| name != package) {
            continue;
        }
        let mut command = cargo(tree);
        command.args(["mutants", "--list", "--json", "--package", package]);
        let globs: Vec<&str> = match files {
            [] => globs.to_vec(),
            files => files.iter().map(String::as_str).collect(),
        };
        for glob in globs {
            command.args(["--file", glob]);
        }
        let text = proc::stdout(&mut command)?;
        let some: Vec<Listed> = serde_json::from_str(&text).context(|| proc::shown(&command))?;
        listed.extend(some);
    }
    let mut sources = Sources(BTreeMap::new());
    let (mut changes, mut names) = (Vec::new(), BTreeSet::new());
    for listed in listed {
        if !sources.0.contains_key(&listed.file) {
            let path = tree.join(&listed.file);
            let text =
                std::fs::read_to_string(&path).context(|| format!("cannot read {}", path.display()))?;
            sources.0.insert(listed.file.clone(), text);
        }
        let mut change = change(listed, &sources)?;
        // Of two lines that are equal.
        let (first, mut count) = (change.name.change.clone(), 1);
        while !names.insert(change.name.clone()) {
            count += 1;
            change.name.change = format!("{first}, place {count}");
        }
        changes.push(change);
    }
    Ok((changes, sources))
}

fn change(listed: Listed, sources: &Sources) -> Result<Change, Failure> {
    let Listed { file, name, package, replacement, span } = listed;
    let begin = Place { line: span.start.line, column: 1 };
    let after = sources.text(&file).and_then(|text| {
        let after = replaced(text, span, &replacement).zip(offset(text, begin));
        after.ok_or_else(|| Failure::new(format!("cargo-mutants names a place that is not there: {name}")))
    });
    let (after, begin) = after?;
    let line = String::from(after[begin..].lines().next().unwrap_or_default().trim());
    // A name begins with the file, the line and the column.
    let change = name.splitn(4, ':').last().unwrap_or(&name).trim().to_string();
    Ok(Change { name: Name { file, change, line }, package, at: span.start.line, span, replacement })
}

fn replaced(text: &str, span: Span, replacement: &str) -> Option<String> {
    let (start, end) = (offset(text, span.start)?, offset(text, span.end)?);
    Some(format!("{}{replacement}{}", text.get(..start)?, text.get(end..)?))
}

/// The byte at which a line (from 1) has a column (of characters, from 1).
fn offset(text: &str, place: Place) -> Option<usize> {
    let line: usize = text.split_inclusive('\n').take(place.line.checked_sub(1)?).map(str::len).sum();
    let rest = text.get(line..)?;
    let columns = rest.char_indices().map(|(at, _)| at).chain([rest.len()]);
    Some(line + columns.skip(place.column.checked_sub(1)?).take(1).next()?)
}

fn cargo(tree: &Path) -> Command {
    let mut command = proc::cargo();
    command.current_dir(tree);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_keeps_its_name_when_lines_come_before_it() {
        let source = "fn a(x: u8) -> bool {\n    // ä\n    /* ö */ x > 1 && x > 2\n}\n";
        let of = |lines: usize| {
            let listed = Listed {
                file: String::from("x.rs"),
                name: format!("x.rs:{}:23: replace > with >= in a", 3 + lines),
                package: String::from("p"),
                replacement: String::from(">="),
                span: Span {
                    start: Place { line: 3 + lines, column: 24 },
                    end: Place { line: 3 + lines, column: 25 },
                },
            };
            let text = "\n".repeat(lines) + source;
            let sources = Sources(BTreeMap::from([(String::from("x.rs"), text)]));
            (change(listed, &sources).unwrap(), sources)
        };
        let (change, sources) = of(0);
        assert_eq!(change.name.change, "replace > with >= in a");
        assert_eq!(change.name.line, "/* ö */ x > 1 && x >= 2");
        assert_eq!(change.name, of(7).0.name);
        let changed = change.changed(&sources).unwrap();
        assert_eq!(changed[0].2, source.replace("> 2", ">= 2"));
    }
}
