//! A small honest transport over bytes, and one lie on demand.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use raft_core::backend::{Delivery, Inbox, Refusal, Sent, SentDropped, Transport, TransportError};
use raft_core::ids::{Identity, NodeId};
use raft_core::membership::Member;
use raft_core::message::{Envelope, Lane, Message, PeerEvent};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::codec::{FIXED_BYTES, Greeting, LIMIT_BYTES, decode, encode, payload_bytes};
use super::lies::Lie;
use super::lines::{Lines, Listener};
use super::queue::{Queue, lane_number};

/// Incoming connections at once.
pub(crate) const CONNECTIONS: usize = 8;
const HANDSHAKE: Duration = Duration::from_secs(3);
const WRITE: Duration = Duration::from_secs(5);
const BACKOFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));
const LANES: [Lane; 2] = [Lane::Control, Lane::Bulk];

pub(crate) struct Carrier {
    pub(crate) lines: Lines,
    pub(crate) address: String,
    pub(crate) lie: Option<Lie>,
    pub(crate) versions: (u16, u16),
    pub(crate) running: Mutex<Option<Arc<Running>>>,
}

pub(crate) struct Running {
    local: Identity,
    inbox: Inbox,
    lines: Lines,
    lie: Option<Lie>,
    versions: (u16, u16),
    slots: Arc<Semaphore>,
    peers: Mutex<BTreeMap<NodeId, Arc<Peer>>>,
    /// Counts the incoming connections of each peer and lane: the newest is heard.
    newest: Mutex<BTreeMap<(NodeId, u8), watch::Sender<u64>>>,
    tasks: Mutex<Option<JoinSet<()>>>,
}

