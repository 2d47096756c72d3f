//! A peer that only speaks the wire version before, made of pinned bytes: no line of today's codec takes part in it, so it
//! says and understands what a node of that version did (T11).
//!
//! The next version of the wire gets its own golden files, and a peer like this of the version that it replaces.

mod support;

use std::net::SocketAddr;

use raft_core::backend::{Sent, SentDropped, Transport};
use raft_core::ids::{ClusterId, GroupId, Identity, Incarnation, NodeId, StoreId};
use raft_core::membership::Member;
use raft_core::message::{Envelope, Lane, Message};
use raft_net_tcp::Options;
use support::Node;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Hello of node 1 to node 2 for the bulk lane, Welcome of node 2, Ready.
const HANDSHAKES_1: &str = include_str!("../src/golden_handshakes_v1.txt");
const FRAMES_1: &str = include_str!("../src/golden_frames_v1.txt");
const HANDSHAKES_2: &str = include_str!("../src/golden_handshakes_v2.txt");
const FRAMES_2: &str = include_str!("../src/golden_frames_v2.txt");

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

fn lines(golden: &str) -> Vec<Vec<u8>> {
    let byte = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
    golden.lines().map(|line| line.as_bytes().chunks(2).map(byte).collect()).collect()
}

/// Frames are pinned without what stands in front of them.
fn framed(frame: &[u8]) -> Vec<u8> {
    let length = u32::try_from(frame.len()).unwrap();
    [&length.to_le_bytes()[..], &crc32c::crc32c(frame).to_le_bytes(), frame].concat()
}

const KIND: usize = 4;

const fn lane(kind: u8) -> Lane {
    if matches!(kind, 5 | 7) { Lane::Bulk } else { Lane::Control }
}

/// The same Hello for the other lane: one byte, and the checksum.
fn for_lane(hello: &[u8], at: usize, lane: Lane) -> Vec<u8> {
    let mut hello = hello.to_vec();
    hello[at] = u8::from(lane == Lane::Bulk);
    let checksum = crc32c::crc32c(&hello[10..]);
    hello[6..10].copy_from_slice(&checksum.to_le_bytes());
    hello
}

/// Dials a node with a pinned Hello and says all pinned frames of that lane; what the node has understood.
async fn says(node: &mut Node, hello: &[u8], welcome: &[u8], frames: &[Vec<u8>], on: Lane) -> Vec<Envelope> {
    let mut stream = TcpStream::connect(node.address()).await.unwrap();
    stream.write_all(hello).await.unwrap();
    let mut answer = vec![0; welcome.len()];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, welcome, "the Welcome is that of the version that both speak, byte by byte");
    stream.write_all(&lines(HANDSHAKES_1)[2]).await.unwrap();
    let mut understood = Vec::new();
    for frame in frames.iter().filter(|frame| lane(frame[KIND]) == on) {
        stream.write_all(&framed(frame)).await.unwrap();
        understood.push(node.message().await);
    }
    understood
}

/// What a node of today understands of pinned frames, in their order.
async fn understood(hello: &[u8], lane_at: usize, welcome: &[u8], frames: &[Vec<u8>]) -> Vec<Envelope> {
    let mut node = Node::start(identity(2), Options::default()).await;
    let mut all = Vec::new();
    for on in [Lane::Control, Lane::Bulk] {
        all.push(says(&mut node, &for_lane(hello, lane_at, on), welcome, frames, on).await.into_iter());
    }
    let [control, bulk] = &mut all[..] else { unreachable!() };
    let in_order = frames.iter().map(|frame| match lane(frame[KIND]) {
        Lane::Control => control.next().unwrap(),
        Lane::Bulk => bulk.next().unwrap(),
    });
    let found = in_order.collect();
    node.transport.shutdown().await;
    found
}

async fn understood_of_version_1() -> Vec<Envelope> {
    let [hello, welcome, ..] = &lines(HANDSHAKES_1)[..] else { panic!() };
    understood(hello, hello.len() - 2, welcome, &lines(FRAMES_1)).await
}

/// An old node that is dialled: answers with the pinned Welcome, and hands out the frames that come on a lane.
struct Old {
    listener: TcpListener,
}

