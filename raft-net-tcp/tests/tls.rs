//! Mutual TLS: who has no certificate for the node that it claims to be stays outside, is logged once and
//! counted, and nobody else notices.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use raft_core::backend::{Refusal, Transport, TransportError};
use raft_core::ids::{ClusterId, NodeId};
use raft_core::message::Lane;
use raft_core::tls::{Pem, TlsIdentity, node_name};
use raft_net_tcp::{Options, TcpTransport};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use support::{Node, Seen, any_port, heartbeat, identity, inbox};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::UnixTime;
use tokio_rustls::rustls::time_provider::TimeProvider;

const CLUSTER: ClusterId = ClusterId(42);

struct Authority(Issuer<'static, KeyPair>, Vec<u8>);

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        Self(Issuer::new(params, key), certificate.pem().into_bytes())
    }

    fn pem(&self, node: u64, change: impl FnOnce(&mut CertificateParams)) -> Pem {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([node_name(CLUSTER, NodeId(node))]).unwrap();
        change(&mut params);
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Pem {
            chain: certificate.pem().into_bytes(),
            key: key.serialize_pem().into_bytes(),
            ca: self.1.clone(),
        }
    }

    fn identity(&self, node: u64) -> TlsIdentity {
        secret(&self.pem(node, |_| {}))
    }
}

/// The system's time, a second later each time it is asked for: nobody may rely on two connections in one.
#[derive(Debug, Default)]
struct Ticking(AtomicU64);

impl TimeProvider for Ticking {
    fn current_time(&self) -> Option<UnixTime> {
        let passed = Duration::from_secs(self.0.fetch_add(1, Ordering::SeqCst));
        Some(UnixTime::since_unix_epoch(Duration::from_secs(UnixTime::now().as_secs()) + passed))
    }
}

fn secret(pem: &Pem) -> TlsIdentity {
    TlsIdentity::new(pem, Arc::new(Ticking::default())).unwrap()
}

fn with(tls: TlsIdentity) -> TcpTransport {
    TcpTransport::new(any_port(), Options::default()).with_tls(tls)
}

async fn node(ca: &Authority, number: u64) -> Node {
    Node::start_this(with(ca.identity(number)), identity(number)).await
}

async fn join(a: &mut Node, b: &mut Node) {
    a.transport.members(&[b.member()]);
    b.transport.members(&[a.member()]);
    a.up(b.id.0).await;
    b.up(a.id.0).await;
}

async fn still_serves(a: &Node, b: &mut Node) {
    a.transport.send(&b.member(), Lane::Control, heartbeat(1, 2, 77));
    assert_eq!(b.message().await, heartbeat(1, 2, 77));
}

/// Counts warnings of this thread.
#[derive(Clone, Default)]
struct Warnings(Arc<AtomicUsize>);

impl tracing::Subscriber for Warnings {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::WARN
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, _: &tracing::Event<'_>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

#[tokio::test]
async fn nodes_with_certificates_of_one_authority_talk() {
    let ca = Authority::new();
    let (mut a, mut b) = (node(&ca, 1).await, node(&ca, 2).await);
    join(&mut a, &mut b).await;
    still_serves(&a, &mut b).await;
    assert_eq!((a.transport.stats().refused, b.transport.stats().refused), (0, 0));
}

/// Connects to node 2 as whoever these certificates are for, three times, and waits until it hangs up.
async fn knock(b: &Node, tls: &TlsIdentity) {
    for _ in 0..3 {
        let stream = TcpStream::connect(b.address()).await.unwrap();
        let name = TlsIdentity::server_name(CLUSTER, NodeId(2)).unwrap();
        if let Ok(mut stream) = TlsConnector::from(tls.client()).connect(name, stream).await {
            // In TLS 1.3 the listener judges last.
            let mut rest = Vec::new();
            let ended = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut rest));
            ended.await.expect("it is still connected").unwrap_err();
        }
    }
}

