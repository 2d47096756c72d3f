//! Leaders whose disk hangs, fails or is full (M11), reads by policy, leases, priorities, and settings that change: the
//! driver over backends in memory, on a paused clock.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use raft_core::backend::{Journal, JournalError, JournalReader, JournalState, JournalWrite, Runtime};
use raft_core::error::{ConfigError, FatalReason, Outcome, ReadError, ReconfigureError};
use raft_core::ids::{ClusterId, GroupId, LogId, NodeId};
use raft_core::membership::{Member, Membership};
use raft_core::status::{Disk, HandOver, RoleKind, Status};
use raft_core::{Config, Lease, Node, NodeHandle, ReadPolicy, Settings, TokioRuntime};
use raft_testkit::memory::{MemoryDisk, MemoryJournal, MemoryNetwork, Recorder};

const CLUSTER: ClusterId = ClusterId(5);

struct Cluster {
    network: MemoryNetwork,
    disks: Vec<MemoryDisk>,
    recorders: Vec<Recorder>,
    nodes: Vec<NodeHandle>,
}

impl Cluster {
    async fn start(change: impl Fn(&mut Config)) -> Self {
        Self::start_on(change, |journal| Box::new(journal)).await
    }

    async fn start_on(
        change: impl Fn(&mut Config),
        wrap: impl Fn(MemoryJournal) -> Box<dyn Journal>,
    ) -> Self {
        let members = (1..=3).map(|id| Member::new(NodeId(id), format!("memory-{id}")));
        let membership = Membership::of_voters(members).unwrap();
        let mut cluster = Self {
            network: MemoryNetwork::new(),
            disks: (0..3).map(|_| MemoryDisk::new()).collect(),
            recorders: (0..3).map(|_| Recorder::new()).collect(),
            nodes: Vec::new(),
        };
        for id in 1..=3 {
            let disk = &cluster.disks[id as usize - 1];
            let journal =
                MemoryJournal::create(disk, CLUSTER, GroupId(0), NodeId(id), Some(&membership)).unwrap();
            let mut config = Config::new(NodeId(id), CLUSTER);
            change(&mut config);
            let node = cluster.node(config, wrap(journal)).await;
            cluster.nodes.push(node);
        }
        cluster
    }

    async fn node(&self, config: Config, journal: Box<dyn Journal>) -> NodeHandle {
        let machine = self.recorders[config.id.0 as usize - 1].machine();
        let transport = self.network.transport(config.id);
        Node::builder(config)
            .boxed_journal(journal)
            .transport(transport)
            .state_machine(machine)
            .start()
            .await
            .unwrap()
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
            // Time moves on when nothing else does.
            pass(Duration::from_millis(10)).await;
        }
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

/// M11: a write that hangs for longer than an election timeout.
#[tokio::test(start_paused = true)]
async fn a_leader_whose_disk_hangs_hands_over_and_says_why() {
    let cluster = Cluster::start(|_| {}).await;
    let at = cluster.leader().await;
    let old = &cluster.nodes[at];
    cluster.disks[at].hold_writes();
    let caller = old.clone();
    // The others have it, so it is committed; here it waits for the disk.
    let call = tokio::spawn(async move { caller.propose("written elsewhere").await });
    cluster.disks[at].write_is_held().await;
    let status = until(old, |status| status.hand_over.is_some() && status.role != RoleKind::Leader).await;
    assert_eq!(status.hand_over, Some(HandOver::DiskHangs));
    assert!(matches!(status.disk, Disk::Hangs { .. }), "{:?}", status.disk);
    let next = cluster.next_leader(at).await;
    cluster.nodes[next].propose("goes on").await.unwrap();
    assert!(call.await.unwrap().map_or_else(|error| error.outcome() == Outcome::Unknown, |_| true));

    // While it hangs it does not campaign, also not if it is told to; nor right after is it one to hand over to.
    old.campaign();
    let handed = cluster.nodes[next].transfer_leadership(None).await.unwrap();
    assert_ne!(handed, old.id(), "its disk is the one that is not prompt");
    cluster.disks[at].release_writes();
    until(old, |status| status.disk == Disk::Slow).await;
    until(old, |status| status.applied_index == status.last.index).await;
    until(old, |status| status.disk == Disk::Prompt).await;
}

impl Cluster {
    fn leader_besides(&self, at: usize) -> Option<usize> {
        (0..3).find(|other| *other != at && self.nodes[*other].status().role == RoleKind::Leader)
    }

