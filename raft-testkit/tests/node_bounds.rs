//! What `docs/limits.md` says of a node's queues, under a follower that is slow, a state machine that is slow, and more
//! clients than there is room for: the bytes that the node itself counts, on a paused clock.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use raft_core::backend::{Command, Fatal, Responses, Runtime, SnapshotReader, SnapshotSource, StateMachine};
use raft_core::error::ProposeError;
use raft_core::ids::{ClusterId, GroupId, LogId, NodeId};
use raft_core::membership::{Member, Membership};
use raft_core::status::{Load, RoleKind, Status};
use raft_core::{Config, Node, NodeHandle, TokioRuntime};
use raft_testkit::memory::{MemoryDisk, MemoryJournal, MemoryNetwork, Recorder, RecordingMachine};
use tokio::sync::watch;

const CLUSTER: ClusterId = ClusterId(9);

/// A command's data.
const COMMAND: usize = 1000;

/// So much more an entry may be than its bound: one command that goes alone, packed.
const ENTRY: u64 = COMMAND as u64 + 200;

fn config(id: u64) -> Config {
    let mut config = Config::new(NodeId(id), CLUSTER);
    config.append_limit_bytes = 4_000;
    config.write_limit_bytes = 4_000;
    config.apply_limit_bytes = 4_000;
    config.window_bytes = 16_000;
    config.tail_limit_bytes = 40_000;
    config.uncommitted_limit_bytes = 24_000;
    config
}

/// Executes while it may.
struct Gated {
    inner: RecordingMachine,
    open: watch::Receiver<bool>,
}

#[async_trait]
impl StateMachine for Gated {
    async fn last_applied(&mut self) -> Result<LogId, Fatal> {
        self.inner.last_applied().await
    }

    async fn apply(
        &mut self,
        batch: &[Command],
        through: LogId,
        responses: &mut Responses,
    ) -> Result<(), Fatal> {
        // Whoever closed it is gone: it is open.
        let _ = self.open.wait_for(|open| *open).await;
        self.inner.apply(batch, through, responses).await
    }

    async fn snapshot(&mut self) -> Result<Box<dyn SnapshotSource>, Fatal> {
        self.inner.snapshot().await
    }

    async fn install(&mut self, snapshot: Box<dyn SnapshotReader>) -> Result<(), Fatal> {
        self.inner.install(snapshot).await
    }
}

struct Cluster {
    disks: Vec<MemoryDisk>,
    recorders: Vec<Recorder>,
    gates: Vec<watch::Sender<bool>>,
    nodes: Vec<NodeHandle>,
}

impl Cluster {
    async fn start() -> Self {
        let members = (1..=3).map(|id| Member::new(NodeId(id), format!("memory-{id}")));
        let membership = Membership::of_voters(members).unwrap();
        let network = MemoryNetwork::new();
        let mut cluster = Self {
            disks: (0..3).map(|_| MemoryDisk::new()).collect(),
            recorders: (0..3).map(|_| Recorder::new()).collect(),
            gates: (0..3).map(|_| watch::Sender::new(true)).collect(),
            nodes: Vec::new(),
        };
        for id in 1..=3 {
            let at = id as usize - 1;
            let journal =
                MemoryJournal::create(&cluster.disks[at], CLUSTER, GroupId(0), NodeId(id), Some(&membership));
            let machine =
                Gated { inner: cluster.recorders[at].machine(), open: cluster.gates[at].subscribe() };
            let node = Node::builder(config(id))
                .journal(journal.unwrap())
                .transport(network.transport(NodeId(id)))
                .state_machine(machine)
                .start();
            cluster.nodes.push(node.await.unwrap());
        }
        cluster
    }

    /// The place of the leader, once it has executed its first entry.
    async fn leader(&self) -> usize {
        loop {
            let leads = |node: &NodeHandle| {
                let status = node.status();
                status.role == RoleKind::Leader && status.applied_index == status.last.index
            };
            if let Some(at) = self.nodes.iter().position(leads) {
                return at;
            }
            pause().await;
        }
    }

