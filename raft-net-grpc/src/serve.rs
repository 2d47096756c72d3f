//! One stream of a peer: the listening side of the handshake, and reading messages.

use std::net::SocketAddr;
use std::sync::Arc;

use raft_core::backend::{Delivery, Refusal};
use raft_core::ids::Identity;
use raft_core::message::{Envelope, Lane};
use raft_core::peering::{Claim, count, reachable};
use tokio::sync::mpsc;
use tonic::{Code, Status, Streaming};

use crate::error::WireError;
use crate::group::Group;
use crate::handshake::{self, Said};
use crate::proto::Frame;
use crate::security::Proof;
use crate::transport::Shared;

/// A welcome or a refusal, and how it ended.
pub(crate) const REPLIES: usize = 4;
/// Why a stream is turned away.
pub(crate) const TOO_MANY: &str = "too many streams";
pub(crate) const LATE: &str = "no handshake in time";

/// A stream that somebody has opened.
pub(crate) struct Visitor {
    /// What was read of it already, to learn whom it is for.
    pub(crate) first: Option<Frame>,
    pub(crate) frames: Streaming<Frame>,
    pub(crate) replies: mpsc::Sender<Result<Frame, Status>>,
    /// What the connection has proven of who opened it.
    pub(crate) proof: Option<Arc<dyn Proof>>,
    /// The connection, if it is ours.
    pub(crate) group: Option<Arc<Group>>,
    pub(crate) lane: Lane,
    /// Where it comes from, if that is known.
    pub(crate) from: Option<SocketAddr>,
}

/// Why a stream ends.
enum End {
    /// The peer ended it, or its connection broke, or a newer one came.
    Over,
    Misbehaved(WireError),
}

impl Visitor {
    fn say(&self, frame: Frame) {
        // There is room for all that is ever said; who has left hears nothing.
        let _ = self.replies.try_send(Ok(frame));
    }

    /// The next frame.
    async fn next(&mut self) -> Result<Said, End> {
        if let Some(first) = self.first.take() {
            return handshake::read(first).map_err(End::Misbehaved);
        }
        let frame = tokio::select! {
            biased;
            () = self.replies.closed() => return Err(End::Over),
            frame = self.frames.message() => frame,
        };
        match frame {
            Ok(Some(frame)) => handshake::read(frame).map_err(End::Misbehaved),
            Ok(None) => Err(End::Over),
            Err(status) => Err(misbehaviour(&status).map_or(End::Over, End::Misbehaved)),
        }
    }
}

/// What is wrong with what was read, if that and not the connection is what broke.
pub(crate) fn misbehaviour(status: &Status) -> Option<WireError> {
    match status.code() {
        // The sender's doing: a frame over the limit, bytes that are no frame.
        Code::InvalidArgument | Code::OutOfRange | Code::Internal | Code::Unimplemented
            if !is_broken(status) =>
        {
            Some(WireError::Stream(status.message().into()))
        }
        _ => None,
    }
}

/// The other side, as the log names it.
pub(crate) fn host(from: Option<SocketAddr>) -> String {
    from.map_or_else(String::new, |from| from.ip().to_string())
}

