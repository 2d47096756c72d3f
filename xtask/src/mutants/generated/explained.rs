//! Changes that nothing needs to catch, and why: `xtask/mutants/explained.toml`.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::list::Name;
use crate::util::{Context, Failure};

/// Where they are, from the top of the workspace.
pub(super) const FILE: &str = "xtask/mutants/explained.toml";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    #[serde(default)]
    change: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    file: String,
    change: String,
    line: String,
    why: String,
}

/// All of them. None stands twice, and none is without a reason.
pub(super) fn read(root: &Path) -> Result<BTreeMap<Name, String>, Failure> {
    let path = root.join(FILE);
    let text = std::fs::read_to_string(&path).context(|| format!("cannot read {}", path.display()))?;
    let Table { change: rows } = toml::from_str(&text).context(|| String::from(FILE))?;
    let mut reasons = BTreeMap::new();
    for Row { file, change, line, why } in rows {
        if why.trim().is_empty() {
            return Err(Failure::new(format!("{FILE}: no reason for {change}")));
        }
        let shown = format!("{FILE} has {change} twice");
        if reasons.insert(Name { file, change, line }, why).is_some() {
            return Err(Failure::new(shown));
        }
    }
    Ok(reasons)
}

#[cfg(test)]
mod tests {
    use crate::util::proc;

    #[test]
    fn what_is_explained_is_of_functions_that_exist() {
        let root = proc::root();
        for name in super::read(&root).unwrap().into_keys() {
            let text = std::fs::read_to_string(root.join(&name.file)).unwrap();
            let change = name.change.split(", place ").next().unwrap();
            let of = change.split(" in ").last().unwrap().trim_start_matches("replace ");
            let of = of.split([' ', '(']).next().unwrap();
            let function = of.rsplit("::").next().unwrap();
            assert!(text.contains(&format!("fn {function}")), "{}: {}", name.file, name.change);
        }
    }
}
