//! A rolling upgrade: three nodes go on from folders that version 0.1.0 has written, speak wire version 1, and are
//! replaced one after another by nodes of today, which speak 1 and 2, while writes go on. Nothing is lost, and no node of
//! version 1 is told a word that it does not know. Once with files and TCP, once with SQLite and gRPC.
//!
//! There has been one version of the folders so far, so `0.1.0` is what the program of today writes as well. The test is what the
//! next version must keep passing: never edit what is in `tests/pinned`, add the folders of each release. A node that is kept
//! to wire version 1 says exactly the bytes that are pinned beside the codecs of raft-net-tcp and raft-net-grpc. `BLESS=1` writes
//! folders that are not there yet.

mod grpc;
#[path = "../../../../raft-net-grpc/tests/support/protobuf.rs"]
mod protobuf;
mod stack;
mod tcp;
mod wire;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use raft_core::error::ProposeError;
use raft_core::ids::{ClusterId, Index, NodeId};
use raft_core::membership::{Member, Membership};
use raft_core::status::Status;
use raft_core::{Config, Node, NodeHandle};
use raft_testkit::memory::Recorder;
use raft_testkit::pinned;
use stack::{Placed, Stack};
use wire::Wire;

/// Every release whose folders are pinned.
const RELEASES: [&str; 1] = ["0.1.0"];
const CLUSTER: ClusterId = ClusterId(7);
const IDS: [NodeId; 3] = [NodeId(1), NodeId(2), NodeId(3)];

/// The wire versions of a node before the upgrade, and of one of today: both transports have the same.
const OLD: (u16, u16) = (1, 1);
const NEW: (u16, u16) = raft_net_tcp::WIRE_VERSIONS;
const _: () = assert!(NEW.1 == raft_net_grpc::WIRE_VERSIONS.1);

/// What the pinned folders hold: a snapshot covers the first of them.
fn pinned_commands() -> Vec<String> {
    (0..30).map(|number| format!("pinned {number}")).collect()
}

/// The pinned memberships have names in the place of addresses: which ports are free is known when a test runs.
fn founders() -> Membership {
    Membership::of_voters(IDS.map(|id| Member::new(id, format!("node-{}:7101", id.0)))).unwrap()
}

/// Where each name is now, as seen by one node.
type Places = BTreeMap<NodeId, SocketAddr>;

/// Where everybody listens, and where each dials the others.
struct Network {
    stack: Stack,
    listen: Places,
    dial: BTreeMap<NodeId, Places>,
    wire: Wire,
}

impl Network {
    async fn new(stack: Stack) -> Self {
        let free = || std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let held = IDS.map(|id| (id, free()));
        let listen: Places = held.iter().map(|(id, held)| (*id, held.local_addr().unwrap())).collect();
        let (wire, mut dial) = (Wire::default(), BTreeMap::new());
        for from in IDS {
            let mut places = Places::new();
            for to in IDS.into_iter().filter(|to| *to != from) {
                places.insert(to, wire.relay(listen[&to]).await);
            }
            dial.insert(from, places);
        }
        Self { stack, listen, dial, wire }
    }

    async fn start(&self, id: NodeId, data: &Path, versions: (u16, u16)) -> Running {
        let (journal, snapshots) = self.stack.open(id, data).await;
        let inner = self.stack.transport(self.listen[&id], versions);
        let data = Recorder::new();
        let node = Node::builder(Config::new(id, CLUSTER))
            .boxed_journal(journal)
            .snapshots(snapshots)
            .transport(Arc::new(Placed { inner, places: self.dial[&id].clone() }))
            .state_machine(data.machine())
            .start()
            .await
            .unwrap();
        Running { node, data }
    }

    /// How many messages were seen on connections of each wire version; all of them are known in it.
    fn messages(&self) -> BTreeMap<u64, usize> {
        match self.stack {
            Stack::FilesAndTcp => self.wire.messages(tcp::read),
            Stack::SqliteAndGrpc => self.wire.messages(grpc::read),
        }
    }
}

struct Running {
    node: NodeHandle,
    data: Recorder,
}

impl Running {
    /// What it has executed, each command of the log once.
    fn commands(&self) -> Vec<String> {
        let text = |data: &[u8]| String::from_utf8(data.to_vec()).unwrap();
        let commands = self.data.recorded().commands;
        let places = commands.iter().map(|command| (command.id.index, command.position));
        assert!(places.is_sorted_by(|one, next| one < next), "executed twice, or not in order: {commands:?}");
        commands.iter().map(|command| text(&command.data)).collect()
    }
}

