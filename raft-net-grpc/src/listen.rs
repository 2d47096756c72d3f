//! Accepting connections, and what is served on them: the transport, health and reflection.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use raft_core::peering::count;
use tokio::net::{TcpListener, TcpStream};
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::NamedService;
use tonic::{Code, Status};
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};

use crate::group::{Executor, Group, Guard};
use crate::proto::FILE_DESCRIPTOR_SET;
use crate::security::is_refusal;
use crate::service::{CameFrom, Over, Proven, RaftService};
use crate::transport::Shared;

/// Streams that one connection may have open at once: one lane, and who asks about health.
const STREAMS: u32 = 16;
/// How long a connection may still end what is under way, when it is to end.
const LAST_WORDS: std::time::Duration = std::time::Duration::from_millis(500);

pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, Some(socket2::Protocol::TCP))?;
    // A port whose last connections linger may be used again at once; one that is listened on may not.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(1024)?;
    TcpListener::from_std(socket.into())
}

type Call = Arc<dyn Fn(http::Request<Incoming>) -> BoxFuture<http::Response<Body>, Infallible> + Send + Sync>;

fn call<S>(service: S) -> Call
where
    S: Service<http::Request<Incoming>, Response = http::Response<Body>, Error = Infallible>,
    S: Clone + Send + Sync + 'static,
    S::Future: Send,
{
    Arc::new(move |request| {
        let mut service = service.clone();
        Box::pin(async move { service.call(request).await })
    })
}

/// What can be called, by the name of its service.
#[derive(Clone)]
pub(crate) struct Router(Arc<[(&'static str, Call)]>);

impl Router {
    /// The transport's own service, health and reflection.
    pub(crate) fn new(raft: RaftService, health: HealthReporter) -> Self {
        let health = HealthServer::new(HealthService::from_health_reporter(health));
        let mut services = vec![(RaftService::NAME, call(raft)), (name(&health), call(health))];
        let reflection = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        };
        // The descriptors are our own: they can be read.
        if let Ok(service) = reflection().build_v1() {
            services.push((name(&service), call(service)));
        }
        if let Ok(service) = reflection().build_v1alpha() {
            services.push((name(&service), call(service)));
        }
        Self(services.into())
    }

    fn call(&self, request: http::Request<Incoming>) -> BoxFuture<http::Response<Body>, Infallible> {
        let path = request.uri().path();
        let wanted = path.strip_prefix('/').and_then(|path| path.split_once('/')).map(|(name, _)| name);
        match self.0.iter().find(|(name, _)| Some(*name) == wanted) {
            Some((_, call)) => call(request),
            None => {
                let unknown = Status::new(Code::Unimplemented, "no such service");
                Box::pin(async move { Ok(unknown.into_http()) })
            }
        }
    }
}

fn name<S: NamedService>(_: &S) -> &'static str {
    S::NAME
}

/// Says whether the transport serves.
pub(crate) async fn set_serving(health: &HealthReporter, serving: bool) {
    let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
    health.set_service_status(RaftService::NAME, status).await;
    health.set_service_status("", status).await;
}

/// Accepts until its task ends.
pub(crate) async fn accept(listener: TcpListener, router: Router, shared: Arc<Shared>) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors, most likely: let some be closed.
                tracing::warn!(%error, "cannot accept");
                tokio::time::sleep(shared.options.reconnect.0).await;
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&shared.connections).try_acquire_owned() else {
            count(&shared.counters.turned_away);
            continue;
        };
        let tasks = Arc::clone(&shared.tasks);
        let (router, shared) = (router.clone(), Arc::clone(&shared));
        let task = async move {
            serve(stream, router, &shared).await;
            drop(permit);
        };
        if tasks.spawn(task).is_none() {
            return;
        }
    }
}

/// Serves one connection to its end.
async fn serve(stream: TcpStream, router: Router, shared: &Shared) {
    let options = &shared.options;
    if options.prepare(&stream).is_err() {
        return;
    }
    let from = stream.peer_addr().ok();
    let host = || crate::serve::host(from);
    let accepted = shared.security.accept(stream);
    let secured = match tokio::time::timeout(options.handshake_timeout, accepted).await {
        Ok(Ok(secured)) => secured,
        Ok(Err(error)) => {
            if is_refusal(&error) {
                count(&shared.counters.refused);
                shared.log_stranger(&host(), &error);
            }
            return;
        }
        Err(_) => {
            count(&shared.counters.turned_away);
            return;
        }
    };
    let guard = Group::begin(Arc::clone(&shared.tasks));
    let over = Over(Arc::clone(&guard.0));
    let proven = secured.proof.map(Proven);
    let service = service_fn(move |mut request: http::Request<Incoming>| {
        request.extensions_mut().insert(over.clone());
        request.extensions_mut().insert(CameFrom(from));
        if let Some(proven) = &proven {
            request.extensions_mut().insert(proven.clone());
        }
        router.call(request)
    });
    let connection = builder(&guard, shared).serve_connection(TokioIo::new(secured.stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => Some(ended),
        () = guard.0.hung_up() => None,
        begun = guard.0.idle(options.handshake_timeout, options.idle_timeout) => {
            if !begun {
                count(&shared.counters.turned_away);
                return;
            }
            None
        }
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(LAST_WORDS, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended
        && !is_broken(&error)
    {
        count(&shared.counters.misbehaved);
        shared.log_stranger(&host(), &format_args!("it does not speak gRPC as a peer does: {error}"));
    }
}

/// Whether a connection only broke: that is nobody's fault.
fn is_broken(error: &hyper::Error) -> bool {
    error.is_timeout() || std::error::Error::source(error).is_some_and(|cause| cause.is::<io::Error>())
}

fn builder(guard: &Guard, shared: &Shared) -> Builder<Executor> {
    let options = &shared.options;
    let mut builder = Builder::new(Executor(Arc::clone(&guard.0)));
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(options.keep_alive)
        .keep_alive_timeout(options.keep_alive_timeout)
        .initial_stream_window_size(options.window_bytes)
        .initial_connection_window_size(options.window_bytes.saturating_mul(2))
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(16 << 10);
    builder
}
