//! Backups of a cluster that runs, and what can be made of them.

mod common;

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use common::{Client, Cluster, Node, until};

fn kv(args: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_raft-kv"));
    let output = command.args(args).stdin(Stdio::null()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

/// A restored node, with its flags; not started.
fn restored(cluster: &Cluster, file: &str, id: u64, kind: &str) -> (Node, String) {
    restored_as(cluster, file, id, kind, "restored")
}

/// The same, in a folder of that name.
fn restored_as(cluster: &Cluster, file: &str, id: u64, kind: &str, name: &str) -> (Node, String) {
    let addresses = common::free_addresses(2);
    let (client, peer) = (addresses[0], addresses[1]);
    let data = cluster.dir.path().join(format!("{name}-{kind}"));
    let (id_text, client_text, peer_text) = (id.to_string(), client.to_string(), peer.to_string());
    let restore = [
        "restore",
        "--from",
        file,
        "--data",
        data.to_str().unwrap(),
        "--id",
        &id_text,
        "--listen",
        &client_text,
        "--peer-listen",
        &peer_text,
        "--journal",
        kind,
    ];
    let (code, out, said) = kv(&restore);
    assert_eq!(code, 0, "{said}");
    let (_, rest) = out.split_once("--cluster-id ").unwrap();
    let name = rest.split_whitespace().next().unwrap().to_owned();
    // Nothing is overwritten.
    let (code, _, said) = kv(&restore);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("is there already"), "{said}");
    let mut flags = common::flags(id, client, peer, &data);
    flags.extend(["--journal", kind, "--cluster-id", &name].map(str::to_owned));
    (Node::planned(id, client, peer, data, flags), name)
}

fn address(node: &Node) -> String {
    node.client.to_string()
}

/// Everything that was acknowledged before the backup is in it, on both kinds of journals; the new node has a name
/// of its own and does not talk to the old cluster.
#[test]
fn what_was_acknowledged_before_a_backup_is_in_it() {
    let mut cluster = Cluster::start_with(3, &["--snapshot-every", "200", "--snapshot-keep", "20"]);
    let leader = cluster.leader();
    let mut client = cluster.nodes[leader].connect();
    for line in ["RPUSH list a b c", "HSET hash f v g w", "SADD set m n", "SET text x"] {
        assert!(!client.call(line).starts_with('-'), "{line}");
    }
    let (stop, acknowledged) = (AtomicBool::new(false), AtomicU64::new(0));
    let file = cluster.dir.path().join("backup");
    let file = file.to_str().unwrap();
    let second = cluster.dir.path().join("second");
    let before = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = Client::connect(cluster.nodes[leader].client);
            for key in 0.. {
                if stop.load(Ordering::SeqCst) {
                    break;
                }
                if client.call(&format!("SET k{key} v{key}")) == "OK" {
                    acknowledged.store(key + 1, Ordering::SeqCst);
                }
            }
        });
        while acknowledged.load(Ordering::SeqCst) < 300 {
            std::thread::yield_now();
        }
        let before = acknowledged.load(Ordering::SeqCst);
        // From a node that follows: it names the leader.
        let (code, out, said) =
            kv(&["backup", "--from", &address(&cluster.nodes[(leader + 1) % 3]), "--to", file]);
        assert_eq!(code, 0, "{said}");
        assert!(out.contains("everything up to entry"), "{out}");
        // And one by the node itself.
        let said = client.call(&format!("RAFT BACKUP {}", second.display()));
        assert!(said.contains("everything up to entry"), "{said}");
        stop.store(true, Ordering::SeqCst);
        before
    });
    let (code, out, said) = kv(&["backup", "--check", file]);
    assert_eq!(code, 0, "{said}");
    assert!(out.contains("sound: "), "{out}");
    assert_eq!(kv(&["backup", "--check", second.to_str().unwrap()]).0, 0);
    // Neither replaces what is there.
    let (code, _, said) = kv(&["backup", "--from", &address(&cluster.nodes[leader]), "--to", file]);
    assert_eq!(code, 1, "{said}");
    assert!(client.call(&format!("RAFT BACKUP {}", second.display())).starts_with("-ERR the backup was not"));
    assert!(client.call("RAFT BACKUP relative").starts_with("-ERR the path"));
    assert!(client.call("RAFT BACKUP NEXT").starts_with("-ERR there is no backup"));

    // The same id as an old node: only the name of the cluster tells them apart.
    let id = cluster.nodes[leader].id;
    for (kind, file) in [("file", file), ("sqlite", second.to_str().unwrap())] {
        let (mut node, name) = restored(&cluster, file, id, kind);
        let line = node.start();
        assert!(line.contains(&name), "{line}");
        until("it leads", || node.info("role").as_deref() == Some("leader"));
        let mut client = node.connect();
        until("its data are there", || !client.call("GET text").starts_with('-'));
        for key in 0..before {
            assert_eq!(client.call(&format!("GET k{key}")), format!("v{key}"), "{kind}");
        }
        assert_eq!(client.call("LRANGE list 0 -1"), "[a, b, c]");
        assert_eq!(client.call("HGET hash g"), "w");
        assert_eq!(client.call("SISMEMBER set n"), "1");
        assert_eq!(client.call("SET after 1"), "OK");
        assert_ne!(node.info("cluster-id"), cluster.nodes[leader].info("cluster-id"));
        assert_eq!(node.info("voters").unwrap(), id.to_string());
        // It survives a crash, and a snapshot of its own.
        node.kill();
        node.start();
        until("it leads", || node.info("role").as_deref() == Some("leader"));
        let mut client = node.connect();
        until("its data are there", || client.call("GET after") == "1");
        assert!(client.call("RAFT SNAPSHOT").starts_with("[index, "));
        node.kill();
        node.start();
        until("it leads", || node.info("role").as_deref() == Some("leader"));
        let mut client = node.connect();
        until("its data are there", || client.call("GET after") == "1");
        assert_eq!(client.call("GET k0"), "v0");
        grows(&cluster, &node, &name, kind);
    }
    assert_eq!(client.call("SET old 1"), "OK", "the old cluster goes on");
}

