//! The two ways to keep a log, behind one.

use std::path::Path;

use raft_core::backend::{Journal, OpenError};
use raft_core::ids::{ClusterId, GroupId, NodeId};
use raft_core::membership::Membership;
use raft_log_file::{Durability, FileJournal};
use raft_log_sqlite::SqliteJournal;

/// The database of a journal in SQLite.
const SQLITE: &str = "journal.db";

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

    /// What is in the folder, if anything of ours is: the files that each kind begins with.
    pub(crate) fn found(dir: &Path) -> Option<Self> {
        if [SQLITE, "identity.a", "identity.b"].iter().any(|name| dir.join(name).exists()) {
            Some(Self::Sqlite)
        } else if dir.join("super.a").exists() || dir.join("super.b").exists() {
            Some(Self::File)
        } else {
            None
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
}

impl Place<'_> {
    fn file(&self) -> raft_log_file::Options {
        raft_log_file::Options::default().durability(self.durability).segment_bytes(self.segment_bytes)
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
