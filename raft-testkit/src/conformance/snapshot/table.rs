//! The table of the suite: tests, index, dispatch and report are generated from it.

use super::super::{Clause, ClauseFailure, fail, within_deadline};
use super::SnapshotBackend;

#[doc(hidden)]
#[macro_export]
macro_rules! __snapshot_clauses {
    ($then:ident $args:tt) => {
        $crate::$then! { $args
            s01_complete_one_comes_back visible
                "S1: a finished snapshot is the latest, with its log id, membership, size and checksum, and its bytes come back, also after a restart."
            s01_unfinished_is_invisible visible
                "S1: a snapshot is not visible before it is finished, not even by its name."
            s01_finished_survives_a_crash visible
                "S1: a snapshot whose finish returned Ok survives a power cut."
            s01_unexpected_content_is_refused visible
                "S1: a snapshot that is not what was announced, by size or checksum, is Corrupt when it is finished, and never visible."
            s01_failed_sync_is_not_finished visible
                "S1: a snapshot that could not be synced is not visible, and what was visible still is."
            s02_half_received_is_removed_or_resumed partial
                "S2: a half-received snapshot is not served after a restart; created again it says from where to go on, and comes out right."
            s02_crash_in_the_middle_serves_nothing partial
                "S2: after a power cut in the middle of a snapshot it is removed or resumed, never served, and comes out right in the end."
            s02_half_received_does_not_pile_up partial
                "S2: half-received snapshots that nobody goes on with are removed."
            s02_same_name_of_another_place_begins_anew partial
                "S2: a half-received snapshot is not continued under another log id or membership."
            s02_two_are_written_side_by_side partial
                "S2: two snapshots can be written at the same time, as when one is received while one's own is taken."
            s03_pieces_of_any_size_come_back stream
                "S3: pieces of any size go in, and reading gives at most what was asked for, from any offset."
            s03_memory_stays_bounded stream
                "S3: a snapshot of 192 MiB takes far less memory than its size, written or read."
            s04_newer_one_replaces replace
                "S4: once a newer snapshot is finished it is the latest, also after a restart; one that covers less never is."
            s04_old_one_is_there_until_the_new_is replace
                "S4: while a newer snapshot is written the old one stays the latest, and readable."
            s04_old_one_outlives_a_crash_of_the_new replace
                "S4: a power cut while a newer snapshot is written leaves the old one as it was."
            s04_no_space_keeps_the_old replace
                "S4: out of space is NoSpace; the old snapshot stays, and writing works after space returns and the store is reopened."
            s05_flipped_bits_are_detected damage
                "S5: no flipped bit in a stored snapshot goes unseen, and none makes it vanish."
        }
    };
}

__snapshot_clauses! {
    __suite_table { SnapshotBackend
        /// Every clause of the suite.
        ///
        /// # Examples
        /// ```
        /// use raft_testkit::conformance::snapshot::CLAUSES;
        ///
        /// // What a store without a limit of memory has to skip.
        /// let bounded = CLAUSES.iter().find(|clause| clause.name == "s03_memory_stays_bounded").unwrap();
        /// assert_eq!(bounded.number(), "S3");
        /// ```
        CLAUSES

        /// Runs one clause by its name.
        ///
        /// # Errors
        /// [`ClauseFailure`] if it does not hold, or if there is no such clause.
        ///
        /// # Examples
        /// ```
        /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/conformance/snapshot/example.rs"));
        /// # #[tokio::main(flavor = "current_thread")]
        /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
        /// use raft_testkit::conformance::snapshot::run;
        ///
        /// let damaged = run(&Mine, "s05_flipped_bits_are_detected").await;
        /// assert!(damaged.is_ok(), "{damaged:?}");
        /// # Ok(())
        /// # }
        /// ```
        run
    }
}
