//! A store of snapshots that leaves out a function: the memory's, as the documentation has it.

use raft_testkit::conformance::snapshot::{CLAUSES, run};

use super::offer::{Offer, is_documented, needs};

include!("../../src/conformance/snapshot/example.rs");

struct Partial(Offer);

impl AsRef<Offer> for Partial {
    fn as_ref(&self) -> &Offer {
        &self.0
    }
}

#[async_trait]
impl SnapshotBackend for Partial {
    type Place = MemorySnapshotDisk;

    fn place(&self) -> MemorySnapshotDisk {
        Mine.place()
    }

    async fn open(&self, place: &MemorySnapshotDisk) -> Result<Box<dyn SnapshotStore>, SnapshotError> {
        Mine.open(place).await
    }

    async fn crash(
        &self,
        place: &MemorySnapshotDisk,
        store: Box<dyn SnapshotStore>,
    ) -> Result<(), Unsupported> {
        self.0.ask("SnapshotBackend::crash")?;
        Mine.crash(place, store).await
    }

    fn stored_bytes(&self, place: &MemorySnapshotDisk) -> Result<u64, Unsupported> {
        self.0.ask("SnapshotBackend::stored_bytes")?;
        Mine.stored_bytes(place)
    }

    fn flip_bit(&self, place: &MemorySnapshotDisk, at: u64, bit: u8) -> Result<(), Unsupported> {
        self.0.ask("SnapshotBackend::flip_bit")?;
        Mine.flip_bit(place, at, bit)
    }

    fn fail_next_sync(&self, place: &MemorySnapshotDisk) -> Result<(), Unsupported> {
        self.0.ask("SnapshotBackend::fail_next_sync")?;
        Mine.fail_next_sync(place)
    }

    fn set_full(&self, place: &MemorySnapshotDisk, full: bool) -> Result<(), Unsupported> {
        self.0.ask("SnapshotBackend::set_full")?;
        Mine.set_full(place, full)
    }

    fn peak_bytes(&self) -> Result<u64, Unsupported> {
        self.0.ask("SnapshotBackend::peak_bytes")?;
        Mine.peak_bytes()
    }
}

#[tokio::test]
async fn the_table_says_what_a_store_without_a_function_skips() {
    let run_one = async |backend: &_, name| run(backend, name).await;
    let found = needs(CLAUSES, Partial, run_one).await;
    let source = include_str!("../../src/conformance/snapshot/mod.rs");
    is_documented("A store of snapshots", source, &found, &[]);
}
