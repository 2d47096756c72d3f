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

/// Paths in backticks that do not exist: from the top, or from the sources of raft-core.
pub(super) fn missing_paths(root: &Path, file: &File) -> Vec<Finding> {
    let exists = |path: &str| {
        ["", "raft-core/src/", "examples/"].iter().any(|base| root.join(base).join(path).exists())
    };
    let mut findings = Vec::new();
    for (line, text) in prose(&file.text) {
        for span in text.split('`').skip(1).step_by(2) {
            let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
            let path = span.trim_end_matches('/');
            if span.contains('/') && span.chars().all(plain) && !exists(path) {
                findings.push(file.finding(line, format!("{span} does not exist")));
            }
        }
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
        let found: Vec<String> = missing_paths(&root, &file).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["ARCHITECTURE.md:2: raft/gone.rs does not exist"]);
    }
}
