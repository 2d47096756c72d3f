//! The driver while the membership changes, over backends in memory, on a paused clock: what callers are told,
//! whom the transport reaches, and what becomes of nodes that come and go.

use std::time::Duration;

use raft_core::error::{ChangeError, Objection, Outcome, ProposeError};
use raft_core::ids::{ClusterId, GroupId, NodeId};
use raft_core::membership::{Change, Member, Membership, PlanError};
use raft_core::raft::ChangeOptions;
use raft_core::status::{RoleKind, Status};
use raft_core::{Config, Node, NodeHandle};
use raft_testkit::memory::{MemoryDisk, MemoryJournal, MemoryNetwork, Recorder};

const CLUSTER: ClusterId = ClusterId(6);

fn member(id: u64) -> Member {
    Member::new(NodeId(id), format!("memory-{id}"))
}

fn joined(id: u64) -> [Change; 2] {
    [Change::AddLearner(member(id)), Change::Promote(NodeId(id))]
}

/// Patient enough for a node that has to catch up first.
fn patient() -> ChangeOptions {
    ChangeOptions::default().wait(Duration::from_secs(20))
}

/// Nodes 1 to 5. The first ones found the cluster, the others begin in limbo.
struct World {
    network: MemoryNetwork,
    disks: Vec<MemoryDisk>,
    recorders: Vec<Recorder>,
    nodes: Vec<NodeHandle>,
}

impl World {
    async fn of(founders: u64) -> Self {
        let membership = Membership::of_voters((1..=founders).map(member)).unwrap();
        let (network, recorders) = (MemoryNetwork::new(), (0..5).map(|_| Recorder::new()).collect());
        let mut world = Self { network, disks: Vec::new(), recorders, nodes: Vec::new() };
        for id in 1..=5 {
            let disk = MemoryDisk::new();
            let initial = (id <= founders).then_some(&membership);
            let journal = MemoryJournal::create(&disk, CLUSTER, GroupId(0), NodeId(id), initial).unwrap();
            world.disks.push(disk);
            let node = world.start(id, journal).await;
            world.nodes.push(node);
        }
        world
    }

    async fn start(&self, id: u64, journal: MemoryJournal) -> NodeHandle {
        Node::builder(Config::new(NodeId(id), CLUSTER))
            .journal(journal)
            .transport(self.network.transport(NodeId(id)))
            .state_machine(self.recorders[id as usize - 1].machine())
            .start()
            .await
            .unwrap()
    }

    fn node(&self, id: u64) -> &NodeHandle {
        &self.nodes[id as usize - 1]
    }

