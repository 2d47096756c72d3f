//! The smallest complete use of raft-core: a replicated counter, three nodes in one process.
//!
//! `cargo run -p counter` adds to it, stops the leader, adds again, and reads it back. The journals and
//! the network are in memory; see `examples/kv` for files and TCP.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use raft_core::backend::{Command, Fatal, Responses, SnapshotReader, SnapshotSource, StateMachine};
use raft_core::ids::{ClusterId, GroupId, LogId, NodeId};
use raft_core::membership::{Member, Membership};
use raft_core::node::typed::{decode, encode};
use raft_core::{Config, Node, NodeHandle, TypedNode};
use raft_testkit::memory::{MemoryDisk, MemoryJournal, MemoryNetwork};

/// What is replicated: a number. Reads go to it directly, after a read barrier.
#[derive(Clone, Default)]
struct Counter(Arc<Mutex<i64>>);

impl Counter {
    fn value(&self) -> i64 {
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[async_trait]
impl StateMachine for Counter {
    /// It is in memory only: everything is applied again after a restart.
    async fn last_applied(&mut self) -> Result<LogId, Fatal> {
        Ok(LogId::ZERO)
    }

    /// A command is a number to add; the response is the sum.
    async fn apply(&mut self, batch: &[Command], _: LogId, responses: &mut Responses) -> Result<(), Fatal> {
        let mut value = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for command in batch {
            let add: i64 = decode(&command.data).map_err(|error| Fatal(error.to_string()))?;
            *value = value.wrapping_add(add);
            responses.push(encode(&*value).map_err(|error| Fatal(error.to_string()))?.into());
        }
        Ok(())
    }

    async fn snapshot(&mut self) -> Result<Box<dyn SnapshotSource>, Fatal> {
        Err(Fatal("a counter needs no snapshots".into()))
    }

    async fn install(&mut self, _: Box<dyn SnapshotReader>) -> Result<(), Fatal> {
        Err(Fatal("a counter needs no snapshots".into()))
    }
}

/// Starts three nodes that know each other.
async fn cluster() -> Result<Vec<(NodeHandle, Counter)>, Box<dyn std::error::Error>> {
    let (cluster, group, network) = (ClusterId(1), GroupId(0), MemoryNetwork::new());
    let members = (1..=3).map(|id| Member::new(NodeId(id), format!("node-{id}")));
    let membership = Membership::of_voters(members)?;
    let mut nodes = Vec::new();
    for id in [NodeId(1), NodeId(2), NodeId(3)] {
        let counter = Counter::default();
        let journal = MemoryJournal::create(&MemoryDisk::new(), cluster, group, id, Some(&membership))?;
        let node = Node::builder(Config::new(id, cluster))
            .journal(journal)
            .transport(network.transport(id))
            .state_machine(counter.clone())
            .start()
            .await?;
        nodes.push((node, counter));
    }
    Ok(nodes)
}

/// Waits until a node other than `but` leads.
async fn leader(nodes: &[(NodeHandle, Counter)], but: Option<NodeId>) -> Option<&(NodeHandle, Counter)> {
    let (watched, _) = nodes.iter().find(|(node, _)| Some(node.id()) != but)?;
    let known =
        watched.watch().until(|status| status.leader.as_ref().is_some_and(|l| Some(l.id) != but)).await?;
    let id = known.leader.as_ref()?.id;
    nodes.iter().find(|(node, _)| node.id() == id)
}

async fn run() -> Result<i64, Box<dyn std::error::Error>> {
    let nodes = cluster().await?;
    let (first, _) = leader(&nodes, None).await.ok_or("no leader")?;
    println!("node {} leads", first.id());

    let typed = TypedNode::<i64, i64>::new(first.clone());
    for add in [1, 20, 300] {
        println!("add {add}: {}", typed.propose(&add).await?);
    }

    first.shutdown().await?;
    let (next, counter) = leader(&nodes, Some(first.id())).await.ok_or("no leader")?;
    println!("node {} has handed over to node {}", first.id(), next.id());
    println!("add 4000: {}", TypedNode::<i64, i64>::new(next.clone()).propose(&4000).await?);

    next.read_barrier().await?;
    println!("the counter is at {}", counter.value());
    Ok(counter.value())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    run().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #[tokio::test]
    async fn nothing_is_lost_when_the_leader_stops() {
        assert_eq!(super::run().await.unwrap(), 4321);
    }

    /// The contract of state machines, clause by clause.
    mod contract {
        use bytes::Bytes;
        use raft_testkit::conformance::Random;
        use raft_testkit::conformance::state_machine::StateMachineBackend;

        use crate::{Counter, encode};

        struct Counters;

        impl StateMachineBackend for Counters {
            type Machine = Counter;

            fn machine(&self) -> Counter {
                Counter::default()
            }

            fn command(&self, random: &mut Random) -> Bytes {
                encode(&random.next().cast_signed()).unwrap().into()
            }
        }

        raft_testkit::state_machine_conformance! {
            backend: Counters,
            skip: {
                a05_last_applied_is_what_was_applied => "the sum is in memory: asked at the start, it is zero",
                a06_snapshot_is_a_point_in_time => "a counter needs no snapshots",
                a06_taking_a_snapshot_changes_nothing => "a counter needs no snapshots",
                a07_install_replaces_everything => "a counter needs no snapshots",
                a07_snapshot_and_log_are_the_whole_log => "a counter needs no snapshots",
                a07_damaged_snapshot_is_fatal => "a counter needs no snapshots",
            },
        }
    }
}
