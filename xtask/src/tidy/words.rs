//! Words that must not stand in certain places, each with what to use instead.

use std::path::Path;

use serde_json::Value;

use super::{File, Finding};
use crate::util::rust_text::{self, Blank};
use crate::util::{Context, Failure};

/// A word that is banned from non-test code below a folder.
struct Ban {
    folder: &'static str,
    word: &'static str,
    instead: &'static str,
    /// The only file that may.
    except: &'static str,
}

const fn ban(word: &'static str, instead: &'static str) -> Ban {
    Ban { folder: "raft-core/src/", word, instead, except: "" }
}

const fn driver(word: &'static str, instead: &'static str) -> Ban {
    Ban { folder: "raft-core/src/", word, instead, except: "raft-core/src/node/tokio.rs" }
}

const fn protocol(word: &'static str, instead: &'static str) -> Ban {
    Ban { folder: "raft-core/src/raft/", word, instead, except: "" }
}

/// raft-core opens nothing and reads no clock; `raft/` is plain synchronous code.
const BANS: &[Ban] = &[
    ban("std::fs", "a Journal or SnapshotStore (backend/)"),
    ban("std::net", "a Transport (backend/transport.rs)"),
    ban("std::env", "a field of Config"),
    ban("std::thread", "Runtime::spawn (backend/runtime.rs)"),
    ban("std::process", "FatalReason: the node stops, the process is the user's"),
    driver("Instant", "time::Time, handed in as `now`"),
    ban("SystemTime", "time::Time, handed in as `now`"),
    driver("tokio::time", "Runtime::timer"),
    driver("tokio::spawn", "Runtime::spawn"),
    driver("tokio::task", "Runtime::spawn"),
    driver("spawn_blocking", "Runtime::spawn, or a thread of the backend's"),
    ban("HashMap", "BTreeMap or a sorted Vec: hash order is not the same twice"),
    ban("HashSet", "BTreeSet or a sorted Vec: hash order is not the same twice"),
    ban("println!", "an Event or the Status"),
    ban("eprintln!", "an Event or the Status"),
    protocol("async", "node/: the protocol is synchronous"),
    protocol("await", "node/: the protocol is synchronous"),
    protocol("dyn", "an enum: the protocol has no virtual call"),
    protocol("tracing", "poll_event: the protocol does not log"),
];

/// How many bans there are, so that a test can have a line for each.
#[cfg(test)]
pub(super) const fn bans() -> usize {
    BANS.len()
}

/// Banned words in one file.
pub(super) fn banned(file: &File) -> Vec<Finding> {
    if !file.path.starts_with("raft-core/src/") || file.path.ends_with("/tests.rs") {
        return Vec::new();
    }
    let code = rust_text::blank(rust_text::without_tests(&file.text), Blank::CommentsAndStrings);
    let mut findings = Vec::new();
    for ban in BANS.iter().filter(|ban| file.path.starts_with(ban.folder) && file.path != ban.except) {
        for line in rust_text::lines_with(&code, ban.word) {
            findings
                .push(file.finding(line, format!("`{}` has no place here; use {}", ban.word, ban.instead)));
        }
    }
    for (start, word) in code.match_indices("select! {") {
        if !code[start + word.len()..].trim_start().starts_with("biased;") {
            let line = code[..start].lines().count();
            findings.push(file.finding(line, "`select!` must begin with `biased;`: it draws lots otherwise"));
        }
    }
    findings
}

/// Characters that look like others do not belong into code.
pub(super) fn not_ascii(file: &File) -> Vec<Finding> {
    let code = rust_text::blank(&file.text, Blank::CommentsAndStrings);
    let lines = code.lines().enumerate().filter(|(_, line)| !line.is_ascii());
    lines
        .map(|(at, _)| {
            file.finding(
                at + 1,
                "only ASCII outside of strings and comments; write a word, or an escape in a string",
            )
        })
        .collect()
}

/// The package that may have unsafe code, where it has it, and how often the word may stand there.
const UNSAFE: (&str, &str, usize) = ("raft-log-sqlite", "raft-log-sqlite/src/direct.rs", 1);

