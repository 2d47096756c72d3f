//! The state machine suite on the machines of the testkit; and broken machines, which it must catch by
//! name.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use raft_core::backend::{
    Command, Fatal, Responses, SnapshotError, SnapshotReader, SnapshotSource, StateMachine,
};
use raft_core::ids::LogId;
use raft_testkit::conformance::state_machine::{CLAUSES, StateMachineBackend, run};
use raft_testkit::conformance::{Random, report_mutant};
use raft_testkit::memory::{Recorder, RecordingMachine, Register, RegisterCommand};

struct Registers;

fn register_command(random: &mut Random) -> Bytes {
    let command = match random.below(4) {
        0 => RegisterCommand::Set(random.below(9)),
        1 => RegisterCommand::Swap(random.below(20), random.below(20)),
        _ => RegisterCommand::Add(random.below(9)),
    };
    command.encode()
}

impl StateMachineBackend for Registers {
    type Machine = Register;

    fn machine(&self) -> Register {
        Register::new()
    }

    fn command(&self, random: &mut Random) -> Bytes {
        register_command(random)
    }
}

mod register {
    raft_testkit::state_machine_conformance! { backend: super::Registers }
}

/// Keeps its record over a restart, as a machine with a disk does.
struct Recorders;

#[async_trait]
impl StateMachineBackend for Recorders {
    type Machine = RecordingMachine;

    fn machine(&self) -> RecordingMachine {
        Recorder::new().machine()
    }

    fn command(&self, random: &mut Random) -> Bytes {
        let length = random.below(20) as usize;
        random.bytes(length)
    }

    async fn restart(&self, machine: RecordingMachine) -> RecordingMachine {
        machine.recorder().machine()
    }
}

mod recorder {
    raft_testkit::state_machine_conformance! { backend: super::Recorders }
}

/// What is wrong with a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mutant {
    ForgetsAnAnswer,
    ExecutesABatchBackwards,
    AnswersABatchBackwards,
    ExecutesOnlyWhatIsAsked,
    DependsOnItsInstance,
    CountsOnlyCommands,
    ForgetsOnRestart,
    ReadsItsSnapshotLate,
    SnapshotsCountAsCommands,
    AddsWhatIsInstalled,
    KeepsLastApplied,
    InstallsAPart,
    InstallsTheFirstPiece,
    CountsPiecesAsWhole,
    SnapshotsLackAPart,
    SnapshotsHaveNoEnd,
}

const TABLE: &[(Mutant, &str, &str)] = &[
    (Mutant::ForgetsAnAnswer, "a01_each_command_has_an_answer", "answers to 3 commands"),
    (Mutant::ExecutesABatchBackwards, "a02_commands_are_taken_in_order", "answer 0, as one by one"),
    (Mutant::AnswersABatchBackwards, "a02_commands_are_taken_in_order", "answer 0, as one by one"),
    (
        Mutant::ExecutesOnlyWhatIsAsked,
        "a03_unwanted_answers_change_nothing",
        "answer 0 of a machine with the same history",
    ),
    (Mutant::DependsOnItsInstance, "a04_two_machines_are_equal", "snapshots with the same bytes"),
    (Mutant::CountsOnlyCommands, "a05_last_applied_is_what_was_applied", "last_applied"),
    (
        Mutant::ForgetsOnRestart,
        "a05_restart_goes_on_from_last_applied",
        "answer 0 of a machine with the same history",
    ),
    (
        Mutant::ReadsItsSnapshotLate,
        "a06_snapshot_is_a_point_in_time",
        "one that was read after all, and after its machine",
    ),
    (Mutant::SnapshotsCountAsCommands, "a06_taking_a_snapshot_changes_nothing", "the answers of entry 2"),
    (Mutant::AddsWhatIsInstalled, "a07_install_replaces_everything", "a snapshot of what was installed"),
    (
        Mutant::SnapshotsLackAPart,
        "a07_snapshot_and_log_are_the_whole_log",
        "answer 0 after a snapshot up to entry 1, as after the whole log: 8 bytes; from 0 on",
    ),
    (Mutant::KeepsLastApplied, "a07_install_replaces_everything", "last_applied after installing"),
    (
        Mutant::InstallsAPart,
        "a07_damaged_snapshot_is_fatal",
        "an error for a snapshot that cannot be read from byte 0 on",
    ),
    (Mutant::InstallsTheFirstPiece, "a07_install_replaces_everything", "a snapshot of what was installed"),
    (Mutant::CountsPiecesAsWhole, "a07_install_replaces_everything", "a snapshot of what was installed"),
    (Mutant::SnapshotsHaveNoEnd, "a06_snapshot_is_a_point_in_time", "a snapshot that ends"),
];

