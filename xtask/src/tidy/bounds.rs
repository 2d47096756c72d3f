//! Every bound in bytes that a user can set stands on the page that adds them up.

use super::{File, Finding};

/// The page.
const LIMITS: &str = "docs/limits.md";

/// Where the settings of a crate are.
const SETTINGS: &[&str] = &[
    "raft-core/src/config.rs",
    "raft-core/src/session/mod.rs",
    "raft-core/src/session/table.rs",
    "raft-log-file/src/options.rs",
    "raft-log-sqlite/src/options.rs",
    "raft-net-grpc/src/transport.rs",
    "raft-net-tcp/src/transport.rs",
];

/// Settings in bytes that the page does not name.
pub(super) fn unnamed(file: &File, documents: &[File]) -> Vec<Finding> {
    if !SETTINGS.contains(&file.path.as_str()) {
        return Vec::new();
    }
    let page = documents.iter().find(|document| document.path == LIMITS);
    let is_named = |name: &str| page.is_some_and(|page| page.text.contains(&format!("`{name}`")));
    let unnamed = |(n, line): (usize, &str)| {
        let (name, _) = line.trim().strip_prefix("pub ")?.split_once(": ")?;
        let is_bound = name.ends_with("_bytes") && !is_named(name);
        is_bound
            .then(|| file.finding(n + 1, format!("{LIMITS} does not name `{name}`: say what happens at it")))
    };
    file.text.lines().enumerate().filter_map(unnamed).collect()
}
