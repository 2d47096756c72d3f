//! The handshake: pure functions between its frames and who is there, and what each side checks (T6).
//!
//! ```text
//! dialler  -> hello     who I am, whom I mean, which wire versions
//! listener -> welcome   who I am, the wire version     or refused
//! dialler  -> ready                                    or refused
//! ```

use raft_core::backend::Refusal;
use raft_core::ids::{ClusterId, GroupId, Identity, Incarnation, NodeId, StoreId};
use raft_core::message::Envelope;
use raft_core::peering::Side;

use crate::checksum;
use crate::convert::{self, from_wide, wide};
use crate::error::WireError;
use crate::proto::frame::Kind;
use crate::proto::refused::Why;
use crate::proto::{self, Frame};

/// The wire versions that this crate speaks, lowest and highest.
pub const WIRE_VERSIONS: (u16, u16) = (1, 2);

/// The longest address that a dialler gives, in bytes.
pub(crate) const ADDRESS_BYTES: usize = 512;

/// What a frame says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Hello(Hello),
    Welcome { version: u16, identity: Identity },
    Ready,
    Refused(Refusal),
    Message(Envelope),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) versions: (u16, u16),
    pub(crate) identity: Identity,
    /// Whom the dialler means.
    pub(crate) to: NodeId,
    /// From version 2 on: where the dialler can be dialled itself. Empty if nowhere.
    pub(crate) listen: String,
}

impl Hello {
    const fn side(&self) -> Side {
        Side { identity: self.identity, versions: self.versions }
    }
}

/// What the dialler says first.
pub(crate) fn hello(versions: (u16, u16), local: Identity, to: NodeId, listen: &str) -> Frame {
    let checksum = checksum::of_hello(versions, &local, to);
    let listen = if versions.1 >= 2 && listen.len() <= ADDRESS_BYTES { listen } else { "" };
    let hello = proto::Hello {
        versions: Some(range(versions)),
        identity: Some(identity(&local)),
        to: to.0,
        listen: listen.to_owned(),
        listen_checksum: checksum::of_listen(listen),
    };
    Frame { kind: Some(Kind::Hello(hello)), checksum }
}

/// What the listener makes of it, before it asks its node.
pub(crate) fn check_hello(versions: (u16, u16), local: Identity, hello: &Hello) -> Result<Identity, Refusal> {
    Side { identity: local, versions }.check_dialler(&hello.side(), hello.to)?;
    Ok(hello.identity)
}

/// What the listener says if all is well.
pub(crate) fn welcome(versions: (u16, u16), local: Identity, hello: &Hello) -> Frame {
    let version = Side { identity: local, versions }.common_version(&hello.side());
    let checksum = checksum::of_welcome(version, &local);
    let welcome = proto::Welcome { version: version.into(), identity: Some(identity(&local)) };
    Frame { kind: Some(Kind::Welcome(welcome)), checksum }
}

/// What the dialler makes of the answer, before it asks its node.
pub(crate) fn check_welcome(
    versions: (u16, u16),
    local: Identity,
    to: NodeId,
    version: u16,
    peer: Identity,
) -> Result<Identity, Refusal> {
    let listener = Side { identity: peer, versions: (version, version) };
    Side { identity: local, versions }.check_listener(&listener, to)?;
    Ok(peer)
}

/// What the dialler says last.
pub(crate) fn ready() -> Frame {
    Frame { kind: Some(Kind::Ready(proto::Ready {})), checksum: 0 }
}

/// What either side says instead.
pub(crate) fn refused(why: &Refusal) -> Frame {
    let why = match *why {
        Refusal::WrongCluster { ours, theirs } => {
            Why::WrongCluster(proto::IdPair { ours: wide(ours.0), theirs: wide(theirs.0) })
        }
        Refusal::WrongGroup { ours, theirs } => {
            Why::WrongGroup(proto::NumberPair { ours: ours.0, theirs: theirs.0 })
        }
        Refusal::WrongNode { expected, claimed } => {
            Why::WrongNode(proto::NumberPair { ours: expected.0, theirs: claimed.0 })
        }
        Refusal::StoreReplaced { node, known, offered } => {
            let (known, offered) = (wide(known.0), wide(offered.0));
            Why::StoreReplaced(proto::StoreReplaced { node: node.0, known, offered })
        }
        Refusal::RolledBack { node, known, offered } => {
            Why::RolledBack(proto::RolledBack { node: node.0, known, offered })
        }
        Refusal::WireVersion { ours, theirs } => {
            let (ours, theirs) = (Some(range(ours)), Some(range(theirs)));
            Why::WireVersion(proto::VersionMismatch { ours, theirs })
        }
        Refusal::NotCertified { claimed } => Why::NotCertified(proto::NotCertified { claimed: claimed.0 }),
        _ => Why::NotReady(proto::NotReady {}),
    };
    Frame { kind: Some(Kind::Refused(proto::Refused { why: Some(why) })), checksum: 0 }
}

