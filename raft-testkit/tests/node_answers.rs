//! Who waits gets the answer to what it asked for, and not before: whatever else is executed in the same
//! batch, or committed in its place.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use raft_core::backend::{Command, Fatal, Responses, SnapshotReader, SnapshotSource, StateMachine};
use raft_core::error::ProposeError;
use raft_core::ids::{ClusterId, GroupId, LogId, NodeId};
use raft_core::membership::{Member, Membership};
use raft_core::status::{RoleKind, Status};
use raft_core::{Config, Node, NodeHandle};
use raft_testkit::memory::{MemoryDisk, MemoryJournal, MemoryNetwork};
use tokio::sync::Notify;

const CLUSTER: ClusterId = ClusterId(5);

/// Holds a state machine up.
#[derive(Default)]
struct Gate {
    closed: AtomicBool,
    opened: Notify,
    /// Somebody stands before it.
    reached: Notify,
}

impl Gate {
    fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    fn open(&self) {
        self.closed.store(false, Ordering::SeqCst);
        self.opened.notify_one();
    }

    async fn pass(&self) {
        while self.closed.load(Ordering::SeqCst) {
            self.reached.notify_one();
            self.opened.notified().await;
        }
    }
}

/// Answers each command with itself and how many came before it.
#[derive(Default)]
struct Counting {
    gate: Arc<Gate>,
    executed: Arc<Mutex<Vec<Bytes>>>,
}

#[async_trait]
impl StateMachine for Counting {
    async fn last_applied(&mut self) -> Result<LogId, Fatal> {
        Ok(LogId::ZERO)
    }
    async fn apply(&mut self, batch: &[Command], _: LogId, responses: &mut Responses) -> Result<(), Fatal> {
        self.gate.pass().await;
        let mut executed = self.executed.lock().unwrap();
        for command in batch {
            responses.push([&command.data[..], &[executed.len() as u8]].concat().into());
            executed.push(command.data.clone());
        }
        Ok(())
    }
    async fn snapshot(&mut self) -> Result<Box<dyn SnapshotSource>, Fatal> {
        Err(Fatal("none".into()))
    }
    async fn install(&mut self, _: Box<dyn SnapshotReader>) -> Result<(), Fatal> {
        Err(Fatal("none".into()))
    }
}

struct Cluster {
    network: MemoryNetwork,
    nodes: Vec<NodeHandle>,
    gates: Vec<Arc<Gate>>,
    executed: Vec<Arc<Mutex<Vec<Bytes>>>>,
}

impl Cluster {
    async fn of(size: u64) -> Self {
        let members = (1..=size).map(|id| Member::new(NodeId(id), format!("memory-{id}")));
        let membership = Membership::of_voters(members).unwrap();
        let network = MemoryNetwork::new();
        let mut cluster = Self { network, nodes: Vec::new(), gates: Vec::new(), executed: Vec::new() };
        for id in (1..=size).map(NodeId) {
            let machine = Counting::default();
            cluster.gates.push(Arc::clone(&machine.gate));
            cluster.executed.push(Arc::clone(&machine.executed));
            let journal =
                MemoryJournal::create(&MemoryDisk::new(), CLUSTER, GroupId(0), id, Some(&membership));
            let builder = Node::builder(Config::new(id, CLUSTER))
                .journal(journal.unwrap())
                .transport(cluster.network.transport(id))
                .state_machine(machine);
            cluster.nodes.push(builder.start().await.unwrap());
        }
        cluster
    }

    /// Node 1, once it leads and everybody follows.
    async fn led_by_the_first(&self) -> &NodeHandle {
        let leader = &self.nodes[0];
        leader.campaign();
        for node in &self.nodes {
            let follows = |status: &Status| {
                status.leader.as_ref().is_some_and(|known| known.id == leader.id())
                    && status.applied_index == status.last.index
            };
            // A campaign of another that was under way may win first.
            while tokio::time::timeout(Duration::from_secs(2), node.watch().until(follows)).await.is_err() {
                leader.campaign();
            }
        }
        leader
    }
}

/// A new leader executes entries of the one before it and its own in one batch: nobody waits here for the
/// former, and their answers are nobody's.
#[tokio::test(start_paused = true)]
async fn answers_to_what_others_proposed_are_left_out() {
    let cluster = Cluster::of(3).await;
    let leader = cluster.led_by_the_first().await;
    let (second, gate) = (&cluster.nodes[1], &cluster.gates[1]);
    gate.close();
    leader.propose("a").await.unwrap();
    gate.reached.notified().await;
    for name in ["b", "c", "d"] {
        leader.propose(name).await.unwrap();
    }
    second.campaign();
    second.watch().until(|status| status.role == RoleKind::Leader).await.unwrap();
    let waiting = {
        let second = second.clone();
        tokio::spawn(async move { second.propose_batch(vec!["e".into(), "f".into()]).await })
    };
    second.watch().until(|status| status.commit_index.0 >= 8).await.unwrap();
    gate.open();
    let answers: Vec<Bytes> =
        waiting.await.unwrap().unwrap().into_iter().map(|applied| applied.response).collect();
    assert_eq!(answers, [&b"e\x04"[..], b"f\x05"]);
    assert_eq!(*cluster.executed[1].lock().unwrap(), ["a", "b", "c", "d", "e", "f"], "in the log's order");
}

/// Another entry at its index is not the one that was waited for (openraft#1761, features.md P34).
#[tokio::test(start_paused = true)]
async fn what_was_committed_in_its_place_is_no_answer() {
    let cluster = Cluster::of(3).await;
    let leader = cluster.led_by_the_first().await;
    let (second, last) = (&cluster.nodes[1], leader.status().last);
    cluster.network.isolate(leader.id());
    let waiting = {
        let leader = leader.clone();
        tokio::spawn(async move { leader.propose("alone").await })
    };
    second.campaign();
    second.watch().until(|status| status.role == RoleKind::Leader).await.unwrap();
    second.propose("instead").await.unwrap();
    cluster.network.heal_all();
    match waiting.await.unwrap() {
        Err(ProposeError::Superseded { by }) => {
            assert_eq!(by.index, last.index.next());
            assert!(by.term > last.term);
        }
        other => panic!("{other:?}"),
    }
}

/// An entry counts as applied when the state machine has executed it, not when it was given it (dissertation
/// section 6.4).
#[tokio::test(start_paused = true)]
async fn a_read_waits_for_the_state_machine() {
    let cluster = Cluster::of(1).await;
    let leader = cluster.led_by_the_first().await;
    let gate = &cluster.gates[0];
    gate.close();
    let waiting = {
        let leader = leader.clone();
        tokio::spawn(async move { leader.propose("a").await })
    };
    gate.reached.notified().await;
    // On the paused clock: everything that could happen has happened by then.
    let early = tokio::time::timeout(Duration::from_secs(60), leader.read_barrier()).await;
    assert!(early.is_err(), "the read was let through at {early:?}");
    assert!(!waiting.is_finished());
    gate.open();
    let applied = waiting.await.unwrap().unwrap();
    assert!(leader.read_barrier().await.unwrap() >= applied.id.index);
}
