//! `cargo xtask conformance`: every backend against every clause of its contract, and the broken backends
//! that the suites must find out.
//!
//! The suites are tests. Asked by an environment variable they leave a line of JSON for each clause and each
//! broken backend; here they are run, and the lines become tables.

mod html;
mod report;

use std::path::PathBuf;
use std::process::Command;

use crate::Outcome;
use crate::util::{Context, Failure, json as json_file, proc};
use report::Report;

/// Flags of `cargo xtask conformance`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Draws the tables there too.
    #[arg(long, value_name = "FILE", default_value = "target/conformance.html")]
    html: PathBuf,
    /// Writes the lines there, as one array.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Names the file to which the suites append: `raft_testkit::conformance::REPORT_FILE`.
const LINES: &str = "RAFT_CONFORMANCE_JSON";

/// The crates whose tests run a suite, and which tests these are.
const SUITES: [(&str, &[&str]); 5] = [
    ("raft-testkit", &["journal", "snapshots", "state_machines", "transport", "liars", "carriers", "killed"]),
    ("raft-log-file", &["conformance", "snapshots"]),
    ("raft-log-sqlite", &["conformance", "snapshots"]),
    ("raft-net-tcp", &["conformance"]),
    ("raft-net-grpc", &["conformance"]),
];

pub(crate) fn run(args: &Args) -> Outcome {
    let dir = tempfile::tempdir().context(|| String::from("no temporary folder"))?;
    let lines = dir.path().join("lines");
    let mut passed = true;
    // What a test prints is not asked for: a clause that fails says so in its line.
    let mut run = |command: &mut Command| -> Result<(), Failure> {
        let (ended, _) = proc::run_keeping(command.env(LINES, &lines), |_| false)?;
        passed &= ended;
        Ok(())
    };
    for (package, tests) in SUITES {
        let folder = proc::root().join(package).join("tests");
        let mut command = proc::cargo();
        command.args(["test", "--quiet", "--no-fail-fast", "--package", package, "--all-features"]);
        let mut any = false;
        for test in tests {
            if folder.join(format!("{test}.rs")).exists() || folder.join(test).join("main.rs").exists() {
                command.args(["--test", test]);
                any = true;
            }
        }
        if !any {
            continue;
        }
        run(&mut command)?;
    }
    run(proc::cargo_outside("test", "custom-journal")?.args(["--quiet", "--no-fail-fast"]))?;
    let text = std::fs::read_to_string(&lines).context(|| String::from("the suites have left no lines"))?;
    let report = Report::read(&text)?;
    print!("{}", report.text());
    if let Some(parent) = args.html.parent() {
        std::fs::create_dir_all(parent).context(|| parent.display().to_string())?;
    }
    std::fs::write(&args.html, html::page(&report)).context(|| args.html.display().to_string())?;
    json_file::write(args.json.as_deref(), &report.json())?;
    println!("as a page: {}", args.html.display());
    println!("{}", report.last_line());
    Ok(passed && report.holds())
}
