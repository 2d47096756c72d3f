//! How long is waited, to the very instant.

use std::time::Duration;

use raft_core::message::{Ballot, HeartbeatReply, Message, PeerEvent};
use raft_core::status::{HandOver, RoleKind, Why};
use raft_core::time::Time;
use raft_core::{Config, Lease, Settings};

use super::world::*;

/// Of many nodes that differ in their seeds, how long each waits: from `least`, to before `below`, and anywhere between.
fn waits(least: Duration, below: Duration, wait: impl Fn(Config) -> Duration) {
    let of = |seed| {
        let mut config = config();
        config.seed = seed;
        wait(config)
    };
    let waits: Vec<Duration> = (0..200).map(of).collect();
    assert!(waits.iter().all(|wait| (least..below).contains(wait)), "{waits:?}");
    let quarter = (below - least) / 4;
    assert!(waits.iter().any(|wait| *wait < least + quarter), "{waits:?}");
    assert!(waits.iter().any(|wait| *wait >= below - quarter), "{waits:?}");
}

/// Until the next timeout of a node that waits for nothing else than an election.
fn next(node: &Node) -> Duration {
    node.raft.next_timeout().unwrap().since(node.now)
}

/// A node that would rather not lead gives the others up to an election timeout more, or up to a heartbeat interval
/// if the leader's process is gone: here half of it.
#[test]
fn a_reluctant_node_waits_longer() {
    let (interval, timeout) = (config().heartbeat_interval, timeout());
    let reluctant = |mut config: Config| {
        config.priority = -64;
        config
    };
    waits(timeout * 3 / 2, timeout * 5 / 2, |config| next(&Node::follower(reluctant(config), &[ME, A, B])));
    waits(interval / 50 + interval / 2, interval * 3 / 2, |config| {
        let mut node = Node::follower(reluctant(config), &[ME, A, B]);
        node.raft.handle_peer(node.now, A, PeerEvent::Gone);
        next(&node)
    });
}

/// M5: who asks whether it would win, since the leader's process is gone, asks again soon.
#[test]
fn a_question_after_a_leader_is_gone_waits_from_one_to_two_intervals() {
    let interval = config().heartbeat_interval;
    waits(interval, interval * 2, |config| {
        let mut node = Node::follower(config, &[ME, A, B]);
        node.raft.handle_peer(node.now, A, PeerEvent::Gone);
        node.at(node.raft.next_timeout().unwrap());
        assert_eq!(node.raft.role_kind(), RoleKind::PreCandidate);
        next(&node)
    });
}

/// M5: those whom the leader has left split their votes. Its own will not come, and nobody waits an election timeout for
/// it: that is what a failover would take.
#[test]
fn a_split_vote_after_a_leader_is_gone_is_tried_again_soon() {
    let interval = config().heartbeat_interval;
    let split = |config, gone: bool| {
        let mut node = Node::follower(config, &[ME, A, B]);
        if gone {
            node.raft.handle_peer(node.now, A, PeerEvent::Gone);
        }
        node.at(node.raft.next_timeout().unwrap());
        node.ballot(B, true, Ballot::Granted);
        assert_eq!(node.raft.role_kind(), RoleKind::Candidate);
        node.settle();
        node.ballot(B, false, Ballot::Denied);
        node
    };
    waits(interval / 50, interval, |config| {
        let node = split(config, true);
        assert_eq!((node.raft.role_kind(), node.status().why), (RoleKind::Follower, Why::Lost));
        next(&node)
    });
    // Where messages take as long as the small delay, all of them are split: then its vote is waited for after all.
    let mut node = split(config(), true);
    for again in [true, true, false] {
        node.at(node.raft.next_timeout().unwrap());
        assert_eq!(node.raft.role_kind(), RoleKind::PreCandidate);
        node.ballot(B, true, Ballot::Granted);
        node.settle();
        node.ballot(B, false, Ballot::Denied);
        let role = if again { RoleKind::Follower } else { RoleKind::Candidate };
        assert_eq!(node.raft.role_kind(), role);
    }
    assert!(next(&node) >= timeout());
    // It is started again, and may vote yet: who denies must not keep others from a quorum with it.
    type Back = fn(&mut Node);
    let connected: Back = |node| node.raft.handle_peer(node.now, A, PeerEvent::Up);
    let heard: Back = |node| node.ballot(A, true, Ballot::Granted);
    for back in [connected, heard] {
        let mut node = Node::follower(config(), &[ME, A, B]);
        node.raft.handle_peer(node.now, A, PeerEvent::Gone);
        node.at(node.raft.next_timeout().unwrap());
        back(&mut node);
        node.ballot(B, true, Ballot::Granted);
        node.settle();
        node.ballot(B, false, Ballot::Denied);
        assert_eq!(node.raft.role_kind(), RoleKind::Candidate);
        node.ballot(A, false, Ballot::Granted);
        assert_eq!(node.raft.role_kind(), RoleKind::Leader);
    }
    // The leader of two is started again.
    let mut node = Node::follower(config(), &[ME, A]);
    node.raft.handle_peer(node.now, A, PeerEvent::Gone);
    node.at(node.raft.next_timeout().unwrap());
    node.ballot(A, true, Ballot::Granted);
    node.settle();
    assert_eq!(node.raft.role_kind(), RoleKind::Candidate);
    // A leader that was merely not heard may vote yet.
    waits(timeout(), timeout() * 2, |config| {
        let node = split(config, false);
        assert_eq!(node.raft.role_kind(), RoleKind::Candidate);
        next(&node)
    });
}

