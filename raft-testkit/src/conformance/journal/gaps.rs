//! J4: what does not fit is refused.

use raft_core::backend::{JournalError, Vote};
use raft_core::ids::{Index, NodeId};

use super::super::{ClauseFailure, equal};
use super::JournalBackend;
use super::pair::{Pair, append, replace, run_of, three, with_vote};

pub(super) async fn j04_gap_is_refused<B: JournalBackend>(backend: &B) -> Result<(), ClauseFailure> {
    for (got, expected) in [(1, 4), (5, 4), (6, 4), (9, 4), (0, 4), (u64::MAX, 4)] {
        refused(backend, append(run_of(1, [got])), Some((expected, got))).await?;
    }
    // A truncation moves the index that fits.
    refused(backend, replace(3, run_of(1, [4])), Some((3, 4))).await?;
    refused(backend, replace(9, run_of(1, [9])), Some((4, 9))).await
}

pub(super) async fn j04_gap_inside_a_write_is_refused<B: JournalBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    refused(backend, append(run_of(1, [4, 5, 7])), Some((6, 7))).await?;
    refused(backend, append(run_of(1, [4, 4])), Some((5, 4))).await?;
    refused(backend, append(run_of(1, [4, 3])), Some((5, 3))).await
}

pub(super) async fn j04_overwrite_is_refused<B: JournalBackend>(backend: &B) -> Result<(), ClauseFailure> {
    refused(backend, append(run_of(2, [3])), Some((4, 3))).await?;
    refused(backend, append(run_of(2, 1..4)), Some((4, 1))).await
}

/// A log of three entries refuses the write, with a new vote in it, and is as before.
async fn refused<B: JournalBackend>(
    backend: &B,
    write: raft_core::backend::JournalWrite,
    gap: Option<(u64, u64)>,
) -> Result<(), ClauseFailure> {
    let mut pair = Pair::create(backend, Some(&three()?)).await?;
    pair.write_ok(with_vote(1, Vote::For(NodeId(1)), append(run_of(1, 2..4)))).await?;
    let seen = pair.write(with_vote(9, Vote::Blocked, write)).await?;
    if let Some((expected, got)) = gap {
        let gap = JournalError::Gap { expected: Index(expected), got: Index(got) };
        equal("the answer to a write that does not fit", &seen, &Err(gap))?;
    }
    pair.check_entries().await?;
    // It goes on without being reopened.
    pair.write_ok(append(run_of(2, 4..6))).await?;
    pair.check_entries().await?;
    pair.reopen().await
}