impl Old {
    async fn start() -> (Self, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (Self { listener }, address)
    }

    /// The connection of this lane, after the handshake; that of the other one is kept.
    async fn connections(&self) -> [TcpStream; 2] {
        let mut lanes = [None, None];
        while lanes.iter().any(Option::is_none) {
            let (mut stream, _) = self.listener.accept().await.unwrap();
            let mut fixed = [0; 10];
            stream.read_exact(&mut fixed).await.unwrap();
            assert_eq!(&fixed[..4], b"RAFT");
            let mut body = vec![0; usize::from(u16::from_le_bytes([fixed[4], fixed[5]]))];
            stream.read_exact(&mut body).await.unwrap();
            // An old node reads the fields that it knows, which are where they always were.
            let [old, ..] = &lines(HANDSHAKES_1)[..] else { panic!() };
            let known = old.len() - 10;
            assert_eq!(body[1..3], [1, 2], "it offers the version before too");
            assert_eq!(body[3..known - 2], old[13..old.len() - 2]);
            let lane = usize::from(body[known - 2]);
            stream.write_all(&lines(HANDSHAKES_1)[1]).await.unwrap();
            let mut ready = lines(HANDSHAKES_1)[2].clone();
            stream.read_exact(&mut ready).await.unwrap();
            assert_eq!(ready, lines(HANDSHAKES_1)[2]);
            lanes[lane] = Some(stream);
        }
        lanes.map(Option::unwrap)
    }
}

async fn frame(stream: &mut TcpStream) -> Vec<u8> {
    let mut fixed = [0; 8];
    stream.read_exact(&mut fixed).await.unwrap();
    let mut frame = vec![0; u32::from_le_bytes([fixed[0], fixed[1], fixed[2], fixed[3]]) as usize];
    stream.read_exact(&mut frame).await.unwrap();
    assert_eq!(framed(&frame)[..8], fixed);
    frame
}

/// Both ways: what an old node says is understood, and saying it again to an old node gives the same bytes.
#[tokio::test]
async fn t11_a_peer_of_version_1_understands_and_is_understood() {
    let messages = understood_of_version_1().await;
    assert_eq!(messages.len(), lines(FRAMES_1).len());
    let (old, address) = Old::start().await;
    let mut node = Node::start(identity(1), Options::default()).await;
    let peer = Member::new(NodeId(2), address.to_string());
    node.transport.members(std::slice::from_ref(&peer));
    let mut lanes = old.connections().await;
    node.up(2).await;
    for (message, golden) in messages.into_iter().zip(lines(FRAMES_1)) {
        let on = lane(golden[KIND]);
        assert_eq!(node.transport.send(&peer, on, message), Sent::Queued);
        assert_eq!(frame(&mut lanes[usize::from(on == Lane::Bulk)]).await, golden);
    }
}

/// What version 2 has added is said in the words of version 1, or not at all and the node is told so.
#[tokio::test]
async fn t11_a_peer_of_version_1_is_told_nothing_that_it_does_not_know() {
    let [hello, welcome] = &lines(HANDSHAKES_2)[..] else { panic!() };
    // The lane stands before the features and the address, which has its length in front.
    let lane_at = hello.len() - 2 - "10.0.0.1:7101".len() - 1;
    let messages = understood(hello, lane_at, welcome, &lines(FRAMES_2)).await;
    let (old, address) = Old::start().await;
    let mut node = Node::start(identity(1), Options::default()).await;
    let peer = Member::new(NodeId(2), address.to_string());
    node.transport.members(std::slice::from_ref(&peer));
    let [mut control, _bulk] = old.connections().await;
    node.up(2).await;
    let mut not_spoken = 0;
    for message in messages {
        let new = matches!(message.message, Message::ReadIndex(_) | Message::ReadIndexReply(_));
        let sent = node.transport.send(&peer, Lane::Control, message);
        if new {
            assert_eq!(sent, Sent::Dropped(SentDropped::NotSpoken));
            not_spoken += 1;
        } else {
            assert_eq!(sent, Sent::Queued);
            assert!((1..=10).contains(&frame(&mut control).await[KIND]));
        }
    }
    assert_eq!(not_spoken, 3);
}
