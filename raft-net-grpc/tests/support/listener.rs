//! A transport that listens, and whatever is sent to it, for the fuzz target `grpc-peer`.
//!
//! An input is flags and bytes:
//!
//! | flag | meaning |
//! | --- | --- |
//! | 1 | a stream begins with a good handshake |
//! | 2 | it is of the bulk lane |
//! | 4 | the bytes are what the connection carries, without a word of HTTP/2 before them |
//! | 8 | the content of frames gets good checksums |
//! | 16 | the bytes are frames with a byte of length before each; otherwise the body of the call as it is |

use std::net::{Shutdown, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use raft_core::backend::Transport;
use raft_core::ids::{GroupId, Identity, Index, NodeId, Term};
use raft_core::message::{Envelope, Heartbeat, Lane, Message};
use raft_net_grpc::{GrpcTransport, Options};
use raft_testkit::memory::{Arrival, TestInbox};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tonic::codegen::http;

use crate::proto::Frame;
use crate::{codec, convert, handshake, identity, seal};

/// What a frame may have, in bytes.
const LIMIT: u64 = 1 << 16;

/// The deadline of what must happen soon: it only ends a run that hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What a call sends, as it comes.
pub(crate) struct Sending(pub(crate) mpsc::UnboundedReceiver<Bytes>);

impl http_body::Body for Sending {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(context).map(|bytes| bytes.map(|bytes| Ok(http_body::Frame::data(bytes))))
    }
}

/// A transport that listens, on the thread that calls it.
pub(crate) struct Listener {
    runtime: tokio::runtime::Runtime,
    transport: GrpcTransport,
    inbox: TestInbox,
    /// Another peer, who was there before.
    other: mpsc::UnboundedSender<Bytes>,
    /// How many messages have arrived.
    arrived: usize,
    pub(crate) inputs: u64,
}

impl Listener {
    pub(crate) fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let inbox = TestInbox::new();
        let mut options = Options::default();
        options.frame_limit_bytes = LIMIT;
        let transport = GrpcTransport::new("127.0.0.1:0".parse().unwrap(), options);
        let (other, sending) = mpsc::unbounded_channel();
        other.send(greeting(identity(3))).unwrap();
        runtime.block_on(async {
            transport.start(identity(2), inbox.inbox()).await.unwrap();
            let stream = TcpStream::connect(transport.local_addr().unwrap()).await.unwrap();
            tokio::spawn(call(stream, Lane::Control, sending));
        });
        Self { runtime, transport, inbox, other, arrived: 0, inputs: 0 }
    }

    pub(crate) fn take(&mut self, input: &[u8]) {
        self.inputs += 1;
        let (flags, bytes) = input.split_first().map_or((0, input), |(flags, bytes)| (*flags, bytes));
        let lane = if flags & 2 == 0 { Lane::Control } else { Lane::Bulk };
        let greets = flags & 5 == 1;
        let round = self.inputs;
        let Self { runtime, transport, inbox, other, .. } = self;
        let arrived = runtime.block_on(async {
            let address = transport.local_addr().unwrap();
            if flags & 4 == 0 {
                let mut body = if greets { greeting(identity(1)).to_vec() } else { Vec::new() };
                body.extend(content(flags, bytes));
                ends(address, lane, body.into()).await;
            } else {
                closes(address, bytes).await;
            }
            let heartbeat = heartbeat(round);
            other.send(framed(&convert::to_frame(heartbeat.clone()).unwrap())).unwrap();
            let own = |all: &[Arrival]| all.contains(&Arrival::Message(heartbeat.clone())).then_some(());
            tokio::time::timeout(PATIENCE, inbox.until(own)).await.expect("it hears nobody else");
            inbox.messages()
        });
        for envelope in &arrived[self.arrived..] {
            let from_other = *envelope == heartbeat(round);
            let own = greets && envelope.from == NodeId(1) && envelope.lane() == lane;
            let for_us = envelope.to == NodeId(2) && envelope.group == GroupId(0);
            assert!(from_other || own && for_us, "{envelope:?}");
        }
        self.arrived = arrived.len();
    }
}

/// What a call says behind its greeting.
pub(crate) fn content(flags: u8, mut bytes: &[u8]) -> Vec<u8> {
    if flags & 16 == 0 {
        return bytes.to_vec();
    }
    let mut out = Vec::new();
    while let Some((length, rest)) = bytes.split_first() {
        let (mut frame, rest) = rest.split_at(usize::from(*length).min(rest.len()));
        bytes = rest;
        let mut sealed = None;
        if flags & 8 != 0
            && let Ok(mut frame) = codec::frame(frame)
        {
            seal(&mut frame);
            sealed = Some(frame.encode_to_vec());
        }
        frame = sealed.as_deref().unwrap_or(frame);
        out.extend(prefixed(frame));
    }
    out
}

/// A frame as gRPC carries it: not compressed, its length, itself.
fn prefixed(frame: &[u8]) -> Vec<u8> {
    [&[0], &(frame.len() as u32).to_be_bytes()[..], frame].concat()
}

fn framed(frame: &Frame) -> Bytes {
    prefixed(&frame.encode_to_vec()).into()
}

/// Both frames of a dialler. It does not wait for the answer between them.
fn greeting(identity: Identity) -> Bytes {
    let hello = handshake::hello((1, 1), identity, NodeId(2), "");
    [framed(&hello), framed(&handshake::ready())].concat().into()
}

/// A message of node 3 that is like no other.
fn heartbeat(round: u64) -> Envelope {
    let message = Message::Heartbeat(Heartbeat { commit: Index(1), round });
    Envelope { group: GroupId(0), from: NodeId(3), to: NodeId(2), term: Term(7), message }
}

/// One call on a connection of its own, until the other side ends it.
async fn call(stream: TcpStream, lane: Lane, body: mpsc::UnboundedReceiver<Bytes>) {
    // No port is kept waiting: there are fewer than inputs.
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    let io = TokioIo::new(stream);
    let Ok((mut client, connection)) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await
    else {
        return;
    };
    let talk = async {
        let path = if lane == Lane::Control { "Control" } else { "Bulk" };
        let request = http::Request::post(format!("http://node/raft.v1.Raft/{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Sending(body))
            .unwrap();
        let Ok(response) = client.send_request(request).await else { return };
        let mut answer = response.into_body();
        while let Some(Ok(_)) =
            std::future::poll_fn(|context| http_body::Body::poll_frame(Pin::new(&mut answer), context)).await
        {
        }
    };
    tokio::select! {
        _ = connection => {}
        () = talk => {}
    }
}

/// Sends all of it in one call, and waits until the other side ends it.
async fn ends(address: SocketAddr, lane: Lane, body: Bytes) {
    let stream = TcpStream::connect(address).await.unwrap();
    let (sender, sending) = mpsc::unbounded_channel();
    sender.send(body).unwrap();
    drop(sender);
    tokio::time::timeout(PATIENCE, call(stream, lane, sending)).await.expect("it does not end the call");
}

/// Sends all of it over a bare connection, and waits until the other side closes.
async fn closes(address: SocketAddr, bytes: &[u8]) {
    let talk = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        if stream.write_all(bytes).await.is_ok() && stream.shutdown().await.is_ok() {
            let mut buffer = [0; 1024];
            while let Ok(1..) = stream.read(&mut buffer).await {}
        }
        let stream = stream.into_std().unwrap();
        let _ = stream.shutdown(Shutdown::Both);
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    };
    tokio::time::timeout(PATIENCE, talk).await.expect("it does not close");
}
