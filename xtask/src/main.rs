//! `cargo xtask <command>`: everything that is run on this workspace, without a shell.
//!
//! It starts other binaries and links none of the Raft crates, so that it compiles in seconds. Exit
//! code 0 means that what the command checks holds, 1 that it does not, 2 a wrong command line. The
//! last line of each command is for machines.

mod bench;
mod book;
mod catch_up;
mod chaos;
mod ci;
mod cluster;
mod conformance;
mod content;
mod count;
mod crash;
mod demo;
mod digests;
mod failover;
mod fuzz;
mod guard;
mod guide;
mod help;
mod model;
mod museum;
mod mutants;
mod no_std;
mod page;
mod redis_cli;
mod release;
mod servers;
mod sim;
mod test;
mod tidy;
mod util;
mod verdict;

use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

/// What a command says: whether the thing it checks holds, or why it could not find out.
type Outcome = Result<bool, util::Failure>;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Builds, demo cluster, tests and CI of this workspace", after_help = help::MAIN, max_term_width = 100)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Starts real processes, writes, kills the leader again and again, and counts what was lost.
    #[command(after_help = help::DEMO)]
    Demo(demo::Args),
    /// Increments a counter in sessions while leaders are killed: every increment must count once.
    #[command(after_help = help::COUNT)]
    Count(count::Args),
    /// Measures how fast it is, inside and outside, beside its peers and the limits of the machine.
    #[command(after_help = help::BENCH)]
    Bench(bench::Args),
    /// Measures what a large state costs: a snapshot, and a new node that is sent it, under load.
    #[command(after_help = help::CATCH_UP)]
    CatchUp(catch_up::Args),
    /// Harms real processes and the network between them, and checks that the clients saw one copy of the
    /// data.
    #[command(after_help = help::CHAOS)]
    Chaos(chaos::Args),
    /// Starts the same processes and leaves them running until ctrl-c, enter or the end of stdin.
    #[command(after_help = help::CLUSTER)]
    Cluster(cluster::Args),
    /// Runs every test.
    #[command(after_help = help::TEST)]
    Test(test::Args),
    /// Runs every check that a change must pass.
    #[command(after_help = help::CI)]
    Ci(ci::Args),
    /// Holds every backend against every clause of its contract, and shows the suites broken ones.
    #[command(after_help = help::CONFORMANCE)]
    Conformance(conformance::Args),
    /// Looks at states of the file journal after crashes, by the million.
    #[command(after_help = help::CRASH)]
    Crash(crash::Args),
    /// Runs the same seeds in two builds and environments: all that happens must be the same.
    #[command(after_help = help::DIGESTS)]
    Digests(digests::Args),
    /// Hunts for bytes that a decoder cannot stand.
    #[command(after_help = help::FUZZ)]
    Fuzz(fuzz::Args),
    /// Explores every state that a small cluster can come to.
    #[command(after_help = help::MODEL)]
    Model(model::Args),
    /// Shows the page of raft-kv to a real browser, and kills the leader.
    #[command(after_help = help::PAGE)]
    Page(page::Args),
    /// Runs whole clusters in simulation, with faults, each from one seed.
    #[command(after_help = help::SIM)]
    Sim(sim::Args),
    /// Checks what no compiler does: directions, banned words, links, format documents.
    #[command(after_help = help::TIDY)]
    Tidy(tidy::Args),
    /// Plants known bugs in a copy of the workspace, and says what catches each.
    #[command(after_help = help::MUTANTS)]
    Mutants(mutants::Args),
    /// Runs the guide as a reader would, and looks up the commands that documents name.
    #[command(after_help = help::GUIDE)]
    Guide(guide::Args),
    /// Looks at everything that a release needs, and releases nothing.
    #[command(after_help = help::RELEASE)]
    Release(release::Args),
    /// A small redis-cli, for where there is none.
    #[command(after_help = help::REDIS_CLI)]
    RedisCli(redis_cli::Args),
    /// Prints what a shell needs to complete commands and flags.
    #[command(after_help = help::COMPLETIONS)]
    Completions {
        /// The shell that is to complete.
        #[arg(value_name = "SHELL")]
        shell: clap_complete::Shell,
    },
    /// What mdBook asks while it builds the book in docs.
    #[command(hide = true)]
    Book(book::Args),
    /// Kills what it was told of when its parent is gone.
    #[command(hide = true)]
    Guard,
}