    /// The place of another node, once one leads.
    async fn next_leader(&self, at: usize) -> usize {
        loop {
            if let Some(next) = self.leader_besides(at) {
                return next;
            }
            drop(until(&self.nodes[(at + 1) % 3], |_| true).await);
            tokio::task::yield_now().await;
        }
    }
}

/// A full disk: the node hands over at once and says why, takes nothing, votes meanwhile, and goes on by itself when there
/// is space again (J9).
#[tokio::test(start_paused = true)]
async fn a_node_whose_disk_is_full_hands_over_and_goes_on_by_itself_when_there_is_space() {
    let cluster = Cluster::start(|_| {}).await;
    let at = cluster.leader().await;
    let full = cluster.nodes[at].clone();
    let runtime = TokioRuntime::current();
    let before = runtime.now();
    cluster.disks[at].limit_bytes(Some(0));
    let caller = full.clone();
    let call = tokio::spawn(async move { caller.propose("too much").await });
    let status = until(&full, |status| matches!(status.disk, Disk::Full { .. })).await;
    assert_eq!(status.role, RoleKind::Follower);
    let next = cluster.next_leader(at).await;
    // It was told to take over: nobody waited for an election timeout.
    assert!(runtime.now().since(before) < Duration::from_millis(300));
    let applied = cluster.nodes[next].propose("goes on").await.unwrap();
    assert!(call.await.unwrap().map_or_else(|error| error.outcome() == Outcome::Unknown, |_| true));
    let refused = full.propose("meanwhile").await.unwrap_err();
    assert_eq!(refused.outcome(), Outcome::NotApplied);
    full.campaign();

    // It asks again, ever less often, and never for more than hard state in between.
    let asked = cluster.disks[at].attempts();
    pass(Duration::from_secs(60)).await;
    let asked = cluster.disks[at].attempts() - asked;
    assert!((15..=25).contains(&asked), "once in ten election timeouts, not {asked} times");
    assert_eq!(full.status().role, RoleKind::Follower);
    assert!(full.status().persisted_index < applied.id.index);

    // It votes: of the two others one goes, and the third leads with its help.
    let third = 3 - at - next;
    cluster.network.isolate(cluster.nodes[next].id());
    until(&cluster.nodes[third], |status| status.role == RoleKind::Leader).await;
    cluster.network.heal_all();

    cluster.disks[at].limit_bytes(None);
    until(&full, |status| status.applied_index >= applied.id.index).await;
    until(&full, |status| status.disk == Disk::Prompt).await;
    cluster.leader().await;
}

/// Nobody is left to hand over to: it waits, and leads again when there is space.
#[tokio::test(start_paused = true)]
async fn where_all_disks_are_full_the_cluster_waits_for_space() {
    let cluster = Cluster::start(|_| {}).await;
    let at = cluster.leader().await;
    for disk in &cluster.disks {
        disk.limit_bytes(Some(0));
    }
    let result = cluster.nodes[at].propose("too much").await;
    assert!(result.is_err_and(|error| error.outcome() == Outcome::Unknown));
    pass(Duration::from_secs(60)).await;
    for disk in &cluster.disks {
        disk.limit_bytes(None);
    }
    let at = cluster.leader().await;
    cluster.nodes[at].propose("goes on").await.unwrap();
}

/// As a journal may be that must be reopened after it found no space.
struct Reopens(MemoryJournal, bool);

#[async_trait]
impl Journal for Reopens {
    async fn load(&mut self) -> Result<JournalState, JournalError> {
        self.0.load().await
    }

    async fn write(&mut self, write: JournalWrite) -> Result<(), JournalError> {
        if self.1 {
            return Err(JournalError::Poisoned { cause: "it found no space".into() });
        }
        let done = self.0.write(write).await;
        self.1 = done.is_err();
        done
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), JournalError> {
        self.0.purge(upto).await
    }

    async fn reset(&mut self, to: LogId) -> Result<(), JournalError> {
        self.0.reset(to).await
    }

