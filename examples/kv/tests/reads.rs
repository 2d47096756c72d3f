//! Reads on followers, reads under leases, and settings that change while a node runs.

mod common;

use std::time::Duration;

use common::{Cluster, PATIENCE};

#[test]
fn a_follower_answers_current_reads_when_it_is_asked_to() {
    let mut cluster = Cluster::start(3);
    let (leader, follower) = cluster.leader_and_follower();
    let mut writer = cluster.nodes[leader].connect();
    let mut reader = cluster.nodes[follower].connect();
    assert!(reader.call("GET k").starts_with("-MOVED "));
    assert_eq!(reader.call("RAFT READS FOLLOWER"), "OK");
    for round in 0..100 {
        assert_eq!(writer.call(&format!("SET k {round}")), "OK");
        // No waiting: what was answered there is seen here.
        assert_eq!(reader.call("GET k"), round.to_string());
    }
    // Writes still go to the leader, and reads around them are answered here.
    reader.send("GET k\nSET k w\nGET k\nDBSIZE");
    assert_eq!(reader.reply(), "99");
    assert!(reader.reply().starts_with("-MOVED "));
    assert_eq!([reader.reply(), reader.reply()], ["99", "1"]);
    assert_eq!(reader.call("RAFT READS LEADER"), "OK");
    assert!(reader.call("GET k").starts_with("-MOVED "));
    assert!(reader.call("RAFT READS NOBODY").starts_with("-ERR RAFT READS takes"));

    // Without the leader it has nobody to ask, and says so.
    assert_eq!(reader.call("RAFT READS FOLLOWER"), "OK");
    cluster.nodes[leader].signal("-STOP");
    let others: Vec<usize> = (0..3).filter(|at| *at != leader && *at != follower).collect();
    cluster.nodes[others[0]].signal("-STOP");
    let reply = reader.call("GET k");
    assert!(reply.starts_with("-CLUSTERDOWN ") || reply.starts_with("-MOVED "), "{reply}");
    for at in [leader, others[0]] {
        cluster.nodes[at].signal("-CONT");
    }
}

/// A process that stands still for longer than its lease (SIGSTOP here; a long garbage collection or a stalled machine
/// elsewhere) must look at the clock again before it answers.
#[test]
fn a_leader_that_was_frozen_answers_no_read_under_a_lease_that_is_over() {
    let mut cluster = Cluster::start_with(3, &["--lease-reads"]);
    for round in 0..5 {
        let (leader, _) = cluster.leader_and_follower();
        let mut old = cluster.nodes[leader].connect();
        assert_eq!(old.call(&format!("SET k old-{round}")), "OK");
        assert_eq!(old.call("GET k"), format!("old-{round}"));
        cluster.nodes[leader].signal("-STOP");
        // It will find this when it wakes up, before it has heard of anything else.
        old.send("GET k\nGET k\nGET k");
        let next = next_leader(&cluster, leader);
        assert_eq!(cluster.nodes[next].connect().call(&format!("SET k new-{round}")), "OK");
        cluster.nodes[leader].signal("-CONT");
        for _ in 0..3 {
            let reply = old.reply();
            let fails = reply.starts_with("-MOVED ") || reply.starts_with("-CLUSTERDOWN ");
            assert!(fails || reply == format!("new-{round}"), "a read of the past: {reply}");
        }
    }
}

/// Who leads instead of one that is frozen.
fn next_leader(cluster: &Cluster, frozen: usize) -> usize {
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        for at in (0..3).filter(|at| *at != frozen) {
            if cluster.nodes[at].info("role").as_deref() == Some("leader") {
                return at;
            }
        }
        assert!(std::time::Instant::now() < deadline, "nobody leads");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_lease_is_there_where_it_is_wanted_and_ends_when_it_is_not() {
    let mut cluster = Cluster::start_with(3, &["--lease-reads", "--clock-drift-ppm", "500"]);
    let leader = cluster.leader();
    let mut client = cluster.nodes[leader].connect();
    let until = |cluster: &Cluster, wanted: &dyn Fn(&str) -> bool| {
        let deadline = std::time::Instant::now() + PATIENCE;
        while !cluster.nodes[leader].info("lease-left-ms").is_some_and(|left| wanted(&left)) {
            assert!(
                std::time::Instant::now() < deadline,
                "{:?}",
                cluster.nodes[leader].info("lease-left-ms")
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    until(&cluster, &|left| left != "none");
    assert_eq!(client.call("RAFT CONFIG GET clock-drift-ppm"), "[clock-drift-ppm, 500]");
    assert_eq!(client.call("RAFT CONFIG SET lease-reads no"), "OK");
    until(&cluster, &|left| left == "none");
    assert_eq!(client.call("GET k"), "(null)");
}

#[test]
fn settings_change_while_a_node_runs_and_mistakes_are_named() {
    let mut cluster = Cluster::start(1);
    let leader = cluster.leader();
    let mut client = cluster.nodes[leader].connect();
    assert_eq!(client.call("RAFT CONFIG GET priority heartbeat-ms"), "[heartbeat-ms, 50, priority, 0]");
    assert!(client.call("RAFT CONFIG GET *").contains("window-bytes, 8388608"));
    assert_eq!(client.call("RAFT CONFIG SET priority -3"), "OK");
    assert_eq!(client.call("RAFT CONFIG SET election-timeout-ms 400"), "OK");
    assert_eq!(client.call("RAFT CONFIG GET priority"), "[priority, -3]");
    assert_eq!(cluster.nodes[leader].info("priority").as_deref(), Some("-3"));
    for (wrong, sentence) in [
        (
            "election-timeout-ms 100",
            "-ERR election-timeout-ms is as it was: election_timeout is 100ms, but must be at least 150ms",
        ),
        ("priority 1000", "-ERR priority: '1000' is no whole number between -128 and 127"),
        ("window-bytes 0", "-ERR window-bytes is as it was: window_bytes must not be 0"),
        ("lease-reads maybe", "-ERR lease-reads: 'maybe' is neither yes nor no"),
        ("clock-drift-ppm 5", "-ERR clock-drift-ppm: it is of no use without lease-reads"),
        ("nonsense 1", "-ERR no setting that may change while the node runs; there are heartbeat-ms, "),
    ] {
        let reply = client.call(&format!("RAFT CONFIG SET {wrong}"));
        assert!(reply.starts_with(sentence), "{wrong}: {reply}");
    }
    assert_eq!(client.call("RAFT CONFIG GET election-timeout-ms"), "[election-timeout-ms, 400]");
    assert_eq!(client.call("SET k v"), "OK");
}
