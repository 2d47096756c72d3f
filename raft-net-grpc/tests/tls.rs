//! Mutual TLS (T6): whose certificate is not that of the node it says it is does not get in.

mod support;

use std::collections::BTreeSet;

use raft_core::backend::{Refusal, Sent, Transport, TransportError};
use raft_core::ids::{ClusterId, NodeId};
use raft_core::membership::Member;
use raft_core::message::Lane;
use raft_core::tls::{Pem, TlsIdentity, node_name};
use raft_net_grpc::{GrpcTransport, Options};
use rcgen::CertificateParams;
use support::authority::{Authority, params, tls};
use support::raw::{self, Talk};
use support::warnings::Warnings;
use support::{Node, Seen, any_port, heartbeat, identity, inbox};
use tokio::io::AsyncWriteExt;

async fn start(node: u64, pem: &Pem) -> Node {
    start_as(node, tls(pem)).await
}

async fn start_as(node: u64, tls: TlsIdentity) -> Node {
    let transport = GrpcTransport::new(any_port(), Options::default()).with_tls(tls);
    Node::start_this(transport, identity(node)).await
}

/// A node with what may be the certificate of another. Its own check at the start is got round by a reload afterwards.
async fn start_liar(node: u64, pem: &Pem) -> Node {
    let tls = tls(&Authority::new().node(node));
    let started = start_as(node, tls.clone()).await;
    tls.reload(pem).unwrap();
    started
}

#[tokio::test]
async fn a_node_does_not_start_with_the_certificate_of_another() {
    let ca = Authority::new();
    let transport = GrpcTransport::new(any_port(), Options::default()).with_tls(tls(&ca.node(3)));
    let (front, _) = inbox(tokio::sync::mpsc::unbounded_channel().0);
    let error = transport.start(identity(1), front).await.unwrap_err();
    let TransportError::Listen { cause, .. } = &error else { panic!("{error}") };
    assert!(cause.contains("node-1.") && cause.contains("node-3."), "{cause}");
}

