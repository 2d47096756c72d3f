//! A journal that is looked at, not opened; and closing one for good.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, RwLock};

use raft_core::backend::{JournalError, JournalState, OpenError};
use raft_core::entry::Entry;
use raft_core::ids::Index;

use crate::error::Context;
use crate::layout::{CLOSED, LOCK, SUPER, TEMPORARY};
use crate::open;
use crate::read::LogReader;
use crate::verify::{Report, judge};
use crate::vfs::{self, OsVfs, Vfs};

/// More of the text than this is not read, in bytes.
const TEXT_LIMIT: usize = 64 << 10;

/// What was said when the journal was closed; `None` if it was not.
fn closed(vfs: &dyn Vfs) -> io::Result<Option<String>> {
    let file = match vfs.open(CLOSED) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = vec![0; usize::try_from(file.len()?).unwrap_or(TEXT_LIMIT).min(TEXT_LIMIT)];
    let filled = vfs::read_full_at(&*file, &mut text, 0)?;
    text.truncate(filled);
    Ok(Some(String::from_utf8_lossy(&text).trim_end().to_owned()))
}

/// Refuses a journal that was closed.
pub(crate) fn refuse_closed(vfs: &dyn Vfs, names: &[String]) -> Result<(), OpenError> {
    if !names.iter().any(|name| name == CLOSED) {
        return Ok(());
    }
    let why = closed(vfs).during(|| format!("read {CLOSED}"))?.unwrap_or_default();
    Err(OpenError::Closed { why })
}

/// Closes, durably. Whoever calls it has the lock.
pub(crate) fn close(vfs: &dyn Vfs, why: &str) -> Result<(), OpenError> {
    let temporary = format!("{CLOSED}{TEMPORARY}");
    let write = || {
        match vfs.unlink(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = vfs.create(&temporary)?;
        vfs::write_all_at(&*file, format!("{why}\n").as_bytes(), 0)?;
        file.sync_data()?;
        vfs.rename(&temporary, CLOSED)?;
        vfs.sync_dir()
    };
    write().during(|| "close the journal for good".into())
}

/// A journal that is looked at. It is locked as long as this lives, and nothing in it changes: its
/// incarnation stays what it is.
pub struct FileView {
    vfs: OsVfs,
    lock: Option<Box<dyn Send + Sync>>,
    report: Report,
    state: JournalState,
    reader: LogReader,
}

impl FileView {
    /// Reads and checks everything in the folder `dir`, also where the journal was closed. Blocks.
    ///
    /// # Errors
    /// [`OpenError`] for what opening would refuse for another reason.
    pub fn new(dir: &Path) -> Result<Self, OpenError> {
        let vfs = OsVfs::new(dir);
        let locked = match vfs.list() {
            Ok(names) => names.iter().any(|name| name == LOCK),
            Err(_) => return Err(OpenError::NotInitialised),
        };
        let lock = if locked { Some(open::lock(&vfs)?) } else { None };
        let (report, scan) = judge(&vfs)?;
        let mut state = JournalState::empty(report.identity);
        state.verdict = report.verdict.clone();
        state.hard_state = scan.hard_state;
        state.known_peers = scan.peers;
        state.purged = report.purged;
        state.last = report.last;
        state.terms = scan.log.terms().to_vec();
        state.memberships = scan.log.memberships().to_vec();
        state.commit_hint = scan.commit_hint;
        let reader = LogReader::new(Arc::new(RwLock::new(scan.log)), Arc::default());
        Ok(Self { vfs, lock, report, state, reader })
    }

    /// Whether there is something of a file journal in the folder, whole or not.
    #[must_use]
    pub fn exists(dir: &Path) -> bool {
        SUPER.iter().any(|name| dir.join(name).exists())
    }

    /// What was said when the journal in the folder was closed; `None` if it was not, or if there is none.
    ///
    /// # Errors
    /// [`OpenError::Io`].
    pub fn closed(dir: &Path) -> Result<Option<String>, OpenError> {
        closed(&OsVfs::new(dir)).during(|| format!("read {CLOSED}"))
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
    /// Those of [`LogReader::entries`].
    pub fn entries(&self, range: Range<Index>, max_bytes: u64) -> Result<Vec<Entry>, JournalError> {
        self.reader.entries(range, max_bytes)
    }

    /// Closes the journal for good: from now on opening it is [`OpenError::Closed`] with `why`. Durable.
    ///
    /// # Errors
    /// [`OpenError::Io`]; then it is closed or not. [`OpenError::Locked`].
    pub fn close(&mut self, why: &str) -> Result<(), OpenError> {
        if self.lock.is_none() {
            self.lock = Some(open::lock(&self.vfs)?);
        }
        close(&self.vfs, why)
    }

    /// Takes the closing back. Durable. Never do it where another copy of the node may have run.
    ///
    /// # Errors
    /// [`OpenError::Io`]; then it is closed or not. [`OpenError::Locked`].
    pub fn release(&mut self) -> Result<(), OpenError> {
        if self.lock.is_none() {
            self.lock = Some(open::lock(&self.vfs)?);
        }
        let gone = match self.vfs.unlink(CLOSED) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => self.vfs.sync_dir(),
        };
        gone.during(|| "take the closing back".into())
    }
}
