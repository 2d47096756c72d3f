//! Who can be spared, as it is seen, and what ends a choice.

use super::*;

#[test]
fn who_makes_the_commits_is_found_out() {
    let mut node = leader(config(), &[ME, A, B], &[B, A]);
    assert_eq!(spares(&node), [A.0]);
    node.at(node.now + DELAY);
    commit(&mut node, &[B]);
    assert_eq!(commit(&mut node, &[B]), [B]);
    // Of five it takes two others. C is a little better than D, and A never is in time.
    let mut node = Node::of(config(), &[ME, A, B, C, D]).elected();
    node.settle();
    [A, B, C, D].into_iter().for_each(|id| node.acknowledge(id, 2));
    for turn in 1..COUNTED {
        let [first, second, third] = if turn % 8 < 5 { [B, C, D] } else { [B, D, C] };
        commit(&mut node, &[first, second, third, A]);
    }
    assert_eq!(spares(&node), [A.0, D.0]);
}

#[test]
fn two_have_nobody_to_spare() {
    let mut node = Node::of(config(), &[ME, A]);
    node.raft.campaign(node.now);
    for pre in [true, false] {
        node.settle();
        node.ballot(A, pre, raft_core::message::Ballot::Granted);
    }
    node.settle();
    node.acknowledge(A, 2);
    for _ in 0..COUNTED * 3 {
        assert_eq!(commit(&mut node, &[A]), [A]);
        assert_eq!(spares(&node), []);
    }
}

#[test]
fn a_commit_that_is_late_goes_to_everybody_until_it_is_known_again_who_is_enough() {
    let mut node = leader_of_three();
    node.at(node.now + DELAY);
    commit(&mut node, &[A]);
    let index = node.propose();
    assert_eq!(whom(&mut node), [A]);
    // Whatever comes in then: it need not be the timer.
    node.now = node.now + LATE;
    node.answer(B, 1, index - 1);
    assert_eq!(whom(&mut node), [B]);
    node.acknowledge(B, index);
    node.settle();
    assert_eq!(node.status().commit_index, Index(index), "without A");
    for _ in 0..COUNTED {
        assert_eq!(commit(&mut node, &[B]), [A, B]);
    }
    assert_eq!(spares(&node), [A.0], "B was there and A was not");
}

#[test]
fn a_short_time_is_never_late() {
    let mut node = Node::of(config(), &[ME, A, B]).elected();
    node.settle();
    [A, B].into_iter().for_each(|id| node.acknowledge(id, 2));
    for _ in 0..COUNTED * 2 {
        commit_in(&mut node, MICRO * 10, &[A, B]);
    }
    assert_eq!(spares(&node), [B.0]);
    commit_in(&mut node, MILLI - NANO, &[A]);
    assert_eq!(spares(&node), [B.0]);
    commit_in(&mut node, MILLI, &[A]);
    assert_eq!(spares(&node), []);
}

#[test]
fn who_is_enough_is_found_out_anew_after_a_while() {
    let mut node = chosen(config(), &[ME, A, B], &[A, B]);
    let chosen = node.now;
    while node.now + USUAL < chosen + STANDS {
        commit(&mut node, &[A]);
        assert_eq!(spares(&node), [B.0]);
    }
    for _ in 0..COUNTED {
        assert_eq!(spares(&node).is_empty(), node.now >= chosen + STANDS);
        commit(&mut node, &[B, A]);
    }
    commit(&mut node, &[B, A]);
    assert_eq!(spares(&node), [A.0]);
}

