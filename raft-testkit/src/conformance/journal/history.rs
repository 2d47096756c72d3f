//! J1 to J7 together: histories beside the model.

use std::time::Duration;

use raft_core::backend::{HardState, JournalWrite, Vote};
use raft_core::entry::{Entry, EntryKind};
use raft_core::ids::{Incarnation, Index, KnownPeer, LogId, NodeId, StoreId, Term};

use super::super::{ClauseFailure, Random, fail};
use super::JournalBackend;
use super::pair::{Pair, append, replace, run_of, three};

pub(super) async fn j01_state_describes_the_log<B: JournalBackend>(backend: &B) -> Result<(), ClauseFailure> {
    let membership = three()?;
    let mut pair = Pair::create(backend, Some(&membership)).await?;
    pair.reopen().await?;
    let member = |term, index| Entry {
        id: LogId::new(term, index),
        kind: EntryKind::Membership,
        data: membership.encode(),
    };
    pair.write_ok(append(run_of(1, 2..5))).await?;
    pair.write_ok(append(vec![member(1, 5)])).await?;
    pair.write_ok(append(run_of(3, 6..8))).await?;
    pair.write_ok(append(vec![member(4, 8), member(4, 9)])).await?;
    pair.reopen().await?;
    // A truncation takes a membership entry and a run of terms with it.
    pair.write_ok(replace(9, run_of(6, 9..12))).await?;
    pair.reopen().await?;
    pair.write_ok(replace(8, Vec::new())).await?;
    pair.reopen().await?;
    pair.purge(LogId::new(1, 4)).await?;
    pair.reopen().await?;
    pair.purge(LogId::new(1, 5)).await?;
    pair.reopen().await
}

/// Short histories from many seeds find more than a long one: each can stand in a report.
pub(super) async fn j01_random_histories_match_the_model<B: JournalBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    for seed in 0..12 {
        history(backend, seed).await.map_err(|failure| {
            fail(&failure.expected, format!("{} (history of seed {seed})", failure.seen))
        })?;
    }
    Ok(())
}

async fn history<B: JournalBackend>(backend: &B, seed: u64) -> Result<(), ClauseFailure> {
    let mut random = Random::new(seed);
    let initial = three()?;
    let mut pair = Pair::create(backend, random.one_in(2).then_some(&initial)).await?;
    let mut term = 1;
    for _ in 0..60 {
        let state = pair.expected().await?;
        match random.below(20) {
            0 => pair.reopen().await?,
            1 => {
                let end = state.last.index.0 - state.purged.index.0;
                let index = Index(state.purged.index.0 + random.below(end + 1));
                let at = state.terms.partition_point(|(first, _)| *first <= index);
                let run = at.checked_sub(1).and_then(|at| state.terms.get(at));
                let term = run.filter(|_| index > state.purged.index).map_or(state.purged.term, |run| run.1);
                pair.purge(LogId { term, index }).await?;
            }
            2 if random.one_in(3) => {
                let index = state.last.index.0 + random.below(10);
                pair.reset(LogId::new(term, index.max(state.purged.index.0))).await?;
            }
            3 => {
                // A gap, or an overwrite where the log is not empty.
                let wrong = state.last.index.0 + if random.one_in(2) { 2 } else { 0 };
                let refused = pair.write(append(run_of(term, [wrong]))).await?;
                if refused.is_ok() {
                    return Err(fail("a refusal", format!("entry {wrong} was taken")));
                }
            }
            _ => {
                term += random.below(2);
                let write = random_write(&mut random, term, state.purged.index, state.last.index);
                pair.write_ok(write).await?;
            }
        }
        pair.check_entries().await?;
    }
    pair.reopen().await
}

fn random_write(random: &mut Random, term: u64, purged: Index, last: Index) -> JournalWrite {
    let mut write = JournalWrite::default();
    if random.one_in(3) {
        let vote = match random.below(3) {
            0 => Vote::None,
            1 => Vote::Blocked,
            _ => Vote::For(NodeId(random.below(5))),
        };
        let promised = Duration::from_millis(random.below(3) * 250);
        write.hard_state = Some(HardState { term: Term(term), vote, probation: random.one_in(8), promised });
    }
    if random.one_in(8) {
        let peer = |node| KnownPeer {
            node: NodeId(node),
            store: StoreId(u128::from(random.below(9))),
            incarnation: Incarnation { number: 1, nonce: 2 },
            admitted: LogId::new(1, node),
        };
        write.known_peers = Some((2..4).map(peer).collect());
    }
    let mut next = last.0 + 1;
    if random.one_in(3) {
        next = purged.0 + 1 + random.below(last.0 - purged.0 + 1);
        write.truncate_from = Some(Index(next));
    }
    let indexes = next..next + random.below(5);
    let entry = |index| {
        let length = usize::try_from(random.below(300)).unwrap_or_default();
        Entry {
            id: LogId::new(term, index),
            kind: if random.one_in(10) { EntryKind::Noop } else { EntryKind::Commands },
            data: random.bytes(length),
        }
    };
    write.entries = indexes.map(entry).collect();
    write.commit_hint = Index(purged.0);
    write
}
