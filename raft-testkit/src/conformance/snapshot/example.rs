use async_trait::async_trait;
use raft_core::backend::{SnapshotError, SnapshotStore};
use raft_testkit::conformance::Unsupported;
use raft_testkit::conformance::snapshot::SnapshotBackend;
use raft_testkit::memory::{MemorySnapshotDisk, MemorySnapshots};

struct Mine;

#[async_trait]
impl SnapshotBackend for Mine {
    type Place = MemorySnapshotDisk;

    fn place(&self) -> MemorySnapshotDisk {
        MemorySnapshotDisk::new()
    }

    async fn open(&self, place: &MemorySnapshotDisk) -> Result<Box<dyn SnapshotStore>, SnapshotError> {
        Ok(Box::new(MemorySnapshots::open(place)))
    }

    async fn crash(&self, place: &MemorySnapshotDisk, _: Box<dyn SnapshotStore>) -> Result<(), Unsupported> {
        place.crash();
        Ok(())
    }

    fn stored_bytes(&self, place: &MemorySnapshotDisk) -> Result<u64, Unsupported> {
        Ok(place.stored_bytes())
    }

    fn flip_bit(&self, place: &MemorySnapshotDisk, at: u64, bit: u8) -> Result<(), Unsupported> {
        assert!(place.flip_bit(at, bit));
        Ok(())
    }

    fn fail_next_sync(&self, place: &MemorySnapshotDisk) -> Result<(), Unsupported> {
        place.fail_next_sync();
        Ok(())
    }

    fn set_full(&self, place: &MemorySnapshotDisk, full: bool) -> Result<(), Unsupported> {
        place.set_full(full);
        Ok(())
    }
}
