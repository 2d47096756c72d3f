//! What else the listener serves, and a server of one's own.

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use raft_core::backend::{Sent, SentDropped, Transport};
use raft_core::ids::{GroupId, Identity, NodeId};
use raft_core::membership::Member;
use raft_core::message::{Envelope, Lane, PeerEvent};
use raft_net_grpc::proto::refused::Why;
use raft_net_grpc::{Authenticated, GrpcTransport, Options, RaftService};
use support::raw::{self, Talk};
use support::warnings::Warnings;
use support::{Node, Seen, heartbeat, identity};
use tokio::sync::{mpsc, oneshot};
use tonic::Code;
use tonic::codegen::tokio_stream::wrappers::TcpListenerStream;
use tonic::service::interceptor::InterceptedService;
use tonic_health::ServingStatus;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};

#[tokio::test]
async fn health_is_served() {
    let a = Node::start(identity(1), Options::default()).await;
    let mut health = HealthClient::new(raw::connect(a.address()).await);
    for service in ["", "raft.v1.Raft"] {
        let answer = health.check(HealthCheckRequest { service: service.into() }).await.unwrap();
        assert_eq!(answer.into_inner().status, ServingStatus::Serving as i32, "{service}");
    }
    let unknown = health.check(HealthCheckRequest { service: "other".into() }).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    // Who watches hears of the end.
    let watched = health.watch(HealthCheckRequest { service: "raft.v1.Raft".into() }).await.unwrap();
    let mut watched = watched.into_inner();
    let first = watched.message().await.unwrap().unwrap();
    assert_eq!(first.status, ServingStatus::Serving as i32);
    let watcher = tokio::spawn(async move { while let Ok(Some(_)) = watched.message().await {} });
    a.transport.shutdown().await;
    watcher.await.unwrap();
}

#[tokio::test]
async fn reflection_describes_the_protocol() {
    let a = Node::start(identity(1), Options::default()).await;
    let mut reflection = ServerReflectionClient::new(raw::connect(a.address()).await);
    let ask = |message| ServerReflectionRequest { host: String::new(), message_request: Some(message) };
    let requests = [
        ask(MessageRequest::ListServices(String::new())),
        ask(MessageRequest::FileContainingSymbol("raft.v1.Raft".into())),
        ask(MessageRequest::FileContainingSymbol("raft.v1.SnapshotChunk".into())),
    ];
    let requests = tonic::codegen::tokio_stream::iter(requests);
    let mut answers = reflection.server_reflection_info(requests).await.unwrap().into_inner();
    let mut next = async || {
        let answer: ServerReflectionResponse = answers.message().await.unwrap().unwrap();
        answer.message_response.unwrap()
    };
    let MessageResponse::ListServicesResponse(list) = next().await else { panic!() };
    let names: Vec<String> = list.service.into_iter().map(|service| service.name).collect();
    for name in ["raft.v1.Raft", "grpc.health.v1.Health"] {
        assert!(names.iter().any(|found| found == name), "{names:?}");
    }
    for _ in 0..2 {
        let MessageResponse::FileDescriptorResponse(files) = next().await else { panic!() };
        assert!(
            files.file_descriptor_proto.iter().any(|file| file.windows(7).any(|part| part == b"raft.v1"))
        );
    }
}

#[tokio::test]
async fn what_does_not_exist_is_unimplemented() {
    let a = Node::start(identity(1), Options::default()).await;
    for path in ["/raft.v1.Raft/Other", "/other.Service/Call", "/"] {
        let mut client = tonic::client::Grpc::new(raw::connect(a.address()).await);
        client.ready().await.unwrap();
        let request = tonic::Request::new(bytes::Bytes::new());
        let path = path.parse().unwrap();
        let status = client.unary(request, path, raw::Raw).await.unwrap_err();
        assert_eq!(status.code(), Code::Unimplemented, "{status:?}");
    }
    assert_eq!(a.transport.stats().misbehaved, 0);
}

/// A server of the user's, with health of its own beside the transport's service.
struct Server {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    async fn start(transport: &GrpcTransport, proven: Option<Authenticated>) -> Self {
        Self::of(transport.service(), proven).await
    }

