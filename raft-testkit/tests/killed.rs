//! Journals on files that lie about what a killed process leaves behind.

#[path = "../../examples/custom-journal/src/lib.rs"]
#[allow(missing_docs, unreachable_pub, reason = "the journal of the guide, as its package has it")]
mod custom_journal;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use custom_journal::{CustomJournal, Faults};
use raft_core::backend::{Journal, JournalError, JournalReader, JournalState, JournalWrite, OpenError};
use raft_core::ids::LogId;
use raft_core::membership::Membership;
use raft_testkit::conformance::journal::{JournalBackend, Owner, child, run, with_child};
use raft_testkit::conformance::{Unsupported, report_mutant};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lie {
    /// Keeps each write in its own memory until the next one comes.
    WritesLate,
    /// The hard state of a write comes after its entries, in a write of its own.
    VotesLate,
}

/// Which clause must notice each, and in which words.
const TABLE: [(Lie, &str, &str); 2] = [
    (Lie::WritesLate, "j01_acknowledged_survives_a_kill", "as a whole"),
    (Lie::VotesLate, "j01_acknowledged_survives_a_kill", "as a whole"),
];

struct Backend(Option<Lie>);

struct Folder {
    path: PathBuf,
    temporary: bool,
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.temporary {
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

struct Liar {
    lie: Option<Lie>,
    inner: CustomJournal,
    late: JournalWrite,
}

impl Backend {
    fn wrap(&self, inner: CustomJournal) -> Box<dyn Journal> {
        Box::new(Liar { lie: self.0, inner, late: JournalWrite::default() })
    }
}

#[async_trait]
impl JournalBackend for Backend {
    type Place = Folder;

    fn place(&self) -> Folder {
        let store = format!("raft-testkit-killed-{}-{:?}", std::process::id(), self.0);
        Folder { path: std::env::temp_dir().join(store), temporary: true }
    }

    async fn create(
        &self,
        place: &Folder,
        owner: Owner,
        initial: Option<&Membership>,
    ) -> Result<Box<dyn Journal>, OpenError> {
        let owner = (owner.cluster, owner.group, owner.node);
        Ok(self.wrap(CustomJournal::create(&place.path, owner, initial, Arc::new(Faults::default()))?))
    }

    async fn open(&self, place: &Folder, owner: Owner) -> Result<Box<dyn Journal>, OpenError> {
        let owner = (owner.cluster, owner.group, owner.node);
        Ok(self.wrap(CustomJournal::open(&place.path, owner, Arc::new(Faults::default()))?))
    }

    fn path(&self, place: &Folder) -> Result<PathBuf, Unsupported> {
        Ok(place.path.clone())
    }

    fn place_at(&self, path: &Path) -> Result<Folder, Unsupported> {
        Ok(Folder { path: path.to_path_buf(), temporary: false })
    }
}

#[async_trait]
impl Journal for Liar {
    async fn load(&mut self) -> Result<JournalState, JournalError> {
        self.inner.load().await
    }

    async fn write(&mut self, mut write: JournalWrite) -> Result<(), JournalError> {
        match self.lie {
            None => {}
            Some(Lie::WritesLate) => std::mem::swap(&mut write, &mut self.late),
            Some(Lie::VotesLate) => {
                let hard_state = write.hard_state.take();
                write.hard_state = std::mem::replace(&mut self.late.hard_state, hard_state);
            }
        }
        self.inner.write(write).await
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), JournalError> {
        self.inner.purge(upto).await
    }

    async fn reset(&mut self, to: LogId) -> Result<(), JournalError> {
        self.inner.reset(to).await
    }

    fn reader(&self) -> Arc<dyn JournalReader> {
        self.inner.reader()
    }
}

const CLAUSE: &str = "j01_acknowledged_survives_a_kill";

#[test]
fn child_that_is_honest() {
    child(&Backend(None));
}

#[test]
fn child_of_late_writes() {
    child(&Backend(Some(Lie::WritesLate)));
}

#[test]
fn child_of_late_votes() {
    child(&Backend(Some(Lie::VotesLate)));
}

#[tokio::test]
async fn an_honest_journal_survives() {
    let run = run(&Backend(None), CLAUSE);
    with_child("killed::child_that_is_honest", run).await.unwrap();
}

#[tokio::test]
async fn every_lie_is_noticed() {
    for (lie, clause, words) in TABLE {
        let child = match lie {
            Lie::WritesLate => "killed::child_of_late_writes",
            Lie::VotesLate => "killed::child_of_late_votes",
        };
        let backend = Backend(Some(lie));
        let result = with_child(child, run(&backend, clause)).await;
        assert!(report_mutant("journal (more)", &lie, clause, words, &result), "{lie:?}: {result:?}");
    }
}
