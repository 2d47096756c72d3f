//! How calls and nodes end: every call with one answer that is true, every node with nothing left running.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use raft_core::backend::{Command, Fatal, Responses, SnapshotReader, SnapshotSource, StateMachine};
use raft_core::error::{Outcome, ProposeError, TransferError};
use raft_core::ids::{ClusterId, GroupId, LogId, NodeId};
use raft_core::membership::{Member, Membership};
use raft_core::status::{RoleKind, Status};
use raft_core::{Config, Node, NodeHandle};
use raft_testkit::memory::{MemoryDisk, MemoryJournal, MemoryNetwork, Recorder};
use tokio::sync::Notify;

const CLUSTER: ClusterId = ClusterId(5);

fn config(id: u64) -> Config {
    Config::new(NodeId(id), CLUSTER)
}

async fn node(
    network: &MemoryNetwork,
    config: Config,
    membership: &Membership,
    machine: impl StateMachine,
) -> NodeHandle {
    let journal =
        MemoryJournal::create(&MemoryDisk::new(), CLUSTER, GroupId(0), config.id, Some(membership)).unwrap();
    let transport = network.transport(config.id);
    Node::builder(config).journal(journal).transport(transport).state_machine(machine).start().await.unwrap()
}

fn voters(size: u64) -> Membership {
    Membership::of_voters((1..=size).map(|id| Member::new(NodeId(id), format!("memory-{id}")))).unwrap()
}

/// Three nodes; the first of them leads and has heard of both others.
async fn three() -> (MemoryNetwork, [NodeHandle; 3]) {
    let (network, membership) = (MemoryNetwork::new(), voters(3));
    let mut nodes = Vec::new();
    for id in 1..=3 {
        nodes.push(node(&network, config(id), &membership, Recorder::new().machine()).await);
    }
    let status = nodes[0].watch().until(|status| status.leader.is_some()).await.unwrap();
    let at = nodes.iter().position(|node| Some(node.id()) == status.leader.as_ref().map(|m| m.id)).unwrap();
    nodes.swap(0, at);
    leads(&nodes[0]).await;
    (network, nodes.try_into().unwrap())
}

/// Waits until a node leads and everybody has all that it has.
async fn leads(node: &NodeHandle) {
    let settled = |status: &Status| {
        status.role == RoleKind::Leader
            && status.applied_index == status.last.index
            && status.peers.iter().all(|peer| peer.match_index == status.last.index)
    };
    node.watch().until(settled).await.unwrap();
}

/// Polls a call once: it is on its way.
macro_rules! begun {
    ($call:expr) => {{
        let mut call = Box::pin($call);
        tokio::select! {
            biased;
            answer = &mut call => panic!("answered at once: {answer:?}"),
            () = std::future::ready(()) => {}
        }
        call
    }};
}

/// P34: entries that were cut away on a node that leads again soon. Nothing may ever be committed at their
/// indexes, and the callers learn in time that nobody knows.
#[tokio::test(start_paused = true)]
async fn a_leader_that_leads_again_at_once_leaves_nobody_waiting() {
    let (network, [first, second, _third]) = three().await;
    network.isolate(first.id());
    let mut calls = Vec::new();
    for number in 0..10_u8 {
        let first = first.clone();
        calls.push(tokio::spawn(async move { first.propose(vec![number]).await }));
        // Each is an entry of its own.
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
    }
    second.campaign();
    second.watch().until(|status| status.role == RoleKind::Leader).await.unwrap();
    network.heal_all();
    leads(&second).await;
    second.transfer_leadership(Some(first.id())).await.unwrap();
    leads(&first).await;
    for call in calls {
        // Virtual time: it only ends a call that is never answered.
        let answer = tokio::time::timeout(Duration::from_secs(3600), call).await.expect("waits for ever");
        let error = answer.unwrap().unwrap_err();
        assert!(matches!(error, ProposeError::Superseded { .. } | ProposeError::Unknown { .. }), "{error}");
    }
    first.propose("goes on").await.unwrap();
}

