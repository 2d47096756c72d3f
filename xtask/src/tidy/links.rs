//! What documents point to must be there.

use std::path::Path;

use super::{File, Finding};

/// Relative links of a document that lead nowhere.
pub(super) fn dead(root: &Path, file: &File) -> Vec<Finding> {
    let folder = Path::new(&file.path).parent().unwrap_or_else(|| Path::new(""));
    let mut findings = Vec::new();
    for (line, text) in prose(&file.text) {
        for (at, _) in text.match_indices("](") {
            let target = text[at + 2..].split(')').next().unwrap_or_default();
            let path = target.split('#').next().unwrap_or_default();
            let outside = path.is_empty() || path.contains("://") || path.starts_with("mailto:");
            if !outside && !root.join(folder).join(path).exists() {
                findings.push(file.finding(line, format!("the link to {path} leads nowhere")));
            }
        }
    }
    findings
}

/// Paths in backticks that do not exist (from the top, or from the sources of raft-core), and names of
/// Rust files that none of `sources` has.
pub(super) fn missing_paths(root: &Path, file: &File, sources: &[File]) -> Vec<Finding> {
    let named = |name: &str| sources.iter().any(|file| file.path.ends_with(&format!("/{name}")));
    let exists = |path: &str| {
        ["", "raft-core/src/", "examples/"].iter().any(|base| root.join(base).join(path).exists())
    };
    let mut findings = Vec::new();
    for (line, text) in prose(&file.text) {
        for span in text.split('`').skip(1).step_by(2) {
            let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
            let path = span.trim_end_matches('/');
            let is_path = span.contains('/') && !exists(path);
            let is_name = !span.contains('/') && span.ends_with(".rs") && !named(span);
            if span.chars().all(plain) && (is_path || is_name) {
                findings.push(file.finding(line, format!("{span} does not exist")));
            }
        }
    }
    findings
}

/// Rust blocks of a document that are not taken, line by line, from one of the examples: these compile.
pub(super) fn invented_code(file: &File, sources: &[File]) -> Vec<Finding> {
    let squeeze = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let examples: Vec<String> = sources
        .iter()
        .filter(|source| source.path.starts_with("examples/"))
        .map(|source| squeeze(&source.text))
        .collect();
    let mut findings = Vec::new();
    let mut rest = &file.text[..];
    while let Some((before, block)) = rest.split_once("```rust\n") {
        let (code, after) = block.split_once("```").unwrap_or((block, ""));
        let line = file.text[..file.text.len() - rest.len() + before.len()].lines().count() + 1;
        let code = squeeze(code);
        if !examples.iter().any(|example| example.contains(&code)) {
            findings.push(file.finding(line, "this block must be copied from an example, which compiles"));
        }
        rest = after;
    }
    findings
}

/// The lines outside of code blocks, with their numbers.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut code = false;
    text.lines().enumerate().filter_map(move |(at, line)| {
        let fence = line.trim_start().starts_with("```");
        code ^= fence;
        (!code && !fence).then_some((at + 1, line))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dead_links_are_found() {
        let root = crate::util::proc::root();
        let text = "[a](../Cargo.toml#x) [b](gone.md) [c](https://x.y/z) [d](#here)\n```\n[e](gone)\n```\n";
        let file = File { path: "docs/x.md".into(), text: text.into() };
        let found: Vec<String> = dead(&root, &file).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["docs/x.md:1: the link to gone.md leads nowhere"]);
    }

    #[test]
    fn missing_paths_are_found() {
        let root = crate::util::proc::root();
        let text = "`raft-core/src/ids.rs` `membership/quorum.rs` `a / b`\n`raft/gone.rs` `ids.rs`";
        let file = File { path: "ARCHITECTURE.md".into(), text: text.into() };
        let sources = [File { path: "a/src/ids.rs".into(), text: String::new() }];
        let found = |sources: &[File]| missing_paths(&root, &file, sources).into_iter().map(|f| f.what);
        assert_eq!(found(&sources).collect::<Vec<_>>(), ["raft/gone.rs does not exist"]);
        assert_eq!(found(&[]).collect::<Vec<_>>(), ["raft/gone.rs does not exist", "ids.rs does not exist"]);
    }

    #[test]
    fn code_must_be_from_an_example() {
        let text = "a\n```rust\nlet a =\n    1;\n```\nb\n```rust\nlet b = 1;\n```\n";
        let file = File { path: "README.md".into(), text: text.into() };
        let example = File { path: "examples/a.rs".into(), text: "fn f() { let a = 1; }".into() };
        let lines: Vec<usize> = invented_code(&file, &[example]).iter().map(|f| f.line).collect();
        assert_eq!(lines, [7]);
    }
}
