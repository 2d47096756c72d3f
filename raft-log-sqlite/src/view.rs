//! A journal that is looked at, not opened; and closing one for good.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};

use raft_core::backend::{JournalError, JournalState, OpenError};
use raft_core::entry::Entry;
use raft_core::ids::Index;

use crate::beside::{CLOSED, DATABASE, IDENTITY, slot_path, sync_dir};
use crate::error::{Context, journal_error};
use crate::journal::runtime;
use crate::open::{self, Examined};
use crate::scan::Log;
use crate::store::{check_range, checked};
use crate::table::Table;
use crate::verify::{self, Report};

/// More of the text than this is not read, in bytes.
const TEXT_LIMIT: u64 = 64 << 10;

/// What was said when the journal was closed; `None` if it was not.
fn closed(dir: &Path) -> io::Result<Option<String>> {
    let mut text = Vec::new();
    match File::open(dir.join(CLOSED)) {
        Ok(file) => file.take(TEXT_LIMIT).read_to_end(&mut text)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(Some(String::from_utf8_lossy(&text).trim_end().to_owned()))
}

/// Refuses a journal that was closed.
pub(crate) fn refuse_closed(dir: &Path) -> Result<(), OpenError> {
    match closed(dir).during("read CLOSED")? {
        Some(why) => Err(OpenError::Closed { why }),
        None => Ok(()),
    }
}

/// Closes, durably. Whoever calls it has the lock.
pub(crate) fn close(dir: &Path, why: &str) -> Result<(), OpenError> {
    let temporary = dir.join("CLOSED.tmp");
    let write = || {
        let mut file = File::create(&temporary)?;
        writeln!(file, "{why}")?;
        file.sync_all()?;
        fs::rename(&temporary, dir.join(CLOSED))?;
        sync_dir(dir)
    };
    write().during("close the journal for good")
}

type Reading = (Range<Index>, u64, Sender<Result<Vec<Entry>, JournalError>>);

/// A journal that is looked at. It is locked as long as this lives, and nothing changes: its incarnation stays what
/// it is, and every file. Dropping it waits until its write-ahead log, which is kept aside meanwhile, is back.
pub struct SqliteView {
    dir: PathBuf,
    report: Report,
    state: JournalState,
    queue: Option<Sender<Reading>>,
    thread: Option<JoinHandle<()>>,
}

impl SqliteView {
    /// Reads and checks everything in the folder `dir`, also where the journal was closed. Blocks.
    ///
    /// # Errors
    /// [`OpenError`] for what opening would refuse for another reason.
    pub fn new(dir: &Path) -> Result<Self, OpenError> {
        let (queue, readings) = mpsc::channel();
        let (answer, answered) = mpsc::channel();
        let folder = dir.to_path_buf();
        // A thread of its own: the caller may be in a runtime, which must not be blocked from within.
        let run = move || {
            let found = runtime().and_then(|runtime| {
                let found = runtime.block_on(open::examine(&folder, None, 0))?;
                Ok((runtime, found))
            });
            match found {
                Ok((runtime, found)) => {
                    let about = (verify::report(&found), state(&found));
                    let gone = answer.send(Ok(about)).is_err();
                    runtime.block_on(serve(&folder, found, if gone { None } else { Some(readings) }));
                }
                Err(error) => drop(answer.send(Err(error))),
            }
        };
        let thread = thread::Builder::new().name("raft-journal-view".into()).spawn(run);
        let thread = thread.during("start a thread")?;
        let gone = |_| OpenError::Io { what: "look at the journal".into(), cause: "its thread died".into() };
        let (report, state) = answered.recv().map_err(gone)??;
        Ok(Self { dir: dir.to_path_buf(), report, state, queue: Some(queue), thread: Some(thread) })
    }

    /// Whether there is something of a journal in SQLite in the folder, whole or not.
    #[must_use]
    pub fn exists(dir: &Path) -> bool {
        dir.join(DATABASE).exists() || (0..2).any(|slot| slot_path(dir, IDENTITY, slot).exists())
    }

    /// What was said when the journal in the folder was closed; `None` if it was not, or if there is none.
    ///
    /// # Errors
    /// [`OpenError::Io`].
    pub fn closed(dir: &Path) -> Result<Option<String>, OpenError> {
        closed(dir).during("read CLOSED")
    }

    /// What a scrub says of it.
    #[must_use]
    pub const fn report(&self) -> &Report {
        &self.report
    }

    /// What opening would give to a node, with the incarnation of the last opening.
    #[must_use]
    pub const fn state(&self) -> &JournalState {
        &self.state
    }

    /// Entries of `range` in order, from its start, as many as fit in `max_bytes` of data, at least one.
    /// Blocks.
    ///
    /// # Errors
    /// Those of [`JournalReader::entries`](raft_core::backend::JournalReader::entries).
    pub fn entries(&self, range: Range<Index>, max_bytes: u64) -> Result<Vec<Entry>, JournalError> {
        let gone =
            || JournalError::Io { what: "read entries".into(), cause: "the view's thread died".into() };
        let (answer, answered) = mpsc::channel();
        let queue = self.queue.as_ref().ok_or_else(gone)?;
        queue.send((range, max_bytes, answer)).map_err(|_| gone())?;
        answered.recv().map_err(|_| gone())?
    }

    /// Closes the journal for good: from now on opening it is [`OpenError::Closed`] with `why`. Durable.
    ///
    /// # Errors
    /// [`OpenError::Io`]; then it is closed or not.
    pub fn close(&self, why: &str) -> Result<(), OpenError> {
        close(&self.dir, why)
    }

    /// Takes the closing back. Durable. Never do it where another copy of the node may have run.
    ///
    /// # Errors
    /// [`OpenError::Io`]; then it is closed or not.
    pub fn release(&self) -> Result<(), OpenError> {
        let gone = match fs::remove_file(self.dir.join(CLOSED)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => sync_dir(&self.dir),
        };
        gone.during("take the closing back")
    }
}

impl Drop for SqliteView {
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(thread) = self.thread.take() {
            // The lock must be free when this returns.
            let _ = thread.join();
        }
    }
}

