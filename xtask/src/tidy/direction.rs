//! Which crate and which module may know which (style guide §3.9). Nothing here is for taste: a core
//! that knows a backend cannot be simulated, and a backend that knows another cannot be exchanged.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use super::{File, Finding};
use crate::util::rust_text::{self, Blank};

/// What a crate may depend on in the workspace: for users, and for its tests besides.
fn allowed(krate: &str) -> Option<(&'static [&'static str], &'static [&'static str])> {
    match krate {
        "raft-core" | "xtask" => Some((&[], &[])),
        // The simulator runs the file journal's store; it is behind a feature of the testkit.
        "raft-testkit" => Some((&["raft-core", "raft-log-file"], &["raft-log-file", "raft-net-tcp"])),
        _ if krate.starts_with("raft-log-") || krate.starts_with("raft-net-") => {
            Some((&["raft-core"], &["raft-testkit"]))
        }
        _ => None,
    }
}

/// Dependencies between crates that point the wrong way.
pub(super) fn crates(root: &Path, metadata: &Value) -> Vec<Finding> {
    let packages = metadata["packages"].as_array().map_or(&[][..], Vec::as_slice);
    let ours: BTreeSet<&str> = packages.iter().filter_map(|p| p["name"].as_str()).collect();
    let mut findings = Vec::new();
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        let Some((always, in_tests)) = allowed(name) else { continue };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let on = dependency["name"].as_str().unwrap_or_default();
            let dev = dependency["kind"] == "dev";
            if ours.contains(on) && !always.contains(&on) && !(dev && in_tests.contains(&on)) {
                let manifest = package["manifest_path"].as_str().map_or_else(|| Path::new(""), Path::new);
                findings.push(Finding {
                    file: manifest
                        .strip_prefix(root)
                        .unwrap_or(manifest)
                        .to_string_lossy()
                        .replace('\\', "/"),
                    line: std::fs::read_to_string(manifest).map_or(0, |text| line_of(&text, on, dev)),
                    what: format!("must not depend on {on}; it may know: {always:?}, in tests {in_tests:?}"),
                });
            }
        }
    }
    findings
}

/// The line of a manifest that names this dependency, among those of the tests or the others; 0 if it is written otherwise.
fn line_of(manifest: &str, on: &str, dev: bool) -> usize {
    let mut section = "";
    for (at, line) in manifest.lines().enumerate() {
        if line.starts_with('[') {
            section = line;
        }
        let of_kind = section.ends_with("dependencies]") && section.contains("dev-") == dev;
        if of_kind && line.split([' ', '.', '=']).next() == Some(on) {
            return at + 1;
        }
    }
    0
}

/// What is outside of the workspace must be what a user's would be. A backend knows the core, and in its tests the
/// testkit; a service knows what it likes.
pub(super) fn outside(file: &str, manifest: &str, is_backend: bool) -> Vec<Finding> {
    let finding = |line, what: &str| Finding { file: file.into(), line, what: what.into() };
    let mut findings = Vec::new();
    if !manifest.lines().any(|line| line == "[workspace]") {
        findings.push(finding(0, "must say [workspace]: it is no member of ours"));
    }
    if !manifest.contains("unsafe_code = \"forbid\"") {
        findings.push(finding(0, "[lints.rust] must say: unsafe_code = \"forbid\""));
    }
    let mut section = "";
    for (at, line) in manifest.lines().enumerate() {
        let name = line.split([' ', '.', '=']).next().unwrap_or_default();
        match name {
            _ if line.starts_with('[') => section = line,
            "raft-core" => {}
            "raft-testkit" if section == "[dev-dependencies]" => {}
            _ if line.replace(' ', "").contains("workspace=true") => {
                findings.push(finding(at + 1, "must take nothing from a workspace"));
            }
            _ if is_backend && name.starts_with("raft-") => {
                findings.push(finding(at + 1, "may depend on raft-core, in tests on raft-testkit"));
            }
            _ => {}
        }
    }
    findings
}

/// Modules of raft-core that each of its modules must not name.
const MODULES: &[(&str, &[&str])] = &[
    ("ids", &["entry", "message", "membership", "log", "raft", "backend", "node", "config", "status"]),
    ("time", &["entry", "message", "membership", "log", "raft", "backend", "node", "config", "status"]),
    ("membership", &["entry", "message", "log", "raft", "backend", "node", "config", "status", "time"]),
    ("entry", &["message", "log", "raft", "backend", "node", "config", "status"]),
    ("session", &["message", "membership", "log", "raft", "backend", "node", "config", "status"]),
    ("message", &["log", "raft", "backend", "node", "config", "status"]),
    ("config", &["log", "raft", "backend", "node"]),
    ("error", &["log", "raft", "node"]),
    ("status", &["log", "raft", "node"]),
    ("log", &["raft", "node", "message"]),
    ("raft", &["node"]),
    ("backend", &["log", "raft", "node"]),
    ("slots", &["log", "raft", "node", "message", "config", "status"]),
];

/// The traits that backends implement, and what goes with them: `raft` and `log` may use the data that
/// journals carry, never these.
pub(super) fn traits(files: &[File]) -> BTreeSet<String> {
    let mut found: BTreeSet<String> = ["Inbox", "Responses"].map(String::from).into();
    for file in files.iter().filter(|file| file.path.starts_with("raft-core/src/backend/")) {
        for line in rust_text::blank(&file.text, Blank::CommentsAndStrings).lines() {
            if let Some(name) = line.trim_start().strip_prefix("pub trait ") {
                found.insert(name.chars().take_while(|c| c.is_alphanumeric()).collect());
            }
        }
    }
    found
}

