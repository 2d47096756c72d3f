//! Three nodes on files and TCP, and clients of theirs.

use std::net::SocketAddr;
use std::path::Path;

use raft_core::NodeHandle;
use raft_core::ids::NodeId;
use raft_core::membership::{Member, Membership};
use template::clients::{self, CLIENTS};
use template::service;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

struct Running {
    node: NodeHandle,
    clients: String,
    serving: JoinHandle<()>,
}

impl Running {
    async fn start(id: u64, folder: &Path, founders: &Membership) -> Self {
        let me = founders.member(NodeId(id)).unwrap();
        let clients = me.attributes.get(CLIENTS).unwrap().to_string();
        let listener = TcpListener::bind(&clients).await.unwrap();
        let data = folder.join(id.to_string());
        let listen = me.address.parse().unwrap();
        let (node, machine) = service::start(NodeId(id), &data, listen, Some(founders)).await.unwrap();
        let serving = tokio::spawn(clients::serve(listener, node.clone(), machine));
        Self { node, clients, serving }
    }

    async fn stop(self) {
        self.node.shutdown().await.unwrap();
        self.serving.abort();
        let _ = self.serving.await;
    }
}

/// A line, and what is said to it.
async fn say(address: &str, line: impl AsRef<[u8]>) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(&[line.as_ref(), b"\n"].concat()).await.unwrap();
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).await.unwrap();
    answer.strip_suffix('\n').unwrap().to_owned()
}

/// As a client would: on to who leads, and again where it was not done.
async fn ask(nodes: &[Running], line: &str) -> String {
    let mut at = nodes[0].clients.clone();
    loop {
        let answer = say(&at, line).await;
        match answer.strip_prefix("moved ") {
            // Nodes take a moment to learn that the leader has gone.
            Some(moved) => {
                at = nodes.iter().find(|n| n.clients == moved).unwrap_or(&nodes[0]).clients.clone()
            }
            None if ["later", "unknown"].contains(&&*answer) => {}
            None => return answer,
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_was_acknowledged_survives_the_leader_and_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let free = || std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listeners = [(); 6].map(|()| free());
    let at: [SocketAddr; 6] = listeners.map(|listener| listener.local_addr().unwrap());
    let member = |id: u64, peers: SocketAddr, clients: SocketAddr| {
        Member::new(NodeId(id), peers.to_string()).with(CLIENTS, clients.to_string())
    };
    let members = (1..).zip(at.chunks(2)).map(|(id, at)| member(id, at[0], at[1]));
    let founders = Membership::of_voters(members).unwrap();
    let mut nodes = Vec::new();
    for id in 1..=3 {
        nodes.push(Running::start(id, folder.path(), &founders).await);
    }
    assert_eq!(ask(&nodes, "set a one two").await, "ok");
    for node in &nodes {
        assert_eq!(ask(std::slice::from_ref(node), "get a").await, "value one two");
    }
    assert!(say(&nodes[0].clients, "what").await.starts_with("error"));
    // No node takes what it could not give back as it was.
    for node in &nodes {
        assert_eq!(say(&node.clients, b"set a \xff").await, "error: not UTF-8");
    }
    assert_eq!(ask(&nodes, "set c  two words \r").await, "ok");
    assert_eq!(ask(&nodes, "get c").await, "value  two words ");
    assert_eq!(ask(&nodes, "get a").await, "value one two");

    let led = nodes[0].node.watch().until(|status| status.leader.is_some()).await.unwrap();
    let led = led.leader.as_ref().unwrap().id;
    let leader = nodes.swap_remove(nodes.iter().position(|node| node.node.id() == led).unwrap());
    leader.stop().await;
    assert_eq!(ask(&nodes, "set b three").await, "ok");
    assert_eq!(ask(&nodes, "remove a").await, "ok");
    for node in nodes.drain(..) {
        node.stop().await;
    }

    for id in 1..=3 {
        nodes.push(Running::start(id, folder.path(), &founders).await);
    }
    assert_eq!(ask(&nodes, "get b").await, "value three");
    assert_eq!(ask(&nodes, "get a").await, "none");
    for node in nodes {
        node.stop().await;
    }
}
