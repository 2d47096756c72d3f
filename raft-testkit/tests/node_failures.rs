//! What goes wrong around a node at the worst moment: a read that comes too late, a disk that fails while
//! callers queue, a runtime that ends, a leader that does not know that it was replaced.

use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use raft_core::backend::{
    Journal, JournalError, JournalReader, JournalState, JournalWrite, Runtime, StateMachine,
};
use raft_core::entry::Entry;
use raft_core::error::{FatalReason, Outcome, ProposeError, ReadError};
use raft_core::ids::{ClusterId, GroupId, Index, LogId, NodeId};
use raft_core::membership::{Member, Membership};
use raft_core::status::{RoleKind, Status};
use raft_core::{Config, Node, NodeHandle, TokioRuntime};
use raft_testkit::memory::{MemoryDisk, MemoryJournal, MemoryNetwork, Recorder};
use tokio::sync::watch;

const CLUSTER: ClusterId = ClusterId(5);

fn config(id: u64) -> Config {
    Config::new(NodeId(id), CLUSTER)
}

fn voters(size: u64) -> Membership {
    Membership::of_voters((1..=size).map(|id| Member::new(NodeId(id), format!("memory-{id}")))).unwrap()
}

fn journal(disk: &MemoryDisk, id: u64, membership: Option<&Membership>) -> MemoryJournal {
    MemoryJournal::create(disk, CLUSTER, GroupId(0), NodeId(id), membership).unwrap()
}

async fn node(
    network: &MemoryNetwork,
    config: Config,
    journal: impl Journal,
    machine: impl StateMachine,
) -> NodeHandle {
    let transport = network.transport(config.id);
    Node::builder(config).journal(journal).transport(transport).state_machine(machine).start().await.unwrap()
}

/// One node that leads, and its disk.
async fn alone() -> (NodeHandle, MemoryDisk) {
    let disk = MemoryDisk::new();
    let journal = journal(&disk, 1, Some(&voters(1)));
    let only = node(&MemoryNetwork::new(), config(1), journal, Recorder::new().machine()).await;
    leads(&only).await;
    only.propose("first").await.unwrap();
    (only, disk)
}

async fn leads(node: &NodeHandle) {
    let settled = |status: &Status| {
        status.role == RoleKind::Leader
            && status.applied_index == status.last.index
            && status.peers.iter().all(|peer| peer.match_index == status.last.index)
    };
    node.watch().until(settled).await.unwrap();
}

/// Three nodes; the first of them leads and everybody has all that it has.
async fn three() -> (MemoryNetwork, [NodeHandle; 3]) {
    let (network, membership) = (MemoryNetwork::new(), voters(3));
    let mut nodes = Vec::new();
    for id in 1..=3 {
        let journal = journal(&MemoryDisk::new(), id, Some(&membership));
        nodes.push(node(&network, config(id), journal, Recorder::new().machine()).await);
    }
    let status = nodes[0].watch().until(|status| status.leader.is_some()).await.unwrap();
    let leader = status.leader.as_ref().map(|member| member.id);
    let at = nodes.iter().position(|node| Some(node.id()) == leader).unwrap();
    nodes.swap(0, at);
    leads(&nodes[0]).await;
    (network, nodes.try_into().unwrap())
}

/// Polls a call once: it is on its way, and nothing else has run.
fn begun<T>(call: impl Future<Output = T>) -> std::pin::Pin<Box<impl Future<Output = T>>> {
    let mut call = Box::pin(call);
    let polled = call.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(polled.is_pending(), "answered at once");
    call
}

/// A journal whose reader waits at a gate, as one on a slow disk does.
struct SlowToRead {
    journal: MemoryJournal,
    gate: watch::Receiver<bool>,
    /// The first index of each read that waits or has waited.
    asked: watch::Sender<Vec<Index>>,
}

