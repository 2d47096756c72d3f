//! Mutual TLS that is around a server of the user's own (T6): it hands over what the peer has shown, and that is judged as on
//! the transport's own listener.

mod support;

use std::net::SocketAddr;
use std::sync::Arc;

use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use raft_core::backend::{Refusal, Sent, Transport};
use raft_core::ids::{ClusterId, NodeId};
use raft_core::membership::Member;
use raft_core::message::{Lane, PeerEvent};
use raft_core::tls::{Pem, TlsIdentity, node_name};
use raft_net_grpc::{GrpcTransport, Options, PeerCertificates, RaftService};
use rcgen::CertificateParams;
use support::authority::{Authority, tls};
use support::{Node, Seen, any_port, heartbeat, identity, inbox};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio_rustls::TlsAcceptor;
use tonic::codegen::{Service, http};

/// Node 2, in a server of somebody's.
struct Mounted {
    transport: GrpcTransport,
    seen: UnboundedReceiver<Seen>,
    address: SocketAddr,
}

impl Mounted {
    async fn start(pem: &Pem) -> Self {
        let identity_of_tls = tls(pem);
        let transport = GrpcTransport::without_listener(Options::default()).with_tls(identity_of_tls.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve(listener, identity_of_tls, transport.service().authenticated_only()));
        let (sender, seen) = mpsc::unbounded_channel();
        transport.start(identity(2), inbox(sender).0).await.unwrap();
        Self { transport, seen, address }
    }

    fn member(&self) -> Member {
        Member::new(NodeId(2), self.address.to_string())
    }
}

async fn serve(listener: TcpListener, identity: TlsIdentity, service: RaftService) {
    while let Ok((stream, _)) = listener.accept().await {
        let mut config = (*identity.server()).clone();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let service = service.clone();
        tokio::spawn(async move {
            let Ok(stream) = TlsAcceptor::from(Arc::new(config)).accept(stream).await else { return };
            let shown = PeerCertificates::shown(stream.get_ref().1.peer_certificates()).unwrap();
            let serve = service_fn(move |mut request: http::Request<hyper::body::Incoming>| {
                request.extensions_mut().insert(shown.clone());
                service.clone().call(request)
            });
            // How it ends is up to the other side.
            let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), serve).await;
        });
    }
}

/// A node on its own listener, with what may be the certificate of another.
async fn start(node: u64, pem: &Pem) -> Node {
    let tls = tls(&Authority::new().node(node));
    let transport = GrpcTransport::new(any_port(), Options::default()).with_tls(tls.clone());
    let started = Node::start_this(transport, identity(node)).await;
    // Its check of its own certificate, at the start, is got round.
    tls.reload(pem).unwrap();
    started
}

#[tokio::test]
async fn a_server_of_ones_own_with_tls_carries_the_transport() {
    let ca = Authority::new();
    let mut b = Mounted::start(&ca.node(2)).await;
    let mut a = start(1, &ca.node(1)).await;
    a.transport.members(&[b.member()]);
    b.transport.members(&[a.member()]);
    a.up(2).await;
    while b.seen.recv().await.unwrap() != Seen::Peer(NodeId(1), PeerEvent::Up) {}
    for round in 0..100 {
        assert_eq!(a.transport.send(&b.member(), Lane::Control, heartbeat(1, 2, round)), Sent::Queued);
        assert_eq!(b.transport.send(&a.member(), Lane::Control, heartbeat(2, 1, round)), Sent::Queued);
    }
    for round in 0..100 {
        assert_eq!(b.seen.recv().await.unwrap(), Seen::Message(heartbeat(1, 2, round)));
        assert_eq!(a.message().await, heartbeat(2, 1, round));
    }
    assert_eq!(a.transport.stats().refused + b.transport.stats().refused, 0);
}

/// Of another node, or of this one in another cluster: the CA is the right one, and the server lets it in.
#[tokio::test]
async fn t06_a_certificate_of_somebody_else_is_refused_by_name() {
    let ca = Authority::new();
    let b = Mounted::start(&ca.node(2)).await;
    let elsewhere = CertificateParams::new([node_name(ClusterId(7), NodeId(3))]).unwrap();
    for pem in [ca.node(1), ca.sign(&elsewhere)] {
        let mut c = start(3, &pem).await;
        c.transport.members(&[b.member()]);
        let why = Refusal::NotCertified { claimed: NodeId(3) };
        assert_eq!(c.next().await, Seen::Refused(NodeId(2), why));
        assert_eq!(c.transport.stats().dialled, 0);
    }
    let stats = b.transport.stats();
    assert!(stats.refused >= 2 && stats.accepted == 0, "{stats:?}");
}

/// The server's TLS does not let it in, and neither is there anybody whom it would let in by itself.
#[tokio::test]
async fn t06_a_certificate_of_another_ca_is_refused() {
    let ca = Authority::new();
    let b = Mounted::start(&ca.node(2)).await;
    let foreign = Authority::new().node(3);
    let c = start(3, &Pem { ca: ca.pem.clone(), ..foreign }).await;
    c.transport.members(&[b.member()]);
    while c.transport.stats().refused == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(c.transport.stats().dialled + b.transport.stats().accepted, 0);
}

#[test]
fn nothing_shown_is_no_proof() {
    assert!(PeerCertificates::shown(None).is_none());
    assert!(PeerCertificates::shown(Some(&[])).is_none());
}
