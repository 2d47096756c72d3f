//! Peers that do not keep to the protocol: each loses its stream and its connection, nobody else notices.

mod support;

use std::time::Duration;

use bytes::Bytes;
use raft_core::backend::Transport;
use raft_core::ids::{ClusterId, GroupId, Identity, Incarnation, NodeId};
use raft_core::message::{Lane, Message};
use raft_net_grpc::Options;
use raft_net_grpc::proto::refused::Why;
use support::raw::{self, Talk};
use support::{Node, Seen, heartbeat, identity, pair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Code;

/// Whether the other side closes, whatever it says before.
async fn is_closed(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut rest)).await;
    // Closed with unread bytes, a connection ends with a reset.
    read.is_ok()
}

/// The cluster goes on.
async fn still_serves(a: &Node, b: &mut Node) {
    a.transport.send(&b.member(), Lane::Control, heartbeat(1, 2, 77));
    assert_eq!(b.message().await, heartbeat(1, 2, 77));
}

fn patient(timeout: Duration) -> Options {
    let mut options = Options::default();
    options.handshake_timeout = timeout;
    options
}

#[tokio::test]
async fn t07_garbage_closes_that_connection_only() {
    let (a, mut b) = pair().await;
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0; 5000], &[0xff; 70_000]] {
        let mut stream = TcpStream::connect(b.address()).await.unwrap();
        // It may be closed before all of it is written.
        let _ = stream.write_all(garbage).await;
        assert!(is_closed(&mut stream).await);
    }
    assert_eq!(b.transport.stats().misbehaved, 3);
    still_serves(&a, &mut b).await;
}

#[tokio::test]
async fn t07_who_says_nothing_is_turned_away() {
    let b = Node::start(identity(2), patient(Duration::from_millis(50))).await;
    // Nothing at all; half of HTTP/2's preface; all of it, but no call.
    for first in [&b""[..], b"PRI * HT", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"] {
        let mut silent = TcpStream::connect(b.address()).await.unwrap();
        silent.write_all(first).await.unwrap();
        assert!(is_closed(&mut silent).await);
    }
    assert_eq!(b.transport.stats().turned_away, 3);
}

#[tokio::test]
async fn t07_who_does_not_finish_its_handshake_is_turned_away() {
    let b = Node::start(identity(2), patient(Duration::from_millis(200))).await;
    // A message that never ends, then a hello and no more.
    let endless = Talk::open(raw::connect(b.address()).await, "Bulk", raw::hello(&identity(1), 2, (1, 1)));
    let mut talk = endless.await.unwrap();
    assert!(talk.reply().await.unwrap().is_some(), "welcome");
    let status = talk.end().await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
    assert_eq!(b.transport.stats().turned_away, 1);
    assert_eq!(b.transport.stats().accepted, 0);
}

#[tokio::test]
async fn t07_more_connections_than_allowed_are_turned_away() {
    let mut options = Options::default();
    options.connections = 3;
    let b = Node::start(identity(2), options).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(TcpStream::connect(b.address()).await.unwrap());
    }
    let mut fourth = TcpStream::connect(b.address()).await.unwrap();
    assert!(is_closed(&mut fourth).await);
    assert_eq!(b.transport.stats().turned_away, 1);
}

