//! Takes out the changes that do not compile: the compiler is asked again and again, and what stands on a line
//! that it complains of goes, until it complains no more.

use std::collections::BTreeSet;
use std::process::Stdio;

use serde_json::Value;

use super::super::merge::Merge;
use super::super::programs::Programs;
use super::super::tree::Tree;
use super::ladder;
use super::list::{Change, Sources};
use crate::util::{Context, Failure, proc};

/// What there is to try, and what not.
pub(super) struct Viable {
    /// The number of each change that was compiled, which is its place in the list, from 1.
    pub(super) numbers: BTreeSet<u32>,
    /// The tests that have all of them.
    pub(super) programs: Programs,
    /// Where all of them are.
    pub(super) merge: Merge,
}

/// Compiles all changes that can be, each with its number for a switch, and the tests that they are shown to. Tells
/// `note` which are broken and which apart as soon as that is known: the rest takes long.
pub(super) fn build(
    tree: &Tree,
    changes: &[Change],
    sources: &Sources,
    known: &BTreeSet<u32>,
    mut note: impl FnMut(&BTreeSet<u32>, &BTreeSet<u32>) -> Result<(), Failure>,
) -> Result<Viable, Failure> {
    let (mut broken, mut apart) = (known.clone(), BTreeSet::new());
    let left = changes.iter().zip(1..).filter(|(_, number)| !known.contains(number));
    let wanted = ladder::wanted(left.map(|(change, _)| &change.package[..]));
    loop {
        let (mut merge, mut numbers) = (Merge::default(), BTreeSet::new());
        for (change, number) in changes.iter().zip(1..) {
            if broken.contains(&number) || apart.contains(&number) {
                continue;
            }
            if merge.add(number, &change.changed(sources)?) {
                numbers.insert(number);
            } else {
                apart.insert(number);
            }
        }
        if let Some(programs) = Programs::kept(tree, &merge, &wanted) {
            eprintln!("{} changes in the build of an earlier run", numbers.len());
            note(&broken, &apart)?;
            return Ok(Viable { numbers, programs, merge });
        }
        eprintln!("{} changes in one build", numbers.len());
        tree.plant_together(&merge)?;
        let found = complaints(tree, changes);
        let more = found.and_then(|found| blamed(&found, &merge, &mut apart, &numbers, changes));
        let programs = match &more {
            Ok(more) if more.is_empty() => {
                note(&broken, &apart).and_then(|()| Programs::build(tree, &merge, &wanted)).map(Some)
            }
            _ => Ok(None),
        };
        tree.heal()?;
        if let Some(programs) = programs? {
            return Ok(Viable { numbers, programs, merge });
        }
        broken.extend(more?.into_iter().filter(|number| !apart.contains(number)));
    }
}

/// An error of the compiler.
struct Complaint {
    message: String,
    /// Files and lines, the one that is meant first.
    places: Vec<(String, usize)>,
}

fn complaints(tree: &Tree, changes: &[Change]) -> Result<Vec<Complaint>, Failure> {
    let packages: BTreeSet<&str> = changes.iter().map(|change| &change.package[..]).collect();
    let mut command = tree.cargo();
    command.args(["check", "--release", "--message-format=json", "--features", "raft-testkit/tools"]);
    for package in packages.into_iter().chain(["raft-testkit"]) {
        command.args(["--package", package]);
    }
    let shown = proc::shown(&command);
    let output = command.stdin(Stdio::null()).output().context(|| shown.clone())?;
    let mut found = Vec::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let Ok(value) = serde_json::from_str::<Value>(line) else { continue };
        let message = &value["message"];
        if message["level"] == "error" && message["spans"].as_array().is_some_and(|all| !all.is_empty()) {
            found.push(complaint(message));
        }
    }
    if found.is_empty() && !output.status.success() {
        return Err(Failure::new(format!("{shown}: {}", String::from_utf8_lossy(&output.stderr).trim())));
    }
    Ok(found)
}

fn complaint(message: &Value) -> Complaint {
    let mut places = Vec::new();
    let spans: Vec<&Value> = message["spans"].as_array().into_iter().flatten().collect();
    let (first, rest): (Vec<&Value>, Vec<&Value>) =
        spans.into_iter().partition(|span| span["is_primary"] == true);
    for mut span in first.into_iter().chain(rest) {
        // What a macro has made is where the macro was used.
        while span.is_object() {
            let line = span["line_start"].as_u64().and_then(|line| usize::try_from(line).ok());
            if let (Some(file), Some(line)) = (span["file_name"].as_str(), line) {
                places.push((String::from(file), line));
            }
            span = &span["expansion"]["span"];
        }
    }
    Complaint { message: message["message"].as_str().unwrap_or_default().to_string(), places }
}

/// The changes that are to blame. A function that must stay `const` cannot have a switch: its changes go apart.
fn blamed(
    complaints: &[Complaint],
    merge: &Merge,
    apart: &mut BTreeSet<u32>,
    numbers: &BTreeSet<u32>,
    changes: &[Change],
) -> Result<BTreeSet<u32>, Failure> {
    let lines: Vec<_> = merge.lines().collect();
    let at = |(file, line): &(String, usize)| {
        let (_, ranges) = lines.iter().find(|(path, _)| path.to_str() == Some(file))?;
        ranges.iter().find(|(range, _)| range.contains(line)).map(|(_, number)| *number)
    };
    let mut found = BTreeSet::new();
    for Complaint { message, places } in complaints {
        let constant = message.contains("non-const").then(|| message.split('`').nth(1)).flatten();
        if let Some(name) = constant {
            // It is named with all its modules, and the change with its type only.
            let function = name.rsplit("::").next().unwrap_or(name);
            let of = |number: &&u32| {
                let change = &changes[**number as usize - 1].name.change;
                change.split([' ', ':']).any(|word| word == function)
            };
            let its: Vec<u32> = numbers.iter().filter(of).copied().collect();
            apart.extend(&its);
            found.extend(&its);
            if !its.is_empty() {
                continue;
            }
        }
        match places.iter().find_map(at) {
            Some(number) => drop(found.insert(number)),
            None => {
                let place =
                    places.first().map_or_else(String::new, |(file, line)| format!("{file}:{line}: "));
                return Err(Failure::new(format!("no change is to blame for this: {place}{message}")));
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::complaint;

    #[test]
    fn the_place_that_is_meant_comes_first_and_macros_lead_to_where_they_are_used() {
        let at = |file: &str, line: u64, primary: bool| json!({ "file_name": file, "line_start": line, "is_primary": primary, "expansion": null });
        let mut inner = at("/std/macros.rs", 3, true);
        inner["expansion"] = json!({ "span": at("a.rs", 5, false) });
        let found = complaint(&json!({ "message": "m", "spans": [at("b.rs", 7, false), inner] }));
        let places: Vec<(&str, usize)> = found.places.iter().map(|(file, line)| (&file[..], *line)).collect();
        assert_eq!(places, [("/std/macros.rs", 3), ("a.rs", 5), ("b.rs", 7)]);
    }
}
