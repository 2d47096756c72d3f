//! The same map as in the harness of raft-rs: key to value, a command is a key of eight bytes and a value.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use async_trait::async_trait;
use bytes::Bytes;
use raft_core::backend::{Command, Fatal, Responses, SnapshotReader, SnapshotSource, StateMachine};
use raft_core::ids::LogId;

#[derive(Default)]
pub struct Map(HashMap<u64, Box<[u8]>>);

#[async_trait]
impl StateMachine for Map {
    async fn last_applied(&mut self) -> Result<LogId, Fatal> {
        Ok(LogId::ZERO)
    }

    async fn apply(&mut self, batch: &[Command], _: LogId, responses: &mut Responses) -> Result<(), Fatal> {
        for command in batch {
            let Some((key, value)) = command.data.split_first_chunk() else {
                return Err(Fatal(format!(
                    "command {} of entry {} has no key",
                    command.position, command.id
                )));
            };
            // Over what was there, where it fits: what is compared is consensus, not allocators.
            match self.0.entry(u64::from_le_bytes(*key)) {
                Entry::Occupied(old) if old.get().len() == value.len() => {
                    old.into_mut().copy_from_slice(value)
                }
                Entry::Occupied(mut old) => drop(old.insert(value.into())),
                Entry::Vacant(none) => {
                    none.insert(value.into());
                }
            }
            responses.push(Bytes::new());
        }
        Ok(())
    }

    async fn snapshot(&mut self) -> Result<Box<dyn SnapshotSource>, Fatal> {
        Err(Fatal(String::from("there is no store for snapshots")))
    }

    async fn install(&mut self, _: Box<dyn SnapshotReader>) -> Result<(), Fatal> {
        Err(Fatal(String::from("there is no store for snapshots")))
    }
}
