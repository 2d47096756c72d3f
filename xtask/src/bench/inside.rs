//! The parts alone: consensus without disk and network, journals without consensus.

use std::path::Path;

use super::Args;
use super::peers::{Peer, Tools};
use super::results::{Point, Results};
use crate::util::{Context, Failure};

fn words(all: &[&str]) -> Vec<String> {
    all.iter().map(ToString::to_string).collect()
}

/// Three nodes in one thread.
pub(super) fn core(args: &Args, tools: &Tools, results: &mut Results) -> Result<(), Failure> {
    let part = if args.quick { 10 } else { 1 };
    for _ in 0..args.rounds() {
        for (batch, entries) in [(1, 200_000 / part), (64, 1_000_000 / part)] {
            let numbers = [batch.to_string(), entries.to_string()];
            let ours = tools.ask("bench-ours", &[&words(&["core"])[..], &numbers].concat())?;
            results.add(Point::new("raft-core", "replicate", batch, 256), ours);
            if tools.has_peer(Peer::RaftRs) {
                let theirs = tools.ask("raftrs-micro", &numbers)?;
                results.add(Point::new("raft-rs", "replicate", batch, 256), theirs);
            }
        }
    }
    Ok(())
}

/// The names of journals in the results, and how their programs are asked.
struct Journal {
    name: &'static str,
    program: &'static str,
    /// Between the command and the place.
    kind: &'static [&'static str],
    /// Of our programs, the words before the command.
    before: &'static [&'static str],
}

const JOURNALS: [Journal; 5] = [
    Journal { name: "file", program: "bench-ours", kind: &["file"], before: &["journal"] },
    Journal {
        name: "file, behind its thread",
        program: "bench-ours",
        kind: &["file-thread"],
        before: &["journal"],
    },
    Journal { name: "sqlite", program: "bench-ours", kind: &["sqlite"], before: &["journal"] },
    Journal { name: "raft-engine", program: "journal-raftengine", kind: &[], before: &[] },
    Journal { name: "rusqlite", program: "journal-rusqlite", kind: &[], before: &[] },
];

impl Journal {
    fn ask(
        &self,
        tools: &Tools,
        what: &str,
        place: &Path,
        more: &[String],
    ) -> Result<serde_json::Value, Failure> {
        let mut all = words(self.before);
        all.push(what.to_owned());
        all.extend(words(self.kind));
        all.push(place.display().to_string());
        all.extend_from_slice(more);
        tools.ask(self.program, &all)
    }
}

/// Durable batches, then a million entries that are opened and read.
pub(super) fn journals(args: &Args, tools: &Tools, results: &mut Results) -> Result<(), Failure> {
    let dir = tempfile::tempdir().context(|| String::from("no temporary folder"))?;
    let entries = if args.quick { 100_000 } else { 1_000_000 };
    let seconds = args.seconds().min(2.0).to_string();
    let there: Vec<&Journal> = JOURNALS.iter().filter(|journal| tools.has(journal.program)).collect();
    for _ in 0..args.rounds() {
        for batch in [1, 16, 64, 256] {
            for journal in &there {
                // A file or a folder, as each has it.
                let place = dir.path().join(journal.name);
                let value = journal.ask(tools, "append", &place, &[batch.to_string(), seconds.clone()])?;
                results.add(Point::new(journal.name, "append", batch, 256), value);
            }
        }
        let place = dir.path().join(JOURNALS[0].name);
        let more = [words(&["1"]), vec![seconds.clone()], words(&["--bytes", "1024"])].concat();
        let value = JOURNALS[0].ask(tools, "append", &place, &more)?;
        results.add(Point::new("file", "append", 1, 1024), value);
    }
    for journal in &there {
        let place = dir.path().join("full");
        let filled = journal.ask(tools, "fill", &place, &words(&[&entries.to_string()]))?;
        results.add(Point::new(journal.name, "fill", 1000, 256), filled);
        for _ in 0..args.rounds().max(2) {
            let opened = journal.ask(tools, "open", &place, &[])?;
            results.add(Point::new(journal.name, "open", entries, 256), opened);
            let read = journal.ask(tools, "read", &place, &[])?;
            results.add(Point::new(journal.name, "read", entries, 256), read);
        }
        let _ = std::fs::remove_dir_all(&place);
        let _ = std::fs::remove_file(&place);
    }
    Ok(())
}