    async fn of(raft: RaftService, proven: Option<Authenticated>) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let (_, health) = tonic_health::server::health_reporter();
        let raft = InterceptedService::new(raft, move |mut request: tonic::Request<()>| {
            if let Some(proven) = proven {
                request.extensions_mut().insert(proven);
            }
            Ok(request)
        });
        let server = tonic::transport::Server::builder().add_service(health).add_service(raft);
        let task = tokio::spawn(async move {
            let stopped = async {
                let _ = stopped.await;
            };
            server.serve_with_incoming_shutdown(TcpListenerStream::new(listener), stopped).await.unwrap();
        });
        Self { address, stop, task }
    }
}

#[tokio::test]
async fn a_server_of_ones_own_carries_the_transport() {
    let (sender, mut seen) = mpsc::unbounded_channel();
    let (front, inbox) = support::inbox(sender);
    let transport = GrpcTransport::without_listener(Options::default());
    let server = Server::start(&transport, None).await;
    // Not yet.
    let channel = raw::connect(server.address).await;
    let early = Talk::open(channel, "Control", raw::hello(&identity(1), 2, (1, 1))).await.unwrap();
    assert!(matches!(early.refusal().await, Why::NotReady(_)));
    transport.start(identity(2), front).await.unwrap();
    assert_eq!(transport.local_addr(), None);
    let mut a = Node::start(identity(1), Options::default()).await;
    let member = Member::new(NodeId(2), server.address.to_string());
    a.transport.members(std::slice::from_ref(&member));
    transport.members(&[a.member()]);
    a.up(2).await;
    while seen.recv().await.unwrap() != Seen::Peer(NodeId(1), PeerEvent::Up) {}
    for round in 0..100 {
        assert_eq!(a.transport.send(&member, Lane::Control, heartbeat(1, 2, round)), Sent::Queued);
        assert_eq!(transport.send(&a.member(), Lane::Control, heartbeat(2, 1, round)), Sent::Queued);
    }
    for round in 0..100 {
        assert_eq!(seen.recv().await.unwrap(), Seen::Message(heartbeat(1, 2, round)));
        assert_eq!(a.message().await, heartbeat(2, 1, round));
    }
    // The user's own service answers on the same port.
    let mut health = HealthClient::new(raw::connect(server.address).await);
    health.check(HealthCheckRequest { service: String::new() }).await.unwrap();
    // The transport's end is not the server's: its streams end, and what comes later is not ready.
    transport.shutdown().await;
    a.until(|seen| *seen == Seen::Peer(NodeId(2), PeerEvent::Down)).await;
    a.until(|seen| matches!(seen, Seen::Refused(NodeId(2), raft_core::backend::Refusal::NotReady))).await;
    let sent = transport.send(&a.member(), Lane::Control, heartbeat(2, 1, 0));
    assert_eq!(sent, Sent::Dropped(SentDropped::Stopped));
    assert_eq!(Arc::strong_count(&inbox), 1, "nothing keeps the node");
    health.check(HealthCheckRequest { service: String::new() }).await.unwrap();
    a.transport.shutdown().await;
    drop(health);
    server.stop.send(()).unwrap();
    server.task.await.unwrap();
}

#[tokio::test]
async fn what_a_layer_has_proven_must_be_what_the_peer_says() {
    let (sender, mut seen) = mpsc::unbounded_channel();
    let (front, _inbox) = support::inbox(sender);
    let transport = GrpcTransport::without_listener(Options::default());
    transport.start(identity(2), front).await.unwrap();
    let server = Server::start(&transport, Some(Authenticated(NodeId(1)))).await;
    let hello = |node| raw::hello(&identity(node), 2, (1, 1));
    let other = Talk::open(raw::connect(server.address).await, "Control", hello(3)).await.unwrap();
    assert!(matches!(other.refusal().await, Why::WrongNode(pair) if (pair.ours, pair.theirs) == (1, 3)));
    assert_eq!(transport.stats().refused, 1);
    let right = Talk::greet(raw::connect(server.address).await, "Control", identity(1), 2).await;
    right.say(raw::heartbeat(1, 2, 8)).await;
    assert_eq!(seen.recv().await.unwrap(), Seen::Message(heartbeat(1, 2, 8)));
    transport.shutdown().await;
    drop(right);
    drop(server.stop);
    server.task.await.unwrap();
}

