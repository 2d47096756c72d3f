//! The handshake: pure functions between its three messages and bytes, and what each side checks (T6).
//!
//! ```text
//! dialler  -> Hello    who I am, whom I mean, which lane, which wire versions
//! listener -> Welcome  who I am, the wire version     or Refused
//! dialler  -> Ready                                   or Refused
//! ```
//! Each message: magic `RAFT`, length u16, crc32c u32 of the body, kind u8 and a postcard body. Frames
//! follow, from the dialler only.

use bytes::{BufMut, BytesMut};
use raft_core::backend::Refusal;
use raft_core::ids::{ClusterId, GroupId, Identity, Incarnation, NodeId, StoreId};
use raft_core::message::Lane;
use raft_core::peering::Side;
use serde::{Deserialize, Serialize};

use crate::error::WireError;

/// The wire versions that this crate speaks, lowest and highest.
pub const WIRE_VERSIONS: (u16, u16) = (1, 2);

const MAGIC: [u8; 4] = *b"RAFT";
const FIXED_BYTES: usize = 10;
/// The longest address that a dialler gives, in bytes.
pub(crate) const ADDRESS_BYTES: usize = 512;
/// The longest body: all of ours are shorter.
const LIMIT_BYTES: usize = 1024;

/// The handshake's messages. The order of the variants is their number on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Handshake {
    Hello(Hello),
    Welcome(Welcome),
    Ready,
    Refused(WireRefusal),
}

/// Who a node is, on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WireIdentity {
    cluster: u128,
    group: u64,
    node: u64,
    store: u128,
    incarnation: u64,
    nonce: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    pub(crate) versions: (u16, u16),
    pub(crate) identity: WireIdentity,
    /// Whom the dialler means.
    pub(crate) to: u64,
    /// 0 control, 1 bulk.
    pub(crate) lane: u8,
    /// Reserved for TLS and others; 0 so far. Unknown bits are ignored.
    pub(crate) features: u64,
    /// From version 2 on, behind the rest: where the dialler can be dialled itself, for a node that has not been told
    /// yet who the members are. Empty if nowhere.
    #[serde(skip)]
    pub(crate) listen: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Welcome {
    pub(crate) version: u16,
    pub(crate) identity: WireIdentity,
    pub(crate) features: u64,
}

impl Hello {
    fn side(&self) -> Side {
        Side { identity: self.identity.into(), versions: self.versions }
    }
}

/// Why one side refuses the other, on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum WireRefusal {
    WrongCluster {
        ours: u128,
        theirs: u128,
    },
    WrongGroup {
        ours: u64,
        theirs: u64,
    },
    WrongNode {
        expected: u64,
        claimed: u64,
    },
    StoreReplaced {
        node: u64,
        known: u128,
        offered: u128,
    },
    RolledBack {
        node: u64,
        known: u64,
        offered: u64,
    },
    WireVersion {
        ours: (u16, u16),
        theirs: (u16, u16),
    },
    NotReady,
    /// Only said over TLS.
    NotCertified {
        claimed: u64,
    },
}

impl From<Identity> for WireIdentity {
    fn from(identity: Identity) -> Self {
        Self {
            cluster: identity.cluster.0,
            group: identity.group.0,
            node: identity.node.0,
            store: identity.store.0,
            incarnation: identity.incarnation.number,
            nonce: identity.incarnation.nonce,
        }
    }
}

impl From<WireIdentity> for Identity {
    fn from(wire: WireIdentity) -> Self {
        Self {
            cluster: ClusterId(wire.cluster),
            group: GroupId(wire.group),
            node: NodeId(wire.node),
            store: StoreId(wire.store),
            incarnation: Incarnation { number: wire.incarnation, nonce: wire.nonce },
        }
    }
}

impl From<Refusal> for WireRefusal {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::WrongCluster { ours, theirs } => Self::WrongCluster { ours: ours.0, theirs: theirs.0 },
            Refusal::WrongGroup { ours, theirs } => Self::WrongGroup { ours: ours.0, theirs: theirs.0 },
            Refusal::WrongNode { expected, claimed } => {
                Self::WrongNode { expected: expected.0, claimed: claimed.0 }
            }
            Refusal::StoreReplaced { node, known, offered } => {
                Self::StoreReplaced { node: node.0, known: known.0, offered: offered.0 }
            }
            Refusal::RolledBack { node, known, offered } => Self::RolledBack { node: node.0, known, offered },
            Refusal::WireVersion { ours, theirs } => Self::WireVersion { ours, theirs },
            Refusal::NotCertified { claimed } => Self::NotCertified { claimed: claimed.0 },
            _ => Self::NotReady,
        }
    }
}