/// What a frame says, if it says something.
///
/// # Errors
/// [`WireError`]; whoever sent it does not keep to the protocol, or its bytes were changed on the way.
pub(crate) fn read(frame: Frame) -> Result<Said, WireError> {
    let same = |checksum| if checksum == frame.checksum { Ok(()) } else { Err(WireError::Checksum) };
    match frame.kind.ok_or(WireError::Malformed("a frame of no known kind"))? {
        Kind::Hello(wire) => {
            let (versions, to) = (from_range(wire.versions)?, NodeId(wire.to));
            let identity = from_identity(wire.identity)?;
            same(checksum::of_hello(versions, &identity, to))?;
            let listen = wire.listen;
            if listen.len() > ADDRESS_BYTES {
                return Err(WireError::Malformed("an address that is too long"));
            }
            if checksum::of_listen(&listen) != wire.listen_checksum {
                return Err(WireError::Checksum);
            }
            Ok(Said::Hello(Hello { versions, identity, to, listen }))
        }
        Kind::Welcome(wire) => {
            let (version, identity) = (from_version(wire.version)?, from_identity(wire.identity)?);
            same(checksum::of_welcome(version, &identity))?;
            Ok(Said::Welcome { version, identity })
        }
        Kind::Ready(proto::Ready {}) => Ok(Said::Ready),
        Kind::Refused(wire) => from_refused(wire).map(Said::Refused),
        Kind::Message(wire) => convert::from_message(wire, frame.checksum).map(Said::Message),
    }
}

fn identity(identity: &Identity) -> proto::Identity {
    proto::Identity {
        cluster: wide(identity.cluster.0),
        group: identity.group.0,
        node: identity.node.0,
        store: wide(identity.store.0),
        incarnation: identity.incarnation.number,
        nonce: identity.incarnation.nonce,
    }
}

fn from_identity(wire: Option<proto::Identity>) -> Result<Identity, WireError> {
    let wire = wire.ok_or(WireError::Malformed("a greeting without an identity"))?;
    Ok(Identity {
        cluster: ClusterId(from_wide(&wire.cluster)?),
        group: GroupId(wire.group),
        node: NodeId(wire.node),
        store: StoreId(from_wide(&wire.store)?),
        incarnation: Incarnation { number: wire.incarnation, nonce: wire.nonce },
    })
}

fn range((lowest, highest): (u16, u16)) -> proto::VersionRange {
    proto::VersionRange { lowest: lowest.into(), highest: highest.into() }
}

fn from_range(wire: Option<proto::VersionRange>) -> Result<(u16, u16), WireError> {
    let wire = wire.ok_or(WireError::Malformed("no wire versions"))?;
    Ok((from_version(wire.lowest)?, from_version(wire.highest)?))
}

fn from_version(version: u32) -> Result<u16, WireError> {
    u16::try_from(version).map_err(|_| WireError::Malformed("a wire version above 65535"))
}

/// A reason that a later version may have added says no more than that there is one.
fn from_refused(wire: proto::Refused) -> Result<Refusal, WireError> {
    Ok(match wire.why {
        Some(Why::WrongCluster(pair)) => Refusal::WrongCluster {
            ours: ClusterId(from_wide(&pair.ours)?),
            theirs: ClusterId(from_wide(&pair.theirs)?),
        },
        Some(Why::WrongGroup(pair)) => {
            Refusal::WrongGroup { ours: GroupId(pair.ours), theirs: GroupId(pair.theirs) }
        }
        Some(Why::WrongNode(pair)) => {
            Refusal::WrongNode { expected: NodeId(pair.ours), claimed: NodeId(pair.theirs) }
        }
        Some(Why::StoreReplaced(wire)) => Refusal::StoreReplaced {
            node: NodeId(wire.node),
            known: StoreId(from_wide(&wire.known)?),
            offered: StoreId(from_wide(&wire.offered)?),
        },
        Some(Why::RolledBack(proto::RolledBack { node, known, offered })) => {
            Refusal::RolledBack { node: NodeId(node), known, offered }
        }
        Some(Why::WireVersion(wire)) => {
            Refusal::WireVersion { ours: from_range(wire.ours)?, theirs: from_range(wire.theirs)? }
        }
        Some(Why::NotCertified(wire)) => Refusal::NotCertified { claimed: NodeId(wire.claimed) },
        Some(Why::NotReady(proto::NotReady {})) | None => Refusal::NotReady,
    })
}
