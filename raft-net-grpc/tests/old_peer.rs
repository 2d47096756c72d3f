//! A peer that only speaks the wire version before, made of pinned bytes: tonic carries them, and no line of today's
//! messages, conversions and checksums takes part, so it says and understands what a node of that version did (T11).
//!
//! The next version of the wire gets its own golden file, and a peer like this of the version that it replaces.

#[path = "support/protobuf.rs"]
mod protobuf;
mod support;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::SocketAddr;
use std::task::{Context, Poll};

use bytes::{Buf, BufMut, Bytes};
use protobuf::{Fields, Value, fields, inner, is_known_to_version_1, number};
use raft_core::backend::{Refusal, Sent, SentDropped, Transport};
use raft_core::ids::{ClusterId, GroupId, Identity, Incarnation, NodeId, StoreId};
use raft_core::membership::Member;
use raft_core::message::{Envelope, Lane, Message};
use raft_net_grpc::Options;
use support::{Node, Seen};
use tokio::sync::mpsc;
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::codegen::tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::NamedService;
use tonic::{Request, Response, Status, Streaming};

/// Hello of node 1 to node 2, Welcome of node 2, Ready, every refusal, every message.
const GOLDEN_1: &str = include_str!("../src/golden_v1.txt");
/// Hello and Welcome again, and the messages that say more or are new.
const GOLDEN_2: &str = include_str!("../src/golden_v2.txt");
const REFUSALS: usize = 8;

/// Whom the pinned handshakes are of.
fn identity(node: u64) -> Identity {
    Identity {
        cluster: ClusterId(1 << 100),
        group: GroupId(0),
        node: NodeId(node),
        store: StoreId(9),
        incarnation: Incarnation { number: 3, nonce: 4 },
    }
}

fn lines(golden: &str) -> Vec<Bytes> {
    let byte = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
    golden.lines().map(|line| line.as_bytes().chunks(2).map(byte).collect()).collect()
}

fn messages_1() -> Vec<Bytes> {
    lines(GOLDEN_1).split_off(3 + REFUSALS)
}

/// Which message a frame is, by its number in version 1 or later.
fn kind(frame: &[u8]) -> u64 {
    *inner(&fields(frame), 5).keys().find(|field| **field >= 5).unwrap()
}

fn lane(frame: &[u8]) -> Lane {
    if matches!(kind(frame), 9 | 11) { Lane::Bulk } else { Lane::Control }
}

