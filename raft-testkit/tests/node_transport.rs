//! A node and its transport, which the tests play: handshakes, back-pressure, refusals, and a transport that
//! misbehaves.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::Bytes;
use raft_core::backend::{Delivery, Inbox, JournalError, Refusal, Sent, Transport, TransportError};
use raft_core::entry::{Entry, EntryKind};
use raft_core::error::{FatalReason, ProposeError, ReadError};
use raft_core::ids::{ClusterId, GroupId, Identity, Incarnation, Index, LogId, NodeId, StoreId, Term};
use raft_core::membership::{Member, Membership};
use raft_core::message::{
    Append, Ballot, Envelope, Heartbeat, Lane, Message, TimeoutNow, VoteReply, VoteRequest,
};
use raft_core::status::RoleKind;
use raft_core::{Config, Node, NodeHandle};
use raft_testkit::memory::{MemoryDisk, MemoryJournal, Recorder};
use tokio::sync::Notify;

const CLUSTER: ClusterId = ClusterId(5);

/// A transport whose other end is the test.
#[derive(Clone, Default)]
struct Puppet(Arc<Strings>);

#[derive(Default)]
struct Strings {
    state: Mutex<State>,
    sent: Notify,
    /// Shutting down takes until this is notified, if `lingers`.
    let_go: Notify,
    lingers: AtomicBool,
    panics_on_send: AtomicBool,
    panics_on_shutdown: AtomicBool,
}

#[derive(Default)]
struct State {
    inbox: Option<Inbox>,
    sent: Vec<Envelope>,
}

impl Puppet {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn inbox(&self) -> Inbox {
        self.lock().inbox.clone().unwrap()
    }

    /// Returns what `look` finds among the messages sent so far, as soon as it finds something.
    async fn until<T>(&self, look: impl Fn(&Envelope) -> Option<T>) -> T {
        loop {
            let sent = self.0.sent.notified();
            if let Some(found) = self.lock().sent.iter().find_map(&look) {
                return found;
            }
            sent.await;
        }
    }

    /// A message to node 1.
    fn deliver(&self, from: u64, term: Term, message: Message) -> Delivery {
        let (group, from, to) = (GroupId(0), NodeId(from), NodeId(1));
        self.inbox().deliver(Envelope { group, from, to, term, message })
    }
}

#[async_trait::async_trait]
impl Transport for Puppet {
    async fn start(&self, _: Identity, inbox: Inbox) -> Result<(), TransportError> {
        self.lock().inbox = Some(inbox);
        Ok(())
    }
    fn send(&self, _: &Member, _: Lane, envelope: Envelope) -> Sent {
        assert!(!self.0.panics_on_send.load(Ordering::SeqCst), "the transport said so");
        self.lock().sent.push(envelope);
        self.0.sent.notify_waiters();
        Sent::Queued
    }
    fn members(&self, _: &[Member]) {}
    async fn shutdown(&self) {
        assert!(!self.0.panics_on_shutdown.load(Ordering::SeqCst), "the transport said so");
        if self.0.lingers.load(Ordering::SeqCst) {
            self.0.let_go.notified().await;
        }
    }
}

/// Node 1 of a cluster whose other nodes the test plays.
async fn start(journal: MemoryJournal) -> (NodeHandle, Puppet) {
    let puppet = Puppet::default();
    let node = Node::builder(Config::new(NodeId(1), CLUSTER))
        .journal(journal)
        .transport(Arc::new(puppet.clone()))
        .state_machine(Recorder::new().machine())
        .start()
        .await
        .unwrap();
    (node, puppet)
}

async fn first_of(size: u64) -> (NodeHandle, Puppet, MemoryDisk) {
    let members = (1..=size).map(|id| Member::new(NodeId(id), format!("memory-{id}")));
    let membership = Membership::of_voters(members).unwrap();
    let disk = MemoryDisk::new();
    let journal = MemoryJournal::create(&disk, CLUSTER, GroupId(0), NodeId(1), Some(&membership)).unwrap();
    let (node, puppet) = start(journal).await;
    (node, puppet, disk)
}

fn peer(store: u128, number: u64) -> Identity {
    Identity {
        cluster: CLUSTER,
        group: GroupId(0),
        node: NodeId(2),
        store: StoreId(store),
        incarnation: Incarnation { number, nonce: number },
    }
}

/// Polls a call once: it is on its way, and nothing else has run.
fn begun<T>(call: impl Future<Output = T>) -> Pin<Box<impl Future<Output = T>>> {
    let mut call = Box::pin(call);
    let polled = call.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(polled.is_pending(), "answered at once");
    call
}

