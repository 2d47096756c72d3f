//! Three nodes on files and TCP, each with a store and a runtime of its own: without its runtime a node is gone
//! at once, as killed, and its store's file is put back to what a killed process leaves.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use raft_core::backend::OpenError;
use raft_core::ids::{ClusterId, GroupId, Index, NodeId};
use raft_core::membership::{Change, Member, Membership};
use raft_core::node::ReadPolicy;
use raft_core::node::typed::{decode, encode};
use raft_core::raft::ChangeOptions;
use raft_core::{Config, Node, NodeHandle};
use raft_log_file::{FileJournal, FileSnapshots};
use raft_net_tcp::TcpTransport;
use raft_redb::{Answer, Ask, Done, Options, Store};
use tokio::runtime::Runtime;

const CLUSTER: ClusterId = ClusterId(0x7ed8);
const GROUP: GroupId = GroupId(0);

struct Running {
    node: NodeHandle,
    store: Store,
    /// What the store had when it was opened.
    had: Index,
    runtime: Runtime,
}

impl Running {
    async fn begin(
        id: NodeId,
        folder: PathBuf,
        listen: SocketAddr,
        founders: Option<Membership>,
    ) -> (NodeHandle, Store, Index) {
        let options = raft_log_file::Options::default;
        let journal = match FileJournal::open(&folder, CLUSTER, GROUP, id, options()).await {
            Err(OpenError::NotInitialised) => {
                FileJournal::create(&folder, CLUSTER, GROUP, id, founders.as_ref(), options()).await.unwrap()
            }
            opened => opened.unwrap(),
        };
        let snapshots = FileSnapshots::open(&folder.join("snapshots")).await.unwrap();
        let store = Store::open(&store_of(&folder), Options::default()).unwrap();
        let had = store.applied().unwrap().index;
        let mut config = Config::new(id, CLUSTER);
        // So that what the tests write is purged.
        (config.snapshot_every_entries, config.snapshot_keep_entries) = (20, 5);
        let node = Node::builder(config)
            .journal(journal)
            .snapshots(Arc::new(snapshots))
            .transport(Arc::new(TcpTransport::new(listen, raft_net_tcp::Options::default())))
            .state_machine(store.clone())
            .start()
            .await
            .unwrap();
        (node, store, had)
    }

    fn start(id: u64, folder: &Path, listen: SocketAddr, founders: Option<&Membership>) -> Self {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build().unwrap();
        let begin = Self::begin(NodeId(id), folder.join(id.to_string()), listen, founders.cloned());
        let (node, store, had) = runtime.block_on(begin);
        Self { node, store, had, runtime }
    }

    /// No task of it gets another turn, and nothing of its store is synced any more. Returns how far that had executed.
    fn kill(self) -> Index {
        drop(self.runtime);
        let executed = self.store.applied().unwrap().index;
        let path = self.store.path().to_path_buf();
        let killed = path.with_extension("killed");
        std::fs::copy(&path, &killed).unwrap();
        // It is closed, which syncs it all.
        drop(self.store);
        std::fs::rename(killed, path).unwrap();
        executed
    }
}

fn store_of(folder: &Path) -> PathBuf {
    folder.join("store.redb")
}

/// Addresses on which nobody listens.
fn addresses<const N: usize>() -> [SocketAddr; N] {
    let listeners = [(); N].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap())
}

/// Who leads, once one of these does.
async fn leader(nodes: &[Running]) -> &Running {
    loop {
        let mut watch = nodes[0].node.watch();
        let among = |id| nodes.iter().find(|running| running.node.id() == id);
        let known =
            watch.until(|status| status.leader.as_ref().is_some_and(|leader| among(leader.id).is_some()));
        let known = known.await.unwrap().leader.as_ref().map(|leader| leader.id);
        if let Some(running) = known.and_then(among)
            && running.node.read_barrier().await.is_ok()
        {
            return running;
        }
        tokio::task::yield_now().await;
    }
}