/// Who has proven nothing is let in by `service()`, and not by this.
#[tokio::test]
async fn t06_a_service_for_authenticated_peers_only_refuses_all_others() {
    let warnings = Warnings::default();
    let _guard = tracing::subscriber::set_default(warnings.clone());
    let (sender, mut seen) = mpsc::unbounded_channel();
    let (front, _inbox) = support::inbox(sender);
    let transport = GrpcTransport::without_listener(Options::default());
    transport.start(identity(2), front).await.unwrap();
    let services =
        [transport.service(), RaftService::of_groups([&transport])].map(RaftService::authenticated_only);
    let mut refused = 0;
    for service in services {
        let open = Server::of(service.clone(), None).await;
        for lane in ["Control", "Bulk", "Control"] {
            let hello = raw::hello(&identity(1), 2, (1, 1));
            let talk = Talk::open(raw::connect(open.address).await, lane, hello).await;
            assert_eq!(talk.err().unwrap().code(), Code::Unauthenticated);
            refused += 1;
            assert_eq!(transport.stats().refused, refused);
        }
        drop(open.stop);
        open.task.await.unwrap();

        let layered = Server::of(service, Some(Authenticated(NodeId(1)))).await;
        let right = Talk::greet(raw::connect(layered.address).await, "Control", identity(1), 2).await;
        right.say(raw::heartbeat(1, 2, 8)).await;
        assert_eq!(next_message(&mut seen).await, heartbeat(1, 2, 8));
        drop(right);
        drop(layered.stop);
        layered.task.await.unwrap();
    }
    let warnings = warnings.all();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("has not proven"), "{warnings:?}");

    // A node that is refused so says it as well, and comes back later.
    let open = Server::of(transport.service().authenticated_only(), None).await;
    let a = Node::start(identity(1), Options::default()).await;
    a.transport.members(&[Member::new(NodeId(2), open.address.to_string())]);
    while a.transport.stats().refused == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(a.transport.stats().dialled, 0);
    a.transport.shutdown().await;
    transport.shutdown().await;
    drop(open.stop);
    open.task.await.unwrap();
}

/// Nobody can tell yet whom they mean: the first transport that runs counts them, and says so once.
#[tokio::test]
async fn t07_who_does_not_say_which_group_it_means_is_counted_and_logged() {
    let warnings = Warnings::default();
    let _guard = tracing::subscriber::set_default(warnings.clone());
    let (sender, _seen) = mpsc::unbounded_channel();
    let (front, _inbox) = support::inbox(sender);
    let transports = |patience, streams| {
        let mut options = Options::default();
        (options.handshake_timeout, options.connections) = (patience, streams);
        [(); 2].map(|()| GrpcTransport::without_listener(options.clone()))
    };
    let impatient = transports(Duration::from_millis(20), 8);
    // The first of them does not run.
    impatient[1].start(identity(2), front.clone()).await.unwrap();
    let server = Server::of(RaftService::of_groups(&impatient), None).await;
    for times in 1..=3 {
        let status = Talk::silent(raw::connect(server.address).await).await.unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
        assert_eq!(impatient[1].stats().turned_away, times);
    }
    assert_eq!(warnings.all().len(), 1, "{:?}", warnings.all());
    assert_eq!(impatient[0].stats().turned_away + impatient[0].stats().misbehaved, 0);
    impatient[1].shutdown().await;
    drop(server.stop);
    server.task.await.unwrap();

    // One that waits for each is all that may; who says something senseless does not wait.
    let narrow = transports(Duration::from_secs(600), 1);
    narrow[0].start(identity(2), front).await.unwrap();
    let server = Server::of(RaftService::of_groups(&narrow), None).await;
    for times in 1..=3 {
        let garbage = bytes::Bytes::from_static(&[0xff; 16]);
        let talk = Talk::open(raw::connect(server.address).await, "Bulk", garbage).await;
        assert!(talk.is_err());
        assert_eq!(narrow[0].stats().misbehaved, times);
    }
    assert_eq!(warnings.all().len(), 2, "{:?}", warnings.all());
    let silent = [(); 3].map(|()| async { Talk::silent(raw::connect(server.address).await).await });
    let [a, b, c] = silent;
    let first = tokio::select! { ended = a => ended, ended = b => ended, ended = c => ended };
    assert_eq!(first.unwrap_err().code(), Code::ResourceExhausted);
    assert_eq!(narrow[0].stats().turned_away, 1);
    assert_eq!(warnings.all().len(), 3, "{:?}", warnings.all());
    narrow[0].shutdown().await;
    drop(server.stop);
    server.task.await.unwrap();
}