/// A leader that is given a shorter election timeout has all of that to hear its quorum in, however long ago the last
/// answer was.
#[test]
fn a_leader_with_other_settings_looks_at_its_quorum_after_the_new_timeout() {
    let mut node = Node::leader(config(), &[ME, A, B]);
    let shorter = config().heartbeat_interval * 3;
    node.at(node.now + timeout() - MILLI);
    let settings = Settings { election_timeout: Some(shorter), ..Settings::default() };
    node.raft.reconfigure(node.now, &settings).unwrap();
    assert_eq!(node.raft.next_timeout(), Some(node.now), "a heartbeat is due at once");
    let end = node.now + shorter;
    for (at, role) in
        [(node.now, RoleKind::Leader), (end - NANO, RoleKind::Leader), (end, RoleKind::Follower)]
    {
        node.at(at);
        assert_eq!(node.raft.role_kind(), role, "{at:?}");
    }
}

/// Time goes to the next timeout, and both followers answer what they are sent. Whether one was told to campaign.
fn pass(node: &mut Node) -> bool {
    let matched = node.status().peers[0].match_index;
    node.at(node.raft.next_timeout().unwrap());
    let mut told = false;
    // Its disk hangs: nothing is written.
    for (to, message) in node.sent() {
        match message {
            Message::Heartbeat(beat) => node.answer(to, beat.round, matched.0),
            Message::TimeoutNow(_) => told = true,
            _ => {}
        }
    }
    told |= node.sent().iter().any(|(_, message)| matches!(message, Message::TimeoutNow(_)));
    told
}

/// M11: a leader whose disk hangs on, and whose follower does not take over, tries again after ten election timeouts, not
/// sooner, and not later.
#[test]
fn a_hand_over_in_vain_is_repeated_after_ten_timeouts() {
    let mut node = Node::leader(config(), &[ME, A, B]);
    node.acknowledge(B, 2);
    let last = node.propose();
    assert!(node.raft.poll_write().is_some());
    let _ = node.sent();
    for peer in [A, B] {
        node.acknowledge(peer, last);
    }
    let mut told = Vec::new();
    while told.len() < 3 {
        if pass(&mut node) {
            told.push(node.now);
        }
        assert_eq!(node.raft.role_kind(), RoleKind::Leader);
        assert!(node.now < Time::ZERO + timeout() * 40, "{told:?}");
    }
    assert_eq!(node.status().hand_over, Some(HandOver::DiskHangs));
    assert_eq!(told[1].since(told[0]), timeout() * 10);
    assert_eq!(told[2].since(told[1]), timeout() * 10);
}

/// What was promised in the round in which leadership was about to be handed over makes no lease, the next does.
#[test]
fn a_lease_begins_again_with_the_round_after_a_hand_over() {
    let mut config = config();
    config.lease = Some(Lease { max_drift_ppm: 1000 });
    let mut node = Node::with(config, &[first(&[ME, A, B])], id(0, 1));
    // For an election timeout after its start it is bound by what it may have promised before.
    node.at(Time::ZERO + timeout() * 2);
    let mut node = node.elected();
    node.settle();
    node.acknowledge(A, 2);
    let promise = |node: &mut Node, round: u64| {
        let (matched, promise) = (node.status().last.index, timeout());
        node.reply(A, HeartbeatReply { round, promise, matched, last: matched, ..HeartbeatReply::default() });
    };
    promise(&mut node, 1);
    assert!(node.status().lease_left.is_some());
    // Between two heartbeats, so that it ends between two as well.
    node.at(node.now + MILLI * 10);
    let end = node.now + timeout();
    node.raft.transfer_leadership(node.now, Some(A)).unwrap();
    assert_eq!(node.status().lease_left, None);
    let mut round = 1;
    while node.now < end {
        node.at(node.raft.next_timeout().unwrap().min(end));
        for (to, message) in node.settle() {
            if let (A, Message::Heartbeat(beat)) = (to, message) {
                round = beat.round;
                promise(&mut node, round);
            }
        }
    }
    assert_eq!(node.raft.role_kind(), RoleKind::Leader, "A has answered, and not taken over");
    promise(&mut node, round);
    assert_eq!(node.status().lease_left, None);
    node.at(node.raft.next_timeout().unwrap());
    promise(&mut node, round + 1);
    assert!(node.status().lease_left.is_some());
}
