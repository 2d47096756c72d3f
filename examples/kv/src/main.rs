//! raft-kv: a replicated key-value store that speaks the Redis protocol.
//!
//! | module | what it does |
//! | --- | --- |
//! | `settings`, `exit` | flags, the configuration file, exit codes |
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
//! | `thin` | the load generator's protocol |
//! | `offline`, `show` | looks at a journal, moves it, recovers from a lost majority; commands of the log as text |

mod backup;
mod client;
mod command;
mod exit;
mod health;
mod http;
mod journal;
mod log_codec;
mod machine;
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

use std::process::ExitCode;

use clap::Parser;

use exit::Exit;
use settings::{Flags, Settings};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A replicated key-value store that speaks the Redis protocol.
#[derive(Debug, clap::Parser)]
#[command(
    name = "raft-kv",
    version,
    after_help = "Exit codes: 0 stopped as told, 1 failure, 2 wrong use, \
    3 the data is damaged, foreign or replaced, 4 an address is in use."
)]
enum Arguments {
    /// Runs a node.
    Serve(Box<Flags>),
    /// Looks at the journal in a data folder that no node has open, or moves it. DIR may be file:DIR or
    /// sqlite:DIR.
    #[command(subcommand)]
    Journal(offline::Command),
    /// After a majority was lost for ever: makes a new cluster of what one node has. What only the lost nodes
    /// had is gone. Without --lost-for-ever it only says what would be lost.
    Recover(offline::recover::Arguments),
    /// Fetches a backup from a cluster that runs, or checks one.
    Backup(offline::backup::Arguments),
    /// Makes a new cluster of one node from a backup.
    Restore(offline::restore::Arguments),
}

fn main() -> ExitCode {
    let result = match Arguments::parse() {
        Arguments::Serve(flags) => serve(*flags),
        Arguments::Journal(command) => offline::run(&command),
        Arguments::Recover(arguments) => offline::recover::run(&arguments),
        Arguments::Backup(arguments) => offline::backup::run(&arguments),
        Arguments::Restore(arguments) => offline::restore::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(exit) => exit.report(),
    }
}

fn serve(flags: Flags) -> Result<(), Exit> {
    let settings = Settings::new(flags).map_err(|error| Exit::usage(error.0))?;
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_max_level(settings.log)
        .init();
    // One thread for protocol, network and clients: waking another core costs more than most of what is
    // done here. The journal has its own.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Exit::other(format!("no runtime: {error}")))?;
    let result = runtime.block_on(serve::run(settings));
    // Connections end with the process.
    runtime.shutdown_background();
    result
}
