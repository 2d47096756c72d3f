//! The place where TLS goes: a security that proves a node by a byte, between TCP and HTTP/2.

mod support;

use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use raft_core::backend::{Refusal, Transport};
use raft_core::ids::{ClusterId, NodeId};
use raft_core::message::Lane;
use raft_net_grpc::{Authenticated, GrpcTransport, Options, Secured, Security};
use support::raw;
use support::{Node, Seen, any_port, heartbeat, identity};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Each side shows a badge: who wears none, or not the right one, is refused.
#[derive(Debug)]
struct Badge(u8);

impl Badge {
    async fn swap(&self, mut stream: TcpStream) -> io::Result<Secured> {
        stream.write_all(&[b'#', self.0]).await?;
        let mut theirs = [0; 2];
        stream.read_exact(&mut theirs).await?;
        match theirs {
            [b'#', node] => {
                let proof = Arc::new(Authenticated(NodeId(node.into())));
                Ok(Secured { stream: Box::new(stream), proof: Some(proof) })
            }
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "no badge")),
        }
    }
}

#[async_trait]
impl Security for Badge {
    async fn accept(&self, stream: TcpStream) -> io::Result<Secured> {
        self.swap(stream).await
    }
    async fn connect(&self, stream: TcpStream, _: ClusterId, _: NodeId) -> io::Result<Secured> {
        self.swap(stream).await
    }
}

async fn start(node: u64, badge: u8) -> Node {
    let transport = GrpcTransport::new(any_port(), Options::default()).with_security(Arc::new(Badge(badge)));
    Node::start_this(transport, identity(node)).await
}

#[tokio::test]
async fn secured_nodes_talk() {
    let (mut a, mut b) = (start(1, 1).await, start(2, 2).await);
    a.transport.members(&[b.member()]);
    b.transport.members(&[a.member()]);
    a.up(2).await;
    b.up(1).await;
    a.transport.send(&b.member(), Lane::Control, heartbeat(1, 2, 4));
    assert_eq!(b.message().await, heartbeat(1, 2, 4));
    assert_eq!(a.transport.stats().refused + b.transport.stats().refused, 0);
}

#[tokio::test]
async fn t06_a_dialler_that_is_not_who_it_proves_to_be_is_refused() {
    let (mut a, b) = (start(1, 7).await, start(2, 2).await);
    a.transport.members(&[b.member()]);
    let why = Refusal::WrongNode { expected: NodeId(7), claimed: NodeId(1) };
    assert_eq!(a.next().await, Seen::Refused(NodeId(2), why));
    assert!(b.transport.stats().refused > 0);
}

#[tokio::test]
async fn t06_a_listener_that_is_not_who_it_proves_to_be_is_refused() {
    let (a, mut b) = (start(1, 1).await, start(2, 7).await);
    a.transport.members(&[b.member()]);
    while a.transport.stats().refused == 0 {
        tokio::task::yield_now().await;
    }
    assert!(b.seen.try_recv().is_err());
    assert_eq!(a.transport.stats().dialled, 0);
}

#[tokio::test]
async fn t06_a_plain_peer_is_refused_and_others_do_not_notice() {
    let (mut a, mut b) = (start(1, 1).await, start(2, 2).await);
    let plain = Node::start(identity(3), Options::default()).await;
    a.transport.members(&[b.member()]);
    a.up(2).await;
    plain.transport.members(&[b.member()]);
    while b.transport.stats().refused == 0 {
        tokio::task::yield_now().await;
    }
    // One that knows HTTP/2 only is no better.
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{}", b.address())).unwrap();
    let hello = raw::hello(&identity(3), 2, (1, 1));
    let refused = raw::Talk::open(channel.connect_lazy(), "Control", hello);
    assert!(tokio::time::timeout(std::time::Duration::from_secs(20), refused).await.unwrap().is_err());
    a.transport.send(&b.member(), Lane::Control, heartbeat(1, 2, 4));
    assert_eq!(b.message().await, heartbeat(1, 2, 4));
    assert_eq!(plain.transport.stats().dialled, 0);
}
