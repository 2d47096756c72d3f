//! The simulated network: connections with a handshake, two lanes each way, and everything that may go
//! wrong with them. What a connection carries may be lost, late or doubled; within a lane it keeps its
//! order (T2) unless the plan says otherwise; nothing of an old connection arrives after it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use raft_core::backend::{Delivery, Inbox, Refusal, Sent, SentDropped, Transport, TransportError};
use raft_core::ids::{Identity, NodeId};
use raft_core::membership::Member;
use raft_core::message::{Envelope, Lane, Message, PeerEvent};

use super::agenda::{Agenda, What};
use super::coverage::Point;
use super::events::Tag;
use super::executor::{MS, Nanos, Owner, lock};
use super::oracle::{Oracle, number};
use super::plan::NetPlan;
use super::rng::Rng;

/// Bulk that waits for a peer, in bytes; more is dropped, as a transport's queue does.
const QUEUE_BYTES: u64 = 16 << 10;
/// A connection through which nothing comes is given up after this.
const KEEPALIVE: (Nanos, Nanos) = (400 * MS, 1500 * MS);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    Closed,
    /// Handshakes that still have to end well.
    Shaking {
        left: u8,
    },
    Open,
    /// One machine went away without a word: the other still believes in it.
    Dead,
}

/// One lane of one direction.
#[derive(Clone, Copy, Debug, Default)]
struct Queue {
    /// The last message arrives then; the next not before.
    last: Nanos,
    bytes: u64,
}

#[derive(Clone, Debug)]
struct Connection {
    link: Link,
    /// Each attempt has its own number; what is of another is void.
    epoch: u64,
    dialling: bool,
    failures: u32,
    /// From the lower to the higher node and back; control and bulk.
    queues: [[Queue; 2]; 2],
}

#[derive(Default)]
struct Port {
    inbox: Option<Inbox>,
    identity: Option<Identity>,
    life: u64,
    members: BTreeSet<usize>,
}

struct Net {
    ports: Vec<Port>,
    connections: Vec<Connection>,
    /// How many faults keep everything from getting from the first to the second.
    cut: Vec<u32>,
    plan: NetPlan,
    /// No more faults.
    calm: bool,
    rng: Rng,
    epochs: u64,
    messages: u64,
    /// Faults by kind: lost, doubled, late, overtaken.
    faults: [u64; 4],
}

/// The network of a run.
#[derive(Clone)]
pub(crate) struct SimNetwork {
    net: Arc<Mutex<Net>>,
    agenda: Agenda,
    oracle: Arc<Oracle>,
}

/// A message on its way.
#[derive(Debug)]
pub(crate) struct Parcel {
    from: usize,
    to: usize,
    epoch: u64,
    number: u64,
    lane: Lane,
    bytes: u64,
    lost: bool,
    envelope: Envelope,
}

impl Net {
    const fn size(&self) -> usize {
        self.ports.len()
    }

    fn pair(&self, a: usize, b: usize) -> usize {
        let (low, high) = if a < b { (a, b) } else { (b, a) };
        low * self.size() + high
    }

    fn is_cut(&self, from: usize, to: usize) -> bool {
        self.cut[from * self.size() + to] > 0
    }

    fn connection(&mut self, a: usize, b: usize) -> &mut Connection {
        let pair = self.pair(a, b);
        &mut self.connections[pair]
    }

    fn latency(&mut self) -> Nanos {
        let plan = &self.plan;
        let (least, most) = plan.latency;
        let mut latency = self.rng.between(least, most);
        if !self.calm && self.rng.rare(plan.spike_ppm) {
            self.faults[2] += 1;
            latency += self.rng.skewed(MS, plan.spike_most);
        }
        latency
    }
}

const fn kind(message: &Message) -> u64 {
    match message {
        Message::Vote(request) => {
            if request.pre {
                0
            } else {
                1
            }
        }
        Message::VoteReply(_) => 2,
        Message::Heartbeat(_) => 3,
        Message::HeartbeatReply(_) => 4,
        Message::Append(_) => 5,
        Message::AppendReply(_) => 6,
        Message::TimeoutNow(_) => 7,
        Message::Notice(_) => 8,
        Message::Snapshot(_) => 10,
        Message::SnapshotReply(_) => 11,
        Message::ReadIndex(_) => 12,
        Message::ReadIndexReply(_) => 13,
        _ => 9,
    }
}

