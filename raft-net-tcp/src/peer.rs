//! Dialling one peer: two connections, one a lane, kept up for ever.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use raft_core::backend::{Refusal, Sent};
use raft_core::ids::NodeId;
use raft_core::membership::Member;
use raft_core::message::{Envelope, Lane, PeerEvent};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::frame::Outgoing;
use crate::handshake::{self, Handshake};
use crate::lane::Queue;
use crate::stats::count;
use crate::transport::Shared;

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
    address: Mutex<String>,
    control: Queue,
    bulk: Queue,
    /// Lanes that are connected; both are: the peer is up.
    lanes_up: AtomicUsize,
    /// Both lanes were up since the last loss was reported.
    reported_up: AtomicBool,
    /// The peer was reported as gone since it was last up.
    reported_gone: AtomicBool,
    /// Dial at once: the address changed, or the peer has just dialled this node.
    hurry: [Notify; 2],
}

impl Peer {
    pub(crate) fn new(member: &Member, control_bytes: u64, bulk_bytes: u64) -> Self {
        Self {
            id: member.id,
            address: Mutex::new(member.address.clone()),
            control: Queue::new(Lane::Control, control_bytes),
            bulk: Queue::new(Lane::Bulk, bulk_bytes),
            lanes_up: AtomicUsize::new(0),
            reported_up: AtomicBool::new(false),
            reported_gone: AtomicBool::new(true),
            hurry: [Notify::new(), Notify::new()],
        }
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
            self.reported_gone.store(true, Ordering::Release);
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

    fn lane_up(&self, shared: &Shared) {
        if self.lanes_up.fetch_add(1, Ordering::AcqRel) == 1 {
            self.reported_up.store(true, Ordering::Release);
            self.reported_gone.store(false, Ordering::Release);
            shared.inbox.peer(self.id, PeerEvent::Up);
        }
    }

    fn lane_down(&self, shared: &Shared) {
        self.lanes_up.fetch_sub(1, Ordering::AcqRel);
        if self.reported_up.swap(false, Ordering::AcqRel) {
            shared.inbox.peer(self.id, PeerEvent::Down);
        }
    }

    /// An attempt to connect was refused or reset: nobody listens there any more.
    fn gone(&self, shared: &Shared) {
        if !self.reported_gone.swap(true, Ordering::AcqRel) {
            if self.reported_up.swap(false, Ordering::AcqRel) {
                shared.inbox.peer(self.id, PeerEvent::Down);
            }
            shared.inbox.peer(self.id, PeerEvent::Gone);
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
                Ok(stream) => {
                    count(&shared.counters.dialled);
                    self.queue(lane).open();
                    self.lane_up(&shared);
                    let begun = tokio::time::Instant::now();
                    let ended = self.carry(stream, lane, &address, &shared).await;
                    self.queue(lane).close();
                    self.lane_down(&shared);
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
                        self.gone(&shared);
                    }
                    after_loss = false;
                    tracing::trace!(peer = %self.id, ?lane, %error, "cannot connect");
                }
                Err(Failure::Io(error)) => {
                    if after_loss && error.kind() == io::ErrorKind::ConnectionReset {
                        // Its listener died with it.
                        self.gone(&shared);
                    }
                    after_loss = false;
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

    async fn dial(&self, address: &str, lane: Lane, shared: &Shared) -> Result<TcpStream, Failure> {
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
        mut stream: TcpStream,
        lane: Lane,
        shared: &Shared,
    ) -> Result<TcpStream, Failure> {
        shared.options.prepare(&stream)?;
        stream.write_all(&handshake::encode(&handshake::hello(shared.local, self.id, lane))).await?;
        let mut buffer = BytesMut::with_capacity(512);
        let verdict = match read_handshake(&mut stream, &mut buffer).await? {
            Handshake::Refused(why) => return Err(Failure::Refused { ours: false, why: why.into() }),
            Handshake::Welcome(welcome) => handshake::check_welcome(shared.local, self.id, &welcome),
            _ => return Err(Failure::Io(invalid("an unexpected handshake message"))),
        };
        let verdict = match verdict {
            Ok(peer) => shared.inbox.admit(peer).await,
            Err(why) => Err(why),
        };
        if let Err(why) = verdict {
            let refused = Handshake::Refused(why.clone().into());
            stream.write_all(&handshake::encode(&refused)).await?;
            return Err(Failure::Refused { ours: true, why });
        }
        stream.write_all(&handshake::encode(&Handshake::Ready)).await?;
        Ok(stream)
    }

    /// Writes what waits until the connection ends, the peer speaks, or its address changes.
    async fn carry(
        &self,
        mut stream: TcpStream,
        lane: Lane,
        address: &str,
        shared: &Shared,
    ) -> io::Result<()> {
        let (mut reading, mut writing) = stream.split();
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
pub(crate) async fn read_handshake(stream: &mut TcpStream, buffer: &mut BytesMut) -> io::Result<Handshake> {
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