/// T8: what commands cost in their entry counts. Else an entry grows beyond what any transport can carry,
/// and stands for ever in front of all that follow.
#[tokio::test(start_paused = true)]
async fn many_small_commands_are_as_large_as_they_are() {
    let mut limited = config(1);
    limited.command_limit_bytes = 1000;
    let only = node(&MemoryNetwork::new(), limited, &voters(1), Recorder::new().machine()).await;
    only.watch().until(|status| status.role == RoleKind::Leader).await.unwrap();
    let error = only.propose_batch(vec![Bytes::new(); 1000]).await.unwrap_err();
    assert!(matches!(error, ProposeError::TooLarge { limit_bytes: 1000, .. }), "{error}");
    assert_eq!(error.outcome(), Outcome::NotApplied);
    assert_eq!(only.propose_batch(vec![Bytes::new(); 200]).await.unwrap().len(), 200);
    assert!(only.propose(vec![0; 1000]).await.is_ok(), "a single one costs its bytes");
}

/// A hand-over runs out in the very turn in which the next one is asked for: each caller gets its own answer.
#[tokio::test(start_paused = true)]
async fn hand_overs_that_follow_at_once_are_not_mixed_up() {
    let (network, [first, second, third]) = three().await;
    network.cut(first.id(), second.id());
    let deadline = tokio::time::Instant::now() + config(1).election_timeout;
    let unheard = tokio::spawn({
        let (first, to) = (first.clone(), second.id());
        async move { first.transfer_leadership(Some(to)).await }
    });
    tokio::time::sleep_until(deadline).await;
    let next = first.transfer_leadership(Some(third.id())).await;
    assert_eq!(unheard.await.unwrap(), Err(TransferError::TimedOut { to: second.id() }));
    assert_eq!(next, Ok(third.id()));
}

/// A leader that is told to stop while it hands over, ends that first.
#[tokio::test(start_paused = true)]
async fn a_hand_over_under_way_is_waited_for_when_the_node_stops() {
    let (_network, [first, second, _third]) = three().await;
    let handed = begun!(first.transfer_leadership(Some(second.id())));
    let (handed, stopped) = tokio::join!(handed, first.shutdown());
    assert_eq!(handed, Ok(second.id()));
    stopped.unwrap();
}

/// A machine that takes its time, and shows when it is gone.
struct Slow {
    entered: Arc<Notify>,
    leave: Arc<Notify>,
    dropped: Arc<AtomicBool>,
}

impl Drop for Slow {
    fn drop(&mut self) {
        self.dropped.store(true, Ordering::SeqCst);
    }
}

#[async_trait::async_trait]
impl StateMachine for Slow {
    async fn last_applied(&mut self) -> Result<LogId, Fatal> {
        Ok(LogId::ZERO)
    }
    async fn apply(&mut self, batch: &[Command], _: LogId, responses: &mut Responses) -> Result<(), Fatal> {
        if !batch.is_empty() {
            self.entered.notify_one();
            self.leave.notified().await;
        }
        batch.iter().for_each(|_| responses.push(Bytes::new()));
        Ok(())
    }
    async fn snapshot(&mut self) -> Result<Box<dyn SnapshotSource>, Fatal> {
        Err(Fatal("none".into()))
    }
    async fn install(&mut self, _: Box<dyn SnapshotReader>) -> Result<(), Fatal> {
        Err(Fatal("none".into()))
    }
}

/// When `shutdown` returns, the files of a state machine may be opened again.
#[tokio::test(start_paused = true)]
async fn a_stopped_node_has_let_go_of_its_state_machine() {
    let (entered, leave, dropped) = <(Arc<Notify>, Arc<Notify>, Arc<AtomicBool>)>::default();
    let slow =
        Slow { entered: Arc::clone(&entered), leave: Arc::clone(&leave), dropped: Arc::clone(&dropped) };
    let only = node(&MemoryNetwork::new(), config(1), &voters(1), slow).await;
    only.watch().until(|status| status.role == RoleKind::Leader).await.unwrap();
    let call = tokio::spawn({
        let only = only.clone();
        async move { only.propose("x").await }
    });
    entered.notified().await;
    let stopping = tokio::spawn({
        let only = only.clone();
        async move { only.shutdown().await }
    });
    // Virtual time: far more than stopping takes.
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(!stopping.is_finished(), "its state machine is still at work");
    leave.notify_one();
    stopping.await.unwrap().unwrap();
    assert!(dropped.load(Ordering::SeqCst));
    assert!(call.await.unwrap().is_ok(), "what was applied is answered");
}
