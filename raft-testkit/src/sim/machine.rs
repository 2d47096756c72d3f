//! The replicated state of a run: a few registers, and a record of what was executed where.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::Poll;

use async_trait::async_trait;
use bytes::Bytes;
use raft_core::backend::{
    Command, Fatal, Responses, SnapshotError, SnapshotReader, SnapshotSource, StateMachine,
};
use raft_core::ids::{Index, LogId};

use super::executor::lock;

/// What a client wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Request {
    /// Sets a register.
    Put {
        /// Which.
        key: u32,
        /// To what.
        value: u64,
    },
    /// Sets it if it is as expected.
    Cas {
        /// Which.
        key: u32,
        /// What it should be.
        expected: u64,
        /// To what.
        value: u64,
    },
    /// Adds to it.
    Add {
        /// Which.
        key: u32,
        /// How much.
        value: u64,
    },
    /// Reads it. Never goes through the log.
    Get {
        /// Which.
        key: u32,
    },
}

impl Request {
    /// The register.
    #[must_use]
    pub(crate) const fn key(&self) -> u32 {
        match self {
            Self::Put { key, .. } | Self::Cas { key, .. } | Self::Add { key, .. } | Self::Get { key } => *key,
        }
    }
}

const HEAD: usize = 29;

/// A command: the operation's number, the request, and as many bytes more as it takes.
#[must_use]
pub(crate) fn encode(operation: u64, request: &Request, extra: usize) -> Bytes {
    let (kind, key, a, b) = match *request {
        Request::Put { key, value } => (0, key, value, 0),
        Request::Cas { key, expected, value } => (1, key, expected, value),
        Request::Add { key, value } => (2, key, value, 0),
        Request::Get { key } => (3, key, 0, 0),
    };
    let mut bytes = Vec::with_capacity(HEAD + extra);
    bytes.extend(operation.to_le_bytes());
    bytes.push(kind);
    bytes.extend(key.to_le_bytes());
    bytes.extend(a.to_le_bytes());
    bytes.extend(b.to_le_bytes());
    // No zero byte: a missing sector of it looks like one.
    bytes.resize(HEAD + extra, (operation % 255) as u8 + 1);
    bytes.into()
}

/// The operation's number and the request; `None` if these bytes are no command.
#[must_use]
pub(crate) fn decode(bytes: &[u8]) -> Option<(u64, Request)> {
    let number = |at: usize| bytes.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes);
    let operation = number(0)?;
    let key = u32::from_le_bytes(bytes.get(9..13)?.try_into().ok()?);
    let (a, b) = (number(13)?, number(21)?);
    let filler = (operation % 255) as u8 + 1;
    if bytes[HEAD..].iter().any(|byte| *byte != filler) {
        return None;
    }
    let request = match bytes[8] {
        0 => Request::Put { key, value: a },
        1 => Request::Cas { key, expected: a, value: b },
        2 => Request::Add { key, value: a },
        _ => return None,
    };
    Some((operation, request))
}

/// The registers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Registers {
    /// Their values; 0 if absent.
    pub(crate) values: BTreeMap<u32, u64>,
    /// The last entry executed.
    pub(crate) through: LogId,
}

impl Registers {
    /// Executes one; gives its answer: the value before.
    pub(crate) fn execute(&mut self, request: &Request) -> u64 {
        let slot = self.values.entry(request.key()).or_default();
        let before = *slot;
        match *request {
            Request::Put { value, .. } => *slot = value,
            Request::Cas { expected, value, .. } if before == expected => *slot = value,
            Request::Add { value, .. } => *slot = before.wrapping_add(value),
            Request::Cas { .. } | Request::Get { .. } => {}
        }
        before
    }

    /// The value of a register.
    #[must_use]
    pub(crate) fn get(&self, key: u32) -> u64 {
        self.values.get(&key).copied().unwrap_or_default()
    }
}

/// Told what a node executes.
pub(crate) trait Witness: Send + Sync + 'static {
    /// `node` has executed commands of one entry, each with its place in that, with these answers.
    fn executed(&self, node: usize, id: LogId, operations: &[(u32, u64, Request)], answers: &[u64]);

    /// `node` has executed everything through this entry.
    fn through(&self, node: usize, through: LogId);

    /// `node`, which had executed everything through `before`, has this state from a snapshot now.
    fn installed(&self, node: usize, before: Index, now: &Registers);
}

/// One node's state machine. The registers may be looked at from outside, and may outlive it.
pub(crate) struct Machine {
    /// Whose.
    pub(crate) node: usize,
    /// The state.
    pub(crate) registers: Arc<Mutex<Registers>>,
    /// Who is told.
    pub(crate) witness: Arc<dyn Witness>,
    /// Bytes that it adds to its snapshots, so that they take their time.
    pub(crate) ballast: usize,
}

/// What it says of a snapshot that the store gives up on.
pub(crate) const UNREADABLE: &str = "a snapshot cannot be read";

/// Bytes of a piece of a snapshot.
const PIECE: usize = 10_000;

