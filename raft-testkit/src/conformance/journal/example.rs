use async_trait::async_trait;
use raft_core::backend::{Journal, JournalError, OpenError};
use raft_core::membership::Membership;
use raft_testkit::conformance::Unsupported;
use raft_testkit::conformance::journal::{JournalBackend, Owner};
use raft_testkit::memory::{MemoryDisk, MemoryJournal};

struct Mine;

#[async_trait]
impl JournalBackend for Mine {
    type Place = MemoryDisk;

    fn place(&self) -> MemoryDisk {
        MemoryDisk::new()
    }

    async fn create(
        &self,
        place: &MemoryDisk,
        owner: Owner,
        initial: Option<&Membership>,
    ) -> Result<Box<dyn Journal>, OpenError> {
        let journal = MemoryJournal::create(place, owner.cluster, owner.group, owner.node, initial)?;
        Ok(Box::new(journal))
    }

    async fn open(&self, place: &MemoryDisk, owner: Owner) -> Result<Box<dyn Journal>, OpenError> {
        Ok(Box::new(MemoryJournal::open(place, owner.cluster, owner.group, owner.node)?))
    }

    async fn crash(&self, place: &MemoryDisk, _journal: Box<dyn Journal>) -> Result<(), Unsupported> {
        place.crash();
        Ok(())
    }

    fn stored_bytes(&self, place: &MemoryDisk) -> Result<u64, Unsupported> {
        Ok(place.stored_bytes())
    }

    fn flip_bit(&self, place: &MemoryDisk, at: u64, bit: u8) -> Result<(), Unsupported> {
        assert!(place.flip_bit(at, bit));
        Ok(())
    }

    fn contents(&self, place: &MemoryDisk) -> Result<Vec<u8>, Unsupported> {
        Ok(place.contents())
    }

    fn fail_next_sync(&self, place: &MemoryDisk) -> Result<(), Unsupported> {
        place.fail_next_write(JournalError::Io { what: "sync".into(), cause: "as told".into() });
        Ok(())
    }

    fn syncs(&self, place: &MemoryDisk) -> Result<u64, Unsupported> {
        Ok(place.attempts())
    }

    fn set_full(&self, place: &MemoryDisk, full: bool) -> Result<(), Unsupported> {
        place.limit_bytes(full.then_some(0));
        Ok(())
    }
}