#[tokio::test]
async fn t07_a_connection_that_is_not_used_any_more_is_closed() {
    let mut options = Options::default();
    options.idle_timeout = Duration::from_millis(50);
    options.connections = 1;
    let mut b = Node::start(identity(2), options).await;
    let channel = raw::connect(b.address()).await;
    let talk = Talk::greet(channel.clone(), "Control", identity(1), 2).await;
    talk.say(raw::heartbeat(1, 2, 1)).await;
    assert_eq!(b.message().await, heartbeat(1, 2, 1));
    drop(talk);
    // The channel keeps its connection; the listener does not: its place is free for another.
    let another = async {
        loop {
            let hello = raw::hello(&identity(1), 2, (1, 1));
            let lazy = tonic::transport::Endpoint::from_shared(format!("http://{}", b.address())).unwrap();
            if Talk::open(lazy.connect_lazy(), "Control", hello).await.is_ok() {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), another).await.expect("the place stays taken");
    drop(channel);
}

#[tokio::test]
async fn t06_whoever_does_not_belong_is_told_why() {
    let mut b = Node::start(identity(2), Options::default()).await;
    let good = identity(1);
    let foreign = Identity { cluster: ClusterId(7), ..good };
    let group = Identity { group: GroupId(9), ..good };
    let tell = async |who: Identity, to, versions| {
        let channel = raw::connect(b.address()).await;
        let hello = raw::hello(&who, to, versions);
        Talk::open(channel, "Control", hello).await.unwrap().refusal().await
    };
    assert!(matches!(tell(foreign, 2, (1, 1)).await, Why::WrongCluster(_)));
    assert!(matches!(tell(group, 2, (1, 1)).await, Why::WrongGroup(_)));
    assert!(matches!(tell(good, 3, (1, 1)).await, Why::WrongNode(_)), "not the node that is meant");
    assert!(matches!(tell(identity(2), 2, (1, 1)).await, Why::WrongNode(_)), "the listener's own name");
    for versions in [(0, 0), (3, 9), (1, 0)] {
        assert!(matches!(tell(good, 2, versions).await, Why::WireVersion(_)), "{versions:?}");
    }
    assert_eq!(b.transport.stats().refused, 7);
    assert!(b.seen.try_recv().is_err());
    // A later version may be spoken besides.
    let channel = raw::connect(b.address()).await;
    let mut talk = Talk::open(channel, "Control", raw::hello(&good, 2, (1, 5))).await.unwrap();
    assert!(talk.reply().await.unwrap().is_some());
    talk.say(raw::ready()).await;
    talk.say(raw::heartbeat(1, 2, 5)).await;
    assert_eq!(b.message().await, heartbeat(1, 2, 5));
}

#[tokio::test]
async fn t01_an_older_incarnation_is_not_heard_any_more() {
    let mut b = Node::start(identity(2), Options::default()).await;
    let newer = Identity { incarnation: Incarnation { number: 5, nonce: 5 }, ..identity(1) };
    let new = Talk::greet(raw::connect(b.address()).await, "Control", newer, 2).await;
    new.say(raw::heartbeat(1, 2, 1)).await;
    assert_eq!(b.message().await, heartbeat(1, 2, 1));
    let old = Talk::greet(raw::connect(b.address()).await, "Control", identity(1), 2).await;
    old.say(raw::heartbeat(1, 2, 66)).await;
    assert!(old.end().await.is_ok(), "nothing is wrong with it, but its time is over");
    // The same incarnation again: it has a new connection.
    let again = Talk::greet(raw::connect(b.address()).await, "Control", newer, 2).await;
    assert!(new.end().await.is_ok());
    again.say(raw::heartbeat(1, 2, 2)).await;
    assert_eq!(b.message().await, heartbeat(1, 2, 2));
}

#[tokio::test]
async fn t07_what_must_not_be_said_ends_the_stream_only() {
    let (a, mut b) = pair().await;
    let mut flipped = raw::heartbeat(9, 2, 5).to_vec();
    *flipped.last_mut().unwrap() ^= 1;
    let with = |lane, bytes: Bytes| (lane, bytes);
    let cases = [
        with("Control", flipped.into()),
        with("Control", Bytes::from_static(b"\x07garbage")),
        with("Control", Bytes::new()),
        with("Control", raw::ready()),
        with("Control", raw::hello(&identity(9), 2, (1, 1))),
        with("Control", raw::heartbeat(1, 2, 5)),
        with("Control", raw::heartbeat(9, 3, 5)),
        with("Bulk", raw::heartbeat(9, 2, 5)),
        with("Control", raw::noops(9, 2, 1)),
        with("Bulk", raw::noops(9, 2, (1 << 20) + 1)),
    ];
    for (count, (lane, bytes)) in (1..).zip(cases) {
        let talk = Talk::greet(raw::connect(b.address()).await, lane, identity(9), 2).await;
        talk.say(bytes).await;
        let status = talk.end().await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "case {count}: {status:?}");
        assert_eq!(b.transport.stats().misbehaved, count, "{status:?}");
    }
    assert!(b.seen.try_recv().is_err(), "nothing of it was delivered");
    still_serves(&a, &mut b).await;
}

