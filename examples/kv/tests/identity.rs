//! A store that is not what it was is refused by those who knew it (J12, M10).

mod common;

use std::path::Path;
use std::time::Instant;

use common::{Cluster, until};

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (from, to) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            std::fs::copy(from, to).unwrap();
        }
    }
}

/// Starts a node whose store is wrong: it must end with code 3, and the others must serve on.
fn is_refused(cluster: &mut Cluster, at: usize, sentence: &str) {
    cluster.nodes[at].start_doomed();
    let status = cluster.nodes[at].wait();
    let log = cluster.nodes[at].log();
    assert_eq!(status.code(), Some(3), "{log}");
    assert!(log.contains(sentence), "{log}");
    let leader = cluster.leader();
    assert_ne!(leader, at);
    assert_eq!(cluster.nodes[leader].connect().call("SET after 1"), "OK");
}

#[test]
fn a_wiped_node_is_refused() {
    let mut cluster = Cluster::start(3);
    let (leader, follower) = cluster.leader_and_follower();
    assert_eq!(cluster.nodes[leader].connect().call("SET k v"), "OK");
    for at in [follower, leader] {
        cluster.nodes[at].kill();
        std::fs::remove_dir_all(&cluster.nodes[at].data).unwrap();
        if at == leader {
            // Two are gone for good: one wiped, one refused. Nobody may pretend otherwise.
            break;
        }
        is_refused(&mut cluster, at, "it comes back only by a membership change");
        let way_back = format!("RAFT REMOVE {} on the leader", cluster.nodes[at].id);
        assert!(cluster.nodes[at].log().contains(&way_back), "{}", cluster.nodes[at].log());
    }
    cluster.nodes[leader].start_doomed();
    assert_eq!(cluster.nodes[leader].wait().code(), Some(3), "{}", cluster.nodes[leader].log());
}

/// Two of three are wiped at once and come up together: they know nobody and would let each other in, with a majority
/// and an empty log. The one that is left stops both.
#[test]
fn two_wiped_founders_make_no_majority() {
    let mut cluster = Cluster::start(3);
    let (leader, follower) = cluster.leader_and_follower();
    assert_eq!(cluster.nodes[leader].connect().call("SET k v"), "OK");
    let left = (0..3).find(|at| ![leader, follower].contains(at)).unwrap();
    // Asked of its state, not of its figures: those may be older than what they speak of.
    let mut reader = cluster.nodes[left].connect();
    assert_eq!(reader.call("READONLY"), "OK");
    until("the third one follows", || reader.call("GET k") == "v");
    for at in [leader, follower] {
        cluster.nodes[at].kill();
        std::fs::remove_dir_all(&cluster.nodes[at].data).unwrap();
    }
    for at in [leader, follower] {
        cluster.nodes[at].start_doomed();
    }
    for at in [leader, follower] {
        assert_eq!(cluster.nodes[at].wait().code(), Some(3), "{}", cluster.nodes[at].log());
    }
    assert_eq!(reader.call("GET k"), "v", "nothing was taken from it");
}

/// One count of a node's connections with others.
fn counted(node: &common::Node, name: &str) -> u64 {
    let row = node.info("peer-connections").unwrap();
    let count = row.split(',').find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
    count.unwrap_or_else(|| panic!("{name} in {row}")).parse().unwrap()
}

/// An operator sees that somebody was refused, whatever the transport.
#[test]
fn refusals_are_counted_in_raft_info() {
    for transport in ["tcp", "grpc"] {
        let mut cluster = Cluster::start_with(3, &["--transport", transport]);
        let (leader, follower) = cluster.leader_and_follower();
        assert_eq!(cluster.nodes[leader].connect().call("SET k v"), "OK");
        assert!(counted(&cluster.nodes[leader], "accepted") > 0, "{transport}");
        for node in &cluster.nodes {
            assert_eq!((counted(node, "refused"), counted(node, "misbehaved")), (0, 0), "{transport}");
        }
        cluster.nodes[follower].kill();
        std::fs::remove_dir_all(&cluster.nodes[follower].data).unwrap();
        is_refused(&mut cluster, follower, "it comes back only by a membership change");
        let others = || (0..3).filter(|at| *at != follower).map(|at| counted(&cluster.nodes[at], "refused"));
        until("a refusal is counted", || others().sum::<u64>() > 0);
    }
}

/// So is somebody who says what no node says.
#[test]
fn misbehaviour_is_counted_in_raft_info() {
    use std::io::Write;
    let cluster = Cluster::start(1);
    let node = &cluster.nodes[0];
    std::net::TcpStream::connect(node.peer).unwrap().write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    until("it is counted", || counted(node, "misbehaved") == 1);
}