struct Broken(Option<Mutant>);

/// A register, and eight bytes of it that it may read too late.
struct BrokenMachine {
    mutant: Option<Mutant>,
    inner: Register,
    applied: LogId,
    instance: u64,
    /// How many commands it has executed, which is in no snapshot.
    executed: u64,
    shared: Arc<AtomicU64>,
}

struct Late(Option<Arc<AtomicU64>>);

/// Goes on for ever.
struct Endless;

#[async_trait]
impl SnapshotSource for Endless {
    async fn next(&mut self) -> Result<Option<Bytes>, SnapshotError> {
        Ok(Some(Bytes::from_static(&[0; 1 << 20])))
    }
}

#[async_trait]
impl SnapshotSource for Late {
    async fn next(&mut self) -> Result<Option<Bytes>, SnapshotError> {
        let value = self.0.take().map(|value| value.load(Ordering::Relaxed).to_le_bytes());
        Ok(value.map(|value| Bytes::copy_from_slice(&value)))
    }
}

impl BrokenMachine {
    fn lies(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// Whether it goes wrong between two pieces.
    fn misreads(&self) -> bool {
        self.lies(Mutant::InstallsTheFirstPiece) || self.lies(Mutant::CountsPiecesAsWhole)
    }
}

#[async_trait]
impl StateMachine for BrokenMachine {
    async fn last_applied(&mut self) -> Result<LogId, Fatal> {
        Ok(self.applied)
    }

    async fn apply(
        &mut self,
        batch: &[Command],
        through: LogId,
        responses: &mut Responses,
    ) -> Result<(), Fatal> {
        let mut batch = batch.to_vec();
        if !(self.lies(Mutant::CountsOnlyCommands) && batch.is_empty()) {
            self.applied = through;
        }
        if self.lies(Mutant::ExecutesABatchBackwards) {
            batch.reverse();
        }
        if self.lies(Mutant::DependsOnItsInstance) && self.instance % 2 == 1 && !batch.is_empty() {
            self.inner.execute(RegisterCommand::Add(1));
        }
        let mut answers = Vec::new();
        for command in &batch {
            let decoded = RegisterCommand::decode(&command.data).ok_or_else(|| Fatal("no command".into()))?;
            // So that not all of the value is in the first byte of a snapshot.
            let decoded = match decoded {
                RegisterCommand::Set(value) if self.misreads() => RegisterCommand::Set(value << 40),
                RegisterCommand::Add(value) if self.misreads() => RegisterCommand::Add(value << 40),
                other => other,
            };
            let asked = responses.wanted() || !self.lies(Mutant::ExecutesOnlyWhatIsAsked);
            let value = if asked { self.inner.execute(decoded) } else { 0 };
            let value =
                if self.lies(Mutant::SnapshotsLackAPart) { value.wrapping_add(self.executed) } else { value };
            self.executed += 1;
            answers.push(Bytes::copy_from_slice(&value.to_le_bytes()));
        }
        if self.lies(Mutant::AnswersABatchBackwards) {
            answers.reverse();
        }
        if self.lies(Mutant::ForgetsAnAnswer) && answers.len() > 2 {
            answers.pop();
        }
        answers.into_iter().for_each(|answer| responses.push(answer));
        self.shared.store(self.inner.value, Ordering::Relaxed);
        Ok(())
    }

    async fn snapshot(&mut self) -> Result<Box<dyn SnapshotSource>, Fatal> {
        if self.lies(Mutant::ReadsItsSnapshotLate) {
            return Ok(Box::new(Late(Some(Arc::clone(&self.shared)))));
        }
        if self.lies(Mutant::SnapshotsHaveNoEnd) {
            return Ok(Box::new(Endless));
        }
        if self.lies(Mutant::SnapshotsCountAsCommands) {
            self.inner.execute(RegisterCommand::Add(1));
        }
        self.inner.snapshot().await
    }