/// Has one command executed, by whoever leads; sent again until it is known to be there, as a client would.
async fn write(nodes: &[Running], command: &str) -> Index {
    let of = |id: NodeId| nodes.iter().find(|running| running.node.id() == id);
    loop {
        let mut watch = nodes[0].node.watch();
        let led = watch.until(|status| status.leader.as_ref().is_some_and(|l| of(l.id).is_some()));
        let status = led.await.unwrap();
        let Some(leader) = status.leader.as_ref().and_then(|leader| of(leader.id)) else { continue };
        // It need not know yet that it leads, or leads no more.
        let knows = |found: &Status| found.leader.as_ref().is_some_and(|l| l.id == leader.node.id());
        leader.node.watch().until(|found| knows(found) || found.term > status.term).await.unwrap();
        match leader.node.propose(command.to_owned()).await {
            Ok(applied) => return applied.id.index,
            Err(error @ (ProposeError::Fatal(_) | ProposeError::TooLarge { .. })) => {
                panic!("node {}: {error}", leader.node.id())
            }
            Err(_) => {}
        }
    }
}

/// Ten commands, after which all of these nodes have applied them.
async fn go_on(nodes: &[Running], expected: &mut Vec<String>, what: &str) {
    let mut applied = Index::ZERO;
    for number in 0..10 {
        let command = format!("{what} {number}");
        applied = write(nodes, &command).await;
        expected.push(command);
    }
    for running in nodes {
        running.node.watch().until(|status| status.applied_index >= applied).await.unwrap();
    }
}

/// Where a node's folder is pinned, and that of its snapshots.
fn files(stack: Stack, release: &str, id: NodeId) -> [(PathBuf, PathBuf); 2] {
    let pinned = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/pinned");
    let kind = match stack {
        Stack::FilesAndTcp => "",
        Stack::SqliteAndGrpc => "-sqlite",
    };
    let (node, below) = (format!("{release}{kind}-node-{}", id.0), PathBuf::from(id.0.to_string()));
    let snapshots = below.join("snapshots");
    [(pinned.join(format!("{node}.txt")), below), (pinned.join(format!("{node}-snapshots.txt")), snapshots)]
}

/// The pinned folders of a release, as folders below `dir`.
async fn unpack(stack: Stack, release: &str, dir: &Path) {
    if std::env::var_os("BLESS").is_some() && !files(stack, release, IDS[0])[0].0.exists() {
        bless(stack, release).await;
    }
    for (pinned, below) in IDS.into_iter().flat_map(|id| files(stack, release, id)) {
        let text = std::fs::read_to_string(pinned).unwrap();
        pinned::write(&dir.join(below), &pinned::from_text(&text).unwrap()).unwrap();
    }
}

/// How the pinned folders were made.
async fn bless(stack: Stack, release: &str) {
    let (dir, network) = (tempfile::tempdir().unwrap(), Network::new(stack).await);
    let mut nodes = Vec::new();
    for id in IDS {
        nodes.push(network.start(id, &dir.path().join(id.0.to_string()), NEW).await);
    }
    for (number, command) in pinned_commands().iter().enumerate() {
        write(&nodes, command).await;
        if number == 20 {
            for running in &nodes {
                running.node.snapshot().await.unwrap();
            }
        }
    }
    for running in &nodes {
        running.node.shutdown().await.unwrap();
    }
    drop(nodes);
    for (pinned, below) in IDS.into_iter().flat_map(|id| files(stack, release, id)) {
        let mut files = pinned::read(&dir.path().join(below)).unwrap();
        files.remove("LOCK");
        std::fs::create_dir_all(pinned.parent().unwrap()).unwrap();
        std::fs::write(pinned, pinned::to_text(&files)).unwrap();
    }
}

async fn upgrade(stack: Stack, release: &str) {
    let (dir, network) = (tempfile::tempdir().unwrap(), Network::new(stack).await);
    unpack(stack, release, dir.path()).await;
    let data = |id: NodeId| dir.path().join(id.0.to_string());
    let mut nodes = Vec::new();
    for id in IDS {
        nodes.push(network.start(id, &data(id), OLD).await);
    }
    let mut expected = pinned_commands();
    go_on(&nodes, &mut expected, "all old").await;
    assert_eq!(network.messages().into_keys().collect::<Vec<_>>(), [1]);
    for (at, id) in IDS.into_iter().enumerate() {
        // Writes go on while it is away, and again when it is back as what it is now.
        let old = nodes.remove(at);
        old.node.shutdown().await.unwrap();
        drop(old);
        go_on(&nodes, &mut expected, &format!("without {}", id.0)).await;
        nodes.insert(at, network.start(id, &data(id), NEW).await);
        go_on(&nodes, &mut expected, &format!("with {}", id.0)).await;
    }
    for running in &nodes {
        // A command that was sent again because nobody knew of it stands in the log twice, one behind the other.
        let mut commands = running.commands();
        commands.dedup();
        assert_eq!(commands, expected, "each write, in its order");
    }
    let messages = network.messages();
    assert!(messages.keys().eq(&[1, 2]), "both versions were spoken: {messages:?}");
    for running in &nodes {
        running.node.shutdown().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_are_replaced_one_after_another_while_writes_go_on() {
    for release in RELEASES {
        upgrade(Stack::FilesAndTcp, release).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_on_sqlite_and_grpc_are_replaced_one_after_another_while_writes_go_on() {
    for release in RELEASES {
        upgrade(Stack::SqliteAndGrpc, release).await;
    }
}
