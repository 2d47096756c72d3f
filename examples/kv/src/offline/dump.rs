//! `raft-kv journal dump`: what a journal holds, as text or as JSON, one line for each entry.

use std::io::{self, BufWriter, IsTerminal, Write};

use raft_core::entry::{Entry, EntryKind};
use raft_core::ids::Index;
use raft_core::membership::Membership;
use raft_core::session::{Packed, unpack_any};
use serde_json::{Value, json};

use super::progress::Progress;
use super::{Place, STEP_BYTES, STEP_ENTRIES, of_journal, rows};
use crate::advice;
use crate::exit::Exit;
use crate::show;

/// So many commands of one entry are shown as text.
const SHOWN: usize = 16;

/// Flags of `raft-kv journal dump`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The data folder of a node that is stopped.
    #[arg(value_name = "DIR")]
    place: Place,
    /// The first entry. Default: the first that is there.
    #[arg(long, value_name = "INDEX")]
    from: Option<u64>,
    /// The last entry. Default: the last that is sound.
    #[arg(long, value_name = "INDEX")]
    to: Option<u64>,
    /// A JSON object on each line: the head, then the entries. Nothing is shortened; bytes are escaped as in
    /// Rust's string literals.
    #[arg(long)]
    json: bool,
}

/// Does it. Whoever reads it may stop at any line.
pub(super) fn run(arguments: &Arguments) -> Result<(), Exit> {
    let mut out = BufWriter::new(io::stdout().lock());
    match dump(arguments, &mut out) {
        Ok(()) => Ok(()),
        Err(Stop::Reader(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(Stop::Reader(error)) => {
            Err(Exit::other(format!("cannot write to stdout: {error}"), advice::io(error.kind())))
        }
        Err(Stop::Exit(exit)) => {
            // What was read is sound.
            let _ = out.flush();
            Err(exit)
        }
    }
}

/// Why it ends early.
enum Stop {
    Reader(io::Error),
    Exit(Exit),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Reader(error)
    }
}

fn dump(arguments: &Arguments, out: &mut impl Write) -> Result<(), Stop> {
    let Arguments { place, from, to, json } = arguments;
    let (kind, view) = place.view().map_err(Stop::Exit)?;
    let head = rows(kind, &view, &place.dir).map_err(Stop::Exit)?;
    if *json {
        writeln!(out, "{}", head_value(head, view.findings()))?;
    } else {
        for (name, value) in head {
            writeln!(out, "# {name}: {value}")?;
        }
        for finding in view.findings() {
            writeln!(out, "# finding: {finding}")?;
        }
    }
    let state = view.state();
    let mut next = Index(from.unwrap_or(0)).max(state.purged.index.next());
    let end = to.map_or(state.last.index, Index).min(state.last.index).next();
    let left = end.0.saturating_sub(next.0);
    // Not between the lines that somebody reads.
    let progress = (!io::stdout().is_terminal()).then(|| Progress::entries("dumped", left));
    while next < end {
        let upto = end.min(Index(next.0.saturating_add(STEP_ENTRIES)));
        let entries = view.entries(next..upto, STEP_BYTES);
        let entries = entries.map_err(|error| Stop::Exit(of_journal(&place.dir, &error)))?;
        for entry in &entries {
            if *json {
                writeln!(out, "{}", value(entry))?;
            } else {
                let (id, kind) = (entry.id, kind_name(entry.kind));
                writeln!(out, "{} {} {kind} {}", id.index, id.term, text(entry))?;
            }
            next = entry.id.index.next();
        }
        if let Some(progress) = &progress {
            progress.add(entries.len() as u64);
        }
        if entries.is_empty() {
            break;
        }
    }
    Ok(out.flush()?)
}

/// The head as an object. What there may be several of is a list.
fn head_value(head: Vec<(&str, String)>, findings: Vec<String>) -> Value {
    let mut object = serde_json::Map::new();
    let mut peers = Vec::new();
    for (name, value) in head {
        match name {
            "peer" => peers.push(value),
            "findings" => {}
            name => drop(object.insert(name.replace(' ', "_"), value.into())),
        }
    }
    object.insert("peers".into(), peers.into());
    object.insert("findings".into(), findings.into());
    Value::Object(object)
}

const fn kind_name(kind: EntryKind) -> &'static str {
    match kind {
        EntryKind::Noop => "noop",
        EntryKind::Commands => "commands",
        EntryKind::Membership => "membership",
        EntryKind::Session => "session",
    }
}

