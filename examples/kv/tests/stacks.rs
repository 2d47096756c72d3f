//! Each journal with each transport: the same promises. What is mixed works, or says why it cannot.

mod common;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use common::{Cluster, PATIENCE};

const FILE: [&str; 2] = ["--journal", "file"];
const SQLITE: [&str; 2] = ["--journal", "sqlite"];
const TCP: [&str; 2] = ["--transport", "tcp"];
const GRPC: [&str; 2] = ["--transport", "grpc"];

/// Adds members to a set through the leader, one by one, and kills it behind a command whose answer nobody
/// has seen. The members that were acknowledged.
fn write_and_kill(cluster: &mut Cluster, round: u32) -> (usize, BTreeSet<String>) {
    let leader = cluster.leader();
    let mut client = cluster.nodes[leader].connect();
    let mut acked = BTreeSet::new();
    for number in 0..25 {
        let member = format!("{round}-{number}");
        if client.call(&format!("SADD all {member}")) == "1" {
            acked.insert(member);
        }
    }
    assert!(!acked.is_empty(), "a leader that serves writes");
    client.send(&format!("SADD all {round}-unanswered"));
    cluster.nodes[leader].kill();
    (leader, acked)
}

fn members(text: &str) -> BTreeSet<String> {
    text.trim_matches(['[', ']']).split(", ").map(str::to_owned).collect()
}

/// Whoever leads has all of them.
#[track_caller]
fn has(cluster: &mut Cluster, acked: &BTreeSet<String>) -> BTreeSet<String> {
    let leader = cluster.leader();
    let held = members(&cluster.nodes[leader].connect().call("SMEMBERS all"));
    let lost: Vec<_> = acked.difference(&held).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    held
}

fn keeps_what_it_has_acknowledged(mut cluster: Cluster) {
    let mut acked = BTreeSet::new();
    for round in 0..3 {
        let (killed, more) = write_and_kill(&mut cluster, round);
        acked.extend(more);
        has(&mut cluster, &acked);
        cluster.nodes[killed].start();
    }
    for node in &mut cluster.nodes {
        node.kill();
    }
    for node in &mut cluster.nodes {
        node.start();
    }
    let held = has(&mut cluster, &acked);
    for node in &cluster.nodes {
        let mut client = node.connect();
        assert_eq!(client.call("READONLY"), "OK");
        let deadline = Instant::now() + PATIENCE;
        while members(&client.call("SMEMBERS all")) != held {
            assert!(Instant::now() < deadline, "node {} does not hold the same: {}", node.id, node.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

#[test]
fn file_and_tcp() {
    keeps_what_it_has_acknowledged(Cluster::start_with(3, &[FILE, TCP].concat()));
}

#[test]
fn file_and_grpc() {
    keeps_what_it_has_acknowledged(Cluster::start_with(3, &[FILE, GRPC].concat()));
}

#[test]
fn sqlite_and_tcp() {
    keeps_what_it_has_acknowledged(Cluster::start_with(3, &[SQLITE, TCP].concat()));
}

#[test]
fn sqlite_and_grpc() {
    keeps_what_it_has_acknowledged(Cluster::start_with(3, &[SQLITE, GRPC].concat()));
}

#[test]
fn nodes_with_different_journals_form_a_cluster() {
    let mut cluster = Cluster::planned(3, &[]);
    for (node, journal) in cluster.nodes.iter_mut().zip([FILE, SQLITE, SQLITE]) {
        node.flags.extend(journal.map(str::to_owned));
        node.start();
    }
    cluster.leader();
    keeps_what_it_has_acknowledged(cluster);
}

#[test]
fn a_folder_of_the_other_journal_is_named() {
    for (made, asked) in [(FILE, SQLITE), (SQLITE, FILE)] {
        let mut cluster = Cluster::start_with(1, &made);
        assert_eq!(cluster.nodes[0].connect().call("SET k v"), "OK");
        cluster.nodes[0].kill();
        let flag = cluster.nodes[0].flags.iter().position(|flag| *flag == made[1]).unwrap();
        cluster.nodes[0].flags[flag] = asked[1].to_owned();
        let (code, said) = common::run(&cluster.nodes[0].flags);
        assert_eq!(code, 2, "{said}");
        assert!(said.contains("give its own --journal"), "{said}");
        // Nothing was changed by that.
        cluster.nodes[0].flags[flag] = made[1].to_owned();
        cluster.nodes[0].start();
        cluster.leader();
        assert_eq!(cluster.nodes[0].connect().call("GET k"), "v");
    }
}

#[test]
fn a_node_with_another_transport_is_not_let_in_and_harms_nobody() {
    for (most, one) in [(TCP, GRPC), (GRPC, TCP)] {
        let mut cluster = Cluster::planned(3, &[]);
        for (node, transport) in cluster.nodes.iter_mut().zip([most, most, one]) {
            node.flags.extend(transport.map(str::to_owned));
            node.start();
        }
        let leader = cluster.leader();
        assert_ne!(leader, 2, "nobody can vote for it");
        let mut client = cluster.nodes[leader].connect();
        assert_eq!(client.call("SET k v"), "OK");
        let deadline = Instant::now() + PATIENCE;
        let says = |cluster: &Cluster, at: usize, transport: [&str; 2]| {
            let why =
                if transport == TCP { "why=not a raft connection" } else { "why=it does not speak gRPC" };
            cluster.nodes[at].log().matches(why).count()
        };
        while says(&cluster, leader, most) == 0 || says(&cluster, 2, one) == 0 {
            assert!(Instant::now() < deadline, "they do not say why");
        }
        let mut alone = cluster.nodes[2].connect();
        assert!(alone.call("GET k").starts_with("-CLUSTERDOWN "));
        // They go on dialling each other, and have said all about it.
        for _ in 0..500 {
            assert_eq!(client.call("GET k"), "v");
        }
        assert_eq!((says(&cluster, leader, most), says(&cluster, 2, one)), (1, 1));
    }
}
