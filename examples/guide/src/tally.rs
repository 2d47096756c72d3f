//! A state machine: votes for names.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use raft_core::backend::{
    Command, Fatal, Responses, SnapshotError, SnapshotReader, SnapshotSource, StateMachine,
};
use raft_core::ids::LogId;
use raft_core::node::typed::{decode, encode};
use serde::{Deserialize, Serialize};

/// What one may ask of it. In the log this is bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Ask {
    /// So many more votes for this name.
    Vote(String, u64),
    /// No votes for this name any more.
    Forget(String),
}

/// What it answers: how many votes the name has now, or why nothing was done.
pub type Answer = Result<u64, Refused>;

/// Why nothing was done: the same on every node, as it follows from the command and the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refused {
    /// There is nobody of that name.
    Unknown,
    /// There would be more votes than can be counted.
    TooMany,
    /// The command was no [`Ask`].
    Senseless,
}

/// The replicated data. Clones share it: one goes to the node, another one answers reads.
#[derive(Clone, Default)]
pub struct Tally(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// The last entry whose effects are in `votes`.
    applied: LogId,
    /// Shared with a snapshot that is being written.
    votes: Arc<BTreeMap<String, u64>>,
}

impl State {
    fn execute(&mut self, ask: Ask) -> Answer {
        match ask {
            Ask::Vote(name, more) => {
                let votes = self.votes.get(&name).copied().unwrap_or(0);
                let votes = votes.checked_add(more).ok_or(Refused::TooMany)?;
                Arc::make_mut(&mut self.votes).insert(name, votes);
                Ok(votes)
            }
            Ask::Forget(name) if self.votes.contains_key(&name) => {
                Arc::make_mut(&mut self.votes).remove(&name);
                Ok(0)
            }
            Ask::Forget(_) => Err(Refused::Unknown),
        }
    }
}

impl Tally {
    /// What this node has: wait for [`read_barrier`](raft_core::NodeHandle::read_barrier) before you ask.
    #[must_use]
    pub fn votes(&self, name: &str) -> u64 {
        self.lock().votes.get(name).copied().unwrap_or(0)
    }

    /// Held for a few steps only, and never across an await.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl StateMachine for Tally {
    async fn last_applied(&mut self) -> Result<LogId, Fatal> {
        Ok(self.lock().applied)
    }

    async fn apply(
        &mut self,
        batch: &[Command],
        through: LogId,
        responses: &mut Responses,
    ) -> Result<(), Fatal> {
        let mut state = self.lock();
        for command in batch {
            let answer = match decode::<Ask>(&command.data) {
                Ok(ask) => state.execute(ask),
                Err(_) => Err(Refused::Senseless),
            };
            responses.push(encode(&answer).map_err(|error| Fatal(error.to_string()))?.into());
        }
        state.applied = through;
        Ok(())
    }

    async fn snapshot(&mut self) -> Result<Box<dyn SnapshotSource>, Fatal> {
        Ok(Box::new(Moment { votes: Arc::clone(&self.lock().votes), after: None }))
    }

    async fn install(&mut self, mut snapshot: Box<dyn SnapshotReader>) -> Result<(), Fatal> {
        let mut bytes = Vec::new();
        loop {
            let piece = snapshot.read(bytes.len() as u64, PIECE_BYTES).await;
            let piece = piece.map_err(|error| Fatal(error.to_string()))?;
            if piece.is_empty() {
                break;
            }
            bytes.extend_from_slice(&piece);
        }
        let mut votes = BTreeMap::new();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let read = postcard::take_from_bytes::<(String, u64)>(rest);
            let ((name, count), more) = read.map_err(|error| Fatal(error.to_string()))?;
            votes.insert(name, count);
            rest = more;
        }
        *self.lock() = State { applied: snapshot.meta().upto, votes: Arc::new(votes) };
        Ok(())
    }
}

/// About so much of a snapshot is made, or read, at once.
const PIECE_BYTES: usize = if cfg!(test) { 32 } else { 64 << 10 };

/// The votes of one moment, on their way into a snapshot.
struct Moment {
    votes: Arc<BTreeMap<String, u64>>,
    /// The last name that was written.
    after: Option<String>,
}

