//! The tonic service.

use std::time::Duration;

use axum::Router;
use axum::extract::Request as HttpRequest;
use axum::middleware::{Next, from_fn};
use raft_core::{NodeHandle, ReadPolicy};
use raft_redb::Store;
use tonic::{Request, Response, Status};

use crate::proto::keys_server::{Keys, KeysServer};
use crate::proto::{CountReply, CountRequest};
use crate::service::mount;

/// What its calls use.
#[derive(Debug)]
pub(crate) struct Counting {
    node: NodeHandle,
    store: Store,
}

/// The service, mounted. A call ends after `patience`, also one whose body never comes: tonic by itself waits for ever.
pub(crate) fn routes(node: NodeHandle, store: Store, patience: Duration) -> Router {
    let in_time = move |request: HttpRequest, next: Next| async move {
        let answered = tokio::time::timeout(patience, next.run(request)).await;
        answered.unwrap_or_else(|_| Status::deadline_exceeded("it took too long").into_http())
    };
    mount(Router::new(), KeysServer::new(Counting { node, store })).layer(from_fn(in_time))
}

#[tonic::async_trait]
impl Keys for Counting {
    async fn count(&self, _: Request<CountRequest>) -> Result<Response<CountReply>, Status> {
        // A read changes nothing: `UNAVAILABLE` says to clients that they may ask again.
        let read = self.node.read_barrier_with(ReadPolicy::Follower).await;
        read.map_err(|error| Status::unavailable(error.to_string()))?;
        let store = self.store.clone();
        // It may come from the disk.
        let keys = tokio::task::spawn_blocking(move || store.count()).await;
        let keys = keys.map_err(|error| Status::internal(error.to_string()))?;
        let keys = keys.map_err(|error| Status::internal(error.to_string()))?;
        Ok(Response::new(CountReply { keys }))
    }
}
