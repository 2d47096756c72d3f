//! Bugs that others had, where only a whole node can show them. The list of all is in `docs/museum.md`.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use raft_core::backend::{
    Command, Fatal, Responses, SnapshotError, SnapshotReader, SnapshotSource, StateMachine,
};
use raft_core::error::{ConfigError, FatalReason, Outcome, ProposeError, ReadError};
use raft_core::ids::{ClusterId, GroupId, LogId, NodeId};
use raft_core::membership::{Member, Membership};
use raft_core::status::{RoleKind, Status};
use raft_core::{Config, Node, NodeHandle};
use raft_testkit::conformance::Random;
use raft_testkit::memory::{
    MemoryDisk, MemoryJournal, MemoryNetwork, MemorySnapshotDisk, MemorySnapshots, Recorder,
};

const CLUSTER: ClusterId = ClusterId(5);

struct Cluster {
    network: MemoryNetwork,
    nodes: Vec<NodeHandle>,
    recorders: Vec<Recorder>,
}

impl Cluster {
    async fn of(size: u64) -> Self {
        let (network, mut nodes, mut recorders) = (MemoryNetwork::new(), Vec::new(), Vec::new());
        let members = (1..=size).map(|id| Member::new(NodeId(id), format!("memory-{id}")));
        let membership = Membership::of_voters(members).unwrap();
        for id in (1..=size).map(NodeId) {
            let disk = MemoryDisk::new();
            let journal = MemoryJournal::create(&disk, CLUSTER, GroupId(0), id, Some(&membership)).unwrap();
            let recorder = Recorder::new();
            let node = Node::builder(Config::new(id, CLUSTER))
                .journal(journal)
                .transport(network.transport(id))
                .state_machine(recorder.machine());
            nodes.push(node.start().await.unwrap());
            recorders.push(recorder);
        }
        Self { network, nodes, recorders }
    }

    async fn leader(&self) -> NodeHandle {
        for node in self.nodes.iter().cycle() {
            let known = |status: &Status| status.leader.is_some();
            let status = node.watch().until(known).await.unwrap();
            let leader = &self.nodes[status.leader.as_ref().unwrap().id.0 as usize - 1];
            if leader.status().role == RoleKind::Leader {
                return leader.clone();
            }
        }
        unreachable!()
    }
}

/// P50: TigerBeetle Jepsen 2025. Without a quorum every call ends by itself, within two election timeouts, with what
/// is known; what it held is free again, and the cluster serves when the quorum is back.
#[tokio::test(start_paused = true)]
async fn p50_tigerbeetle_2025_without_a_quorum_every_call_ends() {
    let cluster = Cluster::of(3).await;
    let leader = cluster.leader().await;
    let session = leader.open_session(None).await.unwrap();
    for node in &cluster.nodes {
        cluster.network.isolate(node.id());
    }
    let deadline = tokio::time::Instant::now() + Config::new(NodeId(1), CLUSTER).election_timeout * 2;
    let mut calls = Vec::new();
    for number in 0..300_u32 {
        let (leader, session) = (leader.clone(), session.clone());
        calls.push(tokio::spawn(async move {
            match number % 3 {
                0 => leader.propose(vec![0; 1000]).await.map(drop).map_err(|error| error.outcome()),
                1 => match leader.read_barrier().await {
                    Err(ReadError::NotLeader { .. }) => Err(Outcome::NotApplied),
                    other => panic!("{other:?}"),
                },
                _ => match session.propose("x").await {
                    Ok(_) => Ok(()),
                    Err(failed) => Err(failed.error.outcome()),
                },
            }
        }));
    }
    let mut unknown = 0;
    for call in calls {
        let outcome = tokio::time::timeout_at(deadline, call).await.expect("it is retried for ever").unwrap();
        unknown += usize::from(outcome.unwrap_err() == Outcome::Unknown);
    }
    assert!(unknown > 0, "what was sent before the loss was noticed is unknown");
    for _ in 0..100 {
        let error = leader.propose("later").await.unwrap_err();
        assert_eq!(error, ProposeError::NotLeader { leader: None }, "at once");
    }
    assert!(tokio::time::Instant::now() <= deadline);
    cluster.network.heal_all();
    let leader = cluster.leader().await;
    leader.propose("back").await.unwrap();
    let idle = |status: &Status| status.uncommitted_bytes == 0 && status.applied_index == status.last.index;
    leader.watch().until(idle).await.unwrap();
}

