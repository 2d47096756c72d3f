//! Making journal, snapshots and state machine fit when a node comes up.

use super::{install, opened};
use crate::backend::{Journal, JournalState, SnapshotStore, StateMachine};
use crate::error::FatalReason;
use crate::ids::Index;
use crate::raft::{Restored, StartPlan, plan_start};
use crate::session::Table;

/// What the node starts from; the table of sessions, and the last entry whose effects it has.
///
/// # Errors
/// [`FatalReason`]: they contradict each other, or a snapshot that is needed is damaged. Nothing was changed then.
pub(crate) async fn restore(
    mut journal_state: JournalState,
    journal: &mut dyn Journal,
    store: Option<&dyn SnapshotStore>,
    machine: &mut dyn StateMachine,
) -> Result<(Restored, Table, Index), FatalReason> {
    let failed = |fatal: crate::backend::Fatal| FatalReason::StateMachine(fatal.0);
    let snapshot = match store {
        Some(store) => store.latest().await.map_err(|error| FatalReason::Snapshot { upto: None, error })?,
        None => None,
    };
    let mut applied = machine.last_applied().await.map_err(failed)?;
    let StartPlan { reset, install: installs } = plan_start(&journal_state, snapshot.as_ref(), applied)?;
    let (Some(store), Some(snapshot)) = (store, snapshot) else {
        let restored = Restored { journal: journal_state, snapshot: None, applied };
        return Ok((restored, Table::new(), Index::ZERO));
    };
    // Before the journal gives up anything for it, it is looked at.
    let (mut table, _) = opened(store, &snapshot).await?;
    let mut known = snapshot.upto.index;
    if let Some(to) = reset {
        journal.reset(to).await?;
        journal_state = journal_state.after_reset(to);
    }
    if installs {
        table = install(store, machine, &snapshot).await?;
        applied = snapshot.upto;
    } else if applied.index < snapshot.upto.index {
        // The log is whole, and the state machine goes on from it: so does the table, from the start.
        (table, known) = (Table::new(), Index::ZERO);
    }
    Ok((Restored { journal: journal_state, snapshot: Some(snapshot), applied }, table, known))
}