impl From<WireRefusal> for Refusal {
    fn from(wire: WireRefusal) -> Self {
        match wire {
            WireRefusal::WrongCluster { ours, theirs } => {
                Self::WrongCluster { ours: ClusterId(ours), theirs: ClusterId(theirs) }
            }
            WireRefusal::WrongGroup { ours, theirs } => {
                Self::WrongGroup { ours: GroupId(ours), theirs: GroupId(theirs) }
            }
            WireRefusal::WrongNode { expected, claimed } => {
                Self::WrongNode { expected: NodeId(expected), claimed: NodeId(claimed) }
            }
            WireRefusal::StoreReplaced { node, known, offered } => {
                Self::StoreReplaced { node: NodeId(node), known: StoreId(known), offered: StoreId(offered) }
            }
            WireRefusal::RolledBack { node, known, offered } => {
                Self::RolledBack { node: NodeId(node), known, offered }
            }
            WireRefusal::WireVersion { ours, theirs } => Self::WireVersion { ours, theirs },
            WireRefusal::NotReady => Self::NotReady,
            WireRefusal::NotCertified { claimed } => Self::NotCertified { claimed: NodeId(claimed) },
        }
    }
}

/// What the dialler says first.
pub(crate) fn hello(
    versions: (u16, u16),
    local: Identity,
    to: NodeId,
    lane: Lane,
    listen: &str,
) -> Handshake {
    let lane = u8::from(lane == Lane::Bulk);
    let listen = if listen.len() <= ADDRESS_BYTES { listen.to_owned() } else { String::new() };
    Handshake::Hello(Hello { versions, identity: local.into(), to: to.0, lane, features: 0, listen })
}

/// What the listener makes of it, before it asks its node: the lane, or why not.
pub(crate) fn check_hello(
    versions: (u16, u16),
    local: Identity,
    hello: &Hello,
) -> Result<(Identity, Lane), Refusal> {
    let dialler = hello.side();
    Side { identity: local, versions }.check_dialler(&dialler, NodeId(hello.to))?;
    let lane = if hello.lane == 0 { Lane::Control } else { Lane::Bulk };
    Ok((dialler.identity, lane))
}

/// What the listener says if all is well.
pub(crate) fn welcome(versions: (u16, u16), local: Identity, hello: &Hello) -> Handshake {
    let version = Side { identity: local, versions }.common_version(&hello.side());
    Handshake::Welcome(Welcome { version, identity: local.into(), features: 0 })
}

/// What the dialler makes of the answer, before it asks its node.
pub(crate) fn check_welcome(
    versions: (u16, u16),
    local: Identity,
    to: NodeId,
    welcome: &Welcome,
) -> Result<Identity, Refusal> {
    let listener = Side { identity: welcome.identity.into(), versions: (welcome.version, welcome.version) };
    Side { identity: local, versions }.check_listener(&listener, to)?;
    Ok(listener.identity)
}

/// A message as bytes.
pub(crate) fn encode(message: &Handshake) -> BytesMut {
    let mut body = postcard::to_allocvec(message).unwrap_or_default();
    if let Handshake::Hello(hello) = message
        && hello.versions.1 >= 2
    {
        body.extend(postcard::to_allocvec(&hello.listen).unwrap_or_default());
    }
    let mut out = BytesMut::with_capacity(FIXED_BYTES + body.len());
    out.put_slice(&MAGIC);
    out.put_u16_le(u16::try_from(body.len()).unwrap_or(u16::MAX));
    out.put_u32_le(crc32c::crc32c(&body));
    out.put_slice(&body);
    out
}

