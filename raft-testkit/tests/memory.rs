//! The memory backends beyond their contracts: their faults, and a cluster made of them.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use raft_core::backend::{Journal, JournalError, JournalWrite, Transport, Verdict};
use raft_core::entry::{Entry, EntryKind};
use raft_core::ids::{ClusterId, GroupId, Index, LogId, NodeId};
use raft_core::membership::{Member, Membership};
use raft_core::message::PeerEvent;
use raft_core::status::RoleKind;
use raft_core::{Config, Node, NodeHandle};
use raft_testkit::memory::{
    MemoryDisk, MemoryJournal, MemoryNetwork, Recorder, Register, RegisterCommand, TestInbox,
};

const CLUSTER: ClusterId = ClusterId(1);
const GROUP: GroupId = GroupId(0);

fn create(disk: &MemoryDisk) -> MemoryJournal {
    MemoryJournal::create(disk, CLUSTER, GROUP, NodeId(1), None).unwrap()
}

fn open(disk: &MemoryDisk) -> MemoryJournal {
    MemoryJournal::open(disk, CLUSTER, GROUP, NodeId(1)).unwrap()
}

fn append(indexes: impl IntoIterator<Item = u64>) -> JournalWrite {
    let entry = |index| Entry {
        id: LogId::new(1, index),
        kind: EntryKind::Commands,
        data: Bytes::from(format!("entry {index}")),
    };
    let mut write = JournalWrite::default();
    write.entries = indexes.into_iter().map(entry).collect();
    write
}

