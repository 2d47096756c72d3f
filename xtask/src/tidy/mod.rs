//! `cargo xtask tidy`: checks what no compiler does. Each says what to do instead.
//!
//! It is a test of xtask too, so that `cargo test` finds what it finds.

mod bounds;
#[cfg(test)]
mod broken;
mod direction;
mod formats;
mod links;
mod words;

use std::path::{Path, PathBuf};

use crate::Outcome;
use crate::util::{Context, Failure, proc};

/// Flags of `cargo xtask tidy`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Writes the present hashes of the format sources into the format documents. Do it after you have
    /// checked that the document still says what the source does.
    #[arg(long)]
    bless: bool,
}

/// One thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    /// The file, from the top of the workspace.
    pub(crate) file: String,
    /// The line from 1, or 0 for the file as a whole.
    pub(crate) line: usize,
    /// What is wrong and what to do.
    pub(crate) what: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.what),
            line => write!(f, "{}:{line}: {}", self.file, self.what),
        }
    }
}

/// A text file of the workspace.
pub(crate) struct File {
    /// Its path from the top, with `/`.
    pub(crate) path: String,
    /// All of it.
    pub(crate) text: String,
}

impl File {
    pub(crate) fn finding(&self, line: usize, what: impl Into<String>) -> Finding {
        Finding { file: self.path.clone(), line, what: what.into() }
    }
}

pub(crate) fn run(args: &Args) -> Outcome {
    let root = proc::root();
    if args.bless {
        for document in formats::bless(&root)? {
            println!("blessed {document}");
        }
    }
    let findings = check(&root)?;
    for finding in &findings {
        println!("{finding}");
    }
    println!("tidy: findings={}", findings.len());
    Ok(findings.is_empty())
}

/// Everything that is wrong, in order of files and lines.
pub(crate) fn check(root: &Path) -> Result<Vec<Finding>, Failure> {
    let rust = files(root, "rs")?;
    let documents = documents(root)?;
    let metadata = proc::metadata_of(root)?;
    let mut findings = direction::crates(root, &metadata);
    for package in proc::OUTSIDE {
        let outside = format!("examples/{package}/Cargo.toml");
        let manifest = read(root, &root.join(&outside))?.text;
        findings.extend(direction::outside(&outside, &manifest, package != "template"));
    }
    for file in &rust {
        findings.extend(direction::modules(file, &direction::traits(&rust)));
        findings.extend(words::banned(file));
        findings.extend(words::not_ascii(file));
        findings.extend(bounds::unnamed(file, &documents));
    }
    findings.extend(words::unsafe_is_forbidden(root, &metadata, &rust)?);
    for file in &documents {
        findings.extend(links::dead(root, file));
        if file.path == "ARCHITECTURE.md" {
            findings.extend(links::missing_paths(root, file, &rust));
        }
        if file.path == "README.md" || file.path.starts_with("docs/guide/") {
            findings.extend(links::invented_code(file, &rust));
        }
    }
    findings.extend(links::no_chapter(&documents));
    findings.extend(formats::stale(root)?);
    findings.sort();
    Ok(findings)
}

/// Every document, in order of their paths.
pub(crate) fn documents(root: &Path) -> Result<Vec<File>, Failure> {
    files(root, "md")
}

/// Every file with this ending that belongs to the workspace, in order of their paths.
fn files(root: &Path, ending: &str) -> Result<Vec<File>, Failure> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let shown = || format!("cannot read {}", folder.display());
        for entry in std::fs::read_dir(&folder).context(shown)? {
            let path = entry.context(shown)?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() {
                if name != "target" && !name.starts_with('.') {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found.iter().map(|path| read(root, path)).collect()
}

fn read(root: &Path, path: &PathBuf) -> Result<File, Failure> {
    let text = std::fs::read_to_string(path).context(|| format!("cannot read {}", path.display()))?;
    let path = path.strip_prefix(root).unwrap_or(path).to_string_lossy().replace('\\', "/");
    Ok(File { path, text })
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_workspace_is_tidy() {
        let findings = super::check(&crate::util::proc::root()).unwrap();
        let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
        assert!(lines.is_empty(), "\n{}\n", lines.join("\n"));
    }
}