/// Adds up, each command once however often it has to be sent. Returns the entry of the last one.
async fn add(nodes: &[Running], times: u64, sum: &mut u64) -> Index {
    let session = loop {
        if let Ok(session) = leader(nodes).await.node.open_session(None).await {
            break session;
        }
    };
    let mut acknowledged = Index::ZERO;
    for _ in 0..times {
        *sum += 1;
        let mut call = session.call(encode(&Ask::Add("n".into(), 1)).unwrap()).unwrap();
        let applied = loop {
            match call.send(&leader(nodes).await.node).await {
                Ok(applied) => break applied,
                Err(error) => assert!(error.may_be_sent_again(), "{error}"),
            }
        };
        assert_eq!(decode::<Answer>(&applied.response).unwrap(), Ok(Done::Sum(*sum)));
        acknowledged = applied.id.index;
    }
    acknowledged
}

/// What every node says after a barrier: the same.
async fn all_have(nodes: &[Running], sum: u64) {
    for running in nodes {
        while running.node.read_barrier_with(ReadPolicy::Follower).await.is_err() {
            tokio::task::yield_now().await;
        }
        assert_eq!(running.store.number("n").unwrap(), Some(sum), "node {}", running.node.id());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_there_once_after_kills_and_on_new_nodes() {
    let folder = tempfile::tempdir().unwrap();
    let at: [SocketAddr; 4] = addresses();
    let member = |id: u64| Member::new(NodeId(id), at[usize::try_from(id).unwrap() - 1].to_string());
    let founders = Membership::of_voters((1..=3).map(member)).unwrap();
    let start =
        |id: u64| Running::start(id, folder.path(), at[usize::try_from(id).unwrap() - 1], Some(&founders));
    let start = |id| tokio::task::block_in_place(|| start(id));

    let mut nodes: Vec<Running> = (1..=3).map(start).collect();
    let mut sum = 0;
    let mut acknowledged = add(&nodes, 30, &mut sum).await;
    // All at once: what their stores had not synced is in their journals.
    let executed: Vec<Index> = tokio::task::block_in_place(|| nodes.drain(..).map(Running::kill).collect());
    nodes = (1..=3).map(start).collect();
    // Stores that had executed what was acknowledged, and have it no more.
    let mut lost = 0;
    for (executed, running) in executed.into_iter().zip(&nodes) {
        lost += usize::from(executed >= acknowledged && running.had < acknowledged);
    }
    acknowledged = add(&nodes, 10, &mut sum).await;
    all_have(&nodes, sum).await;

    // The leader alone, a few times; the others go on.
    for _ in 0..3 {
        let led = leader(&nodes).await.node.id();
        let at = nodes.iter().position(|running| running.node.id() == led).unwrap();
        let killed = nodes.swap_remove(at);
        let executed = tokio::task::block_in_place(|| killed.kill());
        let before = acknowledged;
        acknowledged = add(&nodes, 30, &mut sum).await;
        nodes.push(start(led.0));
        lost += usize::from(executed >= before && nodes[2].had < before);
        all_have(&nodes, sum).await;
    }
    assert!(lost > 0, "a kill took what was acknowledged from a store");

    // A store that is gone comes back from the snapshot and the log of its own node.
    let last = nodes.pop().unwrap();
    let id = last.node.id();
    last.node.shutdown().await.unwrap();
    tokio::task::block_in_place(|| last.kill());
    let wiped = folder.path().join(id.to_string());
    std::fs::remove_file(store_of(&wiped)).unwrap();
    assert!(leader(&nodes).await.node.status().first_index.0 > 1, "the log begins after a snapshot");
    nodes.push(start(id.0));
    all_have(&nodes, sum).await;

    // A node that has nothing at all is sent one.
    nodes.push(tokio::task::block_in_place(|| Running::start(4, folder.path(), at[3], None)));
    let led = leader(&nodes).await;
    let options = ChangeOptions::default().wait(Duration::from_secs(60));
    let joins = vec![Change::AddLearner(member(4)), Change::Promote(NodeId(4))];
    led.node.change_membership(joins, options).await.unwrap();
    let joined = nodes.last().unwrap();
    assert!(joined.node.status().snapshot.is_some(), "it came by a snapshot");
    add(&nodes, 5, &mut sum).await;
    all_have(&nodes, sum).await;
    for running in &nodes {
        running.node.shutdown().await.unwrap();
    }
    tokio::task::block_in_place(|| nodes.drain(..).for_each(|running| drop(running.runtime)));
}
