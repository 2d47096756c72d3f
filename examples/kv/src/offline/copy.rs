//! `raft-kv journal copy`: moves a node to another journal.
//!
//! At no moment are there two journals of one node that can be opened. The new one is closed from its first
//! file on. It is written and read back; then the old one is closed for good, durably; only then the new one
//! is released. Cut anywhere, the same command goes on where that is safe, and begins again otherwise: a new
//! journal that is still closed was never opened.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use raft_core::backend::{Journal, JournalWrite, Verdict};
use raft_core::ids::{Index, LogId};

use super::progress::Progress;
use super::snapshots::Snapshots;
use super::{AGAIN, Place, STEP_BYTES, STEP_ENTRIES, of_journal, of_open};
use crate::advice;
use crate::exit::Exit;
use crate::journal::{JournalKind, View};

/// For whoever finds that a folder is not to be used any more.
pub(super) const CLOSED_BEFORE: &str =
    "go on with what it became: of two copies of a node at most one may ever run";

/// For whoever wants to write where something is.
const ELSEWHERE: &str = "name a folder that is empty or does not exist yet";

/// The name of the file with the text, in both kinds of journals.
const CLOSED: &str = "CLOSED";

/// Does it.
pub(super) fn run(from: &Place, to: &Place) -> Result<(), Exit> {
    let Some(kind) = to.kind else {
        return Err(Exit::usage(
            format!("{} says no kind of journal", to.dir.display()),
            "say what the copy is to be: file:DIR or sqlite:DIR",
        ));
    };
    let source = Named::new(from.kind()?, &from.dir)?;
    let target = Named::new(kind, &to.dir)?;
    let mut old = View::new(source.kind, &source.dir).map_err(|error| of_open(&source.dir, &error))?;
    if let Some(damage) = damage(&old) {
        // In a copy nothing would tell any more: its checksums are new.
        return Err(Exit::data(
            format!("{source} is damaged, nothing was copied: {damage}"),
            "let the node start there and repair it, then stop it and copy",
        ));
    }
    let (unfinished, moved) = (format!("an unfinished copy of {source}"), format!("moved to {target}"));
    let was_closed = JournalKind::closed(&source.dir).map_err(|error| of_open(&source.dir, &error))?;
    let begun = target.is_unfinished(&unfinished)?;
    match was_closed {
        // Cut between the last two steps.
        Some(why) if why == moved && begun => {}
        Some(why) => {
            return Err(Exit::data(format!("{source} must not be copied: it was {why}"), CLOSED_BEFORE));
        }
        None => {
            if begun {
                target.clear().map_err(|error| target.failed("cannot remove an earlier attempt", &error))?;
            }
            write(&old, &source, &target, &unfinished)?;
        }
    }
    let mut new = View::new(target.kind, &target.dir).map_err(|error| of_open(&target.dir, &error))?;
    compare(&old, &source, &new, &target)?;
    old.close(&moved).map_err(|error| of_open(&source.dir, &error))?;
    new.release().map_err(|error| of_open(&target.dir, &error))?;
    let state = new.state();
    let entries = state.last.index.0.saturating_sub(state.purged.index.0);
    println!(
        "node {} was moved to {target}: {entries} entries up to {}, read back and the same; {source} is closed. Start it with \
         --data {} --journal {} and its other flags",
        state.identity.node,
        state.last,
        target.dir.display(),
        target.kind.name()
    );
    Ok(())
}

/// A journal with its whole name.
pub(super) struct Named {
    pub(super) kind: JournalKind,
    pub(super) dir: PathBuf,
}

impl std::fmt::Display for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.kind.name(), self.dir.display())
    }
}

impl Named {
    pub(super) fn new(kind: JournalKind, dir: &Path) -> Result<Self, Exit> {
        let dir = std::path::absolute(dir).map_err(|error| {
            Exit::usage(format!("{} is no folder: {error}", dir.display()), advice::io(error.kind()))
        })?;
        Ok(Self { kind, dir })
    }

    pub(super) fn failed(&self, what: &str, error: &io::Error) -> Exit {
        Exit::other(format!("{self}: {what}: {error}"), advice::io(error.kind()))
    }

    /// Runs something that waits for disks.
    pub(super) fn in_runtime<T>(&self, run: impl Future<Output = Result<T, Exit>>) -> Result<T, Exit> {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.map_err(|error| self.failed("no runtime", &error))?.block_on(run)
    }

    /// Whether an earlier attempt of the same copy is there. Anything else but an empty folder is refused.
    pub(super) fn is_unfinished(&self, unfinished: &str) -> Result<bool, Exit> {
        let mut names = match fs::read_dir(&self.dir) {
            Ok(names) => names,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(self.failed("it cannot be used", &error)),
        };
        if names.next().is_none() {
            return Ok(false);
        }
        let closed = JournalKind::closed(&self.dir).map_err(|error| of_open(&self.dir, &error))?;
        match closed {
            Some(why) if why == unfinished => Ok(true),
            Some(why) => Err(Exit::other(format!("{self} is there already: {why}"), ELSEWHERE)),
            None => Err(Exit::other(format!("{self} is there already: nothing is overwritten"), ELSEWHERE)),
        }
    }

    /// Removes an earlier attempt; what says that it is one goes last.
    pub(super) fn clear(&self) -> io::Result<()> {
        for found in fs::read_dir(&self.dir)? {
            let path = found?.path();
            if path.file_name().is_some_and(|name| name == CLOSED) {
                continue;
            }
            if path.is_dir() { fs::remove_dir_all(path)? } else { fs::remove_file(path)? }
        }
        fs::File::open(&self.dir)?.sync_all()?;
        fs::remove_file(self.dir.join(CLOSED))
    }
}