/// What a stopped node has, on both kinds of journals: its snapshot and what follows, where a command that was sent twice in
/// a session counts once. Its folder is left as it is.
#[test]
fn a_stopped_node_can_be_backed_up() {
    for kind in ["file", "sqlite"] {
        let flags = ["--journal", kind, "--snapshot-every", "60", "--snapshot-keep", "5"];
        let mut cluster = Cluster::start_with(3, &flags);
        let leader = cluster.leader();
        let mut client = cluster.nodes[leader].connect();
        let session = client.call("RAFT SESSION OPEN");
        for number in 1..=100 {
            // When the second comes, the first is known to be committed.
            for _ in 0..2 {
                let answer = client.call(&format!("RAFT SEQ {number} SESSION {session} INCR count"));
                assert_eq!(answer, number.to_string());
            }
        }
        let data = cluster.nodes[leader].data.display().to_string();
        let file = cluster.dir.path().join("backup").display().to_string();
        let backup = ["backup", "--data", &data, "--to", &file];
        let (code, _, said) = kv(&backup);
        assert_eq!(code, 1, "it runs: {said}");
        cluster.nodes[leader].kill();
        let inspected = kv(&["journal", "inspect", &data]).1;
        let (code, out, said) = kv(&backup);
        assert_eq!(code, 0, "{said}");
        assert!(out.contains("everything up to entry"), "{out}");
        assert_eq!(kv(&["journal", "inspect", &data]).1, inspected);
        let (code, out, said) = kv(&["backup", "--check", &file]);
        assert_eq!(code, 0, "{said}");
        assert!(out.contains("sound: 1 keys"), "{out}");
        let (mut node, _) = restored(&cluster, &file, 1, kind);
        node.start();
        until("it leads", || node.info("role").as_deref() == Some("leader"));
        let mut client = node.connect();
        until("its data are there", || client.call("GET count") == "100");
        // It is the only voter: whatever is in its log is in a backup of it.
        assert_eq!(client.call("INCR count"), "101");
        node.kill();
        let data = node.data.display().to_string();
        let file = cluster.dir.path().join("second").display().to_string();
        let (code, _, said) = kv(&["backup", "--data", &data, "--to", &file]);
        assert_eq!((code, said.as_str()), (0, ""));
        let (mut node, _) = restored_as(&cluster, &file, 1, kind, "again");
        node.start();
        until("it leads", || node.info("role").as_deref() == Some("leader"));
        let mut client = node.connect();
        until("its data are there", || client.call("GET count") == "101");
    }
}

/// A second member joins the restored node, and has everything.
fn grows(cluster: &Cluster, node: &Node, name: &str, kind: &str) {
    let addresses = common::free_addresses(2);
    let (client, peer, id) = (addresses[0], addresses[1], 9);
    let data = cluster.dir.path().join(format!("joined-{kind}"));
    let mut flags = common::flags(id, client, peer, &data);
    flags.extend(["--cluster-id", name].map(str::to_owned));
    let mut joined = Node::planned(id, client, peer, data, flags);
    joined.start();
    let mut leader = node.connect();
    let added = leader.call(&format!("RAFT ADD-LEARNER {id} {peer}@{client}"));
    assert!(!added.starts_with('-'), "{added}");
    let promoted = leader.call(&format!("RAFT PROMOTE {id} WAIT"));
    assert!(!promoted.starts_with('-'), "{promoted}");
    assert_eq!(leader.call("SET grown 1"), "OK");
    let mut stale = joined.connect();
    until("what was written is there", || stale.call("READONLY") == "OK" && stale.call("GET grown") == "1");
    assert_eq!(stale.call("GET k0"), "v0");
    assert_eq!(node.info("voters").unwrap(), format!("{},{id}", node.id));
}

