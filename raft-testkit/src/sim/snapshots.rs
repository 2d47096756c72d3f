//! The file snapshots' store on a simulated disk, in a folder beside the journal: what its thread does in life is
//! done here by tasks of the node, in virtual time.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use raft_core::backend::{
    SnapshotContent, SnapshotError, SnapshotId, SnapshotMeta, SnapshotReader, SnapshotStore, SnapshotWriter,
};
use raft_core::ids::LogId;
use raft_core::membership::Membership;
use raft_log_file::{CompleteFile, PartFile, SnapshotFiles};

use super::coverage::Point;
use super::disk::SimDisk;
use super::drive::Drive;
use super::features::Moment;
use super::oracle::Oracle;
use super::rng::Rng;

/// Where they are on the disk.
pub(crate) const FOLDER: &str = "snap/";

/// Opens a copy of what the disk would have after a power cut: the newest snapshot, read to its end.
pub(crate) fn durable(disk: &SimDisk) -> Result<Option<(SnapshotMeta, Vec<u8>)>, SnapshotError> {
    let copy = SimDisk::of(&disk.durable_folder(FOLDER), Rng::new(1));
    newest(&SnapshotFiles::open(Arc::new(copy.boot().folder(FOLDER)))?)
}

/// The newest snapshot of a store, read to its end.
pub(crate) fn newest(files: &SnapshotFiles) -> Result<Option<(SnapshotMeta, Vec<u8>)>, SnapshotError> {
    let Some(meta) = files.latest()? else { return Ok(None) };
    let mut file = files.read(meta.id)?;
    let mut bytes = Vec::new();
    loop {
        let piece = file.read(bytes.len() as u64, usize::MAX)?;
        if piece.is_empty() {
            return Ok(Some((meta, bytes)));
        }
        bytes.extend_from_slice(&piece);
    }
}

struct Shared {
    drive: Arc<Drive>,
    files: SnapshotFiles,
    oracle: Arc<Oracle>,
}

/// See the [module](self).
#[derive(Clone)]
pub(crate) struct SimSnapshots(Arc<Shared>);

impl SimSnapshots {
    /// The snapshots of an open store.
    pub(crate) fn new(drive: Arc<Drive>, files: SnapshotFiles, oracle: Arc<Oracle>) -> Self {
        Self(Arc::new(Shared { drive, files, oracle }))
    }
}

#[async_trait]
impl SnapshotStore for SimSnapshots {
    async fn latest(&self) -> Result<Option<SnapshotMeta>, SnapshotError> {
        self.0.files.latest()
    }

    async fn create(
        &self,
        id: SnapshotId,
        upto: LogId,
        membership: Membership,
    ) -> Result<Box<dyn SnapshotWriter>, SnapshotError> {
        let shared = &self.0;
        let node = shared.drive.node();
        shared.drive.delay().await;
        let created = shared.files.create(id, upto, membership.clone());
        shared.drive.alive().await;
        let part = created?;
        shared.oracle.snapshot_begins(node, upto, &membership, part.received_bytes());
        Ok(Box::new(Writer { shared: Arc::clone(shared), upto, part }))
    }

    async fn open(&self, id: SnapshotId) -> Result<Box<dyn SnapshotReader>, SnapshotError> {
        self.0.drive.delay().await;
        let complete = self.0.files.read(id);
        self.0.drive.alive().await;
        Ok(Box::new(Reader { shared: Arc::clone(&self.0), complete: complete? }))
    }
}

struct Writer {
    shared: Arc<Shared>,
    upto: LogId,
    part: PartFile,
}

#[async_trait]
impl SnapshotWriter for Writer {
    fn received_bytes(&self) -> u64 {
        self.part.received_bytes()
    }

    async fn write(&mut self, piece: Bytes) -> Result<(), SnapshotError> {
        self.shared.drive.delay().await;
        self.shared.drive.reached(Moment::Piece);
        let written = self.part.write(&piece);
        self.shared.drive.alive().await;
        written
    }

    async fn finish(
        mut self: Box<Self>,
        expected: Option<SnapshotContent>,
    ) -> Result<SnapshotMeta, SnapshotError> {
        let Shared { drive, oracle, .. } = &*self.shared;
        drive.delay().await;
        oracle.snapshot_finishes(drive.node(), self.upto);
        drive.reached(Moment::Finish);
        let finished = self.part.finish(expected);
        drive.alive().await;
        match &finished {
            Ok(meta) => oracle.snapshot_durable(drive.node(), meta, || durable(&drive.disk)),
            Err(error) => {
                oracle.hit(Point::SnapshotFailed);
                oracle.snapshot_failed(drive.node(), error);
            }
        }
        drive.delay().await;
        finished
    }
}

struct Reader {
    shared: Arc<Shared>,
    complete: CompleteFile,
}

#[async_trait]
impl SnapshotReader for Reader {
    fn meta(&self) -> &SnapshotMeta {
        self.complete.meta()
    }

    async fn read(&mut self, offset: u64, max_bytes: usize) -> Result<Bytes, SnapshotError> {
        self.shared.drive.delay().await;
        self.shared.drive.reached(Moment::Read);
        let read = self.complete.read(offset, max_bytes);
        if matches!(read, Err(SnapshotError::Corrupt(_))) {
            self.shared.oracle.hit(Point::SnapshotDamageMet);
        }
        read
    }
}