    async fn leader(&self, among: impl IntoIterator<Item = u64> + Clone) -> NodeHandle {
        loop {
            for id in among.clone() {
                let status = self.node(id).status();
                let settled = status.membership_committed && status.commit_index.0 > 1;
                if status.role == RoleKind::Leader && settled {
                    return self.node(id).clone();
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn kill(&self, id: u64) {
        self.network.kill(NodeId(id));
        self.disks[id as usize - 1].crash();
    }

    async fn restart(&mut self, id: u64) {
        self.recorders[id as usize - 1] = Recorder::new();
        let journal =
            MemoryJournal::open(&self.disks[id as usize - 1], CLUSTER, GroupId(0), NodeId(id)).unwrap();
        self.nodes[id as usize - 1] = self.start(id, journal).await;
    }

    /// The same name with an empty disk, in limbo.
    async fn replace_disk(&mut self, id: u64) {
        let disk = MemoryDisk::new();
        let journal = MemoryJournal::create(&disk, CLUSTER, GroupId(0), NodeId(id), None).unwrap();
        self.disks[id as usize - 1] = disk;
        self.recorders[id as usize - 1] = Recorder::new();
        self.nodes[id as usize - 1] = self.start(id, journal).await;
    }
}

fn voters(status: &Status) -> Vec<u64> {
    status.membership.voters.iter().map(|id| id.0).collect()
}

async fn until_voters(node: &NodeHandle, expected: &[u64]) {
    let settled = |status: &Status| {
        !status.membership.is_joint() && status.membership_committed && voters(status) == expected
    };
    node.watch().until(settled).await.unwrap();
}

/// Writes until told to stop; whoever is asked redirects, and nothing else may go wrong. Returns what was
/// acknowledged.
async fn write(
    nodes: Vec<NodeHandle>,
    mut stop: tokio::sync::oneshot::Receiver<()>,
    count: tokio::sync::watch::Sender<usize>,
) -> Vec<u32> {
    let mut acknowledged = Vec::new();
    let mut at = 0;
    for number in 0_u32.. {
        loop {
            // The clock stands still as long as somebody has something to do.
            tokio::time::sleep(Duration::from_millis(1)).await;
            if stop.try_recv().is_ok() {
                return acknowledged;
            }
            match nodes[at].propose(number.to_le_bytes().to_vec()).await {
                Ok(_) => {
                    acknowledged.push(number);
                    count.send_replace(acknowledged.len());
                    break;
                }
                Err(ProposeError::NotLeader { leader: Some(leader) }) => at = leader.id.0 as usize - 1,
                Err(ProposeError::Transferring { to }) => at = to.0 as usize - 1,
                Err(ProposeError::NotLeader { leader: None }) => at = (at + 1) % nodes.len(),
                Err(error) => panic!("a write fails: {error}"),
            }
        }
    }
    acknowledged
}

#[tokio::test(start_paused = true)]
async fn one_grows_to_five_and_shrinks_to_one_under_writes() {
    let world = World::of(1).await;
    let first = world.leader([1]).await;
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let (count, mut written) = tokio::sync::watch::channel(0);
    let writer = tokio::spawn(write(world.nodes.clone(), stopped, count));
    let changes = [joined(2), joined(3)].concat();
    let done = first.change_membership(changes, patient()).await.unwrap();
    assert_eq!(done.membership.voters.len(), 3);
    written.wait_for(|count| *count >= 5).await.unwrap();
    let changes = [joined(4), joined(5)].concat();
    first.change_membership(changes, patient()).await.unwrap();
    for id in 1..=5 {
        until_voters(world.node(id), &[1, 2, 3, 4, 5]).await;
    }
    written.wait_for(|count| *count >= 10).await.unwrap();
    let changes = vec![Change::Remove(NodeId(5)), Change::Remove(NodeId(4))];
    first.change_membership(changes, ChangeOptions::default()).await.unwrap();
    written.wait_for(|count| *count >= 15).await.unwrap();
    // Three become one, and it is not the one that leads.
    let changes = vec![Change::Remove(NodeId(1)), Change::Remove(NodeId(2))];
    let done = first.change_membership(changes, ChangeOptions::default()).await.unwrap();
    assert_eq!(done.membership.voters.iter().copied().collect::<Vec<_>>(), [NodeId(3)]);
    let last = world.leader([3]).await;
    until_voters(&last, &[3]).await;
    written.wait_for(|count| *count >= 20).await.unwrap();
    stop.send(()).unwrap();
    let acknowledged = writer.await.unwrap();
    let applied = last.propose("end").await.unwrap().id;
    let recorded = world.recorders[2].applied(applied.index).await;
    let numbers: Vec<u32> = recorded
        .commands
        .iter()
        .filter_map(|command| command.data[..].try_into().ok().map(u32::from_le_bytes))
        .collect();
    assert_eq!(numbers, acknowledged, "each once, in order");
    for id in [1, 2, 4, 5] {
        world.node(id).watch().until(|status| status.removed).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn refusals_say_why_and_a_dry_run_changes_nothing() {
    let world = World::of(3).await;
    let leader = world.leader(1..=3).await;
    let follower = (1..=3).map(|id| world.node(id)).find(|node| node.id() != leader.id()).unwrap();
    let promote = vec![Change::Promote(NodeId(4))];
    let refused = follower.change_membership(promote.clone(), ChangeOptions::default()).await.unwrap_err();
    assert_eq!(refused.outcome(), Outcome::NotApplied);
    assert!(
        matches!(&refused, ChangeError::NotLeader { leader: Some(member) } if member.id == leader.id()),
        "{refused}"
    );
    let none = leader.change_membership(promote.clone(), patient()).await;
    assert_eq!(none, Err(ChangeError::Plan(PlanError::NotAMember(NodeId(4)))));
    let (plan, objections) = leader.plan_membership(joined(4).to_vec()).await.unwrap();
    assert_eq!((plan.before.tolerance(), plan.after.tolerance(), plan.steps.len()), (1, 1, 3));
    assert_eq!(objections, [Objection::NotLearned { node: NodeId(4) }]);
    let hasty = leader.change_membership(joined(4).to_vec(), ChangeOptions::default()).await;
    assert_eq!(hasty, Err(ChangeError::Objection(Objection::NotLearned { node: NodeId(4) })));
    assert_eq!(leader.status().membership.members.len(), 3, "nothing has changed");
    // With one dead, removing another one would leave a majority of two that is not there.
    let dead = follower.id();
    world.kill(dead.0);
    tokio::time::sleep(Duration::from_millis(700)).await;
    let other = (1..=3).map(NodeId).find(|id| *id != dead && *id != leader.id()).unwrap();
    let refused = leader.change_membership(vec![Change::Remove(other)], ChangeOptions::default()).await;
    let silent = vec![dead];
    let expected = Objection::NoLiveQuorum { voters: 2, alive: 1, needed: 2, silent };
    assert_eq!(refused, Err(ChangeError::Objection(expected)));
    let done = leader.change_membership(vec![Change::Remove(dead)], ChangeOptions::default()).await.unwrap();
    assert_eq!(done.membership.voters.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_change_that_waits_in_vain_ends_in_time() {
    let world = World::of(3).await;
    let leader = world.leader(1..=3).await;
    world.kill(4);
    let wait = ChangeOptions::default().wait(Duration::from_secs(2));
    let changing = tokio::spawn({
        let leader = leader.clone();
        async move { leader.change_membership(joined(4).to_vec(), wait).await }
    });
    leader.watch().until(|status| status.membership.is_member(NodeId(4))).await.unwrap();
    let busy = leader.change_membership(vec![Change::Remove(NodeId(4))], ChangeOptions::default()).await;
    assert!(matches!(busy, Err(ChangeError::InProgress { .. })), "{busy:?}");
    let late = changing.await.unwrap();
    assert_eq!(late, Err(ChangeError::Objection(Objection::Silent { node: NodeId(4), silence: None })));
    // The learner stays, and can be taken away.
    leader.change_membership(vec![Change::Remove(NodeId(4))], ChangeOptions::default()).await.unwrap();
}

/// The leader dies in the middle of a change: the next one finishes it, and callers are told the truth.
#[tokio::test(start_paused = true)]
async fn a_leader_that_dies_in_the_middle_leaves_no_change_half_done() {
    for after_ms in [0, 1, 2, 5, 10, 20, 60] {
        let world = World::of(3).await;
        let leader = world.leader(1..=3).await;
        leader.change_membership(joined(4)[..1].to_vec(), ChangeOptions::default()).await.unwrap();
        let caught_up = |status: &Status| !status.probation && status.role == RoleKind::Follower;
        world.node(4).watch().until(caught_up).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        let changing = tokio::spawn({
            let leader = leader.clone();
            async move { leader.change_membership(joined(4)[1..].to_vec(), patient()).await }
        });
        tokio::time::sleep(Duration::from_millis(after_ms)).await;
        world.kill(leader.id().0);
        let others: Vec<u64> = (1..=4).filter(|id| *id != leader.id().0).collect();
        let next = world.leader(others.clone()).await;
        next.watch().until(|status| !status.membership.is_joint()).await.unwrap();
        let settled = next.status();
        match changing.await.unwrap() {
            Ok(done) => assert_eq!(settled.membership, done.membership, "after {after_ms} ms"),
            Err(error) => assert_eq!(error.outcome(), Outcome::Unknown, "after {after_ms} ms: {error}"),
        }
        // No later change is blocked.
        if !settled.membership.is_voter(NodeId(4)) {
            next.change_membership(vec![Change::Promote(NodeId(4))], patient()).await.unwrap();
        }
        for id in others {
            until_voters(world.node(id), &[1, 2, 3, 4]).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_removed_node_stays_up_and_quiet_also_after_a_restart() {
    let mut world = World::of(3).await;
    let leader = world.leader(1..=3).await;
    let gone = (1..=3).find(|id| *id != leader.id().0).unwrap();
    // It does not hear of it.
    world.kill(gone);
    leader.change_membership(vec![Change::Remove(NodeId(gone))], ChangeOptions::default()).await.unwrap();
    let term = leader.status().term;
    world.restart(gone).await;
    world.node(gone).watch().until(|status| status.removed).await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    let status = world.node(gone).status();
    assert!(status.removed && status.role == RoleKind::Follower);
    assert!(status.counters.pre_votes <= 3, "{} pre-votes", status.counters.pre_votes);
    assert_eq!(leader.status().term, term);
    assert_eq!(leader.status().role, RoleKind::Leader);
    // It is what it was: as a member it gets everything again.
    leader.change_membership(joined(gone).to_vec(), patient()).await.unwrap();
    until_voters(world.node(gone), &[1, 2, 3]).await;
    assert!(!world.node(gone).status().removed);
}

/// J12: a store that was replaced is refused under its old name, which says what it takes; it comes back by a
/// change of the membership, also for a peer that was down meanwhile.
#[tokio::test(start_paused = true)]
async fn a_replaced_store_comes_back_by_a_membership_change_only() {
    let mut world = World::of(3).await;
    let leader = world.leader(1..=3).await;
    let wiped = (1..=3).find(|id| *id != leader.id().0).unwrap();
    let other = (1..=3).find(|id| *id != leader.id().0 && *id != wiped).unwrap();
    leader.propose("before").await.unwrap();
    world.kill(wiped);
    world.replace_disk(wiped).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(world.node(wiped).status().role, RoleKind::Limbo, "nobody speaks to it");
    // The other one sleeps through all of it.
    world.network.cut(leader.id(), NodeId(other));
    world.network.cut(NodeId(wiped), NodeId(other));
    world.network.heal(leader.id(), NodeId(other));
    leader.change_membership(vec![Change::Remove(NodeId(wiped))], ChangeOptions::default()).await.unwrap();
    leader.change_membership(joined(wiped).to_vec(), patient()).await.unwrap();
    world.network.heal_all();
    until_voters(world.node(wiped), &[1, 2, 3]).await;
    let applied = leader.propose("after").await.unwrap().id;
    for id in [wiped, other] {
        world.recorders[id as usize - 1].applied(applied.index).await;
    }
    // It counts: with the third one dead the two go on.
    world.kill(other);
    leader.propose("with two").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn changes_under_a_leader_that_is_stopped_are_answered() {
    let world = World::of(3).await;
    let leader = world.leader(1..=3).await;
    world.kill(4);
    let changing = tokio::spawn({
        let leader = leader.clone();
        async move { leader.change_membership(joined(4).to_vec(), patient()).await }
    });
    leader.watch().until(|status| status.membership.is_member(NodeId(4))).await.unwrap();
    leader.shutdown().await.unwrap();
    let error = changing.await.unwrap().unwrap_err();
    assert!(matches!(error, ChangeError::Unknown { .. }), "its learner may have been added: {error}");
    let late = leader.change_membership(joined(5).to_vec(), patient()).await;
    assert_eq!(late, Err(ChangeError::ShuttingDown));
}
