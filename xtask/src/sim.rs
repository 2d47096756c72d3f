//! `cargo xtask sim`: whole clusters in simulation. The testkit's `raft-sim` does it; here it is built and
//! started.

use crate::Outcome;
use crate::util::{Context, proc};

/// Flags of `cargo xtask sim`: those of `raft-sim`, which `--help` lists.
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Args {
    /// `--seeds A..B`, `--seed S --trace`, `--minutes M`, and more.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "FLAGS")]
    flags: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Outcome {
    tool("raft-sim", &args.flags)
}

/// Builds one of the testkit's tools and starts it.
pub(crate) fn tool(name: &str, flags: &[String]) -> Outcome {
    let mut command = proc::cargo();
    command
        .args(["run", "--quiet", "--release", "--package", "raft-testkit", "--features", "tools"])
        .args(["--bin", name, "--"])
        .args(flags);
    let status = command.status().context(|| proc::shown(&command))?;
    if status.code() == Some(2) {
        // It has said what is wrong with the command line.
        std::process::exit(2);
    }
    Ok(status.success())
}
