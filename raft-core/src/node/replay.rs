//! What a stopped node has, executed without a node: for tools that look at it.

use std::sync::Arc;

use super::applier::Applier;
use super::snapshots;
use crate::backend::{SnapshotStore, StateMachine};
use crate::entry::Entry;
use crate::error::FatalReason;
use crate::ids::LogId;
use crate::session::Table;

/// Executes committed entries on a state machine as a node would, commands of sessions each once. What is committed the
/// caller has to know: a journal alone only knows of some entries that they are.
pub struct Replay {
    applier: Applier,
    upto: LogId,
}

impl core::fmt::Debug for Replay {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Replay").field("upto", &self.upto).finish_non_exhaustive()
    }
}

impl Replay {
    /// Begins with the newest snapshot, if there is one; otherwise with nothing, and then the state machine must have
    /// executed nothing.
    ///
    /// # Errors
    /// [`FatalReason::Snapshot`], or what the state machine says.
    pub async fn begin(
        mut machine: Box<dyn StateMachine>,
        store: Option<&dyn SnapshotStore>,
    ) -> Result<Self, Arc<FatalReason>> {
        let latest = match store {
            Some(store) => {
                store.latest().await.map_err(|error| Arc::new(FatalReason::Snapshot { upto: None, error }))?
            }
            None => None,
        };
        let (table, upto) = match (store, latest) {
            (Some(store), Some(snapshot)) => {
                (snapshots::install(store, &mut *machine, &snapshot).await.map_err(Arc::new)?, snapshot.upto)
            }
            _ => (Table::new(), LogId::ZERO),
        };
        Ok(Self { applier: Applier::new(machine, table, None, Arc::default()), upto })
    }

    /// The last entry that is executed.
    #[must_use]
    pub const fn upto(&self) -> LogId {
        self.upto
    }

    /// Executes the entries that come next.
    ///
    /// # Errors
    /// [`FatalReason::StateMachine`]: what it says; an entry that cannot be read; or entries that do not follow
    /// [`upto`](Self::upto), of which none was executed then.
    pub async fn execute(&mut self, entries: Vec<Entry>) -> Result<(), Arc<FatalReason>> {
        let mut next = self.upto.index;
        for entry in &entries {
            next = next.next();
            if entry.id.index != next {
                let what = format!("entry {} does not follow the one before {next}", entry.id);
                return Err(Arc::new(FatalReason::StateMachine(what)));
            }
        }
        let Some(through) = entries.last().map(|last| last.id) else { return Ok(()) };
        let entries = entries.into_iter().map(|entry| (entry, None)).collect();
        self.applier.execute(entries, through).await?;
        self.upto = through;
        Ok(())
    }
}