async fn next_message(seen: &mut mpsc::UnboundedReceiver<Seen>) -> Envelope {
    loop {
        if let Seen::Message(message) = seen.recv().await.unwrap() {
            return message;
        }
    }
}

/// Two groups of two nodes each: the second nodes of both share a listener.
#[tokio::test]
async fn a_listener_that_several_groups_share_hands_each_dialler_to_its_own() {
    let of_group = |node, group| Identity { group: GroupId(group), ..identity(node) };
    let heartbeat_in =
        |group, from, to, round| Envelope { group: GroupId(group), ..heartbeat(from, to, round) };
    let (senders, mut seen): (Vec<_>, Vec<_>) = (0..2).map(|_| mpsc::unbounded_channel()).unzip();
    let fronts: Vec<_> = senders.into_iter().map(support::inbox).collect();
    let transports: Vec<_> = (0..2).map(|_| GrpcTransport::without_listener(Options::default())).collect();
    let server = Server::of(RaftService::of_groups(&transports), None).await;
    let member = Member::new(NodeId(2), server.address.to_string());

    let greeting = |group| raw::hello(&of_group(1, group), 2, (1, 1));
    let greet =
        async |group| Talk::open(raw::connect(server.address).await, "Control", greeting(group)).await;
    transports[0].start(of_group(2, 0), fronts[0].0.clone()).await.unwrap();
    // The other one may be of any group, as far as anybody knows.
    assert!(matches!(greet(7).await.unwrap().refusal().await, Why::NotReady(_)));
    transports[1].start(of_group(2, 7), fronts[1].0.clone()).await.unwrap();
    assert!(matches!(greet(8).await.unwrap().refusal().await, Why::WrongGroup(pair) if pair.theirs == 8));
    assert_eq!(transports[0].stats().refused, 1);

    let mut nodes = Vec::new();
    for group in [0, 7] {
        let node = Node::start(of_group(1, group), Options::default()).await;
        node.transport.members(std::slice::from_ref(&member));
        nodes.push(node);
    }
    for ((node, group), seen) in nodes.iter_mut().zip([0, 7]).zip(&mut seen) {
        node.up(2).await;
        for round in 0..10 {
            let sent = node.transport.send(&member, Lane::Control, heartbeat_in(group, 1, 2, round));
            assert_eq!(sent, Sent::Queued);
        }
        for round in 0..10 {
            assert_eq!(next_message(seen).await, heartbeat_in(group, 1, 2, round));
        }
    }

    // The end of one is not that of the other.
    transports[0].shutdown().await;
    nodes[0].until(|seen| *seen == Seen::Peer(NodeId(2), PeerEvent::Down)).await;
    let sent = nodes[1].transport.send(&member, Lane::Control, heartbeat_in(7, 1, 2, 99));
    assert_eq!(sent, Sent::Queued);
    assert_eq!(next_message(&mut seen[1]).await, heartbeat_in(7, 1, 2, 99));
    // Who names no group at all is told so by one of those that run.
    let senseless = Talk::open(raw::connect(server.address).await, "Control", raw::ready()).await.unwrap();
    assert_eq!(senseless.end().await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(transports[1].stats().misbehaved, 1);
    transports[1].shutdown().await;
    for node in nodes {
        node.transport.shutdown().await;
    }
    drop(server.stop);
    server.task.await.unwrap();
}