/// Takes a message out of `buffer`; `None` if it is not whole yet.
///
/// # Errors
/// [`WireError`]; whoever is there is not one of us.
pub(crate) fn decode(buffer: &mut BytesMut) -> Result<Option<Handshake>, WireError> {
    let known = buffer.len().min(MAGIC.len());
    if buffer[..known] != MAGIC[..known] {
        return Err(WireError::Magic);
    }
    let Some(fixed) = buffer.first_chunk::<FIXED_BYTES>() else { return Ok(None) };
    let length = u16::from_le_bytes([fixed[4], fixed[5]]) as usize;
    let crc = u32::from_le_bytes([fixed[6], fixed[7], fixed[8], fixed[9]]);
    if length > LIMIT_BYTES {
        return Err(WireError::TooLarge { bytes: length as u64, limit: LIMIT_BYTES as u64 });
    }
    if buffer.len() < FIXED_BYTES + length {
        return Ok(None);
    }
    let message = buffer.split_to(FIXED_BYTES + length);
    let body = &message[FIXED_BYTES..];
    if crc32c::crc32c(body) != crc {
        return Err(WireError::Checksum);
    }
    // A later version may add fields behind ours.
    let malformed = |_| WireError::Malformed("the handshake");
    let (mut message, rest) = postcard::take_from_bytes(body).map_err(malformed)?;
    if let Handshake::Hello(hello) = &mut message
        && hello.versions.1 >= 2
    {
        (hello.listen, _) = postcard::take_from_bytes(rest).map_err(malformed)?;
        if hello.listen.len() > ADDRESS_BYTES {
            return Err(WireError::Malformed("an address that is too long"));
        }
    }
    Ok(Some(message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn identity(node: u64) -> Identity {
        Identity {
            cluster: ClusterId(1 << 100),
            group: GroupId(0),
            node: NodeId(node),
            store: StoreId(9),
            incarnation: Incarnation { number: 3, nonce: 4 },
        }
    }

    /// A hello of everything that this crate speaks.
    fn newest(to: u64, lane: Lane) -> Handshake {
        hello(WIRE_VERSIONS, identity(1), NodeId(to), lane, "10.0.0.1:7101")
    }

    fn as_hello(message: Handshake) -> Hello {
        match message {
            Handshake::Hello(hello) => hello,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn both_sides_learn_who_is_there() {
        let hello = as_hello(newest(2, Lane::Bulk));
        assert_eq!(check_hello(WIRE_VERSIONS, identity(2), &hello), Ok((identity(1), Lane::Bulk)));
        let Handshake::Welcome(welcome) = welcome(WIRE_VERSIONS, identity(2), &hello) else { panic!() };
        assert_eq!(check_welcome(WIRE_VERSIONS, identity(1), NodeId(2), &welcome), Ok(identity(2)));
    }

    #[test]
    fn whoever_does_not_belong_is_refused_by_name() {
        let good = as_hello(newest(2, Lane::Control));
        let foreign = Identity { cluster: ClusterId(5), ..identity(2) };
        assert!(matches!(check_hello(WIRE_VERSIONS, foreign, &good), Err(Refusal::WrongCluster { .. })));
        let other_group = Identity { group: GroupId(1), ..identity(2) };
        assert!(matches!(check_hello(WIRE_VERSIONS, other_group, &good), Err(Refusal::WrongGroup { .. })));
        assert!(
            matches!(check_hello(WIRE_VERSIONS, identity(3), &good), Err(Refusal::WrongNode { .. })),
            "not the one meant"
        );
        assert!(
            matches!(check_hello(WIRE_VERSIONS, identity(1), &good), Err(Refusal::WrongNode { .. })),
            "its own name"
        );
        let old = Hello { versions: (0, 0), ..good.clone() };
        assert!(matches!(check_hello(WIRE_VERSIONS, identity(2), &old), Err(Refusal::WireVersion { .. })));
        let Handshake::Welcome(welcome) = welcome(WIRE_VERSIONS, identity(3), &good) else { panic!() };
        let refusal = check_welcome(WIRE_VERSIONS, identity(1), NodeId(2), &welcome);
        assert_eq!(refusal, Err(Refusal::WrongNode { expected: NodeId(2), claimed: NodeId(3) }));
    }

    /// T11: a node that also speaks the next version is welcome, in ours, and one of the version before in its own.
    #[test]
    fn versions_before_and_after_interoperate() {
        let good = as_hello(newest(2, Lane::Control));
        for (versions, spoken) in [((1, 1), 1), ((1, 2), 2), ((1, 3), 2), ((2, 9), 2)] {
            let other = Hello { versions, ..good.clone() };
            assert!(check_hello(WIRE_VERSIONS, identity(2), &other).is_ok());
            let Handshake::Welcome(welcome) = welcome(WIRE_VERSIONS, identity(2), &other) else { panic!() };
            assert_eq!(welcome.version, spoken);
        }
        // A node of version 1 passes over what stands behind the fields that it knows.
        let wire = encode(&Handshake::Hello(good));
        let (read, rest) = postcard::take_from_bytes::<Handshake>(&wire[FIXED_BYTES..]).unwrap();
        assert!(matches!(read, Handshake::Hello(_)));
        assert_eq!(rest, b"\x0d10.0.0.1:7101");
    }

    #[test]
    fn an_address_that_is_too_long_is_not_given_and_not_taken() {
        let long = "a".repeat(ADDRESS_BYTES + 1);
        let given = as_hello(hello(WIRE_VERSIONS, identity(1), NodeId(2), Lane::Bulk, &long));
        assert_eq!(given.listen, "");
        let taken = decode(&mut encode(&Handshake::Hello(Hello { listen: long, ..given })));
        assert_eq!(taken, Err(WireError::Malformed("an address that is too long")));
    }

    #[test]
    fn bytes_come_back_and_damage_is_noticed() {
        let refused = Handshake::Refused(Refusal::NotReady.into());
        let hello = newest(2, Lane::Bulk);
        for message in [hello, Handshake::Ready, refused] {
            let wire = encode(&message);
            assert_eq!(decode(&mut wire.clone()), Ok(Some(message)));
            for cut in 0..wire.len() {
                assert_eq!(decode(&mut BytesMut::from(&wire[..cut])), Ok(None));
            }
            for at in 0..wire.len() {
                let mut bad = wire.clone();
                bad[at] ^= 4;
                assert!(!matches!(decode(&mut bad), Ok(Some(_))), "byte {at}");
            }
        }
        assert_eq!(decode(&mut BytesMut::from(&b"GET / HTTP/1.1"[..])), Err(WireError::Magic));
    }

    /// Wire version 1, byte by byte: never edit, only add versions.
    #[test]
    fn golden_bytes() {
        let hello = hello((1, 1), identity(1), NodeId(2), Lane::Bulk, "");
        let welcome = welcome((1, 1), identity(2), &as_hello(hello.clone()));
        let refusals = [
            WireRefusal::WrongCluster { ours: 1, theirs: 2 },
            WireRefusal::WrongGroup { ours: 1, theirs: 2 },
            WireRefusal::WrongNode { expected: 1, claimed: 2 },
            WireRefusal::StoreReplaced { node: 1, known: 2, offered: 3 },
            WireRefusal::RolledBack { node: 1, known: 2, offered: 3 },
            WireRefusal::WireVersion { ours: (1, 2), theirs: (3, 4) },
            WireRefusal::NotReady,
        ];
        let messages = [hello, welcome, Handshake::Ready].into_iter().chain(refusals.map(Handshake::Refused));
        let hex = |wire: &[u8]| wire.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let written: Vec<String> = messages.map(|message| hex(&encode(&message))).collect();
        let golden = include_str!("golden_handshakes_v1.txt");
        assert_eq!(written, golden.lines().collect::<Vec<_>>(), "{}", written.join("\n"));
    }

    /// What version 2 says otherwise, byte by byte: never edit, only add versions.
    #[test]
    fn golden_bytes_of_version_2() {
        let hello = newest(2, Lane::Bulk);
        let welcome = welcome((1, 2), identity(2), &as_hello(hello.clone()));
        let hex = |wire: &[u8]| wire.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let written = [hello, welcome].map(|message| hex(&encode(&message)));
        let golden = include_str!("golden_handshakes_v2.txt");
        assert_eq!(written.to_vec(), golden.lines().collect::<Vec<_>>(), "{}", written.join("\n"));
    }

    /// What was added to wire version 1 later; only nodes with TLS say it.
    #[test]
    fn golden_bytes_of_not_certified() {
        let refused = Handshake::Refused(Refusal::NotCertified { claimed: NodeId(3) }.into());
        let wire = encode(&refused);
        assert_eq!(wire[FIXED_BYTES..], [3, 7, 3]);
        assert_eq!(decode(&mut wire.clone()), Ok(Some(refused)));
    }

    proptest! {
        #[test]
        fn garbage_never_panics(garbage in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut magic = b"RAFT".to_vec();
            magic.extend(&garbage);
            let _ = decode(&mut BytesMut::from(&magic[..]));
            let _ = decode(&mut BytesMut::from(&garbage[..]));
        }
    }
}
