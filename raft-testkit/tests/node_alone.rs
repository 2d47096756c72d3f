//! What a node tells its journal of who comes while it writes.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use raft_core::backend::{Journal, JournalError, JournalReader, JournalState, JournalWrite};
use raft_core::ids::{ClusterId, GroupId, LogId, NodeId};
use raft_core::membership::{Member, Membership};
use raft_core::status::RoleKind;
use raft_core::{Config, Node, NodeHandle, ReadPolicy};
use raft_testkit::memory::{MemoryDisk, MemoryJournal, MemoryNetwork, Recorder};

const CLUSTER: ClusterId = ClusterId(12);

/// What was said with each write of entries.
type Said = Arc<Mutex<Vec<bool>>>;

struct Noting {
    journal: MemoryJournal,
    said: Said,
}

#[async_trait]
impl Journal for Noting {
    async fn load(&mut self) -> Result<JournalState, JournalError> {
        self.journal.load().await
    }

    async fn write(&mut self, write: JournalWrite) -> Result<(), JournalError> {
        if !write.entries.is_empty() {
            self.said.lock().unwrap().push(write.alone);
        }
        self.journal.write(write).await
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), JournalError> {
        self.journal.purge(upto).await
    }

    async fn reset(&mut self, to: LogId) -> Result<(), JournalError> {
        self.journal.reset(to).await
    }

    fn reader(&self) -> Arc<dyn JournalReader> {
        self.journal.reader()
    }
}

/// Three nodes, of which the first leads and the others have all that it has.
async fn start() -> (Vec<NodeHandle>, Vec<Said>) {
    let members = (1..=3).map(|id| Member::new(NodeId(id), format!("memory-{id}")));
    let membership = Membership::of_voters(members).unwrap();
    let network = MemoryNetwork::new();
    let (mut nodes, mut all) = (Vec::new(), Vec::new());
    for id in (1..=3).map(NodeId) {
        let said = Said::default();
        let journal = MemoryJournal::create(&MemoryDisk::new(), CLUSTER, GroupId(0), id, Some(&membership));
        let mut config = Config::new(id, CLUSTER);
        // No heartbeats but those that reads wait for, and everybody gets each entry by itself.
        config.heartbeat_interval = std::time::Duration::from_secs(20);
        config.election_timeout = std::time::Duration::from_secs(200);
        config.spare_delay = std::time::Duration::ZERO;
        let node = Node::builder(config)
            .journal(Noting { journal: journal.unwrap(), said: Arc::clone(&said) })
            .transport(network.transport(id))
            .state_machine(Recorder::new().machine())
            .start();
        nodes.push(node.await.unwrap());
        all.push(said);
    }
    nodes[0].campaign();
    let leads = |status: &raft_core::status::Status| status.role == RoleKind::Leader;
    nodes[0].watch().until(leads).await.unwrap();
    said(&nodes, &all).await;
    (nodes, all)
}

/// What was said until everybody has everything, the leader's first.
async fn said(nodes: &[NodeHandle], all: &[Said]) -> Vec<Vec<bool>> {
    let last = nodes[0].propose("the last").await.unwrap().id.index;
    for node in nodes {
        node.watch().until(|status| status.applied_index >= last).await.unwrap();
    }
    all.iter().map(|said| std::mem::take(&mut *said.lock().unwrap())).collect()
}

#[tokio::test(start_paused = true)]
async fn nobody_comes_where_few_do_but_readers_may() {
    let (nodes, all) = start().await;
    // Of nobody, of the leader, and of a follower, which asks the leader: it asks the others whether it still leads.
    for reader in [None, Some(0), None, Some(1)] {
        let reads = reader.is_some();
        for _ in 0..20 {
            if let Some(reader) = reader {
                let node: &NodeHandle = &nodes[reader];
                node.read_barrier_with(ReadPolicy::Follower).await.unwrap();
                // All have heard of it.
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
            nodes[0].propose("a command").await.unwrap();
        }
        for (at, mut said) in said(&nodes, &all).await.into_iter().enumerate() {
            // That of the last, which nobody read before.
            assert_eq!(said.pop(), Some(true));
            // Before the first there was a heartbeat, which told of the commit before.
            said.remove(0);
            assert!(said.len() > 5, "{said:?}");
            assert!(said.iter().all(|alone| *alone != reads), "node {}: {said:?}", at + 1);
        }
    }
}

/// A caller of several at a time, and of many.
#[tokio::test(start_paused = true)]
async fn a_leader_of_several_expects_others_its_followers_nobody_and_neither_does_with_many() {
    for (commands, is_many) in [(60, false), (400, true)] {
        let (nodes, all) = start().await;
        for _ in 0..64 {
            nodes[0].propose_batch(vec!["one of them".into(); commands]).await.unwrap();
        }
        let said = said(&nodes, &all).await;
        assert!(said[0].contains(&false), "{:?}", said[0]);
        for followers in &said[1..] {
            // Before the first there was a heartbeat, and by the mean it is a while until there are many.
            assert_eq!(followers[1..].iter().all(|alone| *alone), !is_many, "{followers:?}");
            assert!(followers[1] && followers[63] != is_many, "{followers:?}");
        }
    }
}
