//! `cargo xtask digests`: whether a seed decides everything. The same simulated runs in processes of their own, with
//! and without optimisation, in different environments: the digests of all that happened must be the same.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::thread;

use crate::Outcome;
use crate::util::{Failure, proc, progress::Progress};

/// Flags of `cargo xtask digests`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Runs these seeds: `A..B`, without B.
    #[arg(long, value_name = "A..B", default_value = "0..1000")]
    pub(crate) seeds: String,
    /// How many seeds at a time, in each process.
    #[arg(long, value_name = "T", default_value_t = 1)]
    pub(crate) threads: usize,
}

/// A build, and the environment of its process: another zone, another language, other sizes of everything that
/// stands before the stack, another place.
struct Way {
    /// What is built, and how. Without optimisation it is what the tests of the workspace are built from.
    build: &'static [&'static str],
    folder: &'static str,
    noise: &'static str,
}

const WAYS: [Way; 2] = [
    Way {
        build: &["--release", "--package", "raft-testkit", "--features", "tools"],
        folder: "release",
        noise: "C",
    },
    Way { build: &["--workspace", "--all-features"], folder: "debug", noise: "Asia/Tokyo" },
];

pub(crate) fn run(args: &Args) -> Outcome {
    let programs = WAYS.iter().map(build).collect::<Result<Vec<PathBuf>, Failure>>()?;
    let run = |way: &'static Way, program: PathBuf| {
        let (seeds, threads) = (args.seeds.clone(), args.threads.to_string());
        thread::spawn(move || {
            let mut command = Command::new(&program);
            command.args(["--seeds", &seeds, "--threads", &threads, "--hash"]);
            command.env("RAFT_SIM_NOISE", way.noise.repeat(way.noise.len()));
            command.env("TZ", way.noise).env("LC_ALL", way.noise);
            command.current_dir(program.parent().unwrap_or(&program));
            proc::stdout(&mut command).map(|text| digests(&text))
        })
    };
    let progress = Progress::spinner("runs the same seeds in two ways");
    let started: Vec<_> = WAYS.iter().zip(programs).map(|(way, program)| run(way, program)).collect();
    let ended =
        started.into_iter().map(|way| way.join().unwrap_or_else(|_| Err(Failure::new("a thread panicked"))));
    let found = ended.collect::<Result<Vec<_>, Failure>>()?;
    drop(progress);
    let [one, other] = &found[..] else { return Err(Failure::new("there are two ways")) };
    let different: Vec<&String> =
        one.keys().chain(other.keys()).filter(|seed| one.get(*seed) != other.get(*seed)).collect();
    for seed in &different {
        eprintln!("seed {seed}: with optimisation {:?}, without {:?}", one.get(*seed), other.get(*seed));
    }
    println!("digests: seeds={} different={}", one.len(), different.len());
    Ok(!one.is_empty() && different.is_empty())
}

fn build(way: &Way) -> Result<PathBuf, Failure> {
    let mut command = proc::cargo();
    command.args(["build", "--quiet", "--bin", "raft-sim"]);
    if !proc::run(command.args(way.build))? {
        return Err(Failure::new("the simulator cannot be built"));
    }
    Ok(proc::target_dir()?.join(way.folder).join("raft-sim"))
}

/// The digest of each seed.
fn digests(text: &str) -> BTreeMap<String, String> {
    let one = |line: &str| {
        let (seed, digest) = line.strip_prefix("hash ")?.split_once(' ')?;
        Some((seed.to_owned(), digest.to_owned()))
    };
    text.lines().filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn digests_are_read_by_seed() {
        let text = "hash 0 00ff\nfault 1 hash\nhash 12 abcd\nsim: seeds=2\n";
        let found = super::digests(text);
        assert_eq!(found.get("12").map(String::as_str), Some("abcd"));
        assert_eq!(found.len(), 2);
    }
}
