//! The tonic service.

use raft_core::{NodeHandle, ReadPolicy};
use raft_redb::Store;
use tonic::{Request, Response, Status};

use crate::proto::keys_server::{Keys, KeysServer};
use crate::proto::{CountReply, CountRequest};

/// What its calls use.
#[derive(Debug)]
pub(crate) struct Counting {
    node: NodeHandle,
    store: Store,
}

/// The service, to be mounted.
pub(crate) fn service(node: NodeHandle, store: Store) -> KeysServer<Counting> {
    KeysServer::new(Counting { node, store })
}

#[tonic::async_trait]
impl Keys for Counting {
    async fn count(&self, _: Request<CountRequest>) -> Result<Response<CountReply>, Status> {
        // A read changes nothing: `UNAVAILABLE` says to clients that they may ask again.
        let read = self.node.read_barrier_with(ReadPolicy::Follower).await;
        read.map_err(|error| Status::unavailable(error.to_string()))?;
        let keys = self.store.count().map_err(|error| Status::internal(error.to_string()))?;
        Ok(Response::new(CountReply { keys }))
    }
}