#[async_trait::async_trait]
impl Journal for SlowToRead {
    async fn load(&mut self) -> Result<JournalState, JournalError> {
        self.journal.load().await
    }
    async fn write(&mut self, write: JournalWrite) -> Result<(), JournalError> {
        self.journal.write(write).await
    }
    async fn purge(&mut self, upto: LogId) -> Result<(), JournalError> {
        self.journal.purge(upto).await
    }
    async fn reset(&mut self, to: LogId) -> Result<(), JournalError> {
        self.journal.reset(to).await
    }
    fn reader(&self) -> Arc<dyn JournalReader> {
        let (gate, asked) = (self.gate.clone(), self.asked.clone());
        Arc::new(SlowReader { reader: self.journal.reader(), gate, asked })
    }
}

struct SlowReader {
    reader: Arc<dyn JournalReader>,
    gate: watch::Receiver<bool>,
    asked: watch::Sender<Vec<Index>>,
}

#[async_trait::async_trait]
impl JournalReader for SlowReader {
    async fn entries(&self, range: Range<Index>, max_bytes: u64) -> Result<Vec<Entry>, JournalError> {
        self.asked.send_modify(|asked| asked.push(range.start));
        self.gate.clone().wait_for(|open| *open).await.unwrap();
        self.reader.entries(range, max_bytes).await
    }
}

/// A leader reads entries for a follower, loses its leadership, and the entries are cut away before the
/// read comes to them. Nobody wants them any more: that they are gone is no failure of the journal.
#[tokio::test(start_paused = true)]
async fn a_read_for_a_follower_that_comes_too_late_stops_nobody() {
    let (network, membership) = (MemoryNetwork::new(), voters(3));
    let (open, gate) = watch::channel(true);
    let asked = watch::Sender::new(Vec::new());
    let disks = [MemoryDisk::new(), MemoryDisk::new(), MemoryDisk::new()];
    let slow = SlowToRead { journal: journal(&disks[0], 1, Some(&membership)), gate, asked: asked.clone() };
    // Nothing durable stays in memory, and one append is under way at a time.
    let mut small = config(1);
    (small.tail_limit_bytes, small.window_messages) = (0, 1);
    let first = node(&network, small, slow, Recorder::new().machine()).await;
    let second =
        node(&network, config(2), journal(&disks[1], 2, Some(&membership)), Recorder::new().machine()).await;
    let _third =
        node(&network, config(3), journal(&disks[2], 3, Some(&membership)), Recorder::new().machine()).await;
    first.watch().until(|status| status.leader.is_some()).await.unwrap();
    if first.status().role != RoleKind::Leader {
        first.campaign();
    }
    leads(&first).await;

    // The first entry is under way to both; the others have left memory and wait for their turn.
    disks[1].hold_writes();
    disks[2].hold_writes();
    let before = first.status().last.index;
    let mut calls = Vec::new();
    for number in 1..=4 {
        let caller = first.clone();
        calls.push(tokio::spawn(async move { caller.propose(vec![0; 100]).await }));
        // Each is an entry of its own, and durable here.
        let durable = Index(before.0 + number);
        first.watch().until(|status| status.persisted_index >= durable).await.unwrap();
    }
    disks[1].write_is_held().await;
    open.send_replace(false);
    disks[1].release_writes();
    let next = Index(before.0 + 2);
    asked.subscribe().wait_for(|asked| asked.contains(&next)).await.unwrap();

    // Others go on without it, and it follows them.
    network.isolate(first.id());
    disks[2].release_writes();
    second.campaign();
    second.watch().until(|status| status.role == RoleKind::Leader).await.unwrap();
    network.heal_all();
    leads(&second).await;
    let term = second.status().term;
    first.watch().until(|status| status.term == term && status.last == second.status().last).await.unwrap();
    open.send_replace(true);

    for call in calls {
        let _ = call.await.unwrap();
    }
    second.propose("goes on").await.unwrap();
    leads(&second).await;
    tokio::select! {
        biased;
        end = first.stopped() => panic!("it stopped: {end:?}"),
        handed = second.transfer_leadership(Some(first.id())) => assert_eq!(handed, Ok(first.id())),
    }
}

