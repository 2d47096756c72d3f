//! What starting and stopping leaves behind. The tests named `leaks` of each transport that listens on a port have
//! this, as a file, and nothing else: it counts the open files of the process.

use raft_core::backend::{Sent, SentDropped, Transport};
use raft_core::ids::NodeId;
use raft_core::membership::Member;
use raft_core::message::{Lane, PeerEvent};

use crate::support::{Node, Options, Seen, heartbeat, identity};

#[tokio::test]
async fn t09_starting_and_stopping_leaves_nothing_behind() {
    let open_files = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let mut a = Node::start(identity(1), Options::default()).await;
    let b = Node::start(identity(2), Options::default()).await;
    let address = b.address();
    b.transport.shutdown().await;
    drop(b);
    a.transport.members(&[Member::new(NodeId(2), address.to_string())]);
    let (files, alive) = (open_files(), tasks());
    for _ in 0..100 {
        let mut b = Node::start_at(identity(2), address, Options::default()).await;
        b.transport.members(&[a.member()]);
        b.up(1).await;
        b.transport.shutdown().await;
        assert_eq!(
            b.transport.send(&a.member(), Lane::Control, heartbeat(2, 1, 1)),
            Sent::Dropped(SentDropped::Stopped)
        );
    }
    // What the other side still notices goes away with it.
    a.until(|seen| *seen == Seen::Peer(NodeId(2), PeerEvent::Gone)).await;
    a.transport.shutdown().await;
    assert!(tasks() <= alive, "{} tasks, before: {alive}", tasks());
    assert!(open_files() <= files, "{} files, before: {files}", open_files());
}