#[test]
fn a_choice_stands_longer_where_it_takes_long_to_make() {
    // A command every so often, on a node that has been up for a day.
    let day = Duration::from_secs(86_400);
    for (every, most) in [(MILLI * 100, STANDS * 50), (MILLI * 250, STANDS * 64)] {
        let mut node = Node::of(config(), &[ME, A, B]);
        node.now = node.now + day;
        let mut node = node.elected();
        node.settle();
        [A, B].into_iter().for_each(|id| node.acknowledge(id, 2));
        let first = node.now;
        for _ in 1..COUNTED {
            assert_eq!(spares(&node), []);
            node.at(node.now + every - USUAL);
            commit(&mut node, &[A, B]);
        }
        let until = node.now + (node.now.since(first) * 16).min(most);
        assert!(until > node.now + STANDS * 40);
        while node.now + every < until {
            assert_eq!(spares(&node), [B.0]);
            node.at(node.now + every - USUAL);
            commit(&mut node, &[A, B]);
        }
        node.at(until - NANO);
        assert_eq!(spares(&node), [B.0]);
        node.at(until);
        assert_eq!(spares(&node), []);
    }
}

#[test]
fn a_follower_that_is_needed_and_breaks_off_is_replaced_at_once() {
    let mut node = leader_of_three();
    node.at(node.now + DELAY);
    commit(&mut node, &[A]);
    let index = node.propose();
    assert_eq!(whom(&mut node), [A]);
    node.raft.handle_peer(node.now, A, PeerEvent::Down);
    assert_eq!(whom(&mut node), [B]);
    assert_eq!(spares(&node), []);
    node.acknowledge(B, index);
    assert_eq!(node.status().commit_index, Index(index));
    node.settle();
    for _ in 0..COUNTED {
        assert_eq!(spares(&node), []);
        commit(&mut node, &[B]);
    }
    node.raft.handle_peer(node.now, A, PeerEvent::Up);
    node.settle();
    node.acknowledge(A, index);
    node.settle();
    assert_eq!(spares(&node), [A.0], "when it is back it is not needed");
}

#[test]
fn one_that_can_be_spared_may_break_off() {
    let mut node = leader(config(), &[ME, A, B, C, D], &[A, B]);
    node.raft.handle_peer(node.now, D, PeerEvent::Down);
    node.settle();
    assert_eq!(spares(&node), [C.0]);
    assert_eq!(commit(&mut node, &[A, B]), [A, B], "C waits still");
}

#[test]
fn whose_disk_is_slow_is_not_one_of_those_that_are_enough() {
    let mut node = leader_of_three();
    let matched = node.status().last.index;
    let slow = HeartbeatReply { round: 1, matched, last: matched, slow: true, ..HeartbeatReply::default() };
    node.reply(A, slow);
    assert_eq!(spares(&node), []);
    for _ in 0..COUNTED {
        commit(&mut node, &[A, B]);
    }
    assert_eq!(spares(&node), [A.0], "although it was there before B");
}

#[test]
fn a_leader_with_a_slow_disk_asks_everybody() {
    let mut node = Node::of(config(), &[ME, A, B]).elected();
    node.settle();
    [A, B].into_iter().for_each(|id| node.acknowledge(id, 2));
    for turn in 1..COUNTED * 4 {
        let index = node.propose();
        let write = node.raft.poll_write().unwrap();
        assert_eq!(node.sent().len(), 2);
        node.at(node.now + USUAL);
        // In the last of the rounds it is as good as the others in half of the commits.
        let in_time = turn >= COUNTED * 3 && turn % 2 == 0;
        if in_time {
            node.raft.handle_written(node.now, write.ticket);
        }
        [A, B].into_iter().for_each(|id| node.acknowledge(id, index));
        assert_eq!(node.status().commit_index, Index(index));
        assert_eq!(spares(&node).is_empty(), turn < COUNTED * 4 - 1);
        if !in_time {
            node.raft.handle_written(node.now, write.ticket);
        }
        node.settle();
    }
}

/// Whether B can still be spared after commits that take this long.
fn pays(node: &mut Node, took: Duration) -> bool {
    for _ in 0..COUNTED * 2 {
        commit_in(node, took, &[A]);
        if spares(node).is_empty() {
            return false;
        }
    }
    true
}

