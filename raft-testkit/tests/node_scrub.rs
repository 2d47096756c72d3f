//! A log that rots under a node that runs: found by reading it again, and healed (decision 009). The driver over backends
//! in memory, on a paused clock.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use raft_core::backend::{
    Command, Fatal, Journal, JournalError, Responses, Runtime, SnapshotReader, SnapshotSource, StateMachine,
};
use raft_core::error::{ConfigError, FatalReason, ReconfigureError, ScrubFailed};
use raft_core::ids::{ClusterId, GroupId, Index, LogId, NodeId};
use raft_core::membership::{Member, Membership};
use raft_core::status::{PeerState, RoleKind, Status};
use raft_core::{Config, Node, NodeHandle, Settings, TokioRuntime};
use raft_testkit::memory::{
    MemoryDisk, MemoryJournal, MemoryNetwork, MemorySnapshotDisk, MemorySnapshots, Recorder, RecordingMachine,
};
use tokio::sync::Mutex;

const CLUSTER: ClusterId = ClusterId(5);

/// A state machine that waits while this lock is held elsewhere.
struct Gated(RecordingMachine, Arc<Mutex<()>>);

#[async_trait]
impl StateMachine for Gated {
    async fn last_applied(&mut self) -> Result<LogId, Fatal> {
        self.0.last_applied().await
    }

    async fn apply(
        &mut self,
        batch: &[Command],
        through: LogId,
        responses: &mut Responses,
    ) -> Result<(), Fatal> {
        drop(self.1.lock().await);
        self.0.apply(batch, through, responses).await
    }

    async fn snapshot(&mut self) -> Result<Box<dyn SnapshotSource>, Fatal> {
        self.0.snapshot().await
    }

    async fn install(&mut self, snapshot: Box<dyn SnapshotReader>) -> Result<(), Fatal> {
        self.0.install(snapshot).await
    }
}

struct Cluster {
    network: MemoryNetwork,
    disks: Vec<MemoryDisk>,
    recorders: Vec<Recorder>,
    gates: Vec<Arc<Mutex<()>>>,
    nodes: Vec<NodeHandle>,
}

impl Cluster {
    async fn start(size: u64, has_snapshots: bool, change: impl Fn(&mut Config)) -> Self {
        let members = (1..=size).map(|id| Member::new(NodeId(id), format!("memory-{id}")));
        let membership = Membership::of_voters(members).unwrap();
        let mut cluster = Self {
            network: MemoryNetwork::new(),
            disks: Vec::new(),
            recorders: Vec::new(),
            gates: Vec::new(),
            nodes: Vec::new(),
        };
        for id in (1..=size).map(NodeId) {
            let (disk, recorder) = (MemoryDisk::new(), Recorder::new());
            let journal = MemoryJournal::create(&disk, CLUSTER, GroupId(0), id, Some(&membership)).unwrap();
            let mut config = Config::new(id, CLUSTER);
            change(&mut config);
            let transport = cluster.network.transport(id);
            let gate = Arc::new(Mutex::new(()));
            let machine = Gated(recorder.machine(), Arc::clone(&gate));
            let node = Node::builder(config).journal(journal).transport(transport).state_machine(machine);
            cluster.gates.push(gate);
            let snapshots = Arc::new(MemorySnapshots::open(&MemorySnapshotDisk::new()));
            let node = if has_snapshots { node.snapshots(snapshots) } else { node };
            cluster.nodes.push(node.start().await.unwrap());
            cluster.disks.push(disk);
            cluster.recorders.push(recorder);
        }
        cluster
    }

    /// The place of the node that leads, once everybody has all that it has.
    async fn leader(&self) -> usize {
        loop {
            for (at, node) in self.nodes.iter().enumerate() {
                let settled = |status: &Status| {
                    status.role == RoleKind::Leader
                        && status.applied_index == status.last.index
                        && status.peers.iter().all(|peer| peer.match_index == status.last.index)
                };
                if settled(&node.status()) {
                    return at;
                }
            }
            pass(Duration::from_millis(10)).await;
        }
    }

    async fn fill(&self, at: usize, count: usize) -> Index {
        let mut last = Index::ZERO;
        for number in 0..count {
            last = self.nodes[at].propose(vec![number as u8; 100]).await.unwrap().id.index;
        }
        for node in &self.nodes {
            until(node, |status| status.applied_index >= last).await;
        }
        last
    }

