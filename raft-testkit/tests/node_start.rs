//! How a node comes up where journal, snapshots and state machine do not fit: what can be put right is, all else is an
//! error that names it, and changes nothing. Over backends in memory, on a paused clock.

use std::sync::Arc;
use std::time::Duration;

use raft_core::backend::SnapshotError;
use raft_core::error::{ConfigError, FatalReason, ProposeError};
use raft_core::ids::{ClusterId, GroupId, LogId, NodeId};
use raft_core::membership::{Member, Membership};
use raft_core::status::{RoleKind, Status};
use raft_core::{Config, Node, NodeHandle};
use raft_testkit::memory::{
    MemoryDisk, MemoryJournal, MemoryNetwork, MemorySnapshotDisk, MemorySnapshots, Recorder,
};

const CLUSTER: ClusterId = ClusterId(10);

/// What outlives a node.
#[derive(Clone, Default)]
struct Host {
    disk: MemoryDisk,
    snapshots: MemorySnapshotDisk,
    recorder: Recorder,
}

/// One that takes snapshots when told to, and keeps so many entries before one.
fn config(id: u64, keep: u64) -> Config {
    let mut config = Config::new(NodeId(id), CLUSTER);
    (config.snapshot_every_entries, config.snapshot_every_bytes) = (0, 0);
    (config.snapshot_keep_entries, config.snapshot_keep_bytes) = (keep, keep * 1000);
    config
}

impl Host {
    async fn start(
        &self,
        network: &MemoryNetwork,
        size: u64,
        config: Config,
    ) -> Result<NodeHandle, FatalReason> {
        let members = (1..=size).map(|id| Member::new(NodeId(id), format!("memory-{id}")));
        let members = Membership::of_voters(members).unwrap();
        let id = config.id;
        let journal = MemoryJournal::create(&self.disk, CLUSTER, GroupId(0), id, Some(&members))
            .or_else(|_| MemoryJournal::open(&self.disk, CLUSTER, GroupId(0), id));
        Node::builder(config)
            .journal(journal.unwrap())
            .transport(network.transport(id))
            .state_machine(self.recorder.machine())
            .snapshots(Arc::new(MemorySnapshots::open(&self.snapshots)))
            .start()
            .await
    }

    /// As the only node of its cluster, leading.
    async fn alone(&self, keep: u64) -> NodeHandle {
        let node = self.start(&MemoryNetwork::new(), 1, config(1, keep)).await.unwrap();
        node.watch().until(|status| status.role == RoleKind::Leader).await.unwrap();
        node
    }

    /// It must not start.
    async fn fails(&self) -> FatalReason {
        self.start(&MemoryNetwork::new(), 1, config(1, 0)).await.unwrap_err()
    }

    /// The same journal with other snapshots, or another state machine.
    fn with(&self, snapshots: &MemorySnapshotDisk, recorder: &Recorder) -> Self {
        Self { disk: self.disk.clone(), snapshots: snapshots.copy(), recorder: recorder.clone() }
    }

    fn commands(&self) -> Vec<String> {
        let commands = self.recorder.recorded().commands;
        commands.iter().map(|command| String::from_utf8(command.data.to_vec()).unwrap()).collect()
    }
}