/// Nothing is chosen for this long; and then something is, as soon as commits were counted.
fn rests(node: &mut Node, span: Duration) {
    let until = node.now + span;
    while node.now + USUAL < until {
        assert_eq!(commit(node, &[A, B]), [A, B], "{span:?}");
    }
    for _ in 0..COUNTED {
        assert_eq!(commit(node, &[A, B]), [A, B], "{span:?}");
    }
    assert_eq!(spares(node), [B.0], "{span:?}");
}

#[test]
fn a_choice_with_which_commits_take_longer_is_taken_back() {
    let three = || chosen(config(), &[ME, A, B], &[A, B]);
    assert!(pays(&mut three(), USUAL + USUAL / 16), "a little is well spent");
    let mut node = three();
    assert!(!pays(&mut node, USUAL + USUAL / 16 + MICRO));
    // For longer each time, until one pays.
    for times in [1, 2, 4, 8] {
        rests(&mut node, STANDS * times);
        assert!(!pays(&mut node, USUAL * 2), "{times}");
    }
    rests(&mut node, STANDS * 16);
    assert!(pays(&mut node, USUAL));
    while !spares(&node).is_empty() {
        commit(&mut node, &[A]);
    }
    rests(&mut node, Duration::ZERO);
    assert!(!pays(&mut node, USUAL * 2));
    rests(&mut node, STANDS);
}

#[test]
fn a_choice_with_which_a_commit_is_late_before_it_has_shown_that_it_pays_is_taken_back() {
    let mut node = chosen(config(), &[ME, A, B], &[A, B]);
    commit(&mut node, &[A]);
    commit_in(&mut node, LATE, &[A]);
    assert_eq!(spares(&node), []);
    rests(&mut node, STANDS);
    assert!(pays(&mut node, USUAL));
    commit_in(&mut node, LATE, &[A]);
    assert_eq!(spares(&node), []);
    rests(&mut node, Duration::ZERO);
}

#[test]
fn what_went_to_all_says_nothing_of_a_choice() {
    // Each comes when B has waited for so long that it is sent it at once.
    let mut node = chosen(config(), &[ME, A, B], &[A, B]);
    for _ in 0..COUNTED * 2 {
        node.at(node.now + DELAY);
        assert_eq!(commit_in(&mut node, USUAL * 2, &[A]), [A, B]);
        assert_eq!(spares(&node), [B.0]);
    }
    assert!(!pays(&mut node, USUAL * 2));
}

#[test]
fn one_that_takes_very_long_says_nothing_of_the_others() {
    let mut node = chosen(config(), &[ME, A, B], &[A, B]);
    for turn in 0..COUNTED * 2 {
        // Less than half of them, and none of them late.
        let took = if turn % 4 == 3 { USUAL * 2 } else { USUAL };
        commit_in(&mut node, took, &[A]);
        assert_eq!(spares(&node), [B.0]);
    }
}

#[test]
fn what_was_sent_while_others_waited_is_not_counted() {
    let mut node = leader_of_three();
    node.at(node.now + DELAY);
    let first = node.propose();
    node.settle();
    // Many are under way when the choice ends; A has them all, and B was sent the first.
    let mut last = first;
    for _ in 0..COUNTED * 2 {
        node.at(node.now + MICRO * 20);
        last = node.propose();
        node.settle();
    }
    node.raft.handle_peer(node.now, A, PeerEvent::Down);
    node.raft.handle_peer(node.now, A, PeerEvent::Up);
    node.settle();
    assert_eq!(spares(&node), []);
    for index in first..=last {
        node.acknowledge(A, index);
        node.settle();
    }
    assert_eq!((node.status().commit_index, spares(&node)), (Index(last), vec![]));
    for _ in 0..COUNTED {
        assert_eq!(spares(&node), []);
        commit(&mut node, &[B]);
    }
    assert_eq!(spares(&node), [A.0]);
}