fn numbers(numbers: &[u64]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

/// gRPC with bytes in the place of messages.
#[derive(Clone, Copy, Debug, Default)]
struct Bare;

impl Codec for Bare {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;
    fn encoder(&mut self) -> Self {
        *self
    }
    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Bare {
    type Item = Bytes;
    type Error = Status;
    fn encode(&mut self, bytes: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put(bytes);
        Ok(())
    }
}

impl Decoder for Bare {
    type Item = Bytes;
    type Error = Status;
    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

/// One end of a stream; what comes, and what goes. The deadline only ends a test that hangs.
struct Talk<T> {
    heard: Streaming<Bytes>,
    says: mpsc::Sender<T>,
}

impl<T> Talk<T> {
    async fn next(&mut self) -> Bytes {
        let patience = std::time::Duration::from_secs(20);
        tokio::time::timeout(patience, self.heard.message()).await.expect("nothing came").unwrap().unwrap()
    }
}

/// Dials a node with a pinned Hello, which must answer with the pinned Welcome.
async fn dial(node: &Node, lane: Lane, hello: Bytes, welcome: &Bytes) -> Talk<Bytes> {
    let path = match lane {
        Lane::Control => "/raft.v1.Raft/Control",
        Lane::Bulk => "/raft.v1.Raft/Bulk",
    };
    let (says, stream) = mpsc::channel(16);
    says.send(hello).await.unwrap();
    let mut client = tonic::client::Grpc::new(support::raw::connect(node.address()).await);
    client.ready().await.unwrap();
    let request = Request::new(ReceiverStream::new(stream));
    let answer = client.streaming(request, PathAndQuery::from_static(path), Bare).await.unwrap();
    let mut talk = Talk { heard: answer.into_inner(), says };
    assert_eq!(talk.next().await, welcome, "that of the version that both speak, byte by byte");
    talk
}

/// What a node of today understands of pinned messages, in their order.
async fn understood(hello: &Bytes, welcome: &Bytes, messages: &[Bytes]) -> Vec<Envelope> {
    let mut node = Node::start(identity(2), Options::default()).await;
    let mut understood = BTreeMap::new();
    for on in [Lane::Control, Lane::Bulk] {
        let talk = dial(&node, on, hello.clone(), welcome).await;
        talk.says.send(lines(GOLDEN_1)[2].clone()).await.unwrap();
        for (at, message) in messages.iter().enumerate().filter(|(_, message)| lane(message) == on) {
            talk.says.send(message.clone()).await.unwrap();
            understood.insert(at, node.message().await);
        }
    }
    node.transport.shutdown().await;
    understood.into_values().collect()
}

/// A listener's end of a stream.
type Answering = Talk<Result<Bytes, Status>>;

/// An old node that is dialled: hands out the streams that are opened to it.
#[derive(Clone)]
struct Old(mpsc::UnboundedSender<(Lane, Answering)>);

impl NamedService for Old {
    const NAME: &'static str = "raft.v1.Raft";
}

impl Service<http::Request<Body>> for Old {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let lane = match request.uri().path() {
            "/raft.v1.Raft/Control" => Lane::Control,
            "/raft.v1.Raft/Bulk" => Lane::Bulk,
            other => panic!("{other}"),
        };
        let opened = Opened { lane, old: self.clone() };
        Box::pin(async move { Ok(tonic::server::Grpc::new(Bare).streaming(opened, request).await) })
    }
}

/// One call of it.
struct Opened {
    lane: Lane,
    old: Old,
}

impl Service<Request<Streaming<Bytes>>> for Opened {
    type Response = Response<ReceiverStream<Result<Bytes, Status>>>;
    type Error = Status;
    type Future = Ready<Result<Self::Response, Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        let (says, stream) = mpsc::channel(4);
        let _ = self.old.0.send((self.lane, Talk { heard: request.into_inner(), says }));
        ready(Ok(Response::new(ReceiverStream::new(stream))))
    }
}

impl Old {
    async fn start() -> (SocketAddr, mpsc::UnboundedReceiver<(Lane, Answering)>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, opened) = mpsc::unbounded_channel();
        let server = tonic::transport::Server::builder().add_service(Self(sender));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        (address, opened)
    }
}

/// An old node reads of a Hello what it knows: that is what it always was, but for the versions that are offered.
fn is_known_hello(hello: &[u8]) {
    let (said, old) = (inner(&fields(hello), 1), inner(&fields(&lines(GOLDEN_1)[0]), 1));
    let versions = inner(&said, 1);
    assert_eq!((number(&versions, 1), number(&versions, 2)), (1, 2), "it offers the version before too");
    assert!((2..=3).all(|field| said[&field] == old[&field]), "{said:?} {old:?}");
    let who = identity(1);
    let values = [
        numbers(&[1, 1, 2]),
        who.cluster.0.to_le_bytes().to_vec(),
        numbers(&[who.group.0, who.node.0]),
        who.store.0.to_le_bytes().to_vec(),
        numbers(&[who.incarnation.number, who.incarnation.nonce, 2]),
    ];
    assert_eq!(fields(hello)[&15], Value::Fixed(crc32c::crc32c(&values.concat())));
}

/// A node of today that has dialled an old one, both lanes shaken hands, control first.
async fn dialled() -> (Node, Member, [Answering; 2]) {
    let (address, mut opened) = Old::start().await;
    let mut node = Node::start(identity(1), Options::default()).await;
    let peer = Member::new(NodeId(2), address.to_string());
    node.transport.members(std::slice::from_ref(&peer));
    let mut lanes = [None, None];
    while lanes.iter().any(Option::is_none) {
        let (lane, mut talk) = opened.recv().await.unwrap();
        is_known_hello(&talk.next().await);
        let [_, welcome, ready, ..] = &lines(GOLDEN_1)[..] else { panic!() };
        talk.says.send(Ok(welcome.clone())).await.unwrap();
        assert_eq!(talk.next().await, ready);
        lanes[usize::from(lane == Lane::Bulk)] = Some(talk);
    }
    node.up(2).await;
    (node, peer, lanes.map(Option::unwrap))
}

