//! raft-kv: a replicated key-value store that speaks the Redis protocol.
//!
//! | module | what it does |
//! | --- | --- |
//! | `settings`, `exit`, `advice` | flags, the configuration file, exit codes, what to do after each error |
//! | `help`, `manual` | examples in `--help`; completions for shells, man pages |
//! | `tls`, `password` | certificates and their replacement; AUTH |
//! | `journal`, `reserve` | the two ways to keep a log and snapshots; space that is left to the log |
//! | `serve` | starts a node and its listeners, stops them |
//! | `client` | one connection: turns, transactions, `CLUSTER`, `RAFT` |
//! | `http`, `health`, `traffic` | the page, metrics and probes at --http; how it is, and why; what is counted of clients |
//! | `refusal` | the library's errors in words that Redis clients know |
//! | `resp` | bytes to requests, replies to bytes |
//! | `command`, `log_codec` | the commands, and how they stand in the log |
//! | `machine`, `store` | the replicated data |
//! | `snapshot`, `backup` | the data as bytes, and as a file |
//! | `version` | the version and the commit of the build |
//! | `thin` | the load generator's protocol |
//! | `offline`, `show` | looks at a journal, moves it, recovers from a lost majority; commands of the log as text |

mod advice;
mod backup;
mod client;
mod command;
#[cfg(test)]
mod deploy;
mod exit;
mod health;
mod help;
mod http;
mod journal;
mod log_codec;
mod machine;
mod manual;
mod offline;
mod password;
mod refusal;
mod reserve;
mod resp;
mod serve;
mod server;
mod settings;
mod show;
mod snapshot;
mod store;
mod thin;
mod tls;
mod traffic;
mod version;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use exit::Exit;
use settings::{Flags, Settings};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A replicated key-value store that speaks the Redis protocol.
#[derive(Debug, clap::Parser)]
#[command(
    name = "raft-kv",
    version = version::version(),
    after_help = help::MAIN,
    max_term_width = 100
)]
enum Arguments {
    /// Runs a node, until it is told to stop.
    #[command(after_help = help::SERVE)]
    Serve(Box<Flags>),
    /// Looks at the journal in a data folder that no node has open, or moves it. DIR may be file:DIR or
    /// sqlite:DIR.
    #[command(subcommand, after_help = help::JOURNAL)]
    Journal(offline::Command),
    /// DANGEROUS. After a majority was lost for ever: makes a new cluster of what one node has. What only the lost nodes
    /// had is gone. Without --lost-for-ever it only says what would be lost.
    #[command(after_help = help::RECOVER)]
    Recover(offline::recover::Arguments),
    /// Fetches a backup from a cluster that runs, makes one of a stopped node's data, or checks one.
    #[command(after_help = help::BACKUP)]
    Backup(offline::backup::Arguments),
    /// Makes a new cluster of one node from a backup, in an empty folder.
    #[command(after_help = help::RESTORE)]
    Restore(offline::restore::Arguments),
    /// Prints what a shell needs to complete commands and flags.
    #[command(after_help = help::COMPLETIONS)]
    Completions(manual::CompletionsArguments),
    /// Prints the man page, or writes one for each command.
    #[command(after_help = help::MAN)]
    Man(manual::ManArguments),
}

fn main() -> ExitCode {
    let result = match Arguments::parse() {
        Arguments::Serve(flags) => serve(*flags),
        Arguments::Journal(command) => offline::run(&command),
        Arguments::Recover(arguments) => offline::recover::run(&arguments),
        Arguments::Backup(arguments) => offline::backup::run(&arguments),
        Arguments::Restore(arguments) => offline::restore::run(&arguments),
        Arguments::Completions(arguments) => manual::completions(&arguments, Arguments::command()),
        Arguments::Man(arguments) => manual::man(&arguments, Arguments::command()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(exit) => exit.report(),
    }
}

fn serve(flags: Flags) -> Result<(), Exit> {
    let settings = Settings::new(flags)?;
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_max_level(settings.log)
        .init();
    // One thread for protocol, network and clients: waking another core costs more than most of what is
    // done here. The journal has its own.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime =
        runtime.map_err(|error| Exit::other(format!("no runtime: {error}"), advice::io(error.kind())))?;
    let result = runtime.block_on(serve::run(settings));
    // Connections end with the process.
    runtime.shutdown_background();
    result
}
