//! Real `raft-kv` processes, and a client that reads replies as they are.
#![allow(dead_code, unreachable_pub)] // Each test file uses its part.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio_rustls::rustls::{ClientConfig, ClientConnection, StreamOwned, pki_types::ServerName};

/// Nothing here takes so long on any machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Asks until it is so. Nobody can await what another process comes to: this is where tests wait between two questions.
#[track_caller]
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Ports that belong to this process, as locked files: no other test takes one while its node is down.
static PORTS: Mutex<Vec<File>> = Mutex::new(Vec::new());

/// Addresses that are free and stay so: below those that the system gives to outgoing connections, and
/// locked against other tests in this process and in others.
pub fn free_addresses(count: usize) -> Vec<SocketAddr> {
    let locks = std::env::temp_dir().join("raft-kv-test-ports");
    std::fs::create_dir_all(&locks).unwrap();
    let nanos = u64::from(std::time::UNIX_EPOCH.elapsed().unwrap().subsec_nanos());
    let mut seed = u64::from(std::process::id()) ^ nanos;
    let mut found = Vec::new();
    while found.len() < count {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let port = 12_000 + u16::try_from((seed >> 33) % 20_000).unwrap();
        let lock = File::create(locks.join(port.to_string())).unwrap();
        if lock.try_lock().is_ok() && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            PORTS.lock().unwrap().push(lock);
            found.push(SocketAddr::from(([127, 0, 0, 1], port)));
        }
    }
    found
}

/// One node: its flags stay the same for its life.
pub struct Node {
    pub id: u64,
    pub client: SocketAddr,
    pub peer: SocketAddr,
    pub data: PathBuf,
    pub flags: Vec<String>,
    /// How clients connect to it: with TLS, and for which name.
    pub tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    /// Where it shows itself, if it does.
    pub http: Option<SocketAddr>,
    child: Option<Child>,
}

impl Node {
    /// One that is not started.
    pub fn planned(id: u64, client: SocketAddr, peer: SocketAddr, data: PathBuf, flags: Vec<String>) -> Self {
        Self { id, client, peer, data, flags, tls: None, http: None, child: None }
    }

    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_raft-kv"));
        command.args(&self.flags).stdin(Stdio::null());
        command
    }

    /// Starts it; the line it prints when it serves.
    pub fn start(&mut self) -> String {
        let log = File::options().create(true).append(true).open(self.log_path()).unwrap();
        let mut child = self.command().stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        self.child = Some(child);
        assert!(line.contains(" serves "), "node {} does not serve: {line}{}", self.id, self.log());
        line
    }

    /// Starts it without waiting: it is not expected to serve for long.
    pub fn start_doomed(&mut self) {
        let log = File::options().create(true).append(true).open(self.log_path()).unwrap();
        self.child = Some(self.command().stdout(Stdio::null()).stderr(log).spawn().unwrap());
    }

    fn log_path(&self) -> PathBuf {
        self.data.with_extension("log")
    }

    /// What it has said on stderr.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    pub fn signal(&self, name: &str) {
        let id = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Waits until it has ended by itself.
    pub fn wait(&mut self) -> ExitStatus {
        let mut child = self.child.take().unwrap();
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                return status;
            }
            if Instant::now() > deadline {
                child.kill().unwrap();
                panic!("node {} does not end: {}", self.id, self.log());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| child.try_wait().unwrap().is_none())
    }

    pub fn connect(&self) -> Client {
        self.try_connect().unwrap()
    }

    pub fn try_connect(&self) -> Option<Client> {
        match &self.tls {
            None => Client::try_connect(self.client),
            Some((config, name)) => Client::try_connect_tls(self.client, config, name),
        }
    }

    /// A row of `RAFT INFO`; `None` if the node does not answer.
    pub fn info(&self, row: &str) -> Option<String> {
        let mut client = self.try_connect()?;
        if client.try_send("RAFT INFO").is_err() {
            return None;
        }
        let text = client.try_reply()?;
        let words: Vec<&str> = text.trim_matches(['[', ']']).split(", ").collect();
        words.as_chunks::<2>().0.iter().find(|[name, _]| *name == row).map(|[_, value]| (*value).to_owned())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended already.
            let _ = child.kill();
            let _ = child.wait();
            if std::thread::panicking() {
                eprintln!("--- node {} said:\n{}", self.id, self.log());
            }
        }
    }
}

/// Some nodes of one cluster, and their folder.
pub struct Cluster {
    pub nodes: Vec<Node>,
    pub dir: tempfile::TempDir,
}

impl Cluster {
    /// Nodes that are not started.
    pub fn planned(count: usize, more: &[&str]) -> Self {
        Self::planned_at(&free_addresses(2 * count), 2, more)
    }

    /// The same, and each shows itself over HTTP.
    pub fn planned_http(count: usize, more: &[&str]) -> Self {
        Self::planned_at(&free_addresses(3 * count), 3, more)
    }

    /// For each node so many addresses: for clients, for peers, and over HTTP.
    fn planned_at(addresses: &[SocketAddr], each: usize, more: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let places: Vec<(u64, &[SocketAddr])> = (1..).zip(addresses.chunks(each)).collect();
        let member = |(id, at): &(u64, &[SocketAddr])| {
            let http = at.get(2).map_or_else(String::new, |http| format!("@{http}"));
            format!("{id}={}@{}{http}", at[1], at[0])
        };
        let members = places.iter().map(member).collect::<Vec<_>>().join(",");
        let node = |(id, at): &(u64, &[SocketAddr])| {
            let data = dir.path().join(format!("node-{id}"));
            let mut flags = flags(*id, at[0], at[1], &data);
            flags.extend(["--members".into(), members.clone()]);
            if let Some(http) = at.get(2) {
                flags.extend(["--http".into(), http.to_string()]);
            }
            flags.extend(more.iter().map(|flag| (*flag).to_owned()));
            let mut node = Node::planned(*id, at[0], at[1], data, flags);
            node.http = at.get(2).copied();
            node
        };
        let nodes = places.iter().map(node).collect();
        Self { nodes, dir }
    }

