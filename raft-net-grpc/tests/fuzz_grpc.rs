//! What a peer, or anyone who finds the port, may send over gRPC: frames as protobuf, handshakes, and any bytes to a
//! transport that listens, or that has dialled. The sources are compiled in: the decoders are private.
#![cfg_attr(fuzzing, no_main)]
#![allow(dead_code, unreachable_pub, missing_docs, reason = "parts of the crate, and of the driver")]

#[path = "../src/checksum.rs"]
mod checksum;
#[path = "../src/codec.rs"]
mod codec;
#[path = "../src/convert.rs"]
mod convert;
#[path = "support/dialler.rs"]
mod dialler;
#[path = "../src/error.rs"]
mod error;
#[path = "../../xtask/fuzz/mod.rs"]
mod fuzz;
#[path = "../src/handshake.rs"]
mod handshake;
#[path = "support/listener.rs"]
mod listener;

use std::cell::RefCell;
use std::time::Duration;

use bytes::Bytes;
use codec::WAY;
use dialler::Dialler;
use error::WireError;
use fuzz::{Allowance, Target};
use handshake::Said;
use listener::Listener;
use prost::Message as _;
use proto::frame::Kind;
use proto::{Frame, message};
use raft_core::backend::Refusal;
use raft_core::entry::{Entry, EntryKind};
use raft_core::ids::{ClusterId, GroupId, Identity, Incarnation, Index, LogId, NodeId, StoreId, Term};
use raft_core::message::{
    Append, AppendReply, Ballot, Envelope, Heartbeat, HeartbeatReply, Message, Notice, ReadIndex,
    ReadIndexReply, SnapshotChunk, SnapshotReply, TimeoutNow, VoteReply, VoteRequest,
};
pub(crate) use raft_net_grpc::proto;

/// What a run may allocate of a frame: an empty entry is two bytes on the wire, and a hundred in each of two forms, for
/// which vectors grow by doubling; and all of it a few times.
const ALLOWANCE: Allowance = Allowance::new(16 << 10, 1200);

fuzz::targets! {
    grpc_frame = FRAME;
    grpc_sealed = SEALED;
    grpc_peer = PEER;
    grpc_dialled = DIALLED;
}

/// The bytes of a frame, as they come.
const FRAME: Target = Target {
    name: "grpc-frame",
    run: |input| {
        let Ok(frame) = codec::frame(input) else { return };
        check_bound(input, &frame);
        if let Ok(said) = handshake::read(frame) {
            check(&said);
        }
    },
    seeds: || frames().iter().map(Frame::encode_to_vec).collect(),
    words: WORDS,
    allowance: ALLOWANCE,
    longest: 2048,
    plain: 20_000,
};

/// The same with what only an attacker's frame has: good checksums around a bad content.
const SEALED: Target = Target {
    name: "grpc-sealed",
    run: |input| {
        let Ok(mut frame) = codec::frame(input) else { return };
        seal(&mut frame);
        let said = handshake::read(frame);
        assert_ne!(said, Err(WireError::Checksum));
        if let Ok(said) = said {
            check(&said);
        }
    },
    seeds: || frames().iter().map(Frame::encode_to_vec).collect(),
    words: WORDS,
    allowance: ALLOWANCE,
    longest: 2048,
    plain: 20_000,
};

