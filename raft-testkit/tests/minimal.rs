//! The least that a backend's author has to write, as in the documentation of `journal_conformance!`: no fault is
//! offered, and every clause that needs one is skipped.

use async_trait::async_trait;
use raft_core::backend::{Journal, OpenError};
use raft_core::membership::Membership;
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
        let journal = MemoryJournal::open(place, owner.cluster, owner.group, owner.node)?;
        Ok(Box::new(journal))
    }
}

raft_testkit::journal_conformance! {
    backend: Mine,
    skip: {
        j01_acknowledged_survives_a_crash => "crash is not offered yet",
        j01_acknowledged_survives_a_kill => "this disk ends with its process",
        j01_long_log_survives_a_crash => "crash is not offered yet",
        j01_vote_alone_survives_a_crash => "crash is not offered yet",
        j02_unfinished_write_is_a_prefix => "crash is not offered yet",
        j05_unsynced_is_not_read => "fail_next_sync is not offered yet",
        j06_crash_in_a_purge_keeps_what_is_above => "crash is not offered yet",
        j08_failed_sync_is_not_retried => "fail_next_sync is not offered yet",
        j08_failed_sync_poisons => "fail_next_sync is not offered yet",
        j09_no_space_is_typed => "set_full is not offered yet",
        j09_what_found_no_space_can_be_written_later => "set_full is not offered yet",
        j10_damage_is_never_cut_silently => "damage is not offered yet",
        j10_damage_puts_on_probation => "damage is not offered yet",
        j10_damaged_bytes_are_kept => "damage is not offered yet",
        j10_single_voter_is_refused => "damage is not offered yet",
        j13_write_after_a_dropped_one_is_durable => "crash is not offered yet",
        j16_flipped_bits_are_detected => "damage is not offered yet",
        j17_damaged_store_keeps_or_refuses_the_vote => "damage is not offered yet",
        j18_purged_damage_is_of_no_consequence => "damage is not offered yet",
        j18_what_was_verified_reads_back => "damage is not offered yet",
    },
}
