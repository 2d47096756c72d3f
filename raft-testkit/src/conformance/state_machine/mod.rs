//! A1 to A7 of [`StateMachine`].
//!
//! The author of a state machine implements [`StateMachineBackend`] and writes
//! [`state_machine_conformance!`](crate::state_machine_conformance) in one of the tests. [`CLAUSES`] lists
//! what is then run; [`names`] has the same as an index.

mod table;

mod apply;
mod log;
mod same;
mod snapshots;

use async_trait::async_trait;
use bytes::Bytes;
use raft_core::backend::StateMachine;

use super::Random;

pub use table::{CLAUSES, names, run};

/// What the author of a state machine provides so that the suite can test it.
///
/// # Examples
/// ```
/// use bytes::Bytes;
/// use raft_testkit::conformance::Random;
/// use raft_testkit::conformance::state_machine::{StateMachineBackend, run};
/// use raft_testkit::memory::{Register, RegisterCommand};
///
/// struct Mine;
///
/// impl StateMachineBackend for Mine {
///     type Machine = Register;
///
///     fn machine(&self) -> Register {
///         Register::new()
///     }
///
///     fn command(&self, random: &mut Random) -> Bytes {
///         RegisterCommand::Add(random.below(9)).encode()
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// assert_eq!(run(&Mine, "a04_two_machines_are_equal").await, Ok(()));
/// # }
/// ```
#[async_trait]
pub trait StateMachineBackend: Send + Sync {
    /// The machine.
    type Machine: StateMachine;

    /// A new one, empty.
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
    /// // It has executed nothing, and the suite gives it the log from the beginning.
    /// assert_eq!(Mine.machine().last_applied().await?, LogId::ZERO);
    /// # Ok(())
    /// # }
    /// ```
    fn machine(&self) -> Self::Machine;

    /// Any command that the machine takes; the same for the same numbers. What it does should depend on
    /// what came before it, and change it, as often as possible. Some should make no sense, if such a command can come.
    ///
    /// Snapshots are taken after at most some 150 of them. Let these be several pieces, by large commands or small pieces
    /// under `cfg(test)`: one piece does not show what goes wrong between two.
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
    /// # fn main() {
    /// // The same numbers give the same command: whatever the suite finds can be looked at again.
    /// let (mut random, mut again) = (Random::new(5), Random::new(5));
    /// let log: Vec<Bytes> = (0..10).map(|_| Mine.command(&mut random)).collect();
    /// assert!(log.iter().all(|command| *command == Mine.command(&mut again)));
    /// assert!(log.windows(2).any(|two| two[0] != two[1]));
    /// # }
    /// ```
    fn command(&self, random: &mut Random) -> Bytes;

    /// The machine after a restart of its process: what it keeps in memory only is gone. One that keeps
    /// nothing else is new.
    ///
    /// # Examples
    /// ```
    /// # use bytes::Bytes;
    /// # use raft_core::backend::{Command, Responses, StateMachine};
    /// # use raft_core::ids::LogId;
    /// # use raft_testkit::conformance::{Random, state_machine::StateMachineBackend};
    /// # use raft_testkit::memory::{Recorder, RecordingMachine, Register, RegisterCommand};
    /// # struct Kept;
    /// #[async_trait::async_trait]
    /// impl StateMachineBackend for Kept {
    ///     type Machine = RecordingMachine;
    ///
    /// #     fn machine(&self) -> RecordingMachine {
    /// #         Recorder::new().machine()
    /// #     }
    /// #     fn command(&self, random: &mut Random) -> Bytes {
    /// #         random.bytes(9)
    /// #     }
    ///     async fn restart(&self, machine: RecordingMachine) -> RecordingMachine {
    ///         machine.recorder().machine()
    ///     }
    ///     // ...
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut machine = Kept.machine();
    /// let command = Command::new(LogId::new(1, 1), 0, "x".into());
    /// machine.apply(&[command], LogId::new(1, 1), &mut Responses::discarded()).await?;
    /// // One that keeps its state on a disk goes on from there (A5).
    /// let mut machine = Kept.restart(machine).await;
    /// assert_eq!(machine.last_applied().await?, LogId::new(1, 1));
    /// # Ok(())
    /// # }
    /// ```
    async fn restart(&self, machine: Self::Machine) -> Self::Machine {
        drop(machine);
        self.machine()
    }
}

/// The state machine conformance suite: expands to one `#[test]` per clause.
///
/// ```
/// use bytes::Bytes;
/// use raft_testkit::conformance::Random;
/// use raft_testkit::conformance::state_machine::StateMachineBackend;
/// use raft_testkit::memory::{Register, RegisterCommand};
///
/// struct Mine;
///
/// impl StateMachineBackend for Mine {
///     type Machine = Register;
///
///     fn machine(&self) -> Register {
///         Register::new()
///     }
///
///     fn command(&self, random: &mut Random) -> Bytes {
///         match random.below(3) {
///             0 => RegisterCommand::Set(random.next()).encode(),
///             _ => RegisterCommand::Add(random.next()).encode(),
///         }
///     }
/// }
///
/// raft_testkit::state_machine_conformance! { backend: Mine }
/// # fn main() {}
/// ```
///
/// `backend` is evaluated once for each test. A machine without snapshots skips the clauses about them, each
/// with a reason, as in the other suites; a name in `skip` that is no clause does not compile.
#[macro_export]
macro_rules! state_machine_conformance {
    (backend: $backend:expr $(,)?) => {
        $crate::state_machine_conformance! { backend: $backend, skip: {} }
    };
    (backend: $backend:expr, skip: { $($skip:ident => $reason:literal),* $(,)? } $(,)?) => {
        const STATE_MACHINE_SUBJECT: $crate::conformance::Subject = $crate::conformance::Subject {
            suite: "state machine",
            backend: concat!(env!("CARGO_PKG_NAME"), " / ", module_path!()),
            partly: &[],
        };
        const STATE_MACHINE_SKIPS: &[(&str, &str)] =
            &[$(($crate::conformance::state_machine::names::$skip, $reason)),*];
        #[test]
        fn a00_clauses_are_run() {
            $crate::conformance::check_suite(
                $crate::conformance::state_machine::CLAUSES,
                STATE_MACHINE_SKIPS,
            );
        }
        $crate::__state_machine_clauses! { __state_machine_tests { $backend } }
        /// What is skipped, for the test runner to count and to name.
        mod skipped_state_machine_clauses {
            $(
                #[test]
                #[ignore = $reason]
                fn $skip() {
                    eprintln!("skipped: {}", $reason);
                }
            )*
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __state_machine_tests {
    ({ $backend:expr } $($name:ident $module:ident $sentence:literal)*) => {
        $(
            #[doc = $sentence]
            #[test]
            fn $name() {
                $crate::conformance::run_test(STATE_MACHINE_SUBJECT, stringify!($name), STATE_MACHINE_SKIPS, || async {
                    $crate::conformance::state_machine::run(&$backend, stringify!($name)).await
                });
            }
        )*
    };
}
