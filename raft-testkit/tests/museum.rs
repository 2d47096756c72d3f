//! Bugs that others had, where only a whole node can show them. The list of all is in `docs/museum.md`.

use std::collections::BTreeSet;
use std::time::Duration;

use raft_core::error::{Outcome, ProposeError, ReadError};
use raft_core::ids::{ClusterId, GroupId, NodeId};
use raft_core::membership::{Member, Membership};
use raft_core::status::{RoleKind, Status};
use raft_core::{Config, Node, NodeHandle};
use raft_testkit::conformance::Random;
use raft_testkit::memory::{MemoryDisk, MemoryJournal, MemoryNetwork, Recorder};

const CLUSTER: ClusterId = ClusterId(5);

struct Cluster {
    network: MemoryNetwork,
    nodes: Vec<NodeHandle>,
    recorders: Vec<Recorder>,
}

impl Cluster {
    async fn of(size: u64) -> Self {
        let (network, mut nodes, mut recorders) = (MemoryNetwork::new(), Vec::new(), Vec::new());
        let members = (1..=size).map(|id| Member::new(NodeId(id), format!("memory-{id}")));
        let membership = Membership::of_voters(members).unwrap();
        for id in (1..=size).map(NodeId) {
            let disk = MemoryDisk::new();
            let journal = MemoryJournal::create(&disk, CLUSTER, GroupId(0), id, Some(&membership)).unwrap();
            let recorder = Recorder::new();
            let node = Node::builder(Config::new(id, CLUSTER))
                .journal(journal)
                .transport(network.transport(id))
                .state_machine(recorder.machine());
            nodes.push(node.start().await.unwrap());
            recorders.push(recorder);
        }
        Self { network, nodes, recorders }
    }

    async fn leader(&self) -> NodeHandle {
        for node in self.nodes.iter().cycle() {
            let known = |status: &Status| status.leader.is_some();
            let status = node.watch().until(known).await.unwrap();
            let leader = &self.nodes[status.leader.as_ref().unwrap().id.0 as usize - 1];
            if leader.status().role == RoleKind::Leader {
                return leader.clone();
            }
        }
        unreachable!()
    }
}

/// P50: TigerBeetle Jepsen 2025. Without a quorum every call ends by itself, within two election timeouts, with what
/// is known; what it held is free again, and the cluster serves when the quorum is back.
#[tokio::test(start_paused = true)]
async fn p50_tigerbeetle_2025_without_a_quorum_every_call_ends() {
    let cluster = Cluster::of(3).await;
    let leader = cluster.leader().await;
    let session = leader.open_session(None).await.unwrap();
    for node in &cluster.nodes {
        cluster.network.isolate(node.id());
    }
    let deadline = tokio::time::Instant::now() + Config::new(NodeId(1), CLUSTER).election_timeout * 2;
    let mut calls = Vec::new();
    for number in 0..300_u32 {
        let (leader, session) = (leader.clone(), session.clone());
        calls.push(tokio::spawn(async move {
            match number % 3 {
                0 => leader.propose(vec![0; 1000]).await.map(drop).map_err(|error| error.outcome()),
                1 => match leader.read_barrier().await {
                    Err(ReadError::NotLeader { .. }) => Err(Outcome::NotApplied),
                    other => panic!("{other:?}"),
                },
                _ => match session.propose("x").await {
                    Ok(_) => Ok(()),
                    Err(failed) => Err(failed.error.outcome()),
                },
            }
        }));
    }
    let mut unknown = 0;
    for call in calls {
        let outcome = tokio::time::timeout_at(deadline, call).await.expect("it is retried for ever").unwrap();
        unknown += usize::from(outcome.unwrap_err() == Outcome::Unknown);
    }
    assert!(unknown > 0, "what was sent before the loss was noticed is unknown");
    for _ in 0..100 {
        let error = leader.propose("later").await.unwrap_err();
        assert_eq!(error, ProposeError::NotLeader { leader: None }, "at once");
    }
    assert!(tokio::time::Instant::now() <= deadline);
    cluster.network.heal_all();
    let leader = cluster.leader().await;
    leader.propose("back").await.unwrap();
    let idle = |status: &Status| status.uncommitted_bytes == 0 && status.applied_index == status.last.index;
    leader.watch().until(idle).await.unwrap();
}

/// P47: redisraft#14 and #44 (Jepsen 2020). Whatever call ends as not applied is not found applied, on any node and
/// at any later time; whatever was answered is found once; what is unknown may be either.
#[tokio::test(start_paused = true)]
async fn p47_redisraft_14_what_is_not_applied_is_never_found() {
    let mut seen = [0; 3];
    for seed in 1..=12 {
        let mut random = Random::new(seed);
        let cluster = Cluster::of(3).await;
        cluster.leader().await;
        let (mut applied, mut refused) = (BTreeSet::new(), BTreeSet::new());
        let mut calls = Vec::new();
        for number in 0..400_u32 {
            let node = cluster.nodes[random.below(3) as usize].clone();
            calls.push((
                number,
                tokio::spawn(async move { node.propose(number.to_le_bytes().to_vec()).await }),
            ));
            match random.below(40) {
                0 => cluster.network.isolate(NodeId(random.below(3) + 1)),
                1 => cluster.network.cut_one_way(NodeId(random.below(3) + 1), NodeId(random.below(3) + 1)),
                2 | 3 => cluster.network.heal_all(),
                4 => cluster.nodes[random.below(3) as usize].campaign(),
                _ => {}
            }
            tokio::time::sleep(Duration::from_millis(random.below(30))).await;
        }
        cluster.network.heal_all();
        for (number, call) in calls {
            match call.await.unwrap() {
                Ok(_) => drop(applied.insert(number)),
                Err(error) if error.outcome() == Outcome::NotApplied => drop(refused.insert(number)),
                Err(_) => seen[2] += 1,
            }
        }
        let last = loop {
            if let Ok(last) = cluster.leader().await.propose("the end").await {
                break last.id.index;
            }
        };
        for recorder in &cluster.recorders {
            let commands = recorder.applied(last).await.commands;
            let mut found = BTreeSet::new();
            for command in commands.iter().filter_map(|command| <[u8; 4]>::try_from(&command.data[..]).ok()) {
                assert!(found.insert(u32::from_le_bytes(command)), "seed {seed}: applied twice");
            }
            assert!(applied.is_subset(&found), "seed {seed}: answered and lost");
            let wrong: Vec<_> = refused.intersection(&found).collect();
            assert!(wrong.is_empty(), "seed {seed}: {wrong:?} were not to be applied");
        }
        seen[0] += applied.len();
        seen[1] += refused.len();
    }
    assert!(seen.iter().all(|count| *count > 20), "each outcome is seen: {seen:?}");
}
