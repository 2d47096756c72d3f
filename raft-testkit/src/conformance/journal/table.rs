//! The table of the suite: tests, index, dispatch and report are generated from it.

use super::super::{Clause, ClauseFailure, fail, within_deadline};
use super::JournalBackend;

#[doc(hidden)]
#[macro_export]
macro_rules! __journal_clauses {
    ($then:ident $args:tt) => {
        $crate::$then! { $args
            j01_acknowledged_survives_reopening durable
                "J1: a write that returned Ok is there when the journal is opened again: hard state and all entries."
            j01_acknowledged_survives_a_crash durable
                "J1: a write that returned Ok survives a crash."
            j01_acknowledged_survives_a_kill kill
                "J1: a write that returned Ok is there after its process was killed, and nothing but a beginning of the next one."
            j01_vote_alone_survives_a_crash durable
                "J1: a hard state or known peers that were written without entries survive a crash."
            j01_long_log_survives_reopening durable
                "J1: a log that outgrows its files keeps every entry once, also those at the borders, when it is opened again."
            j01_long_log_survives_a_crash durable
                "J1: a log that outgrows its files keeps every acknowledged entry through crashes."
            j01_newest_hard_state_is_the_one durable
                "J1: of all hard states that were written, with or without entries, the last is there."
            j01_state_describes_the_log history
                "J1: load tells the last and the purged log id, the runs of terms and all membership entries."
            j01_random_histories_match_the_model history
                "J1 to J7: any history of writes, purges, resets and reopenings gives what the model gives."
            j02_one_write_does_all_its_parts durable
                "J2: hard state, known peers, truncation and entries of one write are all there."
            j02_unfinished_write_is_a_prefix cancel
                "J2: after a crash in the middle of a write all of it is there, or a prefix of its entries; never a hole."
            j03_truncated_is_never_seen_again truncate
                "J3: after truncate_from(i) nothing at or above i is seen again, also after a restart."
            j03_shorter_tail_replaces_a_longer_one truncate
                "J3: entries that replace a longer tail leave nothing of it behind, also after a restart."
            j04_gap_is_refused gaps
                "J4: a gap is refused with the index that fits, and changes nothing."
            j04_gap_inside_a_write_is_refused gaps
                "J4: a gap between the entries of one write is refused, and changes nothing."
            j04_overwrite_is_refused gaps
                "J4: an overwrite without truncation is refused, and changes nothing."
            j05_readers_see_what_is_written reading
                "J5: a reader sees a write from the moment the write returned."
            j05_readers_do_not_wait_for_a_write reading
                "J5: a reader does not wait for a write that is under way."
            j05_unsynced_is_not_read faults
                "J5: entries of a write whose sync failed are not read from this journal."
            j06_purge_keeps_what_is_above purge
                "J6: purge keeps every entry above, also after a restart."
            j06_purge_of_a_long_log_keeps_what_is_above purge
                "J6: purging a log of many files keeps every entry above, wherever it ends, also after a restart."
            j06_crash_in_a_purge_keeps_what_is_above purge
                "J6: after a crash in the middle of a purge the log begins where it did or where it should, and goes on."
            j06_purged_is_compacted purge
                "J6: reading at or below the purged log id is Compacted and names it, also after a restart."
            j06_log_can_be_purged_to_its_end purge
                "J6: a log that is purged to its end goes on after the purged log id, also after a restart."
            j06_unknown_purge_is_refused purge
                "J6: a purge up to a log id that is not in the log is refused, and changes nothing."
            j07_reset_empties purge
                "J7: after reset the log is empty and begins after that log id, also after a restart."
            j07_reset_inside_the_log_empties purge
                "J7: reset to a log id inside the log leaves nothing above it."
            j08_failed_sync_poisons faults
                "J8: after a failed sync this and every later write fails; reopened, the journal holds at least what was acknowledged."
            j08_failed_sync_is_not_retried faults
                "J8: after a failed sync nothing is synced again, neither by that write nor by a later one, nor when the journal is dropped."
            j09_no_space_is_typed faults
                "J9: out of space is NoSpace; the journal stays readable, what was acknowledged stays, and writing works after space returns and it is reopened."
            j09_what_found_no_space_can_be_written_later faults
                "J9: nothing of a write that found no space is there; the same write is done when space returns, by this journal or, if it says Poisoned, by a reopened one."
            j10_undamaged_is_clean identity
                "J10: a journal that was closed is Clean when it is opened."
            j10_damage_is_never_cut_silently damage
                "J10: where acknowledged entries are missing, the verdict is SuspectTail or Corrupt, or opening is refused."
            j10_damage_puts_on_probation damage
                "J10: with SuspectTail or Corrupt and more than one voter, probation is in the hard state, and stays there when the journal is opened again."
            j10_damaged_bytes_are_kept damage
                "J10: with SuspectTail or Corrupt the damaged bytes are kept as evidence."
            j10_single_voter_is_refused damage
                "J10: a single voter whose acknowledged entries are damaged is refused with Corrupt, and nothing is changed."
            j11_second_opener_is_locked_out identity
                "J11: of two openers the second gets Locked, and the first goes on."
            j12_foreign_journal_is_refused_by_name identity
                "J12: a journal of another cluster, node or group is refused by name."
            j12_open_never_creates identity
                "J12: opening an empty place is NotInitialised, and leaves it empty."
            j12_create_never_overwrites identity
                "J12: creating where a journal is gives AlreadyExists, and changes nothing."
            j12_store_id_is_stable_and_its_own identity
                "J12: a store keeps its random id; two stores have different ones."
            j12_incarnation_grows identity
                "J12: every open raises the incarnation and draws a new nonce."
            j12_known_peers_come_back identity
                "J12: what a node remembers of its peers is there after a restart."
            j13_dropped_write_is_whole_or_nothing cancel
                "J13: a write whose future is dropped happened as a whole or not at all; the journal can be used again."
            j13_write_after_a_dropped_one_is_durable cancel
                "J13: a write that returned Ok after another one's future was dropped survives a crash."
            j13_dropped_hard_state_does_not_come_back cancel
                "J13: the hard state of a write whose future was dropped never replaces a later one."
            j14_max_bytes_is_honoured reading
                "J14: reading returns as many entries as fit in max_bytes, in order, but at least one."
            j15_every_size_comes_back bytes
                "J15: entries of 0 B, 1 B and 16 MiB come back bit for bit."
            j15_any_bytes_come_back bytes
                "J15: any bytes of any kind of entry come back bit for bit."
            j16_flipped_bits_are_detected damage
                "J16: no flipped bit in what was acknowledged goes unseen."
            j17_damaged_store_keeps_or_refuses_the_vote damage
                "J17: damage never gives another vote than the one that was written."
            j18_what_was_verified_reads_back damage
                "J18: what verify has passed reads back as it was written."
            j18_purged_damage_is_of_no_consequence damage
                "J18: once damage was met and the entries up to it are purged, the journal opens as if it had never been."
        }
    };
}

__journal_clauses! {
    __suite_table { JournalBackend
        /// Every clause of the suite.
        ///
        /// # Examples
        /// ```
        /// use raft_testkit::conformance::journal::CLAUSES;
        ///
        /// // The tests of one clause of the contract.
        /// let of_j4 = CLAUSES.iter().filter(|clause| clause.number() == "J4");
        /// let gaps: Vec<&str> = of_j4.map(|clause| clause.name).collect();
        /// assert!(gaps.contains(&"j04_overwrite_is_refused"), "{gaps:?}");
        /// ```
        CLAUSES

        /// Runs one clause by its name.
        ///
        /// # Errors
        /// [`ClauseFailure`] if it does not hold, or if there is no such clause.
        ///
        /// # Examples
        /// ```
        /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/conformance/journal/example.rs"));
        /// # #[tokio::main(flavor = "current_thread")]
        /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
        /// use raft_testkit::conformance::journal::run;
        ///
        /// // What a generated test does; by hand it tells how a broken journal fails.
        /// assert_eq!(run(&Mine, "j04_gap_is_refused").await, Ok(()));
        /// assert!(run(&Mine, "j99_no_such_clause").await.is_err());
        /// # Ok(())
        /// # }
        /// ```
        run
    }
}