#[tokio::test]
async fn t07_what_is_no_greeting_ends_the_stream() {
    let b = Node::start(identity(2), Options::default()).await;
    let mut damaged = raw::hello(&identity(1), 2, (1, 1)).to_vec();
    *damaged.last_mut().unwrap() ^= 1;
    let cases = [
        raw::ready(),
        raw::heartbeat(1, 2, 3),
        Bytes::from_static(b"\xff\xff\xff"),
        damaged.into(),
        // Longer than any hello, though protobuf would pass over it.
        [&raw::hello(&identity(1), 2, (1, 1))[..], b"\xf2\x06\x90\x4e", &[0; 10_000]].concat().into(),
    ];
    for (count, bytes) in (1..).zip(cases) {
        let talk = Talk::open(raw::connect(b.address()).await, "Control", bytes).await.unwrap();
        let status = talk.end().await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "case {count}: {status:?}");
        assert_eq!(b.transport.stats().misbehaved, count, "{status:?}");
    }
}

#[tokio::test]
async fn t07_a_message_over_the_limit_ends_the_stream() {
    let mut options = Options::default();
    options.frame_limit_bytes = 1 << 20;
    let mut b = Node::start(identity(2), options).await;
    let within = raw::noops(1, 2, 100_000);
    assert!(within.len() < 1 << 20);
    let talk = Talk::greet(raw::connect(b.address()).await, "Bulk", identity(1), 2).await;
    talk.say(within).await;
    let Message::Append(append) = b.message().await.message else { panic!() };
    assert_eq!(append.entries.len(), 100_000);
    talk.say(Bytes::from(vec![0; (1 << 20) + 2000])).await;
    let status = talk.end().await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    assert_eq!(b.transport.stats().misbehaved, 1);
}

#[tokio::test]
async fn t07_a_connection_has_no_second_try() {
    let b = Node::start(identity(2), Options::default()).await;
    let channel = raw::connect(b.address()).await;
    let first = Talk::open(channel.clone(), "Control", raw::ready()).await.unwrap();
    assert_eq!(first.end().await.unwrap_err().code(), Code::InvalidArgument);
    // The channel may dial again: the connection is another one, and counted as such.
    let second = Talk::greet(channel, "Control", identity(1), 2).await;
    second.say(raw::ready()).await;
    assert_eq!(second.end().await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(b.transport.stats().misbehaved, 2);
}

#[tokio::test]
async fn t01_who_speaks_for_another_node_is_cut_off() {
    let mut a = Node::start(identity(1), Options::default()).await;
    let mut b = Node::start(identity(2), Options::default()).await;
    a.transport.members(&[b.member()]);
    a.up(2).await;
    a.transport.send(&b.member(), Lane::Control, heartbeat(3, 2, 5));
    a.up(2).await;
    assert_eq!(b.transport.stats().misbehaved, 1);
    assert_eq!(b.delivered(), []);
}

/// Bytes that a peer of another implementation sends: everything this side knows of it is the document.
#[tokio::test]
async fn a_peer_written_from_the_document_is_understood() {
    let mut b = Node::start(identity(2), Options::default()).await;
    let control = Talk::greet(raw::connect(b.address()).await, "Control", identity(1), 2).await;
    control.say(raw::heartbeat(1, 2, 3)).await;
    assert_eq!(b.next().await, Seen::Message(heartbeat(1, 2, 3)));
    // Both streams on one connection are as good.
    let channel = raw::connect(b.address()).await;
    let bulk = Talk::greet(channel.clone(), "Bulk", identity(1), 2).await;
    let again = Talk::greet(channel, "Control", identity(1), 2).await;
    bulk.say(raw::noops(1, 2, 3)).await;
    let Message::Append(append) = b.message().await.message else { panic!() };
    assert_eq!(append.entries.iter().map(|entry| entry.id.index.0).collect::<Vec<_>>(), [1, 2, 3]);
    again.say(raw::heartbeat(1, 2, 4)).await;
    assert_eq!(b.message().await, heartbeat(1, 2, 4));
    assert!(control.end().await.is_ok(), "the newer stream of the lane has taken over");
    assert_eq!(b.id, NodeId(2));
}
