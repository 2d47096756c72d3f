//! TLS and passwords: who is not who he must be gets nothing, and nobody else notices.

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use common::{Client, Cluster, Node, PATIENCE, run};
use raft_core::ids::{ClusterId, NodeId};
use raft_core::tls::node_name;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, version};

const CLUSTER: &str = "00000000-0000-0000-0000-0000000000ab";

fn name(id: u64) -> String {
    node_name(ClusterId(0xab), NodeId(id))
}

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate and its key.
    fn sign(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    /// A client that trusts this CA, and shows a certificate if it has one.
    fn client(&self, shown: Option<(String, String)>) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(certificate(&self.pem)).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&version::TLS13])
            .unwrap()
            .with_root_certificates(roots);
        Arc::new(match shown {
            None => config.with_no_client_auth(),
            Some((chain, key)) => {
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
                config.with_client_auth_cert(vec![certificate(&chain)], key).unwrap()
            }
        })
    }
}

fn certificate(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

fn files(node: &Node) -> [PathBuf; 3] {
    ["cert", "key", "ca"].map(|kind| node.data.with_extension(kind))
}

/// Puts a new certificate where the node looks for it.
fn certify(node: &Node, ca: &Authority) -> String {
    let (cert, key) = ca.sign(&name(node.id));
    for (path, text) in files(node).iter().zip([&cert, &key, &ca.pem]) {
        std::fs::write(path, text).unwrap();
    }
    cert
}

fn expect_tls(node: &mut Node, ca: &Authority) {
    node.tls = Some((ca.client(None), ServerName::try_from(name(node.id)).unwrap()));
}

fn tls_flags(node: &Node) -> Vec<String> {
    let flags = ["--tls-cert", "--tls-key", "--tls-ca"].into_iter().zip(files(node));
    flags.flat_map(|(flag, path)| [flag.to_owned(), path.to_str().unwrap().to_owned()]).collect()
}

/// Nodes that are not started, each with its certificate.
fn planned(count: usize, ca: &Authority) -> Cluster {
    let mut cluster = Cluster::planned(count, &["--cluster-id", CLUSTER]);
    for node in &mut cluster.nodes {
        certify(node, ca);
        node.flags.extend(tls_flags(node));
        expect_tls(node, ca);
    }
    cluster
}

fn started(count: usize, ca: &Authority) -> Cluster {
    let mut cluster = planned(count, ca);
    for node in &mut cluster.nodes {
        node.start();
    }
    cluster.leader();
    cluster
}

/// Waits for what a node will come to in the end.
fn until(node: &Node, what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: {}", node.log());
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

/// The certificate that a node shows to clients.
fn shown(node: &Node) -> CertificateDer<'static> {
    let (config, name) = node.tls.clone().unwrap();
    let tls = ClientConnection::new(config, name).unwrap();
    let mut stream = StreamOwned::new(tls, TcpStream::connect(node.client).unwrap());
    stream.sock.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"PING\r\n").unwrap();
    let mut reply = [0; 7];
    stream.read_exact(&mut reply).unwrap();
    assert_eq!(&reply, b"+PONG\r\n");
    stream.conn.peer_certificates().unwrap()[0].clone().into_owned()
}

fn rejected(node: &Node) -> u64 {
    let text = node.connect().call("INFO");
    let line = text.lines().find_map(|line| line.strip_prefix("rejected_tls_handshakes:"));
    line.unwrap().parse().unwrap()
}

#[test]
fn nodes_and_clients_speak_tls() {
    let mut cluster = started(3, &Authority::new());
    let (leader, follower) = cluster.leader_and_follower();
    let mut client = cluster.nodes[leader].connect();
    // More than a record of TLS holds, both ways.
    let value = "x".repeat(100_000);
    assert_eq!(client.call(&format!("SET k {value}")), "OK");
    assert_eq!(client.call("GET k"), value);
    assert!(cluster.nodes[follower].connect().call("GET k").starts_with("-MOVED "));
    // What is sent in one piece is answered in one.
    client.send(&"INCR n\n".repeat(1000));
    let replies: Vec<String> = (0..1000).map(|_| client.reply()).collect();
    assert_eq!(replies, (1..=1000).map(|n| n.to_string()).collect::<Vec<_>>());
    assert_eq!(client.call("QUIT"), "OK");
    assert_eq!(client.try_reply(), None);
    for node in &cluster.nodes {
        assert!(!node.log().contains("no TLS"), "{}", node.log());
    }
}

