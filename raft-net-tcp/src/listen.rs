//! Accepting peers: the listening side of the handshake, and reading frames.

use std::sync::Arc;

use bytes::BytesMut;
use raft_core::backend::{Delivery, Refusal};
use raft_core::ids::{Identity, NodeId};
use raft_core::message::{Envelope, Lane};
use raft_core::peering::{Claim, count, reachable};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::error::WireError;
use crate::frame;
use crate::handshake::{self, Handshake};
use crate::peer::read_handshake;
use crate::stream::Stream;
use crate::transport::Shared;

/// Read at once, in bytes, when nothing larger is announced.
const READ_BYTES: usize = 64 << 10;

/// Accepts until its task ends.
pub(crate) async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors, most likely: let some be closed.
                tracing::warn!(%error, "cannot accept");
                tokio::time::sleep(shared.options.reconnect.0).await;
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&shared.connections).try_acquire_owned() else {
            count(&shared.counters.turned_away);
            continue;
        };
        let tasks = Arc::clone(&shared.tasks);
        let shared = Arc::clone(&shared);
        let serve = async move {
            serve(stream, &shared).await;
            drop(permit);
        };
        if tasks.spawn(serve).is_none() {
            return;
        }
    }
}

async fn serve(stream: TcpStream, shared: &Arc<Shared>) {
    let patience = shared.options.handshake_timeout;
    let mut buffer = BytesMut::with_capacity(READ_BYTES);
    let greeted = async {
        let mut stream = secure(stream, shared).await?;
        let (peer, lane, listen) = greet(&mut stream, &mut buffer, shared).await?;
        Some((stream, peer, lane, listen))
    };
    let (mut stream, peer, lane, listen) = match tokio::time::timeout(patience, greeted).await {
        Ok(Some(greeted)) => greeted,
        Ok(None) => return,
        Err(_) => {
            count(&shared.counters.turned_away);
            return;
        }
    };
    count(&shared.counters.accepted);
    let Some(claim) = shared.newest.claim(peer, lane) else { return };
    // It has just dialled this node: it is there to be dialled.
    shared.hurry(peer.node);
    shared.visit(peer.node, &listen);
    if let Err(error) = read(&mut stream, &mut buffer, peer, lane, &claim, shared).await {
        count(&shared.counters.misbehaved);
        shared.log_misbehaviour(peer.node, lane, &error);
    }
    if !listen.is_empty() {
        shared.leave(peer.node);
    }
}

/// The listening side of TLS, where it is wanted. `None` if the other side shows no certificate of the
/// cluster's CA, or speaks no TLS at all.
async fn secure(stream: TcpStream, shared: &Shared) -> Option<Stream> {
    shared.options.prepare(&stream).ok()?;
    let from = stream.peer_addr().ok();
    match Stream::accept(stream, &shared.security).await {
        Ok(stream) => Some(stream),
        Err(error) => {
            // One that only looks whether somebody listens has said nothing wrong.
            if error.kind() == std::io::ErrorKind::InvalidData {
                count(&shared.counters.refused);
                shared.log_stranger(from, &error);
            }
            None
        }
    }
}

/// The listening side of the handshake: who it is, which lane, and where it can be dialled. `None` if this is not,
/// or may not be, one of us.
async fn greet(
    stream: &mut Stream,
    buffer: &mut BytesMut,
    shared: &Shared,
) -> Option<(Identity, Lane, String)> {
    let hello = match read_handshake(stream, buffer).await {
        Ok(Handshake::Hello(hello)) if hello.lane <= 1 => hello,
        Ok(_) => {
            count(&shared.counters.misbehaved);
            shared.log_stranger(stream.peer_addr(), &"it does not begin with a greeting");
            return None;
        }
        Err(error) => {
            if error.kind() == std::io::ErrorKind::InvalidData {
                count(&shared.counters.misbehaved);
                shared.log_stranger(stream.peer_addr(), &error);
            }
            return None;
        }
    };
    let verdict = match handshake::check_hello(shared.options.wire_versions, shared.local, &hello) {
        Ok((peer, lane)) => match stream.check_peer(peer) {
            Ok(()) => shared.inbox.admit(peer).await.map(|()| (peer, lane)),
            Err(why) => Err(why),
        },
        Err(why) => Err(why),
    };
    let (peer, lane) = match verdict {
        Ok(admitted) => admitted,
        Err(why) => {
            refuse(stream, Identity::from(hello.identity).node, why, shared).await;
            return None;
        }
    };
    let welcome = handshake::welcome(shared.options.wire_versions, shared.local, &hello);
    stream.write_all(&handshake::encode(&welcome)).await.ok()?;
    match read_handshake(stream, buffer).await.ok()? {
        Handshake::Ready => Some((peer, lane, reachable(hello.listen, stream.peer_addr()))),
        Handshake::Refused(why) => {
            count(&shared.counters.refused);
            let why = Refusal::from(why);
            shared.log_refusal(peer.node, false, &why);
            shared.inbox.refused(peer.node, why);
            None
        }
        _ => {
            count(&shared.counters.misbehaved);
            None
        }
    }
}

async fn refuse(stream: &mut Stream, node: NodeId, why: Refusal, shared: &Shared) {
    count(&shared.counters.refused);
    shared.log_refusal(node, true, &why);
    // The peer may be gone already.
    let _ = stream.write_all(&handshake::encode(&Handshake::Refused(why.into()))).await;
    let _ = stream.shutdown().await;
}

/// Reads frames and delivers them, until the connection ends or misbehaves.
async fn read(
    stream: &mut Stream,
    buffer: &mut BytesMut,
    peer: Identity,
    lane: Lane,
    claim: &Claim,
    shared: &Shared,
) -> Result<(), WireError> {
    let limit = shared.options.frame_limit_bytes;
    loop {
        while let Some(envelope) = frame::decode(buffer, limit)? {
            let ours = envelope.from == peer.node
                && envelope.to == shared.local.node
                && envelope.group == shared.local.group;
            if !ours {
                return Err(WireError::WrongSender);
            }
            if envelope.lane() != lane {
                return Err(WireError::WrongLane);
            }
            if !deliver(envelope, claim, shared).await {
                return Ok(());
            }
        }
        if buffer.capacity() - buffer.len() < READ_BYTES / 4 {
            buffer.reserve(READ_BYTES);
        }
        let read = tokio::select! {
            biased;
            () = claim.lost() => return Ok(()),
            read = stream.read_buf(buffer) => read,
        };
        match read {
            // In the middle of a frame or not, by a reset or not: so ends a process that is killed.
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
    }
    if claim.holds() {
        // Both directions end with the process: look at once whether it is still there.
        shared.hurry(peer.node);
    }
    Ok(())
}

/// Hands one message over; waits while the node has no room for bulk. Whether to go on.
async fn deliver(envelope: Envelope, claim: &Claim, shared: &Shared) -> bool {
    if !claim.holds() {
        return false;
    }
    if envelope.lane() == Lane::Control {
        return shared.inbox.deliver(envelope) == Delivery::Accepted;
    }
    let mut delivery = shared.inbox.deliver(envelope.clone());
    while delivery == Delivery::Full {
        shared.inbox.ready().await;
        if !claim.holds() {
            return false;
        }
        delivery = shared.inbox.deliver(envelope.clone());
    }
    delivery == Delivery::Accepted
}