fn describe(envelope: &Envelope) -> String {
    match &envelope.message {
        Message::Append(append) => format!(
            "append t{} prev {} commit {} +{}",
            envelope.term,
            append.prev,
            append.commit,
            append.entries.len()
        ),
        other => format!("t{} {other:?}", envelope.term),
    }
}

fn size_bytes(envelope: &Envelope) -> u64 {
    match &envelope.message {
        Message::Append(append) => {
            append.entries.iter().map(|entry| entry.data.len() as u64 + 32).sum::<u64>() + 64
        }
        Message::Snapshot(chunk) => (chunk.data.len() + chunk.membership.len()) as u64 + 64,
        _ => 64,
    }
}

impl SimNetwork {
    /// A network for so many nodes.
    #[must_use]
    pub(crate) fn new(nodes: usize, plan: NetPlan, rng: Rng, agenda: Agenda, oracle: Arc<Oracle>) -> Self {
        let closed = Connection {
            link: Link::Closed,
            epoch: 0,
            dialling: false,
            failures: 0,
            queues: [[Queue::default(); 2]; 2],
        };
        let net = Net {
            ports: (0..nodes).map(|_| Port::default()).collect(),
            connections: vec![closed; nodes * nodes],
            cut: vec![0; nodes * nodes],
            plan,
            calm: false,
            rng,
            epochs: 0,
            messages: 0,
            faults: [0; 4],
        };
        Self { net: Arc::new(Mutex::new(net)), agenda, oracle }
    }

    /// A transport for one life of a node.
    #[must_use]
    pub(crate) fn transport(&self, owner: Owner) -> Arc<dyn Transport> {
        lock(&self.net).ports[owner.node].life = owner.life;
        Arc::new(SimTransport { network: self.clone(), owner })
    }

    /// Messages lost, doubled, late, and overtaken so far.
    #[must_use]
    pub(crate) fn faults(&self) -> [u64; 4] {
        lock(&self.net).faults
    }

    /// From now on nothing is lost, doubled or late, and all can reach all.
    pub(crate) fn calm(&self) {
        {
            let mut net = lock(&self.net);
            net.calm = true;
            net.cut.fill(0);
        }
    }

    /// Cuts one direction, or mends it.
    pub(crate) fn cut(&self, from: usize, to: usize, cut: bool) {
        let mut net = lock(&self.net);
        let at = from * net.size() + to;
        net.cut[at] = if cut { net.cut[at] + 1 } else { net.cut[at].saturating_sub(1) };
        let epoch = net.connection(from, to).epoch;
        if cut && net.connection(from, to).link == Link::Open {
            let after = net.rng.between(KEEPALIVE.0, KEEPALIVE.1);
            self.agenda.after(after, What::KeepAlive { from, to, epoch });
        }
    }

    /// Everything between two nodes and their lanes waits until then.
    pub(crate) fn stall(&self, from: usize, to: usize, lane: Lane, nanos: Nanos) {
        let mut net = lock(&self.net);
        let until = self.agenda.now() + nanos;
        let queue = &mut net.connection(from, to).queues[usize::from(from > to)][lane as usize];
        queue.last = queue.last.max(until);
    }

    /// Breaks the connection between two nodes, if there is one, and tells both why.
    pub(crate) fn break_connection(&self, a: usize, b: usize, event: PeerEvent) {
        self.close(a, b, event);
    }

    /// Nothing has come through a cut connection for too long.
    pub(crate) fn keep_alive(&self, from: usize, to: usize, epoch: u64) {
        let dead = {
            let mut net = lock(&self.net);
            net.is_cut(from, to) && net.connection(from, to).epoch == epoch
        };
        if dead {
            self.close(from, to, PeerEvent::Down);
        }
    }

