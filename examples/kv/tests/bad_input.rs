//! Whatever is wrong is named, costs little, and leaves the cluster up.

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use common::{Cluster, PATIENCE, flags, free_addresses, run};

/// The flags of the first node of a cluster that is not started, with one replaced.
fn with(flag: &str, value: &str) -> (i32, String) {
    let cluster = Cluster::planned(3, &[]);
    let mut flags = cluster.nodes[0].flags.clone();
    match flags.iter().position(|word| word == flag) {
        Some(at) => flags[at + 1] = value.into(),
        None => flags.extend([flag.into(), value.into()]),
    }
    run(flags)
}

#[track_caller]
fn refused((code, text): (i32, String), expected_code: i32, sentence: &str) {
    assert!(text.contains(sentence), "{text}");
    assert_eq!(code, expected_code, "{text}");
    assert!(!text.contains("panicked"), "{text}");
}

#[test]
fn wrong_flags_are_named() {
    refused(with("--members", "2=127.0.0.1:1@127.0.0.1:2"), 2, "--members does not list this node, 1");
    refused(with("--members", "1=a:1@b:1,1=c:1@d:1"), 2, "node 1 is listed twice");
    refused(with("--members", "1=nonsense@b:1"), 2, "'nonsense' in 'nonsense@b:1' is not an address");
    refused(with("--id", "0"), 2, "--id must not be 0");
    refused(with("--listen", "here"), 2, "--listen");
    for flag in ["--listen", "--peer-listen"] {
        refused(with(flag, "localhost:7001"), 2, "a name is not looked up");
    }
    refused(with("--election-timeout-ms", "100"), 2, "must be at least 150ms");
    refused(with("--cluster-id", "x"), 2, "'x' is no UUID");
    refused(with("--transport", "pigeon"), 2, "--transport knows 'tcp' and 'grpc'");
    refused(with("--journal", "etched"), 2, "--journal knows 'file' and 'sqlite'");
    refused(with("--config", "/nonexistent.toml"), 2, "cannot read /nonexistent.toml");
    // What this version does not have is not taken silently.
    refused(with("--expire", "1"), 2, "unexpected argument '--expire'");
    refused(run(["serve"]), 2, "--id is needed");
}

#[test]
fn an_address_that_others_reach_is_refused_without_tls() {
    for flag in ["--listen", "--peer-listen", "--sp", "--http"] {
        refused(with(flag, "0.0.0.0:1"), 2, &format!("{flag} 0.0.0.0:1 is open to other machines"));
    }
    let mut cluster = Cluster::planned(1, &["--insecure"]);
    let node = &mut cluster.nodes[0];
    for flag in ["--listen", "--peer-listen"] {
        let at = node.flags.iter().position(|word| word == flag).unwrap() + 1;
        node.flags[at] = node.flags[at].replace("127.0.0.1", "0.0.0.0");
    }
    node.start();
    assert_eq!(node.log().matches("no TLS").count(), 1, "{}", node.log());
}

#[test]
fn an_unusable_data_folder_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "in the way").unwrap();
    refused(with("--data", file.to_str().unwrap()), 1, file.to_str().unwrap());
    refused(with("--data", file.join("below").to_str().unwrap()), 1, file.to_str().unwrap());
    // Nobody can write there, root neither.
    refused(with("--data", "/proc/raft-kv"), 1, "/proc/raft-kv");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "in the way");
}

#[test]
fn an_address_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let sentence = format!("address {address} is in use");
    for flag in ["--listen", "--peer-listen", "--sp"] {
        refused(with(flag, &address), 4, &sentence);
    }
}

#[test]
fn a_data_folder_has_one_owner() {
    let mut cluster = Cluster::planned(1, &[]);
    cluster.nodes[0].start();
    let addresses = free_addresses(2);
    let mut again = flags(1, addresses[0], addresses[1], &cluster.nodes[0].data);
    again.extend(cluster.nodes[0].flags[9..].iter().cloned());
    refused(run(again), 1, "it is open elsewhere");
    assert!(cluster.nodes[0].is_running());
}

