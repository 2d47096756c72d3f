//! Dialling one peer: two connections, one a lane, kept up for ever.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::BytesMut;
use raft_core::backend::{Refusal, Sent};
use raft_core::membership::Member;
use raft_core::message::{Envelope, Lane};
use raft_core::peering::{Attempts, Reach, count};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

use crate::frame::Outgoing;
use crate::handshake::{self, Handshake};
use crate::lane::Queue;
use crate::stream::Stream;
use crate::transport::{Options, Shared};

/// Encoded before one write, in bytes.
const WRITE_BYTES: usize = 256 << 10;
/// Pieces in one vectored write (Linux takes up to 1024).
const WRITE_PIECES: usize = 256;

/// One peer, as this node reaches it.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) reach: Reach,
    control: Queue,
    bulk: Queue,
}

impl Peer {
    fn new(member: &Member, is_guest: bool, options: &Options) -> Self {
        let queue = |lane, bytes| Queue::new(lane, bytes);
        Self {
            reach: Reach::new(member, is_guest),
            control: queue(Lane::Control, options.control_queue_bytes),
            bulk: queue(Lane::Bulk, options.bulk_queue_bytes),
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

    /// Keeps one lane connected. Ends only with its task.
    pub(crate) async fn keep_connected(self: Arc<Self>, lane: Lane, shared: Arc<Shared>) {
        // Each process waits otherwise.
        let random = RandomState::new().hash_one((self.reach.id(), lane));
        let mut attempts = Attempts::new(shared.options.reconnect, random);
        loop {
            let address = self.reach.address();
            match self.dial(&address, lane, &shared).await {
                Ok((stream, version)) => {
                    count(&shared.counters.dialled);
                    self.queue(lane).open(version);
                    self.reach.lane_up(&shared.inbox);
                    let begun = tokio::time::Instant::now();
                    let ended = self.carry(stream, lane, &address, &shared).await;
                    self.queue(lane).close();
                    self.reach.lane_down(&shared.inbox);
                    tracing::debug!(peer = %self.reach.id(), ?lane, ?ended, "connection ended");
                    if attempts.ended(begun.elapsed()) {
                        continue;
                    }
                }
                Err(Failure::Connect(error)) => {
                    if attempts.unconnected(&error) {
                        self.reach.gone(&shared.inbox);
                    }
                    tracing::trace!(peer = %self.reach.id(), ?lane, %error, "cannot connect");
                }
                Err(Failure::Io(error)) => {
                    if attempts.ungreeted(&error) {
                        self.reach.gone(&shared.inbox);
                    }
                    #[cfg(feature = "tls")]
                    if let Some(why) = crate::stream::tls_failure(&error) {
                        // Another certificate, another CA, or no TLS there.
                        count(&shared.counters.refused);
                        shared.log_peer(self.reach.id(), why);
                        attempts.unproven();
                    }
                    tracing::trace!(peer = %self.reach.id(), ?lane, %error, "no handshake");
                }
                Err(Failure::Refused { ours, why }) => {
                    attempts.refused(&why);
                    count(&shared.counters.refused);
                    shared.log_refusal(self.reach.id(), ours, &why);
                    if !ours {
                        shared.inbox.refused(self.reach.id(), why);
                    }
                }
            }
            tokio::select! {
                biased;
                () = self.reach.hurried(lane).notified() => attempts.reset(),
                () = tokio::time::sleep(attempts.wait()) => {}
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
        let mut stream =
            Stream::connect(stream, shared.local.cluster, self.reach.id(), &shared.security).await?;
        let listen = if self.reach.is_guest() { "" } else { &shared.advertised };
        let hello = handshake::hello(versions, shared.local, self.reach.id(), lane, listen);
        stream.write_all(&handshake::encode(&hello)).await?;
        let mut buffer = BytesMut::with_capacity(512);
        let verdict = match read_handshake(&mut stream, &mut buffer).await? {
            Handshake::Refused(why) => return Err(Failure::Refused { ours: false, why: why.into() }),
            Handshake::Welcome(welcome) => {
                handshake::check_welcome(versions, shared.local, self.reach.id(), &welcome)
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
                    () = self.reach.hurried(lane).notified() => {
                        if self.reach.address() != address {
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
                        shared.inbox.refused(self.reach.id(), why.into());
                    }
                    return Ok(());
                }
                () = self.reach.hurried(lane).notified() => {
                    if self.reach.address() != address {
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

/// A peer and the tasks that keep its lanes connected, until it is dropped.
#[derive(Debug)]
pub(crate) struct Dialled {
    pub(crate) peer: Arc<Peer>,
    tasks: [Option<AbortHandle>; 2],
}

impl Dialled {
    pub(crate) fn new(member: &Member, is_guest: bool, shared: &Arc<Shared>) -> Self {
        let peer = Arc::new(Peer::new(member, is_guest, &shared.options));
        let keep = |lane| {
            let task = Arc::clone(&peer).keep_connected(lane, Arc::clone(shared));
            shared.tasks.spawn(task)
        };
        let tasks = [keep(Lane::Control), keep(Lane::Bulk)];
        Self { peer, tasks }
    }
}

impl AsRef<Reach> for Dialled {
    fn as_ref(&self) -> &Reach {
        &self.peer.reach
    }
}

impl Drop for Dialled {
    fn drop(&mut self) {
        self.tasks.iter().flatten().for_each(AbortHandle::abort);
    }
}