    /// A node's process is gone. If its machine is still there, the others learn at once.
    pub(crate) fn process_gone(&self, node: usize, machine_lives: bool) {
        let others: Vec<usize> = {
            let mut net = lock(&self.net);
            net.ports[node].inbox = None;
            net.ports[node].identity = None;
            net.ports[node].members.clear();
            (0..net.size()).filter(|other| *other != node).collect()
        };
        for other in others {
            if machine_lives {
                self.close(node, other, PeerEvent::Gone);
            } else {
                // Nobody says anything: the others notice by and by.
                let mut net = lock(&self.net);
                if net.connection(node, other).link == Link::Open {
                    net.epochs += 1;
                    let epoch = net.epochs;
                    let connection = net.connection(node, other);
                    (connection.link, connection.epoch) = (Link::Dead, epoch);
                    let after = net.rng.between(KEEPALIVE.0, KEEPALIVE.1);
                    self.agenda.after(after, What::Silent { node, peer: other, epoch });
                } else if matches!(net.connection(node, other).link, Link::Shaking { .. }) {
                    // Whoever comes up there shakes hands anew.
                    drop(net);
                    self.close(node, other, PeerEvent::Down);
                }
            }
        }
    }

    /// The machine of `node` went away without a word some time ago.
    pub(crate) fn silent(&self, node: usize, peer: usize, epoch: u64) {
        if lock(&self.net).connection(node, peer).epoch == epoch {
            self.close(node, peer, PeerEvent::Down);
        }
    }

    fn close(&self, a: usize, b: usize, event: PeerEvent) {
        let mut net = lock(&self.net);
        let was_open = matches!(net.connection(a, b).link, Link::Open | Link::Dead);
        let epoch = net.epochs + 1;
        net.epochs = epoch;
        let connection = net.connection(a, b);
        connection.link = Link::Closed;
        connection.epoch = epoch;
        connection.queues = [[Queue::default(); 2]; 2];
        if was_open {
            for (of, peer) in [(a, b), (b, a)] {
                let after = net.latency();
                self.agenda.after(after, What::Report { node: of, peer, event, life: net.ports[of].life });
            }
        }
        self.dial_later(&mut net, a, b);
    }

    /// Tries to connect after a while that grows with each failure.
    fn dial_later(&self, net: &mut Net, a: usize, b: usize) {
        let failures = net.connection(a, b).failures.min(5);
        let connection = net.connection(a, b);
        if std::mem::replace(&mut connection.dialling, true) {
            return;
        }
        let wait = net.rng.between(MS, (20 * MS) << failures);
        self.agenda.after(wait, What::Dial { a, b });
    }

    /// Tries to connect now.
    pub(crate) fn dial(&self, a: usize, b: usize) {
        let mut net = lock(&self.net);
        net.connection(a, b).dialling = false;
        if net.connection(a, b).link != Link::Closed {
            return;
        }
        let wanted = net.ports[a].members.contains(&b) || net.ports[b].members.contains(&a);
        let ready = |port: &Port| port.inbox.clone().zip(port.identity);
        let ends = ready(&net.ports[a]).zip(ready(&net.ports[b]));
        let Some(((inbox_a, identity_a), (inbox_b, identity_b))) = ends.filter(|_| wanted) else {
            // Whoever wants it tries again; who is down dials when it comes up.
            let wants = |node: usize, peer: usize| {
                net.ports[node].inbox.is_some() && net.ports[node].members.contains(&peer)
            };
            if wants(a, b) || wants(b, a) {
                net.connection(a, b).failures += 1;
                self.dial_later(&mut net, a, b);
            }
            return;
        };
        if net.is_cut(a, b) || net.is_cut(b, a) {
            net.connection(a, b).failures += 1;
            self.dial_later(&mut net, a, b);
            return;
        }
        net.epochs += 1;
        let epoch = net.epochs;
        let connection = net.connection(a, b);
        connection.link = Link::Shaking { left: 2 };
        connection.epoch = epoch;
        let lives = (net.ports[a].life, net.ports[b].life);
        for (node, life, inbox, peer, identity) in
            [(a, lives.0, inbox_a, b, identity_b), (b, lives.1, inbox_b, a, identity_a)]
        {
            let agenda = self.agenda.clone();
            let latency = net.latency();
            let core = Arc::clone(agenda.core());
            let executor = Arc::clone(&core);
            executor.spawn(Owner { node, life }, async move {
                core.sleep(latency).await;
                let answer = inbox.admit(identity).await;
                agenda.after(0, What::Shaken { node, peer, epoch, answer });
            });
        }
        // A handshake that a dead end never answers.
        self.agenda.after(3000 * MS, What::ShakeTimeout { a, b, epoch });
    }