    /// How many commands a node has executed.
    fn executed(&self, at: usize) -> usize {
        self.recorders[at].recorded().commands.len()
    }

    /// Waits until a node has executed all that the leader has, and how many commands that were.
    async fn caught_up(&self, at: usize, leader: usize) -> usize {
        let end = self.nodes[leader].propose("end").await.unwrap().id.index;
        let recorded = self.recorders[at].applied(end).await;
        recorded.commands.iter().filter(|command| command.data != "end").count()
    }
}

/// Lets time go on; it does when nothing else does.
async fn pause() {
    let runtime = TokioRuntime::current();
    let mut timer = runtime.timer();
    timer.as_mut().set(Some(runtime.now() + Duration::from_millis(10)));
    std::future::poll_fn(|context| timer.as_mut().poll(context)).await;
}

/// The most of everything that was seen.
#[derive(Debug, Default)]
struct Most {
    tail: u64,
    uncommitted: u64,
    in_flight: u64,
    queued: u64,
    received: u64,
}

impl Most {
    fn look(&mut self, node: &NodeHandle) {
        let (status, load): (Arc<Status>, _) = (node.status(), node.load());
        self.tail = self.tail.max(status.tail_bytes);
        self.uncommitted = self.uncommitted.max(status.uncommitted_bytes);
        let in_flight = status.peers.iter().map(|peer| peer.in_flight_bytes).max();
        self.in_flight = self.in_flight.max(in_flight.unwrap_or(0));
        self.queued = self.queued.max(load.queued_bytes);
        self.received = self.received.max(load.received_bytes);
    }

    /// All bounds of `config`, each with the one entry that goes alone.
    fn check(&self) {
        let config = config(1);
        assert!(self.in_flight <= config.window_bytes + config.append_limit_bytes + ENTRY, "{self:?}");
        assert!(self.uncommitted <= config.uncommitted_limit_bytes + ENTRY, "{self:?}");
        let tail = config.tail_limit_bytes + config.uncommitted_limit_bytes;
        assert!(self.tail <= tail + ENTRY, "{self:?}");
        assert!(self.queued <= config.uncommitted_limit_bytes, "{self:?}");
        assert!(self.received <= (16 << 20) + ENTRY, "{self:?}");
    }
}

/// A follower whose disk hangs costs the leader its window and the tail, not what it misses: that is read back from the
/// journal when the disk goes on.
/// Nothing waits for this node's protocol.
fn nothing_waits(node: &NodeHandle) -> Load {
    let load = node.load();
    assert_eq!((load.queued_bytes, load.received_bytes, load.received_control), (0, 0, 0));
    load
}

#[tokio::test(start_paused = true)]
async fn a_slow_follower_costs_its_window() {
    let cluster = Cluster::start().await;
    let leader = cluster.leader().await;
    let slow = (leader + 1) % 3;
    cluster.disks[slow].hold_writes();
    let (mut ours, mut theirs) = (Most::default(), Most::default());
    for _ in 0..500 {
        cluster.nodes[leader].propose(vec![7; COMMAND]).await.unwrap();
        // A status is some milliseconds old at most.
        pause().await;
        ours.look(&cluster.nodes[leader]);
        theirs.look(&cluster.nodes[slow]);
    }
    ours.check();
    theirs.check();
    let status = cluster.nodes[leader].status();
    let peer = status.peers.iter().find(|peer| peer.id == cluster.nodes[slow].id()).unwrap();
    let lag = (status.last.index.0 - peer.match_index.0) * COMMAND as u64;
    assert!(lag > 10 * config(1).window_bytes, "it misses far more than the window has: {lag}");
    assert!(ours.in_flight + 4_000 > config(1).window_bytes, "the window was full: {ours:?}");
    cluster.disks[slow].release_writes();
    assert_eq!(cluster.caught_up(slow, leader).await, 500);
    ours.look(&cluster.nodes[leader]);
    ours.check();
}

