//! `raft-kv completions` and `raft-kv man`: both are made of the flags as they are, so that they cannot go stale.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Command;
use clap_complete::Shell;

use crate::advice;
use crate::exit::Exit;

/// Flags of `raft-kv completions`.
#[derive(Debug, clap::Args)]
pub(crate) struct CompletionsArguments {
    /// The shell that is to complete.
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

/// Flags of `raft-kv man`.
#[derive(Debug, clap::Args)]
pub(crate) struct ManArguments {
    /// Write a page for each command into this folder instead, which is created if missing. Pages of the same name are
    /// replaced.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Prints what `shell` has to know of `command`.
///
/// # Errors
/// [`Exit`]
pub(crate) fn completions(arguments: &CompletionsArguments, command: Command) -> Result<(), Exit> {
    print(&script(arguments.shell, command))
}

/// What some flags of `serve` know. Only for completion: what else is given is refused with advice of its own.
const VALUES: [(&str, &[&str]); 3] = [
    ("journal", &["file", "sqlite"]),
    ("transport", &["tcp", "grpc"]),
    ("log", &["off", "error", "warn", "info", "debug", "trace"]),
];

fn script(shell: Shell, command: Command) -> Vec<u8> {
    let mut script = Vec::new();
    let mut command = command.mut_subcommand("serve", |serve| {
        VALUES
            .iter()
            .fold(serve, |serve, (flag, values)| serve.mut_arg(flag, |arg| arg.value_parser(values.to_vec())))
    });
    let name = command.get_name().to_owned();
    clap_complete::generate(shell, &mut command, &name, &mut script);
    if shell != Shell::Bash {
        return script;
    }
    // clap_complete 4.6 takes the name's hyphen once for the beginning of a subcommand, and once not: nothing behind the
    // first word is ever completed.
    let (wrong, right) = (name.replace('-', "__subcmd__"), name.replace('-', "__"));
    String::from_utf8_lossy(&script).replace(&wrong, &right).into_bytes()
}

/// Prints the main page, or writes all pages.
///
/// # Errors
/// [`Exit`]
pub(crate) fn man(arguments: &ManArguments, command: Command) -> Result<(), Exit> {
    let Some(dir) = &arguments.dir else {
        let mut page = Vec::new();
        let rendered = clap_mangen::Man::new(command).render(&mut page);
        return rendered.map_err(|error| unwritten("the page", &error)).and_then(|()| print(&page));
    };
    let written = write_pages(dir, command);
    written.map_err(|error| unwritten(&format!("the pages in {}", dir.display()), &error))
}

fn write_pages(dir: &Path, command: Command) -> io::Result<()> {
    std::fs::create_dir_all(dir)?;
    clap_mangen::generate_to(command, dir)
}

fn unwritten(what: &str, error: &io::Error) -> Exit {
    Exit::other(format!("cannot write {what}: {error}"), advice::io(error.kind()))
}

/// Whoever reads it may stop at any line.
fn print(bytes: &[u8]) -> Result<(), Exit> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(unwritten("to stdout", &error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, ValueEnum};

    use super::*;
    use crate::Arguments;

    /// The names of all commands below this one, with the long names of their flags.
    fn names(command: &Command) -> Vec<(String, Vec<String>)> {
        let flags = |command: &Command| {
            let flags = command.get_arguments().filter_map(|arg| arg.get_long()).map(str::to_owned);
            flags.collect::<Vec<_>>()
        };
        let mut found = vec![(command.get_name().to_owned(), flags(command))];
        found.extend(command.get_subcommands().flat_map(names));
        found
    }

    #[test]
    fn each_shell_is_told_of_each_command_and_flag() {
        let names = names(&Arguments::command());
        assert!(names.iter().any(|(name, flags)| name == "serve" && flags.len() > 30));
        for shell in Shell::value_variants() {
            let script = String::from_utf8(script(*shell, Arguments::command())).unwrap();
            for (name, flags) in &names {
                assert!(script.contains(name.as_str()), "{shell}: {name}");
                for flag in flags {
                    assert!(script.contains(flag.as_str()), "{shell}: --{flag} of {name}");
                }
            }
        }
    }

    /// What bash says to words of which the last one is begun.
    #[cfg(unix)]
    fn bash_completes(words: &[&str]) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("raft-kv.bash");
        std::fs::write(&path, script(Shell::Bash, Arguments::command())).unwrap();
        let (begun, before) = (words[words.len() - 1], words[words.len() - 2]);
        let ask = format!(
            "source {}; COMP_WORDS=({}); COMP_CWORD={}; _raft__kv raft-kv {begun} {before}; echo \"${{COMPREPLY[*]}}\"",
            path.display(),
            words.join(" "),
            words.len() - 1
        );
        let answer = std::process::Command::new("bash").args(["--norc", "-c", &ask]).output().unwrap();
        assert!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stderr));
        String::from_utf8(answer.stdout).unwrap().trim().to_owned()
    }

    #[test]
    #[cfg(unix)]
    fn bash_completes_commands_their_flags_and_values() {
        if std::process::Command::new("bash").arg("--version").output().is_err() {
            eprintln!("not shown: there is no bash");
            return;
        }
        assert_eq!(bash_completes(&["raft-kv", "se"]), "serve");
        assert_eq!(bash_completes(&["raft-kv", "serve", "--jo"]), "--journal");
        assert_eq!(bash_completes(&["raft-kv", "serve", "--journal", "s"]), "sqlite");
        assert_eq!(bash_completes(&["raft-kv", "serve", "--transport", "g"]), "grpc");
        assert_eq!(bash_completes(&["raft-kv", "journal", "co"]), "copy");
    }

    #[test]
    fn each_command_has_its_page_with_each_flag() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("share/man1");
        man(&ManArguments { dir: Some(dir.clone()) }, Arguments::command()).unwrap();
        let page = |name: &str| {
            let text = std::fs::read_to_string(dir.join(name)).unwrap();
            // As it is set, without what it is set with.
            text.replace("\\-", "-").replace("\\fB", "").replace("\\fI", "").replace("\\fR", "")
        };
        let main = page("raft-kv.1");
        let mut wanted = vec![(String::from("raft-kv"), Arguments::command())];
        while let Some((path, command)) = wanted.pop() {
            let page = page(&format!("{path}.1"));
            let flags = command.get_arguments().filter_map(|arg| arg.get_long());
            for flag in flags {
                assert!(page.contains(&format!("--{flag}")), "{path}: --{flag}");
            }
            for below in command.get_subcommands() {
                let name = format!("{path}-{}", below.get_name());
                assert!(path != "raft-kv" || main.contains(&name), "{name}");
                wanted.push((name, below.clone()));
            }
        }
    }

    #[test]
    fn a_folder_that_cannot_be_used_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let dir = file.path().join("below");
        let refused = man(&ManArguments { dir: Some(dir.clone()) }, Arguments::command()).unwrap_err();
        assert!(format!("{refused:?}").contains(&dir.display().to_string()), "{refused:?}");
    }
}
