//! The insides of this workspace in the same shape as those of its peers: consensus alone, and journals alone. One line of
//! JSON a run on standard output.

mod counting;
mod journal;
mod protocol;

use clap::{Parser, Subcommand};

#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Three nodes in one thread, no disk: `entries` in proposals of `batch`.
    Core { batch: usize, entries: usize },
    /// A journal.
    #[command(subcommand)]
    Journal(journal::What),
}

fn main() {
    let answer = match Args::parse().what {
        What::Core { batch, entries } => protocol::run(batch, entries),
        What::Journal(what) => journal::run(&what),
    };
    match answer {
        Ok(value) => println!("{value}"),
        Err(why) => {
            eprintln!("bench-ours: {why}");
            std::process::exit(1);
        }
    }
}