#[test]
fn a_foreign_data_folder_is_refused() {
    let mut cluster = Cluster::start(3);
    cluster.nodes[0].kill();
    let mut node = cluster.nodes[0].flags.clone();
    node.extend(["--cluster-id".into(), "00000000-0000-0000-0000-000000000001".into()]);
    refused(run(&node), 3, "it belongs to cluster ");
    // Another node's folder.
    let mut node = cluster.nodes[0].flags.clone();
    cluster.nodes[1].kill();
    node[4] = cluster.nodes[1].data.to_str().unwrap().into();
    refused(run(&node), 3, "it belongs to node 2, not 1");
    cluster.nodes[0].start();
    cluster.nodes[1].start();
    let leader = cluster.leader();
    assert_eq!(cluster.nodes[leader].connect().call("SET k v"), "OK");
}

#[test]
fn a_node_of_another_cluster_is_not_let_in() {
    let mut cluster = Cluster::start(3);
    let (leader, follower) = cluster.leader_and_follower();
    cluster.nodes[follower].kill();
    // The same members, the same addresses, an empty folder, another cluster.
    let stranger = &mut cluster.nodes[follower];
    stranger.data = stranger.data.with_file_name("stranger");
    stranger.flags[4] = stranger.data.to_str().unwrap().into();
    stranger.flags.extend(["--cluster-id".into(), "00000000-0000-0000-0000-000000000001".into()]);
    stranger.start();
    let mut client = cluster.nodes[leader].connect();
    let deadline = std::time::Instant::now() + PATIENCE;
    while !cluster.nodes[leader].log().contains("belongs to cluster")
        && !cluster.nodes[follower].log().contains("belongs to cluster")
    {
        assert!(std::time::Instant::now() < deadline, "nobody says why");
        assert_eq!(client.call("SET k v"), "OK");
    }
    let mut client = cluster.nodes[follower].connect();
    assert!(client.call("GET k").starts_with("-CLUSTERDOWN "));
}

