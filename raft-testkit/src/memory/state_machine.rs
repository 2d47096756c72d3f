//! State machines for tests: one that writes down what it is given, and a register of one number.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use raft_core::backend::{
    Command, Fatal, Responses, SnapshotError, SnapshotReader, SnapshotSource, StateMachine,
};
use raft_core::ids::{Index, LogId};
use tokio::sync::Notify;

/// What a [`RecordingMachine`] was given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// All commands, in order.
    pub commands: Vec<Command>,
    /// The last entry that was completed.
    pub through: LogId,
}

/// The record; outlives its machines, as a disk would. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Recorder(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    recorded: Mutex<(Recorded, Option<Fatal>)>,
    changed: Notify,
}

impl Recorder {
    /// An empty record.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A machine that goes on where the record ends. One at a time.
    #[must_use]
    pub fn machine(&self) -> RecordingMachine {
        RecordingMachine(self.clone())
    }

    /// What there is by now.
    #[must_use]
    pub fn recorded(&self) -> Recorded {
        self.lock().0.clone()
    }

    /// Returns the record once the entry at `index` is applied.
    pub async fn applied(&self, index: Index) -> Recorded {
        loop {
            let changed = self.0.changed.notified();
            let recorded = self.recorded();
            if recorded.through.index >= index {
                return recorded;
            }
            changed.await;
        }
    }

    /// Claims to have executed everything through this entry, as the disk of a state machine would that is another
    /// node's, or of another time.
    pub fn set_through(&self, through: LogId) {
        self.lock().0.through = through;
    }

    /// The next batch fails so.
    pub fn fail_next(&self, error: Fatal) {
        self.lock().1 = Some(error);
    }

    fn lock(&self) -> MutexGuard<'_, (Recorded, Option<Fatal>)> {
        self.0.recorded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Answers each command with its own bytes and keeps them all in its [`Recorder`].
#[derive(Debug)]
pub struct RecordingMachine(Recorder);

impl RecordingMachine {
    /// What it keeps its commands in.
    #[must_use]
    pub fn recorder(&self) -> Recorder {
        self.0.clone()
    }
}

#[async_trait]
impl StateMachine for RecordingMachine {
    async fn last_applied(&mut self) -> Result<LogId, Fatal> {
        Ok(self.0.lock().0.through)
    }

    async fn apply(
        &mut self,
        batch: &[Command],
        through: LogId,
        responses: &mut Responses,
    ) -> Result<(), Fatal> {
        let mut inner = self.0.lock();
        if let Some(error) = inner.1.take() {
            return Err(error);
        }
        if through.index <= inner.0.through.index {
            return Err(Fatal(format!("{through} was applied before, up to {}", inner.0.through)));
        }
        for command in batch {
            responses.push(command.data.clone());
        }
        inner.0.commands.extend_from_slice(batch);
        inner.0.through = through;
        drop(inner);
        self.0.0.changed.notify_waiters();
        Ok(())
    }

    async fn snapshot(&mut self) -> Result<Box<dyn SnapshotSource>, Fatal> {
        Ok(Box::new(Pieces(Some(self.0.lock().0.encode()))))
    }

    async fn install(&mut self, mut snapshot: Box<dyn SnapshotReader>) -> Result<(), Fatal> {
        let data = read_all(&mut *snapshot).await?;
        let recorded = Recorded::decode(&data, snapshot.meta().upto);
        let recorded = recorded.ok_or_else(|| Fatal("it is not a record's snapshot".into()))?;
        self.0.lock().0 = recorded;
        self.0.0.changed.notify_waiters();
        Ok(())
    }
}

impl Recorded {
    /// Each command: term, index, position, length, data.
    fn encode(&self) -> Bytes {
        let mut out = Vec::new();
        for Command { id, position, data, .. } in &self.commands {
            for number in [id.term.0, id.index.0, u64::from(*position), data.len() as u64] {
                out.extend_from_slice(&number.to_le_bytes());
            }
            out.extend_from_slice(data);
        }
        out.into()
    }

