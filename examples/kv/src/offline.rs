//! `raft-kv journal ...`: looks at a data folder that no node has open. Changes nothing.

use std::io::Write;
use std::path::PathBuf;

use raft_log_file::FileJournal;

use crate::exit::Exit;

/// What to do with a journal.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Says whose it is and what it holds.
    Inspect {
        /// The data folder.
        #[arg(value_name = "DIR")]
        dir: PathBuf,
    },
    /// Reads everything and checks every sum. Exit code 3 if anything is not as it was written.
    Verify {
        /// The data folder.
        #[arg(value_name = "DIR")]
        dir: PathBuf,
    },
}

/// Does it.
///
/// # Errors
/// [`Exit`].
pub(crate) fn run(command: &Command) -> Result<(), Exit> {
    let (dir, strict) = match command {
        Command::Inspect { dir } => (dir, false),
        Command::Verify { dir } => (dir, true),
    };
    let report = FileJournal::verify(dir).map_err(|error| {
        use raft_core::backend::OpenError;
        let text = format!("{}: {error}", dir.display());
        match error {
            OpenError::Corrupt(_) | OpenError::Version { .. } => Exit::data(text),
            _ => Exit::other(text),
        }
    })?;
    let identity = report.identity;
    let lines = [
        ("node", identity.node.to_string()),
        ("cluster", identity.cluster.to_string()),
        ("group", identity.group.to_string()),
        ("store", identity.store.to_string()),
        ("incarnation", identity.incarnation.number.to_string()),
        ("purged", report.purged.to_string()),
        ("last", report.last.to_string()),
        ("entries", report.entries().to_string()),
        ("segments", report.segments.to_string()),
        ("verdict", format!("{:?}", report.verdict)),
        ("findings", report.findings.len().to_string()),
    ];
    let mut out = std::io::stdout().lock();
    // Nobody may be reading it.
    for (name, value) in lines {
        let _ = writeln!(out, "{name}: {value}");
    }
    for finding in &report.findings {
        let _ = writeln!(out, "finding: {finding:?}");
    }
    if strict && !report.is_clean() {
        return Err(Exit::data(format!("{} is not as it was written", dir.display())));
    }
    Ok(())
}