#[tokio::test]
async fn a_held_write_waits_and_goes_on() {
    let disk = MemoryDisk::new();
    let mut journal = create(&disk);
    disk.hold_writes();
    let reader = journal.reader();
    let write = tokio::spawn(async move {
        let done = journal.write(append(1..=2)).await;
        (journal, done)
    });
    disk.write_is_held().await;
    assert_eq!(
        reader.entries(Index(1)..Index(2), 100).await,
        Err(JournalError::OutOfRange { last: Index(0) })
    );
    disk.release_writes();
    let (_journal, done) = write.await.unwrap();
    assert_eq!(done, Ok(()));
    assert_eq!(reader.entries(Index(1)..Index(3), 100).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_crash_tears_a_held_write() {
    let disk = MemoryDisk::new();
    let mut journal = create(&disk);
    disk.hold_writes();
    let write = tokio::spawn(async move { journal.write(append(1..=5)).await });
    disk.write_is_held().await;
    disk.crash_torn(3);
    assert!(matches!(write.await.unwrap(), Err(JournalError::Poisoned { .. })));
    disk.release_writes();
    let state = open(&disk).load().await.unwrap();
    assert_eq!(state.last, LogId::new(1, 3));
    assert_eq!(state.verdict, Verdict::TornTail { discarded_from: Index(4) });
    // Until something is written, the finding stays: who opened it may have crashed before it could act.
    let mut journal = open(&disk);
    assert_eq!(journal.load().await.unwrap().verdict, Verdict::TornTail { discarded_from: Index(4) });
    journal.write(append(4..=4)).await.unwrap();
    drop(journal);
    assert_eq!(open(&disk).load().await.unwrap().verdict, Verdict::Clean);
}

#[tokio::test]
async fn a_dropped_write_is_forgotten() {
    let disk = MemoryDisk::new();
    let mut journal = create(&disk);
    disk.hold_writes();
    {
        let mut write = pin!(journal.write(append(1..=1)));
        let mut context = Context::from_waker(Waker::noop());
        assert!(matches!(write.as_mut().poll(&mut context), Poll::Pending));
    }
    disk.release_writes();
    assert_eq!(journal.load().await.unwrap().last, LogId::ZERO);
    journal.write(append(1..=1)).await.unwrap();
}

#[tokio::test]
async fn a_copy_of_a_disk_goes_its_own_way() {
    let disk = MemoryDisk::seeded(7);
    let mut journal = create(&disk);
    journal.write(append(1..=1)).await.unwrap();
    let old = disk.copy();
    journal.write(append(2..=2)).await.unwrap();
    let mut back = open(&old);
    assert_eq!(back.identity().store, journal.identity().store);
    assert_eq!(back.load().await.unwrap().last, LogId::new(1, 1));
}

fn config(id: u64) -> Config {
    Config::new(NodeId(id), CLUSTER)
}

fn three() -> Membership {
    let members = (1..=3).map(|id| Member::new(NodeId(id), format!("anywhere:{id}")));
    Membership::of_voters(members).unwrap()
}

async fn leader_of(nodes: &[NodeHandle]) -> NodeHandle {
    let mut watches: Vec<_> = nodes.iter().map(|node| (node.clone(), node.watch())).collect();
    loop {
        for (node, watch) in &mut watches {
            if node.status().role == RoleKind::Leader {
                return node.clone();
            }
            // Whoever changes next: all of them change while there is an election.
            watch.changed().await;
        }
    }
}

#[tokio::test]
async fn three_nodes_in_memory_agree() {
    let network = MemoryNetwork::new();
    let (mut nodes, mut recorders, mut disks) = (Vec::new(), Vec::new(), Vec::new());
    for id in 1..=3 {
        let (disk, recorder) = (MemoryDisk::new(), Recorder::new());
        let journal = MemoryJournal::create(&disk, CLUSTER, GROUP, NodeId(id), Some(&three())).unwrap();
        let node = Node::builder(config(id))
            .journal(journal)
            .transport(network.transport(NodeId(id)))
            .state_machine(recorder.machine())
            .start()
            .await
            .unwrap();
        nodes.push(node);
        recorders.push(recorder);
        disks.push(disk);
    }
    let leader = leader_of(&nodes).await;
    let mut last = LogId::ZERO;
    for number in 0..100 {
        let applied = leader.propose(format!("command {number}")).await.unwrap();
        assert_eq!(applied.response, format!("command {number}"));
        last = applied.id;
    }
    let mut records = Vec::new();
    for recorder in &recorders {
        let recorded = recorder.applied(last.index).await;
        records.push(recorded.commands);
    }
    assert_eq!(records[0].len(), 100);
    assert_eq!(records[0], records[1]);
    assert_eq!(records[0], records[2]);
    for node in nodes {
        node.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn a_register_answers_with_its_number() {
    let disk = MemoryDisk::new();
    let alone = Membership::of_voters([Member::new(NodeId(1), "anywhere")]).unwrap();
    let node = Node::builder(config(1))
        .journal(MemoryJournal::create(&disk, CLUSTER, GROUP, NodeId(1), Some(&alone)).unwrap())
        .transport(MemoryNetwork::new().transport(NodeId(1)))
        .state_machine(Register::new())
        .start()
        .await
        .unwrap();
    let leader = leader_of(&[node]).await;
    for (command, expected) in [
        (RegisterCommand::Set(5), 5),
        (RegisterCommand::Add(2), 7),
        (RegisterCommand::Swap(5, 1), 7),
        (RegisterCommand::Swap(7, 1), 1),
    ] {
        let applied = leader.propose(command.encode()).await.unwrap();
        assert_eq!(Register::answer(&applied.response), Some(expected), "{command:?}");
    }
    leader.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_killed_node_is_gone_and_a_cut_one_is_silent() {
    let network = MemoryNetwork::new();
    let mut ends = Vec::new();
    for id in 1..=3 {
        let (transport, inbox) = (network.transport(NodeId(id)), TestInbox::new());
        let mut identity = raft_core::backend::JournalState::empty(raft_core::ids::Identity {
            cluster: CLUSTER,
            group: GROUP,
            node: NodeId(id),
            store: Default::default(),
            incarnation: Default::default(),
        })
        .identity;
        identity.incarnation.number = 1;
        transport.start(identity, inbox.inbox()).await.unwrap();
        ends.push((transport, inbox));
    }
    let members: Vec<Member> = (1..=3).map(|id| Member::new(NodeId(id), "anywhere")).collect();
    ends[0].0.members(&members[1..]);
    ends[0].1.until_peer(NodeId(2), PeerEvent::Up, 1).await;
    ends[0].1.until_peer(NodeId(3), PeerEvent::Up, 1).await;
    network.cut(NodeId(1), NodeId(2));
    network.kill(NodeId(3));
    ends[0].1.until_peer(NodeId(3), PeerEvent::Gone, 1).await;
    assert_eq!(ends[0].1.arrivals().len(), 3, "a cut is silent");
    network.disconnect(NodeId(1), NodeId(2));
    ends[0].1.until_peer(NodeId(2), PeerEvent::Down, 1).await;
    network.heal(NodeId(1), NodeId(2));
    ends[0].1.until_peer(NodeId(2), PeerEvent::Up, 2).await;
}