/// Until one side has refused the other as often as this.
async fn refused(node: &Node, times: u64) {
    while node.transport.stats().refused < times {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn nodes_with_certificates_talk() {
    let ca = Authority::new();
    let (mut a, mut b) = (start(1, &ca.node(1)).await, start(2, &ca.node(2)).await);
    a.transport.members(&[b.member()]);
    b.transport.members(&[a.member()]);
    a.up(2).await;
    b.up(1).await;
    for round in 0..100 {
        assert_eq!(a.transport.send(&b.member(), Lane::Control, heartbeat(1, 2, round)), Sent::Queued);
        assert_eq!(b.transport.send(&a.member(), Lane::Control, heartbeat(2, 1, round)), Sent::Queued);
    }
    for round in 0..100 {
        assert_eq!(b.message().await, heartbeat(1, 2, round));
        assert_eq!(a.message().await, heartbeat(2, 1, round));
    }
    assert_eq!(a.transport.stats().refused + b.transport.stats().refused, 0);
}

/// Two good nodes talk while a third, with this certificate, tries to reach one of them and is tried by it.
async fn third_is_refused(ca: &Authority, third: &Pem) {
    let warnings = Warnings::default();
    let _guard = tracing::subscriber::set_default(warnings.clone());
    let (mut a, mut b) = (start(1, &ca.node(1)).await, start(2, &ca.node(2)).await);
    a.transport.members(&[b.member()]);
    a.up(2).await;
    let mut c = start_liar(3, third).await;
    c.transport.members(&[b.member()]);
    // Both lanes, and again when they are in a hurry.
    refused(&b, 2).await;
    b.transport.members(&[a.member(), c.member()]);
    refused(&b, 4).await;
    a.transport.send(&b.member(), Lane::Control, heartbeat(1, 2, 4));
    assert_eq!(b.message().await, heartbeat(1, 2, 4));
    assert_eq!(c.transport.stats().accepted + c.transport.stats().dialled, 0);
    assert!(!matches!(c.seen.try_recv(), Ok(Seen::Message(_) | Seen::Peer(..))));
    // Each side has something to say of whom it dialled and of who has dialled it; none of it twice, though there are
    // two lanes, and more attempts than one.
    let all = warnings.all();
    let once: BTreeSet<&String> = all.iter().collect();
    assert!(once.len() >= 2 && once.len() == all.len(), "{all:#?}");
}

#[tokio::test]
async fn t06_a_certificate_of_another_ca_is_refused() {
    third_is_refused(&Authority::new(), &Authority::new().node(3)).await;
}

#[tokio::test]
async fn t06_a_certificate_of_another_ca_is_refused_though_its_bearer_trusts_ours() {
    let ca = Authority::new();
    let foreign = Authority::new().node(3);
    third_is_refused(&ca, &Pem { ca: ca.pem.clone(), ..foreign }).await;
}

#[tokio::test]
async fn t06_an_expired_certificate_is_refused() {
    let ca = Authority::new();
    let mut expired = params(3);
    expired.not_after = rcgen::date_time_ymd(2020, 1, 1);
    third_is_refused(&ca, &ca.sign(&expired)).await;
}

#[tokio::test]
async fn t06_a_certificate_of_another_node_is_refused() {
    let ca = Authority::new();
    third_is_refused(&ca, &ca.node(1)).await;
}

#[tokio::test]
async fn t06_a_certificate_of_another_cluster_is_refused() {
    let ca = Authority::new();
    let other = CertificateParams::new([node_name(ClusterId(7), NodeId(3))]).unwrap();
    third_is_refused(&ca, &ca.sign(&other)).await;
}

#[tokio::test]
async fn t06_who_has_another_nodes_certificate_is_told_so() {
    let ca = Authority::new();
    let b = start(2, &ca.node(2)).await;
    let mut c = start_liar(3, &ca.node(1)).await;
    c.transport.members(&[b.member()]);
    let why = Refusal::NotCertified { claimed: NodeId(3) };
    assert_eq!(c.next().await, Seen::Refused(NodeId(2), why));
}

#[tokio::test]
async fn t06_a_plain_peer_is_refused_in_both_directions() {
    let ca = Authority::new();
    let (mut a, mut b) = (start(1, &ca.node(1)).await, start(2, &ca.node(2)).await);
    a.transport.members(&[b.member()]);
    a.up(2).await;
    let plain = Node::start(identity(3), Options::default()).await;
    plain.transport.members(&[b.member()]);
    refused(&b, 2).await;
    b.transport.members(&[a.member(), plain.member()]);
    let before = b.transport.stats().refused;
    refused(&b, before + 1).await;
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{}", b.address())).unwrap();
    let hello = raw::hello(&identity(3), 2, (1, 1));
    assert!(Talk::open(channel.connect_lazy(), "Control", hello).await.is_err());
    a.transport.send(&b.member(), Lane::Control, heartbeat(1, 2, 4));
    assert_eq!(b.message().await, heartbeat(1, 2, 4));
    assert_eq!(plain.transport.stats().dialled, 0);
}

#[tokio::test]
async fn t06_who_speaks_no_tls_is_logged_once_and_counted_each_time() {
    let warnings = Warnings::default();
    let _guard = tracing::subscriber::set_default(warnings.clone());
    let b = start(2, &Authority::new().node(2)).await;
    for times in 1..=10 {
        let mut stream = tokio::net::TcpStream::connect(b.address()).await.unwrap();
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
        refused(&b, times).await;
    }
    assert_eq!(warnings.all().len(), 1, "{:?}", warnings.all());
}

/// Without TLS anybody can open a stream: what he does wrong is logged once, and counted each time.
#[tokio::test]
async fn who_misbehaves_is_logged_once_and_counted_each_time() {
    let warnings = Warnings::default();
    let _guard = tracing::subscriber::set_default(warnings.clone());
    let b = Node::start(identity(2), Options::default()).await;
    for times in 1..=5 {
        // A message before any greeting.
        let first = raw::heartbeat(1, 2, 3);
        if let Ok(talk) = Talk::open(raw::connect(b.address()).await, "Control", first).await {
            assert!(talk.end().await.is_err());
        }
        assert_eq!(b.transport.stats().misbehaved, times);
    }
    assert_eq!(warnings.all().len(), 1, "{:?}", warnings.all());
    for times in 6..=10 {
        // A greeting, and then a message of somebody else's.
        let talk = Talk::greet(raw::connect(b.address()).await, "Control", identity(1), 2).await;
        talk.say(raw::heartbeat(7, 2, 3)).await;
        assert!(talk.end().await.is_err());
        assert_eq!(b.transport.stats().misbehaved, times);
    }
    assert_eq!(warnings.all().len(), 2, "{:?}", warnings.all());
}

#[tokio::test]
async fn reloaded_certificates_count_for_the_next_connection() {
    let (ca, next) = (Authority::new(), Authority::new());
    let of_b = tls(&ca.node(2));
    let (mut a, mut b) = (start(1, &ca.node(1)).await, start_as(2, of_b.clone()).await);
    a.transport.members(&[b.member()]);
    a.up(2).await;
    of_b.reload(&next.node(2)).unwrap();
    let member = Member::new(NodeId(2), b.address().to_string());
    let late = start(3, &ca.node(3)).await;
    late.transport.members(std::slice::from_ref(&member));
    refused(&b, 1).await;
    let mut new = start(4, &next.node(4)).await;
    new.transport.members(&[member]);
    new.up(2).await;
    // What was open goes on.
    a.transport.send(&b.member(), Lane::Control, heartbeat(1, 2, 6));
    assert_eq!(b.message().await, heartbeat(1, 2, 6));
    new.transport.send(&b.member(), Lane::Control, heartbeat(4, 2, 7));
    assert_eq!(b.message().await, heartbeat(4, 2, 7));
}
