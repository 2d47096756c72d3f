//! The gRPC service: what the listener shows, and what can be added to a server of your own.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll};
use std::time::Duration;

use raft_core::backend::Refusal;
use raft_core::ids::{ClusterId, GroupId, NodeId};
use raft_core::message::Lane;
use raft_core::peering::count;
use tokio::sync::{Semaphore, mpsc};
use tonic::body::Body;
use tonic::codegen::tokio_stream::Stream;
use tonic::codegen::{BoxFuture, Bytes, Service, StdError, http};
use tonic::server::NamedService;
use tonic::{Request, Response, Status, Streaming};

use crate::group::Group;
use crate::handshake;
use crate::proto::Frame;
use crate::proto::frame::Kind;
use crate::proto::raft_server::{Raft, RaftServer};
use crate::security::Proof;
use crate::serve::{self, Visitor};
use crate::transport::{GrpcTransport, Options, SLACK_BYTES, Shared};

/// Who is at the other end of a connection, as proven by something stronger than its word, such as its
/// certificate. A layer of your own server puts it into the extensions of a request; the handshake must then
/// name the same node.
///
/// It names no cluster, so whoever puts it in must have checked that too: one CA may sign for two clusters, and both have
/// a node 1. (`PeerCertificates` of the feature `tls` do so by themselves.) Without it everybody is admitted, but by
/// [`RaftService::authenticated_only`].
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
pub(crate) struct CameFrom(pub(crate) Option<SocketAddr>);

/// In a request whose stream is not served unless something has proven who is at its other end.
#[derive(Clone, Copy, Debug)]
struct ProofDemanded;

/// What runs now, if anything does.
pub(crate) type Host = Arc<RwLock<Option<Arc<Shared>>>>;

/// The service `raft.v1.Raft` of a transport, to be added to a `tonic::transport::Server`, to `Routes` or to an axum
/// router of your own, next to your services.
///
/// It answers while the transport runs. Limits of connections are then those of your server; set its HTTP/2
/// keep-alive, so that dead peers are noticed. [`of_groups`](Self::of_groups) has several transports behind one.
#[derive(Clone, Debug)]
pub struct RaftService {
    server: RaftServer<Handler>,
    proof_demanded: bool,
}

impl RaftService {
    pub(crate) fn new(host: Host, options: &Options) -> Self {
        Self::over(Hosts::One(host), options.frame_limit_bytes)
    }

    fn over(hosts: Hosts, limit_bytes: u64) -> Self {
        let limit = usize::try_from(limit_bytes).unwrap_or(usize::MAX).saturating_add(SLACK_BYTES);
        let server = RaftServer::new(Handler(hosts)).max_decoding_message_size(limit);
        Self { server, proof_demanded: false }
    }

    /// The same for peers only that have proven who they are ([`Authenticated`], or with the feature `tls` the certificates
    /// themselves, `PeerCertificates`): any other stream ends at once as
    /// `UNAUTHENTICATED`, counted and logged once by the first of the transports that runs. For every server that has
    /// TLS around it: a layer that is forgotten, or does not see some path, then lets nobody in instead of everybody.
    #[must_use]
    pub fn authenticated_only(mut self) -> Self {
        self.proof_demanded = true;
        self
    }

