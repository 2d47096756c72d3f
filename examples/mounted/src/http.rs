//! The routes: what each outcome of Raft is in HTTP.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, FromRequest, Path, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use raft_core::error::{Outcome, ProposeError, ReadError};
use raft_core::membership::Member;
use raft_core::node::typed::{TypedError, TypedNode};
use raft_core::{NodeHandle, ReadPolicy};
use raft_redb::{Answer, Ask, Store};

/// What a handler needs.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    pub(crate) node: NodeHandle,
    pub(crate) store: Store,
    /// How long a client waits for a write or a read.
    pub(crate) patience: Duration,
    /// The largest value, in bytes.
    pub(crate) limit_bytes: usize,
    /// How long a value may take to come.
    pub(crate) body: Duration,
    /// It is to be left alone, since it is going to shut down.
    pub(crate) draining: Arc<AtomicBool>,
    /// Of its addresses.
    pub(crate) scheme: &'static str,
}

/// Says whether a write that has no answer may have been done: `not-applied` or `unknown`.
const OUTCOME: HeaderName = HeaderName::from_static("outcome");

pub(crate) fn routes(keys: Keys) -> Router {
    let limit = DefaultBodyLimit::max(keys.limit_bytes);
    Router::new()
        .route("/health", get(health))
        .route("/keys/{key}", get(read).put(write))
        .layer(limit)
        .with_state(keys)
}

/// Whether this node is of use to a client: it runs and knows a leader. 503 begins before it shuts down. A node that
/// stops by itself, such as for its disk, leaves a status in which somebody leads, and a port that answers.
async fn health(State(keys): State<Keys>) -> Response {
    let status = keys.node.status();
    match &status.leader {
        _ if keys.draining.load(Ordering::Acquire) => {
            (StatusCode::SERVICE_UNAVAILABLE, String::from("shutting down\n"))
        }
        _ if has_stopped(&keys.node).await => (StatusCode::SERVICE_UNAVAILABLE, String::from("stopped\n")),
        Some(leader) if status.removed => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("removed; {} leads\n", leader.id))
        }
        Some(leader) => (StatusCode::OK, format!("{}, {} leads\n", status.role, leader.id)),
        None => (StatusCode::SERVICE_UNAVAILABLE, format!("{}, nobody leads\n", status.role)),
    }
    .into_response()
}

async fn has_stopped(node: &NodeHandle) -> bool {
    tokio::select! {
        biased;
        _ = node.stopped() => true,
        () = std::future::ready(()) => false,
    }
}

/// Any node answers, with all that was acknowledged anywhere before the request came.
async fn read(State(keys): State<Keys>, Path(key): Path<String>) -> Response {
    match in_time(&keys, keys.node.read_barrier_with(ReadPolicy::Follower)).await {
        Some(Ok(_)) => {}
        Some(Err(error @ ReadError::Overloaded)) => {
            return later(StatusCode::TOO_MANY_REQUESTS, &error, None);
        }
        Some(Err(error)) => return later(StatusCode::SERVICE_UNAVAILABLE, &error, None),
        None => return later(StatusCode::GATEWAY_TIMEOUT, &"no majority has answered", None),
    }
    // It may come from the disk.
    let value = tokio::task::spawn_blocking(move || keys.store.value(&key)).await;
    match value {
        Ok(Ok(Some(value))) => value.into_response(),
        Ok(Ok(None)) => StatusCode::NOT_FOUND.into_response(),
        Ok(Err(error)) => failed(&error),
        Err(error) => failed(&error),
    }
}

async fn write(State(keys): State<Keys>, Path(key): Path<String>, request: Request) -> Response {
    // Who sends a byte a minute holds a connection, of which there are so many.
    let value = match tokio::time::timeout(keys.body, Bytes::from_request(request, &())).await {
        Ok(Ok(value)) => value,
        Ok(Err(rejected)) => return rejected.into_response(),
        Err(_) => {
            let late = "the body has not come in time\n";
            return (StatusCode::REQUEST_TIMEOUT, [(OUTCOME, NOT_APPLIED)], late).into_response();
        }
    };
    let typed = TypedNode::<Ask, Answer>::new(keys.node.clone());
    let ask = Ask::Put(key.clone(), value.into());
    match in_time(&keys, typed.propose(&ask)).await {
        Some(Ok(Ok(_))) => StatusCode::NO_CONTENT.into_response(),
        Some(Ok(Err(refused))) => (StatusCode::CONFLICT, format!("{refused}\n")).into_response(),
        Some(Err(TypedError::Propose(error))) => not_written(&error, keys.scheme, &key),
        Some(Err(error)) => failed(&error),
        // The command is on its way: it may be done yet.
        None => unknown(&"no majority has answered"),
    }
}

/// `None` if it took too long.
async fn in_time<T>(keys: &Keys, work: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(keys.patience, work).await.ok()
}

/// A write that was not acknowledged.
fn not_written(error: &ProposeError, scheme: &'static str, key: &str) -> Response {
    match error {
        ProposeError::NotLeader { leader: Some(leader) } => elsewhere(leader, scheme, key),
        ProposeError::TooLarge { .. } => {
            (StatusCode::PAYLOAD_TOO_LARGE, [(OUTCOME, NOT_APPLIED)], format!("{error}\n")).into_response()
        }
        ProposeError::Overloaded { .. } => later(StatusCode::TOO_MANY_REQUESTS, error, Some(NOT_APPLIED)),
        _ if error.outcome() == Outcome::NotApplied => {
            later(StatusCode::SERVICE_UNAVAILABLE, error, Some(NOT_APPLIED))
        }
        _ => unknown(error),
    }
}

const NOT_APPLIED: HeaderValue = HeaderValue::from_static("not-applied");
const UNKNOWN: HeaderValue = HeaderValue::from_static("unknown");

/// 307 keeps method and body. Peers and clients share the port: a member's address is that of its routes.
fn elsewhere(leader: &Member, scheme: &'static str, key: &str) -> Response {
    let location = axum::http::Uri::builder().scheme(scheme).authority(&*leader.address);
    match location.path_and_query(format!("/keys/{}", escaped(key))).build() {
        Ok(uri) => {
            let location = [(header::LOCATION, uri.to_string()), (OUTCOME, String::from("not-applied"))];
            (StatusCode::TEMPORARY_REDIRECT, location).into_response()
        }
        Err(error) => failed(&error),
    }
}

/// As it was in the path: axum has taken the escapes out.
fn escaped(key: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let escape = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    key.bytes().map(escape).collect()
}

/// Not done, and it may be asked again: in a second there is a leader again, or room.
fn later(status: StatusCode, why: &dyn std::fmt::Display, outcome: Option<HeaderValue>) -> Response {
    let mut response = (status, [(header::RETRY_AFTER, "1")], format!("{why}\n")).into_response();
    if let Some(outcome) = outcome {
        response.headers_mut().insert(OUTCOME, outcome);
    }
    response
}

/// Nobody can tell. Sent again it is done for certain, but if somebody else has written meanwhile, over that: clients
/// who mind use sessions, as in the guide.
fn unknown(why: &dyn std::fmt::Display) -> Response {
    (StatusCode::GATEWAY_TIMEOUT, [(OUTCOME, UNKNOWN)], format!("{why}\n")).into_response()
}

fn failed(why: &dyn std::fmt::Display) -> Response {
    (StatusCode::INTERNAL_SERVER_ERROR, format!("{why}\n")).into_response()
}
