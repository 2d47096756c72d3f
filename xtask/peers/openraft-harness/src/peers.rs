//! The network as openraft calls it. Each of its clients (replication, heartbeats, votes) has a connection, so none waits
//! behind another; appends are a stream of requests, sent on without waiting for the answers.

use std::future::Future;
use std::io;
use std::sync::Arc;

use futures_util::{FutureExt, Stream, StreamExt, stream};
use openraft::OptionalSend;
use openraft::alias::{SnapshotOf, VoteOf};
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, VoteRequest,
    VoteResponse,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::task::JoinHandle;

use crate::types::Config;
use crate::wire::{self, Frames};

/// Where all nodes are; node 1 is the first.
pub struct Peers(pub Arc<[u16]>);

impl RaftNetworkFactory<Config> for Peers {
    type Network = Peer;

    async fn new_client(&mut self, target: u64, (): &()) -> Peer {
        Peer { port: self.0[target as usize - 1], connection: None }
    }
}

/// Somebody who calls one node.
pub struct Peer {
    port: u16,
    connection: Option<(Frames, OwnedWriteHalf)>,
}

fn unreachable<E: std::error::Error + 'static>(error: &E) -> RPCError<Config> {
    RPCError::Unreachable(Unreachable::new(error))
}

impl Peer {
    async fn call<Q, A>(&mut self, kind: u8, request: Q, option: RPCOption) -> Result<A, RPCError<Config>>
    where
        Q: Serialize,
        A: DeserializeOwned,
    {
        match tokio::time::timeout(option.hard_ttl(), self.try_call(kind, &request)).await {
            Ok(answer) => answer.map_err(|error| unreachable(&error)),
            Err(late) => Err(unreachable(&late)),
        }
    }

    /// A connection that was left in the middle of a call is not used again.
    async fn try_call<Q: Serialize, A: DeserializeOwned>(&mut self, kind: u8, request: &Q) -> io::Result<A> {
        let (mut from, mut to) = match self.connection.take() {
            Some(connection) => connection,
            None => {
                let (from, to) = wire::connect(self.port).await?.into_split();
                (Frames::new(from), to)
            }
        };
        let mut out = Vec::new();
        wire::put(&mut out, kind, request)?;
        to.write_all(&out).await?;
        from.next().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let answer = from.message()?;
        self.connection = Some((from, to));
        Ok(answer)
    }
}

impl RaftNetworkV2<Config> for Peer {
    type SnapshotData = ();

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Config>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Config>, RPCError<Config>> {
        self.call(wire::APPEND, request, option).await
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Config>,
        option: RPCOption,
    ) -> Result<VoteResponse<Config>, RPCError<Config>> {
        self.call(wire::VOTE, request, option).await
    }

    fn stream_append<'s, S>(
        &'s mut self,
        requests: S,
        option: RPCOption,
    ) -> BoxFuture<
        's,
        Result<BoxStream<'s, Result<StreamAppendResult<Config>, RPCError<Config>>>, RPCError<Config>>,
    >
    where
        S: Stream<Item = AppendEntriesRequest<Config>> + OptionalSend + Unpin + 'static,
    {
        Box::pin(async move {
            let connected = tokio::time::timeout(option.hard_ttl(), wire::connect(self.port)).await;
            let connected =
                connected.map_err(|late| unreachable(&late))?.map_err(|error| unreachable(&error))?;
            let (from, to) = connected.into_split();
            let sender = Sender(tokio::spawn(send(requests, to)));
            let answers = stream::unfold(Some((Frames::new(from), sender)), |state| async {
                let (mut from, sender) = state?;
                match answer(&mut from).await.transpose()? {
                    Ok(answer) => {
                        let more = answer.is_ok();
                        Some((Ok(answer), more.then_some((from, sender))))
                    }
                    Err(error) => Some((Err(RPCError::Network(NetworkError::new(&error))), None)),
                }
            });
            let answers: BoxStream<'s, _> = Box::pin(answers);
            Ok(answers)
        })
    }

    async fn full_snapshot(
        &mut self,
        _: VoteOf<Config>,
        _: SnapshotOf<Config, ()>,
        _: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<Config>, StreamingError<Config>> {
        Err(StreamingError::Unreachable(Unreachable::from_string("there are no snapshots here")))
    }
}

async fn answer(from: &mut Frames) -> io::Result<Option<StreamAppendResult<Config>>> {
    match from.next().await? {
        Some(_) => from.message().map(Some),
        None => Ok(None),
    }
}

/// Ends with the stream of answers.
struct Sender(JoinHandle<io::Result<()>>);

impl Drop for Sender {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// All requests that are there at once in one write.
async fn send<S>(requests: S, mut to: OwnedWriteHalf) -> io::Result<()>
where
    S: Stream<Item = AppendEntriesRequest<Config>> + Unpin,
{
    let (mut requests, mut out) = (requests.fuse(), Vec::new());
    while let Some(first) = requests.next().await {
        out.clear();
        wire::put(&mut out, wire::STREAM, &first)?;
        while out.len() < wire::TOGETHER {
            let Some(Some(more)) = requests.next().now_or_never() else { break };
            wire::put(&mut out, wire::STREAM, &more)?;
        }
        to.write_all(&out).await?;
    }
    to.shutdown().await
}
