//! Dialling one peer: two connections, one a lane, kept up for ever.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use raft_core::backend::{Inbox, Refusal, Sent};
use raft_core::ids::NodeId;
use raft_core::membership::Member;
use raft_core::message::{Envelope, Lane, PeerEvent};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::frame::Outgoing;
use crate::handshake::{self, Handshake};
use crate::lane::Queue;
use crate::stats::count;
use crate::stream::Stream;
use crate::transport::{Options, Shared};

/// Encoded before one write, in bytes.
const WRITE_BYTES: usize = 256 << 10;
/// Pieces in one vectored write (Linux takes up to 1024).
const WRITE_PIECES: usize = 256;
/// A peer that has refused this node is asked again after this, at the earliest.
const REFUSED_BACKOFF: Duration = Duration::from_secs(5);
/// Connections in a row that may end soon before the next attempt waits.
const SHORT_CONNECTIONS: u32 = 3;

/// One peer, as this node reaches it.
#[derive(Debug)]
pub(crate) struct Peer {
    id: NodeId,
    /// Not a member, and dialled only because it has dialled this node.
    is_guest: bool,
    address: Mutex<String>,
    control: Queue,
    bulk: Queue,
    link: Mutex<Link>,
    /// Dial at once: the address changed, or the peer has just dialled this node.
    hurry: [Notify; 2],
}

/// What the lanes have come to, and what of it was reported. Locked until the event is delivered, so that
/// events come in the order of what they report.
#[derive(Debug)]
struct Link {
    /// Lanes that are connected; both are: the peer is up.
    lanes_up: usize,
    /// The peer was reported as gone since it was last up, or nothing can be said of its process.
    gone: bool,
}

/// The lanes of a peer.
const LANES: usize = 2;

impl Peer {
    pub(crate) fn new(member: &Member, is_guest: bool, options: &Options) -> Self {
        let (control_bytes, bulk_bytes) = (options.control_queue_bytes, options.bulk_queue_bytes);
        Self {
            id: member.id,
            is_guest,
            address: Mutex::new(member.address.clone()),
            control: Queue::new(Lane::Control, control_bytes),
            bulk: Queue::new(Lane::Bulk, bulk_bytes),
            link: Mutex::new(Link { lanes_up: 0, gone: true }),
            hurry: [Notify::new(), Notify::new()],
        }
    }

    pub(crate) const fn is_guest(&self) -> bool {
        self.is_guest
    }

    pub(crate) fn queue(&self, lane: Lane) -> &Queue {
        match lane {
            Lane::Control => &self.control,
            Lane::Bulk => &self.bulk,
        }
    }

    pub(crate) fn send(&self, lane: Lane, envelope: Envelope) -> Sent {
        self.queue(lane).push(envelope)
    }

    fn address(&self) -> String {
        self.address.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Follows a changed address (T10): connections to the old one end.
    pub(crate) fn set_address(&self, address: &str) {
        let mut current = self.address.lock().unwrap_or_else(PoisonError::into_inner);
        if *current != address {
            address.clone_into(&mut current);
            drop(current);
            // Nobody may listen there yet: that says nothing about the process.
            self.link().gone = true;
            self.hurry();
        }
    }

    /// Dial at once instead of waiting.
    pub(crate) fn hurry(&self) {
        self.hurry.iter().for_each(Notify::notify_one);
    }

    fn hurried(&self, lane: Lane) -> &Notify {
        &self.hurry[usize::from(lane == Lane::Bulk)]
    }

    fn link(&self) -> MutexGuard<'_, Link> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lane_up(&self, inbox: &Inbox) {
        let mut link = self.link();
        link.lanes_up += 1;
        if link.lanes_up == LANES {
            link.gone = false;
            inbox.peer(self.id, PeerEvent::Up);
        }
    }

    fn lane_down(&self, inbox: &Inbox) {
        let mut link = self.link();
        if link.lanes_up == LANES {
            inbox.peer(self.id, PeerEvent::Down);
        }
        link.lanes_up -= 1;
    }

