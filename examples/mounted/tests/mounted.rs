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
use raft_mounted::proto::CountRequest;
use raft_mounted::proto::keys_client::KeysClient;
use raft_mounted::{Service, Setup};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

struct Running {
    service: Service,
    address: String,
    runtime: Runtime,
}

impl Running {
    fn start(id: u64, folder: &Path, founders: &Membership, patience: Duration) -> Self {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build().unwrap();
        let address = founders.member(NodeId(id)).unwrap().address.to_string();
        let setup = Setup {
            id: NodeId(id),
            data: folder.join(id.to_string()),
            address: address.clone(),
            founders: Some(founders.clone()),
            patience,
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
        assert_eq!(
            header(&answer, "retry-after"),
            if answer.status() == 503 || answer.status() == 504 { "1" } else { "" }
        );
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

fn founders() -> Membership {
    let listeners = [(); 3].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let at: [SocketAddr; 3] = listeners.map(|listener| listener.local_addr().unwrap());
    let members = (1..).zip(at).map(|(id, at)| Member::new(NodeId(id), at.to_string()));
    Membership::of_voters(members).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_serves_on_one_port_through_the_loss_of_its_leader() {
    let folder = tempfile::tempdir().unwrap();
    let founders = founders();
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
        assert_eq!(keys.count(CountRequest {}).await.unwrap().into_inner().keys, 1);
    }

    // Who does not lead says who does, in words that a client can follow.
    let led = leader(&nodes).await;
    let other = &nodes[(led + 1) % 3];
    let id = nodes[led].service.node().id();
    other.service.node().watch().until(|status| status.leader.as_ref().is_some_and(|l| l.id == id)).await;
    let moved = other.ask(Method::PUT, "/keys/a%20b", "two").await;
    if moved.status() == StatusCode::TEMPORARY_REDIRECT {
        assert_eq!(header(&moved, "location"), format!("http://{}/keys/a%20b", nodes[led].address));
        assert_eq!(header(&moved, "outcome"), "not-applied");
    }
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
    let founders = founders();
    let patience = Duration::from_millis(50);
    let start = |id| tokio::task::block_in_place(|| Running::start(id, folder.path(), &founders, patience));
    let mut nodes: Vec<Running> = (1..=3).map(start).collect();
    put(&nodes, "/keys/a", "one").await;
    let led = nodes.swap_remove(leader(&nodes).await);
    tokio::task::block_in_place(|| nodes.drain(..).for_each(Running::kill));

    let answer = led.ask(Method::PUT, "/keys/a", "two").await;
    match answer.status() {
        StatusCode::GATEWAY_TIMEOUT => assert_eq!(header(&answer, "outcome"), "unknown"),
        // It had noticed already.
        other => {
            assert_eq!((other, header(&answer, "outcome")), (StatusCode::SERVICE_UNAVAILABLE, "not-applied"))
        }
    }
    led.service.node().watch().until(|status| status.leader.is_none()).await.unwrap();
    let answer = led.ask(Method::PUT, "/keys/a", "three").await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!((header(&answer, "outcome"), header(&answer, "retry-after")), ("not-applied", "1"));
    assert_eq!(led.ask(Method::GET, "/health", "").await.status(), StatusCode::SERVICE_UNAVAILABLE);
    tokio::task::block_in_place(|| led.kill());
}
