//! J1 and J2: what was acknowledged is there.

use std::time::Duration;

use raft_core::backend::{HardState, JournalWrite, Vote};
use raft_core::ids::{Incarnation, Index, KnownPeer, LogId, NodeId, StoreId, Term};

use super::super::ClauseFailure;
use super::JournalBackend;
use super::pair::{Pair, append, entry, replace, run_of, three, with_vote};

pub(super) async fn j01_acknowledged_survives_reopening<B: JournalBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    let mut pair = Pair::create(backend, Some(&three()?)).await?;
    for index in 2..30 {
        let write = with_vote(index, Vote::For(NodeId(index % 3)), append(run_of(index, [index])));
        pair.write_ok(write).await?;
        if index % 7 == 0 {
            pair.reopen().await?;
        }
    }
    pair.write_ok(append(run_of(30, 30..60))).await?;
    pair.reopen().await?;
    pair.reopen().await
}

pub(super) async fn j01_acknowledged_survives_a_crash<B: JournalBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    let mut pair = Pair::create(backend, None).await?;
    for index in 1..20 {
        pair.write_ok(with_vote(index, Vote::Blocked, append(run_of(index, [index])))).await?;
        pair.crash().await?;
    }
    Ok(())
}

pub(super) async fn j01_newest_hard_state_is_the_one<B: JournalBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    let mut pair = Pair::create(backend, None).await?;
    let votes = [Vote::None, Vote::For(NodeId(3)), Vote::Blocked, Vote::For(NodeId(u64::MAX))];
    let mut index = 0;
    for (count, vote) in (1..).zip(votes.into_iter().cycle().take(12)) {
        let promised = Duration::from_nanos(count % 4 * 1_000_000_007);
        let hard_state = HardState { term: Term(count), vote, probation: count % 3 == 0, promised };
        let mut write = JournalWrite::default();
        write.hard_state = Some(hard_state);
        if count % 4 == 0 {
            index += 1;
            write.entries = run_of(count, [index]).into();
        }
        pair.write_ok(write).await?;
        if count % 2 == 0 {
            pair.reopen().await?;
        }
    }
    // Back to what it was: nothing may keep the greatest one instead of the last.
    let mut write = JournalWrite::default();
    write.hard_state =
        Some(HardState { term: Term(12), vote: Vote::None, probation: false, ..HardState::default() });
    pair.write_ok(write).await?;
    pair.reopen().await
}

pub(super) async fn j02_one_write_does_all_its_parts<B: JournalBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    let mut pair = Pair::create(backend, Some(&three()?)).await?;
    pair.write_ok(append(run_of(1, 2..12))).await?;
    let mut write = with_vote(5, Vote::For(NodeId(2)), replace(6, run_of(5, 6..9)));
    let incarnation = Incarnation { number: 3, nonce: 9 };
    let admitted = LogId::new(4, 7);
    write.known_peers = Some(vec![KnownPeer { node: NodeId(2), store: StoreId(77), incarnation, admitted }]);
    write.commit_hint = Index(4);
    pair.write_ok(write).await?;
    pair.check_entries().await?;
    pair.reopen().await
}

pub(super) async fn j01_vote_alone_survives_a_crash<B: JournalBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    let mut pair = Pair::create(backend, None).await?;
    for count in 1..8 {
        pair.write_ok(with_vote(count, Vote::For(NodeId(count)), append(Vec::new()))).await?;
        pair.crash().await?;
        let mut write = append(Vec::new());
        let incarnation = Incarnation { number: count, nonce: 9 };
        let admitted = LogId::new(count, count * 3);
        write.known_peers =
            Some(vec![KnownPeer { node: NodeId(2), store: StoreId(77), incarnation, admitted }]);
        pair.write_ok(write).await?;
        pair.crash().await?;
    }
    Ok(())
}

/// Entries that need more than one file, for a backend that is tested with small ones.
pub(super) fn large(index: u64) -> raft_core::entry::Entry {
    entry(1 + index / 20, index, vec![index as u8; 4000])
}

pub(super) async fn j01_long_log_survives_reopening<B: JournalBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    let mut pair = Pair::create(backend, None).await?;
    for index in 1..=60 {
        pair.write_ok(append(vec![large(index)])).await?;
        if index % 10 == 0 {
            pair.reopen().await?;
        }
    }
    Ok(())
}

pub(super) async fn j01_long_log_survives_a_crash<B: JournalBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    let mut pair = Pair::create(backend, None).await?;
    for index in 1..=60 {
        pair.write_ok(append(vec![large(index)])).await?;
        // Not after each: a fresh opening may begin a new file, and hide what happens at a border.
        if index % 15 == 0 {
            pair.crash().await?;
        }
    }
    Ok(())
}