    /// One service for several transports, each of a node of another group: whoever dials says in its first frame
    /// which group it means, and is handed to the transport that runs for it. So the nodes of many groups have one
    /// address. Meant for [`GrpcTransport::without_listener`](crate::GrpcTransport::without_listener).
    ///
    /// All wait for a first frame no longer than the first transport's `handshake_timeout`, and as many streams may
    /// do so at once as all of them allow; a stream counts for its own transport only from then on. Frames may be as
    /// long as the most generous allows.
    #[must_use]
    pub fn of_groups<'a>(transports: impl IntoIterator<Item = &'a GrpcTransport>) -> Self {
        let transports: Vec<_> = transports.into_iter().map(GrpcTransport::host).collect();
        let limit = transports.iter().map(|(_, options)| options.frame_limit_bytes).max().unwrap_or_default();
        let patience = transports.first().map(|(_, options)| options.handshake_timeout).unwrap_or_default();
        let most = transports.iter().map(|(_, options)| options.connections);
        let most = most.fold(0, usize::saturating_add).min(Semaphore::MAX_PERMITS);
        let groups = Groups {
            hosts: transports.into_iter().map(|(host, _)| host).collect(),
            patience,
            waiting: Semaphore::new(most),
        };
        Self::over(Hosts::Groups(groups), limit)
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
        let mut request = request.map(ShortGreeting::new);
        if self.proof_demanded {
            request.extensions_mut().insert(ProofDemanded);
        }
        self.server.call(request)
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
pub(crate) struct Handler(Hosts);

/// Behind one service.
#[derive(Debug)]
enum Hosts {
    One(Host),
    Groups(Groups),
}

/// Transports of several groups.
#[derive(Debug)]
struct Groups {
    hosts: Vec<Host>,
    /// How long a first frame may take.
    patience: Duration,
    /// Streams whose group is not known yet.
    waiting: Semaphore,
}

/// What is known of the other end, the best of it first: what our own listener knows, certificates, somebody's word.
fn proof(extensions: &http::Extensions) -> Option<Arc<dyn Proof>> {
    let layer = || extensions.get::<Authenticated>().map(|proof| Arc::new(*proof) as Arc<dyn Proof>);
    #[cfg(feature = "tls")]
    let layer = || {
        let shown = extensions.get::<crate::PeerCertificates>();
        shown.map(|shown| Arc::new(shown.clone()) as Arc<dyn Proof>).or_else(layer)
    };
    extensions.get::<Proven>().map(|Proven(proof)| Arc::clone(proof)).or_else(layer)
}

fn running(host: &Host) -> Option<Arc<Shared>> {
    host.read().unwrap_or_else(PoisonError::into_inner).clone()
}

impl Hosts {
    /// The first that runs: it counts and logs what cannot be told to be for any of them.
    fn any(&self) -> Option<Arc<Shared>> {
        match self {
            Self::One(host) => running(host),
            Self::Groups(groups) => groups.any(),
        }
    }
}

impl Groups {
    fn any(&self) -> Option<Arc<Shared>> {
        self.hosts.iter().find_map(running)
    }

    /// A stream that is not served, though its group is not known.
    fn turn_away(&self, from: Option<SocketAddr>, why: &str) {
        if let Some(shared) = self.any() {
            shared.turn_away(from, why);
        }
    }

    /// The first frame, and whom it is for: the transport of its group. Where all run and none is of that group, or
    /// it names none, one of them says so. `None` if one that does not run yet may be meant.
    async fn find(
        &self,
        frames: &mut Streaming<Frame>,
        from: Option<SocketAddr>,
    ) -> Result<(Option<Frame>, Option<Arc<Shared>>), Status> {
        let Ok(_waiting) = self.waiting.try_acquire() else {
            self.turn_away(from, serve::TOO_MANY);
            return Err(Status::resource_exhausted(serve::TOO_MANY));
        };
        let first = match tokio::time::timeout(self.patience, frames.message()).await {
            Ok(Ok(first)) => first,
            Ok(Err(status)) => {
                if let (Some(error), Some(shared)) = (serve::misbehaviour(&status), self.any()) {
                    count(&shared.counters.misbehaved);
                    shared.log_stranger(&serve::host(from), &error);
                }
                return Err(status);
            }
            Err(_) => {
                self.turn_away(from, serve::LATE);
                return Err(Status::deadline_exceeded(serve::LATE));
            }
        };
        let group = match first.as_ref().and_then(|frame| frame.kind.as_ref()) {
            Some(Kind::Hello(hello)) => hello.identity.as_ref().map(|identity| GroupId(identity.group)),
            _ => None,
        };
        let all: Vec<_> = self.hosts.iter().map(running).collect();
        let of = |shared: &&Arc<Shared>| Some(shared.local.group) == group;
        let meant = all.iter().flatten().find(of).cloned();
        let some = || all.iter().flatten().next().cloned();
        let all_run = all.iter().all(Option::is_some);
        Ok((first, meant.or_else(|| if all_run || group.is_none() { some() } else { None })))
    }
}

/// What the listener says: the end of a channel. With it the streams of a refused dialler stay as long as
/// the refusal is on its way.
type Replies = Pin<Box<dyn Stream<Item = Result<Frame, Status>> + Send>>;

impl Handler {
    async fn talk(
        &self,
        request: Request<Streaming<Frame>>,
        lane: Lane,
    ) -> Result<Response<Replies>, Status> {
        let (replies, stream) = mpsc::channel(serve::REPLIES);
        let extensions = request.extensions();
        let proof = proof(extensions);
        let group = extensions.get::<Over>().map(|Over(group)| Arc::clone(group));
        let from = extensions.get::<CameFrom>().map_or_else(|| request.remote_addr(), |CameFrom(from)| *from);
        if proof.is_none() && extensions.get::<ProofDemanded>().is_some() {
            // Before it takes the place of anybody.
            let why = "it has not proven which node it is";
            if let Some(shared) = self.0.any() {
                count(&shared.counters.refused);
                shared.log_stranger(&serve::host(from), &why);
            }
            return Err(Status::unauthenticated(why));
        }
        let mut frames = request.into_inner();
        let (first, running) = match &self.0 {
            Hosts::One(host) => (None, running(host)),
            Hosts::Groups(groups) => groups.find(&mut frames, from).await?,
        };
        match running {
            Some(shared) => {
                let Ok(permit) = Arc::clone(&shared.streams).try_acquire_owned() else {
                    shared.turn_away(from, serve::TOO_MANY);
                    return Err(Status::resource_exhausted(serve::TOO_MANY));
                };
                let visitor = Visitor { first, frames, replies, proof, group, lane, from };
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
        self.talk(request, Lane::Control).await
    }

    async fn bulk(&self, request: Request<Streaming<Frame>>) -> Result<Response<Replies>, Status> {
        self.talk(request, Lane::Bulk).await
    }
}
