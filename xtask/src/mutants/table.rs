//! The table of planted bugs: `xtask/mutants/table.toml`, and a patch of the same name for each row.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::util::{Context, Failure};

/// Where the table and the patches are, from the top of the workspace.
const FOLDER: &str = "xtask/mutants";

/// What may catch a planted bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(super) enum By {
    /// The simulator of whole nodes.
    Sim,
    /// The model checker over the protocol.
    Model,
    /// The crash states of the file journal.
    Crash,
    /// A test by name, where none of the others can see it.
    Test,
}

/// One planted bug.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Mutant {
    pub(super) name: String,
    /// What goes wrong.
    pub(super) breaks: String,
    /// Where the rule that it breaks comes from.
    pub(super) rule: String,
    /// What must catch it; they are tried in this order.
    pub(super) by: Vec<By>,
    /// The checker of the simulator that it is meant for.
    pub(super) checker: Option<String>,
    /// The test, if one is among `by`: package, target if it is one of `tests/`, and name.
    pub(super) test: Option<Vec<String>>,
    /// It cannot be switched on and off in a binary with others.
    #[serde(default)]
    pub(super) alone: bool,
    /// Why nothing that looks at whole nodes can see it, where nothing does.
    pub(super) note: Option<String>,
}

impl Mutant {
    /// Its patch.
    pub(super) fn patch(&self, root: &Path) -> PathBuf {
        root.join(FOLDER).join(format!("{}.patch", self.name))
    }

    /// What of the test's package is to be built, and the test's name.
    pub(super) fn test(&self) -> Option<(Vec<&str>, &str)> {
        match self.test.as_deref()? {
            [package, name] => Some((vec!["--release", "--package", package, "--all-features"], name)),
            [package, target, name] if target == "lib" => {
                Some((vec!["--release", "--package", package, "--all-features", "--lib"], name))
            }
            [package, target, name] => {
                Some((vec!["--release", "--package", package, "--all-features", "--test", target], name))
            }
            _ => None,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    mutant: Vec<Mutant>,
}

/// All planted bugs. Each row has a patch, each patch a row, and no name stands twice.
pub(super) fn read(root: &Path) -> Result<Vec<Mutant>, Failure> {
    let folder = root.join(FOLDER);
    let path = folder.join("table.toml");
    let text = std::fs::read_to_string(&path).context(|| format!("cannot read {}", path.display()))?;
    let Table { mutant: mutants } = toml::from_str(&text).context(|| format!("{FOLDER}/table.toml"))?;
    let mut patches = BTreeSet::new();
    for file in std::fs::read_dir(&folder).context(|| String::from(FOLDER))? {
        let path = file.context(|| String::from(FOLDER))?.path();
        if path.extension().is_some_and(|extension| extension == "patch") {
            patches.insert(path.file_stem().unwrap_or_default().to_string_lossy().into_owned());
        }
    }
    let mut seen = BTreeSet::new();
    for mutant in &mutants {
        let name = &mutant.name;
        if !seen.insert(name.clone()) {
            return Err(Failure::new(format!("{FOLDER}/table.toml has {name} twice")));
        }
        if !patches.remove(name) {
            return Err(Failure::new(format!("{FOLDER}/{name}.patch is missing")));
        }
        if mutant.by.is_empty() || (mutant.by.contains(&By::Test) && mutant.test().is_none()) {
            return Err(Failure::new(format!("{name}: nothing is named that must catch it")));
        }
    }
    match patches.first() {
        Some(name) => Err(Failure::new(format!("{FOLDER}/{name}.patch has no row in table.toml"))),
        None => Ok(mutants),
    }
}
