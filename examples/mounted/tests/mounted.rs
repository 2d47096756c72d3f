//! Three processes of the service, each with a runtime of its own: without it a process is gone at once, as killed.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use raft_core::ids::NodeId;
use raft_core::membership::{Member, Membership};
use raft_mounted::proto::keys_client::KeysClient;
use raft_mounted::proto::{CountReply, CountRequest};
use raft_mounted::{Limits, Service, Setup};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tonic::Code;

struct Running {
    service: Service,
    address: String,
    runtime: Runtime,
}

impl Running {
    fn start(id: u64, folder: &Path, founders: &Membership, patience: Duration) -> Self {
        Self::start_with(id, folder, founders, patience, Limits::default())
    }

    fn start_with(id: u64, folder: &Path, founders: &Membership, patience: Duration, limits: Limits) -> Self {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build().unwrap();
        let address = founders.member(NodeId(id)).unwrap().address.to_string();
        let setup = Setup {
            id: NodeId(id),
            data: folder.join(id.to_string()),
            address: address.clone(),
            founders: Some(founders.clone()),
            patience,
            limits,
            tls: None,
        };
        let service = runtime.block_on(async {
            let socket = TcpListener::bind(&address).await.unwrap();
            Service::start(setup, socket).await.unwrap()
        });
        Self { service, address, runtime }
    }

    /// No task of it gets another turn.
    fn kill(self) {
        drop(self.runtime);
    }

    async fn ask(&self, method: Method, path: &str, body: &str) -> Response<Bytes> {
        ask(&self.address, method, path, body).await
    }
}

/// One request on a connection of its own.
async fn ask(address: &str, method: Method, path: &str, body: &str) -> Response<Bytes> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::builder().method(method).uri(path).header("host", address);
    let request = request.body(Full::new(Bytes::copy_from_slice(body.as_bytes()))).unwrap();
    let (parts, body) = sender.send_request(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    drop(sender);
    connection.await.unwrap().unwrap();
    Response::from_parts(parts, body)
}

fn header<'a>(response: &'a Response<Bytes>, name: &str) -> &'a str {
    response.headers().get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
}

/// A `PUT` as a client would: to anybody, following redirects, again where it was not done.
async fn put(nodes: &[Running], path: &str, body: &str) {
    let mut address = nodes[0].address.clone();
    loop {
        let answer = ask(&address, Method::PUT, path, body).await;
        match answer.status() {
            StatusCode::NO_CONTENT => return,
            StatusCode::TEMPORARY_REDIRECT => {
                let (at, _) =
                    header(&answer, "location").strip_prefix("http://").unwrap().split_once('/').unwrap();
                // It may be the one that was killed, until the others know.
                address = nodes.iter().find(|node| node.address == at).unwrap_or(&nodes[0]).address.clone();
            }
            StatusCode::SERVICE_UNAVAILABLE => assert_eq!(header(&answer, "outcome"), "not-applied"),
            StatusCode::GATEWAY_TIMEOUT => assert_eq!(header(&answer, "outcome"), "unknown"),
            other => panic!("{other}: {answer:?}"),
        }
        tokio::task::yield_now().await;
    }
}

/// A `GET` that is asked again as long as nobody leads.
async fn get(node: &Running, path: &str) -> Response<Bytes> {
    loop {
        let answer = node.ask(Method::GET, path, "").await;
        if ![StatusCode::SERVICE_UNAVAILABLE, StatusCode::GATEWAY_TIMEOUT].contains(&answer.status()) {
            return answer;
        }
        // Health says how it is, not when to ask again.
        let again = if path == "/health" { "" } else { "1" };
        assert_eq!(header(&answer, "retry-after"), again);
        tokio::task::yield_now().await;
    }
}

/// Which of these leads.
async fn leader(nodes: &[Running]) -> usize {
    loop {
        let mut watch = nodes[0].service.node().watch();
        let at = |id: NodeId| nodes.iter().position(|node| node.service.node().id() == id);
        let known = watch.until(|status| status.leader.as_ref().is_some_and(|l| at(l.id).is_some())).await;
        let known = at(known.unwrap().leader.as_ref().unwrap().id).unwrap();
        if nodes[known].service.node().read_barrier().await.is_ok() {
            return known;
        }
        tokio::task::yield_now().await;
    }
}

