//! The driver over backends in memory, on a paused clock: what callers are told, and when.

use std::time::Duration;

use bytes::Bytes;
use raft_core::backend::{
    Command, Fatal, JournalError, Refusal, Responses, SnapshotReader, SnapshotSource, StateMachine,
};
use raft_core::error::{FatalReason, Outcome, ProposeError, ReadError, TransferError};
use raft_core::ids::{ClusterId, GroupId, LogId, NodeId};
use raft_core::membership::{Member, Membership};
use raft_core::status::{RoleKind, Status};
use raft_core::{Config, Node, NodeHandle, TypedNode};
use raft_testkit::memory::{MemoryDisk, MemoryJournal, MemoryNetwork, Recorder};

const CLUSTER: ClusterId = ClusterId(5);

struct Cluster {
    network: MemoryNetwork,
    membership: Membership,
    disks: Vec<MemoryDisk>,
    recorders: Vec<Recorder>,
    nodes: Vec<NodeHandle>,
}

fn config(id: u64) -> Config {
    Config::new(NodeId(id), CLUSTER)
}

impl Cluster {
    async fn of(size: u64) -> Self {
        let members = (1..=size).map(|id| Member::new(NodeId(id), format!("memory-{id}")));
        let mut cluster = Self {
            network: MemoryNetwork::new(),
            membership: Membership::of_voters(members).unwrap(),
            disks: Vec::new(),
            recorders: Vec::new(),
            nodes: Vec::new(),
        };
        for id in 1..=size {
            let (disk, recorder) = (MemoryDisk::new(), Recorder::new());
            let initial = Some(&cluster.membership);
            let journal = MemoryJournal::create(&disk, CLUSTER, GroupId(0), NodeId(id), initial).unwrap();
            let machine = recorder.machine();
            let node = cluster.start(config(id), journal, machine).await;
            cluster.disks.push(disk);
            cluster.recorders.push(recorder);
            cluster.nodes.push(node);
        }
        cluster
    }

    async fn start(&self, config: Config, journal: MemoryJournal, machine: impl StateMachine) -> NodeHandle {
        let transport = self.network.transport(config.id);
        Node::builder(config)
            .journal(journal)
            .transport(transport)
            .state_machine(machine)
            .start()
            .await
            .unwrap()
    }

    fn node(&self, id: NodeId) -> &NodeHandle {
        &self.nodes[id.0 as usize - 1]
    }

    /// Who leads, once a node other than `but` does.
    async fn leader_but(&self, but: Option<NodeId>) -> NodeHandle {
        for node in self.nodes.iter().cycle() {
            if Some(node.id()) == but {
                continue;
            }
            let known = |status: &Status| status.leader.as_ref().is_some_and(|leader| Some(leader.id) != but);
            let status = node.watch().until(known).await.unwrap();
            let leader = self.node(status.leader.as_ref().unwrap().id).clone();
            if leader.status().role == RoleKind::Leader {
                return leader;
            }
        }
        unreachable!()
    }

    async fn leader(&self) -> NodeHandle {
        self.leader_but(None).await
    }

    fn follower(&self, of: &NodeHandle) -> NodeHandle {
        self.nodes.iter().find(|node| node.id() != of.id()).unwrap().clone()
    }

    /// The process of a node is gone, and with it what was not durable.
    fn kill(&self, id: NodeId) {
        self.network.kill(id);
        self.disks[id.0 as usize - 1].crash();
    }
}

