//! What a peer, or anyone who finds the port, may send: frames and handshakes. The sources are compiled in:
//! the decoders are private.
#![cfg_attr(fuzzing, no_main)]
#![allow(dead_code, unreachable_pub, missing_docs, reason = "parts of the crate, and of the driver")]

#[path = "../src/error.rs"]
mod error;
#[path = "../src/frame.rs"]
mod frame;
#[path = "../../xtask/fuzz/mod.rs"]
mod fuzz;
#[path = "../src/handshake.rs"]
mod handshake;
#[path = "../src/lane.rs"]
mod lane;

use std::cell::RefCell;
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use error::WireError;
use fuzz::{Allowance, Input, Target};
use handshake::Handshake;
use raft_core::backend::Transport;
use raft_core::entry::{Entry, EntryKind};
use raft_core::ids::{ClusterId, GroupId, Identity, Incarnation, Index, LogId, NodeId, StoreId, Term};
use raft_core::message::{
    Append, AppendReply, Ballot, Envelope, Heartbeat, HeartbeatReply, Lane, Message, Notice, ReadIndex,
    ReadIndexReply, SnapshotChunk, SnapshotReply, TimeoutNow, VoteReply, VoteRequest,
};
use raft_net_tcp::{Options, TcpTransport};
use raft_testkit::memory::{Arrival, TestInbox};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Bytes before the head of a frame, and how many of them neither length nor checksum covers.
const HEADER: usize = 16;
const UNCOVERED: usize = 8;

/// What a connection accepts, in bytes.
const LIMIT: u64 = 1 << 16;

/// Room for what is announced, for each of two readers, and what is made of an input that is there.
const ALLOWANCE: Allowance = Allowance::new((LIMIT as usize) * 5, 100);

fuzz::targets! {
    frame = FRAME;
    frame_sealed = FRAME_SEALED;
    handshake = HANDSHAKE;
    peer = PEER;
}

/// A stream of frames, as it comes.
const FRAME: Target = Target {
    name: "frame",
    run: |input| {
        let whole = stream(input, input.len());
        // However the network cuts it, it says the same.
        let cut = 1 + input.len() % 7;
        assert_eq!(whole, stream(input, cut), "in pieces of {cut} bytes");
        check(&whole.0);
    },
    seeds: || vec![frames(&messages())],
    words: &[],
    allowance: ALLOWANCE,
    longest: 2048,
    plain: 20_000,
};