/// Both ways: what an old node says is understood, and saying it again to an old node gives the same bytes.
#[tokio::test]
async fn t11_a_peer_of_version_1_understands_and_is_understood() {
    let golden = messages_1();
    let [hello, welcome, ..] = &lines(GOLDEN_1)[..] else { panic!() };
    let messages = understood(hello, welcome, &golden).await;
    assert_eq!((messages.len(), golden.len()), (14, 14));
    let (node, peer, mut lanes) = dialled().await;
    for (message, golden) in messages.into_iter().zip(golden) {
        let on = lane(&golden);
        assert_eq!(node.transport.send(&peer, on, message), Sent::Queued);
        assert_eq!(lanes[usize::from(on == Lane::Bulk)].next().await, golden);
    }
}

/// What version 2 has added is said in the words of version 1, or not at all and the node is told so.
#[tokio::test]
async fn t11_a_peer_of_version_1_is_told_nothing_that_it_does_not_know() {
    let golden = lines(GOLDEN_2);
    let [hello, welcome, golden @ ..] = &golden[..] else { panic!() };
    let messages = understood(hello, welcome, golden).await;
    let (node, peer, [mut control, _bulk]) = dialled().await;
    let mut not_spoken = 0;
    for (message, golden) in messages.into_iter().zip(golden) {
        let new = matches!(message.message, Message::ReadIndex(_) | Message::ReadIndexReply(_));
        let sent = node.transport.send(&peer, Lane::Control, message);
        if new {
            assert_eq!(sent, Sent::Dropped(SentDropped::NotSpoken));
            not_spoken += 1;
            continue;
        }
        assert_eq!(sent, Sent::Queued);
        let frame = control.next().await;
        let (said, meant) = (inner(&fields(&frame), 5), inner(&fields(golden), 5));
        let kind = kind(golden);
        let (said, meant) = (inner(&said, kind), inner(&meant, kind));
        let meant: Fields =
            meant.into_iter().filter(|(field, _)| is_known_to_version_1(kind, *field)).collect();
        assert_eq!(said, meant, "{kind}");
        // What an old node checks it by.
        let values = match kind {
            5 => {
                let last = inner(&meant, 3);
                vec![number(&meant, 1), number(&meant, 2), number(&last, 1), number(&last, 2)]
            }
            8 => (1..=4).map(|field| number(&meant, field)).collect(),
            13 => Vec::new(),
            other => panic!("{other}"),
        };
        let values = [vec![5, 0, 1, 2, 7, kind], values].concat();
        assert_eq!(fields(&frame)[&15], Value::Fixed(crc32c::crc32c(&numbers(&values))), "{kind}");
    }
    assert_eq!(not_spoken, 3);
}

/// Each of the ways in which an old node says that this one does not belong.
#[tokio::test]
async fn t11_a_refusal_by_a_peer_of_version_1_is_understood() {
    let golden = lines(GOLDEN_1);
    let [hello, welcome, _ready, golden @ ..] = &golden[..] else { panic!() };
    let mut node = Node::start(identity(2), Options::default()).await;
    let mut understood = Vec::new();
    for refusal in &golden[..REFUSALS] {
        let talk = dial(&node, Lane::Control, hello.clone(), welcome).await;
        talk.says.send(refusal.clone()).await.unwrap();
        match node.until(|seen| matches!(seen, Seen::Refused(..))).await {
            Seen::Refused(NodeId(1), why) => understood.push(why),
            other => panic!("{other:?}"),
        }
    }
    let one = NodeId(1);
    let expected = [
        Refusal::WrongCluster { ours: ClusterId(1), theirs: ClusterId(2) },
        Refusal::WrongGroup { ours: GroupId(1), theirs: GroupId(2) },
        Refusal::WrongNode { expected: one, claimed: NodeId(2) },
        Refusal::StoreReplaced { node: one, known: StoreId(2), offered: StoreId(3) },
        Refusal::RolledBack { node: one, known: 2, offered: 3 },
        Refusal::WireVersion { ours: (1, 2), theirs: (3, 4) },
        Refusal::NotReady,
        Refusal::NotCertified { claimed: NodeId(3) },
    ];
    assert_eq!(understood, expected);
}