#[test]
fn a_client_without_tls_gets_no_answer() {
    let cluster = started(1, &Authority::new());
    let node = &cluster.nodes[0];
    let mut held = node.connect();
    assert_eq!(held.call("SET k v"), "OK");
    for _ in 0..3 {
        let mut plain = TcpStream::connect(node.client).unwrap();
        plain.set_read_timeout(Some(PATIENCE)).unwrap();
        plain.write_all(b"GET k\r\nGET k\r\nGET k\r\n").unwrap();
        let mut answer = Vec::new();
        // Closed or reset, and before that an alert of TLS at most.
        let _ = plain.read_to_end(&mut answer);
        assert!(answer.is_empty() || answer[0] == 21, "{answer:?}");
    }
    until(node, "all three are counted", || rejected(node) == 3);
    assert_eq!(node.log().matches("no TLS with a client").count(), 1, "{}", node.log());
    assert_eq!(held.call("GET k"), "v");
}

#[test]
fn a_client_needs_no_certificate_but_not_a_wrong_one() {
    let (ca, other) = (Authority::new(), Authority::new());
    let cluster = started(1, &ca);
    let node = &cluster.nodes[0];
    let server = ServerName::try_from(name(1)).unwrap();
    let ask = |config: &Arc<ClientConfig>, name: &ServerName<'static>| {
        let mut client = Client::try_connect_tls(node.client, config, name).unwrap();
        client.try_send("PING").ok()?;
        client.try_reply()
    };
    assert_eq!(ask(&ca.client(None), &server).as_deref(), Some("PONG"));
    assert_eq!(ask(&ca.client(Some(ca.sign("somebody"))), &server).as_deref(), Some("PONG"));
    // The server refuses these ...
    assert_eq!(ask(&ca.client(Some(other.sign("somebody"))), &server), None);
    // ... and these refuse the server.
    assert_eq!(ask(&other.client(None), &server), None);
    assert_eq!(ask(&ca.client(None), &ServerName::try_from(name(2)).unwrap()), None);
    until(node, "all three are counted", || rejected(node) == 3);
}

#[test]
fn a_node_without_tls_outlives_a_reload() {
    let mut cluster = Cluster::start(1);
    let leader = cluster.leader();
    let node = &cluster.nodes[leader];
    node.signal("-HUP");
    until(node, "it says so", || node.log().contains("there is no TLS, so nothing is read again"));
    assert_eq!(node.connect().call("SET k v"), "OK");
}

#[test]
fn certificates_that_cannot_be_used_are_named() {
    let ca = Authority::new();
    let cluster = planned(2, &ca);
    let [cert, key, _] = files(&cluster.nodes[0]);
    let [other_cert, other_key, _] = files(&cluster.nodes[1]);
    let refused = |sentence: &str| {
        let (code, text) = run(&cluster.nodes[0].flags);
        assert_eq!(code, 2, "{text}");
        assert!(text.contains(sentence), "{text}");
    };
    std::fs::copy(&other_cert, &cert).unwrap();
    std::fs::copy(&other_key, &key).unwrap();
    refused(&format!("the certificate is not for {}", name(1)));
    certify(&cluster.nodes[0], &ca);
    std::fs::copy(&other_key, &key).unwrap();
    refused("the certificate and its key cannot be used");
    std::fs::write(&key, "no key").unwrap();
    refused("the key: there is none in it");
    std::fs::remove_file(&key).unwrap();
    refused(&format!("--tls-key: cannot read {}: No such file", key.display()));
}

