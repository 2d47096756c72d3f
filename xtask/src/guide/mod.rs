//! `cargo xtask guide`: runs the guide as a reader would, and looks up every command that any document names.
//!
//! The blocks of a chapter that are marked `sh run` are one shell session. What such a block prints is compared with
//! the `text` block behind it: each line of that must come, in this order; `...` stands for anything. In a block
//! `text all` nothing that is printed is left out.

mod commands;
mod script;

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Outcome;
use crate::guard::Guard;
use crate::tidy;
use crate::util::{Context, Failure, proc, progress::Progress};

/// Flags of `cargo xtask guide`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only the chapters of this name, such as first-cluster; may be given more than once.
    #[arg(long, value_name = "NAME")]
    chapter: Vec<String>,
    /// The `raft-kv` to run. Built without optimisation otherwise.
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Shows what the chapters print.
    #[arg(long)]
    show: bool,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let Some(binary) = binary(args.binary.as_deref())? else { return Ok(false) };
    let root = proc::root();
    let mut findings = commands::unknown(&tidy::documents(&root)?, &binary)?;
    let guard = Guard::start()?;
    let tools = Tools::new(&binary)?;
    let mut ran = Vec::new();
    let folder = root.join("docs/guide");
    let chapters = std::fs::read_dir(&folder).context(|| format!("cannot read {}", folder.display()))?;
    let mut chapters: Vec<PathBuf> = chapters.filter_map(|entry| Some(entry.ok()?.path())).collect();
    chapters.sort();
    for path in chapters {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let wanted = args.chapter.is_empty() || args.chapter.contains(&name);
        let text = std::fs::read_to_string(&path).context(|| format!("cannot read {}", path.display()))?;
        let chapter = script::Chapter::new(format!("docs/guide/{name}.md"), &text);
        if wanted && !chapter.is_empty() {
            eprintln!("running {}", chapter.file);
            let progress = (!args.show).then(|| Progress::spinner("runs its commands"));
            findings.extend(chapter.run(&tools.path, &guard, args.show)?);
            drop(progress);
            ran.push(name);
        }
    }
    if let Some(unknown) = args.chapter.iter().find(|name| !ran.contains(name)) {
        return Err(Failure::new(format!("there is nothing to run in a chapter {unknown:?} of docs/guide")));
    }
    findings.iter().for_each(|finding| println!("{finding}"));
    println!("guide: chapters={} findings={}", ran.len(), findings.len());
    Ok(findings.is_empty() && !ran.is_empty())
}

/// The `raft-kv` to run; `None` if it does not compile.
fn binary(given: Option<&Path>) -> Result<Option<PathBuf>, Failure> {
    if let Some(given) = given {
        return Ok(Some(given.canonicalize().context(|| format!("cannot find {}", given.display()))?));
    }
    let built = proc::run(proc::cargo().args(["build", "--quiet", "--package", "raft-kv"]))?;
    let name = format!("raft-kv{}", std::env::consts::EXE_SUFFIX);
    Ok(if built { Some(proc::target_dir()?.join("debug").join(name)) } else { None })
}

/// What a reader has in the path.
struct Tools {
    path: std::ffi::OsString,
    _dir: tempfile::TempDir,
}

impl Tools {
    /// `raft-kv`, and our own `redis-cli` where there is none.
    fn new(binary: &Path) -> Result<Self, Failure> {
        let dir = tempfile::tempdir().context(|| String::from("no temporary folder"))?;
        let write = |name: &str, program: &Path, word: &str| {
            let path = dir.path().join(name);
            let text = format!("#!/bin/sh\nexec '{}' {word}\"$@\"\n", program.display());
            std::fs::write(&path, text).context(|| format!("cannot write {}", path.display()))?;
            executable(&path)
        };
        write("raft-kv", binary, "")?;
        if !proc::works(Command::new("redis-cli").arg("--version")) {
            let ours = std::env::current_exe().context(|| String::from("no path of our own"))?;
            write("redis-cli", &ours, "redis-cli ")?;
        }
        let mut path = dir.path().as_os_str().to_owned();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        Ok(Self { path, _dir: dir })
    }
}

#[cfg(unix)]
fn executable(path: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::PermissionsExt;
    let all = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(path, all).context(|| format!("cannot make {} executable", path.display()))
}

#[cfg(not(unix))]
fn executable(_: &Path) -> Result<(), Failure> {
    Err(Failure::new("the guide needs a Unix"))
}
