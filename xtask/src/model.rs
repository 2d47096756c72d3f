//! `cargo xtask model`: every state that a small cluster can come to. The testkit's `raft-model` does it;
//! here it is built and started.

use crate::{Outcome, sim};

/// Flags of `cargo xtask model`: those of `raft-model`, which `--help` lists.
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Args {
    /// `--config NAME`, `--states N`, `--list`, and more.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "FLAGS")]
    flags: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Outcome {
    sim::tool("raft-model", &args.flags)
}