/// Uses in a file of raft-core that point the wrong way.
pub(super) fn modules(file: &File, traits: &BTreeSet<String>) -> Vec<Finding> {
    let Some(inside) = file.path.strip_prefix("raft-core/src/") else { return Vec::new() };
    let module = inside.split(['/', '.']).next().unwrap_or_default();
    let Some((_, forbidden)) = MODULES.iter().find(|(name, _)| *name == module) else {
        return Vec::new();
    };
    let code = rust_text::blank(rust_text::without_tests(&file.text), Blank::CommentsAndStrings);
    let mut findings = Vec::new();
    for other in *forbidden {
        for line in rust_text::lines_with(&code, &format!("crate::{other}")) {
            findings.push(file.finding(
                line,
                format!("{module} must not know {other}: hand it in, or move what both need below both"),
            ));
        }
    }
    if matches!(module, "raft" | "log") {
        for (line, path) in paths(&code, "crate::backend") {
            for name in path.split(|c: char| !c.is_alphanumeric() && c != '*') {
                if traits.contains(name) || name == "*" {
                    let what = format!("{module} may use the journal's data, not backend::{name}");
                    findings.push(file.finding(line, what));
                }
            }
        }
    }
    findings
}

/// What follows each mention of `prefix`, up to the end of the path or the statement, with its line.
fn paths<'a>(code: &'a str, prefix: &str) -> Vec<(usize, &'a str)> {
    code.match_indices(prefix)
        .map(|(start, _)| {
            let rest = &code[start + prefix.len()..];
            let end = if rest.starts_with("::{") { rest.find('}') } else { rest.find([';', ',', ' ', '\n']) };
            (code[..start].lines().count().max(1), &rest[..end.unwrap_or(rest.len())])
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, text: &str) -> Vec<String> {
        let traits: BTreeSet<String> = ["Transport", "Journal"].map(String::from).into();
        let file = File { path: path.into(), text: text.into() };
        modules(&file, &traits).iter().map(|finding| format!("{}: {}", finding.line, finding.what)).collect()
    }

    #[test]
    fn arrows_that_point_back_are_found() {
        assert_eq!(
            check("raft-core/src/membership/mod.rs", "\nuse crate::log::Log;"),
            ["2: membership must not know log: hand it in, or move what both need below both"]
        );
        assert_eq!(
            check("raft-core/src/ids.rs", "use crate::node;"),
            ["1: ids must not know node: hand it in, or move what both need below both"]
        );
        assert_eq!(check("raft-core/src/ids.rs", "// crate::node\nuse crate::nodes;"), [""; 0]);
        assert_eq!(check("raft-core/src/node/mod.rs", "use crate::raft::Raft;"), [""; 0]);
    }

    #[test]
    fn who_is_outside_knows_little() {
        let checked = |more: &str, is_backend| {
            let manifest = format!("[workspace]\n[lints.rust]\nunsafe_code = \"forbid\"\n{more}");
            let found = outside("Cargo.toml", &manifest, is_backend);
            found.iter().map(|finding| finding.line).collect::<Vec<_>>()
        };
        let lines = |more| checked(more, true);
        assert_eq!(lines("[dependencies]\nraft-core = {}\n[dev-dependencies]\nraft-testkit = {}"), [0; 0]);
        assert_eq!(lines("[dependencies]\nraft-testkit = {}\nraft-log-file.path = \"\""), [5, 6]);
        assert_eq!(lines("[dependencies]\nbytes.workspace = true"), [5]);
        assert_eq!(checked("[dependencies]\nraft-log-file = {}\nbytes.workspace = true", false), [6]);
        assert_eq!(outside("Cargo.toml", "", true).len(), 2);
    }

    #[test]
    fn the_protocol_uses_data_but_no_trait() {
        let data = "use crate::backend::{JournalState, JournalWrite};\nlet x: crate::backend::Vote;";
        assert_eq!(check("raft-core/src/raft/mod.rs", data), [""; 0]);
        assert_eq!(
            check("raft-core/src/raft/mod.rs", "use crate::backend::{\n    Vote,\n    Transport,\n};"),
            ["1: raft may use the journal's data, not backend::Transport"]
        );
        assert_eq!(check("raft-core/src/log/mod.rs", "\nfn f(j: &dyn crate::backend::Journal) {}").len(), 1,);
        assert_eq!(check("raft-core/src/raft/mod.rs", "use crate::backend::*;").len(), 1);
    }

    #[test]
    fn crates_know_only_whom_they_may() {
        let package = |name: &str, on: &str, kind: Value| serde_json::json!({ "name": name, "dependencies": [{ "name": on, "kind": kind }] });
        let metadata = serde_json::json!({ "packages": [
            package("raft-core", "raft-testkit", "dev".into()),
            package("raft-log-file", "raft-net-tcp", Value::Null),
            package("raft-net-tcp", "raft-testkit", "dev".into()),
            package("raft-testkit", "raft-core", Value::Null),
        ]});
        let wrong: Vec<String> =
            crates(Path::new(""), &metadata).into_iter().map(|finding| finding.what).collect();
        let [core, file] = &wrong[..] else { panic!("{wrong:?}") };
        assert!(
            core.starts_with("must not depend on raft-testkit")
                && file.starts_with("must not depend on raft-net-tcp")
        );
        let manifest = "[dependencies]\nb = 1\n[dev-dependencies]\nb.workspace = true\n[x]\nc = 1";
        assert_eq!(
            [("b", false), ("b", true), ("c", false)].map(|(on, dev)| line_of(manifest, on, dev)),
            [2, 4, 0]
        );
    }
}