/// A state machine that is slow on a follower costs nobody else anything, and the follower no more than its tail; on the leader
/// it makes callers wait, and then be refused.
#[tokio::test(start_paused = true)]
async fn a_slow_state_machine_costs_the_tail_and_then_refuses() {
    let cluster = Cluster::start().await;
    let leader = cluster.leader().await;
    let slow = (leader + 1) % 3;
    cluster.gates[slow].send_replace(false);
    let mut theirs = Most::default();
    for _ in 0..500 {
        cluster.nodes[leader].propose(vec![7; COMMAND]).await.unwrap();
        // A status is some milliseconds old at most.
        pause().await;
        theirs.look(&cluster.nodes[slow]);
    }
    theirs.check();
    assert!(theirs.tail > config(1).tail_limit_bytes / 2, "{theirs:?}");
    assert!(cluster.executed(slow) < 10);
    cluster.gates[slow].send_replace(true);
    assert_eq!(cluster.caught_up(slow, leader).await, 500);

    cluster.gates[leader].send_replace(false);
    let calls: Vec<_> = (0..100)
        .map(|_| {
            let node = cluster.nodes[leader].clone();
            tokio::spawn(async move { node.propose(vec![8; COMMAND]).await })
        })
        .collect();
    let mut ours = Most::default();
    for _ in 0..20 {
        pause().await;
        ours.look(&cluster.nodes[leader]);
    }
    ours.check();
    assert!(ours.uncommitted + 2 * ENTRY > config(1).uncommitted_limit_bytes, "it was full: {ours:?}");
    cluster.gates[leader].send_replace(true);
    let (mut done, mut refused) = (0, 0);
    for call in calls {
        match call.await.unwrap() {
            Ok(_) => done += 1,
            Err(ProposeError::Overloaded { .. }) => refused += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert!(done > 10 && refused > 50, "{done} done, {refused} refused");
    assert_eq!(cluster.caught_up(leader, leader).await, 500 + done);
    nothing_waits(&cluster.nodes[leader]);
}

/// Many more callers than there is room for, all at once: what is queued stays within its bound, whoever finds no room is told
/// so and was not executed, and afterwards nothing is left behind.
#[tokio::test(start_paused = true)]
async fn a_flood_of_clients_is_refused_beyond_the_bound() {
    let cluster = Cluster::start().await;
    let leader = cluster.leader().await;
    let node = cluster.nodes[leader].clone();
    let limit = config(1).uncommitted_limit_bytes;
    let (mut done, mut refused, mut fullest) = (0, 0, 0);
    for _ in 0..20 {
        let mut calls: Vec<_> = (0..200)
            .map(|_| {
                let node = node.clone();
                tokio::spawn(async move { node.propose(vec![9; COMMAND]).await })
            })
            .collect();
        // Its turn comes after theirs, and before the node's: all are in the queue then.
        let watcher = node.clone();
        let queued = tokio::spawn(async move { watcher.load().queued_bytes }).await.unwrap();
        assert!(queued <= limit, "{queued}");
        fullest = fullest.max(queued);
        for call in calls.drain(..) {
            match call.await.unwrap() {
                Ok(_) => done += 1,
                Err(ProposeError::Overloaded { .. }) => refused += 1,
                Err(other) => panic!("{other}"),
            }
        }
        pause().await;
        let mut most = Most::default();
        most.look(&node);
        most.check();
    }
    assert!(fullest + 2 * ENTRY > limit, "the queue was full: {fullest}");
    assert!(done >= 20 * 10 && refused > done, "{done} done, {refused} refused");
    for at in 0..3 {
        assert_eq!(cluster.caught_up(at, leader).await, done);
    }
    assert_eq!(nothing_waits(&node).queued_limit_bytes, limit);
    node.watch().until(|status| status.uncommitted_bytes == 0).await.unwrap();
}