/// A state at one moment, as bytes: the last entry, the registers, and ballast that depends on them.
#[must_use]
pub(crate) fn freeze(registers: &Registers, ballast: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(64 + ballast);
    let numbers = [registers.through.term.0, registers.through.index.0, registers.values.len() as u64];
    numbers.iter().for_each(|number| bytes.extend(number.to_le_bytes()));
    for (key, value) in &registers.values {
        bytes.extend(key.to_le_bytes());
        bytes.extend(value.to_le_bytes());
    }
    let mut filler = registers.through.index.0 | 1;
    bytes.extend((0..ballast).map(|_| {
        filler = filler.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (filler >> 56) as u8
    }));
    bytes
}

/// What was frozen; `None` if these bytes are not that.
#[must_use]
pub(crate) fn thaw(bytes: &[u8]) -> Option<Registers> {
    let number = |at: usize| bytes.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes);
    let mut registers = Registers { values: BTreeMap::new(), through: LogId::new(number(0)?, number(8)?) };
    let mut at = 24;
    for _ in 0..number(16)? {
        let key = u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?);
        registers.values.insert(key, number(at + 4)?);
        at += 12;
    }
    (freeze(&registers, bytes.len().checked_sub(at)?) == bytes).then_some(registers)
}

struct Frozen(Bytes);

#[async_trait]
impl SnapshotSource for Frozen {
    async fn next(&mut self) -> Result<Option<Bytes>, SnapshotError> {
        let length = self.0.len().min(PIECE);
        Ok((length > 0).then(|| self.0.split_to(length)))
    }
}

/// Others run in between.
async fn give_way() {
    let mut waited = false;
    poll_fn(|context| {
        if std::mem::replace(&mut waited, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[async_trait]
impl StateMachine for Machine {
    async fn last_applied(&mut self) -> Result<LogId, Fatal> {
        Ok(lock(&self.registers).through)
    }

    async fn apply(
        &mut self,
        batch: &[Command],
        through: LogId,
        responses: &mut Responses,
    ) -> Result<(), Fatal> {
        // Others run before it has executed anything.
        give_way().await;
        let mut registers = lock(&self.registers);
        for entry in batch.chunk_by(|a, b| a.id == b.id) {
            let Some(id) = entry.first().map(|command| command.id) else { continue };
            if id.index <= registers.through.index {
                return Err(Fatal(format!("{id} was executed already: {}", registers.through)));
            }
            let mut operations = Vec::with_capacity(entry.len());
            let mut answers = Vec::with_capacity(entry.len());
            for command in entry {
                let (operation, request) =
                    decode(&command.data).ok_or_else(|| Fatal(format!("{id} is not what was proposed")))?;
                let answer = registers.execute(&request);
                responses.push(Bytes::copy_from_slice(&answer.to_le_bytes()));
                operations.push((command.position, operation, request));
                answers.push(answer);
            }
            self.witness.executed(self.node, id, &operations, &answers);
        }
        if through.index <= registers.through.index && through.index != Index::ZERO {
            return Err(Fatal(format!("through {through} after {}", registers.through)));
        }
        registers.through = through;
        self.witness.through(self.node, through);
        Ok(())
    }

    async fn snapshot(&mut self) -> Result<Box<dyn SnapshotSource>, Fatal> {
        Ok(Box::new(Frozen(freeze(&lock(&self.registers), self.ballast).into())))
    }

    async fn install(&mut self, mut snapshot: Box<dyn SnapshotReader>) -> Result<(), Fatal> {
        let upto = snapshot.meta().upto;
        let mut bytes = Vec::new();
        loop {
            let piece = snapshot
                .read(bytes.len() as u64, PIECE)
                .await
                .map_err(|error| Fatal(format!("{UNREADABLE}: {error}")))?;
            if piece.is_empty() {
                break;
            }
            bytes.extend_from_slice(&piece);
        }
        let state = thaw(&bytes).ok_or_else(|| Fatal("a snapshot is not what was written".into()))?;
        if state.through != upto {
            return Err(Fatal(format!("a snapshot of {upto} holds {}", state.through)));
        }
        let mut registers = lock(&self.registers);
        self.witness.installed(self.node, registers.through.index, &state);
        *registers = state;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_come_back_and_damage_shows() {
        let request = Request::Cas { key: 7, expected: 1, value: 2 };
        let bytes = encode(9, &request, 100);
        assert_eq!(decode(&bytes), Some((9, request)));
        let mut damaged = bytes.to_vec();
        damaged[60] ^= 1;
        assert_eq!(decode(&damaged), None);
        assert_eq!(decode(&bytes[..20]), None);
    }

    #[test]
    fn a_state_thaws_as_it_was_frozen_and_damage_shows() {
        let registers = Registers { values: [(1, 7), (9, 3)].into(), through: LogId::new(4, 11) };
        for ballast in [0, 70_000] {
            let bytes = freeze(&registers, ballast);
            assert_eq!(thaw(&bytes), Some(registers.clone()));
            let mut damaged = bytes.clone();
            *damaged.last_mut().unwrap() ^= 1;
            assert_ne!(thaw(&damaged), Some(registers.clone()));
            assert_eq!(thaw(&bytes[..20]), None);
        }
    }

    #[test]
    fn registers_answer_with_what_was_there() {
        let mut registers = Registers::default();
        assert_eq!(registers.execute(&Request::Put { key: 1, value: 5 }), 0);
        assert_eq!(registers.execute(&Request::Cas { key: 1, expected: 4, value: 9 }), 5);
        assert_eq!(registers.execute(&Request::Add { key: 1, value: 2 }), 5);
        assert_eq!(registers.get(1), 7);
    }
}