fn founders<const N: usize>() -> Membership {
    let listeners = [(); N].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let at: [SocketAddr; N] = listeners.map(|listener| listener.local_addr().unwrap());
    let members = (1..).zip(at).map(|(id, at)| Member::new(NodeId(id), at.to_string()));
    Membership::of_voters(members).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_serves_on_one_port_through_the_loss_of_its_leader() {
    let folder = tempfile::tempdir().unwrap();
    let founders = founders::<3>();
    let patience = Duration::from_secs(20);
    let start = |id| tokio::task::block_in_place(|| Running::start(id, folder.path(), &founders, patience));
    let mut nodes: Vec<Running> = (1..=3).map(start).collect();

    put(&nodes, "/keys/a%20b", "one").await;
    for node in &nodes {
        // Whichever answers, it has what was acknowledged.
        let answer = get(node, "/keys/a%20b").await;
        assert_eq!((answer.status(), &answer.body()[..]), (StatusCode::OK, &b"one"[..]));
        assert_eq!(get(node, "/keys/nothing").await.status(), StatusCode::NOT_FOUND);
        assert_eq!(get(node, "/health").await.status(), StatusCode::OK);
        assert_eq!(node.ask(Method::GET, "/other", "").await.status(), StatusCode::NOT_FOUND);
        let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{}", node.address)).unwrap();
        let mut keys = KeysClient::new(endpoint.connect().await.unwrap());
        let counted = loop {
            match keys.count(CountRequest {}).await {
                Ok(answer) => break answer.into_inner().keys,
                // Nobody leads at the moment.
                Err(status) => assert_eq!(status.code(), Code::Unavailable, "{status:?}"),
            }
            tokio::task::yield_now().await;
        };
        assert_eq!(counted, 1);
    }

    // Who does not lead says who does, in words that a client can follow.
    let led = loop {
        let led = leader(&nodes).await;
        let moved = nodes[(led + 1) % 3].ask(Method::PUT, "/keys/a%20b", "two").await;
        if moved.status() == StatusCode::TEMPORARY_REDIRECT {
            assert_eq!(header(&moved, "outcome"), "not-applied");
            if header(&moved, "location") == format!("http://{}/keys/a%20b", nodes[led].address) {
                break led;
            }
        }
        // It does not know yet, or the leader has changed meanwhile.
        tokio::task::yield_now().await;
    };
    let id = nodes[led].service.node().id();
    let large = nodes[led].ask(Method::PUT, "/keys/large", &"x".repeat((1 << 20) + 1)).await;
    assert_eq!(large.status(), StatusCode::PAYLOAD_TOO_LARGE);

    let killed = nodes.swap_remove(led);
    tokio::task::block_in_place(|| killed.kill());
    put(&nodes, "/keys/a%20b", "three").await;
    for node in &nodes {
        assert_eq!(&get(node, "/keys/a%20b").await.body()[..], b"three");
    }
    nodes.push(start(id.0));
    assert_eq!(&get(&nodes[2], "/keys/a%20b").await.body()[..], b"three");

    // A shutdown that is asked for ends in order, and frees the port.
    for node in nodes {
        let address = node.address.clone();
        let ended = node.runtime.spawn(node.service.shutdown(Duration::from_secs(20)));
        ended.await.unwrap().unwrap();
        drop(TcpListener::bind(&address).await.unwrap());
        tokio::task::block_in_place(|| drop(node.runtime));
    }
}

/// With two of three gone nothing is decided: a write that was taken may be done yet, one that was not was not.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_majority_it_says_what_became_of_a_write() {
    let folder = tempfile::tempdir().unwrap();
    let founders = founders::<3>();
    let patience = Duration::from_millis(50);
    let start = |id| tokio::task::block_in_place(|| Running::start(id, folder.path(), &founders, patience));
    let mut nodes: Vec<Running> = (1..=3).map(start).collect();
    put(&nodes, "/keys/a", "one").await;
    let led = nodes.swap_remove(leader(&nodes).await);
    tokio::task::block_in_place(|| nodes.drain(..).for_each(Running::kill));

    let answer = loop {
        let answer = led.ask(Method::PUT, "/keys/a", "two").await;
        match answer.status() {
            StatusCode::SERVICE_UNAVAILABLE => break answer,
            // It leads until it has noticed.
            StatusCode::GATEWAY_TIMEOUT => assert_eq!(header(&answer, "outcome"), "unknown"),
            // One of those that are gone had become leader.
            other => {
                let expected = (StatusCode::TEMPORARY_REDIRECT, "not-applied");
                assert_eq!((other, header(&answer, "outcome")), expected);
            }
        }
        tokio::task::yield_now().await;
    };
    assert_eq!((header(&answer, "outcome"), header(&answer, "retry-after")), ("not-applied", "1"));
    led.service.node().watch().until(|status| status.leader.is_none()).await.unwrap();
    assert_eq!(led.ask(Method::GET, "/health", "").await.status(), StatusCode::SERVICE_UNAVAILABLE);
    tokio::task::block_in_place(|| led.kill());
}

