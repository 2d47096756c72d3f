//! A transport that dials, and whatever answers it, for the fuzz target `grpc-dialled`.
//!
//! An input is flags and bytes:
//!
//! | flag | meaning |
//! | --- | --- |
//! | 4 | the bytes are what the connection carries, without a word of HTTP/2 before them |
//! | 8 | the content of frames gets good checksums |
//! | 16 | the bytes are frames with a byte of length before each; otherwise the body of the answer as it is |
//! | 32 | the answer has a status of gRPC before its body: the first byte |

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use raft_core::backend::{Sent, Transport};
use raft_core::ids::{GroupId, Index, NodeId, Term};
use raft_core::membership::Member;
use raft_core::message::{Envelope, Heartbeat, Lane, Message};
use raft_net_grpc::{GrpcTransport, Options};
use raft_testkit::memory::{Arrival, TestInbox};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tonic::codegen::http::{Request, Response};

use crate::handshake::{self, Said};
use crate::listener::{PATIENCE, Sending, content};
use crate::{codec, identity};

/// A transport that dials node 1, which is whoever answers, and node 3, on the thread that calls it.
pub(crate) struct Dialler {
    runtime: tokio::runtime::Runtime,
    transport: GrpcTransport,
    inbox: TestInbox,
    /// Another peer, and what it hears.
    other: GrpcTransport,
    hears: TestInbox,
    /// What had arrived, and who was asked about, before this input.
    seen: (usize, usize),
    pub(crate) inputs: u64,
}

impl Dialler {
    pub(crate) fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut options = Options::default();
        options.reconnect = (Duration::from_millis(1), Duration::from_millis(5));
        options.handshake_timeout = PATIENCE;
        let transport = GrpcTransport::new("127.0.0.1:0".parse().unwrap(), options);
        let other = GrpcTransport::new("127.0.0.1:0".parse().unwrap(), Options::default());
        let (inbox, hears) = (TestInbox::new(), TestInbox::new());
        runtime.block_on(async {
            other.start(identity(3), hears.inbox()).await.unwrap();
            transport.start(identity(2), inbox.inbox()).await.unwrap();
        });
        Self { runtime, transport, inbox, other, hears, seen: (0, 0), inputs: 0 }
    }

    pub(crate) fn take(&mut self, input: &[u8]) {
        self.inputs += 1;
        let (flags, bytes) = input.split_first().map_or((0, input), |(flags, bytes)| (*flags, bytes));
        let Self { runtime, transport, inbox, other, hears, inputs, .. } = self;
        let dialled = transport.stats().dialled;
        let body = Bytes::from(content(flags, bytes));
        let third = Member::new(NodeId(3), other.local_addr().unwrap().to_string());
        runtime.block_on(async {
            // A new place each time: whoever waits to dial again because of a refusal waits no longer.
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            transport.members(&[Member::new(NodeId(1), address.to_string()), third.clone()]);
            let both = async {
                // One for each lane; or, where one is dialled again before the other, two for that.
                let one = || answer(&listener, flags, bytes, &body);
                tokio::join!(one(), one());
            };
            tokio::time::timeout(PATIENCE, both).await.expect("it does not dial, or does not close");
            drop(listener);
            let heartbeat = heartbeat(*inputs);
            let own = |all: &[Arrival]| all.contains(&Arrival::Message(heartbeat.clone())).then_some(());
            let heard = async {
                while !matches!(transport.send(&third, Lane::Control, heartbeat.clone()), Sent::Queued) {
                    tokio::task::yield_now().await;
                }
                hears.until(own).await;
            };
            tokio::time::timeout(PATIENCE, heard).await.expect("it reaches nobody else");
        });
        let (arrivals, asked) = (inbox.arrivals(), inbox.asked());
        let of_first = |arrival: &&Arrival| !matches!(arrival, Arrival::Peer(NodeId(3), _));
        for arrival in arrivals[self.seen.0..].iter().filter(of_first) {
            // Nobody speaks to it but in answer.
            assert!(!matches!(arrival, Arrival::Message(_)), "{arrival:?}");
        }
        let first: Vec<_> = asked[self.seen.1..].iter().filter(|who| **who != identity(3)).collect();
        for who in &first {
            let local = identity(2);
            assert_eq!((who.cluster, who.group, who.node), (local.cluster, local.group, NodeId(1)));
        }
        if flags & (4 | 32) == 0 {
            let taken = self.transport.stats().dialled - dialled;
            assert_eq!(is_welcome(&body), !first.is_empty(), "{first:?}");
            assert!(taken <= first.len() as u64 + 2, "{taken} lanes are up, {first:?}");
        }
        self.seen = (arrivals.len(), asked.len());
    }
}

/// Whether the first frame of a body lets the dialler in, by the decoders alone.
fn is_welcome(body: &[u8]) -> bool {
    let Some((&[0, length @ ..], rest)) = body.split_first_chunk::<5>() else { return false };
    let length = u32::from_be_bytes(length) as usize;
    let Some(frame) = rest.get(..length) else { return false };
    match codec::frame(frame).and_then(handshake::read) {
        Ok(Said::Welcome { version, identity: who }) => {
            let versions = handshake::WIRE_VERSIONS;
            handshake::check_welcome(versions, identity(2), NodeId(1), version, who).is_ok()
        }
        _ => false,
    }
}

/// A message to node 3 that is like no other.
fn heartbeat(round: u64) -> Envelope {
    let message = Message::Heartbeat(Heartbeat { commit: Index(1), round });
    Envelope { group: GroupId(0), from: NodeId(2), to: NodeId(3), term: Term(7), message }
}

/// Takes one connection, answers whatever is asked, and waits until the other side closes.
async fn answer(listener: &TcpListener, flags: u8, bytes: &[u8], body: &Bytes) {
    let (stream, _): (TcpStream, SocketAddr) = listener.accept().await.unwrap();
    // No port is kept waiting: there are fewer than inputs.
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    if flags & 4 != 0 {
        bare(stream, bytes).await;
        return;
    }
    let status = (flags & 32 != 0).then(|| bytes.first().copied().unwrap_or(0));
    let service = service_fn(|request: Request<Incoming>| {
        let body = body.clone();
        async move {
            // It says hello, and may go on: all of it is taken.
            tokio::spawn(async move {
                let mut said = request.into_body();
                while let Some(Ok(_)) =
                    poll_fn(|context| http_body::Body::poll_frame(Pin::new(&mut said), context)).await
                {
                }
            });
            let (sender, sending) = mpsc::unbounded_channel();
            let _ = sender.send(body);
            let mut answer = Response::builder().header("content-type", "application/grpc");
            if let Some(status) = status {
                answer = answer.header("grpc-status", status.to_string());
            }
            Ok::<_, Infallible>(answer.body(Sending(sending)).unwrap())
        }
    });
    // How it ends is up to both.
    let _ = http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
}

/// Sends bytes over a bare connection.
async fn bare(mut stream: TcpStream, bytes: &[u8]) {
    if stream.write_all(bytes).await.is_ok() && stream.shutdown().await.is_ok() {
        let mut buffer = [0; 1024];
        while let Ok(1..) = stream.read(&mut buffer).await {}
    }
}
