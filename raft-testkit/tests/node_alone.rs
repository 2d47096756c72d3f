//! What a node tells its journal of who comes while it writes.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use raft_core::backend::{Journal, JournalError, JournalReader, JournalState, JournalWrite};
use raft_core::ids::{ClusterId, GroupId, LogId, NodeId};
use raft_core::membership::{Member, Membership};
use raft_core::status::RoleKind;
use raft_core::{Config, Node, NodeHandle};
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
        // Everybody gets each entry by itself.
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
    for reads in [false, true, false] {
        for _ in 0..20 {
            if reads {
                nodes[0].read_barrier().await.unwrap();
            }
            nodes[0].propose("a command").await.unwrap();
        }
        for (at, mut said) in said(&nodes, &all).await.into_iter().enumerate() {
            // That of the last, which nobody read before.
            assert_eq!(said.pop(), Some(true));
            assert!(said.len() > 5, "{said:?}");
            let leads = at == 0;
            assert!(said.iter().all(|alone| *alone != (leads && reads)), "node {}: {said:?}", at + 1);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_of_many_expects_others_and_its_followers_nobody() {
    let (nodes, all) = start().await;
    for _ in 0..64 {
        nodes[0].propose_batch(vec!["one of many".into(); 100]).await.unwrap();
    }
    let said = said(&nodes, &all).await;
    assert!(said[0].contains(&false), "{:?}", said[0]);
    for followers in &said[1..] {
        assert!(followers.iter().all(|alone| *alone), "{followers:?}");
    }
}
