//! Transports that talk to each other over the loopback interface: what arrives, what is reported, what is left behind.
//!
//! The tests named `loopback` of each transport that listens on a port have these, as a file: `crate::support` says
//! which transport.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use raft_core::backend::{Refusal, Sent, SentDropped, Transport, TransportError};
use raft_core::entry::{Entry, EntryKind};
use raft_core::ids::{ClusterId, GroupId, Identity, Index, LogId, NodeId, Term};
use raft_core::message::{Append, Envelope, Lane, Message, PeerEvent};

use crate::support::{Loopback, Node, Options, Seen, heartbeat, identity, inbox, pair};

fn append(size: usize, count: u64) -> Envelope {
    let entry = |index| Entry {
        id: LogId::new(1, index),
        kind: EntryKind::Commands,
        data: Bytes::from(vec![u8::try_from(index % 251).unwrap(); size]),
    };
    let entries = (1..=count).map(entry).collect();
    let message = Message::Append(Append { prev: LogId::ZERO, commit: Index(0), entries });
    Envelope { group: GroupId(0), from: NodeId(1), to: NodeId(2), term: Term(1), message }
}

#[tokio::test]
async fn t01_t02_messages_arrive_whole_and_in_order() {
    let (a, mut b) = pair().await;
    for round in 0..500 {
        assert_eq!(a.transport.send(&b.member(), Lane::Control, heartbeat(1, 2, round)), Sent::Queued);
    }
    for round in 0..500 {
        assert_eq!(b.message().await, heartbeat(1, 2, round));
    }
}

#[tokio::test]
async fn t08_an_entry_of_16_mib_passes_and_small_ones_too() {
    let (a, mut b) = pair().await;
    for (size, count) in [(16 << 20, 1), (0, 3), (1, 1), (100, 700), (5000, 300)] {
        let sent = append(size, count);
        assert_eq!(a.transport.send(&b.member(), Lane::Bulk, sent.clone()), Sent::Queued);
        assert!(b.message().await == sent, "{count} entries of {size} bytes");
    }
}

#[tokio::test]
async fn t08_what_is_larger_than_a_frame_is_refused_at_once() {
    let (a, b) = pair().await;
    let sent = a.transport.send(&b.member(), Lane::Bulk, append(65 << 20, 1));
    assert_eq!(sent, Sent::Dropped(SentDropped::TooLarge));
}