/// A restored node in the old cluster's place, on the addresses of one of its nodes: it is not let in.
#[test]
fn a_restored_node_cannot_talk_to_the_old_cluster() {
    let mut cluster = Cluster::start(3);
    let (leader, follower) = cluster.leader_and_follower();
    assert_eq!(cluster.nodes[leader].connect().call("SET k v"), "OK");
    let file = cluster.dir.path().join("backup");
    let file = file.to_str().unwrap();
    assert_eq!(kv(&["backup", "--from", &address(&cluster.nodes[leader]), "--to", file]).0, 0);
    let old = cluster.nodes[leader].info("cluster-id").unwrap();
    let data = cluster.dir.path().join("restored");
    let node = &mut cluster.nodes[follower];
    node.kill();
    let (id, listen, peer) = (node.id.to_string(), node.client.to_string(), node.peer.to_string());
    let restore = |more: &[&str]| {
        let data = data.to_str().unwrap();
        let base = ["restore", "--from", file, "--data", data, "--id", &id, "--listen", &listen];
        kv(&[&base[..], &["--peer-listen", &peer], more].concat())
    };
    let (code, _, said) = restore(&["--cluster-id", &old]);
    assert_eq!(code, 2, "{said}");
    let (code, out, said) = restore(&[]);
    assert_eq!(code, 0, "{said}");
    let name = out.split_once("--cluster-id ").unwrap().1.split_whitespace().next().unwrap().to_owned();
    // Under the old name it does not start.
    let mut flags = common::flags(node.id, node.client, node.peer, &data);
    flags.extend(["--cluster-id".to_owned(), old.clone()]);
    let (code, said) = common::run(&flags);
    assert_eq!(code, 3, "{said}");
    *flags.last_mut().unwrap() = name.clone();
    node.flags = flags;
    node.start();
    until("it leads", || node.info("role").as_deref() == Some("leader"));
    let mut client = node.connect();
    until("its data are there", || client.call("GET k") == "v");
    assert_eq!(client.call("SET k other"), "OK");
    // The old leader dials that address: it is told whom it has met, and goes on without.
    until("one says that it is refused", || {
        cluster.nodes[leader].log().contains(&name) || cluster.nodes[follower].log().contains(&old)
    });
    let now = cluster.leader();
    let others: Vec<usize> = (0..3).filter(|at| *at != follower).collect();
    assert!(others.contains(&now) || now == follower);
    let serving = others.iter().find(|at| cluster.nodes[**at].info("role").as_deref() == Some("leader"));
    let mut client = cluster.nodes[*serving.unwrap()].connect();
    assert_eq!(client.call("GET k"), "v");
    assert_eq!(cluster.nodes[follower].info("voters").unwrap(), id);
}

/// A damaged, cut or foreign file is not restored from, and leaves nothing.
#[test]
fn a_damaged_backup_is_named() {
    let mut cluster = Cluster::start(1);
    let leader = cluster.leader();
    assert_eq!(cluster.nodes[leader].connect().call("SET k v"), "OK");
    let path = cluster.dir.path().join("backup");
    let file = path.to_str().unwrap();
    assert_eq!(kv(&["backup", "--from", &address(&cluster.nodes[leader]), "--to", file]).0, 0);
    let whole = std::fs::read(&path).unwrap();
    let data = cluster.dir.path().join("restored");
    let refused = |bytes: &[u8], path: &Path, sentence: &str| {
        std::fs::write(path, bytes).unwrap();
        let data = data.to_str().unwrap();
        let addresses = ["--listen", "127.0.0.1:1", "--peer-listen", "127.0.0.1:2"];
        let (code, _, said) =
            kv(&[&["restore", "--from", file, "--data", data, "--id", "1"][..], &addresses].concat());
        assert_eq!(code, 3, "{said}");
        assert!(said.contains(sentence), "{said}");
        assert_eq!(kv(&["backup", "--check", file]).0, 3);
    };
    let mut flipped = whole.clone();
    let last = flipped.len() - 20;
    flipped[last] ^= 1;
    refused(&flipped, &path, "checksum");
    refused(&whole[..whole.len() - 1], &path, "ends too early");
    refused(b"REDIS0011 is another format", &path, "not a backup of raft-kv");
    assert!(!data.exists());
}