/// The same with what only an attacker's frame has: a good length and checksum around a bad content.
/// The input: kind, length of the head, the head, the payloads.
const FRAME_SEALED: Target = Target {
    name: "frame-sealed",
    run: |input| {
        let mut input = Input(input);
        let (kind, head) = (input.byte(), input.byte());
        let mut covered = u32::from(head).to_le_bytes().to_vec();
        covered.extend([kind, 0, 0, 0]);
        covered.extend(input.0);
        let mut bytes = (covered.len() as u32).to_le_bytes().to_vec();
        bytes.extend(crc32c::crc32c(&covered).to_le_bytes());
        bytes.extend(&covered);
        let (found, end) = stream(&bytes, bytes.len());
        assert_ne!(end, Some(WireError::Checksum));
        check(&found);
    },
    seeds: || {
        let unsealed = |message: &Message| {
            let bytes = frames(std::slice::from_ref(message));
            let mut input = vec![bytes[12], bytes[8]];
            input.extend(&bytes[HEADER..]);
            input
        };
        messages().iter().map(unsealed).collect()
    },
    words: &[b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\xff\xff\xff\xff\x0f", b"\x80\x00"],
    allowance: ALLOWANCE,
    longest: 1024,
    plain: 20_000,
};

/// The first bytes of a connection. An input that begins with an odd byte gets a good checksum.
const HANDSHAKE: Target = Target {
    name: "handshake",
    run: |input| {
        let mut input = Input(input);
        let mut bytes = Vec::new();
        if input.byte() & 1 == 1 {
            bytes.extend(b"RAFT");
            bytes.extend((input.0.len() as u16).to_le_bytes());
            bytes.extend(crc32c::crc32c(input.0).to_le_bytes());
        }
        bytes.extend(input.0);
        let mut buffer = BytesMut::from(&bytes[..]);
        let whole = handshake::decode(&mut buffer);
        // Before the last byte there is nothing, or an error: never another message.
        let taken = bytes.len() - buffer.len();
        for cut in 0..taken.min(40) {
            let early = handshake::decode(&mut BytesMut::from(&bytes[..cut]));
            assert!(early == Ok(None) || early.is_err() && early == whole, "{cut}: {early:?}, {whole:?}");
        }
        let Ok(Some(message)) = whole else { return };
        let again = handshake::decode(&mut handshake::encode(&message));
        assert_eq!(again, Ok(Some(message.clone())));
        let (local, peer) = (identity(2), NodeId(1));
        match message {
            Handshake::Hello(hello) => {
                if let Ok((found, _)) = handshake::check_hello(handshake::WIRE_VERSIONS, local, &hello) {
                    assert_eq!((found.cluster, found.group, hello.to), (local.cluster, local.group, 2));
                    assert_ne!(found.node, local.node);
                    let welcome = handshake::welcome(handshake::WIRE_VERSIONS, local, &hello);
                    let Handshake::Welcome(welcome) = welcome else { panic!("{welcome:?}") };
                    assert_eq!(welcome.version, hello.versions.1.min(2), "the newest that both know");
                }
            }
            Handshake::Welcome(welcome) => {
                if let Ok(found) = handshake::check_welcome(handshake::WIRE_VERSIONS, local, peer, &welcome) {
                    assert_eq!((found.cluster, found.group, found.node), (local.cluster, local.group, peer));
                }
            }
            Handshake::Ready => {}
            Handshake::Refused(refusal) => {
                let refusal = raft_core::backend::Refusal::from(refusal);
                assert!(!refusal.to_string().is_empty());
            }
        }
    },
    seeds: || {
        let hello =
            handshake::hello(handshake::WIRE_VERSIONS, identity(1), NodeId(2), Lane::Bulk, "10.0.0.1:7101");
        let Handshake::Hello(inner) = hello.clone() else { panic!("{hello:?}") };
        let refused = Handshake::Refused(raft_core::backend::Refusal::NotReady.into());
        let all = [
            hello,
            handshake::welcome(handshake::WIRE_VERSIONS, identity(1), &inner),
            Handshake::Ready,
            refused,
        ];
        let raw = |message: &Handshake| [&[0], &handshake::encode(message)[..]].concat();
        let body = |message: &Handshake| [&[1], &handshake::encode(message)[10..]].concat();
        all.iter().map(raw).chain(all.iter().map(body)).collect()
    },
    words: &[b"RAFT", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"],
    allowance: Allowance::new(16 << 10, 100),
    longest: 1200,
    plain: 20_000,
};

/// A connection to a transport that listens. It must close, give its node nothing that another node could
/// have sent, and go on with others. The input: whether it begins with a good handshake, for which lane, and
/// whether the rest is the content of frames, each with a length before it, or raw.
const PEER: Target = Target {
    name: "peer",
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
        let flags = [0, 1, 3, 5, 7, 9, 11, 13];
        let with = |flags: u8| messages().into_iter().map(move |message| (flags, message));
        let input = |(flags, message): (u8, Message)| {
            let frame = frames(std::slice::from_ref(&message));
            let sealed = flags & 8 != 0;
            let rest = if sealed { [&[frame.len() as u8 - 8], &frame[8..]].concat() } else { frame };
            [&[flags], &rest[..]].concat()
        };
        flags.into_iter().flat_map(with).map(input).collect()
    },
    words: &[b"RAFT"],
    allowance: Allowance::new(12 << 20, 1 << 10),
    longest: 512,
    plain: 300,
};

/// A transport that listens, on the thread that calls it.
struct Listener {
    runtime: tokio::runtime::Runtime,
    transport: TcpTransport,
    inbox: TestInbox,
    /// Another peer, who was there before.
    other: TcpStream,
    /// How many messages have arrived.
    arrived: usize,
    inputs: u64,
}

impl Listener {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let inbox = TestInbox::new();
        let mut options = Options::default();
        options.frame_limit_bytes = LIMIT;
        let transport = TcpTransport::new("127.0.0.1:0".parse().unwrap(), options);
        let other = runtime.block_on(async {
            transport.start(identity(2), inbox.inbox()).await.unwrap();
            let mut other = TcpStream::connect(transport.local_addr().unwrap()).await.unwrap();
            other.write_all(&greeting(identity(3), Lane::Control)).await.unwrap();
            other
        });
        Self { runtime, transport, inbox, other, arrived: 0, inputs: 0 }
    }

    fn take(&mut self, input: &[u8]) {
        self.inputs += 1;
        let mut input = Input(input);
        let flags = input.byte();
        let lane = if flags & 2 == 0 { Lane::Control } else { Lane::Bulk };
        let greets = flags & 1 == 1;
        let mut bytes = if greets { greeting(identity(1), lane) } else { Vec::new() };
        if flags & 8 == 0 {
            bytes.extend(input.0);
        }
        while flags & 8 != 0 && !input.is_empty() {
            let length = usize::from(input.byte());
            let covered = input.bytes(length);
            bytes.extend((covered.len() as u32).to_le_bytes());
            bytes.extend(crc32c::crc32c(covered).to_le_bytes());
            bytes.extend(covered);
        }
        let round = self.inputs;
        let Self { runtime, transport, inbox, other, .. } = self;
        let arrived = runtime.block_on(async {
            closes(transport.local_addr().unwrap(), &bytes).await;
            let heartbeat = heartbeat(round);
            other.write_all(&heartbeat.1).await.unwrap();
            let own = |all: &[Arrival]| all.contains(&Arrival::Message(heartbeat.0.clone())).then_some(());
            let wait = tokio::time::timeout(Duration::from_secs(20), inbox.until(own));
            wait.await.expect("it hears nobody else");
            inbox.messages()
        });
        for envelope in &arrived[self.arrived..] {
            let from_other = *envelope == heartbeat(round).0;
            let own = greets && envelope.from == NodeId(1) && envelope.lane() == lane;
            let for_us = envelope.to == NodeId(2) && envelope.group == GroupId(0);
            assert!(from_other || own && for_us, "{envelope:?}");
        }
        self.arrived = arrived.len();
    }
}