/// What is not as it was written. A write that was cut before anyone was told of it is no damage.
pub(super) fn damage(view: &View) -> Option<String> {
    let verdict = &view.state().verdict;
    if !matches!(verdict, Verdict::Clean | Verdict::TornTail { .. }) {
        return Some(format!("{verdict:?}"));
    }
    view.findings().into_iter().next()
}

/// The ranges of a pass, each with as many entries as were asked for at most.
fn steps(view: &View, next: Index) -> Option<std::ops::Range<Index>> {
    let end = view.state().last.index.next();
    (next < end).then(|| next..end.min(Index(next.0.saturating_add(STEP_ENTRIES))))
}

fn total(view: &View) -> u64 {
    view.state().last.index.0.saturating_sub(view.state().purged.index.0)
}

/// Writes the copy, which stays closed.
fn write(old: &View, source: &Named, target: &Named, unfinished: &str) -> Result<(), Exit> {
    source.in_runtime(async {
        let adopted = target.kind.adopt(&target.dir, old.state().identity, unfinished).await;
        let mut new = adopted.map_err(|error| of_open(&target.dir, &error))?;
        let mut first = JournalWrite::default();
        first.hard_state = Some(old.state().hard_state);
        first.known_peers = Some(old.state().known_peers.clone());
        fill(old, source, &mut *new, target, first).await?;
        match Snapshots::of(source.kind, &source.dir).await? {
            Some(snapshots) => snapshots.copy(target.kind, &target.dir).await,
            None => Ok(()),
        }
    })
}

/// Writes what comes `first`, then all entries.
pub(super) async fn fill(
    old: &View,
    source: &Named,
    new: &mut dyn Journal,
    target: &Named,
    first: JournalWrite,
) -> Result<(), Exit> {
    let failed = |error| of_journal(&target.dir, &error);
    let state = old.state();
    new.write(first).await.map_err(failed)?;
    if state.purged != LogId::ZERO {
        new.reset(state.purged).await.map_err(failed)?;
    }
    let progress = Progress::entries("copied", total(old));
    let mut next = state.purged.index.next();
    while let Some(range) = steps(old, next) {
        let entries = old.entries(range, STEP_BYTES).map_err(|error| of_journal(&source.dir, &error))?;
        let Some(last) = entries.last() else { break };
        next = last.id.index.next();
        let mut write = JournalWrite::default();
        // What is committed is a prefix: never more than what is there.
        write.commit_hint = state.commit_hint.min(last.id.index);
        progress.add(entries.len() as u64);
        write.entries = entries.into();
        new.write(write).await.map_err(failed)?;
    }
    Ok(())
}

/// Reads the copy back from the disk, and everything of the old one again.
fn compare(old: &View, source: &Named, new: &View, target: &Named) -> Result<(), Exit> {
    let differs =
        |what: &str| Exit::other(format!("{target}: {what} is not that of {source}; it stays closed"), AGAIN);
    if let Some(damage) = damage(new) {
        return Err(Exit::data(format!("{target} is damaged, it stays closed: {damage}"), AGAIN));
    }
    let (a, b) = (old.state(), new.state());
    let same = [
        ("the cluster", a.identity.cluster == b.identity.cluster),
        ("the group", a.identity.group == b.identity.group),
        ("the node", a.identity.node == b.identity.node),
        ("the store", a.identity.store == b.identity.store),
        ("the incarnation, raised,", a.identity.incarnation.number < b.identity.incarnation.number),
        ("the hard state", a.hard_state == b.hard_state),
        ("what is known of the peers", a.known_peers == b.known_peers),
        ("the first entry", a.purged == b.purged),
        ("the last entry", a.last == b.last),
        ("the list of terms", a.terms == b.terms),
        ("the list of memberships", a.memberships == b.memberships),
        ("the commit index", b.commit_hint <= a.commit_hint),
    ];
    if let Some((what, _)) = same.iter().find(|(_, same)| !same) {
        return Err(differs(what));
    }
    compare_entries(old, source, new, target)
}

/// The same for the entries of the old one: the new one may have more.
pub(super) fn compare_entries(old: &View, source: &Named, new: &View, target: &Named) -> Result<(), Exit> {
    let differs =
        |what: &str| Exit::other(format!("{target}: {what} is not that of {source}; it stays closed"), AGAIN);
    let a = old.state();
    let progress = Progress::entries("compared", total(old));
    let mut next = a.purged.index.next();
    while let Some(range) = steps(old, next) {
        let theirs = old.entries(range, STEP_BYTES).map_err(|error| of_journal(&source.dir, &error))?;
        let Some(last) = theirs.last() else { break };
        let upto = last.id.index.next();
        let ours = new.entries(next..upto, u64::MAX).map_err(|error| of_journal(&target.dir, &error))?;
        if let Some((entry, _)) = theirs.iter().zip(&ours).find(|(theirs, ours)| theirs != ours) {
            return Err(differs(&format!("entry {}", entry.id)));
        }
        if theirs.len() != ours.len() {
            return Err(differs("the number of entries"));
        }
        progress.add(ours.len() as u64);
        next = upto;
    }
    if next != a.last.index.next() {
        return Err(differs("the number of entries"));
    }
    Ok(())
}
