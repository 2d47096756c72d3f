//! A peer that says what it is told to: the generated messages, or any bytes, over a plain channel. Its checksums
//! follow docs/grpc-wire-format.md, not the crate's code.

use std::net::SocketAddr;

use bytes::{Buf, BufMut, Bytes};
use prost::Message as _;
use raft_core::ids::Identity;
use raft_net_grpc::proto::{self, Frame, frame, message};
use tokio::sync::mpsc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::codegen::tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};

/// Sends bytes as they are, and reads frames.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Frame;
    type Encoder = Self;
    type Decoder = Self;
    fn encoder(&mut self) -> Self {
        *self
    }
    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;
    fn encode(&mut self, bytes: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put_slice(&bytes);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Frame;
    type Error = Status;
    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Frame>, Status> {
        let bytes = buffer.copy_to_bytes(buffer.remaining());
        Frame::decode(bytes).map(Some).map_err(|error| Status::internal(error.to_string()))
    }
}

/// A stream to a listener.
pub(crate) struct Talk {
    frames: mpsc::Sender<Bytes>,
    replies: Streaming<Frame>,
}

pub(crate) async fn connect(address: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
}

impl Talk {
    /// Opens a stream of the lane (`Control` or `Bulk`) and says one thing on it.
    pub(crate) async fn open(channel: Channel, lane: &'static str, first: Bytes) -> Result<Self, Status> {
        let (frames, stream) = mpsc::channel(16);
        frames.send(first).await.unwrap();
        let mut client = tonic::client::Grpc::new(channel);
        client.ready().await.unwrap();
        let path = PathAndQuery::from_static(match lane {
            "Control" => "/raft.v1.Raft/Control",
            _ => "/raft.v1.Raft/Bulk",
        });
        let request = tonic::Request::new(ReceiverStream::new(stream));
        let replies = client.streaming(request, path, Raw).await?.into_inner();
        Ok(Self { frames, replies })
    }

    /// Opens a stream and says nothing, for as long as the listener does not either.
    pub(crate) async fn silent(channel: Channel) -> Result<(), Status> {
        let (_held, stream) = mpsc::channel::<Bytes>(1);
        let mut client = tonic::client::Grpc::new(channel);
        client.ready().await.unwrap();
        let path = PathAndQuery::from_static("/raft.v1.Raft/Control");
        let request = tonic::Request::new(ReceiverStream::new(stream));
        client.streaming(request, path, Raw).await.map(drop)
    }

    /// Opens a stream, shakes hands as this node with that one, and is welcome.
    pub(crate) async fn greet(channel: Channel, lane: &'static str, identity: Identity, to: u64) -> Self {
        let mut talk = Self::open(channel, lane, hello(&identity, to, (1, 1))).await.unwrap();
        match talk.reply().await.unwrap().unwrap().kind {
            Some(frame::Kind::Welcome(welcome)) => assert_eq!(welcome.version, 1),
            other => panic!("{other:?}"),
        }
        talk.say(ready()).await;
        talk
    }

    pub(crate) async fn say(&self, bytes: Bytes) {
        // It may have ended meanwhile.
        let _ = self.frames.send(bytes).await;
    }

    /// What comes next; the deadline only ends a test that hangs.
    pub(crate) async fn reply(&mut self) -> Result<Option<Frame>, Status> {
        let patience = std::time::Duration::from_secs(20);
        tokio::time::timeout(patience, self.replies.message()).await.expect("nothing came")
    }

    /// How the stream ends, without another word.
    pub(crate) async fn end(mut self) -> Result<(), Status> {
        match self.reply().await {
            Ok(None) => Ok(()),
            Ok(Some(frame)) => panic!("{frame:?}"),
            Err(status) => Err(status),
        }
    }

    /// Why this side is refused.
    pub(crate) async fn refusal(mut self) -> proto::refused::Why {
        match self.reply().await.unwrap().unwrap().kind {
            Some(frame::Kind::Refused(refused)) => {
                let why = refused.why.unwrap();
                assert!(matches!(self.reply().await, Ok(None) | Err(_)), "nothing after a refusal");
                why
            }
            other => panic!("{other:?}"),
        }
    }
}

fn sum(values: &[&[u8]]) -> u32 {
    values.iter().fold(0, |sum, bytes| crc32c::crc32c_append(sum, bytes))
}

fn numbers(numbers: &[u64]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

fn bytes(kind: frame::Kind, checksum: u32) -> Bytes {
    Frame { kind: Some(kind), checksum }.encode_to_vec().into()
}

pub(crate) fn hello(who: &Identity, to: u64, (lowest, highest): (u32, u32)) -> Bytes {
    let identity = proto::Identity {
        cluster: who.cluster.0.to_be_bytes().to_vec().into(),
        group: who.group.0,
        node: who.node.0,
        store: who.store.0.to_be_bytes().to_vec().into(),
        incarnation: who.incarnation.number,
        nonce: who.incarnation.nonce,
    };
    let checksum = sum(&[
        &numbers(&[1, lowest.into(), highest.into()]),
        &who.cluster.0.to_le_bytes(),
        &numbers(&[who.group.0, who.node.0]),
        &who.store.0.to_le_bytes(),
        &numbers(&[who.incarnation.number, who.incarnation.nonce, to]),
    ]);
    let versions = Some(proto::VersionRange { lowest, highest });
    bytes(
        frame::Kind::Hello(proto::Hello {
            versions,
            identity: Some(identity),
            to,
            ..proto::Hello::default()
        }),
        checksum,
    )
}

pub(crate) fn ready() -> Bytes {
    bytes(frame::Kind::Ready(proto::Ready {}), 0)
}

/// What `support::heartbeat` is on the wire.
pub(crate) fn heartbeat(from: u64, to: u64, round: u64) -> Bytes {
    let beat = proto::Heartbeat { commit: 0, round };
    let kind = Some(message::Kind::Heartbeat(beat));
    let message = proto::Message { group: 0, from, to, term: 1, kind };
    let checksum = sum(&[&numbers(&[5, 0, from, to, 1, 7, 0, round])]);
    bytes(frame::Kind::Message(message), checksum)
}

/// An append of so many empty no-ops.
pub(crate) fn noops(from: u64, to: u64, count: usize) -> Bytes {
    let entries = vec![proto::Entry::default(); count];
    let append = proto::Append { prev: None, commit: 0, entries };
    let kind = Some(message::Kind::Append(append));
    let message = proto::Message { group: 0, from, to, term: 1, kind };
    let mut values = numbers(&[5, 0, from, to, 1, 9, 0, 0, 0, count as u64]);
    values.extend(numbers(&vec![0; count * 3]));
    bytes(frame::Kind::Message(message), sum(&[&values]))
}
