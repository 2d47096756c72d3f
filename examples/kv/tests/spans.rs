//! `--trace-every`: the way of an entry through all nodes, in their logs.

mod common;

use common::{Cluster, until};

/// What a node has said of the entry at this index, in order, without the fields.
fn said(log: &str, index: u64) -> Vec<String> {
    let here = format!(" index={index} ");
    let lines = log.lines().filter(|line| line.contains(&here));
    let what = lines.filter_map(|line| line.split_once(" raft::entry: ").map(|(_, what)| what));
    let words =
        |what: &str| what.split(' ').take_while(|word| !word.contains('=')).collect::<Vec<_>>().join(" ");
    what.map(words).collect()
}

#[test]
fn an_entry_is_followed_from_its_proposal_over_all_disks_to_its_answer() {
    let mut cluster = Cluster::start_with(3, &["--trace-every", "5"]);
    let (leader, _) = cluster.leader_and_follower();
    let mut client = cluster.nodes[leader].connect();
    for number in 0..20 {
        assert_eq!(client.call(&format!("SET key {number}")), "OK");
    }
    // The first entries are of the election.
    let (followed, other) = (15, 16);
    let has_all = |log: &str, all: &[&str]| {
        let said = said(log, followed);
        all.iter().all(|what| said.iter().any(|one| one == what))
    };
    let leaders = ["sent", "to the journal", "durable", "acknowledged", "committed", "applied", "answered"];
    let followers = ["received", "to the journal", "durable", "acknowledges", "committed", "applied"];
    for (at, node) in cluster.nodes.iter().enumerate() {
        let all = if at == leader { &leaders[..] } else { &followers[..] };
        until(&format!("node {} has not said all: {:?}", node.id, said(&node.log(), followed)), || {
            has_all(&node.log(), all)
        });
        let said = said(&node.log(), followed);
        let place = |what: &str| said.iter().position(|one| one == what).unwrap();
        assert!(place("to the journal") < place("durable"), "{said:?}");
        assert!(place("committed") < place("applied"), "{said:?}");
        if at != leader {
            assert!(place("received") < place("to the journal"), "{said:?}");
            assert!(place("durable") < place("acknowledges"), "{said:?}");
        }
        assert!(said.iter().filter(|one| *one == "applied").count() == 1, "{said:?}");
        assert!(self::said(&node.log(), other).is_empty(), "it was not asked for");
    }
}

/// Who comes back is sent what the leader has applied long ago: that is no second way of the same entry.
#[test]
fn what_is_sent_again_to_one_that_was_away_is_not_told_of_again() {
    let mut cluster = Cluster::start_with(3, &["--trace-every", "5"]);
    let (leader, away) = cluster.leader_and_follower();
    cluster.nodes[away].kill();
    let mut client = cluster.nodes[leader].connect();
    for number in 0..20 {
        assert_eq!(client.call(&format!("SET key {number}")), "OK");
    }
    cluster.nodes[away].start();
    let applied = |node: &common::Node, index: u64| said(&node.log(), index).contains(&"applied".into());
    until("it has caught up", || applied(&cluster.nodes[away], 15));
    for number in 0..10 {
        assert_eq!(client.call(&format!("SET key {number}")), "OK");
    }
    until("the leader has gone on", || applied(&cluster.nodes[leader], 25));
    let said = said(&cluster.nodes[leader].log(), 15);
    for once in ["committed", "applied", "answered"] {
        assert_eq!(said.iter().filter(|one| *one == once).count(), 1, "{once}: {said:?}");
    }
}

#[test]
fn nothing_is_followed_that_nobody_asked_for() {
    let mut cluster = Cluster::start(1);
    let leader = cluster.leader();
    assert_eq!(cluster.nodes[leader].connect().call("SET k v"), "OK");
    assert!(!cluster.nodes[leader].log().contains("raft::entry"));
}