struct Peer {
    id: NodeId,
    address: Mutex<String>,
    queues: [Queue; 2],
    /// Lanes that are connected; whether the loss of the process was reported since.
    link: Mutex<(usize, bool)>,
    hurry: [Notify; 2],
    tasks: Mutex<Vec<AbortHandle>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn say(stream: &mut DuplexStream, greeting: &Greeting) -> io::Result<()> {
    let body = postcard::to_allocvec(greeting).map_err(io::Error::other)?;
    stream.write_u16_le(body.len() as u16).await?;
    stream.write_all(&body).await
}

async fn hear(stream: &mut DuplexStream) -> io::Result<Greeting> {
    let length = stream.read_u16_le().await?;
    if length > 1024 {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut body = vec![0; length.into()];
    stream.read_exact(&mut body).await?;
    postcard::from_bytes(&body).map_err(io::Error::other)
}

enum Failure {
    NobodyThere,
    NoHandshake,
    Refused,
}

impl From<io::Error> for Failure {
    fn from(_: io::Error) -> Self {
        Self::NoHandshake
    }
}

impl Running {
    fn lies(&self, lie: Lie) -> bool {
        self.lie == Some(lie)
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> Option<AbortHandle> {
        lock(&self.tasks).as_mut().map(|tasks| tasks.spawn(task))
    }

    fn check(&self, peer: &Identity, versions: (u16, u16)) -> Result<(), Refusal> {
        let (ours, local) = (self.versions, &self.local);
        if versions.0 > ours.1 || versions.1 < ours.0 {
            return Err(Refusal::WireVersion { ours, theirs: versions });
        }
        if peer.cluster != local.cluster && !self.lies(Lie::AcceptsAForeignCluster) {
            return Err(Refusal::WrongCluster { ours: local.cluster, theirs: peer.cluster });
        }
        if peer.group != local.group {
            return Err(Refusal::WrongGroup { ours: local.group, theirs: peer.group });
        }
        if peer.node == local.node {
            return Err(Refusal::WrongNode { expected: local.node, claimed: peer.node });
        }
        Ok(())
    }

    // Dialling.

    async fn keep_connected(self: Arc<Self>, peer: Arc<Peer>, lane: Lane) {
        let (queue, hurry) = (peer.queue(lane), &peer.hurry[usize::from(lane_number(lane))]);
        let mut wait = BACKOFF.0;
        loop {
            let address = lock(&peer.address).clone();
            let dialled = timeout(HANDSHAKE, self.dial(&peer, &address, lane)).await;
            match dialled.unwrap_or(Err(Failure::NoHandshake)) {
                Ok(stream) => {
                    wait = BACKOFF.0;
                    queue.open();
                    peer.lane_up(&self.inbox);
                    self.carry(stream, &peer, &address, lane).await;
                    queue.close();
                    peer.lane_down(&self.inbox);
                    // The first attempt after a loss tells whether the process is there.
                    continue;
                }
                Err(Failure::NobodyThere) => peer.gone(&self.inbox),
                Err(Failure::NoHandshake | Failure::Refused) => {}
            }
            if self.lies(Lie::ReconnectsWithoutBackOff) {
                tokio::task::yield_now().await;
                continue;
            }
            tokio::select! {
                biased;
                () = hurry.notified() => wait = BACKOFF.0,
                () = sleep(wait) => wait = (wait * 2).min(BACKOFF.1),
            }
        }
    }

    async fn dial(&self, peer: &Peer, address: &str, lane: Lane) -> Result<DuplexStream, Failure> {
        let mut stream = self.lines.connect(address).map_err(|_| Failure::NobodyThere)?;
        let (versions, identity) = (self.versions, self.local);
        let lane = lane_number(lane);
        say(&mut stream, &Greeting::Hello { versions, identity, to: peer.id, lane }).await?;
        let other = match hear(&mut stream).await? {
            Greeting::Welcome { identity } => identity,
            Greeting::Refused(why) => {
                self.inbox.refused(peer.id, why);
                return Err(Failure::Refused);
            }
            _ => return Err(Failure::NoHandshake),
        };
        let mut verdict = self.check(&other, self.versions);
        if verdict.is_ok() && other.node != peer.id {
            verdict = Err(Refusal::WrongNode { expected: peer.id, claimed: other.node });
        }
        if verdict.is_ok() {
            verdict = self.inbox.admit(other).await;
        }
        match verdict {
            Ok(()) => say(&mut stream, &Greeting::Ready).await?,
            Err(why) => {
                say(&mut stream, &Greeting::Refused(why)).await?;
                return Err(Failure::Refused);
            }
        }
        Ok(stream)
    }

    async fn carry(&self, stream: DuplexStream, peer: &Peer, address: &str, lane: Lane) {
        let (mut reading, mut writing) = tokio::io::split(stream);
        let (queue, hurry) = (peer.queue(lane), &peer.hurry[usize::from(lane_number(lane))]);
        loop {
            while let Some(envelope) = queue.pop() {
                while self.lies(Lie::DeadPeerBlocksTheOthers) && self.somebody_is_missing() {
                    sleep(BACKOFF.1).await;
                }
                let bytes = encode(envelope);
                let limit = if self.lies(Lie::HalfOpenIsNeverNoticed) { Duration::MAX } else { WRITE };
                if !matches!(timeout(limit, writing.write_all(&bytes)).await, Ok(Ok(()))) {
                    return;
                }
            }
            tokio::select! {
                biased;
                // The other side never speaks: it has closed.
                _ = reading.read_u8() => return,
                () = hurry.notified() => if *lock(&peer.address) != address {
                    return;
                },
                () = queue.filled.notified() => {}
            }
        }
    }

    fn somebody_is_missing(&self) -> bool {
        lock(&self.peers).values().any(|peer| peer.queues.iter().any(|queue| !queue.is_connected()))
    }

    // Listening.

    async fn accept(self: Arc<Self>, mut listener: Listener) {
        while let Some(stream) = listener.next().await {
            let permit = Arc::clone(&self.slots).try_acquire_owned();
            if permit.is_err() && !self.lies(Lie::NoConnectionCap) {
                continue;
            }
            let running = Arc::clone(&self);
            self.spawn(async move {
                let _permit = permit;
                running.serve(stream).await;
            });
        }
    }

    async fn serve(&self, mut stream: DuplexStream) {
        let limit = if self.lies(Lie::NoHandshakeDeadline) { Duration::MAX } else { HANDSHAKE };
        let Ok(Ok(Some((peer, lane)))) = timeout(limit, self.greet(&mut stream)).await else { return };
        let (mut newest, mine) = {
            let mut all = lock(&self.newest);
            let newest = all.entry((peer.node, lane)).or_default();
            newest.send_modify(|number| *number += 1);
            (newest.subscribe(), *newest.borrow())
        };
        if let Some(peer) = lock(&self.peers).get(&peer.node) {
            peer.hurry();
        }
        let is_old = self.lies(Lie::OldConnectionIsDelivered);
        tokio::select! {
            biased;
            _ = newest.wait_for(|number| *number != mine), if !is_old => {}
            () = self.read(stream, peer, lane) => {}
        }
    }

    async fn greet(&self, stream: &mut DuplexStream) -> io::Result<Option<(Identity, u8)>> {
        let Greeting::Hello { versions, identity: peer, to, lane } = hear(stream).await? else {
            return Ok(None);
        };
        let mut verdict = self.check(&peer, versions);
        if verdict.is_ok() && to != self.local.node {
            verdict = Err(Refusal::WrongNode { expected: to, claimed: self.local.node });
        }
        if verdict.is_ok() {
            verdict = self.inbox.admit(peer).await;
        }
        if let Err(why) = verdict {
            say(stream, &Greeting::Refused(why)).await?;
            return Ok(None);
        }
        say(stream, &Greeting::Welcome { identity: self.local }).await?;
        match hear(stream).await? {
            Greeting::Ready => Ok(Some((peer, lane))),
            Greeting::Refused(why) => {
                self.inbox.refused(peer.node, why);
                Ok(None)
            }
            _ => Ok(None),
        }
    }

    async fn read(&self, mut stream: DuplexStream, peer: Identity, lane: u8) {
        while let Some(envelope) = self.next(&mut stream).await {
            let right = envelope.from == peer.node && envelope.to == self.local.node;
            let careless = self.lies(Lie::TrustsTheFromField) || self.lies(Lie::DeliversToTheWrongNode);
            if !(right || careless) || lane_number(envelope.lane()) != lane {
                return;
            }
            loop {
                match self.inbox.deliver(envelope.clone()) {
                    Delivery::Accepted => break,
                    Delivery::Full => self.inbox.ready().await,
                    Delivery::Closed => return,
                }
            }
        }
    }

    /// The next message, if a whole and sound one comes.
    async fn next(&self, stream: &mut DuplexStream) -> Option<Envelope> {
        let mut fixed = [0; FIXED_BYTES];
        stream.read_exact(&mut fixed).await.ok()?;
        let (length, crc) = fixed.split_at(4);
        let length = u32::from_le_bytes(length.try_into().ok()?) as usize;
        let mut frame = Vec::new();
        if self.lies(Lie::AllocatesBeforeTheCap) {
            frame = std::hint::black_box(Vec::with_capacity(length));
        }
        if length > LIMIT_BYTES {
            return None;
        }
        stream.take(length as u64).read_to_end(&mut frame).await.ok()?;
        let is_whole = frame.len() == length;
        let is_sound = is_whole && crc == crc32c::crc32c(&frame).to_le_bytes();
        frame.resize(length, 0);
        let envelope = decode(Bytes::from(frame));
        let is_chunk = envelope.as_ref().is_some_and(|one| matches!(one.message, Message::Snapshot(_)));
        let taken = is_sound
            || is_whole && self.lies(Lie::FlippedByteGoesUndetected)
            || is_chunk && self.lies(Lie::TruncatedStreamIsTakenAsComplete);
        envelope.filter(|_| taken)
    }
}

impl Peer {
    fn queue(&self, lane: Lane) -> &Queue {
        &self.queues[usize::from(lane_number(lane))]
    }

    fn hurry(&self) {
        self.hurry.iter().for_each(Notify::notify_one);
    }

    fn lane_up(&self, inbox: &Inbox) {
        let mut link = lock(&self.link);
        link.0 += 1;
        if link.0 == LANES.len() {
            link.1 = false;
            inbox.peer(self.id, PeerEvent::Up);
        }
    }

    fn lane_down(&self, inbox: &Inbox) {
        let mut link = lock(&self.link);
        if link.0 == LANES.len() {
            inbox.peer(self.id, PeerEvent::Down);
        }
        link.0 -= 1;
    }

    fn gone(&self, inbox: &Inbox) {
        if !std::mem::replace(&mut lock(&self.link).1, true) {
            inbox.peer(self.id, PeerEvent::Gone);
        }
    }
}

impl Carrier {
    fn running(&self) -> Option<Arc<Running>> {
        lock(&self.running).clone()
    }
}

#[async_trait]
impl Transport for Carrier {
    async fn start(&self, local: Identity, inbox: Inbox) -> Result<(), TransportError> {
        let mut running = lock(&self.running);
        if running.is_some() {
            return Err(TransportError::AlreadyStarted);
        }
        let in_use = |_| TransportError::AddressInUse { address: self.address.clone() };
        let listener = self.lines.bind(&self.address).map_err(in_use)?;
        let started = Arc::new(Running {
            local,
            inbox,
            lines: self.lines.clone(),
            lie: self.lie,
            versions: self.versions,
            slots: Arc::new(Semaphore::new(CONNECTIONS)),
            peers: Mutex::default(),
            newest: Mutex::default(),
            tasks: Mutex::new(Some(JoinSet::new())),
        });
        started.spawn(Arc::clone(&started).accept(listener));
        *running = Some(started);
        Ok(())
    }

    fn send(&self, to: &Member, lane: Lane, envelope: Envelope) -> Sent {
        let Some(running) = self.running() else { return Sent::Dropped(SentDropped::Stopped) };
        let bytes = payload_bytes(&envelope.message);
        if bytes > LIMIT_BYTES - 4096 {
            return Sent::Dropped(SentDropped::TooLarge);
        }
        if bytes > 8 << 20 && running.lies(Lie::DropsAboveASize) {
            return Sent::Queued;
        }
        let peers = lock(&running.peers);
        let mut peer = peers.get(&to.id);
        if running.lies(Lie::DeliversToTheWrongNode) {
            peer = peers.values().find(|other| other.id != to.id).or(peer);
        }
        match peer {
            Some(peer) => peer.queue(lane).push(envelope, running.lie),
            None => Sent::Dropped(SentDropped::NotConnected),
        }
    }

    fn members(&self, members: &[Member]) {
        let Some(running) = self.running() else { return };
        let mut peers = lock(&running.peers);
        peers.retain(|id, peer| {
            let stays = members.iter().any(|member| member.id == *id);
            if !stays {
                lock(&peer.tasks).iter().for_each(AbortHandle::abort);
            }
            stays
        });
        for member in members.iter().filter(|member| member.id != running.local.node) {
            if let Some(peer) = peers.get(&member.id) {
                let moved = *lock(&peer.address) != member.address;
                if moved {
                    lock(&peer.address).clone_from(&member.address);
                    lock(&peer.link).1 = true;
                    peer.hurry();
                }
                continue;
            }
            let peer = Arc::new(Peer {
                id: member.id,
                address: Mutex::new(member.address.clone()),
                queues: Default::default(),
                link: Mutex::new((0, true)),
                hurry: Default::default(),
                tasks: Mutex::default(),
            });
            let keep = |lane| Arc::clone(&running).keep_connected(Arc::clone(&peer), lane);
            let tasks = LANES.into_iter().filter_map(|lane| running.spawn(keep(lane))).collect();
            *lock(&peer.tasks) = tasks;
            peers.insert(member.id, peer);
        }
    }

    async fn shutdown(&self) {
        let Some(running) = lock(&self.running).take() else { return };
        lock(&running.peers).clear();
        let tasks = lock(&running.tasks).take();
        if let Some(mut tasks) = tasks {
            tasks.shutdown().await;
        }
    }
}

impl Drop for Carrier {
    /// Tasks hold each other: who was not shut down is ended here.
    fn drop(&mut self) {
        if let Some(running) = lock(&self.running).take() {
            drop(lock(&running.tasks).take());
        }
    }
}
