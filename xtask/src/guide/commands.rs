//! Commands that documents name, and whether there are such.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use clap::CommandFactory;

use crate::tidy::{File, Finding};
use crate::util::{Failure, markdown, proc};

/// What the documents call us.
const OURS: &str = "cargo xtask ";

/// What they call whose commands are looked up.
const PROGRAMS: [&str; 2] = ["raft-kv ", OURS];

/// Subcommands and flags in code that the programs do not know.
pub(super) fn unknown(documents: &[File], raft_kv: &Path) -> Result<Vec<Finding>, Failure> {
    let mut known = BTreeMap::new();
    let mut help = |program: &str, words: &[String]| -> Result<String, Failure> {
        let key = (program.to_owned(), words.to_vec());
        if let Some(text) = known.get(&key) {
            return Ok(String::clone(text));
        }
        let text = match program {
            OURS => our_help(words),
            _ => proc::stdout(Command::new(raft_kv).args(words).arg("--help"))?,
        };
        known.insert(key, text.clone());
        Ok(text)
    };
    let mut findings = Vec::new();
    for file in documents {
        for (line, program, words) in named(&file.text) {
            if let Some(what) = wrong(&words, |path| help(program, path))? {
                findings.push(file.finding(line, format!("{program}has no {what}")));
            }
        }
    }
    Ok(findings)
}

/// Our own help; none where flags are passed on to another program, which would have to be built first.
fn our_help(words: &[String]) -> String {
    let mut command = crate::Args::command();
    for word in words {
        command = command.find_subcommand(word).cloned().unwrap_or_default();
    }
    if command.is_disable_help_flag_set() { String::new() } else { command.render_long_help().to_string() }
}

/// Each call in code: its line, the program and the words behind it.
fn named(text: &str) -> Vec<(usize, &'static str, Vec<String>)> {
    let in_blocks =
        markdown::blocks(text).into_iter().filter(|block| block.info != "rust").flat_map(|block| {
            // A line that goes on is one with the next.
            let joined = block.code.replace("\\\n", "  ");
            joined
                .lines()
                .enumerate()
                .map(|(at, code)| (block.line + at, code.to_owned()))
                .collect::<Vec<_>>()
        });
    let in_prose = markdown::spans(text).map(|(line, span)| (line, span.to_owned()));
    let mut found = Vec::new();
    for (line, code) in in_blocks.chain(in_prose) {
        for program in PROGRAMS {
            for (at, _) in code.match_indices(program) {
                let before = code[..at].chars().next_back();
                let rest = code[at + program.len()..].split(['#', ';', '&', '>', '<', '(', ')']).next();
                let words = rest.unwrap_or_default().split_whitespace().map(str::to_owned).collect();
                if before.is_none_or(|c| !c.is_alphanumeric() && c != '-') {
                    found.push((line, program, words));
                }
            }
        }
    }
    found
}

/// The first word that is no subcommand, or flag that is none.
fn wrong(
    words: &[String],
    mut help: impl FnMut(&[String]) -> Result<String, Failure>,
) -> Result<Option<String>, Failure> {
    let mut path: Vec<String> = Vec::new();
    for word in words {
        let text = help(&path)?;
        if text.is_empty() {
            return Ok(None);
        }
        if let Some(flag) = word.strip_prefix("--") {
            let name: String = flag.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
            if name.is_empty() {
                return Ok(None);
            }
            let named = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
            if !named.into_iter().any(|named| named.strip_prefix("--") == Some(&name)) {
                return Ok(Some(format!("flag --{name} in {:?}", path.join(" "))));
            }
        } else if let Some((_, commands)) = text.split_once("\nCommands:\n") {
            // Alternatives (`a|b`) are looked up by the first. Ours have lower case; others are said in general.
            let name: String = word.chars().take_while(|c| c.is_ascii_lowercase() || *c == '-').collect();
            if name.is_empty() || word.ends_with(':') {
                return Ok(None);
            }
            let lines = commands.lines().take_while(|line| line.starts_with("  "));
            if !lines.into_iter().any(|line| line.split_whitespace().next() == Some(&name)) {
                return Ok(Some(format!("command {name:?} in {:?}", path.join(" "))));
            }
            path.push(name);
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_found_in_code_only() {
        let text = "raft-kv no `raft-kv a --b` x\n```\ncargo xtask c \\\n  --d=1 # --e\nmy-raft-kv f\n```\n";
        let found: Vec<String> = named(text).iter().map(|(_, _, words)| words.join(" ")).collect();
        assert_eq!(found, ["c --d=1", "a --b"]);
    }

    #[test]
    fn unknown_words_and_flags_are_named() {
        let check = |words: &str| {
            let words: Vec<String> = words.split(' ').map(str::to_owned).collect();
            let help = |path: &[String]| {
                Ok(match path {
                    [] => "x\n\nCommands:\n  serve  Runs\n  journal  Looks\n\nOptions:\n",
                    _ => "Options:\n  -i, --id <N>\n      --fsync <WHEN>\n",
                }
                .to_owned())
            };
            wrong(&words, help).unwrap()
        };
        assert_eq!(check("serve --id 1 --fsync=always"), None);
        assert_eq!(check("serve --ids 1"), Some("flag --ids in \"serve\"".into()));
        assert_eq!(check("server"), Some("command \"server\" in \"\"".into()));
        assert_eq!(check("COMMAND --any"), None);
        assert_eq!(check("serve|journal"), None);
    }
}
