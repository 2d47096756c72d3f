//! What this program says it is.

use std::sync::LazyLock;

/// The version and, where it was built in a clone of the repository, the commit (`build.rs`).
pub(crate) fn version() -> &'static str {
    static LINE: LazyLock<String> =
        LazyLock::new(|| line(env!("CARGO_PKG_VERSION"), option_env!("RAFT_KV_COMMIT")));
    &LINE
}

fn line(version: &str, commit: Option<&str>) -> String {
    match commit {
        Some(commit) => format!("{version} ({commit})"),
        None => version.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commit_is_said_where_there_is_one() {
        assert_eq!(line("1.2.3", None), "1.2.3");
        assert_eq!(line("1.2.3", Some("c03218f")), "1.2.3 (c03218f)");
        assert_eq!(line("1.2.3", Some("c03218f-changed")), "1.2.3 (c03218f-changed)");
        assert!(version().starts_with(env!("CARGO_PKG_VERSION")));
    }
}