#[test]
fn new_certificates_count_from_the_next_connection_on() {
    let ca = Authority::new();
    let mut cluster = planned(1, &ca);
    let first = certify(&cluster.nodes[0], &ca);
    cluster.nodes[0].start();
    cluster.leader();
    let node = &cluster.nodes[0];
    let mut held = node.connect();
    assert_eq!(held.call("SET k v"), "OK");
    assert_eq!(shown(node), certificate(&first));

    let second = certify(node, &ca);
    until(node, "the files are looked at", || shown(node) == certificate(&second));

    std::fs::write(&files(node)[0], "rubbish").unwrap();
    node.signal("-HUP");
    until(node, "it says so", || node.log().contains("the certificates stay the old ones"));
    assert!(node.log().contains("there is none in it"), "{}", node.log());
    assert_eq!(shown(node), certificate(&second));

    let third = certify(node, &ca);
    node.signal("-HUP");
    until(node, "a signal is enough", || shown(node) == certificate(&third));
    assert_eq!(held.call("GET k"), "v");
}

/// Starts the last of three nodes: it must be shut out, and the others serve on.
fn is_shut_out(cluster: &mut Cluster) {
    cluster.nodes[2].start();
    let mut leader = cluster.leader();
    if leader == 2 {
        leader = 0;
    }
    for n in 0..20 {
        assert_eq!(cluster.nodes[leader].connect().call(&format!("SET k {n}")), "OK");
    }
    assert_eq!(cluster.nodes[2].info("leader").as_deref(), Some("none"), "{}", cluster.nodes[2].log());
}

#[test]
fn a_node_without_the_right_certificate_is_shut_out() {
    let (ca, other) = (Authority::new(), Authority::new());
    let mut cluster = planned(3, &ca);
    cluster.nodes[0].start();
    cluster.nodes[1].start();
    cluster.leader();

    let flags = cluster.nodes[2].flags.clone();
    let plain = flags.len() - tls_flags(&cluster.nodes[2]).len();
    cluster.nodes[2].flags.truncate(plain);
    cluster.nodes[2].tls = None;
    is_shut_out(&mut cluster);
    let refusals = |cluster: &Cluster| {
        let log = cluster.nodes[0].log() + &cluster.nodes[1].log();
        log.lines().filter(|line| line.contains("refuse")).count()
    };
    until(&cluster.nodes[0], "it is logged", || refusals(&cluster) > 0);
    cluster.nodes[2].kill();

    cluster.nodes[2].flags = flags;
    certify(&cluster.nodes[2], &other);
    expect_tls(&mut cluster.nodes[2], &other);
    is_shut_out(&mut cluster);

    certify(&cluster.nodes[2], &ca);
    expect_tls(&mut cluster.nodes[2], &ca);
    cluster.nodes[2].signal("-HUP");
    let node = &cluster.nodes[2];
    until(node, "it joins", || node.info("leader").is_some_and(|leader| leader != "none"));
    // A line for each way in which each of two was refused, however often it came.
    assert!(refusals(&cluster) <= 16, "{}{}", cluster.nodes[0].log(), cluster.nodes[1].log());
}

#[test]
fn a_ca_is_replaced_without_a_stop() {
    let (old, new) = (Authority::new(), Authority::new());
    let mut cluster = started(3, &old);
    let mut held = Vec::new();
    for node in &cluster.nodes {
        let mut client = node.connect();
        assert_eq!(client.call("PING"), "PONG");
        held.push(client);
    }
    let loaded = |node: &Node| node.log().matches("new certificates").count();
    let reload = |node: &Node| {
        let before = loaded(node);
        node.signal("-HUP");
        until(node, "it reads them", || loaded(node) > before);
    };
    // Everybody trusts both, then everybody shows the new, then nobody trusts the old.
    for node in &cluster.nodes {
        std::fs::write(&files(node)[2], format!("{}{}", old.pem, new.pem)).unwrap();
        reload(node);
    }
    for node in &cluster.nodes {
        let (cert, key) = new.sign(&name(node.id));
        std::fs::write(&files(node)[0], cert).unwrap();
        std::fs::write(&files(node)[1], key).unwrap();
        reload(node);
    }
    for node in &mut cluster.nodes {
        std::fs::write(&files(node)[2], &new.pem).unwrap();
        reload(node);
        expect_tls(node, &new);
    }
    for client in &mut held {
        assert_eq!(client.call("PING"), "PONG");
    }
    // Connections from now on are made by the new ones alone.
    let (_, follower) = cluster.leader_and_follower();
    cluster.nodes[follower].kill();
    cluster.nodes[follower].start();
    cluster.leader_and_follower();
    let node = &cluster.nodes[follower];
    until(node, "it joins", || node.info("leader").is_some_and(|leader| leader != "none"));
}

