//! Compares traces with files, or writes them there.

use std::path::{Path, PathBuf};

use super::interpreter::World;
use super::parser::{self, Block};

/// Why a scenario does not hold.
///
/// # Examples
/// ```
/// use raft_testkit::scenario::{Failure, check_text};
///
/// let story = "cluster 1 2 3\nfly 1\n----\n";
/// let Err(Failure::Mistake { line, .. }) = check_text("mine", story) else { panic!() };
/// assert_eq!(line, 2, "nobody can fly");
/// assert!(matches!(check_text("mine", "cluster 1\nstatus 1\n"), Err(Failure::NoTrace { .. })));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// A command cannot be read or cannot be done, or the protocol broke one of its promises.
    #[error("{name}:{line}: {what}")]
    Mistake {
        /// The scenario.
        name: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        what: String,
    },
    /// Something else happened than is written there.
    #[error("{name}:{line}: another trace\n{difference}")]
    Differs {
        /// The scenario.
        name: String,
        /// The line of `----`.
        line: usize,
        /// Both traces, side by side.
        difference: String,
    },
    /// Commands without a trace. `BLESS=1` writes it.
    #[error("{name}:{line}: commands without an expected trace; BLESS=1 writes it")]
    NoTrace {
        /// The scenario.
        name: String,
        /// The last line.
        line: usize,
    },
    /// A folder, or a file, without any scenario passes no test.
    #[error("{name}: no scenario here")]
    Empty {
        /// The folder or file.
        name: String,
    },
    /// A file cannot be read or written.
    #[error("{name}: {cause}")]
    File {
        /// It.
        name: String,
        /// Why.
        cause: std::io::Error,
    },
}

/// Runs one scenario and compares. Returns how many blocks hold.
///
/// # Errors
/// [`Failure`], the first one.
///
/// # Examples
/// ```
/// use raft_testkit::scenario::check_text;
///
/// let story = "\
/// cluster 1 2 3
/// lead 1
/// ----
/// 1 leads term 1, log ends at 1.2
/// ";
/// assert_eq!(check_text("an election", story).unwrap(), 1);
/// let wrong = check_text("an election", &story.replace("term 1", "term 2")).unwrap_err();
/// assert!(wrong.to_string().starts_with("an election:3: another trace"), "{wrong}");
/// ```
pub fn check_text(name: &str, text: &str) -> Result<usize, Failure> {
    let (blocks, traces) = run(name, text)?;
    for (block, trace) in blocks.iter().zip(&traces) {
        let (name, line) = (name.to_owned(), block.line);
        match &block.expected {
            None if block.commands.is_empty() => {}
            None => return Err(Failure::NoTrace { name, line }),
            Some(expected) if expected == trace => {}
            Some(expected) => {
                return Err(Failure::Differs { name, line, difference: difference(expected, trace) });
            }
        }
    }
    Ok(blocks.len())
}

/// Runs every `.txt` file of a folder, in order of their names. With `bless` the traces are written into
/// the files; a scenario that breaks a promise of the protocol is never written. Returns how many hold.
///
/// # Errors
/// Every [`Failure`]; a folder without files is one too.
///
/// # Examples
/// ```
/// use std::fs;
///
/// use raft_testkit::scenario::{Failure, check_folder};
///
/// let folder = tempfile::tempdir()?;
/// let none = check_folder(folder.path(), false).unwrap_err();
/// assert!(matches!(none[..], [Failure::Empty { .. }]));
/// let story = folder.path().join("election.txt");
/// fs::write(&story, "cluster 1 2 3\nlead 1\n")?;
/// // Writes down what happens; from then on it must happen.
/// check_folder(folder.path(), true).unwrap();
/// assert!(fs::read_to_string(&story)?.contains("1 leads term 1"));
/// assert_eq!(check_folder(folder.path(), false).unwrap(), 1);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn check_folder(folder: &Path, bless: bool) -> Result<usize, Vec<Failure>> {
    let files = list(folder).map_err(|failure| vec![failure])?;
    let mut failures = Vec::new();
    for file in &files {
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if let Err(failure) = check_file(file, &name, bless) {
            failures.push(failure);
        }
    }
    if files.is_empty() {
        failures.push(Failure::Empty { name: folder.display().to_string() });
    }
    if failures.is_empty() { Ok(files.len()) } else { Err(failures) }
}

fn list(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let failed = |cause| Failure::File { name: folder.display().to_string(), cause };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "txt") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn check_file(file: &Path, name: &str, bless: bool) -> Result<(), Failure> {
    let failed = |cause| Failure::File { name: name.to_owned(), cause };
    let text = std::fs::read_to_string(file).map_err(failed)?;
    if bless {
        let (blocks, traces) = run(name, &text)?;
        let blessed = parser::render(&blocks, &traces);
        if blessed != text {
            std::fs::write(file, blessed).map_err(failed)?;
        }
        return Ok(());
    }
    check_text(name, &text).map(|_| ())
}

fn run(name: &str, text: &str) -> Result<(Vec<Block>, Vec<Vec<String>>), Failure> {
    let mistake = |line, what| Failure::Mistake { name: name.to_owned(), line, what };
    let blocks = parser::parse(text).map_err(|found| mistake(found.line, found.what))?;
    if blocks.iter().all(|block| block.commands.is_empty()) {
        return Err(Failure::Empty { name: name.to_owned() });
    }
    let mut world = World::default();
    let mut traces = Vec::new();
    for block in &blocks {
        for command in &block.commands {
            world.execute(command).map_err(|what| {
                let trace = world.take_trace().join("\n  ");
                mistake(command.line, format!("{what}\nuntil then:\n  {trace}"))
            })?;
        }
        traces.push(world.take_trace());
    }
    Ok((blocks, traces))
}

/// Both traces, a mark before the lines that differ.
fn difference(expected: &[String], trace: &[String]) -> String {
    let mut out = String::new();
    for at in 0..expected.len().max(trace.len()) {
        match (expected.get(at), trace.get(at)) {
            (Some(one), Some(other)) if one == other => out.push_str(&format!("    {one}\n")),
            (one, other) => {
                for (mark, line) in [('-', one), ('+', other)] {
                    if let Some(line) = line {
                        out.push_str(&format!("  {mark} {line}\n"));
                    }
                }
            }
        }
    }
    out
}
