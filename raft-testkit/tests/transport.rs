//! The transport suite on the memory network; and broken transports, which it must catch by name.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use raft_core::backend::{Delivery, Inbox, InboxHandler, Refusal, Sent, Transport, TransportError};
use raft_core::ids::{ClusterId, Identity, NodeId};
use raft_core::membership::Member;
use raft_core::message::{Envelope, Lane, Message, PeerEvent};
use raft_testkit::conformance::transport::{CLAUSES, TransportBackend, run};
use raft_testkit::conformance::{ClauseFailure, report_mutant};
use raft_testkit::memory::MemoryNetwork;

#[derive(Default)]
struct Reference {
    network: MemoryNetwork,
    addresses: AtomicU64,
}

impl TransportBackend for Reference {
    fn address(&self) -> String {
        format!("memory:{}", self.addresses.fetch_add(1, Ordering::Relaxed))
    }

    fn transport(&self, _: NodeId, address: &str) -> Arc<dyn Transport> {
        self.network.transport_at(address)
    }
}

mod reference {
    use super::Reference;

    raft_testkit::transport_conformance! {
        backend: Reference::default(),
        skip: {
            t01_flipped_bit_is_never_delivered => "messages are never bytes here",
            t01_cut_message_is_not_delivered => "messages are never bytes here",
            t04_reconnecting_backs_off => "there are no attempts: a peer is there or not",
            t05_broken_connection_is_reported => "a connection breaks only with its ends",
            t05_half_open_connection_is_lost => "a connection breaks only with its ends",
            t07_nonsense_closes_that_connection_only => "messages are never bytes here",
            t07_announced_length_takes_no_memory => "messages are never bytes here",
            t07_silent_connection_is_closed => "a connection is made with its handshake",
            t07_connections_are_limited => "a connection is made with its handshake",
            t11_previous_version_interoperates => "messages are never bytes here",
            t11_no_common_version_is_refused => "messages are never bytes here",
        },
    }
}

/// What is wrong with a transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mutant {
    FlipsAByte,
    MixesUpKinds,
    TrustsTheFromField,
    DeliversOldMessagesLater,
    Reorders,
    ControlWaitsForBulk,
    DropsRefusedBulk,
    QueuesWithoutBound,
    AbsentPeerBlocksOthers,
    GivesUpOnAbsentPeers,
    ReportsUpTwice,
    NeverReportsGone,
    NeverReportsUpAgain,
    AsksOnlyOnce,
    TakesGuestsForMembers,
    IgnoresRefusals,
    KeepsRefusalsToItself,
    AcceptsForeignClusters,
    AcceptsAnyNode,
    DropsBigPayloads,
    KeepsTheAddress,
    KeepsTheInbox,
    StartsTwice,
    KeepsOldAddresses,
}

