//! Whether the names of the libraries can be had: whoever publishes a crate first has its name for good.

use std::process::Stdio;

use serde_json::Value;

use super::manifests::libraries;
use crate::ci::{Ended, StepResult};
use crate::util::{Context, proc};

/// What crates.io says of a name.
#[derive(Debug, PartialEq, Eq)]
enum Name {
    Free,
    /// Published from this repository, last with this version.
    Ours(String),
    /// Published from another repository, or from one that it does not tell.
    Others(String),
}

/// Reads what `cargo info` has printed of a crate that there is.
fn of_info(info: &str, repository: &str) -> Name {
    let said = |field: &str| info.lines().find_map(|line| line.strip_prefix(field)).map(str::trim);
    match said("repository:") {
        Some(there) if there == repository => Name::Ours(said("version:").unwrap_or("?").to_owned()),
        there => Name::Others(there.unwrap_or("it names no repository").to_owned()),
    }
}

/// What crates.io says; `None` where it cannot be asked.
fn ask(name: &str, repository: &str) -> Result<Option<Name>, crate::util::Failure> {
    // Outside of the workspace, whose own package of that name it would show.
    let elsewhere = tempfile::tempdir().context(|| String::from("no temporary folder"))?;
    let mut command = proc::cargo();
    command.current_dir(elsewhere.path()).stdin(Stdio::null());
    command.args(["info", name, "--registry", "crates-io", "--color", "never"]);
    // What an earlier run has stored says nothing of today.
    command.env_remove("CARGO_NET_OFFLINE");
    let output = command.output().context(|| proc::shown(&command))?;
    let said = String::from_utf8_lossy(&output.stderr);
    Ok(match output.status.success() {
        true => Some(of_info(&String::from_utf8_lossy(&output.stdout), repository)),
        false if said.contains("could not find") => Some(Name::Free),
        false => {
            eprintln!("{}", said.trim());
            None
        }
    })
}

/// A crate that there is: who does not find it has not asked crates.io.
const THERE: &str = "serde";

/// Asks for each library.
pub(super) fn check(metadata: &Value) -> StepResult {
    if matches!(ask(THERE, "")?, None | Some(Name::Free)) {
        return Ok(Ended::Skipped(format!("crates.io cannot be asked: it does not know {THERE}")));
    }
    let (mut passed, mut asked, mut taken) = (true, true, Vec::new());
    for package in libraries(metadata) {
        let [name, version, repository] =
            ["name", "version", "repository"].map(|field| package[field].as_str().unwrap_or_default());
        match ask(name, repository)? {
            None => asked = false,
            Some(Name::Free) => eprintln!("{name}: free"),
            Some(Name::Ours(there)) if there == version => {
                eprintln!("{name}: {version} is published already: raise the version in Cargo.toml");
                passed = false;
            }
            Some(Name::Ours(there)) => eprintln!("{name}: ours, {there}"),
            Some(Name::Others(whose)) => {
                eprintln!(
                    "{name}: another's on crates.io ({whose}): choose another name for the package (with `package = \"...\"` \
                     where it is needed and `[lib] name` the sources stay as they are), or have it given by its owner"
                );
                taken.push(name);
            }
        }
    }
    Ok(if !passed {
        Ended::Failed
    } else if !taken.is_empty() {
        Ended::Due(format!("another's on crates.io, to be renamed: {}", taken.join(", ")))
    } else if !asked {
        Ended::Skipped(String::from("crates.io was not asked for each: see above"))
    } else {
        Ended::Passed
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_a_name_is_tells_its_repository() {
        let info = "raft-x #raft\nA crate.\nversion: 1.2.0\nrepository: https://github.com/us/raft\n";
        assert_eq!(of_info(info, "https://github.com/us/raft"), Name::Ours(String::from("1.2.0")));
        let others = Name::Others(String::from("https://github.com/us/raft"));
        assert_eq!(of_info(info, "https://github.com/them/raft"), others);
        assert!(matches!(of_info("version: 1.2.0\n", ""), Name::Others(_)));
    }
}