    /// A handshake has not ended in time.
    pub(crate) fn shake_timeout(&self, a: usize, b: usize, epoch: u64) {
        let stuck = {
            let mut net = lock(&self.net);
            let connection = net.connection(a, b);
            connection.epoch == epoch && matches!(connection.link, Link::Shaking { .. })
        };
        if stuck {
            self.close(a, b, PeerEvent::Down);
        }
    }

    /// One end of a handshake has decided.
    pub(crate) fn shaken(&self, node: usize, peer: usize, epoch: u64, answer: Result<(), Refusal>) {
        let mut net = lock(&self.net);
        let connection = net.connection(node, peer);
        if connection.epoch != epoch {
            return;
        }
        let Link::Shaking { left } = connection.link else { return };
        if answer.is_ok()
            && let Some(identity) = net.ports[peer].identity
        {
            self.oracle.admits(node, identity);
        }
        let connection = net.connection(node, peer);
        match answer {
            Ok(()) if left > 1 => connection.link = Link::Shaking { left: left - 1 },
            Ok(()) => {
                connection.link = Link::Open;
                connection.failures = 0;
                for (of, other) in [(node, peer), (peer, node)] {
                    let life = net.ports[of].life;
                    let up = What::Report { node: of, peer: other, event: PeerEvent::Up, life };
                    self.agenda.after(0, up);
                }
            }
            Err(refusal) => {
                connection.link = Link::Closed;
                connection.failures += 2;
                let text = || format!("refuses n{}: {refusal}", peer + 1);
                self.oracle.note(Some(node), Tag::Link, [peer as u64 + 1, 0, 0, 0], text);
                match refusal {
                    Refusal::StoreReplaced { .. } => self.oracle.hit(Point::StoreReplaced),
                    Refusal::RolledBack { .. } => self.oracle.hit(Point::StoreSetBack),
                    _ => {}
                }
                let refused = net.ports[peer].inbox.clone();
                self.dial_later(&mut net, node, peer);
                drop(net);
                if let Some(inbox) = refused {
                    inbox.refused(NodeId(node as u64 + 1), refusal);
                }
            }
        }
    }

    /// Tells a node what became of a connection.
    pub(crate) fn report(&self, node: usize, peer: usize, event: PeerEvent, life: u64) {
        let inbox = {
            let net = lock(&self.net);
            net.ports[node].inbox.clone().filter(|_| net.ports[node].life == life)
        };
        if let Some(inbox) = inbox {
            inbox.peer(NodeId(peer as u64 + 1), event);
        }
    }

    fn send(&self, from: usize, to: usize, lane: Lane, envelope: Envelope) -> Sent {
        let mut net = lock(&self.net);
        let net = &mut *net;
        match net.connection(from, to).link {
            Link::Open => {}
            // It goes into a buffer and no further.
            Link::Dead => return Sent::Queued,
            _ => return Sent::Dropped(SentDropped::NotConnected),
        }
        net.messages += 1;
        let number = net.messages;
        let numbers = [to as u64 + 1, number, kind(&envelope.message), envelope.term.0];
        let text = || format!("to n{} #{number} {}", to + 1, describe(&envelope));
        self.oracle.note(Some(from), Tag::Sent, numbers, text);
        let bytes = size_bytes(&envelope);
        let plan = net.plan;
        let latency = net.latency();
        let now = self.agenda.now();
        let epoch = net.connection(from, to).epoch;
        let queue = &mut net.connection(from, to).queues[usize::from(from > to)][lane as usize];
        if queue.bytes > 0 && queue.bytes + bytes > QUEUE_BYTES {
            self.oracle.hit(Point::QueueFull);
            return Sent::Dropped(SentDropped::QueueFull);
        }
        let mut at = (now + latency).max(queue.last);
        queue.last = at;
        queue.bytes += bytes;
        if !net.calm && net.rng.rare(plan.overtake_ppm) {
            // It leaves the line.
            net.faults[3] += 1;
            self.oracle.hit(Point::Reordered);
            at += net.rng.skewed(MS / 10, plan.overtake_most);
        }
        let lost = !net.calm && net.rng.rare(plan.loss_ppm);
        let parcel = |envelope| Parcel { from, to, epoch, number, lane, bytes, lost, envelope };
        if !lost && !net.calm && net.rng.rare(plan.double_ppm) {
            net.faults[1] += 1;
            self.oracle.hit(Point::Duplicated);
            let twin = Parcel { bytes: 0, ..parcel(envelope.clone()) };
            let later = at + net.rng.skewed(MS / 10, 50 * MS);
            self.agenda.at(later, What::Deliver(Box::new(twin)));
        }
        self.agenda.at(at, What::Deliver(Box::new(parcel(envelope))));
        Sent::Queued
    }