#[test]
fn a_peer_that_sends_garbage_harms_nobody() {
    let mut cluster = Cluster::start(3);
    let leader = cluster.leader();
    let mut client = cluster.nodes[leader].connect();
    let garbage: Vec<u8> = (0..100_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for node in &cluster.nodes {
        for bytes in
            [garbage.as_slice(), &[0xff; 64], b"GET / HTTP/1.1\r\n\r\n", &2_147_483_648_u32.to_le_bytes()]
        {
            let mut peer = TcpStream::connect(node.peer).unwrap();
            // It may be cut off in the middle.
            let _ = peer.write_all(bytes);
            let _ = peer.shutdown(std::net::Shutdown::Write);
            peer.set_read_timeout(Some(PATIENCE)).unwrap();
            // The connection ends, by a close or by a reset; a timeout would be neither.
            match peer.read_to_end(&mut Vec::new()) {
                Ok(_) => {}
                Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
            }
        }
    }
    assert_eq!(client.call("SET k v"), "OK");
    assert!(cluster.nodes.iter_mut().all(common::Node::is_running));
}

#[test]
fn what_a_client_announces_too_large_is_refused_at_once() {
    let mut cluster = Cluster::start(1);
    let node = &mut cluster.nodes[0];
    for (announced, sentence) in [
        ("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$104857600\r\n", "invalid bulk length"),
        ("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$2147483648\r\n", "invalid bulk length"),
        ("*3\r\n$-5\r\n", "invalid bulk length"),
        ("*2147483648\r\n", "invalid multibulk length"),
        ("*1\r\n*1\r\n*1\r\n", "expected '$', got '*'"),
        ("set \"open\r\n", "unbalanced quotes in request"),
    ] {
        let mut client = node.connect();
        client.raw(b"PING\r\n");
        client.raw(announced.as_bytes());
        assert_eq!(client.reply(), "PONG");
        assert_eq!(client.reply(), format!("-ERR Protocol error: {sentence}"));
        assert_eq!(client.try_reply(), None, "the connection ends");
    }
    assert_eq!(node.connect().call("SET k v"), "OK");
}

#[test]
fn a_value_of_16_mib_is_too_large_for_one_command_and_the_connection_goes_on() {
    let mut cluster = Cluster::start(1);
    let mut client = cluster.nodes[0].connect();
    let value = vec![b'x'; 16 << 20];
    client.raw(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$16777216\r\n");
    client.raw(&value);
    client.raw(b"\r\n");
    assert!(client.reply().starts_with("-ERR the command has "));
    client.raw(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$16000000\r\n");
    client.raw(&value[..16_000_000]);
    client.raw(b"\r\n");
    assert_eq!(client.reply(), "OK");
    assert_eq!(client.call("STRLEN k"), "16000000");
    assert!(cluster.nodes[0].is_running());
}

/// Memory of a process, in KiB.
fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn half_commands_of_many_clients_use_little_memory() {
    let cluster = Cluster::start(1);
    let before = resident_kib(cluster.nodes[0].pid());
    // Each announces 16 MiB and 16 arguments, and sends little of it.
    let mut held = Vec::new();
    for _ in 0..100 {
        let mut client = cluster.nodes[0].connect();
        client.raw(b"*1000000\r\n$3\r\nSET\r\n$16777216\r\nxxxx");
        held.push(client);
    }
    for mut client in [cluster.nodes[0].connect(), cluster.nodes[0].connect()] {
        assert_eq!(client.call("SET k v"), "OK");
    }
    let after = resident_kib(cluster.nodes[0].pid());
    assert!(after < before + 50 * 1024, "{before} KiB before, {after} KiB after");
}

#[test]
fn a_client_that_reads_nothing_is_not_read_either() {
    let cluster = Cluster::start(1);
    let mut client = cluster.nodes[0].connect();
    let value = "x".repeat(1 << 20);
    assert_eq!(client.call(&format!("SET k {value}")), "OK");
    let before = resident_kib(cluster.nodes[0].pid());
    // Asks for 2 GiB.
    let mut greedy = cluster.nodes[0].connect();
    greedy.send(&"GET k\n".repeat(2000));
    for _ in 0..100 {
        assert_eq!(client.call("GET none"), "(null)");
    }
    // What is sent as one turn with a write, too.
    let mut writer = cluster.nodes[0].connect();
    writer.send(&("GET k\n".repeat(300) + "SET other 1"));
    let mut replies: Vec<_> = (0..300).map(|_| writer.reply()).collect();
    assert_eq!(writer.reply(), "OK");
    replies.retain(|reply| reply.len() < 1000);
    assert!(replies.iter().all(|reply| reply.starts_with("-BUSY ")), "{replies:?}");
    assert!(!replies.is_empty());
    let after = resident_kib(cluster.nodes[0].pid());
    assert!(after < before + 400 * 1024, "{before} KiB before, {after} KiB after");
}

#[test]
fn more_clients_than_allowed_are_told_so() {
    let mut cluster = Cluster::planned(1, &["--max-clients", "2"]);
    cluster.nodes[0].start();
    let mut first = cluster.nodes[0].connect();
    let mut second = cluster.nodes[0].connect();
    assert_eq!((first.call("PING"), second.call("PING")), ("PONG".into(), "PONG".into()));
    let mut third = cluster.nodes[0].connect();
    assert_eq!(third.reply(), "-ERR max number of clients reached");
    drop(second);
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        let mut client = cluster.nodes[0].connect();
        // The refusal may come before the question is read.
        if client.stream.get_mut().write_all(b"PING\r\n").is_ok()
            && client.try_reply().as_deref() == Some("PONG")
        {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "no room is made");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_browser_is_sent_away() {
    let cluster = Cluster::start(1);
    let mut client = cluster.nodes[0].connect();
    client.raw(b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\nSET hacked 1\r\n");
    assert!(client.reply().starts_with("-ERR unknown command 'POST'"));
    assert_eq!(client.try_reply(), None);
    assert_eq!(cluster.nodes[0].connect().call("EXISTS hacked"), "0");
}