    /// An attempt to connect a lane was refused or reset: nobody listens there any more.
    fn gone(&self, inbox: &Inbox) {
        let mut link = self.link();
        if !link.gone {
            link.gone = true;
            inbox.peer(self.id, PeerEvent::Gone);
        }
    }

    /// Keeps one lane connected. Ends only with its task.
    pub(crate) async fn keep_connected(self: Arc<Self>, lane: Lane, shared: Arc<Shared>) {
        let mut backoff = Backoff::new(&shared.options.reconnect, self.id.0 ^ u64::from(lane == Lane::Bulk));
        // Connections in a row that ended soon.
        let mut short = 0;
        let mut after_loss = false;
        loop {
            let address = self.address();
            match self.dial(&address, lane, &shared).await {
                Ok((stream, version)) => {
                    count(&shared.counters.dialled);
                    self.queue(lane).open(version);
                    self.lane_up(&shared.inbox);
                    let begun = tokio::time::Instant::now();
                    let ended = self.carry(stream, lane, &address, &shared).await;
                    self.queue(lane).close();
                    self.lane_down(&shared.inbox);
                    tracing::debug!(peer = %self.id, ?lane, ?ended, "connection ended");
                    after_loss = true;
                    if begun.elapsed() >= shared.options.reconnect.1 {
                        short = 0;
                        backoff.reset();
                    } else {
                        short += 1;
                    }
                    // The first attempt after a loss comes at once: refused, it says that the process is
                    // gone. A peer that takes connections only to close them has to wait for the next.
                    if short <= SHORT_CONNECTIONS {
                        continue;
                    }
                }
                Err(Failure::Connect(error)) => {
                    if error.kind() == io::ErrorKind::ConnectionRefused {
                        self.gone(&shared.inbox);
                    }
                    after_loss = false;
                    tracing::trace!(peer = %self.id, ?lane, %error, "cannot connect");
                }
                Err(Failure::Io(error)) => {
                    if after_loss && error.kind() == io::ErrorKind::ConnectionReset {
                        // Its listener died with it.
                        self.gone(&shared.inbox);
                    }
                    after_loss = false;
                    #[cfg(feature = "tls")]
                    if let Some(why) = crate::stream::tls_failure(&error) {
                        // It will not be better at once: another certificate, another CA, or no TLS there.
                        count(&shared.counters.refused);
                        shared.log_peer(self.id, why);
                        backoff.at_least(REFUSED_BACKOFF);
                    }
                    tracing::trace!(peer = %self.id, ?lane, %error, "no handshake");
                }
                Err(Failure::Refused { ours, why }) => {
                    after_loss = false;
                    count(&shared.counters.refused);
                    shared.log_refusal(self.id, ours, &why);
                    if why != Refusal::NotReady {
                        backoff.at_least(REFUSED_BACKOFF);
                    }
                    if !ours {
                        shared.inbox.refused(self.id, why);
                    }
                }
            }
            tokio::select! {
                biased;
                () = self.hurried(lane).notified() => {
                    short = 0;
                    backoff.reset();
                }
                () = tokio::time::sleep(backoff.next()) => {}
            }
        }
    }

    /// A connection after the handshake, and the wire version that it speaks.
    async fn dial(&self, address: &str, lane: Lane, shared: &Shared) -> Result<(Stream, u16), Failure> {
        let patience = shared.options.handshake_timeout;
        let attempt = async {
            let mut last = io::Error::new(io::ErrorKind::NotFound, "the address names no host");
            let found = tokio::net::lookup_host(address).await.map_err(Failure::Connect)?;
            let addresses: Vec<SocketAddr> = found.collect();
            for address in addresses {
                match TcpStream::connect(address).await {
                    Ok(stream) => return self.shake_hands(stream, lane, shared).await,
                    Err(error) => last = error,
                }
            }
            Err(Failure::Connect(last))
        };
        let late = || Failure::Io(io::Error::new(io::ErrorKind::TimedOut, "no handshake in time"));
        tokio::time::timeout(patience, attempt).await.unwrap_or_else(|_| Err(late()))
    }