/// The words of Redis, byte by byte.
#[test]
fn without_the_password_a_client_gets_nothing() {
    let mut cluster = Cluster::planned(1, &[]);
    let file = cluster.dir.path().join("raft-kv.toml");
    std::fs::write(&file, "requirepass = 'secret'\n").unwrap();
    let node = &mut cluster.nodes[0];
    node.flags.extend(["--config".into(), file.to_str().unwrap().into()]);
    node.start();
    let mut client = node.connect();
    let mut ask = |question: &str, answer: &str| {
        client.raw(format!("{question}\r\n").as_bytes());
        let mut got = vec![0; answer.len()];
        client.stream.read_exact(&mut got).unwrap();
        assert_eq!(String::from_utf8_lossy(&got), answer, "{question}");
    };
    let noauth = "-NOAUTH Authentication required.\r\n";
    let wrong = "-WRONGPASS invalid username-password pair or user is disabled.\r\n";
    let hello = "-NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> \
        AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at \
        the same time\r\n";
    for command in ["GET k", "SET k v", "PING", "INFO", "RAFT INFO", "CLUSTER SLOTS", "MULTI", "COMMAND"] {
        ask(command, noauth);
    }
    ask("AUTH", "-ERR wrong number of arguments for 'auth' command\r\n");
    for command in ["AUTH wrong", "AUTH default wrong", "AUTH somebody secret", "AUTH \"\"", "AUTH secrets"] {
        ask(command, wrong);
    }
    ask("AUTH a b c", "-ERR syntax error\r\n");
    ask("HELLO", hello);
    ask("HELLO 3", hello);
    ask("HELLO x", "-ERR Protocol version is not an integer or out of range\r\n");
    ask("HELLO 4", "-NOPROTO unsupported protocol version\r\n");
    ask("HELLO 3 AUTH default wrong", wrong);
    ask("HELLO 3 AUTH default", "-ERR Syntax error in HELLO option 'AUTH'\r\n");
    // All of it is read before any of it counts.
    ask("HELLO 3 AUTH default secret WHAT", "-ERR Syntax error in HELLO option 'WHAT'\r\n");
    ask("GET k", noauth);
    ask("AUTH secret", "+OK\r\n");
    ask("PING", "+PONG\r\n");
    // A wrong one takes away nothing; a reset does.
    ask("AUTH wrong", wrong);
    ask("PING", "+PONG\r\n");
    ask("RESET", "+RESET\r\n");
    ask("PING", noauth);
    ask("AUTH default secret", "+OK\r\n");
    ask("RESET", "+RESET\r\n");
    ask(
        "HELLO 3 AUTH default secret SETNAME me",
        "%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$5\r\n7.2.0\r\n$5\r\nproto\r\n:3\r\n",
    );
}

#[test]
fn where_no_password_is_set_none_is_asked_for() {
    let cluster = Cluster::start(1);
    let mut client = cluster.nodes[0].connect();
    assert_eq!(
        client.call("AUTH any"),
        "-ERR AUTH <password> called without any password configured for the default user. Are you sure your \
         configuration is correct?"
    );
    assert_eq!(client.call("AUTH default any"), "OK");
    assert!(client.call("AUTH somebody any").starts_with("-WRONGPASS "));
}