/// Both messages of a dialler. It does not wait for the answer between them.
fn greeting(identity: Identity, lane: Lane) -> Vec<u8> {
    let hello = handshake::encode(&handshake::hello((1, 1), identity, NodeId(2), lane, ""));
    [&hello[..], &handshake::encode(&Handshake::Ready)[..]].concat()
}

/// A message of node 3 that is like no other, and its bytes.
fn heartbeat(round: u64) -> (Envelope, Vec<u8>) {
    let message = Message::Heartbeat(Heartbeat { commit: Index(1), round });
    let (from, to) = (NodeId(3), NodeId(2));
    let envelope = Envelope { group: GroupId(0), from, to, term: Term(7), message };
    let mut out = frame::Outgoing::default();
    frame::encode(envelope.clone(), &mut out);
    (envelope, flat(&mut out).to_vec())
}

/// Sends all of it, and waits until the other side closes.
async fn closes(address: SocketAddr, bytes: &[u8]) {
    let talk = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // The other side may close before it has read everything: then the system says so here or there.
        if stream.write_all(bytes).await.is_ok() && stream.shutdown().await.is_ok() {
            let mut buffer = [0; 1024];
            while let Ok(1..) = stream.read(&mut buffer).await {}
        }
        // No port is kept waiting: there are fewer than inputs.
        let stream = stream.into_std().unwrap();
        let _ = stream.shutdown(Shutdown::Both);
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    };
    tokio::time::timeout(Duration::from_secs(20), talk).await.expect("it does not close");
}