/// A node that is stopped knows for ever who led: its health is not to be read off that.
#[tokio::test(flavor = "multi_thread")]
async fn health_is_red_before_a_shutdown_and_after_the_node_has_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let founders = founders::<1>();
    let patience = Duration::from_secs(20);
    let start = || tokio::task::block_in_place(|| Running::start(1, folder.path(), &founders, patience));

    let mut nodes = vec![start()];
    put(&nodes, "/keys/a", "one").await;
    assert_eq!(get(&nodes[0], "/health").await.status(), StatusCode::OK);
    nodes[0].service.drain();
    let red = nodes[0].ask(Method::GET, "/health", "").await;
    assert_eq!((red.status(), &red.body()[..]), (StatusCode::SERVICE_UNAVAILABLE, &b"shutting down\n"[..]));
    assert_eq!(&get(&nodes[0], "/keys/a").await.body()[..], b"one");
    let node = nodes.remove(0);
    node.runtime.spawn(node.service.shutdown(patience)).await.unwrap().unwrap();
    tokio::task::block_in_place(|| drop(node.runtime));

    let node = start();
    assert_eq!(get(&node, "/health").await.status(), StatusCode::OK);
    node.service.node().shutdown().await.unwrap();
    let red = node.ask(Method::GET, "/health", "").await;
    assert_eq!((red.status(), &red.body()[..]), (StatusCode::SERVICE_UNAVAILABLE, &b"stopped\n"[..]));
    tokio::task::block_in_place(|| node.kill());
}

/// Whoever begins a request must come to its end.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let founders = founders::<1>();
    let mut limits = Limits::default();
    limits.body = Duration::from_millis(20);
    let patience = Duration::from_millis(20);
    let start = || Running::start_with(1, folder.path(), &founders, patience, limits);
    let node = tokio::task::block_in_place(start);

    let mut stream = TcpStream::connect(&node.address).await.unwrap();
    stream.write_all(b"PUT /keys/a HTTP/1.1\r\nhost: here\r\ncontent-length: 9\r\n\r\nbegun").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("outcome: not-applied\r\n"), "{answer}");

    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{}", node.address)).unwrap();
    let mut client = tonic::client::Grpc::new(endpoint.connect().await.unwrap());
    client.ready().await.unwrap();
    let request = tonic::Request::new(tonic::codegen::tokio_stream::pending::<CountRequest>());
    let codec = tonic_prost::ProstCodec::<CountRequest, CountReply>::default();
    let called = client.streaming(request, "/keys.v1.Keys/Count".parse().unwrap(), codec).await;
    assert_eq!(called.unwrap_err().code(), Code::DeadlineExceeded);
    tokio::task::block_in_place(|| node.kill());
}
