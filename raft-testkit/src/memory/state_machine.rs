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
///
/// # Examples
/// ```
/// # use raft_core::backend::{Command, Fatal, Responses, StateMachine};
/// # use raft_core::ids::{Index, LogId};
/// # use raft_testkit::memory::{Recorded, Recorder, RecordingMachine};
/// # type Done = Result<(), Fatal>;
/// # async fn apply(machine: &mut RecordingMachine, index: u64, data: &'static str) -> Done {
/// #     let command = Command::new(LogId::new(1, index), 0, data.into());
/// #     machine.apply(&[command], LogId::new(1, index), &mut Responses::discarded()).await
/// # }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (one, two) = (Recorder::new(), Recorder::new());
/// apply(&mut one.machine(), 1, "a").await?;
/// apply(&mut two.machine(), 1, "a").await?;
/// // Two nodes agree if their records are equal.
/// assert_eq!(one.recorded(), two.recorded());
/// assert_eq!((one.recorded().commands[0].data.as_ref(), one.recorded().through.index.0), (&b"a"[..], 1));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// All commands, in order.
    pub commands: Vec<Command>,
    /// The last entry that was completed.
    pub through: LogId,
}

/// The record; outlives its machines, as a disk would. Cheap to clone.
///
/// # Examples
/// ```
/// # use raft_core::backend::{Command, Fatal, Responses, StateMachine};
/// # use raft_core::ids::{Index, LogId};
/// # use raft_testkit::memory::{Recorded, Recorder, RecordingMachine};
/// # type Done = Result<(), Fatal>;
/// # async fn apply(machine: &mut RecordingMachine, index: u64, data: &'static str) -> Done {
/// #     let command = Command::new(LogId::new(1, index), 0, data.into());
/// #     machine.apply(&[command], LogId::new(1, index), &mut Responses::discarded()).await
/// # }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let recorder = Recorder::new();
/// apply(&mut recorder.machine(), 1, "before the restart").await?;
/// apply(&mut recorder.machine(), 2, "after it").await?;
/// assert_eq!(recorder.recorded().commands.len(), 2);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Recorder(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    recorded: Mutex<(Recorded, Option<Fatal>)>,
    changed: Notify,
}