/// J12: a peer is let in only once the disk remembers it.
#[tokio::test(start_paused = true)]
async fn a_handshake_waits_for_the_disk() {
    let (_node, puppet, disk) = first_of(3).await;
    disk.hold_writes();
    let inbox = puppet.inbox();
    let mut admitted = begun(inbox.admit(peer(20, 1)));
    tokio::select! {
        biased;
        answer = &mut admitted => panic!("answered {answer:?} while its write is held"),
        () = disk.write_is_held() => {}
    }
    disk.release_writes();
    assert_eq!(admitted.await, Ok(()));
}

/// J12: also one that was let in long before this node was started again.
#[tokio::test(start_paused = true)]
async fn a_replaced_peer_is_known_after_a_restart() {
    let (node, puppet, disk) = first_of(3).await;
    assert_eq!(puppet.inbox().admit(peer(20, 7)).await, Ok(()));
    node.shutdown().await.unwrap();
    let journal = MemoryJournal::open(&disk, CLUSTER, GroupId(0), NodeId(1)).unwrap();
    let (_node, puppet) = start(journal).await;
    let inbox = puppet.inbox();
    assert!(matches!(inbox.admit(peer(21, 8)).await, Err(Refusal::StoreReplaced { .. })));
    assert!(matches!(inbox.admit(peer(20, 6)).await, Err(Refusal::RolledBack { .. })));
    assert_eq!(inbox.admit(peer(20, 8)).await, Ok(()));
}

/// One refusal settles it for a founder: were two of three wiped, they would let each other in.
#[tokio::test(start_paused = true)]
async fn only_a_final_refusal_stops_a_node() {
    let (node, puppet, _) = first_of(3).await;
    let inbox = puppet.inbox();
    inbox.refused(NodeId(2), Refusal::NotReady);
    inbox.refused(NodeId(2), Refusal::WrongCluster { ours: ClusterId(6), theirs: CLUSTER });
    // Answered after both.
    assert!(matches!(node.read_barrier().await, Err(ReadError::NotLeader { .. })));
    let why = Refusal::StoreReplaced { node: NodeId(1), known: StoreId(1), offered: StoreId(2) };
    inbox.refused(NodeId(3), why.clone());
    let reason = node.stopped().await.unwrap_err();
    assert_eq!(*reason, FatalReason::Refused { by: NodeId(3), why });
    assert_eq!(inbox.admit(peer(20, 1)).await, Err(Refusal::NotReady), "it has stopped");
    assert_eq!(puppet.deliver(2, Term(1), Message::TimeoutNow(TimeoutNow::default())), Delivery::Closed);
}

/// T3: bulk is bounded and says when there is room; control gets through in between.
#[tokio::test(start_paused = true)]
async fn a_full_inbox_takes_control_messages_and_says_when_there_is_room() {
    let (node, puppet, _) = first_of(3).await;
    let append = |index: u64| {
        let id = LogId::new(1, index);
        let data = Bytes::from(vec![0; 1 << 20]);
        let entries = vec![Entry { id, kind: EntryKind::Noop, data }];
        let prev = if index == 2 { LogId::new(0, 1) } else { LogId::new(1, index - 1) };
        Message::Append(Append { prev, commit: Index(1), entries: entries.into() })
    };
    // Nothing else runs until the first await.
    let taken = (2..).find(|index| puppet.deliver(2, Term(1), append(*index)) == Delivery::Full).unwrap();
    assert!((10..40).contains(&taken), "bounded: {taken}");
    let heartbeat = Message::Heartbeat(Heartbeat { commit: Index(1), round: 77 });
    assert_eq!(puppet.deliver(2, Term(1), heartbeat), Delivery::Accepted);
    let inbox = puppet.inbox();
    begun(inbox.ready()).await;
    assert_eq!(puppet.deliver(2, Term(1), append(taken)), Delivery::Accepted);
    let answered = |sent: &Envelope| match sent.message {
        Message::HeartbeatReply(reply) if reply.round == 77 => Some(()),
        _ => None,
    };
    puppet.until(answered).await;
    node.watch().until(|status| status.last == LogId::new(1, taken)).await.unwrap();
}

/// The term for which node 1 asks for votes, or pre-votes, once it does.
async fn asked(puppet: &Puppet, pre: bool, after: Term) -> Term {
    let asks = |sent: &Envelope| match sent.message {
        Message::Vote(VoteRequest { pre: kind, .. }) if kind == pre && sent.term > after => Some(sent.term),
        _ => None,
    };
    puppet.until(asks).await
}

fn granted(pre: bool, asked: Term) -> Message {
    Message::VoteReply(VoteReply { pre, asked, ballot: Ballot::Granted })
}