/// Whether the status only says that the connection is gone.
fn is_broken(status: &Status) -> bool {
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        if error.is::<std::io::Error>() || error.is::<hyper::Error>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Serves a stream to its end.
pub(crate) async fn serve(mut visitor: Visitor, shared: &Arc<Shared>) {
    let patience = shared.options.handshake_timeout;
    let (peer, listen) = match tokio::time::timeout(patience, greet(&mut visitor, shared)).await {
        Ok(Ok(Some(admitted))) => admitted,
        Ok(Ok(None) | Err(End::Over)) => return hang_up(&visitor),
        Ok(Err(End::Misbehaved(error))) => {
            // Anybody can call, as often as he likes.
            shared.log_stranger(&host(visitor.from), &error);
            return misbehaved(&visitor, &error, shared);
        }
        Err(_) => {
            shared.turn_away(visitor.from, LATE);
            let late = Status::deadline_exceeded(LATE);
            let _ = visitor.replies.try_send(Err(late));
            return hang_up(&visitor);
        }
    };
    count(&shared.counters.accepted);
    let Some(claim) = shared.newest.claim(peer, visitor.lane) else { return hang_up(&visitor) };
    // It has just dialled this node: it is there to be dialled.
    shared.hurry(peer.node);
    shared.visit(peer.node, &listen);
    if let Err(End::Misbehaved(error)) = read(&mut visitor, peer, &claim, shared).await {
        shared.log_misbehaviour(peer.node, visitor.lane, &error);
        misbehaved(&visitor, &error, shared);
    }
    if !listen.is_empty() {
        shared.leave(peer.node);
    }
    hang_up(&visitor);
    if claim.holds() {
        // Both directions end with the process: look at once whether it is still there.
        shared.hurry(peer.node);
    }
}

fn misbehaved(visitor: &Visitor, error: &WireError, shared: &Shared) {
    count(&shared.counters.misbehaved);
    let _ = visitor.replies.try_send(Err(Status::invalid_argument(error.to_string())));
    hang_up(visitor);
}

/// A connection has no second try.
fn hang_up(visitor: &Visitor) {
    if let Some(group) = &visitor.group {
        group.hang_up();
    }
}

/// The listening side of the handshake: who it is, and where it can be dialled. `None` if it is not, or may not be,
/// one of us.
async fn greet(visitor: &mut Visitor, shared: &Shared) -> Result<Option<(Identity, String)>, End> {
    let versions = shared.options.wire_versions;
    let Said::Hello(hello) = visitor.next().await? else {
        return Err(End::Misbehaved(WireError::OutOfTurn));
    };
    let verdict =
        match handshake::check_hello(versions, shared.local, &hello).and_then(|peer| prove(visitor, peer)) {
            Ok(peer) => shared.inbox.admit(peer).await.map(|()| peer),
            Err(why) => Err(why),
        };
    let peer = match verdict {
        Ok(peer) => peer,
        Err(why) => {
            count(&shared.counters.refused);
            shared.log_refusal(hello.identity.node, true, &why);
            visitor.say(handshake::refused(&why));
            return Ok(None);
        }
    };
    visitor.say(handshake::welcome(versions, shared.local, &hello));
    match visitor.next().await? {
        Said::Ready => Ok(Some((peer, reachable(hello.listen, visitor.from)))),
        Said::Refused(why) => {
            count(&shared.counters.refused);
            shared.log_refusal(peer.node, false, &why);
            shared.inbox.refused(peer.node, why);
            Ok(None)
        }
        _ => Err(End::Misbehaved(WireError::OutOfTurn)),
    }
}

/// Whether a peer is who its connection has proven it to be.
fn prove(visitor: &Visitor, peer: Identity) -> Result<Identity, Refusal> {
    visitor.proof.as_ref().map_or(Ok(()), |proof| proof.check(peer.cluster, peer.node)).map(|()| peer)
}

/// Reads messages and delivers them, until the stream ends or misbehaves.
async fn read(visitor: &mut Visitor, peer: Identity, claim: &Claim, shared: &Shared) -> Result<(), End> {
    loop {
        let said = tokio::select! {
            biased;
            () = claim.lost() => return Ok(()),
            said = visitor.next() => said?,
        };
        let Said::Message(envelope) = said else { return Err(End::Misbehaved(WireError::OutOfTurn)) };
        let ours = envelope.from == peer.node
            && envelope.to == shared.local.node
            && envelope.group == shared.local.group;
        if !ours {
            return Err(End::Misbehaved(WireError::WrongSender));
        }
        if envelope.lane() != visitor.lane {
            return Err(End::Misbehaved(WireError::WrongLane));
        }
        if !deliver(envelope, visitor, claim, shared).await {
            return Ok(());
        }
    }
}

/// Hands one message over; waits while the node has no room for bulk: nothing more is read meanwhile, and the
/// stream's window fills. Whether to go on.
async fn deliver(envelope: Envelope, visitor: &Visitor, claim: &Claim, shared: &Shared) -> bool {
    if !claim.holds() {
        return false;
    }
    if envelope.lane() == Lane::Control {
        return shared.inbox.deliver(envelope) == Delivery::Accepted;
    }
    let mut delivery = shared.inbox.deliver(envelope.clone());
    while delivery == Delivery::Full {
        tokio::select! {
            biased;
            () = visitor.replies.closed() => return false,
            () = claim.lost() => return false,
            () = shared.inbox.ready() => {}
        }
        if !claim.holds() {
            return false;
        }
        delivery = shared.inbox.deliver(envelope.clone());
    }
    delivery == Delivery::Accepted
}