fn text(entry: &Entry) -> String {
    let bytes = entry.data.len();
    match entry.kind {
        EntryKind::Noop => note(entry).unwrap_or_default(),
        EntryKind::Commands => match unpack_any(&entry.data) {
            Ok(Packed { commands, .. }) => {
                let shown = commands.iter().take(SHOWN).map(|(mark, command)| show::numbered(*mark, command));
                let shown: Vec<_> = shown.collect();
                let more = commands.len().saturating_sub(SHOWN);
                let more =
                    if more > 0 { format!(" | {more} more, {bytes} bytes in all") } else { String::new() };
                shown.join(" | ") + &more
            }
            Err(error) => format!("{bytes} bytes: {error}"),
        },
        EntryKind::Membership => match Membership::decode(&entry.data) {
            Ok(found) => members(&found),
            Err(error) => format!("{bytes} bytes: {error}"),
        },
        EntryKind::Session => show::session_entry(&entry.data),
    }
}

/// What an offline tool has written down.
fn note(entry: &Entry) -> Option<String> {
    (!entry.data.is_empty()).then(|| String::from_utf8_lossy(&entry.data).escape_debug().to_string())
}

fn members(found: &Membership) -> String {
    let ids = |ids: &mut dyn Iterator<Item = raft_core::ids::NodeId>| {
        ids.map(|id| id.to_string()).collect::<Vec<_>>().join(",")
    };
    let mut text = format!("voters {}", ids(&mut found.voters.iter().copied()));
    if found.is_joint() {
        text += &format!(", before {}", ids(&mut found.outgoing.iter().copied()));
    }
    let learners = ids(&mut found.learners());
    if !learners.is_empty() {
        text += &format!(", learners {learners}");
    }
    text
}

fn value(entry: &Entry) -> Value {
    let mut object = json!({
        "index": entry.id.index.0,
        "term": entry.id.term.0,
        "kind": kind_name(entry.kind),
        "bytes": entry.data.len(),
    });
    let (name, more) = match entry.kind {
        EntryKind::Commands => match unpack_any(&entry.data) {
            Ok(Packed { commands, .. }) => {
                let shown = commands.iter().map(|(mark, command)| show::numbered_value(*mark, command));
                ("commands", shown.collect())
            }
            Err(error) => ("error", error.to_string().into()),
        },
        EntryKind::Membership => match Membership::decode(&entry.data) {
            Ok(found) => {
                let members = found.members.values().map(|member| {
                    json!({ "id": member.id.0, "address": member.address, "attributes": member.attributes })
                });
                let ids = |ids: &std::collections::BTreeSet<raft_core::ids::NodeId>| {
                    ids.iter().map(|id| id.0).collect::<Vec<_>>()
                };
                let value = json!({
                    "members": members.collect::<Vec<_>>(),
                    "voters": ids(&found.voters),
                    "outgoing": ids(&found.outgoing),
                });
                ("membership", value)
            }
            Err(error) => ("error", error.to_string().into()),
        },
        EntryKind::Session => ("session", show::session_entry(&entry.data).into()),
        EntryKind::Noop => match note(entry) {
            Some(note) => ("note", note.into()),
            None => return object,
        },
    };
    if let Some(object) = object.as_object_mut() {
        object.insert(name.into(), more);
    }
    object
}
