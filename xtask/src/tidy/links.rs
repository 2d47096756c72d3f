//! What documents point to must be there.

use std::path::Path;

use super::{File, Finding};
use crate::util::markdown;

/// The list of the book's chapters.
const SUMMARY: &str = "docs/SUMMARY.md";

/// Relative links of a document that lead nowhere, be it to no file or to no heading in it.
pub(super) fn dead(root: &Path, file: &File) -> Vec<Finding> {
    let folder = Path::new(&file.path).parent().unwrap_or_else(|| Path::new(""));
    let mut findings = Vec::new();
    for (line, target) in markdown::links(&file.text) {
        let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
        if path.contains("://") || path.starts_with("mailto:") {
            continue;
        }
        let there = root.join(folder).join(path);
        if !there.exists() {
            findings.push(file.finding(line, format!("the link to {path} leads nowhere: mend the path")));
        } else if !anchor.is_empty() && (path.is_empty() || path.ends_with(".md")) {
            let text = if path.is_empty() { Ok(file.text.clone()) } else { std::fs::read_to_string(there) };
            let is_there = |text: String| markdown::anchors(&text).iter().any(|found| found == anchor);
            if !text.is_ok_and(is_there) {
                findings.push(file.finding(
                    line,
                    format!("the link to {target} leads to no heading: take one that is there"),
                ));
            }
        }
    }
    findings
}

/// Documents that are no chapter of the book, and chapters that are there twice.
pub(super) fn no_chapter(documents: &[File]) -> Vec<Finding> {
    let Some(summary) = documents.iter().find(|file| file.path == SUMMARY) else {
        return vec![Finding { file: SUMMARY.into(), line: 0, what: "the list of chapters is gone".into() }];
    };
    let listed: Vec<&str> = markdown::links(&summary.text).map(|(_, target)| target).collect();
    let mut findings = Vec::new();
    for file in documents.iter().filter(|file| file.path != SUMMARY) {
        let Some(path) = file.path.strip_prefix("docs/") else { continue };
        let times = listed.iter().filter(|listed| **listed == path).count();
        if times != 1 {
            findings.push(
                file.finding(0, format!("must stand in {SUMMARY} once; it stands there {times} times")),
            );
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
    for (line, span) in markdown::spans(&file.text) {
        let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
        let path = span.trim_end_matches('/');
        let is_path = span.contains('/') && !exists(path);
        let is_name = !span.contains('/') && span.ends_with(".rs") && !named(span);
        if span.chars().all(plain) && (is_path || is_name) {
            findings.push(file.finding(line, format!("{span} does not exist: name what took its place")));
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
    for block in markdown::blocks(&file.text).into_iter().filter(|block| block.info == "rust") {
        let code = squeeze(&block.code);
        if !examples.iter().any(|example| example.contains(&code)) {
            let what = "this block must be copied from an example, which compiles";
            findings.push(file.finding(block.line - 1, what));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dead_links_are_found() {
        let root = crate::util::proc::root();
        let text = "# Here\n[a](../Cargo.toml#x) [b](gone.md) [c](https://x.y/z) [d](#here)\n```\n[e](gone)\n```\n\
                    [f](#there) [g](../README.md#status) [h](../README.md#gone)";
        let file = File { path: "docs/x.md".into(), text: text.into() };
        let found: Vec<String> = dead(&root, &file).iter().map(ToString::to_string).collect();
        let expected = [
            "docs/x.md:2: the link to gone.md leads nowhere: mend the path",
            "docs/x.md:6: the link to #there leads to no heading: take one that is there",
            "docs/x.md:6: the link to ../README.md#gone leads to no heading: take one that is there",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn every_document_is_a_chapter_once() {
        let file = |path: &str, text: &str| File { path: path.into(), text: text.into() };
        let documents = [
            file("README.md", ""),
            file("docs/SUMMARY.md", "[a](a.md) [b](b/b.md) [b](b/b.md)"),
            file("docs/a.md", ""),
            file("docs/b/b.md", ""),
            file("docs/c.md", ""),
        ];
        let found: Vec<String> = no_chapter(&documents).into_iter().map(|finding| finding.file).collect();
        assert_eq!(found, ["docs/b/b.md", "docs/c.md"]);
        assert_eq!(no_chapter(&[]).len(), 1);
    }

    #[test]
    fn missing_paths_are_found() {
        let root = crate::util::proc::root();
        let text = "`raft-core/src/ids.rs` `membership/quorum.rs` `a / b`\n`raft/gone.rs` `ids.rs`";
        let file = File { path: "ARCHITECTURE.md".into(), text: text.into() };
        let sources = [File { path: "a/src/ids.rs".into(), text: String::new() }];
        let found = |sources: &[File]| missing_paths(&root, &file, sources).into_iter().map(|f| f.what);
        assert_eq!(
            found(&sources).collect::<Vec<_>>(),
            ["raft/gone.rs does not exist: name what took its place"]
        );
        assert_eq!(
            found(&[]).collect::<Vec<_>>(),
            [
                "raft/gone.rs does not exist: name what took its place",
                "ids.rs does not exist: name what took its place"
            ]
        );
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