/// Which clause must catch it, and in which words: it may fail for another reason, or hang.
const TABLE: &[(Mutant, &str, &str)] = &[
    (Mutant::FlipsAByte, "t01_every_message_comes_back_whole", "a message of the Bulk lane"),
    (Mutant::MixesUpKinds, "t01_every_message_comes_back_whole", "a message of the Control lane"),
    (
        Mutant::TrustsTheFromField,
        "t01_foreign_names_are_not_delivered",
        "messages from node 1 to node 2 only",
    ),
    (
        Mutant::DeliversOldMessagesLater,
        "t01_old_connection_is_silent_after_a_new_one",
        "only what the new incarnation sent",
    ),
    (Mutant::Reorders, "t02_order_holds_within_a_lane", "nothing happens for"),
    (Mutant::ControlWaitsForBulk, "t03_control_passes_waiting_bulk", "nothing happens for"),
    (Mutant::DropsRefusedBulk, "t03_refused_bulk_is_delivered_again", "nothing happens for"),
    (
        Mutant::QueuesWithoutBound,
        "t04_silent_peer_costs_a_bounded_queue",
        "a queue that is full sooner or later",
    ),
    (Mutant::AbsentPeerBlocksOthers, "t04_absent_peer_costs_others_nothing", "nothing happens for"),
    (Mutant::GivesUpOnAbsentPeers, "t04_peer_that_comes_later_is_reached", "nothing happens for"),
    (Mutant::ReportsUpTwice, "t05_connection_is_reported_to_both", "Up and loss by turns"),
    (Mutant::NeverReportsGone, "t05_dead_peer_is_gone", "nothing happens for"),
    (Mutant::NeverReportsUpAgain, "t05_returned_peer_is_up_again", "nothing happens for"),
    (Mutant::AsksOnlyOnce, "t05_returned_peer_is_up_again", "a question about the new incarnation"),
    (Mutant::TakesGuestsForMembers, "t06_who_becomes_a_member_is_asked_again", "nothing happens for"),
    (Mutant::IgnoresRefusals, "t06_refused_peer_is_told_and_delivers_nothing", "no Up for who is refused"),
    (Mutant::KeepsRefusalsToItself, "t06_refused_peer_is_told_and_delivers_nothing", "nothing happens for"),
    (Mutant::AcceptsForeignClusters, "t06_foreign_cluster_is_refused", "nothing but a refusal"),
    (Mutant::AcceptsAnyNode, "t06_wrong_node_is_refused", "no message and no Up"),
    (Mutant::DropsBigPayloads, "t08_payloads_of_16_mib_pass", "nothing happens for"),
    (Mutant::KeepsTheAddress, "t09_address_is_free_after_shutdown", "AddressInUse"),
    (Mutant::KeepsTheInbox, "t09_shutdown_leaves_nothing_behind", "holders of the inbox besides the test"),
    (Mutant::StartsTwice, "t09_second_start_is_refused", "starting twice: Err(AlreadyStarted)"),
    (Mutant::KeepsOldAddresses, "t10_changed_address_is_followed", "nothing happens for"),
];

struct Broken {
    mutant: Mutant,
    inner: Reference,
    around: Arc<Around>,
}

/// What broken transports share and should not.
#[derive(Default)]
struct Around {
    inboxes: Mutex<BTreeMap<String, (NodeId, Inbox)>>,
    met: Mutex<Vec<NodeId>>,
}

impl Broken {
    fn new(mutant: Mutant) -> Self {
        Self { mutant, inner: Reference::default(), around: Arc::default() }
    }
}

impl TransportBackend for Broken {
    fn address(&self) -> String {
        self.inner.address()
    }

    fn transport(&self, node: NodeId, address: &str) -> Arc<dyn Transport> {
        Arc::new(BrokenTransport {
            mutant: self.mutant,
            inner: self.inner.transport(node, address),
            around: Arc::clone(&self.around),
            address: address.to_owned(),
            state: Mutex::default(),
        })
    }
}

struct BrokenTransport {
    mutant: Mutant,
    inner: Arc<dyn Transport>,
    around: Arc<Around>,
    address: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: Option<(Member, Lane, Envelope)>,
    hoard: Vec<Envelope>,
    addresses: BTreeMap<NodeId, String>,
    blocked: bool,
}

impl BrokenTransport {
    fn inbox_at(&self, address: &str) -> Option<(NodeId, Inbox)> {
        self.around.inboxes.lock().unwrap().get(address).cloned()
    }

    fn bend(&self, envelope: &mut Envelope) {
        match (self.mutant, &mut envelope.message) {
            (Mutant::FlipsAByte, Message::Append(append)) => {
                let mut entries = append.entries.to_vec();
                for entry in entries.iter_mut().filter(|entry| entry.data.len() > 1000) {
                    let mut data = entry.data.to_vec();
                    data[900] ^= 4;
                    entry.data = Bytes::from(data);
                }
                append.entries = entries.into();
            }
            (Mutant::MixesUpKinds, Message::VoteReply(reply)) => reply.pre = false,
            _ => {}
        }
    }
}