    async fn shake_hands(
        &self,
        stream: TcpStream,
        lane: Lane,
        shared: &Shared,
    ) -> Result<(Stream, u16), Failure> {
        let versions = shared.options.wire_versions;
        shared.options.prepare(&stream)?;
        let mut stream = Stream::connect(stream, shared.local.cluster, self.id, &shared.options).await?;
        let listen = if self.is_guest { "" } else { &shared.advertised };
        let hello = handshake::hello(versions, shared.local, self.id, lane, listen);
        stream.write_all(&handshake::encode(&hello)).await?;
        let mut buffer = BytesMut::with_capacity(512);
        let verdict = match read_handshake(&mut stream, &mut buffer).await? {
            Handshake::Refused(why) => return Err(Failure::Refused { ours: false, why: why.into() }),
            Handshake::Welcome(welcome) => {
                handshake::check_welcome(versions, shared.local, self.id, &welcome)
                    .map(|peer| (peer, welcome.version))
            }
            _ => return Err(Failure::Io(invalid("an unexpected handshake message"))),
        };
        let verdict = match verdict {
            Ok((peer, version)) => shared.inbox.admit(peer).await.map(|()| version),
            Err(why) => Err(why),
        };
        let version = match verdict {
            Ok(version) => version,
            Err(why) => {
                let refused = Handshake::Refused(why.clone().into());
                stream.write_all(&handshake::encode(&refused)).await?;
                return Err(Failure::Refused { ours: true, why });
            }
        };
        stream.write_all(&handshake::encode(&Handshake::Ready)).await?;
        stream.flush().await?;
        Ok((stream, version))
    }

    /// Writes what waits until the connection ends, the peer speaks, or its address changes.
    async fn carry(&self, stream: Stream, lane: Lane, address: &str, shared: &Shared) -> io::Result<()> {
        match stream {
            Stream::Plain(mut stream) => {
                let (reading, writing) = stream.split();
                self.carry_over(reading, writing, lane, address, shared).await
            }
            #[cfg(feature = "tls")]
            Stream::Tls(stream) => {
                let (reading, writing) = tokio::io::split(stream);
                self.carry_over(reading, writing, lane, address, shared).await
            }
        }
    }