/// P47: redisraft#14 and #44 (Jepsen 2020). Whatever call ends as not applied is not found applied, on any node and
/// at any later time; whatever was answered is found once; what is unknown may be either.
#[tokio::test(start_paused = true)]
async fn p47_redisraft_14_what_is_not_applied_is_never_found() {
    let mut seen = [0; 3];
    for seed in 1..=12 {
        let mut random = Random::new(seed);
        let cluster = Cluster::of(3).await;
        cluster.leader().await;
        let (mut applied, mut refused) = (BTreeSet::new(), BTreeSet::new());
        let mut calls = Vec::new();
        for number in 0..400_u32 {
            let node = cluster.nodes[random.below(3) as usize].clone();
            calls.push((
                number,
                tokio::spawn(async move { node.propose(number.to_le_bytes().to_vec()).await }),
            ));
            match random.below(40) {
                0 => cluster.network.isolate(NodeId(random.below(3) + 1)),
                1 => cluster.network.cut_one_way(NodeId(random.below(3) + 1), NodeId(random.below(3) + 1)),
                2 | 3 => cluster.network.heal_all(),
                4 => cluster.nodes[random.below(3) as usize].campaign(),
                _ => {}
            }
            tokio::time::sleep(Duration::from_millis(random.below(30))).await;
        }
        cluster.network.heal_all();
        for (number, call) in calls {
            match call.await.unwrap() {
                Ok(_) => drop(applied.insert(number)),
                Err(error) if error.outcome() == Outcome::NotApplied => drop(refused.insert(number)),
                Err(_) => seen[2] += 1,
            }
        }
        let last = loop {
            if let Ok(last) = cluster.leader().await.propose("the end").await {
                break last.id.index;
            }
        };
        for recorder in &cluster.recorders {
            let commands = recorder.applied(last).await.commands;
            let mut found = BTreeSet::new();
            for command in commands.iter().filter_map(|command| <[u8; 4]>::try_from(&command.data[..]).ok()) {
                assert!(found.insert(u32::from_le_bytes(command)), "seed {seed}: applied twice");
            }
            assert!(applied.is_subset(&found), "seed {seed}: answered and lost");
            let wrong: Vec<_> = refused.intersection(&found).collect();
            assert!(wrong.is_empty(), "seed {seed}: {wrong:?} were not to be applied");
        }
        seen[0] += applied.len();
        seen[1] += refused.len();
    }
    assert!(seen.iter().all(|count| *count > 20), "each outcome is seen: {seen:?}");
}

/// Keys that are there: `+k` makes one, `-k` takes it away. What it was last given may be claimed to be another.
#[derive(Clone, Default)]
struct Keys {
    keys: Arc<Mutex<BTreeSet<u8>>>,
    applied: LogId,
}

#[async_trait]
impl StateMachine for Keys {
    async fn last_applied(&mut self) -> Result<LogId, Fatal> {
        Ok(self.applied)
    }

    async fn apply(
        &mut self,
        batch: &[Command],
        through: LogId,
        responses: &mut Responses,
    ) -> Result<(), Fatal> {
        let mut keys = self.keys.lock().unwrap();
        for command in batch {
            match command.data[..] {
                [b'+', key] => keys.insert(key),
                [b'-', key] => keys.remove(&key),
                _ => return Err(Fatal("no command".into())),
            };
            responses.push(Bytes::new());
        }
        self.applied = through;
        Ok(())
    }

    async fn snapshot(&mut self) -> Result<Box<dyn SnapshotSource>, Fatal> {
        Ok(Box::new(Piece(Some(self.keys.lock().unwrap().iter().copied().collect()))))
    }

