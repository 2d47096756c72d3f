//! What waits for a follower that can be spared, and for how long.

use super::*;

#[test]
fn what_a_quorum_can_do_without_waits_and_goes_together() {
    let mut node = leader_of_three();
    assert_eq!(spares(&node), [B.0]);
    let end = node.status().last.index.0;
    let since = node.now;
    // B has been sent nothing lately, so it gets the next one as well; from then on it waits.
    node.at(node.now + DELAY);
    assert_eq!(commit(&mut node, &[A]), [A, B]);
    for _ in 0..8 {
        assert_eq!(commit(&mut node, &[A]), [A]);
    }
    node.at(since + DELAY * 2 - NANO);
    assert_eq!(whom(&mut node), []);
    node.at(since + DELAY * 2);
    let sent = node.settle();
    assert_eq!(fed(&sent, B), (end + 2..=end + 9).collect::<Vec<_>>());
    assert_eq!(sent.len(), 1, "{sent:?}");
}

#[test]
fn who_waits_is_woken_for() {
    let mut node = leader_of_three();
    node.at(node.now + DELAY);
    let first = node.now;
    commit(&mut node, &[A]);
    assert!(node.raft.next_timeout() > Some(first + DELAY), "nobody waits");
    commit(&mut node, &[A]);
    assert_eq!(node.raft.next_timeout(), Some(first + DELAY), "B waits");
    let proposed = node.now;
    node.propose();
    assert_eq!(whom(&mut node), [A]);
    let late = node.raft.next_timeout().unwrap();
    assert_eq!(late, proposed + LATE, "then it is late");
    node.at(late - NANO);
    assert_eq!((whom(&mut node), spares(&node)), (vec![], vec![B.0]));
    node.at(late);
    assert_eq!((whom(&mut node), spares(&node)), (vec![B], vec![]));
    assert!(node.raft.next_timeout() > Some(first + DELAY), "nobody waits");
}

#[test]
fn the_first_that_waits_is_woken_for_before_anything_else_comes() {
    let mut node = leader_of_three();
    let proposed = node.now;
    node.propose();
    // Neither a disk nor a follower says anything.
    assert_eq!(node.sent().len(), 1);
    assert_eq!(node.raft.next_timeout(), Some(proposed + LATE));
}

#[test]
fn what_waits_is_told() {
    let waiting =
        |node: &Node| node.status().peers.iter().map(|peer| peer.waiting_entries).collect::<Vec<_>>();
    let mut node = leader_of_three();
    for count in 1..=9 {
        commit(&mut node, &[A]);
        assert_eq!(waiting(&node), [0, count]);
    }
    node.raft.handle_peer(node.now, B, PeerEvent::Down);
    commit(&mut node, &[A]);
    assert_eq!((waiting(&node), spares(&node)), (vec![0, 0], vec![]), "it lacks them, and does not wait");
}

#[test]
fn much_does_not_wait() {
    let (usual, mut small) = (config(), config());
    small.append_limit_bytes = 4 << 10;
    for (config, much) in [(usual, 256 << 10), (small, 4 << 10)] {
        let mut node = leader(config, &[ME, A, B], &[A, B]);
        node.at(node.now + DELAY);
        commit(&mut node, &[A]);
        let overhead = 64 + pack(&[Bytes::new()]).len() + 3;
        for (bytes, goes) in [(much - 1 - overhead, false), (1, true)] {
            let value = Bytes::from(vec![0; bytes]);
            node.raft.propose(node.now, pack(&[value])).unwrap();
            assert_eq!(whom(&mut node), if goes { vec![A, B] } else { vec![A] }, "{bytes} of {much}");
        }
    }
}

#[test]
fn many_do_not_wait() {
    let mut node = leader_of_three();
    node.at(node.now + DELAY);
    commit(&mut node, &[A]);
    for _ in 1..64 {
        node.propose();
        assert_eq!(whom(&mut node), [A]);
    }
    let last = node.propose();
    let sent = node.settle();
    assert_eq!(fed(&sent, B), (last - 63..=last).collect::<Vec<_>>());
}

