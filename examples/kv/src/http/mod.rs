//! `--http`: what operators, their tools and their browsers look at. It changes nothing and shows no data.
//!
//! It has a thread of its own, so that whoever asks here, however often, never delays the protocol, which lives with
//! the clients on the main thread.
//!
//! | module | what it does |
//! | --- | --- |
//! | `mod` | the thread, its connections, the routes |
//! | `page` | the page, and what a browser may do with it |
//! | `status` | a node's state as JSON |
//! | `live` | events: the state as it changes, the last minutes, what has happened |
//! | `timeline` | what happened: roles, leaders, members, snapshots, disks |
//! | `metrics` | for Prometheus |
//! | `probe` | alive, ready, healthy |

mod live;
mod metrics;
mod page;
mod probe;
mod status;
mod timeline;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Router, body::Bytes};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use raft_core::membership::Membership;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::server::Server;
use crate::settings::HTTP;
use live::Live;
use metrics::Metrics;

/// Connections at once; further ones are closed.
const CONNECTIONS: usize = 64;

/// A request's head takes no longer, and a connection is idle for no longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// And is no longer than this, in bytes.
const HEAD_BYTES: usize = 16 << 10;

/// What does not change while a node runs.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    /// The folder of its data.
    pub(crate) data: PathBuf,
    /// How its log is kept.
    pub(crate) journal: &'static str,
    /// How nodes talk.
    pub(crate) transport: &'static str,
    /// When entries are made durable.
    pub(crate) durability: String,
    /// What opening the journal has found.
    pub(crate) verdict: String,
    /// What the transport may hold.
    pub(crate) bounds: Bounds,
}

/// The bounds of a transport, of whichever kind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) frame_bytes: u64,
    pub(crate) control_queue_bytes: u64,
    pub(crate) bulk_queue_bytes: u64,
    pub(crate) connections: usize,
}

/// What all requests share.
pub(crate) struct Http {
    server: Arc<Server>,
    facts: Facts,
    live: Arc<Live>,
    metrics: Metrics,
}

/// Serves from now on, until the process ends.
///
/// # Errors
/// The thread cannot be started.
pub(crate) fn start(server: Arc<Server>, facts: Facts, listener: TcpListener) -> io::Result<()> {
    let live = Arc::new(Live::default());
    // Beside the protocol: the other thread then wakes only where there is news.
    tokio::spawn(timeline::follow(Arc::clone(&live), server.node.clone()));
    let listener = listener.into_std()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let metrics = Metrics::new(server.node.clone()).map_err(io::Error::other)?;
    let state = Arc::new(Http { server, facts, live, metrics });
    std::thread::Builder::new().name("raft-kv-http".into()).spawn(move || {
        if let Err(error) = runtime.block_on(run(state, listener)) {
            tracing::error!(%error, "nothing is served at --http");
        }
    })?;
    Ok(())
}

async fn run(state: Arc<Http>, listener: std::net::TcpListener) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    tokio::spawn(live::tick(Arc::clone(&state)));
    let router = router(state);
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let socket = match listener.accept().await {
            Ok((socket, _)) => socket,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection at --http");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&room).try_acquire_owned() else { continue };
        // Events are small and must not wait for each other.
        let _ = socket.set_nodelay(true);
        let service = TowerToHyperService::new(router.clone());
        tokio::spawn(async move {
            let mut http = http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(PATIENCE).max_buf_size(HEAD_BYTES);
            // However it ends, it is the end of this connection only.
            let _ = http.serve_connection(TokioIo::new(socket), service).await;
            drop(place);
        });
    }
}

fn router(state: Arc<Http>) -> Router {
    Router::new()
        .route("/", get(page::page))
        .route("/events", get(live::events))
        .route("/metrics", get(metrics::metrics))
        .route("/status", get(status::status))
        .route("/health", get(probe::health))
        .route("/ready", get(probe::ready))
        .route("/live", get(probe::live))
        .fallback(|| async {
            (StatusCode::NOT_FOUND, "there are /, /events, /metrics, /status, /health, /ready and /live\n")
        })
        .layer(middleware::from_fn_with_state(Arc::clone(&state), guard))
        .with_state(state)
}

/// What every answer says, and who else may read it: the pages of the other members.
async fn guard(State(state): State<Arc<Http>>, request: Request, next: Next) -> Response {
    let origin = request.headers().get(header::ORIGIN).cloned();
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::VARY, HeaderValue::from_static("origin"));
    let status = state.server.node.status();
    if let Some(origin) =
        origin.filter(|origin| is_member(origin.to_str().unwrap_or_default(), &status.membership))
    {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    }
    response
}

/// Whether a page from there is one of a member. On loopback the name does not matter: there are several for one place.
fn is_member(origin: &str, membership: &Membership) -> bool {
    let Some(address) = origin.strip_prefix("http://") else { return false };
    let pages = membership.members.values().filter_map(|member| member.attributes.get(HTTP));
    let on_loopback = |address: &str| {
        let (host, port) = address.rsplit_once(':')?;
        matches!(host, "localhost" | "127.0.0.1" | "[::1]").then(|| port.to_owned())
    };
    pages.into_iter().any(|page| {
        page == address || on_loopback(page).is_some_and(|port| on_loopback(address) == Some(port))
    })
}

/// JSON, with a status.
fn json(code: StatusCode, value: &serde_json::Value) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    (code, headers, Body::from(Bytes::from(value.to_string()))).into_response()
}

#[cfg(test)]
mod tests {
    use raft_core::ids::NodeId;
    use raft_core::membership::Member;

    use super::*;

    #[test]
    fn only_pages_of_members_may_read_from_elsewhere() {
        let members = [
            Member::new(NodeId(1), "a:1").with(HTTP, "127.0.0.1:7201"),
            Member::new(NodeId(2), "b:1").with(HTTP, "kv-2.example:7201"),
            Member::new(NodeId(3), "c:1"),
        ];
        let membership = Membership::of_voters(members).unwrap();
        for good in [
            "http://127.0.0.1:7201",
            "http://localhost:7201",
            "http://[::1]:7201",
            "http://kv-2.example:7201",
        ] {
            assert!(is_member(good, &membership), "{good}");
        }
        for bad in [
            "",
            "null",
            "http://127.0.0.1:7202",
            "https://127.0.0.1:7201",
            "http://kv-2.example:7202",
            "http://localhost.example:7201",
            "http://evil.example",
        ] {
            assert!(!is_member(bad, &membership), "{bad}");
        }
    }
}
