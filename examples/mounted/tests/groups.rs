//! Eight groups on three processes, each process with one port.

use std::time::Duration;

use raft_core::TypedNode;
use raft_core::ids::{GroupId, NodeId};
use raft_core::membership::{Member, Membership};
use raft_core::node::ReadPolicy;
use raft_mounted::groups::Groups;
use raft_redb::{Answer, Ask, Done};
use tokio::net::TcpListener;

const GROUPS: u64 = 8;

/// Writes to a group through whoever leads it. It asks again whatever the error was, also where nobody can tell what
/// became of the command: put twice it is the same.
async fn put(processes: &[Groups], group: GroupId, value: &str) {
    loop {
        for process in processes {
            let (node, _) = process.of(group).unwrap();
            let typed = TypedNode::<Ask, Answer>::new(node.clone());
            match typed.propose(&Ask::Put("n".into(), value.into())).await {
                Ok(Ok(Done::Was(_))) => return,
                Ok(other) => panic!("{other:?}"),
                Err(_) => tokio::task::yield_now().await,
            }
        }
    }
}

/// What a node of the group has, once it has all that was acknowledged: one key, and this.
async fn value(process: &Groups, group: GroupId) -> String {
    let (node, store) = process.of(group).unwrap();
    while node.read_barrier_with(ReadPolicy::Follower).await.is_err() {
        tokio::task::yield_now().await;
    }
    assert_eq!(store.count().unwrap(), 1, "{group}");
    String::from_utf8(store.value("n").unwrap().unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_behind_one_port_have_each_its_own_log() {
    let folder = tempfile::tempdir().unwrap();
    let mut sockets = Vec::new();
    for _ in 0..3 {
        sockets.push(TcpListener::bind("127.0.0.1:0").await.unwrap());
    }
    let at = (1..).zip(&sockets);
    let members = at.map(|(id, socket)| Member::new(NodeId(id), socket.local_addr().unwrap().to_string()));
    let founders = Membership::of_voters(members).unwrap();
    let mut processes = Vec::new();
    for (id, socket) in (1..).zip(sockets) {
        let data = folder.path().join(id.to_string());
        processes.push(Groups::start(NodeId(id), GROUPS, &data, &founders, socket).await.unwrap());
    }

    for group in (0..GROUPS).map(GroupId) {
        put(&processes, group, &format!("one of {group}")).await;
    }
    for process in &processes {
        for group in (0..GROUPS).map(GroupId) {
            // Nothing of another group is in it.
            assert_eq!(value(process, group).await, format!("one of {group}"));
        }
    }
    assert!((0..100).all(|n| processes[0].group_of(&n.to_string()) == processes[1].group_of(&n.to_string())));

    // A group is led by whom it likes, whatever the others do.
    let (node, _) = processes[0].of(GroupId(3)).unwrap();
    let (led, next) = loop {
        let led = node.watch().until(|status| status.leader.is_some()).await.unwrap();
        let led = led.leader.as_ref().unwrap().id;
        let (leads, _) =
            processes.iter().map(|p| p.of(GroupId(3)).unwrap()).find(|(n, _)| n.id() == led).unwrap();
        // It may have lost it meanwhile.
        if let Ok(next) = leads.transfer_leadership(None).await {
            break (led, next);
        }
        tokio::task::yield_now().await;
    };
    node.watch()
        .until(|status| status.leader.as_ref().is_some_and(|leader| leader.id == next))
        .await
        .unwrap();
    assert_ne!(next, led);

    // One process less: every group goes on.
    let gone = processes.swap_remove(0);
    gone.shutdown(Duration::from_secs(20)).await.unwrap();
    for group in (0..GROUPS).map(GroupId) {
        put(&processes, group, &format!("two of {group}")).await;
        for process in &processes {
            assert_eq!(value(process, group).await, format!("two of {group}"));
        }
    }
    for process in processes {
        process.shutdown(Duration::from_secs(20)).await.unwrap();
    }
}