    /// Whether what is stored opens without a word.
    async fn opens_clean(&self, at: usize) -> bool {
        self.nodes[at].shutdown().await.unwrap();
        let id = self.nodes[at].id();
        let mut journal = MemoryJournal::open(&self.disks[at], CLUSTER, GroupId(0), id).unwrap();
        journal.load().await.unwrap().verdict == raft_core::backend::Verdict::Clean
    }
}

/// Lets this much of the paused time pass.
async fn pass(span: Duration) {
    let runtime = TokioRuntime::current();
    let mut timer = runtime.timer();
    timer.as_mut().set(Some(runtime.now() + span));
    std::future::poll_fn(|context| timer.as_mut().poll(context)).await;
}

async fn until(node: &NodeHandle, is: impl FnMut(&Status) -> bool) -> Arc<Status> {
    node.watch().until(is).await.unwrap()
}

fn often(config: &mut Config) {
    config.scrub_period = Duration::from_secs(1);
}

/// A follower and a leader, each without anybody's help: their own state has what was damaged.
#[tokio::test(start_paused = true)]
async fn a_bit_that_flips_at_rest_is_found_and_healed() {
    let cluster = Cluster::start(3, true, often).await;
    let leader = cluster.leader().await;
    for at in [(leader + 1) % 3, leader] {
        let last = cluster.fill(leader, 10).await;
        assert!(cluster.disks[at].flip_bit(450, 3));
        let node = &cluster.nodes[at];
        let status =
            until(node, |status| status.counters.healed == 1 && status.scrub.position.is_none()).await;
        assert_eq!((status.healing, status.scrub.damages), (None, 1));
        let damage = status.scrub.damage.clone().unwrap();
        assert!(damage.range.is_some_and(|range| range.end <= last.next()), "{:?}", status.scrub);
        assert_eq!(status.first_index, status.snapshot.as_ref().unwrap().upto.index.next());
        assert!(
            !status.probation && cluster.nodes[leader].status().role == RoleKind::Leader,
            "nothing else changed"
        );
        // The next pass finds nothing.
        let passes = status.scrub.passes;
        let status = until(node, |status| status.scrub.passes > passes).await;
        assert_eq!(status.scrub.damages, 1);
    }
    for at in 0..3 {
        assert!(cluster.opens_clean(at).await);
    }
}

/// With nobody to ask. It was refused at its next start before.
#[tokio::test(start_paused = true)]
async fn a_single_voter_heals_alone() {
    let cluster = Cluster::start(1, true, |_| {}).await;
    cluster.leader().await;
    let last = cluster.fill(0, 10).await;
    assert!(cluster.disks[0].flip_bit(450, 3));
    pass(Duration::from_secs(600)).await;
    assert_eq!(cluster.nodes[0].status().scrub.passes, 0, "only when it is asked");
    let found = cluster.nodes[0].scrub().await.unwrap();
    assert_eq!((found.damages.len(), found.end), (1, last.next()));
    until(&cluster.nodes[0], |status| status.counters.healed == 1).await;
    assert_eq!(cluster.nodes[0].scrub().await.unwrap().damages, []);
    assert!(cluster.opens_clean(0).await);
}

/// What a follower needs is damaged at the leader: it is sent a snapshot of the state that has it. The leader stopped
/// before.
#[tokio::test(start_paused = true)]
async fn damage_that_a_leader_has_to_send_is_replaced_by_a_snapshot() {
    let cluster = Cluster::start(3, true, |config| config.tail_limit_bytes = 1).await;
    let leader = cluster.leader().await;
    let behind = (leader + 1) % 3;
    cluster.network.isolate(cluster.nodes[behind].id());
    let mut last = Index::ZERO;
    for number in 0..20 {
        last = cluster.nodes[leader].propose(vec![number; 100]).await.unwrap().id.index;
    }
    assert!(cluster.disks[leader].flip_bit(1_000, 3));
    cluster.network.heal_all();
    until(&cluster.nodes[behind], |status| status.applied_index >= last).await;
    let status = until(&cluster.nodes[leader], |status| status.counters.healed == 1).await;
    assert_eq!((status.role, status.counters.snapshots_sent), (RoleKind::Leader, 1));
    assert_eq!(
        cluster.recorders[behind].recorded().commands.len(),
        cluster.recorders[leader].recorded().commands.len()
    );
    let replicates = |status: &Status| status.peers.iter().all(|peer| peer.state == PeerState::Replicate);
    until(&cluster.nodes[leader], replicates).await;
}