#[test]
fn who_wants_to_read_does_not_wait() {
    let mut node = leader_of_three();
    node.at(node.now + DELAY);
    commit(&mut node, &[A]);
    commit(&mut node, &[A]);
    let end = node.status().last.index;
    node.hear(B, 1, Message::ReadIndex(ReadIndex { id: 2 }));
    let asked = node.settle();
    assert_eq!(fed(&asked, B), [end.0], "while a quorum confirms it");
    commit(&mut node, &[A]);
    assert_eq!(commit(&mut node, &[A]), [A]);
    let end = node.status().last.index;
    node.answer(A, round(&asked), end.0);
    let sent = node.settle();
    assert_eq!(fed(&sent, B), [end.0 - 1, end.0]);
    let told = sent.iter().any(|(to, message)| *to == B && matches!(message, Message::ReadIndexReply(_)));
    assert!(told, "{sent:?}");
}

#[test]
fn who_wants_to_read_under_a_lease_does_not_wait() {
    let mut node = leader_of_three();
    let leases = Settings { lease: Some(Some(Lease { max_drift_ppm: 10_000 })), ..Settings::default() };
    node.raft.reconfigure(node.now, &leases).unwrap();
    node.at(node.now + node.raft.config().heartbeat_interval);
    let round = round(&node.settle());
    let end = node.status().last.index;
    let promise = timeout();
    let promised = HeartbeatReply { round, matched: end, last: end, promise, ..HeartbeatReply::default() };
    node.reply(A, promised);
    commit(&mut node, &[A]);
    assert_eq!(commit(&mut node, &[A]), [A]);
    assert!(node.status().lease_left.is_some());
    let end = node.status().last.index.0;
    node.hear(B, 1, Message::ReadIndex(ReadIndex { id: 2 }));
    let sent = node.settle();
    assert_eq!(fed(&sent, B), [end]);
    assert!(sent.iter().any(|(to, message)| *to == B && matches!(message, Message::ReadIndexReply(_))));
}

#[test]
fn who_leads_no_more_waits_for_nothing() {
    let mut node = leader_of_three();
    node.at(node.now + DELAY);
    let first = node.now;
    commit(&mut node, &[A]);
    commit(&mut node, &[A]);
    assert_eq!(node.raft.next_timeout(), Some(first + DELAY));
    node.beat(A, 2);
    assert!(node.raft.next_timeout() >= Some(node.now + timeout()));
    assert_eq!(node.status().peers, []);
}

#[test]
fn a_window_of_one_is_kept() {
    let mut config = config();
    config.window_messages = 1;
    let mut node = leader(config, &[ME, A, B], &[A, B]);
    node.at(node.now + DELAY);
    assert_eq!(commit(&mut node, &[A]), [A, B]);
    let sent = node.status().last.index.0;
    for _ in 0..12 {
        assert_eq!(commit(&mut node, &[A]), [A], "B has not answered");
        assert!(node.raft.next_timeout() > Some(node.now));
    }
    let last = node.status().last.index.0;
    node.acknowledge(B, sent);
    assert_eq!(fed(&node.settle(), B), (sent + 1..=last).collect::<Vec<_>>());
}

#[test]
fn what_has_left_memory_is_read_for_who_waited() {
    let mut config = config();
    (config.tail_limit_bytes, config.tail_keep_bytes) = (300, 0);
    let mut node = leader(config, &[ME, A, B], &[A, B]);
    node.at(node.now + DELAY);
    commit(&mut node, &[A]);
    let sent = node.status().last.index.0;
    // Each is 74 bytes: the fifth is more than stays in memory.
    for _ in 0..4 {
        assert_eq!(commit(&mut node, &[A]), [A]);
    }
    assert_eq!(node.propose(), sent + 5);
    let fed = fed(&node.settle(), B);
    assert_eq!(fed.first(), Some(&(sent + 1)), "{fed:?}");
}