/// The disk fails in the very turn in which more comes: what was proposed may be on the disk; what was only
/// queued is certainly not applied, and its caller learns why the node stopped.
#[tokio::test(start_paused = true)]
async fn callers_who_queue_while_the_disk_fails_learn_that_nothing_happened() {
    let (only, disk) = alone().await;
    disk.hold_writes();
    let proposed = begun(only.propose("under way"));
    disk.write_is_held().await;
    disk.fail_next_write(JournalError::Io { what: "writing".into(), cause: "EIO".into() });
    disk.release_writes();
    let queued = begun(only.propose("queued"));
    let read = begun(only.read_barrier());
    let (proposed, queued, read) = tokio::join!(proposed, queued, read);
    assert_eq!(proposed.unwrap_err().outcome(), Outcome::Unknown);
    let journal_failed = |reason: &FatalReason| matches!(reason, FatalReason::Journal(_));
    assert!(matches!(&queued, Err(ProposeError::Fatal(reason)) if journal_failed(reason)), "{queued:?}");
    assert!(matches!(&read, Err(ReadError::Fatal(reason)) if journal_failed(reason)), "{read:?}");
}

/// A runtime may end under a node that others hold: they do not wait for ever.
#[test]
fn a_runtime_that_ends_ends_its_nodes() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (only, _disk) = runtime.block_on(alone());
    drop(runtime);
    let other =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    other.block_on(async {
        // Virtual time: it only ends a call that is never answered.
        let patient = |what| Duration::from_secs(what);
        let ended = tokio::time::timeout(patient(3600), only.stopped()).await.expect("waits for ever");
        assert!(ended.is_err(), "nobody has asked it to stop");
        assert!(only.watch().changed().await.is_none());
        assert!(matches!(only.propose("x").await, Err(ProposeError::Fatal(_))));
        assert!(only.shutdown().await.is_err());
    });
}

/// As its documentation says.
#[tokio::test(start_paused = true)]
async fn a_new_watch_shows_the_status_at_once() {
    let journal = journal(&MemoryDisk::new(), 9, None);
    let node = node(&MemoryNetwork::new(), config(9), journal, Recorder::new().machine()).await;
    let mut watch = node.watch();
    let shown = std::pin::pin!(watch.changed()).poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(shown, Poll::Ready(Some(status)) if status.role == RoleKind::Limbo));
}

/// A runtime that is named may differ from the one that the caller stands in, or there may be none there.
#[test]
fn a_runtime_makes_its_timers_from_anywhere() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let named = runtime.block_on(async { TokioRuntime::current() });
    let mut timer = named.timer();
    timer.as_mut().set(Some(named.now()));
    runtime.block_on(std::future::poll_fn(|context| timer.as_mut().poll(context)));
}

/// M2: a leader that was replaced and does not know it answers no read, whatever it still believes.
#[tokio::test(start_paused = true)]
async fn a_replaced_leader_answers_no_read() {
    let (network, [old, next, _]) = three().await;
    network.isolate(old.id());
    next.campaign();
    next.watch().until(|status| status.role == RoleKind::Leader).await.unwrap();
    next.propose("newer than what the old leader has").await.unwrap();
    assert_eq!(old.status().role, RoleKind::Leader, "it does not know yet");
    let read = old.read_barrier().await;
    assert!(matches!(read, Err(ReadError::NotLeader { .. })), "{read:?}");
}

/// P34: back in time, a replaced leader tells its callers for certain.
#[tokio::test(start_paused = true)]
async fn who_learns_in_time_what_was_committed_instead_says_so() {
    let (network, [old, next, _]) = three().await;
    network.isolate(old.id());
    let alone = tokio::spawn({
        let old = old.clone();
        async move { old.propose("alone").await }
    });
    old.watch().until(|status| status.last.index > status.commit_index).await.unwrap();
    next.campaign();
    next.watch().until(|status| status.role == RoleKind::Leader).await.unwrap();
    network.heal_all();
    let error = alone.await.unwrap().unwrap_err();
    let ProposeError::Superseded { by } = &error else { panic!("{error}") };
    assert_eq!(by.term, next.status().term);
    assert_eq!(error.outcome(), Outcome::NotApplied);
}
