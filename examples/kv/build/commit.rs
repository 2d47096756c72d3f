//! Which commit a folder is of, and what must be looked at to know when that is no longer so.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where this package lies in its repository.
const PREFIX: &str = "examples/kv/";

/// The packages that the program is made of, besides its own.
pub(crate) const PACKAGES: [&str; 5] =
    ["raft-core", "raft-log-file", "raft-log-sqlite", "raft-net-grpc", "raft-net-tcp"];

/// What is compiled of a package.
const COMPILED: [&str; 4] = ["Cargo.toml", "build.rs", "proto", "src"];

/// A build in a clone.
pub(crate) struct Build {
    /// The short hash, and whether the sources are others than that commit has.
    pub(crate) commit: String,
    /// All of these exist: cargo takes one that does not for changed at every build.
    pub(crate) depends_on: Vec<PathBuf>,
}

/// `None` unless `folder` is this package in a clone, as far as git can say.
pub(crate) fn of(folder: &Path) -> Option<Build> {
    // A copy within a repository of somebody else, as `cargo package` makes one, is not of that one's commit.
    let is_ours = git(folder, &["rev-parse", "--show-prefix"])? == PREFIX;
    if !is_ours || git(folder, &["ls-files", "--error-unmatch", "Cargo.toml"]).is_none() {
        return None;
    }
    let top = folder.join("../..");
    let sources = sources(&top);
    let hash = git(folder, &["rev-parse", "--short", "HEAD"])?;
    let mut status = vec!["--no-optional-locks", "status", "--porcelain", "--"];
    status.extend(sources.iter().map(String::as_str));
    let is_changed = !git(&top, &status)?.is_empty();
    let mut depends_on: Vec<PathBuf> = sources.iter().map(|path| top.join(path)).collect();
    depends_on.extend(moves(folder));
    Some(Build { commit: if is_changed { format!("{hash}-changed") } else { hash }, depends_on })
}

/// What the program is compiled from, from the top. Where one of these changes it is compiled again anyway, so that to watch
/// them costs nothing more.
fn sources(top: &Path) -> Vec<String> {
    let packages = PACKAGES.into_iter().chain([PREFIX.trim_end_matches('/')]);
    let of_packages = packages.flat_map(|package| COMPILED.map(|name| format!("{package}/{name}")));
    let all = of_packages.chain(["Cargo.lock", "Cargo.toml"].map(String::from));
    all.filter(|path| top.join(path).exists()).collect()
}

/// What changes when HEAD moves. Its log has a line for each commit, checkout and reset, whether the branch is a file or packed, and
/// each worktree has its own. Where a clone keeps no logs, all that may hold the branch is watched.
fn moves(folder: &Path) -> Vec<PathBuf> {
    let existing = |name: &str| {
        let path = folder.join(git(folder, &["rev-parse", "--git-path", name])?);
        path.exists().then_some(path)
    };
    match existing("logs/HEAD") {
        Some(log) => vec![log],
        None => ["HEAD", "refs/heads", "packed-refs", "reftable"].into_iter().filter_map(existing).collect(),
    }
}

/// What git prints; `None` where there is none, or where it fails.
fn git(folder: &Path, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new("git");
    command.arg("-C").arg(folder).args(arguments).stdin(Stdio::null());
    // Whoever builds in a hook has these set, for the repository of the hook.
    for name in ["GIT_DIR", "GIT_COMMON_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX"] {
        command.env_remove(name);
    }
    let output = command.output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim_end().to_owned())
}