/// A connection to a transport that listens. It must end what is asked of it, give its node nothing that another node
/// could have sent, and go on with others. See [`listener`] for the input.
const PEER: Target = Target {
    name: "grpc-peer",
    run: |input| {
        thread_local!(static LISTENER: RefCell<Option<Listener>> = const { RefCell::new(None) });
        LISTENER.with(|place| {
            let mut place = place.borrow_mut();
            // All that arrives is kept.
            if place.as_ref().is_some_and(|listener| listener.inputs >= 500) {
                *place = None;
            }
            place.get_or_insert_with(Listener::new).take(input);
        });
    },
    seeds: || {
        let flags = [0, 1, 2, 3, 4, 16, 17, 19, 24, 25, 27];
        let input = |flags: u8, frame: &Frame| {
            let bytes = frame.encode_to_vec();
            let length = bytes.len() as u8;
            let head: &[u8] = match flags & 16 {
                0 => &[0, 0, 0, 0, length],
                _ => &[length],
            };
            [&[flags], head, &bytes].concat()
        };
        flags.into_iter().flat_map(|flags| frames().into_iter().map(move |f| input(flags, &f))).collect()
    },
    words: &[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\0\0\0\x04\0\0\0\0\0", b"\0\0\0\0"],
    allowance: Allowance::new(16 << 20, 2 << 10),
    longest: 512,
    plain: 200,
};

/// What answers a transport that has dialled. It must take nobody but the peer that it meant, end what it has begun, and
/// reach another peer meanwhile. See [`dialler`] for the input.
const DIALLED: Target = Target {
    name: "grpc-dialled",
    run: |input| {
        thread_local!(static DIALLER: RefCell<Option<Dialler>> = const { RefCell::new(None) });
        DIALLER.with(|place| {
            let mut place = place.borrow_mut();
            // All that arrives is kept.
            if place.as_ref().is_some_and(|dialler| dialler.inputs >= 500) {
                *place = None;
            }
            place.get_or_insert_with(Dialler::new).take(input);
        });
    },
    seeds: || {
        let flags = [0, 4, 16, 24, 32];
        let all = || frames().into_iter().chain(strangers());
        let input = |flags: u8, frame: &Frame| {
            let bytes = frame.encode_to_vec();
            let length = bytes.len() as u8;
            let head: &[u8] = match flags & 16 {
                0 => &[0, 0, 0, 0, length],
                _ => &[length],
            };
            [&[flags], head, &bytes].concat()
        };
        flags.into_iter().flat_map(|flags| all().map(move |frame| input(flags, &frame))).collect()
    },
    words: &[b"\0\0\0\x04\0\0\0\0\0", b"\0\0\0\0", b"\x88\x5f\x10application/grpc"],
    allowance: Allowance::new(16 << 20, 2 << 10),
    longest: 512,
    plain: 200,
};

/// Groups, ids of 16 bytes, numbers at which things go wrong, keys of frames.
const WORDS: &[&[u8]] = &[
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b"\xff\xff\xff\xff\x0f",
    b"\xa3\x06\xa4\x06",
    b"\x80\x00",
    b"\x12\x10",
    b"\x1a\x00\x1a\x00\x1a\x00",
    b"\x7d",
];

/// What the bound on entries counts is never fewer than what is there.
fn check_bound(input: &[u8], frame: &Frame) {
    let entries = match &frame.kind {
        Some(Kind::Message(proto::Message { kind: Some(message::Kind::Append(append)), .. })) => {
            append.entries.len() as u64
        }
        _ => 0,
    };
    let counted = codec::count(input, &WAY);
    assert!(counted >= entries, "{entries} entries, {counted} were counted");
}

/// Makes the checksums good, where there is something to seal.
fn seal(frame: &mut Frame) {
    let wide = |bytes: &Bytes| convert::from_wide(bytes).ok();
    let identity = |wire: Option<&proto::Identity>| {
        let wire = wire?;
        Some(Identity {
            cluster: ClusterId(wide(&wire.cluster)?),
            group: GroupId(wire.group),
            node: NodeId(wire.node),
            store: StoreId(wide(&wire.store)?),
            incarnation: Incarnation { number: wire.incarnation, nonce: wire.nonce },
        })
    };
    let sum = match &mut frame.kind {
        Some(Kind::Hello(hello)) => {
            hello.listen_checksum = checksum::of_listen(&hello.listen);
            let versions = hello.versions.as_ref();
            let versions = versions.map(|range| (range.lowest as u16, range.highest as u16));
            let identity = identity(hello.identity.as_ref());
            versions
                .zip(identity)
                .map(|(versions, identity)| checksum::of_hello(versions, &identity, NodeId(hello.to)))
        }
        Some(Kind::Welcome(welcome)) => {
            let identity = identity(welcome.identity.as_ref());
            identity.map(|identity| checksum::of_welcome(welcome.version as u16, &identity))
        }
        Some(Kind::Message(wire)) => {
            convert::unchecked(wire.clone()).ok().map(|envelope| checksum::of_message(&envelope))
        }
        _ => None,
    };
    frame.checksum = sum.unwrap_or(frame.checksum);
}

/// What was understood can be said again, and then means the same; who is accepted is of this cluster and group.
fn check(said: &Said) {
    let (local, peer) = (identity(2), NodeId(1));
    let versions = handshake::WIRE_VERSIONS;
    let again = match said {
        Said::Hello(hello) => {
            if let Ok(found) = handshake::check_hello(versions, local, hello) {
                assert_eq!((found.cluster, found.group, hello.to), (local.cluster, local.group, local.node));
                assert_ne!(found.node, local.node);
                let Ok(Said::Welcome { version, .. }) =
                    handshake::read(handshake::welcome(versions, local, hello))
                else {
                    panic!("a welcome that cannot be read")
                };
                assert_eq!(version, hello.versions.1.min(2), "the newest that both know");
            }
            // From version 2 on it says where it can be dialled.
            if hello.versions.1 < 2 && !hello.listen.is_empty() {
                return;
            }
            handshake::hello(hello.versions, hello.identity, hello.to, &hello.listen)
        }
        Said::Welcome { version, identity } => {
            if let Ok(found) = handshake::check_welcome(versions, local, peer, *version, *identity) {
                assert_eq!((found.cluster, found.group, found.node), (local.cluster, local.group, peer));
            }
            let hello = handshake::Hello {
                versions: (1, *version),
                identity: local,
                to: identity.node,
                listen: String::new(),
            };
            handshake::welcome((1, u16::MAX), *identity, &hello)
        }
        Said::Ready => handshake::ready(),
        Said::Refused(why) => {
            assert!(!why.to_string().is_empty());
            handshake::refused(why)
        }
        Said::Message(envelope) => convert::to_frame(envelope.clone()).expect("a kind that was read"),
    };
    let bytes = again.encode_to_vec();
    let read = codec::frame(&bytes[..]).and_then(handshake::read);
    assert_eq!(read.as_ref(), Ok(said));
}

fn identity(node: u64) -> Identity {
    Identity {
        cluster: ClusterId(1 << 100),
        group: GroupId(0),
        node: NodeId(node),
        store: StoreId(9),
        incarnation: Incarnation { number: 3, nonce: 4 },
    }
}

/// One of each kind.
fn frames() -> Vec<Frame> {
    let hello = handshake::hello((1, 2), identity(1), NodeId(2), "10.0.0.1:7101");
    let Ok(Said::Hello(heard)) = handshake::read(hello.clone()) else { panic!("{hello:?}") };
    let welcome = handshake::welcome((1, 2), identity(1), &heard);
    let refused = [
        Refusal::NotReady,
        Refusal::WrongCluster { ours: ClusterId(1), theirs: ClusterId(2) },
        Refusal::WireVersion { ours: (1, 2), theirs: (3, 4) },
        Refusal::StoreReplaced { node: NodeId(1), known: StoreId(2), offered: StoreId(3) },
    ];
    let envelope =
        |message| Envelope { group: GroupId(0), from: NodeId(1), to: NodeId(2), term: Term(7), message };
    let messages = messages().into_iter().filter_map(|message| convert::to_frame(envelope(message)));
    let greetings = [hello, welcome, handshake::ready()].into_iter();
    greetings.chain(refused.iter().map(handshake::refused)).chain(messages).collect()
}

/// Welcomes of others than node 1, and in a version that was not offered.
fn strangers() -> Vec<Frame> {
    let hello = |highest| handshake::Hello {
        versions: (1, highest),
        identity: identity(2),
        to: NodeId(1),
        listen: String::new(),
    };
    let welcome = |identity| handshake::welcome((1, 2), identity, &hello(2));
    vec![
        welcome(identity(3)),
        welcome(identity(2)),
        welcome(Identity { cluster: ClusterId(7), ..identity(1) }),
        welcome(Identity { group: GroupId(1), ..identity(1) }),
        handshake::welcome((1, u16::MAX), identity(1), &hello(9)),
    ]
}

fn messages() -> Vec<Message> {
    let entry = |index: u64, kind, data: &'static [u8]| {
        let id = LogId::new(7, index);
        Entry { id, kind, data: Bytes::from_static(data) }
    };
    let entries = vec![entry(301, EntryKind::Commands, b"payload"), entry(302, EntryKind::Noop, b"")];
    let data = Bytes::from_static(b"snapshot");
    let (prev, upto) = (LogId::new(6, 300), LogId::new(3, 9));
    vec![
        Message::Vote(VoteRequest { pre: true, transfer: false, last: prev, told: 9 }),
        Message::VoteReply(VoteReply { pre: false, asked: Term(7), ballot: Ballot::Vetoed }),
        Message::Heartbeat(Heartbeat { commit: Index(300), round: 5 }),
        Message::HeartbeatReply(HeartbeatReply {
            round: 5,
            slow: true,
            promise: Duration::from_millis(300),
            priority: -1,
            ..HeartbeatReply::default()
        }),
        Message::Append(Append { prev, commit: Index(299), entries: entries.into() }),
        Message::AppendReply(AppendReply::Matched { matched: Index(302) }),
        Message::AppendReply(AppendReply::Rejected { prev: Index(300), hint: upto, last: Index(9) }),
        Message::Snapshot(SnapshotChunk {
            upto,
            snapshot: 1 << 100,
            membership: Bytes::from_static(b"members"),
            offset: 0,
            total: 8,
            checksum: 1,
            data,
        }),
        Message::SnapshotReply(SnapshotReply { snapshot: 1 << 100, received: 8, installed: true }),
        Message::TimeoutNow(TimeoutNow { round: 9 }),
        Message::ReadIndex(ReadIndex { id: 1 << 40 }),
        Message::ReadIndexReply(ReadIndexReply { id: 1 << 40, index: Some(Index(3)) }),
        Message::Notice(Notice::Removed { since: Index(7) }),
        Message::Notice(Notice::RolledBack { acknowledged: Index(9) }),
    ]
}
