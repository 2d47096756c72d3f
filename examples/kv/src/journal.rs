//! The two ways to keep a log, behind one.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use raft_core::backend::{
    Journal, JournalError, JournalState, OpenError, SnapshotError, SnapshotStore, Verdict,
};
use raft_core::entry::Entry;
use raft_core::ids::{ClusterId, GroupId, Identity, Index, NodeId};
use raft_core::membership::Membership;
use raft_log_file::{Durability, FileJournal, FileSnapshots, FileView};
use raft_log_sqlite::{SqliteJournal, SqliteSnapshots, SqliteView};

use crate::reserve::Reserved;

/// How a log is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JournalKind {
    /// In flat files.
    File,
    /// In a database.
    Sqlite,
}

impl JournalKind {
    /// By its name on the command line.
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name {
            "file" => Some(Self::File),
            "sqlite" => Some(Self::Sqlite),
            _ => None,
        }
    }

    /// Its name on the command line.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Sqlite => "sqlite",
        }
    }

    /// Whether there is something of this kind in the folder, whole or not.
    pub(crate) fn exists(self, dir: &Path) -> bool {
        match self {
            Self::File => FileView::exists(dir),
            Self::Sqlite => SqliteView::exists(dir),
        }
    }

    /// What is in the folder, if anything of ours is.
    pub(crate) fn found(dir: &Path) -> Vec<Self> {
        [Self::File, Self::Sqlite].into_iter().filter(|kind| kind.exists(dir)).collect()
    }

    /// Where the snapshots of a data folder are.
    pub(crate) fn snapshots_dir(data: &Path) -> PathBuf {
        data.join("snapshots")
    }

    /// Opens the snapshots of a data folder, kept as its log is.
    ///
    /// # Errors
    /// [`SnapshotError`]
    pub(crate) async fn snapshots(self, data: &Path) -> Result<Arc<dyn SnapshotStore>, SnapshotError> {
        let dir = Self::snapshots_dir(data);
        let store: Arc<dyn SnapshotStore> = match self {
            Self::File => Arc::new(FileSnapshots::open(&dir).await?),
            Self::Sqlite => Arc::new(SqliteSnapshots::open(&dir).await?),
        };
        Ok(Arc::new(Reserved::new(store, &dir)))
    }

    /// What was said when the journal was closed for good, of whichever kind it is.
    ///
    /// # Errors
    /// [`OpenError`]
    pub(crate) fn closed(dir: &Path) -> Result<Option<String>, OpenError> {
        FileView::closed(dir).and_then(|found| match found {
            None => SqliteView::closed(dir),
            found => Ok(found),
        })
    }

    /// A journal with the identity of another one, closed from the beginning.
    ///
    /// # Errors
    /// [`OpenError`]
    pub(crate) async fn adopt(
        self,
        dir: &Path,
        from: Identity,
        why: &str,
    ) -> Result<Box<dyn Journal>, OpenError> {
        Ok(match self {
            Self::File => {
                Box::new(FileJournal::adopt(dir, from, why, raft_log_file::Options::default()).await?)
            }
            Self::Sqlite => {
                let options = raft_log_sqlite::Options::default();
                Box::new(SqliteJournal::adopt(dir, from, why, options).await?)
            }
        })
    }
}

/// A journal of either kind that is looked at: locked, and left as it is.
pub(crate) enum View {
    File(FileView),
    Sqlite(SqliteView),
}

impl View {
    /// # Errors
    /// [`OpenError`]
    pub(crate) fn new(kind: JournalKind, dir: &Path) -> Result<Self, OpenError> {
        Ok(match kind {
            JournalKind::File => Self::File(FileView::new(dir)?),
            JournalKind::Sqlite => Self::Sqlite(SqliteView::new(dir)?),
        })
    }

    pub(crate) const fn state(&self) -> &JournalState {
        match self {
            Self::File(view) => view.state(),
            Self::Sqlite(view) => view.state(),
        }
    }

