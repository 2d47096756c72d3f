//! Snapshots of real nodes: the log begins after them, a node starts from one, and one that lies too far behind
//! is sent one, whoever is killed meanwhile. On all four stacks.

mod common;

use common::{Client, Cluster, Node, until};

/// Few entries, so that it happens often.
const OFTEN: [&str; 4] = ["--snapshot-every", "40", "--snapshot-keep", "5"];

fn number(node: &Node, row: &str) -> u64 {
    node.info(row).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// One of the counts in the row `snapshots`.
fn count(node: &Node, name: &str) -> u64 {
    let row = node.info("snapshots").unwrap_or_default();
    let found = row.split(',').find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
    found.and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn write(cluster: &mut Cluster, keys: std::ops::Range<u64>) {
    let leader = cluster.leader();
    let mut client = cluster.nodes[leader].connect();
    for key in keys {
        assert_eq!(client.call(&format!("SET k{key} v{key}")), "OK");
    }
}

/// A node has the keys up to this one, itself.
fn holds(node: &Node, keys: u64) {
    until("it holds everything", || {
        let mut client = node.connect();
        client.call("READONLY") == "OK"
            && client.call("DBSIZE") == keys.to_string()
            && client.call(&format!("GET k{}", keys - 1)) == format!("v{}", keys - 1)
    });
    let mut client = node.connect();
    assert_eq!(client.call("READONLY"), "OK");
    for key in 0..keys {
        assert_eq!(client.call(&format!("GET k{key}")), format!("v{key}"));
    }
}

fn catches_up_and_restarts(stack: &[&str]) {
    let mut cluster = Cluster::start_with(3, &[&OFTEN, stack].concat());
    write(&mut cluster, 0..200);
    for node in &cluster.nodes {
        until("its log begins after a snapshot", || {
            number(node, "log-start") > 100 && number(node, "snapshot-index") > 100
        });
        holds(node, 200);
    }
    // One on request, which covers all.
    let leader = cluster.leader();
    let taken = cluster.nodes[leader].connect().call("RAFT SNAPSHOT");
    assert!(taken.starts_with("[index, "), "{taken}");
    let commit = number(&cluster.nodes[leader], "commit-index");
    until("it is known", || number(&cluster.nodes[leader], "snapshot-index") >= commit.saturating_sub(1));

    // A follower that was away while the log went on without it.
    let (leader, away) = cluster.leader_and_follower();
    let had = number(&cluster.nodes[away], "last-applied");
    cluster.nodes[away].kill();
    write(&mut cluster, 200..400);
    until("the log forgets what it lacks", || number(&cluster.nodes[leader], "log-start") > had + 1);
    cluster.nodes[away].start();
    holds(&cluster.nodes[away], 400);
    assert_eq!(count(&cluster.nodes[away], "installed"), 1);

    // All of them, from their snapshots.
    for node in &mut cluster.nodes {
        node.kill();
    }
    for node in &mut cluster.nodes {
        let line = node.start();
        assert!(!line.contains("log 1.."), "{line}");
    }
    write(&mut cluster, 400..420);
    for node in &cluster.nodes {
        holds(node, 420);
    }
}

#[test]
fn file_and_tcp() {
    catches_up_and_restarts(&["--journal", "file", "--transport", "tcp"]);
}

#[test]
fn file_and_grpc() {
    catches_up_and_restarts(&["--journal", "file", "--transport", "grpc"]);
}

#[test]
fn sqlite_and_tcp() {
    catches_up_and_restarts(&["--journal", "sqlite", "--transport", "tcp"]);
}

#[test]
fn sqlite_and_grpc() {
    catches_up_and_restarts(&["--journal", "sqlite", "--transport", "grpc"]);
}

/// When snapshots are taken, and what stays before them, can be said while a node runs; what cannot work is refused with
/// what would.
#[test]
fn the_policy_changes_while_a_node_runs() {
    let mut cluster = Cluster::start(1);
    let leader = cluster.leader();
    let mut client = cluster.nodes[leader].connect();
    let shown = client.call("RAFT CONFIG GET SNAPSHOT-*");
    for name in
        ["every-entries, 100000", "every-bytes, 1073741824", "keep-entries, 10000", "keep-bytes, 67108864"]
    {
        assert!(shown.contains(&format!("snapshot-{name}")), "{shown}");
    }
    for (name, number) in [("keep-entries", 5), ("every-entries", 40)] {
        assert_eq!(client.call(&format!("RAFT CONFIG SET snapshot-{name} {number}")), "OK");
    }
    for key in 0..100 {
        assert_eq!(client.call(&format!("SET k{key} v")), "OK");
    }
    until("snapshots are taken", || count(&cluster.nodes[leader], "taken") >= 2);
    until("the log forgets what they cover", || number(&cluster.nodes[leader], "log-start") > 30);
    for (name, value) in [("every-entries", "often"), ("keep-bytes", "-1")] {
        let said = client.call(&format!("RAFT CONFIG SET snapshot-{name} {value}"));
        assert_eq!(said, format!("-ERR snapshot-{name}: '{value}' is no whole number from 0 on"));
    }
    assert_eq!(client.call("RAFT CONFIG GET snapshot-every-entries"), "[snapshot-every-entries, 40]");
}

/// Values of which a transfer takes a while.
const LARGE: usize = 1 << 20;
const VALUES: usize = 24;

fn set_large(client: &mut Client, round: usize) {
    for key in 0..VALUES {
        let value = format!("{round}-{key}-").repeat(LARGE / 6);
        client.send(&format!("SET big{key} {value}"));
        assert_eq!(client.reply(), "OK");
    }
}

fn killed_while_it_is_sent(stack: &[&str]) {
    let every = ["--snapshot-every", "10", "--snapshot-keep", "0"];
    let mut cluster = Cluster::start_with(3, &[&every, stack].concat());
    let mut interrupted = 0;
    for round in 0..6 {
        let (leader, away) = cluster.leader_and_follower();
        let had = number(&cluster.nodes[away], "last-applied");
        cluster.nodes[away].kill();
        let mut client = cluster.nodes[leader].connect();
        set_large(&mut client, round);
        until("the log forgets what it lacks", || number(&cluster.nodes[leader], "log-start") > had + 1);
        cluster.nodes[away].start();
        let mut seen = false;
        until("it is sent a snapshot", || {
            let row = cluster.nodes[away].info("snapshots").unwrap_or_default();
            seen = row.contains("receiving=") && !row.contains("receiving=0/");
            seen || count(&cluster.nodes[away], "installed") > 0
        });
        interrupted += u32::from(seen);
        // The one that receives, or the one that sends.
        let killed = if round % 2 == 0 { away } else { leader };
        cluster.nodes[killed].kill();
        if killed == away {
            assert_eq!(client.call("SET meanwhile 1"), "OK");
        }
        cluster.nodes[killed].start();
        let now = cluster.leader();
        let commit = number(&cluster.nodes[now], "commit-index");
        for node in &cluster.nodes {
            until("it catches up", || number(node, "last-applied") >= commit);
            let mut client = node.connect();
            assert_eq!(client.call("READONLY"), "OK");
            for key in 0..VALUES {
                let value = client.call(&format!("GET big{key}"));
                assert!(value.starts_with(&format!("{round}-{key}-")) && value.len() > LARGE / 2);
            }
        }
    }
    assert!(interrupted >= 2, "{interrupted} of 6 transfers were seen under way");
}

#[test]
fn a_transfer_is_cut_file_and_tcp() {
    killed_while_it_is_sent(&["--journal", "file", "--transport", "tcp"]);
}

#[test]
fn a_transfer_is_cut_sqlite_and_grpc() {
    killed_while_it_is_sent(&["--journal", "sqlite", "--transport", "grpc"]);
}

/// What cannot be started without loss is not started, and says what is missing.
#[test]
fn what_is_missing_is_named() {
    let mut cluster = Cluster::start_with(3, &OFTEN);
    write(&mut cluster, 0..100);
    let (_, at) = cluster.leader_and_follower();
    let node = &mut cluster.nodes[at];
    until("its log begins after a snapshot", || number(node, "log-start") > 1);
    node.kill();
    let (data, aside) = (node.data.clone(), node.data.with_extension("aside"));
    let snapshots = data.join("snapshots");

    // Snapshots gone, the log is there.
    std::fs::rename(&snapshots, &aside).unwrap();
    let (code, said) = common::run(&node.flags);
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("the snapshots are missing"), "{said}");
    std::fs::remove_dir_all(&snapshots).unwrap();
    std::fs::rename(&aside, &snapshots).unwrap();

    // The log is gone, a snapshot is there.
    std::fs::create_dir(&aside).unwrap();
    for found in std::fs::read_dir(&data).unwrap().map(|found| found.unwrap()) {
        if found.file_name() != "snapshots" {
            std::fs::rename(found.path(), aside.join(found.file_name())).unwrap();
        }
    }
    let (code, said) = common::run(&node.flags);
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("has no journal, but the snapshots of one"), "{said}");
    for found in std::fs::read_dir(&aside).unwrap().map(|found| found.unwrap()) {
        std::fs::rename(found.path(), data.join(found.file_name())).unwrap();
    }

    // A damaged snapshot.
    let newest = std::fs::read_dir(&snapshots).unwrap().map(|found| found.unwrap().path());
    let newest = newest.filter(|path| !path.ends_with("LOCK")).max().unwrap();
    let whole = std::fs::read(&newest).unwrap();
    let mut damaged = whole.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    std::fs::write(&newest, damaged).unwrap();
    let (code, said) = common::run(&node.flags);
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("cannot be used"), "{said}");
    std::fs::write(&newest, whole).unwrap();
    node.start();
    holds(node, 100);
}
