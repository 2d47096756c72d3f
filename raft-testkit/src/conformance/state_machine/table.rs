//! The table of the suite: tests, index, dispatch and report are generated from it.

use super::super::{Clause, ClauseFailure, fail, within_deadline};
use super::StateMachineBackend;

#[doc(hidden)]
#[macro_export]
macro_rules! __state_machine_clauses {
    ($then:ident $args:tt) => {
        $crate::$then! { $args
            a01_each_command_has_an_answer apply
                "A1: apply pushes one answer for each command, whether answers are wanted or not."
            a02_commands_are_taken_in_order apply
                "A2: commands are executed and answered in their order: all at once is as one by one."
            a03_unwanted_answers_change_nothing apply
                "A3: the state does not depend on whether anybody wants the answers."
            a04_two_machines_are_equal apply
                "A4: two machines that are given the same log are equal, whatever the batches: same answers, same bytes."
            a05_last_applied_is_what_was_applied apply
                "A5: last_applied is zero at first, then the last entry that a batch has completed, with commands or without."
            a05_restart_goes_on_from_last_applied apply
                "A5: after a restart, what follows last_applied applied again gives the same machine."
            a06_snapshot_is_a_point_in_time snapshots
                "A6: a snapshot has what was applied when it was taken, and nothing of what is applied while it is read."
            a06_taking_a_snapshot_changes_nothing snapshots
                "A6: a machine of which snapshots are taken, read or dropped goes on as if there were none."
            a07_install_replaces_everything snapshots
                "A7: an installed snapshot replaces all state, and last_applied is what it covers."
            a07_snapshot_and_log_are_the_whole_log snapshots
                "A7: a snapshot and the log after it give the same machine as the whole log."
            a07_damaged_snapshot_is_fatal snapshots
                "A7: a snapshot that cannot be read to its end is an error, not a part of a state."
        }
    };
}

__state_machine_clauses! {
    __suite_table { StateMachineBackend
        /// Every clause of the suite.
        ///
        /// # Examples
        /// ```
        /// use raft_testkit::conformance::state_machine::CLAUSES;
        ///
        /// // A machine without snapshots skips these, each with a reason.
        /// let names: Vec<&str> = CLAUSES.iter().map(|clause| clause.name).collect();
        /// let about = |name: &&&str| name.starts_with("a06") || name.starts_with("a07");
        /// assert_eq!(names.iter().filter(about).count(), 5, "{names:?}");
        /// ```
        CLAUSES

        /// Runs one clause by its name.
        ///
        /// # Errors
        /// [`ClauseFailure`] if it does not hold, or if there is no such clause.
        ///
        /// # Examples
        /// ```
        /// # use bytes::Bytes;
        /// # use raft_core::backend::{Command, Responses, StateMachine};
        /// # use raft_core::ids::LogId;
        /// # use raft_testkit::conformance::{Random, state_machine::StateMachineBackend};
        /// # use raft_testkit::memory::{Recorder, RecordingMachine, Register, RegisterCommand};
        /// # struct Mine;
        /// # impl StateMachineBackend for Mine {
        /// #     type Machine = Register;
        /// #     fn machine(&self) -> Register {
        /// #         Register::new()
        /// #     }
        /// #     fn command(&self, random: &mut Random) -> Bytes {
        /// #         RegisterCommand::Add(random.below(9)).encode()
        /// #     }
        /// # }
        /// # #[tokio::main(flavor = "current_thread")]
        /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
        /// use raft_testkit::conformance::state_machine::run;
        ///
        /// let restarted = run(&Mine, "a05_restart_goes_on_from_last_applied").await;
        /// assert_eq!(restarted, Ok(()));
        /// # Ok(())
        /// # }
        /// ```
        run
    }
}
