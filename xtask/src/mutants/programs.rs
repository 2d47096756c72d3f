//! Tests and the simulator, compiled together from the tree that has all switches: one build of each crate.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::merge::Merge;
use super::tree::Tree;
use crate::util::{Context, Failure, proc};

/// What of a package is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Program<'a> {
    /// The unit tests.
    Lib,
    /// One of the files in `tests/`.
    Test(&'a str),
    /// The simulator, which raft-testkit has.
    Sim,
}

impl<'a> Program<'a> {
    /// What cargo calls it, unless it is the library.
    pub(super) const fn name(self) -> Option<&'a str> {
        match self {
            Self::Lib => None,
            Self::Test(name) => Some(name),
            Self::Sim => Some("raft-sim"),
        }
    }
}

/// The package, and what cargo calls it unless it is the library.
type Key = (String, Option<String>);

/// Where they are.
pub(super) struct Programs(BTreeMap<Key, PathBuf>);

/// What is wanted of which packages.
pub(super) type Wanted<'a> = BTreeSet<(&'a str, Program<'a>)>;

/// What the kept programs were built from.
const KEPT: &str = "switched.json";

impl Programs {
    /// Those that an earlier run has built from the same sources and with the same changes.
    pub(super) fn kept(tree: &Tree, merge: &Merge, wanted: &Wanted<'_>) -> Option<Self> {
        let text = std::fs::read_to_string(tree.scratch(KEPT)).ok()?;
        let (digest, programs): (u64, Vec<(Key, PathBuf)>) = serde_json::from_str(&text).ok()?;
        let all = Self(programs.into_iter().collect());
        let whole =
            wanted.iter().all(|(package, program)| all.get(package, *program).is_ok_and(Path::exists));
        (digest == merge.digest(tree.digest) && whole).then_some(all)
    }

    /// Compiles them from the tree in which these changes are planted. They stay as they are when something else is
    /// built.
    pub(super) fn build(tree: &Tree, merge: &Merge, wanted: &Wanted<'_>) -> Result<Self, Failure> {
        let shown = || String::from("cannot keep what was built");
        if tree.scratch(KEPT).exists() {
            std::fs::remove_file(tree.scratch(KEPT)).context(shown)?;
        }
        let mut command = tree.cargo();
        command.args(["test", "--no-run", "--release", "--message-format=json"]);
        // The same features whatever is wanted, so that nothing is built twice.
        command.args(["--features", "raft-testkit/tools"]);
        for package in
            wanted.iter().map(|(package, _)| *package).chain(["raft-testkit"]).collect::<BTreeSet<_>>()
        {
            command.args(["--package", package]);
        }
        let mut targets = BTreeSet::new();
        for (_, program) in wanted {
            match program {
                Program::Lib => targets.insert(vec!["--lib"]),
                Program::Test(name) => targets.insert(vec!["--test", name]),
                // Tools are built with the tests of their package.
                Program::Sim => targets.insert(vec!["--test", "scenarios"]),
            };
        }
        let said = proc::stdout(command.args(targets.into_iter().flatten()))?;
        let built = said.lines().filter_map(|line| program(&serde_json::from_str(line).ok()?));
        let mut programs = BTreeMap::new();
        for (key, path) in built {
            let kept = tree.scratch(&format!("switched-{}-{}", key.0, key.1.as_deref().unwrap_or("lib")));
            if kept.exists() {
                std::fs::remove_file(&kept).context(|| format!("cannot remove {}", kept.display()))?;
            }
            std::fs::copy(&path, &kept).context(|| format!("cannot keep {}", path.display()))?;
            programs.insert(key, kept);
        }
        let all: Vec<(&Key, &PathBuf)> = programs.iter().collect();
        let text = serde_json::to_string(&(merge.digest(tree.digest), all)).context(shown)?;
        std::fs::write(tree.scratch(KEPT), text).context(shown)?;
        Ok(Self(programs))
    }

    pub(super) fn get(&self, package: &str, program: Program<'_>) -> Result<&Path, Failure> {
        let key = (String::from(package), program.name().map(String::from));
        let path = self.0.get(&key).map(PathBuf::as_path);
        path.ok_or_else(|| {
            Failure::new(format!("{package} has no {}", program.name().unwrap_or("unit tests")))
        })
    }
}

/// A test binary, or a tool, that cargo says it has built: of which package, what it is called unless it has the
/// tests of the library, and where it is.
fn program(said: &Value) -> Option<(Key, PathBuf)> {
    let path = PathBuf::from(said["executable"].as_str()?);
    let (target, id) = (&said["target"], said["package_id"].as_str()?);
    let package = id.rsplit('/').next()?.split('#').next()?;
    let kind = target["kind"][0].as_str()?;
    let name = match (kind, said["profile"]["test"].as_bool()?) {
        ("test", true) | ("bin", false) => Some(target["name"].as_str()?.to_string()),
        ("lib", true) => None,
        _ => return None,
    };
    Some(((String::from(package), name), path))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_cargo_has_built_is_found() {
        let said = |kind: &str, name: &str, test: bool| {
            json!({
                "reason": "compiler-artifact", "package_id": "path+file:///a/raft-core#0.1.0", "executable": "/t/x",
                "target": { "kind": [kind], "name": name }, "profile": { "test": test },
            })
        };
        let key = |name: Option<&str>| (String::from("raft-core"), name.map(String::from));
        let found = |said: &Value| program(said).map(|(key, _)| key);
        assert_eq!(found(&said("test", "paper", true)), Some(key(Some("paper"))));
        assert_eq!(found(&said("lib", "raft_core", true)), Some(key(None)));
        assert_eq!(found(&said("bin", "raft-sim", false)), Some(key(Some("raft-sim"))));
        assert_eq!(found(&said("bin", "raft-sim", true)), None);
    }
}
