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

/// Each package takes the workspace's lints, and these forbid unsafe code.
pub(super) fn unsafe_is_forbidden(root: &Path, metadata: &Value) -> Result<Vec<Finding>, Failure> {
    let read =
        |path: &Path| std::fs::read_to_string(path).context(|| format!("cannot read {}", path.display()));
    let mut findings = Vec::new();
    if !read(&root.join("Cargo.toml"))?.contains("unsafe_code = \"forbid\"") {
        let what = "[workspace.lints.rust] must say: unsafe_code = \"forbid\"";
        findings.push(Finding { file: "Cargo.toml".into(), line: 0, what: what.into() });
    }
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let manifest = Path::new(package["manifest_path"].as_str().unwrap_or_default());
        if !read(manifest)?.contains("[lints]\nworkspace = true") {
            let file = manifest.strip_prefix(root).unwrap_or(manifest).display().to_string();
            let what = "must say: [lints] workspace = true";
            findings.push(Finding { file, line: 0, what: what.into() });
        }
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