async fn propose(node: &NodeHandle, commands: &[&'static str]) -> LogId {
    let mut last = LogId::ZERO;
    for command in commands {
        last = node.propose(*command).await.unwrap().id;
    }
    last
}

/// Takes a snapshot; the log begins after what is kept then.
async fn compact(node: &NodeHandle) -> LogId {
    let upto = node.snapshot().await.unwrap().upto;
    node.watch().until(|status| status.first_index > upto.index).await.unwrap();
    upto
}

async fn leader(nodes: &[NodeHandle]) -> NodeHandle {
    for node in nodes.iter().cycle() {
        let status = node.watch().until(|status| status.leader.is_some()).await.unwrap();
        let leader = &nodes[status.leader.as_ref().unwrap().id.0 as usize - 1];
        if leader.status().role == RoleKind::Leader {
            return leader.clone();
        }
    }
    unreachable!()
}

/// A follower was stopped after a snapshot had become durable and before its journal followed: it begins its log anew
/// after the snapshot, with the state of it, whether or not its state machine had kept anything; then it goes on.
#[tokio::test(start_paused = true)]
async fn a_store_ahead_of_the_journal_is_followed() {
    for keeps in [false, true] {
        let (network, mut hosts) =
            (MemoryNetwork::new(), [Host::default(), Host::default(), Host::default()]);
        let mut nodes = Vec::new();
        for (id, host) in (1..).zip(&hosts) {
            nodes.push(host.start(&network, 3, config(id, 0)).await.unwrap());
        }
        let leader = leader(&nodes).await;
        let at = leader.id().0 as usize % 3;
        let first = propose(&leader, &["a", "b"]).await;
        hosts[at].recorder.applied(first.index).await;
        nodes[at].shutdown().await.unwrap();
        propose(&leader, &["c", "d"]).await;
        let upto = compact(&leader).await;
        hosts[at].snapshots = hosts[leader.id().0 as usize - 1].snapshots.copy();
        if !keeps {
            hosts[at].recorder = Recorder::new();
        }
        let id = at as u64 + 1;
        network.isolate(NodeId(id));
        let node = hosts[at].start(&network, 3, config(id, 0)).await.unwrap();
        let status = node.status();
        assert_eq!((status.first_index, status.last), (upto.index.next(), upto));
        assert_eq!(status.applied_index, upto.index);
        assert_eq!(hosts[at].commands(), ["a", "b", "c", "d"]);
        network.heal_all();
        let last = propose(&leader, &["e"]).await;
        hosts[at].recorder.applied(last.index).await;
        assert_eq!(hosts[at].commands(), ["a", "b", "c", "d", "e"]);
    }
}

/// The snapshots are those of a node that had something else committed there.
#[tokio::test(start_paused = true)]
async fn a_store_that_contradicts_the_journal_is_refused_by_name() {
    let (host, other) = (Host::default(), Host::default());
    let node = other.alone(0).await;
    propose(&node, &["x", "y"]).await;
    let foreign = compact(&node).await;
    // One term later, with more behind it.
    host.alone(0).await.shutdown().await.unwrap();
    let node = host.alone(0).await;
    propose(&node, &["a", "b"]).await;
    let own = compact(&node).await;
    propose(&node, &["c"]).await;
    node.shutdown().await.unwrap();
    assert!(own.term > foreign.term && own.index >= foreign.index, "{own} {foreign}");
    for recorder in [Recorder::new(), host.recorder.clone()] {
        let error = host.with(&other.snapshots, &recorder).fails().await;
        let named = matches!(
            &error,
            FatalReason::Config(ConfigError::NoSnapshot { snapshot: Some(snapshot), .. }) if *snapshot == foreign
        );
        assert!(named, "what it covers is not enough: {error}");
    }
    // The same with a journal that has everything.
    let (host, other) = (Host::default(), other);
    host.alone(0).await.shutdown().await.unwrap();
    let node = host.alone(0).await;
    propose(&node, &["a", "b", "c"]).await;
    node.shutdown().await.unwrap();
    for recorder in [Recorder::new(), host.recorder.clone()] {
        let error = host.with(&other.snapshots, &recorder).fails().await;
        let contradicts = matches!(
            &error,
            FatalReason::Config(ConfigError::SnapshotContradicts { snapshot, journal })
                if *snapshot == foreign && journal.index == foreign.index && journal.term > foreign.term
        );
        assert!(contradicts, "{error}");
        assert!(error.to_string().contains("not of one node"), "{error}");
    }
    // Nothing was changed: with its own it starts, and has everything.
    let node = host.alone(0).await;
    node.read_barrier().await.unwrap();
    assert_eq!(host.commands(), ["a", "b", "c"]);
}

/// The journal has purged what only an older snapshot covers, or none.
#[tokio::test(start_paused = true)]
async fn a_purged_journal_needs_its_snapshot() {
    let host = Host::default();
    let node = host.alone(0).await;
    propose(&node, &["a"]).await;
    let old = compact(&node).await;
    let older = host.snapshots.copy();
    propose(&node, &["b"]).await;
    let new = compact(&node).await;
    node.shutdown().await.unwrap();
    for (snapshots, covered) in [(MemorySnapshotDisk::new(), None), (older, Some(old))] {
        // A state machine that kept everything helps nobody who needs a snapshot of this node.
        for recorder in [Recorder::new(), host.recorder.clone()] {
            let error = host.with(&snapshots, &recorder).fails().await;
            let named = matches!(
                &error,
                FatalReason::Config(ConfigError::NoSnapshot { purged, snapshot })
                    if *purged == new && *snapshot == covered
            );
            assert!(named, "{error}");
        }
    }
    let node = host.alone(0).await;
    propose(&node, &["c"]).await;
    assert_eq!(host.commands(), ["a", "b", "c"]);
}

/// A flipped bit anywhere in the snapshot, its head with the sessions or the state machine's bytes: the node says which
/// snapshot it is and does not start.
#[tokio::test(start_paused = true)]
async fn a_damaged_snapshot_is_refused_by_name() {
    let host = Host::default();
    let node = host.alone(0).await;
    propose(&node, &["a", "b"]).await;
    let upto = compact(&node).await;
    propose(&node, &["c"]).await;
    node.shutdown().await.unwrap();
    let mut flipped = 0;
    for at in 0.. {
        let lost = host.with(&host.snapshots, &Recorder::new());
        if !lost.snapshots.flip_bit(at, 3) {
            break;
        }
        flipped += 1;
        let error = lost.fails().await;
        let named = matches!(
            &error,
            FatalReason::Snapshot { upto: Some(of), error: SnapshotError::Corrupt(_) } if *of == upto
        );
        assert!(named, "byte {at}: {error}");
        assert_eq!(lost.recorder.recorded().through, LogId::ZERO, "nothing was installed");
    }
    assert!(flipped > 32, "{flipped}");
    let lost = host.with(&host.snapshots, &Recorder::new());
    let node = lost.alone(0).await;
    node.read_barrier().await.unwrap();
    assert_eq!(lost.commands(), ["a", "b", "c"]);
}

/// The state machine has executed more than journal and snapshot have; and, with a snapshot ahead of the journal, more
/// than what would be left. Or it has executed something else.
#[tokio::test(start_paused = true)]
async fn a_state_machine_ahead_of_both_is_refused_by_name() {
    let host = Host::default();
    let node = host.alone(0).await;
    let behind = host.disk.copy();
    propose(&node, &["a"]).await;
    let upto = compact(&node).await;
    node.shutdown().await.unwrap();
    let last = node.status().last;
    let of = |through: LogId| {
        let ahead = Recorder::new();
        ahead.set_through(through);
        ahead
    };
    let ahead = LogId { index: last.index.next(), ..last };
    for disk in [host.disk.clone(), behind] {
        let host = Host { disk, ..host.clone() };
        let error = host.with(&host.snapshots, &of(ahead)).fails().await;
        let named = matches!(
            &error,
            FatalReason::Config(ConfigError::AheadOfJournal { applied, last: end }) if *applied == ahead && *end == last
        );
        assert!(named, "{error}");
        let other = LogId { term: upto.term.next(), ..upto };
        let error = host.with(&host.snapshots, &of(other)).fails().await;
        let named = matches!(
            &error,
            FatalReason::Config(ConfigError::AppliedContradicts { applied, committed })
                if *applied == other && *committed == upto
        );
        assert!(named, "{error}");
    }
    let node = host.alone(0).await;
    propose(&node, &["b"]).await;
    assert_eq!(host.commands(), ["a", "b"]);
}

/// P34: a leader that was cut off has proposals at places that an installed snapshot covers: nobody can tell any more what
/// became of them, and their callers are told so as soon as it is installed, long before patience ends.
#[tokio::test(start_paused = true)]
async fn p34_proposals_under_an_installed_snapshot_are_unknown() {
    let (network, hosts) = (MemoryNetwork::new(), [Host::default(), Host::default(), Host::default()]);
    let mut nodes = Vec::new();
    for (id, host) in (1..).zip(&hosts) {
        let mut config = config(id, 0);
        if id == 1 {
            // It believes for long that it leads, and is patient for long.
            config.election_timeout = Duration::from_secs(60);
        }
        nodes.push(host.start(&network, 3, config).await.unwrap());
    }
    leader(&nodes).await.transfer_leadership(Some(NodeId(1))).await.ok();
    let old = nodes[0].clone();
    old.watch().until(|status| status.role == RoleKind::Leader).await.unwrap();
    propose(&old, &["a"]).await;
    network.isolate(NodeId(1));
    let calls: Vec<_> = ["lost", "and this"]
        .into_iter()
        .map(|command| {
            tokio::spawn({
                let old = old.clone();
                async move { old.propose(command).await }
            })
        })
        .collect();
    old.watch().until(|status| status.last.index > status.commit_index).await.unwrap();
    let others = |status: &Status| status.leader.as_ref().is_some_and(|leader| leader.id != NodeId(1));
    let status = nodes[1].watch().until(others).await.unwrap();
    let new = nodes[status.leader.as_ref().unwrap().id.0 as usize - 1].clone();
    new.watch().until(|status| status.role == RoleKind::Leader).await.unwrap();
    propose(&new, &["b", "c", "d"]).await;
    let upto = compact(&new).await;
    network.heal_all();
    old.watch()
        .until(|status| status.snapshot.is_some() && status.applied_index >= upto.index)
        .await
        .unwrap();
    for call in calls {
        let answer =
            tokio::time::timeout(Duration::from_secs(20), call).await.expect("told at once").unwrap();
        assert!(matches!(answer, Err(ProposeError::Unknown { .. })), "{answer:?}");
    }
    let last = propose(&new, &["e"]).await;
    hosts[0].recorder.applied(last.index).await;
    assert_eq!(hosts[0].commands(), ["a", "b", "c", "d", "e"]);
}
