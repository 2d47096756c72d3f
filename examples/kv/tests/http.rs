//! `--http`: what it serves, to whom, and what it does not let happen to the node.

mod common;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use common::{Cluster, PATIENCE, until};
use serde_json::Value;

/// An answer: its code, its head, its body.
struct Answer {
    code: u16,
    head: BTreeMap<String, String>,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn ask_as(method: &str, address: SocketAddr, path: &str, more: &str) -> Answer {
    let mut stream = connect(address);
    write!(stream, "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{more}\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let (first, rest) = head.split_once("\r\n").unwrap();
    let code = first.split(' ').nth(1).unwrap().parse().unwrap();
    let head = rest.lines().filter_map(|line| line.split_once(": "));
    let head = head.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
    Answer { code, head, body: body.to_owned() }
}

fn ask(address: SocketAddr, path: &str) -> Answer {
    ask_as("GET", address, path, "")
}

/// Reads events one by one: their names and data.
struct Events(BufReader<TcpStream>);

impl Events {
    fn of(address: SocketAddr) -> Self {
        let mut stream = connect(address);
        write!(stream, "GET /events HTTP/1.1\r\nhost: {address}\r\n\r\n").unwrap();
        Self(BufReader::new(stream))
    }

    fn next(&mut self) -> (String, Value) {
        let mut name = String::new();
        loop {
            let mut line = String::new();
            assert!(self.0.read_line(&mut line).unwrap() > 0, "the events have ended");
            // The sizes of chunks and the head come between.
            if let Some(event) = line.strip_prefix("event: ") {
                name = event.trim().to_owned();
            } else if let Some(data) = line.strip_prefix("data: ") {
                return (name, serde_json::from_str(data).unwrap());
            }
        }
    }

    /// The next event for which that holds.
    fn until(&mut self, mut is: impl FnMut(&str, &Value) -> bool) -> Value {
        loop {
            let (name, data) = self.next();
            if is(&name, &data) {
                return data;
            }
        }
    }
}

#[test]
fn the_page_and_the_state_are_served_and_nothing_is_changed() {
    let mut cluster = Cluster::start_http(3, &[]);
    let (leader, follower) = cluster.leader_and_follower();
    let address = cluster.nodes[leader].http.unwrap();
    assert_eq!(cluster.nodes[leader].connect().call("SET k v"), "OK");

    let page = ask(address, "/");
    assert_eq!(page.code, 200);
    assert!(page.body.starts_with("<!doctype html>"));
    let policy = &page.head["content-security-policy"];
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    for node in &cluster.nodes {
        assert!(policy.contains(&format!(" http://{}", node.http.unwrap())), "{policy}");
    }
    assert_eq!(page.head["x-content-type-options"], "nosniff");

    let status = ask(address, "/status").json();
    assert_eq!(status["id"], cluster.nodes[leader].id);
    assert_eq!(status["role"], "leader");
    assert_eq!(status["membership"]["members"].as_array().unwrap().len(), 3);
    assert_eq!(status["peers"].as_array().unwrap().len(), 2);
    assert!(status["log"]["commit"].as_u64().unwrap() >= 2);
    assert!(status["journal"]["bytes"].as_u64().unwrap() > 0);
    let other = ask(cluster.nodes[follower].http.unwrap(), "/status").json();
    assert_eq!((&other["role"], &other["leader"]), (&Value::from("follower"), &status["id"]));

    // One line, wherever it is asked for: two programs of one version are told apart by it.
    let version =
        std::process::Command::new(env!("CARGO_BIN_EXE_raft-kv")).arg("--version").output().unwrap();
    let version = String::from_utf8(version.stdout).unwrap();
    let version = version.trim().strip_prefix("raft-kv ").unwrap();
    assert!(version.starts_with(env!("CARGO_PKG_VERSION")), "{version}");
    assert_eq!(status["version"], version);
    assert_eq!(cluster.nodes[leader].info("version").as_deref(), Some(version));
    let told = cluster.nodes[leader].connect().call("INFO");
    assert!(told.contains(&format!("raft_kv_version:{version}\r\n")), "{told}");
    assert!(ask(address, "/metrics").body.contains(&format!("version=\"{version}\"")));

    for path in ["/health", "/ready", "/live"] {
        assert_eq!(ask(address, path).code, 200, "{path}");
    }
    assert_eq!(ask(address, "/health").json()["health"], "green");
    assert_eq!(ask(address, "/elsewhere").code, 404);
    for path in ["/", "/status", "/events", "/health"] {
        assert_eq!(ask_as("POST", address, path, "content-length: 0\r\n").code, 405, "{path}");
    }
}

#[test]
fn pages_of_members_may_read_and_others_may_not() {
    let cluster = Cluster::start_http(2, &[]);
    let [one, two] = [0, 1].map(|at| cluster.nodes[at].http.unwrap());
    let allowed = |origin: &str| {
        let answer = ask_as("GET", one, "/status", &format!("origin: {origin}\r\n"));
        answer.head.get("access-control-allow-origin").cloned()
    };
    let page = format!("http://{two}");
    assert_eq!(allowed(&page), Some(page));
    let by_name = format!("http://localhost:{}", two.port());
    assert_eq!(allowed(&by_name), Some(by_name));
    assert_eq!(allowed("http://elsewhere.example"), None);
    assert_eq!(allowed("null"), None);
}

/// The probes say what is to be done: not to start the process again, which would help nobody.
#[test]
fn without_a_quorum_a_node_is_alive_and_not_ready() {
    let mut cluster = Cluster::start_http(3, &[]);
    let address = cluster.nodes[0].http.unwrap();
    // Else the word of the first leader may still be on its way.
    until("there is no leader", || ask(address, "/ready").code == 200);
    cluster.nodes[1].kill();
    cluster.nodes[2].kill();
    until("node 1 still believes in a leader", || ask(address, "/ready").code == 503);
    let ready = ask(address, "/ready").json();
    assert_eq!(ready["ready"], false);
    assert_eq!(ready["reasons"][0], "no leader is known");
    let live = ask(address, "/live");
    assert_eq!((live.code, live.json()["alive"].as_bool()), (200, Some(true)));
    let health = ask(address, "/health");
    assert_eq!((health.code, &health.json()["health"]), (503, &Value::from("red")));
    cluster.nodes[1].start();
    until("there is no leader again", || ask(address, "/ready").code == 200);
}

#[test]
fn events_tell_of_a_failover_at_once_and_of_what_was_before() {
    let mut cluster = Cluster::start_http(3, &[]);
    let (leader, follower) = cluster.leader_and_follower();
    let address = cluster.nodes[follower].http.unwrap();
    let mut events = Events::of(address);
    let (name, past) = events.next();
    assert_eq!(name, "past");
    let news = past["news"].as_array().unwrap();
    assert!(news.iter().any(|one| one["kind"] == "leader"), "{news:?}");
    let (name, first) = events.next();
    assert_eq!((name.as_str(), &first["leader"]), ("status", &Value::from(cluster.nodes[leader].id)));

    let term = first["term"].as_u64().unwrap();
    cluster.nodes[leader].kill();
    let news = events.until(|name, data| {
        let elected = |one: &Value| one["kind"] == "leader" && one["term"].as_u64() > Some(term);
        name == "news" && data.as_array().unwrap().iter().any(elected)
    });
    let elected = news.as_array().unwrap().iter().rfind(|one| one["kind"] == "leader").unwrap();
    assert!(
        elected["gap_ms"].is_u64() || elected["text"].as_str().unwrap().starts_with("knows no"),
        "{news}"
    );
    events.until(|name, data| {
        name == "status" && data["term"].as_u64() > Some(term) && data["leader"].is_u64()
    });
}

#[test]
fn traffic_is_sampled() {
    let mut cluster = Cluster::start_http(1, &[]);
    let leader = cluster.leader();
    let address = cluster.nodes[leader].http.unwrap();
    let mut events = Events::of(address);
    let mut client = cluster.nodes[leader].connect();
    for number in 0..50 {
        assert_eq!(client.call(&format!("SET key {number}")), "OK");
        assert_eq!(client.call("GET key"), number.to_string());
    }
    let status = events.until(|name, data| name == "status" && data["sample"]["writes"].as_f64() > Some(0.0));
    assert!(status["sample"]["reads"].as_f64() > Some(0.0), "{status}");
    let [p50, p99] = ["p50_us", "p99_us"].map(|name| status["sample"][name].as_u64().unwrap());
    assert!(0 < p50 && p50 <= p99, "{status}");
    assert!(status["sample"]["journal_p99_us"].is_u64(), "{status}");
}

/// Whoever asks too much, or nonsense, is closed; clients notice nothing, and the next one is answered.
#[test]
fn nonsense_and_floods_end_by_themselves() {
    let mut cluster = Cluster::start_http(1, &[]);
    let leader = cluster.leader();
    let address = cluster.nodes[leader].http.unwrap();
    let long = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(100_000));
    for bytes in
        [&b"\0\xff\xfe\r\n\r\n"[..], b"*1\r\n$4\r\nPING\r\n", b"GET / HTTP/9.9\r\n\r\n", long.as_bytes()]
    {
        let mut stream = connect(address);
        // It may be closed before all was sent.
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"), "{}", answer.escape_ascii());
    }
    let all: Vec<TcpStream> = (0..200).map(|_| connect(address)).collect();
    let closed = |stream: &TcpStream| {
        stream.set_nonblocking(true).unwrap();
        matches!(stream.peek(&mut [0]), Ok(0))
            || stream.peek(&mut [0]).is_err_and(|error| error.kind() != std::io::ErrorKind::WouldBlock)
    };
    until("nobody is turned away", || all.iter().filter(|stream| closed(stream)).count() >= 200 - 64);
    assert_eq!(cluster.nodes[leader].connect().call("SET k v"), "OK");
    drop(all);
    until("it answers nobody any more", || {
        TcpStream::connect(address).is_ok_and(|mut stream| {
            let _ = stream.write_all(b"GET /live HTTP/1.0\r\n\r\n");
            let mut text = String::new();
            let _ = stream.read_to_string(&mut text);
            text.starts_with("HTTP/1.0 200")
        })
    });
}