    async fn install(&mut self, mut snapshot: Box<dyn SnapshotReader>) -> Result<(), Fatal> {
        let piece = snapshot.read(0, 1000).await.map_err(|error| Fatal(error.to_string()))?;
        *self.keys.lock().unwrap() = piece.iter().copied().collect();
        self.applied = snapshot.meta().upto;
        Ok(())
    }
}

struct Piece(Option<Bytes>);

#[async_trait]
impl SnapshotSource for Piece {
    async fn next(&mut self) -> Result<Option<Bytes>, SnapshotError> {
        Ok(self.0.take())
    }
}

/// What outlives a node.
#[derive(Default)]
struct Host {
    disk: MemoryDisk,
    snapshots: MemorySnapshotDisk,
}

impl Host {
    /// Starts a node that takes snapshots when it is told to, and keeps nothing of the log that one covers.
    async fn start(
        &self,
        network: &MemoryNetwork,
        id: NodeId,
        size: u64,
        machine: impl StateMachine,
    ) -> Result<NodeHandle, FatalReason> {
        let members = (1..=size).map(|id| Member::new(NodeId(id), format!("memory-{id}")));
        let members = Membership::of_voters(members).unwrap();
        let journal = MemoryJournal::create(&self.disk, CLUSTER, GroupId(0), id, Some(&members))
            .or_else(|_| MemoryJournal::open(&self.disk, CLUSTER, GroupId(0), id));
        let mut config = Config::new(id, CLUSTER);
        (config.snapshot_every_entries, config.snapshot_every_bytes) = (0, 0);
        (config.snapshot_keep_entries, config.snapshot_keep_bytes) = (0, 0);
        // A replay takes its time.
        config.apply_limit_bytes = 100;
        let node = Node::builder(config).journal(journal.unwrap()).transport(network.transport(id));
        let snapshots = Arc::new(MemorySnapshots::open(&self.snapshots));
        node.state_machine(machine).snapshots(snapshots).start().await
    }
}

/// Takes a snapshot; the log begins after it then.
async fn compact(node: &NodeHandle) {
    let upto = node.snapshot().await.unwrap().upto.index;
    node.watch().until(|status| status.first_index > upto).await.unwrap();
}

