//! Snapshots to write, and how to read one back.

use bytes::Bytes;
use raft_core::backend::{SnapshotContent, SnapshotError, SnapshotId, SnapshotMeta, SnapshotStore};
use raft_core::ids::{LogId, NodeId};
use raft_core::membership::{Member, Membership, MembershipError};

use super::super::{ClauseFailure, Random, equal, fail, ok};
use super::SnapshotBackend;

/// A snapshot that a clause writes.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) meta: SnapshotMeta,
    pub(super) data: Bytes,
}

impl Sample {
    /// One whose bytes follow from its number.
    pub(super) fn new(number: u64, index: u64, bytes: usize) -> Result<Self, ClauseFailure> {
        let member =
            |id| Member::new(NodeId(id), format!("host-{id}:{number}")).with("number", number.to_string());
        let membership: Result<Membership, MembershipError> = Membership::of_voters((1..=3).map(member));
        let data = Random::new(number).bytes(bytes);
        let content = SnapshotContent { total_bytes: data.len() as u64, checksum: crc32c::crc32c(&data) };
        let (id, upto) = (SnapshotId(u128::from(number) << 64 | 0x5a), LogId::new(number + 2, index));
        Ok(Self { meta: SnapshotMeta::new(id, upto, ok("a membership", membership)?, content), data })
    }

    /// Writes from where the store says, and finishes.
    pub(super) async fn store(&self, store: &dyn SnapshotStore) -> Result<(), ClauseFailure> {
        let finished = ok("writing and finishing a snapshot", self.try_store(store).await)?;
        equal("what finish returns", &finished, &self.meta)
    }

    pub(super) async fn try_store(&self, store: &dyn SnapshotStore) -> Result<SnapshotMeta, SnapshotError> {
        let SnapshotMeta { id, upto, membership, .. } = self.meta.clone();
        let mut writer = store.create(id, upto, membership).await?;
        let from = usize::try_from(writer.received_bytes()).unwrap_or(usize::MAX).min(self.data.len());
        let rest = self.data.slice(from..);
        for piece in rest.chunks(100_000) {
            writer.write(rest.slice_ref(piece)).await?;
        }
        writer.finish(Some(self.meta.content)).await
    }

    /// Begins it and writes its first bytes; the writer is dropped, and says how many it had.
    pub(super) async fn half(&self, store: &dyn SnapshotStore, bytes: usize) -> Result<u64, ClauseFailure> {
        let SnapshotMeta { id, upto, membership, .. } = self.meta.clone();
        let mut writer = ok("creating a snapshot", store.create(id, upto, membership).await)?;
        let from = usize::try_from(writer.received_bytes()).unwrap_or(usize::MAX);
        if let Some(part) = self.data.get(from..bytes) {
            for piece in part.chunks(100_000) {
                ok("writing a piece", writer.write(self.data.slice_ref(piece)).await)?;
            }
        }
        Ok(writer.received_bytes())
    }

    /// It must be the latest, whole.
    pub(super) async fn is_latest(&self, store: &dyn SnapshotStore) -> Result<(), ClauseFailure> {
        let latest = ok("asking for the latest", store.latest().await)?;
        equal("the latest snapshot", &latest, &Some(self.meta.clone()))?;
        let data = ok("reading it", read_all(store, self.meta.id).await)?;
        self.is_data(&data)
    }

    pub(super) fn is_data(&self, data: &[u8]) -> Result<(), ClauseFailure> {
        if data == self.data {
            return Ok(());
        }
        let differs = data.iter().zip(&self.data).position(|(seen, sent)| seen != sent);
        let seen = format!("{} bytes, the first difference at {differs:?}", data.len());
        Err(fail(format!("the {} bytes that were written", self.data.len()), seen))
    }
}

/// All bytes of a snapshot.
pub(super) async fn read_all(store: &dyn SnapshotStore, id: SnapshotId) -> Result<Vec<u8>, SnapshotError> {
    let mut reader = store.open(id).await?;
    let mut data = Vec::new();
    loop {
        let piece = reader.read(data.len() as u64, 70_000).await?;
        if piece.is_empty() {
            return Ok(data);
        }
        data.extend_from_slice(&piece);
    }
}

/// There is none, and none of this name.
pub(super) async fn is_absent(store: &dyn SnapshotStore, id: SnapshotId) -> Result<(), ClauseFailure> {
    equal("the latest snapshot", &ok("asking for it", store.latest().await)?, &None)?;
    is_not_served(store, id).await
}

pub(super) async fn is_not_served(store: &dyn SnapshotStore, id: SnapshotId) -> Result<(), ClauseFailure> {
    match store.open(id).await {
        Err(SnapshotError::NotFound) => Ok(()),
        Err(other) => Err(fail("NotFound", format!("{other:?}"))),
        Ok(reader) => Err(fail("NotFound", format!("it can be read: {:?}", reader.meta()))),
    }
}

pub(super) async fn open<B: SnapshotBackend>(
    backend: &B,
    place: &B::Place,
) -> Result<Box<dyn SnapshotStore>, ClauseFailure> {
    ok("opening", backend.open(place).await)
}