    /// A message arrives.
    pub(crate) fn deliver(&self, parcel: Parcel) {
        let Parcel { from, to, epoch, number: id, lane, bytes, lost, envelope } = parcel;
        let inbox = {
            let mut net = lock(&self.net);
            let connection = net.connection(from, to);
            if connection.epoch != epoch {
                return;
            }
            let queue = &mut connection.queues[usize::from(from > to)][lane as usize];
            queue.bytes = queue.bytes.saturating_sub(bytes);
            if lost || net.is_cut(from, to) {
                net.faults[0] += 1;
                self.oracle.note(Some(to), Tag::Lost, [from as u64 + 1, id, 0, 0], || format!("#{id}"));
                return;
            }
            // Nothing is heard of the receiver, which hears.
            let one_way = net.is_cut(to, from);
            self.oracle.lock().cover.hit_if(one_way, Point::OneWay);
            net.ports[to].inbox.clone()
        };
        let Some(inbox) = inbox else { return };
        self.oracle.note(Some(to), Tag::Delivered, [from as u64 + 1, id, 0, 0], || {
            format!("from n{} #{id}", number(Some(from)))
        });
        let again = (lane == Lane::Bulk).then(|| envelope.clone());
        if inbox.deliver(envelope) == Delivery::Full
            && let Some(envelope) = again
        {
            // It waits, and what comes behind it waits as well.
            let at = self.agenda.now() + MS;
            let mut net = lock(&self.net);
            let queue = &mut net.connection(from, to).queues[usize::from(from > to)][lane as usize];
            queue.last = queue.last.max(at);
            let waits = Parcel { from, to, epoch, number: id, lane, bytes: 0, lost, envelope };
            self.agenda.at(at, What::Deliver(Box::new(waits)));
        }
    }
}

struct SimTransport {
    network: SimNetwork,
    owner: Owner,
}

#[async_trait]
impl Transport for SimTransport {
    async fn start(&self, local: Identity, inbox: Inbox) -> Result<(), TransportError> {
        let me = self.owner.node;
        let dead: Vec<usize> = {
            let mut net = lock(&self.network.net);
            let port = &mut net.ports[me];
            if port.life == self.owner.life {
                port.inbox = Some(inbox);
                port.identity = Some(local);
            }
            let others = (0..net.size()).filter(|other| *other != me);
            others.filter(|other| net.connections[net.pair(me, *other)].link == Link::Dead).collect()
        };
        // Whoever still speaks to the life before is told that it is gone.
        for other in dead {
            self.network.close(me, other, PeerEvent::Gone);
        }
        Ok(())
    }

    fn send(&self, to: &Member, lane: Lane, envelope: Envelope) -> Sent {
        let node = (to.id.0 as usize).wrapping_sub(1);
        let known = {
            let net = lock(&self.network.net);
            node < net.size() && net.ports[self.owner.node].life == self.owner.life
        };
        if !known {
            return Sent::Dropped(SentDropped::NotConnected);
        }
        self.network.send(self.owner.node, node, lane, envelope)
    }

    fn members(&self, members: &[Member]) {
        let mut net = lock(&self.network.net);
        let me = self.owner.node;
        if net.ports[me].life != self.owner.life {
            return;
        }
        let size = net.size();
        let all = members.iter().map(|member| (member.id.0 as usize).wrapping_sub(1));
        let members: BTreeSet<usize> = all.filter(|node| *node < size && *node != me).collect();
        let before = std::mem::replace(&mut net.ports[me].members, members.clone());
        let mut guests = Vec::new();
        for node in members {
            if net.connection(me, node).link == Link::Closed {
                self.network.dial_later(&mut net, me, node);
            } else if !before.contains(&node) {
                guests.push(node);
            }
        }
        drop(net);
        // Who was connected as no member shakes hands anew: now it is to be remembered.
        for guest in guests {
            self.network.close(me, guest, PeerEvent::Down);
        }
    }

    async fn shutdown(&self) {
        if lock(&self.network.net).ports[self.owner.node].life == self.owner.life {
            self.network.process_gone(self.owner.node, true);
        }
    }
}
