//! etcd through gRPC: the few messages of its API that a load needs, by their numbers.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use http::uri::PathAndQuery;
use prost::Message;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{IntoRequest, Status};
use tonic_prost::ProstCodec;

use crate::Mode;
use crate::meter::Meter;
use crate::values::Values;

#[derive(Clone, PartialEq, Message)]
struct Header {
    #[prost(uint64, tag = "2")]
    member: u64,
}

#[derive(Clone, PartialEq, Message)]
struct Put {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct Range {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
}

/// An answer of which only the header matters.
#[derive(Clone, PartialEq, Message)]
struct Done {
    #[prost(message, optional, tag = "1")]
    header: Option<Header>,
}

#[derive(Clone, PartialEq, Message)]
struct Nothing {}

#[derive(Clone, PartialEq, Message)]
struct State {
    #[prost(message, optional, tag = "1")]
    header: Option<Header>,
    #[prost(uint64, tag = "4")]
    leader: u64,
}

#[derive(Clone, PartialEq, Message)]
struct Member {
    #[prost(uint64, tag = "1")]
    id: u64,
}

#[derive(Clone, PartialEq, Message)]
struct Members {
    #[prost(message, repeated, tag = "2")]
    members: Vec<Member>,
}

#[derive(Clone, PartialEq, Message)]
struct MoveLeader {
    #[prost(uint64, tag = "1")]
    to: u64,
}

/// A connection that is shared by its clones.
#[derive(Clone)]
pub struct Client(Grpc<Channel>);

/// Dials with the first request.
pub fn connect(address: SocketAddr) -> Client {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address is a host");
    Client(Grpc::new(endpoint.connect_lazy()))
}

impl Client {
    async fn call<Q, A>(&mut self, path: &'static str, question: Q) -> Result<A, Status>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        self.0.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let codec: ProstCodec<Q, A> = ProstCodec::default();
        let answer = self.0.unary(question.into_request(), PathAndQuery::from_static(path), codec).await?;
        Ok(answer.into_inner())
    }

    async fn state(&mut self) -> Result<State, Status> {
        self.call("/etcdserverpb.Maintenance/Status", Nothing {}).await
    }

    async fn ask(&mut self, mode: Mode, values: &mut Values) -> Result<Done, Status> {
        let key = format!("k{:07}", values.key()).into_bytes();
        if mode == Mode::Read {
            return self.call("/etcdserverpb.KV/Range", Range { key }).await;
        }
        let value = values.value().to_vec();
        self.call("/etcdserverpb.KV/Put", Put { key, value }).await
    }

    /// A write, given up after 300 ms.
    pub async fn write(&mut self, values: &mut Values) -> bool {
        let asked = tokio::time::timeout(Duration::from_millis(300), self.ask(Mode::Write, values));
        matches!(asked.await, Ok(Ok(_)))
    }

    /// One client, until the run ends.
    pub async fn run(mut self, mode: Mode, mut values: Values, meter: &Meter) {
        let mut own = meter.own();
        while meter.goes_on() {
            let sent = Instant::now();
            if self.ask(mode, &mut values).await.is_ok() { own.done(sent.elapsed()) } else { own.failed() }
        }
    }
}

/// Which of these leads.
pub async fn leader(addresses: &[SocketAddr]) -> Option<usize> {
    for (at, address) in addresses.iter().enumerate() {
        let mut client = connect(*address);
        let Ok(Ok(state)) = tokio::time::timeout(Duration::from_secs(1), client.state()).await else { continue };
        if state.leader != 0 && state.header.is_some_and(|header| header.member == state.leader) {
            return Some(at);
        }
    }
    None
}

/// Hands leadership to another member.
pub async fn move_leader(addresses: &[SocketAddr], from: usize) -> bool {
    let mut client = connect(addresses[from]);
    let Ok(state) = client.state().await else { return false };
    let members: Result<Members, Status> = client.call("/etcdserverpb.Cluster/MemberList", Nothing {}).await;
    let other = members.ok().and_then(|all| all.members.iter().map(|one| one.id).find(|id| *id != state.leader));
    let Some(to) = other else { return false };
    let moved: Result<Done, Status> = client.call("/etcdserverpb.Maintenance/MoveLeader", MoveLeader { to }).await;
    moved.is_ok()
}