    async fn carry_over(
        &self,
        mut reading: impl AsyncRead + Unpin,
        mut writing: impl AsyncWrite + Unpin,
        lane: Lane,
        address: &str,
        shared: &Shared,
    ) -> io::Result<()> {
        let queue = self.queue(lane);
        let mut out = Outgoing::default();
        let mut unexpected = [0_u8; 64];
        loop {
            while queue.take(&mut out, WRITE_BYTES) {
                let progress = async {
                    let mut slices = Vec::with_capacity(16);
                    out.slices(&mut slices, WRITE_PIECES);
                    writing.write_vectored(&slices).await
                };
                let written = tokio::select! {
                    biased;
                    written = progress => written?,
                    () = self.hurried(lane).notified() => {
                        if self.address() != address {
                            return Ok(());
                        }
                        continue;
                    }
                    () = tokio::time::sleep(shared.options.write_timeout) => {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                };
                if written == 0 {
                    return Err(io::ErrorKind::WriteZero.into());
                }
                out.advance(written);
            }
            // Over TLS the last of it may still be on this side.
            let flushed = tokio::time::timeout(shared.options.write_timeout, writing.flush()).await;
            flushed.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
            tokio::select! {
                biased;
                // The listener never speaks after the handshake, except to say why it ends.
                read = reading.read(&mut unexpected) => {
                    let read = read?;
                    if let Ok(Some(Handshake::Refused(why))) = handshake::decode(&mut BytesMut::from(&unexpected[..read])) {
                        shared.inbox.refused(self.id, why.into());
                    }
                    return Ok(());
                }
                () = self.hurried(lane).notified() => {
                    if self.address() != address {
                        return Ok(());
                    }
                }
                () = queue.filled() => {}
            }
        }
    }
}

enum Failure {
    /// No connection.
    Connect(io::Error),
    /// A connection, but no handshake.
    Io(io::Error),
    Refused {
        ours: bool,
        why: Refusal,
    },
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// The next handshake message of a connection.
pub(crate) async fn read_handshake(stream: &mut Stream, buffer: &mut BytesMut) -> io::Result<Handshake> {
    loop {
        let message =
            handshake::decode(buffer).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        if let Some(message) = message {
            return Ok(message);
        }
        if stream.read_buf(buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// How long to wait between attempts: doubling, with jitter, without an end.
pub(crate) struct Backoff {
    least: Duration,
    most: Duration,
    next: Duration,
    random: u64,
}

impl Backoff {
    fn new((least, most): &(Duration, Duration), seed: u64) -> Self {
        let random = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), seed) | 1;
        Self { least: *least, most: *most, next: *least, random }
    }

    fn reset(&mut self) {
        self.next = self.least;
    }

    fn at_least(&mut self, least: Duration) {
        self.next = self.next.max(least);
    }

    /// The next wait: between half of it and all of it.
    fn next(&mut self) -> Duration {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let wait = self.next;
        self.next = (self.next * 2).min(self.most.max(self.next));
        let part = u32::try_from(self.random % 1000).unwrap_or(0);
        wait / 2 + wait * part / 2000
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_trait::async_trait;
    use raft_core::backend::{Delivery, InboxHandler};
    use raft_core::ids::Identity;

    #[derive(Default)]
    struct Events(Mutex<Vec<PeerEvent>>);

    #[async_trait]
    impl InboxHandler for Events {
        fn deliver(&self, _: Envelope) -> Delivery {
            Delivery::Accepted
        }
        async fn ready(&self) {}
        async fn admit(&self, _: Identity) -> Result<(), Refusal> {
            Ok(())
        }
        fn peer(&self, _: NodeId, event: PeerEvent) {
            self.0.lock().unwrap().push(event);
        }
        fn refused(&self, _: NodeId, _: Refusal) {}
    }

    /// T5, with both lanes flapping on threads of their own: a loss follows each connection and a
    /// connection each loss, and the last word is true.
    #[test]
    fn events_of_two_lanes_come_in_order() {
        let events = Arc::new(Events::default());
        let inbox = Inbox::new(Arc::clone(&events) as Arc<dyn InboxHandler>);
        let peer = Peer::new(&Member::new(NodeId(2), "nowhere"), false, &Options::default());
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for round in 0..20_000 {
                        peer.lane_up(&inbox);
                        peer.lane_down(&inbox);
                        if round % 3 == 0 {
                            peer.gone(&inbox);
                        }
                    }
                });
            }
        });
        let events = events.0.lock().unwrap();
        let mut up = false;
        for (at, event) in events.iter().enumerate() {
            match event {
                PeerEvent::Up => assert!(!up, "up again without a loss, event {at}"),
                PeerEvent::Down => assert!(up, "lost twice, event {at}"),
                PeerEvent::Gone => assert!(!up, "gone while up, event {at}"),
            }
            up = *event == PeerEvent::Up;
        }
        assert!(!up, "both lanes are down");
    }

    #[test]
    fn waits_grow_with_jitter_to_a_bound() {
        let (least, most) = (Duration::from_millis(10), Duration::from_millis(1000));
        let mut backoff = Backoff::new(&(least, most), 1);
        let waits: Vec<Duration> = (0..12).map(|_| backoff.next()).collect();
        assert!(waits[0] >= least / 2 && waits[0] < least);
        assert!(waits[11] >= most / 2 && waits[11] < most);
        backoff.at_least(most * 5);
        assert!(backoff.next() >= most * 5 / 2);
        backoff.reset();
        assert!(backoff.next() < least);
    }
}
