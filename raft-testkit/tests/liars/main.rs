//! The journal suite over a small journal that is honest, on a disk that forgets what was not synced, and
//! over the twenty-five lies that it can tell: each must be noticed by its clause.

mod disk;
mod journal;
mod lies;
mod open;
mod record;

use async_trait::async_trait;
use raft_core::backend::{Journal, OpenError};
use raft_core::membership::Membership;
use raft_testkit::conformance::journal::{CLAUSES, JournalBackend, Owner, run};
use raft_testkit::conformance::{Unsupported, report_mutant};

use disk::Disk;
use lies::{Lie, TABLE};

struct Liar(Option<Lie>);

#[async_trait]
impl JournalBackend for Liar {
    type Place = Disk;

    fn place(&self) -> Disk {
        Disk::default()
    }

    async fn create(
        &self,
        place: &Disk,
        owner: Owner,
        initial: Option<&Membership>,
    ) -> Result<Box<dyn Journal>, OpenError> {
        Ok(Box::new(open::create(place, owner, initial, self.0)?))
    }

    async fn open(&self, place: &Disk, owner: Owner) -> Result<Box<dyn Journal>, OpenError> {
        Ok(Box::new(open::open(place, owner, self.0)?))
    }

    async fn crash(&self, place: &Disk, journal: Box<dyn Journal>) -> Result<(), Unsupported> {
        place.crash();
        drop(journal);
        Ok(())
    }

    fn stored_bytes(&self, place: &Disk) -> Result<u64, Unsupported> {
        Ok(place.stored_bytes())
    }

    fn flip_bit(&self, place: &Disk, at: u64, bit: u8) -> Result<(), Unsupported> {
        place.flip_bit(at as usize, bit);
        Ok(())
    }

    fn contents(&self, place: &Disk) -> Result<Vec<u8>, Unsupported> {
        Ok(place.contents())
    }

    fn fail_next_sync(&self, place: &Disk) -> Result<(), Unsupported> {
        place.fail_next_sync();
        Ok(())
    }

    fn syncs(&self, place: &Disk) -> Result<u64, Unsupported> {
        Ok(place.syncs())
    }

    fn set_full(&self, place: &Disk, full: bool) -> Result<(), Unsupported> {
        place.set_full(full);
        Ok(())
    }
}

#[tokio::test]
async fn an_honest_journal_passes_every_clause() {
    // This disk ends with its process: tests/killed.rs has liars on files.
    for clause in CLAUSES.iter().filter(|clause| clause.name != "j01_acknowledged_survives_a_kill") {
        let result = run(&Liar(None), clause.name).await;
        assert!(result.is_ok(), "{}", result.unwrap_err());
    }
}

#[tokio::test]
async fn every_lie_is_noticed_by_its_clause() {
    let mut escaped = Vec::new();
    for (lie, clause, words) in TABLE {
        eprintln!("{lie:?}");
        let result = run(&Liar(Some(*lie)), clause).await;
        if !report_mutant("journal", lie, clause, words, &result) {
            escaped.push((lie, clause, words, result.err()));
        }
    }
    assert!(escaped.is_empty(), "not noticed: {escaped:#?}");
    assert_eq!(TABLE.len(), 25);
}
