//! Clusters of real processes: writes, redirection, failures, restarts.

mod common;

use std::time::{Duration, Instant};

use common::{Client, Cluster, PATIENCE};

#[test]
fn a_follower_redirects_each_command_to_the_leader() {
    let mut cluster = Cluster::start(3);
    let (leader, follower) = cluster.leader_and_follower();
    let address = cluster.nodes[leader].client;
    let mut client = cluster.nodes[leader].connect();
    assert_eq!(client.call("SET foo bar"), "OK");
    assert_eq!(client.call("GET foo"), "bar");

    let mut client = cluster.nodes[follower].connect();
    // Redis' own slots of these keys. Each pipelined command has its own answer.
    client.send("SET foo x\nGET foo\nPING\nSET bar x\nKEYS *\nMULTI\nINCR foo\nEXEC\nWATCH bar");
    let moved = |slot: u16| format!("-MOVED {slot} {address}");
    assert_eq!(client.reply(), moved(12182));
    assert_eq!(client.reply(), moved(12182));
    assert_eq!(client.reply(), "PONG");
    assert_eq!(client.reply(), moved(5061));
    assert_eq!(client.reply(), moved(0));
    assert_eq!(client.reply(), "OK");
    assert_eq!(client.reply(), moved(12182));
    assert!(client.reply().starts_with("-EXECABORT"));
    assert_eq!(client.reply(), moved(5061));
}

#[test]
fn a_pipeline_is_in_order_and_reads_see_the_writes_before_them() {
    let mut cluster = Cluster::start(3);
    let leader = cluster.leader();
    let mut client = cluster.nodes[leader].connect();
    client.send(
        "GET n\nINCR n\nGET n\nINCR n\nECHO between\nGET n\nLPUSH n x\nNOSUCH a b\nGET\nMULTI\nINCR n\nGET n\nEXEC\nDEL n\nGET n\nDBSIZE",
    );
    let replies: Vec<_> = (0..16).map(|_| client.reply()).collect();
    let expected = [
        "(null)",
        "1",
        "1",
        "2",
        "between",
        "2",
        "-WRONGTYPE Operation against a key holding the wrong kind of value",
        "-ERR unknown command 'NOSUCH', with args beginning with: 'a' 'b' ",
        "-ERR wrong number of arguments for 'get' command",
        "OK",
        "QUEUED",
        "QUEUED",
        "[3, 3]",
        "1",
        "(null)",
        "0",
    ];
    for (reply, expected) in replies.iter().zip(expected) {
        assert_eq!(reply.trim_end(), expected.trim_end());
    }
    // What the log shows may be some milliseconds old.
    let deadline = Instant::now() + PATIENCE;
    let log = loop {
        let log = client.call("RAFT SCAN 1 100");
        if log.contains("del \"n\"") {
            break log;
        }
        assert!(Instant::now() < deadline, "it is not in the log: {log}");
    };
    assert_eq!(log.matches("kind, commands").count(), 1, "one turn is one entry: {log}");
}

#[test]
fn watch_notices_what_others_write() {
    let mut cluster = Cluster::start(1);
    let leader = cluster.leader();
    let mut one = cluster.nodes[leader].connect();
    let mut other = cluster.nodes[leader].connect();
    assert_eq!(one.call("WATCH a b"), "OK");
    assert_eq!(other.call("SET b 1"), "OK");
    one.send("MULTI\nSET a 1\nEXEC\nGET a");
    assert_eq!(
        [one.reply(), one.reply(), one.reply(), one.reply()],
        ["OK", "QUEUED", "(null array)", "(null)"]
    );
    // A transaction ends the watch.
    one.send("MULTI\nSET a 1\nEXEC");
    assert_eq!([one.reply(), one.reply(), one.reply()], ["OK", "QUEUED", "[OK]"]);
}

#[test]
fn readonly_reads_from_a_follower() {
    let mut cluster = Cluster::start(3);
    let (leader, follower) = cluster.leader_and_follower();
    assert_eq!(cluster.nodes[leader].connect().call("SET k v"), "OK");
    let mut client = cluster.nodes[follower].connect();
    assert_eq!(client.call("READONLY"), "OK");
    let deadline = Instant::now() + PATIENCE;
    loop {
        let read = client.call("GET k");
        if read == "v" {
            break;
        }
        let old = read == "(null)" || read.starts_with("-LOADING ");
        assert!(old, "a stale read is an older value, nothing else: {read}");
        assert!(Instant::now() < deadline, "the follower never has it");
    }
    client.send("GET k\nSET k w\nGET k");
    assert_eq!(client.reply(), "v");
    assert!(client.reply().starts_with("-MOVED "));
    assert_eq!(client.reply(), "v");
    assert_eq!(client.call("READWRITE"), "OK");
    assert!(client.call("GET k").starts_with("-MOVED "));
}