#[async_trait]
impl Transport for BrokenTransport {
    async fn start(&self, mut local: Identity, inbox: Inbox) -> Result<(), TransportError> {
        if self.mutant == Mutant::AcceptsForeignClusters {
            local.cluster = ClusterId(1);
        }
        let broken = BrokenInbox {
            mutant: self.mutant,
            inner: inbox.clone(),
            around: Arc::clone(&self.around),
            waiting: Arc::default(),
            ups: Mutex::default(),
        };
        let started = self.inner.start(local, Inbox::new(Arc::new(broken))).await;
        if matches!(self.mutant, Mutant::TrustsTheFromField | Mutant::AcceptsAnyNode | Mutant::KeepsTheInbox)
        {
            self.around.inboxes.lock().unwrap().insert(self.address.clone(), (local.node, inbox));
        }
        match (self.mutant, started) {
            (Mutant::StartsTwice, Err(TransportError::AlreadyStarted)) => Ok(()),
            (_, started) => started,
        }
    }

    fn send(&self, to: &Member, lane: Lane, mut envelope: Envelope) -> Sent {
        self.bend(&mut envelope);
        let mut state = self.state.lock().unwrap();
        match self.mutant {
            Mutant::TrustsTheFromField => {
                if envelope.from != NodeId(1)
                    && to.id == NodeId(2)
                    && let Some((_, inbox)) = self.inbox_at(&to.address)
                {
                    let _ = inbox.deliver(envelope);
                    return Sent::Queued;
                }
            }
            Mutant::AcceptsAnyNode => {
                if let Some((node, inbox)) = self.inbox_at(&to.address).filter(|(node, _)| *node != to.id) {
                    inbox.peer(node, PeerEvent::Up);
                    let _ = inbox.deliver(envelope);
                    return Sent::Queued;
                }
            }
            Mutant::Reorders => match state.waiting.take() {
                Some((old_to, old_lane, old)) => {
                    let sent = self.inner.send(to, lane, envelope);
                    let _ = self.inner.send(&old_to, old_lane, old);
                    return sent;
                }
                None if lane == Lane::Bulk => {
                    state.waiting = Some((to.clone(), lane, envelope));
                    return Sent::Queued;
                }
                None => {}
            },
            Mutant::QueuesWithoutBound => {
                if let Sent::Dropped(_) = self.inner.send(to, lane, envelope.clone()) {
                    state.hoard.push(envelope);
                }
                return Sent::Queued;
            }
            Mutant::AbsentPeerBlocksOthers if state.blocked => return Sent::Queued,
            Mutant::AbsentPeerBlocksOthers => {
                let sent = self.inner.send(to, lane, envelope);
                state.blocked = matches!(sent, Sent::Dropped(_));
                return sent;
            }
            Mutant::GivesUpOnAbsentPeers => {
                let sent = self.inner.send(to, lane, envelope);
                if matches!(sent, Sent::Dropped(_)) {
                    self.inner.members(&[]);
                }
                return sent;
            }
            Mutant::DropsBigPayloads => {
                if let Message::Append(append) = &envelope.message
                    && append.entries.iter().any(|entry| entry.data.len() > 1 << 23)
                {
                    return Sent::Queued;
                }
            }
            _ => {}
        }
        self.inner.send(to, lane, envelope)
    }

    fn members(&self, members: &[Member]) {
        let mut members = members.to_vec();
        if self.mutant == Mutant::KeepsOldAddresses {
            let mut state = self.state.lock().unwrap();
            for member in &mut members {
                let first = state.addresses.entry(member.id).or_insert_with(|| member.address.clone());
                member.address.clone_from(first);
            }
        }
        self.inner.members(&members);
    }

    async fn shutdown(&self) {
        if self.mutant != Mutant::KeepsTheAddress {
            self.inner.shutdown().await;
        }
    }
}

struct BrokenInbox {
    mutant: Mutant,
    inner: Inbox,
    around: Arc<Around>,
    waiting: Arc<Mutex<Vec<Envelope>>>,
    ups: Mutex<BTreeMap<NodeId, u64>>,
}