    /// All that is not as it was written.
    pub(crate) fn findings(&self) -> Vec<String> {
        match self {
            Self::File(view) => view.report().findings.iter().map(|found| format!("{found:?}")).collect(),
            Self::Sqlite(view) => view.report().findings.iter().map(|found| format!("{found:?}")).collect(),
        }
    }

    /// Whether everything is as it was written. A write that was cut before it was acknowledged is not, but
    /// nothing is lost with it.
    pub(crate) fn is_clean(&self) -> bool {
        matches!(self.state().verdict, Verdict::Clean) && self.findings().is_empty()
    }

    /// How many files hold the log, where it is in files.
    pub(crate) const fn segments(&self) -> Option<usize> {
        match self {
            Self::File(view) => Some(view.report().segments),
            Self::Sqlite(_) => None,
        }
    }

    /// # Errors
    /// [`JournalError`]
    pub(crate) fn entries(&self, range: Range<Index>, max_bytes: u64) -> Result<Vec<Entry>, JournalError> {
        match self {
            Self::File(view) => view.entries(range, max_bytes),
            Self::Sqlite(view) => view.entries(range, max_bytes),
        }
    }

    /// From now on it is not opened any more.
    ///
    /// # Errors
    /// [`OpenError`]
    pub(crate) fn close(&mut self, why: &str) -> Result<(), OpenError> {
        match self {
            Self::File(view) => view.close(why),
            Self::Sqlite(view) => view.close(why),
        }
    }

    /// From now on it may be opened.
    ///
    /// # Errors
    /// [`OpenError`]
    pub(crate) fn release(&mut self) -> Result<(), OpenError> {
        match self {
            Self::File(view) => view.release(),
            Self::Sqlite(view) => view.release(),
        }
    }
}

/// A journal of either kind, with what its opening has found beside the verdict.
pub(crate) struct Opened {
    pub(crate) journal: Box<dyn Journal>,
    pub(crate) findings: Vec<String>,
}

/// Whose journal it is, where, and how it behaves.
pub(crate) struct Place<'a> {
    pub(crate) dir: &'a Path,
    pub(crate) kind: JournalKind,
    pub(crate) cluster: ClusterId,
    pub(crate) id: NodeId,
    pub(crate) durability: Durability,
    pub(crate) segment_bytes: u64,
    pub(crate) inline_bytes: u64,
}

impl Place<'_> {
    fn file(&self) -> raft_log_file::Options {
        raft_log_file::Options::default()
            .durability(self.durability)
            .segment_bytes(self.segment_bytes)
            .inline_bytes(self.inline_bytes)
    }

    /// Opens what is there.
    ///
    /// # Errors
    /// [`OpenError`]
    pub(crate) async fn open(&self) -> Result<Opened, OpenError> {
        let group = GroupId(0);
        match self.kind {
            JournalKind::File => {
                let journal = FileJournal::open(self.dir, self.cluster, group, self.id, self.file()).await?;
                let findings = journal.findings().iter().map(|finding| format!("{finding:?}")).collect();
                Ok(Opened { journal: Box::new(journal), findings })
            }
            JournalKind::Sqlite => {
                let options = raft_log_sqlite::Options::default();
                let journal = SqliteJournal::open(self.dir, self.cluster, group, self.id, options).await?;
                let findings = journal.findings().iter().map(|finding| format!("{finding:?}")).collect();
                Ok(Opened { journal: Box::new(journal), findings })
            }
        }
    }

    /// Makes one where there is none.
    ///
    /// # Errors
    /// [`OpenError`]
    pub(crate) async fn create(&self, initial: Option<&Membership>) -> Result<Opened, OpenError> {
        let group = GroupId(0);
        let journal: Box<dyn Journal> = match self.kind {
            JournalKind::File => Box::new(
                FileJournal::create(self.dir, self.cluster, group, self.id, initial, self.file()).await?,
            ),
            JournalKind::Sqlite => {
                let options = raft_log_sqlite::Options::default();
                Box::new(
                    SqliteJournal::create(self.dir, self.cluster, group, self.id, initial, options).await?,
                )
            }
        };
        Ok(Opened { journal, findings: Vec::new() })
    }
}