/// P38: redisraft#18. All nodes start again with nothing in memory, and are asked at once, while they replay: each
/// answer is an error or has everything that was acknowledged.
#[tokio::test(start_paused = true)]
async fn p38_redisraft_18_reads_during_a_replay_are_whole_or_refused() {
    let (network, hosts) = (MemoryNetwork::new(), [Host::default(), Host::default(), Host::default()]);
    let mut nodes = Vec::new();
    for (id, host) in (1..).map(NodeId).zip(&hosts) {
        nodes.push(host.start(&network, id, 3, Keys::default()).await.unwrap());
    }
    let status = nodes[0].watch().until(|status| status.leader.is_some()).await.unwrap();
    let leader = nodes[status.leader.as_ref().unwrap().id.0 as usize - 1].clone();
    leader.watch().until(|status| status.role == RoleKind::Leader).await.unwrap();
    for key in 0..100_u8 {
        leader.propose(vec![b'+', key]).await.unwrap();
    }
    for node in &nodes {
        node.shutdown().await.unwrap();
    }
    let (mut readers, mut whole, mut refused) = (Vec::new(), 0, 0);
    for (id, host) in (1..).map(NodeId).zip(&hosts) {
        let machine = Keys::default();
        let node = host.start(&network, id, 3, machine.clone()).await.unwrap();
        readers.push(tokio::spawn(async move {
            let (mut whole, mut refused) = (0, 0);
            for _ in 0..400 {
                match node.read_barrier().await {
                    Ok(_) => {
                        assert_eq!(machine.keys.lock().unwrap().len(), 100, "node {id}");
                        whole += 1;
                    }
                    Err(_) => refused += 1,
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            (whole, refused)
        }));
    }
    for reader in readers {
        let (some_whole, some_refused) = reader.await.unwrap();
        whole += some_whole;
        refused += some_refused;
    }
    assert!(whole > 100 && refused > 100, "{whole} whole, {refused} refused");
}

/// P39: jgroups-raft#301. A follower has keys that were taken away while it was cut off; what it gets is a snapshot,
/// and after it they are gone.
#[tokio::test(start_paused = true)]
async fn p39_jgroups_301_an_installed_snapshot_replaces_what_was_there() {
    let (network, hosts) = (MemoryNetwork::new(), [Host::default(), Host::default(), Host::default()]);
    let (mut nodes, mut machines) = (Vec::new(), Vec::new());
    for (id, host) in (1..).map(NodeId).zip(&hosts) {
        machines.push(Keys::default());
        nodes.push(host.start(&network, id, 3, machines[id.0 as usize - 1].clone()).await.unwrap());
    }
    let status = nodes[0].watch().until(|status| status.leader.is_some()).await.unwrap();
    let leader = nodes[status.leader.as_ref().unwrap().id.0 as usize - 1].clone();
    leader.watch().until(|status| status.role == RoleKind::Leader).await.unwrap();
    let mut last = LogId::ZERO;
    for key in b"abc" {
        last = leader.propose(vec![b'+', *key]).await.unwrap().id;
    }
    let behind = leader.id().0 as usize % 3;
    nodes[behind].watch().until(|status| status.applied_index >= last.index).await.unwrap();
    assert_eq!(*machines[behind].keys.lock().unwrap(), BTreeSet::from(*b"abc"));
    network.isolate(nodes[behind].id());
    leader.propose("-a").await.unwrap();
    leader.propose("-c").await.unwrap();
    leader.propose("+d").await.unwrap();
    compact(&leader).await;
    network.heal_all();
    let last = leader.propose("+e").await.unwrap().id;
    let status = nodes[behind].watch().until(|status| status.applied_index >= last.index).await.unwrap();
    assert!(status.first_index.0 > 1, "it came as a snapshot");
    assert_eq!(*machines[behind].keys.lock().unwrap(), BTreeSet::from(*b"bde"));
}

/// P42: dragonboat#369, rqlite#2747. A state machine that lost its data gets them again, from the snapshot and the log
/// behind it; where the snapshot is lost as well, or the state machine is ahead of the journal, the node says so by name
/// and does not start.
#[tokio::test(start_paused = true)]
async fn p42_dragonboat_369_a_state_machine_that_disagrees_with_the_journal() {
    let (network, host) = (MemoryNetwork::new(), Host::default());
    let node = host.start(&network, NodeId(1), 1, Keys::default()).await.unwrap();
    node.watch().until(|status| status.role == RoleKind::Leader).await.unwrap();
    node.propose("+a").await.unwrap();
    compact(&node).await;
    node.propose("+b").await.unwrap();
    node.shutdown().await.unwrap();

    let lost = Keys::default();
    let node = host.start(&network, NodeId(1), 1, lost.clone()).await.unwrap();
    node.watch().until(|status| status.role == RoleKind::Leader).await.unwrap();
    node.read_barrier().await.unwrap();
    assert_eq!(*lost.keys.lock().unwrap(), BTreeSet::from(*b"ab"));
    let last = node.status().last;
    node.shutdown().await.unwrap();

    let ahead = Keys { applied: LogId { index: last.index.next(), ..last }, ..Keys::default() };
    let error = host.start(&network, NodeId(1), 1, ahead).await.unwrap_err();
    assert!(matches!(error, FatalReason::Config(ConfigError::AheadOfJournal { .. })), "{error}");
    let bare = Host { disk: host.disk.clone(), snapshots: MemorySnapshotDisk::new() };
    let error = bare.start(&network, NodeId(1), 1, Keys::default()).await.unwrap_err();
    assert!(matches!(error, FatalReason::Config(ConfigError::NoSnapshot { .. })), "{error}");
}
