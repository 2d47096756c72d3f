//! What `--help` says below the flags: examples that can be copied. The tests parse each of them as the program does.

/// Of the program.
pub(crate) const MAIN: &str = "\
Examples:
  raft-kv serve --id 1 --data /tmp/kv1 --listen 127.0.0.1:7001 --peer-listen 127.0.0.1:7101 \\
    --members 1=127.0.0.1:7101@127.0.0.1:7001
  raft-kv backup --from 127.0.0.1:7001 --to monday.backup

What each command takes: raft-kv COMMAND --help.

Exit codes: 0 stopped as told, 1 failure, 2 wrong use, 3 the data is damaged, foreign or replaced, 4 an address is in \
use. After 2 and 3 starting it again does not help, unless the message says so: each says what does.

Colours are for terminals only; NO_COLOR=1 turns them off, CLICOLOR_FORCE=1 on.";

/// Of `serve`.
pub(crate) const SERVE: &str = "\
Examples:
  A cluster of one node, to try it:
  raft-kv serve --id 1 --data /tmp/kv1 --listen 127.0.0.1:7001 --peer-listen 127.0.0.1:7101 \\
    --members 1=127.0.0.1:7101@127.0.0.1:7001

  The first of three nodes (the others: the same --members, their own --id and addresses), with a page at --http:
  raft-kv serve --id 1 --data /var/lib/raft-kv --listen 127.0.0.1:7001 --peer-listen 127.0.0.1:7101 \\
    --http 127.0.0.1:7201 \\
    --members 1=127.0.0.1:7101@127.0.0.1:7001,2=127.0.0.1:7102@127.0.0.1:7002,3=127.0.0.1:7103@127.0.0.1:7003

  A fourth one, which waits until RAFT ADD-LEARNER on the leader makes it a member:
  raft-kv serve --id 4 --data /tmp/kv4 --listen 127.0.0.1:7004 --peer-listen 127.0.0.1:7104 \\
    --cluster-id 7d3d5ea3-0a7b-4f56-8a3c-2f2d2c0a9a11

  All of it from a file:
  raft-kv serve --config /etc/raft-kv/1.toml

SIGTERM and SIGINT stop it in order, SIGHUP makes it read its certificates again.";

/// Of `journal`.
pub(crate) const JOURNAL: &str = "\
Examples:
  raft-kv journal inspect /var/lib/raft-kv
  raft-kv journal verify sqlite:/var/lib/raft-kv

Stop the node first. All but copy only read.";

/// Of `journal inspect`.
pub(crate) const INSPECT: &str = "\
Examples:
  raft-kv journal inspect /var/lib/raft-kv
  raft-kv journal inspect file:/var/lib/raft-kv

It changes nothing.";

/// Of `journal verify`.
pub(crate) const VERIFY: &str = "\
Examples:
  raft-kv journal verify /var/lib/raft-kv

It changes nothing. Start the node all the same where something was found: it repairs what can be repaired.";

/// Of `journal dump`.
pub(crate) const DUMP: &str = "\
Examples:
  raft-kv journal dump /var/lib/raft-kv --from 1000 --to 1100
  raft-kv journal dump --json /var/lib/raft-kv

It changes nothing. It shows keys and values: mind who reads it.";

/// Of `journal copy`.
pub(crate) const COPY: &str = "\
Examples:
  raft-kv journal copy file:/var/lib/raft-kv sqlite:/var/lib/raft-kv-sqlite

DANGEROUS only if you go around it: the old folder is closed for good at the end, and two copies of one node that both \
run lose acknowledged writes. Never use cp to move a node, and never remove a file CLOSED. Cut in the middle, the same \
command goes on.";

/// Of `recover`.
pub(crate) const RECOVER: &str = "\
Examples:
  What would be lost (nothing is done):
  raft-kv recover --data /var/lib/raft-kv --force-members 1=10.0.0.1:7101@10.0.0.1:7001

  Do it, when nodes 2 and 3 will never run again:
  raft-kv recover --data /var/lib/raft-kv --force-members 1=10.0.0.1:7101@10.0.0.1:7001 --lost-for-ever 2,3

DANGEROUS: acknowledged writes that only the lost nodes had are gone, and nobody can say which. While a majority can be \
started again, start it instead. The old folder is closed for good; the new one is written beside it.";

/// Of `backup`.
pub(crate) const BACKUP: &str = "\
Examples:
  raft-kv backup --from 127.0.0.1:7001 --to monday.backup
  raft-kv backup --check monday.backup
  raft-kv backup --data /var/lib/raft-kv --to rescued.backup

A backup holds all keys and values, not encrypted: mind who can read the file. It replaces no file.";

/// Of `restore`.
pub(crate) const RESTORE: &str = "\
Examples:
  raft-kv restore --from monday.backup --data /var/lib/raft-kv-new --id 1 \\
    --listen 127.0.0.1:7001 --peer-listen 127.0.0.1:7101

It makes another cluster, with the data of the backup and one node; what was written after the backup is not in it. \
DANGEROUS while the old cluster still runs: clients that reach both see two different states. It overwrites nothing. It \
prints the command that starts the node; others join by RAFT ADD-LEARNER.";