async fn is_refused(pem: impl FnOnce(&Authority) -> Pem) {
    let ca = Authority::new();
    let (mut a, mut b) = (node(&ca, 1).await, node(&ca, 2).await);
    join(&mut a, &mut b).await;
    let warnings = Warnings::default();
    let guard = tracing::subscriber::set_default(warnings.clone());
    let mut pem = pem(&ca);
    // Whoever knocks knows the CA of the cluster: it is the listener that refuses.
    pem.ca.clone_from(&ca.1);
    knock(&b, &secret(&pem)).await;
    still_serves(&a, &mut b).await;
    assert_eq!(b.transport.stats().refused, 3, "counted");
    assert_eq!(warnings.0.load(Ordering::SeqCst), 1, "logged once");
    drop(guard);
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused() {
    is_refused(|_| Authority::new().pem(1, |_| {})).await;
}

#[tokio::test]
async fn an_expired_certificate_is_refused() {
    is_refused(|ca| ca.pem(1, |params| params.not_after = rcgen::date_time_ymd(2001, 1, 1))).await;
}

#[tokio::test]
async fn a_certificate_that_is_not_valid_yet_is_refused() {
    is_refused(|ca| ca.pem(1, |params| params.not_before = rcgen::date_time_ymd(2999, 1, 1))).await;
}

/// T6: node 3 has a good certificate, and says that it is node 1.
#[tokio::test]
async fn a_certificate_of_another_node_is_refused() {
    let ca = Authority::new();
    let (mut a, mut b) = (node(&ca, 1).await, node(&ca, 2).await);
    join(&mut a, &mut b).await;
    // Its own check at the start is got round by a reload afterwards.
    let tls = ca.identity(1);
    let mut liar = Node::start_this(with(tls.clone()), identity(1)).await;
    tls.reload(&ca.pem(3, |_| {})).unwrap();
    liar.transport.members(&[b.member()]);
    let refused = liar.until(|seen| matches!(seen, Seen::Refused(..))).await;
    assert_eq!(refused, Seen::Refused(NodeId(2), Refusal::NotCertified { claimed: NodeId(1) }));
    assert!(b.transport.stats().refused >= 1);
    still_serves(&a, &mut b).await;
    // Dialled, it is found out by the dialler.
    let before = a.transport.stats().refused;
    let mut moved = b.member();
    moved.address = liar.address().to_string();
    a.transport.members(&[moved]);
    let counted = async {
        while a.transport.stats().refused == before {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), counted).await.expect("the dialler refuses");
}

#[tokio::test]
async fn who_speaks_no_tls_is_refused() {
    let ca = Authority::new();
    let (mut a, mut b) = (node(&ca, 1).await, node(&ca, 2).await);
    join(&mut a, &mut b).await;
    let warnings = Warnings::default();
    let guard = tracing::subscriber::set_default(warnings.clone());
    for _ in 0..3 {
        let mut plain = TcpStream::connect(b.address()).await.unwrap();
        plain.write_all(b"RAFT\x20\0\0\0\0\0").await.unwrap();
        // It says so by an alert, or only hangs up.
        let _ = plain.read_to_end(&mut Vec::new()).await;
    }
    assert_eq!(b.transport.stats().refused, 3, "counted");
    assert_eq!(warnings.0.load(Ordering::SeqCst), 1, "logged once");
    drop(guard);
    still_serves(&a, &mut b).await;
}

#[tokio::test]
async fn who_speaks_tls_to_a_node_without_it_is_refused() {
    let ca = Authority::new();
    let (mut a, mut b) = (
        Node::start(identity(1), Options::default()).await,
        Node::start(identity(2), Options::default()).await,
    );
    join(&mut a, &mut b).await;
    let warnings = Warnings::default();
    let guard = tracing::subscriber::set_default(warnings.clone());
    knock(&b, &ca.identity(1)).await;
    assert_eq!(b.transport.stats().misbehaved, 3, "counted");
    assert_eq!(warnings.0.load(Ordering::SeqCst), 1, "logged once");
    drop(guard);
    still_serves(&a, &mut b).await;
}

/// A message of the handshake, in its frame, that no dialler begins with.
#[tokio::test]
async fn who_begins_out_of_turn_is_logged_once_and_counted_each_time() {
    let b = Node::start(identity(2), Options::default()).await;
    let warnings = Warnings::default();
    let _guard = tracing::subscriber::set_default(warnings.clone());
    // `Ready`, by its number.
    let body = [2];
    let ready = [&b"RAFT"[..], &1_u16.to_le_bytes(), &crc32c::crc32c(&body).to_le_bytes(), &body].concat();
    for _ in 0..3 {
        let mut stream = TcpStream::connect(b.address()).await.unwrap();
        stream.write_all(&ready).await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    }
    assert_eq!(b.transport.stats().misbehaved, 3, "counted");
    assert_eq!(warnings.0.load(Ordering::SeqCst), 1, "logged once");
}

/// A reload counts for new connections; those that are open go on.
#[tokio::test]
async fn certificates_are_replaced_while_it_runs() {
    let (old, new) = (Authority::new(), Authority::new());
    let tls = old.identity(2);
    let (mut a, mut b) = (node(&old, 1).await, Node::start_this(with(tls.clone()), identity(2)).await);
    join(&mut a, &mut b).await;
    tls.reload(&new.pem(2, |_| {})).unwrap();
    still_serves(&a, &mut b).await;
    knock(&b, &secret(&Pem { ca: new.1.clone(), ..old.pem(3, |_| {}) })).await;
    assert_eq!(b.transport.stats().refused, 3, "the old authority counts no more");
    let mut third = node(&new, 3).await;
    third.transport.members(&[b.member()]);
    third.up(2).await;
}

#[tokio::test]
async fn a_node_does_not_start_with_the_certificate_of_another() {
    let ca = Authority::new();
    let transport = with(ca.identity(3));
    let (front, _) = inbox(tokio::sync::mpsc::unbounded_channel().0);
    let error = transport.start(identity(1), front).await.unwrap_err();
    let TransportError::Listen { cause, .. } = &error else { panic!("{error}") };
    assert!(cause.contains("node-1.") && cause.contains("node-3."), "{cause}");
}