/// Without a place for snapshots it can only say so. Nobody needs the entries, so it goes on.
#[tokio::test(start_paused = true)]
async fn without_snapshots_damage_is_reported_and_counted() {
    let cluster = Cluster::start(3, false, often).await;
    let leader = cluster.leader().await;
    cluster.fill(leader, 10).await;
    assert!(cluster.disks[leader].flip_bit(450, 3));
    let status = until(&cluster.nodes[leader], |status| status.scrub.damages == 2).await;
    assert_eq!((status.healing, status.counters.healed), (None, 0));
    cluster.nodes[leader].propose("goes on").await.unwrap();
    assert!(!cluster.opens_clean(leader).await);
}

/// What was not executed yet nobody here has in another form: the node stops by that name, and hands over.
#[tokio::test(start_paused = true)]
async fn damage_in_what_is_still_to_be_executed_stops_the_node() {
    let cluster = Cluster::start(3, true, |config| config.tail_limit_bytes = 1).await;
    let leader = cluster.leader().await;
    cluster.fill(leader, 10).await;
    let node = cluster.nodes[leader].clone();
    let held = cluster.gates[leader].lock().await;
    let mut calls = Vec::new();
    for number in 10..20 {
        let node = node.clone();
        calls.push(tokio::spawn(async move { node.propose(vec![number; 100]).await }));
        pass(Duration::from_millis(20)).await;
    }
    // In the last entry but one, which has left memory and waits behind the one that is being executed.
    let at = cluster.disks[leader].stored_bytes() - 150;
    assert!(cluster.disks[leader].flip_bit(at, 3));
    drop(held);
    let reason = node.stopped().await.unwrap_err();
    assert!(matches!(&*reason, FatalReason::Journal(JournalError::Corrupt(_))), "{reason}");
    assert!(matches!(node.scrub().await, Err(ScrubFailed::Fatal(_))));
    let next = &cluster.nodes[(leader + 1) % 3];
    until(next, |status| status.leader.as_ref().is_some_and(|leader| leader.id != node.id())).await;
}

/// No faster than it may: a pass over so many bytes takes so long. Other settings hold at once.
#[tokio::test(start_paused = true)]
async fn a_pass_takes_its_time_and_settings_change_while_it_runs() {
    let cluster = Cluster::start(1, true, |config| config.scrub_bytes_per_second = 100_000).await;
    cluster.leader().await;
    let node = &cluster.nodes[0];
    for number in 0..20 {
        node.propose(vec![number; 50_000]).await.unwrap();
    }
    let runtime = TokioRuntime::current();
    let before = runtime.now();
    let found = node.scrub().await.unwrap();
    assert!(found.bytes >= 1_000_000, "{found:?}");
    let took = runtime.now().since(before);
    // All but the last step are paid for.
    assert!(took >= Duration::from_secs(7) && took <= Duration::from_secs(12), "{took:?}");

    let wrong = Settings { scrub_bytes_per_second: Some(0), ..Settings::default() };
    let refused = node.reconfigure(wrong).await;
    assert_eq!(refused, Err(ReconfigureError::Config(ConfigError::Zero { what: "scrub_bytes_per_second" })));
    let settings = Settings {
        scrub_period: Some(Duration::from_secs(5)),
        scrub_bytes_per_second: Some(100 << 20),
        ..Settings::default()
    };
    node.reconfigure(settings).await.unwrap();
    let before = runtime.now();
    until(node, |status| status.scrub.passes == 4).await;
    let took = runtime.now().since(before);
    assert!(took >= Duration::from_secs(15) && took < Duration::from_secs(16), "{took:?}");
    let settings = Settings { scrub_period: Some(Duration::ZERO), ..Settings::default() };
    node.reconfigure(settings).await.unwrap();
    pass(Duration::from_secs(60)).await;
    assert_eq!(node.status().scrub.passes, 4);
    node.shutdown().await.unwrap();
    assert_eq!(node.scrub().await, Err(ScrubFailed::ShuttingDown));
}