/// The tables of lints in a manifest, as those of a package that denies unsafe code instead of forbidding it.
fn lints(manifest: &str, prefix: &str) -> Vec<String> {
    let mut inside = false;
    let mut found = Vec::new();
    for line in manifest.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if line.starts_with('[') {
            inside = line.starts_with(prefix);
        }
        if inside {
            found.push(
                line.replacen(prefix, "[lints", 1)
                    .replace("unsafe_code = \"forbid\"", "unsafe_code = \"deny\""),
            );
        }
    }
    found
}

/// Each package takes the workspace's lints, and these forbid unsafe code; one may have some, in one place.
pub(super) fn unsafe_is_forbidden(
    root: &Path,
    metadata: &Value,
    rust: &[File],
) -> Result<Vec<Finding>, Failure> {
    let read =
        |path: &Path| std::fs::read_to_string(path).context(|| format!("cannot read {}", path.display()));
    let mut findings = Vec::new();
    let workspace = read(&root.join("Cargo.toml"))?;
    if !workspace.contains("unsafe_code = \"forbid\"") {
        let what = "[workspace.lints.rust] must say: unsafe_code = \"forbid\"";
        findings.push(Finding { file: "Cargo.toml".into(), line: 0, what: what.into() });
    }
    let (package, place, often) = UNSAFE;
    for each in metadata["packages"].as_array().into_iter().flatten() {
        let manifest = Path::new(each["manifest_path"].as_str().unwrap_or_default());
        let text = read(manifest)?;
        let is_that = each["name"].as_str() == Some(package);
        let own = is_that && lints(&text, "[lints") == lints(&workspace, "[workspace.lints");
        if !own && !text.contains("[lints]\nworkspace = true") {
            let file = manifest.strip_prefix(root).unwrap_or(manifest).display().to_string();
            let what = if is_that {
                "its lints must be those of the workspace, but for unsafe_code = \"deny\""
            } else {
                "must say: [lints] workspace = true"
            };
            findings.push(Finding { file, line: 0, what: what.into() });
        }
    }
    for file in rust.iter().filter(|file| file.path.split('/').next() == Some(package)) {
        let code = rust_text::blank(&file.text, Blank::CommentsAndStrings);
        let has = |line: &str, word: &str| {
            line.split(|c: char| !c.is_alphanumeric() && c != '_').any(|w| w == word)
        };
        let lines = code.lines().enumerate();
        let found =
            lines.filter(|(_, line)| has(line, "unsafe") || (file.path != place && has(line, "unsafe_code")));
        let allowed = if file.path == place { often } else { 0 };
        findings.extend(found.skip(allowed).map(|(at, _)| {
            file.finding(at + 1, format!("unsafe code may stand in {place} alone, {often} time"))
        }));
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, text: &str) -> Vec<usize> {
        let file = File { path: path.into(), text: text.into() };
        banned(&file).iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn banned_words_are_found_where_they_are_banned() {
        let text = "use std::collections::HashMap;\n// HashMap\nlet now = Instant::now();\n";
        assert_eq!(check("raft-core/src/node/protocol.rs", text), [3, 1]);
        assert_eq!(check("raft-core/src/node/tokio.rs", text), [1]);
        assert_eq!(check("raft-log-file/src/store.rs", text), [0; 0]);
        assert_eq!(check("raft-core/src/raft/mod.rs", "pub async fn f() {}"), [1]);
        assert_eq!(check("raft-core/src/backend/mod.rs", "pub async fn f() {}"), [0; 0]);
        assert_eq!(check("raft-core/src/a.rs", "#[cfg(test)]\nmod tests { use std::fs; }"), [0; 0]);
    }

    #[test]
    fn select_must_be_biased() {
        assert_eq!(check("raft-core/src/node/a.rs", "\ntokio::select! {\n a = b"), [2]);
        assert_eq!(check("raft-core/src/node/a.rs", "tokio::select! {\n biased;\n a = b"), [0; 0]);
    }

    #[test]
    fn lookalikes_are_found() {
        let file = File { path: "a.rs".into(), text: "// \u{a7}\nlet \u{3b1} = \"\u{a7}\";".into() };
        assert_eq!(not_ascii(&file).len(), 1);
    }
}