/// The patience with proposals of a lost leadership runs out in the very turn in which the node leads again
/// and gets new ones: these have just begun.
#[tokio::test(start_paused = true)]
async fn what_is_proposed_while_patience_runs_out_is_not_given_up() {
    let (node, puppet, _) = first_of(3).await;
    node.campaign();
    let term = asked(&puppet, true, Term(0)).await;
    assert_eq!(puppet.deliver(2, Term(0), granted(true, term)), Delivery::Accepted);
    let term = asked(&puppet, false, Term(0)).await;
    assert_eq!(puppet.deliver(2, term, granted(false, term)), Delivery::Accepted);
    node.watch().until(|status| status.role == RoleKind::Leader).await.unwrap();
    let old = tokio::spawn({
        let node = node.clone();
        async move { node.propose("old").await }
    });
    node.watch().until(|status| status.last.index == Index(3)).await.unwrap();

    // Somebody of a later term was heard: it leads no more, and the patience begins.
    let later = term.next();
    assert_eq!(puppet.deliver(2, later, Message::TimeoutNow(TimeoutNow::default())), Delivery::Accepted);
    assert_eq!(
        puppet.deliver(2, later, Message::Heartbeat(Heartbeat { commit: Index(1), round: 1 })),
        Delivery::Accepted
    );
    let since = tokio::time::Instant::now();
    node.watch().until(|status| status.role == RoleKind::Follower).await.unwrap();
    node.campaign();
    let again = asked(&puppet, true, later).await;
    assert_eq!(puppet.deliver(2, later, granted(true, again)), Delivery::Accepted);
    let again = asked(&puppet, false, later).await;
    assert_eq!(since.elapsed(), Duration::ZERO, "virtual time: nothing has waited yet");

    // All in one turn: the time, the vote, the proposal.
    let config = Config::new(NodeId(1), CLUSTER);
    let patience = config.election_timeout - config.heartbeat_interval;
    tokio::time::sleep(patience - Duration::from_millis(1)).await;
    assert!(!old.is_finished(), "patience lasts");
    assert_eq!(puppet.deliver(2, again, granted(false, again)), Delivery::Accepted);
    let mut new = begun(node.propose("new"));
    tokio::time::advance(Duration::from_millis(1)).await;
    assert!(matches!(old.await.unwrap(), Err(ProposeError::Unknown { term: old }) if old == term));
    let soon = tokio::time::sleep(Duration::from_millis(10));
    tokio::select! {
        biased;
        answer = &mut new => panic!("{answer:?}"),
        () = soon => {}
    }
    assert_eq!(node.status().role, RoleKind::Leader);
    assert_eq!(node.status().last.term, again);
}

/// Nothing goes on half alive.
#[tokio::test(start_paused = true)]
async fn a_transport_that_panics_stops_the_node_with_a_reason() {
    let (node, puppet, disk) = first_of(3).await;
    puppet.0.panics_on_send.store(true, Ordering::SeqCst);
    node.campaign();
    let reason = node.stopped().await.unwrap_err();
    assert_eq!(reason.to_string(), "a task panicked: the transport said so");
    MemoryJournal::open(&disk, CLUSTER, GroupId(0), NodeId(1)).expect("the journal is closed");
}

#[tokio::test(start_paused = true)]
async fn a_transport_that_panics_at_the_end_does_not_hide_the_end() {
    let (node, puppet, _) = first_of(3).await;
    puppet.0.panics_on_shutdown.store(true, Ordering::SeqCst);
    // Virtual time: it only ends a call that is never answered.
    let end = tokio::time::timeout(Duration::from_secs(3600), node.shutdown()).await;
    let reason = end.expect("waits for ever").unwrap_err();
    assert_eq!(reason.to_string(), "a task panicked: the transport said so");
}

/// While the transport lingers, callers learn that the node failed, not that somebody shut it down.
#[tokio::test(start_paused = true)]
async fn a_failed_node_does_not_say_that_it_was_shut_down() {
    let (only, puppet, disk) = first_of(1).await;
    only.watch().until(|status| status.role == RoleKind::Leader).await.unwrap();
    only.propose("first").await.unwrap();
    puppet.0.lingers.store(true, Ordering::SeqCst);
    disk.fail_next_write(JournalError::Io { what: "writing".into(), cause: "EIO".into() });
    assert!(matches!(only.propose("second").await, Err(ProposeError::Unknown { .. })));
    let after = only.propose("third").await;
    assert!(matches!(after, Err(ProposeError::Fatal(_))), "{after:?}");
    let read = only.read_barrier().await;
    assert!(matches!(read, Err(ReadError::Fatal(_))), "{read:?}");
    let stopped = begun(only.stopped());
    puppet.0.let_go.notify_one();
    assert!(matches!(*stopped.await.unwrap_err(), FatalReason::Journal(_)));
}
