//! The copy of the workspace that bugs are planted in. It stays from run to run, with a build folder of its
//! own, so that cargo compiles again only what a patch touches.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::merge::{self, Merge};
use super::table::Mutant;
use crate::util::{Context, Failure, proc};

pub(super) struct Tree {
    root: PathBuf,
    tree: PathBuf,
    target: PathBuf,
    /// The commit that it is of, with a star if it has more than that.
    pub(super) commit: String,
    /// What the files were in which a bug is planted.
    sound: RefCell<Vec<(PathBuf, Vec<u8>)>>,
    /// A hash of all that is compiled.
    pub(super) digest: u64,
}

impl Tree {
    /// The copy, as the workspace is now: also what has not been committed. What is done to the workspace from
    /// here on does not reach it: a long run is of one state. It is in that folder of the build folder.
    pub(super) fn new(name: &str) -> Result<Self, Failure> {
        let folder = proc::target_dir()?.join(name);
        let (tree, target) = (folder.join("tree"), folder.join("target"));
        let root = proc::root();
        let commit = commit(&root);
        let mut tree = Self { root, tree, target, commit, sound: RefCell::default(), digest: 0 };
        tree.digest = tree.follow()?;
        Ok(tree)
    }

    /// Where something of the workspace is in the copy.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.tree.join(name)
    }

    /// Where results may be put.
    pub(super) fn scratch(&self, name: &str) -> PathBuf {
        self.target.join(name)
    }

    /// Makes the copy equal to the workspace, and says what it is of. A file that is equal already keeps its time.
    fn follow(&self) -> Result<u64, Failure> {
        let mut list = git(&self.root);
        list.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
        let list = proc::stdout(&mut list)?;
        let (mut wanted, mut hash) = (BTreeSet::new(), DefaultHasher::new());
        for name in list.split('\0').filter(|name| !name.is_empty()) {
            let from = self.root.join(name);
            if from.is_file() {
                wanted.insert(self.tree.join(name));
                let bytes = copy(&from, &self.tree.join(name))?;
                if !name.starts_with("docs/") && !name.starts_with("xtask/") && !is_text(name) {
                    (name, bytes).hash(&mut hash);
                }
            }
        }
        remove_others(&self.tree, &wanted)?;
        Ok(hash.finish())
    }

    /// Plants a bug.
    pub(super) fn plant(&self, mutant: &Mutant) -> Result<(), Failure> {
        let patch = mutant.patch(&self.tree);
        let text = std::fs::read_to_string(&patch).context(|| format!("cannot read {}", patch.display()))?;
        for name in touched(&text) {
            let path = self.tree.join(name);
            let bytes = std::fs::read(&path).context(|| format!("cannot read {}", path.display()))?;
            self.sound.borrow_mut().push((path, bytes));
        }
        proc::stdout(apply(&self.tree).arg(patch)).map(drop)
    }

    /// What each file that a bug changes is before and after.
    pub(super) fn changed(&self, mutant: &Mutant) -> Result<Vec<(PathBuf, String, String)>, Failure> {
        let patch = mutant.patch(&self.tree);
        let text = std::fs::read_to_string(&patch).context(|| format!("cannot read {}", patch.display()))?;
        let read = |name: &str| {
            let path = self.tree.join(name);
            std::fs::read_to_string(&path).context(|| format!("cannot read {}", path.display()))
        };
        let before: Vec<String> = touched(&text).map(read).collect::<Result<_, _>>()?;
        let after = self.plant(mutant).and_then(|()| touched(&text).map(read).collect::<Result<Vec<_>, _>>());
        self.heal()?;
        Ok(touched(&text)
            .map(PathBuf::from)
            .zip(before)
            .zip(after?)
            .map(|((path, b), a)| (path, b, a))
            .collect())
    }

    /// Plants all that can be switched.
    pub(super) fn plant_together(&self, merge: &Merge) -> Result<(), Failure> {
        let core = Path::new("raft-core/src");
        let lib = std::fs::read_to_string(self.tree.join(core).join("lib.rs"))
            .context(|| String::from("lib.rs"))?;
        let module = [
            (core.join("lib.rs"), format!("{lib}\npub mod planted;\n")),
            (core.join("planted.rs"), String::from(merge::MODULE)),
        ];
        let files = merge.files().map(|(path, text)| (path.to_path_buf(), text));
        for (name, text) in files.chain(module) {
            let path = self.tree.join(name);
            let before = std::fs::read(&path).unwrap_or_default();
            self.sound.borrow_mut().push((path.clone(), before));
            std::fs::write(&path, text).context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }

    /// Takes the planted bug out.
    pub(super) fn heal(&self) -> Result<(), Failure> {
        for (path, bytes) in self.sound.take() {
            std::fs::write(&path, bytes).context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }

    /// A cargo that works in the copy.
    pub(super) fn cargo(&self) -> Command {
        let mut command = proc::cargo();
        command.current_dir(&self.tree).env("CARGO_TARGET_DIR", &self.target);
        // What is built here is run once, and not for long: most of the time goes into compiling it.
        for (name, value) in [("INCREMENTAL", "true"), ("DEBUG", "false"), ("OPT_LEVEL", "1")] {
            command.env(format!("CARGO_PROFILE_RELEASE_{name}"), value);
        }
        command
    }

    /// Whether raft-testkit has a binary of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        let sources = self.tree.join("raft-testkit/src/bin");
        sources.join(name).exists() || sources.join(format!("{name}.rs")).exists()
    }

    /// Builds a binary of raft-testkit, optimised, and says where it is.
    pub(super) fn build(&self, name: &str) -> Result<PathBuf, Failure> {
        let mut command = self.cargo();
        command.args(["build", "--quiet", "--release", "--package", "raft-testkit", "--features", "tools"]);
        proc::stdout(command.args(["--bin", name]))?;
        Ok(self.target.join("release").join(format!("{name}{}", std::env::consts::EXE_SUFFIX)))
    }
}