    async fn install(&mut self, mut snapshot: Box<dyn SnapshotReader>) -> Result<(), Fatal> {
        let (before, upto) = (self.inner.value, snapshot.meta().upto);
        if self.lies(Mutant::InstallsAPart) {
            let mut data = Vec::new();
            while let Ok(piece) = snapshot.read(data.len() as u64, 8).await {
                if piece.is_empty() {
                    break;
                }
                data.extend_from_slice(&piece);
            }
            data.resize(8, 0);
            let value = Register::answer(&data).unwrap_or_default();
            self.inner.execute(RegisterCommand::Set(value));
        } else if self.misreads() {
            let mut data = Vec::new();
            let mut at = 0;
            loop {
                let piece = snapshot.read(at, 8).await.map_err(|error| Fatal(error.to_string()))?;
                data.extend_from_slice(&piece);
                // No more than was asked for may come, and less.
                at += 8;
                if piece.is_empty() || self.lies(Mutant::InstallsTheFirstPiece) {
                    break;
                }
            }
            data.resize(8, 0);
            let value = Register::answer(&data).unwrap_or_default();
            self.inner.execute(RegisterCommand::Set(value));
        } else {
            self.inner.install(snapshot).await?;
        }
        if self.lies(Mutant::AddsWhatIsInstalled) {
            self.inner.execute(RegisterCommand::Add(before));
        }
        if !self.lies(Mutant::KeepsLastApplied) {
            self.applied = upto;
        }
        self.shared.store(self.inner.value, Ordering::Relaxed);
        Ok(())
    }
}

#[async_trait]
impl StateMachineBackend for Broken {
    type Machine = BrokenMachine;

    fn machine(&self) -> BrokenMachine {
        static INSTANCES: AtomicU64 = AtomicU64::new(0);
        BrokenMachine {
            mutant: self.0,
            inner: Register::new(),
            applied: LogId::ZERO,
            instance: INSTANCES.fetch_add(1, Ordering::Relaxed),
            executed: 0,
            shared: Arc::default(),
        }
    }

    fn command(&self, random: &mut Random) -> Bytes {
        register_command(random)
    }

    async fn restart(&self, machine: BrokenMachine) -> BrokenMachine {
        match self.0 {
            // What was in memory is gone, and is not asked for again.
            Some(Mutant::ForgetsOnRestart) => BrokenMachine { applied: machine.applied, ..self.machine() },
            _ => self.machine(),
        }
    }
}

#[tokio::test]
async fn every_mutant_is_caught_by_its_clause() {
    let mut escaped = Vec::new();
    for (mutant, clause, words) in TABLE {
        let result = run(&Broken(Some(*mutant)), clause).await;
        if !report_mutant("state machine", mutant, clause, words, &result) {
            escaped.push((mutant, clause, words, result.err()));
        }
    }
    assert!(escaped.is_empty(), "not caught: {escaped:#?}");
}

/// A clause printed two lists of 130 answers, and where they differ was for the reader to find.
#[tokio::test]
async fn what_is_wrong_is_said_in_a_few_lines() {
    for (mutant, clause, _) in TABLE {
        let failure = run(&Broken(Some(*mutant)), clause).await.unwrap_err().to_string();
        assert!(failure.len() < 500 && failure.lines().count() == 3, "{mutant:?}: {failure}");
    }
    let failure =
        run(&Broken(Some(Mutant::SnapshotsLackAPart)), "a07_snapshot_and_log_are_the_whole_log").await;
    let failure = failure.unwrap_err();
    assert!(failure.seen.contains("a snapshot must have all that answers depend on"), "{failure}");
}

/// So that what the clauses catch are the mutants, not the wrapper around them.
#[tokio::test]
async fn the_wrapper_alone_breaks_nothing() {
    for clause in CLAUSES {
        let result = run(&Broken(None), clause.name).await;
        assert!(result.is_ok(), "{}", result.unwrap_err());
    }
}

#[test]
fn every_clause_says_its_number() {
    let numbers: Vec<String> = CLAUSES.iter().map(raft_testkit::conformance::Clause::number).collect();
    for number in 1..=7 {
        assert!(numbers.contains(&format!("A{number}")), "no clause for A{number}");
    }
    for clause in CLAUSES {
        assert!(clause.sentence.starts_with(&format!("{}:", clause.number())), "{}", clause.name);
    }
}