fn state(found: &Examined) -> JournalState {
    let mut state = JournalState::empty(found.identity);
    let log = &found.scan.log;
    state.verdict = found.verdict.clone();
    state.hard_state = found.hard_state;
    state.known_peers.clone_from(&found.peers);
    state.purged = log.state.purged;
    state.last = log.state.last;
    state.terms.clone_from(&log.terms);
    state.memberships.clone_from(&log.memberships);
    state.commit_hint = log.state.commit_hint;
    state
}

/// Reads until nobody asks any more; then everything is put back.
async fn serve(dir: &Path, found: Examined, readings: Option<Receiver<Reading>>) {
    for (range, max_bytes, answer) in readings.into_iter().flatten() {
        let entries = read(found.table.as_ref(), &found.scan.log, range, max_bytes);
        drop(answer.send(entries));
    }
    // Where this fails the next opening does it.
    let _ = found.put_back(dir).await;
}

fn read(
    table: Option<&Table>,
    log: &Log,
    range: Range<Index>,
    max_bytes: u64,
) -> Result<Vec<Entry>, JournalError> {
    let (from, to) = (range.start, range.end);
    if range.is_empty() {
        return Ok(Vec::new());
    }
    check_range(&log.state, from, to)?;
    let gone = || JournalError::Io { what: "read entries".into(), cause: "there is no database".into() };
    let rows = table.ok_or_else(gone)?.rows(Index(from.0 - 1), to.0.saturating_sub(from.0), max_bytes);
    checked(rows.map_err(|error| journal_error(&error, "read entries", 0))?, log, from, to)
}