#[tokio::test(start_paused = true)]
async fn three_nodes_elect_a_leader_and_execute_in_one_order() {
    let cluster = Cluster::of(3).await;
    let leader = cluster.leader().await;
    let mut last = LogId::ZERO;
    for number in 0..50_u8 {
        let applied = leader.propose(vec![number]).await.unwrap();
        assert_eq!(applied.response, Bytes::from(vec![number]), "the recording machine echoes");
        assert!((applied.id, applied.position) > (last, 0));
        last = applied.id;
    }
    for recorder in &cluster.recorders {
        let recorded = recorder.applied(last.index).await;
        let data: Vec<u8> = recorded.commands.iter().map(|command| command.data[0]).collect();
        assert_eq!(data, (0..50).collect::<Vec<u8>>());
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_one_entry_and_is_answered_in_order() {
    let cluster = Cluster::of(3).await;
    let leader = cluster.leader().await;
    let commands: Vec<Bytes> = (0..100_u8).map(|number| Bytes::from(vec![number])).collect();
    let applied = leader.propose_batch(commands.clone()).await.unwrap();
    let answers: Vec<Bytes> = applied.iter().map(|applied| applied.response.clone()).collect();
    assert_eq!(answers, commands);
    assert!(applied.iter().all(|one| one.id == applied[0].id));
    assert_eq!(applied.iter().map(|one| one.position).collect::<Vec<_>>(), (0..100).collect::<Vec<_>>());
    assert_eq!(leader.propose_batch(Vec::new()).await, Ok(Vec::new()));
}

#[tokio::test(start_paused = true)]
async fn callers_that_wait_together_get_their_own_answers() {
    let cluster = Cluster::of(3).await;
    let leader = cluster.leader().await;
    let calls = (0..200_u16).map(|number| {
        let leader = leader.clone();
        tokio::spawn(async move { (number, leader.propose(number.to_le_bytes().to_vec()).await) })
    });
    for call in calls.collect::<Vec<_>>() {
        let (number, applied) = call.await.unwrap();
        assert_eq!(applied.unwrap().response, Bytes::from(number.to_le_bytes().to_vec()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_follower_says_who_leads() {
    let cluster = Cluster::of(3).await;
    let leader = cluster.leader().await;
    let follower = cluster.follower(&leader);
    follower.watch().until(|status| status.leader.is_some()).await;
    let error = follower.propose("x").await.unwrap_err();
    let ProposeError::NotLeader { leader: Some(known) } = &error else { panic!("{error}") };
    assert_eq!(known.id, leader.id());
    assert_eq!(error.outcome(), Outcome::NotApplied);
    assert!(matches!(follower.read_barrier().await, Err(ReadError::NotLeader { leader: Some(_) })));
    assert!(matches!(follower.transfer_leadership(None).await, Err(TransferError::NotLeader { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_killed_leader_is_replaced_and_no_acknowledged_write_is_lost() {
    let cluster = Cluster::of(3).await;
    let leader = cluster.leader().await;
    for number in 0..20_u8 {
        leader.propose(vec![number]).await.unwrap();
    }
    cluster.kill(leader.id());
    let next = cluster.leader_but(Some(leader.id())).await;
    let applied = next.propose("after").await.unwrap();
    let recorded = cluster.recorders[next.id().0 as usize - 1].applied(applied.id.index).await;
    let data: Vec<&[u8]> = recorded.commands.iter().map(|command| &command.data[..]).collect();
    assert_eq!(data.len(), 21);
    assert!((0..20_u8).all(|number| data[number as usize] == [number]));
}

#[tokio::test(start_paused = true)]
async fn a_node_comes_back_with_what_it_had() {
    let mut cluster = Cluster::of(3).await;
    let leader = cluster.leader().await;
    leader.propose("one").await.unwrap();
    leader.shutdown().await.unwrap();
    let next = cluster.leader_but(Some(leader.id())).await;
    next.propose("two").await.unwrap();
    let at = leader.id().0 as usize - 1;
    let journal = MemoryJournal::open(&cluster.disks[at], CLUSTER, GroupId(0), leader.id()).unwrap();
    // A state machine without a disk: everything is applied again.
    let recorder = Recorder::new();
    let again = cluster.start(config(leader.id().0), journal, recorder.machine()).await;
    cluster.nodes[at] = again;
    let last = next.propose("three").await.unwrap();
    let recorded = recorder.applied(last.id.index).await;
    let data: Vec<Bytes> = recorded.commands.into_iter().map(|command| command.data).collect();
    assert_eq!(data, ["one", "two", "three"]);
}

#[tokio::test(start_paused = true)]
async fn a_single_node_leads_at_once() {
    let cluster = Cluster::of(1).await;
    let started = tokio::time::Instant::now();
    let leader = cluster.leader().await;
    leader.propose("alone").await.unwrap();
    leader.read_barrier().await.unwrap();
    let least = config(1).election_timeout;
    assert!(started.elapsed() < least, "virtual time: it waited for no timeout");
}

#[tokio::test(start_paused = true)]
async fn without_a_quorum_everything_ends_and_comes_back() {
    let cluster = Cluster::of(3).await;
    let leader = cluster.leader().await;
    let timeout = config(1).election_timeout;
    cluster.network.isolate(leader.id());
    let started = tokio::time::Instant::now();
    let write = leader.propose("lost or not").await.unwrap_err();
    assert!(matches!(write, ProposeError::Unknown { .. }), "{write}");
    assert_eq!(write.outcome(), Outcome::Unknown);
    // Virtual time: within two election timeouts, as the paused clock counts them.
    assert!(started.elapsed() <= timeout * 2, "{:?}", started.elapsed());
    assert_eq!(leader.propose("x").await, Err(ProposeError::NotLeader { leader: None }));
    assert_eq!(leader.read_barrier().await, Err(ReadError::NotLeader { leader: None }));
    cluster.network.heal_all();
    let next = cluster.leader().await;
    next.propose("back").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_overwritten_proposal_is_certainly_not_applied() {
    let cluster = Cluster::of(3).await;
    let leader = cluster.leader().await;
    // The entry stays on the leader, alone; the others go on without it.
    cluster.network.isolate(leader.id());
    let waiting = {
        let leader = leader.clone();
        tokio::spawn(async move { leader.propose("alone").await })
    };
    let next = cluster.leader_but(Some(leader.id())).await;
    next.propose("instead").await.unwrap();
    next.propose("and more").await.unwrap();
    cluster.network.heal_all();
    let error = waiting.await.unwrap().unwrap_err();
    // Back in time it learns what was committed in its place; else it can only say that it does not know.
    assert!(matches!(error, ProposeError::Superseded { .. } | ProposeError::Unknown { .. }), "{error}");
    let recorded = cluster.recorders[next.id().0 as usize - 1].recorded();
    assert!(recorded.commands.iter().all(|command| command.data != "alone"));
}

#[tokio::test(start_paused = true)]
async fn what_is_too_large_is_refused_before_it_is_queued() {
    let mut small = config(1);
    small.command_limit_bytes = 1000;
    let cluster = Cluster::of(1).await;
    cluster.nodes[0].shutdown().await.unwrap();
    let journal = MemoryJournal::open(&cluster.disks[0], CLUSTER, GroupId(0), NodeId(1)).unwrap();
    let node = cluster.start(small, journal, Recorder::new().machine()).await;
    node.watch().until(|status| status.role == RoleKind::Leader).await;
    let error = node.propose(vec![0; 1001]).await.unwrap_err();
    assert_eq!(error, ProposeError::TooLarge { bytes: 1001, limit_bytes: 1000 });
    assert!(node.propose(vec![0; 1000]).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_cannot_keep_up_says_so() {
    let mut small = config(1);
    small.uncommitted_limit_bytes = 10_000;
    let cluster = Cluster::of(1).await;
    cluster.nodes[0].shutdown().await.unwrap();
    let journal = MemoryJournal::open(&cluster.disks[0], CLUSTER, GroupId(0), NodeId(1)).unwrap();
    let node = cluster.start(small, journal, Recorder::new().machine()).await;
    node.watch().until(|status| status.role == RoleKind::Leader).await;
    node.propose("first").await.unwrap();
    cluster.disks[0].hold_writes();
    let calls: Vec<_> = (0..40)
        .map(|_| {
            let node = node.clone();
            tokio::spawn(async move { node.propose(vec![0; 1000]).await })
        })
        .collect();
    cluster.disks[0].write_is_held().await;
    tokio::task::yield_now().await;
    cluster.disks[0].release_writes();
    let mut overloaded = 0;
    for call in calls {
        match call.await.unwrap() {
            Ok(_) => {}
            Err(ProposeError::Overloaded { .. }) => overloaded += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert!((20..40).contains(&overloaded), "{overloaded} of 40");
    node.propose("goes on").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn nothing_is_acknowledged_before_the_disk_has_it() {
    let cluster = Cluster::of(1).await;
    let leader = cluster.leader().await;
    leader.propose("first").await.unwrap();
    cluster.disks[0].hold_writes();
    let mut waiting = std::pin::pin!(leader.propose("held"));
    let held = cluster.disks[0].write_is_held();
    tokio::select! {
        biased;
        _ = &mut waiting => panic!("acknowledged while its write is held"),
        () = held => {}
    }
    cluster.disks[0].release_writes();
    waiting.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_failing_journal_stops_its_node_and_no_other() {
    let cluster = Cluster::of(3).await;
    let leader = cluster.leader().await;
    leader.propose("first").await.unwrap();
    let failure = JournalError::Io { what: "writing".into(), cause: "EIO".into() };
    cluster.disks[leader.id().0 as usize - 1].fail_next_write(failure);
    let error = leader.propose("second").await.unwrap_err();
    assert!(matches!(error, ProposeError::Unknown { .. }), "{error}");
    let reason = leader.stopped().await.unwrap_err();
    assert!(matches!(*reason, FatalReason::Journal(_)), "{reason}");
    assert!(matches!(leader.propose("x").await, Err(ProposeError::Fatal(_))));
    assert!(matches!(leader.read_barrier().await, Err(ReadError::Fatal(_))));
    let next = cluster.leader_but(Some(leader.id())).await;
    next.propose("goes on").await.unwrap();
}

/// A machine that does not survive the word "die".
struct Mortal;

#[async_trait::async_trait]
impl StateMachine for Mortal {
    async fn last_applied(&mut self) -> Result<LogId, Fatal> {
        Ok(LogId::ZERO)
    }
    async fn apply(&mut self, batch: &[Command], _: LogId, responses: &mut Responses) -> Result<(), Fatal> {
        for command in batch {
            assert!(command.data != "die", "it said die");
            if command.data != "mute" {
                responses.push(Bytes::new());
            }
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

async fn mortal() -> NodeHandle {
    let cluster = Cluster::of(1).await;
    cluster.nodes[0].shutdown().await.unwrap();
    let journal = MemoryJournal::open(&cluster.disks[0], CLUSTER, GroupId(0), NodeId(1)).unwrap();
    let node = cluster.start(config(1), journal, Mortal).await;
    node.watch().until(|status| status.role == RoleKind::Leader).await;
    node
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_the_state_machine_stops_the_node_with_a_reason() {
    let node = mortal().await;
    node.propose("live").await.unwrap();
    let error = node.propose("die").await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::Unknown, "{error}");
    let reason = node.stopped().await.unwrap_err();
    assert_eq!(reason.to_string(), "a task panicked: it said die");
}

#[tokio::test(start_paused = true)]
async fn a_state_machine_that_does_not_answer_stops_the_node_with_a_reason() {
    let node = mortal().await;
    assert!(node.propose("mute").await.is_err());
    let reason = node.stopped().await.unwrap_err();
    assert_eq!(reason.to_string(), "the state machine failed: it gave 0 responses to 1 commands");
}

#[tokio::test(start_paused = true)]
async fn a_read_barrier_covers_what_was_acknowledged_elsewhere() {
    let cluster = Cluster::of(3).await;
    let leader = cluster.leader().await;
    let first = leader.propose("old leader").await.unwrap();
    let to = leader.transfer_leadership(None).await.unwrap();
    assert_ne!(to, leader.id());
    let next = cluster.leader_but(Some(leader.id())).await;
    let index = next.read_barrier().await.unwrap();
    assert!(index > first.id.index);
    let recorded = cluster.recorders[next.id().0 as usize - 1].recorded();
    assert!(recorded.through.index >= index, "applied when the barrier returns");
}

#[tokio::test(start_paused = true)]
async fn leadership_goes_where_it_is_sent() {
    let cluster = Cluster::of(3).await;
    let leader = cluster.leader().await;
    let to = cluster.follower(&leader);
    // The leader must have heard of it in this term.
    leader.propose("x").await.unwrap();
    leader.read_barrier().await.unwrap();
    let heard =
        |status: &Status| status.peers.iter().any(|peer| peer.id == to.id() && peer.contact_age.is_some());
    leader.watch().until(heard).await;
    assert_eq!(leader.transfer_leadership(Some(to.id())).await, Ok(to.id()));
    to.watch().until(|status| status.role == RoleKind::Leader).await.unwrap();
    let own = to.transfer_leadership(Some(to.id())).await;
    assert!(matches!(own, Err(TransferError::BadTarget { .. })));
    let nobody = to.transfer_leadership(Some(NodeId(99))).await;
    assert!(matches!(nobody, Err(TransferError::BadTarget { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_shut_down_hands_over_first() {
    let cluster = Cluster::of(3).await;
    let leader = cluster.leader().await;
    leader.propose("x").await.unwrap();
    let term = leader.status().term;
    leader.shutdown().await.unwrap();
    let next = cluster.leader_but(Some(leader.id())).await;
    let status = next.status();
    assert_eq!(status.term, term.next(), "one election, started by the old leader");
    assert_eq!(leader.propose("y").await, Err(ProposeError::ShuttingDown));
    assert_eq!(leader.read_barrier().await, Err(ReadError::ShuttingDown));
    assert_eq!(leader.shutdown().await, Ok(()), "again does no harm");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_asked_to_campaigns_and_wins() {
    let cluster = Cluster::of(3).await;
    let leader = cluster.leader().await;
    leader.propose("x").await.unwrap();
    let other = cluster.follower(&leader);
    other.watch().until(|status| status.leader.is_some() && status.commit_index.0 >= 3).await;
    other.campaign();
    other.watch().until(|status| status.role == RoleKind::Leader).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_disturbs_nobody() {
    let cluster = Cluster::of(3).await;
    let leader = cluster.leader().await;
    for _ in 0..10 {
        let mut call = Box::pin(leader.propose("dropped"));
        // Polled once: it is on its way.
        tokio::select! { biased; _ = &mut call => {}, () = std::future::ready(()) => {} }
    }
    let applied = leader.propose("kept").await.unwrap();
    let recorded = cluster.recorders[leader.id().0 as usize - 1].applied(applied.id.index).await;
    assert_eq!(recorded.commands.len(), 11, "what was sent is executed, once");
}

#[tokio::test(start_paused = true)]
async fn the_node_runs_on_without_handles() {
    let mut cluster = Cluster::of(3).await;
    let leader = cluster.leader().await;
    let others: Vec<NodeId> =
        cluster.nodes.iter().map(NodeHandle::id).filter(|id| *id != leader.id()).collect();
    cluster.nodes.retain(|node| node.id() == leader.id());
    // Both others have no handle any more and still make the quorum.
    assert_eq!(others.len(), 2);
    leader.propose("x").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn typed_commands_and_responses() {
    let cluster = Cluster::of(1).await;
    let leader = cluster.leader().await;
    let typed: TypedNode<(u32, String), (u32, String)> = TypedNode::new(leader);
    // The recording machine echoes the bytes.
    let command = (7, String::from("seven"));
    assert_eq!(typed.propose(&command).await, Ok(command));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_was_replaced_is_refused_and_its_node_stops() {
    let mut cluster = Cluster::of(3).await;
    let leader = cluster.leader().await;
    leader.propose("x").await.unwrap();
    let victim = cluster.follower(&leader).id();
    let at = victim.0 as usize - 1;
    cluster.nodes[at].shutdown().await.unwrap();
    // The same node id with an empty disk.
    let fresh = MemoryDisk::new();
    let initial = Some(&cluster.membership);
    let journal = MemoryJournal::create(&fresh, CLUSTER, GroupId(0), victim, initial).unwrap();
    let node = cluster.start(config(victim.0), journal, Recorder::new().machine()).await;
    let reason = node.stopped().await.unwrap_err();
    let refused = matches!(&*reason, FatalReason::Refused { why: Refusal::StoreReplaced { .. }, .. });
    assert!(refused, "{reason}");
    assert_eq!(node.status().vote, raft_core::backend::Vote::None, "it voted for nobody");
    cluster.nodes[at] = node;
    leader.propose("the others stay up").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_store_that_was_set_back_is_refused_and_its_node_stops() {
    let cluster = Cluster::of(3).await;
    let leader = cluster.leader().await;
    let victim = cluster.follower(&leader).id();
    let at = victim.0 as usize - 1;
    cluster.nodes[at].shutdown().await.unwrap();
    let copy = cluster.disks[at].copy();
    let journal = MemoryJournal::open(&cluster.disks[at], CLUSTER, GroupId(0), victim).unwrap();
    let node = cluster.start(config(victim.0), journal, Recorder::new().machine()).await;
    node.watch().until(|status| status.leader.is_some()).await.unwrap();
    node.shutdown().await.unwrap();
    // The copy opens as the same incarnation, in another run.
    let journal = MemoryJournal::open(&copy, CLUSTER, GroupId(0), victim).unwrap();
    let node = cluster.start(config(victim.0), journal, Recorder::new().machine()).await;
    let reason = node.stopped().await.unwrap_err();
    let refused = matches!(&*reason, FatalReason::Refused { why: Refusal::RolledBack { .. }, .. });
    assert!(refused, "{reason}");
    leader.propose("the others stay up").await.unwrap();
}

/// A copy taken while the node ran comes with a higher incarnation than any peer has seen: only what it
/// has forgotten gives it away.
#[tokio::test(start_paused = true)]
async fn a_copy_of_a_running_store_is_noticed_by_what_it_lacks() {
    let cluster = Cluster::of(3).await;
    let leader = cluster.leader().await;
    leader.propose("before the copy").await.unwrap();
    let victim = cluster.follower(&leader).id();
    let at = victim.0 as usize - 1;
    let copy = cluster.disks[at].copy();
    for _ in 0..5 {
        leader.propose("after the copy").await.unwrap();
    }
    let caught_up = |status: &Status| {
        let peer = status.peers.iter().find(|peer| peer.id == victim);
        peer.is_some_and(|peer| peer.match_index == status.last.index)
    };
    leader.watch().until(caught_up).await;
    cluster.kill(victim);
    let journal = MemoryJournal::open(&copy, CLUSTER, GroupId(0), victim).unwrap();
    let node = cluster.start(config(victim.0), journal, Recorder::new().machine()).await;
    let reason = node.stopped().await.unwrap_err();
    assert!(matches!(&*reason, FatalReason::RolledBack { .. }), "{reason}");
    leader.propose("the others stay up").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_foreign_journal_is_refused_by_name() {
    let disk = MemoryDisk::new();
    let journal = MemoryJournal::create(&disk, ClusterId(6), GroupId(0), NodeId(1), None).unwrap();
    let network = MemoryNetwork::new();
    let builder = Node::builder(config(1)).journal(journal).transport(network.transport(NodeId(1)));
    let error = builder.state_machine(Recorder::new().machine()).start().await.unwrap_err();
    assert!(matches!(error, FatalReason::Config(_)), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_limbo_node_waits_and_answers() {
    let disk = MemoryDisk::new();
    let journal = MemoryJournal::create(&disk, CLUSTER, GroupId(0), NodeId(9), None).unwrap();
    let network = MemoryNetwork::new();
    let builder = Node::builder(config(9)).journal(journal).transport(network.transport(NodeId(9)));
    let node = builder.state_machine(Recorder::new().machine()).start().await.unwrap();
    tokio::time::advance(Duration::from_secs(60)).await;
    assert_eq!(node.status().role, RoleKind::Limbo);
    assert_eq!(node.propose("x").await, Err(ProposeError::NotLeader { leader: None }));
    node.shutdown().await.unwrap();
}
