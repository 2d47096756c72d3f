//! `raft-kv journal ...`: looks at a data folder that no node has open, or moves what is in it. All but
//! `copy` change nothing. `raft-kv recover`: goes on with what one node has. `raft-kv backup` and
//! `raft-kv restore`.

pub(crate) mod backup;
mod copy;
mod dump;
mod progress;
pub(crate) mod recover;
pub(crate) mod restore;
mod snapshots;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use raft_core::backend::{JournalError, OpenError};

use crate::advice;
use crate::exit::Exit;
use crate::help;
use crate::journal::{JournalKind, View};

/// What to do with a journal.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Says whose it is and what it holds.
    #[command(after_help = help::INSPECT)]
    Inspect {
        /// The data folder of a node that is stopped.
        #[arg(value_name = "DIR")]
        place: Place,
    },
    /// Reads everything and checks every sum. Exit code 3 if anything is not as it was written.
    #[command(after_help = help::VERIFY)]
    Verify {
        /// The data folder of a node that is stopped.
        #[arg(value_name = "DIR")]
        place: Place,
    },
    /// Writes what it holds, one line for each entry.
    #[command(after_help = help::DUMP)]
    Dump(dump::Arguments),
    /// Moves a node: writes its journal again as another one, reads that back, and closes the old one for
    /// good. Of two copies of a node at most one may ever run.
    #[command(after_help = help::COPY)]
    Copy {
        /// The data folder of a node that is stopped.
        #[arg(value_name = "FROM")]
        from: Place,
        /// file:DIR or sqlite:DIR, a folder that is empty or does not exist yet.
        #[arg(value_name = "TO")]
        to: Place,
    },
}

/// `file:DIR`, `sqlite:DIR`, or `DIR`.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    kind: Option<JournalKind>,
    dir: PathBuf,
}

impl FromStr for Place {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let named = text.split_once(':').and_then(|(name, dir)| Some((JournalKind::named(name)?, dir)));
        Ok(match named {
            Some((kind, dir)) => Self { kind: Some(kind), dir: dir.into() },
            None => Self { kind: None, dir: text.into() },
        })
    }
}

impl Place {
    /// Which kind it is: as it says, or what is there.
    fn kind(&self) -> Result<JournalKind, Exit> {
        if let Some(kind) = self.kind {
            return Ok(kind);
        }
        let dir = self.dir.display();
        match JournalKind::found(&self.dir).as_slice() {
            [kind] => Ok(*kind),
            [] => Err(of_open(&self.dir, &OpenError::NotInitialised)),
            _ => Err(Exit::usage(
                format!("{dir} holds journals of both kinds"),
                format!("say file:{dir} or sqlite:{dir}"),
            )),
        }
    }

    fn view(&self) -> Result<(JournalKind, View), Exit> {
        let kind = self.kind()?;
        let view = View::new(kind, &self.dir).map_err(|error| of_open(&self.dir, &error))?;
        Ok((kind, view))
    }
}

fn of_open(dir: &Path, error: &OpenError) -> Exit {
    let text = match error {
        // To create one is not what is to be done about it here.
        OpenError::NotInitialised => format!("{}: no journal is here", dir.display()),
        _ => format!("{}: {error}", dir.display()),
    };
    match error {
        OpenError::Corrupt(_)
        | OpenError::Version { .. }
        | OpenError::Foreign(_)
        | OpenError::Closed { .. } => Exit::data(text, advice::open(error)),
        _ => Exit::other(text, advice::open(error)),
    }
}

fn of_journal(dir: &Path, error: &JournalError) -> Exit {
    let text = format!("{}: {error}", dir.display());
    match error {
        JournalError::Corrupt(_) => Exit::data(text, advice::journal(error)),
        _ => Exit::other(text, advice::journal(error)),
    }
}

/// Does it.
///
/// # Errors
/// [`Exit`].
pub(crate) fn run(command: &Command) -> Result<(), Exit> {
    let (place, strict) = match command {
        Command::Inspect { place } => (place, false),
        Command::Verify { place } => (place, true),
        Command::Dump(arguments) => return dump::run(arguments),
        Command::Copy { from, to } => return copy::run(from, to),
    };
    let (kind, view) = place.view()?;
    let mut out = std::io::stdout().lock();
    // Nobody may be reading it.
    for (name, value) in rows(kind, &view, &place.dir)? {
        let _ = writeln!(out, "{name}: {value}");
    }
    for finding in view.findings() {
        let _ = writeln!(out, "finding: {finding}");
    }
    if strict && !view.is_clean() {
        return Err(Exit::data(
            format!("{} is not as it was written", place.dir.display()),
            "start the node all the same: it says what it makes of it, repairs what can be repaired, and a member of a cluster \
             takes what is missing from the leader; then replace the disk",
        ));
    }
    Ok(())
}

/// What there is to say of a journal as a whole.
fn rows(kind: JournalKind, view: &View, dir: &Path) -> Result<Vec<(&'static str, String)>, Exit> {
    let state = view.state();
    let identity = state.identity;
    let hard = state.hard_state;
    let mut rows = vec![
        ("journal", kind.name().to_owned()),
        ("node", identity.node.to_string()),
        ("cluster", identity.cluster.to_string()),
        ("group", identity.group.to_string()),
        ("store", identity.store.to_string()),
        ("incarnation", identity.incarnation.number.to_string()),
        ("term", hard.term.to_string()),
        ("vote", format!("{:?}", hard.vote)),
        ("probation", hard.probation.to_string()),
    ];
    for peer in &state.known_peers {
        let (node, store, seen) = (peer.node, peer.store, peer.incarnation.number);
        rows.push(("peer", format!("node {node}, store {store}, incarnation {seen}")));
    }
    rows.extend([
        ("purged", state.purged.to_string()),
        ("last", state.last.to_string()),
        ("entries", state.last.index.0.saturating_sub(state.purged.index.0).to_string()),
        ("commit hint", state.commit_hint.to_string()),
    ]);
    rows.extend(view.segments().map(|segments| ("segments", segments.to_string())));
    let closed = JournalKind::closed(dir).map_err(|error| of_open(dir, &error))?;
    rows.extend(closed.map(|why| ("closed", why)));
    rows.push(("verdict", format!("{:?}", state.verdict)));
    rows.push(("findings", view.findings().len().to_string()));
    Ok(rows)
}

/// Entries read at a time at most, and their bytes: what a pass over a journal takes in memory.
const STEP_ENTRIES: u64 = 4096;
const STEP_BYTES: u64 = 4 << 20;

/// After something that was written and read back has not become the same.
const AGAIN: &str = "nothing that was there before has changed: look at the disk (dmesg), then run the same command again, which begins anew";

/// A name that nobody else has.
fn random() -> Result<u128, Exit> {
    let drawn = ring::rand::generate::<[u8; 16]>(&ring::rand::SystemRandom::new());
    let drawn = drawn
        .map_err(|_| Exit::other("the system has no random numbers", "see that /dev/urandom can be read"))?;
    Ok(u128::from_le_bytes(drawn.expose()))
}
