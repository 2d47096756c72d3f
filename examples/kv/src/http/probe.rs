//! What supervisors and load balancers ask. Each answer says why.
//!
//! `/live`: 503 means that the process should be started again. `/ready`: 503 means that clients should be sent
//! elsewhere. `/health`: 503 means that somebody should look.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use raft_core::Settings;
use raft_core::status::{RoleKind, Status};
use serde_json::json;

use super::Http;
use crate::health::{Health, Level, health as judge};
use crate::refusal::Outside;
use crate::server::Server;

/// A node that answers no more within this time hangs.
const HANGS: Duration = Duration::from_secs(2);

const fn code(good: bool) -> StatusCode {
    if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

/// Whether the node's own task still answers: its copied status would look well for ever.
async fn answers(server: &Server) -> bool {
    // Asks for no change.
    let asked = server.node.reconfigure(Settings::default());
    matches!(tokio::time::timeout(HANGS, asked).await, Ok(Ok(_)))
}

/// Why clients are not served or sent on from here.
fn obstacles(server: &Server, status: &Status) -> Vec<&'static str> {
    let mut found = Vec::new();
    match (status.role, &status.leader) {
        (RoleKind::Limbo, _) => found.push(Outside::Limbo.sentence()),
        _ if status.removed => found.push(Outside::Removed.sentence()),
        (_, None) => found.push("no leader is known"),
        _ => {}
    }
    if !server.has_replayed() {
        found.push("it has not yet replayed its log");
    }
    found
}

pub(super) async fn live(State(state): State<Arc<Http>>) -> Response {
    let alive = answers(&state.server).await;
    let reasons = if alive { &[][..] } else { &["the node has stopped, or hangs"] };
    super::json(code(alive), &json!({ "alive": alive, "reasons": reasons }))
}

pub(super) async fn ready(State(state): State<Arc<Http>>) -> Response {
    let reasons = obstacles(&state.server, &state.server.node.status());
    super::json(code(reasons.is_empty()), &json!({ "ready": reasons.is_empty(), "reasons": reasons }))
}

pub(super) async fn health(State(state): State<Arc<Http>>) -> Response {
    let alive = answers(&state.server).await;
    let status = state.server.node.status();
    let Health { mut level, mut reasons } = judge(&state.server, &status);
    if !alive {
        level = Level::Red;
        reasons.insert(0, "the node has stopped, or hangs".into());
    }
    let ready = alive && obstacles(&state.server, &status).is_empty();
    let value = json!({ "health": level.name(), "alive": alive, "ready": ready, "reasons": reasons });
    super::json(code(level != Level::Red), &value)
}
