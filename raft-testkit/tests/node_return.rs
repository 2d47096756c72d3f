//! A member that was wiped comes back by a change of the membership, with nodes that were down meanwhile and learn of
//! all of it from one snapshot. Over backends in memory, on a paused clock.

use std::sync::Arc;
use std::time::Duration;

use raft_core::backend::Refusal;
use raft_core::error::FatalReason;
use raft_core::ids::{ClusterId, GroupId, NodeId};
use raft_core::membership::{Change, Member, Membership};
use raft_core::raft::ChangeOptions;
use raft_core::status::{RoleKind, Status};
use raft_core::{Config, Node, NodeHandle};
use raft_testkit::memory::{
    MemoryDisk, MemoryJournal, MemoryNetwork, MemorySnapshotDisk, MemorySnapshots, Recorder,
};

const CLUSTER: ClusterId = ClusterId(9);

fn member(id: u64) -> Member {
    Member::new(NodeId(id), format!("memory-{id}"))
}

/// Five founders that take snapshots when told to, and keep nothing of the log that one covers.
struct World {
    network: MemoryNetwork,
    disks: Vec<MemoryDisk>,
    snapshots: Vec<MemorySnapshotDisk>,
    recorders: Vec<Recorder>,
    nodes: Vec<NodeHandle>,
}

impl World {
    async fn new() -> Self {
        let mut world = Self {
            network: MemoryNetwork::new(),
            disks: (0..5).map(|_| MemoryDisk::new()).collect(),
            snapshots: (0..5).map(|_| MemorySnapshotDisk::new()).collect(),
            recorders: (0..5).map(|_| Recorder::new()).collect(),
            nodes: Vec::new(),
        };
        let membership = Membership::of_voters((1..=5).map(member)).unwrap();
        for id in 1..=5 {
            let journal = MemoryJournal::create(
                &world.disks[id - 1],
                CLUSTER,
                GroupId(0),
                NodeId(id as u64),
                Some(&membership),
            );
            let node = world.start(id as u64, journal.unwrap()).await;
            world.nodes.push(node);
        }
        world
    }

    async fn start(&self, id: u64, journal: MemoryJournal) -> NodeHandle {
        let at = id as usize - 1;
        let mut config = Config::new(NodeId(id), CLUSTER);
        (config.snapshot_every_entries, config.snapshot_every_bytes) = (0, 0);
        (config.snapshot_keep_entries, config.snapshot_keep_bytes) = (0, 0);
        Node::builder(config)
            .journal(journal)
            .transport(self.network.transport(NodeId(id)))
            .state_machine(self.recorders[at].machine())
            .snapshots(Arc::new(MemorySnapshots::open(&self.snapshots[at])))
            .start()
            .await
            .unwrap()
    }

    fn node(&self, id: u64) -> &NodeHandle {
        &self.nodes[id as usize - 1]
    }