/// `git apply` in a folder, whether or not a repository is around it. A patch may be some lines off.
pub(super) fn apply(folder: &Path) -> Command {
    let mut command = git(folder);
    if let Some(parent) = folder.parent() {
        command.env("GIT_CEILING_DIRECTORIES", parent);
    }
    command.args(["apply", "--recount", "-C1", "--whitespace=nowarn"]);
    command
}

fn commit(root: &Path) -> String {
    let ask = |args: &[&str]| proc::stdout(git(root).args(args)).unwrap_or_default();
    let star = if ask(&["status", "--porcelain"]).trim().is_empty() { "" } else { "*" };
    format!("{}{star}", ask(&["rev-parse", "--short=7", "HEAD"]).trim())
}

/// The files that a patch changes.
fn touched(patch: &str) -> impl Iterator<Item = &str> {
    patch.lines().filter_map(|line| line.strip_prefix("+++ b/")).map(str::trim)
}

fn git(folder: &Path) -> Command {
    let mut command = Command::new("git");
    command.current_dir(folder);
    command
}

/// Whether no compiler reads it.
fn is_text(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == "md" || extension == "txt")
}

/// Copies what is not equal, and returns the bytes.
fn copy(from: &Path, to: &Path) -> Result<Vec<u8>, Failure> {
    let shown = || format!("cannot copy {}", from.display());
    let bytes = std::fs::read(from).context(shown)?;
    if std::fs::read(to).is_ok_and(|there| there == bytes) {
        return Ok(bytes);
    }
    if let Some(parent) = to.parent() {
        std::fs::create_dir_all(parent).context(shown)?;
    }
    std::fs::write(to, &bytes).context(shown)?;
    Ok(bytes)
}

/// Removes the files below `folder` that are not wanted.
fn remove_others(folder: &Path, wanted: &BTreeSet<PathBuf>) -> Result<(), Failure> {
    let shown = || format!("cannot clear {}", folder.display());
    for entry in std::fs::read_dir(folder).context(shown)? {
        let path = entry.context(shown)?.path();
        if path.is_dir() {
            remove_others(&path, wanted)?;
        } else if !wanted.contains(&path) {
            std::fs::remove_file(&path).context(shown)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_patch_names_what_it_changes() {
        let patch = "diff --git a/x/y.rs b/x/y.rs\n--- a/x/y.rs\n+++ b/x/y.rs\n@@ -1 +1 @@\n-a\n+b\n--- a/z\n+++ b/z\n";
        assert_eq!(super::touched(patch).collect::<Vec<_>>(), ["x/y.rs", "z"]);
    }
}