#[test]
fn of_five_another_takes_the_place_of_one_that_dies() {
    let ids = [ME, A, B, C, D];
    let mut node = leader(config(), &ids, &[A, B]);
    assert_eq!(spares(&node), [C.0, D.0]);
    node.at(node.now + DELAY);
    commit(&mut node, &[A, B]);
    let index = node.propose();
    assert_eq!(whom(&mut node), [A, B]);
    node.raft.handle_peer(node.now, B, PeerEvent::Down);
    assert_eq!(whom(&mut node), [C, D]);
    node.acknowledge(A, index);
    assert_ne!(node.status().commit_index, Index(index));
    node.acknowledge(C, index);
    assert_eq!(node.status().commit_index, Index(index));
    for _ in 0..COUNTED {
        commit(&mut node, &[A, C]);
    }
    assert_eq!(spares(&node), [D.0], "and B, when it is back");
}

#[test]
fn whose_log_is_in_doubt_is_not_one_of_those_that_are_enough() {
    let mut node = leader_of_three();
    let matched = node.status().last.index;
    let doubt =
        HeartbeatReply { round: 1, matched, last: matched, probation: true, ..HeartbeatReply::default() };
    node.reply(A, doubt);
    assert_eq!(spares(&node), []);
    for _ in 0..COUNTED {
        commit(&mut node, &[A, B]);
    }
    assert_eq!(spares(&node), [A.0]);

    let mut node = leader_of_three();
    let lost = HeartbeatReply { round: 1, matched: Index(1), last: Index(1), ..HeartbeatReply::default() };
    node.at(node.now + node.raft.config().heartbeat_interval);
    let round = round(&node.settle());
    node.reply(A, HeartbeatReply { round, ..lost });
    assert_eq!(spares(&node), [], "A was set back");
}

#[test]
fn a_leader_whose_disk_hangs_asks_everybody() {
    let mut config = config();
    config.disk_timeout = Some(Duration::from_micros(1200));
    let mut node = leader(config, &[ME, A, B], &[A, B]);
    node.at(node.now + DELAY);
    commit(&mut node, &[A]);
    node.propose();
    let write = node.raft.poll_write();
    assert!(write.is_some());
    node.at(node.now + Duration::from_micros(1200));
    assert_eq!(spares(&node), [], "before it is late");
}

#[test]
fn who_is_needed_and_answers_no_more_is_replaced() {
    // A commit takes so long that a spare follower's is never late.
    let (usual, spare) = (MILLI * 20, MILLI * 5);
    let mut node = Node::of(config(), &[ME, A, B]).elected();
    node.settle();
    [A, B].into_iter().for_each(|id| node.acknowledge(id, 2));
    for _ in 1..COUNTED {
        commit_in(&mut node, usual, &[A, B]);
    }
    assert_eq!(spares(&node), [B.0]);
    let silent = node.now;
    while node.now + usual + spare < silent + timeout() {
        commit_in(&mut node, usual + spare, &[B]);
        assert_eq!(spares(&node), [B.0]);
    }
    commit_in(&mut node, usual + spare, &[B]);
    assert_eq!(spares(&node), []);
}

#[test]
fn one_that_is_down_does_not_wait_for_a_choice() {
    // D is down, and each comes when C has waited for so long that it is sent it at once.
    let mut node = chosen(config(), &[ME, A, B, C, D], &[A, B]);
    node.raft.handle_peer(node.now, D, PeerEvent::Down);
    node.settle();
    for _ in 0..COUNTED * 2 {
        node.at(node.now + DELAY);
        assert_eq!(commit_in(&mut node, USUAL * 2, &[A, B]), [A, B, C]);
        assert_eq!(spares(&node), [C.0]);
    }
    for _ in 0..COUNTED * 2 {
        commit_in(&mut node, USUAL * 2, &[A, B]);
    }
    assert_eq!(spares(&node), [], "it is tried only now");
}