#[test]
fn a_node_that_was_set_back_is_refused() {
    let mut cluster = Cluster::start(3);
    let (leader, follower) = cluster.leader_and_follower();
    assert_eq!(cluster.nodes[leader].connect().call("SET k 1"), "OK");
    cluster.nodes[follower].kill();
    let saved = cluster.dir.path().join("saved");
    copy(&cluster.nodes[follower].data, &saved);
    cluster.nodes[follower].start();
    let (leader, _) = cluster.leader_and_follower();
    assert_eq!(cluster.nodes[leader].connect().call("SET k 2"), "OK");
    // The peers must have met it in its new life.
    let deadline = Instant::now() + common::PATIENCE;
    let known =
        |cluster: &Cluster| cluster.nodes[follower].info("leader").is_some_and(|leader| leader != "none");
    while !known(&cluster) {
        assert!(Instant::now() < deadline, "it does not come back");
    }
    cluster.nodes[follower].kill();
    std::fs::remove_dir_all(&cluster.nodes[follower].data).unwrap();
    copy(&saved, &cluster.nodes[follower].data);
    is_refused(&mut cluster, follower, "its store was set back");
}

#[test]
fn a_damaged_store_is_named() {
    let mut cluster = Cluster::start(1);
    assert_eq!(cluster.nodes[0].connect().call("SET k v"), "OK");
    assert_eq!(cluster.nodes[0].connect().call("SET k w"), "OK");
    cluster.nodes[0].kill();
    let dir = cluster.nodes[0].data.to_str().unwrap().to_owned();
    assert_eq!(common::run(["journal", "verify", &dir]), (0, String::new()));
    // The value of the first write, wherever it stands.
    let needle = b"\x01k\x01v";
    let mut found = false;
    for entry in std::fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            // Of snapshots.
            continue;
        }
        let mut bytes = std::fs::read(&path).unwrap();
        if let Some(at) = bytes.windows(needle.len()).position(|window| window == needle) {
            bytes[at] ^= 1;
            std::fs::write(&path, bytes).unwrap();
            found = true;
        }
    }
    assert!(found);
    assert_eq!(common::run(["journal", "verify", &dir]).0, 3);
    let (code, text) = common::run(&cluster.nodes[0].flags);
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("damaged"), "{text}");
}

/// P49: lotus#9888, hashicorp/raft#173. A node of another cluster stands at a member's address, and thinks itself that
/// the others are its own. Both sides refuse; no term and no entry goes over; it is logged once.
#[test]
fn p49_lotus_9888_a_node_of_another_cluster_on_a_members_address() {
    let mut cluster = Cluster::start(3);
    let (leader, follower) = cluster.leader_and_follower();
    assert_eq!(cluster.nodes[leader].connect().call("SET k ours"), "OK");
    let term = cluster.nodes[leader].info("term").unwrap();

    cluster.nodes[follower].kill();
    let ours = (cluster.nodes[follower].data.clone(), cluster.nodes[follower].flags.clone());
    let stranger = &mut cluster.nodes[follower];
    stranger.data = ours.0.with_file_name("stranger");
    let data = stranger.flags.iter().position(|flag| flag == "--data").unwrap();
    stranger.flags[data + 1] = stranger.data.to_str().unwrap().to_owned();
    stranger.flags.extend(["--cluster-id".into(), "6e0f1c2d-0000-4000-8000-00000000beef".into()]);
    stranger.start();
    let peers: Vec<usize> = (0..3).filter(|at| *at != follower).collect();
    let deadline = Instant::now() + common::PATIENCE;
    let said = |cluster: &Cluster, at: usize| cluster.nodes[at].log().matches("6e0f1c2d-").count();
    until("it is logged on both sides", || {
        peers.iter().all(|at| said(&cluster, *at) > 0) && said(&cluster, follower) >= 2
    });
    // It campaigns, in vain and unheard.
    while cluster.nodes[follower].info("role").as_deref() != Some("pre-candidate") {
        assert!(Instant::now() < deadline, "it does not campaign");
    }
    for number in 0..20 {
        assert_eq!(cluster.nodes[leader].connect().call(&format!("SET k {number}")), "OK");
    }
    assert_eq!(cluster.nodes[leader].info("term"), Some(term));
    assert_eq!(cluster.nodes[follower].info("commit-index").as_deref(), Some("0"));
    assert_eq!(cluster.nodes[follower].info("term").as_deref(), Some("0"));
    for at in peers {
        assert!(said(&cluster, at) <= 4, "not at every attempt: {}", cluster.nodes[at].log());
    }

    // The address is the member's again.
    let member = &mut cluster.nodes[follower];
    member.kill();
    (member.data, member.flags) = ours;
    member.start();
    while cluster.nodes[follower].info("commit-index") != cluster.nodes[leader].info("commit-index") {
        assert!(Instant::now() < deadline, "it does not catch up");
    }
}
