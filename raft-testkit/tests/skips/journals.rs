//! A journal that leaves out a function: the memory's, as the documentation has it.

use std::path::PathBuf;

use raft_testkit::conformance::journal::{CLAUSES, run};

use super::offer::{Offer, is_documented, needs};

include!("../../src/conformance/journal/example.rs");

struct Partial(Offer);

impl AsRef<Offer> for Partial {
    fn as_ref(&self) -> &Offer {
        &self.0
    }
}

#[async_trait]
impl JournalBackend for Partial {
    type Place = MemoryDisk;

    fn place(&self) -> MemoryDisk {
        Mine.place()
    }

    async fn create(
        &self,
        place: &MemoryDisk,
        owner: Owner,
        initial: Option<&Membership>,
    ) -> Result<Box<dyn Journal>, OpenError> {
        Mine.create(place, owner, initial).await
    }

    async fn open(&self, place: &MemoryDisk, owner: Owner) -> Result<Box<dyn Journal>, OpenError> {
        Mine.open(place, owner).await
    }

    async fn crash(&self, place: &MemoryDisk, journal: Box<dyn Journal>) -> Result<(), Unsupported> {
        self.0.ask("JournalBackend::crash")?;
        Mine.crash(place, journal).await
    }

    fn stored_bytes(&self, place: &MemoryDisk) -> Result<u64, Unsupported> {
        self.0.ask("JournalBackend::stored_bytes")?;
        Mine.stored_bytes(place)
    }

    fn flip_bit(&self, place: &MemoryDisk, at: u64, bit: u8) -> Result<(), Unsupported> {
        self.0.ask("JournalBackend::flip_bit")?;
        Mine.flip_bit(place, at, bit)
    }

    fn contents(&self, place: &MemoryDisk) -> Result<Vec<u8>, Unsupported> {
        self.0.ask("JournalBackend::contents")?;
        Mine.contents(place)
    }

    fn fail_next_sync(&self, place: &MemoryDisk) -> Result<(), Unsupported> {
        self.0.ask("JournalBackend::fail_next_sync")?;
        Mine.fail_next_sync(place)
    }

    fn syncs(&self, place: &MemoryDisk) -> Result<u64, Unsupported> {
        self.0.ask("JournalBackend::syncs")?;
        Mine.syncs(place)
    }

    /// The memory has none to offer: that the clause asks for it is what is seen here.
    fn path(&self, place: &MemoryDisk) -> Result<PathBuf, Unsupported> {
        self.0.ask("JournalBackend::path")?;
        Mine.path(place)
    }

    fn set_full(&self, place: &MemoryDisk, full: bool) -> Result<(), Unsupported> {
        self.0.ask("JournalBackend::set_full")?;
        Mine.set_full(place, full)
    }
}

#[tokio::test]
async fn the_table_says_what_a_journal_without_a_function_skips() {
    let found = needs(CLAUSES, Partial, async |backend, name| run(backend, name).await).await;
    let source = include_str!("../../src/conformance/journal/mod.rs");
    // Only the process that is killed asks for this one, in the clause that asks for `path`.
    is_documented("A journal", source, &found, &["JournalBackend::place_at"]);
}
