//! Peers that do not keep to the protocol, on raw sockets: each loses its connection, nobody else
//! notices.

mod support;

use std::time::Duration;

use raft_core::backend::Transport;
use raft_core::message::Lane;
use raft_net_tcp::Options;
use support::{Node, heartbeat, identity, pair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

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

#[tokio::test]
async fn t07_garbage_closes_that_connection_only() {
    let (a, mut b) = pair().await;
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0; 5000], b"RAFT\xff\xff\0\0\0\0", b"RAFT\x02\0abcdef"]
    {
        let mut stream = TcpStream::connect(b.address()).await.unwrap();
        stream.write_all(garbage).await.unwrap();
        assert!(is_closed(&mut stream).await);
    }
    assert_eq!(b.transport.stats().misbehaved, 4);
    still_serves(&a, &mut b).await;
}

#[tokio::test]
async fn t07_who_says_nothing_is_turned_away() {
    let mut options = Options::default();
    options.handshake_timeout = Duration::from_millis(50);
    let b = Node::start(identity(2), options).await;
    let mut silent = TcpStream::connect(b.address()).await.unwrap();
    assert!(is_closed(&mut silent).await);
    let mut slow = TcpStream::connect(b.address()).await.unwrap();
    slow.write_all(b"RA").await.unwrap();
    assert!(is_closed(&mut slow).await);
    assert_eq!(b.transport.stats().turned_away, 2);
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

/// A relay that shakes hands for real and then changes what passes.
async fn relay_that(to: std::net::SocketAddr, spoil: fn(&mut Vec<u8>)) -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut from, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut onward = TcpStream::connect(to).await.unwrap();
                let (mut from_read, mut from_write) = from.split();
                let (mut to_read, mut to_write) = onward.split();
                let back = tokio::io::copy(&mut to_read, &mut from_write);
                let forth = async {
                    let mut buffer = vec![0; 1 << 16];
                    let mut after_handshake = false;
                    loop {
                        let Ok(count @ 1..) = from_read.read(&mut buffer).await else { return };
                        let mut bytes = buffer[..count].to_vec();
                        if after_handshake && !bytes.starts_with(b"RAFT") {
                            spoil(&mut bytes);
                        }
                        after_handshake = true;
                        if to_write.write_all(&bytes).await.is_err() {
                            return;
                        }
                    }
                };
                tokio::select! { _ = back => {}, () = forth => {} }
            });
        }
    });
    address
}

async fn spoiled(spoil: fn(&mut Vec<u8>)) {
    let mut a = Node::start(identity(1), Options::default()).await;
    let mut b = Node::start(identity(2), Options::default()).await;
    let address = relay_that(b.address(), spoil).await;
    a.transport.members(&[raft_core::membership::Member::new(b.id, address.to_string())]);
    a.up(2).await;
    a.transport.send(&b.member(), Lane::Control, heartbeat(1, 2, 5));
    // The spoiled connection is closed, and a new one made.
    a.up(2).await;
    assert_eq!(b.transport.stats().misbehaved, 1);
    assert_eq!(b.delivered(), [], "nothing spoiled was delivered");
}

#[tokio::test]
async fn t07_a_flipped_bit_closes_the_connection() {
    spoiled(|bytes| *bytes.last_mut().unwrap() ^= 1).await;
}

#[tokio::test]
async fn t07_a_length_of_two_gibibytes_closes_the_connection() {
    spoiled(|bytes| bytes[..4].copy_from_slice(&0x7fff_ffff_u32.to_le_bytes())).await;
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

/// A peer that completes every handshake and hangs up: the dialler must not spin.
#[tokio::test]
async fn t04_a_peer_that_hangs_up_at_once_is_dialled_with_growing_waits() {
    let relay = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = relay.local_addr().unwrap();
    let b = Node::start(identity(2), Options::default()).await;
    let to = b.address();
    let (dialled, mut dials) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut from, _)) = relay.accept().await {
            dialled.send(tokio::time::Instant::now()).unwrap();
            let mut onward = TcpStream::connect(to).await.unwrap();
            let mut buffer = [0; 4096];
            // Hello, Welcome, Ready; then the end.
            let count = from.read(&mut buffer).await.unwrap();
            onward.write_all(&buffer[..count]).await.unwrap();
            let count = onward.read(&mut buffer).await.unwrap();
            from.write_all(&buffer[..count]).await.unwrap();
            let _ = from.read(&mut buffer).await;
        }
    });
    let mut options = Options::default();
    options.reconnect = (Duration::from_millis(20), Duration::from_millis(400));
    let a = Node::start(identity(1), options).await;
    a.transport.members(&[raft_core::membership::Member::new(b.id, address.to_string())]);
    let mut times = Vec::new();
    for _ in 0..16 {
        times.push(dials.recv().await.unwrap());
    }
    // Two lanes, at most four attempts at once each; then waits of 10 ms and more, doubling.
    let waited = times[15].duration_since(times[0]);
    assert!(waited >= Duration::from_millis(10 + 20 + 40), "{waited:?}");
}