/// Of what there is at this moment, so that it cannot go stale.
fn completions(shell: clap_complete::Shell) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "xtask", &mut script);
    // Whoever reads it may stop at any line.
    let _ = std::io::stdout().write_all(&script);
    Ok(true)
}

/// What helps when a command could not do its work, unless the failure knows better.
const fn next(command: &Command) -> &'static str {
    match command {
        Command::Demo(_)
        | Command::Count(_)
        | Command::CatchUp(_)
        | Command::Chaos(_)
        | Command::Cluster(_)
        | Command::Guide(_)
        | Command::Page(_) => {
            "read what the nodes said: their logs are in the folder that is named above, if they came up. With --help \
             a command says what it needs"
        }
        Command::Bench(_) => {
            "run the part that failed alone (cargo xtask bench --quick --only PART); docs/performance.md says how to \
             install each peer"
        }
        Command::Release(_) => {
            "mend what is said above, then run that step alone: cargo xtask release --list names them, --only STEP runs one"
        }
        Command::Ci(_) | Command::Test(_) | Command::Tidy(_) => {
            "mend what is said above, then run that step alone: cargo xtask ci --list names them, --only STEP runs one"
        }
        Command::Conformance(_)
        | Command::Crash(_)
        | Command::Digests(_)
        | Command::Fuzz(_)
        | Command::Model(_)
        | Command::Sim(_)
        | Command::Mutants(_) => {
            "if the compiler complains above, mend that; else --help says what the command takes, and examples"
        }
        Command::RedisCli(_) => {
            "is there a node? cargo xtask cluster starts three and says where; -p names the port"
        }
        Command::Completions { .. } | Command::Book(_) | Command::Guard => {
            "--help says what the command takes"
        }
    }
}

fn main() -> ExitCode {
    let command = Args::parse().command;
    let usually = next(&command);
    let outcome = match command {
        Command::Demo(args) => demo::run(&args),
        Command::Count(args) => count::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::CatchUp(args) => catch_up::run(&args),
        Command::Chaos(args) => chaos::run(&args),
        Command::Cluster(args) => cluster::run(&args),
        Command::Test(args) => test::run(&args),
        Command::Ci(args) => ci::run(&args),
        Command::Conformance(args) => conformance::run(&args),
        Command::Crash(args) => crash::run(&args),
        Command::Digests(args) => digests::run(&args),
        Command::Fuzz(args) => fuzz::run(&args),
        Command::Model(args) => model::run(&args),
        Command::Page(args) => page::run(&args),
        Command::Sim(args) => sim::run(&args),
        Command::Tidy(args) => tidy::run(&args),
        Command::Mutants(args) => mutants::run(&args),
        Command::Guide(args) => guide::run(&args),
        Command::Release(args) => release::run(&args),
        Command::RedisCli(args) => redis_cli::run(&args),
        Command::Completions { shell } => completions(shell),
        Command::Book(args) => book::run(&args),
        Command::Guard => guard::run(),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("xtask: {failure}\nnext: {}", failure.helps().unwrap_or(usually));
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What helps names commands: each must be one that there is.
    #[test]
    fn what_helps_names_commands_that_there_are() {
        let commands =
            ["xtask demo", "xtask bench", "xtask ci", "xtask sim", "xtask redis-cli", "xtask release"];
        let mut named = 0;
        for command in commands {
            let helps = next(&Args::parse_from(command.split(' ')).command);
            for words in helps.split("cargo xtask ").skip(1) {
                let name = words.split([' ', ',', ')', ';']).next().unwrap_or_default();
                assert!(Args::command().find_subcommand(name).is_some(), "{name:?} in {helps:?}");
                named += 1;
            }
        }
        assert!(named >= 4, "{named}");
    }
}
