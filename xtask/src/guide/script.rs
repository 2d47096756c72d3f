//! One chapter as a shell session.

use std::ffi::OsStr;
use std::fs::File;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::guard::{self, Guard};
use crate::tidy::Finding;
use crate::util::markdown::{self, Block};
use crate::util::{Context, Failure, ports};

/// A chapter that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(180);

/// A block that has every line that is printed.
const ALL: &str = "text all";

/// What ends a block's output.
const MARK: &str = "@@ end of block";

/// The blocks that are run, each with what it must print.
pub(super) struct Chapter {
    /// Its file, from the top.
    pub(super) file: String,
    blocks: Vec<(Block, Option<Block>)>,
}

impl Chapter {
    pub(super) fn new(file: String, text: &str) -> Self {
        let mut blocks: Vec<(Block, Option<Block>)> = Vec::new();
        let mut before_was_run = false;
        for block in markdown::blocks(text) {
            let is_run = block.info == "sh run";
            match blocks.last_mut() {
                Some((_, expected))
                    if before_was_run && block.follows && ["text", ALL].contains(&&*block.info) =>
                {
                    *expected = Some(block);
                }
                _ if is_run => blocks.push((block, None)),
                _ => {}
            }
            before_was_run = is_run;
        }
        Self { file, blocks }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// Runs it in a folder of its own, on free ports in the place of 7001 and 7101 to 7009 and 7109.
    pub(super) fn run(&self, path: &OsStr, guard: &Guard, show: bool) -> Result<Vec<Finding>, Failure> {
        let dir = tempfile::tempdir().context(|| String::from("no temporary folder"))?;
        let (clients, peers) = (ports::ten()?.to_string(), ports::ten()?.to_string());
        let on_ports = |text: &str| text.replace("700", &clients).replace("710", &peers);
        let mut script = String::from("exec 2>&1\n");
        for (block, _) in &self.blocks {
            script += &on_ports(&block.code);
            script += &format!("printf '\\n{MARK}\\n'\n");
        }
        let in_dir = |name: &str| dir.path().join(name);
        std::fs::write(in_dir("script"), script).context(|| String::from("cannot write the script"))?;
        let output = File::create(in_dir("output")).context(|| String::from("cannot write the output"))?;
        let mut command = Command::new("bash");
        command.arg(in_dir("script")).current_dir(dir.path()).stdin(Stdio::null()).stdout(output);
        command.env("PATH", path).env("TMPDIR", dir.path());
        guard::own_group(&mut command);
        let mut shell = command.spawn().context(|| String::from("cannot run bash"))?;
        guard.add_group(shell.id());
        let start = Instant::now();
        let ended = loop {
            if shell.try_wait().context(|| String::from("cannot wait for bash"))?.is_some() {
                break true;
            }
            if start.elapsed() > PATIENCE {
                break false;
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        // What is left of it, too: a group outlives its leader.
        let _ = i32::try_from(shell.id()).map(guard::kill_group);
        let _ = shell.wait();
        guard.remove_group(shell.id());
        let output = std::fs::read(in_dir("output")).context(|| String::from("cannot read the output"))?;
        let output = String::from_utf8_lossy(&output);
        if show {
            println!("{output}");
        }
        Ok(self.compare(&output, ended, on_ports))
    }

    /// What was not printed as it stands there.
    fn compare(&self, output: &str, ended: bool, on_ports: impl Fn(&str) -> String) -> Vec<Finding> {
        let mut printed = output.split(&format!("\n{MARK}\n")).collect::<Vec<_>>();
        let unfinished = printed.pop().unwrap_or_default();
        let finding = |line, what| Finding { file: self.file.clone(), line, what };
        let mut findings = Vec::new();
        for (at, (block, expected)) in self.blocks.iter().enumerate() {
            let Some(printed) = printed.get(at) else {
                let why = if ended { "ended the shell" } else { "did not end in three minutes" };
                findings.push(finding(block.line, format!("this block {why}; it printed:\n{unfinished}")));
                break;
            };
            let Some(expected) = expected else { continue };
            let (code, all) = (on_ports(&expected.code), expected.info == ALL);
            if let Err(line) = if all { matches_all(&code, printed) } else { matches(&code, printed) } {
                let only = if all { ", or something else before it" } else { "" };
                let what = format!("this line was not printed{only}; what was:\n{printed}");
                findings.push(finding(expected.line + line, what));
            }
        }
        findings
    }
}

/// Whether each line of `expected` comes in `printed`, in this order. If not, which one does not.
fn matches(expected: &str, printed: &str) -> Result<(), usize> {
    let mut printed = printed.lines();
    for (at, line) in expected.lines().enumerate() {
        if !printed.any(|candidate| is_like(line.trim(), candidate.trim())) {
            return Err(at);
        }
    }
    Ok(())
}

/// Whether the lines of `expected` are those of `printed`, but for empty ones. If not, which one is not.
fn matches_all(expected: &str, printed: &str) -> Result<(), usize> {
    let mut printed = printed.lines().filter(|line| !line.trim().is_empty());
    for (at, line) in expected.lines().enumerate() {
        if !printed.next().is_some_and(|candidate| is_like(line.trim(), candidate.trim())) {
            return Err(at);
        }
    }
    if printed.next().is_some() { Err(expected.lines().count()) } else { Ok(()) }
}

/// Whether a line is as the pattern says, in which `...` stands for anything.
fn is_like(pattern: &str, line: &str) -> bool {
    match pattern.split_once("...") {
        None => pattern == line,
        Some((start, rest)) => line.strip_prefix(start).is_some_and(|line| {
            let ends = line.char_indices().map(|(at, _)| at).chain([line.len()]);
            let mut tails = ends.map(|at| &line[at..]);
            tails.any(|tail| is_like(rest, tail))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_in_their_order() {
        assert!(is_like("a...b", "a12b") && is_like("...", "") && is_like("a...", "a"));
        assert!(!is_like("a...b", "a12") && !is_like("a", "ab"));
        assert_eq!(matches("a\nc ...\n", "a\nb\nc d\n"), Ok(()));
        assert_eq!(matches("c\na\n", "a\nb\nc\n"), Err(1));
    }

    /// A chapter left out two lines that a program prints before it can lose data, and nothing noticed.
    #[test]
    fn a_block_of_all_lines_leaves_none_out() {
        assert_eq!(matches_all("a ...\nb\n", "a 1\n\nb\n\n"), Ok(()));
        assert_eq!(matches_all("a\nb\n", "a\nx\nb\n"), Err(1));
        assert_eq!(matches_all("a\n", "a\nb\n"), Err(1));
        assert_eq!(matches_all("a\nb\n", "a\n"), Err(1));
        let found = |info: &str| {
            let text = format!("```sh run\nx\n```\n```{info}\na\n```\n");
            let chapter = Chapter::new("x.md".into(), &text);
            chapter.compare("a\nb\n\n@@ end of block\n", true, str::to_owned).len()
        };
        assert_eq!([found("text"), found("text all"), found("sh")], [0, 1, 0]);
    }

    #[test]
    fn a_chapter_is_run_and_compared() {
        let text = "```sh run\necho $((1 + 1)) 7001\n```\n\n```text\n2 7001\n```\n```sh\nfalse\n```\n\
                    ```sh run\necho b\n```\n```text\nc\n```\n";
        let chapter = Chapter::new("x.md".into(), text);
        assert_eq!(chapter.blocks.len(), 2);
        let found = |output: &str, ended| {
            let findings = chapter.compare(output, ended, |text| text.replace("700", "1234"));
            findings.iter().map(|finding| finding.line).collect::<Vec<_>>()
        };
        assert_eq!(found("2 12341\n\n@@ end of block\nb\n\n@@ end of block\n", true), [15]);
        assert_eq!(found("2 7001\n\n@@ end of block\n", false), [6, 12]);
    }
}
