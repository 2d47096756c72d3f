//! J3: truncation.

use super::super::ClauseFailure;
use super::JournalBackend;
use super::pair::{Pair, append, replace, run_of};

pub(super) async fn j03_truncated_is_never_seen_again<B: JournalBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    for from in 1..=9 {
        let mut pair = Pair::create(backend, None).await?;
        for index in 1..=8 {
            pair.write_ok(append(run_of(1, [index]))).await?;
        }
        pair.write_ok(replace(from, Vec::new())).await?;
        pair.check_entries().await?;
        pair.reopen().await?;
        pair.write_ok(append(run_of(2, from.min(9)..12))).await?;
        pair.reopen().await?;
    }
    Ok(())
}

pub(super) async fn j03_shorter_tail_replaces_a_longer_one<B: JournalBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    let mut pair = Pair::create(backend, None).await?;
    pair.write_ok(append(run_of(1, 1..40))).await?;
    pair.write_ok(replace(10, run_of(2, 10..12))).await?;
    pair.check_entries().await?;
    pair.reopen().await?;
    // Again and again at the same index, each time with other entries there (A, B, A).
    for term in 3..9 {
        pair.write_ok(replace(11, run_of(term, 11..11 + (term % 3)))).await?;
        pair.check_entries().await?;
        pair.reopen().await?;
    }
    Ok(())
}