#[async_trait]
impl InboxHandler for BrokenInbox {
    fn deliver(&self, envelope: Envelope) -> Delivery {
        let is_waiting = !self.waiting.lock().unwrap().is_empty();
        if self.mutant == Mutant::ControlWaitsForBulk && is_waiting {
            self.waiting.lock().unwrap().push(envelope);
            return Delivery::Accepted;
        }
        match self.inner.deliver(envelope.clone()) {
            Delivery::Full if self.mutant == Mutant::DropsRefusedBulk => Delivery::Accepted,
            Delivery::Full if self.mutant == Mutant::ControlWaitsForBulk => {
                self.waiting.lock().unwrap().push(envelope);
                Delivery::Accepted
            }
            Delivery::Full if self.mutant == Mutant::DeliversOldMessagesLater => {
                let inner = self.inner.clone();
                tokio::spawn(async move {
                    inner.ready().await;
                    let _ = inner.deliver(envelope);
                });
                Delivery::Accepted
            }
            other => other,
        }
    }

    async fn ready(&self) {
        self.inner.ready().await;
    }

    async fn admit(&self, peer: Identity) -> Result<(), Refusal> {
        if matches!(self.mutant, Mutant::AsksOnlyOnce | Mutant::TakesGuestsForMembers) {
            let mut met = self.around.met.lock().unwrap();
            if met.contains(&peer.node) {
                return Ok(());
            }
            met.push(peer.node);
        }
        match self.inner.admit(peer).await {
            Err(_) if self.mutant == Mutant::IgnoresRefusals => Ok(()),
            other => other,
        }
    }

    fn peer(&self, node: NodeId, event: PeerEvent) {
        let up = {
            let mut ups = self.ups.lock().unwrap();
            let up = ups.entry(node).or_default();
            *up += u64::from(event == PeerEvent::Up);
            *up
        };
        match (self.mutant, event) {
            (Mutant::NeverReportsGone, PeerEvent::Gone) => self.inner.peer(node, PeerEvent::Down),
            (Mutant::NeverReportsUpAgain, PeerEvent::Up) if up > 1 => {}
            (Mutant::ReportsUpTwice, PeerEvent::Up) => {
                self.inner.peer(node, event);
                self.inner.peer(node, event);
            }
            _ => self.inner.peer(node, event),
        }
    }

    fn refused(&self, by: NodeId, why: Refusal) {
        if self.mutant != Mutant::KeepsRefusalsToItself {
            self.inner.refused(by, why);
        }
    }
}

/// Time is paused: where a broken transport lets a clause wait for ever, the deadline comes at once.
#[tokio::test(start_paused = true)]
async fn every_mutant_is_caught_by_its_clause() {
    let mut escaped = Vec::new();
    for (mutant, clause, words) in TABLE {
        let result = run(&Broken::new(*mutant), clause).await;
        if !report_mutant("transport (more)", mutant, clause, words, &result) {
            escaped.push((mutant, clause, words, result.err()));
        }
    }
    assert!(escaped.is_empty(), "not caught: {escaped:#?}");
}

/// So that what the clauses catch are the mutants, not the wrapper around them.
#[tokio::test(start_paused = true)]
async fn the_wrapper_alone_breaks_nothing() {
    // Those that need bytes say so.
    let needs_bytes = |failure: &ClauseFailure| failure.seen.contains("Unsupported");
    let skipped = |name: &str| name == "t09_second_start_is_refused";
    for clause in CLAUSES.iter().filter(|clause| !skipped(clause.name)) {
        let result = run(&Broken::new(Mutant::StartsTwice), clause.name).await;
        if let Err(failure) = result {
            assert!(needs_bytes(&failure), "{failure}");
        }
    }
}

#[test]
fn every_contract_number_has_a_clause() {
    let numbers: Vec<String> = CLAUSES.iter().map(raft_testkit::conformance::Clause::number).collect();
    for number in 1..=11 {
        assert!(numbers.contains(&format!("T{number}")), "no clause for T{number}");
    }
    for clause in CLAUSES {
        assert!(clause.sentence.starts_with(&format!("{}:", clause.number())), "{}", clause.name);
    }
}