    fn reader(&self) -> Arc<dyn JournalReader> {
        self.0.reader()
    }
}

/// A journal that must be reopened when it has found no space: its node stops by a name that says so, another leads at
/// once, and it is started anew in the same process, on what its journal has (J9).
#[tokio::test(start_paused = true)]
async fn a_node_whose_journal_must_be_reopened_stops_by_that_name_and_comes_back_when_there_is_space() {
    let mut cluster = Cluster::start_on(|_| {}, |journal| Box::new(Reopens(journal, false))).await;
    let at = cluster.leader().await;
    let full = cluster.nodes[at].clone();
    let runtime = TokioRuntime::current();
    let before = runtime.now();
    cluster.disks[at].limit_bytes(Some(0));
    let result = full.propose("too much").await;
    assert!(result.is_ok() || result.is_err_and(|error| error.outcome() == Outcome::Unknown));
    let reason = full.stopped().await.unwrap_err();
    assert!(reason.is_out_of_space(), "{reason}");
    assert!(matches!(*reason, FatalReason::Journal(JournalError::NoSpace { .. })));
    let next = cluster.next_leader(at).await;
    // It was told to take over: nobody waited for an election timeout.
    assert!(runtime.now().since(before) < Duration::from_millis(300));
    let applied = cluster.nodes[next].propose("goes on").await.unwrap();

    cluster.disks[at].limit_bytes(None);
    let id = full.id();
    let journal = MemoryJournal::open(&cluster.disks[at], CLUSTER, GroupId(0), id).unwrap();
    let again = cluster.node(Config::new(id, CLUSTER), Box::new(journal)).await;
    until(&again, |status| status.applied_index >= applied.id.index).await;
    cluster.nodes[at] = again;
    cluster.leader().await;
}

#[tokio::test(start_paused = true)]
async fn every_node_answers_current_reads_where_the_policy_says_so() {
    let cluster = Cluster::start(|_| {}).await;
    let at = cluster.leader().await;
    for round in 0..20 {
        let applied = cluster.nodes[at].propose(format!("{round}")).await.unwrap();
        for node in &cluster.nodes {
            let index = node.read_barrier_with(ReadPolicy::Follower).await.unwrap();
            assert!(index >= applied.id.index);
            let recorded = &cluster.recorders[node.id().0 as usize - 1].recorded();
            assert!(recorded.through.index >= applied.id.index, "it is here when the barrier says so");
        }
    }
    let follower = &cluster.nodes[(at + 1) % 3];
    assert!(matches!(follower.read_barrier().await, Err(ReadError::NotLeader { leader: Some(_) })));

    // One that has nobody to ask says so, within an election timeout or two; so does one that is told to stop.
    cluster.network.isolate(follower.id());
    let result = follower.read_barrier_with(ReadPolicy::Follower).await;
    assert!(matches!(result, Err(ReadError::NotLeader { .. })), "{result:?}");
    let result = follower.read_barrier_with(ReadPolicy::Follower).await;
    assert_eq!(result, Err(ReadError::NotLeader { leader: None }));
    cluster.network.heal_all();
    cluster.leader().await;
    follower.shutdown().await.unwrap();
    assert_eq!(follower.read_barrier_with(ReadPolicy::Follower).await, Err(ReadError::ShuttingDown));
}

/// Under a lease a read needs nobody, for as long as the lease lasts and not longer.
#[tokio::test(start_paused = true)]
async fn a_lease_answers_without_a_quorum_until_it_is_over() {
    let cluster = Cluster::start(|config| config.lease = Some(Lease { max_drift_ppm: 1000 })).await;
    let at = cluster.leader().await;
    let leader = &cluster.nodes[at];
    until(leader, |status| status.lease_left.is_some()).await;
    let runtime = TokioRuntime::current();
    cluster.network.isolate(leader.id());
    let before = runtime.now();
    leader.read_barrier().await.unwrap();
    assert_eq!(runtime.now(), before, "it asked nobody");
    until(leader, |status| status.lease_left.is_none()).await;
    let result = leader.read_barrier().await;
    assert!(matches!(result, Err(ReadError::NotLeader { .. })), "{result:?}");
}

#[tokio::test(start_paused = true)]
async fn who_is_preferred_leads_in_the_end() {
    let cluster = Cluster::start(|config| config.priority = i8::from(config.id == NodeId(2)) * 10).await;
    until(&cluster.nodes[1], |status| status.role == RoleKind::Leader).await;
    let at = cluster.leader().await;
    assert_eq!(cluster.nodes[at].id(), NodeId(2));
    // Now it is no more: another may be told so while it runs.
    let settings = Settings { priority: Some(20), ..Settings::default() };
    cluster.nodes[2].reconfigure(settings).await.unwrap();
    let status = until(&cluster.nodes[2], |status| status.role == RoleKind::Leader).await;
    assert_eq!(status.priority, 20);
    until(&cluster.nodes[1], |status| status.hand_over == Some(HandOver::Priority)).await;
}

#[tokio::test(start_paused = true)]
async fn settings_change_while_a_node_runs_and_wrong_ones_change_nothing() {
    let cluster = Cluster::start(|_| {}).await;
    let at = cluster.leader().await;
    let leader = &cluster.nodes[at];
    let before = leader.reconfigure(Settings::default()).await.unwrap();
    let wrong = Settings { window_bytes: Some(0), priority: Some(3), ..Settings::default() };
    let refused = leader.reconfigure(wrong).await;
    assert_eq!(refused, Err(ReconfigureError::Config(ConfigError::Zero { what: "window_bytes" })));
    assert_eq!(leader.reconfigure(Settings::default()).await, Ok(before));
    let settings = Settings { uncommitted_limit_bytes: Some(10), ..Settings::default() };
    leader.reconfigure(settings).await.unwrap();
    let (one, two) = (leader.propose(vec![0; 100]), leader.propose(vec![0; 100]));
    let (one, two) = tokio::join!(one, two);
    assert!(one.is_ok() && two.is_err(), "what is refused as too much is another now");
    leader.shutdown().await.unwrap();
    assert_eq!(leader.reconfigure(Settings::default()).await, Err(ReconfigureError::Stopped));
}