/// Of `completions`.
pub(crate) const COMPLETIONS: &str = "\
Examples:
  raft-kv completions bash
  raft-kv completions zsh

It goes to stdout: bash: > ~/.local/share/bash-completion/completions/raft-kv, zsh: > ~/.zfunc/_raft-kv (with fpath+=~/.zfunc before compinit), \
fish: > ~/.config/fish/completions/raft-kv.fish. Then open a new shell.";

/// Of `man`.
pub(crate) const MAN: &str = "\
Examples:
  raft-kv man
  raft-kv man --dir /usr/local/share/man/man1

Without --dir the main page goes to stdout: `raft-kv man | man -l -` shows it.";

/// The calls in a text: lines that begin with our name, joined where they go on.
#[cfg(test)]
pub(crate) fn calls(text: &str) -> Vec<Vec<String>> {
    let joined = text.replace("\\\n", " ");
    let called = joined.lines().map(str::trim).filter(|line| line.starts_with("raft-kv "));
    called.map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
}

#[cfg(test)]
mod tests {
    use clap::{Arg, Command, CommandFactory, Parser};

    use super::*;
    use crate::Arguments;
    use crate::settings::Settings;

    /// Every command with its path, the program itself first.
    fn commands() -> Vec<(Vec<String>, Command)> {
        let mut all = vec![(Vec::new(), Arguments::command())];
        let mut at = 0;
        while let Some((path, command)) = all.get(at).cloned() {
            let below = command.get_subcommands().map(|below| {
                let path = path.iter().cloned().chain([below.get_name().to_owned()]);
                (path.collect::<Vec<_>>(), below.clone())
            });
            all.extend(below);
            at += 1;
        }
        all
    }

    fn words(text: Option<&clap::builder::StyledStr>) -> usize {
        text.map_or(0, |text| text.to_string().split_whitespace().count())
    }

    #[test]
    fn each_command_and_each_flag_says_what_it_is_for() {
        Arguments::command().debug_assert();
        let all = commands();
        assert!(all.len() > 10, "{}", all.len());
        for (path, command) in all {
            assert!(words(command.get_about()) >= 4, "{path:?}");
            for arg in command.get_arguments() {
                assert!(words(arg.get_help()) >= 2, "{path:?} {}", arg.get_id());
            }
        }
    }

    /// Where a flag is for a number of something, it says of what, and what it is where nothing is said.
    #[test]
    fn each_number_has_its_unit_and_its_default() {
        let serve = Arguments::command().find_subcommand("serve").cloned().unwrap();
        for arg in serve.get_arguments() {
            let help = arg.get_help().unwrap().to_string();
            let unit = |end: &str, word: &str| {
                assert!(
                    !arg.get_id().as_str().ends_with(end) || help.contains(word),
                    "{}: {help}",
                    arg.get_id()
                );
            };
            unit("_ms", "millisecond");
            unit("_bytes", "bytes");
            unit("_ppm", "millionths");
            unit("_second", "a second");
            let is_clear = ["Default: ", "Needed", "Without it "].iter().any(|word| help.contains(word))
                || arg.get_value_names().is_some_and(|names| names[0] == "FILE");
            assert!(is_clear, "{}: {help}", arg.get_id());
        }
    }

    #[test]
    fn what_can_lose_data_is_called_dangerous() {
        let all = commands();
        let about = |name: &str| {
            let (_, command) =
                all.iter().find(|(path, _)| path.last().is_some_and(|last| last == name)).unwrap();
            format!("{}{}", command.get_about().unwrap(), command.get_after_help().unwrap())
        };
        for name in ["recover", "restore", "copy"] {
            assert!(about(name).contains("DANGEROUS"), "{name}");
        }
        let serve = Arguments::command().find_subcommand("serve").cloned().unwrap();
        for flag in ["lease_reads", "fsync", "insecure"] {
            let found = serve.get_arguments().find(|arg| arg.get_id() == flag);
            assert!(found.and_then(Arg::get_help).unwrap().to_string().contains("DANGEROUS"), "{flag}");
        }
    }

    #[test]
    fn each_command_has_examples_and_each_example_is_taken() {
        for (path, command) in commands() {
            let text =
                command.get_after_help().unwrap_or_else(|| panic!("{path:?} has no example")).to_string();
            let calls = calls(&text);
            assert!(!calls.is_empty(), "{path:?}");
            for call in calls {
                assert!(call[1..].starts_with(&path), "{path:?}: {call:?} is of another command");
                match Arguments::try_parse_from(&call).unwrap_or_else(|error| panic!("{call:?}: {error}")) {
                    Arguments::Serve(flags) if flags.config.is_none() => drop(Settings::new(*flags).unwrap()),
                    _ => {}
                }
            }
        }
    }

    #[test]
    fn calls_go_on_over_lines() {
        let found = calls("Examples:\n  raft-kv a \\\n    --b c\n\nelse\n  raft-kv d");
        assert_eq!(found, [vec!["raft-kv", "a", "--b", "c"], vec!["raft-kv", "d"]]);
    }
}