    async fn leader(&self) -> NodeHandle {
        loop {
            for node in &self.nodes {
                let status = node.status();
                if status.role == RoleKind::Leader && status.commit_index.0 > 1 {
                    return node.clone();
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn kill(&self, id: u64) {
        self.network.kill(NodeId(id));
        self.disks[id as usize - 1].crash();
        self.snapshots[id as usize - 1].crash();
    }

    async fn restart(&mut self, id: u64) {
        let at = id as usize - 1;
        self.recorders[at] = Recorder::new();
        let journal = MemoryJournal::open(&self.disks[at], CLUSTER, GroupId(0), NodeId(id)).unwrap();
        self.nodes[at] = self.start(id, journal).await;
    }

    /// The same name with empty disks; in limbo, if it is told of no members.
    async fn wipe(&mut self, id: u64, initial: Option<&Membership>) {
        let at = id as usize - 1;
        (self.disks[at], self.snapshots[at]) = (MemoryDisk::new(), MemorySnapshotDisk::new());
        self.recorders[at] = Recorder::new();
        let journal =
            MemoryJournal::create(&self.disks[at], CLUSTER, GroupId(0), NodeId(id), initial).unwrap();
        self.nodes[at] = self.start(id, journal).await;
    }
}

/// Takes a snapshot; the log begins after it then.
async fn compact(node: &NodeHandle) {
    let upto = node.snapshot().await.unwrap().upto.index;
    node.watch().until(|status| status.first_index > upto).await.unwrap();
}

/// J12: one member sleeps while another one is wiped, removed and added again, and then gets all of that in one snapshot,
/// in which both are members as before. It refused the new store for good: it had never seen the membership without it.
/// And as the leader it left that member without a log.
#[tokio::test(start_paused = true)]
async fn a_store_is_let_in_by_who_learns_of_its_return_from_a_snapshot() {
    let mut world = World::new().await;
    let leader = world.leader().await;
    let mut others = (1..=5).filter(|id| *id != leader.id().0);
    let (wiped, asleep) = (others.next().unwrap(), others.next().unwrap());
    let applied = leader.propose("before").await.unwrap().id;
    for recorder in &world.recorders {
        recorder.applied(applied.index).await;
    }
    world.kill(asleep);
    world.kill(wiped);
    leader.change_membership(vec![Change::Remove(NodeId(wiped))], ChangeOptions::default()).await.unwrap();
    world.wipe(wiped, None).await;
    let back = vec![Change::AddLearner(member(wiped)), Change::Promote(NodeId(wiped))];
    let patient = ChangeOptions::default().wait(Duration::from_secs(20));
    leader.change_membership(back, patient).await.unwrap();
    for id in (1..=5).filter(|id| *id != asleep) {
        compact(world.node(id)).await;
    }
    world.restart(asleep).await;
    world.node(asleep).watch().until(|status| status.snapshot.is_some()).await.unwrap();
    let applied = leader.propose("with all").await.unwrap().id;
    for recorder in &world.recorders {
        recorder.applied(applied.index).await;
    }
    // The two need each other now: each is one of the last three.
    let rest: Vec<u64> = (1..=5).filter(|id| ![wiped, asleep].contains(id)).collect();
    leader.transfer_leadership(Some(NodeId(asleep))).await.unwrap();
    world.kill(rest[0]);
    world.kill(rest[1]);
    let applied = world.node(asleep).propose("with the last three").await.unwrap().id;
    world.recorders[wiped as usize - 1].applied(applied.index).await;
    // What it has seen now it remembers, also after a restart: yet another store is refused.
    for id in [rest[2], wiped, asleep] {
        world.kill(id);
    }
    world.restart(asleep).await;
    let founders = Membership::of_voters((1..=5).map(member)).unwrap();
    world.wipe(wiped, Some(&founders)).await;
    let reason = world.node(wiped).stopped().await.unwrap_err();
    let refused = matches!(&*reason, FatalReason::Refused { by, why: Refusal::StoreReplaced { .. } } if *by == NodeId(asleep));
    assert!(refused, "{reason}");
}

/// The one that was added again is removed again, and then meets one that has slept all the time and knows its old store. It
/// stopped: its membership no longer had it, so it took itself for a founder. But a voter may be needed until its removal
/// is committed (simulator seed 74, once operators no longer waited until all had forgotten).
#[tokio::test(start_paused = true)]
async fn who_was_added_again_and_leaves_again_is_not_stopped_by_who_slept() {
    let mut world = World::new().await;
    let leader = world.leader().await;
    let mut others = (1..=5).filter(|id| *id != leader.id().0);
    let (wiped, asleep) = (others.next().unwrap(), others.next().unwrap());
    let applied = leader.propose("before").await.unwrap().id;
    for recorder in &world.recorders {
        recorder.applied(applied.index).await;
    }
    world.network.isolate(NodeId(asleep));
    world.kill(wiped);
    leader.change_membership(vec![Change::Remove(NodeId(wiped))], ChangeOptions::default()).await.unwrap();
    world.wipe(wiped, None).await;
    let back = vec![Change::AddLearner(member(wiped))];
    leader.change_membership(back, ChangeOptions::default()).await.unwrap();
    let applied = leader.propose("it is back").await.unwrap().id;
    world.recorders[wiped as usize - 1].applied(applied.index).await;
    let caught_up = |status: &Status| !status.probation && status.membership.is_member(NodeId(wiped));
    world.node(wiped).watch().until(caught_up).await.unwrap();
    // Whoever sleeps meets nobody else.
    for id in (1..=5).filter(|id| ![wiped, asleep].contains(id)) {
        world.network.cut(NodeId(id), NodeId(asleep));
    }
    leader.change_membership(vec![Change::Remove(NodeId(wiped))], ChangeOptions::default()).await.unwrap();
    world.network.heal(NodeId(wiped), NodeId(asleep));
    let stopped = tokio::time::timeout(Duration::from_secs(2), world.node(wiped).stopped()).await;
    assert!(stopped.is_err(), "{stopped:?}");
    assert!(world.node(wiped).status().removed);
}