#[async_trait]
impl SnapshotSource for Moment {
    async fn next(&mut self) -> Result<Option<Bytes>, SnapshotError> {
        use std::ops::Bound::{Excluded, Unbounded};

        let mut piece = Vec::new();
        let from = self.after.as_deref().map_or(Unbounded, Excluded);
        let mut written = None;
        for (name, count) in self.votes.range::<str, _>((from, Unbounded)) {
            let pair = encode(&(name, count)).map_err(|error| SnapshotError::Io {
                what: "encode votes".into(),
                cause: error.to_string().into(),
            })?;
            piece.extend_from_slice(&pair);
            written = Some(name.clone());
            if piece.len() >= PIECE_BYTES {
                break;
            }
        }
        if written.is_some() {
            self.after = written;
        }
        Ok((!piece.is_empty()).then(|| piece.into()))
    }
}

#[cfg(test)]
mod contract {
    use bytes::Bytes;
    use raft_core::node::typed::encode;
    use raft_testkit::conformance::Random;
    use raft_testkit::conformance::state_machine::StateMachineBackend;

    use super::{Ask, Tally};

    struct Tallies;

    impl StateMachineBackend for Tallies {
        type Machine = Tally;

        fn machine(&self) -> Tally {
            Tally::default()
        }

        fn command(&self, random: &mut Random) -> Bytes {
            if random.below(20) == 0 {
                return Bytes::from_static(b"makes no sense");
            }
            let name = format!("name-{}", random.below(20));
            let ask =
                if random.below(10) == 0 { Ask::Forget(name) } else { Ask::Vote(name, random.below(9)) };
            encode(&ask).unwrap().into()
        }
    }

    raft_testkit::state_machine_conformance! { backend: Tallies }
}

/// Three nodes in memory.
#[cfg(test)]
pub(crate) mod cluster {
    use raft_core::ids::{ClusterId, GroupId, NodeId};
    use raft_core::membership::{Member, Membership};
    use raft_core::{Config, Node, NodeHandle, TypedNode};
    use raft_testkit::memory::{MemoryDisk, MemoryJournal, MemoryNetwork};

    use super::{Answer, Ask, Tally};

    pub(crate) async fn start(
        network: &MemoryNetwork,
        id: NodeId,
        founders: Option<&Membership>,
    ) -> (NodeHandle, Tally) {
        let (cluster, disk) = (ClusterId(1), MemoryDisk::new());
        let tally = Tally::default();
        let node = Node::builder(Config::new(id, cluster))
            .journal(MemoryJournal::create(&disk, cluster, GroupId(0), id, founders).unwrap())
            .transport(network.transport(id))
            .state_machine(tally.clone())
            .start()
            .await
            .unwrap();
        (node, tally)
    }

    pub(crate) async fn three(network: &MemoryNetwork) -> Vec<(NodeHandle, Tally)> {
        let ids = [NodeId(1), NodeId(2), NodeId(3)];
        let members = ids.map(|id| Member::new(id, format!("node-{id}")));
        let founders = Membership::of_voters(members).unwrap();
        let mut nodes = Vec::new();
        for id in ids {
            nodes.push(start(network, id, Some(&founders)).await);
        }
        nodes
    }

    /// Waits until somebody leads, and knows that it does.
    pub(crate) async fn leader(nodes: &[(NodeHandle, Tally)]) -> &(NodeHandle, Tally) {
        let led = nodes[0].0.watch().until(|status| status.leader.is_some()).await.unwrap();
        let id = led.leader.as_ref().unwrap().id;
        let found = nodes.iter().find(|(node, _)| node.id() == id).unwrap();
        found.0.watch().until(|status| status.leader.as_ref().is_some_and(|l| l.id == id)).await.unwrap();
        found
    }

    #[tokio::test(start_paused = true)]
    async fn a_vote_counts() {
        let nodes = three(&MemoryNetwork::new()).await;
        let (node, tally) = leader(&nodes).await;
        let typed = TypedNode::<Ask, Answer>::new(node.clone());
        assert_eq!(typed.propose(&Ask::Vote("ada".into(), 2)).await, Ok(Ok(2)));
        node.read_barrier().await.unwrap();
        assert_eq!(tally.votes("ada"), 2);
    }
}