impl Recorder {
    /// An empty record.
    ///
    /// # Examples
    /// ```
    /// use raft_testkit::memory::{Recorded, Recorder};
    ///
    /// // A clone is the same record: one for the test, one for the machine.
    /// let recorder = Recorder::new();
    /// let machine = recorder.clone().machine();
    /// drop(recorder);
    /// assert_eq!(machine.recorder().recorded(), Recorded::default());
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A machine that goes on where the record ends. One at a time.
    ///
    /// # Examples
    /// ```
    /// # use raft_core::backend::{Command, Fatal, Responses, StateMachine};
    /// # use raft_core::ids::{Index, LogId};
    /// # use raft_testkit::memory::{Recorded, Recorder, RecordingMachine};
    /// # type Done = Result<(), Fatal>;
    /// # async fn apply(machine: &mut RecordingMachine, index: u64, data: &'static str) -> Done {
    /// #     let command = Command::new(LogId::new(1, index), 0, data.into());
    /// #     machine.apply(&[command], LogId::new(1, index), &mut Responses::discarded()).await
    /// # }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let recorder = Recorder::new();
    /// let mut machine = recorder.machine();
    /// apply(&mut machine, 1, "a").await?;
    /// drop(machine);
    /// // The next one goes on there, and executes nothing twice.
    /// let mut machine = recorder.machine();
    /// assert_eq!(machine.last_applied().await?, LogId::new(1, 1));
    /// assert!(apply(&mut machine, 1, "a").await.is_err());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn machine(&self) -> RecordingMachine {
        RecordingMachine(self.clone())
    }

    /// What there is by now.
    ///
    /// # Examples
    /// ```
    /// # use raft_core::backend::{Command, Fatal, Responses, StateMachine};
    /// # use raft_core::ids::{Index, LogId};
    /// # use raft_testkit::memory::{Recorded, Recorder, RecordingMachine};
    /// # type Done = Result<(), Fatal>;
    /// # async fn apply(machine: &mut RecordingMachine, index: u64, data: &'static str) -> Done {
    /// #     let command = Command::new(LogId::new(1, index), 0, data.into());
    /// #     machine.apply(&[command], LogId::new(1, index), &mut Responses::discarded()).await
    /// # }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let recorder = Recorder::new();
    /// let before = recorder.recorded();
    /// apply(&mut recorder.machine(), 1, "a").await?;
    /// // What was looked at earlier stays as it was.
    /// assert_eq!(before, Recorded::default());
    /// assert_ne!(recorder.recorded(), before);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn recorded(&self) -> Recorded {
        self.lock().0.clone()
    }

    /// Returns the record once the entry at `index` is applied.
    ///
    /// # Examples
    /// ```
    /// # use raft_core::backend::{Command, Fatal, Responses, StateMachine};
    /// # use raft_core::ids::{Index, LogId};
    /// # use raft_testkit::memory::{Recorded, Recorder, RecordingMachine};
    /// # type Done = Result<(), Fatal>;
    /// # async fn apply(machine: &mut RecordingMachine, index: u64, data: &'static str) -> Done {
    /// #     let command = Command::new(LogId::new(1, index), 0, data.into());
    /// #     machine.apply(&[command], LogId::new(1, index), &mut Responses::discarded()).await
    /// # }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let recorder = Recorder::new();
    /// let mut machine = recorder.machine();
    /// tokio::spawn(async move { apply(&mut machine, 7, "a").await });
    /// let recorded = recorder.applied(Index(7)).await;
    /// assert_eq!(recorded.commands[0].data, "a");
    /// # Ok(())
    /// # }
    /// ```
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
    ///
    /// # Examples
    /// ```
    /// # use raft_core::backend::{Command, Fatal, Responses, StateMachine};
    /// # use raft_core::ids::{Index, LogId};
    /// # use raft_testkit::memory::{Recorded, Recorder, RecordingMachine};
    /// # type Done = Result<(), Fatal>;
    /// # async fn apply(machine: &mut RecordingMachine, index: u64, data: &'static str) -> Done {
    /// #     let command = Command::new(LogId::new(1, index), 0, data.into());
    /// #     machine.apply(&[command], LogId::new(1, index), &mut Responses::discarded()).await
    /// # }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let recorder = Recorder::new();
    /// // The disk of somebody else: the node must notice that it is ahead of its log.
    /// recorder.set_through(LogId::new(9, 1000));
    /// assert_eq!(recorder.machine().last_applied().await?, LogId::new(9, 1000));
    /// # Ok(())
    /// # }
    /// ```
    pub fn set_through(&self, through: LogId) {
        self.lock().0.through = through;
    }

    /// The next batch fails so.
    ///
    /// # Examples
    /// ```
    /// # use raft_core::backend::{Command, Fatal, Responses, StateMachine};
    /// # use raft_core::ids::{Index, LogId};
    /// # use raft_testkit::memory::{Recorded, Recorder, RecordingMachine};
    /// # type Done = Result<(), Fatal>;
    /// # async fn apply(machine: &mut RecordingMachine, index: u64, data: &'static str) -> Done {
    /// #     let command = Command::new(LogId::new(1, index), 0, data.into());
    /// #     machine.apply(&[command], LogId::new(1, index), &mut Responses::discarded()).await
    /// # }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let recorder = Recorder::new();
    /// let mut machine = recorder.machine();
    /// recorder.fail_next(Fatal("the disk is gone".into()));
    /// let failed = apply(&mut machine, 1, "a").await;
    /// assert_eq!(failed, Err(Fatal("the disk is gone".into())));
    /// assert_eq!(recorder.recorded(), Recorded::default());
    /// # Ok(())
    /// # }
    /// ```
    pub fn fail_next(&self, error: Fatal) {
        self.lock().1 = Some(error);
    }

    fn lock(&self) -> MutexGuard<'_, (Recorded, Option<Fatal>)> {
        self.0.recorded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Answers each command with its own bytes and keeps them all in its [`Recorder`].