/// Writes numbers into a list through whoever leads, until it is told that this one was done.
fn push(cluster: &mut Cluster, number: u32) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < deadline, "number {number} is never written");
        let leader = cluster.leader();
        let mut client = cluster.nodes[leader].connect();
        client.send(&format!("SADD all {number}"));
        if client.try_reply().is_some_and(|reply| reply == "1" || reply == "0") {
            return;
        }
    }
}

#[test]
fn killing_the_leader_loses_no_write_and_restarted_nodes_catch_up() {
    let mut cluster = Cluster::start(3);
    for round in 0..3 {
        for number in 0..20 {
            push(&mut cluster, round * 100 + number);
        }
        let leader = cluster.leader();
        cluster.nodes[leader].kill();
        push(&mut cluster, round * 100 + 20);
        let line = cluster.nodes[leader].start();
        assert!(!line.contains("log 1..=1,"), "{line}");
    }
    let (leader, _) = cluster.leader_and_follower();
    assert_eq!(cluster.nodes[leader].connect().call("SCARD all"), "63");
    for node in &cluster.nodes {
        let deadline = Instant::now() + PATIENCE;
        let mut client = node.connect();
        // Until it has read its log, and what it lacks of the others', it says so or has less.
        while client.call("READONLY") != "OK" || client.call("SCARD all") != "63" {
            assert!(Instant::now() < deadline, "node {} does not catch up", node.id);
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

#[test]
fn a_power_cut_of_all_nodes_loses_no_acknowledged_write() {
    let mut cluster = Cluster::start(3);
    for number in 0..50 {
        push(&mut cluster, number);
    }
    for node in &mut cluster.nodes {
        node.kill();
    }
    for node in &mut cluster.nodes {
        node.start();
    }
    let leader = cluster.leader();
    assert_eq!(cluster.nodes[leader].connect().call("SCARD all"), "50");
}

#[test]
fn without_a_quorum_everything_ends_and_service_comes_back_with_it() {
    let mut cluster = Cluster::start(3);
    let leader = cluster.leader();
    let mut client = cluster.nodes[leader].connect();
    assert_eq!(client.call("SET k 1"), "OK");
    let others: Vec<usize> = (0..3).filter(|at| *at != leader).collect();
    for at in &others {
        cluster.nodes[*at].kill();
    }
    let ended = |reply: String| {
        assert!(reply.starts_with("-CLUSTERDOWN ") || reply.starts_with("-UNKNOWN "), "{reply}");
    };
    // What was under way, and what came with it, has an end of its own.
    client.send("GET k\nSET k 2\nSET k 3\nGET k");
    for _ in 0..4 {
        ended(client.reply());
    }
    for command in ["GET k", "SET k 4", "MGET k k", "DBSIZE"] {
        let reply = client.call(command);
        assert!(reply.starts_with("-CLUSTERDOWN "), "{command}: {reply}");
    }
    assert_eq!(cluster.nodes[leader].info("health").as_deref(), Some("red"));
    assert!(client.call("CLUSTER INFO").contains("cluster_state:fail"));

    cluster.nodes[others[0]].start();
    let leader = cluster.leader();
    let mut client = cluster.nodes[leader].connect();
    assert_eq!(client.call("SET k 5"), "OK");
    assert_eq!(client.call("GET k"), "5");
}

#[test]
fn frozen_followers_are_no_quorum_either() {
    let mut cluster = Cluster::start(3);
    let leader = cluster.leader();
    let others: Vec<usize> = (0..3).filter(|at| *at != leader).collect();
    let mut client = cluster.nodes[leader].connect();
    for at in &others {
        cluster.nodes[*at].signal("-STOP");
    }
    let reply = client.call("GET k");
    assert!(reply.starts_with("-CLUSTERDOWN "), "{reply}");
    for at in &others {
        cluster.nodes[*at].signal("-CONT");
    }
    let leader = cluster.leader();
    assert_eq!(cluster.nodes[leader].connect().call("SET k 1"), "OK");
}

#[test]
fn a_leader_that_is_told_to_stop_hands_over_and_ends_well() {
    let mut cluster = Cluster::start(3);
    let leader = cluster.leader();
    let started = Instant::now();
    cluster.nodes[leader].signal("-TERM");
    let status = cluster.nodes[leader].wait();
    assert_eq!(status.code(), Some(0), "{}", cluster.nodes[leader].log());
    assert!(started.elapsed() < Duration::from_secs(5));
    let next = cluster.leader();
    assert_ne!(next, leader);
    assert!(cluster.nodes[next].log().contains("why=Transfer"), "{}", cluster.nodes[next].log());
    assert_eq!(cluster.nodes[next].connect().call("SET k v"), "OK");
}

#[test]
fn leadership_is_transferred_by_order() {
    let mut cluster = Cluster::start(3);
    let (leader, follower) = cluster.leader_and_follower();
    let to = cluster.nodes[follower].id;
    let mut client = cluster.nodes[leader].connect();
    assert!(client.call("RAFT TRANSFER 9").starts_with("-ERR node 9 cannot take over"));
    assert_eq!(client.call(&format!("RAFT TRANSFER {to}")), "OK");
    assert_eq!(cluster.leader(), follower);
    assert!(client.call("RAFT COUP 4").starts_with("-ERR unknown subcommand"));
}

#[test]
fn cluster_commands_name_all_members() {
    let mut cluster = Cluster::start(3);
    let (leader, follower) = cluster.leader_and_follower();
    let mut client = cluster.nodes[follower].connect();
    let port = cluster.nodes[leader].client.port();
    let slots = client.call("CLUSTER SLOTS");
    assert!(slots.starts_with(&format!("[[0, 16383, [127.0.0.1, {port}, ")), "{slots}");
    let nodes = client.call("CLUSTER NODES");
    assert_eq!(nodes.lines().count(), 3);
    assert!(nodes.lines().any(|line| line.contains(&format!(":{port}@")) && line.ends_with(" 0-16383")));
    let me = client.call("CLUSTER MYID");
    assert!(nodes.lines().any(|line| line.starts_with(&me) && line.contains(" myself,slave ")), "{nodes}");
    assert_eq!(client.call("CLUSTER KEYSLOT {a}b"), client.call("CLUSTER KEYSLOT a"));
    assert!(client.call("CLUSTER SHARDS").contains("master"));
}

#[test]
fn a_password_is_asked_for() {
    let mut cluster = Cluster::planned(1, &["--requirepass", "secret"]);
    cluster.nodes[0].start();
    let mut client = cluster.nodes[0].connect();
    assert!(client.call("GET k").starts_with("-NOAUTH"));
    assert!(client.call("AUTH wrong").starts_with("-WRONGPASS"));
    assert!(client.call("HELLO 3").starts_with("-NOAUTH"));
    // Who has not shown it can make the server keep little.
    client.raw(b"*2\r\n$3\r\nGET\r\n$20000\r\n");
    assert_eq!(client.reply(), "-ERR Protocol error: invalid bulk length");
    let mut client = cluster.nodes[0].connect();
    assert_eq!(client.call("AUTH secret"), "OK");
    let mut client = cluster.nodes[0].connect();
    assert!(client.call("HELLO 3 AUTH default secret SETNAME me").contains("proto, 3"));
    assert_eq!(client.call("CLIENT GETNAME"), "me");
    client.send("RESET\nGET k");
    assert_eq!(client.reply(), "RESET");
    assert!(client.reply().starts_with("-NOAUTH"));
}

#[test]
fn a_lone_node_serves_again_after_each_restart() {
    let mut cluster = Cluster::planned(1, &[]);
    for round in 1..=5 {
        cluster.nodes[0].start();
        cluster.leader();
        let mut client = Client::connect(cluster.nodes[0].client);
        assert_eq!(client.call("INCR rounds"), round.to_string());
        cluster.nodes[0].signal("-INT");
        assert_eq!(cluster.nodes[0].wait().code(), Some(0));
    }
}

#[test]
fn a_restarted_node_gives_no_stale_read_before_it_has_replayed_its_log() {
    let mut cluster = Cluster::start(3);
    for number in 0..3 {
        push(&mut cluster, number);
    }
    // A majority has all of it; the node that is asked later must have it too before all of them die.
    let mut client = cluster.nodes[0].connect();
    assert_eq!(client.call("READONLY"), "OK");
    let deadline = Instant::now() + PATIENCE;
    while client.call("SCARD all") != "3" {
        assert!(Instant::now() < deadline, "it never catches up");
    }
    for node in &mut cluster.nodes {
        node.kill();
    }
    // Alone it cannot know what of its log is committed: an error or the full value, never less.
    cluster.nodes[0].start();
    let mut client = cluster.nodes[0].connect();
    assert_eq!(client.call("READONLY"), "OK");
    assert!(client.call("SCARD all").starts_with("-LOADING "));
    cluster.nodes[1].start();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let read = client.call("SCARD all");
        if read == "3" {
            break;
        }
        assert!(read.starts_with("-LOADING "), "{read}");
        assert!(Instant::now() < deadline, "it never replays");
    }
}

#[test]
fn a_node_without_members_waits_to_be_contacted() {
    let mut cluster = Cluster::planned(1, &[]);
    let node = &mut cluster.nodes[0];
    let at = node.flags.iter().position(|flag| flag == "--members").unwrap();
    node.flags[at] = "--cluster-id".into();
    node.flags[at + 1] = "00000000-0000-0000-0000-000000000001".into();
    assert!(node.start().contains("in limbo"));
    let mut client = node.connect();
    assert!(client.call("SET k v").starts_with("-CLUSTERDOWN "));
    assert!(client.call("GET k").starts_with("-CLUSTERDOWN "));
    assert_eq!(client.call("CLUSTER SLOTS"), "[]");
    assert_eq!(node.info("role").as_deref(), Some("limbo"));
    assert_eq!(node.info("health").as_deref(), Some("red"));
    node.signal("-TERM");
    assert_eq!(node.wait().code(), Some(0));
}

#[test]
fn the_thin_protocol_writes_through_the_leader_only() {
    use std::io::{Read, Write};
    let mut cluster = Cluster::planned(3, &[]);
    let thin = common::free_addresses(3);
    for (node, address) in cluster.nodes.iter_mut().zip(&thin) {
        node.flags.extend(["--sp".into(), address.to_string()]);
        node.start();
    }
    let (leader, follower) = cluster.leader_and_follower();
    for (at, status) in [(leader, 0), (follower, 1)] {
        let mut stream = std::net::TcpStream::connect(thin[at]).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut requests = Vec::new();
        for id in 0..100_u64 {
            requests.extend_from_slice(&11_u32.to_le_bytes());
            requests.extend_from_slice(&id.to_le_bytes());
            requests.extend_from_slice(b"thin-key");
            requests.extend_from_slice(format!("{id:03}").as_bytes());
        }
        stream.write_all(&requests).unwrap();
        let mut answers = vec![0; 900];
        stream.read_exact(&mut answers).unwrap();
        for (id, answer) in (0..100_u64).zip(answers.as_chunks::<9>().0) {
            assert_eq!((&answer[..8], answer[8]), (id.to_le_bytes().as_slice(), status));
        }
    }
    assert_eq!(cluster.nodes[leader].connect().call("GET thin-key"), "099");
}

#[test]
fn pipelined_commands_answer_as_the_same_commands_one_by_one() {
    let cluster = Cluster::start(1);
    let mut client = cluster.nodes[0].connect();
    let mut state = 7_u64;
    let mut random = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let templates = [
        "SET {k} {v}",
        "GET {k}",
        "INCR {k}",
        "DEL {k}",
        "SETNX {k} {v}",
        "GETDEL {k}",
        "RPUSH {k} {v}",
        "LPOP {k}",
        "LRANGE {k} 0 -1",
        "HSET {k} f {v}",
        "HGETALL {k}",
        "SADD {k} {v}",
        "SMEMBERS {k}",
        "TYPE {k}",
        "MGET {k} {k}",
        "CAS {k} 1 {v}",
        "APPEND {k} {v}",
        "PING",
        "NOSUCH",
        "GET",
    ];
    let lines: Vec<String> = (0..2000)
        .map(|_| {
            let key = format!("PREFIX:{}", random(4));
            let template = templates[random(templates.len() as u64) as usize];
            template.replace("{k}", &key).replace("{v}", &random(5).to_string())
        })
        .collect();
    let one_by_one: Vec<_> = lines.iter().map(|line| client.call(&line.replace("PREFIX", "a"))).collect();
    let mut pipelined = Vec::new();
    let mut rest = lines.as_slice();
    while !rest.is_empty() {
        let (now, later) = rest.split_at((random(40) as usize + 1).min(rest.len()));
        client.send(&now.join("\n").replace("PREFIX", "b"));
        pipelined.extend(now.iter().map(|_| client.reply()));
        rest = later;
    }
    for ((line, expected), got) in lines.iter().zip(&one_by_one).zip(&pipelined) {
        assert_eq!(got, expected, "{line}");
    }
}
