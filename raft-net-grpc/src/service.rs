//! The gRPC service: what the listener shows, and what can be added to a server of your own.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll};

use raft_core::backend::Refusal;
use raft_core::ids::{ClusterId, NodeId};
use raft_core::message::Lane;
use raft_core::peering::count;
use tokio::sync::mpsc;
use tonic::body::Body;
use tonic::codegen::tokio_stream::Stream;
use tonic::codegen::{BoxFuture, Bytes, Service, StdError, http};
use tonic::server::NamedService;
use tonic::{Request, Response, Status, Streaming};

use crate::group::Group;
use crate::handshake;
use crate::proto::Frame;
use crate::proto::raft_server::{Raft, RaftServer};
use crate::security::Proof;
use crate::serve::{self, Visitor};
use crate::transport::{Options, SLACK_BYTES, Shared};

/// Who is at the other end of a connection, as proven by something stronger than its word, such as its
/// certificate. A layer of your own server puts it into the extensions of a request; the handshake must then
/// name the same node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authenticated(pub NodeId);

impl Proof for Authenticated {
    fn check(&self, _: ClusterId, claimed: NodeId) -> Result<(), Refusal> {
        let Self(expected) = *self;
        if claimed == expected { Ok(()) } else { Err(Refusal::WrongNode { expected, claimed }) }
    }
}

/// What the connection of a request has proven, where it is ours.
#[derive(Clone, Debug)]
pub(crate) struct Proven(pub(crate) Arc<dyn Proof>);

/// The connection that a request came over, where it is ours.
#[derive(Clone, Debug)]
pub(crate) struct Over(pub(crate) Arc<Group>);

/// Where the connection of a request comes from, where it is ours.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CameFrom(pub(crate) Option<std::net::SocketAddr>);

/// What runs now, if anything does.
pub(crate) type Host = Arc<RwLock<Option<Arc<Shared>>>>;

/// The service `raft.v1.Raft` of a transport, to be added to a `tonic::transport::Server` or to `Routes` of
/// your own, next to your services.
///
/// It answers while the transport runs. Limits of connections are then those of your server; set its HTTP/2
/// keep-alive, so that dead peers are noticed.
#[derive(Clone, Debug)]
pub struct RaftService(RaftServer<Handler>);

impl RaftService {
    pub(crate) fn new(host: Host, options: &Options) -> Self {
        let limit = usize::try_from(options.frame_limit_bytes).unwrap_or(usize::MAX);
        let server = RaftServer::new(Handler(host));
        Self(server.max_decoding_message_size(limit.saturating_add(SLACK_BYTES)))
    }
}

impl NamedService for RaftService {
    const NAME: &'static str = crate::proto::raft_server::SERVICE_NAME;
}

impl<B> Service<http::Request<B>> for RaftService
where
    B: tonic::codegen::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        self.0.call(request.map(ShortGreeting::new))
    }
}

/// A body whose first message is short: before the handshake nobody may announce a large one, for which
/// tonic would make room.
#[derive(Debug)]
struct ShortGreeting<B> {
    body: B,
    /// The prefix of the first message, as far as it is there: a flag, and its length as u32.
    prefix: [u8; 5],
    there: usize,
}

impl<B> ShortGreeting<B> {
    const fn new(body: B) -> Self {
        Self { body, prefix: [0; 5], there: 0 }
    }

    /// Whether all is well so far.
    fn check(&mut self, bytes: &[u8]) -> bool {
        let missing = self.prefix.iter_mut().skip(self.there);
        let copied = missing.zip(bytes).map(|(to, from)| *to = *from).count();
        self.there += copied;
        let [_, length @ ..] = self.prefix;
        self.there < 5 || u32::from_be_bytes(length) as usize <= crate::dial::GREETING_BYTES
    }
}

impl<B> tonic::codegen::Body for ShortGreeting<B>
where
    B: tonic::codegen::Body<Data = Bytes> + Unpin,
    B::Error: Into<StdError>,
{
    type Data = Bytes;
    type Error = StdError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, StdError>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.body).poll_frame(context);
        polled.map(|frame| {
            frame.map(|frame| match frame {
                Ok(frame) => match frame.data_ref() {
                    Some(bytes) if this.there < 5 && !this.check(bytes) => {
                        Err(Status::invalid_argument("the greeting is too long").into())
                    }
                    _ => Ok(frame),
                },
                Err(error) => Err(error.into()),
            })
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}

/// The calls.
#[derive(Debug)]
pub(crate) struct Handler(Host);

/// What the listener says: the end of a channel. With it the streams of a refused dialler stay as long as
/// the refusal is on its way.
type Replies = Pin<Box<dyn Stream<Item = Result<Frame, Status>> + Send>>;

impl Handler {
    fn talk(&self, request: Request<Streaming<Frame>>, lane: Lane) -> Result<Response<Replies>, Status> {
        let (replies, stream) = mpsc::channel(serve::REPLIES);
        let running = self.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        match running {
            Some(shared) => {
                let Ok(permit) = Arc::clone(&shared.streams).try_acquire_owned() else {
                    count(&shared.counters.turned_away);
                    return Err(Status::resource_exhausted("too many streams"));
                };
                let extensions = request.extensions();
                let layer = extensions.get::<Authenticated>().map(|proof| Arc::new(*proof) as Arc<dyn Proof>);
                let proof = extensions.get::<Proven>().map(|Proven(proof)| Arc::clone(proof)).or(layer);
                let group = extensions.get::<Over>().map(|Over(group)| Arc::clone(group));
                let from = extensions
                    .get::<CameFrom>()
                    .map_or_else(|| request.remote_addr(), |CameFrom(from)| *from);
                let frames = request.into_inner();
                let visitor = Visitor { frames, replies, proof, group, lane, from };
                let tasks = Arc::clone(&shared.tasks);
                let task = async move {
                    serve::serve(visitor, &shared).await;
                    drop(permit);
                };
                if tasks.spawn(task).is_none() {
                    return Err(Status::unavailable("it is stopping"));
                }
            }
            None => {
                // There is room for one.
                let _ = replies.try_send(Ok(handshake::refused(&Refusal::NotReady)));
            }
        }
        let stream = tonic::codegen::tokio_stream::wrappers::ReceiverStream::new(stream);
        Ok(Response::new(Box::pin(stream)))
    }
}

#[tonic::async_trait]
impl Raft for Handler {
    type ControlStream = Replies;
    type BulkStream = Replies;

    async fn control(&self, request: Request<Streaming<Frame>>) -> Result<Response<Replies>, Status> {
        self.talk(request, Lane::Control)
    }

    async fn bulk(&self, request: Request<Streaming<Frame>>) -> Result<Response<Replies>, Status> {
        self.talk(request, Lane::Bulk)
    }
}