#[test]
fn who_is_to_take_over_does_not_wait() {
    let mut node = leader_of_three();
    node.at(node.now + DELAY);
    commit(&mut node, &[A]);
    commit(&mut node, &[A]);
    let end = node.status().last.index.0;
    assert_eq!(node.raft.transfer_leadership(node.now, Some(B)), Ok(B));
    let sent = node.settle();
    assert_eq!((fed(&sent, B), spares(&node)), (vec![end], vec![]));
    node.acknowledge(B, end);
    assert!(node.settle().iter().any(|(to, message)| *to == B && matches!(message, Message::TimeoutNow(_))));
}

#[test]
fn while_a_member_is_removed_nobody_waits() {
    let mut node = leader(config(), &[ME, A, B, C], &[A, B, C]);
    assert_eq!(spares(&node), [C.0]);
    node.raft.change_membership(node.now, &[Change::Remove(B)], ChangeOptions::default()).unwrap();
    assert_eq!(spares(&node), []);
    for _ in 0..COUNTED * 2 {
        node.propose();
        assert_eq!(whom(&mut node), [A, B, C]);
        node.at(node.now + MICRO);
    }
}

#[test]
fn while_a_member_is_added_nobody_waits() {
    let mut node = leader_of_three();
    node.at(node.now + DELAY);
    commit(&mut node, &[A]);
    let add = [Change::AddLearner(member(C))];
    node.raft.change_membership(node.now, &add, ChangeOptions::default()).unwrap();
    assert_eq!(spares(&node), []);
    let sent = node.settle();
    let end = node.status().last.index.0;
    assert_eq!((fed(&sent, A), fed(&sent, B)), (vec![end], vec![end]));
    // A learner is never needed, once it gets entries at all.
    [A, B].into_iter().for_each(|id| node.acknowledge(id, end));
    node.settle();
    node.at(node.now + node.raft.config().heartbeat_interval);
    let round = node.settle().iter().find_map(|(to, message)| match message {
        Message::Heartbeat(beat) if *to == C => Some(beat.round),
        _ => None,
    });
    let round = round.unwrap();
    node.answer(C, round, 0);
    node.acknowledge(C, end);
    node.settle();
    for _ in 0..COUNTED {
        commit(&mut node, &[A, B, C]);
    }
    assert_eq!(spares(&node), [B.0, C.0]);
}

#[test]
fn entries_wait_as_long_as_is_set_and_never_half_a_heartbeat() {
    let mut off = config();
    off.spare_delay = Duration::ZERO;
    let mut node = leader(off, &[ME, A, B], &[A, B]);
    for _ in 0..COUNTED {
        assert_eq!(commit(&mut node, &[A]), [A, B]);
        assert_eq!(spares(&node), []);
    }
    let on = Settings { spare_delay: Some(Duration::from_secs(9)), ..Settings::default() };
    node.raft.reconfigure(node.now, &on).unwrap();
    for _ in 0..COUNTED {
        assert_eq!(commit(&mut node, &[A]), [A, B]);
    }
    let half = node.raft.config().heartbeat_interval / 2;
    node.at(node.now + half);
    let first = node.now;
    assert_eq!(commit(&mut node, &[A]), [A, B]);
    assert_eq!(commit(&mut node, &[A]), [A]);
    node.at(first + half - NANO);
    assert_eq!(whom(&mut node), []);
    node.at(first + half);
    assert_eq!(whom(&mut node), [B]);

    commit(&mut node, &[A]);
    assert_eq!(spares(&node), [B.0]);
    let off = Settings { spare_delay: Some(Duration::ZERO), ..Settings::default() };
    node.raft.reconfigure(node.now, &off).unwrap();
    assert_eq!((whom(&mut node), spares(&node)), (vec![B], vec![]));
}

#[test]
fn who_has_what_was_just_committed_takes_over_from_a_failed_disk() {
    let mut node = leader_of_three();
    let end = node.status().last.index;
    let preferred =
        HeartbeatReply { round: 1, matched: end, last: end, priority: 5, ..HeartbeatReply::default() };
    node.reply(B, preferred);
    commit(&mut node, &[A]);
    node.raft.handle_write_failed(node.now);
    let told: Vec<NodeId> = node
        .sent()
        .into_iter()
        .filter_map(|(to, message)| matches!(message, Message::TimeoutNow(_)).then_some(to))
        .collect();
    assert_eq!(told, [A]);
}