    /// Started, with a leader.
    pub fn start(count: usize) -> Self {
        Self::start_with(count, &[])
    }

    pub fn start_with(count: usize, more: &[&str]) -> Self {
        Self::planned(count, more).started()
    }

    /// The same, and each node shows itself over HTTP.
    pub fn start_http(count: usize, more: &[&str]) -> Self {
        Self::planned_http(count, more).started()
    }

    fn started(mut self) -> Self {
        for node in &mut self.nodes {
            node.start();
        }
        self.leader();
        self
    }

    /// Waits for a leader that serves; its place.
    pub fn leader(&mut self) -> usize {
        let deadline = Instant::now() + PATIENCE;
        loop {
            for at in 0..self.nodes.len() {
                if self.nodes[at].is_running()
                    && self.nodes[at].info("role").as_deref() == Some("leader")
                    && self.nodes[at].connect().call("GET none") == "(null)"
                {
                    return at;
                }
            }
            assert!(Instant::now() < deadline, "no leader");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until all running nodes know a leader; the leader's place, and a follower's.
    pub fn leader_and_follower(&mut self) -> (usize, usize) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let leader = self.leader();
            let id = self.nodes[leader].id.to_string();
            let follower = (0..self.nodes.len())
                .find(|at| *at != leader && self.nodes[*at].info("leader").as_deref() == Some(id.as_str()));
            if let Some(follower) = follower {
                return (leader, follower);
            }
            assert!(Instant::now() < deadline, "no follower");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

pub fn flags(id: u64, client: SocketAddr, peer: SocketAddr, data: &Path) -> Vec<String> {
    let data = data.to_str().unwrap();
    [
        "serve",
        "--id",
        &id.to_string(),
        "--data",
        data,
        "--listen",
        &client.to_string(),
        "--peer-listen",
        &peer.to_string(),
    ]
    .map(str::to_owned)
    .into()
}

/// Runs `raft-kv` to its end: exit code and stderr.
pub fn run<S: AsRef<std::ffi::OsStr>>(flags: impl IntoIterator<Item = S>) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_raft-kv"));
    let mut child = command
        .args(flags)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut text = String::new();
    child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    (child.wait().unwrap().code().unwrap(), text)
}

fn socket(address: SocketAddr) -> Option<TcpStream> {
    let stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    Some(stream)
}

/// A connection, with TLS or without.
pub trait Stream: Read + Write + Send {}

impl<T: Read + Write + Send> Stream for T {}

/// A client. Replies are shown as text: `OK`, `5`, `(null)`, `[a, b]`, errors with their dash.
pub struct Client {
    pub stream: BufReader<Box<dyn Stream>>,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).unwrap()
    }

    pub fn try_connect(address: SocketAddr) -> Option<Self> {
        Some(Self { stream: BufReader::new(Box::new(socket(address)?)) })
    }

    /// With TLS. The handshake happens with what is sent first.
    pub fn try_connect_tls(
        address: SocketAddr,
        config: &Arc<ClientConfig>,
        name: &ServerName<'static>,
    ) -> Option<Self> {
        let tls = ClientConnection::new(Arc::clone(config), name.clone()).unwrap();
        let stream = StreamOwned::new(tls, socket(address)?);
        Some(Self { stream: BufReader::new(Box::new(stream)) })
    }

    pub fn raw(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).unwrap();
    }

    /// Sends commands, one a line, in one piece.
    pub fn send(&mut self, lines: &str) {
        self.try_send(lines).unwrap();
    }

    /// The same; fails if the connection does, its TLS included.
    pub fn try_send(&mut self, lines: &str) -> std::io::Result<()> {
        let mut out = String::new();
        for line in lines.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            out += &format!("*{}\r\n", words.len());
            for word in words {
                out += &format!("${}\r\n{word}\r\n", word.len());
            }
        }
        self.stream.get_mut().write_all(out.as_bytes())?;
        self.stream.get_mut().flush()
    }

    pub fn reply(&mut self) -> String {
        self.try_reply().expect("the connection was closed")
    }

    /// `None` when the server has closed the connection.
    pub fn try_reply(&mut self) -> Option<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let text = line.trim_end();
        let (kind, rest) = text.split_at(1);
        Some(match kind {
            "+" | ":" => rest.to_owned(),
            "-" => text.to_owned(),
            "_" => "(null)".to_owned(),
            "$" if rest == "-1" => "(null)".to_owned(),
            "*" if rest == "-1" => "(null array)".to_owned(),
            "$" => {
                let mut body = vec![0; rest.parse::<usize>().unwrap() + 2];
                self.stream.read_exact(&mut body).ok()?;
                body.truncate(body.len() - 2);
                String::from_utf8_lossy(&body).into_owned()
            }
            "*" | "~" | "%" => {
                let count = rest.parse::<usize>().unwrap() * if kind == "%" { 2 } else { 1 };
                let items: Option<Vec<_>> = (0..count).map(|_| self.try_reply()).collect();
                format!("[{}]", items?.join(", "))
            }
            _ => panic!("not a reply: {text:?}"),
        })
    }

    pub fn call(&mut self, line: &str) -> String {
        self.send(line);
        self.reply()
    }
}