/// All that decodes of a stream that comes in pieces, and the error that ends it.
fn stream(bytes: &[u8], piece: usize) -> (Vec<Envelope>, Option<WireError>) {
    let mut buffer = BytesMut::new();
    let mut found = Vec::new();
    for piece in bytes.chunks(piece.max(1)) {
        buffer.extend_from_slice(piece);
        loop {
            match frame::decode(&mut buffer, LIMIT) {
                Ok(Some(envelope)) => found.push(envelope),
                Ok(None) => break,
                Err(error) => return (found, Some(error)),
            }
        }
    }
    (found, None)
}

/// What was understood can be said again, and then means the same.
fn check(found: &[Envelope]) {
    for envelope in found {
        let mut out = frame::Outgoing::default();
        frame::encode(envelope.clone(), &mut out);
        let mut again = flat(&mut out);
        assert_eq!(frame::decode(&mut again, u64::MAX), Ok(Some(envelope.clone())));
        assert!(again.is_empty());
        if let Message::Append(append) = &envelope.message {
            let payloads: usize = append.entries.iter().map(|entry| entry.data.len()).sum();
            assert!((payloads as u64) < LIMIT);
        }
    }
}

fn flat(out: &mut frame::Outgoing) -> BytesMut {
    let mut all = BytesMut::new();
    while !out.is_empty() {
        let mut slices = Vec::new();
        out.slices(&mut slices, 16);
        let count = slices.iter().map(|slice| slice.len()).sum();
        slices.iter().for_each(|slice| all.extend_from_slice(slice));
        out.advance(count);
    }
    all
}

fn frames(messages: &[Message]) -> Vec<u8> {
    let mut out = frame::Outgoing::default();
    for message in messages {
        let (from, to) = (NodeId(1), NodeId(2));
        let envelope = Envelope { group: GroupId(0), from, to, term: Term(7), message: message.clone() };
        frame::encode(envelope, &mut out);
    }
    flat(&mut out).to_vec()
}

/// One of each kind.
fn messages() -> Vec<Message> {
    let entry = |index: u64, kind, data: &'static [u8]| {
        let id = LogId::new(7, index);
        Entry { id, kind, data: Bytes::from_static(data) }
    };
    let entries = vec![entry(301, EntryKind::Commands, b"payload"), entry(302, EntryKind::Noop, b"")];
    let data = Bytes::from_static(b"snapshot");
    let (prev, upto) = (LogId::new(6, 300), LogId::new(3, 9));
    vec![
        Message::Vote(VoteRequest { pre: true, transfer: false, last: prev, told: 0 }),
        Message::VoteReply(VoteReply { pre: false, asked: Term(7), ballot: Ballot::Vetoed }),
        Message::Heartbeat(Heartbeat { commit: Index(300), round: 5 }),
        Message::HeartbeatReply(HeartbeatReply {
            round: 5,
            matched: Index(300),
            last: Index(301),
            probation: true,
            ..HeartbeatReply::default()
        }),
        Message::HeartbeatReply(HeartbeatReply {
            slow: true,
            promise: Duration::from_millis(300),
            priority: -1,
            ..HeartbeatReply::default()
        }),
        Message::Vote(VoteRequest { pre: false, transfer: true, last: prev, told: 9 }),
        Message::TimeoutNow(TimeoutNow { round: 9 }),
        Message::ReadIndex(ReadIndex { id: 1 << 40 }),
        Message::ReadIndexReply(ReadIndexReply { id: 1 << 40, index: Some(Index(3)) }),
        Message::ReadIndexReply(ReadIndexReply { id: 5, index: None }),
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
        Message::TimeoutNow(TimeoutNow { round: 0 }),
        Message::Notice(Notice::Removed { since: Index(0) }),
        Message::Notice(Notice::RolledBack { acknowledged: Index(9) }),
    ]
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
