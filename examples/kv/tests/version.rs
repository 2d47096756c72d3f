//! Which commit a build says it is of. Two builds of one version were taken for each other: nobody could see which nodes ran
//! the new program.

#[path = "../build/commit.rs"]
mod commit;

use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs git with an identity of its own, and gives what it prints.
#[track_caller]
fn git(folder: &Path, arguments: &str) -> String {
    let mut command = Command::new("git");
    command.arg("-C").arg(folder).args(["-c", "user.name=a", "-c", "user.email=a@b"]);
    let output = command.args(["-c", "commit.gpgsign=false"]).args(arguments.split(' ')).output().unwrap();
    assert!(output.status.success(), "git {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

/// A folder with what a build looks at.
fn sources() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for path in ["Cargo.toml", "README.md", "examples/kv/Cargo.toml", "raft-core/src/lib.rs"] {
        write(dir.path(), path, "1");
    }
    dir
}

fn write(top: &Path, path: &str, text: &str) {
    let path = top.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn commit_all(top: &Path) {
    git(top, "add --all");
    git(top, "commit --quiet --allow-empty --message m");
}

fn of(top: &Path) -> Option<commit::Build> {
    commit::of(&top.join("examples/kv"))
}

#[track_caller]
fn said(top: &Path) -> String {
    of(top).unwrap().commit
}

/// What is in the files that a build watches, but for the sources, which no commit touches.
#[track_caller]
fn watched(top: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let all = of(top).unwrap().depends_on;
    assert!(all.iter().all(|path| path.exists()), "{all:?}");
    let in_git = all.into_iter().filter(|path| path.components().any(|part| part.as_os_str() == ".git"));
    in_git.map(|path| (path.clone(), std::fs::read(path).unwrap_or_default())).collect()
}

#[test]
fn without_a_clone_there_is_no_commit() {
    let dir = sources();
    assert!(of(dir.path()).is_none());
}

/// Each package that the program is made of is looked at, where it is changed.
#[test]
fn the_packages_are_those_of_the_manifest() {
    let manifest = include_str!("../Cargo.toml");
    let (_, list) = manifest.split_once("[dependencies]").unwrap();
    let (list, _) = list.split_once("\n[").unwrap();
    let ours = list.lines().filter(|line| line.starts_with("raft-"));
    let ours: Vec<&str> = ours.filter_map(|line| line.split(['.', ' ']).next()).collect();
    assert_eq!(ours, commit::PACKAGES);
}

#[test]
#[ignore = "needs git"]
fn a_build_in_a_clone_says_its_commit_and_whether_it_is_changed() {
    let dir = sources();
    let top = dir.path();
    git(top, "init --quiet");
    assert!(of(top).is_none(), "there is no commit yet");
    commit_all(top);
    let hash = git(top, "rev-parse --short HEAD");
    assert_eq!(said(top), hash);

    write(top, "README.md", "2");
    write(top, "notes", "1");
    assert_eq!(said(top), hash, "the program is not made of these");
    write(top, "raft-core/src/lib.rs", "2");
    assert_eq!(said(top), format!("{hash}-changed"));
    git(top, "checkout --quiet raft-core");
    write(top, "examples/kv/src/new.rs", "1");
    assert_eq!(said(top), format!("{hash}-changed"), "nobody has told git of this one");
    commit_all(top);
    assert_eq!(said(top), git(top, "rev-parse --short HEAD"));
}

/// A copy that lies within another repository is of none of its commits.
#[test]
#[ignore = "needs git"]
fn a_copy_in_another_repository_has_no_commit() {
    let dir = sources();
    let top = dir.path();
    git(top, "init --quiet");
    commit_all(top);
    for path in ["examples/kv/Cargo.toml", "raft-core/src/lib.rs"] {
        write(&top.join("target/package/raft-kv"), path, "1");
    }
    assert!(of(&top.join("target/package/raft-kv")).is_none());
    git(top, "rm --quiet -r --cached examples");
    assert!(of(top).is_none(), "it lies in its place, and is not in the repository");
}

#[test]
#[ignore = "needs git"]
fn what_is_watched_changes_when_head_moves() {
    let dir = sources();
    let top = dir.path();
    git(top, "init --quiet");
    commit_all(top);
    let mut before = watched(top);
    let mut moves = |what: &str, top: &Path| {
        let now = watched(top);
        assert_ne!(now, before, "{what}");
        before = now;
    };
    commit_all(top);
    moves("a commit", top);
    git(top, "pack-refs --all");
    commit_all(top);
    moves("a commit on a packed branch", top);
    git(top, "reset --quiet --hard HEAD^");
    moves("a reset", top);
    git(top, "checkout --quiet -b other");
    commit_all(top);
    moves("another branch", top);
    git(top, "worktree add --quiet tree");
    let tree = top.join("tree");
    assert!(tree.join(".git").is_file());
    moves("a worktree", &tree);
    commit_all(&tree);
    moves("a commit in a worktree", &tree);
    let there = watched(&tree);
    commit_all(top);
    assert_eq!(watched(&tree), there, "a commit elsewhere is none here");

    git(top, "config core.logAllRefUpdates false");
    std::fs::remove_dir_all(top.join(".git/logs")).unwrap();
    git(top, "pack-refs --all");
    moves("no logs", top);
    assert!(before.len() > 1, "{before:?}");
}
