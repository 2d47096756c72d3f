//! The state machine: the same commands in the same order on every node.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use raft_core::backend::{
    Command, Fatal, Responses, SnapshotError, SnapshotReader, SnapshotSource, StateMachine,
};
use raft_core::ids::LogId;
use raft_core::node::typed::{decode, encode};
use serde::{Deserialize, Serialize};

/// A command. It stays in logs: add variants at the end, and never change one that was released.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ask {
    /// The key has this value now.
    Set(String, String),
    /// The key is gone.
    Remove(String),
}

/// What it answers: what was under the key before.
pub type Answer = Result<Option<String>, Senseless>;

/// The command was no [`Ask`]. An answer, no error: it must be the same on every node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Senseless;

/// The data. Clones share it: one goes to the node, another one answers reads.
#[derive(Clone, Debug, Default)]
pub struct Machine(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// The last entry whose effects are in `data`.
    applied: LogId,
    /// Shared with a snapshot that is being written, and copied if it changes meanwhile.
    data: Arc<BTreeMap<String, String>>,
}

impl Machine {
    /// What this node has under a key. Await `read_barrier` first.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<String> {
        self.lock().data.get(key).cloned()
    }

    /// Held for a few steps only, and never across an await.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// What it does follows from the data and the command, and from nothing else: no clock, no random number.
    fn execute(&mut self, ask: Ask) -> Option<String> {
        let data = Arc::make_mut(&mut self.data);
        match ask {
            Ask::Set(key, value) => data.insert(key, value),
            Ask::Remove(key) => data.remove(&key),
        }
    }
}

#[async_trait]
impl StateMachine for Machine {
    /// Zero after a restart, since the data is in memory: the node installs its newest snapshot and executes the log
    /// after it.
    async fn last_applied(&mut self) -> Result<LogId, Fatal> {
        Ok(self.lock().applied)
    }

    async fn apply(
        &mut self,
        batch: &[Command],
        through: LogId,
        responses: &mut Responses,
    ) -> Result<(), Fatal> {
        let mut state = self.lock();
        for command in batch {
            let answer: Answer = match decode(&command.data) {
                Ok(ask) => Ok(state.execute(ask)),
                Err(_) => Err(Senseless),
            };
            responses.push(encode(&answer).map_err(|error| Fatal(error.to_string()))?.into());
        }
        state.applied = through;
        Ok(())
    }

    async fn snapshot(&mut self) -> Result<Box<dyn SnapshotSource>, Fatal> {
        Ok(Box::new(Moment(Some(Arc::clone(&self.lock().data)))))
    }

    async fn install(&mut self, mut snapshot: Box<dyn SnapshotReader>) -> Result<(), Fatal> {
        let mut bytes = Vec::new();
        loop {
            let piece = snapshot.read(bytes.len() as u64, PIECE_BYTES).await;
            let piece = piece.map_err(|error| Fatal(error.to_string()))?;
            if piece.is_empty() {
                break;
            }
            bytes.extend_from_slice(&piece);
        }
        let data = decode(&bytes).map_err(|error| Fatal(error.to_string()))?;
        *self.lock() = State { applied: snapshot.meta().upto, data: Arc::new(data) };
        Ok(())
    }
}

const PIECE_BYTES: usize = if cfg!(test) { 32 } else { 64 << 10 };

/// The data of one moment, written as one piece: for more than some megabytes see the guide's `tally.rs`, which
/// goes piece by piece, or `examples/redb`.
struct Moment(Option<Arc<BTreeMap<String, String>>>);

#[async_trait]
impl SnapshotSource for Moment {
    async fn next(&mut self) -> Result<Option<Bytes>, SnapshotError> {
        let Some(data) = self.0.take() else { return Ok(None) };
        let bytes = encode(&*data).map_err(|error| SnapshotError::Io {
            what: "encode the data".into(),
            cause: error.to_string().into(),
        })?;
        Ok(Some(bytes.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_there_before_is_answered() {
        let mut state = State::default();
        assert_eq!(state.execute(Ask::Set("a".into(), "1".into())), None);
        assert_eq!(state.execute(Ask::Set("a".into(), "2".into())), Some("1".into()));
        assert_eq!(state.execute(Ask::Remove("a".into())), Some("2".into()));
        assert_eq!(state.execute(Ask::Remove("a".into())), None);
    }

    /// The contract of state machines, clause by clause. Give it commands of yours.
    mod contract {
        use raft_testkit::conformance::Random;
        use raft_testkit::conformance::state_machine::StateMachineBackend;

        use super::*;

        struct Machines;

        impl StateMachineBackend for Machines {
            type Machine = Machine;

            fn machine(&self) -> Machine {
                Machine::default()
            }

            fn command(&self, random: &mut Random) -> Bytes {
                let key = format!("key-{}", random.below(20));
                let set = random.below(4) > 0;
                let ask = if set { Ask::Set(key, random.below(100).to_string()) } else { Ask::Remove(key) };
                encode(&ask).unwrap().into()
            }
        }

        raft_testkit::state_machine_conformance! { backend: Machines }
    }
}
