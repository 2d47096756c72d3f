//! The same port with TLS around it: peers with the cluster's certificates, clients with the service's.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use raft_core::ids::NodeId;
use raft_core::membership::{Member, Membership};
use raft_core::tls::{Pem, TlsIdentity, node_name};
use raft_mounted::{CLUSTER, Limits, Service, Setup, Tls};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, ServerName};
use tokio_rustls::rustls::time_provider::DefaultTimeProvider;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};

/// Signs certificates of nodes.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: Vec<u8>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem().into_bytes();
        Self { issuer: Issuer::new(params, key), pem }
    }

    fn node(&self, node: u64) -> Pem {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([node_name(CLUSTER, NodeId(node))]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let (chain, key) = (certificate.pem().into_bytes(), key.serialize_pem().into_bytes());
        Pem { chain, key, ca: self.pem.clone() }
    }
}

/// What the service shows its clients, and a client that trusts it and has nothing to show.
fn service() -> (ServerConfig, TlsConnector) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (made.cert.der().clone(), made.signing_key.serialize_der());
    let server = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], PrivateKeyDer::Pkcs8(key.into()))
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let client = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (server, TlsConnector::from(Arc::new(client)))
}

/// One request of a client, on a connection of its own.
async fn ask(
    client: &TlsConnector,
    address: &str,
    method: Method,
    path: &str,
    body: &str,
) -> Response<Bytes> {
    let stream = TcpStream::connect(address).await.unwrap();
    let stream = client.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::builder().method(method).uri(path).header("host", address);
    let request = request.header("content-type", "application/grpc");
    let request = request.body(Full::new(Bytes::copy_from_slice(body.as_bytes()))).unwrap();
    let (parts, body) = sender.send_request(request).await.unwrap().into_parts();
    Response::from_parts(parts, body.collect().await.unwrap().to_bytes())
}

/// A `PUT` to anybody until it is done.
async fn put(client: &TlsConnector, addresses: &[String], value: &str) {
    loop {
        for address in addresses {
            let answer = ask(client, address, Method::PUT, "/keys/a", value).await;
            match answer.status() {
                StatusCode::NO_CONTENT => return,
                StatusCode::TEMPORARY_REDIRECT => {
                    let location = answer.headers()["location"].to_str().unwrap();
                    assert!(location.starts_with("https://"), "{location}");
                }
                StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {}
                other => panic!("{other}: {answer:?}"),
            }
            tokio::task::yield_now().await;
        }
    }
}

/// Where three nodes are to listen.
fn founders() -> (Membership, Vec<String>) {
    let listeners = [(); 3].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let at = listeners.map(|listener| listener.local_addr().unwrap().to_string());
    let members = (1..).zip(&at).map(|(id, at)| Member::new(NodeId(id), at.clone()));
    (Membership::of_voters(members).unwrap(), at.to_vec())
}

async fn start(id: u64, folder: &Path, founders: &Membership, pem: &Pem, clients: ServerConfig) -> Service {
    let address = founders.member(NodeId(id)).unwrap().address.to_string();
    let socket = TcpListener::bind(&address).await.unwrap();
    let peers = TlsIdentity::new(pem, Arc::new(DefaultTimeProvider)).unwrap();
    let setup = Setup {
        id: NodeId(id),
        data: folder.join(id.to_string()),
        address,
        founders: Some(founders.clone()),
        patience: Duration::from_secs(20),
        limits: Limits::default(),
        tls: Some(Tls::new(NodeId(id), peers, clients)),
    };
    Service::start(setup, socket).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_and_peers_share_a_port_with_tls() {
    let folder = tempfile::tempdir().unwrap();
    let ((founders, at), ca, (server, client)) = (founders(), Authority::new(), service());
    let mut services = Vec::new();
    for id in 1..=3 {
        services.push(start(id, folder.path(), &founders, &ca.node(id), server.clone()).await);
    }
    put(&client, &at, "one").await;
    for address in &at {
        // It asks the leader how far it must be: peers reach each other.
        let answer = loop {
            let answer = ask(&client, address, Method::GET, "/keys/a", "").await;
            if answer.status() == StatusCode::OK {
                break answer;
            }
            assert!(answer.status().is_server_error(), "{answer:?}");
            tokio::task::yield_now().await;
        };
        assert_eq!(answer.body(), "one");
    }

    // A client is none of the peers, though it is let in: 16 is UNAUTHENTICATED.
    for lane in ["Control", "Bulk"] {
        let path = format!("/raft.v1.Raft/{lane}");
        let answer = ask(&client, &at[0], Method::POST, &path, "").await;
        assert_eq!(answer.headers()["grpc-status"], "16", "{answer:?}");
    }
    // And who speaks no TLS gets no answer at all, but perhaps an alert.
    let mut plain = TcpStream::connect(&at[0]).await.unwrap();
    plain.write_all(b"GET /health HTTP/1.1\r\nhost: here\r\n\r\n").await.unwrap();
    let mut all = Vec::new();
    // Closed with unread bytes, a connection ends with a reset.
    let _ = plain.read_to_end(&mut all).await;
    assert!(!all.starts_with(b"HTTP"), "{all:?}");

    for service in services {
        service.shutdown(Duration::from_secs(20)).await.unwrap();
    }
}

/// A node whose certificate another CA has signed says what it likes: nobody hears it, and it hears nobody.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_another_authority_takes_no_part() {
    let folder = tempfile::tempdir().unwrap();
    let ((founders, at), ca, (server, client)) = (founders(), Authority::new(), service());
    let foreign = start(2, folder.path(), &founders, &Authority::new().node(2), server.clone()).await;
    // With a right one it would be heard: two nodes are a quorum only with each other.
    let first = start(1, folder.path(), &founders, &ca.node(1), server.clone()).await;
    let third = start(3, folder.path(), &founders, &ca.node(3), server).await;
    let good = [at[0].clone(), at[2].clone()];
    for round in 0..10 {
        put(&client, &good, &round.to_string()).await;
    }
    assert_eq!(foreign.node().status().leader, None);
    assert_eq!(foreign.store().count().unwrap(), 0);
    for service in [first, third, foreign] {
        service.shutdown(Duration::from_secs(20)).await.unwrap();
    }
}
