//! What `--help` says below the flags: examples that can be copied. The tests parse each of them as the program does.

pub(crate) const MAIN: &str = "\
Examples:
  cargo xtask demo
  cargo xtask test
  cargo xtask ci --list

What each command takes: cargo xtask COMMAND --help. Exit codes: 0 what is checked holds, 1 it does not (or could not be found out, \
which is then said), 2 a wrong command line.";

pub(crate) const DEMO: &str = "\
Examples:
  cargo xtask demo
  cargo xtask demo --seconds 30 --kills 5 --freeze
  cargo xtask demo --journal sqlite --transport grpc";

pub(crate) const COUNT: &str = "\
Examples:
  cargo xtask count --ops 20000 --kills 2
  cargo xtask count";

pub(crate) const BENCH: &str = "\
Examples:
  cargo xtask bench --quick
  cargo xtask bench --only load,failover --against etcd
  cargo xtask bench --baseline target/bench/report.json

All of it takes about an hour, on a machine that does nothing else.";

pub(crate) const CATCH_UP: &str = "\
Examples:
  cargo xtask catch-up --state-mib 64
  cargo xtask catch-up --state-mib 1024 --max-ratio 2";

pub(crate) const CHAOS: &str = "\
Examples:
  cargo xtask chaos --seconds 20 --seed 7
  cargo xtask chaos --all-stacks --minutes 5
  cargo xtask chaos --stale-reads";

pub(crate) const CLUSTER: &str = "\
Examples:
  cargo xtask cluster
  cargo xtask cluster --nodes 5 --journal sqlite

It says where clients connect and where a browser shows it. Its data is removed when it ends.";

pub(crate) const TEST: &str = "\
Examples:
  cargo xtask test
  cargo xtask test museum";

pub(crate) const CI: &str = "\
Examples:
  cargo xtask ci
  cargo xtask ci --list
  cargo xtask ci --only tidy --only clippy";

pub(crate) const CONFORMANCE: &str = "\
Examples:
  cargo xtask conformance
  cargo xtask conformance --json target/conformance.json";

pub(crate) const CRASH: &str = "\
Examples:
  cargo xtask crash --states 100000
  cargo xtask crash --seed 7

A million states take some minutes.";

pub(crate) const DIGESTS: &str = "\
Examples:
  cargo xtask digests --seeds 0..30";

pub(crate) const FUZZ: &str = "\
Examples:
  cargo xtask fuzz --list
  cargo xtask fuzz frame --seconds 600 --seed 7 --jobs 2
  cargo xtask fuzz all --seconds 60";

pub(crate) const MODEL: &str = "\
Examples:
  cargo xtask model --list
  cargo xtask model --states 500000";

pub(crate) const PAGE: &str = "\
Examples:
  cargo xtask page
  cargo xtask page --screenshots target/page

It needs Chromium.";

pub(crate) const RELEASE: &str = "\
Examples:
  cargo xtask release --dry-run
  cargo xtask release --list";

pub(crate) const SIM: &str = "\
Examples:
  cargo xtask sim --seeds 0..1000
  cargo xtask sim --seed 7 --trace";

pub(crate) const TIDY: &str = "\
Examples:
  cargo xtask tidy
  cargo xtask tidy --bless";

pub(crate) const MUTANTS: &str = "\
Examples:
  cargo xtask mutants --list
  cargo xtask mutants --seeds 200 --json target/mutants.json

All of them take an hour; --resume goes on where a run has ended.";

pub(crate) const GUIDE: &str = "\
Examples:
  cargo xtask guide
  cargo xtask guide --chapter first-cluster --show";

pub(crate) const REDIS_CLI: &str = "\
Examples:
  cargo xtask redis-cli -c -p 7001 set greeting hello
  cargo xtask redis-cli -p 7001 raft info";

pub(crate) const COMPLETIONS: &str = "\
Examples:
  cargo xtask completions bash

It completes `xtask`, the program: `alias xtask='cargo xtask'` gives it that name. It goes to stdout, bash: \
> ~/.local/share/bash-completion/completions/xtask.";

#[cfg(test)]
mod tests {
    use clap::{Command, CommandFactory, Parser};

    use crate::Args;

    fn commands() -> Vec<Command> {
        let main = Args::command();
        main.get_subcommands().filter(|command| !command.is_hide_set()).cloned().collect()
    }

    #[test]
    fn each_command_and_each_flag_says_what_it_is_for() {
        Args::command().debug_assert();
        for command in commands() {
            assert!(
                command.get_about().is_some_and(|text| text.to_string().len() > 10),
                "{}",
                command.get_name()
            );
            for arg in command.get_arguments() {
                let (of, id) = (command.get_name(), arg.get_id());
                assert!(arg.get_help().is_some_and(|text| text.to_string().len() > 8), "{of}: {id}");
            }
        }
    }

    #[test]
    fn each_command_has_examples_and_each_example_is_taken() {
        let all = commands();
        assert!(all.len() > 15, "{}", all.len());
        for command in all.iter().chain([&Args::command()]) {
            let name = command.get_name();
            let text =
                command.get_after_help().unwrap_or_else(|| panic!("{name} has no example")).to_string();
            let calls: Vec<&str> =
                text.lines().filter_map(|line| line.strip_prefix("  cargo xtask ")).collect();
            assert!(!calls.is_empty(), "{name}");
            for call in calls {
                let its = name == "cargo xtask" || call.split(' ').next() == Some(name);
                assert!(its, "{name}: {call:?} is of another command");
                let words = ["xtask"].into_iter().chain(call.split_whitespace());
                if let Err(error) = Args::try_parse_from(words) {
                    panic!("{call}: {error}");
                }
            }
        }
    }
}
