//! `cargo xtask page`: the page of raft-kv in a real browser, with a leader kill that it must show.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Outcome;
use crate::util::{Context, Failure, proc};

/// The test that is run; it is ignored otherwise.
const TEST: &str = "the_page_shows_a_cluster_and_a_failover";

/// What Debian calls the browser and its driver.
const PACKAGES: [&str; 2] = ["chromium", "chromium-driver"];

/// Flags of `cargo xtask page`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Writes pictures of the page there: by day, by night, on a phone, during a failover.
    #[arg(long, value_name = "DIR")]
    screenshots: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> Outcome {
    if let Some(why) = missing()? {
        return Err(Failure::new(why));
    }
    test(args.screenshots.as_deref())
}

/// Why there is no browser, if there is none. Where Debian's packages can be had it is installed.
pub(crate) fn missing() -> Result<Option<String>, Failure> {
    let is_there =
        || ["chromium", "chromedriver"].iter().all(|tool| proc::works(Command::new(tool).arg("--version")));
    if is_there() {
        return Ok(None);
    }
    if !proc::works(Command::new("apt-get").arg("--version")) || !may_install() {
        let why =
            String::from("chromium and chromedriver are not installed, and apt-get cannot be used here");
        // There a check that was left out would look like one that has passed.
        return if std::env::var_os("CI").is_some() { Err(Failure::new(why)) } else { Ok(Some(why)) };
    }
    eprintln!("chromium or chromedriver is missing: installing {} with apt-get", PACKAGES.join(" and "));
    let apt = |args: &[&str]| {
        proc::run(Command::new("apt-get").env("DEBIAN_FRONTEND", "noninteractive").args(["-q"]).args(args))
    };
    apt(&["update"])?;
    let mut install = vec!["install", "--yes", "--no-install-recommends"];
    install.extend(PACKAGES);
    if apt(&install)? && is_there() {
        return Ok(None);
    }
    Err(Failure::new(format!("apt-get could not install {}", PACKAGES.join(" and ")))
        .next("install a browser and its driver by hand; chromedriver must be in the PATH"))
}

#[cfg(unix)]
fn may_install() -> bool {
    rustix::process::geteuid().is_root()
}

#[cfg(not(unix))]
fn may_install() -> bool {
    false
}

/// Runs the test; whether it passed. A test that is gone has not.
pub(crate) fn test(pictures: Option<&Path>) -> Outcome {
    let mut command = proc::cargo();
    command.args(["test", "--package", "raft-kv", "--test", "page", "--", "--ignored", "--exact", TEST]);
    if let Some(dir) = pictures {
        let dir = std::path::absolute(dir).context(|| String::from("--screenshots"))?;
        command.env("RAFT_PAGE_PICTURES", dir);
    }
    let (passed, lines) = proc::run_keeping(&mut command, |line| line.contains("1 passed"))?;
    let held = passed && lines.len() == 1;
    println!("page: shown={}", if held { "yes" } else { "no" });
    Ok(held)
}