///
/// # Examples
/// ```
/// # use raft_core::backend::{Command, Responses, StateMachine};
/// # use raft_core::ids::LogId;
/// # use raft_testkit::memory::Recorder;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut machine = Recorder::new().machine();
/// let batch = ["a", "b"].map(|data| Command::new(LogId::new(1, 1), 0, data.into()));
/// let mut answers = Responses::kept(2);
/// machine.apply(&batch, LogId::new(1, 1), &mut answers).await?;
/// assert_eq!(answers.into_kept(), ["a", "b"], "each command is its own answer");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct RecordingMachine(Recorder);

impl RecordingMachine {
    /// What it keeps its commands in.
    ///
    /// # Examples
    /// ```
    /// # use raft_core::backend::{Command, Fatal, Responses, StateMachine};
    /// # use raft_core::ids::{Index, LogId};
    /// # use raft_testkit::memory::{Recorded, Recorder, RecordingMachine};
    /// # type Done = Result<(), Fatal>;
    /// # async fn apply(machine: &mut RecordingMachine, index: u64, data: &'static str) -> Done {
    /// #     let command = Command::new(LogId::new(1, index), 0, data.into());
    /// #     machine.apply(&[command], LogId::new(1, index), &mut Responses::discarded()).await
    /// # }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut machine = Recorder::new().machine();
    /// let recorder = machine.recorder();
    /// apply(&mut machine, 1, "a").await?;
    /// assert_eq!(recorder.recorded().through, LogId::new(1, 1));
    /// # Ok(())
    /// # }
    /// ```
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
///
/// # Examples
/// ```
/// use raft_testkit::memory::{Register, RegisterCommand};
///
/// let mut register = Register::new();
/// assert_eq!(register.execute(RegisterCommand::Set(5)), 5);
/// assert_eq!(register.execute(RegisterCommand::Swap(4, 9)), 5, "another number is there");
/// assert_eq!(register.execute(RegisterCommand::Add(2)), 7);
/// ```
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
    ///
    /// # Examples
    /// ```
    /// use raft_testkit::memory::RegisterCommand;
    ///
    /// // What a client proposes.
    /// let data = RegisterCommand::Add(5).encode();
    /// assert_eq!((data.len(), &data[..2]), (17, &[0, 5][..]));
    /// ```
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
    ///
    /// # Examples
    /// ```
    /// use raft_testkit::memory::RegisterCommand;
    ///
    /// let swap = RegisterCommand::Swap(1, 2);
    /// assert_eq!(RegisterCommand::decode(&swap.encode()), Some(swap));
    /// assert_eq!(RegisterCommand::decode(b"something else"), None);
    /// ```
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
///
/// # Examples
/// ```
/// # use raft_core::backend::{Command, Responses, StateMachine};
/// # use raft_core::ids::LogId;
/// # use raft_testkit::memory::{Register, RegisterCommand};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut register = Register::new();
/// let add = Command::new(LogId::new(1, 1), 0, RegisterCommand::Add(5).encode());
/// let mut answers = Responses::kept(1);
/// register.apply(&[add], LogId::new(1, 1), &mut answers).await?;
/// assert_eq!(Register::answer(&answers.into_kept()[0]), Some(5));
/// assert_eq!(register.value, 5);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Register {
    /// The number.
    pub value: u64,
    applied: LogId,
}

impl Register {
    /// Zero, before any command.
    ///
    /// # Examples
    /// ```
    /// use raft_testkit::memory::Register;
    ///
    /// assert_eq!(Register::new().value, 0);
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The number in an answer.
    ///
    /// # Examples
    /// ```
    /// use raft_testkit::memory::Register;
    ///
    /// // What `propose` gives back as `response`.
    /// assert_eq!(Register::answer(&7_u64.to_le_bytes()), Some(7));
    /// assert_eq!(Register::answer(b"no number"), None);
    /// ```
    #[must_use]
    pub fn answer(response: &[u8]) -> Option<u64> {
        response.try_into().ok().map(u64::from_le_bytes)
    }

    /// Executes one command.
    ///
    /// # Examples
    /// ```
    /// use raft_testkit::memory::{Register, RegisterCommand};
    ///
    /// let mut register = Register::new();
    /// register.execute(RegisterCommand::Set(u64::MAX));
    /// assert_eq!(register.execute(RegisterCommand::Add(1)), 0, "it wraps");
    /// ```
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
