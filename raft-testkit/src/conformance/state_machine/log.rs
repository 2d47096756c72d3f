//! A log to apply, and what comes of it.

use std::ops::Range;

use bytes::Bytes;
use raft_core::backend::{
    Command, Responses, SnapshotContent, SnapshotId, SnapshotMeta, SnapshotReader, SnapshotSource,
    StateMachine,
};
use raft_core::backend::{Corruption, SnapshotError};
use raft_core::ids::{LogId, NodeId};
use raft_core::membership::{Member, Membership, MembershipError};

use super::super::{ClauseFailure, Random, equal, fail, ok};
use super::StateMachineBackend;

/// How a log is cut into batches.
#[derive(Clone, Copy, Debug)]
pub(super) enum Batches {
    /// Each command on its own.
    Single,
    /// Everything in one.
    All,
    /// By the numbers of a generator.
    Random(u64),
}

/// Entries: each has a log id and some commands; some have none, as other kinds of entries have.
pub(super) struct Log(Vec<(LogId, Vec<Bytes>)>);

impl Log {
    /// Entries 1 to `entries`, in growing terms.
    pub(super) fn new<B: StateMachineBackend>(backend: &B, seed: u64, entries: u64) -> Self {
        let mut random = Random::new(seed);
        let entry = |index| {
            let count = if index % 5 == 0 { 0 } else { 1 + random.below(4) };
            let commands = (0..count).map(|_| backend.command(&mut random)).collect();
            (LogId::new(1 + index / 7, index), commands)
        };
        Self((1..=entries).map(entry).collect())
    }

    pub(super) fn last(&self) -> LogId {
        self.0.last().map_or(LogId::ZERO, |(id, _)| *id)
    }

    /// The log id of the entry with this index.
    pub(super) fn id(&self, index: u64) -> LogId {
        self.0.iter().map(|(id, _)| *id).find(|id| id.index.0 == index).unwrap_or_default()
    }

    /// Applies the entries of these indexes; gives the answers, if they are kept.
    pub(super) async fn apply<M: StateMachine>(
        &self,
        machine: &mut M,
        range: Range<u64>,
        batches: Batches,
        keep: bool,
    ) -> Result<Vec<Bytes>, ClauseFailure> {
        let mut random = Random::new(if let Batches::Random(seed) = batches { seed } else { 0 });
        let mut answers = Vec::new();
        let mut batch = Vec::new();
        let entries: Vec<&(LogId, Vec<Bytes>)> =
            self.0.iter().filter(|(id, _)| range.contains(&id.index.0)).collect();
        for (at, (id, commands)) in entries.iter().enumerate() {
            for (position, data) in (0..).zip(commands) {
                batch.push(Command::new(*id, position, data.clone()));
            }
            let is_last = at + 1 == entries.len();
            let full = match batches {
                Batches::Single => true,
                Batches::All => is_last,
                Batches::Random(_) => is_last || random.one_in(4),
            };
            if full {
                let kept = if keep { Responses::kept(batch.len()) } else { Responses::discarded() };
                answers.extend(apply(machine, &batch, *id, kept).await?);
                batch.clear();
            }
        }
        Ok(answers)
    }
}

async fn apply<M: StateMachine>(
    machine: &mut M,
    batch: &[Command],
    through: LogId,
    mut responses: Responses,
) -> Result<Vec<Bytes>, ClauseFailure> {
    let kept = responses.wanted();
    ok(format!("applying through {through}"), machine.apply(batch, through, &mut responses).await)?;
    equal(format!("answers to {} commands", batch.len()), &responses.count(), &batch.len())?;
    let answers = responses.into_kept();
    equal("answers that were kept", &answers.len(), &if kept { batch.len() } else { 0 })?;
    Ok(answers)
}

/// A snapshot of a few hundred commands has an end before this, in bytes.
const LIMIT: usize = 256 << 20;

/// All bytes of a snapshot.
pub(super) async fn bytes_of(mut source: Box<dyn SnapshotSource>) -> Result<Bytes, ClauseFailure> {
    let mut all = Vec::new();
    let mut pieces = 0_usize;
    while let Some(piece) = ok("reading a snapshot's next piece", source.next().await)? {
        all.extend_from_slice(&piece);
        pieces += 1;
        if all.len() > LIMIT || pieces > LIMIT {
            let seen = format!("{pieces} pieces of together {} bytes, and going on", all.len());
            return Err(fail("a snapshot that ends: `SnapshotSource::next` gives `None` at last", seen));
        }
    }
    Ok(all.into())
}

pub(super) async fn snapshot<M: StateMachine>(machine: &mut M) -> Result<Bytes, ClauseFailure> {
    bytes_of(ok("taking a snapshot", machine.snapshot().await)?).await
}

/// A stored snapshot, read in pieces that are shorter than asked for.
pub(super) struct Stored {
    meta: SnapshotMeta,
    data: Bytes,
    /// From here on it is damaged.
    damaged_from: Option<u64>,
    reads: u64,
}

/// So many reads give a few bytes each: what is read in one piece does not show who counts pieces wrongly, or stops after the
/// first. The others give more, so that a large snapshot takes no time.
const SHORT_READS: u64 = 100;

impl Stored {
    pub(super) fn new(
        upto: LogId,
        data: &Bytes,
        damaged_from: Option<u64>,
    ) -> Result<Box<Self>, ClauseFailure> {
        let membership: Result<Membership, MembershipError> =
            Membership::of_voters([Member::new(NodeId(1), "anywhere")]);
        let content = SnapshotContent { total_bytes: data.len() as u64, checksum: crc32c::crc32c(data) };
        let meta = SnapshotMeta::new(SnapshotId(1), upto, ok("a membership", membership)?, content);
        Ok(Box::new(Self { meta, data: data.clone(), damaged_from, reads: 0 }))
    }
}

#[async_trait::async_trait]
impl SnapshotReader for Stored {
    fn meta(&self) -> &SnapshotMeta {
        &self.meta
    }

    async fn read(&mut self, offset: u64, max_bytes: usize) -> Result<Bytes, SnapshotError> {
        // At least one, at most what was asked for: the contract promises no more.
        let short = if self.reads < SHORT_READS { 1 + self.reads % 7 } else { 1000 };
        let most = (max_bytes.div_ceil(3) as u64).min(short);
        self.reads += 1;
        let end = offset.saturating_add(most).min(self.data.len() as u64);
        if self.damaged_from.is_some_and(|from| end > from || offset >= self.data.len() as u64) {
            let reason = "as the suite wants it".into();
            let damage = Corruption { range: None, place: "the suite".into(), offset, reason };
            return Err(SnapshotError::Corrupt(damage));
        }
        let [start, end] = [offset.min(end), end].map(|at| usize::try_from(at).unwrap_or(usize::MAX));
        Ok(self.data.slice(start..end))
    }
}