#[tokio::test]
async fn t03_control_passes_while_the_receiver_takes_no_bulk() {
    let (a, mut b) = pair().await;
    b.inbox.full.store(true, Ordering::SeqCst);
    // Far more than all buffers on the way hold: the sender's queue fills.
    let mut sent = Sent::Queued;
    for _ in 0..2000 {
        sent = a.transport.send(&b.member(), Lane::Bulk, append(1 << 20, 1));
        if sent != Sent::Queued {
            break;
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(sent, Sent::Dropped(SentDropped::QueueFull), "the queue is bounded");
    a.transport.send(&b.member(), Lane::Control, heartbeat(1, 2, 7));
    assert_eq!(b.message().await, heartbeat(1, 2, 7), "control overtakes bulk");
    b.inbox.full.store(false, Ordering::SeqCst);
    b.inbox.freed.notify_one();
    assert!(matches!(b.message().await.message, Message::Append(_)), "bulk goes on");
}

#[tokio::test]
async fn t04_a_peer_that_is_not_there_costs_nothing() {
    let (a, mut b) = pair().await;
    // Nobody listens there: the port was free a moment ago.
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nobody = raft_core::membership::Member::new(NodeId(3), unused.to_string());
    a.transport.members(&[b.member(), nobody.clone()]);
    for round in 0..100 {
        let sent = a.transport.send(&nobody, Lane::Control, heartbeat(1, 3, round));
        assert_eq!(sent, Sent::Dropped(SentDropped::NotConnected));
    }
    a.transport.send(&b.member(), Lane::Control, heartbeat(1, 2, 1));
    assert_eq!(b.message().await, heartbeat(1, 2, 1));
}

#[tokio::test]
async fn t05_a_stopped_peer_is_reported_as_gone_and_again_as_up() {
    let (mut a, b) = pair().await;
    let address = b.address();
    b.transport.shutdown().await;
    a.until(|seen| *seen == Seen::Peer(NodeId(2), PeerEvent::Down)).await;
    a.until(|seen| *seen == Seen::Peer(NodeId(2), PeerEvent::Gone)).await;
    let mut again = Node::start_at(identity(2), address, Options::default()).await;
    again.transport.members(&[a.member()]);
    a.up(2).await;
    again.up(1).await;
    a.transport.send(&again.member(), Lane::Control, heartbeat(1, 2, 9));
    assert_eq!(again.message().await, heartbeat(1, 2, 9));
}

#[tokio::test]
async fn t06_a_foreign_cluster_is_refused_on_both_sides() {
    let foreign = Identity { cluster: ClusterId(7), ..identity(2) };
    let mut a = Node::start(identity(1), Options::default()).await;
    let mut b = Node::start(foreign, Options::default()).await;
    a.transport.members(&[b.member()]);
    let refused = a.next().await;
    assert!(matches!(refused, Seen::Refused(NodeId(2), Refusal::WrongCluster { .. })), "{refused:?}");
    b.transport.members(&[a.member()]);
    let refused = b.next().await;
    assert!(matches!(refused, Seen::Refused(NodeId(1), Refusal::WrongCluster { .. })), "{refused:?}");
    assert!(a.transport.stats().refused > 0 && b.transport.stats().refused > 0);
}

#[tokio::test]
async fn t06_another_node_behind_the_address_is_refused() {
    let mut a = Node::start(identity(1), Options::default()).await;
    let b = Node::start(identity(2), Options::default()).await;
    a.transport.members(&[raft_core::membership::Member::new(NodeId(3), b.address().to_string())]);
    let refused = a.next().await;
    assert!(matches!(refused, Seen::Refused(NodeId(3), Refusal::WrongNode { .. })), "{refused:?}");
}

#[tokio::test]
async fn t06_who_is_not_admitted_is_told_why() {
    let mut a = Node::start(identity(1), Options::default()).await;
    let b = Node::start(identity(2), Options::default()).await;
    let why = Refusal::RolledBack { node: NodeId(1), known: 9, offered: 1 };
    *b.inbox.refuse.lock().unwrap() = Some(why.clone());
    a.transport.members(&[b.member()]);
    assert_eq!(a.next().await, Seen::Refused(NodeId(2), why), "the dialler is refused");

    let mut c = Node::start(identity(3), Options::default()).await;
    let d = Node::start(identity(4), Options::default()).await;
    let why = Refusal::RolledBack { node: NodeId(3), known: 9, offered: 1 };
    *d.inbox.refuse.lock().unwrap() = Some(why.clone());
    d.transport.members(&[c.member()]);
    assert_eq!(c.next().await, Seen::Refused(NodeId(4), why), "the dialler refuses");
}

#[tokio::test]
async fn t09_the_second_on_a_port_is_told_that_it_is_in_use() {
    let a = Node::start(identity(1), Options::default()).await;
    let second = Loopback::new(a.address(), Options::default());
    let inbox = raft_core::backend::Inbox::new(a.inbox.clone());
    let error = second.start(identity(2), inbox).await.unwrap_err();
    assert_eq!(error, TransportError::AddressInUse { address: a.address().to_string() });
}

#[tokio::test]
async fn t10_a_changed_address_is_followed() {
    let (mut a, b) = pair().await;
    let mut moved = Node::start(identity(2), Options::default()).await;
    a.transport.members(&[moved.member()]);
    a.up(2).await;
    a.transport.send(&moved.member(), Lane::Control, heartbeat(1, 2, 3));
    assert_eq!(moved.message().await, heartbeat(1, 2, 3));
    drop(b);
}

#[tokio::test]
async fn a_removed_member_is_not_dialled_any_more() {
    let (a, b) = pair().await;
    a.transport.members(&[]);
    let sent = a.transport.send(&b.member(), Lane::Control, heartbeat(1, 2, 3));
    assert_eq!(sent, Sent::Dropped(SentDropped::NotConnected));
}

#[tokio::test]
async fn t09_a_dropped_transport_frees_its_port() {
    let a = Node::start(identity(1), Options::default()).await;
    let address = a.address();
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    drop(a);
    while tasks() > 0 {
        tokio::task::yield_now().await;
    }
    let again = Loopback::new(address, Options::default());
    let (sender, _seen) = tokio::sync::mpsc::unbounded_channel();
    again.start(identity(1), inbox(sender).0).await.unwrap();
    again.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t09_nothing_begins_after_the_end_on_many_threads() {
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    for _ in 0..30 {
        let (a, b) = pair().await;
        // Members are told again while the end comes.
        let (transport, member) = (std::sync::Arc::new(a.transport), b.member());
        let teller = {
            let transport = std::sync::Arc::clone(&transport);
            tokio::task::spawn_blocking(move || {
                for _ in 0..50 {
                    transport.members(&[]);
                    transport.members(std::slice::from_ref(&member));
                }
            })
        };
        transport.shutdown().await;
        teller.await.unwrap();
        b.transport.shutdown().await;
    }
    // Another thread may still be putting the last ended task away.
    let gone = async {
        while tasks() > before {
            tokio::task::yield_now().await;
        }
    };
    let gone = tokio::time::timeout(std::time::Duration::from_secs(20), gone).await;
    assert!(gone.is_ok(), "{} tasks live on", tasks() - before);
}

#[tokio::test]
async fn an_older_incarnation_of_a_peer_is_not_heard_any_more() {
    use raft_core::ids::Incarnation;
    let mut b = Node::start(identity(2), Options::default()).await;
    let newer = Identity { incarnation: Incarnation { number: 5, nonce: 5 }, ..identity(1) };
    let mut new = Node::start(newer, Options::default()).await;
    new.transport.members(&[b.member()]);
    new.up(2).await;
    new.transport.send(&b.member(), Lane::Control, heartbeat(1, 2, 5));
    assert_eq!(b.message().await, heartbeat(1, 2, 5));
    let mut old = Node::start(identity(1), Options::default()).await;
    old.transport.members(&[b.member()]);
    old.up(2).await;
    old.transport.send(&b.member(), Lane::Control, heartbeat(1, 2, 1));
    old.until(|seen| *seen == Seen::Peer(NodeId(2), PeerEvent::Down)).await;
    new.transport.send(&b.member(), Lane::Control, heartbeat(1, 2, 6));
    assert_eq!(b.message().await, heartbeat(1, 2, 6), "and nothing of the old one");
}

/// A node in limbo has been told of no members, and must be able to answer the leader that has found it.
#[tokio::test]
async fn who_dials_in_can_be_answered_though_it_is_no_member() {
    let mut leader = Node::start(identity(1), Options::default()).await;
    let mut limbo = Node::start_at(identity(2), "0.0.0.0:0".parse().unwrap(), Options::default()).await;
    let listens = format!("127.0.0.1:{}", limbo.address().port());
    leader.transport.members(&[raft_core::membership::Member::new(limbo.id, listens)]);
    leader.up(2).await;
    limbo.up(1).await;
    // Whatever address it believes the leader to have.
    let nowhere = raft_core::membership::Member::new(NodeId(1), "");
    assert_eq!(limbo.transport.send(&nowhere, Lane::Control, heartbeat(2, 1, 5)), Sent::Queued);
    assert_eq!(leader.message().await, heartbeat(2, 1, 5));
    // What it is told of members does not keep it from answering who speaks to it.
    limbo.transport.members(&[]);
    assert_eq!(limbo.transport.send(&nowhere, Lane::Control, heartbeat(2, 1, 6)), Sent::Queued);
    assert_eq!(leader.message().await, heartbeat(2, 1, 6));
    // Nobody speaks to it any more: neither keeps the other connected as a guest.
    leader.transport.members(&[]);
    forgotten(&limbo, 1).await;
    forgotten(&leader, 2).await;
}

/// Returns once a node does not dial another one any more.
async fn forgotten(by: &Node, node: u64) {
    let to = raft_core::membership::Member::new(NodeId(node), "");
    let gone = async {
        while by.transport.send(&to, Lane::Control, heartbeat(by.id.0, node, 7))
            != Sent::Dropped(SentDropped::NotConnected)
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), gone).await.unwrap();
}

/// Who was a member and is none any more can be answered while it is here, and is dialled anew as a member.
#[tokio::test]
async fn a_member_becomes_a_guest_and_a_member_again() {
    let (mut a, mut b) = pair().await;
    a.transport.members(&[]);
    let nowhere = raft_core::membership::Member::new(NodeId(2), "");
    a.up(2).await;
    assert_eq!(a.transport.send(&nowhere, Lane::Control, heartbeat(1, 2, 5)), Sent::Queued);
    assert_eq!(b.message().await, heartbeat(1, 2, 5));
    a.transport.members(&[b.member()]);
    a.up(2).await;
    assert_eq!(a.transport.send(&nowhere, Lane::Control, heartbeat(1, 2, 6)), Sent::Queued);
    assert_eq!(b.message().await, heartbeat(1, 2, 6));
    a.transport.members(&[]);
    b.transport.members(&[]);
    forgotten(&a, 2).await;
    forgotten(&b, 1).await;
}

/// A member that was removed comes back, by a change of the membership, with another store: that begins to count
/// anew, and must be heard although the old one had been opened more often.
#[tokio::test]
async fn who_comes_back_with_another_store_is_heard() {
    use raft_core::ids::{Incarnation, StoreId};
    let mut b = Node::start(identity(2), Options::default()).await;
    let often = Identity { incarnation: Incarnation { number: 5, nonce: 5 }, ..identity(1) };
    let mut old = Node::start(often, Options::default()).await;
    old.transport.members(&[b.member()]);
    old.up(2).await;
    old.transport.send(&b.member(), Lane::Control, heartbeat(1, 2, 1));
    assert_eq!(b.message().await, heartbeat(1, 2, 1));
    let mut new = Node::start(Identity { store: StoreId(7), ..identity(1) }, Options::default()).await;
    new.transport.members(&[b.member()]);
    new.up(2).await;
    new.transport.send(&b.member(), Lane::Control, heartbeat(1, 2, 2));
    assert_eq!(b.message().await, heartbeat(1, 2, 2));
}

/// The same in the other direction: one that listens everywhere is dialled where it comes from.
#[tokio::test]
async fn who_listens_everywhere_is_dialled_where_it_comes_from() {
    let mut leader = Node::start_at(identity(1), "0.0.0.0:0".parse().unwrap(), Options::default()).await;
    let mut limbo = Node::start(identity(2), Options::default()).await;
    leader.transport.members(&[limbo.member()]);
    limbo.up(1).await;
    let nowhere = raft_core::membership::Member::new(NodeId(1), "");
    assert_eq!(limbo.transport.send(&nowhere, Lane::Control, heartbeat(2, 1, 5)), Sent::Queued);
    assert_eq!(leader.message().await, heartbeat(2, 1, 5));
}
