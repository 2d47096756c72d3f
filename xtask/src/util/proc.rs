//! Other programs: cargo, and whatever a command starts.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::util::{Context, Failure};

/// The top of the workspace.
pub(crate) fn root() -> PathBuf {
    // Cargo says where it has run us from; what was compiled in may be another copy of the workspace that builds in the same
    // place.
    let said = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).filter(|dir| dir.ends_with("xtask"));
    let here = said.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")));
    here.parent().unwrap_or(&here).to_path_buf()
}

/// The cargo that runs us, at the top of the workspace.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    for (name, _) in std::env::vars_os().filter(|(name, _)| is_of_this_package(&name.to_string_lossy())) {
        command.env_remove(name);
    }
    command
}

/// Whether it is what cargo has told this program of its own package. A build script that looks at such a variable would run
/// anew, and all that builds upon it be built anew, whenever somebody builds with and without xtask in turn.
fn is_of_this_package(name: &str) -> bool {
    ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|prefix| name.starts_with(prefix))
        || ["CARGO_BIN_NAME", "CARGO_CRATE_NAME", "CARGO_PRIMARY_PACKAGE"].contains(&name)
}

/// `cargo metadata` of the workspace, without its dependencies.
pub(crate) fn metadata() -> Result<Value, Failure> {
    metadata_of(&root())
}

/// The same of the workspace with this top.
pub(crate) fn metadata_of(root: &Path) -> Result<Value, Failure> {
    let text = stdout(cargo().current_dir(root).args(["metadata", "--format-version=1", "--no-deps"]))?;
    serde_json::from_str(&text).context(|| String::from("cargo metadata is not JSON"))
}

/// Where cargo builds.
pub(crate) fn target_dir() -> Result<PathBuf, Failure> {
    let metadata = metadata()?;
    let dir = metadata["target_directory"].as_str();
    dir.map(PathBuf::from).ok_or_else(|| Failure::new("cargo metadata names no target_directory"))
}

/// The packages that are no members of the workspace, as one of a user would be, in `examples`.
pub(crate) const OUTSIDE: [&str; 2] = ["custom-journal", "template"];

/// A cargo for one of [`OUTSIDE`]. It builds where the workspace does: most of what it needs is there.
pub(crate) fn cargo_outside(subcommand: &str, package: &str) -> Result<Command, Failure> {
    let mut command = cargo();
    command.arg(subcommand).arg("--manifest-path").arg(format!("examples/{package}/Cargo.toml"));
    if subcommand != "fmt" {
        command.arg("--locked").arg("--target-dir").arg(target_dir()?);
    }
    Ok(command)
}

/// The command as one would type it.
pub(crate) fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program.file_name().unwrap_or_else(|| command.get_program()).to_string_lossy().into_owned();
    let args = command.get_args().map(|arg| arg.to_string_lossy().into_owned());
    [name].into_iter().chain(args).collect::<Vec<_>>().join(" ")
}

/// Runs it quietly and returns what it wrote to standard output.
pub(crate) fn stdout(command: &mut Command) -> Result<String, Failure> {
    let output = command.stdin(Stdio::null()).output().context(|| shown(command))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(Failure::new(format!("{} failed: {}", shown(command), said.trim())));
    }
    String::from_utf8(output.stdout).context(|| shown(command))
}

/// Whether it can be run and ends well, quietly: a way to ask for an optional tool.
pub(crate) fn works(command: &mut Command) -> bool {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

/// Runs it with its output shown.
pub(crate) fn run(command: &mut Command) -> Result<bool, Failure> {
    eprintln!("$ {}", shown(command));
    let status = command.stdin(Stdio::null()).status().context(|| shown(command))?;
    Ok(status.success())
}

/// Runs it with its output shown, and keeps the lines for which `keep` holds.
pub(crate) fn run_keeping(
    command: &mut Command,
    keep: fn(&str) -> bool,
) -> Result<(bool, Vec<String>), Failure> {
    eprintln!("$ {}", shown(command));
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context(|| shown(command))?;
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let errors = std::thread::spawn(move || pass_on(err, std::io::stderr(), keep));
    let mut kept = pass_on(out, std::io::stdout(), keep);
    kept.extend(errors.join().unwrap_or_default());
    let status = child.wait().context(|| shown(command))?;
    Ok((status.success(), kept))
}

/// Copies lines from one to the other and returns those that are to be kept.
fn pass_on(from: Option<impl Read>, mut to: impl Write, keep: fn(&str) -> bool) -> Vec<String> {
    let mut kept = Vec::new();
    let Some(from) = from else { return kept };
    let mut from = BufReader::new(from);
    let mut line = Vec::new();
    while from.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
        // Nobody to show it to is no reason to stop reading: the child would block.
        let _ = to.write_all(&line);
        let text = String::from_utf8_lossy(&line).trim_end().to_string();
        if keep(&text) {
            kept.push(text);
        }
        line.clear();
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ring's build script looks at `CARGO_MANIFEST_DIR`: five minutes of building at each change.
    #[test]
    fn cargo_is_run_as_from_a_shell() {
        assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some(), "cargo says so to a test as well");
        let removed: Vec<_> = cargo()
            .get_envs()
            .filter(|(_, value)| value.is_none())
            .map(|(name, _)| name.to_owned())
            .collect();
        assert!(removed.iter().any(|name| name == "CARGO_MANIFEST_DIR"), "{removed:?}");
        assert!(removed.iter().all(|name| is_of_this_package(&name.to_string_lossy())), "{removed:?}");
        assert!(!is_of_this_package("CARGO_TARGET_DIR") && !is_of_this_package("CARGO_HOME"));
    }
}