    fn decode(mut data: &[u8], through: LogId) -> Option<Self> {
        let mut commands = Vec::new();
        while !data.is_empty() {
            let mut numbers = [0; 4];
            for number in &mut numbers {
                let (eight, rest) = data.split_first_chunk::<8>()?;
                (*number, data) = (u64::from_le_bytes(*eight), rest);
            }
            let [term, index, position, length] = numbers;
            let (bytes, rest) = data.split_at_checked(usize::try_from(length).ok()?)?;
            let (id, position) = (LogId::new(term, index), u32::try_from(position).ok()?);
            commands.push(Command::new(id, position, Bytes::copy_from_slice(bytes)));
            data = rest;
        }
        Some(Self { commands, through })
    }
}

/// All of a snapshot, however short the pieces are in which it comes.
async fn read_all(snapshot: &mut dyn SnapshotReader) -> Result<Vec<u8>, Fatal> {
    let mut data = Vec::new();
    loop {
        let piece = snapshot.read(data.len() as u64, 64 << 10).await;
        let piece = piece.map_err(|error| Fatal(error.to_string()))?;
        if piece.is_empty() {
            return Ok(data);
        }
        data.extend_from_slice(&piece);
    }
}

/// A command of the [`Register`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegisterCommand {
    /// Adds, wrapping.
    Add(u64),
    /// Replaces.
    Set(u64),
    /// Replaces if the first is there.
    Swap(u64, u64),
}

impl RegisterCommand {
    /// Its bytes: a tag, then each number as eight bytes, little-endian.
    #[must_use]
    pub fn encode(self) -> Bytes {
        let (tag, numbers) = match self {
            Self::Add(value) => (0, [value, 0]),
            Self::Set(value) => (1, [value, 0]),
            Self::Swap(expected, value) => (2, [expected, value]),
        };
        let mut out = vec![tag];
        numbers.iter().for_each(|number| out.extend_from_slice(&number.to_le_bytes()));
        out.into()
    }

    /// Undoes [`encode`](Self::encode).
    #[must_use]
    pub fn decode(data: &[u8]) -> Option<Self> {
        let (tag, rest) = data.split_first()?;
        let (first, rest) = rest.split_first_chunk::<8>()?;
        let second = <[u8; 8]>::try_from(rest).ok()?;
        let (first, second) = (u64::from_le_bytes(*first), u64::from_le_bytes(second));
        match tag {
            0 => Some(Self::Add(first)),
            1 => Some(Self::Set(first)),
            2 => Some(Self::Swap(first, second)),
            _ => None,
        }
    }
}

/// One number. Each command is answered with the number after it, as eight bytes, little-endian.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Register {
    /// The number.
    pub value: u64,
    applied: LogId,
}

impl Register {
    /// Zero, before any command.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The number in an answer.
    #[must_use]
    pub fn answer(response: &[u8]) -> Option<u64> {
        response.try_into().ok().map(u64::from_le_bytes)
    }

    /// Executes one command.
    pub const fn execute(&mut self, command: RegisterCommand) -> u64 {
        match command {
            RegisterCommand::Add(value) => self.value = self.value.wrapping_add(value),
            RegisterCommand::Swap(expected, value) if self.value == expected => self.value = value,
            RegisterCommand::Swap(..) => {}
            RegisterCommand::Set(value) => self.value = value,
        }
        self.value
    }
}

#[async_trait]
impl StateMachine for Register {
    async fn last_applied(&mut self) -> Result<LogId, Fatal> {
        Ok(self.applied)
    }

    async fn apply(
        &mut self,
        batch: &[Command],
        through: LogId,
        responses: &mut Responses,
    ) -> Result<(), Fatal> {
        for command in batch {
            let decoded = RegisterCommand::decode(&command.data);
            let decoded = decoded.ok_or_else(|| Fatal(format!("{} is no command", command.id)))?;
            let value = self.execute(decoded);
            responses.push(Bytes::copy_from_slice(&value.to_le_bytes()));
        }
        self.applied = through;
        Ok(())
    }

    async fn snapshot(&mut self) -> Result<Box<dyn SnapshotSource>, Fatal> {
        Ok(Box::new(Pieces(Some(Bytes::copy_from_slice(&self.value.to_le_bytes())))))
    }

    async fn install(&mut self, mut snapshot: Box<dyn SnapshotReader>) -> Result<(), Fatal> {
        let data = read_all(&mut *snapshot).await?;
        self.value = Self::answer(&data).ok_or_else(|| Fatal("it is not a register's snapshot".into()))?;
        self.applied = snapshot.meta().upto;
        Ok(())
    }
}

struct Pieces(Option<Bytes>);

#[async_trait]
impl SnapshotSource for Pieces {
    async fn next(&mut self) -> Result<Option<Bytes>, SnapshotError> {
        Ok(self.0.take())
    }
}
